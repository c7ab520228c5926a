// A cluster of three that a behaviour is tried on: simulated, or of real peers on loopback sockets and real files.

import Allocation
import Cluster
import Foundation
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RealNet
import Seams
import SimNet
import Testing
import Transport

/// What behaviours need of a net. Peers are numbered from 0.
protocol Net: AnyObject {
    func id(_ peer: Int) -> PeerID
    /// The wall clock of the peers.
    var time: WallTime { get }
    func start(_ peer: Int) throws
    /// Without a word, and without a last write.
    func kill(_ peer: Int)
    func submit(_ peer: Int, _ request: ClientRequest, _ each: @escaping (ClientReply) -> Void) throws -> ([ClientInput]) -> Void
    /// Lets time pass until it holds; false if it does not in time.
    func wait(_ limit: Span, until condition: () -> Bool) -> Bool
    func digest(_ peer: Int) -> StateDigest?
}

enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case simulated, real
    var testDescription: String { rawValue }

    func net(factors: ReplicationFactors = ReplicationFactors(min: -1, max: -1), starting: [Int] = [0, 1, 2]) throws -> any Net {
        let net: any Net = self == .simulated ? SimulatedNet(factors) : try LoopbackNet(factors)
        for peer in starting { try net.start(peer) }
        for peer in starting {
            let found = net.wait(.seconds(60)) { (try? net.ask(peer, .peers))?.count == starting.count && net.heard("freespace", by: peer) == starting.count }
            try #require(found, "peer \(peer) does not find the others")
        }
        return net
    }

    /// The same for both: what takes minutes in a cluster takes seconds here.
    static func settings(_ settings: inout PeerSettings, _ factors: ReplicationFactors) {
        settings.factors = factors
        settings.isRepinningDisabled = false
        settings.informers.pingInterval = .milliseconds(400)
        settings.monitor.checkInterval = .milliseconds(300)
        settings.gossip.heartbeatInterval = .milliseconds(200)
        settings.repinInterval = .seconds(1)
        settings.stateSyncInterval = .seconds(1)
        settings.book.backoffBase = .milliseconds(200)
        settings.replica.rebroadcastInterval = .seconds(2)
        settings.ipfs = .embedded(EmbeddedSettings())
    }
}

extension Net {
    @discardableResult
    func ask(_ peer: Int, _ request: ClientRequest, _ inputs: [ClientInput] = []) throws -> [ClientItem] {
        var items: [ClientItem] = []
        var end: Result<Void, ClientFailure>?
        var send: (([ClientInput]) -> Void)?
        var isOwed = false
        send = try submit(peer, request) { reply in
            switch reply {
            case .item(.pins(let pins)): items += pins.pins.map { .pin($0) }
            case .item(.infos(let infos)): items += infos.map { .info($0) }
            case .item(let item): items.append(item)
            case .end: end = .success(())
            case .failed(let failure): end = .failure(failure)
            case .pause, .resume: break
            }
            isOwed = true
        }
        if !inputs.isEmpty { send?(inputs) }
        _ = wait(.seconds(30)) {
            if isOwed, end == nil, inputs.isEmpty { (isOwed, _) = (false, send?([.more])) }
            return end != nil
        }
        try #require(end, "no answer to \(request)").get()
        return items
    }

    func heard(_ metric: String, by peer: Int) -> Int {
        guard case .metrics(let all)? = (try? ask(peer, .metrics(name: metric)))?.first else { return 0 }
        return all.count
    }
    /// Adds a file of so many bytes. Its root, and whom it is allocated to.
    func add(_ peer: Int, bytes: Int, _ options: PinOptions = PinOptions()) throws -> (root: CID, allocations: [PeerID]) {
        var choices = Choices(seed: UInt64(bytes))
        var parameters = AddParameters()
        parameters.options = options
        let items = try ask(peer, .add(parameters), [.file(name: "f"), .data(choices.bytes(bytes)), .endOfFile, .end])
        guard case .added(let line)? = items.last, let root = line.cid else { throw ClientFailure("nothing was added") }
        return (root, line.allocations)
    }
    func pins(_ peer: Int) -> [CID]? {
        (try? ask(peer, .pins(Set(PinType.allCases))))?.compactMap { if case .pin(let pin) = $0 { pin.cid } else { nil } }
    }
    /// What everybody says of it, in order.
    func statuses(_ cid: CID, by peer: Int) -> [String] {
        guard case .info(let info)? = (try? ask(peer, .status(cid, isLocal: false)))?.first else { return [] }
        return info.peers.values.map(\.status.text).sorted()
    }
    func agree(_ peers: [Int] = [0, 1, 2]) -> Bool {
        let digests = peers.map(digest)
        return digests.allSatisfy { $0 != nil && $0 == digests[0] }
    }
}

private final class SimulatedNet: Net {
    private let world = World(seed: 11)
    init(_ factors: ReplicationFactors) { world.addPeers(3) { Kind.settings(&$0, factors) } }
    func id(_ peer: Int) -> PeerID { world.peers[peer].id }
    var time: WallTime { world.peers[0].clock.reading(world.now).wall }
    func start(_ peer: Int) { world.start(peer) }
    func kill(_ peer: Int) { world.crash(peer) }
    func submit(_ peer: Int, _ request: ClientRequest, _ each: @escaping (ClientReply) -> Void) -> ([ClientInput]) -> Void {
        let client = world.ask(peer, request) { _, reply in each(reply) }
        return { [world] inputs in world.send(peer, client, inputs) }
    }
    func wait(_ limit: Span, until condition: () -> Bool) -> Bool {
        let end = world.now + limit.nanoseconds
        while !condition() {
            guard world.now < end, world.failure == nil else { return false }
            world.run(for: .milliseconds(20))
        }
        return true
    }
    func digest(_ peer: Int) -> StateDigest? { world.peers[peer].machine?.replica.digest }
}

private final class LoopbackNet: Net {
    private let loop = EventLoop()
    private let folder = NSTemporaryDirectory() + "ipfs-cluster-test-\(UUID().uuidString)"
    private let keys: [IdentityKey]
    private let factors: ReplicationFactors
    private var peers: [PeerRunner?] = [nil, nil, nil]
    private var homes: [[Multiaddr]?] = [nil, nil, nil]

    init(_ factors: ReplicationFactors) throws {
        self.factors = factors
        keys = try (1...3).map { try IdentityKey(seed: Bytes(repeating: $0, count: 32)) }
    }
    deinit {
        for peer in peers { peer?.close() }
        try? FileManager.default.removeItem(atPath: folder)
    }

    func id(_ peer: Int) -> PeerID { keys[peer].peerID }
    var time: WallTime { Machine.now.wall }
    func start(_ peer: Int) throws {
        var settings = PeerSettings(me: keys[peer].peerID)
        settings.peerName = "peer\(peer)"
        Kind.settings(&settings, factors)
        for (other, runner) in peers.enumerated() where other != peer {
            if let runner { settings.bootPeers.append((keys[other].peerID, runner.listening, true)) }
        }
        // At the place where the others know it.
        let home = PeerHome(
            key: keys[peer], secret: Bytes(repeating: 7, count: 32), listen: try homes[peer] ?? [Multiaddr(text: "/ip4/127.0.0.1/tcp/0")],
            dataFolder: "\(folder)/\(peer)")
        let runner = try PeerRunner(loop: loop, home: home, settings: settings) { _ in }
        (peers[peer], homes[peer]) = (runner, runner.listening)
        runner.start()
    }
    func kill(_ peer: Int) {
        peers[peer]?.close()
        peers[peer] = nil
    }
    func submit(_ peer: Int, _ request: ClientRequest, _ each: @escaping (ClientReply) -> Void) throws -> ([ClientInput]) -> Void {
        let runner = try #require(peers[peer])
        let client = runner.ask(request, each: each)
        return { [weak runner] inputs in for input in inputs { runner?.send(client, input) } }
    }
    func wait(_ limit: Span, until condition: () -> Bool) -> Bool {
        let end = Machine.now.monotonic + limit
        while !condition() {
            guard Machine.now.monotonic < end else { return false }
            loop.after(.milliseconds(20)) { [loop] in loop.stop() }
            loop.run()
        }
        return true
    }
    func digest(_ peer: Int) -> StateDigest? { peers[peer]?.look { $0.replica.digest } }
}
