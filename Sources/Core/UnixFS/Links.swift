// Reading what blocks hold: their links, and where names lead.

import Encoding
import Kernel
import Multiformats

/// What a block links to, in order and with repeats. Raw blocks link to nothing; unknown formats are refused, since a
/// pin of them could not be complete.
package func links(of block: Bytes, cid: CID) throws(AddError) -> [CID] {
    switch cid.codec {
    case Codec.raw: return []
    case Codec.dagPB:
        do { return try DagPBNode(decoding: block).links.map(\.cid) } catch { throw AddError("\(cid): \(error)") }
    case Codec.dagCBOR:
        var reader = CBORReader(block[...])
        let links = try reader.links()
        guard reader.isAtEnd else { throw AddError("\(cid): bytes after the dag-cbor item") }
        return links
    default: throw AddError("could not choose a decoder: no decoder registered for multicodec code "
        + "\(cid.codec) (0x\(String(cid.codec, radix: 16)))")
    }
}

/// One step of a walk along a path of names.
package enum PathStep: Equatable, Sendable {
    case found(CID)
    /// In this shard, one level further down.
    case descend(CID)
    case missing
}

/// Where a name leads from a directory's block; `level` counts the shards passed for this name.
package func step(to name: String, in block: Bytes, cid: CID, level: Int) throws(AddError) -> PathStep {
    guard cid.codec == Codec.dagPB else { throw AddError("\(cid) is not a UnixFS directory") }
    let node: DagPBNode
    do { node = try DagPBNode(decoding: block) } catch { throw AddError("\(cid): \(error)") }
    let message = try UnixFSData(decoding: node.data ?? [])
    let entry = EntryName(name)
    switch message.kind {
    case .directory:
        return node.links.first { $0.name ?? "" == entry }.map { .found($0.cid) } ?? .missing
    case .hamtShard:
        guard message.fanout == UInt64(Shard.fanout), message.hashType == Shard.hashType else {
            throw AddError("\(cid) is a sharded directory of an unknown kind")
        }
        guard let place = ShardPath(entry).place(at: level) else { return .missing }
        let prefix = EntryName(hex([place]).uppercased())
        let link = node.links.first { ($0.name ?? "").bytes.starts(with: prefix.bytes) }
        guard let link, let label = link.name else { return .missing }
        if label == prefix { return .descend(link.cid) }
        return label == prefix + entry ? .found(link.cid) : .missing
    default: throw AddError("\(cid) is not a directory")
    }
}
