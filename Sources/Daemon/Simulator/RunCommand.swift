// One run, told: a line for each entry as it happens, why content fared as it did, or a page to look at.

import Foundation
import Kernel
import SimNet

func runOne(_ arguments: inout Arguments) {
    let isQuiet = arguments.flag("--quiet")
    let drawing = arguments.drawing()
    let (plan, name) = planOf(&arguments, drawing)
    let writing = arguments.text("--write-plan")
    let rolling = arguments.text("--rolling")
    let window = arguments.text("--events")?.split(separator: "-").compactMap { UInt64($0) }
    let (page, why) = (arguments.text("--html"), arguments.text("--why"))
    arguments.done()
    if let writing { write(plan.text, to: writing) }
    let run = Run(plan)
    var trace = run.trace
    if page != nil || why != nil { run.world.entries = [] }
    let style = LineStyle(isColoured: isatty(1) == 1, width: terminalWidth())
    if let window {
        guard window.count == 2 else { fail("--events needs the first and the last, such as 100-120") }
        run.world.log = { [world = run.world] in if (window[0]...window[1]).contains(world.eventCount) { print($0) } }
    } else if !isQuiet, why == nil {
        var lines = Lines(trace, style: style)
        print(lines.header)
        // Each at once: a step that traps has been told.
        fflush(nil)
        run.world.onEntry = { FileHandle.standardOutput.write(Data((lines.append($0) + "\n").utf8)) }
    }
    var digests = Data()
    if rolling != nil {
        run.world.onEvent = { _, at, digest in
            withUnsafeBytes(of: at.littleEndian) { digests.append(contentsOf: $0) }
            withUnsafeBytes(of: digest.value.littleEndian) { digests.append(contentsOf: $0) }
        }
    }
    let verdict = run.execute()
    if let rolling {
        do { try digests.write(to: URL(fileURLWithPath: rolling)) } catch { fail("cannot write \(rolling): \(error.localizedDescription)") }
    }
    trace.entries = run.world.entries ?? []
    trace.title = name
    trace.facts = facts(of: verdict, replay: "ipfs-cluster-sim run --\(name)")
    trace.oracles = Oracle.allCases.map { oracle in
        (oracle.rawValue, oracle.statement, verdict.oracle == oracle ? verdict.failure : nil)
    }
    if let why {
        do { for line in try trace.lines(why: why, style: style) { print(line) } } catch { fail("\(error)") }
    }
    if let page {
        write(trace.page(), to: page)
        print("\(trace.entries.count) entries written to \(page)")
    }
    report(verdict)
    exit(verdict.failure == nil ? 0 : 1)
}

private func terminalWidth() -> Int? {
    var size = winsize()
    return isatty(1) == 1 && ioctl(1, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 40 ? Int(size.ws_col) : nil
}

private func facts(of verdict: Verdict, replay: String) -> [(name: String, value: String)] {
    let plan = verdict.plan
    var facts = [("verdict", verdict.failure ?? "everything held"), ("replay", replay), ("options", plan.options.words.joined(separator: " "))]
    facts.append(("faults", plan.faults.isEmpty ? "none" : plan.faults.map(\.kind.rawValue).joined(separator: " ")))
    facts.append(("events", "\(verdict.events) in \(seconds(verdict.virtualTime)) of virtual time, \(verdict.judged) judgements"))
    if let settle = verdict.settleTime { facts.append(("settled", "\(seconds(settle)) after the faults had ended, of \(seconds(verdict.settleBound)) at most")) }
    if !plan.story.isEmpty { facts.append(("story", plan.story.joined(separator: " "))) }
    return facts.map { (name: $0.0, value: $0.1) }
}

func report(_ verdict: Verdict) {
    let plan = verdict.plan
    print("seed \(plan.seed): \(plan.options.words.joined(separator: " "))")
    print("\(plan.operations.count) operations, faults: \(plan.faults.isEmpty ? "none" : plan.faults.map(\.kind.rawValue).joined(separator: " "))")
    print("\(verdict.events) events, \(seconds(verdict.virtualTime)) of virtual time, \(verdict.acknowledged) operations acknowledged, \(verdict.judged) judgements")
    if let settle = verdict.settleTime { print("settled \(seconds(settle)) after the faults had ended, of \(seconds(verdict.settleBound)) at most") }
    print("trace digest \(verdict.digest)")
    print(verdict.failure.map { "FAILED: \($0)" } ?? "everything held")
}
