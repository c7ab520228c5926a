// The tracker against a model that is as dumb as can be: one array of operations, searched through for everything.

import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing
import Tracking

private let me = testPeer(1)
private let other = testPeer(2)

func testPeer(_ number: UInt8) -> PeerID {
    guard let id = try? PeerID([0x00, 0x24, 0x08, 0x01, 0x12, 0x20] + Bytes(repeating: number, count: 32)) else { unreachable("a peer ID") }
    return id
}

/// What must happen, by the rules alone.
private struct Model {
    enum Kind { case pin, unpin, remote }
    struct Item {
        var pin: Pin
        let kind: Kind
        var status: TrackerStatus
        var attempts: Int64
        let isPriority: Bool
        /// When it was queued.
        let place: Int
        var work: WorkID?
        var isQueued: Bool
        var hasFailed = false
        /// A pin whose work is still the unpin that it follows.
        var isWaiting = false
    }
    let settings: TrackerSettings
    var items: [Item] = []
    var places = 0

    func item(_ cid: CID) -> Item? { items.first { $0.pin.cid == cid } }
    func queued(_ kinds: [Kind], priority: Bool?) -> [Item] {
        items.filter { $0.isQueued && kinds.contains($0.kind) && (priority == nil || $0.isPriority == priority) }
    }

    /// The effects, with the numbers of new works left out.
    enum Expected: Equatable { case pin(Pin), unpin(CID), cancel(WorkID) }

    mutating func begin(_ kind: Kind, _ pin: Pin, _ now: Now) -> [Expected] {
        var expected: [Expected] = []
        var attempts: Int64 = 0
        if let index = items.firstIndex(where: { $0.pin.cid == pin.cid }) {
            let old = items[index]
            if old.kind == kind {
                let isRestarted = old.work != nil && !old.isWaiting && old.pin.maxDepth != pin.maxDepth
                if !old.hasFailed && !isRestarted { items[index].pin = pin; return [] }
                if old.hasFailed { attempts = old.attempts }
            }
            if old.work != nil, old.isWaiting || old.kind != .pin {
                items[index] = Item(
                    pin: pin, kind: kind, status: .undefined, attempts: kind == .pin ? 0 : old.isWaiting ? 1 : old.attempts,
                    isPriority: kind == .pin && now.wall < pin.timestamp + settings.priorityPinMaxAge, place: 0,
                    work: old.work, isQueued: false, isWaiting: kind == .pin)
                return []
            }
            if let work = old.work { expected.append(.cancel(work)) }
            items.remove(at: index)
        }
        let isYoung = now.wall < pin.timestamp + settings.priorityPinMaxAge
        let isPriority = kind == .pin && isYoung && attempts <= settings.priorityPinMaxRetries
        let rivals = kind == .pin ? queued([.pin], priority: isPriority) : queued([.unpin, .remote], priority: nil)
        places += 1
        let isFull = rivals.count >= settings.queueMax
        items.append(
            Item(pin: pin, kind: kind, status: .undefined, attempts: attempts, isPriority: isPriority, place: places,
                isQueued: !isFull, hasFailed: isFull))
        return expected + start()
    }

    /// Which queued items must start now. Their works are not numbered yet.
    mutating func start() -> [Expected] {
        var expected: [Expected] = []
        var running = items.filter { $0.kind == .pin && $0.isRunning }.count
        while running < settings.concurrentPins,
            let next = queued([.pin], priority: nil).min(by: { ($0.isPriority ? 0 : 1, $0.place) < ($1.isPriority ? 0 : 1, $1.place) }) {
            run(next.pin.cid)
            expected.append(.pin(next.pin))
            running += 1
        }
        let isUnpinning = items.contains { ($0.kind != .pin && $0.isRunning) || $0.isWaiting }
        if !isUnpinning, let next = queued([.unpin, .remote], priority: nil).min(by: { $0.place < $1.place }) {
            run(next.pin.cid)
            expected.append(.unpin(next.pin.cid))
        }
        return expected
    }

    private mutating func run(_ cid: CID) {
        guard let index = items.firstIndex(where: { $0.pin.cid == cid }) else { return }
        items[index].isQueued = false
        items[index].attempts += 1
    }

    mutating func done(_ work: WorkID, failed: Bool) -> [Expected] {
        guard let index = items.firstIndex(where: { $0.work == work }) else { return [] }
        items[index].work = nil
        if items[index].isWaiting {
            places += 1
            let old = items[index]
            items[index] = Item(
                pin: old.pin, kind: .pin, status: .undefined, attempts: 0, isPriority: old.isPriority, place: places, isQueued: true)
        } else if failed { items[index].hasFailed = true } else { items.remove(at: index) }
        return start()
    }

    func status(_ cid: CID, pin: Pin?) -> TrackerStatus? {
        guard let item = item(cid) else {
            guard let pin else { return .unpinned }
            return pin.isRemote(for: me) ? .remote : nil
        }
        switch item.kind {
        case .pin: return item.hasFailed ? .pinError : item.isQueued || item.isWaiting ? .pinQueued : .pinning
        case .unpin: return item.hasFailed ? .unpinError : item.isQueued ? .unpinQueued : .unpinning
        case .remote: return .remote
        }
    }
}

extension Model.Item {
    var isRunning: Bool { !isQueued && !hasFailed && !isWaiting }
}

/// Tracker and model side by side, with an IPFS daemon that does what it is told.
private struct Pair {
    var tracker: Tracker
    var model: Model
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    /// The pinset, and what IPFS pins.
    var state = SortedMap<CID, Pin>()
    var pinned = SortedMap<CID, PinDepth>()
    var live = SortedMap<WorkID, (cid: CID, depth: PinDepth?)>()

    init(_ settings: TrackerSettings) {
        tracker = Tracker(settings: settings, me: me)
        model = Model(settings: settings)
    }

    /// The effects must be those that the model expects; then its works learn their numbers.
    mutating func check(_ effects: [Tracker.Effect], _ expected: [Model.Expected]) {
        let seen: [Model.Expected] = effects.map { effect in
            switch effect {
            case .pin(_, let pin): .pin(pin)
            case .unpin(_, let cid): .unpin(cid)
            case .cancel(let work): .cancel(work)
            }
        }
        #expect(seen == expected)
        for effect in effects {
            switch effect {
            case .pin(let work, let pin): begin(work, pin.cid, pin.maxDepth)
            case .unpin(let work, let cid): begin(work, cid, nil)
            case .cancel(let work): #expect(live.remove(work) != nil, "only what runs is cancelled")
            }
        }
        tracker.checkInvariants()
        #expect(tracker.operations(matching: .undefined).count == model.items.count)
        #expect(tracker.busyCount == (0..<8).map(content).filter(tracker.isBusy).count)
        #expect(tracker.pinQueueSize == model.queued([.pin], priority: nil).count)
        for cid in (0..<8).map(content) {
            let info = tracker.settledStatus(of: cid, pin: state[cid], now: now)
            #expect(info?.short.status == model.status(cid, pin: state[cid]))
            if let item = model.item(cid) {
                #expect(info?.short.attemptCount == item.attempts && info?.short.isPriority == item.isPriority)
            }
        }
    }

    private mutating func begin(_ work: WorkID, _ cid: CID, _ depth: PinDepth?) {
        #expect(!live.contains { $0.value.cid == cid }, "two works for one CID")
        live[work] = (cid, depth)
        if let index = model.items.firstIndex(where: { $0.pin.cid == cid }) { model.items[index].work = work }
    }

    mutating func track(_ pin: Pin) {
        state[pin.cid] = pin
        var effects: [Tracker.Effect] = []
        tracker.track(pin, now: now, effects: &effects)
        check(effects, model.begin(pin.isRemote(for: me) ? .remote : .pin, pin, now))
    }
    mutating func untrack(_ cid: CID) {
        state.remove(cid)
        var effects: [Tracker.Effect] = []
        tracker.untrack(cid, now: now, effects: &effects)
        check(effects, model.begin(.unpin, Pin(cid: cid), now))
    }
    mutating func end(_ work: WorkID, failed: Bool) {
        if let (cid, depth) = live.remove(work), !failed { pinned[cid] = depth }
        var effects: [Tracker.Effect] = []
        tracker.onDone(work, failure: failed ? "ipfs says no" : nil, now: now, effects: &effects)
        check(effects, model.done(work, failed: failed))
    }
    mutating func recover(_ cid: CID) {
        guard let status = model.status(cid, pin: state[cid]) else { return }
        var effects: [Tracker.Effect] = []
        let requeued = tracker.recover(cid, in: status, pin: state[cid], now: now, effects: &effects)
        var expected: [Model.Expected] = []
        let mustRequeue = status == .unpinError || (status == .pinError && state[cid] != nil)
        if mustRequeue {
            if let pin = state[cid] { expected = model.begin(pin.isRemote(for: me) ? .remote : .pin, pin, now) }
            else { expected = model.begin(.unpin, Pin(cid: cid), now) }
        }
        #expect(requeued == mustRequeue)
        check(effects, expected)
    }
}

private func content(_ number: Int) -> CID { CID(v1: Codec.raw, .sha2_256(of: Bytes("content \(number)".utf8))) }

@Suite struct TrackerModelTests {
    /// Seed 1340224: what was removed, given to others and pinned again in a moment was pinned before it was unpinned.
    @Test func aPinWaitsForAnUnpinThatHasAnotherReasonMeanwhile() throws {
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var tracker = Tracker(settings: TrackerSettings(), me: me)
        var effects: [Tracker.Effect] = []
        tracker.untrack(content(1), now: now, effects: &effects)
        guard case .unpin(let work, _)? = effects.first else { Issue.record("no unpin"); return }
        var pin = Pin(cid: content(1))
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (1, 1)
        for allocations in [[], [me]] {
            pin.allocations = allocations
            tracker.track(pin, now: now, effects: &effects)
            tracker.checkInvariants()
        }
        #expect(effects.count == 1)
        tracker.onDone(work, failure: nil, now: now, effects: &effects)
        #expect(effects.count == 2 && effects.last.map { if case .pin = $0 { true } else { false } } == true)
        tracker.checkInvariants()
    }

    /// Seed 1330373: the place of a pin that turns out to be one in shards was left empty.
    @Test func whatBecomesShardedMakesRoom() throws {
        var settings = TrackerSettings()
        settings.concurrentPins = 1
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var tracker = Tracker(settings: settings, me: me)
        var effects: [Tracker.Effect] = []
        var pins = [Pin(cid: content(1)), Pin(cid: content(2))]
        for index in pins.indices {
            pins[index].allocations = [me]
            tracker.track(pins[index], now: now, effects: &effects)
        }
        #expect(effects.count == 1)
        pins[0].type = .meta
        effects = []
        tracker.track(pins[0], now: now, effects: &effects)
        #expect(effects.count == 2 && effects.contains { if case .pin(_, pins[1]) = $0 { true } else { false } })
        tracker.checkInvariants()
    }

    /// Seed 6071695: an unpin was called back when its content came back in shards, and left it pinned where it had not been carried out.
    @Test(arguments: [false, true]) func whatBecomesShardedIsUnpinnedToTheEnd(waits: Bool) throws {
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var tracker = Tracker(settings: TrackerSettings(), me: me)
        var effects: [Tracker.Effect] = []
        tracker.untrack(content(1), now: now, effects: &effects)
        guard case .unpin(let work, _)? = effects.first else { Issue.record("no unpin"); return }
        var pin = Pin(cid: content(1))
        pin.allocations = [me]
        if waits { tracker.track(pin, now: now, effects: &effects) }
        pin.type = .meta
        tracker.track(pin, now: now, effects: &effects)
        tracker.checkInvariants()
        #expect(effects.count == 1 && tracker.busyCount == 1)
        tracker.onDone(work, failure: nil, now: now, effects: &effects)
        #expect(effects.count == 1 && tracker.busyCount == 0)
        tracker.checkInvariants()
    }

    @Test(arguments: 1...60) func theTrackerDoesWhatTheModelSays(seed: Int) {
        var choices = Choices(seed: UInt64(seed))
        var settings = TrackerSettings()
        settings.concurrentPins = 1 + choices.below(3)
        settings.priorityPinMaxRetries = 2
        if choices.chance(1, in: 3) { settings.queueMax = 1 + choices.below(3) }
        var pair = Pair(settings)
        var finished: [WorkID] = []
        for _ in 0..<120 {
            let cid = content(choices.below(8))
            switch choices.below(12) {
            case 0..<4: pair.track(pin(cid, pair.now, &choices))
            case 4..<6: pair.untrack(cid)
            case 6..<9:
                guard let work = choices.sample(pair.live.keys, 1).first else { continue }
                finished.append(work)
                pair.end(work, failed: choices.chance(1, in: 3))
            case 9: if let old = choices.sample(finished, 1).first { pair.end(old, failed: choices.chance(1, in: 2)) }  // ends twice
            case 10: pair.recover(cid)
            default: pair.now.wall = pair.now.wall + choices.span(.zero, .hours(20))
            }
        }
        // From here on IPFS does all it is asked: what is pinned must become what is in the state.
        for _ in 0..<20 {
            for number in 0..<8 { pair.recover(content(number)) }
            for item in pair.model.items where item.kind == .remote && item.hasFailed { pair.track(item.pin) }
            while let work = pair.live.keys.first { pair.end(work, failed: false) }
        }
        #expect(pair.model.items.isEmpty)
        for number in 0..<8 {
            let cid = content(number)
            if let pin = pair.state[cid], !pin.isRemote(for: me) { #expect(pair.pinned[cid] == pin.maxDepth) }
            else if pair.state[cid] != nil { #expect(pair.pinned[cid] == nil) }
            else { #expect(pair.pinned[cid] == nil) }
        }
    }

    private func pin(_ cid: CID, _ now: Now, _ choices: inout Choices) -> Pin {
        var pin = Pin(cid: cid)
        pin.allocations = choices.chance(3, in: 4) ? [me, other] : [other]
        pin.options.replicationFactorMin = 1
        pin.options.replicationFactorMax = 2
        pin.options.name = "name \(choices.below(100))"
        pin.maxDepth = choices.chance(1, in: 5) ? 0 : -1
        pin.timestamp = now.wall + (Span.zero - choices.span(.zero, .hours(30)))
        return pin
    }
}
