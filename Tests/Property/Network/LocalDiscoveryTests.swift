// Multicast DNS: machines on one bus, what others send there, and packets that are wrong.

import Discovery
import Kernel
import Multiformats
import Testing

/// Whatever one sends, all hear, the sender as well.
private struct Bus {
    var machines: [LocalDiscovery] = []
    var choices = Choices(seed: 7)
    var now = Now(monotonic: .origin, wall: .epoch)
    var found: [[PeerID: [Multiaddr]]] = []
    var packets: [Bytes] = []

    static func addresses(_ index: Int) -> [Multiaddr] {
        ["/ip4/10.0.0.\(index + 1)/tcp/9096", "/ip6/fd00::\(index + 1)/tcp/9096"].map { try! Multiaddr(text: $0) }
    }

    mutating func join(_ addresses: [Multiaddr]? = nil) {
        let index = machines.count
        machines.append(
            LocalDiscovery(me: netPeer(index), addresses: addresses ?? Bus.addresses(index), now: now, choices: &choices))
        found.append([:])
    }

    mutating func run(for span: Span) {
        let end = now.monotonic + span
        while let next = machines.map(\.nextDeadline).min(), next <= end {
            now.monotonic = max(now.monotonic, next)
            for index in machines.indices {
                var effects: [LocalDiscovery.Effect] = []
                machines[index].onTime(now: now, choices: &choices, effects: &effects)
                carryOut(effects, of: index)
            }
        }
        now.monotonic = end
    }

    mutating func hear(_ packet: Bytes) {
        for index in machines.indices {
            var effects: [LocalDiscovery.Effect] = []
            machines[index].onPacket(packet, now: now, effects: &effects)
            carryOut(effects, of: index)
        }
    }

    private mutating func carryOut(_ effects: [LocalDiscovery.Effect], of index: Int) {
        for effect in effects {
            switch effect {
            case .send(let packet):
                packets.append(packet)
                hear(packet)
            case .found(let peer, let addresses): found[index][peer] = addresses
            }
        }
    }
}

@Suite struct LocalDiscoveryTests {
    @Test func allFindEachOtherAndNobodyItself() {
        var bus = Bus()
        for _ in 0..<4 { bus.join() }
        bus.run(for: .seconds(2))
        for index in 0..<4 {
            #expect(bus.found[index].count == 3 && bus.found[index][netPeer(index)] == nil)
            for other in 0..<4 where other != index { #expect(bus.found[index][netPeer(other)] == Bus.addresses(other)) }
        }
        bus.join()  // who comes later asks
        bus.run(for: .seconds(2))
        #expect(bus.found[4].count == 4 && bus.found[0].count == 4)
    }

    /// MDNS-06: at the start, after four seconds, and then ever less often, but once a minute at least.
    @Test func questionsBecomeRare() {
        var bus = Bus()
        bus.join([])  // it has nothing to tell
        var times: [Instant] = []
        while times.count < 12 {
            times.append(bus.machines[0].nextDeadline)
            bus.run(for: times.last! - bus.now.monotonic)
        }
        let pauses = zip(times.dropFirst(), times).map { $0 - $1 }
        #expect(times[0] == .origin && pauses[0] == .seconds(4))
        for (pause, next) in zip(pauses, pauses.dropFirst()) {
            #expect(next == .seconds(60) || (next >= pause + pause / 2 && next <= pause + pause + pause / 2))
        }
        #expect(pauses.last == .seconds(60) && bus.packets.count == 12)
    }

    @Test func aFloodOfQuestionsIsAnsweredOnceASecond() {
        var bus = Bus()
        bus.join()
        bus.run(for: .seconds(1))
        var query = DNSMessage(isResponse: false)
        query.questions = [DNSMessage.Question(name: LocalDiscovery.service, type: 255)]
        let before = bus.packets.count
        for _ in 0..<500 {
            bus.hear(query.encoded)
            bus.run(for: .milliseconds(10))
        }
        #expect((4...8).contains(bus.packets.count - before))  // five seconds, and its own question
    }

    @Test func whoLeavesIsNotFound() {
        var bus = Bus()
        bus.join()
        let other = LocalDiscovery(me: netPeer(9), addresses: Bus.addresses(9), now: bus.now, choices: &bus.choices)
        bus.hear(other.farewell)
        #expect(bus.found[0].isEmpty)
    }

    /// MDNS-04, MDNS-05: as upstream's peers tell and read it.
    @Test func answersAreThoseOfUpstream() throws {
        var bus = Bus()
        bus.join([try Multiaddr(text: "/ip4/10.1.2.3/tcp/9096"), try Multiaddr(text: "/unix/%2Ftmp%2Fx"), try Multiaddr(text: "/ip4/10.1.2.4/tcp/9097/ws")])
        bus.run(for: .zero)
        let messages = try bus.packets.map { try DNSMessage(decoding: $0) }
        let answer = messages.filter { $0.isResponse }[0]
        guard case .pointer(let instance) = answer.answers[0].data, case .service(let port, let host) = answer.additional[0].data else {
            Issue.record("not a pointer and a service: \(answer)")
            return
        }
        #expect(answer.answers[0].name == DNSName("_ipfs-cluster-discovery._udp.local") && answer.answers[0].lifetime == 3200)
        #expect((32...63).contains(instance.labels[0].count) && host.labels == [instance.labels[0], Bytes("local".utf8)] && port == 4001)
        #expect(answer.additional[1].data == .text([Bytes("dnsaddr=/ip4/10.1.2.3/tcp/9096/p2p/\(netPeer(0))".utf8)]))
        #expect(answer.additional[2].data == .address([10, 1, 2, 3]) && answer.additional.count == 3)
    }

    /// Names that point back, as most senders write them, in capitals, with records that nobody here knows.
    @Test func foreignMessagesAreRead() throws {
        let peer = netPeer(3)
        var packet: Bytes = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 1, 0, 2]
        packet += [23] + Bytes("_IPFS-cluster-discovery".utf8) + [4] + Bytes("_udp".utf8) + [5] + Bytes("local".utf8) + [0]
        packet += [0, 12, 0, 1, 0, 0, 12, 128, 0, 5, 2, 0x61, 0x62, 0xc0, 12]
        packet += [0xc0, 12, 0, 47, 0x80, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3]  // authority
        packet += [1, 0x78, 0xc0, 12, 0, 13, 0, 1, 0, 0, 0, 9, 0, 1, 7]
        let text = Bytes("dnsaddr=/ip4/10.9.9.9/tcp/1/p2p/\(peer)".utf8)
        packet += [2, 0x61, 0x62, 0xc0, 12, 0, 16, 0x80, 1, 0, 0, 0, 9, 0, UInt8(text.count + 1), UInt8(text.count)] + text
        var bus = Bus()
        bus.join()
        bus.hear(packet)
        #expect(bus.found[0] == [peer: [try Multiaddr(text: "/ip4/10.9.9.9/tcp/1")]])
        let message = try DNSMessage(decoding: packet)
        #expect(message.answers == [DNSMessage.Record(name: LocalDiscovery.service, data: .pointer(DNSName("ab").below(LocalDiscovery.service)), lifetime: 3200)])
        for count in packet.indices { #expect(throws: DNSError.self) { try DNSMessage(decoding: Bytes(packet[..<count])) } }
    }

    @Test func endlessNamesAreRefused() {
        let header: Bytes = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        for name: Bytes in [[0xc0, 12], [0xc0, 14, 0xc0, 12], [1, 0x61, 0xc0, 12], [0x80, 1]] {
            #expect(throws: DNSError.badName) { try DNSMessage(decoding: header + name + [0, 12, 0, 1]) }
        }
        let long = (0..<5).flatMap { _ in [63] + Bytes(repeating: 0x61, count: 63) }
        #expect(throws: DNSError.badName) { try DNSMessage(decoding: header + long + [0, 0, 12, 0, 1]) }
        #expect(throws: DNSError.tooManyRecords(65535)) { try DNSMessage(decoding: [0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]) }
    }

    @Test func noiseIsBorne() {
        var bus = Bus()
        bus.join()
        bus.join()
        bus.run(for: .seconds(2))
        var choices = Choices(seed: 11)
        let real = bus.packets
        for _ in 0..<20_000 {
            var packet = real[choices.below(real.count)]
            for _ in 0...choices.below(4) { packet[choices.below(packet.count)] = UInt8(choices.below(256)) }
            bus.hear(packet)
        }
        #expect(bus.machines[0].nextDeadline >= bus.now.monotonic)
    }

    @Test func whatIsKeptOfOthersIsBounded() {
        var bus = Bus()
        bus.join()
        for index in 1..<1200 {
            bus.now.monotonic = bus.now.monotonic + .milliseconds(1)
            let other = LocalDiscovery(me: netPeer(index), addresses: Bus.addresses(1), now: bus.now, choices: &bus.choices)
            var effects: [LocalDiscovery.Effect] = []
            var query = DNSMessage(isResponse: false)
            query.questions = [DNSMessage.Question(name: LocalDiscovery.service, type: 12)]
            var told = other
            told.onPacket(query.encoded, now: bus.now, effects: &effects)
            told.onTime(now: bus.now, choices: &bus.choices, effects: &effects)
            for case .send(let packet) in effects { bus.hear(packet) }
        }
        #expect(bus.found[0].count == 1199 && bus.machines[0].knownCount == 1000)
    }
}
