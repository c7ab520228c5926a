// How what a peer hears becomes bytes, and comes back from them. Compact and without field numbers: a journal is read by the build
// that wrote it, or by one that has the same types. Whatever else it meets is an error with an offset, and never a trap.

import Kernel

package enum JournalError: Error, Equatable, Sendable, CustomStringConvertible {
    case foreign
    case version(UInt64)
    /// A record that is not what was written, by the byte at which it begins.
    case damaged(at: Int, reason: String)
    /// What a record holds cannot be read.
    case malformed(String)

    package var description: String {
        switch self {
        case .foreign: "this is no journal of a peer"
        case .version(let found):
            "the journal is of version \(found), and this program reads version \(JournalFrame.version): use that of the build that wrote it"
        case .damaged(let offset, let reason): "the journal is damaged at byte \(offset): \(reason)"
        case .malformed(let reason): reason
        }
    }
}

/// What can be written into a journal.
package protocol JournalWritable {
    func write(to writer: inout JournalWriter)
    /// Many of them: bytes and words go in one piece.
    static func write(_ items: [Self], to writer: inout JournalWriter)
}

/// What can be read back from it, equal to what was written.
package protocol Journaled: JournalWritable {
    init(reading reader: inout JournalReader) throws(JournalError)
    static func items(reading reader: inout JournalReader) throws(JournalError) -> [Self]
}

/// Does something to each field of a value in turn.
package protocol FieldVisitor {
    mutating func visit<T: Journaled>(_ field: inout T) throws(JournalError)
}

/// A struct that is written and read by one list of its fields, so that the two cannot differ.
package protocol Fielded: Journaled {
    /// To be filled.
    static var blank: Self { get }
    mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError)
}

extension Fielded {
    package func write(to writer: inout JournalWriter) {
        var copy = self
        do throws(JournalError) { try copy.visit(&writer) } catch { unreachable("writing \(Self.self): \(error)") }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self = .blank
        try visit(&reader)
    }
}

extension JournalWritable {
    package static func write(_ items: [Self], to writer: inout JournalWriter) {
        writer.varint(UInt64(items.count))
        for item in items { item.write(to: &writer) }
    }
}
extension Journaled {
    package static func items(reading reader: inout JournalReader) throws(JournalError) -> [Self] {
        let count = try reader.count()
        var items: [Self] = []
        items.reserveCapacity(min(count, 4096))
        for _ in 0..<count { items.append(try Self(reading: &reader)) }
        return items
    }
}

package struct JournalWriter: FieldVisitor, Sendable {
    package private(set) var bytes: Bytes = []
    /// Of long contents only a digest is written: enough to see whether two are the same.
    private let isDigest: Bool
    private static let digestedBytes = 64

    package init(isDigest: Bool = false) { self.isDigest = isDigest }

    package mutating func clear() { bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20) }
    package mutating func byte(_ value: UInt8) { bytes.append(value) }
    package mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }
    package mutating func fixed(_ value: UInt64) { append(value, to: &bytes) }
    package mutating func contents(_ raw: UnsafeRawBufferPointer) {
        varint(UInt64(raw.count))
        guard isDigest, raw.count > JournalWriter.digestedBytes else { return bytes.append(contentsOf: raw) }
        let digest = mix(raw, seed: 0)
        fixed(digest.high)
        fixed(digest.low)
    }
    mutating func store(_ value: UInt32, at offset: Int) { Kernel.store(value, to: &bytes, at: offset) }
    /// As it is, without a length.
    package mutating func raw(_ raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }
    package mutating func put(_ value: some JournalWritable) { value.write(to: &self) }
    package mutating func visit<T: Journaled>(_ field: inout T) { field.write(to: &self) }
}

package struct JournalReader: FieldVisitor, Sendable {
    private let bytes: Bytes
    private var offset = 0
    package init(_ bytes: Bytes) { self.bytes = bytes }

    package var isAtEnd: Bool { offset == bytes.count }
    private static let short = JournalError.malformed("a record ends too early")

    package mutating func byte() throws(JournalError) -> UInt8 {
        guard offset < bytes.count else { throw JournalReader.short }
        offset += 1
        return bytes[offset - 1]
    }
    package mutating func varint() throws(JournalError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            let next = try byte()
            value |= UInt64(next & 0x7f) << shift
            if next < 0x80 { return value }
        }
        throw .malformed("a number without an end")
    }
    package mutating func fixed() throws(JournalError) -> UInt64 {
        let raw = try take(8)
        return bytes.withUnsafeBytes { load($0, raw.lowerBound) }
    }
    /// Of things that take a byte or more each.
    package mutating func count() throws(JournalError) -> Int {
        let count = try varint()
        guard count <= UInt64(bytes.count - offset) else { throw JournalReader.short }
        return Int(count)
    }
    package mutating func take(_ count: Int) throws(JournalError) -> Range<Int> {
        guard count >= 0, count <= bytes.count - offset else { throw JournalReader.short }
        offset += count
        return offset - count..<offset
    }
    package mutating func contents() throws(JournalError) -> ArraySlice<UInt8> { bytes[try take(try count())] }
    package mutating func words<T: FixedWidthInteger>(of type: T.Type) throws(JournalError) -> [T] {
        let (count, size) = (try count(), MemoryLayout<T>.size)
        guard count <= bytes.count / size else { throw JournalReader.short }
        let range = try take(count * size)
        return bytes.withUnsafeBytes { raw in (0..<count).map { load(raw, range.lowerBound + $0 * size) } }
    }
    package mutating func visit<T: Journaled>(_ field: inout T) throws(JournalError) { field = try T(reading: &self) }
    package mutating func get<T: Journaled>(_ type: T.Type = T.self) throws(JournalError) -> T { try T(reading: &self) }
    package func unknown(_ tag: UInt8, _ what: String) -> JournalError { .malformed("\(tag) is no \(what) of this version") }
}
