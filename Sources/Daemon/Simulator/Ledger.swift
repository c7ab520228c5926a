// What is kept of each run of a sweep, a line of JSON for each, and what many of them come to.

import Foundation
import Kernel
import SimNet

struct LedgerEntry: Sendable {
    var seed: UInt64
    var failure: String?
    var events: UInt64 = 0
    var virtualSeconds = 0.0
    var seconds = 0.0
    var settleSeconds: Double?
    var boundSeconds = 0.0
    var digest = ""
    var options = ""
    var faults: [String] = []
    var probes: [String] = []
    var features: [String] = []
    var judged = 0

    init(seed: UInt64, failure: String) { (self.seed, self.failure) = (seed, failure) }

    init(_ verdict: Verdict, seconds: Double) {
        seed = verdict.plan.seed
        failure = verdict.failure
        events = verdict.events
        virtualSeconds = Double(verdict.virtualTime.nanoseconds) / 1e9
        self.seconds = seconds
        settleSeconds = verdict.settleTime.map { Double($0.nanoseconds) / 1e9 }
        boundSeconds = Double(verdict.settleBound.nanoseconds) / 1e9
        digest = "\(verdict.digest)"
        options = verdict.plan.options.words.joined(separator: " ")
        faults = Set(verdict.plan.faults.map(\.kind.rawValue)).sorted()
        probes = verdict.probes.hit.map(\.rawValue)
        features = verdict.features.sorted()
        judged = verdict.judged
    }

    var oracle: String? { failure?.split(separator: ":").first.map(String.init) }

    func json(_ drawing: Drawing, commit: String?) -> String {
        var fields: [String: Any] = [
            "seed": seed, "drawing": drawing.words.trimmingCharacters(in: .whitespaces), "options": options,
            "verdict": oracle ?? "held", "events": events, "virtual_seconds": virtualSeconds, "seconds": (seconds * 1000).rounded() / 1000,
            "bound_seconds": boundSeconds, "digest": digest, "faults": faults, "probes": probes, "judged": judged,
        ]
        if let failure { fields["failure"] = failure }
        if let settleSeconds { fields["settle_seconds"] = settleSeconds }
        if let commit { fields["commit"] = commit } else { fields["features"] = features }
        guard let data = try? JSONSerialization.data(withJSONObject: fields, options: [.sortedKeys, .withoutEscapingSlashes]) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }

    init?(json: Data) {
        guard let fields = try? JSONSerialization.jsonObject(with: json) as? [String: Any], let seed = (fields["seed"] as? NSNumber)?.uint64Value else { return nil }
        self.seed = seed
        func number(_ name: String) -> Double? { (fields[name] as? NSNumber)?.doubleValue }
        failure = fields["failure"] as? String
        events = UInt64(number("events") ?? 0)
        (virtualSeconds, seconds) = (number("virtual_seconds") ?? 0, number("seconds") ?? 0)
        (settleSeconds, boundSeconds) = (number("settle_seconds"), number("bound_seconds") ?? 0)
        (digest, options) = (fields["digest"] as? String ?? "", fields["options"] as? String ?? "")
        (faults, probes, features) = (fields["faults"] as? [String] ?? [], fields["probes"] as? [String] ?? [], fields["features"] as? [String] ?? [])
        judged = Int(number("judged") ?? 0)
    }
}

final class Ledger: Sendable {
    private let file: FileHandle
    private let commit: String

    init(path: String) {
        if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard let file = FileHandle(forWritingAtPath: path) else { fail("cannot write \(path)") }
        file.seekToEndOfFile()
        self.file = file
        commit = Ledger.currentCommit()
    }
    func append(_ entry: LedgerEntry, _ drawing: Drawing) { file.write(Data((entry.json(drawing, commit: commit) + "\n").utf8)) }

    /// Of the sources in this folder, if it holds any.
    private static func currentCommit() -> String {
        let git = Foundation.Process()
        git.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        git.arguments = ["git", "rev-parse", "--short", "HEAD"]
        let pipe = Pipe()
        (git.standardOutput, git.standardError) = (pipe, FileHandle.nullDevice)
        guard (try? git.run()) != nil else { return "unknown" }
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        git.waitUntilExit()
        return text.isEmpty ? "unknown" : text
    }
}

/// What many runs have come to.
struct Tally: Sendable {
    private let began = Date()
    private var runs = 0
    private var events: UInt64 = 0
    private var virtualSeconds = 0.0
    private var judged = 0
    private var probes: Set<String> = []
    private var features: Set<String> = []
    private var faults: Set<String> = []
    private var settleTimes: [(seconds: Double, bound: Double, seed: UInt64)] = []
    private(set) var failures: [(seed: UInt64, oracle: String, text: String)] = []

    mutating func add(_ entry: LedgerEntry) {
        runs += 1
        events += entry.events
        virtualSeconds += entry.virtualSeconds
        judged += entry.judged
        probes.formUnion(entry.probes)
        features.formUnion(entry.features)
        faults.formUnion(entry.faults)
        if let settle = entry.settleSeconds { settleTimes.append((settle, entry.boundSeconds, entry.seed)) }
        if let failure = entry.failure { failures.append((entry.seed, entry.oracle ?? "?", failure)) }
    }

    func report(_ drawing: Drawing) {
        let wall = Date().timeIntervalSince(began)
        print(String(
            format: "%d seeds in %.1f s: %.1f seeds/s, %.0f events/s, %.1f simulated hours, %d judgements", runs, wall, Double(runs) / wall,
            Double(events) / wall, virtualSeconds / 3600, judged))
        histogram()
        let missed = Probe.allCases.filter { !probes.contains($0.rawValue) }.map { $0.rawValue + ($0.isRare ? " (rare)" : "") }
        print("probes: \(Probe.allCases.count - missed.count) of \(Probe.allCases.count) hit" + (missed.isEmpty ? "" : "; never: \(missed.joined(separator: ", "))"))
        let unseen = FaultKind.allCases.map(\.rawValue).filter { !faults.contains($0) }
        if !unseen.isEmpty { print("faults never drawn: \(unseen.joined(separator: ", "))") }
        let ungenerated = Coverage.single.subtracting(features), unpaired = Coverage.pairs.subtracting(features)
        print("workload: \(Coverage.single.count - ungenerated.count) of \(Coverage.single.count) operations and options, \(Coverage.pairs.count - unpaired.count) of \(Coverage.pairs.count) pairs of options")
        if !ungenerated.isEmpty { print("  never generated: \(ungenerated.sorted().joined(separator: ", "))") }
        if !unpaired.isEmpty { print("  pairs never generated: \(unpaired.sorted().prefix(12).joined(separator: ", "))\(unpaired.count > 12 ? " and \(unpaired.count - 12) more" : "")") }
        guard !failures.isEmpty else { return print("no failures") }
        print("\(failures.count) failures")
        for (oracle, group) in Dictionary(grouping: failures, by: \.oracle).sorted(by: { ($1.value.count, $0.key) < ($0.value.count, $1.key) }) {
            print("  \(oracle) \(group.count): \(group.prefix(8).map { "\($0.seed)" }.joined(separator: " "))\(group.count > 8 ? " …" : "")")
            print("  \(replay(group[0].seed, drawing))")
        }
    }

    /// How long healed clusters took until they agreed.
    private func histogram() {
        guard !settleTimes.isEmpty else { return }
        let bounds = [5.0, 30, 60, 120, 300, 600, 1200, .infinity]
        var counts = [Int](repeating: 0, count: bounds.count)
        for (seconds, _, _) in settleTimes { counts[bounds.firstIndex { seconds <= $0 } ?? 0] += 1 }
        let most = counts.max() ?? 1
        print("settled after the faults had ended:")
        for (place, bound) in bounds.enumerated() where counts[place] > 0 {
            let name = bound.isInfinite ? "longer" : "\(Int(bound)) s"
            print("  \(String(repeating: " ", count: max(0, 7 - name.count)))\(name) \(String(repeating: "█", count: max(1, counts[place] * 50 / most))) \(counts[place])")
        }
        if let worst = settleTimes.max(by: { $0.seconds / $0.bound < $1.seconds / $1.bound }) {
            print(String(format: "  the longest against its bound: %.0f of %.0f s, seed %d", worst.seconds, worst.bound, worst.seed))
        }
    }
}
