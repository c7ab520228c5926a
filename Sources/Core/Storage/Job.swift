// Long work that is done beside the steps, slice by slice: RealNet has threads for it, SimNet virtual time. Until a job has ended
// well, nothing of it counts.

import Kernel
import Seams

/// One of the two. Each goes on in its place: it holds what is too large to be copied.
package struct Job: Sendable, Equatable {
    package let number: UInt64
    private(set) var index: IndexJob?
    private(set) var lookup: LookupJob?

    init(_ job: IndexJob) { (number, index) = (job.number, job) }
    init(_ job: LookupJob) { (number, lookup) = (job.number, job) }

    package var isLookup: Bool { lookup != nil }
    /// Those that wait for room in memory come first.
    package var isUrgent: Bool { index?.isUrgent ?? true }

    /// Goes on for a slice. The effects must have been carried out before the next one; a sync in them must have ended well.
    package mutating func advance(reader: any DiskReader, effects: inout [DiskEffect]) throws(LogError) -> JobOutcome? {
        if let run = try index?.advance(reader: reader, effects: &effects) { return .done(run) }
        // Whoever asked reads again what could not be read, and is told of the damage.
        do throws(LogError) { return try lookup?.advance(reader: reader).map { .found($0) } } catch { return .found(Looked(generation: 0)) }
    }
}

/// How a job has ended.
package enum JobOutcome: Equatable, Sendable {
    case done(IndexRun)
    case found(Looked)
    case failed(LogError)
}
