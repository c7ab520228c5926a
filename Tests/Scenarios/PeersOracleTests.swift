// What is judged of the answers that tell of peers can be wrong: each in one thing, and the oracle says so.

import Cluster
import Kernel
import Monitoring
import Multiformats
import Pinset
import Seams
@testable import SimNet
import Testing

@Suite struct PeersOracleTests {
    /// Asks p0, and judges the answer once more with something changed.
    private func judge(_ request: ClientRequest, in rest: Rest, _ change: @escaping (inout ClientItem) -> Void) throws {
        var client = ClientID(0), isAsked = false
        client = rest.run.ask(0, Operation(number: 1, at: .zero, peers: [0], kind: .peers), request) { [run = rest.run] reply in
            guard case .item(var item) = reply, !isAsked, run.world.failure == nil, let asked = run.oracles.asked[client] else { return }
            isAsked = true
            run.judgePeers(item, asked)
            #expect(run.world.failure == nil)
            change(&item)
            run.judgePeers(item, asked)
        }
        rest.world.run(for: .seconds(20))
        #expect(isAsked)
    }

    @Test(arguments: [
        "nothing", "id", "name", "version", "protocol", "no addresses", "another's address", "no daemon", "another daemon", "daemon's address", "error", "members", "members' address", "pins", "digest",
    ])
    func eachFieldOfAPeer(what: String) throws {
        let rest = try Rest(), other = rest.world.peers[1]
        try judge(.id, in: rest) { item in
            guard case .peer(var info) = item else { return }
            switch what {
            case "id": info.id = other.id
            case "name": info.peerName = "p1"
            case "version": info.version += "x"
            case "protocol": info.rpcProtocolVersion = ""
            case "no addresses": info.addresses = nil
            case "another's address": info.addresses = [Multiaddr.simulated(1).with(peer: other.id)]
            case "no daemon": info.ipfs.id = nil
            case "another daemon": info.ipfs.id = other.ipfs.id
            case "daemon's address": info.ipfs.addresses = Array(info.ipfs.addresses?.dropLast() ?? [])
            case "error": info.error = "it fails"
            case "members": info.clusterPeers = Array(info.clusterPeers?.dropFirst() ?? [])
            case "members' address": info.clusterPeersAddresses = [Multiaddr.simulated(7).with(peer: SimPeer.identity(77, rest.world.tape))]
            case "pins": info.pinset?.pins += 1
            case "digest": info.pinset?.digest = "0"
            default: break
            }
            item = .peer(info)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    /// CLU-33: it holds all of c3 with none to spare, of c1 and c2 with p1 left.
    @Test(arguments: ["all", "one is logged", "none"]) func whatStaysOnWhoIsToBeRemoved(what: String) throws {
        let rest = try Rest("at 5s p0 pin c1 min=1 max=2 alloc=p1+p2\nat 6s p0 pin c2 min=-1 max=-1\nat 8s p1 pin c3 min=2 max=2 alloc=p1+p2\nat 9s p1 pin c4 min=1 max=1 alloc=p2")
        let leaver = rest.world.peers[2].id, contents = (3...4).compactMap(rest.run.content)
        var asked = Asked(peer: 0, at: rest.world.now, request: .peerRemove(leaver))
        asked.leaves = rest.run.leaves(of: leaver, askedOf: 0)
        #expect(Set(asked.leaves.map(\.cid)) == Set(contents))
        let client = ClientID(1 << 40)
        rest.run.oracles.asked[client] = asked
        if what != "none" { rest.run.noteMoved(LogLine(.warning, "cluster", "repinning \(contents[0]): not enough peers"), of: 0) }
        if what == "all" { rest.run.noteMoved(LogLine(.info, "cluster", "repinned \(contents[1]) out of \(leaver)"), of: 0) }
        rest.run.judgeLeft(try #require(rest.run.oracles.asked[client]))
        if what == "all" { #expect(rest.world.failure == nil) } else { rest.expect(.answer, "is done with moving off p2 what that holds, and has left") }
    }

    @Test(arguments: ["", " healers-off=repin"]) func whoRepinsThoughItIsNotTo(options: String) throws {
        let rest = try Rest(options: options)
        rest.run.noteMoved(LogLine(.warning, "cluster", "repinning is disabled. Will not re-allocate cids from p2"), of: 0)
        rest.run.noteMoved(LogLine(.info, "consensus", "repinned"), of: 0)
        #expect(rest.world.failure == nil)
        rest.run.noteMoved(LogLine(.info, "cluster", "repinned \(OracleTests.blockCID) out of p2"), of: 0)
        if options.isEmpty { #expect(rest.world.failure == nil) } else { rest.expect(.repin, "p0 is not to re-pin anything, and does") }
    }

    @Test(arguments: ["nothing", "left out", "twice", "another's name", "expired", "invalid", "another value"]) func metrics(what: String) throws {
        let rest = try Rest()
        try judge(.metrics(name: "ping"), in: rest) { item in
            guard case .metrics(var metrics) = item, metrics.count == 3 else { return item = .metrics([]) }
            switch what {
            case "left out": metrics.removeFirst()
            case "twice": metrics.append(metrics[0])
            case "another's name": metrics[0].name = "freespace"
            case "expired": metrics[0].expire = 1
            case "invalid": metrics[0].isValid = false
            case "another value": metrics[0].value = "{}"
            default: break
            }
            item = .metrics(metrics)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "left out", "twice"]) func metricNames(what: String) throws {
        let rest = try Rest()
        try judge(.metricNames, in: rest) { item in
            guard case .names(let names) = item else { return }
            if what != "nothing" { item = .names(what == "twice" ? names + ["ping"] : names.filter { $0 != "ping" }) }
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "too early", "oldest first", "of tomorrow"]) func alerts(what: String) throws {
        let rest = try Rest()
        rest.world.crash(2)
        rest.world.run(for: .minutes(2))
        try judge(.alerts, in: rest) { item in
            guard case .alerts(var alerts) = item, let first = alerts.first else { return item = .alerts([]) }
            switch what {
            case "too early": alerts[0].metric.expire = first.triggeredAt.unixNanoseconds + 1
            case "oldest first":
                alerts.append(first)
                alerts[alerts.count - 1].triggeredAt = first.triggeredAt + .seconds(1)
            case "of tomorrow": alerts[0].triggeredAt = first.triggeredAt + .hours(24)
            default: break
            }
            item = .alerts(alerts)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "of another", "left out", "itself", "twice", "trust", "name", "daemon", "daemon's links", "strange link", "link to who is down"]) func graph(what: String) throws {
        let rest = try Rest(), (own, other) = (rest.world.peers[0], rest.world.peers[1])
        if what == "link to who is down" {
            rest.world.crash(2)
            rest.world.run(for: .seconds(1))
        }
        try judge(.connectGraph, in: rest) { item in
            guard case .graph(var graph) = item else { return }
            switch what {
            case "of another": graph.clusterID = other.id
            case "left out": graph.clusterLinks[other.id] = nil
            case "itself": graph.clusterLinks[other.id] = [other.id]
            case "twice": graph.clusterLinks[other.id] = [own.id, own.id]
            case "trust": graph.trustLinks[other.id] = graph.trustLinks[other.id].map { !$0 }
            case "name": graph.peerNames[other.id] = "p0"
            case "daemon": graph.clusterToIPFS[other.id] = own.ipfs.id
            case "daemon's links": graph.ipfsLinks[other.ipfs.id] = nil
            case "strange link": graph.ipfsLinks[other.ipfs.id] = [other.id]
            case "link to who is down": graph.clusterLinks[other.id] = [own.id, rest.world.peers[2].id]
            default: break
            }
            item = .graph(graph)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "twice", "too much in", "too little in", "too much out", "less than nothing", "too fast"]) func bandwidth(what: String) throws {
        let rest = try Rest()
        try judge(.bandwidth, in: rest) { item in
            guard case .bandwidth(var all) = item, !all.isEmpty else { return item = .bandwidth([]) }
            switch what {
            case "twice": all.append(ProtocolBandwidth(name: all[0].name))
            case "too much in": all[0].totalIn += 1
            case "too little in": all.removeLast(all.count - 1)
            case "too much out": all[0].totalOut += 1_000_000
            case "less than nothing": all[0].rateOut = -1
            case "too fast": all[0].rateIn = Double(all[0].totalIn + 1)
            default: break
            }
            item = .bandwidth(all)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "left out", "twice", "name"]) func garbage(what: String) throws {
        let rest = try Rest()
        try judge(.repoGC(isLocal: false), in: rest) { item in
            guard case .garbage(var all) = item, all.count == 3 else { return item = .garbage([]) }
            switch what {
            case "left out": all.removeLast()
            case "twice": all.append(all[0])
            case "name": all[0].peerName = "somebody"
            default: break
            }
            item = .garbage(all)
        }
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: [ClientRequest.version, .peerAdd(SimPeer.identity(1, Tape(seed: 5)))]) func others(request: ClientRequest) throws {
        let rest = try Rest()
        try judge(request, in: rest) { item in
            switch item {
            case .version: item = .version("0.0.0")
            case .peer(var info):
                info.clusterPeers = []
                item = .peer(info)
            default: break
            }
        }
        rest.expect(.answer)
    }

    @Test(arguments: ["nothing", "of one"]) func aPeerLeftOut(what: String) throws {
        let rest = try Rest()
        var asked = Asked(peer: 0, at: rest.world.now, request: .peers)
        asked.members = rest.world.peers.map(\.id)
        for peer in rest.world.peers.dropFirst(what == "nothing" ? 0 : 1) { asked.told.insert(peer.id) }
        rest.run.judgeTold(asked)
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    /// Whoever cannot be seen, though a connection stands.
    @Test func whoIsNotSeenAtRest() throws {
        let rest = try Rest()
        rest.run.askAround()
        #expect(rest.world.failure == nil)
        rest.world.peers[1].ipfs.isDown = true
        rest.run.askAround()
        rest.expect(.answer)
    }

    @Test func aListedPinThatIsNotTheOneHeld() throws {
        let rest = try Rest()
        var client = ClientID(0)
        client = rest.run.ask(0, Operation(number: 1, at: .zero, peers: [0], kind: .list), .pins(Set(PinType.allCases))) { [run = rest.run] reply in
            guard case .item(.pins(let pins)) = reply, var pin = pins.pins.first, run.world.failure == nil else { return }
            pin.options.name += "x"
            var stored = StoredPins()
            stored.append(pin)
            run.judge(client, .item(.pins(stored)))
        }
        rest.world.run(for: .seconds(3))
        rest.expect(.answer)
    }
}
