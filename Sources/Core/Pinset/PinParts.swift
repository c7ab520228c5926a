// A stored pin taken apart where it lies, if it has the form that nearly all have.

import Kernel
import Multiformats

/// Field for field what `Pin(protobuf:)` reads. Anything that needs a second look makes none: damage, fields that are not
/// ours, origins, metadata.
package struct PinParts {
    package private(set) var cid = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var number: UInt64 = 0
    private(set) var maxDepth: Int32 = 0
    /// The allocations, each with its tag and its length.
    private(set) var peers = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var reference = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var timestamp: UInt64 = 0
    package private(set) var factorMin: Int32 = 0
    private(set) var factorMax: Int32 = 0
    private(set) var name = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var shardSize: UInt64 = 0
    private(set) var update = UnsafeRawBufferPointer(start: nil, count: 0)
    package private(set) var expireAt: UInt64 = 0
    private var hasOptions = false

    package init?(_ value: UnsafeRawBufferPointer) {
        var reader = RawReader(value)
        guard reader.next() == 0x0a, let piece = reader.piece(), CID.plainCodec(piece) != nil else { return nil }
        cid = piece
        while let tag = reader.next() {
            switch tag {
            case 0x10: guard reader.varint(&number) else { return nil }
            case 0x1a: guard readPeers(&reader) else { return nil }
            case 0x20: guard reader.sint32(&maxDepth) else { return nil }
            case 0x2a: guard let piece = reader.cid() else { return nil }; reference = piece
            case 0x32: guard !hasOptions, let piece = reader.piece(), readOptions(piece) else { return nil }
            case 0x38: guard reader.varint(&timestamp) else { return nil }
            default: return nil
            }
        }
    }

    /// The first tag has been read.
    private mutating func readPeers(_ reader: inout RawReader) -> Bool {
        guard peers.isEmpty else { return false }
        let start = reader.offset - 1
        repeat {
            guard let peer = reader.piece(), peer.count >= 2, peer[0] < 0x80, peer[1] < 0x80, Int(peer[1]) == peer.count - 2 else {
                return false
            }
        } while reader.skip(0x1a)
        peers = reader.slice(from: start)
        return true
    }

    private mutating func readOptions(_ options: UnsafeRawBufferPointer) -> Bool {
        hasOptions = true
        var reader = RawReader(options)
        while let tag = reader.next() {
            switch tag {
            case 0x08: guard reader.sint32(&factorMin) else { return false }
            case 0x10: guard reader.sint32(&factorMax) else { return false }
            case 0x1a: guard let piece = reader.piece() else { return false }; name = piece
            case 0x20: guard reader.varint(&shardSize) else { return false }
            case 0x3a: guard let piece = reader.cid() else { return false }; update = piece
            case 0x40: guard reader.varint(&expireAt) else { return false }
            default: return false
            }
        }
        return true
    }

    /// PIN-04.
    package var type: PinType { number < 5 ? PinType(rawValue: 1 << number) ?? .bad : .bad }
}

/// Walks over bytes that stay where they are.
struct RawReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    func slice(from start: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[start..<offset]) }

    @inline(__always) mutating func next() -> UInt8? {
        guard offset < bytes.count else { return nil }
        offset = offset &+ 1
        return bytes[offset &- 1]
    }
    @inline(__always) mutating func skip(_ byte: UInt8) -> Bool {
        guard offset < bytes.count, bytes[offset] == byte else { return false }
        offset = offset &+ 1
        return true
    }

    /// As protobuf allows them: at most 64 bits, and padded if need be. Anything longer is for the general reader.
    @inline(__always) mutating func varint(_ value: inout UInt64) -> Bool {
        var (sum, shift): (UInt64, UInt64) = (0, 0)
        while let byte = next(), shift < 63 {
            sum |= UInt64(byte & 0x7f) << shift
            shift = shift &+ 7
            guard byte < 0x80 else { continue }
            value = sum
            return true
        }
        return false
    }
    @inline(__always) mutating func sint32(_ value: inout Int32) -> Bool {
        var raw: UInt64 = 0
        guard varint(&raw) else { return false }
        let low = UInt32(truncatingIfNeeded: raw)
        value = Int32(bitPattern: low >> 1) ^ -Int32(bitPattern: low & 1)
        return true
    }
    mutating func piece() -> UnsafeRawBufferPointer? {
        var count: UInt64 = 0
        guard varint(&count), count <= UInt64(bytes.count &- offset) else { return nil }
        offset = offset &+ Int(count)
        return slice(from: offset &- Int(count))
    }
    mutating func cid() -> UnsafeRawBufferPointer? {
        guard let piece = piece(), CID.plainCodec(piece) != nil else { return nil }
        return piece
    }
}
