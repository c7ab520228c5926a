// Looking many keys up: in the runs of one moment, and in the log, of which nothing changes. What has come to the index since is in
// memory, and is added by whoever uses the answer (see `Index.words`).

import Kernel
import Seams

/// An element that nobody removed.
package struct Candidate: Equatable, Sendable {
    package let address: LogAddress
    /// The record of its block.
    package let block: LogAddress
    package let value: Bytes
    package let mixed: Mixed
    package init(address: LogAddress, block: LogAddress, value: Bytes, mixed: Mixed) {
        (self.address, self.block, self.value, self.mixed) = (address, block, value, mixed)
    }
}

/// What was found of a key.
package struct KnownKey: Equatable, Sendable {
    /// Of the index: what has come since that generation is not in it.
    package let generation: UInt64
    package let words: Few<IndexWord>
    package var elements = Few<Candidate>()
    package init(generation: UInt64, words: Few<IndexWord>) { (self.generation, self.words) = (generation, words) }
}

package struct LookupJob: Sendable, Equatable {
    package let number: UInt64
    let runs: [IndexRun]
    private let generation: UInt64
    let hashes: [UInt64]
    /// The element at a place, if it is one of the key of that number.
    private let read: @Sendable (Int, LogAddress, any DiskReader) throws(LogError) -> Candidate?
    private let kind: UInt8
    private var found: [KnownKey] = []

    static let sliceKeys = 512

    package static func == (a: Self, b: Self) -> Bool { a.number == b.number }

    init(
        number: UInt64, runs: [IndexRun], generation: UInt64, hashes: [UInt64], kind: UInt8,
        read: @escaping @Sendable (Int, LogAddress, any DiskReader) throws(LogError) -> Candidate?
    ) {
        (self.number, self.runs, self.generation, self.hashes) = (number, runs, generation, hashes)
        (self.kind, self.read) = (kind, read)
        found.reserveCapacity(hashes.count)
    }

    mutating func advance(reader: any DiskReader) throws(LogError) -> [KnownKey]? {
        for number in found.count..<min(found.count + LookupJob.sliceKeys, hashes.count) {
            var words = Few<IndexWord>()
            try runs.collect(hashes[number], reader: reader, into: &words)
            var key = KnownKey(generation: generation, words: Index.current(words))
            for word in key.words where word.kind == kind {
                if let element = try read(number, word.address, reader) { key.elements.append(element) }
            }
            found.append(key)
        }
        return found.count == hashes.count ? found : nil
    }
}
