// Content that is added beside daemons: what is put into them, and what they say of it.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import Testing
@testable import SimNet

@Suite struct PuttingTests {
    /// Three leaves, their root, and the directories that an add makes around it, before and after.
    private static let blocks = 6
    private static let content: Bytes = {
        var choices = Choices(seed: 12)
        return choices.bytes(700_000)
    }()

    @Test func aFileIsPutWhereItIsPinnedAndNowhereElse() throws {
        let stage = Stage(peers: 3)
        let line = try #require(try stage.add(0, name: "file", Self.content).last)
        let root = try #require(line.cid)
        #expect(line.allocations.count == 2)
        stage.run(.seconds(15))
        for peer in stage.world.peers {
            let isAllocated = line.allocations.contains(peer.id)
            #expect(peer.ipfs.pins[root] == (isAllocated ? .recursive : nil))
            #expect(peer.ipfs.blocks.count == (isAllocated ? Self.blocks : 0))
        }
    }

    /// RPC-16: the slowest daemon sets the pace of an add. What it has not taken waits at who sends it, not at the peer beside it.
    @Test func whoSendsWaitsForADaemon() throws {
        let stage = Stage(peers: 2) { ($0.uploadWindowBytes, $0.factors.min, $0.factors.max) = (20_000, -1, -1) }
        var most = [0, 0], holds = 0
        stage.world.onUploading = { most[$1] = max(most[$1], $2) }
        stage.world.afterStep = { _, index, _, effects in
            holds += effects.count { if case .stream(.hold(_, true)) = $0 { index == 1 } else { false } }
        }
        stage.world.peers[1].ipfs.slowness = 50
        var parameters = AddParameters()
        parameters.chunker = "size-1000"
        let root = try #require(try stage.add(0, name: "file", Self.content, parameters).last?.cid)
        #expect(most[0] < 150_000 && most[1] < 150_000, "\(most)")
        #expect(holds > 0 && stage.world.peers.allSatisfy { $0.ipfs.blocks[root.multihash] != nil }, "\(holds)")
    }

    /// A daemon gets what it has not been given from another, as long as one has it.
    @Test func whatIsPinnedElsewhereIsFetched() throws {
        let stage = Stage(peers: 3)
        let root = try #require(try stage.add(0, name: "file", Self.content).last?.cid)
        var pin = Pin(cid: root)
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (-1, -1)
        try stage.ask(1, .pin(pin))
        stage.run(.seconds(15))
        #expect(stage.world.peers.allSatisfy { $0.ipfs.pins[root] == .recursive })
        // The directories are not below the file.
        #expect(stage.world.peers.map(\.ipfs.blocks.count).sorted() == [Self.blocks - 2, Self.blocks, Self.blocks])
    }

    enum Trouble: CaseIterable, Sendable { case full, cut, down, lost }
    /// An add that one daemon does not take goes on with the other, and fails where no daemon takes it: it never says that all is well.
    @Test(arguments: Trouble.allCases, [1, 2]) func whatADaemonDoesNotTakeIsNotPut(trouble: Trouble, count: Int) throws {
        let stage = Stage(peers: 2)
        for index in 0..<count {
            switch trouble {
            case .full: stage.world.peers[index].ipfs.isFull = true
            case .cut: stage.world.peers[index].ipfs.cutsOneIn = 1
            case .down: stage.world.peers[index].ipfs.isDown = true
            case .lost: stage.world.peers[index].ipfs.losesReplyOneIn = 1
            }
        }
        var failure: ClientFailure?
        do { _ = try stage.add(0, name: "file", Self.content) } catch let error as ClientFailure { failure = error }
        #expect((failure != nil) == (count == 2))
        if let failure { #expect(failure.message.hasPrefix(Run.nowhereToPut) && stage.world.peers.allSatisfy { failure.message.contains("\($0.id)") }) }
        if count == 1 { #expect(stage.world.peers[1].ipfs.blocks.count == Self.blocks) }
    }
}
