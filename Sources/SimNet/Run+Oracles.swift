// What must hold of every run. The names are those of the bug zoo's oracles.

import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Tracking

extension Run {
    /// After each step of a peer.
    func checkStep(_ index: Int) {
        guard let machine = world.peers[index].machine else { return }
        machine.tracker.checkInvariants()
        // DIGEST: equal heads with nothing missing are equal states, at all times.
        let replica = machine.replica
        guard replica.absentCount == 0, !replica.heads.isEmpty else { return }
        let heads = replica.heads.map(\.cid)
        for other in world.peers where other.index != index {
            guard let theirs = other.machine?.replica, theirs.absentCount == 0, theirs.heads.map(\.cid) == heads else { continue }
            if theirs.digest != replica.digest && theirs.blockCount == replica.blockCount {
                world.fail("DIGEST: \(world.name(index)) and \(world.name(other.index)) have the same heads and different states")
            }
        }
    }

    /// What is still to be reached, or nil when the cluster is at rest and agrees.
    func unsettled() -> String? {
        let machines = present.compactMap { index in world.peers[index].machine.map { (index, $0) } }
        guard let (reference, first) = machines.first, machines.count == present.count else { return "LIVE: a peer is down" }
        for (index, machine) in machines {
            if !machine.isReady { return "LIVE: \(world.name(index)) is not ready" }
            if machine.replica.absentCount > 0 { return "COVER: \(world.name(index)) misses \(machine.replica.absentCount) blocks" }
            if machine.replica.pendingCount > 0 { return "ACCEPTED: \(world.name(index)) has uncommitted operations" }
            if machine.members.count != machines.count { return "LIVE: \(world.name(index)) sees \(machine.members.count) members" }
            if machine.replica.heads.map(\.cid) != first.replica.heads.map(\.cid) {
                return "COVER: \(world.name(index)) and \(world.name(reference)) have different heads"
            }
            if machine.replica.digest != first.replica.digest {
                return "COVER: \(world.name(index)) and \(world.name(reference)) have different states"
            }
        }
        return endangered(first) ?? unpinned()
    }

    /// REPIN: where a peer is gone for good, every pin has its minimum among those who are left, as far as they suffice.
    private func endangered(_ machine: ClusterPeer) -> String? {
        guard present.count < world.peers.count else { return nil }
        let alive = SortedSet(present.map { world.peers[$0].id })
        var cursor = ""
        while let (key, pin) = machine.nextPin(after: cursor) {
            cursor = key
            guard !pin.isPinnedEverywhere, pin.options.replicationFactorMin <= alive.count else { continue }
            let count = (pin.allocations ?? []).filter { alive.contains($0) }.count
            if count < pin.options.replicationFactorMin {
                return "REPIN: \(pin.cid) has \(count) living allocations of at least \(pin.options.replicationFactorMin), long after a peer was lost"
            }
        }
        return nil
    }

    /// SETTLE: IPFS pins exactly what is allocated.
    private func unpinned() -> String? {
        for peer in world.peers {
            guard let machine = peer.machine else { continue }
            var wanted = SortedMap<CID, IPFSPinStatus>()
            var cursor = ""
            while let (key, pin) = machine.nextPin(after: cursor) {
                cursor = key
                if !pin.isRemote(for: peer.id) { wanted[pin.cid] = pin.maxDepth == 0 ? .direct : .recursive }
            }
            if wanted != peer.ipfs.pins {
                let missing = wanted.keys.filter { peer.ipfs.pins[$0] == nil }.count
                let extra = peer.ipfs.pins.keys.filter { wanted[$0] == nil }.count
                let example = (wanted.keys.filter { peer.ipfs.pins[$0] == nil } + peer.ipfs.pins.keys.filter { wanted[$0] == nil }).first?.description ?? "a pin of another kind"
                return "SETTLE: \(world.name(peer.index))'s IPFS lacks \(missing) pins and has \(extra) too many, such as \(example)"
            }
        }
        return nil
    }

    /// When everything is at rest.
    func checkEnd() {
        guard let replica = present.first.flatMap({ world.peers[$0].machine?.replica }) else { return }
        let blocks = history(replica)
        checkRefold(blocks, replica)
        checkDurable(blocks)
        checkAllocations()
    }

    private func history(_ replica: Replica) -> [DeltaBlock] {
        var found: [DeltaBlock] = []
        var seen: Set<CID> = []
        var stack = replica.heads.map(\.cid)
        while let cid = stack.popLast() {
            guard seen.insert(cid).inserted else { continue }
            guard let bytes = try? replica.block(cid), let block = try? DeltaBlock(decoding: bytes) else {
                world.fail("FETCHABLE: block \(cid) below the heads cannot be read")
                return found
            }
            found.append(block)
            stack += block.links
        }
        return found
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
        var cursor = ""
        var count = 0
        while let (key, value) = replica.next(after: cursor) {
            cursor = key
            count += 1
            if best[key]?.1 != value { return world.fail("REFOLD: the value of \(key) is not what the DAG says") }
        }
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
            if stored.contains(mark) || isSuperseded(index, pin.cid, askedAt: asked) { continue }
            return world.fail("DURABLE: \(world.name(index)) acknowledged a pin of \(pin.cid) (\(pin.options.name)) that is nowhere")
        }
    }

    /// ALLOC: the factors are obeyed, and nobody unknown is named.
    private func checkAllocations() {
        guard let machine = present.first.flatMap({ world.peers[$0].machine }) else { return }
        let known = SortedSet(world.peers.map(\.id))
        var cursor = ""
        while let (key, pin) = machine.nextPin(after: cursor) {
            cursor = key
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
