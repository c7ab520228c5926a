// What a peer asks of its IPFS node, and what it hears, whichever node it has. spec/adder-and-ipfs.md IPFS-10..61.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

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
    /// One value of the daemon's configuration, such as "Datastore/StorageMax".
    case configKey(String)
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
    case value(JSON)
}

/// The text is upstream's where it has one, since status shows it.
package struct IPFSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

package enum IPFSEffect: Equatable, Sendable {
    /// To the HTTP API of a daemon.
    case exchange(ExchangeEffect)
    /// To the embedded node's own log.
    case disk(DiskEffect)
    /// Blocks to be fetched from other peers. Each comes back by `onBlock`, unless it is not wanted any more.
    case want([CID])
    case unwant([CID])
    /// Blocks that are here and durable now: other peers may have them.
    case stored([CID])
    case item(IPFSCallID, IPFSItem)
    /// Once for each call that was not cancelled, after its items.
    case finished(IPFSCallID, Result<IPFSAnswer, IPFSFailure>)
    /// The blocks that were put have left the buffers: more may follow.
    case drained(IPFSCallID)
    /// IPFS-60: enough has been pinned, put or collected for the metrics to be told anew.
    case publishMetrics
    case succeeded(IPFSSuccess)
    case log(LogLine)
}

/// What the daemon has done, in upstream's words.
package enum IPFSSuccess: Equatable, Sendable, CustomStringConvertible {
    case pin(CID)
    case update(from: CID, to: CID)
    case unpin(CID)

    package var description: String {
        switch self {
        case .pin(let cid): "IPFS Pin request succeeded: \(cid)"
        case .update(let from, let to): "IPFS Pin Update request succeeded. \(from) -> \(to) (unpin=false)"
        case .unpin(let cid): "IPFS Unpin request succeeded:\(cid)"
        }
    }
}

/// Counts what changes the metrics (IPFS-60).
struct MetricTrigger: Sendable {
    let interval: Int
    private var count = 0
    init(interval: Int) { self.interval = interval }

    mutating func hit(_ effects: inout [IPFSEffect]) {
        guard interval > 0 else { return }
        count += 1
        guard count >= interval else { return }
        count = 0
        effects.append(.publishMetrics)
    }
}
