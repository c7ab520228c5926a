// One peer's replica of the pinset: go-ds-crdt 0.6.8 on the wire, as a machine. A block, own or fetched, is durable before
// it is merged, announced or acknowledged, so the state in memory is a function of the durable log and a crash takes nothing
// that anyone was told. spec/crdt.md; bug zoo section 9.

import Encoding
import Kernel
import Multiformats
import Seams
import Storage

package struct ReplicaSettings: Sendable {
    package var rebroadcastInterval = Span.minutes(1)  // CRDT-72
    /// Zero for never.
    package var repairInterval = Span.hours(1)  // CRDT-73
    package var fetchTimeout = Span.minutes(2)  // CRDT-74
    package var batchSizeMax = 0  // CRDT-87
    package var batchAgeMax = Span.zero
    package var batchQueueMax = 50_000
    package var deltaBytesMax = 1 << 20  // CRDT-77
    /// How long a commit that failed waits before the next try.
    package var retryDelay = Span.seconds(5)
    /// More heads in one announcement are not believed.
    package var announcedHeadsMax = 1000
    package var folder: FileName = "crdt"
    package var log = LogSettings()
    package init() {}
    package var isBatching: Bool { batchSizeMax > 0 && batchAgeMax > .zero }
}

/// An operation of the caller's, numbered by the caller.
package struct OperationID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

package enum ReplicaError: Error, Equatable, Sendable, CustomStringConvertible {
    case queueFull
    case stopping
    case disk(DiskError)
    case tooLarge
    case log(String)

    package var description: String {
        switch self {
        case .queueFull:  // CRDT-131
            "error batching item: batching max_queue_size reached. Too many operations are waiting to be batched. "
                + "Try increasing the max_queue_size or adjusting the batching options"
        case .stopping: "shutting down. Pin could not be batched"
        case .disk(.full(let file)): "the disk is full: \(file) could not be written. Nothing was changed; free some space and try again"
        case .disk(.failed(let file, let reason)): "\(file) could not be written: \(reason). Nothing was changed; try again"
        case .disk(.notFound(let file)): "\(file) is missing: was the data folder removed?"
        case .tooLarge: "the pin is too large to be stored"
        case .log(let reason): reason
        }
    }
}

package struct Replica: Sendable {
    package enum Effect: Equatable, Sendable {
        case disk(DiskEffect)
        /// Blocks to fetch from anyone, and blocks no longer wanted.
        case want([CID])
        case unwant([CID])
        /// To be broadcast on the topic.
        case announce(Bytes)
        /// The local operation is durable, or why it is not (nothing was changed then).
        case finished(OperationID, ReplicaError?)
        /// A merge gave a key another value, or took its last.
        case changed(key: String, old: Bytes?, new: Bytes?)
        /// The block is durable and merged: it may be served.
        case merged(CID)
        case log(LogLine)
    }

    enum Change: Equatable, Sendable {
        case put(key: String, value: Bytes)
        case delete(key: String, blocks: [Multihash])
        var key: String {
            switch self {
            case .put(let key, _), .delete(let key, _): key
            }
        }
    }

    /// An operation that was accepted for a batch and is in the log.
    struct Accepted: Equatable, Sendable {
        let number: UInt64
        let change: Change
        let since: Instant
    }

    /// What was appended to the log and is not durable yet, oldest first.
    enum InFlight: Sendable {
        case block(DeltaBlock, LogPosition, operations: [OperationID], isOwn: Bool, consumes: UInt64)
        case operation(OperationID, Accepted)
        case flag(Bool)
    }

    enum RecordKind {
        static let block: UInt8 = 1
        static let operation: UInt8 = 2
        static let dirty: UInt8 = 3
    }

    let settings: ReplicaSettings
    var log: Log
    var dag = Dag()
    var state = SetState()
    var inFlight: [(sequence: UInt64, what: InFlight)] = []

    /// Unbatched operations that wait for the block before them to be durable.
    var queue: [(id: OperationID, change: BatchChange)] = []
    /// Batched operations: durable, and not yet in a block.
    var batch: [Accepted] = []
    var batchBytes = 0
    var nextAccepted: UInt64 = 1
    var isCommitting = false
    var retryAt: Instant?
    var isStopping = false

    /// Wanted blocks and when to give up. `roots` were announced; the others are links of blocks that are here.
    var wanted = SortedMap<Multihash, Want>()
    var seenHeads = SortedSet<Multihash>()
    var rebroadcastAt: Instant
    var repairAt: Instant?
    package internal(set) var isDirty = false

    struct Want: Equatable, Sendable {
        let isRoot: Bool
        let until: Instant
        /// Received, and on its way into the log.
        var isArriving = false
    }
    /// A change as it is asked for.
    package enum BatchChange: Equatable, Sendable {
        case put(key: String, value: Bytes)
        case delete(key: String)
    }

    /// Opens the log and rebuilds state, batch and missing blocks from it. Its effects come before any other.
    package init(
        settings: ReplicaSettings, owner: UInt8, reader: any DiskReader, now: Now, choices: inout Choices,
        effects: inout [Effect]
    ) throws {
        self.settings = settings
        var rebuilt = Rebuilt()
        var damages: [LogDamage] = []
        var disk: [DiskEffect] = []
        log = try Log(
            folder: settings.folder, owner: owner, reader: reader, settings: settings.log,
            visit: { try rebuilt.take($0, $1, $2, now) }, damages: &damages, effects: &disk)
        effects += disk.map(Effect.disk)
        (dag, state, isDirty) = (rebuilt.dag, rebuilt.state, rebuilt.isDirty)
        batch = rebuilt.batch
        batchBytes = batch.reduce(0) { $0 + Replica.size($1.change) }
        nextAccepted = rebuilt.nextAccepted
        rebroadcastAt = now.monotonic
        scheduleRebroadcast(now, &choices)
        for damage in damages {
            isDirty = true
            effects.append(.log(LogLine(.error, "crdt", "\(damage). What was lost is fetched again from other peers")))
        }
        for fault in rebuilt.faults { effects.append(.log(LogLine(.error, "crdt", fault))) }
        if settings.repairInterval > .zero { repairAt = now.monotonic }  // CRDT-62: at once
        wantAbsent(now, &effects)
    }

    // MARK: Reading

    package func value(_ key: String) -> Bytes? { state.value(key) }
    /// The key was here once and is not any more.
    package func hasRemoved(_ key: String) -> Bool { state.entries[key].map { $0.live.isEmpty } ?? false }
    package var count: Int { state.count }
    package var digest: StateDigest { state.digest }
    package var heads: [(cid: CID, height: UInt64)] { dag.heads }
    package var blockCount: Int { dag.processedCount }
    /// Blocks that are named by others and not here.
    package var absentCount: Int { dag.absent.count }
    package var absentBlocks: [CID] { dag.absent.map { CID(v1: Codec.dagPB, $0) } }
    /// Operations that were accepted and are not in a block yet.
    package var pendingCount: Int { batch.count + queue.count + inFlight.count }

    /// Keys with accepted writes that no merged block holds yet: what the state says of them is out of date.
    package var pendingKeys: Set<String> {
        var keys = Set(batch.map(\.change.key))
        for (_, change) in queue {
            switch change {
            case .put(let key, _), .delete(let key): keys.insert(key)
            }
        }
        for (_, item) in inFlight {
            switch item {
            case .operation(_, let accepted): keys.insert(accepted.change.key)
            case .block(let block, _, _, true, _): keys.formUnion(block.delta.elements.map(\.key) + block.delta.tombstones.map(\.key))
            case .block, .flag: break
            }
        }
        return keys
    }

    /// The next key with a value after `key`, in key order; from the beginning with "".
    package func next(after key: String) -> (key: String, value: Bytes)? {
        var cursor = key
        while let entry = state.entries.first(after: cursor) {
            if let best = entry.value.best { return (entry.key, best.value) }
            cursor = entry.key
        }
        return nil
    }

    package func has(_ cid: CID) -> Bool { dag.has(cid.multihash) }
    package func blockSize(_ cid: CID) -> Int? {
        dag.position(cid.multihash).map { Int($0.length) - Replica.blockHeaderBytes }
    }
    /// The block, verified by its checksum; nil if it is not here. Damage is told, never served.
    package func block(_ cid: CID) throws(LogError) -> Bytes? {
        guard let position = dag.position(cid.multihash) else { return nil }
        let payload = try log.read(position)
        return Bytes(payload.dropFirst(Replica.blockHeaderBytes))
    }

    /// A block record starts with the number of the last operation that the block consumes, little-endian.
    static let blockHeaderBytes = 8
    static func blockRecord(_ bytes: Bytes, consumes: UInt64) -> Bytes {
        (0..<UInt64(blockHeaderBytes)).map { UInt8(truncatingIfNeeded: consumes >> (8 * $0)) } + bytes
    }
    static func consumed(_ payload: ArraySlice<UInt8>) -> UInt64 {
        payload.prefix(blockHeaderBytes).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next: Instant? = rebroadcastAt
        next = earliest(next, repairAt)
        next = earliest(next, commitDue)
        for (_, want) in wanted { next = earliest(next, want.until) }
        return next
    }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        if now.monotonic >= rebroadcastAt {
            rebroadcast(&effects)
            scheduleRebroadcast(now, &choices)
        }
        if let due = commitDue, now.monotonic >= due { commit(now, &effects) }
        giveUpWants(now, &effects)
        if let due = repairAt, now.monotonic >= due { repair(now, &effects) }
    }

    /// CRDT-63: the interval ± 30 %.
    private mutating func scheduleRebroadcast(_ now: Now, _ choices: inout Choices) {
        let interval = settings.rebroadcastInterval
        rebroadcastAt = now.monotonic + choices.span(interval * 7 / 10, interval * 13 / 10)
    }

    /// Somebody is behind: tells the heads within a second instead of a minute. Whoever of those who notice speaks first
    /// speaks for all, since heads that have been seen are not repeated.
    package mutating func tellSoon(now: Now, choices: inout Choices) {
        let soon = now.monotonic + .seconds(1)
        guard rebroadcastAt > soon else { return }
        seenHeads.removeAll()
        rebroadcastAt = now.monotonic + choices.span(.zero, .seconds(1))
    }

    private mutating func rebroadcast(_ effects: inout [Effect]) {
        let unseen = dag.heads.map(\.cid).filter { !seenHeads.contains($0.multihash) }
        if !unseen.isEmpty { effects.append(.announce(Announcement.encode(unseen))) }
        seenHeads.removeAll()
    }

    // MARK: Disk

    package mutating func onDisk(_ event: DiskEvent, now: Now, effects: inout [Effect]) {
        var disk: [DiskEffect] = []
        let outcome = log.onDisk(event, effects: &disk)
        effects += disk.map(Effect.disk)
        switch outcome {
        case .durable(let sequence): settle(through: sequence, now, &effects)
        case .lost(_, let error): lose(error, now, &effects)
        case nil: break
        }
    }

    private mutating func settle(through sequence: UInt64, _ now: Now, _ effects: inout [Effect]) {
        let count = inFlight.firstIndex { $0.sequence > sequence } ?? inFlight.count
        let settled = inFlight[..<count].map(\.what)
        inFlight.removeFirst(count)
        for item in settled {
            switch item {
            case .block(let block, let position, let operations, let isOwn, let consumes):
                merge(block, position, isOwn: isOwn, consumes: consumes, &effects)
                for operation in operations { effects.append(.finished(operation, nil)) }
                if isOwn { effects.append(.announce(Announcement.encode([block.cid]))) }
            case .operation(let id, let accepted):
                batch.append(accepted)
                batchBytes += Replica.size(accepted.change)
                effects.append(.finished(id, nil))
            case .flag: break
            }
        }
        if !inFlight.contains(where: { if case .block(_, _, _, true, _) = $0.what { true } else { false } }) { isCommitting = false }
        wantAbsent(now, &effects)
        work(now, &effects)
    }

    private mutating func merge(
        _ block: DeltaBlock, _ position: LogPosition, isOwn: Bool, consumes: UInt64, _ effects: inout [Effect]
    ) {
        wanted.remove(block.cid.multihash)
        if consumes > 0 {
            batch.removeAll { $0.number <= consumes }
            batchBytes = batch.reduce(0) { $0 + Replica.size($1.change) }
        }
        // Who writes the same on the same heads makes the same block: it may come from both sides at once.
        guard !dag.has(block.cid.multihash) else { return }
        let number = dag.number(block.cid.multihash)
        let changes = state.merge(block.delta, from: number) { dag.number($0.block) }
        dag.insert(block, at: position)
        effects.append(.merged(block.cid))
        for change in changes { effects.append(.changed(key: change.key, old: change.old, new: change.new)) }
    }

    /// The log is back at its last durable end: what was in flight has not happened.
    private mutating func lose(_ error: DiskError, _ now: Now, _ effects: inout [Effect]) {
        let lost = inFlight.map(\.what)
        inFlight = []
        isCommitting = false
        retryAt = now.monotonic + settings.retryDelay
        effects.append(.log(LogLine(.error, "crdt", "\(ReplicaError.disk(error))")))
        for item in lost {
            switch item {
            case .block(let block, _, let operations, let isOwn, _):
                for operation in operations { effects.append(.finished(operation, .disk(error))) }
                if !isOwn { wanted[block.cid.multihash]?.isArriving = false; effects.append(.want([block.cid])) }
            case .operation(let id, _): effects.append(.finished(id, .disk(error)))
            case .flag: break
            }
        }
        // What waited behind the lost block fails with it: its callers are still there to be told.
        for (id, _) in queue { effects.append(.finished(id, .disk(error))) }
        queue = []
    }

    mutating func append(_ kind: UInt8, _ payload: Bytes, _ effects: inout [Effect]) throws(LogError) -> (LogPosition, UInt64) {
        var disk: [DiskEffect] = []
        defer { effects += disk.map(Effect.disk) }
        return try log.append(kind: kind, payload, effects: &disk)
    }

    mutating func sync(_ effects: inout [Effect]) {
        var disk: [DiskEffect] = []
        log.sync(effects: &disk)
        effects += disk.map(Effect.disk)
    }
}
