// How values travel over RPC and the metrics topic: maps with short keys, in declaration order, zero values left out.
// spec/wire-rpc.md part 2 and 3 (MP-01..37, TYP-01..18).

import Encoding
import Kernel
import Multiformats

package protocol MessagePackCodable: Sendable {
    func write(to writer: inout MessagePackWriter)
    init(reading reader: inout MessagePackReader) throws
}

extension MessagePackCodable {
    package var messagePack: Bytes {
        var writer = MessagePackWriter()
        write(to: &writer)
        return writer.bytes
    }
    package init(messagePack bytes: some Collection<UInt8>) throws {
        var reader = MessagePackReader(Bytes(bytes))
        try self.init(reading: &reader)
    }
}

/// Collects the members of a map that are not zero, then writes their count and them (MP-11, MP-14).
struct MapWriter {
    private var count = 0
    private var body = MessagePackWriter()

    mutating func member(_ key: String, _ write: (inout MessagePackWriter) -> Void) {
        count += 1
        body.string(key)
        write(&body)
    }
    mutating func int(_ key: String, _ value: some BinaryInteger) { if value != 0 { member(key) { $0.int(Int64(value)) } } }
    mutating func uint(_ key: String, _ value: UInt64) { if value != 0 { member(key) { $0.uint(value) } } }
    mutating func bool(_ key: String, _ value: Bool) { if value { member(key) { $0.bool(true) } } }
    mutating func string(_ key: String, _ value: String) { if !value.isEmpty { member(key) { $0.string(value) } } }
    mutating func raw(_ key: String, _ value: Bytes?) { if let value { member(key) { $0.raw(value) } } }
    mutating func time(_ key: String, _ value: WallTime) { if !value.isUnset { member(key) { $0.time(value) } } }
    /// Nil is left out, empty is written.
    mutating func list<T>(_ key: String, _ values: [T]?, _ bytes: (T) -> Bytes) {
        guard let values else { return }
        member(key) { writer in
            writer.array(values.count)
            for value in values { writer.raw(bytes(value)) }
        }
    }
    mutating func strings(_ key: String, _ pairs: Metadata?) {
        guard let pairs else { return }
        member(key) { writer in
            writer.map(pairs.pairs.count)
            for pair in pairs.pairs { writer.string(pair.key); writer.string(pair.value) }
        }
    }
    mutating func map<V>(_ key: String, _ map: SortedMap<PeerID, V>, _ write: (V, inout MessagePackWriter) -> Void) {
        guard !map.isEmpty else { return }
        member(key) { writer in
            writer.map(map.count)
            for (peer, value) in map { writer.string(peer.description); write(value, &writer) }
        }
    }
    func write(to writer: inout MessagePackWriter) {
        writer.map(count)
        writer.embed(body.bytes)
    }
}

extension MessagePackReader {
    /// Hands each member of a map to `read`, which returns false for keys that it does not know.
    package mutating func members(_ read: (String, inout MessagePackReader) throws -> Bool) throws {
        for _ in 0..<(try map()) {
            let key = try string()
            let known = try read(key, &self)
            if !known { try skip() }
        }
    }
    /// Nil for nil; an empty string is an error (MP-34).
    mutating func optional<T>(_ make: (ArraySlice<UInt8>) throws -> T) throws -> T? {
        try null() ? nil : try make(try raw())
    }
    mutating func list<T>(_ make: (ArraySlice<UInt8>) throws -> T) throws -> [T]? {
        if try null() { return nil }
        let count = try array()
        var out: [T] = []
        out.reserveCapacity(min(count, 1024))
        for _ in 0..<count { out.append(try make(try raw())) }
        return out
    }
    mutating func strings() throws -> Metadata? {
        if try null() { return nil }
        var out = Metadata()
        for _ in 0..<(try map()) { out[try string()] = try string() }
        return out
    }
    mutating func peerMap<V>(_ read: (inout MessagePackReader) throws -> V) throws -> SortedMap<PeerID, V> {
        var out = SortedMap<PeerID, V>()
        for _ in 0..<(try map()) {
            let peer = try PeerID(text: try string())
            out[peer] = try read(&self)
        }
        return out
    }
}

// MARK: Plain values

extension CID: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.raw(bytes) }
    package init(reading reader: inout MessagePackReader) throws { try self.init(try reader.raw()) }
}
extension PeerID: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.raw(bytes) }
    package init(reading reader: inout MessagePackReader) throws { try self.init(try reader.raw()) }
}
extension Multiaddr: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.raw(bytes) }
    package init(reading reader: inout MessagePackReader) throws { try self.init(try reader.raw()) }
}
extension String: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.string(self) }
    package init(reading reader: inout MessagePackReader) throws { self = try reader.string() }
}
extension Int64: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.int(self) }
    package init(reading reader: inout MessagePackReader) throws { self = try reader.int() }
}
extension Array: MessagePackCodable where Element: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        writer.array(count)
        for element in self { element.write(to: &writer) }
    }
    package init(reading reader: inout MessagePackReader) throws {
        self = []
        for _ in 0..<(try reader.array()) { append(try Element(reading: &reader)) }
    }
}
extension TrackerStatus: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) { writer.int(rawValue) }
    package init(reading reader: inout MessagePackReader) throws { self.init(rawValue: try reader.int()) }
}
/// `struct{}` (MP-12).
/// Whatever it holds: a struct without fields is read of any map, array or nil (MP-33).
package struct Nothing: MessagePackCodable, Equatable {
    package init() {}
    package func write(to writer: inout MessagePackWriter) { writer.map(0) }
    package init(reading reader: inout MessagePackReader) throws {
        switch try reader.peek() {
        case 0x80...0x9f, 0xc0, 0xdc...0xdf: try reader.skip()
        default: throw MessagePackError.wrongType(offset: reader.offset, wanted: "map")
        }
    }
}

// MARK: Pins

extension PinOptions {
    func write(to map: inout MapWriter) {
        map.int("rn", replicationFactorMin)
        map.int("rx", replicationFactorMax)
        map.string("n", name)
        map.int("o", mode.rawValue)
        map.uint("s", shardSize)
        map.list("ua", userAllocations) { $0.bytes }
        map.time("e", expireAt)
        map.strings("m", metadata)
        map.raw("pu", pinUpdate?.bytes)
        map.list("g", origins) { $0.bytes }
    }
    mutating func read(_ key: String, _ reader: inout MessagePackReader) throws -> Bool {
        switch key {
        case "rn": replicationFactorMin = Int(try reader.int())
        case "rx": replicationFactorMax = Int(try reader.int())
        case "n": name = try reader.string()
        case "o": mode = PinMode(rawValue: try reader.int()) ?? .recursive
        case "s": shardSize = try reader.uint()
        case "ua": userAllocations = try reader.list { try PeerID($0) }
        case "e": expireAt = try reader.time()
        case "m": metadata = try reader.strings()
        case "pu": pinUpdate = try reader.optional { try CID($0) }
        case "g": origins = try reader.list { try Multiaddr($0) }
        default: return false
        }
        return true
    }
}

package enum TypeError: Error, Equatable, Sendable {
    case missing(String)
}

extension Pin: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        options.write(to: &map)
        map.raw("c", cid.bytes)
        map.uint("t", type.rawValue)
        map.list("a", allocations) { $0.bytes }
        map.int("d", maxDepth)
        map.raw("r", reference?.bytes)
        map.time("i", timestamp)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var options = PinOptions()
        var cid: CID?
        var type: UInt64 = 0
        var allocations: [PeerID]?
        var depth = 0
        var reference: CID?
        var timestamp = WallTime.unset
        try reader.members { key, reader in
            if try options.read(key, &reader) { return true }
            switch key {
            case "c": cid = try reader.optional { try CID($0) }
            case "t": type = try reader.uint()
            case "a": allocations = try reader.list { try PeerID($0) }
            case "d": depth = Int(try reader.int())
            case "r": reference = try reader.optional { try CID($0) }
            case "i": timestamp = try reader.time()
            default: return false
            }
            return true
        }
        guard let cid else { throw TypeError.missing("a pin's CID") }
        self.init(cid: cid, options: options)
        self.type = PinType(rawValue: type) ?? .bad
        self.allocations = allocations
        maxDepth = depth
        self.reference = reference
        self.timestamp = timestamp
    }
}

extension PinPath: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        options.write(to: &map)
        map.member("path") { $0.string(path) }
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init(path: "")
        try reader.members { key, reader in
            if try options.read(key, &reader) { return true }
            guard key == "path" else { return false }
            path = try reader.string()
            return true
        }
    }
}

// MARK: Statuses

extension PinInfoShort: MessagePackCodable {
    func write(to map: inout MapWriter) {
        map.string("pn", peerName)
        map.raw("i", ipfsPeer?.bytes)
        map.list("ia", ipfsAddresses.isEmpty ? nil : ipfsAddresses) { $0.bytes }
        map.int("st", status.rawValue)
        map.time("ts", timestamp)
        map.string("e", error)
        map.int("a", attemptCount)
        map.bool("y", isPriority)
    }
    mutating func read(_ key: String, _ reader: inout MessagePackReader) throws -> Bool {
        switch key {
        case "pn": peerName = try reader.string()
        case "i": ipfsPeer = try reader.optional { try PeerID($0) }
        case "ia": ipfsAddresses = try reader.list { try Multiaddr($0) } ?? []
        case "st": status = TrackerStatus(rawValue: try reader.int())
        case "ts": timestamp = try reader.time()
        case "e": error = try reader.string()
        case "a": attemptCount = try reader.int()
        case "y": isPriority = try reader.bool()
        default: return false
        }
        return true
    }
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        write(to: &map)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init()
        try reader.members { try read($0, &$1) }
    }
}

extension PinInfo: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("c", cid.bytes)
        map.string("m", name)
        map.raw("p", peer.bytes)
        map.list("o", allocations) { $0.bytes }
        map.list("g", origins) { $0.bytes }
        map.time("t", created)
        map.strings("md", metadata)
        short.write(to: &map)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var cid: CID?
        var peer: PeerID?
        var name = ""
        var allocations: [PeerID]?
        var origins: [Multiaddr]?
        var created = WallTime.unset
        var metadata: Metadata?
        var short = PinInfoShort()
        try reader.members { key, reader in
            switch key {
            case "c": cid = try reader.optional { try CID($0) }
            case "m": name = try reader.string()
            case "p": peer = try reader.optional { try PeerID($0) }
            case "o": allocations = try reader.list { try PeerID($0) }
            case "g": origins = try reader.list { try Multiaddr($0) }
            case "t": created = try reader.time()
            case "md": metadata = try reader.strings()
            default: return try short.read(key, &reader)
            }
            return true
        }
        guard let cid, let peer else { throw TypeError.missing("a pin info's CID and peer") }
        self.init(cid: cid, peer: peer)
        self.name = name
        self.allocations = allocations
        self.origins = origins
        self.created = created
        self.metadata = metadata
        self.short = short
    }
}

extension GlobalPinInfo: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.raw("c", cid.bytes)
        map.member("n") { $0.string(name) }
        map.list("a", allocations) { $0.bytes }
        map.list("g", origins) { $0.bytes }
        map.time("t", created)
        map.strings("m", metadata)
        map.map("pm", peers) { $0.write(to: &$1) }
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        var cid: CID?
        var name = ""
        var allocations: [PeerID]?
        var origins: [Multiaddr]?
        var created = WallTime.unset
        var metadata: Metadata?
        var peers = SortedMap<PeerID, PinInfoShort>()
        try reader.members { key, reader in
            switch key {
            case "c": cid = try reader.optional { try CID($0) }
            case "n": name = try reader.string()
            case "a": allocations = try reader.list { try PeerID($0) }
            case "g": origins = try reader.list { try Multiaddr($0) }
            case "t": created = try reader.time()
            case "m": metadata = try reader.strings()
            case "pm": peers = try reader.peerMap { try PinInfoShort(reading: &$0) }
            default: return false
            }
            return true
        }
        guard let cid else { throw TypeError.missing("a pin info's CID") }
        self.init(cid: cid)
        self.name = name
        self.allocations = allocations
        self.origins = origins
        self.created = created
        self.metadata = metadata
        self.peers = peers
    }
}
