// `drill`: a replica alone, an index, and hosts, seed after seed.

import Foundation
import Kernel
import SimNet

func drill(_ arguments: inout Arguments) {
    let count = arguments.number("--seeds"), first = arguments.number("--from") ?? 1, steps = Int(arguments.number("--steps") ?? UInt64(Drill.steps)), awaited = arguments.awaited()
    arguments.done()
    guard let count, count > 0, steps > 0 else { fail("drill needs --seeds K, and a step at least") }
    let began = Date()
    var (failures, crashes) = (0, 0)
    for seed in first..<first + count {
        if awaited != nil { announce(seed) }
        let drills = Drill.all(Tape(seed: seed), steps: steps)
        crashes += drills.reduce(0) { $0 + $1.crashes }
        guard let drill = drills.first(where: { $0.failure != nil }), let (oracle, text) = drill.failure else { continue }
        failures += 1
        for line in drill.lines.suffix(count == 1 ? .max : 30) where failures == 1 { print("  \(line)") }
        print("seed \(seed) FAILED: \(oracle.rawValue): \(drill.subject) alone: \(text)")
        print("  replay: ipfs-cluster-sim drill --seeds 1 --from \(seed) --steps \(steps)")
        if awaited?.contains(oracle.rawValue) == true { break }
    }
    let seconds = Date().timeIntervalSince(began)
    print(String(format: "%d seeds of %d steps in %.1f s: %.0f seeds/s, %d crashes", Int(count), steps, seconds, Double(count) / seconds, crashes))
    print(failures == 0 ? "everything held" : "\(failures) failures")
    exit(failures == 0 ? 0 : 1)
}
