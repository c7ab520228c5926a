// The fast ways between stored pins and JSON against the general ones.

import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct PinJSONTests {
    private func general(_ value: Bytes) -> String? {
        value.withUnsafeBytes { Pin(stored: $0) }?.json.encoded()
    }

    private func written(_ value: Bytes, _ writer: inout PinJSONWriter) -> String? {
        var out = Bytes("before".utf8)
        let isPin = value.withUnsafeBytes { writer.append($0, to: &out) }
        #expect(isPin || out.count == 6)
        return isPin ? String(decoding: out.dropFirst(6), as: UTF8.self) : nil
    }

    @Test func pinsAreWrittenAsTheirTreeIs() {
        var choices = Choices(seed: 1)
        var writer = PinJSONWriter()
        for round in 0..<5000 {
            let value = choices.randomPin().protobuf
            let want = general(value)
            #expect(want != nil && written(value, &writer) == want, "\(round)")
        }
    }

    /// Few peers, so that their texts are remembered, and many, so that they take each other's places.
    @Test func peersKeepTheirNames() {
        var choices = Choices(seed: 2)
        var writer = PinJSONWriter()
        let few = (0..<5).map { _ in choices.randomPeer() }, many = (0..<2000).map { _ in choices.randomPeer() }
        for round in 0..<2000 {
            var pin = choices.randomPin()
            pin.allocations = choices.sample(few, 3) + [many[choices.below(2000)]]
            pin.timestamp = WallTime(seconds: Int64(round))
            #expect(written(pin.protobuf, &writer) == general(pin.protobuf), "\(round)")
        }
    }

    @Test func damagedValuesAreWrittenAsTheyAreRead() {
        var choices = Choices(seed: 3)
        var writer = PinJSONWriter()
        var seen = (pins: 0, none: 0)
        for round in 0..<6000 {
            var value = choices.randomPin().protobuf
            for _ in 0...choices.below(3) where !value.isEmpty {
                let index = choices.below(value.count)
                switch choices.below(5) {
                case 0: value[index] = UInt8(choices.below(256))
                case 1: value.remove(at: index)
                case 2: value.insert([0, 0x0a, 0x1a, 0x32, 0x80, 0xff][choices.below(6)], at: index)
                case 3: value.removeLast(value.count - index)
                default: value += [[0x32, 0], [0x1a, 0], [0x10, 9], [0x20, 0x80, 0], [0x48, 1], [0x2a, 1, 1], [0x0a, 1, 1]][choices.below(7)]
                }
            }
            let want = general(value)
            if want == nil { seen.none += 1 } else { seen.pins += 1 }
            #expect(written(value, &writer) == want, "\(round) \(hex(value))")
        }
        #expect(seen.pins > 500 && seen.none > 500, "\(seen)")
    }

    @Test func aLineForEachPin() {
        var choices = Choices(seed: 4)
        var pins = StoredPins(), want = ""
        for _ in 0..<50 {
            let pin = choices.randomPin()
            pins.append(pin)
            want += (general(pin.protobuf) ?? "") + "\n"
        }
        pins.append([7] as Bytes)
        var writer = PinJSONWriter()
        var out: Bytes = []
        writer.appendLines(pins, to: &out)
        #expect(String(decoding: out, as: UTF8.self) == want)
    }

    @Test func timesOfEveryYear() {
        var choices = Choices(seed: 5)
        var room = Bytes(repeating: 0, count: PlainTime.count)
        for round in 0..<6000 {
            let edge = [-62_135_596_801, -62_135_596_800, 253_402_300_799, 253_402_300_800, 0, -1]
            let seconds = round < edge.count ? Int64(edge[round]) : Int64(choices.below(330_000_000_000)) - 65_000_000_000
            let text = WallTime(seconds: seconds).rfc3339
            let count = room.withUnsafeMutableBufferPointer { PlainTime.write(seconds, to: $0.baseAddress!) }
            #expect((count != nil) == (-62_135_596_800...253_402_300_799).contains(seconds))
            var bytes = Bytes(text.utf8)
            if count != nil {
                #expect(room == bytes)
                bytes.withUnsafeBytes { #expect(PlainTime.read($0) == seconds) }
            }
            bytes[choices.below(bytes.count)] = UInt8(0x2d + choices.below(14))
            let mangled = bytes.withUnsafeBytes { PlainTime.read($0) }
            if let mangled { #expect(WallTime(rfc3339: String(decoding: bytes, as: UTF8.self)) == WallTime(seconds: mangled)) }
        }
    }
}
