// Two connections back to back, through pipes that cut bytes where the choices say.

import HTTP
import Kernel
import Multiformats
import Transport

/// Identities A and B of spec/wire-transport.md.
let keyA = identity(1)
let keyB = identity(2)

func identity(_ byte: UInt8) -> IdentityKey {
    guard let key = try? IdentityKey(seed: Bytes(repeating: byte, count: 32)) else { fatalError("no key of \(byte)") }
    return key
}

func at(_ milliseconds: Int64) -> Now {
    Now(monotonic: .origin + .milliseconds(milliseconds), wall: WallTime(seconds: 1_700_000_000) + .milliseconds(milliseconds))
}

/// One end: the machine, what it reported, and what it wrote.
struct End {
    var machine: Connection
    var seen: [Connection.Effect] = []
    /// Written and not yet with the other side.
    var wire: Bytes = []
    var wireBytes = 0

    mutating func take(_ effects: [Connection.Effect]) {
        for effect in effects {
            if case .write(let bytes) = effect {
                wire += bytes
                wireBytes += bytes.count
            } else {
                seen.append(effect)
            }
        }
    }

    mutating func run(_ body: (inout Connection, inout [Connection.Effect]) -> Void) {
        var effects: [Connection.Effect] = []
        body(&machine, &effects)
        take(effects)
    }

    /// All that was received on a stream, in order.
    func received(_ id: SubstreamID) -> Bytes {
        seen.flatMap { effect -> Bytes in if case .received(id, let bytes) = effect { bytes } else { [] } }
    }
    var closing: String? {
        for case .close(let reason) in seen { return reason }
        return nil
    }
    func has(_ effect: Connection.Effect) -> Bool { seen.contains(effect) }
}

struct Pair {
    var a: End
    var b: End
    var choices: Choices
    var now = at(0)
    /// The most that goes over the wire in one piece.
    var pieceBytes: Int
    var corrupt: ((Bool, Int, Bytes) -> Bytes)?

    static let protocols = ["/echo/1", "/sink/2"]

    init(
        seed: UInt64 = 1, pieceBytes: Int = 100_000, secrets: (Bytes?, Bytes?) = (nil, nil), expecting: PeerID = keyB.peerID,
        securities: ([Security], [Security]) = ([.noise], [.noise]), settings: ConnectionSettings = ConnectionSettings(), overWebSocket: Bool = false
    ) {
        var choices = Choices(seed: seed)
        let client = overWebSocket ? WebSocket(.client(host: "10.0.0.2:9096"), entropy: choices.bytes(48)) : nil
        let server = overWebSocket ? WebSocket(.server, entropy: choices.bytes(48)) : nil
        a = End(machine: Connection(
            role: .dialler(expecting: expecting), webSocket: client, key: keyA, networkKey: secrets.0, entropy: choices.bytes(88),
            protocols: Self.protocols, securities: securities.0, settings: settings, now: at(0)))
        b = End(machine: Connection(
            role: .listener, webSocket: server, key: keyB, networkKey: secrets.1, entropy: choices.bytes(88), protocols: Self.protocols,
            securities: securities.1, settings: settings, now: at(0)))
        self.choices = choices
        self.pieceBytes = pieceBytes
        a.run { $0.start(now: at(0), effects: &$1) }
        b.run { $0.start(now: at(0), effects: &$1) }
    }

    /// Moves one piece one way. False if there was nothing to move.
    mutating func step() -> Bool {
        if a.wire.isEmpty && b.wire.isEmpty {
            close()
            return false
        }
        let fromA = b.wire.isEmpty || (!a.wire.isEmpty && choices.chance(1, in: 2))
        let waiting = fromA ? a : b
        let count = min(waiting.wire.count, 1 + choices.below(pieceBytes))
        var piece = Bytes(waiting.wire[..<count])
        if let corrupt { piece = corrupt(fromA, waiting.wireBytes - waiting.wire.count, piece) }
        if fromA { Pair.move(&a, &b, count, piece, now) } else { Pair.move(&b, &a, count, piece, now) }
        return true
    }

    private static func move(_ from: inout End, _ to: inout End, _ count: Int, _ piece: Bytes, _ now: Now) {
        from.wire.removeFirst(count)
        from.run { $0.onWritten(count, now: now, effects: &$1) }
        to.run { $0.onBytes(piece, now: now, effects: &$1) }
    }

    /// A closed end takes the other with it, once all has arrived.
    private mutating func close() {
        let now = now
        if a.machine.isClosed { b.run { $0.onClosed(reason: "EOF", now: now, effects: &$1) } }
        if b.machine.isClosed { a.run { $0.onClosed(reason: "EOF", now: now, effects: &$1) } }
    }

    mutating func settle() { while step() {} }
}
