// Which address of a peer is tried when, and which not again. DIAL-01..04.

import Kernel
import Multiformats
import Seams
import Testing
@testable import Transport

@Suite struct DialTests {
    private func ranks(_ texts: [String]) -> [String: Int64] {
        var out: [String: Int64] = [:]
        for (address, after) in DialOrder.ranked(texts.map(multiaddr), near: .milliseconds(30), far: .milliseconds(250)) {
            out[address.description] = after.nanoseconds / 1_000_000
        }
        return out
    }

    @Test func addressesAreRanked() {
        #expect(ranks([]).isEmpty)
        #expect(ranks(["/ip4/8.8.8.8/tcp/2", "/ip4/8.8.8.8/tcp/1", "/ip4/8.8.4.4/tcp/9"])
            == ["/ip4/8.8.8.8/tcp/1": 0, "/ip4/8.8.8.8/tcp/2": 250, "/ip4/8.8.4.4/tcp/9": 250])
        // IPv6 first, one of IPv4 next, and the rest last; private addresses beside them.
        #expect(ranks([
            "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip6/2001:db8::1/tcp/2", "/ip6/2001:db8::1/tcp/1", "/dns4/a.example/tcp/5",
            "/ip6/fd00::1/tcp/1", "/ip4/127.0.0.1/tcp/1",
        ]) == [
            "/ip6/2001:db8::1/tcp/1": 0, "/ip4/8.8.8.8/tcp/1": 250, "/ip6/2001:db8::1/tcp/2": 500, "/dns4/a.example/tcp/5": 500,
            "/ip6/fd00::1/tcp/1": 0, "/ip4/10.0.0.1/tcp/1": 30, "/ip4/127.0.0.1/tcp/1": 60,
        ])
    }

    @Test func addressesAreTriedAsRanked() {
        var network = Network(1)
        let silent = ["/ip4/8.8.8.8/tcp/1", "/ip6/2001:db8::1/tcp/1", "/ip4/8.8.4.4/tcp/2", "/ip4/10.1.1.1/tcp/7"].map(multiaddr)
        network.blackHoles = silent
        network.want(0, .dial(identity(9).peerID, silent))
        func tried() -> [String] { network.dialled.map(\.withoutPeer.description) }
        #expect(tried() == ["/ip4/10.1.1.1/tcp/7", "/ip6/2001:db8::1/tcp/1"])
        network.pass(249)
        #expect(tried().count == 2)
        network.pass(1)
        #expect(tried().dropFirst(2) == ["/ip4/8.8.8.8/tcp/1"])
        network.pass(250)
        #expect(tried().dropFirst(3) == ["/ip4/8.8.4.4/tcp/2"])
        network.pass(2500)
        #expect(network.dialFailures.count == 1 && network.hosts[0].socketCount == 0)
        // What can be reached from nowhere else is not tried.
        network.want(0, .dial(identity(8).peerID, [multiaddr("/ip6/fe80::1/tcp/1"), multiaddr("/ip4/0.0.0.0/tcp/1")]))
        #expect(network.dialFailures.last?.contains("no good addresses: none can be dialled over TCP: ") == true)
    }

    @Test func oneAddressHasNotAllOfTheTime() {
        var settings = HostSettings()
        settings.dialTimeout = .seconds(60)
        var network = Network(1, settings: settings)
        let silent = multiaddr("/ip4/8.8.8.8/tcp/1")
        network.blackHoles = [silent]
        network.want(0, .dial(identity(9).peerID, [silent]))
        network.pass(4999)
        #expect(network.dialFailures.isEmpty)
        network.pass(1)
        #expect(network.dialFailures == ["failed to dial: failed to dial \(identity(9).peerID): all dials failed\n  * [\(silent)] dial tcp4 8.8.8.8:1: i/o timeout"])
    }

    /// Eight at one time for a peer, and 160 for all; the others when it is their turn.
    @Test func attemptsAreCounted() {
        var network = Network(1)
        let silent = (1...20).map { multiaddr("/ip4/8.8.8.\($0)/tcp/1") }
        network.blackHoles = silent
        network.want(0, .dial(identity(9).peerID, silent))
        network.pass(1000)
        #expect(network.hosts[0].socketCount == 8)
        for peer in 10...40 { network.want(0, .dial(identity(UInt8(peer)).peerID, silent)) }
        network.pass(1000)
        #expect(network.hosts[0].socketCount == 160)
        network.pass(2500)
        #expect(network.hosts[0].socketCount == 0 && network.dialFailures.count == 32)
    }

    @Test func whatFailedIsLeftAloneForAWhile() {
        var network = Network(3)
        let (peer, dead) = (network.id(1), multiaddr("/ip4/10.0.0.77/tcp/9096"))
        func dial(_ addresses: [Multiaddr]) { network.want(0, .dial(peer, addresses)); network.settle() }
        var waits: [Int64] = []
        for _ in 0..<5 {
            dial([dead])
            #expect(network.dialFailures.last?.contains("connection refused") == true)
            var waited: Int64 = 0
            while waited < 1_000_000 {
                network.pass(1000)
                waited += 1000
                let before = network.dialled.count
                dial([dead])
                if network.dialled.count > before { break }
                #expect(network.dialFailures.last == "failed to dial: failed to dial \(peer): all dials failed\n  * [\(dead)] dial backoff")
            }
            waits.append(waited / 1000)
            network.hosts[0].forgetFailure(of: peer, at: dead)  // the probe itself does not count
        }
        #expect(waits == [5, 6, 9, 14, 21])
        dial([dead])
        // A stream fails at once as well; another address is tried, and when it answers, all is forgotten.
        network.hosts[0].learn(peer, [dead])
        network.want(0, .open(StreamID(owner: 1, number: 1), to: peer, protocols: ["/echo/1"]))
        #expect(network.events(0).last == .failed(StreamID(owner: 1, number: 1), reason: "failed to dial: failed to dial \(peer): all dials failed\n  * [\(dead)] dial backoff"))
        dial([dead, Network.address(1)])
        #expect(network.hosts[0].isConnected(peer))
        network.want(0, .disconnect(peer))
        network.settle()
        dial([dead])
        #expect(network.dialFailures.last?.contains("connection refused") == true)
    }
}

extension Host {
    /// As if the last attempt had not been.
    fileprivate mutating func forgetFailure(of peer: PeerID, at address: Multiaddr) {
        guard let last = backOffs[peer]?[address] else { return }
        backOffs[peer]?[address] = BackOff(failures: last.failures - 1, until: .origin)
    }
}
