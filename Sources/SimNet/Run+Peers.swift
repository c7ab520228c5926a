// What clients are told of the peers: who they are, what they measure, whom they see, and what has passed between them.
// spec/tracker-allocator-monitor.md CLU-26..30, CLU-35, PSM-06; spec/rest-api.md REST-178..184.

import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams

extension Run {
    /// ANSWER: just when it is told.
    func judgePeers(_ item: ClientItem, _ asked: Asked) {
        guard let process = world.peers[asked.peer].process, let fault = fault(of: item, asked, process) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) \(fault)")
    }

    /// ANSWER: all are named, be it as those that do not answer (CLU-26).
    func judgeTold(_ asked: Asked) {
        guard case .peers = asked.request, asked.peer != outsider else { return }
        guard let missing = asked.members.first(where: { peer in !asked.told.contains(peer) && peer != outsider.map { world.peers[$0].id } }) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) leaves \(named(missing)) out of its peers")
    }

    // MARK: Who is to be removed

    /// What would be held too little without a peer, whoever else is alive (CLU-33). Nothing where nobody moves anything.
    func leaves(of peer: PeerID, askedOf index: Int) -> [Pin] {
        guard let process = world.peers[index].process, !process.peer.settings.isRepinningDisabled, !process.peer.settings.isFollower, !plan.spoilsDisks
        else { return [] }
        let (pending, now) = (process.machine.replica.pendingKeys, process.peer.clock.reading(world.now).wall + Run.answerMax)
        return pins(of: process.machine).filter { pin in
            guard let allocations = pin.allocations, allocations.contains(peer), pin.type != .meta, !pin.isPinnedEverywhere else { return false }
            return allocations.count - 1 < pin.options.replicationFactorMin && !pin.isExpired(at: now) && !pending.contains(pin.cid.stateKey)
        }
    }

    /// REPIN: nobody moves anything who is told not to (CLU-31, CLU-33). What was moved, and what cannot be, is logged.
    func noteMoved(_ line: LogLine, of index: Int) {
        guard line.component == "cluster", line.message.hasPrefix("repinn") else { return }
        if world.peers[index].settings.isRepinningDisabled, !line.message.hasPrefix("repinning is disabled") {
            return world.fail(.repin, "\(world.name(index)) is not to re-pin anything, and does: \(line.message)")
        }
        for (client, asked) in oracles.asked where asked.peer == index && !asked.leaves.isEmpty {
            oracles.asked[client]?.leaves.removeAll { line.message.contains($0.cid.description) }
        }
    }

    /// ANSWER: all of that is done when the answer comes.
    func judgeLeft(_ asked: Asked) {
        guard case .peerRemove(let peer) = asked.request, let process = world.peers[asked.peer].process, process.machine.isReady else { return }
        oracles.judged += asked.leaves.count
        let pending = process.machine.replica.pendingKeys
        guard let left = asked.leaves.first(where: { pin in
            !pending.contains(pin.cid.stateKey) && (try? process.machine.readPin(pin.cid)).map { $0.allocations == pin.allocations && $0.timestamp == pin.timestamp } ?? false
        }) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) is done with moving off \(named(peer)) what that holds, and has left \(left.cid)")
    }

    private func fault(of item: ClientItem, _ asked: Asked, _ process: Process) -> String? {
        switch (item, asked.request) {
        case (.version(let version), .version): version == process.peer.settings.version ? nil : "says that it is version \(version)"
        case (.peer(let info), .id): faultOfOwn(info, process)
        case (.peer(let info), .peers): fault(of: info)
        case (.peer(let info), .peerAdd(let peer)):
            if info.id != peer { "has added \(named(peer)), and tells of \(named(info.id))" } else
            if !(info.clusterPeers ?? []).contains(process.peer.id), peer != process.peer.id { "adds \(named(peer)), which is not to know it" } else { fault(of: info) }
        case (.metrics(let metrics), .metrics(let name)): faultOfMetrics(metrics, name, process)
        case (.names(let names), .metricNames): faultOfNames(names, process)
        case (.alerts(let alerts), .alerts): faultOfAlerts(alerts, process)
        case (.graph(let graph), .connectGraph): faultOfGraph(graph, asked, process)
        case (.bandwidth(let all), .bandwidth): faultOfBandwidth(all, process)
        case (.garbage(let all), .repoGC(let isLocal)): faultOfGarbage(all, isLocal ? [process.peer.id] : asked.members, asked)
        default: nil
        }
    }

    // MARK: Who they are

    /// The IPFS node of a peer, and where it is.
    func daemon(of peer: SimPeer) -> PeerID { options.isEmbedded ? peer.id : peer.ipfs.id }
    func daemonAddresses(of peer: SimPeer) -> [Multiaddr] { options.isEmbedded ? [Multiaddr.simulated(peer.index).with(peer: peer.id)] : peer.ipfs.addresses }

    private func fault(of info: PeerInfo) -> String? {
        oracles.judged += 1
        guard let peer = world.indexes[info.id].map({ world.peers[$0] }), info.error.isEmpty else { return nil }
        if info.peerName != peer.settings.peerName { return "calls \(world.name(peer.index)) \(info.peerName)" }
        if info.version != peer.settings.version || info.rpcProtocolVersion != RPC.protocolID { return "says that \(world.name(peer.index)) is version \(info.version) and speaks \(info.rpcProtocolVersion)" }
        let addresses = info.addresses ?? []
        if addresses.isEmpty || addresses.contains(where: { $0.peerID != peer.id }) { return "says that \(world.name(peer.index)) listens at \(addresses)" }
        if info.ipfs.error.isEmpty != (info.ipfs.id != nil) { return "tells of a daemon of \(world.name(peer.index)) that has \(info.ipfs.id == nil ? "neither a name nor" : "a name and") an error" }
        guard let named = info.ipfs.id else { return nil }
        if named != daemon(of: peer) { return "names another daemon for \(world.name(peer.index))" }
        return info.ipfs.addresses == daemonAddresses(of: peer) ? nil : "names other addresses of the daemon of \(world.name(peer.index))"
    }

    /// Of itself it knows more.
    private func faultOfOwn(_ info: PeerInfo, _ process: Process) -> String? {
        if info.id != process.peer.id { return "calls itself \(named(info.id))" }
        if !info.error.isEmpty { return "says of itself that it fails: \(info.error)" }
        let members = process.machine.members
        if (info.clusterPeers ?? []).sorted() != members.sorted() { return "tells of \((info.clusterPeers ?? []).map(named)) as members, and sees \(members.map(named))" }
        if let stranger = (info.clusterPeersAddresses ?? []).first(where: { $0.peerID.map { !members.contains($0) || $0 == process.peer.id } ?? true }) { return "names \(stranger) as the address of a member" }
        let replica = process.machine.replica
        if let pinset = info.pinset, pinset.pins != replica.count || pinset.digest != replica.digest.description { return "says that it has \(pinset.pins) pins of digest \(pinset.digest), and has others" }
        return fault(of: info)
    }

    // MARK: What they measure

    /// PSM-06: the newest that counts, of everybody who was heard.
    private func faultOfMetrics(_ metrics: [Metric], _ name: String, _ process: Process) -> String? {
        let now = process.peer.clock.reading(world.now).wall
        var told = SortedMap<PeerID, Metric>()
        for metric in metrics {
            oracles.judged += 1
            if metric.name != name { return "tells \(metric.name) of \(named(metric.peer)), asked for \(name)" }
            if told[metric.peer] != nil { return "tells the \(name) of \(named(metric.peer)) twice" }
            if !metric.isValid || metric.expire < now.unixNanoseconds { return "tells the \(name) of \(named(metric.peer)), which does not count any more" }
            told[metric.peer] = metric
        }
        for peer in world.peers {
            let heard = process.machine.monitor.latest(name, of: peer.id).flatMap { $0.isValid && $0.expire >= now.unixNanoseconds ? $0 : nil }
            if told[peer.id] != heard { return "\(told[peer.id] == nil ? "leaves out" : "tells another one than") the \(name) of \(world.name(peer.index)) that it has heard" }
        }
        return nil
    }

    private func faultOfNames(_ names: [String], _ process: Process) -> String? {
        oracles.judged += 1
        if Set(names).count != names.count { return "names a metric twice: \(names)" }
        let informers = process.peer.settings.informers
        let own = ["ping"] + (informers.disk.map { [$0.metric.rawValue] } ?? []) + (informers.tags?.tags.map { "tag:" + $0.name } ?? []) + (informers.pinQueue == nil ? [] : ["pinqueue"])
        return own.first { name in !names.contains(name) && world.peers.contains { process.machine.monitor.latest(name, of: $0.id) != nil } }
            .map { "leaves out the name of a metric that it has heard: \($0)" }
    }

    /// CLU-30: newest first, each of what had run out.
    private func faultOfAlerts(_ alerts: [Alert], _ process: Process) -> String? {
        guard !plan.has(.clock) else { return nil }
        let now = process.peer.clock.reading(world.now).wall
        for (place, alert) in alerts.enumerated() {
            oracles.judged += 1
            if alert.metric.expire > alert.triggeredAt.unixNanoseconds { return "tells of an alert for the \(alert.metric.name) of \(named(alert.metric.peer)) before it had run out" }
            if alert.triggeredAt > (place > 0 ? alerts[place - 1].triggeredAt : now) { return "tells of an older alert before a newer one" }
        }
        return nil
    }

    // MARK: Whom they see

    /// CLU-35, REST-183.
    private func faultOfGraph(_ graph: ConnectGraph, _ asked: Asked, _ process: Process) -> String? {
        oracles.judged += graph.clusterLinks.count
        if graph.clusterID != process.peer.id { return "draws the graph of \(named(graph.clusterID))" }
        // Whoever sees nobody answers in the same step.
        let members = asked.members.isEmpty ? process.machine.members : asked.members
        if graph.clusterLinks.keys != members.sorted() || graph.trustLinks.keys != graph.clusterLinks.keys {
            return "draws \(graph.clusterLinks.keys.map(named)) as members, and saw \(members.map(named))"
        }
        let daemons = Set(world.peers.map(daemon))
        for (peer, links) in graph.clusterLinks {
            if links.contains(peer) || Set(links).count != links.count { return "draws \(named(peer)) as linked to \(links.map(named))" }
            if let gone = links.first(where: { world.indexes[$0].flatMap { oracles.downSince[$0] }.map { $0 < asked.at } ?? false }) { return "draws a link from \(named(peer)) to \(named(gone)), which is down" }
            if graph.trustLinks[peer] != process.peer.settings.trust.trusts(peer) { return "draws \(named(peer)) as \(graph.trustLinks[peer] == true ? "" : "not ")trusted" }
            guard let other = world.indexes[peer].map({ world.peers[$0] }) else { continue }
            if let name = graph.peerNames[peer], !name.isEmpty, name != other.settings.peerName { return "calls \(world.name(other.index)) \(name) in its graph" }
            guard let named = graph.clusterToIPFS[peer] else { continue }
            if named != daemon(of: other) { return "draws another daemon beside \(world.name(other.index))" }
            guard let seen = graph.ipfsLinks[named] else { return "does not draw whom the daemon of \(world.name(other.index)) sees" }
            if !seen.allSatisfy(daemons.contains) || seen.contains(named) { return "draws links of the daemon of \(world.name(other.index)) to \(seen)" }
        }
        return nil
    }

    // MARK: What passed

    /// REST-178: of this life.
    private func faultOfBandwidth(_ all: [ProtocolBandwidth], _ process: Process) -> String? {
        oracles.judged += 1
        if Set(all.map(\.name)).count != all.count { return "tells the bandwidth of a protocol twice" }
        if let one = all.first(where: { $0.totalIn < 0 || $0.totalOut < 0 || $0.rateIn < 0 || $0.rateOut < 0 || $0.rateIn > Double($0.totalIn) || $0.rateOut > Double($0.totalOut) }) { return "tells a bandwidth that cannot be: \(one)" }
        guard let log = lifeLogs[process.index], log.life == process.peer.lives else { return nil }
        let (inward, outward) = all.reduce(into: (Int64(0), Int64(0))) { $0 = ($0.0 + $1.totalIn, $0.1 + $1.totalOut) }
        if inward != log.received { return "says that it has received \(inward) bytes, and has received \(log.received)" }
        return outward <= log.sent ? nil : "says that it has sent \(outward) bytes, and has sent \(log.sent)"
    }

    /// REST-180.
    private func faultOfGarbage(_ all: [RepoGC], _ members: [PeerID], _ asked: Asked) -> String? {
        for one in all {
            oracles.judged += 1
            guard let other = world.indexes[one.peer] else { continue }
            if one.error.contains(Run.refusal) { return "tells of \(world.name(other)), which has refused to collect its garbage for it" }
            let mayBeUnknown = !one.error.isEmpty && one.peerName.isEmpty
            if one.peerName != world.peers[other].settings.peerName, !mayBeUnknown { return "calls \(world.name(other)) \(one.peerName), which has collected its garbage" }
            guard one.error.isEmpty, !options.isEmbedded, other != outsider else { continue }
            let told = world.peers[other].ipfs.collections.last { $0.at >= asked.at && $0.garbage == one.keys }
            if told == nil { return "tells that the daemon of \(world.name(other)) has removed \(one.keys), which it has not" }
        }
        if Set(all.map(\.peer)).count != all.count { return "tells twice what one peer has collected" }
        let missing = members.first { peer in peer != outsider.map { world.peers[$0].id } && !all.contains { $0.peer == peer } }
        return asked.peer == outsider ? nil : missing.map { "does not tell what \(named($0)) has collected" }
    }

    // MARK: At rest

    /// ANSWER: everybody is there, and sees all whom it is connected to.
    func askAround() {
        for index in Set([present.first, present.last { $0 != outsider }].compactMap { $0 }).sorted() where world.failure == nil {
            let others = present.filter { $0 != outsider }
            let sound = Set(others.flatMap { one in others.compactMap { $0 > one ? world.network.connection(one, $0) : nil } }.filter { $0.isAlive && !$0.isVoid }.map(\.number))
            var infos: [PeerInfo] = [], graph: ConnectGraph?, pings: [Metric] = [], open = 0
            for (kind, request) in [(OperationKind.peers, ClientRequest.peers), (.graph, .connectGraph), (.metrics, .metrics(name: "ping")), (.metricNames, .metricNames), (.bandwidth, .bandwidth), (.id, .id), (.alerts, .alerts)] {
                open += 1
                ask(index, Operation(number: 0, at: .zero, peers: [index], kind: kind), request) { reply in
                    switch reply {
                    case .item(.peer(let info)) where kind == .peers: infos.append(info)
                    case .item(.graph(let drawn)): graph = drawn
                    case .item(.metrics(let metrics)): pings = metrics
                    case .end, .failed: open -= 1
                    default: break
                    }
                }
            }
            _ = world.run(until: { _ in open == 0 }, within: .minutes(1), every: .milliseconds(100))
            if open > 0 { return world.fail(.live, "\(world.name(index)) does not answer questions for its peers") }
            for other in others where world.failure == nil && see(index, other, sound) { judgeSeen(other, by: index, infos, graph, pings, others, sound) }
        }
    }

    private func see(_ one: Int, _ other: Int, _ sound: Set<UInt64>) -> Bool { one == other || world.network.connection(one, other).map { sound.contains($0.number) && $0.isAlive } ?? false }

    private func judgeSeen(_ other: Int, by index: Int, _ infos: [PeerInfo], _ graph: ConnectGraph?, _ pings: [Metric], _ others: [Int], _ sound: Set<UInt64>) {
        oracles.judged += 1
        let peer = world.peers[other], ids = others.map { world.peers[$0].id }
        func fail(_ text: String) { world.fail(.answer, "\(world.name(index)) \(text), at rest") }
        guard let info = infos.first(where: { $0.id == peer.id }) else { return fail("leaves \(world.name(other)) out of its peers") }
        if !info.error.isEmpty || !info.ipfs.error.isEmpty { return fail("says that \(world.name(other)) fails: \(info.error) \(info.ipfs.error)") }
        if !ids.allSatisfy((info.clusterPeers ?? []).contains) { return fail("says that \(world.name(other)) sees \((info.clusterPeers ?? []).map(named))") }
        if !plan.has(.clock), !pings.contains(where: { $0.peer == peer.id }) { return fail("has no ping of \(world.name(other))") }
        guard let links = graph?.clusterLinks[peer.id] else { return fail("leaves \(world.name(other)) out of its graph") }
        if let missing = others.first(where: { $0 != other && see(other, $0, sound) && !links.contains(world.peers[$0].id) }) { return fail("draws no link from \(world.name(other)) to \(world.name(missing))") }
        if graph?.peerNames[peer.id] != peer.settings.peerName { return fail("draws \(world.name(other)) without a name") }
        if graph?.clusterToIPFS[peer.id] == nil { return fail("draws no daemon beside \(world.name(other))") }
        if options.isEmbedded, let seen = graph?.ipfsLinks[peer.id] {
            if let missing = others.first(where: { $0 != other && see(other, $0, sound) && !seen.contains(world.peers[$0].id) }) { return fail("draws no link from the node of \(world.name(other)) to \(world.name(missing))") }
            if let gone = seen.first(where: { world.indexes[$0].map { world.network.connection(other, $0) == nil } ?? true }) { return fail("draws a link from the node of \(world.name(other)) to \(named(gone)), which it has no connection to") }
        }
        if !options.isEmbedded, let seen = graph?.ipfsLinks[peer.ipfs.id], seen.sorted() != peer.ipfs.neighbours.elements { fail("draws \(seen.count) links of the daemon of \(world.name(other)), which has \(peer.ipfs.neighbours.count)") }
    }
}
