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

extension Replica {
    /// Keys that are being looked up.
    package struct Question: Sendable {
        /// Nil where there is nothing to read.
        let job: UInt64?
        let generation: UInt64
        /// Of all that were asked for, those that may be here, in order. Of the others there is surely nothing, and never was.
        let names: [(number: Int, name: StoredName)]
    }

    package mutating func ask(_ cids: [CID], effects: inout [Effect]) -> Question {
        ask(cids.enumerated().map { ($0, StoredName($1)) }, &effects)
    }
    package mutating func ask(_ batch: PinBatch, effects: inout [Effect]) -> Question {
        var hashes: [UInt64] = []
        hashes.reserveCapacity(batch.count)
        for index in 0..<batch.count { hashes.append(batch.withCID(index) { StoredKey.hash(cid: $0) }) }
        return ask(store.index.mayContain(hashes).map { number in (number, batch.withCID(number) { StoredName(decoded: $0) }) }, &effects)
    }
    private mutating func ask(_ names: [(number: Int, name: StoredName)], _ effects: inout [Effect]) -> Question {
        var job: UInt64?
        if !names.isEmpty {
            let lookup = store.lookup(names.map(\.name))
            job = lookup.number
            lookups[lookup.number] = .some(nil)
            effects.append(.job(lookup))
        }
        return Question(job: job, generation: store.index.generation, names: names)
    }

    package func isAnswered(_ question: Question) -> Bool { question.job.map { lookups[$0] != .some(nil) } ?? true }

    /// What was found is of no use any more, since runs have been merged meanwhile: all of it would have to be read again.
    package func isOutOfDate(_ question: Question) -> Bool {
        guard let job = question.job, let keys = lookups[job] ?? nil, let first = keys.first else { return false }
        return !store.index.isKnownSince(first.generation)
    }
    package mutating func forget(_ question: Question) { if let job = question.job { lookups[job] = nil } }

    mutating func onLookup(_ number: UInt64, _ keys: [KnownKey]) { if lookups[number] != nil { lookups[number] = keys } }

    /// What was found of each name, if that is there.
    private mutating func take(_ question: Question) -> [KnownKey]? {
        let keys = question.job.flatMap { lookups.removeValue(forKey: $0) } ?? nil
        return keys?.count == question.names.count ? keys : nil
    }

    /// What there is of the keys of a batch.
    package struct Newcomers: Sendable {
        let lookup: Lookup
        /// Those that may be in the pinset, in order, and their values.
        package let exceptions: [(index: Int, value: Bytes?)]
    }
    package mutating func newcomers(_ question: Question) throws(LogError) -> Newcomers {
        var lookup = Lookup(generation: question.generation)
        var exceptions: [(index: Int, value: Bytes?)] = []
        let seen = take(question)
        for (index, (number, name)) in question.names.enumerated() {
            let (value, key) = try store.known(name, seen: seen?[index])
            lookup.known.append((number, key))
            exceptions.append((number, value))
        }
        return Newcomers(lookup: lookup, exceptions: exceptions)
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
        var removals: [(number: Int, removal: Removal?)] = []
        removals.reserveCapacity(question.names.count)
        var asked = HashSet(capacity: question.names.count)
        let seen = take(question)
        for (index, (number, name)) in question.names.enumerated() {
            if !asked.insert(name.hash), question.names[..<index].contains(where: { $0.name == name }) { continue }
            let (value, key) = try store.known(name, seen: seen?[index])
            let blocks = try store.blocks(of: key)
            removals.append((number, value.map { Removal(name: name, key: key, blocks: blocks, value: $0) }))
        }
        return removals
    }
}
