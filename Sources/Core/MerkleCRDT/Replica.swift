// One peer's replica of the pinset: go-ds-crdt 0.6.8 on the wire, as a machine. A block, own or fetched, is durable before
// it is merged, announced or acknowledged, so the state in memory is a function of the durable log and a crash takes nothing
// that anyone was told. spec/crdt.md; bug zoo section 9.

import Encoding
import Kernel
import Multiformats
import Pinset
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
    /// More heads in one announcement are not believed: a message holds no more.
    package var announcedHeadsMax = 30_000
    package var folder: FileName = "crdt"
    package var log = LogSettings()
    package var index = IndexSettings()
    /// Changes that are told in one step; the rest waits.
    package var toldPerStep = 250
    /// Off where nobody listens: to tell of a change is to read its value back.
    package var tellsChanges = true
    /// What may be asked for at once of the blocks that another peer lists, and when its next page is asked for.
    package var fetchingBytesMax = 24 << 20
    package var listedMin = 1024
    /// What was listed is looked for in one step.
    package var listedPerStep = 512
    /// What is read of the log before the replica is opened, and in each step after that, while it makes its state anew.
    package var replayBytesAtOpen = 64 << 20
    package var replayBytesPerStep = 2 << 20
    /// New elements that are merged in one step, or what takes as long; the rest waits for the next.
    package var mergedPerStep = 20_000
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
    case opening(percent: Int)
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
        case .opening(let percent): "the pinset is being read from the log (\(percent) %). Try again in a moment"
        case .tooLarge: "the pin is too large to be stored"
        case .log(let reason): reason
        }
    }
}

package struct Replica: Sendable {
    package enum Effect: Equatable, Sendable {
        case disk(DiskEffect)
        /// Long work; its end is told to `onJob`.
        case job(Job)
        /// Blocks to fetch from anyone, and blocks no longer wanted.
        case want([CID])
        case unwant([CID])
        /// Blocks to fetch from that peer first.
        case fetch([CID], from: PeerID)
        /// A page of what it has is to be asked of a peer.
        case askForList(PeerID, cursor: Bytes)
        /// Much is missing: whoever lists its blocks is to be found for `catchUp`.
        case behind
        /// To be broadcast on the topic.
        case announce(Bytes)
        /// The local operation is durable, or why it is not (nothing was changed then).
        case finished(OperationID, ReplicaError?)
        /// A key has another value, or none any more. The same may be told twice.
        case changed(key: String, new: Bytes?)
        /// The block is durable and merged: it may be served.
        case merged(CID, priority: UInt64)
        case news(News)
        case log(LogLine)
    }

    /// What goes as it should, in upstream's words.
    package enum News: Equatable, Sendable, CustomStringConvertible {
        case isClean
        /// So many operations of a batch are in blocks.
        case committed(Int, because: CommitCause)

        package var description: String {
            switch self {
            case .isClean: "store is marked clean. No need to repair"
            case .committed(let count, let cause): "batch commit (\(cause.rawValue)): \(count) items"
            }
        }
    }
    package enum CommitCause: String, Sendable { case size, age = "max age", shutdown }

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
        var change: Change
        let since: Instant
    }

    /// A block of which a part is in the state.
    struct Merging: Sendable {
        let block: StoredBlock
        let position: LogPosition
        /// Whether the listener is told at once of what it changes.
        let tells: Bool
        /// As it was without it.
        let before: (digest: StateDigest, count: Int)
        var progress = ElementStore.Progress()
    }

    /// What was appended to the log and is not durable yet, oldest first.
    enum InFlight: Sendable {
        case block(StoredBlock, LogPosition, operations: [OperationID], isOwn: Bool)
        case operation(OperationID, Accepted)
        case flag(Bool)

        var isOwnBlock: Bool { if case .block(_, _, _, true) = self { true } else { false } }
    }

    enum RecordKind {
        static let block: UInt8 = 1
        static let operation: UInt8 = 2
        static let dirty: UInt8 = 3
    }

    let settings: ReplicaSettings
    var store: ElementStore
    var dag = Dag()
    /// And what is, but is not in the state yet.
    var inFlight: [(sequence: UInt64, end: LogAddress, what: InFlight)] = []
    /// Where the last of those ends that are.
    var takenEnd = LogAddress(raw: 0)
    /// When more of what is durable is taken into the state.
    private var mergeAt: Instant?
    /// The block of which a part is.
    var merging: Merging?
    /// From where on the log is still to be read into the state; nil when the state is whole.
    var replayed: LogAddress?
    var replayAt: Instant?
    /// When to say how far it is.
    var progressAt: Instant?

    /// Unbatched operations that wait for the block before them to be durable.
    var queue: [(id: OperationID, change: BatchChange)] = []
    /// Removals of what is not there, which wait for a sync as the log is doubtful.
    var doubted: [OperationID] = []
    /// Batched operations: durable, and not yet in a block.
    var batch: [Accepted] = []
    var batchBytes = 0
    var nextAccepted: UInt64 = 1
    var isCommitting = false
    /// The last accepted operation that is in a block on its way into the log.
    var committing: UInt64 = 0
    /// Why the batch is being committed, and how many of its operations are in blocks by now.
    var commitCause: CommitCause?
    var committedCount = 0
    /// Accepted operations up to this one may be in a block that has rotted here and comes again from other peers: they wait for
    /// what is missing, and those that it brings are not published twice, since others may have removed them since.
    var doubtedThrough: UInt64 = 0
    var retryAt: Instant?
    var isStopping = false
    var telling = Telling()
    /// What stands before it in the log has been told, or was there when this one was opened; what is behind it is told when it is
    /// read into the state.
    var toldBefore = LogAddress(raw: 0)
    /// Damages for which the state has been made anew already.
    var settledDamages = SortedSet<String>()
    /// Lookups that are under way or whose answer has not been fetched.
    var lookups: [UInt64: Looked?] = [:]
    var catchingUp: CatchingUp?
    /// When a list may be asked for next.
    var catchUpAt: Instant?
    /// When more of what was listed is looked at.
    var lookAt: Instant?

    /// Wanted blocks and when to give up: heads that were announced, what was listed, and links of blocks that are here.
    var wanted = SortedMap<Multihash, Want>()
    var seenHeads = SortedSet<Multihash>()
    /// Heads that were announced while the state was not whole.
    var heard = SortedSet<CID>()
    var rebroadcastAt: Instant
    var repairAt: Instant?
    /// When jobs that have failed are tried again.
    var jobRetryAt: Instant?
    package internal(set) var isDirty = false

    struct Want: Equatable, Sendable {
        let until: Instant
        /// Received, and on its way into the log.
        var isArriving = false
    }
    /// A change as it is asked for.
    package enum BatchChange: Equatable, Sendable {
        case put(key: String, value: Bytes)
        case delete(key: String)
    }

    /// Opens the log and the state at its last checkpoint, and reads what came after as soon as it is durable. Its effects come before
    /// any other.
    package init(
        settings: ReplicaSettings, owner: UInt8, reader: any DiskReader, now: Now, choices: inout Choices,
        effects: inout [Effect]
    ) throws {
        self.settings = settings
        var faults: [String] = []
        var disk: [DiskEffect] = []
        var index = Index(folder: settings.folder, owner: owner | 0x80, reader: reader, settings: settings.index)
        let checkpoint = try index.open(faults: &faults, effects: &disk)
        let log = try Log(
            folder: settings.folder, owner: owner, reader: reader, settings: settings.log, start: checkpoint?.address, effects: &disk)
        store = ElementStore(log: log, index: index)
        rebroadcastAt = now.monotonic
        effects += disk.map(Effect.disk)
        for fault in faults { effects.append(.log(LogLine(.warning, "crdt", fault))) }
        toldBefore = store.log.endAddress
        resume(from: checkpoint, &effects)
        scheduleRebroadcast(now, &choices)
        replay(settings.replayBytesAtOpen, effort: .max, now, &effects)
    }

    // MARK: Reading

    /// What an earlier life has left is durable by now: it is read into the state.
    package var isFoundDurable: Bool { store.log.isFoundDurable }
    /// The state is whole: it may be read and written.
    package var isOpen: Bool { replayed == nil }
    /// Nothing should be written until jobs have caught up.
    package var isOverloaded: Bool { store.index.isOverloaded }
    package func value(_ key: String) throws(LogError) -> Bytes? { try store.value(StoredName(key.utf8)) }
    package func value(_ cid: CID) throws(LogError) -> Bytes? { try store.value(StoredName(cid)) }
    /// The key was here once and is not any more.
    package func hasRemoved(_ cid: CID) throws(LogError) -> Bool { try store.hasRemoved(StoredName(cid)) }
    /// Of whole blocks: equal heads with nothing missing are equal digests, at all times.
    package var count: Int { merging?.before.count ?? store.digests.count }
    package var digest: StateDigest { merging?.before.digest ?? store.digests.total }
    package var rangeDigests: RangeDigests { store.digests }
    /// When a merge changed the state last in this run.
    package internal(set) var lastChange = WallTime.unset
    package var heads: [(cid: CID, height: UInt64)] { dag.heads }
    package var blockCount: Int { dag.processedCount }
    /// Blocks that are named by others and not here.
    package var absentCount: Int { dag.absent.count }
    package var absentBlocks: [CID] { dag.absent.map { CID(v1: Codec.dagPB, $0) } }
    /// It is not here, and what links to it does not wait for it.
    package func hasGivenUp(_ cid: CID) -> Bool { dag.hasGivenUp(cid.multihash) }
    /// The block in a record as it is appended to the log, if that is what the record holds.
    package static func block(inFrame frame: Bytes) -> Bytes? {
        guard frame.count > Log.frameBytes, frame[Log.frameBytes - 1] == RecordKind.block else { return nil }
        return StoredBlock.raw(Bytes(frame[Log.frameBytes...]))
    }
    /// Operations that were accepted and are not in a block yet.
    package var pendingCount: Int { batch.count + queue.count + inFlight.count + doubted.count }

    /// A write waits although nothing is under way that it could wait for: for checks in simulations.
    package var waitsForNothing: Bool {
        guard isCommitting || !queue.isEmpty, isOpen, !store.index.isOverloaded else { return false }
        return !inFlight.contains(where: \.what.isOwnBlock)
    }

    package func isWaiting(for hash: Multihash) -> Bool { wanted[hash].map { !$0.isArriving } ?? false }
    /// It is wanted, or has come and is not merged yet.
    package func isComing(_ hash: Multihash) -> Bool { wanted[hash] != nil }
    /// Between two steps, in simulations and tests. `isSought` says whether others are asked for a block.
    package func checkInvariants(isSought: (Multihash) -> Bool) {
        for (hash, want) in wanted where !want.isArriving {
            invariant(isSought(hash), "a block is wanted that nobody is asked for")
        }
        invariant(!isOpen || isDirty || !dag.absent.contains { dag.hasGivenUp($0) }, "a hole that was given up is forgotten")
        if let catchingUp { invariant(catchingUp.fetchingBytes == catchingUp.fetching.values.reduce(0, +), "\(catchingUp.fetchingBytes) bytes of a list are on the way, by their sum others") }
    }

    /// Keys with accepted writes that no merged block holds yet: what the state says of them is out of date.
    package var pendingKeys: Set<String> {
        var keys = Set(batch.map(\.change.key))
        for (_, change) in queue {
            switch change {
            case .put(let key, _), .delete(let key): keys.insert(key)
            }
        }
        for (_, _, item) in inFlight {
            switch item {
            case .operation(_, let accepted): keys.insert(accepted.change.key)
            case .block(let block, _, _, true): keys.formUnion(block.keys)
            case .block, .flag: break
            }
        }
        return keys
    }

    /// Whether a key will be there when the accepted writes have been merged. Nil where none of them is about it.
    package func pendingPresence(of key: String) -> Bool? {
        func presence(_ change: Change) -> Bool? {
            guard change.key == key else { return nil }
            if case .put = change { return true } else { return false }
        }
        for (_, change) in queue.reversed() {
            switch change {
            case .put(key, _): return true
            case .delete(key): return false
            case .put, .delete: break
            }
        }
        for case (_, _, .operation(_, let accepted)) in inFlight.reversed() { if let found = presence(accepted.change) { return found } }
        for accepted in batch.reversed() { if let found = presence(accepted.change) { return found } }
        for case (_, _, .block(let block, _, _, true)) in inFlight.reversed() { if let found = block.presence(of: key) { return found } }
        return nil
    }

    /// One key and its value.
    package struct Item {
        let item: ElementStore.Item
        package var value: UnsafeRawBufferPointer { item.value }
        /// The key is "/" and the base32 of the CID with which the value begins.
        package var isDerived: Bool { item.isDerived }
        package var key: String { item.key }
        /// Where the value stands in the log, as long as it is the value.
        package var address: LogAddress { item.address }
    }
    package func address(of cid: CID) throws(LogError) -> LogAddress? { try store.address(StoredName(cid)) }

    /// Hands out keys and values, those of the blocks that begin within about so many bytes of the log from a cursor on; nil is
    /// the beginning. The order is that of the log. The next cursor, or nil at the end. Cursors stay good while things change:
    /// what does not change meanwhile is met once. `live` are the values of the state, or what they once were.
    package func scan(
        from cursor: LogAddress?, bytes: Int, among live: LiveMap? = nil, damages: inout [LogDamage], visit: (Item) throws -> Void
    ) throws -> LogAddress? {
        var found: [LogDamage] = []
        // What has been spoiled once is in the log for good; the state has been made anew without it.
        defer { damages += found.filter { !settledDamages.contains($0.description) } }
        return try store.scan(from: cursor, bytes: bytes, among: live ?? store.live, damages: &found) { try visit(Item(item: $0)) }
    }
    /// Blocks that others are asked for, or that have come and are not in the state yet.
    package var jobCount: Int { wanted.count }
    /// A branch is not finished, and what it lacks has not been given up.
    package var isWaiting: Bool { dag.isWaiting }
    /// Where the values of the state are.
    package var live: LiveMap { store.live }

    /// Everything, for those who need no slices.
    package func each(_ visit: (_ key: String, _ value: Bytes) throws -> Void) throws {
        var damages: [LogDamage] = []
        var cursor: LogAddress? = nil
        repeat {
            cursor = try scan(from: cursor, bytes: Log.chunkBytes, damages: &damages) { try visit($0.key, Bytes($0.value)) }
        } while cursor != nil
        if let damage = damages.first { throw LogError.damaged(damage) }
    }

    package func has(_ cid: CID) -> Bool { has(cid.multihash) }
    func has(_ hash: Multihash) -> Bool {
        if let isHere = dag.isHere(hash) { return isHere }
        // What cannot be read is fetched again.
        do { return try store.address(ofBlock: hash) != nil } catch { return false }
    }
    package func blockSize(_ cid: CID) throws(LogError) -> Int? {
        guard let address = try store.address(ofBlock: cid.multihash) else { return nil }
        return try store.header(at: address).blockBytes
    }
    /// The block, verified by its checksum; nil if it is not here. Damage is told, never served.
    package func block(_ cid: CID) throws(LogError) -> Bytes? {
        guard let address = try store.address(ofBlock: cid.multihash) else { return nil }
        guard let record = try store.log.record(at: address), let raw = StoredBlock.raw(record.payload) else {
            throw .damaged(store.log.damage(at: address, "a block does not match its checksum"))
        }
        return raw
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next: Instant? = rebroadcastAt
        next = earliest(next, repairAt)
        next = earliest(next, commitDue)
        next = earliest(next, replayAt)
        next = earliest(next, jobRetryAt)
        next = earliest(next, telling.nextAt)
        next = earliest(next, mergeAt)
        next = earliest(next, lookAt)
        for (_, want) in wanted where !want.isArriving { next = earliest(next, want.until) }
        return next
    }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        if let due = replayAt, now.monotonic >= due { replay(settings.replayBytesPerStep, effort: settings.mergedPerStep, now, &effects) }
        if let due = jobRetryAt, now.monotonic >= due {
            jobRetryAt = nil
            withIndex(&effects) { $0.work(&$1) }
        }
        if let due = mergeAt, now.monotonic >= due { takeDurable(now, &effects) }
        if let due = telling.nextAt, now.monotonic >= due { tellWaiting(now, &effects) }
        if let due = lookAt, now.monotonic >= due { fetchListed(now, &effects) }
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
        if !unseen.isEmpty, isOpen { effects.append(.announce(Announcement.encode(unseen))) }
        seenHeads.removeAll()
    }

    // MARK: Disk

    package mutating func onDisk(_ event: DiskEvent, now: Now, effects: inout [Effect]) {
        var isIndexEvent = false
        withIndex(&effects) { isIndexEvent = $0.onDisk(event, effects: &$1) }
        if isIndexEvent { return }
        var disk: [DiskEffect] = []
        let isFirst = !store.log.isFoundDurable
        let outcome = store.log.onDisk(event, effects: &disk)
        effects += disk.map(Effect.disk)
        switch outcome {
        case .durable:
            endDoubted(nil, &effects)
            if mergeAt == nil { takeDurable(now, &effects) }
            if isFirst { replay(settings.replayBytesAtOpen, effort: .max, now, &effects) }
        case .lost(_, let error): lose(error, now, &effects)
        case nil: break
        }
    }

    /// Something durable is not in the state yet.
    package var isMerging: Bool { mergeAt != nil }
    /// Up to where in the log all is in the state, once it is open.
    var stateEnd: LogAddress { isWaitingToMerge ? takenEnd : store.log.endAddress }
    private var isWaitingToMerge: Bool { inFlight.first.map { $0.sequence <= store.log.durable } ?? false }

    /// What is durable goes into the state, in the order of the log, as far as one step goes.
    mutating func takeDurable(_ now: Now, _ effects: inout [Effect]) {
        let before = digest; defer { if digest != before { lastChange = now.wall } }
        var (count, effort) = (0, settings.mergedPerStep)
        loop: while count < inFlight.count, inFlight[count].sequence <= store.log.durable {
            let (_, end, what) = inFlight[count]
            switch what {
            case .block(let block, let position, let operations, let isOwn):
                guard effort > 0 || !isOpen else { break loop }
                let waiting = batch.count
                let isTaken = take(block, position, &effort, now, &effects)
                if isOwn, isOpen { committedCount += waiting - batch.count }
                guard isTaken else { break loop }
                // Made here while others were asked for the same: they need not send it.
                if wanted.remove(block.hash)?.isArriving == false { effects.append(.unwant([block.cid])) }
                catchingUp?.ended(block.hash)
                for operation in operations { effects.append(.finished(operation, nil)) }
                if isOwn { effects.append(.announce(Announcement.encode([block.cid]))) }
            case .operation(let id, let accepted):
                if isOpen {
                    batch.append(accepted)
                    batchBytes += Replica.size(accepted.change)
                }
                effects.append(.finished(id, nil))
            case .flag: break
            }
            count += 1
            takenEnd = end
            if case .block = what { checkpointIfDue(at: end, &effects) }
        }
        inFlight.removeFirst(count)
        // What is doubted stays in the batch although it was in a block: nothing of it is on its way now (seed 900199).
        if !inFlight.contains(where: \.what.isOwnBlock) {
            (isCommitting, committing) = (false, 0)
            tellCommit(&effects)
        }
        mergeAt = isWaitingToMerge ? now.monotonic : nil
        checkpointIfDue(at: stateEnd, &effects)
        wantAbsent(now, &effects)
        seekList(now, &effects)
        fetchListed(now, &effects)
        work(now, &effects)
    }

    /// A durable block goes into the state, or a part of it: then it is not taken yet. While the log is read anew, it waits there
    /// for its turn.
    private mutating func take(
        _ block: StoredBlock, _ position: LogPosition, _ effort: inout Int, _ now: Now, _ effects: inout [Effect]
    ) -> Bool {
        if isOpen {
            do throws(LogError) {
                let merged = try merge(block, position, &effort, &effects)
                if merged == .whole { effects.append(.merged(block.cid, priority: block.priority)) }
                reportDamages(now, &effects)
                if isOpen { return merged != .inPart }
                return true
            } catch { startOver("\(error)", now, &effects) }
        }
        toldBefore = min(toldBefore, position.payload)
        return true
    }

    /// The log is back at its last durable end: what was in flight has not happened.
    private mutating func lose(_ error: DiskError, _ now: Now, _ effects: inout [Effect]) {
        let lost = inFlight.filter { $0.sequence > store.log.durable }.map(\.what)
        inFlight.removeAll { $0.sequence > store.log.durable }
        (isCommitting, committing) = (inFlight.contains { $0.what.isOwnBlock }, consumedInFlight)
        retryAt = now.monotonic + settings.retryDelay
        effects.append(.log(LogLine(.error, "crdt", "\(ReplicaError.disk(error))")))
        for item in lost {
            switch item {
            case .block(let block, _, let operations, let isOwn):
                for operation in operations { effects.append(.finished(operation, .disk(error))) }
                // Not wanted any more where the same has been made here meanwhile (seed 5001).
                if !isOwn, wanted[block.hash] != nil {
                    wanted[block.hash]?.isArriving = false
                    effects.append(.want([block.cid]))
                }
            case .operation(let id, _): effects.append(.finished(id, .disk(error)))
            case .flag: break
            }
        }
        // What waited behind the lost block fails with it: its callers are still there to be told.
        for (id, _) in queue { effects.append(.finished(id, .disk(error))) }
        queue = []
        endDoubted(.disk(error), &effects)
        if !store.log.isFoundDurable { replayAt = retryAt }
    }

    mutating func append(_ kind: UInt8, _ payload: Bytes, _ effects: inout [Effect]) throws(LogError) -> (LogPosition, UInt64) {
        var disk: [DiskEffect] = []
        defer { effects += disk.map(Effect.disk) }
        return try store.log.append(kind: kind, payload, effects: &disk)
    }

    mutating func sync(_ effects: inout [Effect]) {
        var disk: [DiskEffect] = []
        store.log.sync(effects: &disk)
        effects += disk.map(Effect.disk)
    }
}
