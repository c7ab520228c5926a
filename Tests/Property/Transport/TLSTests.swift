// Connections secured by TLS: with each other, with those who have only Noise, and with those who mean it ill. SEC-02..06, TLS-01..07.

import Crypto
import Kernel
import Multiformats
import Seams
import Testing
import Transport

private let secret = Bytes(repeating: 7, count: 32)

private func tls(_ key: IdentityKey, number: UInt8 = 5, from time: WallTime = at(0).wall) -> Security {
    .tls(TLSCertificate.credentials(of: key, entropy: Bytes(repeating: number, count: TLSCertificate.entropyBytes), now: time))
}
private let tlsA = tls(keyA), tlsB = tls(keyB)

private func secured(
    seed: UInt64 = 1, pieceBytes: Int = 100_000, isPrivate: Bool = false, expecting: PeerID = keyB.peerID,
    _ a: [Security] = [tlsA], _ b: [Security] = [tlsB]
) -> Pair {
    Pair(seed: seed, pieceBytes: pieceBytes, secrets: isPrivate ? (secret, secret) : (nil, nil), expecting: expecting, securities: (a, b))
}

/// Where a text is in bytes, as on the wire without a secret.
private func holds(_ bytes: Bytes, _ text: String) -> Bool {
    let wanted = Bytes(text.utf8)
    return bytes.indices.contains { bytes[$0...].starts(with: wanted) }
}

@Suite struct TLSTests {
    @Test(arguments: [1, 2, 5, 33, 400, 100_000], [true, false])
    func everyCutOfTheBytesWorks(_ pieceBytes: Int, _ isPrivate: Bool) throws {
        for seed in 1...3 as ClosedRange<UInt64> {
            var pair = secured(seed: seed, pieceBytes: pieceBytes, isPrivate: isPrivate)
            pair.settle()
            #expect(pair.a.seen == [.secured(keyB.publicKey)] && pair.b.seen == [.secured(keyA.publicKey)])
            let id = try opened(&pair, ["/unknown", "/sink/2"])
            pair.send(id, [1, 2, 3])
            pair.send(id, [4])
            pair.settle()
            #expect(pair.b.received(id) == [1, 2, 3, 4] && pair.a.has(.drained(id)))
            pair.send(id, [9, 9], fromA: false)
            pair.closeWrite(id, fromA: false)
            pair.closeWrite(id)
            pair.settle()
            #expect(pair.a.received(id) == [9, 9] && pair.a.has(.remoteClosed(id)) && pair.b.has(.remoteClosed(id)))
            #expect(pair.a.machine.streamCount == 0 && pair.b.machine.streamCount == 0)
            #expect(pair.a.closing == nil && pair.b.closing == nil)
        }
    }

    /// The first piece that each side sends, byte by byte, and a look at what is in it.
    @Test func theMuxerIsAgreedInTheHandshake() {
        var pair = secured()
        var wire: Bytes = []
        pair.corrupt = { _, _, bytes in
            wire += bytes
            return bytes
        }
        pair.settle()
        #expect(holds(wire, "/tls/1.0.0\n") && holds(wire, "\u{0c}/yamux/1.0.0\u{06}libp2p"))
        #expect(!holds(wire, "/yamux/1.0.0\n") && !holds(wire, "/noise"))
    }

    @Test func everyTypeOfIdentityIsKnown() throws {
        for key in try identitiesOfAllTypes() {
            var pair = secured([tlsA], [tls(keyB)])
            pair.a = End(machine: Connection(
                role: .dialler(expecting: key.peerID), key: keyA, networkKey: nil, entropy: Bytes(0..<88), protocols: [],
                securities: [tlsA], now: at(0)))
            pair.b = End(machine: Connection(
                role: .listener, key: key, networkKey: nil, entropy: Bytes(0..<88), protocols: [], securities: [tls(key)], now: at(0)))
            pair.a.run { $0.start(now: at(0), effects: &$1) }
            pair.b.run { $0.start(now: at(0), effects: &$1) }
            pair.settle()
            #expect(pair.a.seen == [.secured(key.publicKey)] && pair.b.seen == [.secured(keyA.publicKey)])
        }
    }

    // MARK: What is agreed on

    /// SEC-02, SEC-03: the dialler's first choice that the listener has.
    @Test(arguments: [
        ([.noise, tlsA], [.noise, tlsB], "/noise"), ([.noise, tlsA], [tlsB], "/tls/1.0.0"), ([.noise, tlsA], [.noise], "/noise"),
        ([.noise], [.noise, tlsB], "/noise"), ([tlsA], [.noise, tlsB], "/tls/1.0.0"), ([tlsA, .noise], [.noise, tlsB], "/tls/1.0.0"),
        ([tlsA, .noise], [.noise], "/noise"),
    ] as [([Security], [Security], String)])
    func theDiallersFirstChoiceIsTaken(_ a: [Security], _ b: [Security], _ wanted: String) throws {
        var pair = secured(isPrivate: false, a, b)
        var answers: Bytes = []
        pair.corrupt = { fromA, _, bytes in
            if !fromA { answers += bytes }
            return bytes
        }
        pair.settle()
        #expect(pair.a.seen == [.secured(keyB.publicKey)] && pair.b.seen == [.secured(keyA.publicKey)])
        #expect(holds(answers, wanted + "\n"))
        #expect(pair.a.machine.security == wanted && pair.b.machine.security == wanted)
        let id = try opened(&pair, ["/echo/1"])
        pair.send(id, [1])
        pair.settle()
        #expect(pair.b.received(id) == [1])
    }

    @Test(arguments: [([.noise], [tlsB], "/noise"), ([tlsA], [.noise], "/tls/1.0.0")] as [([Security], [Security], String)])
    func nothingInCommonIsNamed(_ a: [Security], _ b: [Security], _ wanted: String) {
        var pair = secured(a, b)
        pair.settle()
        #expect(pair.a.closing?.hasPrefix("the other side does not speak \(wanted)") == true, "\(pair.a.closing ?? "open")")
        #expect(pair.a.seen.count == 1 && pair.b.seen.count == 1)
    }

    // MARK: Who is there

    @Test func anotherPeerThanExpectedIsRefused() {
        let wanted = identity(3).peerID
        var pair = secured(expecting: wanted)
        pair.settle()
        #expect(pair.a.closing == "peer id mismatch: expected \(wanted), but remote key matches \(keyB.peerID)")
        // It was told, and learned nothing of us.
        #expect(pair.b.closing == "tls: the other side says: bad certificate")
        #expect(pair.a.seen.count == 1 && pair.b.seen.count == 1)
    }

    /// Both sides look at the certificate: either may have the bad one.
    @Test func badCertificatesAreRefused() throws {
        var nameless = Forge(keyB)
        nameless.terms.extensions = []
        var late = Forge(keyB)
        late.terms.notAfter = at(0).wall + (.zero - .seconds(1))
        var early = Forge(keyB)
        early.terms.notBefore = at(0).wall + .seconds(1)
        let two = Forge(keyB).credentials(followedBy: [Forge(keyB, number: 78).certificate])
        for (bad, reason) in [
            (nameless.credentials(), "tls: the other side's certificate names no peer"),
            (late.credentials(), "tls: the other side's certificate has expired: do both clocks agree?"),
            (early.credentials(), "tls: the other side's certificate is not valid yet: do both clocks agree?"),
            (two, "tls: the other side showed 2 certificates, and exactly one is allowed"),
        ] {
            var listener = secured([tlsA], [.tls(bad)])
            listener.settle()
            #expect(listener.a.seen == [.close(reason: reason)])
            #expect(listener.b.closing == "tls: the other side says: bad certificate" && listener.b.seen.count == 1)

            // TLS-07: the dialler is done before it hears.
            var dialler = secured([.tls(bad)], [tlsB])
            dialler.settle()
            #expect(dialler.b.seen == [.close(reason: reason)])
            #expect(dialler.a.seen == [.secured(keyB.publicKey), .close(reason: "tls: the other side says: bad certificate")])
        }
    }

    /// The clock of whoever looks is what counts.
    @Test func timeIsHandedIn() {
        var pair = secured([tls(keyA)], [tls(keyB, from: at(0).wall + .hours(2))])
        pair.settle()
        #expect(pair.a.closing == "tls: the other side's certificate is not valid yet: do both clocks agree?")
        pair = secured([tls(keyA)], [tls(keyB, from: at(0).wall + .hours(2))])
        pair.now = at(3_600_000)  // an hour later, an hour before it was made
        pair.settle()
        #expect(pair.a.seen == [.secured(keyB.publicKey)])
    }

    // MARK: The end

    @Test func theOthersLastWordIsHeard() throws {
        var pair = secured()
        pair.settle()
        pair.a.run { $0.close(code: GoAwayCode.normal, reason: "enough", now: at(0), effects: &$1) }
        #expect(!pair.a.wire.isEmpty)
        pair.settle()
        #expect(pair.b.closing == "tls: the other side has ended the connection")
        // What was said before counts: why it ends, here.
        pair = secured()
        pair.settle()
        pair.a.run { $0.close(code: GoAwayCode.shutdown, reason: "enough", now: at(0), effects: &$1) }
        pair.settle()
        #expect(pair.b.closing?.contains("shutdown") == true, "\(pair.b.closing ?? "open")")
    }

    /// A dialler may say all that it has to say behind its certificate, and go.
    @Test func aWholeLifeInOnePieceIsHeard() throws {
        for isDone in [true, false] {
            var pair = secured()
            while !pair.a.machine.isOpen, pair.step() {}
            #expect(!pair.b.machine.isOpen)
            let id = try opened(&pair, ["/echo/1"])
            pair.send(id, [1, 2, 3])
            pair.closeWrite(id)
            if isDone { pair.a.run { $0.close(code: GoAwayCode.normal, reason: "done", now: at(0), effects: &$1) } }
            let wire = pair.a.wire
            pair.b.run { $0.onBytes(wire, now: at(0), effects: &$1) }
            #expect(pair.b.seen.first == .secured(keyA.publicKey) && pair.b.received(id) == [1, 2, 3])
            #expect(pair.b.closing == (isDone ? "tls: the other side has ended the connection" : nil))
        }
    }

    /// The handshake may stop anywhere: nothing is believed, and time ends it.
    @Test func whoStopsInTheMiddleIsGivenUp() {
        for isLost in [true, false] {
            for steps in 0..<400 {
                var pair = secured(pieceBytes: 20)
                for _ in 0..<steps { _ = pair.step() }
                if pair.b.machine.isOpen { break }
                #expect(pair.b.machine.nextDeadline == at(10_000).monotonic || pair.b.machine.nextDeadline == at(15_000).monotonic)
                if isLost {
                    pair.b.run { $0.onClosed(reason: "EOF", now: at(1), effects: &$1) }
                    #expect(pair.b.closing?.hasPrefix("connection lost: EOF") == true && pair.b.seen.count == 1)
                } else {
                    pair.b.run { [wire = pair.b.wire.count] in $0.onWritten(wire, now: at(2), effects: &$1) }
                    #expect(pair.b.machine.nextDeadline == at(15_000).monotonic)
                    pair.b.run { $0.onTime(now: at(15_000), effects: &$1) }
                    #expect(pair.b.closing?.hasPrefix("handshake timed out") == true && pair.b.seen.count == 1)
                }
                #expect(steps < 399, "a handshake without an end")
            }
        }
    }

    // MARK: Hosts

    private static let offers: [[Security]] = [[.noise, tlsA], [tlsB], [.noise], [.noise, tls(identity(4))]]

    /// Four hosts that offer both, TLS alone, Noise alone, both: who can, connects, and by what the dialler would rather have.
    @Test func hostsConnectByWhatBothHave() {
        for (dialler, listener, wanted) in [
            (0, 1, "/tls/1.0.0"), (1, 0, "/tls/1.0.0"), (0, 2, "/noise"), (2, 0, "/noise"), (0, 3, "/noise"), (3, 1, "/tls/1.0.0"),
        ] {
            var network = Network(4, secrets: [secret, secret, secret, secret], securities: Self.offers)
            network.want(dialler, .dial(network.id(listener), [Network.address(listener)]))
            network.settle()
            for (here, there) in [(dialler, listener), (listener, dialler)] {
                #expect(network.hosts[here].introduction(of: network.id(there)) != nil)
                #expect(network.log(here, .debug).contains {
                    $0.hasPrefix("connection to \(network.id(there)) at ") && $0.hasSuffix(" secured by \(wanted)")
                }, "\(dialler) dials \(listener)")
            }
        }
        var network = Network(4, secrets: [secret, secret, secret, secret], securities: Self.offers)
        network.want(1, .dial(network.id(2), [Network.address(2)]))
        network.settle()
        #expect(network.dialFailures.count == 1 && network.dialFailures[0].contains("the other side does not speak /tls/1.0.0"))
    }

    /// Those who have agreed on TLS and then say nothing have proven nothing: they make room, and their time ends.
    @Test func theHalfOpenMakeRoom() {
        var settings = HostSettings()
        settings.resources.inboundHandshakes = 10
        settings.resources.inboundConnections = 11
        var network = Network(2, securities: Self.offers, settings: settings)
        for number in 1000..<1030 as Range<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/127.0.0.1/tcp/\(number)")))
            network.tell(0, .received(.inbound(number), Multistream.header + Multistream.token("/tls/1.0.0") + [22, 3, 1]))
        }
        #expect(network.hosts[0].socketCount == 10)
        network.want(1, .dial(network.id(0), [Network.address(0)]))
        network.settle()
        #expect(network.hosts[0].isConnected(network.id(1)) && network.hosts[0].socketCount <= 11)
        network.pass(15_000)
        #expect(network.hosts[0].isConnected(network.id(1)) && network.hosts[0].socketCount == 1)
    }

    // MARK: What goes through it

    @Test(arguments: [1, 2] as [UInt64])
    func bigTransfersKeepWithinTheirCredit(_ seed: UInt64) throws {
        var pair = secured(seed: seed, pieceBytes: 50_000, isPrivate: true)
        try expectBigTransfers(over: &pair)
    }

    // MARK: Those who mean it ill

    /// Nothing false is ever delivered, and a peer that was not there is never believed.
    @Test func changedBytesAreNoticed() throws {
        for position in stride(from: 0, to: 1800, by: 7) {
            for fromA in [true, false] {
                var pair = secured()
                pair.corrupt = { isA, start, bytes in
                    guard isA == fromA, (start..<start + bytes.count).contains(position) else { return bytes }
                    var bytes = bytes
                    bytes[position - start] ^= 0x20
                    return bytes
                }
                pair.settle()
                for case .secured(let key) in pair.a.seen { #expect(key == keyB.publicKey) }
                for case .secured(let key) in pair.b.seen { #expect(key == keyA.publicKey) }
                guard pair.a.machine.isOpen else { continue }
                let id = try opened(&pair, ["/echo/1"])
                pair.send(id, Bytes(repeating: 3, count: 500))
                pair.settle()
                #expect(Bytes(repeating: 3, count: 500).starts(with: pair.b.received(id)))
            }
        }
    }

    /// Garbage into every layer, and after it more of it, never stops the process or delivers anything.
    @Test func garbageIsRefused() {
        var choices = Choices(seed: 5)
        for _ in 0..<300 {
            var pair = secured(isPrivate: choices.chance(1, in: 2))
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

    /// A listener that has agreed on TLS, and what it says of these bytes.
    private func verdict(of bytes: Bytes) -> String? {
        var end = End(machine: Connection(
            role: .listener, key: keyB, networkKey: nil, entropy: Bytes(0..<88), protocols: [], securities: [.noise, tlsB], now: at(0)))
        end.run { $0.start(now: at(0), effects: &$1) }
        end.run { $0.onBytes(Multistream.header + Multistream.token("/tls/1.0.0") + bytes, now: at(0), effects: &$1) }
        return end.closing
    }

    @Test func whatIsNoHandshakeIsNamed() {
        #expect(verdict(of: Bytes("GET / HTTP/1.1\r\n\r\n".utf8)) == "tls: http request")
        #expect(verdict(of: Bytes(repeating: 0xff, count: 40)) == "tls: wrong version number")
        // A record of more than TLS allows.
        #expect(verdict(of: [22, 3, 1, 0xff, 0xff] + Bytes(repeating: 1, count: 70_000)) == "tls: packet length too long")
        // A first message of 16 MiB less a byte.
        #expect(verdict(of: [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff] + Bytes(repeating: 1, count: 16_380)) == "tls: excessive message size")
        // Noise's first message.
        #expect(verdict(of: [0, 32] + Bytes(repeating: 9, count: 32)) != nil)
        #expect(verdict(of: []) == nil)
    }

    /// The first message of OpenSSL 3.0's `s_client -tls1_2`: no TLS 1.3 in it.
    @Test func olderVersionsAreRefused() {
        #expect(verdict(of: Self.tls12) == "tls: unsupported protocol")
    }
    private static let tls12 = data(
        "16030100d1010000cd0303a2b22ab5b4efb24b1d5417d2b0d5d4ee0a287b74f323348ed4ed034089b6e23b000038c02cc030009fcca9cc"
            + "a8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff0100006c000b0004"
            + "03000102000a000c000a001d0017001e00190018002300000010001600140c2f79616d75782f312e302e30066c69627032700016000000"
            + "170000000d002a0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602")
}
