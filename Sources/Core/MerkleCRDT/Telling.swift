// Telling the tracker what changed, at its own pace. Changes that come faster than it takes them are not kept in memory: they stand
// in the log, and are read from there when there is room. What is told is what is true then.

import Kernel
import Seams
import Storage

struct Telling: Sendable {
    /// Changes that the listener can still take in this step.
    var room = Int.max
    /// Of records, read to tell of what has waited.
    static let bytesPerStep = 256 << 10
    /// The record from which on something has not been told, and how many of its changes have been; nil when all has.
    var behind: (record: LogAddress, told: Int)?
    var untoldCount = 0
    /// When the next of them are told, if there is room.
    var nextAt: Instant?

    /// Whether so many changes can be told at once.
    func takes(_ count: Int) -> Bool { behind == nil && count <= room }

    mutating func fallBehind(at position: LogPosition, _ count: Int) {
        if behind == nil { behind = (LogAddress(segment: position.segment, offset: Int(position.offset)), 0) }
        untoldCount += count
    }
}

extension Replica {
    /// Changes that were not told yet, at most.
    package var untoldCount: Int { telling.behind == nil ? 0 : telling.untoldCount }

    /// The listener may not have heard of what is at that address.
    package func isUntold(_ address: LogAddress) -> Bool { telling.behind.map { $0.record <= address } ?? false }

    /// How many changes may be told now. Those that have waited are told when this is the next that is due, and some at once.
    package mutating func allowChanges(_ room: Int, now: Now) {
        telling.room = min(room, settings.toldPerStep)
        telling.nextAt = telling.behind != nil && isOpen && room > 0 ? telling.nextAt ?? now.monotonic : nil
    }

    mutating func tellWaiting(_ now: Now, _ effects: inout [Effect]) {
        telling.nextAt = nil
        var left = Telling.bytesPerStep
        do throws(LogError) {
            while let (record, told) = telling.behind, isOpen, telling.room > 0, left > 0 { left -= try tellMore(record, told, &effects) }
        } catch {
            telling.nextAt = now.monotonic + settings.retryDelay  // not at once, over and over (seed 910171)
            if error.isDamage { onUnreadable(error, now: now, effects: &effects) } else {
                effects.append(.log(LogLine(.error, "crdt", "the log cannot be read: \(error)")))
            }
        }
        reportDamages(now, &effects)
    }

    mutating func tell(_ names: [StoredName], _ effects: inout [Effect]) throws(LogError) {
        telling.room -= names.count
        for name in names { effects.append(.changed(key: name.string, new: try store.value(name))) }
    }

    /// What one record changed, from some change on. How large it is.
    private mutating func tellMore(_ record: LogAddress, _ told: Int, _ effects: inout [Effect]) throws(LogError) -> Int {
        guard let (position, payload) = try store.log.record(at: record + Log.frameBytes) else {
            goOnTelling(at: store.log.next(afterDamageAt: record))
            return Telling.bytesPerStep
        }
        var count = 0
        if let block = StoredBlock(payload: payload) {
            count = block.elements.count + block.tombstones.count
            let some = told..<min(count, told + telling.room)
            try tell(some.compactMap { index in
                index < block.elements.count ? block.name(block.elements[index]) : block.tombstone(block.tombstones[index - block.elements.count])?.name
            }, &effects)
            // A block may stand in the log twice, and was counted once.
            telling.untoldCount = max(0, telling.untoldCount - some.count)
            if some.upperBound < count {
                telling.behind = (record, some.upperBound)
                return payload.count
            }
        }
        goOnTelling(at: store.log.next(after: position))
        return payload.count
    }

    /// What is in the log and not in the state yet is told when it is: its time to fall behind is to come (seed 2000316).
    private mutating func goOnTelling(at record: LogAddress?) {
        if let record, record < stateEnd { telling.behind = (record, 0) } else { (telling.behind, telling.untoldCount) = (nil, 0) }
    }
}
