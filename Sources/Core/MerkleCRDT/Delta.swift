// What a block of the DAG says: elements added, elements removed, and how high the block stands. Byte for byte as
// go-ds-crdt 0.6.8 writes it. spec/crdt.md CRDT-20..29, CRDT-35..39.

import Encoding
import Kernel
import Multiformats

package struct Delta: Equatable, Sendable {
    package struct Element: Equatable, Sendable {
        package var key: String
        /// Empty, as a rule; whatever stands here, every replica puts the block's key in its place when it merges (CRDT-21). Two peers that
        /// write the same differ by it.
        package var id = ""
        package var value: Bytes
        package init(key: String, id: String = "", value: Bytes) { self.key = key; self.id = id; self.value = value }
    }
    /// Removes what the block of that multihash added under the key.
    package struct Tombstone: Hashable, Sendable {
        package var key: String
        package var block: Multihash
        package init(key: String, block: Multihash) { self.key = key; self.block = block }
    }
    package var elements: [Element] = []
    package var tombstones: [Tombstone] = []
    package var priority: UInt64 = 0
    package init() {}

    package var isEmpty: Bool { elements.isEmpty && tombstones.isEmpty }

    package var encoded: Bytes {
        var writer = ProtobufWriter(capacity: encodedSizeEstimate)
        for element in elements {
            writer.message(1) { $0.string(1, element.key); $0.string(2, element.id); $0.bytes(3, element.value) }
        }
        for tombstone in tombstones {
            writer.message(2) { $0.string(1, tombstone.key); $0.string(2, Delta.blockKey(tombstone.block)) }
        }
        writer.uint64(3, priority)
        return writer.bytes
    }

    private var encodedSizeEstimate: Int {
        elements.reduce(12) { $0 + $1.encodedSize } + tombstones.reduce(0) { $0 + $1.encodedSize }
    }

    fileprivate static func fieldSize(_ count: Int) -> Int { count == 0 ? 0 : 1 + varintLength(UInt64(count)) + count }

    /// Unknown fields and tombstones that name no block are ignored (CRDT-29).
    package init(decoding bytes: some Collection<UInt8>) throws(ProtobufError) {
        var reader = ProtobufReader(Bytes(bytes))
        while let field = try reader.next() {
            switch field.number {
            case 1:
                let (key, id, value) = try Delta.element(try field.message())
                elements.append(Element(key: key, id: id, value: value))
            case 2:
                let (key, id, _) = try Delta.element(try field.message())
                if let block = Delta.block(key: id) { tombstones.append(Tombstone(key: key, block: block)) }
            case 3: priority = try field.uint64()
            default: break
            }
        }
    }

    private static func element(_ reader: ProtobufReader) throws(ProtobufError) -> (String, String, Bytes) {
        var reader = reader
        var key = "", id = ""
        var value: Bytes = []
        while let field = try reader.next() {
            switch field.number {
            case 1: key = try field.string()
            case 2: id = try field.string()
            case 3: value = Bytes(try field.bytes())
            default: break
            }
        }
        return (key, id, value)
    }

    /// "/" and the base32 of a block's multihash (CRDT-22).
    package static func blockKey(_ block: Multihash) -> String { "/" + Multibase.base32upper.encode(block.bytes) }
    static func block(key: String) -> Multihash? {
        let text = key.hasPrefix("/") ? key.dropFirst() : key[...]
        return Multibase.base32upper.decode(text).flatMap { try? Multihash($0) }
    }
}

extension Delta.Element {
    /// Exact, in bytes within the encoded delta.
    var encodedSize: Int {
        let inner = Delta.fieldSize(key.utf8.count) + Delta.fieldSize(id.utf8.count) + Delta.fieldSize(value.count)
        return 1 + varintLength(UInt64(inner)) + inner
    }
}

extension Delta.Tombstone {
    var encodedSize: Int {
        let idCount = 1 + (block.bytes.count * 8 + 4) / 5
        let inner = Delta.fieldSize(key.utf8.count) + Delta.fieldSize(idCount)
        return 1 + varintLength(UInt64(inner)) + inner
    }
}

/// A block of the DAG, taken apart.
package struct DeltaBlock: Equatable, Sendable {
    package let cid: CID
    package let links: [CID]
    package let delta: Delta

    package enum Fault: Error, Equatable, Sendable {
        case notDagPB(DagPBError)
        case noDelta
        case malformed(ProtobufError)
        case wrongHash
        case badLink(CID)
    }

    /// Links are the heads in the order of their bytes, without name and size, both of which are written (CRDT-23..26).
    package static func encode(_ delta: Delta, heads: [CID]) -> Bytes {
        DagPBNode(links: heads.sorted().map { DagPBLink(cid: $0) }, data: delta.encoded).encoded
    }

    package static func cid(of bytes: Bytes) -> CID { CID(v1: Codec.dagPB, .sha2_256(of: bytes)) }

    package init(decoding bytes: Bytes, expecting cid: CID? = nil) throws(Fault) {
        let actual = DeltaBlock.cid(of: bytes)
        if let cid, cid.multihash != actual.multihash { throw .wrongHash }
        let node: DagPBNode
        do { node = try DagPBNode(decoding: bytes) } catch { throw .notDagPB(error) }
        guard let data = node.data else { throw .noDelta }
        do { delta = try Delta(decoding: data) } catch { throw .malformed(error) }
        self.cid = actual
        links = node.links.map { CID(v1: Codec.dagPB, $0.cid.multihash) }
    }
}

/// What peers tell each other on the topic: their heads.
package enum Announcement {
    package static func encode(_ heads: [CID]) -> Bytes {
        var writer = ProtobufWriter()
        for head in heads { writer.message(1) { $0.bytes(1, head.bytes) } }
        return writer.bytes
    }

    /// Nil if anything in it is wrong (CRDT-38). A bare CIDv0 is the old form (CRDT-37).
    package static func decode(_ payload: Bytes) -> [CID]? {
        if payload.count == 34, let cid = try? CID(payload), cid.version == 0 { return [cid] }
        var heads: [CID] = []
        var reader = ProtobufReader(payload)
        do {
            while let field = try reader.next() {
                guard field.number == 1 else { continue }
                var inner = try field.message()
                while let part = try inner.next() {
                    if part.number == 1 { heads.append(try CID(try part.bytes())) }
                }
            }
        } catch { return nil }
        return heads
    }
}
