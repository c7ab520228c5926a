// What a peer does by itself: becoming ready, state sync, recover, alerts, re-pinning, and stopping.
// spec/tracker-allocator-monitor.md CLU-12..14, CLU-30..33, CLU-40, CLU-41, CLU-46; bug zoo A02..A06.

import Allocation
import Crypto
import Gossip
import Encoding
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
    struct Loops: Sendable {
        var askIPFSAt: Instant?
        /// How often the IPFS daemon has not answered.
        var ipfsRetries = 0
        var stateSyncAt: Instant?
        var recoverAt: Instant?
        var repinAt: Instant?
        /// A peer has come that has not heard our metrics and heads.
        var greetAt: Instant?
        /// Who has come and is asked whom it knows, when.
        var newcomers = FIFO<(peer: PeerID, at: Instant)>()
        /// When, and how often, a connected peer was asked for the addresses of someone who is heard through it.
        var askedAroundAt: Instant?
        var askedAround = 0
        /// The IPFS daemons are introduced to each other, once.
        var connectSwarmsAt: Instant?
        /// Those of the peers dialled from the start that are still to answer; nil when it has been told who did.
        var dialledFirst: SortedSet<PeerID>?
        /// When the store's numbers are told next; nil where nobody reads them.
        var statisticsAt: Instant?
        /// It has been told that the store is open.
        var isStoreTold = false
        /// The next of many writes.
        var bulkAt: Instant?
        /// Where the sweeps go on.
        var stateSyncCursor: LogAddress?
        var repinCursor: LogAddress?
        /// Peers that were silent when the running sweep began, and the first sweep in a row that found each so.
        var repinFor: [PeerID] = []
        var silentSince = SortedMap<PeerID, Instant>()
        /// When peers that were never heard are looked for again.
        var unheardAt: Instant?
        /// A sweep for them alone is due; and they have had their time: whatever is swept, they count as silent.
        var sweepsUnheard = false, countsUnheardSince: Instant?
        /// Peers that are to hold nothing for which others can be found, in the order in which that was asked for.
        var leavers: [Leaver] = []
        var leaverAt: Instant?
        /// What it changes by itself, re-pinned or expired, until that is written: whoever asks for many at once comes after it.
        var changing: Set<CID> = []

        /// The state is being made anew: what it lacks so far says nothing.
        mutating func holdSweeps(_ now: Instant) {
            let later = { (due: Instant?) in due.map { max($0, now + .seconds(1)) } }
            (stateSyncAt, recoverAt, repinAt, leaverAt) = (later(stateSyncAt), later(recoverAt), later(repinAt), later(leaverAt))
        }

        var nextDeadline: Instant? {
            let sweeps = earliest(earliest(stateSyncAt, recoverAt), earliest(repinAt, leaverAt))
            let first = earliest(earliest(askIPFSAt, greetAt), newcomers.first?.at)
            return earliest(sweeps, earliest(earliest(first, statisticsAt), earliest(connectSwarmsAt, bulkAt)))
        }
    }

    /// A peer out of which pins are allocated anew.
    struct Leaver: Sendable {
        let peer: PeerID
        var cursor: LogAddress?
        var isSwept = false
        /// Its pins that are being written.
        var left = 0
        let then: Then<Void>
    }

    // MARK: Starting

    mutating func start() {
        for (place, (peer, addresses, isPermanent)) in settings.bootPeers.enumerated() {
            book.learn(peer, addresses, isPermanent: isPermanent, priority: isPermanent ? 0 : 1 + place, now: turn.now)
        }
        if case .only(let trusted) = settings.trust {  // CRDT-104
            for peer in trusted { book.learn(peer, [], isPermanent: true, priority: 0, now: turn.now) }
        }
        beginJoining()
        let (topic, trust) = (settings.replicaTopic, settings.trust)
        withGossip { $0.subscribe(topic, trust: trust, now: $1.now, choices: &$1.choices, effects: &$2) }
        withGossip { $0.subscribe(Monitor.topic, trust: .everyone, now: $1.now, choices: &$1.choices, effects: &$2) }
        monitor.start(now: turn.now)
        describeConsensus()
        loops.dialledFirst = SortedSet(settings.bootPeers.map(\.peer))
        tellPeers()
        note(.info, "cluster", "Waiting for IPFS to be ready...")
        awaitIPFS()
    }

    private mutating func describeConsensus() {
        if settings.infoLoggers.contains("crdt") { loops.statisticsAt = turn.now.monotonic + Self.statisticsInterval }
        if replica.isOpen { tellStore() }
        if case .everyone = settings.trust { inform("crdt", "'trust all' mode enabled. Any peer in the cluster can modify the pinset.") }
        let (isBatching, size, age) = (settings.replica.isBatching, settings.replica.batchSizeMax, settings.replica.batchAgeMax)
        if isBatching { inform("crdt", "'crdt batching' enabled: \(size) items / \(age.goText)") }
    }

    private static let toldPeersMin = 3

    /// CLI-055: when those that are dialled first have answered, or some of them. One of them has, or never will.
    mutating func tellPeers(after peer: PeerID? = nil) {
        guard loops.dialledFirst != nil else { return }
        if let peer { loops.dialledFirst?.remove(peer) }
        let connected = settings.bootPeers.map(\.peer).filter { book.isConnected($0) }
        guard loops.dialledFirst?.isEmpty == true || connected.count >= Self.toldPeersMin else { return }
        loops.dialledFirst = nil
        let others = SortedSet(members + connected).filter { $0 != id }
        note(.info, "cluster", "Cluster Peers (without including ourselves):")
        for name in others.isEmpty ? ["No other peers"] : others.map(\.description) { note(.info, "cluster", "    - \(name)") }
    }

    private static let statisticsInterval = Span.minutes(5)

    /// As soon as it has been read.
    mutating func tellStore() {
        guard !loops.isStoreTold else { return }
        loops.isStoreTold = true
        let (heads, isDirty) = (replica.heads, replica.isDirty)
        inform("crdt", "crdt Datastore created. Number of heads: \(heads.count). Current max-height: \(heads.map(\.height).max() ?? 0). Dirty: \(isDirty)")
    }

    private mutating func tellStatistics() {
        loops.statisticsAt = turn.now.monotonic + Self.statisticsInterval
        let (heads, jobs, isDirty) = (replica.heads, replica.jobCount, replica.isDirty)
        inform("crdt", "Number of heads: \(heads.count). Current max height: \(heads.map(\.height).max() ?? 0). Queued jobs: \(jobs). Dirty: \(isDirty)")
    }

    private mutating func awaitIPFS() {
        loops.askIPFSAt = nil
        askIPFS(.id) { peer, result in
            guard peer.phase == .awaitingIPFS else { return }
            if case .success(.id(let id)) = result, peer.replica.isOpen { peer.becomeReady(id) } else {
                if case .failure = result { peer.tellIPFSIsAway() }
                peer.loops.askIPFSAt = peer.turn.now.monotonic + .seconds(1)
            }
        }
    }

    private mutating func tellIPFSIsAway() {
        loops.ipfsRetries += 1
        let retries = loops.ipfsRetries
        if retries.isMultiple(of: 10) { note(.warning, "ipfshttp", "ipfs does not seem to be available after \(retries) retries") }
    }

    private mutating func becomeReady(_ ipfs: IPFSID) {
        ipfsID = ipfs
        phase = .ready
        let name = ipfs.id.map { $0.description } ?? ""
        note(.info, "cluster", "IPFS is ready. Peer ID: \(name)")
        note(.info, "cluster", "** IPFS Cluster is READY **")
        turn.effects.append(.ready)
        informers.publishAll(now: turn.now)
        loops.stateSyncAt = turn.now.monotonic + settings.stateSyncInterval
        loops.recoverAt = turn.now.monotonic  // CLU-14: the first at once
        loops.unheardAt = turn.now.monotonic + settings.unheardPatience
        if !settings.isRepinningDisabled { loops.repinAt = turn.now.monotonic + settings.repinInterval }
        if case .kubo = settings.ipfs, settings.connectSwarmsDelay > .zero {
            loops.connectSwarmsAt = turn.now.monotonic + settings.connectSwarmsDelay
        }
    }

    // MARK: Loops

    mutating func runLoops() {
        let now = turn.now.monotonic
        if let due = loops.askIPFSAt, due <= now { awaitIPFS() }
        if !replica.isOpen { loops.holdSweeps(now) }
        if let due = loops.stateSyncAt, due <= now { syncState() }
        if let due = loops.recoverAt, due <= now { beginRecovery() }
        continueSurveys()
        if let due = loops.repinAt, due <= now { repinSweep() }
        if let due = loops.leaverAt, due <= now { sweepLeaver() }
        if let due = loops.statisticsAt, due <= now { tellStatistics() }
        if let due = loops.connectSwarmsAt, due <= now {
            loops.connectSwarmsAt = nil
            connectSwarms()
        }
        while let newcomer = loops.newcomers.first, newcomer.at <= now {
            loops.newcomers.popFirst()
            if book.isConnected(newcomer.peer) { learnPeers(of: newcomer.peer) }
        }
        if let due = loops.greetAt, due <= now {
            loops.greetAt = nil
            if phase == .ready { withInformers { informers, now, _ in informers.publishAll(now: now) } }
            withReplica { replica, turn, _ in replica.tellSoon(now: turn.now, choices: &turn.choices) }
        }
    }

    /// IPFS-07, IPFS-52: blocks then go from daemon to daemon without a search.
    private mutating func connectSwarms() {
        allPeers { cluster, peers in
            let others = peers.filter { $0.id != cluster.id && $0.error.isEmpty && $0.ipfs.error.isEmpty && $0.ipfs.id != cluster.ipfsID.id }
            cluster.connectSwarms(others.map { $0.ipfs.addresses ?? [] }[...])
        }
    }

    /// One daemon after another, at the first of its addresses that answers.
    private mutating func connectSwarms(_ daemons: ArraySlice<[Multiaddr]>) {
        guard phase == .ready, let addresses = daemons.first else { return }
        guard let address = addresses.first else { return connectSwarms(daemons.dropFirst()) }
        askIPFS(.swarmConnect(address)) { cluster, result in
            switch result {
            case .success: cluster.connectSwarms(daemons.dropFirst())
            case .failure(let failure):
                cluster.note(.debug, "ipfshttp", "connecting to the IPFS daemon at \(address): \(failure.description)")
                cluster.connectSwarms([Array(addresses.dropFirst())] + daemons.dropFirst())
            }
        }
    }

    /// How long sharded content that has expired waits for blocks that are missing. Not every block comes.
    private static let expiryPatience = Span.minutes(15)

    /// CLU-12: expired pins are unpinned by the trusted peer closest to each. A slice at a time.
    private mutating func syncState() {
        var expired: [(cid: CID, at: WallTime)] = []
        let pending = replica.pendingKeys  // may just be given a later expiry
        let rivals = trustedMembers(without: [])
        // Of sharded content some shards may be in a block that is still to come: they would stay for ever (seed 256229425).
        let patience = replica.absentCount == 0 ? Span.zero : ClusterPeer.expiryPatience
        // A closure that saw all of the peer would make a copy of it.
        let (cursor, damage) = sweep(from: loops.stateSyncCursor, if: { $1.expireAt != 0 }) { [wall = turn.now.wall, id] _, pin in
            guard pin.isExpired(at: wall), !pending.contains(pin.cid.stateKey), isClosest(id, to: pin.cid, among: rivals) else { return }
            let end = pin.options.expireAt
            switch pin.type {
            case .data: expired.append((pin.cid, end))
            case .meta: if end + patience < wall { expired.append((pin.cid, end)) }
            case .shard, .clusterDAG, .bad: break  // shards go with their content
            }
        }
        mend(damage)
        let isDone = cursor == nil
        loops.stateSyncCursor = cursor
        loops.stateSyncAt = turn.now.monotonic + (isDone ? settings.stateSyncInterval : .milliseconds(10))
        guard !settings.isFollower else { return }
        for (cid, end) in expired {
            inform("cluster", "Unpinning \(cid): pin expired at \(end.goText)")
            loops.changing.insert(cid)
            unpin(cid) { peer, outcome in
                peer.loops.changing.remove(cid)
                guard case .failure(let failure) = outcome else { return }
                peer.note(.error, "cluster", "unpinning the expired \(cid): \(failure.message)")
            }
        }
    }

    /// CLU-13: who may act for a pin. Looked up once a sweep, since members do not change within a step.
    private func trustedMembers(without dead: [PeerID]) -> [PeerID] {
        members.filter { settings.trust.trusts($0) && !dead.contains($0) }
    }

    // MARK: Alerts and re-pinning

    mutating func onMetric(_ metric: Metric) {
        monitor.onMetric(metric, now: turn.now)
        // Who is silent again after this has been so from then on, though no sweep has seen it alive (seed 3100766).
        if metric.name == "ping", metric.counts(at: turn.now.wall) { loops.silentSince[metric.peer] = nil }
        if metric.name == settings.peersetMetric { lookUp(metric.peer) }
    }

    /// Someone is heard through others whom nobody here can dial: those who were asked when they came may not have known it yet.
    private mutating func lookUp(_ member: PeerID) {
        guard member != id, !book.isConnected(member), book.addresses(of: member).isEmpty else { return }
        let friends = book.connectedPeers
        guard !friends.isEmpty, loops.askedAroundAt.map({ $0 + .seconds(10) <= turn.now.monotonic }) ?? true else { return }
        loops.askedAroundAt = turn.now.monotonic
        learnPeers(of: friends[loops.askedAround % friends.count])
        loops.askedAround += 1
    }

    mutating func onAlert(_ alert: Alert) {
        guard !settings.isFollower else { return }
        monitor.record(alert)
        note(.warning, "cluster", "metric alert for \(alert.metric.name): Peer: \(alert.metric.peer).")
        if alert.metric.name == "ping", !settings.isRepinningDisabled { loops.repinAt = turn.now.monotonic }
    }

    /// Level-triggered: as long as a peer is silent, the pins that its silence leaves below their minimum are allocated
    /// anew by the closest trusted peer that is alive. Who takes over a fallen closest peer follows by itself; and where the closest
    /// does not act, as upstream's does once only, the next does after some sweeps, and so on. A peer that was lost before this one
    /// started has never been heard here: it counts as silent when it has had its time.
    private mutating func repinSweep() {
        guard phase == .ready, !settings.isFollower else { loops.repinAt = nil; return }
        if loops.repinCursor == nil { beginRepinSweep() }
        let silent = loops.repinFor
        var endangered: [Pin] = []
        // An update that waits in a batch would be undone by a copy of the state's pin: it is looked at when it is merged.
        let pending = replica.pendingKeys
        let rivals = trustedMembers(without: silent)
        let (since, unheard) = (loops.silentSince, loops.countsUnheardSince)
        let (now, patience) = (turn.now.monotonic, settings.repinInterval.nanoseconds * Self.sweepsUntilTheNextActs)
        let isSwept = !silent.isEmpty || loops.sweepsUnheard
        let (cursor, damage) = !isSwept ? (nil, nil) : sweep(from: loops.repinCursor, if: { $1.factorMin >= 0 }) { [monitor, id, changing = loops.changing] _, pin in
            // Since when each that does not count is known to be gone.
            let gone = (pin.allocations ?? []).compactMap { since[$0] ?? ($0 != id && monitor.latest("ping", of: $0) == nil ? unheard : nil) }
            let alive = (pin.allocations ?? []).count - gone.count
            guard !pin.isPinnedEverywhere, alive < pin.options.replicationFactorMin, pin.type != .meta,
                !changing.contains(pin.cid), !pending.contains(pin.cid.stateKey)
            else { return }
            let waited = gone.max().map { (now - $0).nanoseconds } ?? 0
            guard closerPeers(than: id, to: pin.cid, among: rivals) <= waited / patience else { return }
            endangered.append(pin)
        }
        mend(damage)
        let isDone = cursor == nil
        loops.repinCursor = cursor
        loops.repinAt = turn.now.monotonic + (isDone ? settings.repinInterval : .milliseconds(10))
        for pin in endangered { repin(pin, without: silent) }
    }

    private static let sweepsUntilTheNextActs: Int64 = 4

    private mutating func beginRepinSweep() {
        loops.repinFor = monitor.silentPeers("ping", now: turn.now)
        var since = SortedMap<PeerID, Instant>()
        for peer in loops.repinFor { since[peer] = loops.silentSince[peer] ?? turn.now.monotonic }
        loops.silentSince = since
        loops.sweepsUnheard = loops.unheardAt.map { $0 <= turn.now.monotonic } ?? false
        guard loops.sweepsUnheard else { return }
        loops.countsUnheardSince = loops.countsUnheardSince ?? turn.now.monotonic
        // However seldom the state is looked through for other reasons: the next in order waits for it to act (seed 2223045).
        loops.unheardAt = turn.now.monotonic + min(settings.stateSyncInterval, .minutes(5))
    }

    /// CLU-33: what a peer's leaving would leave below its minimum is allocated anew without it, by whoever is asked to remove it.
    /// Done when all of that is written; what cannot be is logged.
    mutating func vacate(_ peer: PeerID, then: @escaping Then<Void>) {
        guard !settings.isRepinningDisabled else {
            note(.warning, "cluster", "repinning is disabled. Will not re-allocate cids from \(peer)")
            return then(&self, ())
        }
        guard !settings.isFollower else { return then(&self, ()) }  // it writes nothing
        note(.info, "cluster", "re-allocating all CIDs directly associated to \(peer)")
        loops.leavers.append(Leaver(peer: peer, then: then))
        if loops.leaverAt == nil { loops.leaverAt = turn.now.monotonic }
    }

    /// A slice of the pinset, when what the last one held is written.
    private mutating func sweepLeaver() {
        guard let leaver = loops.leavers.first, leaver.left == 0 else { return loops.leaverAt = nil }
        guard !leaver.isSwept else {
            loops.leavers.removeFirst()
            loops.leaverAt = loops.leavers.isEmpty ? nil : turn.now.monotonic
            return leaver.then(&self, ())
        }
        let (peer, silent, pending) = (leaver.peer, monitor.silentPeers("ping", now: turn.now), replica.pendingKeys)
        var held: [Pin] = []
        let (cursor, damage) = sweep(from: leaver.cursor, if: { $1.factorMin >= 0 }) { [changing = loops.changing] _, pin in
            let allocations = pin.allocations ?? []
            guard allocations.contains(peer), !pin.isPinnedEverywhere, pin.type != .meta, !changing.contains(pin.cid), !pending.contains(pin.cid.stateKey),
                allocations.count(where: { $0 != peer && !silent.contains($0) }) < pin.options.replicationFactorMin
            else { return }
            held.append(pin)
        }
        mend(damage)
        (loops.leavers[0].cursor, loops.leavers[0].isSwept, loops.leavers[0].left) = (cursor, cursor == nil, held.count)
        loops.leaverAt = held.isEmpty ? turn.now.monotonic + .milliseconds(10) : nil
        for pin in held {
            repin(pin, without: silent + [peer]) { cluster in
                cluster.loops.leavers[0].left -= 1
                if cluster.loops.leavers[0].left == 0 { cluster.loops.leaverAt = cluster.turn.now.monotonic + .milliseconds(10) }
            }
        }
    }

    private mutating func repin(_ pin: Pin, without silent: [PeerID], then: @escaping @Sendable (inout ClusterPeer) -> Void = { _ in }) {
        guard !pin.isExpired(at: turn.now.wall) else { return then(&self) }  // it is to go, not to be kept
        var request = pin
        request.allocations = []
        request.options.pinUpdate = nil
        let (cid, left) = (pin.cid, silent.filter((pin.allocations ?? []).contains))
        loops.changing.insert(cid)
        self.pin(request, without: silent, partOf: adder(of: pin)) { peer, outcome in
            peer.loops.changing.remove(cid)
            switch outcome {
            case .success: peer.note(.info, "cluster", "repinned \(cid) out of \(left.map(\.description).joined(separator: ", "))")
            case .failure(let failure): peer.note(.warning, "cluster", "repinning \(cid): \(failure.message)")
            }
            then(&peer)
        }
    }

    // MARK: Stopping

    mutating func shutDown() {
        guard phase == .awaitingIPFS || phase == .ready else { return }
        phase = .stopping
        note(.info, "cluster", "shutting down Cluster")
        withReplica { $0.flush(now: $1.now, effects: &$2) }
    }

    /// Stops when everything that was accepted is in the log (CRDT-138).
    mutating func finishStopping() {
        guard replica.isFlushed else { return }
        // The topics are not left: the back-off of a PRUNE would keep us out of the meshes for a minute if we are back soon.
        phase = .stopped
        let ends = [("crdt", "Consensus component"), ("monitor", "Monitor"), ("ipfshttp", "IPFS Connector"), ("pintracker", "StatelessPinTracker")]
        for (component, name) in ends { note(.info, component, "stopping \(name)") }  // CLI-060
        if replica.isDirty { note(.warning, "crdt", "datastore is being closed marked as dirty") }
        turn.effects.append(.stopped)
    }
}

/// CLU-13: who acts for a pin.
private func isClosest(_ id: PeerID, to cid: CID, among others: [PeerID]) -> Bool {
    closerPeers(than: id, to: cid, among: others) == 0
}
private func closerPeers(than id: PeerID, to cid: CID, among others: [PeerID]) -> Int {
    Allocation.closerPeers(than: id, to: cid, among: others, hash: { blake2b($0, count: 32) })
}
