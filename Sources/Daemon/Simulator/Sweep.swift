// Many runs: failures as they come, and what a person wants to know of all of them.

import Foundation
import Kernel
import SimNet
import Synchronization

/// A seed that keeps the processor busy for so long does not end: what is wrong with it keeps within one step.
let secondsPerSeedMax = 300.0
let running = Mutex<(seed: UInt64, since: Double)?>(nil)
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
func replay(_ seed: UInt64, _ drawing: Drawing) -> String { "  replay: ipfs-cluster-sim run --seed \(seed)\(drawing.words)" }

func watch(_ drawing: Drawing) {
    Thread.detachNewThread {
        while true {
            sleep(1)
            guard let (seed, since) = running.withLock({ $0 }), processorSeconds() - since > secondsPerSeedMax else { continue }
            print("seed \(seed) FAILED: ENDLESS: it has not ended within \(Int(secondsPerSeedMax)) s")
            print(replay(seed, drawing))
            fflush(nil)
            exit(1)
        }
    }
}

func sweep(_ arguments: inout Arguments) {
    let drawing = arguments.drawing()
    let first = arguments.number("--from") ?? 1
    let awaited = arguments.text("--until")?.split(separator: "|").map { "\($0):" }
    guard let count = arguments.number("--seeds") else { fail("sweep needs --seeds K") }
    arguments.done()
    var tally = Tally()
    watch(drawing)
    for seed in first..<first + count {
        if awaited != nil { FileHandle.standardError.write(Data("seed \(seed)\n".utf8)) }
        running.withLock { $0 = (seed, processorSeconds()) }
        let verdict = Run(.random(seed, drawing)).execute()
        tally.add(verdict)
        if let failure = verdict.failure {
            print("seed \(seed) FAILED: \(failure)")
            print(replay(seed, drawing))
            fflush(nil)  // a later seed may trap
            if awaited?.contains(where: { failure.hasPrefix($0) }) == true { break }
        }
    }
    tally.report(drawing)
    exit(tally.failures.isEmpty ? 0 : 1)
}

/// What many runs have come to.
struct Tally {
    private let began = Date()
    var runs = 0
    var events: UInt64 = 0
    var virtualTime = 0.0
    var probes = ProbeCounts()
    var features: Set<String> = []
    var settleTimes: [Double] = []
    var failures: [(seed: UInt64, oracle: String, text: String)] = []

    mutating func add(_ verdict: Verdict) {
        runs += 1
        events += verdict.events
        virtualTime += Double(verdict.virtualTime.nanoseconds) / 1e9
        probes.add(verdict.probes)
        features.formUnion(verdict.features)
        if let settle = verdict.settleTime { settleTimes.append(Double(settle.nanoseconds) / 1e9) }
        if let failure = verdict.failure { failures.append((verdict.plan.seed, verdict.oracle?.rawValue ?? "?", failure)) }
    }

    func report(_ drawing: Drawing) {
        let wall = Date().timeIntervalSince(began)
        print(String(format: "%d seeds in %.1f s: %.1f seeds/s, %.0f events/s, %.0f s of virtual time a second", runs, wall, Double(runs) / wall, Double(events) / wall, virtualTime / wall))
        let missed = probes.missed
        if !missed.isEmpty { print("probes never hit: \(missed.map(\.rawValue).joined(separator: ", "))") }
        print(failures.isEmpty ? "no failures" : "\(failures.count) failures")
    }
}
