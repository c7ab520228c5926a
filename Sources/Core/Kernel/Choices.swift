// Every free decision of the core (jitter, sampling, nonces for the wire) is drawn from here.

/// A source of choices: SplitMix64. RealNet seeds it from the operating system, SimNet from (seed, peer, event).
/// Never use it for keys or secrets.
package struct Choices: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Uniform in `0 ..< bound`. Deterministic across platforms and library versions, unlike `Int.random(in:using:)`.
    package mutating func below(_ bound: Int) -> Int {
        invariant(bound > 0, "a choice among \(bound)")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    package mutating func chance(_ numerator: Int, in denominator: Int) -> Bool { below(denominator) < numerator }

    /// A span in `low ... high`.
    package mutating func span(_ low: Span, _ high: Span) -> Span {
        let width = high.nanoseconds - low.nanoseconds
        return width <= 0 ? low : Span(nanoseconds: low.nanoseconds + Int64(below(Int(width) + 1)))
    }

    /// A random order (Fisher–Yates).
    package mutating func permuted<T>(_ items: [T]) -> [T] {
        var items = items
        guard items.count > 1 else { return items }
        for i in stride(from: items.count - 1, to: 0, by: -1) { items.swapAt(i, below(i + 1)) }
        return items
    }

    /// Up to `count` different items in random order.
    package mutating func sample<T>(_ items: [T], _ count: Int) -> [T] { Array(permuted(items).prefix(count)) }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(count)
        while out.count < count {
            var word = next()
            for _ in 0..<min(8, count - out.count) {
                out.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        return out
    }
}
