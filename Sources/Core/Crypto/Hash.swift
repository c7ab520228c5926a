// Hash functions, all from the system's OpenSSL. Pure: the same input gives the same output, so the core may use them.

import COpenSSL
import Kernel

/// A hash function that OpenSSL offers, by its OpenSSL name.
package enum HashFunction: String, Sendable, CaseIterable {
    case md5 = "MD5"
    case sha1 = "SHA1"
    case sha224 = "SHA2-224"
    case sha256 = "SHA2-256"
    case sha384 = "SHA2-384"
    case sha512 = "SHA2-512"
    case sha512_256 = "SHA2-512/256"
    case sha3_224 = "SHA3-224"
    case sha3_256 = "SHA3-256"
    case sha3_384 = "SHA3-384"
    case sha3_512 = "SHA3-512"
    case shake128 = "SHAKE-128"
    case shake256 = "SHAKE-256"
    case blake2b512 = "BLAKE2B-512"
    case blake2s256 = "BLAKE2S-256"
    case ripemd160 = "RIPEMD-160"
}

/// Fetched once; OpenSSL's lookup by name costs more than hashing a small block.
private struct Methods: @unchecked Sendable {  // EVP_MD is immutable and thread-safe after fetching
    let byFunction: [HashFunction: OpaquePointer]
    let sha256: OpaquePointer?
    static let shared = Methods()
    private init() {
        var found: [HashFunction: OpaquePointer] = [:]
        for function in HashFunction.allCases {
            if let method = EVP_MD_fetch(nil, function.rawValue, nil) { found[function] = method }
        }
        byFunction = found
        sha256 = found[.sha256]
    }
}

/// The digest of `data`, or nil where this OpenSSL lacks the function. `length` is used by SHAKE only (bytes).
package func digest(_ function: HashFunction, _ data: some Collection<UInt8>, length: Int = 0) -> Bytes? {
    guard let method = Methods.shared.byFunction[function], let context = EVP_MD_CTX_new() else { return nil }
    defer { EVP_MD_CTX_free(context) }
    guard EVP_DigestInit_ex(context, method, nil) == 1 else { return nil }
    let updated = data.withContiguousStorageIfAvailable { EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        ?? Bytes(data).withUnsafeBytes { EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
    guard updated == 1 else { return nil }
    if length > 0 {
        var out = Bytes(repeating: 0, count: length)
        return EVP_DigestFinalXOF(context, &out, length) == 1 ? out : nil
    }
    var out = Bytes(repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    guard EVP_DigestFinal_ex(context, &out, &count) == 1 else { return nil }
    out.removeLast(out.count - Int(count))
    return out
}

package func sha256(_ data: some Collection<UInt8>) -> Bytes {
    var out: Bytes = []
    out.append(32) { target in
        let isDone: Void? = data.withContiguousStorageIfAvailable { sha256(UnsafeRawBufferPointer($0), into: target) }
        if isDone == nil { Bytes(data).withUnsafeBytes { sha256($0, into: target) } }
    }
    return out
}

/// The same without the costs of an array: small inputs are hashed by the million.
package func sha256(_ data: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer) {
    invariant(out.count == 32, "a SHA-256 has 32 bytes")
    let target = out.bindMemory(to: UInt8.self).baseAddress
    guard EVP_Digest(data.baseAddress, data.count, target, nil, Methods.shared.sha256, nil) == 1 else {
        unreachable("OpenSSL without SHA-256")
    }
}

package func md5(_ data: some Collection<UInt8>) -> Bytes {
    guard let out = digest(.md5, data) else { unreachable("OpenSSL without MD5 (a FIPS-only provider?)") }
    return out
}
