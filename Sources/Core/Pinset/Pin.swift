// A pin: which content is kept, with which options, by whom. spec/crdt.md PIN-01..21, spec/rest-api.md REST-123..138.

import Kernel
import Multiformats

/// PIN-04. The raw value is the bit used in memory and over RPC; on disk its number is n where raw == 1 << n.
package enum PinType: UInt64, Sendable, CaseIterable {
    case bad = 1
    case data = 2
    case meta = 4
    case clusterDAG = 8
    case shard = 16
}

/// How much of a DAG is pinned: all that is below the root, or the root block alone.
package enum PinMode: Int64, Sendable {
    case recursive = 0
    case direct = 1
}

/// How deep a pin reaches (PIN-14): -1 recursive, 0 direct, n > 0 that many levels.
package typealias PinDepth = Int

/// String pairs in the byte order of their keys, whatever order they came in (bug zoo C22).
package struct Metadata: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    package private(set) var pairs: [Pair] = []
    package struct Pair: Hashable, Sendable {
        package let key: String
        package let value: String
    }
    package init() {}
    package init(dictionaryLiteral elements: (String, String)...) { for (k, v) in elements { self[k] = v } }
    package var isEmpty: Bool { pairs.isEmpty }

    package subscript(key: String) -> String? {
        get { pairs.first { $0.key.utf8.elementsEqual(key.utf8) }?.value }
        set {
            let index = pairs.firstIndex { !$0.key.utf8.lexicographicallyPrecedes(key.utf8) } ?? pairs.count
            let present = index < pairs.count && pairs[index].key.utf8.elementsEqual(key.utf8)
            switch (newValue, present) {
            case (let value?, true): pairs[index] = Pair(key: key, value: value)
            case (let value?, false): pairs.insert(Pair(key: key, value: value), at: index)
            case (nil, true): pairs.remove(at: index)
            case (nil, false): break
            }
        }
    }
}

/// What a user may ask of a pin (RPC-T1). Nil lists and maps differ from empty ones in JSON only: null and [].
package struct PinOptions: Hashable, Sendable {
    /// 0 takes the peer's default, -1 means every peer.
    package var replicationFactorMin = 0
    package var replicationFactorMax = 0
    package var name = ""
    package var mode = PinMode.recursive
    package var shardSize: UInt64 = 0
    package var userAllocations: [PeerID]?
    package var expireAt = WallTime.unset
    package var metadata: Metadata?
    package var pinUpdate: CID?
    package var origins: [Multiaddr]?
    package init() {}
}

package struct Pin: Hashable, Sendable {
    package var cid: CID
    package var options: PinOptions
    package var type = PinType.data
    /// Empty when pinned everywhere. The order is the allocator's.
    package var allocations: [PeerID]? = []
    package var maxDepth: PinDepth = -1
    package var reference: CID?
    package var timestamp = WallTime.unset

    package init(cid: CID, options: PinOptions = PinOptions()) {
        self.cid = cid
        self.options = options
    }

    /// PIN-16: pinned by every peer.
    package var isPinnedEverywhere: Bool { options.replicationFactorMin == -1 && options.replicationFactorMax == -1 }
    package func isRemote(for peer: PeerID) -> Bool { !isPinnedEverywhere && !(allocations ?? []).contains(peer) }
    /// PIN-17.
    package func isExpired(at now: WallTime) -> Bool { options.isExpired(at: now) }
}

extension PinOptions {
    package func isExpired(at now: WallTime) -> Bool { !expireAt.isUnset && expireAt != .epoch && expireAt < now }
}

/// A pin asked for by path.
package struct PinPath: Hashable, Sendable {
    package var options: PinOptions
    package var path: String
    package init(path: String, options: PinOptions = PinOptions()) {
        self.path = path
        self.options = options
    }
}
