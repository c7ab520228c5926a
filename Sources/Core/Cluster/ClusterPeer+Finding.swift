// Streams to peers that are not connected. The net dials them at the addresses that it knows; if that fails, the DHT is asked
// for others, and if it has connected us, the stream is opened once more, with what was sent on it. DIAL-05.

import DHT
import Gossip
import Kernel
import Multiformats
import Seams

extension ClusterPeer {
    /// A stream that the other side has not accepted yet.
    struct Calling: Sendable {
        let peer: PeerID
        let protocols: [String]
        var sent: [StreamEffect] = []
        var sentBytes = 0
        /// Why it could not be opened: the peer is looked for meanwhile.
        var failure: String?
        /// More has been sent than is kept for a second attempt.
        var isTooLong = false
    }
    private static let heldBytesMax = 256 << 10

    /// Keeps what may have to be sent again. True if that is all that can be done now.
    mutating func hold(_ effect: StreamEffect) -> Bool {
        switch effect {
        case .open(let stream, let peer, let protocols):
            if !book.isConnected(peer) { calling[stream] = Calling(peer: peer, protocols: protocols) }
            return false
        case .send(let stream, let bytes): return hold(effect, on: stream, bytes.count)
        case .closeWrite(let stream): return hold(effect, on: stream, 0)
        case .reset(let stream): return calling.remove(stream)?.failure != nil
        case .hold: return false
        }
    }
    private mutating func hold(_ effect: StreamEffect, on stream: StreamID, _ bytes: Int) -> Bool {
        guard var call = calling[stream] else { return false }
        call.sentBytes += bytes
        if call.sentBytes > ClusterPeer.heldBytesMax { (call.isTooLong, call.sent) = (true, []) } else { call.sent.append(effect) }
        calling[stream] = call
        return call.failure != nil
    }

    /// GS-27: somebody who may have room for us in a mesh. Without addresses of its own signing it is looked for.
    mutating func meet(_ other: ExchangedPeer) {
        guard !book.isConnected(other.id) else { return }
        if let envelope = other.record {
            do throws(MultiformatError) {
                let record = try PeerRecord(sealed: envelope, by: other.id)
                book.learn(other.id, record.addresses.map(\.withoutPeer), now: turn.now)
            } catch { note(.debug, "pubsub", "a record of \(other.id) that was told is of no use: \(error)") }
        } else if book.addresses(of: other.id).isEmpty {
            withDHTs { $0.find(other.id, tried: [], now: $2.now, effects: &$3) }
        }
    }

    /// True if the machine is not to hear of it yet.
    mutating func seek(_ event: StreamEvent) -> Bool {
        guard let call = calling[event.stream] else { return false }
        guard case .failed(let stream, let reason) = event, call.failure == nil, !call.isTooLong, !book.isConnected(call.peer) else {
            calling.remove(event.stream)
            return false
        }
        calling[stream]?.failure = reason
        let tried = book.addresses(of: call.peer)
        isBeginningToSeek = true
        withDHTs { $0.find(call.peer, tried: tried, now: $2.now, effects: &$3) }
        isBeginningToSeek = false
        giveUp(call.peer)
        return true
    }

    /// One DHT has not found it; unless the other still looks, it is not to be had.
    mutating func giveUp(_ peer: PeerID) {
        if isBeginningToSeek || dht.isLooking(for: peer) || wideDHT.isLooking(for: peer) { return }
        failStreams(to: peer)
    }

    mutating func retryStreams(to peer: PeerID) {
        for (stream, call) in calling where call.peer == peer && call.failure != nil {
            calling.remove(stream)
            guard !call.isTooLong else { fail(stream, call); continue }
            // Not counted again: what was sent waits to be counted until it is known under which protocol.
            turn.effects.append(.stream(.open(stream, to: peer, protocols: call.protocols)))
            turn.effects += call.sent.map(PeerEffect.stream)
        }
    }
    mutating func failStreams(to peer: PeerID) {
        for (stream, call) in calling where call.peer == peer && call.failure != nil {
            calling.remove(stream)
            fail(stream, call)
        }
    }
    private mutating func fail(_ stream: StreamID, _ call: Calling) { onStream(.failed(stream, reason: call.failure ?? "not found")) }
}
