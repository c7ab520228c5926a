// A stored pin as JSON without a pin and a tree in between: what listings and exports are made of.

import Encoding
import Kernel
import Multiformats

/// Appends exactly the bytes of `Pin.json`. It remembers the texts of the peers that it has met.
package struct PinJSONWriter: Sendable {
    private var peers = NameCache()
    package init() {}

    /// Nothing is appended for what is no pin (PIN-12).
    package mutating func append(_ value: UnsafeRawBufferPointer, to out: inout Bytes) -> Bool {
        if let parts = PinParts(value), append(parts, to: &out) { return true }
        guard let pin = Pin(stored: value) else { return false }
        pin.json.write(to: &out)
        return true
    }

    /// One line for each pin, in pieces of about so many bytes: a large buffer would be new memory from the system each time.
    package mutating func lines(_ pins: StoredPins, pieceBytes: Int) -> [Bytes] {
        var pieces: [Bytes] = []
        var piece: Bytes = []
        pins.forEach { value in
            if piece.isEmpty { piece.reserveCapacity(min(5 * pins.bytesCount, pieceBytes) + 2048) }
            guard append(value, to: &piece) else { return }
            piece.append(UInt8(ascii: "\n"))
            guard piece.count >= pieceBytes else { return }
            pieces.append(piece)
            piece = []
        }
        if !piece.isEmpty { pieces.append(piece) }
        return pieces
    }

    private mutating func append(_ parts: PinParts, to out: inout Bytes) -> Bool {
        guard PinJSONWriter.isPlain(parts.name) else {
            var quoted: Bytes = []
            JSON.writeString(String(decoding: parts.name, as: UTF8.self), to: &quoted)
            return quoted.withUnsafeBytes { append(parts, name: $0, to: &out) }
        }
        return append(parts, name: nil, to: &out)
    }

    /// `name` as it is to be written, or that of the parts between quotes.
    private mutating func append(_ parts: PinParts, name: UnsafeRawBufferPointer?, to out: inout Bytes) -> Bool {
        let texts = 2 * (parts.cid.count + parts.reference.count + parts.update.count) + 4 * parts.peers.count
        var isWritten = false
        out.append(room: 700 + (name ?? parts.name).count + texts) { start in
            var writer = RawWriter(start)
            isWritten = writeOptions(parts, name, &writer)
            if isWritten { isWritten = writeRest(parts, &writer) }
            return isWritten ? writer.count(since: start) : 0
        }
        return isWritten
    }

    private func writeOptions(_ parts: PinParts, _ name: UnsafeRawBufferPointer?, _ writer: inout RawWriter) -> Bool {
        writer.text("{\"replication_factor_min\":")
        writer.decimal(Int64(parts.factorMin))
        writer.text(",\"replication_factor_max\":")
        writer.decimal(Int64(parts.factorMax))
        writer.text(",\"name\":")
        if let name { writer.bytes(name) } else { writer.quoted(parts.name) }
        writer.text(parts.maxDepth == 0 ? ",\"mode\":\"direct\",\"shard_size\":" : ",\"mode\":\"recursive\",\"shard_size\":")
        writer.decimal(parts.shardSize)
        writer.text(",\"user_allocations\":null,\"expire_at\":")
        guard writer.time(parts.expireAt) else { return false }
        writer.text(",\"metadata\":null,\"pin_update\":")
        writer.cid(parts.update)
        writer.text(",\"origins\":[],\"cid\":")
        writer.cid(parts.cid)
        return true
    }

    private mutating func writeRest(_ parts: PinParts, _ writer: inout RawWriter) -> Bool {
        switch parts.type {
        case .bad: writer.text(",\"type\":\"bad-type\",\"allocations\":[")
        case .data: writer.text(",\"type\":\"pin\",\"allocations\":[")
        case .meta: writer.text(",\"type\":\"meta-pin\",\"allocations\":[")
        case .clusterDAG: writer.text(",\"type\":\"clusterdag-pin\",\"allocations\":[")
        case .shard: writer.text(",\"type\":\"shard-pin\",\"allocations\":[")
        }
        var reader = RawReader(parts.peers)
        while reader.skip(0x1a), let peer = reader.piece() {
            if reader.offset > peer.count + 2 { writer.byte(UInt8(ascii: ",")) }
            writePeer(peer, &writer)
        }
        writer.text("],\"max_depth\":")
        writer.decimal(Int64(parts.maxDepth))
        writer.text(",\"reference\":")
        writer.cid(parts.reference)
        writer.text(",\"timestamp\":")
        guard writer.time(parts.timestamp) else { return false }
        writer.byte(UInt8(ascii: "}"))
        return true
    }

    private mutating func writePeer(_ peer: UnsafeRawBufferPointer, _ writer: inout RawWriter) {
        writer.byte(UInt8(ascii: "\""))
        if let count = peers.copy(of: peer, to: writer.at) { writer.skip(count) } else {
            let text = writer.at
            writer.skip(Base58.encode(peer, to: text))
            peers.keep(peer, UnsafeRawBufferPointer(start: text, count: writer.at - text))
        }
        writer.byte(UInt8(ascii: "\""))
    }

    /// Whether a text goes between quotes as it is (REST-040).
    static func isPlain(_ text: UnsafeRawBufferPointer) -> Bool {
        for byte in text {
            switch byte {
            case 0x22, 0x26, 0x3c, 0x3e, 0x5c, 0..<0x20, 0x80...: return false
            default: continue
            }
        }
        return true
    }
}

extension RawWriter {
    mutating func quoted(_ value: UnsafeRawBufferPointer) {
        byte(UInt8(ascii: "\""))
        bytes(value)
        byte(UInt8(ascii: "\""))
    }

    mutating func decimal(_ value: Int64) {
        if value < 0 { byte(UInt8(ascii: "-")) }
        decimal(value.magnitude)
    }

    mutating func decimal(_ value: UInt64) {
        guard value > 9 else { return byte(0x30 + UInt8(value)) }
        var (rest, scale): (UInt64, UInt64) = (value, 1)
        while rest / scale > 9 { scale *= 10 }
        while scale > 0 {
            byte(0x30 + UInt8(rest / scale))
            (rest, scale) = (rest % scale, scale / 10)
        }
    }

    /// An empty one is none.
    mutating func cid(_ cid: UnsafeRawBufferPointer) {
        guard let first = cid.first else { return text("null") }
        byte(UInt8(ascii: "\""))
        if first == 0x12 { skip(Base58.encode(cid, to: at)) } else {
            byte(UInt8(ascii: "b"))
            skip(Base32.lower.encode(cid, to: at))
        }
        byte(UInt8(ascii: "\""))
    }

    /// PIN-08. False where the year has not four digits.
    mutating func time(_ stored: UInt64) -> Bool {
        byte(UInt8(ascii: "\""))
        if stored == 0 { text("0001-01-01T00:00:00Z") } else {
            guard let count = PlainTime.write(Int64(bitPattern: stored), to: at) else { return false }
            skip(count)
        }
        byte(UInt8(ascii: "\""))
        return true
    }
}
