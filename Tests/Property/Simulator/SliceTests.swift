// Causal slices: all that bears on a content, and nothing else.

import Kernel
import Multiformats
import SimNet
import Testing

@Suite struct SliceTests {
    /// p0 is asked for a pin, tells p1 of it, and goes on with other things.
    @Test func aSliceIsWhatAContentIsAboutAndHowThatCameAbout() {
        var trace = Trace(title: "a pin", peerNames: ["p0", "p1"])
        func add(_ peer: Int, _ cause: Int?, _ kind: TraceEntry.Kind, _ cids: [CID] = []) {
            trace.entries.append(TraceEntry(at: Int64(trace.entries.count), peer: peer, cause: cause, kind: kind, text: "", cids: cids))
        }
        add(0, nil, .input(label: "start"))
        add(0, 0, .input(label: "wake"))
        add(0, nil, .input(label: "client"), [content(1)])
        add(0, 2, .input(label: "synced"))
        add(1, 1, .input(label: "received"))
        add(1, 3, .input(label: "received"))
        add(1, 5, .pin(content(1), state: "merged"))
        add(1, 5, .pin(content(2), state: "merged"))
        add(0, 1, .input(label: "wake"))
        #expect(trace.slice(about: content(1)) == [2, 3, 5, 6])
        #expect(trace.slice(about: content(2)) == [2, 3, 5, 7])
        #expect(trace.slice(about: content(3)).isEmpty)
        #expect(trace.causes(of: 6) == [2, 3, 5, 6])
        #expect(trace.causes(of: 4) == [0, 1, 4])
        #expect(trace.causes(of: 4, throughTimers: false) == [1, 4])
    }

    @Test func slicesAreClosedAndHoldNoMoreThanTheyMust() {
        for seed in 1...60 as ClosedRange<UInt64> {
            let trace = MadeUp.anything(seed: seed, entries: 300)
            for number in 0..<8 {
                let cid = content(number)
                let slice = trace.slice(about: cid)
                let inSlice = Set(slice)
                let about = trace.entries.indices.filter { isAbout(trace.entries[$0], cid) }
                #expect(slice == slice.sorted(), "seed \(seed)")
                #expect(inSlice.isSuperset(of: about), "seed \(seed)")
                #expect(slice.last == about.last, "seed \(seed): nothing comes after the last that is about it")
                for index in slice {
                    if let cause = trace.entries[index].cause { #expect(inSlice.contains(cause), "seed \(seed): the cause of \(index)") }
                    let isNeeded = isAbout(trace.entries[index], cid) || slice.contains { trace.entries[$0].cause == index }
                    #expect(isNeeded, "seed \(seed): \(index) has no bearing")
                }
                #expect(inSlice.isSuperset(of: trace.slice(about: cid, throughTimers: false)), "seed \(seed)")
            }
        }
    }

    @Test func aChainGoesBackToWhereItBegan() {
        let trace = MadeUp.anything(seed: 9)
        for index in trace.entries.indices {
            let chain = trace.causes(of: index)
            #expect(chain.last == index)
            #expect(trace.entries[chain[0]].cause == nil)
            for (cause, effect) in zip(chain, chain.dropFirst()) { #expect(trace.entries[effect].cause == cause) }
        }
    }

    private func isAbout(_ entry: TraceEntry, _ cid: CID) -> Bool {
        if case .pin(cid, _) = entry.kind { return true }
        return entry.cids.contains(cid)
    }
}

@Suite struct TraceContentsTests {
    private let contents: TraceContents = {
        var trace = Trace(title: "", peerNames: ["p0"])
        for number in 0..<40 {
            trace.entries.append(TraceEntry(at: 0, peer: 0, cause: nil, kind: .log(level: "info"), text: "", cids: [content(number % 20)]))
        }
        return TraceContents(trace)
    }()

    @Test func contentIsNumberedAsItComesUp() {
        #expect(contents.all == (0..<20).map(content))
        #expect(contents.number(of: content(0)) == 1)
        #expect(contents.number(of: content(77)) == nil)
        #expect(contents.short(content(4)) == "c5…\("\(content(4))".suffix(5))")
    }

    @Test func contentIsFoundByAnyOfItsNames() throws {
        for number in 0..<20 {
            let (cid, text) = (content(number), "\(content(number))")
            let names = [
                text, "\(number + 1)", "c\(number + 1)", contents.short(cid), "…" + text.suffix(5), String(text.suffix(8)),
                String(text.prefix(30)), cid.text(in: .base58btc),
            ]
            for name in names {
                #expect(try contents.find(name) == cid, "\(name)")
            }
        }
    }

    @Test func whatNamesNothingOrSeveralIsRefused() {
        #expect(throws: TraceContentError.unknown("c21", of: 20)) { try contents.find("c21") }
        #expect(throws: TraceContentError.unknown("", of: 20)) { try contents.find("") }
        #expect(throws: TraceContentError.unknown("\(content(20))", of: 20)) { try contents.find("\(content(20))") }
        #expect(throws: TraceContentError.unknown("c1…zzzzz", of: 20)) { try contents.find("c1…zzzzz") }
        #expect(throws: TraceContentError.ambiguous("bafk", contents.all.map(contents.short))) { try contents.find("bafk") }
        #expect("\(TraceContentError.unknown("c21", of: 20))" == "no content is called c21: give a CID, its beginning, its end, or a number from c1 to c20")
        #expect("\(TraceContentError.ambiguous("bafk", contents.all.map(contents.short)))".hasSuffix("or 12 more: give more of it, or its number"))
        #expect("\(TraceContentError.unknown("x", of: 0))" == "no entry is about x, or about any content at all")
    }
}
