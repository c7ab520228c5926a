// Adding content in shards, each on peers of its own, and removing it again. spec/adder-and-ipfs.md ADD-60..67;
// spec/tracker-allocator-monitor.md CLU-09, CLU-10.

import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import UnixFS

extension ClusterPeer {
    /// How far an add in shards has come.
    struct Sharding: Sendable {
        enum Stage: Equatable, Sendable {
            /// Blocks go to the open shard, if there is one.
            case filling
            /// The last blocks of a shard are on their way.
            case storing(FinishedShard)
            case storingList(ClusterDAG)
            /// Something is being pinned.
            case pinning
            /// The content itself is: from here on its shards go with it, whoever leaves.
            case pinningContent
        }
        var maker: ShardMaker
        var stage = Stage.filling
        let begun: Instant
        /// Shards that are pinned, or about to be, and the list of them: as they were asked for.
        var parts: [Pin] = []
        /// What this add has written of them: taken back if it fails.
        var written: [WrittenPart] = []
        /// The content whose parts nobody else pins or removes meanwhile.
        var holds: CID?
    }

    /// A part of what is added, and the block that has set its key.
    struct WrittenPart: Sendable {
        let cid: CID
        let block: Multihash
    }

    /// Nothing more is sent until a shard is pinned.
    func isStoringShard(_ client: ClientID) -> Bool {
        adds.look(at: client) { $0.sharding.map { $0.stage != .filling } ?? false } ?? false
    }

    /// Whether the block goes out, or has gone out before. Nil if a shard must be stored first, or the add has failed.
    mutating func takesBlock(_ node: NodeWithMeta, _ client: ClientID) -> Bool? {
        guard var sharding = adds.look(at: client, { $0.sharding }) ?? nil else { return true }
        guard sharding.stage == .filling else { return nil }
        adds[client]?.sharding = nil  // so that the set of known blocks is changed in place
        do throws(AddError) {
            let outcome = try sharding.maker.take(node)
            adds[client]?.sharding = sharding
            if case .full(let shard) = outcome {
                store(shard, client)
                return nil
            }
            return outcome == .taken
        } catch {
            adds[client]?.sharding = sharding
            failAdding(client, ClientFailure(error.message))
            return nil
        }
    }

    mutating func tellNewShard(_ number: Int, _ parameters: AddParameters) {
        inform("shardingdags", "new shard for '\(parameters.options.name)': #\(number)")
        if parameters.options.replicationFactorMin < 0 {
            note(.warning, "shardingdags", "Shard is set to replicate everywhere ,which doesn't make sense for sharding")
        }
    }

    /// The shard's own nodes follow its blocks (ADD-64).
    private mutating func store(_ shard: FinishedShard, _ client: ClientID) {
        adds[client]?.sharding?.stage = .storing(shard)
        for node in shard.nodes { put(node, client) }
        endTransfer(client)
        regulate(client)
    }

    /// All content has been dealt out: the last shard is stored, then the list of shards, on this peer's IPFS only (ADD-65).
    mutating func endSharding(_ client: ClientID) {
        guard let adding = adds[client], let root = adding.root, var maker = adding.sharding?.maker else { return }
        if let shard = maker.finishShard() {
            adds[client]?.sharding?.maker = maker
            return store(shard, client)
        }
        do throws(AddError) {
            let list = try maker.clusterDAG(of: root)
            if let last = maker.lastBlock, last != root {
                note(.warning, "shardingdags", "the last added CID (\(last)) is not the IPFS data root (\(root)). "
                    + "This is only normal when adding a single file without wrapping in directory.")
            }
            adds[client]?.sharding?.stage = .storingList(list)
            openTransfer(client, [], to: [id])
            for node in list.nodes { put(node, client) }
            endTransfer(client)
        } catch { failAdding(client, ClientFailure(error.message)) }
    }

    mutating func onTransferred(_ client: ClientID, _ transfer: Transfer) {
        guard let adding = adds[client], let stage = adding.sharding?.stage else { return }
        adds[client]?.transfer = nil
        adds[client]?.sharding?.stage = .pinning
        switch stage {
        case .storing(let shard): pinShard(shard, transfer.allocations, adding.parameters, client)
        case .storingList(let list): pinList(list, adding.parameters, client)
        case .filling, .pinning, .pinningContent: unreachable("blocks arrived that nobody sent")
        }
    }

    private mutating func pinShard(
        _ shard: FinishedShard, _ allocations: [PeerID], _ parameters: AddParameters, _ client: ClientID
    ) {
        inform("shardingdags", "shard #\(shard.number) (\(shard.root)) completed. Total size: \(byteText(shard.size)). Links: \(shard.linkCount)")
        pinPart(shard.pin(parameters.options, allocations: allocations), parameters, client) { cluster in
            cluster.turn.effects.append(.reply(client, .item(.added(shard.output(allocations: allocations)))))
            cluster.adds[client]?.sharding?.stage = .filling
            cluster.queue(client)  // whatever has pinned it has used this step
        }
    }

    /// The list is pinned everywhere, block by block; the content itself is an entry of the pinset that nobody pins.
    private mutating func pinList(_ list: ClusterDAG, _ parameters: AddParameters, _ client: ClientID) {
        turn.effects.append(.reply(client, .item(.added(list.output(parameters.options)))))
        pinPart(list.pin(parameters.options), parameters, client) { cluster in
            guard let parts = cluster.adds[client]?.sharding?.parts else { return }
            cluster.pinContent(list.metaPin(parameters.options), of: parts, parameters, client)
        }
    }

    /// A part of the content. What another add of the same has pinned is that one's, and stays that one's.
    private mutating func pinPart(
        _ part: Pin, _ parameters: AddParameters, _ client: ClientID, then: @escaping @Sendable (inout ClusterPeer) -> Void
    ) {
        if parameters.noPin { return then(&self) }
        adds[client]?.sharding?.parts.append(part)
        pin(part, partOf: client) { cluster, outcome in
            guard cluster.adds[client] != nil else { return }  // it has failed meanwhile, and was taken back
            if case .failure(let failure) = outcome { return cluster.failAdding(client, failure) }
            then(&cluster)
        }
    }

    private mutating func pinContent(_ content: Pin, of parts: [Pin], _ parameters: AddParameters, _ client: ClientID) {
        guard takeParts(of: content.cid, orWait: { if $0.adds[client] != nil { $0.pinContent(content, of: parts, parameters, client) } }) else { return }
        adds[client]?.sharding?.holds = content.cid
        pinMissing(parts[...], of: content, parameters, client)
    }

    /// The content, when all its parts are in the pinset: somebody may have unpinned the same, and taken some of them along.
    private mutating func pinMissing(_ parts: ArraySlice<Pin>, of content: Pin, _ parameters: AddParameters, _ client: ClientID) {
        if let next = parts.firstIndex(where: { !isPinned($0.cid) }) {
            return pinPart(parts[next], parameters, client) { $0.pinMissing(parts[(next + 1)...], of: content, parameters, client) }
        }
        let written = adds[client]?.sharding?.written ?? []
        let (shards, size, begun) = adds[client]?.sharding.map { ($0.maker.finishedCount, $0.maker.total, $0.begun) } ?? (0, 0, turn.now.monotonic)
        adds[client]?.sharding?.stage = .pinningContent
        let end: Then<Outcome<Pin>> = { cluster, outcome in
            let adding = cluster.adds.remove(client)
            switch outcome {
            case .success: cluster.tellSharded(content, shards: shards, size, since: begun)
            case .failure: cluster.takeBack(adding?.sharding?.written ?? written)
            }
            if adding != nil { cluster.reply(client, outcome.map { _ in [] }) }
            cluster.giveParts(of: content.cid)
        }
        parameters.noPin ? end(&self, .success(content)) : pin(content, then: end)
    }

    private mutating func tellSharded(_ content: Pin, shards: Int, _ size: UInt64, since begun: Instant) {
        let time = turn.now.monotonic - begun, seconds = UInt64(max(0, time.nanoseconds)) / 1_000_000_000
        inform("shardingdags", """
            sharding session successful:
            CID: \(content.cid)
            ClusterDAG: \(content.reference.map { "\($0)" } ?? "")
            Total shards: \(shards)
            Total size: \(byteText(size))
            Total time: \(time.goText)
            Ingest Rate: \(seconds == 0 ? "∞ B" : byteText(size / seconds))/s

            """)
        inform("adder", "\(content.cid) successfully added to cluster")
    }

    /// Whose add, if it fails, takes back what is written of a pin meanwhile, as well (seed 87265506).
    func adder(of pin: Pin) -> ClientID? {
        guard pin.type == .shard else { return nil }
        return adds.first { $0.value.sharding?.written.contains { $0.cid == pin.cid } ?? false }?.key
    }

    /// An add that failed leaves no shards behind: nobody could unpin them (CLU-09). What another add of the same content has written stays
    /// (seed 453).
    mutating func takeBack(_ parts: [WrittenPart]) {
        for part in parts {
            let id = OperationID(number())
            writes[id] = { cluster, failure in
                guard let failure else { return }
                cluster.note(.error, "adder", "removing \(part.cid), a shard of an add that failed: \(failure.description)")
            }
            withReplica { $0.takeBack(part.cid.stateKey, setBy: part.block, id, now: $1.now, effects: &$2) }
        }
    }

    /// Or will be, when what waits is written; or is, and will not be.
    private mutating func isPinned(_ cid: CID) -> Bool { replica.pendingPresence(of: cid.stateKey) ?? (storedPin(cid) != nil) }

    // MARK: Removing

    /// Shards, last first, then their list, then the entry itself: what fails half-way can be tried again (CLU-10).
    mutating func eraseSharded(_ meta: Pin, then: @escaping Then<Outcome<Pin>>) {
        parts(of: meta) { cluster, parts in
            switch parts {
            case .success(let cids): cluster.erase(parts: cids, of: meta, then: then)
            case .failure(let failure): then(&cluster, .failure(failure))
            }
        }
    }

    private mutating func erase(parts: [CID], of meta: Pin, then: @escaping Then<Outcome<Pin>>) {
        guard takeParts(of: meta.cid, orWait: { $0.unpin(meta.cid, then: then) }) else { return }
        erase(parts.filter { $0 == meta.reference || storedPin($0)?.type == .shard }, before: meta) { cluster, outcome in
            then(&cluster, outcome)
            cluster.giveParts(of: meta.cid)
        }
    }

    /// The shards of content, the last first, and then the list of them.
    mutating func parts(of meta: Pin, then: @escaping Then<Outcome<[CID]>>) {
        guard let list = meta.reference else {
            return then(&self, .failure(ClientFailure("the meta pin \(meta.cid) names no cluster DAG")))
        }
        askIPFS(.blockGet(list)) { cluster, result in
            do throws(ClientFailure) { then(&cluster, .success(Array(try ClusterPeer.links(of: list, result).reversed()) + [list])) } catch {
                then(&cluster, .failure(error))
            }
        }
    }

    private static func links(of list: CID, _ result: Result<IPFSAnswer, IPFSFailure>) throws(ClientFailure) -> [CID] {
        switch result {
        case .success(.block(let block)):
            guard list.multihash.matches(block) == true else { throw ClientFailure("IPFS gave another block for \(list)") }
            do throws(AddError) { return try UnixFS.links(of: block, cid: list) } catch { throw ClientFailure(error.message) }
        case .success: throw ClientFailure("IPFS gave no block for \(list)")
        case .failure(let failure): throw ClientFailure("reading the cluster DAG \(list): \(failure.description)")
        }
    }

    private mutating func erase(_ cids: [CID], before meta: Pin, then: @escaping Then<Outcome<Pin>>) {
        guard let cid = cids.first else { return erase(meta, then: then) }
        let known: Pin?
        do { known = try knownPin(cid) } catch { return then(&self, .failure(error)) }
        guard let pin = known else { return erase(Array(cids.dropFirst()), before: meta, then: then) }
        erase(pin) { cluster, outcome in
            if case .failure = outcome { return then(&cluster, outcome) }
            cluster.erase(Array(cids.dropFirst()), before: meta, then: then)
        }
    }
}
