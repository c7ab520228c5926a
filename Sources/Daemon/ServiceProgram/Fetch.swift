// HTTP GET of a configuration, with redirects followed (CFG-035).

import Configuration
import HTTP
import Kernel
import RealNet

func fetchConfiguration(_ url: String) throws -> FetchedSource? {
    var url = url
    for _ in 0..<10 {
        guard let place = WebPlace(url) else { return nil }
        let tls = place.isSecure ? TLSContext(host: place.endpoint.host, verifies: true) : nil
        let client = BlockingHTTPClient(endpoint: place.endpoint, tls: tls, timeout: .zero)
        var head = HTTPResponse(status: 0)
        var body: Bytes = []
        do {
            _ = try client.exchange(
                HTTPRequest(method: "GET", target: place.target), body: nil, onHead: { head = $0 }, onBody: { body += $0 })
        } catch { return nil }
        guard (300..<400).contains(head.status), let next = head.headers["Location"] else {
            return FetchedSource(status: head.status, body: body)
        }
        url = next.hasPrefix("/") ? place.origin + next : next
    }
    return nil
}

/// What a client needs of an http or https URL.
private struct WebPlace {
    let isSecure: Bool
    let endpoint: Endpoint
    let target: String
    let origin: String

    init?(_ url: String) {
        isSecure = url.hasPrefix("https://")
        guard isSecure || url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let path = rest.dropFirst(authority.count).prefix { $0 != "#" }
        target = path.isEmpty ? "/" : path.hasPrefix("/") ? String(path) : "/" + path
        origin = (isSecure ? "https://" : "http://") + authority
        var host = String(authority)
        var port: UInt16 = isSecure ? 443 : 80
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            guard let number = UInt16(authority[authority.index(after: colon)...]) else { return nil }
            (host, port) = (String(authority[..<colon]), number)
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { return nil }
        endpoint = Endpoint(host: host, port: port)
    }
}
