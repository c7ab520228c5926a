// A disk for tests: in memory, told exactly what survives a crash.

import Kernel
import Seams
import Storage

/// Used by one test at a time.
package final class MemoryDisk: DiskReader, @unchecked Sendable {
    private var files = SortedMap<FileName, Bytes>()
    private var synced = SortedMap<FileName, Bytes>()
    /// From now on appends fail as on a full disk.
    package var isFull = false
    package var failsReads = false
    private var broken = SortedSet<FileName>()

    package init() {}
    /// Another disk with the same files.
    package init(copying other: MemoryDisk) { (files, synced) = (other.files, other.files) }

    package func list(_ prefix: FileName) throws(DiskError) -> [FileName] { files.keys.filter { $0.hasPrefix(prefix) } }
    package func size(_ file: FileName) throws(DiskError) -> Int {
        guard let bytes = files[file] else { throw .notFound(file) }
        return bytes.count
    }
    package func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        if failsReads { throw .failed(file, reason: "test") }
        guard let bytes = files[file] else { throw .notFound(file) }
        let start = min(offset, bytes.count)
        return Bytes(bytes[start..<min(bytes.count, start + count)])
    }

    /// Carries out one effect. The answer, for a sync.
    package func carryOut(_ effect: DiskEffect) -> DiskEvent? {
        switch effect {
        case .append(let file, let bytes):
            if isFull { broken.insert(file) }
            if !broken.contains(file) { files[file, default: []] += bytes }
        case .truncate(let file, let count):
            broken.remove(file)
            if let bytes = files[file] { files[file] = Bytes(bytes.prefix(count)) }
        case .rename(let file, let new): files[new] = files.remove(file)
        case .remove(let file):
            files.remove(file)
            synced.remove(file)
        case .sync(let file, let ticket):
            if broken.contains(file) { return .syncFailed(ticket, .full(file)) }
            synced[file] = files[file]
            return .synced(ticket)
        }
        return nil
    }

    /// Long work, all of it at once.
    package func finish(_ job: Job) -> JobOutcome {
        var job = job
        while true {
            var effects: [DiskEffect] = []
            do throws(LogError) {
                if let outcome = try job.advance(reader: self, effects: &effects) { return outcome }
            } catch { return .failed(error) }
            for effect in effects {
                if case .syncFailed(_, let error) = carryOut(effect) { return .failed(.disk(error)) }
            }
        }
    }

    /// A crash: of what was appended after the last sync, only `kept` bytes of each file survive.
    package func crash(keeping kept: Int) {
        for file in files.keys {
            let safe = synced[file]?.count ?? 0
            files[file] = Bytes((files[file] ?? []).prefix(safe + kept))
        }
        broken.removeAll()
        isFull = false
    }

    package func flipBit(_ file: FileName, at offset: Int) { files[file]?[offset] ^= 0x10 }
    package func contents(_ file: FileName) -> Bytes { files[file] ?? [] }
}
