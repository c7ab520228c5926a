// What peers ask of IPFS and of each other, against what they say of it.

import Cluster
import Encoding
import Exchange
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Tracking

/// A block that a peer misses.
struct Missed: Hashable {
    let peer: Int
    let block: CID
}

/// Since when a block is missed, and how long it may be.
struct Miss {
    let since: Int64
    let within: Span
}

/// What a tracker works on, and the pinset has in another way.
struct Stale {
    let created: WallTime
    let since: Int64
}

/// An attempt to pin that was under way when it was looked at.
struct Attempt {
    let number: Int64
    let seenAt: WallTime
}

/// A pin that is asked for.
struct Pinning: Equatable {
    let cid: CID
    let isRecursive: Bool
}

extension Run {
    private static let writing = ["/api/v0/pin/add", "/api/v0/pin/update", "/api/v0/pin/rm"]

    /// INTENT: nothing is pinned or unpinned by a pinset that has not been read, and nothing is begun anew that goes on.
    func noteRequests(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process) {
        if !oracles.opened.contains(index), process.machine.replica.isOpen {
            oracles.opened.insert(index)
            noteViews(of: index)
            checkRestart(index, process)
        }
        switch input {
        case .exchange(.end(let id, _)), .exchange(.failed(let id, _)): oracles.pinning[index]?.removeValue(forKey: id)
        default: break
        }
        var ended: [Pinning] = []
        for case .exchange(let effect) in effects {
            switch effect {
            case .start(let id, let request):
                if !oracles.opened.contains(index), Run.writing.contains(where: request.target.hasPrefix) {
                    return world.fail(.intent, "\(world.name(index)) asks IPFS for \(request.target) before it has read its log")
                }
                if request.target == "/api/v0/id", !process.machine.isReady, !isOthers(input) { noteQuestion(index) }
                let isFetch = SimIPFS.isFetch(request.target)
                let isLook = request.target.hasPrefix("/api/v0/pin/ls?stream=true&arg=")
                if request.target.hasPrefix(SimIPFS.connectTarget) { oracles.introduced[index, default: [:]][request.target] = world.now }
                guard isFetch || isLook, let cid = mentioned(in: request.target).last else { continue }
                if isLook {
                    // What had waited is begun in the place of what is given up, before the rest of the same block changes it (seed 5001613).
                    let pin = mergedAtMostOne(index, process) && !effects.contains(where: \.isCancel) ? workedOn(cid, process) : nil
                    oracles.looked[index, default: [:]][cid] = (world.now, pin, (oracles.looked[index]?[cid]?.count ?? 0) + 1)
                } else { judgeOrigins(index, cid, process) }
                let pinning = Pinning(cid: cid, isRecursive: !request.target.contains("recursive=false") && !request.target.contains("type=direct"))
                if isFetch { oracles.pinning[index, default: [:]][id] = pinning }
                // A pin that was removed and pinned again between two looks is another one.
                guard ended.contains(pinning), case let info = process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now)),
                    info?.short.status == .pinning, mergedAtMostOne(index, process)
                else { continue }
                return world.fail(.intent, "\(world.name(index)) begins anew to pin \(cid), in the same way")
            case .cancel(let id): if let pinning = oracles.pinning[index]?.removeValue(forKey: id) { ended.append(pinning) }
            case .body, .endOfBody: break
            }
        }
    }

    /// INTENT: before a pin is fetched the daemon is told to connect to where it comes from (IPFS-16).
    private func judgeOrigins(_ index: Int, _ cid: CID, _ process: Process) {
        // What is written while it is looked at is as it will be pinned the next time.
        guard case .kubo(let settings) = process.peer.settings.ipfs, let (looked, known, _) = oracles.looked[index]?[cid],
            let known, known == workedOn(cid, process), let origins = known.options.origins, !origins.isEmpty,
            // An update of itself looks twice (seed 4700115); and a look that waits for a daemon which is down goes on with what it was begun
            // for, whatever is written meanwhile (seed 6011742).
            blocks.written[cid]?.contains(where: { $0.options.pinUpdate == cid || $0.options.origins != origins }) != true
        else { return }
        oracles.judged += 1
        let missing = origins.prefix(settings.originsMax).first {
            oracles.introduced[index]?[SimIPFS.connectTarget + URLText.queryEscaped($0.description)].map { $0 < looked } ?? true
        }
        if let missing { world.fail(.intent, "\(world.name(index)) has its IPFS daemon pin \(cid), and has not told it to connect to the origin \(missing)") }
    }

    /// What the pinset has, where the tracker has been told of that.
    private func workedOn(_ cid: CID, _ process: Process) -> Pin? {
        process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now)).flatMap { told($0, process) }
    }
    private func told(_ info: PinInfo, _ process: Process) -> Pin? {
        guard let pin = try? process.machine.readPin(info.cid), pin.timestamp == info.created, pin.options.name == info.name else { return nil }
        return pin
    }

    /// ACCEPTED: whatever waits, waits for something.
    func checkWaiting(_ index: Int, _ waitsForNothing: Bool) {
        if waitsForNothing { world.fail(.accepted, "\(world.name(index)) has writes that wait, and nothing is under way that they could wait for") }
    }

    /// What others ask, who was asleep hears all at once; and what waited while the daemon did not answer goes when it does (IPFS-04).
    private func isOthers(_ input: PeerInput) -> Bool {
        switch input {
        case .stream, .client, .exchange(.head): true
        default: false
        }
    }

    /// MIN: whoever waits for its daemon does not ask for it all the time.
    private static let questionsMax = 5
    func noteQuestion(_ index: Int) {
        let times = (oracles.questions[index] ?? []).filter { $0 > world.now - Span.milliseconds(1).nanoseconds } + [world.now]
        oracles.questions[index] = times
        guard times.count > Run.questionsMax else { return }
        world.fail(.min, "\(world.name(index)) has asked \(times.count) times in a millisecond whether its IPFS daemon is there")
    }

    private func mergedAtMostOne(_ index: Int, _ process: Process) -> Bool {
        guard let before = oracles.seen[index]?.blocks else { return false }
        return process.machine.replica.untoldCount == 0 && process.machine.merged().blocks <= before + 1
    }

    /// COUNT: who has failed and tries again, with the same pin, has tried once more.
    func checkAttempts(_ index: Int, _ process: Process) {
        let reading = process.peer.clock.reading(world.now)
        // What was removed and pinned again between two looks is counted anew: that takes two blocks (seed 500910).
        let merged = process.machine.merged().blocks, isTold = process.machine.replica.untoldCount == 0
        let isSame = isTold && oracles.failedAt[index].map { merged <= $0 + 1 } ?? false
        oracles.failedAt[index] = isTold ? merged : nil
        var failed: [CID: PinInfo] = [:]
        for number in 1...max(1, options.contents) {
            guard let cid = content(number), let info = process.machine.tracker.settledStatus(of: cid, pin: nil, now: reading),
                info.short.status == .pinError || info.short.status == .pinning || info.short.status == .pinQueued
            else { continue }
            if isTold, !judgeTracked(info, index, process) || !judgeDepth(info, index, process) { return }
            if !isTold { oracles.stale[index]?[cid] = nil }
            judgeFailureTime(info, index, reading.wall)
            let looks = oracles.looked[index]?[cid]?.count ?? 0
            // Of this very pin: another that came between the two is tried anew (seed 5001867), and so is this one after it (seed 952453).
            let before = isSame ? oracles.failedPins[index]?[cid].flatMap { ($0.created, $0.name) == (info.created, info.name) && $0.allocations == info.allocations ? $0 : nil } : nil
            if let before {
                oracles.judged += 1
                let least = before.short.attemptCount + (info.short.status == .pinning ? 1 : 0)
                if info.short.attemptCount < least {
                    return world.fail(.count, "\(world.name(index)) tells \(info.short.attemptCount) attempts to pin \(cid), and has made \(least)")
                }
                // Each begins with a look at what IPFS holds (IPFS-26); where a crash has cut the step, with none (seed 6039221).
                if !world.isStepCut, let since = oracles.looksBefore[index]?[cid], info.short.attemptCount > before.short.attemptCount + Int64(looks - since), process.machine.requestsToIPFS()?.held == 0 {
                    return world.fail(.count, "\(world.name(index)) tells \(info.short.attemptCount) attempts to pin \(cid), and has made \(looks - since) since there were \(before.short.attemptCount)")
                }
                if !plan.has(.clock), info.short.timestamp < before.short.timestamp || info.short.timestamp > reading.wall {
                    return world.fail(.count, "\(world.name(index)) tells a time of its attempt to pin \(cid) that is not between the last one and now")
                }
            }
            // What the pinset has, and no other that the tracker has not been told of.
            guard let pin = try? process.machine.readPin(cid), pin.timestamp == info.created else { continue }
            if info.short.status == .pinError {
                failed[cid] = info
                oracles.looksBefore[index, default: [:]][cid] = looks
            } else if let before { failed[cid] = before }
        }
        oracles.failedPins[index] = failed
    }

    /// COUNT: what was still under way when it was looked at last has failed since.
    func judgeFailureTime(_ info: PinInfo, _ index: Int, _ now: WallTime) {
        let before = oracles.underWay[index]?[info.cid]
        oracles.underWay[index, default: [:]][info.cid] = info.short.status == .pinning ? Attempt(number: info.short.attemptCount, seenAt: now) : nil
        guard info.short.status == .pinError, let before, before.number == info.short.attemptCount, !plan.has(.clock) else { return }
        oracles.judged += 1
        guard info.short.timestamp < before.seenAt else { return }
        world.fail(.count, "\(world.name(index)) has failed to pin \(info.cid) at \(info.short.timestamp.unixNanoseconds), and was still at it later")
    }

    /// TRUTH: what the tracker has been told of is what it works on. A block may be merged in several steps, and told of after them.
    private static let staleMax = Span.seconds(30)
    func judgeTracked(_ info: PinInfo, _ index: Int, _ process: Process) -> Bool {
        guard let pin = try? process.machine.readPin(info.cid), !pin.isRemote(for: process.peer.id),
            info.created != pin.timestamp || info.name != pin.options.name || info.allocations != (pin.allocations ?? [])
        else {
            oracles.stale[index]?[info.cid] = nil
            return true
        }
        oracles.judged += 1
        // What rot has taken out of a state comes back with its block, or the next recovery that the daemon answers sees to it (seed 175).
        guard !plan.spoilsDisks || !plan.troublesIPFS && process.machine.replica.absentCount == 0 else {
            oracles.stale[index]?[info.cid] = nil
            return true
        }
        let since = oracles.stale[index]?[info.cid].flatMap { $0.created == info.created ? $0.since : nil } ?? world.now
        oracles.stale[index, default: [:]][info.cid] = Stale(created: info.created, since: since)
        let limit = plan.spoilsDisks ? Run.staleMax + process.peer.settings.recoverInterval : Run.staleMax
        guard world.now - since > limit.nanoseconds else { return true }
        world.fail(.truth, "\(world.name(index)) tells of \(info.cid) that it is \(info.short.status.text) as \(info.name), and its pinset has long had it as \(pin.options.name)")
        return false
    }

    /// INTENT: what IPFS is at is the pin that the tracker has been told of, as deep as that says.
    private func judgeDepth(_ info: PinInfo, _ index: Int, _ process: Process) -> Bool {
        guard info.short.status == .pinning, let pin = told(info, process),
            let under = oracles.pinning[index]?.values.filter({ $0.cid == info.cid }), !under.isEmpty
        else { return true }
        oracles.judged += 1
        guard under.allSatisfy({ $0.isRecursive != (pin.maxDepth != 0) }) else { return true }
        world.fail(.intent, "\(world.name(index)) has its IPFS daemon pin \(info.cid) \(pin.maxDepth == 0 ? "with all below it" : "alone"), and its pinset has it otherwise")
        return false
    }

    /// WANTS: what a hostile member wanted last, and what it has replaced.
    func checkHostileWants(_ index: Int, _ fault: Int) {
        guard let wants = world.hostileWants[fault], let machine = world.peers[index].machine else { return }
        world.hit(.hostileWanted)
        // Whoever asks faster than it reads asks again (seed 2040062 --disk-faults).
        guard machine.waitingAnswers(for: world.peers[wants.of].id) < world.peers[index].settings.exchange.wantsPerPeerMax else { return }
        oracles.judged += 1
        let ledger = machine.wants(of: world.peers[wants.of].id)
        guard ledger.contains(wants.last) else {
            return world.fail(.wants, "\(world.name(index)) has forgotten what \(world.name(wants.of)) wanted last, and keeps \(ledger.count) other wants of it")
        }
        if let old = wants.not.first(where: ledger.contains) {
            world.fail(.wants, "\(world.name(index)) believes that \(world.name(wants.of)) wants \(CID(v1: Codec.dagPB, old)), which its full list leaves out")
        }
    }

    // MARK: Blocks

    /// All are asked again every half a minute, each of them for five seconds, or half a minute where it is busy giving others (500835).
    private var givenWithin: Span { .seconds(Int64(66 + 5 * options.peers)) }
    private static let look = Span.seconds(5)

    /// WANTS: from now on.
    func watchWants() {
        world.after(Run.look) { [unowned self] _ in
            checkWants()
            checkAsked()
            looks += 1
            if looks % 2 == 0 { checkHealth() }
            watchWants()
        }
    }

    /// WANTS: what somebody near has comes soon, where nothing is in the way of it all the time.
    func checkWants() {
        let limits = options.limits
        // The blocks of uploads take the few places there are.
        if options.isEmbedded, limits.wantsPerPeer > 0 { return }
        guard limits.liveWants == 0, limits.outstandingBytes == 0, limits.entriesPerMessage == 0, limits.listedBlocks == 0, !plan.has(.disk) else { return }
        var missed: [Missed: Miss] = [:]
        for peer in world.peers {
            guard let process = peer.process, process.suspended == nil, process.machine.replica.isOpen else { continue }
            let absent = process.machine.replica.absentBlocks
            // Where few wants are kept the rest is asked for again, half a minute later at most (seed 931735), and the last of them last (6008271).
            let givenWithin = givenWithin + .seconds(30) * Int64(limits.wantsPerPeer > 0 ? absent.count / limits.wantsPerPeer : 0)
            for block in absent where !process.machine.replica.hasGivenUp(block) {
                guard let holder = trusted.first(where: { mayGive(block, $0, to: peer.index) }) else { continue }
                let key = Missed(peer: peer.index, block: block)
                let before = oracles.missed[key], miss = Miss(since: before?.since ?? world.now, within: max(before?.within ?? .zero, givenWithin))
                missed[key] = miss
                guard world.now - miss.since > miss.within.nanoseconds else { continue }
                return world.fail(.wants, "\(world.name(peer.index)) has not got \(block) in \(miss.within.seconds), which \(world.name(holder)) has")
            }
        }
        oracles.judged += missed.count
        oracles.missed = missed
    }

    private func mayGive(_ block: CID, _ holder: Int, to index: Int) -> Bool {
        guard holder != index, let process = world.peers[holder].process, process.suspended == nil, process.machine.replica.isOpen, process.machine.replica.has(block),
            let connection = world.network.connection(holder, index), connection.isAlive, !connection.isVoid
        else { return false }
        let link = Link(from: holder, to: index)
        return world.network[link].isSound && world.network[link.reversed].isSound
    }
}

extension PeerEffect {
    fileprivate var isCancel: Bool { if case .exchange(.cancel) = self { true } else { false } }
}
