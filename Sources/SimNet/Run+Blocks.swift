// Blocks and heads, as they are made and come to be: what is looked at once for each of them.

import Cluster
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage

/// What is known of the blocks of a run.
struct BlockState {
    /// The height of every block that anyone has appended to its log.
    var heights: [CID: UInt64] = [:]
    /// Who has written about a key, and of which keys a value was ever to be pinned with all below it.
    var authors: [String: Set<Int>] = [:]
    var everRecursive: Set<CID> = []
    /// All that was ever written of a content.
    var written: [CID: [Pin]] = [:]
    /// With which options a content was written by whom a client had asked.
    var asked: [CID: Set<PinOptions>] = [:]
    /// By the peer, the shards that were there when it wrote a list of some, or the content that they are of, and those it has written since.
    var shardsThen = SortedMap<Int, SortedMap<CID, Set<CID>>>()
    /// By the peer, in which block of its, of which life, a key has a value.
    var published = SortedMap<Int, [UInt64: (block: CID, life: UInt64)]>()
    var logs = SortedMap<Int, LogState>()
}

/// What is known of one peer's blocks.
struct LogState {
    /// The life of its process that this is of.
    var life: UInt64 = 0
    /// Blocks whose whole history was here when they were below a head.
    var complete: Set<CID> = []
    /// What it has given up once: it may come later, and what it lacks is waited for anew.
    var forgiven: Set<CID> = []
    /// Of what is on its way into its log, what is there already has been counted in `heightMax`.
    var underWay: [CID] = []
    var heightMax: UInt64 = 0
    var heads: [CID] = []
    /// When it was last seen to read its log, or to make its state anew.
    var closedAt: Int64?
    /// Since when it has been dirty and lacked nothing.
    var wholeSince: Int64?
}

extension Run {
    // MARK: Blocks as they are written

    /// Whoever appends a block that nobody has appended before has made it.
    func noteAppended(_ index: Int, _ effects: ArraySlice<PeerEffect>) {
        for effect in effects {
            guard case .disk(.append(let name, let frame)) = effect, name.hasPrefix("crdt/"), name.hasSuffix(".log"),
                let raw = Replica.block(inFrame: frame), let block = try? DeltaBlock(decoding: raw)
            else { continue }
            if blocks.heights[block.cid] == nil {
                blocks.heights[block.cid] = block.delta.priority
                judgeOwn(block, of: index)
                noteMade(block.cid, by: index)
            }
            blocks.logs[index, default: LogState()].underWay.append(block.cid)
        }
        // Only now: what was merged in the same step may have been merged after the block was written.
        guard blocks.logs[index]?.underWay.isEmpty == false, let process = world.peers[index].process, process.machine.merged().blocks != oracles.seen[index]?.blocks,
            var log = blocks.logs[index]
        else { return }
        let merged = process.machine.merged(among: log.underWay)
        guard !merged.isEmpty else { return }
        log.underWay.removeAll { merged.contains($0) }
        log.heightMax = max(log.heightMax, merged.map { blocks.heights[$0] ?? 0 }.max() ?? 0)
        blocks.logs[index] = log
    }

    /// MIN: what was asked for once is published once. A block that went with a crash was not (seed 5143), and may be there all the same, where
    /// somebody else has made the very same (seed 3511215).
    func judgePublished(_ pin: Pin, _ value: Bytes, in block: CID, _ index: Int) -> Bool {
        let peer = world.peers[index], first = blocks.published[index, default: [:]].updateValue((block, peer.lives), forKey: mix(value, seed: mix(pin.cid.bytes, seed: 0).low).low)
        guard let first, first.block != block, peer.process?.machine.replica.has(first.block) == true, first.life == peer.lives || isOnlyAuthor(of: pin.cid, index), peer.losses.isEmpty, !plan.spoilsDisk(of: index), !plan.has(.clock), !oracles.uploads.contains(where: { $0.root == pin.cid }) else { return true }
        // In one second the same may be asked for twice, and what was asked of one that slept is taken up when it wakes (seed 41015).
        func takenUp(_ when: Int64) -> Int64 { peer.sleeps.first { $0.from <= when && when <= $0.to }?.to ?? when }
        let asked = oracles.askedWrites.filter { $0.at == index && $0.cid == pin.cid }
        let twins = asked.count { abs((peer.clock.reading(takenUp($0.when)).wall - pin.timestamp).nanoseconds) < Span.seconds(10).nanoseconds }
        oracles.judged += 1
        guard !asked.isEmpty, twins < 2 else { return true }
        world.fail(.min, "\(world.name(index)) has published a pin of \(pin.cid) twice that it was asked for once")
        return false
    }

    /// Whoever makes the very same block a moment later is not seen to have made it (seed 6004422).
    private func isOnlyAuthor(of cid: CID, _ index: Int) -> Bool {
        blocks.authors[cid.stateKey]?.count == 1 && !oracles.askedWrites.contains { $0.cid == cid && $0.at != index }
    }

    /// FETCHABLE, HEIGHT: what a peer builds upon it has, and is below what it builds.
    func judgeOwn(_ block: DeltaBlock, of index: Int) {
        guard let replica = world.peers[index].process?.machine.replica else { return }
        var keys: Set<String> = []
        if let twice = block.delta.elements.first(where: { !keys.insert($0.key).inserted }) {
            return world.fail(.min, "\(world.name(index)) has written \(block.cid), which holds \(twice.key) twice")
        }
        for key in block.delta.elements.map(\.key) + block.delta.tombstones.map(\.key) { blocks.authors[key, default: []].insert(index) }
        for tombstone in block.delta.tombstones where !keys.contains(tombstone.key) {
            if let cid = CID(stateKey: tombstone.key) { judgeRemoved(cid, by: index) }
        }
        for element in block.delta.elements {
            guard let cid = CID(stateKey: element.key), let pin = try? Pin(protobuf: element.value, cid: cid) else { continue }
            blocks.written[cid, default: []].append(pin)
            if pin.options.mode == .recursive { blocks.everRecursive.insert(cid) }
            noteShards(pin, by: index)
            if !judgeRepin(pin, of: index) || !judgePublished(pin, element.value, in: block.cid, index) { return }
            let keys = pin.options.metadata?.pairs.map { Bytes($0.key.utf8) } ?? []
            if pin.protobuf != element.value || keys != keys.sorted(by: precedes) {
                return world.fail(.codec, "\(world.name(index)) has written \(cid) in a form of its own: \(hex(element.value))")
            }
        }
        let log = blocks.logs[index] ?? LogState()
        oracles.judged += 1
        let isSpoilt = plan.spoilsDisks || !world.peers[index].losses.isEmpty
        for link in block.links {
            if blocks.heights[link].map({ $0 >= block.delta.priority }) == true {
                return world.fail(.height, "\(world.name(index)) has built \(block.cid) of height \(block.delta.priority) upon \(link) of height \(blocks.heights[link] ?? 0)")
            }
            guard !replica.has(link), !log.underWay.contains(link), !replica.hasGivenUp(link), !isSpoilt else { continue }
            return world.fail(.fetchable, "\(world.name(index)) has built \(block.cid) upon \(link), which it does not have")
        }
        // Unfinished branches are in the state too. What a disk has lost counts until the state has been made anew.
        guard !isSpoilt, block.delta.priority <= log.heightMax else { return }
        world.fail(.height, "\(world.name(index)) has written \(block.cid) of height \(block.delta.priority), and has merged one of height \(log.heightMax)")
    }

    private func noteShards(_ pin: Pin, by index: Int) {
        switch pin.type {
        case .shard: for list in blocks.shardsThen[index]?.keys ?? [] { blocks.shardsThen[index]?[list]?.insert(pin.cid) }
        case .clusterDAG, .meta:
            guard let machine = world.peers[index].process?.machine else { return }
            blocks.shardsThen[index, default: SortedMap()][pin.cid] = Set(pins(of: machine).filter { $0.type == .shard }.map(\.cid))
        default: break
        }
    }

    /// REPIN: what a peer writes that nobody has asked of it has been asked before, of somebody: it goes elsewhere, and that is all.
    private func judgeRepin(_ pin: Pin, of index: Int) -> Bool {
        guard pin.type == .data else { return true }
        var options = pin.options
        options.pinUpdate = nil
        if oracles.askedWrites.contains(where: { $0.at == index && $0.cid == pin.cid }) || oracles.uploads.contains(where: { $0.root == pin.cid }) {
            blocks.asked[pin.cid, default: []].insert(options)
            return true
        }
        guard let asked = blocks.asked[pin.cid] else { return true }
        oracles.judged += 1
        if !asked.contains(options) { world.fail(.repin, "\(world.name(index)) pins \(pin.cid) anew, and with options that nobody has asked for: \(options)") }
        else if pin.options.pinUpdate != nil { world.fail(.repin, "\(world.name(index)) pins \(pin.cid) anew, and as an update of what it once was one of") }
        return world.failure == nil
    }

    // MARK: Heads

    /// COVER: CRDT-62.
    private func judgeDirt(_ index: Int, _ replica: Replica, _ process: Process, _ log: inout LogState) {
        guard replica.isDirty, replica.absentCount == 0, options.heals(.repair), !plan.has(.clock) else { return log.wholeSince = nil }
        let since = log.wholeSince ?? world.now, most = process.peer.settings.replica.repairInterval + .seconds(10)
        log.wholeSince = since
        guard world.now - since > most.nanoseconds, !process.peer.sleeps.contains(where: { $0.to >= since }) else { return }
        world.fail(.cover, "\(world.name(index)) lacks nothing, and is dirty for \(Span(nanoseconds: world.now - since).seconds)")
    }

    /// Whether its state was made anew since then, and lacked meanwhile what had rotted.
    func wasMadeAnew(_ index: Int, since time: Int64) -> Bool { blocks.logs[index]?.closedAt.map { $0 >= time } ?? false }

    /// FETCHABLE: what a peer may announce it can serve to the last block, but for what it has given up. Only what is new since the
    /// last look is read.
    func checkNewHeads(_ index: Int, _ process: Process) {
        var log = blocks.logs[index] ?? LogState()
        defer { blocks.logs[index] = log }
        let replica = process.machine.replica
        // A state that is made anew may lack what has rotted.
        if log.life != process.peer.lives || !replica.isOpen { (log.life, log.complete, log.heads, log.wholeSince) = (process.peer.lives, [], [], nil) }
        guard replica.isOpen else { return log.closedAt = world.now }
        judgeDirt(index, replica, process, &log)
        for cid in replica.absentBlocks where replica.hasGivenUp(cid) { log.forgiven.insert(cid) }
        let heads = replica.heads.map(\.cid)
        guard heads != log.heads else { return }
        log.heads = heads
        var stack = heads
        while let cid = stack.popLast() {
            guard !log.forgiven.contains(cid), log.complete.insert(cid).inserted else { continue }
            do throws(LogError) {
                if let raw = try replica.block(cid), let block = try? DeltaBlock(decoding: raw) {
                    stack += block.links
                    continue
                }
            } catch where plan.spoilsDisks { continue } catch {
                return world.fail(.fetchable, "\(world.name(index)) has heads below which \(cid) cannot be read: \(error)")
            }
            if plan.spoilsDisks && !process.machine.isReady { continue }
            return world.fail(.fetchable, "\(world.name(index)) has heads below which \(cid) is not here")
        }
    }

    // MARK: At the end

    /// HEIGHT: every block is higher than what it links to.
    func checkHeights(_ blocks: [DeltaBlock]) {
        let heights = Dictionary(blocks.map { ($0.cid, $0.delta.priority) }, uniquingKeysWith: { first, _ in first })
        for block in blocks {
            guard let link = block.links.first(where: { (heights[$0] ?? 0) >= block.delta.priority }) else { continue }
            return world.fail(.height, "\(block.cid) is of height \(block.delta.priority), and links to \(link), which is of height \(heights[link] ?? 0)")
        }
    }
}
