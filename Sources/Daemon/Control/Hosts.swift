// The global flags, checked and made into hosts to ask. CLI-084..096.

import CommandLine
import Foundation
import Kernel
import Multiformats

struct ControlSettings {
    let isJSON: Bool
    let isDebugging: Bool
    let hosts: [APIClient.Host]

    /// In upstream's order, so that of two faults the same one is told.
    init(_ flags: FlagValues, world: any ControlWorld) throws(ControlFailure) {
        isDebugging = flags.bool("debug")
        let secret = try ControlSettings.secret(flags.string("secret"))
        let (user, password) = ControlSettings.credentials(flags.string("basic-auth"))
        let isSecure = flags.bool("https") || !user.isEmpty && !flags.bool("force-http")
        guard ["text", "json"].contains(flags.string("encoding")) else { throw .local("", "unsupported encoding") }
        isJSON = flags.string("encoding") == "json"
        let timeout = flags.int("timeout")
        let template = APIEndpoint(
            place: .unix(path: ""), tls: isSecure ? (flags.bool("no-check-certificate") ? .unchecked : .checked) : nil,
            timeout: timeout > 0 ? .seconds(Int64(timeout)) : nil)
        let authorization = user.isEmpty ? nil : "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
        var hosts: [APIClient.Host] = []
        for text in flags.string("host").split(separator: ",", omittingEmptySubsequences: false) {
            for address in try ControlSettings.addresses(String(text), isSecure: isSecure, world) {
                let endpoint = try template.at(address, secret: secret)
                do {
                    let transport = try world.transport(to: endpoint)
                    hosts.append(APIClient.Host(endpoint: endpoint, transport: transport, authorization: authorization))
                } catch { throw .local("creating API client", "\(error)") }
            }
        }
        self.hosts = hosts
    }

    /// CLI-095. Go's words.
    private static func secret(_ text: String) throws(ControlFailure) -> Bytes? {
        if text.isEmpty { return nil }
        if let secret = bytes(hex: text) { return secret }
        let isHex: (Unicode.Scalar) -> Bool = { $0.isASCII && $0.properties.isASCIIHexDigit }
        guard let bad = text.unicodeScalars.first(where: { !isHex($0) }) else {
            throw .local("parsing secret", "encoding/hex: odd length hex string")
        }
        let code = String(bad.value, radix: 16, uppercase: true)
        let padded = String(repeating: "0", count: max(0, 4 - code.count)) + code
        throw .local("parsing secret", "encoding/hex: invalid byte: U+\(padded) '\(bad)'")
    }

    /// CLI-091.
    private static func credentials(_ text: String) -> (user: String, password: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return (parts.first ?? "", parts.count > 1 ? parts[1] : "")
    }

    /// CLI-093: a name under TLS is checked against the certificate, and so is not resolved here.
    private static func addresses(
        _ text: String, isSecure: Bool, _ world: any ControlWorld
    ) throws(ControlFailure) -> [Multiaddr] {
        let address: Multiaddr
        do { address = try Multiaddr(text: text) } catch {
            throw .local("parsing host multiaddress", "failed to parse multiaddr \(goQuoted(text)): \(error)")
        }
        guard address.isPeerAddress || !isSecure, address.isDNS else { return [address] }
        let found: [Multiaddr]
        do { found = try world.resolve(address) } catch { throw .local("creating configs", "\(error)") }
        guard !found.isEmpty else { throw .local("creating configs", "\(address) stands for no address") }
        return found
    }
}

extension Multiaddr {
    /// Over libp2p (CLI-084).
    fileprivate var isPeerAddress: Bool { components.contains { ["p2p", "dnsaddr"].contains($0.scheme.name) } }
}

extension APIEndpoint {
    fileprivate func at(_ address: Multiaddr, secret: Bytes?) throws(ControlFailure) -> APIEndpoint {
        var endpoint = self
        let first = address.components.first
        if address.isPeerAddress {
            // CLI-085.
            if let secret, secret.count != 32 { throw .local("creating API client", "length of ProtectorKey should be 32") }
            endpoint.place = .libp2p(address, secret: secret)
            endpoint.tls = nil
        } else if first?.scheme.name == "unix", let path = first?.text {
            endpoint.place = .unix(path: path)
            endpoint.tls = nil
        } else if let first, ["ip4", "ip6", "dns", "dns4", "dns6"].contains(first.scheme.name), let host = first.text {
            endpoint.place = .tcp(host: host, port: address.port ?? (tls == nil ? 80 : 443))
        } else {
            throw .local("creating API client", "\(address) is not a 'thin waist' address")
        }
        return endpoint
    }
}

/// As Go quotes a text in an error.
func goQuoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
}
