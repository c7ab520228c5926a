// Telling the tracker what changed, at its own pace. Changes that come faster than it takes them are not kept in memory: they stand
// in the log, and are read from there when there is room. What is told is what is true then.

import Kernel
import Seams
import Storage

struct Telling: Sendable {
    /// Changes that the listener can still take.
    var room = Int.max
    /// The record from which on nothing has been told; nil when all has.
    var behind: LogAddress?
    var untoldCount = 0

    /// Whether so many changes can be told at once.
    func takes(_ count: Int) -> Bool { behind == nil && count <= room }

    mutating func fallBehind(at position: LogPosition, _ count: Int) {
        behind = behind ?? LogAddress(segment: position.segment, offset: Int(position.offset))
        untoldCount += count
    }
}

extension Replica {
    /// Changes that were not told yet, at most.
    package var untoldCount: Int { telling.behind == nil ? 0 : telling.untoldCount }

    /// How many changes may be told now. Those that have waited are told as far as they fit.
    package mutating func allowChanges(_ room: Int, effects: inout [Effect]) {
        telling.room = room
        guard let from = telling.behind, isOpen, room > 0 else { return }
        do { try tellMore(from, &effects) } catch { effects.append(.log(LogLine(.error, "crdt", "the log cannot be read: \(error)"))) }
        reportDamages(&effects)
    }

    mutating func tell(_ keys: [Bytes], _ effects: inout [Effect]) throws(LogError) {
        telling.room -= keys.count
        for key in keys {
            let text = String(decoding: key, as: UTF8.self)
            effects.append(.changed(key: text, new: try store.value(text)))
        }
    }

    /// A record at a time: all that it changed.
    private mutating func tellMore(_ from: LogAddress, _ effects: inout [Effect]) throws {
        var damages: [LogDamage] = []
        var keys: [Bytes] = []
        let next = try store.log.records(from: from, bytes: 1, damages: &damages) { _, kind, payload in
            guard kind == RecordKind.block, let block = StoredBlock(payload: Bytes(payload)) else { return }
            keys += block.elements.map { block.keyText($0) } + block.tombstones.compactMap { block.tombstone($0)?.key }
        }
        try tell(keys, &effects)
        telling.untoldCount -= keys.count
        telling.behind = next
        if next == nil { telling.untoldCount = 0 }
    }
}
