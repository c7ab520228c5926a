// The state as it is made from the log: merged block by block, kept in checkpoints, and made anew where they are of no use.

import Encoding
import Kernel
import Multiformats
import Seams
import Storage

extension Replica {
    mutating func withIndex(_ effects: inout [Effect], _ body: (inout Index, inout [Index.Effect]) -> Void) {
        withStore(&effects) { body(&$0.index, &$1) }
    }
    private mutating func withStore(_ effects: inout [Effect], _ body: (inout ElementStore, inout [Index.Effect]) -> Void) {
        var own: [Index.Effect] = []
        body(&store, &own)
        for effect in own {
            switch effect {
            case .disk(let effect): effects.append(.disk(effect))
            case .job(let job): effects.append(.job(job))
            }
        }
    }

    // MARK: Merging

    enum Merged { case whole, inPart, before }
    /// `before`: it was here already. Who writes the same on the same heads makes the same block: it may come from both sides. `inPart`:
    /// no more than so much is done in one step, and the same block comes again in the next.
    mutating func merge(_ block: StoredBlock, _ position: LogPosition, _ effort: inout Int, _ effects: inout [Effect]) throws(LogError) -> Merged {
        var merging: Merging
        if let begun = self.merging {
            invariant(begun.position == position, "another block is merged in part")
            merging = begun
        } else {
            guard try begin(block) else { return .before }
            merging = Merging(
                block: block, position: position, tells: telling.takes(block.elements.count + block.tombstones.count),
                before: (store.digests.total, store.digests.count))
        }
        self.merging = nil
        let wantsKeys = merging.tells && settings.tellsChanges
        guard try store.merge(block, at: position.payload, &merging.progress, effort: &effort, wantsKeys: wantsKeys) else {
            self.merging = merging
            return .inPart
        }
        let isStored = { [store] (hash: Multihash) throws(LogError) in try store.address(ofBlock: hash) != nil }
        try insert(block, isStored)
        try tell(merging.progress.changed, &effects)
        if !merging.tells { telling.fallBehind(at: position, block.elements.count + block.tombstones.count) }
        return .whole
    }

    private mutating func begin(_ block: StoredBlock) throws(LogError) -> Bool {
        if block.consumes > 0 {
            batch.removeAll { $0.number <= block.consumes }
            // A removal that was on its way into the log when the block was made could not name it (seed 160299).
            var changes = batch.map(\.change)
            block.extendRemovals(&changes)
            for index in batch.indices { batch[index].change = changes[index] }
            batchBytes = batch.reduce(0) { $0 + Replica.size($1.change) }
        }
        if let isHere = dag.isHere(block.hash) { if isHere { return false } } else if try store.address(ofBlock: block.hash) != nil { return false }
        if doubtedThrough > 0 { settleDoubts(by: block) }
        return true
    }

    /// What the block holds was published, and so was what it had replaced in the same batch: to write that now would undo what
    /// came after it (seed 751124).
    private mutating func settleDoubts(by block: StoredBlock) {
        var published: [String: UInt64] = [:]
        for accepted in batch where accepted.number <= doubtedThrough && block.holds(accepted.change) {
            published[accepted.change.key] = accepted.number
        }
        batch.removeAll { if case .put(let key, _) = $0.change { $0.number <= published[key] ?? 0 } else { false } }
        batchBytes = batch.reduce(0) { $0 + Replica.size($1.change) }
    }

    private mutating func insert(_ block: StoredBlock, _ isStored: (Multihash) throws(LogError) -> Bool) throws(LogError) {
        do { try dag.insert(block.hash, links: block.links, height: block.priority, isStored: isStored) } catch let error as LogError {
            throw error
        } catch { unreachable("\(error)") }
    }

    /// Something in the log cannot be read any more. The state is made anew from what can, and the rest is fetched from others.
    package mutating func onDamage(_ damage: LogDamage, now: Now, effects: inout [Effect]) {
        guard isOpen, !settledDamages.contains(damage.description) else { return }
        settledDamages.insert(damage.description)
        startOver("\(damage)", now, &effects)
    }

    /// The index cannot be read any more, or something in the log. What the disk says may pass.
    package mutating func onUnreadable(_ error: LogError, now: Now, effects: inout [Effect]) {
        switch error {
        case .damaged(let damage): onDamage(damage, now: now, effects: &effects)
        case .index: if isOpen { startOver("\(error)", now, &effects) }
        case .disk, .notALog, .tooLarge: effects.append(.log(LogLine(.error, "crdt", "\(error)")))
        }
    }

    mutating func reportDamages(_ now: Now, _ effects: inout [Effect]) {
        for damage in store.takeDamages() { onDamage(damage, now: now, effects: &effects) }
    }

    // MARK: Checkpoints

    /// Of what is in the state: all of the log up to there, and no part of what is behind.
    mutating func checkpointIfDue(at address: LogAddress, _ effects: inout [Effect]) {
        guard store.index.wantsFreeze, merging == nil, isOpen || replayed == address else { return }
        let (own, live) = (snapshot, store.live)
        let state: @Sendable () -> [Bytes] = { [own] + live.pieces }
        withIndex(&effects) { $0.freeze(at: address, state: state, effects: &$1) }
    }

    /// What there is beside the index and the map of live elements.
    private var snapshot: Bytes {
        var writer = ProtobufWriter()
        writer.message(1) { dag.write(to: &$0) }
        writer.bool(2, isDirty)
        writer.uint64(3, nextAccepted)
        for accepted in batch { writer.explicit(4, bytes: Replica.encode(accepted)) }
        if let behind = telling.behind { writer.uint64(5, behind.record.raw) }
        // What has been told of the first record is told again.
        writer.uint64(6, UInt64(telling.untoldCount + (telling.behind?.told ?? 0)))
        for damage in settledDamages { writer.string(7, damage) }
        writer.uint64(8, doubtedThrough)
        var first = Bytes()
        Kernel.append(UInt32(writer.bytes.count), to: &first)
        return first + writer.bytes + store.digests.bytes
    }

    /// Takes up the state of a checkpoint, if it belongs to this log; else there is nothing yet.
    mutating func resume(from checkpoint: (address: LogAddress, state: Bytes)?, _ effects: inout [Effect]) {
        replayed = store.log.firstAddress
        guard let checkpoint else { return }
        do {
            guard checkpoint.address <= store.log.endAddress else { throw StateFault("it is ahead of the log") }
            try restore(checkpoint.state)
            replayed = checkpoint.address
        } catch {
            effects.append(.log(LogLine(.warning, "crdt", "the index cannot be used: \(error)")))
            forget(&effects)
        }
    }

    private mutating func restore(_ state: Bytes) throws {
        let count = state.count >= 4 ? Int(state.withUnsafeBytes { load($0, 0, as: UInt32.self) }) : 0
        let start = 4 + count + RangeDigests.bytesCount
        guard state.count >= start else { throw StateFault("its state is too short") }
        var reader = ProtobufReader(state[4..<4 + count])
        while let field = try reader.next() {
            switch field.number {
            case 1: dag = try Dag(reading: try field.message())
            case 2: isDirty = try field.bool()
            case 3: nextAccepted = try field.uint64()
            case 4: batch.append(try Replica.decodeAccepted(try field.bytes(), .origin))
            case 5: telling.behind = (LogAddress(raw: try field.uint64()), 0)
            case 6: telling.untoldCount = try field.count()
            case 7: settledDamages.insert(try field.string())
            case 8: doubtedThrough = try field.uint64()
            default: break
            }
        }
        batchBytes = batch.reduce(0) { $0 + Replica.size($1.change) }
        try state.withUnsafeBytes { raw in
            guard let digests = RangeDigests(UnsafeRawBufferPointer(rebasing: raw[(4 + count)..<start])) else { throw StateFault("its counts of pins are too large") }
            store.digests = digests
            guard let live = LiveMap(UnsafeRawBufferPointer(rebasing: raw[start...])) else { throw StateFault("its map of live elements is cut off") }
            store.live = live
        }
    }

    /// The last accepted operation that is in a block on its way into the log or from there into the state.
    var consumedInFlight: UInt64 {
        inFlight.reduce(0) { if case .block(let block, _, _, true) = $1.what { max($0, block.consumes) } else { $0 } }
    }

    private mutating func forget(_ effects: inout [Effect]) {
        withStore(&effects) { $0.reset(&$1) }
        dag = Dag()
        (batch, batchBytes, isDirty, doubtedThrough) = ([], 0, false, 0)
        committing = consumedInFlight
        telling = Telling()
        merging = nil
        lookups = [:]
        replayed = store.log.firstAddress
    }

    /// The index is of no use any more: the state is made from the log again.
    mutating func startOver(_ reason: String, _ now: Now, _ effects: inout [Effect]) {
        effects.append(.log(LogLine(.error, "crdt", "\(reason). The index is made anew from the log")))
        if isOpen { toldBefore = telling.behind?.record ?? stateEnd }
        forget(&effects)
        catchingUp = nil
        replayAt = now.monotonic
    }

    // MARK: Reading the log

    /// Nothing has ever been merged or accepted there. What cannot be read is something.
    package static func isEmpty(_ folder: FileName, reader: any DiskReader) -> Bool {
        struct Found: Error {}
        var (damages, effects): ([LogDamage], [DiskEffect]) = ([], [])
        let visit = { (_: LogPosition, kind: UInt8, _: ArraySlice<UInt8>) in if kind != RecordKind.dirty { throw Found() } }
        do { _ = try Log(folder: folder, owner: 0, reader: reader, visit: visit, damages: &damages, effects: &effects) } catch { return false }
        return damages.isEmpty
    }

    /// Goes on reading the log into the state; done when `isOpen`.
    mutating func replay(_ budget: Int, effort: Int, _ now: Now, _ effects: inout [Effect]) {
        replayAt = nil
        // What an earlier life has left and not synced may still go with the power. Nobody is told of it, and nothing built on it, before.
        guard store.log.isFoundDurable else { return sync(&effects) }
        // What has become durable before is read in its turn.
        if !isOpen, isMerging { takeDurable(now, &effects) }
        var (left, effort) = (budget, effort)
        while let from = replayed, left > 0, effort > 0 {
            guard !store.index.isOverloaded else { return }  // goes on when a job has ended
            let bytes = min(left, Log.chunkBytes)
            left -= bytes
            do { try replaySlice(from, bytes, &effort, now, &effects) } catch {
                // A block may be merged in part: nothing of this state is of use.
                startOver("the log cannot be read into the state: \(error)", now, &effects)
                replayAt = now.monotonic + settings.retryDelay
                return
            }
        }
        tellProgress(now, &effects)
        if isOpen { finishReplay(now, &effects) } else { replayAt = now.monotonic }
    }

    private static let progressInterval = Span.seconds(5)

    /// Of what takes longer.
    private mutating func tellProgress(_ now: Now, _ effects: inout [Effect]) {
        let due = progressAt ?? now.monotonic + Replica.progressInterval
        progressAt = isOpen ? nil : due
        guard due <= now.monotonic else { return }
        progressAt = isOpen ? nil : now.monotonic + Replica.progressInterval
        effects.append(.log(LogLine(.info, "crdt", "reading the pinset from the log: \(openingPercent) %, \(count) pins")))
    }

    private mutating func replaySlice(_ from: LogAddress, _ bytes: Int, _ effort: inout Int, _ now: Now, _ effects: inout [Effect]) throws {
        var damages: [LogDamage] = []
        var records: [(LogPosition, UInt8, Bytes)] = []
        let next = try store.log.records(from: from, bytes: bytes, damages: &damages) { records.append(($0, $1, Bytes($2))) }
        for damage in damages {
            isDirty = true
            let isTold = !settledDamages.insert(damage.description) && merging != nil
            doubtedThrough = batch.last?.number ?? 0
            guard !isTold else { continue }
            effects.append(.log(LogLine(.error, "crdt", "\(damage). What was lost is fetched again from other peers")))
        }
        // What has rotted between two steps: part of it is in the state (seed 122279008).
        if let merging, records.first?.0 != merging.position {
            throw LogError.damaged(store.log.damage(at: merging.position.payload, "a block of which a part is in the state cannot be read any more"))
        }
        for (position, kind, payload) in records {
            replayed = position.start
            guard effort > 0, try replayRecord(position, kind, payload, &effort, now, &effects) else { return }
            if !damages.isEmpty { doubtedThrough = batch.last?.number ?? 0 }
            replayed = position.end
            checkpointIfDue(at: position.end, &effects)
        }
        replayed = next
    }

    private mutating func replayRecord(
        _ position: LogPosition, _ kind: UInt8, _ payload: Bytes, _ effort: inout Int, _ now: Now, _ effects: inout [Effect]
    ) throws -> Bool {
        switch kind {
        case RecordKind.block:
            guard let block = merging.map(\.block) ?? StoredBlock(payload: payload) else {
                effects.append(.log(LogLine(.error, "crdt", "\(store.log.damage(at: position.payload, "a record holds no block"))")))
                break
            }
            let before = telling, isTold = position.payload < toldBefore
            if isTold { telling.room = 0 }
            let merged = try merge(block, position, &effort, &effects)
            if isTold { telling = before }
            // What stood before the checkpoint was needed, and has rotted.
            if let damage = store.takeDamages().first { throw LogError.damaged(damage) }
            if merged == .inPart { return false }
        case RecordKind.operation:
            let accepted = try Replica.decodeAccepted(payload[...], now.monotonic)
            batch.append(accepted)
            batchBytes += Replica.size(accepted.change)
            nextAccepted = accepted.number &+ 1  // whatever stands there
        case RecordKind.dirty: isDirty = payload.first == 1
        default:
            effects.append(.log(LogLine(.error, "crdt", "the log holds a record of unknown kind \(kind): was it written by a newer version?")))
        }
        return true
    }

    private mutating func finishReplay(_ now: Now, _ effects: inout [Effect]) {
        takenEnd = store.log.endAddress
        if settings.repairInterval > .zero { repairAt = now.monotonic }  // CRDT-62: at once
        hearWhatWasMissed(now, &effects)
        work(now, &effects)
    }

    /// How much of the log is in the state.
    package var openingPercent: Int {
        guard let replayed else { return 100 }
        let (first, end) = (store.log.firstAddress.raw, store.log.endAddress.raw)
        return end > first ? Int((replayed.raw - first) * 100 / (end - first)) : 0
    }

    // MARK: Jobs

    package mutating func onJob(_ number: UInt64, _ outcome: JobOutcome, now: Now, effects: inout [Effect]) {
        switch outcome {
        case .done(let run): withIndex(&effects) { $0.onJob(number, run, effects: &$1) }
        case .found(let looked): return onLookup(number, looked)
        case .failed(let error):
            effects.append(.log(LogLine(.error, "crdt", "the index could not be written: \(error)")))
            withIndex(&effects) { $0.onJobFailed(number, effects: &$1) }
            if case .index = error { startOver("\(error)", now, &effects) } else { jobRetryAt = now.monotonic + settings.retryDelay }
        }
        if !isOpen { replay(settings.replayBytesPerStep, effort: settings.mergedPerStep, now, &effects) } else {
            checkpointIfDue(at: stateEnd, &effects)
            fetchListed(now, &effects)
            work(now, &effects)
        }
    }
}

/// Why a checkpoint is of no use.
private struct StateFault: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension StoredBlock {
    /// A put that is in this block. A removal names what it removes: to repeat it does no harm.
    func holds(_ change: Replica.Change) -> Bool {
        guard case .put(let key, let value) = change, case let sought = StoredName(key.utf8), case let hash = sought.hash else { return false }
        return elements.contains { $0.hash == hash && name($0) == sought && self.value($0) == value }
    }

    /// Removals that were accepted after what this block holds name it too.
    func extendRemovals(_ changes: inout [Replica.Change]) {
        guard changes.contains(where: { if case .delete = $0 { true } else { false } }) else { return }
        let added = Set(elements.map { name($0).string })
        for index in changes.indices {
            guard case .delete(let key, let blocks) = changes[index], added.contains(key), !blocks.contains(hash) else { continue }
            changes[index] = .delete(key: key, blocks: blocks + [hash])
        }
    }

    /// Whether a key is there after it. Nil if it is not about that.
    func presence(of key: String) -> Bool? {
        let sought = StoredName(key.utf8)
        if elements.contains(where: { name($0) == sought }) { return true }
        return tombstones.contains { tombstone($0)?.name == sought } ? false : nil
    }

    func removes(_ key: String, of block: Multihash) -> Bool {
        let sought = StoredName(key.utf8)
        return tombstones.contains { $0.hash == sought.hash && (tombstone($0).map { $0.name == sought && $0.target == block } ?? false) }
    }

    var keys: [String] {
        elements.map { name($0).string } + tombstones.compactMap { tombstone($0)?.name.string }
    }
}
