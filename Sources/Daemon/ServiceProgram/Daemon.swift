// A running peer: the core on its sockets and files, the REST API before it, and an end in order.
// spec/cli.md section 4.

import Cluster
import Configuration
import Foundation
import Kernel
import MerkleCRDT
import Multiformats
import RealNet
import Seams
import ServiceCommands
import Transport

final class Daemon: @unchecked Sendable {
    private let start: DaemonStart
    private let options: DaemonOptions
    private let world: ServiceWorld
    private let loop = EventLoop()
    private let runner: PeerRunner
    private let api: APIService?
    private var signals = 0
    private var exitCode: Int32 = 0
    private var savedPeerstore = ""
    private var hasBeenReady = false

    init(_ start: DaemonStart, options: DaemonOptions, world: ServiceWorld) throws {
        self.start = start
        self.options = options
        self.world = world
        let configuration = start.configuration
        guard start.consensus == .crdt else {
            throw CommandFailure("setting up Consensus", "this version runs crdt clusters only, and the configuration says raft")
        }
        let log: (LogLine) -> Void = { world.log($0, options.logLevels) }
        for line in start.debugLines { log(line) }
        for line in Daemon.notOffered(configuration, start) { log(LogLine(.warning, "service", line)) }
        if let line = start.unreadPinset { log(LogLine(.warning, "service", line)) }
        if let line = configuration.relayRefusal { log(LogLine(.info, "service", line)) }
        try start.checkMayRun(options.environment)
        let loop = self.loop
        runner = try doing("creating libp2p host") {
            var home = try peerHome(start, options.folder)
            log(LogLine(.info, "cluster", home.host.resourcesLine))
            home.journal = options.journal.map { JournalPlace(path: $0.path, bytesMax: $0.bytesMax) }
            return try PeerRunner(loop: loop, home: home, settings: start.settings, onLog: log)
        }
        let runner = self.runner
        api = try configuration.isPresent(.restapi)
            ? doing("creating REST API component") {
                try APIService(configuration[.restapi], folder: options.folder, loop: loop, runner: runner, log: log)
            } : nil
    }

    private func log(_ level: LogLevel, _ component: String, _ message: String) {
        world.log(LogLine(level, component, message), options.logLevels)
    }

    /// What the configuration asks for and this version does not have: said, so that nobody waits for it.
    private static func notOffered(_ configuration: ServiceConfiguration, _ start: DaemonStart) -> [String] {
        var lines: [String] = []
        for (name, what) in [(ComponentName.pinsvcapi, "the Pinning Service API"), (.ipfsproxy, "the IPFS proxy")]
        where configuration.isPresent(name) {
            lines.append("\(what) is configured (api.\(name.rawValue)) and not offered by this version")
        }
        if start.collectsStats { lines.append("metrics.enable_stats is set, and metrics are not offered by this version") }
        if start.collectsTraces { lines.append("tracing.enable_tracing is set, and traces are not offered by this version") }
        return lines + configuration.settingsWithoutEffect
    }

    // MARK: Running

    /// Runs until it is told to stop. The exit code.
    func run() -> Int32 {
        log(.info, "cluster", "IPFS Cluster v\(world.version) listening on:\n"
            + runner.listening.map { "        \($0.with(peer: start.identity.id))\n" }.joined())
        runner.onReady = { [unowned self] in becomeReady() }
        runner.onFatal = { [unowned self] reason in
            world.printError("error running the peer: \(reason)\n")
            end(1)
        }
        runner.onStopped = { [unowned self] in finish() }
        Signals.watch(loop) { [unowned self] in onSignal() }
        for address in options.bootstrap { log(.info, "service", "Bootstrapping to \(address)") }
        runner.start()
        loop.run()
        return exitCode
    }

    private func becomeReady() {
        hasBeenReady = true
        Notifier.tell("READY=1", environment: world.environment)
        keepPeerstore()
    }

    /// Now and then, so that a peer that is killed finds the others again.
    private func keepPeerstore() {
        savePeerstore()
        loop.after(.seconds(30)) { [weak self] in self?.keepPeerstore() }
    }

    private func savePeerstore() {
        let peerstore = Peerstore(peers: runner.knownPeers.map { KnownPeer($0.peer, $0.addresses) })
        let text = peerstore.encoded(without: start.identity.id)
        guard text != savedPeerstore else { return }
        do throws(ConfigurationError) {
            try options.folder.save(peerstore, start.configuration, without: start.identity.id)
            savedPeerstore = text
        } catch { log(.error, "pstoremgr", "saving the peerstore: \(error)") }
    }

    // MARK: Stopping

    private func onSignal() {
        signals += 1
        switch signals {
        case 1:
            api?.close()
            runner.shutDown()
        case 2:
            world.printError(
                "\n!!! Shutting down takes its time: what was accepted is being written. !!!\n"
                    + "!!! Press Ctrl-c once more to end at once.                           !!!\n\n")
        default:
            world.printError("exiting cluster NOW\n")
            exit(1)
        }
    }

    private func finish() {
        if hasBeenReady {
            savePeerstore()
            options.folder.noteRun(own: start.settings.replica.folder)
        }
        runner.close()
        api?.end()
        // The last bytes leave before the process does.
        loop.after(.milliseconds(100)) { [weak self] in self?.end(0) }
    }

    private func end(_ code: Int32) {
        exitCode = code
        loop.stop()
    }
}

/// Where the peer lives, from its configuration.
private func peerHome(_ start: DaemonStart, _ folder: ConfigurationFolder) throws -> PeerHome {
    let cluster = start.configuration[.cluster]
    var home = PeerHome(
        key: start.identity.key, secret: start.configuration.secret,
        listen: try tcpAddresses(start.configuration.listenAddresses), dataFolder: folder.path)
    home.announce = cluster.addresses("announce_multiaddress")
    home.noAnnounce = cluster.addresses("no_announce_multiaddress")
    home.isDiscovering = cluster.span("mdns_interval") > .zero
    home.host = hostSettings(
        from: start.configuration, memoryBytes: Machine.memoryBytes, descriptors: Machine.raisedDescriptorLimit())
    if !start.configuration.isPresent(.embedded) {
        let address = start.configuration[.ipfshttp].address("node_multiaddress")
        guard let endpoint = Endpoint(local: address) else {
            throw ConfigurationError("ipfshttp.node_multiaddress cannot be dialled: \(address)")
        }
        home.ipfs = (endpoint, false)
    }
    return home
}

private func tcpAddresses(_ addresses: (used: [Multiaddr], passedOver: [Multiaddr])) throws -> [Multiaddr] {
    guard !addresses.used.isEmpty else {
        throw ConfigurationError("cluster.listen_multiaddress has no TCP address: \(addresses.passedOver.map(\.description).joined(separator: ", "))")
    }
    return addresses.used
}
