// The components that a multiaddress may hold. spec/wire-transport.md MAC-01..25.

import Encoding
import Kernel

package struct MultiaddrProtocol: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case none
        case fixed(Int)
        /// Length-prefixed text without a slash.
        case name
        /// Length-prefixed text, percent-encoded where it is shown.
        case escaped
        /// Length-prefixed text that takes the rest of the address.
        case path
        /// Length-prefixed multihash of a peer.
        case peer
        /// Length-prefixed multihash in base64url text.
        case hash
    }
    package let code: UInt64
    package let name: String
    package let kind: Kind

    package static let p2pCode: UInt64 = 421

    package static let all: [MultiaddrProtocol] = [
        .init(code: 4, name: "ip4", kind: .fixed(4)), .init(code: 6, name: "tcp", kind: .fixed(2)),
        .init(code: 41, name: "ip6", kind: .fixed(16)), .init(code: 42, name: "ip6zone", kind: .name),
        .init(code: 43, name: "ipcidr", kind: .fixed(1)), .init(code: 53, name: "dns", kind: .name),
        .init(code: 54, name: "dns4", kind: .name), .init(code: 55, name: "dns6", kind: .name),
        .init(code: 56, name: "dnsaddr", kind: .name), .init(code: 273, name: "udp", kind: .fixed(2)),
        .init(code: 33, name: "dccp", kind: .fixed(2)), .init(code: 132, name: "sctp", kind: .fixed(2)),
        .init(code: 290, name: "p2p-circuit", kind: .none), .init(code: 400, name: "unix", kind: .path),
        .init(code: p2pCode, name: "p2p", kind: .peer), .init(code: 448, name: "tls", kind: .none),
        .init(code: 449, name: "sni", kind: .name), .init(code: 454, name: "noise", kind: .none),
        .init(code: 460, name: "quic", kind: .none), .init(code: 461, name: "quic-v1", kind: .none),
        .init(code: 465, name: "webtransport", kind: .none), .init(code: 466, name: "certhash", kind: .hash),
        .init(code: 477, name: "ws", kind: .none), .init(code: 478, name: "wss", kind: .none),
        .init(code: 480, name: "http", kind: .none), .init(code: 443, name: "https", kind: .none),
        .init(code: 280, name: "webrtc-direct", kind: .none), .init(code: 281, name: "webrtc", kind: .none),
        .init(code: 481, name: "http-path", kind: .escaped), .init(code: 777, name: "memory", kind: .fixed(8)),
        .init(code: 301, name: "udt", kind: .none), .init(code: 302, name: "utp", kind: .none),
    ]
    package static let byCode = Dictionary(uniqueKeysWithValues: all.map { ($0.code, $0) })
    package static let byName: [String: MultiaddrProtocol] = {
        var names = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
        names["ipfs"] = names["p2p"]  // MA-05
        return names
    }()

    func append(_ value: Bytes, to out: inout Bytes) {
        appendVarint(code, to: &out)
        switch kind {
        case .none: break
        case .fixed: out.append(contentsOf: value)
        case .name, .escaped, .path, .peer, .hash:
            appendVarint(UInt64(value.count), to: &out)
            out.append(contentsOf: value)
        }
    }

    func accepts(_ value: Bytes) -> Bool {
        switch kind {
        case .none: return value.isEmpty
        case .fixed(let size): return value.count == size
        case .escaped: return !value.isEmpty
        case .name: return !value.isEmpty && !value.contains(UInt8(ascii: "/"))
        case .path: return value.count > 1 && value.first == UInt8(ascii: "/") && value.last != UInt8(ascii: "/")
        case .peer:
            guard let hash = try? Multihash(value) else { return false }
            return hash.code == HashCode.identity || (hash.code == HashCode.sha2_256 && hash.digest.count == 32)
        case .hash: return (try? Multihash(value)) != nil
        }
    }

    func value(of text: String) -> Bytes? {
        switch name {
        case "ip4": return ipv4(text)
        case "ip6": return ipv6(text) ?? ipv4(text).map { Bytes(repeating: 0, count: 10) + [0xff, 0xff] + $0 }
        case "memory": return decimal(text, as: UInt64.self).map { number in (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) } }
        case "http-path": return percentDecoded(text)
        case "ipcidr": return decimal(text, as: UInt8.self).map { [$0] }
        case "tcp", "udp", "dccp", "sctp": return decimal(text, as: UInt16.self).map { [UInt8($0 >> 8), UInt8($0 & 255)] }
        case "p2p": return (try? PeerID(text: text))?.bytes
        case "certhash": return text.first == "u" ? Multibase.base64url.decode(text.dropFirst()) : nil
        default: return Bytes(text.utf8)
        }
    }

    /// What upstream says of a text that is no value, where it says more than that.
    func fault(of text: String) -> String {
        switch name {
        case "ip4", "ip6": return ": failed to parse \(name) addr: \(text)"
        case "tcp", "udp", "dccp", "sctp":
            let error = isDecimal(text) ? NumberTextError.range : .syntax
            return ": failed to parse port addr: strconv.ParseUint: parsing \"\(text)\": \(error)"
        default: return ""
        }
    }

    func text(of value: Bytes) -> String {
        switch name {
        case "ip4": value.map(String.init).joined(separator: ".")
        case "ip6": ipv6Text(value)
        case "ipcidr": String(value[0])
        case "tcp", "udp", "dccp", "sctp": String(UInt16(value[0]) << 8 | UInt16(value[1]))
        case "p2p": Multibase.base58btc.encode(value)
        case "memory": String(value.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        case "http-path": percentEncoded(value)
        case "certhash": "u" + Multibase.base64url.encode(value)
        default: String(decoding: value, as: UTF8.self)
        }
    }
}

private func isDecimal(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } }
/// Digits alone: no sign.
private func decimal<I: FixedWidthInteger>(_ text: String, as: I.Type) -> I? { isDecimal(text) ? I(text) : nil }

/// Four decimal numbers without leading zeros.
package func ipv4(_ text: some StringProtocol) -> Bytes? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var out: Bytes = []
    for part in parts {
        guard part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let byte = UInt8(part),
            part.utf8.count == 1 || part.utf8.first != 0x30
        else { return nil }
        out.append(byte)
    }
    return out
}

/// RFC 4291 text, with `::` and an embedded IPv4 tail.
package func ipv6(_ text: some StringProtocol) -> Bytes? {
    let halves = text.components("::")
    guard halves.count <= 2 else { return nil }
    var sides: [Bytes] = []
    for (i, half) in halves.enumerated() {
        guard let side = groups(half, mayEndInIPv4: i == halves.count - 1) else { return nil }
        sides.append(side)
    }
    if sides.count == 1 { return sides[0].count == 16 ? sides[0] : nil }
    let zeros = 16 - sides[0].count - sides[1].count
    return zeros >= 2 ? sides[0] + Bytes(repeating: 0, count: zeros) + sides[1] : nil
}

private func groups(_ text: String, mayEndInIPv4: Bool) -> Bytes? {
    if text.isEmpty { return [] }
    var out: Bytes = []
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    for (i, part) in parts.enumerated() {
        if mayEndInIPv4, i == parts.count - 1, part.contains(".") {
            guard let tail = ipv4(part) else { return nil }
            out += tail
        } else {
            guard (1...4).contains(part.utf8.count), let group = UInt16(part, radix: 16), part.first != "+" else { return nil }
            out += [UInt8(group >> 8), UInt8(group & 255)]
        }
    }
    return out
}

extension StringProtocol {
    fileprivate func components(_ separator: String) -> [String] {
        var out: [String] = []
        var current = ""
        var rest = self[...]
        while !rest.isEmpty {
            if rest.hasPrefix(separator) {
                out.append(current)
                current = ""
                rest = rest.dropFirst(separator.count)
            } else { current.append(rest.removeFirst()) }
        }
        return out + [current]
    }
}

/// RFC 5952, as Go prints it; mapped IPv4 addresses as ::ffff:a.b.c.d (MA-04).
package func ipv6Text(_ bytes: Bytes) -> String {
    if bytes.count == 16, bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xff, bytes[11] == 0xff {
        return "::ffff:" + bytes[12...].map(String.init).joined(separator: ".")
    }
    let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
    var best = (start: 0, count: 1)
    var i = 0
    while i < 8 {
        var j = i
        while j < 8 && groups[j] == 0 { j += 1 }
        if j - i > best.count { best = (i, j - i) }
        i = max(j, i + 1)
    }
    let text = { (slice: ArraySlice<UInt16>) in slice.map { String($0, radix: 16) }.joined(separator: ":") }
    if best.count < 2 { return text(groups[...]) }
    return text(groups[..<best.start]) + "::" + text(groups[(best.start + best.count)...])
}

private func percentDecoded(_ text: String) -> Bytes? {
    var out: Bytes = []
    var rest = Bytes(text.utf8)[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else { out.append(byte); continue }
        guard let decoded = bytes(hex: String(decoding: rest.prefix(2), as: UTF8.self)), decoded.count == 1 else { return nil }
        out += decoded
        rest = rest.dropFirst(2)
    }
    return out
}

private func percentEncoded(_ value: Bytes) -> String {
    let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~".utf8)
    return value.map { plain.contains($0) ? String(UnicodeScalar($0)) : "%" + hex([$0]).uppercased() }.joined()
}
