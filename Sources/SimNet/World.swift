// The world of a simulation: virtual time, peers, a network, and what is done to them. One thread, one seed, one run.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

package struct WorldSettings: Sendable {
    package var network = NetworkSettings()
    package var syncLatencyMin = Span.milliseconds(1)
    package var syncLatencyMax = Span.milliseconds(12)
    /// Jobs go on slice by slice.
    package var sliceLatencyMin = Span.milliseconds(1)
    package var sliceLatencyMax = Span.milliseconds(50)
    package var ipfs = SimIPFSSettings()
    package init() {}
}

/// One step in so many is cut off by a crash between two of its effects; or exactly one is.
package enum StepCrashes: Equatable, Sendable {
    case never
    case oneIn(Int)
    /// Of this peer's steps the one of that number, after so many of its effects.
    case at(peer: Int, step: UInt64, effect: Int)
}

enum WorldEvent {
    case input(Process, PeerInput)
    case wake(Process, generation: UInt64)
    case packet(SimConnection, Link, Packet)
    case synced(Process, SyncTicket, SimDisk.PendingSync)
    /// A request's time has come at the IPFS of that peer.
    case ipfs(Process, SimIPFS.Task)
    /// A slice of a job begins; what the slice before had synced ends.
    case job(Process, number: UInt64, syncs: [SimDisk.PendingSync])
    case silence(SimConnection)
    case action((World) -> Void)
}

package final class World {
    package let tape: Tape
    package let settings: WorldSettings
    package private(set) var now: Int64 = 0
    package private(set) var digest = TraceDigest()
    package private(set) var eventCount: UInt64 = 0
    /// Events at this very time. Peers that keep each other or themselves busy without time passing would do so for ever.
    private var eventsNow = 0
    private static let eventsNowMax = 100_000
    package var peers: [SimPeer] = []
    var indexes: [PeerID: Int] = [:]
    private var queue = EventQueue<WorldEvent>()
    var network: SimNetwork
    var nextClient: UInt64 = 0
    /// Syncs take so many times as long, and requests to IPFS, on all peers.
    package var diskPace = 1
    package var ipfsPace = 1
    /// Some pins take long, and tell how far they are.
    package var hasLongPins = false
    /// Blocks that were put into any daemon: nobody else has them.
    var putBlocks: Set<Multihash> = []
    /// How long a client that lists takes for each chunk.
    package var readerPause = Span.zero
    private var hungUp = SortedSet<ClientID>()
    /// What clients have still to upload.
    private var sending: [ClientID: Sending] = [:]
    private struct Sending {
        let peer: Int
        /// Who restarts knows nothing of the client.
        let life: UInt64
        /// Before each.
        let gap: Span
        var rest: ArraySlice<ClientInput>
        var isPaused = false
        /// Its next comes in a moment.
        var isSending = false
    }
    /// Called with each reply to a client of the simulation.
    var onReply: [ClientID: (World, ClientReply) -> Void] = [:]
    /// Called before a peer hears of a client's request.
    var beforeRequest: ((Process, ClientID, ClientRequest) -> Void)?
    /// Called after each step of a peer: the oracles.
    package var afterStep: ((World, Int, PeerInput, ArraySlice<PeerEffect>) -> Void)?
    /// Called when a peer has gone down, by itself or not.
    package var onDown: ((World, Int) -> Void)?
    /// Called with the bytes of an upload that a daemon has not looked at.
    var onUploading: ((World, Int, Int) -> Void)?
    /// Called with the digest so far after each event: where two runs part.
    package var onEvent: ((UInt64, Int64, TraceDigest) -> Void)?
    /// One line for each event, where anyone wants to read them.
    package var log: ((String) -> Void)?
    /// What happened, where anyone wants to look at it. `cause` of what is to come is `current`.
    package var entries: [TraceEntry]?
    package var onEntry: ((TraceEntry) -> Void)?
    package private(set) var current = -1
    package private(set) var failure: String?
    package private(set) var failedOracle: Oracle?
    /// Faults under way that end by themselves.
    var striking = SortedSet<Int>()
    /// Power that is cut as soon as a client is told that a write is done, and whose was.
    var powerCuts = SortedMap<Int, (fault: Fault, struck: [Int])>()
    /// Hostile members that are to want something of whoever they are connected to next, before they introduce themselves.
    var strangers = SortedMap<Int, Fault>()
    /// Hostile members that tell of peers that do not exist, and how often they have.
    var liars: [Int: UInt64] = [:]
    /// What hostile members wanted last, and what they want no more: by the fault.
    var hostileWants = SortedMap<Int, (of: Int, last: Multihash, not: [Multihash])>()
    /// Called when a peer has heard the end of what a hostile member had to say.
    var onHostileEnd: ((World, Int, Int) -> Void)?
    /// Streams of gossip hear that they have drained when so many bytes have been sent; 0 for at once.
    package var tellsDrainedFrom = 0
    /// Peers keep whom they have come to know, as the daemon does. Where everybody knows everybody from the start it changes nothing.
    package var keepsPeerstores = false
    package var stepCrashes = StepCrashes.never
    /// Effects of each step, for whoever wants to crash between them: (peer, step, effects).
    package var onStep: ((Int, UInt64, Int) -> Void)?
    /// Of the step that is looked at some effects are not carried out: a crash comes before them.
    package private(set) var isStepCut = false
    /// Every message of gossip that an author has said, mixed.
    var published: Set<UInt64> = []
    /// What each author has said last.
    var lastSaid = SortedMap<Int, Bytes>()
    /// After a crash between two effects.
    package var onStepCrash: ((World) -> Void)?
    /// The run is of no further interest.
    package private(set) var isAbandoned = false
    package func abandon() { isAbandoned = true }
    package private(set) var probes = ProbeCounts()

    package init(seed: UInt64, settings: WorldSettings = WorldSettings()) {
        tape = Tape(seed: seed)
        self.settings = settings
        network = SimNetwork(settings: settings.network)
    }
    package init(tape: Tape, settings: WorldSettings = WorldSettings()) {
        self.tape = tape
        self.settings = settings
        network = SimNetwork(settings: settings.network)
    }
    deinit { for connection in network.liveConnections { connection.streams = [] } }

    // MARK: Time

    /// Handles everything up to that virtual time.
    package func run(until end: Int64) {
        while failure == nil, !isAbandoned, let next = queue.nextTime, next <= end { step() }
        now = max(now, failure == nil ? end : now)
    }
    package func run(for span: Span) { run(until: now + span.nanoseconds) }

    /// Runs until the condition holds, looking every `interval`. False if it never did within the limit.
    package func run(until condition: (World) -> Bool, within limit: Span, every interval: Span = .milliseconds(500)) -> Bool {
        let end = now + limit.nanoseconds
        while failure == nil && !isAbandoned && !condition(self) {
            if now >= end { return false }
            run(until: min(end, now + interval.nanoseconds))
        }
        return failure == nil
    }

    private func step() {
        guard let (at, event, cause) = queue.next() else { return }
        eventsNow = at > now ? 0 : eventsNow + 1
        if eventsNow > World.eventsNowMax { return fail(.spin, "\(World.eventsNowMax) events without time passing; \(whoIsBusy)") }
        now = max(now, at)
        eventCount += 1
        current = cause
        switch event {
        case .input(let process, let input): if process.isCurrent { feed(process, input) }
        case .wake(let process, let generation):
            if process.isCurrent, process.wakeGeneration == generation { feed(process, .wake) }
        case .packet(let connection, let link, let packet): take(connection, link, packet)
        case .synced(let process, let ticket, let pending):
            guard process.isCurrent else { return }
            process.syncing -= 1
            let failure = process.peer.disk.endSync(pending)
            if failure != nil { hit(.syncFailed) }
            feed(process, .disk(failure.map { .syncFailed(ticket, $0) } ?? .synced(ticket)))
        case .ipfs(let process, let task): runIPFS(process, task)
        case .job(let process, let number, let syncs): if process.isCurrent { runJob(process, number, syncs) }
        case .silence(let connection): onSilence(connection)
        case .action(let action): action(self)
        }
        current = -1
        onEvent?(eventCount, now, digest)
    }

    private var whoIsBusy: String {
        let due = peers.compactMap { peer in
            peer.process.map { "\(name(peer.index)): \($0.machine.due(at: peer.clock.reading(now).monotonic).joined(separator: " "))" }
        }
        return "due are \(due.joined(separator: ", "))"
    }

    func schedule(_ event: WorldEvent, at: Int64, tie: UInt32 = 0) {
        queue.schedule(event, at: at, tie: tie, cause: current)
    }
    /// An event of a peer's: a tie of its own.
    func schedule(_ event: WorldEvent, of peer: SimPeer, at: Int64) {
        peer.scheduled += 1
        queue.schedule(event, at: at, tie: tape.tie(UInt64(peer.index), peer.scheduled), cause: current)
    }
    func schedule(_ process: Process, _ input: PeerInput, after delay: Span) {
        schedule(.input(process, input), of: process.peer, at: now + delay.nanoseconds)
    }

    /// Does something at a virtual time.
    package func at(_ time: Int64, _ action: @escaping (World) -> Void) { schedule(.action(action), at: max(now, time)) }
    package func after(_ span: Span, _ action: @escaping (World) -> Void) { at(now + span.nanoseconds, action) }

    /// Stops the run. The first failure counts.
    package func fail(_ oracle: Oracle, _ text: String) {
        guard failure == nil else { return }
        failure = "\(oracle.rawValue): \(text)"
        failedOracle = oracle
        record(.failure(oracle: oracle.rawValue), nil, "!! " + (failure ?? ""))
    }

    package func hit(_ probe: Probe) { probes.hit(probe) }

    // MARK: Records

    package var isWatched: Bool { log != nil || entries != nil || onEntry != nil }

    /// What is worth a line.
    package func record(
        _ kind: @autoclosure () -> TraceEntry.Kind, _ peer: Int?, _ text: @autoclosure () -> String, cids: @autoclosure () -> [CID] = []
    ) {
        guard isWatched else { return }
        let text = text()
        log?("\(stamp) \(peer.map { "\(name($0)) " } ?? "")\(text)")
        guard entries != nil || onEntry != nil else { return }
        let entry = TraceEntry(at: now, peer: peer, cause: current < 0 ? nil : current, kind: kind(), text: text, cids: cids())
        onEntry?(entry)
        entries?.append(entry)
    }
    package func note(_ peer: Int? = nil, _ line: @autoclosure () -> String) { record(.log(level: "note"), peer, line()) }

    private var stamp: String {
        let milliseconds = now / 1_000_000
        let text = "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst())"
        return String(repeating: " ", count: max(0, 10 - text.count)) + text
    }
    func setCurrent(_ entry: Int) { current = entry }
    /// What is recorded from here on was brought about by the entry recorded last.
    private func followLast() { if let entries { current = entries.count - 1 } }

    // MARK: Steps of a peer

    /// Hands one input to a peer's machine and carries out what comes of it.
    func feed(_ process: Process, _ input: PeerInput) {
        guard process.isCurrent else { return }  // it may have crashed over the last
        if process.suspended != nil {
            hit(.suspended)
            process.suspended?.append(input)
            return
        }
        let peer = process.peer
        let before = current
        defer { current = before }
        peer.steps += 1
        var choices = tape.stream(.peer, UInt64(peer.index), peer.steps)
        var effects: [PeerEffect] = []
        mix(peer.index, input)
        if isWatched {
            record(.input(label: input.label), peer.index, "← \(describe(input))", cids: mentioned(in: input))
            followLast()
        }
        let reading = peer.clock.reading(now)
        if peer.clock.isWrong { hit(.clockWrong) }
        if case .client(let client, let request) = input { beforeRequest?(process, client, request) }
        process.machine.step(input, at: reading, choices: &choices, effects: &effects)
        onStep?(peer.index, peer.steps, effects.count)
        let kept = crashPoint(peer, effects.count) ?? effects.count
        for effect in effects[..<kept] { carryOut(process, effect) }
        isStepCut = kept < effects.count
        afterStep?(self, peer.index, input, effects[..<kept])
        if isStepCut {
            isStepCut = false
            hit(.crashedBetweenEffects)
            crash(peer.index)
            onStepCrash?(self)
        }
    }

    /// A crash between two effects, where the run wants such.
    private func crashPoint(_ peer: SimPeer, _ count: Int) -> Int? {
        switch stepCrashes {
        case .never: return nil
        case .oneIn(let rate):
            guard count > 0 else { return nil }
            var choices = tape.stream(.faults, UInt64(peer.index), peer.steps)
            return choices.chance(1, in: rate) ? choices.below(count) : nil
        case .at(let index, let step, let effect): return index == peer.index && step == peer.steps && effect < count ? effect : nil
        }
    }

    func carryOut(_ process: Process, _ effect: PeerEffect) {
        let peer = process.peer
        mix(peer.index, effect)
        switch effect {
        case .wake(let at):
            process.wakeGeneration += 1
            guard let at else { return }
            schedule(.wake(process, generation: process.wakeGeneration), of: peer, at: max(now, peer.clock.trueTime(of: at)))
        case .connection(let effect): carryOut(process, effect)
        case .stream(let effect): carryOut(process, effect)
        case .disk(.sync(let name, let ticket)):
            peer.syncs += 1
            let delay = tape.span(.disk, UInt64(peer.index), peer.syncs, settings.syncLatencyMin, settings.syncLatencyMax)
            let pending = peer.disk.beginSync(name)
            if peer.diskSlowness > 1 { hit(.diskSlow) }
            process.syncing += 1
            schedule(.synced(process, ticket, pending), of: peer, at: now + delay.nanoseconds * Int64(max(diskPace, peer.diskSlowness)))
        case .disk(let effect):
            peer.disk.apply(effect)
            cutPower(in: peer.index, writing: effect)
        case .job(let job):
            process.jobs[job.number] = job
            scheduleJob(process, job.number, [])
        case .exchange(let effect): carryOut(process, effect)
        case .reply(let client, let reply):
            record(.effect(label: "reply"), peer.index, "→ client \(client.number): \(describe(reply))", cids: mentioned(in: reply))
            if isWatched, case .item(.pin(let pin)) = reply { record(.pin(pin.cid, state: "accepted"), peer.index, "accepted", cids: [pin.cid]) }
            if !sending.isEmpty { heed(client, reply) }
            onReply[client]?(self, reply)
            // Whoever lists takes all there is, until it hangs up.
            if hungUp.contains(client) { return }
            switch reply {
            case .item(.pins), .item(.infos):
                schedule(.input(process, .clientInput(client, .more)), of: peer, at: now + 1 + readerPause.nanoseconds)
            default: break
            }
        case .log(let line):
            record(.log(level: "\(line.level)"), peer.index, "  \(line.level) \(line.component): \(line.message)", cids: mentioned(in: line.message))
        case .ready: note(peer.index, "is ready")
        case .stopped: if process.isCurrent { end(process) }
        case .fatal(let reason): if process.isCurrent { takeDown(peer.index, "gives up: \(reason)") }
        }
    }

    // MARK: Jobs

    private func scheduleJob(_ process: Process, _ number: UInt64, _ syncs: [SimDisk.PendingSync]) {
        let peer = process.peer
        peer.slices += 1
        let delay = tape.span(.job, UInt64(peer.index), peer.slices, settings.sliceLatencyMin, settings.sliceLatencyMax)
        schedule(.job(process, number: number, syncs: syncs), of: peer, at: now + delay.nanoseconds * Int64(peer.diskSlowness))
    }

    private func runJob(_ process: Process, _ number: UInt64, _ syncs: [SimDisk.PendingSync]) {
        let disk = process.peer.disk
        for sync in syncs {
            if let failure = disk.endSync(sync) { return endJob(process, number, .failed(.disk(failure))) }
        }
        guard process.jobs[number] != nil else { return }
        var effects: [DiskEffect] = []
        do throws(LogError) {
            if let outcome = try process.jobs[number]?.advance(reader: disk, effects: &effects) {
                return endJob(process, number, outcome)
            }
        } catch { return endJob(process, number, .failed(error)) }
        var pending: [SimDisk.PendingSync] = []
        for effect in effects {
            if case .sync(let name, _) = effect { pending.append(disk.beginSync(name)) } else { disk.apply(effect) }
        }
        scheduleJob(process, number, pending)
    }

    private func endJob(_ process: Process, _ number: UInt64, _ outcome: JobOutcome) {
        process.jobs[number] = nil
        if case .failed = outcome { hit(.jobFailed) }
        feed(process, .job(number, outcome))
    }

    package func name(_ index: Int) -> String { "p\(index)" }

    // MARK: Clients

    /// Asks a peer as a client would. `each` takes every reply. Whoever asks a peer that is down hears nothing.
    @discardableResult
    package func ask(_ index: Int, _ request: ClientRequest, each: @escaping (World, ClientReply) -> Void) -> ClientID {
        nextClient += 1
        let client = ClientID(nextClient)
        onReply[client] = each
        if let process = peers[index].process { schedule(process, .client(client, request), after: .zero) }
        return client
    }
    package func hangUp(_ index: Int, _ client: ClientID) {
        hungUp.insert(client)
        if let process = peers[index].process { schedule(process, .clientGone(client), after: Span(nanoseconds: 1)) }  // not before it has asked
    }
    /// What follows an upload's request, in this order, as long as the peer does not ask for a pause; with so much time before each.
    package func send(_ index: Int, _ client: ClientID, _ inputs: [ClientInput], every gap: Span = .zero) {
        sending[client] = Sending(peer: index, life: peers[index].lives, gap: max(gap, Span(nanoseconds: 1)), rest: inputs[...])
        sendNext(client)
    }
    private func sendNext(_ client: ClientID) {
        // One after the other, though a peer may take a pause and end it, more than once, before the next is sent.
        guard let next = sending[client], !next.isPaused, !next.isSending else { return }
        guard let input = next.rest.first, let process = peers[next.peer].process, process.peer.lives == next.life else { return sending[client] = nil }
        sending[client]?.rest.removeFirst()
        schedule(process, .clientInput(client, input), after: next.gap)
        sending[client]?.isSending = true
        after(next.gap + Span(nanoseconds: 1)) { world in
            world.sending[client]?.isSending = false
            world.sendNext(client)
        }
    }
    private func heed(_ client: ClientID, _ reply: ClientReply) {
        switch reply {
        case .pause: sending[client]?.isPaused = true
        case .resume:
            guard sending[client]?.isPaused == true else { return }
            sending[client]?.isPaused = false
            sendNext(client)
        case .end, .failed: sending[client] = nil
        case .item: break
        }
    }

    // MARK: Digest

    private func mix(_ index: Int, _ input: PeerInput) {
        digest.mix(UInt64(bitPattern: now))
        digest.mix(UInt64(index) << 8 | input.kindCode)
        input.mixPayload(into: &digest)
    }
    private func mix(_ index: Int, _ effect: PeerEffect) {
        digest.mix(UInt64(index) << 8 | 128 | effect.kindCode)
        effect.mixPayload(into: &digest)
    }
}
