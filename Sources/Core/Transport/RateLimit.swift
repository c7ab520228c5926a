// So many at once, and then one in an interval, from each network.

import Kernel

struct RateLimit: Sendable {
    private struct Bucket {
        var left: Int
        /// When `left` was what it is.
        var at: Instant
    }
    private let burst: Int
    private let interval: Span
    private var buckets = SortedMap<UInt64, Bucket>()
    private static let bucketsMax = 4096

    init(burst: Int, interval: Span) {
        self.burst = burst
        self.interval = interval
    }

    mutating func allows(_ network: UInt64, _ now: Now) -> Bool {
        var bucket = refilled(buckets[network] ?? Bucket(left: burst, at: now.monotonic), now)
        guard bucket.left > 0 else { return false }
        bucket.left -= 1
        if buckets[network] == nil && buckets.count >= RateLimit.bucketsMax {
            forgetFull(now)
            guard buckets.count < RateLimit.bucketsMax else { return false }
        }
        buckets[network] = bucket
        return true
    }

    private func refilled(_ bucket: Bucket, _ now: Now) -> Bucket {
        let count = (now.monotonic - bucket.at).nanoseconds / max(1, interval.nanoseconds)
        guard count > 0 else { return bucket }
        return Bucket(
            left: Int(min(Int64(burst), Int64(bucket.left) + count)), at: bucket.at + .nanoseconds(count * interval.nanoseconds))
    }

    private mutating func forgetFull(_ now: Now) {
        for (network, bucket) in buckets where refilled(bucket, now).left == burst { buckets[network] = nil }
    }
}
