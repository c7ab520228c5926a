// When each address of a peer is tried. DIAL-02.

import Kernel
import Multiformats

enum DialOrder {
    /// Private and public addresses side by side, each kind in an order of its own: first IPv6 and low ports; IPv4, if there is
    /// IPv6, a moment later; the rest a moment after that.
    static func ranked(_ addresses: [Multiaddr], near: Span, far: Span) -> [(address: Multiaddr, after: Span)] {
        let isNear: (Multiaddr) -> Bool = { AddressReach($0) < .global }
        let all = ranked(addresses.filter(isNear), near) + ranked(addresses.filter { !isNear($0) }, far)
        return all.enumerated().sorted { ($0.element.after, $0.offset) < ($1.element.after, $1.offset) }.map(\.element)
    }

    private static func ranked(_ addresses: [Multiaddr], _ stagger: Span) -> [(address: Multiaddr, after: Span)] {
        var order = addresses.enumerated().sorted { a, b in
            (a.element.isIPv6 ? 0 : 1, a.element.port ?? 0, a.offset) < (b.element.isIPv6 ? 0 : 1, b.element.port ?? 0, b.offset)
        }.map(\.element)
        var isMixed = false
        if order.first?.isIPv6 == true, let other = order.firstIndex(where: { !$0.isIPv6 }) {
            order.insert(order.remove(at: other), at: 1)
            isMixed = true
        }
        return order.enumerated().map { index, address in
            (address, index == 0 ? .zero : index == 1 || !isMixed ? stagger : stagger * 2)
        }
    }
}

extension Multiaddr {
    fileprivate var isIPv6: Bool { ["ip6", "dns6"].contains(components.first?.scheme.name ?? "") }
}
