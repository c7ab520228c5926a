// The connection manager: of too many connections, those that are worth the least are closed. CM-01, CM-02.
// What a peer is worth is known to the core alone: it is told who there is (`crowded`) and answers whom it can do without
// (`trim`).

import Kernel
import Multiformats
import Seams

extension Host {
    private var isCrowded: Bool { settings.watermarks.map { connectionCount >= $0.high } ?? false }

    /// There is one connection more.
    mutating func watch(_ now: Now) {
        guard trimAt == nil, isCrowded, let interval = settings.watermarks?.checkInterval else { return }
        trimAt = now.monotonic + interval
    }

    mutating func onTrimTime(_ now: Now, _ effects: inout [Effect]) {
        trimAt = nil
        watch(now)
        guard let marks = settings.watermarks, isCrowded else { return }
        var old = SortedSet<PeerID>()
        for socket in sockets {
            guard let peer = links[socket]?.peer, let since = peers[peer]?.since else { continue }
            if since + marks.gracePeriod <= now.monotonic { old.insert(peer) }
        }
        if !old.isEmpty { effects.append(.connection(.crowded(old.elements))) }
    }

    /// As many of them as it takes until the low mark is left of those that may be closed. Newcomers and whom the core keeps
    /// do not count: they must not drive out all others.
    mutating func trim(_ dispensable: [PeerWorth], _ now: Now, _ effects: inout [Effect]) {
        guard let marks = settings.watermarks else { return }
        let candidates = dispensable.compactMap(candidate).sorted()
        var surplus = candidates.reduce(0) { $0 + $1.links.count } - marks.low
        var closed = 0
        for candidate in candidates where surplus > 0 {
            surplus -= candidate.links.count
            closed += candidate.links.count
            for socket in candidate.links {
                close(socket, code: GoAwayCode.garbageCollected, reason: "there are too many connections", now, &effects)
            }
        }
        if closed > 0 { note(.info, "\(closed) connections closed, as there were \(closed + connectionCount)", &effects) }
    }

    private func candidate(_ worth: PeerWorth) -> Candidate? {
        guard let peer = peers[worth.peer] else { return nil }
        var candidate = Candidate(peer: worth.peer, value: worth.value, links: peer.links)
        for socket in peer.links {
            guard let link = links[socket] else { continue }
            candidate.isInbound = candidate.isInbound || link.isInbound
            candidate.streamCount += link.connection?.streamCount ?? 0
        }
        return candidate
    }

    /// In the order in which they are closed: the least worth, the idle, those who came, those with the fewest streams.
    private struct Candidate: Comparable {
        let peer: PeerID
        let value: Int
        let links: [SocketID]
        var isInbound = false
        var streamCount = 0

        static func < (a: Self, b: Self) -> Bool {
            if a.value != b.value { return a.value < b.value }
            if (a.streamCount == 0) != (b.streamCount == 0) { return a.streamCount == 0 }
            if a.isInbound != b.isInbound { return a.isInbound }
            return (a.streamCount, a.peer) < (b.streamCount, b.peer)
        }
    }
}
