// The stored form of pins against the general writer of protobuf, field for field.

import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct ProtobufTests {
    /// As the message is described (PIN-02, PIN-03).
    private func plain(_ pin: Pin) -> Bytes {
        func stored(_ time: WallTime) -> Int64 { time.isUnset ? 0 : time.seconds }
        var writer = ProtobufWriter()
        writer.bytes(1, pin.cid.bytes)
        writer.int64(2, Int64(PinType.allCases.firstIndex(of: pin.type) ?? 0))
        for peer in pin.allocations ?? [] { writer.explicit(3, bytes: peer.bytes) }
        writer.sint64(4, Int64(pin.maxDepth))
        writer.bytes(5, pin.reference?.bytes ?? [])
        writer.message(6) {
            $0.sint64(1, Int64(pin.options.replicationFactorMin))
            $0.sint64(2, Int64(pin.options.replicationFactorMax))
            $0.string(3, pin.options.name)
            $0.uint64(4, pin.options.shardSize)
            $0.bytes(7, pin.options.pinUpdate?.bytes ?? [])
            $0.int64(8, stored(pin.options.expireAt))
            for origin in pin.options.origins ?? [] { $0.explicit(9, bytes: origin.bytes) }
            for pair in pin.options.metadata?.pairs ?? [] {
                $0.message(10) { $0.string(1, pair.key); $0.string(2, pair.value) }
            }
        }
        writer.int64(7, stored(pin.timestamp))
        return writer.bytes
    }

    @Test func pinsAreWrittenFieldForField() throws {
        var choices = Choices(seed: 1)
        for round in 0..<3000 {
            var pin = choices.randomPin()
            if choices.chance(1, in: 10) { pin.options.name = String(repeating: "n", count: 100 + choices.below(20_000)) }
            if choices.chance(1, in: 10) { pin.maxDepth = Int(bitPattern: UInt(choices.next())) }
            let want = plain(pin)
            #expect(pin.protobuf == want, "\(round) \(pin)")
            var appended: Bytes = [1, 2]
            pin.appendProtobuf(to: &appended)
            #expect(appended == [1, 2] + want)
        }
    }

    @Test func whatIsReadIsWhatWasWritten() throws {
        var choices = Choices(seed: 2)
        for _ in 0..<1000 {
            let pin = choices.randomPin()
            let again = try Pin(protobuf: pin.protobuf, cid: pin.cid)
            #expect(again.protobuf == pin.protobuf && again.options.name == pin.options.name && again.allocations == pin.allocations)
        }
    }

    @Test func aCountFitsIntoMemory() throws {
        func count(_ value: UInt64) throws -> Int? {
            var writer = ProtobufWriter()
            writer.uint64(3, value)
            var reader = ProtobufReader(writer.bytes)
            return try reader.next()?.count()
        }
        #expect(try count(UInt64(Int.max)) == Int.max)
        #expect(throws: ProtobufError.tooLarge(field: 3)) { try count(1 << 63) }
    }
}
