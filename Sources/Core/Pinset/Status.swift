// What peers say of a pin. spec/tracker-allocator-monitor.md TRK-01..20, RPC-T4..T6.

import Kernel
import Multiformats

/// One status, or a set of them as a filter. The text forms are in Status+Text.swift.
package struct TrackerStatus: OptionSet, Hashable, Sendable {
    package let rawValue: Int64
    package init(rawValue: Int64) { self.rawValue = rawValue }

    /// As a filter: everything. As a value: a bug.
    package static let undefined = TrackerStatus([])
    package static let clusterError = TrackerStatus(rawValue: 2)
    package static let pinError = TrackerStatus(rawValue: 4)
    package static let unpinError = TrackerStatus(rawValue: 8)
    package static let pinned = TrackerStatus(rawValue: 16)
    package static let pinning = TrackerStatus(rawValue: 32)
    package static let unpinning = TrackerStatus(rawValue: 64)
    package static let unpinned = TrackerStatus(rawValue: 128)
    package static let remote = TrackerStatus(rawValue: 256)
    package static let pinQueued = TrackerStatus(rawValue: 512)
    package static let unpinQueued = TrackerStatus(rawValue: 1024)
    package static let sharded = TrackerStatus(rawValue: 2048)
    package static let unexpectedlyUnpinned = TrackerStatus(rawValue: 4096)
    package static let error: TrackerStatus = [.clusterError, .pinError, .unpinError]
    package static let queued: TrackerStatus = [.pinQueued, .unpinQueued]

    /// TRK-18.
    package func matches(_ filter: TrackerStatus) -> Bool {
        rawValue == 0 || filter.rawValue == 0 || rawValue & filter.rawValue != 0
    }
}

/// What an IPFS daemon says of a CID (RPC-T20).
package enum IPFSPinStatus: Int64, Sendable, CaseIterable {
    case bug = 0, error, direct, recursive, indirect, unpinned
}

/// One peer's view of a pin, without the pin.
package struct PinInfoShort: Hashable, Sendable {
    package var peerName = ""
    package var ipfsPeer: PeerID?
    package var ipfsAddresses: [Multiaddr] = []
    package var status = TrackerStatus.undefined
    package var timestamp = WallTime.unset
    package var error = ""
    package var attemptCount: Int64 = 0
    package var isPriority = false
    package init() {}
}

/// One peer's view of a pin.
package struct PinInfo: Hashable, Sendable {
    package var cid: CID
    package var name = ""
    package var peer: PeerID
    package var allocations: [PeerID]?
    package var origins: [Multiaddr]?
    package var created = WallTime.unset
    package var metadata: Metadata?
    package var short = PinInfoShort()
    package init(cid: CID, peer: PeerID) {
        self.cid = cid
        self.peer = peer
    }
}

/// All peers' views of a pin. `peers` is in the order of peer ID bytes.
package struct GlobalPinInfo: Equatable, Sendable {
    package var cid: CID
    package var name = ""
    package var allocations: [PeerID]?
    package var origins: [Multiaddr]?
    package var created = WallTime.unset
    package var metadata: Metadata?
    package var peers = SortedMap<PeerID, PinInfoShort>()
    package init(cid: CID) { self.cid = cid }

    /// CLU-24: the fields of the whole come from the last entry that is not a cluster_error.
    package mutating func add(_ info: PinInfo) {
        if peers.isEmpty || info.short.status != .clusterError {
            cid = info.cid
            name = info.name
            allocations = info.allocations
            origins = info.origins
            created = info.created
            metadata = info.metadata
        }
        peers[info.peer] = info.short
    }

    /// Each peer's view by itself.
    package var infos: [PinInfo] {
        peers.map { peer, short in
            var info = PinInfo(cid: cid, peer: peer)
            (info.name, info.allocations, info.origins) = (name, allocations, origins)
            (info.created, info.metadata, info.short) = (created, metadata, short)
            return info
        }
    }
}
