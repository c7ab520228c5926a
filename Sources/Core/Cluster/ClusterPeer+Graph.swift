// Who sees whom, in the cluster and among the IPFS daemons. spec/tracker-allocator-monitor.md CLU-35, spec/rest-api.md REST-183.

import IPFSConnector
import Kernel
import Multiformats
import Pinset
import RPC
import Seams

extension ClusterPeer {
    /// A peer that is asked for its neighbours waits itself for those that do not answer.
    private static let graphTimeout = broadcastTimeout * 2

    mutating func connectGraph(then: @escaping Then<ConnectGraph>) {
        gather(members) { cluster, peer, gather in
            if peer == cluster.id {
                cluster.allPeers { $0.gathered(gather, from: peer, $1.map { .peer($0) }) }
            } else {
                cluster.askForGather(
                    peer, gather, RPCMethod("Cluster", "Peers"), [], within: ClusterPeer.graphTimeout, as: PeerInfo.self
                ) { .peer($0) }
            }
        } then: { cluster, answers in
            var graph = ConnectGraph(clusterID: cluster.id)
            var reachable: [PeerInfo] = []
            for answer in answers {
                graph.trustLinks[answer.peer] = cluster.settings.trust.trusts(answer.peer)
                if let info = graph.addLinks(answer) { reachable.append(info) } else if answer.failure == nil {
                    cluster.note(.warning, "cluster", "cluster peer \(answer.peer) not its own peer.  No ipfs info ")
                }
            }
            for info in reachable where !info.ipfs.error.isEmpty {
                let daemon = info.ipfs.id?.description ?? ""
                cluster.note(.warning, "cluster", "ipfs id: \(daemon) has error: \(info.ipfs.error). Skipping swarm connections")
            }
            cluster.addIPFSLinks(of: reachable.filter { $0.ipfs.error.isEmpty && $0.ipfs.id != nil }, to: graph, then: then)
        }
    }

    private mutating func addIPFSLinks(of peers: [PeerInfo], to graph: ConnectGraph, then: @escaping Then<ConnectGraph>) {
        gather(peers.map(\.id)) { cluster, peer, gather in
            if peer == cluster.id {
                cluster.askIPFS(.swarmPeers, within: ClusterPeer.graphTimeout) { cluster, result in
                    if case .success(.peers(let found)) = result { return cluster.gathered(gather, from: peer, [.peers(found)]) }
                    cluster.gathered(gather, from: peer, [])
                }
            } else {
                cluster.askForGather(
                    peer, gather, RPCMethod("IPFSConnector", "SwarmPeers"), [Nothing().messagePack],
                    within: ClusterPeer.graphTimeout, as: [PeerID].self
                ) { .peers($0) }
            }
        } then: { cluster, answers in
            var graph = graph
            let daemons = SortedMap(peers.map { ($0.id, $0.ipfs.id) })
            for answer in answers {
                guard let daemon = daemons[answer.peer] ?? nil else { continue }
                graph.clusterToIPFS[answer.peer] = daemon
                graph.ipfsLinks[daemon] = []
                if case .peers(let found)? = answer.items.first { graph.ipfsLinks[daemon] = found }
            }
            then(&cluster, graph)
        }
    }
}

extension ConnectGraph {
    /// What a peer told of those it reaches. Its own entry, if it gave one.
    fileprivate mutating func addLinks(_ answer: ClusterPeer.Gather.Answer) -> PeerInfo? {
        clusterLinks[answer.peer] = []
        guard answer.failure == nil else { return nil }
        var own: PeerInfo?
        var links: [PeerID] = []
        for case .peer(let info) in answer.items where info.error.isEmpty {
            if info.id == answer.peer { own = info } else { links.append(info.id) }
        }
        clusterLinks[answer.peer] = links
        peerNames[answer.peer] = own?.peerName ?? ""
        return own
    }
}
