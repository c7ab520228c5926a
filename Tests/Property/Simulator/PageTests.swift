// The page of a trace: all of it is in there, nothing else is, and nothing of it is taken for HTML.

import Encoding
import Foundation
import Kernel
import Multiformats
import SimNet
import Testing

@Suite struct PageTests {
    @Test func aPageHoldsEverythingOfItsTrace() throws {
        for seed in 1...40 as ClosedRange<UInt64> {
            let trace = MadeUp.anything(seed: seed)
            let read = try decoded(trace.page())
            #expect(read.title == trace.title, "seed \(seed)")
            #expect(read.peerNames == trace.peerNames, "seed \(seed)")
            #expect(read.facts.map { "\($0)" } == trace.facts.map { "\($0)" }, "seed \(seed)")
            #expect(read.oracles.map { "\($0)" } == trace.oracles.map { "\($0)" }, "seed \(seed)")
            #expect(read.entries.count == trace.entries.count, "seed \(seed)")
            for (index, (entry, expected)) in zip(read.entries, trace.entries).enumerated() {
                #expect(entry == withItsPin(expected), "seed \(seed), entry \(index)")
            }
        }
    }

    @Test func whateverARunSaysThePageIsWellFormed() throws {
        for seed in 1...40 as ClosedRange<UInt64> {
            let page = MadeUp.anything(seed: seed).page()
            let elements = try elements(of: page)
            let empty = try self.elements(of: Trace(title: "", peerNames: []).page())
            #expect(elements == empty, "seed \(seed): what a run says has become elements")
        }
    }

    @Test func whatARunSaysCannotEndTheElementItStandsIn() throws {
        for text in MadeUp.texts {
            var trace = Trace(title: text, facts: [(text, text)], peerNames: [text], oracles: [(text, text, text)])
            trace.entries = [TraceEntry(at: 0, peer: 0, cause: nil, kind: .phase(text), text: text)]
            let data = try data(of: trace.page())
            #expect(!data.contains("<") && !data.contains(">") && !data.contains("&"), "\(text)")
            #expect(data.unicodeScalars.allSatisfy { $0.value >= 0x20 || $0 == "\n" }, "\(text)")
        }
    }

    @Test func aPageNeedsNothingElse() {
        let page = Trace(title: "none", peerNames: []).page()
        for word in ["http:", "https:", "//cdn", "@import", "url(", "src=", "href=", "import(", "fetch(", "innerHTML", "eval("] {
            #expect(!page.contains(word), "\(word)")
        }
    }

    @Test func piecesAreThePage() {
        let trace = MadeUp.anything(seed: 3)
        var pieces: Bytes = []
        trace.writePage { pieces += $0 }
        #expect(String(decoding: pieces, as: UTF8.self) == trace.page())
    }

    /// To look at one: `TRACE_PAGE=/tmp/page.html swift test --filter PageTests`. With `TRACE_SEED`, anything may stand in it.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["TRACE_PAGE"] != nil))
    func aPageToLookAt() throws {
        let environment = ProcessInfo.processInfo.environment
        let path = try #require(environment["TRACE_PAGE"])
        let count = environment["TRACE_ENTRIES"].flatMap { Int($0) } ?? 50_000
        let trace = environment["TRACE_SEED"].flatMap { UInt64($0) }.map { MadeUp.anything(seed: $0, entries: count) }
            ?? MadeUpCluster.run(seed: 1, peers: 5, entries: count)
        try Data(trace.page().utf8).write(to: URL(fileURLWithPath: path))
        try Data(trace.lines(style: LineStyle(isColoured: true, width: 120)).joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: path + ".txt"))
    }

    // MARK: Reading a page

    /// A pin's content is told as the first that its entry is about.
    private func withItsPin(_ entry: TraceEntry) -> TraceEntry {
        guard case .pin(let cid, _) = entry.kind else { return entry }
        var entry = entry
        entry.cids = [cid] + entry.cids.filter { $0 != cid }
        return entry
    }

    private func data(of page: String) throws -> String {
        let start = try #require(page.range(of: "<script type=\"application/json\" id=\"trace\">"))
        let end = try #require(page.range(of: "</script>", range: start.upperBound..<page.endIndex))
        return String(page[start.upperBound..<end.lowerBound])
    }

    /// What the page's script makes of its data.
    private func decoded(_ page: String) throws -> Trace {
        let json = try JSONReader.parse(try data(of: page).utf8)
        func strings(_ value: JSON?) throws -> [String] { try #require(value?.elements).map { try #require($0.text) } }
        func integers(_ name: String) throws -> [Int] { try #require(json[name]?.elements).map { try #require($0.integer()) } }
        var trace = Trace(title: try #require(json["title"]?.text), peerNames: try strings(json["peers"]))
        trace.facts = try #require(json["facts"]?.elements).map { fact in (name: try strings(fact)[0], value: try strings(fact)[1]) }
        trace.oracles = try #require(json["oracles"]?.elements).map { oracle in
            let parts = try #require(oracle.elements)
            return (id: try #require(parts[0].text), statement: try #require(parts[1].text), failure: parts[2].text)
        }
        let cids = try strings(json["cids"]).map { try CID(text: $0) }
        let texts = try strings(json["texts"])
        let kinds = try #require(json["kinds"]?.elements).map { try #require($0.elements) }
        let about = try #require(json["about"]?.elements)
        var at: Int64 = 0
        let (peer, cause, kind, text) = (try integers("peer"), try integers("cause"), try integers("kind"), try integers("text"))
        for (index, delay) in try integers("at").enumerated() {
            at += Int64(delay)
            let numbers: [Int] = try about[index].elements?.map { try #require($0.integer()) } ?? [try #require(about[index].integer())].filter { $0 != 0 }
            let content = numbers.map { cids[$0 - 1] }
            trace.entries.append(TraceEntry(
                at: at, peer: peer[index] < 0 ? nil : peer[index], cause: cause[index] == 0 ? nil : index - cause[index],
                kind: try read(kinds[kind[index]], content), text: texts[text[index]], cids: content))
        }
        return trace
    }
    private func read(_ kind: [JSON], _ about: [CID]) throws -> TraceEntry.Kind {
        let label = try #require(kind[1].text)
        func number() throws -> Int { try #require(kind[2].integer()) }
        func peers(_ place: Int) throws -> [Int] { try #require(kind[place].elements).map { try #require($0.integer()) } }
        switch kind[0].text {
        case "i": return .input(label: label)
        case "e": return .effect(label: label)
        case "l": return .log(level: label)
        case "u": return .up
        case "d": return .down
        case "f": return .fault(try number(), name: label, peers: try peers(3), others: try peers(4))
        case "h": return .healed(try number())
        case "p": return .pin(try #require(about.first), state: label)
        case "x": return .failure(oracle: label)
        default: return .phase(label)
        }
    }

    /// The names of the elements in order, each ended where it must be.
    private func elements(of page: String) throws -> [String] {
        var names: [String] = [], open: [String] = []
        var rest = page[...]
        while let start = rest.firstIndex(of: "<") {
            let end = try #require(rest[start...].firstIndex(of: ">"), "a tag that does not end")
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            if tag.hasPrefix("!DOCTYPE") { continue }
            if tag.hasPrefix("/") {
                #expect(open.popLast() == String(tag.dropFirst()))
                continue
            }
            let name = String(tag.prefix { $0.isLetter || $0.isNumber })
            #expect(!name.isEmpty, "a bare < before \(rest.prefix(40))")
            names.append(name)
            if tag.hasSuffix("/") { continue }
            open.append(name)
            // Text that is no HTML: it goes on to the element's own end.
            if ["script", "style", "title"].contains(name) {
                let end = try #require(rest.range(of: "</\(name)", options: .caseInsensitive))
                rest = rest[end.lowerBound...]
            }
        }
        #expect(open.isEmpty)
        return names
    }
}
