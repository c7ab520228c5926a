// Many pins as the state stores them, one behind the other in one buffer: what lists, streams and imports hand on.

import Kernel
import Multiformats

/// The protobuf values of pins. Each begins with the CID, so that a value says by itself what it pins.
package struct StoredPins: Equatable, Sendable {
    private var bytes: Bytes = []
    /// Where each value ends.
    private var ends: [Int] = []

    package init() {}

    package var count: Int { ends.count }
    package var isEmpty: Bool { ends.isEmpty }
    package var bytesCount: Int { bytes.count }

    package mutating func append(_ value: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: value)
        ends.append(bytes.count)
    }
    package mutating func append(_ value: some Collection<UInt8>) {
        bytes.append(contentsOf: value)
        ends.append(bytes.count)
    }
    package mutating func append(_ pin: Pin) {
        pin.appendProtobuf(to: &bytes)
        ends.append(bytes.count)
    }

    /// A value of at most `room` bytes, which `write` puts at the pointer; it answers how many, or nil for none after all.
    mutating func append(room: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Int?) -> Bool {
        var isWritten = false
        bytes.append(room: room) {
            let count = write($0)
            isWritten = count != nil
            return count ?? 0
        }
        if isWritten { ends.append(bytes.count) }
        return isWritten
    }

    package mutating func reserve(count: Int, bytes room: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(room)
    }
    package mutating func removeAll(keepingCapacity: Bool = false) {
        bytes.removeAll(keepingCapacity: keepingCapacity)
        ends.removeAll(keepingCapacity: keepingCapacity)
    }

    package subscript(index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }

    package func byteCount(_ index: Int) -> Int { ends[index] - (index == 0 ? 0 : ends[index - 1]) }
    @inline(__always)
    package func withValue<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[(index == 0 ? 0 : ends[index - 1])..<ends[index]])) }
    }

    package func forEach(_ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        try bytes.withUnsafeBytes { all in
            var start = 0
            for end in ends {
                try body(UnsafeRawBufferPointer(rebasing: all[start..<end]))
                start = end
            }
        }
    }

    /// All that can be read; what is no pin is passed over, as it is in the state (PIN-12).
    package var pins: [Pin] {
        var out: [Pin] = []
        forEach { value in if let pin = Pin(stored: value) { out.append(pin) } }
        return out
    }
}

extension Pin {
    /// A value that says its own CID. Nil for what is no pin.
    package init?(stored value: UnsafeRawBufferPointer) {
        guard let range = Pin.cidRange(inStored: value), let cid = try? CID(value[range]),
            let pin = try? Pin(protobuf: value, cid: cid)
        else { return nil }
        self = pin
    }

    /// Where the bytes of the CID are in a stored value. Nil where it does not begin with them.
    package static func cidRange(inStored value: UnsafeRawBufferPointer) -> Range<Int>? {
        guard value.count > 2, value[0] == 0x0a else { return nil }
        var (length, shift, start) = (0, 0, 1)
        while start < value.count, shift < 28 {
            let byte = value[start]
            length |= Int(byte & 0x7f) << shift
            (start, shift) = (start + 1, shift + 7)
            guard byte < 0x80 else { continue }
            return length > 0 && length <= value.count - start ? start..<start + length : nil
        }
        return nil
    }
}
