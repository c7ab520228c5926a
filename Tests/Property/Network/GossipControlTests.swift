// What gossip says beside messages: peer exchange, IDONTWANT, fan-out, leaving. GS-25, GS-27..29, GSP-07, GSP-13..15.

import Encoding
import Gossip
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

/// One machine, and peers that say and hear what a test wants.
private struct Lone {
    static let topic = "news"
    var machine: Gossip
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    var choices = Choices(seed: 4)
    private var streams: [Int: StreamID] = [:]
    private var effects: [Gossip.Effect] = []

    init(subscribes: Bool = true, _ shape: (inout Gossip.Settings) -> Void = { _ in }) {
        var settings = Gossip.Settings()
        shape(&settings)
        machine = Gossip(settings: settings, me: netPeer(0), signer: CheapSigner(me: netPeer(0)), owner: 2, firstSequenceNumber: 1, now: now)
        if subscribes { act { $0.subscribe(Lone.topic, trust: .everyone, now: $1, choices: &$2, effects: &$3) } }
    }

    mutating func act(_ body: (inout Gossip, Now, inout Choices, inout [Gossip.Effect]) -> Void) {
        body(&machine, now, &choices, &effects)
    }
    mutating func pass(_ span: Span) {
        let end = now.monotonic + span
        while let due = machine.nextDeadline, due <= end {
            now = Now(monotonic: due, wall: now.wall)
            act { $0.onTime(now: $1, choices: &$2, effects: &$3) }
        }
        now = Now(monotonic: end, wall: now.wall)
    }

    /// It is in the topic, over a stream of that version.
    mutating func join(_ peer: Int, version: String = "/meshsub/1.2.0", outbound: Bool = false, record: Bytes? = nil) {
        let id = netPeer(peer)
        act { machine, now, choices, effects in
            machine.onConnected(id, outbound: outbound)
            machine.onIntroduced(id, PeerIntroduction(protocols: [version], signedRecord: record), effects: &effects)
        }
        for case .stream(.open(let stream, to: id, _)) in effects {
            streams[peer] = stream
            act { $0.onStream(.opened(stream, protocol: version), now: $1, choices: &$2, effects: &$3) }
        }
        act { $0.onStream(.incoming(StreamID(owner: 0, number: UInt64(peer)), from: id, protocol: version), now: $1, choices: &$2, effects: &$3) }
        hear(peer) { $0.message(1) { $0.explicit(1, varint: 1); $0.explicit(2, bytes: Bytes(Lone.topic.utf8)) } }
    }
    mutating func hear(_ peer: Int, _ build: (inout ProtobufWriter) -> Void) {
        var writer = ProtobufWriter()
        build(&writer)
        act { $0.onStream(.received(StreamID(owner: 0, number: UInt64(peer)), framed(writer.bytes)), now: $1, choices: &$2, effects: &$3) }
    }
    mutating func control(_ peer: Int, _ number: Int, _ build: (inout ProtobufWriter) -> Void) { hear(peer) { $0.message(3) { $0.message(number, build) } } }
    mutating func prune(_ peer: Int, telling others: [(id: Bytes, record: Bytes?)]) {
        control(peer, 4) { writer in
            writer.explicit(1, bytes: Bytes(Lone.topic.utf8))
            for other in others {
                writer.message(2) { $0.explicit(1, bytes: other.id); if let record = other.record { $0.explicit(2, bytes: record) } }
            }
        }
    }
    mutating func graft(_ peer: Int) { control(peer, 3) { $0.explicit(1, bytes: Bytes(Lone.topic.utf8)) } }

    /// What was told and sent since the last look.
    mutating func take() -> [Gossip.Effect] {
        defer { effects = [] }
        return effects
    }
    /// The fields of that number in all RPCs to a peer; of its control messages where `control` says so.
    mutating func sent(_ effects: [Gossip.Effect], to peer: Int, _ number: Int, control: Bool = true) throws -> [Bytes] {
        var found: [Bytes] = []
        for case .stream(.send(let stream, let bytes)) in effects where stream == streams[peer] {
            var frames = FrameReader(limitBytes: 1 << 20)
            frames.append(bytes)
            while let frame = try frames.next() {
                for field in try fields(frame) {
                    if !control, field.number == number { found.append(Bytes(try field.bytes())) }
                    guard control, field.number == 3 else { continue }
                    for inner in try fields(try field.bytes()) where inner.number == number { found.append(Bytes(try inner.bytes())) }
                }
            }
        }
        return found
    }
    var mesh: [Int] { (0..<60).filter { machine.meshPeers(Lone.topic).contains(netPeer($0)) } }
}

private func fields(_ bytes: some Collection<UInt8>) throws -> [ProtobufReader.Field] {
    var reader = ProtobufReader(ArraySlice(bytes))
    var found: [ProtobufReader.Field] = []
    while let field = try reader.next() { found.append(field) }
    return found
}

private func message(by author: Int, _ data: Bytes, number: UInt64, signedBy signer: Int? = nil) -> Bytes {
    var message = GossipMessage()
    message.from = netPeer(author).bytes
    message.data = data
    message.sequence = (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
    message.topic = Bytes(Lone.topic.utf8)
    message.signature = CheapSigner(me: netPeer(signer ?? author)).sign(message.signedBytes)
    return message.encoded
}

@Suite struct PeerExchangeTests {
    /// A full mesh sends away whoever comes, with others of the topic and their records.
    private func full(_ shape: (inout Gossip.Settings) -> Void = { _ in }) -> Lone {
        var lone = Lone { $0.meshFactor = 1; shape(&$0) }
        for peer in 1...20 {
            lone.join(peer, record: peer % 2 == 0 ? [UInt8(peer)] : nil)
            lone.graft(peer)
        }
        return lone
    }

    @Test func whoIsPrunedHearsOfOthers() throws {
        var lone = full()
        #expect(lone.mesh.count == 12)
        lone.join(30)
        _ = lone.take()
        lone.graft(30)
        let effects = lone.take()
        let prune = try fields(try #require(try lone.sent(effects, to: 30, 4).first))
        #expect(try prune.first { $0.number == 3 }?.uint64() == 60)
        var told: [Bytes: Bytes?] = [:]
        for case let field in prune where field.number == 2 {
            let parts = try fields(try field.bytes())
            told[Bytes(try parts[0].bytes())] = try parts.count > 1 ? Bytes(parts[1].bytes()) : nil
        }
        #expect(told.count == 16)
        for peer in 1...20 { if let record = told[netPeer(peer).bytes] { #expect(record == (peer % 2 == 0 ? [UInt8(peer)] : nil)) } }
        #expect(told[netPeer(30).bytes] == nil)
        // Under back-off it is told of nobody.
        lone.graft(30)
        let again = try fields(try #require(try lone.sent(lone.take(), to: 30, 4).first))
        #expect(again.map(\.number) == [1, 3])
    }

    @Test func oldPeersAndThoseOfFollowersHearOfNobody() throws {
        var lone = full()
        lone.join(30, version: "/meshsub/1.0.0")
        _ = lone.take()
        lone.graft(30)
        #expect(try fields(try #require(try lone.sent(lone.take(), to: 30, 4).first)).map(\.number) == [1])
        var follower = full { $0.exchangesPeers = false }
        follower.join(30)
        _ = follower.take()
        follower.graft(30)
        #expect(try fields(try #require(try follower.sent(follower.take(), to: 30, 4).first)).map(\.number) == [1, 3])
    }

    /// Who is told of is passed on, if it is somebody else, and by a member of the mesh only.
    @Test func whoIsToldOfIsMet() {
        var lone = Lone()
        lone.join(1)
        lone.join(2)
        #expect(lone.mesh == [1, 2])
        _ = lone.take()
        lone.prune(1, telling: [(netPeer(0).bytes, nil), (netPeer(2).bytes, [9]), ([1, 2], nil), (netPeer(40).bytes, [7]), (netPeer(41).bytes, [])])
        var met: [ExchangedPeer] = []
        for case .exchanged(let others) in lone.take() { met += others }
        #expect(Set(met.map(\.id)) == [netPeer(40), netPeer(41)])
        #expect(met.first { $0.id == netPeer(40) }?.record == [7] && met.first { $0.id == netPeer(41) }?.record == .some(nil))
        // It is no member any more.
        lone.prune(1, telling: [(netPeer(42).bytes, nil)])
        #expect(lone.take().allSatisfy { if case .exchanged = $0 { false } else { true } })
        lone.prune(2, telling: (0..<5000).map { (netPeer(100 + $0 % 300).bytes, nil) })
        for case .exchanged(let others) in lone.take() { #expect(others.count == 16) }
    }
}

@Suite struct UnwantedTests {
    @Test func theMeshIsToldWhatNeedNotBeSent() throws {
        var lone = Lone()
        lone.join(1)
        lone.join(2)
        lone.join(3, version: "/meshsub/1.1.0")
        _ = lone.take()
        lone.hear(1) { $0.explicit(2, bytes: message(by: 9, Bytes(repeating: 1, count: 1024), number: 5)) }
        let effects = lone.take()
        let id = Bytes(netPeer(9).bytes.prefix(16)) + [0, 0, 0, 0, 0, 0, 0, 5]
        #expect(try lone.sent(effects, to: 2, 5).map { try fields($0).map { Bytes(try $0.bytes()) } } == [[id]])
        #expect(try lone.sent(effects, to: 1, 5).isEmpty && lone.sent(effects, to: 3, 5).isEmpty)
        // It still goes to whoever has not said the same; before it comes what it is about.
        #expect(try lone.sent(effects, to: 2, 2, control: false).count == 1 && lone.sent(effects, to: 3, 2, control: false).count == 1)
    }

    @Test func littleMessagesAndForgedOnesAreNotTold() throws {
        var lone = Lone()
        lone.join(1)
        lone.join(2)
        _ = lone.take()
        lone.hear(1) { $0.explicit(2, bytes: message(by: 9, Bytes(repeating: 1, count: 1023), number: 5)) }
        lone.hear(1) { $0.explicit(2, bytes: message(by: 9, Bytes(repeating: 1, count: 4000), number: 6, signedBy: 8)) }
        let effects = lone.take()
        #expect(try lone.sent(effects, to: 2, 5).isEmpty)
        lone.act { $0.publish(Lone.topic, Bytes(repeating: 2, count: 2000), now: $1, choices: &$2, effects: &$3) }
        let own = lone.take()
        #expect(try lone.sent(own, to: 1, 5).count == 1 && lone.sent(own, to: 2, 5).count == 1)
    }
}

@Suite struct FanOutTests {
    private func hearers(_ lone: inout Lone, of number: UInt8) throws -> Set<Int> {
        lone.act { $0.publish(Lone.topic, [number], now: $1, choices: &$2, effects: &$3) }
        let effects = lone.take()
        return Set(try (1...40).filter { try !lone.sent(effects, to: $0, 2, control: false).isEmpty })
    }

    /// Who publishes without being in the topic sends to the same few.
    @Test func theSameFewHear() throws {
        var lone = Lone(subscribes: false) { $0.meshFactor = 1 }
        for peer in 1...40 { lone.join(peer) }
        let first = try hearers(&lone, of: 1)
        #expect(first.count == 6)
        lone.pass(.seconds(30))
        #expect(try hearers(&lone, of: 2) == first)
        lone.pass(.seconds(50))
        #expect(try hearers(&lone, of: 3) == first)
        lone.pass(.minutes(3))
        #expect(try hearers(&lone, of: 4) != first)
    }

    /// And those of them that go are replaced.
    @Test func whoGoesIsReplaced() throws {
        var lone = Lone(subscribes: false) { $0.meshFactor = 1 }
        for peer in 1...40 { lone.join(peer) }
        let first = try hearers(&lone, of: 1)
        let gone = try #require(first.first)
        lone.act { machine, _, _, _ in machine.onDisconnected(netPeer(gone)) }
        lone.pass(.seconds(11))
        let second = try hearers(&lone, of: 2)
        #expect(second.count == 6 && second.isSuperset(of: first.subtracting([gone])))
    }
}

@Suite struct MeshUpkeepTests {
    /// GS-29.
    @Test func whoLeavesSaysSo() throws {
        var lone = Lone()
        lone.join(1)
        lone.join(2, version: "/meshsub/1.0.0")
        _ = lone.take()
        lone.act { $0.unsubscribe(Lone.topic, now: $1, choices: &$2, effects: &$3) }
        let effects = lone.take()
        #expect(try lone.sent(effects, to: 1, 1, control: false) == [[8, 0, 18, 4] + Bytes(Lone.topic.utf8)])
        #expect(try fields(try #require(try lone.sent(effects, to: 1, 4).first)).first { $0.number == 3 }?.uint64() == 10)
        #expect(try fields(try #require(try lone.sent(effects, to: 2, 4).first)).map(\.number) == [1])
        #expect(lone.mesh.isEmpty)
        lone.hear(1) { $0.explicit(2, bytes: message(by: 9, [1], number: 5)) }
        #expect(lone.take().allSatisfy { if case .deliver = $0 { false } else { true } })
    }

    /// GS-25: strangers that come to us do not fill the whole mesh.
    @Test func someOfTheMeshAreOfOurChoice() {
        var lone = Lone { $0.meshFactor = 1 }
        for peer in 1...8 {
            lone.join(peer)
            lone.graft(peer)
        }
        #expect(lone.mesh.count == 8)
        for peer in 11...14 { lone.join(peer, outbound: true) }
        #expect(lone.mesh.allSatisfy { $0 < 10 })
        lone.pass(.seconds(11))
        #expect(lone.mesh.filter { $0 > 10 }.count == 2 && lone.mesh.count == 10)
    }
}
