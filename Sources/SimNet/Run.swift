// A whole run from one seed: peers, a workload of clients, faults, then healing, and what must hold while and after.

import Allocation
import Cluster
import Crypto
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
import Tracking

/// Everything that shapes a run. `random` draws it from the seed; scenarios write it down.
package struct RunOptions: Equatable, Sendable {
    package var peers = 3
    package var operations = 40
    package var workloadLength = Span.minutes(3)
    package var factorMin = 2
    package var factorMax = 3
    package var isBatching = false
    package var crashes = 0
    package var crashesMidStep = false
    package var partitions = 0
    package var connectionLosses = 0
    package var ipfsOutages = 0
    package var losesReplies = false
    package var fullDisks = 0
    package var syncFailures = 0
    package var suspensions = 0
    /// Peers that leave in good order, and come back.
    package var departures = 0
    /// One of the trusted peers is there only from the middle of the workload on.
    package var hasLatecomer = false
    package var clockDriftMax: Int64 = 0
    /// Peers that go after all is settled and never come back: the others must make good what they held.
    package var lostPeers = 0
    /// One goes for good in the middle of the workload, with its disk.
    package var losesOneEarly = false
    /// One more peer, which nobody else trusts: it may listen, be allocated to, and change nothing.
    package var hasOutsider = false
    /// IPFS daemons that forget all their pins.
    package var ipfsResets = 0
    /// How many CIDs are written: with few, many writes meet.
    package var contents = 12
    /// Peers hold content themselves, and clients upload it.
    package var isEmbedded = false
    /// Without it whatever IPFS does at the first try must be right at once: the healer hides nothing.
    package var recovers = true
    /// Bits that rot on a trusted peer's disk when all is settled: what they spoil is mended from the others.
    package var rots = 0
    /// Entries in the index's memory, and bytes in a segment of the log: small ones see many checkpoints, merges and files.
    package var indexEntries = 512 << 10
    package var segmentBytes = 64 << 20
    /// What is read of the log before a peer opens; the rest is read while it runs.
    package var replayBytesAtOpen = 64 << 20
    /// Clients also pin and unpin many at once.
    package var hasBulk = false
    /// What is appended can be read when it has been synced, no earlier.
    package var writesLate = false
    /// After the faults everything is healed, and the cluster has this long to agree.
    package var settleLimit = Span.minutes(20)
    package init() {}

    /// Families of faults are on or off for a whole run, so that some runs see few kinds of them, at high intensity.
    package static func random(_ draws: Draws) -> RunOptions {
        var choices = draws.stream(.options)
        var options = RunOptions()
        options.peers = 2 + choices.below(4)
        options.operations = 20 + choices.below(60)
        options.factorMin = 1 + choices.below(2)
        options.factorMax = options.factorMin + choices.below(2)
        options.isBatching = choices.chance(1, in: 2)
        func family(_ max: Int) -> Int { choices.chance(1, in: 2) ? 1 + choices.below(max) : 0 }
        options.crashes = family(5)
        options.crashesMidStep = choices.chance(1, in: 3)
        options.partitions = family(4)
        options.connectionLosses = family(6)
        options.ipfsOutages = family(3)
        options.losesReplies = choices.chance(1, in: 4)
        options.fullDisks = family(2)
        options.syncFailures = family(2)
        options.suspensions = family(2)
        options.clockDriftMax = choices.chance(1, in: 2) ? Int64(choices.below(500)) : 0
        let spare = options.peers - max(2, options.factorMin)
        if spare > 0 { options.lostPeers = choices.chance(1, in: 2) ? 1 + choices.below(min(2, spare)) : 0 }
        if spare > options.lostPeers { options.losesOneEarly = choices.chance(1, in: 3) }
        options.hasOutsider = choices.chance(1, in: 4)
        options.ipfsResets = choices.chance(1, in: 4) ? 1 + choices.below(2) : 0
        options.contents = [2, 4, 12][choices.below(3)]
        options.isEmbedded = choices.chance(1, in: 5)
        options.recovers = options.isEmbedded || options.ipfsOutages > 0 || options.losesReplies || options.ipfsResets > 0 || choices.chance(1, in: 3)
        options.rots = choices.chance(1, in: 3) && options.peers - options.lostPeers > 2 ? 1 + choices.below(3) : 0
        if choices.chance(2, in: 3) {
            options.indexEntries = [1, 4, 16, 64][choices.below(4)]
            options.segmentBytes = [2 << 10, 20 << 10, 64 << 20][choices.below(3)]
            options.replayBytesAtOpen = [1, 4 << 10, 64 << 20][choices.below(3)]
        }
        options.hasBulk = choices.chance(1, in: 2)
        options.departures = family(2)
        options.hasLatecomer = options.peers > 2 && choices.chance(1, in: 4)
        options.writesLate = choices.chance(1, in: 2)
        return options
    }

    /// The same with every family of disk faults, over a store in small pieces.
    package func withDiskFaults(_ draws: Draws) -> RunOptions {
        var choices = draws.stream(.options, 1)
        var options = self
        options.crashes = max(crashes, 1 + choices.below(4))
        options.crashesMidStep = true
        options.fullDisks = max(fullDisks, 1)
        options.syncFailures = max(syncFailures, 1)
        options.rots = options.peers - options.lostPeers > 2 ? max(rots, 1 + choices.below(3)) : 0
        options.indexEntries = [1, 4, 16, 64][choices.below(4)]
        options.segmentBytes = [2 << 10, 20 << 10][choices.below(2)]
        options.replayBytesAtOpen = [1, 4 << 10, 64 << 20][choices.below(3)]
        return options
    }
}

/// What came of a run.
package struct Verdict: Sendable {
    package let seed: UInt64
    package let options: RunOptions
    /// The oracle's name and what it saw, or nil.
    package let failure: String?
    package let digest: TraceDigest
    package let events: UInt64
    package let virtualTime: Span
    package let settleTime: Span?
    package let acknowledged: Int
}

package final class Run {
    package let world: World
    package let options: RunOptions
    private let seed: UInt64
    /// What clients were told is done: the pin's stored value, by the operation.
    var acknowledgedPins: [(at: Int, asked: Int64, pin: Pin)] = []
    /// Pins that were asked for together, by their names, which no other pin has.
    var acknowledgedBulk: [(at: Int, pins: [(cid: CID, name: String)])] = []
    /// Files that were added, by the peer and when it was asked.
    var uploads: [(at: Int, asked: Int64, root: CID)] = []
    /// Writes that were asked of a peer: what may replace an earlier one in an open batch, acknowledged or not.
    private var askedWrites: [(at: Int, cid: CID, when: Int64)] = []
    private var acknowledged = 0
    var seen = SortedMap<Int, Merged>()
    private var settledAfter: Span?
    /// Who is not lost for good, and of these, who is trusted.
    var present: [Int] { world.peers.indices.filter { !world.peers[$0].isLost } }
    var trusted: [Int] { present.filter { $0 != outsider } }
    private var latecomer: Int? { options.hasLatecomer ? options.peers - 1 : nil }
    var outsider: Int? { options.hasOutsider ? options.peers : nil }

    package init(seed: UInt64, options: RunOptions? = nil, log: ((String) -> Void)? = nil) {
        self.seed = seed
        let options = options ?? .random(Draws(seed: seed))
        self.options = options
        var settings = WorldSettings()
        settings.crashOneStepIn = options.crashesMidStep ? 4000 : 0
        world = World(seed: seed, settings: settings)
        world.log = log
        let inside = SortedSet((0..<options.peers).map { SimPeer.identity($0, world.draws) })
        world.addPeers(options.peers + (options.hasOutsider ? 1 : 0)) { peer in
            if options.hasOutsider { peer.trust = .only(SortedSet(inside.elements + [peer.me])) }
            peer.factors = ReplicationFactors(min: options.factorMin, max: options.factorMax)
            peer.isRepinningDisabled = false
            peer.replica.repairInterval = .minutes(10)
            peer.replica.index.tableEntries = options.indexEntries
            (peer.listing.bytesPerChunk, peer.listing.statusesPerChunk, peer.sweepBytes) = (2048, 3, 2048)
            peer.replica.log.segmentBytes = options.segmentBytes
            peer.replica.replayBytesAtOpen = options.replayBytesAtOpen
            if options.indexEntries < 100 { peer.replica.replayBytesPerStep = 1 }
            peer.tracker.concurrentPins = 3
            var kubo = KuboSettings()
            kubo.pinTimeout = .seconds(20)
            peer.ipfs = options.isEmbedded ? .embedded(EmbeddedSettings()) : .kubo(kubo)
            peer.recoverInterval = options.recovers ? .minutes(2) : .hours(3)
            peer.stateSyncInterval = .minutes(3)
            if options.isBatching { (peer.replica.batchSizeMax, peer.replica.batchAgeMax) = (10, .seconds(5)) }
        }
        drawClocks()
        for peer in world.peers { peer.disk.writesLate = options.writesLate }
        var choices = world.draws.stream(.workload, UInt64.max)
        world.readerPause = choices.chance(1, in: 2) ? .milliseconds(1) : choices.span(.zero, .seconds(2))
        world.afterStep = { [unowned self] _, index, _, _ in checkStep(index) }
    }

    private func drawClocks() {
        guard options.clockDriftMax > 0 else { return }
        for index in world.peers.indices {
            var choices = world.draws.stream(.clock, UInt64(index))
            let width = Int(2 * options.clockDriftMax + 1)
            world.peers[index].clock.drift = Int64(choices.below(width)) - options.clockDriftMax
            world.peers[index].clock.wallOffset = .milliseconds(Int64(choices.below(2000)) - 1000)
        }
    }

    /// Runs it all. The same seed and options give the same verdict, digest included.
    package func execute() -> Verdict {
        world.startAll(but: latecomer)
        world.run(for: .seconds(40))
        scheduleWorkload()
        scheduleFaults()
        world.run(for: options.workloadLength)
        if world.failure == nil { settle() }
        return Verdict(
            seed: seed, options: options, failure: world.failure, digest: world.digest, events: world.eventCount,
            virtualTime: Span(nanoseconds: world.now), settleTime: settledAfter, acknowledged: acknowledged)
    }

    // MARK: Workload

    static let outsiderName = "from outside"

    /// A small set of CIDs, so that operations meet.
    private func content(_ number: Int) -> CID { CID(v1: Codec.raw, .sha2_256(of: Bytes("content \(number)".utf8))) }

    private func scheduleWorkload() {
        for operation in 0..<options.operations {
            var choices = world.draws.stream(.workload, UInt64(operation))
            let at = world.now + choices.span(.zero, options.workloadLength).nanoseconds
            world.at(at) { [unowned self] _ in perform(choices) }
        }
    }

    private func perform(_ choices: Choices) {
        var choices = choices
        let up = world.peers.indices.filter { world.peers[$0].isUp }
        guard !up.isEmpty else { return }
        let index = up[choices.below(up.count)]
        if options.isEmbedded && (uploads.isEmpty || choices.chance(1, in: 3)) { return upload(index, &choices) }
        let cid = options.isEmbedded ? uploads[choices.below(uploads.count)].root : content(choices.below(options.contents))
        if options.hasBulk, !options.isEmbedded, choices.chance(1, in: 5) { return bulk(index, &choices) }
        // Often several at once: values of one height meet, and who removes the same upon the same heads makes the same block.
        let targets = choices.chance(1, in: 4) ? up : [index]
        switch choices.below(10) {
        case 0..<6: for target in targets { pin(cid, target, &choices) }
        case 6..<8:
            for target in targets {
                askedWrites.append((target, cid, world.now))
                world.ask(target, .unpin(cid)) { [unowned self] _, reply in if case .end = reply { acknowledged += 1 } }
            }
        case 8: world.ask(index, .status(cid, isLocal: choices.chance(1, in: 2))) { _, _ in }
        case 9 where choices.chance(1, in: 4): world.ask(index, .recoverAll(isLocal: choices.chance(1, in: 2))) { _, _ in }
        case 9 where choices.chance(1, in: 4): world.ask(index, .pins([.data])) { _, _ in }
        default: world.ask(index, .statusAll(.undefined, isLocal: choices.chance(1, in: 2))) { _, _ in }
        }
    }

    private func pin(_ cid: CID, _ index: Int, _ choices: inout Choices) {
        var pin = Pin(cid: cid)
        pin.options.name = index == outsider ? Run.outsiderName : "name \(choices.below(1000))"
        if choices.chance(1, in: 4) { pin.options.replicationFactorMin = -1; pin.options.replicationFactorMax = -1 }
        if choices.chance(1, in: 8) { pin.options.mode = .direct; pin.maxDepth = 0 }
        if choices.chance(1, in: 8) {
            pin.options.expireAt = world.peers[index].clock.reading(world.now).wall + choices.span(.seconds(30), .minutes(5))
        }
        if choices.chance(1, in: 12), !options.isEmbedded { pin.options.pinUpdate = content(choices.below(options.contents)) }
        let asked = world.now
        askedWrites.append((index, cid, asked))
        world.ask(index, .pin(pin)) { [unowned self] _, reply in
            guard case .item(.pin(let pin)) = reply else { return }
            acknowledged += 1
            acknowledgedPins.append((index, asked, pin))
        }
    }

    /// All of them or none.
    private func bulk(_ index: Int, _ choices: inout Choices) {
        let cids = choices.permuted(Array(0..<options.contents)).prefix(1 + choices.below(5)).map(content)
        guard choices.chance(2, in: 3) else {
            world.ask(index, .unpinAll(cids)) { [unowned self] _, reply in if case .end = reply { acknowledged += 1 } }
            return
        }
        var batch = PinBatch()
        if choices.chance(1, in: 2) { (batch.options.replicationFactorMin, batch.options.replicationFactorMax) = (-1, -1) }
        let call = world.nextClient
        let pins = cids.enumerated().map { (cid: $1, name: index == outsider ? Run.outsiderName : "bulk \(call).\($0)") }
        for pin in pins { batch.append(pin.cid, name: pin.name) }
        world.ask(index, .pinAll(batch)) { [unowned self] _, reply in
            guard case .end = reply else { return }
            acknowledged += 1
            acknowledgedBulk.append((index, pins))
        }
    }

    /// A small file; what was acknowledged is pinned and unpinned later.
    private func upload(_ index: Int, _ choices: inout Choices) {
        var parameters = AddParameters()
        parameters.options.name = index == outsider ? Run.outsiderName : "file"
        parameters.chunker = "size-512"
        parameters.rawLeaves = choices.chance(1, in: 2)
        parameters.isLocal = choices.chance(1, in: 6)
        if choices.chance(1, in: 4) { (parameters.options.replicationFactorMin, parameters.options.replicationFactorMax) = (-1, -1) }
        let asked = world.now
        var root: CID?
        let client = world.ask(index, .add(parameters)) { [unowned self] _, reply in
            switch reply {
            case .item(.added(let line)): root = line.cid
            case .end:
                acknowledged += 1
                if let root { uploads.append((index, asked, root)) }
            default: break
            }
        }
        let size = choices.chance(1, in: 10) ? 100_000 : choices.below(4000)
        let pieces = choices.permuted(Array(0..<4)).map { _ in ClientInput.data(choices.bytes(size / 4)) }
        world.send(index, client, [.file(name: "file")] + pieces + [.endOfFile, .end])
    }

    /// In an open batch a later write of the same peer replaces an earlier one before it is ever published.
    func isSuperseded(_ index: Int, _ cid: CID, askedAt time: Int64) -> Bool {
        options.isBatching && askedWrites.contains { $0.at == index && $0.cid == cid && $0.when > time }
    }

    // MARK: Faults

    private func scheduleFaults() {
        let window = options.workloadLength
        var number: UInt64 = 0
        func schedule(_ count: Int, _ fault: @escaping (World, inout Choices) -> Void) {
            for _ in 0..<count {
                number += 1
                var choices = world.draws.stream(.faults, 1 << 40 | number)
                let at = world.now + choices.span(.zero, window).nanoseconds
                world.at(at) { fault($0, &choices) }
            }
        }
        let count = world.peers.count
        schedule(options.losesOneEarly ? 1 : 0) { [unowned self] world, choices in
            loseOne(&choices)
            for peer in world.peers.indices where !world.peers[peer].isLost { world.start(peer) }  // those that are down may hold what nobody else has
        }
        if let latecomer { world.after(window / 2) { $0.start(latecomer) } }
        schedule(options.departures) { world, choices in
            let index = choices.below(count)
            world.stop(index)
            world.after(choices.span(.seconds(5), .seconds(60))) { $0.start(index) }
        }
        schedule(options.ipfsResets) { world, choices in world.peers[choices.below(count)].ipfs.forgetPins() }
        schedule(options.crashes) { world, choices in
            let index = choices.below(count)
            world.crash(index)
            world.after(choices.span(.seconds(1), .seconds(60))) { $0.start(index) }
        }
        schedule(options.partitions) { world, choices in
            let order = choices.permuted(Array(0..<count))
            let cut = 1 + choices.below(max(1, count - 1))
            let (side, others) = (Array(order[..<cut]), Array(order[cut...]))
            world.partition(side, from: others, oneWay: choices.chance(1, in: 3))
            world.after(choices.span(.seconds(5), .seconds(90))) { $0.heal() }
        }
        schedule(options.connectionLosses) { world, choices in world.breakConnection(choices.below(count), choices.below(count)) }
        schedule(options.ipfsOutages) { world, choices in
            let index = choices.below(count)
            world.peers[index].ipfs.isDown = true
            world.after(choices.span(.seconds(5), .seconds(60))) { $0.peers[index].ipfs.isDown = false }
        }
        schedule(options.fullDisks) { world, choices in
            let index = choices.below(count)
            world.peers[index].disk.capacityBytes = world.peers[index].disk.usedBytes + choices.below(2000)
            world.after(choices.span(.seconds(5), .seconds(60))) { $0.peers[index].disk.capacityBytes = .max }
        }
        schedule(options.syncFailures) { world, choices in world.peers[choices.below(count)].disk.failSyncs = 1 + choices.below(2) }
        schedule(options.suspensions) { world, choices in
            let index = choices.below(count)
            world.suspend(index)
            world.after(choices.span(.seconds(1), .seconds(50))) { $0.resume(index) }
        }
        if options.losesReplies { for index in 0..<count { world.peers[index].ipfs.losesReplyOneIn = 10 } }
        if options.crashesMidStep {
            for beat in 1...Int(window.nanoseconds / 5_000_000_000) {
                world.after(.seconds(Int64(beat) * 5)) { world in
                    for index in 0..<count where !world.peers[index].isUp { world.start(index) }
                }
            }
        }
    }

    // MARK: Healing

    private func settle() {
        world.note("-- faults end; everything is healed --")
        world.stopCrashing()
        world.heal()
        for index in world.peers.indices {
            world.peers[index].ipfs.isDown = false
            world.peers[index].ipfs.losesReplyOneIn = 0
            world.peers[index].disk.capacityBytes = .max
            world.peers[index].disk.failSyncs = 0
            world.resume(index)
            world.start(index)
        }
        // Who was leaving may have been waiting for its disk.
        for beat in 1...6 {
            world.after(.seconds(Int64(beat) * 10)) { world in for index in world.peers.indices { world.start(index) } }
        }
        let began = world.now
        awaitAgreement()
        settledAfter = Span(nanoseconds: world.now - began)
        for number in 0..<options.lostPeers where world.failure == nil {
            var choices = world.draws.stream(.faults, 1 << 41 | UInt64(number))
            let before = trusted.first.flatMap { world.peers[$0].machine?.replica }.map(history) ?? []
            loseOne(&choices)
            awaitAgreement()
            if world.failure == nil { checkRepins(since: before) }
        }
        if world.failure == nil, options.rots > 0 { rot() }
        if world.failure == nil { checkEnd() }
    }

    /// Bits rot on one peer's disk. Whoever reads there finds out; it is made good from the others, and all agree again.
    private func rot() {
        var choices = world.draws.stream(.faults, 1 << 42)
        guard trusted.count > 1, case let index = trusted[choices.below(trusted.count)] else { return }
        for _ in 0..<options.rots {
            guard let (file, offset) = world.peers[index].disk.rot(choices.chance(3, in: 4) ? ".log" : ".run", &choices) else { continue }
            world.note("-- a bit rots on \(world.name(index))'s disk, in \(file) at \(offset) --")
        }
        if choices.chance(1, in: 2) {
            world.crash(index)
            world.start(index)
        }
        world.run(for: .minutes(10))  // the sweeps read all of it
        awaitAgreement()
    }

    private func awaitAgreement() {
        let agreed = world.run(until: { [unowned self] _ in unsettled() == nil }, within: options.settleLimit, every: .seconds(5))
        if world.failure == nil && !agreed { world.fail(unsettled() ?? "SETTLE: did not settle in time") }
    }

    /// Somebody that is trusted must be left.
    private func loseOne(_ choices: inout Choices) {
        let candidates = trusted.count > 1 ? present : present.filter { $0 == outsider }
        guard !candidates.isEmpty else { return }
        let index = candidates[choices.below(candidates.count)]
        world.note("-- \(world.name(index)) is lost for good --")
        world.lose(index)
    }
}
