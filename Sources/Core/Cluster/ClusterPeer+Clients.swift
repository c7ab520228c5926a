// The operations of the API. spec/rest-api.md section 6.

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
    static let shutdownRefusal = ClientFailure("the peer is shutting down")

    mutating func onClient(_ client: ClientID, _ request: ClientRequest) {
        guard phase == .awaitingIPFS || phase == .ready else {
            return reply(client, .failure(Self.shutdownRefusal))
        }
        guard replica.isOpen || !request.needsPinset else {
            return reply(client, .failure(Self.opening(replica)))
        }
        switch request {
        case .id: peerInfo { $0.reply(client, .success([.peer($1)])) }
        case .version: reply(client, .success([.version(settings.version)]))
        case .peers: allPeers { $0.reply(client, .success($1.map { .peer($0) })) }
        case .peerAdd(let peer): addPeer(peer) { $0.reply(client, $1.map { [.peer($0)] }) }
        case .peerRemove(let peer): removePeer(peer) { $0.reply(client, .failure($1)) }
        case .pin(let request): pin(request) { $0.reply(client, $1.map { [.pin($0)] }) }
        case .pinAll(let batch): writeAll(.pin(batch), client)
        case .unpinAll(let cids): writeAll(.unpin(cids), client)
        case .unpin(let cid): unpin(cid) { $0.reply(client, $1.map { [.pin($0)] }) }
        case .pinPath(let path): pinPath(path, client)
        case .unpinPath(let path): unpinPath(path, client)
        case .pinGet(let cid):
            do { reply(client, .success([.pin(try requiredPin(cid))])) } catch { reply(client, .failure(error)) }
        case .pins(let types): beginListing(client, types)
        case .status, .statuses, .statusAll, .recover, .recoverAll: onStatusRequest(client, request)
        case .metrics(let name): reply(client, .success([.metrics(monitor.latest(name, now: turn.now))]))
        case .metricNames: reply(client, .success([.names(monitor.names)]))
        case .alerts: reply(client, .success([.alerts(monitor.alertsNewestFirst)]))
        case .repoGC(let isLocal): collectGarbage(client, isLocal)
        case .add(let parameters): add(parameters, client)
        case .connectGraph: connectGraph { $0.reply(client, .success([.graph($1)])) }
        case .bandwidth: reply(client, .success([.bandwidth(traffic.report(at: turn.now.monotonic))]))
        }
    }

    mutating func reply(_ client: ClientID, _ outcome: Outcome<[ClientItem]>) {
        switch outcome {
        case .success(let items):
            for item in items { turn.effects.append(.reply(client, .item(item))) }
            turn.effects.append(.reply(client, .end))
        case .failure(let failure): turn.effects.append(.reply(client, .failed(failure)))
        }
    }

    // MARK: Paths

    private mutating func pinPath(_ path: PinPath, _ client: ClientID) {
        resolve(path.path) { cluster, outcome in
            switch outcome {
            case .failure(let failure): cluster.reply(client, .failure(failure))
            case .success(let cid):
                var request = Pin(cid: cid, options: path.options)
                request.maxDepth = path.options.mode.depth
                cluster.pin(request) { $0.reply(client, $1.map { [.pin($0)] }) }
            }
        }
    }

    private mutating func unpinPath(_ path: PinPath, _ client: ClientID) {
        resolve(path.path) { cluster, outcome in
            switch outcome {
            case .failure(let failure): cluster.reply(client, .failure(failure))
            case .success(let cid): cluster.unpin(cid) { $0.reply(client, $1.map { [.pin($0)] }) }
            }
        }
    }

    private mutating func resolve(_ path: String, then: @escaping Then<Outcome<CID>>) {
        askIPFS(.resolve(path)) { cluster, result in
            switch result {
            case .success(.resolved(let cid)): then(&cluster, .success(cid))
            case .success: then(&cluster, .failure(ClientFailure("IPFS did not resolve \(path)")))
            case .failure(let failure): then(&cluster, .failure(ClientFailure(failure.description)))
            }
        }
    }

    // MARK: Status

    private mutating func onStatusRequest(_ client: ClientID, _ request: ClientRequest) {
        switch request {
        case .status(let cid, let isLocal): status(cid, isLocal) { $0.reply(client, .success([.info($1)])) }
        case .statuses(let cids, let isLocal):
            inquiries[client] = Inquiry(isLocal: isLocal, rest: cids[...])
            inquire(client)
        case .statusAll(let filter, let isLocal): isLocal ? survey(.status(filter), for: .client(client)) : surveyAll(.status(filter), for: .client(client))
        case .recover(let cid, let isLocal): recover(cid, isLocal, client)
        case .recoverAll(let isLocal): isLocal ? survey(.recovery, for: .client(client)) : surveyAll(.recovery, for: .client(client))
        default: unreachable("no status request")
        }
    }

    private mutating func status(_ cid: CID, _ isLocal: Bool, then: @escaping Then<GlobalPinInfo>) {
        if isLocal { return localStatus(cid) { then(&$0, GlobalPinInfo($1)) } }
        globalStatus(cid, method: RPCMethod("PinTracker", "Status")) { $0.localStatus(cid, within: Self.broadcastTimeout, then: $1) } then: { then(&$0, $1) }
    }

    /// The statuses that a client asks for, each told when it is known (REST-056): one peer that hangs holds them up together, and not one
    /// after another.
    struct Inquiry: Sendable {
        let isLocal: Bool
        var rest: ArraySlice<CID>
        var underWay = 0
        static let underWayMax = 64
    }

    private mutating func inquire(_ client: ClientID) {
        while let inquiry = inquiries[client], inquiry.underWay < Inquiry.underWayMax, let cid = inquiry.rest.first {
            inquiries[client]?.rest.removeFirst()
            inquiries[client]?.underWay += 1
            status(cid, inquiry.isLocal) { cluster, info in
                guard cluster.inquiries[client] != nil else { return }
                cluster.turn.effects.append(.reply(client, .item(.info(info))))
                cluster.inquiries[client]?.underWay -= 1
                cluster.inquire(client)
            }
        }
        guard let inquiry = inquiries[client], inquiry.underWay == 0, inquiry.rest.isEmpty else { return }
        inquiries[client] = nil
        turn.effects.append(.reply(client, .end))
    }

    private mutating func recover(_ cid: CID, _ isLocal: Bool, _ client: ClientID) {
        if isLocal {
            return recoverHere(cid) { $0.reply(client, $1.map { [.info(GlobalPinInfo($0))] }) }
        }
        globalStatus(cid, method: RPCMethod("PinTracker", "Recover")) { $0.localRecover(cid, within: Self.broadcastTimeout, then: $1) } then: { $0.reply(client, .success([.info($1)])) }
    }

    // MARK: Peers

    /// CLU-27.
    mutating func peerInfo(within limit: Span? = nil, then: @escaping Then<PeerInfo>) {
        askIPFS(.id, within: limit) { cluster, result in
            var info = PeerInfo(id: cluster.id)
            // Who hides all of its addresses is still somebody.
            let shown = cluster.listenAddresses.isEmpty ? [Multiaddr(unchecked: [])] : cluster.listenAddresses
            info.addresses = shown.map { $0.with(peer: cluster.id) }
            info.clusterPeers = cluster.members
            info.clusterPeersAddresses = cluster.addressesOfMembers
            info.version = cluster.settings.version
            info.rpcProtocolVersion = RPC.protocolID
            info.peerName = cluster.settings.peerName
            info.pinset = cluster.pinset
            switch result {
            case .success(.id(let id)): info.ipfs = id
            case .success: break
            case .failure(let failure): info.ipfs.error = failure.description
            }
            then(&cluster, info)
        }
    }

    var pinset: PinsetSummary {
        PinsetSummary(digest: replica.digest.description, pins: replica.count, lastChange: replica.lastChange)
    }

    /// CLU-27, REST-159: of who is known by names, only those.
    private var addressesOfMembers: [Multiaddr] {
        members.filter { $0 != id }.flatMap { peer in
            let all = book.addresses(of: peer), named = all.filter(\.isDNS)
            return (named.isEmpty ? all : named).map { $0.with(peer: peer) }
        }
    }

    /// CLU-26: a peer that fails is there with its error; one that refuses us is left out.
    mutating func allPeers(then: @escaping Then<[PeerInfo]>) {
        gather(members) { cluster, peer, gather in
            if peer == cluster.id {
                cluster.peerInfo(within: ClusterPeer.broadcastTimeout) { $0.gathered(gather, from: peer, [.peer($1)]) }
            } else {
                cluster.askForGather(
                    peer, gather, RPCMethod("Cluster", "IDStream"), [], within: ClusterPeer.broadcastTimeout, as: PeerInfo.self
                ) { .peer($0) }
            }
        } then: { cluster, answers in
            then(&cluster, answers.compactMap { answer in
                if case .peer(let info)? = answer.items.first { return info }
                if answer.failure?.type == .authorization { return nil }
                var info = PeerInfo(id: answer.peer)
                info.error = answer.failure?.message ?? "no answer"
                return info
            })
        }
    }

    static let removalRefusal = ClientFailure("crdt consensus component cannot remove peers")
    /// REST-051, CRDT-107: its pins are allocated anew, and then it stays: members are those whose pings are heard.
    mutating func removePeer(_ peer: PeerID, then: @escaping Then<ClientFailure>) {
        vacate(peer) { cluster, _ in
            cluster.note(.error, "cluster", Self.removalRefusal.message)
            then(&cluster, Self.removalRefusal)
        }
    }

    /// CLU-45. Whoever is added sees the one that adds it.
    mutating func addPeer(_ peer: PeerID, then: @escaping Then<Outcome<PeerInfo>>) {
        inform("cluster", "Peer added \(peer)")
        if peer == id { return peerInfo { then(&$0, .success($1)) } }
        ask(peer, RPCMethod("Cluster", "ID"), [Nothing().messagePack], within: ClusterPeer.broadcastTimeout) { cluster, replies in
            guard let bytes = replies.values.first, var info = try? PeerInfo(messagePack: bytes) else {
                return then(&cluster, .failure(ClientFailure(replies.failure?.message ?? "\(peer) gave no readable answer")))
            }
            let seen = info.clusterPeers ?? []
            if !seen.contains(cluster.id) { info.clusterPeers = seen + [cluster.id] }
            then(&cluster, .success(info))
        }
    }

    private mutating func collectGarbage(_ client: ClientID, _ isLocal: Bool) {
        collectGarbage(of: isLocal ? [id] : members, for: .client(client)) { cluster, all in
            if isLocal, let failed = all.first, !failed.error.isEmpty { return cluster.reply(client, .failure(ClientFailure(failed.error))) }
            cluster.reply(client, .success([.garbage(all)]))
        }
    }
}

extension GlobalPinInfo {
    /// One peer's view, in the form of all.
    init(_ info: PinInfo) {
        self.init(cid: info.cid)
        add(info)
    }
}

extension ClientRequest {
    /// What cannot be answered while the pinset is read from the log.
    var needsPinset: Bool {
        switch self {
        case .id, .version, .peers, .peerAdd, .metrics, .metricNames, .alerts, .connectGraph, .bandwidth, .repoGC: false
        case .peerRemove, .pin, .pinAll, .unpinAll, .pinPath, .unpin, .unpinPath, .pinGet, .pins, .status, .statuses, .statusAll, .recover, .recoverAll, .add: true
        }
    }
}
