// INTENT, of clients: what one peer alone was asked to write, and did, is in the pinset at the end as it was asked for.

import Allocation
import Cluster
import Kernel
import Multiformats
import Pinset
import Seams

/// What clients asked to be written of one CID.
struct Writes {
    enum Last: Equatable {
        case nothing
        case pin(PinOptions)
    }
    /// Who was asked.
    var writers: Set<Int> = []
    /// Nobody can tell any more what should be there.
    var isDoubtful = false
    /// It was written again when it may have expired, and been removed as that: whether before or after, nobody can tell.
    var isRenewal = false
    /// Requests that have not ended, and whether each is carried out in the order of its kind.
    var open: [ClientID: Bool] = [:]
    /// What the last acknowledged one said, and which it was.
    var last = Last.nothing
    var lastClient = ClientID(0)
    var lastAsked: Int64 = -1
}

extension Run {
    /// Clocks are off by a second, and drift.
    private static let expiryGrace = Span.seconds(15)

    func noteWrite(_ client: ClientID, _ asked: Asked) {
        guard asked.request.isWrite else { return }
        for cid in asked.request.writtenCIDs {
            var writes = oracles.writes[cid] ?? Writes()
            // Two that overlap are carried out in their order only where both go straight into the queue: what lies in shards does not, since
            // the list of them is read first (seed 13000413).
            let isPlain = asked.request.isPlainWrite && !oracles.shardsOf.values.contains { $0.contains(cid) }
            if !writes.open.isEmpty && (!isPlain || writes.open.values.contains(false)) || writes.lastAsked == asked.at { writes.isDoubtful = true }
            writes.writers.insert(asked.peer)
            writes.lastAsked = asked.at
            writes.open[client] = isPlain
            // A part of other content goes with it.
            if oracles.shardsOf[cid] != nil { writes.isDoubtful = true }
            if asked.request.updates { writes.isDoubtful = true }
            if mayHaveExpired(writes.last, at: world.now) { writes.isRenewal = true }
            oracles.writes[cid] = writes
        }
    }

    /// Nil: it has not been told how it ended.
    func noteWritten(_ client: ClientID, _ asked: Asked, failure: ClientFailure??) {
        noteShards(asked, failure: failure)
        for cid in asked.request.writtenCIDs {
            guard var writes = oracles.writes[cid], writes.open.removeValue(forKey: client) != nil else { continue }
            defer { oracles.writes[cid] = writes }
            switch failure {
            case nil: writes.isDoubtful = true
            case .some(.some):
                // Nothing was changed; but a disk that fails may have kept it, and of many some may have been written.
                if plan.has(.disk) || !asked.request.isPlainWrite { writes.isDoubtful = true }
            case .some(.none):
                if mayHaveExpired(writes.last, at: world.now) { writes.isRenewal = true }
                guard client > writes.lastClient else { continue }
                judgeMode(asked, cid, writes)
                writes.lastClient = client
                writes.last = asked.request.intended(cid, defaults: world.peers[asked.peer].settings.factors)
            }
        }
    }

    /// ANSWER: what is pinned with all below it is not pinned alone by many at once, as it is not by one. What waits in a batch is not looked at.
    private func judgeMode(_ asked: Asked, _ cid: CID, _ writes: Writes) {
        guard case .pinAll(let batch) = asked.request, batch.options.mode == .direct, !options.isBatching, !options.isSkewed, !writes.isRenewal, !plan.has(.disk), known(cid, writes) == asked.peer,
            case .pin(let held) = writes.last, held.mode == .recursive
        else { return }
        world.fail(.answer, "\(world.name(asked.peer)) has taken a direct pin of \(cid), among others, which it alone has pinned, with all below it")
    }

    /// Whoever finds it expired removes it.
    private func mayHaveExpired(_ last: Writes.Last, at time: Int64) -> Bool {
        guard case .pin(let options) = last, !options.expireAt.isUnset else { return false }
        return plan.has(.clock) || options.isExpired(at: SimClock().reading(time).wall + Run.expiryGrace)
    }

    /// Who alone wrote the content, and what it was asked last, where nothing else can have come of it.
    private func known(_ cid: CID, _ writes: Writes) -> Int? {
        guard !writes.isDoubtful, writes.open.isEmpty, writes.lastClient > ClientID(0), writes.writers.count == 1, let writer = writes.writers.first,
            writer != outsider, !world.peers[writer].isLost, world.peers[writer].losses.isEmpty, !plan.rotsInStorm(writer),
            (blocks.authors[cid.stateKey] ?? []).subtracting([writer]).isEmpty, !mayHaveExpired(writes.last, at: world.now), !isAddedAgain(cid)
        else { return nil }
        return writer
    }
    /// An add pins its content when its blocks have been taken: after what was asked meanwhile (seed 7600096).
    private func isAddedAgain(_ cid: CID) -> Bool {
        guard let upload = oracles.uploads.first(where: { $0.root == cid }) else { return false }
        let files = plan.operations.lazy.filter { $0.kind == .add }.map { (number: $0.number, file: Words($0.words).number("same") ?? $0.number) }
        guard let file = files.first(where: { $0.number == upload.operation })?.file else { return false }
        return files.count { $0.file == file } > 1
    }

    /// INTENT: what a peer was asked to pin, and has said it does, it removes only when it is asked, or when that has expired.
    func judgeRemoved(_ cid: CID, by index: Int) {
        guard !plan.has(.disk), let writes = oracles.writes[cid], known(cid, writes) == index, case .pin(let asked) = writes.last else { return }
        oracles.judged += 1
        world.fail(.intent, "\(world.name(index)), which alone wrote \(cid), has pinned it last, as \(asked.name), and removes it unasked")
    }

    /// INTENT: where one peer alone was asked, and it alone wrote, the last write counts.
    func checkWrites() {
        guard let machine = trusted.first.flatMap({ world.peers[$0].process?.machine }) else { return }
        // By the log: a page of the index that has rotted is found out by whoever asks, and mended before it is answered.
        var held = SortedMap<CID, Pin>()
        for pin in pins(of: machine) { held[pin.cid] = pin }
        for (cid, writes) in oracles.writes {
            guard !writes.isRenewal, let writer = known(cid, writes) else { continue }
            oracles.judged += 1
            let held = held[cid]
            switch writes.last {
            case .nothing:
                if let held { return world.fail(.intent, "\(world.name(writer)), which alone wrote \(cid), has unpinned it last, and it is pinned as \(held.options.name)") }
            case .pin(let asked):
                guard let held else { return world.fail(.intent, "\(world.name(writer)), which alone wrote \(cid), has pinned it last, as \(asked.name), and it is not in the pinset") }
                if let difference = asked.difference(from: held.options) {
                    return world.fail(.intent, "\(world.name(writer)), which alone wrote \(cid), has pinned it last as \(asked.name), and \(difference)")
                }
            }
        }
    }
}

extension ClientRequest {
    /// What a write is about, as far as it says so itself.
    var writtenCIDs: [CID] {
        switch self {
        case .pin(let pin): [pin.cid]
        case .unpin(let cid): [cid]
        case .pinPath(let path), .unpinPath(let path): path.target.map { [$0] } ?? []
        case .pinAll(let batch): batch.pins.map(\.cid)
        case .unpinAll(let cids): cids
        default: []
        }
    }
    /// It goes into the queue when it comes.
    fileprivate var isPlainWrite: Bool {
        switch self {
        case .pin, .unpin: true
        default: false
        }
    }
    /// What it writes depends on another pin.
    fileprivate var updates: Bool {
        switch self {
        case .pin(let pin): pin.options.pinUpdate != nil
        case .pinPath(let path): path.options.pinUpdate != nil
        default: false
        }
    }
    fileprivate func intended(_ cid: CID, defaults: ReplicationFactors) -> Writes.Last {
        let asked: PinOptions
        switch self {
        case .pin(let pin): asked = pin.options
        case .pinPath(let path): asked = path.options
        case .pinAll(let batch): asked = batch.pins.last { $0.cid == cid }?.options ?? batch.options
        default: return .nothing
        }
        var options = asked
        if options.replicationFactorMin == 0 { options.replicationFactorMin = defaults.min }
        if options.replicationFactorMax == 0 { options.replicationFactorMax = defaults.max }
        return .pin(options)
    }
}

extension PinBatch {
    fileprivate var pins: [Pin] { (0..<count).compactMap { try? pin($0) } }
}

/// Of an expiry: there is none.
func isUnset(_ time: WallTime) -> Bool { time.isUnset || time == .epoch }
/// As it is stored; nil where there is none.
func second(_ time: WallTime) -> Int64? { isUnset(time) ? nil : time.unixNanoseconds / 1_000_000_000 }

extension PinOptions {
    /// In which of what is kept of them they differ, in words.
    fileprivate func difference(from held: PinOptions) -> String? {
        if held.name != name { return "it is called \(held.name)" }
        if held.mode != mode { return "its mode is \(held.mode.text)" }
        if (held.replicationFactorMin, held.replicationFactorMax) != (replicationFactorMin, replicationFactorMax) {
            return "its factors are \(held.replicationFactorMin) to \(held.replicationFactorMax), not \(replicationFactorMin) to \(replicationFactorMax)"
        }
        if second(held.expireAt) != second(expireAt) { return "it expires at \(second(held.expireAt) ?? 0), not \(second(expireAt) ?? 0)" }
        if (held.metadata?.pairs ?? []) != (metadata?.pairs ?? []) { return "its metadata is not what was asked" }
        return nil
    }
}
