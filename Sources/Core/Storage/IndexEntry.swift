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
    /// The number of an entry in the lower bits, from 1 on, and above it a part of its hash, so that a look at the entry is rarely
    /// for nothing; 0 is free. A power of two.
    private var slots: [UInt32]
    private var numberMask: UInt32

    init(capacity: Int) {
        var count = 16
        while count < capacity * 2 { count *= 2 }
        slots = [UInt32](repeating: 0, count: count)
        numberMask = UInt32(count - 1)
        entries.reserveCapacity(capacity)
    }

    var count: Int { entries.count }

    @inline(__always)
    private func place(_ hash: UInt64) -> (slot: Int, tag: UInt32) {
        let spread = hash &* 0x9e37_79b9_7f4a_7c15
        return (Int(truncatingIfNeeded: spread >> 20) & (slots.count - 1), UInt32(truncatingIfNeeded: spread >> 24) & ~numberMask)
    }

    /// The first slot from there on for which the entry's test holds, or the free slot that ends the chain.
    @inline(__always)
    private func probe(_ hash: UInt64, _ test: (IndexEntry) -> Bool) -> (slot: Int, tag: UInt32, found: Int?) {
        let (start, tag) = place(hash)
        let mask = slots.count - 1
        return slots.withUnsafeBufferPointer { slots in
            var at = start
            while slots[at] != 0 {
                if slots[at] & ~numberMask == tag, case let index = Int(slots[at] & numberMask) - 1, test(entries[index]) {
                    return (at, tag, index)
                }
                at = (at + 1) & mask
            }
            return (at, tag, nil)
        }
    }

    /// Brings what a question will look at into the processor's caches.
    @inline(__always)
    func touch(_ hash: UInt64) -> UInt32 { slots.withUnsafeBufferPointer { $0[place(hash).slot] } }

    private mutating func append(_ entry: IndexEntry, _ slot: Int, _ tag: UInt32) {
        entries.append(entry)
        slots[slot] = tag | UInt32(entries.count)
        if entries.count * 2 > slots.count { grow() }
    }

    /// A newer version replaces an older one.
    mutating func set(_ hash: UInt64, _ word: IndexWord) {
        let entry = IndexEntry(hash: hash, word)
        let (slot, tag, found) = probe(hash) { $0.isSamePlace(as: entry) }
        if let found { entries[found] = entry } else { append(entry, slot, tag) }
    }

    /// False: the hash is here already, and nothing was done.
    @inline(__always)
    mutating func insertIfNew(_ hash: UInt64, _ word: IndexWord) -> Bool {
        let (slot, tag, found) = probe(hash) { $0.hash == hash }
        if found != nil { return false }
        append(IndexEntry(hash: hash, word), slot, tag)
        return true
    }

    private mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count * 2)
        numberMask = UInt32(slots.count - 1)
        for (index, entry) in entries.enumerated() {
            let (slot, tag, _) = probe(entry.hash) { _ in false }
            slots[slot] = tag | UInt32(index + 1)
        }
    }

    @inline(__always)
    func contains(_ hash: UInt64) -> Bool { probe(hash) { $0.hash == hash }.found != nil }

    func collect(_ hash: UInt64, into found: inout Few<IndexWord>) {
        _ = probe(hash) { entry in
            if entry.hash == hash { found.append(entry.word) }
            return false
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

/// Hashes that have been seen: a set for a moment.
package struct HashSet: Sendable {
    private var slots: [UInt64]
    private var count = 0

    package init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [UInt64](repeating: .max, count: size)
    }

    /// False: it was here before. No hash has all its bits set: they have 48.
    package mutating func insert(_ hash: UInt64) -> Bool {
        var at = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[at] != .max {
            if slots[at] == hash { return false }
            at = (at + 1) & (slots.count - 1)
        }
        slots[at] = hash
        count += 1
        if count * 2 > slots.count { grow() }
        return true
    }

    package func contains(_ hash: UInt64) -> Bool {
        var at = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[at] != .max {
            if slots[at] == hash { return true }
            at = (at + 1) & (slots.count - 1)
        }
        return false
    }

    private mutating func grow() {
        let old = slots
        slots = [UInt64](repeating: .max, count: old.count * 2)
        count = 0
        for hash in old where hash != .max { _ = insert(hash) }
    }
}
