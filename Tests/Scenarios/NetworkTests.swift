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
}
