// A run as data: options, workload, faults and the tape. Drawn from a seed, written down, read back, shrunk; the same plan is the
// same run.

import Kernel

package struct RunPlan: Equatable, Sendable {
    package var tape: Tape
    package var options = RunOptions()
    package var operations: [Operation] = []
    package var faults: [Fault] = []
    /// Instead of the random ones: one crash between two effects.
    package var stepCrash: (peer: Int, step: UInt64, effect: Int)?
    /// What it is about, and which oracle it is to fail by; for those that read it.
    package var story: [String] = []
    package var expected: Oracle?

    package var seed: UInt64 { tape.seed }
    package init(tape: Tape) { self.tape = tape }

    package static func == (a: Self, b: Self) -> Bool {
        a.tape == b.tape && a.options == b.options && a.operations == b.operations && a.faults == b.faults
            && a.stepCrash.map { [UInt64($0.peer), $0.step, UInt64($0.effect)] } == b.stepCrash.map { [UInt64($0.peer), $0.step, UInt64($0.effect)] }
    }
}

extension RunPlan {
    /// Files may hold what nobody wrote.
    var spoilsDisks: Bool { faults.contains { $0.kind == .rot || $0.kind == .readError } }
    /// One try of IPFS may not be enough.
    /// Who wakes after a long sleep gives up what had no answer in time, before it has read what came meanwhile.
    var mayFailAtIPFS: Bool { options.isEmbedded || options.limits.queueMax > 0 || troublesIPFS || faults.contains { $0.kind == .suspend } }
    var troublesIPFS: Bool { has(.ipfs) || faults.contains { $0.kind == .reboot } }
    /// What a peer alone had may be gone before anybody else had it.
    func rotsInStorm(_ peer: Int) -> Bool { faults.contains { $0.kind == .rot && !$0.isLate && $0.peers.contains(peer) } }
    /// What a pin has may be more than it asks for.
    var lowersFactors: Bool { options.isSkewed || operations.contains { $0.words.contains { $0.hasPrefix("max=") && $0 != "max=-1" } } }
    func has(_ kind: FaultKind, at peer: Int) -> Bool { faults.contains { $0.kind == kind && $0.peers.contains(peer) } }
    /// What it has written may not be what it reads.
    func spoilsDisk(of peer: Int) -> Bool { faults.contains { $0.kind.row.family == .disk && $0.kind != .slowDisk && $0.peers.contains(peer) } }
    /// What was durable may be lost; and not only what it was told that it could not write.
    func rotsDisk(of peer: Int) -> Bool { faults.contains { [.rot, .readError].contains($0.kind) && $0.peers.contains(peer) } }
    func has(_ family: FaultFamily) -> Bool { faults.contains { $0.kind.row.family == family } }
}

/// What a sweep asks of the runs it draws.
package struct Drawing: Equatable, Sendable {
    /// Crashes between effects, full disks, failing syncs and rotting bits in every run.
    package var diskFaults = false
    /// Families that no run has: for finding out which a failure needs.
    package var without: [FaultFamily] = []
    /// Crowds of so many peers.
    package var peers: Int?
    package init(diskFaults: Bool = false, without: [FaultFamily] = [], peers: Int? = nil) {
        (self.diskFaults, self.without, self.peers) = (diskFaults, without, peers)
    }
}

extension RunPlan {
    /// The run of a seed.
    package static func random(_ seed: UInt64, _ drawing: Drawing = Drawing()) -> RunPlan {
        let tape = Tape(seed: seed)
        var plan = RunPlan(tape: tape)
        var choices = tape.stream(.options)
        plan.options.draw(&choices)
        plan.options.drawLimits(tape)
        plan.options.drawHabits(tape)
        plan.options.drawPace(tape)
        plan.options.drawWindow(tape)
        plan.options.drawCrowd(tape, drawing.peers)
        plan.options.drawJoining(tape)
        plan.options.drawTelling(tape)
        plan.options.drawOtherLimits(tape)
        if plan.options.boots == 0 { plan.options.drill = Drill.steps }
        if drawing.diskFaults {
            var more = tape.stream(.options, 1)
            plan.options.stepCrashOneIn = plan.options.boots > 0 ? RunOptions.crowdStepsPerCrash : 4000
            plan.options.indexEntries = [1, 4, 16, 64][more.below(4)]
            plan.options.segmentBytes = [2 << 10, 20 << 10][more.below(2)]
            plan.options.replayBytesAtOpen = [1, 4 << 10, 64 << 20][more.below(3)]
        }
        plan.operations = Operation.workload(plan.options, tape, count: plan.options.boots > 0 ? 10 + choices.below(20) : 20 + choices.below(60))
        plan.drawFaults(drawing)
        plan.drawRecoveries()
        plan.round()
        return plan
    }

    /// To what a text can say.
    private mutating func round() {
        for place in operations.indices { operations[place].at = operations[place].at.wholeMilliseconds }
        for place in faults.indices {
            (faults[place].at, faults[place].length) = (faults[place].at.wholeMilliseconds, faults[place].length.wholeMilliseconds)
        }
        operations.sort { ($0.at, $0.number) < ($1.at, $1.number) }
        faults.sort { ($0.isLate ? 1 : 0, $0.at, $0.number) < ($1.isLate ? 1 : 0, $1.at, $1.number) }
    }
}

extension RunOptions {
    mutating func draw(_ choices: inout Choices) {
        peers = 2 + choices.below(4)
        factorMin = 1 + choices.below(2)
        factorMax = factorMin + choices.below(2)
        isBatching = choices.chance(1, in: 2)
        stepCrashOneIn = choices.chance(1, in: 3) ? 4000 : 0
        clockDriftMax = choices.chance(1, in: 2) ? choices.below(500) : 0
        hasOutsider = choices.chance(1, in: 4)
        contents = [2, 4, 12][choices.below(3)]
        isEmbedded = choices.chance(1, in: 5)
        if choices.chance(2, in: 3) {
            indexEntries = [1, 4, 16, 64][choices.below(4)]
            segmentBytes = [2 << 10, 20 << 10, 64 << 20][choices.below(3)]
            replayBytesAtOpen = [1, 4 << 10, 64 << 20][choices.below(3)]
        }
        hasLatecomer = peers > 2 && choices.chance(1, in: 4)
        writesLate = choices.chance(1, in: 2)
        readerPause = choices.chance(1, in: 2) ? 1 : 1 + choices.below(2000)
        concurrentPins = 1 + choices.below(4)
        oldPeers = choices.chance(1, in: 5) ? 1 + choices.below(peers) : 0
        isSkewed = choices.chance(1, in: 6)
        if peers > 2, choices.chance(1, in: 4) { absentees = 1 + choices.below(peers - 2) }
        for healer in Healer.allCases where choices.chance(1, in: 8) { healersOff.append(healer) }
    }
}

extension RunOptions {
    /// What clients are given to.
    mutating func drawHabits(_ tape: Tape) {
        var choices = tape.stream(.options, 3)
        hasHomes = choices.chance(1, in: 3)
        echoes = [0, 1, 3, 6][choices.below(4)]
        if choices.chance(1, in: 3) { stateSyncInterval = .seconds(5) }
        if choices.chance(1, in: 6), heals(.recover) { healersOff.append(.recover) }
        if hasOutsider, limits.wantsPerPeer == 0, choices.chance(1, in: 2) { limits.wantsPerPeer = 16 }
        // Four blocks a round are too few for large files (seed 8001738).
        if isEmbedded, limits.wantsPerPeer > 0 { limits.wantsPerPeer = max(16, limits.wantsPerPeer) }
        // What a full queue refuses, and what is told late, is made good by recovery, and seen without it.
        if limits.queueMax > 0 || limits.toldPerStep > 0, heals(.recover), choices.chance(1, in: 2) { healersOff.append(.recover) }
        if choices.chance(1, in: 3) { groups = 2 + choices.below(2) }
        outsiderFollows = hasOutsider && choices.chance(1, in: 2)
        pinsOnlyOnTrusted = hasOutsider && choices.chance(1, in: 2)
        if hasOutsider, !pinsOnlyOnTrusted, choices.chance(1, in: 4) { (pinsOnlyOnUntrusted, factorMin, factorMax) = (true, 1, 1) }
        if hasOutsider, choices.chance(1, in: 2) { limits.addressLifetime = [20, 60][choices.below(2)] }
        if choices.chance(1, in: 2) { allocateBy = [["freespace"], ["reposize"], ["tag:group", "reposize"], ["pinqueue", "freespace"], ["tag:group", "pinqueue"]][choices.below(5)] }
    }

    /// Runs in slow motion: writes, removals and answers meet in what is under way.
    mutating func drawPace(_ tape: Tape) {
        var choices = tape.stream(.options, 4)
        if choices.chance(1, in: 4) { diskPace = [10, 50, 200][choices.below(3)] }
        if choices.chance(1, in: 4) { ipfsPace = [10, 50, 100][choices.below(3)] }
        if choices.chance(1, in: 3) { batchAge = .seconds([12, 30][choices.below(2)]) }
        // A short queue fills, and there is something to be told late, where work takes its time.
        if limits.queueMax > 0 || limits.trackedMax > 0 || limits.toldPerStep > 0, choices.chance(1, in: 2) { ipfsPace = [10, 50, 100][choices.below(3)] }
        // What is changed while it is worked on is put right by recovery, and seen without it.
        if ipfsPace > 1, heals(.recover), choices.chance(1, in: 3) { healersOff.append(.recover) }
        // Somebody who is there must act in the end.
        if absentees > 0, heals(.repin), choices.chance(1, in: 2) { bystanders = choices.below(peers - absentees) }
    }

    /// In one of six runs messages wait for each other, in one of three those who upload wait for their blocks; in one of four few messages
    /// are asked for at a time.
    mutating func drawWindow(_ tape: Tape) {
        var choices = tape.stream(.options, 6)
        if choices.chance(1, in: 6) { limits.gossipWindow = [1, 400, 2000][choices.below(3)] }
        if choices.chance(1, in: 3) { limits.uploadWindow = [1000, 4000, 20_000][choices.below(3)] }
        // An outsider that everybody has sent away hears of all by asking for it (seed 33097).
        if choices.chance(1, in: 4), !hasOutsider { limits.idsAsked = [5, 20][choices.below(2)] }
    }

    /// In one of four runs metrics are told after some pins; in half of them some pins take long.
    mutating func drawTelling(_ tape: Tape) {
        var choices = tape.stream(.options, 8)
        if choices.chance(1, in: 4) { limits.metricTrigger = 1 + choices.below(6) }
        hasLongPins = choices.chance(1, in: 2)
    }

    /// In one of four runs, limits that no rule asks for.
    mutating func drawOtherLimits(_ tape: Tape) {
        var choices = tape.stream(.options, 9)
        if choices.chance(1, in: 4), boots == 0 { limits.drawOthers(&choices) }
    }

    /// Half of the late comers know nobody but those whom they join by way of.
    mutating func drawJoining(_ tape: Tape) {
        var choices = tape.stream(.options, 7)
        if hasLatecomer, choices.chance(1, in: 2) { joinsBy = 1 + choices.below(2) }
    }

    /// Small limits in one of four runs; in some of them many peers, of which a small mesh does not hold all.
    mutating func drawLimits(_ tape: Tape) {
        var choices = tape.stream(.options, 2)
        guard choices.chance(1, in: 4) else { return }
        limits.draw(&choices)
        if choices.chance(1, in: 8) {
            peers = choices.chance(1, in: 4) ? 14 + choices.below(3) : 6 + choices.below(3)
            limits.meshFactor = 1
        }
    }
}

extension RunOptions {
    static let crowdStepsPerCrash = 200_000

    /// A crowd, where it is asked for, and a small one in a run of three hundred: each peer knows few others, and many come and go. The mesh is
    /// as it is shipped, or thinner, so that most messages take several hops.
    mutating func drawCrowd(_ tape: Tape, _ count: Int?) {
        var choices = tape.stream(.options, 5)
        let isDrawn = choices.chance(1, in: 300), few = 20 + choices.below(31)
        guard let count = count ?? (isDrawn ? few : nil) else { return }
        peers = max(2, count)
        boots = 1 + choices.below(3)
        hasLatecomer = false
        joiners = choices.below(1 + peers / 8)
        (oldPeers, absentees, bystanders) = (min(oldPeers, peers), min(absentees, peers - 2), 0)
        workloadLength = .minutes(1)
        allocateBy = ["freespace"]
        limits = RunLimits()
        limits.meshFactor = [0, 0, 1, 2][choices.below(4)]
        healersOff.removeAll { $0 == .rebroadcast }
        if stepCrashOneIn > 0 { stepCrashOneIn = RunOptions.crowdStepsPerCrash }
    }
}

extension RunPlan {
    /// What an IPFS daemon has failed with is to be tried again, while it still fails or soon after; and what was added in shards, where it was
    /// added, some of which may have failed meanwhile.
    private mutating func drawRecoveries() {
        for add in operations where add.kind == .add && add.words.contains("shard") && !options.isEmbedded {
            var choices = tape.stream(.workload, 1 << 45 | UInt64(add.number))
            guard choices.chance(2, in: 3) else { continue }
            var recovery = Operation(number: 200_000 + add.number, at: add.at + add.uploadTime + choices.span(.seconds(1), .seconds(25)), peers: [add.peers[0]], kind: .recover)
            if choices.chance(1, in: 4) { recovery.peers = [choices.below(options.peers)] }
            (recovery.contents, recovery.words) = ([Operation.firstAdded + add.number], ["local"])
            if recovery.at < options.workloadLength { operations.append(recovery) }
        }
        for fault in faults where fault.kind.row.family == .ipfs && !fault.isLate && !options.isEmbedded {
            var choices = tape.stream(.workload, 1 << 44 | UInt64(fault.number))
            guard choices.chance(1, in: 2), let peer = fault.peers.first else { continue }
            for place in 0..<1 + choices.below(3) {
                var recovery = Operation(number: 60_000 + 4 * fault.number + place, at: fault.at + choices.span(.seconds(1), fault.length + .seconds(5)), peers: [peer], kind: .recover)
                if choices.chance(1, in: 3) { recovery.peers = [choices.below(options.peers)] }
                recovery.contents = [1 + choices.below(options.contents)]
                if choices.chance(2, in: 3) { recovery.words = ["local"] }
                if recovery.at < options.workloadLength { operations.append(recovery) }
            }
        }
    }
}

// MARK: Faults

extension RunPlan {
    /// Families of faults are on or off for a whole run; half of the runs see few kinds of them, at high intensity.
    private mutating func drawFaults(_ drawing: Drawing) {
        var choices = tape.stream(.faults)
        var families = FaultFamily.allCases.filter { family in
            let isOn = choices.chance(1, in: [.process, .network, .hostile].contains(family) ? 2 : 3)
            let isSure = options.boots > 0 && [.network, .process, .churn].contains(family)
            // Sweeps for what has rotted take long, and it makes no difference to them how many there are.
            let isSpared = options.boots > 0 && family == .disk
            return (isOn || isSure) && !isSpared && !drawing.without.contains(family) && (family != .hostile || options.hasOutsider)
        }
        // Where nothing is recovered, what IPFS failed to do hides what was not asked of it.
        var spares = tape.stream(.faults, 1 << 41)
        let sparesIPFS = !options.heals(.recover) && spares.chance(2, in: 3)
        if sparesIPFS { families.removeAll { $0 == .ipfs } }
        let isFocused = choices.chance(1, in: 2)
        var budget = LossBudget(options, tape)
        for (place, row) in FaultKind.catalogue.enumerated() {
            // An outsider who does nothing teaches nothing.
            let isForced = drawing.diskFaults && [.crash, .diskFull, .syncFailure, .rot].contains(row.kind)
                || options.hasOutsider && [.forgedGossip, .hostileMesh].contains(row.kind)
            guard families.contains(row.family) || isForced, !drawing.without.contains(row.family), !(sparesIPFS && row.kind == .reboot) else { continue }
            var choices = tape.stream(.faults, UInt64(place) + 1)
            guard isForced || choices.chance(1, in: isFocused ? 3 : 2) else { continue }
            let most = (isFocused ? row.countMax * 2 : row.countMax) * (options.boots > 0 ? row.crowdFactor(options.peers) : 1)
            for count in 0..<1 + choices.below(most) {
                var own = tape.stream(.faults, UInt64(place) + 1, UInt64(count) + 1)
                if let fault = draw(row, 100 * (place + 1) + count, &own).map(meeting), budget.allows(fault) { faults.append(fault) }
            }
        }
        if !options.isEmbedded, !sparesIPFS, !drawing.without.contains(.ipfs), families.contains(.ipfs) || spares.chance(1, in: 4) { faults += uploadFaults() }
        if !drawing.without.contains(.process) { faults += crashesAtWork() }
        for fault in faults where !drawing.without.contains(.process) {
            var choices = tape.stream(.faults, 1 << 40 | UInt64(fault.number))
            // When the storm is over, all is healed (seed 5001348).
            if let companion = companion(of: fault, &choices), companion.at < options.workloadLength { faults.append(companion) }
        }
        // Peers that go, and bits that rot, when all has settled.
        let spare = options.peers - max(2, options.factorMin)
        if spare > 0, choices.chance(1, in: 2), !drawing.without.contains(.churn) {
            for number in 0..<1 + choices.below(options.boots > 0 ? 1 : min(2, spare)) {
                let fault = Fault(number: 9000 + number, kind: .lose, at: .zero, peers: [choices.below(everyone.count)], isLate: true)
                if budget.allows(fault) { faults.append(fault) }
            }
        }
        if choices.chance(drawing.diskFaults ? 1 : 1, in: drawing.diskFaults ? 1 : 3), !drawing.without.contains(.disk), options.boots == 0 || drawing.diskFaults {
            let index = choices.below(options.peers)
            for number in 0..<1 + choices.below(3) {
                let fault = Fault(number: 9100 + number, kind: .rot, at: .zero, peers: [index], amount: choices.below(4), isLate: true)
                if budget.allows(fault) { faults.append(fault) }
            }
        }
    }

    /// Faults that meet. What a failed sync has not written is missed after a crash alone, best right after it was taken for written;
    /// a full or slow disk, or a daemon that is down, leaves things half done that only a restart forgets; where syncs take long, more
    /// than one file may be torn; what a crash has left may not be durable yet when the next one comes; and who waits for its daemon is told
    /// to stop.
    private func companion(of fault: Fault, _ choices: inout Choices) -> Fault? {
        let length = choices.span(.seconds(1), .seconds(20)), pause = choices.span(.zero, .seconds(6))
        switch fault.kind {
        case .syncFailure where choices.chance(1, in: 2):
            return Fault(number: fault.number + 50, kind: .powerCut, at: fault.at, length: length + .seconds(20), peers: fault.peers)
        case .slowDisk where options.segmentBytes < 64 << 20 && choices.chance(1, in: 3), .crash where options.segmentBytes < 64 << 20 && choices.chance(1, in: 3):
            return Fault(number: fault.number + 50, kind: .powerCut, at: fault.at, length: fault.length + length + .minutes(1), peers: fault.peers, amount: 6)
        case .diskFull where choices.chance(1, in: 2), .slowDisk where choices.chance(1, in: 2), .ipfsDown where choices.chance(1, in: 4),
            .ipfsHang where choices.chance(1, in: 4):
            return Fault(number: fault.number + 50, kind: .crash, at: fault.at + pause, length: length, peers: fault.peers)
        case .crash where choices.chance(1, in: fault.isKill ? 2 : 4), .powerCut where choices.chance(1, in: fault.isKill ? 2 : 3):
            return Fault(number: fault.number + 50, kind: .crash, at: fault.at + fault.length + Span(nanoseconds: pause.nanoseconds / 4), length: length, peers: fault.peers)
        case .reboot where choices.chance(1, in: 2):
            return Fault(number: fault.number + 50, kind: .leave, at: fault.at + pause, length: length, peers: fault.peers)
        default: return nil
        }
    }

    /// What is added is with a daemon for a moment only: in every other case that daemon fails, or one that gets blocks of it.
    private func uploadFaults() -> [Fault] {
        let common: [FaultKind] = [.ipfsCutsAnswers, .ipfsCutsAnswers, .ipfsCutsAnswers, .ipfsFull, .ipfsHang, .ipfsDown, .ipfsRestart]
        return operations.filter { $0.kind == .add }.enumerated().compactMap { place, add in
            var choices = tape.stream(.faults, 1 << 43 | UInt64(add.number))
            // Of many shards some are pinned, and nobody hears of it.
            let kinds = add.words.contains("shard") ? common + [.ipfsLosesReplies, .ipfsLosesReplies] : common
            guard choices.chance(1, in: 2), var fault = draw(kinds[choices.below(kinds.count)].row, 9200 + place, &choices) else { return nil }
            fault.at = add.at + choices.span(.zero, [.milliseconds(30), .milliseconds(600)][choices.below(2)])
            fault.length = min(fault.length, .seconds(30))
            let peer = choices.chance(1, in: 2) ? add.peers[0] : choices.below(options.peers)
            if fault.kind != .ipfsLosesReplies { fault.peers = [peer] }
            return fault.at < options.workloadLength ? fault : nil
        }
    }

    /// A restart finds what was half done: removals that a tracker which is told late has not been told of, and what an embedded node calls
    /// done, which is to be durable.
    private func crashesAtWork() -> [Fault] {
        let isToldLate = options.limits.trackedMax > 0 || options.limits.toldPerStep > 0
        let work = operations.filter { $0.kind == .unpinAll && isToldLate || $0.kind == .add && options.isEmbedded }
        return work.enumerated().compactMap { place, operation in
            var choices = tape.stream(.faults, 1 << 44 | UInt64(operation.number))
            let isAdd = operation.kind == .add
            guard choices.chance(1, in: isAdd ? 8 : 2), var fault = draw(FaultKind.crash.row, 9300 + place, &choices) else { return nil }
            fault.at = operation.at + choices.span(.zero, isAdd && choices.chance(1, in: 2) ? .milliseconds(200) : .seconds(3))
            if isAdd { fault.peers = [operation.peers[0]] }
            return fault.at < options.workloadLength ? fault : nil
        }
    }

    /// One of three faults of a peer strikes when something has just been asked of it, or is about to be.
    private func meeting(_ fault: Fault) -> Fault {
        var choices = tape.stream(.faults, 1 << 42 | UInt64(fault.number))
        guard [.process, .disk, .ipfs, .churn].contains(fault.kind.row.family), !operations.isEmpty, choices.chance(1, in: 3) else { return fault }
        let operation = operations[choices.below(operations.count)]
        let delay = choices.span(.zero, [.milliseconds(30), .milliseconds(600), .seconds(5)][choices.below(3)])
        var fault = fault
        fault.at = min(options.workloadLength, max(.zero, operation.at + delay - .milliseconds(10)))
        if fault.peers.count == 1 { fault.peers = [operation.peers[choices.below(operation.peers.count)]] }
        return fault
    }

    private var everyone: [Int] { Array(0..<options.peers + (options.hasOutsider ? 1 : 0)) }

    private func draw(_ row: FaultRow, _ number: Int, _ choices: inout Choices) -> Fault? {
        let everyone = everyone
        let at = choices.span(.zero, options.workloadLength)
        let length = row.lasts.upperBound == 0 ? Span.zero : choices.span(.seconds(Int64(row.lasts.lowerBound)), .seconds(Int64(row.lasts.upperBound)))
        var fault = Fault(number: number, kind: row.kind, at: at, length: length, peers: [choices.below(everyone.count)])
        fault.amount = row.amounts.lowerBound + choices.below(row.amounts.count)
        let order = choices.permuted(everyone)
        switch row.kind {
        case .partition, .oneWay, .bridge:
            let cut = 1 + choices.below(max(1, everyone.count - 1))
            (fault.peers, fault.others) = (Array(order[..<cut]), Array(order[cut...]))
        case .isolate: (fault.peers, fault.others) = ([order[0]], Array(order[1...]))
        case .ring, .swizzle: fault.peers = order
        case .slowLink, .thinLink, .halfOpen, .connectionLoss, .flapping, .muteGossip, .streamReset, .halfReset: (fault.peers, fault.others) = ([order[0]], Array(order[1..<(options.boots > 0 ? 2 + choices.below(everyone.count - 1) : 2)]))
        case .ipfsLosesReplies, .ipfsCollects: fault.peers = everyone
        case .hostileGossip, .hostileBytes, .hostileWants, .hostileFinding, .hostileStrangers, .forgedGossip, .hostileMesh: fault.peers = [options.peers]
        default: break
        }
        return fault
    }
}

/// What may strike together, and still leave what was promised: of the peers that are trusted at least one keeps its disk as it
/// was, to the bit, and without an old one put in its place. Beyond that everything may combine.
struct LossBudget {
    private let trusted: Int
    private var struck: Set<Int> = []
    /// Whoever comes late must find somebody that is there.
    private let boots: [[Int]]
    private var lost: Set<Int> = []
    init(_ options: RunOptions, _ tape: Tape) {
        trusted = options.latecomers.lowerBound
        boots = options.boots > 0 ? options.latecomers.map { options.boots(of: $0, tape) } : []
    }
    mutating func allows(_ fault: Fault) -> Bool {
        guard [.lose, .wipe, .rollback, .rot].contains(fault.kind), let index = fault.peers.first else { return true }
        guard index >= trusted || struck.contains(index) || struck.count + 1 < trusted else { return false }
        if fault.kind == .lose {
            guard boots.allSatisfy({ $0.contains { $0 != index && !lost.contains($0) } }) else { return false }
            lost.insert(index)
        }
        if index < trusted { struck.insert(index) }
        return true
    }
}
