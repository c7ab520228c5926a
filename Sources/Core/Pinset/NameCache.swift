// The few names that every pin repeats: peer IDs and their texts. A fixed table in which a newcomer takes another's place.

import Kernel

struct NameCache: Sendable {
    private static let slotBytes = 128, slotCount = 256
    private static let keyMax = 62, valueMax = 62
    /// Each slot: the key's length, the value's, the key, and from the middle on the value.
    private var slots: Bytes = []

    /// Copies the value that was kept for the key. Nil where there is none.
    func copy(of key: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) -> Int? {
        guard !slots.isEmpty, let slot = NameCache.slot(key) else { return nil }
        return slots.withUnsafeBytes { slots in
            let start = slot * NameCache.slotBytes, count = Int(slots[start + 1])
            let kept = UnsafeRawBufferPointer(rebasing: slots[start + 2..<start + 2 + Int(slots[start])])
            guard same(kept, key) else { return nil }
            UnsafeMutableRawBufferPointer(start: out, count: count)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: slots[start + 64..<start + 64 + count]))
            return count
        }
    }

    mutating func keep(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        guard value.count <= NameCache.valueMax, let slot = NameCache.slot(key) else { return }
        if slots.isEmpty { slots = Bytes(repeating: 0, count: NameCache.slotBytes * NameCache.slotCount) }
        slots.withUnsafeMutableBytes { slots in
            let start = slot * NameCache.slotBytes
            (slots[start], slots[start + 1]) = (UInt8(key.count), UInt8(value.count))
            UnsafeMutableRawBufferPointer(rebasing: slots[(start + 2)...]).copyMemory(from: key)
            UnsafeMutableRawBufferPointer(rebasing: slots[(start + 64)...]).copyMemory(from: value)
        }
    }

    /// By its last bytes, which differ. Nil for what is too short or too long to be kept.
    private static func slot(_ key: UnsafeRawBufferPointer) -> Int? {
        guard key.count >= 8, key.count <= keyMax else { return nil }
        let tail = key.loadUnaligned(fromByteOffset: key.count - 8, as: UInt64.self)
        return Int(truncatingIfNeeded: (tail &* 0x9e37_79b9_7f4a_7c15) >> 56)
    }
}

func same(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    var index = 0
    while a.count &- index >= 8 {
        guard a.loadUnaligned(fromByteOffset: index, as: UInt64.self) == b.loadUnaligned(fromByteOffset: index, as: UInt64.self) else {
            return false
        }
        index = index &+ 8
    }
    while index < a.count {
        guard a[index] == b[index] else { return false }
        index = index &+ 1
    }
    return true
}
