// What pubsub remembers of messages: which were seen, and those that can still be asked for.

import Kernel
import Multiformats

/// IDs seen within a lifetime that counts from first sight: a duplicate does not prolong it, as upstream (GS-17, N02).
struct SeenCache: Sendable {
    private var ids: Set<MessageID> = []  // for lookup only
    /// Oldest first, and when each was seen: apart, since every look asks for the oldest time, and for no ID.
    private var order: [MessageID] = []
    private var times: [Instant] = []
    private var head = 0
    private let lifetime: Span
    private let maximum: Int

    init(lifetime: Span, maximum: Int) {
        self.lifetime = lifetime
        self.maximum = maximum
    }

    var count: Int { order.count - head }

    mutating func contains(_ id: MessageID, at now: Instant) -> Bool {
        expire(at: now)
        return ids.contains(id)
    }

    /// True if it was not there.
    mutating func insert(_ id: MessageID, at now: Instant) -> Bool {
        expire(at: now)
        guard ids.insert(id).inserted else { return false }
        order.append(id)
        times.append(now)
        if count > maximum { dropFirst() }
        return true
    }

    private mutating func expire(at now: Instant) {
        while head < times.count, times[head] + lifetime <= now { dropFirst() }
    }

    private mutating func dropFirst() {
        ids.remove(order[head])
        order[head] = MessageID([])
        head += 1
        if head > 1024 && head * 2 > order.count {
            order.removeSubrange(..<head)
            times.removeSubrange(..<head)
            head = 0
        }
    }
}

/// The messages of the last heartbeats, for IHAVE and IWANT (GS-26).
struct MessageCache: Sendable {
    private struct Entry: Sendable {
        let message: Bytes
        var sent = SortedMap<PeerID, Int>()
    }
    private var entries: [MessageID: Entry] = [:]  // for lookup only
    /// The newest heartbeat first.
    private var history: [[(topic: Topic, id: MessageID)]]
    private var bytes = 0
    private let maximumBytes: Int

    init(length: Int, maximumBytes: Int) {
        history = Array(repeating: [], count: max(1, length))
        self.maximumBytes = maximumBytes
    }

    /// A message for which there is no room is only flooded, not kept.
    mutating func insert(_ id: MessageID, topic: Topic, message: Bytes) {
        guard entries[id] == nil, bytes + message.count <= maximumBytes else { return }
        entries[id] = Entry(message: message)
        history[0].append((topic, id))
        bytes += message.count
    }

    func ids(of topic: Topic, heartbeats: Int) -> [MessageID] {
        history.prefix(heartbeats).flatMap { $0 }.filter { $0.topic == topic }.map(\.id)
    }

    /// The message, unless that peer has had it often enough.
    mutating func take(_ id: MessageID, for peer: PeerID, timesMaximum: Int) -> Bytes? {
        guard let entry = entries[id], entry.sent[peer, default: 0] < timesMaximum else { return nil }
        entries[id]?.sent[peer, default: 0] += 1
        return entry.message
    }

    mutating func shift() {
        for (_, id) in history.removeLast() {
            if let entry = entries.removeValue(forKey: id) { bytes -= entry.message.count }
        }
        history.insert([], at: 0)
    }
}
