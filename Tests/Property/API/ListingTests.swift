// Listings through the API: one chunk under way at a time, and every pin a line.

import API
import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

@Suite struct ListingTests {
    private func pins(_ count: Int, _ choices: inout Choices) -> [Pin] { (0..<count).map { _ in choices.randomPin() } }
    private func lines(_ pins: [Pin]) -> String {
        pins.compactMap { pin in pin.protobuf.withUnsafeBytes { Pin(stored: $0) } }.map { $0.json.encoded() + "\n" }.joined()
    }

    @Test func everyChunkWaitsUntilTheOneBeforeHasLeft() {
        var choices = Choices(seed: 1)
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations")
        var all: [Pin] = []
        for round in 0..<5 {
            // What drains before the chunk is written is not the chunk.
            harness.feed(id, .drained)
            #expect(harness.inputs == [ClientInput](repeating: .more, count: round))
            all += pins(30, &choices)
            harness.reply(.item(.pins(stored(all.suffix(30)))))
            #expect(harness.answers[id]?.text == lines(all), "\(round)")
            #expect(harness.inputs.count == round, "nothing is asked for while a chunk is under way")
            harness.feed(id, .drained)
            #expect(harness.inputs.count == round + 1)
        }
        harness.reply(.end)
        let answer = harness.answer(id)
        #expect(answer.status == 200 && answer.trailers.all("X-Stream-Error") == [""])
        harness.feed(id, .drained)
        #expect(harness.inputs.count == 5 && harness.api.openCount == 0)
    }

    /// Nothing drains where nothing was written.
    @Test func anEmptyChunkIsFollowedAtOnce() {
        var choices = Choices(seed: 2)
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations?filter=shard-pin")
        harness.reply(.item(.pins(StoredPins())))
        harness.reply(.item(.pins(StoredPins())))
        #expect(harness.inputs == [.more, .more] && harness.answers[id] == nil)
        let pin = choices.randomPin()
        harness.reply(.item(.pins(stored([pin]))))
        #expect(harness.inputs.count == 2 && harness.answers[id]?.status == 200)
        harness.reply(.end)
        #expect(harness.answer(id).text == lines([pin]))
    }

    @Test func aLargeChunkIsWrittenInPieces() {
        var choices = Choices(seed: 5)
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations")
        let pins = pins(2000, &choices)
        harness.reply(.item(.pins(stored(pins))))
        #expect((harness.answers[id]?.body.count ?? 0) > 600_000 && harness.answers[id]?.text == lines(pins))
        #expect(harness.largestPiece < 300_000)
        harness.feed(id, .drained)
        #expect(harness.inputs == [.more])
    }

    @Test func statusesComeInChunksToo() {
        var choices = Choices(seed: 6)
        var harness = APIHarness()
        let id = harness.send("GET", "/pins")
        var text = ""
        for round in 1...3 {
            let infos = pins(40, &choices).map { GlobalPinInfo(cid: $0.cid) }
            text += infos.map { $0.json.encoded() + "\n" }.joined()
            harness.reply(.item(.infos(infos)))
            #expect(harness.answers[id]?.text == text && harness.inputs.count == round - 1)
            harness.feed(id, .drained)
            #expect(harness.inputs == [ClientInput](repeating: .more, count: round))
        }
        harness.reply(.end)
        #expect(harness.answer(id).status == 200)
    }

    @Test func nothingAtAllIsNoContent() {
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations")
        harness.reply(.item(.pins(StoredPins())))
        harness.reply(.end)
        #expect(harness.answer(id).status == 204 && harness.answer(id).body.isEmpty)
    }

    @Test func aFailureAfterAChunkIsInTheTrailer() {
        var choices = Choices(seed: 3)
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations")
        harness.reply(.item(.pins(stored(pins(3, &choices)))))
        harness.reply(.failed(ClientFailure("the peer is shutting down")))
        let answer = harness.answer(id)
        #expect(answer.status == 200 && answer.trailers.all("X-Stream-Error").contains("the peer is shutting down"))
    }

    @Test func whoHangsUpIsForgotten() {
        var choices = Choices(seed: 4)
        var harness = APIHarness()
        let id = harness.send("GET", "/allocations")
        harness.reply(.item(.pins(stored(pins(3, &choices)))))
        harness.feed(id, .gone)
        harness.feed(id, .drained)
        #expect(harness.gone == [harness.requests[0].client] && harness.inputs.isEmpty && harness.api.openCount == 0)
    }
}
