// Connections, streams and what is done to them.

import Cluster
import Kernel
import Multiformats
import Seams

extension World {
    // MARK: What peers ask of the network

    func carryOut(_ index: Int, _ effect: ConnectionEffect) {
        switch effect {
        case .dial(let peer, let addresses): dial(index, peer, addresses)
        case .disconnect(let peer):
            if let other = indexOf(peer), let connection = network.connection(index, other) { lose(connection) }
        }
    }

    func indexOf(_ peer: PeerID) -> Int? { peers.firstIndex { $0.id == peer } }

    private func dial(_ index: Int, _ peer: PeerID, _ addresses: [Multiaddr]) {
        let target = addresses.lazy.compactMap(\.simulatedIndex).first { $0 < self.peers.count && self.peers[$0].id == peer }
        let link = target.map { Link(from: index, to: $0) }
        let isReachable = link.map { !network.blocked.contains($0) && !network.blocked.contains($0.reversed) } ?? false
        guard let target, let link, isReachable, peers[target].isUp else {
            let delay = isReachable ? Span.milliseconds(2) : network.settings.dialTimeout
            let reason = isReachable ? "connection refused" : "i/o timeout"
            schedule(index, .connection(.dialFailed(peer, reason: reason)), after: delay)
            return
        }
        if network.connection(index, target) != nil { return }  // both dialled at once: one connection serves
        connect(index, target, link)
    }

    private func connect(_ dialler: Int, _ listener: Int, _ link: Link) {
        let number = network.number()
        network.connections[number] = SimConnection(number: number, dialler: dialler, listener: listener)
        network.connectionOf[SimNetwork.pair(dialler, listener)] = number
        send(.connected(outbound: false), over: number, link)
        send(.introduction, over: number, link)
        send(.connected(outbound: true), over: number, link.reversed)
        send(.introduction, over: number, link.reversed)
    }

    func carryOut(_ index: Int, _ effect: StreamEffect) {
        switch effect {
        case .open(let id, let peer, let protocols):
            guard let other = indexOf(peer), let stream = network.open(id, from: index, to: other) else {
                schedule(index, .stream(.failed(id, reason: "not connected to \(peer)")), after: .zero)
                return
            }
            send(.open(stream: stream.number, protocols: protocols), on: stream, from: index)
        case .send(let id, let bytes):
            guard var stream = network.stream(id, of: index) else { return }
            if stream.opener == index { stream.inFlightFromOpener += 1 } else { stream.inFlightFromAccepter += 1 }
            network.streams[stream.number] = stream
            send(.data(stream: stream.number, bytes), on: stream, from: index)
        case .closeWrite(let id):
            guard let stream = network.stream(id, of: index) else { return }
            send(.closeWrite(stream: stream.number), on: stream, from: index)
        case .reset(let id):
            guard let stream = network.stream(id, of: index) else { return }
            // Nothing further is reported here; the number lives on until the other end has heard.
            network.streamNumbers[SimNetwork.EndPoint(peer: index, stream: id)] = nil
            send(.reset(stream: stream.number), on: stream, from: index)
        }
    }

    private func schedule(_ index: Int, _ input: PeerInput, after delay: Span) {
        queue.schedule(.input(peer: index, epoch: peers[index].epoch, input), at: now + delay.nanoseconds)
    }

    // MARK: Packets

    private func send(_ packet: Packet, on stream: SimStream, from index: Int) {
        let other = stream.opener == index ? stream.accepter : stream.opener
        send(packet, over: stream.connection, Link(from: index, to: other))
    }

    private func send(_ packet: Packet, over connection: UInt64, _ link: Link) {
        let number = network.number()
        transits[number] = Transit(connection: connection, link: link, packet: packet)
        queue.schedule(.transit(number: number), at: network.arrival(link, now: now, draws: draws), ordered: true)
    }

    func arrive(_ number: UInt64) {
        if let transit = transits.removeValue(forKey: number) { take(transit) }
    }

    private func take(_ transit: Transit) {
        guard network.connections[transit.connection]?.isAlive == true else { return }
        if network.blocked.contains(transit.link) {
            network.held[transit.link, default: []].append(transit)
            return
        }
        deliver(transit)
    }

    private func deliver(_ transit: Transit) {
        let (from, to) = (transit.link.from, transit.link.to)
        switch transit.packet {
        case .connected(let outbound):
            let address = Multiaddr.simulated(from)
            feed(to, .connection(.connected(peers[from].id, address: address, outbound: outbound)))
        case .introduction:
            let introduction = PeerIntroduction(
                protocols: ClusterPeer.protocols, listenAddresses: [.simulated(from)], agent: "sim")
            feed(to, .connection(.introduced(peers[from].id, introduction)))
        case .open(let number, let protocols): deliverOpen(number, protocols, to)
        case .accepted(let number, let chosen):
            if let stream = network.streams[number] { feedStream(to, stream) { .opened($0, protocol: chosen) } }
        case .refused(let number, let reason):
            guard let stream = network.streams[number] else { return }
            feedStream(to, stream) { .failed($0, reason: reason) }
            network.forget(stream)
        case .data(let number, let bytes): deliverData(number, bytes, from, to)
        case .drained(let number):
            if let stream = network.streams[number] { feedStream(to, stream) { .drained($0) } }
        case .closeWrite(let number):
            guard var stream = network.streams[number] else { return }
            if to == stream.accepter { stream.openerEnded = true } else { stream.accepterEnded = true }
            network.streams[number] = stream
            if stream.openerEnded && stream.accepterEnded { network.forget(stream) }
            feedStream(to, stream) { .remoteClosed($0) }
        case .reset(let number):
            guard let stream = network.streams[number] else { return }
            let known = id(of: stream, at: to).flatMap { network.stream($0, of: to) } != nil
            network.forget(stream)
            if known { feedStream(to, stream) { .reset($0) } }
        }
    }

    private func deliverOpen(_ number: UInt64, _ protocols: [String], _ to: Int) {
        guard var stream = network.streams[number] else { return }
        guard let chosen = protocols.first(where: { ClusterPeer.protocols.contains($0) }) else {
            return send(.refused(stream: number, reason: "protocols not supported: \(protocols)"), on: stream, from: to)
        }
        peers[to].inboundStreams += 1
        let id = StreamID(owner: 0, number: peers[to].inboundStreams)
        stream.accepterID = id
        network.streams[number] = stream
        network.streamNumbers[SimNetwork.EndPoint(peer: to, stream: id)] = number
        send(.accepted(stream: number, protocol: chosen), on: stream, from: to)
        feed(to, .stream(.incoming(id, from: peers[stream.opener].id, protocol: chosen)))
    }

    private func deliverData(_ number: UInt64, _ bytes: Bytes, _ from: Int, _ to: Int) {
        guard var stream = network.streams[number] else { return }
        let left: Int
        if stream.opener == from {
            stream.inFlightFromOpener -= 1
            left = stream.inFlightFromOpener
        } else {
            stream.inFlightFromAccepter -= 1
            left = stream.inFlightFromAccepter
        }
        network.streams[number] = stream
        if left == 0 { send(.drained(stream: number), on: stream, from: to) }
        feedStream(to, stream) { .received($0, bytes) }
    }

    private func id(of stream: SimStream, at index: Int) -> StreamID? {
        stream.opener == index ? stream.openerID : stream.accepterID
    }

    /// Nothing if that end has reset the stream.
    private func feedStream(_ index: Int, _ stream: SimStream, _ event: (StreamID) -> StreamEvent) {
        guard let id = id(of: stream, at: index) else { return }
        if network.streams[stream.number] != nil, network.stream(id, of: index) == nil { return }
        feed(index, .stream(event(id)))
    }

    // MARK: Loss

    /// Cuts a connection: both ends see their streams reset and the peer gone, each after a moment.
    package func breakConnection(_ a: Int, _ b: Int) {
        if let connection = network.connection(a, b) { lose(connection) }
    }

    func lose(_ number: UInt64) {
        guard let connection = network.connections.removeValue(forKey: number) else { return }
        network.connectionOf[SimNetwork.pair(connection.dialler, connection.listener)] = nil
        network.held[Link(from: connection.dialler, to: connection.listener)] = nil
        network.held[Link(from: connection.listener, to: connection.dialler)] = nil
        note("connection \(name(connection.dialler))–\(name(connection.listener)) lost")
        for end in [connection.dialler, connection.listener] {
            let other = end == connection.dialler ? connection.listener : connection.dialler
            for stream in connection.streams.compactMap({ network.streams[$0] }) {
                guard let id = id(of: stream, at: end), network.stream(id, of: end) != nil else { continue }
                schedule(end, .stream(.reset(id)), after: .zero)
            }
            schedule(end, .connection(.disconnected(peers[other].id)), after: .milliseconds(1))
        }
        for stream in connection.streams.compactMap({ network.streams[$0] }) { network.forget(stream) }
    }

    // MARK: Partitions

    /// Nothing passes from one to the other until `unblock`. Connections live on for a while, then are lost.
    package func block(from: Int, to: Int) {
        let link = Link(from: from, to: to)
        guard network.blocked.insert(link) else { return }
        note("blocked \(name(from)) → \(name(to))")
        if let connection = network.connection(from, to) {
            queue.schedule(
                .silence(connection: connection), at: now + settings.network.silentConnectionLifetime.nanoseconds)
        }
    }

    package func unblock(from: Int, to: Int) {
        let link = Link(from: from, to: to)
        guard network.blocked.remove(link) else { return }
        note("unblocked \(name(from)) → \(name(to))")
        // At once: what is on its way was sent after them, and must not overtake them.
        for transit in network.held.remove(link) ?? [] { take(transit) }
    }

    package func partition(_ side: [Int], from others: [Int], oneWay: Bool = false) {
        for a in side {
            for b in others {
                block(from: a, to: b)
                if !oneWay { block(from: b, to: a) }
            }
        }
    }

    package func heal() { for link in network.blocked.elements { unblock(from: link.from, to: link.to) } }

    func onSilence(_ connection: UInt64) {
        guard let found = network.connections[connection] else { return }
        let link = Link(from: found.dialler, to: found.listener)
        if network.blocked.contains(link) || network.blocked.contains(link.reversed) { lose(connection) }
    }
}
