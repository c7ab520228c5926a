// Wants: from the backlog to a peer that is asked, to the next one, and round again until the block comes.

import Kernel
import Multiformats

extension Exchange {
    struct Want: Sendable {
        let cid: CID
        /// Asked first in each round, if it is there.
        var from: PeerID?
        /// In this round.
        var asked = SortedSet<PeerID>()
        /// In any round: they remember it, and are to be told when it is over.
        var told = SortedSet<PeerID>()
        var state = State.resting
        /// When it goes on; nil: when a peer comes.
        var until: Instant?
        var rounds: Int64 = 0

        enum State: Equatable, Sendable {
            /// Everyone was asked. The wants stay with the peers: whoever gets the block later sends it (BS-07).
            case resting
            case asking(PeerID, since: Instant)
        }
        func isAsking(_ peer: PeerID) -> Bool { if case .asking(peer, _) = state { true } else { false } }
    }

    struct Deadline: Comparable, Sendable {
        let at: Instant
        let hash: Multihash
        static func < (a: Self, b: Self) -> Bool { a.at != b.at ? a.at < b.at : a.hash < b.hash }
    }

    /// A place in the backlog. Whoever is cancelled and comes again has another.
    struct Ticket: Sendable {
        let hash: Multihash
        let number: UInt64
    }
    struct Waiting: Sendable {
        let cid: CID
        var from: PeerID?
        let ticket: UInt64
    }

    // MARK: What is wanted

    /// `from` is whom to ask first: somebody who is likely to have them.
    package mutating func want(_ cids: [CID], from peer: PeerID? = nil, now: Now, effects: inout [Effect]) {
        for cid in cids {
            let hash = cid.multihash
            if wants[hash] != nil {
                if let peer { prefer(peer, hash, now) }
            } else if waiting[hash] != nil {
                if let peer { waiting[hash]?.from = peer }
            } else {
                tickets += 1
                waiting[hash] = Waiting(cid: cid, from: peer, ticket: tickets)
                backlog.append(Ticket(hash: hash, number: tickets))
            }
        }
        fill(now)
        flush(&effects)
    }

    /// Who has it was not known when it was asked for.
    private mutating func prefer(_ peer: PeerID, _ hash: Multihash, _ now: Now) {
        wants[hash]?.from = peer
        guard wants[hash]?.state == .resting, peers[peer] != nil else { return }
        wants[hash]?.asked.remove(peer)
        askNext(hash, now)
    }

    package mutating func cancel(_ cids: [CID], now: Now, effects: inout [Effect]) {
        for cid in cids {
            waiting[cid.multihash] = nil
            forget(cid.multihash)
        }
        if backlog.count > 2 * waiting.count + 64 { backlog.removeAll { waiting[$0.hash]?.ticket != $0.number } }
        fill(now)
        flush(&effects)
    }

    /// Takes from the backlog what there is room for: a little at a time only where that is all.
    mutating func fill(_ now: Now) {
        guard !waiting.isEmpty else { return }
        let room = settings.liveWantsMax - liveCount
        guard room >= min(waiting.count, settings.wantsAtOnce, max(1, settings.liveWantsMax / 4)) else { return }
        var taken = 0
        while taken < room, wants.count < settings.wantsMax, let ticket = backlog.popFirst() {
            guard let next = waiting[ticket.hash], next.ticket == ticket.number else { continue }
            waiting[ticket.hash] = nil
            wants[ticket.hash] = Want(cid: next.cid, from: next.from)
            askNext(ticket.hash, now)
            taken += 1
        }
    }

    private mutating func forget(_ hash: Multihash) {
        guard let want = wants.remove(hash) else { return }
        halt(want, hash)
        var entry = BitswapMessage.Entry(cid: want.cid)
        entry.isCancel = true
        for peer in want.told { post(entry, to: peer) }
    }

    // MARK: Whom to ask

    /// Neither waits for anything nor burdens anyone.
    private mutating func halt(_ want: Want, _ hash: Multihash) {
        if let until = want.until { deadlines.remove(Deadline(at: until, hash: hash)) }
        guard case .asking(let peer, _) = want.state else { return }
        liveCount -= 1
        ranking.onReleased(peer)
    }

    private mutating func arm(_ hash: Multihash, _ until: Instant) {
        wants[hash]?.until = until
        deadlines.insert(Deadline(at: until, hash: hash))
    }

    /// Asks the next peer that has not been asked in this round.
    mutating func askNext(_ hash: Multihash, _ now: Now) {
        guard var want = wants[hash] else { return }
        halt(want, hash)
        if let peer = peer(for: want) {
            want.asked.insert(peer)
            want.told.insert(peer)
            want.state = .asking(peer, since: now.monotonic)
            want.until = now.monotonic + settings.answerTimeout
            liveCount += 1
            ranking.onAsked(peer)
            var entry = BitswapMessage.Entry(cid: want.cid)
            entry.sendDontHave = true
            post(entry, to: peer)
        } else {
            let delay = min(settings.retryAfter * (1 << min(want.rounds, 10)), settings.retryAfterMax)
            want.rounds += 1
            want.state = .resting
            want.until = peers.isEmpty ? nil : now.monotonic + delay
        }
        wants[hash] = want
        if let until = want.until { deadlines.insert(Deadline(at: until, hash: hash)) }
    }

    private func peer(for want: Want) -> PeerID? {
        if let from = want.from, peers[from] != nil, !want.asked.contains(from) { return from }
        return ranking.best(except: want.asked)
    }

    // MARK: What comes of it

    mutating func onDue(_ hash: Multihash, _ now: Now) {
        switch wants[hash]?.state {
        case .asking(let peer, let since):
            // Who is busy giving other blocks is not silent.
            let patience = min((ranking.gaveAt(peer) ?? since) + settings.answerTimeout, since + settings.busyTimeout)
            if patience > now.monotonic { return arm(hash, patience) }
            onMissed(hash, peer, now)
        case .resting:
            wants[hash]?.asked.removeAll()
            askNext(hash, now)
        case nil: break
        }
    }

    /// A peer does not have it, or does not say.
    mutating func onMissed(_ hash: Multihash, _ peer: PeerID, _ now: Now) {
        guard wants[hash]?.isAsking(peer) == true else { return }
        ranking.onMissed(peer)
        askNext(hash, now)
    }

    mutating func onBlock(_ block: BitswapMessage.Block, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        let hash = block.cid.multihash
        guard let want = wants[hash] else { return }  // unrequested (BS-16)
        ranking.onGift(peer, now: now)
        wants[hash]?.told.remove(peer)
        forget(hash)
        effects.append(.received(want.cid, block.data, from: peer))
    }
}
