// The state is made from the log, in steps, where no checkpoint is of use.

import Kernel
import MerkleCRDT
import Seams
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

    @Test func whatIsDoneAtOnceSaysNothing() throws {
        #expect(try reopened(pausing: .milliseconds(10)).members[0].lines.isEmpty)
    }
}
