// What is read off the wire of gossip and bitswap can be found wrong: steps are made up that no peer takes.

import Cluster
import Encoding
import Exchange
import Gossip
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
@testable import SimNet
import Testing

/// A small run at rest, of which peer 0 is looked at.
private final class Wire {
    let run: Run
    var world: World { run.world }
    let process: Process
    init(_ options: String = "") throws {
        run = Run(try RunPlan(text: "run seed=5\noptions peers=3 storm=20s factor-max=2\(options)\nat 5s p0 pin c1 name=n1 min=-1 max=-1\n"))
        let verdict = run.execute()
        try #require(verdict.failure == nil, "\(verdict.failure ?? "")")
        process = try #require(run.world.peers[0].process)
    }
    func expect(_ oracle: Oracle?, _ words: String = "", _ location: SourceLocation = #_sourceLocation) {
        #expect(world.failedOracle == oracle, "\(world.failure ?? "nothing failed")", sourceLocation: location)
        #expect(words.isEmpty || world.failure?.contains(words) == true, "\(world.failure ?? "nothing failed")", sourceLocation: location)
    }

    // MARK: Frames

    var topics: [Bytes] { [Bytes(process.peer.settings.replicaTopic.utf8), Bytes(Monitor.topic.utf8)] }
    func rpc(_ build: (inout ProtobufWriter) -> Void) -> Bytes {
        var writer = ProtobufWriter()
        build(&writer)
        return framed(writer.bytes)
    }
    func control(_ field: Int, _ build: (inout ProtobufWriter) -> Void) -> Bytes { rpc { $0.message(3) { $0.message(field, build) } } }
    func graft(_ topic: Int = 0) -> Bytes { control(3) { $0.explicit(1, bytes: topics[topic]) } }
    func prune(_ topic: Int = 0) -> Bytes { control(4) { $0.explicit(1, bytes: topics[topic]); $0.explicit(3, varint: 60) } }
    func have(_ id: Bytes) -> Bytes { control(1) { $0.explicit(1, bytes: topics[0]); $0.explicit(2, bytes: id) } }
    func want(_ id: Bytes) -> Bytes { control(2) { $0.explicit(1, bytes: id) } }
    func unwanted(_ id: Bytes) -> Bytes { control(5) { $0.explicit(1, bytes: id) } }
    func publish(by author: Int, _ number: UInt8 = 1, topic: Int = 1, isSaid: Bool = true) -> (id: Bytes, frame: Bytes) {
        var message = GossipMessage()
        (message.from, message.data, message.topic) = (world.peers[author].id.bytes, [number], topics[topic])
        message.sequence = [0, 0, 0, 0, 0, 0, 0, number]
        message.signature = SimSigner(me: world.peers[author].id).sign(message.signedBytes)
        if isSaid { world.published.insert(GossipSaid.mixed(message.encoded[...])) }
        return (message.id ?? [], rpc { $0.explicit(2, bytes: message.encoded) })
    }

    // MARK: Steps

    /// What peer 0 says, to peer 1 unless somebody else is named, in a step in which it has heard something of peer 2 or another.
    func step(hears heard: Bytes? = nil, from: Int = 2, says said: Bytes? = nil, to: Int = 1) throws {
        var input = PeerInput.wake, effects: [PeerEffect] = []
        if let heard { input = .stream(.received(try #require(run.lifeLogs[0]?.gossip.partners[from]?.inbound), heard)) }
        if let said { effects = [.stream(.send(try #require(run.lifeLogs[0]?.gossip.partners[to]?.outbound), said))] }
        look(input, effects)
    }
    func look(_ input: PeerInput, _ effects: [PeerEffect] = []) { run.watchLife(0, input, effects[...], process) }
    func partner(_ other: Int, _ body: (inout GossipLog.Partner) -> Void) { if var partner = run.lifeLogs[0]?.gossip.partners[other] { body(&partner); run.lifeLogs[0]?.gossip.partners[other] = partner } }
    static let far = Instant(nanoseconds: .max / 2)
}

@Suite struct GossipOracleTests {
    @Test func whatIsRightIsLeftAlone() throws {
        let wire = try Wire()
        let (_, frame) = wire.publish(by: 2)
        try wire.step(hears: frame, says: frame)
        try wire.step(says: wire.publish(by: 0, 7).frame)
        wire.expect(nil)
    }
    @Test func whatNobodyHasSaid() throws {
        let wire = try Wire()
        try wire.step(says: wire.publish(by: 2, isSaid: false).frame)
        wire.expect(.trust, "what its author has never said")
    }
    @Test func whatSomebodyUntrustedHasSaid() throws {
        let wire = try Wire(" outsider=yes")
        try wire.step(says: wire.publish(by: 3, topic: 0).frame)
        wire.expect(.trust, "whom it does not trust")
    }
    @Test func backToItsAuthor() throws {
        let wire = try Wire()
        try wire.step(says: wire.publish(by: 1).frame)
        wire.expect(.gossip, "sends back to p1")
    }
    @Test func backToWhoBroughtIt() throws {
        let wire = try Wire()
        let (_, frame) = wire.publish(by: 2)
        try wire.step(hears: frame, from: 1, says: frame)
        wire.expect(.gossip, "sends back to p1")
    }
    @Test func itsOwnForNews() throws {
        let wire = try Wire()
        let (_, frame) = wire.publish(by: 0)
        try wire.step(hears: frame, says: frame)
        wire.expect(.gossip, "what it has said itself")
    }
    @Test func saidTwice() throws {
        let wire = try Wire()
        let (_, frame) = wire.publish(by: 2)
        try wire.step(hears: frame, says: frame)
        wire.world.run(for: .seconds(1))
        try wire.step(says: frame)
        wire.expect(.gossip, "unasked")
    }
    @Test func notPassedOn() throws {
        let wire = try Wire()
        try wire.step(hears: wire.publish(by: 2).frame)
        wire.expect(.gossip, "keeps from p1")
    }
    @Test func notAskedFor() throws {
        let wire = try Wire()
        try wire.step(hears: wire.have([1, 2, 3]))
        wire.expect(.gossip, "does not ask p2")
    }
    @Test func askedWithoutEnd() throws {
        let wire = try Wire()
        wire.partner(2) { $0.announcements = wire.process.peer.settings.gossip.announcementsPerHeartbeatMaximum + 1 }
        try wire.step(hears: wire.have([1, 2, 3]), says: wire.want([1, 2, 3]), to: 2)
        wire.expect(.gossip, "for more than it may be told of")
    }
    @Test func tooMuchAskedFor() throws {
        let wire = try Wire(" ids-asked=2")
        for id in 1...3 as ClosedRange<UInt8> { try wire.step(hears: wire.have([id]), says: wire.want([id]), to: 2) }
        wire.expect(.gossip, "for 3 messages between two heartbeats")
    }
    @Test func notGiven() throws {
        let wire = try Wire()
        wire.partner(2) {
            $0.told = [GossipSaid.mixed([1, 2, 3])]
            $0.toldAt = wire.process.peer.clock.reading(wire.world.now).monotonic
        }
        try wire.step(hears: wire.want([1, 2, 3]))
        wire.expect(.gossip, "does not give p2")
    }
    @Test func givenTooOften() throws {
        let wire = try Wire()
        let (id, frame) = wire.publish(by: 0, 9)
        for _ in 0..<4 { try wire.step(hears: wire.want(id), says: frame, to: 2) }
        wire.expect(nil)
        try wire.step(hears: wire.want(id), says: frame, to: 2)
        wire.expect(.gossip, "more often than 3 times")
    }
    @Test func unwantedAndNotThere() throws {
        let wire = try Wire()
        try wire.step(says: wire.unwanted([1, 2, 3]))
        wire.expect(.gossip, "a message that it does not have")
    }
    @Test func announcedWithinTheMesh() throws {
        let wire = try Wire()
        try wire.step(says: wire.have([1, 2, 3]))
        wire.expect(.gossip, "announces to p1")
    }
    @Test func aStreamThatBeginsWithNothing() throws {
        let wire = try Wire()
        wire.look(.wake, [.stream(.open(StreamID(owner: 2, number: 1 << 30), to: wire.world.peers[1].id, protocols: Gossip.protocols))])
        wire.expect(.gossip, "does not say what it listens to")
    }
    @Test func aNewerStreamThatIsRefused() throws {
        let wire = try Wire()
        let id = StreamID(owner: 0, number: 1 << 30)
        wire.look(.stream(.incoming(id, from: wire.world.peers[1].id, protocol: "/meshsub/1.2.0")), [.stream(.reset(id))])
        wire.expect(.gossip, "refuses a stream of p1")
    }
    @Test func whatWaitsForNothing() throws {
        let wire = try Wire(" gossip-window=1")
        wire.world.block(from: 0, to: 1)
        wire.world.run(for: .seconds(20))
        let waits = wire.process.machine.hasGossipWaiting(for: wire.world.peers[1].id)
        try #require(waits)
        let stream = try #require(wire.run.lifeLogs[0]?.gossip.partners[1]?.outbound)
        wire.look(.stream(.drained(stream)))
        wire.expect(.gossip, "lets wait what p1 could have")
    }

    // MARK: Meshes

    @Test func aMemberThatHasGone() throws {
        let wire = try Wire()
        wire.look(.connection(.disconnected(wire.world.peers[1].id)))
        wire.expect(.gossip, "to which it is not connected")
    }
    @Test func aMemberThatHasLeft() throws {
        let wire = try Wire()
        try wire.step(hears: wire.prune())
        wire.expect(.gossip, "keeps p2 in a mesh that it has left")
    }
    @Test func aMemberThatListensNoMore() throws {
        let wire = try Wire()
        try wire.step(hears: wire.rpc { $0.message(1) { $0.explicit(1, varint: 0); $0.explicit(2, bytes: wire.topics[1]) } })
        wire.expect(.gossip, "keeps p2 in a mesh that it has left")
    }
    @Test func aMemberThatIsNotAsked() throws {
        let wire = try Wire()
        wire.run.lifeLogs[0]?.gossip.mesh[0] = [2]
        try wire.step(says: wire.graft(1), to: 2)
        wire.expect(.gossip, "takes p1 into a mesh, and does not tell it")
    }
    @Test func aMemberThatWasSentAway() throws {
        let wire = try Wire()
        wire.run.lifeLogs[0]?.gossip.mesh[0] = [1]
        wire.partner(2) { $0.backOff[0] = Wire.far }
        try wire.step(hears: wire.graft())
        wire.expect(.gossip, "which it has just sent away")
    }
    @Test func graftedTooSoon() throws {
        let wire = try Wire()
        wire.partner(1) { $0.backOff[0] = Wire.far }
        try wire.step(says: wire.graft())
        wire.expect(.gossip, "which is to be left alone")
    }
    @Test func aMemberThatIsNotToldThatItIsNone() throws {
        let wire = try Wire()
        var choices = Choices(seed: 1), effects: [PeerEffect] = []
        wire.process.machine.step(.connection(.disconnected(wire.world.peers[1].id)), at: wire.process.peer.clock.reading(wire.world.now), choices: &choices, effects: &effects)
        try wire.step(says: wire.graft(), to: 2)
        wire.expect(.gossip, "drops p1 from a mesh")
    }
    @Test func aMeshThatStaysThin() throws {
        let wire = try Wire()
        var log = try #require(wire.run.lifeLogs[0]?.gossip)
        let step = GossipStep(index: 0, now: wire.process.peer.clock.reading(wire.world.now).monotonic)
        wire.run.judgeTended(0, 0, log, step, wire.process)
        wire.expect(nil)
        log.mesh[0] = [2]
        wire.run.judgeTended(0, 0, log, step, wire.process)
        wire.expect(.gossip, "does not take in p1")
    }
    @Test func aMeshThatIsFull() throws {
        let wire = try Wire()
        var log = try #require(wire.run.lifeLogs[0]?.gossip)
        log.mesh[0] = Array(0..<48)
        wire.run.judgeTended(0, 11, log, GossipStep(index: 0, now: .init(nanoseconds: 0)), wire.process)
        wire.expect(nil)
        wire.run.judgeTended(0, 12 * wire.process.peer.settings.gossip.meshFactor, log, GossipStep(index: 0, now: .init(nanoseconds: 0)), wire.process)
        wire.expect(.gossip, "upper bound")
    }
    @Test func newsThatNobodyHearsOf() throws {
        let wire = try Wire()
        var log = try #require(wire.run.lifeLogs[0]?.gossip)
        log.mesh[0] = [2]
        wire.run.judgeHeartbeat([], &log, GossipStep(index: 0, now: .init(nanoseconds: 0)), wire.process)
        wire.expect(nil)
        wire.run.judgeHeartbeat([0], &log, GossipStep(index: 0, now: .init(nanoseconds: 0)), wire.process)
        wire.expect(.gossip, "tells 0 of 1")
    }

    // MARK: Faults

    @Test func aPingThatSomebodyElseHasMadeUp() throws {
        let wire = try Wire()
        var ping = Metric(name: "ping", peer: wire.world.peers[1].id)
        (ping.isValid, ping.expire) = (true, SimClock().reading(wire.world.now).wall.unixNanoseconds + Span.hours(999).nanoseconds)
        var message = GossipMessage()
        (message.from, message.data, message.topic, message.sequence) = (wire.world.peers[1].id.bytes, ping.messagePack, wire.topics[1], [9, 0, 0, 0, 0, 0, 0, 1])
        message.signature = SimSigner(me: wire.world.peers[1].id).sign(message.signedBytes)
        wire.world.published.insert(GossipSaid.mixed(message.encoded[...]))
        wire.world.checkForgedPing(of: 1)
        let frame = wire.rpc { $0.explicit(2, bytes: message.encoded) }
        wire.world.hostileStreams(try #require(wire.world.peers[1].process), Gossip.protocols, 7, among: [0]) { _ in frame }
        wire.world.run(for: .seconds(2))
        wire.expect(nil)
        wire.world.checkForgedPing(of: 1)
        wire.expect(.trust, "believes a ping of p1")
    }
    /// Whatever an outsider forges and however it behaves: its probes are hit, and nobody minds.
    @Test(arguments: 0...7) func hostilityThatComesToNothing(amount: Int) throws {
        let wire = try Wire(" outsider=yes")
        if amount < 4 { wire.world.strike(Fault(number: 7, kind: .forgedGossip, at: .zero, peers: [3], amount: amount)) }
        wire.world.strike(Fault(number: 8, kind: .hostileMesh, at: .zero, peers: [3], amount: amount))
        wire.world.strike(Fault(number: 9, kind: .halfReset, at: .zero, peers: [0], others: [1]))
        wire.world.run(for: .minutes(3))
        wire.expect(nil)
        #expect(wire.world.probes[.meshDisturbed] == 1 && wire.world.probes[.streamsHalfReset] > 0)
        #expect(wire.world.probes[.forged] == (amount < 4 ? 1 : 0))
        #expect(wire.run.unsettled() == nil, "\(wire.run.unsettled()?.text ?? "")")
    }
    @Test func whatIsKeptInMindForLong() throws {
        let wire = try Wire()
        wire.run.checkUnwanted(500, of: 0)
        wire.expect(nil)
        wire.run.checkUnwanted(501, of: 0)
        wire.expect(.bound)
    }
}

// MARK: Bitswap

extension Wire {
    static let block: Bytes = Array("a block that nobody has".utf8)
    static let cid = CID(v1: Codec.raw, .sha2_256(of: block))
    func wantlist(isCancel: Bool = false) -> Bytes {
        var entry = BitswapMessage.Entry(cid: Wire.cid), message = BitswapMessage()
        (entry.isCancel, entry.sendDontHave) = (isCancel, true)
        message.wants = [entry]
        return message.frame
    }
    /// Peer 1 really wants it of peer 0.
    func wantBlock() throws {
        let frame = wantlist()
        world.hostileStreams(try #require(world.peers[1].process), Exchange.protocols, 7, among: [0]) { _ in frame }
        world.run(for: .seconds(1))
        let kept = process.machine.wants(of: world.peers[1].id)
        try #require(world.failure == nil && kept.contains(Wire.cid.multihash))
    }
    func hear(_ frame: Bytes) {
        let id = StreamID(owner: 0, number: 1 << 30)
        run.watchLife(0, .stream(.incoming(id, from: world.peers[1].id, protocol: Exchange.protocols[0])), [], process)
        run.watchLife(0, .stream(.received(id, frame)), [], process)
    }
    func give() {
        let id = StreamID(owner: 3, number: 1 << 30)
        var message = BitswapMessage()
        message.blocks = [BitswapMessage.Block(cid: Wire.cid, data: Wire.block)]
        let effects: [PeerEffect] = [.stream(.open(id, to: world.peers[1].id, protocols: Exchange.protocols)), .stream(.send(id, message.frame))]
        run.watchLife(0, .wake, effects[...], process)
    }
}

@Suite struct ExchangeOracleTests {
    @Test func whatNobodyWants() throws {
        let wire = try Wire()
        wire.give()
        wire.expect(.wants, "sends p1 what that does not want")
    }
    @Test func whatIsWantedNoMore() throws {
        let wire = try Wire()
        wire.run.checkAsked()
        wire.expect(nil)
        wire.run.lifeLogs[0]?.exchange.partners[1, default: ExchangeLog.Partner()].asked.insert(Wire.cid.multihash)
        wire.run.checkAsked()
        wire.expect(.wants, "in the belief that it does")
    }
    @Test func whatWasTakenBack() throws {
        let wire = try Wire()
        try wire.wantBlock()
        wire.hear(wire.wantlist(isCancel: true))
        wire.expect(.wants, "which that has taken back")
    }
    @Test func whatIsNotHere() throws {
        let wire = try Wire()
        try wire.wantBlock()
        wire.hear(wire.wantlist())
        wire.expect(.wants, "does not tell p1 that it has no")
    }
    @Test func whatHasBeenGiven() throws {
        let wire = try Wire()
        try wire.wantBlock()
        wire.give()
        wire.expect(.wants, "keeps in mind that it wants it")
    }
    @Test func whatIsHereAndNotGiven() throws {
        let wire = try Wire()
        let head = try #require(wire.process.machine.replica.heads.first?.cid)
        wire.run.lifeLogs[0]?.exchange.partners[1, default: ExchangeLog.Partner()].asks[head.multihash] = ExchangeLog.Asking(cid: head, hereSince: 0)
        wire.run.checkAsked()
        wire.expect(.wants, "which asked for it before")
    }
}
