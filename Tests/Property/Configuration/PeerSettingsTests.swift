// From the file to the core's settings: every key arrives where it belongs.

import Allocation
import Cluster
import Configuration
import Encoding
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing
import Tracking
import Transport

private let zero = "12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv"
private let one = "12D3KooWSek8FhN3tyhmcKKdPSYAfxQQxAniZregJexSsFmwjELj"
private let two = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

private func configuration(_ environment: [String: String] = [:], consensus: Consensus = .crdt, embedded: Bool = false) throws -> ServiceConfiguration {
    var made = ServiceConfiguration(
        generatedFor: consensus, datastore: .pebble, hasEmbeddedIPFS: embedded, secret: Bytes(repeating: 1, count: 32), hostName: "h")
    try made.apply(environment: environment)
    return made
}

private func settings(
    _ configuration: ServiceConfiguration, bootstrap: [String] = [], trusts: Bool = true, peerstore: String = ""
) throws -> PeerSettings {
    try peerSettings(
        from: configuration, identity: try Identity(document: Golden.bytes("config/identity-peer0.json")),
        bootstrap: bootstrap.map { try Multiaddr(text: $0) }, trustsBootstrapPeers: trusts, peerstore: Peerstore(text: peerstore))
}

@Suite struct PeerSettingsTests {
    /// The generated file says what the core's own defaults say.
    @Test func defaultsAgree() throws {
        let (made, own) = (try settings(configuration()), PeerSettings(me: try PeerID(text: zero)))
        #expect(made.me == own.me && made.trust == own.trust && made.peerName == "h" && made.informers.peerName == "h")
        #expect(made.clusterName == own.clusterName && made.allocateBy == own.allocateBy && made.peersetMetric == own.peersetMetric)
        #expect(made.factors == own.factors && made.isRepinningDisabled == own.isRepinningDisabled && made.isFollower == own.isFollower)
        #expect(made.stateSyncInterval == own.stateSyncInterval && made.recoverInterval == own.recoverInterval)
        #expect(made.book.lowWater == own.book.lowWater && made.bootPeers.isEmpty)
        #expect("\(made.gossip)" == "\(own.gossip)" && "\(made.replica)" == "\(own.replica)")
        #expect("\(made.tracker)" == "\(own.tracker)" && "\(made.monitor)" == "\(own.monitor)" && "\(made.ipfs)" == "\(own.ipfs)")
        var informers = own.informers
        informers.peerName = "h"
        #expect("\(made.informers)" == "\(informers)")
    }

    @Test func everyKeyArrives() throws {
        let made = try settings(configuration([
            "CLUSTER_PEERNAME": "p", "CLUSTER_CRDT_CLUSTERNAME": "c", "CLUSTER_REPLICATIONFACTORMIN": "2", "CLUSTER_REPLICATIONFACTORMAX": "3",
            "CLUSTER_BALANCED_ALLOCATEBY": "a,b", "CLUSTER_DISABLEREPINNING": "false", "CLUSTER_FOLLOWERMODE": "true",
            "CLUSTER_PINONLYONTRUSTEDPEERS": "true", "CLUSTER_CRDT_PEERSETMETRIC": "m", "CLUSTER_STATESYNCINTERVAL": "1s",
            "CLUSTER_PINRECOVERINTERVAL": "2s", "CLUSTER_CONNECTIONMANAGER_LOWWATER": "7", "CLUSTER_PUBSUB_DFACTOR": "8",
            "CLUSTER_PUBSUB_HEARTBEATINTERVAL": "9s", "CLUSTER_PUBSUB_HISTORYGOSSIP": "10", "CLUSTER_PUBSUB_HISTORYLENGTH": "11",
            "CLUSTER_PUBSUB_FLOODPUBLISH": "true", "CLUSTER_PUBSUB_SEENMESSAGESTTL": "12s", "CLUSTER_CRDT_REBROADCASTINTERVAL": "13s",
            "CLUSTER_CRDT_REPAIRINTERVAL": "14s", "CLUSTER_CRDT_BATCHING_MAXBATCHSIZE": "15", "CLUSTER_CRDT_BATCHING_MAXBATCHAGE": "16s",
            "CLUSTER_CRDT_BATCHING_MAXQUEUESIZE": "17", "CLUSTER_STATELESS_MAXPINQUEUESIZE": "18", "CLUSTER_STATELESS_CONCURRENTPINS": "19",
            "CLUSTER_STATELESS_PRIORITYPINMAXAGE": "20s", "CLUSTER_STATELESS_PRIORITYPINMAXRETRIES": "21",
            "CLUSTER_PUBSUBMON_CHECKINTERVAL": "22s", "CLUSTER_MONITORPINGINTERVAL": "23s", "CLUSTER_DISK_METRICTTL": "24s",
            "CLUSTER_DISK_METRICTYPE": "reposize", "CLUSTER_TAGS_METRICTTL": "25s", "CLUSTER_TAGS_TAGS": "x:y",
            "CLUSTER_PINQUEUE_METRICTTL": "26s", "CLUSTER_PINQUEUE_WEIGHTBUCKETSIZE": "27", "CLUSTER_IPFSHTTP_IPFSREQUESTTIMEOUT": "28s",
            "CLUSTER_IPFSHTTP_PINTIMEOUT": "29s", "CLUSTER_IPFSHTTP_UNPINTIMEOUT": "30s", "CLUSTER_IPFSHTTP_REPOGCTIMEOUT": "31s",
            "CLUSTER_IPFSHTTP_INFORMERTRIGGERINTERVAL": "32", "CLUSTER_IPFSHTTP_UNPINDISABLE": "true",
            "CLUSTER_IPFSHTTP_CONNECTSWARMSDELAY": "33s",
        ]))
        #expect(made.peerName == "p" && made.clusterName == "c" && made.factors == ReplicationFactors(min: 2, max: 3))
        #expect(made.allocateBy == ["a", "b"] && !made.isRepinningDisabled && made.isFollower && made.pinsOnlyOnTrusted && !made.pinsOnlyOnUntrusted)
        #expect(made.peersetMetric == "m" && made.stateSyncInterval == .seconds(1) && made.recoverInterval == .seconds(2))
        #expect(made.book.lowWater == 7 && made.gossip.meshFactor == 8 && made.gossip.heartbeatInterval == .seconds(9))
        #expect(made.gossip.historyGossip == 10 && made.gossip.historyLength == 11 && made.gossip.floodPublish)
        #expect(made.gossip.seenLifetime == .seconds(12) && made.replica.rebroadcastInterval == .seconds(13))
        #expect(made.replica.repairInterval == .seconds(14) && made.replica.batchSizeMax == 15 && made.replica.batchAgeMax == .seconds(16))
        #expect(made.replica.batchQueueMax == 17 && made.tracker.queueMax == 18 && made.tracker.concurrentPins == 19)
        #expect(made.tracker.priorityPinMaxAge == .seconds(20) && made.tracker.priorityPinMaxRetries == 21)
        #expect(made.monitor.checkInterval == .seconds(22) && made.informers.pingInterval == .seconds(23))
        #expect(made.informers.disk?.ttl == .seconds(24) && made.informers.disk?.metric == .reposize)
        #expect(made.informers.tags?.ttl == .seconds(25) && made.informers.tags?.tags.map(\.name) == ["x"])
        #expect(made.informers.pinQueue?.ttl == .seconds(26) && made.informers.pinQueue?.bucketSize == 27)
        #expect(made.connectSwarmsDelay == .seconds(33))
        let kubo = try #require(made.ipfs.kubo)
        #expect(kubo.requestTimeout == .seconds(28) && kubo.pinTimeout == .seconds(29) && kubo.unpinTimeout == .seconds(30))
        #expect(kubo.repoGCTimeout == .seconds(31) && kubo.informerTriggerInterval == 32 && kubo.isUnpinDisabled)
    }

    /// What has no effect is said, if it was changed; nothing else is.
    @Test func keysWithoutEffectAreNamed() throws {
        #expect(try configuration().settingsWithoutEffect.isEmpty)
        #expect(try configuration(consensus: .raft).settingsWithoutEffect.isEmpty)
        let told = try configuration([
            "CLUSTER_LEAVEONSHUTDOWN": "true", "CLUSTER_CONNECTIONMANAGER_GRACEPERIOD": "1s", "CLUSTER_RESOURCEMANAGER_ENABLED": "false",
            "CLUSTER_PEERWATCHINTERVAL": "1s", "CLUSTER_MDNSINTERVAL": "1s", "CLUSTER_CRDT_DATASTORENAMESPACE": "/d",
            "CLUSTER_STATESYNCINTERVAL": "1s", "CLUSTER_IPFSHTTP_PINTIMEOUT": "1s",
        ]).settingsWithoutEffect
        #expect(told.map { String($0.prefix { $0 != " " }) } == [
            "cluster.leave_on_shutdown", "cluster.peer_watch_interval", "crdt.datastore_namespace",
        ])
        #expect(told.allSatisfy { $0.contains("has no effect: ") })
    }

    /// What is listened on is what is announced.
    @Test func onlyTCPIsListenedOn() throws {
        let made = try configuration(["CLUSTER_LISTENMULTIADDRESS": "/ip4/0.0.0.0/tcp/9096,/ip4/0.0.0.0/udp/9096/quic,/ip4/0.0.0.0/tcp/9097/ws,/ip4/0.0.0.0/tcp/9098/wss,/dns4/a/tcp/1"])
        #expect(made.listenAddresses.used.map(\.description) == ["/ip4/0.0.0.0/tcp/9096", "/ip4/0.0.0.0/tcp/9097/ws", "/dns4/a/tcp/1"])
        let reason = "is passed over, as only TCP is supported, and WebSocket on top of it"
        #expect(made.settingsWithoutEffect == ["cluster.listen_multiaddress: /ip4/0.0.0.0/tcp/9098/wss \(reason)"])
    }

    @Test func relayingIsRefused() throws {
        #expect(try configuration().relayRefusal?.hasPrefix("cluster.enable_relay_hop is on") == true)
        #expect(try configuration(["CLUSTER_ENABLERELAYHOP": "false"]).relayRefusal == nil)
    }

    /// RM-01, CM-01: what the configuration says, or else a share of the machine.
    @Test func theHostsLimits() throws {
        func host(_ environment: [String: String] = [:]) throws -> HostSettings {
            hostSettings(from: try configuration(environment), memoryBytes: 16 << 30, descriptors: 10_000)
        }
        #expect(try host().watermarks == Watermarks() && host().dialTimeout == .seconds(3))
        #expect(try host().resources == ResourceLimits(memoryBytes: 4 << 30, descriptors: 5000, highWater: 400))
        let set = try host([
            "CLUSTER_CONNECTIONMANAGER_HIGHWATER": "3000", "CLUSTER_CONNECTIONMANAGER_LOWWATER": "7", "CLUSTER_CONNECTIONMANAGER_GRACEPERIOD": "1s",
            "CLUSTER_RESOURCEMANAGER_MEMORYLIMITBYTES": "2000000000", "CLUSTER_RESOURCEMANAGER_FILEDESCRIPTORSLIMIT": "77",
            "CLUSTER_DIALPEERTIMEOUT": "9s",
        ])
        let marks = try #require(set.watermarks)
        #expect((marks.low, marks.high, marks.gracePeriod) == (7, 3000, .seconds(1)) && set.dialTimeout == .seconds(9))
        #expect(set.resources == ResourceLimits(memoryBytes: 2_000_000_000, descriptors: 77, highWater: 3000))
        #expect(set.resources.inboundConnections == 6000)
        #expect(set.resourcesLine == "go-libp2p Resource Manager ENABLED: Limits based on max_memory: 2.0 GB, max_fds: 77")
        let free = try host(["CLUSTER_RESOURCEMANAGER_ENABLED": "false"])
        #expect(free.resources == .unlimited && free.resourcesLine == "go-libp2p Resource Manager DISABLED")
    }

    @Test func trust() throws {
        func only(_ texts: String...) throws -> Trust {
            var peers = SortedSet<PeerID>()
            for text in texts { peers.insert(try PeerID(text: text)) }
            return .only(peers)
        }
        let address = "/ip4/1.1.1.1/tcp/1/p2p/\(two)"
        let named = try configuration(["CLUSTER_CRDT_TRUSTEDPEERS": one])
        #expect(try settings(named).trust == only(zero, one))
        #expect(try settings(named, bootstrap: [address]).trust == only(zero, one, two))
        #expect(try settings(named, bootstrap: [address], trusts: false).trust == only(zero, one))
        #expect(try settings(configuration(["CLUSTER_CRDT_TRUSTEDPEERS": ""])).trust == only(zero))
        #expect(try settings(configuration(["CLUSTER_CRDT_TRUSTEDPEERS": one], consensus: .raft)).trust == .everyone)
    }

    /// DNS-06: a name may stand for several peers.
    @Test func namesStandForPeers() throws {
        let made = try peerSettings(
            from: configuration(["CLUSTER_PEERADDRESSES": "/dnsaddr/peers.test"]),
            identity: try Identity(document: Golden.bytes("config/identity-peer0.json")), bootstrap: [try Multiaddr(text: "/dnsaddr/gone.test")],
            named: { address in
                guard address.description == "/dnsaddr/peers.test" else { return [] }
                return [one, two].compactMap { try? Multiaddr(text: "/ip4/1.1.1.1/tcp/1/p2p/\($0)") }
            })
        #expect(made.bootPeers.map(\.peer) == [try PeerID(text: one), try PeerID(text: two)] && made.bootPeers.allSatisfy(\.isPermanent))
    }

    @Test func bootPeers() throws {
        let made = try settings(
            configuration(["CLUSTER_PEERADDRESSES": "/ip4/1.1.1.1/tcp/1/p2p/\(one),/ip4/1.1.1.1/tcp/2/p2p/\(one)"]),
            bootstrap: ["/ip4/2.2.2.2/tcp/2/p2p/\(two)"], peerstore: "/ip4/3.3.3.3/tcp/3/p2p/\(zero)\n/ip4/4.4.4.4/tcp/4/p2p/\(two)\n")
        #expect(made.bootPeers.map(\.peer.description) == [one, two] && made.bootPeers.map(\.isPermanent) == [true, false])
        #expect(made.joins.map(\.description) == ["/ip4/2.2.2.2/tcp/2/p2p/\(two)"])
        #expect(made.bootPeers[0].addresses.map(\.description) == ["/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/2"])
    }

    /// Upstream's peer starts without it. What is no address at all still keeps a peer from starting (CFG-082).
    @Test func anAddressOfNoPeerIsPassedOver() throws {
        let (bare, inside) = ("/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/1/p2p/\(one)/p2p-circuit")
        var problems: [String] = []
        let made = try peerSettings(
            from: configuration(["CLUSTER_PEERADDRESSES": "\(bare),/ip4/2.2.2.2/tcp/2/p2p/\(two),\(inside)"]),
            identity: try Identity(document: Golden.bytes("config/identity-peer0.json")),
            bootstrap: [try Multiaddr(text: bare), try Multiaddr(text: "/ip4/3.3.3.3/tcp/3/p2p/\(one)")],
            passedOver: { problems.append("\($0.component): \($0.message)") })
        #expect(made.bootPeers.map(\.peer.description) == [two] && made.joins.map(\.description) == ["/ip4/3.3.3.3/tcp/3/p2p/\(one)"])
        #expect(problems == ["service: bootstrap to \(bare) failed: invalid p2p multiaddr: no /p2p/<peer ID> at its end"]
            + [bare, inside].map { "pstoremgr: cluster.peer_addresses: no /p2p/<peer ID> at the end of \($0)" })
        #expect(throws: ConfigurationError.self) { try configuration(["CLUSTER_PEERADDRESSES": "bogus"]) }
    }

    /// CFG-044, CFG-045.
    @Test func missingSections() throws {
        let cluster = #""cluster": {"listen_multiaddress": "/ip4/1.1.1.1/tcp/1"}, "consensus": {"crdt": {"trusted_peers": ["*"]}}"#
        let made = try settings(read(#"{\#(cluster), "informer": {"pinqueue": {"metric_ttl": "1s"}}}"#))
        #expect(made.allocateBy == ["freespace"] && made.informers.disk == nil && made.informers.tags == nil)
        #expect(made.informers.pinQueue?.bucketSize == 0)
    }

    @Test func embeddedIPFS() throws {
        let environment = ["CLUSTER_EMBEDDED_PINTIMEOUT": "9s", "CLUSTER_EMBEDDED_UNPINDISABLE": "true", "CLUSTER_IPFSHTTP_PINTIMEOUT": "8s"]
        let node = try #require(try settings(configuration(environment, embedded: true)).ipfs.embedded)
        #expect(node.pinTimeout == .seconds(9) && node.isUnpinDisabled && node.folder == "ipfs" && node.storageMax == 10_000_000_000)
        #expect(try settings(configuration(environment)).ipfs.kubo?.pinTimeout == .seconds(8))
        for outside in ["/var/ipfs", "../ipfs"] {
            #expect(throws: ConfigurationError("embedded.repo_folder must lie in the configuration folder: \(outside)")) {
                try settings(configuration(["CLUSTER_EMBEDDED_REPOFOLDER": outside], embedded: true))
            }
        }
    }
}

extension IPFSNodeSettings {
    fileprivate var kubo: KuboSettings? { if case .kubo(let settings) = self { settings } else { nil } }
    fileprivate var embedded: EmbeddedSettings? { if case .embedded(let settings) = self { settings } else { nil } }
}
