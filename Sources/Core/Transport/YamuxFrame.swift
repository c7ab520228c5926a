// The twelve bytes before everything in yamux, and the cutting of a stream by them. YMX-01.

import Kernel

package struct YamuxHeader: Equatable, Sendable {
    package enum Kind: UInt8, Sendable {
        case data = 0
        case windowUpdate = 1
        case ping = 2
        case goAway = 3
    }

    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }
        package static let syn = Flags(rawValue: 1)
        package static let ack = Flags(rawValue: 2)
        package static let fin = Flags(rawValue: 4)
        package static let rst = Flags(rawValue: 8)
    }

    package static let size = 12

    package var kind: Kind
    package var flags: Flags
    package var stream: UInt32
    /// Bytes that follow, credit, an opaque value or a code, by kind.
    package var length: UInt32

    package init(_ kind: Kind, _ flags: Flags = [], stream: UInt32, length: UInt32 = 0) {
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.length = length
    }

    package func append(to out: inout Bytes) {
        out.append(0)
        out.append(kind.rawValue)
        out.append(UInt8(flags.rawValue >> 8))
        out.append(UInt8(truncatingIfNeeded: flags.rawValue))
        for word in [stream, length] {
            for shift in [24, 16, 8, 0] as [UInt32] { out.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
    }

    package init(_ bytes: ArraySlice<UInt8>) throws(TransportError) {
        invariant(bytes.count == Self.size, "a yamux header has 12 bytes")
        func at(_ index: Int) -> UInt32 { UInt32(bytes[bytes.startIndex + index]) }
        func word(_ index: Int) -> UInt32 {
            at(index) << 24 | at(index + 1) << 16 | at(index + 2) << 8 | at(index + 3)
        }
        guard at(0) == 0 else {
            throw TransportError("yamux: version \(at(0)), 0 is known", goAway: GoAwayCode.protocolError)
        }
        guard let kind = Kind(rawValue: UInt8(at(1))) else {
            throw TransportError("yamux: a frame of unknown type \(at(1))", goAway: GoAwayCode.protocolError)
        }
        self.init(kind, Flags(rawValue: UInt16(at(2) << 8 | at(3))), stream: word(4), length: word(8))
    }
}
