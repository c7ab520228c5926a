// A block of many pins or of many removals at once, as its bytes and as its record in one go. What it gives is what `Builder` and
// `DeltaBlock.encode` give for the same changes: a test compares them.

import Crypto
import Encoding
import Kernel
import Multiformats
import Pinset
import Storage

extension StoredBlock {
    /// Writes on and on; whoever makes it knows the room that is needed.
    private struct Cursor {
        var at: UnsafeMutableRawPointer

        @inline(__always) mutating func byte(_ value: UInt8) {
            at.storeBytes(of: value, as: UInt8.self)
            at += 1
        }
        @inline(__always) mutating func varint(_ value: Int) {
            var value = value
            while value >= 0x80 {
                byte(UInt8(truncatingIfNeeded: value) | 0x80)
                value >>= 7
            }
            byte(UInt8(truncatingIfNeeded: value))
        }
        @inline(__always) mutating func word(_ value: UInt32) {
            at.storeBytes(of: value.littleEndian, as: UInt32.self)
            at += 4
        }
        @inline(__always) mutating func bytes(_ bytes: UnsafeRawBufferPointer) {
            guard let base = bytes.baseAddress else { return }
            at.copyMemory(from: base, byteCount: bytes.count)
            at += bytes.count
        }
    }

    /// Sizes of an element in the block and in the record.
    @inline(__always)
    private static func sizes(cid: Int, value: Int) -> (inner: Int, block: Int, record: Int) {
        let key = 1 + Base32.textCount(cid)
        let inner = fieldBytes(key) + fieldBytes(value)
        let record = 8 + varintLength(UInt64(value) << 1) + value
        return (inner, 1 + varintLength(UInt64(inner)) + inner, max(record, elementBytesMin))
    }

    /// Of the keys of all. Nil if a value does not begin with a CID.
    static func hashes(_ pins: StoredPins) -> [UInt64]? {
        var hashes: [UInt64] = []
        hashes.reserveCapacity(pins.count)
        for index in 0..<pins.count {
            guard let hash = pins.withValue(index, { StoredKey.cid(in: $0).map { StoredKey.hash(cid: $0) } }) else { return nil }
            hashes.append(hash)
        }
        return hashes
    }

    /// How many of the pins from `start` on fit: a block ends with the one that makes it larger than the limit (CRDT-136), and before
    /// a CID that is in it already: the later pin is to win (C08).
    static func count(_ pins: StoredPins, _ hashes: [UInt64], from start: Int, deltaBytesMax: Int) -> (count: Int, block: Int, record: Int) {
        var (count, block, record) = (0, 0, 0)
        var seen = HashSet(capacity: min(pins.count - start, deltaBytesMax / 64 + 1))
        while start + count < pins.count, block <= deltaBytesMax {
            guard seen.insert(hashes[start + count]) else { break }
            let cid = pins.withValue(start + count) { StoredKey.cid(in: $0)?.count ?? 0 }
            let size = sizes(cid: cid, value: pins.byteCount(start + count))
            (count, block, record) = (count + 1, block + size.block, record + size.record)
        }
        return (count, block, record)
    }

    /// `size` is what `count` has said.
    static func of(
        _ pins: StoredPins, _ hashes: [UInt64], from start: Int, size: (count: Int, block: Int, record: Int), heads: [Multihash], priority: UInt64
    ) -> StoredBlock {
        let deltaBytes = size.block + 1 + varintLength(priority)
        let blockBytes = heads.count * linkBytes + 1 + varintLength(UInt64(deltaBytes)) + deltaBytes
        let headerBytes = Header.bytes(links: heads.count)
        var elements: [ElementRef] = []
        elements.reserveCapacity(size.count)
        var block = Bytes()
        block.reserveCapacity(blockBytes + 16)
        for head in heads { appendLink(head, to: &block) }
        block.append(0x0a)
        appendVarint(UInt64(deltaBytes), to: &block)
        var payload = Bytes()
        block.append(room: size.block + 16) { blockBase in
            payload.append(room: headerBytes + size.record) { recordBase in
                let record = UnsafeMutableRawPointer(recordBase)
                var (out, kept) = (Cursor(at: UnsafeMutableRawPointer(blockBase)), Cursor(at: record + headerBytes))
                record.initializeMemory(as: UInt8.self, repeating: 0, count: headerBytes)
                for index in start..<start + size.count {
                    pins.withValue(index) { elements.append(write($0, hashes[index], &out, &kept, record)) }
                }
                return headerBytes + size.record
            }
            return size.block
        }
        block.append(0x18)
        appendVarint(priority, to: &block)
        invariant(block.count == blockBytes, "a block of \(block.count) bytes that should have \(blockBytes)")
        let header = BlockHeader(links: heads, elements: size.count, blockBytes: blockBytes, elementsAt: headerBytes)
        let hash = Multihash.sha2_256(of: block)
        hash.digest.withUnsafeBytes { header.seal(&payload, digest: $0, priority: priority, consumes: 0) }
        return StoredBlock(
            hash: hash, priority: priority, links: heads, consumes: 0, payload: payload, elements: elements, tombstones: [])
    }

    @inline(__always)
    private static func write(
        _ value: UnsafeRawBufferPointer, _ hash: UInt64, _ out: inout Cursor, _ kept: inout Cursor, _ record: UnsafeMutableRawPointer
    ) -> ElementRef {
        guard let cid = StoredKey.cid(in: value) else { unreachable("a pin that does not begin with its CID") }
        let size = sizes(cid: cid.count, value: value.count)
        let keyCount = 1 + Base32.textCount(cid.count)
        out.byte(0x0a)
        out.varint(size.inner)
        out.byte(0x0a)
        out.varint(keyCount)
        out.byte(UInt8(ascii: "/"))
        out.at += Base32.upper.encode(cid, to: out.at.assumingMemoryBound(to: UInt8.self))
        out.byte(0x1a)
        out.varint(value.count)
        out.bytes(value)

        let mixed = StoredKey.mixed(derived: value)
        let offset = kept.at - record
        let begin = kept.at
        kept.word(ElementView.check(mixed, distance: UInt32(offset)))
        kept.word(UInt32(offset))
        kept.varint(value.count << 1)
        kept.bytes(value)
        while kept.at - begin < elementBytesMin { kept.byte(0) }
        return ElementRef(hash: hash, offset: UInt32(offset), mixed: mixed)
    }
}

extension StoredBlock {
    /// The tombstones of as many keys as fit: a block ends with the one that makes it larger than the limit (CRDT-136).
    static func of(
        _ removals: ArraySlice<Replica.Removal>, deltaBytesMax: Int, heads: [Multihash], priority: UInt64, generation: UInt64
    ) -> StoredBlock {
        var builder = Builder(links: heads, raw: nil, capacity: min(removals.count * 64, deltaBytesMax), elements: 0)
        var lookup = Lookup(generation: generation)
        var delta = Bytes()
        delta.reserveCapacity(min(removals.count * 128, deltaBytesMax) + 256)
        for removal in removals {
            lookup.known.append((builder.tombstones.count, removal.key))
            for target in removal.blocks {
                target.withUnsafeBytes { target in
                    removal.name.withKey { builder.tombstone(key: $0, isDecoded: $1, hash: removal.name.hash, target) }
                    appendTombstone(key: removal.name.text, target, to: &delta)
                }
            }
            if delta.count > deltaBytesMax { break }
        }
        delta.append(0x18)
        appendVarint(priority, to: &delta)
        var raw = Bytes()
        raw.reserveCapacity(heads.count * linkBytes + 8 + delta.count)
        for head in heads { appendLink(head, to: &raw) }
        raw.append(0x0a)
        appendVarint(UInt64(delta.count), to: &raw)
        raw += delta
        var block = Multihash.sha2_256(of: raw).digest.withUnsafeBytes {
            builder.finish(digest: $0, priority: priority, consumes: 0, blockBytes: raw.count)
        }
        block.lookup = lookup
        return block
    }
}
