// Pins as the state stores them. spec/crdt.md PIN-01..14.

import Encoding
import Kernel
import Multiformats

package enum PinCodingError: Error, Equatable, Sendable {
    case malformed(ProtobufError)
    case badAllocation
    case badOrigin
}

extension CID {
    /// PIN-01: "/" and the base32 of the whole binary CID.
    package var stateKey: String { bytes.withUnsafeBytes { Base32.upper.text($0, after: UInt8(ascii: "/")) } }

    /// Whether a key is that of a CID, without making it.
    package static func isStateKey(_ key: String, of cid: UnsafeRawBufferPointer) -> Bool {
        let count = Base32.textCount(cid.count)
        guard key.utf8.count == count + 1, key.utf8.first == UInt8(ascii: "/") else { return false }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { room in
            guard let base = room.baseAddress, Base32.upper.encode(cid, to: base) == count else { return false }
            let isSame = key.utf8.withContiguousStorageIfAvailable {
                same(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer($0)[1...]), UnsafeRawBufferPointer(room))
            }
            return isSame ?? key.utf8.dropFirst().elementsEqual(room)
        }
    }

    /// Nil where the key names no CID: such entries are skipped (PIN-12).
    package init?(stateKey key: some StringProtocol) {
        var key = String(key)
        let bytes = key.withUTF8 { text in
            text.first == UInt8(ascii: "/") ? Base32.decode(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[1...])) : nil
        }
        guard let bytes, let cid = try? CID(bytes) else { return nil }
        self = cid
    }
}

extension PinType {
    /// The number on disk (PIN-04).
    fileprivate var number: UInt64 { UInt64(rawValue.trailingZeroBitCount) }
    fileprivate init(number: UInt64) { self = number < 5 ? PinType(rawValue: 1 << number) ?? .bad : .bad }
}

extension Pin {
    package var protobuf: Bytes {
        var out: Bytes = []
        appendProtobuf(to: &out)
        return out
    }

    package func appendProtobuf(to out: inout Bytes) {
        let optionsCount = options.protobufCount
        out.append(room: protobufCount(optionsCount)) { start in
            var writer = RawWriter(start)
            if !cid.bytes.isEmpty { writer.field(1, cid.bytes) }
            writer.number(2, type.number)
            if let allocations { for peer in allocations { writer.field(3, peer.bytes) } }
            writer.number(4, zigzag(maxDepth))
            if let reference { writer.field(5, reference.bytes) }
            writer.byte(6 << 3 | 2)  // PIN-06: also when empty
            writer.varint(UInt64(optionsCount))
            options.write(to: &writer)
            writer.number(7, timestamp.storedSeconds)
            return writer.count(since: start)
        }
    }

    /// The options alone.
    var optionsProtobuf: Bytes {
        var out: Bytes = []
        out.append(room: options.protobufCount) { start in
            var writer = RawWriter(start)
            options.write(to: &writer)
            return writer.count(since: start)
        }
        return out
    }
    var storedTimestamp: UInt64 { timestamp.storedSeconds }

    private func protobufCount(_ optionsCount: Int) -> Int {
        var count = RawCount.field(cid.bytes.count) + RawCount.number(type.number) + RawCount.number(zigzag(maxDepth))
        if let allocations { for peer in allocations { count += RawCount.field(peer.bytes.count) } }
        if let reference { count += RawCount.field(reference.bytes.count) }
        return count + RawCount.field(optionsCount) + RawCount.number(timestamp.storedSeconds)
    }

    /// The CID is that of the key (PIN-12). Unknown fields are ignored; a bad reference or update counts as none (PIN-11).
    package init(protobuf bytes: some Collection<UInt8>, cid: CID) throws(PinCodingError) {
        self.init(cid: cid)
        type = .bad
        maxDepth = 0
        var peers: [PeerID] = []
        do {
            var reader = ProtobufReader(Bytes(bytes))
            while let field = try reader.next() {
                switch field.number {
                case 2: type = PinType(number: try field.uint64())
                case 3:
                    guard let peer = try? PeerID(try field.bytes()) else { throw PinCodingError.badAllocation }
                    peers.append(peer)
                case 4: maxDepth = Int(try field.sint32())
                case 5: reference = try? CID(try field.bytes())
                case 6: try options.read(try field.message())
                case 7: timestamp = WallTime(storedSeconds: try field.uint64())
                default: break
                }
            }
        } catch let error as PinCodingError { throw error } catch let error as ProtobufError {
            throw .malformed(error)
        } catch { unreachable("\(error)") }
        allocations = peers
        options.origins = options.origins ?? []
        options.mode = maxDepth == 0 ? .direct : .recursive  // PIN-10
    }
}

extension PinOptions {
    fileprivate var protobufCount: Int {
        var count = RawCount.number(zigzag(replicationFactorMin)) + RawCount.number(zigzag(replicationFactorMax))
        count += PinOptions.count(name) + RawCount.number(shardSize) + RawCount.number(expireAt.storedSeconds)
        if let pinUpdate { count += RawCount.field(pinUpdate.bytes.count) }
        if let origins { for origin in origins { count += RawCount.field(origin.bytes.count) } }
        if let metadata { for pair in metadata.pairs { count += RawCount.field(pair.protobufCount) } }
        return count
    }

    /// Empty texts are left out.
    fileprivate static func count(_ text: String) -> Int { text.isEmpty ? 0 : RawCount.field(text.utf8.count) }

    fileprivate func write(to writer: inout RawWriter) {
        writer.number(1, zigzag(replicationFactorMin))
        writer.number(2, zigzag(replicationFactorMax))
        if !name.isEmpty { writer.field(3, name) }
        writer.number(4, shardSize)
        if let pinUpdate { writer.field(7, pinUpdate.bytes) }
        writer.number(8, expireAt.storedSeconds)
        if let origins { for origin in origins { writer.field(9, origin.bytes) } }
        if let metadata { for pair in metadata.pairs { pair.write(to: &writer) } }
    }

    fileprivate mutating func read(_ reader: ProtobufReader) throws {
        var reader = reader
        var legacy = Metadata(), sorted = Metadata()
        var addresses: [Multiaddr] = []
        while let field = try reader.next() {
            switch field.number {
            case 1: replicationFactorMin = Int(try field.sint32())
            case 2: replicationFactorMax = Int(try field.sint32())
            case 3: name = try field.string()
            case 4: shardSize = try field.uint64()
            case 6: try legacy.read(try field.message())
            case 7: pinUpdate = try? CID(try field.bytes())
            case 8: expireAt = WallTime(storedSeconds: try field.uint64())
            case 9:
                guard let address = try? Multiaddr(try field.bytes()) else { throw PinCodingError.badOrigin }
                addresses.append(address)
            case 10: try sorted.read(try field.message())
            default: break
            }
        }
        origins = addresses
        for pair in sorted.pairs { legacy[pair.key] = pair.value }  // PIN-09: the sorted form wins
        metadata = legacy.isEmpty ? nil : legacy
    }
}

extension Metadata.Pair {
    fileprivate var protobufCount: Int { PinOptions.count(key) + PinOptions.count(value) }
    fileprivate func write(to writer: inout RawWriter) {
        writer.byte(10 << 3 | 2)
        writer.varint(UInt64(protobufCount))
        if !key.isEmpty { writer.field(1, key) }
        if !value.isEmpty { writer.field(2, value) }
    }
}

extension Metadata {
    fileprivate mutating func read(_ reader: ProtobufReader) throws {
        var reader = reader
        var key = "", value = ""
        while let field = try reader.next() {
            switch field.number {
            case 1: key = try field.string()
            case 2: value = try field.string()
            default: break
            }
        }
        self[key] = value
    }
}

extension WallTime {
    /// PIN-08: whole Unix seconds; unset and the epoch are 0.
    fileprivate var storedSeconds: UInt64 { isUnset ? 0 : UInt64(bitPattern: seconds) }
    fileprivate init(storedSeconds: UInt64) {
        self = storedSeconds == 0 ? .unset : WallTime(seconds: Int64(bitPattern: storedSeconds))
    }
}
