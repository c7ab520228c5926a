// What must hold of every run. The names are those of the bug zoo's oracles.

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

extension Run {
    /// After each step of a peer.
    func checkStep(_ index: Int) {
        // In place: a peer is large to copy.
        world.peers[index].machine?.tracker.checkInvariants()
        guard let replica = world.peers[index].machine?.replica else { seen[index] = nil; return }
        // DIGEST: equal heads with nothing missing are equal states, at all times. Looked at where a merge changed something.
        var now = Merged(blocks: replica.blockCount, absent: replica.absentCount, state: replica.digest)
        if let before = seen[index], before.blocks == now.blocks, before.absent == now.absent, before.state == now.state { return }
        now.heads = replica.heads.map(\.cid)
        seen[index] = now
        guard now.absent == 0, !now.heads.isEmpty else { return }
        for (other, theirs) in seen where other != index {
            guard theirs.absent == 0, theirs.heads == now.heads, theirs.blocks == now.blocks, theirs.state != now.state else { continue }
            world.fail("DIGEST: \(world.name(index)) and \(world.name(other)) have the same heads and different states")
        }
    }

    /// What a peer's replica has come to.
    struct Merged {
        var blocks: Int
        var absent: Int
        var state: StateDigest
        var heads: [CID] = []
    }

    /// What is still to be reached, or nil when the cluster is at rest and agrees.
    func unsettled() -> String? {
        let machines = present.compactMap { index in world.peers[index].machine.map { (index, $0) } }
        guard let (reference, first) = machines.first, machines.count == present.count else { return "LIVE: a peer is down" }
        for (index, machine) in machines {
            let name = world.name(index)
            if !machine.isReady { return "LIVE: \(name) is not ready" }
            if machine.replica.pendingCount > 0 { return "ACCEPTED: \(name) has uncommitted operations" }
            if machine.uploadCount > 0 { return "ACCEPTED: \(name) has an upload under way" }
            if machine.members.count != machines.count { return "LIVE: \(name) sees \(machine.members.count) members" }
            if let cid = machine.replica.absentBlocks.first(where: { isHeld($0) }) {
                return "COVER: \(name) misses block \(cid), which others have"
            }
            if index == outsider {
                if first.replica.heads.contains(where: { !machine.replica.has($0.cid) }) {
                    return "COVER: \(name), who may listen, misses heads of \(world.name(reference))"
                }
                continue
            }
            // What was built upon a lost block is no head until that is given up.
            if machine.replica.isWaiting { return "COVER: \(name) waits for a block that nobody has" }
            if machine.replica.heads.map(\.cid) != first.replica.heads.map(\.cid) {
                return "COVER: \(name) and \(world.name(reference)) have different heads"
            }
            if machine.replica.digest != first.replica.digest {
                return "COVER: \(name) and \(world.name(reference)) have different states"
            }
        }
        return endangered(first) ?? unpinned() ?? expired(first)
    }

    private func pins(of machine: ClusterPeer) -> [Pin] {
        var pins: [Pin] = []
        machine.eachPin { pins.append($0) }
        return pins
    }

    private func isHeld(_ block: CID) -> Bool { trusted.contains { world.peers[$0].machine?.replica.has(block) == true } }

    /// EXPIRY: nothing stays that has expired, by any clock.
    private func expired(_ machine: ClusterPeer) -> String? {
        let now = SimClock().reading(world.now - Span.seconds(3).nanoseconds).wall
        for pin in pins(of: machine) {
            if pin.isExpired(at: now) { return "EXPIRY: \(pin.cid) has expired, and is in the pinset" }
        }
        return nil
    }

    /// REPIN: where a peer is gone for good, every pin has its minimum among those who are left, as far as they suffice.
    private func endangered(_ machine: ClusterPeer) -> String? {
        guard present.count < world.peers.count else { return nil }
        let alive = SortedSet(present.map { world.peers[$0].id })
        for pin in pins(of: machine) {
            guard !pin.isPinnedEverywhere, pin.options.replicationFactorMin <= alive.count else { continue }
            let count = (pin.allocations ?? []).filter { alive.contains($0) }.count
            if count < pin.options.replicationFactorMin {
                return "REPIN: \(pin.cid) has \(count) living allocations of at least \(pin.options.replicationFactorMin), long after a peer was lost"
            }
        }
        return nil
    }

    /// What the IPFS of a peer pins.
    private func pinned(by index: Int) -> SortedMap<CID, IPFSPinStatus> {
        guard let own = world.peers[index].machine?.ipfs.embeddedPins else { return world.peers[index].ipfs.pins }
        var pins = SortedMap<CID, IPFSPinStatus>()
        for (cid, depth) in own { pins[cid] = depth == 0 ? .direct : .recursive }
        return pins
    }

    /// By the rules, not by the code that is under test.
    func isAllocated(_ pin: Pin, to peer: PeerID) -> Bool {
        pin.options.replicationFactorMin < 0 || (pin.allocations ?? []).contains(peer)
    }

    /// SETTLE: IPFS pins exactly what is allocated, as far as anyone alive has it.
    private func unpinned() -> String? {
        for peer in world.peers {
            guard let machine = peer.machine else { continue }
            let pins = pinned(by: peer.index)
            var wanted = SortedMap<CID, IPFSPinStatus>()
            for pin in self.pins(of: machine) {
                guard isAllocated(pin, to: peer.id), pins[pin.cid] != nil || isWhole(pin.cid) else { continue }
                // What is pinned with all below it is pinned.
                let isCovered = pins[pin.cid] == .recursive
                wanted[pin.cid] = pin.options.mode == .direct && !isCovered ? .direct : .recursive
            }
            if wanted != pins {
                let missing = wanted.keys.filter { pins[$0] == nil }
                let extra = pins.keys.filter { wanted[$0] == nil }
                let example = (missing + extra).first?.description ?? "a pin of another kind"
                return "SETTLE: \(world.name(peer.index))'s IPFS lacks \(missing.count) pins and has \(extra.count) too many, such as \(example)"
            }
        }
        return nil
    }

    /// When everything is at rest.
    func checkEnd() {
        guard let replica = trusted.first.flatMap({ world.peers[$0].machine?.replica }) else { return }
        let blocks = history(replica)
        if blocks.count != replica.blockCount {
            world.fail("HEADS: \(replica.blockCount) blocks were merged, \(blocks.count) are below the heads")
        }
        checkRefold(blocks, replica)
        checkDurable(blocks)
        checkAllocations()
        checkUploads()
        checkOutsider(blocks)
        if !options.isBatching { checkTombstones(blocks) }
        checkStatus()
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
                if !replica.has(cid) && !isHeld(cid) && present.count < world.peers.count { continue }
                world.fail("FETCHABLE: block \(cid) below the heads cannot be read")
                return found
            }
            found.append(block)
            stack += block.links
            if let head = block.links.first(where: heads.contains) {
                world.fail("HEADS: \(head) is a head although \(cid) was built on it")
            }
        }
        return found
    }

    /// An index page that has rotted is found by whoever needs it next, and made anew from the log. Nobody may have needed it.
    private func block(_ cid: CID, of replica: Replica) -> Bytes? {
        do throws(LogError) { return try replica.block(cid) } catch {
            guard case .index = error, options.rots > 0 else { return nil }
            let others = trusted.lazy.compactMap { self.world.peers[$0].machine?.replica }
            return others.compactMap { try? $0.block(cid) }.first
        }
    }

    /// REPIN: once is enough. The network is whole, and everyone sees the same peers alive.
    func checkRepins(since before: [DeltaBlock]) {
        guard let replica = trusted.first.flatMap({ world.peers[$0].machine?.replica }) else { return }
        let old = Set(before.map(\.cid))
        var seen: Set<String> = []
        for element in history(replica).filter({ !old.contains($0.cid) }).flatMap(\.delta.elements) {
            guard seen.insert(element.key).inserted else { return world.fail("REPIN: \(element.key) was re-pinned twice for one loss") }
        }
    }

    /// TRUST: nothing of an untrusted peer's is in the DAG.
    private func checkOutsider(_ blocks: [DeltaBlock]) {
        for element in blocks.flatMap(\.delta.elements) {
            guard let cid = CID(stateKey: element.key), let pin = try? Pin(protobuf: element.value, cid: cid) else { continue }
            if pin.options.name == Run.outsiderName { return world.fail("TRUST: a pin of \(cid) by an untrusted peer was accepted") }
        }
    }

    /// MIN: no block removes what a block below it has removed already.
    private func checkTombstones(_ blocks: [DeltaBlock]) {
        var removedBelow: [CID: Set<Delta.Tombstone>] = [:]
        for block in blocks.sorted(by: { $0.delta.priority < $1.delta.priority }) {
            var removed: Set<Delta.Tombstone> = []
            for link in block.links { removed.formUnion(removedBelow[link] ?? []) }
            if let again = block.delta.tombstones.first(where: removed.contains) {
                return world.fail("MIN: block \(block.cid) removes \(again.key) of \(again.block) once more")
            }
            removedBelow[block.cid] = removed.union(block.delta.tombstones)
        }
    }

    /// TRUTH: what each peer says of its pins is what its IPFS daemon holds.
    private func checkStatus() {
        for index in present where world.failure == nil {
            var isOver = false
            world.ask(index, .statusAll(.undefined, isLocal: true)) { [unowned self] world, reply in
                if case .item(.infos(let infos)) = reply { for info in infos { check(info, by: index) } } else { isOver = true }
            }
            _ = world.run(until: { _ in isOver }, within: .seconds(30), every: .milliseconds(100))
            if !isOver { world.fail("LIVE: \(world.name(index)) does not answer a question for its status") }
        }
    }

    private func check(_ info: GlobalPinInfo, by index: Int) {
        let holds = pinned(by: index)[info.cid] != nil
        for (_, said) in info.peers {
            let isWrong = said.status == .pinned ? !holds : said.status == .remote && holds
            if isWrong { world.fail("TRUTH: \(world.name(index)) says \(said.status.text) of \(info.cid), which its IPFS \(holds ? "pins" : "does not pin")") }
        }
    }

    /// REFOLD: the state is what a naive fold of the DAG gives.
    private func checkRefold(_ blocks: [DeltaBlock], _ replica: Replica) {
        var tombstones: Set<Delta.Tombstone> = []
        for block in blocks { tombstones.formUnion(block.delta.tombstones) }
        var best = SortedMap<String, (UInt64, Bytes)>()
        for block in blocks {
            for element in block.delta.elements {
                if tombstones.contains(Delta.Tombstone(key: element.key, block: block.cid.multihash)) { continue }
                let candidate = (block.delta.priority, element.value)
                if let current = best[element.key], !(current.0 < candidate.0 || (current.0 == candidate.0 && current.1.lexicographicallyPrecedes(candidate.1))) { continue }
                best[element.key] = candidate
            }
        }
        var count = 0
        var wrong: String?
        do {
            try replica.each { key, value in
                count += 1
                if best[key]?.1 != value { wrong = wrong ?? key }
            }
        } catch { return world.fail("REFOLD: the state cannot be read: \(error)") }
        if let wrong { return world.fail("REFOLD: the value of \(wrong) is not what the DAG says") }
        if count != best.count { world.fail("REFOLD: \(count) keys in the state, \(best.count) in the DAG") }
    }

    /// DURABLE: every pin that a client was told is accepted is in the DAG.
    private func checkDurable(_ blocks: [DeltaBlock]) {
        var stored: Set<Delta.Tombstone> = []  // (key, hash of the value)
        for block in blocks {
            for element in block.delta.elements {
                stored.insert(Delta.Tombstone(key: element.key, block: .sha2_256(of: element.value)))
            }
        }
        for (index, asked, pin) in acknowledgedPins {
            let mark = Delta.Tombstone(key: pin.cid.stateKey, block: .sha2_256(of: pin.protobuf))
            // What the lost had told nobody is lost with them; all that anyone heard is below the heads.
            if world.peers[index].isLost || index == outsider { continue }
            if stored.contains(mark) || isSuperseded(index, pin.cid, askedAt: asked) { continue }
            return world.fail("DURABLE: \(world.name(index)) acknowledged a pin of \(pin.cid) (\(pin.options.name)) that is nowhere")
        }
        let names = Set(blocks.flatMap { block in
            block.delta.elements.compactMap { element in CID(stateKey: element.key).flatMap { try? Pin(protobuf: element.value, cid: $0) }?.options.name }
        })
        for (index, pins) in acknowledgedBulk where !world.peers[index].isLost && index != outsider {
            guard let (cid, name) = pins.first(where: { !names.contains($0.name) }) else { continue }
            return world.fail("DURABLE: \(world.name(index)) acknowledged a pin of \(cid) (\(name)), among others, that is nowhere")
        }
        let keys = Set(blocks.flatMap { $0.delta.elements.map(\.key) })
        for (index, asked, root) in uploads where !world.peers[index].isLost && index != outsider {
            if keys.contains(root.stateKey) || isSuperseded(index, root, askedAt: asked) { continue }
            return world.fail("DURABLE: \(world.name(index)) acknowledged an add of \(root) that is pinned nowhere")
        }
    }

    /// ALLOC: the factors are obeyed, and nobody unknown is named.
    private func checkAllocations() {
        guard let machine = trusted.first.flatMap({ world.peers[$0].machine }) else { return }
        let known = SortedSet(world.peers.map(\.id))
        for pin in pins(of: machine) {
            let allocations = pin.allocations ?? []
            if pin.isPinnedEverywhere {
                if !allocations.isEmpty { return world.fail("ALLOC: \(pin.cid) is pinned everywhere and has allocations") }
                continue
            }
            if SortedSet(allocations).count != allocations.count { return world.fail("ALLOC: \(pin.cid) names a peer twice") }
            if allocations.contains(where: { !known.contains($0) }) { return world.fail("ALLOC: \(pin.cid) names a stranger") }
            if allocations.count < pin.options.replicationFactorMin || allocations.count > pin.options.replicationFactorMax {
                return world.fail(
                    "ALLOC: \(pin.cid) has \(allocations.count) allocations, factors \(pin.options.replicationFactorMin) to \(pin.options.replicationFactorMax)")
            }
        }
    }
}
