// From a run that fails to the least that fails in the same way: fewer faults, fewer operations, fewer peers, calmer chances.
// Runs are judged by whoever calls, since a bug may trap.

import Kernel

package struct Shrinker {
    /// True if this plan fails as the first one did.
    private let fails: (RunPlan) -> Bool
    /// So many runs at most.
    private let runsMax: Int
    private let deadline: () -> Bool
    package private(set) var runs = 0
    package private(set) var best: RunPlan
    /// Called when something could be left out.
    private let onBetter: (RunPlan) -> Void

    package init(
        _ plan: RunPlan, runsMax: Int = 2000, isLate: @escaping () -> Bool = { false }, onBetter: @escaping (RunPlan) -> Void = { _ in },
        fails: @escaping (RunPlan) -> Bool
    ) {
        (best, self.runsMax, deadline, self.onBetter, self.fails) = (plan, runsMax, isLate, onBetter, fails)
    }

    package mutating func shrink() -> RunPlan {
        var size = -1
        while size != best.size, !isOver {
            size = best.size
            drop(\.faults)
            drop(\.operations)
            calm()
            plainOptions()
            shortenFaults()
            dropWords()
            fewerTargets()
            dropPeers()
            earlier()
        }
        return best
    }

    private var isOver: Bool { runs >= runsMax || deadline() }

    private mutating func attempt(_ plan: RunPlan) -> Bool {
        guard !isOver, plan != best else { return false }
        runs += 1
        guard fails(plan) else { return false }
        best = plan
        onBetter(plan)
        return true
    }

    /// ddmin: ever smaller parts are left out, as long as it fails without them (Zeller and Hildebrandt, 2002).
    private mutating func drop<T>(_ path: WritableKeyPath<RunPlan, [T]>) {
        var part = best[keyPath: path].count
        while part >= 1, !isOver {
            var start = 0
            while start < best[keyPath: path].count, !isOver {
                var plan = best
                let end = min(start + part, plan[keyPath: path].count)
                plan[keyPath: path].removeSubrange(start..<end)
                if !attempt(plan) { start = end }
            }
            part /= 2
        }
    }

    private mutating func calm() {
        for domain in Tape.calmable where !best.tape.isCalm(domain) {
            var plan = best
            plan.tape.calm.append(domain)
            _ = attempt(plan)
        }
    }

    /// Every option as it usually is, where that makes no difference.
    private mutating func plainOptions() {
        let usual = RunOptions()
        for field in RunOptions.fields where field.name != "peers" && field.get(best.options) != field.get(usual) {
            var plan = best
            guard field.set(&plan.options, field.get(usual)), plan.isSound else { continue }
            _ = attempt(plan)
        }
    }

    private mutating func shortenFaults() {
        for place in best.faults.indices where place < best.faults.count {
            for seconds in [1, 5, 20] where best.faults[place].length > .seconds(Int64(seconds)) {
                var plan = best
                plan.faults[place].length = .seconds(Int64(seconds))
                if attempt(plan) { break }
            }
            for peers in [\Fault.peers, \Fault.others] where best.faults[place][keyPath: peers].count > 1 {
                for index in best.faults[place][keyPath: peers].indices.reversed() where best.faults[place][keyPath: peers].count > 1 {
                    var plan = best
                    plan.faults[place][keyPath: peers].remove(at: index)
                    _ = attempt(plan)
                }
            }
        }
    }

    private mutating func dropWords() {
        for place in best.operations.indices {
            for index in best.operations[place].words.indices.reversed() {
                var plan = best
                plan.operations[place].words.remove(at: index)
                _ = attempt(plan)
            }
        }
    }

    private mutating func fewerTargets() {
        for place in best.operations.indices {
            for path in [\Operation.peers, \Operation.contents] {
                for index in best.operations[place][keyPath: path].indices.reversed() where best.operations[place][keyPath: path].count > 1 {
                    var plan = best
                    plan.operations[place][keyPath: path].remove(at: index)
                    _ = attempt(plan)
                }
            }
        }
    }

    /// A peer less: what is asked of it is asked of the one before.
    private mutating func dropPeers() {
        while best.options.peers > 1, !isOver {
            var plan = best
            let gone = plan.options.peers - 1
            plan.options.peers = gone
            plan.options.oldPeers = min(plan.options.oldPeers, gone)
            plan.options.absentees = min(plan.options.absentees, max(0, gone - 2))
            func moved(_ peer: Int) -> Int { peer < gone ? peer : peer == gone ? max(0, gone - 1) : peer - 1 }
            func moved(_ peers: [Int]) -> [Int] { peers.map { moved($0) }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
            for place in plan.operations.indices { plan.operations[place].peers = moved(plan.operations[place].peers) }
            for place in plan.faults.indices {
                plan.faults[place].peers = moved(plan.faults[place].peers)
                plan.faults[place].others = moved(plan.faults[place].others).filter { !plan.faults[place].peers.contains($0) }
            }
            if !attempt(plan) { return }
        }
    }

    /// Closer together: what happens late may happen early as well.
    private mutating func earlier() {
        let last = (best.operations.map(\.at) + best.faults.filter { !$0.isLate }.map { $0.at + $0.length }).max() ?? .zero
        for length in [Span.seconds(10), .seconds(60), last + .seconds(1)] where length < best.options.workloadLength && length > last {
            var plan = best
            plan.options.workloadLength = length
            if attempt(plan) { return }
        }
    }
}

extension RunPlan {
    /// How much there is to read.
    package var size: Int {
        operations.reduce(0) { $0 + 4 + $1.words.count + $1.peers.count + $1.contents.count } + options.words.count
            + faults.reduce(0) { $0 + 4 + $1.peers.count + $1.others.count + ($1.length > .zero ? 1 : 0) } + options.peers - tape.calm.count
    }
    var isSound: Bool {
        let count = options.peers + (options.hasOutsider ? 1 : 0)
        return (operations.flatMap(\.peers) + faults.flatMap { $0.peers + $0.others }).allSatisfy { $0 < count }
    }
}

// MARK: What it needs

extension RunPlan {
    /// The families of faults that it has.
    package var families: [FaultFamily] { FaultFamily.allCases.filter { family in faults.contains { $0.kind.row.family == family } } }
    package func without(_ family: FaultFamily) -> RunPlan {
        var plan = self
        plan.faults.removeAll { $0.kind.row.family == family }
        return plan
    }
}
