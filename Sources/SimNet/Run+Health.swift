// What a peer does by itself: it tells the others how it is, looks after what its daemon has lost, comes back to what it had, and makes
// good what has failed. spec/tracker-allocator-monitor.md INF-01..12, CLU-14, TRK-49.

import Cluster
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Tracking

/// What is known of a peer's life.
struct HealthState {
    /// When it became ready, and when it listed what its daemon pins.
    var readyAt: Int64?
    var listedAt: Int64?
    /// The last times that it did.
    var listings: [Int64] = []
    /// Metrics that were judged last, by when they were told.
    var judged: [String: Int64] = [:]
    /// It has told others who its daemon is.
    var hasNamedDaemon = false
    /// What it waits for its daemon to answer, since when.
    var asked = SortedMap<ExchangeID, (target: String, at: Int64, told: Int)>()
    /// In which of its lives it was told to stop, and when.
    var stopping: (life: UInt64, at: Int64)?
}

extension Run {
    private static let slack = Span.seconds(10)

    func noteHealth(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>) {
        switch input {
        case .start where !world.peers[index].losses.isEmpty: oracles.manifests[index] = nil
        case .shutdown: oracles.health[index, default: HealthState()].stopping = (world.peers[index].lives, world.now)
        case .connection(.introduced): expectGreeting(index)
        case .exchange(.end(let id, _)), .exchange(.failed(let id, _)): oracles.health[index]?.asked.remove(id)
        case .exchange(.body(let id, let bytes)):
            if let told = SimIPFS.progress(bytes), let asked = oracles.health[index]?.asked[id], told > asked.told {
                oracles.health[index]?.asked[id] = (asked.target, world.now, told)
            }
        case .disk(.synced(let ticket)):
            if let durable = oracles.manifests[index]?.syncing.removeValue(forKey: ticket) { oracles.manifests[index]?.durable = durable }
        default: break
        }
        for effect in effects {
            switch effect {
            case .disk(let effect): noteWritten(effect, by: index)
            case .ready: oracles.health[index, default: HealthState()].readyAt = world.now
            case .exchange(.start(let id, let request)):
                oracles.health[index, default: HealthState()].asked[id] = (request.target, world.now, 0)
                if request.target.hasPrefix("/api/v0/pin/ls?stream=true&type=") { oracles.health[index, default: HealthState()].listedAt = world.now }
                if request.target.hasPrefix("/api/v0/pin/ls?stream=true&type=recursive") { noteListing(index) }
            case .exchange(.cancel(let id)): oracles.health[index]?.asked.remove(id)
            case .exchange(.body(let id, _)), .exchange(.endOfBody(let id)): judgeOpen(id, index)
            case .log(let line):
                if line.level >= .warning { judge(line, of: index) }
                noteMoved(line, of: index)
            default: break
            }
        }
    }

    // MARK: Metrics

    /// LIVE, TRUTH: now and then.
    func checkHealth() {
        for peer in world.peers where world.failure == nil {
            guard let process = peer.process, process.suspended == nil else { continue }
            checkStopping(peer.index, process)
            guard process.machine.isReady else { continue }
            checkBook(peer.index, process)
            checkOwnMetrics(peer.index, process)
            checkListing(peer.index, process)
            checkPatience(peer.index, process)
        }
    }

    /// LIVE: whom a peer was told of when it was set up it does not forget.
    private func checkBook(_ index: Int, _ process: Process) {
        oracles.judged += 1
        let settings = process.peer.settings
        let kept = settings.bootPeers.filter(\.isPermanent).map(\.peer) + settings.joins.compactMap(\.trailingPeer)
        guard let lost = kept.first(where: { !process.machine.knowsWay(to: $0) }) else { return }
        world.fail(.live, "\(world.name(index)) has forgotten where \(named(lost)) is, which it was set up with")
    }

    /// BOUND: of whom nobody has heard for long no address is kept.
    func checkStrangers() {
        let last = Run.warmUp + options.workloadLength + .seconds(Int64(options.limits.addressLifetime)) + .minutes(2)
        guard options.limits.addressLifetime > 0, world.now > last.nanoseconds else { return }
        for index in trusted {
            guard let process = world.peers[index].process else { continue }
            oracles.judged += 1
            let strangers = process.machine.knownPeers.filter { world.indexes[$0.peer] == nil }
            if let first = strangers.first { return world.fail(.bound, "\(world.name(index)) keeps addresses of \(strangers.count) whom nobody has heard of for long, such as \(first.peer)") }
        }
    }

    /// What a peer runs undisturbed since then.
    private func undisturbedSince(_ index: Int, _ process: Process) -> Int64? {
        guard let ready = oracles.health[index]?.readyAt else { return nil }
        return max(ready, process.peer.sleeps.last?.to ?? 0)
    }

    func checkOwnMetrics(_ index: Int, _ process: Process) {
        let peer = process.peer, informers = peer.settings.informers, monitor = process.machine.monitor
        guard let since = undisturbedSince(index, process) else { return }
        var all: [(name: String, ttl: Span, isPrompt: Bool)] = [("ping", informers.pingInterval * 2, !plan.troublesIPFS)]
        if let disk = informers.disk { all.append((disk.metric.rawValue, disk.ttl, !plan.troublesIPFS && !plan.has(.metrics))) }
        if let tags = informers.tags { all += tags.tags.map { ("tag:" + $0.name, tags.ttl, true) } }
        if let queue = informers.pinQueue { all.append(("pinqueue", queue.ttl, true)) }
        for (name, ttl, isPrompt) in all {
            guard let metric = monitor.latest(name, of: peer.id) else {
                if isPrompt, world.now - since > Run.slack.nanoseconds { return world.fail(.live, "\(world.name(index)) has been ready for \(Span(nanoseconds: world.now - since).seconds), and has told nobody its \(name)") }
                continue
            }
            oracles.judged += 1
            if oracles.health[index]?.judged[name] != metric.receivedAt, let fault = fault(of: metric, ttl, index) { return world.fail(.truth, "\(world.name(index)) tells the \(name) \(metric.value), which \(fault)") }
            oracles.health[index]?.judged[name] = metric.receivedAt
            guard isPrompt, !plan.has(.clock) else { continue }
            let told = world.now - (peer.clock.reading(world.now).wall - WallTime(unixNanoseconds: metric.receivedAt)).nanoseconds
            if world.now - max(told, since) > (ttl / 2 + Run.slack).nanoseconds {
                return world.fail(.live, "\(world.name(index)) has told its \(name) \(Span(nanoseconds: world.now - told).seconds) ago")
            }
        }
    }

    /// TRUTH: what a metric says goes together, and with what its peer is.
    func fault(of metric: Metric, _ ttl: Span, _ index: Int) -> String? {
        let peer = world.peers[index]
        let (weight, isPartitionable): (Int64?, Bool)
        switch metric.name {
        case "freespace": (weight, isPartitionable) = (Int64(metric.value), false)
        case "reposize": (weight, isPartitionable) = (Int64(metric.value).map { -$0 }, false)
        case "pinqueue":
            let bucket = max(1, peer.settings.informers.pinQueue?.bucketSize ?? 1)
            (weight, isPartitionable) = (Int64(metric.value).map { -($0 / bucket) }, false)
        case "ping": (weight, isPartitionable) = (0, false)
        default: (weight, isPartitionable) = (0, true)
        }
        if metric.weight != weight { return "weighs \(metric.weight)" }
        if metric.isPartitionable != isPartitionable { return "is\(isPartitionable ? " not" : "") to part the peers by" }
        if !metric.isValid { return "is not valid" }
        if metric.expire - metric.receivedAt != ttl.nanoseconds { return "is valid for \(Span(nanoseconds: metric.expire - metric.receivedAt).seconds)" }
        if metric.name.hasPrefix("tag:"), peer.settings.informers.tags?.tags.contains(where: { "tag:" + $0.name == metric.name && $0.value == metric.value }) != true { return "is none of its tags" }
        return metric.name == "ping" ? faultOfPing(metric.value, index) : nil
    }

    /// INF-02: who its daemon is it does not forget.
    private func faultOfPing(_ value: String, _ index: Int) -> String? {
        let peer = world.peers[index]
        let (name, named, addresses, _) = Informers.readPing(value)
        if name != peer.settings.peerName { return "calls it \(name)" }
        guard let named else { return oracles.health[index]?.hasNamedDaemon == true ? "does not name its daemon any more" : nil }
        oracles.health[index, default: HealthState()].hasNamedDaemon = true
        if named != daemon(of: peer) { return "names another daemon" }
        return addresses == daemonAddresses(of: peer) ? nil : "names other addresses of its daemon"
    }

    // MARK: Introductions

    /// LIVE: who comes is told at once how the others are: when the next heartbeat has taken it into the meshes.
    func expectGreeting(_ index: Int) {
        guard let process = world.peers[index].process, let tag = process.peer.settings.informers.tags?.tags.first, !plan.has(.clock) else { return }
        let came = world.now
        world.after(process.peer.settings.gossip.heartbeatInterval + .milliseconds(1500)) { [unowned self] world in
            guard process.isCurrent, process.suspended == nil, process.machine.isReady, process.peer.sleeps.last.map({ $0.to < came }) ?? true else { return }
            oracles.judged += 1
            let told = process.machine.monitor.latest("tag:" + tag.name, of: process.peer.id)?.receivedAt ?? 0
            guard told < process.peer.clock.reading(came).wall.unixNanoseconds else { return }
            world.fail(.live, "\(world.name(index)) has not told its metrics since somebody came at \(Span(nanoseconds: came).seconds)")
        }
    }

    /// LIVE: half a minute after the start all daemons know of each other (IPFS-07). Nothing has gone wrong so far.
    func checkIntroduced() {
        guard !options.isEmbedded, !isCrowd else { return }
        let there = (0..<options.peers).filter { !options.latecomers.contains($0) }
        for a in there {
            for b in there where a != b {
                oracles.judged += 1
                if world.peers[a].ipfs.neighbours.contains(world.peers[b].ipfs.id) { continue }
                return world.fail(.live, "the IPFS daemons of \(world.name(a)) and \(world.name(b)) have not been introduced to each other")
            }
        }
    }

    // MARK: Losses

    /// REPIN: when everybody has noticed that one is gone, and nothing else goes wrong, what it had is somebody else's at once.
    func awaitRepins(of lost: Int) {
        guard options.heals(.repin), options.bystanders == 0, !options.isBatching, !options.isSkewed, !isCrowd, !plan.has(.clock), !plan.has(.disk) else { return }
        let (id, since) = (world.peers[lost].id, world.now)
        func haveNoticed(_ world: World) -> Bool {
            trusted.allSatisfy { index in
                let peer = world.peers[index]
                return peer.process?.machine.monitor.alertsNewestFirst.contains {
                    $0.metric.name == "ping" && $0.metric.peer == id && $0.triggeredAt >= peer.clock.reading(since).wall
                } ?? false
            }
        }
        guard world.run(until: haveNoticed, within: .minutes(2), every: .seconds(1)) else { return }
        world.run(for: .seconds(8))
        guard world.failure == nil, let machine = trusted.first.flatMap({ world.peers[$0].process?.machine }), let endangered = endangered(pins(of: machine), by: lost) else { return }
        world.fail(.repin, endangered.text)
    }

    /// LIVE: nobody's metrics run out, where nothing goes wrong.
    func checkHeard() {
        guard !isCrowd, !plan.has(.clock) else { return }
        for index in present {
            guard let process = world.peers[index].process else { continue }
            // Who comes into the mesh between two heartbeats is not told of what was said before, and has it from the next one (seed 7004302).
            let monitor = process.machine.monitor, now = process.peer.clock.reading(world.now - Span.seconds(2).nanoseconds).wall
            for other in present {
                let informers = world.peers[other].settings.informers
                var names = ["ping"]
                if let disk = informers.disk { names.append(disk.metric.rawValue) }
                if let tags = informers.tags { names += tags.tags.map { "tag:" + $0.name } }
                if informers.pinQueue != nil { names.append("pinqueue") }
                for name in names where monitor.latest(name, of: world.peers[other].id)?.counts(at: now) != true {
                    return world.fail(.live, "\(world.name(index)) does not know the \(name) of \(world.name(other)), where nothing goes wrong")
                }
            }
        }
        oracles.judged += present.count
    }

    // MARK: Recovery

    /// LIVE: what the daemon has lost is looked for as soon as the peer is ready, and again and again.
    func checkListing(_ index: Int, _ process: Process) {
        guard !options.isEmbedded, options.heals(.recover), !plan.troublesIPFS, !plan.spoilsDisks, process.machine.replica.isOpen, let since = undisturbedSince(index, process) else { return }
        let listed = oracles.health[index]?.listedAt.flatMap { $0 >= since ? $0 : nil }
        // One that is under way when another is due stands for both.
        let limit = listed == nil && since == oracles.health[index]?.readyAt ? Run.slack : process.peer.settings.recoverInterval * 2 + .minutes(1)
        oracles.judged += 1
        guard world.now - (listed ?? since) > limit.nanoseconds else { return }
        world.fail(.live, "\(world.name(index)) has not asked in \(limit.seconds) what its daemon pins")
    }

    /// CALLS: what a request to the daemon carries is sent while it goes on.
    func judgeOpen(_ exchange: ExchangeID, _ index: Int) {
        oracles.judged += 1
        if oracles.health[index]?.asked[exchange] == nil { world.fail(.calls, "\(world.name(index)) goes on with request \(exchange.number) to its IPFS daemon, which has ended") }
    }

    private static let listingsMax = 3
    /// MIN: nobody asks all the time what its daemon pins, unless clients do.
    func noteListing(_ index: Int) {
        let since = { (span: Span) in self.world.now - span.nanoseconds }
        let listings = (oracles.health[index]?.listings ?? []).filter { $0 > since(.minutes(1)) } + [world.now]
        oracles.health[index, default: HealthState()].listings = listings
        oracles.askedAt.removeAll { $0 < since(.minutes(2)) }
        oracles.judged += 1
        guard listings.count > Run.listingsMax + oracles.askedAt.count, !plan.troublesIPFS, !plan.has(.disk), !plan.spoilsDisks else { return }
        world.fail(.min, "\(world.name(index)) has asked its daemon \(listings.count) times in a minute what it pins, and clients have asked \(oracles.askedAt.count) times for anything")
    }

    private static let stoppingMax = Span.minutes(1)
    /// LIVE: who is told to stop has when its disk has what it has accepted.
    private func checkStopping(_ index: Int, _ process: Process) {
        guard let stopping = oracles.health[index]?.stopping, stopping.life == process.peer.lives, !plan.has(.disk), !plan.spoilsDisk(of: index) else { return }
        oracles.judged += 1
        let since = max(stopping.at, process.peer.sleeps.last?.to ?? 0)
        guard world.now - since > Run.stoppingMax.nanoseconds else { return }
        world.fail(.live, "\(world.name(index)) has been told to stop \(Span(nanoseconds: world.now - since).seconds) ago, and has not")
    }

    /// LIVE: for each thing that the daemon is asked for there is a time after which it is given up (IPFS-05), if it tells of nothing new (IPFS-22).
    func checkPatience(_ index: Int, _ process: Process) {
        let woke = process.peer.sleeps.last?.to ?? 0
        for (_, (target, at, _)) in oracles.health[index]?.asked ?? SortedMap() {
            // An update has no time of its own (IPFS-29).
            if target.hasPrefix("/api/v0/pin/update") { continue }
            let isWork = ["pin/add", "pin/rm"].contains { target.hasPrefix("/api/v0/" + $0) }
            let limit = isWork ? options.pinTimeout : target.hasPrefix("/api/v0/repo/gc") ? .minutes(2) : KuboSettings().requestTimeout
            oracles.judged += 1
            guard world.now - max(at, woke) > (limit + Run.slack).nanoseconds else { continue }
            return world.fail(.live, "\(world.name(index)) has been waiting for \(Span(nanoseconds: world.now - at).seconds) for the answer of its IPFS daemon to \(target)")
        }
    }

    /// SETTLE: what has failed has been tried again, and nothing tells of a failure any more.
    func checkRecovered() {
        guard options.heals(.recover) else { return }
        for index in present {
            guard let process = world.peers[index].process else { continue }
            for info in process.machine.tracker.operations(matching: [.pinError, .unpinError, .remote]) where !info.short.error.isEmpty {
                // What nobody has cannot be pinned; and a short queue takes one after another.
                if info.short.status == .pinError, !isWhole(info.cid, depth: -1) { continue }
                // Nor can what is pinned with all below it be pinned alone.
                if pinned(by: index)[info.cid] == .recursive, (try? process.machine.readPin(info.cid))?.options.mode == .direct { continue }
                if options.limits.queueMax > 0, info.short.error == Tracker.queueFullText { continue }
                return world.fail(.settle, "\(world.name(index)) still says of \(info.cid) that it is \(info.short.status.text) after \(info.short.attemptCount) attempts: \(info.short.error)")
            }
        }
        oracles.judged += present.count
    }
}
