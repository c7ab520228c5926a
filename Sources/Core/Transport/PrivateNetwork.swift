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

    /// Makes of these bytes what goes on the wire for them.
    package mutating func seal(_ bytes: inout Bytes) {
        if bytes.isEmpty { return }
        let isFirst = outgoing == nil
        if isFirst { outgoing = XSalsa20(key: key, nonce: nonce) }
        outgoing?.apply(to: &bytes)
        if isFirst { bytes = nonce + bytes }
    }

    /// What the other side meant by these bytes from the wire.
    package mutating func opened(_ bytes: Bytes) -> Bytes {
        var start = 0
        if incoming == nil {
            start = min(XSalsa20.nonceBytes - theirNonce.count, bytes.count)
            theirNonce += bytes[..<start]
            if theirNonce.count < XSalsa20.nonceBytes { return [] }
            incoming = XSalsa20(key: key, nonce: theirNonce)
        }
        var out: Bytes = []
        bytes.withUnsafeBytes { source in
            out.append(bytes.count - start) { incoming?.apply(UnsafeRawBufferPointer(rebasing: source[start...]), to: $0) }
        }
        return out
    }
}
