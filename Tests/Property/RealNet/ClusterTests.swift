// Real peers on loopback sockets, in one process and on one loop.

import Allocation
import Cluster
import Crypto
import Foundation
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RealNet
import Seams
import Testing
import Transport

/// A few peers that know each other, or each the one before it.
private final class RealStage {
    let loop = EventLoop()
    let folder = NSTemporaryDirectory() + "ipfs-cluster-test-\(UUID().uuidString)"
    var peers: [PeerRunner?] = []
    let keys: [IdentityKey]
    var logs: [String] = []
    let secrets: [Bytes?]
    private let isChain: Bool

    init(secrets: [Bytes?], isChain: Bool = false) throws {
        (self.secrets, self.isChain) = (secrets, isChain)
        keys = try secrets.indices.map { try IdentityKey(seed: Bytes(repeating: UInt8($0 + 1), count: 32)) }
        for index in secrets.indices { try start(index) }
    }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func start(_ index: Int) throws {
        var settings = PeerSettings(me: keys[index].peerID)
        settings.peerName = "peer\(index)"
        settings.factors = ReplicationFactors(min: 2, max: 2)
        settings.isRepinningDisabled = false
        settings.informers.pingInterval = .milliseconds(400)
        settings.monitor.checkInterval = .milliseconds(300)
        settings.repinInterval = .seconds(1)
        settings.book.backoffBase = .milliseconds(200)
        settings.ipfs = .embedded(EmbeddedSettings())
        for (other, runner) in peers.enumerated() where isChain ? other == index - 1 : other != index {
            if let runner { settings.bootPeers.append((keys[other].peerID, runner.listening, true)) }
        }
        let home = PeerHome(
            key: keys[index], secret: secrets[index], listen: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")],
            dataFolder: "\(folder)/\(index)")
        let runner = try PeerRunner(loop: loop, home: home, settings: settings) { [unowned self] line in
            logs.append("\(index) \(line.level) \(line.component): \(line.message)")
        }
        if index < peers.count { peers[index] = runner } else { peers.append(runner) }
        runner.start()
    }

    func stop(_ index: Int) {
        peers[index]?.close()
        peers[index] = nil
    }

    /// Runs the loop until it holds; false if it never did in time.
    func run(until condition: @escaping () -> Bool, within limit: Span = .seconds(20)) -> Bool {
        let end = Machine.now.monotonic + limit
        while !condition() {
            guard Machine.now.monotonic < end else { return false }
            loop.after(.milliseconds(20)) { [loop] in loop.stop() }
            loop.run()
        }
        return true
    }

    func ask(_ index: Int, _ request: ClientRequest, _ inputs: [ClientInput] = []) throws -> [ClientItem] {
        var items: [ClientItem] = []
        var end: Result<Void, ClientFailure>?
        let peer = try #require(peers[index])
        var client: ClientID?
        client = peer.ask(request) { [loop] reply in
            switch reply {
            case .item(.pins(let pins)):
                items += pins.pins.map { .pin($0) }
                loop.after(.zero) { if let client { peer.send(client, .more) } }
            case .item(let item): items.append(item)
            case .end: end = .success(())
            case .failed(let failure): end = .failure(failure)
            case .pause, .resume: break
            }
        }
        for input in inputs { if let client { peer.send(client, input) } }
        _ = run(until: { end != nil })
        try #require(end, "no answer: \(logs.suffix(20))").get()
        return items
    }
    func memberCount(_ index: Int) throws -> Int { try ask(index, .peers).count }
    /// How many others answer it.
    func reached(_ index: Int) throws -> Int {
        try ask(index, .peers).count { if case .peer(let info) = $0 { info.error.isEmpty && info.id != keys[index].peerID } else { false } }
    }
    func statuses(_ index: Int, _ cid: CID) throws -> [String] {
        guard case .info(let info)? = try ask(index, .status(cid, isLocal: false)).first else { return [] }
        return info.peers.values.map(\.status.text).sorted()
    }
}

@Suite(.serialized) struct RealClusterTests {
    static let secret = Bytes(repeating: 7, count: 32)

    @Test func threePeersReplicateAFileLoseOneAndHeal() throws {
        let stage = try RealStage(secrets: [Self.secret, Self.secret, Self.secret])
        for index in 0..<3 { #expect(stage.run(until: { (try? stage.memberCount(index)) == 3 }), "\(stage.logs)") }
        #expect(stage.run(until: { (try? stage.ask(0, .metrics(name: "freespace")))?.first.map { if case .metrics(let all) = $0 { all.count } else { 0 } } == 3 }))
        var choices = Choices(seed: 3)
        let content = choices.bytes(3_000_000)
        var parameters = AddParameters()
        parameters.rawLeaves = true
        let items = try stage.ask(0, .add(parameters), [.file(name: "a"), .data(content), .endOfFile, .end])
        guard case .added(let line)? = items.last, let root = line.cid else { throw ClientFailure("nothing was added") }
        #expect(line.allocations.count == 2)
        #expect(stage.run(until: { (try? stage.statuses(2, root)) == ["pinned", "pinned", "remote"] }))
        let lost = try #require((1..<3).first { line.allocations.contains(stage.keys[$0].peerID) })
        stage.stop(lost)
        #expect(stage.run(until: { (try? stage.statuses(0, root)) == ["pinned", "pinned"] }), "\(stage.logs.suffix(30))")
        try stage.start(lost)
        #expect(stage.run(until: { (try? stage.statuses(0, root)) == ["pinned", "pinned", "remote"] }), "\(stage.logs.suffix(30))")
    }

    /// No DHT tells of addresses on loopback, and the last peer comes before the one in the middle has heard the first: when it
    /// hears the first through that one, it has to ask again.
    @Test func peersInAChainFindEachOther() throws {
        let stage = try RealStage(secrets: [Self.secret, Self.secret, Self.secret], isChain: true)
        for index in 0..<3 { #expect(stage.run(until: { (try? stage.reached(index)) == 2 }), "\(stage.logs)") }
    }

    @Test func peersWithDifferentSecretsSaySo() throws {
        let stage = try RealStage(secrets: [Self.secret, Bytes(repeating: 8, count: 32)])
        #expect(stage.run(until: { stage.logs.contains { $0.contains("secret") } }), "\(stage.logs)")
        #expect(try stage.memberCount(0) == 1)
    }
}
