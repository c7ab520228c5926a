// What stands between the network and the muxer: Noise or TLS, as the two sides have agreed (SEC-02, SEC-03).

import Crypto
import Kernel
import Multiformats

/// What a finished handshake says of the other side.
package struct SecuredPeer: Equatable, Sendable {
    package let key: PublicKey
    /// Agreed on the way (NOISE-10, TLS-06); nil if multistream has to (SEC-05).
    package let muxer: String?
}

/// A way to secure a connection, and what it needs.
package enum Security: Sendable {
    case noise
    case tls(TLSCredentials)

    package var protocolID: String {
        switch self {
        case .noise: Noise.protocolID
        case .tls: TLSChannel.protocolID
        }
    }

    /// What upstream offers, in its order (SEC-02). `entropy` is asked for that many random bytes.
    package static func all(for identity: IdentityKey, entropy: (Int) -> Bytes, now: WallTime) -> [Security] {
        [.noise, .tls(TLSCertificate.credentials(of: identity, entropy: entropy(TLSCertificate.entropyBytes), now: now))]
    }
}

/// One of the two is there.
struct SecureChannel: Sendable {
    private var noise: Noise?
    private var tls: TLSChannel?
    init(_ noise: Noise) { self.noise = noise }
    init(_ tls: TLSChannel) { self.tls = tls }

    var protocolID: String { tls == nil ? Noise.protocolID : TLSChannel.protocolID }
    var peer: SecuredPeer? { noise?.peer ?? tls?.peer }

    /// What the dialler says first.
    mutating func start() throws(TransportError) -> Bytes {
        if let opening = try noise?.start() { return opening }
        return try tls?.start() ?? []
    }

    /// What is in `reply` is to be sent even if this throws.
    mutating func receive(
        _ bytes: Bytes, now: WallTime, reply: inout Bytes, plain: inout Bytes
    ) throws(TransportError) {
        try noise?.receive(bytes, reply: &reply, plain: &plain)
        try tls?.receive(bytes, now: now, reply: &reply, plain: &plain)
    }

    mutating func seal(_ plain: Bytes, into out: inout Bytes) throws(TransportError) {
        try noise?.seal(plain, into: &out)
        try tls?.seal(plain, into: &out)
    }

    /// Noise has no last word (NOISE-14).
    mutating func end(into out: inout Bytes) { tls?.end(into: &out) }
}
