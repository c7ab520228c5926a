// Plans as text, a line for each thing: what `shrink` writes, `run --plan` reads and Tests/Scenarios keeps.
//
//     # p1 told a client that its pin is accepted, and forgot it in a crash.
//     expect DURABLE
//     run seed=77 calm=latency+ties
//     options peers=3 batching=yes
//     at 12.5s p1 pin c3 name=n4
//     at 12.52s fault 3101 crash p1 for 4s
//     late fault 9000 lose p0
//     crash-in-step p1 311 2

import Kernel

package struct PlanError: Error, Equatable, Sendable, CustomStringConvertible {
    package let line: Int
    package let reason: String
    package var description: String { "line \(line): \(reason)" }
}

extension RunPlan {
    package var text: String {
        var lines = story.map { $0.isEmpty ? "#" : "# \($0)" }
        if let expected { lines.append("expect \(expected.rawValue)") }
        let calm = tape.calm.map { "\($0)" }.joined(separator: "+")
        lines.append("run seed=\(seed)" + (calm.isEmpty ? "" : " calm=\(calm)"))
        if !options.words.isEmpty { lines.append("options " + options.words.joined(separator: " ")) }
        var timed = operations.map { ($0.at, 1, $0.number, "at \($0.at.seconds) \($0.line)") }
        timed += faults.filter { !$0.isLate }.map { ($0.at, 0, $0.number, "at \($0.at.seconds) \($0.line)") }
        lines += timed.sorted { ($0.0, $0.1, $0.2) < ($1.0, $1.1, $1.2) }.map(\.3)
        lines += faults.filter(\.isLate).map { "late \($0.line)" }
        if let (peer, step, effect) = stepCrash { lines.append("crash-in-step p\(peer) \(step) \(effect)") }
        return lines.joined(separator: "\n") + "\n"
    }

    package init(text: String) throws(PlanError) {
        tape = Tape(seed: 0)
        var hasRun = false
        for (place, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let line = line.hasSuffix("\r") ? line.dropLast() : line
            if line.hasPrefix("#") { story.append(String(line.dropFirst(line.hasPrefix("# ") ? 2 : 1))); continue }
            let words = line.split(separator: " ").map(String.init)
            guard let first = words.first else { continue }
            do throws(PlanFault) {
                switch first {
                case "expect": expected = try Oracle(word: words.dropFirst().first)
                case "run":
                    try readRun(Array(words.dropFirst()))
                    hasRun = true
                case "options": try readOptions(Array(words.dropFirst()))
                case "at":
                    guard words.count > 2, let at = Span(seconds: words[1]) else { throw PlanFault("at needs a time, such as 12.5s, and what happens") }
                    if words[2] == "fault" { faults.append(try Fault(words: Array(words[3...]), at: at, isLate: false)) }
                    else { operations.append(try Operation(words: Array(words[2...]), at: at, number: operations.count + 1)) }
                case "late":
                    guard words.count > 1, words[1] == "fault" else { throw PlanFault("late needs a fault") }
                    faults.append(try Fault(words: Array(words[2...]), at: .zero, isLate: true))
                case "crash-in-step":
                    guard words.count == 4, let peer = Int(peer: words[1]), let step = UInt64(words[2]), let effect = Int(words[3]) else {
                        throw PlanFault("crash-in-step needs a peer, a step and an effect, such as p1 311 2")
                    }
                    stepCrash = (peer, step, effect)
                default: throw PlanFault("\(first) is none of expect, run, options, at, late, crash-in-step")
                }
            } catch { throw PlanError(line: place + 1, reason: error.reason) }
        }
        guard hasRun else { throw PlanError(line: 1, reason: "there is no line that begins with run") }
        try checkPeers()
    }

    private func checkPeers() throws(PlanError) {
        let count = options.peers + (options.hasOutsider ? 1 : 0)
        guard (1...1000).contains(options.peers) else { throw PlanError(line: 1, reason: "peers=\(options.peers) is not between 1 and 1000") }
        let named = operations.flatMap(\.peers) + faults.flatMap { $0.peers + $0.others }
        if let stranger = named.first(where: { $0 >= count }) { throw PlanError(line: 1, reason: "p\(stranger) is named, and there are \(count) peers") }
    }

    private mutating func readRun(_ words: [String]) throws(PlanFault) {
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            switch parts.first {
            case "seed":
                guard parts.count == 2, let seed = UInt64(parts[1]) else { throw PlanFault("seed needs a number") }
                let calm = tape.calm
                tape = Tape(seed: seed, calm: calm)
            case "calm":
                let names = parts.count == 2 ? parts[1].split(separator: "+").map(String.init) : []
                let domains = names.compactMap { name in Tape.calmable.first { "\($0)" == name } }
                guard domains.count == names.count else { throw PlanFault("calm knows \(Tape.calmable.map { "\($0)" }.joined(separator: ", "))") }
                tape.calm = domains
            default: throw PlanFault("run knows seed and calm, not \(word)")
            }
        }
    }

    private mutating func readOptions(_ words: [String]) throws(PlanFault) {
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard let field = RunOptions.fields.first(where: { $0.name == parts.first }) else {
                throw PlanFault("no option \(parts.first ?? word); there are \(RunOptions.fields.map(\.name).joined(separator: ", "))")
            }
            guard parts.count == 2, field.set(&options, parts[1]) else { throw PlanFault("\(word) is no value for \(field.name), which is usually \(field.get(RunOptions()))") }
        }
    }
}

struct PlanFault: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}

extension Oracle {
    fileprivate init(word: String?) throws(PlanFault) {
        guard let word, let oracle = Oracle(rawValue: word) else {
            throw PlanFault("expect needs one of \(Oracle.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        self = oracle
    }
}

extension Int {
    /// p3
    init?(peer text: some StringProtocol) {
        guard text.hasPrefix("p"), let value = Int(text.dropFirst()), value >= 0 else { return nil }
        self = value
    }
}

extension Operation {
    /// p1 p2 pin c3 name=n4
    package var line: String {
        (peers.map { "p\($0)" } + [kind.rawValue] + contents.map { "c\($0)" } + words + ["#\(number)"]).joined(separator: " ")
    }
    init(words all: [String], at: Span, number: Int) throws(PlanFault) {
        let peers = all.prefix { Int(peer: $0) != nil }.compactMap { Int(peer: $0) }
        var rest = all.dropFirst(peers.count)
        guard let name = rest.popFirst(), let kind = OperationKind(rawValue: name) else {
            throw PlanFault("after the time and the peers comes one of \(OperationKind.allCases.map(\.rawValue).joined(separator: ", ")), or before them fault")
        }
        self.init(number: number, at: at, peers: peers, kind: kind)
        for word in rest {
            if word.hasPrefix("#"), let own = Int(word.dropFirst()) { self.number = own }
            else if word.hasPrefix("c"), let content = Int(word.dropFirst()) { contents.append(content) }
            else { words.append(word) }
        }
        if let fault { throw PlanFault(fault) }
    }
}

extension Fault {
    /// fault 301 partition p0 p1 | p2 for 12s amount=3
    package var line: String {
        var words = ["fault", "\(number)", kind.rawValue] + peers.map { "p\($0)" }
        if !others.isEmpty { words += ["|"] + others.map { "p\($0)" } }
        if length > .zero { words += ["for", length.seconds] }
        if amount != 0 { words.append("amount=\(amount)") }
        return words.joined(separator: " ")
    }
    init(words: [String], at: Span, isLate: Bool) throws(PlanFault) {
        guard words.count > 2, let number = Int(words[0]), let kind = FaultKind(rawValue: words[1]) else {
            throw PlanFault("fault needs a number and one of \(FaultKind.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        self.init(number: number, kind: kind, at: at, peers: [], isLate: isLate)
        var isOther = false
        var rest = words[2...]
        while let word = rest.popFirst() {
            if let peer = Int(peer: word) {
                if isOther { others.append(peer) } else { peers.append(peer) }
            } else if word == "|" { isOther = true } else if word == "for", let text = rest.popFirst(), let length = Span(seconds: text) {
                self.length = length
            } else if word.hasPrefix("amount="), let amount = Int(word.dropFirst(7)) { self.amount = amount } else {
                throw PlanFault("\(word) is no part of a fault: peers, | and the other side, for 12s, amount=3")
            }
        }
        if peers.isEmpty { throw PlanFault("the fault strikes nobody") }
    }
}
