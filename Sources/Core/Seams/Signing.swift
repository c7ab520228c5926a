// The seam between pubsub and the identity of a peer. The simulator has a cheap one.

import Kernel
import Multiformats

package protocol MessageSigner: Sendable {
    /// The public key's protobuf, to be sent along where our peer ID does not hold the key itself (GS-14). Else nil.
    var attachedKey: Bytes? { get }
    func sign(_ message: Bytes) -> Bytes
    /// `key` is what came with the message; if present it must be the key of `author`.
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool
}

/// Signs with the peer's own key.
package struct IdentitySigner: MessageSigner {
    private let key: IdentityKey
    package init(key: IdentityKey) { self.key = key }
    package var attachedKey: Bytes? { key.peerID.publicKey == nil ? key.publicKey.protobuf : nil }
    package func sign(_ message: Bytes) -> Bytes { key.sign(message) }
    package func verify(_ message: Bytes, signature: Bytes, author: PeerID, key attached: Bytes?) -> Bool {
        let shown = attached.flatMap { try? PublicKey(protobuf: $0) }
        if attached != nil && shown?.peerID != author { return false }
        guard let key = shown ?? author.publicKey else { return false }
        return key.verify(signature, of: message)
    }
}
