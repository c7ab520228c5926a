// Bitswap among friends: whatever is wanted comes, over whom it comes, and what it costs.

import Encoding
import Exchange
import Kernel
import Multiformats
import Seams
import Testing

/// BS-02: peers of before 1.2.0 are asked, and answered, in what they know.
@Suite struct OlderBitswapTests {
    @Test(arguments: [
        ("/ipfs/bitswap/1.1.0", ["/ipfs/bitswap/1.1.0"], "1a"), ("/ipfs/bitswap/1.0.0", ["/ipfs/bitswap/1.0.0", "/ipfs/bitswap"], "12"),
        ("/ipfs/bitswap", ["/ipfs/bitswap/1.0.0", "/ipfs/bitswap"], "12"),
    ])
    func olderPeersAreSpokenToAsTheySpeak(proto: String, expected: [String], field: String) throws {
        var machine = Exchange(settings: ExchangeSettings(), owner: 3)
        let now = Now(monotonic: .origin, wall: .epoch)
        let peer = netPeer(1)
        let data = Bytes("hello".utf8)
        let (mine, theirs) = (CID(v1: Codec.dagPB, .sha2_256(of: data)), CID(v1: Codec.dagPB, .sha2_256(of: [7])))
        let blocks: Exchange.Blocks = { cid, look in cid == mine ? look == .size ? .size(data.count) : .bytes(data) : nil }
        var effects: [Exchange.Effect] = []
        func act(_ body: (inout Exchange, inout [Exchange.Effect]) -> Void) -> [(protocols: [String], bytes: Bytes)] {
            effects = []
            body(&machine, &effects)
            var opened: [StreamID: [String]] = [:]
            var sent: [(protocols: [String], bytes: Bytes)] = []
            for case .stream(let effect) in effects {
                if case .open(let stream, _, let protocols) = effect { opened[stream] = protocols }
                if case .send(let stream, let bytes) = effect { sent.append((opened[stream] ?? [], bytes)) }
            }
            return sent
        }
        // Who is not introduced yet is answered on what it has opened.
        var entry = BitswapMessage.Entry(cid: mine)
        entry.sendDontHave = true
        var absent = entry
        absent.cid = theirs
        var question = BitswapMessage()
        question.wants = [entry]
        let stream = StreamID(owner: 0, number: 1)
        _ = act { $0.onStream(.incoming(stream, from: peer, protocol: proto), blocks: blocks, now: now, effects: &$1) }
        let answers = act { $0.onStream(.received(stream, question.frame), blocks: blocks, now: now, effects: &$1) }
        #expect(answers.map(\.protocols) == [expected])
        let answer = try #require(answers.first?.bytes)
        #expect(hex(answer) == (field == "12" ? "090a00120568656c6c6f" : "110a001a0d0a0401701220120568656c6c6f"))
        // Nothing is said of what is not here, and only blocks are asked for.
        question.wants = [absent]
        #expect(act { $0.onStream(.received(stream, question.frame), blocks: blocks, now: now, effects: &$1) }.isEmpty)
        _ = act { $0.onIntroduced(peer, PeerIntroduction(protocols: [proto, "/ipfs/id/1.0.0"]), now: now, effects: &$1) }
        let questions = act { $0.want([theirs], now: now, effects: &$1) }
        #expect(questions.map(\.protocols) == [expected])
        let asked = try BitswapMessage(decoding: (try #require(questions.first)).bytes.dropFirst())
        #expect(asked.wants.map(\.cid) == [theirs] && asked.wants.allSatisfy { !$0.sendDontHave && !$0.wantsHave })
        // What comes bare is known by its hash.
        let reply = field == "12" ? bytes(hex: "050a00120107") : bytes(hex: "0d0a001a090a040170122012") .map { $0 + [1, 7] }
        _ = act { $0.onStream(.received(stream, reply ?? []), blocks: blocks, now: now, effects: &$1) }
        #expect(effects.contains(.received(theirs, [7], from: peer)))
    }
}

@Suite struct ExchangeTests {
    private func blocks(_ count: Int, bytes: Int = 40) -> [(cid: CID, data: Bytes)] {
        (0..<count).map { ExchangeNet.block($0, bytes: bytes) }
    }

    /// Random wants, cancels, hints, gifts from elsewhere, lost and new connections, against a model. In the end everything
    /// that is wanted and anyone has is there, once; the rest waits; and what was cancelled has left nothing.
    @Test(arguments: 0..<16) func whatIsWantedComes(_ seed: Int) {
        var choices = Choices(seed: UInt64(seed) + 900)
        var settings = ExchangeSettings()
        settings.liveWantsMax = 1 + choices.below(30)
        settings.wantsMax = 80 + choices.below(100)
        settings.wantsAtOnce = 1 + choices.below(20)
        settings.outstandingBytesPerPeer = 1 + choices.below(4000)
        settings.streamBytes = 1 + choices.below(1000)
        settings.responseBytes = 1 + choices.below(500)
        let count = 2 + choices.below(4)
        let net = ExchangeNet(count, settings: settings)
        net.bytesPerSecond = (0..<count).map { _ in [0, 5000, 100_000][choices.below(3)] }
        let all = blocks(80, bytes: 100)
        for block in all where choices.chance(3, in: 4) { net.hold(choices.below(count), block) }
        var wanted: [[Multihash: CID]] = Array(repeating: [:], count: count)
        for _ in 0..<150 {
            let (peer, other) = (choices.below(count), choices.below(count))
            let some = (0...choices.below(12)).map { _ in all[choices.below(all.count)] }
            switch choices.below(10) {
            case 0...3:
                let fresh = some.filter { net.stores[peer][$0.cid.multihash] == nil }
                for block in fresh { wanted[peer][block.cid.multihash] = block.cid }
                net.want(peer, fresh.map(\.cid), from: choices.chance(1, in: 3) ? other : nil)
            case 4:
                for block in some { wanted[peer][block.cid.multihash] = nil }
                net.cancel(peer, some.map(\.cid))
            case 5: if wanted[peer][some[0].cid.multihash] == nil { net.hold(peer, some[0]) }
            case 6: net.disconnect(peer, other)
            case 7...8: net.connect(peer, other)
            default: net.run(choices.span(.zero, .seconds(3)))
            }
            for peer in 0..<count { wanted[peer] = wanted[peer].filter { net.received[peer][$0.key] == nil } }
        }
        for a in 0..<count { for b in 0..<a { net.connect(a, b) } }
        net.run(.minutes(2))
        for peer in 0..<count {
            #expect(net.received[peer].values.allSatisfy { $0 == 1 })
            let open = wanted[peer].filter { net.received[peer][$0.key] == nil }
            for hash in open.keys { #expect(net.stores.allSatisfy { $0[hash] == nil }, "somebody has it") }
            #expect(net.machines[peer].wantCount == open.count)
            net.cancel(peer, Array(open.values))
        }
        net.run(.seconds(10))
        for machine in net.machines {
            #expect(machine.wantCount == 0 && machine.nextDeadline == nil)
            #expect(net.ids.allSatisfy { machine.ledger(of: $0).isEmpty && machine.waitingAnswers(for: $0) == 0 })
        }
    }

    /// CM-02: both sides of an exchange know of it, while it runs and a moment longer.
    @Test func whoTradesIsKnown() {
        let net = ExchangeNet(3)
        let all = blocks(20, bytes: 1000)
        net.bytesPerSecond = [0, 20_000, 0]
        for block in all { net.hold(1, block) }
        net.connect(0, 1)
        net.connect(0, 2)
        net.run(.seconds(1))
        func isTrading(_ peer: Int, _ other: Int) -> Bool { net.machines[peer].isTrading(with: net.ids[other], now: net.now) }
        #expect(!isTrading(0, 1) && !isTrading(1, 0))
        net.want(0, all.map(\.cid), from: 1)
        net.run(.milliseconds(100))
        #expect(isTrading(0, 1) && isTrading(1, 0) && !isTrading(0, 2) && !isTrading(2, 0))
        net.run(.seconds(5))
        #expect(net.received[0].count == 20)
        #expect(isTrading(0, 1) && !isTrading(1, 0))
        net.run(.seconds(31))
        #expect(!isTrading(0, 1))
    }

    private func star(_ givers: Int, _ all: [(cid: CID, data: Bytes)], settings: ExchangeSettings = ExchangeSettings()) -> ExchangeNet {
        let net = ExchangeNet(givers + 1, settings: settings)
        for giver in 1...givers {
            for block in all { net.stores[giver][block.cid.multihash] = block.data }
            net.connect(0, giver)
        }
        return net
    }

    @Test func wantsSpreadOverThoseWhoGive() {
        let all = blocks(1500, bytes: 2000)
        let net = star(4, all)
        net.bytesPerSecond = [0, 200_000, 200_000, 200_000, 50_000]
        net.want(0, all.map(\.cid))
        net.run(.minutes(2)) { net.received[0].count == all.count }
        #expect(net.received[0].count == all.count)
        #expect(net.gifts[0][1...3].allSatisfy { $0 > 300 } && net.gifts[0][4] > 25, "\(net.gifts[0])")
        // 3 MB at 650 kB/s.
        #expect(net.now.monotonic - .origin < .seconds(9), "\(net.now.monotonic - .origin)")
    }

    /// Those who never answer hold up a few wants, not all that they might be asked for.
    @Test func theSilentHoldUpLittle() {
        let all = blocks(800)
        let net = star(10, all)
        net.want(0, [all[0].cid], from: 7)
        net.run(.seconds(1))
        net.deaf = Set((1...10).filter { $0 != 7 })
        net.want(0, all.map(\.cid))
        net.run(.seconds(1))
        #expect(net.received[0].count > 700)
        net.run(.seconds(20))
        #expect(net.received[0].count == 800)
    }

    /// Whoever gives one large block after another is not given up because the next takes its time.
    @Test func whoIsBusyGivingIsNotSilent() {
        let all = blocks(20, bytes: 100_000)
        let net = star(2, all)
        net.stores[2] = [:]
        net.bytesPerSecond[1] = 100_000
        net.want(0, all.map(\.cid), from: 1)
        net.run(.seconds(19))
        #expect(net.received[0].count >= 18 && net.wantMessages[0] == [20])
        net.run(.seconds(3))
        #expect(net.received[0].count == 20)
    }

    @Test func whoIsNamedIsAskedFirst() {
        let all = blocks(3)
        let net = star(5, all)
        net.want(0, [all[0].cid])
        net.run(.seconds(1))
        let usual = net.gifts[0].firstIndex(of: 1) ?? 0
        let named = usual == 5 ? 4 : 5
        net.want(0, [all[1].cid], from: named)
        net.run(.milliseconds(30))
        #expect(net.gifts[0][named] == 1)
        net.disconnect(0, named)
        net.want(0, [all[2].cid], from: named)  // who is not there is nobody
        net.run(.milliseconds(30))
        #expect(net.received[0].count == 3)
    }

    /// Named later, when all others have been asked in vain.
    @Test func whoIsNamedLateIsAskedAtOnce() {
        let net = ExchangeNet(3)
        net.connect(0, 1)
        let block = ExchangeNet.block(0)
        net.want(0, [block.cid])
        net.run(.minutes(3))
        net.connect(0, 2)
        net.run(.seconds(1))
        net.stores[2][block.cid.multihash] = block.data
        net.want(0, [block.cid], from: 2)
        net.run(.milliseconds(30))
        #expect(net.received[0].count == 1)
    }

    /// Also to those who were asked in an earlier round only.
    @Test func everyoneIsToldThatAWantIsOver() throws {
        let net = ExchangeNet(4)
        for other in 1...3 { net.connect(0, other) }
        let cid = ExchangeNet.block(0).cid
        net.want(0, [cid])
        net.run(.milliseconds(500))
        #expect((1...3).allSatisfy { net.machines[$0].ledger(of: net.ids[0]) == [cid.multihash] })
        net.run(try #require(net.machines[0].nextDeadline) - net.now.monotonic)
        net.cancel(0, [cid])
        net.run(.seconds(1))
        #expect((1...3).allSatisfy { net.machines[$0].ledger(of: net.ids[0]).isEmpty })
    }

    /// N05: its message may be the first that is known of it.
    @Test func whoSpeaksBeforeItsIntroductionIsAskedAfterIt() {
        let settings = ExchangeSettings()
        var machine = Exchange(settings: settings, owner: 3)
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var effects: [Exchange.Effect] = []
        machine.want([ExchangeNet.block(0).cid], now: now, effects: &effects)
        let stream = StreamID(owner: 0, number: 1)
        machine.onStream(.incoming(stream, from: netPeer(1), protocol: ""), blocks: { _, _ in nil }, now: now, effects: &effects)
        machine.onStream(.received(stream, BitswapMessage().frame), blocks: { _, _ in nil }, now: now, effects: &effects)
        effects = []
        machine.onIntroduced(netPeer(1), PeerIntroduction(protocols: Exchange.protocols), now: now, effects: &effects)
        #expect(effects.contains { if case .stream(.send) = $0 { true } else { false } })
    }

    /// What nobody has does not keep out what somebody has.
    @Test func wantsThatNobodyHasMakeRoom() {
        let all = blocks(1500)
        let net = star(2, Array(all.suffix(300)))
        net.want(0, all.map(\.cid))
        net.run(.seconds(10))
        #expect(net.received[0].count == 300)
    }

    /// A backlog goes out in full messages, not one want for each block that comes.
    @Test func aBacklogGoesOutInBatches() {
        let all = blocks(6000)
        let net = star(1, all)
        net.want(0, all.map(\.cid))
        net.run(.minutes(1)) { net.received[0].count == all.count }
        #expect(net.received[0].count == all.count)
        #expect(net.wantMessages[0].count < 30, "\(net.wantMessages[0].count)")
        #expect(net.wantMessages[0].allSatisfy { $0 <= 512 })
    }

    /// Takes seconds; hours, if anything were linear in the backlog for each want.
    @Test func aLargeBacklogCostsNoMoreThanItsWants() {
        var machine = Exchange(owner: 3)
        var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var effects: [Exchange.Effect] = []
        let cids = (0..<20_000).map { CID(v1: Codec.raw, Multihash(code: HashCode.sha2_256, digest: Choices.digest($0))) }
        for peer in 0..<20 {
            machine.onIntroduced(netPeer(peer), PeerIntroduction(protocols: Exchange.protocols), now: now, effects: &effects)
        }
        machine.want(cids, now: now, effects: &effects)
        for cid in cids.prefix(8000) {
            machine.cancel([cid], now: now, effects: &effects)
            effects = []
        }
        #expect(machine.wantCount == 12_000)
        for _ in 0..<8 {
            guard let next = machine.nextDeadline else { break }
            now.monotonic = next
            machine.onTime(now: now, effects: &effects)
            effects = []
        }
        machine.cancel(cids, now: now, effects: &effects)
        #expect(machine.wantCount == 0 && machine.nextDeadline == nil)
    }
}

extension Choices {
    fileprivate static func digest(_ seed: Int) -> Bytes {
        var choices = Choices(seed: UInt64(seed))
        return choices.bytes(32)
    }
}

@Suite struct ServingTests {
    private final class Server {
        var machine = Exchange(owner: 3)
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var stored: [CID: Bytes] = [:]
        var reads = 0
        let asker = netPeer(1)
        /// Blocks by the stream that carries them, in the order of sending.
        var sent: [(stream: StreamID, cids: [CID], bytes: Int)] = []
        private var inbound: UInt64 = 0

        func hold(_ number: Int, bytes: Int) -> CID {
            let (cid, data) = ExchangeNet.block(number, bytes: bytes)
            stored[cid] = data
            return cid
        }
        func ask(_ cids: [CID], _ change: (inout BitswapMessage.Entry) -> Void = { _ in }) {
            var message = BitswapMessage()
            message.wants = cids.map { var entry = BitswapMessage.Entry(cid: $0); change(&entry); return entry }
            inbound += 1
            let stream = StreamID(owner: 0, number: inbound)
            for event in [StreamEvent.incoming(stream, from: asker, protocol: ""), .received(stream, message.frame), .remoteClosed(stream)] { feed(event) }
        }
        func feed(_ event: StreamEvent) {
            var effects: [Exchange.Effect] = []
            machine.onStream(event, blocks: look, now: now, effects: &effects)
            take(effects)
        }
        func look(_ cid: CID, _ look: Exchange.Look) -> Exchange.Found? {
            guard let data = stored[cid] else { return nil }
            if look == .size { return .size(data.count) }
            reads += 1
            return .bytes(data)
        }
        private func take(_ effects: [Exchange.Effect]) {
            for effect in effects {
                switch effect {
                case .stream(.open(let stream, _, _)): sent.append((stream, [], 0))
                case .stream(.send(let stream, let bytes)):
                    #expect(sent.last?.stream == stream)
                    var offset = 0
                    _ = try? readVarint(bytes, at: &offset)
                    guard let message = try? BitswapMessage(decoding: bytes[offset...]) else { Issue.record("unreadable"); return }
                    sent[sent.count - 1].cids += message.blocks.map(\.cid)
                    sent[sent.count - 1].bytes += bytes.count
                default: break
                }
            }
        }
    }

    /// Several blocks of a megabyte are under way, and each that has left makes room for the next.
    @Test func theLinkIsKeptBusy() {
        let server = Server()
        let cids = (0..<20).map { server.hold($0, bytes: 1 << 20) }
        server.ask(cids)
        var drained = 0
        while drained < server.sent.count {
            let outstanding = server.sent[drained...].reduce(0) { $0 + $1.bytes }
            #expect(outstanding <= 5 << 20 + 1000)
            if server.sent.count < 20 { #expect(server.sent.count - drained >= 4) }
            server.feed(.drained(server.sent[drained].stream))
            drained += 1
        }
        #expect(server.sent.flatMap(\.cids) == cids && server.reads == 20)
    }

    /// Whoever asks again before it was answered gets one answer; whoever cancels, none.
    @Test func nothingIsSentTwice() {
        let server = Server()
        let cids = (0..<12).map { server.hold($0, bytes: 1 << 20) }
        server.ask(cids)
        let first = server.sent.flatMap(\.cids).count
        server.ask(Array(cids.suffix(6)))
        server.ask([cids[10]]) { $0.isCancel = true }
        server.ask([cids[11]]) { $0.isCancel = true }
        server.ask([cids[11]])
        var drained = 0
        while drained < server.sent.count {
            server.feed(.drained(server.sent[drained].stream))
            drained += 1
        }
        #expect(first < 6)
        #expect(server.sent.flatMap(\.cids) == Array(cids.prefix(10)) + [cids[11]])
        #expect(server.reads == 11 && server.machine.waitingAnswers(for: server.asker) == 0)
    }

    /// Whether a block is here needs no reading.
    @Test func presenceIsKnownWithoutReading() {
        let server = Server()
        let cids = (0..<50).map { server.hold($0, bytes: 100_000) }
        server.ask(cids) { $0.wantsHave = true }
        #expect(server.reads == 0 && server.sent.count == 1)
        let small = server.hold(99, bytes: 100)
        server.ask([small]) { $0.wantsHave = true }
        #expect(server.reads == 1 && server.sent.last?.cids == [small])
    }

    /// A block that waits to be sent, and cannot be read when it is asked for again, is no want any more when it has gone after all
    /// (seed 88145342 with disk faults).
    @Test func whatIsGivenIsNotWantedAnyMore() {
        let server = Server()
        let cids = (0..<12).map { server.hold($0, bytes: 1 << 20) }
        server.ask(cids)
        let stored = server.stored
        server.stored = [:]
        server.ask([cids[11]])
        #expect(server.machine.ledger(of: server.asker) == [cids[11].multihash])
        server.stored = stored
        var drained = 0
        while drained < server.sent.count {
            server.feed(.drained(server.sent[drained].stream))
            drained += 1
        }
        #expect(server.sent.flatMap(\.cids) == cids && server.machine.ledger(of: server.asker).isEmpty)
    }

    /// What went with a connection does not count when its peer is back, and makes no room for what is on its way then.
    @Test func whatWentWithAConnectionDoesNotCount() {
        let server = Server()
        server.ask([server.hold(0, bytes: 1000)])
        let old = server.sent[0].stream
        var effects: [Exchange.Effect] = []
        server.machine.onDisconnected(server.asker, now: server.now, effects: &effects)
        server.ask([server.hold(1, bytes: 1000)])
        server.feed(.reset(old))
        #expect(server.sent.count == 2 && server.machine.isTrading(with: server.asker, now: server.now))
        server.machine.checkInvariants()
    }

    /// What was dropped between the question and the answer is told of.
    @Test func whatIsGoneIsToldOf() {
        let server = Server()
        let cids = (0..<12).map { server.hold($0, bytes: 1 << 20) }
        server.ask(cids) { $0.sendDontHave = true }
        server.stored = [:]
        for (stream, _, _) in server.sent { server.feed(.drained(stream)) }
        #expect(server.machine.waitingAnswers(for: server.asker) == 0 && server.sent.last?.bytes ?? 0 > 0)
    }
}
