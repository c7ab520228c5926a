// Status and recover of one pin, here and on all peers. spec/tracker-allocator-monitor.md TRK-44..50, CLU-20..22.

import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams
import Storage
import Tracking

extension ClusterPeer {
    static let broadcastTimeout = Span.seconds(15)  // RPC-21

    /// Who is in the cluster: everyone whose ping counts, and oneself (CRDT-125).
    package var members: [PeerID] {
        SortedSet(monitor.peers(with: settings.peersetMetric, now: turn.now) + [id]).elements
    }

    // MARK: Here

    /// TRK-44: what this peer says of one CID.
    mutating func localStatus(_ cid: CID, within limit: Span? = nil, then: @escaping Then<PinInfo>) {
        let pin: Pin?
        do { pin = try knownPin(cid) } catch { return then(&self, unread(cid, error)) }
        if let info = tracker.settledStatus(of: cid, pin: pin, now: turn.now) { return then(&self, decorated(info)) }
        guard let pin else { unreachable("what is not pinned has a settled status") }
        askIPFS(.pinLsCid(pin), within: limit) { peer, result in
            // The world may have moved on while IPFS was asked: what the tracker knows now comes first.
            let current: Pin?
            do throws(ClientFailure) { current = try peer.knownPin(cid) } catch { return then(&peer, peer.unread(cid, error)) }
            let settled = peer.tracker.settledStatus(of: cid, pin: current, now: peer.turn.now)
            // It was asked for a mode that the pin no longer has (seed 7001432).
            if settled == nil, let current, current.maxDepth != pin.maxDepth { return peer.localStatus(cid, within: limit, then: then) }
            let info = settled ?? peer.tracker.status(of: current ?? pin, ipfs: ClusterPeer.pinStatus(result))
            then(&peer, peer.decorated(peer.queued(info, try? peer.replica.address(of: cid))))
        }
    }

    /// Where the pinset cannot be read, only what is being worked on is known; not that there is no such pin.
    private func unread(_ cid: CID, _ failure: ClientFailure) -> PinInfo {
        if let info = tracker.settledStatus(of: cid, pin: nil, now: turn.now), info.short.status != .unpinned { return decorated(info) }
        var info = blankInfo(cid, nil, id)
        (info.short.status, info.short.error) = (.clusterError, failure.message)
        return decorated(info)
    }

    /// What the tracker has not been told of yet, for there is much of it, waits for it in the log.
    func queued(_ info: PinInfo, _ address: LogAddress?) -> PinInfo {
        guard info.short.status == .unexpectedlyUnpinned, let address, replica.isUntold(address) else { return info }
        var info = info
        (info.short.status, info.short.error) = (.pinQueued, "")
        return info
    }

    private static func pinStatus(_ result: Result<IPFSAnswer, IPFSFailure>) -> Result<IPFSPinStatus, IPFSFault> {
        switch result {
        case .success(.pinStatus(let status)): .success(status)
        case .success: .success(.bug)
        case .failure(let failure): .failure(IPFSFault(failure.description))
        }
    }

    /// TRK-31: names and addresses of one's own IPFS daemon, as the last ping says them.
    func decorated(_ info: PinInfo) -> PinInfo { signature.under(info) }

    /// What each of this peer's statuses says of the peer. Those who tell of many make it once.
    struct Signature: Sendable {
        let peerName: String
        let ipfsPeer: PeerID?
        let ipfsAddresses: [Multiaddr]

        func under(_ info: PinInfo) -> PinInfo {
            var info = info
            (info.short.peerName, info.short.ipfsPeer, info.short.ipfsAddresses) = (peerName, ipfsPeer, ipfsAddresses)
            return info
        }
    }
    var signature: Signature {
        Signature(
            peerName: settings.peerName, ipfsPeer: ipfsID.id,
            ipfsAddresses: (ipfsID.addresses ?? []).filter { $0.isDNS || $0.isGlobalUnicast })
    }

    // MARK: Everywhere

    /// CLU-20: allocated peers are asked, whether they are members or have gone silent; other members are `remote` without a question.
    mutating func globalStatus(
        _ cid: CID, method: RPCMethod, here: @escaping @Sendable (inout ClusterPeer, @escaping Then<PinInfo>) -> Void,
        then: @escaping Then<GlobalPinInfo>
    ) {
        let everyone = settings.isFollower ? [id] : members
        let pin: Pin?
        do { pin = try knownPin(cid) } catch {
            var global = GlobalPinInfo(cid: cid)
            global.add(unread(cid, error))
            for peer in everyone where peer != id {
                if let info = failed(peer, RPCFailure(.application, error.message), cid, nil) { global.add(info) }
            }
            return then(&self, global)
        }
        let holders = pin.map { $0.isPinnedEverywhere ? everyone : $0.allocations ?? [] } ?? []
        let asked = pin != nil && settings.isFollower ? [id] : holders
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
            for answer in answers {
                if case .info(let info)? = answer.items.first { global.add(info) } else if let info = cluster.failed(answer.peer, answer.failure, cid, pin) {
                    global.add(info)
                }
            }
            // As upstream: of a pin that nobody has a word about, the name alone is told.
            if let pin, global.peers.allSatisfy({ $0.value.status == .clusterError }) {
                let peers = global.peers
                global = GlobalPinInfo(cid: cid)
                (global.name, global.peers) = (pin.options.name, peers)
            }
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
    func failed(_ peer: PeerID, _ failure: RPCFailure?, _ cid: CID, _ pin: Pin?) -> PinInfo? {
        if failure?.type == .authorization { return nil }
        var info = blankInfo(cid, pin, peer)
        info.short.status = .clusterError
        info.short.error = failure?.message ?? "no answer"
        return info
    }

    func blankInfo(_ cid: CID, _ pin: Pin?, _ peer: PeerID) -> PinInfo {
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

    // MARK: Recovering

    /// TRK-50: queues again what failed. The status after.
    mutating func localRecover(_ cid: CID, within limit: Span? = nil, then: @escaping Then<PinInfo>) {
        localStatus(cid, within: limit) { peer, info in
            let pin = peer.storedPin(cid)
            let isQueued = peer.restart(cid, in: info.short.status, pin)
            if isQueued { peer.localStatus(cid, within: limit, then: then) } else { then(&peer, info) }
        }
    }

    /// RPC-E20: where it is content in shards, these are recovered first. The status of the content itself, after.
    mutating func recoverHere(_ cid: CID, then: @escaping Then<Outcome<PinInfo>>) {
        let pin: Pin
        do { pin = try requiredPin(cid) } catch { return then(&self, .failure(error)) }
        guard pin.type == .meta else { return recoverHere([cid][...], then: then) }
        parts(of: pin) { cluster, parts in
            switch parts {
            case .success(let cids): cluster.recoverHere((cids + [cid])[...], then: then)
            case .failure(let failure): then(&cluster, .failure(failure))
            }
        }
    }
    private mutating func recoverHere(_ cids: ArraySlice<CID>, then: @escaping Then<Outcome<PinInfo>>) {
        guard let cid = cids.first else { return }
        localRecover(cid) { cluster, info in
            if cids.count == 1 { then(&cluster, .success(info)) } else { cluster.recoverHere(cids.dropFirst(), then: then) }
        }
    }

    /// TRK-49. Whether there was anything to be queued again.
    mutating func restart(_ cid: CID, in status: TrackerStatus, _ pin: Pin?) -> Bool {
        var isQueued = false
        withTracker { isQueued = $0.recover(cid, in: status, pin: pin, now: $1, effects: &$2) }
        if isQueued { inform("pintracker", "Restarting \(status == .unpinError ? "unpin" : "pin") operation for \(cid)") }
        return isQueued
    }

    /// What IPFS pins and the cluster has removed, or given to others, while this peer was away.
    mutating func dropLeftover(_ cid: CID) {
        guard !tracker.isBusy(with: cid), replica.isOpen else { return }
        if let pin = storedPin(cid) {
            if pin.isRemote(for: id) { withTracker { $0.track(pin, now: $1, effects: &$2) } }
        } else {
            do throws(LogError) { if try !replica.hasRemoved(cid) { return } } catch { return mend(error) }
            withTracker { $0.untrack(cid, now: $1, effects: &$2) }
        }
    }
}
