// Content that is added through one peer, on embedded IPFS nodes.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import SimNet
import Testing

@Suite struct AddingTests {
    static func embedded(_ peer: inout PeerSettings) {
        var node = EmbeddedSettings()
        node.pinTimeout = .seconds(30)
        peer.ipfs = .embedded(node)
    }
    private static let content: Bytes = {
        var choices = Choices(seed: 11)
        return choices.bytes(700_000)
    }()

    /// Whose embedded nodes hold every block of the file.
    private func holders(_ stage: Stage, _ root: CID) -> [Int] {
        stage.world.peers.indices.filter { index in
            guard let machine = stage.world.peers[index].machine else { return false }
            var pending = [root]
            while let cid = pending.popLast() {
                guard let block = try? machine.ipfs.block(cid) else { return false }
                if cid.codec == Codec.dagPB { pending += (try? DagPBNode(decoding: block))?.links.map(\.cid) ?? [] }
            }
            return true
        }
    }
    private func statuses(_ stage: Stage, _ cid: CID, askedAt peer: Int) throws -> [String] {
        guard case .info(let info)? = try stage.ask(peer, .status(cid, isLocal: false)).first else { return [] }
        return info.peers.values.map(\.status.text).sorted()
    }

    /// Seed 1131447: a pin that is there already is done at once, and its call was noted when it had ended.
    @Test func whatIsPinnedAlreadyLeavesNothingBehind() throws {
        let stage = Stage(peers: 2, settings: Self.embedded)
        let root = try #require(try stage.add(0, name: "file", Self.content).last?.cid)
        for name in ["a", "b", "c"] {
            var pin = Pin(cid: root)
            pin.options.name = name
            try stage.ask(0, .pin(pin))
            stage.run(.seconds(5))
        }
        let unfinished = try stage.machine(0).unfinished
        #expect(unfinished.allSatisfy { $0.value == 0 }, "\(unfinished)")
    }

    @Test func aFileIsHeldByItsAllocationsAndSurvivesTheLossOfOne() throws {
        let stage = Stage(peers: 3, settings: Self.embedded)
        let lines = try stage.add(0, name: "file", Self.content)
        let root = try #require(lines.last?.cid)
        #expect(lines.last?.allocations.count == 2)
        stage.run(.seconds(15))
        let pin = try #require(try stage.machine(2).readPin(root))
        let allocated = stage.world.peers.indices.filter { (pin.allocations ?? []).contains(stage.world.peers[$0].id) }
        #expect(allocated.count == 2 && holders(stage, root) == allocated)
        #expect(try statuses(stage, root, askedAt: 1) == ["pinned", "pinned", "remote"])

        // One of the holders is gone: the third fetches every block from the other.
        let lost = allocated[0]
        stage.world.crash(lost)
        stage.run(.minutes(3))
        let left = stage.world.peers.indices.filter { $0 != lost }
        #expect(holders(stage, root) == left)
        stage.world.start(lost)
        stage.run(.minutes(3))
        #expect(try statuses(stage, root, askedAt: lost) == ["pinned", "pinned", "remote"])
    }

    @Test func whatIsStoredSurvivesARestart() throws {
        let stage = Stage(peers: 1) { Self.embedded(&$0); $0.factors.min = 1; $0.factors.max = 1 }
        let root = try #require(try stage.add(0, name: "file", Self.content).last?.cid)
        stage.run(.seconds(5))
        stage.world.crash(0)
        stage.world.start(0)
        stage.run(.seconds(40))
        #expect(holders(stage, root) == [0])
        #expect(try statuses(stage, root, askedAt: 0) == ["pinned"])
        try stage.ask(0, .unpin(root))
        stage.run(.minutes(11))
        guard case .garbage(let garbage)? = try stage.ask(0, .repoGC(isLocal: true)).first else { throw ClientFailure("no garbage") }
        #expect(garbage.first?.keys.count == 6)  // root, three chunks, an empty directory and one around the file (ADD-42)
        #expect(holders(stage, root).isEmpty)
    }

    /// ADD-14: the blocks are sent all the same.
    @Test func addingWithoutACopyStoresTheBlocks() throws {
        let stage = Stage(peers: 2, settings: Self.embedded)
        var parameters = AddParameters()
        parameters.rawLeaves = true
        let root = try #require(try stage.add(0, name: "file", Self.content, parameters).last?.cid)
        parameters.noCopy = true
        #expect(try stage.add(1, name: "file", Self.content, parameters).last?.cid == root)
        stage.run(.seconds(15))
        #expect(holders(stage, root) == [0, 1])
    }

    @Test func aFullStoreRefusesTheFileAndSaysWhy() throws {
        let stage = Stage(peers: 1) {
            var node = EmbeddedSettings()
            node.storageMax = 300_000
            $0.ipfs = .embedded(node)
            ($0.factors.min, $0.factors.max) = (1, 1)
        }
        #expect { try stage.add(0, name: "file", Self.content) } throws: { "\($0)".contains("storage_max is 300000 bytes") }
        #expect(try stage.ask(0, .pins([.data])).isEmpty)
        #expect(try stage.add(0, name: "small", Bytes(Self.content.prefix(1000))).count == 1)
    }

    @Test func localAddsStayHereUntilTheOthersFetchThem() throws {
        let stage = Stage(peers: 3, settings: Self.embedded)
        var parameters = AddParameters()
        parameters.isLocal = true
        parameters.rawLeaves = true
        let root = try #require(try stage.add(1, name: "file", Self.content, parameters).last?.cid)
        stage.run(.seconds(20))
        let pin = try #require(try stage.machine(0).readPin(root))
        #expect((pin.allocations ?? []).contains(stage.world.peers[1].id))
        #expect(holders(stage, root).count == 2)
    }

    @Test func aPathBelowADirectoryIsPinned() throws {
        let stage = Stage(peers: 2) { Self.embedded(&$0); $0.factors.min = -1; $0.factors.max = -1 }
        var parameters = AddParameters()
        parameters.wrapWithDirectory = true
        let lines = try stage.add(0, name: "file", Self.content, parameters)
        let (file, directory) = (try #require(lines.first?.cid), try #require(lines.last?.cid))
        #expect(lines.map(\.name) == ["file", ""])
        guard case .pin(let pin)? = try stage.ask(1, .pinPath(PinPath(path: "/ipfs/\(directory)/file"))).first else {
            throw ClientFailure("no pin")
        }
        #expect(pin.cid == file)
        #expect { try stage.ask(1, .pinPath(PinPath(path: "/ipfs/\(directory)/nothing"))) } throws: {
            "\($0)".contains("no link named \"nothing\" under \(directory)")
        }
    }
}
