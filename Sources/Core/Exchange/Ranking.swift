// Whom to ask next for a block: who gives, and is not busy giving. So wants spread over several peers by their speed, and
// go to those who did not give before only when these are busy, a few at a time.

import Kernel
import Multiformats

struct Ranking: Sendable {
    /// Wants that a peer which has not given lately is tried with at most, unless there is nobody better.
    private static let trialsMax = 8
    /// One miss counts as so many open wants.
    private static let missBurden = 32
    private static let missesMax = 30

    private struct Standing: Sendable {
        /// Wants that it has been asked for and that run on.
        var load = 0
        /// Wants that it did not fulfil since its last gift. Strangers begin with one.
        var misses = 1
        var lastGift: UInt64 = 0
        var gaveAt: Instant?
    }

    private struct Place: Comparable, Sendable {
        let isTried: Bool
        let burden: Int
        let lastGift: UInt64
        let peer: PeerID

        init(_ peer: PeerID, _ standing: Standing) {
            isTried = standing.misses > 0 && standing.load >= Ranking.trialsMax
            burden = standing.load + Ranking.missBurden * min(standing.misses, Ranking.missesMax)
            lastGift = standing.lastGift
            self.peer = peer
        }
        static func < (a: Self, b: Self) -> Bool {
            if a.isTried != b.isTried { return b.isTried }
            if a.burden != b.burden { return a.burden < b.burden }
            return a.lastGift != b.lastGift ? a.lastGift > b.lastGift : a.peer < b.peer
        }
    }

    private var standings = SortedMap<PeerID, Standing>()
    /// The best first.
    private var places = SortedSet<Place>()
    private var gifts: UInt64 = 0

    mutating func add(_ peer: PeerID) {
        standings[peer] = Standing()
        places.insert(Place(peer, Standing()))
    }
    mutating func remove(_ peer: PeerID) {
        if let standing = standings.remove(peer) { places.remove(Place(peer, standing)) }
    }
    private mutating func change(_ peer: PeerID, _ body: (inout Standing) -> Void) {
        guard var standing = standings[peer] else { return }
        places.remove(Place(peer, standing))
        body(&standing)
        standings[peer] = standing
        places.insert(Place(peer, standing))
    }

    mutating func onAsked(_ peer: PeerID) { change(peer) { $0.load += 1 } }
    mutating func onReleased(_ peer: PeerID) { change(peer) { $0.load -= 1 } }
    mutating func onMissed(_ peer: PeerID) { change(peer) { $0.misses += 1 } }
    mutating func onGift(_ peer: PeerID, now: Now) {
        gifts += 1
        let number = gifts
        change(peer) { ($0.misses, $0.lastGift, $0.gaveAt) = (0, number, now.monotonic) }
    }

    func load(of peer: PeerID) -> Int? { standings[peer]?.load }
    func isAsked(_ peer: PeerID) -> Bool { (standings[peer]?.load ?? 0) > 0 }
    func gaveAt(_ peer: PeerID) -> Instant? { standings[peer]?.gaveAt }
    func best(except asked: SortedSet<PeerID>) -> PeerID? { places.first { !asked.contains($0.peer) }?.peer }
}
