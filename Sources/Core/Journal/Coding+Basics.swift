// Numbers, texts, lists, times and names.

import Kernel
import Multiformats

extension Bool: Journaled {
    package func write(to writer: inout JournalWriter) { writer.byte(self ? 1 : 0) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = try reader.byte() != 0 }
}
extension UInt64: Journaled {
    package func write(to writer: inout JournalWriter) { writer.varint(self) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = try reader.varint() }
    package static func write(_ items: [UInt64], to writer: inout JournalWriter) { writeWords(items, to: &writer) }
    package static func items(reading reader: inout JournalReader) throws(JournalError) -> [UInt64] { try reader.words(of: UInt64.self) }
}
extension UInt32: Journaled {
    package func write(to writer: inout JournalWriter) { writer.varint(UInt64(self)) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = UInt32(truncatingIfNeeded: try reader.varint()) }
    package static func write(_ items: [UInt32], to writer: inout JournalWriter) { writeWords(items, to: &writer) }
    package static func items(reading reader: inout JournalReader) throws(JournalError) -> [UInt32] { try reader.words(of: UInt32.self) }
}
extension UInt8: Journaled {
    package func write(to writer: inout JournalWriter) { writer.byte(self) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = try reader.byte() }
    package static func write(_ items: [UInt8], to writer: inout JournalWriter) { items.withUnsafeBytes { writer.contents($0) } }
    package static func items(reading reader: inout JournalReader) throws(JournalError) -> [UInt8] { Bytes(try reader.contents()) }
}
/// The sign in the lowest bit.
extension Int64: Journaled {
    package func write(to writer: inout JournalWriter) { writer.varint(UInt64(bitPattern: self << 1 ^ self >> 63)) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let raw = try reader.varint()
        self = Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    }
}
extension Int: Journaled {
    package func write(to writer: inout JournalWriter) { Int64(self).write(to: &writer) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = Int(try Int64(reading: &reader)) }
}
extension Double: JournalWritable {
    package func write(to writer: inout JournalWriter) { writer.fixed(bitPattern) }
}
extension String: Journaled {
    package func write(to writer: inout JournalWriter) {
        let isDone: Void? = utf8.withContiguousStorageIfAvailable { writer.contents(UnsafeRawBufferPointer($0)) }
        if isDone == nil { writer.put(Bytes(utf8)) }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) { self = String(decoding: try reader.contents(), as: UTF8.self) }
}
extension EntryName: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(bytes) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(try reader.contents()) }
}
extension Optional: JournalWritable where Wrapped: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.byte(self == nil ? 0 : 1)
        if let self { writer.put(self) }
    }
}
extension Optional: Journaled where Wrapped: Journaled {
    package init(reading reader: inout JournalReader) throws(JournalError) { self = try reader.byte() == 0 ? nil : try Wrapped(reading: &reader) }
}
extension Array: JournalWritable where Element: JournalWritable {
    package func write(to writer: inout JournalWriter) { Element.write(self, to: &writer) }
}
extension Array: Journaled where Element: Journaled {
    package init(reading reader: inout JournalReader) throws(JournalError) { self = try Element.items(reading: &reader) }
}
extension Few: JournalWritable where Element: JournalWritable {
    package func write(to writer: inout JournalWriter) { writer.put(Array(self)) }
}
extension Few: Journaled where Element: Journaled {
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(try [Element](reading: &reader)) }
}
extension SortedMap: JournalWritable where Key: JournalWritable, Value: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.varint(UInt64(count))
        for (key, value) in self {
            writer.put(key)
            writer.put(value)
        }
    }
}

/// As they lie in memory: filters have millions.
private func writeWords<T: FixedWidthInteger>(_ items: [T], to writer: inout JournalWriter) {
    writer.varint(UInt64(items.count))
    items.withUnsafeBytes { writer.raw($0) }
}

// MARK: Times

extension Instant: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(nanoseconds) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(nanoseconds: try reader.get()) }
}
extension Span: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(nanoseconds) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(nanoseconds: try reader.get()) }
}
extension WallTime: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(seconds)
        writer.put(Int64(nanoseconds))
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let (seconds, nanoseconds): (Int64, Int64) = (try reader.get(), try reader.get())
        guard (0..<1_000_000_000).contains(nanoseconds) else { throw .malformed("\(nanoseconds) nanoseconds in a second") }
        self.init(seconds: seconds, nanoseconds: Int32(nanoseconds))
    }
}
extension Now: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(monotonic)
        writer.put(wall)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(monotonic: try reader.get(), wall: try reader.get()) }
}
extension Mixed: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.fixed(high)
        writer.fixed(low)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(high: try reader.fixed(), low: try reader.fixed()) }
}

// MARK: Names

extension CID: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(bytes) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let bytes: Bytes = try reader.get()
        do throws(MultiformatError) { self = try CID(bytes) } catch { throw .malformed("a CID: \(error)") }
    }
}
extension Multihash: JournalWritable {
    package func write(to writer: inout JournalWriter) { writer.put(bytes) }
}
extension PeerID: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(bytes) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let bytes: Bytes = try reader.get()
        do throws(MultiformatError) { self = try PeerID(bytes) } catch { throw .malformed("a peer ID: \(error)") }
    }
}
extension Multiaddr: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(bytes) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(unchecked: try reader.get()) }
}

extension CID {
    static let placeholder = CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: []))
}
extension PeerID {
    static let placeholder = PeerID(Multihash(code: HashCode.identity, digest: []))
}
