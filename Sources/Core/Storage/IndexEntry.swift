// What the index holds: for a hash of 48 bits, places in the log. Several keys may share a hash; whoever asks compares the key
// that stands at the place.

import Kernel

/// What stands at a place of the log, and whether the entry takes back an earlier one of the same place.
package struct IndexWord: Hashable, Sendable {
    /// 3 bits of kind, 44 of address, 1 of erasure: 48 bits.
    package let raw: UInt64
    init(raw: UInt64) { self.raw = raw }
    package init(kind: UInt8, _ address: LogAddress, isErased: Bool = false) {
        raw = UInt64(kind) << 45 | address.raw << 1 | (isErased ? 1 : 0)
    }
    package var kind: UInt8 { UInt8(truncatingIfNeeded: raw >> 45) }
    package var address: LogAddress { LogAddress(raw: raw >> 1 & (1 << 44 - 1)) }
    package var isErased: Bool { raw & 1 == 1 }
    /// Entries with the same place are versions of one another: the newest counts.
    var place: UInt64 { raw >> 1 }
}

/// In the order of runs: by hash, kind, address.
struct IndexEntry: Hashable, Sendable {
    /// Hash in the upper 48 bits, the upper 16 of the word below it.
    var high: UInt64
    var low: UInt32

    static let hashBits = 48
    static let bytes = 12

    init(high: UInt64, low: UInt32) { self.high = high; self.low = low }
    init(hash: UInt64, _ word: IndexWord) {
        high = hash << 16 | word.raw >> 32
        low = UInt32(truncatingIfNeeded: word.raw)
    }
    var hash: UInt64 { high >> 16 }
    var word: IndexWord { IndexWord(raw: (high & 0xffff) << 32 | UInt64(low)) }
    var isErased: Bool { low & 1 == 1 }
    @inline(__always)
    func isSamePlace(as other: IndexEntry) -> Bool { high == other.high && low | 1 == other.low | 1 }
    @inline(__always)
    static func < (a: Self, b: Self) -> Bool { a.high != b.high ? a.high < b.high : a.low < b.low }
}

/// The newest entries, in memory: a hash table with chains of equal hashes by linear probing.
struct MemTable: Sendable {
    private(set) var entries: [IndexEntry] = []
    /// Index of an entry, plus one; 0 is free. A power of two.
    private var slots: [UInt32]

    init(capacity: Int) {
        var count = 16
        while count < capacity * 2 { count *= 2 }
        slots = [UInt32](repeating: 0, count: count)
        entries.reserveCapacity(capacity)
    }

    var count: Int { entries.count }
    private func slot(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: (hash &* 0x9e37_79b9_7f4a_7c15) >> 20) & (slots.count - 1) }

    /// A newer version replaces an older one.
    mutating func set(_ hash: UInt64, _ word: IndexWord) {
        let entry = IndexEntry(hash: hash, word)
        var at = slot(hash)
        while slots[at] != 0 {
            let index = Int(slots[at]) - 1
            if entries[index].isSamePlace(as: entry) {
                entries[index] = entry
                return
            }
            at = (at + 1) & (slots.count - 1)
        }
        entries.append(entry)
        slots[at] = UInt32(entries.count)
        if entries.count * 2 > slots.count { grow() }
    }

    private mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count * 2)
        for (index, entry) in entries.enumerated() {
            var at = slot(entry.hash)
            while slots[at] != 0 { at = (at + 1) & (slots.count - 1) }
            slots[at] = UInt32(index + 1)
        }
    }

    func contains(_ hash: UInt64) -> Bool {
        var at = slot(hash)
        while slots[at] != 0 {
            if entries[Int(slots[at]) - 1].hash == hash { return true }
            at = (at + 1) & (slots.count - 1)
        }
        return false
    }

    func collect(_ hash: UInt64, into found: inout [IndexWord]) {
        var at = slot(hash)
        while slots[at] != 0 {
            let entry = entries[Int(slots[at]) - 1]
            if entry.hash == hash { found.append(entry.word) }
            at = (at + 1) & (slots.count - 1)
        }
    }
}

/// Sorted by spreading over buckets by hash, which is uniform, and sorting each small bucket.
func sorted(_ entries: [IndexEntry]) -> [IndexEntry] {
    guard entries.count > 64 else { return entries.sorted(by: <) }
    var bits = 1
    while 1 << bits < entries.count / 8 { bits += 1 }
    let shift = UInt64(64 - bits)
    var starts = [Int](repeating: 0, count: 1 << bits + 1)
    for entry in entries { starts[Int(entry.high >> shift) + 1] += 1 }
    for index in 1..<starts.count { starts[index] += starts[index - 1] }
    var next = starts
    return [IndexEntry](unsafeUninitializedCapacity: entries.count) { out, count in
        for entry in entries {
            let bucket = Int(entry.high >> shift)
            (out.baseAddress! + next[bucket]).initialize(to: entry)
            next[bucket] += 1
        }
        for bucket in 0..<1 << bits { insertionSort(out, starts[bucket], starts[bucket + 1]) }
        count = entries.count
    }
}

private func insertionSort(_ entries: UnsafeMutableBufferPointer<IndexEntry>, _ from: Int, _ to: Int) {
    guard to - from > 1 else { return }
    if to - from > 64 {  // few hashes with many places each
        var bucket = UnsafeMutableBufferPointer(rebasing: entries[from..<to])
        bucket.sort(by: <)
        return
    }
    for index in from + 1..<to {
        let entry = entries[index]
        var hole = index
        while hole > from, entry < entries[hole - 1] {
            entries[hole] = entries[hole - 1]
            hole -= 1
        }
        entries[hole] = entry
    }
}
