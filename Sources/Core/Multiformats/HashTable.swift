// The hash functions of multihash by number and by name. multiformats/multicodec table; ADD-04, IPFS-42.

import Crypto
import Kernel

private struct HashEntry: Sendable {
    let name: String
    let code: UInt64
    let digest: @Sendable (Bytes) -> Bytes?
    init(_ name: String, _ code: UInt64, _ digest: @escaping @Sendable (Bytes) -> Bytes?) {
        self.name = name
        self.code = code
        self.digest = digest
    }
    init(_ name: String, _ code: UInt64, _ function: HashFunction, length: Int = 0) {
        self.init(name, code) { Crypto.digest(function, $0, length: length) }
    }
}

private let entries: [HashEntry] = {
    var all = [
        HashEntry("identity", 0x00) { $0 },
        HashEntry("sha1", 0x11, .sha1),
        HashEntry("sha2-256", 0x12, .sha256),
        HashEntry("sha2-512", 0x13, .sha512),
        HashEntry("sha3-512", 0x14, .sha3_512),
        HashEntry("sha3-384", 0x15, .sha3_384),
        HashEntry("sha3-256", 0x16, .sha3_256),
        HashEntry("sha3-224", 0x17, .sha3_224),
        HashEntry("shake-128", 0x18, .shake128, length: 32),
        HashEntry("shake-256", 0x19, .shake256, length: 64),
        HashEntry("keccak-224", 0x1a) { keccak($0, count: 28) },
        HashEntry("keccak-256", 0x1b) { keccak($0, count: 32) },
        HashEntry("keccak-384", 0x1c) { keccak($0, count: 48) },
        HashEntry("keccak-512", 0x1d) { keccak($0, count: 64) },
        HashEntry("blake3", 0x1e) { blake3($0) },
        HashEntry("murmur3-x64-64", 0x22) { data in
            let hash = murmur3(data)
            return (0..<8).map { UInt8(truncatingIfNeeded: hash >> UInt64(56 - 8 * $0)) }
        },
        HashEntry("dbl-sha2-256", 0x56) { sha256(sha256($0)) },
        HashEntry("md5", 0xd5, .md5),
        // Upstream knows the names, and has no functions for them either.
        HashEntry("sha2-256-trunc254-padded", 0x1012) { _ in nil },
        HashEntry("x11", 0x1100) { _ in nil },
        HashEntry("poseidon-bls12_381-a2-fc1", 0xb401) { _ in nil },
    ]
    for length in 1...64 {
        let name = "blake2b-\(8 * length)"
        all.append(HashEntry(name, 0xb200 + UInt64(length)) { data in
            length == 64 ? Crypto.digest(.blake2b512, data) : blake2b(data, count: length)
        })
    }
    for length in 1...32 {
        let name = "blake2s-\(8 * length)"
        all.append(HashEntry(name, 0xb240 + UInt64(length)) { data in
            length == 32 ? Crypto.digest(.blake2s256, data) : blake2s(data, count: length)
        })
    }
    return all
}()

private let byCode: [UInt64: HashEntry] = Dictionary(entries.map { ($0.code, $0) }) { first, _ in first }
private let byName: [String: HashEntry] = Dictionary(entries.map { ($0.name, $0) }) { first, _ in first }

extension HashCode {
    /// Nil for unknown names. `sha3` is upstream's other name for its longest form.
    package static func named(_ name: String) -> UInt64? { byName[name == "sha3" ? "sha3-512" : name]?.code }
    package static func name(of code: UInt64) -> String? { byCode[code]?.name }
}

extension Multihash {
    /// With the function's usual length. Nil for functions that cannot be computed here.
    package static func of(_ data: Bytes, with code: UInt64) -> Multihash? {
        byCode[code]?.digest(data).map { Multihash(code: code, digest: $0) }
    }

    /// Whether this is the hash of the data; nil where that cannot be computed. Shortened digests count.
    package func matches(_ data: Bytes) -> Bool? {
        guard let full = byCode[code]?.digest(data) else { return nil }
        return code == HashCode.identity ? full.elementsEqual(digest) : !digest.isEmpty && full.starts(with: digest)
    }
}
