// A fast hash of bytes to 128 bits, for checksums, index keys and digests: two lanes of full 64-bit products, as in the wyhash
// family. It tells damage and accidents, not adversaries; whatever must withstand those is hashed by the Crypto module.

package struct Mixed: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64
    package init(high: UInt64, low: UInt64) { self.high = high; self.low = low }
    package var low32: UInt32 { UInt32(truncatingIfNeeded: low) }
}

package func mix(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> Mixed {
    var lanes = Lanes(seed: seed, count: bytes.count)
    var offset = 0
    while offset + 16 <= bytes.count {
        lanes.take(word(bytes, offset), word(bytes, offset + 8))
        offset += 16
    }
    if offset < bytes.count { lanes.take(partialWord(bytes, offset), partialWord(bytes, offset + 8)) }
    return lanes.finished
}

/// The usual kinds, without asking for their types.
package func mix(_ bytes: Bytes, seed: UInt64) -> Mixed { bytes.withUnsafeBytes { mix($0, seed: seed) } }
package func mix(_ bytes: ArraySlice<UInt8>, seed: UInt64) -> Mixed { bytes.withUnsafeBytes { mix($0, seed: seed) } }
package func mix(_ bytes: some Collection<UInt8>, seed: UInt64) -> Mixed {
    bytes.withContiguousStorageIfAvailable { mix(UnsafeRawBufferPointer($0), seed: seed) }
        ?? Bytes(bytes).withUnsafeBytes { mix($0, seed: seed) }
}

@inline(__always)
private func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
}

/// What is left of the bytes from there, zeros after it.
private func partialWord(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    if offset + 8 <= bytes.count { return word(bytes, offset) }
    var value: UInt64 = 0
    var index = bytes.count - 1
    while index >= offset {
        value = value << 8 | UInt64(bytes[index])
        index -= 1
    }
    return value
}

private struct Lanes {
    private var a: UInt64
    private var b: UInt64

    @inline(__always)
    init(seed: UInt64, count: Int) {
        a = seed ^ 0xa076_1d64_78bd_642f
        b = (seed &+ UInt64(truncatingIfNeeded: count)) ^ 0xe703_7ed1_a0b4_28db
    }

    @inline(__always)
    mutating func take(_ x: UInt64, _ y: UInt64) {
        let first = (x ^ a).multipliedFullWidth(by: y ^ 0x8ebc_6af0_9c88_c6e3)
        let second = (y ^ b).multipliedFullWidth(by: x ^ 0x5899_65cc_7537_4cc3)
        a = (first.high ^ first.low) &+ (a << 23 | a >> 41)
        b = (second.high ^ second.low) &+ (b << 29 | b >> 35)
    }

    var finished: Mixed {
        let cross = (a ^ 0x1d8e_4e27_c47d_124f).multipliedFullWidth(by: b | 1)
        return Mixed(high: Lanes.spread(a &+ cross.high), low: Lanes.spread(b ^ cross.low))
    }

    /// The finaliser of SplitMix64.
    private static func spread(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// Little-endian integers in bytes.
@inlinable
public func load<T: FixedWidthInteger>(_ bytes: UnsafeRawBufferPointer, _ offset: Int, as type: T.Type = T.self) -> T {
    T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
}
@inlinable
public func store<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8], at offset: Int) {
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self) }
}
@inlinable
public func append<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
}
