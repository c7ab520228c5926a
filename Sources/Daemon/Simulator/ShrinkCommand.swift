// `shrink`: each candidate is a run in a process of its own, since a bug may trap.

import Foundation
import Kernel
import SimNet

/// How a run in a process of its own has failed: the oracle's name, TRAP, or ENDLESS; nil if everything held.
func outcome(of plan: RunPlan, in folder: String, number: Int, secondsMax: Double, binary: String?) -> String? {
    let path = "\(folder)/\(number).plan"
    write(plan.text, to: path)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let child = Process()
    child.executableURL = URL(fileURLWithPath: binary ?? "/proc/self/exe").resolvingSymlinksInPath()
    child.arguments = ["run", "--plan", path, "--quiet"]
    var environment = ProcessInfo.processInfo.environment
    environment["SWIFT_BACKTRACE"] = "enable=no"
    child.environment = environment
    let pipe = Pipe()
    child.standardOutput = pipe
    child.standardError = FileHandle.nullDevice
    do { try child.run() } catch { fail("cannot start \(child.executableURL?.path ?? "itself"): \(error.localizedDescription)") }
    let timer = DispatchSource.makeTimerSource()
    timer.schedule(deadline: .now() + secondsMax)
    timer.setEventHandler { child.terminate() }
    timer.resume()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    child.waitUntilExit()
    timer.cancel()
    if let line = output.split(separator: "\n").last(where: { $0.hasPrefix("FAILED: ") }) {
        return line.dropFirst(8).split(separator: ":").first.map(String.init)
    }
    if output.contains("everything held") { return nil }
    return child.terminationReason == .uncaughtSignal && child.terminationStatus == SIGTERM ? "ENDLESS" : "TRAP"
}

func shrinkCommand(_ arguments: inout Arguments) {
    let drawing = arguments.drawing()
    let (plan, name) = planOf(&arguments, drawing)
    let target = arguments.text("--to")
    let binary = arguments.text("--with")
    let minutes = Double(arguments.number("--minutes") ?? 5)
    arguments.done()
    let folder = NSTemporaryDirectory() + "ipfs-cluster-sim-\(ProcessInfo.processInfo.processIdentifier)"
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let began = Date()
    guard let oracle = outcome(of: plan, in: folder, number: 0, secondsMax: 600, binary: binary) else {
        print("\(name) does not fail: there is nothing to shrink")
        exit(2)
    }
    let secondsMax = max(20, 5 * Date().timeIntervalSince(began))
    print("\(name) fails by \(oracle): \(plan.operations.count) operations, \(plan.faults.count) faults, \(plan.options.peers) peers")
    var number = 0
    func fails(_ candidate: RunPlan) -> Bool {
        number += 1
        return outcome(of: candidate, in: folder, number: number, secondsMax: secondsMax, binary: binary) == oracle
    }
    var shrinker = Shrinker(plan, isLate: { Date().timeIntervalSince(began) > minutes * 60 }, onBetter: { better in
        print("  \(better.operations.count) operations, \(better.faults.count) faults, \(better.options.peers) peers")
        fflush(nil)
    }, fails: fails)
    var best = shrinker.shrink()
    let (needed, idle) = ablation(plan, fails)
    best.expected = Oracle(rawValue: oracle)
    best.story = ["Shrunk from \(name), which failed by \(oracle).", needsLine(needed, idle)]
    print(needsLine(needed, idle))
    print("shrunk in \(number) runs, \(Int(Date().timeIntervalSince(began))) s")
    print("")
    print(best.text, terminator: "")
    if let target { write(best.text, to: target) }
    exit(0)
}

/// Which families of faults a failure needs: it is gone without them.
func ablation(_ plan: RunPlan, _ fails: (RunPlan) -> Bool) -> (needed: [FaultFamily], idle: [FaultFamily]) {
    var needed: [FaultFamily] = []
    var idle: [FaultFamily] = []
    for family in plan.families { if fails(plan.without(family)) { idle.append(family) } else { needed.append(family) } }
    return (needed, idle)
}
func needsLine(_ needed: [FaultFamily], _ idle: [FaultFamily]) -> String {
    let names = needed.map(\.rawValue).joined(separator: " + ")
    return "It needs \(needed.isEmpty ? "no family of faults alone" : names)" + (idle.isEmpty ? "." : "; not \(idle.map(\.rawValue).joined(separator: ", ")).")
}

func planOf(_ arguments: inout Arguments, _ drawing: Drawing) -> (plan: RunPlan, name: String) {
    switch (arguments.number("--seed"), arguments.text("--plan")) {
    case (let seed?, nil): (.random(seed, drawing), "seed \(seed)\(drawing.words)")
    case (nil, let path?): (readPlan(path), path)
    default: fail("either --seed N or --plan FILE is needed")
    }
}
