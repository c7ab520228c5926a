// The protobuf wire format: a writer that emits fields in the order of the calls, and a reader that walks fields.
// Protocol Buffers encoding guide; the messages themselves live beside the types they carry.

import Kernel

package struct ProtobufWriter: Sendable {
    package private(set) var bytes: Bytes = []
    package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    private mutating func tag(_ field: Int, _ wire: UInt64) { appendVarint(UInt64(field) << 3 | wire, to: &bytes) }

    /// Always written, zero included. `uint64` and `bytes`/`string` below leave proto3 defaults out.
    package mutating func explicit(_ field: Int, varint value: UInt64) {
        tag(field, 0)
        appendVarint(value, to: &bytes)
    }
    package mutating func uint64(_ field: Int, _ value: UInt64) { if value != 0 { explicit(field, varint: value) } }
    package mutating func int64(_ field: Int, _ value: Int64) { uint64(field, UInt64(bitPattern: value)) }
    package mutating func bool(_ field: Int, _ value: Bool) { uint64(field, value ? 1 : 0) }
    /// Zigzag.
    package mutating func sint64(_ field: Int, _ value: Int64) { uint64(field, UInt64(bitPattern: value << 1 ^ value >> 63)) }

    /// The usual kind, without asking for its type.
    package mutating func explicit(_ field: Int, bytes value: Bytes) {
        tag(field, 2)
        appendVarint(UInt64(value.count), to: &bytes)
        bytes.append(contentsOf: value)
    }
    package mutating func explicit(_ field: Int, bytes value: some Collection<UInt8>) {
        tag(field, 2)
        appendVarint(UInt64(value.count), to: &bytes)
        bytes.append(contentsOf: value)
    }
    package mutating func bytes(_ field: Int, _ value: some Collection<UInt8>) {
        if !value.isEmpty { explicit(field, bytes: value) }
    }
    package mutating func string(_ field: Int, _ value: String) { bytes(field, value.utf8) }
    package mutating func explicit(_ field: Int, string value: String) { explicit(field, bytes: value.utf8) }
    package mutating func message(_ field: Int, _ build: (inout ProtobufWriter) -> Void) {
        var inner = ProtobufWriter()
        build(&inner)
        explicit(field, bytes: inner.bytes)
    }
}

package enum ProtobufError: Error, Equatable, Sendable {
    case truncated(offset: Int)
    case badVarint(offset: Int)
    case badTag(offset: Int)
    case wrongType(field: Int)
    case tooLarge(field: Int)
}

/// Walks the fields of one message: `while let field = try reader.next() { switch field.number … }`.
/// Unknown fields are skipped by not looking at them. Groups (wire types 3 and 4) are refused.
package struct ProtobufReader: Sendable {
    package struct Field: Sendable {
        package enum Value: Sendable {
            case varint(UInt64)
            case fixed64(UInt64)
            case bytes(ArraySlice<UInt8>)
            case fixed32(UInt32)
        }
        package let number: Int
        package let value: Value

        package func uint64() throws(ProtobufError) -> UInt64 {
            guard case .varint(let v) = value else { throw .wrongType(field: number) }
            return v
        }
        /// A number of things, which no memory holds more of than `Int.max`.
        package func count() throws(ProtobufError) -> Int {
            guard let count = Int(exactly: try uint64()) else { throw .tooLarge(field: number) }
            return count
        }
        package func int64() throws(ProtobufError) -> Int64 { Int64(bitPattern: try uint64()) }
        package func int32() throws(ProtobufError) -> Int32 { Int32(truncatingIfNeeded: try uint64()) }
        package func bool() throws(ProtobufError) -> Bool { try uint64() != 0 }
        package func sint64() throws(ProtobufError) -> Int64 {
            let raw = try uint64()
            return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
        }
        package func sint32() throws(ProtobufError) -> Int32 {
            let raw = UInt32(truncatingIfNeeded: try uint64())
            return Int32(bitPattern: raw >> 1) ^ -Int32(bitPattern: raw & 1)
        }
        package func bytes() throws(ProtobufError) -> ArraySlice<UInt8> {
            guard case .bytes(let b) = value else { throw .wrongType(field: number) }
            return b
        }
        package func string() throws(ProtobufError) -> String { String(decoding: try bytes(), as: UTF8.self) }
        package func message() throws(ProtobufError) -> ProtobufReader { ProtobufReader(try bytes()) }
    }

    private let bytes: ArraySlice<UInt8>
    package private(set) var offset: Int

    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        offset = bytes.startIndex
    }
    package init(_ bytes: Bytes) { self.init(bytes[...]) }

    package mutating func next() throws(ProtobufError) -> Field? {
        guard offset < bytes.endIndex else { return nil }
        let start = offset
        let tag = try rawVarint()
        let (number, wire) = (tag >> 3, tag & 7)
        guard number > 0, number < 1 << 29 else { throw .badTag(offset: start) }
        switch wire {
        case 0: return Field(number: Int(number), value: .varint(try rawVarint()))
        case 1:
            var word: UInt64 = 0
            for (i, byte) in try take(8).enumerated() { word |= UInt64(byte) << UInt64(8 * i) }
            return Field(number: Int(number), value: .fixed64(word))
        case 2:
            let length = try rawVarint()
            guard length <= UInt64(bytes.endIndex - offset) else { throw .truncated(offset: start) }
            return Field(number: Int(number), value: .bytes(try take(Int(length))))
        case 5:
            var word: UInt32 = 0
            for (i, byte) in try take(4).enumerated() { word |= UInt32(byte) << UInt32(8 * i) }
            return Field(number: Int(number), value: .fixed32(word))
        default: throw .badTag(offset: start)
        }
    }

    private mutating func take(_ count: Int) throws(ProtobufError) -> ArraySlice<UInt8> {
        guard count <= bytes.endIndex - offset else { throw .truncated(offset: offset) }
        defer { offset += count }
        return bytes[offset..<offset + count]
    }

    /// Protobuf varints may be padded and hold 64 bits, unlike multiformats ones.
    private mutating func rawVarint() throws(ProtobufError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            guard offset < bytes.endIndex else { throw .truncated(offset: offset) }
            let byte = bytes[offset]
            offset += 1
            if shift == 63 && byte > 1 { throw .badVarint(offset: offset) }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { throw .badVarint(offset: offset) }
        }
    }
}
