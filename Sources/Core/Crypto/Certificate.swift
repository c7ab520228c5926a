// X.509 certificates that vouch for themselves, as libp2p's TLS wants them: made and read with OpenSSL. What time it is and
// what is random is handed in (but for the nonce of the signature, which OpenSSL draws).

import COpenSSL
import Kernel

/// An OpenSSL certificate, freed with the last reference. Immutable after creation.
final class CertificateHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    init?(_ pointer: OpaquePointer?) {
        guard let pointer else { return nil }
        self.pointer = pointer
    }
    deinit { X509_free(pointer) }
}

package struct Certificate: Sendable {
    package enum Validity: Equatable, Sendable {
        case valid
        case notYet
        case expired
    }

    let handle: CertificateHandle
    /// Weaker signatures and keys are none: SHA-1 comes to less, RSA of 2048 bits to 112.
    private static let securityBits: Int32 = 100

    /// One certificate and nothing behind it.
    package init?(der: Bytes) {
        let handle = der.withUnsafeBufferPointer { buffer -> CertificateHandle? in
            var cursor = buffer.baseAddress
            guard let handle = CertificateHandle(d2i_X509(nil, &cursor, buffer.count)) else { return nil }
            return cursor == buffer.baseAddress.map { $0 + buffer.count } ? handle : nil
        }
        ERR_clear_error()
        guard let handle else { return nil }
        self.handle = handle
    }

    init(_ handle: CertificateHandle) { self.handle = handle }

    package var der: Bytes {
        var pointer: UnsafeMutablePointer<UInt8>?
        return taken(i2d_X509(handle.pointer, &pointer), pointer)
    }

    /// DER SubjectPublicKeyInfo of the key that is certified.
    package var subjectPublicKeyInfo: Bytes {
        var pointer: UnsafeMutablePointer<UInt8>?
        return taken(i2d_X509_PUBKEY(X509_get_X509_PUBKEY(handle.pointer), &pointer), pointer)
    }

    /// Whether the certified key has signed the certificate, and both are strong enough to mean something.
    package var isSelfSigned: Bool {
        defer { ERR_clear_error() }
        guard let key = X509_get0_pubkey(handle.pointer), EVP_PKEY_get_security_bits(key) >= Certificate.securityBits else {
            return false
        }
        var (digest, algorithm, bits, flags) = (Int32(0), Int32(0), Int32(0), UInt32(0))
        guard X509_get_signature_info(handle.pointer, &digest, &algorithm, &bits, &flags) == 1, bits >= Certificate.securityBits
        else { return false }
        return X509_verify(handle.pointer, key) == 1
    }

    /// A date that cannot be read is never right.
    package func validity(at now: WallTime) -> Validity {
        var seconds = time_t(now.seconds)
        // Negative: at or before that time. Zero: unreadable.
        if X509_cmp_time(X509_get0_notBefore(handle.pointer), &seconds) >= 0 { return .notYet }
        seconds -= 1  // its last second is one of its own (RFC 5280, 4.1.2.5)
        return X509_cmp_time(X509_get0_notAfter(handle.pointer), &seconds) > 0 ? .valid : .expired
    }

    // MARK: Extensions

    /// The value of the first extension with this object identifier, in dotted form.
    package func value(of name: String) -> Bytes? {
        for each in extensions where Certificate.name(each) == name {
            guard let value = X509_EXTENSION_get_data(each), let bytes = ASN1_STRING_get0_data(value) else { return nil }
            return Bytes(UnsafeBufferPointer(start: bytes, count: Int(ASN1_STRING_length(value))))
        }
        return nil
    }

    /// The first extension that says it must be understood, and is not, this one apart.
    package func unknownCritical(besides name: String) -> String? {
        let unknown = extensions.first {
            X509_EXTENSION_get_critical($0) == 1 && X509_supported_extension($0) == 0 && Certificate.name($0) != name
        }
        return unknown.map(Certificate.name)
    }

    private var extensions: [OpaquePointer] {
        (0..<max(0, X509_get_ext_count(handle.pointer))).compactMap { X509_get_ext(handle.pointer, $0) }
    }

    private static func name(_ extension: OpaquePointer) -> String {
        var text = [CChar](repeating: 0, count: 128)
        let count = Int(OBJ_obj2txt(&text, Int32(text.count), X509_EXTENSION_get_object(`extension`), 1))
        return String(decoding: text.prefix(max(0, min(count, text.count - 1))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// What OpenSSL has allocated and written.
private func taken(_ count: Int32, _ pointer: UnsafeMutablePointer<UInt8>?) -> Bytes {
    guard count > 0, let pointer else { return [] }
    defer { CRYPTO_free(pointer, #file, #line) }
    return Bytes(UnsafeBufferPointer(start: pointer, count: Int(count)))
}

// MARK: Making one

/// What a new certificate says besides its key.
package struct CertificateTerms: Sendable {
    package var serial: UInt64
    /// The serial number that is the whole name of subject and issuer.
    package var subject: String
    package var notBefore: WallTime
    package var notAfter: WallTime
    package var extensions: [(name: String, isCritical: Bool, value: Bytes)] = []

    package init(serial: UInt64, subject: String, notBefore: WallTime, notAfter: WallTime) {
        (self.serial, self.subject, self.notBefore, self.notAfter) = (serial, subject, notBefore, notAfter)
    }
}

extension SigningKey {
    /// An ECDSA key over P-256. Its first bit does not count: with it, a few numbers would be beyond the curve's order.
    package init?(p256 scalar: some Collection<UInt8>) {
        guard scalar.count == 32, scalar.contains(where: { $0 != 0 }) else { return nil }
        var scalar = Bytes(scalar)
        scalar[0] &= 0x7f
        // ECPrivateKey with the named curve prime256v1 (SEC 1, RFC 5915).
        let header: Bytes = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20]
        self.init(der: header + scalar + [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07])
    }

    /// Of this key, signed by it.
    package func certificate(_ terms: CertificateTerms) -> Certificate? {
        guard let handle = CertificateHandle(X509_new()) else { return nil }
        let new = handle.pointer
        X509_set_version(new, 2)
        guard ASN1_INTEGER_set_uint64(X509_get_serialNumber(new), terms.serial) == 1,
            ASN1_TIME_set(X509_getm_notBefore(new), time_t(terms.notBefore.seconds)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(new), time_t(terms.notAfter.seconds)) != nil,
            X509_set_pubkey(new, self.handle.pointer) == 1, let name = X509_get_subject_name(new),
            X509_NAME_add_entry_by_txt(name, "serialNumber", MBSTRING_ASC, terms.subject, -1, -1, 0) == 1,
            X509_set_issuer_name(new, name) == 1
        else { return nil }
        for each in terms.extensions where !SigningKey.add(each.name, each.isCritical, each.value, to: new) { return nil }
        guard X509_sign(new, self.handle.pointer, isHashed ? EVP_sha256() : nil) > 0 else { return nil }
        return Certificate(handle)
    }

    private static func add(_ name: String, _ isCritical: Bool, _ value: Bytes, to certificate: OpaquePointer) -> Bool {
        guard let object = OBJ_txt2obj(name, 1), let octets = ASN1_OCTET_STRING_new() else { return false }
        defer {
            ASN1_OBJECT_free(object)
            ASN1_OCTET_STRING_free(octets)
        }
        ASN1_OCTET_STRING_set(octets, value, Int32(value.count))
        guard let made = X509_EXTENSION_create_by_OBJ(nil, object, isCritical ? 1 : 0, octets) else { return false }
        defer { X509_EXTENSION_free(made) }
        return X509_add_ext(certificate, made, -1) == 1
    }
}
