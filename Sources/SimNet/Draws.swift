// Where the simulator's chances come from: a stream of its own for each (seed, domain, subject, count), so that taking one
// event out of a run leaves the draws of all others as they were.

import Kernel

package enum Domain: UInt64, CaseIterable, Sendable {
    case options = 1, workload, faults, latency, link, peer, disk, ipfs, clock, identity, ties, job, reader, crash, swarm, drill
}

/// The choices of a run: a seed, and the domains in which every chance falls to its calmest value instead (at once, in
/// order, no fault). Shrinking a run calms what does not matter to its failure.
package struct Tape: Equatable, Sendable {
    package var seed: UInt64
    private var calmBits: UInt64 = 0
    package init(seed: UInt64, calm: [Domain] = []) {
        self.seed = seed
        for domain in calm { calmBits |= 1 << domain.rawValue }
    }
    /// What `calm` is of use to.
    package static let calmable: [Domain] = [.latency, .ties, .disk, .ipfs, .job, .reader]
    package var calm: [Domain] {
        get { Domain.allCases.filter { isCalm($0) } }
        set { calmBits = newValue.reduce(0) { $0 | 1 << $1.rawValue } }
    }
    package func isCalm(_ domain: Domain) -> Bool { calmBits & 1 << domain.rawValue != 0 }

    package func stream(_ domain: Domain, _ a: UInt64 = 0, _ b: UInt64 = 0) -> Choices {
        var state = seed
        for word in [domain.rawValue, a, b] {
            var mixer = Choices(seed: state ^ (word &* 0xd6e8_feb8_6659_fd93))
            state = mixer.next()
        }
        return Choices(seed: state)
    }

    /// A span of the stream, or the shortest.
    package func span(_ domain: Domain, _ a: UInt64, _ b: UInt64, _ low: Span, _ high: Span) -> Span {
        if isCalm(domain) { return low }
        var choices = stream(domain, a, b)
        return choices.span(low, high)
    }
    /// How an event stands to others of the same time.
    func tie(_ subject: UInt64, _ count: UInt64) -> UInt32 {
        if isCalm(.ties) { return 0 }
        var choices = stream(.ties, subject, count)
        return UInt32(truncatingIfNeeded: choices.next())
    }
}

/// A digest over everything that happens: two runs are the same if and only if these are.
package struct TraceDigest: Equatable, Sendable, CustomStringConvertible {
    package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
    package init() {}
    package mutating func mix(_ bytes: Bytes) { mix(Kernel.mix(bytes, seed: value).low) }
    package mutating func mix(_ text: String) {
        var text = text
        let low = text.withUTF8 { Kernel.mix(UnsafeRawBufferPointer($0), seed: value).low }
        mix(low)
    }
    package mutating func mix(_ word: UInt64) {
        let product = (value ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
        value = product.high ^ product.low ^ (word << 32 | word >> 32) &+ 1
    }
    package var description: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
