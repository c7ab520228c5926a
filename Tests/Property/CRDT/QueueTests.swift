// Writes that wait for the disk come to their turn, whatever the ones before them come to.

import Kernel
import MerkleCRDT
import Testing

@Suite struct QueueTests {
    /// Removals of what is gone already write nothing, and must not leave those behind them waiting (seed 910115).
    @Test func removalsOfNothingDoNotEndTheChain() throws {
        var room = try Room(1)
        room.put(0, "/a", [1])
        room.holdsSyncs = true
        room.put(0, "/b", [1])
        let first = room.delete(0, "/a")
        let rest = (0..<4).map { _ in room.delete(0, "/a") } + [room.put(0, "/c", [1])]
        room.endSyncs()
        for id in [first] + rest { #expect(room.members[0].finished[id] == .some(nil)) }
        #expect(room.members[0].replica.pendingCount == 0)
        #expect(room.values(0).map(\.key).sorted() == ["/b", "/c"])
    }
}
