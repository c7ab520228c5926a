// Small scopes, exhaustively: every plan of a few operations with at most one partition, and in each of them a crash between any
// two effects of any step while it runs. A crash that leaves the world as another has left it is not followed again.

import Cluster
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Tracking

package struct Scope: Sendable {
    package var peers = 3
    package var contents = 2
    /// How many operations follow one another.
    package var operations = 2
    package var isBatching = false
    package var seed: UInt64 = 1
    package init() {}

    /// All plans of this scope, without crashes. Peers that nobody has named yet are alike: the first to be asked is p0.
    package var plans: [RunPlan] {
        var plans: [RunPlan] = []
        for words in sequences(operations) {
            for partition in partitions {
                var plan = RunPlan(tape: Tape(seed: seed, calm: Tape.calmable))
                plan.options.peers = peers
                (plan.options.factorMin, plan.options.factorMax) = (2, 2)
                plan.options.contents = contents
                plan.options.isBatching = isBatching
                plan.options.workloadLength = .seconds(30)
                plan.operations = words.enumerated().map { place, what in
                    Operation(
                        number: place + 1, at: .seconds(Int64(4 + 6 * place)), peers: [what.peer], kind: what.kind, contents: [what.content],
                        words: what.kind == .pin ? ["name=n\(place + 1)"] : [])
                }
                plan.faults = partition.map { [$0] } ?? []
                plans.append(plan)
            }
        }
        return plans
    }

    private typealias Step = (peer: Int, kind: OperationKind, content: Int)

    private func sequences(_ count: Int) -> [[Step]] {
        guard count > 0 else { return [[]] }
        var longer: [[Step]] = []
        for shorter in sequences(count - 1) {
            let known = (shorter.map(\.peer).max() ?? -1) + 1
            let written = (shorter.map(\.content).max() ?? 0) + 1
            for peer in 0...min(known, peers - 1) {
                for content in 1...min(written, contents) {
                    longer.append(shorter + [(peer, .pin, content)])
                    if shorter.contains(where: { $0.content == content }) { longer.append(shorter + [(peer, .unpin, content)]) }
                }
            }
        }
        return longer
    }

    /// None, one that isolates each peer, and each of them in one direction, from before the first operation to behind the last.
    private var partitions: [Fault?] {
        let length = Span.seconds(Int64(2 + 6 * operations))
        return [nil] + (0..<peers).flatMap { peer -> [Fault?] in
            let others = (0..<peers).filter { $0 != peer }
            return [
                Fault(number: 1, kind: .isolate, at: .seconds(3), length: length, peers: [peer], others: others),
                Fault(number: 1, kind: .oneWay, at: .seconds(3), length: length, peers: [peer], others: others),
            ]
        }
    }
}

package struct Exploration: Sendable {
    package var plans = 0
    package var crashes = 0
    package var pruned = 0
    package var failures: [(plan: RunPlan, text: String)] = []
    /// What crashes have left, and what was still to come.
    private var seen: Set<UInt64> = []
    package init() {}

    /// The plan itself, and with a crash at every point.
    package mutating func explore(_ plan: RunPlan, onRun: (RunPlan) -> Void = { _ in }) {
        plans += 1
        var points: [(peer: Int, step: UInt64, effects: Int)] = []
        let run = Run(plan)
        var isStorm = false
        run.onStorm = { isStorm = true }
        let end = Run.warmUp.nanoseconds + plan.options.workloadLength.nanoseconds
        run.world.onStep = { [world = run.world] peer, step, effects in
            if isStorm, effects > 0, world.now < end { points.append((peer, step, effects)) }
        }
        onRun(plan)
        if let failure = run.execute().failure { failures.append((plan, failure)) }
        for (peer, step, effects) in points {
            for effect in 0..<effects {
                var crashing = plan
                crashing.stepCrash = (peer, step, effect)
                crash(crashing, onRun)
            }
        }
    }

    private mutating func crash(_ plan: RunPlan, _ onRun: (RunPlan) -> Void) {
        crashes += 1
        var state: UInt64?
        let run = Run(plan)
        let known = seen
        run.world.onStepCrash = { world in
            state = world.state(after: plan)
            if let state, known.contains(state) { world.abandon() }
        }
        onRun(plan)
        let verdict = run.execute()
        if run.world.isAbandoned { pruned += 1; return }
        if let state { seen.insert(state) }
        if let failure = verdict.failure { failures.append((plan, failure)) }
    }
}

extension World {
    /// What matters of the world now: disks, states, IPFS; and what is still to come of the plan, and who is cut off. When exactly it is,
    /// and what is on its way, is left out.
    func state(after plan: RunPlan) -> UInt64 {
        var digest = TraceDigest()
        let passed = now - Run.warmUp.nanoseconds
        for operation in plan.operations where operation.at.nanoseconds >= passed { digest.mix(operation.line) }
        for fault in plan.faults { digest.mix(fault.at.nanoseconds <= passed && passed < fault.at.nanoseconds + fault.length.nanoseconds ? fault.line : "") }
        for peer in peers {
            digest.mix(peer.disk.contentDigest)
            digest.mix(peer.process == nil ? 0 : 1)
            for (cid, status) in peer.ipfs.pins { digest.mix(cid.bytes); digest.mix(UInt64(bitPattern: status.rawValue)) }
            guard let process = peer.process else { continue }
            digest.mix(UInt64(process.machine.replica.pendingCount) << 40 | UInt64(process.machine.tracker.busyCount) << 20 | UInt64(process.machine.replica.absentCount))
        }
        return digest.value
    }
}
