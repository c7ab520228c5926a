// What every start of a peer does first: the lock, the files, and what the command line changes. CLI-042..047.

import Cluster
import Configuration
import Encoding
import Kernel
import MerkleCRDT
import Multiformats
import RealNet
import Seams

/// All that is known before anything is opened. The folder stays locked as long as this lives.
package struct DaemonStart {
    package let lock: FolderLock
    package let configuration: ServiceConfiguration
    package let identity: Identity
    package let consensus: Consensus
    /// The core's part; what the core does not know stands in `configuration`.
    package let settings: PeerSettings
    /// Names pins of upstream's program that this peer does not have, and says what to do; nil if there are none.
    package let unreadPinset: String?
    package let leavesOnShutdown: Bool
    package let collectsStats: Bool
    package let collectsTraces: Bool

    /// What the peer was made from, for who looks for a fault: the whole configuration without its secrets (CFG-014).
    package var debugLines: [LogLine] {
        let components = ComponentName.allCases.filter { $0 != .cluster }.map { name in
            LogLine(.debug, "config", "\(name.rawValue) component \(configuration.isPresent(name) ? "configuration loaded" : "is empty, generating default")")
        }
        return components + [LogLine(.debug, "service", "Configuration:\n\(configuration.encodedForDisplay())\n")]
    }

    /// What the commands for a peer's state do without. INF-07: a peer must tell the others something; and the environment of all
    /// programs of libp2p may ask for a private network.
    package func checkMayRun(_ environment: [String: String]) throws(CommandFailure) {
        if environment["LIBP2P_FORCE_PNET"] == "1", configuration.secret == nil {
            throw CommandFailure(
                "creating libp2p host", "privnet: private network was not configured but is enforced by the environment: set cluster.secret, or unset LIBP2P_FORCE_PNET")
        }
        guard settings.hasInformers else { throw CommandFailure("starting cluster", "no informers are passed") }
    }
}

extension DaemonOptions {
    /// A dnsaddr that names no peer: the DNS knows whose it is (DNS-06). One that names a peer is looked up at each dial.
    private func named(_ address: Multiaddr, in world: ServiceWorld) -> [Multiaddr] {
        guard address.components.first?.scheme.name == "dnsaddr", address.peerID == nil else { return [address] }
        let problem: String
        do {
            let found = try world.named(address).filter { $0.peerID != nil }
            if !found.isEmpty { return found }
            problem = "no address with a peer"
        } catch { problem = "\(error)" }
        world.log(LogLine(.error, "pstoremgr", "\(address): \(problem)"), logLevels)
        return []
    }

    /// Takes the lock and reads the folder. Failures are those that `Service.run` prints.
    package func start(in world: ServiceWorld) throws(CommandFailure) -> DaemonStart {
        world.log(LogLine(.debug, "service", "checking lock"), logLevels)
        let lock = try lockFolder(folder)
        world.log(LogLine(.debug, "service", "ipfs-cluster-service execution lock acquired"), logLevels)
        let loaded = try doing("loading configurations") {
            try folder.load(environment: environment, hostName: world.hostName) { url in
                world.log(LogLine(.info, "config", "loading configuration from \(url)"), logLevels)
                return try world.fetch(url)
            }
        }
        if !loaded.notice.isEmpty { world.printError(loaded.notice) }
        let configuration = loaded.configuration
        for warning in configuration.warnings {
            world.log(LogLine(.warning, warning.component, warning.message), logLevels)
        }
        let consensus = try doing("creating state manager") { try configuration.consensus() }
        let datastore = consensus == .crdt ? try doing("creating datastore") { try configuration.datastore() } : nil
        if let datastore {
            world.log(LogLine(.info, "service", "Datastore backend: \(datastore.rawValue)"), logLevels)
        }
        let peerstore = try doing("reading peerstore") { try folder.loadPeerstore(configuration) }
        for problem in peerstore.problems { world.log(LogLine(.error, "pstoremgr", problem), logLevels) }
        var settings = try doing("starting cluster") {
            try peerSettings(
                from: configuration, identity: loaded.identity, bootstrap: bootstrap,
                trustsBootstrapPeers: trustsBootstrapPeers, peerstore: peerstore, named: { named($0, in: world) },
                passedOver: { world.log($0, logLevels) })
        }
        settings.infoLoggers = logLevels.infoLoggers
        return DaemonStart(
            lock: lock, configuration: configuration, identity: loaded.identity, consensus: consensus, settings: settings,
            unreadPinset: datastore.flatMap { datastore in
                let own = settings.replica.folder
                return folder.unreadPinset(configuration, in: datastore, own: own, isEmpty: OfflineReplica.isEmpty(own, in: folder.path))
            }.map {
                "\($0) holds the pinset as upstream's ipfs-cluster-service has written it, and it cannot be read here; this peer has no pinset "
                    + "yet, or has not run since. Where other peers have it too, it comes from them; else export it by upstream's `ipfs-cluster-service state export`, "
                    + "and then bring it here by `state import`"
            },
            leavesOnShutdown: leavesOnShutdown || configuration[.cluster].flag("leave_on_shutdown"),
            collectsStats: enablesStats || configuration[.metrics].flag("enable_stats"),
            collectsTraces: enablesTracing || configuration[.tracing].flag("enable_tracing"))
    }
}
