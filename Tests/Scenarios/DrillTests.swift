// Single machines with faults all the time: a replica on its disk, and hosts on their sockets.

import Kernel
import Seams
@testable import SimNet
import Testing

@Suite struct DrillTests {
    @Test func whatIsDoneHolds() {
        for seed in 1...30 as ClosedRange<UInt64> {
            let drills = ReplicaDrill.series(Tape(seed: seed), steps: Drill.steps)
            for (oracle, text) in drills.compactMap(\.failure) { Issue.record("seed \(seed): \(oracle.rawValue): \(text)") }
            #expect(drills.allSatisfy { $0.lines.contains { $0.hasPrefix("at rest: ") } })
        }
    }

    @Test func oneSeedIsOneDrill() {
        let drills = (0..<2).map { _ in ReplicaDrill(Tape(seed: 3)) }
        for drill in drills { drill.run(200) }
        #expect(drills[0].lines == drills[1].lines && drills[0].crashes > 0)
    }

    /// What rots is noticed when it is read again: where no checkpoint stands for it, at the next start.
    @Test func rotIsFound() throws {
        var found = 0
        for seed in 1...10 as ClosedRange<UInt64> {
            let drill = ReplicaDrill(Tape(seed: seed))
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
            let drill = ReplicaDrill(Tape(seed: seed))
            drill.run(128)
            for number in 1_000_000..<1_000_100 { drill.disk.apply(.append("crdt/0\(number).run", [1])) }
            drill.run(10)
            return drill.failure?.oracle == .bound
        }
        #expect(found >= 5, "\(found) of 10")
    }

    // MARK: Hosts

    @Test func hostsAgree() {
        for seed in 1...30 as ClosedRange<UInt64> {
            let drill = HostDrill.run(Tape(seed: seed), steps: 160)
            if let (oracle, text) = drill.failure { Issue.record("seed \(seed): \(oracle.rawValue): \(text)") }
            #expect(drill.lines.contains { $0.contains("at rest: ") })
        }
        let (once, again) = (HostDrill.run(Tape(seed: 3), steps: 160), HostDrill.run(Tape(seed: 3), steps: 160))
        #expect(once.lines == again.lines && once.lines.count > 160)
    }

    /// What two hosts have told, and what else they might have.
    @Test func whatHostsTellIsJudged() {
        func expect(_ words: String, _ body: (inout HostDrill) -> Void) {
            var drill = HostDrill.run(Tape(seed: 3), steps: 0)
            #expect(drill.failure == nil)
            body(&drill)
            #expect(drill.failure.map { $0.oracle == .wire && $0.text.contains(words) } == true, "\(drill.failure?.text ?? "nothing failed"), not: \(words)")
        }
        func stream(_ change: (inout HostDrill.Stream) -> Void) -> HostDrill.Stream {
            let ends = [0, 1].map { HostDrill.Stream.End(member: $0, id: StreamID(owner: UInt8(1 - $0), number: 1)) }
            var stream = HostDrill.Stream(protocols: ["/echo/1"], isBulk: false, agreed: "/echo/1", isOpen: true, mayBreak: false, openedAt: .origin + .minutes(1), ends: ends)
            change(&stream)
            return stream
        }
        let id = StreamID(owner: 1, number: 1)
        func tell(_ words: String, _ event: StreamEvent, _ change: (inout HostDrill.Stream) -> Void = { _ in }) {
            expect(words) {
                $0.members[1].serves = ["/echo/1"]
                $0.streams = [stream(change)]
                $0.placeOf[HostDrill.StreamPlace(member: 0, id: id)] = (0, 0)
                $0.hear(0, event)
            }
        }
        expect("none of its streams") { $0.hear(0, .drained(id)) }
        tell("which is over", .drained(id)) { $0.ends[0].isOver = true }
        tell("says twice", .opened(id, protocol: "/echo/1"))
        tell("speak /echo/1 and /sink/2", .opened(id, protocol: "/sink/2")) { $0.isOpen = false }
        tell("could not open", .failed(id, reason: "x")) { ($0.isOpen, $0.agreed) = (false, nil) }
        tell("has not sent, or not then", .received(id, [1])) { $0.ends[1].sent = 0 }
        tell("after 0 of 5 bytes", .remoteClosed(id)) { ($0.ends[1].sent, $0.ends[1].hasClosed) = (5, true) }
        tell("which has not come", .remoteClosed(id))
        tell("which nobody has done", .reset(id))
        tell("says again", .drained(id))
        func rest(_ words: String, _ change: (inout HostDrill.Stream) -> Void) {
            expect(words) {
                $0.streams = [stream(change)]
                $0.checkStreams { !$0.mayBreak }
            }
        }
        rest("0 of 5 bytes") { $0.ends[1].sent = 5 }
        rest("has not heard that stream 0 has ended") { $0.ends[1].hasClosed = true }
        rest("has not said that what was sent") { $0.ends[0].owesDrain = true }
        rest("is over at h1, and not at h0") { $0.ends[1].isOver = true }
        rest("has not heard of stream 0") { $0.ends[1].id = nil }
    }
}
