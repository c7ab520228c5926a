// Cross-origin requests from browsers, as upstream's CORS library answers them. REST-032..038.

import HTTP
import Kernel

package struct CORS: Sendable {
    private let settings: CORSSettings
    private let methods: [String]
    private let headers: [String]
    private let allowsEveryOrigin: Bool

    package init(_ settings: CORSSettings) {
        self.settings = settings
        let methods = settings.allowedMethods.isEmpty ? ["GET", "POST", "HEAD"] : settings.allowedMethods
        self.methods = methods.map { $0.uppercased() }
        let common = ["accept", "content-type", "x-requested-with"]
        headers = settings.allowedHeaders.isEmpty ? common : settings.allowedHeaders.map { $0.lowercased() }
        allowsEveryOrigin = settings.allowedOrigins.isEmpty || settings.allowedOrigins.contains("*")
    }

    /// A question whether a request would be allowed; it is answered here and goes no further.
    package static func isPreflight(_ request: HTTPRequest) -> Bool {
        request.method == "OPTIONS" && !(request.headers["Access-Control-Request-Method"] ?? "").isEmpty
    }

    /// What to add to the answer of a request that is served.
    package func headers(for request: HTTPRequest) -> HTTPFields {
        var out: HTTPFields = ["Vary": "Origin"]
        guard let origin = request.headers["Origin"], allows(origin), allows(method: request.method) else { return out }
        out.add("Access-Control-Allow-Origin", allowsEveryOrigin ? "*" : origin)
        if !settings.exposedHeaders.isEmpty {
            out.add("Access-Control-Expose-Headers", settings.exposedHeaders.joined(separator: ", "))
        }
        if settings.allowsCredentials { out.add("Access-Control-Allow-Credentials", "true") }
        return out
    }

    package func preflight(_ request: HTTPRequest) -> HTTPResponse {
        var out: HTTPFields = ["Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]
        let method = request.headers["Access-Control-Request-Method"] ?? ""
        let wanted = request.headers["Access-Control-Request-Headers"] ?? ""
        if let origin = request.headers["Origin"], allows(origin), allows(method: method), allows(headers: wanted) {
            out.add("Access-Control-Allow-Origin", allowsEveryOrigin ? "*" : origin)
            out.add("Access-Control-Allow-Methods", method)
            if !wanted.isEmpty { out.add("Access-Control-Allow-Headers", wanted) }
            if settings.allowsCredentials { out.add("Access-Control-Allow-Credentials", "true") }
            let age = settings.maxAge.nanoseconds / 1_000_000_000
            if age > 0 { out.add("Access-Control-Max-Age", String(age)) }
        }
        return HTTPResponse(status: 204, headers: out)
    }

    private func allows(_ origin: String) -> Bool {
        if origin.isEmpty { return false }
        let origin = origin.lowercased()
        return allowsEveryOrigin || settings.allowedOrigins.contains { CORS.matches(origin, $0.lowercased()) }
    }

    /// One star stands for any text.
    private static func matches(_ origin: String, _ pattern: String) -> Bool {
        guard let star = pattern.firstIndex(of: "*") else { return origin == pattern }
        let (head, tail) = (pattern[..<star], pattern[pattern.index(after: star)...])
        return origin.utf8.count >= head.utf8.count + tail.utf8.count && origin.hasPrefix(head) && origin.hasSuffix(tail)
    }

    private func allows(method: String) -> Bool { method == "OPTIONS" || methods.contains(method) }

    private func allows(headers wanted: String) -> Bool {
        headers.contains("*")
            || wanted.split(separator: ",").map { trimmed($0).lowercased() }
                .allSatisfy { $0.isEmpty || headers.contains($0) }
    }
}
