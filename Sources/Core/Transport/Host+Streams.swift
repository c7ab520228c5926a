// The streams of the core: on which connection they run, and what they wait for before there is one. MSS-06, SIM-01.

import Kernel
import Multiformats
import Seams

extension Host {
    /// A stream that was opened before its connection.
    struct PendingStream: Sendable {
        let protocols: [String]
        var held: [Bytes] = []
        var isEndWanted = false
        var isHeld = false
    }

    package mutating func onEffect(_ effect: StreamEffect, now: Now, effects: inout [Effect]) {
        switch effect {
        case .open(let stream, let peer, let protocols): onOpen(stream, peer, protocols, now, &effects)
        case .send(let stream, let bytes):
            if pending[stream] != nil { pending[stream]?.held.append(bytes) }
            guard let place = streams[stream] else { return }
            run(place.socket, now, &effects) { $0.send(place.substream, bytes, now: now, effects: &$1) }
        case .closeWrite(let stream):
            pending[stream]?.isEndWanted = true
            closeWrite(stream, now, &effects)
        case .reset(let stream):
            pending[stream] = nil
            guard let place = streams[stream] else { return }
            endUse(place.socket, place.substream)
            run(place.socket, now, &effects) { $0.reset(place.substream, now: now, effects: &$1) }
        case .hold(let stream, let isHeld): hold(stream, isHeld, now: now, effects: &effects)
        }
    }

    /// Stops and goes on taking what comes on a stream. Less than a window of it comes all the same.
    package mutating func hold(_ stream: StreamID, _ isHeld: Bool, now: Now, effects: inout [Effect]) {
        pending[stream]?.isHeld = isHeld
        guard let place = streams[stream] else { return }
        run(place.socket, now, &effects) { $0.hold(place.substream, isHeld, now: now, effects: &$1) }
    }

    /// What was sent on a stream and waits for the other side to take it.
    package func waitingBytes(_ stream: StreamID) -> Int {
        guard let place = streams[stream] else { return 0 }
        return links[place.socket]?.connection?.muxer.waitingBytes(place.substream) ?? 0
    }

    private mutating func closeWrite(_ stream: StreamID, _ now: Now, _ effects: inout [Effect]) {
        guard let place = streams[stream] else { return }
        links[place.socket]?.uses[place.substream]?.isLocalEnded = true
        if links[place.socket]?.uses[place.substream]?.isRemoteEnded == true { endUse(place.socket, place.substream) }
        run(place.socket, now, &effects) { $0.closeWrite(place.substream, now: now, effects: &$1) }
    }

    private mutating func onOpen(
        _ stream: StreamID, _ peer: PeerID, _ protocols: [String], _ now: Now, _ effects: inout [Effect]
    ) {
        invariant(streams[stream] == nil && pending[stream] == nil, "stream \(stream) opened twice")
        let waiting = PendingStream(protocols: protocols)
        if peers[peer] != nil { return open(stream, to: peer, waiting, now, &effects) }
        guard dials[peer] != nil || known[peer] != nil else {
            let reason = peer == me
                ? "a peer opens no stream to itself" : "not connected to \(peer), and no address of it is known"
            effects.append(.stream(.failed(stream, reason: reason)))
            return
        }
        pending[stream] = waiting
        if dials[peer] != nil {
            dials[peer]?.streams.append(stream)
        } else {
            dial(peer, known[peer] ?? [], isReported: false, waiting: stream, now, &effects)
        }
    }

    /// On the connection with the most streams, and of those the newest.
    private func bestLink(_ peer: PeerID) -> SocketID? {
        var best: (socket: SocketID, count: Int)?
        for socket in peers[peer]?.links ?? [] {
            guard let count = links[socket]?.connection?.streamCount else { continue }
            if best.map({ count >= $0.count }) ?? true { best = (socket, count) }
        }
        return best?.socket
    }

    mutating func open(
        _ stream: StreamID, to peer: PeerID, _ waiting: PendingStream, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let socket = bestLink(peer) else { unreachable("a connected peer without a connection") }
        // With what identify has told, the first protocol that both speak needs no haggling.
        let spoken = peers[peer]?.introduction?.protocols ?? []
        let agreed = waiting.protocols.first { spoken.contains($0) }
        var substream: SubstreamID?
        let out = links[socket]?.run {
            substream = $0.open(agreed.map { [$0] } ?? waiting.protocols, known: agreed != nil, now: now, effects: &$1)
        }
        guard let substream else {
            return effects.append(.stream(.failed(stream, reason: "the connection to \(peer) can carry no more streams")))
        }
        streams[stream] = Place(socket: socket, substream: substream)
        links[socket]?.uses[substream] = Use(stream: stream)
        carryOut(socket, out ?? [], now, &effects)
        for bytes in waiting.held {
            run(socket, now, &effects) { $0.send(substream, bytes, now: now, effects: &$1) }
        }
        if waiting.isEndWanted { closeWrite(stream, now, &effects) }
        if waiting.isHeld { hold(stream, true, now: now, effects: &effects) }
    }
}
