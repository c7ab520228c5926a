// Which blocks a peer's DAG has, page by page, so that whoever has none of them can fetch many at once: upstream's DAG is a
// chain, and whoever walks it learns of one block with each answer. Between peers of this project only.
// A question and its answer take one stream; the answering peer keeps nothing in between.

import Encoding
import Kernel
import Multiformats
import Seams

package struct DagListSettings: Sendable {
    package var answerTimeout = Span.seconds(10)
    /// Whoever does not read its answer within this is cut off.
    package var servingTimeout = Span.seconds(30)
    package var entriesMax = 4096
    package var frameBytesMax = 1 << 20
    package var headsMax = 1000
    package var cursorBytesMax = 1024
    package var hashBytesMax = 168
    package var streamsPerPeerMax = 4
    package init() {}
}

package struct DagList: Sendable {
    package static let protocolID = "/ipfs-cluster-swift/dag-list/1.0.0"

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        /// A page of what the peer says that it has, the oldest blocks first. An empty cursor: that was all.
        case listed(PeerID, [DagListEntry], cursor: Bytes)
        case failed(PeerID, reason: String)
        case log(LogLine)
    }
    /// The blocks from a cursor on, in the order in which they were logged, up to `limit` of them; and the cursor after
    /// them, empty at the end.
    package typealias Blocks = (
        _ cursor: Bytes, _ heads: [Multihash], _ limit: Int
    ) -> (entries: [(cid: CID, size: Int)], cursor: Bytes)

    /// A stream of ours.
    private struct Asking: Sendable {
        let peer: PeerID
        let request: DagListRequest
        var reader: FrameReader
        let until: Instant
        /// The other side has yet to close.
        var isAnswered = false
    }
    /// A stream of another peer's.
    private struct Serving: Sendable {
        let peer: PeerID
        var reader: FrameReader
        let until: Instant
        var isAnswered = false
        var isDrained = false
        var isRemoteEnded = false
        var isOver: Bool { isDrained && isRemoteEnded }
    }

    private let settings: DagListSettings
    private var streamIDs: StreamIDs
    private var speakers = SortedSet<PeerID>()
    private var questions = SortedMap<PeerID, StreamID>()
    private var asking = SortedMap<StreamID, Asking>()
    private var serving = SortedMap<StreamID, Serving>()

    package init(settings: DagListSettings = DagListSettings(), owner: UInt8) {
        self.settings = settings
        streamIDs = StreamIDs(owner: owner)
    }

    package func speaks(_ peer: PeerID) -> Bool { speakers.contains(peer) }
    package func isAsking(_ peer: PeerID) -> Bool { questions[peer] != nil }
    /// For tests and invariants.
    package var streamCount: Int { asking.count + serving.count }
    package var servingCount: Int { serving.count }

    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        let open = asking.filter { !$0.value.isAnswered }
        invariant(open.count == questions.count && open.allSatisfy { questions[$0.value.peer] == $0.key }, "each question is somebody's")
    }

    // MARK: Asking

    /// Asks for the page that begins at a cursor. False, and nothing happens, if the peer does not speak the protocol or
    /// has not answered yet what it was asked before.
    @discardableResult
    package mutating func ask(
        _ peer: PeerID, cursor: Bytes, heads: [Multihash], limit: Int, now: Now, effects: inout [Effect]
    ) -> Bool {
        guard speaks(peer), !isAsking(peer) else { return false }
        invariant(limit > 0, "a page of \(limit) entries")
        let request = DagListRequest(
            cursor: cursor, heads: Array(heads.prefix(settings.headsMax)), limit: min(limit, settings.entriesMax))
        let stream = streamIDs.next()
        questions[peer] = stream
        asking[stream] = Asking(
            peer: peer, request: request, reader: FrameReader(limitBytes: settings.frameBytesMax),
            until: now.monotonic + settings.answerTimeout)
        effects.append(.stream(.open(stream, to: peer, protocols: [DagList.protocolID])))
        effects.append(.stream(.send(stream, framed(request.encoded))))
        effects.append(.stream(.closeWrite(stream)))
        return true
    }

    private mutating func onAnswer(_ stream: StreamID, _ bytes: Bytes, _ effects: inout [Effect]) {
        asking[stream]?.reader.append(bytes)
        do {
            while let question = asking[stream], let frame = try asking[stream]?.reader.next() {
                guard !question.isAnswered else { throw DagListFault.afterTheEnd }
                let page = try DagListPage(decoding: frame, within: settings)
                guard page.entries.count <= question.request.limit else { throw DagListFault.tooMany("entries") }
                guard page.cursor.isEmpty || page.cursor != question.request.cursor else { throw DagListFault.noProgress }
                asking[stream]?.isAnswered = true
                questions[question.peer] = nil
                effects.append(.listed(question.peer, page.entries, cursor: page.cursor))
            }
        } catch {
            effects.append(.stream(.reset(stream)))
            giveUp(stream, "malformed list: \(error)", &effects)
        }
    }

    private mutating func giveUp(_ stream: StreamID, _ reason: String, _ effects: inout [Effect]) {
        guard let question = asking.remove(stream), !question.isAnswered else { return }
        questions[question.peer] = nil
        effects.append(.failed(question.peer, reason: reason))
    }

    // MARK: Peers

    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction) {
        if introduction.protocols.contains(DagList.protocolID) { speakers.insert(peer) } else { speakers.remove(peer) }
    }

    package mutating func onDisconnected(_ peer: PeerID, effects: inout [Effect]) {
        speakers.remove(peer)
        for (stream, question) in asking where question.peer == peer { giveUp(stream, "disconnected", &effects) }
        for (stream, answer) in serving where answer.peer == peer { serving.remove(stream) }
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next: Instant?
        for (_, question) in asking { next = earliest(next, question.until) }
        for (_, answer) in serving { next = earliest(next, answer.until) }
        return next
    }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        for (stream, question) in asking where question.until <= now.monotonic {
            effects.append(.stream(.reset(stream)))
            giveUp(stream, "no answer in time", &effects)
        }
        for (stream, answer) in serving where answer.until <= now.monotonic {
            serving.remove(stream)
            effects.append(.stream(.reset(stream)))
        }
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, blocks: Blocks, now: Now, effects: inout [Effect]) {
        let stream = event.stream
        switch event {
        case .incoming(_, let peer, _): onIncoming(stream, peer, now, &effects)
        case .received(_, let bytes):
            if serving[stream] != nil { onQuestion(stream, bytes, blocks, &effects) } else { onAnswer(stream, bytes, &effects) }
        case .drained: onDrained(stream, &effects)
        case .remoteClosed: onRemoteClosed(stream, &effects)
        case .failed(_, let reason): giveUp(stream, reason, &effects)
        case .reset:
            serving.remove(stream)
            giveUp(stream, "stream reset", &effects)
        case .opened: break
        }
    }

    private mutating func onRemoteClosed(_ stream: StreamID, _ effects: inout [Effect]) {
        giveUp(stream, "closed without an answer", &effects)
        guard let answer = serving[stream] else { return }
        serving[stream]?.isRemoteEnded = true
        if !answer.isAnswered {
            serving.remove(stream)
            effects.append(.stream(.reset(stream)))
        } else if answer.isDrained { serving.remove(stream) }
    }

    // MARK: Serving

    private mutating func onIncoming(_ stream: StreamID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        let open = serving.reduce(0) { $0 + ($1.value.peer == peer ? 1 : 0) }
        guard open < settings.streamsPerPeerMax else { return effects.append(.stream(.reset(stream))) }
        serving[stream] = Serving(
            peer: peer, reader: FrameReader(limitBytes: settings.frameBytesMax), until: now.monotonic + settings.servingTimeout)
    }

    private mutating func onQuestion(_ stream: StreamID, _ bytes: Bytes, _ blocks: Blocks, _ effects: inout [Effect]) {
        serving[stream]?.reader.append(bytes)
        do {
            while let answer = serving[stream], let frame = try serving[stream]?.reader.next() {
                guard !answer.isAnswered else { throw DagListFault.afterTheEnd }
                let request = try DagListRequest(decoding: frame, within: settings)
                serving[stream]?.isAnswered = true
                self.answer(request, on: stream, blocks, &effects)
            }
        } catch {
            if let peer = serving.remove(stream)?.peer {
                effects.append(.log(LogLine(.warning, "daglist", "malformed question from \(peer): \(error)")))
            }
            effects.append(.stream(.reset(stream)))
        }
    }

    private func answer(_ request: DagListRequest, on stream: StreamID, _ blocks: Blocks, _ effects: inout [Effect]) {
        let found = blocks(request.cursor, request.heads, request.limit)
        invariant(found.entries.count <= request.limit, "\(found.entries.count) entries for a page of \(request.limit)")
        let page = DagListPage(entries: found.entries.map { DagListEntry(cid: $0.cid, size: $0.size) }, cursor: found.cursor)
        let frame = framed(page.encoded)
        invariant(frame.count <= settings.frameBytesMax, "a page of \(frame.count) bytes")
        effects.append(.stream(.send(stream, frame)))
    }

    /// Closed only now: a stream that both sides have closed would not say when it has drained, and whoever never reads
    /// could pile up answers.
    private mutating func onDrained(_ stream: StreamID, _ effects: inout [Effect]) {
        guard let answer = serving[stream], answer.isAnswered, !answer.isDrained else { return }
        serving[stream]?.isDrained = true
        effects.append(.stream(.closeWrite(stream)))
        if answer.isRemoteEnded { serving.remove(stream) }
    }
}
