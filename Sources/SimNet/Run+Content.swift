// Who holds the blocks of what was added, in an embedded node or a daemon.

import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import UnixFS

extension Run {
    /// All blocks of a DAG down to a depth, negative for all of it, as far as they are found where `find` looks. Nil if any is missing.
    private func blocks(of root: CID, depth: Int64 = -1, _ find: (CID) -> Bytes?) -> [CID]? {
        var found: [CID] = []
        var pending = [(root, depth)]
        while let (cid, depth) = pending.popLast() {
            guard let block = find(cid) else { return nil }
            found.append(cid)
            if depth != 0 { pending += ((try? links(of: block, cid: cid)) ?? []).map { ($0, max(-1, depth - 1)) } }
        }
        return found
    }
    private func block(_ cid: CID, of index: Int) -> Bytes? {
        // By the rules, not by the code that is under test: what an identity hash names is in it.
        if cid.multihash.code == HashCode.identity { return Bytes(cid.multihash.digest) }
        guard options.isEmbedded else { return world.peers[index].ipfs.blocks[cid.multihash] }
        guard let process = world.peers[index].process else { return nil }
        return try? process.machine.ipfs.block(cid)
    }
    /// Those who are left have all of it together. What was not added a daemon fetches from a world of its own.
    func isWhole(_ root: CID, depth: Int64 = -1) -> Bool {
        !options.isEmbedded && !world.putBlocks.contains(root.multihash) || blocks(of: root, depth: depth) { cid in present.lazy.compactMap { self.block(cid, of: $0) }.first } != nil
    }

    /// ADD: at the moment that the client is told it is all there; unless who had it has just gone, or its daemon has been set up anew (seed 41210).
    func checkUpload(_ root: CID, asked: Int64) {
        let all = world.peers.indices
        oracles.holders[root] = all.filter { index in blocks(of: root, { self.block($0, of: index) }) != nil }
        let changed = oracles.downSince.values.contains { $0 >= asked } || all.contains { !world.peers[$0].isUp } || restarted(since: asked)
            || world.peers.contains { $0.ipfs.emptiedAt >= asked }
        guard !changed, !plan.spoilsDisks, blocks(of: root, { cid in all.lazy.compactMap { self.block(cid, of: $0) }.first }) == nil else { return }
        world.fail(.add, "\(root) was added, says a peer, and nobody holds all of it")
    }

    /// ADD, ALLOC: it is pinned where its blocks were sent, and of a local one the peer itself has some.
    func checkPin(of root: CID, _ parameters: AddParameters, told: [PeerID], asked: Int64, at index: Int) {
        guard !parameters.noPin, !parameters.shard, let process = world.peers[index].process else { return }
        if let pin = try? process.machine.readPin(root), pin.timestamp >= process.peer.clock.reading(asked).wall, !plan.has(.clock),
            !oracles.askedWrites.contains(where: { $0.cid == root }), oracles.uploads.count(where: { $0.root == root }) == 1,
            pin.options.mode != .recursive || pin.options.pinUpdate != nil || second(pin.options.expireAt) != second(parameters.options.expireAt) || (pin.options.metadata?.pairs ?? []) != (parameters.options.metadata?.pairs ?? []) {
            return world.fail(.add, "\(world.name(index)) has added \(root), and pins it in another way than it was asked: \(pin.options) for \(parameters.options)")
        }
        if parameters.isLocal, (parameters.options.userAllocations ?? []).isEmpty, !told.isEmpty, !told.contains(process.peer.id) {
            return world.fail(.alloc, "\(world.name(index)) has added \(root) locally, and allocates it to others alone")
        }
        guard let pin = try? process.machine.readPin(root), pin.options.name == parameters.options.name, !pin.isPinnedEverywhere,
            !oracles.askedWrites.contains(where: { $0.cid == root && $0.when >= asked }), oracles.uploads.count(where: { $0.root == root }) == 1,
            pin.allocations?.sorted() != told.sorted()
        else { return }
        world.fail(.add, "\(world.name(index)) has sent \(root) to \(told.count) peers, and allocates it to others")
    }
    static let nowhereToPut = "failed to put block on all destinations: "

    /// ADD: an add goes on while one destination takes its blocks (ADD-53), and fails only where something is wrong.
    func judge(_ failure: ClientFailure, of parameters: AddParameters, sentTo told: [PeerID], asked: Int64, at index: Int) {
        oracles.judged += 1
        if failure.message == Run.notThere { return world.fail(.add, "\(world.name(index)) does not add a file, since something is not in the pinset") }
        guard failure.message.hasPrefix(Run.nowhereToPut) else { return }
        let reasons = failure.message.dropFirst(Run.nowhereToPut.count)
        let targets = parameters.isLocal ? [world.peers[index].id] : told
        if !parameters.shard, let silent = targets.first(where: { !reasons.contains("\($0)") }) {
            return world.fail(.add, "\(world.name(index)) has given up an add, though \(named(silent)) did not fail: \(reasons)")
        }
        // The others take nothing of an outsider (seed 900102).
        if index != outsider, wasCalm(since: asked) { world.fail(.add, "\(world.name(index)) could put blocks nowhere, and nothing was wrong: \(reasons)") }
    }
    /// From a minute before on all peers ran, and no fault was under way.
    private func wasCalm(since asked: Int64) -> Bool {
        let from = asked - Span.minutes(1).nanoseconds
        guard world.peers.allSatisfy({ $0.isUp && ($0.sleeps.last?.to ?? 0) < from && oracles.startedAt[$0.index].map { $0 < from } ?? false }), absent.isEmpty else { return false }
        guard options.limits.callsPerPeer == 0, options.limits.wantsPerPeer == 0, options.stepCrashOneIn == 0 else { return false }
        return plan.faults.allSatisfy { fault in
            let began = (Run.warmUp + fault.at).nanoseconds
            return fault.isLate || began > world.now || fault.length > .zero && began + fault.length.nanoseconds < from
        } && !plan.faults.contains { $0.isLate && world.now > (Run.warmUp + options.workloadLength).nanoseconds }
    }
    /// ADD: what is to be added without a pin has none, if nobody pins it by other ways (ADD-54).
    func checkUnpinned() {
        guard let machine = trusted.first.flatMap({ world.peers[$0].process?.machine }) else { return }
        let adds = plan.operations.lazy.filter { $0.kind == .add }.map { (file: Words($0.words).number("same") ?? $0.number, number: $0.number, words: Words($0.words)) }
        for upload in oracles.uploads where upload.isUnpinned {
            guard let file = adds.first(where: { $0.number == upload.operation })?.file, adds.allSatisfy({ $0.file != file || $0.words.has("no-pin") }),
                adds.allSatisfy({ $0.file != file || ($0.words.number("bytes") ?? 1000) >= 64 }),
                !oracles.askedWrites.contains(where: { $0.cid == upload.root }), (try? machine.readPin(upload.root)) != nil
            else { continue }
            return world.fail(.add, "\(world.name(upload.at)) was to add \(upload.root) without a pin, and it is pinned")
        }
    }

    /// BOUND: whoever uploads waits for its blocks to be taken. Each has headers, and what was sent before the client waited comes as well.
    /// What others send it, they send through the network, which may bring as much once more, and all of an upload at once that was held (seed
    /// 800000167); and who was asleep finds all that came meanwhile.
    func checkUploading(_ index: Int, _ bytes: Int) {
        let wokeUp = world.peers[index].sleeps.last.map { world.now - $0.to < Span.minutes(2).nanoseconds } ?? false
        guard !wokeUp else { return }
        let others = oracles.lastAdd.count { $0.key != index && world.now - $0.value < Span.minutes(2).nanoseconds }
        let piece = largestAdd / Run.pieces
        let most = ((world.peers[index].settings.uploadWindowBytes + 3 * piece) * 3 / 2 + 30_000) * (others > 0 ? 2 : 1) + others * largestAdd
        oracles.judged += 1
        if bytes > most { world.fail(.bound, "\(bytes) bytes of an upload wait for the daemon of \(world.name(index)), of \(most) at most") }
    }

    /// BOUND: few bytes can be many blocks, and whoever else wants something is not to wait for all of them.
    func watchUploads(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process) {
        if case .stream = input { return }  // what others send comes by the network
        let blocks = effects.count { if case .exchange(.body(_, let bytes)) = $0 { bytes.count > 100 } else { false } }
        guard blocks > 0 else { return }
        oracles.judged += 1
        // The nodes of a shard, or of the list of them, go with the last of its blocks.
        let most = process.peer.settings.uploadBlocksPerStep + 4
        if blocks > most { world.fail(.bound, "\(world.name(index)) sends \(blocks) blocks of an upload in one step, of \(most) at most") }
    }
    private func restarted(since time: Int64) -> Bool { oracles.startedAt.values.contains { $0 >= time } }

    /// Nobody can tell any more whether all shards belong to something.
    func noteShards(_ asked: Asked, failure: ClientFailure??) {
        switch asked.request {
        case .add(let parameters) where parameters.shard:
            guard let bytes = oracles.askedAdds.last(where: { $0.at == asked.peer && $0.when == asked.at })?.add else { return }
            if failure == nil || plan.has(.disk) { oracles.leftOf.insert(bytes) }
            if case .some(.some) = failure { oracles.cleansUp[asked.peer] = (bytes, world.now) }
        case .unpin(let cid):
            oracles.unpinners[cid, default: []].insert(asked.peer)
            // What comes out of order brings the content before some of its shards: these are not there yet to be removed (seed 5001751).
            if failure != .some(nil) || asked.wasBehind { oracles.doubtfulRoots.insert(cid) }
        // Who has not heard of the content yet may pin its root as it is: of two such pins one counts (seed 700019).
        case .pin, .pinPath: if failure == nil || failure == .some(nil) { oracles.doubtfulRoots.formUnion(asked.request.writtenCIDs) }
        default: break
        }
    }

    /// ADD: a shard belongs to content that is in the pinset, and so does a list of shards; an add that fails leaves none.
    func checkShards(machine: ClusterPeer?) {
        guard let machine else { return }
        let pins = pins(of: machine), mayHaveParts = Set(pins.filter { $0.type == .meta }.map(\.cid)).union(oracles.doubtfulRoots)
        for pin in pins where pin.type == .shard || pin.type == .clusterDAG {
            oracles.judged += 1
            let roots = oracles.shardsOf[pin.cid]
            // Who re-pinned it while it was being removed has kept it.
            guard blocks.authors[pin.cid.stateKey].map({ $0.count < 2 }) ?? true, roots.map({ $0.isDisjoint(with: mayHaveParts) }) ?? oracles.leftOf.isEmpty,
                oracles.bytesOf[pin.cid].map({ !oracles.leftOf.contains($0) }) ?? true, !mayBeLost(pin, of: roots ?? [])
            else { continue }
            return world.fail(.add, "\(pin.options.name), \(pin.cid), is in the pinset, and nothing that it is a part of: \(roots?.map(\.description).joined(separator: " ") ?? "an add that failed")")
        }
    }

    /// A removal may be gone with whoever had a hand in it, or somebody who is away has it. Who removes what has expired nobody knows.
    private func mayBeLost(_ part: Pin, of roots: Set<CID>) -> Bool {
        guard mayHaveLostBlocks else { return false }
        guard part.options.expireAt.isUnset, !roots.isEmpty else { return true }
        var hands = blocks.authors[part.cid.stateKey] ?? []
        for root in roots { hands.formUnion((blocks.authors[root.stateKey] ?? []).union(oracles.unpinners[root] ?? [])) }
        return hands.contains { world.peers[$0].isLost || !world.peers[$0].losses.isEmpty || plan.rotsInStorm($0) || absent.contains($0) }
    }

    /// ADD: content that nobody has touched since has all its shards, whatever became of other adds of the same, through its peer or another
    /// (seed 2022).
    func checkParts(machine: ClusterPeer?) {
        guard let machine, !mayHaveLostBlocks else { return }
        let pins = pins(of: machine), known = Set(pins.map(\.cid))
        let whole = Set(pins.filter { $0.type == .meta && $0.options.expireAt.isUnset }.map(\.cid)).subtracting(oracles.doubtfulRoots)
        for (part, roots) in oracles.shardsOf.sorted(by: { $0.key < $1.key }) where !known.contains(part) && !oracles.askedWrites.contains(where: { $0.cid == part }) {
            oracles.judged += 1
            guard let root = roots.intersection(whole).min(), !oracles.askedWrites.contains(where: { $0.cid == root }) else { continue }
            return world.fail(.add, "\(root) is in the pinset, and \(part), a part of it, is not")
        }
    }

    /// ADD: what somebody has unpinned meanwhile, with the same content, is pinned once more before the content is: who writes the list of
    /// its parts knows which of them are gone (seed 453). A batch is written later than its parts are looked at.
    func judgeMissed(_ parts: [CID], of root: CID, at index: Int) {
        guard !options.isBatching, !plan.spoilsDisk(of: index), let list = parts.last, let first = blocks.shardsThen[index]?[list], let then = blocks.shardsThen[index]?[root] else { return }
        for part in parts.dropLast() where !first.contains(part) && !then.contains(part) {
            return world.fail(.add, "\(world.name(index)) has pinned \(root), and not \(part), a part of it that was gone when it wrote the list of them")
        }
        oracles.judged += 1
    }

    /// ADD: what nobody has unpinned is kept by those who held it, unless their disks were lost.
    func checkHolders(of root: CID) {
        guard !plan.spoilsDisks, !oracles.askedWrites.contains(where: { $0.cid == root }) else { return }
        for index in oracles.holders[root] ?? [] where present.contains(index) && world.peers[index].losses.isEmpty && !plan.rotsInStorm(index) && world.peers[index].ipfs.emptiedAt < 0 {
            guard let pin = try? world.peers[index].process?.machine.readPin(root), isAllocated(pin, to: world.peers[index].id) else { continue }
            return world.fail(.add, "\(world.name(index)) held all of \(root) when it was added, and has lost some of it, with a disk that it still has")
        }
    }

    /// ADD: what was acknowledged is held in full by each of its allocations, as long as it is pinned.
    func checkUploads() {
        guard options.heals(.recover) else { return }
        for (_, _, root, _, isUnpinned) in oracles.uploads {
            guard isWhole(root) else {
                if !isUnpinned { checkHolders(of: root) }
                continue
            }
            for index in present {
                guard let pin = try? world.peers[index].process?.machine.readPin(root), pin.options.mode == .recursive,
                    isAllocated(pin, to: world.peers[index].id)
                else { continue }
                guard blocks(of: root, { block($0, of: index) }) == nil else { continue }
                return world.fail(.add, "\(world.name(index)) does not hold all of \(root), which was added and is allocated to it")
            }
        }
    }
}
