// What must hold of every run, looked at while it runs and when it is at rest. See `Oracle` for the names.

import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
import Tracking

/// What the oracles remember of a run.
struct OracleState {
    /// What clients were told is done: the pin as it is stored, by the operation.
    var acknowledgedPins: [(at: Int, asked: Int64, pin: Pin)] = []
    /// Pins that were asked for together, by their names, which no other pin has.
    var acknowledgedBulk: [(at: Int, asked: Int64, pins: [(cid: CID, name: String)])] = []
    /// Files that were added, by the peer and when it was asked.
    var uploads: [(at: Int, asked: Int64, root: CID, operation: Int, isUnpinned: Bool)] = []
    /// Of the shards that adds have made, and of the lists of them, the content.
    var shardsOf: [CID: Set<CID>] = [:]
    /// And the number of the bytes, which several adds may have.
    var bytesOf: [CID: Int] = [:]
    /// When clients asked for anything, of late.
    var askedAt: [Int64] = []
    /// When each peer was last asked to add something.
    var lastAdd = SortedMap<Int, Int64>()
    /// What adds in shards had to add that were broken off where nobody could clean up; and content of which a part may be left.
    var leftOf: Set<Int> = []
    /// The upload in shards that failed last, and when: its peer takes them back then.
    var cleansUp = SortedMap<Int, (bytes: Int, at: Int64)>()
    var doubtfulRoots: Set<CID> = []
    /// Who was asked to unpin it.
    var unpinners: [CID: Set<Int>] = [:]
    /// Who held all of a file when its client was told.
    var holders: [CID: [Int]] = [:]
    /// Writes that were asked of a peer: what may replace an earlier one in an open batch, acknowledged or not.
    var askedWrites: [(at: Int, cid: CID, when: Int64)] = []
    /// Adds that were asked of a peer, and what those that ended have made; those of the same content have one number.
    var askedAdds: [(at: Int, add: Int, when: Int64)] = []
    var made = SortedMap<Int, CID>()
    var acknowledged = 0
    var judged = 0
    var seen = SortedMap<Int, Merged>()
    var tracked = SortedMap<Int, Int>()
    /// Requests that have not ended.
    var asked = SortedMap<ClientID, Asked>()
    /// Of these, those that ask about some pins: what is held of them is noted when it changes.
    var viewed = SortedSet<ClientID>()
    /// Clients that have hung up.
    var gone = SortedSet<ClientID>()
    /// When each peer went down last; nothing while it is up.
    var downSince = SortedMap<Int, Int64>()
    var startedAt = SortedMap<Int, Int64>()
    var health = SortedMap<Int, HealthState>()
    var manifests = SortedMap<Int, Manifests>()
    /// What a peer that is down had merged, and how often it had lost its disk.
    var mergedBefore = SortedMap<Int, (blocks: Int, losses: Int)>()
    /// The pinset of each peer when it was looked at last; where somebody watches.
    var states = SortedMap<Int, SortedSet<CID>>()
    /// What clients asked to be written.
    var writes = SortedMap<CID, Writes>()
    /// Times of dials that failed within the last minute, and of the last one.
    var failedDials = SortedMap<Link, [Int64]>()
    /// Whom a peer is dialling.
    var dialling = SortedMap<Int, SortedSet<PeerID>>()
    var dialledMax = 0
    /// When somebody who is trusted announced heads last.
    var announcedAt: Int64 = 0
    /// What the embedded node of each pins, and when that changed.
    var embedded: [Int: (pins: SortedMap<CID, PinDepth>, changed: SortedMap<CID, Int64>)] = [:]
    /// Failures of pins that were looked at last, by the peer.
    var failedPins = SortedMap<Int, [CID: PinInfo]>()
    /// How often each had asked for it then.
    var looksBefore = SortedMap<Int, [CID: Int]>()
    var underWay = SortedMap<Int, [CID: Attempt]>()
    /// How many blocks a peer had merged then.
    var failedAt = SortedMap<Int, Int>()
    var stale = SortedMap<Int, [CID: Stale]>()
    /// Peers that have read their log in this life, and what they are asking IPFS to pin.
    var opened = SortedSet<Int>()
    var pinning = SortedMap<Int, [ExchangeID: Pinning]>()
    /// When each peer has asked last what its daemon has of a content, what its own pin of that was, and how often it has asked; and when it
    /// has had it connect to an origin.
    var looked = SortedMap<Int, [CID: (at: Int64, pin: Pin?, count: Int)]>()
    var introduced = SortedMap<Int, [String: Int64]>()
    /// What the embedded node of each has dropped at a time, since it was asked to at rest.
    var garbage: [Int: [[CID]]] = [:]
    /// When each peer, before it was ready, has asked for its daemon in the last millisecond.
    var questions = SortedMap<Int, [Int64]>()
    /// How long somebody near could have given a peer a block that it misses.
    var missed: [Missed: Miss] = [:]
    var damages: [Int: Damages] = [:]
}

/// What a peer's replica has come to.
struct Merged {
    var blocks: Int
    var absent: Int
    var state: StateDigest
    var heads: [CID] = []
}

/// What is still to be reached.
struct Unsettled: Equatable {
    let oracle: Oracle
    let text: String
    init(_ oracle: Oracle, _ text: String) { (self.oracle, self.text) = (oracle, text) }
}

/// Tells a cluster that goes round in circles, or waits for nothing, from one that makes progress.
struct CircleWatch {
    private var seen: [UInt64: Int] = [:]
    private var last: UInt64?
    private var changedAt: Int64 = 0
    var idleMax = Span.minutes(25)
    static let timesMax = 10

    mutating func look(_ state: UInt64, at now: Int64, _ reason: Unsettled) -> String? {
        if last == nil { changedAt = now }
        guard state != last else {
            guard now - changedAt > idleMax.nanoseconds else { return nil }
            return "nothing has happened for \(idleMax.seconds), and \(reason.oracle.rawValue): \(reason.text)"
        }
        (last, changedAt) = (state, now)
        seen[state, default: 0] += 1
        return seen[state] == CircleWatch.timesMax ? "the same state has come back \(CircleWatch.timesMax) times, and \(reason.oracle.rawValue): \(reason.text)" : nil
    }
}

extension Run {
    // MARK: After each step

    func checkStep(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>) {
        noteListing(index, input)
        noteDial(index, input)
        noteDials(index, input, effects)
        noteAppended(index, effects)
        guard let process = world.peers[index].process else { oracles.seen[index] = nil; return }
        noteHealth(index, input, effects)
        noteRequests(index, input, effects, process)
        noteEmbedded(index, process)
        watchLife(index, input, effects, process)
        checkWaiting(index, process.machine.waitsForNothing())
        // TRAP, COUNT: where anything may have changed.
        let (busy, queued) = process.machine.tracked(), tracked = busy << 20 | queued
        if oracles.tracked[index] != tracked || process.peer.steps % 32 == 0 {
            oracles.tracked[index] = tracked
            process.machine.checkTracker()
            process.machine.checkDHT()
            if process.peer.steps % 32 == 0 { process.machine.checkMachines() }
            checkAttempts(index, process)
        }
        // DIGEST: equal heads with nothing missing are equal states, at all times. Looked at where a merge changed something.
        let merged = process.machine.merged()
        var now = Merged(blocks: merged.blocks, absent: merged.absent, state: merged.digest)
        if let before = oracles.seen[index], before.blocks == now.blocks, before.absent == now.absent, before.state == now.state {
            if now.absent > 0 { checkNewHeads(index, process) }  // what is given up makes heads without a merge
            return
        }
        if !oracles.viewed.isEmpty { noteViews(of: index) }
        checkNewHeads(index, process)
        now.heads = process.machine.replica.heads.map(\.cid)
        oracles.seen[index] = now
        if world.isWatched { recordState(process) }
        guard now.absent == 0, !now.heads.isEmpty else { return }
        for (other, theirs) in oracles.seen where other != index {
            guard theirs.absent == 0, theirs.heads == now.heads, theirs.blocks == now.blocks else { continue }
            oracles.judged += 1
            guard theirs.state != now.state else { continue }
            world.fail(.digest, "\(world.name(index)) and \(world.name(other)) have the same heads and different states")
        }
    }

    /// What has come into the state of a peer, and gone from it.
    private func recordState(_ process: Process) {
        let held = SortedSet(pins(of: process.machine).map(\.cid)), before = oracles.states[process.index] ?? SortedSet()
        oracles.states[process.index] = held
        for cid in held where !before.contains(cid) { world.record(.pin(cid, state: "merged"), process.index, "in the pinset", cids: [cid]) }
        for cid in before where !held.contains(cid) { world.record(.pin(cid, state: "removed"), process.index, "removed from the pinset", cids: [cid]) }
    }

    // MARK: On the way to rest

    /// Nil when those who are present are at rest and agree.
    func unsettled() -> Unsettled? {
        let processes = present.compactMap { world.peers[$0].process }
        guard processes.count == present.count, let reference = trusted.first.flatMap({ world.peers[$0].process }) else {
            return Unsettled(.live, "a peer is down")
        }
        // Who is lost next is missed by them, too, once they hear of each other by another way (seed 6003998).
        if world.hasVoidConnections { return Unsettled(.live, "a connection is dead, and neither end has noticed") }
        let heads = reference.machine.replica.heads.map(\.cid)
        for process in processes {
            let index = process.index, name = world.name(index)
            if !process.machine.isReady { return Unsettled(.live, "\(name) is not ready") }
            if process.machine.replica.pendingCount > 0 { return Unsettled(.accepted, "\(name) has uncommitted operations") }
            if process.machine.uploadCount > 0 { return Unsettled(.accepted, "\(name) has an upload under way") }
            let members = process.machine.members.count
            if members != processes.count { return Unsettled(.live, "\(name) sees \(members) members of \(processes.count)") }
            if let cid = process.machine.replica.absentBlocks.first(where: { isHeld($0) }) {
                return Unsettled(.cover, "\(name) misses block \(cid), which others have")
            }
            if index == outsider {
                if heads.contains(where: { !process.machine.replica.has($0) }) {
                    return Unsettled(.cover, "\(name), who may listen, misses heads of \(world.name(reference.index))")
                }
                continue
            }
            // What was built upon a lost block is no head until that is given up.
            if process.machine.replica.isWaiting { return Unsettled(.cover, "\(name) waits for a block that nobody has") }
            if process.machine.replica.heads.map(\.cid) != heads {
                let (own, theirs) = (process.machine.replica.heads, reference.machine.replica.heads)
                func only(_ heads: [(cid: CID, height: UInt64)], _ others: [(cid: CID, height: UInt64)]) -> String {
                    "\(heads.filter { head in !others.contains { $0.cid == head.cid } }.map { "\($0.cid) of height \($0.height)" })"
                }
                return Unsettled(.cover, "\(name) and \(world.name(reference.index)) have different heads: \(only(own, theirs)), and \(only(theirs, own))")
            }
            if process.machine.replica.digest != reference.machine.replica.digest {
                return Unsettled(.cover, "\(name) and \(world.name(reference.index)) have different states")
            }
        }
        let pins = pins(of: reference.machine)
        return endangered(pins) ?? unpinned() ?? expired(pins)
    }

    /// What a cluster has come to, without what goes on all the time.
    func coarseState() -> UInt64 {
        var digest = TraceDigest()
        for index in present {
            guard let process = world.peers[index].process else { digest.mix(0); continue }
            for head in process.machine.replica.heads { digest.mix(head.cid.bytes) }
            digest.mix(UInt64(process.machine.replica.absentCount) << 32 | UInt64(process.machine.tracker.busyCount))
            digest.mix(UInt64(process.machine.members.count) << 32 | UInt64(process.machine.replica.pendingCount))
            for cid in process.machine.tracker.running { digest.mix(cid.bytes) }  // each in its turn
            digest.mix(UInt64(process.machine.ipfs.embeddedBytes ?? 0))
            for (cid, status) in pinned(by: index) { digest.mix(cid.bytes); digest.mix(status == .direct ? 1 : 2) }
        }
        return digest.value
    }

    func pins(of machine: borrowing ClusterPeer) -> [Pin] {
        var pins: [Pin] = []
        machine.eachPin { pins.append($0) }
        return pins
    }

    func isHeld(_ block: CID) -> Bool { trusted.contains { world.peers[$0].process?.machine.replica.has(block) == true } }

    /// EXPIRY: nothing stays that has expired, by any clock.
    func expired(_ pins: [Pin]) -> Unsettled? {
        guard options.heals(.stateSync) else { return nil }
        let now = SimClock().reading(world.now - Span.seconds(3).nanoseconds).wall
        // Shards go with their content; which they are is in a block that only somebody who is away may have (seed 950807).
        return pins.first { $0.isExpired(at: now) && $0.type != .shard && $0.type != .clusterDAG && ($0.reference.map { isWhole($0, depth: 0) } ?? true) }.map { Unsettled(.expiry, "\($0.cid) has expired, and is in the pinset") }
    }

    /// REPIN: where a peer is gone for good, every pin has its minimum among those who are left, as far as they suffice.
    func endangered(_ pins: [Pin], by lost: Int? = nil) -> Unsettled? {
        guard options.heals(.repin), present.count < world.peers.count, trusted.contains(where: { $0 >= options.bystanders }) else { return nil }
        // What has been added on a peer stays there, whomever others may allocate to (seed 4930049).
        let alive = SortedSet(present.map { world.peers[$0].id })
        let able = present.count { $0 == outsider ? !options.pinsOnlyOnTrusted : !options.pinsOnlyOnUntrusted }
        let now = SimClock().reading(world.now + Span.seconds(3).nanoseconds).wall
        for pin in pins {
            // What has expired is not pinned anew.
            guard pin.type != .meta, !pin.isPinnedEverywhere, pin.options.replicationFactorMin <= able, !pin.isExpired(at: now) else { continue }
            // Who was gone before somebody's start is missed by it only later (seed 113684455).
            let count = (pin.allocations ?? []).filter { peer in lost.map { world.peers[$0].id != peer } ?? alive.contains(peer) }.count
            if count < pin.options.replicationFactorMin {
                return Unsettled(.repin, "\(pin.cid) has \(count) living allocations of at least \(pin.options.replicationFactorMin), long after a peer was lost")
            }
        }
        return nil
    }

    /// What the IPFS of a peer pins.
    func pinned(by index: Int) -> SortedMap<CID, IPFSPinStatus> {
        guard options.isEmbedded else { return world.peers[index].ipfs.pins }
        guard let own = world.peers[index].process?.machine.ipfs.embeddedPins else { return world.peers[index].ipfs.pins }
        var pins = SortedMap<CID, IPFSPinStatus>()
        for (cid, depth) in own { pins[cid] = depth == 0 ? .direct : .recursive }
        return pins
    }

    /// By the rules, not by the code that is under test. What lies in shards is pinned as these, and as the list of them.
    func isAllocated(_ pin: Pin, to peer: PeerID) -> Bool {
        guard pin.type != .meta else { return false }
        return pin.options.replicationFactorMin < 0 || (pin.allocations ?? []).contains(peer)
    }

    /// SETTLE, INTENT: IPFS pins exactly what is allocated, as far as anyone alive has it, and as the pinset says.
    func unpinned() -> Unsettled? {
        for index in present {
            guard let process = world.peers[index].process else { continue }
            let pins = pinned(by: index)
            var wanted = SortedMap<CID, IPFSPinStatus>()
            for pin in self.pins(of: process.machine) {
                // Whether IPFS holds the root of what lies in shards is nobody's business: a plain pin of it was made elsewhere meanwhile.
                if pin.type == .meta, let status = pins[pin.cid] { wanted[pin.cid] = status }
                guard isAllocated(pin, to: process.peer.id) else { continue }
                // What nobody has stays as it is: nothing below the root of a direct pin can be fetched either. Shards are uploaded, and gone
                // with a repository that was set up anew (seed 257786437).
                guard pins[pin.cid] == .recursive || pin.type == .shard && !mayHaveLostBlocks && !world.peers.contains(where: { $0.ipfs.emptiedAt >= 0 }) || isWhole(pin.cid, depth: Int64(pin.maxDepth)) else {
                    wanted[pin.cid] = pins[pin.cid]
                    continue
                }
                // What is pinned with all below it is pinned, where the pinset once said so.
                let isCovered = pins[pin.cid] == .recursive && blocks.everRecursive.contains(pin.cid)
                wanted[pin.cid] = pin.options.mode == .direct && !isCovered ? .direct : .recursive
            }
            // What another life with another disk has pinned may be somebody else's.
            if !process.peer.losses.isEmpty || plan.rotsInStorm(index) { for (cid, status) in pins where wanted[cid] == nil { wanted[cid] = status } }
            // A request of before a crash may be carried out after one of now, and nobody looks (seed 4948020).
            if !options.heals(.recover) { for cid in world.peers[index].ipfs.unpinnedLate where pins[cid] == nil { wanted[cid] = nil } }
            guard wanted != pins else { continue }
            let missing = wanted.keys.filter { pins[$0] == nil }
            let extra = pins.keys.filter { wanted[$0] == nil }
            // Where nothing is recovered, one try that failed is all there was, and a reset is not noticed. What found a queue full says so.
            if !options.heals(.recover), plan.mayFailAtIPFS {
                guard !plan.troublesIPFS, !options.isEmbedded, let silent = missing.first(where: { !hasFailed($0, process) }) else { continue }
                return Unsettled(.settle, "\(world.name(index))'s IPFS lacks \(silent), and nothing tells that pinning it failed")
            }
            guard let example = (missing + extra).first else {
                return Unsettled(.intent, "\(world.name(index))'s IPFS pins in another mode than the pinset says")
            }
            return Unsettled(.settle, "\(world.name(index))'s IPFS lacks \(missing.count) pins and has \(extra.count) too many, such as \(example)")
        }
        return nil
    }

    private func hasFailed(_ cid: CID, _ process: Process) -> Bool {
        process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now))?.short.status == .pinError
    }

    // MARK: At rest

    /// When everything is at rest.
    func checkEnd() {
        guard let replica = trusted.first.flatMap({ world.peers[$0].process?.machine.replica }) else { return }
        let blocks = history(replica)
        checkHeads(blocks, replica)
        checkHeights(blocks)
        checkRefold(blocks, replica)
        checkDurable(blocks)
        checkWrites()
        checkUnpinned()
        checkStrangers()
        checkAllocations()
        checkUploads()
        checkShards(machine: world.peers[trusted[0]].process?.machine)
        checkParts(machine: world.peers[trusted[0]].process?.machine)
        checkOutsider(blocks)
        if !options.isBatching && !options.isSkewed { checkTombstones(blocks) }
        collectGarbage()
        checkStatus()
        let began = world.now
        // Each recovers once, and who has just come back may not have been heard yet.
        for beat in 1...36 where world.failure == nil {
            world.run(for: .seconds(5))
            if beat >= 12, beat % 3 == 0 { checkHeard() }
        }
        guard world.failure == nil else { return }
        checkRecovered()
        checkAnnounced()
        askAround()
        checkRequests()
        checkBounds()
        checkCalm(since: began)
    }

    /// LIVE: heads are told again and again, by whoever is the first (CRDT-63).
    func checkAnnounced() {
        guard options.heals(.rebroadcast), trusted.count > 1, let process = world.peers[trusted[0]].process, !process.machine.replica.heads.isEmpty else { return }
        oracles.judged += 1
        // Two that do so at the same time hear each other, and both leave out their next turn (seed 820225).
        let most = process.peer.settings.replica.rebroadcastInterval * 26 / 10 + .seconds(15)
        guard world.now - oracles.announcedAt > most.nanoseconds else { return }
        world.fail(.live, "nobody has announced heads for \(Span(nanoseconds: world.now - oracles.announcedAt).seconds)")
    }

    /// HEADS: all that was merged is below the heads.
    func checkHeads(_ blocks: [DeltaBlock], _ replica: Replica) {
        guard blocks.count != replica.blockCount else { return }
        world.fail(.heads, "\(replica.blockCount) blocks were merged, \(blocks.count) are below the heads")
    }

    /// All below the heads that anyone still has.
    func history(_ replica: Replica) -> [DeltaBlock] {
        var found: [DeltaBlock] = []
        var seen: Set<CID> = []
        let heads = replica.heads.map(\.cid)
        var stack = heads
        while let cid = stack.popLast() {
            guard seen.insert(cid).inserted else { continue }
            guard let bytes = block(cid, of: replica), let block = try? DeltaBlock(decoding: bytes) else {
                if !replica.has(cid) && !isHeld(cid) && mayHaveLostBlocks { continue }
                world.fail(.fetchable, "block \(cid) below the heads cannot be read: \(unreadable(cid, replica))")
                return found
            }
            found.append(block)
            stack += block.links
            if let head = block.links.first(where: heads.contains) {
                world.fail(.heads, "\(head) is a head although \(cid) was built on it")
            }
        }
        return found
    }

    private func unreadable(_ cid: CID, _ replica: Replica) -> String {
        let holders = trusted.filter { world.peers[$0].process?.machine.replica.has(cid) == true }.map(world.name)
        let who = holders.isEmpty ? "nobody has it" : "\(holders.joined(separator: " ")) have it"
        do throws(LogError) { return try replica.block(cid) == nil ? who : "it is no block; \(who)" } catch { return "\(error); \(who)" }
    }

    /// What has rotted is found by whoever needs it next, and made good from the others. Where nobody sweeps, nobody may have
    /// needed it; and an index page is made anew from the log at any time.
    private func block(_ cid: CID, of replica: Replica) -> Bytes? {
        do throws(LogError) { return try replica.block(cid) } catch {
            let isIndex = if case .index = error { true } else { false }
            guard plan.spoilsDisks, isIndex || !sweeps else { return nil }
            let others = trusted.lazy.compactMap { self.world.peers[$0].process?.machine.replica }
            return others.compactMap { try? $0.block(cid) }.first
        }
    }
    var sweeps: Bool { options.heals(.stateSync) && options.heals(.repair) && options.heals(.recover) }

    /// REPIN: once is enough. The network is whole, and everyone sees the same peers alive; what clients had asked to be written is not judged.
    func checkRepins(since before: [DeltaBlock], but asked: [CID]) {
        guard options.heals(.repin) else { return }
        guard let replica = trusted.first.flatMap({ world.peers[$0].process?.machine.replica }) else { return }
        let old = Set(before.map(\.cid))
        let others = Set(((1000..<1000 + world.peers.count).compactMap { content($0) } + asked).map(\.stateKey))
        var seen: Set<String> = []
        for element in history(replica).filter({ !old.contains($0.cid) }).flatMap(\.delta.elements) where !others.contains(element.key) {
            guard seen.insert(element.key).inserted else { return world.fail(.repin, "\(element.key) was re-pinned twice for one loss") }
        }
    }

    /// TRUST: nothing of an untrusted peer's is in the DAG.
    func checkOutsider(_ blocks: [DeltaBlock]) {
        for element in blocks.flatMap(\.delta.elements) {
            guard let cid = CID(stateKey: element.key), let pin = try? Pin(protobuf: element.value, cid: cid) else { continue }
            if pin.options.name.hasPrefix(Run.outsiderName) { return world.fail(.trust, "a pin of \(cid) by an untrusted peer was accepted") }
        }
    }

    /// MIN: no block removes what a block below it has removed already, as far as its author had that one.
    func checkTombstones(_ blocks: [DeltaBlock]) {
        let missed = self.blocks.logs.reduce(into: Set<CID>()) { $0.formUnion($1.value.forgiven) }
        var removedBelow: [CID: Set<Delta.Tombstone>] = [:]
        for block in blocks.sorted(by: { $0.delta.priority < $1.delta.priority }) {
            var removed: Set<Delta.Tombstone> = []
            for link in block.links where !missed.contains(link) { removed.formUnion(removedBelow[link] ?? []) }
            if let again = block.delta.tombstones.first(where: removed.contains) {
                return world.fail(.min, "block \(block.cid) removes \(again.key) of \(again.block) once more")
            }
            removedBelow[block.cid] = removed.union(block.delta.tombstones)
        }
    }

    /// TRUTH: what each peer says of its pins is what its IPFS daemon holds.
    func checkStatus() {
        for index in present where world.failure == nil {
            var isOver = false
            ask(index, Operation(number: 0, at: .zero, peers: [index], kind: .statusAll), .statusAll(.undefined, isLocal: true)) { [unowned self] reply in
                if case .item(.infos(let infos)) = reply { for info in infos { check(info, by: index) } } else { isOver = true }
            }
            // A piece may hold one status, and its reader take its time.
            let count = world.peers[index].process.map { pins(of: $0.machine).count } ?? 0
            _ = world.run(until: { _ in isOver }, within: .seconds(30) + world.readerPause * Int64(count), every: .milliseconds(100))
            if !isOver { world.fail(.live, "\(world.name(index)) does not answer a question for its status") }
        }
        askForSome()
    }

    /// ANSWER: asked by their CIDs, pins of each kind are what they are in a listing; each peer is asked, and one for all.
    private func askForSome() {
        for (place, index) in present.enumerated() where world.failure == nil {
            guard let process = world.peers[index].process else { continue }
            let pins = pins(of: process.machine)
            let cids = PinType.allCases.flatMap { type in pins.filter { $0.type == type }.prefix(3).map(\.cid) } + [content(999)].compactMap { $0 }
            let isLocal = place > 0
            ask(index, Operation(number: 0, at: .zero, peers: [index], kind: .statuses), .statuses(cids, isLocal: isLocal))
            world.run(for: .seconds(1))
        }
    }

    private func check(_ info: GlobalPinInfo, by index: Int) {
        let holds = pinned(by: index)[info.cid] != nil
        for (_, said) in info.peers {
            let isWrong = said.status == .pinned ? !holds : said.status == .remote && holds && world.peers[index].losses.isEmpty && !plan.rotsInStorm(index) && (options.heals(.recover) || !plan.mayFailAtIPFS)
            if isWrong { world.fail(.truth, "\(world.name(index)) says \(said.status.text) of \(info.cid), which its IPFS \(holds ? "pins" : "does not pin")") }
        }
    }

    /// REFOLD: the state is what a naive fold of the DAG gives.
    static func fold(_ blocks: [DeltaBlock]) -> SortedMap<String, (priority: UInt64, value: Bytes)> {
        var tombstones: Set<Delta.Tombstone> = []
        for block in blocks { tombstones.formUnion(block.delta.tombstones) }
        var best = SortedMap<String, (priority: UInt64, value: Bytes)>()
        for block in blocks {
            for element in block.delta.elements {
                if tombstones.contains(Delta.Tombstone(key: element.key, block: block.cid.multihash)) { continue }
                let candidate = (block.delta.priority, element.value)
                if let current = best[element.key], !(current.0 < candidate.0 || (current.0 == candidate.0 && current.1.lexicographicallyPrecedes(candidate.1))) { continue }
                best[element.key] = candidate
            }
        }
        return best
    }

    func checkRefold(_ blocks: [DeltaBlock], _ replica: Replica) {
        let best = Run.fold(blocks)
        var count = 0
        var wrong: String?
        do {
            try replica.each { key, value in
                count += 1
                if best[key]?.1 != value { wrong = wrong ?? key }
            }
        } catch {
            if sweeps || !plan.spoilsDisks { world.fail(.refold, "the state cannot be read: \(error)") }
            return
        }
        if let wrong { return world.fail(.refold, "the value of \(wrong) is not what the DAG says") }
        if count != best.count { world.fail(.refold, "\(count) keys in the state, \(best.count) in the DAG") }
    }

    /// What the lost had told nobody is lost with them; all that anyone heard is below the heads.
    private func isForgiven(_ index: Int, _ asked: Int64) -> Bool {
        world.peers[index].isLost || index == outsider || world.peers[index].losses.contains { $0 > asked } || plan.rotsInStorm(index)
    }
    var mayHaveLostBlocks: Bool { world.peers.contains { $0.isLost || !$0.losses.isEmpty || plan.rotsInStorm($0.index) } || !absent.isEmpty }

    /// DURABLE: every pin that a client was told is accepted is in the DAG.
    func checkDurable(_ blocks: [DeltaBlock]) {
        var stored: Set<Delta.Tombstone> = []  // (key, hash of the value)
        for block in blocks {
            for element in block.delta.elements {
                stored.insert(Delta.Tombstone(key: element.key, block: .sha2_256(of: element.value)))
            }
        }
        for (index, asked, pin) in oracles.acknowledgedPins {
            let mark = Delta.Tombstone(key: pin.cid.stateKey, block: .sha2_256(of: pin.protobuf))
            if isForgiven(index, asked) { continue }
            if stored.contains(mark) || isSuperseded(index, pin.cid, askedAt: asked) { continue }
            return world.fail(.durable, "\(world.name(index)) acknowledged a pin of \(pin.cid) (\(pin.options.name)) that is nowhere")
        }
        let names = Set(blocks.flatMap { block in
            block.delta.elements.compactMap { element in CID(stateKey: element.key).flatMap { try? Pin(protobuf: element.value, cid: $0) }?.options.name }
        })
        for (index, asked, pins) in oracles.acknowledgedBulk where !isForgiven(index, asked) {
            guard let (cid, name) = pins.first(where: { !names.contains($0.name) }) else { continue }
            return world.fail(.durable, "\(world.name(index)) acknowledged a pin of \(cid) (\(name)), among others, that is nowhere")
        }
        let keys = Set(blocks.flatMap { $0.delta.elements.map(\.key) })
        for (index, asked, root, _, isUnpinned) in oracles.uploads where !isForgiven(index, asked) && !isUnpinned {
            if keys.contains(root.stateKey) || isSuperseded(index, root, askedAt: asked, own: 0) { continue }
            return world.fail(.durable, "\(world.name(index)) acknowledged an add of \(root) that is pinned nowhere")
        }
    }

    /// ALLOC: the factors are obeyed, and nobody unknown is named.
    func checkAllocations() {
        guard let machine = trusted.first.flatMap({ world.peers[$0].process?.machine }) else { return }
        let known = SortedSet(world.peers.map(\.id))
        for pin in pins(of: machine) where pin.type != .meta && world.failure == nil {
            let allocations = pin.allocations ?? []
            if pin.isPinnedEverywhere {
                if !allocations.isEmpty { return world.fail(.alloc, "\(pin.cid) is pinned everywhere and has allocations") }
                continue
            }
            if SortedSet(allocations).count != allocations.count { return world.fail(.alloc, "\(pin.cid) names a peer twice") }
            if allocations.contains(where: { !known.contains($0) }) { return world.fail(.alloc, "\(pin.cid) names a stranger") }
            judgeFactors(pin)
        }
    }
}
