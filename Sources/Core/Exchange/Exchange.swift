// Bitswap as a machine: asks connected peers for blocks, one after another until one has it, and serves what is here.
// Answers travel on streams of their own, never on the one that carried the question (BS-03).
// spec/wire-pubsub-dht-bitswap.md part 3; bug zoo N05, N07, N08.

import Encoding
import Kernel
import Multiformats
import Seams

package struct ExchangeSettings: Sendable {
    /// BS-14: a peer that says nothing for so long is taken not to have the block.
    package var answerTimeout = Span.seconds(5)
    /// When no connected peer has it, all are asked again: first after this, then after twice as long, up to the maximum.
    package var retryAfter = Span.seconds(1)
    package var retryAfterMax = Span.seconds(30)
    package var messageBytesMax = 4 << 20  // BS-06
    package var responseBytes = 256 << 10
    package var outstandingBytesPerPeer = 1 << 20  // BS-09
    package var wantsPerPeerMax = 16_384
    package var cidBytesMax = 168
    package var liveWantsMax = 1024
    package var entriesPerMessage = 512
    /// BS-07: a block that small is sent where only its presence was asked for.
    package var haveBlockBytes = 1024
    package init() {}
}

package struct Exchange: Sendable {
    package static let protocols = ["/ipfs/bitswap/1.2.0"]

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        case received(CID, Bytes, from: PeerID)
        case log(LogLine)
    }
    package typealias Blocks = (CID) -> Bytes?

    private struct Peer: Sendable {
        /// For wantlists, opened with the first.
        var stream: StreamID?
        var outbox: [BitswapMessage.Entry] = []
        /// What it wants from us and has not got, in the order of asking.
        var ledger = SortedMap<Multihash, BitswapMessage.Entry>()
        /// Ready to be sent to it.
        var responses: [Response] = []
        var outstandingBytes = 0
        var lastGave: UInt64 = 0
    }
    private enum Response: Sendable { case block(CID), presence(CID, Bool) }

    private struct Want: Sendable {
        let cid: CID
        var asked = SortedSet<PeerID>()
        var state: State
        var rounds: Int64 = 0
        enum State: Equatable, Sendable {
            case waiting(until: Instant?)  // nil: until a peer comes
            case asking(PeerID, until: Instant)
        }
    }

    private let settings: ExchangeSettings
    private var streamIDs: StreamIDs
    private var peers = SortedMap<PeerID, Peer>()
    private var wants = SortedMap<Multihash, Want>()
    private var backlog: [CID] = []
    private var outbound: [StreamID: PeerID] = [:]
    private var responding: [StreamID: (peer: PeerID, bytes: Int)] = [:]
    private var inbound: [StreamID: (peer: PeerID, reader: FrameReader)] = [:]
    private var gifts: UInt64 = 0

    package init(settings: ExchangeSettings = ExchangeSettings(), owner: UInt8) {
        self.settings = settings
        streamIDs = StreamIDs(owner: owner)
    }

    package var wantCount: Int { wants.count + backlog.count }
    /// Answers that wait until a peer has read what was sent.
    package func waitingAnswers(for peer: PeerID) -> Int { peers[peer]?.responses.count ?? 0 }
    /// What a peer wants from us: for tests and invariants.
    package func ledger(of peer: PeerID) -> [Multihash] { peers[peer]?.ledger.keys ?? [] }

    // MARK: Wanting

    package mutating func want(_ cids: [CID], now: Now, effects: inout [Effect]) {
        for cid in cids where wants[cid.multihash] == nil { backlog.append(cid) }
        fill(now)
        flush(&effects)
    }

    private mutating func fill(_ now: Now) {
        var taken = 0
        while wants.count < settings.liveWantsMax, taken < backlog.count {
            let cid = backlog[taken]
            taken += 1
            guard wants[cid.multihash] == nil else { continue }
            wants[cid.multihash] = Want(cid: cid, state: .waiting(until: nil))
            askNext(cid.multihash, now)
        }
        backlog.removeFirst(taken)
    }

    package mutating func cancel(_ cids: [CID], now: Now, effects: inout [Effect]) {
        for cid in cids { forget(cid) }
        if !cids.isEmpty { let gone = SortedSet(cids); backlog.removeAll { gone.contains($0) } }
        fill(now)
        flush(&effects)
    }

    private mutating func forget(_ cid: CID) {
        guard let want = wants.remove(cid.multihash) else { return }
        var entry = BitswapMessage.Entry(cid: want.cid)
        entry.isCancel = true
        for peer in want.asked { peers[peer]?.outbox.append(entry) }
    }

    /// Asks the next peer that has not been asked in this round, those that gave us blocks before first.
    private mutating func askNext(_ hash: Multihash, _ now: Now) {
        guard var want = wants[hash] else { return }
        let next = peers.filter { !want.asked.contains($0.key) }.max { $0.value.lastGave < $1.value.lastGave }
        if let (peer, _) = next {
            want.asked.insert(peer)
            want.state = .asking(peer, until: now.monotonic + settings.answerTimeout)
            var entry = BitswapMessage.Entry(cid: want.cid)
            entry.sendDontHave = true
            peers[peer]?.outbox.append(entry)
        } else {
            let delay = min(settings.retryAfter * (1 << min(want.rounds, 10)), settings.retryAfterMax)
            want.rounds += 1
            want.state = .waiting(until: peers.isEmpty ? nil : now.monotonic + delay)
            // The wants stay with the peers: whoever gets the block later sends it (BS-07).
        }
        wants[hash] = want
    }

    // MARK: Peers

    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction, now: Now, effects: inout [Effect]) {
        guard introduction.protocols.contains(where: Exchange.protocols.contains), peers[peer] == nil else { return }
        peers[peer] = Peer()
        for (hash, want) in wants { if case .waiting = want.state { askNext(hash, now) } }
        flush(&effects)
    }

    package mutating func onDisconnected(_ peer: PeerID, now: Now, effects: inout [Effect]) {
        guard let gone = peers.remove(peer) else { return }
        if let stream = gone.stream { outbound[stream] = nil }
        for (hash, want) in wants where want.asked.contains(peer) {
            wants[hash]?.asked.remove(peer)
            if case .asking(peer, _) = want.state { askNext(hash, now) }
        }
        flush(&effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next: Instant?
        for (_, want) in wants {
            switch want.state {
            case .waiting(let until): next = earliest(next, until)
            case .asking(_, let until): next = earliest(next, until)
            }
        }
        return next
    }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        for (hash, want) in wants {
            switch want.state {
            case .asking(_, let until) where until <= now.monotonic: askNext(hash, now)
            case .waiting(let until?) where until <= now.monotonic:
                wants[hash]?.asked.removeAll()
                askNext(hash, now)
            default: break
            }
        }
        flush(&effects)
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, blocks: Blocks, now: Now, effects: inout [Effect]) {
        let stream = event.stream
        switch event {
        case .incoming(_, let peer, _):
            inbound[stream] = (peer, FrameReader(limitBytes: settings.messageBytesMax))
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
            while let peer = inbound[stream]?.peer, let frame = try inbound[stream]?.reader.next() {
                take(try BitswapMessage(decoding: frame), peer, blocks, now, &effects)
            }
        } catch {
            if let (peer, _) = inbound.removeValue(forKey: stream) {
                effects.append(.log(LogLine(.warning, "bitswap", "malformed message from \(peer): \(error)")))
            }
            effects.append(.stream(.reset(stream)))
        }
    }

    private mutating func take(
        _ message: BitswapMessage, _ peer: PeerID, _ blocks: Blocks, _ now: Now, _ effects: inout [Effect]
    ) {
        if peers[peer] == nil { peers[peer] = Peer() }  // N05: it may speak before it is introduced
        if message.isFull { peers[peer]?.ledger.removeAll() }
        for entry in message.wants { onEntry(entry, peer, blocks) }
        for presence in message.presences {
            guard let want = wants[presence.cid.multihash], !presence.isHere else { continue }
            if case .asking(peer, _) = want.state { askNext(presence.cid.multihash, now) }
        }
        for block in message.blocks { onBlock(block, peer, &effects) }
        if !message.blocks.isEmpty { fill(now) }
        respond(peer, blocks, &effects)
    }

    private mutating func onBlock(_ block: BitswapMessage.Block, _ peer: PeerID, _ effects: inout [Effect]) {
        guard let want = wants[block.cid.multihash] else { return }  // unrequested (BS-16)
        gifts += 1
        peers[peer]?.lastGave = gifts
        wants[block.cid.multihash]?.asked.remove(peer)
        forget(want.cid)
        effects.append(.received(want.cid, block.data, from: peer))
    }

    // MARK: Serving

    private mutating func onEntry(_ entry: BitswapMessage.Entry, _ peer: PeerID, _ blocks: Blocks) {
        let hash = entry.cid.multihash
        if entry.isCancel { peers[peer]?.ledger.remove(hash); return }
        guard entry.cid.bytes.count <= settings.cidBytesMax, hash.code != HashCode.identity else { return }  // BS-09
        // Whoever asks faster than it reads waits, and asks again.
        guard (peers[peer]?.responses.count ?? 0) < settings.wantsPerPeerMax else { return }
        if let block = blocks(entry.cid) {
            let sendsBlock = !entry.wantsHave || block.count <= settings.haveBlockBytes
            peers[peer]?.responses.append(sendsBlock ? .block(entry.cid) : .presence(entry.cid, true))
            return
        }
        if entry.sendDontHave { peers[peer]?.responses.append(.presence(entry.cid, false)) }
        if let first = peers[peer]?.ledger.first, (peers[peer]?.ledger.count ?? 0) >= settings.wantsPerPeerMax {
            peers[peer]?.ledger.remove(first.key)  // N08: new wants are not shut out by old ones
        }
        peers[peer]?.ledger[hash] = entry
    }

    /// Blocks that are here now: sent to whoever wanted them before.
    package mutating func onBlocksAdded(_ cids: [CID], blocks: Blocks, effects: inout [Effect]) {
        for peer in peers.keys {
            for cid in cids {
                guard let entry = peers[peer]?.ledger.remove(cid.multihash) else { continue }
                let count = entry.wantsHave ? blocks(entry.cid)?.count ?? 0 : 0
                peers[peer]?.responses.append(
                    count > settings.haveBlockBytes ? .presence(entry.cid, true) : .block(entry.cid))
            }
            respond(peer, blocks, &effects)
        }
        flush(&effects)
    }

    /// Sends what is ready, on a stream of its own, as long as the peer keeps up.
    private mutating func respond(_ peer: PeerID, _ blocks: Blocks, _ effects: inout [Effect]) {
        guard var state = peers[peer], !state.responses.isEmpty, state.outstandingBytes < settings.outstandingBytesPerPeer else { return }
        let stream = streamIDs.next()
        effects.append(.stream(.open(stream, to: peer, protocols: Exchange.protocols)))
        var sent = 0
        var taken = 0
        while taken < state.responses.count && state.outstandingBytes + sent < settings.outstandingBytesPerPeer {
            var message = BitswapMessage()
            var size = 0
            filling: while taken < state.responses.count && size < settings.responseBytes {
                switch state.responses[taken] {
                case .presence(let cid, let isHere):
                    message.presences.append(BitswapMessage.Presence(cid: cid, isHere: isHere))
                    size += 64
                case .block(let cid):
                    if let data = blocks(cid) {
                        if size > 0 && size + data.count > settings.messageBytesMax / 2 { break filling }
                        message.blocks.append(BitswapMessage.Block(cid: cid, data: data))
                        size += data.count + 64
                    }
                }
                taken += 1
            }
            let frame = framed(message.encoded)
            sent += frame.count
            effects.append(.stream(.send(stream, frame)))
        }
        effects.append(.stream(.closeWrite(stream)))
        state.responses.removeFirst(taken)
        state.outstandingBytes += sent
        peers[peer] = state
        responding[stream] = (peer, sent)
    }

    private mutating func onDrained(_ stream: StreamID, _ blocks: Blocks, _ effects: inout [Effect]) {
        guard let (peer, bytes) = responding.removeValue(forKey: stream), peers[peer] != nil else { return }
        peers[peer]?.outstandingBytes -= bytes
        respond(peer, blocks, &effects)
    }

    // MARK: Sending wants

    private mutating func flush(_ effects: inout [Effect]) {
        for (peer, state) in peers where !state.outbox.isEmpty {
            var state = state
            let stream = state.stream ?? streamIDs.next()
            if state.stream == nil {
                state.stream = stream
                outbound[stream] = peer
                effects.append(.stream(.open(stream, to: peer, protocols: Exchange.protocols)))
            }
            var rest = state.outbox[...]
            while !rest.isEmpty {
                var message = BitswapMessage()
                message.wants = Array(rest.prefix(settings.entriesPerMessage))
                rest = rest.dropFirst(settings.entriesPerMessage)
                effects.append(.stream(.send(stream, framed(message.encoded))))
            }
            state.outbox = []
            peers[peer] = state
        }
    }
}
