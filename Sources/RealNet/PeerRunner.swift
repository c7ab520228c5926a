// Runs one peer on sockets, files and the wall clock: the same ClusterPeer as in the simulator.

import Cluster
import Crypto
import Journal
import Kernel
import Multiformats
import Seams
import Storage
import Transport

/// Where a real peer lives.
package struct PeerHome {
    package var key: IdentityKey
    /// The cluster secret; nil for a cluster that anyone may reach.
    package var secret: Bytes?
    package var listen: [Multiaddr]
    /// Told to others instead of what it listens on, if not empty, and never told (CFG-023, CFG-024).
    package var announce: [Multiaddr] = []
    package var noAnnounce: [Multiaddr] = []
    /// The folder of the logs.
    package var dataFolder: String
    /// The API of the Kubo daemon; nil with the embedded node.
    package var ipfs: (endpoint: Endpoint, usesTLS: Bool)?
    package var host = HostSettings()
    /// Peers of the local network are looked for, and told where this one is (MDNS-01).
    package var isDiscovering = false
    /// Where everything that the peer hears is recorded, if anywhere.
    package var journal: JournalPlace?

    package init(key: IdentityKey, secret: Bytes?, listen: [Multiaddr], dataFolder: String) {
        self.key = key
        self.secret = secret
        self.listen = listen
        self.dataFolder = dataFolder
    }
}

package final class PeerRunner: @unchecked Sendable {
    private let loop: EventLoop
    private let disk: FileDisk
    private let jobs: JobThread
    private let host: HostRunner
    private let ipfs: IPFSClient?
    private var machine: ClusterPeer
    private var choices: Choices
    private let recorder: Recorder?
    private var inputs: [PeerInput] = []
    private var isStepping = false
    private var wakeUp: EventLoop.TimerID?
    private let isDiscovering: Bool
    /// Whatever is told to others.
    private var bound: [Multiaddr] = []
    private var neighbours: Neighbours?
    private let networkKey: Bytes?
    private var backDials: [UInt64: BackDial] = [:]
    private var ownClients = ClientIDs(owner: 255)
    private var clients: [ClientID: (ClientReply) -> Void] = [:]
    package private(set) var listening: [Multiaddr] = []

    package var onLog: (LogLine) -> Void
    package var onReady: () -> Void = {}
    package var onStopped: () -> Void = {}
    package var onFatal: (String) -> Void = { _ in }

    /// Opens the data folder. The peer runs from `start` on.
    package init(loop: EventLoop, home: PeerHome, settings: PeerSettings, onLog: @escaping (LogLine) -> Void) throws {
        self.loop = loop
        self.onLog = onLog
        isDiscovering = home.isDiscovering
        networkKey = home.secret
        disk = try FileDisk(root: home.dataFolder, loop: loop)
        jobs = JobThread(root: home.dataFolder)
        ipfs = home.ipfs.map { IPFSClient(loop: loop, endpoint: $0.endpoint, usesTLS: $0.usesTLS) }
        var hostSettings = home.host
        hostSettings.tellsObserved = hostSettings.tellsObserved && home.announce.isEmpty
        hostSettings.hidden = home.noAnnounce
        host = HostRunner(
            loop: loop,
            host: Host(
                key: home.key, networkKey: home.secret, protocols: ClusterPeer.protocols,
                securities: Security.all(for: home.key, entropy: Machine.entropy, now: Machine.now.wall), settings: hostSettings))
        var seed: UInt64 = 0
        for byte in Machine.entropy(8) { seed = seed << 8 | UInt64(byte) }
        choices = Choices(seed: seed)
        var effects: [PeerEffect] = []
        let signer = IdentitySigner(key: home.key)
        recorder = try home.journal?.recorder { onLog(LogLine(.info, "service", $0)) }
        recorder?.onEnd = { onLog(LogLine(.warning, "service", $0)) }
        if let recorder {
            machine = try recorder.openPeer(
                settings: settings, disk: disk, signer: signer, at: Machine.now, seed: seed, choices: &choices, effects: &effects)
        } else {
            machine = try ClusterPeer(
                settings: settings, disk: disk, signer: signer, at: Machine.now, choices: &choices, effects: &effects)
        }
        // As with upstream, one address that can be had is enough.
        var failures: [String] = []
        for address in home.listen {
            do throws(ListenFailure) { listening += try host.listen(on: address) } catch { failures.append("\(address): \(error)") }
        }
        if !failures.isEmpty && failures.count == home.listen.count { throw ListenFailure(reason: failures.joined(separator: "; ")) }
        for failure in failures { onLog(LogLine(.warning, "p2p", "not listening on \(failure)")) }
        bound = listening
        let told = home.announce.isEmpty ? listening : home.announce
        listening = told.filter { address in !home.noAnnounce.contains { address.isCovered(by: $0) } }

        disk.onEvent = { [weak self] in self?.submit(.disk($0)) }
        ipfs?.onEvent = { [weak self] in self?.submit(.exchange($0)) }
        host.onEvent = { [weak self] in self?.onHost($0) }
        for effect in effects { carryOut(effect) }
    }

    package func start() {
        submit(.start)
        // What an earlier life has left is durable, and read, before anyone can ask for it.
        disk.drain()
        loop.runPosted()
        host.run { [listening] in $0.onListening(listening, now: Machine.now, effects: &$1) }
        submit(.connection(.listening(listening)))
        if isDiscovering { discover() }
    }

    private func discover() {
        let interfaces = Interfaces.multicast(reaching: bound)
        guard !interfaces.isEmpty else { return }  // it listens to this machine alone
        do {
            neighbours = try Neighbours(loop: loop, interfaces: interfaces, me: host.look { $0.me }, addresses: listening) { [weak self] peer, addresses in
                self?.onLog(LogLine(.debug, "mdns", "found \(peer) at \(addresses.map(\.description).joined(separator: " "))"))
                self?.submit(.connection(.found(peer, addresses)))
            }
        } catch {
            onLog(LogLine(.warning, "cluster", "mDNS could not be started: \(error)"))
        }
    }

    // MARK: Clients

    /// Asks as a client does; `each` hears every reply, on the loop.
    @discardableResult
    package func ask(
        _ request: ClientRequest, as known: ClientID? = nil, each: @escaping (ClientReply) -> Void
    ) -> ClientID {
        let client = known ?? ownClients.next()
        clients[client] = each
        submit(.client(client, request))
        return client
    }
    package func send(_ client: ClientID, _ input: ClientInput) { submit(.clientInput(client, input)) }
    package func leave(_ client: ClientID) {
        guard clients.removeValue(forKey: client) != nil else { return }
        submit(.clientGone(client))
    }
    package func shutDown() { submit(.shutdown) }
    package var knownPeers: [(peer: PeerID, addresses: [Multiaddr])] { machine.knownPeers }
    /// A look at the peer, between two steps.
    package func look<T>(_ body: (ClusterPeer) throws -> T) rethrows -> T { try body(machine) }
    package var isReady: Bool { machine.isReady }

    /// Closes the connections in order, so that the others need not wait to notice.
    package func close() {
        neighbours?.close()
        for dial in backDials.values { dial.close() }
        backDials = [:]
        host.close()
        recorder?.close()
    }

    // MARK: Steps

    /// One input after another: what a step causes comes after it.
    private func submit(_ input: PeerInput) {
        inputs.append(input)
        guard !isStepping else { return }
        isStepping = true
        var next = 0
        while next < inputs.count {
            let input = inputs[next]
            next += 1
            if next == inputs.count {
                inputs.removeAll(keepingCapacity: true)
                next = 0
            }
            var effects: [PeerEffect] = []
            let now = Machine.now
            recorder?.begin(input, at: now)
            machine.step(input, at: now, choices: &choices, effects: &effects)
            recorder?.end(effects)
            for effect in effects { carryOut(effect) }
        }
        isStepping = false
    }

    private func carryOut(_ effect: PeerEffect) {
        switch effect {
        case .wake(let at):
            if let wakeUp { loop.cancel(wakeUp) }
            wakeUp = at.map { loop.at($0) { [weak self] in self?.submit(.wake) } }
        case .connection(.dialBack(let number, let peer, let addresses)): dialBack(number, peer, addresses)
        case .connection(let effect): host.run { $0.onEffect(effect, now: Machine.now, effects: &$1) }
        case .stream(let effect): host.run { $0.onEffect(effect, now: Machine.now, effects: &$1) }
        case .disk(let effect): disk.carryOut(effect)
        case .job(let job):
            let number = job.number
            jobs.run(job) { [self] outcome in loop.post { [self] in submit(.job(number, outcome)) } }
        case .exchange(let effect): ipfs?.carryOut(effect)
        case .reply(let client, let reply):
            guard let each = clients[client] else { return }
            switch reply {
            case .end, .failed: clients[client] = nil
            case .item, .pause, .resume: break
            }
            each(reply)
        case .log(let line): onLog(line)
        case .ready: onReady()
        case .stopped: onStopped()
        case .fatal(let reason): onFatal(reason)
        }
    }

    private func dialBack(_ number: UInt64, _ peer: PeerID, _ addresses: [Multiaddr]) {
        backDials[number] = BackDial(loop: loop, networkKey: networkKey, peer: peer, addresses: addresses) { [weak self] address in
            self?.backDials[number] = nil
            self?.submit(.connection(.dialledBack(number, address)))
        }
    }

    private func onHost(_ effect: Host.Effect) {
        switch effect {
        case .socket: break  // carried out already
        case .connection(let event): submit(.connection(event))
        case .stream(let event): submit(.stream(event))
        case .log(let line): onLog(line)
        }
    }
}
