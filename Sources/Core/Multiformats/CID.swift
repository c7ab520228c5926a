// Content identifiers and the multihashes inside them. multiformats/cid, multiformats/multihash.

import Crypto
import Encoding
import Kernel

package enum MultiformatError: Error, Equatable, Sendable {
    case empty
    case truncated
    case badText(String)
    case badVersion(UInt64)
    case badMultihash(String)
    /// A multihash, and bytes after it: how long its digest is, and how long it is.
    case trailing(digest: Int, length: Int)
    case badKey(String)
    case badMultiaddr(String)
    case badRecord(String)
}

/// Multicodec numbers of hash functions.
package enum HashCode {
    package static let identity: UInt64 = 0
    package static let sha2_256: UInt64 = 0x12
    package static let md5: UInt64 = 0xd5
    package static let blake2b256: UInt64 = 0xb220
}

/// Multicodec numbers of block formats.
package enum Codec {
    package static let raw: UInt64 = 0x55
    package static let dagPB: UInt64 = 0x70
    package static let dagCBOR: UInt64 = 0x71
    package static let libp2pKey: UInt64 = 0x72

    /// Its name in the multicodec table, for the codecs that CIDs have.
    package static func name(_ codec: UInt64) -> String {
        switch codec {
        case 0x51: "cbor"
        case raw: "raw"
        case dagPB: "dag-pb"
        case dagCBOR: "dag-cbor"
        case libp2pKey: "libp2p-key"
        case 0x78: "git-raw"
        case 0x129: "dag-json"
        case 0x200: "json"
        default: "Code(\(codec))"
        }
    }
}

/// A hash function's number and a digest.
package struct Multihash: Hashable, Comparable, Sendable {
    /// uvarint code, uvarint length, digest.
    package let bytes: Bytes
    private let digestStart: UInt8

    package init(code: UInt64, digest: some Collection<UInt8>) {
        var out = varint(code)
        appendVarint(UInt64(digest.count), to: &out)
        digestStart = UInt8(out.count)
        out.append(contentsOf: digest)
        bytes = out
    }

    /// All bytes at once: arrays hash one after another.
    package func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }

    /// Exactly one multihash.
    package init(_ bytes: some Collection<UInt8>) throws(MultiformatError) { try self.init(Bytes(bytes)) }
    package init(_ all: Bytes) throws(MultiformatError) {
        guard all.count >= 2 else { throw .empty }
        var offset = 0
        let length: UInt64
        do {
            _ = try readVarint(all, at: &offset)
            length = try readVarint(all, at: &offset)
        } catch { throw MultiformatError(error) }
        let left = all.count - offset
        guard length <= UInt64(Int32.max) else { throw .badMultihash("digest too long, supporting only <= 2^31-1") }
        guard length <= UInt64(left) else { throw .badMultihash("length greater than remaining number of bytes in buffer") }
        guard length == UInt64(left) else { throw .trailing(digest: Int(length), length: offset + Int(length)) }
        bytes = all
        digestStart = UInt8(offset)
    }

    package var code: UInt64 {
        var offset = 0
        return (try? readVarint(bytes, at: &offset)) ?? 0
    }
    package var digest: ArraySlice<UInt8> { bytes[Int(digestStart)...] }

    package static func sha2_256(of data: some Collection<UInt8>) -> Multihash {
        Multihash(code: HashCode.sha2_256, digest: sha256(data))
    }
    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
}

/// A content identifier, kept in its binary form: a bare sha2-256 multihash (v0), or version, codec and multihash (v1).
package struct CID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let bytes: Bytes
    private let hashStart: UInt8
    package let codec: UInt64

    package init(v1 codec: UInt64, _ multihash: Multihash) {
        var out = varint(1)
        appendVarint(codec, to: &out)
        hashStart = UInt8(out.count)
        out.append(contentsOf: multihash.bytes)
        bytes = out
        self.codec = codec
    }

    /// Only a 32-byte sha2-256 multihash has a v0 form.
    package init(v0 multihash: Multihash) throws(MultiformatError) {
        guard multihash.code == HashCode.sha2_256, multihash.digest.count == 32 else {
            throw .badMultihash("CIDv0 is sha2-256 only")
        }
        bytes = multihash.bytes
        hashStart = 0
        codec = Codec.dagPB
    }

    /// All bytes at once: arrays hash one after another.
    package func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }

    /// Exactly one binary CID.
    package init(_ bytes: some Collection<UInt8>) throws(MultiformatError) { try self.init(Bytes(bytes)) }
    package init(_ bytes: UnsafeRawBufferPointer) throws(MultiformatError) { try self.init(Bytes(bytes)) }
    package init(_ all: Bytes) throws(MultiformatError) {
        if let plain = all.withUnsafeBytes({ CID.plainCodec($0) }) {
            let isOld = all[0] == 0x12
            self.init(checked: all, hashStart: isOld ? 0 : 2, codec: plain)
            return
        }
        if all.count > 2, all[0] == 0x12, all[1] == 0x20 {
            guard all.count >= 34 else { throw .badMultihash("not enough bytes for cid v0") }
            throw .trailing(digest: 32, length: 34)
        }
        var offset = 0
        let version: UInt64, codec: UInt64
        do { version = try readVarint(all, at: &offset) } catch { throw MultiformatError(error) }
        guard version == 1 else { throw .badVersion(version) }
        do { codec = try readVarint(all, at: &offset) } catch { throw MultiformatError(error) }
        _ = try Multihash(all[offset...])
        self.init(checked: all, hashStart: UInt8(offset), codec: codec)
    }

    /// The codec where the bytes are one CID as nearly all are: v0, or v1 with no number above 127. Nil says nothing.
    package static func plainCodec(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        if bytes.count == 34, bytes[0] == 0x12, bytes[1] == 0x20 { return Codec.dagPB }
        guard bytes.count >= 4, bytes[0] == 1, (bytes[1] | bytes[2] | bytes[3]) < 0x80, Int(bytes[3]) == bytes.count - 4 else {
            return nil
        }
        return UInt64(bytes[1])
    }

    private init(checked bytes: Bytes, hashStart: UInt8, codec: UInt64) {
        self.bytes = bytes
        self.hashStart = hashStart
        self.codec = codec
    }

    package var version: Int { hashStart == 0 ? 0 : 1 }
    package var multihash: Multihash {
        guard let hash = try? Multihash(bytes[Int(hashStart)...]) else { unreachable("a CID without multihash") }
        return hash
    }
    package var multihashBytes: ArraySlice<UInt8> { bytes[Int(hashStart)...] }

    /// v0 in base58btc, v1 in base32 (REST-189).
    package var description: String {
        if version == 0 { return Multibase.base58btc.encode(bytes) }
        return bytes.withUnsafeBytes { Base32.lower.text($0, after: UInt8(ascii: "b")) }
    }

    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
}

extension CID {
    /// Any multibase text, or a bare base58 CIDv0.
    package init(text: some StringProtocol) throws(MultiformatError) {
        let text = String(text)
        guard text.utf8.count >= 2 else { throw .badText("cid too short") }
        if text.utf8.count == 46 && text.hasPrefix("Qm") {
            guard let bytes = Multibase.base58btc.decode(text) else { throw .badText("invalid cid: input isn't valid multihash") }
            self = try CID(v0: Multihash(bytes))
            return
        }
        guard let base = Multibase.all.first(where: { $0.prefix == text.first }) else {
            throw .badText("invalid cid: selected encoding not supported")
        }
        let digits = text.dropFirst()
        guard let bytes = base.decode(digits) else {
            // Upstream passes over digits that fill no byte, and misses their bytes.
            if let whole = base.decodeWhole(digits) { _ = try CID(whole) }
            throw .badText("invalid cid: " + base.fault(in: digits))
        }
        self = try CID(bytes)
    }

    package func text(in base: Multibase) -> String { String(base.prefix) + base.encode(bytes) }
}
