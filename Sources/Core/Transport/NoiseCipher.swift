// The cipher and symmetric states of the Noise protocol framework, revision 34, sections 5.1 and 5.2, for
// 25519_ChaChaPoly_SHA256.

import Crypto
import Kernel

/// One direction's key and message counter.
package struct NoiseCipher: Sendable {
    private let cipher: ChaChaPoly
    private var counter: UInt64
    package static let tagBytes = ChaChaPoly.tagBytes

    package init(key: Bytes, counter: UInt64 = 0) {
        cipher = ChaChaPoly(key: key)
        self.counter = counter
    }

    /// NOISE-12. The last value is reserved.
    private mutating func nextNonce() throws(TransportError) -> UInt64 {
        guard counter < .max else { throw TransportError("noise: a key has sealed as many messages as it may") }
        defer { counter += 1 }
        return counter
    }

    package mutating func seal(
        _ plain: ArraySlice<UInt8>, authenticating data: Bytes = [], into out: inout Bytes
    ) throws(TransportError) {
        let nonce = try nextNonce()
        cipher.seal(plain, nonce: nonce, authenticating: data, into: &out)
    }

    package mutating func open(
        _ sealed: ArraySlice<UInt8>, authenticating data: Bytes = [], into out: inout Bytes
    ) throws(TransportError) {
        let nonce = try nextNonce()
        guard cipher.open(sealed, nonce: nonce, authenticating: data, into: &out) else {
            throw TransportError("noise: a message was changed on its way")
        }
    }
}

/// Chaining key and transcript hash of a handshake.
struct NoiseSymmetricState: Sendable {
    /// Just 32 bytes, so it is the first hash itself (NOISE-01).
    static let protocolName = Bytes("Noise_XX_25519_ChaChaPoly_SHA256".utf8)

    private var chainingKey = Self.protocolName
    private(set) var transcript = Self.protocolName
    private var cipher: NoiseCipher?

    mutating func mixHash(_ data: some Collection<UInt8>) { transcript = sha256(transcript + data) }

    mutating func mixKey(_ secret: Bytes) {
        let (next, key) = derive(secret)
        chainingKey = next
        cipher = NoiseCipher(key: key)
    }

    /// HKDF with two outputs.
    private func derive(_ secret: Bytes) -> (Bytes, Bytes) {
        let temporary = hmac(.sha256, key: chainingKey, secret)
        let first = hmac(.sha256, key: temporary, [1])
        return (first, hmac(.sha256, key: temporary, first + [2]))
    }

    mutating func encryptAndHash(_ plain: Bytes) throws(TransportError) -> Bytes {
        var out: Bytes = []
        if cipher == nil { out = plain } else { try cipher?.seal(plain[...], authenticating: transcript, into: &out) }
        mixHash(out)
        return out
    }

    mutating func decryptAndHash(_ sealed: ArraySlice<UInt8>) throws(TransportError) -> Bytes {
        var plain: Bytes = []
        if cipher == nil { plain = Bytes(sealed) } else { try cipher?.open(sealed, authenticating: transcript, into: &plain) }
        mixHash(sealed)
        return plain
    }

    /// The keys of the initiator's and of the responder's direction.
    func split() -> (Bytes, Bytes) { derive([]) }
}
