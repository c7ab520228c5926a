// The addresses of this machine's network interfaces.

import Glibc
import Kernel
import Multiformats

package enum Interfaces {
    /// An address itself, or for a wildcard those of all interfaces that are up, loopback first.
    static func addresses(of address: SocketAddress) -> [Multiaddr] {
        let (host, port) = address.parts
        guard host == "0.0.0.0" || host == "::" else { return [address.multiaddr] }
        var found: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&found) == 0 else { return [address.multiaddr] }
        defer { freeifaddrs(found) }
        var addresses: [Multiaddr] = []
        var entry = found
        while let interface = entry?.pointee {
            entry = interface.ifa_next
            guard let socketAddress = interface.ifa_addr, interface.ifa_flags & UInt32(IFF_UP) != 0,
                Int32(socketAddress.pointee.sa_family) == address.family
            else { continue }
            let length = address.family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
            var storage = sockaddr_storage()
            memcpy(&storage, socketAddress, length)
            let host = SocketAddress(storage: storage, length: socklen_t(length)).parts.host
            // A link-local address means nothing without its zone.
            guard !host.lowercased().hasPrefix("fe80:"), let own = SocketAddress(numeric: host, port: port) else { continue }
            addresses.append(own.multiaddr)
        }
        return addresses.isEmpty ? [address.multiaddr] : addresses
    }
}
