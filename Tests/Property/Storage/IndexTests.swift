// The index against a dictionary of sets, through flushes, merges, crashes and damage.

import Kernel
import Seams
@testable import Storage
import TestSupport
import Testing

private struct Rig {
    var index: Index
    let disk: MemoryDisk
    var waiting: [Job] = []
    var answer: Looked?
    var settings: IndexSettings
    /// What was handed over with the last checkpoint that was opened.
    var opened: (address: LogAddress, state: Bytes)?
    var faults: [String] = []
    /// What a sync has done is told.
    var answers: Bool
    /// The last that was asked for.
    var synced: SyncTicket?

    init(_ disk: MemoryDisk, tableEntries: Int = 8, answers: Bool = true) throws {
        (self.disk, self.answers) = (disk, answers)
        settings = IndexSettings()
        settings.tableEntries = tableEntries
        index = Index(folder: "x", owner: 9, reader: disk, settings: settings)
        var effects: [DiskEffect] = []
        opened = try index.open(faults: &faults, effects: &effects)
        act { $1 = effects.map(Index.Effect.disk) }
    }

    mutating func act(_ body: (inout Index, inout [Index.Effect]) -> Void) {
        var effects: [Index.Effect] = []
        body(&index, &effects)
        for effect in effects {
            switch effect {
            case .disk(let effect):
                if case .sync(_, let ticket) = effect { synced = ticket }
                guard let event = disk.carryOut(effect), answers else { continue }
                act { _ = $0.onDisk(event, effects: &$1) }
            case .job(let job): waiting.append(job)
            }
        }
    }

    /// Ends one of the jobs under way, whichever.
    mutating func endOne(_ choices: inout Choices) {
        guard !waiting.isEmpty else { return }
        let job = waiting.remove(at: choices.below(waiting.count))
        switch disk.finish(job) {
        case .done(let run): act { $0.onJob(job.number, run, effects: &$1) }
        case .found(let looked): answer = looked
        case .failed(let error): Issue.record("\(error)")
        }
    }
}

/// By hash, the places that are there.
private typealias Model = [UInt64: Set<UInt64>]

@Suite struct IndexTests {
    private func word(_ place: UInt64) -> IndexWord { IndexWord(kind: UInt8(place & 3) + 1, LogAddress(raw: place >> 2)) }
    private func found(_ rig: Rig, _ hash: UInt64) throws -> Set<UInt64> {
        Set(try rig.index.words(hash).map { $0.address.raw << 2 | UInt64($0.kind - 1) })
    }

    /// A place is put once, and may be erased then.
    private func change(_ rig: inout Rig, _ model: inout Model, _ place: UInt64, _ choices: inout Choices) {
        let hash = mix([UInt8(choices.below(40))], seed: 3).high >> 16
        if choices.chance(1, in: 2), let old = model[hash]?.min() {
            rig.index.erase(hash, word(old))
            model[hash]?.remove(old)
        } else if choices.chance(1, in: 4), !rig.index.mayContain(hash) {
            let isNew = rig.index.putIfNew(hash, word(place))
            #expect(isNew)
            model[hash, default: []].insert(place)
        } else {
            rig.index.put(hash, word(place))
            model[hash, default: []].insert(place)
        }
    }

    private func check(_ rig: Rig, _ model: Model) throws {
        for key in 0..<44 {
            let hash = mix([UInt8(key)], seed: 3).high >> 16
            #expect(try found(rig, hash) == model[hash] ?? [])
            if !(model[hash] ?? []).isEmpty { #expect(rig.index.mayContain(hash)) }
        }
    }

    @Test(arguments: 0..<20) func itHoldsWhatAModelHolds(_ seed: Int) throws {
        var choices = Choices(seed: UInt64(seed))
        var rig = try Rig(MemoryDisk(), tableEntries: 1 + choices.below(9))
        var model = Model(), kept = Model()
        var checkpoints: [LogAddress: Model] = [:]
        for step in 1...400 {
            change(&rig, &model, UInt64(step), &choices)
            if rig.index.wantsFreeze {
                let address = LogAddress(segment: 1, offset: step)
                checkpoints[address] = model
                rig.act { $0.freeze(at: address, state: { [Bytes("state \(step)".utf8)] }, effects: &$1) }
            }
            if choices.chance(1, in: 4) { rig.endOne(&choices) }
            if step % 50 == 0 { try check(rig, model) }
            // A crash: what is opened is the state of some checkpoint, with all that was there then.
            if choices.chance(1, in: 60) {
                rig.disk.crash(keeping: choices.below(3) * 1000)
                rig = try Rig(rig.disk, tableEntries: rig.settings.tableEntries)
                #expect(rig.faults.isEmpty || rig.opened != nil || checkpoints.isEmpty)
                kept = rig.opened.flatMap { checkpoints[$0.address] } ?? Model()
                if let opened = rig.opened { #expect(String(decoding: opened.state, as: UTF8.self) == "state \(opened.address.offset)") }
                model = kept
                try check(rig, model)
            }
        }
        while !rig.waiting.isEmpty { rig.endOne(&choices) }
        try check(rig, model)
        #expect(rig.index.runCount < 32)
    }

    /// What a lookup found of the runs of one moment, and what is in memory, is what is there, however much has come since.
    @Test(arguments: 0..<8) func anAnswerHoldsWithWhatHasComeSince(_ seed: Int) throws {
        var choices = Choices(seed: UInt64(seed))
        var rig = try Rig(MemoryDisk(), tableEntries: 1 + choices.below(30))
        var model = Model()
        let hashes = (0..<40).map { mix([UInt8($0)], seed: 3).high >> 16 }
        var isValid = 0
        // And what was seen of all there was.
        var seen: [KnownKey] = []
        for step in 1...600 {
            change(&rig, &model, UInt64(step), &choices)
            if rig.index.wantsFreeze { rig.act { $0.freeze(at: LogAddress(segment: 1, offset: step), state: { [[1]] }, effects: &$1) } }
            if choices.chance(1, in: 4) { rig.endOne(&choices) }
            if choices.chance(1, in: 20) { rig.waiting.append(rig.index.lookup(hashes.count, hash: { hashes[$0] }, kind: 9) { _, _, _ in nil }) }
            if choices.chance(1, in: 300) {
                rig.act { $0.reset(effects: &$1) }
                (rig.waiting, model) = ([], Model())
            }
            if choices.chance(1, in: 20) {
                seen = try hashes.map { KnownKey(generation: rig.index.generation, words: try rig.index.words($0)) }
            }
            for (hash, key) in zip(hashes, seen) {
                #expect(Set(try rig.index.words(hash, seen: key).map { $0.address.raw << 2 | UInt64($0.kind - 1) }) == model[hash] ?? [])
            }
            guard let answer = rig.answer, !answer.hashes.isEmpty, step % 8 == 0 else { continue }
            #expect(answer.hashes == hashes)
            let isKnown = rig.index.isKnownSince(answer.generation)
            let since = rig.index.mayContain(hashes, since: isKnown ? answer.generation : 0)
            for (number, hash) in hashes.enumerated() {
                let found = answer.found.first { $0.number == number }?.key
                let words = try rig.index.words(hash, seen: found ?? KnownKey(generation: answer.generation, words: []))
                #expect(Set(words.map { $0.address.raw << 2 | UInt64($0.kind - 1) }) == model[hash] ?? [])
                // Whoever is nowhere is not asked again.
                #expect(found != nil || since.contains(number) || model[hash] ?? [] == [])
            }
            isValid += isKnown ? 1 : 0
        }
        #expect(isValid > 25)
    }

    @Test func mergingKeepsRunsFewAndDropsWhatIsGone() throws {
        var rig = try Rig(MemoryDisk(), tableEntries: 16)
        var choices = Choices(seed: 1)
        for number in 0..<2000 as Range<UInt64> {
            let hash = mix(withUnsafeBytes(of: number) { Bytes($0) }, seed: 1).high >> 16
            rig.index.put(hash, word(number))
            if number >= 16 {
                let old = mix(withUnsafeBytes(of: number - 16) { Bytes($0) }, seed: 1).high >> 16
                rig.index.erase(old, word(number - 16))
            }
            if rig.index.wantsFreeze { rig.act { $0.freeze(at: LogAddress(segment: 1, offset: Int(number)), state: { [[1]] }, effects: &$1) } }
            while !rig.waiting.isEmpty { rig.endOne(&choices) }
        }
        #expect(rig.index.runCount <= 12, "\(rig.index.runCount) runs")
        #expect(rig.index.entryCount < 2000, "\(rig.index.entryCount) entries of 16 that are left")
        let files = try rig.disk.list("x/")
        #expect(files.count == rig.index.runCount + 2, "\(files)")
    }

    /// Where older runs are left, too: a place is put once.
    @Test func anErasureThatMeetsItsEntryTakesItAlong() throws {
        var (older, newer) = (MemTable(capacity: 16), MemTable(capacity: 16))
        for number in 0..<100 as Range<UInt64> {
            older.set(number << 30, word(number))
            if number < 60 { newer.set(number << 30, IndexWord(kind: word(number).kind, word(number).address, isErased: true)) }
        }
        newer.set(77, IndexWord(kind: 1, LogAddress(raw: 7), isErased: true))  // of an older run
        let job = IndexJob(
            number: 1, file: "x/1.run", sources: [.memory(newer), .memory(older)], bitsPerEntry: 16, dropsErased: false, isUrgent: false)
        guard case .done(let run) = MemoryDisk().finish(Job(job)) else {
            Issue.record("no run")
            return
        }
        #expect(run.count == 41)
    }

    private func checkpoint(_ rig: inout Rig, _ number: UInt64, _ choices: inout Choices) {
        rig.act { index, effects in
            index.put(number, word(number))
            index.freeze(at: LogAddress(raw: number), state: { [[UInt8(number)]] }, effects: &effects)
        }
        while !rig.waiting.isEmpty { rig.endOne(&choices) }
    }

    /// A manifest that was found may never have been synced: until it is, the one before it stays, with all that it names.
    @Test func theManifestBeforeStaysUntilTheNewestIsDurable() throws {
        let disk = MemoryDisk()
        var (rig, choices) = (try Rig(disk), Choices(seed: 1))
        checkpoint(&rig, 1, &choices)
        let durable = try #require(try disk.list("x/").first { $0.hasSuffix(".manifest") })
        // The crash comes after the second manifest was written, and before it was synced.
        rig.answers = false
        checkpoint(&rig, 2, &choices)
        #expect(try disk.list("x/").filter { $0.hasSuffix(".manifest") }.count == 2)
        var again = try Rig(disk, answers: false)
        #expect(again.opened?.state == [2])
        #expect(try disk.list("x/").contains(durable), "the power may be cut now")
        again = try Rig(disk)
        #expect(again.opened?.state == [2])
        #expect(try !disk.list("x/").contains(durable))
    }

    /// Nor does it go when its sync fails: there is no other (drill of seed 16).
    @Test func aFoundManifestThatCannotBeSyncedStays() throws {
        let disk = MemoryDisk()
        var (rig, choices) = (try Rig(disk), Choices(seed: 1))
        checkpoint(&rig, 1, &choices)
        rig = try Rig(disk, answers: false)
        let number = try #require(rig.synced?.number)
        rig.act { _ = $0.onDisk(.syncFailed(SyncTicket(owner: 9, number: number), .full("x")), effects: &$1) }
        #expect(try Rig(disk).opened?.state == [1])
        rig.answers = true
        checkpoint(&rig, 2, &choices)
        #expect(try Rig(disk).opened?.state == [2])
        #expect(try disk.list("x/").filter { $0.hasSuffix(".manifest") }.count == 1)
    }

    /// It stopped the peer where it named more files than there are numbers for, under a checksum that matched.
    @Test func aManifestMayNameAnyNumberOfFiles() throws {
        let disk = MemoryDisk()
        var bytes = Bytes()
        for word in [Index.manifestMagic, 0, 2, UInt64.max] { append(word, to: &bytes) }
        append(mix(bytes, seed: Index.manifestMagic).low, to: &bytes)
        _ = disk.carryOut(.append("x/00000003.manifest", bytes))
        let rig = try Rig(disk)
        #expect(rig.opened == nil && rig.faults.count == 1)
    }

    /// Manifests that a power cut has brought back name the same damaged file, a hundred of them perhaps (seed 6032700).
    @Test func whatIsDamagedIsToldOnce() throws {
        let disk = MemoryDisk()
        var (rig, choices) = (try Rig(disk), Choices(seed: 1))
        for number in 1...4 as ClosedRange<UInt64> { checkpoint(&rig, number, &choices) }
        let newest = try #require(try disk.list("x/").first { $0.hasSuffix(".manifest") }), state = try #require(try disk.list("x/").first { $0.hasSuffix(".state") })
        for number in 1...2 { _ = disk.carryOut(.append("x/0000000\(number).manifest", disk.contents(newest))) }
        #expect(try Rig(MemoryDisk(copying: disk)).opened?.state == [4])
        disk.flipBit(state, at: 0)
        rig = try Rig(disk)
        let told = try #require(rig.faults.first)
        #expect(rig.opened == nil && rig.faults.count == 1 && told.contains(state) && told.hasSuffix("; nor can 2 older ones"))
    }

    @Test func damageOfWhatIsOpenedIsFound() throws {
        let disk = MemoryDisk()
        var rig = try Rig(disk, tableEntries: 50)
        var choices = Choices(seed: 1)
        for number in 0..<300 as Range<UInt64> {
            rig.index.put(mix([UInt8(number & 255), UInt8(number >> 8)], seed: 1).high >> 16, word(number))
            if rig.index.wantsFreeze { rig.act { $0.freeze(at: LogAddress(segment: 1, offset: Int(number)), state: { [[1, 2, 3]] }, effects: &$1) } }
            while !rig.waiting.isEmpty { rig.endOne(&choices) }
        }
        for file in try disk.list("x/") {
            for offset in stride(from: 0, to: disk.contents(file).count, by: file.hasSuffix(".run") ? 97 : 3) {
                let copy = MemoryDisk(copying: disk)
                copy.flipBit(file, at: offset)
                let damaged = try Rig(copy, tableEntries: 50)
                var isTold = damaged.opened == nil && !damaged.faults.isEmpty
                for number in 0..<300 as Range<UInt64> where !isTold {
                    let hash = mix([UInt8(number & 255), UInt8(number >> 8)], seed: 1).high >> 16
                    do { #expect(try damaged.index.words(hash).contains(word(number))) } catch { isTold = true }
                }
                #expect(isTold, "\(file) at \(offset)")
            }
        }
        #expect(try Rig(disk, tableEntries: 50).opened != nil)
    }

    @Test func aFilterKnowsWhatWasPutInAndLittleElse() {
        var filter = HashFilter(capacity: 10_000, bitsPerEntry: 12)
        func hash(_ number: Int) -> UInt64 { mix(withUnsafeBytes(of: number) { Bytes($0) }, seed: 5).high >> 16 }
        for number in 0..<10_000 { filter.insert(hash(number)) }
        #expect((0..<10_000).allSatisfy { filter.mayContain(hash($0)) })
        let wrong = (10_000..<110_000).count { filter.mayContain(hash($0)) }
        #expect(wrong < 1500, "\(wrong) of 100000 are mistaken for others")
    }

    @Test func spreadingAndSortingIsSorting() {
        var choices = Choices(seed: 2)
        for count in [0, 1, 63, 64, 65, 1000, 5000] {
            let entries = (0..<count).map { _ in
                IndexEntry(hash: choices.chance(1, in: 4) ? 77 : choices.next() >> 16, word(UInt64(choices.below(1 << 20))))
            }
            #expect(Storage.sorted(entries) == entries.sorted(by: <))
        }
    }
}
