// Content in shards: who holds what, what status says of it, and that nothing is left of it when it goes.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import SimNet
import Testing
import UnixFS

@Suite struct ShardingTests {
    private static let content: Bytes = {
        var choices = Choices(seed: 5)
        return choices.bytes(1_500_000)
    }()
    private static var parameters: AddParameters {
        var parameters = AddParameters()
        parameters.shard = true
        parameters.rawLeaves = true
        parameters.options.shardSize = 600_000
        parameters.options.name = "big"
        (parameters.options.replicationFactorMin, parameters.options.replicationFactorMax) = (1, 1)
        return parameters
    }
    private func pins(_ stage: Stage, _ peer: Int, _ type: PinType) throws -> [Pin] {
        try stage.ask(peer, .pins([type])).compactMap { if case .pin(let pin) = $0 { pin } else { nil } }
    }
    private func statuses(_ stage: Stage, _ cid: CID, askedAt peer: Int) throws -> [String] {
        guard case .info(let info)? = try stage.ask(peer, .status(cid, isLocal: false)).first else { return [] }
        return info.peers.values.map(\.status.text).sorted()
    }

    /// Seed 60015: two add the same at the same time through one peer. What the second has pinned stays when the first fails; when both do,
    /// nothing does.
    @Test(arguments: [false, true]) func shardsOfTwoAdds(bothFail: Bool) throws {
        let stage = Stage(peers: 1, settings: AddingTests.embedded)
        var ends: [Bool] = []
        for fails in [true, bothFail] {
            let client = stage.world.ask(0, .add(Self.parameters)) { _, reply in
                switch reply {
                case .end: ends.append(true)
                case .failed: ends.append(false)
                default: break
                }
            }
            let pieces = stride(from: 0, to: Self.content.count, by: 50_000).map { ClientInput.data(Bytes(Self.content[$0..<$0 + 50_000])) }
            stage.world.send(0, client, [.file(name: "file")] + pieces + (fails ? [.failed("gone")] : [.endOfFile, .end]))
        }
        stage.run(.seconds(20))
        #expect(ends.sorted { !$0 && $1 } == [false, !bothFail])
        let left = try PinType.allCases.map { try pins(stage, 0, $0).count }
        #expect(left.reduce(0, +) == (bothFail ? 0 : 5), "\(left)")  // three shards, their list and the content
    }

    /// Two add the same through two peers, and each has pinned shards before it hears of the other's. The first fails before the second has
    /// ended, or after (seed 453): what the second has pinned stays.
    @Test(arguments: [false, true]) func shardsOfTwoPeers(isLate: Bool) throws {
        let stage = Stage(peers: 2, settings: AddingTests.embedded)
        let pieces = stride(from: 0, to: Self.content.count, by: 50_000).map { ClientInput.data(Bytes(Self.content[$0..<$0 + 50_000])) }
        var hasEnded = false
        let clients = (0..<2).map { peer in
            stage.world.ask(peer, .add(Self.parameters)) { _, reply in if peer == 1, case .end = reply { hasEnded = true } }
        }
        for peer in 0..<2 {
            stage.world.send(peer, clients[peer], [.file(name: "file")] + pieces)
            stage.run(.seconds(15))
        }
        #expect(try pins(stage, 0, .shard).count == 2)
        if isLate {
            stage.world.send(1, clients[1], [.endOfFile, .end])
            stage.run(.seconds(20))
            #expect(hasEnded)
        }
        stage.world.send(0, clients[0], [.failed("gone")])
        stage.run(.seconds(5))
        #expect(try pins(stage, 1, .shard).count == (isLate ? 3 : 2) && pins(stage, 0, .shard) == pins(stage, 1, .shard))
        if !isLate {
            stage.world.send(1, clients[1], [.endOfFile, .end])
            stage.run(.seconds(20))
        }
        #expect(hasEnded)
        for peer in 0..<2 { #expect(try pins(stage, peer, .shard).count == 3 && pins(stage, peer, .clusterDAG).count == 1 && pins(stage, peer, .meta).count == 1) }
    }

    /// The same content is unpinned while it is added once more, and takes all of its shards along: those of the add are pinned again before
    /// anything names them.
    @Test func contentThatIsUnpinnedWhileItIsAdded() throws {
        let stage = Stage(peers: 2, settings: AddingTests.embedded)
        let root = try #require(try stage.add(0, name: "file", Self.content, Self.parameters).first { $0.name == "file" }?.cid)
        let pieces = stride(from: 0, to: Self.content.count, by: 50_000).map { ClientInput.data(Bytes(Self.content[$0..<$0 + 50_000])) }
        var hasEnded = false
        let client = stage.world.ask(1, .add(Self.parameters)) { _, reply in if case .end = reply { hasEnded = true } }
        stage.world.send(1, client, [.file(name: "file")] + pieces)
        stage.run(.seconds(15))
        _ = try stage.ask(0, .unpin(root))
        stage.run(.seconds(5))
        #expect(try pins(stage, 1, .shard).isEmpty && !hasEnded)
        stage.world.send(1, client, [.endOfFile, .end])
        stage.run(.seconds(20))
        #expect(hasEnded)
        for peer in 0..<2 { #expect(try pins(stage, peer, .shard).count == 3 && pins(stage, peer, .clusterDAG).count == 1 && pins(stage, peer, .meta).count == 1) }
    }

    /// Seed 80015: the shards of an add that failed have just been removed when the same is added again. They are that one's.
    @Test func aShardThatIsBeingRemoved() throws {
        let stage = Stage(peers: 1) { settings in
            AddingTests.embedded(&settings)
            (settings.replica.batchSizeMax, settings.replica.batchAgeMax) = (10, .seconds(5))
        }
        let pieces = stride(from: 0, to: Self.content.count, by: 50_000).map { ClientInput.data(Bytes(Self.content[$0..<$0 + 50_000])) }
        let clients = (0..<2).map { _ in stage.world.ask(0, .add(Self.parameters)) { _, _ in } }
        stage.world.send(0, clients[0], [.file(name: "file")] + pieces)
        stage.run(.seconds(15))
        #expect(try !pins(stage, 0, .shard).isEmpty)
        stage.world.send(0, clients[0], [.failed("gone")])
        stage.run(.milliseconds(100))
        stage.world.send(0, clients[1], [.file(name: "file")] + pieces)
        stage.run(.seconds(2))
        stage.world.send(0, clients[1], [.failed("gone")])
        stage.run(.seconds(20))
        #expect(try pins(stage, 0, .shard).isEmpty)
    }

    @Test func aShardLiesWhereItIsPinned() throws {
        let stage = Stage(peers: 3, settings: AddingTests.embedded)
        let lines = try stage.add(0, name: "file", Self.content, Self.parameters)
        #expect(lines.map(\.name) == ["shard-0", "shard-1", "file", "shard-2", "big-clusterDAG"])
        let root = try #require(lines.first { $0.name == "file" }?.cid)
        stage.run(.seconds(20))

        let meta = try #require(try stage.machine(1).readPin(root))
        let listed = try #require(meta.reference)
        let list = try #require(try stage.machine(1).readPin(listed))
        #expect(meta.type == .meta && list.type == .clusterDAG && list.reference == root && list.isPinnedEverywhere)
        let shards = try pins(stage, 2, .shard).sorted { $0.options.name < $1.options.name }
        #expect(shards.map(\.options.name) == ["big-shard-0", "big-shard-1", "big-shard-2"])
        #expect(shards.map(\.reference) == [nil, shards[0].cid, shards[1].cid])
        for shard in shards {
            #expect(shard.maxDepth == 1 && shard.allocations?.count == 1)
            let holder = try #require(stage.world.peers.first { $0.id == shard.allocations?.first }?.machine)
            let block = try #require(try holder.ipfs.block(shard.cid))
            for cid in try links(of: block, cid: shard.cid) { #expect(try holder.ipfs.block(cid) != nil) }
            #expect(try statuses(stage, shard.cid, askedAt: 0) == ["pinned", "remote", "remote"])
        }
        #expect(try statuses(stage, list.cid, askedAt: 2) == ["pinned", "pinned", "pinned"])
        #expect(try statuses(stage, root, askedAt: 1) == ["sharded", "sharded", "sharded"])
        guard case .info(let local)? = try stage.ask(2, .status(root, isLocal: true)).first else { throw ClientFailure("no status") }
        #expect(local.peers.values.map(\.status.text) == ["sharded"])

        for cid in shards.map(\.cid) + [list.cid] {
            #expect { try stage.ask(0, .unpin(cid)) } throws: { "\($0)".contains("Unpin content root CID instead") }
        }
        guard case .pin(let removed)? = try stage.ask(1, .unpin(root)).first else { throw ClientFailure("no pin") }
        #expect(removed == meta)
        stage.run(.seconds(30))
        for peer in 0..<3 {
            #expect(try stage.machine(peer).replica.count == 0)
            for cid in shards.map(\.cid) + [list.cid, root] { #expect(try statuses(stage, cid, askedAt: peer) == ["unpinned", "unpinned", "unpinned"]) }
        }
    }

    /// RPC-E20: who is asked to recover content in shards recovers these and their list, and tells of the content.
    @Test func partsAreRecoveredWithTheirContent() throws {
        let stage = Stage(peers: 1) { $0.recoverInterval = .hours(10) }
        let root = try #require(try stage.add(0, name: "file", Self.content, Self.parameters).first { $0.name == "file" }?.cid)
        stage.run(.seconds(20))
        let peer = stage.world.peers[0], held = peer.ipfs.pins.keys
        #expect(held.count == 4)
        for cid in held { peer.ipfs.forget(cid) }
        guard case .info(let info)? = try stage.ask(0, .recover(root, isLocal: true)).first else { throw ClientFailure("no status") }
        #expect(info.cid == root && info.peers.values.map(\.status) == [.sharded])
        stage.run(.seconds(20))
        #expect(peer.ipfs.pins.keys == held)
        peer.ipfs.forgetPins(at: 0)
        #expect(throws: ClientFailure.self) { try stage.ask(0, .recover(root, isLocal: true)) }  // nobody has the list
    }

    @Test func anAddThatFailsLeavesNoShards() throws {
        let stage = Stage(peers: 2, settings: AddingTests.embedded)
        var parameters = Self.parameters
        parameters.options.shardSize = 200_000
        var lines: [String] = []
        var failure: ClientFailure?
        let client = stage.world.ask(0, .add(parameters)) { _, reply in
            if case .item(.added(let line)) = reply { lines.append(line.name) }
            if case .failed(let reason) = reply { failure = reason }
        }
        // The second file's first block fits into no shard; the first file's shard is pinned by then.
        let (small, large) = (Bytes(Self.content.prefix(50_000)), Bytes(Self.content.prefix(300_000)))
        stage.world.send(0, client, [.file(name: "d/a"), .data(small), .endOfFile, .file(name: "d/b"), .data(large), .endOfFile, .end])
        stage.run(.seconds(20))
        #expect(lines == ["d/a", "shard-0"])
        #expect(failure?.message == "block doesn't fit in empty shard: shard size too small?")
        for peer in 0..<2 { #expect(try stage.machine(peer).replica.count == 0) }
    }

    @Test func contentThatIsThereAlreadyIsAddedAgain() throws {
        let stage = Stage(peers: 2, settings: AddingTests.embedded)
        let first = try stage.add(0, name: "file", Self.content, Self.parameters)
        let again = try stage.add(1, name: "file", Self.content, Self.parameters)
        #expect(first.map(\.cid) == again.map(\.cid))
        stage.run(.seconds(10))
        #expect(try stage.machine(0).replica.count == 5)
        // A second add that fails keeps what the first one made.
        var broken = Self.parameters
        broken.options.shardSize = 600_000
        broken.chunker = "size-262144"
        let client = stage.world.ask(0, .add(broken)) { _, _ in }
        stage.world.send(0, client, [.file(name: "file"), .data(Self.content), .failed("gone")])
        stage.run(.seconds(20))
        #expect(try stage.machine(0).replica.count == 5)
    }

    @Test func nothingIsPinnedWhereNoPinIsWanted() throws {
        let stage = Stage(peers: 1) { AddingTests.embedded(&$0); ($0.factors.min, $0.factors.max) = (1, 1) }
        var parameters = Self.parameters
        parameters.noPin = true
        #expect(try stage.add(0, name: "file", Self.content, parameters).count == 5)
        #expect(try stage.machine(0).replica.count == 0)
    }
}
