// A trace as lines: what one looks like, and that all of them fit their columns.

import Kernel
import Multiformats
import SimNet
import Testing

@Suite struct LinesTests {
    private var trace: Trace {
        var trace = Trace(title: "a pin", peerNames: ["p0", "p1", "p2"])
        func add(_ milliseconds: Int64, _ peer: Int?, _ cause: Int?, _ kind: TraceEntry.Kind, _ text: String, _ cids: [CID] = []) {
            trace.entries.append(TraceEntry(at: milliseconds * 1_000_000, peer: peer, cause: cause, kind: kind, text: text, cids: cids))
        }
        add(0, nil, nil, .phase("workload"), "")
        add(0, 0, nil, .up, "starts")
        add(1, 2, nil, .input(label: "client"), "pin \(content(1))", [content(1)])
        add(3, 2, 2, .pin(content(1), state: "accepted"), "")
        add(12, 0, 2, .input(label: "received"), "stream 5 120 bytes")
        add(12, 0, 4, .log(level: "error"), "two\nlines")
        add(40, nil, nil, .fault(1, name: "partition", peers: [0], others: [1, 2]), "")
        add(41, 1, nil, .down, "crashes")
        add(50, 0, 2, .input(label: "received"), "stream 6 9 bytes")
        add(60, 1, 1, .input(label: "received"), "")
        add(12_345_678, nil, nil, .healed(1), "")
        add(12_345_679, nil, 3, .failure(oracle: "DURABLE"), "\(content(1)) is nowhere", [content(1)])
        return trace
    }

    @Test func aTraceInColumns() {
        let name = "c1…\("\(content(1))".suffix(5))"
        #expect(trace.lines() == [
            "      time  p0 p1 p2 ",
            "     0.000  ───┼──┼── workload",
            "     0.000  ▲  │  │   up          starts",
            "     0.001  │  │  ●   client      pin \(name)",
            "     0.003  │  │  ◆   accepted    \(name)",
            "     0.012  ◀──┼──┤   received    stream 5 120 bytes",
            "     0.012  ·  │  │   error       two\\nlines",
            "     0.040  █──▒──▒── partition",
            "     0.041  ┊  ✕  ┊   down        crashes",
            "     0.050  ◀─────┤   received    stream 6 9 bytes",
            "     0.060  ├──▶  ┊   received",
            " 12345.678  ░──░──░── partition ends",
            " 12345.679  ┼─────┼── FAILED DURABLE \(name) is nowhere",
        ])
    }

    /// A slice shows the columns as they were, though it leaves out what made them so.
    @Test func whatIsLeftOutStillCounts() {
        let all = trace.lines()
        #expect(trace.lines([8, 11]) == [all[0], all[9], all[12]])
        #expect(trace.lines([8], style: LineStyle(isNumbered: true))[1] == " #8 " + all[9])
    }

    @Test func whyIsASliceByName() throws {
        let all = trace.lines()
        let cid = content(1)
        let name = "c1…\("\(cid)".suffix(5))"
        #expect(try trace.lines(why: "c1") == [
            "\(name) is \(cid): 3 entries about it, 0 more that led to them, of 12", all[0], all[3], all[4], all[12],
        ])
        #expect(throws: TraceContentError.unknown("c2", of: 1)) { try trace.lines(why: "c2") }
    }

    @Test func everyEntryIsOneLineWithinItsWidth() {
        for seed in 1...40 as ClosedRange<UInt64> {
            let trace = MadeUp.anything(seed: seed)
            let textStart = trace.lines([])[0].count + 1
            for width in [120, 60] {
                let lines = trace.lines(style: LineStyle(width: width))
                #expect(lines.count == trace.entries.count + 1, "seed \(seed)")
                for (line, entry) in zip(lines.dropFirst(), trace.entries) {
                    #expect(line.count <= width, "seed \(seed): \(line)")
                    #expect(!line.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f || $0.value == 0x2028 }, "seed \(seed): \(line)")
                    // All before the text is as wide as the header.
                    let places = Array(line)
                    #expect(places[textStart - 1] == " " && places[10] == " " && places[11] == " ", "seed \(seed): \(line)")
                    if let peer = entry.peer { #expect(!" │┊".contains(places[12 + peer * 3]), "seed \(seed): nothing in the column of p\(peer): \(line)") }
                }
            }
        }
    }

    @Test func coloursChangeNothingElse() {
        for seed in 1...10 as ClosedRange<UInt64> {
            let trace = MadeUp.anything(seed: seed)
            let plain = trace.lines(style: LineStyle(width: 100))
            let coloured = trace.lines(style: LineStyle(isColoured: true, width: 100))
            #expect(plain != coloured)
            #expect(!plain.contains { $0.contains("\u{1b}") })
            #expect(coloured.map(withoutColours) == plain)
        }
    }

    private func withoutColours(_ line: String) -> String {
        var out = ""
        var inEscape = false
        for character in line {
            if character == "\u{1b}" { inEscape = true } else if inEscape { if character == "m" { inEscape = false } } else { out.append(character) }
        }
        return out
    }
}
