// Keys and signatures, from OpenSSL. All functions are pure: what is random is handed in (ECDSA signing apart, whose nonce
// OpenSSL draws; the project signs with Ed25519).

import COpenSSL
import Kernel

/// An OpenSSL key, freed with the last reference. Immutable after creation.
final class KeyHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    init?(_ pointer: OpaquePointer?) {
        guard let pointer else { return nil }
        self.pointer = pointer
    }
    deinit { EVP_PKEY_free(pointer) }
}

/// A public key that verifies signatures.
package struct VerifyingKey: Sendable {
    let handle: KeyHandle
    /// Whether data is hashed by SHA-256 first (RSA and ECDSA; Ed25519 signs the message itself, KEY-07).
    let isHashed: Bool

    package init?(ed25519 raw: some Collection<UInt8>) {
        let raw = Bytes(raw)
        guard raw.count == 32, let handle = KeyHandle(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, raw, 32)) else {
            return nil
        }
        self.handle = handle
        isHashed = false
    }

    /// RSA or ECDSA as DER SubjectPublicKeyInfo (KEY-04, KEY-06).
    package init?(subjectPublicKeyInfo der: some Collection<UInt8>) {
        let der = Bytes(der)
        let handle = der.withUnsafeBufferPointer { buffer -> KeyHandle? in
            var cursor = buffer.baseAddress
            return KeyHandle(d2i_PUBKEY(nil, &cursor, buffer.count))
        }
        guard let handle else { return nil }
        self.handle = handle
        isHashed = true
    }

    /// A compressed secp256k1 point (KEY-05).
    package init?(secp256k1 point: some Collection<UInt8>) {
        guard point.count == 33 else { return nil }
        // SubjectPublicKeyInfo of id-ecPublicKey over secp256k1 (RFC 5480).
        let header: Bytes = [
            0x30, 0x36, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
            0x00, 0x0a, 0x03, 0x22, 0x00,
        ]
        self.init(subjectPublicKeyInfo: header + Bytes(point))
    }

    init(_ handle: KeyHandle, isHashed: Bool) {
        self.handle = handle
        self.isHashed = isHashed
    }

    package func verify(_ signature: some Collection<UInt8>, of message: some Collection<UInt8>) -> Bool {
        guard let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        guard EVP_DigestVerifyInit(context, nil, isHashed ? EVP_sha256() : nil, nil, handle.pointer) == 1 else { return false }
        let (signature, message) = (Bytes(signature), Bytes(message))
        return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }

    package var bits: Int { Int(EVP_PKEY_get_bits(handle.pointer)) }

    /// The raw 32 bytes of an Ed25519 key.
    package var rawEd25519: Bytes? {
        var out = Bytes(repeating: 0, count: 32)
        var count = 32
        return EVP_PKEY_get_raw_public_key(handle.pointer, &out, &count) == 1 && count == 32 ? out : nil
    }

    package var subjectPublicKeyInfo: Bytes? {
        var pointer: UnsafeMutablePointer<UInt8>?
        let count = i2d_PUBKEY(handle.pointer, &pointer)
        guard count > 0, let pointer else { return nil }
        defer { CRYPTO_free(pointer, #file, #line) }
        return Bytes(UnsafeBufferPointer(start: pointer, count: Int(count)))
    }
}

/// A private key that signs.
package struct SigningKey: Sendable {
    let handle: KeyHandle
    let isHashed: Bool

    package init?(ed25519 seed: some Collection<UInt8>) {
        let seed = Bytes(seed)
        guard seed.count == 32, let handle = KeyHandle(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, 32)) else {
            return nil
        }
        self.handle = handle
        isHashed = false
    }

    /// RSA as PKCS#1 DER, or ECDSA as SEC1 DER (KEY-04, KEY-06).
    package init?(der: some Collection<UInt8>) {
        let der = Bytes(der)
        let handle = der.withUnsafeBufferPointer { buffer -> KeyHandle? in
            var cursor = buffer.baseAddress
            return KeyHandle(d2i_AutoPrivateKey(nil, &cursor, buffer.count))
        }
        guard let handle else { return nil }
        self.handle = handle
        isHashed = true
    }

    package init?(secp256k1 scalar: some Collection<UInt8>) {
        guard scalar.count == 32 else { return nil }
        // ECPrivateKey with the named curve secp256k1 (SEC 1, RFC 5915).
        let header: Bytes = [0x30, 0x2e, 0x02, 0x01, 0x01, 0x04, 0x20]
        self.init(der: header + Bytes(scalar) + [0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a])
    }

    package var verifyingKey: VerifyingKey { VerifyingKey(handle, isHashed: isHashed) }

    package func sign(_ message: some Collection<UInt8>) -> Bytes? {
        guard let context = EVP_MD_CTX_new() else { return nil }
        defer { EVP_MD_CTX_free(context) }
        guard EVP_DigestSignInit(context, nil, isHashed ? EVP_sha256() : nil, nil, handle.pointer) == 1 else { return nil }
        let message = Bytes(message)
        var count = 0
        guard EVP_DigestSign(context, nil, &count, message, message.count) == 1 else { return nil }
        var out = Bytes(repeating: 0, count: count)
        guard EVP_DigestSign(context, &out, &count, message, message.count) == 1 else { return nil }
        return Bytes(out[..<count])
    }
}

/// The compressed point that belongs to a scalar.
package func secp256k1PublicKey(_ scalar: Bytes) -> Bytes? {
    guard let group = EC_GROUP_new_by_curve_name(NID_secp256k1), let point = EC_POINT_new(group) else { return nil }
    defer {
        EC_POINT_free(point)
        EC_GROUP_free(group)
    }
    guard let number = BN_bin2bn(scalar, Int32(scalar.count), nil) else { return nil }
    defer { BN_clear_free(number) }
    guard EC_POINT_mul(group, point, number, nil, nil, nil) == 1 else { return nil }
    var out = Bytes(repeating: 0, count: 33)
    guard EC_POINT_point2oct(group, point, POINT_CONVERSION_COMPRESSED, &out, 33, nil) == 33 else { return nil }
    return out
}

// MARK: Key agreement and sealing

/// X25519 (RFC 7748). Nil for bad lengths or a low-order point.
package func x25519(_ privateKey: Bytes, _ publicKey: Bytes) -> Bytes? {
    guard privateKey.count == 32, publicKey.count == 32,
        let mine = KeyHandle(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nil, privateKey, 32)),
        let theirs = KeyHandle(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nil, publicKey, 32)),
        let context = EVP_PKEY_CTX_new(mine.pointer, nil)
    else { return nil }
    defer { EVP_PKEY_CTX_free(context) }
    guard EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, theirs.pointer) == 1 else { return nil }
    var out = Bytes(repeating: 0, count: 32)
    var count = 32
    return EVP_PKEY_derive(context, &out, &count) == 1 ? out : nil
}

package func x25519PublicKey(_ privateKey: Bytes) -> Bytes? {
    guard privateKey.count == 32,
        let key = KeyHandle(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nil, privateKey, 32))
    else { return nil }
    var out = Bytes(repeating: 0, count: 32)
    var count = 32
    return EVP_PKEY_get_raw_public_key(key.pointer, &out, &count) == 1 ? out : nil
}

package func hmac(_ function: HashFunction, key: Bytes, _ data: Bytes) -> Bytes {
    var out = Bytes(repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count = 0
    let done = EVP_Q_mac(
        nil, "HMAC", nil, function.rawValue, nil, key, key.count, data, data.count, &out, out.count, &count)
    guard done != nil else { unreachable("OpenSSL without HMAC over \(function.rawValue)") }
    return Bytes(out[..<count])
}

/// ChaCha20-Poly1305 (RFC 8439) under one key. The context is kept between messages. A nonce is given by its last eight
/// bytes as a little-endian number; the first four are zero.
package final class ChaChaPoly: @unchecked Sendable {
    private let context: OpaquePointer
    package static let tagBytes = 16

    package init(key: Bytes) {
        invariant(key.count == 32, "a ChaCha20-Poly1305 key has 32 bytes")
        guard let context = EVP_CIPHER_CTX_new(),
            EVP_CipherInit_ex(context, EVP_chacha20_poly1305(), nil, key, nil, 1) == 1
        else { unreachable("OpenSSL without ChaCha20-Poly1305") }
        self.context = context
    }
    deinit { EVP_CIPHER_CTX_free(context) }

    /// Begins a message.
    private func begin(_ nonce: UInt64, _ data: Bytes, isSealing: Bool) {
        var words = SIMD4<UInt32>(
            0, UInt32(truncatingIfNeeded: nonce).littleEndian, UInt32(truncatingIfNeeded: nonce >> 32).littleEndian, 0)
        withUnsafeBytes(of: &words) {
            _ = EVP_CipherInit_ex(context, nil, nil, nil, $0.bindMemory(to: UInt8.self).baseAddress, isSealing ? 1 : 0)
        }
        var done = Int32(0)
        if !data.isEmpty { EVP_CipherUpdate(context, nil, &done, data, Int32(data.count)) }
    }

    /// Appends the ciphertext and its tag.
    package func seal(_ plain: ArraySlice<UInt8>, nonce: UInt64, authenticating data: Bytes = [], into out: inout Bytes) {
        begin(nonce, data, isSealing: true)
        out.append(plain.count + Self.tagBytes) { target in
            var done = Int32(0)
            let target = target.bindMemory(to: UInt8.self).baseAddress!
            plain.withUnsafeBufferPointer { input in
                if input.count > 0 { EVP_CipherUpdate(context, target, &done, input.baseAddress, Int32(input.count)) }
            }
            EVP_CipherFinal_ex(context, target + plain.count, &done)
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), target + plain.count)
        }
    }

    /// Appends the plaintext, or nothing if the tag does not fit; whether it does.
    package func open(
        _ sealed: ArraySlice<UInt8>, nonce: UInt64, authenticating data: Bytes = [], into out: inout Bytes
    ) -> Bool {
        guard sealed.count >= Self.tagBytes else { return false }
        begin(nonce, data, isSealing: false)
        do {
            try out.append(sealed.count - Self.tagBytes) { target throws(Forged) in
                guard sealed.withUnsafeBufferPointer({ finish($0, target) }) else { throw Forged() }
            }
        } catch { return false }
        return true
    }
    private struct Forged: Error {}

    private func finish(_ sealed: UnsafeBufferPointer<UInt8>, _ target: UnsafeMutableRawBufferPointer) -> Bool {
        var (done, nothing) = (Int32(0), UInt8(0))
        if let target = target.bindMemory(to: UInt8.self).baseAddress, sealed.count > Self.tagBytes {
            EVP_CipherUpdate(context, target, &done, sealed.baseAddress, Int32(sealed.count - Self.tagBytes))
        }
        let tag = UnsafeMutableRawPointer(mutating: sealed.baseAddress! + sealed.count - Self.tagBytes)
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagBytes), tag)
        return EVP_CipherFinal_ex(context, &nothing, &done) == 1
    }
}
