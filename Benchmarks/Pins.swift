// The CRDT replica: writing, receiving, opening again. The disk is in memory, so that the replica is what is timed.

import Foundation
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import SimNet
import Storage

/// A replica with a disk that syncs at once.
private struct Member {
    var replica: Replica
    let disk: SimDisk
    var announcements: [Bytes] = []
    var wanted: [CID] = []
    private var choices = Choices(seed: 1)
    private let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))

    init(_ disk: SimDisk) throws {
        self.disk = disk
        var settings = ReplicaSettings()
        (settings.batchSizeMax, settings.batchAgeMax, settings.batchQueueMax) = (1000, .seconds(3600), 1 << 30)
        var effects: [Replica.Effect] = []
        replica = try Replica(settings: settings, owner: 4, reader: disk, now: now, choices: &choices, effects: &effects)
        carryOut(effects)
    }

    private mutating func carryOut(_ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(.sync(let name, let ticket)):
                let failure = disk.endSync(disk.beginSync(name))
                var more: [Replica.Effect] = []
                replica.onDisk(failure.map { .syncFailed(ticket, $0) } ?? .synced(ticket), now: now, effects: &more)
                carryOut(more)
            case .disk(let effect): disk.apply(effect)
            case .job(let job): finish(job)
            case .announce(let payload): announcements.append(payload)
            case .want(let cids): wanted += cids
            case .unwant, .finished, .changed, .merged, .log: break
            }
        }
    }

    private mutating func finish(_ job: IndexJob) {
        var job = job
        var effects: [DiskEffect] = []
        var run: IndexRun?
        while run == nil {
            effects = []
            do { run = try job.advance(reader: disk, effects: &effects) } catch { unreachable("\(error)") }
            for effect in effects {
                if case .sync(let name, _) = effect { _ = disk.endSync(disk.beginSync(name)) } else { disk.apply(effect) }
            }
        }
        var more: [Replica.Effect] = []
        if let run { replica.onJob(job.number, .done(run), now: now, effects: &more) }
        carryOut(more)
    }

    mutating func write(_ changes: [Replica.BatchChange], _ id: OperationID) {
        var effects: [Replica.Effect] = []
        for change in changes {
            switch change {
            case .put(let key, let value): replica.put(key, value, id, now: now, effects: &effects)
            case .delete(let key): replica.delete(key, id, now: now, effects: &effects)
            }
            carryOut(effects)
            effects = []
        }
    }
    mutating func hear(_ payload: Bytes) {
        var effects: [Replica.Effect] = []
        replica.onAnnouncement(payload, now: now, choices: &choices, effects: &effects)
        carryOut(effects)
    }
    mutating func receive(_ cid: CID, _ block: Bytes) {
        var effects: [Replica.Effect] = []
        replica.onBlock(cid, block, now: now, effects: &effects)
        carryOut(effects)
    }
}

func benchmarkPins(count: Int, report: (String, String) -> Void) throws {
    var source = try Member(SimDisk())
    let writing = timed {
        for first in stride(from: 0, to: count, by: 1000) {
            let changes = (first..<min(first + 1000, count)).map { number -> Replica.BatchChange in
                var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: Bytes("pin \(number)".utf8))))
                pin.options.name = "pin \(number)"
                (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (-1, -1)
                return .put(key: pin.cid.stateKey, value: pin.protobuf)
            }
            source.write(changes, OperationID(UInt64(first + 1)))
        }
    }
    report("write", line("write", source.replica.count, "pins", writing))

    let disk = SimDisk()
    var other = try Member(disk)
    let ingesting = try timed {
        for payload in source.announcements {
            other.hear(payload)
            while let cid = other.wanted.popLast() {
                guard let block = try source.replica.block(cid) else { unreachable("the source has its own blocks") }
                other.receive(cid, block)
            }
        }
    }
    invariant(other.replica.digest == source.replica.digest, "both replicas hold the same")
    report("ingest", line("ingest", other.replica.count, "pins", ingesting))

    var reopened: Member?
    let opening = try timed { reopened = try Member(disk) }
    invariant(reopened?.replica.digest == source.replica.digest, "what was written is read again")
    report("restart", line("restart", reopened?.replica.count ?? 0, "pins", opening))
}
