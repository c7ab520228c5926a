// The streams of hosts alone: what was sent on each, and what has come.

import Kernel
import Multiformats
import Seams
import Transport

extension HostDrill {
    struct StreamPlace: Hashable {
        let member: Int
        let id: StreamID
    }

    /// A stream of which its end has not been told yet which it is: its first bytes are a number.
    struct Unnamed {
        let from: Int
        let protocolName: String
        var bytes: Bytes = []
    }

    struct Stream {
        struct End {
            let member: Int
            var id: StreamID?
            /// What was sent and has come, without the number at the beginning.
            var sent = 0
            var received = 0
            var hasClosed = false
            var hasHeardEnd = false
            var hasReset = false
            var isOver = false
            var owesDrain = false
            var isHeld = false
            var receivedHeld = 0
        }
        let protocols: [String]
        /// More than a window is sent at times.
        let isBulk: Bool
        /// What it is for, by whichever end knew first; and whether whoever opened it was told.
        var agreed: String?
        var isOpen = false
        /// It may end badly: something went wrong on the way.
        var mayBreak: Bool
        let openedAt: Instant
        /// Who opened it first.
        var ends: [End]
    }

    // MARK: What is done

    mutating func openStream(_ index: Int) {
        let target = another(than: index)
        guard members[index].connected.contains(target) || choices.chance(1, in: 4) else { return }
        openStreams(index, to: target)
    }

    mutating func openStreams(_ index: Int, to target: Int) {
        let isConnected = members[index].connected.contains(target)
        // As many as wait for a dial come with the end of its handshake.
        for _ in 0..<(isTight && !isConnected ? 6 : 1) { openStream(index, to: target, isConnected) }
    }

    private mutating func openStream(_ index: Int, to target: Int, _ isConnected: Bool) {
        var protocols = choices.sample(HostDrill.protocols, 1 + choices.below(3))
        if choices.chance(1, in: isConnected ? 8 : 2) { protocols.insert("/nobody/9", at: 0) }
        members[index].streams += 1
        let id = StreamID(owner: 1, number: members[index].streams), number = streams.count
        streams.append(Stream(
            protocols: protocols, isBulk: choices.chance(1, in: isConnected ? 8 : 2), mayBreak: !isHealthy(index, target) && !isDialled(index, target) || isTight && !isFirst(index, target), openedAt: now.monotonic,
            ends: [Stream.End(member: index, id: id), Stream.End(member: target)]))
        placeOf[StreamPlace(member: index, id: id)] = (number, 0)
        say("\(name(index)) opens stream \(number) to \(name(target)) for \(protocols)")
        let peer = members[target].host.me
        act(index) { $0.onEffect(.open(id, to: peer, protocols: protocols), now: $1, effects: &$2) }
        guard !streams[number].ends[0].isOver else { return }
        streams[number].ends[0].owesDrain = true
        act(index) { $0.onEffect(.send(id, [UInt8(number & 255), UInt8(number >> 8)]), now: $1, effects: &$2) }
        if choices.chance(1, in: 4) { send(number, 0) }
        if choices.chance(1, in: isConnected ? 8 : 2) { hold(number, 0, true) }
        // One question and no more, before anything is agreed on.
        if choices.chance(1, in: 6) { endStream(number, 0) }
    }

    mutating func useStream() {
        let live = streams.indices.flatMap { number in [0, 1].filter { isUsable(streams[number].ends[$0]) }.map { (number, $0) } }
        guard !live.isEmpty, case let (number, end) = live[choices.below(live.count)], let id = streams[number].ends[end].id else { return }
        let index = streams[number].ends[end].member
        switch choices.below(20) {
        case 0..<12: send(number, end)
        case 12..<15: endStream(number, end)
        case 15:
            say("\(name(index)) resets stream \(number)")
            (streams[number].ends[end].hasReset, streams[number].ends[end].isOver) = (true, true)
            // What becomes of its dial nobody is told.
            if end == 0, !streams[number].isOpen { members[index].failed.insert(streams[number].ends[1].member) }
            act(index) { $0.onEffect(.reset(id), now: $1, effects: &$2) }
        default: hold(number, end, !streams[number].ends[end].isHeld)
        }
    }

    private mutating func endStream(_ number: Int, _ end: Int) {
        guard let id = streams[number].ends[end].id, !streams[number].ends[end].hasClosed, case let index = streams[number].ends[end].member else { return }
        say("\(name(index)) ends stream \(number)")
        streams[number].ends[end].hasClosed = true
        if streams[number].ends[end].hasHeardEnd { streams[number].ends[end].isOver = true }
        act(index) { $0.onEffect(.closeWrite(id), now: $1, effects: &$2) }
    }

    private func isUsable(_ end: Stream.End) -> Bool { end.id != nil && !end.isOver && members[end.member].downUntil == nil }

    private mutating func hold(_ number: Int, _ end: Int, _ isHeld: Bool) {
        guard let id = streams[number].ends[end].id, case let index = streams[number].ends[end].member else { return }
        say("\(name(index)) \(isHeld ? "takes no more" : "goes on taking") of stream \(number)")
        (streams[number].ends[end].isHeld, streams[number].ends[end].receivedHeld) = (isHeld, 0)
        act(index) { $0.onEffect(.hold(id, isHeld), now: $1, effects: &$2) }
    }

    mutating func releaseAll() {
        for number in streams.indices { for end in [0, 1] where streams[number].ends[end].isHeld && isUsable(streams[number].ends[end]) { hold(number, end, false) } }
    }

    /// Little mostly, and on some streams more than a window.
    private mutating func send(_ number: Int, _ end: Int) {
        if streams[number].ends[end].hasClosed { return }
        send(number, end, 1 + choices.below(streams[number].isBulk && choices.chance(1, in: 3) ? 700_000 : [40, 3000][choices.below(2)]))
    }

    private mutating func send(_ number: Int, _ end: Int, _ count: Int) {
        guard let id = streams[number].ends[end].id, !streams[number].ends[end].hasClosed, case let (index, sent) = (streams[number].ends[end].member, streams[number].ends[end].sent) else { return }
        say("\(name(index)) sends \(count) bytes on stream \(number)")
        streams[number].ends[end].sent += count
        streams[number].ends[end].owesDrain = true
        let bytes = HostDrill.content(number, end, sent, count)
        act(index) { $0.onEffect(.send(id, bytes), now: $1, effects: &$2) }
    }

    /// A prime, so that nothing that is lost in between goes by unnoticed.
    private static let period = 65_521
    private static let table: Bytes = {
        var choices = Choices(seed: 7)
        let once = choices.bytes(period)
        return once + once
    }()
    private static func content(_ number: Int, _ end: Int, _ offset: Int, _ count: Int) -> Bytes {
        var bytes: Bytes = []
        var at = (offset + number * 131 + end * 17) % period
        while bytes.count < count {
            let part = min(count - bytes.count, period)
            bytes += table[at..<at + part]
            at = (at + part) % period
        }
        return bytes
    }

    // MARK: What may go wrong

    /// Whatever goes on between two may end badly from now on.
    mutating func breakOff(_ a: Int, _ b: Int) {
        for number in streams.indices where streams[number].pair == Pair(a, b) { streams[number].mayBreak = true }
        broken.insert(Pair(a, b))
        members[a].dials[b]?.isSound = false
        members[b].dials[a]?.isSound = false
    }

    struct Pair: Comparable, Hashable {
        let low, high: Int
        init(_ a: Int, _ b: Int) { (low, high) = (min(a, b), max(a, b)) }
        static func < (a: Self, b: Self) -> Bool { (a.low, a.high) < (b.low, b.high) }
    }

    /// Where there is little room, one stream at least has it.
    private func isFirst(_ index: Int, _ target: Int) -> Bool {
        !streams.contains { $0.ends[0].member == index && $0.ends[1].member == target && ($0.openedAt > restedAt || $0.ends.contains { !$0.isOver }) }
    }

    /// Whether a stream waits for that dial, or for an answer; or has waited, and the dial goes on.
    func isWaiting(_ index: Int, _ target: Int) -> Bool {
        streams.contains {
            $0.ends[0].member == index && $0.ends[1].member == target && !$0.isOpen && (!$0.ends[0].isOver || $0.openedAt + members[index].settings.dialTimeout >= now.monotonic)
        }
    }

    /// Whoever waits for a dial that must succeed has a stream with it.
    private func isDialled(_ index: Int, _ target: Int) -> Bool {
        members[index].dials[target]?.isSound == true && !broken.contains(Pair(index, target))
    }

    private func isHealthy(_ a: Int, _ b: Int) -> Bool {
        members[a].connected.contains(b) && members[b].connected.contains(a) && !broken.contains(Pair(a, b))
    }

    mutating func forgetStreams(of index: Int) {
        for other in members.indices where other != index { breakOff(index, other) }
        // What has not come yet may come to its next life.
        for number in streams.indices { for end in [0, 1] where streams[number].ends[end].member == index && streams[number].ends[end].id != nil { streams[number].ends[end].isOver = true } }
        for place in unnamed.keys where place.member == index { unnamed[place] = nil }
        for place in placeOf.keys where place.member == index { placeOf[place] = nil }
    }

    mutating func onDisconnected(_ index: Int, _ other: Int) {
        if !broken.contains(Pair(index, other)) { fail("\(name(index)) has lost \(name(other)), and nothing was wrong") }
        for number in streams.indices where streams[number].pair == Pair(index, other) {
            let end = streams[number].ends[0].member == index ? 0 : 1
            if streams[number].ends[end].id != nil, !streams[number].ends[end].isOver { fail("\(name(index)) has lost \(name(other)), and not ended stream \(number) before") }
        }
    }

    // MARK: What is told

    mutating func hear(_ index: Int, _ event: StreamEvent) {
        let place = StreamPlace(member: index, id: event.stream)
        if case .incoming(_, let peer, let name) = event { return hearIncoming(place, peer, name) }
        if unnamed[place] != nil { return hearUnnamed(place, event) }
        guard let (number, end) = placeOf[place] else { return fail("\(name(index)) tells of \(event.stream), which is none of its streams") }
        let stream = streams[number], me = stream.ends[end], other = stream.ends[1 - end]
        if me.isOver { return fail("\(name(index)) tells of stream \(number), which is over: \(event.text)") }
        switch event {
        case .incoming: break
        case .opened(_, let agreed):
            if end == 1 || stream.isOpen { fail("\(name(index)) says twice that stream \(number) is open") }
            say("stream \(number) is open for \(agreed)")
            streams[number].isOpen = true
            checkAgreed(number, agreed)
        case .failed(_, let reason):
            say("stream \(number) has failed: \(reason)")
            streams[number].ends[end].isOver = true
            members[index].failed.insert(other.member)
            let mayBeRefused = !stream.protocols.contains(where: members[other.member].serves.contains) || !isKnown(stream)
            if end == 1 || stream.isOpen { fail("\(name(index)) says that stream \(number) could not be opened, which it has been") }
            if !stream.mayBreak, !mayBeRefused, !other.hasReset { fail("\(name(index)) could not open stream \(number): \(reason)") }
        case .received(_, let bytes):
            if end == 0, !stream.isOpen { fail("\(name(index)) has bytes of stream \(number), which is not open") }
            receive(number, end, bytes)
        case .remoteClosed:
            say("\(name(index)) has heard the end of stream \(number)")
            if me.hasHeardEnd || !other.hasClosed { fail("\(name(index)) has heard the end of stream \(number), \(me.hasHeardEnd ? "again" : "which has not come")") }
            if me.received != other.sent { fail("\(name(index)) has heard the end of stream \(number) after \(me.received) of \(other.sent) bytes") }
            streams[number].ends[end].hasHeardEnd = true
            if me.hasClosed { streams[number].ends[end].isOver = true }
        case .reset:
            say("stream \(number) of \(name(index)) is reset")
            streams[number].ends[end].isOver = true
            if end == 0, !stream.isOpen { fail("\(name(index)) says that stream \(number) is reset, which has not been opened") }
            if !stream.mayBreak, !other.hasReset { fail("\(name(index)) says that stream \(number) is reset, which nobody has done") }
        case .drained(let id):
            if !me.owesDrain { fail("\(name(index)) says again that what was sent on stream \(number) has gone") }
            streams[number].ends[end].owesDrain = false
            if case let left = members[index].host.waitingBytes(id), left > 0 { fail("\(name(index)) says that all of stream \(number) has gone, and \(left) bytes wait") }
        }
    }

    private mutating func hearIncoming(_ place: StreamPlace, _ peer: PeerID, _ protocolName: String) {
        guard let from = member(peer), members[place.member].connected.contains(from) else { return fail("\(name(place.member)) has a stream of \(peer), who is not connected") }
        if !members[place.member].serves.contains(protocolName) && members[place.member].servesSince + .seconds(5) < now.monotonic {
            fail("\(name(place.member)) has a stream for \(protocolName), which it does not serve")
        }
        let others = inboundCount(place.member, from: from)
        // With the end of a handshake as many may come as on a connection that is the only one.
        if others >= members[place.member].settings.resources.inboundStreamsPerPeer * wireCount(from, place.member) { fail("\(name(place.member)) takes another stream of \(name(from)), and has \(others)", .bound) }
        if unnamed[place] != nil || placeOf[place] != nil { fail("\(name(place.member)) has stream \(place.id) twice") }
        unnamed[place] = Unnamed(from: from, protocolName: protocolName)
    }

    func inboundCount(_ index: Int, from other: Int) -> Int {
        streams.count { $0.ends[0].member == other && $0.ends[1].member == index && $0.ends[1].id != nil && !$0.ends[1].isOver }
            + unnamed.count { $0.key.member == index && $0.value.from == other }
    }

    private mutating func hearUnnamed(_ place: StreamPlace, _ event: StreamEvent) {
        guard var stream = unnamed[place] else { return }
        switch event {
        case .received(_, let bytes): stream.bytes += bytes
        case .reset:
            unnamed[place] = nil
            return
        default: return fail("\(name(place.member)) has of a stream of \(name(stream.from)) not even its number, but: \(event.text)")
        }
        unnamed[place] = stream
        guard stream.bytes.count >= 2 else { return }
        unnamed[place] = nil
        let number = Int(stream.bytes[0]) | Int(stream.bytes[1]) << 8
        guard streams.indices.contains(number), streams[number].ends[0].member == stream.from, streams[number].ends[1].member == place.member, streams[number].ends[1].id == nil else {
            return fail("\(name(place.member)) has a stream of \(name(stream.from)) that begins with what it has not sent")
        }
        streams[number].ends[1].id = place.id
        placeOf[place] = (number, 1)
        checkAgreed(number, stream.protocolName)
        receive(number, 1, Bytes(stream.bytes[2...]))
    }

    /// What the other side serves has not changed since shortly before it was opened, nor was it refused to hear of that.
    private func isKnown(_ stream: Stream) -> Bool {
        let target = members[stream.ends[1].member], told = members[stream.ends[0].member].introductions[stream.ends[1].member]
        return target.servesSince + .seconds(5) < stream.openedAt && told.map { $0.protocols.filter(HostDrill.protocols.contains) == target.serves } ?? true
    }

    /// Both ends speak the same, which is the first that both know.
    private mutating func checkAgreed(_ number: Int, _ agreed: String) {
        let stream = streams[number], target = members[stream.ends[1].member]
        if let before = stream.agreed, before != agreed { fail("the ends of stream \(number) speak \(before) and \(agreed)") }
        streams[number].agreed = agreed
        if !stream.protocols.contains(agreed) { fail("stream \(number) is open for \(agreed), and \(stream.protocols) was asked for") }
        guard isKnown(stream), target.downUntil == nil else { return }
        if case let first = stream.protocols.first(where: target.serves.contains), first != agreed { fail("stream \(number) is open for \(agreed), and both speak \(first ?? "nothing")") }
    }

    private mutating func receive(_ number: Int, _ end: Int, _ bytes: Bytes) {
        let stream = streams[number], me = stream.ends[end], other = stream.ends[1 - end]
        if me.hasHeardEnd { fail("\(name(me.member)) has bytes of stream \(number) after its end") }
        if me.received + bytes.count > other.sent || bytes != HostDrill.content(number, 1 - end, me.received, bytes.count) {
            fail("\(name(me.member)) has after \(me.received) bytes of stream \(number) what \(name(other.member)) has not sent, or not then")
        }
        streams[number].ends[end].received += bytes.count
        guard me.isHeld else { return }
        streams[number].ends[end].receivedHeld += bytes.count
        if case let window = members[me.member].settings.connection.receiveWindowLimit, me.receivedHeld + bytes.count > window {
            fail("\(name(me.member)) takes no more of stream \(number), and \(me.receivedHeld + bytes.count) bytes came, more than a window of \(window)", .bound)
        }
    }

    // MARK: At rest

    /// Between whom more is under way.
    func busyPairs(_ bytes: Int) -> Set<Pair> {
        var under: [Pair: Int] = [:]
        for stream in streams { for end in [0, 1] where !stream.ends[1 - end].isOver { under[stream.pair, default: 0] += stream.ends[end].sent - stream.ends[1 - end].received } }
        return Set(under.filter { $0.value > bytes }.keys)
    }

    /// A little, on each of its streams.
    mutating func mutter(_ index: Int) {
        guard members[index].downUntil == nil else { return }
        for number in streams.indices { for end in [0, 1] where streams[number].ends[end].member == index && isUsable(streams[number].ends[end]) { send(number, end, 1 + choices.below(40)) } }
    }

    mutating func checkStreams(_ isJudged: (Stream) -> Bool) {
        for number in streams.indices where isJudged(streams[number]) {
            let stream = streams[number]
            for (me, other) in [(stream.ends[0], stream.ends[1]), (stream.ends[1], stream.ends[0])] {
                if other.isOver, !me.isOver, me.id != nil, !(other.hasClosed && other.hasHeardEnd) { fail("stream \(number) is over at \(name(other.member)), and not at \(name(me.member))") }
                guard !me.isOver, !other.hasReset else { continue }
                if me.id == nil { if !other.isOver { fail("\(name(me.member)) has not heard of stream \(number)") }; continue }
                if me.received != other.sent { fail("\(name(me.member)) has \(me.received) of \(other.sent) bytes of stream \(number)") }
                if me.hasHeardEnd != other.hasClosed { fail("\(name(me.member)) has not heard that stream \(number) has ended") }
                if me.owesDrain { fail("\(name(me.member)) has not said that what was sent on stream \(number) has gone") }
            }
        }
    }

    mutating func checkCounts() {
        for index in members.indices {
            let count = streams.reduce(0) { $0 + $1.ends.count { $0.member == index && $0.id != nil && !$0.isOver } }
            if members[index].host.streamCount != count { fail("\(name(index)) counts \(members[index].host.streamCount) streams, of \(count)") }
        }
        for index in members.indices where unnamed.keys.contains(where: { $0.member == index }) { fail("\(name(index)) has a stream that has not said which") }
    }
}

extension HostDrill.Stream {
    var pair: HostDrill.Pair { HostDrill.Pair(ends[0].member, ends[1].member) }
}

extension StreamEvent {
    fileprivate var text: String {
        switch self {
        case .opened(_, let name): "opened for \(name)"
        case .failed(_, let reason): "failed: \(reason)"
        case .incoming: "incoming"
        case .received(_, let bytes): "received \(bytes.count) bytes"
        case .remoteClosed: "the other side has ended"
        case .reset: "reset"
        case .drained: "drained"
        }
    }
}
