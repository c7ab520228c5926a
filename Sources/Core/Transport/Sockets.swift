// The seam between `Host` and TCP: what a host asks of sockets, and what they tell it. The interpreter is one switch.
//
//     var host = Host(key:, networkKey:, protocols:, securities:, settings:)
//     host.onSocket(_: SocketEvent, entropy:, now:, effects: &effects)      what the sockets tell
//     host.onListening(_: [Multiaddr], now:, effects: &effects)             the own addresses, without /p2p; again on change
//     host.onServing(_: [String], now:, effects: &effects)                  the core's protocols, when they change
//     host.onEffect(_: ConnectionEffect, now:, effects: &effects)           what the peer wants of the network
//     host.onEffect(_: StreamEffect, now:, effects: &effects)
//     host.hold(_: StreamID, _: Bool, now:, effects: &effects)              takes no more of a stream for now
//     host.learn(_: PeerID, _: [Multiaddr])                                 addresses for streams to peers not yet connected
//     host.nextDeadline, host.onTime(now:, effects: &effects)
//     host.shutDown(effects: &effects)
//
// Effects, in order: `Host.Effect.socket(SocketEffect)` is for the sockets, `.connection(ConnectionEvent)` and
// `.stream(StreamEvent)` are inputs of the peer, `.log(LogLine)` is for the log.

import Kernel
import Multiformats

/// One TCP connection, or the attempt at one. Inbound ones are numbered by the sockets, outbound ones by the host.
/// Never reused within a run.
package struct SocketID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let raw: UInt64
    private init(raw: UInt64) { self.raw = raw }
    package static func inbound(_ number: UInt64) -> SocketID { SocketID(raw: number << 1) }
    static func outbound(_ number: UInt64) -> SocketID { SocketID(raw: number << 1 | 1) }
    package var isOutbound: Bool { raw & 1 == 1 }
    package static func < (a: Self, b: Self) -> Bool { a.raw < b.raw }
    package var description: String { "\(isOutbound ? "out" : "in")-\(raw >> 1)" }
}

package enum SocketEffect: Equatable, Sendable {
    /// Answered by `connected` or `connectFailed`. The address has an IP or DNS name and a TCP port, and /ws perhaps, or is a dnsaddr, and ends
    /// in the /p2p of the peer that is wanted: a dnsaddr record for another peer is not to be dialled (DNS-03, DNS-05).
    case connect(SocketID, Multiaddr)
    /// Answered by `written` as the system takes the bytes, in one or several steps.
    case write(SocketID, Bytes)
    /// Ends the socket or the attempt. What was written before should still leave, if it can within a moment. Nothing
    /// more is heard about this socket, and what is told about it is ignored.
    case close(SocketID)
}

package enum SocketEvent: Equatable, Sendable {
    /// `remote` is the other end's address and port: /ip4/…/tcp/… or /ip6/…/tcp/…, with /ws where that carries the stream.
    case accepted(SocketID, remote: Multiaddr)
    case connected(SocketID, remote: Multiaddr)
    case connectFailed(SocketID, reason: String)
    case received(SocketID, Bytes)
    /// The system took this many of the bytes of earlier writes.
    case written(SocketID, Int)
    /// The connection is over: closed by the other side (either direction), or an error.
    case closed(SocketID, reason: String)

    package var socket: SocketID {
        switch self {
        case .accepted(let id, _), .connected(let id, _), .connectFailed(let id, _), .received(let id, _),
            .written(let id, _), .closed(let id, _): id
        }
    }
}
