// The house rules, as a test: what breaks determinism or hides errors must not be in Sources/Core.

import Encoding
import Foundation
import Journal
import Kernel
import TestSupport
import Testing

/// One broken rule, at one place.
struct Offence: CustomStringConvertible {
    let file: String
    let line: Int
    let rule: String
    let text: String
    var description: String { "\(file):\(line): \(rule): \(text)" }
}

/// Rules over the text of one source file, comments and string literals taken out.
enum Tidy {
    static let coreModules: Set<String> = [
        "Kernel", "Encoding", "Crypto", "Multiformats", "Pinset", "Seams", "Storage", "Gossip", "Exchange", "DHT", "DagList", "UnixFS",
        "RPC", "MerkleCRDT", "Allocation", "Tracking", "Monitoring", "IPFSConnector", "Transport", "HTTP", "API", "Cluster", "Journal", "AutoNAT",
    ]

    /// What may not stand in the core, and why.
    static let banned: [(pattern: String, rule: String)] = [
        (#"\bDate\("#, "clock"), (#"\bDispatch"#, "thread"), (#"\bTask\s*[\{\.<(]"#, "task"), (#"\basync\b"#, "async"),
        (#"\bawait\b"#, "async"), (#"ContinuousClock|SuspendingClock|\.now\(\)"#, "clock"),
        (#"\.random\("#, "entropy"), (#"SystemRandomNumberGenerator"#, "entropy"), (#"\.shuffled\(\)"#, "entropy"),
        (#"\.randomElement\(\)"#, "entropy"), (#"\bprint\("#, "I/O"), (#"\b(fopen|fread|open|read|write)\(\s*fd"#, "I/O"),
        (#"\btry!"#, "hidden error"), (#"\bas!"#, "hidden error"), (#"ObjectIdentifier"#, "address"),
        (#"\bactor\b"#, "thread"), (#"NSLock|pthread_|Mutex<"#, "thread"), (#"precondition(Failure)?\("#, "lost message"),
    ]
    /// Classes that wrap an immutable or single-owner OpenSSL object, and those that listen to what a step reads.
    static let mayBeUnchecked: Set<String> = ["Crypto", "Journal"]

    static func offences(file: String, module: String, source: String) -> [Offence] {
        let lines = stripped(source).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var found: [Offence] = []
        for (index, line) in lines.enumerated() {
            func report(_ rule: String) {
                found.append(Offence(file: file, line: index + 1, rule: rule, text: line.trimmingCharacters(in: .whitespaces)))
            }
            if let imported = match(line, #"^\s*(?:package |private |internal |public )?import (?:\w+ )?(\w+)"#) {
                let allowed = coreModules.contains(imported) || ["Crypto": "COpenSSL", "Transport": "CSalsa20"][module] == imported
                if !allowed { report("import") }
            }
            for (pattern, rule) in banned where line.range(of: pattern, options: .regularExpression) != nil { report(rule) }
            if line.contains("@unchecked"), !mayBeUnchecked.contains(module) { report("unchecked") }
        }
        for name in unorderedNames(in: lines) {
            for (index, line) in lines.enumerated() where iterates(line, name) {
                found.append(Offence(file: file, line: index + 1, rule: "iterates the unordered \(name)", text: line))
            }
        }
        return found
    }

    /// Names declared as Set or Dictionary in this file.
    static func unorderedNames(in lines: [String]) -> Set<String> {
        let declarations = [
            #"(?:var|let)\s+(\w+)\s*:\s*(?:Set<|Dictionary<|\[[^\[\](]+:\s*[^\]]+\])"#,
            #"(?:var|let)\s+(\w+)\s*=\s*(?:Set[<(]|Dictionary[<(]|\[[^\[\](]+:\s*[^\]]+\]\()"#,
        ]
        return Set(lines.flatMap { line in declarations.compactMap { match(line, $0) } })
    }

    static func iterates(_ line: String, _ name: String) -> Bool {
        let uses = [
            #"\bfor\b.*\bin\s+(?:self\.)?\#(name)\b(?!\[|\.contains|\.count|\.isEmpty|\w)"#,
            #"(?<![\w.])(?:self\.)?\#(name)\??\.(?:map|flatMap|compactMap|forEach|reduce|sorted|first|keys|values|min|max|allSatisfy|joined|makeIterator|enumerated|prefix|popFirst|randomElement)\b"#,
        ]
        return uses.contains { line.range(of: $0, options: .regularExpression) != nil }
    }

    static func match(_ line: String, _ pattern: String) -> String? {
        guard let expression = try? NSRegularExpression(pattern: pattern),
            let found = expression.firstMatch(in: line, range: NSRange(line.startIndex..., in: line)),
            let range = Range(found.range(at: 1), in: line)
        else { return nil }
        return String(line[range])
    }

    /// Comments and the insides of string literals become spaces; lines stay.
    static func stripped(_ source: String) -> String {
        var out = ""
        var inString = false, inComment = false, escaped = false
        var previous: Character = " "
        for character in source {
            defer { previous = character }
            if character == "\n" { inString = false; inComment = false; escaped = false; out.append(character); continue }
            if inComment { continue }
            if inString {
                if escaped { escaped = false } else if character == "\\" { escaped = true } else if character == "\"" {
                    inString = false
                    out.append(character)
                }
                continue
            }
            if character == "/" && previous == "/" { out.removeLast(); inComment = true; continue }
            if character == "\"" { inString = true }
            out.append(character)
        }
        return out
    }
}

@Suite struct TidyTests {
    private var root: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
    }

    private func swiftFiles(below path: String) throws -> [URL] {
        let base = root.appendingPathComponent(path)
        let walker = try #require(FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil))
        return walker.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }.sorted { $0.path < $1.path }
    }

    @Test func theCoreTouchesNothingButItsArguments() throws {
        let files = try swiftFiles(below: "Sources/Core")
        #expect(files.count > 20)
        for file in files {
            let module = file.deletingLastPathComponent().lastPathComponent
            let source = try String(contentsOf: file, encoding: .utf8)
            for offence in Tidy.offences(file: file.lastPathComponent, module: module, source: source) {
                Issue.record("\(offence)")
            }
        }
    }

    /// The test of the test: each rule finds a planted offence.
    @Test(arguments: [
        "import Foundation", "let t = Date()", "let x = Int.random(in: 0..<3)", "Task { }", "func f() async {}",
        "print(1)", "let v = try! f()", "var names: [String: Int] = [:]\nfor (k, v) in names { }",
        "var seen: Set<Int> = []\nlet a = seen.map { $0 }", "var seen = Set<Int>()\nfor s in seen { }",
        "final class A: @unchecked Sendable {}", "precondition(x > 0)",
    ])
    func plantedOffencesAreFound(_ source: String) {
        #expect(!Tidy.offences(file: "planted", module: "Cluster", source: source).isEmpty, "\(source)")
    }

    @Test(arguments: [
        "import Kernel", "// import Foundation", "let text = \"print(1)\"", "var seen: Set<Int> = []\nlet a = seen.contains(1)",
        "var names: [String: Int] = [:]\nlet v = names[\"a\"]",
        "var pairs: [(key: Int, value: Int)] = []\nfor pair in pairs {}",
    ])
    func soundSourcesPass(_ source: String) {
        #expect(Tidy.offences(file: "sound", module: "Cluster", source: source).isEmpty, "\(source)")
    }

    /// Journals have no field numbers: one of other fields must be refused by its version, and not read wrongly.
    @Test func theJournalHasAVersionForItsFields() throws {
        let sources = try swiftFiles(below: "Sources/Core/Journal").filter { $0.lastPathComponent.contains("Coding") }
        let code = try sources.flatMap { file in
            try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { !$0.isEmpty && !$0.hasPrefix("//") && !$0.hasPrefix("import ") }
        }
        let fingerprint = mix(Bytes(code.joined(separator: "\n").utf8), seed: JournalFrame.version).low
        #expect(
            fingerprint == 0xe7705da8252b27b9,
            "what is journaled has changed: raise JournalFrame.version, and put 0x\(String(fingerprint, radix: 16)) here")
    }

    @Test func nothingIsLeftForLater() throws {
        for file in try swiftFiles(below: "Sources") {
            let source = try String(contentsOf: file, encoding: .utf8)
            for word in ["FIX" + "ME", "TO" + "DO", "XX" + "X:"] {
                #expect(!source.contains(word), "\(file.lastPathComponent) holds \(word)")
            }
        }
    }
}
