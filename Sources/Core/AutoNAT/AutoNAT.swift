// Whether this peer can be reached from outside: others are asked to dial it, and it dials for others. Who finds no public address on
// either side asks nobody and is answered that nobody is dialled, so that in a cluster of one network none of this happens.
// spec/wire-transport.md REL-04, HOST-02; go-libp2p p2p/host/autonat.

import Encoding
import Kernel
import Multiformats
import Seams

package enum Reachability: String, Sendable { case unknown, open, closed }

package struct AutoNATSettings: Sendable {
    // What is asked.
    package var bootDelay = Span.seconds(15)
    package var retryInterval = Span.seconds(90)
    package var refreshInterval = Span.minutes(15)
    package var refreshMax = Span.hours(24)
    /// After somebody came who can be asked, or who was asked did not want to.
    package var hurryInterval = Span.seconds(2)
    package var requestTimeout = Span.seconds(30)
    package var probesMax = 6
    package var confidenceMax = 3
    // What is answered. The limits are counted anew after `throttlePeriod` and a random part of `throttleJitter`.
    package var streamTimeout = Span.minutes(1)
    package var streamsPerPeerMax = 2
    package var dialTimeout = Span.seconds(15)
    package var addressesMax = 16
    package var dialsMax = 30
    package var dialsPerPeerMax = 3
    package var throttlePeriod = Span.minutes(1)
    package var throttleJitter = Span.seconds(15)
    package var messageBytesMax = 4096
    package init() {}
}

package struct AutoNAT: Sendable {
    package static let protocolID = "/libp2p/autonat/1.0.0"

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        /// Dials the addresses as somebody else, so that no connection that stands answers for them. Answered by `onDialledBack`.
        case dialBack(UInt64, PeerID, [Multiaddr])
        case changed(Reachability)
        case log(LogLine)
    }

    struct Neighbour: Sendable {
        let address: Multiaddr
        var serves = false
        var told: [Multiaddr] = []
    }
    /// One whom we have asked.
    private struct Probe: Sendable {
        let peer: PeerID
        var reader: FrameReader
        let until: Instant
    }
    /// One who asks us.
    struct Serving: Sendable {
        let peer: PeerID
        var reader: FrameReader
        let until: Instant
        /// The dial that it waits for.
        var dial: UInt64?
        var isAnswered = false
    }
    struct Dial: Sendable {
        let stream: StreamID
        let until: Instant
    }

    let settings: AutoNATSettings
    let me: PeerID
    private var streamIDs: StreamIDs
    var neighbours = SortedMap<PeerID, Neighbour>()
    /// Of these, who can be asked: kept, since every step looks for the next deadline.
    private var judges = SortedSet<PeerID>()
    /// What we tell others of where we are.
    private(set) var addresses: [Multiaddr] = []

    package private(set) var reachability = Reachability.unknown
    private var confidence = 0
    private let startedAt: Instant
    private var lastInbound: Instant?
    private var lastProbe: Instant?
    private var isHurried = false
    private var probes = SortedMap<StreamID, Probe>()

    // See AutoNAT+Serving.
    var serving = SortedMap<StreamID, Serving>()
    var dials = SortedMap<UInt64, Dial>()
    var dialNumber: UInt64 = 0
    var dialCounts: [PeerID: Int] = [:]
    var dialCount = 0
    var countedUntil: Instant?

    package init(settings: AutoNATSettings = AutoNATSettings(), me: PeerID, owner: UInt8, now: Now) {
        (self.settings, self.me, startedAt) = (settings, me, now.monotonic)
        streamIDs = StreamIDs(owner: owner)
    }

    /// Who knows that it cannot be reached is no judge of others.
    package var serves: Bool { reachability != .closed }
    package var servedCount: Int { serving.count }
    package var dialsUnderWay: Int { dials.count }
    package var probeCount: Int { probes.count }

    // MARK: Peers

    package mutating func onConnected(_ peer: PeerID, address: Multiaddr, outbound: Bool, now: Now) {
        neighbours[peer] = Neighbour(address: address)
        noteJudge(peer)
        if !outbound, address.isPublic, !isOwn(address) { lastInbound = now.monotonic }
    }
    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction) {
        guard neighbours[peer] != nil else { return }
        let serves = introduction.protocols.contains(AutoNAT.protocolID)
        neighbours[peer]?.serves = serves
        neighbours[peer]?.told = introduction.listenAddresses
        noteJudge(peer)
        if serves { isHurried = true }
    }
    package mutating func onDisconnected(_ peer: PeerID) {
        neighbours.remove(peer)
        judges.remove(peer)
    }

    package mutating func onListening(_ new: [Multiaddr]) {
        let isNew = new.contains { $0.isPublic && !addresses.contains($0) }
        addresses = new
        for peer in neighbours.keys { noteJudge(peer) }
        if isNew && confidence == settings.confidenceMax { confidence -= 1 }
    }

    func isOwn(_ address: Multiaddr) -> Bool {
        guard let ip = address.ip else { return false }
        return addresses.contains { $0.ip == ip }
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next = earliest(nextProbe, countedUntil)
        probes.each { next = earliest(next, $1.until) }
        serving.each { next = earliest(next, $1.until) }
        dials.each { next = earliest(next, $1.until) }
        return next
    }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        if let until = countedUntil, until <= now.monotonic { (dialCounts, dialCount, countedUntil) = ([:], 0, nil) }
        for (number, dial) in dials where dial.until <= now.monotonic { conclude(number, nil, now, &effects) }
        for (stream, probe) in probes where probe.until <= now.monotonic {
            effects.append(.stream(.reset(stream)))
            end(stream, nil, "no answer", now, &effects)
        }
        for (stream, served) in serving where served.until <= now.monotonic {
            effects.append(.stream(.reset(stream)))
            forget(stream)
        }
        if let at = nextProbe, at <= now.monotonic { probe(now, &choices, &effects) }
    }

    // MARK: Asking

    /// Nil while there is nobody to ask.
    private var nextProbe: Instant? {
        guard !judges.isEmpty else { return nil }
        guard let lastProbe else { return startedAt + settings.bootDelay }
        let hasBeenReached = lastInbound.map { $0 > lastProbe } ?? false
        if isHurried && reachability == .unknown { return lastProbe + settings.hurryInterval }
        if reachability == .unknown || confidence < settings.confidenceMax || (reachability != .open && hasBeenReached) {
            return lastProbe + settings.retryInterval
        }
        return lastProbe + (hasBeenReached ? min(settings.refreshInterval * 2, settings.refreshMax) : settings.refreshInterval)
    }

    private mutating func noteJudge(_ peer: PeerID) {
        if let neighbour = neighbours[peer], canBeAsked(neighbour) { judges.insert(peer) } else { judges.remove(peer) }
    }

    /// Somebody elsewhere: who shares an address with us sees nothing from outside.
    private func canBeAsked(_ neighbour: Neighbour) -> Bool {
        guard neighbour.serves else { return false }
        let open = (neighbour.told + [neighbour.address]).filter { $0.isPublic && $0.ip != nil }
        return !open.isEmpty && !open.contains(where: isOwn)
    }

    private mutating func probe(_ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let candidates = judges.elements
        (lastProbe, isHurried) = (now.monotonic, false)
        guard !candidates.isEmpty, probes.count < settings.probesMax else { return }
        let peer = candidates[choices.below(candidates.count)]
        let stream = streamIDs.next()
        probes[stream] = Probe(
            peer: peer, reader: FrameReader(limitBytes: settings.messageBytesMax), until: now.monotonic + settings.requestTimeout)
        let request = AutoNATMessage.Request(peer: me.bytes, addresses: addresses.filter(\.isPublic).prefix(settings.addressesMax).map(\.bytes))
        effects.append(.stream(.open(stream, to: peer, protocols: [AutoNAT.protocolID])))
        effects.append(.stream(.send(stream, AutoNATMessage(request: request).frame)))
    }

    private mutating func end(_ stream: StreamID, _ response: AutoNATMessage.Response?, _ reason: String, _ now: Now, _ effects: inout [Effect]) {
        guard let probe = probes.remove(stream) else { return }
        effects.append(.log(LogLine(.debug, "autonat", "\(probe.peer) was asked to dial us: \(response.map { $0.status.map { "\($0)" } ?? "an unknown answer" } ?? reason)")))
        switch response?.status {
        case .refused: isHurried = true
        case .ok: observe(.open, &effects)
        case .dialError: observe(.closed, &effects)
        case .badRequest, .internalError, nil: observe(.unknown, &effects)
        }
    }

    /// One who could dial us proves more than one who could not.
    private mutating func observe(_ new: Reachability, _ effects: inout [Effect]) {
        if new == reachability {
            if new == .unknown { confidence = max(0, confidence - 1) } else { confidence = min(confidence + 1, settings.confidenceMax) }
        } else if new == .open || confidence == 0 {
            (reachability, confidence) = (new, 0)
            effects.append(.changed(new))
        } else { confidence -= 1 }
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, now: Now, choices: inout Choices, effects: inout [Effect]) {
        let stream = event.stream
        guard probes[stream] != nil else { return onServing(event, now, &choices, &effects) }
        switch event {
        case .received(_, let bytes): onAnswer(stream, bytes, now, &effects)
        case .failed(_, let reason): end(stream, nil, reason, now, &effects)
        case .reset: end(stream, nil, "the stream was reset", now, &effects)
        case .remoteClosed:
            effects.append(.stream(.reset(stream)))
            end(stream, nil, "no answer", now, &effects)
        case .opened, .incoming, .drained: break
        }
    }

    private mutating func onAnswer(_ stream: StreamID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        probes[stream]?.reader.append(bytes)
        do {
            guard let frame = try probes[stream]?.reader.next() else { return }
            let message = try AutoNATMessage(decoding: frame)
            guard message.isResponse else { throw AutoNATFault.unexpected }
            effects.append(.stream(.reset(stream)))
            end(stream, message.response ?? AutoNATMessage.Response(.ok), "", now, &effects)
        } catch {
            effects.append(.stream(.reset(stream)))
            end(stream, nil, "\(error)", now, &effects)
        }
    }

    package func checkInvariants() {
        invariant(probes.count <= settings.probesMax, "\(probes.count) peers are asked at once")
        invariant(dials.count <= settings.dialsMax * 2, "\(dials.count) are dialled at once")
        invariant(dials.allSatisfy { serving[$0.value.stream]?.dial == $0.key }, "somebody is dialled for nobody")
        invariant((0...settings.confidenceMax).contains(confidence), "a confidence of \(confidence)")
        var counts = SortedMap<PeerID, Int>()
        serving.each { counts[$1.peer, default: 0] += 1 }
        invariant(counts.values.allSatisfy { $0 <= settings.streamsPerPeerMax }, "too many streams of a peer")
    }
}
