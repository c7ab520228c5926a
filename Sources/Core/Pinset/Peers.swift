// What peers say of themselves: identities, metrics, alerts. RPC-T7..T12, INF-01..12.

import Kernel
import Multiformats

package struct IPFSID: Hashable, Sendable {
    package var id: PeerID?
    package var addresses: [Multiaddr]?
    package var error = ""
    package init() {}
}

/// A peer as `id` and `peers ls` show it (RPC-T7). Upstream's name is ID.
package struct PeerInfo: Hashable, Sendable {
    package var id: PeerID
    package var addresses: [Multiaddr]?
    package var clusterPeers: [PeerID]?
    package var clusterPeersAddresses: [Multiaddr]?
    package var version = ""
    package var commit = ""
    package var rpcProtocolVersion = ""
    package var error = ""
    package var ipfs = IPFSID()
    package var peerName = ""
    /// Not upstream's: nil from its peers, and where nobody asked for it.
    package var pinset: PinsetSummary?
    package init(id: PeerID) { self.id = id }
}

/// One measurement by one peer (RPC-T11). Expiry is judged by the receiver's wall clock (INF-09).
package struct Metric: Hashable, Sendable {
    package var name: String
    package var peer: PeerID
    package var value = ""
    /// Unix nanoseconds.
    package var expire: Int64 = 0
    package var isValid = false
    package var weight: Int64 = 0
    package var isPartitionable = false
    /// Unix nanoseconds, set on arrival.
    package var receivedAt: Int64 = 0

    package init(name: String, peer: PeerID) {
        self.name = name
        self.peer = peer
    }
    /// INF-10.
    package func counts(at now: WallTime) -> Bool { isValid && now.unixNanoseconds <= expire }
    package func isExpired(at now: WallTime) -> Bool { now.unixNanoseconds > expire }
}

package struct Alert: Hashable, Sendable {
    package var metric: Metric
    package var triggeredAt: WallTime
    package init(metric: Metric, triggeredAt: WallTime) {
        self.metric = metric
        self.triggeredAt = triggeredAt
    }
}

package struct IPFSRepoStat: Hashable, Sendable {
    package var repoSize: UInt64
    package var storageMax: UInt64
    package init(repoSize: UInt64, storageMax: UInt64) {
        self.repoSize = repoSize
        self.storageMax = storageMax
    }
}

package struct IPFSRepoGC: Hashable, Sendable {
    package var key: CID?
    package var error = ""
    package init(key: CID?, error: String = "") { self.key = key; self.error = error }
}

package struct RepoGC: Hashable, Sendable {
    package var peer: PeerID
    package var peerName = ""
    package var keys: [IPFSRepoGC] = []
    package var error = ""
    package init(peer: PeerID) { self.peer = peer }
}

/// What all peers removed (REST-180).
package struct GlobalRepoGC: Equatable, Sendable {
    package var peers = SortedMap<PeerID, RepoGC>()
    package init(_ all: [RepoGC] = []) { for one in all { peers[one.peer] = one } }
}

/// Who sees whom (RPC-T10).
package struct ConnectGraph: Equatable, Sendable {
    package var clusterID: PeerID
    package var peerNames = SortedMap<PeerID, String>()
    package var ipfsLinks = SortedMap<PeerID, [PeerID]>()
    package var clusterLinks = SortedMap<PeerID, [PeerID]>()
    package var trustLinks = SortedMap<PeerID, Bool>()
    package var clusterToIPFS = SortedMap<PeerID, PeerID>()
    package init(clusterID: PeerID) { self.clusterID = clusterID }
}

/// What went over one libp2p protocol; the name may be empty (REST-178).
package struct ProtocolBandwidth: Equatable, Sendable {
    package var name: String
    package var totalIn: Int64 = 0
    package var totalOut: Int64 = 0
    package var rateIn = 0.0
    package var rateOut = 0.0
    package init(name: String) { self.name = name }
}

package struct BandwidthByProtocol: Equatable, Sendable {
    package var protocols: [ProtocolBandwidth]
    package init(_ protocols: [ProtocolBandwidth]) { self.protocols = protocols }
}
