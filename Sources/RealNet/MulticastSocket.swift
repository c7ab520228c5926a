// Datagrams to and from the groups of multicast DNS, on chosen networks. RFC 6762, section 3.

import Glibc
import Kernel

/// One network interface, for one family of addresses.
package struct NetworkInterface: Hashable, Sendable {
    package let index: UInt32
    package let family: Int32
    package init(index: UInt32, family: Int32) { (self.index, self.family) = (index, family) }
}

package final class MulticastSocket: @unchecked Sendable {
    private static let port: UInt16 = 5353
    private let loop: EventLoop
    /// A socket for each family of addresses.
    private var sockets: [(file: Int32, interfaces: [NetworkInterface], group: SocketAddress)] = []
    package var onPacket: ((Bytes) -> Void)?

    /// Takes part on those of the interfaces that allow it. Throws if none does.
    package init(loop: EventLoop, interfaces: [NetworkInterface]) throws(ListenFailure) {
        self.loop = loop
        var reason = "no network for it"
        for (family, group) in [(AF_INET, "224.0.0.251"), (AF_INET6, "ff02::fb")] {
            let own = interfaces.filter { $0.family == family }
            guard !own.isEmpty, let address = SocketAddress(numeric: group, port: Self.port) else { continue }
            do { try open(own, address) } catch { reason = error.reason }
        }
        if sockets.isEmpty { throw ListenFailure(reason: reason) }
    }

    private func open(_ interfaces: [NetworkInterface], _ group: SocketAddress) throws(ListenFailure) {
        let isFour = group.family == AF_INET
        let file = socket(group.family, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { throw ListenFailure(reason: "socket: \(Machine.errorText(errno))") }
        // Others on this machine listen there too.
        set(file, SOL_SOCKET, SO_REUSEADDR, Int32(1))
        set(file, SOL_SOCKET, SO_REUSEPORT, Int32(1))
        if !isFour { set(file, Int32(IPPROTO_IPV6), IPV6_V6ONLY, Int32(1)) }
        guard let any = SocketAddress(numeric: isFour ? "0.0.0.0" : "::", port: Self.port),
            any.withPointer({ bind(file, $0, $1) }) == 0
        else {
            let reason = Machine.errorText(errno)
            Glibc.close(file)
            throw ListenFailure(reason: "udp port \(Self.port): bind: \(reason)")
        }
        let joined = interfaces.filter { join(file, group, $0) }
        guard !joined.isEmpty else {
            let reason = Machine.errorText(errno)
            Glibc.close(file)
            throw ListenFailure(reason: "joining \(group.parts.host): \(reason)")
        }
        sockets.append((file, joined, group))
        loop.watch(file, read: true, write: false) { [weak self] _, _ in self?.receive(file) }
    }

    @discardableResult
    private func set<T>(_ file: Int32, _ level: Int32, _ name: Int32, _ value: T) -> Bool {
        withUnsafeBytes(of: value) { setsockopt(file, level, name, $0.baseAddress, socklen_t($0.count)) } == 0
    }

    private func join(_ file: Int32, _ group: SocketAddress, _ interface: NetworkInterface) -> Bool {
        if interface.family == AF_INET {
            var request = ip_mreqn()
            inet_pton(AF_INET, group.parts.host, &request.imr_multiaddr)
            request.imr_ifindex = Int32(interface.index)
            return set(file, Int32(IPPROTO_IP), IP_ADD_MEMBERSHIP, request)
        }
        var request = ipv6_mreq()
        inet_pton(AF_INET6, group.parts.host, &request.ipv6mr_multiaddr)
        request.ipv6mr_interface = interface.index
        return set(file, Int32(IPPROTO_IPV6), IPV6_ADD_MEMBERSHIP, request)
    }

    private func receive(_ file: Int32) {
        var packets: [Bytes] = []
        let buffer = loop.scratch
        while packets.count < 64 {
            let count = recv(file, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else { break }
            packets.append(Bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
        }
        for packet in packets { onPacket?(packet) }
    }

    /// On every network; what one of them does not take is lost, as any datagram may be.
    package func send(_ packet: Bytes) {
        for (file, interfaces, group) in sockets {
            for interface in interfaces {
                if interface.family == AF_INET {
                    var request = ip_mreqn()
                    request.imr_ifindex = Int32(interface.index)
                    set(file, Int32(IPPROTO_IP), IP_MULTICAST_IF, request)
                } else {
                    set(file, Int32(IPPROTO_IPV6), IPV6_MULTICAST_IF, Int32(interface.index))
                }
                _ = group.withPointer { address, length in packet.withUnsafeBytes { sendto(file, $0.baseAddress, $0.count, 0, address, length) } }
            }
        }
    }

    package func close() {
        for (file, _, _) in sockets {
            loop.unwatch(file)
            Glibc.close(file)
        }
        sockets = []
    }
}
