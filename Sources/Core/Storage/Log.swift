// A durable log of checksummed records in segment files. Nothing in it changes once it is durable. Records are durable in the order in which they were appended: a crash keeps a prefix.

import Kernel
import Seams

package struct LogSettings: Sendable {
    package var segmentBytes = 64 << 20
    /// Larger payloads are refused when appending, and taken for damage when reading.
    package var recordBytesLimit = 32 << 20
    package init() {}
}

/// Where a record is.
package struct LogPosition: Hashable, Comparable, Sendable {
    package let segment: UInt32
    /// Of the record's frame within the segment's file.
    package let offset: UInt32
    /// Of the payload.
    package let length: UInt32
    package static func < (a: Self, b: Self) -> Bool { (a.segment, a.offset) < (b.segment, b.offset) }
}

/// A place in the log that holds something else than what was written there.
package struct LogDamage: Error, Equatable, Sendable, CustomStringConvertible {
    package let file: FileName
    package let offset: Int
    package let reason: String
    package var description: String { "\(file) is damaged at byte \(offset): \(reason)" }
}

package enum LogError: Error, Equatable, Sendable, CustomStringConvertible {
    case disk(DiskError)
    case damaged(LogDamage)
    case notALog(FileName)
    case tooLarge(Int)

    package var description: String {
        switch self {
        case .disk(.full(let file)): "the disk is full: \(file) could not be written"
        case .disk(.failed(let file, let reason)): "\(file): \(reason)"
        case .disk(.notFound(let file)): "\(file) is missing: was the data folder removed?"
        case .damaged(let damage): damage.description
        case .notALog(let file): "\(file) is not a log"
        case .tooLarge(let count): "a record of \(count) bytes is too large to be stored"
        }
    }
}

package struct Log: Sendable {
    /// What an answer of the disk means for the records appended so far, by their sequence numbers.
    package enum Outcome: Equatable, Sendable {
        /// Everything up to and including this one is durable.
        case durable(through: UInt64)
        /// Everything after this one is gone, as if it had never been appended.
        case lost(after: UInt64, DiskError)
    }

    private let folder: FileName
    private let reader: any DiskReader
    private let settings: LogSettings
    private let owner: UInt8

    private var segment: UInt32 = 0
    private var segmentEnd = 0
    private var firstSegment: UInt32 = 0
    /// Sequence number of the record appended last, and of the last one known to be durable, with where it ends.
    package private(set) var appended: UInt64 = 0
    package private(set) var durable: UInt64 = 0
    private var durableEnd: (segment: UInt32, offset: Int) = (0, 0)
    private var appendedEndAtSync: (sequence: UInt64, segment: UInt32, offset: Int) = (0, 0, 0)
    /// Files that hold appended bytes and have not been handed to a sync.
    private var unsynced = SortedSet<UInt32>()
    /// Syncs that are under way; all must end well.
    private var waiting = SortedSet<SyncTicket>()
    private var syncFailure: DiskError?
    private var nextTicket: UInt64 = 0
    private var wantsSync = false
    /// What has been appended and is not durable yet: reads may come before the disk has it.
    private var fresh: [LogPosition: Bytes] = [:]

    /// The next record comes after an end of its segment that is durable, and says so by a mark before it. A mark tells
    /// damage from a torn end: what lies before one was durable. Nothing is known of a segment before its first sync.
    private var needsMark = false
    private var syncedSegment: UInt32?

    static let magic = Bytes("ICLOG\u{1}\r\n".utf8)
    static let markKind: UInt8 = 0
    static let frameBytes = 9  // length, checksum, kind


    /// Opens or creates the log, handing every record to `visit` in order. A torn end is cut off (it was never durable);
    /// damage elsewhere is stepped over and returned. The effects must be carried out before any other.
    package init(
        folder: FileName, owner: UInt8, reader: any DiskReader, settings: LogSettings = LogSettings(),
        visit: (LogPosition, UInt8, ArraySlice<UInt8>) throws -> Void, damages: inout [LogDamage],
        effects: inout [DiskEffect]
    ) throws {
        self.folder = folder
        self.owner = owner
        self.reader = reader
        self.settings = settings
        let segments = try existingSegments()
        firstSegment = segments.first ?? 1
        guard let last = segments.last else {
            begin(1, &effects)
            return
        }
        var end = 0
        for number in segments {
            end = try replay(number, isLast: number == last, visit: visit, damages: &damages)
        }
        segment = last
        if try reader.size(name(last)) > end { effects.append(.truncate(name(last), to: end)) }
        segmentEnd = end
        if end < Log.magic.count {  // the crash took even the header
            effects.append(.append(name(last), Log.magic))
            segmentEnd = Log.magic.count
        }
        durableEnd = (last, segmentEnd)
        unsynced.insert(last)
    }

    private func existingSegments() throws -> [UInt32] {
        try reader.list(folder + "/").compactMap { file in
            let base = file.dropFirst(folder.count + 1)
            guard base.hasSuffix(".log"), let number = UInt32(base.dropLast(4)) else { return nil }
            return number
        }
    }

    func name(_ segment: UInt32) -> FileName {
        let digits = String(segment)
        return "\(folder)/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".log"
    }

    private mutating func begin(_ number: UInt32, _ effects: inout [DiskEffect]) {
        segment = number
        effects.append(.append(name(number), Log.magic))
        segmentEnd = Log.magic.count
        needsMark = false
        unsynced.insert(number)
        if appended == durable { durableEnd = (number, segmentEnd) }
    }

    // MARK: Writing

    /// Adds a record. It is readable at once and durable when an outcome says so.
    package mutating func append(
        kind: UInt8, _ payload: Bytes, effects: inout [DiskEffect]
    ) throws(LogError) -> (position: LogPosition, sequence: UInt64) {
        invariant(kind != Log.markKind, "kind 0 is the log's own")
        guard payload.count <= settings.recordBytesLimit else { throw .tooLarge(payload.count) }
        let frame = Log.frame(kind, payload)
        if segmentEnd + frame.count > settings.segmentBytes && segmentEnd > Log.magic.count { begin(segment + 1, &effects) }
        if needsMark {
            needsMark = false
            let mark = Log.frame(Log.markKind, [])
            effects.append(.append(name(segment), mark))
            segmentEnd += mark.count
        }
        let position = LogPosition(segment: segment, offset: UInt32(segmentEnd), length: UInt32(payload.count))
        effects.append(.append(name(segment), frame))
        unsynced.insert(segment)
        segmentEnd += frame.count
        appended += 1
        fresh[position] = payload
        return (position, appended)
    }

    static func frame(_ kind: UInt8, _ payload: Bytes) -> Bytes {
        var out = Bytes()
        out.reserveCapacity(frameBytes + payload.count)
        append32(UInt32(payload.count), to: &out)
        append32(checksum(kind, payload), to: &out)
        out.append(kind)
        out.append(contentsOf: payload)
        return out
    }

    /// Over length, kind and payload.
    static func checksum(_ kind: UInt8, _ payload: some Collection<UInt8>) -> UInt32 {
        var head = Bytes()
        append32(UInt32(payload.count), to: &head)
        head.append(kind)
        return crc32c(payload, from: crc32c(head))
    }

    private static func append32(_ value: UInt32, to out: inout Bytes) {
        for shift in [0, 8, 16, 24] { out.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }

    /// Asks for everything appended so far to be made durable. One sync runs at a time; what comes meanwhile waits for the
    /// next one, which then serves all of it (group commit).
    package mutating func sync(effects: inout [DiskEffect]) {
        guard waiting.isEmpty else { wantsSync = true; return }
        guard appended > durable else { return }
        appendedEndAtSync = (appended, segment, segmentEnd)
        for number in unsynced {
            nextTicket += 1
            let ticket = SyncTicket(owner: owner, number: nextTicket)
            waiting.insert(ticket)
            effects.append(.sync(name(number), ticket))
        }
        unsynced.removeAll()
    }

    /// What the end of a sync means, if it is one of this log's.
    package mutating func onDisk(_ event: DiskEvent, effects: inout [DiskEffect]) -> Outcome? {
        switch event {
        case .synced(let ticket): guard waiting.remove(ticket) else { return nil }
        case .syncFailed(let ticket, let error):
            guard waiting.remove(ticket) else { return nil }
            syncFailure = syncFailure ?? error
        }
        guard waiting.isEmpty else { return nil }
        if let failure = syncFailure { return lose(failure, &effects) }
        let (sequence, segment, offset) = appendedEndAtSync
        durable = sequence
        durableEnd = (segment, offset)
        syncedSegment = segment
        needsMark = segment == self.segment
        forgetFresh()
        if wantsSync {
            wantsSync = false
            sync(effects: &effects)
        }
        return .durable(through: sequence)
    }

    private mutating func forgetFresh() {
        if durable == appended { fresh.removeAll(); return }
        let end = durableEnd
        fresh = fresh.filter { ($0.key.segment, Int($0.key.offset)) >= (end.segment, end.offset) }
    }

    /// Goes back to the last durable end: what came after is unwritten.
    private mutating func lose(_ failure: DiskError, _ effects: inout [DiskEffect]) -> Outcome {
        for number in stride(from: segment, to: durableEnd.segment, by: -1) { effects.append(.remove(name(number))) }
        effects.append(.truncate(name(durableEnd.segment), to: durableEnd.offset))
        segment = durableEnd.segment
        segmentEnd = durableEnd.offset
        unsynced = SortedSet([segment])
        appended = durable
        fresh.removeAll()
        syncFailure = nil
        wantsSync = false
        needsMark = syncedSegment == segment
        return .lost(after: durable, failure)
    }

    // MARK: Reading

    package func read(_ position: LogPosition) throws(LogError) -> Bytes {
        if let payload = fresh[position] { return payload }
        let file = name(position.segment)
        let count = Log.frameBytes + Int(position.length)
        let bytes: Bytes
        do { bytes = try reader.read(file, at: Int(position.offset), count: count) } catch { throw .disk(error) }
        guard let record = Log.record(in: bytes, at: 0, limit: settings.recordBytesLimit), record.end == count else {
            throw .damaged(LogDamage(file: file, offset: Int(position.offset), reason: "checksum does not match"))
        }
        return Bytes(record.payload)
    }

    struct Record {
        let kind: UInt8
        let payload: ArraySlice<UInt8>
        let end: Int
    }

    /// The whole and sound record at an offset, or nil.
    static func record(in bytes: Bytes, at offset: Int, limit: Int) -> Record? {
        guard offset + frameBytes <= bytes.count else { return nil }
        let length = Int(word32(bytes, offset))
        guard length <= limit, offset + frameBytes + length <= bytes.count else { return nil }
        let kind = bytes[offset + 8]
        let payload = bytes[offset + frameBytes..<offset + frameBytes + length]
        guard checksum(kind, payload) == word32(bytes, offset + 4) else { return nil }
        return Record(kind: kind, payload: payload, end: offset + frameBytes + length)
    }

    static func word32(_ bytes: Bytes, _ offset: Int) -> UInt32 {
        UInt32(bytes[offset]) | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2]) << 16 | UInt32(bytes[offset + 3]) << 24
    }

    /// Returns where the sound part of the segment ends.
    private func replay(
        _ number: UInt32, isLast: Bool, visit: (LogPosition, UInt8, ArraySlice<UInt8>) throws -> Void,
        damages: inout [LogDamage]
    ) throws -> Int {
        let file = name(number)
        let bytes = try reader.read(file, at: 0, count: try reader.size(file))
        guard bytes.starts(with: Log.magic) else {
            // The crash may have torn the header with all that followed; nothing of it was durable then.
            if isLast && !hasMark(in: bytes, after: 0) { return 0 }
            throw LogError.notALog(file)
        }
        var offset = Log.magic.count
        while offset < bytes.count {
            if let record = Log.record(in: bytes, at: offset, limit: settings.recordBytesLimit) {
                let position = LogPosition(segment: number, offset: UInt32(offset), length: UInt32(record.payload.count))
                if record.kind != Log.markKind { try visit(position, record.kind, record.payload) }
                offset = record.end
                continue
            }
            // A crash tears what was not durable, and only that may be cut off in silence.
            guard !isLast || hasMark(in: bytes, after: offset) else { return offset }
            let next = soundRecord(in: bytes, after: offset)
            let text = next.map { "\($0 - offset) bytes hold no sound record" } ?? "no sound record follows"
            damages.append(LogDamage(file: file, offset: offset, reason: text))
            offset = next ?? bytes.count
        }
        return offset
    }

    private func hasMark(in bytes: Bytes, after offset: Int) -> Bool {
        var candidate = offset
        while let next = soundRecord(in: bytes, after: candidate) {
            guard var record = Log.record(in: bytes, at: next, limit: settings.recordBytesLimit) else { break }
            while true {
                if record.kind == Log.markKind { return true }
                candidate = record.end - 1
                guard let following = Log.record(in: bytes, at: record.end, limit: settings.recordBytesLimit) else { break }
                record = following
            }
        }
        return false
    }

    private func soundRecord(in bytes: Bytes, after offset: Int) -> Int? {
        var candidate = offset + 1
        while candidate + Log.frameBytes <= bytes.count {
            if Log.record(in: bytes, at: candidate, limit: settings.recordBytesLimit) != nil { return candidate }
            candidate += 1
        }
        return nil
    }
}
