// What holds for every run: order does not matter, the naive fold agrees, and a crash takes nothing that was acknowledged.

import Encoding
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport
import Testing

/// The state by the rules alone, as dumb as can be: all elements of all blocks, less what is tombstoned.
private func naiveFold(_ blocks: [Bytes]) throws -> [String: Bytes] {
    var elements: [(key: String, block: Multihash, priority: UInt64, value: Bytes)] = []
    var tombstones: Set<Delta.Tombstone> = []
    for bytes in blocks {
        let block = try DeltaBlock(decoding: bytes)
        for element in block.delta.elements { elements.append((element.key, block.cid.multihash, block.delta.priority, element.value)) }
        tombstones.formUnion(block.delta.tombstones)
    }
    var best: [String: (UInt64, Bytes)] = [:]
    for element in elements where !tombstones.contains(Delta.Tombstone(key: element.key, block: element.block)) {
        let candidate = (element.priority, element.value)
        guard let current = best[element.key] else { best[element.key] = candidate; continue }
        if current.0 < candidate.0 || (current.0 == candidate.0 && current.1.lexicographicallyPrecedes(candidate.1)) {
            best[element.key] = candidate
        }
    }
    return best.mapValues(\.1)
}

/// All blocks below the heads.
private func history(_ replica: Replica) throws -> [CID: Bytes] {
    var found: [CID: Bytes] = [:]
    var stack = replica.heads.map(\.cid)
    while let cid = stack.popLast() {
        guard found[cid] == nil else { continue }
        let bytes = try #require(try replica.block(cid))
        found[cid] = bytes
        stack += try DeltaBlock(decoding: bytes).links
    }
    return found
}

@Suite struct PropertyTests {
    /// Whatever becomes of a lookup, a removal removes what there is when it is made.
    @Test(arguments: ["found", "failed", "out of date"]) func aRemovalNamesWhatIsThere(outcome: String) throws {
        var settings = ReplicaSettings()
        settings.index.tableEntries = 8
        var room = try Room(1, settings)
        let cids = (0..<20).map { CID(v1: Codec.raw, .sha2_256(of: [UInt8($0)])) }
        func put(_ cid: CID, _ name: String) {
            var pin = Pin(cid: cid)
            pin.options.name = name
            room.put(0, cid.stateKey, pin.protobuf)
        }
        for cid in cids { put(cid, "first") }
        var effects: [Replica.Effect] = []
        let question = room.members[0].replica.ask(Array(cids[..<10]) + [cids[0]], effects: &effects)
        let job = try #require(effects.compactMap { if case .job(let job) = $0 { job } else { nil } }.first)
        #expect(!room.members[0].replica.isAnswered(question))
        let answer = (outcome == "failed" ? MemoryDisk() : room.members[0].disk).finish(job)
        if outcome == "out of date" { for number in 0..<20 { put(cids[number], "second") } } else { put(cids[3], "second") }
        room.act(0) { $0.onJob(job.number, answer, now: $1, effects: &$3) }
        #expect(room.members[0].replica.isAnswered(question))
        room.act(0) { replica, now, _, effects in
            do {
                let removals = try replica.removals(question)
                #expect(removals.map(\.number) == Array(0..<10))
                let value = String(decoding: removals[3].removal?.value ?? [], as: UTF8.self)
                #expect(value.contains("second"))
                replica.remove(removals.compactMap(\.removal), OperationID(99), now: now, effects: &effects)
            } catch { Issue.record("\(error)") }
        }
        #expect(room.members[0].finished[OperationID(99)] == .some(nil))
        #expect(room.values(0).map(\.key) == cids[10...].map(\.stateKey).sorted())
        #expect(try naiveFold(Array(history(room.members[0].replica).values)).keys.sorted() == cids[10...].map(\.stateKey).sorted())
    }

    /// Upstream's batches may hold two values of a key. A tombstone takes both, whether it comes after them or before.
    @Test(arguments: [true, false]) func twoValuesOfAKeyInOneBlockAreRemovedTogether(isRemovedFirst: Bool) throws {
        var added = Delta()
        added.elements = [.init(key: "/a", value: [1]), .init(key: "/a", value: [2])]
        added.priority = 1
        let first = DeltaBlock.encode(added, heads: [])
        var removed = Delta()
        removed.tombstones = [.init(key: "/a", block: DeltaBlock.cid(of: first).multihash)]
        removed.priority = 2
        let second = DeltaBlock.encode(removed, heads: [DeltaBlock.cid(of: first)])

        var room = try Room(1)
        room.fetches = false
        room.deliver(Announcement.encode([first, second].map { DeltaBlock.cid(of: $0) }), to: 0)
        for block in isRemovedFirst ? [second, first] : [first, second] {
            room.act(0) { $0.onBlock(DeltaBlock.cid(of: block), block, now: $1, effects: &$3) }
        }
        #expect(room.members[0].replica.heads.map(\.cid) == [DeltaBlock.cid(of: second)])
        #expect(room.values(0).isEmpty)
        #expect(room.members[0].replica.digest == StateDigest())
    }

    @Test func whoeverIsBehindIsToldWithinASecond() throws {
        var room = try Room(2)
        room.put(0, "/a", [1])
        room.deliver(room.broadcasts[0].payload, to: 1)
        let stale = room.broadcasts[0].payload
        room.put(0, "/b", [2])
        room.broadcasts = []
        // What is new, or the same as here, is no sign of being behind.
        room.advance(.seconds(2))
        room.deliver(stale, to: 1)
        room.advance(.seconds(2))
        #expect(room.broadcasts.isEmpty)
        // The other still tells the first head: it has missed the second.
        room.deliver(stale, to: 0)
        room.advance(.seconds(1))
        #expect(room.broadcasts.map(\.by) == [0])
        let payload = try #require(room.broadcasts.first?.payload)
        room.deliver(payload, to: 1)
        #expect(room.values(1).map(\.key) == ["/a", "/b"])
        // Somebody else has told it meanwhile: it need not be said again.
        room.broadcasts = []
        room.deliver(stale, to: 0)
        room.deliver(payload, to: 0)
        room.advance(.seconds(1))
        #expect(room.broadcasts.isEmpty)
    }

    /// Three replicas write on both sides of a partition for a while.
    private func busyRoom(_ seed: UInt64) throws -> Room {
        var room = try Room(3)
        var choices = Choices(seed: seed)
        for _ in 0..<40 {
            let at = choices.below(3)
            let key = "/k\(choices.below(5))"
            switch choices.below(10) {
            case 0..<5: room.put(at, key, choices.bytes(1 + choices.below(3)))
            case 5..<7: room.delete(at, key)
            default:
                if let broadcast = choices.sample(room.broadcasts, 1).first { room.deliver(broadcast.payload, to: at) }
            }
        }
        for broadcast in room.broadcasts { for index in room.members.indices { room.deliver(broadcast.payload, to: index) } }
        return room
    }

    @Test(arguments: 0..<30) func everyOrderGivesTheSameState(_ seed: Int) throws {
        let room = try busyRoom(UInt64(seed))
        let reference = room.members[0].replica
        let blocks = try history(reference)
        let folded = try naiveFold(Array(blocks.values))
        for index in room.members.indices {
            #expect(room.members[index].replica.digest == reference.digest)
            #expect(Dictionary(uniqueKeysWithValues: room.values(index).map { ($0.key, $0.value) }) == folded)
            #expect(room.members[index].replica.heads.map(\.cid) == reference.heads.map(\.cid))
        }
        // A newcomer that is handed the blocks in any order, parents last or first.
        var choices = Choices(seed: UInt64(seed) &+ 1000)
        for _ in 0..<4 {
            var newcomer = try Room(1)
            newcomer.fetches = false
            newcomer.deliver(Announcement.encode(reference.heads.map(\.cid)), to: 0)
            var waiting = choices.permuted(blocks.keys.sorted())
            var rounds = 0
            while !waiting.isEmpty && rounds < 1000 {
                rounds += 1
                for cid in waiting { newcomer.act(0) { $0.onBlock(cid, blocks[cid] ?? [], now: $1, effects: &$3) } }
                waiting = choices.permuted(waiting.filter { !newcomer.members[0].replica.has($0) })
                let here = blocks.filter { newcomer.members[0].replica.has($0.key) }
                let partial = try naiveFold(Array(here.values))
                #expect(Dictionary(uniqueKeysWithValues: newcomer.values(0).map { ($0.key, $0.value) }) == partial)
            }
            #expect(newcomer.members[0].replica.digest == reference.digest)
            #expect(newcomer.members[0].replica.heads.map(\.cid) == reference.heads.map(\.cid))
        }
    }

    @Test func aHeadIsNeverAnnouncedBeforeItsHistoryIsHere() throws {
        var source = try Room(1)
        for i in 0..<5 { source.put(0, "/k\(i)", [1]) }
        let blocks = try history(source.members[0].replica)
        let head = source.members[0].replica.heads[0].cid
        var newcomer = try Room(1)
        newcomer.fetches = false
        newcomer.deliver(Announcement.encode([head]), to: 0)
        newcomer.act(0) { $0.onBlock(head, blocks[head] ?? [], now: $1, effects: &$3) }
        #expect(newcomer.members[0].replica.has(head))
        #expect(newcomer.members[0].replica.heads.isEmpty)
        #expect(newcomer.members[0].replica.absentCount == 1)
        newcomer.put(0, "/own", [2])  // built on what is complete, nothing, and above all that was seen
        #expect(newcomer.members[0].replica.heads.map(\.height) == [6])
        let own = try #require(newcomer.members[0].replica.heads.first?.cid)
        #expect(try DeltaBlock(decoding: try newcomer.members[0].replica.block(own) ?? []).links.isEmpty)
        try newcomer.restart(0)  // the hole is remembered
        #expect(newcomer.members[0].replica.absentCount == 1)
    }

    /// Runs operations and crashes after each disk effect in turn, keeping none, one or all of the unsynced bytes.
    @Test(arguments: [false, true]) func whatWasAcknowledgedSurvivesACrashAnywhere(isBatching: Bool) throws {
        var settings = ReplicaSettings()
        if isBatching { (settings.batchSizeMax, settings.batchAgeMax) = (3, .seconds(10)) }
        for kept in [0, 1, 7, 1 << 20] {
            for cut in 0..<60 {
                try crash(after: cut, keeping: kept, settings)
            }
        }
    }

    private func crash(after cut: Int, keeping kept: Int, _ settings: ReplicaSettings) throws {
        let disk = MemoryDisk()
        let now = Now(monotonic: .origin, wall: .epoch)
        var choices = Choices(seed: UInt64(cut))
        var left = cut
        var acknowledged: [String: Bytes] = [:]
        var wanted: [OperationID: (String, Bytes)] = [:]
        var queue: [Replica.Effect] = []
        var replica = try Replica(settings: settings, owner: 1, reader: disk, now: now, choices: &choices, effects: &queue)
        var next: UInt64 = 0
        var finished = 0
        func run() -> Bool {  // false when the crash came
            while !queue.isEmpty {
                let effect = queue.removeFirst()
                switch effect {
                case .disk(let change):
                    if left == 0 { return false }
                    left -= 1
                    if let event = disk.carryOut(change) { replica.onDisk(event, now: now, effects: &queue) }
                case .finished(let id, nil):
                    finished += 1
                    if let (key, value) = wanted[id] { acknowledged[key] = value }
                default: break
                }
            }
            return true
        }
        var isAlive = run()
        while isAlive && next < 12 {
            next += 1
            let (key, value): (String, Bytes) = ("/k\(next)", [UInt8(next)])
            wanted[OperationID(next)] = (key, value)
            replica.put(key, value, OperationID(next), now: now, effects: &queue)
            isAlive = run()
        }
        if isAlive { #expect(finished == 12) }
        disk.crash(keeping: kept)
        var after: [Replica.Effect] = []
        var revived = try Replica(settings: settings, owner: 1, reader: disk, now: now, choices: &choices, effects: &after)
        revived.flush(now: now, effects: &after)
        while !after.isEmpty {
            if case .disk(let change) = after.removeFirst(), let event = disk.carryOut(change) {
                revived.onDisk(event, now: now, effects: &after)
            }
        }
        for key in acknowledged.keys.sorted() {
            #expect(try revived.value(key) == acknowledged[key], "\(key) after a crash at effect \(cut), \(kept) bytes kept")
        }
        #expect(revived.isFlushed)
    }

    /// Both write the same on the same heads: the same block comes from the other while one's own is not durable yet.
    @Test(arguments: [false, true]) func theSameBlockFromBothSidesCountsOnce(ownFirst: Bool) throws {
        var room = try Room(2)
        room.fetches = false
        room.put(0, "/k", [1])
        let head = try #require(room.members[0].replica.heads.first?.cid)
        let block = try #require(try room.members[0].replica.block(head))
        let announcement = Announcement.encode([head])
        var effects: [Replica.Effect] = []
        func put() { room.members[1].replica.put("/k", [1], OperationID(99), now: room.now, effects: &effects) }
        if ownFirst { put() }
        var choices = Choices(seed: 1)
        room.members[1].replica.onAnnouncement(announcement, now: room.now, choices: &choices, effects: &effects)
        room.members[1].replica.onBlock(head, block, now: room.now, effects: &effects)
        if !ownFirst { put() }
        room.carryOut(1, effects)
        #expect(room.members[1].finished[OperationID(99)] == .some(nil))
        #expect(room.members[1].replica.digest == room.members[0].replica.digest)
        #expect(room.members[1].replica.blockCount == 1 && room.members[1].replica.absentCount == 0)
        try room.restart(1)
        #expect(room.members[1].replica.digest == room.members[0].replica.digest)
    }

    @Test func aFullDiskRefusesAndRecovers() throws {
        var room = try Room(1)
        room.put(0, "/a", [1])
        room.members[0].disk.isFull = true
        let refused = room.put(0, "/b", [2])
        #expect(room.members[0].finished[refused] == .some(.some(.disk(.full("crdt/00000001.log")))))
        #expect(try room.members[0].replica.value("/b") == nil)
        room.members[0].disk.isFull = false
        let accepted = room.put(0, "/c", [3])
        #expect(room.members[0].finished[accepted] == .some(nil))
        try room.restart(0)
        #expect(room.values(0).map(\.key) == ["/a", "/c"])
    }

    @Test func aBatchIsCommittedByAgeAndBySize() throws {
        var settings = ReplicaSettings()
        (settings.batchSizeMax, settings.batchAgeMax) = (3, .seconds(10))
        var room = try Room(1, settings)
        room.put(0, "/a", [1])
        #expect(room.members[0].replica.blockCount == 0)
        room.advance(.seconds(11))
        #expect(room.members[0].replica.blockCount == 1)
        for key in ["/b", "/c", "/d"] { room.put(0, key, [2]) }
        room.advance(.zero)
        #expect(room.members[0].replica.blockCount == 2)
        #expect(room.values(0).map(\.key) == ["/a", "/b", "/c", "/d"])
    }

    @Test func removalsDoNotRepeatDeadTombstones() throws {
        var room = try Room(1)
        for round in 0..<5 {
            room.put(0, "/a", [UInt8(round)])
            room.delete(0, "/a")
        }
        for bytes in try history(room.members[0].replica).values {
            #expect(try DeltaBlock(decoding: bytes).delta.tombstones.count <= 1)
        }
    }

    /// CRDT-V3 and CRDT-V5.
    @Test func theSheetsVectorsHold() throws {
        let pin = try #require(bytes(hex: "0a24017012202d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a488110012001320f080110011a016e52060a01611201623880e2cfaa06"))
        var room = try Room(1)
        room.put(0, "/AFYBEIBNOELEFNZGWBCACYT4VH52YMXVZBJQ7MMQHTCNWARFQ4LZEGSIQE", pin)
        #expect(room.members[0].replica.heads[0].cid.description == "bafybeicmnyxut2vy7667hcy7gxvezo5kxx3mfyvlolhnc2nfe53wqredia")
        room.delete(0, "/AFYBEIBNOELEFNZGWBCACYT4VH52YMXVZBJQ7MMQHTCNWARFQ4LZEGSIQE")
        #expect(hex(room.broadcasts[1].payload) == "0a260a240170122079a9d6a180e7f1d48d12705ea1ea8b9e905c48c4d2251020ac457eedd0fb7de4")
    }
}
