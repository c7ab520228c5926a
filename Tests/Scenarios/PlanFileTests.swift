// Plans that once failed, each as short as it could be made. See Plans/README.md.

import Foundation
import SimNet
import Testing

@Suite struct PlanFileTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Plans")
    static let files = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter { $0.hasSuffix(".plan") }.sorted()

    @Test func thereArePlans() { #expect(!Self.files.isEmpty) }

    @Test(arguments: files) func whatFailedOnceHolds(file: String) throws {
        let plan = try RunPlan(text: String(contentsOf: Self.folder.appending(path: file), encoding: .utf8))
        #expect(plan.expected != nil && !plan.story.isEmpty, "it says what it failed by, and tells the story")
        let verdict = Run(plan).execute()
        #expect(verdict.failure == nil)
    }

    @Test func theCatalogueIsTheDocumented() throws {
        let root = Self.folder.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let faults = try String(contentsOf: root.appending(path: "docs/faults.md"), encoding: .utf8)
        #expect(faults.contains(FaultKind.table), "docs/faults.md differs from what `ipfs-cluster-sim faults` prints")
        let manual = try String(contentsOf: root.appending(path: "docs/simulator.md"), encoding: .utf8)
        for oracle in Oracle.allCases { #expect(manual.contains("| `\(oracle.rawValue)` | \(oracle.statement) |"), "\(oracle.rawValue) is not in docs/simulator.md") }
    }
}
