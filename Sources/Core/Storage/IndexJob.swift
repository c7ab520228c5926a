// Writing a run from memory or from other runs.

import Kernel
import Seams

package struct IndexJob: Sendable, Equatable {
    enum Source: Sendable {
        case memory(MemTable)
        case run(IndexRun)
    }
    private enum Phase: Sendable {
        case attaching
        case sorting
        case merging
        case ending
    }

    /// Of the run that comes of it.
    let number: UInt64
    /// Those that wait for room in memory come first.
    let isUrgent: Bool
    let file: FileName
    private let bitsPerEntry: Int
    /// Erasures have done their work when nothing older is left.
    private let dropsErased: Bool
    private var attachment: (file: FileName, pieces: @Sendable () -> [Bytes])?
    private(set) var sources: [Source]
    private var inputs: [Input] = []
    private var phase = Phase.attaching
    private var page: [IndexEntry] = []
    private var count = 0
    /// Of tens of megabytes: the job makes it, and not who asks for the job.
    private var filter = HashFilter(words: [])
    private var fences: [UInt32] = []
    private var written = 0

    static let sliceBytes = 256 << 10
    static let pagesPerRead = 64

    package static func == (a: Self, b: Self) -> Bool { a.number == b.number }

    /// `sources` newest first: of several versions the first counts. `attachment` is written before.
    init(
        number: UInt64, file: FileName, sources: [Source], bitsPerEntry: Int, dropsErased: Bool, isUrgent: Bool,
        attachment: (file: FileName, pieces: @Sendable () -> [Bytes])? = nil
    ) {
        self.number = number
        self.file = file
        self.bitsPerEntry = bitsPerEntry
        self.dropsErased = dropsErased
        self.isUrgent = isUrgent
        self.attachment = attachment
        self.sources = sources
        page.reserveCapacity(IndexRun.entriesPerPage)
    }

    /// The run, when it is whole and durable.
    mutating func advance(reader: any DiskReader, effects: inout [DiskEffect]) throws(LogError) -> IndexRun? {
        switch phase {
        case .attaching: attach(&effects)
        case .sorting:
            filter = HashFilter(capacity: sources.reduce(0) { $0 + $1.count }, bitsPerEntry: bitsPerEntry)
            inputs = sources.map { Input($0) }
            sources = []
            phase = .merging
        case .merging: try merge(reader, &effects)
        case .ending: return IndexRun(number: number, file: file, count: count, filter: filter, fences: fences, sizeBytes: written)
        }
        return nil
    }

    private mutating func attach(_ effects: inout [DiskEffect]) {
        guard let (file, pieces) = attachment else { phase = .sorting; return }
        effects.append(.append(file, Index.sealed(pieces())))
        effects.append(.sync(file, SyncTicket(owner: 0, number: number)))
        attachment = nil
    }

    private mutating func merge(_ reader: any DiskReader, _ effects: inout [DiskEffect]) throws(LogError) {
        var out = Bytes()
        out.reserveCapacity(IndexJob.sliceBytes + IndexRun.pageBytes)
        while out.count < IndexJob.sliceBytes {
            for index in inputs.indices where inputs[index].needsRefill { try inputs[index].refill(reader) }
            guard let (entry, isGone) = nextEntry() else {
                if !page.isEmpty { endPage(&out) }
                out += IndexRun.tail(count, filter, fences)
                effects.append(.append(file, out))
                effects.append(.sync(file, SyncTicket(owner: 0, number: number)))
                written += out.count
                phase = .ending
                return
            }
            if isGone || entry.isErased && dropsErased { continue }
            page.append(entry)
            if page.count == IndexRun.entriesPerPage { endPage(&out) }
        }
        written += out.count
        effects.append(.append(file, out))
    }

    private mutating func endPage(_ out: inout Bytes) {
        fences.append(IndexRun.fence(page[0].hash))
        for entry in page { filter.insert(entry.hash) }
        count += page.count
        IndexRun.appendPage(page[...], to: &out)
        page.removeAll(keepingCapacity: true)
    }

    /// The least entry of all inputs, in its newest version. An erasure that meets what it erases is gone with it: a place is put once,
    /// so that nothing older is left.
    @inline(__always)
    private mutating func nextEntry() -> (entry: IndexEntry, isGone: Bool)? {
        if inputs.count == 1 { return inputs[0].pop().map { ($0, false) } }
        return inputs.withUnsafeMutableBufferPointer { inputs in
            var best = -1
            for index in 0..<inputs.count where !inputs[index].isEmpty {
                if best < 0 || (inputs[index].head < inputs[best].head && !inputs[index].head.isSamePlace(as: inputs[best].head)) {
                    best = index
                }
            }
            guard best >= 0 else { return nil }
            let entry = inputs[best].head
            var isMet = false
            for index in best + 1..<inputs.count where !inputs[index].isEmpty && inputs[index].head.isSamePlace(as: entry) {
                inputs[index].advance()
                isMet = true
            }
            inputs[best].advance()
            return (entry, isMet && entry.isErased)
        }
    }
}

extension IndexJob.Source {
    var count: Int {
        switch self {
        case .memory(let table): table.count
        case .run(let run): run.count
        }
    }
}

/// What is left of a source, some of it at hand.
private struct Input: Sendable {
    private var entries: [IndexEntry]
    private var at = 0
    private let run: IndexRun?
    private var nextPage = 0

    init(_ source: IndexJob.Source) {
        switch source {
        case .memory(let table): (entries, run) = (sorted(table.entries), nil)
        case .run(let run): (entries, self.run) = ([], run)
        }
    }

    @inline(__always) var isEmpty: Bool { at == entries.count }
    @inline(__always) var head: IndexEntry { entries[at] }
    @inline(__always) mutating func advance() { at += 1 }
    @inline(__always) mutating func pop() -> IndexEntry? {
        guard at < entries.count else { return nil }
        at += 1
        return entries[at - 1]
    }
    var needsRefill: Bool { at == entries.count && nextPage < (run?.fences.count ?? 0) }

    mutating func refill(_ reader: any DiskReader) throws(LogError) {
        guard let run else { return }
        let pages = min(IndexJob.pagesPerRead, run.fences.count - nextPage)
        let bytes: Bytes
        do {
            bytes = try reader.read(run.file, at: nextPage * IndexRun.pageBytes, count: pages * IndexRun.pageBytes)
        } catch { throw .disk(error) }
        at = 0
        entries.removeAll(keepingCapacity: true)
        let damaged = bytes.withUnsafeBytes { raw -> Int? in
            for index in 0..<pages {
                let start = index * IndexRun.pageBytes
                guard start + IndexRun.pageBytes <= raw.count else { return index }
                let page = UnsafeRawBufferPointer(rebasing: raw[start..<start + IndexRun.pageBytes])
                guard let count = IndexRun.pageCount(page) else { return index }
                for entry in 0..<count { entries.append(IndexRun.entry(page, entry)) }
            }
            return nil
        }
        if let damaged { throw .index(run.damage(nextPage + damaged, "checksum of an index page does not match")) }
        nextPage += pages
    }
}
