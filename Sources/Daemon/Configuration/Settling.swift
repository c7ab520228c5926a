// What becomes of a raw value: read further, checked, or left for the default.

import Encoding
import Kernel
import Multiformats

extension Key {
    /// The value in use. Nil leaves the one that is there. `warn` hears of what is wrong and tolerated.
    func settled(
        _ raw: Value, in component: ComponentName, warn: (String) -> Void
    ) throws(ConfigurationError) -> Value? {
        if isIgnored || (zero == .keeps && raw.isZero) { return nil }
        switch (kind, raw) {
        case (.span(let bad), .text(let text)): return try settledSpan(text, bad, component, warn)
        case (.address, .text(let text)): return .addresses([try address(text, component)])
        case (.addresses, .texts(let texts)), (.addressList, .texts(let texts)):
            var addresses: [Multiaddr] = []
            for text in texts ?? [] { addresses.append(try address(text, component)) }
            return .addresses(addresses)
        case (.secret, .text(let text)): return try settledSecret(text, component, warn)
        case (.peerID, .text(let text)): return .text(try peer(text, component).description)
        case (.privateKey, .text(let text)): return try settledKey(text, component)
        case (.trustedPeers, .texts(let texts)):
            if texts?.contains("*") == true { return .texts(["*"]) }
            var peers: [String] = []
            for text in texts ?? [] { peers.append(try peer(text, component).description) }
            return .texts(peers)
        case (.readablePeers, .texts(let texts)):
            return .texts((texts ?? []).compactMap { (try? PeerID(text: $0))?.description })
        case (.choice(let choices), .text(let text)):
            guard choices.contains(text) else { throw ConfigurationError(failure ?? start(component)) }
            return raw
        case (.size, .text(let text)):
            guard byteCount(text) != nil else {
                throw ConfigurationError("\(start(component)): \(quoted(text)) is no size (such as 10GB)")
            }
            return raw
        case (.objects, .objects(let objects)): return .objects(Component.completedLevels(objects))
        default: return raw
        }
    }

    private func start(_ component: ComponentName) -> String { failure ?? "error parsing \(component.rawValue).\(path)" }

    private func settledSpan(
        _ text: String, _ bad: BadSpan, _ component: ComponentName, _ warn: (String) -> Void
    ) throws(ConfigurationError) -> Value? {
        if text.isEmpty { return .span(.zero) }
        do throws(DurationError) {
            let span = try Span(goText: text)
            if component == .raft && span == .zero { warn("\(text) is not a valid duration. Default will be used"); return nil }
            return .span(span)
        } catch {
            switch bad {
            case .fails: throw ConfigurationError("\(start(component)): \(error)")
            case .isZero: return .span(.zero)
            case .keepsDefault:
                warn("\(text) is not a valid duration. Default will be used")
                return nil
            }
        }
    }

    private func address(_ text: String, _ component: ComponentName) throws(ConfigurationError) -> Multiaddr {
        do throws(MultiformatError) { return try Multiaddr(text: text) } catch {
            throw ConfigurationError("\(start(component)): \(multiaddrFailure(text, error))")
        }
    }

    private func peer(_ text: String, _ component: ComponentName) throws(ConfigurationError) -> PeerID {
        do throws(MultiformatError) { return try PeerID(text: text) } catch {
            throw ConfigurationError("\(start(component)): \(peerFailure(text, error))")
        }
    }

    /// CFG-051.
    private func settledSecret(
        _ text: String, _ component: ComponentName, _ warn: (String) -> Void
    ) throws(ConfigurationError) -> Value {
        do throws(ConfigurationError) {
            let secret = try decodeClusterSecret(text)
            if secret == nil { warn("Cluster secret is empty, cluster will start on unprotected network.") }
            return .text(secret.map { hex($0) } ?? "")
        } catch { throw ConfigurationError("\(start(component)): \(error)") }
    }

    private func settledKey(_ text: String, _ component: ComponentName) throws(ConfigurationError) -> Value {
        let place = "\(component.rawValue).\(path)"
        guard let bytes = decodeBase64(text) else {
            throw ConfigurationError("error decoding \(place): illegal base64 data")
        }
        do throws(MultiformatError) { return .text(try IdentityKey(protobuf: bytes).base64) } catch {
            throw ConfigurationError("error parsing \(place) ID: \(reason(error))")
        }
    }
}

/// 32 bytes from hexadecimal digits, or nil for none at all (CFG-023, CFG-051).
package func decodeClusterSecret(_ text: String) throws(ConfigurationError) -> Bytes? {
    if let wrong = text.utf8.first(where: { Character(Unicode.Scalar($0)).hexDigitValue == nil }) {
        let code = String(wrong, radix: 16, uppercase: true)
        let shown = (0x20..<0x7f).contains(wrong) ? " '\(Character(Unicode.Scalar(wrong)))'" : ""
        throw ConfigurationError("encoding/hex: invalid byte: U+" + String(repeating: "0", count: 4 - code.count) + code + shown)
    }
    guard let secret = bytes(hex: text) else { throw ConfigurationError("encoding/hex: odd length hex string") }
    if secret.isEmpty { return nil }
    guard secret.count == 32 else {
        throw ConfigurationError("input secret is \(secret.count) bytes, cluster secret should be 32")
    }
    return secret
}

package func multiaddrFailure(_ text: String, _ error: MultiformatError) -> String {
    "failed to parse multiaddr \(quoted(text.allSatisfy { $0 == "/" } ? "" : text)): \(reason(error))"
}

package func peerFailure(_ text: String, _ error: MultiformatError) -> String { error.aboutPeer(text) }

func reason(_ error: MultiformatError) -> String {
    switch error {
    case .badText(let text), .badMultihash(let text), .badKey(let text), .badMultiaddr(let text), .badRecord(let text): text
    case .empty: "empty"
    case .truncated: "cut short"
    case .badVersion(let version): "unknown CID version \(version)"
    case .trailing: "\(error)"
    }
}

/// Sizes with decimal (`kB`, `MB`, …) or binary (`KiB`, …) units, in either case; a bare number is bytes.
package func byteCount(_ text: String) -> UInt64? {
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    var unit = text.dropFirst(digits.count).lowercased()[...]
    while unit.first == " " { unit.removeFirst() }
    guard let number = Double(digits), let size = sizeUnits[String(unit)] else { return nil }
    let total = number * size
    return total < 0x1p63 ? UInt64(total) : nil
}

private let sizeUnits: [String: Double] = [
    "": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
    "kib": 0x1p10, "mib": 0x1p20, "gib": 0x1p30, "tib": 0x1p40,
]
