// What the simulated network promises: nothing overtakes.

import Cluster
import Kernel
import RPC
import Seams
@testable import SimNet
import Testing

@Suite struct NetworkTests {
    /// Run 31000863 with disk faults: the end of a stream overtook its beginning, which a partition had held up.
    @Test(arguments: 0..<20) func whatAPartitionHeldUpArrivesFirst(round: Int) {
        let stage = Stage(peers: 2, seed: UInt64(100 + round))
        let world = stage.world
        let id = StreamID(owner: 1, number: 1 << 40)
        var seen: [String] = []
        var accepted: StreamID?
        world.afterStep = { _, index, input, _ in
            guard index == 1, case .stream(let event) = input else { return }
            if case .incoming(let stream, _, RPC.protocolID) = event, accepted == nil { (accepted, seen) = (stream, ["opened"]) }
            else if event.stream == accepted, case .received = event { seen.append("data") }
            else if event.stream == accepted, case .remoteClosed = event { seen.append("closed") }
        }
        world.block(from: 0, to: 1)
        world.carryOut(0, StreamEffect.open(id, to: world.peers[1].id, protocols: [RPC.protocolID]))
        stage.run(.seconds(1))
        #expect(seen.isEmpty)
        world.carryOut(0, StreamEffect.send(id, [0x81]))
        world.carryOut(0, StreamEffect.closeWrite(id))
        world.unblock(from: 0, to: 1)
        stage.run(.seconds(2))
        #expect(seen == ["opened", "data", "closed"])
    }

    /// Run 300206: a fault that strikes in several parts went on to cut peers off when all had been healed.
    @Test func whatIsHealedStaysHealed() {
        let stage = Stage(peers: 4, seed: 300_206)
        let world = stage.world
        let everyone = Array(0..<4)
        world.strike(Fault(number: 1, kind: .swizzle, at: .zero, length: .seconds(40), peers: everyone))
        world.strike(Fault(number: 2, kind: .flapping, at: .zero, length: .seconds(40), peers: [0], others: [1], amount: 2))
        stage.run(.seconds(7))
        #expect(!world.network.blockedLinks.isEmpty)
        world.healAll()
        stage.run(.seconds(20))
        let connection = world.network.connection(0, 1)
        #expect(connection != nil && world.network.blockedLinks.isEmpty)
        stage.run(.seconds(20))
        #expect(world.network.connection(0, 1) === connection)
    }

    /// Run 910061 of five peers: who crashed knew only those again whom it had known first, unlike a daemon, which keeps its peerstore.
    @Test(arguments: [false, true]) func whoeverCameToBeKnownStaysKnown(isOrderly: Bool) {
        let stage = Stage(peers: 3, seed: 910_061)
        let world = stage.world
        world.keepsPeerstores = true
        let first = world.peers[1].id
        for index in 0..<3 { world.crash(index) }
        world.peers[0].settings.bootPeers = [(first, [.simulated(1)], true)]
        world.peers[2].settings.bootPeers = [(first, [.simulated(1)], true)]
        world.startAll()
        stage.run(.seconds(40))
        for index in [0, 2] { if isOrderly { world.stop(index) } else { world.crash(index) } }
        stage.run(.seconds(5))
        world.lose(1)
        for index in [0, 2] { world.start(index) }
        stage.run(.seconds(40))
        #expect(world.network.connection(0, 2)?.isAlive == true)
    }
}
