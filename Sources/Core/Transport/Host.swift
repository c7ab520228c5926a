// A libp2p host without its sockets: connections to peers, and the network seam of `Seams` on top of them.
// Floor: `Connection` for each socket. The interpreter's side is described in Sockets.swift.

import Kernel
import Multiformats
import Seams

package struct Host: Sendable {
    package enum Effect: Equatable, Sendable {
        case socket(SocketEffect)
        case connection(ConnectionEvent)
        case stream(StreamEvent)
        case log(LogLine)
    }

    let key: IdentityKey
    package let me: PeerID
    let networkKey: Bytes?
    /// How connections may be secured, the best first (SEC-02).
    let securities: [Security]
    let settings: HostSettings
    /// What inbound streams may ask for, the host's own services included (HOST-01).
    package private(set) var protocols: [String]

    var links: [SocketID: Link] = [:]
    /// The sockets in order.
    var sockets = SortedSet<SocketID>()
    var peers: [PeerID: Peer] = [:]
    var dials = SortedMap<PeerID, Dial>()
    var streams: [StreamID: Place] = [:]
    /// Streams that wait for a dial.
    var pending: [StreamID: PendingStream] = [:]
    var known: [PeerID: [Multiaddr]] = [:]
    var knownOrder = FIFO<PeerID>()
    var listening: [Multiaddr] = []
    /// Where others have reached this host, by what they say. See Host+Observing.
    var observed = SortedMap<Multiaddr, Observation>()
    /// The addresses that others are told: where it listens, and where it has been reached.
    package internal(set) var advertised: [Multiaddr] = []
    /// Grows with each change of what this host tells of itself.
    private(set) var identityVersion: UInt64 = 1
    var pushes: RateLimit
    var backOffs: [PeerID: [Multiaddr: BackOff]] = [:]
    var backOffOrder = FIFO<PeerID>()
    var recordSequence: UInt64 = 0
    var strangers: (quietUntil: Instant?, untold: Int) = (nil, 0)
    /// Connections to peers that have proven who they are.
    package internal(set) var connectionCount = 0
    /// What the receive windows of all streams come to.
    package internal(set) var windowBytes = 0
    /// When it is looked whether there are too many connections; nil while there are not.
    var trimAt: Instant?
    private var deadlines = SortedMap<Deadline, Void>()
    private var inboundStreams: UInt64 = 0
    private var outboundSockets: UInt64 = 0

    struct Deadline: Comparable {
        let at: Instant
        let socket: SocketID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.socket) < (b.at, b.socket) }
    }

    /// Where a stream of the core is.
    struct Place { let socket: SocketID, substream: SubstreamID }

    struct Peer {
        /// Oldest first. Never empty.
        var links: [SocketID]
        /// When the first of them stood.
        let since: Instant
        var introduction: PeerIntroduction?
        /// The newest that it has signed, and the envelope in which it came.
        var record: (record: PeerRecord, envelope: Bytes)?
    }

    /// `networkKey` is the cluster secret, 32 bytes, or nil for none (PNET-01, PNET-02). `protocols` are those of the core.
    package init(
        key: IdentityKey, networkKey: Bytes?, protocols: [String], securities: [Security] = [.noise],
        settings: HostSettings = HostSettings()
    ) {
        self.key = key
        self.securities = securities
        me = key.peerID
        self.networkKey = networkKey
        self.settings = settings
        self.protocols = Host.all(protocols)
        pushes = RateLimit(burst: settings.pushBurst, interval: settings.pushInterval)
    }

    private static func all(_ own: [String]) -> [String] {
        Service.protocols + own.filter { !Service.protocols.contains($0) }
    }

    // MARK: What is there

    package func isConnected(_ peer: PeerID) -> Bool { peers[peer] != nil }
    package func introduction(of peer: PeerID) -> PeerIntroduction? { peers[peer]?.introduction }
    /// The addresses of a connected peer as it has signed them, in their envelope.
    package func signedRecord(of peer: PeerID) -> Bytes? { peers[peer]?.record?.envelope }
    package var socketCount: Int { sockets.count }
    package var streamCount: Int { streams.count + pending.count }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next = earliest(deadlines.first?.key.at, trimAt)
        for (_, dial) in dials { next = earliest(next, dial.nextDeadline(limit: settings.dialsPerPeerLimit)) }
        return next
    }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        while let due = deadlines.first?.key, due.at <= now.monotonic {
            deadlines.remove(due)
            links[due.socket]?.scheduled = nil
            onLinkTime(due.socket, now, &effects)
        }
        for (peer, dial) in dials {
            if let at = dial.nextDeadline(limit: settings.dialsPerPeerLimit), at <= now.monotonic { onDialTime(peer, now, &effects) }
        }
        if let at = trimAt, at <= now.monotonic { onTrimTime(now, &effects) }
    }

    private mutating func onLinkTime(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard let link = links[socket] else { return }
        if let deadline = link.connectDeadline, deadline <= now.monotonic {
            effects.append(.socket(.close(socket)))
            return forget(socket, reason: "i/o timeout", now, &effects)
        }
        expireServices(socket, now, &effects)
        retry(socket, now, &effects)
        run(socket, now, &effects) { $0.onTime(now: now, effects: &$1) }
        reschedule(socket)
    }

    func newDeadline(_ socket: SocketID) -> Instant? {
        guard let link = links[socket] else { return nil }
        var next = earliest(earliest(link.connectDeadline, link.connection?.nextDeadline), link.retryAt)
        for (_, service) in link.services { next = earliest(next, service.deadline) }
        return next
    }

    mutating func reschedule(_ socket: SocketID) {
        if let link = links[socket], let bytes = link.connection?.windowBytes, bytes != link.countedBytes {
            windowBytes += bytes - link.countedBytes
            links[socket]?.countedBytes = bytes
        }
        let wanted = newDeadline(socket)
        guard links[socket]?.scheduled != wanted else { return }
        if let old = links[socket]?.scheduled { deadlines.remove(Deadline(at: old, socket: socket)) }
        if let wanted { deadlines[Deadline(at: wanted, socket: socket)] = () }
        links[socket]?.scheduled = wanted
    }

    mutating func unschedule(_ socket: SocketID) {
        if let old = links[socket]?.scheduled { deadlines.remove(Deadline(at: old, socket: socket)) }
        links[socket]?.scheduled = nil
    }

    // MARK: Numbers

    mutating func nextInboundStream() -> StreamID {
        inboundStreams += 1
        return StreamID(owner: 0, number: inboundStreams)
    }

    mutating func nextSocket() -> SocketID {
        outboundSockets += 1
        return .outbound(outboundSockets)
    }

    // MARK: What this host is

    /// The addresses under which this host can be reached, without /p2p. Told to connected peers on change (IDF-02).
    package mutating func onListening(_ addresses: [Multiaddr], now: Now, effects: inout [Effect]) {
        if addresses == listening { return }
        listening = addresses
        advertise(now, &effects)
    }

    /// What inbound streams may ask for from now on, besides the host's own services. Told to connected peers on change.
    package mutating func onServing(_ own: [String], now: Now, effects: inout [Effect]) {
        let all = Host.all(own)
        if all == protocols { return }
        protocols = all
        for socket in sockets { links[socket]?.connection?.protocols = all }
        tellAll(now, &effects)
    }

    mutating func advertise(_ now: Now, _ effects: inout [Effect]) {
        let addresses = listening + externalAddresses
        if addresses == advertised { return }
        advertised = addresses
        effects.append(.connection(.listening(addresses)))
        tellAll(now, &effects)
    }

    private mutating func tellAll(_ now: Now, _ effects: inout [Effect]) {
        identityVersion += 1
        for socket in sockets { push(socket, now, &effects) }
    }

    // MARK: Addresses of others

    /// Remembers addresses of a peer, for streams that are opened before it is connected.
    package mutating func learn(_ peer: PeerID, _ addresses: [Multiaddr]) {
        guard peer != me, !addresses.isEmpty else { return }
        if known[peer] == nil {
            knownOrder.append(peer)
            if known.count >= settings.knownPeersLimit, let oldest = knownOrder.popFirst() { known[oldest] = nil }
        }
        // The latest are the likeliest.
        let addresses = addresses.map(\.withoutPeer)
        let old = (known[peer] ?? []).filter { !addresses.contains($0) }
        known[peer] = Array((addresses + old).prefix(settings.addressesPerPeerLimit))
    }

    /// Ends everything, telling why (YMX-14). What is in the sockets' hands should still leave.
    package mutating func shutDown(now: Now, effects: inout [Effect]) {
        for (peer, _) in dials { endDial(peer, reason: "shutting down", now, &effects) }
        for socket in sockets {
            close(socket, code: GoAwayCode.shutdown, reason: "shutting down", now, &effects)
        }
    }
}
