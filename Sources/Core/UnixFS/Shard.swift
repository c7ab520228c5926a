// The hash array mapped trie of a large directory: 256 places a node, eight bits of the name's hash a level. ADD-34.

import Crypto
import Kernel
import Multiformats

/// The places of a name, from the top level down.
struct ShardPath: Sendable {
    private let hash: UInt64
    init(_ name: EntryName) { hash = murmur3(name.bytes) }
    /// Nil below the last level.
    func place(at level: Int) -> UInt8? {
        level < 8 ? UInt8(truncatingIfNeeded: hash >> UInt64(56 - 8 * level)) : nil
    }
}

struct Shard: Sendable {
    static let fanout = 256
    static let hashType: UInt64 = 0x22

    private indirect enum Child: Sendable {
        case entry(EntryName, DagPBLink)
        case shard(Shard)
        case vacant  // while being changed
    }
    private var places: [UInt8] = []
    private var children: [Child] = []

    mutating func set(_ name: EntryName, _ link: DagPBLink) throws(AddError) {
        try set(name, ShardPath(name), link, level: 0)
    }

    private mutating func set(
        _ name: EntryName, _ path: ShardPath, _ link: DagPBLink, level: Int
    ) throws(AddError) {
        guard let place = path.place(at: level) else { throw AddError("sharded directory too deep") }
        let index = places.firstIndex { $0 >= place } ?? places.count
        guard index < places.count, places[index] == place else {
            places.insert(place, at: index)
            children.insert(.entry(name, link), at: index)
            return
        }
        let child = children[index]
        children[index] = .vacant
        children[index] = try Shard.child(child, setting: name, path, link, level: level + 1)
    }

    private static func child(
        _ child: consuming Child, setting name: EntryName, _ path: ShardPath, _ link: DagPBLink, level: Int
    ) throws(AddError) -> Child {
        switch child {
        case .entry(name, _), .vacant: return .entry(name, link)
        case .entry(let other, let old):
            var shard = Shard()
            try shard.set(other, ShardPath(other), old, level: level)
            try shard.set(name, path, link, level: level)
            return .shard(shard)
        case .shard(var shard):
            try shard.set(name, path, link, level: level)
            return .shard(shard)
        }
    }

    /// In the order of places, which is how upstream lists a sharded directory.
    func forEachName(_ visit: (EntryName) -> Void) {
        for child in children {
            switch child {
            case .entry(let name, _): visit(name)
            case .shard(let shard): shard.forEachName(visit)
            case .vacant: break
            }
        }
    }

    /// Emits the nodes below, then this one.
    func build(_ format: ContentFormat, emit: (BuiltNode) -> Void) throws(AddError) -> BuiltNode {
        var links: [DagPBLink] = []
        for (place, child) in zip(places, children) {
            let prefix = EntryName(hex([place]).uppercased())
            switch child {
            case .entry(let name, let link):
                links.append(DagPBLink(cid: link.cid, name: prefix + name, size: link.size))
            case .shard(let shard): links.append(try shard.build(format, emit: emit).link(named: prefix))
            case .vacant: unreachable("a shard's child is missing")
            }
        }
        var message = UnixFSData(.hamtShard)
        message.data = bitfield
        message.hashType = Shard.hashType
        message.fanout = UInt64(Shard.fanout)
        let node = try format.node(DagPBNode(links: links, data: message.encoded))
        emit(node)
        return node
    }

    /// Which places are taken: a big-endian number without leading zero bytes.
    private var bitfield: Bytes {
        var bits = Bytes(repeating: 0, count: Shard.fanout / 8)
        for place in places { bits[bits.count - 1 - Int(place) / 8] |= 1 << (place % 8) }
        return Bytes(bits.drop { $0 == 0 })
    }
}
