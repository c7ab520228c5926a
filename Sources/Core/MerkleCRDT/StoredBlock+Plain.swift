// Blocks in the form in which go-ds-crdt and this project write them: read in one pass, and written again byte for byte.
// spec/crdt.md CRDT-20..26.

import Crypto
import Encoding
import Kernel
import Multiformats

/// Walks a block as long as it is written in the one plain way.
private struct PlainReader {
    let bytes: UnsafeRawBufferPointer
    var at = 0
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { at == bytes.count }
    @inline(__always)
    mutating func accept(_ byte: UInt8) -> Bool {
        guard at < bytes.count, bytes[at] == byte else { return false }
        at += 1
        return true
    }
    /// The shortest form only.
    @inline(__always)
    mutating func varint() -> UInt64? {
        var (value, shift) = (UInt64(0), UInt64(0))
        while at < bytes.count, shift < 63 {
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return byte == 0 && shift > 0 ? nil : value }
            shift += 7
        }
        return nil
    }
    /// A field of bytes that are not empty.
    @inline(__always)
    mutating func field(_ tag: UInt8) -> UnsafeRawBufferPointer? {
        guard accept(tag), let count = varint(), count > 0, count <= UInt64(bytes.count - at) else { return nil }
        at += Int(count)
        return UnsafeRawBufferPointer(rebasing: bytes[at - Int(count)..<at])
    }
}

extension StoredBlock {
    /// 12 2a 0a 24 01 70 12 20 · digest · 12 00 18 00
    private static let linkHead: UInt64 = 0x2012_7001_240a_2a12
    private static let linkTail: UInt32 = 0x0018_0012
    static let linkBytes = 44

    /// Nil where the block is written in any other way.
    static func plain(_ raw: Bytes, _ hash: Multihash, _ consumes: UInt64) -> StoredBlock? {
        raw.withUnsafeBytes { bytes in
            var reader = PlainReader(bytes)
            var links: [Multihash] = []
            while reader.at + linkBytes <= bytes.count, bytes[reader.at] == 0x12 {
                let start = reader.at
                guard load(bytes, start, as: UInt64.self) == linkHead, load(bytes, start + 40, as: UInt32.self) == linkTail else { return nil }
                links.append(multihash(UnsafeRawBufferPointer(rebasing: bytes[start + 8..<start + 40])))
                reader.at += linkBytes
            }
            guard let delta = reader.field(0x0a), reader.isAtEnd else { return nil }
            return plain(delta, links, raw.count, hash, consumes)
        }
    }

    private static func plain(
        _ delta: UnsafeRawBufferPointer, _ links: [Multihash], _ size: Int, _ hash: Multihash, _ consumes: UInt64
    ) -> StoredBlock? {
        var builder = Builder(links: links, raw: nil, capacity: delta.count, elements: delta.count / 100)
        var reader = PlainReader(delta)
        while reader.at < delta.count, delta[reader.at] == 0x0a {
            guard let element = reader.field(0x0a), addElement(element, &builder) else { return nil }
        }
        while reader.at < delta.count, delta[reader.at] == 0x12 {
            guard let tombstone = reader.field(0x12), addTombstone(tombstone, &builder) else { return nil }
        }
        var priority: UInt64 = 0
        if !reader.isAtEnd {
            guard reader.accept(0x18), let value = reader.varint(), value > 0, reader.isAtEnd else { return nil }
            priority = value
        }
        return hash.digest.withUnsafeBytes { builder.finish(digest: $0, priority: priority, consumes: consumes, blockBytes: size) }
    }

    @inline(__always)
    private static func addElement(_ element: UnsafeRawBufferPointer, _ builder: inout Builder) -> Bool {
        var reader = PlainReader(element)
        guard let key = reader.field(0x0a) else { return false }
        let empty = UnsafeRawBufferPointer(rebasing: element[0..<0])
        guard let value = reader.isAtEnd ? empty : reader.field(0x1a), reader.isAtEnd else { return false }
        if StoredKey.isDerived(key, from: value), let cid = StoredKey.cid(in: value) {
            builder.element(key: nil, value: value, hash: StoredKey.hash(cid: cid))
        } else {
            // A key that is no text would come back as another one.
            guard isText(key) else { return false }
            builder.element(key: key, value: value, hash: StoredKey.hash(key))
        }
        return true
    }

    private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool { String(validating: bytes, as: UTF8.self) != nil }

    private static func addTombstone(_ tombstone: UnsafeRawBufferPointer, _ builder: inout Builder) -> Bool {
        var reader = PlainReader(tombstone)
        guard let key = reader.field(0x0a), let id = reader.field(0x12), reader.isAtEnd, isText(key) else { return false }
        guard let block = StoredKey.decoded(id), block.count == 34, block[0] == 0x12, block[1] == 0x20 else { return false }
        block.withUnsafeBytes { builder.tombstone(key: key, block: UnsafeRawBufferPointer(rebasing: $0[2...])) }
        return true
    }

    // MARK: Back

    /// The block whose record this is; nil if the record is not what it should be.
    static func raw(_ payload: Bytes) -> Bytes? {
        payload.withUnsafeBytes { bytes in
            var needs = 0
            guard let header = Header(bytes, needs: &needs) else { return nil }
            if header.isRaw { return needs + header.blockBytes <= bytes.count ? Bytes(bytes[needs..<needs + header.blockBytes]) : nil }
            var out = Bytes()
            out.reserveCapacity(header.blockBytes)
            for link in header.links { appendLink(link, to: &out) }
            out.append(0x0a)
            appendVarint(UInt64(deltaBytes(of: header.blockBytes - out.count)), to: &out)
            var at = header.elementsAt
            for _ in 0..<header.elementCount {
                guard let element = ElementView(bytes, at) else { return nil }
                appendElement(element, to: &out)
                at = element.end
            }
            at = header.tombstonesAt
            for _ in 0..<header.tombstoneCount {
                guard let tombstone = TombstoneView(bytes, at), let digest = tombstone.digest(in: bytes, at) else { return nil }
                appendTombstone(key: tombstone.keyText, digest, to: &out)
                at = tombstone.end
            }
            if header.priority > 0 {
                out.append(0x18)
                appendVarint(header.priority, to: &out)
            }
            return out.count == header.blockBytes ? out : nil
        }
    }

    static func appendLink(_ link: Multihash, to out: inout Bytes) {
        append(linkHead, to: &out)
        out.append(contentsOf: link.digest)
        append(linkTail, to: &out)
    }

    /// A field of that many bytes with its length before it: how long is what follows?
    private static func deltaBytes(of count: Int) -> Int {
        var length = count - 1
        while length > 0, varintLength(UInt64(length)) + length > count { length -= 1 }
        return length
    }

    @inline(__always)
    static func fieldBytes(_ count: Int) -> Int { count == 0 ? 0 : 1 + varintLength(UInt64(count)) + count }

    private static func appendElement(_ element: ElementView, to out: inout Bytes) {
        let keyCount = element.key?.count ?? 1 + Base32.textCount(element.cid?.count ?? 0)
        out.append(0x0a)
        appendVarint(UInt64(fieldBytes(keyCount) + fieldBytes(element.value.count)), to: &out)
        out.append(0x0a)
        appendVarint(UInt64(keyCount), to: &out)
        if let key = element.key { out.append(contentsOf: key) } else if let cid = element.cid {
            out.append(UInt8(ascii: "/"))
            Base32.upper.append(cid, to: &out)
        }
        guard !element.value.isEmpty else { return }
        out.append(0x1a)
        appendVarint(UInt64(element.value.count), to: &out)
        out.append(contentsOf: element.value)
    }

    static func appendTombstone(key: Bytes, _ digest: UnsafeRawBufferPointer, to out: inout Bytes) {
        let id = StoredKey.text(block: digest)
        out.append(0x12)
        appendVarint(UInt64(fieldBytes(key.count) + fieldBytes(id.count)), to: &out)
        out.append(0x0a)
        appendVarint(UInt64(key.count), to: &out)
        out += key
        out.append(0x12)
        appendVarint(UInt64(id.count), to: &out)
        out += id
    }
}

/// An element in a record, or in bytes that begin with it.
struct ElementView {
    let check: UInt32
    /// From the record's begin.
    let distance: Int
    let key: UnsafeRawBufferPointer?
    let value: UnsafeRawBufferPointer
    let end: Int

    /// Nil if the bytes do not hold it all.
    @inline(__always)
    init?(_ bytes: UnsafeRawBufferPointer, _ start: Int) {
        guard start >= 0, start + 9 <= bytes.count else { return nil }
        check = load(bytes, start)
        distance = Int(load(bytes, start + 4, as: UInt32.self))
        var at = start + 8
        guard let head = ElementView.varint(bytes, &at) else { return nil }
        if head & 1 == 1 {
            guard let count = ElementView.varint(bytes, &at), count <= bytes.count - at else { return nil }
            key = UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
            at += count
        } else { key = nil }
        guard head >> 1 <= bytes.count - at else { return nil }
        value = UnsafeRawBufferPointer(rebasing: bytes[at..<at + head >> 1])
        end = max(at + head >> 1, start + StoredBlock.elementBytesMin)
    }

    @inline(__always)
    static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int) -> Int? {
        var (value, shift) = (0, 0)
        while at < bytes.count, shift < 35 {
            let byte = bytes[at]
            at += 1
            value |= Int(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }

    /// Key, value and distance are what was written.
    @inline(__always)
    func isSound(_ mixed: Mixed) -> Bool { check == ElementView.check(mixed, distance: UInt32(distance)) }
    @inline(__always)
    static func check(_ mixed: Mixed, distance: UInt32) -> UInt32 { mixed.low32 ^ distance &* 0x9e37_79b1 }

    var cid: UnsafeRawBufferPointer? { StoredKey.cid(in: value) }
    var mixed: Mixed { key.map { StoredKey.mixed($0, value) } ?? StoredKey.mixed(derived: value) }
    var hash: UInt64 {
        if let key { return StoredKey.hash(key) }
        return cid.map { StoredKey.hash(cid: $0) } ?? 0
    }
    var keyText: Bytes { key.map { Bytes($0) } ?? cid.map { StoredKey.text(decoded: $0) } ?? [] }
}

struct TombstoneView {
    let isDecoded: Bool
    let key: UnsafeRawBufferPointer
    /// How far before the tombstone the digest of the block meant stands; 0 where it follows.
    let back: Int
    let end: Int
    private let check: UInt32
    private let own: UnsafeRawBufferPointer
    private let inline: UnsafeRawBufferPointer?

    /// Nil if the bytes do not hold it all.
    init?(_ bytes: UnsafeRawBufferPointer, _ start: Int) {
        guard start >= 0, start + 6 <= bytes.count else { return nil }
        check = load(bytes, start)
        var at = start + 4
        guard let head = ElementView.varint(bytes, &at), case let count = head >> 1, count <= bytes.count - at else { return nil }
        isDecoded = head & 1 == 1
        key = UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
        at += count
        guard let back = ElementView.varint(bytes, &at), back > 0 || at + 32 <= bytes.count else { return nil }
        self.back = back
        own = UnsafeRawBufferPointer(rebasing: bytes[start + 4..<at])
        inline = back == 0 ? UnsafeRawBufferPointer(rebasing: bytes[at..<at + 32]) : nil
        end = back == 0 ? at + 32 : at
    }

    /// Nil where the tombstone is not what was written. `named` is what stands so far back.
    func digest(_ named: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        let digest = inline ?? named
        return digest.count == 32 && TombstoneView.check(own, digest) == check ? digest : nil
    }
    /// The same with all of the record at hand.
    func digest(in record: UnsafeRawBufferPointer, _ start: Int) -> UnsafeRawBufferPointer? {
        guard start >= back else { return nil }
        return digest(UnsafeRawBufferPointer(rebasing: record[start - back..<min(start - back + 32, record.count)]))
    }

    static func check(_ own: UnsafeRawBufferPointer, _ digest: UnsafeRawBufferPointer) -> UInt32 {
        mix(own, seed: mix(digest, seed: 2).low).low32
    }

    var keyText: Bytes { isDecoded ? StoredKey.text(decoded: key) : Bytes(key) }
    var hash: UInt64 { isDecoded ? StoredKey.hash(cid: key) : StoredKey.hash(key) }
}

extension StoredBlock {
    /// From a record of the log; nil if it is no such record.
    init?(payload: Bytes) {
        let parts = payload.withUnsafeBytes { bytes -> (Header, [ElementRef], [TombstoneRef])? in
            var needs = 0
            guard let header = Header(bytes, needs: &needs) else { return nil }
            var elements: [ElementRef] = [], tombstones: [TombstoneRef] = []
            elements.reserveCapacity(header.elementCount)
            var at = header.elementsAt
            for _ in 0..<header.elementCount {
                guard let element = ElementView(bytes, at), case let mixed = element.mixed, element.isSound(mixed) else { return nil }
                elements.append(ElementRef(hash: element.hash, offset: UInt32(at), mixed: mixed))
                at = element.end
            }
            at = header.tombstonesAt
            for _ in 0..<header.tombstoneCount {
                guard let tombstone = TombstoneView(bytes, at), tombstone.digest(in: bytes, at) != nil else { return nil }
                tombstones.append(TombstoneRef(hash: tombstone.hash, offset: UInt32(at)))
                at = tombstone.end
            }
            return (header, elements, tombstones)
        }
        guard let (header, elements, tombstones) = parts else { return nil }
        self.init(
            hash: StoredBlock.multihash(header.digest), priority: header.priority, links: header.links, consumes: header.consumes,
            payload: payload, elements: elements, tombstones: tombstones)
    }
}
