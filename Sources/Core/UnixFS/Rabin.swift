// Rabin fingerprints over GF(2), with the window, polynomial and masks that IPFS uses: chunks must come out the same.

import Kernel

struct Rabin: Sendable {
    private static let windowSize = 16
    private static let polynomial: UInt64 = 17_437_180_132_763_653
    private static let degree: UInt64 = 53
    private static let tables = Tables()

    /// `out[b]` takes byte b out of the window; `mod[t]` reduces the eight bits above the degree.
    private struct Tables: Sendable {
        var out = [UInt64](repeating: 0, count: 256)
        var mod = [UInt64](repeating: 0, count: 256)
        init() {
            for byte in 0..<256 {
                var hash = Rabin.reduced(UInt64(byte))
                for _ in 1..<Rabin.windowSize { hash = Rabin.reduced(hash << 8) }
                out[byte] = hash
                mod[byte] = Rabin.reduced(UInt64(byte) << Rabin.degree) | UInt64(byte) << Rabin.degree
            }
        }
    }

    private static func reduced(_ value: UInt64) -> UInt64 {
        var value = value
        while value >> degree != 0 {
            let shift = UInt64(63 - value.leadingZeroBitCount) - degree
            value ^= polynomial << shift
        }
        return value
    }

    private let minimum: Int
    private let maximum: Int
    private let mask: UInt64
    private var window = [UInt8](repeating: 0, count: Rabin.windowSize)
    private var position = 0
    private var digest: UInt64 = 0
    /// Bytes of this chunk so far.
    private var count = 0

    init(minimum: Int, average: Int, maximum: Int) {
        // Upstream's unsigned arithmetic turns a minimum below the window into "never cut".
        self.minimum = minimum < Self.windowSize ? .max : minimum
        self.maximum = maximum
        mask = average > 0 ? 1 << UInt64(63 - UInt64(average).leadingZeroBitCount) - 1 : 0
        restart()
    }

    private mutating func restart() {
        for i in window.indices { window[i] = 0 }
        position = 0
        digest = 0
        count = 0
        slide(1)
    }

    private mutating func slide(_ byte: UInt8) {
        digest ^= Self.tables.out[Int(window[position])]
        window[position] = byte
        position = (position + 1) % Self.windowSize
        let top = Int(digest >> (Self.degree - 8))
        digest = digest << 8 | UInt64(byte)
        digest ^= Self.tables.mod[top]
    }

    /// Goes on with bytes not seen before. The length of the chunk if it ends in them; what follows is not looked at.
    mutating func scan(_ bytes: ArraySlice<UInt8>) -> Int? {
        let skipped = max(0, min(bytes.count, minimum - Self.windowSize - count))
        count += skipped
        let end = bytes.dropFirst(skipped).withUnsafeBufferPointer { scan($0) }
        guard end else { return nil }
        defer { restart() }
        return count
    }

    private mutating func scan(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in bytes {
            slide(byte)
            count += 1
            if count >= minimum, digest & mask == 0 || count >= maximum { return true }
        }
        return false
    }
}
