// What a request line points at: the decoded path, and the query.

import Encoding
import Kernel

package struct RequestTarget: Sendable, Equatable {
    /// Decoded, so that `%2F` separates as `/` does (REST-017). Not always one: `*`, or nothing where a URL ends with its host.
    package let path: String
    package let query: String

    /// Nil where Go's server refuses the request line: bad percent-encoding, control characters, neither a path nor a URL.
    package init?(_ target: String, isConnect: Bool = false) {
        guard !target.utf8.contains(where: { $0 < 0x21 || $0 == 0x7f }) else { return nil }
        if target == "*" { self.init(path: target, query: ""); return }
        let halves = target.utf8.split(separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
        guard let encoded = RequestTarget.withoutAuthority(Array(halves[0])[...], isConnect),
            let path = URLText.unescaped(encoded, isQuery: false)
        else { return nil }
        self.init(path: path, query: halves.count == 2 ? String(decoding: Array(halves[1]), as: UTF8.self) : "")
    }
    private init(path: String, query: String) { self.path = path; self.query = query }

    /// Proxies are sent whole URLs, or with CONNECT an authority alone.
    private static func withoutAuthority(_ target: ArraySlice<UInt8>, _ isConnect: Bool) -> ArraySlice<UInt8>? {
        let slash = UInt8(ascii: "/")
        if target.first == slash { return target }
        for scheme in isConnect ? [""] : ["http://", "https://"] where target.starts(with: scheme.utf8) {
            return target.dropFirst(scheme.utf8.count).drop { $0 != slash }
        }
        return nil
    }

    package var segments: [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }
    }
    package var endsInSlash: Bool { path.utf8.last == UInt8(ascii: "/") }

    /// Without empty, `.` and `..` segments; a slash at the end stays (Go's path.Clean).
    package var cleaned: RequestTarget {
        var parts: [String] = []
        for segment in segments where segment != "." {
            if segment == ".." { _ = parts.popLast() } else { parts.append(segment) }
        }
        let text = "/" + parts.joined(separator: "/")
        return RequestTarget(path: endsInSlash && !parts.isEmpty ? text + "/" : text, query: query)
    }

    /// Without the slash at the end.
    package var withoutSlash: RequestTarget {
        RequestTarget(path: String(decoding: Array(path.utf8.dropLast()), as: UTF8.self), query: query)
    }

    /// Where a redirect points. Never starts with two slashes, which would name another host.
    package var location: String {
        URLText.pathEscaped(path) + (query.isEmpty ? "" : "?" + query)
    }
}
