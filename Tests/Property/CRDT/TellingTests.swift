// Who hears of changes, and who does not want to.

import Kernel
import MerkleCRDT
import Seams
import Storage
import TestSupport
import Testing

@Suite struct TellingTests {
    @Test func whereNobodyListensNothingIsToldAndAllElseIsTheSame() throws {
        var silent = ReplicaSettings()
        silent.tellsChanges = false
        var (room, quiet) = (try Room(1), try Room(1, silent))
        for value: UInt8 in 1...20 {
            room.put(0, "/k\(value % 7)", [value])
            quiet.put(0, "/k\(value % 7)", [value])
        }
        room.delete(0, "/k3")
        quiet.delete(0, "/k3")
        #expect(room.members[0].hooks.count == 21 && quiet.members[0].hooks.isEmpty)
        let (told, untold) = (room.members[0].replica, quiet.members[0].replica)
        #expect(untold.digest == told.digest && untold.count == 6 && untold.untoldCount == 0)
        #expect(quiet.members[0].finished.count == 21)
    }

    /// However many steps there are between: what waits is told when it is due, and no more than a share of it.
    @Test func whatHasWaitedIsToldInItsOwnTime() throws {
        var settings = ReplicaSettings()
        settings.toldPerStep = 30
        var room = try Room(1, settings)
        room.act(0) { replica, now, _, _ in replica.allowChanges(0, now: now) }
        room.write(0, (0..<100).map { .put(key: "/k\($0)", value: [1]) })
        for _ in 0..<5 { room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) } }
        #expect(room.members[0].hooks.isEmpty && room.members[0].replica.nextDeadline == room.now.monotonic)
        var told: [Int] = []
        while room.members[0].replica.untoldCount > 0 {
            let before = room.members[0].hooks.count
            room.advance(.zero)
            told.append(room.members[0].hooks.count - before)
            room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) }
        }
        #expect(told == [30, 30, 30, 10])
    }

    /// A checkpoint between two shares of one block: what has been told of it is told again, and no count goes below nothing.
    @Test func whatIsToldAgainIsCountedAgain() throws {
        var settings = ReplicaSettings()
        settings.toldPerStep = 4
        settings.index.tableEntries = 8
        var room = try Room(1, settings)
        room.act(0) { replica, now, _, _ in replica.allowChanges(0, now: now) }
        room.write(0, (0..<10).map { .put(key: "/k\($0)", value: [1]) })
        room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) }
        room.advance(.zero)
        #expect(room.members[0].replica.untoldCount == 6)
        room.act(0) { replica, now, _, _ in replica.allowChanges(0, now: now) }
        room.write(0, (10..<20).map { .put(key: "/k\($0)", value: [1]) })
        try room.restart(0)
        #expect(room.members[0].replica.untoldCount == 20)
        for _ in 0..<20 where room.members[0].replica.untoldCount > 0 {
            room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) }
            room.advance(.zero)
        }
        #expect(room.members[0].replica.untoldCount == 0)
    }

    /// While the log cannot be read nobody is told, and it is tried again after a pause, not at once and over and over.
    @Test func anUnreadableLogIsReadAgainLater() throws {
        var settings = ReplicaSettings()
        settings.toldPerStep = 30
        var room = try Room(1, settings)
        room.act(0) { replica, now, _, _ in replica.allowChanges(0, now: now) }
        room.write(0, (0..<10).map { .put(key: "/k\($0)", value: [1]) })
        room.members[0].disk.failsReads = true
        room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) }
        room.advance(.zero)
        room.act(0) { replica, now, _, _ in replica.allowChanges(1000, now: now) }
        #expect(room.members[0].hooks.isEmpty && room.members[0].lines.contains { $0.message.contains("cannot be read") })
        let next = try #require(room.members[0].replica.nextDeadline)
        #expect(next > room.now.monotonic)
        room.members[0].disk.failsReads = false
        room.advance(next - room.now.monotonic)
        #expect(room.members[0].hooks.count == 10)
    }
}
