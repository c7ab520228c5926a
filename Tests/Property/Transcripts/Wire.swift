// Two machines and the streams between them: what one does to a stream happens to the other, at once and in order.

import Kernel
import Multiformats
import Seams

let keyA = identity(1)
let keyB = identity(2)

/// The identity whose secret is that byte 32 times.
func identity(_ byte: UInt8) -> IdentityKey {
    guard let key = try? IdentityKey(seed: Bytes(repeating: byte, count: 32)) else { unreachable("a key of \(byte)") }
    return key
}
func multiaddr(_ text: String) -> Multiaddr {
    guard let address = try? Multiaddr(text: text) else { unreachable(text) }
    return address
}

final class Wire {
    private struct End: Hashable { let side: Side, stream: StreamID }

    var transcript: Transcript
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    /// Hands an event to a machine, which tells what it does about it by `carryOut`.
    var feed: (Side, StreamEvent) -> Void = { _, _ in }
    private let meaning: (Bytes) -> [String]
    private var others: [End: End] = [:]
    private var names: [End: String] = [:]
    private var inbound: UInt64 = 0
    private var opened = 0
    private var queue: [(Side, StreamEvent)] = []

    init(_ transcript: Transcript, meaning: @escaping (Bytes) -> [String]) {
        self.transcript = transcript
        self.meaning = meaning
    }

    static func id(_ side: Side) -> PeerID { (side == .a ? keyA : keyB).peerID }

    func carryOut(_ side: Side, _ effect: StreamEffect) {
        switch effect {
        case .open(let stream, _, let protocols): open(side, stream, protocols)
        case .send(let stream, let bytes):
            guard let other = others[End(side: side, stream: stream)] else { return }
            transcript.message(side, "\(name(side, stream)): sends", bytes, meaning: meaning(bytes))
            queue.append((other.side, .received(other.stream, bytes)))
            queue.append((side, .drained(stream)))
        case .hold: break
        case .closeWrite(let stream):
            guard let other = others[End(side: side, stream: stream)] else { return }
            transcript.event(side, "\(name(side, stream)): ends its side")
            queue.append((other.side, .remoteClosed(other.stream)))
        case .reset(let stream):
            guard let other = others.removeValue(forKey: End(side: side, stream: stream)) else { return }
            others[other] = nil
            transcript.event(side, "\(name(side, stream)): resets it")
            queue.append((other.side, .reset(other.stream)))
        }
    }

    private func open(_ side: Side, _ stream: StreamID, _ protocols: [String]) {
        inbound += 1
        opened += 1
        let (here, there) = (End(side: side, stream: stream), End(side: side.other, stream: StreamID(owner: 0, number: inbound)))
        (others[here], others[there]) = (there, here)
        (names[here], names[there]) = ("stream \(opened)", "stream \(opened)")
        transcript.event(side, "stream \(opened): opens it for \(protocols.joined(separator: ", or "))")
        queue.append((side.other, .incoming(there.stream, from: Wire.id(side), protocol: protocols[0])))
        queue.append((side, .opened(stream, protocol: protocols[0])))
    }
    private func name(_ side: Side, _ stream: StreamID) -> String { names[End(side: side, stream: stream)] ?? "a stream" }

    /// What a side says that is no machine, on a stream of its own; the next begin another.
    func say(_ side: Side, _ protocols: [String], _ messages: [Bytes]) {
        let stream = StreamID(owner: 9, number: UInt64(opened))
        carryOut(side, .open(stream, to: Wire.id(side.other), protocols: protocols))
        for message in messages { carryOut(side, .send(stream, message)) }
        settle()
    }

    func settle() {
        while !queue.isEmpty {
            let (side, event) = queue.removeFirst()
            feed(side, event)
        }
    }
    func pass(_ span: Span) { now = Now(monotonic: now.monotonic + span, wall: now.wall + span) }
}
