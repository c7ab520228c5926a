// One connection to an authenticated peer: WebSocket if it is carried by that, private network, Noise or TLS, yamux, and a
// negotiation for every stream (LAY-01).
// Bytes and time go in, bytes and stream events come out.

import HTTP
import Kernel
import Multiformats

package struct Connection: Sendable {
    package enum Role: Equatable, Sendable {
        case dialler(expecting: PeerID)
        case listener
    }

    package enum Effect: Equatable, Sendable {
        /// For the socket. `onWritten` tells when they have left.
        case write(Bytes)
        /// The connection is over, its streams have been ended before. Nothing follows.
        case close(reason: String)
        /// Who is at the other end; streams may be opened from now on.
        case secured(PublicKey)
        case opened(SubstreamID, protocol: String)
        case failed(SubstreamID, reason: String)
        case incoming(SubstreamID, protocol: String)
        case received(SubstreamID, Bytes)
        case remoteClosed(SubstreamID)
        case reset(SubstreamID)
        case drained(SubstreamID)
    }

    /// How much of `entropy` is used: the network's nonce, two session keys.
    package static let entropyBytes = XSalsa20.nonceBytes + 32 + 32

    enum State {
        case selectingSecurity(Multistream)
        case securing
        case selectingMuxer(Multistream)
        case open
        case closed
    }

    let role: Role
    let settings: ConnectionSettings
    var protocols: [String]
    var state: State
    /// Nil on plain TCP.
    private var webSocket: WebSocket?
    /// What waits until the two sides have agreed on it.
    private var held: Bytes = []
    private var network: PrivateNetwork?
    private let isPrivate: Bool
    private let key: IdentityKey
    private let securities: [Security]
    /// Random bytes for the session's keys.
    private let sessionEntropy: Bytes
    /// Once the two sides have agreed on what it is.
    private var channel: SecureChannel?
    var muxer: Yamux

    /// Plain bytes of this turn, to be sealed at its end.
    private var clear: Bytes = []
    private var handshakeDeadline: Instant?
    var negotiations: [SubstreamID: Negotiation] = [:]
    /// In order, as every negotiation has the same time.
    var negotiationDeadlines = FIFO<(at: Instant, stream: SubstreamID)>()
    /// Streams that were sent to and have not been reported as drained, with the byte of the socket at which they will be.
    var owedDrains: [SubstreamID: Int] = [:]
    /// Streams ended by us while a batch of the muxer's events is handled: what it still tells of them is void.
    var dropped: Set<SubstreamID> = []
    /// At which byte of the socket a stream's last one leaves.
    private var marks = FIFO<(position: Int, stream: SubstreamID)>()
    private var emptied: [SubstreamID] = []
    private var producedBytes = 0
    private var writtenBytes = 0
    private var receivedBytes = 0
    private var lastHeard: Instant
    private var pingSentAt: Instant?
    private var pings: UInt32 = 0
    private var writeProgressAt: Instant

    /// `webSocket` is what carries it, where that is not plain TCP. `networkKey` is the cluster secret (PNET-01, PNET-02). `protocols` are what inbound streams may ask for. `securities` are
    /// proposed in their order, and whichever the other side proposes is taken (SEC-03).
    package init(
        role: Role, webSocket: WebSocket? = nil, key: IdentityKey, networkKey: Bytes?, entropy: Bytes, protocols: [String],
        securities: [Security] = [.noise], settings: ConnectionSettings = ConnectionSettings(), now: Now
    ) {
        invariant(entropy.count >= Connection.entropyBytes, "a connection needs \(Connection.entropyBytes) random bytes")
        self.role = role
        self.webSocket = webSocket
        self.settings = settings
        self.protocols = protocols
        let nonce = Bytes(entropy[..<XSalsa20.nonceBytes])
        network = networkKey.map { PrivateNetwork(key: $0, nonce: nonce) }
        isPrivate = networkKey != nil
        self.key = key
        self.securities = securities
        sessionEntropy = Bytes(entropy[XSalsa20.nonceBytes..<Connection.entropyBytes])
        let names = securities.map(\.protocolID)
        state = .selectingSecurity(role == .listener ? Multistream(accepting: names) : Multistream(proposing: names))
        muxer = Yamux(isClient: role != .listener, settings: settings)
        lastHeard = now.monotonic
        writeProgressAt = now.monotonic
        handshakeDeadline = now.monotonic + settings.handshakeTimeout
    }

    package var isOpen: Bool { if case .open = state { true } else { false } }
    package var isClosed: Bool { if case .closed = state { true } else { false } }
    /// The peer at the other end, once it has proven itself.
    package var peer: PublicKey? { channel?.peer?.key }
    /// What the two sides have agreed on to secure it.
    package var security: String? { channel?.protocolID }
    /// Streams that are not over.
    package var streamCount: Int { muxer.count }
    package var inboundStreamCount: Int { muxer.inboundCount }
    /// What the receive windows of its streams come to.
    package var windowBytes: Int { muxer.windowBytes }
    package mutating func allow(_ allowance: Yamux.Allowance) { muxer.allowance = allowance }
    private var unwrittenBytes: Int { producedBytes - writtenBytes }

    // MARK: Inputs

    /// Once, when the socket stands.
    package mutating func start(now: Now, effects: inout [Effect]) {
        if var opening = webSocket?.opening { write(&opening, now, &effects) }
        if case .selectingSecurity(let selection) = state { put(selection.opening, now, &effects) }
    }

    package mutating func onBytes(_ bytes: Bytes, now: Now, effects: inout [Effect]) {
        guard !isClosed, !bytes.isEmpty else { return }
        receivedBytes += bytes.count
        attempt(now, &effects) { this, effects throws(TransportError) in
            if this.webSocket == nil { return try this.onStream(bytes, now, &effects) }
            try this.onMessages(bytes, now, &effects)
        }
    }

    /// The socket ended.
    package mutating func onClosed(reason: String, now: Now, effects: inout [Effect]) {
        if isClosed { return }
        end(hinted("connection lost: \(reason)"), &effects)
    }

    /// The socket took so many of the bytes that `write` gave it.
    package mutating func onWritten(_ count: Int, now: Now, effects: inout [Effect]) {
        guard !isClosed else { return }
        writtenBytes += count
        invariant(writtenBytes <= producedBytes, "more bytes written than there were")
        writeProgressAt = now.monotonic
        while let mark = marks.first, mark.position <= writtenBytes {
            _ = marks.popFirst()
            guard owedDrains[mark.stream] == mark.position else { continue }
            owedDrains[mark.stream] = nil
            if muxer.isLive(mark.stream) { effects.append(.drained(mark.stream)) }
        }
        flush(now, &effects)
    }

    /// Ends the connection from this side, telling why (YMX-14).
    package mutating func close(code: UInt32, reason: String, now: Now, effects: inout [Effect]) {
        if isClosed { return }
        if isOpen, code != GoAwayCode.normal {
            muxer.goAway(code)
            flush(now, &effects)
        }
        if isClosed { return }
        var last: Bytes = []
        channel?.end(into: &last)
        put(&last, now, &effects)
        end(reason, &effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        if isClosed { return nil }
        var next = earliest(handshakeDeadline, negotiationDeadlines.first?.at)
        if isOpen { next = earliest(next, pingDeadline) }
        if unwrittenBytes > 0 { next = earliest(next, writeProgressAt + settings.writeStallTimeout) }
        return next
    }

    private var pingDeadline: Instant? {
        if settings.keepaliveInterval == .zero { return nil }
        return pingSentAt.map { $0 + settings.keepaliveTimeout } ?? (lastHeard + settings.keepaliveInterval)
    }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        if isClosed { return }
        if let deadline = handshakeDeadline, deadline <= now.monotonic {
            return end(hinted("handshake timed out"), &effects)
        }
        if unwrittenBytes > 0, writeProgressAt + settings.writeStallTimeout <= now.monotonic {
            return end("the other side takes no more bytes", &effects)
        }
        if isOpen, let deadline = pingDeadline, deadline <= now.monotonic {
            if pingSentAt != nil { return end("keepalive timeout: no answer to a ping", &effects) }
            pingSentAt = now.monotonic
            muxer.ping(pings)
            pings &+= 1
        }
        expireNegotiations(now, &effects)
        flush(now, &effects)
    }

    // MARK: The layers, outwards

    /// Plain handshake bytes: not sealed.
    private mutating func put(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        var bytes = bytes
        put(&bytes, now, &effects)
    }

    /// Changed in place, as they may be many.
    private mutating func put(_ bytes: inout Bytes, _ now: Now, _ effects: inout [Effect]) {
        if bytes.isEmpty { return }
        network?.seal(&bytes)
        if webSocket?.hasAgreed == false { return held += bytes }
        webSocket?.wrap(&bytes)
        write(&bytes, now, &effects)
    }

    private mutating func write(_ bytes: inout Bytes, _ now: Now, _ effects: inout [Effect]) {
        if bytes.isEmpty { return }
        if unwrittenBytes == 0 { writeProgressAt = now.monotonic }
        producedBytes += bytes.count
        effects.append(.write(bytes))
    }

    /// Lets the streams send and seals what this turn has produced.
    mutating func flush(_ now: Now, _ effects: inout [Effect]) {
        if isClosed { return }
        if isOpen {
            var events: [Yamux.Event] = []
            muxer.pump(budget: settings.writeQueueBytes - unwrittenBytes - clear.count, events: &events)
            for case .emptied(let stream) in events where owedDrains[stream] != nil { emptied.append(stream) }
            if clear.isEmpty { swap(&clear, &muxer.output) } else { clear += muxer.output }
            muxer.output.removeAll(keepingCapacity: !clear.isEmpty)  // whoever is silent keeps no buffer
        }
        if clear.isEmpty { return }
        var sealed: Bytes = []
        do { try channel?.seal(clear, into: &sealed) } catch { return end(error.reason, &effects) }
        clear.removeAll(keepingCapacity: isOpen)
        put(&sealed, now, &effects)
        for stream in emptied {
            marks.append((producedBytes, stream))
            owedDrains[stream] = producedBytes
        }
        emptied.removeAll()
        limitQueue(&effects)
    }

    private mutating func limitQueue(_ effects: inout [Effect]) {
        guard !isClosed, unwrittenBytes > settings.writeQueueBytesLimit else { return }
        end("the other side asks more than it reads: \(unwrittenBytes) bytes wait for it", &effects)
    }

    // MARK: The layers, inwards

    private mutating func attempt(
        _ now: Now, _ effects: inout [Effect],
        _ body: (inout Connection, inout [Effect]) throws(TransportError) -> Void
    ) {
        do {
            try body(&self, &effects)
            flush(now, &effects)
        } catch {
            if let code = error.goAway, isOpen {
                muxer.goAway(code)
                flush(now, &effects)
            }
            if !isClosed { end(hinted(error.reason), &effects) }
        }
    }

    private mutating func onMessages(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        var reply: Bytes = []
        var stream: Bytes = []
        var failure: WebSocketError?
        do { try webSocket?.receive(bytes, reply: &reply, payload: &stream) } catch { failure = error }
        write(&reply, now, &effects)
        if webSocket?.isOpen == true, !held.isEmpty {
            var waiting: Bytes = []
            swap(&waiting, &held)
            webSocket?.wrap(&waiting)
            write(&waiting, now, &effects)
        }
        try onStream(stream, now, &effects)
        if let failure { throw TransportError(failure.description) }
        limitQueue(&effects)
    }

    private mutating func onStream(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        if !bytes.isEmpty { try onClear(network?.opened(bytes) ?? bytes, now, &effects) }
    }

    private mutating func onClear(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        guard case .selectingSecurity(var selection) = state else { return try onSealed(bytes, now, &effects) }
        var reply: Bytes = []
        let outcome = try selection.receive(bytes[...], reply: &reply)
        put(reply, now, &effects)
        switch outcome {
        case nil: state = .selectingSecurity(selection)
        case .refused?:
            throw TransportError("the other side does not speak \(securities.map(\.protocolID).joined(separator: " or "))")
        case .agreed(let name, let rest)?:
            state = .securing
            channel = channel(of: name)
            put(try channel?.start() ?? [], now, &effects)
            try onSealed(rest, now, &effects)
        }
    }

    private func channel(of name: String) -> SecureChannel? {
        switch securities.first(where: { $0.protocolID == name }) {
        case .noise?:
            let noiseRole: Noise.Role = if case .dialler(let peer) = role { .initiator(expecting: peer) } else { .responder }
            return SecureChannel(Noise(
                role: noiseRole, identity: key, staticKey: Bytes(sessionEntropy.prefix(32)),
                ephemeralKey: Bytes(sessionEntropy.dropFirst(32)), muxers: [Yamux.protocolID]))
        case .tls(let credentials)?:
            return SecureChannel(TLSChannel(role: role, credentials: credentials, muxers: [Yamux.protocolID]))
        case nil: unreachable("\(name) was agreed on and is not known")
        }
    }

    private mutating func onSealed(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        var reply: Bytes = []
        var plain: Bytes = []
        let wasSecure = channel?.peer != nil
        var failure: TransportError?
        do { try channel?.receive(bytes, now: now.wall, reply: &reply, plain: &plain) } catch { failure = error }
        put(reply, now, &effects)
        if !wasSecure, let peer = channel?.peer { selectMuxer(peer, now, &effects) }
        // What was sealed well counts, though the rest was not: a reason for the end may be in it.
        try onPlain(plain, now, &effects)
        if let failure { throw failure }
        limitQueue(&effects)
    }

    private mutating func selectMuxer(_ peer: SecuredPeer, _ now: Now, _ effects: inout [Effect]) {
        if peer.muxer != nil { return becomeOpen(peer.key, &effects) }
        let selection = role == .listener
            ? Multistream(accepting: [Yamux.protocolID]) : Multistream(proposing: [Yamux.protocolID])
        clear += selection.opening
        state = .selectingMuxer(selection)
    }

    private mutating func becomeOpen(_ key: PublicKey, _ effects: inout [Effect]) {
        state = .open
        handshakeDeadline = nil
        effects.append(.secured(key))
    }

    private mutating func onPlain(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        if bytes.isEmpty { return }
        // Not what has come of a message that may never be whole: its length is not sealed (drill of seed 5007160).
        lastHeard = now.monotonic
        pingSentAt = nil
        guard case .selectingMuxer(var selection) = state else { return try onMuxed(bytes, now, &effects) }
        let outcome = try selection.receive(bytes[...], reply: &clear)
        switch outcome {
        case nil: state = .selectingMuxer(selection)
        case .refused?: throw TransportError("the other side does not speak \(Yamux.protocolID)")
        case .agreed(_, let rest)?:
            guard let peer = channel?.peer else { unreachable("a muxer before a peer") }
            becomeOpen(peer.key, &effects)
            try onMuxed(rest, now, &effects)
        }
    }

    private mutating func onMuxed(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) throws(TransportError) {
        var events: [Yamux.Event] = []
        var failure: TransportError?
        dropped.removeAll()
        do { try muxer.receive(bytes, events: &events) } catch { failure = error }
        for event in events {
            if isClosed { return }
            onEvent(event, now, &effects)
        }
        if let failure { throw failure }
    }

    // MARK: The end

    /// Before the other side has said anything that makes sense, the secrets are the first suspects (PNET-08).
    private func hinted(_ reason: String) -> String {
        guard case .selectingSecurity = state, webSocket?.hasAgreed != false else { return reason }
        if role == .listener && receivedBytes == 0 { return reason }  // a look at the port, from a monitor perhaps
        if isPrivate { return "\(reason): do both peers have the same cluster secret?" }
        return receivedBytes > 0 ? "\(reason): does the other peer have a cluster secret? This one has none" : reason
    }

    mutating func end(_ reason: String, _ effects: inout [Effect]) {
        state = .closed
        for stream in muxer.live {
            switch negotiations[stream]?.isOutbound {
            case true?: effects.append(.failed(stream, reason: reason))
            case false?: break
            case nil: effects.append(.reset(stream))
            }
        }
        negotiations.removeAll()
        if let last = webSocket?.close(), !last.isEmpty { effects.append(.write(last)) }
        effects.append(.close(reason: reason))
    }
}
