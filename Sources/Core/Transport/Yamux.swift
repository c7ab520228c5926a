// yamux: many streams over one connection, each with its own credit. YMX-01..12.

import Kernel

/// A stream within one connection: yamux's own number.
package typealias SubstreamID = UInt32

package struct Yamux: Sendable {
    package static let protocolID = "/yamux/1.0.0"

    package enum Event: Equatable, Sendable {
        case incoming(SubstreamID)
        case received(SubstreamID, Bytes)
        case remoteClosed(SubstreamID)
        /// The stream is over, with the other side's code (YMX-15).
        case reset(SubstreamID, code: UInt32)
        /// The last byte handed to `send` so far is in `output`.
        case emptied(SubstreamID)
        /// The answer to our ping.
        case pong(UInt32)
        /// The other side ends the connection; nothing follows (YMX-12).
        case goAway(code: UInt32)
    }

    /// Frames for the other side, taken by whoever owns this.
    package var output: Bytes = []

    private let isClient: Bool
    private let settings: ConnectionSettings
    private var streams: [SubstreamID: YamuxStream] = [:]
    private var order = SortedSet<SubstreamID>()
    private var nextID: UInt32
    package private(set) var inboundCount = 0
    /// What the receive windows of all streams come to.
    package private(set) var windowBytes = 0
    package var allowance: Allowance
    private var unacknowledged = 0
    /// Outbound streams whose opening waits for acknowledgements.
    private var waiting = FIFO<SubstreamID>()
    /// Streams that may send, in turn.
    private var ready = FIFO<SubstreamID>()

    private var header: Bytes = []
    /// The data frame being received: its stream and what is still to come of it.
    private var body: (stream: SubstreamID, left: Int, flags: YamuxHeader.Flags)?

    /// Small enough that streams take turns; with its header it fills one message of Noise. At most 65524 (YMX-07).
    private static let dataBytesLimit = Noise.plainBytesLimit - YamuxHeader.size

    /// `isClient`: this side dialled (YMX-02).
    package init(isClient: Bool, settings: ConnectionSettings = ConnectionSettings()) {
        self.isClient = isClient
        self.settings = settings
        allowance = Allowance(inboundStreams: settings.inboundStreamsLimit)
        nextID = isClient ? 1 : 2
    }

    /// What the other side may take up here.
    package struct Allowance: Sendable {
        /// At one time.
        package var inboundStreams: Int
        /// `windowBytes` up to which streams are taken, and up to which their windows grow.
        package var streamWindowBytes = Int.max
        package var grownWindowBytes = Int.max
    }

    /// Streams that are not over, in the order of their numbers.
    package var live: [SubstreamID] { order.elements }
    package var count: Int { order.count }
    package func isLive(_ id: SubstreamID) -> Bool { streams[id] != nil }
    /// Whether everything handed to `send` has gone to `output`.
    package func isEmpty(_ id: SubstreamID) -> Bool { waitingBytes(id) == 0 }
    package func waitingBytes(_ id: SubstreamID) -> Int { streams[id]?.buffer.count ?? 0 }

    // MARK: This side

    /// Nil when the numbers are used up.
    package mutating func open() -> SubstreamID? {
        guard nextID < .max - 2 else { return nil }
        let id = nextID
        nextID += 2
        insert(id, YamuxStream(opening: .waiting))
        waiting.append(id)
        openWaiting()
        return id
    }

    private mutating func insert(_ id: SubstreamID, _ stream: YamuxStream) {
        streams[id] = stream
        order.insert(id)
        windowBytes += Int(stream.window)
    }

    private mutating func openWaiting() {
        while unacknowledged < settings.unacknowledgedStreamsLimit, let id = waiting.popFirst() {
            guard streams[id] != nil else { continue }
            emit(YamuxHeader(.windowUpdate, .syn, stream: id))
            unacknowledged += 1
            streams[id]?.opening = .unacknowledged
            enqueue(id)
        }
    }

    package mutating func send(_ id: SubstreamID, _ bytes: Bytes) {
        guard streams[id]?.isLocalEndWanted == false else { return }
        streams[id]?.buffer.append(bytes)
        enqueue(id)
    }

    package mutating func closeWrite(_ id: SubstreamID) {
        streams[id]?.isLocalEndWanted = true
        enqueue(id)
    }

    package mutating func reset(_ id: SubstreamID, code: UInt32 = ResetCode.none) {
        guard let stream = streams[id] else { return }
        if stream.opening != .waiting { emit(YamuxHeader(.windowUpdate, .rst, stream: id, length: code)) }
        remove(id)
    }

    package mutating func ping(_ value: UInt32) { emit(YamuxHeader(.ping, .syn, stream: 0, length: value)) }
    package mutating func goAway(_ code: UInt32) { emit(YamuxHeader(.goAway, stream: 0, length: code)) }

    /// While a stream is held, the other side gets no credit for it beyond what it has.
    package mutating func hold(_ id: SubstreamID, _ isHeld: Bool) {
        streams[id]?.isHeld = isHeld
        if !isHeld { giveCredit(id, consumed: 0) }
    }

    private mutating func emit(_ header: YamuxHeader) { header.append(to: &output) }

    private mutating func enqueue(_ id: SubstreamID) {
        guard streams[id]?.mayQueue == true else { return }
        streams[id]?.isQueued = true
        ready.append(id)
    }

    /// Lets streams send in turn, until about `budget` bytes have gone to `output`.
    package mutating func pump(budget: Int, events: inout [Event]) {
        let goal = output.count + budget
        while output.count < goal, let id = ready.popFirst() {
            streams[id]?.isQueued = false
            guard streams[id]?.isReady == true else { continue }
            sendPart(id, &events)
            enqueue(id)
        }
    }

    private mutating func sendPart(_ id: SubstreamID, _ events: inout [Event]) {
        guard let (waiting, credit) = streams[id].map({ ($0.buffer.count, Int($0.sendCredit)) }) else { return }
        let count = min(waiting, credit, Yamux.dataBytesLimit)
        if count > 0 {
            emit(YamuxHeader(.data, stream: id, length: UInt32(count)))
            streams[id]?.buffer.take(count, into: &output)
            streams[id]?.sendCredit -= UInt32(count)
            if count == waiting { events.append(.emptied(id)) }
        }
        if count == waiting && streams[id]?.isLocalEndWanted == true {
            emit(YamuxHeader(.windowUpdate, .fin, stream: id))
            streams[id]?.isLocalEndSent = true
            removeIfOver(id)
        }
    }

    private mutating func removeIfOver(_ id: SubstreamID) { if streams[id]?.isOver == true { remove(id) } }

    private mutating func remove(_ id: SubstreamID) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        order.remove(id)
        windowBytes -= Int(stream.window)
        if isInbound(id) { inboundCount -= 1 }
        if stream.opening == .unacknowledged { acknowledge() }
    }

    private mutating func acknowledge() {
        unacknowledged -= 1
        openWaiting()
    }

    private func isInbound(_ id: SubstreamID) -> Bool { (id & 1 == 1) != isClient }

    // MARK: The other side

    package mutating func receive(_ bytes: Bytes, events: inout [Event]) throws(TransportError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if let current = body {
                let part = rest.prefix(current.left)
                rest = rest.dropFirst(part.count)
                body = part.count == current.left ? nil : (current.stream, current.left - part.count, current.flags)
                onData(current.stream, Bytes(part), &events)
                if body == nil { onEndFlags(current.flags, current.stream, code: 0, &events) }
                continue
            }
            guard let frame = try nextHeader(&rest) else { return }
            try onFrame(frame, &events)
            if events.last?.isGoAway == true { return }
        }
    }

    /// Nil until all of it has come.
    private mutating func nextHeader(_ rest: inout ArraySlice<UInt8>) throws(TransportError) -> YamuxHeader? {
        let part = rest.prefix(YamuxHeader.size - header.count)
        rest = rest.dropFirst(part.count)
        if part.count == YamuxHeader.size { return try YamuxHeader(part) }
        header += part
        guard header.count == YamuxHeader.size else { return nil }
        defer { header.removeAll() }
        return try YamuxHeader(header[...])
    }

    private mutating func onFrame(_ frame: YamuxHeader, _ events: inout [Event]) throws(TransportError) {
        switch frame.kind {
        case .data, .windowUpdate: try onStreamFrame(frame, &events)
        case .ping:
            guard frame.stream == 0 else { throw violation("a ping on stream \(frame.stream)") }
            if frame.flags.contains(.syn) { emit(YamuxHeader(.ping, .ack, stream: 0, length: frame.length)) }
            else if frame.flags.contains(.ack) { events.append(.pong(frame.length)) }
        case .goAway:
            guard frame.stream == 0 else { throw violation("a go-away on stream \(frame.stream)") }
            events.append(.goAway(code: frame.length))
        }
    }

    private func violation(_ what: String) -> TransportError {
        TransportError("yamux: \(what)", goAway: GoAwayCode.protocolError)
    }

    private mutating func onStreamFrame(_ frame: YamuxHeader, _ events: inout [Event]) throws(TransportError) {
        let id = frame.stream
        guard id != 0 else { throw violation("a stream frame on stream 0") }
        if frame.flags.contains(.syn) { try onOpening(id, &events) }
        if frame.flags.contains(.ack), streams[id]?.opening == .unacknowledged {
            streams[id]?.opening = .done
            acknowledge()
        }
        if frame.kind == .data {
            if let stream = streams[id], frame.length > stream.receiveCredit {
                throw violation("\(frame.length) bytes on stream \(id), which has \(stream.receiveCredit) to receive")
            }
            if frame.length > 0 {
                body = (id, Int(frame.length), frame.flags)
            } else {
                onEndFlags(frame.flags, id, code: 0, &events)
            }
            return
        }
        // With RST the length is a code, not credit (YMX-09).
        if !frame.flags.contains(.rst) { try onCredit(id, frame.length) }
        onEndFlags(frame.flags, id, code: frame.length, &events)
    }

    private mutating func onOpening(_ id: SubstreamID, _ events: inout [Event]) throws(TransportError) {
        guard isInbound(id) else { throw violation("stream \(id) opened, which is a number of this side") }
        guard streams[id] == nil else { throw violation("stream \(id) opened twice") }
        guard inboundCount < allowance.inboundStreams,
            windowBytes + Int(YamuxStream.initialWindow) <= allowance.streamWindowBytes
        else { return emit(YamuxHeader(.windowUpdate, .rst, stream: id, length: ResetCode.resourceLimit)) }
        inboundCount += 1
        insert(id, YamuxStream(opening: .done))
        emit(YamuxHeader(.windowUpdate, .ack, stream: id))
        events.append(.incoming(id))
    }

    private mutating func onCredit(_ id: SubstreamID, _ delta: UInt32) throws(TransportError) {
        guard let stream = streams[id] else { return }
        let (sum, overflow) = stream.sendCredit.addingReportingOverflow(delta)
        guard !overflow else { throw violation("more credit for stream \(id) than can be counted") }
        streams[id]?.sendCredit = sum
        enqueue(id)
    }

    private mutating func onEndFlags(
        _ flags: YamuxHeader.Flags, _ id: SubstreamID, code: UInt32, _ events: inout [Event]
    ) {
        guard let stream = streams[id] else { return }
        if flags.contains(.rst) {
            remove(id)
            events.append(.reset(id, code: code))
        } else if flags.contains(.fin), !stream.isRemoteEnded {
            streams[id]?.isRemoteEnded = true
            events.append(.remoteClosed(id))
            removeIfOver(id)
        }
    }

    private mutating func giveCredit(_ id: SubstreamID, consumed count: UInt32) {
        guard let before = streams[id]?.window else { return }
        let room = allowance.grownWindowBytes - windowBytes
        let limit = room >= Int(before) ? settings.receiveWindowLimit : before
        guard let grant = streams[id]?.consume(count, windowLimit: limit) else { return }
        windowBytes += Int((streams[id]?.window ?? before) - before)
        emit(YamuxHeader(.windowUpdate, stream: id, length: grant))
    }

    /// Data for a stream that is over is dropped (YMX-09).
    private mutating func onData(_ id: SubstreamID, _ bytes: Bytes, _ events: inout [Event]) {
        guard let isEnded = streams[id]?.isRemoteEnded else { return }
        if isEnded {
            reset(id, code: ResetCode.protocolViolation)
            events.append(.reset(id, code: ResetCode.protocolViolation))
            return
        }
        giveCredit(id, consumed: UInt32(bytes.count))
        events.append(.received(id, bytes))
    }
}

extension Yamux.Event {
    var stream: SubstreamID? {
        switch self {
        case .incoming(let id), .received(let id, _), .remoteClosed(let id), .reset(let id, _), .emptied(let id): id
        case .pong, .goAway: nil
        }
    }
    var isGoAway: Bool { if case .goAway = self { true } else { false } }
}
