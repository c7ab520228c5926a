// Every answer to a client is judged as it comes.

import Cluster
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Tracking

/// A request that has not ended.
struct Asked {
    let peer: Int
    let at: Int64
    let request: ClientRequest
    /// What the peer held when it took up a listing, and what it has listed.
    var snapshot: SortedMap<CID, Pin>?
    var listed = SortedSet<CID>()
    /// Whom it must name: the members that the peer knew when it took up a question for what all of them do.
    var members: [PeerID] = []
    /// Peers that it has been told of.
    var told = SortedSet<PeerID>()
    /// Whom the pin was allocated to before.
    var before: [PeerID] = []
    /// Blocks were missing when it was asked.
    var wasBehind = false
    /// Who had told nothing of itself when it was asked.
    var unheard = SortedSet<PeerID>()
    /// What must come of it.
    var expected: Expected?
    /// Where the blocks of an add must go.
    var rule: AllocationRule?
    /// What must move off who is to be removed.
    var leaves: [Pin] = []
    /// What was held since then of what it asks about.
    var views = Views()
}

extension Run {
    /// No answer may take longer, whatever hangs: RPCs and IPFS have time-outs.
    static let answerMax = Span.minutes(10)
    /// How long after it went down a peer may still be allocated to: as long as its last metrics are valid, and what is on its way.
    private var allocationGrace: Span { (world.peers[0].settings.informers.disk?.ttl ?? .zero) + .seconds(60) }

    @discardableResult
    func ask(_ index: Int, _ operation: Operation, _ request: ClientRequest, each: ((ClientReply) -> Void)? = nil) -> ClientID {
        let client = ClientID(world.nextClient + 1)
        oracles.askedAt.append(world.now)
        var asked = Asked(peer: index, at: world.now, request: request)
        asked.wasBehind = (world.peers[index].process?.machine.replica.absentCount ?? 0) > 0
        if let monitor = world.peers[index].process?.machine.monitor { asked.unheard = SortedSet(world.peers.map(\.id).filter { monitor.latest("ping", of: $0) == nil }) }
        oracles.asked[client] = asked
        noteWrite(client, asked)
        world.ask(index, request) { [unowned self] _, reply in
            each?(reply)
            judge(client, reply)
        }
        if let after = Words(operation.words).number("hang-up") {
            world.after(.milliseconds(Int64(max(0, after)))) { [unowned self] world in
                guard oracles.asked[client] != nil else { return }
                world.hangUp(index, client)
            }
        }
        return client
    }

    /// Nobody waits for a peer that has gone.
    func forgetAsked(_ index: Int) {
        for (client, asked) in oracles.asked where asked.peer == index {
            oracles.asked.remove(client)
            noteWritten(client, asked, failure: nil)
        }
        if let failed = oracles.cleansUp[index], world.now - failed.at < Span.minutes(2).nanoseconds { oracles.leftOf.insert(failed.bytes) }
        oracles.downSince[index] = world.now
        oracles.health.remove(index)
        checkManifest(index)
        // Of one that has not read its log yet, what is known of the life before still holds.
        if oracles.opened.contains(index), let merged = oracles.seen[index]?.blocks { oracles.mergedBefore[index] = (merged, world.peers[index].losses.count) }
        oracles.failedPins.remove(index)
        oracles.looksBefore.remove(index)
        oracles.underWay.remove(index)
        oracles.failedAt.remove(index)
        oracles.stale.remove(index)
        oracles.opened.remove(index)
        oracles.pinning.remove(index)
        oracles.looked.remove(index)
        oracles.introduced.remove(index)
        oracles.questions.remove(index)
    }

    /// A listing shows what was there when it was asked for.
    func noteListing(_ index: Int, _ input: PeerInput) {
        if case .client(let client, let request) = input, request.isForAll { oracles.asked[client]?.members = world.peers[index].process?.machine.members ?? [] }
        switch input {
        case .start:
            oracles.downSince.remove(index)
            oracles.startedAt[index] = world.now
        case .clientGone(let client):
            if let asked = oracles.asked.remove(client) { noteWritten(client, asked, failure: nil) }
            oracles.gone.insert(client)
        case .client(let client, .pins), .client(let client, .statusAll):
            guard var asked = oracles.asked[client], let process = world.peers[index].process else { return }
            let types: Set<PinType>? = if case .pins(let types) = asked.request { types } else { nil }
            // What is said of the others by a filter hangs on more than the pinset.
            let filter: TrackerStatus = if case .statusAll(let filter, _) = asked.request { filter } else { .undefined }
            asked.snapshot = SortedMap(pins(of: process.machine).filter { pin in
                guard filter == .undefined else { return filter.contains(pin.type == .meta ? .sharded : .remote) && (pin.type == .meta || pin.isRemote(for: process.peer.id)) }
                return types?.contains(pin.type) ?? true
            }.map { ($0.cid, $0) })
            oracles.asked[client] = asked
        case .client(let client, .peerRemove(let peer)): oracles.asked[client]?.leaves = leaves(of: peer, askedOf: index)
        case .client(let client, .pin(let pin)):
            // CLU-08: an update goes where its source is, whoever of those may be gone.
            guard let process = world.peers[index].process, let held = try? process.machine.readPin(pin.options.pinUpdate ?? pin.cid) else { return }
            oracles.asked[client]?.before = held.allocations ?? []
        default: break
        }
    }

    func judge(_ client: ClientID, _ reply: ClientReply) {
        guard !oracles.gone.contains(client) else { return }  // its hanging up may have overtaken its question
        guard let asked = oracles.asked[client] else { return world.fail(.answer, "client \(client.number) is answered after the end: \(describe(reply))") }
        oracles.judged += 1
        judgeFollower(reply, asked)
        switch reply {
        case .item(let item): judge(item, client, asked)
        case .end:
            oracles.asked.remove(client)
            judgeHaste(asked)
            if asked.request.isWrite {
                oracles.acknowledged += 1
                world.cutPower(in: asked.peer, at: .answer)
            }
            noteWritten(client, asked, failure: .some(nil))
            judgeListing(asked)
            judgeTold(asked)
        case .failed(let failure):
            oracles.asked.remove(client)
            noteWritten(client, asked, failure: .some(failure))
            judgeReason(failure, asked)
            judgeLeft(asked)
            if let expected = asked.expected { judge(failure, expected: expected, asked.request.writtenCIDs.first, at: asked.peer) }
            if case .pinGet(let cid) = asked.request, failure.kind == .notFound, let pin = try? world.peers[asked.peer].process?.machine.readPin(cid) {
                world.fail(.answer, "\(world.name(asked.peer)) says that it has no pin of \(pin.cid), and has one")
            }
        case .pause, .resume: break
        }
    }

    /// ANSWER: who follows writes nothing, and tells of itself alone (CLU-02, CLU-20).
    private func judgeFollower(_ reply: ClientReply, _ asked: Asked) {
        guard options.outsiderFollows, asked.peer == outsider, let own = outsider.map({ world.peers[$0].id }) else { return }
        let infos: [GlobalPinInfo]
        switch reply {
        case .item(.info(let info)): infos = [info]
        case .item(.infos(let many)): infos = many
        case .item, .end:
            if asked.request.isWrite { world.fail(.answer, "\(world.name(asked.peer)) follows, and takes up \(asked.request)") }
            return
        case .failed, .pause, .resume: return
        }
        guard let other = infos.lazy.flatMap(\.peers).first(where: { $0.key != own }) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) follows, and tells what \(named(other.key)) does")
    }

    private func judge(_ item: ClientItem, _ client: ClientID, _ asked: Asked) {
        if case .pin(let pin) = item, let expected = asked.expected { judge(pin, expected: expected, at: asked.peer) }
        switch (item, asked.request) {
        case (.pin(let pin), .pinGet(let cid)):
            let held = try? world.peers[asked.peer].process?.machine.readPin(cid)
            if pin.cid != cid || held.map({ $0 != pin }) == true { world.fail(.answer, "\(world.name(asked.peer)) shows a pin of \(cid) that is not the one it has") }
        case (.pins(let pins), .pins): for pin in pins.pins { list(pin, client) }
        case (.infos(let infos), .statusAll(let filter, _)):
            for info in infos {
                note(info.cid, client)
                judge(info, asked)
                // What a peer told before it failed is replaced by its failure.
                guard filter != .undefined, !info.peers.contains(where: { !$0.value.status.isDisjoint(with: filter.union(.clusterError)) }) else { continue }
                world.fail(.answer, "\(world.name(asked.peer)) lists \(info.cid), which does not match the filter")
            }
        case (.infos(let infos), _): for info in infos { judge(info, asked) }
        case (.info(let info), .status(let cid, _)), (.info(let info), .recover(let cid, _)):
            if info.cid != cid { world.fail(.answer, "\(world.name(asked.peer)) tells the status of \(info.cid), asked for \(cid)") }
            judge(info, asked)
            if case .recover(_, isLocal: true) = asked.request { judgeParts(of: cid, asked) }
        case (.info(let info), _): judge(info, asked)
        case (.metrics(let metrics), .metrics(name: "freespace")):
            for metric in metrics { judge(metric, at: asked.peer) }
            judgePeers(item, asked)
        case (.garbage(let all), _):
            for one in all where one.error.isEmpty { judgeTrust(one.peer, asked, "that it has collected garbage for it") }
            judgePeers(item, asked)
        case (.peer(let info), .peers):
            if oracles.asked[client]?.told.insert(info.id) == false { world.fail(.answer, "\(world.name(asked.peer)) tells of \(named(info.id)) twice") }
            judgePeers(item, asked)
        default: judgePeers(item, asked)
        }
    }

    /// ANSWER: where content in shards is recovered, they are as well (RPC-E20).
    private func judgeParts(of content: CID, _ asked: Asked) {
        guard !plan.has(.clock), !plan.has(.disk), let process = world.peers[asked.peer].process, (try? process.machine.readPin(content))?.type == .meta else { return }
        let asking = process.peer.clock.reading(asked.at).wall
        for part in oracles.shardsOf.filter({ $0.value.contains(content) }).keys.sorted() {
            guard let said = process.machine.tracker.settledStatus(of: part, pin: nil, now: process.peer.clock.reading(world.now))?.short else { continue }
            oracles.judged += 1
            guard said.status == .pinError, said.timestamp < asking else { continue }
            return world.fail(.answer, "\(world.name(asked.peer)) has recovered \(content), and not its part \(part), which failed before")
        }
    }

    /// As it was when it was asked for, or as it is now.
    private func list(_ pin: Pin, _ client: ClientID) {
        note(pin.cid, client)
        guard let asked = oracles.asked[client], let snapshot = asked.snapshot, world.failure == nil else { return }
        oracles.judged += 1
        if snapshot[pin.cid] == pin { return }
        guard let held = try? world.peers[asked.peer].process?.machine.readPin(pin.cid), held != pin else { return }
        world.fail(.answer, "\(world.name(asked.peer)) lists a pin of \(pin.cid) that is not the one it has")
    }

    private func note(_ cid: CID, _ client: ClientID) {
        guard var asked = oracles.asked[client] else { return }
        if !asked.listed.insert(cid) { world.fail(.answer, "\(world.name(asked.peer)) lists \(cid) twice") }
        oracles.asked[client] = asked
    }

    private func judgeListing(_ asked: Asked) {
        guard let snapshot = asked.snapshot else { return }
        oracles.judged += 1
        let isExact = if case .pins = asked.request { true } else { false }
        if !isExact {
            // Who cannot ask its own IPFS, or cannot read its disk, tells what others say, and they may not know of it (recorded: down1). Of
            // itself alone it tells all, or fails (T07).
            if !asked.request.isLocal, plan.troublesIPFS && asked.request.needsIPFS || plan.has(.disk) { return }
            // Statuses leave out what was unpinned meanwhile, though it may be pinned again (seed 951583), by a clock that stands at the same
            // second (seed 7005045); or since the block that removed it has rotted, and the state was made anew (seed 260611257 with disk faults).
            if plan.has(.clock) || wasMadeAnew(asked.peer, since: asked.at) { return }
        }
        let kept = isExact ? snapshot : SortedMap(world.peers[asked.peer].process.map { pins(of: $0.machine).map { ($0.cid, $0) } } ?? [])
        // Or by somebody who writes the same once more (seed 7005779).
        let changing: SortedSet<CID> = isExact ? SortedSet() : SortedSet(oracles.askedWrites.filter { $0.when > asked.at - Span.minutes(1).nanoseconds }.map(\.cid))
        if let missing = snapshot.keys.first(where: { !asked.listed.contains($0) && kept[$0] == snapshot[$0] && !changing.contains($0) }) {
            return world.fail(.answer, "\(world.name(asked.peer)) does not list \(missing), which it had when it was asked")
        }
        guard isExact, let extra = asked.listed.first(where: { snapshot[$0] == nil }) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) lists \(extra), which it did not have when it was asked")
    }

    /// TRUST: what only a trusted peer may ask is not told to another.
    private func judgeTrust(_ peer: PeerID, _ asked: Asked, _ what: @autoclosure () -> String) {
        guard asked.peer == outsider, let index = world.indexes[peer], index != outsider else { return }
        oracles.judged += 1
        world.fail(.trust, "\(world.name(index)) has told an untrusted peer \(what())")
    }

    /// TRUTH: what is said of a pin is what IPFS held all the time since it was asked.
    func judge(_ info: GlobalPinInfo, _ asked: Asked) {
        // The others are known without asking: who does not answer, what is not in the pinset, and who has nothing to do with it.
        for (name, said) in info.peers where !said.status.isDisjoint(with: [.pinned, .pinning, .pinQueued, .pinError, .unpinning, .unpinError, .unexpectedlyUnpinned]) {
            judgeTrust(name, asked, "that \(info.cid) is \(said.status.text)")
        }
        judgeNamed(info, asked)
        if asked.request.isLocal, let other = info.peers.first(where: { $0.key != world.peers[asked.peer].id })?.key {
            return world.fail(.answer, "\(world.name(asked.peer)) was asked for itself alone, and tells what \(named(other)) does with \(info.cid)")
        }
        defer { judgeFields(info, asked) }
        for (name, said) in info.peers {
            guard let index = world.indexes[name] else { continue }
            if !options.isEmbedded { judgeOwnSurvey(said, info.cid, index, asked) }
            judgeQueued(said, info.cid, index, asked)
            guard !plan.has(.ipfsStale, at: index), let holds = holds(info.cid, at: index, since: asked.at) else { continue }
            oracles.judged += 1
            let isWrong = said.status == .pinned ? !holds : said.status == .unexpectedlyUnpinned && holds
            guard isWrong else { continue }
            // IPFS is asked for the kind that the pinset has, or had (seed 300658), and pins a CID in one kind alone.
            if let kind = pinned(by: index)[info.cid], [asked.peer, index].contains(where: { peer in
                let pin = try? world.peers[peer].process?.machine.readPin(info.cid)
                return pin.map { (kind == .direct) != ($0.options.mode == .direct) } ?? (kind == .direct)
            }) { continue }
            // It had the other until somebody wrote it anew, and another peer was waited for meanwhile (seed 3550002 with disk faults).
            if let kind = pinned(by: index)[info.cid], oracles.askedWrites.contains(where: { $0.cid == info.cid && $0.when >= asked.at }),
                blocks.written[info.cid]?.contains(where: { ($0.options.mode == .direct) != (kind == .direct) }) == true { continue }
            world.fail(.truth, "\(world.name(asked.peer)) says that \(world.name(index)) has \(info.cid) \(said.status.text), which IPFS \(holds ? "pins" : "does not pin")")
        }
    }

    /// ANSWER: who was asked is named, and be it as one that does not answer. In a listing those are that could not say anything.
    func judgeNamed(_ info: GlobalPinInfo, _ asked: Asked) {
        guard asked.peer != outsider, asked.request.isForAll, !plan.has(.clock) else { return }
        let isListing = asked.request.askedCIDs.isEmpty
        // One after another is asked about, and a member that has gone meanwhile is none any more.
        var members = asked.members
        if case .statuses = asked.request, let now = world.peers[asked.peer].process?.machine.members {
            // Or it has gone and come back, where that took long (seed 1900202).
            if world.now - asked.at > Span.seconds(5).nanoseconds { return }
            members.removeAll { !now.contains($0) }
        }
        // Of one content, whoever is to hold it as well, silent or not (CLU-20).
        let holders = asked.request.askedCIDs == [info.cid] ? steadyPin(info.cid, asked)?.allocations ?? [] : []
        for name in members + holders {
            guard let index = world.indexes[name], index != outsider, !info.peers.contains(where: { $0.key == name }) else { continue }
            if isListing, oracles.downSince[index].map({ $0 >= asked.at }) ?? true { continue }
            return world.fail(.answer, "\(world.name(asked.peer)) tells what all do with \(info.cid), and leaves out \(world.name(index))")
        }
        oracles.judged += asked.members.count
    }

    /// TRUTH: what is queued is in the queue, or in the log and not told yet. Others may have said so a while ago.
    func judgeQueued(_ said: PinInfoShort, _ cid: CID, _ index: Int, _ asked: Asked) {
        guard said.status == .pinQueued, asked.request.isLocal, index == asked.peer, let process = world.peers[index].process else { return }
        // Where no pinset is read for it, all is told as it was when that was asked, however slowly it is taken (seed 5007147).
        if case .statusAll(let filter, _) = asked.request, !Tracker.needsState(filter), asked.at < world.now { return }
        oracles.judged += 1
        // A pin that waits until its unpin is done is in no queue.
        guard process.machine.tracked().busy == 0, process.machine.replica.untoldCount == 0 else { return }
        world.fail(.truth, "\(world.name(index)) says that \(cid) is pin_queued, and has nothing to do")
    }

    /// TRUTH: of its own pins a peer knows what it has pinned since it listed them.
    private func judgeOwnSurvey(_ said: PinInfoShort, _ cid: CID, _ index: Int, _ asked: Asked) {
        // Of one content it is told how it was when it was asked about, however long the others take (seed 400292).
        guard asked.request.askedCIDs.isEmpty else { return }
        guard index == asked.peer, said.status == .unexpectedlyUnpinned, !plan.troublesIPFS, !plan.spoilsDisks,
            let kind = world.peers[index].ipfs.pins[cid], let pinned = world.peers[index].ipfs.changedAt[cid], pinned < world.now,
            pinned > oracles.startedAt[index] ?? 0, let pin = try? world.peers[index].process?.machine.readPin(cid), (kind == .direct) == (pin.options.mode == .direct)
        else { return }
        oracles.judged += 1
        world.fail(.truth, "\(world.name(index)) says that it has \(cid) \(said.status.text), which its IPFS has pinned for it meanwhile")
    }

    /// TRUTH: no daemon has more room than it may use.
    func judge(_ metric: Metric, at index: Int) {
        guard metric.name == "freespace", metric.isValid, let other = world.indexes[metric.peer], let free = UInt64(metric.value) else { return }
        oracles.judged += 1
        guard free > world.peers[other].ipfs.storageMax else { return }
        world.fail(.truth, "\(world.name(index)) says that \(world.name(other)) has \(free) bytes free, of \(world.peers[other].ipfs.storageMax)")
    }

    // MARK: Pins

    /// ALLOC, ANSWER: what a client is told of its pin.
    func judge(_ pin: Pin, asked: Pin, before: [PeerID], at index: Int) {
        oracles.judged += 1
        let keepsName = asked.options.pinUpdate != nil && asked.options.name.isEmpty  // the model says which
        if pin.cid != asked.cid || pin.options.name != asked.options.name && !keepsName
            || pin.options.mode != asked.options.mode && asked.options.pinUpdate == nil {
            return world.fail(.answer, "\(world.name(index)) has pinned \(pin.cid) as \(pin.options.name), asked for \(asked.cid) as \(asked.options.name)")
        }
        let allocations = pin.allocations ?? []
        // ALC-07: what suffices stays as it is, with whom it has.
        guard pin.type != .meta, !pin.isPinnedEverywhere, allocations.sorted() != before.sorted() else { return }
        judgeFactors(pin)
        if let monitor = world.peers[index].process?.machine.monitor {
            for peer in world.peers { if let metric = monitor.latest("freespace", of: peer.id) { judge(metric, at: index) } }
        }
        guard !plan.has(.clock) else { return }
        for peer in allocations {
            guard let other = world.indexes[peer], let since = oracles.downSince[other] else { continue }
            guard world.now - since > allocationGrace.nanoseconds else { continue }
            return world.fail(.alloc, "\(world.name(index)) allocates \(pin.cid) to \(world.name(other)), which has been down for \(Span(nanoseconds: world.now - since).seconds)")
        }
    }

    /// ALLOC: as many peers as it is to have.
    func judgeFactors(_ pin: Pin) {
        let count = pin.allocations?.count ?? 0, least = pin.options.replicationFactorMin, most = pin.options.replicationFactorMax
        guard !pin.isPinnedEverywhere, count < least || count > most && !plan.lowersFactors else { return }  // ALC-07
        world.fail(.alloc, "\(pin.cid) has \(count) allocations, factors \(least) to \(most)")
    }

    /// ANSWER: who asks all for one thing waits for nobody longer than RPC-21 allows, and not for the peer itself: once more where the pin
    /// has changed meanwhile, and all of it twice for a recovery.
    func judgeHaste(_ asked: Asked) {
        let most: Span
        switch asked.request {
        case .peers: most = .seconds(16)
        case .status(_, isLocal: false): most = .seconds(31)
        case .recover(_, isLocal: false): most = .seconds(61)
        default: return
        }
        oracles.judged += 1
        let took = Span(nanoseconds: world.now - asked.at), slept = world.peers[asked.peer].sleeps.contains { $0.to >= asked.at }
        guard took > most, !slept else { return }
        world.fail(.answer, "\(world.name(asked.peer)) has taken \(took.seconds) for what each may take 15 s for: \(asked.request)")
    }

    // MARK: At the end

    /// ANSWER: no request is left without an end.
    func checkRequests() {
        for (client, asked) in oracles.asked where world.now - asked.at > Run.answerMax.nanoseconds {
            return world.fail(.answer, "\(world.name(asked.peer)) has not ended its answer to client \(client.number) in \(Span(nanoseconds: world.now - asked.at).seconds): \(asked.request)")
        }
    }

    /// BOUND: at rest nothing is left lying about.
    func checkBounds() {
        for index in present {
            guard let process = world.peers[index].process else { continue }
            let streams = process.streams.count, most = 16 * world.peers.count + 16
            if streams > most {
                let kinds = process.streams.values.map { "\($0.cargo) \($0.opener == index ? "to" : "from") \(world.name($0.other(than: index)))\($0.fromOpener.hasEnded ? ", opener ended" : "")\($0.fromAccepter.hasEnded ? ", accepter ended" : "")" }
                let counts = Dictionary(kinds.map { ($0, 1) }, uniquingKeysWith: +).sorted { ($1.value, $0.key) < ($0.value, $1.key) }
                let most = counts.prefix(3).map { "\($0.value) \($0.key)" }.joined(separator: "; ")
                return world.fail(.bound, "\(world.name(index)) has \(streams) streams open at rest: \(most)")
            }
            let clients = process.machine.clientCount, asking = oracles.asked.values.count { $0.peer == index }
            if clients > asking { return world.fail(.bound, "\(world.name(index)) serves \(clients) clients at rest, and \(asking) are there") }
            let counted = world.peers.reduce(0) { $0 + process.machine.countedCalls(of: $1.id) }
            if counted != process.machine.openCallCount {
                return world.fail(.bound, "\(world.name(index)) counts \(counted) calls of others at rest, and \(process.machine.openCallCount) are open")
            }
            checkAlerts(process.machine.monitor, of: index)
            checkMesh(process.machine.meshMax, of: index)
            checkUnwanted(world.peers.map { process.machine.unwantedMessages(of: $0.id) }.max() ?? 0, of: index)
            let waiting = process.machine.unfinished.filter { $0.value > 0 }
            if waiting.reduce(0, { $0 + $1.value }) > 64 {
                let kinds = waiting.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
                return world.fail(.bound, "\(world.name(index)) waits for more than 64 answers at rest: \(kinds)")
            }
        }
    }
}

// MARK: While it runs

extension Run {
    func checkMesh(_ mesh: (members: Int, bound: Int), of index: Int) {
        guard mesh.members >= mesh.bound else { return }
        world.fail(.gossip, "a mesh of \(world.name(index)) has \(mesh.members) members at rest, which is its upper bound")
    }

    /// BOUND: what others do not want to be sent is forgotten after a few heartbeats.
    func checkUnwanted(_ count: Int, of index: Int) {
        guard count > 500 else { return }
        world.fail(.bound, "\(world.name(index)) keeps in mind \(count) messages that somebody did not want long ago")
    }

    /// At most so many dials of one peer by another fail within a minute: they back off.
    static let failedDialsMax = 30

    /// MIN: who cannot be reached is not dialled all the time.
    func noteDial(_ index: Int, _ input: PeerInput) {
        switch input {
        case .start: oracles.failedDials = oracles.failedDials.filter { $0.key.from != index }.reduce(into: SortedMap()) { $0[$1.key] = $1.value }
        case .connection(.dialFailed(let peer, _)):
            guard let other = world.indexes[peer] else { return }
            let link = Link(from: index, to: other)
            var times = (oracles.failedDials[link] ?? []).filter { $0 > world.now - Span.minutes(1).nanoseconds }
            times.append(world.now)
            oracles.failedDials[link] = times
            guard times.count > Run.failedDialsMax else { return }
            world.fail(.min, "\(world.name(index)) has dialled \(world.name(other)) \(times.count) times in a minute, and never reached it")
        case .connection(.connected(let peer, _, _)): if let other = world.indexes[peer] { oracles.failedDials.remove(Link(from: index, to: other)) }
        default: break
        }
    }

    /// MIN: one alert for each time that a metric runs out, until that has lasted long.
    func checkAlerts(_ monitor: Monitor, of index: Int) {
        guard !plan.has(.clock) else { return }
        let settings = MonitorSettings()
        let least = settings.checkInterval * Int64(settings.realertChecks / 2)
        var last: [String: WallTime] = [:]
        checkAlarm(monitor, of: index)
        // Who wakes up hears the others first.
        let wakings = world.peers[index].sleeps.filter { $0.to - $0.from > settings.checkInterval.nanoseconds * 2 }.map { world.peers[index].clock.reading($0.to).wall }
        for alert in monitor.alertsNewestFirst {
            if let woke = wakings.first(where: { $0 <= alert.triggeredAt && alert.triggeredAt - $0 < .seconds(10) }) {
                return world.fail(.min, "\(world.name(index)) raised an alert for \(alert.metric.peer) \((alert.triggeredAt - woke).seconds) after it had woken up")
            }
            let episode = "\(alert.metric.name) \(alert.metric.peer) \(alert.metric.receivedAt) \(alert.metric.expire)"
            if let later = last[episode], later - alert.triggeredAt < least {
                return world.fail(.min, "\(world.name(index)) has raised two alerts within \((later - alert.triggeredAt).seconds) for one silence of \(alert.metric.peer)")
            }
            last[episode] = alert.triggeredAt
        }
    }
}

extension Run {
    /// LIVE: who has been silent for long was noticed, by everyone who was there.
    func checkAlarm(_ monitor: Monitor, of index: Int) {
        guard index != outsider, let started = oracles.startedAt[index] else { return }
        let now = world.peers[index].clock.reading(world.now).wall
        for other in world.peers where !other.isUp {
            // What had run out when it came ends no silence (seed 931641).
            guard let ping = monitor.latest("ping", of: other.id), ping.receivedAt < ping.expire else { continue }
            let silent = now - WallTime(unixNanoseconds: ping.expire)
            let since = world.now - silent.nanoseconds - Span.minutes(1).nanoseconds
            guard silent > .minutes(1), started < since, !world.peers[index].sleeps.contains(where: { $0.to > since }) else { continue }
            oracles.judged += 1
            if monitor.alertsNewestFirst.contains(where: { $0.metric.name == "ping" && $0.metric.peer == other.id && $0.triggeredAt.unixNanoseconds >= ping.expire }) { continue }
            return world.fail(.live, "\(world.name(index)) has not noticed that \(world.name(other.index)) has been silent for \(silent.seconds)")
        }
    }

    /// LIVE: where nothing goes wrong nobody is taken for silent.
    func checkCalm(since began: Int64) {
        // The messages of crowds may take as long as a ping is valid.
        guard !isCrowd, !plan.has(.clock) else { return }
        for index in present {
            guard let process = world.peers[index].process, let started = oracles.startedAt[index], started < began else { continue }
            checkCalm(since: began, process.machine.monitor.alertsNewestFirst, of: index)
        }
    }
    func checkCalm(since began: Int64, _ alerts: [Alert], of index: Int) {
        oracles.judged += 1
        // Who has just come back may not have been heard yet.
        let calm = world.peers[index].clock.reading(began).wall + .minutes(1)
        for alert in alerts where alert.triggeredAt >= calm && alert.metric.name == "ping" {
            guard let other = world.indexes[alert.metric.peer], present.contains(other), oracles.startedAt[other] ?? .max < began else { continue }
            return world.fail(.live, "\(world.name(index)) takes \(world.name(other)) for silent, where nothing goes wrong")
        }
    }
}

extension ClientRequest {
    /// Whoever is asked asks all members.
    var isForAll: Bool {
        switch self {
        case .status(_, isLocal: false), .statuses(_, isLocal: false), .recover(_, isLocal: false), .statusAll(_, isLocal: false), .recoverAll(isLocal: false): true
        case .peers, .connectGraph, .repoGC(isLocal: false): true
        default: false
        }
    }
    /// Only whoever is asked is asked for.
    var isLocal: Bool {
        switch self {
        case .status(_, isLocal: true), .statuses(_, isLocal: true), .recover(_, isLocal: true), .statusAll(_, isLocal: true), .recoverAll(isLocal: true): true
        default: false
        }
    }
    /// What IPFS pins has a say in the answer.
    fileprivate var needsIPFS: Bool { if case .statusAll(let filter, _) = self { Tracker.needsIPFS(filter) } else { true } }
    var isWrite: Bool {
        switch self {
        case .pin, .pinAll, .unpinAll, .pinPath, .unpin, .unpinPath, .add: true
        default: false
        }
    }
}
