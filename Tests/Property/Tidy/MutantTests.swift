// The patches of Tests/Mutants fit the sources: `scripts/mutants` would try nothing otherwise, and nobody runs it on every change.

import Foundation
import Testing

@Suite struct MutantTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    @Test func everyMutantFitsTheSources() throws {
        let folder = Self.root.appendingPathComponent("Tests/Mutants")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".patch") }
        #expect(names.count >= 100)
        var sources: [String: Data] = [:]
        for name in names {
            let patch = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
            for (file, before) in hunks(of: patch) {
                let source = try sources[file] ?? Data(contentsOf: Self.root.appendingPathComponent(file))
                sources[file] = source
                // Once: where it fits twice, it might change the wrong place.
                let first = source.range(of: Data(before.utf8))
                let second = first.flatMap { source.range(of: Data(before.utf8), in: $0.lowerBound + 1..<source.endIndex) }
                #expect(first != nil && second == nil, "\(name) does not fit \(file) any more")
            }
            let lines = patch.split(separator: "\n", omittingEmptySubsequences: false).prefix { !$0.isEmpty }
            let verdicts = lines.filter { $0.hasPrefix("Oracle: ") || $0.hasPrefix("Survives: ") }
            #expect(verdicts.count == 1, "\(name) is to say which oracles find it, or why it survives")
            for story in lines.compactMap({ $0.hasPrefix("Story: ") ? $0.dropFirst("Story: ".count) : nil }) {
                let plan = Self.root.appendingPathComponent("Tests/Scenarios/Plans/\(story).plan")
                #expect(FileManager.default.fileExists(atPath: plan.path), "\(name) names a story that nobody tells: \(story)")
            }
        }
    }

    /// What each hunk of a unified diff is to find, and where.
    private func hunks(of patch: String) -> [(file: String, before: String)] {
        var hunks: [(file: String, before: String)] = []
        var file = ""
        for line in patch.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("--- a/") { file = String(line.dropFirst(6)) } else if line.hasPrefix("@@") {
                hunks.append((file, ""))
            } else if !hunks.isEmpty, line.hasPrefix(" ") || (line.hasPrefix("-") && !line.hasPrefix("---")) {
                hunks[hunks.count - 1].before += line.dropFirst() + "\n"
            }
        }
        return hunks
    }
}
