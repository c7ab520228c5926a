// What goes over the wire between two machines, byte for byte, as text that can be read. The text is kept in
// Tests/Golden/transcripts, and a run that says anything else is told with the message and the bytes that differ.

import Kernel
import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

enum Side: Hashable {
    case a, b
    var other: Side { self == .a ? .b : .a }
    var arrow: String { self == .a ? "A > B" : "B > A" }
}

struct Transcript {
    /// The file, without its ending.
    let name: String
    /// A message, or a remark.
    private var entries: [[String]] = []

    init(_ name: String, _ title: String) {
        self.name = name
        entries = [["# " + title, "# Made by Tests/Property/Transcripts, which says how to make it anew."]]
    }

    mutating func remark(_ text: String) { entries.append(["# " + text]) }

    /// Something that has no bytes of its own on this level.
    mutating func event(_ side: Side, _ what: String) { entries.append(["\(side.arrow)  \(what)"]) }

    /// `meaning` is what a reader of the protocol sees in it, a line each.
    mutating func message(_ side: Side, _ what: String, _ bytes: Bytes, meaning: [String] = []) {
        entries.append(["\(side.arrow)  \(what), \(bytes.count) bytes"] + Transcript.dump(bytes) + meaning.map { "    " + $0 })
    }

    /// Sixteen bytes a line, with their offset and as far as they are text.
    static func dump(_ bytes: Bytes) -> [String] {
        stride(from: 0, to: bytes.count, by: 16).map { start in
            let row = bytes[start..<min(start + 16, bytes.count)]
            let hex = row.map { hexadecimal($0, 2) }.joined(separator: " ")
            let padding = String(repeating: " ", count: 47 - hex.count)
            let text = String(row.map { 0x20..<0x7f ~= $0 ? Character(Unicode.Scalar($0)) : "." })
            return "  \(hexadecimal(start, 4))  \(hex)\(padding)  |\(text)|"
        }
    }

    var text: String { entries.map { $0.joined(separator: "\n") }.joined(separator: "\n\n") + "\n" }

    /// The first messages that differ from those of another transcript; empty if none does.
    func differences(from golden: String, most: Int = 3) -> [String] {
        let kept = Transcript.entries(of: golden)
        var found: [String] = []
        for index in 0..<max(kept.count, entries.count) where found.count < most {
            let (before, now) = (kept.indices.contains(index) ? kept[index] : [], entries.indices.contains(index) ? entries[index] : [])
            if before == now { continue }
            let title = now.first ?? before.first ?? ""
            found.append("entry \(index + 1): \(title)\n" + Transcript.comparison(before, now).joined(separator: "\n"))
        }
        return found
    }

    private static func entries(of text: String) -> [[String]] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        return lines.split(separator: "").map(Array.init)
    }

    /// Line by line: `-` is in the file, `+` is new, and where bytes differ a line of `^` says which.
    private static func comparison(_ before: [String], _ now: [String]) -> [String] {
        var out: [String] = []
        for index in 0..<max(before.count, now.count) {
            let (old, new) = (before.indices.contains(index) ? before[index] : nil, now.indices.contains(index) ? now[index] : nil)
            if old == new {
                out.append("  " + (old ?? ""))
                continue
            }
            if let old { out.append("- " + old) }
            if let new { out.append("+ " + new) }
            guard let old, let new else { continue }
            let marks = zip(old, new).map { $0 == $1 ? " " : "^" }.joined()
            out.append("  " + marks + String(repeating: "^", count: abs(old.count - new.count)))
        }
        return out
    }

    /// With RECORD_TRANSCRIPTS=1 in the environment the file is written, for `git diff` to show what has changed.
    func expectGolden(sourceLocation: SourceLocation = #_sourceLocation) {
        let file = "transcripts/\(name).txt"
        if getenv("RECORD_TRANSCRIPTS") != nil { write(to: Golden.path(file)) }
        let differences = differences(from: String(decoding: Golden.bytes(file), as: UTF8.self))
        guard !differences.isEmpty else { return }
        let told = differences.joined(separator: "\n\n")
        Issue.record("Tests/Golden/\(file) says otherwise:\n\n\(told)\n", sourceLocation: sourceLocation)
    }

    private func write(to path: String) {
        guard let out = fopen(path, "wb") else { fatalError("cannot write \(path)") }
        fputs(text, out)
        fclose(out)
    }
}

func hexadecimal(_ value: some BinaryInteger, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String { bytes.map { hexadecimal($0, 2) }.joined() }
