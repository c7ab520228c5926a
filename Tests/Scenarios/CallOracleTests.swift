// What is read off the wire of calls, of requests to IPFS, of searches and of lists can be found wrong: steps are made up that no
// peer takes.

import Cluster
import DHT
import DagList
import Encoding
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import RPC
import Seams
@testable import SimNet
import Testing

/// A small run at rest, of which peer 0 is looked at.
private final class Calls {
    let run: Run
    var world: World { run.world }
    let process: Process
    /// A call that it makes, and one that peer 1 makes.
    let made = StreamID(owner: 1, number: 1 << 40), served = StreamID(owner: 0, number: 1 << 40)
    let now: Instant
    init(_ plan: String = "at 5s p0 pin c1 name=n1 min=-1 max=-1", options: String = "") throws {
        run = Run(try RunPlan(text: "run seed=5\noptions peers=3 storm=20s factor-max=2\(options)\n\(plan)\n"))
        let verdict = run.execute()
        try #require(verdict.failure == nil, "\(verdict.failure ?? "")")
        process = try #require(run.world.peers[0].process)
        now = process.peer.clock.reading(run.world.now).monotonic
    }
    func expect(_ oracle: Oracle?, _ words: String = "", _ location: SourceLocation = #_sourceLocation) {
        #expect(world.failedOracle == oracle, "\(world.failure ?? "nothing failed")", sourceLocation: location)
        #expect(words.isEmpty || world.failure?.contains(words) == true, "\(world.failure ?? "nothing failed")", sourceLocation: location)
    }
    func look(_ input: PeerInput, _ effects: [PeerEffect] = []) { run.watchLife(0, input, effects[...], process) }
    var open: PeerEffect { .stream(.open(made, to: world.peers[1].id, protocols: [RPC.protocolID])) }
    /// {"Name": …, "Method": …}
    func head(_ service: String, _ name: String) -> Bytes {
        func text(_ word: String) -> Bytes { [0xa0 | UInt8(word.utf8.count)] + Bytes(word.utf8) }
        return [0x82] + text("Name") + text(service) + text("Method") + text(name)
    }
    var incoming: PeerInput { .stream(.incoming(served, from: world.peers[1].id, protocol: RPC.protocolID)) }
    func log(_ body: (inout CallLog) -> Void) -> CallLog {
        var log = CallLog()
        body(&log)
        return log
    }
    func request(_ target: String, _ since: Instant, _ limit: Span?) -> CallLog.Request { CallLog.Request(target: target, since: since, limit: limit) }
    func method(_ service: String, _ name: String) -> RPCMethodEntry? { RPCTable.entry(RPCMethod(service, name)) }
}

@Suite struct CallOracleTests {
    @Test func whatIsRightIsLeftAlone() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head("Cluster", "ID"))), .stream(.reset(calls.made))])
        calls.look(.wake)
        calls.expect(nil)
    }
    @Test func aCallThatSaysNothing() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open])
        calls.expect(.calls, "does not say what it wants")
    }
    @Test func aCallThatGoesOn() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head("Cluster", "ID")))])
        calls.expect(.calls, "waits for 0 calls, and 1 go on: Cluster.ID")
    }
    @Test func aSurveyForNobody() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head("PinTracker", "StatusAll")))])
        calls.expect(.calls, "for PinTracker.StatusAll, and nobody is left who wants that")
    }
    @Test(arguments: [9, 10]) func askingAround(pause: Int64) throws {
        let calls = try Calls()
        var log = calls.log { $0.made[calls.made] = CallLog.Made(to: 1, since: calls.now, method: calls.method("Cluster", "ID")) }
        calls.run.judgeAsking(0, [calls.open], calls.now, &log)
        calls.expect(nil)
        calls.run.judgeAsking(0, [calls.open], calls.now + .seconds(pause), &log)
        if pause < 10 { calls.expect(.min, "asks around for those it hears of") } else { calls.expect(nil) }
    }
    @Test func aPathForNobody() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.calls.requests[ExchangeID(1 << 40)] = calls.request("/api/v0/resolve?arg=%2Fipns%2Fx", calls.now, nil)
        calls.look(.wake)
        calls.expect(.calls, "has IPFS look up 1 paths, for 0 who wait for that")
    }
    @Test(arguments: [("PinTracker", "Status"), ("PinTracker", "Recover"), ("Cluster", "Peers"), ("IPFSConnector", "SwarmPeers")])
    func aQuestionForNobody(_ service: String, _ name: String) throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head(service, name)))])
        calls.expect(.calls, "asks p1 for \(service).\(name), and nobody is left who wants that")
    }
    @Test func anUploadForNobody() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head("IPFSConnector", "BlockStream")))])
        calls.expect(.calls, "for IPFSConnector.BlockStream, and nobody is left who wants that")
    }
    @Test(arguments: ["trailer", "status", "reset"]) func aFailureThatIsTakenForSuccess(_ how: String) throws {
        let calls = try Calls()
        let pin = ExchangeID(1 << 40), cid = CID(v1: Codec.raw, .sha2_256(of: [1]))
        var request = calls.request("/api/v0/pin/add?arg=\(cid)&recursive=true&progress=true", calls.now, nil)
        (request.hasAnswer, request.isRefused) = (how != "reset", how == "status")
        calls.run.lifeLogs[0]?.calls.requests[pin] = request
        switch how {
        case "reset": calls.look(.exchange(.failed(pin, reason: "reset")))
        default: calls.look(.exchange(.end(pin, trailers: how == "trailer" ? [.init(name: "X-Stream-Error", value: "gone")] : [])))
        }
        calls.expect(.count, "has failed to pin \(cid), and that knows nothing of it")
    }
    /// What a daemon has not taken, who sent it is told: with an error and not with success.
    @Test(arguments: [true, false]) func blocksThatTheDaemonDidNotName(isTold: Bool) throws {
        let calls = try Calls()
        let put = ExchangeID(1 << 40)
        calls.run.lifeLogs[0]?.calls.served[calls.served] = CallLog.Served(from: 1, method: calls.method("IPFSConnector", "BlockStream"))
        var request = calls.request("/api/v0/block/put?mhtype=sha2-256", calls.now, nil)
        (request.hasAnswer, request.isBodyEnded, request.unacknowledged) = (true, true, 1)
        calls.run.lifeLogs[0]?.calls.requests[put] = request
        let error: Bytes = [0x81, 0xa5] + Bytes("Error".utf8) + [0xa1, 0x78, 0xc0]
        calls.look(.exchange(.end(put, trailers: [])), [.stream(.send(calls.served, isTold ? error : [0x80])), .stream(.closeWrite(calls.served))])
        if isTold { calls.expect(nil) } else { calls.expect(.add, "says nothing of 1 blocks, and p1, which has sent them, is not told") }
    }
    @Test(arguments: [(false, [], false, "does not wait for the last block"), (true, [], true, "refuses blocks"), (false, ["full"], true, "refuses blocks")])
    func blocksThatTheDaemonRefused(isRefused: Bool, trailers: [String], isEnded: Bool, words: String) throws {
        let calls = try Calls()
        let put = ExchangeID(1 << 40)
        calls.run.lifeLogs[0]?.calls.served[calls.served] = CallLog.Served(from: 1, method: calls.method("IPFSConnector", "BlockStream"))
        var request = calls.request("/api/v0/block/put?mhtype=sha2-256", calls.now, nil)
        (request.isRefused, request.isBodyEnded) = (isRefused, isEnded)
        calls.run.lifeLogs[0]?.calls.requests[put] = request
        calls.look(.exchange(.end(put, trailers: trailers.map { ExchangeEvent.Trailer(name: "X-Stream-Error", value: $0) })), [.stream(.closeWrite(calls.served))])
        calls.expect(.add, words)
    }
    @Test func garbageForNobody() throws {
        let calls = try Calls()
        calls.look(.wake, [calls.open, .stream(.send(calls.made, calls.head("Cluster", "RepoGCLocal")))])
        calls.expect(.calls, "has garbage collected in 1 places at a time, for 0 who wait for it: p1")
    }
    /// Whoever has asked for it twice has two at a time.
    @Test func garbageInSeveralPlacesAtATime() throws {
        let calls = try Calls()
        let client = ClientID(1 << 40), gc = calls.request("/api/v0/repo/gc?stream-errors=true", calls.now, nil)
        let log = calls.log {
            $0.made[calls.made] = CallLog.Made(to: 1, since: calls.now, method: calls.method("Cluster", "RepoGCLocal"))
            $0.served[calls.served] = CallLog.Served(from: 2, method: calls.method("Cluster", "RepoGCLocal"))
            $0.requests[ExchangeID(1 << 40)] = gc
            $0.wishes[client] = .garbage
        }
        calls.run.judgeCollections(0, log)
        calls.expect(nil)
        var one = log
        one.wishes.remove(client)
        calls.run.judgeCollections(0, one)
        calls.expect(.calls, "has garbage collected in 2 places at a time, for 1 who wait for it")
    }
    @Test func blocksThatAreReadOn() throws {
        let calls = try Calls(options: " upload-window=1000")
        func look(untaken: Int, isHeld: Bool) {
            calls.run.judgeHeld(0, calls.process, calls.log { $0.served[calls.served] = CallLog.Served(from: 1, untaken: untaken, isHeld: isHeld) })
        }
        look(untaken: 17_000, isHeld: false)
        look(untaken: 17_001, isHeld: true)
        calls.expect(nil)
        look(untaken: 17_001, isHeld: false)
        calls.expect(.bound, "goes on reading blocks of p1, of which its daemon has not taken 17001 bytes")
    }
    /// A part that was gone when the list was written, and not one that has gone since or has been pinned once more.
    @Test(arguments: ["first", "then", "neither"]) func aPartThatIsNotPinnedOnceMore(_ isThere: String) throws {
        let calls = try Calls()
        let (part, list, root) = (CID(v1: Codec.raw, .sha2_256(of: [1])), CID(v1: Codec.raw, .sha2_256(of: [2])), CID(v1: Codec.raw, .sha2_256(of: [3])))
        var then = SortedMap<CID, Set<CID>>()
        then[list] = isThere == "first" ? [part] : []
        then[root] = isThere == "then" ? [part] : []
        calls.run.blocks.shardsThen[0] = then
        calls.run.judgeMissed([part, list], of: root, at: 0)
        if isThere == "neither" { calls.expect(.add, "a part of it that was gone when it wrote the list of them") } else { calls.expect(nil) }
    }
    @Test func whoAddsIsNoMember() throws {
        let calls = try Calls()
        calls.world.crash(2)
        calls.world.run(for: .minutes(3))
        let members = calls.process.machine.members
        let (known, gone) = (try #require(calls.world.peers.last { members.contains($0.id) }), try #require(calls.world.peers.first { !members.contains($0.id) }))
        let added: Bytes = [0x80, 0xc0], refused: Bytes = [0x81, 0xa5] + Bytes("Error".utf8) + [0xa1, 0x78, 0xc0]
        calls.run.judgeJoined(0, known.index, added)
        calls.run.judgeJoined(0, gone.index, refused)
        calls.expect(nil)
        calls.run.judgeJoined(0, gone.index, added)
        calls.expect(.live, "has added p0, which does not count it as a member")
    }
    @Test func wordsInACallThatHasEnded() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.calls.made[calls.made] = CallLog.Made(to: 1, since: calls.now, method: calls.method("Cluster", "ID"))
        calls.look(.stream(.remoteClosed(calls.made)), [.stream(.send(calls.made, [0x80]))])
        calls.expect(.calls, "in a call that has ended")
    }
    @Test func anAnswerOnAStreamThatWasReset() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.calls.served[calls.served] = CallLog.Served(from: 1)
        calls.look(.stream(.reset(calls.served)), [.stream(.send(calls.served, [0x80]))])
        calls.expect(.calls, "in a call whose stream has ended")
    }
    @Test func aCallThatIsBrokenOff() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.calls.served[calls.served] = CallLog.Served(from: 1)
        calls.look(.stream(.received(calls.served, calls.head("Cluster", "ID"))), [.stream(.reset(calls.served))])
        calls.expect(.calls, "breaks off Cluster.ID, which p1 waits for")
    }
    @Test func aCallThatIsNotKnown() throws {
        let calls = try Calls()
        calls.look(calls.incoming)
        calls.expect(.calls, "has 0 calls of others, and 1 go on")
    }
    @Test func workForACallerThatHasLeft() throws {
        let calls = try Calls()
        calls.run.judgeServed(0, 0, 1, calls.log { _ in })
        calls.expect(.calls, "works on 1 calls of others, of whom 0 still wait")
    }
    @Test(arguments: [("goes on after its end", Oracle.calls), ("is too large", .bound), ("is right", nil)]) func aCallThatDoesNotSayOfWhat(what: String, oracle: Oracle?) throws {
        let calls = try Calls()
        calls.run.judgeUnasked(0, calls.process, calls.log {
            var call = CallLog.Served(from: 1, method: calls.method("Cluster", "ID"))
            switch what {
            case "goes on after its end": call.hasCallerLeft = true
            case "is too large": call.head = Bytes(repeating: 0, count: 70_000)
            default: (call.head, call.hasCallerLeft, call.isAsked) = (Bytes(repeating: 0, count: 70_000), true, true)
            }
            $0.served[calls.served] = call
        })
        calls.expect(oracle)
    }
    @Test func aCallThatIsLate() throws {
        let calls = try Calls()
        calls.run.judgeTime(0, calls.now, calls.log { $0.made[calls.made] = CallLog.Made(to: 1, since: calls.now + .seconds(-15), method: calls.method("Cluster", "ID")) })
        calls.expect(.calls, "still waits for Cluster.ID of p1 after 15")
    }
    @Test func aRequestThatIsLate() throws {
        let calls = try Calls()
        calls.run.judgeTime(0, calls.now, calls.log { $0.requests[ExchangeID(1 << 40)] = calls.request("/api/v0/pin/rm?arg=x", calls.now + .seconds(-9), .seconds(9)) })
        calls.expect(.calls, "still waits for /api/v0/pin/rm?arg=x of IPFS")
    }
    @Test(arguments: [(3, Oracle.calls), (9, nil)] as [(Int64, Oracle?)]) func anUnpinThatIsCalledBack(after seconds: Int64, oracle: Oracle?) throws {
        let calls = try Calls()
        calls.run.judgeCalledBack(0, calls.request("/api/v0/pin/rm?arg=x", calls.now + .seconds(-seconds), .seconds(9)), calls.process, calls.now)
        calls.expect(oracle)
    }
    @Test func aRequestThatNobodyWaitsFor() throws {
        let calls = try Calls()
        calls.look(.wake, [.exchange(.start(ExchangeID(1 << 40), ExchangeRequest(target: "/api/v0/id")))])
        calls.expect(.calls, "waits for 0 answers of IPFS, which works on 1")
    }
    @Test func requestsHeldBackForNothing() throws {
        let calls = try Calls()
        calls.run.judgeRequests(0, 0, 1, calls.process, calls.log { $0.failures = (10, 10) })
        calls.expect(.min, "holds back 1 requests to IPFS")
    }
    @Test func requestsThatAreNeverTried() throws {
        let calls = try Calls()
        calls.run.judgeTurns(0, 1, calls.process, calls.now, calls.log { $0.triedAt = calls.now + .seconds(-2) })
        calls.expect(.min, "tries none of them")
    }
    @Test func aFailingDaemonThatIsAskedAtOnce() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.calls.failures = (11, 11)
        let start = (1...2).map { PeerEffect.exchange(.start(ExchangeID(1 << 40 + $0), ExchangeRequest(target: "/api/v0/id"))) }
        calls.look(.wake, start)
        calls.expect(.min, "although 11 in a row have failed")
    }
}

// MARK: The DHT

extension Calls {
    var p1: PeerID { world.peers[1].id }
    /// Somebody that nobody knows.
    var stranger: PeerID { SimPeer.identity(99, world.tape) }
    var line: StreamID { StreamID(owner: 7, number: 1 << 40) }
    func search(_ input: PeerInput = .wake, _ effects: [PeerEffect] = [], _ body: (inout LookupLog) -> Void = { _ in }) {
        if var log = run.lifeLogs[0]?.lookups { body(&log); run.lifeLogs[0]?.lookups = log }
        run.watchLife(0, input, effects[...], process)
    }
    func lookups(_ body: (inout LookupLog) -> Void = { _ in }) -> LookupLog {
        var log = LookupLog(begun: now)
        body(&log)
        return log
    }
    func asking(_ key: Bytes, known: [PeerID]) -> LookupLog.Search {
        var search = LookupLog.Search(number: 1, target: Position(of: key))
        for peer in known { search.known[run.position(peer).distance(to: search.target)] = peer }
        return search
    }
}

@Suite struct LookupOracleTests {
    @Test func whatIsRightIsLeftAlone() throws {
        let calls = try Calls()
        calls.search()
        calls.run.judgeTold(0, calls.stranger.bytes, calls.p1, DHTMessage(.findNode), [calls.p1], calls.lookups())
        calls.expect(nil)
    }
    @Test func whoHasGone() throws {
        let calls = try Calls()
        calls.search(.wake, [.stream(.open(calls.line, to: calls.p1, protocols: DHT.protocols))]) { $0.contacts.remove(calls.p1) }
        calls.expect(.lookup, "asks p1, which has gone")
    }
    @Test func whoIsNearAndNotTold() throws {
        let calls = try Calls()
        let log = calls.lookups { $0.contacts[calls.p1] = LookupLog.Contact(since: calls.now) }
        calls.run.judgeTold(0, calls.stranger.bytes, calls.world.peers[2].id, DHTMessage(.findNode), [calls.p1], log)
        calls.expect(.lookup, "does not tell p2 of p1")
    }
    @Test func aSearchThatAsksNobody() throws {
        let calls = try Calls()
        calls.search { $0.begunCount += 1 }
        calls.expect(.lookup, "begins a search, and asks none of 2 who could be")
    }
    @Test func whoDoesNotAnswer() throws {
        let calls = try Calls()
        let isTabled = calls.process.machine.isTabled(calls.p1)
        try #require(isTabled)
        calls.search(.stream(.reset(calls.line))) { $0.lines[calls.line] = LookupLog.Line(peer: calls.p1, asked: [1], search: 1) }
        calls.expect(.lookup, "keeps p1 in its table")
    }
    @Test func whoHasAnswered() throws {
        let calls = try Calls()
        calls.search(.stream(.received(calls.line, DHTMessage(.findNode).frame))) {
            $0.contacts[calls.stranger] = LookupLog.Contact(since: calls.now, serves: true)
            $0.lines[calls.line] = LookupLog.Line(peer: calls.stranger, asked: calls.stranger.bytes)
        }
        calls.expect(.lookup, "does not take it into its table")
    }
    @Test func whoIsNearerAndPassedOver() throws {
        let calls = try Calls()
        let log = calls.lookups { $0.contacts[calls.stranger] = LookupLog.Contact(since: calls.now, serves: true) }
        let search = calls.asking(calls.stranger.bytes, known: [calls.stranger])
        calls.run.judgeNext(0, calls.p1, search, busy: SortedSet([calls.stranger]), log)
        calls.expect(nil)
        calls.run.judgeNext(0, calls.p1, search, busy: SortedSet(), log)
        calls.expect(.lookup, "asks p1, and passes over")
    }
    @Test func tooManyAtATime() throws {
        let calls = try Calls()
        calls.search {
            $0.searches[[1]] = calls.asking([1], known: [])
            for number in 0..<11 { $0.lines[StreamID(owner: 7, number: 1 << 40 + UInt64(number))] = LookupLog.Line(peer: calls.p1, asked: [1], search: 1) }
        }
        calls.expect(.lookup, "asks 11 for the same at a time")
    }
    @Test func noRefresh() throws {
        let calls = try Calls()
        let log = calls.lookups {
            $0.refreshedAt = calls.now + .minutes(-13)
            $0.contacts[calls.p1] = LookupLog.Contact(since: calls.now + .minutes(-13), serves: true)
        }
        calls.run.judgeRefresh(0, calls.process, calls.now, log)
        calls.expect(.lookup, "has not looked for those around it for 780")
    }
}

// MARK: Attempts

extension Calls {
    func pace(_ effects: [PeerEffect] = [], _ body: (inout PaceLog) -> Void = { _ in }) {
        guard var log = run.lifeLogs[0]?.pace else { return }
        body(&log)
        run.watchPace(0, .wake, effects[...], process, now, &log)
    }
    func waiting(_ until: Span, early: Int = 0) -> PaceLog.Dialled { PaceLog.Dialled(state: .waiting(until: now + until), failures: 2, early: early, since: now) }
}

@Suite struct PaceOracleTests {
    @Test func whatIsRightIsLeftAlone() throws {
        let calls = try Calls()
        calls.pace()
        calls.pace([.connection(.dial(calls.p1, []))]) { $0.dials[calls.p1] = calls.waiting(.zero) }
        calls.expect(nil)
    }
    @Test func aDialTooSoon() throws {
        let calls = try Calls()
        calls.pace([.connection(.dial(calls.p1, []))]) { $0.dials[calls.p1] = calls.waiting(.seconds(5), early: 2) }
        calls.expect(.min, "dials p1 5")
    }
    @Test func aDialThatDoesNotCome() throws {
        let calls = try Calls()
        calls.pace { $0.dials[calls.p1] = calls.waiting(.minutes(-13)) }
        calls.expect(.live, "does not dial p1")
    }
    @Test func aStreamTooSoon() throws {
        let calls = try Calls()
        calls.pace([.stream(.open(calls.made, to: calls.p1, protocols: Gossip.protocols))]) { $0.streams[calls.p1] = PaceLog.Streamed(failures: 3, due: calls.now + .seconds(1)) }
        calls.expect(.min, "opens a stream of gossip to p1 1")
    }
    @Test func aStreamThatIsNotOpenedAgain() throws {
        let calls = try Calls()
        calls.pace { $0.streams[calls.p1] = PaceLog.Streamed(failures: 3, due: calls.now + .seconds(-1)) }
        calls.expect(.live, "does not open a stream of gossip to p1 again")
    }
}

// MARK: Garbage

@Suite struct GarbageOracleTests {
    @Test(arguments: [0, 9, 11]) func whatIsPinned(minutes: Int64) throws {
        let calls = try Calls("at 2s p0 add bytes=3000 chunk=512 min=-1 max=-1", options: " embedded=yes")
        let root = try #require(calls.process.machine.ipfs.embeddedPins?.keys.first)
        calls.run.judgeGarbage(0, [], calls.process, age: .zero)
        calls.run.judgeGarbage(0, [calls.stranger].map { CID(v1: Codec.raw, .sha2_256(of: $0.bytes)) }, calls.process, age: .minutes(11))
        calls.expect(nil)
        calls.run.judgeGarbage(0, [root], calls.process, age: .minutes(minutes))
        calls.expect(.add, minutes < 10 ? "as garbage \(minutes * 60)" : "which it pins")
    }
}

// MARK: Lists

@Suite struct ListOracleTests {
    private static let cids = (0..<2).map { CID(v1: Codec.dagPB, .sha2_256(of: [$0])) }
    private func log(_ calls: Calls) -> ListLog {
        var log = ListLog()
        log.pages[calls.p1] = ([1], Self.cids[0])
        return log
    }
    @Test func whatIsRightIsLeftAlone() throws {
        let calls = try Calls()
        calls.run.judgePage(0, calls.p1, [], Self.cids, [1], known: [], log(calls))
        calls.run.judgePage(0, calls.p1, [1], [Self.cids[1]], [], known: [], log(calls))
        calls.run.judgeFailed(0, false)
        calls.expect(nil)
    }
    @Test func whatIsListedTwice() throws {
        let calls = try Calls()
        calls.run.judgePage(0, calls.p1, [1], Self.cids, [2], known: [], log(calls))
        calls.expect(.wants, "on two pages")
    }
    @Test func aPageWithoutEnd() throws {
        let calls = try Calls()
        calls.run.judgePage(0, calls.p1, [2], [Self.cids[1]], [2], known: [], log(calls))
        calls.expect(.wants, "is the one that it has asked for")
    }
    @Test func aListThatBeginsTooLate() throws {
        let calls = try Calls()
        calls.run.judgePage(0, calls.p1, [], [Self.cids[1]], [], known: Self.cids, log(calls))
        calls.expect(.wants, "from what is newer than \(Self.cids[0])")
    }
    @Test func aListThatBeginsAtOnceAgain() throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.lists.endedAt = calls.now
        var question = ProtobufWriter()
        question.uint64(3, 10)
        let effects: [PeerEffect] = [.stream(.open(calls.line, to: calls.p1, protocols: [DagList.protocolID])), .stream(.send(calls.line, framed(question.bytes)))]
        calls.look(.wake, effects)
        calls.expect(.wants, "begins a list of blocks 0")
    }
    @Test(arguments: ["asks nothing", "asks", "gives up"]) func aListThatIsNotAskedFor(what: String) throws {
        let calls = try Calls()
        var question = ProtobufWriter()
        question.uint64(3, 10)
        let opened = PeerEffect.stream(.open(calls.line, to: calls.p1, protocols: [DagList.protocolID]))
        let rest: [String: [PeerEffect]] = ["asks": [.stream(.send(calls.line, framed(question.bytes)))], "gives up": [.stream(.reset(calls.line))]]
        calls.look(.wake, [opened] + (rest[what] ?? []))
        if what == "asks nothing" { calls.expect(.wants, "asks for nothing") } else { #expect(calls.run.world.failure == nil) }
    }
    @Test func aQuestionForAListThatIsNotAnswered() throws {
        let calls = try Calls()
        var log = ListLog()
        log.served[calls.line] = ListLog.Served(from: calls.p1)
        calls.run.judgeSilent(0, calls.line, log)
        calls.expect(.wants, "gives no answer")
    }
    @Test func aRequestThatHasEnded() throws {
        let calls = try Calls()
        let id = ExchangeID(77)
        let sent: [PeerEffect] = [.exchange(.start(id, ExchangeRequest(target: "/api/v0/block/put", body: nil))), .exchange(.body(id, [1])), .exchange(.endOfBody(id))]
        calls.run.noteHealth(0, .wake, sent[...])
        #expect(calls.run.world.failure == nil)
        calls.run.noteHealth(0, .exchange(.end(id, trailers: [])), sent[1...1])
        calls.expect(.calls, "which has ended")
    }
    @Test func aDaemonThatIsAskedAllTheTime() throws {
        let calls = try Calls()
        calls.run.oracles.askedAt = [calls.run.world.now]
        calls.run.oracles.health[0]?.listings = []
        for _ in 0..<4 { calls.run.noteListing(0) }
        #expect(calls.run.world.failure == nil)
        calls.run.noteListing(0)
        calls.expect(.min, "5 times in a minute")
    }
    @Test(arguments: [true, false]) func whatIsListedAndNotFetched(isHere: Bool) throws {
        let calls = try Calls()
        calls.run.lifeLogs[0]?.lists.told = isHere ? calls.process.machine.replica.heads.map(\.cid) : Self.cids
        calls.look(.wake)
        if isHere { calls.expect(nil) } else { calls.expect(.wants, "is told of \(Self.cids[0]) in a list of blocks") }
    }
    @Test func aListThatFailedAndIsAwaited() throws {
        let calls = try Calls()
        calls.run.judgeFailed(0, true)
        calls.expect(.wants, "and waits for it")
    }
}
