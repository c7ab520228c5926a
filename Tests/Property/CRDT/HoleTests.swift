// Blocks that cannot be had, and blocks that come twice.

import Kernel
import MerkleCRDT
import Multiformats
import Seams
import Storage
import TestSupport
import Testing

@Suite struct HoleTests {
    private func heads(_ room: Room, _ index: Int) -> [CID] { room.members[index].replica.heads.map(\.cid) }
    private func announcements(_ room: Room, by index: Int) -> [Bytes] { room.broadcasts.filter { $0.by == index }.map(\.payload) }

    /// The writer of three blocks is gone for good when only the newest has reached anyone.
    private func holedRoom() throws -> Room {
        var room = try Room(3)
        for value: UInt8 in 1...3 { room.put(0, "/k\(value)", [value]) }
        let newest = try #require(heads(room, 0).first)
        let block = try #require(try room.members[0].replica.block(newest))
        room.fetches = false
        room.deliver(Announcement.encode([newest]), to: 1)
        room.act(1) { $0.onBlock(newest, block, now: $1, effects: &$3) }
        return room
    }

    @Test func aHoleThatNobodyFillsIsGivenUp() throws {
        var room = try holedRoom()
        let newest = try #require(heads(room, 0).first)
        #expect(try room.members[1].replica.value("/k3") == [3])
        #expect(heads(room, 1).isEmpty && room.members[1].replica.absentCount == 1)
        room.advance(.minutes(3))
        #expect(heads(room, 1) == [newest], "what waited for the hole is a head without it")
        #expect(room.members[1].replica.absentCount == 1 && room.members[1].replica.isDirty)
        let said = { (room: Room) in room.members[1].lines.filter { $0.message.contains("mark") } }
        let given = LogLine(.warning, "crdt", "marking datastore as dirty")
        let begun = LogLine(.warning, "crdt", "store is marked dirty. Starting DAG repair operation")
        #expect(said(room) == [given, begun])

        // Now the others hear of it, and come to the same.
        room.advance(.minutes(2))
        let payload = try #require(announcements(room, by: 1).last)
        room.deliver(payload, to: 2)
        let block = try #require(try room.members[1].replica.block(newest))
        room.act(2) { $0.onBlock(newest, block, now: $1, effects: &$3) }
        room.advance(.minutes(3))
        #expect(heads(room, 2) == [newest] && room.members[2].replica.digest == room.members[1].replica.digest)

        // CRDT-62: it is looked for once an hour, and the operator is told.
        room.advance(.hours(1))
        #expect(said(room) == [given, begun, begun] && room.members[1].news.isEmpty)
        room.members[1].lines = []
        room.act(1) { $0.markDirty(false, &$3) }
        #expect(said(room) == [LogLine(.info, "crdt", "marking datastore as clean")])
    }

    /// It is looked for again later (C17), also where it was announced before another block came that names it.
    @Test func aHoleThatWasAnnouncedIsRemembered() throws {
        var room = try Room(2)
        room.fetches = false
        for value: UInt8 in 1...3 {
            room.put(0, "/k\(value)", [value])
            if value > 1 { room.deliver(Announcement.encode(heads(room, 0)), to: 1) }
        }
        let newest = try #require(heads(room, 0).first)
        let block = try #require(try room.members[0].replica.block(newest))
        room.act(1) { $0.onBlock(newest, block, now: $1, effects: &$3) }
        #expect(!room.members[1].replica.isDirty)
        room.advance(.minutes(3))
        #expect(heads(room, 1) == [newest] && room.members[1].replica.absentCount == 1 && room.members[1].replica.isDirty)
    }

    /// Two who write the same upon the same make the same block: who has announced it need not send it any more.
    @Test func whatOneHasMadeNobodyIsAskedFor() throws {
        var room = try Room(2)
        room.fetches = false
        room.put(0, "/k", [1])
        let block = try #require(heads(room, 0).first)
        room.deliver(Announcement.encode([block]), to: 1)
        #expect(room.members[1].unwanted.isEmpty)
        room.put(1, "/k", [1])
        #expect(heads(room, 1) == [block] && room.members[1].unwanted == [block])
    }

    /// Nor when the disk loses what the others sent meanwhile (seed 5001).
    @Test func whatOneHasMadeNobodyIsAskedForAgain() throws {
        var room = try Room(2)
        room.fetches = false
        room.put(0, "/k", [1])
        let cid = try #require(heads(room, 0).first)
        let block = try #require(try room.members[0].replica.block(cid))
        room.deliver(Announcement.encode([cid]), to: 1)
        room.holdsSyncs = true
        room.put(1, "/k", [1])
        room.act(1) { $0.onBlock(cid, block, now: $1, effects: &$3) }
        room.endSyncs(1)
        room.failSyncs()
        #expect(heads(room, 1) == [cid] && room.members[1].wanted == [cid])
    }

    /// Run 780050: a block that had arrived at the last moment, and waited for its sync, kept its peer waking over and over.
    @Test func whatHasArrivedHasNoDeadline() throws {
        var room = try holedRoom()
        let newest = try #require(heads(room, 0).first)
        let block = try #require(try room.members[0].replica.block(newest))
        room.deliver(Announcement.encode([newest]), to: 2)
        room.holdsSyncs = true
        room.act(2) { $0.onBlock(newest, block, now: $1, effects: &$3) }
        for _ in 0..<6 {
            room.advance(.seconds(40))
            #expect(try #require(room.members[2].replica.nextDeadline) > room.now.monotonic)
        }
        room.holdsSyncs = false
        room.endSyncs()
        #expect(try room.members[2].replica.value("/k3") == [3])
    }

    @Test func aHoleThatIsFilledLaterIsNoHead() throws {
        var room = try holedRoom()
        room.advance(.minutes(3))
        room.put(1, "/new", [9])
        let tip = heads(room, 1)
        room.advance(.minutes(3))
        room.fetches = true
        room.deliver(Announcement.encode(heads(room, 0)), to: 1)  // whoever speaks may have what was missing
        #expect(room.members[1].replica.absentCount == 0 && room.values(1).count == 4)
        #expect(heads(room, 1) == tip)
        room.deliver(Announcement.encode(tip), to: 0)
        #expect(heads(room, 0) == tip && room.members[0].replica.digest == room.members[1].replica.digest)
    }

    @Test func whatWasGivenUpIsGivenUpAnewAfterARestart() throws {
        var room = try holedRoom()
        room.advance(.minutes(3))
        let tip = heads(room, 1)
        try room.restart(1)
        #expect(try room.members[1].replica.value("/k3") == [3])
        room.advance(.minutes(3))
        #expect(heads(room, 1) == tip)
    }

    /// A write wins over the value that its writer saw, also where that came with an unfinished branch.
    @Test func aWriteWinsOverWhatItsWriterSaw() throws {
        var room = try holedRoom()
        room.put(1, "/k3", [0])
        #expect(try room.members[1].replica.value("/k3") == [0])
    }

    @Test func theSameBlockMayComeWhileTheOwnIsSynced() throws {
        var settings = ReplicaSettings()
        for isBatching in [false, true] {
            if isBatching { (settings.batchSizeMax, settings.batchAgeMax) = (1, .seconds(1)) }
            var room = try Room(2, settings)
            room.put(0, "/k", [1])
            room.deliver(Announcement.encode(heads(room, 0)), to: 1)
            #expect(try room.members[1].replica.value("/k") == [1])
            room.delete(0, "/k")
            room.holdsSyncs = true
            room.delete(1, "/k")
            room.deliver(Announcement.encode(heads(room, 0)), to: 1)
            room.endSyncs()
            #expect(heads(room, 1) == heads(room, 0) && heads(room, 1).count == 1)
            #expect(try room.members[1].replica.value("/k") == nil && room.members[1].replica.pendingCount == 0)
            try room.restart(1)
            room.endSyncs()
            #expect(heads(room, 1) == heads(room, 0) && room.members[1].replica.pendingCount == 0)
        }
    }

    /// A block that held an accepted write rots where it was written. If others have it, it comes back, and what they have done
    /// since stands; if nobody has it, the write is published again.
    @Test(arguments: [true, false]) func anAcceptedWriteOutlivesItsBlock(othersHaveIt: Bool) throws {
        var settings = ReplicaSettings()
        (settings.batchSizeMax, settings.batchAgeMax) = (1, .seconds(1))
        var room = try Room(2, settings)
        room.put(0, "/k", Bytes("the value".utf8))
        if othersHaveIt {
            room.deliver(Announcement.encode(heads(room, 0)), to: 1)
            room.delete(1, "/k")
        }
        room.put(1, "/later", [2])
        room.advance(.seconds(2))
        room.deliver(Announcement.encode(heads(room, 1)), to: 0)
        let file = "crdt/00000001.log"
        let log = room.members[0].disk.contents(file)
        let places = log.indices.filter { log[$0...].starts(with: Bytes("the value".utf8)) }
        #expect(places.count == 2, "the accepted write and its block")
        room.members[0].disk.flipBit(file, at: places[1])
        try room.restart(0)
        for _ in 0..<10 { room.advance(.seconds(30)) }
        let replica = room.members[0].replica
        #expect(replica.pendingCount == 0)
        #expect(try replica.value("/later") == [2])
        #expect(try replica.value("/k") == (othersHaveIt ? nil : Bytes("the value".utf8)))
        #expect(!othersHaveIt || heads(room, 0) == heads(room, 1), "nothing is published again")
    }

    /// What comes while the state is made anew is told, and what had been told is not told again (seed 6000034 with disk faults).
    @Test func whatComesWhileTheStateIsMadeAnewIsTold() throws {
        var room = try Room(2)
        room.put(0, "/old", Bytes("the value".utf8))
        room.put(0, "/older", [1])
        room.deliver(Announcement.encode(heads(room, 0)), to: 1)
        room.put(1, "/new", [2])
        let fresh = try #require(heads(room, 1).first)
        let block = try #require(try room.members[1].replica.block(fresh))
        room.fetches = false
        room.deliver(Announcement.encode([fresh]), to: 0)

        let file = "crdt/00000001.log"
        let log = room.members[0].disk.contents(file)
        let place = try #require(log.indices.first { log[$0...].starts(with: Bytes("the value".utf8)) })
        room.members[0].disk.flipBit(file, at: place)
        let error = #expect(throws: LogError.self) { try room.members[0].replica.value("/old") }
        room.members[0].hooks = []
        room.act(0) { if let error { $0.onUnreadable(error, now: $1, effects: &$3) } }
        #expect(!room.members[0].replica.isOpen)
        room.act(0) { $0.onBlock(fresh, block, now: $1, effects: &$3) }
        room.fetches = true
        room.advance(.seconds(10))
        #expect(room.members[0].replica.isOpen)
        let told = room.members[0].hooks.compactMap { if case .changed(let key, _) = $0 { key } else { nil } }
        #expect(told.contains("/new") && !told.contains("/older"))
    }
}
