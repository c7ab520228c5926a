// Two clocks, both handed in. Deadlines use the monotonic one; what is stored or sent uses the wall clock.

/// A point on one peer's monotonic clock, in nanoseconds from an arbitrary origin.
public struct Instant: Comparable, Hashable, Sendable {
    public var nanoseconds: Int64

    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    public static let origin = Instant(nanoseconds: 0)

    @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
    /// Saturates instead of overflowing: a deadline beyond 292 years is never.
    @inlinable public static func + (a: Instant, b: Span) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Instant(nanoseconds: overflow ? .max : sum)
    }
    @inlinable public static func - (a: Instant, b: Instant) -> Span { Span(nanoseconds: a.nanoseconds - b.nanoseconds) }
}

/// A length of time in nanoseconds (Go's `time.Duration`, so that configuration values keep their exact range).
public struct Span: Comparable, Hashable, Sendable {
    public var nanoseconds: Int64

    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    public static let zero = Span(nanoseconds: 0)
    @inlinable public static func nanoseconds(_ n: Int64) -> Span { Span(nanoseconds: n) }
    @inlinable public static func milliseconds(_ n: Int64) -> Span { Span(nanoseconds: n * 1_000_000) }
    @inlinable public static func seconds(_ n: Int64) -> Span { Span(nanoseconds: n * 1_000_000_000) }
    @inlinable public static func minutes(_ n: Int64) -> Span { .seconds(n * 60) }
    @inlinable public static func hours(_ n: Int64) -> Span { .seconds(n * 3600) }

    @inlinable public static func < (a: Span, b: Span) -> Bool { a.nanoseconds < b.nanoseconds }
    @inlinable public static func + (a: Span, b: Span) -> Span { Span(nanoseconds: a.nanoseconds &+ b.nanoseconds) }
    @inlinable public static func - (a: Span, b: Span) -> Span { Span(nanoseconds: a.nanoseconds &- b.nanoseconds) }
    @inlinable public static func * (a: Span, b: Int64) -> Span { Span(nanoseconds: a.nanoseconds * b) }
    @inlinable public static func / (a: Span, b: Int64) -> Span { Span(nanoseconds: a.nanoseconds / b) }
}

/// A wall-clock time: seconds since the Unix epoch and nanoseconds within the second, always UTC.
/// `unset` is Go's zero time (year 1), which upstream's JSON prints and whose msgpack form is nil (MP-08).
package struct WallTime: Comparable, Hashable, Sendable {
    package var seconds: Int64
    package var nanoseconds: Int32  // 0 ..< 1e9

    package init(seconds: Int64, nanoseconds: Int32 = 0) {
        invariant((0..<1_000_000_000).contains(nanoseconds), "nanoseconds within a second, got \(nanoseconds)")
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// From Unix nanoseconds, as metrics carry them.
    package init(unixNanoseconds total: Int64) {
        var (s, n) = total.quotientAndRemainder(dividingBy: 1_000_000_000)
        if n < 0 { s -= 1; n += 1_000_000_000 }
        self.init(seconds: s, nanoseconds: Int32(n))
    }

    package static let unset = WallTime(seconds: -62_135_596_800)
    package static let epoch = WallTime(seconds: 0)
    package var isUnset: Bool { self == .unset }

    /// Saturates outside the years 1678 to 2262, where Go's UnixNano is undefined.
    package var unixNanoseconds: Int64 {
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, overflow2) = product.addingReportingOverflow(Int64(nanoseconds))
        return overflow2 ? .max : sum
    }

    package static func < (a: WallTime, b: WallTime) -> Bool {
        (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
    }

    package static func + (a: WallTime, b: Span) -> WallTime {
        let (s, n) = b.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        var seconds = a.seconds &+ s
        var nanos = Int64(a.nanoseconds) + n
        if nanos < 0 { seconds -= 1; nanos += 1_000_000_000 }
        if nanos >= 1_000_000_000 { seconds += 1; nanos -= 1_000_000_000 }
        return WallTime(seconds: seconds, nanoseconds: Int32(nanos))
    }

    package static func - (a: WallTime, b: WallTime) -> Span {
        Span(nanoseconds: a.unixNanoseconds &- b.unixNanoseconds)
    }
}

/// What a peer's clocks say when an input is handed to it.
package struct Now: Hashable, Sendable {
    package var monotonic: Instant
    package var wall: WallTime
    package init(monotonic: Instant, wall: WallTime) {
        self.monotonic = monotonic
        self.wall = wall
    }
}

/// The earlier of two deadlines, where nil is never.
@inlinable public func earliest(_ a: Instant?, _ b: Instant?) -> Instant? {
    guard let a else { return b }
    guard let b else { return a }
    return min(a, b)
}
