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
    /// One step in this many is cut off by a crash between two of its effects. 0 for never.
    package var crashOneStepIn = 0
    package init() {}
}

package enum WorldEvent {
    case input(peer: Int, epoch: Int, PeerInput)
    case wake(peer: Int, epoch: Int, generation: UInt64)
    case transit(number: UInt64)
    case synced(peer: Int, epoch: Int, SyncTicket, SimDisk.PendingSync)
    case ipfs(peer: Int, epoch: Int, SimIPFS.Task)
    /// A slice of a job begins; what the slice before had synced ends.
    case job(peer: Int, epoch: Int, number: UInt64, syncs: [SimDisk.PendingSync])
    case silence(connection: UInt64)
    case action(Int)
}

package final class World {
    package let draws: Draws
    package let settings: WorldSettings
    package private(set) var now: Int64 = 0
    package private(set) var digest = TraceDigest()
    package private(set) var eventCount: UInt64 = 0
    /// Events at this very time. Peers that keep each other or themselves busy without time passing would do so for ever.
    private var eventsNow = 0
    private static let eventsNowMax = 100_000
    package var peers: [SimPeer] = []
    var queue: EventQueue<WorldEvent>
    var network: SimNetwork
    var transits: [UInt64: Transit] = [:]
    var actions: [(World) -> Void] = []
    var nextClient: UInt64 = 0
    /// How long a client that lists takes for each chunk.
    package var readerPause = Span.zero
    /// Called with each reply to a client of the simulation.
    var onReply: [ClientID: (World, ClientReply) -> Void] = [:]
    /// Called after each step of a peer: the oracles.
    package var afterStep: ((World, Int, PeerInput, ArraySlice<PeerEffect>) -> Void)?
    /// One line for each event, where anyone wants to read them.
    package var log: ((String) -> Void)?
    package private(set) var failure: String?
    private var mayCrashMidStep = true
    /// No more crashes between effects: the run heals.
    package func stopCrashing() { mayCrashMidStep = false }

    package init(seed: UInt64, settings: WorldSettings = WorldSettings()) {
        draws = Draws(seed: seed)
        self.settings = settings
        queue = EventQueue(ties: draws.stream(.ties))
        network = SimNetwork(settings: settings.network)
    }

    // MARK: Time

    /// Handles everything up to that virtual time.
    package func run(until end: Int64) {
        while failure == nil, let next = queue.nextTime, next <= end { step() }
        now = max(now, failure == nil ? end : now)
    }
    package func run(for span: Span) { run(until: now + span.nanoseconds) }

    /// Runs until the condition holds, looking every `interval`. False if it never did within the limit.
    package func run(until condition: (World) -> Bool, within limit: Span, every interval: Span = .milliseconds(500)) -> Bool {
        let end = now + limit.nanoseconds
        while failure == nil && !condition(self) {
            if now >= end { return false }
            run(until: min(end, now + interval.nanoseconds))
        }
        return failure == nil
    }

    private func step() {
        guard let (at, event) = queue.next() else { return }
        eventsNow = at > now ? 0 : eventsNow + 1
        if eventsNow > World.eventsNowMax { return fail("SPIN: \(World.eventsNowMax) events without time passing, the last: \(event)") }
        now = max(now, at)
        eventCount += 1
        switch event {
        case .input(let peer, let epoch, let input): if peers[peer].epoch == epoch { feed(peer, input) }
        case .wake(let peer, let epoch, let generation):
            if peers[peer].epoch == epoch, peers[peer].wakeGeneration == generation { feed(peer, .wake) }
        case .transit(let number): arrive(number)
        case .synced(let peer, let epoch, let ticket, let pending):
            guard peers[peer].epoch == epoch else { return }
            let failure = peers[peer].disk.endSync(pending)
            feed(peer, .disk(failure.map { .syncFailed(ticket, $0) } ?? .synced(ticket)))
        case .ipfs(let peer, let epoch, let task): runIPFS(peer, epoch, task)
        case .job(let peer, let epoch, let number, let syncs): if peers[peer].epoch == epoch { runJob(peer, number, syncs) }
        case .silence(let connection): onSilence(connection)
        case .action(let index): actions[index](self)
        }
    }

    /// Does something at a virtual time.
    package func at(_ time: Int64, _ action: @escaping (World) -> Void) {
        actions.append(action)
        queue.schedule(.action(actions.count - 1), at: max(now, time))
    }
    package func after(_ span: Span, _ action: @escaping (World) -> Void) { at(now + span.nanoseconds, action) }

    /// Stops the run. The first failure counts.
    package func fail(_ message: String) {
        guard failure == nil else { return }
        failure = message
        note("!! " + message)
    }

    package func note(_ line: @autoclosure () -> String) { log?("\(stamp) \(line())") }
    private var stamp: String {
        let milliseconds = now / 1_000_000
        let text = "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst())"
        return String(repeating: " ", count: max(0, 10 - text.count)) + text
    }

    // MARK: Steps of a peer

    /// Hands one input to a peer's machine and carries out what comes of it.
    func feed(_ index: Int, _ input: PeerInput) {
        guard peers[index].isUp else { return }
        if peers[index].suspended != nil {
            peers[index].suspended?.append(input)
            return
        }
        peers[index].steps += 1
        var choices = draws.stream(.peer, UInt64(index), peers[index].steps)
        var effects: [PeerEffect] = []
        mix(index, input)
        log?("\(stamp) \(name(index)) ← \(describe(input))")
        let reading = peers[index].clock.reading(now)
        peers[index].machine?.step(input, at: reading, choices: &choices, effects: &effects)
        let kept = crashPoint(index, effects.count) ?? effects.count
        for effect in effects[..<kept] { carryOut(index, effect) }
        afterStep?(self, index, input, effects[..<kept])
        if kept < effects.count { crash(index) }
    }

    /// A crash between two effects, where the run wants such.
    private func crashPoint(_ index: Int, _ count: Int) -> Int? {
        guard mayCrashMidStep, settings.crashOneStepIn > 0, count > 0 else { return nil }
        var choices = draws.stream(.faults, UInt64(index), peers[index].steps)
        return choices.chance(1, in: settings.crashOneStepIn) ? choices.below(count) : nil
    }

    func carryOut(_ index: Int, _ effect: PeerEffect) {
        mix(index, effect)
        switch effect {
        case .wake(let at):
            peers[index].wakeGeneration += 1
            guard let at else { return }
            let event = WorldEvent.wake(
                peer: index, epoch: peers[index].epoch, generation: peers[index].wakeGeneration)
            queue.schedule(event, at: max(now, peers[index].clock.trueTime(of: at)))
        case .connection(let effect): carryOut(index, effect)
        case .stream(let effect): carryOut(index, effect)
        case .disk(.sync(let name, let ticket)):
            var choices = draws.stream(.disk, UInt64(index), eventCount)
            let delay = choices.span(settings.syncLatencyMin, settings.syncLatencyMax).nanoseconds
            let pending = peers[index].disk.beginSync(name)
            queue.schedule(.synced(peer: index, epoch: peers[index].epoch, ticket, pending), at: now + delay)
        case .disk(let effect): peers[index].disk.apply(effect)
        case .job(let job):
            peers[index].jobs[job.number] = job
            scheduleJob(index, job.number, [])
        case .exchange(let effect): carryOut(index, effect)
        case .reply(let client, let reply):
            log?("\(stamp) \(name(index)) → client \(client.number): \(describe(reply))")
            onReply[client]?(self, reply)
            // Whoever lists takes all there is.
            switch reply {
            case .item(.pins), .item(.infos):
                queue.schedule(.input(peer: index, epoch: peers[index].epoch, .clientInput(client, .more)), at: now + 1 + readerPause.nanoseconds)
            default: break
            }
        case .log(let line): log?("\(stamp) \(name(index))   \(line.level) \(line.component): \(line.message)")
        case .ready: note("\(name(index)) is ready")
        case .stopped:
            note("\(name(index)) has stopped")
            takeDown(index)
        case .fatal(let reason):
            note("\(name(index)) gives up: \(reason)")
            takeDown(index)
        }
    }

    // MARK: Jobs

    private func scheduleJob(_ index: Int, _ number: UInt64, _ syncs: [SimDisk.PendingSync]) {
        var choices = draws.stream(.disk, UInt64(index) | 1 << 33, eventCount)
        let delay = choices.span(settings.sliceLatencyMin, settings.sliceLatencyMax).nanoseconds
        queue.schedule(.job(peer: index, epoch: peers[index].epoch, number: number, syncs: syncs), at: now + delay)
    }

    private func runJob(_ index: Int, _ number: UInt64, _ syncs: [SimDisk.PendingSync]) {
        for sync in syncs {
            if let failure = peers[index].disk.endSync(sync) { return endJob(index, number, .failed(.disk(failure))) }
        }
        guard peers[index].jobs[number] != nil else { return }
        let disk = peers[index].disk
        var effects: [DiskEffect] = []
        do throws(LogError) {
            if let outcome = try peers[index].jobs[number]?.advance(reader: disk, effects: &effects) {
                return endJob(index, number, outcome)
            }
        } catch { return endJob(index, number, .failed(error)) }
        var pending: [SimDisk.PendingSync] = []
        for effect in effects {
            if case .sync(let name, _) = effect { pending.append(disk.beginSync(name)) } else { disk.apply(effect) }
        }
        scheduleJob(index, number, pending)
    }

    private func endJob(_ index: Int, _ number: UInt64, _ outcome: JobOutcome) {
        peers[index].jobs[number] = nil
        feed(index, .job(number, outcome))
    }

    package func name(_ index: Int) -> String { "p\(index)" }

    // MARK: Clients

    /// Asks a peer as a client would. `each` takes every reply.
    @discardableResult
    package func ask(_ index: Int, _ request: ClientRequest, each: @escaping (World, ClientReply) -> Void) -> ClientID {
        nextClient += 1
        let client = ClientID(nextClient)
        onReply[client] = each
        queue.schedule(.input(peer: index, epoch: peers[index].epoch, .client(client, request)), at: now)
        return client
    }
    package func hangUp(_ index: Int, _ client: ClientID) {
        queue.schedule(.input(peer: index, epoch: peers[index].epoch, .clientGone(client)), at: now)
    }
    /// What follows an upload's request, in this order.
    package func send(_ index: Int, _ client: ClientID, _ inputs: [ClientInput]) {
        for (offset, input) in inputs.enumerated() {
            queue.schedule(.input(peer: index, epoch: peers[index].epoch, .clientInput(client, input)), at: now + 1 + Int64(offset))
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
