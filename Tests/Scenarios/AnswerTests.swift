// What a peer answers where the recorded answers of upstream (Tests/Golden/rest) differed from ours.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import SimNet
import Testing

@Suite struct AnswerTests {
    private func peer(_ items: [ClientItem]) throws -> PeerInfo {
        guard case .peer(let info)? = items.first else { throw ClientFailure("no peer in \(items)") }
        return info
    }
    private func infos(_ items: [ClientItem]) -> [GlobalPinInfo] {
        items.compactMap { if case .info(let info) = $0 { info } else { nil } }
    }

    /// rest-crdt1-076, rest-crdt2-014.
    @Test func addingAPeerShowsItWithEachMemberOnce() throws {
        let stage = Stage(peers: 2)
        let ids = stage.world.peers.map(\.id)
        let itself = try peer(try stage.ask(0, .peerAdd(ids[0])))
        #expect(itself.id == ids[0] && itself.clusterPeers?.sorted() == ids.sorted())
        let other = try peer(try stage.ask(0, .peerAdd(ids[1])))
        #expect(other.id == ids[1] && other.clusterPeers?.sorted() == ids.sorted())
    }

    /// rest-crdt2-046: asked here, what is not pinned was never created; asked of all, it was just now (rest-crdt2-045).
    @Test func whatIsNotPinnedWasNeverCreated() throws {
        let stage = Stage(peers: 2)
        let here = try #require(infos(try stage.ask(0, .status(Stage.content(1), isLocal: true))).first)
        #expect(here.allocations == nil && here.created.isUnset)
        let everywhere = try #require(infos(try stage.ask(0, .status(Stage.content(1), isLocal: false))).first)
        #expect(everywhere.allocations == [] && !everywhere.created.isUnset)
    }

    /// CLU-20: whoever is to hold it is named, and why nothing is known of it, though it is no member any more. Of those that are, all.
    @Test(arguments: [false, true]) func whoHoldsAPinAndIsSilentIsNamed(isRecovery: Bool) throws {
        let stage = Stage(peers: 3) { ($0.factors.min, $0.factors.max, $0.isRepinningDisabled) = (1, 2, true) }
        var pin = Pin(cid: Stage.content(1))
        pin.options.userAllocations = [stage.world.peers[1].id, stage.world.peers[2].id]
        try stage.ask(0, .pin(pin))
        stage.run(.seconds(20))
        stage.world.crash(2)
        stage.run(.minutes(3))
        #expect(try !stage.machine(0).members.contains(stage.world.peers[2].id))
        let request: ClientRequest = isRecovery ? .recover(pin.cid, isLocal: false) : .status(pin.cid, isLocal: false)
        let info = try #require(infos(try stage.ask(0, request)).first)
        #expect(stage.world.peers.map { info.peers[$0.id]?.status.text } == ["remote", "pinned", "cluster_error"])
        #expect(info.peers[stage.world.peers[2].id]?.error.isEmpty == false)
    }

    /// RPC-21: of itself as well a peer tells what it knows within a quarter of a minute, though its IPFS hangs for minutes.
    @Test func whoseIPFSHangsAnswersInTime() throws {
        let stage = Stage(peers: 2) { ($0.factors.min, $0.factors.max) = (-1, -1) }
        let pin = try stage.pin(0, 1)
        stage.run(.seconds(10))
        stage.world.peers[0].ipfs.hangs = true
        let info = try #require(infos(try stage.ask(0, .status(pin.cid, isLocal: false), within: .seconds(16))).first)
        #expect(stage.world.peers.map { info.peers[$0.id]?.status.text } == ["cluster_error", "pinned"])
        let peers = try stage.ask(0, .peers, within: .seconds(16))
        #expect(peers.count == 2)
        #expect(try stage.ask(0, .recover(pin.cid, isLocal: false), within: .seconds(16)).count == 1)
    }

    /// rest-down1-050.
    @Test func anUnpinThatFailedWasCreatedWhenItWasAsked() throws {
        let stage = Stage(peers: 1) { ($0.factors.min, $0.factors.max) = (1, 1) }
        try stage.pin(0, 1)
        stage.run(.seconds(5))
        stage.world.peers[0].ipfs.isDown = true
        try stage.ask(0, .unpin(Stage.content(1)))
        stage.run(.seconds(5))
        let failed = try #require(infos(try stage.ask(0, .statusAll(.unpinError, isLocal: false))).first)
        #expect(failed.cid == Stage.content(1) && !failed.created.isUnset)
    }

    /// rest-crdt1-353: progress has no allocations.
    @Test func allocationsAreOfWhatIsAdded() throws {
        let stage = Stage(peers: 1) { AddingTests.embedded(&$0); ($0.factors.min, $0.factors.max) = (1, 1) }
        var parameters = AddParameters()
        parameters.progress = true
        let lines = try stage.add(0, name: "file", Bytes(repeating: 5, count: 600_000), parameters)
        #expect(lines.map(\.bytes) == [262_144, 524_288, 600_000, 0])
        #expect(lines.map(\.allocations.count) == [0, 0, 0, 1])
    }

    /// rest-crdt1-505: refused with the first block, before a line says that anything was added.
    @Test(arguments: [978_307_200, 0] as [Int64]) func anAddThatHasExpiredAddsNothing(at seconds: Int64) throws {
        let stage = Stage(peers: 1) { AddingTests.embedded(&$0); ($0.factors.min, $0.factors.max) = (1, 1) }
        var parameters = AddParameters()
        parameters.options.expireAt = WallTime(seconds: seconds)
        var replies: [ClientReply] = []
        let client = stage.world.ask(0, .add(parameters)) { replies.append($1) }
        stage.world.send(0, client, [.file(name: "file"), .data([1, 2, 3]), .endOfFile, .end])
        stage.run(.seconds(5))
        #expect(replies == [.failed(ClientFailure("pin.ExpireAt set before current time"))])
    }
}
