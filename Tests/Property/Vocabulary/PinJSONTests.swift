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
        for pieceBytes in [1, 1000, 1 << 20] {
            let pieces = writer.lines(pins, pieceBytes: pieceBytes)
            #expect(String(decoding: pieces.joined(), as: UTF8.self) == want)
            #expect(pieces.dropLast().allSatisfy { $0.count >= pieceBytes && $0.last == UInt8(ascii: "\n") })
            if pieceBytes != 1000 { #expect(pieces.count == (pieceBytes == 1 ? 50 : 1)) }
        }
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

    // MARK: Reading

    private func general(line: Bytes) -> Bytes? {
        do { return try Pin(jsonText: line).protobuf } catch { return nil }
    }

    private func read(_ line: Bytes, _ reader: inout PinJSONReader, _ pins: inout StoredPins) -> Bytes? {
        let before = pins
        guard line.withUnsafeBytes({ reader.append($0, to: &pins) }) else {
            #expect(pins == before, "a line that is not read leaves nothing")
            return nil
        }
        #expect(pins.count == before.count + 1)
        return Bytes(pins[pins.count - 1])
    }

    @Test func linesAreReadAsTheirTreesAre() {
        var choices = Choices(seed: 6)
        var reader = PinJSONReader(), writer = PinJSONWriter(), pins = StoredPins(), fast = 0
        for round in 0..<5000 {
            var line: Bytes = []
            _ = choices.randomPin().protobuf.withUnsafeBytes { writer.append($0, to: &line) }
            if choices.chance(1, in: 2) { line.append(0x0a) }
            if pins.count > 20 { pins.removeAll(keepingCapacity: true) }
            guard let found = read(line, &reader, &pins) else { continue }
            #expect(found == general(line: line), "\(round) \(String(decoding: line, as: UTF8.self))")
            fast += 1
        }
        #expect(fast > 1500, "\(fast)")
    }

    /// What listings are mostly made of never takes the general way.
    @Test func plainPinsAreReadFast() {
        var choices = Choices(seed: 7)
        var reader = PinJSONReader(), pins = StoredPins()
        for round in 0..<500 {
            var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: choices.bytes(4))))
            pin.options.name = choices.randomText()
            pin.allocations = (0..<choices.below(4)).map { _ in choices.randomPeer() }
            pin.timestamp = WallTime(seconds: Int64(choices.below(2_000_000_000)))
            #expect(read(Bytes(pin.json.encoded().utf8), &reader, &pins) == pin.protobuf, "\(round)")
        }
    }

    @Test func mangledLinesAreReadAsTheyAreOrNotAtAll() {
        var choices = Choices(seed: 8)
        var reader = PinJSONReader(), pins = StoredPins(), fast = 0
        let odd = Bytes("\"\\{}[]:,0-9.eE+ \t\nnbQ1Zm\u{7f}".utf8) + [0, 0x80, 0xc3, 0xff]
        for round in 0..<6000 {
            var pin = choices.randomPin()
            if choices.chance(2, in: 3) { (pin.options.metadata, pin.options.origins, pin.options.pinUpdate) = (nil, nil, nil) }
            var line = Bytes(pin.json.encoded().utf8)
            for _ in 0...choices.below(2) {
                let index = choices.below(line.count)
                switch choices.below(4) {
                case 0: line[index] = choices.chance(1, in: 2) ? odd[choices.below(odd.count)] : UInt8(choices.below(256))
                case 1: line.remove(at: index)
                case 2: line.insert(odd[choices.below(odd.count)], at: index)
                default: line.swapAt(index, choices.below(line.count))
                }
            }
            if pins.count > 20 { pins.removeAll(keepingCapacity: true) }
            guard let found = read(line, &reader, &pins) else { continue }
            #expect(found == general(line: line), "\(round) \(String(decoding: line, as: UTF8.self))")
            fast += 1
        }
        #expect(fast > 100, "\(fast)")
    }

    /// PID-03: only what begins with Qm or 1 is a multihash in base58. There are others that begin with Q.
    @Test func peersBeginAsPeersDo() {
        var choices = Choices(seed: 9)
        var reader = PinJSONReader(), pins = StoredPins()
        var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: [1])))
        let peer = choices.randomPeer()
        pin.allocations = [peer]
        let (text, name) = (pin.json.encoded(), peer.description)
        var beginnings: Set<String> = []
        for code in 0..<0x80 as Range<UInt8> {
            for count in 0..<0x7e as Range<UInt8> {
                let other = Multibase.base58btc.encode([code, count] + choices.bytes(Int(count)))
                let line = Bytes(text.replacing(name, with: other).utf8)
                guard other.hasPrefix("Q") || other.hasPrefix("1") else { continue }
                beginnings.insert(String(other.prefix(2)))
                if pins.count > 20 { pins.removeAll(keepingCapacity: true) }
                guard let found = read(line, &reader, &pins) else { continue }
                #expect(found == general(line: line), "\(other)")
            }
        }
        #expect(beginnings.contains("Qm") && beginnings.contains("Qn"))
    }

    @Test func numbersAtTheirEdges() throws {
        var reader = PinJSONReader(), pins = StoredPins()
        let pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: [1])))
        let text = pin.json.encoded()
        for number in ["0", "-0", "00", "01", "-", "", "1.0", "1e3", "999999999999999999", "1000000000000000000", "9223372036854775807",
            "-9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "+1"] {
            for member in ["\"shard_size\":0", "\"replication_factor_min\":0", "\"max_depth\":-1"] {
                let name = member.prefix { $0 != ":" }
                let line = Bytes(text.replacing(member, with: "\(name):\(number)").utf8)
                #expect(line != Bytes(text.utf8) || number == "0" || number == "-1")
                guard let found = read(line, &reader, &pins) else { continue }
                #expect(found == general(line: line), "\(member) \(number)")
            }
        }
    }
}
