// What a journal needs of jobs and of their ends to write them down, and to make them again.

import Kernel
import Seams

extension IndexRun {
    /// All of a run that is kept in memory.
    package struct Parts: Sendable {
        package let number: UInt64
        package let file: FileName
        package let count: Int
        package let filter: [UInt64]
        package let fences: [UInt32]
        package let sizeBytes: Int
        package init(number: UInt64, file: FileName, count: Int, filter: [UInt64], fences: [UInt32], sizeBytes: Int) {
            (self.number, self.file, self.count) = (number, file, count)
            (self.filter, self.fences, self.sizeBytes) = (filter, fences, sizeBytes)
        }
    }
    package var parts: Parts {
        Parts(number: number, file: file, count: count, filter: filter.words, fences: fences, sizeBytes: sizeBytes)
    }
    package init(parts: Parts) {
        self.init(
            number: parts.number, file: parts.file, count: parts.count, filter: HashFilter(words: parts.filter), fences: parts.fences,
            sizeBytes: parts.sizeBytes)
    }
}

extension IndexWord {
    package init(recorded raw: UInt64) { self.init(raw: raw) }
}

extension LogDamage {
    package init(recorded file: FileName, offset: Int, count: Int, reason: String) {
        self.init(file: file, offset: offset, count: count, reason: reason)
    }
}

extension Job {
    /// So many keys are looked up.
    package var keyCount: Int { lookup?.count ?? 0 }
    /// What is read, the newest first, and what is written.
    package var files: [FileName] {
        if let lookup { return lookup.runs.map(\.file) }
        guard let index else { return [] }
        let read = index.sources.map { source -> FileName in
            switch source {
            case .memory(let table): "\(table.count) entries in memory"
            case .run(let run): run.file
            }
        }
        return read + [index.file]
    }
}
