// A trace on a terminal: a line for each entry, with a column for each peer in which messages go across.
//
//        time  p0 p1 p2
//      12.345  │  ├──▶  received     stream 5 120 bytes
//      12.347  │  │  ◆  pinned       c3…k4f2m

import Multiformats

package struct LineStyle: Sendable {
    /// ANSI colours. Whoever calls knows whether a terminal reads.
    package var isColoured = false
    /// Columns in all; longer texts end in "…". Nil for no end.
    package var width: Int?
    /// The entries' numbers first: those that pages show, too.
    package var isNumbered = false
    package init(isColoured: Bool = false, width: Int? = nil, isNumbered: Bool = false) {
        (self.isColoured, self.width, self.isNumbered) = (isColoured, width, isNumbered)
    }
}

/// Writes lines of a trace, in the order of its entries. What is left out still counts for what the columns show.
package struct Lines {
    private var trace: Trace
    private let style: LineStyle
    private var contents: TraceContents
    private let columnWidth: Int
    private let numberWidth: Int
    private let timeWidth: Int
    private static let labelWidth = 11
    /// The entries before this one are told.
    private var next = 0
    private var isUp: [Bool]
    private var faults: [(number: Int, name: String, peers: [Int])] = []

    package init(_ trace: Trace, style: LineStyle = LineStyle(), contents: TraceContents? = nil) {
        self.trace = trace
        self.style = style
        self.contents = contents ?? TraceContents(trace)
        columnWidth = 1 + min(7, max(2, trace.peerNames.map(\.count).max() ?? 0))
        numberWidth = style.isNumbered ? "\(trace.entries.count)".count + 2 : 0
        timeWidth = max(10, Lines.time(trace.entries.last?.at ?? 0).count)
        // Who is first seen to end was there from the beginning, and so was who does neither.
        isUp = trace.peerNames.map { _ in true }
        for entry in trace.entries.reversed() {
            guard let peer = entry.peer, isUp.indices.contains(peer) else { continue }
            if entry.kind == .up { isUp[peer] = false } else if entry.kind == .down { isUp[peer] = true }
        }
    }

    /// What stands over the columns.
    package var header: String {
        let names = trace.peerNames.map { padded(String($0.prefix(columnWidth - 1)), columnWidth) }.joined()
        return paint(padded("", numberWidth) + flush("time", timeWidth) + "  " + names, .dim)
    }

    /// The line of an entry. Ask for them in their order.
    package mutating func line(of index: Int) -> String {
        while next < index { note(trace.entries[next]); next += 1 }
        let entry = trace.entries[index]
        let gutter = columns(entry)
        let number = style.isNumbered ? flush("#\(index)", numberWidth - 1) + " " : ""
        // A label that is too long takes the room it needs from the text.
        let (label, text) = (clean(label(of: entry)), clean(text(of: entry)))
        let words = text.isEmpty ? label : padded(label, Lines.labelWidth) + " " + text
        return paint(number + flush(Lines.time(entry.at), timeWidth), .dim) + "  " + gutter + " " + paint(clipped(words), colour(of: entry))
    }

    /// The line of an entry that has just happened.
    package mutating func append(_ entry: TraceEntry) -> String {
        if trace.entries.isEmpty { isUp = isUp.map { _ in false } }
        trace.entries.append(entry)
        for cid in entry.about { contents.add(cid) }
        return line(of: trace.entries.count - 1)
    }

    /// All of them, or those of a slice, each handed on as soon as it is made.
    package mutating func write(_ indices: some Sequence<Int>, to emit: (String) -> Void) {
        emit(header)
        for index in indices { emit(line(of: index)) }
    }

    // MARK: Columns

    private mutating func note(_ entry: TraceEntry) {
        switch entry.kind {
        case .up: if let peer = entry.peer, isUp.indices.contains(peer) { isUp[peer] = true }
        case .down: if let peer = entry.peer, isUp.indices.contains(peer) { isUp[peer] = false }
        case .fault(let number, let name, let peers, let others): faults.append((number, name, peers + others))
        case .healed(let number): faults.removeAll { $0.number == number }
        default: break
        }
    }

    /// One character for each place, each with its colour.
    private func columns(_ entry: TraceEntry) -> String {
        let count = trace.peerNames.count
        let isRule = entry.peer == nil
        var cells = [(character: Character, colour: Colour)](repeating: (isRule ? "─" : " ", .dim), count: count * columnWidth)
        for peer in 0..<count {
            let isStruck = faults.contains { $0.peers.contains(peer) }
            let rail: Character = isUp[peer] ? (isRule ? "┼" : isStruck ? "┊" : "│") : isRule ? "─" : " "
            cells[peer * columnWidth] = (rail, isStruck ? .yellow : .dim)
        }
        let colour = colour(of: entry)
        if let peer = entry.peer, peer >= 0, peer < count {
            if let from = sender(of: entry), from >= 0, from < count { drawArrow(from, peer, colour, &cells) } else {
                cells[peer * columnWidth] = (glyph(of: entry.kind), colour)
            }
        }
        if case .fault(_, _, let peers, let others) = entry.kind { mark(peers, "█", others, "▒", colour, &cells) }
        if case .healed(let number) = entry.kind, let fault = faults.first(where: { $0.number == number }) {
            mark(fault.peers, "░", [], " ", colour, &cells)
        }
        return paint(cells)
    }

    private func mark(
        _ peers: [Int], _ first: Character, _ others: [Int], _ second: Character, _ colour: Colour,
        _ cells: inout [(character: Character, colour: Colour)]
    ) {
        for peer in peers where isUp.indices.contains(peer) { cells[peer * columnWidth] = (first, colour) }
        for peer in others where isUp.indices.contains(peer) { cells[peer * columnWidth] = (second, colour) }
    }

    private func drawArrow(_ from: Int, _ to: Int, _ colour: Colour, _ cells: inout [(character: Character, colour: Colour)]) {
        let (start, end) = (from * columnWidth, to * columnWidth)
        for place in min(start, end) + 1..<max(start, end) {
            let isRail = place % columnWidth == 0 && isUp[place / columnWidth]
            cells[place] = (isRail ? "┼" : "─", colour)
        }
        cells[start] = (from < to ? "├" : "┤", colour)
        cells[end] = (from < to ? "▶" : "◀", colour)
    }

    /// Who sent what is received here.
    private func sender(of entry: TraceEntry) -> Int? {
        guard case .input = entry.kind, let cause = entry.cause, let from = trace.entries[cause].peer, from != entry.peer else {
            return nil
        }
        return from
    }

    private func glyph(of kind: TraceEntry.Kind) -> Character {
        switch kind {
        case .input("wake"): "○"
        case .input: "●"
        case .effect: "◦"
        case .log: "·"
        case .up: "▲"
        case .down: "✕"
        case .fault: "█"
        case .healed: "░"
        case .pin: "◆"
        case .failure: "✗"
        case .phase: "─"
        }
    }

    // MARK: Words

    private func label(of entry: TraceEntry) -> String {
        switch entry.kind {
        case .input(let label): label
        case .effect(let label): label
        case .log(let level): level
        case .up: "up"
        case .down: "down"
        case .fault(_, let name, _, _): name
        case .healed(let number): faults.first { $0.number == number }.map { "\($0.name) ends" } ?? "healed"
        case .pin(_, let state): state
        case .failure(let oracle): "FAILED \(oracle)"
        case .phase(let name): name
        }
    }

    /// The text with its content in short; where it does not name what a pin's mark is about, that comes first.
    private func text(of entry: TraceEntry) -> String {
        var text = entry.text
        for cid in entry.about {
            guard let number = contents.number(of: cid) else { continue }
            text.replace(contents.texts[number - 1], with: contents.short(cid))
        }
        guard case .pin(let cid, _) = entry.kind, case let name = contents.short(cid), !text.contains(name) else { return text }
        return text.isEmpty ? name : "\(name) \(text)"
    }

    /// Line ends and what else would move a terminal's cursor, made visible.
    private func clean(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        return text.unicodeScalars.reduce(into: "") { out, scalar in
            switch scalar {
            case "\n": out += "\\n"
            case "\t": out += " "
            case _ where isControl(scalar): out += "\\u{\(String(scalar.value, radix: 16))}"
            default: out.unicodeScalars.append(scalar)
            }
        }
    }
    private func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .format: true
        default: false
        }
    }

    private func clipped(_ text: String) -> String {
        guard let width = style.width, case let room = max(1, width - textStart), text.count > room else { return text }
        return text.prefix(room - 1) + "…"
    }
    private var textStart: Int { numberWidth + timeWidth + 2 + trace.peerNames.count * columnWidth + 1 }

    /// Seconds with milliseconds, as the simulator's log says them.
    static func time(_ nanoseconds: Int64) -> String {
        let milliseconds = nanoseconds / 1_000_000
        return "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst())"
    }

    private func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }
    private func flush(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }

    // MARK: Colours

    private enum Colour: String {
        case plain = "0", bold = "1", dim = "2", red = "31", green = "32", yellow = "33", magenta = "35", cyan = "36"
        case failed = "1;31"
    }

    private func colour(of entry: TraceEntry) -> Colour {
        switch entry.kind {
        case .input("wake"): .dim
        case .input: sender(of: entry) == nil ? .plain : .cyan
        case .effect: .plain
        case .log("debug"): .dim
        case .log("warning"), .log("warn"): .yellow
        case .log("error"): .red
        case .log: .plain
        case .up, .healed: .green
        case .down: .red
        case .fault: .yellow
        case .pin(_, "pinned"): .green
        case .pin(_, "failed"): .red
        case .pin: .magenta
        case .failure: .failed
        case .phase: .bold
        }
    }

    private func paint(_ text: String, _ colour: Colour) -> String {
        style.isColoured && colour != .plain && !text.isEmpty ? "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m" : text
    }
    /// As few escapes as will do.
    private func paint(_ cells: [(character: Character, colour: Colour)]) -> String {
        var (out, run, colour) = ("", "", Colour.plain)
        for cell in cells {
            if cell.colour != colour { out += paint(run, colour); run = ""; colour = cell.colour }
            run.append(cell.character)
        }
        return out + paint(run, colour)
    }
}

extension Trace {
    /// Why content fared as it did: the slice about it as lines, below one that says what it is. `name` is what `TraceContents.find` takes.
    package func lines(why name: String, style: LineStyle = LineStyle(), throughTimers: Bool = true) throws(TraceContentError) -> [String] {
        let contents = TraceContents(self)
        let cid = try contents.find(name)
        let slice = slice(about: cid, throughTimers: throughTimers)
        let count = slice.count { entries[$0].isAbout(cid) }
        var out = ["\(contents.short(cid)) is \(cid): \(count) entries about it, \(slice.count - count) more that led to them, of \(entries.count)"]
        var lines = Lines(self, style: style, contents: contents)
        lines.write(slice) { out.append($0) }
        return out
    }

    /// All entries, or those given, as lines.
    package func lines(_ indices: [Int]? = nil, style: LineStyle = LineStyle()) -> [String] {
        var lines = Lines(self, style: style)
        var out: [String] = []
        lines.write(indices ?? Array(entries.indices)) { out.append($0) }
        return out
    }
}
