// A disk that forgets what was not synced, tears writes, fills up and fails to sync. It survives its peer's crashes.

import Kernel
import Seams

/// Used by one peer of a single-threaded simulation.
package final class SimDisk: DiskReader, @unchecked Sendable {
    private struct File {
        var bytes: Bytes = []
        /// What a crash cannot take away: the content at the last completed sync.
        var syncedCount = 0
        /// What stood behind the synced content before a cut that has not been synced yet, and how much of that had been.
        var cut: (tail: Bytes, syncedCount: Int) = ([], 0)
        var isEntrySynced = false
        /// An append failed: nothing may follow the hole until the file is cut (see DiskEffect).
        var isBroken: DiskError?
        /// What a failed sync was to write: the pages count as written, and no later sync writes them.
        var dropped: [Range<Int>] = []
        /// Of an earlier life of the process: written back by now, though no sync has said so.
        var foundCount = 0
    }
    private var files = SortedMap<FileName, File>()
    /// Renames and removals that a crash may undo, oldest first.
    private var undo: [(name: FileName, file: File?)] = []

    /// Faults, switched by the run.
    package var capacityBytes = Int.max
    package var failSyncs = 0
    /// Nothing is written before a sync: what no sync has confirmed cannot be read, as when another thread is to write it.
    package var writesLate = false
    package private(set) var usedBytes = 0
    /// Reads of these files fail.
    package var unreadable: FileName?
    /// Bytes that have rotted, by file and place.
    private var rotten: [(name: FileName, offset: Int)] = []
    /// What faults did come to pass.
    package var onProbe: ((Probe) -> Void)?

    package init() {}

    // MARK: Reading

    package func list(_ prefix: FileName) throws(DiskError) -> [FileName] { files.keys.filter { $0.hasPrefix(prefix) } }

    package func size(_ file: FileName) throws(DiskError) -> Int {
        guard let found = files[file] else { throw .notFound(file) }
        return found.bytes.count
    }

    package func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        guard let found = files[file] else { throw .notFound(file) }
        if let unreadable, file.hasSuffix(unreadable) {
            onProbe?(.readFailed)
            throw .failed(file, reason: "input/output error")
        }
        if !rotten.isEmpty, rotten.contains(where: { $0.name == file && offset <= $0.offset && $0.offset < offset + count }) { onProbe?(.rotRead) }
        let end = writesLate ? max(found.syncedCount, found.foundCount) : found.bytes.count
        let start = min(max(0, offset), end)
        return Bytes(found.bytes[start..<min(end, start + max(0, count))])
    }

    /// Of these bytes a loss of power takes none.
    package func durableCount(_ file: FileName) -> Int { files[file].map { $0.isEntrySynced ? $0.syncedCount : 0 } ?? 0 }
    package func isDurable(_ file: FileName) -> Bool { files[file].map { $0.isEntrySynced && $0.syncedCount == $0.bytes.count } ?? false }

    /// Of what an earlier life has written there, some is not durable.
    package func hasUnsyncedFind(_ file: FileName) -> Bool { files[file].map { $0.foundCount > $0.syncedCount } ?? false }

    // MARK: Writing

    /// Carries out everything but syncs, whose end takes time: see `beginSync`.
    package func apply(_ effect: DiskEffect) {
        switch effect {
        case .append(let name, let bytes): append(name, bytes)
        case .truncate(let name, let count): truncate(name, count)
        case .rename(let name, let new): rename(name, new)
        case .remove(let name):
            undo.append((name, files[name]))
            usedBytes -= files.remove(name)?.bytes.count ?? 0
        case .sync: unreachable("a sync is begun, not applied")
        }
    }

    private func append(_ name: FileName, _ bytes: Bytes) {
        var file = files.remove(name) ?? File()
        defer { files[name] = file }
        if file.isBroken != nil { return }
        guard usedBytes + bytes.count <= capacityBytes else {
            // A full disk takes what fits: the hole starts in mid-record.
            let fits = max(0, capacityBytes - usedBytes)
            file.bytes.append(contentsOf: bytes.prefix(fits))
            usedBytes += fits
            file.isBroken = .full(name)
            onProbe?(.diskFull)
            return
        }
        file.bytes.append(contentsOf: bytes)
        usedBytes += bytes.count
    }

    private func truncate(_ name: FileName, _ count: Int) {
        guard var file = files[name] else { return }
        file.isBroken = nil
        guard count < file.bytes.count else { files[name] = file; return }
        if file.cut.tail.isEmpty { file.cut.tail = Bytes(file.bytes[file.syncedCount...]) }
        if count < file.syncedCount {
            let synced = file.bytes[count..<file.syncedCount]
            file.cut = (synced + file.cut.tail, synced.count + file.cut.syncedCount)
        }
        usedBytes -= file.bytes.count - count
        file.bytes.removeSubrange(count...)
        file.foundCount = min(file.foundCount, count)
        file.dropped = file.dropped.map { $0.clamped(to: 0..<count) }.filter { !$0.isEmpty }
        file.syncedCount = min(file.syncedCount, count)
        files[name] = file
    }

    private func rename(_ name: FileName, _ new: FileName) {
        guard let file = files[name] else { return }
        undo.append((new, files[new]))
        undo.append((name, file))
        files.remove(name)
        usedBytes -= files[new]?.bytes.count ?? 0
        files[new] = file
    }

    /// What will be durable when this sync ends.
    package struct PendingSync: Sendable {
        package let name: FileName
        let count: Int
        let failure: DiskError?
    }

    package func beginSync(_ name: FileName) -> PendingSync {
        if failSyncs > 0 {
            failSyncs -= 1
            drop(name)
            return PendingSync(name: name, count: 0, failure: .failed(name, reason: "input/output error"))
        }
        guard let file = files[name] else { return PendingSync(name: name, count: 0, failure: .notFound(name)) }
        return PendingSync(name: name, count: file.bytes.count, failure: file.isBroken)
    }

    private func drop(_ name: FileName) {
        guard var file = files[name], case let start = max(file.syncedCount, file.foundCount), start < file.bytes.count else { return }
        file.dropped.append(start..<file.bytes.count)
        files[name] = file
    }

    package func endSync(_ pending: PendingSync) -> DiskError? {
        if let failure = pending.failure { return failure }
        guard var file = files[pending.name] else { return .notFound(pending.name) }
        file.syncedCount = max(file.syncedCount, min(pending.count, file.bytes.count))
        file.cut = ([], 0)
        file.isEntrySynced = true
        files[pending.name] = file
        undo.removeAll { $0.name == pending.name }
        return nil
    }

    /// A bit rots somewhere in the files of that ending. Where.
    package func rot(_ ending: String, _ choices: inout Choices) -> (file: FileName, offset: Int)? {
        let names = files.keys.filter { $0.hasPrefix("crdt/") && $0.hasSuffix(ending) && (files[$0]?.bytes.count ?? 0) > 0 }
        guard !names.isEmpty, case let name = names[choices.below(names.count)], let count = files[name]?.bytes.count else { return nil }
        let offset = choices.below(count)
        flipBit(name, at: offset)
        return (name, offset)
    }

    /// A bit rots, synced or not.
    package func flipBit(_ name: FileName, at offset: Int) {
        files[name]?.bytes[offset] ^= 0x10
        rotten.append((name, offset))
    }

    // MARK: Crashing

    /// Power is lost: of what was not synced, a random part survives, torn at any byte.
    package func crash(_ choices: inout Choices) {
        for (name, before) in undo.reversed() where choices.chance(1, in: 2) {
            onProbe?(.undone)
            files[name] = before
        }
        undo = []
        for name in files.keys {
            guard var file = files[name] else { continue }
            if !file.isEntrySynced && choices.chance(1, in: 2) {
                onProbe?(.entryLost)
                files.remove(name)
                continue
            }
            loseUnsynced(&file, &choices)
            loseDropped(&file, &choices)
            file.isBroken = nil
            file.isEntrySynced = true
            files[name] = file
        }
        usedBytes = files.values.reduce(0) { $0 + $1.bytes.count }
    }

    /// The process is killed: of what it was to write late, some is written.
    package func endProcess(_ choices: inout Choices) {
        for name in files.keys {
            guard var file = files[name] else { continue }
            let unwritten = writesLate ? file.bytes.count - max(file.syncedCount, file.foundCount) : 0
            if unwritten > 0 {
                let lost = choices.below(unwritten + 1)
                file.bytes.removeLast(lost)
                usedBytes -= lost
            }
            file.isBroken = nil
            files[name] = file
        }
    }

    /// Files are opened anew, and read from the disk: what it never got is not there.
    package func reopen(_ choices: inout Choices) {
        for name in files.keys {
            guard var file = files[name] else { continue }
            loseDropped(&file, &choices)
            file.foundCount = file.bytes.count
            files[name] = file
        }
    }

    private func loseDropped(_ file: inout File, _ choices: inout Choices) {
        for range in file.dropped where choices.chance(1, in: 2) {
            let lost = range.clamped(to: 0..<file.bytes.count)
            if !lost.isEmpty { onProbe?(.droppedLost) }
            for at in lost { file.bytes[at] = 0 }
        }
        file.dropped = []
    }

    private func loseUnsynced(_ file: inout File, _ choices: inout Choices) {
        let unsynced = file.bytes.count - file.syncedCount
        if unsynced > 0 {
            let kept = choices.below(unsynced + 1)
            onProbe?(kept < unsynced ? .unsyncedLost : .unsyncedKept)
            file.bytes.removeSubrange((file.syncedCount + kept)...)
            // A sector that was being written may hold anything.
            if kept > 0 && choices.chance(1, in: 4) {
                onProbe?(.tornWrite)
                let at = file.syncedCount + choices.below(kept)
                file.bytes[at] ^= UInt8(1 + choices.below(255))
            }
        }
        if !file.cut.tail.isEmpty && choices.chance(1, in: 2) && file.bytes.count == file.syncedCount {
            onProbe?(.cutLost)
            let (tail, syncedCount) = file.cut
            // All of it as often as not: a cut that is not written leaves what was there.
            file.bytes.append(contentsOf: choices.chance(1, in: 2) ? tail[...] : tail.prefix(syncedCount + choices.below(tail.count - syncedCount + 1)))
        }
        file.cut = ([], 0)
        file.syncedCount = file.bytes.count
    }

    // MARK: Disks that are not what they were

    /// All that it holds, to be put back later.
    package struct Copy: Sendable { fileprivate let files: [(FileName, Bytes)] }
    package func copy() -> Copy { Copy(files: files.map { ($0.key, Bytes($0.value.bytes.prefix($0.value.syncedCount))) }) }

    /// Another disk is put in, empty or with a copy of old.
    package func replace(with copy: Copy?) {
        files = SortedMap()
        (undo, rotten) = ([], [])
        for (name, bytes) in copy?.files ?? [] { files[name] = File(bytes: bytes, syncedCount: bytes.count, isEntrySynced: true) }
        usedBytes = files.values.reduce(0) { $0 + $1.bytes.count }
    }

    /// Of all that it holds.
    var contentDigest: UInt64 {
        var digest = TraceDigest()
        for (name, file) in files {
            digest.mix(name)
            digest.mix(file.bytes)
            digest.mix(UInt64(file.syncedCount))
        }
        return digest.value
    }
}
