// Many pins in one buffer: what goes in comes out, pin for pin.

import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct StoredPinsTests {
    private func stored(_ pins: [Pin]) -> StoredPins {
        var stored = StoredPins()
        for (index, pin) in pins.enumerated() {
            switch index % 3 {
            case 0: stored.append(pin)
            case 1: stored.append(pin.protobuf)
            default: pin.protobuf.withUnsafeBytes { stored.append($0) }
            }
        }
        return stored
    }

    @Test func everyPinComesBackInItsPlace() throws {
        var choices = Choices(seed: 1)
        let pins = (0..<500).map { _ in choices.randomPin() }
        let stored = stored(pins)
        #expect(stored.count == 500 && stored.bytesCount == pins.reduce(0) { $0 + $1.protobuf.count })
        var seen: [Bytes] = []
        stored.forEach { seen.append(Bytes($0)) }
        #expect(seen == pins.map(\.protobuf))
        for (index, pin) in pins.enumerated() { #expect(Bytes(stored[index]) == pin.protobuf) }
        #expect(stored.pins == (try pins.map { try Pin(protobuf: $0.protobuf, cid: $0.cid) }))
    }

    @Test func whatIsTakenOutIsGone() {
        var choices = Choices(seed: 2)
        var pins = stored([choices.randomPin(), choices.randomPin()])
        pins.removeAll(keepingCapacity: true)
        #expect(pins.isEmpty && pins.bytesCount == 0 && pins == StoredPins())
        let pin = choices.randomPin()
        pins.append(pin)
        #expect(Bytes(pins[0]) == pin.protobuf)
    }

    @Test func anErrorEndsTheWalk() {
        struct Stop: Error {}
        var choices = Choices(seed: 3)
        var count = 0
        #expect(throws: Stop.self) {
            try stored([choices.randomPin(), choices.randomPin()]).forEach { _ in
                count += 1
                throw Stop()
            }
        }
        #expect(count == 1)
    }

    private func range(_ bytes: Bytes) -> Range<Int>? { bytes.withUnsafeBytes { Pin.cidRange(inStored: $0) } }

    @Test func theCIDIsFoundWhereTheValueBegins() {
        var choices = Choices(seed: 4)
        for _ in 0..<500 {
            let pin = choices.randomPin()
            let value = pin.protobuf
            #expect(range(value).map { Bytes(value[$0]) } == pin.cid.bytes)
            // A value without its CID has another field in front.
            #expect(range(Bytes(value[(range(value)?.upperBound ?? 0)...])) == nil)
        }
        let none: [Bytes] = [[], [0x0a], [0x0a, 0], [0x0a, 0, 0x10], [0x0a, 2, 1], [0x0a, 0x80], [0x0a, 0x81, 0x80], [0x12, 1, 1]]
        for bytes in none + [[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] { #expect(range(bytes) == nil) }
        #expect(range([0x0a, 1, 7]) == 2..<3 && range([0x0a, 0x81, 0, 7, 9]) == 3..<4)
    }

    @Test func whatIsNoPinIsPassedOver() {
        var choices = Choices(seed: 5)
        let pin = choices.randomPin()
        var pins = StoredPins()
        pins.append([1, 2, 3] as Bytes)
        pins.append(Bytes())
        pins.append(pin)
        pins.append(pin.protobuf + [0x1a, 1, 0xff])  // an allocation that is no peer
        #expect(pins.count == 4 && pins.pins.count == 1)
    }
}
