// Statuses of all pins and recoveries of all: read out in pieces, while the world goes on.

import Allocation
import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import SimNet
import Storage
import Testing
import Tracking

@Suite struct SurveyTests {
    /// REST-056: who hangs is waited for once, however many contents are asked about; and what is known by then is told before.
    @Test func manyStatusesWaitForOneWhoHangsTogether() throws {
        let stage = Stage(peers: 3) { ($0.factors.min, $0.factors.max) = (-1, -1) }
        for number in 0..<100 { try stage.pin(0, number) }
        stage.run(.seconds(10))
        stage.world.suspend(2)
        let cids = (0..<100).map(Stage.content), asked = stage.world.now
        let infos = try stage.ask(0, .statuses(cids, isLocal: false), within: .minutes(2))
        #expect(stage.world.now - asked < Span.seconds(40).nanoseconds)
        let told = infos.compactMap { if case .info(let info) = $0 { info } else { nil } }
        #expect(told.map(\.cid).sorted() == cids.sorted() && told.allSatisfy { $0.peers[stage.world.peers[1].id]?.status == .pinned })
        #expect(told.allSatisfy { $0.peers[stage.world.peers[2].id]?.status == .clusterError })
        let local = try stage.ask(0, .statuses(cids, isLocal: true))
        #expect(local.count == 100)
        // Who leaves is told nothing, and nothing is kept for it.
        let client = stage.world.ask(0, .statuses(cids, isLocal: false)) { _, _ in #expect(Bool(false), "it has left") }
        stage.world.hangUp(0, client)
        stage.run(.seconds(60))
        #expect(try stage.machine(0).clientCount == 0)
    }

    /// Everyone pins everything.
    private func stage(peers: Int = 3, pins: Int, _ shape: @escaping (inout PeerSettings) -> Void = { _ in }) throws -> Stage {
        let stage = Stage(peers: peers) { peer in
            (peer.factors.min, peer.factors.max) = (-1, -1)
            peer.recoverInterval = .hours(10)
            peer.isRepinningDisabled = true
            peer.tracker.concurrentPins = 200
            shape(&peer)
        }
        try pinAll(stage, 0..<pins)
        stage.run(.seconds(60))
        return stage
    }

    private func pinAll(_ stage: Stage, _ numbers: Range<Int>, name: String = "") throws {
        for start in stride(from: numbers.lowerBound, to: numbers.upperBound, by: 100) {  // a block each
            var batch = PinBatch()
            for number in start..<min(start + 100, numbers.upperBound) { batch.append(Stage.content(number), name: name) }
            try stage.ask(0, .pinAll(batch))
        }
    }

    private func infos(_ items: [ClientItem]) -> [GlobalPinInfo] { items.compactMap { if case .info(let info) = $0 { info } else { nil } } }
    private func statuses(_ infos: [GlobalPinInfo], _ number: Int) -> [TrackerStatus] {
        infos.filter { $0.cid == Stage.content(number) }.flatMap { $0.peers.map(\.value.status) }
    }

    @Test func everyPinIsListedOnceWithWhatEveryPeerSays() throws {
        let stage = try stage(pins: 700)
        stage.world.peers[1].ipfs.forget(Stage.content(5))
        let local = infos(try stage.ask(1, .statusAll(.undefined, isLocal: true)))
        #expect(local.count == 700 && Set(local.map(\.cid)).count == 700)
        #expect(statuses(local, 5) == [.unexpectedlyUnpinned] && statuses(local, 6) == [.pinned])
        for asked in 0..<3 {
            let all = infos(try stage.ask(asked, .statusAll(.undefined, isLocal: false)))
            #expect(all.count == 700 && Set(all.map(\.cid)).count == 700)
            #expect(all.allSatisfy { $0.peers.count == 3 && $0.name.isEmpty && !$0.created.isUnset })
            #expect(statuses(all, 6) == [.pinned, .pinned, .pinned])
            let odd = try #require(all.first { $0.cid == Stage.content(5) })
            let lost = try #require(odd.peers[stage.world.peers[1].id])
            #expect(lost.status == .unexpectedlyUnpinned && lost.error == "the item should be pinned but it is not")
            #expect(lost.timestamp == odd.created && lost.peerName == stage.world.peers[1].machine?.peerName)
        }
        let odd = infos(try stage.ask(2, .statusAll(.unexpectedlyUnpinned, isLocal: false)))
        #expect(odd.count == 1 && odd[0].cid == Stage.content(5) && odd[0].peers.count == 1)
    }

    @Test func aRecoveryThatHasFailedComesAgainSoon() throws {
        let stage = try stage(pins: 10) { $0.recoverInterval = .minutes(30) }
        stage.world.peers[1].ipfs.forget(Stage.content(5))
        stage.world.peers[1].ipfs.isDown = true
        stage.run(.minutes(35))
        #expect(!stage.holders(5).contains(1))
        stage.world.peers[1].ipfs.isDown = false
        stage.run(.minutes(2))
        #expect(stage.holders(5).contains(1))
    }

    @Test func aPeerWhoseDaemonIsDownIsAnErrorInEachEntry() throws {
        let stage = try stage(pins: 300)
        stage.world.peers[2].ipfs.isDown = true
        for asked in [0, 2] {
            let all = infos(try stage.ask(asked, .statusAll(.undefined, isLocal: false)))
            #expect(all.count == 300)
            for info in all {
                let failed = try #require(info.peers[stage.world.peers[2].id])
                #expect(failed.status == .clusterError && failed.error.hasPrefix("could not get pinset from IPFS: "))
                #expect(info.peers.map(\.value.status).filter { $0 == .pinned }.count == 2)
            }
        }
        let failure = #expect(throws: ClientFailure.self) { try stage.ask(2, .statusAll(.undefined, isLocal: true)) }
        #expect(failure?.message.hasPrefix("could not get pinset from IPFS: ") == true)
    }

    /// As upstream, which fills in the rest from those who know something.
    @Test func ofAPinThatNobodyHasAWordAboutTheNameIsTold() throws {
        let stage = try stage(pins: 3)
        let pinned = try #require(infos(try stage.ask(0, .status(Stage.content(1), isLocal: false))).first)
        #expect(pinned.allocations != nil && !pinned.created.isUnset)
        for index in stage.world.peers.indices { stage.world.peers[index].ipfs.isDown = true }
        let info = try #require(infos(try stage.ask(0, .status(Stage.content(1), isLocal: false))).first)
        #expect(info.peers.count == 3 && info.peers.allSatisfy { $0.value.status == .clusterError })
        #expect(info.name == pinned.name && info.allocations == nil && info.origins == nil && info.metadata == nil && info.created.isUnset)
    }

    /// What stays is listed once, whatever happens to the rest; nothing is listed twice.
    @Test func pinsMayChangeWhileTheyAreRead() throws {
        let stage = try stage(peers: 2, pins: 2000) { $0.sweepBytes = 4096 }
        stage.world.readerPause = .milliseconds(500)
        for isLocal in [true, false] {
            var seen: [GlobalPinInfo] = []
            var isOver = false
            var pieces = 0
            stage.world.ask(0, .statusAll(.undefined, isLocal: isLocal)) { world, reply in
                guard case .item(.infos(let infos)) = reply else { return isOver = true }
                seen += infos
                pieces += 1
                guard pieces == 1 else { return }
                for number in stride(from: 0, to: 2000, by: 20) {
                    var pin = Pin(cid: Stage.content(number))
                    pin.options.name = "again"
                    world.ask(0, .pin(pin)) { _, _ in }
                    world.ask(0, .unpin(Stage.content(number + 1))) { _, _ in }
                    world.ask(0, .pin(Pin(cid: Stage.content(number + 100_000)))) { _, _ in }
                }
            }
            _ = stage.world.run(until: { _ in isOver }, within: .seconds(60), every: .milliseconds(1))
            #expect(isOver && pieces >= 2000 / ListingSettings().statusesPerChunk - 1)
            var times = SortedMap<CID, Int>()
            for info in seen { times[info.cid, default: 0] += 1 }
            #expect(times.allSatisfy { $0.value == 1 })
            for number in 0..<2000 where number % 20 != 1 { #expect(times[Stage.content(number)] == 1, "\(number)") }
            #expect(seen.allSatisfy { info in info.peers.allSatisfy { $0.value.status != .unexpectedlyUnpinned } })
            stage.run(.seconds(60))
            for number in stride(from: 1, to: 2000, by: 20) { try stage.pin(0, number) }
            stage.run(.seconds(60))
        }
    }

    @Test func whoHangsUpIsForgotten() throws {
        let stage = try stage(pins: 10)
        for peer in 0..<3 { stage.world.peers[peer].ipfs.hangs = true }
        var pieces = 0
        let client = stage.world.ask(0, .statusAll(.undefined, isLocal: false)) { _, _ in pieces += 1 }
        stage.run(.seconds(2))
        #expect(try stage.machine(0).surveyCount == 1 && stage.machine(1).surveyCount == 1)
        stage.world.hangUp(0, client)
        stage.run(.seconds(5))
        #expect(pieces == 0)
        for peer in 0..<3 { #expect(try stage.machine(peer).surveyCount == 0) }
    }

    /// Run 779006: a pin that was written once more between the beginning of a survey and IPFS's listing was said to be unpinned.
    @Test func whatIsWrittenAnewMeanwhileIsStillPinned() throws {
        let stage = try stage(pins: 40)
        var wrong: [GlobalPinInfo] = []
        for round in 0..<12 {
            var isOver = false
            stage.world.ask(0, .statusAll(.undefined, isLocal: round % 2 == 0)) { [self] _, reply in
                switch reply {
                case .item(.infos(let infos)): wrong += infos.filter { $0.peers.contains { $0.value.status == .unexpectedlyUnpinned } }
                case .end, .failed: isOver = true
                default: _ = self
                }
            }
            for number in 0..<40 {
                var pin = Pin(cid: Stage.content(number))
                (pin.options.name, pin.options.replicationFactorMin, pin.options.replicationFactorMax) = ("round \(round)", -1, -1)
                stage.world.ask(number % 3, .pin(pin)) { _, _ in }
            }
            _ = stage.world.run(until: { _ in isOver }, within: .seconds(30), every: .milliseconds(1))
            stage.run(.seconds(2))
        }
        #expect(wrong.isEmpty)
    }

    /// Run 778057: an index that could not be read was taken for an IPFS without pins.
    @Test func whatCannotBeReadIsNotUnpinned() throws {
        let stage = try stage(peers: 1, pins: 60) { $0.replica.index.tableEntries = 4 }
        stage.world.peers[0].disk.unreadable = ".run"
        let failure = #expect(throws: ClientFailure.self) { try stage.ask(0, .statusAll(.undefined, isLocal: true)) }
        #expect(failure?.message.contains("input/output error") == true)
        stage.world.peers[0].disk.unreadable = nil
        let all = infos(try stage.ask(0, .statusAll(.undefined, isLocal: true)))
        #expect(all.count == 60 && all.allSatisfy { $0.peers.allSatisfy { $0.value.status == .pinned } })
    }

    /// Run 778003: a pin that was written once more while the pins were listed came twice.
    @Test func aListingShowsEachPinOnce() throws {
        let stage = try stage(peers: 1, pins: 60) { $0.listing.bytesPerChunk = 1000 }
        stage.world.readerPause = .milliseconds(200)
        var listed: [CID] = []
        var isOver = false
        stage.world.ask(0, .pins([.data])) { _, reply in
            switch reply {
            case .item(.pins(let pins)): listed += pins.pins.map(\.cid)
            case .end, .failed: isOver = true
            default: break
            }
        }
        for number in 0..<70 {
            var pin = Pin(cid: Stage.content(number))
            pin.options.name = "again"
            try stage.ask(0, .pin(pin))
        }
        _ = stage.world.run(until: { _ in isOver }, within: .minutes(2), every: .milliseconds(100))
        #expect(Set(listed).count == listed.count)
        #expect(Set(listed) == Set((0..<60).map { Stage.content($0) }), "as it was when it was asked for")
    }

    @Test func aRecoveryOfAllTellsWhatItQueuedAgain() throws {
        let stage = try stage(pins: 600)
        for number in 0..<300 { stage.world.peers[1].ipfs.forget(Stage.content(number)) }
        for number in 290..<310 { stage.world.peers[2].ipfs.forget(Stage.content(number)) }
        let all = infos(try stage.ask(0, .recoverAll(isLocal: false)))
        #expect(all.count == 310 && Set(all.map(\.cid)).count == 310)
        #expect(all.allSatisfy { info in info.peers.allSatisfy { [.pinQueued, .pinning].contains($0.value.status) } })
        #expect(all.first { $0.cid == Stage.content(295) }?.peers.count == 2)
        #expect(infos(try stage.ask(0, .recoverAll(isLocal: false))).isEmpty, "what is queued is not queued again")
        stage.run(.seconds(60))
        #expect(stage.world.peers.allSatisfy { $0.ipfs.pins.count == 600 })
        #expect(infos(try stage.ask(0, .recoverAll(isLocal: false))).isEmpty)
    }

    /// Go peers list whom they could not ask in recoveries too.
    @Test func aRecoveryOfAllTellsWhoCouldNotBeAsked() throws {
        let stage = try stage(pins: 20)
        stage.world.peers[1].ipfs.forget(Stage.content(3))
        stage.world.peers[2].ipfs.isDown = true
        for asked in [0, 2] {
            stage.world.peers[0].ipfs.forget(Stage.content(3))
            let all = infos(try stage.ask(asked, .recoverAll(isLocal: false)))
            #expect(all.map(\.cid) == [Stage.content(3)])
            let failed = try #require(all.first?.peers[stage.world.peers[2].id])
            #expect(failed.status == .clusterError && failed.error.hasPrefix("could not get pinset from IPFS: "))
            #expect(failed.peerName == stage.world.peers[2].machine?.peerName)
            stage.run(.seconds(30))
        }
        stage.world.crash(1)
        stage.world.peers[0].ipfs.forget(Stage.content(4))
        let all = infos(try stage.ask(0, .recoverAll(isLocal: false)))
        let gone = try #require(all.first { $0.cid == Stage.content(4) }?.peers[stage.world.peers[1].id])
        #expect(gone.status == .clusterError && !gone.error.isEmpty)
    }

    @Test func aFollowerRecoversItsOwnAlone() throws {
        let stage = try stage(pins: 20)
        stage.world.crash(0)
        stage.world.peers[0].settings.isFollower = true
        stage.world.start(0)
        stage.run(.seconds(60))
        for peer in 0..<3 { stage.world.peers[peer].ipfs.forget(Stage.content(3)) }
        let all = infos(try stage.ask(0, .recoverAll(isLocal: false)))
        #expect(all.count == 1 && all.first?.peers.map(\.key) == [stage.world.peers[0].id])
        stage.run(.seconds(30))
        #expect(stage.world.peers.map { $0.ipfs.pins.count } == [20, 19, 19])
    }

    @Test func whoseGarbageCouldNotBeCollectedIsNamed() throws {
        let stage = try stage(pins: 1)
        stage.world.crash(1)
        guard case .garbage(let all)? = try stage.ask(0, .repoGC(isLocal: false)).first else { throw ClientFailure("no garbage") }
        let gone = try #require(all.first { $0.peer == stage.world.peers[1].id })
        #expect(!gone.error.isEmpty && gone.peerName == stage.world.peers[1].settings.peerName)
    }

    /// REST-064: one after another. Once nobody waits for it any more, no other begins, and who was at it has nothing left of it.
    @Test func garbageIsCollectedInTurnAndForWhoWaits() throws {
        let stage = try stage(pins: 1)
        let order = (0..<3).sorted { stage.world.peers[$0].id < stage.world.peers[$1].id }
        func collected() -> [Int] { order.map { stage.world.peers[$0].ipfs.collections.count } }
        let (first, asked) = (stage.world.peers[order[0]], order[2])
        guard case .garbage(let all)? = try stage.ask(asked, .repoGC(isLocal: false)).first else { throw ClientFailure("no garbage") }
        let times = order.compactMap { stage.world.peers[$0].ipfs.collections.last?.at }
        #expect(all.map(\.peer) == order.map { stage.world.peers[$0].id } && times.count == 3 && times == times.sorted())

        first.ipfs.hangs = true
        let client = stage.world.ask(asked, .repoGC(isLocal: false)) { _, _ in }
        stage.run(.minutes(1))
        #expect(collected() == [1, 1, 1])
        stage.world.hangUp(asked, client)
        stage.run(.seconds(1))
        #expect(order.allSatisfy { stage.world.peers[$0].machine?.unfinished.contains { $0.key == "collections of garbage" && $0.value > 0 } == false })
        first.ipfs.hangs = false
        stage.run(.minutes(1))
        #expect(collected()[1...] == [1, 1])
    }

    /// A client's recovery takes no more than the tracker has room for, and goes on when there is room.
    @Test func aRecoveryWaitsForTheTracker() throws {
        let stage = try stage(peers: 1, pins: 1200) { peer in
            peer.trackedMax = 100
            peer.tracker.concurrentPins = 50
        }
        stage.run(.minutes(3))
        #expect(stage.world.peers[0].ipfs.pins.count == 1200)
        stage.world.peers[0].ipfs.forgetPins(at: stage.world.now)
        var most = 0
        stage.world.afterStep = { world, index, _, _ in most = max(most, world.peers[index].machine?.tracker.busyCount ?? 0) }
        #expect(infos(try stage.ask(0, .recoverAll(isLocal: true), within: .minutes(10))).count == 1200)
        #expect(most <= 100 + ListingSettings().statusesPerChunk)
        stage.run(.minutes(3))
        #expect(stage.world.peers[0].ipfs.pins.count == 1200)
    }

    /// So it does with pins that failed although IPFS holds them: they were given names while the daemon was away.
    @Test func failedPinsThatIPFSHoldsWaitForTheTrackerToo() throws {
        let stage = try stage(peers: 1, pins: 600) { peer in
            peer.trackedMax = 100
            peer.tracker.concurrentPins = 50
        }
        stage.run(.minutes(3))
        stage.world.peers[0].ipfs.isDown = true
        try pinAll(stage, 0..<600, name: "late")
        stage.run(.minutes(15))
        stage.world.peers[0].ipfs.isDown = false
        #expect(infos(try stage.ask(0, .statusAll(.pinError, isLocal: true))).count == 600)
        #expect(stage.world.peers[0].ipfs.pins.count == 600)
        var most = 0
        stage.world.afterStep = { world, index, _, _ in most = max(most, world.peers[index].machine?.tracker.busyCount ?? 0) }
        #expect(infos(try stage.ask(0, .recoverAll(isLocal: true), within: .minutes(10))).count == 600)
        #expect(most <= 100 + ListingSettings().statusesPerChunk)
        stage.run(.minutes(3))
        #expect(infos(try stage.ask(0, .statusAll(.pinned, isLocal: true))).count == 600)
    }

    /// More pins than the tracker is told of at a time: those that wait in the log are queued as well.
    @Test func whatTheTrackerHasNotHeardOfIsQueued() throws {
        let stage = Stage(peers: 1) { peer in
            (peer.factors.min, peer.factors.max) = (-1, -1)
            (peer.trackedMax, peer.tracker.concurrentPins) = (10, 2)
        }
        try pinAll(stage, 0..<300)
        let all = infos(try stage.ask(0, .statusAll(.undefined, isLocal: true)))
        let texts = Set(all.flatMap { $0.peers.map(\.value.status) })
        #expect(all.count == 300 && texts.isSubset(of: [.pinned, .pinning, .pinQueued]) && texts.contains(.pinQueued))
        #expect(infos(try stage.ask(0, .statusAll(.unexpectedlyUnpinned, isLocal: true))).isEmpty)
        #expect(infos(try stage.ask(0, .statusAll([.pinQueued, .pinned, .pinning], isLocal: true))).count == 300)
        guard case .info(let one)? = try stage.ask(0, .status(Stage.content(299), isLocal: true)).first else { throw ClientFailure("no status") }
        #expect(one.peers.first?.value.status == .pinQueued && one.peers.first?.value.error == "")
    }

    /// More pins that cannot be pinned than the tracker is told of at a time: everything else goes on.
    @Test func pinsThatFailLeaveRoomForOthers() throws {
        let stage = try stage(peers: 1, pins: 5) { $0.trackedMax = 10 }
        stage.world.peers[0].ipfs.storageMax = 5_500_000
        try pinAll(stage, 100..<140)
        stage.run(.minutes(2))
        #expect(infos(try stage.ask(0, .statusAll(.pinError, isLocal: true))).count == 40)
        try stage.ask(0, .unpin(Stage.content(1)))
        stage.run(.seconds(30))
        #expect(stage.world.peers[0].ipfs.pins[Stage.content(1)] == nil)
        try stage.pin(0, 2000)
        stage.run(.seconds(30))
        #expect(stage.world.peers[0].ipfs.pins[Stage.content(2000)] != nil)
    }
}
