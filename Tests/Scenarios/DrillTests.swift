// A replica alone on a disk that fails all the time.

import Seams
import SimNet
import Testing

@Suite struct DrillTests {
    @Test func whatIsDoneHolds() {
        for seed in 1...30 as ClosedRange<UInt64> {
            let drills = Drill.series(Tape(seed: seed), steps: Drill.steps)
            for (oracle, text) in drills.compactMap(\.failure) { Issue.record("seed \(seed): \(oracle.rawValue): \(text)") }
            #expect(drills.allSatisfy { $0.lines.contains { $0.hasPrefix("at rest: ") } })
        }
    }

    @Test func oneSeedIsOneDrill() {
        let drills = (0..<2).map { _ in Drill(Tape(seed: 3)) }
        for drill in drills { drill.run(200) }
        #expect(drills[0].lines == drills[1].lines && drills[0].crashes > 0)
    }

    /// What rots is noticed when it is read again: where no checkpoint stands for it, at the next start.
    @Test func rotIsFound() throws {
        var found = 0
        for seed in 1...10 as ClosedRange<UInt64> {
            let drill = Drill(Tape(seed: seed))
            drill.run(128)
            for file in try drill.disk.list("crdt/") where file.hasSuffix(".log") { drill.disk.flipBit(file, at: try drill.disk.size(file) / 2) }
            drill.run(300)
            if drill.failure?.oracle == .start { found += 1 }
        }
        #expect(found >= 5, "\(found) of 10")
    }

    /// A checkpoint takes away what those before it have left.
    @Test func whatNoCheckpointNamesIsFound() {
        let found = (1...10 as ClosedRange<UInt64>).count { seed in
            let drill = Drill(Tape(seed: seed))
            drill.run(128)
            for number in 1_000_000..<1_000_100 { drill.disk.apply(.append("crdt/0\(number).run", [1])) }
            drill.run(10)
            return drill.failure?.oracle == .bound
        }
        #expect(found >= 5, "\(found) of 10")
    }
}
