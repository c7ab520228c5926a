// From service.json to the settings of a peer of the core.

import Allocation
import Cluster
import Encoding
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Tracking

/// Every key that the core knows. `bootstrap` are addresses to join at this start, whose peers are trusted with crdt unless
/// told otherwise (CLI-037, CLI-041). `named` says what a dnsaddr stands for, `passedOver` hears of what is of no use.
package func peerSettings(
    from configuration: ServiceConfiguration, identity: Identity, bootstrap: [Multiaddr] = [],
    trustsBootstrapPeers: Bool = true, peerstore: Peerstore = Peerstore(peers: []),
    named: (Multiaddr) -> [Multiaddr] = { [$0] }, passedOver: (LogLine) -> Void = { _ in }
) throws(ConfigurationError) -> PeerSettings {
    let cluster = configuration[.cluster]
    let crdt = configuration[.crdt]
    // As with upstream, an address that names no peer does not keep this one from starting (CLI-054).
    let joins = bootstrap.flatMap(named)
    for address in joins where address.trailingPeer == nil {
        passedOver(LogLine(.error, "service", "bootstrap to \(address) failed: invalid p2p multiaddr: no /p2p/<peer ID> at its end"))
    }
    var settings = PeerSettings(
        me: identity.id,
        trust: try trust(configuration, me: identity.id, and: trustsBootstrapPeers ? joins.compactMap(\.trailingPeer) : []))
    settings.peerName = cluster.text("peername")
    settings.clusterName = crdt.text("cluster_name")
    settings.factors = ReplicationFactors(
        min: Int(cluster.int("replication_factor_min")), max: Int(cluster.int("replication_factor_max")))
    // CFG-045
    settings.allocateBy = configuration.isPresent(.balanced) ? configuration[.balanced].texts("allocate_by") ?? [] : ["freespace"]
    settings.isRepinningDisabled = cluster.flag("disable_repinning")
    settings.isFollower = cluster.flag("follower_mode")
    settings.pinsOnlyOnTrusted = cluster.flag("pin_only_on_trusted_peers")
    settings.pinsOnlyOnUntrusted = cluster.flag("pin_only_on_untrusted_peers")
    settings.peersetMetric = crdt.text("peerset_metric")
    settings.stateSyncInterval = cluster.span("state_sync_interval")
    settings.recoverInterval = cluster.span("pin_recover_interval")
    settings.book.lowWater = Int(cluster.int("connection_manager.low_water"))
    let permanent = Peerstore(addresses: cluster.addresses("peer_addresses").flatMap(named))
    for problem in permanent.problems { passedOver(LogLine(.warning, "pstoremgr", "cluster.peer_addresses: \(problem)")) }
    settings.bootPeers = bootPeers(permanent.peers, peerstore.peers, me: identity.id)
    settings.joins = joins.filter { $0.trailingPeer != nil }
    settings.gossip = gossipSettings(cluster)
    settings.replica = replicaSettings(crdt)
    settings.tracker = trackerSettings(configuration[.stateless])
    settings.monitor.checkInterval = configuration[.pubsubmon].span("check_interval")
    settings.informers = informerSettings(configuration)
    settings.ipfs = try ipfsSettings(configuration)
    settings.connectSwarmsDelay = configuration[.ipfshttp].span("connect_swarms_delay")
    return settings
}

/// CFG-150; with raft every member is trusted.
private func trust(
    _ configuration: ServiceConfiguration, me: PeerID, and others: [PeerID]
) throws(ConfigurationError) -> Trust {
    let named = configuration[.crdt].texts("trusted_peers") ?? []
    guard try configuration.consensus() == .crdt, named != ["*"] else { return .everyone }
    var trusted = SortedSet<PeerID>()
    trusted.insert(me)
    for text in named {
        do throws(MultiformatError) { trusted.insert(try PeerID(text: text)) } catch { unreachable("\(text) was read as a peer") }
    }
    for peer in others { trusted.insert(peer) }
    return .only(trusted)
}

/// Those of the configuration are kept for good; all others follow in their order (CFG-221).
private func bootPeers(
    _ permanent: [KnownPeer], _ others: [KnownPeer], me: PeerID
) -> [(peer: PeerID, addresses: [Multiaddr], isPermanent: Bool)] {
    var out: [(peer: PeerID, addresses: [Multiaddr], isPermanent: Bool)] = []
    for peer in permanent where peer.id != me { out.append((peer.id, peer.addresses, true)) }
    for peer in others where peer.id != me { out.append((peer.id, peer.addresses, false)) }
    return out
}

private func gossipSettings(_ cluster: ComponentValues) -> Gossip.Settings {
    var settings = Gossip.Settings()
    settings.meshFactor = Int(cluster.int("pubsub.d_factor"))
    settings.heartbeatInterval = cluster.span("pubsub.heartbeat_interval")
    settings.historyGossip = Int(cluster.int("pubsub.history_gossip"))
    settings.historyLength = Int(cluster.int("pubsub.history_length"))
    settings.floodPublish = cluster.flag("pubsub.flood_publish")
    settings.seenLifetime = cluster.span("pubsub.seen_messages_ttl")
    return settings
}

private func replicaSettings(_ crdt: ComponentValues) -> ReplicaSettings {
    var settings = ReplicaSettings()
    settings.rebroadcastInterval = crdt.span("rebroadcast_interval")
    settings.repairInterval = crdt.span("repair_interval")
    settings.batchSizeMax = Int(crdt.int("batching.max_batch_size"))
    settings.batchAgeMax = crdt.span("batching.max_batch_age")
    settings.batchQueueMax = Int(crdt.int("batching.max_queue_size"))
    return settings
}

private func trackerSettings(_ stateless: ComponentValues) -> TrackerSettings {
    var settings = TrackerSettings()
    settings.queueMax = Int(stateless.int("max_pin_queue_size"))
    settings.concurrentPins = Int(stateless.int("concurrent_pins"))
    settings.priorityPinMaxAge = stateless.span("priority_pin_max_age")
    settings.priorityPinMaxRetries = stateless.int("priority_pin_max_retries")
    return settings
}

/// CFG-044: an informer whose section is missing does not run.
private func informerSettings(_ configuration: ServiceConfiguration) -> InformerSettings {
    var settings = InformerSettings()
    settings.pingInterval = configuration[.cluster].span("monitor_ping_interval")
    settings.peerName = configuration[.cluster].text("peername")
    let (disk, tags, pinQueue) = (configuration[.disk], configuration[.tags], configuration[.pinqueue])
    guard let metric = InformerSettings.DiskMetric(rawValue: disk.text("metric_type")) else { unreachable("a checked choice") }
    settings.disk = configuration.isPresent(.disk) ? (disk.span("metric_ttl"), metric) : nil
    settings.tags = configuration.isPresent(.tags)
        ? (tags.span("metric_ttl"), (tags.map("tags") ?? []).map { (name: $0.name, value: $0.item) }) : nil
    settings.pinQueue = configuration.isPresent(.pinqueue)
        ? (pinQueue.span("metric_ttl"), pinQueue.int("weight_bucket_size")) : nil
    return settings
}

extension PeerSettings {
    package var hasInformers: Bool { informers.disk != nil || informers.tags != nil || informers.pinQueue != nil }
}

private func ipfsSettings(_ configuration: ServiceConfiguration) throws(ConfigurationError) -> IPFSNodeSettings {
    guard !configuration.isPresent(.embedded) else { return .embedded(try embeddedSettings(configuration[.embedded])) }
    var settings = KuboSettings()
    let kubo = configuration[.ipfshttp]
    settings.requestTimeout = kubo.span("ipfs_request_timeout")
    settings.pinTimeout = kubo.span("pin_timeout")
    settings.unpinTimeout = kubo.span("unpin_timeout")
    settings.repoGCTimeout = kubo.span("repogc_timeout")
    settings.isUnpinDisabled = kubo.flag("unpin_disable")
    settings.informerTriggerInterval = Int(kubo.int("informer_trigger_interval"))
    return .kubo(settings)
}

private func embeddedSettings(_ embedded: ComponentValues) throws(ConfigurationError) -> EmbeddedSettings {
    var settings = EmbeddedSettings()
    settings.folder = embedded.text("repo_folder")
    guard !settings.folder.hasPrefix("/"), !settings.folder.split(separator: "/").contains("..") else {
        throw ConfigurationError("embedded.repo_folder must lie in the configuration folder: \(settings.folder)")
    }
    settings.storageMax = byteCount(embedded.text("storage_max")).map { Int(clamping: $0) } ?? settings.storageMax
    settings.pinTimeout = embedded.span("pin_timeout")
    settings.isUnpinDisabled = embedded.flag("unpin_disable")
    return settings
}
