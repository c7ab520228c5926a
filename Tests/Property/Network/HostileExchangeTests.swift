// Bitswap with peers that send what nobody asked for, ask for everything, and never read. Bug zoo: FETCH, N05, N08.

import Encoding
import Exchange
import Kernel
import Multiformats
import Seams
import TestSupport
import Testing

@Suite struct HostileExchangeTests {
    private struct Scene {
        var exchange = Exchange(owner: 3)
        var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var stored: [CID: Bytes] = [:]
        var effects: [Exchange.Effect] = []
        let attacker = netPeer(1)
        let friend = netPeer(2)
        private var inbound: UInt64 = 0

        init() { for peer in [attacker, friend] { introduce(peer) } }

        mutating func introduce(_ peer: PeerID) {
            exchange.onIntroduced(peer, PeerIntroduction(protocols: Exchange.protocols), now: now, effects: &effects)
        }
        mutating func hold(_ text: String, times: Int = 1) -> CID {
            let bytes = Bytes(String(repeating: text, count: times).utf8)
            let cid = Self.cid(bytes)
            stored[cid] = bytes
            return cid
        }
        static func cid(_ bytes: Bytes) -> CID { CID(v1: Codec.raw, .sha2_256(of: bytes)) }

        /// Whatever comes over a stream of its own.
        mutating func receive(_ bytes: Bytes, from peer: PeerID) {
            inbound += 1
            let stream = StreamID(owner: 0, number: inbound)
            let blocks = stored
            for event in [StreamEvent.incoming(stream, from: peer, protocol: Exchange.protocols[0]), .received(stream, bytes), .remoteClosed(stream)] {
                exchange.onStream(event, blocks: { cid, _ in blocks[cid].map { .bytes($0) } }, now: now, effects: &effects)
            }
        }
        mutating func receive(_ message: BitswapMessage, from peer: PeerID) { receive(framed(message.encoded), from: peer) }
        mutating func wants(_ cids: [CID], isCancel: Bool = false, from peer: PeerID) {
            var message = BitswapMessage()
            message.wants = cids.map {
                var entry = BitswapMessage.Entry(cid: $0)
                entry.isCancel = isCancel
                return entry
            }
            receive(message, from: peer)
        }
        /// Blocks that were sent to a peer. Its streams have drained then, if it reads.
        mutating func sent(to peer: PeerID, reads: Bool = true) -> [CID] {
            var found: [CID] = []
            var round = effects
            effects = []
            while !round.isEmpty {
                let opened = Set(round.compactMap { if case .stream(.open(let id, peer, _)) = $0 { id } else { nil } })
                for case .stream(.send(let id, let bytes)) in round where opened.contains(id) {
                    var reader = FrameReader(limitBytes: 8 << 20)
                    reader.append(bytes)
                    while let frame = try? reader.next(), let message = try? BitswapMessage(decoding: frame) { found += message.blocks.map(\.cid) }
                }
                round = []
                guard reads else { break }
                let blocks = stored
                for id in opened.sorted() { exchange.onStream(.drained(id), blocks: { cid, _ in blocks[cid].map { .bytes($0) } }, now: now, effects: &round) }
            }
            return found
        }
        mutating func received() -> [CID] {
            defer { effects = [] }
            return effects.compactMap { if case .received(let cid, _, _) = $0 { cid } else { nil } }
        }
        mutating func expectService() {
            let cid = hold("for a friend")
            wants([cid], from: friend)
            #expect(sent(to: friend).contains(cid))
            let wanted = Bytes("what a friend has \(inbound)".utf8)
            exchange.want([Self.cid(wanted)], now: now, effects: &effects)
            var answer = BitswapMessage()
            answer.blocks = [.init(cid: Self.cid(wanted), data: wanted)]
            receive(answer, from: friend)
            #expect(received() == [Self.cid(wanted)])
        }
    }

    @Test func unwantedAndWrongBlocksAreDropped() {
        var scene = Scene()
        let wanted = Scene.cid(Bytes("wanted".utf8))
        scene.exchange.want([wanted], now: scene.now, effects: &scene.effects)
        scene.effects = []
        for number in 0..<300 {
            var gift = BitswapMessage()
            let data = Bytes("gift \(number)".utf8)
            gift.blocks = [.init(cid: number % 2 == 0 ? Scene.cid(data) : wanted, data: data)]  // another's name does not help
            scene.receive(gift, from: scene.attacker)
        }
        #expect(scene.received().isEmpty && scene.exchange.wantCount == 1)
        var answer = BitswapMessage()
        answer.blocks = [.init(cid: wanted, data: Bytes("wanted".utf8))]
        scene.receive(answer, from: scene.friend)
        #expect(scene.received() == [wanted] && scene.exchange.wantCount == 0)
        scene.expectService()
    }

    @Test func noiseDoesNoHarm() {
        var scene = Scene()
        var choices = Choices(seed: 5)
        let held = scene.hold("held")
        var sound = BitswapMessage()
        sound.wants = [.init(cid: held)]
        sound.blocks = [.init(cid: held, data: Bytes("held".utf8))]
        sound.presences = [.init(cid: held, isHere: false)]
        for _ in 0..<800 {
            var bytes = sound.encoded
            for _ in 0...choices.below(3) { bytes[choices.below(bytes.count)] = UInt8(choices.below(256)) }
            switch choices.below(4) {
            case 0: scene.receive(choices.bytes(choices.below(100)), from: scene.attacker)
            case 1: scene.receive(framed(choices.bytes(choices.below(100))), from: scene.attacker)
            case 2: scene.receive(framed(bytes), from: scene.attacker)
            default: scene.receive(Bytes(framed(sound.encoded).prefix(choices.below(100))), from: scene.attacker)
            }
        }
        scene.effects = []
        scene.expectService()
    }

    /// N08: who asks for more than anyone may remember keeps the newest wants, and costs no more.
    @Test func wantlistsAreBounded() {
        var scene = Scene()
        for round in 0..<40 {
            scene.wants((0..<1000).map { Scene.cid(Bytes("nowhere \(round) \($0)".utf8)) }, from: scene.attacker)
        }
        #expect(scene.exchange.ledger(of: scene.attacker).count <= 16_384)
        let late = Bytes("late".utf8)
        scene.wants([Scene.cid(late)], from: scene.attacker)
        scene.effects = []
        let cid = scene.hold("late")
        let blocks = scene.stored
        scene.exchange.onBlocksAdded([cid], blocks: { cid, _ in blocks[cid].map { .bytes($0) } }, effects: &scene.effects)
        #expect(scene.sent(to: scene.attacker) == [cid])
        scene.expectService()
    }

    /// It asks on and on, and reads nothing: what waits for it is bounded, and others are served.
    @Test func whoNeverReadsCostsLittle() {
        var scene = Scene()
        let large = scene.hold("large block ", times: 10_000)
        for _ in 0..<60 {
            scene.wants(Array(repeating: large, count: 1000), from: scene.attacker)
            _ = scene.sent(to: scene.attacker, reads: false)
        }
        #expect(scene.exchange.waitingAnswers(for: scene.attacker) <= 16_384)
        scene.expectService()
    }

    @Test func cancelStormsLeaveNothing() {
        var scene = Scene()
        let cids = (0..<500).map { Scene.cid(Bytes("nowhere \($0)".utf8)) }
        for _ in 0..<20 {
            scene.wants(cids, from: scene.attacker)
            scene.wants(cids, isCancel: true, from: scene.attacker)
        }
        #expect(scene.exchange.ledger(of: scene.attacker).isEmpty)
        for round in 0..<50 {  // and our own
            scene.exchange.want(cids, now: scene.now, effects: &scene.effects)
            if round % 2 == 0 { scene.exchange.onDisconnected(scene.friend, now: scene.now, effects: &scene.effects) } else { scene.introduce(scene.friend) }
            scene.exchange.cancel(cids, now: scene.now, effects: &scene.effects)
        }
        #expect(scene.exchange.wantCount == 0 && scene.exchange.nextDeadline == nil)
        scene.effects = []
        scene.introduce(scene.friend)
        scene.expectService()
    }

    /// FETCH: peers that say nothing, or that they have it not, do not keep a block away that another has.
    @Test func theSilentAreAskedNoLongerThanTheirTime() {
        var scene = Scene()
        for number in 10..<20 { scene.introduce(netPeer(number)) }
        let wanted = Bytes("wanted".utf8)
        let cid = Scene.cid(wanted)
        scene.exchange.want([cid], now: scene.now, effects: &scene.effects)
        var asked = 0
        while let next = scene.exchange.nextDeadline, next - .origin < .minutes(2) {
            asked += scene.effects.filter { if case .stream(.send) = $0 { true } else { false } }.count
            scene.effects = []
            scene.now.monotonic = next
            scene.exchange.onTime(now: scene.now, effects: &scene.effects)
        }
        #expect(asked >= 12, "everyone is asked within the time that a fetch may take")
    }
}
