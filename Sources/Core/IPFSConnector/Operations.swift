// What a peer asks of its IPFS daemon, and what it hears. spec/adder-and-ipfs.md IPFS-10..61.

import Kernel
import Multiformats
import Pinset

package struct IPFSCallID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

package enum IPFSOperation: Equatable, Sendable {
    case id
    case pin(Pin)
    case unpin(CID)
    /// How one CID is pinned, for a pin of that depth.
    case pinLsCid(Pin)
    /// Everything that is pinned in one of these ways, item by item.
    case pinLs([IPFSPinStatus])
    case repoStat
    case repoGC
    case swarmPeers
    case swarmConnect(Multiaddr)
    case resolve(String)
    case blockGet(CID)
    /// The blocks follow by `put` and `endPut`.
    case blockPut
}

package enum IPFSItem: Equatable, Sendable {
    case pinned(CID, IPFSPinStatus)
    case collected(IPFSRepoGC)
}

package enum IPFSAnswer: Equatable, Sendable {
    case done
    case id(IPFSID)
    case pinStatus(IPFSPinStatus)
    case repoStat(IPFSRepoStat)
    case peers([PeerID])
    case resolved(CID)
    case block(Bytes)
}

/// The text is upstream's where it has one, since status shows it.
package struct IPFSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

package struct KuboSettings: Sendable {
    package var requestTimeout = Span.minutes(5)
    /// Time without a block fetched after which a pin is given up (IPFS-22).
    package var pinTimeout = Span.minutes(2)
    package var unpinTimeout = Span.hours(3)
    package var repoGCTimeout = Span.hours(24)
    package var isUnpinDisabled = false
    package init() {}
}
