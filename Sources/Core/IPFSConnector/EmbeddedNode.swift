// An IPFS node inside the peer: its own blocks, fetched from and served to the members of the cluster's private network.
// It answers the same operations as a Kubo daemon. DESIGN.md, "Out of the box".

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams
import Storage
import UnixFS

package struct EmbeddedSettings: Sendable {
    package var folder: FileName = "ipfs"
    package var log = LogSettings()
    /// What the blocks may take together.
    package var storageMax = 10_000_000_000
    /// Time without a block fetched after which a pin is given up (IPFS-22).
    package var pinTimeout = Span.minutes(2)
    /// For reads by path or CID.
    package var requestTimeout = Span.minutes(5)
    package var isUnpinDisabled = false
    /// 0 for never (IPFS-60).
    package var informerTriggerInterval = 0
    /// Blocks that one walk asks for at a time.
    package var wantsPerWalk = 256
    /// Blocks that are looked at in one step.
    package var blocksPerStep = 256
    package var blockBytesMax = 2 << 20
    /// Blocks are held in memory until they are durable: from here on they are synced, and from twice as much on whoever
    /// puts more waits.
    package var unsyncedBytesMax = 8 << 20
    /// Blocks younger than this are not collected: their pin may be on its way.
    package var gracePeriod = Span.minutes(10)
    package init() {}
}

package struct EmbeddedNode: Sendable {
    /// A call that reads its way down a DAG.
    struct Walk: Sendable {
        enum Purpose: Equatable, Sendable {
            case pin(Pin)
            case get(CID)
            case path(at: CID, names: [String], level: Int)
        }
        var purpose: Purpose
        /// To be read, with how many levels below.
        var pending: [(cid: CID, depth: Int)]
        var seen: [CID: Int] = [:]
        /// Asked for, and not here yet.
        var missing = SortedMap<Multihash, (cid: CID, depth: Int)>()
        var deadline: Instant
    }
    private struct Upload: Sendable {
        var hasBlocks = false
        var isEnded = false
    }
    private struct Finishing: Sendable {
        let sequence: UInt64
        let call: IPFSCallID
    }

    let settings: EmbeddedSettings
    private let me: PeerID
    private var store: BlockStore
    private var walks = SortedMap<IPFSCallID, Walk>()
    private var uploads = SortedMap<IPFSCallID, Upload>()
    private var unsyncedBytes = 0
    /// Uploads that wait for the disk.
    private var stalled = SortedSet<IPFSCallID>()
    /// Which walks wait for a block.
    private var wanted: [Multihash: SortedSet<IPFSCallID>] = [:]
    /// Calls that are done once their records are durable.
    private var finishing: [Finishing] = []
    private var collections = SortedMap<IPFSCallID, [CID]>()
    /// Walks with more to read than one step should.
    private var busy = SortedSet<IPFSCallID>()
    /// When blocks were put last; and what was put before this life is as young as it.
    private var young: [Multihash: Instant] = [:]
    private let openedAt: Instant
    private var metricTrigger: MetricTrigger
    /// What the net says of us: the embedded node lives on the cluster's host.
    package var addresses: [Multiaddr] = []
    package var connectedPeers: [PeerID] = []

    package func isWaiting(for hash: Multihash) -> Bool { wanted[hash] != nil }
    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        var missing: Set<Multihash> = []
        for (id, walk) in walks {
            for (hash, _) in walk.missing {
                invariant(wanted[hash]?.contains(id) == true, "a walk waits for a block that is not wanted")
                missing.insert(hash)
            }
        }
        invariant(wanted.count == missing.count, "a block is wanted that no walk waits for")
    }

    package init(
        settings: EmbeddedSettings, me: PeerID, owner: UInt8, reader: any DiskReader, now: Now, effects: inout [IPFSEffect]
    ) throws {
        self.settings = settings
        self.me = me
        openedAt = now.monotonic
        var damages: [LogDamage] = []
        var disk: [DiskEffect] = []
        store = try BlockStore(
            folder: settings.folder, owner: owner, reader: reader, settings: settings.log, damages: &damages, effects: &disk)
        effects += disk.map(IPFSEffect.disk)
        metricTrigger = MetricTrigger(interval: settings.informerTriggerInterval)
        for damage in damages { effects.append(.log(LogLine(.error, "embedded", "\(damage). What was lost is fetched again"))) }
    }

    package var pinCount: Int { store.pins.count }
    package var storedBytes: Int { store.liveBytes }
    package var pins: SortedMap<CID, PinDepth> { store.pins }
    /// Roots that are kept, and how much below them: also where the record of the pin is not durable yet.
    var pinnedBlocks: [(cid: CID, depth: PinDepth)] { store.pins.map { ($0.key, $0.value) } + store.awaitedPins }
    /// What collections under way have dropped.
    var collected: [CID] { collections.flatMap(\.value) }
    package var nextDeadline: Instant? {
        busy.isEmpty ? walks.values.map(\.deadline).min() : Instant(nanoseconds: .min)
    }

    /// For those who ask by bitswap. Damage is told, never served.
    package func block(_ cid: CID) throws(LogError) -> Bytes? { try store.block(cid.multihash) }
    package func blockSize(_ cid: CID) -> Int? { store.size(cid.multihash) }

    // MARK: Calls

    package mutating func start(_ operation: IPFSOperation, _ id: IPFSCallID, now: Now, effects: inout [IPFSEffect]) {
        switch operation {
        case .id:
            var info = IPFSID()
            info.id = me
            info.addresses = addresses.map { $0.with(peer: me) }
            finish(id, .id(info), &effects)
        case .pin(let pin): startPin(id, pin, now, &effects)
        case .unpin: unpin(id, operation, &effects)
        case .pinLsCid(let pin): finish(id, .pinStatus(status(of: pin.cid, for: pin.maxDepth)), &effects)
        case .pinLs(let kinds):
            for (cid, depth) in store.pins {
                let kind = depth == 0 ? IPFSPinStatus.direct : .recursive
                if kinds.contains(kind) { effects.append(.item(id, .pinned(cid, kind))) }
            }
            finish(id, .done, &effects)
        case .repoStat:
            finish(id, .repoStat(IPFSRepoStat(repoSize: UInt64(store.liveBytes), storageMax: UInt64(settings.storageMax))), &effects)
        case .repoGC: collect(id, now, &effects)
        case .swarmPeers: finish(id, .peers(connectedPeers), &effects)
        case .swarmConnect: fail(id, "the embedded IPFS node talks to members of the cluster only", &effects)
        case .resolve(let text): resolve(id, text, now, &effects)
        case .blockGet(let cid): walk(id, .get(cid), from: cid, depth: 0, within: settings.requestTimeout, now, &effects)
        case .blockPut: uploads[id] = Upload()
        case .configKey(let key):
            guard key == "Datastore/StorageMax" else { return fail(id, "the embedded IPFS node has no configuration key \(key)", &effects) }
            finish(id, .value(.string("\(settings.storageMax)B")), &effects)
        }
    }

    private func status(of cid: CID, for depth: PinDepth) -> IPFSPinStatus {
        guard let pinned = store.pins[cid] else { return .unpinned }
        if depth == 0 { return pinned == 0 ? .direct : .unpinned }
        return pinned == 0 ? .unpinned : .recursive
    }

    package mutating func cancel(_ id: IPFSCallID, effects: inout [IPFSEffect]) {
        uploads[id] = nil
        stalled.remove(id)
        collections[id] = nil
        finishing.removeAll { $0.call == id }
        endWalk(id, &effects)
    }

    func finish(_ id: IPFSCallID, _ answer: IPFSAnswer, _ effects: inout [IPFSEffect]) {
        effects.append(.finished(id, .success(answer)))
    }
    func fail(_ id: IPFSCallID, _ text: String, _ effects: inout [IPFSEffect]) {
        effects.append(.finished(id, .failure(IPFSFailure(text))))
    }

    /// Runs a change of the store; its failure is the call's.
    private mutating func change(
        _ id: IPFSCallID, _ effects: inout [IPFSEffect], _ body: (inout BlockStore, inout [DiskEffect]) throws(LogError) -> Void
    ) -> Bool {
        var disk: [DiskEffect] = []
        do throws(LogError) {
            try body(&store, &disk)
            effects += disk.map(IPFSEffect.disk)
            return true
        } catch {
            effects += disk.map(IPFSEffect.disk)
            fail(id, error.description, &effects)
            return false
        }
    }

    /// The call ends when everything appended so far is durable.
    private mutating func finishWhenDurable(_ id: IPFSCallID, _ effects: inout [IPFSEffect]) {
        finishing.append(Finishing(sequence: store.lastSequence, call: id))
        sync(&effects)
        // Nothing new to sync: all of it is durable already.
        if store.isDurable { conclude(through: store.lastSequence, &effects) }
    }

    private mutating func sync(_ effects: inout [IPFSEffect]) {
        var disk: [DiskEffect] = []
        store.sync(effects: &disk)
        effects += disk.map(IPFSEffect.disk)
    }

    package mutating func onDisk(_ event: DiskEvent, effects: inout [IPFSEffect]) {
        var disk: [DiskEffect] = []
        let outcome = store.onDisk(event, effects: &disk)
        effects += disk.map(IPFSEffect.disk)
        guard let outcome else { return }
        unsyncedBytes = store.unsyncedBytes
        for id in stalled.elements where uploads[id] != nil { effects.append(.drained(id)) }
        stalled.removeAll()
        switch outcome {
        case .durable(let through): conclude(through: through, &effects)
        case .lost(let after, let error):
            let lost = finishing.filter { $0.sequence > after }
            finishing.removeAll { $0.sequence > after }
            let reason = LogError.disk(error).description
            for entry in lost { fail(entry.call, reason, &effects) }
            // What they have stored or seen so far may be among what was lost.
            for (id, walk) in walks { if case .pin = walk.purpose { failWalk(id, reason, &effects) } }
            for (id, upload) in uploads where upload.hasBlocks {
                uploads[id] = nil
                fail(id, reason, &effects)
            }
        }
    }

    private mutating func conclude(through sequence: UInt64, _ effects: inout [IPFSEffect]) {
        let done = finishing.filter { $0.sequence <= sequence }
        finishing.removeAll { $0.sequence <= sequence }
        for entry in done {
            let garbage = collections.remove(entry.call) ?? []
            for cid in garbage {
                effects.append(.item(entry.call, .collected(IPFSRepoGC(key: cid))))
            }
            finish(entry.call, .done, &effects)
            metricTrigger.hit(&effects)
        }
    }

    // MARK: Putting

    package mutating func put(_ id: IPFSCallID, _ node: NodeWithMeta, now: Now, effects: inout [IPFSEffect]) {
        guard uploads[id] != nil else { return }
        guard node.cid.multihash.matches(node.data) == true else {
            uploads[id] = nil
            return fail(id, "the data of block \(node.cid) does not match its CID", &effects)
        }
        guard keep(id, node.cid, node.data, now, &effects) else { return uploads[id] = nil }
        uploads[id]?.hasBlocks = true
        if unsyncedBytes > 2 * settings.unsyncedBytesMax { stalled.insert(id) } else { effects.append(.drained(id)) }
    }

    package mutating func endPut(_ id: IPFSCallID, effects: inout [IPFSEffect]) {
        guard let upload = uploads.remove(id) else { return }
        guard upload.hasBlocks else {  // IPFS-44
            return fail(id, "BlockStream: no blocks to peek in blocks channel", &effects)
        }
        finishWhenDurable(id, &effects)
    }

    /// False if the call has failed over it.
    private mutating func keep(
        _ id: IPFSCallID, _ cid: CID, _ data: Bytes, _ now: Now, _ effects: inout [IPFSEffect]
    ) -> Bool {
        // What is here already may be garbage of somebody else's until now.
        young[cid.multihash] = now.monotonic
        guard !store.holds(cid.multihash) else { return true }
        guard store.liveBytes + data.count <= settings.storageMax else {
            fail(id, "the embedded IPFS store is full (storage_max is \(settings.storageMax) bytes)", &effects)
            return false
        }
        guard change(id, &effects, { store, disk throws(LogError) in try store.put(cid, data, effects: &disk) }) else { return false }
        effects.append(.stored([cid]))
        unsyncedBytes += data.count
        if unsyncedBytes > settings.unsyncedBytesMax { sync(&effects) }
        return true
    }

    // MARK: Pinning

    private mutating func startPin(_ id: IPFSCallID, _ pin: Pin, _ now: Now, _ effects: inout [IPFSEffect]) {
        if status(of: pin.cid, for: pin.maxDepth) != .unpinned { return finish(id, .done, &effects) }  // IPFS-26
        let depth = pin.maxDepth < 0 ? Int.max : pin.maxDepth
        walk(id, .pin(pin), from: pin.cid, depth: depth, within: settings.pinTimeout, now, &effects)
    }

    private mutating func unpin(_ id: IPFSCallID, _ operation: IPFSOperation, _ effects: inout [IPFSEffect]) {
        guard case .unpin(let cid) = operation else { return }
        if settings.isUnpinDisabled {
            return fail(id, "ipfs unpinning is disallowed by configuration on this peer", &effects)
        }
        guard store.pins[cid] != nil else { return finish(id, .done, &effects) }  // IPFS-30
        guard change(id, &effects, { store, disk throws(LogError) in try store.unpin(cid, effects: &disk) }) else { return }
        finishWhenDurable(id, &effects)
    }

    // MARK: Walking

    private mutating func walk(
        _ id: IPFSCallID, _ purpose: Walk.Purpose, from root: CID, depth: Int, within span: Span, _ now: Now,
        _ effects: inout [IPFSEffect]
    ) {
        walks[id] = Walk(purpose: purpose, pending: [(root, depth)], deadline: now.monotonic + span)
        advance(id, now, &effects)
    }

    private mutating func endWalk(_ id: IPFSCallID, _ effects: inout [IPFSEffect]) {
        busy.remove(id)
        guard let walk = walks.remove(id) else { return }
        var unwanted: [CID] = []
        for (hash, entry) in walk.missing {
            wanted[hash]?.remove(id)
            guard wanted[hash]?.isEmpty == true else { continue }
            wanted[hash] = nil
            unwanted.append(entry.cid)
        }
        if !unwanted.isEmpty { effects.append(.unwant(unwanted)) }
    }

    private mutating func failWalk(_ id: IPFSCallID, _ text: String, _ effects: inout [IPFSEffect]) {
        endWalk(id, &effects)
        fail(id, text, &effects)
    }

    /// Reads what is here and asks for what is not.
    private mutating func advance(_ id: IPFSCallID, _ now: Now, _ effects: inout [IPFSEffect]) {
        busy.remove(id)
        guard var walk = walks.remove(id) else { return }
        var wants: [CID] = []
        var budget = settings.blocksPerStep
        while budget > 0, let (cid, depth) = walk.pending.popLast() {
            let isTail = walk.missing.count >= settings.wantsPerWalk
            if let seen = walk.seen[cid], seen >= depth { continue }
            do throws(IPFSFailure) {
                if let block = try read(cid) {
                    budget -= 1
                    walk.seen[cid] = depth
                    try visit(&walk, cid, depth, block, id, &effects)
                } else if isTail {
                    walk.pending.append((cid, depth))
                    break
                } else {
                    if wanted[cid.multihash] == nil { wants.append(cid) }
                    wanted[cid.multihash, default: SortedSet()].insert(id)
                    let known = walk.missing[cid.multihash]?.depth ?? 0
                    walk.missing[cid.multihash] = (cid, max(depth, known))
                }
            } catch {
                walks[id] = walk
                return failWalk(id, error.description, &effects)
            }
        }
        walks[id] = walk
        if !wants.isEmpty { effects.append(.want(wants)) }
        if budget == 0 && !walk.pending.isEmpty { busy.insert(id) }
        if walk.pending.isEmpty && walk.missing.isEmpty { completeWalk(id, walk, &effects) }
    }

    private func read(_ cid: CID) throws(IPFSFailure) -> Bytes? {
        do throws(LogError) { return try store.block(cid.multihash) } catch { throw IPFSFailure(error.description) }
    }

    private mutating func visit(
        _ walk: inout Walk, _ cid: CID, _ depth: Int, _ block: Bytes, _ id: IPFSCallID, _ effects: inout [IPFSEffect]
    ) throws(IPFSFailure) {
        do throws(AddError) {
            switch walk.purpose {
            case .get: effects.append(.finished(id, .success(.block(block))))
            case .pin:
                guard depth > 0 else { return }
                let below = depth == .max ? depth : depth - 1
                for link in try links(of: block, cid: cid).reversed() { walk.pending.append((link, below)) }
            case .path(_, let names, let level):
                guard let name = names.first else { return }
                walk.seen = [:]
                switch try step(to: name, in: block, cid: cid, level: level) {
                case .found(let next):
                    walk.purpose = .path(at: next, names: Array(names.dropFirst()), level: 0)
                    if names.count > 1 { walk.pending.append((next, 0)) }
                case .descend(let next):
                    walk.purpose = .path(at: next, names: names, level: level + 1)
                    walk.pending.append((next, 0))
                case .missing: throw AddError("no link named \"\(name)\" under \(cid)")
                }
            }
        } catch { throw IPFSFailure(error.description) }
    }

    private mutating func completeWalk(_ id: IPFSCallID, _ walk: Walk, _ effects: inout [IPFSEffect]) {
        endWalk(id, &effects)
        switch walk.purpose {
        case .get: break  // answered with its block
        case .path(let cid, _, _): finish(id, .resolved(cid), &effects)
        case .pin(let pin):
            let isChanged = change(id, &effects) { store, disk throws(LogError) in
                try store.pin(pin.cid, pin.maxDepth, effects: &disk)
            }
            if isChanged { finishWhenDurable(id, &effects) }
        }
    }

    /// A block that was wanted has come. The exchange has checked it against its CID.
    package mutating func onBlock(_ cid: CID, _ data: Bytes, now: Now, effects: inout [IPFSEffect]) {
        guard let waiting = wanted.removeValue(forKey: cid.multihash) else { return }
        for id in waiting.elements {
            guard var walk = walks[id], let entry = walk.missing.remove(cid.multihash) else { continue }
            walk.pending.append((entry.cid, entry.depth))
            if case .pin = walk.purpose { walk.deadline = now.monotonic + settings.pinTimeout }
            walks[id] = walk
        }
        for id in waiting.elements {
            guard keep(id, cid, data, now, &effects) else {
                endWalk(id, &effects)
                continue
            }
            advance(id, now, &effects)
        }
    }

    package mutating func onTime(now: Now, effects: inout [IPFSEffect]) {
        for id in busy.elements { advance(id, now, &effects) }
        for (id, walk) in walks where walk.deadline <= now.monotonic && !walk.missing.isEmpty {
            let example = walk.missing.first?.value.cid.description ?? ""
            switch walk.purpose {
            case .pin:
                failWalk(id, "no block came for \(settings.pinTimeout.goText): no member of the cluster seems to have \(example) (pin_timeout)", &effects)
            default: failWalk(id, "no member of the cluster gave \(example) within \(settings.requestTimeout.goText)", &effects)
            }
        }
    }

    private mutating func resolve(_ id: IPFSCallID, _ text: String, _ now: Now, _ effects: inout [IPFSEffect]) {
        do throws(FormError) {
            let path = try ContentPath(text)
            guard case .immutable(_, let cid) = path.root else {
                return fail(id, "the embedded IPFS node does not resolve /ipns names", &effects)
            }
            guard !path.names.isEmpty else { return finish(id, .resolved(cid), &effects) }
            walk(id, .path(at: cid, names: path.names, level: 0), from: cid, depth: 0, within: settings.requestTimeout, now, &effects)
        } catch { fail(id, error.description, &effects) }
    }

    // MARK: Garbage

    /// Drops every block that no pin needs and that is not young; nothing at all in the first minutes of a life.
    private mutating func collect(_ id: IPFSCallID, _ now: Now, _ effects: inout [IPFSEffect]) {
        var needed: Set<Multihash> = []
        // What was walked for a pin that the disk has not got yet may have been here for long.
        var pending: [(CID, Int)] = pinnedBlocks.map { ($0.cid, $0.depth < 0 ? Int.max : $0.depth) }
        var seen: [CID: Int] = [:]
        while let (cid, depth) = pending.popLast() {
            if let known = seen[cid], known >= depth { continue }
            seen[cid] = depth
            needed.insert(cid.multihash)
            guard depth > 0 else { continue }
            // A block that cannot be read keeps nothing below it; it is told when somebody asks for it.
            guard let block = try? store.block(cid.multihash), let below = try? links(of: block, cid: cid) else { continue }
            for link in below { pending.append((link, depth == .max ? depth : depth - 1)) }
        }
        let limit = settings.gracePeriod
        young = young.filter { now.monotonic < $0.value + limit }
        let isSafe = walks.isEmpty && now.monotonic >= openedAt + limit
        let garbage = isSafe ? store.storedCIDs.filter { !needed.contains($0.multihash) && young[$0.multihash] == nil } : []
        for cid in garbage {
            guard change(id, &effects, { store, disk throws(LogError) in try store.drop(cid, effects: &disk) }) else { return }
        }
        collections[id] = garbage
        finishWhenDurable(id, &effects)
    }
}
