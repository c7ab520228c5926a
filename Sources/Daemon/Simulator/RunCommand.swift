// One run, told.

import Foundation
import Kernel
import SimNet

func runOne(_ arguments: inout Arguments) {
    let isQuiet = arguments.flag("--quiet")
    let drawing = arguments.drawing()
    let (plan, _) = planOf(&arguments, drawing)
    let writing = arguments.text("--write-plan")
    arguments.done()
    if let writing { write(plan.text, to: writing) }
    let verdict = Run(plan, log: isQuiet ? nil : { print($0) }).execute()
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
