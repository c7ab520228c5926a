// Pinning many at once: one answer for all, and all of them or none. What would stand in the way of a single pin (CLU-01..05)
// stands in the way of the whole batch.

import Allocation
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams

extension ClusterPeer {
    mutating func pinAll(_ batch: PinBatch, _ client: ClientID) {
        if settings.isFollower { return reply(client, .failure(Self.followerRefusal)) }
        bulk.append((client, batch))
        workOffBulk()
    }

    /// As long as the index keeps up: whoever asks for more waits for the answer.
    mutating func workOffBulk() {
        while let (client, batch) = bulk.first, !replica.isOverloaded {
            bulk.removeFirst()
            do throws(ClientFailure) {
                let pins = try prepared(batch)
                let id = OperationID(number())
                writes[id] = { $0.reply(client, $1.map { .failure(ClientFailure($0.description)) } ?? .success([])) }
                withReplica { $0.pin(pins, id, now: $1.now, effects: &$2) }
            } catch { reply(client, .failure(error)) }
        }
    }

    private mutating func prepared(_ batch: PinBatch) throws(ClientFailure) -> StoredPins {
        var batch = batch
        let factors = try factors(of: batch.options)
        (batch.options.replicationFactorMin, batch.options.replicationFactorMax) = (factors.min, factors.max)
        try checkExpiry(of: batch.options)
        guard batch.options.pinUpdate == nil else { throw ClientFailure(.badRequest, "many pins cannot update one") }
        var allocations: [Int: [PeerID]] = [:]
        let known = replica.mayHold(batch)
        for index in factors.min >= 0 ? Array(0..<batch.count) : known {
            let isKnown = factors.min < 0 || known.contains(index)
            let pin: Pin
            do throws(MultiformatError) { pin = try batch.pin(index) } catch { throw ClientFailure(.badRequest, "\(error)") }
            let existing = isKnown ? try knownPin(pin.cid) : nil
            if let existing { try check(pin, replacing: existing) }
            if factors.min >= 0 { allocations[index] = try self.allocations(for: pin, current: existing?.allocations ?? [], without: []) }
        }
        return batch.stored(at: turn.now.wall) { allocations[$0] ?? [] }
    }
}
