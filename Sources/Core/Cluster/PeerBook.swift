// Whom this peer knows, at which addresses, and when to dial whom. spec/wire-transport.md PST-01..05, DIAL-04;
// spec/tracker-allocator-monitor.md CLU-40, CLU-43, CLU-47.

import Kernel
import Multiformats
import Seams

package struct PeerBookSettings: Sendable {
    /// Upkeep dials other known peers only below this many connections (`connection_manager.low_water`).
    package var lowWater = 100
    /// DIAL-04: the n-th failure in a row waits `backoffBase + n² s`, at most `backoffMax`.
    package var backoffBase = Span.seconds(5)
    package var backoffMax = Span.minutes(5)
    /// A lost connection is redialled after a random part of this.
    package var redialAfter = Span.seconds(2)
    /// PST-05: learnt addresses of a peer that is not connected are forgotten after this.
    package var learntAddressTTL = Span.hours(1)
    package var addressesPerPeerLimit = 100
    /// DIAL-03: so many are dialled at a time, besides those that are configured or trusted.
    package var dialsMax = 160
    /// A full book forgets those that could not be dialled so often, and looks for such at most once in so long.
    package var uselessFailures: Int64 = 3
    package var clearingInterval = Span.seconds(10)
    package var peersLimit = 10_000
    package init() {}
}

/// The peers that may be dialled. It knows no trust and no membership; it keeps connections up.
package struct PeerBook: Sendable {
    private struct Entry: Sendable {
        var addresses: [Multiaddr] = []
        /// Configured or trusted: never forgotten (CRDT-104).
        var isPermanent = false
        /// Lower is saved first.
        var priority: Int
        var state: State
        var failures: Int64 = 0
        var forgetAt: Instant?
        var hasBeenConnected = false
    }
    private enum State: Equatable, Sendable {
        case waiting(until: Instant)
        case dialling
        case connected
    }

    private let settings: PeerBookSettings
    private let me: PeerID
    private var entries = SortedMap<PeerID, Entry>()
    package private(set) var connectedCount = 0
    private var diallingCount = 0
    private var clearedAt: Instant?
    package var count: Int { entries.count }
    package var connectedPeers: [PeerID] { entries.filter { $0.value.state == .connected }.map(\.key) }

    package init(settings: PeerBookSettings, me: PeerID) {
        self.settings = settings
        self.me = me
    }

    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        var (connected, dialling) = (0, 0)
        for (_, entry) in entries {
            switch entry.state {
            case .waiting: break
            case .dialling: dialling += 1
            case .connected:
                connected += 1
                invariant(entry.failures == 0 && entry.forgetAt == nil, "who is connected has not failed, and is not forgotten")
            }
        }
        invariant((connected, dialling) == (connectedCount, diallingCount), "\(connected) are connected and \(dialling) dialled, not \(connectedCount) and \(diallingCount)")
        invariant(entries[me] == nil, "it knows itself")
    }

    package func isConnected(_ peer: PeerID) -> Bool { entries[peer]?.state == .connected }
    package func addresses(of peer: PeerID) -> [Multiaddr] { entries[peer]?.addresses ?? [] }
    /// Every known address with its peer, first priority first, and who could not be dialled last: what the peerstore file holds
    /// (CFG-219, PST-02).
    package var known: [(peer: PeerID, addresses: [Multiaddr])] {
        entries.sorted { ($0.value.failures > 0 ? .max : $0.value.priority, $0.key) < ($1.value.failures > 0 ? .max : $1.value.priority, $1.key) }
            .filter { !$0.value.addresses.isEmpty }
            .map { ($0.key, $0.value.addresses) }
    }

    /// Learns addresses (without /p2p). New peers are dialled at the next upkeep, which is due at once.
    package mutating func learn(
        _ peer: PeerID, _ addresses: [Multiaddr], isPermanent: Bool = false, priority: Int = .max - 1, now: Now
    ) {
        guard peer != me, entries[peer] != nil || hasRoom(now) else { return }
        var entry = entries[peer] ?? Entry(priority: priority, state: .waiting(until: now.monotonic))
        for address in addresses where !entry.addresses.contains(address) {
            guard entry.addresses.count < settings.addressesPerPeerLimit else { break }
            entry.addresses.append(address)
        }
        entry.isPermanent = entry.isPermanent || isPermanent
        entry.priority = min(entry.priority, priority)
        entry.forgetAt = entry.state == .connected ? nil : now.monotonic + settings.learntAddressTTL
        entries[peer] = entry
    }

    /// Whoever tells of thousands that nobody can reach keeps nobody out who can be.
    private mutating func hasRoom(_ now: Now) -> Bool {
        if entries.count < settings.peersLimit { return true }
        if let clearedAt, now.monotonic < clearedAt + settings.clearingInterval { return false }
        clearedAt = now.monotonic
        for (peer, entry) in entries where !entry.isPermanent && entry.failures >= settings.uselessFailures {
            if case .waiting = entry.state { entries[peer] = nil }
        }
        return entries.count < settings.peersLimit
    }

    /// True if it has been lost, or could not be reached, and a dial of ours has brought it back.
    @discardableResult
    package mutating func onConnected(_ peer: PeerID, address: Multiaddr, outbound: Bool, now: Now) -> Bool {
        if outbound { learn(peer, [address.withoutPeer], now: now) } else { learn(peer, [], now: now) }
        guard var entry = entries[peer], entry.state != .connected else { return false }
        let isBack = outbound && entry.state == .dialling && (entry.hasBeenConnected || entry.failures > 0)
        if entry.state == .dialling { diallingCount -= 1 }
        entry.hasBeenConnected = true
        entry.state = .connected
        entry.failures = 0
        entry.forgetAt = nil
        entries[peer] = entry
        connectedCount += 1
        return isBack
    }

    package mutating func onDisconnected(_ peer: PeerID, now: Now, choices: inout Choices) {
        guard var entry = entries[peer] else { return }
        if entry.state == .connected { connectedCount -= 1 }
        if entry.state == .dialling { diallingCount -= 1 }
        entry.state = .waiting(until: now.monotonic + choices.span(.zero, settings.redialAfter))
        entry.forgetAt = now.monotonic + settings.learntAddressTTL
        entries[peer] = entry
    }

    package mutating func onDialFailed(_ peer: PeerID, now: Now) {
        guard var entry = entries[peer], entry.state == .dialling else { return }
        diallingCount -= 1
        let n = min(entry.failures, 100)
        entry.failures += 1
        entry.state = .waiting(until: now.monotonic + min(settings.backoffBase + .seconds(n * n), settings.backoffMax))
        entries[peer] = entry
    }

    package var nextDeadline: Instant? {
        var next: Instant?
        entries.each { _, entry in
            guard case .waiting(let until) = entry.state else { return }
            if !entry.isPermanent { next = earliest(next, entry.forgetAt) }
            if !entry.addresses.isEmpty && mayDial(entry) { next = earliest(next, until) }
        }
        return next
    }

    private func mayDial(_ entry: Entry) -> Bool {
        entry.isPermanent || (connectedCount < settings.lowWater && diallingCount < settings.dialsMax)
    }

    /// Dials whoever is due, and forgets whom nobody has heard of.
    package mutating func onTime(now: Now, effects: inout [ConnectionEffect]) {
        guard let due = nextDeadline, due <= now.monotonic else { return }
        for (peer, entry) in entries {
            guard case .waiting(let until) = entry.state else { continue }
            if let forgetAt = entry.forgetAt, forgetAt <= now.monotonic, !entry.isPermanent {
                entries[peer] = nil
            } else if until <= now.monotonic, !entry.addresses.isEmpty, mayDial(entry) {
                entries[peer]?.state = .dialling
                diallingCount += 1
                effects.append(.dial(peer, entry.addresses))
            }
        }
    }
}
