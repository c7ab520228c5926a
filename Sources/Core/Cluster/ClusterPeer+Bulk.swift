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
        bulk.append((client, write))
        workOffBulk()
    }

    /// One at a time, so that nothing else waits long, and as long as the index keeps up: whoever asks for more waits for the answer.
    mutating func workOffBulk() {
        loops.bulkAt = nil
        if let (client, write) = bulk.first, !replica.isOverloaded, replica.elementsUnderWay <= settings.bulkUnderWayMax {
            // What is on its way into the pinset is to be seen, since it is to be removed too.
            if case .unpin(let cids) = write, replica.hasPutsUnderWay || replica.isRemoving(cids) { return withReplica { $0.commit($1.now, &$2) } }
            bulk.removeFirst()
            if !bulk.isEmpty { loops.bulkAt = turn.now.monotonic }
            do throws(ClientFailure) {
                switch write {
                case .pin(let batch):
                    let newcomers = replica.newcomers(batch)
                    let pins = try prepared(batch, known: newcomers.exceptions)
                    let id = awaiting(client)
                    withReplica { $0.pin(pins, newcomers: newcomers, id, now: $1.now, effects: &$2) }
                case .unpin(let cids):
                    let removals = try removals(of: cids)
                    let id = awaiting(client)
                    withReplica { $0.remove(removals, id, now: $1.now, effects: &$2) }
                }
            } catch { reply(client, .failure(error)) }
        }
    }

    /// The client is answered when the write is durable.
    private mutating func awaiting(_ client: ClientID) -> OperationID {
        let id = OperationID(number())
        writes[id] = { $0.reply(client, $1.map { .failure(ClientFailure($0.description)) } ?? .success([])) }
        return id
    }

    private mutating func removals(of cids: [CID]) throws(ClientFailure) -> [Replica.Removal] {
        var removals: [Replica.Removal] = []
        removals.reserveCapacity(cids.count)
        for cid in cids {
            let removal = try reading { peer throws(LogError) in try peer.replica.removal(of: cid) }
            guard let found = removal else { throw ClientFailure(.notFound, "\(cid) is not part of the pinset") }
            let type = found.value.withUnsafeBytes { PinParts($0)?.type } ?? (try? Pin(protobuf: found.value, cid: cid))?.type
            guard type == .data else { throw ClientFailure("\(cid) is no plain pin: it is unpinned by itself") }
            removals.append(found)
        }
        return removals
    }

    private mutating func pinToReplace(_ cid: CID) throws(ClientFailure) -> Pin? {
        let value = try reading { peer throws(LogError) in try peer.replica.valueToReplace(cid) }
        return value.flatMap { try? Pin(protobuf: $0, cid: cid) }
    }

    private mutating func prepared(_ batch: PinBatch, known: [Int]) throws(ClientFailure) -> StoredPins {
        var batch = batch
        let factors = try factors(of: batch.options)
        (batch.options.replicationFactorMin, batch.options.replicationFactorMax) = (factors.min, factors.max)
        try checkExpiry(of: batch.options)
        guard batch.options.pinUpdate == nil else { throw ClientFailure(.badRequest, "many pins cannot update one") }
        var allocations: [Int: [PeerID]] = [:]
        var ahead = known[...]
        for index in factors.min >= 0 ? Array(0..<batch.count) : known {
            let isKnown = ahead.first == index
            if isKnown { ahead.removeFirst() }
            let pin: Pin
            do throws(MultiformatError) { pin = try batch.pin(index) } catch { throw ClientFailure(.badRequest, "\(error)") }
            let existing = isKnown ? try pinToReplace(pin.cid) : nil
            if let existing { try check(pin, replacing: existing) }
            if factors.min >= 0 { allocations[index] = try self.allocations(for: pin, current: existing?.allocations ?? [], without: []) }
        }
        return batch.stored(at: turn.now.wall) { allocations[$0] ?? [] }
    }
}
