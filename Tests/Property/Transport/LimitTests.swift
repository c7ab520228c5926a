// What a host takes on, from one peer, from one address and in all. RM-01..06.

import Kernel
import Multiformats
import Seams
import Testing
import Transport

/// A peer that opens streams as it likes, over several connections with host 0 of a network.
private struct Guest {
    var ends: [(socket: SocketID, end: End)] = []

    mutating func connect(_ network: inout Network, _ number: UInt64, from ip: String = "10.0.0.200") {
        let socket = SocketID.inbound(number)
        var end = End(machine: Connection(
            role: .dialler(expecting: network.id(0)), key: identity(77), networkKey: nil,
            entropy: Bytes(repeating: UInt8(number & 0xff), count: 88), protocols: [], now: at(0)))
        end.run { $0.start(now: at(0), effects: &$1) }
        network.catches.insert(socket)
        network.tell(0, .accepted(socket, remote: multiaddr("/ip4/\(ip)/tcp/\(number)")))
        ends.append((socket, end))
        exchange(&network)
    }

    mutating func exchange(_ network: inout Network) {
        var isBusy = true
        while isBusy {
            isBusy = false
            for index in ends.indices {
                let out = ends[index].end.wire
                ends[index].end.wire = []
                if !out.isEmpty {
                    network.tell(0, .received(ends[index].socket, out))
                    ends[index].end.run { $0.onWritten(out.count, now: at(0), effects: &$1) }
                }
                guard let back = network.caught.removeValue(forKey: ends[index].socket) else { continue }
                network.tell(0, .written(ends[index].socket, back.count))
                ends[index].end.run { $0.onBytes(back, now: at(0), effects: &$1) }
                isBusy = true
            }
        }
    }

    mutating func open(_ network: inout Network, _ connection: Int, _ name: String = "/echo/1") -> SubstreamID? {
        var id: SubstreamID?
        ends[connection].end.run { id = $0.open([name], now: at(0), effects: &$1) }
        exchange(&network)
        return id
    }

    func isRefused(_ connection: Int, _ id: SubstreamID?) -> Bool {
        let reason = "stream reset by the other side (code 0x1002)"
        return id.map { ends[connection].end.has(.failed($0, reason: reason)) } ?? true
    }

    /// Whether one more is refused.
    mutating func isFull(_ network: inout Network, _ connection: Int) -> Bool {
        let id = open(&network, connection)
        return isRefused(connection, id)
    }
}

private func network(_ change: (inout HostSettings) -> Void) -> Network {
    var settings = HostSettings()
    change(&settings)
    return Network(1, settings: settings)
}

@Suite struct LimitTests {
    /// RM-01..03, as upstream computes them.
    @Test(arguments: [
        (0, 0, 400, 800, 256, 32), (16, 4096, 400, 800, 256, 4), (1 << 20, 100, 300, 800, 256, 25), (100 << 20, 1 << 20, 1000, 2000, 256, 25),
        (128 << 20, 1 << 20, 400, 800, 256, 32), (129 << 20, 1 << 20, 400, 800, 272, 32), (1 << 30, 1 << 20, 400, 1024, 384, 256),
        (6 << 30, 4096, 400, 6144, 1024, 1024), (6 << 30, 1 << 20, 5000, 10_000, 1024, 1536),
    ] as [(Int, Int, Int, Int, Int, Int)])
    func limitsFollowTheMachine(
        _ memory: Int, _ descriptors: Int, _ high: Int, _ connections: Int, _ streams: Int, _ handshakes: Int
    ) {
        let limits = ResourceLimits(memoryBytes: memory, descriptors: descriptors, highWater: high)
        #expect(limits.inboundConnections == connections && limits.inboundStreamsPerPeer == streams)
        #expect(limits.memoryBytes == memory && limits.descriptors == descriptors)
        #expect(limits.inboundConnectionsPerPeer == 8 && limits.identifyStreamsPerPeer == 16 && limits.pingStreamsPerPeer == 2)
        if memory != 16 { #expect(limits.inboundHandshakes == handshakes) }
    }

    @Test func aPeersStreamsCountOverAllItsConnections() {
        var network = network { $0.resources.inboundStreamsPerPeer = 5 }
        var guest = Guest()
        for number in 1...2 as ClosedRange<UInt64> { guest.connect(&network, number) }
        var ids: [SubstreamID?] = []
        for number in 0..<5 { ids.append(guest.open(&network, number % 2)) }
        let refused = (0..<5).filter { guest.isRefused($0 % 2, ids[$0]) }
        let isFull = [guest.isFull(&network, 0), guest.isFull(&network, 1)]
        #expect(refused.isEmpty && isFull == [true, true])
        // One that ends makes room for one, wherever.
        guest.ends[0].end.run { [id = ids[0] ?? 0] in $0.reset(id, now: at(0), effects: &$1) }
        guest.exchange(&network)
        let after = [guest.isFull(&network, 1), guest.isFull(&network, 1), guest.isFull(&network, 0)]
        #expect(after == [false, true, true])
    }

    @Test func aPeersConnectionsAreCounted() {
        var network = network {
            $0.resources.inboundConnectionsPerPeer = 3
            $0.inboundConnectionsPerAddressLimit = 100
        }
        var guest = Guest()
        for number in 1...5 as ClosedRange<UInt64> { guest.connect(&network, number) }
        #expect(network.hosts[0].connectionCount == 3 && network.hosts[0].socketCount == 3)
        let closings = guest.ends.map { $0.end.closing ?? "" }
        #expect(closings.prefix(3).allSatisfy { $0.isEmpty } && closings.suffix(2).allSatisfy { $0.contains("resource limit") })
    }

    /// Four windows fit into the memory, and none may grow beyond half of it.
    @Test func windowsAreWithinTheMemory() {
        var network = network { $0.resources.memoryBytes = 1100 << 10 }
        var guest = Guest()
        guest.connect(&network, 1)
        #expect(network.hosts[0].windowBytes == 0, "it was refused to ask who that is")
        let ids = (0..<4).compactMap { _ in guest.open(&network, 0) }
        #expect(network.hosts[0].windowBytes == 1024 << 10)
        let refused = ids.filter { guest.isRefused(0, $0) }, isFull = guest.isFull(&network, 0)
        #expect(refused.isEmpty && isFull)
        func pour(_ id: SubstreamID, _ bytes: Int) {
            guest.ends[0].end.run { $0.send(id, Bytes(repeating: 1, count: bytes), now: at(0), effects: &$1) }
            guest.exchange(&network)
        }
        for _ in 0..<20 { pour(ids[0], 100_000) }
        #expect(network.hosts[0].windowBytes == 1024 << 10)
        for id in ids.dropFirst() { guest.ends[0].end.run { $0.reset(id, now: at(0), effects: &$1) } }
        guest.exchange(&network)
        #expect(network.hosts[0].windowBytes == 256 << 10)
        for _ in 0..<40 { pour(ids[0], 100_000) }
        #expect(network.hosts[0].windowBytes == 512 << 10)
        network.tell(0, .closed(guest.ends[0].socket, reason: "EOF"))
        #expect(network.hosts[0].windowBytes == 0)
    }

    @Test func descriptorsAreCounted() {
        var network = network { $0.resources.descriptors = 5 }
        for number in 1...4 as ClosedRange<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/10.7.0.\(number)/tcp/1")))
        }
        let silent = multiaddr("/ip4/10.0.0.66/tcp/1")
        network.blackHoles = [silent]
        network.want(0, .dial(identity(9).peerID, [silent]))
        network.want(0, .dial(identity(8).peerID, [silent]))
        #expect(network.dialFailures == ["failed to dial: failed to dial \(identity(8).peerID): 5 sockets are as many as are allowed"])
        #expect(network.hosts[0].socketCount == 5)
        network.tell(0, .accepted(.inbound(9), remote: multiaddr("/ip4/10.7.0.9/tcp/1")))  // the oldest makes room
        #expect(network.hosts[0].socketCount == 5)
        network.tell(0, .received(.inbound(1), [1]))
        network.pass(60_000)
        #expect(network.hosts[0].socketCount == 0)
    }

    /// RM-04.
    @Test func addressesOfOneNetworkAreCountedTogether() {
        var network = network { _ in }
        var number: UInt64 = 0
        func knock(_ ip: String) -> Int {
            number += 1
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/\(ip.contains(":") ? "ip6" : "ip4")/\(ip)/tcp/1")))
            return network.hosts[0].socketCount
        }
        for host in 1...9 { #expect(knock("2001:db8:0:aa\(host)::1") == min(host, 8)) }  // of one /56
        for block in 1...7 { for host in 1...9 { #expect(knock("2001:db8:0:\(block)00::\(host)") == 8 * block + min(host, 8)) } }
        #expect(knock("2001:db8:0:900::1") == 64)  // of one /48
        #expect(knock("2001:db8:1::1") == 65)
        for host in 1...9 { #expect(knock("10.0.0.\(host)") == 65 + host) }
        for _ in 0..<20 { _ = knock("::1") }
        for host in 1...20 { _ = knock("127.0.0.\(host)") }
        #expect(network.hosts[0].socketCount == 74 + 40)
    }

    /// `resource_manager.enabled` is off: addresses are counted all the same, as upstream does.
    @Test func withoutLimitsThereAreNone() {
        var network = network { $0.resources = .unlimited }
        for number in 0..<3000 as Range<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/10.\(number >> 8).\(number & 0xff).1/tcp/1")))
        }
        #expect(network.hosts[0].socketCount == 3000)
        var guest = Guest()
        guest.connect(&network, 5000)
        let isFull = (0..<600).contains { _ in guest.isFull(&network, 0) }
        #expect(!isFull)
        for number in 6000..<6020 as Range<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/10.99.9.9/tcp/1")))
        }
        #expect(network.hosts[0].socketCount == 3000 + 1 + 8)
    }

    /// RM-05: of identify and its push sixteen at one time, and no more than is answered.
    @Test func servicesAreCountedForEachPeer() {
        var network = network { $0.pushBurst = 100 }
        var guest = Guest()
        for number in 1...2 as ClosedRange<UInt64> { guest.connect(&network, number) }
        var pushes: [SubstreamID?] = []
        for number in 0..<17 { pushes.append(guest.open(&network, number % 2, "/ipfs/id/push/1.0.0")) }
        func isReset(_ number: Int) -> Bool { guest.ends[number % 2].end.has(.reset(pushes[number] ?? 0)) }
        let reset = (0..<17).filter { isReset($0) }
        #expect(reset == [16])
        let pings = (0..<3).map { guest.open(&network, $0 % 2, "/ipfs/ping/1.0.0") }
        let ends = [0, 1, 2].map { guest.ends[$0 % 2].end.has(.reset(pings[$0] ?? 0)) }
        #expect(ends == [false, false, true])
    }

    /// IDF-12: ten at once, and one more every five seconds; from this machine as many as come.
    @Test func pushesFromOneNetworkAreCounted() {
        func heard(at ip: String, _ count: Int) -> (first: Int, later: Int) {
            var network = network { _ in }
            var guest = Guest()
            guest.connect(&network, 1, from: ip)
            func push(_ count: Int) -> Int {
                (0..<count).count { _ in
                    let id = guest.open(&network, 0, "/ipfs/id/push/1.0.0") ?? 0
                    guest.ends[0].end.run { $0.closeWrite(id, now: network.now, effects: &$1) }
                    guest.exchange(&network)
                    return !guest.ends[0].end.has(.reset(id))
                }
            }
            let first = push(count)
            network.now = at(10_000)
            return (first, push(count))
        }
        #expect(heard(at: "10.0.0.200", 14) == (10, 2))
        #expect(heard(at: "127.0.0.1", 14) == (14, 14))
    }
}
