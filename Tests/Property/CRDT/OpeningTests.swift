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

    @Test func whatIsDoneAtOnceSaysNothing() throws {
        #expect(try reopened(pausing: .milliseconds(10)).members[0].lines.isEmpty)
    }
}
