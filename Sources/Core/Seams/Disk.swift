// The seam between the core and a disk. Reads answer at once; what changes the disk is an effect, so that a crash can
// happen between any two; a sync is answered by an event, since it takes long and may fail.

import Kernel

/// A path below the peer's data folder, such as "log/00000001". Parts are separated by one slash.
package typealias FileName = String

package enum DiskError: Error, Equatable, Sendable {
    case notFound(FileName)
    /// No room, or over quota.
    case full(FileName)
    case failed(FileName, reason: String)
}

/// What can be read while a step runs. RealNet: pread on open files. SimNet: its disk model, faults included.
package protocol DiskReader: Sendable {
    /// All files whose name starts with the prefix, sorted.
    func list(_ prefix: FileName) throws(DiskError) -> [FileName]
    func size(_ file: FileName) throws(DiskError) -> Int
    /// Exactly the bytes in the range, or fewer at the end of the file.
    func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes
}

/// Names a sync whose end its asker waits for. `owner` routes the answer inside the peer.
package struct SyncTicket: Hashable, Comparable, Sendable {
    package let owner: UInt8
    package let number: UInt64
    package init(owner: UInt8, number: UInt64) { self.owner = owner; self.number = number }
    package static func < (a: Self, b: Self) -> Bool { (a.owner, a.number) < (b.owner, b.number) }
}

/// Applied in order. After an `append` fails, the later appends to that file in the same queue are dropped and the next
/// sync of that file fails, so that no record is taken for durable that follows a hole.
package enum DiskEffect: Equatable, Sendable {
    /// Creates the file if it is missing.
    case append(FileName, Bytes)
    /// Makes everything appended to the file, and its directory entry, durable. Answered by `synced`.
    case sync(FileName, SyncTicket)
    /// Cuts the file, durably with its next sync. Clears an earlier append error.
    case truncate(FileName, to: Int)
    /// Atomic replacement; durable with the next sync of `to`.
    case rename(FileName, to: FileName)
    case remove(FileName)
}

package enum DiskEvent: Equatable, Sendable {
    case synced(SyncTicket)
    case syncFailed(SyncTicket, DiskError)
}
