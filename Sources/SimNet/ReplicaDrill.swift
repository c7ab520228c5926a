// One replica on a disk that fails in every way, a hundred times as often as in a cluster: what goes wrong between two writes of a disk is
// met here within a second. Another replica on a sound disk tells it of more, and says what must have come of both.

import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage

package final class ReplicaDrill {
    /// What was done, a line for each step.
    package private(set) var lines: [String] = []
    package private(set) var failure: (oracle: Oracle, text: String)?
    package private(set) var crashes = 0

    /// A replica with what it waits for.
    private struct Member {
        let disk = SimDisk()
        var settings: ReplicaSettings
        var replica: Replica?
        var syncs: [(ticket: SyncTicket, pending: SimDisk.PendingSync)] = []
        var jobs: [(job: Job, syncs: [SimDisk.PendingSync])] = []
        var wants = SortedSet<CID>()
    }
    /// What was asked of a key, oldest first.
    private struct Wish {
        let id: UInt64
        let value: Bytes?
        /// At which step, and when it was done or nobody waited for it any more.
        let asked: Int
        var ended = Int.max
        var state = State.waits
        enum State { case waits, done, failed, unknown }
    }

    private var members: [Member]
    private var choices: Choices
    private var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var lastID: UInt64 = 0
    private var step = 0
    private let faultsInHundred: Int
    /// What comes is of a sync that has ended well; what removes nothing needs none.
    private var isSynced = false
    /// The last checkpoint could not be written: what those before it have left goes with the next.
    private var keepsLeftovers = false
    private var wishes = [SortedMap<CID, [Wish]>(), SortedMap()]
    private var question: (cids: [CID], asked: Replica.Question)?
    /// Blocks of a third, who writes as upstream may: a key twice in a block, and what it removes without having looked it up. Anybody is given them.
    private var foreign = SortedMap<CID, DeltaBlock>()
    private let foreignContents: [CID]
    private let contents: [CID]
    private static let contentsPerMember = 12
    private static let roundsMax = 20_000

    /// So many steps, in drills of their own, short and long: some things happen at the beginning only. Ends with the one that fails.
    package static func series(_ tape: Tape, steps: Int) -> [ReplicaDrill] {
        var (drills, left, choices): ([ReplicaDrill], Int, Choices) = ([], steps, tape.stream(.drill))
        while left > 0, drills.last?.failure == nil {
            let length = min(left, [10, 30, 100, 320][choices.below(4)])
            drills.append(ReplicaDrill(tape, UInt64(drills.count) + 1))
            drills[drills.count - 1].run(length)
            left -= length
        }
        return drills
    }

    package init(_ tape: Tape, _ number: UInt64 = 1) {
        choices = tape.stream(.drill, number)
        faultsInHundred = [2, 4, 15][choices.below(3)]
        var settings = ReplicaSettings()
        settings.index.tableEntries = [1, 4, 16, 64][choices.below(4)]
        settings.log.segmentBytes = [300, 1000, 4000, 64 << 20][choices.below(4)]
        settings.replayBytesAtOpen = [1, 4 << 10, 64 << 20][choices.below(3)]
        settings.deltaBytesMax = [200, 1 << 20][choices.below(2)]
        if choices.chance(1, in: 2) { (settings.replayBytesPerStep, settings.mergedPerStep) = (1, 1) }
        if choices.chance(1, in: 2) { (settings.batchSizeMax, settings.batchAgeMax) = (1 + choices.below(8), .seconds(2)) }
        settings.repairInterval = .hours(24)
        members = [Member(settings: settings), Member(settings: ReplicaSettings())]
        members[0].disk.writesLate = choices.chance(1, in: 2)
        contents = (0..<2 * ReplicaDrill.contentsPerMember).map { CID(v1: Codec.raw, .sha2_256(of: [UInt8($0)])) }
        foreignContents = (0..<4).map { CID(v1: Codec.raw, .sha2_256(of: [UInt8($0), 0])) }
    }

    /// What is spoiled here is to be found.
    package var disk: SimDisk { members[0].disk }

    /// Goes on for so many steps. What fails first ends it.
    package func run(_ steps: Int) {
        for index in members.indices where members[index].replica == nil { open(index) }
        for _ in 0..<steps where failure == nil {
            step += 1
            take()
            if step % 64 == 0 { rest() }
        }
        if failure == nil { rest() }
        if failure == nil, !foreign.isEmpty, let replica = members[0].replica { refold(replica) }
    }

    private func fail(_ oracle: Oracle, _ text: String) { if failure == nil { failure = (oracle, text) } }
    private func say(_ text: String) { lines.append(text) }

    // MARK: Steps

    private func take() {
        if choices.chance(faultsInHundred, in: 100) { return strike() }
        switch choices.below(100) {
        case 94..<100: writeForeign()
        case 0..<22: put(0)
        case 22..<30: delete(0)
        case 30..<34: pinMany()
        case 34..<40: askToRemove()
        case 40..<44: put(1)
        case 44..<46: delete(1)
        case 46..<50: exchange()
        case 50..<54: removeFound()
        case 54..<72: endSync(0)
        case 72..<88: advanceJob(0)
        default: pass(choices.span(.milliseconds(1), .seconds(3)))
        }
    }

    private func strike() {
        switch choices.below(4) {
        case 0: crash(isKill: false)
        case 1: crash(isKill: true)
        case 2:
            members[0].disk.failSyncs = 1 + choices.below(2)
            say("the next sync fails")
        default:
            let isFull = members[0].disk.capacityBytes < .max
            members[0].disk.capacityBytes = isFull ? .max : members[0].disk.usedBytes + choices.below(400)
            say(isFull ? "the disk has room" : "the disk is full")
        }
    }

    private func content(_ index: Int) -> CID { contents[index * ReplicaDrill.contentsPerMember + choices.below(ReplicaDrill.contentsPerMember)] }

    private func wish(_ index: Int, _ cids: [(CID, Bytes?)], _ what: String) -> OperationID {
        lastID += 1
        for (cid, value) in cids { wishes[index][cid, default: []].append(Wish(id: lastID, value: value, asked: step)) }
        if index == 0 { say("\(lastID): \(what)") }
        return OperationID(lastID)
    }

    private func pin(_ cid: CID) -> Pin {
        var pin = Pin(cid: cid)
        pin.options.name = "\(lastID + 1)" + String(repeating: "x", count: choices.below(60))
        return pin
    }

    private func put(_ index: Int) {
        let cid = content(index), value = pin(cid).protobuf
        let id = wish(index, [(cid, value)], "pins \(cid)")
        act(index) { $0.put(cid.stateKey, value, id, now: $1, effects: &$2) }
    }
    private func delete(_ index: Int) { delete(content(index), index) }
    private func delete(_ cid: CID, _ index: Int = 0) {
        let id = wish(index, [(cid, nil)], "unpins \(cid)")
        act(index) { $0.delete(cid.stateKey, id, now: $1, effects: &$2) }
    }
    private func pinMany() {
        var (pins, cids): (StoredPins, [(CID, Bytes?)]) = (StoredPins(), [])
        for cid in choices.sample(Array(contents.prefix(ReplicaDrill.contentsPerMember)), 1 + choices.below(6)) {
            let value = pin(cid).protobuf
            pins.append(value)
            cids.append((cid, value))
        }
        let id = wish(0, cids, "pins \(cids.count) at once")
        act(0) { $0.pin(pins, id, now: $1, effects: &$2) }
    }
    private func askToRemove() {
        guard question == nil, members[0].replica?.isOpen == true else { return }
        // What the third pins is his to change meanwhile.
        let isForeign = !foreign.isEmpty && choices.chance(1, in: 2)
        let cids = choices.sample(isForeign ? foreignContents : Array(contents.prefix(ReplicaDrill.contentsPerMember)), 1 + choices.below(6))
        say("looks up \(cids.count)\(isForeign ? " of another's" : "")")
        act(0) { [self] replica, _, effects in question = (cids, replica.ask(cids, effects: &effects)) }
    }
    /// What was looked up is removed, when nothing else is being written of it: as many writes go.
    private func removeFound() {
        guard let (cids, asked) = question, let replica = members[0].replica, replica.isOpen, replica.isAnswered(asked), !replica.isChanging(cids) else { return }
        question = nil
        if replica.isOutOfDate(asked) { return act(0) { replica, _, _ in replica.forget(asked) } }
        act(0) { [self] replica, now, effects in
            do throws(LogError) {
                let found = try replica.removals(asked).filter { $0.removal != nil }
                let own = found.map { cids[$0.number] }.filter { !foreignContents.contains($0) }
                let id = wish(0, own.map { ($0, nil) }, "unpins \(found.count) at once")
                replica.remove(found.compactMap(\.removal), id, now: now, effects: &effects)
            } catch { replica.onUnreadable(error, now: now, effects: &effects) }
        }
    }

    /// Upon what one of the two has, and told to one of them.
    private func writeForeign() {
        let (reader, listener) = (choices.below(2), choices.below(2))
        guard let replica = members[reader].replica, replica.isOpen else { return }
        let heads = replica.heads
        var delta = Delta()
        delta.priority = (heads.map(\.height).max() ?? 0) + 1
        for _ in 0..<choices.below(4) {
            let cid = foreignContents[choices.below(foreignContents.count)]
            for _ in 0..<1 + choices.below(2) { delta.elements.append(Delta.Element(key: cid.stateKey, value: pin(cid).protobuf)) }
        }
        for _ in 0..<choices.below(4) where !foreign.isEmpty {
            let block = foreign.values[choices.below(foreign.count)]
            guard let element = block.delta.elements.first else { continue }
            delta.tombstones.append(Delta.Tombstone(key: element.key, block: block.cid.multihash))
        }
        guard !delta.isEmpty, let block = try? DeltaBlock(decoding: DeltaBlock.encode(delta, heads: heads.map(\.cid))) else { return }
        foreign[block.cid] = block
        say("another writes \(delta.elements.count) values, removes \(delta.tombstones.count), and tells \(listener == 0 ? "it" : "the other")")
        act(listener) { [self] replica, now, effects in replica.onAnnouncement(Announcement.encode([block.cid]), now: now, choices: &choices, effects: &effects) }
        fetch(listener)
    }

    private func pass(_ span: Span) {
        (now.monotonic, now.wall) = (now.monotonic + span, now.wall + span)
        for index in members.indices {
            act(index) { [self] replica, now, effects in replica.onTime(now: now, choices: &choices, effects: &effects) }
        }
    }

    // MARK: The disk

    private func open(_ index: Int) {
        var effects: [Replica.Effect] = []
        let member = members[index]
        do {
            members[index].replica = try Replica(settings: member.settings, owner: 4, reader: member.disk, now: now, choices: &choices, effects: &effects)
        } catch { return fail(.start, "it does not open: \(error)") }
        carryOut(index, effects)
        if index == 1 { endSync(1) }
    }

    private func crash(isKill: Bool) {
        crashes += 1
        say(isKill ? "is killed" : "loses power")
        (members[0].replica, members[0].syncs, members[0].jobs, members[0].wants, question) = (nil, [], [], SortedSet(), nil)
        // Whatever was under way, or undone and not undone for good, may be there or not; but who was answered after it was undone counts.
        for cid in wishes[0].keys {
            for place in wishes[0][cid]?.indices ?? 0..<0 where [.waits, .failed].contains(wishes[0][cid]?[place].state) {
                if wishes[0][cid]?[place].state == .waits { wishes[0][cid]?[place].ended = step }
                wishes[0][cid]?[place].state = .unknown
            }
        }
        if isKill { members[0].disk.endProcess(&choices) } else { members[0].disk.crash(&choices) }
        members[0].disk.reopen(&choices)
        open(0)
    }

    private func endSync(_ index: Int) {
        guard !members[index].syncs.isEmpty else { return }
        let (ticket, pending) = members[index].syncs.remove(at: choices.below(members[index].syncs.count))
        let failure = members[index].disk.endSync(pending)
        if index == 0, pending.name.hasSuffix(".manifest") { keepsLeftovers = failure != nil }
        if index == 0 { say(failure.map { "sync of \(pending.name): \($0)" } ?? "sync of \(pending.name) ends") }
        let event: DiskEvent = failure.map { .syncFailed(ticket, $0) } ?? .synced(ticket)
        isSynced = failure == nil
        act(index) { $0.onDisk(event, now: $1, effects: &$2) }
        isSynced = false
        // What has been lost may come back.
        if index == 0, failure != nil, pending.name.hasSuffix(".log"), choices.chance(1, in: 3), let (cid, _) = wishes[0].first(where: { $0.value.last.map { $0.state == .failed && $0.value != nil } ?? false }) {
            step += 1  // it was asked for later than that failed
            delete(cid)
            if choices.chance(1, in: 2) { return crash(isKill: false) }
        }
        // Of what was to be durable together, some is.
        if index == 0, !members[0].syncs.isEmpty, choices.chance(faultsInHundred, in: 100) { crash(isKill: false) }
    }

    private func advanceJob(_ index: Int) {
        guard !members[index].jobs.isEmpty, case let place = choices.below(members[index].jobs.count) else { return }
        let disk = members[index].disk
        var outcome: JobOutcome?
        for sync in members[index].jobs[place].syncs { if let failure = disk.endSync(sync) { outcome = .failed(.disk(failure)) } }
        var effects: [DiskEffect] = []
        if outcome == nil {
            do throws(LogError) { outcome = try members[index].jobs[place].job.advance(reader: disk, effects: &effects) } catch { outcome = .failed(error) }
        }
        members[index].jobs[place].syncs = []
        for effect in effects {
            if case .sync(let name, _) = effect { members[index].jobs[place].syncs.append(disk.beginSync(name)) } else { disk.apply(effect) }
        }
        guard let outcome else { return }
        let number = members[index].jobs.remove(at: place).job.number
        if index == 0 { say("job \(number) ends") }
        act(index) { $0.onJob(number, outcome, now: $1, effects: &$2) }
    }

    private func act(_ index: Int, _ body: (inout Replica, Now, inout [Replica.Effect]) -> Void) {
        guard members[index].replica != nil, failure == nil else { return }
        var effects: [Replica.Effect] = []
        body(&members[index].replica!, now, &effects)
        carryOut(index, effects)
        if index == 1 { endSync(1) }
    }

    private func carryOut(_ index: Int, _ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(.sync(let name, let ticket)):
                members[index].syncs.append((ticket, members[index].disk.beginSync(name)))
            case .disk(let effect): members[index].disk.apply(effect)
            case .job(let job): members[index].jobs.append((job, []))
            case .finished(let id, let error): finish(index, id.number, error)
            case .log(let line) where index == 0:
                say("\(line.level): \(line.message)")
                if Run.damages.contains(where: line.message.contains), !line.message.contains("could not be written"), !line.message.contains("the manifest does not match its checksum") {
                    fail(.start, "it says that its disk is not as it has left it: \(line.message)")
                }

            case .want(let cids), .fetch(let cids, _): for cid in cids { members[index].wants.insert(cid) }
            case .unwant(let cids): for cid in cids { members[index].wants.remove(cid) }
            case .log, .news, .askForList, .behind, .announce, .changed, .merged: break
            }
        }
    }

    private func finish(_ index: Int, _ id: UInt64, _ error: ReplicaError?) {
        if index == 0 { say("\(id): \(error.map { "\($0)" } ?? "done")") }
        for cid in wishes[index].keys {
            guard var list = wishes[index][cid] else { continue }
            // What was undone before is durably so with this sync.
            if error == nil, isSynced { list.removeAll { $0.state == .failed } }
            for place in list.indices where list[place].id == id { (list[place].state, list[place].ended) = (error == nil ? .done : .failed, step) }
            wishes[index][cid] = list
        }
    }

    // MARK: What must hold

    /// Each hears what the other has, and fetches it.
    private func exchange() {
        for (index, other) in [(0, 1), (1, 0)] {
            guard let replica = members[other].replica, replica.isOpen else { continue }
            let heads = replica.heads.map(\.cid) + foreign.keys.filter { !replica.has($0) }
            guard !heads.isEmpty else { continue }
            act(index) { [self] replica, now, effects in replica.onAnnouncement(Announcement.encode(heads), now: now, choices: &choices, effects: &effects) }
        }
        for index in members.indices { fetch(index) }
    }
    private func fetch(_ index: Int) {
        for cid in members[index].wants {
            guard let block = foreign[cid].map({ DeltaBlock.encode($0.delta, heads: $0.links) }) ?? (try? members[1 - index].replica?.block(cid)) else { continue }
            members[index].wants.remove(cid)
            act(index) { $0.onBlock(cid, block, now: $1, effects: &$2) }
        }
    }

    /// All that is under way ends, and nothing fails: then both have the same, and what was asked for.
    private func rest() {
        members[0].disk.failSyncs = 0
        members[0].disk.capacityBytes = .max
        var (rounds, quiet) = (0, 0)
        while failure == nil, quiet < 4 {
            (rounds, step) = (rounds + 1, step + 1)
            guard rounds < ReplicaDrill.roundsMax else { return fail(.accepted, "it does not come to rest: \(members[0].replica?.pendingCount ?? 0) writes wait") }
            let before = (members[0].replica?.digest, members[1].replica?.digest)
            if !members[0].syncs.isEmpty { endSync(0) } else if let busy = members.indices.first(where: { !members[$0].jobs.isEmpty }) { advanceJob(busy) } else {
                pass(.seconds(1))
                exchange()
                let isIdle = members.allSatisfy { $0.syncs.isEmpty && $0.jobs.isEmpty && $0.wants.isEmpty && $0.replica?.isOpen == true && $0.replica?.pendingCount == 0 && $0.replica?.isMerging == false }
                quiet = isIdle && before == (members[0].replica?.digest, members[1].replica?.digest) ? quiet + 1 : 0
            }
        }
        if failure == nil { compare() }
    }

    /// What the blocks say by the rules, not by the code that is under test.
    private func refold(_ replica: Replica) {
        var (blocks, seen, open): ([DeltaBlock], SortedSet<Multihash>, [CID]) = ([], SortedSet(), replica.heads.map(\.cid))
        while let cid = open.popLast() {
            guard seen.insert(cid.multihash) else { continue }
            guard let bytes = try? replica.block(cid), let block = try? DeltaBlock(decoding: bytes) else { return fail(.fetchable, "block \(cid) cannot be read") }
            blocks.append(block)
            open += block.links
        }
        let values = Run.fold(blocks)
        guard values.count == replica.count else { return fail(.refold, "\(replica.count) pins, and \(values.count) by its blocks") }
        for (key, best) in values where (try? replica.value(key)) != best.value { return fail(.refold, "the value of \(key) is not what the blocks say") }
    }

    /// What no checkpoint names any more.
    private func leftovers() -> [FileName] {
        let disk = members[0].disk
        let files = ((try? disk.list("crdt/")) ?? []).filter { !$0.hasSuffix(".log") }
        func number(_ file: FileName) -> UInt64? { UInt64(file.drop { $0 != "/" }.dropFirst().prefix { $0 != "." }) }
        guard let newest = files.filter({ $0.hasSuffix(".manifest") }).max(), let bytes = try? disk.read(newest, at: 0, count: .max / 2) else { return [] }
        // Its magic, the place in the log, the state, how many runs, and their numbers; a checksum ends it.
        let words: [UInt64] = bytes.withUnsafeBytes { raw in (0..<raw.count / 8).map { load(raw, $0 * 8) } }
        let named = SortedSet(words.dropFirst(2).prefix(1) + words.dropFirst(4).dropLast())
        return files.filter { $0 != newest && !(number($0).map(named.contains) ?? false) }
    }

    private func compare() {
        guard let own = members[0].replica, let other = members[1].replica else { return }
        say("at rest: \(own.blockCount) blocks, \(own.count) pins")
        if own.absentCount > 0 || other.absentCount > 0 { return fail(.fetchable, "\(own.absentCount) and \(other.absentCount) blocks are named, and nowhere") }
        guard SortedSet(own.heads.map(\.cid)) == SortedSet(other.heads.map(\.cid)) else { return fail(.cover, "the two have other heads when all was exchanged") }
        if !keepsLeftovers, let file = leftovers().first { return fail(.bound, "\(file) is left on the disk, which no checkpoint names") }
        guard own.digest == other.digest, own.count == other.count else { return fail(.digest, "the two have the same heads, and \(own.count) and \(other.count) pins") }
        for (index, replica) in [own, other].enumerated() {
            for (cid, list) in wishes[index] {
                if let waiting = list.first(where: { $0.state == .waits }) { return fail(.accepted, "operation \(waiting.id) never ends") }
                // What ended before another was asked for has given way to that; of what was neither done nor undone, some may have come to be.
                let done = list.filter { $0.state == .done }
                let may = list.filter { wish in [.done, .unknown].contains(wish.state) && !done.contains { $0.asked > wish.ended } }.map(\.value) + (done.isEmpty ? [nil] : [])
                let value: Bytes?
                do throws(LogError) { value = try replica.value(cid) } catch { return fail(.refold, "the value of \(cid) cannot be read: \(error)") }
                if !may.contains(value) {
                    let story = list.map { "\($0.id) \($0.state)\($0.value == nil ? " (gone)" : "")\($0.value == value ? " is there" : "")" }
                    return fail(.durable, "of what was asked of \(cid) the last does not hold: \(story.joined(separator: ", "))")
                }
                // From here on that is what it is, but for what failed and may come back with a crash.
                var holds = list.last { $0.value == value && $0.state != .failed } ?? Wish(id: 0, value: value, asked: 0, ended: 0)
                holds.state = .done
                wishes[index][cid] = [holds] + list.filter { $0.state == .failed }
            }
        }
    }
}
