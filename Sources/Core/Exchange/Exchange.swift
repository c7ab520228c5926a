// Bitswap as a machine: asks connected peers for blocks, different blocks of several peers at once but each of one after
// another until one has it, and serves what is here. Answers travel on streams of their own, never on the one that carried
// the question (BS-03). spec/wire-pubsub-dht-bitswap.md part 3; bug zoo N05, N07, N08.

import Encoding
import Kernel
import Multiformats
import Seams

package struct ExchangeSettings: Sendable {
    /// BS-14: a peer that says nothing for so long is taken not to have the block.
    package var answerTimeout = Span.seconds(5)
    /// One that gives others meanwhile gets so long.
    package var busyTimeout = Span.seconds(30)
    /// When no connected peer has it, all are asked again: first after this, then after twice as long, up to the maximum.
    package var retryAfter = Span.seconds(1)
    package var retryAfterMax = Span.seconds(30)
    package var messageBytesMax = 4 << 20  // BS-06
    package var responseBytes = 256 << 10
    /// BS-09. Several blocks of a megabyte, so that the link is busy while the next are read.
    package var outstandingBytesPerPeer = 4 << 20
    /// A stream for answers takes no more when it holds so much: each that drains makes room for the next.
    package var streamBytes = 1 << 20
    package var wantsPerPeerMax = 16_384
    package var cidBytesMax = 168
    /// Wants that peers are asked for at a time. Those that nobody has do not count, up to a limit of their own.
    package var liveWantsMax = 1024
    package var wantsMax = 4096
    /// While more wait than there is room for, so many are handed out at a time.
    package var wantsAtOnce = 256
    package var entriesPerMessage = 512
    /// BS-07: a block that small is sent where only its presence was asked for.
    package var haveBlockBytes = 1024
    package init() {}
}

package struct Exchange: Sendable {
    package static let protocols = BitswapVersion.allCases.reversed().flatMap(\.protocols)

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        case received(CID, Bytes, from: PeerID)
        case log(LogLine)
    }

    /// What is asked of those who have blocks: most questions are answered without reading one.
    package enum Look: Equatable, Sendable { case size, bytes }
    package enum Found: Equatable, Sendable {
        case size(Int)
        case bytes(Bytes)

        package var size: Int {
            switch self {
            case .size(let size): size
            case .bytes(let bytes): bytes.count
            }
        }
        package var bytes: Bytes? { if case .bytes(let bytes) = self { bytes } else { nil } }
    }
    package typealias Blocks = (CID, Look) -> Found?

    struct Peer: Sendable {
        var version: BitswapVersion
        /// For wantlists, opened with the first.
        var stream: StreamID?
        var outbox: [BitswapMessage.Entry] = []
        var service = Service()
    }

    let settings: ExchangeSettings
    private var streamIDs: StreamIDs
    var peers = SortedMap<PeerID, Peer>()
    var ranking = Ranking()
    /// Peers with something in the outbox.
    var unsent = SortedSet<PeerID>()
    private var outbound: [StreamID: PeerID] = [:]
    private var responding: [StreamID: (peer: PeerID, bytes: Int)] = [:]
    private var inbound: [StreamID: (peer: PeerID, version: BitswapVersion, reader: FrameReader)] = [:]

    // What is wanted. See Exchange+Wanting.
    var wants = SortedMap<Multihash, Want>()
    var deadlines = SortedSet<Deadline>()
    /// Wants that a peer is asked for now.
    var liveCount = 0
    var backlog = FIFO<Ticket>()
    /// Those of the backlog that have not been cancelled.
    var waiting: [Multihash: Waiting] = [:]
    var tickets: UInt64 = 0

    package init(settings: ExchangeSettings = ExchangeSettings(), owner: UInt8) {
        self.settings = settings
        streamIDs = StreamIDs(owner: owner)
    }

    package var wantCount: Int { wants.count + waiting.count }
    /// Answers that wait until a peer has read what was sent.
    package func waitingAnswers(for peer: PeerID) -> Int { peers[peer]?.service.waitingCount ?? 0 }
    /// Whether blocks go to it or come from it, or did a moment ago (CM-02).
    package func isTrading(with peer: PeerID, now: Now) -> Bool {
        if let service = peers[peer]?.service, !service.isIdle || service.outstandingBytes > 0 { return true }
        return ranking.isAsked(peer) || ranking.gaveAt(peer).map { $0 + settings.busyTimeout > now.monotonic } ?? false
    }
    /// What a peer wants from us: for tests and invariants.
    package func wants(_ hash: Multihash) -> Bool { wants[hash] != nil || waiting[hash] != nil }
    /// Nothing but what that says.
    package func wantsOnly(_ isWanted: (Multihash) -> Bool) -> Bool {
        wants.allSatisfy { isWanted($0.key) } && waiting.count { isWanted($0.key) } == waiting.count
    }
    package func ledger(of peer: PeerID) -> [Multihash] { peers[peer]?.service.ledger.keys ?? [] }

    // MARK: Invariants

    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        var (live, timed) = (0, 0)
        var loads = SortedMap<PeerID, Int>()
        for (hash, want) in wants {
            invariant(waiting[hash] == nil, "a block is wanted, and waits to be")
            invariant(want.told.elements.allSatisfy { peers[$0] != nil }, "somebody who has gone is to be told when it is over")
            invariant(want.asked.elements.allSatisfy(want.told.contains), "who was asked is told when it is over")
            if let until = want.until { timed += deadlines.contains(Deadline(at: until, hash: hash)) ? 1 : 0 }
            invariant(want.until != nil || want.state == .resting, "who was asked is waited for without end")
            guard case .asking(let peer, _) = want.state else { continue }
            invariant(want.asked.contains(peer), "who is asked was asked")
            live += 1
            loads[peer, default: 0] += 1
        }
        invariant(live == liveCount, "\(liveCount) questions count, and \(live) are open")
        invariant(timed == deadlines.count && timed == wants.reduce(0) { $0 + ($1.value.until == nil ? 0 : 1) }, "each deadline is a want's")
        invariant(unsent.isEmpty, "nothing is left unsent")
        for (peer, state) in peers {
            invariant(ranking.load(of: peer) == loads[peer] ?? 0, "who is busy is known by what it was asked for")
            invariant(state.outbox.isEmpty, "nothing is left in an outbox")
            invariant(state.stream.map { outbound[$0] == peer } ?? true, "a stream is that of its peer")
            let sent = responding.filter { $0.value.peer == peer }.reduce(0) { $0 + $1.value.bytes }
            invariant(state.service.outstandingBytes == sent, "\(state.service.outstandingBytes) bytes are outstanding, and \(sent) on streams")
            let isFull = state.service.outstandingBytes >= settings.outstandingBytesPerPeer
            invariant(state.service.isIdle || isFull, "there is something to say and room for it, and nobody says it")
        }
        invariant(outbound.count == peers.reduce(0) { $0 + ($1.value.stream == nil ? 0 : 1) }, "a stream of nobody's")
    }

    // MARK: Peers

    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction, now: Now, effects: inout [Effect]) {
        guard let version = BitswapVersion.best(among: introduction.protocols) else { return }
        meet(peer)
        peers[peer]?.version = version
        for (hash, want) in wants where want.state == .resting && !want.asked.contains(peer) { askNext(hash, now) }
        fill(now)
        flush(&effects)
    }

    /// N05: a peer may speak before it is introduced.
    private mutating func meet(_ peer: PeerID, speaking version: BitswapVersion = .withPresences) {
        guard peers[peer] == nil else { return }
        peers[peer] = Peer(version: version)
        ranking.add(peer)
    }

    package mutating func onDisconnected(_ peer: PeerID, now: Now, effects: inout [Effect]) {
        guard let gone = peers.remove(peer) else { return }
        ranking.remove(peer)
        unsent.remove(peer)
        if let stream = gone.stream { outbound[stream] = nil }
        // Of what it was sent nothing will drain: it must not count, nor be counted off, when it is back.
        responding = responding.filter { $0.value.peer != peer }
        for (hash, want) in wants where want.told.contains(peer) {
            wants[hash]?.asked.remove(peer)
            wants[hash]?.told.remove(peer)
            if want.isAsking(peer) { askNext(hash, now) }
        }
        fill(now)
        flush(&effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? { deadlines.first?.at }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        var due: [Multihash] = []
        while let next = deadlines.first, next.at <= now.monotonic {
            deadlines.remove(next)
            wants[next.hash]?.until = nil
            due.append(next.hash)
        }
        for hash in due { onDue(hash, now) }
        fill(now)
        flush(&effects)
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, blocks: Blocks, now: Now, effects: inout [Effect]) {
        let stream = event.stream
        switch event {
        case .incoming(_, let peer, let proto):
            inbound[stream] = (peer, .best(among: [proto]) ?? .withPresences, FrameReader(limitBytes: settings.messageBytesMax))
        case .received(_, let bytes): if inbound[stream] != nil { onBytes(stream, bytes, blocks, now, &effects) }
        case .drained: onDrained(stream, blocks, &effects)
        case .remoteClosed:
            if inbound.removeValue(forKey: stream) != nil { effects.append(.stream(.closeWrite(stream))) }
        case .failed, .reset:
            inbound[stream] = nil
            onDrained(stream, blocks, &effects)
            if let peer = outbound.removeValue(forKey: stream) {
                peers[peer]?.stream = nil  // the next wants open another; what was asked there runs into its time-out (N07)
            }
        case .opened: break
        }
        flush(&effects)
    }

    private mutating func onBytes(
        _ stream: StreamID, _ bytes: Bytes, _ blocks: Blocks, _ now: Now, _ effects: inout [Effect]
    ) {
        inbound[stream]?.reader.append(bytes)
        do {
            while let (peer, version, _) = inbound[stream], let frame = try inbound[stream]?.reader.next() {
                take(try BitswapMessage(decoding: frame), peer, version, blocks, now, &effects)
            }
        } catch {
            if let (peer, _, _) = inbound.removeValue(forKey: stream) {
                effects.append(.log(LogLine(.warning, "bitswap", "malformed message from \(peer): \(error)")))
            }
            effects.append(.stream(.reset(stream)))
        }
    }

    private mutating func take(
        _ message: BitswapMessage, _ peer: PeerID, _ version: BitswapVersion, _ blocks: Blocks, _ now: Now, _ effects: inout [Effect]
    ) {
        meet(peer, speaking: version)
        let settings = settings
        withService(of: peer) { service in
            if message.isFull { service.forgetWants() }
            for entry in message.wants {
                if entry.isCancel { service.cancel(entry.cid.multihash) } else { service.onWant(entry.heard(in: version), settings, blocks) }
            }
        }
        for presence in message.presences where !presence.isHere { onMissed(presence.cid.multihash, peer, now) }
        for block in message.blocks { onBlock(block, peer, now, &effects) }
        fill(now)
        respond(peer, blocks, &effects)
    }

    // MARK: Serving

    /// It is out of the table meanwhile, so that its queues are not copied.
    private mutating func withService(of peer: PeerID, _ body: (inout Service) -> Void) {
        guard var service = peers[peer]?.service else { return }
        peers[peer]?.service = Service()
        body(&service)
        peers[peer]?.service = service
    }

    /// What others have asked for that was not here.
    package var wantedByOthers: [CID] {
        var wanted = SortedSet<CID>()
        peers.each { _, state in for (_, entry) in state.service.ledger { wanted.insert(entry.cid) } }
        return wanted.elements
    }

    /// Blocks that are here now: sent to whoever wanted them before.
    package mutating func onBlocksAdded(_ cids: [CID], blocks: Blocks, effects: inout [Effect]) {
        let settings = settings
        var wanting: [PeerID] = []
        peers.each { peer, state in if !state.service.ledger.isEmpty { wanting.append(peer) } }
        for peer in wanting {
            withService(of: peer) { service in
                for cid in cids { service.onAdded(cid, settings, blocks) }
            }
            respond(peer, blocks, &effects)
        }
    }

    /// Sends what is ready, on streams of its own, as long as the peer keeps up.
    private mutating func respond(_ peer: PeerID, _ blocks: Blocks, _ effects: inout [Effect]) {
        guard var service = peers[peer]?.service, !service.isIdle else { return }
        peers[peer]?.service = Service()
        while service.outstandingBytes < settings.outstandingBytesPerPeer, send(&service, to: peer, blocks, &effects) {}
        peers[peer]?.service = service
    }

    /// As much as one stream takes; false if there was nothing.
    private mutating func send(
        _ service: inout Service, to peer: PeerID, _ blocks: Blocks, _ effects: inout [Effect]
    ) -> Bool {
        guard let version = peers[peer]?.version, let first = service.nextMessage(settings, blocks) else { return false }
        let stream = streamIDs.next()
        effects.append(.stream(.open(stream, to: peer, protocols: version.protocols)))
        var sent = 0
        var next: BitswapMessage? = first
        while let message = next {
            let frame = message.frame(for: version)
            sent += frame.count
            effects.append(.stream(.send(stream, frame)))
            next = sent < settings.streamBytes ? service.nextMessage(settings, blocks) : nil
        }
        effects.append(.stream(.closeWrite(stream)))
        service.outstandingBytes += sent
        responding[stream] = (peer, sent)
        return true
    }

    private mutating func onDrained(_ stream: StreamID, _ blocks: Blocks, _ effects: inout [Effect]) {
        guard let (peer, bytes) = responding.removeValue(forKey: stream), peers[peer] != nil else { return }
        peers[peer]?.service.outstandingBytes -= bytes
        respond(peer, blocks, &effects)
    }

    // MARK: Sending wants

    mutating func post(_ entry: BitswapMessage.Entry, to peer: PeerID) {
        guard peers[peer] != nil else { return }
        peers[peer]?.outbox.append(entry)
        unsent.insert(peer)
    }

    mutating func flush(_ effects: inout [Effect]) {
        for peer in unsent {
            var rest = (peers[peer]?.outbox ?? [])[...]
            peers[peer]?.outbox = []
            let version = peers[peer]?.version ?? .withPresences
            let stream = wantStream(to: peer, version, &effects)
            while !rest.isEmpty {
                var message = BitswapMessage()
                message.wants = Array(rest.prefix(settings.entriesPerMessage))
                rest = rest.dropFirst(settings.entriesPerMessage)
                effects.append(.stream(.send(stream, message.frame(for: version))))
            }
        }
        unsent.removeAll()
    }

    private mutating func wantStream(to peer: PeerID, _ version: BitswapVersion, _ effects: inout [Effect]) -> StreamID {
        if let stream = peers[peer]?.stream { return stream }
        let stream = streamIDs.next()
        peers[peer]?.stream = stream
        outbound[stream] = peer
        effects.append(.stream(.open(stream, to: peer, protocols: version.protocols)))
        return stream
    }
}
