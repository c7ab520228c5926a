// Runs as data: a plan is its text, the same plan is the same run, and leaving a fault out leaves the rest as it was.

import Kernel
@testable import SimNet
import Testing

@Suite struct PlanTests {
    @Test(arguments: UInt64(1)...60) func aPlanIsItsText(seed: UInt64) throws {
        let plan = RunPlan.random(seed, Drawing(diskFaults: seed % 2 == 0))
        let read = try RunPlan(text: plan.text)
        #expect(read.text == plan.text)
        #expect((read == plan) as Bool, "seed \(seed)")
        for operation in plan.operations { #expect(operation.fault == nil) }
    }

    @Test func onePlanIsOneRun() throws {
        let plan = RunPlan.random(11)
        let first = Run(plan).execute()
        let second = Run(try RunPlan(text: plan.text)).execute()
        #expect(first.digest == second.digest && first.events == second.events)
        #expect(first.digest != Run(.random(12)).execute().digest)
    }

    /// What is drawn for one event hangs on nothing but its own name.
    @Test func aFaultLessLeavesTheRestAsItWas() {
        for seed in UInt64(1)...40 {
            let whole = RunPlan.random(seed), part = RunPlan.random(seed, Drawing(without: [.network]))
            #expect(part.operations == whole.operations)
            #expect(part.options == whole.options)
            let kept = whole.faults.filter { $0.kind.row.family != .network }
            #expect(part.faults == kept)
        }
    }

    @Test(arguments: [
        ("options peers=3", "line 1: there is no line that begins with run"),
        ("run seed=x", "line 1: seed needs a number"),
        ("run seed=1 calm=everything", "line 1: calm knows latency, ties, disk, ipfs, job, reader"),
        ("run seed=1\noptions peers=many", "line 2: peers=many is no value for peers, which is usually 3"),
        ("run seed=1\noptions allocate-by=freespace+mood", "line 2: allocate-by=freespace+mood is no value for allocate-by, which is usually tag:group+freespace"),
        ("run seed=1\noptions colour=red", "line 2: no option colour; there are peers"),
        ("run seed=1\nat 1s p0 dance c1", "line 2: after the time and the peers comes one of pin, unpin"),
        ("run seed=1\nat 1s p0 pin", "line 2: pin needs content, such as c3"),
        ("run seed=1\nat 1s pin c1", "line 2: it names no peer"),
        ("run seed=1\nat 1s p0 pin c1 colour=red", "line 2: pin knows no option colour"),
        ("run seed=1\nat 1 p0 pin c1", "line 2: at needs a time, such as 12.5s, and what happens"),
        ("run seed=1\nat 1s p7 pin c1", "line 1: p7 is named, and there are 3 peers"),
        ("run seed=1\nat 1s fault 3 flood p0", "line 2: fault needs a number and one of partition"),
        ("run seed=1\nat 1s fault 3 crash", "line 2: fault needs a number and one of"),
        ("run seed=1\nexpect MIRACLE", "line 2: expect needs one of DIGEST"),
        ("run seed=1\nwait 3s", "line 2: wait is none of expect, run, options, at, late, crash-in-step"),
    ])
    func badPlansAreToldWhatIsWrong(text: String, reason: String) {
        let error = #expect(throws: PlanError.self) { try RunPlan(text: text) }
        #expect(error?.description.hasPrefix(reason) == true, "\(error?.description ?? "")")
    }

    /// Each knows few, and there is a way from each to each.
    @Test(arguments: UInt64(1)...20) func aCrowdIsDrawn(seed: UInt64) throws {
        let plan = RunPlan.random(seed, Drawing(peers: 50)), options = plan.options
        #expect((try RunPlan(text: plan.text) == plan) as Bool)
        #expect(options.peers == 50 && (1...3).contains(options.boots) && plan.text.contains("peers=50"))
        #expect(plan.faults.contains { $0.kind.row.family == .network } && plan.faults.contains { $0.kind.row.family == .process })
        var reached: Set<Int> = [0]
        for index in 1..<50 {
            let boots = options.boots(of: index, plan.tape)
            #expect((1...3).contains(boots.count) && Set(boots).isSubset(of: reached))
            reached.insert(index)
        }
        let lost = Set(plan.faults.filter { $0.kind == .lose }.flatMap(\.peers))
        #expect(options.latecomers.allSatisfy { !Set(options.boots(of: $0, plan.tape)).isSubset(of: lost) })
    }

    @Test func everyFaultHasItsRow() {
        #expect(Set(FaultKind.catalogue.map(\.kind)) == Set(FaultKind.allCases))
        #expect(FaultKind.catalogue.count == FaultKind.allCases.count)
    }

    /// Whatever combines, one trusted peer keeps its disk.
    @Test func theBudgetLeavesOneDiskWhole() {
        for seed in UInt64(1)...300 {
            let plan = RunPlan.random(seed, Drawing(diskFaults: true))
            let trusted = 0..<plan.options.latecomers.lowerBound
            let struck = Set(plan.faults.filter { [.lose, .wipe, .rollback, .rot].contains($0.kind) }.flatMap(\.peers))
            #expect(trusted.contains { !struck.contains($0) }, "seed \(seed)")
        }
    }
}
