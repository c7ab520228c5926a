// Frames of somebody who means it ill, and multistream messages likewise.

import Kernel
import Testing
import Transport

private func frames(_ headers: YamuxHeader...) -> Bytes {
    var out: Bytes = []
    for header in headers { header.append(to: &out) }
    return out
}

@Suite struct YamuxTests {
    private func failure(_ bytes: Bytes, after setUp: (inout Yamux) -> Void = { _ in }) -> TransportError? {
        var muxer = Yamux(isClient: false)
        setUp(&muxer)
        var events: [Yamux.Event] = []
        do { try muxer.receive(bytes, events: &events) } catch { return error }
        return nil
    }

    @Test(arguments: [
        ("version", [1] + Bytes(repeating: 0, count: 11)),
        ("type", [0, 4] + Bytes(repeating: 0, count: 10)),
        ("twice", frames(YamuxHeader(.windowUpdate, .syn, stream: 1), YamuxHeader(.windowUpdate, .syn, stream: 1))),
        ("a number of this side", frames(YamuxHeader(.windowUpdate, .syn, stream: 2))),
        ("stream 0", frames(YamuxHeader(.data, .syn, stream: 0))),
        ("a ping on stream", frames(YamuxHeader(.ping, .syn, stream: 1))),
        ("a go-away on stream", frames(YamuxHeader(.goAway, stream: 1))),
        ("to receive", frames(YamuxHeader(.data, .syn, stream: 1, length: 262_145))),
        ("credit", frames(YamuxHeader(.windowUpdate, .syn, stream: 1, length: .max))),
    ])
    func violationsEndTheConnection(_ word: String, _ bytes: Bytes) {
        let failure = failure(bytes)
        #expect(failure?.goAway == 1)
        #expect(failure?.reason.contains(word) == true, "\(failure?.reason ?? "accepted")")
    }

    /// YMX-03, YMX-08, YMX-09.
    @Test func flagsRideOnData() throws {
        var muxer = Yamux(isClient: false)
        var events: [Yamux.Event] = []
        try muxer.receive(
            frames(YamuxHeader(.data, [.syn, .fin], stream: 5, length: 2)) + [8, 9]
                + frames(YamuxHeader(.data, [.syn, .rst], stream: 3)) + frames(YamuxHeader(.data, stream: 77, length: 3))
                + [1, 2, 3] + frames(YamuxHeader(.ping, .syn, stream: 0, length: 6)), events: &events)
        #expect(events == [
            .incoming(5), .received(5, [8, 9]), .remoteClosed(5), .incoming(3), .reset(3, code: 0),
        ])
        let answers = frames(
            YamuxHeader(.windowUpdate, .ack, stream: 5), YamuxHeader(.windowUpdate, .ack, stream: 3),
            YamuxHeader(.ping, .ack, stream: 0, length: 6))
        #expect(muxer.output == answers)
    }

    /// YMX-05: nothing beyond the credit, and on with more of it.
    @Test func sendingStopsWhereTheCreditEnds() throws {
        var muxer = Yamux(isClient: true)
        var events: [Yamux.Event] = []
        let first = muxer.open()
        let id = try #require(first)
        muxer.send(id, Bytes(repeating: 1, count: 300_000))
        muxer.closeWrite(id)
        func sent() throws -> (data: Int, ends: Bool) {
            muxer.pump(budget: 1 << 20, events: &events)
            var rest = muxer.output[...]
            muxer.output = []
            var total = 0, ends = false
            while !rest.isEmpty {
                let header = try YamuxHeader(rest.prefix(12))
                let count = header.kind == .data ? Int(header.length) : 0
                total += count
                ends = ends || header.flags.contains(.fin)
                rest = rest.dropFirst(12 + count)
            }
            return (total, ends)
        }
        func expect(_ wanted: (Int, Bool)) throws {
            let found = try sent()
            #expect(found == wanted)
        }
        try expect((262_144, false))
        try expect((0, false))
        try muxer.receive(frames(YamuxHeader(.windowUpdate, .ack, stream: id, length: 37_855)), events: &events)
        try expect((37_855, false))
        #expect(events.isEmpty)
        try muxer.receive(frames(YamuxHeader(.windowUpdate, stream: id, length: 1)), events: &events)
        try expect((1, true))
        #expect(events == [.emptied(id)])
    }

    @Test func creditIsGivenBackInHalves() throws {
        var muxer = Yamux(isClient: false)
        var events: [Yamux.Event] = []
        try muxer.receive(frames(YamuxHeader(.windowUpdate, .syn, stream: 1)), events: &events)
        muxer.output = []
        try muxer.receive(
            frames(YamuxHeader(.data, stream: 1, length: 131_071)) + Bytes(repeating: 0, count: 131_071), events: &events)
        #expect(muxer.output.isEmpty)
        try muxer.receive(frames(YamuxHeader(.data, stream: 1, length: 1)) + [0], events: &events)
        #expect(muxer.output == frames(YamuxHeader(.windowUpdate, stream: 1, length: 131_072)))
    }

    /// A window that was used up is followed by one of twice its size, as far as go-yamux goes.
    @Test func theWindowGrowsWithTheTransfer() throws {
        var muxer = Yamux(isClient: false)
        var events: [Yamux.Event] = []
        try muxer.receive(frames(YamuxHeader(.windowUpdate, .syn, stream: 1)), events: &events)
        var credit = 256 << 10, largest = 0
        let piece = Bytes(repeating: 0, count: 1 << 16)
        for _ in 0..<1200 {
            muxer.output = []
            try muxer.receive(frames(YamuxHeader(.data, stream: 1, length: 1 << 16)) + piece, events: &events)
            events = []
            credit -= piece.count
            if !muxer.output.isEmpty { credit += Int(try YamuxHeader(muxer.output[...]).length) }
            largest = max(largest, credit)
            #expect(credit >= 128 << 10)
        }
        #expect(largest == 16 << 20)
        let beyond = Bytes(repeating: 0, count: credit + 1)
        #expect(throws: TransportError.self) {
            try muxer.receive(frames(YamuxHeader(.data, stream: 1, length: UInt32(beyond.count))) + beyond, events: &events)
        }
    }

    @Test func theWindowGrowsNoFurtherThanTheSetting() throws {
        var settings = ConnectionSettings()
        settings.receiveWindowLimit = 1 << 20
        var muxer = Yamux(isClient: false, settings: settings)
        var events: [Yamux.Event] = []
        try muxer.receive(frames(YamuxHeader(.windowUpdate, .syn, stream: 1)), events: &events)
        var credit = 256 << 10, largest = 0
        for _ in 0..<200 {
            muxer.output = []
            try muxer.receive(
                frames(YamuxHeader(.data, stream: 1, length: 1 << 16)) + Bytes(repeating: 0, count: 1 << 16), events: &events)
            credit -= 1 << 16
            if !muxer.output.isEmpty { credit += Int(try YamuxHeader(muxer.output[...]).length) }
            largest = max(largest, credit)
        }
        #expect(largest == 1 << 20)
    }

    /// What the other side has credit for may come; more it gets when the stream is let go, and all of it at once.
    @Test func aHeldStreamGetsNoCredit() throws {
        var muxer = Yamux(isClient: false)
        var events: [Yamux.Event] = []
        try muxer.receive(
            frames(YamuxHeader(.windowUpdate, .syn, stream: 1), YamuxHeader(.windowUpdate, .syn, stream: 3)), events: &events)
        muxer.output = []
        muxer.hold(1, true)
        let half = frames(YamuxHeader(.data, stream: 1, length: 131_072)) + Bytes(repeating: 0, count: 131_072)
        try muxer.receive(half, events: &events)
        try muxer.receive(half, events: &events)
        #expect(muxer.output.isEmpty)
        try muxer.receive(
            frames(YamuxHeader(.data, stream: 3, length: 131_072)) + Bytes(repeating: 0, count: 131_072), events: &events)
        #expect(muxer.output == frames(YamuxHeader(.windowUpdate, stream: 3, length: 131_072)))
        muxer.output = []
        muxer.hold(1, false)
        #expect(muxer.output == frames(YamuxHeader(.windowUpdate, stream: 1, length: 262_144)))
        muxer.output = []
        muxer.hold(1, true)
        muxer.hold(1, false)
        #expect(muxer.output.isEmpty, "given once")
        muxer.hold(1, true)
        #expect(throws: TransportError.self) {
            for _ in 0..<3 { try muxer.receive(half, events: &events) }
        }
    }

    @Test func randomFramesNeverStopTheProcess() {
        var choices = Choices(seed: 3)
        for _ in 0..<2000 {
            var muxer = Yamux(isClient: choices.chance(1, in: 2))
            var events: [Yamux.Event] = []
            do {
                for _ in 0..<40 {
                    if choices.chance(1, in: 4), let id = muxer.open() { muxer.send(id, [1, 2, 3]) }
                    var header: Bytes = [0, UInt8(choices.below(4)), 0, UInt8(choices.below(16)), 0, 0, 0, UInt8(choices.below(6))]
                    header += [0, 0, 0, UInt8(choices.below(20))]
                    try muxer.receive(header + (header[1] == 0 ? choices.bytes(Int(header[11])) : []), events: &events)
                    muxer.pump(budget: 1000, events: &events)
                    if choices.chance(1, in: 5) { muxer.reset(UInt32(choices.below(6))) }
                    if choices.chance(1, in: 5) { muxer.closeWrite(UInt32(choices.below(6))) }
                    if choices.chance(1, in: 5) { muxer.hold(UInt32(choices.below(6)), choices.chance(1, in: 2)) }
                }
            } catch {}
        }
    }
}

@Suite struct MultistreamTests {
    private func answers(_ bytes: Bytes, accepting: [String] = ["/a", "/b"]) throws -> (Bytes, Multistream.Outcome?) {
        var whole = Multistream(accepting: accepting)
        var reply: Bytes = []
        let outcome = try whole.receive(bytes[...], reply: &reply)
        for cut in 0..<bytes.count {  // any cut gives the same, but for what comes after the agreement
            var parts = Multistream(accepting: accepting)
            var other: Bytes = []
            var result = try parts.receive(bytes[..<cut], reply: &other)
            if result == nil { result = try parts.receive(bytes[cut...], reply: &other) }
            #expect(other == reply, "cut at \(cut)")
        }
        return (reply, outcome)
    }

    @Test func proposalsAreAnsweredUntilOneIsKnown() throws {
        let bytes = Multistream.header + Multistream.token("/x") + Multistream.token("ls") + Multistream.token("/b") + [1, 2]
        let (reply, outcome) = try answers(bytes)
        #expect(reply == Multistream.token("na") + Multistream.token("na") + Multistream.token("/b"))
        #expect(outcome == .agreed("/b", rest: [1, 2]))
    }

    @Test func aDiallerGoesThroughItsList() throws {
        var dialler = Multistream(proposing: ["/x", "/y"])
        #expect(dialler.opening == Multistream.header + Multistream.token("/x"))
        var reply: Bytes = []
        let first = try dialler.receive((Multistream.header + Multistream.token("na"))[...], reply: &reply)
        #expect(first == nil)
        #expect(reply == Multistream.token("/y"))
        let second = try dialler.receive(Multistream.token("na")[...], reply: &reply)
        #expect(second == .refused)
    }

    @Test func badMessagesAreNamed() {
        for (bytes, word) in [
            ([0x13, 0x2e], "speak"), (Multistream.header + [0x81, 0x08], "1025 bytes"), (Multistream.header + [0], "newline"),
            (Multistream.header + [0x02, 0x61, 0x62], "newline"), (Multistream.header + [0x80, 0x00], "length"),
        ] as [(Bytes, String)] {
            var listener = Multistream(accepting: ["/a"])
            var reply: Bytes = []
            let error = #expect(throws: TransportError.self) { _ = try listener.receive(bytes[...], reply: &reply) }
            #expect(error?.reason.contains(word) == true, "\(error?.reason ?? "")")
        }
        var dialler = Multistream(proposing: ["/x"])
        var reply: Bytes = []
        #expect(throws: TransportError.self) {
            _ = try dialler.receive((Multistream.header + Multistream.token("/z"))[...], reply: &reply)
        }
        var patient = Multistream(accepting: ["/a"])
        #expect(throws: TransportError.self) {
            for _ in 0..<100 { _ = try patient.receive((Multistream.header + Multistream.token("/z"))[...], reply: &reply) }
        }
    }
}
