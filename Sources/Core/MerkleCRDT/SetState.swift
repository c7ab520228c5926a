// The replicated set: for each key the elements that blocks added and nobody removed. It is a function of the set of merged
// blocks alone, whatever order they came in: a tombstone counts also before its element, and the best survivor is always
// the value. spec/crdt.md CRDT-45..53; bug zoo C01, C02, C05, C08, C23.

import Crypto
import Kernel

/// A sum of hashes over all (key, value) pairs, modulo 2^128: the same for equal states, whatever way led there.
package struct StateDigest: Hashable, Sendable, CustomStringConvertible {
    package private(set) var high: UInt64 = 0
    package private(set) var low: UInt64 = 0
    package init() {}

    mutating func add(_ key: String, _ value: Bytes) { combine(StateDigest.hash(key, value), subtract: false) }
    mutating func remove(_ key: String, _ value: Bytes) { combine(StateDigest.hash(key, value), subtract: true) }

    private mutating func combine(_ h: (UInt64, UInt64), subtract: Bool) {
        if subtract {
            let (l, borrow) = low.subtractingReportingOverflow(h.1)
            (low, high) = (l, high &- h.0 &- (borrow ? 1 : 0))
        } else {
            let (l, carry) = low.addingReportingOverflow(h.1)
            (low, high) = (l, high &+ h.0 &+ (carry ? 1 : 0))
        }
    }

    private static func hash(_ key: String, _ value: Bytes) -> (UInt64, UInt64) {
        let bytes = sha256(Bytes(key.utf8) + [0] + value)
        let word = { (range: Range<Int>) in bytes[range].reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        return (word(0..<8), word(8..<16))
    }

    package var description: String {
        hex(withUnsafeBytes(of: high.bigEndian) { Bytes($0) } + withUnsafeBytes(of: low.bigEndian) { Bytes($0) })
    }
}

/// A block by its number in the replica's table.
typealias BlockNumber = Int

struct SetState: Sendable {
    struct Element: Sendable {
        let block: BlockNumber
        let priority: UInt64
        let value: Bytes
    }
    struct Entry: Sendable {
        /// Not removed; the best first, the others in any order.
        var live: [Element] = []
        var removed: [BlockNumber] = []

        var best: Element? { live.first }

        /// CRDT-47: the higher priority, then the greater value.
        mutating func putBestFirst() {
            guard var index = live.indices.first else { return }
            for i in live.indices.dropFirst() where Entry.precedes(live[index], live[i]) { index = i }
            live.swapAt(0, index)
        }
        static func precedes(_ a: Element, _ b: Element) -> Bool {
            a.priority != b.priority ? a.priority < b.priority : a.value.lexicographicallyPrecedes(b.value)
        }
    }
    struct Change: Equatable, Sendable {
        let key: String
        let old: Bytes?
        let new: Bytes?
    }

    private(set) var entries = SortedMap<String, Entry>()
    private(set) var digest = StateDigest()
    private(set) var count = 0

    func value(_ key: String) -> Bytes? { entries[key]?.best?.value }

    /// Merges what one block says. One change for each key whose best element is another one now.
    mutating func merge(_ delta: Delta, from block: BlockNumber, number: (Delta.Tombstone) -> BlockNumber) -> [Change] {
        var touched: [String: Element?] = [:]
        var order: [String] = []
        func touch(_ key: String, _ entry: Entry?) {
            if touched[key] == nil {
                touched[key] = .some(entry?.best)
                order.append(key)
            }
        }
        for tombstone in delta.tombstones {
            touch(tombstone.key, entries[tombstone.key])
            remove(tombstone.key, number(tombstone))
        }
        for element in SetState.greatest(delta.elements) {
            touch(element.key, entries[element.key])
            add(element, block, delta.priority)
        }
        return order.compactMap { key in change(of: key, since: touched[key] ?? nil) }
    }

    /// C08: of several values for one key the greatest counts, as it does when the winner is elected anew.
    private static func greatest(_ elements: [Delta.Element]) -> [Delta.Element] {
        guard elements.count > 1 else { return elements }
        var index: [String: Int] = [:]
        var out: [Delta.Element] = []
        out.reserveCapacity(elements.count)
        for element in elements {
            if let at = index[element.key] {
                if out[at].value.lexicographicallyPrecedes(element.value) { out[at] = element }
            } else {
                index[element.key] = out.count
                out.append(element)
            }
        }
        return out
    }

    private mutating func remove(_ key: String, _ block: BlockNumber) {
        var entry = entries[key] ?? Entry()
        if !entry.removed.contains(block) { entry.removed.append(block) }
        entry.live.removeAll { $0.block == block }
        entry.putBestFirst()
        entries[key] = entry
    }

    private mutating func add(_ element: Delta.Element, _ block: BlockNumber, _ priority: UInt64) {
        var entry = entries[element.key] ?? Entry()
        guard !entry.removed.contains(block), !entry.live.contains(where: { $0.block == block }) else { return }
        entry.live.append(Element(block: block, priority: priority, value: element.value))
        entry.putBestFirst()
        entries[element.key] = entry
    }

    private mutating func change(of key: String, since old: Element?) -> Change? {
        let new = entries[key]?.best
        guard old?.block != new?.block || old?.value != new?.value else { return nil }
        if let old { digest.remove(key, old.value); count -= 1 }
        if let new { digest.add(key, new.value); count += 1 }
        return Change(key: key, old: old?.value, new: new?.value)
    }
}
