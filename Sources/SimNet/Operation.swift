// What clients ask, as data: one operation is one line of a plan.

import Kernel
import Multiformats
import Pinset

package enum OperationKind: String, CaseIterable, Sendable {
    case pin, unpin
    case pinAll = "pin-all", unpinAll = "unpin-all", pinPath = "pin-path", unpinPath = "unpin-path"
    case add
    case get, list
    case status, statuses, statusAll = "status-all"
    case recover, recoverAll = "recover-all"
    case metrics, metricNames = "metric-names", alerts, graph, bandwidth
    case id, version, peers, peerAdd = "peer-add", peerRemove = "peer-remove", gc

    var isWrite: Bool {
        switch self {
        case .pin, .unpin, .pinAll, .unpinAll, .pinPath, .unpinPath, .add: true
        default: false
        }
    }
}

package struct Operation: Equatable, Sendable {
    /// Names it in a plan. Shrinking keeps it.
    package var number: Int
    /// From the beginning of the storm.
    package var at: Span
    /// Who is asked: each of them, at the same time. One that is down is passed over for the next that is up.
    package var peers: [Int]
    package var kind: OperationKind
    /// What it is about: small numbers, so that operations meet. In runs with embedded nodes, numbers of `add`s; where there are daemons,
    /// these are counted from `firstAdded`.
    package var contents: [Int] = []
    static let firstAdded = 3000
    /// Its options, each a word: see `Words`.
    package var words: [String] = []

    package init(number: Int, at: Span, peers: [Int], kind: OperationKind, contents: [Int] = [], words: [String] = []) {
        (self.number, self.at, self.peers) = (number, at, peers)
        (self.kind, self.contents, self.words) = (kind, contents, words)
    }

    /// What this run covers of all that could be asked: the kind, with each of its options, and each two of them.
    var features: [String] {
        let names = words.map { word in word.split(separator: "=").first.map(String.init) ?? word }
        var found = [kind.rawValue]
        for (place, name) in names.enumerated() {
            found.append("\(kind.rawValue) \(name)")
            for other in names[(place + 1)...] { found.append("\(kind.rawValue) \([name, other].sorted().joined(separator: "+"))") }
        }
        return found
    }
}

/// The options of an operation, legal or not.
struct Words {
    /// What each kind of operation may carry.
    static func known(_ kind: OperationKind) -> [String] {
        switch kind {
        case .pin: pinWords + ["part"]
        case .pinPath: pinWords + ["named", "hang-up"]
        case .unpinPath: ["named", "hang-up"]
        case .graph, .peers: ["hang-up"]
        case .unpin: ["part"]
        case .pinAll: ["min", "max", "direct", "expire", "update", "alloc", "meta"]
        case .add: ["local", "shard", "no-pin", "wrap", "folder", "raw", "v1", "trickle", "bytes", "min", "max", "name", "chunk", "break-off", "direct", "alloc", "expire", "meta", "update", "same", "slow"]
        case .recoverAll: ["local"]
        case .status, .statuses, .recover: ["local", "hang-up"]
        case .gc: ["local", "hang-up"]
        case .statusAll: ["local", "filter", "hang-up"]
        case .list: ["types", "hang-up"]
        case .peerAdd, .peerRemove: ["whom"]
        case .metrics: ["metric"]
        default: []
        }
    }
    static let pinWords = [
        "name", "min", "max", "direct", "expire", "update", "alloc", "meta", "origin", "shard-size", "long-name",
    ]

    private var values: [String: String] = [:]
    init(_ words: [String]) {
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            values[parts[0]] = parts.count > 1 ? parts[1] : ""
        }
    }
    func has(_ name: String) -> Bool { values[name] != nil }
    func text(_ name: String) -> String? { values[name] }
    func number(_ name: String) -> Int? { values[name].flatMap { Int($0) } }
}

extension Operation {
    /// The plan's line is wrong, and how.
    package var fault: String? {
        if peers.isEmpty { return "it names no peer" }
        for word in words {
            let name = word.split(separator: "=").first.map(String.init) ?? word
            if !Words.known(kind).contains(name) { return "\(kind.rawValue) knows no option \(name); it knows \(Words.known(kind).joined(separator: ", "))" }
        }
        switch kind {
        case .pin, .unpin, .get, .status, .recover, .pinPath, .unpinPath: if contents.isEmpty { return "\(kind.rawValue) needs content, such as c3" }
        default: break
        }
        return nil
    }
}

// MARK: Drawing

extension Operation {
    /// What is rare in one run and common in another.
    private struct Habits {
        /// Of a hundred pins so many have each word.
        let rates: [Int]
        /// Most is added in shards, more than once and by way of several peers: one add takes back what another needs.
        let addsInShards: Bool
    }

    /// Draws the workload of a run. Kinds and options are weighted anew for each run, so that some are rare in one and common in
    /// another.
    static func workload(_ options: RunOptions, _ tape: Tape, count: Int) -> [Operation] {
        var swarm = tape.stream(.swarm)
        var rarely = tape.stream(.swarm, 1)
        let addsInShards = !options.isEmbedded && options.boots == 0 && rarely.chance(1, in: 8)
        let weights = OperationKind.allCases.map { kind -> Int in
            if options.isEmbedded && [.pinAll, .unpinAll, .pinPath, .unpinPath].contains(kind) { return 0 }
            if kind == .add { return options.isEmbedded ? 60 : addsInShards ? 40 : [0, 0, 6, 20][swarm.below(4)] }
            let weight = [0, 1, 3, 8][swarm.below(4)]
            switch kind {
            case .pin: return 40 + weight * 6
            case .unpin: return 8 + weight * 3
            case .pinAll, .unpinAll: return weight * 2
            default: return weight
            }
        }
        let rates = Words.pinWords.map { word in
            let rate = [0, 0, 6, 12, 30][swarm.below(5)]
            return word == "expire" && options.expiresOften ? 30 : word == "direct" && options.ipfsPace > 1 ? max(12, rate) : rate
        }
        let habits = Habits(rates: rates, addsInShards: addsInShards)
        let bursts = swarm.below(4)
        let total = weights.reduce(0, +)
        let peers = options.peers + (options.hasOutsider ? 1 : 0)
        var adds: [Int] = []
        var drawn: [Operation] = []
        for number in 1...max(1, count) {
            var choices = tape.stream(.workload, UInt64(number))
            var pick = choices.below(max(1, total))
            var kind = OperationKind.pin
            for (place, weight) in weights.enumerated() {
                if pick < weight { kind = OperationKind.allCases[place]; break }
                pick -= weight
            }
            if options.isEmbedded && adds.isEmpty { kind = .add }
            let span = choices.span(.zero, options.workloadLength)
            var one = Operation(number: number, at: span, peers: [choices.below(peers)], kind: kind)
            one.shape(options, adds, habits, &choices)
            // Often several at once: values of one height meet, and who removes the same upon the same heads makes the same block.
            if (kind == .pin || kind == .unpin), choices.chance(bursts, in: 8) { one.peers = options.boots > 0 ? Array(choices.permuted(Array(0..<peers)).prefix(8)) : Array(0..<peers) }
            if kind == .add { adds.append(number) }
            drawn.append(one)
            drawn += one.questions(options, tape)
            if let parts = one.writesOfParts(options, tape) { drawn.append(parts) }
            var last = one
            for place in 1...3 {
                var more = tape.stream(.workload, 1 << 41 | UInt64(number), UInt64(place))
                guard let echo = last.echo(10_000 * place + number, options, adds, habits, &more) else { break }
                drawn.append(echo)
                last = echo
            }
        }
        if options.hasHomes { for place in drawn.indices { drawn[place].goHome(options) } }
        return drawn
    }

    /// Another write of the same content: one overtakes the other, both are in one batch, or the second comes when work on the first
    /// has just begun. What expires is given longer, at the last moment or too late.
    private func echo(_ number: Int, _ options: RunOptions, _ adds: [Int], _ habits: Habits, _ choices: inout Choices) -> Operation? {
        if kind == .add { return removal(number, options, habits, &choices) }
        let lasts = Words(words).number("expire").flatMap { $0 > 0 ? $0 : nil }
        let isRenewal = lasts != nil && choices.chance(options.expiresOften ? 7 : 4, in: 8)
        // What is looked up for a removal is out of date when another peer has added meanwhile, which a slow disk leaves time for.
        let isContested = (kind == .unpin || kind == .unpinAll) && options.diskPace > 1 && choices.chance(1, in: 2)
        // And work that takes long is under way when it is to be of another depth.
        let isTurned = kind == .pin && options.ipfsPace > 1 && choices.chance(words.contains("direct") ? 6 : 1, in: 8)
        guard kind.isWrite, !contents.isEmpty, isRenewal || isContested || isTurned || choices.chance(options.echoes, in: 8) else { return nil }
        let kinds: [OperationKind] = options.isEmbedded ? [.pin, .unpin] : [.pin, .pin, .pin, .unpin, .unpin, .pinAll, .unpinAll]
        var echo = Operation(number: number, at: at, peers: peers, kind: kinds[choices.below(kinds.count)])
        echo.shape(options, adds, habits, &choices)
        if echo.kind == .pinAll || echo.kind == .unpinAll { echo.contents = contents + echo.contents.filter { !contents.contains($0) } }
        else { echo.contents = [contents[choices.below(contents.count)]] }
        if choices.chance(1, in: 2) { echo.peers = [choices.below(options.peers)] }
        let gaps: [ClosedRange<Int64>] = [1...4, 1...30, 30...1000, 1000...6000]
        let gap = gaps[choices.below(gaps.count)]
        var pause = choices.span(.milliseconds(gap.lowerBound), .milliseconds(gap.upperBound))
        if let lasts, isRenewal {
            echo.peers = peers
            pause = .seconds(Int64(max(1, lasts - 5))) + choices.span(.zero, .seconds(8))
            echo.kind = .pin
            echo.words = ["name=n\(echo.number)", "expire=\(lasts + 100)"]
        } else if isContested || isTurned {
            pause = choices.span(.milliseconds(1), .milliseconds(isContested ? 400 : 2000))
            (echo.kind, echo.peers, echo.words) = (.pin, [choices.below(options.peers)], ["name=n\(echo.number)"])
            echo.contents = [contents[0]]
            if isTurned, !words.contains("direct") { echo.words.append("direct") }
        }
        echo.at = echo.at + pause
        return echo.at < options.workloadLength ? echo : nil
    }

    /// What was added in shards has parts that go with it.
    private func removal(_ number: Int, _ options: RunOptions, _ habits: Habits, _ choices: inout Choices) -> Operation? {
        guard words.contains("shard"), choices.chance(3, in: 4) else { return nil }
        // While the same is added once more, by way of another peer: that add misses what is removed of it.
        if habits.addsInShards, let first = Words(words).number("same"), choices.chance(1, in: 2) {
            // Of a slow one some parts are pinned by then, and others are not.
            let removal = Operation(
                number: number, at: at + choices.span(.milliseconds(5), max(.seconds(3), uploadTime)), peers: [choices.below(options.peers)], kind: .unpin, contents: [added(first, options)])
            return removal.at < options.workloadLength ? removal : nil
        }
        if choices.chance(habits.addsInShards ? 3 : 2, in: 4) { return again(number, options, habits, &choices) }
        var removal = Operation(number: number, at: at + choices.span(.seconds(1), .seconds(60)), peers: peers, kind: .unpin, contents: [added(self.number, options)])
        if choices.chance(1, in: 2) { removal.peers = [choices.below(options.peers)] }
        return removal.at < options.workloadLength ? removal : nil
    }

    /// The same file once more: what another add has made is not taken back when one fails.
    private func again(_ number: Int, _ options: RunOptions, _ habits: Habits, _ choices: inout Choices) -> Operation? {
        // Often while the first is under way. Or it begins when that is over, and takes its time: it is there, and can be removed meanwhile.
        let isOver = habits.addsInShards && choices.chance(1, in: 2)
        let pause = isOver ? uploadTime + choices.span(.seconds(3), .seconds(15)) : choices.chance(1, in: 2) ? choices.span(.milliseconds(1), .seconds(4)) : choices.span(.seconds(1), .seconds(60))
        var again = Operation(number: number, at: at + pause, peers: peers, kind: .add)
        again.words = words.filter { $0 != "break-off" && !$0.hasPrefix("same=") } + ["same=\(self.number)"]
        if choices.chance(habits.addsInShards ? 2 : 1, in: 4) { again.peers = [choices.below(options.peers)] }
        if isOver { again.words = again.words.filter { !$0.hasPrefix("slow=") } + ["slow=\([300, 1500][choices.below(2)])"] }
        else if choices.chance(words.contains("break-off") && !habits.addsInShards ? 1 : 2, in: 3) { again.words.append("break-off") }
        return again.at < options.workloadLength ? again : nil
    }

    /// What becomes of it is asked about while it is under way; most where it takes long, and where the tracker is told late.
    private func questions(_ options: RunOptions, _ tape: Tape) -> [Operation] {
        var choices = tape.stream(.workload, 1 << 43 | UInt64(number))
        let isSlow = options.ipfsPace > 1 || options.limits.trackedMax > 0 || options.limits.toldPerStep > 0
        guard kind.isWrite, kind != .add, !contents.isEmpty, choices.chance(isSlow ? 4 : 1, in: 8) else { return [] }
        return (0..<1 + choices.below(3)).compactMap { place in
            let kinds: [OperationKind] = [.status, .status, .statusAll, .recover]
            var question = Operation(number: 50_000 + 1000 * place + number, at: at, peers: [choices.below(options.peers)], kind: kinds[choices.below(kinds.count)])
            if choices.chance(2, in: 3) { question.peers = [peers[0]] }
            if question.kind != .statusAll { question.contents = [contents[choices.below(contents.count)]] }
            if choices.chance(2, in: 3) { question.words = ["local"] }
            // Some are asked before it, and answered after.
            let early = choices.span(.zero, .milliseconds(isSlow ? 1000 : 20)), late = choices.span(.zero, .seconds(4))
            question.at = choices.chance(1, in: 2) ? Span(nanoseconds: max(0, at.nanoseconds - early.nanoseconds)) : at + late
            return question.at < options.workloadLength ? question : nil
        }
    }

    /// The parts of what was added in shards are pins, and nobody's to remove or to copy.
    private func writesOfParts(_ options: RunOptions, _ tape: Tape) -> Operation? {
        var choices = tape.stream(.workload, 1 << 42 | UInt64(number))
        guard kind == .add, words.contains("shard"), choices.chance(1, in: 2) else { return nil }
        let isUpdate = choices.chance(1, in: 3)
        var write = Operation(number: 40_000 + number, at: at + choices.span(.seconds(1), .seconds(60)), peers: [choices.below(options.peers)], kind: isUpdate ? .pin : .unpin)
        write.contents = [isUpdate ? 1900 : added(number, options)]
        write.words = (isUpdate ? ["name=n\(write.number)", "update=c\(added(number, options))"] : []) + ["part=\(choices.below(6))"]
        return write.at < options.workloadLength ? write : nil
    }

    /// How long an upload takes to come.
    var uploadTime: Span { .milliseconds(Int64(Words(words).number("slow") ?? 0) * Int64(Run.pieces)) }

    private mutating func hangUp(_ choices: inout Choices) {
        if choices.chance(1, in: 3) { words.append("hang-up=\(choices.below([40, 400, 4000][choices.below(3)]))") }
    }

    /// A name has to be looked up, which takes a while.
    private mutating func name(_ choices: inout Choices) {
        if choices.chance(1, in: 2) { words.append("named") }
        hangUp(&choices)
    }

    private func added(_ number: Int, _ options: RunOptions) -> Int { options.isEmbedded ? number : Operation.firstAdded + number }

    private mutating func goHome(_ options: RunOptions) {
        guard kind.isWrite, let home = contents.first.map({ $0 % options.peers }) else { return }
        peers = [home]
        contents = contents.filter { $0 % options.peers == home }
    }

    private mutating func shape(_ options: RunOptions, _ adds: [Int], _ habits: Habits, _ choices: inout Choices) {
        func content(_ choices: inout Choices) -> Int {
            if options.isEmbedded { return adds.isEmpty ? 0 : adds[choices.below(adds.count)] }
            if !adds.isEmpty, choices.chance(1, in: 6) { return added(adds[choices.below(adds.count)], options) }
            return 1 + choices.below(options.contents)
        }
        let local = choices.chance(1, in: 2) ? ["local"] : []
        switch kind {
        case .pin, .pinPath:
            contents = [content(&choices)]
            // An update keeps its source's name where it gets none.
            words = choices.chance(1, in: 10) ? [] : ["name=n\(number)"]
            for (word, rate) in zip(Words.pinWords.dropFirst(), habits.rates.dropFirst()) where choices.chance(rate, in: 100) {
                if let drawn = Operation.word(word, options, &choices, content) { words.append(drawn) }
            }
            if choices.chance(1, in: 4), !words.contains(where: { $0.hasPrefix("min=") || $0.hasPrefix("max=") }) { words += ["min=-1", "max=-1"] }
            if kind == .pinPath { name(&choices) }
        case .unpin, .unpinPath, .get:
            contents = [content(&choices)]
            if kind == .unpinPath { name(&choices) }
        case .pinAll, .unpinAll:
            contents = choices.permuted(Array(1...max(1, options.contents))).prefix(1 + choices.below(5)).map { $0 }
            guard kind == .pinAll else { break }
            if choices.chance(1, in: 2) { words = ["min=-1", "max=-1"] }
            for word in ["direct", "expire", "update", "alloc", "meta"] where choices.chance(1, in: word == "update" ? 40 : 10) {
                if let drawn = Operation.word(word, options, &choices, content) { words.append(drawn) }
            }
        case .add:
            let isSharded = choices.chance(habits.addsInShards ? 8 : 2, in: 9)
            // Larger than a window, where that is small.
            let often = isSharded ? 5 : options.limits.uploadWindow > 0 ? 3 : 1
            words = ["bytes=\(choices.chance(often, in: 10) ? 100_000 : choices.below(4000))", habits.addsInShards ? "chunk=4096" : "chunk=512"]
            for word in ["local", "raw", "v1", "trickle", "wrap", "no-pin", "folder"] where choices.chance(word == "raw" ? 4 : 1, in: 9) { words.append(word) }
            // What is broken off after its first shards have been pinned leaves nothing behind.
            if choices.chance(isSharded ? 3 : 1, in: 9) { words.append("break-off") }
            if isSharded { words.append("shard") }
            if choices.chance(1, in: 9) { words.append("name=a\(number)") }
            // A local add is where somebody else may have been named.
            for word in ["direct", "alloc", "expire", "meta"] where choices.chance(word == "alloc" && words.contains("local") ? 5 : 1, in: 12) {
                if let drawn = Operation.word(word, options, &choices, content) { words.append(drawn) }
            }
            if choices.chance(1, in: 2) { words += choices.chance(1, in: 2) ? ["min=-1", "max=-1"] : ["min=1", "max=1"] }
            if choices.chance(1, in: 12), !adds.isEmpty { words.append("update=c\(content(&choices))") }
            // All of it at once, or piece by piece, while other things happen.
            if choices.chance(1, in: 2) { words.append("slow=\([10, 100, 1500][choices.below(3)])") }
        case .status, .recover:
            contents = [content(&choices)]
            words = local
            hangUp(&choices)
        case .statuses:
            contents = (0..<1 + choices.below(4)).map { _ in content(&choices) }
            words = local
            hangUp(&choices)
        case .graph, .peers: hangUp(&choices)
        case .statusAll:
            words = local
            if choices.chance(1, in: 3) { words.append("filter=\(["pinned", "error", "queued", "remote", "sharded"][choices.below(5)])") }
            hangUp(&choices)
        case .list: if choices.chance(1, in: 6) { words.append("hang-up=\(choices.below(400))") }
        case .recoverAll: words = local
        case .gc:
            words = local
            hangUp(&choices)
        case .metrics: words = ["metric=\(["ping", "freespace", "pinqueue", "nonsense"][choices.below(4)])"]
        case .peerAdd, .peerRemove: words = ["whom=p\(choices.below(options.peers))"]
        default: break
        }
    }

    private static func word(_ name: String, _ options: RunOptions, _ choices: inout Choices, _ content: (inout Choices) -> Int) -> String? {
        switch name {
        case "min": return "min=\(choices.below(options.peers + 4) - 2)"
        case "max": return "max=\(choices.below(options.peers + 4) - 2)"
        case "expire": return "expire=\(choices.chance(1, in: 6) ? -60 : choices.chance(1, in: 2) ? 5 + choices.below(30) : 30 + choices.below(270))"
        case "update": return options.isEmbedded ? nil : "update=c\(content(&choices))"
        case "alloc": return "alloc=" + choices.permuted(Array(0..<options.peers)).prefix(1 + choices.below(2)).map { "p\($0)" }.joined(separator: "+")
        case "meta": 
            let pairs = (0..<1 + choices.below(3)).map { _ in "key\(choices.below(5)):value\(choices.below(3))" }
            return "meta=\(pairs.joined(separator: ","))"
        case "shard-size": return "shard-size=\(choices.below(1 << 20))"
        case "long-name": return "long-name=\(200 + choices.below(200))"
        default: return name
        }
    }
}

// MARK: Coverage

/// All that a workload could ask: a sweep tells what of it was never generated.
package enum Coverage {
    package static let single: Set<String> = Set(OperationKind.allCases.flatMap { kind in
        [kind.rawValue] + Words.known(kind).filter(isDrawn).map { "\(kind.rawValue) \($0)" }
    })
    package static let pairs: Set<String> = Set(OperationKind.allCases.flatMap { kind in
        let words = Words.known(kind).filter(isDrawn)
        return words.enumerated().flatMap { place, first in
            words[(place + 1)...].map { "\(kind.rawValue) \([first, $0].sorted().joined(separator: "+"))" }
        }
    })
    /// Scripted plans know some that are not drawn.
    private static func isDrawn(_ word: String) -> Bool { word != "types" }
}
