// From a peer's addresses to a connection with it. DIAL-01..05.

import Kernel
import Multiformats
import Seams

extension Host {
    /// The attempts at one peer.
    struct Dial: Sendable {
        /// Addresses still to be tried.
        var remaining: [Multiaddr]
        var attempts: [SocketID] = []
        var failures: [String] = []
        /// Whether the core asked for it and is owed an answer; else only streams wait.
        var isReported: Bool
        /// In the order of their opening.
        var streams: [StreamID] = []
        let deadline: Instant
        /// When the next address is tried although the last has not failed.
        var nextAttemptAt: Instant?

        var nextDeadline: Instant? { remaining.isEmpty ? deadline : earliest(deadline, nextAttemptAt) }
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
        }
    }

    /// Nothing if the peer is connected: `connected` has said so.
    mutating func dial(
        _ peer: PeerID, _ addresses: [Multiaddr], isReported: Bool, waiting: StreamID? = nil, _ now: Now,
        _ effects: inout [Effect]
    ) {
        if peers[peer] != nil { return }
        let usable = addresses.map(\.withoutPeer).filter(isDiallable)
        if var dial = dials[peer] {
            dial.isReported = dial.isReported || isReported
            let tried = dial.attempts.compactMap { links[$0]?.address } + dial.remaining
            dial.remaining += usable.filter { !tried.contains($0) }
            dials[peer] = dial
            return
        }
        dials[peer] = Dial(
            remaining: usable, isReported: isReported, streams: waiting.map { [$0] } ?? [],
            deadline: now.monotonic + settings.dialTimeout)
        if peer == me { return endDial(peer, reason: "a peer does not dial itself", now, &effects) }
        if usable.isEmpty { return endDial(peer, reason: Host.noAddress(addresses), now, &effects) }
        attemptNext(peer, now, &effects)
    }

    private static func noAddress(_ addresses: [Multiaddr]) -> String {
        if addresses.isEmpty { return "no address of it is known" }
        return "none of its addresses can be dialled over TCP: " + addresses.map(\.description).joined(separator: ", ")
    }

    /// TCP to an IP address or a name, and nothing on top of it; DIAL-03.
    private func isDiallable(_ address: Multiaddr) -> Bool {
        let names = address.components.map(\.scheme.name)
        if names == ["dnsaddr"] { return true }
        guard names.count == 2, names[1] == "tcp", ["ip4", "ip6", "dns", "dns4", "dns6"].contains(names[0]) else {
            return false
        }
        if listening.contains(address) || address.ip?.allSatisfy({ $0 == 0 }) == true { return false }
        return address.port != 0
    }

    private mutating func attemptNext(_ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard var dial = dials[peer], !dial.remaining.isEmpty, dial.attempts.count < settings.dialsPerPeerLimit else {
            dials[peer]?.nextAttemptAt = nil
            return
        }
        if isOutOfDescriptors {
            dials[peer]?.nextAttemptAt = nil
            if dial.attempts.isEmpty { endDial(peer, reason: "\(sockets.count) sockets are as many as are allowed", now, &effects) }
            return
        }
        let address = dial.remaining.removeFirst()
        let socket = nextSocket()
        dial.attempts.append(socket)
        dial.nextAttemptAt = now.monotonic + settings.dialStagger
        links[socket] = Link(
            connection: nil, address: address, observed: address, target: peer, connectDeadline: dial.deadline)
        sockets.insert(socket)
        dials[peer] = dial
        effects.append(.socket(.connect(socket, address.with(peer: peer))))
        reschedule(socket)
    }

    mutating func onDialTime(_ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dials[peer] else { return }
        if dial.deadline <= now.monotonic {
            endDial(peer, reason: "i/o timeout", now, &effects)
        } else {
            attemptNext(peer, now, &effects)
        }
    }

    mutating func attemptFailed(
        _ peer: PeerID, _ socket: SocketID, _ reason: String, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let index = dials[peer]?.attempts.firstIndex(of: socket) else { return }
        dials[peer]?.attempts.remove(at: index)
        dials[peer]?.failures.append(reason)
        attemptNext(peer, now, &effects)
        if dials[peer]?.attempts.isEmpty == true { endDial(peer, reason: nil, now, &effects) }
    }

    /// The dial has failed: its attempts are given up, and whoever waited is told.
    mutating func endDial(_ peer: PeerID, reason: String?, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dials.remove(peer) else { return }
        var reasons = dial.failures
        for socket in dial.attempts {
            if let address = links[socket]?.address, let reason { reasons.append("\(address): \(reason)") }
            close(socket, code: GoAwayCode.normal, reason: "given up", now, &effects)
        }
        if reasons.isEmpty, let reason { reasons = [reason] }
        let text = "failed to dial \(peer): " + reasons.joined(separator: "; ")
        if dial.isReported { effects.append(.connection(.dialFailed(peer, reason: text))) }
        for stream in dial.streams where pending.removeValue(forKey: stream) != nil {
            effects.append(.stream(.failed(stream, reason: text)))
        }
    }

    /// A connection stands, dialled or not. If the other side dialled, our own attempts go on, as both sides might give up
    /// theirs for the other's (SIM-01).
    mutating func dialSucceeded(_ peer: PeerID, over socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
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
