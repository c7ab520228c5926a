// One stream's half of the muxer: credit both ways, and the bytes that wait for it.

import Kernel

struct YamuxStream: Sendable {
    /// Both sides start with this much credit (YMX-05).
    static let initialWindow: UInt32 = 256 << 10

    enum Opening {
        /// Outbound, and too many others are unacknowledged to say so yet (YMX-04).
        case waiting
        case unacknowledged
        case done
    }

    var opening: Opening
    /// What we may still send, and what the other side may.
    var sendCredit = YamuxStream.initialWindow
    var receiveCredit = YamuxStream.initialWindow
    /// Taken by the application and not granted anew.
    var consumed: UInt32 = 0
    /// What the other side may have under way at one time.
    var window = YamuxStream.initialWindow
    var isGrowthDue = false
    /// The application takes no more for now: no credit is given back.
    var isHeld = false
    var buffer = ChunkQueue()
    var isLocalEndWanted = false
    var isLocalEndSent = false
    var isRemoteEnded = false
    /// Whether it stands in the sender's queue.
    var isQueued = false

    var isOver: Bool { isLocalEndSent && isRemoteEnded }

    var mayQueue: Bool { !isQueued && isReady }

    /// What is delivered is consumed. The credit to give back, in halves of the window (YMX-05). The window doubles with each
    /// one that was used up: a long transfer is not to wait for the credit to come round, and holds no memory here.
    mutating func consume(_ count: UInt32, windowLimit: UInt32) -> UInt32? {
        receiveCredit -= count
        consumed += count
        guard !isHeld, consumed >= window / 2 else { return nil }
        var grant = consumed
        if isGrowthDue && window < windowLimit {
            grant += window
            window *= 2
        }
        isGrowthDue.toggle()
        consumed = 0
        receiveCredit += grant
        return grant
    }

    /// Whether there is something that may be sent now.
    var isReady: Bool {
        guard opening != .waiting, !isLocalEndSent else { return false }
        return buffer.isEmpty ? isLocalEndWanted : sendCredit > 0
    }
}

/// Bytes in the order of their sending, taken off in pieces.
struct ChunkQueue: Sendable {
    private var chunks: [Bytes] = []
    private var head = 0
    private var offset = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ bytes: Bytes) {
        if bytes.isEmpty { return }
        chunks.append(bytes)
        count += bytes.count
    }

    /// Moves up to `limit` bytes to the end of `out`. `limit` is at most `count`.
    mutating func take(_ limit: Int, into out: inout Bytes) {
        var left = limit
        while left > 0 {
            let part = min(left, chunks[head].count - offset)
            out.append(contentsOf: chunks[head][offset..<offset + part])
            offset += part
            left -= part
            if offset == chunks[head].count {
                chunks[head] = []
                head += 1
                offset = 0
            }
        }
        count -= limit
        if head == chunks.count {
            chunks.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 64 && head * 2 > chunks.count {
            chunks.removeSubrange(..<head)
            head = 0
        }
    }
}
