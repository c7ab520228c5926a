// A network of connections and streams: in order within a connection, with latency, partitions (each way for itself), lost
// connections and peers that are down. Bytes are never lost or reordered inside a connection, as with TCP.

import Kernel
import Multiformats
import Seams

package struct NetworkSettings: Sendable {
    package var latencyMin = Span.milliseconds(1)
    package var latencyMax = Span.milliseconds(40)
    /// One packet in this many takes ten times as long. 0 for never.
    package var slowOneIn = 50
    /// A connection through which nothing passes is lost after this (keep-alive).
    package var silentConnectionLifetime = Span.seconds(25)
    package var dialTimeout = Span.seconds(3)
    package init() {}
}

struct Link: Hashable, Comparable {
    let from: Int
    let to: Int
    static func < (a: Link, b: Link) -> Bool { (a.from, a.to) < (b.from, b.to) }
    var reversed: Link { Link(from: to, to: from) }
}

/// What travels over a connection.
enum Packet {
    case connected(outbound: Bool)
    case introduction
    case open(stream: UInt64, protocols: [String])
    case accepted(stream: UInt64, protocol: String)
    case refused(stream: UInt64, reason: String)
    case data(stream: UInt64, Bytes)
    case drained(stream: UInt64)
    case closeWrite(stream: UInt64)
    case reset(stream: UInt64)
}

struct Transit {
    let connection: UInt64
    let link: Link
    let packet: Packet
}

/// A stream seen from both ends.
struct SimStream {
    let number: UInt64
    let connection: UInt64
    let opener: Int
    let accepter: Int
    let openerID: StreamID
    var accepterID: StreamID?
    /// The end of that direction has arrived, and so has all that was sent before it.
    var openerEnded = false
    var accepterEnded = false
    /// Bytes under way, to know when a direction has drained.
    var inFlightFromOpener = 0
    var inFlightFromAccepter = 0
}

struct SimConnection {
    let number: UInt64
    let dialler: Int
    let listener: Int
    var isAlive = true
    var streams: [UInt64] = []
}

/// The state of the network. `World` schedules its transits and hands its events to peers.
struct SimNetwork {
    let settings: NetworkSettings
    var connections: [UInt64: SimConnection] = [:]
    /// The live connection between two peers, by (smaller, larger) index.
    var connectionOf = SortedMap<Link, UInt64>()
    var streams: [UInt64: SimStream] = [:]
    /// (peer, its stream ID) → stream.
    var streamNumbers: [EndPoint: UInt64] = [:]
    var blocked = SortedSet<Link>()
    var held = SortedMap<Link, [Transit]>()
    var lastArrival: [Link: Int64] = [:]
    var nextNumber: UInt64 = 0
    var packetNumber: UInt64 = 0

    struct EndPoint: Hashable {
        let peer: Int
        let stream: StreamID
    }

    init(settings: NetworkSettings) { self.settings = settings }

    mutating func number() -> UInt64 { nextNumber += 1; return nextNumber }

    static func pair(_ a: Int, _ b: Int) -> Link { Link(from: min(a, b), to: max(a, b)) }

    func connection(_ a: Int, _ b: Int) -> UInt64? { connectionOf[Self.pair(a, b)] }

    /// When a packet sent now arrives: never before an earlier one on the same link.
    mutating func arrival(_ link: Link, now: Int64, draws: Draws) -> Int64 {
        packetNumber += 1
        var choices = draws.stream(.latency, UInt64(link.from) << 32 | UInt64(link.to), packetNumber)
        var latency = choices.span(settings.latencyMin, settings.latencyMax).nanoseconds
        if settings.slowOneIn > 0 && choices.chance(1, in: settings.slowOneIn) { latency *= 10 }
        let at = max(now + latency, (lastArrival[link] ?? 0) + 1)
        lastArrival[link] = at
        return at
    }

    mutating func open(_ stream: StreamID, from opener: Int, to accepter: Int) -> SimStream? {
        guard let connection = connection(opener, accepter) else { return nil }
        let made = SimStream(
            number: number(), connection: connection, opener: opener, accepter: accepter, openerID: stream)
        streams[made.number] = made
        streamNumbers[EndPoint(peer: opener, stream: stream)] = made.number
        connections[connection]?.streams.append(made.number)
        if let count = connections[connection]?.streams.count, count > 64, count & (count - 1) == 0 {
            connections[connection]?.streams.removeAll { streams[$0] == nil }
        }
        return made
    }

    mutating func forget(_ stream: SimStream) {
        streams[stream.number] = nil
        streamNumbers[EndPoint(peer: stream.opener, stream: stream.openerID)] = nil
        if let id = stream.accepterID { streamNumbers[EndPoint(peer: stream.accepter, stream: id)] = nil }
    }

    func stream(_ id: StreamID, of peer: Int) -> SimStream? {
        streamNumbers[EndPoint(peer: peer, stream: id)].flatMap { streams[$0] }
    }
}

extension Multiaddr {
    /// /ip4/10.0.x.y/tcp/9096, which stands for the peer of that index.
    static func simulated(_ index: Int) -> Multiaddr {
        Multiaddr(unchecked: [4, 10, 0, UInt8(index >> 8), UInt8(index & 255), 6, 0x23, 0x88])
    }
    var simulatedIndex: Int? {
        bytes.count >= 5 && bytes[0] == 4 && bytes[1] == 10 ? Int(bytes[3]) << 8 | Int(bytes[4]) : nil
    }
}
