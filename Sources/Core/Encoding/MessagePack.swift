// msgpack as ugorji's default handle writes it: the old specification on output, everything on input.
// spec/wire-rpc.md MP-01..37, MSG-01..08.

import Kernel

package struct MessagePackWriter: Sendable {
    package private(set) var bytes: Bytes = []
    package init() {}

    package mutating func null() { bytes.append(0xc0) }
    package mutating func bool(_ value: Bool) { bytes.append(value ? 0xc3 : 0xc2) }

    /// Go's signed kinds: positive values never use the unsigned forms (MP-03).
    package mutating func int(_ value: Int64) {
        switch value {
        case -32...127: bytes.append(UInt8(truncatingIfNeeded: value))
        case -128..<128: bytes.append(0xd0); word(UInt64(bitPattern: value), 1)
        case -32768..<32768: bytes.append(0xd1); word(UInt64(bitPattern: value), 2)
        case -2_147_483_648..<2_147_483_648: bytes.append(0xd2); word(UInt64(bitPattern: value), 4)
        default: bytes.append(0xd3); word(UInt64(bitPattern: value), 8)
        }
    }
    /// Go's unsigned kinds (MP-04).
    package mutating func uint(_ value: UInt64) {
        switch value {
        case 0...127: bytes.append(UInt8(value))
        case 0...0xff: bytes.append(0xcc); word(value, 1)
        case 0...0xffff: bytes.append(0xcd); word(value, 2)
        case 0...0xffff_ffff: bytes.append(0xce); word(value, 4)
        default: bytes.append(0xcf); word(value, 8)
        }
    }
    package mutating func float64(_ value: Double) { bytes.append(0xcb); word(value.bitPattern, 8) }

    /// Strings and bytes alike: fixstr, str16, str32 (MP-06, MP-07).
    package mutating func raw(_ value: some Collection<UInt8>) {
        let count = value.count
        if count < 32 { bytes.append(0xa0 | UInt8(count)) }
        else if count < 65536 { bytes.append(0xda); word(UInt64(count), 2) }
        else { bytes.append(0xdb); word(UInt64(count), 4) }
        bytes.append(contentsOf: value)
    }
    package mutating func string(_ value: String) { raw(value.utf8) }

    package mutating func array(_ count: Int) {
        if count < 16 { bytes.append(0x90 | UInt8(count)) }
        else if count < 65536 { bytes.append(0xdc); word(UInt64(count), 2) }
        else { bytes.append(0xdd); word(UInt64(count), 4) }
    }
    package mutating func map(_ count: Int) {
        if count < 16 { bytes.append(0x80 | UInt8(count)) }
        else if count < 65536 { bytes.append(0xde); word(UInt64(count), 2) }
        else { bytes.append(0xdf); word(UInt64(count), 4) }
    }
    /// MP-08: nil when unset, else the timestamp payload of 4, 8 or 12 bytes as a raw string.
    package mutating func time(_ value: WallTime) {
        if value.isUnset { return null() }
        if value.seconds >= 0 && value.seconds >> 34 == 0 {
            if value.nanoseconds == 0 && value.seconds >> 32 == 0 {
                bytes.append(0xa4)
                word(UInt64(value.seconds), 4)
            } else {
                bytes.append(0xa8)
                word(UInt64(value.nanoseconds) << 34 | UInt64(value.seconds), 8)
            }
        } else {
            bytes.append(0xac)
            word(UInt64(value.nanoseconds), 4)
            word(UInt64(bitPattern: value.seconds), 8)
        }
    }
    /// Already encoded values, as they are.
    package mutating func embed(_ encoded: some Sequence<UInt8>) { bytes.append(contentsOf: encoded) }

    private mutating func word(_ value: UInt64, _ size: Int) {
        for i in stride(from: size - 1, through: 0, by: -1) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * i))) }
    }
}

package enum MessagePackError: Error, Equatable, Sendable, CustomStringConvertible {
    /// More bytes may complete the value.
    case truncated
    case wrongType(offset: Int, wanted: String)
    case badCode(offset: Int, code: UInt8)
    case badValue(offset: Int, String)

    package var description: String {
        switch self {
        case .truncated: "the msgpack value is not complete"
        case .wrongType(let offset, let wanted): "msgpack at byte \(offset): want \(wanted)"
        case .badCode(let offset, let code): "msgpack at byte \(offset): 0x\(hex([code])) begins no value"
        case .badValue(let offset, let what): "msgpack at byte \(offset): \(what)"
        }
    }
}

/// Reads values one after another. Tolerant as Go's decoder is (MP-30..36).
package struct MessagePackReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    package private(set) var offset: Int

    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        offset = bytes.startIndex
    }
    package init(_ bytes: Bytes) { self.init(bytes[...]) }
    package var isAtEnd: Bool { offset == bytes.endIndex }
    package var consumed: Int { offset - bytes.startIndex }

    private mutating func byte() throws(MessagePackError) -> UInt8 {
        guard offset < bytes.endIndex else { throw .truncated }
        defer { offset += 1 }
        return bytes[offset]
    }
    private mutating func word(_ size: Int) throws(MessagePackError) -> UInt64 {
        guard bytes.endIndex - offset >= size else { throw .truncated }
        var value: UInt64 = 0
        for _ in 0..<size { value = value << 8 | UInt64(bytes[offset]); offset += 1 }
        return value
    }
    private mutating func take(_ count: UInt64) throws(MessagePackError) -> ArraySlice<UInt8> {
        guard UInt64(bytes.endIndex - offset) >= count else { throw .truncated }
        defer { offset += Int(count) }
        return bytes[offset..<offset + Int(count)]
    }

    package func peek() throws(MessagePackError) -> UInt8 {
        guard offset < bytes.endIndex else { throw .truncated }
        return bytes[offset]
    }
    /// Consumes a nil if there is one.
    package mutating func null() throws(MessagePackError) -> Bool {
        guard try peek() == 0xc0 else { return false }
        offset += 1
        return true
    }

    package mutating func bool() throws(MessagePackError) -> Bool {
        let start = offset
        switch try byte() {
        case 0xc2, 0, 0xc0: return false
        case 0xc3, 1: return true
        default: throw .wrongType(offset: start, wanted: "bool")
        }
    }

    /// Any integer form, integral floats included; uint64 above int63 wraps (MP-31). Nil is 0.
    package mutating func int() throws(MessagePackError) -> Int64 {
        let start = offset
        let code = try byte()
        switch code {
        case 0...0x7f: return Int64(code)
        case 0xe0...0xff: return Int64(Int8(bitPattern: code))
        case 0xcc: return Int64(try word(1))
        case 0xcd: return Int64(try word(2))
        case 0xce: return Int64(try word(4))
        case 0xcf, 0xd3: return Int64(bitPattern: try word(8))
        case 0xd0: return Int64(Int8(truncatingIfNeeded: try word(1)))
        case 0xd1: return Int64(Int16(truncatingIfNeeded: try word(2)))
        case 0xd2: return Int64(Int32(truncatingIfNeeded: try word(4)))
        case 0xca:
            guard let v = Int64(exactly: Float(bitPattern: UInt32(try word(4)))) else {
                throw .badValue(offset: start, "a float that is no integer")
            }
            return v
        case 0xcb:
            guard let v = Int64(exactly: Double(bitPattern: try word(8))) else {
                throw .badValue(offset: start, "a float that is no integer")
            }
            return v
        case 0xc0: return 0
        default: throw .wrongType(offset: start, wanted: "integer")
        }
    }
    package mutating func uint() throws(MessagePackError) -> UInt64 {
        let start = offset
        if try peek() == 0xcf { offset += 1; return try word(8) }
        let value = try int()
        guard value >= 0 else { throw .badValue(offset: start, "a negative number where none may be") }
        return UInt64(value)
    }
    package mutating func float64() throws(MessagePackError) -> Double {
        switch try peek() {
        case 0xca: offset += 1; return Double(Float(bitPattern: UInt32(try word(4))))
        case 0xcb: offset += 1; return Double(bitPattern: try word(8))
        case 0xcf: offset += 1; return Double(try word(8))
        default: return Double(try int())
        }
    }

    /// raw, str and bin of any width (MP-30). Nil is empty.
    package mutating func raw() throws(MessagePackError) -> ArraySlice<UInt8> {
        let start = offset
        let code = try byte()
        switch code {
        case 0xa0...0xbf: return try take(UInt64(code & 0x1f))
        case 0xd9, 0xc4: return try take(try word(1))
        case 0xda, 0xc5: return try take(try word(2))
        case 0xdb, 0xc6: return try take(try word(4))
        case 0xc0: return bytes[offset..<offset]
        case 0x90...0x9f, 0xdc, 0xdd:  // an array of small integers
            offset = start
            let count = try array()
            var out: Bytes = []
            for _ in 0..<count { out.append(UInt8(truncatingIfNeeded: try int())) }
            return out[...]
        default: throw .wrongType(offset: start, wanted: "string")
        }
    }
    package mutating func string() throws(MessagePackError) -> String { String(decoding: try raw(), as: UTF8.self) }

    /// The number of elements that follow. Nil is 0.
    package mutating func array() throws(MessagePackError) -> Int {
        let start = offset
        let code = try byte()
        switch code {
        case 0x90...0x9f: return Int(code & 0xf)
        case 0xdc: return Int(try word(2))
        case 0xdd: return Int(try word(4))
        case 0xc0: return 0
        default: throw .wrongType(offset: start, wanted: "array")
        }
    }
    /// The number of pairs that follow. Nil is 0; so is an empty array (MSG-07).
    package mutating func map() throws(MessagePackError) -> Int {
        let start = offset
        let code = try byte()
        switch code {
        case 0x80...0x8f: return Int(code & 0xf)
        case 0xde: return Int(try word(2))
        case 0xdf: return Int(try word(4))
        case 0xc0, 0x90: return 0
        default: throw .wrongType(offset: start, wanted: "map")
        }
    }

    /// MP-32: raw or bin of 4, 8 or 12 bytes, the timestamp extension, or nil.
    package mutating func time() throws(MessagePackError) -> WallTime {
        let start = offset
        let payload: ArraySlice<UInt8>
        switch try peek() {
        case 0xc0: offset += 1; return .unset
        case 0xd6: payload = try take(6).dropFirst(2)
        case 0xd7: payload = try take(10).dropFirst(2)
        case 0xc7:
            offset += 1
            let count = try word(1)
            _ = try byte()
            payload = try take(count)
        default: payload = try raw()
        }
        var inner = MessagePackReader(payload)
        switch payload.count {
        case 4: return WallTime(seconds: Int64(try inner.word(4)))
        case 8:
            let word = try inner.word(8)
            guard word >> 34 < 1_000_000_000 else { throw .badValue(offset: start, "nanoseconds beyond a second") }
            return WallTime(seconds: Int64(word & (1 << 34 - 1)), nanoseconds: Int32(word >> 34))
        case 12:
            let nanoseconds = try inner.word(4)
            guard nanoseconds < 1_000_000_000 else { throw .badValue(offset: start, "nanoseconds beyond a second") }
            return WallTime(seconds: Int64(bitPattern: try inner.word(8)), nanoseconds: Int32(nanoseconds))
        default: throw .badValue(offset: start, "a time of \(payload.count) bytes")
        }
    }

    /// Moves past one value of any kind and returns its bytes. `truncated` if it is not complete yet.
    @discardableResult
    package mutating func skip() throws(MessagePackError) -> ArraySlice<UInt8> {
        let start = offset
        var left = 1
        try skip(&left)
        return bytes[start..<offset]
    }

    /// Moves past so many values; nesting costs no stack. Where it throws it has moved past those that are complete, and `left` is what
    /// is left: it can be gone on with when there are more bytes.
    package mutating func skip(_ left: inout Int) throws(MessagePackError) {
        while left > 0 {
            let at = offset
            do throws(MessagePackError) { left += try passHead() - 1 } catch {
                offset = at
                throw error
            }
        }
    }

    /// Moves past one value, or the head of an array or map. How many values are in it.
    private mutating func passHead() throws(MessagePackError) -> Int {
        let at = offset
        let code = try byte()
        switch code {
        case 0...0x7f, 0xe0...0xff, 0xc0, 0xc2, 0xc3: break
        case 0x80...0x8f: return 2 * Int(code & 0xf)
        case 0x90...0x9f: return Int(code & 0xf)
        case 0xa0...0xbf: _ = try take(UInt64(code & 0x1f))
        case 0xc4, 0xd9: _ = try take(try word(1))
        case 0xc5, 0xda: _ = try take(try word(2))
        case 0xc6, 0xdb: _ = try take(try word(4))
        case 0xc7: let n = try word(1); _ = try take(n + 1)
        case 0xc8: let n = try word(2); _ = try take(n + 1)
        case 0xc9: let n = try word(4); _ = try take(n + 1)
        case 0xcc, 0xd0: _ = try take(1)
        case 0xcd, 0xd1: _ = try take(2)
        case 0xce, 0xd2, 0xca: _ = try take(4)
        case 0xcf, 0xd3, 0xcb: _ = try take(8)
        case 0xd4: _ = try take(2)
        case 0xd5: _ = try take(3)
        case 0xd6: _ = try take(5)
        case 0xd7: _ = try take(9)
        case 0xd8: _ = try take(17)
        case 0xdc: return Int(try word(2))
        case 0xdd: return Int(try word(4))
        case 0xde: return 2 * Int(try word(2))
        case 0xdf: return 2 * Int(try word(4))
        default: throw .badCode(offset: at, code: code)
        }
        return 0
    }
}
