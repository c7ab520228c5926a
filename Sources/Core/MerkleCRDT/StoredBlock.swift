// A block of the DAG as a record of the log. Each element and tombstone can be read by its place alone, and the exact bytes of the
// block come back. What other parts say twice is left out: the key of a pin stands in its value, too.
//
// header   0 flags · 4 check · 8 operation consumed · 16 priority · 24 elements · 28 tombstones · 32 size of the block
//          36 links · 40 place of the elements · 44 of the tombstones · 48 SHA-256 of the block · 80 that of each link
// [raw]    the block itself, where its bytes are not what this project would have written
// element  0 check of key, value and distance · 4 its distance from the record · 8 varint: size of the value, whether a key
//          follows · [key] · value; at least 32 bytes, so that no two elements begin within the same 32 bytes of a file
// tombstone 0 check · 4 varint: size of the key, whether it is decoded · key · varint: how far before the tombstone the SHA-256 of the
//          block meant stands in the same record, or 0 · [that SHA-256]
// All numbers little-endian.

import Crypto
import Encoding
import Kernel
import Multiformats
import Storage

/// An element or a tombstone in a record.
struct ElementRef: Sendable {
    /// Of the key.
    let hash: UInt64
    /// Within the record's payload.
    let offset: UInt32
    /// Of key and value.
    let mixed: Mixed
}
struct TombstoneRef: Sendable {
    let hash: UInt64
    let offset: UInt32
}

struct StoredBlock: Sendable {
    let hash: Multihash
    let priority: UInt64
    let links: [Multihash]
    let consumes: UInt64
    /// The record.
    let payload: Bytes
    let elements: [ElementRef]
    let tombstones: [TombstoneRef]
    /// Of one's own block.
    var lookup: Lookup?

    var cid: CID { CID(v1: Codec.dagPB, hash) }

    static let headerBytes = 80
    static let elementBytesMin = 32
    static let rawFlag: UInt8 = 1

    // MARK: Header

    struct Header: Sendable {
        let isRaw: Bool
        let consumes: UInt64
        let priority: UInt64
        let elementCount: Int
        let tombstoneCount: Int
        let blockBytes: Int
        let elementsAt: Int
        let tombstonesAt: Int
        let digest: Bytes
        /// One digest after another.
        private let linkDigests: Bytes
        var links: [Multihash] {
            stride(from: 0, to: linkDigests.count, by: 32).map { StoredBlock.multihash(linkDigests[$0..<$0 + 32]) }
        }

        static func bytes(links: Int) -> Int { headerBytes + 32 * links }

        /// Nil if the bytes are no sound header. With `bytes` too short for all links, `needs` says how many there must be.
        init?(_ bytes: UnsafeRawBufferPointer, needs: inout Int) {
            guard bytes.count >= headerBytes else { return nil }
            let count = Int(load(bytes, 36, as: UInt32.self))
            needs = Header.bytes(links: min(count, 1 << 20))
            guard bytes.count >= needs else { return nil }
            let check = mix(UnsafeRawBufferPointer(rebasing: bytes[8..<needs]), seed: UInt64(bytes[0])).low32
            guard check == load(bytes, 4, as: UInt32.self) else { return nil }
            isRaw = bytes[0] & rawFlag != 0
            (consumes, priority) = (load(bytes, 8), load(bytes, 16))
            func int(_ offset: Int) -> Int { Int(load(bytes, offset, as: UInt32.self)) }
            (elementCount, tombstoneCount, blockBytes) = (int(24), int(28), int(32))
            (elementsAt, tombstonesAt) = (int(40), int(44))
            digest = Bytes(bytes[48..<80])
            linkDigests = Bytes(bytes[80..<80 + 32 * count])
        }
    }

    static func multihash(_ digest: some Collection<UInt8>) -> Multihash { Multihash(code: HashCode.sha2_256, digest: digest) }

    // MARK: Making

    /// Collects the parts of a record.
    struct Builder {
        private(set) var payload: Bytes
        private(set) var elements: [ElementRef] = []
        private(set) var tombstones: [TombstoneRef] = []
        private var tombstonesAt = 0
        /// Where the digests stand that tombstones have named, by their first bytes.
        private var targets: [UInt64: Int] = [:]
        private let links: [Multihash]
        private let elementsAt: Int
        private let isRaw: Bool

        init(links: [Multihash], raw: Bytes?, capacity: Int, elements count: Int) {
            self.links = links
            isRaw = raw != nil
            payload = Bytes(repeating: 0, count: Header.bytes(links: links.count))
            payload.reserveCapacity(payload.count + capacity + (raw?.count ?? 0))
            if let raw { payload += raw }
            elementsAt = payload.count
            elements.reserveCapacity(count)
        }

        /// `key` is nil where it stands in the value.
        mutating func element(key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer, hash: UInt64) {
            let start = payload.count
            let mixed = key.map { StoredKey.mixed($0, value) } ?? StoredKey.mixed(derived: value)
            append(ElementView.check(mixed, distance: UInt32(start)), to: &payload)
            append(UInt32(start), to: &payload)
            appendVarint(UInt64(value.count) << 1 | (key == nil ? 0 : 1), to: &payload)
            if let key {
                appendVarint(UInt64(key.count), to: &payload)
                payload.append(contentsOf: key)
            }
            payload.append(contentsOf: value)
            let short = elementBytesMin - (payload.count - start)
            if short > 0 { payload.append(contentsOf: repeatElement(0, count: short)) }
            elements.append(ElementRef(hash: hash, offset: UInt32(start), mixed: mixed))
        }

        mutating func tombstone(key: UnsafeRawBufferPointer, block digest: UnsafeRawBufferPointer) {
            guard let decoded = StoredKey.decoded(key) else { return tombstone(key: key, isDecoded: false, hash: StoredKey.hash(key), digest) }
            decoded.withUnsafeBytes { tombstone(key: $0, isDecoded: true, hash: StoredKey.hash(cid: $0), digest) }
        }

        mutating func tombstone(key: UnsafeRawBufferPointer, isDecoded: Bool, hash: UInt64, _ digest: UnsafeRawBufferPointer) {
            if tombstones.isEmpty { tombstonesAt = payload.count }
            let start = payload.count
            append(UInt32(0), to: &payload)
            appendVarint(UInt64(key.count) << 1 | (isDecoded ? 1 : 0), to: &payload)
            payload.append(contentsOf: key)
            let known = target(digest)
            appendVarint(known.map { UInt64(start - $0) } ?? 0, to: &payload)
            let end = payload.count
            if known == nil {
                targets[load(digest, 0)] = end
                payload.append(contentsOf: digest)
            }
            let check = payload.withUnsafeBytes { TombstoneView.check(UnsafeRawBufferPointer(rebasing: $0[start + 4..<end]), digest) }
            store(check, to: &payload, at: start)
            tombstones.append(TombstoneRef(hash: hash, offset: UInt32(start)))
        }

        private func target(_ digest: UnsafeRawBufferPointer) -> Int? {
            guard let place = targets[load(digest, 0)] else { return nil }
            return payload.withUnsafeBytes { StoredKey.isSame(digest, UnsafeRawBufferPointer(rebasing: $0[place..<place + 32])) } ? place : nil
        }

        consuming func finish(digest: UnsafeRawBufferPointer, priority: UInt64, consumes: UInt64, blockBytes: Int) -> StoredBlock {
            let header = BlockHeader(
                isRaw: isRaw, links: links, elements: elements.count, tombstones: tombstones.count, blockBytes: blockBytes,
                elementsAt: elementsAt, tombstonesAt: tombstonesAt)
            header.seal(&payload, digest: digest, priority: priority, consumes: consumes)
            return StoredBlock(
                hash: multihash(digest), priority: priority, links: links, consumes: consumes, payload: payload, elements: elements,
                tombstones: tombstones)
        }
    }

    /// What a header is written from.
    struct BlockHeader {
        var isRaw = false
        let links: [Multihash]
        let elements: Int
        var tombstones = 0
        let blockBytes: Int
        let elementsAt: Int
        var tombstonesAt = 0

        /// Fills in the room that the record has for it.
        func seal(_ payload: inout Bytes, digest: UnsafeRawBufferPointer, priority: UInt64, consumes: UInt64) {
            payload[0] = isRaw ? rawFlag : 0
            store(consumes, to: &payload, at: 8)
            store(priority, to: &payload, at: 16)
            let counts = [elements, tombstones, blockBytes, links.count, elementsAt, tombstonesAt]
            for (index, count) in counts.enumerated() { store(UInt32(count), to: &payload, at: 24 + 4 * index) }
            for (index, byte) in digest.enumerated() { payload[48 + index] = byte }
            for (index, link) in links.enumerated() {
                for (at, byte) in link.digest.enumerated() { payload[80 + 32 * index + at] = byte }
            }
            let end = Header.bytes(links: links.count)
            let check = payload.withUnsafeBytes { mix(UnsafeRawBufferPointer(rebasing: $0[8..<end]), seed: UInt64($0[0])).low32 }
            store(check, to: &payload, at: 4)
        }
    }

    /// From the bytes of a block. Those that are not written as this project writes them are kept whole.
    init(raw: Bytes, consumes: UInt64 = 0, expecting cid: CID? = nil) throws(DeltaBlock.Fault) {
        let hash = Multihash.sha2_256(of: raw)
        if let cid, cid.multihash != hash { throw .wrongHash }
        if let block = StoredBlock.plain(raw, hash, consumes) {
            self = block
            return
        }
        let block = try DeltaBlock(decoding: raw)
        var builder = Builder(
            links: block.links.map(\.multihash), raw: raw, capacity: raw.count, elements: block.delta.elements.count)
        for link in block.links where link.multihash.code != HashCode.sha2_256 { throw .badLink(link) }
        for element in block.delta.elements {
            Bytes(element.key.utf8).withUnsafeBytes { key in
                element.value.withUnsafeBytes { value in
                    let isDerived = StoredKey.isDerived(key, from: value)
                    builder.element(key: isDerived ? nil : key, value: value, hash: StoredKey.hash(key))
                }
            }
        }
        for tombstone in block.delta.tombstones where tombstone.block.code == HashCode.sha2_256 {
            Bytes(tombstone.key.utf8).withUnsafeBytes { key in
                tombstone.block.digest.withUnsafeBytes { builder.tombstone(key: key, block: $0) }
            }
        }
        self = hash.digest.withUnsafeBytes {
            builder.finish(digest: $0, priority: block.delta.priority, consumes: consumes, blockBytes: raw.count)
        }
    }

    init(
        hash: Multihash, priority: UInt64, links: [Multihash], consumes: UInt64, payload: Bytes, elements: [ElementRef],
        tombstones: [TombstoneRef]
    ) {
        (self.hash, self.priority, self.links, self.consumes) = (hash, priority, links, consumes)
        (self.payload, self.elements, self.tombstones) = (payload, elements, tombstones)
    }
}
