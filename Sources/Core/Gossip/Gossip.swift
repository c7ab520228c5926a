// Gossipsub as a machine: a mesh for each topic, lazy gossip beside it, signed messages, authors that topics trust.
// spec/wire-pubsub-dht-bitswap.md part 1; libp2p specs: gossipsub 1.0 to 1.2.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

package struct Gossip: Sendable {
    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        case deliver(topic: String, author: PeerID, data: Bytes)
        /// A peer that has no room for us tells of others in the topic.
        case exchanged([ExchangedPeer])
        case log(LogLine)
    }

    /// GS-01, in order of preference. What 1.3 adds is for extensions, of which neither upstream's peers nor these have any (GS-02).
    package static let protocols = ["/meshsub/1.3.0", "/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0", "/floodsub/1.0.0"]

    struct Peer: Sendable {
        var isOutbound = false
        var topics = SortedSet<Topic>()
        var stream: StreamID?
        var version = ""
        var hearsUnwanted: Bool { version.hasPrefix("/meshsub/1.2") || version.hasPrefix("/meshsub/1.3") }
        var isOpen = false
        var reopenAt: Instant?
        var failures = 0
        /// Frames that wait until the stream has drained, and bytes that are on their way.
        var queue: [Bytes] = []
        var sentBytes = 0
        var announcements = 0
        var asked = 0
        var unwanted: [MessageID: Int] = [:]
        /// Messages that it was the first to bring lately, up to a limit for each topic.
        var deliveries = SortedMap<Topic, Int>()
        /// Its addresses, signed by it.
        var record: Bytes?

        /// In order, and those that there is no room for are dropped.
        mutating func send(_ frames: [Bytes], windowBytes: Int, queueMaximum: Int, _ emit: (StreamEffect) -> Void) {
            guard let stream else { return }
            for frame in frames {
                if sentBytes < windowBytes && queue.isEmpty {
                    sentBytes += frame.count
                    emit(.send(stream, frame))
                } else if queue.count < queueMaximum {
                    queue.append(frame)
                }
            }
        }
    }

    let settings: Settings
    private let me: PeerID
    private let signer: any MessageSigner
    private var streamIDs: StreamIDs
    private var sequence: UInt64
    private(set) var peers = SortedMap<PeerID, Peer>()
    private var outbound = SortedMap<StreamID, PeerID>()
    private var inbound = SortedMap<StreamID, (peer: PeerID, reader: FrameReader)>()
    private var inboundOf: [PeerID: StreamID] = [:]
    private var subscribed = SortedMap<Topic, Trust>()
    private(set) var mesh = SortedMap<Topic, SortedSet<PeerID>>()
    private var backOff = SortedMap<Topic, SortedMap<PeerID, Instant>>()
    /// Whom messages of topics go to that are not subscribed.
    private var fanOut = SortedMap<Topic, (peers: SortedSet<PeerID>, until: Instant)>()
    private var seen: SeenCache
    private var cache: MessageCache
    private var heartbeatAt: Instant
    private var fadeAt: Instant

    package init(
        settings: Settings, me: PeerID, signer: any MessageSigner, owner: UInt8, firstSequenceNumber: UInt64, now: Now
    ) {
        self.settings = settings
        self.me = me
        self.signer = signer
        streamIDs = StreamIDs(owner: owner)
        sequence = firstSequenceNumber
        seen = SeenCache(lifetime: settings.seenLifetime, maximum: settings.seenMaximum)
        cache = MessageCache(length: settings.historyLength, maximumBytes: settings.cacheMaximumBytes)
        heartbeatAt = now.monotonic + settings.firstHeartbeatAfter
        fadeAt = now.monotonic + Gossip.deliveriesFadeAfter
    }

    /// Bytes and entries that are kept for others, roughly: for tests and figures.
    package var load: Int {
        peers.values.reduce(seen.count) { sum, peer in
            let topics = peer.topics.elements.reduce(0) { $0 + $1.bytes.count }
            return sum + topics + peer.unwanted.count + peer.queue.reduce(0) { $0 + $1.count }
        }
    }
    /// The members of the largest mesh, and what none may have after a heartbeat.
    package var meshMax: (members: Int, bound: Int) { (mesh.values.reduce(0) { max($0, $1.count) }, settings.meshHigh) }
    package func isMeshed(_ peer: PeerID) -> Bool { mesh.values.contains { $0.contains(peer) } }
    /// What connections to it are worth for what it brings (CM-02).
    package func worth(of peer: PeerID) -> Int { peers[peer]?.deliveries.values.reduce(0, +) ?? 0 }
    private static let deliveriesMax = 15
    private static let deliveriesFadeAfter = Span.minutes(10)
    package func isWaiting(for peer: PeerID) -> Bool { peers.look(at: peer) { !$0.queue.isEmpty } ?? false }
    package func unwantedCount(of peer: PeerID) -> Int { peers[peer]?.unwanted.count ?? 0 }
    package var nextHeartbeat: Instant { heartbeatAt }
    package func meshPeers(_ topic: String) -> [PeerID] { mesh[Topic(topic)]?.elements ?? [] }

    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        for (topic, members) in mesh {
            invariant(subscribed[topic] != nil, "a mesh of a topic that nobody here hears")
            invariant(members.elements.allSatisfy { peers[$0] != nil }, "somebody who has gone is in a mesh")
        }
        for (peer, state) in peers {
            invariant(state.stream.map { outbound[$0] == peer } ?? true, "a stream is that of its peer")
            invariant(state.stream != nil || !state.isOpen, "a stream that has ended is open")
            invariant(state.queue.isEmpty || state.sentBytes > 0, "what waits waits for what is on its way")
        }
        invariant(outbound.count == peers.reduce(0) { $0 + ($1.value.stream == nil ? 0 : 1) }, "a stream of nobody's")
        invariant(inbound.allSatisfy { inboundOf[$0.value.peer] == $0.key } && inbound.count == inboundOf.count, "a peer is heard over one stream")
    }

    // MARK: Topics

    /// Messages by authors that the topic does not trust are neither delivered nor passed on (GSC-03, A12).
    package mutating func subscribe(_ name: String, trust: Trust, now: Now, choices: inout Choices, effects: inout [Effect]) {
        let topic = Topic(name)
        subscribed[topic] = trust
        mesh[topic] = SortedSet()
        for peer in peers.keys { send([.subscription(topic, true)], to: peer, &effects) }
        if let chosen = fanOut.remove(topic)?.peers { graft(topic, chosen.elements, now, &effects) }
        fill(topic, now, &choices, &effects)
    }

    /// GS-29.
    package mutating func unsubscribe(_ name: String, now: Now, choices: inout Choices, effects: inout [Effect]) {
        let topic = Topic(name)
        guard subscribed.remove(topic) != nil else { return }
        for peer in peers.keys { send([.subscription(topic, false)], to: peer, &effects) }
        for peer in mesh[topic]?.elements ?? [] { expel(peer, topic, settings.leaveBackOff, now, &choices, &effects) }
        mesh.remove(topic)
    }

    /// Signs and sends. Delivered to oneself as well (PSM-04).
    package mutating func publish(_ name: String, _ data: Bytes, now: Now, choices: inout Choices, effects: inout [Effect]) {
        sequence += 1
        var message = GossipMessage()
        message.from = me.bytes
        message.data = data
        message.sequence = (0..<8).map { UInt8(truncatingIfNeeded: sequence >> UInt64(56 - 8 * $0)) }
        message.topic = Bytes(name.utf8)
        message.signature = signer.sign(message.signedBytes)
        message.key = signer.attachedKey
        let encoded = message.encoded
        guard encoded.count < settings.messageMaximumBytes - 64, let id = (try? RawMessage(encoded[...]))?.id else {
            return effects.append(.log(LogLine(.error, "pubsub", "a message of \(data.count) bytes is too large for \(name)")))
        }
        _ = seen.insert(id, at: now.monotonic)
        let topic = Topic(name)
        if subscribed[topic] != nil { effects.append(.deliver(topic: name, author: me, data: data)) }
        tellUnwanted(id, data.count, topic, except: nil, &effects)
        forward(encoded, id, topic, except: [], isOwn: true, now, &choices, &effects)
    }

    private mutating func forward(
        _ message: Bytes, _ id: MessageID, _ topic: Topic, except: [PeerID], isOwn: Bool, _ now: Now, _ choices: inout Choices,
        _ effects: inout [Effect]
    ) {
        cache.insert(id, topic: topic, message: message)
        let meshed = mesh[topic] ?? SortedSet()
        let isFlooded = isOwn && settings.floodPublish
        var (subscribers, targets) = ([PeerID](), [PeerID]())
        peers.each { peer, state in
            guard state.topics.contains(topic) else { return }
            subscribers.append(peer)
            if isFlooded || meshed.contains(peer) || state.version.hasPrefix("/floodsub") { targets.append(peer) }
        }
        if subscribed[topic] == nil {
            targets = chosen(for: topic, among: subscribers, now, &choices)
        } else if isOwn && targets.isEmpty { targets = choices.sample(subscribers, settings.meshTarget) }
        let frames = GossipItem.frames([.publish(message)], limitBytes: settings.messageMaximumBytes)
        for peer in targets where !except.contains(peer) && peers.look(at: peer, { $0.unwanted[id] != nil }) != true { send(frames, to: peer, &effects) }
    }

    /// The same ones as last time, as long as they are there.
    private mutating func chosen(for topic: Topic, among subscribers: [PeerID], _ now: Now, _ choices: inout Choices) -> [PeerID] {
        var chosen = fanOut[topic]?.peers.elements.filter(subscribers.contains) ?? []
        if chosen.isEmpty { chosen = choices.sample(subscribers, settings.meshTarget) }
        fanOut[topic] = (SortedSet(chosen), now.monotonic + settings.fanOutLifetime)
        return chosen
    }

    /// GS-28, for those who hear it over another way as well.
    private mutating func tellUnwanted(_ id: MessageID, _ dataBytes: Int, _ topic: Topic, except sender: PeerID?, _ effects: inout [Effect]) {
        guard dataBytes >= settings.unwantedDataBytes else { return }
        let frames = GossipItem.frames([.unwanted([id])], limitBytes: settings.messageMaximumBytes)
        for peer in mesh[topic]?.elements ?? [] where peer != sender && peers[peer]?.hearsUnwanted == true {
            send(frames, to: peer, &effects)
        }
    }

    // MARK: Peers

    package mutating func onConnected(_ peer: PeerID, outbound isOutbound: Bool) {
        if peers[peer] == nil { peers[peer] = Peer() }
        peers[peer]?.isOutbound = isOutbound
    }

    /// Opens our stream to a peer that speaks pubsub (GS-03, GS-06; N03).
    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction, effects: inout [Effect]) {
        guard introduction.protocols.contains(where: Gossip.protocols.contains) else { return }
        if peers[peer] == nil { peers[peer] = Peer() }
        if let record = introduction.signedRecord { peers[peer]?.record = record }
        if peers[peer]?.stream == nil { open(peer, &effects) }
    }

    private mutating func open(_ peer: PeerID, _ effects: inout [Effect]) {
        let stream = streamIDs.next()
        outbound[stream] = peer
        peers[peer]?.stream = stream
        peers[peer]?.reopenAt = nil
        peers[peer]?.sentBytes = 0
        peers[peer]?.queue = []
        effects.append(.stream(.open(stream, to: peer, protocols: Gossip.protocols)))
        let hello = subscribed.keys.map { GossipItem.subscription($0, true, isHello: true) }
        if !hello.isEmpty { send(hello, to: peer, &effects) }
    }

    package mutating func onDisconnected(_ peer: PeerID) {
        if let stream = peers[peer]?.stream { outbound[stream] = nil }
        if let stream = inboundOf.removeValue(forKey: peer) { inbound.remove(stream) }
        peers.remove(peer)
        for topic in mesh.keys { mesh[topic]?.remove(peer) }
    }

    /// In frames, as the outbound queue allows: what does not fit is dropped (GS-07).
    private mutating func send(_ items: [GossipItem], to peer: PeerID, _ effects: inout [Effect]) {
        send(GossipItem.frames(items, limitBytes: settings.messageMaximumBytes), to: peer, &effects)
    }

    private mutating func send(_ frames: [Bytes], to peer: PeerID, _ effects: inout [Effect]) {
        let (window, queueMaximum) = (settings.outboundWindowBytes, settings.outboundQueueMaximum)
        peers[peer]?.send(frames, windowBytes: window, queueMaximum: queueMaximum) { effects.append(.stream($0)) }
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, now: Now, choices: inout Choices, effects: inout [Effect]) {
        let stream = event.stream
        if let peer = outbound[stream] { return onOutbound(event, stream, peer, now, &choices, &effects) }
        switch event {
        case .incoming(_, let peer, _):
            if let old = inboundOf[peer] {  // GS-05: the newer one counts
                inbound[old] = nil
                effects.append(.stream(.reset(old)))
            }
            inboundOf[peer] = stream
            inbound[stream] = (peer, FrameReader(limitBytes: settings.messageMaximumBytes))
        case .received(_, let bytes): onBytes(stream, bytes, now, &choices, &effects)
        case .remoteClosed, .reset, .failed:
            if let (peer, _) = inbound.remove(stream), inboundOf[peer] == stream { inboundOf[peer] = nil }
            if case .remoteClosed = event { effects.append(.stream(.closeWrite(stream))) }
        case .opened, .drained: break
        }
    }

    private mutating func onOutbound(
        _ event: StreamEvent, _ stream: StreamID, _ peer: PeerID, _ now: Now, _ choices: inout Choices,
        _ effects: inout [Effect]
    ) {
        switch event {
        case .opened(_, let version):
            peers[peer]?.version = version
            peers[peer]?.isOpen = true
            peers[peer]?.failures = 0
            for topic in subscribed.keys { fill(topic, now, &choices, &effects) }
        case .drained:
            guard var state = peers[peer] else { return }
            state.sentBytes = 0
            while !state.queue.isEmpty && state.sentBytes < settings.outboundWindowBytes {
                let frame = state.queue.removeFirst()
                state.sentBytes += frame.count
                effects.append(.stream(.send(stream, frame)))
            }
            peers[peer] = state
        case .failed, .reset, .remoteClosed, .received:
            // GS-04: nobody writes here; whatever comes ends the stream, and it is opened anew after a while.
            outbound[stream] = nil
            if case .remoteClosed = event { effects.append(.stream(.reset(stream))) }
            if case .received = event { effects.append(.stream(.reset(stream))) }
            guard var state = peers[peer] else { return }
            (state.stream, state.isOpen) = (nil, false)
            let factor = Int64(1) << Int64(min(state.failures, 10))
            state.failures += 1
            state.reopenAt = now.monotonic + min(settings.reopenAfter * factor, settings.reopenAfterMaximum)
            peers[peer] = state
        case .incoming: break
        }
    }

    private mutating func onBytes(
        _ stream: StreamID, _ bytes: Bytes, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        guard let peer = inbound.look(at: stream, { $0.peer }) else { return }
        inbound[stream]?.reader.append(bytes)
        do {
            while let frame = try inbound[stream]?.reader.next() {
                if !frame.isEmpty { take(try GossipRPC(decoding: frame), peer, now, &choices, &effects) }
            }
        } catch {
            if inbound.remove(stream) != nil {
                inboundOf[peer] = nil
                effects.append(.log(LogLine(.warning, "pubsub", "malformed RPC from \(peer): \(error)")))
            }
            effects.append(.stream(.reset(stream)))
        }
    }

    private mutating func take(
        _ rpc: GossipRPC, _ peer: PeerID, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        if peers[peer] == nil { peers[peer] = Peer() }
        for subscription in rpc.subscriptions { onSubscription(subscription, peer, now, &effects) }
        for message in rpc.messages { onMessage(message, peer, now, &choices, &effects) }
        let lifetime = settings.unwantedLifetimeHeartbeats
        for id in rpc.unwanted.prefix(settings.unwantedRPCsPerHeartbeatMaximum)
        where id.bytes.count <= settings.idBytesMaximum && (peers[peer]?.unwanted.count ?? 0) < 10_000 {
            peers[peer]?.unwanted[id] = lifetime
        }
        var answer: [GossipItem] = []
        for announcement in rpc.have { onHave(announcement, peer, now, &answer) }
        for id in rpc.want.prefix(settings.idsPerAnnouncementMaximum) {
            guard let message = cache.take(id, for: peer, timesMaximum: settings.retransmissionsMaximum) else { continue }
            answer.append(.publish(message))
        }
        for topic in rpc.grafts { onGraft(topic, peer, now, &choices, &answer) }
        for prune in rpc.prunes { onPrune(prune, peer, now, &choices, &effects) }
        if !answer.isEmpty { send(answer, to: peer, &effects) }
    }

    private mutating func onSubscription(
        _ subscription: GossipRPC.Subscription, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]
    ) {
        if subscription.isSubscribed {
            guard (peers[peer]?.topics.count ?? 0) < settings.topicsPerPeerMaximum,
                subscription.topic.bytes.count <= settings.topicBytesMaximum
            else { return }
            peers[peer]?.topics.insert(subscription.topic)
            graft(subscription.topic, [peer], now, &effects)
        } else {
            peers[peer]?.topics.remove(subscription.topic)
            mesh[subscription.topic]?.remove(peer)
        }
    }

    /// GS-18, GS-19: seen, then the signature, then the topic's trust in the author.
    private mutating func onMessage(
        _ raw: RawMessage, _ peer: PeerID, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        // Most have come from somebody else before.
        guard let id = raw.id, !seen.contains(id, at: now.monotonic), let name = raw.topic, let (topic, trust) = subscription(name),
            let message = try? GossipMessage(decoding: raw.bytes),
            let signature = message.signature, let from = message.from, let author = try? PeerID(from), author != me,
            signer.verify(message.signedBytes, signature: signature, author: author, key: message.key)
        else { return }
        _ = seen.insert(id, at: now.monotonic)
        // Not before the signature is known to be right: whoever made the ID up would keep the message itself away.
        tellUnwanted(id, message.data?.count ?? 0, topic, except: peer, &effects)
        guard trust.trusts(author) else { return }
        effects.append(.deliver(topic: topic.name, author: author, data: message.data ?? []))
        forward(message.encoded, id, topic, except: [peer, author], isOwn: false, now, &choices, &effects)
        let count = peers[peer]?.deliveries[topic] ?? 0
        if count < Gossip.deliveriesMax { peers[peer]?.deliveries[topic] = count + 1 }
    }

    private func subscription(_ name: ArraySlice<UInt8>) -> (Topic, Trust)? {
        for (topic, trust) in subscribed where topic.bytes.elementsEqual(name) { return (topic, trust) }
        return nil
    }

    /// GS-26: asks for what was not seen.
    private mutating func onHave(
        _ announcement: GossipRPC.Announcement, _ peer: PeerID, _ now: Now, _ answer: inout [GossipItem]
    ) {
        guard mesh[announcement.topic] != nil, var state = peers[peer],
            state.announcements < settings.announcementsPerHeartbeatMaximum
        else { return }
        state.announcements += 1
        let room = settings.idsPerAnnouncementMaximum - state.asked
        var unseen: [MessageID] = []
        for id in announcement.ids.prefix(settings.idsPerAnnouncementMaximum) where unseen.count < room {
            if !seen.contains(id, at: now.monotonic) { unseen.append(id) }
        }
        state.asked += unseen.count
        peers[peer] = state
        if !unseen.isEmpty { answer.append(.want(unseen)) }
    }

    // MARK: Mesh

    /// GS-23.
    private mutating func onGraft(_ topic: Topic, _ peer: PeerID, _ now: Now, _ choices: inout Choices, _ answer: inout [GossipItem]) {
        guard let members = mesh[topic], !members.contains(peer) else { return }
        let isBackedOff = backOff[topic]?[peer].map { $0 > now.monotonic } ?? false
        let isFull = members.count >= settings.meshHigh && peers[peer]?.isOutbound != true
        guard !isBackedOff && !isFull else {
            leaveAlone(peer, topic, settings.pruneBackOff, now)
            return answer.append(prune(topic, for: peer, settings.pruneBackOff, exchangesPeers: !isBackedOff, &choices))
        }
        mesh[topic]?.insert(peer)
    }

    /// GS-27: with some of the others in the topic.
    private func prune(
        _ topic: Topic, for peer: PeerID, _ backOff: Span, exchangesPeers: Bool, _ choices: inout Choices
    ) -> GossipItem {
        guard peers[peer]?.version != "/meshsub/1.0.0" else { return .prune(topic, backOffSeconds: nil) }
        var told: [ExchangedPeer] = []
        if exchangesPeers, settings.exchangesPeers {
            let others = peers.filter { $0.key != peer && $0.value.topics.contains(topic) }
            told = choices.sample(others, settings.exchangedPeersMaximum).map { ExchangedPeer(id: $0.key, record: $0.value.record) }
        }
        return .prune(topic, peers: told, backOffSeconds: UInt64(backOff.nanoseconds / 1_000_000_000))
    }

    /// GS-24, GS-27. Others are heard of only from a member of the mesh: a stranger does not send us to whom it likes.
    private mutating func onPrune(
        _ prune: GossipRPC.Prune, _ peer: PeerID, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        guard let members = mesh[prune.topic] else { return }
        if members.contains(peer) {
            let unknown = prune.peers.prefix(100).filter { $0.id != me && peers[$0.id] == nil }
            if !unknown.isEmpty { effects.append(.exchanged(choices.sample(unknown, settings.exchangedPeersMaximum))) }
        }
        mesh[prune.topic]?.remove(peer)
        let asked = prune.backOffSeconds.map { Span.seconds(Int64(clamping: min($0, 1 << 30))) } ?? settings.pruneBackOff
        leaveAlone(peer, prune.topic, min(asked, settings.backOffMaximum), now)
    }

    /// For that long at least: who asked to be left alone for an hour is not grafted sooner because it breaks its own word.
    private mutating func leaveAlone(_ peer: PeerID, _ topic: Topic, _ span: Span, _ now: Now) {
        let until = now.monotonic + span, before = backOff[topic]?[peer]
        backOff[topic, default: SortedMap()][peer] = max(until, before ?? until)
    }

    /// Grafts peers while the mesh is thinner than wanted.
    private mutating func fill(_ topic: Topic, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let missing = settings.meshTarget - (mesh[topic]?.count ?? 0)
        guard missing > 0 else { return }
        graft(topic, choices.sample(candidates(topic, now), missing), now, &effects)
    }

    private func candidates(_ topic: Topic, _ now: Now) -> [PeerID] {
        peers.filter { peer, state in
            state.isOpen && state.topics.contains(topic) && !state.version.hasPrefix("/floodsub")
                && mesh[topic]?.contains(peer) == false && (backOff[topic]?[peer].map { $0 <= now.monotonic } ?? true)
        }.map(\.key)
    }

    private mutating func graft(_ topic: Topic, _ chosen: [PeerID], _ now: Now, _ effects: inout [Effect]) {
        let allowed = candidates(topic, now)
        for peer in chosen where allowed.contains(peer) && (mesh[topic]?.count ?? 0) < settings.meshTarget { take(peer, topic, &effects) }
    }

    private mutating func take(_ peer: PeerID, _ topic: Topic, _ effects: inout [Effect]) {
        mesh[topic]?.insert(peer)
        send([.graft(topic)], to: peer, &effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next = heartbeatAt
        peers.each { if let at = $1.reopenAt { next = min(next, at) } }
        return next
    }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        for (peer, state) in peers {
            if let at = state.reopenAt, at <= now.monotonic { open(peer, &effects) }
        }
        guard heartbeatAt <= now.monotonic else { return }
        heartbeatAt = now.monotonic + settings.heartbeatInterval
        for peer in peers.keys { age(peer) }
        for topic in mesh.keys { tend(topic, now, &choices, &effects) }
        for topic in fanOut.keys { tendFanOut(topic, now, &choices, &effects) }
        cache.shift()
        guard fadeAt <= now.monotonic else { return }
        fadeAt = now.monotonic + Gossip.deliveriesFadeAfter
        for peer in peers.keys { fade(peer) }
    }

    private mutating func fade(_ peer: PeerID) {
        guard let deliveries = peers[peer]?.deliveries else { return }
        for (topic, count) in deliveries { peers[peer]?.deliveries[topic] = count > 1 ? count - 1 : nil }
    }

    private mutating func age(_ peer: PeerID) {
        guard var state = peers[peer] else { return }
        state.announcements = 0
        state.asked = 0
        state.unwanted = state.unwanted.mapValues { $0 - 1 }.filter { $0.value > 0 }
        if state.failures >= settings.reopenAttemptsInMesh { for topic in mesh.keys { mesh[topic]?.remove(peer) } }
        peers[peer] = state
    }

    /// GS-25, GS-26.
    private mutating func tend(_ topic: Topic, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let old = (backOff[topic] ?? SortedMap()).filter { $0.value + settings.heartbeatInterval <= now.monotonic }.map(\.key)
        for peer in old { backOff[topic]?.remove(peer) }
        let count = mesh[topic]?.count ?? 0
        if count < settings.meshLow { fill(topic, now, &choices, &effects) }
        if count >= settings.meshHigh { thin(topic, now, &choices, &effects) }  // at the bound, not above it (N01)
        else if count >= settings.meshLow { reachOut(topic, now, &choices, &effects) }
        announce(topic, to: mesh[topic] ?? SortedSet(), &choices, &effects)
    }

    /// Enough members that we chose ourselves.
    private mutating func reachOut(_ topic: Topic, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let missing = settings.meshOutbound - (mesh[topic]?.elements ?? []).count { peers[$0]?.isOutbound == true }
        guard missing > 0 else { return }
        let ours = candidates(topic, now).filter { peers[$0]?.isOutbound == true }
        for peer in choices.sample(ours, missing) { take(peer, topic, &effects) }
    }

    private mutating func tendFanOut(_ topic: Topic, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        guard let (chosen, until) = fanOut[topic], until > now.monotonic else { return fanOut[topic] = nil }
        let subscribers = peers.filter { $0.value.topics.contains(topic) }.map(\.key)
        let kept = chosen.elements.filter(subscribers.contains)
        let more = choices.sample(subscribers.filter { !kept.contains($0) }, max(0, settings.meshTarget - kept.count))
        fanOut[topic] = (SortedSet(kept + more), until)
        announce(topic, to: SortedSet(kept + more), &choices, &effects)
    }

    private mutating func thin(_ topic: Topic, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        let members = choices.permuted(mesh[topic]?.elements ?? [])
        let ours = members.filter { peers[$0]?.isOutbound == true }.prefix(settings.meshOutbound)
        let kept = (ours + members.filter { !ours.contains($0) }).prefix(settings.meshTarget)
        for peer in members where !kept.contains(peer) { expel(peer, topic, settings.pruneBackOff, now, &choices, &effects) }
    }

    private mutating func expel(
        _ peer: PeerID, _ topic: Topic, _ backOff: Span, _ now: Now, _ choices: inout Choices, _ effects: inout [Effect]
    ) {
        mesh[topic]?.remove(peer)
        leaveAlone(peer, topic, backOff, now)
        send([prune(topic, for: peer, backOff, exchangesPeers: true, &choices)], to: peer, &effects)
    }

    /// To some of those who do not hear the messages themselves.
    private mutating func announce(_ topic: Topic, to members: SortedSet<PeerID>, _ choices: inout Choices, _ effects: inout [Effect]) {
        let ids = Array(cache.ids(of: topic, heartbeats: settings.historyGossip).prefix(settings.idsPerAnnouncementMaximum))
        guard !ids.isEmpty else { return }
        let others = peers.filter { $0.value.topics.contains(topic) && !members.contains($0.key) }.map(\.key)
        let count = max(settings.meshLazy, others.count / settings.gossipDivisor)
        for peer in choices.sample(others, count) { send([.have(topic, ids)], to: peer, &effects) }
    }
}
