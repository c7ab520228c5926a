// Where the simulator's chances come from: a stream of its own for each (seed, domain, subject, event), so that taking one
// event out of a run leaves the draws of all others as they were.

import Kernel

package struct Draws: Sendable {
    package enum Domain: UInt64, Sendable {
        case options = 1, workload, faults, latency, link, peer, disk, ipfs, clock, identity, ties
    }
    package let seed: UInt64
    package init(seed: UInt64) { self.seed = seed }

    package func stream(_ domain: Domain, _ a: UInt64 = 0, _ b: UInt64 = 0) -> Choices {
        var state = seed
        for word in [domain.rawValue, a, b] {
            var mixer = Choices(seed: state ^ (word &* 0xd6e8_feb8_6659_fd93))
            state = mixer.next()
        }
        return Choices(seed: state)
    }
}

/// A 64-bit FNV-1a over everything that happens: two runs are the same if and only if these are.
package struct TraceDigest: Equatable, Sendable, CustomStringConvertible {
    package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
    package init() {}
    package mutating func mix(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
    package mutating func mix(_ word: UInt64) {
        var word = word
        for _ in 0..<8 { value = (value ^ (word & 0xff)) &* 0x100_0000_01b3; word >>= 8 }
    }
    package var description: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
