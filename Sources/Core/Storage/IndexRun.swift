// A run: entries in order, in one file that never changes. Pages of 1 KiB with a checksum each, then what is kept in memory: the
// filter, which tells of most hashes that they are not here, and how the first entry of every page begins.

import Kernel
import Seams

package struct IndexRun: Sendable, Equatable {
    let number: UInt64
    let file: FileName
    let count: Int
    let filter: HashFilter
    /// The upper 32 bits of the first hash of each page.
    let fences: [UInt32]
    let sizeBytes: Int
    /// The generations of the tables that it was made of; 0 for those of an earlier life of the peer.
    var tables: ClosedRange<UInt64> = 0...0

    package static func == (a: Self, b: Self) -> Bool { a.number == b.number && a.count == b.count }

    /// All of a page is read and checked for one of its entries.
    static let pageBytes = 1024
    static let entriesPerPage = (pageBytes - 16) / IndexEntry.bytes
    static let magic: UInt64 = 0x335f_6e75_725f_6369  // "ic_run_3"
    static let footerBytes = 48

    // MARK: Pages

    static func appendPage(_ entries: ArraySlice<IndexEntry>, to out: inout Bytes) {
        let start = out.count
        out.append(contentsOf: repeatElement(0, count: pageBytes))
        out.withUnsafeMutableBytes { bytes in
            var at = start
            for entry in entries {
                bytes.storeBytes(of: entry.high.littleEndian, toByteOffset: at, as: UInt64.self)
                bytes.storeBytes(of: entry.low.littleEndian, toByteOffset: at + 8, as: UInt32.self)
                at += IndexEntry.bytes
            }
            bytes.storeBytes(of: UInt32(entries.count).littleEndian, toByteOffset: start + pageBytes - 16, as: UInt32.self)
            let check = mix(UnsafeRawBufferPointer(rebasing: bytes[start..<start + pageBytes - 8]), seed: magic).low
            bytes.storeBytes(of: check.littleEndian, toByteOffset: start + pageBytes - 8, as: UInt64.self)
        }
    }

    /// The number of entries on a page, or nil if it is not what was written.
    static func pageCount(_ page: UnsafeRawBufferPointer) -> Int? {
        guard page.count == pageBytes else { return nil }
        let check = mix(UnsafeRawBufferPointer(rebasing: page[..<(pageBytes - 8)]), seed: magic).low
        let count = Int(load(page, pageBytes - 16, as: UInt32.self))
        return check == load(page, pageBytes - 8, as: UInt64.self) && count <= entriesPerPage ? count : nil
    }

    @inline(__always)
    static func entry(_ page: UnsafeRawBufferPointer, _ index: Int) -> IndexEntry {
        IndexEntry(high: load(page, index * IndexEntry.bytes), low: load(page, index * IndexEntry.bytes + 8))
    }

    // MARK: Looking up

    /// What questions look at, anywhere in it.
    package func withFilterMemory(_ body: (UnsafeRawBufferPointer) -> Void) { filter.words.withUnsafeBytes(body) }

    func collect(_ hash: UInt64, reader: any DiskReader, into found: inout Few<IndexWord>) throws(LogError) {
        let fence = IndexRun.fence(hash)
        var page = firstPage(for: fence)
        while page < fences.count, fences[page] <= fence {
            try collect(hash, page, reader, &found)
            page += 1
        }
    }

    @inline(__always)
    static func fence(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 16) }

    /// The last page that begins before every entry of the hash, or the first. Hashes are uniform: a guess is near.
    private func firstPage(for fence: UInt32) -> Int {
        var (low, up) = (0, fences.count)
        let guess = Int(UInt64(fence) * UInt64(fences.count) >> 32)
        let slack = 64
        if guess > slack, fences[guess - slack] < fence { low = guess - slack }
        if guess + slack < fences.count, fences[guess + slack] >= fence { up = guess + slack }
        while low < up {
            let middle = (low + up) / 2
            if fences[middle] < fence { low = middle + 1 } else { up = middle }
        }
        return max(0, low - 1)
    }

    private func collect(_ hash: UInt64, _ page: Int, _ reader: any DiskReader, _ found: inout Few<IndexWord>) throws(LogError) {
        let bytes: Bytes
        do { bytes = try reader.read(file, at: page * IndexRun.pageBytes, count: IndexRun.pageBytes) } catch { throw .disk(error) }
        let isSound = bytes.withUnsafeBytes { raw in
            guard let count = IndexRun.pageCount(raw) else { return false }
            var (low, up) = (0, count)
            while low < up {
                let middle = (low + up) / 2
                if load(raw, middle * IndexEntry.bytes, as: UInt64.self) >> 16 < hash { low = middle + 1 } else { up = middle }
            }
            while low < count, case let entry = IndexRun.entry(raw, low), entry.hash == hash {
                found.append(entry.word)
                low += 1
            }
            return true
        }
        guard isSound else { throw .index(damage(page, "checksum of an index page does not match")) }
    }

    func damage(_ page: Int, _ reason: String) -> LogDamage {
        LogDamage(file: file, offset: page * IndexRun.pageBytes, reason: reason)
    }

    // MARK: The end of the file

    static func tail(_ count: Int, _ filter: HashFilter, _ fences: [UInt32]) -> Bytes {
        var out = Bytes()
        out.reserveCapacity(filter.words.count * 8 + fences.count * 4 + footerBytes)
        for word in filter.words { Kernel.append(word, to: &out) }
        for fence in fences { Kernel.append(fence, to: &out) }
        let check = mix(out, seed: magic)
        for value in [UInt64(count), UInt64(filter.words.count), UInt64(fences.count), check.low] { Kernel.append(value, to: &out) }
        let footer = mix(out.suffix(32), seed: magic)
        Kernel.append(footer.low, to: &out)
        Kernel.append(magic, to: &out)
        return out
    }

    init(number: UInt64, file: FileName, count: Int, filter: HashFilter, fences: [UInt32], sizeBytes: Int) {
        self.number = number
        self.file = file
        self.count = count
        self.filter = filter
        self.fences = fences
        self.sizeBytes = sizeBytes
    }

    /// Reads what is kept in memory of a run's file.
    init(opening file: FileName, number: UInt64, reader: any DiskReader) throws(LogError) {
        func damaged(_ reason: String, at offset: Int) -> LogError { .index(LogDamage(file: file, offset: offset, reason: reason)) }
        let size: Int, footer: Bytes
        do {
            size = try reader.size(file)
            footer = try reader.read(file, at: max(0, size - IndexRun.footerBytes), count: IndexRun.footerBytes)
        } catch { throw .disk(error) }
        guard footer.count == IndexRun.footerBytes else { throw damaged("the file is too short for a run", at: 0) }
        let values: [UInt64] = footer.withUnsafeBytes { raw in (0..<6).map { load(raw, $0 * 8) } }
        guard values[5] == IndexRun.magic, values[4] == mix(footer.prefix(32), seed: IndexRun.magic).low else {
            throw damaged("the end of a run does not match its checksum", at: size - IndexRun.footerBytes)
        }
        let (count, filterCount, pages) = (Int(values[0]), Int(values[1]), Int(values[2]))
        let start = pages * IndexRun.pageBytes, keptBytes = filterCount * 8 + pages * 4
        let kept: Bytes
        do { kept = try reader.read(file, at: start, count: keptBytes) } catch { throw .disk(error) }
        guard kept.count == keptBytes, mix(kept, seed: IndexRun.magic).low == values[3],
            start + kept.count + IndexRun.footerBytes == size
        else { throw damaged("the filter of a run does not match its checksum", at: start) }
        func numbers<T: FixedWidthInteger>(_ count: Int, at start: Int) -> [T] {
            kept.withUnsafeBytes { raw in
                [T](unsafeUninitializedCapacity: count) { room, used in
                    for index in 0..<count { room.initializeElement(at: index, to: load(raw, start + index * MemoryLayout<T>.size)) }
                    used = count
                }
            }
        }
        self.init(
            number: number, file: file, count: count, filter: HashFilter(words: numbers(filterCount, at: 0)),
            fences: numbers(pages, at: filterCount * 8), sizeBytes: size)
    }
}

extension [IndexRun] {
    /// All versions there are, the newest first.
    func collect(_ hash: UInt64, reader: any DiskReader, into found: inout Few<IndexWord>) throws(LogError) {
        for index in indices where self[index].filter.mayContain(hash) { try self[index].collect(hash, reader: reader, into: &found) }
    }
}

/// A blocked Bloom filter: the bits of a hash lie in one line of 64 bytes, so that a question costs one read of memory.
/// Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters (2007).
struct HashFilter: Sendable {
    private(set) var words: [UInt64]

    init(words: [UInt64]) { self.words = words }
    init(capacity: Int, bitsPerEntry: Int) {
        let lines = max(1, (capacity * bitsPerEntry + 511) / 512)
        words = [UInt64](repeating: 0, count: lines * 8)
    }

    /// In the order of the hashes: who fills the filter in that order walks through memory.
    @inline(__always)
    private func line(_ hash: UInt64) -> Int {
        Int((hash << 16).multipliedFullWidth(by: UInt64(words.count >> 3)).high) << 3
    }
    @inline(__always)
    private static func mixed(_ hash: UInt64) -> UInt64 {
        let z = (hash ^ hash >> 29) &* 0xbf58_476d_1ce4_e5b9
        return (z ^ z >> 32) &* 0x9e37_79b9_7f4a_7c15
    }

    mutating func insert(_ hash: UInt64) {
        let start = line(hash)
        var bits = HashFilter.mixed(hash)
        for _ in 0..<6 {
            words[start + Int(bits >> 61)] |= 1 << (bits >> 55 & 63)
            bits = bits << 9 | bits >> 55
        }
    }

    /// Brings what a question will look at into the processor's caches.
    @inline(__always)
    func touch(_ hash: UInt64) -> UInt64 { words.withUnsafeBufferPointer { $0[line(hash)] } }

    /// Notes which may be here.
    func mark(_ hashes: ArraySlice<UInt64>, _ isHere: inout [Bool]) {
        keepRead(hashes.reduce(0) { $0 &+ touch($1) })
        for (place, hash) in hashes.enumerated() where mayContain(hash) { isHere[place] = true }
    }

    @inline(__always)
    func mayContain(_ hash: UInt64) -> Bool {
        let start = line(hash)
        var bits = HashFilter.mixed(hash)
        return words.withUnsafeBufferPointer { words in
            for _ in 0..<6 {
                if words[start + Int(bits >> 61)] >> (bits >> 55 & 63) & 1 == 0 { return false }
                bits = bits << 9 | bits >> 55
            }
            return true
        }
    }
}
