// The flags of one level: taking them off the words, and asking for them. CLI-002, CLI-003, CLI-008.

import Encoding
import Kernel

package struct UsageError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
}

package struct FlagValues: Sendable {
    package enum Value: Equatable, Sendable {
        case bool(Bool)
        case string(String)
        case int(Int)
        case float(Double)
        case duration(Span)
        case strings([String])
    }

    private struct Entry: Sendable {
        let flag: Flag
        var value: Value
        var isFromEnvironment = false
        /// The names by which it was given, each once.
        var givenAs: [String] = []
    }

    private var entries: [Entry] = []

    /// Defaults and environment. Throws for a variable that does not hold what its flag takes.
    init(_ flags: [Flag], environment: [String: String]) throws(UsageError) {
        for flag in flags {
            var entry = Entry(flag: flag, value: FlagValues.defaultValue(flag.kind))
            if let text = flag.environment.lazy.compactMap({ environment[$0] }).first {
                guard let value = try? FlagValues.fromEnvironment(text, flag.kind) else {
                    throw UsageError(description: "could not parse \(text) as \(flag.kind.noun) for flag \(flag.name)")
                }
                entry.value = value
                entry.isFromEnvironment = true
            }
            entries.append(entry)
        }
    }

    private static func defaultValue(_ kind: Flag.Kind) -> Value {
        switch kind {
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .int(let value): .int(value)
        case .float(let value): .float(value)
        case .duration(let value): .duration(value)
        case .strings: .strings([])
        }
    }

    private static func fromEnvironment(_ text: String, _ kind: Flag.Kind) throws(NumberTextError) -> Value {
        switch kind {
        case .bool where text.isEmpty: return .bool(false)
        case .strings: return .strings(text.split(separator: ",", omittingEmptySubsequences: false).map(trimmed))
        default: return try parsed(text, kind)
        }
    }

    private static func parsed(_ text: String, _ kind: Flag.Kind) throws(NumberTextError) -> Value {
        switch kind {
        case .bool:
            guard let value = boolean(goText: text) else { throw .syntax }
            return .bool(value)
        case .string: return .string(text)
        case .strings: return .strings([text])
        case .int: return .int(try integer(goText: text))
        case .float:
            guard let value = Double(text) else { throw .syntax }
            return .float(value)
        case .duration:
            guard let value = try? Span(goText: text) else { throw .syntax }
            return .duration(value)
        }
    }

    // MARK: Taking flags off the words

    /// Flags up to the first word that is none, or up to `--`; the rest is returned.
    mutating func take(_ words: [String]) throws(UsageError) -> [String] {
        var rest = words[...]
        while let word = rest.first, word.utf8.count > 1, word.hasPrefix("-") {
            rest.removeFirst()
            if word == "--" { break }
            let body = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
            guard let first = body.first, first != "-", first != "=" else {
                throw UsageError(description: "bad flag syntax: \(word)")
            }
            let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            try set(String(parts[0]), to: parts.count > 1 ? String(parts[1]) : nil, rest: &rest)
        }
        try checkNames()
        return Array(rest)
    }

    private mutating func set(_ name: String, to given: String?, rest: inout ArraySlice<String>) throws(UsageError) {
        guard let index = entries.firstIndex(where: { $0.flag.names.contains(name) }) else {
            throw UsageError(description: "flag provided but not defined: -\(name)")
        }
        let kind = entries[index].flag.kind
        var text = given
        if text == nil { text = kind.takesValue ? rest.popFirst() : "true" }
        guard let text else { throw UsageError(description: "flag needs an argument: -\(name)") }
        let value: Value
        do throws(NumberTextError) { value = try FlagValues.parsed(text, kind) } catch {
            let reason = error == .syntax ? "parse error" : "value out of range"
            let place = kind.takesValue ? "value \(quoted(text)) for flag" : "boolean value \(quoted(text)) for"
            throw UsageError(description: "invalid \(place) -\(name): \(reason)")
        }
        if case .strings(let more) = value, case .strings(let old) = entries[index].value, !entries[index].givenAs.isEmpty {
            entries[index].value = .strings(old + more)
        } else {
            entries[index].value = value
        }
        if !entries[index].givenAs.contains(name) { entries[index].givenAs.append(name) }
    }

    private func checkNames() throws(UsageError) {
        for entry in entries where entry.givenAs.count > 1 {
            let names = entry.flag.names.filter(entry.givenAs.contains)
            throw UsageError(description: "Cannot use two forms of the same flag: \(names[1]) \(names[0])")
        }
    }

    /// The first name of each required flag that is not there.
    var missing: [String] { entries.filter { $0.flag.isRequired && !isSet($0.flag.name) }.map(\.flag.name) }

    // MARK: Asking

    private func value(_ name: String) -> Value {
        guard let entry = entries.first(where: { $0.flag.names.contains(name) }) else { unreachable("no flag \(name)") }
        return entry.value
    }

    package func has(_ name: String) -> Bool { entries.contains { $0.flag.names.contains(name) } }
    /// Given on the command line or by its variable.
    package func isSet(_ name: String) -> Bool {
        entries.contains { $0.flag.names.contains(name) && ($0.isFromEnvironment || !$0.givenAs.isEmpty) }
    }
    package func bool(_ name: String) -> Bool {
        if case .bool(let value) = value(name) { value } else { unreachable("\(name) is no bool flag") }
    }
    package func string(_ name: String) -> String {
        if case .string(let value) = value(name) { value } else { unreachable("\(name) is no string flag") }
    }
    package func int(_ name: String) -> Int {
        if case .int(let value) = value(name) { value } else { unreachable("\(name) is no int flag") }
    }
    package func float(_ name: String) -> Double {
        if case .float(let value) = value(name) { value } else { unreachable("\(name) is no float flag") }
    }
    package func duration(_ name: String) -> Span {
        if case .duration(let value) = value(name) { value } else { unreachable("\(name) is no duration flag") }
    }
    package func strings(_ name: String) -> [String] {
        if case .strings(let value) = value(name) { value } else { unreachable("\(name) is no list flag") }
    }
}

extension Flag.Kind {
    var takesValue: Bool { if case .bool = self { false } else { true } }

    fileprivate var noun: String {
        switch self {
        case .bool: "bool value"
        case .string, .strings: "string value"
        case .int: "int value"
        case .float: "float64 value"
        case .duration: "duration"
        }
    }
}

func quoted(_ text: String) -> String {
    var out: Bytes = []
    JSON.writeString(text, to: &out)
    return String(decoding: out, as: UTF8.self)
}

private func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
}

/// Moves a command's flags, with the word after each that has no `=`, before everything else (CLI-003). A word after a
/// boolean flag goes along and so ends the flags; words that look like unknown flags stay where they are.
func reordered(_ words: [String], for flags: [Flag]) -> [String] {
    var front: [String] = []
    var back: [String] = []
    var mayBeValue = false
    for (index, word) in words.enumerated() {
        let isFlag = isFlag(word, flags)
        if mayBeValue && !isFlag {
            mayBeValue = false
            front.append(word)
        } else if word == "--" {
            back = ["--"] + back + words[(index + 1)...]
            break
        } else if isFlag {
            front.append(word)
            mayBeValue = !word.contains("=")
        } else {
            back.append(word)
        }
    }
    return front + back
}

private func isFlag(_ word: String, _ flags: [Flag]) -> Bool {
    guard word.hasPrefix("-"), word != "-", word != "--" else { return false }
    let name = word.drop { $0 == "-" }.prefix { $0 != "=" }
    return flags.contains { $0.names.contains(String(name)) }
}
