// What a pinset is, in 16 bytes: the same for equal states, whatever way led there, and kept up with each change.

import Kernel

/// A sum of hashes over all (key, value) pairs, modulo 2^128. It tells accidents, not adversaries (see `mix`).
package struct StateDigest: Hashable, Sendable, CustomStringConvertible {
    package private(set) var high: UInt64 = 0
    package private(set) var low: UInt64 = 0
    package init() {}
    init(high: UInt64, low: UInt64) { (self.high, self.low) = (high, low) }

    mutating func add(_ mixed: Mixed) {
        let (sum, carry) = low.addingReportingOverflow(mixed.low)
        (low, high) = (sum, high &+ mixed.high &+ (carry ? 1 : 0))
    }
    mutating func remove(_ mixed: Mixed) {
        let (rest, borrow) = low.subtractingReportingOverflow(mixed.low)
        (low, high) = (rest, high &- mixed.high &- (borrow ? 1 : 0))
    }

    /// Of these keys and values, from nothing.
    package static func of(_ pairs: some Sequence<(key: String, value: Bytes)>) -> StateDigest {
        var digest = StateDigest()
        for (key, value) in pairs {
            digest.add(Bytes(key.utf8).withUnsafeBytes { key in
                value.withUnsafeBytes { StoredKey.isDerived(key, from: $0) ? StoredKey.mixed(derived: $0) : StoredKey.mixed(key, $0) }
            })
        }
        return digest
    }

    package var description: String {
        hex(withUnsafeBytes(of: high.bigEndian) { Bytes($0) } + withUnsafeBytes(of: low.bigEndian) { Bytes($0) })
    }
}

/// The digest and the number of keys, for each of 256 ranges of the keys' hashes: two states that differ can be compared range by
/// range.
package struct RangeDigests: Equatable, Sendable {
    package private(set) var digests = [StateDigest](repeating: StateDigest(), count: 256)
    package private(set) var counts = [Int](repeating: 0, count: 256)
    package private(set) var total = StateDigest()
    package private(set) var count = 0

    init() {}

    @inline(__always)
    mutating func add(_ hash: UInt64, _ mixed: Mixed) {
        let range = Int(hash >> 40)
        digests[range].add(mixed)
        counts[range] += 1
        total.add(mixed)
        count += 1
    }
    mutating func remove(_ hash: UInt64, _ mixed: Mixed) {
        let range = Int(hash >> 40)
        digests[range].remove(mixed)
        counts[range] -= 1
        total.remove(mixed)
        count -= 1
    }

    static let bytesCount = 256 * 24
    var bytes: Bytes {
        var out = Bytes()
        for (digest, count) in zip(digests, counts) {
            append(digest.high, to: &out)
            append(digest.low, to: &out)
            append(UInt64(count), to: &out)
        }
        return out
    }

    /// Nil if the counts are none.
    init?(_ bytes: UnsafeRawBufferPointer) {
        invariant(bytes.count == RangeDigests.bytesCount, "digests of \(bytes.count) bytes")
        for range in 0..<256 {
            let digest = StateDigest(high: load(bytes, range * 24), low: load(bytes, range * 24 + 8))
            digests[range] = digest
            guard let pins = Int32(exactly: load(bytes, range * 24 + 16, as: UInt64.self)) else { return nil }
            counts[range] = Int(pins)
            total.add(Mixed(high: digest.high, low: digest.low))
            count += counts[range]
        }
    }
}
