// The state is made from the log, in steps, where no checkpoint is of use.

import Encoding
import Kernel
import MerkleCRDT
import Multiformats
import Seams
@testable import Storage
import TestSupport
import Testing

@Suite struct OpeningTests {
    private func reopened(pausing pause: Span) throws -> Room {
        var room = try Room(1)
        for number in 1...1000 { room.put(0, "/k\(number)", [1]) }
        room.members[0].lines = []
        var slow = ReplicaSettings()
        (slow.replayBytesAtOpen, slow.replayBytesPerStep) = (1, 1)
        try room.restart(0, settings: slow)
        #expect(!room.members[0].replica.isOpen)
        for _ in 0..<1000 where !room.members[0].replica.isOpen { room.advance(pause) }
        #expect(room.members[0].replica.isOpen && room.members[0].replica.count == 1000)
        return room
    }

    @Test func whatTakesLongSaysHowFarItIs() throws {
        let lines = try reopened(pausing: .seconds(1)).members[0].lines.map(\.message).filter { $0.hasPrefix("reading the pinset") }
        #expect(lines.count > 3 && lines.count < 40 && Set(lines).count == lines.count)
        #expect(lines.first?.hasPrefix("reading the pinset from the log: ") == true && lines.last?.hasSuffix(" pins") == true)
    }

    /// What a killed process has left is told to nobody, and nothing is built on it, before it is durable: it could still be lost.
    @Test func whatIsFoundIsReadWhenItIsDurable() throws {
        var room = try Room(1)
        room.put(0, "/k", [1])
        room.holdsSyncs = true
        room.put(0, "/k", [2])
        try room.restart(0)
        let early = room.put(0, "/l", [1])
        room.advance(.minutes(10))
        #expect(!room.members[0].replica.isOpen && room.values(0).isEmpty && room.broadcasts.count == 1)
        #expect(room.members[0].finished[early] == .some(.opening(percent: 0)))
        room.failSyncs()
        #expect(!room.members[0].replica.isOpen)
        room.advance(.seconds(5))
        room.endSyncs()
        #expect(room.members[0].replica.isOpen)
        #expect(try room.members[0].replica.value("/k") == [2])
    }

    /// A state under a checksum that matches, and whose numbers are none: it stopped the peer at its start.
    @Test(arguments: ["told", "merged", "missing", "pins"]) func aStateMayHoldAnyNumbers(_ which: String) throws {
        var settings = ReplicaSettings()
        settings.index.tableEntries = 4
        var room = try Room(1, settings)
        for number in 1...20 { room.put(0, "/k\(number)", [1]) }
        let disk = room.members[0].disk, file = try #require(try disk.list("").last { $0.hasSuffix(".state") })
        var state = Bytes(try disk.read(file, at: 0, count: try disk.size(file)).dropLast(8))
        let count = Int(state.withUnsafeBytes { load($0, 0, as: UInt32.self) })
        var writer = ProtobufWriter()
        switch which {
        case "told": writer.uint64(6, .max)
        case "merged": writer.message(1) { $0.uint64(1, .max) }
        case "missing": writer.message(1) { $0.message(4) { $0.bytes(1, Multihash.sha2_256(of: [1]).bytes); $0.uint64(4, .max) } }
        default: state.replaceSubrange(4 + count + 16..<4 + count + 24, with: repeatElement(255, count: 8))
        }
        state.insert(contentsOf: writer.bytes, at: 4 + count)
        var length = Bytes()
        append(UInt32(count + writer.bytes.count), to: &length)
        state.replaceSubrange(0..<4, with: length)
        _ = disk.carryOut(.truncate(file, to: 0))
        _ = disk.carryOut(.append(file, Index.sealed([state])))
        room.members[0].lines = []
        try room.restart(0, settings: settings)
        #expect(room.members[0].replica.isOpen && room.members[0].replica.count == 20)
        #expect(room.members[0].lines.contains { $0.message.hasPrefix("the index cannot be used: ") })
    }

    /// Found by fuzzing: a record under a checksum that matches, with the greatest number that there is, stopped the peer at its start.
    @Test func anAcceptedWriteMayHaveAnyNumber() throws {
        var room = try Room(1)
        room.put(0, "/k", [1])
        var effects: [DiskEffect] = []
        var log = try Log(folder: "crdt", owner: 1, reader: room.members[0].disk, effects: &effects)
        _ = try log.append(kind: 2, [0x1a, 4] + Bytes("/old".utf8) + [8] + Bytes(repeating: 0xff, count: 9) + [1], effects: &effects)
        for effect in effects { _ = room.members[0].disk.carryOut(effect) }
        try room.restart(0)
        room.put(0, "/l", [2])
        #expect(try room.members[0].replica.isOpen && room.members[0].replica.value("/k") == [1] && room.members[0].replica.value("/l") == [2])
    }

    @Test func whatIsDoneAtOnceSaysNothing() throws {
        #expect(try reopened(pausing: .milliseconds(10)).members[0].lines.isEmpty)
    }
}
