// The world of a real run: this process, its clock, and the system's resolver.

import Foundation
import Kernel
import Multiformats

package struct SystemWorld: ControlWorld {
    private let connect: (APIEndpoint) throws -> any HTTPTransport
    private let named: (Multiaddr) throws -> [Multiaddr]

    /// `named` is what a dnsaddr stands for.
    package init(
        named: @escaping (Multiaddr) throws -> [Multiaddr] = { [$0] }, transport: @escaping (APIEndpoint) throws -> any HTTPTransport
    ) {
        self.named = named
        connect = transport
    }

    package var environment: [String: String] { ProcessInfo.processInfo.environment }
    package func print(_ text: String) { SystemWorld.write(text, to: STDOUT_FILENO) }
    package func printError(_ text: String) { SystemWorld.write(text, to: STDERR_FILENO) }

    /// What cannot be written has nobody to be told.
    private static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno != EINTR { return }
            rest.removeFirst(max(0, count))
        }
    }

    package var now: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
    }

    package func sleep(_ span: Span) { Thread.sleep(forTimeInterval: Double(span.nanoseconds) / 1e9) }

    package func entropy(_ count: Int) -> Bytes {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    package func transport(to endpoint: APIEndpoint) throws -> any HTTPTransport { try connect(endpoint) }

    /// One address for each IP of the name, which is the first component.
    package func resolve(_ address: Multiaddr) throws -> [Multiaddr] {
        if address.components.first?.scheme.name == "dnsaddr" {
            return try named(address).flatMap { $0 == address ? [$0] : try resolve($0) }
        }
        let families = ["dns": AF_UNSPEC, "dns4": AF_INET, "dns6": AF_INET6]
        guard let first = address.components.first, let family = families[first.scheme.name], let name = first.text else {
            return [address]
        }
        var hints = addrinfo()
        hints.ai_family = family
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(name, nil, &hints, &list)
        guard status == 0 else { throw ControlFault("lookup \(name): \(String(cString: gai_strerror(status)))") }
        defer { freeaddrinfo(list) }
        let rest = address.components.dropFirst().map { "/" + $0.scheme.name + ($0.text.map { "/" + $0 } ?? "") }.joined()
        var out: [Multiaddr] = []
        for entry in sequence(first: list, next: { $0?.pointee.ai_next }) {
            guard let entry, let text = SystemWorld.numeric(entry.pointee) else { break }
            out.append(try Multiaddr(text: (text.contains(":") ? "/ip6/" : "/ip4/") + text + rest))
        }
        return out
    }

    private static func numeric(_ entry: addrinfo) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard getnameinfo(entry.ai_addr, entry.ai_addrlen, &buffer, socklen_t(buffer.count), nil, 0, NI_NUMERICHOST) == 0
        else { return nil }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
