// Exchange machines on links with latency and bandwidth, in virtual time. Each keeps the blocks that it receives.

import Encoding
import Exchange
import Kernel
import Multiformats
import Seams
import Testing

final class ExchangeNet {
    private enum Event {
        case stream(Int, StreamEvent)
        case sent(Int, StreamID)
    }
    private struct Place: Comparable {
        let at: Instant
        let number: UInt64
        static func < (a: Self, b: Self) -> Bool { (a.at, a.number) < (b.at, b.number) }
    }
    private struct End: Hashable { let peer: Int; let stream: StreamID }

    var machines: [Exchange]
    let ids: [PeerID]
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    var stores: [[Multihash: Bytes]]
    /// How often each block has come, and from whom.
    var received: [[Multihash: Int]]
    var gifts: [[Int]]
    /// Sent by that peer: entries of each message with wants.
    var wantMessages: [[Int]]
    var latency = Span.milliseconds(10)
    /// Of what each peer sends, for each link. 0: at once.
    var bytesPerSecond: [Int]
    /// Their machines hear nothing.
    var deaf: Set<Int> = []
    private var freeAt: [[Instant]]
    private var queue = SortedMap<Place, Event>()
    private var number: UInt64 = 0
    private var links: Set<[Int]> = []
    private var others: [End: End] = [:]
    private var unsent: [End: Int] = [:]
    private var inboundStreams: UInt64 = 0

    init(_ count: Int, settings: ExchangeSettings = ExchangeSettings()) {
        ids = (0..<count).map(netPeer)
        machines = (0..<count).map { _ in Exchange(settings: settings, owner: 3) }
        stores = Array(repeating: [:], count: count)
        received = Array(repeating: [:], count: count)
        gifts = Array(repeating: Array(repeating: 0, count: count), count: count)
        wantMessages = Array(repeating: [], count: count)
        bytesPerSecond = Array(repeating: 0, count: count)
        freeAt = Array(repeating: Array(repeating: .origin, count: count), count: count)
    }

    static func block(_ number: Int, bytes: Int = 40) -> (cid: CID, data: Bytes) {
        var data = Bytes("block \(number) ".utf8)
        data += Bytes(repeating: 0, count: max(0, bytes - data.count))
        return (CID(v1: Codec.raw, .sha2_256(of: data)), data)
    }

    // MARK: What happens

    func hold(_ peer: Int, _ block: (cid: CID, data: Bytes)) {
        stores[peer][block.cid.multihash] = block.data
        step(peer) { $0.onBlocksAdded([block.cid], blocks: $1, effects: &$3) }
    }
    func want(_ peer: Int, _ cids: [CID], from other: Int? = nil) {
        let from = other.map { ids[$0] }
        step(peer) { $0.want(cids, from: from, now: $2, effects: &$3) }
    }
    func cancel(_ peer: Int, _ cids: [CID]) { step(peer) { $0.cancel(cids, now: $2, effects: &$3) } }

    func isConnected(_ a: Int, _ b: Int) -> Bool { links.contains([min(a, b), max(a, b)]) }
    func connect(_ a: Int, _ b: Int) {
        guard a != b, links.insert([min(a, b), max(a, b)]).inserted else { return }
        for (one, other) in [(a, b), (b, a)] {
            freeAt[one][other] = now.monotonic
            let introduction = PeerIntroduction(protocols: Exchange.protocols)
            step(one) { $0.onIntroduced(self.ids[other], introduction, now: $2, effects: &$3) }
        }
    }
    func disconnect(_ a: Int, _ b: Int) {
        guard links.remove([min(a, b), max(a, b)]) != nil else { return }
        for (one, other) in [(a, b), (b, a)] {
            for end in others.keys.filter({ $0.peer == one && others[$0]?.peer == other }).sorted(by: { $0.stream < $1.stream }) {
                others[end] = nil
                feed(one, .reset(end.stream))
            }
            step(one) { $0.onDisconnected(self.ids[other], now: $2, effects: &$3) }
        }
    }

    /// Until nothing is left to do before that time.
    func run(_ span: Span, until isDone: () -> Bool = { false }) {
        let end = now.monotonic + span
        while !isDone() {
            let wake = machines.compactMap(\.nextDeadline).min()
            guard let next = [queue.first?.key.at, wake].compactMap({ $0 }).min(), next <= end else { break }
            now.monotonic = max(now.monotonic, next)
            if let (place, event) = queue.first, place.at <= next {
                queue.remove(place)
                happen(event)
            } else {
                for peer in machines.indices where machines[peer].nextDeadline.map({ $0 <= next }) == true {
                    step(peer) { $0.onTime(now: $2, effects: &$3) }
                }
            }
        }
        if !isDone() { now.monotonic = end }
    }

    private func happen(_ event: Event) {
        switch event {
        case .stream(let peer, let event):
            if case .failed = event { return feed(peer, event) }
            // What was under way when the connection was lost is lost.
            if others[End(peer: peer, stream: event.stream)] != nil { feed(peer, event) }
        case .sent(let peer, let stream):
            let end = End(peer: peer, stream: stream)
            unsent[end, default: 1] -= 1
            if unsent[end] == 0, others[end] != nil { feed(peer, .drained(stream)) }
        }
    }
    private func feed(_ peer: Int, _ event: StreamEvent) {
        if deaf.contains(peer) { return }
        step(peer) { $0.onStream(event, blocks: $1, now: $2, effects: &$3) }
    }

    private func step(_ peer: Int, _ body: (inout Exchange, Exchange.Blocks, Now, inout [Exchange.Effect]) -> Void) {
        var effects: [Exchange.Effect] = []
        let store = stores[peer]
        body(&machines[peer], { cid, look in
            guard let data = store[cid.multihash] else { return nil }
            return look == .size ? .size(data.count) : .bytes(data)
        }, now, &effects)
        machines[peer].checkInvariants()
        for effect in effects { carryOut(peer, effect) }
    }

    private func carryOut(_ peer: Int, _ effect: Exchange.Effect) {
        switch effect {
        case .stream(let effect): carryOut(peer, effect)
        case .received(let cid, let data, let from):
            received[peer][cid.multihash, default: 0] += 1
            if let giver = ids.firstIndex(of: from) { gifts[peer][giver] += 1 }
            hold(peer, (cid, data))
        case .log(let line): Issue.record("\(line)")
        }
    }

    private func carryOut(_ peer: Int, _ effect: StreamEffect) {
        switch effect {
        case .open(let stream, let to, _): open(peer, stream, to)
        case .send(let stream, let bytes):
            guard let other = others[End(peer: peer, stream: stream)] else { return }
            count(bytes, of: peer)
            let pace = bytesPerSecond[peer]
            let span = pace == 0 ? Span.zero : Span(nanoseconds: Int64(bytes.count) * 1_000_000_000 / Int64(pace))
            freeAt[peer][other.peer] = max(freeAt[peer][other.peer], now.monotonic) + span
            unsent[End(peer: peer, stream: stream), default: 0] += 1
            schedule(.sent(peer, stream), freeAt[peer][other.peer])
            schedule(.stream(other.peer, .received(other.stream, bytes)), freeAt[peer][other.peer] + latency)
        case .hold: break
        case .closeWrite(let stream):
            guard let other = others[End(peer: peer, stream: stream)] else { return }
            schedule(.stream(other.peer, .remoteClosed(other.stream)), max(freeAt[peer][other.peer], now.monotonic) + latency)
        case .reset(let stream): Issue.record("\(stream) was reset")
        }
    }
    private func open(_ peer: Int, _ stream: StreamID, _ to: PeerID) {
        guard let other = ids.firstIndex(of: to), isConnected(peer, other) else {
            return schedule(.stream(peer, .failed(stream, reason: "not connected")), now.monotonic)
        }
        inboundStreams += 1
        let inbound = StreamID(owner: 0, number: inboundStreams)
        others[End(peer: peer, stream: stream)] = End(peer: other, stream: inbound)
        others[End(peer: other, stream: inbound)] = End(peer: peer, stream: stream)
        let at = max(freeAt[peer][other], now.monotonic) + latency
        schedule(.stream(other, .incoming(inbound, from: ids[peer], protocol: Exchange.protocols[0])), at)
    }
    private func count(_ bytes: Bytes, of peer: Int) {
        var reader = FrameReader(limitBytes: 8 << 20)
        reader.append(bytes)
        while let frame = try? reader.next(), let message = try? BitswapMessage(decoding: frame) {
            let entries = message.wants.count { !$0.isCancel }
            if entries > 0 { wantMessages[peer].append(entries) }
        }
    }

    private func schedule(_ event: Event, _ at: Instant) {
        number += 1
        queue[Place(at: at, number: number)] = event
    }
}
