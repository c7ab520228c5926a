// What hosts tell each other about themselves, when it changes, and what others make of it. IDF-02..13, SPR-03.

import Kernel
import Multiformats
import Seams
import Testing
import Transport

private func pair(_ change: (inout HostSettings) -> Void = { _ in }) -> Network {
    var settings = HostSettings()
    change(&settings)
    var network = Network(2, settings: settings)
    network.want(0, .dial(network.id(1), [Network.address(1)]))
    network.settle()
    return network
}

extension Network {
    fileprivate func introduction(_ host: Int, of peer: Int) -> PeerIntroduction? { hosts[host].introduction(of: id(peer)) }
    fileprivate func introductions(_ host: Int) -> Int { connections(host).count { if case .introduced = $0 { true } else { false } } }
    fileprivate mutating func listen(_ host: Int, _ addresses: [String]) {
        let now = now
        run(host) { $0.onListening(addresses.map(multiaddr), now: now, effects: &$1) }
    }
    fileprivate mutating func serve(_ host: Int, _ protocols: [String]) {
        let now = now
        run(host) { $0.onServing(protocols, now: now, effects: &$1) }
    }
}

@Suite struct TellingTests {
    @Test func newProtocolsAreToldAndServed() throws {
        var network = pair()
        network.serve(0, ["/echo/1", "/new/1"])
        network.settle()
        #expect(network.introduction(1, of: 0)?.protocols.suffix(2) == ["/echo/1", "/new/1"])
        #expect(network.introductions(1) == 2)
        network.serve(0, ["/echo/1", "/new/1"])  // nothing new
        network.settle()
        #expect(network.introductions(1) == 2)
        for (number, name) in [(1, "/new/1"), (2, "/sink/2")] as [(UInt64, String)] {
            network.want(1, .open(StreamID(owner: 1, number: number), to: network.id(0), protocols: [name]))
        }
        network.settle()
        #expect(network.events(1).contains(.opened(StreamID(owner: 1, number: 1), protocol: "/new/1")))
        #expect(network.events(1).contains(.failed(StreamID(owner: 1, number: 2), reason: "protocols not supported")))
        // A connection that comes later knows as well.
        network.want(1, .disconnect(network.id(0)))
        network.settle()
        network.want(1, .dial(network.id(0), [Network.address(0)]))
        network.settle()
        #expect(network.introduction(1, of: 0)?.protocols.contains("/new/1") == true)
    }

    /// However the change and the introductions cross each other, both sides know in the end.
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func noChangeIsLost(_ seed: UInt64) {
        var choices = Choices(seed: seed)
        var network = Network(2, seed: seed, pieceBytes: 60)
        network.want(0, .dial(network.id(1), [Network.address(1)]))
        for _ in 0..<choices.below(120) { _ = network.step() }
        network.serve(0, ["/new/1"])
        network.listen(1, ["/ip4/10.0.0.2/tcp/9096", "/ip4/10.0.0.99/tcp/1"])
        network.settle()
        #expect(network.introduction(1, of: 0)?.protocols.last == "/new/1")
        #expect(network.introduction(0, of: 1)?.listenAddresses.last == multiaddr("/ip4/10.0.0.99/tcp/1"))
    }

    // MARK: Observed addresses

    /// A host behind a translator is told where it was reached, and tells everyone.
    @Test func whereAHostIsReachedIsTold() {
        var network = Network(3)
        network.listen(1, ["/ip4/172.17.0.2/tcp/9096"])  // it was reached at 10.0.0.2
        network.want(2, .dial(network.id(1), [Network.address(1)]))
        network.settle()
        #expect(network.hosts[1].advertised.map(\.description) == ["/ip4/172.17.0.2/tcp/9096", "/ip4/10.0.0.2/tcp/9096"])
        #expect(network.connections(1).contains(.listening(network.hosts[1].advertised)))
        #expect(network.introduction(2, of: 1)?.listenAddresses == network.hosts[1].advertised)
        // Who dialled learns a port that nobody can come back to.
        #expect(network.hosts[2].advertised == [Network.address(2)])
        network.listen(1, ["/ip4/10.0.0.2/tcp/9096"])
        #expect(network.hosts[1].advertised.count == 1)
    }

    @Test func whatIsHiddenIsNotTold() {
        for change in [{ $0.tellsObserved = false }, { $0.hidden = [multiaddr("/ip4/10.0.0.0/ipcidr/8")] }] as [(inout HostSettings) -> Void] {
            var settings = HostSettings()
            change(&settings)
            var network = Network(2, settings: settings)
            network.listen(1, ["/ip4/172.17.0.2/tcp/9096"])
            network.want(0, .dial(network.id(1), [Network.address(1)]))
            network.settle()
            #expect(network.hosts[1].advertised.count == 1)
        }
    }

    @Test func masksCoverNetworks() {
        func isCovered(_ address: String, _ mask: String) -> Bool { multiaddr(address).isCovered(by: multiaddr(mask)) }
        #expect(isCovered("/ip4/10.9.8.7/tcp/1", "/ip4/10.0.0.0/ipcidr/8") && !isCovered("/ip4/11.0.0.1/tcp/1", "/ip4/10.0.0.0/ipcidr/8"))
        #expect(isCovered("/ip4/10.1.15.1/tcp/1", "/ip4/10.1.0.0/ipcidr/20") && !isCovered("/ip4/10.1.16.1/tcp/1", "/ip4/10.1.0.0/ipcidr/20"))
        #expect(isCovered("/ip6/fd00::1/tcp/1", "/ip6/fc00::/ipcidr/7") && !isCovered("/ip4/10.0.0.1/tcp/1", "/ip6/::/ipcidr/0"))
        #expect(isCovered("/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/1") && !isCovered("/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/2"))
        #expect(!isCovered("/dns4/a/tcp/1", "/ip4/0.0.0.0/ipcidr/0") && isCovered("/ip4/9.9.9.9/tcp/1", "/ip4/0.0.0.0/ipcidr/0"))
    }

    // MARK: Records

    @Test func recordsAreKept() throws {
        var network = pair()
        let first = try #require(network.hosts[1].signedRecord(of: network.id(0)))
        let record = try PeerRecord(sealed: first, by: network.id(0))
        #expect(record.addresses == [Network.address(0)])
        network.listen(0, ["/ip4/10.0.0.1/tcp/9096", "/ip4/10.0.0.50/tcp/1"])
        network.settle()
        let second = try PeerRecord(sealed: try #require(network.hosts[1].signedRecord(of: network.id(0))), by: network.id(0))
        #expect(second.sequence > record.sequence && second.addresses.count == 2)
        network.cut(0)
        network.settle()
        #expect(network.hosts[1].signedRecord(of: network.id(0)) == nil)
    }
}
