// The sockets of a host, from their first byte to their last. LAY-04, RM-02..06, SIM-01.

import HTTP
import Kernel
import Multiformats
import Seams

extension Host {
    /// One socket.
    struct Link: Sendable {
        /// Nil while TCP is still connecting.
        var connection: Connection?
        /// What was dialled, or whence the other side came.
        let address: Multiaddr
        /// The other end as this one sees it.
        var observed: Multiaddr
        /// Who is dialled.
        var target: PeerID?
        /// Who is there.
        var peer: PeerID?
        var connectDeadline: Instant?
        var uses: [SubstreamID: Use] = [:]
        /// Of this host's identity, what the other side was told last; nil before it has asked.
        var toldVersion: UInt64?
        /// Whether the other side was asked in vain who it is.
        var isUnanswered = false
        /// What was refused is tried again then, and how often it was in a row.
        var retryAt: Instant?
        var refusals = 0
        var services = SortedMap<SubstreamID, Service>()
        var scheduled: Instant?
        /// Its share of the host's `windowBytes`.
        var countedBytes = 0

        var isInbound: Bool { target == nil }

        mutating func run(
            _ body: (inout Connection, inout [Connection.Effect]) -> Void
        ) -> [Connection.Effect] {
            guard var machine = connection else { return [] }
            connection = nil  // so that it is not copied
            var out: [Connection.Effect] = []
            body(&machine, &out)
            connection = machine
            return out
        }
    }

    /// A stream of the core on a link.
    struct Use: Sendable {
        let stream: StreamID
        var isLocalEnded = false
        var isRemoteEnded = false
    }

    // MARK: What sockets tell

    /// `entropy` gives that many bytes fit for keys.
    package mutating func onSocket(
        _ event: SocketEvent, entropy: (Int) -> Bytes, now: Now, effects: inout [Effect]
    ) {
        let socket = event.socket
        switch event {
        case .accepted(_, let remote): onAccepted(socket, remote, entropy, now, &effects)
        case .connected(_, let remote):
            guard let target = links[socket]?.target, links[socket]?.connection == nil else { return }
            links[socket]?.observed = remote
            links[socket]?.connectDeadline = nil
            start(socket, .dialler(expecting: target), entropy, now, &effects)
        case .connectFailed(_, let reason): forget(socket, reason: reason, now, &effects)
        case .received(_, let bytes):
            allow(socket)
            run(socket, now, &effects) { $0.onBytes(bytes, now: now, effects: &$1) }
        case .written(_, let count): run(socket, now, &effects) { $0.onWritten(count, now: now, effects: &$1) }
        case .closed(_, let reason):
            if links[socket]?.connection == nil { forget(socket, reason: reason, now, &effects) }
            run(socket, now, &effects) { $0.onClosed(reason: reason, now: now, effects: &$1) }
        }
        reschedule(socket)
    }

    private mutating func onAccepted(
        _ socket: SocketID, _ remote: Multiaddr, _ entropy: (Int) -> Bytes, _ now: Now, _ effects: inout [Effect]
    ) {
        invariant(links[socket] == nil && !socket.isOutbound, "socket \(socket) accepted twice")
        if let refusal = refusal(of: remote, now, &effects) {
            effects.append(.socket(.close(socket)))
            return note(.debug, "inbound connection from \(remote) refused: \(refusal)", &effects)
        }
        links[socket] = Link(connection: nil, address: remote, observed: remote)
        sockets.insert(socket)
        start(socket, .listener, entropy, now, &effects)
    }

    /// Why there is no room for a newcomer. Who takes longest to prove itself has to make room, so that nobody keeps
    /// others out by saying nothing.
    private mutating func refusal(of remote: Multiaddr, _ now: Now, _ effects: inout [Effect]) -> String? {
        let limits = settings.resources
        var inbound = 0, sameAddress = 0, sameSite = 0
        var unproven: [SocketID] = []  // oldest first
        for socket in sockets {
            guard let link = links[socket], link.isInbound else { continue }
            inbound += 1
            if link.peer == nil { unproven.append(socket) }
            if link.observed.network(ip4: 32, ip6: 56) == remote.network(ip4: 32, ip6: 56) { sameAddress += 1 }
            if link.observed.network(ip4: 32, ip6: 48) == remote.network(ip4: 32, ip6: 48) { sameSite += 1 }
        }
        if !remote.isLoopback {
            if sameAddress >= settings.inboundConnectionsPerAddressLimit { return "\(sameAddress) of them from one address" }
            if sameSite >= settings.inboundConnectionsPerSiteLimit { return "\(sameSite) of them from one network" }
        }
        if inbound >= limits.inboundConnections || unproven.count >= limits.inboundHandshakes || isOutOfDescriptors {
            guard let oldest = unproven.first else { return "\(inbound) of them already" }
            let reason = "one of \(unproven.count) that have not proven who they are, and others wait"
            close(oldest, code: GoAwayCode.normal, reason: reason, now, &effects)
        }
        return nil
    }

    var isOutOfDescriptors: Bool { sockets.count >= settings.resources.descriptors }

    /// What the other side may take up, from what others have taken up already. With the bytes by which it proves who it is, streams may come:
    /// what it has on other connections is not counted then.
    private mutating func allow(_ socket: SocketID) {
        guard let link = links[socket], link.connection != nil else { return }
        var streams = settings.resources.inboundStreamsPerPeer
        for other in link.peer.flatMap({ peers[$0]?.links }) ?? [] where other != socket {
            streams -= links[other]?.connection?.inboundStreamCount ?? 0
        }
        let taken = windowBytes - link.countedBytes
        var allowance = Yamux.Allowance(inboundStreams: min(streams, settings.connection.inboundStreamsLimit))
        allowance.streamWindowBytes = settings.resources.memoryBytes - taken
        allowance.grownWindowBytes = settings.resources.memoryBytes / 2 - taken
        links[socket]?.connection?.allow(allowance)
    }

    private mutating func start(
        _ socket: SocketID, _ role: Connection.Role, _ entropy: (Int) -> Bytes, _ now: Now, _ effects: inout [Effect]
    ) {
        var limits = settings.connection
        if case .dialler = role, let address = links[socket]?.address, AddressReach(address) < .global {
            limits.handshakeTimeout = min(limits.handshakeTimeout, settings.nearHandshakeTimeout)
        }
        var webSocket: WebSocket?
        if let link = links[socket], link.observed.carrier == .webSocket {
            let host = link.address.authority ?? link.observed.authority ?? ""
            webSocket = WebSocket(role == .listener ? .server : .client(host: host), entropy: entropy(WebSocket.entropyBytes))
        }
        links[socket]?.connection = Connection(
            role: role, webSocket: webSocket, key: key, networkKey: networkKey, entropy: entropy(Connection.entropyBytes), protocols: protocols,
            securities: securities, settings: limits, now: now)
        run(socket, now, &effects) { $0.start(now: now, effects: &$1) }
    }

    // MARK: What connections want

    /// Hands an input to a connection and does what it says.
    mutating func run(
        _ socket: SocketID, _ now: Now, _ effects: inout [Effect],
        _ body: (inout Connection, inout [Connection.Effect]) -> Void
    ) {
        guard let out = links[socket]?.run(body) else { return }
        carryOut(socket, out, now, &effects)
    }

    /// Writes go first: handling an event may make the connection write more, and bytes must leave as they were sealed.
    mutating func carryOut(
        _ socket: SocketID, _ out: [Connection.Effect], _ now: Now, _ effects: inout [Effect]
    ) {
        for case .write(let bytes) in out { effects.append(.socket(.write(socket, bytes))) }
        for effect in out {
            switch effect {
            case .write: break
            case .secured(let key): onSecured(socket, key.peerID, now, &effects)
            case .close(let reason):
                effects.append(.socket(.close(socket)))
                forget(socket, reason: reason, now, &effects)
            case .incoming(let substream, let name): onIncoming(socket, substream, name, now, &effects)
            case .opened(let substream, let name):
                if let id = links[socket]?.uses[substream]?.stream { effects.append(.stream(.opened(id, protocol: name))) }
            case .failed(let substream, let reason):
                if links[socket]?.services[substream] != nil { endService(socket, substream, now, &effects) }
                if let id = endUse(socket, substream) { effects.append(.stream(.failed(id, reason: reason))) }
            case .received(let substream, let bytes):
                if let id = links[socket]?.uses[substream]?.stream { effects.append(.stream(.received(id, bytes))) }
                else { onServiceBytes(socket, substream, bytes, now, &effects) }
            case .remoteClosed(let substream): onRemoteClosed(socket, substream, now, &effects)
            case .reset(let substream):
                if links[socket]?.services[substream] != nil { endService(socket, substream, now, &effects) }
                if let id = endUse(socket, substream) { effects.append(.stream(.reset(id))) }
            case .drained(let substream):
                if let id = links[socket]?.uses[substream]?.stream { effects.append(.stream(.drained(id))) }
            }
        }
        reschedule(socket)
    }

    private mutating func onSecured(_ socket: SocketID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard let link = links[socket] else { return }
        if peer == me {
            return close(socket, code: GoAwayCode.normal, reason: "this is the peer itself", now, &effects)
        }
        let inbound = (peers[peer]?.links ?? []).count { links[$0]?.isInbound == true }
        if link.isInbound && inbound >= settings.resources.inboundConnectionsPerPeer {
            return close(
                socket, code: GoAwayCode.resourceLimit, reason: "\(inbound) connections from \(peer) already", now,
                &effects)
        }
        links[socket]?.peer = peer
        let isFirst = peers[peer] == nil
        peers[peer, default: Peer(links: [], since: now.monotonic)].links.append(socket)
        connectionCount += 1
        watch(now)
        note(.debug, "connection to \(peer) at \(link.address) secured by \(link.connection?.security ?? "nothing")", &effects)
        if isFirst {
            let isOutbound = !link.isInbound
            effects.append(.connection(.connected(peer, address: link.address, outbound: isOutbound)))
        }
        askIdentity(socket, now, &effects)
        dialSucceeded(peer, over: socket, now, &effects)
    }

    private mutating func onIncoming(
        _ socket: SocketID, _ substream: SubstreamID, _ name: String, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let peer = links[socket]?.peer else { return }
        if Service.protocols.contains(name) { return onServiceStream(socket, substream, name, now, &effects) }
        let id = nextInboundStream()
        links[socket]?.uses[substream] = Use(stream: id)
        streams[id] = Place(socket: socket, substream: substream)
        effects.append(.stream(.incoming(id, from: peer, protocol: name)))
    }

    private mutating func onRemoteClosed(
        _ socket: SocketID, _ substream: SubstreamID, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let use = links[socket]?.uses[substream] else { return onServiceClosed(socket, substream, now, &effects) }
        effects.append(.stream(.remoteClosed(use.stream)))
        links[socket]?.uses[substream]?.isRemoteEnded = true
        if use.isLocalEnded { endUse(socket, substream) }
    }

    /// Forgets a stream of the core that is over.
    @discardableResult
    mutating func endUse(_ socket: SocketID, _ substream: SubstreamID) -> StreamID? {
        guard let use = links[socket]?.uses.removeValue(forKey: substream) else { return nil }
        streams[use.stream] = nil
        return use.stream
    }

    // MARK: The end

    /// Ends a connection, or the attempt at one, from this side.
    mutating func close(
        _ socket: SocketID, code: UInt32, reason: String, _ now: Now, _ effects: inout [Effect]
    ) {
        if links[socket]?.connection != nil {
            run(socket, now, &effects) { $0.close(code: code, reason: reason, now: now, effects: &$1) }
        } else if links[socket] != nil {
            effects.append(.socket(.close(socket)))
            forget(socket, reason: reason, now, &effects)
        }
    }

    /// The socket is gone, and its streams have been ended.
    mutating func forget(_ socket: SocketID, reason: String, _ now: Now, _ effects: inout [Effect]) {
        unschedule(socket)
        guard let link = links.removeValue(forKey: socket) else { return }
        sockets.remove(socket)
        windowBytes -= link.countedBytes
        if let peer = link.peer {
            connectionCount -= 1
            peers[peer]?.links.removeAll { $0 == socket }
            note(.debug, "connection to \(peer) at \(link.address) ended: \(reason)", &effects)
            if peers[peer]?.links.isEmpty == true {
                peers[peer] = nil
                effects.append(.connection(.disconnected(peer)))
            }
        } else if let target = link.target {
            if Host.blamesSecret(reason) {
                note(.warning, "dialling \(target) at \(link.address) failed: \(reason)", &effects)
            }
            let text = link.connection == nil ? Host.dialText(link.address, reason) : reason
            attemptFailed(target, socket, at: link.address, text, now, &effects)
        } else {
            noteStranger("inbound connection from \(link.address) failed: \(reason)", now, &effects)
        }
    }

    /// Whoever set up the cluster should see that secrets differ, but not how often: anybody can knock.
    private mutating func noteStranger(_ text: String, _ now: Now, _ effects: inout [Effect]) {
        guard networkKey != nil && Host.blamesSecret(text) else { return note(.debug, text, &effects) }
        if let end = strangers.quietUntil, now.monotonic < end {
            strangers.untold += 1
            return note(.debug, text, &effects)
        }
        note(.info, strangers.untold == 0 ? text : "\(text) (and \(strangers.untold) more since the last such line)", &effects)
        strangers = (now.monotonic + settings.strangersLogInterval, 0)
    }

    private static func blamesSecret(_ reason: String) -> Bool { reason.contains("cluster secret") }

    func note(_ level: LogLevel, _ text: String, _ effects: inout [Effect]) {
        effects.append(.log(LogLine(level, "p2p", text)))
    }
}
