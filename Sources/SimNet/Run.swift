// A whole run of a plan: peers, clients, faults, then healing, and what must hold while and after.

import Allocation
import Cluster
import Crypto
import DHT
import DagList
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
import Tracking

/// What came of a run.
package struct Verdict: Sendable {
    package let plan: RunPlan
    /// The oracle's name and what it saw, or nil.
    package let failure: String?
    package let oracle: Oracle?
    package let digest: TraceDigest
    package let events: UInt64
    package let virtualTime: Span
    /// From the healing of all until all agreed, and how long that may take.
    package let settleTime: Span?
    package let settleBound: Span
    package let acknowledged: Int
    package let probes: ProbeCounts
    /// What of the workload was asked: see `Operation.features`.
    package let features: Set<String>
    /// How often peers' views of a world at rest were compared, and answers judged: a run that judges nothing proves nothing.
    package let judged: Int
}

package final class Run {
    package let world: World
    package let plan: RunPlan
    var options: RunOptions { plan.options }
    var oracles = OracleState()
    var blocks = BlockState()
    var crowd = CrowdState()
    /// By the index of the peer.
    var lifeLogs: [LifeLog?] = []
    /// Where peers are in the DHT.
    var positions: [PeerID: Position] = [:]
    /// Frames of gossip that were read lately.
    var gossipRead: [UInt64: GossipSaid] = [:]
    /// How often was looked at what goes on all the time.
    var looks = 0
    /// What the numbers of contents stand for.
    var contents: [Int: CID] = [:]
    /// Bytes of the largest file that is added.
    private(set) lazy var largestAdd = plan.operations.lazy.filter { $0.kind == .add }.compactMap { Words($0.words).number("bytes") }.max() ?? 0
    private var settledAfter: Span?
    /// Who is not lost for good, nor an absentee for now; and of these, who is trusted.
    var present: [Int] { world.peers.indices.filter { !world.peers[$0].isLost && !absent.contains($0) } }
    var trusted: [Int] { present.filter { $0 != outsider } }
    var absent: [Int] = []
    private var latecomers: Range<Int> { options.latecomers }
    var outsider: Int? { options.hasOutsider ? options.peers : nil }
    /// Called when the storm begins.
    package var onStorm: (() -> Void)?
    /// When the storm begins: the zero of a plan's times.
    static let warmUp = Span.seconds(40)

    package init(_ plan: RunPlan, log: ((String) -> Void)? = nil) {
        self.plan = plan
        world = World(tape: plan.tape)
        world.log = log
        addPeers()
        lifeLogs = Array(repeating: nil, count: world.peers.count)
        introduceFew()
        drawClocks()
        for peer in world.peers { peer.disk.writesLate = options.writesLate }
        world.readerPause = world.tape.span(.reader, 0, 0, .milliseconds(1), .milliseconds(Int64(max(1, options.readerPause))))
        world.beforeRequest = { [unowned self] in noteExpected($1, $2, $0) }
        world.afterStep = { [unowned self] _, index, input, effects in checkStep(index, input, effects) }
        world.onHostileEnd = { [unowned self] _, index, fault in checkHostileWants(index, fault) }
        world.onDown = { [unowned self] _, index in forgetAsked(index) }
        world.onUploading = { [unowned self] _, index, bytes in checkUploading(index, bytes) }
    }

    private func addPeers() {
        let options = options
        let inside = SortedSet((0..<options.peers).map { SimPeer.identity($0, world.tape) })
        var index = 0
        world.addPeers(options.peers + (options.hasOutsider ? 1 : 0)) { peer in
            let isOdd = options.isSkewed && index % 2 == 1
            if options.hasOutsider { peer.trust = .only(SortedSet(inside.elements + [peer.me])) }
            peer.allocateBy = options.allocateBy
            (peer.pinsOnlyOnTrusted, peer.pinsOnlyOnUntrusted) = (options.pinsOnlyOnTrusted, options.pinsOnlyOnUntrusted)
            if options.allocateBy.contains("reposize") { peer.informers.disk?.metric = .reposize }
            peer.isFollower = options.outsiderFollows && index == options.peers
            peer.factors = ReplicationFactors(min: isOdd ? 1 : options.factorMin, max: options.factorMax)
            peer.isRepinningDisabled = !options.heals(.repin) || index < options.bystanders
            peer.replica.repairInterval = options.heals(.repair) ? .minutes(10) : .hours(24)
            if !options.heals(.rebroadcast) { peer.replica.rebroadcastInterval = .hours(24) }
            peer.replica.index.tableEntries = options.indexEntries
            (peer.listing.bytesPerChunk, peer.listing.statusesPerChunk, peer.sweepBytes) = (2048, 3, 2048)
            peer.replica.log.segmentBytes = options.segmentBytes
            peer.replica.replayBytesAtOpen = options.replayBytesAtOpen
            if options.indexEntries < 100 { (peer.replica.replayBytesPerStep, peer.replica.mergedPerStep) = (1, 1) }
            peer.tracker.concurrentPins = max(1, options.concurrentPins)
            peer.informers.pinQueue?.bucketSize = 1
            if options.groups > 1 { peer.informers.tags?.tags = [("group", "g\(index % options.groups)")] }
            var kubo = KuboSettings()
            // What hangs is to be over before the run is.
            (kubo.pinTimeout, kubo.unpinTimeout, kubo.repoGCTimeout) = (options.pinTimeout, options.pinTimeout, .minutes(2))
            peer.ipfs = options.isEmbedded ? .embedded(EmbeddedSettings()) : .kubo(kubo)
            peer.recoverInterval = options.heals(.recover) ? .minutes(2) : .hours(24)
            peer.stateSyncInterval = options.heals(.stateSync) ? options.stateSyncInterval : .hours(24)
            if options.isBatching != isOdd { (peer.replica.batchSizeMax, peer.replica.batchAgeMax) = (10, options.batchAge) }
            options.limits.apply(to: &peer)
            // Every message goes to everybody over every link of the mesh: of the metrics, those that pinning needs.
            if isCrowd {
                if !options.allocateBy.contains("tag:group") { peer.informers.tags = nil }
                if !options.allocateBy.contains("pinqueue") { peer.informers.pinQueue = nil }
                peer.informers.disk?.ttl = .minutes(2)
            }
            index += 1
        }
        for old in options.peers - options.oldPeers..<options.peers where old >= 0 {
            world.peers[old].protocols.removeAll { $0 == DagList.protocolID }
        }
    }

    private func drawClocks() {
        guard options.clockDriftMax > 0 else { return }
        for index in world.peers.indices {
            var choices = world.tape.stream(.clock, UInt64(index))
            let width = 2 * options.clockDriftMax + 1
            world.peers[index].clock.drift = Int64(choices.below(width) - options.clockDriftMax)
            world.peers[index].clock.wallOffset = .milliseconds(Int64(choices.below(2000)) - 1000)
        }
    }

    /// Runs it all. The same plan gives the same verdict, digest included.
    package func execute() -> Verdict {
        if options.drill > 0 { drill() }
        world.startAll(but: latecomers)
        world.run(for: Run.warmUp)
        storm()
        world.run(for: options.workloadLength)
        if world.failure == nil && !world.isAbandoned { settle() }
        return Verdict(
            plan: plan, failure: world.failure, oracle: world.failedOracle, digest: world.digest, events: world.eventCount,
            virtualTime: Span(nanoseconds: world.now), settleTime: settledAfter, settleBound: settleBound,
            acknowledged: oracles.acknowledged, probes: world.probes, features: Set(plan.operations.flatMap(\.features)),
            judged: oracles.judged)
    }

    private func drill() {
        for drill in Drill.all(world.tape, steps: options.drill) {
            for line in drill.failure == nil ? drill.lines.suffix(1) : drill.lines[...] { world.note(nil, "\(drill.subject) alone: \(line)") }
            if let (oracle, text) = drill.failure { world.fail(oracle, "\(drill.subject) alone: \(text)") }
        }
    }

    /// The run as something to look at, before its first entry.
    package var trace: Trace {
        var trace = Trace(title: "seed \(plan.seed)", peerNames: world.peers.map { world.name($0.index) })
        if !options.isEmbedded { trace.contents = (1...max(1, options.contents)).compactMap { content($0) } }
        return trace
    }

    // MARK: The storm

    private func storm() {
        checkIntroduced()
        for operation in plan.operations { world.after(operation.at) { [unowned self] _ in perform(operation) } }
        for fault in plan.faults where !fault.isLate { world.after(fault.at) { [unowned self] world in strike(fault, world) } }
        for fault in plan.faults where fault.kind == .rollback {
            world.after(Span(nanoseconds: max(0, fault.at.nanoseconds - Span.minutes(1).nanoseconds))) { world in
                for index in fault.peers { world.peers[index].backUp() }
            }
        }
        watchWants()
        (world.diskPace, world.ipfsPace, world.hasLongPins) = (max(1, options.diskPace), max(1, options.ipfsPace), options.hasLongPins)
        onStorm?()
        if let (peer, step, effect) = plan.stepCrash { world.stepCrashes = .at(peer: peer, step: step, effect: effect) }
        else if options.stepCrashOneIn > 0 { world.stepCrashes = .oneIn(options.stepCrashOneIn) }
        let count = Int64(latecomers.count)
        for (place, index) in latecomers.enumerated() { world.after(options.workloadLength * Int64(place + 1) / (count + 1)) { $0.start(index) } }
        // Who crashed between two effects is started again by its supervisor; who a fault keeps down stays down until that ends.
        for beat in 1...max(1, Int(options.workloadLength.nanoseconds / 5_000_000_000)) where world.stepCrashes != .never {
            world.after(.seconds(Int64(beat) * 5)) { world in for index in world.peers.indices where self.hasCome(index) { world.start(index) } }
        }
    }

    private func strike(_ fault: Fault, _ world: World) {
        if fault.kind == .lose, !mayLose(fault.peers[0]) { return }
        world.strike(fault)
        // Those that are down may hold what nobody else has.
        if fault.kind == .lose { for index in world.peers.indices where hasCome(index) { world.start(index) } }
    }

    /// Somebody that is trusted must be left.
    private func mayLose(_ index: Int) -> Bool {
        !world.peers[index].isLost && trusted.contains { $0 != index && hasCome($0) }
    }
    private func hasCome(_ index: Int) -> Bool { !latecomers.contains(index) || world.peers[index].lives > 0 }

    // MARK: Healing

    private func settle() {
        world.record(.phase("healed"), nil, "-- faults end; everything is healed --")
        world.stepCrashes = .never
        (world.diskPace, world.ipfsPace, world.hasLongPins) = (1, 1, false)
        world.healAll()
        chooseAbsentees()
        startPresent()
        watchCrowd()
        let began = world.now
        if !absent.isEmpty {
            awaitAgreement()
            guard world.failure == nil else { return }
            world.record(.phase("return"), nil, "-- those who were away come back --")
            absent = []
            startPresent()
        }
        awaitAgreement()
        settledAfter = Span(nanoseconds: world.now - began)
        if plan.spoilsDisks, world.failure == nil {
            world.run(for: .minutes(11))  // the sweeps read all of it
            awaitAgreement()
        }
        for fault in plan.faults where fault.isLate && world.failure == nil { strikeLate(fault) }
        if world.failure == nil { writeInCrowd() }
        if world.failure == nil { checkEnd() }
    }

    private func startPresent() {
        for index in present { world.start(index) }
        // Who was leaving may have been waiting for its disk.
        for beat in 1...6 {
            world.after(.seconds(Int64(beat) * 10)) { [unowned self] world in for index in present { world.start(index) } }
        }
        poke()
    }

    /// Where nobody tells its heads again, only what is new makes the others hear of what they miss; and once more when what
    /// nobody has is given up, which makes heads.
    private func poke() {
        guard !options.heals(.rebroadcast) else { return }
        for (round, pause) in [Span.zero, ReplicaSettings().fetchTimeout + .minutes(1)].enumerated() {
            for (place, index) in trusted.enumerated() {
                world.after(pause + .seconds(Int64(30 + place))) { [unowned self] _ in
                    let number = 100_000 * (round + 1) + index
                    perform(Operation(number: number, at: .zero, peers: [index], kind: .pin, contents: [1000 + index], words: ["name=poke\(round)"]))
                }
            }
        }
    }

    /// Some are down for long, and the others must do without them. What only they have comes back with them.
    private func chooseAbsentees() {
        guard options.absentees > 0 else { return }
        var choices = world.tape.stream(.swarm, 1)
        for index in choices.permuted(trusted) where absent.count < options.absentees && trusted.count > max(1, options.factorMin) {
            absent.append(index)
            world.crash(index)
        }
        // Whoever has joined by way of those alone finds nobody (seed 7004421).
        for index in trusted where !absent.isEmpty && trusted.count > 1 && isCutOff(index) {
            absent.append(index)
            world.crash(index)
        }
        if !absent.isEmpty { world.note(nil, "-- \(absent.map(world.name).joined(separator: " ")) stay away --") }
    }

    /// Nobody who is here knows where it is, nor does it know where any of them is.
    private func isCutOff(_ index: Int) -> Bool {
        guard let own = world.peers[index].process else { return false }
        return present.allSatisfy { other in
            other == index || !own.machine.knowsWay(to: world.peers[other].id) && world.peers[other].process?.machine.knowsWay(to: world.peers[index].id) != true
        }
    }

    private func strikeLate(_ fault: Fault) {
        switch fault.kind {
        case .lose:
            guard mayLose(fault.peers[0]) else { return }
            awaitConnections()
            guard world.failure == nil else { return }
            let before = trusted.first.flatMap { world.peers[$0].process?.machine.replica }.map(history) ?? []
            // A path that takes long to resolve is pinned later, and may be on the peer that is lost (seed 1718215).
            let asked = oracles.asked.values.flatMap(\.request.writtenCIDs)
            world.strike(fault)
            awaitRepins(of: fault.peers[0])
            awaitAgreement()
            if world.failure == nil { checkRepins(since: before, but: asked) }
        case .rot:
            // Whoever reads there finds out; it is made good from the others, and all agree again.
            guard let index = fault.peers.first, trusted.contains(index), trusted.count > 1 else { return }
            world.strike(fault)
            if fault.number % 2 == 0 { world.crash(index); world.start(index) }
            poke()  // a head that has rotted is named by no block here
            world.run(for: .minutes(11))  // the sweeps read all of it, every ten minutes by a clock that may be slow
            if !sweeps {
                // Where nobody sweeps it is found by whoever asks (seeds 920268, 962277).
                perform(Operation(number: 400_000 + fault.number, at: .zero, peers: [index], kind: .list))
                world.run(for: .minutes(2))
            }
            awaitAgreement()
        default:
            world.strike(fault)
            world.run(for: fault.length)
            world.healAll()
            awaitAgreement()
        }
    }

    /// How long a healed cluster may take until it agrees, by its own settings: what was being waited for runs out, holes are
    /// fetched again or given up, silent peers are noticed and replaced, and all that failed is tried once more.
    var settleBound: Span {
        let replica = ReplicaSettings()
        let notice = world.settings.network.silentConnectionLifetime + .minutes(2)  // and the longest wait before dialling again
        let spread = replica.rebroadcastInterval * 3
        let fetch = replica.fetchTimeout * 2 + .minutes(11)  // and one round of repair
        let repin = PeerSettings(me: world.peers[0].id).unheardPatience + .minutes(2) * Int64(1 + options.bystanders) + (options.bystanders > 0 ? .minutes(5) : .zero)
        // One after another, twice each; with what lies in shards these count each (seed 62256358 --disk-faults).
        let patience = options.isEmbedded ? EmbeddedSettings().pinTimeout : options.pinTimeout
        let turns = 2 + (options.contents + 2 * oracles.shardsOf.count) / max(1, options.concurrentPins)
        let pinning = .minutes(2) * 3 + patience * Int64(turns) + .minutes(3)
        // What finds the queue full is recovered two minutes later.
        let queued = options.limits.queueMax
        let refused = queued == 0 ? Span.zero : .minutes(2) * Int64(2 + max(options.contents, plan.operations.count) / (queued + max(1, options.concurrentPins)))
        return notice + spread + fetch + repin + pinning + refused + datedAhead
    }

    /// How far ahead a peer's clock has been at most: for as long what it published then counts, though it has gone (seed 3301143).
    private var datedAhead: Span {
        let ahead = world.peers.indices.map { index in
            plan.faults.filter { $0.kind == .clockOffset && $0.peers.first == index }.reduce(0) { $0 + max(0, $1.amount) }
        }
        return .seconds(Int64(ahead.max() ?? 0))
    }

    /// Those who have heard of each other only by way of a third would lose each other with it.
    private func awaitConnections() {
        let pairs = present.flatMap { a in present.filter { $0 > a }.map { (a, $0) } }
        func parted(_ world: World) -> (Int, Int)? { pairs.first { world.network.connection($0.0, $0.1) == nil } }
        guard !world.run(until: { parted($0) == nil }, within: settleBound, every: .seconds(5)), world.failure == nil else { return }
        if let (a, b) = parted(world) { world.fail(.live, "\(world.name(a)) and \(world.name(b)) are not connected, long after all was healed") }
    }

    func awaitAgreement() {
        let limit = settleBound
        var watch = CircleWatch()
        watch.idleMax = watch.idleMax + datedAhead
        let agreed = world.run(
            until: { [unowned self] world in
                guard let reason = unsettled() else { return true }
                if let circle = watch.look(coarseState(), at: world.now, reason) { world.fail(.circle, circle) }
                return false
            }, within: limit, every: .seconds(5))
        if world.failure == nil && !agreed {
            let reason = unsettled() ?? Unsettled(.settle, "did not settle in time")
            world.fail(reason.oracle, reason.text)
        }
    }
}
