// Joining a cluster by way of peers that were named at the start (`--bootstrap`). spec/tracker-allocator-monitor.md CLU-44,
// spec/wire-rpc.md MTH-61, spec/cli.md CLI-054.

import IPFSConnector
import Kernel
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams

extension ClusterPeer {
    /// A peer to join by way of, until it has added this one.
    struct Join: Sendable {
        let peer: PeerID
        let address: Multiaddr
        var isTold = false
    }

    /// Their addresses are kept for good.
    mutating func beginJoining() {
        for address in settings.joins {
            guard let peer = address.trailingPeer, peer != id else { continue }
            book.learn(peer, [address.withoutPeer].filter { !$0.bytes.isEmpty }, isPermanent: true, priority: 1, now: turn.now)
            joins.append(Join(peer: peer, address: address))
        }
    }

    /// It is connected, and can be asked. Its ping is not waited for: it is a member at once, and hears of this one.
    mutating func join(_ peer: PeerID) {
        guard joins.contains(where: { $0.peer == peer }) else { return }
        ask(peer, RPCMethod("Cluster", "PeerAdd"), [id.messagePack]) { cluster, replies in
            if let failure = replies.failure { return cluster.failJoin(peer, failure.message) }
            guard cluster.joins.contains(where: { $0.peer == peer }) else { return }  // asked twice
            cluster.joins.removeAll { $0.peer == peer }
            cluster.note(.info, "cluster", "\(cluster.id): joined \(peer)'s cluster")
            cluster.monitor.onJoined(peer, ttl: cluster.settings.informers.pingInterval * 2, now: cluster.turn.now)
            cluster.informers.publishAll(now: cluster.turn.now)
            let soon = cluster.turn.now.monotonic + cluster.settings.informers.pingInterval
            if case .kubo = cluster.settings.ipfs { cluster.loops.connectSwarmsAt = earliest(cluster.loops.connectSwarmsAt, soon) }
            // Who joins by way of several peers recovers once for all of them.
            if cluster.joins.isEmpty { cluster.loops.recoverAt = cluster.loops.recoverAt.map { min($0, cluster.turn.now.monotonic) } }
        }
    }

    /// Said once; it is asked when it is met again.
    mutating func failJoin(_ peer: PeerID, _ reason: String) {
        for place in joins.indices where joins[place].peer == peer && !joins[place].isTold {
            joins[place].isTold = true
            note(.error, "service", "bootstrap to \(joins[place].address) failed: \(reason)")
        }
    }
}
