// Cross-origin requests from browsers, as upstream's CORS library answers them. REST-032..038.

import HTTP
import Kernel

package struct CORS: Sendable {
    private let settings: CORSSettings
    private let methods: [String]
    private let headers: SortedSet<String>
    private let exposed: [String]
    private let allowsEveryOrigin: Bool

    package init(_ settings: CORSSettings) {
        self.settings = settings
        // Methods as they are written: those of HTTP are told apart by case.
        methods = settings.allowedMethods.isEmpty ? ["GET", "POST", "HEAD"] : settings.allowedMethods
        let common = ["accept", "content-type", "x-requested-with"]
        headers = SortedSet(settings.allowedHeaders.isEmpty ? common : settings.allowedHeaders.map { $0.lowercased() })
        exposed = settings.exposedHeaders.map(HTTPFields.canonical)
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
        allow(origins: request, &out)
        if !exposed.isEmpty { out.add("Access-Control-Expose-Headers", exposed.joined(separator: ", ")) }
        if settings.allowsCredentials { out.add("Access-Control-Allow-Credentials", "true") }
        return out
    }

    package func preflight(_ request: HTTPRequest) -> HTTPResponse {
        var out: HTTPFields = ["Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]
        let method = request.headers["Access-Control-Request-Method"] ?? ""
        let wanted = request.headers.all("Access-Control-Request-Headers")
        if let origin = request.headers["Origin"], allows(origin), allows(method: method), allows(headers: wanted) {
            allow(origins: request, &out)
            for method in request.headers.all("Access-Control-Request-Method") { out.add("Access-Control-Allow-Methods", method) }
            if wanted.first?.isEmpty == false { for names in wanted { out.add("Access-Control-Allow-Headers", names) } }
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

    /// Every one that was sent is sent back.
    private func allow(origins request: HTTPRequest, _ out: inout HTTPFields) {
        for origin in allowsEveryOrigin ? ["*"] : request.headers.all("Origin") { out.add("Access-Control-Allow-Origin", origin) }
    }

    /// As browsers send names: in lower case, in their order, each once (Fetch, "CORS-unsafe request-header names"). Some empty ones are
    /// let pass, and one blank on either side.
    private func allows(headers wanted: [String]) -> Bool {
        if headers.contains("*") { return true }
        let names = wanted.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map(CORS.unpadded)
        let known = names.filter { !$0.isEmpty }
        return names.count - known.count <= 16 && known.allSatisfy(headers.contains) && zip(known, known.dropFirst()).allSatisfy { $0 < $1 }
    }
    private static func unpadded(_ name: Substring) -> String {
        var bytes = name.utf8
        if let first = bytes.first, isBlank(first) { bytes.removeFirst() }
        if let last = bytes.last, isBlank(last) { bytes.removeLast() }
        return String(Substring(bytes))
    }
}
