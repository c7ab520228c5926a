// Who is asking: basic authentication, and tokens signed with a user's password. REST-022..031.

import Crypto
import Encoding
import HTTP
import Kernel
import Multiformats

package struct Authenticator: Sendable {
    package enum Verdict: Equatable, Sendable {
        /// Nobody in particular where authentication is off or not asked for.
        case admitted(user: String?)
        case denied(challenges: [String], message: String)
    }
    private static let realm = "realm=\"Restricted IPFS Cluster API\""

    private let credentials: [String: String]?
    package init(credentials: [String: String]?) { self.credentials = credentials }

    package func judge(_ request: HTTPRequest, path: String, at now: WallTime) -> Verdict {
        guard credentials != nil, request.method != "OPTIONS", !(request.method == "GET" && path == "/health") else {
            return .admitted(user: nil)
        }
        let header = request.headers["Authorization"] ?? ""
        if let (user, password) = Authenticator.basic(header) {
            if isRight(user, password) { return .admitted(user: user) }
            return .denied(challenges: ["Basic \(Self.realm)"], message: "unauthorized: access denied")
        }
        if let token = Authenticator.argument(of: header, scheme: "bearer ") {
            if let user = issuer(of: token, at: now) { return .admitted(user: user) }
            return .denied(
                challenges: ["Bearer \(Self.realm), error=\"invalid_token\""], message: "unauthorized: invalid token")
        }
        return .denied(
            challenges: ["Bearer \(Self.realm)", "Basic \(Self.realm)"], message: "unauthorized: no auth provided")
    }

    // MARK: Basic

    private static func argument(of header: String, scheme: String) -> String? {
        guard header.utf8.count >= scheme.utf8.count else { return nil }
        let (head, rest) = (header.utf8.prefix(scheme.utf8.count), header.utf8.dropFirst(scheme.utf8.count))
        guard HTTPFields.same(String(decoding: Array(head), as: UTF8.self), scheme) else { return nil }
        return String(decoding: Array(rest), as: UTF8.self)
    }

    /// Nil unless the header is one of basic authentication; then others are tried.
    private static func basic(_ header: String) -> (user: String, password: String)? {
        guard var text = argument(of: header, scheme: "basic "), text.utf8.count % 4 == 0 else { return nil }
        for _ in 0..<2 where text.utf8.last == UInt8(ascii: "=") { text.removeLast() }
        guard let bytes = Multibase.base64.decode(text), let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else {
            return nil
        }
        let (user, password) = (bytes[..<colon], bytes[(colon + 1)...])
        return (String(decoding: user, as: UTF8.self), String(decoding: password, as: UTF8.self))
    }

    private func isRight(_ user: String, _ password: String) -> Bool {
        guard let expected = credentials?[user], !user.isEmpty, !password.isEmpty else { return false }
        return Authenticator.same(Bytes(expected.utf8), Bytes(password.utf8))
    }

    /// Takes as long for a near miss as for a far one.
    private static func same(_ a: Bytes, _ b: Bytes) -> Bool {
        let (a, b) = (sha256(a), sha256(b))
        return zip(a, b).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    // MARK: Tokens (RFC 7519)

    /// REST-030. Nil for who has no password.
    package func token(for user: String) -> String? {
        guard let password = credentials?[user] else { return nil }
        let header = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", claims = JSON.object(["iss": .string(user)]).encoded()
        let signed = Authenticator.base64(Bytes(header.utf8)) + "." + Authenticator.base64(Bytes(claims.utf8))
        return signed + "." + Authenticator.base64(hmac(.sha256, key: Bytes(password.utf8), Bytes(signed.utf8)))
    }

    private static func base64(_ bytes: Bytes) -> String { Multibase.base64url.encode(bytes) }
    private static let functions: [String: HashFunction] = ["HS256": .sha256, "HS384": .sha384, "HS512": .sha512]

    /// REST-029: the user who signed the token, if it is right and in time. Anyone can sign with an empty password.
    private func issuer(of token: String, at now: WallTime) -> String? {
        let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard parts.count == 3, let header = Authenticator.object(parts[0]), let claims = Authenticator.object(parts[1]),
            let function = Authenticator.functions[header["alg"]?.text ?? ""], let user = claims["iss"]?.text,
            let password = credentials?[user], !password.isEmpty, let signature = Multibase.base64url.decode(parts[2])
        else { return nil }
        let expected = hmac(function, key: Bytes(password.utf8), Bytes("\(parts[0]).\(parts[1])".utf8))
        guard Authenticator.same(signature, expected), Authenticator.isInTime(claims, now) else { return nil }
        return user
    }

    private static func object(_ text: String) -> JSON? {
        guard let bytes = Multibase.base64url.decode(text), let json = try? JSONReader.parse(bytes), case .object = json
        else { return nil }
        return json
    }

    private static func isInTime(_ claims: JSON, _ now: WallTime) -> Bool {
        let seconds = Double(now.seconds)
        let rules: [(claim: String, holds: (Double) -> Bool)] = [
            ("exp", { seconds < $0 }), ("nbf", { seconds >= $0 }), ("iat", { seconds >= $0 }),
        ]
        return rules.allSatisfy { rule in
            guard let claim = claims[rule.claim], claim != .null else { return true }
            return claim.double.map(rule.holds) ?? false
        }
    }
}
