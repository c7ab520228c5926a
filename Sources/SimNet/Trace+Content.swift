// What content a trace is about, how it is called in short, and which entries have a bearing on it.

import Kernel
import Multiformats

extension TraceEntry {
    /// The content it is about, each once: that of its mark in a pin's life is the first.
    var about: [CID] {
        guard case .pin(let cid, _) = kind else { return cids }
        return cids.first == cid ? cids : [cid] + cids.filter { $0 != cid }
    }
    func isAbout(_ cid: CID) -> Bool {
        if case .pin(cid, _) = kind { return true }
        return cids.contains(cid)
    }
    /// Time alone brought it about. That is caused by whatever set the timer last, which may be nothing to do with it.
    var isTimer: Bool { kind == .input(label: "wake") }
}

extension Trace {
    /// What has a bearing on that content: the entries about it, what brought those about, and so on, in their order.
    ///
    /// Without `throughTimers` a timer counts as a beginning: who set it, and why, is left out.
    package func slice(about cid: CID, throughTimers: Bool = true) -> [Int] {
        slice(throughTimers: throughTimers) { $0.isAbout(cid) }
    }
    /// An entry, what brought it about, and so on back to where it began.
    package func causes(of index: Int, throughTimers: Bool = true) -> [Int] {
        var chain = [index]
        var next = causeFollowed(from: index, throughTimers)
        while let cause = next {
            chain.append(cause)
            next = causeFollowed(from: cause, throughTimers)
        }
        return chain.reversed()
    }

    private func slice(throughTimers: Bool, where isWanted: (TraceEntry) -> Bool) -> [Int] {
        var bears = [Bool](repeating: false, count: entries.count)
        for index in entries.indices.reversed() where bears[index] || isWanted(entries[index]) {
            bears[index] = true
            if let cause = causeFollowed(from: index, throughTimers) { bears[cause] = true }
        }
        return entries.indices.filter { bears[$0] }
    }
    private func causeFollowed(from index: Int, _ throughTimers: Bool) -> Int? {
        guard let cause = entries[index].cause, throughTimers || !entries[index].isTimer else { return nil }
        invariant(cause >= 0 && cause < index, "the cause of entry \(index) is an earlier one, not \(cause)")
        return cause
    }
}

/// Why a text names no content of a trace.
package enum TraceContentError: Error, Equatable, Sendable, CustomStringConvertible {
    case unknown(String, of: Int)
    case ambiguous(String, [String])

    package var description: String {
        switch self {
        case .unknown(let text, 0): "no entry is about \(text), or about any content at all"
        case .unknown(let text, let count):
            "no content is called \(text): give a CID, its beginning, its end, or a number from c1 to c\(count)"
        case .ambiguous(let text, let names):
            "\(text) may be \(names.prefix(8).joined(separator: ", "))\(names.count > 8 ? " or \(names.count - 8) more" : ""): "
                + "give more of it, or its number"
        }
    }
}

/// The content of a trace, numbered from 1 in the order in which it comes up.
package struct TraceContents: Sendable {
    package private(set) var all: [CID] = []
    private(set) var texts: [String] = []
    private var numbers: [CID: Int] = [:]

    package init(_ trace: Trace) {
        for cid in trace.contents { add(cid) }
        for entry in trace.entries { for cid in entry.about { add(cid) } }
    }
    mutating func add(_ cid: CID) {
        guard numbers[cid] == nil else { return }
        all.append(cid)
        texts.append("\(cid)")
        numbers[cid] = all.count
    }

    package func number(of cid: CID) -> Int? { numbers[cid] }

    /// `c7…k4f2m`: the number and the last letters, for the first are much the same for all.
    package func short(_ cid: CID) -> String {
        guard let number = numbers[cid] else { return "\(cid)" }
        return "c\(number)…\(texts[number - 1].suffix(5))"
    }

    /// The content that a text means: a whole CID, its beginning or its end, its number (`7`, `c7`), or what `short` makes of it.
    package func find(_ text: String) throws(TraceContentError) -> CID {
        if let number = number(text) { return all[number - 1] }
        if let cid = try? CID(text: text), numbers[cid] != nil { return cid }
        let letters = text.hasPrefix("…") ? text.dropFirst() : text[...]
        let found = letters.isEmpty ? [] : all.indices.filter {
            texts[$0].hasSuffix(letters) || text.hasPrefix(letters) && texts[$0].hasPrefix(letters)
        }
        guard let first = found.first else { throw .unknown(text, of: all.count) }
        guard found.count == 1 else { throw .ambiguous(text, found.map { short(all[$0]) }) }
        return all[first]
    }

    /// `7`, `c7` or `c7…k4f2m`.
    private func number(_ text: String) -> Int? {
        let parts = text.split(separator: "…", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let number = Int(first.hasPrefix("c") ? first.dropFirst() : first),
            all.indices.contains(number - 1), parts.count == 1 || texts[number - 1].hasSuffix(parts[1])
        else { return nil }
        return number
    }
}
