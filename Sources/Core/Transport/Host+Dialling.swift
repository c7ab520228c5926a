// From a peer's addresses to a connection with it. DIAL-01..05.

import Kernel
import Multiformats
import Seams

extension Host {
    /// The attempts at one peer.
    struct Dial: Sendable {
        /// Addresses still to be tried, and when, though the others have not failed.
        var remaining: [(address: Multiaddr, at: Instant)]
        var attempts: [SocketID] = []
        var failures: [String] = []
        /// Whether the core asked for it and is owed an answer; else only streams wait.
        var isReported: Bool
        /// In the order of their opening.
        var streams: [StreamID] = []
        let deadline: Instant
        /// There were too many attempts.
        var isHeldUntil: Instant?

        func nextDeadline(limit: Int) -> Instant? {
            guard let next = remaining.first, attempts.count < limit else { return deadline }
            return min(deadline, max(next.at, isHeldUntil ?? next.at))
        }
    }

    /// An address that failed (DIAL-04).
    struct BackOff: Sendable {
        var failures: Int64
        var until: Instant
    }

    package mutating func onEffect(_ effect: ConnectionEffect, now: Now, effects: inout [Effect]) {
        switch effect {
        case .dial(let peer, let addresses):
            learn(peer, addresses)
            dial(peer, addresses, isReported: true, now, &effects)
        case .disconnect(let peer):
            if dials[peer] != nil { endDial(peer, reason: "disconnected", now, &effects) }
            for socket in peers[peer]?.links ?? [] {
                close(socket, code: GoAwayCode.normal, reason: "disconnected", now, &effects)
            }
        case .trim(let dispensable): trim(dispensable, now, &effects)
        case .serve(let own): onServing(own, now: now, effects: &effects)
        case .dialBack: unreachable("who dials back is another host")
        }
    }

    /// Nothing if the peer is connected: `connected` has said so.
    mutating func dial(
        _ peer: PeerID, _ addresses: [Multiaddr], isReported: Bool, waiting: StreamID? = nil, _ now: Now,
        _ effects: inout [Effect]
    ) {
        if peers[peer] != nil { return }
        let diallable = addresses.map(\.withoutPeer).filter(isDiallable)
        // The WebSocket of a port that is known to speak plain TCP too adds nothing.
        let usable = diallable.filter { $0.carrier != .webSocket || !diallable.contains(Multiaddr($0.components.prefix(2))) }
        let resting = usable.filter { isResting(peer, $0, now) }
        let ranked = DialOrder.ranked(usable.filter { !resting.contains($0) }, near: settings.nearStagger, far: settings.farStagger)
        if var dial = dials[peer] {
            dial.isReported = dial.isReported || isReported
            let tried = dial.attempts.compactMap { links[$0]?.address } + dial.remaining.map(\.address)
            for (address, after) in ranked where !tried.contains(address) {
                dial.remaining.append((address, now.monotonic + after))
            }
            dial.remaining.sort { $0.at < $1.at }
            dials[peer] = dial
            return
        }
        dials[peer] = Dial(
            remaining: ranked.map { ($0.address, now.monotonic + $0.after) }, failures: resting.map { "[\($0)] dial backoff" },
            isReported: isReported, streams: waiting.map { [$0] } ?? [], deadline: now.monotonic + settings.dialTimeout)
        if peer == me { return endDial(peer, reason: "a peer does not dial itself", now, &effects) }
        if usable.isEmpty { return endDial(peer, reason: Host.noAddress(addresses), now, &effects) }
        if ranked.isEmpty { return endDial(peer, reason: nil, now, &effects) }
        attemptDue(peer, now, &effects)
    }

    private static func noAddress(_ addresses: [Multiaddr]) -> String {
        if addresses.isEmpty { return "no addresses" }
        return "no good addresses: none can be dialled over TCP: " + addresses.map(\.description).joined(separator: ", ")
    }

    /// TCP to an IP address or a name, and nothing on top of it but WebSocket; DIAL-03.
    private func isDiallable(_ address: Multiaddr) -> Bool {
        guard address.carrier != nil else { return address.components.map(\.scheme.name) == ["dnsaddr"] }
        if listening.contains(address) || address.ip?.allSatisfy({ $0 == 0 }) == true { return false }
        return address.port != 0 && !address.isLinkLocal6
    }

    /// Tries the addresses that are due, and `first` the next one even if it is not.
    private mutating func attemptDue(_ peer: PeerID, first isNextDue: Bool = false, _ now: Now, _ effects: inout [Effect]) {
        var isDue = isNextDue
        while let dial = dials[peer], let next = dial.remaining.first, isDue || next.at <= now.monotonic,
            dial.attempts.count < settings.dialsPerPeerLimit
        {
            isDue = false
            let underWay = dials.values.reduce(0) { $0 + $1.attempts.count }
            if isOutOfDescriptors && dial.attempts.isEmpty {
                return endDial(peer, reason: "\(sockets.count) sockets are as many as are allowed", now, &effects)
            }
            if isOutOfDescriptors || underWay >= settings.dialsLimit {
                dials[peer]?.isHeldUntil = now.monotonic + settings.nearStagger
                return
            }
            dials[peer]?.isHeldUntil = nil
            dials[peer]?.remaining.removeFirst()
            attempt(peer, next.address, dial.deadline, now, &effects)
        }
    }

    private mutating func attempt(
        _ peer: PeerID, _ address: Multiaddr, _ deadline: Instant, _ now: Now, _ effects: inout [Effect]
    ) {
        let socket = nextSocket()
        dials[peer]?.attempts.append(socket)
        links[socket] = Link(
            connection: nil, address: address, observed: address, target: peer,
            connectDeadline: min(deadline, now.monotonic + settings.connectTimeout))
        sockets.insert(socket)
        effects.append(.socket(.connect(socket, address.with(peer: peer))))
        reschedule(socket)
    }

    mutating func onDialTime(_ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dials[peer] else { return }
        if dial.deadline <= now.monotonic {
            for socket in dial.attempts { if let address = links[socket]?.address { rest(peer, address, now) } }
            endDial(peer, reason: "i/o timeout", now, &effects)
        } else {
            attemptDue(peer, now, &effects)
        }
    }

    mutating func attemptFailed(
        _ peer: PeerID, _ socket: SocketID, at address: Multiaddr, _ reason: String, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let index = dials[peer]?.attempts.firstIndex(of: socket) else { return }
        dials[peer]?.attempts.remove(at: index)
        dials[peer]?.failures.append("[\(address)] \(reason)")
        rest(peer, address, now)
        attemptDue(peer, first: true, now, &effects)
        if let dial = dials[peer], dial.attempts.isEmpty, dial.remaining.isEmpty { endDial(peer, reason: nil, now, &effects) }
    }

    // MARK: Back-off

    private func isResting(_ peer: PeerID, _ address: Multiaddr, _ now: Now) -> Bool {
        backOffs[peer]?[address].map { $0.until > now.monotonic } ?? false
    }

    private mutating func rest(_ peer: PeerID, _ address: Multiaddr, _ now: Now) {
        guard settings.backOffBase > .zero else { return }
        if backOffs[peer] == nil {
            backOffOrder.append(peer)
            if backOffs.count >= settings.knownPeersLimit, let oldest = backOffOrder.popFirst() { backOffs[oldest] = nil }
        }
        let failures = backOffs[peer]?[address]?.failures ?? 0
        let span = min(settings.backOffBase + .seconds(failures * failures), settings.backOffMax)
        // An address that is not dialled any more is not remembered for ever.
        backOffs[peer] = (backOffs[peer] ?? [:]).filter { $0.value.until + settings.backOffMax > now.monotonic }
        backOffs[peer]?[address] = BackOff(failures: min(failures + 1, 100), until: now.monotonic + span)
    }

    // MARK: The end

    /// What became of a connection that was never made, as Go's `net` says it.
    static func dialText(_ address: Multiaddr, _ reason: String) -> String {
        let networks = ["ip4": "tcp4", "dns4": "tcp4", "ip6": "tcp6", "dns6": "tcp6", "dns": "tcp"]
        guard let network = networks[address.components.first?.scheme.name ?? ""], let authority = address.authority else { return reason }
        return "dial \(network) \(authority): \(reason)"
    }

    /// The dial has failed: its attempts are given up, and whoever waited is told.
    mutating func endDial(_ peer: PeerID, reason: String?, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dials.remove(peer) else { return }
        var reasons = dial.failures
        for socket in dial.attempts {
            if let link = links[socket], let reason { reasons.append("[\(link.address)] \(link.connection == nil ? Host.dialText(link.address, reason) : reason)") }
            close(socket, code: GoAwayCode.normal, reason: "given up", now, &effects)
        }
        // In go-libp2p's words, which users and scripts know.
        let cause = reasons.isEmpty ? reason ?? "all dials failed" : "all dials failed"
        let text = "failed to dial: failed to dial \(peer): \(cause)" + reasons.map { "\n  * \($0)" }.joined()
        if dial.isReported { effects.append(.connection(.dialFailed(peer, reason: text))) }
        for stream in dial.streams where pending.removeValue(forKey: stream) != nil {
            effects.append(.stream(.failed(stream, reason: text)))
        }
    }

    /// A connection stands, dialled or not. If the other side dialled, our own attempts go on, as both sides might give up
    /// theirs for the other's (SIM-01).
    mutating func dialSucceeded(_ peer: PeerID, over socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        if backOffs.removeValue(forKey: peer) != nil { backOffOrder.removeAll { $0 == peer } }
        guard let dial = dials.remove(peer) else { return }
        if dial.attempts.contains(socket) {
            for other in dial.attempts where other != socket {
                close(other, code: GoAwayCode.normal, reason: "another address answered", now, &effects)
            }
        }
        for stream in dial.streams {
            guard let waiting = pending.removeValue(forKey: stream) else { continue }
            open(stream, to: peer, waiting, now, &effects)
        }
    }
}
