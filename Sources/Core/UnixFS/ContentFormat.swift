// How blocks get their CIDs: version, hash function, leaf form. ADD-25, ADD-29.

import Kernel
import Multiformats
import Pinset

/// A block with what a link to it says.
struct BuiltNode: Equatable, Sendable {
    let block: NodeWithMeta
    var cid: CID { block.cid }
    /// The node and all below it.
    var size: UInt64 { block.cumulativeSize }
    func link(named name: EntryName) -> DagPBLink { DagPBLink(cid: cid, name: name, size: size) }
}

package struct ContentFormat: Equatable, Sendable {
    let version: Int
    let hashCode: UInt64
    let rawLeaves: Bool

    package init(_ parameters: AddParameters) throws(AddError) {
        guard (0...1).contains(parameters.cidVersion) else {
            throw AddError("bad CID Version: unknown CID version: \(parameters.cidVersion)")
        }
        guard let code = HashCode.named(parameters.hash.lowercased()) else {
            throw AddError("hash function name not known")
        }
        version = parameters.cidVersion
        hashCode = code
        rawLeaves = parameters.rawLeaves
    }

    /// A dag-pb block.
    func node(_ node: DagPBNode) throws(AddError) -> BuiltNode {
        let bytes = node.encoded
        let below = node.links.reduce(UInt64(0)) { $0 &+ ($1.size ?? 0) }
        let hash = try multihash(of: bytes)
        let cid: CID
        if version == 1 {
            cid = CID(v1: Codec.dagPB, hash)
        } else {
            do { cid = try CID(v0: hash) } catch { throw AddError("invalid cid: invalid v0 prefix") }
        }
        return BuiltNode(block: NodeWithMeta(data: bytes, cid: cid, cumulativeSize: UInt64(bytes.count) &+ below))
    }

    /// Raw leaves are version 1 whatever the version asked for (ADD-29).
    func rawLeaf(_ data: Bytes) throws(AddError) -> BuiltNode {
        let hash: Multihash
        do throws(AddError) { hash = try multihash(of: data) } catch { throw AddError("invalid cid: \(error)") }
        let cid = CID(v1: Codec.raw, hash)
        return BuiltNode(block: NodeWithMeta(data: data, cid: cid, cumulativeSize: UInt64(data.count)))
    }

    private func multihash(of data: Bytes) throws(AddError) -> Multihash {
        guard let hash = Multihash.of(data, with: hashCode) else {
            throw AddError("unknown multihash code \(hashCode) (0x\(String(hashCode, radix: 16))): no such hash registered")
        }
        return hash
    }
}
