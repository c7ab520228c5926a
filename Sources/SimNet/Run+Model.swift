// What a peer must answer to a write of one pin, by a model of the rules that is made apart from the peer's code: from what the peer
// held and had heard when it was asked. spec/tracker-allocator-monitor.md CLU-01..11, ALC-01..18; spec/rest-api.md REST-090..094.

import Allocation
import Cluster
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams

/// What must come of a write.
enum Expected {
    /// Why it must be refused, and in which words.
    case refusal(String, says: String)
    /// The pin as it must be answered, but for its allocations.
    case pin(Pin, AllocationRule)
}

/// Which allocations are right: ALC-05..09, ALC-12..16.
struct AllocationRule: Equatable {
    /// Those that stay, whatever comes to them.
    var kept: [PeerID] = []
    /// How many there must be.
    var count = 0
    /// Those that may come to them, and of these, who goes first as the client asked.
    var candidates: [PeerID] = []
    var preferred: [PeerID] = []
    /// Among the others, more goes first, in each group for itself. Empty where nothing is said of that.
    var weights = SortedMap<PeerID, Int64>()
    /// Whom each tag groups, in the order in which they have their turns: those with more room together first.
    var groups: [[PeerID]] = []
    /// When the metrics came that say so: others may have come and gone between two that say the same (seed 7400080).
    var heardAt: [Int64] = []

    /// How many of each group take it, if so many of them do.
    func turns(_ count: Int) -> [Int] {
        var taken = groups.map { _ in 0 }
        var left = min(count, groups.reduce(0) { $0 + $1.count })
        while left > 0 {
            for (place, group) in groups.enumerated() where left > 0 && taken[place] < group.count { (taken[place], left) = (taken[place] + 1, left - 1) }
        }
        return taken
    }
}

extension Run {
    /// The words by which a peer says that a write may not be, whatever the state of its disk and its IPFS.
    private static let refusals = [
        "not part of the pinset", "ExpireAt", "cannot repin", "replication_factor", "not enough peers", "cannot be updated", "cannot unpin",
        "should not", "must pin", "bad replication factors",
    ]

    static let notThere = "pin is not part of the pinset"

    /// CLU-03, CFG-083: in this order.
    private static func faultOfFactors(_ least: Int, _ most: Int) -> String? {
        if least == 0 || most == 0 { return "min and max must be set" }
        if least > most { return "min is larger than max" }
        if least < -1 { return "min is wrong" }
        if most < -1 { return "max is wrong" }
        return (least == -1) != (most == -1) ? "min and max must be -1 when one of them is" : nil
    }

    /// Just before the request is taken up.
    func noteExpected(_ client: ClientID, _ request: ClientRequest, _ process: Process) {
        noteViews(client, request)
        guard oracles.asked[client] != nil, process.machine.replica.isOpen else { return }
        if case .add(let parameters) = request { oracles.asked[client]?.rule = rule(for: parameters.options, at: process.index) }
        do throws(LogFault) { oracles.asked[client]?.expected = try expected(request, process) } catch {}
    }

    private func expected(_ request: ClientRequest, _ process: Process) throws(LogFault) -> Expected? {
        if process.peer.settings.isFollower {
            switch request {
            case .pin, .unpin, .pinAll, .unpinAll, .add: return .refusal("is asked of a follower", says: "this peer is configured to be in follower mode. Write operations are disabled")
            default: return nil
            }
        }
        switch request {
        case .pin(let pin): return try expected(pin, process)
        case .pinPath(let path) where !path.isNamed:
            guard let cid = request.writtenCIDs.first else { return nil }
            var pin = Pin(cid: cid, options: path.options)
            if path.options.mode == .direct { pin.maxDepth = 0 }
            return try expected(pin, process)
        case .unpin(let cid):
            guard let held = try held(cid, process) else { return .refusal("is not in the pinset", says: Run.notThere) }
            switch held.type {
            case .data: return .pin(held, AllocationRule(kept: held.allocations ?? [], count: (held.allocations ?? []).count))
            case .shard: return .refusal("is a part of other content", says: "cannot unpin a shard directly. Unpin content root CID instead")
            case .clusterDAG: return .refusal("is a list of parts of other content", says: "cannot unpin a Cluster DAG directly. Unpin content root CID instead")
            case .meta, .bad: return nil
            }
        default: return nil
        }
    }

    /// Zero is as it is set (CLU-03).
    private static func factors(of options: PinOptions, _ settings: PeerSettings) -> (least: Int, most: Int) {
        let (least, most) = (options.replicationFactorMin, options.replicationFactorMax)
        return (least == 0 ? settings.factors.min : least, most == 0 ? settings.factors.max : most)
    }

    private func expected(_ asked: Pin, _ process: Process) throws(LogFault) -> Expected? {
        let settings = process.peer.settings, now = process.peer.clock.reading(world.now)
        if let source = asked.options.pinUpdate, source != asked.cid { return try expectedUpdate(of: source, asked, now) { cid throws(LogFault) in try held(cid, process) } }
        var pin = asked
        let (least, most) = Run.factors(of: asked.options, settings)
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (least, most)
        if let fault = Run.faultOfFactors(least, most) { return .refusal("has factors that make no sense", says: "cluster.replication_factor_\(fault)") }
        if !isUnset(pin.options.expireAt), pin.options.expireAt < now.wall { return .refusal("has expired before it is pinned", says: "pin.ExpireAt set before current time") }
        let existing = try held(pin.cid, process)
        if let existing {
            if existing.type != .data {
                let says = "cannot repin CID with different tracking method, clear state with pin rm to proceed. New: \(PinType.data.text). Was: \(existing.type.text)"
                return .refusal("is in the pinset as another type", says: says)
            }
            if existing.options.mode == .recursive, pin.options.mode == .direct {
                let says = "cannot repin a CID which is already pinned in recursive mode (new pin is pinned as direct). Unpin it first."
                return .refusal("is pinned recursively, and is to be direct", says: says)
            }
        }
        pin.timestamp = now.wall
        guard least > 0 else { return .pin(pin, AllocationRule()) }
        guard let rule = rule(for: pin, existing?.allocations ?? [], process, now) else { return .refusal("has fewer candidates than it needs", says: "not enough peers to allocate CID. Needed at least: ") }
        return .pin(pin, rule)
    }

    /// ANSWER: pins that are asked for together are refused for what each by itself would be.
    func judgeTaken(_ options: PinOptions, askedAt asked: Int64, by index: Int) {
        let settings = world.peers[index].settings, wall = world.peers[index].clock.reading(asked).wall
        let (least, most) = Run.factors(of: options, settings)
        oracles.judged += 1
        func complain(_ text: String) { world.fail(.answer, "\(world.name(index)) has taken many pins, which \(text)") }
        if let fault = Run.faultOfFactors(least, most) { return complain("have factors that make no sense: \(fault)") }
        if options.pinUpdate != nil { return complain("update one") }
        if !isUnset(options.expireAt), options.expireAt < wall, !plan.has(.clock) { complain("had expired before") }
    }

    /// CLU-08.
    private func expectedUpdate(
        of source: CID, _ asked: Pin, _ now: Now, _ held: (CID) throws(LogFault) -> Pin?
    ) throws(LogFault) -> Expected {
        guard var pin = try held(source) else { return .refusal("updates a pin that is not there", says: Run.notThere) }
        if pin.type != .data { return .refusal("updates what is no plain pin", says: "this pin type cannot be updated") }
        pin.cid = asked.cid
        pin.options.pinUpdate = source
        pin.timestamp = now.wall
        if !asked.options.name.isEmpty { pin.options.name = asked.options.name }
        let expires = asked.options.expireAt
        if !isUnset(expires), expires > now.wall { pin.options.expireAt = expires }
        return .pin(pin, AllocationRule(kept: pin.allocations ?? [], count: (pin.allocations ?? []).count))
    }

    /// To whom the blocks of an add go, as a peer sees it now. Nil where nothing is said of that.
    func rule(for options: PinOptions, at index: Int) -> AllocationRule? {
        guard let process = world.peers[index].process else { return nil }
        var pin = Pin(cid: Run.nothing, options: options)
        let (least, most) = Run.factors(of: options, process.peer.settings)
        guard least > 0, most >= least else { return nil }
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (least, most)
        return rule(for: pin, [], process, process.peer.clock.reading(world.now))
    }
    private static let nothing = CID(v1: Codec.raw, .sha2_256(of: []))

    /// ALLOC: the blocks of an add go where a pin of the same options would; of a local one at least one stays here (ADD-50, ADD-55).
    func judge(allocations told: [PeerID], _ parameters: AddParameters, _ before: AllocationRule?, at index: Int) {
        let isFree = (parameters.options.userAllocations ?? []).isEmpty
        guard let rule = before, rule == self.rule(for: parameters.options, at: index), !parameters.shard, !(parameters.isLocal && isFree), !told.isEmpty else { return }
        oracles.judged += 1
        if let fault = fault(of: told, rule) { world.fail(.alloc, "\(world.name(index)) sends what is added away, and \(fault)") }
    }

    /// Nil: there are not enough.
    private func rule(for pin: Pin, _ current: [PeerID], _ process: Process, _ now: Now) -> AllocationRule? {
        let names = process.peer.settings.allocateBy, (least, most) = (pin.options.replicationFactorMin, pin.options.replicationFactorMax)
        var metrics: [SortedMap<PeerID, Metric>] = []
        for name in names {
            var valid = SortedMap<PeerID, Metric>()
            for peer in world.peers {
                guard let metric = process.machine.monitor.latest(name, of: peer.id), metric.counts(at: now.wall) else { continue }
                valid[peer.id] = metric
            }
            metrics.append(valid)
        }
        let settings = process.peer.settings
        let able = world.peers.map(\.id).filter { peer in
            metrics.allSatisfy { $0[peer] != nil } && !(settings.trust.trusts(peer) ? settings.pinsOnlyOnUntrusted : settings.pinsOnlyOnTrusted)
        }
        let kept = current.filter(able.contains).sorted()
        if kept.count > most { return AllocationRule(kept: Array(kept.prefix(most)), count: most) }
        if kept.count >= least { return AllocationRule(kept: current, count: current.count) }
        let candidates = able.filter { !current.contains($0) }
        guard kept.count + candidates.count >= least else { return nil }
        var rule = AllocationRule(kept: kept, count: min(most, kept.count + candidates.count), candidates: candidates)
        rule.heardAt = metrics.flatMap { $0.values.map(\.receivedAt) }
        rule.preferred = candidates.filter((pin.options.userAllocations ?? []).contains)
        guard metrics.count <= 2, let last = metrics.last, last.values.allSatisfy({ !$0.isPartitionable }) else { return rule }
        // Those of whom the first metric says the same are a group, if it groups at all: the others stand alone (ALC-13).
        var groups: [(rank: Int64, room: Int64, value: String, peers: [PeerID])] = []
        func sum(_ a: Int64, _ b: Int64) -> Int64 { let (sum, overflows) = a.addingReportingOverflow(b); return overflows ? (a < 0 ? .min : .max) : sum }
        for peer in candidates where !rule.preferred.contains(peer) {
            let (first, room) = (metrics.count > 1 ? metrics[0][peer] : nil, last[peer]?.weight ?? 0)
            rule.weights[peer] = room
            if let place = groups.firstIndex(where: { first?.isPartitionable != false && $0.value == first?.value ?? "" }) {
                (groups[place].rank, groups[place].room) = (sum(groups[place].rank, first?.weight ?? 0), sum(groups[place].room, room))
                groups[place].peers.append(peer)
            } else { groups.append((first?.weight ?? 0, room, first?.value ?? "", [peer])) }
        }
        rule.groups = groups.sorted { a, b in
            if a.rank != b.rank { return a.rank > b.rank }
            if a.room != b.room { return a.room > b.room }
            return a.value != b.value ? a.value < b.value : a.peers.min() ?? a.peers[0] < b.peers.min() ?? b.peers[0]
        }.map(\.peers)
        return rule
    }

    /// It cannot be read: nothing is expected.
    private struct LogFault: Error {}
    private func held(_ cid: CID, _ process: Process) throws(LogFault) -> Pin? {
        do { return try process.machine.readPin(cid) } catch { throw LogFault() }
    }

    // MARK: Judging

    /// ANSWER, ALLOC.
    func judge(_ answer: Pin, expected: Expected, at index: Int) {
        oracles.judged += 1
        switch expected {
        case .refusal(let why, _): world.fail(.answer, "\(world.name(index)) has written \(answer.cid), which \(why)")
        case .pin(let pin, let rule):
            if let difference = difference(answer, pin) {
                return world.fail(.answer, "\(world.name(index)) has written \(pin.cid), and \(difference)")
            }
            if let fault = fault(of: answer.allocations ?? [], rule) { world.fail(.alloc, "\(world.name(index)) allocates \(answer.cid), and \(fault)") }
        }
    }

    /// ANSWER: a write that may be is not refused as one that may not; and one that may not is refused for that, in upstream's words.
    func judge(_ failure: ClientFailure, expected: Expected, _ cid: CID?, at index: Int) {
        guard Run.refusals.contains(where: failure.message.contains) else { return }
        oracles.judged += 1
        if case .refusal(let why, let says) = expected {
            let isRight = says.hasSuffix(": ") ? failure.message.hasPrefix(says) : failure.message == says
            if isRight, (failure.kind == .notFound) == (says == Run.notThere) { return }
            return world.fail(.answer, "\(world.name(index)) refuses to write \(cid?.description ?? "something"), which \(why), and says: \(failure.message)")
        }
        world.fail(.answer, "\(world.name(index)) refuses to write \(cid?.description ?? "something"), which may be: \(failure.message)")
    }

    private func difference(_ answer: Pin, _ expected: Pin) -> String? {
        var (answer, expected) = (answer, expected)
        (answer.allocations, expected.allocations) = (nil, nil)
        if answer == expected { return nil }
        if answer.timestamp != expected.timestamp { return "its time is \(answer.timestamp.unixNanoseconds), not \(expected.timestamp.unixNanoseconds)" }
        if answer.options.expireAt != expected.options.expireAt { return "it expires at \(answer.options.expireAt.unixNanoseconds), not \(expected.options.expireAt.unixNanoseconds)" }
        return "answers \(answer), not \(expected)"
    }

    private func fault(of allocations: [PeerID], _ rule: AllocationRule) -> String? {
        let names = { (peers: [PeerID]) in peers.map { self.world.indexes[$0].map(self.world.name) ?? "a stranger" }.joined(separator: " ") }
        if let lost = rule.kept.first(where: { !allocations.contains($0) }) { return "takes it from \(names([lost])), which could keep it" }
        let new = allocations.filter { !rule.kept.contains($0) }
        if let wrong = new.first(where: { !rule.candidates.contains($0) }) { return "gives it to \(names([wrong])), which is no candidate" }
        if allocations.count != rule.count { return "gives it to \(names(allocations)): \(allocations.count) peers, not \(rule.count)" }
        let preferred = new.filter(rule.preferred.contains).count
        if preferred < min(rule.preferred.count, rule.count - rule.kept.count) { return "gives it to \(names(new)), although \(names(rule.preferred)) were asked for" }
        for group in rule.groups {
            let passedOver = group.filter { !new.contains($0) }, least = group.filter(new.contains).compactMap { rule.weights[$0] }.min()
            guard let least, let better = passedOver.first(where: { rule.weights[$0] ?? 0 > least }) else { continue }
            return "gives it to \(names(new)), and passes over \(names([better])), which has more room"
        }
        let taken = rule.groups.map { $0.filter(new.contains).count }
        if taken != rule.turns(taken.reduce(0, +)) { return "gives it to \(names(new)), though the groups of peers take turns: \(rule.groups.map(names).joined(separator: ", "))" }
        return nil
    }
}
