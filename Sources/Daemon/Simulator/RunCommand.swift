// One run, told.

import Foundation
import Kernel
import SimNet

func runOne(_ arguments: inout Arguments) {
    let isQuiet = arguments.flag("--quiet")
    let drawing = arguments.drawing()
    let (plan, _) = planOf(&arguments, drawing)
    let writing = arguments.text("--write-plan")
    let rolling = arguments.text("--rolling")
    let window = arguments.text("--events")?.split(separator: "-").compactMap { UInt64($0) }
    arguments.done()
    if let writing { write(plan.text, to: writing) }
    let run = Run(plan)
    if let window {
        guard window.count == 2 else { fail("--events needs the first and the last, such as 100-120") }
        run.world.log = { [world = run.world] in if (window[0]...window[1]).contains(world.eventCount) { print($0) } }
    } else if !isQuiet {
        run.world.log = { print($0) }
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
    report(verdict)
    exit(verdict.failure == nil ? 0 : 1)
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
