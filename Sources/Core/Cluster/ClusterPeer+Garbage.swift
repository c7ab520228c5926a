// Garbage collection of the IPFS daemons, for a client or for another peer. spec/rest-api.md REST-064, REST-180..182.

import IPFSConnector
import Kernel
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams

extension ClusterPeer {
    /// A collection under way. The members do it one after another: not all daemons of a cluster are busy with it at once.
    struct Collection: Sendable {
        var left: ArraySlice<PeerID>
        /// What the daemon here has removed.
        var keys: [IPFSRepoGC] = []
        var found: [RepoGC] = []
        let then: Then<[RepoGC]>
    }

    mutating func collectGarbage(of peers: [PeerID], for reader: Asker, then: @escaping Then<[RepoGC]>) {
        collections[reader] = Collection(left: peers[...], then: then)
        collectNext(reader)
    }

    private mutating func collectNext(_ reader: Asker) {
        guard let collection = collections[reader] else { return }
        guard let peer = collection.left.first else {
            collections[reader] = nil
            return collection.then(&self, collection.found)
        }
        collections[reader]?.left.removeFirst()
        if peer == id { collectHere(reader) } else { collect(at: peer, reader) }
    }

    private mutating func collectHere(_ reader: Asker) {
        askIPFS(.repoGC) { cluster, item in
            if case .collected(let key) = item { cluster.collections[reader]?.keys.append(key) }
        } then: { cluster, result in
            var garbage = RepoGC(peer: cluster.id)
            garbage.peerName = cluster.settings.peerName
            garbage.keys = cluster.collections[reader]?.keys ?? []
            if case .failure(let failure) = result { garbage.error = failure.description }
            cluster.collected(garbage, reader)
        }
    }

    private mutating func collect(at peer: PeerID, _ reader: Asker) {
        ask(peer, RPCMethod("Cluster", "RepoGCLocal"), [Nothing().messagePack]) { cluster, replies in
            if replies.failure?.type == .authorization { return cluster.collectNext(reader) }
            var garbage = RepoGC(peer: peer)
            garbage.peerName = cluster.monitor.latest("ping", of: peer).map { Informers.readPing($0.value).peerName } ?? ""
            garbage.error = replies.failure?.message ?? "no answer"
            if replies.failure == nil, let bytes = replies.values.first {
                do { garbage = try RepoGC(messagePack: bytes) } catch { garbage.error = "undecodable reply of Cluster.RepoGCLocal: \(error)" }
            }
            cluster.collected(garbage, reader)
        }
    }

    private mutating func collected(_ garbage: RepoGC, _ reader: Asker) {
        collections[reader]?.found.append(garbage)
        collectNext(reader)
    }
}
