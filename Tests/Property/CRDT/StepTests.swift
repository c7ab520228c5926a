// No step does more than its share: what is durable is merged some at a time, and nothing of it counts before its time.

import Kernel
import MerkleCRDT
import Seams
@testable import Storage
import Testing

@Suite struct StepTests {
    private func settings(_ share: Int, tableEntries: Int = 1 << 20) -> ReplicaSettings {
        var settings = ReplicaSettings()
        settings.mergedPerStep = share
        settings.index.tableEntries = tableEntries
        return settings
    }
    private func puts(_ range: Range<Int>, _ value: UInt8 = 1) -> [Replica.BatchChange] {
        range.map { .put(key: "/k\($0)", value: [value]) }
    }
    /// What there is, of blocks that are merged in part too.
    private func merged(_ room: Room) -> Int { room.values(0).count }
    private func step(_ room: inout Room) { room.act(0) { $0.onTime(now: $1, choices: &$2, effects: &$3) } }

    @Test func aLargeBlockIsMergedInSteps() throws {
        var room = try Room(1, settings(100))
        (room.goesOn, room.holdsSyncs) = (false, true)
        let id = room.write(0, puts(0..<1000))
        room.endSyncs()
        var (steps, count) = (1, merged(room))
        while room.members[0].replica.isMerging {
            #expect(room.members[0].replica.heads.isEmpty && room.members[0].replica.count == 0 && room.members[0].finished[id] == nil && room.broadcasts.isEmpty)
            #expect(room.members[0].replica.nextDeadline == room.now.monotonic && !room.members[0].replica.isSettled)
            step(&room)
            #expect(merged(room) - count <= 100)
            (steps, count) = (steps + 1, merged(room))
        }
        #expect(steps == 10 && count == 1000)
        #expect(room.members[0].finished[id] == .some(nil) && room.broadcasts.count == 1 && room.members[0].replica.isSettled)
    }

    @Test func manyBlocksOfOneSyncAreMergedInSteps() throws {
        var room = try Room(1, settings(100))
        (room.goesOn, room.holdsSyncs) = (false, true)
        let ids = (0..<20).map { room.write(0, puts($0 * 30..<$0 * 30 + 30)) }
        room.endSyncs()
        var (steps, count) = (1, merged(room))
        #expect(count <= 130)  // the first block has a sync of its own
        while room.members[0].replica.isMerging {
            step(&room)
            #expect(merged(room) - count <= 100)
            (steps, count) = (steps + 1, merged(room))
        }
        #expect(steps >= 6 && count == 600 && room.members[0].replica.heads.count == 1)
        #expect(ids.allSatisfy { room.members[0].finished[$0] == .some(nil) })
    }

    /// To read what there is of a key takes as long as fifty that are new.
    @Test func whatMustBeReadCountsForMore() throws {
        var room = try Room(1, settings(1000))
        (room.goesOn, room.holdsSyncs) = (true, false)
        room.write(0, puts(0..<500))
        (room.goesOn, room.holdsSyncs) = (false, true)
        room.write(0, puts(0..<500, 2))
        room.endSyncs()
        var steps = 1
        while room.members[0].replica.isMerging { step(&room); steps += 1 }
        #expect(steps > 10)
        #expect(room.values(0).allSatisfy { $0.value == [2] })
    }

    /// Whenever it ends, and wherever a checkpoint was made: what is durable is there.
    @Test(arguments: [1, 4, 64]) func aMergeThatIsCutOffIsMadeAnew(tableEntries: Int) throws {
        var cut = 0, isCut = true
        while isCut {
            var room = try Room(1, settings(3, tableEntries: tableEntries))
            room.write(0, puts(0..<20))
            (room.goesOn, room.holdsSyncs) = (false, true)
            room.write(0, puts(10..<30, 2))
            room.write(0, (0..<5).map { .delete(key: "/k\($0)") })
            room.write(0, puts(40..<50))
            room.endSyncs()
            for _ in 0..<cut where room.members[0].replica.isMerging { step(&room) }
            isCut = room.members[0].replica.isMerging
            (room.goesOn, room.holdsSyncs) = (true, false)
            try room.restart(0)
            #expect(room.values(0).map(\.key) == ((5..<30).map { "/k\($0)" } + (40..<50).map { "/k\($0)" }).sorted())
            #expect(room.members[0].replica.count == 35 && room.members[0].replica.heads.count == 1)
            cut += 1
        }
        #expect(cut > 5)
    }

    /// The index is of no use any more while a block is merged in part.
    @Test func aMergeThatIsCutOffByDamageIsMadeAnew() throws {
        for cut in 0..<8 {
            var room = try Room(1, settings(3))
            (room.goesOn, room.holdsSyncs) = (false, true)
            let ids = [room.write(0, puts(0..<10)), room.write(0, puts(5..<15, 2))]
            room.endSyncs()
            for _ in 0..<cut { step(&room) }
            room.act(0) { $0.onUnreadable(.index(LogDamage(file: "x", offset: 0, reason: "test")), now: $1, effects: &$3) }
            #expect(!room.members[0].replica.isOpen)
            room.goesOn = true
            for _ in 0..<100 where !room.members[0].replica.isOpen { step(&room) }
            #expect(ids.allSatisfy { room.members[0].finished[$0] == .some(nil) })
            #expect(room.members[0].replica.count == 15 && room.members[0].replica.isSettled)
            #expect(room.values(0).map(\.value).filter { $0 == [2] }.count == 10)
        }
    }

    /// What comes while the log is read anew, and a block of it is merged in part, is waited for no more.
    @Test func whatComesMeanwhileHasCome() throws {
        var room = try Room(2, settings(3))
        room.write(0, puts(0..<50))
        room.write(1, puts(40..<60, 2))
        let payload = try #require(room.broadcasts.last?.payload)
        (room.goesOn, room.holdsSyncs) = (false, true)
        room.deliver(payload, to: 0)
        room.act(0) { $0.onUnreadable(.index(LogDamage(file: "x", offset: 0, reason: "test")), now: $1, effects: &$3) }
        step(&room)
        room.endSyncs()
        for _ in 0..<100 where !room.members[0].replica.isOpen || room.members[0].replica.isMerging { step(&room) }
        (room.goesOn, room.holdsSyncs) = (true, false)
        #expect(room.values(0).count == 60 && room.members[0].replica.heads.count == 2)
        for _ in 0..<3 {
            room.advance(.minutes(2))
            #expect(room.members[0].replica.nextDeadline.map { $0 > room.now.monotonic } == true)
        }
    }

    /// Nobody need say twice what is said while the log is read.
    @Test func whatIsAnnouncedMeanwhileIsFetched() throws {
        var room = try Room(2, settings(100))
        room.write(0, puts(0..<1000))
        room.write(1, puts(2000..<2010))
        let payload = try #require(room.broadcasts.last?.payload)
        var slow = settings(100)
        slow.replayBytesAtOpen = 0
        try room.restart(0, settings: slow)
        room.deliver(payload, to: 0)
        #expect(!room.members[0].replica.isOpen)
        for _ in 0..<100 where !room.members[0].replica.isOpen || room.members[0].replica.isMerging { step(&room) }
        #expect(room.members[0].replica.count == 1010 && room.members[0].replica.heads.count == 2)
    }

    /// What a disk loses takes nothing along that was durable and waits for its merge.
    @Test func whatIsDurableStaysWhenTheNextIsLost() throws {
        var room = try Room(1, settings(3))
        (room.goesOn, room.holdsSyncs) = (false, true)
        let kept = room.write(0, puts(0..<10))
        room.endSyncs()
        let lost = room.write(0, puts(10..<20))
        room.failSyncs()
        while room.members[0].replica.isMerging { step(&room) }
        #expect(room.members[0].finished[kept] == .some(nil) && room.members[0].finished[lost] != .some(nil))
        #expect(room.members[0].replica.count == 10 && room.members[0].replica.isSettled)
        room.holdsSyncs = false
        room.write(0, puts(20..<25))
        while room.members[0].replica.isMerging { step(&room) }
        try room.restart(0)
        #expect(room.members[0].replica.count == 15 && room.members[0].replica.heads.count == 1)
    }

    @Test func theLogIsReadInSteps() throws {
        var room = try Room(1, settings(100))
        room.write(0, puts(0..<1000))
        var slow = settings(100)
        slow.replayBytesAtOpen = 0
        try room.restart(0, settings: slow)
        #expect(!room.members[0].replica.isOpen && room.members[0].replica.count == 0)
        var count = 0
        while !room.members[0].replica.isOpen {
            step(&room)
            #expect(merged(room) - count <= 100 && (merged(room) > count || count == 1000))
            count = merged(room)
        }
        #expect(count == 1000)
    }
}
