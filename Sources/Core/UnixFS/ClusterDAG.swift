// Content cut into shards: lists of blocks that are pinned by different peers, and the cluster DAG that lists the shards.
// spec/adder-and-ipfs.md ADD-60..67.

import Kernel
import Multiformats
import Pinset

/// A list of links as dag-cbor: a map from decimal numbers to links, in the canonical order of its keys (ADD-62).
package enum LinkList {
    /// ADD-63: more links than this make a tree of two levels.
    package static let linksMax = 5984

    /// The root comes first.
    package static func nodes(_ links: [CID]) -> [NodeWithMeta] {
        guard links.count > linksMax else { return [node(links)] }
        let leaves = stride(from: 0, to: links.count, by: linksMax).map { node(Array(links[$0..<min($0 + linksMax, links.count)])) }
        return [node(leaves.map(\.cid))] + leaves
    }

    private static func node(_ links: [CID]) -> NodeWithMeta {
        var data = head(major: 5, links.count)
        // Numbers without leading zeros, shorter ones first, are in the order of their values.
        for (number, link) in links.enumerated() {
            let key = Bytes(String(number).utf8)
            data += head(major: 3, key.count) + key + [0xd8, 42] + head(major: 2, link.bytes.count + 1) + [0] + link.bytes
        }
        let cid = CID(v1: Codec.dagCBOR, .sha2_256(of: data))
        return NodeWithMeta(data: data, cid: cid, cumulativeSize: UInt64(data.count))
    }

    private static func head(major: UInt8, _ value: Int) -> Bytes {
        let kind = major << 5
        switch value {
        case ..<24: return [kind | UInt8(value)]
        case ..<0x100: return [kind | 24, UInt8(value)]
        case ..<0x1_0000: return [kind | 25, UInt8(value >> 8), UInt8(value & 0xff)]
        default: unreachable("a list of links is cut long before \(value)")
        }
    }
}

/// A shard that takes no more blocks.
package struct FinishedShard: Equatable, Sendable {
    package let number: Int
    /// Its own nodes, the root first.
    package let nodes: [NodeWithMeta]
    /// The blocks that it lists, and their bytes.
    package let linkCount: Int
    package let size: UInt64
    package let previous: CID?
    package var root: CID { nodes[0].cid }

    /// ADD-64. A list of lists is one level deeper.
    package func pin(_ options: PinOptions, allocations: [PeerID]) -> Pin {
        var pin = Pin(cid: root, options: options)
        pin.options.name = "\(options.name)-shard-\(number)"
        pin.options.shardSize = size
        pin.type = .shard
        pin.maxDepth = nodes.count > 1 ? 2 : 1
        pin.reference = previous
        pin.allocations = allocations
        return pin
    }

    /// ADD-67.
    package func output(allocations: [PeerID]) -> AddedOutput {
        var output = AddedOutput(name: "shard-\(number)", cid: root)
        output.size = size
        output.allocations = allocations
        return output
    }
}

/// The list of all shards of some content, and what is pinned for it (ADD-65).
package struct ClusterDAG: Equatable, Sendable {
    package let content: CID
    package let nodes: [NodeWithMeta]
    package let size: UInt64
    package var root: CID { nodes[0].cid }

    package func pin(_ options: PinOptions) -> Pin {
        var pin = Pin(cid: root, options: options)
        pin.options.name = "\(options.name)-clusterDAG"
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (-1, -1)
        pin.type = .clusterDAG
        pin.maxDepth = 0
        pin.reference = content
        return pin
    }

    package func metaPin(_ options: PinOptions) -> Pin {
        var pin = Pin(cid: content, options: options)
        pin.type = .meta
        pin.maxDepth = 0
        pin.reference = root
        return pin
    }

    package func output(_ options: PinOptions) -> AddedOutput {
        var output = AddedOutput(name: "\(options.name)-clusterDAG", cid: root)
        output.size = size
        return output
    }
}

/// Deals blocks out to shards.
package struct ShardMaker: Sendable {
    package enum Outcome: Equatable, Sendable {
        /// It belongs to the current shard.
        case taken
        /// It is in a shard already.
        case known
        /// It does not fit any more: once this shard is stored, hand the block in again.
        case full(FinishedShard)
    }

    private let limit: UInt64
    private var seen: Set<CID> = []
    private var links: [CID] = []
    private var size: UInt64 = 0
    package private(set) var total: UInt64 = 0
    private var roots: [CID] = []
    /// The last one that was dealt out.
    package private(set) var lastBlock: CID?
    package var finishedCount: Int { roots.count }

    /// `limit` is what a shard's blocks stay below, in bytes (ADD-61).
    package init(limit: UInt64) { self.limit = limit }

    package var hasOpenShard: Bool { !links.isEmpty }

    package mutating func take(_ node: NodeWithMeta) throws(AddError) -> Outcome {
        if seen.contains(node.cid) { return .known }
        let count = UInt64(node.data.count)
        guard size + count < limit else {
            guard let shard = finishShard() else {
                throw AddError("block doesn't fit in empty shard: shard size too small?")
            }
            return .full(shard)
        }
        seen.insert(node.cid)
        links.append(node.cid)
        lastBlock = node.cid
        size += count
        total += count
        return .taken
    }

    /// Nil if it has no blocks.
    package mutating func finishShard() -> FinishedShard? {
        guard hasOpenShard else { return nil }
        let shard = FinishedShard(number: roots.count, nodes: LinkList.nodes(links), linkCount: links.count, size: size, previous: roots.last)
        roots.append(shard.root)
        (links, size) = ([], 0)
        return shard
    }

    /// After the last shard.
    package func clusterDAG(of content: CID) throws(AddError) -> ClusterDAG {
        guard !roots.isEmpty else { throw AddError("cannot flush a nil shard") }
        // Whoever unpins the content reads one list (CLU-10).
        guard roots.count <= LinkList.linksMax else {
            throw AddError("\(roots.count) shards are more than a cluster DAG lists (\(LinkList.linksMax)): take a larger shard size")
        }
        return ClusterDAG(content: content, nodes: LinkList.nodes(roots), size: total)
    }
}
