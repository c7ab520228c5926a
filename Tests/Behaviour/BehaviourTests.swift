// What users see of a cluster, the same whether its peers are simulated or real: one suite for both nets keeps the simulator honest.

import Allocation
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Testing

@Suite(.serialized) struct BehaviourTests {
    private static let nowhere = CID(v1: Codec.raw, .sha2_256(of: [9, 9, 9]))

    @Test(arguments: Kind.allCases) func whatIsAddedIsPinnedByEverybody(_ kind: Kind) throws {
        let net = try kind.net()
        let root = try net.add(0, bytes: 700_000).root
        for peer in 0..<3 { #expect(net.wait(.seconds(30)) { net.statuses(root, by: peer) == ["pinned", "pinned", "pinned"] }) }
        #expect(net.agree() && net.pins(2) == [root])
    }

    @Test(arguments: Kind.allCases) func asManyPinAsAreWanted(_ kind: Kind) throws {
        let net = try kind.net(factors: ReplicationFactors(min: 2, max: 2))
        let (root, allocations) = try net.add(1, bytes: 300_000)
        #expect(allocations.count == 2)
        #expect(net.wait(.seconds(30)) { net.statuses(root, by: 2) == ["pinned", "pinned", "remote"] })
    }

    @Test(arguments: Kind.allCases) func whatIsUnpinnedIsGone(_ kind: Kind) throws {
        let net = try kind.net()
        let root = try net.add(0, bytes: 10_000).root
        #expect(net.wait(.seconds(30)) { net.statuses(root, by: 1) == ["pinned", "pinned", "pinned"] })
        try net.ask(2, .unpin(root))
        for peer in 0..<3 { #expect(net.wait(.seconds(30)) { net.pins(peer) == [] }) }
        #expect(net.wait(.seconds(30)) { net.statuses(root, by: 1) == ["unpinned", "unpinned", "unpinned"] } && net.agree())
    }

    @Test(arguments: Kind.allCases) func whatIsAcknowledgedSurvivesAKill(_ kind: Kind) throws {
        let net = try kind.net()
        var pin = Pin(cid: Self.nowhere)
        pin.options.name = "kept"
        try net.ask(1, .pin(pin))
        net.kill(1)
        try net.start(1)
        #expect(net.wait(.seconds(30)) { net.pins(1) == [Self.nowhere] })
        for peer in [0, 2] { #expect(net.wait(.seconds(30)) { net.pins(peer) == [Self.nowhere] }) }
        #expect(net.wait(.seconds(30)) { net.agree() })
    }

    @Test(arguments: Kind.allCases) func whoWasAwayCatchesUp(_ kind: Kind) throws {
        let net = try kind.net()
        net.kill(2)
        let roots = try (1...5).map { try net.add(0, bytes: 1000 * $0).root }
        #expect(net.wait(.seconds(30)) { net.pins(1)?.count == 5 })
        try net.ask(1, .unpin(roots[3]))
        try net.start(2)
        #expect(net.wait(.seconds(60)) { net.pins(2)?.count == 4 && net.agree() })
        #expect(net.wait(.seconds(30)) { net.statuses(roots[0], by: 2) == ["pinned", "pinned", "pinned"] })
    }

    @Test(arguments: Kind.allCases) func aNewcomerLearnsAll(_ kind: Kind) throws {
        let net = try kind.net(starting: [0, 1])
        let roots = try (1...3).map { try net.add(0, bytes: 2000 * $0).root }
        try net.start(2)
        #expect(net.wait(.seconds(60)) { net.pins(2).map(Set.init) == Set(roots) && net.agree() })
    }

    @Test(arguments: Kind.allCases) func whatALostPeerHeldIsPinnedElsewhere(_ kind: Kind) throws {
        let net = try kind.net(factors: ReplicationFactors(min: 2, max: 2))
        let (root, allocations) = try net.add(0, bytes: 200_000)
        #expect(net.wait(.seconds(30)) { net.statuses(root, by: 0) == ["pinned", "pinned", "remote"] })
        let lost = try #require([1, 2].first { allocations.contains(net.id($0)) })
        net.kill(lost)
        #expect(net.wait(.seconds(90)) { net.statuses(root, by: 0) == ["pinned", "pinned"] })
    }

    @Test(arguments: Kind.allCases) func whatHasExpiredIsUnpinned(_ kind: Kind) throws {
        let net = try kind.net()
        var pin = Pin(cid: Self.nowhere)
        pin.options.expireAt = net.time + .seconds(3)
        try net.ask(0, .pin(pin))
        #expect(net.wait(.seconds(20)) { net.pins(2) == [Self.nowhere] })
        for peer in 0..<3 { #expect(net.wait(.seconds(60)) { net.pins(peer) == [] }) }
    }

    @Test(arguments: Kind.allCases) func theLaterOptionsCount(_ kind: Kind) throws {
        let net = try kind.net()
        let root = try net.add(0, bytes: 5000).root
        #expect(net.wait(.seconds(30)) { net.pins(1) == [root] })
        var pin = Pin(cid: root)
        (pin.options.name, pin.options.metadata) = ("renamed", ["b": "2", "a": "1"])
        try net.ask(1, .pin(pin))
        for peer in 0..<3 {
            #expect(net.wait(.seconds(30)) {
                guard case .pin(let pin)? = (try? net.ask(peer, .pinGet(root)))?.first else { return false }
                return pin.options.name == "renamed" && pin.options.metadata?["a"] == "1"
            })
        }
    }

    @Test(arguments: Kind.allCases) func whatIsNotThereIsSaid(_ kind: Kind) throws {
        let net = try kind.net(starting: [0])
        for request in [ClientRequest.pinGet(Self.nowhere), .unpin(Self.nowhere)] {
            let failure = #expect(throws: ClientFailure.self) { try net.ask(0, request) }
            #expect(failure?.kind == .notFound)
        }
    }
}
