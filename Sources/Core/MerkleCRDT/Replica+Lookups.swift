// What there is of the keys that a write is about, found beside the steps before it is made.

import Kernel
import Multiformats
import Pinset
import Storage

/// What was found of the keys of one's own block when it was made, so that its merge need not read it again.
struct Lookup: Sendable {
    /// Of the index. Whatever key is not below was in no earlier block then.
    let generation: UInt64
    /// By the number of the element, or of the first tombstone of the key, in order.
    var known: [(number: Int, key: KnownKey)] = []

    /// Of a part of the elements.
    func part(_ range: Range<Int>) -> Lookup {
        Lookup(generation: generation, known: known.filter { range.contains($0.number) }.map { ($0.number - range.lowerBound, $0.key) })
    }
}

/// What is looked up, by numbers.
enum AskedKeys: Sendable {
    case batch(PinBatch)
    case cids([CID])

    var count: Int {
        switch self {
        case .batch(let batch): batch.count
        case .cids(let cids): cids.count
        }
    }
    func hash(_ number: Int) -> UInt64 {
        switch self {
        case .batch(let batch): batch.withCID(number) { StoredKey.hash(cid: $0) }
        case .cids(let cids): cids[number].bytes.withUnsafeBytes { StoredKey.hash(cid: $0) }
        }
    }
    func name(_ number: Int) -> StoredName {
        switch self {
        case .batch(let batch): batch.withCID(number) { StoredName(decoded: $0) }
        case .cids(let cids): StoredName(cids[number])
        }
    }
}

extension Replica {
    /// Keys that are being looked up.
    package struct Question: Sendable {
        /// Nil where there is nothing to be looked up.
        let job: UInt64?
        let keys: AskedKeys
    }

    package mutating func ask(_ cids: [CID], effects: inout [Effect]) -> Question { ask(.cids(cids), &effects) }
    package mutating func ask(_ batch: PinBatch, effects: inout [Effect]) -> Question { ask(.batch(batch), &effects) }
    private mutating func ask(_ keys: AskedKeys, _ effects: inout [Effect]) -> Question {
        guard keys.count > 0 else { return Question(job: nil, keys: keys) }
        let lookup = store.lookup(keys)
        lookups[lookup.number] = .some(nil)
        effects.append(.job(lookup))
        return Question(job: lookup.number, keys: keys)
    }

    package func isAnswered(_ question: Question) -> Bool { question.job.map { lookups[$0] != .some(nil) } ?? true }

    /// What was found is of no use any more, since runs have been merged meanwhile or could not be read: all of it would have to be
    /// read again.
    package func isOutOfDate(_ question: Question) -> Bool {
        guard let job = question.job, let looked = lookups[job] ?? nil else { return false }
        return !store.index.isKnownSince(looked.generation)
    }
    package mutating func forget(_ question: Question) { if let job = question.job { lookups[job] = nil } }

    mutating func onLookup(_ number: UInt64, _ looked: Looked) { if lookups[number] != nil { lookups[number] = looked } }

    /// The hashes of all keys, and the numbers of those that may be here, with what was found of them before. Of the others there is
    /// nothing, and never was.
    private mutating func answer(_ question: Question) -> (hashes: [UInt64], here: [(number: Int, seen: KnownKey?)]) {
        let looked = question.job.flatMap { lookups.removeValue(forKey: $0) } ?? nil
        guard let looked, looked.hashes.count == question.keys.count else {
            let hashes = (0..<question.keys.count).map(question.keys.hash)
            return (hashes, store.index.mayContain(hashes).map { ($0, nil) })
        }
        var here: [(number: Int, seen: KnownKey?)] = []
        var found = looked.found[...]
        // Of those that have come since, the runs had nothing.
        let none = KnownKey(generation: looked.generation, words: [])
        for number in store.index.mayContain(looked.hashes, since: store.index.isKnownSince(looked.generation) ? looked.generation : 0) {
            while let first = found.first, first.number < number { here.append((first.number, found.removeFirst().key)) }
            here.append((number, found.first?.number == number ? found.removeFirst().key : none))
        }
        return (looked.hashes, here + found.map { ($0.number, $0.key) })
    }

    /// What there is of the keys of a batch.
    package struct Newcomers: Sendable {
        let hashes: [UInt64]
        let lookup: Lookup
        /// Those that may be in the pinset, in order, and their values.
        package let exceptions: [(index: Int, value: Bytes?)]
    }
    package mutating func newcomers(_ question: Question) throws(LogError) -> Newcomers {
        let (hashes, here) = answer(question)
        var lookup = Lookup(generation: store.index.generation)
        var exceptions: [(index: Int, value: Bytes?)] = []
        for (number, seen) in here {
            let (value, key) = try store.known(question.keys.name(number), seen: seen)
            lookup.known.append((number, key))
            exceptions.append((number, value))
        }
        return Newcomers(hashes: hashes, lookup: lookup, exceptions: exceptions)
    }

    /// What there is of a key, to be removed. Good until something else is written of it.
    package struct Removal: Sendable {
        let name: StoredName
        let key: KnownKey
        /// Those that added it.
        let blocks: [Bytes]
        package let value: Bytes
    }
    /// Each key once, by its number among those that were asked for. Nil: there is nothing under that CID.
    package mutating func removals(_ question: Question) throws(LogError) -> [(number: Int, removal: Removal?)] {
        let (hashes, here) = answer(question)
        var removals: [(number: Int, removal: Removal?)] = []
        removals.reserveCapacity(hashes.count)
        var asked = HashSet(capacity: hashes.count)
        var rest = here[...]
        for number in hashes.indices {
            let seen = rest.first?.number == number ? rest.removeFirst() : nil
            let name = question.keys.name(number)
            if !asked.insert(hashes[number]), (0..<number).contains(where: { question.keys.name($0) == name }) { continue }
            guard let seen else { removals.append((number, nil)); continue }
            let (value, key) = try store.known(name, seen: seen.seen)
            let blocks = try store.blocks(of: key)
            removals.append((number, value.map { Removal(name: name, key: key, blocks: blocks, value: $0) }))
        }
        return removals
    }
}
