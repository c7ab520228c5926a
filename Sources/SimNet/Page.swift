// A trace as one HTML page that needs nothing else: open it in a browser and look around.
//
// Whatever comes from a run stands in one block of JSON, whose text can end no element, and the scripts show it as text only.
// The files in Page are the page's looks and behaviour; `page.js` says what is in which.

import Encoding
import Kernel

extension Trace {
    /// The page, whole. About 50 bytes for each entry, and its text once.
    package func page() -> String {
        var out: Bytes = []
        writePage { out.append(contentsOf: $0) }
        return String(decoding: out, as: UTF8.self)
    }

    /// The page in pieces, in order.
    package func writePage(to emit: (Bytes) -> Void) {
        emit(Bytes("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n".utf8))
        // Nothing is fetched, whatever stands in the page.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        emit(Bytes("<meta http-equiv=\"Content-Security-Policy\" content=\"\(policy)\"/>\n".utf8))
        emit(Bytes("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>\(Trace.escaped(title))</title>\n<style>\n".utf8))
        emit(PackageResources.page_css)
        emit(Bytes("</style>\n</head>\n".utf8))
        emit(PackageResources.body_html)
        emit(Bytes("<script type=\"application/json\" id=\"trace\">".utf8))
        PageData(self).write(to: emit)
        emit(Bytes("</script>\n<script>\n".utf8))
        for script in [PackageResources.trace_js, PackageResources.diagram_js, PackageResources.events_js, PackageResources.page_js] { emit(script) }
        emit(Bytes("</script>\n</html>\n".utf8))
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { out, character in
            switch character {
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "&": out += "&amp;"
            default: out.append(character)
            }
        }
    }
}

/// A trace in columns, as numbers where it can: what a browser reads in a moment.
private struct PageData {
    private let trace: Trace
    private let contents: TraceContents
    /// Kinds as JSON.
    private var kinds = Table()
    private var texts = Table()
    private var columns: [(name: String, values: Bytes)] = []

    init(_ trace: Trace) {
        self.trace = trace
        contents = TraceContents(trace)
        var (at, peer, cause, kind, text, about) = (Bytes(), Bytes(), Bytes(), Bytes(), Bytes(), Bytes())
        var last: Int64 = 0
        for (index, entry) in trace.entries.enumerated() {
            append(entry.at &- last, to: &at)
            last = entry.at
            append(entry.peer ?? -1, to: &peer)
            append(entry.cause.map { index - $0 } ?? 0, to: &cause)
            append(kinds.number(of: JSON.array(PageData.described(entry.kind)).encoded()), to: &kind)
            append(texts.number(of: entry.text), to: &text)
            append(entry.about.compactMap(contents.number), to: &about)
        }
        columns = [("at", at), ("peer", peer), ("cause", cause), ("kind", kind), ("text", text), ("about", about)]
    }

    /// A letter, a label, and what else a kind says. A pin's mark is about the first content of its entry.
    private static func described(_ kind: TraceEntry.Kind) -> [JSON] {
        switch kind {
        case .input(let label): [.string("i"), .string(label)]
        case .effect(let label): [.string("e"), .string(label)]
        case .log(let level): [.string("l"), .string(level)]
        case .up: [.string("u"), .string("up")]
        case .down: [.string("d"), .string("down")]
        case .fault(let number, let name, let peers, let others):
            [.string("f"), .string(name), .int(number), .array(peers.map(JSON.int)), .array(others.map(JSON.int))]
        case .healed(let number): [.string("h"), .string("healed"), .int(number)]
        case .pin(_, let state): [.string("p"), .string(state)]
        case .failure(let oracle): [.string("x"), .string(oracle)]
        case .phase(let name): [.string("s"), .string(name)]
        }
    }

    /// Times and causes are told as the distance from the entry before, or to the cause; 0 is no cause. What an entry is
    /// about is 0, a number of content, or an array of them.
    func write(to emit: (Bytes) -> Void) {
        let oracles = trace.oracles.map { JSON.array([.string($0.id), .string($0.statement), $0.failure.map(JSON.string) ?? .null]) }
        let head = JSON.object([
            "title": .string(trace.title), "facts": .array(trace.facts.map { .strings([$0.name, $0.value]) }),
            "peers": .strings(trace.peerNames), "oracles": .array(oracles), "cids": .strings(contents.texts),
            "texts": .strings(texts.all),
        ])
        var bytes: Bytes = []
        head.write(to: &bytes)
        bytes.removeLast()
        emit(bytes + ",\n\"kinds\":[\(kinds.all.joined(separator: ","))]".utf8)
        for column in columns { emit(Bytes(",\n\"\(column.name)\":[".utf8) + column.values + [UInt8(ascii: "]")]) }
        emit([UInt8(ascii: "}")])
    }

    private func append(_ value: some BinaryInteger, to column: inout Bytes) {
        if !column.isEmpty { column.append(UInt8(ascii: ",")) }
        column.append(contentsOf: String(value).utf8)
    }
    private func append(_ values: [Int], to column: inout Bytes) {
        if values.count < 2 { return append(values.first ?? 0, to: &column) }
        if !column.isEmpty { column.append(UInt8(ascii: ",")) }
        JSON.array(values.map(JSON.int)).write(to: &column)
    }
}

/// Texts numbered as they come, each once.
private struct Table {
    private(set) var all: [String] = []
    private var numbers: [String: Int] = [:]

    mutating func number(of text: String) -> Int {
        if let number = numbers[text] { return number }
        numbers[text] = all.count
        all.append(text)
        return all.count - 1
    }
}
