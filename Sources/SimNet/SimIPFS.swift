// A model of the IPFS daemon beside each peer: Kubo's HTTP API with as much behaviour as the cluster can see. It lives on
// when its peer crashes.

import Cluster
import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

package struct SimIPFSSettings: Sendable {
    package var latencyMin = Span.milliseconds(1)
    package var latencyMax = Span.milliseconds(30)
    /// How long fetching the content of a pin takes.
    package var fetchMin = Span.milliseconds(50)
    package var fetchMax = Span.seconds(3)
    package var storageMax: UInt64 = 10 << 30
    package init() {}
}

package struct SimIPFS: Sendable {
    /// What happens when a request's time has come.
    package struct Task: Sendable {
        let exchange: ExchangeID
        let target: String
        /// The run of the daemon that took it.
        let run: Int
        /// It tells now and then how far it is.
        var tells = false
        /// How many blocks it has told of, if of any.
        var told: Int?
        /// What it still takes.
        var left = Span.zero
    }
    /// Kubo's is half a second.
    static let tellingPause = Span.seconds(4)
    package struct Answer: Equatable {
        var status = 200
        var body: Bytes = []
        init(status: Int = 200, body: String) { (self.status, self.body) = (status, Bytes(body.utf8)) }
        init(body: Bytes) { self.body = body }
    }
    /// Of a piece of a body that is being put.
    static let putTarget = "/api/v0/block/put"
    /// Of a path that is looked up.
    static let resolveTarget = "/api/v0/resolve"
    /// Of a connection to another daemon, whose address follows.
    static let connectTarget = "/api/v0/swarm/connect?arg="

    package let id: PeerID
    /// Where it says that it can be reached: at one that leads nowhere, and at one that does.
    let addresses: [Multiaddr]
    /// What it answers to who asks for them.
    private let introduction: String
    /// Other daemons that it is connected to.
    package internal(set) var neighbours = SortedSet<PeerID>()
    package internal(set) var pins = SortedMap<CID, IPFSPinStatus>()
    /// When it last pinned or unpinned a CID: what a status says is judged where nothing changed meanwhile.
    package private(set) var changedAt = SortedMap<CID, Int64>()
    package private(set) var emptiedAt: Int64 = -1
    /// What it has unpinned for somebody who did not wait for it any more.
    var unpinnedLate = SortedSet<CID>()
    var blocks = SortedMap<Multihash, Bytes>()
    /// What it has collected, and when.
    package private(set) var collections: [(at: Int64, garbage: [IPFSRepoGC])] = []
    package var repoSize: UInt64 = 0
    package var storageMax: UInt64
    /// Counts its restarts.
    private(set) var run = 0

    // Faults.
    package var isDown = false
    /// Requests are taken and never answered.
    package var hangs = false
    /// One request in so many is carried out, and its answer lost. 0 for none.
    package var losesReplyOneIn = 0
    /// Requests take so many times as long.
    package var slowness = 1
    /// No pin has room.
    package var isFull = false
    /// It tells this much free space, whatever it has.
    package var claimedFree: UInt64?
    /// Its repository holds more than it may.
    package var isAboveLimit = false
    /// It does not say how much space it has.
    package var hidesSpace = false
    /// What it lists is of then.
    package var listing: SortedMap<CID, IPFSPinStatus>?
    /// Content that cannot be fetched: half of it.
    package var lacks: Lack?
    package struct Lack: Equatable, Sendable {
        var isOdd: Bool
        var hangs: Bool
    }
    /// One answer in so many is cut off. 0 for none.
    package var cutsOneIn = 0
    /// A collection of garbage takes one new pin in so many with it.
    package var collectsOneIn = 0

    init(id: PeerID, storageMax: UInt64) {
        (self.id, self.storageMax) = (id, storageMax)
        addresses = [SimIPFS.nowhere, "/ip4/10.0.0.1/tcp/4001"].compactMap { try? Multiaddr(text: "\($0)/p2p/\(id)") }
        introduction = "{\"ID\":\"\(id)\",\"Addresses\":[\(addresses.map { "\"\($0)\"" }.joined(separator: ","))]}\n"
    }

    /// Its repository was set up anew.
    package mutating func forgetPins(at now: Int64) {
        pins = SortedMap()
        blocks = SortedMap()
        repoSize = 0
        emptiedAt = now
    }
    /// What it had under way is cut short.
    package mutating func restart() { run += 1 }
    /// It pinned that CID all the time since then, or did not all the time. Nil if it changed.
    package func held(_ cid: CID, since time: Int64) -> Bool? {
        max(changedAt[cid] ?? -1, emptiedAt) > time ? nil : pins[cid] != nil
    }

    /// It loses one pin by itself.
    package mutating func forget(_ cid: CID, at now: Int64 = 0) {
        if pins.remove(cid) != nil { repoSize -= min(repoSize, 1_000_000) }
        changedAt[cid] = now
    }

    /// Somebody unpins it, and pins it alone.
    mutating func makeDirect(_ cid: CID, at now: Int64) {
        pins[cid] = .direct
        changedAt[cid] = now
    }

    /// What it would have to fetch, and cannot.
    func isLacking(_ target: String) -> Bool {
        guard let lacks, SimIPFS.isFetch(target), let cid = mentioned(in: target).last, pins[cid] == nil else { return false }
        return (cid.bytes.last ?? 0) & 1 == (lacks.isOdd ? 1 : 0)
    }
    static func isStreamed(_ target: String) -> Bool { target.hasPrefix("/api/v0/pin/ls?stream=true") || target.hasPrefix("/api/v0/pin/add") }
    static func streamError(_ message: String) -> ExchangeEvent.Trailer { .init(name: "X-Stream-Error", value: message) }
    static func changesSpace(_ target: String) -> Bool { ["pin/add", "pin/rm", "pin/update", "block/put", "repo/gc"].contains { target.hasPrefix("/api/v0/" + $0) } }
    /// How many blocks a line of an answer tells of.
    static func progress(_ line: Bytes) -> Int? {
        let head = Bytes("{\"Progress\":".utf8)
        return line.starts(with: head) ? Int(String(decoding: line.dropFirst(head.count).prefix { $0 != UInt8(ascii: "}") }, as: UTF8.self)) : nil
    }
    static func isFetch(_ target: String) -> Bool { target.hasPrefix("/api/v0/pin/add") || target.hasPrefix("/api/v0/pin/update") }

    /// Carries out one request, as Kubo answers it.
    mutating func answer(_ target: String, at now: Int64) -> Answer {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let query = parts.count > 1 ? parts[1].split(separator: "&").map { $0.split(separator: "=", maxSplits: 1).map(String.init) } : []
        let arguments = query.filter { $0.first == "arg" }.compactMap { $0.count > 1 ? $0[1] : nil }
        let options = query.reduce(into: [String: String]()) { $0[$1[0]] = $1.count > 1 ? $1[1] : "" }
        switch parts[0] {
        case "/api/v0/id": return Answer(body: introduction)
        case "/api/v0/repo/stat": return hidesSpace ? SimIPFS.error("repo is locked") : Answer(body: "{\"RepoSize\":\(isAboveLimit ? storageMax + 1_000_000 : claimedFree.map { storageMax - min($0, storageMax) } ?? repoSize),\"StorageMax\":\(storageMax)}\n")
        case "/api/v0/pin/ls": return list(arguments.first, options["type"] ?? "all")
        case "/api/v0/pin/add": return add(arguments, isRecursive: options["recursive"] != "false", now)
        case "/api/v0/pin/update": return update(arguments, unpins: options["unpin"] != "false", now)
        case "/api/v0/pin/rm": return remove(arguments, now)
        case "/api/v0/swarm/peers":
            let peers = neighbours.map { "{\"Peer\":\"\($0)\"}" }.joined(separator: ",")
            return Answer(body: "{\"Peers\":[\(peers)]}\n")
        case "/api/v0/swarm/connect":
            guard let (other, leads) = SimIPFS.peer(in: arguments.first), leads, neighbours.contains(other) else {
                return SimIPFS.error("connect failure: no good addresses")
            }
            return Answer(body: "{\"Strings\":[\"connect \(other) success\"]}\n")
        case "/api/v0/repo/gc": return collectGarbage(now)
        case SimIPFS.resolveTarget:
            guard let path = arguments.first.flatMap({ URLText.unescaped($0.utf8, isQuery: true) }), let cid = SimIPFS.target(of: path) else { return SimIPFS.error("could not resolve name") }
            return Answer(body: "{\"Path\":\"/ipfs/\(cid)\"}\n")
        default: return Answer(status: 404, body: "404 page not found")
        }
    }

    /// From none to three blocks, of which some cannot be removed. Which they are nobody knows before.
    private mutating func collectGarbage(_ now: Int64) -> Answer {
        let number = collections.count + 1
        var garbage = (0..<number % 4).map { IPFSRepoGC(key: CID(v1: Codec.raw, .sha2_256(of: Bytes("\(id) \(number) \($0)".utf8)))) }
        if number % 4 == 2 { garbage.insert(IPFSRepoGC(key: nil, error: "a block is locked"), at: 1) }
        collections.append((now, garbage))
        return Answer(body: garbage.map { one in one.key.map { "{\"Key\":{\"/\":\"\($0)\"}}\n" } ?? "{\"Error\":\"\(one.error)\"}\n" }.joined())
    }

    /// Where a path leads: each content has a name of its own.
    static func target(of path: String) -> CID? {
        let parts = path.split(separator: "/").map(String.init)
        guard parts.count == 2 else { return nil }
        return try? CID(text: parts[0] == "ipns" && parts[1].hasSuffix(PinPath.suffix) ? String(parts[1].dropLast(PinPath.suffix.count)) : parts[1])
    }

    static let notFound = error("block was not found locally (offline): ipld: could not find the content")
    private static let nowhere = "/ip4/198.51.100.1/tcp/4001"

    /// Whom an escaped address names.
    static func peer(in argument: String?) -> (id: PeerID, leads: Bool)? {
        let address = argument.flatMap { URLText.unescaped($0.utf8, isQuery: true) }.flatMap { try? Multiaddr(text: $0) }
        return address.flatMap { address in address.peerID.map { ($0, !address.description.hasPrefix(nowhere)) } }
    }

    static func error(_ message: String) -> Answer {
        Answer(status: 500, body: "{\"Message\":\"\(message)\",\"Code\":0,\"Type\":\"error\"}\n")
    }

    private func list(_ argument: String?, _ type: String) -> Answer {
        let wanted: IPFSPinStatus = type == "direct" ? .direct : .recursive
        let name = wanted == .direct ? "direct" : "recursive"
        if let argument {
            guard let cid = try? CID(text: argument), pins[cid] == wanted else {
                return SimIPFS.error("path '\(argument)' is not pinned")
            }
            return Answer(body: "{\"Cid\":\"\(cid)\",\"Type\":\"\(name)\"}\n")
        }
        let found = (listing ?? pins).filter { $0.value == wanted }
        return Answer(body: found.map { "{\"Cid\":\"\($0.key)\",\"Type\":\"\(name)\"}\n" }.joined())
    }

    private mutating func add(_ arguments: [String], isRecursive: Bool, _ now: Int64) -> Answer {
        guard let cid = arguments.first.flatMap({ try? CID(text: $0) }) else { return SimIPFS.error("invalid path") }
        if pins[cid] == .recursive && !isRecursive { return SimIPFS.error("\(cid) already pinned recursively") }
        if isFull || repoSize + 1_000_000 > storageMax { return SimIPFS.error("the repository is full") }
        if pins[cid] == nil { repoSize += 1_000_000 }
        pins[cid] = isRecursive ? .recursive : .direct
        changedAt[cid] = now
        return Answer(body: "{\"Progress\":1}\n{\"Pins\":[\"\(cid)\"]}\n")
    }

    private mutating func update(_ arguments: [String], unpins: Bool, _ now: Int64) -> Answer {
        let cids = arguments.compactMap { try? CID(text: $0) }
        guard cids.count == 2, pins[cids[0]] == .recursive else { return SimIPFS.error("'from' cid was not recursively pinned already") }
        if pins[cids[1]] == nil { repoSize += 1_000_000 }
        pins[cids[1]] = .recursive
        changedAt[cids[1]] = now
        if unpins && cids[0] != cids[1] { forget(cids[0], at: now) }
        return Answer(body: "{\"Pins\":[]}\n")
    }

    private mutating func remove(_ arguments: [String], _ now: Int64) -> Answer {
        guard let cid = arguments.first.flatMap({ try? CID(text: $0) }), pins[cid] != nil else {
            return SimIPFS.error("not pinned or pinned indirectly")
        }
        forget(cid, at: now)
        return Answer(body: "{\"Pins\":[\"\(cid)\"]}\n")
    }
}

extension World {
    func carryOut(_ process: Process, _ effect: ExchangeEffect) {
        let peer = process.peer
        switch effect {
        case .start(let exchange, let request):
            record(.effect(label: "ipfs"), peer.index, "→ ipfs \(exchange.number): \(request.target)", cids: mentioned(in: request.target))
            if peer.ipfs.isDown {
                hit(.ipfsRefused)
                let reason = "Post http://127.0.0.1:5001\(request.target): dial tcp 127.0.0.1:5001: connect: connection refused"
                return schedule(process, .exchange(.failed(exchange, reason: reason)), after: .zero)
            }
            process.exchanges.insert(exchange)
            if let put = SimIPFS.Put(request, run: peer.ipfs.run) { return process.puts[exchange] = put }
            peer.requests += 1
            if peer.ipfs.slowness > 1 { hit(.ipfsSlow) }
            let options = settings.ipfs
            let isFetch = SimIPFS.isFetch(request.target)
            let (low, high) = isFetch || request.target.hasPrefix(SimIPFS.resolveTarget) ? (options.fetchMin, options.fetchMax) : (options.latencyMin, options.latencyMax)
            let slowness = isFetch ? peer.ipfs.slowness : max(ipfsPace, peer.ipfs.slowness)
            var delay = tape.span(.ipfs, UInt64(peer.index), peer.requests, low, high).nanoseconds * Int64(slowness)
            var task = SimIPFS.Task(exchange: exchange, target: request.target, run: peer.ipfs.run)
            if request.target.contains("progress=true") {
                var choices = tape.stream(.ipfs, 1 << 32 | UInt64(peer.index), peer.requests)
                task.tells = choices.chance(1, in: 2)
                if hasLongPins, task.tells, choices.chance(1, in: 12) { delay += choices.span(.seconds(10), .seconds(50)).nanoseconds }
            }
            schedule(process, task, in: Span(nanoseconds: delay))
        case .cancel(let exchange):
            process.exchanges.remove(exchange)
            process.puts[exchange] = nil
        case .body(let exchange, let bytes): carry(bytes, of: exchange, process)
        case .endOfBody(let exchange): carry(nil, of: exchange, process)
        }
    }

    private func schedule(_ process: Process, _ task: SimIPFS.Task, in span: Span) {
        var task = task
        let pause = task.tells ? min(span, SimIPFS.tellingPause) : span
        task.left = span - pause
        schedule(.ipfs(process, task), of: process.peer, at: now + pause.nanoseconds)
    }

    /// Tells how far it is, and goes on; or stays there after the first block.
    private func tell(_ process: Process, _ task: SimIPFS.Task, isStuck: Bool = false) {
        var task = task
        if task.told == nil { feed(process, .exchange(.head(task.exchange, status: 200))) }
        let isFurther = !isStuck || task.told == nil
        let told = (task.told ?? 0) + (isFurther ? 1 : 0)
        task.told = told
        feed(process, .exchange(.body(task.exchange, Bytes("{\"Progress\":\(told)}\n".utf8))))
        hit(isFurther ? .ipfsProgress : .ipfsNoProgress)
        if isStuck { schedule(.ipfs(process, task), of: process.peer, at: now + SimIPFS.tellingPause.nanoseconds) } else { schedule(process, task, in: task.left) }
    }

    /// It is not answered until what it waits for is over.
    private func stall(_ process: Process, _ task: SimIPFS.Task, isAwaited: Bool) {
        if task.tells, isAwaited { tell(process, task, isStuck: true) } else { process.peer.stuck.append((process, task)) }
    }

    /// Connects two daemons that both run, if that is what is asked for. None dials itself.
    private func introduce(_ index: Int, _ target: String) {
        let prefix = SimIPFS.connectTarget
        guard target.hasPrefix(prefix), let (asked, leads) = SimIPFS.peer(in: String(target.dropFirst(prefix.count))), leads, asked != peers[index].ipfs.id,
            let other = peers.firstIndex(where: { $0.ipfs.id == asked }), !peers[other].ipfs.isDown
        else { return }
        peers[index].ipfs.neighbours.insert(asked)
        peers[other].ipfs.neighbours.insert(peers[index].ipfs.id)
    }

    func runIPFS(_ process: Process, _ task: SimIPFS.Task) {
        let peer = process.peer
        let isAwaited = process.isCurrent && process.exchanges.contains(task.exchange)
        // Kubo stops fetching for whoever hangs up, and finishes the rest.
        if !isAwaited && SimIPFS.isFetch(task.target) { return }
        if peer.ipfs.hangs {
            hit(.ipfsHung)
            return stall(process, task, isAwaited: isAwaited)
        }
        guard !peer.ipfs.isDown, task.run == peer.ipfs.run else {
            hit(.ipfsCutShort)
            process.puts[task.exchange] = nil
            if isAwaited, process.exchanges.remove(task.exchange) != nil { feed(process, .exchange(.failed(task.exchange, reason: "unexpected EOF"))) }
            return
        }
        if isAwaited, task.left > .zero { return tell(process, task) }
        if task.target == SimIPFS.putTarget { return takePiece(process, task.exchange) }
        introduce(peer.index, task.target)
        let held = isWatched ? peer.ipfs.pins : nil
        let isLacking = peer.ipfs.isLacking(task.target)
        if isLacking {
            hit(.ipfsLacked)
            if peer.ipfs.lacks?.hangs == true { return stall(process, task, isAwaited: isAwaited) }
        }
        // It looks for it until it is there, or nobody waits any more.
        if !isLacking, !fetch(task.target, for: peer) {
            return task.tells && isAwaited ? tell(process, task, isStuck: true) : schedule(.ipfs(process, task), of: peer, at: now + Span.seconds(5).nanoseconds)
        }
        let answer = isLacking ? SimIPFS.notFound : SimIPFS.wantedBlock(task.target).map { addedBlock($0, for: peer).map { SimIPFS.Answer(body: $0) } ?? SimIPFS.notFound } ?? peer.ipfs.answer(task.target, at: now)
        if !isAwaited, task.target.hasPrefix("/api/v0/pin/rm"), let cid = mentioned(in: task.target).last { peer.ipfs.unpinnedLate.insert(cid) }
        if let held { recordPins(peer, held, task.target) }
        noteProbes(peer, task.target)
        var choices = tape.stream(.faults, 1 << 32 | UInt64(peer.index), task.exchange.number)
        collect(peer, task.target, &choices)
        guard isAwaited else { return }
        process.exchanges.remove(task.exchange)
        let rate = peer.ipfs.losesReplyOneIn
        if rate > 0 && choices.chance(1, in: rate) {
            hit(.ipfsReplyLost)
            return feed(process, .exchange(.failed(task.exchange, reason: "connection reset by peer")))
        }
        // It had told of its progress before it found out.
        if isLacking, task.target.contains("progress=true"), choices.chance(1, in: 2) {
            if task.told == nil { feed(process, .exchange(.head(task.exchange, status: 200))) }
            feed(process, .exchange(.body(task.exchange, Bytes("{\"Progress\":\((task.told ?? 0) + 1)}\n".utf8))))
            return feed(process, .exchange(.end(task.exchange, trailers: [SimIPFS.streamError("ipld: could not find the content")])))
        }
        if task.told == nil { feed(process, .exchange(.head(task.exchange, status: answer.status))) } else if answer.status != 200 {
            return feed(process, .exchange(.end(task.exchange, trailers: [SimIPFS.streamError("pin: it has come to nothing")])))
        }
        let cuts = peer.ipfs.cutsOneIn
        if cuts > 0 && choices.chance(1, in: cuts) {
            hit(.ipfsCutAnswer)
            // What fails after its first line says so behind the last, and all that stands before is whole (T07).
            if answer.status == 200, SimIPFS.isStreamed(task.target), choices.chance(1, in: 3) {
                let lines = answer.body.split(separator: 0x0a, omittingEmptySubsequences: false).dropLast()
                let part = lines.prefix(choices.below(lines.count + 1)).flatMap { $0 + [0x0a] }
                if !part.isEmpty { feed(process, .exchange(.body(task.exchange, part))) }
                return feed(process, .exchange(.end(task.exchange, trailers: [SimIPFS.streamError("unexpected EOF")])))
            }
            let part = choices.chance(1, in: 2) ? [] : Bytes(answer.body.prefix(choices.below(answer.body.count + 1)))
            if !part.isEmpty { feed(process, .exchange(.body(task.exchange, part))) }
            feed(process, .exchange(.failed(task.exchange, reason: "unexpected EOF")))
            return
        }
        if !answer.body.isEmpty { feed(process, .exchange(.body(task.exchange, answer.body))) }
        feed(process, .exchange(.end(task.exchange, trailers: [])))
    }

    /// What a request has made of IPFS's pins.
    private func recordPins(_ peer: SimPeer, _ before: SortedMap<CID, IPFSPinStatus>, _ target: String) {
        for cid in mentioned(in: target) where (before[cid] == nil) != (peer.ipfs.pins[cid] == nil) {
            let state = before[cid] == nil ? "pinned" : "unpinned"
            record(.pin(cid, state: state), peer.index, "IPFS: \(state)", cids: [cid])
        }
    }

    /// What was stuck goes on: some of it asks for what has no time-out, such as a collection of garbage.
    func goOn(_ peer: SimPeer) {
        let stuck = peer.stuck
        peer.stuck = []
        for (process, task) in stuck { schedule(.ipfs(process, task), of: peer, at: now) }
    }

    private func noteProbes(_ peer: SimPeer, _ target: String) {
        if peer.ipfs.isFull, target.hasPrefix("/api/v0/pin/add") { hit(.ipfsFull) }
        if peer.ipfs.listing != nil, target.hasPrefix("/api/v0/pin/ls") { hit(.ipfsStale) }
        if peer.ipfs.claimedFree != nil || peer.ipfs.hidesSpace || peer.ipfs.isAboveLimit, target.hasPrefix("/api/v0/repo/stat") { hit(.factsFalse) }
    }

    /// Garbage collection races a pin, and wins.
    private func collect(_ peer: SimPeer, _ target: String, _ choices: inout Choices) {
        guard peer.ipfs.collectsOneIn > 0, target.hasPrefix("/api/v0/pin/add"), choices.chance(1, in: peer.ipfs.collectsOneIn) else { return }
        guard let cid = mentioned(in: target).first else { return }
        peer.ipfs.forget(cid, at: now)
        hit(.ipfsForgot)
    }
}
