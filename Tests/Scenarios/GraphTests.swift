// What a peer draws of the cluster, and what it counts on its streams.

import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import SimNet
import Testing

@Suite struct GraphTests {
    private func graph(_ stage: Stage, askedAt peer: Int) throws -> ConnectGraph {
        guard case .graph(let graph)? = try stage.ask(peer, .connectGraph, within: .minutes(2)).first else {
            throw ClientFailure("no graph")
        }
        return graph
    }

    @Test func everyoneIsDrawnWithWhomTheySee() throws {
        let stage = Stage(peers: 3, settings: AddingTests.embedded)
        let ids = stage.world.peers.map(\.id).sorted()
        let graph = try graph(stage, askedAt: 1)
        #expect(graph.clusterID == stage.world.peers[1].id)
        for (index, peer) in stage.world.peers.enumerated() {
            let others = ids.filter { $0 != peer.id }
            #expect(graph.clusterLinks[peer.id] == others)
            #expect(graph.peerNames[peer.id] == stage.world.peers[index].settings.peerName)
            #expect(graph.trustLinks[peer.id] == true)
            #expect(graph.clusterToIPFS[peer.id] == peer.id)  // the embedded node has its peer's identity
            #expect(graph.ipfsLinks[peer.id]?.sorted() == others)
        }
    }

    @Test func whoDoesNotAnswerHasNoLinksAndNoName() throws {
        let stage = Stage(peers: 3)
        let (silent, dumb) = (stage.world.peers[2], stage.world.peers[0])
        stage.world.peers[0].ipfs.isDown = true
        stage.world.suspend(2)
        let graph = try graph(stage, askedAt: 1)
        #expect(graph.clusterLinks[silent.id] == [] && graph.peerNames[silent.id] == nil)
        #expect(graph.clusterToIPFS[silent.id] == nil)
        #expect(graph.clusterLinks[dumb.id] == [stage.world.peers[1].id] && graph.peerNames[dumb.id] != nil)
        #expect(graph.clusterToIPFS[dumb.id] == nil && graph.ipfsLinks[dumb.ipfs.id] == nil)
        #expect(graph.clusterToIPFS[stage.world.peers[1].id] == stage.world.peers[1].ipfs.id)
        // Connected to each other half a minute after the start (IPFS-07).
        #expect(graph.ipfsLinks[stage.world.peers[1].ipfs.id] == [dumb.ipfs.id, silent.ipfs.id].sorted())
    }

    @Test func daemonsAreConnectedUnlessNobodyWantsIt() throws {
        let stage = Stage(peers: 3) { $0.connectSwarmsDelay = $0.peerName == "p0" ? .seconds(50) : .zero }
        #expect(stage.world.peers.allSatisfy { $0.ipfs.neighbours.isEmpty })
        stage.world.peers[2].ipfs.isDown = true
        stage.run(.seconds(30))
        let ids = stage.world.peers.map(\.ipfs.id)
        #expect(stage.world.peers.map(\.ipfs.neighbours.elements) == [[ids[1]], [ids[0]], []])
    }

    @Test func trafficIsCountedByProtocol() throws {
        let stage = Stage(peers: 2)
        func bandwidth() throws -> [ProtocolBandwidth] {
            guard case .bandwidth(let all)? = try stage.ask(0, .bandwidth).first else { throw ClientFailure("no bandwidth") }
            return all
        }
        let before = try #require(try bandwidth().first { $0.name == RPC.protocolID })
        try stage.ask(0, .peers)
        let after = try #require(try bandwidth().first { $0.name == RPC.protocolID })
        #expect(after.totalOut > before.totalOut && after.totalIn > before.totalIn)
        #expect(try bandwidth().contains { $0.name.hasPrefix("/meshsub/") && $0.totalIn > 0 && $0.totalOut > 0 })
    }
}
