// The lists of blocks that peers give each other page by page, read off the wire: each page once, to the end, from what is known on.

import Cluster
import DagList
import Encoding
import Kernel
import MerkleCRDT
import Multiformats
import Seams
import Storage

/// What is known of one peer's lists in one life of it. Times are those of its own clock.
struct ListLog {
    struct Served {
        let from: PeerID
        var reader = FrameReader(limitBytes: .max)
        var cursor: Bytes?
        /// Of what the asker has, the blocks that are here too.
        var known: [CID] = []
        /// All has been taken here, and has been sent there.
        var isDone = false
        var isRemoteEnded = false
    }
    struct Asked {
        let of: PeerID
        var reader = FrameReader(limitBytes: .max)
    }
    /// Questions that have no answer, and how much of it has come.
    var asked = SortedMap<StreamID, Asked>()
    var served = SortedMap<StreamID, Served>()
    /// The last page that each was given: where it ended, and with what.
    var pages = SortedMap<PeerID, (cursor: Bytes, last: CID)>()
    /// When a list ended.
    var endedAt: Instant?
    /// A page that has come, after which there are more, and who has given it.
    var more: (cursor: Bytes, of: PeerID)?
    /// What the page lists that this step has brought.
    var told: [CID] = []
}

/// A page, or a question for one: the first two fields of either are of the same kind.
private struct Listed {
    var cids: [CID] = []
    var heads: [Multihash] = []
    var cursor: Bytes = []

    init?(question frame: ArraySlice<UInt8>) {
        var reader = ProtobufReader(frame)
        do {
            while let field = try reader.next() {
                switch field.number {
                case 1: cursor = Bytes(try field.bytes())
                case 2: heads.append(try Multihash(try field.bytes()))
                default: break
                }
            }
        } catch { return nil }
    }
    init?(page frame: ArraySlice<UInt8>) {
        var reader = ProtobufReader(frame)
        do {
            while let field = try reader.next() {
                switch field.number {
                case 1:
                    var entry = try field.message()
                    while let part = try entry.next() { if part.number == 1 { cids.append(try CID(try part.bytes())) } }
                case 2: cursor = Bytes(try field.bytes())
                default: break
                }
            }
        } catch { return nil }
    }
}

extension Run {
    /// WANTS: after each step of a peer that lives on.
    func watchLists(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: inout ListLog) {
        var silent = SortedSet<StreamID>()
        var hasFailed = hearOfLists(input, process, now, &log, &silent)
        for case .stream(let effect) in effects {
            switch effect {
            case .open(let id, let peer, let protocols) where protocols == [DagList.protocolID]:
                log.asked[id] = ListLog.Asked(of: peer)
                silent.insert(id)
            case .send(let id, let bytes):
                var reader = FrameReader(limitBytes: .max)
                guard log.asked[id] != nil || log.served[id] != nil else { continue }
                reader.append(bytes)
                guard let frame = try? reader.next() else { continue }
                silent.remove(id)
                if log.served[id] != nil { notePage(index, id, frame, &log) } else if let question = Listed(question: frame) {
                    if question.cursor.isEmpty { judgeBegun(index, input, process, now, log) }
                    if question.cursor == log.more?.cursor { log.more = nil }
                }
            case .closeWrite(let id):
                log.served[id]?.isDone = true
                if log.served[id]?.isRemoteEnded == true { log.served.remove(id) }
            case .reset(let id):
                log.served.remove(id)
                silent.remove(id)
                if log.asked.remove(id) != nil { (hasFailed, log.endedAt) = (true, now) }
            default: break
            }
        }
        judgeSilent(index, silent.first, log)
        if hasFailed, log.asked.isEmpty { judgeFailed(index, process.machine.isCatchingUp()) }
        judgeServed(index, process.machine.listsServed(), log)
        judgeMore(index, process, log)
        judgeFetched(index, process, &log)
    }

    /// True where a list has ended without an answer.
    private func hearOfLists(_ input: PeerInput, _ process: Process, _ now: Instant, _ log: inout ListLog, _ silent: inout SortedSet<StreamID>) -> Bool {
        switch input {
        case .connection(.disconnected(let peer)):
            // Even where the question has just left by the next connection, and is answered (seed 26).
            let lost = log.asked.filter { $0.value.of == peer }.map(\.key)
            for id in lost { log.asked.remove(id) }
            for id in log.served.filter({ $0.value.from == peer }).map(\.key) { log.served.remove(id) }
            if log.more?.of == peer { log.more = nil }
            guard !lost.isEmpty else { break }
            log.endedAt = now
            return true
        case .stream(.incoming(let id, let peer, DagList.protocolID)): log.served[id] = ListLog.Served(from: peer)
        case .stream(.received(let id, let bytes)):
            if log.served[id] != nil {
                log.served[id]?.reader.append(bytes)
                guard let frame = try? log.served[id]?.reader.next(), let question = Listed(question: frame) else { break }
                log.served[id]?.cursor = question.cursor
                silent.insert(id)
                let heads = question.heads.prefix(100).map { CID(v1: Codec.dagPB, $0) }
                if question.cursor.isEmpty { log.served[id]?.known = process.machine.merged(among: heads) }
            } else if log.asked[id] != nil {
                log.asked[id]?.reader.append(bytes)
                guard let frame = try? log.asked[id]?.reader.next(), let page = Listed(page: frame) else { break }
                log.more = page.cursor.isEmpty ? nil : log.asked[id].map { (page.cursor, $0.of) }
                log.told = page.cids
                log.asked.remove(id)
                if page.cursor.isEmpty { log.endedAt = now }
            }
        case .stream(.reset(let id)), .stream(.failed(let id, _)), .stream(.remoteClosed(let id)):
            if case .stream(.remoteClosed) = input, log.served[id]?.isDone == false { log.served[id]?.isRemoteEnded = true } else { log.served.remove(id) }
            guard log.asked.remove(id) != nil else { break }
            log.endedAt = now
            return true
        default: break
        }
        return false
    }

    private func notePage(_ index: Int, _ id: StreamID, _ frame: ArraySlice<UInt8>, _ log: inout ListLog) {
        guard let served = log.served[id], let asked = served.cursor, let page = Listed(page: frame) else { return }
        judgePage(index, served.from, asked, page.cids, page.cursor, known: served.known, log)
        log.pages[served.from] = page.cids.last.map { (page.cursor, $0) }
    }

    // MARK: Judged

    /// A page goes on where the last one ended; and the first begins with the oldest of what both have.
    func judgePage(_ index: Int, _ to: PeerID, _ asked: Bytes, _ cids: [CID], _ cursor: Bytes, known: [CID], _ log: ListLog) {
        oracles.judged += 1
        // What has rotted and come back is in the log once more (seed 1600135).
        if !plan.spoilsDisks, let last = log.pages[to], !asked.isEmpty, last.cursor == asked, cids.contains(last.last), recordCount(of: last.last, at: index) < 2 {
            return world.fail(.wants, "\(world.name(index)) lists \(last.last) to \(named(to)) on two pages")
        }
        if !cursor.isEmpty, cursor == asked { return world.fail(.wants, "\(world.name(index)) tells \(named(to)) that the next page is the one that it has asked for") }
        // Whoever still reads its log lists nothing (11000726).
        guard asked.isEmpty, cursor.isEmpty, !cids.isEmpty, !plan.has(.disk), !plan.spoilsDisks, let head = known.first(where: { !cids.contains($0) }) else { return }
        world.fail(.wants, "\(world.name(index)) lists its blocks to \(named(to)) from what is newer than \(head), which both have")
    }

    /// Two who write the same in the same second upon the same make the same block: one may get it from the other while its own is
    /// on the way into the log (seed 7001154).
    private func recordCount(of block: CID, at index: Int) -> Int {
        let disk = world.peers[index].disk
        var count = 0
        for file in (try? disk.list("crdt/")) ?? [] where file.hasSuffix(".log") {
            guard var rest = (try? disk.read(file, at: Log.headerBytes, count: .max / 2))?[...] else { continue }
            while rest.count >= Log.frameBytes {
                let length = rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) } + Log.frameBytes
                if let raw = Replica.block(inFrame: Bytes(rest.prefix(length))), Multihash.sha2_256(of: raw) == block.multihash { count += 1 }
                rest = rest.dropFirst(length)
            }
        }
        return count
    }

    /// A list is begun once; after it has ended, or failed, another one begins after a pause, or with somebody who has just come.
    private func judgeBegun(_ index: Int, _ input: PeerInput, _ process: Process, _ now: Instant, _ log: ListLog) {
        // A state that is made anew begins without a pause.
        if plan.has(.disk) || plan.spoilsDisks { return }
        if case .connection(.introduced) = input { return }
        guard let ended = log.endedAt, now < ended + process.peer.settings.replica.retryDelay else { return }
        world.fail(.wants, "\(world.name(index)) begins a list of blocks \((now - ended).seconds) after the last one")
    }

    /// Whoever opens a stream for a list asks for one, and whoever is asked answers: at once.
    func judgeSilent(_ index: Int, _ silent: StreamID?, _ log: ListLog) {
        oracles.judged += 1
        guard let silent else { return }
        if let asked = log.asked[silent] { return world.fail(.wants, "\(world.name(index)) opens a stream for a list of blocks of \(named(asked.of)), and asks for nothing") }
        world.fail(.wants, "\(world.name(index)) is asked for a list of blocks\(log.served[silent].map { " by \(named($0.from))" } ?? ""), and gives no answer")
    }

    /// Who has said all, and heard that the other has, is done with it.
    private func judgeServed(_ index: Int, _ served: Int, _ log: ListLog) {
        oracles.judged += 1
        guard served != log.served.count else { return }
        world.fail(.wants, "\(world.name(index)) is asked for \(log.served.count) lists of blocks, and works on \(served)")
    }

    /// Where there is more it is asked for, unless the state was made anew.
    private func judgeMore(_ index: Int, _ process: Process, _ log: ListLog) {
        guard let more = log.more, !plan.has(.disk), !plan.spoilsDisk(of: index) else { return }
        oracles.judged += 1
        guard !process.machine.isCatchingUp() else { return }
        world.fail(.wants, "\(world.name(index)) has been given a part of the list of blocks of \(named(more.of)), and does not ask for more")
    }

    /// What is listed is fetched, unless it is here or wanted anyway.
    private func judgeFetched(_ index: Int, _ process: Process, _ log: inout ListLog) {
        let told = log.told
        log.told = []
        guard !told.isEmpty, !process.machine.isCatchingUp(), !plan.has(.disk), !plan.spoilsDisk(of: index) else { return }
        oracles.judged += 1
        let known = process.machine.merged(among: told)
        guard let missed = told.first(where: { cid in !known.contains(cid) && !process.machine.isComing(cid) }) else { return }
        world.fail(.wants, "\(world.name(index)) is told of \(missed) in a list of blocks, and does not fetch it")
    }

    func judgeFailed(_ index: Int, _ isCatchingUp: Bool) {
        // Where the state was made anew meanwhile, another list may be under way (seed 20170 with disk faults).
        if isCatchingUp, !plan.spoilsDisk(of: index) { world.fail(.wants, "\(world.name(index)) has got no answer to its question for a list of blocks, and waits for it") }
    }
}
