// What this peer is doing about each pin: one operation a CID, queues with priorities, retries on demand. It asks for work
// and is told how it ended; it never waits. spec/tracker-allocator-monitor.md TRK-25..50; bug zoo T01..T14, C26.

import Kernel
import Multiformats
import Pinset
import Seams

package struct TrackerSettings: Sendable {
    package var queueMax = 1_000_000  // TRK-36
    package var concurrentPins = 10
    package var priorityPinMaxAge = Span.hours(24)
    package var priorityPinMaxRetries: Int64 = 5
    /// Failures that are remembered. What became of older ones is said by IPFS, and they are tried again all the same.
    package var failuresMax = 100_000
    package init() {}
}

/// One attempt at an operation. A new attempt has a new number, so that the end of an old one changes nothing (TRK-29).
package struct WorkID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

package struct Tracker: Sendable {
    package enum Effect: Equatable, Sendable {
        case pin(WorkID, Pin)
        case unpin(WorkID, CID)
        case cancel(WorkID)
    }

    enum Kind: Equatable, Sendable {
        case pin
        case unpin
        /// Allocated elsewhere: whatever IPFS still pins is unpinned, and the status stays `remote` (TRK-41).
        case remote
    }
    enum Phase: Equatable, Sendable {
        case queued
        case running(WorkID)
        /// A pin, while an unpin of the same CID is still under way.
        case waiting(WorkID)
        case failed(String)
    }
    struct Operation: Equatable, Sendable {
        var pin: Pin
        let kind: Kind
        var phase: Phase
        var attempts: Int64 = 0
        var isPriority = false
        var since: WallTime
        /// Place in its queue.
        var ticket: UInt64 = 0

        /// TRK-26.
        var status: TrackerStatus {
            switch (kind, phase) {
            case (.pin, .queued), (.pin, .waiting): .pinQueued
            case (.pin, .running): .pinning
            case (.pin, .failed): .pinError
            case (.unpin, .queued), (.unpin, .waiting): .unpinQueued
            case (.unpin, .running): .unpinning
            case (.unpin, .failed): .unpinError
            case (.remote, _): .remote
            }
        }
        var error: String { if case .failed(let text) = phase { text } else { "" } }
    }

    package static let unexpectedText = "the item should be pinned but it is not"
    package static let queueFullText = "pin/unpin operation queue is full. Try increasing max_pin_queue_size"

    private let settings: TrackerSettings
    private let me: PeerID
    private(set) var operations = SortedMap<CID, Operation>()
    private var work: [WorkID: CID] = [:]
    /// CIDs in the order of their tickets.
    private var priorityQueue = SortedMap<UInt64, CID>()
    private var pinQueue = SortedMap<UInt64, CID>()
    private var unpinQueue = SortedMap<UInt64, CID>()
    /// The same of what has failed.
    private var failures = SortedMap<UInt64, CID>()
    private var runningPins = 0
    private var runningUnpins = 0
    private var nextNumber: UInt64 = 0

    package init(settings: TrackerSettings, me: PeerID) {
        self.settings = settings
        self.me = me
    }

    /// Pins that wait (TRK-32).
    package var pinQueueSize: Int { priorityQueue.count + pinQueue.count }
    /// What waits or runs.
    package var busyCount: Int { pinQueueSize + unpinQueue.count + work.count }
    /// What is under way at IPFS.
    package var running: [CID] { operations.compactMap { if case .running = $0.value.phase { $0.key } else { nil } } }
    /// Something is queued or under way for it.
    package func isBusy(with cid: CID) -> Bool {
        guard let operation = operations[cid] else { return false }
        if case .failed = operation.phase { return false }
        return true
    }

    // MARK: Intents

    /// The pin is in the state, new or changed.
    package mutating func track(_ pin: Pin, now: Now, effects: inout [Effect]) {
        guard pin.type != .meta else {
            if endsUnpinning(pin.cid, now) { return }
            drop(pin.cid, &effects)
            return startWork(now, &effects)  // in its place
        }
        begin(pin.isRemote(for: me) ? .remote : .pin, pin, now, &effects)
    }

    /// Nothing of a root of shards is pinned for itself. An unpin under way goes on all the same: it cannot be called back.
    private mutating func endsUnpinning(_ cid: CID, _ now: Now) -> Bool {
        switch operations[cid]?.phase {
        case .running: return operations[cid]?.kind != .pin
        case .waiting(let id):
            replace(Pin(cid: cid), .unpin, .running(id), 1, now)
            return true
        default: return false
        }
    }

    /// The CID is no longer in the state.
    package mutating func untrack(_ cid: CID, now: Now, effects: inout [Effect]) {
        var pin = Pin(cid: cid)
        pin.timestamp = now.wall
        begin(.unpin, pin, now, &effects)
    }

    /// TRK-27, TRK-28. The last intent wins: an operation under way in the same direction takes over the new options when it
    /// has not started, and is started anew when they change what IPFS must do. A pin waits for an unpin under way: that can
    /// no longer be called back, and would take away what the pin finds pinned. What is given to others is unpinned as what is removed.
    private mutating func begin(_ kind: Kind, _ pin: Pin, _ now: Now, _ effects: inout [Effect]) {
        var attempts: Int64 = 0
        if let old = operations[pin.cid] {
            if old.kind == kind {
                switch old.phase {
                case .queued, .waiting: operations[pin.cid]?.pin = pin; return
                case .running where old.pin.maxDepth == pin.maxDepth: operations[pin.cid]?.pin = pin; return
                case .running: break
                case .failed: attempts = old.attempts
                }
            }
            switch old.phase {
            case .running(let id) where old.kind != .pin:
                return kind == .pin ? replace(pin, kind, .waiting(id), 0, now) : replace(pin, kind, .running(id), old.attempts, now)
            case .waiting(let id): return replace(pin, kind, .running(id), 1, now)
            default: drop(pin.cid, &effects)
            }
        }
        var operation = Operation(pin: pin, kind: kind, phase: .queued, attempts: attempts, since: now.wall)
        nextNumber += 1
        operation.ticket = nextNumber
        operation.isPriority = isPriority(operation, now)
        if queueCount(operation) >= settings.queueMax {
            fail(operation, Tracker.queueFullText)  // TRK-40
        } else {
            enqueue(operation)
            operations[pin.cid] = operation
        }
        startWork(now, &effects)
    }

    /// The unpin under way stays as it is; what it is for changes.
    private mutating func replace(_ pin: Pin, _ kind: Kind, _ phase: Phase, _ attempts: Int64, _ now: Now) {
        var operation = Operation(pin: pin, kind: kind, phase: phase, attempts: attempts, since: now.wall)
        operation.isPriority = isPriority(operation, now)
        operations[pin.cid] = operation
    }

    /// TRK-39: decided when it is queued.
    private func isPriority(_ operation: Operation, _ now: Now) -> Bool {
        let isYoung = now.wall < operation.pin.timestamp + settings.priorityPinMaxAge
        return operation.kind == .pin && isYoung && operation.attempts <= settings.priorityPinMaxRetries
    }

    private func queueCount(_ operation: Operation) -> Int {
        operation.kind == .pin ? (operation.isPriority ? priorityQueue.count : pinQueue.count) : unpinQueue.count
    }

    private mutating func enqueue(_ operation: Operation) {
        switch (operation.kind, operation.isPriority) {
        case (.pin, true): priorityQueue[operation.ticket] = operation.pin.cid
        case (.pin, false): pinQueue[operation.ticket] = operation.pin.cid
        case (.unpin, _), (.remote, _): unpinQueue[operation.ticket] = operation.pin.cid
        }
    }

    /// Forgets an operation, cancelling what runs.
    private mutating func drop(_ cid: CID, _ effects: inout [Effect]) {
        guard let old = operations.remove(cid) else { return }
        switch old.phase {
        case .queued:
            priorityQueue.remove(old.ticket)
            pinQueue.remove(old.ticket)
            unpinQueue.remove(old.ticket)
        case .running(let id):
            work[id] = nil
            release(old.kind)
            effects.append(.cancel(id))
        case .waiting(let id):
            work[id] = nil
            release(.unpin)
            effects.append(.cancel(id))
        case .failed: failures.remove(old.ticket)
        }
    }

    private mutating func fail(_ operation: Operation, _ text: String) {
        var operation = operation
        nextNumber += 1
        (operation.phase, operation.ticket) = (.failed(text), nextNumber)
        operations[operation.pin.cid] = operation
        failures[operation.ticket] = operation.pin.cid
        if failures.count > settings.failuresMax, let (ticket, cid) = failures.first {
            failures.remove(ticket)
            operations.remove(cid)
        }
    }

    private mutating func release(_ kind: Kind) {
        if kind == .pin { runningPins -= 1 } else { runningUnpins -= 1 }
        invariant(runningPins >= 0 && runningUnpins >= 0, "more work ended than was begun")
    }

    // MARK: Work

    /// TRK-37, TRK-38: priority pins first, then normal ones; unpins one at a time.
    private mutating func startWork(_ now: Now, _ effects: inout [Effect]) {
        while runningPins < settings.concurrentPins {
            guard let (ticket, cid) = priorityQueue.first ?? pinQueue.first else { break }
            priorityQueue.remove(ticket)
            pinQueue.remove(ticket)
            runningPins += 1
            start(cid, now, &effects)
        }
        while runningUnpins < 1, let (ticket, cid) = unpinQueue.first {
            unpinQueue.remove(ticket)
            runningUnpins += 1
            start(cid, now, &effects)
        }
    }

    private mutating func start(_ cid: CID, _ now: Now, _ effects: inout [Effect]) {
        guard var operation = operations[cid] else { unreachable("\(cid) is queued without an operation") }
        nextNumber += 1
        let id = WorkID(nextNumber)
        operation.phase = .running(id)
        operation.attempts += 1  // TRK-30
        operation.since = now.wall
        operations[cid] = operation
        work[id] = cid
        effects.append(operation.kind == .pin ? .pin(id, operation.pin) : .unpin(id, cid))
    }

    /// How an attempt ended. Cancelled ones are no longer known and change nothing.
    package mutating func onDone(_ id: WorkID, failure: String?, now: Now, effects: inout [Effect]) {
        guard let cid = work.removeValue(forKey: id), var operation = operations[cid] else { return }
        if case .waiting = operation.phase {
            release(.unpin)
            nextNumber += 1
            (operation.phase, operation.ticket) = (.queued, nextNumber)
            operations[cid] = operation
            enqueue(operation)
            return startWork(now, &effects)
        }
        release(operation.kind)
        if let failure {
            operation.since = now.wall
            fail(operation, failure)
        } else {
            operations.remove(cid)
        }
        startWork(now, &effects)
    }

    // MARK: Recovering

    /// TRK-49: queues again what a status says has failed. `pin` is the state's. True if anything was queued.
    package mutating func recover(
        _ cid: CID, in status: TrackerStatus, pin: Pin?, now: Now, effects: inout [Effect]
    ) -> Bool {
        switch status {
        case .pinError, .unexpectedlyUnpinned:
            guard let pin else { return false }
            track(pin, now: now, effects: &effects)
            return true
        case .unpinError:
            if let pin { track(pin, now: now, effects: &effects) } else { untrack(cid, now: now, effects: &effects) }
            return true
        default: return false
        }
    }

    /// What found no room in the queue, as much of it as there is room for now. What was tried least comes first: else what fails over and
    /// over takes the room of all others for good (seed 700075).
    package var refused: [PinInfo] {
        let waiting = operations.values.filter { $0.kind == .pin && $0.error == Tracker.queueFullText }
        let room = max(0, settings.queueMax - max(priorityQueue.count, pinQueue.count))
        return waiting.sorted { ($0.attempts, $0.pin.cid) < ($1.attempts, $1.pin.cid) }.prefix(room).map(info)
    }

    /// A pin that has failed and is in no pinset. IPFS is not asked for anything.
    package mutating func forget(_ cid: CID, effects: inout [Effect]) { drop(cid, &effects) }

    // MARK: Status

    /// What can be said without asking IPFS; nil when that must be asked (TRK-44).
    package func settledStatus(of cid: CID, pin: Pin?, now: Now) -> PinInfo? {
        if let operation = operations[cid] { return info(operation) }
        guard let pin else {
            var info = PinInfo(cid: cid, peer: me)
            info.short.status = .unpinned
            info.short.timestamp = now.wall
            return info
        }
        if pin.type == .meta { return info(of: pin, .sharded) }
        return pin.isRemote(for: me) ? info(of: pin, .remote) : nil
    }

    /// With IPFS's answer.
    package func status(of pin: Pin, ipfs: Result<IPFSPinStatus, IPFSFault>) -> PinInfo {
        switch ipfs {
        case .failure(let fault): return info(of: pin, .clusterError, error: fault.text)
        case .success(let status) where status.isPinned(to: pin.maxDepth): return info(of: pin, .pinned)
        case .success(.bug): return info(of: pin, .undefined)
        case .success: return info(of: pin, .unexpectedlyUnpinned, error: Tracker.unexpectedText)
        }
    }

    /// Operations whose status matches, in the order of their CIDs (TRK-45).
    package func operations(matching filter: TrackerStatus) -> [PinInfo] {
        operations.values.filter { $0.status.matches(filter) }.map(info)
    }

    /// TRK-45: can the filter be answered by operations alone?
    package static func needsState(_ filter: TrackerStatus) -> Bool {
        filter.rawValue == 0 || !filter.isDisjoint(with: [.pinned, .unexpectedlyUnpinned, .sharded, .remote])
    }
    /// TRK-46: must the IPFS pinset be listed for it?
    package static func needsIPFS(_ filter: TrackerStatus) -> Bool {
        filter.rawValue == 0 || !filter.isDisjoint(with: [.pinned, .unexpectedlyUnpinned])
    }

    /// TRK-47: one pin of the state in a listing. `ipfs` is what the IPFS listing says of it, nil for nothing.
    package func listed(_ pin: Pin, ipfs: IPFSPinStatus?, filter: TrackerStatus) -> PinInfo? {
        if let operation = operations[pin.cid], operation.status.matches(filter) { return info(operation) }
        let derived: PinInfo
        if pin.type == .meta { derived = info(of: pin, .sharded) }
        else if pin.isRemote(for: me) { derived = info(of: pin, .remote) }
        else { derived = status(of: pin, ipfs: .success(ipfs ?? .unpinned)) }
        return derived.short.status.matches(filter) ? derived : nil
    }

    private func info(_ operation: Operation) -> PinInfo {
        var info = info(of: operation.pin, operation.status, error: operation.error)
        info.short.timestamp = operation.since
        info.short.attemptCount = operation.attempts
        info.short.isPriority = operation.isPriority
        return info
    }

    private func info(of pin: Pin, _ status: TrackerStatus, error: String = "") -> PinInfo {
        var info = PinInfo(cid: pin.cid, peer: me)
        info.name = pin.options.name
        info.allocations = pin.allocations
        info.origins = pin.options.origins
        info.created = pin.timestamp
        info.metadata = pin.options.metadata
        info.short.status = status
        info.short.timestamp = pin.timestamp
        info.short.error = error
        return info
    }

    // MARK: Invariants

    /// Called after each step in simulations and tests.
    package func checkInvariants() {
        var queued = 0, pins = 0, unpins = 0, failed = 0
        for (_, operation) in operations {
            switch operation.phase {
            case .queued: queued += 1
            case .running(let id):
                invariant(work[id] == operation.pin.cid, "running work is known by its number")
                if operation.kind == .pin { pins += 1 } else { unpins += 1 }
            case .waiting(let id):
                invariant(work[id] == operation.pin.cid && operation.kind == .pin, "a pin waits for an unpin of its own CID")
                unpins += 1
            case .failed:
                invariant(failures[operation.ticket] == operation.pin.cid, "a failure is known by its ticket")
                failed += 1
            }
        }
        invariant(failed == failures.count && failed <= settings.failuresMax, "no failure without an operation, and no more than configured")
        invariant(queued == priorityQueue.count + pinQueue.count + unpinQueue.count, "every queued operation is in one queue")
        invariant(pins == runningPins && unpins == runningUnpins, "running counts are those of the operations")
        invariant(work.count == pins + unpins, "no work without an operation")
        invariant(pins <= settings.concurrentPins, "no more pins at a time than configured")
        invariant(pins == settings.concurrentPins || pinQueueSize == 0, "no pin waits while there is room")
    }
}

/// Why IPFS could not say.
package struct IPFSFault: Error, Equatable, Sendable {
    package let text: String
    package init(_ text: String) { self.text = text }
}
