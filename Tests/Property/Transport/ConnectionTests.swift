// Two connections with each other, however their bytes are cut; and one with somebody who means it ill.

import Kernel
import Multiformats
import Testing
import Transport

private let secret = Bytes(repeating: 7, count: 32)

/// The number of the stream that the pair's other side opened first.
func opened(_ pair: inout Pair, _ protocols: [String], known: Bool = false) throws -> SubstreamID {
    var id: SubstreamID?
    let now = pair.now
    pair.a.run { id = $0.open(protocols, known: known, now: now, effects: &$1) }
    return try #require(id)
}

extension Pair {
    mutating func send(_ id: SubstreamID, _ bytes: Bytes, fromA: Bool = true) {
        let now = now
        if fromA { a.run { $0.send(id, bytes, now: now, effects: &$1) } } else { b.run { $0.send(id, bytes, now: now, effects: &$1) } }
    }
    /// The system takes what A has written, and it is lost.
    mutating func takeAll(_ now: Now) {
        let count = a.wire.count
        a.run { $0.onWritten(count, now: now, effects: &$1) }
        a.wire = []
    }
    mutating func closeWrite(_ id: SubstreamID, fromA: Bool = true) {
        let now = now
        if fromA { a.run { $0.closeWrite(id, now: now, effects: &$1) } } else { b.run { $0.closeWrite(id, now: now, effects: &$1) } }
    }
}

/// Four streams carry much at once, all of it arrives, and the socket never holds more than it should.
func expectBigTransfers(over pair: inout Pair) throws {
    pair.settle()
    var ids: [SubstreamID] = []
    for index in 0..<4 {
        let id = try opened(&pair, ["/echo/1"])
        ids.append(id)
        pair.send(id, Bytes((0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ index) }))
    }
    // Never more in the socket's queue than is allowed, a frame and its sealing apart.
    while pair.step() { #expect(pair.a.wire.count < 256 << 10 + 70_000) }
    for (index, id) in ids.enumerated() {
        #expect(pair.b.received(id) == Bytes((0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ index) }))
        #expect(pair.a.seen.count { $0 == .drained(id) } == 1)
    }
}

@Suite struct ConnectionTests {
    @Test(arguments: [1, 2, 5, 33, 400, 100_000], [true, false])
    func everyCutOfTheBytesWorks(_ pieceBytes: Int, _ isPrivate: Bool) throws {
        for seed in 1...10 as ClosedRange<UInt64> {
            var pair = Pair(seed: seed, pieceBytes: pieceBytes, secrets: isPrivate ? (secret, secret) : (nil, nil), overWebSocket: seed > 5)
            pair.settle()
            #expect(pair.a.has(.secured(keyB.publicKey)) && pair.b.has(.secured(keyA.publicKey)))
            let id = try opened(&pair, ["/unknown", "/sink/2"])
            pair.send(id, [1, 2, 3])
            pair.send(id, [4])
            pair.settle()
            #expect(pair.a.has(.opened(id, protocol: "/sink/2")) && pair.b.has(.incoming(id, protocol: "/sink/2")))
            #expect(pair.b.received(id) == [1, 2, 3, 4] && pair.a.has(.drained(id)))
            pair.send(id, [9, 9], fromA: false)
            pair.closeWrite(id, fromA: false)
            pair.settle()
            #expect(pair.a.received(id) == [9, 9] && pair.a.has(.remoteClosed(id)))
            // Half-closed: the other direction lives on.
            pair.send(id, [5])
            pair.closeWrite(id)
            pair.settle()
            #expect(pair.b.received(id) == [1, 2, 3, 4, 5] && pair.b.has(.remoteClosed(id)))
            #expect(pair.a.machine.streamCount == 0 && pair.b.machine.streamCount == 0)
            #expect(pair.a.closing == nil && pair.b.closing == nil)
        }
    }

    @Test func aProposalMayBeFollowedAtOnceByWhatItIsFor() throws {
        var pair = Pair()
        pair.settle()
        let id = try opened(&pair, ["/echo/1", "/other"], known: true)
        pair.send(id, [1])
        pair.closeWrite(id)
        let before = pair.b.seen.count
        while pair.b.seen.count < before + 2, pair.step() {}  // no answer has been read yet
        #expect(pair.b.received(id) == [1])
        pair.settle()
        #expect(pair.b.has(.remoteClosed(id)) && pair.a.has(.opened(id, protocol: "/echo/1")))
    }

    @Test func aStreamForNothingKnownFails() throws {
        var pair = Pair()
        pair.settle()
        let eager = try opened(&pair, ["/a", "/b"])
        let lazy = try opened(&pair, ["/c"])
        pair.send(lazy, Bytes(repeating: 255, count: 2000))
        pair.settle()
        for id in [eager, lazy] { #expect(pair.a.has(.failed(id, reason: "protocols not supported"))) }
        #expect(pair.a.machine.streamCount == 0 && pair.b.machine.streamCount == 0 && pair.a.closing == nil)
        #expect(!pair.b.seen.contains { if case .incoming = $0 { true } else { false } })
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func bigTransfersKeepWithinTheirCredit(_ seed: UInt64) throws {
        var pair = Pair(seed: seed, pieceBytes: 50_000, secrets: (secret, secret), overWebSocket: seed == 3)
        try expectBigTransfers(over: &pair)
    }

    @Test func drainedMeansThatTheSocketTookIt() throws {
        var pair = Pair()
        pair.settle()
        let id = try opened(&pair, ["/echo/1"])
        pair.send(id, Bytes(repeating: 1, count: 200_000))
        while !pair.a.has(.drained(id)) {
            try #require(!pair.a.wire.isEmpty)
            _ = pair.step()
        }
        #expect(pair.a.wire.isEmpty)
    }

    @Test func streamsTakeTurns() throws {
        var pair = Pair(pieceBytes: 1000)
        pair.settle()
        let big = try opened(&pair, ["/echo/1"])
        pair.send(big, Bytes(repeating: 1, count: 2_000_000))
        let small = try opened(&pair, ["/echo/1"])
        pair.send(small, [7])
        while pair.b.received(small).isEmpty, pair.step() {}
        #expect(pair.b.received(small) == [7])
        #expect(pair.b.received(big).count < 600_000)
    }

    @Test func aResetEndsBothSides() throws {
        var pair = Pair()
        pair.settle()
        let id = try opened(&pair, ["/echo/1"])
        pair.settle()
        pair.send(id, Bytes(repeating: 1, count: 1000))
        pair.a.run { $0.reset(id, now: at(0), effects: &$1) }
        pair.settle()
        #expect(pair.b.has(.reset(id)) && !pair.a.has(.reset(id)))
        pair.send(id, [1], fromA: false)
        pair.settle()
        #expect(pair.a.received(id).isEmpty && pair.a.machine.streamCount == 0 && pair.b.machine.streamCount == 0)
    }

    @Test func aLostConnectionEndsItsStreams() throws {
        var pair = Pair()
        pair.settle()
        let open = try opened(&pair, ["/echo/1"])
        pair.settle()
        let late = try opened(&pair, ["/echo/1"])
        pair.a.run { $0.onClosed(reason: "connection reset by peer", now: at(0), effects: &$1) }
        let reason = "connection lost: connection reset by peer"
        #expect(pair.a.seen.suffix(3) == [.reset(open), .failed(late, reason: reason), .close(reason: reason)])
    }

    // MARK: Who is there

    @Test(arguments: [(secret, Bytes(repeating: 8, count: 32)), (secret, nil), (nil, secret)] as [(Bytes?, Bytes?)])
    func differentSecretsAreNamed(_ a: Bytes?, _ b: Bytes?) {
        for seed in 1...40 as ClosedRange<UInt64> {
            var pair = Pair(seed: seed, secrets: (a, b), overWebSocket: seed > 30)
            pair.settle()
            for end in [pair.a, pair.b] {
                #expect(end.closing?.contains("secret") == true, "seed \(seed): \(end.closing ?? "open")")
                #expect(end.seen.count == 1)
            }
        }
    }

    /// Whoever says something else where WebSocket is spoken, or answers something else, is told of that; no secret is suspected.
    @Test func whoSpeaksNoWebSocketIsToldSo() {
        var pair = Pair(secrets: (secret, secret), overWebSocket: true)
        pair.b.run { $0.onBytes(Bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), now: at(0), effects: &$1) }
        pair.a.run { $0.onBytes(Bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8), now: at(0), effects: &$1) }
        #expect(String(decoding: pair.b.wire, as: UTF8.self).hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
        #expect(pair.b.closing == "websocket: bad handshake: this address speaks libp2p over WebSocket, and the request asks for no upgrade to that")
        #expect(pair.a.closing == "websocket: bad handshake: the answer is HTTP 200")
    }

    /// Pings are answered, and who sends them and reads nothing is let go.
    @Test func aFloodOfWebSocketPingsIsBounded() {
        var pair = Pair(overWebSocket: true)
        pair.settle()
        let ping: Bytes = [0x89, 0x80 + 125, 0, 0, 0, 0] + Bytes(repeating: 7, count: 125)
        pair.b.run { $0.onBytes(ping, now: at(0), effects: &$1) }
        #expect(pair.b.wire == [0x8a, 125] + Bytes(repeating: 7, count: 125))
        let many = Bytes((0..<500).flatMap { _ in ping })
        for _ in 0..<200 where pair.b.closing == nil { pair.b.run { $0.onBytes(many, now: at(0), effects: &$1) } }
        #expect(pair.b.closing?.contains("asks more than it reads") == true)
    }

    @Test func anotherPeerThanExpectedIsRefused() {
        let wanted = identity(3).peerID
        var pair = Pair(expecting: wanted)
        pair.settle()
        #expect(pair.a.closing == "peer id mismatch: expected \(wanted), but remote key matches \(keyB.peerID)")
        #expect(!pair.b.has(.secured(keyA.publicKey)))  // nothing was told to it
    }

    /// A flipped bit anywhere in the handshake or after is noticed: nothing false is ever delivered.
    @Test func changedBytesAreNoticed() throws {
        for position in stride(from: 0, to: 900, by: 3) {
            for fromA in [true, false] {
                var pair = Pair()
                pair.corrupt = { isA, start, bytes in
                    guard isA == fromA, (start..<start + bytes.count).contains(position) else { return bytes }
                    var bytes = bytes
                    bytes[position - start] ^= 0x20
                    return bytes
                }
                pair.settle()
                var isComplete = false
                if pair.a.machine.isOpen {
                    let id = try opened(&pair, ["/echo/1"])
                    pair.send(id, Bytes(repeating: 3, count: 500))
                    pair.settle()
                    pair.send(id, Bytes(repeating: 4, count: 500), fromA: false)
                    pair.settle()
                    #expect(Bytes(repeating: 3, count: 500).starts(with: pair.b.received(id)))
                    #expect(Bytes(repeating: 4, count: 500).starts(with: pair.a.received(id)))
                    isComplete = pair.b.received(id).count + pair.a.received(id).count == 1000
                }
                // A changed length makes its reader wait; anything else ends the connection.
                let isTouched = position < (fromA ? pair.a.wireBytes : pair.b.wireBytes)
                #expect(!isTouched || !isComplete, "byte \(position)")
            }
        }
    }

    // MARK: Time

    @Test func whoSaysNothingIsGivenUp() {
        var pair = Pair(secrets: (secret, secret))
        #expect(pair.a.machine.nextDeadline == at(10_000).monotonic)  // unwritten bytes
        pair.a.run { $0.onWritten(52, now: at(1000), effects: &$1) }
        #expect(pair.a.machine.nextDeadline == at(15_000).monotonic)
        pair.a.run { $0.onTime(now: at(14_999), effects: &$1) }
        #expect(pair.a.closing == nil)
        pair.a.run { $0.onTime(now: at(15_000), effects: &$1) }
        #expect(pair.a.closing == "handshake timed out: do both peers have the same cluster secret?")
    }

    @Test func silenceIsAskedAfterAndThenTheEnd() {
        var pair = Pair()
        pair.settle()
        #expect(pair.a.machine.nextDeadline == at(30_000).monotonic)
        pair.a.run { $0.onTime(now: at(30_000), effects: &$1) }
        #expect(!pair.a.wire.isEmpty)
        pair.now = at(30_050)
        pair.settle()
        #expect(pair.a.machine.nextDeadline == at(60_050).monotonic)  // answered
        pair.a.run { $0.onTime(now: at(60_050), effects: &$1) }
        pair.takeAll(at(60_051))
        pair.a.run { $0.onTime(now: at(70_050), effects: &$1) }
        #expect(pair.a.closing == "keepalive timeout: no answer to a ping")
    }

    /// A length that was changed on the way makes one wait for bytes that never come, while others do (drill of seed 5007160).
    @Test func halfAMessageIsNoSignOfLife() {
        var pair = Pair()
        pair.settle()
        pair.a.run { $0.onBytes([0xff, 0xff, 1], now: at(20_000), effects: &$1) }
        #expect(pair.a.machine.nextDeadline == at(30_000).monotonic)
        pair.a.run { $0.onTime(now: at(30_000), effects: &$1) }
        pair.takeAll(at(30_001))
        pair.a.run { $0.onBytes([2, 3], now: at(35_000), effects: &$1) }
        pair.a.run { $0.onTime(now: at(40_000), effects: &$1) }
        #expect(pair.a.closing == "keepalive timeout: no answer to a ping")
    }

    @Test func aStreamMustAgreeInTime() throws {
        var pair = Pair()
        pair.settle()
        let id = try opened(&pair, ["/echo/1"])
        pair.takeAll(at(0))
        pair.a.run { $0.onTime(now: at(10_000), effects: &$1) }
        #expect(pair.a.has(.failed(id, reason: "no protocol agreed in time")))
    }

    // MARK: Limits

    @Test func moreStreamsThanUnacknowledgedOnesWaitTheirTurn() throws {
        var settings = ConnectionSettings()
        settings.unacknowledgedStreamsLimit = 3
        settings.inboundStreamsLimit = 8
        var pair = Pair(settings: settings)
        pair.settle()
        let ids = try (0..<8).map { _ in try opened(&pair, ["/echo/1"]) }
        pair.settle()
        for id in ids { #expect(pair.a.has(.opened(id, protocol: "/echo/1"))) }
        let ninth = try opened(&pair, ["/echo/1"])
        pair.settle()
        #expect(pair.a.has(.failed(ninth, reason: "stream reset by the other side (code 0x1002)")))
    }

    /// Garbage into every layer, and after it more of it, never stops the process or delivers anything.
    @Test func garbageIsRefused() {
        var choices = Choices(seed: 5)
        for _ in 0..<300 {
            var pair = Pair(secrets: choices.chance(1, in: 2) ? (secret, secret) : (nil, nil))
            let good = choices.below(12)
            for _ in 0..<good { _ = pair.step() }
            for _ in 0..<10 {
                let garbage = choices.bytes(1 + choices.below(300))
                pair.a.run { $0.onBytes(garbage, now: at(0), effects: &$1) }
                pair.b.run { $0.onBytes(garbage, now: at(0), effects: &$1) }
            }
            for end in [pair.a, pair.b] {
                #expect(!end.seen.contains { if case .received = $0 { true } else { false } })
            }
        }
    }
}
