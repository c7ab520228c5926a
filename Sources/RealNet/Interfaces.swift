// The addresses of this machine's network interfaces.

import Glibc
import Kernel
import Multiformats

package enum Interfaces {
    private struct Entry {
        let name: String
        let flags: UInt32
        let address: SocketAddress
    }

    /// Those that are up, with each of their addresses; loopback first.
    private static var all: [Entry] {
        var found: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&found) == 0 else { return [] }
        defer { freeifaddrs(found) }
        var entries: [Entry] = []
        var next = found
        while let interface = next?.pointee {
            next = interface.ifa_next
            guard let socketAddress = interface.ifa_addr, interface.ifa_flags & UInt32(IFF_UP) != 0 else { continue }
            let family = Int32(socketAddress.pointee.sa_family)
            guard family == AF_INET || family == AF_INET6 else { continue }
            let length = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
            var storage = sockaddr_storage()
            memcpy(&storage, socketAddress, length)
            entries.append(
                Entry(
                    name: String(cString: interface.ifa_name), flags: interface.ifa_flags,
                    address: SocketAddress(storage: storage, length: socklen_t(length))))
        }
        return entries
    }

    /// An address itself, or for a wildcard those of all interfaces that are up, loopback first.
    static func addresses(of address: SocketAddress) -> [Multiaddr] {
        let (host, port) = address.parts
        guard host == "0.0.0.0" || host == "::" else { return [address.multiaddr] }
        var addresses: [Multiaddr] = []
        for entry in all where entry.address.family == address.family {
            let host = entry.address.parts.host
            // A link-local address means nothing without its zone.
            guard !host.lowercased().hasPrefix("fe80:"), let own = SocketAddress(numeric: host, port: port) else { continue }
            addresses.append(own.multiaddr)
        }
        return addresses.isEmpty ? [address.multiaddr] : addresses
    }

    /// The networks on which these addresses are, where many can be reached at once: the machine itself is none of them.
    package static func multicast(reaching addresses: [Multiaddr]) -> [NetworkInterface] {
        let hosts = addresses.compactMap { $0.components.first?.text }
        var found: [NetworkInterface] = []
        for entry in all where entry.flags & UInt32(IFF_MULTICAST) != 0 && entry.flags & UInt32(IFF_LOOPBACK) == 0 {
            let interface = NetworkInterface(index: if_nametoindex(entry.name), family: entry.address.family)
            if hosts.contains(entry.address.parts.host), !found.contains(interface) { found.append(interface) }
        }
        return found
    }
}
