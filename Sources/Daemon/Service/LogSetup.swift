// Where log lines go, and what they look like: what upstream's logger reads of the environment. CLI-012.

import Encoding
import Kernel
import Seams

package struct LogSetup: Sendable {
    package enum Format: Sendable { case plain, coloured, json }

    package private(set) var format = Format.coloured
    package private(set) var writesError = true
    package private(set) var writesOut = false
    package private(set) var file: String?
    package private(set) var labels: [JSON.Member] = []
    /// What the command line then changes (CLI-017).
    package private(set) var levels = LogLevels()
    /// What of it is of no use, for standard error.
    package private(set) var complaints = ""

    package enum Target: Equatable, Sendable { case error, out, file(String) }

    /// `isTerminal` says of a target whether somebody looks at it: then lines are coloured.
    package init(environment: [String: String], isTerminal: (Target) -> Bool = { _ in false }) {
        func value(_ names: String...) -> String { names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? "" }
        let isExplicit = readFormat(value("GOLOG_LOG_FMT", "IPFS_LOGGING_FMT"))
        readLevels(value("GOLOG_LOG_LEVEL", "IPFS_LOGGING"))
        readOutput(value("GOLOG_OUTPUT"), file: value("GOLOG_FILE"))
        readLabels(value("GOLOG_LOG_LABELS"))
        if !isExplicit, !targets.contains(where: isTerminal) { format = .plain }
    }

    package var targets: [Target] {
        (writesError ? [.error] : []) + (writesOut ? [.out] : []) + (file.map { [.file($0)] } ?? [])
    }

    private mutating func readFormat(_ name: String) -> Bool {
        let formats: [String: Format] = ["color": .coloured, "nocolor": .plain, "json": .json]
        if let known = formats[name] { format = known } else if !name.isEmpty { complaints += "ignoring unrecognized log format '\(name)'\n" }
        return formats[name] != nil
    }

    /// `level` and `component=level`, comma separated.
    private mutating func readLevels(_ text: String) {
        guard !text.isEmpty else { return }
        for word in text.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let level = LogLevels.Level(name: parts[parts.count - 1]) else {
                complaints += "error setting log level \"\(word)\": unrecognized level: \"\(parts[parts.count - 1])\"\n"
                continue
            }
            levels.set(level, parts.count == 2 ? parts[0] : nil)
        }
    }

    /// A file is written to whether it is named among the outputs or not, and alone where none is.
    private mutating func readOutput(_ output: String, file name: String) {
        if !name.isEmpty { (file, writesError) = (name, false) }
        let words = output.split(separator: "+")
        if words.contains("file"), file == nil { complaints += "please specify a GOLOG_FILE value to write to\n" }
        guard words.contains("stdout") || words.contains("stderr") else { return }
        (writesOut, writesError) = (words.contains("stdout"), words.contains("stderr"))
    }

    private mutating func readLabels(_ text: String) {
        for word in text.split(separator: ",") {
            let parts = word.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                complaints += "invalid label k=v: \(word)\n"
                continue
            }
            labels.append(JSON.Member(parts[0], .string(parts[1])))
        }
    }

    /// Time in UTC with milliseconds, level, logger and message, with tabs between them, or as one JSON object.
    package func formatted(_ line: LogLine, at time: WallTime) -> String {
        let (name, colour) = switch line.level {
        case .debug: ("DEBUG", 35)
        case .info: ("INFO", 34)
        case .warning: ("WARN", 33)
        case .error: ("ERROR", 31)
        }
        let milliseconds = String(time.nanoseconds / 1_000_000)
        let fraction = String(repeating: "0", count: 3 - milliseconds.count) + milliseconds
        let stamp = WallTime(seconds: time.seconds).rfc3339.dropLast() + ".\(fraction)Z"
        guard format != .json else {
            let texts = [("level", name.lowercased()), ("ts", String(stamp)), ("logger", line.component), ("msg", line.message)]
            return JSON.object(texts.map { JSON.Member($0, .string($1)) } + labels).encoded()
        }
        let level = format == .coloured ? "\u{1b}[\(colour)m\(name)\u{1b}[0m" : name
        let ending = labels.isEmpty ? "" : "\t{" + labels.map { "\(JSON.string($0.name).encoded()): \($0.value.encoded())" }.joined(separator: ", ") + "}"
        return "\(stamp)\t\(level)\t\(line.component)\t\(line.message)\(ending)"
    }
}
