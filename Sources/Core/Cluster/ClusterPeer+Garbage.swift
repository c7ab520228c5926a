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
        var call: PendingCall?
        /// What the daemon here has removed.
        var keys: [IPFSRepoGC] = []
        var found: [RepoGC] = []
        let then: Then<[RepoGC]>
    }

    mutating func collectGarbage(of peers: [PeerID], for reader: Survey.Reader, then: @escaping Then<[RepoGC]>) {
        collections[reader] = Collection(left: peers[...], then: then)
        collectNext(reader)
    }

    /// Nobody waits for it any more: a daemon that is at it is told so, and no other is asked.
    mutating func stopCollecting(_ reader: Survey.Reader) {
        if let call = collections.remove(reader)?.call { cancel(call) }
    }

    private mutating func collectNext(_ reader: Survey.Reader) {
        guard let collection = collections[reader] else { return }
        guard let peer = collection.left.first else {
            collections[reader] = nil
            return collection.then(&self, collection.found)
        }
        collections[reader]?.left.removeFirst()
        let call = peer == id ? collectHere(reader) : collect(at: peer, reader)
        // It may have failed at once.
        if collections[reader]?.left.count == collection.left.count - 1 { collections[reader]?.call = call }
    }

    private mutating func collectHere(_ reader: Survey.Reader) -> PendingCall {
        .ipfs(askIPFS(.repoGC) { cluster, item in
            if case .collected(let key) = item { cluster.collections[reader]?.keys.append(key) }
        } then: { cluster, result in
            var garbage = RepoGC(peer: cluster.id)
            garbage.peerName = cluster.settings.peerName
            garbage.keys = cluster.collections[reader]?.keys ?? []
            if case .failure(let failure) = result { garbage.error = failure.description }
            cluster.collected(garbage, reader)
        })
    }

    private mutating func collect(at peer: PeerID, _ reader: Survey.Reader) -> PendingCall {
        .rpc(ask(peer, RPCMethod("Cluster", "RepoGCLocal"), [Nothing().messagePack]) { cluster, replies in
            if replies.failure?.type == .authorization { return cluster.collectNext(reader) }
            var garbage = RepoGC(peer: peer)
            garbage.peerName = cluster.monitor.latest("ping", of: peer).map { Informers.readPing($0.value).peerName } ?? ""
            garbage.error = replies.failure?.message ?? "no answer"
            if replies.failure == nil, let bytes = replies.values.first {
                do { garbage = try RepoGC(messagePack: bytes) } catch { garbage.error = "undecodable reply of Cluster.RepoGCLocal: \(error)" }
            }
            cluster.collected(garbage, reader)
        })
    }

    private mutating func collected(_ garbage: RepoGC, _ reader: Survey.Reader) {
        collections[reader]?.found.append(garbage)
        collectNext(reader)
    }
}
