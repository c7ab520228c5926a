// A certificate that says which peer it stands for: made for this host, and read from others. TLS-02..05.

import Crypto
import Kernel
import Multiformats

package enum TLSCertificate {
    /// TLS-03.
    package static let keyExtension = "1.3.6.1.4.1.53594.1.1"
    private static let signaturePrefix = Bytes("libp2p-tls-handshake:".utf8)
    /// A P-256 key, the serial numbers of certificate and subject.
    package static let entropyBytes = 32 + 8 + 8
    /// Clocks differ.
    private static let leeway = Span.hours(1)
    /// About as long as upstream's.
    private static let lifetime = Span.hours(100 * 365 * 24)

    /// What a host shows from its start to its end (TLS-02).
    package static func credentials(of identity: IdentityKey, entropy: Bytes, now: WallTime) -> TLSCredentials {
        invariant(entropy.count >= entropyBytes, "a certificate needs \(entropyBytes) random bytes")
        let numbers = entropy[(entropy.startIndex + 32)...]
        var terms = CertificateTerms(
            serial: positive(numbers.prefix(8)), subject: String(positive(numbers.dropFirst(8).prefix(8))),
            notBefore: now + (.zero - leeway), notAfter: now + lifetime)
        guard let key = SigningKey(p256: entropy.prefix(32)), let spki = key.verifyingKey.subjectPublicKeyInfo else {
            unreachable("entropy without randomness, or OpenSSL without P-256")
        }
        terms.extensions = [(keyExtension, false, SignedKey(identity, certifying: spki).der)]
        guard let certificate = key.certificate(terms), let made = TLSCredentials(certificate, key: key) else {
            unreachable("OpenSSL makes no certificate")
        }
        return made
    }

    /// As upstream's, below 2^62.
    private static func positive(_ bytes: some Sequence<UInt8>) -> UInt64 {
        bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } >> 2
    }

    /// Whose certificate it is: exactly one, in DER (TLS-02, TLS-05).
    package static func identity(of chain: [Bytes], expecting: PeerID?, now: WallTime) throws(TransportError) -> PublicKey {
        guard chain.count == 1 else {
            throw TransportError("tls: the other side showed \(chain.count) certificates, and exactly one is allowed")
        }
        guard let certificate = Certificate(der: chain[0]) else {
            throw TransportError("tls: the other side's certificate cannot be read")
        }
        switch certificate.validity(at: now) {
        case .valid: break
        case .notYet: throw TransportError("tls: the other side's certificate is not valid yet: do both clocks agree?")
        case .expired: throw TransportError("tls: the other side's certificate has expired: do both clocks agree?")
        }
        if let name = certificate.unknownCritical(besides: keyExtension) {
            throw TransportError("tls: the other side's certificate has the unknown critical extension \(name)")
        }
        guard certificate.isSelfSigned else {
            throw TransportError("tls: the other side's certificate is not signed by its own key, or too weakly")
        }
        guard let value = certificate.value(of: keyExtension) else {
            throw TransportError("tls: the other side's certificate names no peer")
        }
        return try SignedKey(der: value).identity(certifying: certificate.subjectPublicKeyInfo, expecting: expecting)
    }

    /// What the extension holds: SEQUENCE { OCTET STRING key, OCTET STRING signature } (TLS-03).
    package struct SignedKey: Equatable, Sendable {
        package var identityKey: Bytes
        package var signature: Bytes

        package init(identityKey: Bytes, signature: Bytes) {
            self.identityKey = identityKey
            self.signature = signature
        }

        /// `spki` is the SubjectPublicKeyInfo of the certificate's key (TLS-04).
        package init(_ identity: IdentityKey, certifying spki: Bytes) {
            identityKey = identity.publicKey.protobuf
            signature = identity.sign(signaturePrefix + spki)
        }

        package init(der: Bytes) throws(TransportError) {
            var rest = der[...]
            guard var body = takeDER(0x30, &rest), rest.isEmpty, let key = takeDER(0x04, &body),
                let signature = takeDER(0x04, &body), body.isEmpty
            else { throw TransportError("tls: the key in the other side's certificate cannot be read") }
            self.init(identityKey: Bytes(key), signature: Bytes(signature))
        }

        package var der: Bytes { madeDER(0x30, madeDER(0x04, identityKey) + madeDER(0x04, signature)) }

        /// The key that signed the certificate's key.
        package func identity(certifying spki: Bytes, expecting: PeerID?) throws(TransportError) -> PublicKey {
            let key: PublicKey
            do { key = try PublicKey(protobuf: identityKey) } catch {
                throw TransportError("tls: the other side showed no usable identity key: \(error)")
            }
            if let expecting, key.peerID != expecting {
                throw TransportError("peer id mismatch: expected \(expecting), but remote key matches \(key.peerID)")
            }
            guard key.verify(signature, of: signaturePrefix + spki) else {
                throw TransportError("tls: the signature of \(key.peerID) over its certificate's key is invalid")
            }
            return key
        }
    }
}

// MARK: DER (X.690), as much as is needed

/// The content of one element of this kind. Nil for anything else, lengths that are longer than they need be included.
private func takeDER(_ tag: UInt8, _ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard rest.popFirst() == tag, let first = rest.popFirst() else { return nil }
    var count = Int(first)
    if first >= 0x80 {
        let width = Int(first & 0x7f)
        guard (1...4).contains(width), rest.count >= width, rest.first != 0 else { return nil }
        count = rest.prefix(width).reduce(0) { $0 << 8 | Int($1) }
        rest = rest.dropFirst(width)
        if count < 0x80 { return nil }
    }
    guard rest.count >= count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
}

private func madeDER(_ tag: UInt8, _ content: Bytes) -> Bytes {
    var length: Bytes = []
    if content.count < 0x80 { length = [UInt8(content.count)] } else {
        var count = content.count
        while count > 0 {
            length.insert(UInt8(count & 0xff), at: 0)
            count >>= 8
        }
        length.insert(0x80 | UInt8(length.count), at: 0)
    }
    return [tag] + length + content
}
