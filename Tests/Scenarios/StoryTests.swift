// Stories that users of a cluster live through, told to the simulator.

import Allocation
import Cluster
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
@testable import SimNet
import Storage
import Testing

@Suite struct StoryTests {
    @Test func aPinIsReplicatedToItsAllocations() throws {
        let stage = Stage()
        let pin = try stage.pin(0, 1, name: "first")
        #expect(pin.allocations?.count == 2)
        stage.run(.seconds(20))
        for peer in 0..<3 { #expect(try stage.machine(peer).readPin(Stage.content(1))?.options.name == "first") }
        #expect(stage.holders(1) == (try stage.allocations(1, seenBy: 2)))
        guard case .info(let info)? = try stage.ask(1, .status(Stage.content(1), isLocal: false)).first else {
            throw ClientFailure("no status")
        }
        #expect(info.peers.values.map(\.status.text).sorted() == ["pinned", "pinned", "remote"])
    }

    @Test func bothSidesOfAPartitionAgreeAfterItHeals() throws {
        let stage = Stage(peers: 4)
        stage.world.partition([0, 1], from: [2, 3])
        for number in 0..<5 {
            try stage.pin(0, number, name: "left")
            try stage.pin(3, number + 3, name: "right")
        }
        #expect(Set(stage.digests().map(\.description)).count > 1)
        stage.world.heal()
        stage.run(.minutes(3))
        #expect(Set(stage.digests().map(\.description)).count == 1)
        #expect(try stage.machine(2).replica.count == 8)
    }

    @Test func theLossOfAPeerIsMadeGood() throws {
        let stage = Stage(peers: 4)
        for number in 0..<6 { try stage.pin(0, number) }
        stage.run(.seconds(30))
        let lost = try #require((1..<4).first { peer in (0..<6).contains { stage.holders($0).contains(peer) } })
        stage.world.crash(lost)
        stage.run(.minutes(3))
        for number in 0..<6 {
            let allocations = try stage.allocations(number, seenBy: 0)
            #expect(allocations.count == 2 && !allocations.contains(lost))
            #expect(stage.holders(number).filter { $0 != lost } == allocations)
        }
        // It comes back and gives up what was given to others.
        stage.world.start(lost)
        stage.run(.minutes(3))
        for number in 0..<6 { #expect(stage.holders(number) == (try stage.allocations(number, seenBy: lost))) }
    }

    /// Seed 1131107: p2 had never heard p3, and took it for alive when p0 was lost too, unless it looked for such peers just then.
    @Test func whoWasNeverHeardCountsForNothingWhenAnotherIsLost() throws {
        let stage = Stage(peers: 4) { $0.stateSyncInterval = .hours(9) }
        func living() throws -> [Int] { try (0..<12).map { try stage.allocations($0, seenBy: 2).count { stage.world.peers[$0].isUp } } }
        for number in 0..<12 {
            var pin = Pin(cid: Stage.content(number))
            (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (2, 3)
            try stage.ask(0, .pin(pin))
        }
        stage.run(.seconds(30))
        stage.world.crash(3)
        stage.run(.minutes(2))
        stage.world.crash(2)
        stage.world.start(2)
        stage.run(.minutes(15))
        #expect(try living().allSatisfy { $0 >= 2 })
        stage.world.crash(0)
        stage.run(.minutes(5))
        #expect(try living() == Array(repeating: 2, count: 12))
    }

    @Test func aPeerThatComesBackIsUpToDateWithinSeconds() throws {
        let stage = Stage(peers: 3)
        stage.world.crash(2)
        stage.run(.seconds(5))
        for number in 0..<5 { try stage.pin(number % 2, number) }
        stage.run(.seconds(1))
        stage.world.start(2)
        // A heartbeat takes it into the mesh; the heads come right after.
        stage.run(.seconds(25))
        #expect(try stage.machine(2).replica.count == 5)
        #expect(Set(stage.digests().map(\.description)).count == 1)
    }

    @Test func anAcceptedBatchSurvivesACrash() throws {
        let stage = Stage { ($0.replica.batchSizeMax, $0.replica.batchAgeMax) = (100, .minutes(5)) }
        for number in 0..<10 { try stage.pin(1, number, name: "batched") }
        #expect(try stage.machine(1).replica.count == 0)  // accepted, durable, in no block yet
        stage.world.crash(1)
        stage.run(.seconds(10))
        stage.world.start(1)
        stage.run(.minutes(8))
        for peer in 0..<3 { #expect(try stage.machine(peer).replica.count == 10) }
    }

    @Test func whoeverJoinsLaterHasAllOfItAndTakesPins() throws {
        let stage = Stage()
        for number in 0..<10 { try stage.pin(number % 3, number) }
        stage.world.addPeers(1) { peer in
            peer.factors = ReplicationFactors(min: 2, max: 2)
            peer.recoverInterval = .minutes(1)
        }
        stage.world.start(3)
        stage.run(.minutes(1))
        #expect(Set(stage.digests()).count == 1 && stage.digests().count == 4)
        var everywhere = Pin(cid: Stage.content(10))
        (everywhere.options.replicationFactorMin, everywhere.options.replicationFactorMax) = (-1, -1)
        try stage.ask(3, .pin(everywhere))
        for number in 11..<31 { try stage.pin(0, number) }
        stage.run(.minutes(1))
        #expect(stage.holders(10) == [0, 1, 2, 3])
        #expect((11..<31).contains { stage.holders($0).contains(3) }, "it has as much space as the others")
    }

    @Test func pinsAreKeptWhilePeersComeAndGo() throws {
        let stage = Stage(peers: 4)
        for number in 0..<24 {
            let gone = number % 4
            if number % 2 == 0 { stage.world.crash(gone) } else { stage.world.stop(gone) }
            try stage.pin((gone + 1) % 4, number)
            stage.run(.seconds(Int64(number % 5) * 4))
            stage.world.start(gone)
            try stage.pin((gone + 2) % 4, 100 + number)
            stage.run(.seconds(5))  // until its metrics are heard
        }
        stage.run(.minutes(3))
        #expect(Set(stage.digests()).count == 1)
        for number in Array(0..<24) + Array(100..<124) {
            let allocations = try stage.allocations(number, seenBy: 0)
            #expect(allocations.count == 2 && stage.holders(number) == allocations)
        }
    }

    @Test func anUntrustedPeerChangesNothing() throws {
        // Peers have the same identities under the same seed; the last one is trusted by nobody but itself.
        let trusted = SortedSet(Stage(seed: 7).world.peers.map(\.id).dropLast())
        let guarded = Stage(seed: 7) { peer in
            var members = trusted
            members.insert(peer.me)
            peer.trust = .only(members)
        }
        try guarded.pin(2, 1, name: "from outside")
        try guarded.pin(0, 2, name: "from inside")
        guarded.run(.minutes(3))
        #expect(try guarded.machine(0).readPin(Stage.content(1)) == nil)
        #expect(try guarded.machine(1).readPin(Stage.content(1)) == nil)
        #expect(try guarded.machine(1).readPin(Stage.content(2)) != nil)
        #expect(try guarded.machine(2).readPin(Stage.content(2)) != nil)  // it may still listen
    }

    @Test func aFullDiskRefusesAndLosesNothing() throws {
        let stage = Stage()
        try stage.pin(0, 1)
        stage.world.peers[0].disk.capacityBytes = stage.world.peers[0].disk.usedBytes
        #expect(throws: ClientFailure.self) { try stage.pin(0, 2) }
        stage.world.peers[0].disk.capacityBytes = .max
        try stage.pin(0, 3)
        stage.run(.minutes(2))
        for peer in 0..<3 {
            #expect(try stage.machine(peer).readPin(Stage.content(1)) != nil)
            #expect(try stage.machine(peer).readPin(Stage.content(3)) != nil)
            #expect(try stage.machine(peer).readPin(Stage.content(2)) == nil)
        }
    }

    /// Seed 12: the unpin of a pin that had gone to others failed once, and was never tried again.
    @Test func aRemotePinThatCouldNotBeUnpinnedIsUnpinnedLater() throws {
        let stage = Stage { $0.recoverInterval = .minutes(1) }
        var everywhere = Pin(cid: Stage.content(1))
        everywhere.options.replicationFactorMin = -1
        everywhere.options.replicationFactorMax = -1
        try stage.ask(0, .pin(everywhere))
        stage.run(.seconds(20))
        #expect(stage.holders(1) == [0, 1, 2])
        for peer in 0..<3 { stage.world.peers[peer].ipfs.isDown = true }
        try stage.pin(0, 1)
        stage.run(.seconds(5))
        for peer in 0..<3 { stage.world.peers[peer].ipfs.isDown = false }
        stage.run(.minutes(3))
        #expect(stage.holders(1) == (try stage.allocations(1, seenBy: 0)))
        #expect(stage.holders(1).count == 2)
    }

    /// A re-pin copied the state's pin and undid an acknowledged update that waited in the batch.
    @Test func aRepinDoesNotUndoAnUpdateThatWaits() throws {
        let stage = Stage(peers: 4) { ($0.replica.batchSizeMax, $0.replica.batchAgeMax) = (1000, .minutes(3)) }
        for number in 0..<12 { try stage.pin(number % 4, number, name: "old") }
        stage.run(.minutes(4))
        stage.world.crash(3)
        for number in 0..<12 { for peer in 0..<3 { try stage.pin(peer, number, name: "new") } }
        stage.run(.minutes(9))
        for peer in 0..<3 { for number in 0..<12 { #expect(try stage.machine(peer).readPin(Stage.content(number))?.options.name == "new") } }
    }

    /// ALC-08: the failure speaks of the log.
    @Test func theLogSaysWhoCouldHavePinned() throws {
        let stage = Stage()
        var lines: [String] = []
        stage.world.log = { if $0.contains("p1 "), let place = $0.firstRange(of: "error cluster: ") { lines.append(String($0[place.upperBound...])) } }
        var pin = Pin(cid: Stage.content(1))
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (4, 5)
        let failure = #expect(throws: ClientFailure.self) { try stage.ask(1, .pin(pin)) }
        #expect(failure?.message.contains("Available candidates: 3. See logs") == true)
        let candidates = stage.world.peers.map(\.id).sorted().map { "    - \($0)" }
        #expect(lines == ["Not enough candidates to allocate \(pin.cid):", "  Needed: 4", "  Wanted: 5", "  Available candidates: 3:"] + candidates)
    }

    /// CLU-27: of who is known by names only those are told; all others are told of as before.
    @Test func namesStandForThePeersThatHaveThem() throws {
        let stage = Stage()
        let name = try Multiaddr(text: "/dns4/one.test/tcp/9096")
        stage.world.crash(0)
        stage.world.peers[0].settings.bootPeers.append((stage.world.peers[1].id, [name], true))
        stage.world.start(0)
        stage.run(.minutes(1))
        guard case .peer(let info)? = try stage.ask(0, .id).first else { return #expect(Bool(false), "no answer") }
        let told = info.clusterPeersAddresses ?? []
        let others = told.filter { $0 != name.with(peer: stage.world.peers[1].id) }
        #expect(told.count == others.count + 1 && !others.isEmpty && others.allSatisfy { $0.description.hasSuffix("\(stage.world.peers[2].id)") }, "\(told)")
    }

    /// CLU-44: whoever joins and who was asked count each other at once, before either has been greeted.
    @Test func whoJoinsIsAMemberAtOnce() throws {
        let stage = Stage()
        let (me, other) = (stage.world.peers[0].id, stage.world.peers[1].id)
        stage.world.crash(0)
        stage.run(.minutes(2))
        #expect(try stage.members(seenBy: 1) == [1, 2])
        stage.world.peers[0].settings.bootPeers = []
        stage.world.peers[0].settings.joins = [Multiaddr.simulated(1).with(peer: other), Multiaddr.simulated(0).with(peer: me)]
        var lines: [String] = []
        stage.world.log = { if let place = $0.firstRange(of: "info cluster: \(me)") { lines.append(String($0[place.lowerBound...])) } }
        stage.world.start(0)
        stage.run(.seconds(1))
        #expect(lines == ["info cluster: \(me): joined \(other)'s cluster"])
        #expect(try stage.members(seenBy: 0).contains(1) && stage.members(seenBy: 1).contains(0))
    }

    /// CLI-054: each address is told of once. It is kept for good, and its peer joined when it comes.
    @Test func whoCannotBeJoinedIsToldAndJoinedLater() throws {
        let stage = Stage()
        let other = stage.world.peers[1].id
        for peer in 0...1 { stage.world.crash(peer) }
        let joins = [Multiaddr.simulated(7), .simulated(1)].map { $0.with(peer: other) }
        (stage.world.peers[0].settings.bootPeers, stage.world.peers[0].settings.joins) = ([], joins)
        var lines: [String] = []
        stage.world.log = { if let place = $0.firstRange(of: "error service: ") { lines.append(String($0[place.lowerBound...])) } }
        stage.world.start(0)
        stage.run(.hours(2))
        #expect(lines.map { line in joins.firstIndex { line.contains($0.description) } } == [0, 1], "\(lines)")
        stage.world.start(1)
        stage.run(.minutes(6))  // longer than it waits between two dials
        #expect(try stage.members(seenBy: 0).contains(1) && lines.count == 2)
    }

    /// A peer of upstream's re-pins once, and may choose another that has died with the first: others do it after some sweeps.
    @Test func whoIsNextRepinsWhereTheClosestDoesNot() throws {
        var number = 0
        let stage = Stage(peers: 5) {
            $0.isRepinningDisabled = number >= 2  // of those who are left, two of four do not act
            number += 1
        }
        for number in 0..<40 { try stage.pin(number % 5, number) }
        stage.run(.seconds(5))
        stage.world.lose(4)
        func endangered() throws -> Int { try (0..<40).count { try stage.allocations($0, seenBy: 0).contains(4) } }
        let held = try endangered()
        stage.run(.minutes(2))
        let left = try endangered()
        #expect(left > 0 && left < held, "\(left) of \(held)")
        stage.run(.minutes(6))
        #expect(try endangered() == 0)
        for number in 0..<40 { #expect(stage.holders(number).filter { $0 != 4 } == (try stage.allocations(number, seenBy: 0))) }
    }

    /// REST-051, CLU-33: crdt removes nobody, and yet content moves off who is to be removed, where it would be too little without.
    @Test(arguments: [(2, 2, false), (1, 2, false), (2, 2, true)]) func contentMovesOffWhoIsToBeRemoved(min: Int, max: Int, isDisabled: Bool) throws {
        let stage = Stage(peers: 4) {
            ($0.factors.min, $0.factors.max) = (min, max)
            ($0.isRepinningDisabled, $0.sweepBytes) = (isDisabled, 1000)
        }
        for number in 0..<20 { try stage.pin(number % 4, number) }
        stage.run(.seconds(5))
        let before = try (0..<20).map { try stage.allocations($0, seenBy: 0) }
        #expect(before.contains { $0.contains(2) })
        var lines: [String] = []
        stage.world.log = { if $0.contains("p1 ") { lines.append($0) } }
        let failure = #expect(throws: ClientFailure.self) { try stage.ask(1, .peerRemove(stage.world.peers[2].id)) }
        #expect(failure?.message == "crdt consensus component cannot remove peers")
        // All of it is written when the answer comes.
        let after = try (0..<20).map { try stage.allocations($0, seenBy: 1) }
        stage.run(.seconds(10))
        let moves = !isDisabled && min == 2
        for (number, (old, new)) in zip(before, after).enumerated() {
            #expect(moves && old.contains(2) ? !new.contains(2) && new.count == 2 && old.filter { $0 != 2 }.allSatisfy(new.contains) : new == old, "\(number)")
            #expect(stage.holders(number) == new, "\(number)")
        }
        #expect(lines.contains { $0.contains("repinning is disabled. Will not re-allocate cids from \(stage.world.peers[2].id)") } == isDisabled)
        #expect(lines.count { $0.contains("repinned") && $0.contains("out of \(stage.world.peers[2].id)") } == (moves ? before.count { $0.contains(2) } : 0))
        #expect(lines.contains { $0.contains("error cluster: crdt consensus component cannot remove peers") })
    }

    @Test func aBlockThatHasRottedIsToldAndNotServed() throws {
        let stage = Stage(peers: 2) { ($0.factors.min, $0.factors.max) = (1, 1) }
        stage.world.crash(1)
        try stage.pin(0, 1, name: "one")
        let disk = stage.world.peers[0].disk
        let file = try #require(try disk.list("crdt/").last)
        disk.flipBit(file, at: try disk.size(file) - 20)
        var told: [String] = []
        stage.world.log = { if $0.contains("cannot be read") { told.append($0) } }
        stage.world.start(1)
        stage.run(.minutes(1))
        #expect(told.contains { $0.contains("p0") && $0.contains("error crdt: block baf") && $0.contains("\(file) is damaged at byte") })
        #expect(try stage.machine(1).readPin(Stage.content(1)) == nil)
    }

    @Test func aRottenIndexIsMadeAnewAsSoonAsItIsNeeded() throws {
        let stage = Stage(peers: 2) {
            ($0.factors.min, $0.factors.max) = (-1, -1)
            $0.replica.index.tableEntries = 4
            $0.recoverInterval = .hours(24)
        }
        stage.world.crash(1)
        for number in 0..<12 { try stage.pin(0, number) }
        stage.run(.seconds(20))
        let disk = stage.world.peers[0].disk
        let runs = try disk.list("crdt/").filter { $0.hasSuffix(".run") }
        #expect(!runs.isEmpty)
        for file in runs { disk.flipBit(file, at: 100) }
        stage.world.peers[0].ipfs.pins.remove(Stage.content(3))
        var told: [String] = []
        stage.world.log = { if $0.contains("made anew") { told.append($0) } }
        stage.world.start(1)
        stage.run(.minutes(2))
        #expect(told.contains { $0.contains("p0") && $0.contains("checksum of an index page does not match") })
        for peer in 0..<2 { for number in 0..<12 { #expect(try stage.machine(peer).readPin(Stage.content(number)) != nil) } }
        // Whatever became of the pins meanwhile, they are what the state says.
        #expect(stage.holders(3) == [0, 1])
    }

    @Test(arguments: [false, true]) func manyArePinnedAndUnpinnedAtOnce(isBatching: Bool) throws {
        let stage = Stage { if isBatching { ($0.replica.batchSizeMax, $0.replica.batchAgeMax) = (10, .seconds(5)) } }
        var batch = PinBatch()
        for number in 0..<30 { batch.append(Stage.content(number), name: "many") }
        try stage.ask(0, .pinAll(batch))
        try stage.pin(0, 30, name: "one")  // may wait for a batch: it is to be seen all the same
        try stage.ask(0, .unpinAll((10...30).map(Stage.content)))
        stage.run(.seconds(30))
        #expect(Set(stage.digests()).count == 1)
        for peer in 0..<3 {
            #expect(try stage.machine(peer).replica.count == 10)
            #expect(try stage.machine(peer).readPin(Stage.content(9))?.options.name == "many")
            #expect(try stage.machine(peer).readPin(Stage.content(30)) == nil)
        }
        #expect((0..<10).allSatisfy { stage.holders($0).count == 2 } && (10..<31).allSatisfy { stage.holders($0).isEmpty })
        let failure = #expect(throws: ClientFailure.self) { try stage.ask(0, .unpinAll([Stage.content(0), Stage.content(10)])) }
        #expect(failure?.message == "\(Stage.content(10)) is not part of the pinset")
        stage.run(.seconds(10))
        #expect(try stage.machine(0).readPin(Stage.content(0)) != nil, "all of them or none")
        // Seed 7000835: what is being removed is not removed once more.
        stage.world.ask(0, .unpin(Stage.content(0))) { _, _ in }
        stage.run(Span(nanoseconds: 1))
        let second = #expect(throws: ClientFailure.self) { try stage.ask(0, .unpinAll([Stage.content(1), Stage.content(0)])) }
        #expect(second?.message == "\(Stage.content(0)) is not part of the pinset")
    }
}
