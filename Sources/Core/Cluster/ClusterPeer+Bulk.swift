// Pinning and unpinning many at once: one answer for all, and all of them or none. What would stand in the way of a single one
// (CLU-01..05, CLU-09) stands in the way of the whole batch.

import Allocation
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage

extension ClusterPeer {
    enum BulkWrite: Sendable {
        case pin(PinBatch)
        case unpin([CID])
    }

    mutating func writeAll(_ write: BulkWrite, _ client: ClientID) {
        if settings.isFollower { return reply(client, .failure(Self.followerRefusal)) }
        guard replica.isOpen else { return reply(client, .failure(Self.opening(replica))) }
        bulk.append((client, write, ask(of: write), false))
    }

    /// What there is of the keys that it is about.
    private mutating func ask(of write: BulkWrite) -> Replica.Question {
        var effects: [Replica.Effect] = []
        let question =
            switch write {
            case .pin(let batch): replica.ask(batch, effects: &effects)
            case .unpin(let cids): replica.ask(cids, effects: &effects)
            }
        route(effects)
        return question
    }

    /// One at each wake-up, so that nothing else waits long, and as long as the index keeps up: whoever asks for more waits for the
    /// answer.
    mutating func workOffBulk(isDue: Bool) {
        let due = loops.bulkAt
        loops.bulkAt = nil
        if let (client, write, question, isAskedAgain) = bulk.first, replica.isAnswered(question), !replica.isOverloaded, !replica.isMerging,
            replica.elementsUnderWay <= settings.bulkUnderWayMax, !isChanging(write) {
            guard isDue, let due, due <= turn.now.monotonic else { return loops.bulkAt = due ?? turn.now.monotonic }
            if !isAskedAgain, replica.isOutOfDate(question) {
                replica.forget(question)
                (bulk[0].question, bulk[0].isAskedAgain) = (ask(of: write), true)
                return
            }
            // What is on its way into the pinset is to be seen, since it is to be removed too.
            if case .unpin(let cids) = write, replica.isChanging(cids) { return withReplica { $0.commit($1.now, &$2) } }
            bulk.removeFirst()
            if !bulk.isEmpty { loops.bulkAt = turn.now.monotonic }
            do throws(ClientFailure) {
                switch write {
                case .pin(let batch):
                    let newcomers = try reading { peer throws(LogError) in try peer.replica.newcomers(question) }
                    let pins = try prepared(batch, known: newcomers.exceptions)
                    let id = awaiting(client)
                    withReplica { $0.pin(pins, newcomers: newcomers, id, now: $1.now, effects: &$2) }
                case .unpin(let cids):
                    let removals = try removals(of: cids, question)
                    let id = awaiting(client)
                    withReplica { $0.remove(removals, id, now: $1.now, effects: &$2) }
                }
            } catch { reply(client, .failure(error)) }
        }
    }

    /// What this peer changes by itself was read before: written later, it would undo what the client was told (seed 8000700).
    private func isChanging(_ write: BulkWrite) -> Bool {
        guard !loops.changing.isEmpty else { return false }
        switch write {
        case .pin(let batch): return (0..<batch.count).contains { (try? batch.pin($0)).map { loops.changing.contains($0.cid) } ?? false }
        case .unpin(let cids): return cids.contains { loops.changing.contains($0) }
        }
    }

    /// The client is answered when the write is durable.
    private mutating func awaiting(_ client: ClientID) -> OperationID {
        let id = OperationID(number())
        writes[id] = { $0.reply(client, $1.map { .failure(ClientFailure($0.description)) } ?? .success([])) }
        return id
    }

    private mutating func removals(of cids: [CID], _ question: Replica.Question) throws(ClientFailure) -> [Replica.Removal] {
        var removals: [Replica.Removal] = []
        removals.reserveCapacity(cids.count)
        for (number, removal) in try reading({ peer throws(LogError) in try peer.replica.removals(question) }) {
            let cid = cids[number]
            guard let removal else { throw ClientFailure(.notFound, "\(cid) is not part of the pinset") }
            let type = removal.value.withUnsafeBytes { PinParts($0)?.type } ?? (try? Pin(protobuf: removal.value, cid: cid))?.type
            guard type == .data else { throw ClientFailure("\(cid) is no plain pin: it is unpinned by itself") }
            removals.append(removal)
        }
        return removals
    }

    private mutating func prepared(_ batch: PinBatch, known: [(index: Int, value: Bytes?)]) throws(ClientFailure) -> StoredPins {
        var batch = batch
        let factors = try factors(of: batch.options)
        (batch.options.replicationFactorMin, batch.options.replicationFactorMax) = (factors.min, factors.max)
        try checkExpiry(of: batch.options)
        guard batch.options.pinUpdate == nil else { throw ClientFailure(.badRequest, "many pins cannot update one") }
        var allocations: [Int: [PeerID]] = [:]
        var ahead = known[...]
        for index in factors.min >= 0 ? Array(0..<batch.count) : known.map(\.index) {
            let value = ahead.first?.index == index ? ahead.removeFirst().value : nil
            if factors.min < 0, value.map({ isReplaceable($0, batch.options.mode) }) ?? true { continue }
            let pin: Pin
            do throws(MultiformatError) { pin = try batch.pin(index) } catch { throw ClientFailure(.badRequest, "\(error)") }
            let existing = value.flatMap { try? Pin(protobuf: $0, cid: pin.cid) }
            if let existing { try check(pin, replacing: existing) }
            if factors.min >= 0 { allocations[index] = try self.allocations(for: pin, current: existing?.allocations ?? [], without: []) }
        }
        return batch.stored(at: turn.now.wall) { allocations[$0] ?? [] }
    }
    /// A plain pin, which any that is as deep may take the place of: `check` would say nothing.
    private func isReplaceable(_ value: Bytes, _ mode: PinMode) -> Bool {
        mode == .recursive && value.withUnsafeBytes { PinParts($0)?.type == .data }
    }
}
