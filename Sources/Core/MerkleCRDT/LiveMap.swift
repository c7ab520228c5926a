// Which elements of the log are the values of their keys: one bit for each 32 bytes of the log, in which at most one element
// begins. The pinset is listed by reading the log through and taking what is live.

import Kernel
import Storage

package struct LiveMap: Sendable {
    /// By segment, as long as something was ever live there.
    private var segments: [[UInt64]] = []

    private static func place(_ address: LogAddress) -> (segment: Int, word: Int, bit: UInt64) {
        let cell = address.offset / StoredBlock.elementBytesMin
        return (Int(address.segment), cell >> 6, 1 << UInt64(cell & 63))
    }

    package func contains(_ address: LogAddress) -> Bool {
        let (segment, word, bit) = LiveMap.place(address)
        return segment < segments.count && word < segments[segment].count && segments[segment][word] & bit != 0
    }

    package mutating func insert(_ address: LogAddress) {
        let (segment, word, bit) = LiveMap.place(address)
        if segment >= segments.count { segments.append(contentsOf: repeatElement([], count: segment + 1 - segments.count)) }
        if word >= segments[segment].count { grow(segment, word) }
        segments[segment][word] |= bit
    }

    private mutating func grow(_ segment: Int, _ word: Int) {
        let missing = max(word + 1, segments[segment].count * 2, 64) - segments[segment].count
        segments[segment].append(contentsOf: repeatElement(0, count: missing))
    }

    package mutating func remove(_ address: LogAddress) {
        let (segment, word, bit) = LiveMap.place(address)
        if segment < segments.count, word < segments[segment].count { segments[segment][word] &= ~bit }
    }

    /// True if nothing between the two is live; both in one segment.
    func isEmpty(from start: LogAddress, to end: LogAddress) -> Bool {
        let segment = Int(start.segment)
        guard segment < segments.count, !segments[segment].isEmpty else { return true }
        let first = LiveMap.place(start).word, last = LiveMap.place(end).word
        guard first < segments[segment].count else { return true }
        return segments[segment][first...min(last, segments[segment].count - 1)].allSatisfy { $0 == 0 }
    }

    // MARK: Kept

    /// Each segment by itself: number, count of words, words.
    var pieces: [Bytes] {
        segments.enumerated().compactMap { number, words in
            guard !words.isEmpty else { return nil }
            let count = (words.lastIndex { $0 != 0 } ?? -1) + 1
            var out = Bytes()
            out.reserveCapacity(8 + count * 8)
            append(UInt32(number), to: &out)
            append(UInt32(count), to: &out)
            words.withUnsafeBytes { out.append(contentsOf: $0.prefix(count * 8)) }
            return out
        }
    }

    /// Nil if the bytes are none of `pieces` one after another.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var at = 0
        while at < bytes.count {
            guard at + 8 <= bytes.count else { return nil }
            let number = Int(load(bytes, at, as: UInt32.self)), count = Int(load(bytes, at + 4, as: UInt32.self))
            at += 8
            guard count * 8 <= bytes.count - at, number < 1 << 18 else { return nil }
            if number >= segments.count { segments.append(contentsOf: repeatElement([], count: number + 1 - segments.count)) }
            segments[number] = (0..<count).map { load(bytes, at + 8 * $0, as: UInt64.self) }
            at += count * 8
        }
    }
    package init() {}
}
