// A replica alone on a disk that fails all the time.

import Seams
import SimNet
import Testing

@Suite struct DrillTests {
    /// Each found something: a manifest that was removed though there was no other (16), a removal that removed nothing (1063, 1623), a
    /// log without its beginning (2215), and a failed write that a crash brings back, as it may (6294).
    @Test(arguments: [16, 1063, 1623, 2215, 6294] as [UInt64]) func whatWasFoundHolds(seed: UInt64) {
        let drill = Drill(Tape(seed: seed))
        drill.run(Drill.steps)
        #expect(drill.failure == nil, "\(drill.failure.map { "\($0.oracle.rawValue): \($0.text)" } ?? "")")
        #expect(drill.lines.contains { $0.hasPrefix("at rest: ") })
    }

    @Test func oneSeedIsOneDrill() {
        let drills = (0..<2).map { _ in Drill(Tape(seed: 3)) }
        for drill in drills { drill.run(200) }
        #expect(drills[0].lines == drills[1].lines && drills[0].crashes > 0)
    }

    /// What rots is noticed at the next start, or when it is read.
    @Test func rotIsFound() throws {
        let drill = Drill(Tape(seed: 3))
        drill.run(128)
        let file = try #require(try drill.disk.list("crdt/").first { $0.hasSuffix(".log") })
        drill.disk.flipBit(file, at: 40)
        drill.run(600)
        #expect(drill.failure?.oracle == .start)
    }
}
