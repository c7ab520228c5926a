// The seam between the core and a network: streams between two authenticated peers.
// RealNet makes them out of TCP, private network, Noise and yamux; SimNet out of a queue of events.

import Kernel
import Multiformats

/// One stream of one peer. Streams that the core opens carry their owner (a machine); a net numbers the inbound ones
/// with owner 0. Never reused within a run.
package struct StreamID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let raw: UInt64
    package init(owner: UInt8, number: UInt64) { raw = UInt64(owner) << 56 | number }
    package var owner: UInt8 { UInt8(raw >> 56) }
    package static func < (a: Self, b: Self) -> Bool { a.raw < b.raw }
    package var description: String { "\(owner).\(raw & (1 << 56 - 1))" }
}

/// Hands out the stream IDs of one machine.
package struct StreamIDs: Sendable {
    private let owner: UInt8
    private var number: UInt64 = 0
    package init(owner: UInt8) {
        invariant(owner > 0, "owner 0 belongs to the net")
        self.owner = owner
    }
    package mutating func next() -> StreamID {
        number += 1
        return StreamID(owner: owner, number: number)
    }
}

package enum StreamEffect: Equatable, Sendable {
    /// Opens a stream to a connected peer (or one whose addresses are known: the net dials first) and negotiates the
    /// first protocol that it supports. Answered by `opened` or `failed`. Bytes may be sent before the answer.
    case open(StreamID, to: PeerID, protocols: [String])
    case send(StreamID, Bytes)
    /// Half-close: no more bytes will be sent.
    case closeWrite(StreamID)
    /// Ends both directions at once; nothing further is reported for this stream.
    case reset(StreamID)
    /// Stops or goes on taking what comes: what the other side sends waits there. Less than a window of it comes all the same.
    case hold(StreamID, Bool)
}

package enum StreamEvent: Equatable, Sendable {
    case opened(StreamID, protocol: String)
    /// Opening failed, or the peer is gone. The stream is over.
    case failed(StreamID, reason: String)
    case incoming(StreamID, from: PeerID, protocol: String)
    case received(StreamID, Bytes)
    /// The other side will send no more. The stream is over once we have closed too.
    case remoteClosed(StreamID)
    /// Reset by the other side, or the connection was lost. The stream is over.
    case reset(StreamID)
    /// All that was sent so far has left the buffers: more may be sent without piling up. Comes each time the buffer of a
    /// stream that has been sent to runs empty.
    case drained(StreamID)

    package var stream: StreamID {
        switch self {
        case .opened(let id, _), .failed(let id, _), .incoming(let id, _, _), .received(let id, _), .remoteClosed(let id),
            .reset(let id), .drained(let id): id
        }
    }
}

/// What is known of a connected peer, from its identify message or from the simulator.
package struct PeerIntroduction: Equatable, Sendable {
    package var protocols: [String]
    package var listenAddresses: [Multiaddr]
    package var agent: String
    /// Its addresses, signed by it in an envelope, to be shown to others (`PeerRecord`).
    package var signedRecord: Bytes?
    package init(protocols: [String], listenAddresses: [Multiaddr] = [], agent: String = "", signedRecord: Bytes? = nil) {
        self.protocols = protocols
        self.listenAddresses = listenAddresses
        self.agent = agent
        self.signedRecord = signedRecord
    }
}

package enum ConnectionEffect: Equatable, Sendable {
    /// Dials the addresses in order until one answers as that peer. Answered by `connected` or `dialFailed`.
    case dial(PeerID, [Multiaddr])
    case disconnect(PeerID)
    /// What streams of others may ask for from now on.
    case serve([String])
    /// Dials the addresses as nobody that anyone knows, and hangs up: whether that peer answers there. Answered by `dialledBack`, or not.
    case dialBack(UInt64, PeerID, [Multiaddr])
    /// Whom of a crowd the peer can do without: their connections are closed, the least worth first, until few enough are left.
    case trim([PeerWorth])
}

/// What the connections to a peer are worth, compared with others.
package struct PeerWorth: Equatable, Sendable {
    package let peer: PeerID
    package let value: Int
    package init(_ peer: PeerID, _ value: Int) {
        self.peer = peer
        self.value = value
    }
}

package enum ConnectionEvent: Equatable, Sendable {
    /// The first connection to this peer stands. `address` is the remote one; `outbound` if we dialled.
    case connected(PeerID, address: Multiaddr, outbound: Bool)
    /// Its protocols are known, or changed. Comes at least once after `connected`.
    case introduced(PeerID, PeerIntroduction)
    /// The last connection to this peer is gone. Its streams have been reset before.
    case disconnected(PeerID)
    case dialFailed(PeerID, reason: String)
    /// The addresses that this peer listens on and should tell others, without /p2p.
    case listening([Multiaddr])
    /// Another peer of the local network has said where it is (MDNS-07).
    case found(PeerID, [Multiaddr])
    /// The address at which the peer answered, or none.
    case dialledBack(UInt64, Multiaddr?)
    /// There are too many connections, those to these peers among them. Answered by `trim`, or not at all.
    case crowded([PeerID])
}
