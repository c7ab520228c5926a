// What the two sides tell each other inside the handshake: who they are, and which muxers they know. NOISE-06..10.

import Encoding
import Kernel
import Multiformats

package struct NoisePayload: Equatable, Sendable {
    package var identityKey: Bytes
    package var signature: Bytes
    /// Nil where the extensions are left out.
    package var muxers: [String]?

    private static let signaturePrefix = Bytes("noise-libp2p-static-key:".utf8)
    private static let muxersLimit = 100

    package init(key: IdentityKey, staticKey: Bytes, muxers: [String]) {
        identityKey = key.publicKey.protobuf
        signature = key.sign(NoisePayload.signaturePrefix + staticKey)
        self.muxers = muxers.isEmpty ? nil : muxers
    }

    package var encoded: Bytes {
        var writer = ProtobufWriter()
        writer.explicit(1, bytes: identityKey)
        writer.explicit(2, bytes: signature)
        if let muxers {
            writer.message(4) { inner in for muxer in muxers { inner.explicit(2, string: muxer) } }
        }
        return writer.bytes
    }

    package init(decoding bytes: Bytes) throws(TransportError) {
        identityKey = []
        signature = []
        do {
            var reader = ProtobufReader(bytes)
            while let field = try reader.next() {
                switch field.number {
                case 1: identityKey = Bytes(try field.bytes())
                case 2: signature = Bytes(try field.bytes())
                case 4:
                    var inner = try field.message()
                    var names: [String] = muxers ?? []
                    while let extra = try inner.next() { if extra.number == 2 { names.append(try extra.string()) } }
                    muxers = names
                default: break
                }
            }
        } catch { throw TransportError("noise: malformed handshake payload: \(error)") }
        if let names = muxers, names.count > NoisePayload.muxersLimit { muxers = nil }
    }

    /// The key that signed the static key of this session (NOISE-08).
    package func identity(staticKey: Bytes, expecting: PeerID?) throws(TransportError) -> PublicKey {
        let key: PublicKey
        do { key = try PublicKey(protobuf: identityKey) } catch {
            throw TransportError("noise: the other side showed no usable identity key: \(error)")
        }
        if let expecting, key.peerID != expecting {
            throw TransportError("peer id mismatch: expected \(expecting), but remote key matches \(key.peerID)")
        }
        guard key.verify(signature, of: NoisePayload.signaturePrefix + staticKey) else {
            throw TransportError("noise: the signature of \(key.peerID) over its session key is invalid")
        }
        return key
    }
}
