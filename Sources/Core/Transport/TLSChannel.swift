// libp2p's TLS 1.3 over a byte stream: the handshake says who is there and which muxer follows. TLS-01..07.

import Crypto
import Kernel
import Multiformats

/// Belongs to one connection, unlike other machines: a copy is the same session, as OpenSSL keeps it.
package struct TLSChannel: Sendable {
    package static let protocolID = "/tls/1.0.0"
    /// The application protocol of those who agree on the muxer later (TLS-06).
    private static let muxerLater = "libp2p"

    private let expected: PeerID?
    private let muxers: [String]
    private let engine: TLSEngine
    /// That of the certificate.
    private var key: PublicKey?
    /// Once the handshake is over.
    package private(set) var peer: SecuredPeer?

    /// `muxers` in the order of preference.
    package init(role: Connection.Role, credentials: TLSCredentials, muxers: [String]) {
        self.muxers = muxers
        let side: TLSEngine.Side
        switch role {
        case .dialler(let peer): (expected, side) = (peer, .client)
        case .listener: (expected, side) = (nil, .server)
        }
        engine = TLSEngine(credentials, side, protocols: muxers + [TLSChannel.muxerLater])
    }

    /// The client's first message; nothing for a server.
    package mutating func start() throws(TransportError) -> Bytes {
        var out: Bytes = []
        do { try engine.start(into: &out) } catch { throw TransportError("tls: \(error.reason)") }
        return out
    }

    /// Takes bytes of the stream. What is said in return is in `reply` even if this throws: it tells the other side why.
    package mutating func receive(
        _ bytes: Bytes, now: WallTime, reply: inout Bytes, plain: inout Bytes
    ) throws(TransportError) {
        var refusal: TransportError?
        defer { finish() }  // whatever comes behind the handshake
        do {
            try engine.receive(bytes, into: &reply, plain: &plain) { chain in
                do throws(TransportError) {
                    key = try TLSCertificate.identity(of: chain, expecting: expected, now: now)
                } catch { refusal = error }
                return refusal == nil
            }
        } catch { throw refusal ?? TransportError("tls: \(error.reason)") }
    }

    private mutating func finish() {
        guard peer == nil, engine.isEstablished else { return }
        guard let key else { unreachable("a TLS session without a certificate") }
        peer = SecuredPeer(key: key, muxer: engine.agreed.flatMap { muxers.contains($0) ? $0 : nil })
    }

    package mutating func seal(_ plain: Bytes, into out: inout Bytes) throws(TransportError) {
        do { try engine.seal(plain, into: &out) } catch { throw TransportError("tls: \(error.reason)") }
    }

    /// Tells the other side that nothing follows.
    package mutating func end(into out: inout Bytes) { engine.end(into: &out) }
}
