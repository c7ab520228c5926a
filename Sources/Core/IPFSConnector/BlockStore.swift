// The embedded node's blocks and pins: records of one log, and an index of them in memory.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

struct BlockStore: Sendable {
    private enum Kind {
        static let block: UInt8 = 1
        static let pin: UInt8 = 2
        static let unpin: UInt8 = 3
        static let dropped: UInt8 = 4
    }
    private struct Stored: Sendable {
        let cid: CID
        let position: LogPosition
    }
    /// What is taken back if the disk loses it.
    private enum Unsynced: Sendable {
        case block(Multihash, bytes: Int)
        case pin(CID, PinDepth)
        case unpin(CID)
        case dropped(Multihash, Stored)
    }

    private var log: Log
    private var blocks = SortedMap<Multihash, Stored>()
    private var unsynced: [(sequence: UInt64, what: Unsynced)] = []
    private(set) var pins = SortedMap<CID, PinDepth>()
    private(set) var liveBytes = 0

    init(
        folder: FileName, owner: UInt8, reader: any DiskReader, settings: LogSettings, damages: inout [LogDamage],
        effects: inout [DiskEffect]
    ) throws {
        var blocks = SortedMap<Multihash, Stored>()
        var pins = SortedMap<CID, PinDepth>()
        log = try Log(
            folder: folder, owner: owner, reader: reader, settings: settings,
            visit: { position, kind, payload in
                var offset = 0
                let length = Int(clamping: try readVarint(payload, at: &offset))
                guard length <= payload.count - offset else { return }
                let cid = try CID(payload.dropFirst(offset).prefix(length))
                offset += length
                switch kind {
                case Kind.block: blocks[cid.multihash] = Stored(cid: cid, position: position)
                case Kind.dropped: blocks[cid.multihash] = nil
                case Kind.pin: pins[cid] = BlockStore.depth(try readVarint(payload, at: &offset))
                case Kind.unpin: pins[cid] = nil
                default: break
                }
            }, damages: &damages, effects: &effects)
        (self.blocks, self.pins) = (blocks, pins)
        liveBytes = blocks.values.reduce(0) { $0 + Int($1.position.length) }
    }

    private static func depth(_ number: UInt64) -> PinDepth { Int(clamping: number) - 1 }
    private static func record(_ cid: CID, _ rest: Bytes) -> Bytes { varint(UInt64(cid.bytes.count)) + cid.bytes + rest }

    // MARK: Blocks

    /// What an identity hash names is in it, and need not be stored (CRDT-122).
    private func named(in hash: Multihash) -> Bytes? { hash.code == HashCode.identity ? Bytes(hash.digest) : nil }
    func holds(_ hash: Multihash) -> Bool { named(in: hash) != nil || blocks[hash] != nil }
    var storedCIDs: [CID] { blocks.values.map(\.cid) }

    /// Without reading it.
    func size(_ hash: Multihash) -> Int? {
        named(in: hash)?.count ?? blocks[hash].map { Int($0.position.length) - BlockStore.record($0.cid, []).count }
    }

    /// Nil if it is not here.
    func block(_ hash: Multihash) throws(LogError) -> Bytes? {
        if let named = named(in: hash) { return named }
        guard let stored = blocks[hash] else { return nil }
        let record = try log.read(stored.position)
        var offset = 0
        guard let length = try? readVarint(record, at: &offset), length <= record.count - offset else {
            return nil
        }
        return Bytes(record[(offset + Int(length))...])
    }

    mutating func put(_ cid: CID, _ data: Bytes, effects: inout [DiskEffect]) throws(LogError) {
        let hash = cid.multihash
        guard blocks[hash] == nil else { return }
        let (position, sequence) = try log.append(kind: Kind.block, BlockStore.record(cid, data), effects: &effects)
        blocks[hash] = Stored(cid: cid, position: position)
        liveBytes += Int(position.length)
        unsynced.append((sequence, .block(hash, bytes: data.count)))
    }

    mutating func drop(_ cid: CID, effects: inout [DiskEffect]) throws(LogError) {
        let hash = cid.multihash
        guard let stored = blocks.remove(hash) else { return }
        liveBytes -= Int(stored.position.length)
        let (_, sequence) = try log.append(kind: Kind.dropped, BlockStore.record(cid, []), effects: &effects)
        unsynced.append((sequence, .dropped(hash, stored)))
    }

    // MARK: Pins

    /// The pin counts from when it is durable.
    mutating func pin(_ cid: CID, _ depth: PinDepth, effects: inout [DiskEffect]) throws(LogError) {
        let payload = BlockStore.record(cid, varint(UInt64(max(0, depth + 1))))
        let (_, sequence) = try log.append(kind: Kind.pin, payload, effects: &effects)
        unsynced.append((sequence, .pin(cid, depth)))
    }

    mutating func unpin(_ cid: CID, effects: inout [DiskEffect]) throws(LogError) {
        let (_, sequence) = try log.append(kind: Kind.unpin, BlockStore.record(cid, []), effects: &effects)
        unsynced.append((sequence, .unpin(cid)))
    }

    /// Pins that do not count yet.
    var awaitedPins: [(cid: CID, depth: PinDepth)] {
        unsynced.compactMap { if case .pin(let cid, let depth) = $0.what { (cid, depth) } else { nil } }
    }

    // MARK: Durability

    var lastSequence: UInt64 { log.appended }
    /// Of blocks that are not durable yet, and so in memory.
    var unsyncedBytes: Int {
        unsynced.reduce(0) { if case .block(_, let bytes) = $1.what { $0 + bytes } else { $0 } }
    }
    var isDurable: Bool { log.durable == log.appended }
    mutating func sync(effects: inout [DiskEffect]) { log.sync(effects: &effects) }

    mutating func onDisk(_ event: DiskEvent, effects: inout [DiskEffect]) -> Log.Outcome? {
        guard let outcome = log.onDisk(event, effects: &effects) else { return nil }
        switch outcome {
        case .durable(let through):
            let settled = unsynced.prefix { $0.sequence <= through }
            for (_, what) in settled {
                switch what {
                case .pin(let cid, let depth): pins[cid] = depth
                case .unpin(let cid): pins[cid] = nil
                case .block, .dropped: break
                }
            }
            unsynced.removeFirst(settled.count)
        case .lost(let after, _):
            for (sequence, what) in unsynced.reversed() where sequence > after {
                switch what {
                case .block(let hash, _): liveBytes -= blocks.remove(hash).map { Int($0.position.length) } ?? 0
                case .dropped(let hash, let stored):
                    blocks[hash] = stored
                    liveBytes += Int(stored.position.length)
                case .pin, .unpin: break
                }
            }
            unsynced.removeAll { $0.sequence > after }
        }
        return outcome
    }
}
