// Each oracle can fail: a run at rest is spoiled by hand, and the oracle says so.

import Cluster
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams
@testable import SimNet
import Testing

/// A small run that has come to rest.
final class Rest {
    let run: Run
    var world: World { run.world }
    init(_ lines: String = "at 5s p0 pin c1 name=n1 min=-1 max=-1\nat 8s p1 pin c2 name=n2", options: String = "") throws {
        run = Run(try RunPlan(text: "run seed=5\noptions peers=3 storm=20s factor-max=2\(options)\n\(lines)\n"))
        let verdict = run.execute()
        try #require(verdict.failure == nil, "\(verdict.failure ?? "")")
    }
    func replica(_ index: Int = 0) throws -> Replica { try #require(world.peers[index].machine).replica }
    func pin(_ content: Int, _ words: [String] = []) {
        run.perform(Operation(number: 900, at: .zero, peers: [0], kind: .pin, contents: [content], words: words))
    }
    func expect(_ oracle: Oracle, _ words: String = "", _ location: SourceLocation = #_sourceLocation) {
        #expect(world.failedOracle == oracle && (words.isEmpty || world.failure?.contains(words) == true), "\(world.failure ?? "nothing failed")", sourceLocation: location)
    }
    func expectUnsettled(_ oracle: Oracle, _ location: SourceLocation = #_sourceLocation) {
        #expect(run.unsettled()?.oracle == oracle, "\(run.unsettled()?.text ?? "settled")", sourceLocation: location)
    }
}

@Suite struct OracleTests {
    static let blockCID = Stage.content(77)

    @Test func digest() throws {
        let rest = try Rest()
        rest.run.oracles.seen[1]?.state = StateDigest()
        rest.run.oracles.seen[0] = nil
        rest.run.checkStep(0, .wake, [])
        rest.expect(.digest)
    }
    @Test func refold() throws {
        let rest = try Rest()
        let replica = try rest.replica()
        rest.run.checkRefold(Array(rest.run.history(replica).dropLast()), replica)
        rest.expect(.refold)
    }
    @Test func heads() throws {
        let rest = try Rest()
        let replica = try rest.replica()
        rest.run.checkHeads(Array(rest.run.history(replica).dropLast()), replica)
        rest.expect(.heads)
    }
    @Test func fetchable() throws {
        let rest = try Rest()
        let file = try #require(try rest.world.peers[0].disk.list("crdt/").first { $0.hasSuffix(".log") })
        rest.world.peers[0].disk.flipBit(file, at: 100)
        _ = rest.run.history(try rest.replica())
        rest.expect(.fetchable)
    }
    /// A block that waits in the log of a peer, and is taken for complete.
    @Test func headsWithAHoleBelow() throws {
        let rest = try Rest()
        let process = try #require(rest.world.peers[0].process)
        rest.run.blocks.logs[0]?.complete = []
        rest.run.blocks.logs[0]?.heads = []
        let file = try #require(try rest.world.peers[0].disk.list("crdt/").first { $0.hasSuffix(".log") })
        rest.world.peers[0].disk.flipBit(file, at: 100)
        rest.run.checkNewHeads(0, process)
        rest.expect(.fetchable)
    }
    @Test func builtUponWhatIsNotHere() throws {
        let rest = try Rest()
        var delta = Delta()
        delta.priority = 1000
        let block = try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [DeltaBlock.cid(of: [1, 2, 3])]))
        rest.run.judgeOwn(block, of: 0)
        rest.expect(.fetchable)
    }
    /// Whoever appends a block first has made it: the oracles see it as it is on its way to the disk.
    @Test func blocksAreSeenAsTheyAreWritten() throws {
        let rest = try Rest()
        let known = rest.run.blocks.heights.count
        rest.pin(3)
        rest.world.run(for: .seconds(5))
        #expect(known >= 2 && rest.run.blocks.heights.count == known + 1)
        #expect(rest.run.blocks.authors[try #require(rest.run.content(3)).stateKey] == [0])
        let history = rest.run.history(try rest.replica())
        #expect(history.allSatisfy { rest.run.blocks.heights[$0.cid] == $0.delta.priority })
        #expect(rest.run.blocks.logs[1]?.complete == Set(history.map(\.cid)))
    }
    @Test func height() throws {
        let rest = try Rest()
        let highest = try #require(rest.run.history(try rest.replica()).max { $0.delta.priority < $1.delta.priority })
        var delta = Delta()
        delta.priority = highest.delta.priority
        let flat = try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [highest.cid]))
        rest.run.checkHeights([highest, flat])
        rest.expect(.height)
    }
    @Test func lowerThanWhatItsWriterHas() throws {
        let rest = try Rest()
        rest.run.blocks.logs[0]?.heightMax = 9
        var delta = Delta()
        delta.priority = 9
        rest.run.judgeOwn(try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [])), of: 0)
        rest.expect(.height)
    }
    @Test func codec() throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(3))
        var pin = Pin(cid: cid)
        pin.options.metadata = ["a": "1", "b": "2"]
        var delta = Delta()
        delta.priority = 99
        // A field of its default value: read as the same pin, and written by nobody.
        delta.elements = [Delta.Element(key: cid.stateKey, value: pin.protobuf + [0x20, 0])]
        rest.run.judgeOwn(try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [])), of: 0)
        rest.expect(.codec)
    }
    @Test func gossip() throws {
        let rest = try Rest()
        rest.run.checkMesh((12, 12), of: 0)
        rest.expect(.gossip)
    }
    @Test func aMessageThatDoesNotReachAll() throws {
        let rest = try Rest(options: " boots=1")
        for other in [0, 2] { rest.world.network[Link(from: other, to: 1)].mutedGossip = 1 }
        rest.world.run(for: rest.run.messageMax + .seconds(35))
        rest.expect(.gossip)
    }
    @Test func twoWhoDoNotFindEachOther() throws {
        let rest = try Rest(options: " boots=1")
        rest.world.partition([0], from: [1])
        rest.world.run(for: .seconds(30))
        rest.expect(.found)
    }
    @Test func aBlockThatDoesNotReachAll() throws {
        let rest = try Rest(options: " boots=1")
        for other in [0, 2] { rest.world.network[Link(from: other, to: 1)].withheldBlocks = 1 }
        rest.pin(3)
        rest.world.run(for: rest.run.blockMax + .seconds(2))
        rest.expect(.spread)
    }
    /// Who was far away comes no later than who was near at first, and nobody is left out.
    @Test func hopsGrowAsTheLogarithm() {
        #expect(Run.hops(among: 2, degree: 5) == 3 && Run.hops(among: 50, degree: 5) == 5 && Run.hops(among: 50, degree: 20) == 4)
    }
    @Test func cover() throws {
        let rest = try Rest()
        rest.world.partition([0], from: [1, 2])
        rest.pin(3)
        rest.world.run(for: .seconds(1))
        rest.expectUnsettled(.cover)
    }
    @Test func min() throws {
        let rest = try Rest("at 2s p0 pin c1 name=n1\nat 8s p0 unpin c1")
        var blocks = rest.run.history(try rest.replica())
        let removing = try #require(blocks.first { !$0.delta.tombstones.isEmpty })
        var again = removing.delta
        again.priority += 1
        blocks.append(try DeltaBlock(decoding: DeltaBlock.encode(again, heads: [removing.cid])))
        rest.run.checkTombstones(blocks)
        rest.expect(.min)
    }
    @Test func durable() throws {
        let rest = try Rest()
        var pin = Pin(cid: Stage.content(5))
        pin.options.name = "nobody has it"
        rest.run.oracles.acknowledgedPins.append((0, 0, pin))
        rest.run.checkDurable(rest.run.history(try rest.replica()))
        rest.expect(.durable)
    }
    @Test func aKeyTwiceInABlock() throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(3))
        var delta = Delta()
        delta.priority = 99
        delta.elements = [1, 2].map { number in
            var pin = Pin(cid: cid)
            pin.options.name = "n\(number)"
            return Delta.Element(key: cid.stateKey, value: pin.protobuf)
        }
        rest.run.judgeOwn(try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [])), of: 0)
        rest.expect(.min)
    }
    @Test func aWriteThatWaitsForNothing() throws {
        let rest = try Rest()
        rest.run.checkWaiting(0, try rest.replica().waitsForNothing)
        #expect(rest.world.failure == nil)
        rest.run.checkWaiting(0, true)
        rest.expect(.accepted)
    }
    @Test func accepted() throws {
        let rest = try Rest(options: " batching=yes")
        rest.pin(3)
        rest.world.run(for: .seconds(1))
        rest.expectUnsettled(.accepted)
    }
    @Test func answer() throws {
        let rest = try Rest()
        var client: ClientID?
        client = rest.run.ask(0, Operation(number: 1, at: .zero, peers: [0], kind: .version), .version)
        rest.world.run(for: .seconds(1))
        rest.run.judge(try #require(client), .end)
        rest.expect(.answer)
    }
    @Test func anAnswerThatNeverEnds() throws {
        let rest = try Rest()
        rest.run.oracles.asked[ClientID(99_999)] = Asked(peer: 0, at: 0, request: .version)
        rest.world.run(for: .minutes(11))
        rest.run.checkRequests()
        rest.expect(.answer)
    }
    @Test func add() throws {
        let rest = try Rest("at 2s p0 add bytes=3000 chunk=512 min=-1 max=-1", options: " embedded=yes")
        rest.run.perform(Operation(number: 900, at: .zero, peers: [0], kind: .add, words: ["bytes=3000", "chunk=512", "min=-1", "max=-1", "local"]))
        _ = rest.world.run(until: { [run = rest.run] _ in run.oracles.uploads.count == 2 }, within: .seconds(10), every: .milliseconds(1))
        _ = rest.world.run(until: { [run = rest.run] world in
            guard let root = run.oracles.uploads.last?.root else { return false }
            return (try? world.peers[1].machine?.readPin(root)) != nil
        }, within: .seconds(10), every: .milliseconds(1))
        rest.run.checkUploads()
        rest.expect(.add)
    }
    @Test func anAddThatNobodyHolds() throws {
        let rest = try Rest("at 2s p0 add bytes=3000 chunk=512 min=-1 max=-1", options: " embedded=yes")
        let root = try #require(rest.run.oracles.uploads.first?.root)
        rest.run.checkUpload(root, asked: rest.world.now)
        #expect(rest.world.failure == nil && rest.run.oracles.holders[root] == [0, 1, 2])
        rest.run.checkUpload(Stage.content(5), asked: rest.world.now)
        rest.expect(.add)
    }
    @Test func anAddThatItsHoldersHaveLost() throws {
        let rest = try Rest("at 2s p0 add bytes=3000 chunk=512 min=-1 max=-1", options: " embedded=yes")
        rest.run.checkHolders(of: try #require(rest.run.oracles.uploads.first?.root))
        rest.expect(.add)
    }
    @Test func moreSpaceThanThereIs() throws {
        let rest = try Rest()
        var metric = Metric(name: "freespace", peer: rest.world.peers[1].id)
        (metric.isValid, metric.value) = (true, "\(Int64.max)")
        rest.run.judge(metric, at: 0)
        rest.expect(.truth)
    }
    @Test func count() throws {
        let rest = try Rest()
        rest.world.peers[0].ipfs.isDown = true
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(10))
        let cid = try #require(rest.run.content(3)), process = try #require(rest.world.peers[0].process)
        #expect(rest.world.failure == nil && rest.run.oracles.failedPins[0]?[cid]?.short.attemptCount == 1)
        rest.run.oracles.failedPins[0]?[cid]?.short.attemptCount = 2
        rest.run.checkAttempts(0, process)
        rest.expect(.count)
    }
    @Test(arguments: [true, false]) func aStatusThatLeavesSomebodyOut(isListing: Bool) throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(1)), members = rest.world.peers.map(\.id)
        var asked = Asked(peer: 0, at: rest.world.now, request: isListing ? .statusAll(.undefined, isLocal: false) : .status(cid, isLocal: false))
        asked.members = members
        var info = GlobalPinInfo(cid: cid)
        for peer in members { info.add(PinInfo(cid: cid, peer: peer)) }
        rest.run.judgeNamed(info, asked)
        #expect(rest.world.failure == nil)
        var less = GlobalPinInfo(cid: cid)
        for peer in members.dropLast() { less.add(PinInfo(cid: cid, peer: peer)) }
        // Who is there may have had nothing to say in a listing yet.
        if isListing {
            rest.run.judgeNamed(less, asked)
            #expect(rest.world.failure == nil)
            rest.run.oracles.downSince[2] = 0
        }
        rest.run.judgeNamed(less, asked)
        rest.expect(.answer)
    }
    /// The tracker goes on with a pin that the pinset has in another way.
    @Test func whatIsTrackedIsNotWhatIsPinned() throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(1)), process = try #require(rest.world.peers[0].process)
        let pin = try #require(try process.machine.readPin(cid))
        var info = PinInfo(cid: cid, peer: process.peer.id)
        (info.name, info.created, info.allocations, info.short.status) = (pin.options.name, pin.timestamp, pin.allocations ?? [], .pinQueued)
        #expect(rest.run.judgeTracked(info, 0, process))
        info.name = "older"
        #expect(rest.run.judgeTracked(info, 0, process))
        rest.world.run(for: .seconds(31))
        #expect(!rest.run.judgeTracked(info, 0, process))
        rest.expect(.truth)
    }
    /// Where nobody asks for anything a pin keeps its options, and is no update any more.
    @Test(arguments: ["", "renamed", "update"]) func whatIsPinnedAnewIsAnother(change: String) throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(1))
        var pin = try #require(try rest.world.peers[1].process?.machine.readPin(cid))
        if change == "renamed" { pin.options.name = change }
        if change == "update" { pin.options.pinUpdate = Stage.content(9) }
        var delta = Delta()
        delta.priority = 99
        delta.elements = [Delta.Element(key: cid.stateKey, value: pin.protobuf)]
        rest.run.judgeOwn(try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: [])), of: 2)
        #expect(rest.world.failedOracle == (change.isEmpty ? nil : .repin), "\(rest.world.failure ?? "nothing failed")")
    }
    @Test func aPinThatIsBegunAnew() throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(3)), process = try #require(rest.world.peers[0].process)
        rest.world.peers[0].ipfs.lacks = SimIPFS.Lack(isOdd: (cid.bytes.last ?? 0) & 1 == 1, hangs: true)
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(5))
        let running = try #require(rest.run.oracles.pinning[0]?.first { $0.value.cid == cid }?.key)
        let again = ExchangeRequest(target: "/api/v0/pin/ls?stream=true&arg=\(cid)&type=recursive")
        rest.run.noteRequests(0, .wake, [.exchange(.cancel(running)), .exchange(.start(ExchangeID(99_999), again))], process)
        rest.expect(.intent)
    }
    @Test func aPinsetThatHasNotBeenRead() throws {
        let rest = try Rest()
        rest.world.crash(0)
        (rest.world.peers[0].settings.replica.replayBytesAtOpen, rest.world.peers[0].settings.replica.replayBytesPerStep) = (1, 1)
        rest.world.start(0)
        let process = try #require(rest.world.peers[0].process)
        try #require(!process.machine.replica.isOpen)
        let request = ExchangeRequest(target: "/api/v0/pin/rm?arg=\(try #require(rest.run.content(1)))")
        rest.run.noteRequests(0, .wake, [.exchange(.start(ExchangeID(99_999), request))], process)
        rest.expect(.intent)
    }
    @Test func wantsThatAreForgotten() throws {
        let rest = try Rest()
        rest.world.hostileWants[7] = (of: 1, last: Stage.content(5).multihash, not: [])
        rest.run.checkHostileWants(0, 7)
        rest.expect(.wants)
    }
    @Test func wantsThatWereReplaced() throws {
        let rest = try Rest()
        rest.world.strike(Fault(number: 7, kind: .hostileWants, at: .zero, peers: [1]))
        rest.world.run(for: .seconds(1))
        let wanted = try #require(rest.world.peers[0].machine).wants(of: rest.world.peers[1].id)
        #expect(rest.world.failure == nil && wanted.count > 40)
        rest.world.hostileWants[7]?.not = [try #require(wanted.first)]
        rest.run.checkHostileWants(0, 7)
        rest.expect(.wants)
    }
    @Test func truth() throws {
        let rest = try Rest()
        var info = GlobalPinInfo(cid: try #require(rest.run.content(9)))
        var own = PinInfo(cid: info.cid, peer: rest.world.peers[1].id)
        own.short.status = .pinned
        info.add(own)
        rest.run.judge(info, Asked(peer: 0, at: rest.world.now, request: .status(info.cid, isLocal: false)))
        rest.expect(.truth)
    }
    @Test func intent() throws {
        let rest = try Rest()
        rest.world.peers[0].ipfs.pins[try #require(rest.run.content(1))] = .direct
        rest.expectUnsettled(.intent)
    }
    @Test(arguments: ["name", "factors", "expiry", "metadata", "nothing"]) func whatOnePeerAloneWrote(what: String) throws {
        let rest = try Rest("at 2s p0 pin c1 name=n1 min=-1 max=-1 meta=key1:value1\nat 5s p0 pin c2 name=n2\nat 8s p0 unpin c2")
        func expectAfter(_ content: Int, _ change: (inout PinOptions) -> Void) throws {
            let cid = try #require(rest.run.content(content))
            guard case .pin(var options) = rest.run.oracles.writes[cid]?.last else { Issue.record("nothing was written"); return }
            change(&options)
            rest.run.oracles.writes[cid]?.last = .pin(options)
        }
        rest.run.checkWrites()
        #expect(rest.world.failure == nil)
        switch what {
        case "name": try expectAfter(1) { $0.name = "another" }
        case "factors": try expectAfter(1) { $0.replicationFactorMax = 3 }
        case "expiry": try expectAfter(1) { $0.expireAt = SimClock().reading(rest.world.now).wall + .minutes(9) }
        case "metadata": try expectAfter(1) { $0.metadata = ["key1": "value2"] }
        default: rest.run.oracles.writes[try #require(rest.run.content(2))]?.last = .pin(PinOptions())
        }
        rest.run.checkWrites()
        rest.expect(.intent)
    }
    @Test func aPinDeeperThanThePinsetEverSaid() throws {
        let rest = try Rest("at 2s p0 pin c1 name=n1 direct min=-1 max=-1")
        rest.world.peers[0].ipfs.pins[try #require(rest.run.content(1))] = .recursive
        rest.expectUnsettled(.intent)
    }
    @Test func settle() throws {
        let rest = try Rest()
        rest.world.peers[1].ipfs.forget(try #require(rest.run.content(1)))
        rest.expectUnsettled(.settle)
    }
    @Test func whatIsNotPinnedSaysSo() throws {
        let rest = try Rest(options: " healers-off=recover queue-max=1")
        rest.world.peers[0].ipfs.isDown = true
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(10))
        #expect(rest.run.unpinned() == nil, "a pin that failed is not silent")
        rest.world.peers[1].ipfs.forget(try #require(rest.run.content(1)))
        #expect(rest.run.unpinned()?.oracle == .settle)
    }
    @Test func expiry() throws {
        let rest = try Rest()
        rest.pin(3, ["expire=30"])
        rest.world.run(for: .seconds(36))
        let pins = rest.run.pins(of: try #require(rest.world.peers[0].machine))
        #expect(rest.run.expired(pins)?.oracle == .expiry)
    }
    @Test func alloc() throws {
        let rest = try Rest()
        var pin = Pin(cid: Stage.content(2))
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (1, 1)
        pin.allocations = rest.world.peers.map(\.id)
        rest.run.judge(pin, asked: pin, before: [], at: 0)
        rest.expect(.alloc)
    }
    @Test func theDeadAreNotAllocated() throws {
        let rest = try Rest()
        rest.world.crash(2)
        rest.world.run(for: .minutes(3))
        var pin = Pin(cid: Stage.content(2))
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (1, 1)
        pin.allocations = [rest.world.peers[2].id]
        rest.run.judge(pin, asked: pin, before: [], at: 0)
        rest.expect(.alloc)
    }
    /// What must come of a write, by the model, and an answer that differs in one thing.
    @Test(arguments: ["nothing", "time", "expiry", "name", "metadata", "too few", "too many", "a stranger", "a full peer", "not the preferred", "a group twice"])
    func answersAreWhatTheModelSays(what: String) throws {
        let rest = try Rest()
        let ids = rest.world.peers.map(\.id)
        var pin = Pin(cid: Stage.content(3))
        pin.timestamp = WallTime(seconds: 1_700_000_000)
        var rule = AllocationRule(kept: [ids[0]], count: 2, candidates: [ids[1], ids[2]])
        if what == "a full peer" { (rule.weights[ids[1]], rule.weights[ids[2]], rule.groups) = (5, 9, [[ids[1], ids[2]]]) }
        if what == "a group twice" { (rule.kept, rule.candidates, rule.groups) = ([], ids, [[ids[0], ids[1]], [ids[2]]]) }
        if what == "not the preferred" { rule.preferred = [ids[2]] }
        var answer = pin
        answer.allocations = [ids[0], ids[1]]
        switch what {
        case "time": answer.timestamp = answer.timestamp + .seconds(1)
        case "expiry": answer.options.expireAt = answer.timestamp + .seconds(9)
        case "name": answer.options.name = "another"
        case "metadata": answer.options.metadata = Metadata()
        case "too few": answer.allocations = [ids[0]]
        case "too many": answer.allocations = ids
        case "a stranger": rule.candidates = [ids[2]]
        default: break
        }
        rest.run.judge(answer, expected: .pin(pin, rule), at: 0)
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(["time", "expiry", "name", "metadata"].contains(what) ? .answer : .alloc)
    }
    @Test func whatMayNotBeIsRefused() throws {
        let rest = try Rest()
        let client = ClientID(99_999)
        rest.run.oracles.asked[client] = Asked(peer: 0, at: rest.world.now, request: .version)
        func expected(_ request: ClientRequest) throws -> Expected? {
            rest.run.noteExpected(client, request, try #require(rest.world.peers[0].process))
            return rest.run.oracles.asked[client]?.expected
        }
        func isRefused(_ content: Int, _ change: (inout Pin) -> Void) throws -> Bool {
            var pin = Pin(cid: Stage.content(content))
            change(&pin)
            if case .refusal? = try expected(.pin(pin)) { return true } else { return false }
        }
        #expect(try !isRefused(9) { _ in })
        #expect(try isRefused(9) { $0.options.expireAt = WallTime(seconds: 1000) })
        #expect(try isRefused(9) { $0.options.replicationFactorMin = 5 })
        #expect(try isRefused(9) { ($0.options.replicationFactorMin, $0.options.replicationFactorMax) = (4, 5) })
        #expect(try isRefused(9) { $0.options.pinUpdate = Stage.content(8) })
        #expect(try !isRefused(9) { $0.options.pinUpdate = Stage.content(2) })
        #expect(try isRefused(1) { $0.options.mode = .direct })
        if case .refusal? = try expected(.unpin(Stage.content(9))) {} else { Issue.record("an unpin of nothing is expected") }
        rest.run.judge(Pin(cid: Stage.content(9)), expected: .refusal("has expired", says: "no"), at: 0)
        rest.expect(.answer)
    }
    @Test func whatMayBeIsNotRefused() throws {
        let rest = try Rest()
        rest.run.judge(ClientFailure("the disk is full"), expected: .pin(Pin(cid: Stage.content(9)), AllocationRule()), nil, at: 0)
        #expect(rest.world.failure == nil)
        rest.run.judge(ClientFailure("not enough peers to allocate CID"), expected: .pin(Pin(cid: Stage.content(9)), AllocationRule()), nil, at: 0)
        rest.expect(.answer)
    }
    /// In upstream's words, and for the right reason.
    @Test(arguments: ["pin is not part of the pinset", "cannot unpin a shard directly. Unpin content root CID instead"]) func whatIsRefusedInOtherWords(words: String) throws {
        let rest = try Rest()
        let expected = Expected.refusal("is a part of other content", says: "cannot unpin a shard directly. Unpin content root CID instead")
        rest.run.judge(ClientFailure("the disk is full"), expected: expected, nil, at: 0)
        rest.run.judge(ClientFailure(words), expected: expected, nil, at: 0)
        if words.hasPrefix("cannot") { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }
    /// The parts of what was added in shards can be asked for, and are nobody's to remove or to copy.
    @Test func partsAreRefused() throws {
        let add = "at 2s p0 add bytes=100000 chunk=512 shard min=-1 max=-1 #7"
        let rest = try Rest("\(add)\nat 15s p0 unpin c7 part=0\nat 16s p0 unpin c7 part=5\nat 17s p0 pin c1900 update=c7 part=1 name=n3", options: " embedded=yes")
        let held = rest.run.pins(of: try #require(rest.world.peers[0].machine))
        #expect(held.contains { $0.type == .shard } && held.contains { $0.type == .meta } && !held.contains { $0.options.name == "n3" })
    }
    @Test func aShardOfNothing() throws {
        let rest = try Rest("at 2s p0 add bytes=100000 shard min=-1 max=-1", options: " embedded=yes")
        let machine = rest.world.peers[0].process?.machine
        rest.run.checkShards(machine: machine)
        #expect(rest.world.failure == nil && rest.run.oracles.shardsOf.count > 2)
        rest.run.oracles.shardsOf = [:]
        rest.run.checkShards(machine: machine)
        rest.expect(.add)
    }
    @Test func contentWithoutAPart() throws {
        let rest = try Rest("at 2s p0 add bytes=100000 chunk=512 shard min=-1 max=-1")
        let machine = rest.world.peers[0].process?.machine
        rest.run.checkParts(machine: machine)
        #expect(rest.world.failure == nil)
        rest.run.oracles.shardsOf[Stage.content(5)] = Set(rest.run.oracles.uploads.map(\.root))
        rest.run.checkParts(machine: machine)
        rest.expect(.add)
    }
    /// Of three that were sent the blocks one has failed, or all for no reason; one that is down is a reason.
    @Test(arguments: [("of one", "p0: x"), ("of all", "p0: x; p1: y; p2: z"), ("for a reason", "p0: x; p1: y; p2: z")])
    func anAddThatFails(what: String, reasons: String) throws {
        let rest = try Rest()
        rest.world.run(for: .minutes(2))
        if what == "for a reason" { rest.world.crash(2) }
        let ids = rest.world.peers.map(\.id)
        let text = ids.indices.reduce(reasons) { $0.replacing("p\($1):", with: "\(ids[$1]):") }
        rest.run.judge(ClientFailure(Run.nowhereToPut + text), of: AddParameters(), sentTo: ids, asked: rest.world.now, at: 0)
        if what == "for a reason" { #expect(rest.world.failure == nil) } else { rest.expect(.add, what == "of one" ? "did not fail" : "nothing was wrong") }
    }
    @Test func blocksThatGoElsewhere() throws {
        let rest = try Rest()
        var parameters = AddParameters()
        (parameters.options.replicationFactorMin, parameters.options.replicationFactorMax) = (1, 2)
        let rule = try #require(rest.run.rule(for: parameters.options, at: 0)), ids = rest.world.peers.map(\.id)
        let most = ids.sorted { rule.weights[$0] ?? 0 > rule.weights[$1] ?? 0 }
        rest.run.judge(allocations: Array(most.prefix(2)), parameters, rule, at: 0)
        #expect(rest.world.failure == nil && rule.count == 2 && rule.groups.count == 1)
        rest.run.judge(allocations: [most[0]], parameters, rule, at: 0)
        rest.expect(.alloc, "not 2")
    }
    @Test(arguments: [false, true]) func anUploadThatNobodyWaitsFor(isForAnother: Bool) throws {
        let rest = try Rest("at 2s p0 add bytes=100000 chunk=512", options: " upload-window=1000")
        rest.run.oracles.lastAdd[0] = rest.world.now
        rest.run.checkUploading(0, 40_000)
        #expect(rest.world.failure == nil)
        rest.run.checkUploading(1, 100_000)
        #expect(rest.world.failure == nil)  // another sends it
        rest.run.checkUploading(isForAnother ? 1 : 0, isForAnother ? 230_000 : 100_000)
        rest.expect(.bound)
    }
    @Test func aStepThatSendsWhatHasCome() throws {
        let rest = try Rest("at 2s p0 add bytes=100000 chunk=512", options: " upload-blocks=5")
        let process = try #require(rest.world.peers[0].process)
        func look(_ input: PeerInput, _ count: Int) {
            let effects = (0..<count).map { _ in PeerEffect.exchange(.body(ExchangeID(1), Bytes(repeating: 0, count: 600))) }
            rest.run.watchUploads(0, input, (effects + [.exchange(.body(ExchangeID(1), [1]))])[...], process)
        }
        look(.wake, 9)
        look(.stream(.drained(StreamID(owner: 1, number: 1))), 100)
        #expect(rest.world.failure == nil)
        look(.wake, 10)
        rest.expect(.bound, "10 blocks")
    }
    @Test(arguments: ["name", "local", "allocations"]) func anAddThatIsPinnedElsewhere(what: String) throws {
        let rest = try Rest("at 2s p0 add bytes=3000 chunk=512", options: " embedded=yes")
        let root = try #require(rest.run.oracles.uploads.first?.root)
        let told = try #require(try rest.world.peers[0].machine?.readPin(root)?.allocations)
        var parameters = AddParameters()
        parameters.options.name = what == "name" ? "another" : "file"
        parameters.isLocal = what == "local"
        let others = rest.world.peers.map(\.id).filter { !told.contains($0) && (what != "local" || $0 != rest.world.peers[0].id) }
        rest.run.checkPin(of: root, parameters, told: told, asked: rest.world.now, at: 0)
        #expect(rest.world.failure == nil || what == "local" && !told.contains(rest.world.peers[0].id))
        rest.run.checkPin(of: root, parameters, told: what == "allocations" ? Array(told.dropLast()) : others, asked: rest.world.now, at: 0)
        if what == "name" { return #expect(rest.world.failure == nil) }
        if what == "local" && others.isEmpty { return }
        rest.expect(what == "local" ? .alloc : .add)
    }
    @Test func aSilenceThatNobodyNotices() throws {
        let rest = try Rest()
        rest.world.crash(2)
        rest.world.run(for: .minutes(3))
        let monitor = try #require(rest.world.peers[0].process?.machine.monitor)
        rest.run.checkAlarm(monitor, of: 0)
        #expect(rest.world.failure == nil)
        var deaf = Monitor(settings: MonitorSettings())
        let ping = try #require(monitor.latest("ping", of: rest.world.peers[2].id)), now = rest.world.peers[0].clock.reading(rest.world.now)
        deaf.onMetric(ping, now: now)  // so late that it ends no silence
        rest.run.checkAlarm(deaf, of: 0)
        #expect(rest.world.failure == nil)
        deaf.onMetric(ping, now: Now(monotonic: now.monotonic, wall: WallTime(unixNanoseconds: ping.receivedAt)))
        rest.run.checkAlarm(deaf, of: 0)
        rest.expect(.live)
    }
    @Test func anAlertWhereNothingGoesWrong() throws {
        let rest = try Rest()
        let began = rest.world.now, metric = Metric(name: "ping", peer: rest.world.peers[1].id)
        rest.world.run(for: .minutes(2))
        rest.run.checkCalm(since: began)
        #expect(rest.world.failure == nil)
        rest.run.checkCalm(since: began, [Alert(metric: metric, triggeredAt: rest.world.peers[0].clock.reading(rest.world.now).wall)], of: 0)
        rest.expect(.live)
    }
    @Test func anAlertRightAfterASleep() throws {
        let rest = try Rest()
        rest.world.suspend(0)
        rest.world.run(for: .minutes(1))
        rest.world.resume(0)
        rest.world.run(for: .seconds(40))
        let clock = rest.world.peers[0].clock
        rest.run.checkAlerts(try #require(rest.world.peers[0].process?.machine.monitor), of: 0)
        #expect(rest.world.failure == nil)
        var monitor = Monitor(settings: MonitorSettings())
        monitor.record(Alert(metric: Metric(name: "ping", peer: rest.world.peers[1].id), triggeredAt: clock.reading(rest.world.now).wall + .seconds(-39)))
        rest.run.checkAlerts(monitor, of: 0)
        rest.expect(.min)
    }
    @Test func repin() throws {
        let rest = try Rest()
        let pins = rest.run.pins(of: try #require(rest.world.peers[0].machine))
        let holder = try #require(pins.first { !$0.isPinnedEverywhere }?.allocations?.first)
        rest.world.lose(try #require(rest.world.indexes[holder]))
        #expect(rest.run.endangered(pins)?.oracle == .repin)
    }
    @Test func trust() throws {
        let rest = try Rest("at 5s p0 pin c1 name=n1")
        var pin = Pin(cid: Stage.content(1))
        pin.options.name = Run.outsiderName
        var delta = try #require(rest.run.history(try rest.replica()).first).delta
        delta.elements[0].value = pin.protobuf
        rest.run.checkOutsider([try DeltaBlock(decoding: DeltaBlock.encode(delta, heads: []))])
        rest.expect(.trust)
    }
    @Test func whatAnUntrustedPeerAnnounced() throws {
        let rest = try Rest()
        rest.world.strike(Fault(number: 7, kind: .hostileWants, at: .zero, peers: [1]))
        rest.world.run(for: .seconds(1))
        let block = try #require(rest.world.peers[0].machine?.wants(of: rest.world.peers[1].id).first)
        rest.world.checkHeedless(of: block, by: 1)
        rest.world.checkHeedless(of: Stage.content(7).multihash, by: 2)
        #expect(rest.world.failure == nil)
        rest.world.checkHeedless(of: block, by: 2)
        rest.expect(.trust)
    }
    @Test func trustOfCalls() throws {
        let rest = try Rest(options: " outsider=yes")
        let outsider = try #require(rest.run.outsider)
        let client = rest.run.ask(outsider, Operation(number: 1, at: .zero, peers: [outsider], kind: .gc), .repoGC(isLocal: false))
        var refused = RepoGC(peer: rest.world.peers[0].id)
        refused.error = "not authorized"
        func collected(_ index: Int) -> RepoGC {
            var garbage = RepoGC(peer: rest.world.peers[index].id)
            garbage.peerName = rest.world.name(index)
            return garbage
        }
        rest.run.judge(client, .item(.garbage([collected(outsider), refused])))
        #expect(rest.world.failure == nil)
        rest.run.judge(client, .item(.garbage([collected(0)])))
        rest.expect(.trust)
    }
    @Test func live() throws {
        let rest = try Rest()
        rest.world.crash(1)
        rest.expectUnsettled(.live)
    }
    @Test func circle() {
        var watch = CircleWatch()
        let reason = Unsettled(.cover, "somewhat")
        #expect(watch.look(1, at: 0, reason) == nil)
        #expect(watch.look(1, at: Span.minutes(26).nanoseconds, reason)?.hasPrefix("nothing has happened for 1500s") == true)
        var other = CircleWatch()
        let told = (0..<30).compactMap { other.look(UInt64($0 % 2), at: Int64($0), reason) }
        #expect(told.first?.hasPrefix("the same state has come back 10 times") == true)
    }
    @Test func bound() throws {
        let rest = try Rest()
        for number in 0..<200 {
            rest.world.carryOut(0, .open(StreamID(owner: World.hostileOwner, number: UInt64(number)), to: rest.world.peers[1].id, protocols: [RPC.protocolID]))
        }
        rest.run.checkBounds()
        rest.expect(.bound)
    }
    @Test func aClientThatHasGone() throws {
        let rest = try Rest(options: " listing-bytes=1")
        rest.run.ask(0, Operation(number: 1, at: .zero, peers: [0], kind: .list), .pins([.data]))
        rest.world.run(for: Span(nanoseconds: 1))
        rest.run.oracles.asked = SortedMap()
        rest.run.checkBounds()
        rest.expect(.bound)
    }
    @Test func dialsOfEverybody() throws {
        let rest = try Rest()
        let dials = (0..<300).map { number in
            PeerEffect.connection(.dial(PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32, UInt8(number >> 8), UInt8(number & 255)] + Bytes(repeating: 0, count: 30))), []))
        }
        rest.run.noteDials(0, .wake, dials[..<100])
        #expect(rest.world.failure == nil)
        rest.run.noteDials(0, .wake, dials[...])
        rest.expect(.bound)
    }
    @Test func dialsWithoutEnd() throws {
        let rest = try Rest()
        let other = rest.world.peers[1].id
        for _ in 0...Run.failedDialsMax { rest.run.noteDial(0, .connection(.dialFailed(other, reason: "refused"))) }
        rest.expect(.min)
    }
    @Test(arguments: [true, false]) func questionsWithoutPause(isItsOwn: Bool) throws {
        let rest = try Rest()
        rest.world.crash(0)
        rest.world.peers[0].ipfs.isDown = true
        rest.world.start(0)
        let process = try #require(rest.world.peers[0].process)
        func ask() {
            let question = PeerEffect.exchange(.start(ExchangeID(99_999), ExchangeRequest(target: "/api/v0/id")))
            rest.run.noteRequests(0, isItsOwn ? .wake : .client(ClientID(9), .id), [question], process)
        }
        for _ in 0..<4 { ask() }
        #expect(rest.world.failure == nil)
        for _ in 0..<2 { ask() }
        #expect((rest.world.failedOracle == .min) == isItsOwn, "\(rest.world.failure ?? "nothing failed")")
    }
    @Test func twoAlertsOfOneSilence() throws {
        let rest = try Rest()
        let now = SimClock().reading(rest.world.now).wall
        let metric = Metric(name: "ping", peer: rest.world.peers[1].id)
        var monitor = Monitor(settings: MonitorSettings())
        monitor.record(Alert(metric: metric, triggeredAt: now))
        monitor.record(Alert(metric: metric, triggeredAt: now + .seconds(15)))
        rest.run.checkAlerts(monitor, of: 0)
        rest.expect(.min)
    }
    @Test func spin() throws {
        let rest = try Rest()
        func again(_ world: World) { world.after(.zero, again) }
        again(rest.world)
        rest.world.run(for: .seconds(1))
        rest.expect(.spin)
    }
    @Test func start() throws {
        let rest = try Rest()
        rest.world.crash(0)
        let file = try #require(try rest.world.peers[0].disk.list("crdt/").first { $0.hasSuffix(".log") })
        rest.world.peers[0].disk.flipBit(file, at: 1)
        rest.world.start(0)
        rest.world.run(for: .seconds(1))
        rest.expect(.start)
    }
}
