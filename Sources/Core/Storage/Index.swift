// Where things stand in the log: a log-structured merge index from hashes to places. The newest entries are in memory, the rest
// in sorted runs on disk, which jobs merge in the background. Adding reads nothing: a filter in memory for each run says of most
// hashes that they are new. A checkpoint names the runs and the place in the log up to which they reach; what came after is read
// from the log again. O'Neil et al.: The Log-Structured Merge-Tree (1996).

import Kernel
import Seams

package struct IndexSettings: Sendable {
    /// Entries in memory before they become a run.
    package var tableEntries = 400_000
    /// Full tables that may wait for being written. When they are that many, nothing more may be added.
    package var frozenMax = 3
    /// So many runs of about one size become one.
    package var fanOut = 4
    package var filterBitsPerEntry = 16
    /// More runs than this, and adding waits for merging.
    package var runsMax = 40
    package init() {}
}

package struct Index: Sendable {
    package enum Effect: Equatable, Sendable {
        case disk(DiskEffect)
        case job(Job)
    }

    /// A full table on its way to the disk, with the state that belongs to it.
    private struct Frozen: Sendable {
        let table: MemTable
        let generation: UInt64
        let address: LogAddress
        let state: @Sendable () -> [Bytes]
    }
    private struct Checkpoint: Sendable, Equatable {
        var address: LogAddress
        var stateNumber: UInt64
    }

    private let settings: IndexSettings
    private let folder: FileName
    private let reader: any DiskReader
    private let owner: UInt8
    private var table: MemTable
    private var frozen: [Frozen] = []
    /// Newest first.
    private var runs: [IndexRun] = []
    private var checkpoint: Checkpoint?
    private var nextNumber: UInt64 = 1
    private var flushing: UInt64?
    private var merging: (number: UInt64, inputs: [UInt64])?
    /// The manifest that is being synced, what it makes superfluous, and whether another must follow.
    private var manifest: (number: UInt64, file: FileName, obsolete: [FileName])?
    private var lastManifest: FileName?
    private var obsolete: [FileName] = []
    private var needsManifest = false

    static let manifestMagic: UInt64 = 0x316e_6d5f_6369_7673

    // MARK: Opening

    /// An empty index.
    package init(folder: FileName, owner: UInt8, reader: any DiskReader, settings: IndexSettings = IndexSettings()) {
        (self.folder, self.owner, self.reader, self.settings) = (folder, owner, reader, settings)
        table = MemTable(capacity: settings.tableEntries)
    }

    /// Opens what the newest sound manifest names. The state of its checkpoint, and up to where in the log it reaches; nil where
    /// there is none: all must be read from the log again. `faults` says what could not be used.
    package mutating func open(faults: inout [String], effects: inout [DiskEffect]) throws(DiskError) -> (address: LogAddress, state: Bytes)? {
        let files = try reader.list(folder + "/").filter { Index.number(of: $0) != nil }
        let manifests = files.filter { $0.hasSuffix(".manifest") }.sorted { Index.number(of: $0) ?? 0 > Index.number(of: $1) ?? 0 }
        nextNumber = (files.compactMap(Index.number).max() ?? 0) + 1
        var found: (address: LogAddress, state: Bytes)?
        var kept: [FileName] = [], unusable: [LogError] = []
        for file in manifests where found == nil {
            do throws(LogError) {
                (found, kept) = try open(manifest: file)
                (manifest, lastManifest) = ((takeNumber(), file, []), file)
            } catch { unusable.append(error) }
        }
        // After a power cut a hundred may be there again that were removed, and each names files that are gone (seed 6032700).
        if let newest = unusable.first { faults.append("the index cannot be used: \(newest)" + (unusable.count > 1 ? "; nor can \(unusable.count - 1) older ones" : "")) }
        let rest = files.filter { !kept.contains($0) }
        guard let current = manifest else {
            effects += rest.map(DiskEffect.remove)
            return found
        }
        // Nobody knows whether it is durable: until then the one before it stays, with all that it names.
        manifest?.obsolete = rest
        effects.append(.sync(current.file, SyncTicket(owner: owner, number: current.number)))
        return found
    }

    private mutating func open(manifest file: FileName) throws(LogError) -> (found: (address: LogAddress, state: Bytes), kept: [FileName]) {
        let bytes: Bytes
        do { bytes = try reader.read(file, at: 0, count: try reader.size(file)) } catch { throw .disk(error) }
        let words: [UInt64] = bytes.withUnsafeBytes { raw in (0..<raw.count / 8).map { load(raw, $0 * 8) } }
        guard words.count >= 5, words[0] == Index.manifestMagic, words.last == mix(bytes.dropLast(8), seed: Index.manifestMagic).low,
            words[3] == UInt64(words.count - 5)
        else { throw .index(LogDamage(file: file, offset: 0, reason: "the manifest does not match its checksum")) }
        let stateFile = name(words[2], "state")
        let state = try Index.checkedState(stateFile, reader)
        var opened: [IndexRun] = []
        for number in words[4..<words.count - 1] { opened.append(try IndexRun(opening: name(number, "run"), number: number, reader: reader)) }
        runs = opened
        checkpoint = Checkpoint(address: LogAddress(raw: words[1]), stateNumber: words[2])
        return ((LogAddress(raw: words[1]), state), [file, stateFile] + opened.map(\.file))
    }

    /// Forgets everything: it is to be made anew. What it had on disk goes with the next checkpoint, and can't be opened before.
    package mutating func reset(effects: inout [Effect]) {
        obsolete += runs.map(\.file)
        if let checkpoint { obsolete.append(name(checkpoint.stateNumber, "state")) }
        obsolete += manifest?.obsolete ?? []
        let manifests = [lastManifest, manifest?.file].compactMap { $0 } + obsolete.filter { $0.hasSuffix(".manifest") }
        for file in SortedSet(manifests).elements { effects.append(.disk(.remove(file))) }
        obsolete.removeAll { $0.hasSuffix(".manifest") }
        table = MemTable(capacity: settings.tableEntries)
        generation += 1
        firstGeneration = generation
        (frozen, runs, checkpoint, flushing, merging, manifest, lastManifest, needsManifest) = ([], [], nil, nil, nil, nil, nil, false)
    }

    private static func checkedState(_ file: FileName, _ reader: any DiskReader) throws(LogError) -> Bytes {
        let bytes: Bytes
        do { bytes = try reader.read(file, at: 0, count: try reader.size(file)) } catch { throw .disk(error) }
        guard bytes.count >= 8, bytes.withUnsafeBytes({ load($0, bytes.count - 8, as: UInt64.self) }) == mix(bytes.dropLast(8), seed: manifestMagic).low
        else { throw .index(LogDamage(file: file, offset: 0, reason: "the state does not match its checksum")) }
        return Bytes(bytes.dropLast(8))
    }

    /// "folder/00000012.run" is 12; nil for other files.
    private static func number(of file: FileName) -> UInt64? {
        guard let slash = file.lastIndex(of: "/"), let dot = file.lastIndex(of: "."), slash < dot,
            ["run", "state", "manifest"].contains(file[file.index(after: dot)...])
        else { return nil }
        return UInt64(file[file.index(after: slash)..<dot])
    }
    private func name(_ number: UInt64, _ kind: String) -> FileName {
        let digits = String(number)
        return "\(folder)/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits + "." + kind
    }
    private mutating func takeNumber() -> UInt64 { nextNumber += 1; return nextNumber - 1 }

    // MARK: Entries

    package mutating func put(_ hash: UInt64, _ word: IndexWord) {
        table.set(hash, word)
    }
    package mutating func erase(_ hash: UInt64, _ word: IndexWord) {
        table.set(hash, IndexWord(kind: word.kind, word.address, isErased: true))
    }

    /// False: there is surely nothing. True may be wrong about once in seven hundred times for each run.
    @inline(__always)
    package func mayContain(_ hash: UInt64) -> Bool {
        touch(hash)
        return mayContain(hash, newest: runs.count)
    }
    @inline(__always)
    private func mayContain(_ hash: UInt64, newest: Int) -> Bool {
        if table.contains(hash) { return true }
        for index in frozen.indices where frozen[index].table.contains(hash) { return true }
        for index in 0..<newest where runs[index].filter.mayContain(hash) { return true }
        return false
    }

    /// Puts what is surely the first of its hash. False: it may not be, and nothing was done.
    package mutating func putIfNew(_ hash: UInt64, _ word: IndexWord) -> Bool {
        for index in runs.indices where runs[index].filter.mayContain(hash) { return false }
        for index in frozen.indices where frozen[index].table.contains(hash) { return false }
        return putIfNewSince(hash, word)
    }

    /// The same for a hash that `mayContain` has ruled out in this generation: only what came since is asked.
    package mutating func putIfNewSince(_ hash: UInt64, _ word: IndexWord) -> Bool {
        table.insertIfNew(hash, word)
    }
    /// Another one whenever the table in memory is another one.
    package private(set) var generation: UInt64 = 1
    /// That of the first table since all was forgotten.
    private var firstGeneration: UInt64 = 1

    /// The places of those hashes that may be here: in memory, or in runs that have something of tables since that generation.
    package func mayContain(_ hashes: [UInt64], since generation: UInt64 = 0) -> [Int] {
        let newest = runs.prefix { $0.tables.upperBound >= generation }.count
        var found: [Int] = []
        for start in stride(from: 0, to: hashes.count, by: Index.touched) {
            let end = min(start + Index.touched, hashes.count)
            touch(hashes[start..<end], newest: newest)
            for index in start..<end where mayContain(hashes[index], newest: newest) { found.append(index) }
        }
        return found
    }

    /// So many questions wait for memory at once. One after another, each would wait by itself.
    package static let touched = 32
    /// All that one question looks at is fetched at once.
    @inline(__always)
    private func touch(_ hash: UInt64) {
        var sum = UInt64(table.touch(hash))
        for index in runs.indices { sum &+= runs[index].filter.touch(hash) }
        keepRead(sum)
    }
    package func touchTable(_ hashes: ArraySlice<UInt64>) { keepRead(hashes.reduce(0) { $0 &+ UInt64(table.touch($1)) }) }
    package func touch(_ hashes: ArraySlice<UInt64>) { touch(hashes, newest: runs.count) }
    private func touch(_ hashes: ArraySlice<UInt64>, newest: Int) {
        var sum: UInt64 = 0
        for hash in hashes {
            sum &+= UInt64(table.touch(hash))
            for index in frozen.indices { sum &+= UInt64(frozen[index].table.touch(hash)) }
            for index in 0..<newest { sum &+= runs[index].filter.touch(hash) }
        }
        keepRead(sum)
    }

    /// What stands for the hash, of whatever key. `seen` is what it was in an earlier generation: what came since is in memory, or in
    /// runs of which filters tell nearly always that there is nothing to be read.
    package func words(_ hash: UInt64, seen: KnownKey? = nil) throws(LogError) -> Few<IndexWord> {
        var versions = Few<IndexWord>()
        if let seen, isKnownSince(seen.generation) {
            collectFromMemory(hash, into: &versions)
            for index in runs.indices {
                guard runs[index].tables.upperBound >= seen.generation else { break }
                if runs[index].filter.mayContain(hash) { try runs[index].collect(hash, reader: reader, into: &versions) }
            }
            for word in seen.words { versions.append(word) }
        } else {
            guard mayContain(hash) else { return [] }
            collectFromMemory(hash, into: &versions)
            try runs.collect(hash, reader: reader, into: &versions)
        }
        return Index.current(versions)
    }

    /// All that has come since then stands by itself. Where a run has something of before in it as well, or may be of a table that was
    /// begun before, an erasure may have gone together with what it erased, and who has seen that would not hear of it. A table
    /// that became a run by itself has kept its erasures.
    package func isKnownSince(_ old: UInt64) -> Bool {
        guard old >= firstGeneration else { return false }
        for index in runs.indices {
            let tables = runs[index].tables
            guard tables.upperBound >= old else { break }
            guard tables.lowerBound > old || tables == old...old else { return false }
        }
        return true
    }

    /// What counts of versions, the newest of which come first.
    static func current(_ versions: Few<IndexWord>) -> Few<IndexWord> {
        guard versions.count > 1 else { return versions.first?.isErased == false ? versions : [] }
        var found = Few<IndexWord>()
        for (index, word) in versions.enumerated() where !word.isErased {
            if !versions[..<index].contains(where: { $0.place == word.place }) { found.append(word) }
        }
        return found
    }

    /// To look many keys up in the runs there are now, by their numbers. `read` gives the element at a place, for words of that kind.
    package mutating func lookup(
        _ count: Int, hash: @escaping @Sendable (Int) -> UInt64, kind: UInt8,
        read: @escaping @Sendable (Int, LogAddress, any DiskReader) throws(LogError) -> Candidate?
    ) -> Job {
        Job(LookupJob(
            number: takeNumber(), runs: runs, generation: frozen.first?.generation ?? generation, count: count, hash: hash, kind: kind,
            read: read))
    }

    private func collectFromMemory(_ hash: UInt64, into versions: inout Few<IndexWord>) {
        table.collect(hash, into: &versions)
        for waiting in frozen.reversed() { waiting.table.collect(hash, into: &versions) }
    }

    // MARK: Checkpoints

    /// It is time for a checkpoint, and there is room for one.
    package var wantsFreeze: Bool { table.count >= settings.tableEntries && frozen.count < settings.frozenMax }
    /// Nothing should be added until jobs have caught up.
    package var isOverloaded: Bool {
        (table.count >= settings.tableEntries && frozen.count >= settings.frozenMax) || runs.count > settings.runsMax
    }
    package var entryCount: Int { runs.reduce(table.count) { $0 + $1.count } + frozen.reduce(0) { $0 + $1.table.count } }
    package var runCount: Int { runs.count }
    package var sizeBytes: Int { runs.reduce(0) { $0 + $1.sizeBytes } }

    /// What is in memory is to become a run, and `state` gives what the reader must know to go on from that place in the log. It
    /// is called by the job.
    package mutating func freeze(at address: LogAddress, state: @escaping @Sendable () -> [Bytes], effects: inout [Effect]) {
        frozen.append(Frozen(table: table, generation: generation, address: address, state: state))
        table = MemTable(capacity: settings.tableEntries)
        generation += 1
        work(&effects)
    }

    /// The pieces as one, and a checksum behind them.
    static func sealed(_ pieces: [Bytes]) -> Bytes {
        var all = Bytes()
        all.reserveCapacity(pieces.reduce(8) { $0 + $1.count })
        for piece in pieces { all += piece }
        append(mix(all, seed: manifestMagic).low, to: &all)
        return all
    }

    /// Starts what can be done now.
    package mutating func work(_ effects: inout [Effect]) {
        if flushing == nil, let first = frozen.first {
            let number = takeNumber()
            flushing = number
            effects.append(.job(Job(IndexJob(
                number: number, file: name(number, "run"), sources: [.memory(first.table)], bitsPerEntry: settings.filterBitsPerEntry,
                dropsErased: runs.isEmpty, isUrgent: true, attachment: (name(number, "state"), first.state)))))
        }
        if merging == nil, let stretch = Index.mergeable(runs.map(\.count), settings) {
            let number = takeNumber()
            merging = (number, runs[stretch].map(\.number))
            // Whatever is flushed meanwhile is newer.
            effects.append(.job(Job(IndexJob(
                number: number, file: name(number, "run"), sources: runs[stretch].map { .run($0) },
                bitsPerEntry: settings.filterBitsPerEntry, dropsErased: stretch.upperBound == runs.count, isUrgent: false))))
        }
    }

    /// Neighbours of which `fanOut` are of one size, with the smaller ones between them. `counts` newest first.
    static func mergeable(_ counts: [Int], _ settings: IndexSettings) -> Range<Int>? {
        guard let most = counts.max() else { return nil }
        var (below, size) = (0, settings.tableEntries * 3 / 2)
        while true {
            var start = 0
            while start < counts.count {
                var (end, full) = (start, 0)
                while end < counts.count, counts[end] <= size {
                    if counts[end] > below { full += 1 }
                    end += 1
                }
                if full >= settings.fanOut { return start..<end }
                start = end + 1
            }
            if size > most { return nil }
            (below, size) = (size, size * settings.fanOut)
        }
    }

    /// A job has ended well. What the caller may do now: see `isOverloaded`.
    package mutating func onJob(_ number: UInt64, _ run: IndexRun, effects: inout [Effect]) {
        if number == flushing {
            flushing = nil
            let done = frozen.removeFirst()
            var run = run
            run.tables = (runs.isEmpty ? 0 : done.generation)...done.generation  // the first has no erasures
            runs.insert(run, at: 0)
            if let checkpoint { obsolete.append(name(checkpoint.stateNumber, "state")) }
            checkpoint = Checkpoint(address: done.address, stateNumber: number)
        } else if let merge = merging, number == merge.number {
            merging = nil
            let at = runs.firstIndex { $0.number == merge.inputs[0] } ?? 0
            let inputs = runs.filter { merge.inputs.contains($0.number) }
            obsolete += inputs.map(\.file)
            var run = run
            run.tables = (inputs.map(\.tables.lowerBound).min() ?? 0)...(inputs.map(\.tables.upperBound).max() ?? 0)
            runs.removeAll { merge.inputs.contains($0.number) }
            runs.insert(run, at: at)
        } else {  // of before a reset
            effects.append(.disk(.remove(run.file)))
            return
        }
        writeManifest(&effects)
        work(&effects)
    }

    /// A job has failed: what it had written is taken away. `work` tries again.
    package mutating func onJobFailed(_ number: UInt64, effects: inout [Effect]) {
        if number == flushing { flushing = nil }
        if number == merging?.number { merging = nil }
        effects.append(.disk(.remove(name(number, "run"))))
        effects.append(.disk(.remove(name(number, "state"))))
    }

    private mutating func writeManifest(_ effects: inout [Effect]) {
        needsManifest = true
        guard manifest == nil, let checkpoint else { return }
        needsManifest = false
        let number = takeNumber()
        var bytes = Bytes()
        for word in [Index.manifestMagic, checkpoint.address.raw, checkpoint.stateNumber, UInt64(runs.count)] + runs.map(\.number) {
            append(word, to: &bytes)
        }
        append(mix(bytes, seed: Index.manifestMagic).low, to: &bytes)
        let file = name(number, "manifest")
        manifest = (number, file, obsolete + [lastManifest].compactMap { $0 })
        obsolete = []
        effects.append(.disk(.append(file, bytes)))
        effects.append(.disk(.sync(file, SyncTicket(owner: owner, number: number))))
    }

    /// What the end of a sync means, if it is one of the index's. False: it was not.
    package mutating func onDisk(_ event: DiskEvent, effects: inout [Effect]) -> Bool {
        guard let current = manifest else { return false }
        let ticket = SyncTicket(owner: owner, number: current.number)
        switch event {
        case .synced(ticket):
            for file in current.obsolete { effects.append(.disk(.remove(file))) }
            lastManifest = current.file
            manifest = nil
        case .syncFailed(ticket, _):
            // One that was found stays: there may be no other (drill of seed 16).
            if current.file != lastManifest { effects.append(.disk(.remove(current.file))) }
            obsolete += current.obsolete.filter { $0 != lastManifest }
            manifest = nil
            needsManifest = true
            return true  // the next checkpoint writes another
        default: return false
        }
        if needsManifest { writeManifest(&effects) }
        return true
    }
}
