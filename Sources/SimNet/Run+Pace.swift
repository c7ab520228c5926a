// How soon what has failed is tried again: dials that back off, and begin anew at once when a connection is lost; streams of gossip that
// are opened again, later each time. DIAL-04, GS-04.

import Cluster
import Gossip
import IPFSConnector
import Kernel
import Monitoring
import Multiformats
import Pinset
import Seams

/// What is known of one peer's attempts in one life of it. Times are those of its own clock.
struct PaceLog {
    struct Dialled {
        enum State: Equatable { case waiting(until: Instant), dialling, connected }
        var state: State
        var failures: Int64 = 0
        /// How often it was dialled too soon: now and then a search does that, whose end is not seen (seeds 8000915, 8001821).
        var early = 0
        /// Since when it has not been connected.
        let since: Instant
    }
    struct Streamed {
        var stream: StreamID?
        var failures = 0
        /// When it is due to be opened again.
        var due: Instant?
    }
    /// Whom it has dialled, or been connected to.
    var dials = SortedMap<PeerID, Dialled>()
    /// Who is not connected: how many dials have failed, searches' included, and when the next is due at the latest.
    struct Missed {
        var failures: Int64 = 0
        var due: Instant?
    }
    var missed = SortedMap<PeerID, Missed>()
    /// Its own streams of gossip.
    var streams = SortedMap<PeerID, Streamed>()
    var owners = SortedMap<StreamID, PeerID>()
    /// Of a minute: how often it has told each of its metrics, and what there was to tell of.
    struct Told {
        let since: Instant
        var occasions = 0
        var times = SortedMap<String, Int>()
    }
    var told: Told?
    /// Its metrics, and how often each is due.
    var metrics: [(name: String, every: Span)] = []
    /// When what it has told last runs out, which is another time for each.
    var ends = SortedMap<String, Int64>()
    /// Pins under way, and how many have begun or ended since it last looked up what it tells: two are a pin.
    var pins = SortedSet<ExchangeID>()
    var pinned = 0
    /// What it asks its daemon for the sake of them.
    var lookups = SortedSet<ExchangeID>()
}

extension Run {
    /// MIN, LIVE: after each step of a peer that lives on.
    func watchPace(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: inout PaceLog) {
        hearOfAttempts(input, process, now, &log)
        let pinned = log.pinned
        for effect in effects {
            switch effect {
            case .connection(.dial(let peer, _)):
                log.missed[peer]?.due = nil
                noteDialled(index, peer, isWake: input.isWake, process, now, &log)
            case .stream(.open(let id, let peer, let protocols)) where protocols == Gossip.protocols: noteOpened(index, id, peer, now, &log)
            case .stream(.reset(let id)): log.owners.remove(id)
            case .ready: log.told?.occasions += 1
            case .exchange(.start(let id, let request)):
                // A pin counts when it begins, and when it ends.
                if SimIPFS.changesSpace(request.target) { log.told?.occasions += 2 }
                if request.target.hasPrefix("/api/v0/pin/add") {
                    log.pins.insert(id)
                    log.pinned += 1
                }
                if request.target == "/api/v0/id" || request.target.hasPrefix("/api/v0/repo/stat") { log.lookups.insert(id) }
            case .exchange(.cancel(let id)): noteEnded(id, &log)
            default: break
            }
        }
        if case .connection(.introduced) = input { log.told?.occasions += 1 }
        if input.isWake {
            judgeTrigger(index, pinned, process, log)
            judgePace(index, process, now, &log)
            judgeTelling(index, process, now, &log)
        }
    }

    private func noteEnded(_ id: ExchangeID, _ log: inout PaceLog) {
        if log.pins.contains(id) { log.pinned += 1 }
        if log.lookups.contains(id) { log.pinned = 0 }
        log.pins.remove(id)
        log.lookups.remove(id)
    }

    /// LIVE: metrics are told when so many pins have begun or ended since they were told (IPFS-60).
    private func judgeTrigger(_ index: Int, _ before: Int, _ process: Process, _ log: PaceLog) {
        guard case .kubo(let settings) = process.peer.settings.ipfs, settings.informerTriggerInterval > 0, !plan.troublesIPFS, log.lookups.isEmpty else { return }
        oracles.judged += 1
        guard before >= 2 * settings.informerTriggerInterval else { return }
        world.fail(.live, "\(world.name(index)) has begun or ended \(before) pins since it told its metrics last, which is due after \(settings.informerTriggerInterval)")
    }

    // MARK: Heard

    private func hearOfAttempts(_ input: PeerInput, _ process: Process, _ now: Instant, _ log: inout PaceLog) {
        let settings = process.peer.settings
        switch input {
        case .connection(.connected(let peer, _, _)):
            log.dials[peer] = PaceLog.Dialled(state: .connected, since: now)
            log.missed.remove(peer)
        case .connection(.disconnected(let peer)):
            log.missed[peer, default: PaceLog.Missed()].due = now + settings.book.redialAfter
            log.dials[peer] = PaceLog.Dialled(state: .waiting(until: now + settings.book.redialAfter), since: now)
            if let stream = log.streams.remove(peer)?.stream { log.owners.remove(stream) }
        case .connection(.dialFailed(let peer, _)):
            // Or it has come by itself meanwhile.
            if log.dials[peer]?.state == .connected { break }
            var missed = log.missed[peer] ?? PaceLog.Missed()
            missed.due = now + pause(after: missed.failures, settings)
            missed.failures += 1
            log.missed[peer] = missed
            guard var dialled = log.dials[peer], dialled.state == .dialling else { return }
            dialled.state = .waiting(until: now + pause(after: dialled.failures, settings))
            dialled.failures += 1
            log.dials[peer] = dialled
        case .exchange(.end(let id, _)), .exchange(.failed(let id, _)): noteEnded(id, &log)
        case .stream(.opened(let id, _)): if let peer = log.owners[id] { log.streams[peer]?.failures = 0 }
        case .stream(.failed(let id, _)), .stream(.reset(let id)), .stream(.remoteClosed(let id)), .stream(.received(let id, _)):
            guard let peer = log.owners.remove(id), var streamed = log.streams[peer], streamed.stream == id else { return }
            streamed.stream = nil
            streamed.due = now + min(settings.gossip.reopenAfter * (1 << Int64(min(streamed.failures, 10))), settings.gossip.reopenAfterMaximum)
            streamed.failures += 1
            log.streams[peer] = streamed
        default: break
        }
    }

    /// DIAL-04.
    private func pause(after failures: Int64, _ settings: PeerSettings) -> Span {
        let n = min(failures, 100)
        return min(settings.book.backoffBase + .seconds(n * n), settings.book.backoffMax)
    }

    // MARK: Said

    private func noteDialled(_ index: Int, _ peer: PeerID, isWake: Bool, _ process: Process, _ now: Instant, _ log: inout PaceLog) {
        // For the sake of a search a peer is dialled whenever that needs it.
        guard isWake, let dialled = log.dials[peer] else {
            if isWake, process.machine.searchDials() == 0 { log.dials[peer] = PaceLog.Dialled(state: .dialling, since: now) }
            return
        }
        guard case .waiting(let until) = dialled.state else { return }
        // Whoever has not been met for long may have been forgotten.
        if now > dialled.since + process.peer.settings.book.learntAddressTTL { return log.dials[peer] = PaceLog.Dialled(state: .dialling, since: now) }
        if until > now, process.machine.searchDials() > 0 { return log.dials[peer] = nil }
        log.dials[peer]?.state = .dialling
        guard until > now, dialled.failures > 0 else { return }
        log.dials[peer]?.early += 1
        guard dialled.early + 1 >= Run.earlyMax else { return }
        world.fail(.min, "\(world.name(index)) dials \(named(peer)) \((until - now).seconds) too soon, after \(dialled.failures) dials that failed")
    }

    private func noteOpened(_ index: Int, _ id: StreamID, _ peer: PeerID, _ now: Instant, _ log: inout PaceLog) {
        var streamed = log.streams[peer] ?? PaceLog.Streamed()
        if let due = streamed.due, due > now {
            world.fail(.min, "\(world.name(index)) opens a stream of gossip to \(named(peer)) \((due - now).seconds) too soon, after \(streamed.failures) that failed")
        }
        (streamed.stream, streamed.due) = (id, nil)
        log.streams[peer] = streamed
        log.owners[id] = peer
    }

    /// MIN: metrics are told when half of their time is over, when there is something new, and when somebody comes (INF-08, IPFS-60).
    private func judgeTelling(_ index: Int, _ process: Process, _ now: Instant, _ log: inout PaceLog) {
        if log.metrics.isEmpty { log.metrics = metrics(of: process.peer.settings.informers) }
        var told = log.told ?? PaceLog.Told(since: now)
        for (name, _) in log.metrics {
            guard let end = process.machine.monitor.latest(name, of: process.peer.id)?.expire, log.ends[name] != end else { continue }
            log.ends[name] = end
            told.times[name, default: 0] += 1
        }
        log.told = told
        let passed = now - told.since
        guard passed > .minutes(1) else { return }
        log.told = PaceLog.Told(since: now)
        guard !options.isEmbedded else { return }
        for (name, every) in log.metrics {
            oracles.judged += 1
            let most = Int(passed.nanoseconds / every.nanoseconds) + 3 + told.occasions
            guard let times = told.times[name], times > most else { continue }
            return world.fail(.min, "\(world.name(index)) has told its \(name) \(times) times in \(passed.seconds), for which \(most) would do")
        }
    }

    private func metrics(of informers: InformerSettings) -> [(name: String, every: Span)] {
        func half(_ span: Span) -> Span { Span(nanoseconds: span.nanoseconds / 2) }
        var metrics = [(name: "ping", every: informers.pingInterval)]
        if let disk = informers.disk { metrics.append((disk.metric.rawValue, half(disk.ttl))) }
        if let queue = informers.pinQueue { metrics.append(("pinqueue", half(queue.ttl))) }
        if let tags = informers.tags { metrics += tags.tags.map { ("tag:" + $0.name, half(tags.ttl)) } }
        return metrics
    }

    // MARK: Judged

    private static let earlyMax = 3
    private static let dialSlack = Span.minutes(12)

    /// Whatever is due is done.
    func judgePace(_ index: Int, _ process: Process, _ now: Instant, _ log: inout PaceLog) {
        oracles.judged += 1
        for (peer, streamed) in log.streams {
            guard let due = streamed.due, due <= now else { continue }
            return world.fail(.live, "\(world.name(index)) does not open a stream of gossip to \(named(peer)) again, \((now - due).seconds) after it was due")
        }
        // Who is told of many that do not exist has no room for others.
        for (peer, dialled) in log.dials where world.liars.isEmpty && world.indexes[peer] != nil {
            guard case .waiting(let until) = dialled.state else { continue }
            // Whoever has as many connections as it is to keep, or dials many others, comes to it later.
            guard now - until > Run.dialSlack else { continue }
            guard now <= dialled.since + process.peer.settings.book.learntAddressTTL, process.machine.knowsWay(to: peer) else {
                log.dials.remove(peer)
                continue
            }
            return world.fail(.live, "\(world.name(index)) does not dial \(named(peer)), \((now - until).seconds) after it was due")
        }
        // Those that it was set up with are dialled at once, whatever else there is.
        for (peer, missed) in log.missed {
            guard let due = missed.due, now - due > .seconds(1), world.indexes[peer] != nil, process.machine.knowsWay(to: peer),
                process.peer.settings.bootPeers.contains(where: { $0.peer == peer && $0.isPermanent })
            else { continue }
            return world.fail(.live, "\(world.name(index)) does not dial \(named(peer)), which it was set up with, \((now - due).seconds) after it was due at the latest")
        }
    }
}
