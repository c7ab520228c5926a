// Status and recover: of one pin, of all, here and on all peers. spec/tracker-allocator-monitor.md TRK-44..50, CLU-20..25.

import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams
import Tracking

extension ClusterPeer {
    static let broadcastTimeout = Span.seconds(15)  // RPC-21

    /// Who is in the cluster: everyone whose ping counts, and oneself (CRDT-125).
    package var members: [PeerID] {
        SortedSet(monitor.peers(with: settings.peersetMetric, now: turn.now) + [id]).elements
    }

    // MARK: Here

    /// TRK-44: what this peer says of one CID.
    mutating func localStatus(_ cid: CID, then: @escaping Then<PinInfo>) {
        let pin = storedPin(cid)
        if let info = tracker.settledStatus(of: cid, pin: pin, now: turn.now) { return then(&self, decorated(info)) }
        guard let pin else { unreachable("what is not pinned has a settled status") }
        askIPFS(.pinLsCid(pin)) { peer, result in
            // The world may have moved on while IPFS was asked: what the tracker knows now comes first.
            let current = peer.storedPin(cid)
            let settled = peer.tracker.settledStatus(of: cid, pin: current, now: peer.turn.now)
            let info = settled ?? peer.tracker.status(of: current ?? pin, ipfs: ClusterPeer.pinStatus(result))
            then(&peer, peer.decorated(info))
        }
    }

    private static func pinStatus(_ result: Result<IPFSAnswer, IPFSFailure>) -> Result<IPFSPinStatus, IPFSFault> {
        switch result {
        case .success(.pinStatus(let status)): .success(status)
        case .success: .success(.bug)
        case .failure(let failure): .failure(IPFSFault(failure.description))
        }
    }

    /// TRK-31: names and addresses of one's own IPFS daemon, as the last ping says them.
    private func decorated(_ info: PinInfo) -> PinInfo {
        var info = info
        info.short.peerName = settings.peerName
        info.short.ipfsPeer = ipfsID.id
        info.short.ipfsAddresses = (ipfsID.addresses ?? []).filter { $0.isDNS || $0.isGlobalUnicast }
        return info
    }

    /// TRK-45..48: everything here that matches.
    mutating func localStatusAll(_ filter: TrackerStatus, then: @escaping Then<Outcome<[PinInfo]>>) {
        guard Tracker.needsState(filter) else {
            return then(&self, .success(tracker.operations(matching: filter).map(decorated)))
        }
        guard Tracker.needsIPFS(filter) else { return then(&self, .success(listed(SortedMap(), filter))) }
        listIPFS { peer, outcome in
            switch outcome {
            case .failure(let failure): then(&peer, .failure(failure))
            case .success(let pinned): then(&peer, .success(peer.listed(pinned, filter)))
            }
        }
    }

    private func listed(_ pinned: SortedMap<CID, IPFSPinStatus>, _ filter: TrackerStatus) -> [PinInfo] {
        var infos: [PinInfo] = []
        eachPin { pin in
            if let info = tracker.listed(pin, ipfs: pinned[pin.cid], filter: filter) { infos.append(decorated(info)) }
        }
        return infos
    }

    /// All that IPFS pins. A listing that fails is a failure, never a shorter listing (T07).
    private mutating func listIPFS(then: @escaping Then<Outcome<SortedMap<CID, IPFSPinStatus>>>) {
        let listing = number()
        listings[listing] = SortedMap()
        askIPFS(.pinLs([.recursive, .direct])) { peer, item in
            if case .pinned(let cid, let status) = item { peer.listings[listing]?[cid] = status }
        } then: { peer, result in
            let found = peer.listings.removeValue(forKey: listing) ?? SortedMap()
            switch result {
            case .success: then(&peer, .success(found))
            case .failure(let failure):
                then(&peer, .failure(ClientFailure("could not get pinset from IPFS: \(failure.description)")))
            }
        }
    }

    // MARK: Everywhere

    /// CLU-20: allocated peers are asked; the others are `remote` without a question.
    mutating func globalStatus(
        _ cid: CID, method: RPCMethod, here: @escaping @Sendable (inout ClusterPeer, @escaping Then<PinInfo>) -> Void,
        then: @escaping Then<GlobalPinInfo>
    ) {
        let pin = storedPin(cid)
        let everyone = settings.isFollower ? [id] : members
        let isAsked = { (peer: PeerID) in pin.map { !$0.isRemote(for: peer) } ?? false }
        let asked = pin == nil ? [] : (settings.isFollower ? [id] : everyone.filter(isAsked))
        let others = everyone.filter { !asked.contains($0) }
        gather(asked) { cluster, peer, gather in
            if peer == cluster.id {
                here(&cluster) { $0.gathered(gather, from: peer, [.info($1)]) }
            } else {
                cluster.askForGather(
                    peer, gather, method, [cid.messagePack], within: ClusterPeer.broadcastTimeout, as: PinInfo.self
                ) { .info($0) }
            }
        } then: { cluster, answers in
            var global = GlobalPinInfo(cid: cid)
            for peer in others { global.add(cluster.quietInfo(cid, pin, peer)) }
            for answer in answers { if let info = cluster.info(from: answer, cid, pin) { global.add(info) } }
            then(&cluster, global)
        }
    }

    /// A peer that has nothing to do with the pin.
    private func quietInfo(_ cid: CID, _ pin: Pin?, _ peer: PeerID) -> PinInfo {
        var info = blankInfo(cid, pin, peer)
        info.short.status = pin.map { $0.type == .meta ? .sharded : .remote } ?? .unpinned
        return info
    }

    /// CLU-21: a peer that failed shows why; one that refuses us is left out.
    private func info(from answer: Gather.Answer, _ cid: CID, _ pin: Pin?) -> PinInfo? {
        if case .info(let info)? = answer.items.first { return info }
        if answer.failure?.type == .authorization { return nil }
        var info = blankInfo(cid, pin, answer.peer)
        info.short.status = .clusterError
        info.short.error = answer.failure?.message ?? "no answer"
        return info
    }

    private func blankInfo(_ cid: CID, _ pin: Pin?, _ peer: PeerID) -> PinInfo {
        var info = PinInfo(cid: cid, peer: peer)
        info.name = pin?.options.name ?? ""
        info.allocations = pin?.allocations ?? []
        info.origins = pin?.options.origins
        info.metadata = pin?.options.metadata
        info.created = pin?.timestamp ?? turn.now.wall
        info.short.timestamp = turn.now.wall
        let ping = monitor.latest("ping", of: peer).map { Informers.readPing($0.value) }
        info.short.peerName = peer == id ? settings.peerName : ping?.peerName ?? ""
        info.short.ipfsPeer = ping?.ipfs
        info.short.ipfsAddresses = ping?.addresses ?? []
        return info
    }

    /// CLU-23, CLU-25.
    mutating func globalStatusAll(_ filter: TrackerStatus, then: @escaping Then<Outcome<[GlobalPinInfo]>>) {
        gather(settings.isFollower ? [id] : members) { cluster, peer, gather in
            if peer == cluster.id {
                cluster.localStatusAll(filter) { cluster, outcome in
                    switch outcome {
                    case .success(let infos): cluster.gathered(gather, from: peer, infos.map { .info($0) })
                    case .failure(let failure):
                        cluster.gathered(gather, from: peer, [], failure: RPCFailure(.application, failure.message))
                    }
                }
            } else {
                cluster.askForGather(
                    peer, gather, RPCMethod("PinTracker", "StatusAll"), [filter.messagePack], as: PinInfo.self
                ) { .info($0) }
            }
        } then: { then(&$0, .success($0.merged($1, showingErrors: true))) }
    }

    /// One entry a CID; a peer that failed is a cluster_error in each.
    mutating func merged(_ answers: [Gather.Answer], showingErrors: Bool) -> [GlobalPinInfo] {
        var byCID = SortedMap<CID, GlobalPinInfo>()
        for answer in answers {
            for case .info(let info) in answer.items { byCID[info.cid, default: GlobalPinInfo(cid: info.cid)].add(info) }
        }
        for answer in answers where showingErrors && answer.failure != nil {
            for cid in byCID.keys {
                if let info = info(from: Gather.Answer(peer: answer.peer, items: [], failure: answer.failure), cid, storedPin(cid)) {
                    byCID[cid]?.add(info)
                }
            }
        }
        return byCID.values
    }

    // MARK: Recovering

    /// TRK-50: queues again what failed. The status after, and whether anything was done.
    mutating func localRecover(_ cid: CID, then: @escaping Then<(info: PinInfo, requeued: Bool)>) {
        localStatus(cid) { peer, info in
            let pin = peer.storedPin(cid)
            var requeued = false
            peer.withTracker { requeued = $0.recover(cid, in: info.short.status, pin: pin, now: $1, effects: &$2) }
            guard requeued else { return then(&peer, (info, false)) }
            peer.localStatus(cid) { then(&$0, ($1, true)) }
        }
    }

    /// TRK-49, failed unpins included, which upstream does not reach (TRK-48). What IPFS still pins although the cluster has
    /// removed it or given it to others, because this peer was away meanwhile, is unpinned.
    mutating func localRecoverAll(then: @escaping Then<Outcome<[PinInfo]>>) {
        listIPFS { peer, outcome in
            guard case .success(let pinned) = outcome else { return then(&peer, outcome.map { _ in [] }) }
            let infos = peer.listed(pinned, [.pinError, .unexpectedlyUnpinned])
            var requeued: [PinInfo] = []
            for info in infos + peer.tracker.operations(matching: .unpinError) {
                let pin = peer.storedPin(info.cid)
                var isQueued = false
                peer.withTracker { isQueued = $0.recover(info.cid, in: info.short.status, pin: pin, now: $1, effects: &$2) }
                guard isQueued, let now = peer.tracker.settledStatus(of: info.cid, pin: pin, now: peer.turn.now) else { continue }
                requeued.append(peer.decorated(now))
            }
            for (cid, _) in pinned { peer.dropLeftover(cid) }
            then(&peer, .success(requeued))
        }
    }

    mutating func dropLeftover(_ cid: CID) {
        guard !tracker.isBusy(with: cid), replica.isOpen else { return }
        if let pin = storedPin(cid) {
            if pin.isRemote(for: id) { withTracker { $0.track(pin, now: $1, effects: &$2) } }
        } else if (try? replica.hasRemoved(cid)) == true {
            withTracker { $0.untrack(cid, now: $1, effects: &$2) }
        }
    }
}
