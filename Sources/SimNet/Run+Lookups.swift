// How peers look for each other by the DHT, read off the wire: whom a search asks next, whom it is told of, who is in the table and who
// is told to others. DHT-05, DHT-08, DHT-12..16; "Kademlia", section 2.3.

import Cluster
import DHT
import Encoding
import Kernel
import Multiformats
import Seams

/// What is known of one peer's DHT in one life of it. Times are those of its own clock.
struct LookupLog {
    /// A stream on which it asks, and what it has asked last and not heard.
    struct Line {
        let peer: PeerID
        var reader = FrameReader(limitBytes: .max)
        var asked: Bytes?
        /// The search that it was asked for.
        var search: UInt64?
    }
    struct Served {
        let from: PeerID
        /// When it was opened, or something was asked last.
        var busyAt: Instant
        var reader = FrameReader(limitBytes: .max)
        var asked: [Bytes] = []
    }
    struct Search {
        let number: UInt64
        let target: Position
        /// Who may be asked, and who was, or could not be.
        var known = SortedMap<Distance, PeerID>()
        var tried = SortedSet<PeerID>()
    }
    struct Contact {
        let since: Instant
        var serves: Bool?
    }
    var contacts = SortedMap<PeerID, Contact>()
    var lines = SortedMap<StreamID, Line>()
    var served = SortedMap<StreamID, Served>()
    var searches: [Bytes: Search] = [:]
    /// Whom it is dialling, and whom it could not reach.
    var dialling = SortedSet<PeerID>()
    var unreached = SortedSet<PeerID>()
    /// How many searches it has begun.
    var begunCount: UInt64 = 0
    /// When it looked for itself last, or began.
    var refreshedAt: Instant

    init(begun: Instant) { refreshedAt = begun }

    /// What is outstanding with a peer.
    func isBusy(_ peer: PeerID) -> Bool { lines.contains { $0.value.peer == peer && $0.value.asked != nil } }
}

/// What happened to the questions of one step.
private struct LookupStep {
    var asked: [(peer: PeerID, key: Bytes)] = []
    var told: [(peer: PeerID, key: Bytes, answer: DHTMessage)] = []
    var broken: [(peer: PeerID, key: Bytes, search: UInt64?)] = []
    /// Who owed an answer before.
    var busy = SortedSet<PeerID>()
}

extension Run {
    /// LOOKUP: after each step of a peer that lives on.
    func watchLookups(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: inout LookupLog) {
        var step = LookupStep()
        var isTouched = hearOfLookups(input, now, &log, &step)
        judgeEnds(index, input, effects, process, now, log)
        for effect in effects {
            switch effect {
            case .connection(.dial(let peer, _)):
                log.dialling.insert(peer)
                for key in log.searches.keys { log.searches[key]?.tried.insert(peer) }
            case .stream(let effect): if noteQuestion(index, effect, process, &log, &step) { isTouched = true }
            default: break
            }
        }
        if case .wake = input, let late = log.served.first(where: { $0.value.busyAt + process.peer.settings.dht.idleTimeout <= now })?.value {
            world.fail(.lookup, "\(world.name(index)) keeps a stream of \(named(late.from)), which has asked nothing for \((now - late.busyAt).seconds)")
        }
        judgeBegun(index, effects, step, process, log)
        if isTouched {
            judgeTable(index, step, process, log)
            judgeSearches(index, input, step, process, now, &log)
        }
        log.begunCount = process.machine.searchesBegun()
        if input.isWake, process.peer.steps % 8 == 0 { judgeRefresh(index, process, now, log) }
    }

    /// DHT-05, DHT-16: nobody is let go while it may ask more; and who is found is looked for no more.
    private func judgeEnds(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: LookupLog) {
        switch input {
        case .connection(.connected(let peer, _, _)):
            oracles.judged += 1
            guard process.machine.search(for: peer.bytes) != nil else { return }
            world.fail(.lookup, "\(world.name(index)) goes on looking for \(named(peer)), to which it is connected")
        case .wake:
            for case .stream(.reset(let id)) in effects {
                guard let served = log.served[id], served.busyAt + process.peer.settings.dht.idleTimeout > now else { continue }
                return world.fail(.lookup, "\(world.name(index)) lets go of a stream of \(named(served.from)), \((now - served.busyAt).seconds) after its last question")
            }
        default: break
        }
    }

    // MARK: Heard

    private func hearOfLookups(_ input: PeerInput, _ now: Instant, _ log: inout LookupLog, _ step: inout LookupStep) -> Bool {
        switch input {
        case .connection(.connected(let peer, _, _)):
            log.contacts[peer] = log.contacts[peer] ?? LookupLog.Contact(since: now)
            log.dialling.remove(peer)
            // Where it was its turn before, it was left out in silence (seed 1400052).
            if log.unreached.contains(peer) { for key in log.searches.keys { log.searches[key]?.tried.insert(peer) } }
            log.unreached.remove(peer)
        case .connection(.introduced(let peer, let introduction)): log.contacts[peer]?.serves = introduction.protocols.contains(where: DHT.protocols.contains)
        case .connection(.disconnected(let peer)):
            log.contacts.remove(peer)
            for key in log.searches.keys { log.searches[key]?.tried.insert(peer) }
            for (id, line) in log.lines where line.peer == peer { breakLine(id, &log, &step) }
            return true
        case .connection(.dialFailed(let peer, _)):
            log.dialling.remove(peer)
            log.unreached.insert(peer)
            return true
        case .stream(.incoming(let id, let peer, let name)):
            guard DHT.protocols.contains(name) else { return false }
            log.served[id] = LookupLog.Served(from: peer, busyAt: now)
        case .stream(.received(let id, let bytes)): return hearWords(id, bytes, now, &log, &step)
        case .stream(.reset(let id)), .stream(.failed(let id, _)), .stream(.remoteClosed(let id)):
            guard log.lines[id] != nil || log.served.remove(id) != nil else { return false }
            for line in log.lines.values where line.asked != nil { step.busy.insert(line.peer) }
            breakLine(id, &log, &step)
            return true
        case .wake: return !log.searches.isEmpty || log.lines.contains { $0.value.asked != nil }
        default: break
        }
        return false
    }

    private func hearWords(_ id: StreamID, _ bytes: Bytes, _ now: Instant, _ log: inout LookupLog, _ step: inout LookupStep) -> Bool {
        if log.served[id] != nil {
            log.served[id]?.reader.append(bytes)
            while let frame = try? log.served[id]?.reader.next() {
                log.served[id]?.busyAt = now
                if let question = try? DHTMessage(decoding: frame, within: DHTMessageLimits()), question.kind == .findNode { log.served[id]?.asked.append(question.key) }
            }
            return true
        }
        guard let line = log.lines[id] else { return false }
        for line in log.lines.values where line.asked != nil { step.busy.insert(line.peer) }
        log.lines[id]?.reader.append(bytes)
        while let frame = try? log.lines[id]?.reader.next() {
            guard let key = log.lines[id]?.asked, let answer = try? DHTMessage(decoding: frame, within: DHTMessageLimits()), answer.kind == .findNode else { break }
            log.lines[id]?.asked = nil
            step.told.append((line.peer, key, answer))
        }
        return true
    }

    private func breakLine(_ id: StreamID, _ log: inout LookupLog, _ step: inout LookupStep) {
        guard let line = log.lines.remove(id), let key = line.asked else { return }
        step.broken.append((line.peer, key, line.search))
    }

    // MARK: Said

    /// True where it has to do with the DHT.
    private func noteQuestion(_ index: Int, _ effect: StreamEffect, _ process: Process, _ log: inout LookupLog, _ step: inout LookupStep) -> Bool {
        switch effect {
        case .open(let id, let peer, let protocols):
            guard protocols == DHT.protocols else { return false }
            if log.contacts[peer] == nil { world.fail(.lookup, "\(world.name(index)) asks \(named(peer)), which has gone, for whom it knows") }
            log.lines[id] = LookupLog.Line(peer: peer)
        case .send(let id, let bytes):
            if log.lines[id] != nil {
                var reader = FrameReader(limitBytes: .max)
                reader.append(bytes)
                guard let frame = try? reader.next(), let question = try? DHTMessage(decoding: frame, within: DHTMessageLimits()) else {
                    world.fail(.lookup, "\(world.name(index)) asks by the DHT what nobody can read")
                    return true
                }
                guard let peer = log.lines[id]?.peer else { return true }
                step.asked.append((peer, question.key))
                log.lines[id]?.asked = question.key
                // What is asked once more is asked for the search that it was asked for.
                let again = step.broken.first { $0.peer == peer && $0.key == question.key }
                let search = process.machine.search(for: question.key)?.number
                log.lines[id]?.search = again.map(\.search) ?? search
                oracles.judged += 1
                if search == nil, question.key != peer.bytes {
                    world.fail(.lookup, "\(world.name(index)) asks \(named(peer)) for whom it knows near a key that it searches for no more")
                }
            } else if let served = log.served[id], !served.asked.isEmpty {
                var reader = FrameReader(limitBytes: .max)
                reader.append(bytes)
                guard let frame = try? reader.next(), let answer = try? DHTMessage(decoding: frame, within: DHTMessageLimits()), answer.kind == .findNode else { return false }
                judgeTold(index, log.served[id]?.asked.removeFirst() ?? [], served.from, answer, process.machine.tabled(), log)
            } else { return false }
        case .hold: return false
        case .closeWrite(let id): return log.served.remove(id) != nil
        case .reset(let id):
            guard log.lines[id] != nil else { return log.served.remove(id) != nil }
            breakLine(id, &log, &step)
        }
        return true
    }

    // MARK: Judged

    func named(_ peer: PeerID) -> String { world.indexes[peer].map(world.name) ?? "\(peer)" }

    func position(_ peer: PeerID) -> Position {
        if let known = positions[peer] { return known }
        let position = Position(of: peer)
        positions[peer] = position
        return position
    }

    /// DHT-08: whoever asks is told of the nearest that are known.
    func judgeTold(_ index: Int, _ key: Bytes, _ from: PeerID, _ answer: DHTMessage, _ table: [PeerID], _ log: LookupLog) {
        let target = Position(of: key), count = world.peers[index].settings.dht.bucketSize
        let near = table.map { ($0, position($0).distance(to: target)) }.sorted { $0.1 < $1.1 }.prefix(count)
        oracles.judged += 1
        for (peer, _) in near where peer != from && peer.bytes != key && log.contacts[peer] != nil && !answer.closer.contains(where: { $0.id == peer }) {
            return world.fail(.lookup, "\(world.name(index)) does not tell \(named(from)) of \(named(peer)), which is among the nearest")
        }
        judgeOthers(index, target, key, from, answer, log)
    }

    /// DHT-08: besides who is looked for, which comes first, neither who asks nor who answers, and nobody twice.
    private func judgeOthers(_ index: Int, _ target: Position, _ key: Bytes, _ from: PeerID, _ answer: DHTMessage, _ log: LookupLog) {
        var last: Distance?
        func complain(_ text: String) { world.fail(.lookup, "\(world.name(index)) tells \(named(from)) \(text)") }
        for (place, told) in answer.closer.enumerated() {
            if (told.tie == .connected) != (log.contacts[told.id] != nil) { return complain("a wrong thing of whether it is connected to \(named(told.id))") }
            if told.addresses.isEmpty { return complain("of \(named(told.id)), and not where that is") }
            if told.id.bytes == key {
                if place > 0 { return complain("of \(named(told.id)), which that looks for, behind others") }
                continue
            }
            if told.id == from || told.id == world.peers[index].id { return complain("of \(named(told.id))") }
            let distance = position(told.id).distance(to: target)
            if let last, !(last < distance) { return complain("of \(named(told.id)) behind somebody who is not nearer") }
            last = distance
        }
        if answer.closer.count > world.peers[index].settings.dht.bucketSize + 1 { complain("of \(answer.closer.count) peers") }
    }

    /// DHT-12: who answers is in the table, and who does not is not.
    private func judgeTable(_ index: Int, _ step: LookupStep, _ process: Process, _ log: LookupLog) {
        for (peer, key, _) in step.broken where !log.lines.contains(where: { $0.value.peer == peer && $0.value.asked == key }) {
            oracles.judged += 1
            guard process.machine.isTabled(peer) else { continue }
            return world.fail(.lookup, "\(world.name(index)) keeps \(named(peer)) in its table, which has not answered")
        }
        for (peer, key, _) in step.told where key == peer.bytes && log.contacts[peer]?.serves == true {
            guard !process.machine.isTabled(peer), process.machine.tabled().count < process.peer.settings.dht.askedForPeersFrom else { continue }
            return world.fail(.lookup, "\(world.name(index)) has asked \(named(peer)) whether it answers, which it did, and does not take it into its table")
        }
    }

    /// DHT-14, DHT-16: the nearest that nobody has asked is asked, so many at a time.
    private func judgeSearches(_ index: Int, _ input: PeerInput, _ step: LookupStep, _ process: Process, _ now: Instant, _ log: inout LookupLog) {
        let settings = process.peer.settings.dht
        for (peer, key, answer) in step.told where key != peer.bytes { hear(peer, key, answer, process, &log) }
        let begunCount = process.machine.searchesBegun()
        var fresh: [(peer: PeerID, key: Bytes)] = []
        for (peer, key) in step.asked where key != peer.bytes {
            if key == process.peer.id.bytes { log.refreshedAt = now }
            if let search = process.machine.search(for: key), log.searches[key]?.number != search.number {
                log.searches[key] = begun(search.number, key, isNew: begunCount != log.begunCount, process)
            }
            guard log.searches[key]?.tried.insert(peer) == true else { continue }
            if !step.busy.contains(peer) { fresh.append((peer, key)) }
        }
        var isDialled = false
        if case .connection = input { isDialled = true }
        // In a crowd some are left out in silence whose turn came while they could not be reached (62256498), and so are some where
        // somebody hostile makes up peers, or is one (8003107, 11000221).
        for (peer, key) in fresh where !isDialled && !isCrowd && !plan.has(.hostile) {
            guard let search = log.searches[key], process.machine.search(for: key)?.isFinishing == false else { continue }
            judgeNext(index, peer, search, busy: step.busy, log)
        }
        for (key, search) in log.searches {
            let underWay = log.lines.values.count { $0.asked == key && $0.search == search.number }
            if underWay > settings.concurrency { return world.fail(.lookup, "\(world.name(index)) asks \(underWay) for the same at a time") }
            if process.machine.search(for: key) == nil { log.searches[key] = nil }
        }
    }

    /// DHT-14: a search begins with a question or a dial, where somebody is there to be asked who is not who is looked for.
    private func judgeBegun(_ index: Int, _ effects: ArraySlice<PeerEffect>, _ step: LookupStep, _ process: Process, _ log: LookupLog) {
        guard process.machine.searchesBegun() != log.begunCount, step.asked.isEmpty, step.busy.isEmpty else { return }
        oracles.judged += 1
        if !log.dialling.isEmpty || log.lines.contains(where: { $0.value.asked != nil }) { return }
        let tabled = process.machine.tabled(), idle = tabled.count { log.contacts[$0]?.serves == true }
        // Of a larger table it takes the nearest, who may all be out of reach (seed 6071119).
        if idle > 1, tabled.count <= process.peer.settings.dht.bucketSize { world.fail(.lookup, "\(world.name(index)) begins a search, and asks none of \(idle) who could be") }
    }

    func judgeNext(_ index: Int, _ peer: PeerID, _ search: LookupLog.Search, busy: SortedSet<PeerID>, _ log: LookupLog) {
        let distance = position(peer).distance(to: search.target)
        oracles.judged += 1
        for (nearer, other) in search.known where nearer < distance && isPassedOver(other, search, busy, log) {
            return world.fail(.lookup, "\(world.name(index)) asks \(named(peer)), and passes over \(named(other)), which is nearer to what it looks for")
        }
    }

    /// It may be asked, and was not.
    private func isPassedOver(_ peer: PeerID, _ search: LookupLog.Search, _ busy: SortedSet<PeerID>, _ log: LookupLog) -> Bool {
        if search.tried.contains(peer) || log.isBusy(peer) || busy.contains(peer) || log.dialling.contains(peer) { return false }
        guard let contact = log.contacts[peer] else { return !log.unreached.contains(peer) }
        return contact.serves == true
    }

    /// Of one that began with dials it is not known with whom.
    private func begun(_ number: UInt64, _ key: Bytes, isNew: Bool, _ process: Process) -> LookupLog.Search {
        var search = LookupLog.Search(number: number, target: Position(of: key))
        guard isNew else { return search }
        let near = process.machine.tabled().map { ($0, position($0).distance(to: search.target)) }.sorted { $0.1 < $1.1 }
        for (peer, distance) in near.prefix(process.peer.settings.dht.bucketSize) where peer.bytes != key { search.known[distance] = peer }
        return search
    }

    private func hear(_ peer: PeerID, _ key: Bytes, _ answer: DHTMessage, _ process: Process, _ log: inout LookupLog) {
        guard var search = log.searches[key] else { return }
        let isFinishing = process.machine.search(for: key)?.isFinishing ?? true
        for told in answer.closer.prefix(process.peer.settings.dht.bucketSize + 1) where !isFinishing && told.id != process.peer.id && told.id.bytes != key {
            guard told.addresses.contains(where: { !$0.isLoopback }) else { continue }
            search.known[position(told.id).distance(to: search.target)] = told.id
        }
        log.searches[key] = search
    }

    /// DHT-15.
    func judgeRefresh(_ index: Int, _ process: Process, _ now: Instant, _ log: LookupLog) {
        let least = process.peer.settings.dht.refreshInterval + .minutes(2)
        guard log.refreshedAt + least < now else { return }
        guard let other = log.contacts.first(where: { $0.value.serves == true && $0.value.since + least < now && process.machine.isTabled($0.key) })?.key else { return }
        world.fail(.lookup, "\(world.name(index)) has not looked for those around it for \((now - log.refreshedAt).seconds), although \(named(other)) could be asked")
    }
}
