// Follows redirections as Go's client does: a request without a body goes on to where it is sent, ten times at most.

import HTTP
import Kernel

struct HTTPFollower {
    private static let redirectsMax = 10
    let host: APIClient.Host
    let connect: (APIEndpoint) throws -> any HTTPTransport

    func exchange(
        _ request: HTTPRequest, body: (() throws -> Bytes?)?, onHead: (HTTPResponse) throws -> Void,
        onBody: (Bytes) throws -> Void
    ) throws -> HTTPFields {
        var (request, transport, endpoint) = (request, host.transport, host.endpoint)
        for _ in 0...HTTPFollower.redirectsMax {
            var location: String?
            var status = 0
            let trailers = try transport.exchange(request, body: body) { head in
                status = head.status
                if body == nil, [301, 302, 303, 307, 308].contains(status) { location = head.headers["Location"] }
                if location == nil { try onHead(head) }
            } onBody: { bytes in
                if location == nil { try onBody(bytes) }
            }
            guard let location else { return trailers }
            if status < 307 && request.method != "GET" { request.method = "GET" }
            if location.hasPrefix("/") && !location.hasPrefix("//") {
                request.target = location
                continue
            }
            guard let url = WebURL(location) else { throw ControlFault("failed to parse Location header \"\(location)\"") }
            request.target = url.target
            request.headers["Host"] = url.authority
            let next = url.endpoint(like: endpoint)
            if next != endpoint {
                request.headers["Authorization"] = nil
                (transport, endpoint) = (try connect(next), next)
            }
        }
        throw ControlFault("stopped after \(HTTPFollower.redirectsMax) redirects")
    }
}

/// An absolute http or https URL.
struct WebURL: Equatable {
    let isSecure: Bool
    let host: String
    /// Nil where the scheme's own is meant.
    let port: UInt16?
    /// Percent-encoded, with the query.
    let target: String

    init?(_ text: String) {
        let schemes = [("http://", false), ("https://", true)]
        guard let (prefix, isSecure) = schemes.first(where: { text.lowercased().hasPrefix($0.0) }) else { return nil }
        self.isSecure = isSecure
        let rest = text.dropFirst(prefix.count).prefix { $0 != "#" }
        let place = rest.prefix { $0 != "/" && $0 != "?" }
        let tail = rest.dropFirst(place.count)
        target = tail.hasPrefix("/") ? String(tail) : "/" + tail
        let address = place.split(separator: "@").last.map(String.init) ?? ""
        let portText: Substring
        if address.hasPrefix("["), let end = address.firstIndex(of: "]") {
            host = String(address[address.index(after: address.startIndex)..<end])
            portText = address[address.index(after: end)...]
        } else {
            host = String(address.prefix { $0 != ":" })
            portText = address.dropFirst(host.count)
        }
        guard !host.isEmpty, portText.isEmpty || portText.hasPrefix(":") else { return nil }
        if portText.count > 1 {
            guard let number = UInt16(portText.dropFirst()) else { return nil }
            port = number
        } else {
            port = nil
        }
    }

    var authority: String { (host.contains(":") ? "[\(host)]" : host) + (port.map { ":\($0)" } ?? "") }
    /// The last element of the path, as it names a file.
    var name: String { String(path.split(separator: "/").last ?? "/") }
    private var path: Substring { target.prefix { $0 != "?" } }

    func endpoint(like other: APIEndpoint?) -> APIEndpoint {
        APIEndpoint(
            place: .tcp(host: host, port: port ?? (isSecure ? 443 : 80)), tls: isSecure ? other?.tls ?? .checked : nil,
            timeout: other?.timeout)
    }
}
