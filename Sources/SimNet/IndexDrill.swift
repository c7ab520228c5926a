// The index of a replica alone, against what was put into it: tables become runs and are merged at any time, while answers to questions of
// every age are still in use. A run of a whole cluster seldom has an answer outlived by as many tables as it takes.

import Kernel
import Seams
import Storage

package struct IndexDrill {
    private var failure: (oracle: Oracle, text: String)?
    private var index: Index
    private let disk = SimDisk()
    private var jobs: [Job] = []
    private var choices: Choices
    private var step = 0
    /// By the number of a hash, the places that are there.
    private var held: [SortedSet<UInt64>]
    /// How many places of all there were in its tables that are runs, or will be; and those that have come or gone since.
    private var frozenCount = 0
    private var fresh = SortedSet<UInt64>()
    /// What was found once, of every hash.
    private var seen: [[KnownKey]] = []

    /// How many hashes there are, and how many come in one step. Where there are many, a run has more pages than are read at once.
    private let (keys, burst): (Int, Int)
    private var places: UInt64 = 0
    private static let seenMax = 4

    /// What went wrong in so many steps.
    package static func failure(_ tape: Tape, steps: Int) -> (oracle: Oracle, text: String)? {
        var drill = IndexDrill(tape)
        drill.run(steps)
        return drill.failure
    }

    private init(_ tape: Tape) {
        choices = tape.stream(.drill, 1 << 40)
        var settings = IndexSettings()
        (keys, burst) = choices.chance(1, in: 8) ? (500, 200) : (12, 1)
        held = [SortedSet<UInt64>](repeating: SortedSet(), count: keys)
        (settings.tableEntries, settings.fanOut) = ((1 + choices.below(9)) * burst, 2 + choices.below(3))
        index = Index(folder: "x", owner: 9, reader: disk, settings: settings)
    }

    private mutating func run(_ steps: Int) {
        for _ in 0..<steps where failure == nil {
            step += 1
            take()
            countRuns()
            for known in seen { for key in [step % keys, choices.below(keys)] { compare(key, known[key]) } }
        }
        for known in seen.map(Optional.some) + [nil] { for key in 0..<keys { compare(key, known?[key]) } }
    }

    private static func hash(_ key: Int) -> UInt64 { mix([UInt8(key & 255), UInt8(key >> 8)], seed: 3).high >> 16 }
    private static func word(_ place: UInt64) -> IndexWord { IndexWord(kind: 1, LogAddress(raw: place)) }

    private mutating func take() {
        switch choices.below(16) {
        case 0..<4:
            for _ in 0..<burst {
                let key = choices.below(keys)
                places += 1
                index.put(IndexDrill.hash(key), IndexDrill.word(places))
                held[key].insert(places)
                fresh.insert(places)
            }
        case 4..<8:
            for _ in 0..<max(1, burst / 2) {
                let key = choices.below(keys)
                guard let place = held[key].first else { continue }
                index.erase(IndexDrill.hash(key), IndexDrill.word(place))
                held[key].remove(place)
                fresh.insert(place)
            }
        case 8:
            guard index.wantsFreeze else { return }
            (frozenCount, fresh) = (held.reduce(0) { $0 + $1.count }, SortedSet())
            act { [places] index, effects in index.freeze(at: LogAddress(raw: places), state: { [[1]] }, effects: &effects) }
        case 9: keep((0..<keys).compactMap { try? KnownKey(generation: index.generation, words: index.words(IndexDrill.hash($0))) })
        case 10: jobs.append(index.lookup(keys, hash: { IndexDrill.hash($0) }, kind: 9) { _, _, _ in nil })
        default: endOne()
        }
    }

    private mutating func keep(_ known: [KnownKey]) {
        guard known.count == keys else { return fail("what it holds cannot be read") }
        if seen.count == IndexDrill.seenMax { seen.remove(at: choices.below(seen.count)) }
        seen.append(known)
    }

    /// One of the jobs that are under way, whichever.
    private mutating func endOne() {
        guard !jobs.isEmpty else { return }
        var job = jobs.remove(at: choices.below(jobs.count))
        do throws(LogError) {
            while true {
                var effects: [DiskEffect] = []
                let outcome = try job.advance(reader: disk, effects: &effects)
                for effect in effects { carryOut(effect) }
                guard let outcome else { continue }
                switch outcome {
                case .done(let run): return act { $0.onJob(job.number, run, effects: &$1) }
                case .found(let looked):
                    let none = KnownKey(generation: looked.generation, words: [])
                    return keep((0..<keys).map { key in looked.found.first { $0.number == key }?.key ?? none })
                case .failed(let error): return fail("\(error)")
                }
            }
        } catch { fail("\(error)") }
    }

    private mutating func act(_ body: (inout Index, inout [Index.Effect]) -> Void) {
        var effects: [Index.Effect] = []
        body(&index, &effects)
        for effect in effects {
            switch effect {
            case .disk(let effect):
                carryOut(effect)
                if case .sync(_, let ticket) = effect { act { _ = $0.onDisk(.synced(ticket), effects: &$1) } }
            case .job(let job): jobs.append(job)
            }
        }
    }

    /// What is synced is so at once.
    private func carryOut(_ effect: DiskEffect) {
        if case .sync(let name, _) = effect { _ = disk.endSync(disk.beginSync(name)) } else { disk.apply(effect) }
    }

    /// What has gone is in no run that is the only one: nothing is left there for it to hide.
    private mutating func countRuns() {
        guard jobs.isEmpty, index.runCount == 1, case let count = index.entryCount - fresh.count, count != frozenCount else { return }
        fail("its only run has \(count) entries, of \(frozenCount) that are there", .bound)
    }

    /// What is there, whatever it was when the question was asked.
    private mutating func compare(_ key: Int, _ known: KnownKey?) {
        do throws(LogError) {
            let words = SortedSet(try index.words(IndexDrill.hash(key), seen: known).map(\.address.raw))
            guard words != held[key] else { return }
            fail("of key \(key) it holds \(words.count) places, and \(held[key].count) were put in\(known.map { ", by what was seen in generation \($0.generation) of \(index.generation)" } ?? "")")
        } catch { fail("\(error)") }
    }

    private mutating func fail(_ text: String, _ oracle: Oracle = .refold) { if failure == nil { failure = (oracle, "step \(step): \(text)") } }
}
