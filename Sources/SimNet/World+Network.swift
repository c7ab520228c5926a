// Connections, streams and what is done to them.

import Cluster
import DHT
import Exchange
import Gossip
import Kernel
import Multiformats
import Seams

extension World {
    // MARK: What peers ask of the network

    func carryOut(_ process: Process, _ effect: ConnectionEffect) {
        switch effect {
        case .dial(let peer, let addresses): dial(process, peer, addresses)
        case .disconnect(let peer):
            if let other = indexes[peer], let connection = network.connection(process.index, other) { lose(connection) }
        case .trim: break  // nobody is crowded here
        case .serve(let protocols): process.peer.protocols = protocols  // it happens to public peers alone, and there are none
        case .dialBack(let number, _, _): schedule(process, .connection(.dialledBack(number, nil)), after: network.settings.dialTimeout)
        }
    }

    private func dial(_ process: Process, _ peer: PeerID, _ addresses: [Multiaddr]) {
        let index = process.index
        let target = addresses.lazy.compactMap(\.simulatedIndex).first { $0 < self.peers.count && self.peers[$0].id == peer && $0 != index }
        let link = target.map { Link(from: index, to: $0) }
        let isReachable = link.map { !network.isBlocked($0) && !network.isBlocked($0.reversed) } ?? false
        guard let target, let link, isReachable, peers[target].isUp else {
            if !isReachable && target != nil { hit(.dialBlocked) }
            let delay = isReachable ? Span.milliseconds(2) : network.settings.dialTimeout
            let reason = isReachable ? "connection refused" : "i/o timeout"
            return schedule(process, .connection(.dialFailed(peer, reason: reason)), after: delay)
        }
        if network.connection(index, target) != nil { return }  // both dialled at once: one connection serves
        let connection = network.connect(index, target)
        for (direction, isDialler) in [(link, true), (link.reversed, false)] {
            send(.connected(outbound: !isDialler), over: connection, direction)
            guard let fault = strangers.remove(direction.from) else {
                send(.introduction, over: connection, direction)
                continue
            }
            // What comes before an introduction counts as well (bug zoo N05).
            after(.milliseconds(50)) { $0.sendWants(fault, to: [direction.to]) }
            after(.seconds(2)) { if connection.isAlive { $0.send(.introduction, over: connection, direction) } }
        }
    }

    package func carryOut(_ index: Int, _ effect: StreamEffect) {
        if let process = peers[index].process { carryOut(process, effect) }
    }

    func carryOut(_ process: Process, _ effect: StreamEffect) {
        let index = process.index
        switch effect {
        case .open(let id, let peer, let protocols):
            guard let other = indexes[peer], let connection = network.connection(index, other) else {
                return schedule(process, .stream(.failed(id, reason: "not connected to \(peer)")), after: .zero)
            }
            let stream = SimStream(connection: connection, opener: index, accepter: other, cargo: cargo(protocols), openerID: id)
            process.streams[id] = stream
            connection.add(stream)
            send(.open(stream, protocols: protocols), on: stream, from: index)
        case .send(let id, let bytes):
            guard let stream = process.streams[id] else { return }
            sendData(bytes, on: stream, from: index)
        case .closeWrite(let id):
            guard let stream = process.streams[id] else { return }
            send(.closeWrite(stream), on: stream, from: index)
        case .reset(let id):
            // Nothing further is reported here; the stream lives on until the other end has heard.
            guard let stream = process.streams.remove(id) else { return }
            send(.reset(stream), on: stream, from: index)
        case .hold(let id, let isHeld):
            guard let stream = process.streams[id] else { return }
            let other = stream.other(than: index)
            stream[from: other].isReleased = !isHeld
            if isHeld { stream[from: other].isHeld = true } else { after(.zero) { $0.release(stream, Link(from: other, to: index)) } }
        }
    }

    /// What has come for who takes it again, until that has enough.
    private func release(_ stream: SimStream, _ link: Link) {
        guard stream[from: link.from].isReleased else { return }
        var waiting = stream[from: link.from].waiting[...]
        (stream[from: link.from].isHeld, stream[from: link.from].waiting) = (false, [])
        while stream.connection.isAlive, !stream[from: link.from].isHeld, let packet = waiting.popFirst() { deliver(stream.connection, link, packet) }
        stream[from: link.from].waiting = waiting + stream[from: link.from].waiting
    }

    private func cargo(_ protocols: [String]) -> Cargo {
        guard let first = protocols.first else { return .other }
        return Gossip.protocols.contains(first) ? .gossip : Exchange.protocols.contains(first) ? .blocks : DHT.protocols.contains(first) ? .finding : .other
    }

    // MARK: Packets

    private func send(_ packet: Packet, on stream: SimStream, from index: Int) {
        send(packet, over: stream.connection, Link(from: index, to: stream.other(than: index)))
    }

    private func sendData(_ bytes: Bytes, on stream: SimStream, from index: Int) {
        let pieces = Pieces(bytes), packet = Packet.data(stream, pieces)
        let link = Link(from: index, to: stream.other(than: index))
        noteDelay(packet, link)
        pieces.arrivesAt = network.arrival(link, packet, now: now, tape: tape)
        // On some connections every piece arrives by itself.
        if let last = stream[from: index].last, last.arrivesAt > now, pieces.arrivesAt <= last.arrivesAt + Pieces.window, stream.connection.number & 3 != 0 {
            return last.all.append(bytes)
        }
        stream[from: index].inFlight += 1
        stream[from: index].last = pieces
        schedule(packet, over: stream.connection, link, at: pieces.arrivesAt)
    }

    private func send(_ packet: Packet, over connection: SimConnection, _ link: Link) {
        noteDelay(packet, link)
        schedule(packet, over: connection, link, at: network.arrival(link, packet, now: now, tape: tape))
    }

    private func noteDelay(_ packet: Packet, _ link: Link) {
        if network[link].latencyFactor > 1 || network[link].bytesPerSecond > 0 || (network[link].blocksDelay > 0 && packet.stream?.cargo == .blocks) {
            hit(.delayed)
        }
    }

    private func schedule(_ packet: Packet, over connection: SimConnection, _ link: Link, at arrival: Int64) {
        // So long a queue does not answer a keep-alive in time.
        if network[link].bytesPerSecond > 0, arrival - now > 2 * settings.network.silentConnectionLifetime.nanoseconds {
            return after(.zero) { $0.lose(connection) }
        }
        schedule(.packet(connection, link, packet), at: arrival)
    }

    func take(_ connection: SimConnection, _ link: Link, _ packet: Packet) {
        guard connection.isAlive else { return }
        if connection.isVoid { return hit(.vanished) }
        if network.isBlocked(link) {
            hit(.heldUp)
            return network[link].held.append((connection, packet, current))
        }
        deliver(connection, link, packet)
    }

    private func deliver(_ connection: SimConnection, _ link: Link, _ packet: Packet) {
        let (from, to) = (link.from, link.to)
        guard let process = peers[to].process else { return }
        if packet.isTaken, let stream = packet.stream, stream[from: from].isHeld { return stream[from: from].waiting.append(packet) }
        switch packet {
        case .connected(let outbound):
            feed(process, .connection(.connected(peers[from].id, address: .simulated(from), outbound: outbound)))
        case .introduction:
            let introduction = PeerIntroduction(
                protocols: peers[from].protocols, listenAddresses: [.simulated(from)], agent: "sim")
            feed(process, .connection(.introduced(peers[from].id, introduction)))
        case .open(let stream, let protocols): deliverOpen(stream, protocols, process)
        case .accepted(let stream, let chosen): feed(process, stream) { .opened($0, protocol: chosen) }
        case .refused(let stream, let reason):
            feed(process, stream) { .failed($0, reason: reason) }
            forget(stream)
        case .data(let stream, let pieces): deliverData(stream, pieces, link, process)
        case .drained(let stream): feed(process, stream) { .drained($0) }
        case .closeWrite(let stream):
            stream[from: from].hasEnded = true
            let isOver = stream.fromOpener.hasEnded && stream.fromAccepter.hasEnded
            // Unless it was reset on the way (seed 6000296).
            let isHeard = !stream.isForgotten && stream.id(at: to).map { process.streams[$0] === stream } ?? false
            if stream.openerID.owner == World.hostileOwner, from == stream.opener, isHeard, process.suspended == nil {
                onHostileEnd?(self, to, Int((stream.openerID.raw & (1 << 56 - 1)) >> 16))
            }
            feed(process, stream) { .remoteClosed($0) }
            if isOver { forget(stream) }
        case .reset(let stream):
            feed(process, stream) { .reset($0) }
            forget(stream)
        }
    }

    private func deliverOpen(_ stream: SimStream, _ protocols: [String], _ process: Process) {
        guard !stream.isForgotten else { return }
        guard let chosen = protocols.first(where: { process.peer.protocols.contains($0) }) else {
            return send(.refused(stream, reason: "protocols not supported: \(protocols)"), on: stream, from: process.index)
        }
        process.inboundStreams += 1
        let id = StreamID(owner: 0, number: process.inboundStreams)
        stream.accepterID = id
        process.streams[id] = stream
        send(.accepted(stream, protocol: chosen), on: stream, from: process.index)
        feed(process, .stream(.incoming(id, from: peers[stream.opener].id, protocol: chosen)))
    }

    private func deliverData(_ stream: SimStream, _ pieces: Pieces, _ link: Link, _ process: Process) {
        guard !stream.isForgotten else { return }
        stream[from: link.from].inFlight -= 1
        if stream[from: link.from].last === pieces { stream[from: link.from].last = nil }
        if stream[from: link.from].inFlight == 0, isDrainTold(stream, pieces, link.from) { send(.drained(stream), on: stream, from: link.to) }
        var arrived: Bytes?
        for piece in pieces.all {
            guard let piece = tampered(piece, of: stream, link) else { continue }
            if arrived == nil { arrived = piece } else { arrived? += piece }
        }
        if let arrived { feed(process, stream) { .received($0, arrived) } }
    }

    /// Where there are many, gossip hears of it when it has sent more than a little: half of all events would be that.
    private func isDrainTold(_ stream: SimStream, _ pieces: Pieces, _ sender: Int) -> Bool {
        guard tellsDrainedFrom > 0, stream.cargo == .gossip else { return true }
        stream[from: sender].untoldBytes += pieces.all.reduce(0) { $0 + $1.count }
        guard stream[from: sender].untoldBytes >= tellsDrainedFrom else { return false }
        stream[from: sender].untoldBytes = 0
        return true
    }

    /// What faults make of a piece of a stream. Nil where it gets lost on the way.
    private func tampered(_ bytes: Bytes, of stream: SimStream, _ link: Link) -> Bytes? {
        switch stream.cargo {
        case .gossip where network[link].mutedGossip > 0 && World.publishes(bytes):
            hit(.gossipMuted)
            return nil
        case .finding where liars[link.from] != nil && stream.opener != link.from: return madeUp(by: link.from)
        case .blocks where stream.openerID.owner == World.hostileOwner: return bytes
        case .blocks where network[link].withheldBlocks > 0:
            hit(.blocksWithheld)
            return nil
        case .blocks where network[link].wrongBlocks > 0 && bytes.count > 100:
            hit(.blocksSpoilt)
            var spoilt = bytes
            spoilt[bytes.count - 8] ^= 0x40
            return spoilt
        default: return bytes
        }
    }

    /// A frame of gossipsub that carries messages: what a full queue drops. Subscriptions and control are told again, or once.
    private static func publishes(_ bytes: Bytes) -> Bool {
        var place = 0
        while place < bytes.count, bytes[place] >= 0x80 { place += 1 }
        return place + 1 < bytes.count && bytes[place + 1] == 0x12
    }

    /// Nothing if that end has reset the stream, or never heard of it.
    func feed(_ process: Process, _ stream: SimStream, _ event: (StreamID) -> StreamEvent) {
        guard !stream.isForgotten, let id = stream.id(at: process.index), process.streams[id] === stream, id.owner != World.hostileOwner else { return }
        feed(process, .stream(event(id)))
    }

    func forget(_ stream: SimStream) {
        stream.isForgotten = true
        for end in [stream.opener, stream.accepter] {
            if let id = stream.id(at: end), peers[end].process?.streams[id] === stream { peers[end].process?.streams[id] = nil }
        }
    }

    // MARK: Loss

    /// Cuts a connection: both ends see their streams reset and the peer gone, each after a moment.
    package func breakConnection(_ a: Int, _ b: Int) {
        if a != b, let connection = network.connection(a, b) { lose(connection) }
    }
    /// Both ends see their streams reset; the connection stays.
    package func resetStreams(_ a: Int, _ b: Int) {
        guard a != b, let connection = network.connection(a, b), connection.isAlive, !connection.isVoid else { return }
        if connection.streams.contains(where: { !$0.isForgotten }) { hit(.streamsReset) }
        note(nil, "the streams of \(name(a))–\(name(b)) are reset")
        resetStreams(of: connection)
    }
    /// Whoever opened a stream sees it reset; the other end keeps a dead one, until that is noticed there too.
    func halfResetStreams(_ a: Int, _ b: Int) {
        guard a != b, let connection = network.connection(a, b), connection.isAlive, !connection.isVoid else { return }
        for stream in connection.streams where !stream.isForgotten && !stream.isHalf && stream.openerID.owner != World.hostileOwner {
            guard let process = peers[stream.opener].process, process.streams[stream.openerID] === stream, stream.accepterID != nil else { continue }
            hit(.streamsHalfReset)
            stream.isHalf = true
            process.streams[stream.openerID] = nil
            schedule(process, .stream(.reset(stream.openerID)), after: .zero)
            after(settings.network.silentConnectionLifetime) { world in
                guard !stream.isForgotten else { return }
                if let id = stream.accepterID, let process = world.peers[stream.accepter].process, process.streams[id] === stream { world.feed(process, .stream(.reset(id))) }
                world.forget(stream)
            }
        }
    }
    private func resetStreams(of connection: SimConnection) {
        for end in [connection.dialler, connection.listener] {
            guard let process = peers[end].process else { continue }
            for stream in connection.streams where !stream.isForgotten {
                guard let id = stream.id(at: end), process.streams[id] === stream, id.owner != World.hostileOwner else { continue }
                schedule(process, .stream(.reset(id)), after: .zero)
            }
        }
        for stream in connection.streams where !stream.isForgotten { forget(stream) }
    }
    /// From now on nothing passes; both ends notice after their keep-alive.
    package func voidConnection(_ a: Int, _ b: Int) {
        guard a != b, let connection = network.connection(a, b), !connection.isVoid else { return }
        connection.isVoid = true
        note(nil, "connection \(name(a))–\(name(b)) is dead, and neither has noticed")
        schedule(.silence(connection), at: now + settings.network.silentConnectionLifetime.nanoseconds)
    }

    func lose(_ connection: SimConnection) {
        guard connection.isAlive else { return }
        connection.isAlive = false
        network.remove(connection)
        let link = Link(from: connection.dialler, to: connection.listener)
        for link in [link, link.reversed] {
            // What it had under way is lost with it; the next one starts with empty queues.
            network[link].held = []
            (network[link].lastArrival, network[link].lastBlocksArrival) = (now, now)
        }
        hit(.connectionLost)
        note(nil, "connection \(name(connection.dialler))–\(name(connection.listener)) lost")
        for end in [connection.dialler, connection.listener] {
            guard let process = peers[end].process else { continue }
            let other = end == connection.dialler ? connection.listener : connection.dialler
            for stream in connection.streams where !stream.isForgotten {
                guard let id = stream.id(at: end), process.streams[id] === stream, id.owner != World.hostileOwner else { continue }
                schedule(process, .stream(.reset(id)), after: .zero)
            }
            schedule(process, .connection(.disconnected(peers[other].id)), after: .milliseconds(1))
        }
        for stream in connection.streams where !stream.isForgotten { forget(stream) }
        connection.streams = []
    }

    // MARK: Partitions

    /// Nothing passes from one to the other until `unblock`, once for each time. Connections live on for a while, then are lost.
    package func block(from: Int, to: Int) {
        let link = Link(from: from, to: to)
        network[link].blocks += 1
        guard network[link].blocks == 1 else { return }
        if let connection = network.connection(from, to) {
            schedule(.silence(connection), at: now + settings.network.silentConnectionLifetime.nanoseconds)
        }
    }

    package func unblock(from: Int, to: Int) {
        let link = Link(from: from, to: to)
        guard network[link].blocks > 0 else { return }
        network[link].blocks -= 1
        guard network[link].blocks == 0 else { return }
        // At once: what is on its way was sent after them, and must not overtake them.
        let held = network[link].held
        network[link].held = []
        let before = current
        for (connection, packet, cause) in held {
            setCurrent(cause)
            take(connection, link, packet)
        }
        setCurrent(before)
    }

    package func partition(_ side: [Int], from others: [Int], oneWay: Bool = false) {
        for a in side {
            for b in others {
                block(from: a, to: b)
                if !oneWay { block(from: b, to: a) }
            }
        }
    }

    /// The whole network is well again.
    package func heal() {
        for link in network.blockedLinks {
            network[link].blocks = 1
            unblock(from: link.from, to: link.to)
        }
        network.forEachLink { state in
            (state.latencyFactor, state.bytesPerSecond, state.blocksDelay) = (1, 0, 0)
            (state.mutedGossip, state.withheldBlocks, state.wrongBlocks) = (0, 0, 0)
        }
        // What has been under way for long is not to go on for minutes.
        for connection in network.liveConnections where network.isLate(connection, at: now + Span.seconds(10).nanoseconds) { lose(connection) }
    }

    var hasVoidConnections: Bool { network.liveConnections.contains(where: \.isVoid) }

    func onSilence(_ connection: SimConnection) {
        guard connection.isAlive else { return }
        let link = Link(from: connection.dialler, to: connection.listener)
        if connection.isVoid || network.isBlocked(link) || network.isBlocked(link.reversed) { lose(connection) }
    }
}
