// What scenarios are written in: a small cluster, its clients, and looks at what came of it.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import SimNet
import Testing

final class Stage {
    let world: World

    init(peers: Int = 3, seed: UInt64 = 7, settings shape: @escaping (inout PeerSettings) -> Void = { _ in }) {
        world = World(seed: seed)
        world.addPeers(peers) { peer in
            peer.factors = ReplicationFactors(min: 2, max: 2)
            peer.isRepinningDisabled = false
            peer.recoverInterval = .minutes(1)
            shape(&peer)
        }
        world.startAll()
        run(.seconds(40))
    }

    func run(_ span: Span) {
        world.run(for: span)
        #expect(world.failure == nil)
    }

    static func content(_ number: Int) -> CID { CID(v1: Codec.raw, .sha2_256(of: Bytes("content \(number)".utf8))) }

    /// Asks and waits for the end of the answer.
    @discardableResult
    func ask(_ peer: Int, _ request: ClientRequest, within limit: Span = .seconds(30)) throws -> [ClientItem] {
        var items: [ClientItem] = []
        var end: Outcome<Void>?
        world.ask(peer, request) { _, reply in
            switch reply {
            case .item(.pins(let pins)): items += pins.pins.map { .pin($0) }
            case .item(.infos(let infos)): items += infos.map { .info($0) }
            case .item(let item): items.append(item)
            case .end: end = .success(())
            case .failed(let failure): end = .failure(failure)
            case .pause, .resume: break
            }
        }
        _ = world.run(until: { _ in end != nil }, within: limit, every: .milliseconds(50))
        try #require(end, "no answer within the limit").get()
        return items
    }

    /// Uploads one file. Every line of the answer.
    func add(_ peer: Int, name: String, _ content: Bytes, _ parameters: AddParameters = AddParameters()) throws -> [AddedOutput] {
        var lines: [AddedOutput] = []
        var end: Outcome<Void>?
        let client = world.ask(peer, .add(parameters)) { _, reply in
            switch reply {
            case .item(.added(let line)): lines.append(line)
            case .end: end = .success(())
            case .failed(let failure): end = .failure(failure)
            case .item, .pause, .resume: break
            }
        }
        let pieces = stride(from: 0, to: content.count, by: 50_000).map {
            ClientInput.data(Bytes(content[$0..<min($0 + 50_000, content.count)]))
        }
        world.send(peer, client, [.file(name: EntryName(name))] + pieces + [.endOfFile, .end])
        _ = world.run(until: { _ in end != nil }, within: .seconds(60), every: .milliseconds(50))
        try #require(end, "no answer within the limit").get()
        return lines
    }

    @discardableResult
    func pin(_ peer: Int, _ number: Int, name: String = "") throws -> Pin {
        var pin = Pin(cid: Stage.content(number))
        pin.options.name = name
        guard case .pin(let answer)? = try ask(peer, .pin(pin)).first else { throw ClientFailure("no pin in the answer") }
        return answer
    }

    func machine(_ index: Int) throws -> ClusterPeer { try #require(world.peers[index].machine) }

    /// Whose IPFS daemons pin it.
    func holders(_ number: Int) -> [Int] { world.peers.indices.filter { world.peers[$0].ipfs.pins[Stage.content(number)] != nil } }
    func allocations(_ number: Int, seenBy peer: Int) throws -> [Int] {
        let pin = try #require(try machine(peer).readPin(Stage.content(number)))
        return (pin.allocations ?? []).compactMap { id in world.peers.firstIndex { $0.id == id } }.sorted()
    }
    func members(seenBy peer: Int) throws -> [Int] { try machine(peer).members.compactMap { id in world.peers.firstIndex { $0.id == id } }.sorted() }
    func digests() -> [StateDigest] { world.peers.compactMap { $0.machine?.replica.digest } }
}
