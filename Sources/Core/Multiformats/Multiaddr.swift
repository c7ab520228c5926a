// Self-describing addresses. spec/wire-transport.md MA-01..08, MAC-01..25.

import Encoding
import Kernel

/// A multiaddress in its binary form, which is valid.
package struct Multiaddr: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let bytes: Bytes

    package init(unchecked bytes: Bytes) { self.bytes = bytes }

    /// Exactly one binary multiaddress.
    package init(_ bytes: some Collection<UInt8>) throws(MultiformatError) {
        self.bytes = Bytes(bytes)
        guard !self.bytes.isEmpty else { throw .empty }
        _ = try Multiaddr.parts(of: self.bytes)
    }

    /// One component: its protocol and the raw value.
    package struct Component: Hashable, Sendable {
        package let scheme: MultiaddrProtocol
        package let value: Bytes
        package var text: String? { scheme.kind == .none ? nil : scheme.text(of: value) }
    }

    package var components: [Component] { (try? Multiaddr.parts(of: bytes)) ?? [] }

    private static func parts(of bytes: Bytes) throws(MultiformatError) -> [Component] {
        var out: [Component] = []
        var offset = 0
        while offset < bytes.count {
            guard let code = try? readVarint(bytes, at: &offset) else { throw .badMultiaddr("no protocol code at byte \(offset)") }
            guard let scheme = MultiaddrProtocol.byCode[code] else { throw .badMultiaddr("no protocol with code \(code)") }
            let count: Int
            switch scheme.kind {
            case .none: count = 0
            case .fixed(let size): count = size
            case .name, .escaped, .path, .peer, .hash:
                guard let length = try? readVarint(bytes, at: &offset), length <= UInt64(bytes.count - offset) else {
                    throw .badMultiaddr("invalid value for \(scheme.name): truncated")
                }
                count = Int(length)
            }
            guard count <= bytes.count - offset else { throw .badMultiaddr("invalid value for \(scheme.name): truncated") }
            let value = Bytes(bytes[offset..<offset + count])
            guard scheme.accepts(value) else { throw .badMultiaddr("invalid value for \(scheme.name)") }
            offset += count
            if scheme.kind == .path && offset < bytes.count { throw .badMultiaddr("nothing may follow a path") }
            out.append(Component(scheme: scheme, value: value))
        }
        return out
    }

    package init(_ components: some Sequence<Component>) {
        var out: Bytes = []
        for component in components { component.scheme.append(component.value, to: &out) }
        bytes = out
    }

    /// MA-02: `/name[/value]…`; trailing slashes are dropped.
    package init(text: String) throws(MultiformatError) {
        var body = text[...]
        while body.last == "/" { body.removeLast() }
        guard !text.isEmpty, !body.isEmpty else { throw .badMultiaddr("empty multiaddr") }
        guard body.first == "/" else { throw .badMultiaddr("must begin with /") }
        var words = body.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        var out: [Component] = []
        while let name = words.popFirst() {
            guard let scheme = MultiaddrProtocol.byName[String(name)] else { throw .badMultiaddr("unknown protocol \(name)") }
            if scheme.kind == .none { out.append(Component(scheme: scheme, value: [])); continue }
            guard !words.isEmpty else { throw .badMultiaddr("unexpected end of multiaddr") }
            let word = scheme.kind == .path ? "/" + words.joined(separator: "/") : String(words.removeFirst())
            if scheme.kind == .path { words = [] }
            guard let value = scheme.value(of: word), scheme.accepts(value) else {
                throw .badMultiaddr("invalid value \"\(word)\" for protocol \(name)\(scheme.fault(of: word))")
            }
            out.append(Component(scheme: scheme, value: value))
        }
        self.init(out)
    }

    package var description: String {
        components.map { component in
            guard let text = component.text else { return "/" + component.scheme.name }
            return "/" + component.scheme.name + (text.hasPrefix("/") ? text : "/" + text)
        }.joined()
    }

    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }

    // MARK: Questions

    /// The peer named last.
    package var peerID: PeerID? {
        components.last { $0.scheme.code == MultiaddrProtocol.p2pCode }.flatMap { try? PeerID($0.value) }
    }
    /// The peer that it ends in.
    package var trailingPeer: PeerID? { components.last?.scheme.code == MultiaddrProtocol.p2pCode ? peerID : nil }
    /// Without a trailing /p2p.
    package var withoutPeer: Multiaddr {
        var parts = components
        if parts.last?.scheme.code == MultiaddrProtocol.p2pCode { parts.removeLast() }
        return Multiaddr(parts)
    }
    package func with(peer: PeerID) -> Multiaddr {
        var out = withoutPeer.bytes
        appendVarint(MultiaddrProtocol.p2pCode, to: &out)
        appendVarint(UInt64(peer.bytes.count), to: &out)
        out.append(contentsOf: peer.bytes)
        return Multiaddr(unchecked: out)
    }
    package func value(_ name: String) -> Bytes? { components.first { $0.scheme.name == name }?.value }
    package var ip: Bytes? { value("ip4") ?? value("ip6") }
    package var port: UInt16? { (value("tcp") ?? value("udp")).map { UInt16($0[0]) << 8 | UInt16($0[1]) } }
    /// What carries a stream of bytes to where it leads: TCP to an IP address or a name, plain or with WebSocket on top. Nil for all else.
    package enum Carrier: Equatable, Sendable { case tcp, webSocket }
    package var carrier: Carrier? {
        let names = withoutPeer.components.map(\.scheme.name)
        guard names.count >= 2, ["ip4", "ip6", "dns", "dns4", "dns6"].contains(names[0]), names[1] == "tcp" else { return nil }
        return names.count == 2 ? .tcp : names[2...] == ["ws"] ? .webSocket : nil
    }
    /// An address of TCP with that on top of it.
    package func carrying(_ carrier: Carrier) -> Multiaddr {
        guard carrier == .webSocket, let scheme = MultiaddrProtocol.byName["ws"] else { return self }
        return Multiaddr(components + [Component(scheme: scheme, value: [])])
    }
    /// Host and port as a URL names them; nil for an address without both.
    package var authority: String? {
        guard let port, let first = components.first, let host = first.text else { return nil }
        return first.scheme.name == "ip6" ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
    package var isDNS: Bool { components.contains { ["dns", "dns4", "dns6", "dnsaddr"].contains($0.scheme.name) } }
    /// Whether it is that address, or begins with an IP address of the network that /ip4/…/ipcidr/… names.
    package func isCovered(by mask: Multiaddr) -> Bool {
        if self == mask { return true }
        let parts = mask.components
        guard parts.count == 2, parts[1].scheme.name == "ipcidr", let own = components.first, own.scheme == parts[0].scheme else {
            return false
        }
        let (bits, network) = (Int(parts[1].value[0]), parts[0].value)
        guard bits <= 8 * network.count, own.value.count == network.count else { return false }
        return (0..<bits).allSatisfy { (own.value[$0 / 8] ^ network[$0 / 8]) & (0x80 >> UInt8($0 % 8)) == 0 }
    }
    /// The whole bytes of its IP address that so many bits are, at most 56, as one number for each such network.
    package func network(ip4 bits4: Int, ip6 bits6: Int) -> UInt64? {
        guard let ip else { return nil }
        return ip.prefix((ip.count == 4 ? bits4 : bits6) / 8).reduce(UInt64(ip.count)) { $0 << 8 | UInt64($1) }
    }
    package var isLinkLocal6: Bool { value("ip6").map { $0[0] == 0xfe && $0[1] & 0xc0 == 0x80 } ?? false }
    package var isLoopback: Bool {
        guard let ip else { return false }
        return ip.count == 4 ? ip[0] == 127 : ip.dropLast().allSatisfy { $0 == 0 } && ip.last == 1
    }
    /// An address that means something in one network only, or on one machine.
    package var isPrivate: Bool {
        guard let ip else { return false }
        if ip.count == 4 {
            return ip[0] == 10 || ip[0] == 127 || (ip[0] == 172 && ip[1] & 0xf0 == 16) || (ip[0] == 192 && ip[1] == 168)
                || (ip[0] == 100 && ip[1] & 0xc0 == 64) || (ip[0] == 169 && ip[1] == 254)
        }
        return isLoopback || ip[0] & 0xfe == 0xfc || (ip[0] == 0xfe && ip[1] & 0xc0 == 0x80)
    }
    /// An address that can be dialled from anywhere: names count, relays do not (go-multiaddr net/private.go).
    package var isPublic: Bool {
        if components.contains(where: { $0.scheme.name == "p2p-circuit" }) { return false }
        guard let ip else { return isDNS && !hasLocalName }
        if ip.count == 4 { return !isPrivate && !Multiaddr.unroutable.contains { ip.starts(with: $0) } && ip[0] < 224 && !(ip[0] == 198 && ip[1] & 0xfe == 18) }
        return ip[0] & 0xe0 == 0x20 && !ip.starts(with: [0x20, 0x01, 0x0d, 0xb8]) || ip.starts(with: [0, 0x64, 0xff, 0x9b])
    }
    /// Set aside for protocols, examples, relays of old and for nothing at all (RFC 6890).
    private static let unroutable: [Bytes] = [[0], [192, 0, 0], [192, 0, 2], [192, 88, 99], [198, 51, 100], [203, 0, 113]]
    /// Names that mean something in one network only, or nothing (RFC 6761).
    private var hasLocalName: Bool {
        let names = components.filter { ["dns", "dns4", "dns6", "dnsaddr"].contains($0.scheme.name) }.map { String(decoding: $0.value, as: UTF8.self).lowercased() }
        return names.contains { name in ["localhost", "local", "test", "invalid", "home.arpa", "in-addr.arpa", "ip6.arpa"].contains { name == $0 || name.hasSuffix("." + $0) } }
    }
    /// A unicast address that is not loopback or link-local; private ranges count (INF-02).
    package var isGlobalUnicast: Bool {
        guard let ip else { return false }
        if ip.count == 4 {
            return !isLoopback && ip[0] < 224 && ip != [0, 0, 0, 0] && !(ip[0] == 169 && ip[1] == 254)
        }
        let isUnspecified = ip.allSatisfy { $0 == 0 }
        return !isLoopback && !isUnspecified && ip[0] != 0xff && !(ip[0] == 0xfe && ip[1] & 0xc0 == 0x80)
    }
}
