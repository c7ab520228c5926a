// Plain bytes, and their hexadecimal form.

package typealias Bytes = [UInt8]

private let hexDigits = Array("0123456789abcdef".utf8)

package func hex(_ bytes: some Sequence<UInt8>) -> String {
    var out: [UInt8] = []
    for byte in bytes {
        out.append(hexDigits[Int(byte >> 4)])
        out.append(hexDigits[Int(byte & 15)])
    }
    return String(decoding: out, as: UTF8.self)
}

/// Nil unless the text is an even number of hexadecimal digits of either case.
package func bytes(hex text: some StringProtocol) -> Bytes? {
    var out: Bytes = []
    var high: UInt8?
    for character in text.utf8 {
        let nibble: UInt8
        switch character {
        case 0x30...0x39: nibble = character - 0x30
        case 0x61...0x66: nibble = character - 0x61 + 10
        case 0x41...0x46: nibble = character - 0x41 + 10
        default: return nil
        }
        if let h = high { out.append(h << 4 | nibble); high = nil } else { high = nibble }
    }
    return high == nil ? out : nil
}

extension Bytes {
    /// Appends that many bytes, which `fill` writes: they are not zeroed before. Nothing is appended if it throws.
    package mutating func append<Failure: Error>(
        _ count: Int, filledBy fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        try append(addingCapacity: count) { span throws(Failure) in
            try span.withUnsafeMutableBufferPointer { buffer, filled throws(Failure) in
                try fill(UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]))
                filled = count
            }
        }
    }
}

/// Byte-wise lexicographic order, as Go's bytes.Compare.
package func precedes(_ a: some Sequence<UInt8>, _ b: some Sequence<UInt8>) -> Bool { a.lexicographicallyPrecedes(b) }

/// The same for arrays, without asking for their types.
package func precedes(_ a: Bytes, _ b: Bytes) -> Bool {
    a.withUnsafeBytes { a in
        b.withUnsafeBytes { b in
            let common = min(a.count, b.count)
            var index = 0
            while index + 8 <= common {  // as eight bytes of a large number
                let x = UInt64(bigEndian: a.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                let y = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                if x != y { return x < y }
                index += 8
            }
            while index < common {
                if a[index] != b[index] { return a[index] < b[index] }
                index += 1
            }
            return a.count < b.count
        }
    }
}

extension Bytes {
    /// Appends what `write` puts at the pointer, at most `room` bytes; it answers how many. Nothing is cleared before.
    @inlinable public mutating func append(room: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Int) {
        append(addingCapacity: room) { span in
            span.withUnsafeMutableBufferPointer { buffer, count in
                guard let start = buffer.baseAddress else { return }
                count = write(start)
            }
        }
    }
}

/// What was read only to bring it into the processor's caches: the compiler would leave such reads away.
@_optimize(none)
package func keepRead(_ sum: UInt64) {}
