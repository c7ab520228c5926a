// Writes into room that was made before: what turns pins into bytes by the million has no time to ask for it piece by piece.

import Kernel
import Multiformats

/// Who makes one has seen to it that everything fits.
struct RawWriter {
    private(set) var at: UnsafeMutablePointer<UInt8>

    init(_ start: UnsafeMutablePointer<UInt8>) { at = start }

    func count(since start: UnsafeMutablePointer<UInt8>) -> Int { at - start }

    @inline(__always) mutating func byte(_ value: UInt8) {
        at.pointee = value
        at += 1
    }
    @inline(__always) mutating func bytes(_ value: UnsafeRawBufferPointer) {
        guard let base = value.baseAddress else { return }
        UnsafeMutableRawPointer(at).copyMemory(from: base, byteCount: value.count)
        at += value.count
    }
    @inline(__always) mutating func text(_ value: StaticString) {
        UnsafeMutableRawPointer(at).copyMemory(from: value.utf8Start, byteCount: value.utf8CodeUnitCount)
        at += value.utf8CodeUnitCount
    }
    /// Over what someone else has written.
    @inline(__always) mutating func skip(_ count: Int) { at += count }

    // MARK: Protobuf

    @inline(__always) mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            byte(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        byte(UInt8(truncatingIfNeeded: value))
    }
    /// Proto3: nothing is written of a zero.
    @inline(__always) mutating func number(_ field: UInt8, _ value: UInt64) {
        guard value != 0 else { return }
        byte(field << 3)
        varint(value)
    }
    @inline(__always) mutating func field(_ field: UInt8, _ value: UnsafeRawBufferPointer) {
        byte(field << 3 | 2)
        varint(UInt64(value.count))
        bytes(value)
    }
    mutating func field(_ number: UInt8, _ value: Bytes) { value.withUnsafeBytes { field(number, $0) } }
    mutating func field(_ number: UInt8, _ value: String) {
        let isDone: Void? = value.utf8.withContiguousStorageIfAvailable { field(number, UnsafeRawBufferPointer($0)) }
        if isDone == nil { field(number, Bytes(value.utf8)) }
    }
}

/// How long what `RawWriter` writes is.
enum RawCount {
    @inline(__always) static func varint(_ value: UInt64) -> Int { (70 &- (value | 1).leadingZeroBitCount) / 7 }
    @inline(__always) static func number(_ value: UInt64) -> Int { value == 0 ? 0 : 1 &+ varint(value) }
    @inline(__always) static func field(_ count: Int) -> Int { 1 &+ varint(UInt64(count)) &+ count }
}

/// The sign in the lowest bit.
@inline(__always) func zigzag(_ value: Int) -> UInt64 { UInt64(bitPattern: Int64(value << 1 ^ value >> 63)) }
