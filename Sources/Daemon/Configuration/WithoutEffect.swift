// Keys that are read, checked and written again, and change nothing here. docs/differences.md says the same.

import Multiformats

extension ServiceConfiguration {
    private static let withoutEffect: [(component: ComponentName, key: String, reason: String)] = [
        (.cluster, "leave_on_shutdown", "with crdt, members are those whose pings are heard; 'state cleanup' removes a peer's pinset"),
        (.cluster, "peer_watch_interval", "with crdt, no peer is ever removed from the cluster by another"),
        (.crdt, "datastore_namespace", "the pinset has a log of its own"),
    ]

    /// One line for each of them that was changed: whoever changed it expects something.
    package var settingsWithoutEffect: [String] {
        Self.withoutEffect.compactMap { component, key, reason in
            let (value, initial) = (self[component].value(key), ComponentValues(component).value(key))
            return value == initial ? nil : "\(component.rawValue).\(key) is set and has no effect: \(reason)"
        } + listenAddresses.passedOver.filter { !$0.description.contains("/quic") }.map {
            "cluster.listen_multiaddress: \($0) is passed over, as only TCP is supported, and WebSocket on top of it"
        }
    }

    /// Where peers are listened for. QUIC does not work in private networks, and is passed over (CFG-053); so is what goes on top of TCP, but
    /// for WebSocket: it would be announced as what it is not.
    package var listenAddresses: (used: [Multiaddr], passedOver: [Multiaddr]) {
        let all = self[.cluster].addresses("listen_multiaddress")
        let used = all.filter { $0.carrier != nil }
        return (used, all.filter { !used.contains($0) })
    }

    /// It is on unless somebody turns it off, so that being on says little of what is expected.
    package var relayRefusal: String? {
        guard self[.cluster].flag("enable_relay_hop") else { return nil }
        return "cluster.enable_relay_hop is on, and this peer relays for nobody: peers dial each other, and who cannot be reached dials out"
    }
}
