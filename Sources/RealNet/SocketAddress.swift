// Addresses of sockets, and their multiaddresses.

import Glibc
import Kernel
import Multiformats

package struct SocketAddress: Sendable, CustomStringConvertible {
    var storage = sockaddr_storage()
    var length: socklen_t

    init(storage: sockaddr_storage, length: socklen_t) {
        self.storage = storage
        self.length = length
    }

    /// From a numeric IPv4 or IPv6 address. Nil for a name.
    package init?(numeric host: String, port: UInt16) {
        var four = sockaddr_in()
        var six = sockaddr_in6()
        let (address, zone) = SocketAddress.zone(host)
        if inet_pton(AF_INET, address, &four.sin_addr) == 1 {
            four.sin_family = sa_family_t(AF_INET)
            four.sin_port = port.bigEndian
            length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: &four) { to.copyMemory(from: $0) } }
        } else if inet_pton(AF_INET6, address, &six.sin6_addr) == 1 {
            six.sin6_family = sa_family_t(AF_INET6)
            six.sin6_port = port.bigEndian
            six.sin6_scope_id = zone.isEmpty ? 0 : if_nametoindex(zone)
            length = socklen_t(MemoryLayout<sockaddr_in6>.size)
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: &six) { to.copyMemory(from: $0) } }
        } else {
            return nil
        }
    }

    /// A socket of the file system. Nil if the path is too long for one.
    package init?(path: String) {
        var address = sockaddr_un()
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        length = socklen_t(MemoryLayout<sockaddr_un>.size)
        withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: &address) { to.copyMemory(from: $0) } }
    }

    private static func zone(_ host: String) -> (String, String) {
        guard let percent = host.firstIndex(of: "%") else { return (host, "") }
        return (String(host[..<percent]), String(host[host.index(after: percent)...]))
    }

    package var family: Int32 { Int32(storage.ss_family) }
    /// Go's name for the kind of network.
    var network: String { family == AF_UNIX ? "unix" : "tcp" }
    /// Of a socket of the file system; empty where it has no name, as whoever connects to one.
    var path: String? {
        guard family == AF_UNIX else { return nil }
        return withUnsafeBytes(of: storage) { bytes in
            let name = bytes[MemoryLayout<sa_family_t>.size..<max(MemoryLayout<sa_family_t>.size, min(Int(length), bytes.count))]
            return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// The numeric host and the port.
    package var parts: (host: String, port: UInt16) {
        if let path { return (path, 0) }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        var copy = storage
        let port = withUnsafePointer(to: &copy) { pointer -> UInt16 in
            if family == AF_INET {
                return pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    var address = $0.pointee.sin_addr
                    inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
                    return UInt16(bigEndian: $0.pointee.sin_port)
                }
            }
            return pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                var address = $0.pointee.sin6_addr
                inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
                return UInt16(bigEndian: $0.pointee.sin6_port)
            }
        }
        return (String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self), port)
    }

    package var description: String {
        if let path { return path.isEmpty ? "@" : path }
        let (host, port) = parts
        return family == AF_INET6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Why there is no connection, as Go's client puts it: what TLS and HTTP found out says so itself.
    func dialFailure(_ reason: String) -> String {
        ["tls:", "http:"].contains(where: reason.hasPrefix) ? reason : "dial \(network) \(self): \(reason)"
    }

    package var multiaddr: Multiaddr {
        let (host, port) = parts
        let text = path.map { "/unix\($0)" } ?? "/\(family == AF_INET6 ? "ip6" : "ip4")/\(host)/tcp/\(port)"
        guard let address = try? Multiaddr(text: text) else { unreachable("a socket's address is a multiaddress: \(text)") }
        return address
    }

    package func withPointer<T>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> T) -> T {
        var copy = storage
        return withUnsafePointer(to: &copy) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// The port that a socket has from then on; nil if it cannot be bound.
    package func bind(_ file: Int32) -> UInt16? {
        withPointer { Glibc.bind(file, $0, $1) } == 0 ? SocketAddress.local(of: file)?.parts.port : nil
    }

    private static func of(_ file: Int32, _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32)
        -> SocketAddress?
    {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(file, $0, &length) }
        }
        return result == 0 ? SocketAddress(storage: storage, length: length) : nil
    }
    static func remote(of file: Int32) -> SocketAddress? { of(file) { getpeername($0, $1, $2) } }
    static func local(of file: Int32) -> SocketAddress? { of(file) { getsockname($0, $1, $2) } }
}

/// A host by name or number, and a port; or a socket of the file system.
package struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    package var host: String
    package var port: UInt16
    private var path: String?
    /// Of the addresses that a name may stand for (DNS-01).
    private var family = AF_UNSPEC
    package init(host: String, port: UInt16) { self.host = host; self.port = port }
    package init(path: String) {
        self.init(host: "localhost", port: 0)
        self.path = path
    }
    /// As a Host header names it.
    package var description: String {
        if path != nil { return host }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// The first ip4, ip6 or dns part of a multiaddress with the tcp part after it. Nil for anything else.
    package init?(_ address: Multiaddr) {
        let words = address.description.split(separator: "/").map(String.init)
        guard words.count >= 4, ["ip4", "ip6", "dns", "dns4", "dns6"].contains(words[0]), words[2] == "tcp",
            let port = UInt16(words[3])
        else { return nil }
        self.init(host: words[1], port: port)
        family = words[0] == "dns4" ? AF_INET : words[0] == "dns6" ? AF_INET6 : AF_UNSPEC
    }

    /// Any of these, or the socket of a unix part (REST-001, IPFS-02).
    package init?(local address: Multiaddr) {
        if address.isUnix, let path = address.components.first?.text { self.init(path: path) } else { self.init(address) }
    }

    /// What needs no looking up.
    fileprivate var known: Result<[SocketAddress], ResolutionFailure>? {
        guard let path else { return SocketAddress(numeric: host, port: port).map { .success([$0]) } }
        guard let address = SocketAddress(path: path) else {
            return .failure(ResolutionFailure(reason: "the path of a socket may have 107 bytes: \(path)"))
        }
        return .success([address])
    }

    /// Blocks while a name is looked up.
    package func resolved() -> Result<[SocketAddress], ResolutionFailure> {
        if let known { return known }
        var hints = addrinfo()
        hints.ai_family = family
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        guard code == 0 else {
            return .failure(ResolutionFailure(reason: "lookup \(host): \(String(cString: gai_strerror(code)).lowercased())"))
        }
        defer { freeaddrinfo(found) }
        var addresses: [SocketAddress] = []
        var entry = found
        while let info = entry?.pointee {
            var storage = sockaddr_storage()
            memcpy(&storage, info.ai_addr, Int(info.ai_addrlen))
            addresses.append(SocketAddress(storage: storage, length: info.ai_addrlen))
            entry = info.ai_next
        }
        return .success(addresses)
    }
}

extension Multiaddr {
    package var isUnix: Bool { components.first?.scheme.name == "unix" }
}

package struct ResolutionFailure: Error, Sendable, CustomStringConvertible {
    package let reason: String
    package init(reason: String) { self.reason = reason }
    package var description: String { reason }
}

/// Looks names up without stopping the loop.
package final class Resolver: @unchecked Sendable {
    private let loop: EventLoop
    private let names: NamedAddresses
    /// Most hosts dial numbers only.
    private lazy var worker = Worker()
    package init(loop: EventLoop, names: NamedAddresses = NamedAddresses()) {
        self.loop = loop
        self.names = names
    }

    package func resolve(_ endpoint: Endpoint, then: @escaping @Sendable (Result<[SocketAddress], ResolutionFailure>) -> Void) {
        if let known = endpoint.known { return then(known) }
        worker.run { [loop] in
            let result = endpoint.resolved()
            loop.post { then(result) }
        }
    }

    /// All that a dnsaddr stands for and that can be dialled over TCP, and what the stream is carried by there.
    package func resolve(
        dnsaddr address: Multiaddr, then: @escaping @Sendable (Result<[(SocketAddress, Multiaddr.Carrier)], ResolutionFailure>) -> Void
    ) {
        worker.run { [loop, names] in
            let result = names.resolved(address).flatMap { Resolver.sockets($0, of: address) }
            loop.post { then(result) }
        }
    }

    private static func sockets(_ found: [Multiaddr], of address: Multiaddr) -> Result<[(SocketAddress, Multiaddr.Carrier)], ResolutionFailure> {
        var sockets: [(SocketAddress, Multiaddr.Carrier)] = []
        var failure: ResolutionFailure?
        for target in found {
            guard let carrier = target.carrier, let endpoint = Endpoint(target) else { continue }
            switch endpoint.resolved() {
            case .success(let some): sockets += some.map { ($0, carrier) }
            case .failure(let reason): failure = failure ?? reason
            }
        }
        if !sockets.isEmpty { return .success(sockets) }
        let none = "\(address) stands for \(found.count) addresses, of which none can be dialled over TCP"
        return .failure(failure ?? ResolutionFailure(reason: none))
    }
}
