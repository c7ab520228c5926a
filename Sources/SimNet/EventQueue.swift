// What will happen, in the order of virtual time. Ties are broken by a draw, then by the order of scheduling.

import Kernel

package struct EventQueue<Event> {
    private struct Entry {
        let at: Int64
        let tie: UInt32
        let number: UInt64
        let event: Event
        static func precedes(_ a: Entry, _ b: Entry) -> Bool { (a.at, a.tie, a.number) < (b.at, b.tie, b.number) }
    }
    private var heap: [Entry] = []
    private var ties: Choices
    private var number: UInt64 = 0

    package init(ties: Choices) { self.ties = ties }
    package var count: Int { heap.count }
    package var nextTime: Int64? { heap.first?.at }

    /// `ordered` events at the same time keep their order among themselves (the bytes of one stream).
    package mutating func schedule(_ event: Event, at: Int64, ordered: Bool = false) {
        number += 1
        let tie = ordered ? UInt32.max / 2 : UInt32(truncatingIfNeeded: ties.next())
        heap.append(Entry(at: at, tie: tie, number: number, event: event))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Entry.precedes(heap[child], heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    package mutating func next() -> (at: Int64, event: Event)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        return (first.at, first.event)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if Entry.precedes(heap[child], heap[least]) { least = child }
            }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
