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
    }
    package struct Answer: Equatable {
        var status = 200
        var body = ""
    }

    package let id: PeerID
    /// Other daemons that it is connected to.
    package internal(set) var neighbours = SortedSet<PeerID>()
    package internal(set) var pins = SortedMap<CID, IPFSPinStatus>()
    /// Requests that the peer still waits for.
    var open: Set<ExchangeID> = []
    package var repoSize: UInt64 = 0
    package var storageMax: UInt64

    // Faults.
    package var isDown = false
    /// Requests are taken and never answered.
    package var hangs = false
    /// One request in so many is carried out, and its answer lost. 0 for none.
    package var losesReplyOneIn = 0

    init(id: PeerID, storageMax: UInt64) {
        self.id = id
        self.storageMax = storageMax
    }

    /// Its repository was set up anew.
    package mutating func forgetPins() {
        pins = SortedMap()
        repoSize = 0
    }

    /// It loses one pin by itself.
    package mutating func forget(_ cid: CID) {
        if pins.remove(cid) != nil { repoSize -= min(repoSize, 1_000_000) }
    }

    static func isFetch(_ target: String) -> Bool { target.hasPrefix("/api/v0/pin/add") || target.hasPrefix("/api/v0/pin/update") }

    /// Carries out one request, as Kubo answers it.
    mutating func answer(_ target: String) -> Answer {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let query = parts.count > 1 ? parts[1].split(separator: "&").map { $0.split(separator: "=", maxSplits: 1).map(String.init) } : []
        let arguments = query.filter { $0.first == "arg" }.compactMap { $0.count > 1 ? $0[1] : nil }
        let options = query.reduce(into: [String: String]()) { $0[$1[0]] = $1.count > 1 ? $1[1] : "" }
        switch parts[0] {
        case "/api/v0/id": return Answer(body: "{\"ID\":\"\(id)\",\"Addresses\":[\"/ip4/10.0.0.1/tcp/4001/p2p/\(id)\"]}\n")
        case "/api/v0/repo/stat": return Answer(body: "{\"RepoSize\":\(repoSize),\"StorageMax\":\(storageMax)}\n")
        case "/api/v0/pin/ls": return list(arguments.first, options["type"] ?? "all")
        case "/api/v0/pin/add": return add(arguments, isRecursive: options["recursive"] != "false")
        case "/api/v0/pin/update": return update(arguments)
        case "/api/v0/pin/rm": return remove(arguments)
        case "/api/v0/swarm/peers":
            let peers = neighbours.map { "{\"Peer\":\"\($0)\"}" }.joined(separator: ",")
            return Answer(body: "{\"Peers\":[\(peers)]}\n")
        case "/api/v0/swarm/connect":
            guard let other = SimIPFS.peer(in: arguments.first), neighbours.contains(other) else {
                return SimIPFS.error("connect failure: no good addresses")
            }
            return Answer(body: "{\"Strings\":[\"connect \(other) success\"]}\n")
        case "/api/v0/repo/gc": return Answer(body: "")
        default: return Answer(status: 404, body: "404 page not found")
        }
    }

    /// Whom an escaped address names.
    static func peer(in argument: String?) -> PeerID? {
        let address = argument.flatMap { URLText.unescaped($0.utf8, isQuery: true) }.flatMap { try? Multiaddr(text: $0) }
        return address?.peerID
    }

    private static func error(_ message: String) -> Answer {
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
        let found = pins.filter { $0.value == wanted }
        return Answer(body: found.map { "{\"Cid\":\"\($0.key)\",\"Type\":\"\(name)\"}\n" }.joined())
    }

    private mutating func add(_ arguments: [String], isRecursive: Bool) -> Answer {
        guard let cid = arguments.first.flatMap({ try? CID(text: $0) }) else { return SimIPFS.error("invalid path") }
        if pins[cid] == .recursive && !isRecursive { return SimIPFS.error("\(cid) already pinned recursively") }
        if repoSize + 1_000_000 > storageMax { return SimIPFS.error("the repository is full") }
        if pins[cid] == nil { repoSize += 1_000_000 }
        pins[cid] = isRecursive ? .recursive : .direct
        return Answer(body: "{\"Progress\":1}\n{\"Pins\":[\"\(cid)\"]}\n")
    }

    private mutating func update(_ arguments: [String]) -> Answer {
        let cids = arguments.compactMap { try? CID(text: $0) }
        guard cids.count == 2, pins[cids[0]] == .recursive else { return SimIPFS.error("'from' cid was not recursively pinned already") }
        if pins[cids[1]] == nil { repoSize += 1_000_000 }
        pins[cids[1]] = .recursive
        return Answer(body: "{\"Pins\":[]}\n")
    }

    private mutating func remove(_ arguments: [String]) -> Answer {
        guard let cid = arguments.first.flatMap({ try? CID(text: $0) }), pins[cid] != nil else {
            return SimIPFS.error("not pinned or pinned indirectly")
        }
        forget(cid)
        return Answer(body: "{\"Pins\":[\"\(cid)\"]}\n")
    }
}

extension World {
    func carryOut(_ index: Int, _ effect: ExchangeEffect) {
        switch effect {
        case .start(let exchange, let request):
            note("\(name(index)) → ipfs \(exchange.number): \(request.target)")
            var choices = draws.stream(.ipfs, UInt64(index), eventCount)
            if peers[index].ipfs.isDown {
                let reason = "Post http://127.0.0.1:5001\(request.target): dial tcp 127.0.0.1:5001: connect: connection refused"
                queue.schedule(.input(peer: index, epoch: peers[index].epoch, .exchange(.failed(exchange, reason: reason))), at: now)
                return
            }
            peers[index].ipfs.open.insert(exchange)
            let options = settings.ipfs
            let delay = SimIPFS.isFetch(request.target)
                ? choices.span(options.fetchMin, options.fetchMax) : choices.span(options.latencyMin, options.latencyMax)
            let task = SimIPFS.Task(exchange: exchange, target: request.target)
            queue.schedule(.ipfs(peer: index, epoch: peers[index].epoch, task), at: now + delay.nanoseconds)
        case .cancel(let exchange): peers[index].ipfs.open.remove(exchange)
        case .body, .endOfBody: break
        }
    }

    /// Connects two daemons that both run, if that is what is asked for.
    private func introduce(_ index: Int, _ target: String) {
        let prefix = "/api/v0/swarm/connect?arg="
        guard target.hasPrefix(prefix), let asked = SimIPFS.peer(in: String(target.dropFirst(prefix.count))),
            let other = peers.firstIndex(where: { $0.ipfs.id == asked }), !peers[other].ipfs.isDown
        else { return }
        peers[index].ipfs.neighbours.insert(asked)
        peers[other].ipfs.neighbours.insert(peers[index].ipfs.id)
    }

    func runIPFS(_ index: Int, _ epoch: Int, _ task: SimIPFS.Task) {
        let isAwaited = peers[index].epoch == epoch && peers[index].ipfs.open.contains(task.exchange)
        // Kubo stops fetching for whoever hangs up, and finishes the rest.
        if !isAwaited && SimIPFS.isFetch(task.target) { return }
        if peers[index].ipfs.hangs { return }
        guard !peers[index].ipfs.isDown else {
            if isAwaited { feed(index, .exchange(.failed(task.exchange, reason: "unexpected EOF"))) }
            return
        }
        introduce(index, task.target)
        let answer = peers[index].ipfs.answer(task.target)
        guard isAwaited else { return }
        peers[index].ipfs.open.remove(task.exchange)
        var choices = draws.stream(.faults, 1 << 32 | UInt64(index), eventCount)
        let rate = peers[index].ipfs.losesReplyOneIn
        if rate > 0 && choices.chance(1, in: rate) {
            return feed(index, .exchange(.failed(task.exchange, reason: "connection reset by peer")))
        }
        feed(index, .exchange(.head(task.exchange, status: answer.status)))
        if !answer.body.isEmpty { feed(index, .exchange(.body(task.exchange, Bytes(answer.body.utf8)))) }
        feed(index, .exchange(.end(task.exchange, trailers: [])))
    }
}
