// What we ask others: one question after another on one stream for each peer. DHT-05, DHT-12.

import Encoding
import Kernel
import Multiformats
import Seams

extension DHT {
    enum Purpose: Equatable, Sendable {
        /// Whether it answers at all.
        case check
        /// For whom it knows near the key.
        case lookup(UInt64)
    }
    struct Question: Sendable {
        let key: Bytes
        let purpose: Purpose
        /// It has failed once, on another stream.
        var isRepeated = false
    }
    /// What we have to say to a connected peer.
    struct Line: Sendable {
        var stream: StreamID?
        var reader: FrameReader
        var questions = FIFO<Question>()
        /// What it has not answered yet, and how long it may take.
        var asked: (question: Question, until: Instant)?
    }

    // MARK: Who belongs into the table

    /// Asks a candidate for itself; DHT-12. Once it has answered it is in the table, and once it does not, no longer.
    mutating func check(_ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard let contact = contacts[peer], contact.serves == true, contact.belongs, !table.contains(peer),
            table.hasRoom(for: peer, at: contact.address), checks.count < settings.checksMax, checks.insert(peer)
        else { return }
        ask(peer, Question(key: peer.bytes, purpose: .check), now, &effects)
    }

    private mutating func onChecked(_ peer: PeerID, _ answer: DHTMessage?, _ now: Now) {
        checks.remove(peer)
        guard let answer, let contact = contacts[peer], contact.serves == true else { table.remove(peer); return }
        guard table.contains(peer) || table.count < settings.askedForPeersFrom || !answer.closer.isEmpty else { return }
        if table.count < settings.lowTable && !table.contains(peer) { refreshSoon(now) }
        table.insert(peer, at: contact.address, now: now.monotonic)
    }

    // MARK: Questions

    mutating func ask(_ peer: PeerID, _ question: Question, _ now: Now, _ effects: inout [Effect]) {
        guard contacts[peer] != nil else { return finish(question, peer, nil, now, &effects) }
        var line = lines[peer] ?? Line(reader: FrameReader(limitBytes: settings.messageBytesMax))
        line.questions.append(question)
        lines[peer] = line
        askNext(peer, now, &effects)
    }

    private mutating func askNext(_ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        while lines[peer]?.asked == nil, let question = lines[peer]?.questions.popFirst() {
            if isAwaited(question) { put(question, to: peer, now, &effects) }
        }
    }

    /// What a search that is over would have asked is nobody's question any more.
    private func isAwaited(_ question: Question) -> Bool {
        if case .lookup(let number) = question.purpose { lookups[number] != nil } else { true }
    }

    private mutating func put(_ question: Question, to peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        let stream = stream(to: peer, &effects)
        let until = now.monotonic + settings.answerTimeout
        lines[peer]?.asked = (question, until)
        dues.insert(Due(at: until, stream: stream))
        effects.append(.stream(.send(stream, DHTMessage(.findNode, key: question.key).frame)))
    }

    private mutating func stream(to peer: PeerID, _ effects: inout [Effect]) -> StreamID {
        if let stream = lines[peer]?.stream { return stream }
        let (stream, reader) = (streamIDs.next(), FrameReader(limitBytes: settings.messageBytesMax))
        lines[peer]?.stream = stream
        lines[peer]?.reader = reader
        outbound[stream] = peer
        effects.append(.stream(.open(stream, to: peer, protocols: protocols)))
        return stream
    }

    /// Questions of one purpose that have no answer.
    func askedCount(_ purpose: Purpose) -> Int {
        lines.reduce(0) { $0 + ($1.value.asked?.question.purpose == purpose ? 1 : 0) + $1.value.questions.count { $0.purpose == purpose } }
    }

    // MARK: Answers

    mutating func onAsking(_ event: StreamEvent, _ stream: StreamID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        switch event {
        case .received(_, let bytes): onAnswers(stream, peer, bytes, now, &effects)
        case .failed, .reset: onBroken(stream, peer, now, &effects)
        case .remoteClosed:
            effects.append(.stream(.reset(stream)))
            onBroken(stream, peer, now, &effects)
        case .opened, .incoming, .drained: break
        }
    }

    private mutating func onAnswers(_ stream: StreamID, _ peer: PeerID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        lines[peer]?.reader.append(bytes)
        do {
            while outbound[stream] == peer, let frame = try lines[peer]?.reader.next() {
                guard let asked = lines[peer]?.asked else { throw DHTFault.unasked }
                let answer = try DHTMessage(decoding: frame, within: settings.limits)
                guard answer.kind == .findNode else { throw DHTFault.unasked }
                dues.remove(Due(at: asked.until, stream: stream))
                lines[peer]?.asked = nil
                table.heard(peer, now: now.monotonic)
                finish(asked.question, peer, answer, now, &effects)
                askNext(peer, now, &effects)
            }
        } catch {
            effects.append(.stream(.reset(stream)))
            effects.append(.log(LogLine(.debug, "dht", "an answer of \(peer): \(error)")))
            giveUp(stream, peer, isTriedAgain: false, now, &effects)
        }
    }

    /// The other side ends a stream that was idle for a minute: what was just asked on it is asked once more, on another.
    private mutating func onBroken(_ stream: StreamID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        giveUp(stream, peer, isTriedAgain: true, now, &effects)
    }

    mutating func onSilence(_ stream: StreamID, _ now: Now, _ effects: inout [Effect]) {
        guard let peer = outbound[stream] else { return }
        effects.append(.stream(.reset(stream)))
        // A check is to end within the time of one answer (DHT-12).
        let isTriedAgain = lines[peer]?.asked?.question.purpose != .check
        giveUp(stream, peer, isTriedAgain: isTriedAgain, now, &effects)
    }

    private mutating func giveUp(
        _ stream: StreamID, _ peer: PeerID, isTriedAgain: Bool, _ now: Now, _ effects: inout [Effect]
    ) {
        outbound[stream] = nil
        guard var line = lines[peer], line.stream == stream else { return }
        let asked = line.asked
        (line.stream, line.asked) = (nil, nil)
        lines[peer] = line
        guard let asked else { return }
        dues.remove(Due(at: asked.until, stream: stream))
        var question = asked.question
        if isTriedAgain && !question.isRepeated && isAwaited(question) {
            question.isRepeated = true
            return put(question, to: peer, now, &effects)
        }
        finish(question, peer, nil, now, &effects)
        askNext(peer, now, &effects)
    }

    /// The peer is gone.
    mutating func hangUp(on peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard var line = lines.remove(peer) else { return }
        if let stream = line.stream {
            outbound[stream] = nil
            if let asked = line.asked { dues.remove(Due(at: asked.until, stream: stream)) }
        }
        if let asked = line.asked { finish(asked.question, peer, nil, now, &effects) }
        while let question = line.questions.popFirst() { finish(question, peer, nil, now, &effects) }
    }

    private mutating func finish(_ question: Question, _ peer: PeerID, _ answer: DHTMessage?, _ now: Now, _ effects: inout [Effect]) {
        switch question.purpose {
        case .check: onChecked(peer, answer, now)
        case .lookup(let number): onAnswer(number, peer, answer, now, &effects)
        }
    }
}
