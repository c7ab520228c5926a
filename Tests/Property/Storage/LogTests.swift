// The log keeps what it said was durable, and never serves anything else.

import Kernel
import Seams
import Storage
import TestSupport
import Testing

private final class Opened {
    var log: Log
    let disk: MemoryDisk
    var records: [Bytes] = []
    var damages: [LogDamage] = []
    var outcomes: [Log.Outcome] = []
    var carried: [DiskEffect] = []
    var settings = LogSettings()

    init(_ disk: MemoryDisk, segmentBytes: Int = 1 << 20) throws {
        self.disk = disk
        settings.segmentBytes = segmentBytes
        var effects: [DiskEffect] = []
        var records: [Bytes] = []
        log = try Log(
            folder: "log", owner: 1, reader: disk, settings: settings, visit: { records.append(Bytes($2)) },
            damages: &damages, effects: &effects)
        self.records = records
        carryOut(effects)
    }

    func carryOut(_ effects: [DiskEffect]) {
        var queue = effects
        while !queue.isEmpty {
            carried.append(queue[0])
            guard let event = disk.carryOut(queue.removeFirst()) else { continue }
            if let outcome = log.onDisk(event, effects: &queue) { outcomes.append(outcome) }
        }
    }
    @discardableResult
    func append(_ payload: Bytes, sync: Bool = true) throws -> LogPosition {
        var effects: [DiskEffect] = []
        let position = try log.append(kind: 7, payload, effects: &effects).position
        if sync { log.sync(effects: &effects) }
        carryOut(effects)
        return position
    }
}

@Suite struct LogTests {
    private func payload(_ number: Int) -> Bytes { Bytes(repeating: UInt8(number), count: 5 + number) }

    @Test(arguments: 1...2) func aLogOfAnOlderFormIsRefused(version: UInt8) throws {
        let disk = MemoryDisk()
        _ = disk.carryOut(.append("log/00000001.log", Bytes("ICLOG".utf8) + [version] + Bytes(repeating: 7, count: 100)))
        #expect(throws: LogError.notALog("log/00000001.log")) { try Opened(disk) }
    }

    /// Run 960641: a byte of the first header was torn, and made it look like an older version's.
    @Test(arguments: [UInt8(1), 2], [false, true]) func tornHeaderThatLooksOlder(version: UInt8, isCut: Bool) throws {
        let fresh = MemoryDisk()
        try Opened(fresh).append(payload(1), sync: false)
        var bytes = try fresh.read("log/00000001.log", at: 0, count: 1000)
        bytes[5] = version
        let disk = MemoryDisk()
        _ = disk.carryOut(.append("log/00000001.log", isCut ? Bytes(bytes.prefix(11)) : bytes))
        #expect(try Opened(disk).records.isEmpty)
    }

    /// What a crash has left of the first header, or anything else that is no log, is begun anew.
    @Test(arguments: [Bytes("I".utf8) + [0, 0, 0, 0, 0xf7, 0xeb, 0x7e, 0x72, 0], [], Bytes(repeating: 1, count: 40),
        [0x49, 0, 2, 0, 0, 0, 0x79, 0, 0, 0, 0, 0, 0, 0xf7, 0xeb, 0x7e, 0x72, 0, 7, 7, 7, 7, 7]]) func aFirstSegmentWithoutAHeaderIsBegunAnew(bytes: Bytes) throws {
        let disk = MemoryDisk()
        _ = disk.carryOut(.append("log/00000001.log", bytes))
        try Opened(disk).append(payload(3))
        let again = try Opened(disk)
        #expect(again.records == [payload(3)] && again.damages.isEmpty)
    }

    @Test func recordsComeBackInOrderAcrossSegments() throws {
        let disk = MemoryDisk()
        let first = try Opened(disk, segmentBytes: 60)
        let positions = try (0..<20).map { try first.append(payload($0)) }
        #expect(positions.last?.segment ?? 0 > 3)
        let second = try Opened(disk, segmentBytes: 60)
        #expect(second.records == (0..<20).map(payload))
        for (number, position) in positions.enumerated() { #expect(try second.log.read(position) == payload(number)) }
    }

    /// A segment that is taken back may come back with a crash, and would say where the one before ended then (seed 6001249 with disk
    /// faults): nothing is durable before it is durably empty.
    @Test func aSegmentThatIsTakenBackIsEmptyBeforeAnythingElseCounts() throws {
        let disk = MemoryDisk()
        let log = try Opened(disk, segmentBytes: 100)
        try log.append(payload(1))
        disk.isFull = true
        try log.append(Bytes(repeating: 9, count: 90))  // begins the second segment
        disk.isFull = false
        #expect(log.outcomes.last == .lost(after: 1, .full("log/00000002.log")))
        log.carried = []
        try log.append(payload(2))
        #expect(log.outcomes.last == .durable(through: 2))
        let synced = log.carried.firstIndex { if case .sync("log/00000002.log", _) = $0 { true } else { false } }
        let removed = log.carried.firstIndex(of: .remove("log/00000002.log"))
        #expect(try #require(synced) < #require(removed), "what is gone with its name may come back")
        try log.append(Bytes(repeating: 8, count: 90))
        #expect(try Opened(disk, segmentBytes: 100).records == [payload(1), payload(2), Bytes(repeating: 8, count: 90)])
    }

    /// Whatever the crash leaves of the unsynced bytes, and whichever of them it spoils.
    @Test func aCrashKeepsAPrefixThatHoldsAllThatWasDurable() throws {
        for durable in 0..<3 {
            for kept in 0..<60 {
                for spoiled in [nil, 0, 3, 9, 20] as [Int?] {
                    let disk = MemoryDisk()
                    let log = try Opened(disk)
                    for number in 0..<durable { try log.append(payload(number)) }
                    let safe = durable == 0 ? 0 : disk.contents("log/00000001.log").count
                    for number in durable..<durable + 3 { try log.append(payload(number), sync: false) }
                    disk.crash(keeping: kept)
                    let left = disk.contents("log/00000001.log").count
                    if let spoiled, safe + spoiled < left { disk.flipBit("log/00000001.log", at: safe + spoiled) }
                    let again = try Opened(disk)
                    #expect(again.records.count >= durable)
                    #expect(again.records == (0..<again.records.count).map(payload))
                    try again.append([1, 2, 3])
                    #expect(try Opened(disk).records == again.records + [[1, 2, 3]])
                }
            }
        }
    }

    /// What is appended while a sync runs is not durable with it: the mark that follows says so (seed 5000627).
    @Test func whatCameDuringASyncMayBeTorn() throws {
        let disk = MemoryDisk()
        let log = try Opened(disk)
        var effects: [DiskEffect] = []
        _ = try log.log.append(kind: 7, payload(1), effects: &effects)
        log.log.sync(effects: &effects)
        let answers = effects.compactMap(disk.carryOut)
        let torn = try log.append(payload(2), sync: false)
        for answer in answers { _ = log.log.onDisk(answer, effects: &effects) }
        try log.append(payload(3), sync: false)
        disk.flipBit("log/00000001.log", at: Int(torn.offset) + 12)
        let again = try Opened(disk)
        #expect(again.records == [payload(1)] && again.damages.isEmpty)
    }

    /// A crash may tear the end of one segment, and leave the next one that was begun behind it (seed 1800385).
    @Test func aSegmentBehindATornOneWasNeverDurable() throws {
        let disk = MemoryDisk()
        let log = try Opened(disk, segmentBytes: 100)
        try log.append(payload(1))
        let torn = try log.append(payload(20), sync: false)
        try log.append(payload(60), sync: false)
        #expect(torn.segment == 1 && log.log.endAddress.segment == 1)
        disk.flipBit("log/00000001.log", at: Int(torn.offset) + 12)
        let again = try Opened(disk, segmentBytes: 100)
        #expect(again.records == [payload(1)] && again.damages.isEmpty)
        try again.append(payload(61))
        try again.append(payload(62))
        let last = try Opened(disk, segmentBytes: 100)
        #expect(last.records == [1, 61, 62].map(payload) && last.damages.isEmpty)
    }

    /// It may take even the header of the one between, which leaves a file of no bytes, or of other ones.
    @Test(arguments: [0, 5, 16, 50]) func whatFollowsASegmentWithoutAHeaderWasNeverDurable(left: Int) throws {
        let disk = MemoryDisk()
        let log = try Opened(disk, segmentBytes: 100)
        try log.append(payload(1))
        let between = try log.append(payload(60), sync: false)
        let last = try log.append(payload(61), sync: false)
        #expect(log.log.endAddress.segment == 1 && between.segment == 2 && last.segment == 3)
        _ = disk.carryOut(.truncate("log/00000002.log", to: left))
        if left > 0 { disk.flipBit("log/00000002.log", at: 1) }
        let again = try Opened(disk, segmentBytes: 100)
        #expect(again.records == [payload(1)] && again.damages.isEmpty)
        for number in 62...65 { try again.append(payload(number)) }
        let end = try Opened(disk, segmentBytes: 100)
        #expect(end.records == [1, 62, 63, 64, 65].map(payload) && end.damages.isEmpty)
    }

    /// A header that has rotted is damage like any other: all that follows it is still read.
    @Test(arguments: [1, 2, 3], [0, 9, 14]) func aHeaderThatHasRottedIsSteppedOver(segment: Int, at offset: Int) throws {
        let disk = MemoryDisk()
        let log = try Opened(disk, segmentBytes: 100)
        for number in 1...12 { try log.append(payload(number)) }
        #expect(log.log.endAddress.segment >= 3)
        disk.flipBit("log/0000000\(segment).log", at: offset)
        let again = try Opened(disk, segmentBytes: 100)
        #expect(again.records == (1...12).map(payload))
        #expect(again.damages.map(\.file) == ["log/0000000\(segment).log"] && again.damages[0].offset == 0 && again.damages[0].count == Log.headerBytes)
        try again.append(payload(13))
        #expect(try Opened(disk, segmentBytes: 100).records == (1...13).map(payload))
    }

    /// The entry of the first segment went with a crash, and those behind it did not: nothing was ever durable. Where something was,
    /// it is damage (drill of seed 2215).
    @Test(arguments: [false, true]) func theFirstSegmentIsMissing(wasDurable: Bool) throws {
        let disk = MemoryDisk()
        let first = try Opened(disk, segmentBytes: 100)
        for number in [60, 61, 62] { try first.append(payload(number), sync: false) }
        if wasDurable { for number in [1, 2] { try first.append(payload(number)) } }
        _ = disk.carryOut(.remove("log/00000001.log"))
        let log = try Opened(disk, segmentBytes: 100)
        #expect(log.records == (wasDurable ? [61, 62, 1, 2].map(payload) : []))
        #expect(log.damages.map(\.file) == (wasDurable ? ["log/00000001.log"] : []))
        try log.append(payload(70))
        #expect(try Opened(disk, segmentBytes: 100).records == log.records + [payload(70)])
    }

    /// The entry of a segment went with a crash, and the one behind it did not: the log ends before both.
    @Test func aMissingSegmentEndsTheLog() throws {
        let disk = MemoryDisk()
        let first = try Opened(disk, segmentBytes: 100)
        try first.append(payload(1))
        for number in [60, 61] { try first.append(payload(number), sync: false) }
        _ = disk.carryOut(.remove("log/00000002.log"))
        let log = try Opened(disk, segmentBytes: 100)
        #expect(log.records == [payload(1)] && log.damages.isEmpty)
        try log.append(payload(70))
        #expect(try Opened(disk, segmentBytes: 100).records == [1, 70].map(payload))
    }

    /// What an earlier life has left is made durable before anything says so (seed 5001529), in all segments that may not be.
    @Test func whatIsFoundIsSynced() throws {
        let disk = MemoryDisk()
        let first = try Opened(disk, segmentBytes: 100)
        try first.append(payload(1))
        for number in [60, 61] { try first.append(payload(number), sync: false) }
        var effects: [DiskEffect] = []
        let log = try Log(folder: "log", owner: 1, reader: disk, settings: first.settings, effects: &effects)
        #expect(!log.isFoundDurable)
        #expect(effects.compactMap { if case .sync(let file, _) = $0 { file } else { nil } } == (1...3).map { "log/0000000\($0).log" })
        #expect(try Opened(disk, segmentBytes: 100).log.isFoundDurable)
    }

    /// A file that is shorter than it was: what is gone is damage, and reading ends.
    @Test(arguments: [0, 1, 20]) func aFileThatEndsTooEarlyIsDamagedThere(more: Int) throws {
        let disk = MemoryDisk()
        let log = try Opened(disk)
        let positions = try (0..<5).map { try log.append(payload($0)) }
        _ = disk.carryOut(.truncate("log/00000001.log", to: Int(positions[3].offset) + more))
        var damages: [LogDamage] = []
        var records: [Bytes] = []
        var cursor: LogAddress? = log.log.firstAddress
        for _ in 0..<20 {
            guard let from = cursor else { break }
            cursor = try log.log.records(from: from, bytes: 1 << 20, damages: &damages) { records.append(Bytes($2)) }
        }
        #expect(cursor == nil && damages.count >= 1)
        #expect(records == [0, 1, 2].map(payload) || records == [0, 1, 2, 3].map(payload))
        #expect(damages.last.map { $0.offset + $0.count } == log.log.endAddress.offset)
    }

    @Test func damageOfDurableRecordsIsReportedAndSteppedOver() throws {
        let disk = MemoryDisk()
        let log = try Opened(disk)
        let positions = try (0..<5).map { try log.append(payload($0)) }
        disk.flipBit("log/00000001.log", at: Int(positions[2].offset) + 12)
        #expect(throws: LogError.self) { try log.log.read(positions[2]) }
        let again = try Opened(disk)
        #expect(again.damages.count == 1)
        #expect(again.damages.first?.file == "log/00000001.log" && again.damages.first?.offset == Int(positions[2].offset))
        #expect(again.records == [0, 1, 3, 4].map(payload))
    }

    /// Bytes that hold no record do not become one by what is written behind them: a frame that lacks one byte, and holds a mark
    /// (found by fuzzing).
    @Test func whatIsDamagedIsNotWrittenOn() throws {
        let disk = MemoryDisk()
        try Opened(disk).append([1])
        let mark = Log.frame(Log.markKind, [])
        _ = disk.carryOut(.append("log/00000001.log", Log.frame(7, [5, 5] + mark + [1]).dropLast()))
        var effects: [DiskEffect] = []
        var log = try Log(folder: "log", owner: 1, reader: disk, effects: &effects)
        _ = try log.append(kind: 7, [9], effects: &effects)  // its frame begins with the byte that lacks
        log.sync(effects: &effects)
        for effect in effects { _ = disk.carryOut(effect) }
        let again = try Opened(disk)
        #expect(again.records == [[1], [9]] && again.damages.count == 1)
        try again.append([10])
        #expect(try Opened(disk).records == [[1], [9], [10]])
    }

    @Test func aFailedSyncUndoesWhatItShouldHaveKept() throws {
        let disk = MemoryDisk()
        let log = try Opened(disk)
        try log.append([1])
        disk.isFull = true
        try log.append([2])
        #expect(log.outcomes.last == .lost(after: 1, .full("log/00000001.log")))
        disk.isFull = false
        try log.append([3])
        #expect(try Opened(disk).records == [[1], [3]])
    }
}
