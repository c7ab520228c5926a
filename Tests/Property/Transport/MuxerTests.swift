// How the muxer is agreed on: inside the handshake where both sides can (NOISE-10, TLS-06), else by multistream behind it (SEC-05).

import Crypto
import Kernel
import Multiformats
import Testing
import Transport

/// The other end of a connection, with muxers of its own and no muxer behind it.
private struct Stranger {
    enum Channel {
        case noise(Noise)
        case tls(TLSChannel)
    }
    enum Kind: CaseIterable { case noise, tls }

    private var channel: Channel
    private var security: Multistream?
    private(set) var plain: Bytes = []
    private let name: String
    private let isDialler: Bool

    init(_ kind: Kind, isDialler: Bool, muxers: [String]) {
        self.isDialler = isDialler
        switch kind {
        case .noise:
            name = Noise.protocolID
            channel = .noise(Noise(
                role: isDialler ? .initiator(expecting: keyB.peerID) : .responder, identity: keyA, staticKey: Bytes(0..<32),
                ephemeralKey: Bytes(32..<64), muxers: muxers))
        case .tls:
            name = TLSChannel.protocolID
            let credentials = TLSCertificate.credentials(of: keyA, entropy: Bytes(0..<48), now: at(0).wall)
            channel = .tls(TLSChannel(role: isDialler ? .dialler(expecting: keyB.peerID) : .listener, credentials: credentials, muxers: muxers))
        }
        security = isDialler ? Multistream(proposing: [name]) : Multistream(accepting: [name])
    }

    var opening: Bytes { security?.opening ?? [] }

    var peer: SecuredPeer? {
        switch channel {
        case .noise(let noise): noise.peer
        case .tls(let tls): tls.peer
        }
    }

    mutating func receive(_ bytes: Bytes) throws -> Bytes {
        var reply: Bytes = [], bytes = bytes
        if var selection = security {
            guard case .agreed(_, let rest)? = try selection.receive(bytes[...], reply: &reply) else {
                security = selection
                return reply
            }
            security = nil
            bytes = rest
            switch channel {
            case .noise(var noise):
                reply += try noise.start()
                channel = .noise(noise)
            case .tls(var tls):
                reply += try tls.start()
                channel = .tls(tls)
            }
        }
        switch channel {
        case .noise(var noise):
            try noise.receive(bytes, reply: &reply, plain: &plain)
            channel = .noise(noise)
        case .tls(var tls):
            try tls.receive(bytes, now: at(0).wall, reply: &reply, plain: &plain)
            channel = .tls(tls)
        }
        return reply
    }

    mutating func seal(_ bytes: Bytes) throws -> Bytes {
        var out: Bytes = []
        switch channel {
        case .noise(var noise):
            try noise.seal(bytes, into: &out)
            channel = .noise(noise)
        case .tls(var tls):
            try tls.seal(bytes, into: &out)
            channel = .tls(tls)
        }
        return out
    }

    mutating func takePlain() -> Bytes {
        defer { plain = [] }
        return plain
    }
}

@Suite struct MuxerTests {
    private func ours(isDialler: Bool) -> End {
        var end = End(machine: Connection(
            role: isDialler ? .dialler(expecting: keyA.peerID) : .listener, key: keyB, networkKey: nil, entropy: Bytes(0..<88), protocols: [],
            securities: Security.all(for: keyB, entropy: { Bytes(repeating: 3, count: $0) }, now: at(0).wall), now: at(0)))
        end.run { $0.start(now: at(0), effects: &$1) }
        return end
    }

    private func talk(_ end: inout End, _ stranger: inout Stranger, saying first: Bytes) throws {
        var toUs = first
        while !toUs.isEmpty || !end.wire.isEmpty {
            let (bytes, wire) = (toUs, end.wire)
            end.wire = []
            end.run { $0.onWritten(wire.count, now: at(0), effects: &$1) }
            end.run { $0.onBytes(bytes, now: at(0), effects: &$1) }
            toUs = wire.isEmpty ? [] : try stranger.receive(wire)
        }
    }

    @Test(arguments: [false, true], [
        ([], false), (["/mplex/6.7.0"], false), (["/mplex/6.7.0", "/yamux/1.0.0"], true), (["/yamux/1.0.0"], true),
    ] as [([String], Bool)])
    func theMuxerIsAgreedEarlyOrLate(_ isDialler: Bool, _ muxers: ([String], isEarly: Bool)) throws {
        for kind in Stranger.Kind.allCases {
            var stranger = Stranger(kind, isDialler: !isDialler, muxers: muxers.0)
            var end = ours(isDialler: isDialler)
            try talk(&end, &stranger, saying: stranger.opening)
            #expect(stranger.peer?.key == keyB.publicKey && stranger.peer?.muxer == (muxers.isEarly ? "/yamux/1.0.0" : nil), "\(kind)")
            #expect(end.seen == (muxers.isEarly ? [.secured(keyA.publicKey)] : []), "\(kind): \(end.seen)")
            if muxers.isEarly {
                #expect(stranger.takePlain() == [], "\(kind)")
                continue
            }
            // The whole negotiation once more, sealed.
            var selection = isDialler ? Multistream(accepting: ["/yamux/1.0.0"]) : Multistream(proposing: ["/mplex/6.7.0", "/yamux/1.0.0"])
            try talk(&end, &stranger, saying: try stranger.seal(selection.opening))
            var rounds = 0
            while rounds < 3, end.seen.isEmpty {
                rounds += 1
                var reply: Bytes = []
                _ = try selection.receive(stranger.takePlain()[...], reply: &reply)
                if !reply.isEmpty { try talk(&end, &stranger, saying: try stranger.seal(reply)) }
            }
            #expect(end.seen == [.secured(keyA.publicKey)], "\(kind) \(isDialler): \(end.seen)")
        }
    }

    @Test func noMuxerInCommonIsNamed() throws {
        for kind in Stranger.Kind.allCases {
            var stranger = Stranger(kind, isDialler: false, muxers: [])
            var end = ours(isDialler: true)
            try talk(&end, &stranger, saying: stranger.opening)
            try talk(&end, &stranger, saying: try stranger.seal(Multistream.header + Multistream.token("na")))
            #expect(end.seen == [.close(reason: "the other side does not speak /yamux/1.0.0")], "\(kind)")
        }
    }

    /// Nobody is left half-way: the time for all of it is one.
    @Test func theLateNegotiationHasALimit() throws {
        for kind in Stranger.Kind.allCases {
            var stranger = Stranger(kind, isDialler: true, muxers: [])
            var end = ours(isDialler: false)
            try talk(&end, &stranger, saying: stranger.opening)
            #expect(end.machine.nextDeadline == at(15_000).monotonic && !end.machine.isOpen, "\(kind)")
            end.run { $0.onTime(now: at(15_000), effects: &$1) }
            #expect(end.closing == "handshake timed out", "\(kind)")
        }
    }

    // MARK: ALPN

    /// What a listener of ours makes of a client with these application protocols, and what the client hears.
    private func alpn(_ protocols: [String]) throws -> (muxer: String?, agreed: String?) {
        let credentials = TLSCertificate.credentials(of: keyA, entropy: Bytes(0..<48), now: at(0).wall)
        var server = TLSChannel(role: .listener, credentials: credentials, muxers: ["/yamux/1.0.0", "/other/1"])
        let client = TLSEngine(credentials, .client, protocols: protocols)
        var toServer: Bytes = [], toClient: Bytes = [], plain: Bytes = []
        try client.start(into: &toServer)
        while !toServer.isEmpty || !toClient.isEmpty {
            let (up, down) = (toServer, toClient)
            (toServer, toClient) = ([], [])
            try server.receive(up, now: at(0).wall, reply: &toClient, plain: &plain)
            try client.receive(down, into: &toServer, plain: &plain) { _ in true }
        }
        #expect(server.peer?.key == keyA.publicKey && client.isEstablished)
        return (server.peer?.muxer, client.agreed)
    }

    @Test func theClientsFirstMuxerIsTaken() throws {
        #expect(try alpn(["/yamux/1.0.0", "libp2p"]) == ("/yamux/1.0.0", "/yamux/1.0.0"))
        #expect(try alpn(["/other/1", "/yamux/1.0.0", "libp2p"]) == ("/other/1", "/other/1"))
        #expect(try alpn(["/mplex/6.7.0", "libp2p"]) == (nil, "libp2p"))
        #expect(try alpn(["libp2p"]) == (nil, "libp2p"))
        // As upstream: a muxer is better than none, wherever it stands; and nothing at all is no reason to refuse.
        #expect(try alpn(["libp2p", "/yamux/1.0.0"]) == ("/yamux/1.0.0", "/yamux/1.0.0"))
        #expect(try alpn([]) == (nil, nil))
        #expect(throws: TransportError("tls: no application protocol")) { try alpn(["h2", "http/1.1"]) }
    }
}
