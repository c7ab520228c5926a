// Where others have reached this host: what they see is told to everyone, if they came by themselves. IDF-13.
// Who was dialled sees a port that nobody can come back to.

import Kernel
import Multiformats
import Seams

extension Host {
    struct Observation: Sendable {
        /// The networks of those who said so.
        var observers = SortedSet<UInt64>()
        var lastAt: Instant
    }

    private static let observationsMax = 32
    private static let observersMax = 8

    /// The likeliest first. One observer is enough: upstream's cluster peers are told to think so.
    var externalAddresses: [Multiaddr] {
        guard settings.tellsObserved else { return [] }
        return observed.filter { !listening.contains($0.key) }
            .sorted { ($1.value.observers.count, $1.value.lastAt, $0.key) < ($0.value.observers.count, $0.value.lastAt, $1.key) }
            .prefix(settings.observedLimit).map(\.key)
    }

    mutating func observe(_ address: Multiaddr, over socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard settings.tellsObserved, let link = links[socket], link.isInbound, isPlausible(address) else { return }
        for (other, observation) in observed where observation.lastAt + settings.observedLifetime <= now.monotonic {
            observed[other] = nil
        }
        if observed[address] == nil && observed.count >= Host.observationsMax { return }
        var observation = observed[address] ?? Observation(lastAt: now.monotonic)
        observation.lastAt = now.monotonic
        let network = link.observed.network(ip4: 32, ip6: 56) ?? 0
        if observation.observers.count < Host.observersMax { observation.observers.insert(network) }
        observed[address] = observation
        advertise(now, &effects)
    }

    /// An IP address and a TCP port that somebody elsewhere can use.
    private func isPlausible(_ address: Multiaddr) -> Bool {
        guard address.carrier != nil, address.ip != nil, address.port != 0 else { return false }
        return address.isGlobalUnicast && !settings.hidden.contains { address.isCovered(by: $0) }
    }
}
