// The private network (pnet PSK v1): everything on the socket is XORed with a keystream that only the holders of the cluster
// secret know. It proves nothing and hides little; it keeps strangers from talking. PNET-01..08.

import Kernel

package struct PrivateNetwork: Sendable {
    private let key: Bytes
    /// Sent in clear before our first byte (PNET-05).
    private let nonce: Bytes
    private var outgoing: XSalsa20?
    private var incoming: XSalsa20?
    /// What has come of the other side's nonce.
    private var theirNonce: Bytes = []

    package init(key: Bytes, nonce: Bytes) {
        invariant(key.count == XSalsa20.keyBytes, "a cluster secret has 32 bytes, got \(key.count)")
        self.key = key
        self.nonce = nonce
    }

    /// What goes on the wire for these bytes.
    package mutating func sealed(_ bytes: Bytes) -> Bytes {
        if bytes.isEmpty { return [] }
        var bytes = bytes
        if outgoing != nil {
            outgoing?.apply(to: &bytes)
            return bytes
        }
        outgoing = XSalsa20(key: key, nonce: nonce)
        outgoing?.apply(to: &bytes)
        return nonce + bytes
    }

    /// What the other side meant by these bytes from the wire.
    package mutating func opened(_ bytes: Bytes) -> Bytes {
        var bytes = bytes
        if incoming == nil {
            let missing = min(XSalsa20.nonceBytes - theirNonce.count, bytes.count)
            theirNonce += bytes[..<missing]
            bytes.removeFirst(missing)
            if theirNonce.count < XSalsa20.nonceBytes { return [] }
            incoming = XSalsa20(key: key, nonce: theirNonce)
        }
        incoming?.apply(to: &bytes)
        return bytes
    }
}
