// A durable log of checksummed records in segment files. Nothing in it changes once it is durable. Records are durable in the order in which they were appended: a crash keeps a prefix.

import Kernel
import Seams

package struct LogSettings: Sendable {
    /// At most 64 MiB, so that a place in the log is a number of 44 bits.
    package var segmentBytes = 64 << 20
    /// Larger payloads are refused when appending, and taken for damage when reading.
    package var recordBytesLimit = 32 << 20
    package init() {}
}

/// A byte of the log: the number of its segment, then its offset in the segment's file, 18 and 26 bits.
package struct LogAddress: Hashable, Comparable, Sendable {
    package let raw: UInt64
    package init(raw: UInt64) { self.raw = raw }
    package init(segment: UInt32, offset: Int) { raw = UInt64(segment) << 26 | UInt64(offset) }
    package var segment: UInt32 { UInt32(truncatingIfNeeded: raw >> 26) }
    package var offset: Int { Int(raw & (1 << 26 - 1)) }
    package static func + (a: Self, count: Int) -> Self { Self(raw: a.raw + UInt64(count)) }
    package static func - (a: Self, count: Int) -> Self { Self(raw: a.raw - UInt64(count)) }
    package static func < (a: Self, b: Self) -> Bool { a.raw < b.raw }
}

/// Where a record is.
package struct LogPosition: Hashable, Comparable, Sendable {
    package let segment: UInt32
    /// Of the record's frame within the segment's file.
    package let offset: UInt32
    /// Of the payload.
    package let length: UInt32
    package var start: LogAddress { LogAddress(segment: segment, offset: Int(offset)) }
    /// Where the payload begins.
    package var payload: LogAddress { LogAddress(segment: segment, offset: Int(offset) + Log.frameBytes) }
    /// The record that begins after this one.
    package var end: LogAddress { payload + Int(length) }
    package static func < (a: Self, b: Self) -> Bool { (a.segment, a.offset) < (b.segment, b.offset) }
}

/// A place in the log that holds something else than what was written there.
package struct LogDamage: Error, Equatable, Sendable, CustomStringConvertible {
    package let file: FileName
    package let offset: Int
    /// How far it reaches, where that is known.
    package var count = 0
    package let reason: String
    package var description: String { "\(file) is damaged at byte \(offset): \(reason)" }
}

package enum LogError: Error, Equatable, Sendable, CustomStringConvertible {
    case disk(DiskError)
    case damaged(LogDamage)
    /// The index is damaged: it must be made from the log again.
    case index(LogDamage)
    case notALog(FileName)
    case tooLarge(Int)

    /// It stays until it is mended; what the disk says may pass.
    package var isDamage: Bool {
        switch self {
        case .damaged, .index: true
        case .disk, .notALog, .tooLarge: false
        }
    }

    package var description: String {
        switch self {
        case .disk(.full(let file)): "the disk is full: \(file) could not be written"
        case .disk(.failed(let file, let reason)): "\(file): \(reason)"
        case .disk(.notFound(let file)): "\(file) is missing: was the data folder removed?"
        case .damaged(let damage), .index(let damage): damage.description
        case .notALog(let file): "\(file) is not a log that this version can read"
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

    /// Where the segments are, for reading beside the steps too: what is durable does not change.
    package struct Files: Sendable {
        fileprivate let folder: FileName
        fileprivate let reader: any DiskReader
        fileprivate var names: [UInt32: FileName] = [:]

        fileprivate func name(_ segment: UInt32) -> FileName { names[segment] ?? makeName(segment) }
        fileprivate func makeName(_ segment: UInt32) -> FileName {
            let digits = String(segment)
            return "\(folder)/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".log"
        }
        package func read(by reader: any DiskReader) -> Files { Files(folder: folder, reader: reader, names: names) }

        /// Bytes as they stand in the file, unchecked, and fewer at its end: whoever asks knows how to tell that they are sound.
        package func bytes(at address: LogAddress, count: Int) throws(LogError) -> Bytes {
            do { return try reader.read(name(address.segment), at: address.offset, count: count) } catch { throw .disk(error) }
        }
        package func damage(at address: LogAddress, _ reason: String) -> LogDamage {
            LogDamage(file: name(address.segment), offset: address.offset, reason: reason)
        }
    }

    package private(set) var files: Files
    private var folder: FileName { files.folder }
    private var reader: any DiskReader { files.reader }
    private let settings: LogSettings
    private let owner: UInt8

    private var segment: UInt32 = 0
    private var segmentEnd = 0
    private let firstSegment: UInt32 = 1
    /// Where the segments end that others follow.
    private var ends: [UInt32: Int] = [:]
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
    /// Segments that have been taken back, until that is durable; and the syncs that make it so.
    private var emptied = SortedSet<UInt32>()
    private var emptying = SortedSet<SyncTicket>()
    private var nextTicket: UInt64 = 0
    private var wantsSync = false
    /// What has been appended and is not durable yet: reads may come before the disk has it.
    private var fresh: [LogPosition: Bytes] = [:]

    /// A sync of this segment has ended since the last record, and a mark before the next one says how much of it is durable:
    /// that tells damage from a torn end. Nothing is known of a segment before its first sync.
    private var needsMark = false
    private var syncedSegment: UInt32?
    /// What an earlier life has left, and nobody knows whether a sync of it ended: until the first one does.
    private var found = SortedSet<UInt32>()
    /// What was unwritten may come back with a loss of power, until a sync has ended.
    package private(set) var isDoubtful = false
    /// The header of the first segment is on the disk.
    private var hasHeader = false

    static let magic = Bytes("ICLOG\u{3}\r\n".utf8)
    /// Of earlier forms, whichever.
    static let oldMagics = [UInt8(1), 2].map { Bytes("ICLOG".utf8) + [$0] }
    /// Magic, where the segment before ends, and a checksum of that: what follows there was never durable.
    package static let headerBytes = 16
    package static let markKind: UInt8 = 0
    package static let frameBytes = 9  // length, checksum, kind
    /// What is read at once when the log is read through.
    package static let chunkBytes = 1 << 20

    /// Opens or creates the log. A torn end is cut off: it was never durable. `start` is a place up to which everything is
    /// known to be sound. The effects must be carried out before any other.
    package init(
        folder: FileName, owner: UInt8, reader: any DiskReader, settings: LogSettings = LogSettings(),
        start: LogAddress? = nil, effects: inout [DiskEffect]
    ) throws {
        invariant(settings.segmentBytes <= 1 << 26 && settings.recordBytesLimit < 1 << 26, "segments of \(settings.segmentBytes) bytes")
        files = Files(folder: folder, reader: reader)
        self.owner = owner
        self.settings = settings
        let segments = try existingSegments()
        for number in segments {
            files.names[number] = files.makeName(number)
            if let end = try Log.endBefore(try header(number)), number > firstSegment { ends[number - 1] = end }
        }
        try cutTornEnd(segments, start: start, &effects)
    }

    /// Back to the newest segment that has a mark, or to the start: what lies between may never have been durable. Where it is
    /// torn, or a segment is missing (seed 50134), the log ends, and what followed was never durable either.
    private mutating func cutTornEnd(_ segments: [UInt32], start: LogAddress?, _ effects: inout [DiskEffect]) throws {
        var (end, isCertain): ((segment: UInt32, offset: Int, isDamaged: Bool)?, Bool) = (nil, false)
        for (number, following) in zip(segments.reversed(), [nil] + segments.reversed()) {
            let size = try size(number), known = start.flatMap { $0.segment == number && $0.offset <= size ? $0.offset : nil }
            let sound = try soundEnd(of: number, from: known)
            found.insert(number)
            // Without a header nothing of a segment counts, and the log ends in the one before.
            if sound.end < Log.headerBytes { end = nil } else if end == nil || following != number + 1 || sound.end < ends[number] ?? size { end = (number, sound.end, sound.isDamaged) }
            isCertain = sound.hasMark || known != nil
            if isCertain { break }
        }
        if !isCertain, segments.first != firstSegment { end = nil }
        // Emptied durably, as in `lose`.
        for number in segments where number > end?.segment ?? firstSegment {
            effects.append(.truncate(name(number), to: 0))
            emptied.insert(number)
            unsynced.insert(number)
            found.remove(number)
        }
        if let end {
            (segment, segmentEnd, durableEnd, hasHeader) = (end.segment, end.offset, (end.segment, end.offset), true)
            ends[segment] = nil
            if try reader.size(name(segment)) > segmentEnd { effects.append(.truncate(name(segment), to: segmentEnd)) }
            // What follows damage stays as it is: with more bytes behind them, some in it could look like a record.
            if end.isDamaged { begin(segment + 1, &effects) }
        } else {
            isDoubtful = !segments.isEmpty
            if isDoubtful { effects.append(.remove(name(firstSegment))) }
            found.remove(firstSegment)
            begin(firstSegment, &effects)
        }
        sync(effects: &effects)
    }

    private func header(_ number: UInt32) throws -> Bytes { try reader.read(name(number), at: 0, count: Log.headerBytes) }

    /// Nil: it is no header.
    private static func endBefore(_ header: Bytes) throws -> Int? {
        guard header.count == headerBytes, header.starts(with: magic) else { return nil }
        return checkedEnd(header)
    }
    private static func checkedEnd(_ header: Bytes) -> Int? {
        let (end, check): (UInt32, UInt32) = header.withUnsafeBytes { (load($0, 8), load($0, 12)) }
        return mix(header[8..<12], seed: 1).low32 == check ? Int(end) : nil
    }

    /// What a crash has torn may look like an older version's first bytes (run 960641), but holds nothing, or goes on as this one's.
    private static func isOlder(_ bytes: Bytes) -> Bool {
        oldMagics.contains { bytes.starts(with: $0) } && bytes.count > headerBytes && checkedEnd(bytes) == nil
    }

    /// Opens it and hands every record to `visit` in order. Damage is stepped over and returned.
    package init(
        folder: FileName, owner: UInt8, reader: any DiskReader, settings: LogSettings = LogSettings(),
        visit: (LogPosition, UInt8, ArraySlice<UInt8>) throws -> Void, damages: inout [LogDamage],
        effects: inout [DiskEffect]
    ) throws {
        try self.init(folder: folder, owner: owner, reader: reader, settings: settings, effects: &effects)
        var cursor: LogAddress? = firstAddress
        while let from = cursor { cursor = try records(from: from, bytes: Log.chunkBytes, damages: &damages, visit: visit) }
    }

    /// Where the first record is, if there is any.
    package var firstAddress: LogAddress { LogAddress(segment: firstSegment, offset: Log.headerBytes) }
    /// All that was there at the opening is durable by now, so what is durable may refer to it.
    package var isFoundDurable: Bool { found.isEmpty }
    /// Where the durable part ends.
    package var endAddress: LogAddress { LogAddress(segment: durableEnd.segment, offset: durableEnd.offset) }

    /// What counts of a segment that others follow.
    private func size(_ number: UInt32) throws(DiskError) -> Int {
        do {
            let size = try reader.size(name(number))
            return min(size, ends[number] ?? size)
        } catch { if case .notFound = error { return 0 } else { throw error } }
    }

    private func existingSegments() throws -> [UInt32] {
        try reader.list(folder + "/").compactMap { file in
            let base = file.dropFirst(folder.count + 1)
            guard base.hasSuffix(".log"), let number = UInt32(base.dropLast(4)) else { return nil }
            return number
        }
    }

    func name(_ segment: UInt32) -> FileName { files.name(segment) }

    private mutating func begin(_ number: UInt32, _ effects: inout [DiskEffect]) {
        if number > firstSegment { ends[segment] = segmentEnd }
        var header = Log.magic
        Kernel.append(UInt32(number > firstSegment ? segmentEnd : 0), to: &header)
        Kernel.append(mix(header[8..<12], seed: 1).low32, to: &header)
        segment = number
        emptied.remove(number)
        files.names[number] = files.makeName(number)
        effects.append(.append(name(number), header))
        segmentEnd = Log.headerBytes
        needsMark = false
        unsynced.insert(number)
        if number == firstSegment { durableEnd = (number, segmentEnd) }
    }

    // MARK: Writing

    /// Adds a record. It is readable at once and durable when an outcome says so.
    package mutating func append(
        kind: UInt8, _ payload: Bytes, effects: inout [DiskEffect]
    ) throws(LogError) -> (position: LogPosition, sequence: UInt64) {
        invariant(kind != Log.markKind, "kind 0 is the log's own")
        guard payload.count <= settings.recordBytesLimit else { throw .tooLarge(payload.count) }
        let frame = Log.frame(kind, payload)
        if segmentEnd + frame.count > settings.segmentBytes && segmentEnd > Log.headerBytes { begin(segment + 1, &effects) }
        if needsMark {
            needsMark = false
            var end = Bytes()
            Kernel.append(UInt32(durableEnd.offset), to: &end)
            let mark = Log.frame(Log.markKind, end)
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

    package static func frame(_ kind: UInt8, _ payload: Bytes) -> Bytes {
        var out = Bytes()
        out.reserveCapacity(frameBytes + payload.count)
        Kernel.append(UInt32(payload.count), to: &out)
        Kernel.append(payload.withUnsafeBytes { checksum(kind, $0) }, to: &out)
        out.append(kind)
        out.append(contentsOf: payload)
        return out
    }

    /// Over length, kind and payload.
    static func checksum(_ kind: UInt8, _ payload: UnsafeRawBufferPointer) -> UInt32 {
        mix(payload, seed: UInt64(payload.count) << 8 | UInt64(kind)).low32
    }

    /// Asks for everything appended so far to be made durable. One sync runs at a time; what comes meanwhile waits for the
    /// next one, which then serves all of it (group commit).
    package mutating func sync(effects: inout [DiskEffect]) {
        guard waiting.isEmpty else { wantsSync = true; return }
        guard appended > durable || !found.isEmpty || isDoubtful else { return }
        appendedEndAtSync = (appended, segment, segmentEnd)
        for number in SortedSet(unsynced.elements + found.elements) {
            nextTicket += 1
            let ticket = SyncTicket(owner: owner, number: nextTicket)
            waiting.insert(ticket)
            if emptied.contains(number) { emptying.insert(ticket) }
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
            // What is not there has nothing in it.
            if case .notFound = error, emptying.contains(ticket) { break }
            syncFailure = syncFailure ?? error
        }
        guard waiting.isEmpty else { return nil }
        defer { emptying = SortedSet() }
        if let failure = syncFailure { return lose(failure, &effects) }
        let (sequence, segment, offset) = appendedEndAtSync
        durable = sequence
        durableEnd = (segment, offset)
        syncedSegment = segment
        found = SortedSet()
        (isDoubtful, hasHeader) = (false, true)
        needsMark = segment == self.segment
        forgetFresh()
        if !emptying.isEmpty {
            for number in emptied { effects.append(.remove(name(number))) }
            emptied = SortedSet()
        }
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
        // Emptied durably before anything else counts: a segment that came back with a crash would say that the one before ends
        // where it ended then. A removal has no sync of its own.
        for number in stride(from: segment, to: durableEnd.segment, by: -1) {
            effects.append(.truncate(name(number), to: 0))
            emptied.insert(number)
        }
        unsynced = SortedSet([durableEnd.segment] + emptied)
        if hasHeader {
            effects.append(.truncate(name(durableEnd.segment), to: durableEnd.offset))
            segment = durableEnd.segment
            segmentEnd = durableEnd.offset
        } else {  // nobody knows how much of it there is
            effects.append(.remove(name(firstSegment)))
            begin(firstSegment, &effects)
        }
        appended = durable
        isDoubtful = true
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
        let bytes = try bytes(at: LogAddress(segment: position.segment, offset: Int(position.offset)), count: count)
        guard let record = Log.record(in: bytes, at: 0, limit: settings.recordBytesLimit), record.end == count else {
            throw .damaged(LogDamage(file: file, offset: Int(position.offset), reason: "checksum does not match"))
        }
        return Bytes(bytes[record.payload])
    }

    /// The record whose payload begins there. Nil: no sound record does.
    package func record(at payload: LogAddress) throws(LogError) -> (position: LogPosition, payload: Bytes)? {
        guard payload.offset >= Log.frameBytes + Log.headerBytes else { return nil }
        let head = try bytes(at: payload - Log.frameBytes, count: Log.frameBytes)
        guard head.count == Log.frameBytes else { return nil }
        let length: UInt32 = head.withUnsafeBytes { load($0, 0) }
        guard length <= settings.recordBytesLimit else { return nil }
        let position = LogPosition(segment: payload.segment, offset: UInt32(payload.offset - Log.frameBytes), length: length)
        do { return (position, try read(position)) } catch {
            if case .damaged = error { return nil }
            throw error
        }
    }

    package func bytes(at address: LogAddress, count: Int) throws(LogError) -> Bytes { try files.bytes(at: address, count: count) }

    /// The record whose frame is there, and its first bytes, unchecked. Nil: none is, or the frame makes no sense.
    package func peek(at address: LogAddress, count: Int) throws(LogError) -> (position: LogPosition, kind: UInt8, head: Bytes)? {
        let head = try bytes(at: address, count: Log.frameBytes + count)
        guard head.count >= Log.frameBytes else { return nil }
        let length: UInt32 = head.withUnsafeBytes { load($0, 0) }
        guard length <= settings.recordBytesLimit else { return nil }
        let position = LogPosition(segment: address.segment, offset: UInt32(address.offset), length: length)
        return (position, head[8], Bytes(head[Log.frameBytes...]))
    }

    /// Where the next durable record begins, or nil at the end.
    package func next(after position: LogPosition) -> LogAddress? {
        let end = position.end
        if end < endAddress, end.segment == durableEnd.segment { return end }
        guard end.segment < durableEnd.segment else { return nil }
        if let size = try? size(end.segment), end.offset < size { return end }
        let next = LogAddress(segment: end.segment + 1, offset: Log.headerBytes)
        return next < endAddress ? next : nil
    }

    /// Where the next sound record begins behind one that is not, or nil.
    package func next(afterDamageAt address: LogAddress) -> LogAddress? {
        var damages: [LogDamage] = []
        var found: LogAddress?
        let next = try? records(from: address, bytes: 1, damages: &damages) { position, _, _ in
            found = found ?? LogAddress(segment: position.segment, offset: Int(position.offset))
        }
        return found ?? next ?? nil
    }

    /// Where a damage of this log begins.
    package func address(of damage: LogDamage) -> LogAddress? {
        guard let slash = damage.file.lastIndex(of: "/"), let number = UInt32(damage.file[damage.file.index(after: slash)...].dropLast(4)),
            name(number) == damage.file
        else { return nil }
        return LogAddress(segment: number, offset: damage.offset)
    }

    package func damage(at address: LogAddress, _ reason: String) -> LogDamage { files.damage(at: address, reason) }

    struct Record {
        let kind: UInt8
        let payload: Range<Int>
        var end: Int { payload.upperBound }
    }

    /// The whole and sound record at an offset, or nil.
    static func record(in bytes: Bytes, at offset: Int, limit: Int) -> Record? {
        bytes.withUnsafeBytes { bytes in
            guard offset + frameBytes <= bytes.count else { return nil }
            let length = Int(load(bytes, offset, as: UInt32.self))
            let start = offset + frameBytes
            guard length <= limit, start + length <= bytes.count else { return nil }
            let kind = bytes[offset + 8]
            let payload = UnsafeRawBufferPointer(rebasing: bytes[start..<start + length])
            guard checksum(kind, payload) == load(bytes, offset + 4, as: UInt32.self) else { return nil }
            return Record(kind: kind, payload: start..<start + length)
        }
    }

    /// Hands out the durable records from an address on, those that begin within about so many bytes. Where to go on, or nil
    /// at the end. Damage is stepped over.
    package func records(
        from address: LogAddress, bytes budget: Int, damages: inout [LogDamage],
        visit: (LogPosition, UInt8, ArraySlice<UInt8>) throws -> Void
    ) throws -> LogAddress? {
        var (number, offset, left) = (address.segment, address.offset, budget)
        while left > 0 {
            let isLast = number >= durableEnd.segment
            let limit = isLast ? durableEnd.offset : try size(number)
            guard offset < limit else {
                if isLast { return nil }
                if limit == 0 { damages.append(LogDamage(file: name(number), offset: 0, reason: "the file is missing or empty")) }
                (number, offset) = (number + 1, Log.headerBytes)
                continue
            }
            if offset == Log.headerBytes, try Log.endBefore(try header(number)) == nil {
                damages.append(LogDamage(file: name(number), offset: 0, count: Log.headerBytes, reason: "the header does not match its checksum"))
            }
            let end = try visitChunk(number, offset, limit, min(left, Log.chunkBytes), &damages, visit)
            left -= end - offset
            offset = end
        }
        return LogAddress(segment: number, offset: offset)
    }

    /// Reads about so many bytes of a segment. Returns the offset behind the last record, at least one further on.
    private func visitChunk(
        _ number: UInt32, _ start: Int, _ limit: Int, _ count: Int, _ damages: inout [LogDamage],
        _ visit: (LogPosition, UInt8, ArraySlice<UInt8>) throws -> Void
    ) throws -> Int {
        var bytes = try reader.read(name(number), at: start, count: min(max(count, 4096), limit - start))
        if let whole = Log.frameLength(in: bytes), whole > bytes.count, whole <= limit - start, whole <= settings.recordBytesLimit + Log.frameBytes {
            bytes = try reader.read(name(number), at: start, count: whole)
        }
        if bytes.isEmpty {
            damages.append(LogDamage(file: name(number), offset: start, count: limit - start, reason: "the file ends before its last durable record"))
            return limit
        }
        var offset = 0
        while offset < bytes.count {
            guard let record = Log.record(in: bytes, at: offset, limit: settings.recordBytesLimit) else {
                let isCut = Log.frameLength(in: bytes[offset...]).map { offset + $0 > bytes.count && start + offset + $0 <= limit } ?? (start + bytes.count < limit)
                if isCut && offset > 0 { break }
                return try stepOver(number, start + offset, limit, &damages)
            }
            let position = LogPosition(segment: number, offset: UInt32(start + offset), length: UInt32(record.payload.count))
            if record.kind != Log.markKind { try visit(position, record.kind, bytes[record.payload]) }
            offset = record.end
        }
        return start + offset
    }

    /// What a frame says of its own length.
    private static func frameLength(in bytes: some Collection<UInt8>) -> Int? {
        guard bytes.count >= frameBytes else { return nil }
        return bytes.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) } + frameBytes
    }

    private func stepOver(_ number: UInt32, _ offset: Int, _ limit: Int, _ damages: inout [LogDamage]) throws -> Int {
        let rest = try reader.read(name(number), at: offset, count: limit - offset)
        let next = soundRecord(in: rest, after: 0)
        let text = next.map { "\($0) bytes hold no sound record" } ?? "no sound record follows"
        damages.append(LogDamage(file: name(number), offset: offset, count: next ?? rest.count, reason: text))
        return offset + (next ?? rest.count)
    }

    /// A crash tears what was not durable, and only that may be cut off in silence. And whether a mark lies there, which says up
    /// to where it was. An end before that of the header: nothing of the segment was durable.
    private func soundEnd(of number: UInt32, from start: Int?) throws -> (end: Int, hasMark: Bool, isDamaged: Bool) {
        let from = start ?? 0
        let bytes = try reader.read(name(number), at: from, count: try size(number) - from)
        var (offset, isMarked, isDamaged) = (start == nil ? Log.headerBytes : 0, false, false)
        while offset < bytes.count {
            if let record = Log.record(in: bytes, at: offset, limit: settings.recordBytesLimit) {
                offset = record.end
                if record.kind == Log.markKind { isMarked = true }
            } else {
                guard wasDurable(offset, in: bytes, from: from) else { break }
                isDamaged = true
                offset = soundRecord(in: bytes, after: offset) ?? bytes.count
            }
        }
        // A mark among what stays is what says that the header was durable too, at the next opening as at this one.
        if start == nil, !isMarked, try Log.endBefore(Bytes(bytes.prefix(Log.headerBytes))) == nil {
            if Log.isOlder(bytes) { throw LogError.notALog(name(number)) }
            return (0, false, false)
        }
        return (from + offset, isMarked, isDamaged)
    }

    /// Whether a mark behind what is damaged there says that it was durable. The bytes are those of a segment from some place on.
    private func wasDurable(_ offset: Int, in bytes: Bytes, from start: Int) -> Bool {
        var candidate = offset
        while let next = soundRecord(in: bytes, after: candidate) {
            guard let record = Log.record(in: bytes, at: next, limit: settings.recordBytesLimit) else { break }
            if record.kind == Log.markKind, Log.durableEnd(bytes[record.payload], at: start + next) > start + offset { return true }
            candidate = record.end - 1
        }
        return false
    }
    /// Of the segment, by a mark in it. Older ones say nothing, and stood behind it.
    private static func durableEnd(_ mark: ArraySlice<UInt8>, at place: Int) -> Int {
        mark.count == 4 ? mark.reversed().reduce(0) { $0 << 8 | Int($1) } : place
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
