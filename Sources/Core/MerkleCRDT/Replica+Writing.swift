// The peer's own writes: one block each, or many in a batch. spec/crdt.md CRDT-130..140; bug zoo C25.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

extension Replica {
    /// Sets a key. `finished` says when it is durable.
    package mutating func put(_ key: String, _ value: Bytes, _ id: OperationID, now: Now, effects: inout [Effect]) {
        guard key.utf8.count + value.count < settings.log.recordBytesLimit / 2 else {
            return effects.append(.finished(id, .tooLarge))
        }
        accept(id, .put(key: key, value: value), now, &effects)
    }

    /// Removes what is known under a key. Unknown keys are no error.
    package mutating func delete(_ key: String, _ id: OperationID, now: Now, effects: inout [Effect]) {
        accept(id, .delete(key: key), now, &effects)
    }

    private mutating func accept(_ id: OperationID, _ change: BatchChange, _ now: Now, _ effects: inout [Effect]) {
        if isStopping { return effects.append(.finished(id, .stopping)) }
        guard isOpen else { return effects.append(.finished(id, .opening(percent: openingPercent))) }
        if settings.isBatching {
            // CRDT-131: what waits for the age of its batch is in no queue.
            guard pendingCount - min(batch.count, settings.batchSizeMax) < settings.batchQueueMax else { return effects.append(.finished(id, .queueFull)) }
            do throws(LogError) { logOperation(id, try resolved(change), now, &effects) } catch {
                effects.append(.finished(id, .log("\(error)")))
                onUnreadable(error, now: now, effects: &effects)
            }
        } else {
            queue.append((id, change))
            work(now, &effects)
        }
    }

    /// A removal names what it removes when it is made, not when its batch is committed: what another peer adds meanwhile
    /// stays (observed-remove, CRDT-53).
    private mutating func resolved(_ change: BatchChange) throws(LogError) -> Change {
        switch change {
        case .put(let key, let value): return .put(key: key, value: value)
        case .delete(let key):
            return .delete(key: key, blocks: try blocks(setting: key))
        }
    }

    /// The blocks that set a key, and what they have set nobody has removed; this peer's own that are on their way into the log are among them.
    private mutating func blocks(setting key: String) throws(LogError) -> [Multihash] {
        let name = StoredName(key.utf8), hash = name.hash
        let known = try store.known(name).key
        var blocks = try store.blocks(of: known).map { StoredBlock.multihash($0) }
        // What is on its way into the log was accepted before: what it sets goes as well, and what it removes has gone.
        for (_, _, item) in inFlight {
            guard case .block(let block, _, _, true) = item else { continue }
            if !blocks.isEmpty, !block.tombstones.isEmpty { blocks.removeAll { block.removes(key, of: $0) } }
            if !blocks.contains(block.hash), block.elements.contains(where: { $0.hash == hash && block.name($0) == name }) { blocks.append(block.hash) }
        }
        return blocks
    }

    private mutating func logOperation(_ id: OperationID, _ change: Change, _ now: Now, _ effects: inout [Effect]) {
        let accepted = Accepted(number: nextAccepted, change: change, since: now.monotonic)
        do {
            let (position, sequence) = try append(RecordKind.operation, Replica.encode(accepted), &effects)
            nextAccepted &+= 1
            inFlight.append((sequence, position.end, .operation(id, accepted)))
            sync(&effects)
        } catch { effects.append(.finished(id, .log("\(error)"))) }
    }

    // MARK: Committing

    /// Whatever can be written now.
    mutating func work(_ now: Now, _ effects: inout [Effect]) {
        if !queue.isEmpty, !isCommitting, isOpen, !store.index.isOverloaded {
            let unreadable = writeQueued(&effects)
            if isCommitting || !doubted.isEmpty { sync(&effects) }
            if let unreadable { onUnreadable(unreadable, now: now, effects: &effects) }
        }
        if let due = commitDue, now.monotonic >= due { commit(now, &effects) }
    }

    /// What waits for nothing. What was accepted before comes before it.
    private mutating func atOnce(_ id: OperationID, _ now: Now, _ effects: inout [Effect], _ body: (inout Replica, inout [Effect]) throws -> Void) {
        if isStopping { return effects.append(.finished(id, .stopping)) }
        guard isOpen else { return effects.append(.finished(id, .opening(percent: openingPercent))) }
        var unreadable = writeQueued(&effects)
        commitAll(alsoUnderWay: true, &effects)
        do { try body(&self, &effects) } catch {
            effects.append(.finished(id, .log("\(error)")))
            if let error = error as? LogError, error.isDamage { unreadable = error }
        }
        sync(&effects)
        if let unreadable { onUnreadable(unreadable, now: now, effects: &effects) }
    }

    /// A chain of blocks, one for each operation, that one sync makes durable. What could not be read for it, if anything.
    private mutating func writeQueued(_ effects: inout [Effect]) -> LogError? {
        var tips = tipsInFlight
        var unreadable: LogError?
        defer { queue = [] }
        for (id, change) in queue {
            let resolved: Change
            do throws(LogError) { resolved = try self.resolved(change) } catch {
                effects.append(.finished(id, .log("\(error)")))
                unreadable = error
                continue
            }
            var builder = DeltaBuilder()
            builder.add(resolved)
            let delta = builder.delta
            guard !delta.isEmpty else {  // nothing to remove: nothing to publish (CRDT-53)
                finish(id, resolved.key, &effects)
                continue
            }
            guard let block = write(delta, on: tips, operations: [id], consumes: 0, &effects) else { continue }
            tips = [(block.hash, block.priority)]
        }
        return unreadable
    }

    /// Nothing is to be done about a key; but what is on its way into the log may be lost, and is what there was to be done.
    private mutating func finish(_ id: OperationID, _ key: String, _ effects: inout [Effect]) {
        for index in inFlight.indices.reversed() {
            guard case .block(let block, let position, let operations, true) = inFlight[index].what, block.presence(of: key) != nil else { continue }
            return inFlight[index].what = .block(block, position, operations: operations + [id], isOwn: true)
        }
        finishWithoutWriting(id, &effects)
    }

    /// What was lost may come back with a loss of power, until a sync has ended (drill of seed 6042734).
    private mutating func finishWithoutWriting(_ id: OperationID, _ effects: inout [Effect]) {
        if store.log.isDoubtful { doubted.append(id) } else { effects.append(.finished(id, nil)) }
    }

    /// A sync has ended, one way or the other: so have removals of nothing that waited for it.
    mutating func endDoubted(_ error: ReplicaError?, _ effects: inout [Effect]) {
        for id in doubted { effects.append(.finished(id, error)) }
        doubted = []
    }

    /// When the batch must be committed: a function of what waits, never of how it came to wait (C25).
    var commitDue: Instant? {
        guard let oldest = batch.first, !isCommitting, isOpen, !store.index.isOverloaded else { return nil }
        guard oldest.number > doubtedThrough || !dag.isWaiting else { return nil }
        let isFull = batch.count >= settings.batchSizeMax || batchBytes > settings.deltaBytesMax || isStopping
        let due = isFull ? oldest.since : oldest.since + settings.batchAgeMax
        return retryAt.map { max(due, $0) } ?? due
    }

    /// Puts the waiting operations into blocks.
    package mutating func commit(_ now: Now, _ effects: inout [Effect]) {
        guard !isCommitting else { return }
        commitAll(&effects)
        sync(&effects)
    }

    /// Those that are in no block on its way into the log, upon the last such block; or also those that are on their way themselves.
    private mutating func commitAll(alsoUnderWay: Bool = false, _ effects: inout [Effect]) {
        var waiting = batch.filter { $0.number > committing }
        if alsoUnderWay { for case (_, _, .operation(_, let accepted)) in inFlight where accepted.number > committing { waiting.append(accepted) } }
        guard !waiting.isEmpty, isOpen else { return }
        let isTooLarge = batchBytes > settings.deltaBytesMax
        if isTooLarge { effects.append(.log(LogLine(.warning, "crdt", "delta size over MaxBatchDeltaSize. Commiting."))) }
        commitCause = commitCause ?? (isStopping ? .shutdown : isTooLarge || batch.count >= settings.batchSizeMax ? .size : .age)
        (retryAt, doubtedThrough) = (nil, 0)
        var tips = tipsInFlight
        var (rest, done) = (waiting.map(\.change), 0)
        // What was before them in the batch is on its way into the state, and these were to follow it into the log, which failed (drill of seed 1623).
        for (_, _, item) in inFlight { if case .block(let block, _, _, true) = item, block.consumes > 0 { block.extendRemovals(&rest) } }
        while !rest.isEmpty {
            let (delta, count) = firstPart(of: rest)
            done += count
            committing = waiting[done - 1].number
            rest.removeFirst(count)
            guard let block = write(delta, on: tips, operations: [], consumes: committing, &effects) else { continue }
            tips = [(block.hash, block.priority)]
            if !rest.isEmpty { block.extendRemovals(&rest) }
        }
    }

    /// Nothing of the batch is on its way any more.
    mutating func tellCommit(_ effects: inout [Effect]) {
        if let commitCause, committedCount > 0 { effects.append(.news(.committed(committedCount, because: commitCause))) }
        (commitCause, committedCount) = (nil, 0)
    }

    /// Writes several changes as one batch, at once: `finished` says when all of it is durable.
    package mutating func write(_ changes: [BatchChange], _ id: OperationID, now: Now, effects: inout [Effect]) {
        guard !changes.isEmpty else { return effects.append(.finished(id, nil)) }
        atOnce(id, now, &effects) { replica, effects in
            replica.write(try changes.map { try replica.resolved($0) }, id, &effects)
        }
    }

    /// Sets a key at once, in a block of its own, whatever waits in a batch. By that block it can be taken back; none if it cannot be written:
    /// `finished` says why. With its author's name no other peer can make the very same block: whoever takes back its own would take
    /// back the other's too (seed 6021284).
    package mutating func putAtOnce(
        _ key: String, _ value: Bytes, by author: String, _ id: OperationID, now: Now, effects: inout [Effect]
    ) -> Multihash? {
        var delta = Delta()
        delta.elements = [Delta.Element(key: key, id: author, value: value)]
        atOnce(id, now, &effects) { replica, effects in
            _ = replica.write(delta, on: replica.tipsInFlight, operations: [id], consumes: 0, &effects)
        }
        guard case .block(let block, _, [id], true) = inFlight.last?.what else { return nil }
        return block.hash
    }

    /// Takes back what was set by that block: what others have set the same key to, before or since, stays.
    package mutating func takeBack(_ key: String, setBy block: Multihash, _ id: OperationID, now: Now, effects: inout [Effect]) {
        atOnce(id, now, &effects) { replica, effects in
            let isThere = try replica.blocks(setting: key).contains(block)
            isThere ? replica.write([.delete(key: key, blocks: [block])], id, &effects) : replica.finish(id, key, &effects)
        }
    }

    /// Removes many keys at once, each once: `finished` says when all of it is durable.
    package mutating func remove(_ removals: [Removal], _ id: OperationID, now: Now, effects: inout [Effect]) {
        var rest = removals[...]
        atOnce(id, now, &effects) { replica, effects in
            try replica.writeBlocks(id, &effects) { tips, priority, store, settings in
                guard !rest.isEmpty else { return nil }
                let block = StoredBlock.of(
                    rest, deltaBytesMax: settings.deltaBytesMax, heads: tips, priority: priority, generation: store.index.generation)
                rest = rest.dropFirst(block.lookup?.known.count ?? 0)
                return (block, rest.isEmpty)
            }
        }
    }
    /// Something of this peer's own that a removal of these would not see yet, or would repeat (CRDT-53).
    package func isChanging(_ cids: [CID]) -> Bool {
        guard batch.isEmpty, queue.isEmpty else { return true }
        guard !inFlight.isEmpty else { return false }
        var asked = HashSet(capacity: cids.count)
        for cid in cids { _ = asked.insert(cid.bytes.withUnsafeBytes { StoredKey.hash(cid: $0) }) }
        return inFlight.contains {
            switch $0.what {
            case .block(let block, _, _, true): block.elements.contains { asked.contains($0.hash) } || block.tombstones.contains { asked.contains($0.hash) }
            case .operation: true
            case .block, .flag: false
            }
        }
    }

    private mutating func write(_ resolved: [Change], _ id: OperationID, _ effects: inout [Effect]) {
        var tips = tipsInFlight
        var rest = resolved
        while !rest.isEmpty {
            let (delta, count) = firstPart(of: rest)
            rest.removeFirst(count)
            guard let block = write(delta, on: tips, operations: rest.isEmpty ? [id] : [], consumes: 0, &effects) else { return }
            tips = [(block.hash, block.priority)]
            if !rest.isEmpty { block.extendRemovals(&rest) }
        }
    }

    /// Pins many at once: in blocks of their own, as full as they may be. `finished` says when all of it is durable.
    package mutating func pin(
        _ pins: StoredPins, newcomers: Newcomers? = nil, _ id: OperationID, now: Now, effects: inout [Effect]
    ) {
        atOnce(id, now, &effects) { replica, effects in
            guard let hashes = newcomers?.hashes ?? StoredBlock.hashes(pins) else {
                return effects.append(.finished(id, .log("a pin does not begin with its CID")))
            }
            var start = 0
            try replica.writeBlocks(id, &effects) { tips, priority, _, settings in
                guard start < pins.count else { return nil }
                let size = StoredBlock.count(pins, hashes, from: start, deltaBytesMax: settings.deltaBytesMax)
                var block = StoredBlock.of(pins, hashes, from: start, size: size, heads: tips, priority: priority)
                block.lookup = newcomers?.lookup.part(start..<start + size.count)
                start += size.count
                return (block, start == pins.count)
            }
        }
    }

    /// Writes blocks, each upon the one before, until there is no next or the last.
    private mutating func writeBlocks(
        _ id: OperationID, _ effects: inout [Effect],
        _ next: ([Multihash], UInt64, ElementStore, ReplicaSettings) throws -> (block: StoredBlock, isLast: Bool)?
    ) throws {
        var (tips, isDone) = (tipsInFlight, false)
        while !isDone, let (block, isLast) = try next(tips.map(\.hash).sorted(), nextHeight(tips.map(\.height)), store, settings) {
            let (position, sequence) = try append(RecordKind.block, block.payload, &effects)
            inFlight.append((sequence, position.end, .block(block, position, operations: isLast ? [id] : [], isOwn: true)))
            (isCommitting, isDone) = (true, isLast)
            tips = [(block.hash, block.priority)]
        }
        if !isDone { finishWithoutWriting(id, &effects) }
    }

    /// What the next own block is built upon: the last one that is on its way into the log, or the heads.
    private var tipsInFlight: [(hash: Multihash, height: UInt64)] {
        for (_, _, item) in inFlight.reversed() { if case .block(let block, _, _, true) = item { return [(block.hash, block.priority)] } }
        return dag.heads.map { ($0.cid.multihash, $0.height) }
    }

    /// CRDT-27; blocks of unfinished branches are in the state too, and a write must win over what its writer saw.
    private func nextHeight(_ tips: [UInt64]) -> UInt64 {
        let height = max(dag.heightMax, tips.max() ?? 0)
        return height == .max ? .max : height + 1
    }

    /// The first of the deltas that changes are cut into: a new one begins when the encoded size has passed the limit (CRDT-136).
    /// `count` says how many changes there are up to its end. A later put or delete of a key replaces an earlier put of it in the same delta
    /// (CRDT-135), so that no key stands twice (C08). Removals that remove nothing still make a block, an empty one, as
    /// upstream's do (CRDT-137).
    private func firstPart(of changes: [Change]) -> (delta: Delta, count: Int) {
        var builder = DeltaBuilder()
        for (index, change) in changes.enumerated() {
            builder.add(change)
            if builder.sizeBytes > settings.deltaBytesMax { return (builder.delta, index + 1) }
        }
        return (builder.delta, changes.count)
    }

    private mutating func write(
        _ delta: Delta, on tips: [(hash: Multihash, height: UInt64)], operations: [OperationID], consumes: UInt64,
        _ effects: inout [Effect]
    ) -> StoredBlock? {
        var delta = delta
        delta.priority = nextHeight(tips.map(\.height))
        let bytes = DeltaBlock.encode(delta, heads: tips.map { CID(v1: Codec.dagPB, $0.hash) })
        do {
            let block = try StoredBlock(raw: bytes, consumes: consumes)
            let (position, sequence) = try append(RecordKind.block, block.payload, &effects)
            inFlight.append((sequence, position.end, .block(block, position, operations: operations, isOwn: true)))
            isCommitting = true
            return block
        } catch {
            for operation in operations { effects.append(.finished(operation, .log("\(error)"))) }
            return nil
        }
    }

    // MARK: Stopping

    /// Orderly shutdown (CRDT-138): nothing more is accepted, and what was accepted is committed. Done when `isFlushed`.
    package mutating func flush(now: Now, effects: inout [Effect]) {
        isStopping = true
        if settings.isBatching, batch.isEmpty { effects.append(.news(.committed(0, because: .shutdown))) }
        commit(now, &effects)
    }
    /// Nothing is on its way into the log.
    package var isSettled: Bool { inFlight.isEmpty && queue.isEmpty && doubted.isEmpty }
    /// Of this peer's own, on their way into the log.
    package var elementsUnderWay: Int {
        inFlight.reduce(0) { if case .block(let block, _, _, true) = $1.what { $0 + block.elements.count } else { $0 } }
    }
    package var isFlushed: Bool { isSettled && batch.isEmpty }

    // MARK: Records

    static func size(_ change: Change) -> Int {
        switch change {
        case .put(let key, let value): key.utf8.count + value.count + 14
        case .delete(let key, let blocks): blocks.count * (key.utf8.count + 72)
        }
    }

    static func encode(_ accepted: Accepted) -> Bytes {
        var writer = ProtobufWriter()
        writer.uint64(1, accepted.number)
        switch accepted.change {
        case .put(let key, let value):
            writer.string(2, key)
            writer.explicit(3, bytes: value)
        case .delete(let key, let blocks):
            writer.string(2, key)
            for block in blocks { writer.explicit(4, bytes: block.bytes) }
        }
        return writer.bytes
    }

    static func decodeAccepted(_ payload: ArraySlice<UInt8>, _ since: Instant) throws -> Accepted {
        var reader = ProtobufReader(payload)
        var number: UInt64 = 0
        var key = ""
        var value: Bytes?
        var blocks: [Multihash] = []
        while let field = try reader.next() {
            switch field.number {
            case 1: number = try field.uint64()
            case 2: key = try field.string()
            case 3: value = Bytes(try field.bytes())
            case 4: blocks.append(try Multihash(try field.bytes()))
            default: break
            }
        }
        let change = value.map { Change.put(key: key, value: $0) } ?? .delete(key: key, blocks: blocks)
        return Accepted(number: number, change: change, since: since)
    }
}

/// The delta of a batch while it grows.
struct DeltaBuilder {
    private var elements: [Delta.Element?] = []
    private var indexByKey: [String: Int] = [:]
    private var tombstones: [Delta.Tombstone] = []
    private var removed: Set<Delta.Tombstone> = []
    private(set) var sizeBytes = 0

    mutating func add(_ change: Replica.Change) {
        if let index = indexByKey.removeValue(forKey: change.key), let element = elements[index] {
            sizeBytes -= element.encodedSize
            elements[index] = nil
        }
        switch change {
        case .put(let key, let value):
            let element = Delta.Element(key: key, value: value)
            indexByKey[key] = elements.count
            elements.append(element)
            sizeBytes += element.encodedSize
        case .delete(let key, let blocks):
            for block in blocks {
                let tombstone = Delta.Tombstone(key: key, block: block)
                guard removed.insert(tombstone).inserted else { continue }
                tombstones.append(tombstone)
                sizeBytes += tombstone.encodedSize
            }
        }
    }

    var delta: Delta {
        var delta = Delta()
        delta.elements = elements.compactMap { $0 }
        delta.tombstones = tombstones
        return delta
    }
}
