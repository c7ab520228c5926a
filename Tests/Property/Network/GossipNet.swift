// Many gossip machines on a network of streams, in virtual time: connections come and go, and frames with messages get lost.

import Gossip
import Kernel
import Multiformats
import Pinset
import Seams

/// Costs little; nobody but `forge` signs for others.
struct CheapSigner: MessageSigner {
    let me: PeerID
    var attachedKey: Bytes? { nil }
    func sign(_ message: Bytes) -> Bytes { CheapSigner.tag(me, message) }
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool { signature == CheapSigner.tag(author, message) }
    private static func tag(_ author: PeerID, _ message: Bytes) -> Bytes {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in author.bytes + message { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return (0..<8).map { UInt8(truncatingIfNeeded: hash >> UInt64(8 * $0)) }
    }
}

func netPeer(_ number: Int) -> PeerID {
    var choices = Choices(seed: UInt64(number) + 77)
    guard let id = try? PeerID([0x00, 0x24, 0x08, 0x01, 0x12, 0x20] + choices.bytes(32)) else { unreachable("a peer ID") }
    return id
}

struct GossipNet {
    enum Event {
        case stream(Int, StreamEvent)
        case connected(Int, Int, outbound: Bool)
        case connect(Int, Int)
    }
    private struct EndPoint: Hashable { let peer: Int; let stream: StreamID }
    private struct Place: Comparable {
        let at: Instant
        let number: UInt64
        static func < (a: Self, b: Self) -> Bool { (a.at, a.number) < (b.at, b.number) }
    }

    static let topic = "news"
    var machines: [Gossip] = []
    let ids: [PeerID]
    var choices: Choices
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    /// One frame in so many that carry messages is lost. 0 for none.
    var losesOneIn = 0
    /// What each has delivered, by content.
    private(set) var delivered: [[String: Int]]
    private(set) var frames = 0
    private var queue = SortedMap<Place, Event>()
    private var number: UInt64 = 0
    private var links: Set<[Int]> = []
    private var others: [EndPoint: EndPoint] = [:]
    private var inboundStreams: UInt64 = 0
    private var deadlines: [Instant] = []

    init(_ count: Int, seed: UInt64, trust: (Int) -> Trust = { _ in .everyone }, settings shape: (inout Gossip.Settings) -> Void = { _ in }) {
        ids = (0..<count).map(netPeer)
        choices = Choices(seed: seed)
        delivered = Array(repeating: [:], count: count)
        var settings = Gossip.Settings()
        shape(&settings)
        for index in 0..<count {
            machines.append(
                Gossip(settings: settings, me: ids[index], signer: CheapSigner(me: ids[index]), owner: 2, firstSequenceNumber: 1, now: now))
            act(index) { $0.subscribe(Self.topic, trust: trust(index), now: $1, choices: &$2, effects: &$3) }
        }
    }

    // MARK: Doing

    mutating func act(_ index: Int, _ body: (inout Gossip, Now, inout Choices, inout [Gossip.Effect]) -> Void) {
        var effects: [Gossip.Effect] = []
        body(&machines[index], now, &choices, &effects)
        machines[index].checkInvariants()
        while deadlines.count <= index { deadlines.append(.origin) }
        deadlines[index] = machines[index].nextDeadline ?? Instant(nanoseconds: .max)
        for effect in effects {
            switch effect {
            case .stream(let effect): carryOut(index, effect)
            case .deliver(_, _, let data): delivered[index][String(decoding: data.prefix { $0 != 0 }, as: UTF8.self), default: 0] += 1
            case .exchanged, .log: break
            }
        }
    }

    /// Padded, so that a frame that carries it can be told by its size.
    mutating func publish(_ index: Int, _ text: String) {
        act(index) { $0.publish(Self.topic, Bytes(text.utf8) + Bytes(repeating: 0, count: 300), now: $1, choices: &$2, effects: &$3) }
    }

    mutating func connect(_ a: Int, _ b: Int) {
        guard links.insert([min(a, b), max(a, b)]).inserted else { return }
        later(.connected(a, b, outbound: true))
        later(.connected(b, a, outbound: false))
    }
    mutating func disconnect(_ a: Int, _ b: Int, for span: Span) {
        guard links.remove([min(a, b), max(a, b)]) != nil else { return }
        let streams = others.filter { [$0.key.peer, $0.value.peer].sorted() == [min(a, b), max(a, b)] }.keys
        for end in streams.sorted(by: { ($0.peer, $0.stream) < ($1.peer, $1.stream) }) {
            others[end] = nil
            act(end.peer) { $0.onStream(.reset(end.stream), now: $1, choices: &$2, effects: &$3) }
        }
        act(a) { machine, _, _, _ in machine.onDisconnected(netPeer(b)) }
        act(b) { machine, _, _, _ in machine.onDisconnected(netPeer(a)) }
        later(.connect(a, b), after: span)
    }
    var connections: [[Int]] { links.sorted { $0.lexicographicallyPrecedes($1) } }

    private mutating func later(_ event: Event, after span: Span = .milliseconds(20)) {
        number += 1
        queue[Place(at: now.monotonic + span, number: number)] = event
    }

    private mutating func carryOut(_ index: Int, _ effect: StreamEffect) {
        switch effect {
        case .open(let id, let peer, let protocols):
            guard let other = ids.firstIndex(of: peer), links.contains([min(index, other), max(index, other)]) else {
                return later(.stream(index, .failed(id, reason: "not connected")))
            }
            inboundStreams += 1
            let (here, there) = (EndPoint(peer: index, stream: id), EndPoint(peer: other, stream: StreamID(owner: 0, number: inboundStreams)))
            (others[here], others[there]) = (there, here)
            later(.stream(other, .incoming(there.stream, from: ids[index], protocol: protocols[0])))
            later(.stream(index, .opened(id, protocol: protocols[0])))
        case .send(let id, let bytes):
            guard let there = others[EndPoint(peer: index, stream: id)] else { return }
            frames += 1
            later(.stream(index, .drained(id)))
            if bytes.count > 300, losesOneIn > 0, choices.chance(1, in: losesOneIn) { return }
            later(.stream(there.peer, .received(there.stream, bytes)))
        case .hold: break
        case .closeWrite(let id), .reset(let id):
            guard let there = others.removeValue(forKey: EndPoint(peer: index, stream: id)) else { return }
            others[there] = nil
            later(.stream(there.peer, .reset(there.stream)))
        }
    }

    // MARK: Time

    mutating func run(_ span: Span) {
        let end = now.monotonic + span
        while true {
            let deadline = deadlines.indices.min { deadlines[$0] < deadlines[$1] } ?? 0
            if let (place, event) = queue.first, place.at <= deadlines[deadline], place.at <= end {
                queue.remove(place)
                pass(to: place.at)
                handle(event)
            } else if deadlines[deadline] <= end {
                pass(to: max(now.monotonic, deadlines[deadline]))
                act(deadline) { $0.onTime(now: $1, choices: &$2, effects: &$3) }
            } else { break }
        }
        pass(to: end)
    }
    private mutating func pass(to instant: Instant) {
        let passed = instant - now.monotonic
        now = Now(monotonic: instant, wall: now.wall + passed)
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .stream(let index, let event): act(index) { $0.onStream(event, now: $1, choices: &$2, effects: &$3) }
        case .connect(let a, let b): connect(a, b)
        case .connected(let index, let other, let outbound):
            guard links.contains([min(index, other), max(index, other)]) else { return }
            let peer = ids[other]
            act(index) { machine, _, _, effects in
                machine.onConnected(peer, outbound: outbound)
                machine.onIntroduced(peer, PeerIntroduction(protocols: Gossip.protocols), effects: &effects)
            }
        }
    }
}
