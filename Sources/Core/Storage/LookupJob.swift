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

/// What was found of many keys.
package struct Looked: Equatable, Sendable {
    package struct Found: Equatable, Sendable {
        package let number: Int
        package let key: KnownKey
        package init(number: Int, key: KnownKey) { (self.number, self.key) = (number, key) }
    }
    /// Of the index, as that of a key.
    package let generation: UInt64
    /// Of all keys, by their numbers; none where something could not be read.
    package var hashes: [UInt64] = []
    /// Of those that a run may have something of, in order.
    package var found: [Found] = []
    package init(generation: UInt64) { self.generation = generation }
}

package struct LookupJob: Sendable, Equatable {
    let number: UInt64
    let runs: [IndexRun]
    let count: Int
    private let hash: @Sendable (Int) -> UInt64
    /// The element at a place, if it is one of the key of that number.
    private let read: @Sendable (Int, LogAddress, any DiskReader) throws(LogError) -> Candidate?
    private let kind: UInt8
    private var looked: Looked

    static let sliceKeys = 512

    package static func == (a: Self, b: Self) -> Bool { a.number == b.number }

    init(
        number: UInt64, runs: [IndexRun], generation: UInt64, count: Int, hash: @escaping @Sendable (Int) -> UInt64, kind: UInt8,
        read: @escaping @Sendable (Int, LogAddress, any DiskReader) throws(LogError) -> Candidate?
    ) {
        (self.number, self.runs, self.count, self.hash) = (number, runs, count, hash)
        (self.kind, self.read) = (kind, read)
        looked = Looked(generation: generation)
        looked.hashes.reserveCapacity(count)
    }

    mutating func advance(reader: any DiskReader) throws(LogError) -> Looked? {
        let start = looked.hashes.count
        let slice = start..<min(start + LookupJob.sliceKeys, count)
        for number in slice { looked.hashes.append(hash(number)) }
        var isHere = [Bool](repeating: false, count: slice.count)
        for run in runs { run.filter.mark(looked.hashes[slice], &isHere) }
        for number in slice where isHere[number - start] {
            var words = Few<IndexWord>()
            try runs.collect(looked.hashes[number], reader: reader, into: &words)
            var key = KnownKey(generation: looked.generation, words: Index.current(words))
            for word in key.words where word.kind == kind {
                if let element = try read(number, word.address, reader) { key.elements.append(element) }
            }
            looked.found.append(Looked.Found(number: number, key: key))
        }
        return slice.upperBound == count ? looked : nil
    }
}
