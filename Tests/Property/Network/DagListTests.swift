// Lists of blocks, page by page: two machines and a pipe between them, and peers that send anything.

import DagList
import Encoding
import Kernel
import Multiformats
import Seams
import Testing

/// A log of blocks; the cursor is the number of the next one.
private struct ListedLog {
    var entries: [(cid: CID, size: Int)] = []
    init(_ count: Int) {
        entries = (0..<count).map { (CID(v1: Codec.dagPB, .sha2_256(of: Bytes("block \($0)".utf8))), $0 * 7) }
    }
    func page(_ cursor: Bytes, _ heads: [Multihash], _ limit: Int) -> (entries: [(cid: CID, size: Int)], cursor: Bytes) {
        let start = cursor.isEmpty ? 0 : Int(cursor[0]) << 8 | Int(cursor[1])
        let end = min(entries.count, start + limit)
        let found = entries[start..<end].filter { !heads.contains($0.cid.multihash) }
        return (found, end == entries.count ? [] : [UInt8(end >> 8), UInt8(end & 255)])
    }
}

/// Two machines. Bytes go over in pieces of any size, and only while `flows`.
private final class Pipe {
    var machines: [DagList]
    let ids = [netPeer(0), netPeer(1)]
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    var logs = [ListedLog(0), ListedLog(0)]
    var told: [[DagList.Effect]] = [[], []]
    var flows = true
    var pieceBytes = 1 << 20
    private var inboundNumbers: UInt64 = 0
    private var others: [Int: [StreamID: StreamID]] = [0: [:], 1: [:]]
    private var queue: [(to: Int, event: StreamEvent)] = []

    init(_ settings: DagListSettings = DagListSettings(), speaks: Bool = true) {
        machines = [DagList(settings: settings, owner: 9), DagList(settings: settings, owner: 9)]
        for side in 0..<2 { machines[side].onIntroduced(ids[1 - side], Self.introduction(speaks)) }
    }
    static func introduction(_ speaks: Bool) -> PeerIntroduction { PeerIntroduction(protocols: speaks ? [DagList.protocolID, "/x"] : ["/x"]) }

    @discardableResult
    func ask(_ side: Int, cursor: Bytes = [], heads: [Multihash] = [], limit: Int) -> Bool {
        var effects: [DagList.Effect] = []
        let isAsked = machines[side].ask(ids[1 - side], cursor: cursor, heads: heads, limit: limit, now: now, effects: &effects)
        take(side, effects)
        pump()
        return isAsked
    }
    func feed(_ side: Int, _ event: StreamEvent) {
        var effects: [DagList.Effect] = []
        let log = logs[side]
        machines[side].onStream(event, blocks: log.page, now: now, effects: &effects)
        take(side, effects)
    }
    func pass(_ span: Span) {
        let end = now.monotonic + span
        while let next = machines.compactMap(\.nextDeadline).min(), next <= end {
            now.monotonic = next
            for side in 0..<2 {
                var effects: [DagList.Effect] = []
                machines[side].onTime(now: now, effects: &effects)
                take(side, effects)
            }
            pump()
        }
        now.monotonic = end
    }
    func disconnect() {
        queue = []
        for side in 0..<2 {
            for stream in others[side, default: [:]].keys.sorted() { feed(side, .reset(stream)) }
            var effects: [DagList.Effect] = []
            machines[side].onDisconnected(ids[1 - side], effects: &effects)
            take(side, effects)
        }
        others = [0: [:], 1: [:]]
    }
    func pump() {
        while flows, !queue.isEmpty {
            let (side, event) = queue.removeFirst()
            feed(side, event)
        }
    }

    private func take(_ side: Int, _ effects: [DagList.Effect]) {
        for effect in effects {
            guard case .stream(let effect) = effect else { told[side].append(effect); continue }
            carryOut(side, effect)
        }
    }
    private func carryOut(_ side: Int, _ effect: StreamEffect) {
        switch effect {
        case .open(let id, let peer, let protocols):
            #expect(peer == ids[1 - side] && protocols == [DagList.protocolID])
            inboundNumbers += 1
            let other = StreamID(owner: 0, number: inboundNumbers)
            others[side, default: [:]][id] = other
            others[1 - side, default: [:]][other] = id
            queue.append((1 - side, .incoming(other, from: ids[side], protocol: DagList.protocolID)))
            queue.append((side, .opened(id, protocol: DagList.protocolID)))
        case .send(let id, let bytes):
            guard let other = others[side]?[id] else { return }
            for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
                queue.append((1 - side, .received(other, Bytes(bytes[start..<min(start + pieceBytes, bytes.count)]))))
            }
            queue.append((side, .drained(id)))
        case .hold: break
        case .closeWrite(let id): if let other = others[side]?[id] { queue.append((1 - side, .remoteClosed(other))) }
        case .reset(let id):
            guard let other = others[side]?.removeValue(forKey: id) else { return }
            others[1 - side]?[other] = nil
            queue.append((1 - side, .reset(other)))
        }
    }
}

/// One machine, and whatever anyone sends it.
private final class Scene {
    var machine: DagList
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    let peer = netPeer(1)
    let log = ListedLog(10)
    private var inbound: UInt64 = 0

    init(_ settings: DagListSettings = DagListSettings()) {
        machine = DagList(settings: settings, owner: 9)
        machine.onIntroduced(peer, Pipe.introduction(true))
    }
    func feed(_ event: StreamEvent) -> [DagList.Effect] {
        var effects: [DagList.Effect] = []
        machine.onStream(event, blocks: log.page, now: now, effects: &effects)
        return effects
    }
    func open() -> StreamID {
        inbound += 1
        let stream = StreamID(owner: 0, number: inbound)
        _ = feed(.incoming(stream, from: peer, protocol: DagList.protocolID))
        return stream
    }
    /// The stream of a question.
    func ask(cursor: Bytes = [], limit: Int = 100) -> StreamID {
        var effects: [DagList.Effect] = []
        machine.ask(peer, cursor: cursor, heads: [], limit: limit, now: now, effects: &effects)
        for case .stream(.open(let stream, _, _)) in effects { return stream }
        Issue.record("not asked")
        return StreamID(owner: 9, number: 0)
    }
    func expectService() {
        let stream = open()
        let effects = feed(.received(stream, Self.question))
        guard case .stream(.send(stream, let answer))? = effects.first else { Issue.record("no answer"); return }
        #expect(feed(.drained(stream)) == [.stream(.closeWrite(stream))])
        #expect(feed(.remoteClosed(stream)).isEmpty)
        let mine = ask()
        guard case .listed(peer, let entries, cursor: [])? = feed(.received(mine, answer)).first else { Issue.record("no list"); return }
        #expect(entries.map(\.cid) == log.entries.map(\.cid) && entries.map(\.size) == log.entries.map(\.size))
        _ = feed(.remoteClosed(mine))
        #expect(machine.streamCount == 0 && machine.nextDeadline == nil)
    }

    static var question: Bytes { request(heads: [.sha2_256(of: [1])], limit: 100) }
    static func request(cursor: Bytes = [], heads: [Multihash] = [], limit: UInt64) -> Bytes {
        var writer = ProtobufWriter()
        writer.bytes(1, cursor)
        for head in heads { writer.explicit(2, bytes: head.bytes) }
        writer.uint64(3, limit)
        return framed(writer.bytes)
    }
    static func page(_ entries: [(cid: CID, size: Int)], cursor: Bytes = []) -> Bytes {
        var writer = ProtobufWriter()
        for (cid, size) in entries { writer.message(1) { $0.explicit(1, bytes: cid.bytes); $0.uint64(2, UInt64(size)) } }
        writer.bytes(2, cursor)
        return framed(writer.bytes)
    }
}

private func isReset(_ effects: [DagList.Effect], _ stream: StreamID) -> Bool { effects.contains(.stream(.reset(stream))) }
private func isFailed(_ effects: [DagList.Effect]) -> Bool { effects.contains { if case .failed = $0 { true } else { false } } }
private func isListed(_ effects: [DagList.Effect]) -> Bool { effects.contains { if case .listed = $0 { true } else { false } } }

@Suite struct DagListTests {
    /// All pages one after another, whatever their size and however the bytes are cut.
    @Test(arguments: [1, 7, 100, 1000, 4096, 100_000], [1, 5, 1 << 20])
    func aListComesInPages(_ limit: Int, _ pieceBytes: Int) throws {
        let pipe = Pipe()
        pipe.pieceBytes = pieceBytes
        pipe.logs[1] = ListedLog(limit == 1 ? 20 : 300)
        var found: [DagListEntry] = []
        var cursor: Bytes = []
        repeat {
            #expect(pipe.ask(0, cursor: cursor, limit: limit))
            guard case .listed(pipe.ids[1], let entries, let next)? = pipe.told[0].popLast() else { Issue.record("no page"); return }
            #expect(entries.count <= limit)
            found += entries
            cursor = next
        } while !cursor.isEmpty
        #expect(found == pipe.logs[1].entries.map { DagListEntry(cid: $0.cid, size: $0.size) })
        #expect(pipe.machines.map(\.streamCount) == [0, 0] && pipe.told[0].isEmpty)
    }

    /// The page from a cursor is the same after a new start of either side: nothing is kept in between.
    @Test func aListIsResumed() {
        let pipe = Pipe()
        pipe.logs[1] = ListedLog(50)
        pipe.ask(0, limit: 20)
        guard case .listed(_, let first, let cursor)? = pipe.told[0].popLast() else { Issue.record("no page"); return }
        pipe.disconnect()
        let other = Pipe()
        other.logs[1] = ListedLog(60)  // and what was logged meanwhile is at the end
        other.ask(0, cursor: cursor, limit: 100)
        guard case .listed(_, let rest, cursor: [])? = other.told[0].popLast() else { Issue.record("no page"); return }
        #expect((first + rest).map(\.cid) == other.logs[1].entries.map(\.cid))
    }

    @Test func whatTheAskerHasReachesTheOther() {
        let pipe = Pipe()
        pipe.logs[1] = ListedLog(10)
        let heads = pipe.logs[1].entries.prefix(4).map(\.cid.multihash)
        pipe.ask(0, heads: heads + (0..<2000).map { .sha2_256(of: Bytes("other \($0)".utf8)) }, limit: 100)
        guard case .listed(_, let entries, cursor: [])? = pipe.told[0].popLast() else { Issue.record("no page"); return }
        #expect(entries.map(\.cid) == pipe.logs[1].entries.dropFirst(4).map(\.cid))
    }

    @Test func anEmptyListIsOne() {
        let pipe = Pipe()
        #expect(pipe.ask(0, limit: 10))
        #expect(pipe.told[0] == [.listed(pipe.ids[1], [], cursor: [])])
    }

    @Test func onlyWhoSpeaksItIsAsked() {
        let pipe = Pipe(speaks: false)
        #expect(!pipe.machines[0].speaks(pipe.ids[1]) && !pipe.ask(0, limit: 10) && pipe.told[0].isEmpty)
        pipe.machines[0].onIntroduced(pipe.ids[1], Pipe.introduction(true))
        #expect(pipe.machines[0].speaks(pipe.ids[1]) && pipe.ask(0, limit: 10))
        pipe.machines[0].onIntroduced(pipe.ids[1], Pipe.introduction(false))
        #expect(!pipe.ask(0, limit: 10))
        pipe.machines[0].onIntroduced(pipe.ids[1], Pipe.introduction(true))
        pipe.disconnect()
        #expect(!pipe.ask(0, limit: 10))
    }

    @Test func oneQuestionAtATime() {
        let pipe = Pipe()
        pipe.flows = false
        #expect(pipe.ask(0, limit: 10) && pipe.machines[0].isAsking(pipe.ids[1]) && !pipe.ask(0, limit: 10))
        pipe.flows = true
        pipe.pump()
        #expect(!pipe.machines[0].isAsking(pipe.ids[1]) && pipe.ask(0, limit: 10))
        #expect(pipe.told[0].count == 2)
    }

    @Test func silenceIsAFailure() {
        let pipe = Pipe()
        pipe.flows = false
        pipe.ask(0, limit: 10)
        pipe.pass(.milliseconds(9999))
        #expect(pipe.told[0].isEmpty)
        pipe.pass(.milliseconds(1))
        #expect(pipe.told[0] == [.failed(pipe.ids[1], reason: "no answer in time")])
        #expect(pipe.machines[0].streamCount == 0 && pipe.machines[0].nextDeadline == nil)
        pipe.flows = true
        pipe.pump()  // the answer to what is over
        #expect(pipe.told[0].count == 1 && pipe.ask(0, limit: 10) && pipe.told[0].count == 2)
    }

    @Test func aLostConnectionIsAFailure() {
        let pipe = Pipe()
        pipe.flows = false
        pipe.ask(0, limit: 10)
        pipe.disconnect()
        #expect(pipe.told[0] == [.failed(pipe.ids[1], reason: "stream reset")])
        #expect(pipe.machines.map(\.streamCount) == [0, 0])
        let scene = Scene()
        let stream = scene.ask()
        var effects: [DagList.Effect] = []
        scene.machine.onDisconnected(scene.peer, effects: &effects)
        #expect(effects == [.failed(scene.peer, reason: "disconnected")])
        #expect(scene.feed(.received(stream, Scene.page([]))).isEmpty)
        scene.machine.onIntroduced(scene.peer, Pipe.introduction(true))
        scene.expectService()
    }

    @Test func aRefusedStreamIsAFailure() {
        let scene = Scene()
        let stream = scene.ask()
        #expect(scene.feed(.failed(stream, reason: "protocols not supported")) == [.failed(scene.peer, reason: "protocols not supported")])
        let again = scene.ask()
        #expect(scene.feed(.remoteClosed(again)) == [.failed(scene.peer, reason: "closed without an answer")])
        scene.expectService()
    }
}

@Suite struct HostileDagListTests {
    /// Every cut, and every byte replaced: an answer, or a failure and a reset, and never both.
    @Test func damagedPagesDoNoHarm() {
        let page = Scene.page(ListedLog(3).entries, cursor: [0, 3])
        for position in 0..<page.count {
            for byte: UInt8 in [0, 1, 0x7f, 0x80, 0xff, page[position] &+ 1] {
                let scene = Scene()
                let stream = scene.ask()
                var bytes = page
                bytes[position] = byte
                let effects = scene.feed(.received(stream, bytes)) + scene.feed(.remoteClosed(stream))
                #expect(isListed(effects) != isFailed(effects))
                #expect(scene.machine.streamCount == 0 && !scene.machine.isAsking(scene.peer))
                if position == 0 && byte == 0xff { scene.expectService() }
            }
            let scene = Scene()
            let stream = scene.ask()
            #expect(scene.feed(.received(stream, Bytes(page[..<position]))).isEmpty)
            #expect(isFailed(scene.feed(.remoteClosed(stream))))
        }
    }

    @Test func damagedQuestionsDoNoHarm() {
        let question = Scene.request(cursor: [0, 2], heads: [.sha2_256(of: [1]), .sha2_256(of: [2])], limit: 3)
        let scene = Scene()
        for position in 0..<question.count {
            for byte: UInt8 in [0, 1, 0x7f, 0x80, 0xff, question[position] &+ 1] {
                var bytes = question
                bytes[position] = byte
                // What a cursor may say is the log's business: here it must stay within.
                if position == 3 || position == 4 { bytes[position] = 0 }
                let stream = scene.open()
                let effects = scene.feed(.received(stream, bytes)) + scene.feed(.remoteClosed(stream)) + scene.feed(.drained(stream))
                #expect(effects.contains { if case .stream(.send(stream, _)) = $0 { true } else { false } } != isReset(effects, stream))
                #expect(scene.machine.streamCount == 0)
            }
            let stream = scene.open()
            #expect(scene.feed(.received(stream, Bytes(question[..<position]))).isEmpty)
            #expect(isReset(scene.feed(.remoteClosed(stream)), stream))
        }
        scene.expectService()
    }

    @Test func noiseDoesNoHarm() {
        let scene = Scene()
        var choices = Choices(seed: 11)
        for _ in 0..<1000 {
            let noise = choices.bytes(choices.below(60))
            let stream = scene.open()
            _ = scene.feed(.received(stream, choices.chance(1, in: 2) ? framed(noise) : noise))
            _ = scene.feed(.reset(stream))
            let mine = scene.ask()
            _ = scene.feed(.received(mine, choices.chance(1, in: 2) ? framed(noise) : noise))
            _ = scene.feed(.reset(mine))
        }
        scene.expectService()
    }

    @Test func limitsAreKept() {
        var settings = DagListSettings()
        settings.headsMax = 5
        settings.entriesMax = 4
        settings.frameBytesMax = 1000
        settings.cursorBytesMax = 8
        let heads = (0..<6).map { Multihash.sha2_256(of: [$0]) }
        let long = Multihash(code: HashCode.identity, digest: Bytes(repeating: 1, count: 200))
        let questions = [
            Scene.request(heads: heads, limit: 1), Scene.request(heads: [long], limit: 1), Scene.request(limit: 0),
            Scene.request(cursor: Bytes(repeating: 0, count: 9), limit: 1), varint(1001), Scene.request(limit: 3) + Scene.request(limit: 3),
        ]
        let scene = Scene(settings)
        for question in questions {
            let stream = scene.open()
            #expect(isReset(scene.feed(.received(stream, question)), stream))
        }
        let stream = scene.open()  // more than a page may hold gets a full page
        guard case .stream(.send(_, let answer))? = scene.feed(.received(stream, Scene.request(limit: .max))).first else { Issue.record("no page"); return }
        #expect(answer == Scene.page(Array(scene.log.entries.prefix(4)), cursor: [0, 4]))

        let entries = scene.log.entries
        let oversized = CID(v1: Codec.raw, long)
        let pages = [
            Scene.page(Array(entries.prefix(5))), Scene.page([], cursor: Bytes(repeating: 0, count: 9)), varint(1001), Scene.page([(oversized, 1)]),
            Scene.page([], cursor: [7]), framed([0x0a, 0x00]),
        ]
        for page in pages {
            let stream = scene.ask(cursor: [7])
            let effects = scene.feed(.received(stream, page))
            #expect(isReset(effects, stream) && isFailed(effects) && !isListed(effects))
        }
        let asked = scene.ask(limit: 2)
        #expect(isFailed(scene.feed(.received(asked, Scene.page(Array(entries.prefix(3)))))), "more than was asked for")
        let twice = scene.ask()
        let effects = scene.feed(.received(twice, Scene.page([]) + Scene.page([])))
        #expect(isListed(effects) && isReset(effects, twice) && !isFailed(effects))
    }

    /// Four streams a peer, and none of them for ever; others are served meanwhile.
    @Test func whoNeverReadsCostsLittle() {
        let scene = Scene()
        var answers = 0
        for _ in 0..<100 {
            let stream = scene.open()
            let effects = scene.feed(.received(stream, Scene.question)) + scene.feed(.remoteClosed(stream))
            answers += effects.count { if case .stream(.send) = $0 { true } else { false } }
        }
        #expect(answers == 4 && scene.machine.streamCount == 4)
        let friend = StreamID(owner: 0, number: 1000)
        _ = scene.feed(.incoming(friend, from: netPeer(2), protocol: DagList.protocolID))
        #expect(!scene.feed(.received(friend, Scene.question)).isEmpty)
        _ = scene.feed(.reset(friend))
        scene.now.monotonic = scene.now.monotonic + .seconds(30)
        var effects: [DagList.Effect] = []
        scene.machine.onTime(now: scene.now, effects: &effects)
        #expect(effects.count == 4 && scene.machine.streamCount == 0)
        scene.expectService()
    }

    /// A peer that answers and does not close is cut off, and nobody is told of a failure.
    @Test func whoNeverClosesIsCutOff() {
        let scene = Scene()
        let stream = scene.ask()
        #expect(isListed(scene.feed(.received(stream, Scene.page([])))))
        scene.now.monotonic = scene.now.monotonic + .seconds(10)
        var effects: [DagList.Effect] = []
        scene.machine.onTime(now: scene.now, effects: &effects)
        #expect(effects == [.stream(.reset(stream))] && scene.machine.streamCount == 0)
        scene.expectService()
    }
}
