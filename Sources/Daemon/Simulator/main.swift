// ipfs-cluster-sim: runs the peers' code through partitions, crashes and churn, from one number.

import Foundation
import Kernel
import SimNet
import Synchronization

let usage = """
    ipfs-cluster-sim: runs IPFS Cluster peers on a simulated network.

    USAGE:
      ipfs-cluster-sim run --seed N [--quiet]     one run: a line for each event, then the verdict
      ipfs-cluster-sim sweep --seeds K [--from N] K runs from seed N (default 1): failures and figures
                       [--until ORACLES]          ends with the first failure by one of them (DURABLE|COVER, say), and
                                                  names each seed on standard error before it is run

      --disk-faults   with both: crashes between effects, full disks, failing syncs and rotting bits in every run

    A failing seed is replayed by: ipfs-cluster-sim run --seed N
    Exit status: 0 if everything held, 1 if not, 2 for wrong usage.
    """

func fail(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n\n\(usage)\n".utf8))
    exit(2)
}

/// The value of `--name`, or nil where it is not given.
func option(_ name: String, in arguments: [String]) -> UInt64? {
    guard let text = text(name, in: arguments) else { return nil }
    guard let value = UInt64(text) else { fail("\(name) needs a number") }
    return value
}
func text(_ name: String, in arguments: [String]) -> String? {
    guard let index = arguments.firstIndex(of: name) else { return nil }
    guard index + 1 < arguments.count else { fail("\(name) needs a value") }
    return arguments[index + 1]
}

func checkOptions(_ arguments: [String], allowed: [String]) {
    var rest = arguments[...]
    while let word = rest.popFirst() {
        guard allowed.contains(word) else { fail("unknown option \(word)") }
        if !["--quiet", "--disk-faults"].contains(word) { _ = rest.popFirst() }
    }
}

/// The run of a seed.
func run(_ seed: UInt64, _ arguments: [String], log: ((String) -> Void)? = nil) -> Verdict {
    let draws = Draws(seed: seed)
    let options = RunOptions.random(draws)
    return Run(seed: seed, options: arguments.contains("--disk-faults") ? options.withDiskFaults(draws) : options, log: log).execute()
}

func seconds(_ span: Span) -> String { String(format: "%.1f s", Double(span.nanoseconds) / 1e9) }

/// A seed that keeps the processor busy for so long does not end: what is wrong with it keeps within one step.
let secondsPerSeedMax = 300.0
let running = Mutex<(seed: UInt64, since: Double)?>(nil)
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
func replay(_ seed: UInt64, _ arguments: [String]) -> String {
    "  replay: ipfs-cluster-sim run --seed \(seed)\(arguments.contains("--disk-faults") ? " --disk-faults" : "")"
}
func watch(_ arguments: [String]) {
    Thread.detachNewThread {
        while true {
            sleep(1)
            guard let (seed, since) = running.withLock({ $0 }), processorSeconds() - since > secondsPerSeedMax else { continue }
            print("seed \(seed) FAILED: ENDLESS: it has not ended within \(Int(secondsPerSeedMax)) s")
            print(replay(seed, arguments))
            fflush(nil)
            exit(1)
        }
    }
}

func report(_ verdict: Verdict) {
    print("seed \(verdict.seed): \(verdict.options)")
    print("\(verdict.events) events, \(seconds(verdict.virtualTime)) of virtual time, \(verdict.acknowledged) operations acknowledged")
    if let settle = verdict.settleTime { print("settled \(seconds(settle)) after the faults had ended") }
    print("trace digest \(verdict.digest)")
    print(verdict.failure.map { "FAILED: \($0)" } ?? "everything held")
}

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "run":
    let rest = Array(arguments.dropFirst())
    checkOptions(rest, allowed: ["--seed", "--quiet", "--disk-faults"])
    guard let seed = option("--seed", in: rest) else { fail("run needs --seed N") }
    let verdict = run(seed, rest, log: rest.contains("--quiet") ? nil : { print($0) })
    report(verdict)
    exit(verdict.failure == nil ? 0 : 1)
case "sweep":
    let rest = Array(arguments.dropFirst())
    checkOptions(rest, allowed: ["--seeds", "--from", "--until", "--disk-faults"])
    guard let count = option("--seeds", in: rest) else { fail("sweep needs --seeds K") }
    let first = option("--from", in: rest) ?? 1
    let awaited = text("--until", in: rest)?.split(separator: "|").map { "\($0):" }
    var failures: [Verdict] = []
    var runs = 0
    var events: UInt64 = 0
    var virtualTime = 0.0
    let began = Date()
    watch(rest)
    for seed in first..<first + count {
        if awaited != nil { FileHandle.standardError.write(Data("seed \(seed)\n".utf8)) }
        running.withLock { $0 = (seed, processorSeconds()) }
        let verdict = run(seed, rest)
        runs += 1
        events += verdict.events
        virtualTime += Double(verdict.virtualTime.nanoseconds) / 1e9
        if let failure = verdict.failure {
            failures.append(verdict)
            print("seed \(seed) FAILED: \(failure)")
            print(replay(seed, rest))
            fflush(nil)  // a later seed may trap
            if awaited?.contains(where: { failure.hasPrefix($0) }) == true { break }
        }
    }
    let wall = Date().timeIntervalSince(began)
    print(String(format: "%d seeds in %.1f s: %.1f seeds/s, %.0f events/s, %.0f s of virtual time a second", runs, wall, Double(runs) / wall, Double(events) / wall, virtualTime / wall))
    print(failures.isEmpty ? "no failures" : "\(failures.count) failures")
    exit(failures.isEmpty ? 0 : 1)
case "--help", "-h", "help": print(usage)
default: fail(arguments.first.map { "unknown command \($0)" } ?? "a command is needed")
}
