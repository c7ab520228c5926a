// Identity keys and their libp2p protobuf forms. spec/wire-transport.md KEY-01..13, PID-01..05.

import Crypto
import Encoding
import Kernel

/// KEY-02.
package enum KeyType: UInt64, Sendable, CaseIterable {
    case rsa = 0
    case ed25519 = 1
    case secp256k1 = 2
    case ecdsa = 3
}

/// `Type` and `Data`, both always written (KEY-01).
private func keyProtobuf(_ type: KeyType, _ data: Bytes) -> Bytes {
    var writer = ProtobufWriter()
    writer.explicit(1, varint: type.rawValue)
    writer.explicit(2, bytes: data)
    return writer.bytes
}

private func readKeyProtobuf(_ bytes: Bytes) throws(MultiformatError) -> (KeyType, Bytes) {
    var type: KeyType?
    var data: Bytes?
    do {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: type = KeyType(rawValue: try field.uint64())
            case 2: data = Bytes(try field.bytes())
            default: break
            }
        }
    } catch { throw .badKey("malformed key: \(error)") }
    guard let type, let data else { throw .badKey("a key needs a known type and data") }
    return (type, data)
}

/// A public key as peers show it.
package struct PublicKey: Hashable, Sendable {
    package let type: KeyType
    /// Ed25519: 32 bytes; secp256k1: 33; RSA and ECDSA: DER SubjectPublicKeyInfo.
    package let data: Bytes
    /// The protobuf form that peer IDs and signatures rest on.
    package let protobuf: Bytes

    package init(type: KeyType, data: Bytes) throws(MultiformatError) {
        self.type = type
        self.data = data
        protobuf = keyProtobuf(type, data)
        guard PublicKey.verifier(type, data) != nil else { throw .badKey("unusable \(type) public key") }
    }

    package init(protobuf bytes: some Sequence<UInt8>) throws(MultiformatError) {
        let (type, data) = try readKeyProtobuf(Bytes(bytes))
        try self.init(type: type, data: data)
    }

    private static func verifier(_ type: KeyType, _ data: Bytes) -> VerifyingKey? {
        switch type {
        case .ed25519: return VerifyingKey(ed25519: data)
        case .secp256k1: return VerifyingKey(secp256k1: data)
        case .ecdsa: return VerifyingKey(subjectPublicKeyInfo: data)
        case .rsa:
            let key = VerifyingKey(subjectPublicKeyInfo: data)
            return key.map { (2048...8192).contains($0.bits) } == true ? key : nil
        }
    }

    package func verify(_ signature: some Collection<UInt8>, of message: some Collection<UInt8>) -> Bool {
        PublicKey.verifier(type, data)?.verify(signature, of: message) ?? false
    }

    /// PID-01: short keys are in the ID itself.
    package var peerID: PeerID {
        let hash = protobuf.count <= 42
            ? Multihash(code: HashCode.identity, digest: protobuf) : Multihash.sha2_256(of: protobuf)
        return PeerID(hash)
    }
}

/// A private key: who this peer is.
package struct IdentityKey: Sendable {
    package let publicKey: PublicKey
    /// The PrivateKey protobuf, as identity.json holds it in base64 (KEY-08).
    package let protobuf: Bytes
    private let signer: SigningKey

    /// A new Ed25519 key from 32 random bytes.
    package init(seed: Bytes) throws(MultiformatError) {
        guard let signer = SigningKey(ed25519: seed), let raw = signer.verifyingKey.rawEd25519 else {
            throw .badKey("an Ed25519 seed has 32 bytes, got \(seed.count)")
        }
        self.init(
            signer: signer, publicKey: try PublicKey(type: .ed25519, data: raw),
            protobuf: keyProtobuf(.ed25519, seed + raw))
    }

    package init(protobuf bytes: Bytes) throws(MultiformatError) {
        let (type, data) = try readKeyProtobuf(bytes)
        if type == .ed25519 {
            try self.init(ed25519: data)
            return
        }
        let signer = type == .secp256k1 ? SigningKey(secp256k1: data) : SigningKey(der: data)
        guard let signer, let shown = IdentityKey.publicData(type, signer.verifyingKey, data) else {
            throw .badKey("unusable \(type) private key")
        }
        self.init(signer: signer, publicKey: try PublicKey(type: type, data: shown), protobuf: bytes)
        // Numbers that do not belong together make signatures that nobody accepts, or none at all.
        guard let signature = signer.sign(shown), publicKey.verify(signature, of: shown) else {
            throw .badKey("the parts of the \(type) private key do not belong together")
        }
    }

    private init(signer: SigningKey, publicKey: PublicKey, protobuf: Bytes) {
        self.signer = signer
        self.publicKey = publicKey
        self.protobuf = protobuf
    }

    /// KEY-03: seed and public key, which some writers repeat.
    private init(ed25519 data: Bytes) throws(MultiformatError) {
        guard data.count == 64 || data.count == 96 else { throw .badKey("an Ed25519 private key has 64 bytes, not \(data.count)") }
        try self.init(seed: Bytes(data[..<32]))
        guard publicKey.data.elementsEqual(data[32..<64]), data.count == 64 || publicKey.data.elementsEqual(data[64...]) else {
            throw .badKey("the public half of the Ed25519 key does not belong to the private half")
        }
    }

    private static func publicData(_ type: KeyType, _ key: VerifyingKey, _ data: Bytes) -> Bytes? {
        type == .secp256k1 ? secp256k1PublicKey(data) : key.subjectPublicKeyInfo
    }

    package var peerID: PeerID { publicKey.peerID }

    package func sign(_ message: some Collection<UInt8>) -> Bytes {
        guard let signature = signer.sign(message) else { unreachable("OpenSSL cannot sign with a key it has loaded") }
        return signature
    }

    /// Standard padded base64, as in identity.json.
    package init(base64 text: String) throws(MultiformatError) {
        guard let bytes = decodeBase64(text) else { throw .badKey("illegal base64 data") }
        try self.init(protobuf: bytes)
    }
    package var base64: String { encodeBase64(protobuf) }
}

package func encodeBase64(_ bytes: some Collection<UInt8>) -> String {
    let text = Multibase.base64.encode(bytes)
    return text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
}

/// Standard alphabet with padding. Nil for anything else.
package func decodeBase64(_ text: some StringProtocol) -> Bytes? {
    guard text.utf8.count % 4 == 0 else { return nil }
    var body = text[...]
    var padding = 0
    while body.last == "=", padding < 2 { body = body.dropLast(); padding += 1 }
    return Multibase.base64.decode(body)
}
