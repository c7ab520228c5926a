// Long work that is done beside the steps, slice by slice: RealNet has threads for it, SimNet virtual time. Until a job has ended
// well, nothing of it counts.

import Kernel
import Seams

package enum Job: Sendable, Equatable {
    case index(IndexJob)
    case lookup(LookupJob)

    package var number: UInt64 {
        switch self {
        case .index(let job): job.number
        case .lookup(let job): job.number
        }
    }

    /// Those that wait for room in memory come first.
    package var isUrgent: Bool { if case .index(let job) = self { job.isUrgent } else { true } }

    /// Goes on for a slice. The effects must have been carried out before the next one; a sync in them must have ended well.
    package mutating func advance(reader: any DiskReader, effects: inout [DiskEffect]) throws(LogError) -> JobOutcome? {
        switch self {
        case .index(var job):
            defer { self = .index(job) }
            return try job.advance(reader: reader, effects: &effects).map { .done($0) }
        case .lookup(var job):
            defer { self = .lookup(job) }
            return try job.advance(reader: reader).map { .found($0) }
        }
    }
}

/// How a job has ended.
package enum JobOutcome: Equatable, Sendable {
    case done(IndexRun)
    case found([KnownKey])
    case failed(LogError)
}
