// Calls between peers and requests to IPFS, read off the wire: each says at once what it wants, goes on for as long as somebody waits for
// it and it has time, and ends at both ends. spec/wire-rpc.md part 1; IPFS-04 for a daemon that fails.

import Cluster
import Encoding
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import Tracking

/// What is known of one peer's calls in one life of it. Times are those of its own clock.
struct CallLog {
    struct Made {
        let to: Int
        let since: Instant
        var method: RPCMethodEntry?
        /// The other side has ended it: only the end is to be said.
        var isOver = false
        /// Of a call to join by way of that peer.
        var answer: Bytes = []
        fileprivate var isJoin: Bool { method?.method.text == "Cluster.PeerAdd" }
    }
    struct Served {
        let from: Int
        /// What has come before it was known which method is wanted, and of what.
        var head: Bytes = []
        var method: RPCMethodEntry?
        /// An argument has come.
        var isAsked = false
        var hasCallerLeft = false
        /// Of blocks to be put: bytes that have come since the daemon took some last; and whether more is to wait.
        var untaken = 0
        var isHeld = false
    }
    struct Request {
        let target: String
        /// When it was sent, or made progress last.
        var since: Instant
        let limit: Span?
        /// Of a pin: how many blocks are there.
        var told = 0
        var hasAnswer = false
        /// Of an upload: blocks that were sent, less those that the answer has named; and whether all has gone and come as it should so far.
        var unacknowledged = 0
        var isBodyEnded = false
        var isRefused = false
        fileprivate var isPin: Bool { target.hasPrefix("/api/v0/pin/add") }
        fileprivate var isUpload: Bool { target.hasPrefix(SimIPFS.putTarget) }
        fileprivate var isCollection: Bool { target.hasPrefix("/api/v0/repo/gc") }
        fileprivate var isLookup: Bool { target.hasPrefix(SimIPFS.resolveTarget) }
    }
    /// What a client wants that others, or IPFS, are asked about.
    enum Wish {
        case survey, status, recovery, adding, garbage, path, graph
        init?(_ request: ClientRequest) {
            switch request {
            case .statusAll(_, isLocal: false), .recoverAll(isLocal: false): self = .survey
            case .status(_, isLocal: false), .statuses(_, isLocal: false): self = .status
            case .recover(_, isLocal: false): self = .recovery
            case .add: self = .adding
            case .repoGC: self = .garbage
            case .pinPath, .unpinPath: self = .path
            case .connectGraph: self = .graph
            default: return nil
            }
        }
    }
    var made = SortedMap<StreamID, Made>()
    var served = SortedMap<StreamID, Served>()
    /// When it last asked somebody whom he knows, since it had heard of one whom it did not.
    var askedAroundAt: Instant?
    /// Others' calls that are over.
    var past: Set<StreamID> = []
    /// Clients that have not been answered, and have not gone; and what some of them want.
    var clients = SortedSet<ClientID>()
    var wishes = SortedMap<ClientID, Wish>()
    /// How many want that.
    fileprivate func wish(_ wish: Wish) -> Int { wishes.values.count { $0 == wish } }
    fileprivate func isWanted(_ method: RPCMethodEntry) -> Bool { method.wish.map { wishes.values.contains($0) } ?? true }
    var requests = SortedMap<ExchangeID, Request>()
    /// Requests to IPFS that failed in a row: so many for certain, and so many at most, since who is cancelled may be late or not.
    var failures = (least: 0, most: 0)
    /// When a request was sent last although the daemon fails.
    var triedAt: Instant?
    /// What the daemon has not done, as it says in the step that is looked at: an upload, or a pin that it was to make.
    enum Failure { case upload(String), pin(target: String) }
}

extension RPCMethodEntry {
    /// RPC-21: how long callers wait. Nil for what takes as long as there is something to say.
    fileprivate var limit: Span? {
        switch method.text {
        case "Cluster.ID", "Cluster.IDStream", "PinTracker.Status", "PinTracker.Recover": .seconds(15)
        case "Cluster.Peers", "IPFSConnector.SwarmPeers": .seconds(30)
        default: nil
        }
    }
    /// What a client wants that it is asked for; nil if a peer asks for itself.
    fileprivate var wish: CallLog.Wish? {
        switch method.text {
        case "PinTracker.StatusAll", "Cluster.RecoverAllLocal": .survey
        case "PinTracker.Status": .status
        case "PinTracker.Recover": .recovery
        case "IPFSConnector.BlockStream": .adding
        case "Cluster.RepoGCLocal": .garbage
        case "Cluster.Peers", "IPFSConnector.SwarmPeers": .graph
        default: nil
        }
    }
    fileprivate var isUpload: Bool { method.name == "BlockStream" }
    fileprivate var isCollection: Bool { method.name == "RepoGCLocal" }

    /// What a stream begins with; nil where it has not come, or is none.
    fileprivate init?(_ bytes: Bytes) {
        var reader = MessagePackReader(bytes), service = "", name = ""
        do {
            for _ in 0..<(try reader.map()) {
                switch try reader.string() {
                case "Name": service = try reader.string()
                case "Method": name = try reader.string()
                default: try reader.skip()
                }
            }
        } catch { return nil }
        guard let entry = RPCTable.entry(RPCMethod(service, name)) else { return nil }
        self = entry
    }
}

extension Run {
    /// CALLS, MIN: after each step of a peer that lives on.
    func watchCalls(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: inout CallLog) {
        let isWake = input.isWake
        var failure: CallLog.Failure?
        var isTouched = hearOfCalls(input, process, now, &log, &failure)
        switch failure {
        case .upload(let text): judgeUpload(index, text, effects, log)
        case .pin(let target): judgeFailed(index, target, process)
        case nil: break
        }
        for effect in effects {
            switch effect {
            case .stream(let effect): if noteCall(index, effect, process, now, &log) { isTouched = true }
            case .exchange(let effect): noteRequest(index, effect, isWake: isWake, process, now, &log); isTouched = true
            case .reply(let client, .end), .reply(let client, .failed): log.leave(client)
            default: break
            }
        }
        // Whom somebody adds is asked as well.
        if isTouched, case .stream(.received(let id, _)) = input, log.served[id] == nil, !log.past.contains(id) { judgeAsking(index, effects, now, &log) }
        if isTouched || isWake || process.peer.steps % 16 == 0 { judgeCalls(index, process, &log) }
        if isWake {
            judgeTime(index, now, log)
            if log.triedAt != nil, let held = process.machine.requestsToIPFS()?.held { judgeTurns(index, held, process, now, log) }
        }
    }

    // MARK: Heard

    private func isArgument(in head: Bytes) -> Bool {
        var reader = MessagePackReader(head)
        do {
            try reader.skip()
            try reader.skip()
        } catch { return false }
        return true
    }

    /// True where a call or a request may have ended.
    private func hearOfCalls(_ input: PeerInput, _ process: Process, _ now: Instant, _ log: inout CallLog, _ failure: inout CallLog.Failure?) -> Bool {
        switch input {
        case .stream(.incoming(let id, let peer, RPC.protocolID)):
            log.served[id] = CallLog.Served(from: world.indexes[peer] ?? process.index)
        case .stream(.received(let id, let bytes)):
            if log.made[id]?.isJoin == true { log.made[id]?.answer += bytes }
            if id.owner == 0, log.served[id]?.method?.isUpload == true { log.served[id]?.untaken += bytes.count }
            guard id.owner == 0, var call = log.served[id], call.method?.kind != .streaming, !call.isAsked else { return false }
            call.head += bytes
            call.method = call.method ?? RPCMethodEntry(call.head)
            call.isAsked = call.method != nil && isArgument(in: call.head)
            log.served[id] = call
        case .stream(.remoteClosed(let id)):
            if id.owner == 0 { log.served[id]?.hasCallerLeft = true } else { log.made[id]?.isOver = true }
        case .stream(.reset(let id)), .stream(.failed(let id, _)):
            if log.served.remove(id) != nil { log.past.insert(id) }
            log.made.remove(id)
        case .exchange(let event): failure = hearOfRequest(event, now, &log)
        case .client(let client, let request):
            log.clients.insert(client)
            log.wishes[client] = CallLog.Wish(request)
        case .clientGone(let client): log.leave(client)
        default: return false
        }
        return true
    }

    private func hearOfRequest(_ event: ExchangeEvent, _ now: Instant, _ log: inout CallLog) -> CallLog.Failure? {
        guard let request = log.requests[event.id] else { return nil }
        if request.isUpload { for id in log.served.keys { log.served[id]?.untaken = 0 } }
        switch event {
        case .head(let id, let status):
            log.requests[id]?.hasAnswer = true
            log.requests[id]?.isRefused = status != 200
            (log.failures, log.triedAt) = ((0, 0), nil)
        case .body(let id, let bytes):
            if !request.isPin { log.requests[id]?.since = now } else if let told = SimIPFS.progress(bytes), told > request.told {
                log.requests[id]?.since = now
                log.requests[id]?.told = told
            }
            // A line for each block.
            if request.isUpload { log.requests[id]?.unacknowledged -= bytes.count { $0 == 0x0a } }
        case .end(let id, let trailers):
            log.requests.remove(id)
            let isRefused = request.isRefused || !trailers.isEmpty
            guard request.isUpload else { return isRefused && SimIPFS.isFetch(request.target) ? .pin(target: request.target) : nil }
            if isRefused { return .upload("refuses blocks") }
            if request.unacknowledged > 0 { return .upload("says nothing of \(request.unacknowledged) blocks") }
            if !request.isBodyEnded { return .upload("does not wait for the last block") }
        case .failed(let id, let reason):
            log.requests.remove(id)
            if !request.hasAnswer { log.failures = (log.failures.least + 1, log.failures.most + 1) }
            if request.isUpload { return .upload("fails: \(reason)") }
            if SimIPFS.isFetch(request.target) { return .pin(target: request.target) }
        case .drained: break
        }
        return nil
    }

    // MARK: Said

    /// True where it has to do with a call.
    private func noteCall(_ index: Int, _ effect: StreamEffect, _ process: Process, _ now: Instant, _ log: inout CallLog) -> Bool {
        switch effect {
        case .open(let id, let peer, let protocols):
            guard protocols.first == RPC.protocolID else { return false }
            log.made[id] = CallLog.Made(to: world.indexes[peer] ?? index, since: now)
        case .send(let id, let bytes):
            guard judgeEnd(index, id, "says something", log) else { return false }
            if let call = log.made[id] {
                if call.isOver { world.fail(.calls, "\(world.name(index)) says something to \(world.name(call.to)) in a call that has ended") }
                if call.method == nil { log.made[id]?.method = RPCMethodEntry(bytes) }
            }
        case .closeWrite(let id):
            guard judgeEnd(index, id, "says that it has said all", log) else { return false }
            // A unary call is closed when it has been answered, and not before (RPC-11).
            if log.made[id]?.method?.kind == .unary, let call = log.made.remove(id), call.isJoin { judgeJoined(index, call.to, call.answer) }
            if log.served.remove(id) != nil { log.past.insert(id) }
        case .hold(let id, let isHeld):
            guard log.served[id] != nil else { return false }
            log.served[id]?.isHeld = isHeld
        case .reset(let id):
            guard judgeEnd(index, id, "breaks off", log) else { return false }
            log.made.remove(id)
            guard let call = log.served.remove(id) else { break }
            log.past.insert(id)
            if let method = call.method, !call.hasCallerLeft, !isTooMuch(call, process) {
                world.fail(.calls, "\(world.name(index)) breaks off \(method.method.text), which \(world.name(call.from)) waits for")
            }
        }
        return true
    }

    /// Nobody is answered on a stream that has ended. False for what is no call.
    private func judgeEnd(_ index: Int, _ id: StreamID, _ what: String, _ log: CallLog) -> Bool {
        guard id.owner == 0 else { return log.made[id] != nil }
        if log.past.contains(id) { world.fail(.calls, "\(world.name(index)) \(what) in a call whose stream has ended") }
        return log.served[id] != nil
    }

    private func noteRequest(_ index: Int, _ effect: ExchangeEffect, isWake: Bool, _ process: Process, _ now: Instant, _ log: inout CallLog) {
        guard case .kubo(let settings) = process.peer.settings.ipfs else { return }
        switch effect {
        case .start(let id, let request):
            log.requests[id] = CallLog.Request(target: request.target, since: now, limit: limit(request.target, settings))
            judgeUnderWay(index, request.target, process, log)
            // Uploads do not wait.
            guard request.body != nil, log.failures.least > settings.failuresMax else { return }
            if let last = log.triedAt, now < last + settings.retryInterval {
                world.fail(.min, "\(world.name(index)) asks IPFS for \(request.target) \((now - last).seconds) after its last question, although \(log.failures.least) in a row have failed")
            }
            log.triedAt = now
        case .cancel(let id):
            guard let request = log.requests.remove(id) else { return }
            if isWake, !request.hasAnswer { log.failures.most += 1 }
            if isWake, request.isPin { judgeGivenUp(index, request, process, now) }
            judgeCalledBack(index, request, process, now)
        case .body(let id, let bytes):
            // The last piece alone has no block.
            if let request = log.requests[id], request.isUpload, bytes.count > 100 { log.requests[id]?.unacknowledged += 1 }
        case .endOfBody(let id): log.requests[id]?.isBodyEnded = true
        }
    }

    /// CALLS: a pin is given up when it has made no progress for its time, and not before (IPFS-22).
    private func judgeGivenUp(_ index: Int, _ request: CallLog.Request, _ process: Process, _ now: Instant) {
        // What is written anew meanwhile may find the queue full.
        guard let cid = mentioned(in: request.target).last, let limit = request.limit,
            let said = process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now))?.short,
            said.status == .pinError, said.error != Tracker.queueFullText
        else { return }
        oracles.judged += 1
        guard request.since + limit > now else { return }
        world.fail(.calls, "\(world.name(index)) gives up \(request.target) of IPFS \((now - request.since).seconds) after that told of block \(request.told)")
    }

    /// CALLS: an unpin that has begun may be carried out all the same, and nobody calls it back (TRK-27).
    func judgeCalledBack(_ index: Int, _ request: CallLog.Request, _ process: Process, _ now: Instant) {
        guard request.target.hasPrefix("/api/v0/pin/rm"), process.machine.isReady, let limit = request.limit else { return }
        oracles.judged += 1
        if now < request.since + limit { world.fail(.calls, "\(world.name(index)) calls back \(request.target) of IPFS after \((now - request.since).seconds)") }
    }

    /// ADD: who sends blocks is told at once that the daemon has not taken them all (IPFS-43). Whose they are is certain where one alone sends some.
    private func judgeUpload(_ index: Int, _ failed: String, _ effects: ArraySlice<PeerEffect>, _ log: CallLog) {
        let uploads = log.served.filter { $0.value.method?.isUpload == true }
        guard log.wish(.adding) == 0, uploads.count == 1, let call = uploads.first else { return }
        oracles.judged += 1
        let isTold = effects.contains {
            if case .stream(.send(call.key, let bytes)) = $0 { bytes.isRPCError } else { false }
        }
        if !isTold { world.fail(.add, "the IPFS daemon of \(world.name(index)) \(failed), and \(world.name(call.value.from)), which has sent them, is not told") }
    }

    /// COUNT: what has failed is known, and is tried again (T07: also where the answer began well).
    private func judgeFailed(_ index: Int, _ target: String, _ process: Process) {
        guard let cid = mentioned(in: target).last else { return }
        oracles.judged += 1
        guard process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now))?.short.status == .unpinned else { return }
        world.fail(.count, "the IPFS daemon of \(world.name(index)) has failed to pin \(cid), and that knows nothing of it")
    }

    /// BOUND: so many pins at a time, and one unpin (TRK-37, TRK-38).
    func judgeUnderWay(_ index: Int, _ target: String, _ process: Process, _ log: CallLog) {
        for (kind, most) in [("/api/v0/pin/add", process.peer.settings.tracker.concurrentPins), ("/api/v0/pin/rm", 1)] where target.hasPrefix(kind) {
            oracles.judged += 1
            let count = log.requests.values.count { $0.target.hasPrefix(kind) }
            if count > most { world.fail(.bound, "\(world.name(index)) has \(count) of \(kind) under way, of \(most) at most") }
        }
    }

    /// IPFS-01, IPFS-22.
    private func limit(_ target: String, _ settings: KuboSettings) -> Span? {
        switch target.dropFirst("/api/v0/".count).prefix(while: { $0 != "?" }) {
        case "pin/add": settings.pinTimeout
        case "pin/rm": settings.unpinTimeout
        case "repo/gc": settings.repoGCTimeout
        case "pin/update", "swarm/connect", "block/put": nil
        default: settings.requestTimeout
        }
    }

    // MARK: Judged

    /// MIN: whoever hears of a peer that it does not know asks others whom they know, and not at each of the messages that it hears.
    func judgeAsking(_ index: Int, _ effects: ArraySlice<PeerEffect>, _ now: Instant, _ log: inout CallLog) {
        for effect in effects {
            guard case .stream(.open(let id, _, _)) = effect, log.made[id]?.method?.method.text == "Cluster.ID" else { continue }
            oracles.judged += 1
            if let before = log.askedAroundAt, now - before < .seconds(10) {
                return world.fail(.min, "\(world.name(index)) asks around for those it hears of, \((now - before).seconds) after the last time")
            }
            log.askedAroundAt = now
        }
    }

    /// What goes on at the other end is what is waited for here, and what somebody has asked for.
    func judgeCalls(_ index: Int, _ process: Process, _ log: inout CallLog) {
        for (id, call) in log.made {
            if call.isOver { log.made.remove(id) } else if call.method == nil {
                return world.fail(.calls, "\(world.name(index)) opens a call to \(world.name(call.to)), and does not say what it wants")
            }
        }
        judgeWishes(index, process, log)
        judgeCollections(index, log)
        judgeHeld(index, process, log)
        let calls = process.machine.calls()
        oracles.judged += 1
        if log.made.count != calls.made - calls.sought {
            return world.fail(.calls, "\(world.name(index)) waits for \(calls.made - calls.sought) calls, and \(log.made.count) go on: \(names(log.made.values.map(\.method)))")
        }
        judgeServed(index, calls.served, calls.answered, log)
        judgeUnasked(index, process, log)
        if let requests = process.machine.requestsToIPFS() { judgeRequests(index, requests.sent, requests.held, process, log) }
    }

    /// RPC-15: whoever has gone is not served any more, and nobody else is asked for it.
    private func judgeWishes(_ index: Int, _ process: Process, _ log: CallLog) {
        for call in log.made.values {
            // That one has a rule of its own.
            guard let method = call.method, !method.isCollection, !log.isWanted(method) else { continue }
            return world.fail(.calls, "\(world.name(index)) asks \(world.name(call.to)) for \(method.method.text), and nobody is left who wants that")
        }
        let (paths, waiting) = (log.requests.values.count { $0.isLookup }, log.wish(.path))
        if paths > waiting { return world.fail(.calls, "\(world.name(index)) has IPFS look up \(paths) paths, for \(waiting) who wait for that") }
        if let client = process.machine.askers().first(where: { !log.clients.contains($0) }) {
            world.fail(.calls, "\(world.name(index)) works for client \(client.number), which does not wait for it")
        }
    }

    /// Whoever has garbage collected has one daemon at a time do it (REST-064), and none once he has gone.
    func judgeCollections(_ index: Int, _ log: CallLog) {
        let asked = log.made.values.filter { $0.method?.isCollection == true }
        let count = asked.count + log.requests.values.count { $0.isCollection }
        guard count > 0 else { return }
        let waiting = log.wish(.garbage) + log.served.values.count { $0.method?.isCollection == true }
        if count > waiting {
            world.fail(.calls, "\(world.name(index)) has garbage collected in \(count) places at a time, for \(waiting) who wait for it\(asked.isEmpty ? "" : ": \(asked.map { world.name($0.to) }.joined(separator: " "))")")
        }
    }

    private static let largestBlock = 16_000
    /// BOUND: whoever sends blocks that the daemon does not take is made to wait (RPC-16). A part of a block, and one that was there before
    /// it was known what it is, come on top.
    func judgeHeld(_ index: Int, _ process: Process, _ log: CallLog) {
        guard !options.isEmbedded else { return }
        for call in log.served.values where call.untaken > 0 {
            let most = process.peer.settings.uploadWindowBytes + Run.largestBlock
            oracles.judged += 1
            guard !call.isHeld, !call.hasCallerLeft, call.untaken > most else { continue }
            world.fail(.bound, "\(world.name(index)) goes on reading blocks of \(world.name(call.from)), of which its daemon has not taken \(call.untaken) bytes")
        }
    }

    /// LIVE: who has added this peer is a member at once (CLU-44).
    func judgeJoined(_ index: Int, _ other: Int, _ answer: Bytes) {
        guard !answer.isEmpty, !answer.isRPCError, let members = world.peers[index].process?.machine.members else { return }
        oracles.judged += 1
        if !members.contains(world.peers[other].id) { world.fail(.live, "\(world.name(other)) has added \(world.name(index)), which does not count it as a member") }
    }

    func judgeServed(_ index: Int, _ served: Int, _ answered: Int, _ log: CallLog) {
        if log.served.count != served {
            world.fail(.calls, "\(world.name(index)) has \(served) calls of others, and \(log.served.count) go on: \(names(log.served.values.map(\.method)))")
        } else if answered > served {
            world.fail(.calls, "\(world.name(index)) works on \(answered) calls of others, of whom \(served) still wait")
        }
    }

    /// More of an argument than whoever may call a method, as everybody may, is given room for.
    private func isTooMuch(_ call: CallLog.Served, _ process: Process) -> Bool {
        !call.isAsked && call.method?.policy != .trusted && call.head.count > process.peer.settings.rpc.openValueBytesLimit + Run.callHeadMax
    }
    private static let callHeadMax = 100

    /// CALLS, BOUND: what ends before it has said of what, or goes on and on saying it, is no call (RPC-09, RPC-17).
    func judgeUnasked(_ index: Int, _ process: Process, _ log: CallLog) {
        for call in log.served.values where !call.isAsked {
            oracles.judged += 1
            if isTooMuch(call, process) {
                return world.fail(.bound, "\(world.name(index)) goes on reading what \(world.name(call.from)) calls it with: \(call.head.count) bytes")
            }
            guard call.hasCallerLeft, let method = call.method, method.kind == .unary else { continue }
            return world.fail(.calls, "\(world.name(index)) goes on with a call of \(world.name(call.from)) for \(method.method.text) that has ended before it said of what")
        }
    }

    /// IPFS-04: any answer is one.
    func judgeRequests(_ index: Int, _ sent: Int, _ held: Int, _ process: Process, _ log: CallLog) {
        guard case .kubo(let settings) = process.peer.settings.ipfs else { return }
        if log.requests.count != sent {
            world.fail(.calls, "\(world.name(index)) waits for \(sent) answers of IPFS, which works on \(log.requests.count): \(log.requests.values.prefix(4).map(\.target))")
        } else if held > 0, log.failures.most <= settings.failuresMax {
            world.fail(.min, "\(world.name(index)) holds back \(held) requests to IPFS, of which no more than \(log.failures.most) in a row have failed")
        }
    }

    private func names(_ methods: [RPCMethodEntry?]) -> String {
        let all = methods.map { $0?.method.text ?? "one that has not said what it wants" }
        return all.prefix(4).joined(separator: ", ") + (all.count > 4 ? " and others" : "")
    }

    /// Whatever is late has ended.
    func judgeTime(_ index: Int, _ now: Instant, _ log: CallLog) {
        for call in log.made.values {
            guard let method = call.method, let limit = method.limit, call.since + limit <= now else { continue }
            return world.fail(.calls, "\(world.name(index)) still waits for \(method.method.text) of \(world.name(call.to)) after \((now - call.since).seconds)")
        }
        for request in log.requests.values {
            guard let limit = request.limit, request.since + limit <= now else { continue }
            return world.fail(.calls, "\(world.name(index)) still waits for \(request.target) of IPFS after \((now - request.since).seconds)")
        }
    }

    /// Whoever waits has his turn.
    func judgeTurns(_ index: Int, _ held: Int, _ process: Process, _ now: Instant, _ log: CallLog) {
        guard held > 0, case .kubo(let settings) = process.peer.settings.ipfs, let last = log.triedAt, last + settings.retryInterval * 2 <= now else { return }
        world.fail(.min, "\(world.name(index)) has held back \(held) requests to IPFS for \((now - last).seconds), and tries none of them")
    }
}

extension Bytes {
    /// An answer that begins with what is wrong (RPC-05).
    fileprivate var isRPCError: Bool {
        var reader = MessagePackReader(self)
        do {
            for _ in 0..<(try reader.map()) {
                if try reader.string() == "Error" { return try !reader.string().isEmpty }
                try reader.skip()
            }
        } catch {}
        return false
    }
}

extension CallLog {
    fileprivate mutating func leave(_ client: ClientID) {
        clients.remove(client)
        wishes.remove(client)
    }
}
