// A line of an export as a stored pin, without a tree and a pin in between. It knows the one form that we write.

import Encoding
import Kernel
import Multiformats

/// It remembers the peers whose texts it has met.
package struct PinJSONReader: Sendable {
    private var peers = NameCache()
    package init() {}

    /// Appends what `Pin(json:).protobuf` is for the line. False, and nothing is appended, for a line of any other form: the
    /// general way knows what it is.
    package mutating func append(_ line: UnsafeRawBufferPointer, to pins: inout StoredPins) -> Bool {
        guard let parts = PinLine(line) else { return false }
        // A text that is unescaped never grows, but where bytes that are no UTF-8 become U+FFFD.
        guard !parts.isEscaped else {
            guard let name = parts.unescapedName else { return false }
            return name.withUnsafeBytes { append(parts, name: $0, to: &pins) }
        }
        return append(parts, name: parts.name, to: &pins)
    }

    private mutating func append(_ parts: PinLine, name: UnsafeRawBufferPointer, to pins: inout StoredPins) -> Bool {
        let options = RawCount.number(zigzag(parts.factorMin)) + RawCount.number(zigzag(parts.factorMax))
            + (name.isEmpty ? 0 : RawCount.field(name.count)) + RawCount.number(parts.shardSize) + RawCount.number(parts.expireAt)
        return pins.append(room: name.count + parts.cid.count + parts.reference.count + 3 * parts.peers.count + 400) { start in
            var writer = RawWriter(start)
            guard writer.cid(1, text: parts.cid) else { return nil }
            writer.number(2, parts.number)
            guard writePeers(parts.peers, &writer) else { return nil }
            writer.number(4, zigzag(parts.maxDepth))
            if !parts.reference.isEmpty { guard writer.cid(5, text: parts.reference) else { return nil } }
            writer.byte(6 << 3 | 2)
            writer.varint(UInt64(options))
            writer.number(1, zigzag(parts.factorMin))
            writer.number(2, zigzag(parts.factorMax))
            if !name.isEmpty { writer.field(3, name) }
            writer.number(4, parts.shardSize)
            writer.number(8, parts.expireAt)
            writer.number(7, parts.timestamp)
            return writer.count(since: start)
        }
    }

    private mutating func writePeers(_ list: UnsafeRawBufferPointer, _ writer: inout RawWriter) -> Bool {
        guard !list.isEmpty else { return true }
        var reader = LineReader(list)
        repeat {
            guard let text = reader.quoted(), writePeer(text, &writer) else { return false }
        } while reader.skip(",")
        return reader.isAtEnd
    }

    private mutating func writePeer(_ text: UnsafeRawBufferPointer, _ writer: inout RawWriter) -> Bool {
        writer.byte(3 << 3 | 2)
        let bytes = writer.at + 1
        var count = peers.copy(of: text, to: bytes)
        if count == nil {
            // Of all else the general way knows what it is (PID-03).
            guard text.count > 1, text[0] == UInt8(ascii: "1") || text[0] == UInt8(ascii: "Q") && text[1] == UInt8(ascii: "m"),
                text.count <= Base58.textMax, let found = Base58.decode(text, to: bytes), found >= 2, found < 0x80, bytes[0] < 0x80, Int(bytes[1]) == found - 2
            else { return false }
            peers.keep(text, UnsafeRawBufferPointer(start: bytes, count: found))
            count = found
        }
        writer.byte(UInt8(count ?? 0))
        writer.skip(count ?? 0)
        return true
    }
}

extension RawWriter {
    /// False for a text that the general way must look at.
    mutating func cid(_ field: UInt8, text: UnsafeRawBufferPointer) -> Bool {
        let bytes = at + 2
        let isOld = text.count == 46 && text[0] == UInt8(ascii: "Q") && text[1] == UInt8(ascii: "m")
        guard isOld || text.count > 1 && text.count < 200 && text[0] == UInt8(ascii: "b"),
            let count = isOld ? Base58.decode(text, to: bytes) : Base32.decode(UnsafeRawBufferPointer(rebasing: text[1...]), to: bytes),
            count < 0x80, CID.plainCodec(UnsafeRawBufferPointer(start: bytes, count: count)) != nil,
            !isOld || bytes[0] == 0x12
        else { return false }
        byte(field << 3 | 2)
        byte(UInt8(count))
        skip(count)
        return true
    }
}

/// The members of a line, where they are. Nil for a line that is not as we write it.
private struct PinLine {
    private(set) var factorMin = 0, factorMax = 0, maxDepth = 0
    /// Between the quotes.
    private(set) var name = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var isEscaped = false
    private(set) var shardSize: UInt64 = 0, expireAt: UInt64 = 0, timestamp: UInt64 = 0, number: UInt64 = 0
    private(set) var cid = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Empty for null.
    private(set) var reference = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Between the brackets.
    private(set) var peers = UnsafeRawBufferPointer(start: nil, count: 0)

    init?(_ line: UnsafeRawBufferPointer) {
        var reader = LineReader(line)
        guard readOptions(&reader), readRest(&reader), reader.skip("}") else { return nil }
        _ = reader.skip("\n")
        guard reader.isAtEnd else { return nil }
    }

    private mutating func readOptions(_ reader: inout LineReader) -> Bool {
        guard reader.skip("{\"replication_factor_min\":"), reader.integer(&factorMin),
            reader.skip(",\"replication_factor_max\":"), reader.integer(&factorMax),
            reader.skip(",\"name\":"), readName(&reader),
            reader.skip(",\"mode\":\"recursive\"") || reader.skip(",\"mode\":\"direct\""),
            reader.skip(",\"shard_size\":"), reader.natural(&shardSize),
            reader.skip(",\"user_allocations\":null,\"expire_at\":"), reader.time(&expireAt),
            reader.skip(",\"metadata\":null,\"pin_update\":null,\"origins\":")
        else { return false }
        return reader.skip("[]") || reader.skip("null")
    }

    private mutating func readRest(_ reader: inout LineReader) -> Bool {
        guard reader.skip(",\"cid\":"), let cid = reader.quoted(), readType(&reader), readPeers(&reader),
            reader.skip(",\"max_depth\":"), reader.integer(&maxDepth), reader.skip(",\"reference\":")
        else { return false }
        self.cid = cid
        if !reader.skip("null") {
            guard let reference = reader.quoted(), !reference.isEmpty else { return false }
            self.reference = reference
        }
        return reader.skip(",\"timestamp\":") && reader.time(&timestamp)
    }

    private mutating func readName(_ reader: inout LineReader) -> Bool {
        if let name = reader.quoted() { self.name = name; return true }
        guard let name = reader.quotedOddly() else { return false }
        (self.name, isEscaped) = (name, true)
        return true
    }

    private mutating func readType(_ reader: inout LineReader) -> Bool {
        guard reader.skip(",\"type\":\"") else { return false }
        if reader.skip("pin\"") { number = 1 } else if reader.skip("meta-pin\"") { number = 2 }
        else if reader.skip("clusterdag-pin\"") { number = 3 } else if reader.skip("shard-pin\"") { number = 4 }
        else { return reader.skip("bad-type\"") }
        return true
    }

    private mutating func readPeers(_ reader: inout LineReader) -> Bool {
        guard reader.skip(",\"allocations\":") else { return false }
        if reader.skip("null") || reader.skip("[]") { return true }
        guard reader.skip("["), let list = reader.upTo(UInt8(ascii: "]")), !list.isEmpty else { return false }
        peers = list
        return true
    }

    /// As the general reader reads it. Nil where it is no text.
    var unescapedName: Bytes? {
        let quote = UInt8(ascii: "\"")
        guard let text = try? JSONReader.parse([quote] + name + [quote]).text else { return nil }
        return Bytes(text.utf8)
    }
}

/// Walks over a line. Whatever fails leaves the place where it is, or the line to the general way.
private struct LineReader {
    private let line: UnsafeRawBufferPointer
    private var offset = 0
    init(_ line: UnsafeRawBufferPointer) { self.line = line }

    var isAtEnd: Bool { offset == line.count }

    @inline(__always) mutating func skip(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard line.count &- offset >= count else { return false }
        let here = UnsafeRawBufferPointer(rebasing: line[offset..<offset &+ count])
        guard same(here, UnsafeRawBufferPointer(start: text.utf8Start, count: count)) else { return false }
        offset = offset &+ count
        return true
    }

    /// What is before the byte; it is passed over too.
    mutating func upTo(_ byte: UInt8) -> UnsafeRawBufferPointer? {
        let start = offset
        while offset < line.count {
            offset = offset &+ 1
            if line[offset &- 1] == byte { return UnsafeRawBufferPointer(rebasing: line[start..<offset &- 1]) }
        }
        return nil
    }

    /// A text without escapes, of ASCII.
    mutating func quoted() -> UnsafeRawBufferPointer? {
        guard offset < line.count, line[offset] == UInt8(ascii: "\"") else { return nil }
        var end = offset &+ 1
        while end < line.count {
            let byte = line[end]
            if byte == UInt8(ascii: "\"") {
                defer { offset = end &+ 1 }
                return UnsafeRawBufferPointer(rebasing: line[offset &+ 1..<end])
            }
            guard byte >= 0x20, byte < 0x80, byte != UInt8(ascii: "\\") else { return nil }
            end = end &+ 1
        }
        return nil
    }

    /// Any text, as it stands between its quotes.
    mutating func quotedOddly() -> UnsafeRawBufferPointer? {
        guard offset < line.count, line[offset] == UInt8(ascii: "\"") else { return nil }
        let start = offset + 1
        offset = start
        while offset < line.count {
            switch line[offset] {
            case UInt8(ascii: "\\"): offset += 2
            case UInt8(ascii: "\""):
                offset += 1
                return UnsafeRawBufferPointer(rebasing: line[start..<offset - 1])
            default: offset += 1
            }
        }
        return nil
    }

    /// As JSON writes it, with no more digits than always fit.
    mutating func natural(_ value: inout UInt64) -> Bool {
        let start = offset
        value = 0
        while offset < line.count, case let digit = line[offset] &- 0x30, digit < 10 {
            guard offset &- start < 18 else { return false }
            value = value &* 10 &+ UInt64(digit)
            offset = offset &+ 1
        }
        return offset > start && (line[start] != 0x30 || offset == start + 1)
    }

    mutating func integer(_ value: inout Int) -> Bool {
        let isNegative = skip("-")
        var magnitude: UInt64 = 0
        guard natural(&magnitude) else { return false }
        value = isNegative ? -Int(magnitude) : Int(magnitude)
        return true
    }

    /// PIN-08: as it is stored.
    mutating func time(_ stored: inout UInt64) -> Bool {
        guard let text = quoted(), let seconds = PlainTime.read(text) else { return false }
        stored = WallTime(seconds: seconds).isUnset ? 0 : UInt64(bitPattern: seconds)
        return true
    }
}
