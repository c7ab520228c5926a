// The files of what is kept for others. DHT-17, CRDT-201. Each record is appended to a log, which is written anew once it is twice as
// long as what counts of it: in a folder of the next number, and the old one goes when the new one is durable. Whatever a crash leaves
// is read in the order of the numbers, and what is read twice is the same. Nothing of the peer's own hangs on these files.

import Encoding
import Kernel
import Multiformats
import Seams
import Storage

enum StoredRecord: Equatable, Sendable {
    case value(key: Bytes, value: Bytes, from: PeerID, received: WallTime)
    case provider(key: Bytes, peer: PeerID, addresses: [Multiaddr], received: WallTime)

    var kind: UInt8 { if case .value = self { 1 } else { 2 } }

    var encoded: Bytes {
        var writer = ProtobufWriter()
        switch self {
        case .value(let key, let value, let from, let received):
            StoredRecord.write(key, from, received, to: &writer)
            writer.bytes(5, value)
        case .provider(let key, let peer, let addresses, let received):
            StoredRecord.write(key, peer, received, to: &writer)
            for address in addresses { writer.explicit(6, bytes: address.bytes) }
        }
        return writer.bytes
    }
    private static func write(_ key: Bytes, _ peer: PeerID, _ received: WallTime, to writer: inout ProtobufWriter) {
        writer.bytes(1, key)
        writer.bytes(2, peer.bytes)
        writer.int64(3, received.seconds)
        writer.uint64(4, UInt64(received.nanoseconds))
    }

    init(kind: UInt8, _ bytes: ArraySlice<UInt8>) throws {
        var (key, peer, value): (Bytes, PeerID?, Bytes) = ([], nil, [])
        var (seconds, nanoseconds): (Int64, UInt64) = (0, 0)
        var addresses: [Multiaddr] = []
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: key = Bytes(try field.bytes())
            case 2: peer = try PeerID(field.bytes())
            case 3: seconds = try field.int64()
            case 4: nanoseconds = try field.uint64()
            case 5: value = Bytes(try field.bytes())
            case 6: addresses.append(try Multiaddr(field.bytes()))
            default: break
            }
        }
        guard let peer, !key.isEmpty, nanoseconds < 1_000_000_000 else { throw DHTFault.badRecord("without its key or its peer") }
        let received = WallTime(seconds: seconds, nanoseconds: Int32(nanoseconds))
        switch kind {
        case 1: self = .value(key: key, value: value, from: peer, received: received)
        case 2: self = .provider(key: key, peer: peer, addresses: addresses, received: received)
        default: throw DHTFault.badRecord("of kind \(kind)")
        }
    }

    /// What it takes, more or less.
    var bytes: Int {
        switch self {
        case .value(let key, let value, let from, _): 64 + key.count + value.count + from.bytes.count
        case .provider(let key, let peer, let addresses, _): 64 + key.count + peer.bytes.count + addresses.reduce(0) { $0 + 8 + $1.bytes.count }
        }
    }
}

struct RecordLog: Sendable {
    private let settings: DHTSettings
    private let owner: UInt8
    private let reader: any DiskReader
    /// Nil until there is something to write.
    private var log: Log?
    private var generation: UInt32 = 0
    /// Of all files, with what no longer counts.
    private var bytes = 0
    private var unsyncedBytes = 0
    private var isSyncing = false
    /// The log tells damage from a torn end by what was written after a sync, so that an empty record follows each.
    private var isSealing = false
    private static let sealKind: UInt8 = 3
    /// There is something that is in no file, or in several.
    private var isStale = false
    /// The newest folder holds all that counts once it is durable.
    private var isReplacing = false
    private var hasFailed = false
    private(set) var nextDeadline: Instant?

    init(
        settings: DHTSettings, owner: UInt8, reader: any DiskReader, now: Instant, effects: inout [DHT.Effect], visit: (StoredRecord) -> Void
    ) {
        (self.settings, self.owner, self.reader) = (settings, owner, reader)
        let generations = files().map(\.generation).reduce(into: [UInt32]()) { if $0.last != $1 { $0.append($1) } }
        generation = generations.last ?? 0
        for number in generations { read(number, isLast: number == generation, &effects, visit) }
        if generations.count > 1 { isStale = true }
        if isStale { nextDeadline = now + settings.recordSyncDelay }
    }

    private func folder(_ generation: UInt32) -> FileName {
        let digits = String(generation)
        return "\(settings.recordFolder)/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// Sorted by the number of their folder.
    private func files() -> [(generation: UInt32, name: FileName)] {
        let prefix = settings.recordFolder + "/"
        let names = (try? reader.list(prefix)) ?? []
        return names.compactMap { name in
            UInt32(name.dropFirst(prefix.count).prefix { $0 != "/" }).map { ($0, name) }
        }.sorted { $0.0 < $1.0 }
    }

    // MARK: Reading

    private mutating func read(_ number: UInt32, isLast: Bool, _ effects: inout [DHT.Effect], _ visit: (StoredRecord) -> Void) {
        var (damages, unreadable): ([LogDamage], [String]) = ([], [])
        var disk: [DiskEffect] = []
        let folder = folder(number)
        do {
            let log = try Log(folder: folder, owner: owner, reader: reader, settings: logSettings, visit: { position, kind, payload in
                if kind == RecordLog.sealKind { return }
                do { visit(try StoredRecord(kind: kind, payload)) } catch {
                    unreadable.append("\(folder) holds a record at byte \(position.offset) that cannot be read: \(error)")
                }
            }, damages: &damages, effects: &disk)
            // An older one is only there to be read: it goes as soon as all of it is in the next.
            if isLast { (self.log, bytes) = (log, size(number)) }
            if isLast { effects += disk.map(DHT.Effect.disk) }
        } catch {
            warn("\(folder) cannot be read, and what it kept for others is lost: \(error)", &effects)
            isStale = true
        }
        for text in damages.map(\.description) + unreadable {
            warn("\(text). What was kept for others there is lost, and nothing else", &effects)
            isStale = true
        }
    }
    private var logSettings: LogSettings {
        var log = LogSettings()
        log.recordBytesLimit = 1 << 20
        return log
    }
    private func size(_ number: UInt32) -> Int {
        files().filter { $0.generation == number }.reduce(0) { $0 + ((try? reader.size($1.name)) ?? 0) }
    }
    private func warn(_ text: String, _ effects: inout [DHT.Effect]) { effects.append(.log(LogLine(.warning, "dht", text))) }

    // MARK: Writing

    mutating func append(_ record: StoredRecord, now: Instant, effects: inout [DHT.Effect]) {
        let payload = record.encoded
        // A disk that cannot keep up gets all of it later: what is not durable is in memory twice.
        guard !isStale, unsyncedBytes + payload.count <= settings.recordUnsyncedMax else {
            isStale = true
            return wake(now + settings.recordSyncDelay)
        }
        var disk: [DiskEffect] = []
        do {
            try begin(&disk)
            _ = try log?.append(kind: record.kind, payload, effects: &disk)
            bytes += payload.count + Log.frameBytes
            unsyncedBytes += payload.count
        } catch { isStale = true }
        effects += disk.map(DHT.Effect.disk)
        wake(now + settings.recordSyncDelay)
    }
    private mutating func wake(_ at: Instant) { nextDeadline = nextDeadline ?? at }

    private mutating func begin(_ disk: inout [DiskEffect]) throws {
        guard log == nil else { return }
        generation += 1
        log = try Log(folder: folder(generation), owner: owner, reader: reader, settings: logSettings, effects: &disk)
        bytes = 0
    }

    mutating func sync(effects: inout [DHT.Effect]) {
        nextDeadline = nil
        // One after the other: the numbers of what is waited for begin anew with each log.
        guard !isSyncing else { return }
        var disk: [DiskEffect] = []
        log?.sync(effects: &disk)
        isSyncing = !disk.isEmpty
        unsyncedBytes = 0
        effects += disk.map(DHT.Effect.disk)
    }

    func isRewriteDue(of live: Int) -> Bool { !isSyncing && (isStale || bytes > 2 * live + settings.recordSlackBytes) }

    /// All that counts, in the next folder.
    mutating func rewrite(_ records: [StoredRecord], now: Instant, effects: inout [DHT.Effect]) {
        var disk: [DiskEffect] = []
        log = nil
        (isStale, unsyncedBytes, isReplacing, isSealing, nextDeadline) = (false, 0, !records.isEmpty, false, nil)
        guard !records.isEmpty else {
            removeOld(before: .max, &disk)
            return effects += disk.map(DHT.Effect.disk)
        }
        do {
            try begin(&disk)
            for record in records {
                let payload = record.encoded
                _ = try log?.append(kind: record.kind, payload, effects: &disk)
                bytes += payload.count + Log.frameBytes
            }
        } catch { isStale = true }
        effects += disk.map(DHT.Effect.disk)
        sync(effects: &effects)
        if isStale { wake(now + settings.recordRetryDelay) }
    }

    private func removeOld(before generation: UInt32, _ disk: inout [DiskEffect]) {
        for file in files() where file.generation < generation { disk.append(.remove(file.name)) }
    }

    mutating func onDisk(_ event: DiskEvent, now: Instant, effects: inout [DHT.Effect]) {
        var disk: [DiskEffect] = []
        guard let outcome = log?.onDisk(event, effects: &disk) else { return }
        isSyncing = false
        switch outcome {
        case .durable:
            hasFailed = false
            if isReplacing { removeOld(before: generation, &disk) }
            isReplacing = false
            if isSealing { isSealing = false } else { seal(&disk) }
        case .lost(_, let error):
            // It is in memory: all of it is written again, somewhere else.
            if !hasFailed { warn("what is kept for others could not be written, and will be later: \(LogError.disk(error))", &effects) }
            (hasFailed, isStale, isSealing) = (true, true, false)
            nextDeadline = now + settings.recordRetryDelay
        }
        effects += disk.map(DHT.Effect.disk)
        if case .durable = outcome, unsyncedBytes > 0 || isStale { wake(now + settings.recordSyncDelay) }
    }

    private mutating func seal(_ disk: inout [DiskEffect]) {
        guard (try? log?.append(kind: RecordLog.sealKind, [], effects: &disk)) != nil else { return }
        bytes += 2 * Log.frameBytes
        log?.sync(effects: &disk)
        (isSealing, isSyncing) = (true, true)
    }
}
