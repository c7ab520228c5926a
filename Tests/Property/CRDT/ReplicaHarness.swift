// Several replicas in a room: disks that sync at once, blocks that are fetched at once, announcements that wait to be sent.

import Kernel
import MerkleCRDT
import Multiformats
import Seams
import Storage
import TestSupport

struct Room {
    struct Member {
        var replica: Replica
        let disk: MemoryDisk
        var hooks: [Replica.Effect] = []
        var lines: [LogLine] = []
        var news: [Replica.News] = []
        var finished: [OperationID: ReplicaError?] = [:]
        /// Of which others are asked, and of which nobody is asked any more, in order.
        var wanted: [CID] = []
        var unwanted: [CID] = []
    }
    struct Broadcast {
        let by: Int
        let payload: Bytes
    }

    var members: [Member] = []
    var broadcasts: [Broadcast] = []
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    var choices = Choices(seed: 1)
    let settings: ReplicaSettings
    private var nextOperation: UInt64 = 0
    /// Whether wanted blocks are found at once in any other member.
    var fetches = true
    /// Syncs take until they are let go.
    var holdsSyncs = false
    private var held: [(member: Int, event: DiskEvent)] = []
    /// What is left of a merge goes on by itself.
    var goesOn = true

    init(_ count: Int, _ settings: ReplicaSettings = ReplicaSettings()) throws {
        self.settings = settings
        for _ in 0..<count {
            let disk = MemoryDisk()
            var effects: [Replica.Effect] = []
            let replica = try Replica(
                settings: settings, owner: 4, reader: disk, now: now, choices: &choices, effects: &effects)
            members.append(Member(replica: replica, disk: disk))
            carryOut(members.count - 1, effects)
        }
    }

    mutating func act(_ index: Int, _ body: (inout Replica, Now, inout Choices, inout [Replica.Effect]) -> Void) {
        var effects: [Replica.Effect] = []
        body(&members[index].replica, now, &choices, &effects)
        carryOut(index, effects)
        guard goesOn, members[index].replica.isMerging else { return }
        act(index) { $0.onTime(now: $1, choices: &$2, effects: &$3) }
    }

    mutating func carryOut(_ index: Int, _ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(let disk):
                guard let event = members[index].disk.carryOut(disk) else { continue }
                if holdsSyncs { held.append((index, event)) } else { act(index) { $0.onDisk(event, now: $1, effects: &$3) } }
            case .job(let job): finish(index, job)
            case .want(let cids):
                members[index].wanted += cids
                if fetches { fetch(index, cids) }
            case .announce(let payload): broadcasts.append(Broadcast(by: index, payload: payload))
            case .changed: members[index].hooks.append(effect)
            case .finished(let id, let failure): members[index].finished[id] = .some(failure)
            case .log(let line): members[index].lines.append(line)
            case .unwant(let cids): members[index].unwanted += cids
            case .news(let news): members[index].news.append(news)
            case .fetch, .askForList, .behind, .merged: break
            }
        }
    }

    /// All of it at once.
    private mutating func finish(_ index: Int, _ job: Job) {
        let outcome = members[index].disk.finish(job)
        act(index) { $0.onJob(job.number, outcome, now: $1, effects: &$3) }
    }

    /// The disk fails instead of ending them.
    mutating func failSyncs() {
        held = held.map { member, event in
            guard case .synced(let ticket) = event else { return (member, event) }
            return (member, .syncFailed(ticket, .failed("x", reason: "test")))
        }
        endSyncs()
    }

    mutating func endSyncs(_ count: Int = .max) {
        var left = count
        while !held.isEmpty, left > 0 {
            left -= 1
            let (index, event) = held.removeFirst()
            act(index) { $0.onDisk(event, now: $1, effects: &$3) }
        }
    }

    private mutating func fetch(_ index: Int, _ cids: [CID]) {
        for cid in cids {
            for other in members.indices where other != index {
                guard let block = try? members[other].replica.block(cid) else { continue }
                act(index) { $0.onBlock(cid, block, now: $1, effects: &$3) }
                break
            }
        }
    }

    @discardableResult
    mutating func put(_ index: Int, _ key: String, _ value: Bytes) -> OperationID {
        nextOperation += 1
        let id = OperationID(nextOperation)
        act(index) { $0.put(key, value, id, now: $1, effects: &$3) }
        return id
    }

    /// Some at once, in one block.
    @discardableResult
    mutating func write(_ index: Int, _ changes: [Replica.BatchChange]) -> OperationID {
        nextOperation += 1
        let id = OperationID(nextOperation)
        act(index) { $0.write(changes, id, now: $1, effects: &$3) }
        return id
    }

    @discardableResult
    mutating func delete(_ index: Int, _ key: String) -> OperationID {
        nextOperation += 1
        let id = OperationID(nextOperation)
        act(index) { $0.delete(key, id, now: $1, effects: &$3) }
        return id
    }

    /// All that was announced, to everybody else.
    mutating func deliverAll() {
        let all = broadcasts
        broadcasts = []
        for broadcast in all { for index in members.indices where index != broadcast.by { deliver(broadcast.payload, to: index) } }
    }

    mutating func deliver(_ payload: Bytes, to index: Int) {
        act(index) { $0.onAnnouncement(payload, now: $1, choices: &$2, effects: &$3) }
    }

    /// Closes a replica and opens it again on what its disk holds.
    mutating func restart(_ index: Int, settings: ReplicaSettings? = nil) throws {
        var effects: [Replica.Effect] = []
        members[index].replica = try Replica(
            settings: settings ?? self.settings, owner: 4, reader: members[index].disk, now: now, choices: &choices,
            effects: &effects)
        carryOut(index, effects)
    }

    mutating func advance(_ span: Span) {
        now.monotonic = now.monotonic + span
        now.wall = now.wall + span
        for index in members.indices { act(index) { $0.onTime(now: $1, choices: &$2, effects: &$3) } }
    }

    func values(_ index: Int) -> [(key: String, value: Bytes)] {
        var out: [(key: String, value: Bytes)] = []
        do { try members[index].replica.each { out.append(($0, $1)) } } catch { fatalError("\(error)") }
        return out.sorted { $0.key < $1.key }
    }
}
