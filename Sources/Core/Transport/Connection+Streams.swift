// The streams of a connection: what they are for is negotiated on each of them. MSS-06..09.

import Kernel

extension Connection {
    /// A stream whose protocol is not agreed yet.
    struct Negotiation: Sendable {
        let isOutbound: Bool
        var selection: Multistream
        /// Whether what is sent may follow the proposal at once (MSS-07).
        let isLazy: Bool
        var held: [Bytes] = []
        var isEndWanted = false
    }

    /// Opens a stream for the first of the protocols that the other side supports. If it is `known` to support the
    /// first, or only one is proposed, what is sent need not wait for the answer. Nil if the connection can carry no more.
    package mutating func open(
        _ protocols: [String], known: Bool = false, now: Now, effects: inout [Effect]
    ) -> SubstreamID? {
        guard isOpen, let id = muxer.open() else { return nil }
        let selection = Multistream(proposing: protocols)
        negotiations[id] = Negotiation(isOutbound: true, selection: selection, isLazy: known || protocols.count == 1)
        negotiationDeadlines.append((now.monotonic + settings.negotiationTimeout, id))
        muxer.send(id, selection.opening)
        flush(now, &effects)
        return id
    }

    package mutating func send(_ id: SubstreamID, _ bytes: Bytes, now: Now, effects: inout [Effect]) {
        guard isOpen, muxer.isLive(id), !bytes.isEmpty else { return }
        if let negotiation = negotiations[id], !negotiation.isLazy {
            negotiations[id]?.held.append(bytes)
        } else {
            owedDrains[id] = .max
            muxer.send(id, bytes)
        }
        flush(now, &effects)
    }

    package mutating func closeWrite(_ id: SubstreamID, now: Now, effects: inout [Effect]) {
        guard isOpen else { return }
        if let negotiation = negotiations[id], !negotiation.isLazy {
            negotiations[id]?.isEndWanted = true
        } else {
            muxer.closeWrite(id)
        }
        flush(now, &effects)
    }

    /// What the other side has credit for still comes while a stream is held, and no more.
    package mutating func hold(_ id: SubstreamID, _ isHeld: Bool, now: Now, effects: inout [Effect]) {
        guard isOpen else { return }
        muxer.hold(id, isHeld)
        flush(now, &effects)
    }

    /// Ends both directions; nothing further is reported for this stream.
    package mutating func reset(
        _ id: SubstreamID, code: UInt32 = ResetCode.none, now: Now, effects: inout [Effect]
    ) {
        guard isOpen else { return }
        drop(id, code)
        flush(now, &effects)
    }

    private mutating func drop(_ id: SubstreamID, _ code: UInt32) {
        negotiations[id] = nil
        owedDrains[id] = nil
        dropped.insert(id)
        muxer.reset(id, code: code)
    }

    mutating func expireNegotiations(_ now: Now, _ effects: inout [Effect]) {
        while let next = negotiationDeadlines.first, next.at <= now.monotonic {
            _ = negotiationDeadlines.popFirst()
            if negotiations[next.stream] != nil {
                failNegotiation(next.stream, "no protocol agreed in time", &effects)
            }
        }
    }

    /// An inbound stream that never became one is nobody's business.
    private mutating func failNegotiation(_ id: SubstreamID, _ reason: String, _ effects: inout [Effect]) {
        let isOutbound = negotiations[id]?.isOutbound == true
        drop(id, ResetCode.negotiationFailed)
        if isOutbound { effects.append(.failed(id, reason: reason)) }
    }

    // MARK: What the muxer tells

    mutating func onEvent(_ event: Yamux.Event, _ now: Now, _ effects: inout [Effect]) {
        if let stream = event.stream, dropped.contains(stream), event != .incoming(stream) { return }
        switch event {
        case .incoming(let id):
            dropped.remove(id)
            let selection = Multistream(accepting: protocols)
            negotiations[id] = Negotiation(isOutbound: false, selection: selection, isLazy: true)
            negotiationDeadlines.append((now.monotonic + settings.negotiationTimeout, id))
            muxer.send(id, selection.opening)
        case .received(let id, let bytes):
            if negotiations[id] != nil { negotiate(id, bytes, &effects) }
            else { effects.append(.received(id, bytes)) }
        case .remoteClosed(let id):
            if negotiations[id] != nil {
                failNegotiation(id, "the other side closed the stream before a protocol was agreed", &effects)
            } else {
                effects.append(.remoteClosed(id))
            }
        case .reset(let id, let code): onReset(id, code, &effects)
        case .goAway(let code): end("the other side ended the connection: \(GoAwayCode.describe(code))", &effects)
        case .pong, .emptied: break
        }
    }

    private mutating func onReset(_ id: SubstreamID, _ code: UInt32, _ effects: inout [Effect]) {
        owedDrains[id] = nil
        guard let negotiation = negotiations.removeValue(forKey: id) else { return effects.append(.reset(id)) }
        guard negotiation.isOutbound else { return }
        let reason = switch code {
        case ResetCode.none: "stream reset by the other side"
        case ResetCode.negotiationFailed: Connection.unsupported
        default: "stream reset by the other side (code 0x\(String(code, radix: 16)))"
        }
        effects.append(.failed(id, reason: reason))
    }

    private static let unsupported = "protocols not supported"

    private mutating func negotiate(_ id: SubstreamID, _ bytes: Bytes, _ effects: inout [Effect]) {
        var reply: Bytes = []
        let outcome: Multistream.Outcome?
        do { outcome = try negotiations[id]?.selection.receive(bytes[...], reply: &reply) } catch {
            return failNegotiation(id, error.reason, &effects)
        }
        if negotiations[id]?.isOutbound == true, negotiations[id]?.isLazy == true, !reply.isEmpty {
            // The payload is already under way to a protocol that was refused (MSS-07).
            return failNegotiation(id, Connection.unsupported, &effects)
        }
        muxer.send(id, reply)
        switch outcome {
        case nil: break
        case .refused?: failNegotiation(id, Connection.unsupported, &effects)
        case .agreed(let name, let rest)?: agree(id, name, rest, &effects)
        }
    }

    private mutating func agree(_ id: SubstreamID, _ name: String, _ rest: Bytes, _ effects: inout [Effect]) {
        guard let negotiation = negotiations.removeValue(forKey: id) else { return }
        effects.append(negotiation.isOutbound ? .opened(id, protocol: name) : .incoming(id, protocol: name))
        for bytes in negotiation.held {
            owedDrains[id] = .max
            muxer.send(id, bytes)
        }
        if negotiation.isEndWanted { muxer.closeWrite(id) }
        if !rest.isEmpty { effects.append(.received(id, rest)) }
    }
}
