// Where each machine's effects go, and each event.

import AutoNAT
import Crypto
import DHT
import DagList
import Exchange
import Gossip
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
    // MARK: Machines

    mutating func withReplica(_ body: (inout Replica, inout Turn, inout [Replica.Effect]) -> Void) {
        var effects: [Replica.Effect] = []
        let wasOpen = replica.isOpen
        body(&replica, &turn, &effects)
        act(for: nil) { $0.route(effects) }
        guard !wasOpen, replica.isOpen else { return }
        tellStore()
        // What came into the state with the log was told to nobody (seed 15354058).
        let wanted = exchange.wantedByOthers.filter { replica.has($0) }
        if !wanted.isEmpty { withExchange { $0.onBlocksAdded(wanted, blocks: $1, effects: &$3) } }
        // What a state that was made anew has lost or got back was told to nobody: it is compared with what IPFS pins (seed 116).
        if phase == .ready {
            abandon(.nobody)  // or one under way, of which nothing comes any more, would be taken for it (seed 184)
            loops.recoverAt = turn.now.monotonic
        }
        // IPFS has answered before.
        if loops.askIPFSAt != nil { loops.askIPFSAt = turn.now.monotonic }
    }
    mutating func withGossip(_ body: (inout Gossip, inout Turn, inout [Gossip.Effect]) -> Void) {
        var effects: [Gossip.Effect] = []
        body(&gossip, &turn, &effects)
        for effect in effects {
            switch effect {
            case .stream(let effect): emit(effect)
            case .deliver(let topic, let author, let data): onMessage(topic, author, data)
            case .exchanged(let others): for other in others { meet(other) }
            case .log(let line): turn.effects.append(.log(line))
            }
        }
    }
    /// Exchange looks blocks up in the replica while it works; neither is copied for it.
    mutating func withExchange(_ body: (inout Exchange, Exchange.Blocks, Now, inout [Exchange.Effect]) -> Void) {
        var effects: [Exchange.Effect] = []
        var machine = Exchange(settings: settings.exchange, owner: Owner.exchange)
        swap(&machine, &exchange)
        var damages: [(component: String, text: String)] = []
        var unreadable: LogError?
        body(&machine, { cid, look in
            do throws(LogError) {
                if look == .size { return (try replica.blockSize(cid) ?? ipfs.blockSize(cid)).map { .size($0) } }
                if let block = try replica.block(cid) { return .bytes(block) } } catch {
                damages.append(("crdt", "block \(cid) cannot be read: \(error)"))
                unreadable = unreadable ?? error
            }
            do throws(LogError) { return try ipfs.block(cid).map { .bytes($0) } } catch {
                damages.append(("embedded", "block \(cid) cannot be read: \(error)"))
                return nil
            }
        }, turn.now, &effects)
        swap(&machine, &exchange)
        for damage in damages { note(.error, damage.component, damage.text) }
        if let unreadable { mend(unreadable) }
        for effect in effects {
            switch effect {
            case .stream(let effect): emit(effect)
            case .received(let cid, let bytes, _):
                withReplica { $0.onBlock(cid, bytes, now: $1.now, effects: &$2) }
                withIPFS { $0.onBlock(cid, bytes, now: $1, effects: &$2) }
            case .log(let line): turn.effects.append(.log(line))
            }
        }
    }
    /// It tells others what the book knows of peers, and of this one.
    mutating func withDHT(_ body: (inout DHT, DHT.Addresses, inout Turn, inout [DHT.Effect]) -> Void) {
        var effects: [DHT.Effect] = []
        let (book, listening, me) = (book, listenAddresses, id)
        body(&dht, { $0 == me ? listening : book.addresses(of: $0) }, &turn, &effects)
        route(effects)
    }
    mutating func withWideDHT(_ body: (inout DHT, DHT.Addresses, inout Turn, inout [DHT.Effect]) -> Void) {
        var effects: [DHT.Effect] = []
        let (book, listening, me) = (book, listenAddresses, id)
        dht.swapRecords(with: &wideDHT)
        body(&wideDHT, { ($0 == me ? listening : book.addresses(of: $0)).filter(\.isPublic) }, &turn, &effects)
        dht.swapRecords(with: &wideDHT)
        route(effects)
    }
    mutating func withDHTs(_ body: (inout DHT, DHT.Addresses, inout Turn, inout [DHT.Effect]) -> Void) {
        withDHT(body)
        withWideDHT(body)
    }
    private mutating func route(_ effect: DHT.Effect) {
        switch effect {
        case .disk: break  // has gone
        case .stream(let effect): emit(effect)
        case .dial(let peer, let told):
            turn.effects.append(.connection(.dial(peer, told + book.addresses(of: peer).filter { !told.contains($0) })))
        case .found(let peer): retryStreams(to: peer)
        case .notFound(let peer): giveUp(peer)
        case .log(let line): turn.effects.append(.log(line))
        }
    }
    mutating func withAutoNAT(_ body: (inout AutoNAT, inout Turn, inout [AutoNAT.Effect]) -> Void) {
        var effects: [AutoNAT.Effect] = []
        body(&autoNAT, &turn, &effects)
        for effect in effects {
            switch effect {
            case .stream(let effect): emit(effect)
            case .dialBack(let number, let peer, let addresses): turn.effects.append(.connection(.dialBack(number, peer, addresses)))
            case .changed(let reachability): onReachability(reachability)
            case .log(let line): turn.effects.append(.log(line))
            }
        }
    }
    /// DHT-02, HOST-02, HOST-03: who can be reached serves the wide network's DHT, and who cannot is no judge of others.
    private mutating func onReachability(_ reachability: Reachability) {
        let text = switch reachability {
        case .open: "others can reach this peer at a public address: it serves the DHT of the wide network"
        case .closed: "others cannot reach this peer at a public address"
        case .unknown: "it is no longer known whether others can reach this peer at a public address"
        }
        note(.info, "autonat", text)
        withWideDHT { $0.serve(reachability == .open, effects: &$3) }
        let kept = ClusterPeer.protocols.filter { autoNAT.serves || $0 != AutoNAT.protocolID }
        turn.effects.append(.connection(.serve(kept + (reachability == .open ? DHT.wideProtocols : []))))
    }
    mutating func withRPC(_ body: (inout RPC, Now, inout [RPC.Effect]) -> Void) {
        var effects: [RPC.Effect] = []
        body(&rpc, turn.now, &effects)
        for effect in effects { route(effect) }
    }
    mutating func withIPFS(_ body: (inout IPFSNode, Now, inout [IPFSEffect]) -> Void) {
        var effects: [IPFSEffect] = []
        body(&ipfs, turn.now, &effects)
        route(effects)
    }
    mutating func withTracker(_ body: (inout Tracker, Now, inout [Tracker.Effect]) -> Void) {
        var effects: [Tracker.Effect] = []
        body(&tracker, turn.now, &effects)
        act(for: nil) { for effect in effects { $0.route(effect) } }
    }
    mutating func withInformers(_ body: (inout Informers, Now, inout [Informers.Effect]) -> Void) {
        var effects: [Informers.Effect] = []
        body(&informers, turn.now, &effects)
        act(for: nil) { for effect in effects { $0.route(effect) } }
    }

    /// What goes to the disk goes at once, in the order in which the machine placed it: what else it says may have it called again,
    /// and what it then appends comes behind (seed 6000527).
    mutating func route(_ effects: [Replica.Effect]) {
        for case .disk(let effect) in effects { turn.effects.append(.disk(effect)) }
        for effect in effects { route(effect) }
    }
    mutating func route(_ effects: [IPFSEffect]) {
        for case .disk(let effect) in effects { turn.effects.append(.disk(effect)) }
        for effect in effects { route(effect) }
    }

    mutating func route(_ effects: [DHT.Effect]) {
        for case .disk(let effect) in effects { turn.effects.append(.disk(effect)) }
        for effect in effects { route(effect) }
    }

    private mutating func route(_ effect: Replica.Effect) {
        switch effect {
        case .disk: break  // has gone
        case .job(let job): turn.effects.append(.job(job))
        case .want(let cids): withExchange { $0.want(cids, now: $2, effects: &$3) }
        case .unwant(let cids): withExchange { $0.cancel(cids, now: $2, effects: &$3) }
        case .fetch(let cids, let peer): withExchange { $0.want(cids, from: peer, now: $2, effects: &$3) }
        case .askForList(let peer, let cursor): askForList(peer, cursor)
        case .behind: seekList()
        case .announce(let payload):
            let topic = settings.replicaTopic
            withGossip { $0.publish(topic, payload, now: $1.now, choices: &$1.choices, effects: &$2) }
        case .finished(let id, let failure): writes.removeValue(forKey: id)?(&self, failure)
        case .changed(let key, let new): onChange(key, new)
        case .merged(let cid, let priority):
            withExchange { $0.onBlocksAdded([cid], blocks: $1, effects: &$3) }
            if priority.isMultiple(of: 50) { inform("crdt", "merged delta from node \(cid) (priority: \(priority))") }
        case .news(let news): inform("crdt", news.description)
        case .log(let line): turn.effects.append(.log(line))
        }
    }

    private mutating func route(_ effect: Tracker.Effect) {
        switch effect {
        case .pin(let work, let pin): askTrackerWork(work, .pin(pin))
        case .unpin(let work, let cid): askTrackerWork(work, .unpin(cid))
        case .cancel(let work):
            if let call = trackerCalls.removeValue(forKey: work) { cancel(.ipfs(call)) }
        }
    }

    private mutating func askTrackerWork(_ work: WorkID, _ operation: IPFSOperation) {
        let call = askIPFS(operation) { peer, result in
            peer.trackerCalls[work] = nil
            var failure: String?
            if case .failure(let reason) = result { failure = reason.description } else { peer.tellSurveys(operation) }
            peer.withTracker { $0.onDone(work, failure: failure, now: $1, effects: &$2) }
        }
        if ipfsCalls[call] != nil { trackerCalls[work] = call }  // what is pinned already is done at once
    }

    private mutating func route(_ effect: IPFSEffect) {
        switch effect {
        case .disk: break  // has gone
        case .exchange(let effect): turn.effects.append(.exchange(effect))
        case .item(let call, let item): if let pending = ipfsCalls[call], let each = pending.each { act(for: pending.asker) { each(&$0, item) } }
        case .finished(let call, let result): onAnswered(call, result)
        case .drained(let call):
            onDrained(.ipfs(call))
            onBlocksTaken(call)
        case .publishMetrics: withInformers { informers, now, _ in informers.publishAll(now: now) }
        case .succeeded(let what): inform("ipfshttp", what.description)
        case .log(let line): turn.effects.append(.log(line))
        case .want(let cids): withExchange { $0.want(cids, now: $2, effects: &$3) }
        case .unwant(let cids): withExchange { $0.cancel(cids, now: $2, effects: &$3) }
        case .stored(let cids): withExchange { $0.onBlocksAdded(cids, blocks: $1, effects: &$3) }
        }
    }

    private mutating func route(_ effect: Informers.Effect) {
        switch effect {
        case .publish(let metric): publish(metric)
        case .noFreeSpace: note(.warning, "diskinfo", "reported freespace is 0")
        case .needIPFSID:
            askIPFS(.id) { peer, result in
                if case .success(.id(let id)) = result { peer.ipfsID = id }
                let answer: IPFSID? = if case .success(.id(let id)) = result { id } else { nil }
                let pinset = peer.pinset
                peer.withInformers { $0.onIPFSID(answer, pinset: pinset, now: $1, effects: &$2) }
            }
        case .needRepoStat:
            askIPFS(.repoStat) { peer, result in
                let answer: IPFSRepoStat? = if case .success(.repoStat(let stat)) = result { stat } else { nil }
                peer.withInformers { $0.onRepoStat(answer, now: $1, effects: &$2) }
            }
        }
    }

    private mutating func publish(_ metric: Metric) {
        let payload = metric.messagePack
        withGossip { $0.publish(Monitor.topic, payload, now: $1.now, choices: &$1.choices, effects: &$2) }
    }

    // MARK: Topics

    private mutating func onMessage(_ topic: String, _ author: PeerID, _ data: Bytes) {
        if topic == Monitor.topic {
            if let metric = Monitor.decode(data) { onMetric(metric) }
        } else if author != id {  // what we announced ourselves is here already
            withReplica { $0.onAnnouncement(data, now: $1.now, choices: &$1.choices, effects: &$2) }
        }
    }

    // MARK: Streams

    /// Notes which directions of an inbound stream have ended, to forget it when both have.
    func ended(_ stream: InboundStream) -> Bool { stream.localEnded && stream.remoteEnded }

    mutating func emit(_ effect: StreamEffect) {
        let waits = hold(effect)
        if !waits { turn.effects.append(.stream(effect)) }
        traffic.onEffect(effect, now: turn.now.monotonic)
        switch effect {
        case .closeWrite(let id):
            inbound[id]?.localEnded = true
            if let stream = inbound[id], ended(stream) { inbound[id] = nil }
        case .reset(let id): inbound[id] = nil
        case .open, .send, .hold: break
        }
    }

    mutating func onStream(_ event: StreamEvent) {
        if seek(event) { return }
        let stream = event.stream
        traffic.onEvent(event, now: turn.now.monotonic)
        var owner = stream.owner
        if case .incoming(_, _, let proto) = event {
            owner = ClusterPeer.owner(of: proto)
            inbound[stream] = InboundStream(owner: owner)
        } else if owner == 0 {
            guard let known = inbound[stream] else { return }
            owner = known.owner
        }
        if case .remoteClosed = event { inbound[stream]?.remoteEnded = true }
        hand(event, to: owner)
        switch event {
        case .failed, .reset: inbound[stream] = nil
        default: if let known = inbound[stream], ended(known) { inbound[stream] = nil }
        }
    }

    private static func owner(of proto: String) -> UInt8 {
        if proto == RPC.protocolID { return Owner.rpc }
        if proto == DagList.protocolID { return Owner.dagList }
        if DHT.protocols.contains(proto) { return Owner.dht }
        if DHT.wideProtocols.contains(proto) { return Owner.wideDHT }
        if proto == AutoNAT.protocolID { return Owner.autoNAT }
        return Gossip.protocols.contains(proto) ? Owner.gossip : Owner.exchange
    }

    private mutating func hand(_ event: StreamEvent, to owner: UInt8) {
        switch owner {
        case Owner.rpc: withRPC { $0.onStream(event, now: $1, effects: &$2) }
        case Owner.gossip: withGossip { $0.onStream(event, now: $1.now, choices: &$1.choices, effects: &$2) }
        case Owner.wideDHT: withWideDHT { $0.onStream(event, addresses: $1, now: $2.now, effects: &$3) }
        case Owner.dht: withDHT { $0.onStream(event, addresses: $1, now: $2.now, effects: &$3) }
        case Owner.autoNAT: withAutoNAT { $0.onStream(event, now: $1.now, choices: &$1.choices, effects: &$2) }
        case Owner.dagList: withDagList { $0.onStream(event, blocks: $1, now: $2, effects: &$3) }
        case Owner.exchange: withExchange { $0.onStream(event, blocks: $1, now: $2, effects: &$3) }
        default: unreachable("a stream of nobody's, \(event.stream)")
        }
    }

    // MARK: Connections

    mutating func onConnection(_ event: ConnectionEvent) {
        switch event {
        case .connected(let peer, let address, let outbound):
            let isBack = book.onConnected(peer, address: address, outbound: outbound, now: turn.now)
            if isBack { inform("cluster", "reconnected to \(peer)") }
            tellPeers(after: peer)
            gossip.onConnected(peer, outbound: outbound)
            autoNAT.onConnected(peer, address: address, outbound: outbound, now: turn.now)
            withDHTs { $0.onConnected(peer, address: address, now: $2.now, effects: &$3) }
            tellNeighbours()
        case .introduced(let peer, let introduction):
            book.learn(peer, introduction.listenAddresses, now: turn.now)
            withDHTs { $0.onIntroduced(peer, introduction, now: $2.now, effects: &$3) }
            autoNAT.onIntroduced(peer, introduction)
            withGossip { $0.onIntroduced(peer, introduction, effects: &$2) }
            withExchange { $0.onIntroduced(peer, introduction, now: $2, effects: &$3) }
            dagList.onIntroduced(peer, introduction)
            // What was written while we were apart is there at once, not when its heads are announced again.
            if settings.trust.trusts(peer), dagList.speaks(peer) { withReplica { $0.catchUp(with: peer, effects: &$2) } }
            // A peer of upstream's that has just started connects before it can answer, and falls over the question.
            if dagList.speaks(peer) { learnPeers(of: peer) } else { loops.newcomers.append((peer, turn.now.monotonic + Self.newcomerPause)) }
            join(peer)
            // It can be allocated to, and allocate, once both sides have heard each other: not half a minute later. By then
            // the heartbeat has taken it into the mesh.
            loops.greetAt = loops.greetAt ?? turn.now.monotonic + settings.gossip.heartbeatInterval + .seconds(1)
        case .disconnected(let peer):
            book.onDisconnected(peer, now: turn.now, choices: &turn.choices)
            gossip.onDisconnected(peer)
            autoNAT.onDisconnected(peer)
            withDHTs { $0.onDisconnected(peer, now: $2.now, effects: &$3) }
            tellNeighbours()
            withExchange { $0.onDisconnected(peer, now: $2, effects: &$3) }
            withDagList { $0.onDisconnected(peer, effects: &$3) }
        case .dialFailed(let peer, let reason):
            book.onDialFailed(peer, now: turn.now)
            tellPeers(after: peer)
            withDHTs { $0.onDialFailed(peer, now: $2.now, effects: &$3) }
            note(.debug, "cluster", "dialling \(peer) failed: \(reason)")
            failJoin(peer, reason)
        case .listening(let addresses):
            listenAddresses = addresses
            autoNAT.onListening(addresses)
            withDHTs { machine, _, turn, _ in machine.onListening(now: turn.now) }
            tellNeighbours()
        case .found(let peer, let addresses): book.learn(peer, addresses, now: turn.now)
        case .dialledBack(let number, let address): withAutoNAT { $0.onDialledBack(number, address, now: $1.now, effects: &$2) }
        case .crowded(let peers):
            let dispensable = peers.compactMap { peer in worth(of: peer).map { PeerWorth(peer, $0) } }
            turn.effects.append(.connection(.trim(dispensable)))
        }
    }

    /// What the connections to a peer are worth when there are too many; nil if they are to be kept in any case (CM-02).
    private func worth(of peer: PeerID) -> Int? {
        if settings.trust.names(peer) || gossip.isMeshed(peer) || exchange.isTrading(with: peer, now: turn.now) { return nil }
        guard let near = dht.worth(of: peer), let wide = wideDHT.worth(of: peer) else { return nil }
        return gossip.worth(of: peer) + near + wide
    }

    /// The embedded node lives on the cluster's host: it has the same addresses and the same neighbours.
    private mutating func tellNeighbours() {
        let (addresses, peers) = (listenAddresses, book.connectedPeers)
        withIPFS { node, _, _ in node.onNeighbours(addresses: addresses, connected: peers) }
    }

    private static let newcomerPause = Span.seconds(5)

    /// Without a DHT, peers learn of each other from each other: whoever is new tells whom it knows (CLU-27, DHT-19).
    mutating func learnPeers(of peer: PeerID) {
        ask(peer, RPCMethod("Cluster", "ID"), [Nothing().messagePack], within: ClusterPeer.broadcastTimeout) { cluster, replies in
            guard let bytes = replies.values.first, let info = try? PeerInfo(messagePack: bytes) else { return }
            for address in info.clusterPeersAddresses ?? [] {
                if let other = address.peerID { cluster.book.learn(other, [address.withoutPeer], now: cluster.turn.now) }
            }
        }
    }
}

extension PeerSettings {
    /// CRDT-110: base58 of the MD5 multihash of the cluster's name.
    package var replicaTopic: String {
        Multibase.base58btc.encode(Multihash(code: HashCode.md5, digest: md5(Bytes(clusterName.utf8))).bytes)
    }
}
