// The command line, read word by word: what nobody has asked for in the end is a mistake.

import Foundation
import Kernel
import SimNet

func fail(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n\n\(usage)\n".utf8))
    exit(2)
}

struct Arguments {
    let command: String?
    private var rest: [String]

    init(_ words: [String]) {
        command = words.first
        rest = Array(words.dropFirst())
    }

    mutating func flag(_ name: String) -> Bool {
        guard let index = rest.firstIndex(of: name) else { return false }
        rest.remove(at: index)
        return true
    }
    mutating func text(_ name: String) -> String? {
        guard let index = rest.firstIndex(of: name) else { return nil }
        guard index + 1 < rest.count else { fail("\(name) needs a value") }
        let value = rest[index + 1]
        rest.removeSubrange(index...index + 1)
        return value
    }
    mutating func number(_ name: String) -> UInt64? {
        guard let text = text(name) else { return nil }
        guard let value = UInt64(text) else { fail("\(name) needs a number, not \(text)") }
        return value
    }
    /// A word that is no option.
    mutating func word() -> String? {
        guard let index = rest.firstIndex(where: { !$0.hasPrefix("--") }) else { return nil }
        return rest.remove(at: index)
    }
    func done() { if let word = rest.first { fail("unknown option \(word)") } }
}

/// What a run or a sweep draws.
extension Arguments {
    mutating func drawing() -> Drawing {
        var drawing = Drawing()
        drawing.diskFaults = flag("--disk-faults")
        if let peers = number("--peers") {
            guard (2...1000).contains(peers) else { fail("--peers needs 2 to 1000") }
            drawing.peers = Int(peers)
        }
        for name in text("--without")?.split(separator: "+").map(String.init) ?? [] {
            guard let family = FaultFamily(rawValue: name) else {
                fail("no family \(name); there are \(FaultFamily.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            drawing.without.append(family)
        }
        return drawing
    }

    /// Whose first failure is enough; by NOTHING there is none.
    mutating func awaited() -> [String]? {
        text("--until")?.split(separator: "|").map { name in
            guard name == "NOTHING" || Oracle(rawValue: String(name)) != nil else { fail("no oracle \(name); ipfs-cluster-sim oracles lists them all") }
            return String(name)
        }
    }
}

extension Drawing {
    /// The options that draw the same.
    var words: String {
        (peers.map { " --peers \($0)" } ?? "") + (diskFaults ? " --disk-faults" : "") + (without.isEmpty ? "" : " --without \(without.map(\.rawValue).joined(separator: "+"))")
    }
}

func write(_ text: String, to path: String) {
    do { try text.write(toFile: path, atomically: true, encoding: .utf8) } catch {
        FileHandle.standardError.write(Data("cannot write \(path): \(error.localizedDescription)\n".utf8))
        exit(2)
    }
}

func readPlan(_ path: String) -> RunPlan {
    guard let data = FileManager.default.contents(atPath: path) else { fail("cannot read \(path)") }
    guard let text = String(data: data, encoding: .utf8) else { fail("\(path) is not text") }
    do { return try RunPlan(text: text) } catch { fail("\(path): \(error)") }
}

func seconds(_ span: Span) -> String { String(format: "%.1f s", Double(span.nanoseconds) / 1e9) }
