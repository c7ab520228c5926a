// What will happen, in the order of virtual time. Ties are broken by the tie, then by the order of scheduling.

package struct EventQueue<Event> {
    /// Small, since it is moved often; the events themselves stay where they are.
    private struct Entry {
        let at: Int64
        let number: UInt64
        let tie: UInt32
        let slot: Int32
        @inline(__always)
        static func precedes(_ a: Entry, _ b: Entry) -> Bool {
            a.at != b.at ? a.at < b.at : a.tie != b.tie ? a.tie < b.tie : a.number < b.number
        }
    }
    private var heap: [Entry] = []
    private var slots: [(event: Event, cause: Int)?] = []
    private var free: [Int32] = []
    private var number: UInt64 = 0

    package init() {}
    package var count: Int { heap.count }
    package var nextTime: Int64? { heap.first?.at }

    /// `cause` comes back with the event.
    package mutating func schedule(_ event: Event, at: Int64, tie: UInt32 = 0, cause: Int = -1) {
        number += 1
        let slot: Int32
        if let last = free.popLast() {
            slot = last
            slots[Int(slot)] = (event, cause)
        } else {
            slot = Int32(slots.count)
            slots.append((event, cause))
        }
        heap.append(Entry(at: at, number: number, tie: tie, slot: slot))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Entry.precedes(heap[child], heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    package mutating func next() -> (at: Int64, event: Event, cause: Int)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        var taken: (event: Event, cause: Int)?
        swap(&taken, &slots[Int(first.slot)])
        free.append(first.slot)
        return taken.map { (first.at, $0.event, $0.cause) }
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            let left = 2 * parent + 1
            if left < heap.count, Entry.precedes(heap[left], heap[least]) { least = left }
            if left + 1 < heap.count, Entry.precedes(heap[left + 1], heap[least]) { least = left + 1 }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
