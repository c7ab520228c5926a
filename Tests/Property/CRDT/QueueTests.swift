// Writes that wait for the disk come to their turn, whatever the ones before them come to.

import Kernel
import MerkleCRDT
import Multiformats
import Seams
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

    /// What is written at once comes after what was accepted before it and waits for the disk, or for its batch.
    @Test(arguments: [false, true]) func whatWaitsIsWrittenBeforeWhatIsNotToWait(isBatching: Bool) throws {
        var room = try Room(1, isBatching ? batching(deltaBytesMax: 1 << 20) : ReplicaSettings())
        room.put(0, "/in the batch", [1])
        room.holdsSyncs = true
        let waiting = [room.put(0, "/under way", [1]), room.put(0, "/k", [1]), room.delete(0, "/under way")]
        let last = room.write(0, [.put(key: "/k", value: [2]), .put(key: "/in the batch", value: [2])])
        room.holdsSyncs = false
        room.endSyncs()
        room.advance(.seconds(30))
        for id in waiting + [last] { #expect(room.members[0].finished[id] == .some(nil)) }
        #expect(room.values(0).map(\.value) == [[2], [2]])
        try room.restart(0)
        #expect(room.values(0).map(\.value) == [[2], [2]] && room.members[0].replica.pendingCount == 0)
    }

    /// A removal that is not durable may fail: whoever asks for the same meanwhile is not told that it is done by then.
    @Test func aRemovalIsDoneWhenItCannotFailAnyMore() throws {
        var room = try Room(1)
        room.put(0, "/k", [1])
        room.holdsSyncs = true
        room.put(0, "/other", [1])
        let removals = [room.delete(0, "/k"), room.delete(0, "/k")]
        room.endSyncs(1)
        for id in removals { #expect(room.members[0].finished[id] == nil) }
        room.failSyncs()
        for id in removals { #expect(room.members[0].finished[id] != .some(nil)) }
        #expect(room.values(0).map(\.key) == ["/k", "/other"])
    }

    /// Two that set a key to the same upon the same heads take back their own alone (seed 6021284).
    @Test func whatIsTakenBackIsNobodyElses() throws {
        var room = try Room(2)
        room.put(0, "/k0", [1])
        room.deliverAll()
        var written: [Multihash?] = [nil, nil]
        for index in 0..<2 {
            room.act(index) { written[index] = $0.putAtOnce("/k", [7], by: "peer \(index)", OperationID(9_000), now: $1, effects: &$3) }
        }
        room.deliverAll()
        for (index, left) in [["/k", "/k0"], ["/k0"]].enumerated() {
            let block = try #require(written[index])
            room.act(index) { $0.takeBack("/k", setBy: block, OperationID(9_001), now: $1, effects: &$3) }
            room.deliverAll()
            for member in 0..<2 { #expect(room.values(member).map(\.key) == left) }
        }
    }

    /// What a failed sync has unwritten comes back with a loss of power, perhaps: who is told that nothing is there must not see it again
    /// (drill of seed 6042734).
    @Test func aRemovalOfNothingWaitsWhereTheLogIsDoubtful() throws {
        var room = try Room(1)
        room.put(0, "/k", [1])
        room.holdsSyncs = true
        let lost = room.put(0, "/lost", [1])
        room.failSyncs()
        #expect(room.members[0].finished[lost] != .some(nil))
        let waiting = room.delete(0, "/lost")
        #expect(room.members[0].finished[waiting] == nil && !room.members[0].replica.isSettled)
        room.act(0) { $0.remove([], OperationID(9_000), now: $1, effects: &$3) }
        #expect(room.members[0].finished[OperationID(9_000)] == nil)
        room.failSyncs()
        #expect(room.members[0].finished[waiting] != nil && room.members[0].finished[waiting] != .some(nil))
        let again = room.delete(0, "/lost")
        room.endSyncs()
        #expect(room.members[0].finished[again] == .some(nil) && room.members[0].replica.isSettled)
        #expect(room.members[0].finished[room.delete(0, "/lost")] == .some(nil), "nothing is in doubt any more")
    }

    private func batching(deltaBytesMax: Int) -> ReplicaSettings {
        var settings = ReplicaSettings()
        (settings.batchSizeMax, settings.batchAgeMax, settings.deltaBytesMax) = (100, .seconds(10), deltaBytesMax)
        return settings
    }

    /// A removal that is still on its way into the log when the batch before it is committed takes what that adds along (seed 160299).
    @Test(arguments: [1 << 20, 10]) func aRemovalKnowsWhatWaitsBeforeIt(deltaBytesMax: Int) throws {
        var room = try Room(1, batching(deltaBytesMax: deltaBytesMax))
        room.put(0, "/k", [1])
        room.advance(.seconds(11))
        #expect(room.values(0).map(\.value) == [[1]])
        room.put(0, "/k", [2])
        room.holdsSyncs = true
        let removal = room.delete(0, "/k")
        room.advance(.seconds(11))
        room.holdsSyncs = false
        room.endSyncs()
        room.advance(.seconds(30))
        #expect(room.members[0].finished[removal] == .some(nil))
        #expect(room.values(0).isEmpty)
        try room.restart(0)
        #expect(room.values(0).isEmpty && room.members[0].replica.pendingCount == 0)
    }

    /// So does one that a crash has left in the batch, when what it was accepted after is in a block.
    @Test func aRemovalThatACrashLeftKnowsWhatIsInABlock() throws {
        var room = try Room(1, batching(deltaBytesMax: 10))
        room.put(0, "/k", [2])
        room.put(0, "/z", [3])
        room.delete(0, "/k")
        room.advance(.seconds(11))
        #expect(room.values(0).map(\.key) == ["/z"])
        try room.restart(0)
        room.advance(.seconds(11))
        #expect(room.values(0).map(\.key) == ["/z"])
    }

    @Test func aBatchThatIsTooLargeIsCommittedAndToldOf() throws {
        var room = try Room(1, batching(deltaBytesMax: 100))
        room.put(0, "/k", [1])
        #expect(room.values(0).isEmpty && room.members[0].news.isEmpty)
        room.put(0, "/l", Bytes(repeating: 1, count: 100))
        #expect(room.values(0).count == 2 && room.members[0].news == [.committed(2, because: .size)])
        #expect(room.members[0].lines == [LogLine(.warning, "crdt", "delta size over MaxBatchDeltaSize. Commiting.")])
    }

    /// CRDT-89, CRDT-131: the queue is what is on its way into the batch. What waits there for its age, or for others, is not in it.
    @Test func theBatchIsNotInTheQueue() throws {
        var settings = batching(deltaBytesMax: 1 << 20)
        settings.batchQueueMax = 2
        var room = try Room(1, settings)
        let patient = (0..<10).map { room.put(0, "/\($0)", [1]) }
        #expect(patient.allSatisfy { room.members[0].finished[$0] == .some(nil) } && room.members[0].replica.pendingCount == 10)
        room.holdsSyncs = true
        let hasty = (10..<14).map { room.put(0, "/\($0)", [1]) }
        room.holdsSyncs = false
        room.endSyncs()
        #expect(hasty.map { room.members[0].finished[$0] == .some(nil) } == [true, true, false, false])
        #expect(hasty.suffix(2).allSatisfy { room.members[0].finished[$0] == .some(.queueFull) })
        room.advance(.seconds(11))
        #expect(room.values(0).count == 12)
    }
}
