// `verify`: one seed is one run. Two processes, in which sets and dictionaries have different orders, give the same digest after each
// event; or the first event at which they part is shown side by side.

import Foundation
import Kernel
import SimNet

func verify(_ arguments: inout Arguments) {
    let drawing = arguments.drawing()
    guard let count = arguments.number("--seeds") else { fail("verify needs --seeds K") }
    let first = arguments.number("--from") ?? 1
    arguments.done()
    let folder = NSTemporaryDirectory() + "ipfs-cluster-sim-\(ProcessInfo.processInfo.processIdentifier)"
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var failures = 0
    for seed in first..<first + count {
        let paths = [folder + "/a", folder + "/b"]
        let children = paths.map { child(["run", "--seed", "\(seed)", "--quiet", "--rolling", $0], drawing) }
        for (process, pipe) in children {
            _ = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
        }
        let traces = paths.map { FileManager.default.contents(atPath: $0) ?? Data() }
        if traces[0] == traces[1] {
            print("seed \(seed): \(traces[0].count / rollingBytes) events, twice the same")
            continue
        }
        failures += 1
        let event = firstDifference(traces[0], traces[1])
        print("seed \(seed) FAILED: two runs part at event \(event)")
        for name in ["one", "the other"] {
            let (process, pipe) = child(["run", "--seed", "\(seed)", "--events", "\(max(1, event - 2))-\(event)"], drawing)
            print("  \(name):")
            for line in String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self).split(separator: "\n").filter({ $0.hasPrefix(" ") }).prefix(40) {
                print("    \(line.prefix(200))")
            }
            process.waitUntilExit()
        }
    }
    print(failures == 0 ? "no run differs from itself" : "\(failures) runs differ from themselves")
    exit(failures == 0 ? 0 : 1)
}

/// Bytes kept of each event: its time and the digest after it.
let rollingBytes = 16

private func firstDifference(_ a: Data, _ b: Data) -> Int {
    let (a, b) = ([UInt8](a), [UInt8](b))
    let place = zip(a, b).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(a.count, b.count)
    return place / rollingBytes + 1
}

private func child(_ words: [String], _ drawing: Drawing) -> (process: Foundation.Process, output: Pipe) {
    let child = Foundation.Process()
    child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    child.arguments = words + drawing.words.split(separator: " ").map(String.init)
    let pipe = Pipe()
    child.standardOutput = pipe
    do { try child.run() } catch { fail("cannot start \(child.executableURL?.path ?? "itself"): \(error.localizedDescription)") }
    return (child, pipe)
}
