// The items of CBOR, one head after another: what stands on them decides what they mean. RFC 8949, section 3.

import Kernel

package struct CBORReader: Sendable {
    /// What stands before the content of an item. `value` is a number, a length in bytes, a count of items, or the bits of a float.
    package struct Head: Equatable, Sendable {
        package enum Kind: UInt8, Sendable { case unsigned = 0, negative, bytes, text, array, map, tag, simple }
        package let kind: Kind
        package let value: UInt64
        /// Bytes of the value behind the first one: for a simple item they tell a float from a name.
        package var width = 0
    }
    package let bytes: ArraySlice<UInt8>
    package private(set) var offset: Int
    package var isAtEnd: Bool { offset == bytes.endIndex }
    package var remaining: Int { bytes.endIndex - offset }

    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        offset = bytes.startIndex
    }

    /// Nil: it is cut, or of no definite length, which dag-cbor has not.
    package mutating func nextHead() -> Head? {
        guard let first = next(1)?.first, let kind = Head.Kind(rawValue: first >> 5) else { return nil }
        let low = first & 31
        if low < 24 { return Head(kind: kind, value: UInt64(low)) }
        guard low < 28, let value = next(1 << UInt64(low - 24)) else { return nil }
        return Head(kind: kind, value: value.reduce(0) { $0 << 8 | UInt64($1) }, width: value.count)
    }

    /// Nil: there are not so many.
    package mutating func next(_ count: UInt64) -> ArraySlice<UInt8>? {
        guard count <= UInt64(remaining) else { return nil }
        defer { offset += Int(count) }
        return bytes[offset..<offset + Int(count)]
    }
}
