// A network of connections and streams: in order within a connection, with latency, partitions (each way for itself), lost
// connections and peers that are down. Bytes are never lost or reordered inside a connection that lives, as with TCP.

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

package struct Link: Hashable, Comparable, Sendable {
    package let from: Int
    package let to: Int
    package init(from: Int, to: Int) { (self.from, self.to) = (from, to) }
    package static func < (a: Link, b: Link) -> Bool { (a.from, a.to) < (b.from, b.to) }
    package var reversed: Link { Link(from: to, to: from) }
}

/// What travels over a connection.
enum Packet {
    case connected(outbound: Bool)
    case introduction
    case open(SimStream, protocols: [String])
    case accepted(SimStream, protocol: String)
    case refused(SimStream, reason: String)
    case data(SimStream, Pieces)
    case drained(SimStream)
    case closeWrite(SimStream)
    case reset(SimStream)

    var stream: SimStream? {
        switch self {
        case .connected, .introduction: nil
        case .open(let stream, _), .accepted(let stream, _), .refused(let stream, _), .data(let stream, _), .drained(let stream),
            .closeWrite(let stream), .reset(let stream): stream
        }
    }
    /// Whether it waits until the other side takes what comes.
    var isTaken: Bool {
        switch self {
        case .data, .closeWrite: true
        default: false
        }
    }
    var byteCount: Int { if case .data(_, let pieces) = self { pieces.all.reduce(0) { $0 + $1.count } } else { 0 } }
}

/// What arrives together, as TCP would have it: what was sent at about one time, or waited behind what was slow.
final class Pieces {
    static let window = Span.milliseconds(1).nanoseconds
    var all: [Bytes]
    var arrivesAt: Int64 = 0
    init(_ first: Bytes) { all = [first] }
}

/// What a stream carries, as far as faults tell them apart.
enum Cargo { case gossip, blocks, finding, other }

/// A stream, with what both ends know of it.
final class SimStream {
    let connection: SimConnection
    let opener: Int
    let accepter: Int
    let cargo: Cargo
    let openerID: StreamID
    var accepterID: StreamID?
    struct Direction {
        /// The end has arrived, and so has all that was sent before it.
        var hasEnded = false
        /// Packets under way, to know when it has drained, and the last one.
        var inFlight = 0
        var last: Pieces?
        /// Who it goes to takes nothing for now, or will take what has come in a moment; and what has come.
        var isHeld = false, isReleased = false
        var waiting: [Packet] = []
        /// Sent since it was told that it has drained.
        var untoldBytes = 0
    }
    var fromOpener = Direction()
    var fromAccepter = Direction()
    var isForgotten = false
    /// Its opener has done with it, and the other end has not heard.
    var isHalf = false

    init(connection: SimConnection, opener: Int, accepter: Int, cargo: Cargo, openerID: StreamID) {
        (self.connection, self.opener, self.accepter) = (connection, opener, accepter)
        (self.cargo, self.openerID) = (cargo, openerID)
    }
    subscript(from peer: Int) -> Direction {
        get { opener == peer ? fromOpener : fromAccepter }
        set { if opener == peer { fromOpener = newValue } else { fromAccepter = newValue } }
    }
    func id(at peer: Int) -> StreamID? { opener == peer ? openerID : accepterID }
    func other(than peer: Int) -> Int { opener == peer ? accepter : opener }
}

final class SimConnection {
    let number: UInt64
    let dialler: Int
    let listener: Int
    var isAlive = true
    /// Nothing passes any more, and neither end has noticed.
    var isVoid = false
    /// Each of which has the connection: who lets go of it empties this.
    var streams: [SimStream] = []
    init(number: UInt64, dialler: Int, listener: Int) { (self.number, self.dialler, self.listener) = (number, dialler, listener) }
    func add(_ stream: SimStream) {
        streams.append(stream)
        if streams.count > 64, streams.count & (streams.count - 1) == 0 { streams.removeAll { $0.isForgotten } }
    }
}

/// One direction between two peers.
struct LinkState {
    /// Counts the packets, for their draws.
    var packets: UInt64 = 0
    /// Nothing arrives before what was sent earlier: by kind of cargo, since some are held up alone.
    var lastArrival: Int64 = 0
    var lastBlocksArrival: Int64 = 0
    /// Faults that let nothing through. What is sent meanwhile waits here.
    var blocks = 0
    var held: [(connection: SimConnection, packet: Packet, cause: Int)] = []
    // What faults do to it; each counts, since they may overlap.
    var latencyFactor = 1
    var bytesPerSecond = 0
    var mutedGossip = 0
    var withheldBlocks = 0
    var wrongBlocks = 0
    var blocksDelay: Int64 = 0
    /// Nothing is in the way of blocks.
    var isSound: Bool { blocks == 0 && latencyFactor == 1 && bytesPerSecond == 0 && withheldBlocks == 0 && wrongBlocks == 0 && blocksDelay == 0 }
}

/// The state of the network. `World` schedules its packets and hands its events to peers.
struct SimNetwork {
    let settings: NetworkSettings
    private(set) var size = 0
    private var links: [LinkState] = []
    /// The live connection between two peers; at [smaller, larger].
    private var connections: [SimConnection?] = []
    private var connectionCount: UInt64 = 0

    init(settings: NetworkSettings) { self.settings = settings }

    /// Room for so many peers. What is known stays.
    mutating func grow(to count: Int) {
        var links = [LinkState](repeating: LinkState(), count: count * count)
        var connections = [SimConnection?](repeating: nil, count: count * count)
        for from in 0..<size {
            for to in 0..<size {
                links[from * count + to] = self.links[from * size + to]
                connections[from * count + to] = self.connections[from * size + to]
            }
        }
        (self.links, self.connections, size) = (links, connections, count)
    }

    subscript(_ link: Link) -> LinkState {
        get { links[link.from * size + link.to] }
        _modify { yield &links[link.from * size + link.to] }
    }
    func isBlocked(_ link: Link) -> Bool { links[link.from * size + link.to].blocks > 0 }
    var blockedLinks: [Link] {
        links.indices.filter { links[$0].blocks > 0 }.map { Link(from: $0 / size, to: $0 % size) }
    }
    mutating func forEachLink(_ body: (inout LinkState) -> Void) { for index in links.indices { body(&links[index]) } }

    var liveConnections: [SimConnection] { connections.compactMap { $0 } }
    /// Something on it will arrive after that time.
    func isLate(_ connection: SimConnection, at time: Int64) -> Bool {
        let link = Link(from: connection.dialler, to: connection.listener)
        return [link, link.reversed].contains { max(self[$0].lastArrival, self[$0].lastBlocksArrival) > time }
    }
    func connection(_ a: Int, _ b: Int) -> SimConnection? { connections[min(a, b) * size + max(a, b)] }
    mutating func connect(_ dialler: Int, _ listener: Int) -> SimConnection {
        connectionCount += 1
        let made = SimConnection(number: connectionCount, dialler: dialler, listener: listener)
        connections[min(dialler, listener) * size + max(dialler, listener)] = made
        return made
    }
    mutating func remove(_ connection: SimConnection) {
        let place = min(connection.dialler, connection.listener) * size + max(connection.dialler, connection.listener)
        if connections[place] === connection { connections[place] = nil }
    }

    /// When a packet sent now arrives: never before an earlier one of its kind on the same link.
    mutating func arrival(_ link: Link, _ packet: Packet, now: Int64, tape: Tape) -> Int64 {
        let place = link.from * size + link.to
        links[place].packets += 1
        var latency = settings.latencyMin.nanoseconds
        if !tape.isCalm(.latency) {
            var choices = tape.stream(.latency, UInt64(link.from) << 32 | UInt64(link.to), links[place].packets)
            latency = choices.span(settings.latencyMin, settings.latencyMax).nanoseconds
            if settings.slowOneIn > 0 && choices.chance(1, in: settings.slowOneIn) { latency *= 10 }
        }
        latency *= Int64(links[place].latencyFactor)
        let sending = links[place].bytesPerSecond > 0 ? Int64(packet.byteCount) * 1_000_000_000 / Int64(links[place].bytesPerSecond) : 0
        if packet.stream?.cargo == .blocks {
            let at = max(now + latency + links[place].blocksDelay, links[place].lastBlocksArrival + 1, links[place].lastArrival + 1) + sending
            links[place].lastBlocksArrival = at
            return at
        }
        let at = max(now + latency, links[place].lastArrival + 1) + sending
        links[place].lastArrival = at
        return at
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
