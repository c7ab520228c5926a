// Whoever hangs up, or breaks off a call, is not worked for any more: down to the requests to IPFS, here and at other peers. RPC-15.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
@testable import SimNet
import Testing

@Suite struct AbandoningTests {
    private func open(_ stage: Stage, _ peer: Int, _ kind: String) throws -> Int {
        try #require(try stage.machine(peer).unfinished.first { $0.key == kind }?.value)
    }

    @Test(arguments: [true, false]) func aPathIsNotLookedUpForNobody(isLeft: Bool) throws {
        let stage = Stage(peers: 1) { ($0.factors.min, $0.factors.max) = (1, 1) }
        let before = try open(stage, 0, "calls to IPFS")
        stage.world.peers[0].ipfs.hangs = true
        let client = stage.world.ask(0, .pinPath(PinPath(path: "/ipns/\(Stage.content(1)).name"))) { _, _ in }
        stage.run(.milliseconds(100))
        #expect(try open(stage, 0, "calls to IPFS") == before + 1)
        if isLeft { stage.world.hangUp(0, client) }
        stage.run(.milliseconds(100))
        #expect(try open(stage, 0, "calls to IPFS") == (isLeft ? before : before + 1))
        stage.world.peers[0].ipfs.hangs = false
        stage.world.goOn(stage.world.peers[0])
        stage.run(.seconds(20))
        #expect((try stage.machine(0).readPin(Stage.content(1)) == nil) == isLeft)
    }

    /// Who was asked for the client's sake lets go as well; and what is written for a client is written all the same.
    @Test func othersAreNotAskedForNobody() throws {
        let stage = Stage(peers: 3) { ($0.factors.min, $0.factors.max) = (-1, -1) }
        try stage.pin(0, 1)
        stage.run(.seconds(10))
        stage.world.peers[1].ipfs.hangs = true
        let (calls, requests) = (try open(stage, 1, "calls of peers"), try open(stage, 1, "calls to IPFS"))
        let client = stage.world.ask(0, .status(Stage.content(1), isLocal: false)) { _, _ in #expect(Bool(false), "it has left") }
        stage.run(.seconds(1))
        #expect(try open(stage, 0, "gatherings") == 1 && open(stage, 1, "calls of peers") == calls + 1 && open(stage, 1, "calls to IPFS") == requests + 1)
        stage.world.hangUp(0, client)
        stage.run(.seconds(1))
        #expect(try open(stage, 0, "gatherings") == 0 && open(stage, 1, "calls of peers") == calls && open(stage, 1, "calls to IPFS") == requests)

        let writer = stage.world.ask(0, .pin(Pin(cid: Stage.content(2)))) { _, _ in }
        stage.world.hangUp(0, writer)
        stage.run(.seconds(10))
        #expect(stage.holders(2) == [0, 2])
    }
}
