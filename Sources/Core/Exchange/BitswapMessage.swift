// Bitswap messages, as 1.2.0 has them and as its predecessors do. spec/wire-pubsub-dht-bitswap.md BS-02, BS-04, BS-05.

import Encoding
import Kernel
import Multiformats

/// What a version can say, the newest last (BS-02).
package enum BitswapVersion: Int, CaseIterable, Sendable {
    /// Blocks without what their CIDs begin with: those of version 0, SHA-256.
    case withBareBlocks
    case withPrefixes
    case withPresences

    package var protocols: [String] {
        switch self {
        case .withBareBlocks: ["/ipfs/bitswap/1.0.0", "/ipfs/bitswap"]
        case .withPrefixes: ["/ipfs/bitswap/1.1.0"]
        case .withPresences: ["/ipfs/bitswap/1.2.0"]
        }
    }
    package static func best(among protocols: [String]) -> BitswapVersion? {
        allCases.last { $0.protocols.contains(where: protocols.contains) }
    }
}

package struct BitswapMessage: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        package var cid: CID
        package var priority: Int32 = .max
        package var isCancel = false
        /// Wants to know whether the block is there, not the block.
        package var wantsHave = false
        package var sendDontHave = false
        package init(cid: CID) { self.cid = cid }
        /// Older versions know no presence, whatever bits are set.
        func heard(in version: BitswapVersion) -> Entry {
            var entry = self
            if version != .withPresences { (entry.wantsHave, entry.sendDontHave) = (false, false) }
            return entry
        }
    }
    package struct Block: Equatable, Sendable {
        package var cid: CID
        package var data: Bytes
        package init(cid: CID, data: Bytes) { self.cid = cid; self.data = data }
    }
    package struct Presence: Equatable, Sendable {
        package var cid: CID
        package var isHere: Bool
        package init(cid: CID, isHere: Bool) { self.cid = cid; self.isHere = isHere }
    }
    package var wants: [Entry] = []
    package var isFull = false
    package var blocks: [Block] = []
    package var presences: [Presence] = []
    package init() {}

    package var encoded: Bytes { written(withLength: false) }
    /// With its length before it, as it goes over a stream.
    package var frame: Bytes { written(withLength: true) }

    /// With nothing in it that a peer of that version does not know: it asks for blocks alone, and hears of no presence.
    func frame(for version: BitswapVersion) -> Bytes {
        guard version != .withPresences else { return frame }
        var plain = self
        plain.presences = []
        plain.wants = wants.map { $0.heard(in: version) }
        guard version == .withBareBlocks else { return plain.frame }
        plain.blocks = []
        var bare = ProtobufWriter()
        for block in blocks { bare.explicit(2, bytes: block.data) }
        let body = plain.encoded + bare.bytes
        return varint(UInt64(body.count)) + body
    }

    /// The data of blocks is copied once, to where it belongs.
    private func written(withLength: Bool) -> Bytes {
        let (head, tail) = (wantlist, presenceFields)
        let prefixes = blocks.map(\.cid.prefix)
        let sizes = zip(blocks, prefixes).map { BitswapMessage.fieldsSize(prefix: $1, data: $0.data) }
        let size = sizes.reduce(head.count + tail.count) { $0 + 1 + varintLength(UInt64($1)) + $1 }
        var out: Bytes = []
        out.reserveCapacity(size + 10)
        if withLength { appendVarint(UInt64(size), to: &out) }
        out += head
        for (index, block) in blocks.enumerated() {
            out.append(3 << 3 | 2)
            appendVarint(UInt64(sizes[index]), to: &out)
            BitswapMessage.append(1, prefixes[index], to: &out)
            if !block.data.isEmpty { BitswapMessage.append(2, block.data, to: &out) }
        }
        out += tail
        return out
    }

    private static func append(_ field: UInt8, _ bytes: Bytes, to out: inout Bytes) {
        out.append(field << 3 | 2)
        appendVarint(UInt64(bytes.count), to: &out)
        out += bytes
    }
    private static func fieldsSize(prefix: Bytes, data: Bytes) -> Int {
        let field = { (bytes: Bytes) in 1 + varintLength(UInt64(bytes.count)) + bytes.count }
        return field(prefix) + (data.isEmpty ? 0 : field(data))
    }

    private var wantlist: Bytes {
        var writer = ProtobufWriter()
        writer.message(1) { list in  // always there, even empty
            for want in wants {
                list.message(1) { entry in
                    entry.explicit(1, bytes: want.cid.bytes)
                    entry.int64(2, want.isCancel ? 0 : Int64(want.priority))
                    entry.bool(3, want.isCancel)
                    entry.bool(4, want.wantsHave)
                    entry.bool(5, want.sendDontHave)
                }
            }
            list.bool(2, isFull)
        }
        return writer.bytes
    }

    private var presenceFields: Bytes {
        var writer = ProtobufWriter()
        for presence in presences {
            writer.message(4) { $0.explicit(1, bytes: presence.cid.bytes); $0.bool(2, !presence.isHere) }
        }
        return writer.bytes
    }

    package enum Fault: Error, Equatable, Sendable {
        case badCID
        case unknownHash
    }

    /// BS-06: a bad CID or an unknown hash spoils the whole message.
    package init(decoding bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: try readWantlist(try field.message())
            case 2:
                let data = Bytes(try field.bytes())
                blocks.append(Block(cid: try CID(v0: .sha2_256(of: data)), data: data))
            case 3: blocks.append(try BitswapMessage.block(try field.message()))
            case 4: presences.append(try BitswapMessage.presence(try field.message()))
            default: break
            }
        }
    }

    private mutating func readWantlist(_ reader: ProtobufReader) throws {
        var reader = reader
        while let field = try reader.next() {
            switch field.number {
            case 1: wants.append(try BitswapMessage.entry(try field.message()))
            case 2: isFull = try field.bool()
            default: break
            }
        }
    }

    private static func entry(_ reader: ProtobufReader) throws -> Entry {
        var reader = reader
        var cid: CID?
        var priority: Int32 = 0
        var isCancel = false, wantsHave = false, sendDontHave = false
        while let field = try reader.next() {
            switch field.number {
            case 1: cid = try? CID(try field.bytes())
            case 2: priority = try field.int32()
            case 3: isCancel = try field.bool()
            case 4: wantsHave = try field.uint64() == 1
            case 5: sendDontHave = try field.bool()
            default: break
            }
        }
        guard let cid else { throw Fault.badCID }
        var entry = Entry(cid: cid)
        // Whatever a cancel says of it.
        (entry.priority, entry.isCancel, entry.wantsHave, entry.sendDontHave) = (isCancel ? 0 : priority, isCancel, wantsHave, sendDontHave)
        return entry
    }

    /// The CID is computed from the data, never believed.
    private static func block(_ reader: ProtobufReader) throws -> Block {
        var reader = reader
        var prefix: Bytes = []
        var data: Bytes = []
        while let field = try reader.next() {
            switch field.number {
            case 1: prefix = Bytes(try field.bytes())
            case 2: data = Bytes(try field.bytes())
            default: break
            }
        }
        guard let cid = CID(prefix: prefix, data: data) else { throw Fault.unknownHash }
        return Block(cid: cid, data: data)
    }

    private static func presence(_ reader: ProtobufReader) throws -> Presence {
        var reader = reader
        var cid: CID?
        var isHere = true
        while let field = try reader.next() {
            switch field.number {
            case 1: cid = try? CID(try field.bytes())
            case 2: isHere = try field.uint64() == 0
            default: break
            }
        }
        guard let cid else { throw Fault.badCID }
        return Presence(cid: cid, isHere: isHere)
    }
}

extension CID {
    /// Version, codec, hash function and digest length.
    var prefix: Bytes {
        varint(UInt64(version)) + varint(codec) + varint(multihash.code) + varint(UInt64(multihash.digest.count))
    }

    /// The CID of that form which the data has; nil for hash functions that are not spoken here.
    init?(prefix: Bytes, data: Bytes) {
        var offset = 0
        guard let version = try? readVarint(prefix, at: &offset), let codec = try? readVarint(prefix, at: &offset),
            let code = try? readVarint(prefix, at: &offset), let length = try? readVarint(prefix, at: &offset)
        else { return nil }
        guard let whole = Multihash.of(data, with: code)?.digest, length <= UInt64(whole.count) else { return nil }
        let hash = Multihash(code: code, digest: whole.prefix(Int(length)))
        if version == 0 {
            guard let cid = try? CID(v0: hash) else { return nil }
            self = cid
        } else if version == 1 {
            self.init(v1: codec, hash)
        } else { return nil }
    }
}
