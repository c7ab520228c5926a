// What peers say to each other by gossip, against what gossipsub has them say. Read off the wire: a peer's own tables are looked at
// only where the wire does not show them. spec/wire-pubsub-dht-bitswap.md part 1.

import Cluster
import Encoding
import Gossip
import Kernel
import Monitoring
import Multiformats
import Pinset
import Seams

/// What one frame says. Topics by their place among those of a cluster; others nobody is in. IDs are mixed: that tells them apart.
final class GossipSaid {
    struct Message {
        let id: UInt64
        /// Of all of it: nobody changes what another has published.
        let digest: UInt64
        let bytes: ArraySlice<UInt8>
        let author: Bytes
        /// Nil where that is nobody.
        let authorID: PeerID?
        let topic: Int
    }
    var subscribed: [Int] = []
    var unsubscribed: [Int] = []
    var messages: [Message] = []
    var announced: [(topic: Int, ids: [UInt64])] = []
    var wanted: [UInt64] = []
    var unwanted: [UInt64] = []
    var grafts: [Int] = []
    var prunes: [(topic: Int, seconds: UInt64?)] = []

    var hasControl: Bool { !(subscribed.isEmpty && unsubscribed.isEmpty && grafts.isEmpty && prunes.isEmpty) }

    /// What was said together.
    convenience init(_ all: [GossipSaid]) {
        self.init()
        for one in all {
            subscribed += one.subscribed
            unsubscribed += one.unsubscribed
            messages += one.messages
            announced += one.announced
            wanted += one.wanted
            unwanted += one.unwanted
            grafts += one.grafts
            prunes += one.prunes
        }
    }

    init() {}
    convenience init(_ bytes: ArraySlice<UInt8>, topics: [Bytes]) throws(ProtobufError) {
        self.init()
        func place(_ topic: ArraySlice<UInt8>?) -> Int? { topic.flatMap { name in topics.firstIndex { $0.elementsEqual(name) } } }
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                let parts = try GossipSaid.parts(field)
                guard let topic = place(parts.bytes[2]) else { continue }
                if parts.number[1, default: 0] == 1 { subscribed.append(topic) } else { unsubscribed.append(topic) }
            case 2: try readMessage(try field.bytes(), place)
            case 3: try readControl(try field.message(), place)
            default: break
            }
        }
    }

    private func readMessage(_ bytes: ArraySlice<UInt8>, _ place: (ArraySlice<UInt8>?) -> Int?) throws(ProtobufError) {
        var (from, sequence, topic): (ArraySlice<UInt8>?, ArraySlice<UInt8>?, ArraySlice<UInt8>?)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: from = try field.bytes()
            case 3: sequence = try field.bytes()
            case 4: topic = try field.bytes()
            default: break
            }
        }
        guard let from, let sequence, from.count >= 16, let topic = place(topic) else { return }
        let author = Bytes(from), id = GossipSaid.mixed(from.prefix(16) + sequence)
        messages.append(Message(id: id, digest: GossipSaid.mixed(bytes), bytes: bytes, author: author, authorID: try? PeerID(author), topic: topic))
    }

    private func readControl(_ reader: ProtobufReader, _ place: (ArraySlice<UInt8>?) -> Int?) throws(ProtobufError) {
        var reader = reader
        while let field = try reader.next() {
            let parts = try GossipSaid.parts(field)
            switch field.number {
            case 1: if let topic = place(parts.bytes[1]) { announced.append((topic, parts.ids(2))) }
            case 2: wanted += parts.ids(1)
            case 3: if let topic = place(parts.bytes[1]) { grafts.append(topic) }
            case 4: if let topic = place(parts.bytes[1]) { prunes.append((topic, parts.number[3])) }
            case 5: unwanted += parts.ids(1)
            default: break
            }
        }
    }

    /// The parts of a message within a message, by their numbers.
    private struct Parts {
        var bytes: [Int: ArraySlice<UInt8>] = [:]
        var number: [Int: UInt64] = [:]
        var all: [(field: Int, bytes: ArraySlice<UInt8>)] = []
        func ids(_ field: Int) -> [UInt64] { all.filter { $0.field == field }.map { GossipSaid.mixed($0.bytes) } }
    }
    private static func parts(_ field: ProtobufReader.Field) throws(ProtobufError) -> Parts {
        var parts = Parts(), reader = try field.message()
        while let part = try reader.next() {
            if let bytes = try? part.bytes() {
                if parts.bytes[part.number] == nil { parts.bytes[part.number] = bytes }
                parts.all.append((part.number, bytes))
            } else if let number = try? part.uint64() { parts.number[part.number] = number }
        }
        return parts
    }
    static func mixed(_ bytes: ArraySlice<UInt8>) -> UInt64 { mix(bytes, seed: 0x6055).low }
}

/// What is known of one peer's gossip in one life of it.
struct GossipLog {
    struct Partner {
        var isConnected = false
        /// It was dialled from here.
        var isOutbound = false
        var isOpen = false
        var topics: Set<Int> = []
        /// Until when neither may graft the other.
        var backOff: [Int: Instant] = [:]
        /// Until when that is not known.
        var doubt: [Int: Instant] = [:]
        /// What it was told of last, and when; and how often it has told of something since the last heartbeat.
        var told: Set<UInt64> = []
        var toldAt = Instant(nanoseconds: 0)
        var announcements = 0
        /// What it was asked for since then.
        var askedFor = 0
        /// How often it was given what it asked for.
        var given: [UInt64: Int] = [:]
        /// What it has and does not want to have again.
        var unwanted: Set<UInt64> = []
        var inbound: StreamID?
        var reader: FrameReader?
        var outbound: StreamID?
    }
    let topics: [String]
    let names: [Bytes]
    /// By the index of the peer; nil for whom nothing is known of.
    var partners: [Partner?]
    /// Streams that it opened, and those that others did.
    var streams = SortedMap<StreamID, Int>()
    var inbound = SortedMap<StreamID, Int>()
    var mesh: [[Int]] = [[], []]
    /// Authentic messages that have come or were published; and those that it has passed on, and when.
    var seen: Set<UInt64> = []
    var passed: [UInt64: Int64] = [:]
    /// Topics in which something new has come since the last heartbeat.
    var fresh: Set<Int> = []
    /// What it has been told of since then.
    var asked: Set<UInt64> = []
    var heartbeat = Instant(nanoseconds: 0)

    init(topics: [String], peers: Int) {
        (self.topics, names) = (topics, topics.map { Bytes($0.utf8) })
        partners = Array(repeating: nil, count: peers)
    }

    mutating func know(_ other: Int) { if partners[other] == nil { partners[other] = Partner() } }
}

/// One step of a peer, as far as it is gossip.
struct GossipStep {
    let index: Int
    let now: Instant
    /// What has waited is sent: it was decided earlier.
    var isDrain = false
    var from: Int?
    /// What that one says.
    var heard: GossipSaid?
    var said: [(to: Int, all: GossipSaid)] = []
    var opened: [Int] = []
    var isControl = false
    var gone: Int?
    /// A stream that has come, and one that has drained.
    var incoming: StreamID?
    var drained: Int?

    func says(to other: Int, _ condition: (GossipSaid) -> Bool) -> Bool { said.contains { $0.to == other && condition($0.all) } }
    func hears(from other: Int, _ condition: (GossipSaid) -> Bool) -> Bool { from == other && heard.map(condition) == true }
    func isAsked(for id: UInt64, by other: Int) -> Bool { from == other && heard?.wanted.contains(id) == true }
    func isHeard(_ id: UInt64) -> Bool { heard?.messages.contains { $0.id == id } == true }
}

extension Run {
    private static let gossipTopicCount = 2

    /// GOSSIP, TRUST: after each step of a peer that lives on.
    func watchGossip(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ now: Instant, _ log: inout GossipLog) {
        var step = GossipStep(index: index, now: now)
        hear(input, process, &log, &step)
        listen(effects, process, &log, &step)
        let heartbeat = process.machine.nextHeartbeat(), isHeartbeat = heartbeat != log.heartbeat
        log.heartbeat = heartbeat
        guard step.from != nil || !step.said.isEmpty || step.isControl || isHeartbeat || !step.opened.isEmpty || step.isDrain else { return }
        judgeHello(step, process)
        if let other = step.drained { judgeDrained(other, step, process) }
        let news = log.fresh
        if isHeartbeat { log.fresh = [] }  // what is said in the step of a heartbeat may be said after it, and is told at the next
        judgePublished(&log, step, process)
        judgePassedOn(&log, step, process)
        judgeAnnounced(&log, step, process)
        if step.isControl || isHeartbeat { judgeMesh(&log, step, process, isHeartbeat) }
        if isHeartbeat { judgeHeartbeat(news, &log, step, process) }
    }

    // MARK: Reading

    /// The same frame goes to many, and comes from many.
    private func said(in frame: ArraySlice<UInt8>, _ topics: [Bytes]) throws -> GossipSaid {
        let key = GossipSaid.mixed(frame)
        if let said = gossipRead[key] { return said }
        let said = try GossipSaid(frame, topics: topics)
        if gossipRead.count > 1024 { gossipRead = [:] }
        gossipRead[key] = said
        return said
    }
    private func mesh(_ topic: Int, _ log: GossipLog, _ process: Process) -> [Int] {
        process.machine.mesh(of: log.topics[topic]).compactMap { world.indexes[$0] }.sorted()
    }

    private func hear(_ input: PeerInput, _ process: Process, _ log: inout GossipLog, _ step: inout GossipStep) {
        switch input {
        case .connection(.connected(let peer, _, let isOutbound)):
            guard let other = world.indexes[peer] else { return }
            log.know(other)
            log.partners[other]?.isConnected = true
            log.partners[other]?.isOutbound = isOutbound
        case .connection(.disconnected(let peer)):
            guard let other = world.indexes[peer], var partner = log.partners[other] else { return }
            if let stream = partner.outbound { log.streams.remove(stream) }
            if let stream = partner.inbound { log.inbound.remove(stream) }
            let (backOff, doubt) = (partner.backOff, partner.doubt)
            partner = GossipLog.Partner()
            (partner.backOff, partner.doubt) = (backOff, doubt)
            log.partners[other] = partner
            (step.isControl, step.gone) = (true, other)
        case .stream(.incoming(let id, let peer, let name)):
            guard Gossip.protocols.contains(name), let other = world.indexes[peer] else { return }
            log.inbound[id] = other
            step.incoming = id
            log.know(other)
            log.partners[other]?.inbound = id
            log.partners[other]?.reader = FrameReader(limitBytes: process.peer.settings.gossip.messageMaximumBytes)
        case .stream(.received(let id, let bytes)):
            // What was said before a connection was lost may be heard after it, by who was asleep.
            guard let other = log.inbound[id], log.partners[other]?.inbound == id else { return }
            step.from = other
            log.partners[other]?.reader?.append(bytes)
            var all: [GossipSaid] = []
            do {
                while let frame = try log.partners[other]?.reader?.next() { if !frame.isEmpty { all.append(try said(in: frame, log.names)) } }
            } catch { log.partners[other]?.inbound = nil }
            step.heard = all.count > 1 ? GossipSaid(all) : all.first
            if step.heard?.hasControl == true { step.isControl = true }
        case .stream(.opened(let id, _)): if let other = log.streams[id] { log.partners[other]?.isOpen = true; step.isControl = true }
        case .stream(.drained(let id)): (step.drained, step.isDrain) = (log.streams[id], log.streams[id] != nil)
        case .stream(.reset(let id)), .stream(.failed(let id, _)), .stream(.remoteClosed(let id)):
            if let other = log.inbound.remove(id), log.partners[other]?.inbound == id { log.partners[other]?.inbound = nil }
            guard let other = log.streams.remove(id) else { return }
            log.partners[other]?.isOpen = false
            log.partners[other]?.outbound = nil
        default: break
        }
    }

    private func listen(_ effects: ArraySlice<PeerEffect>, _ process: Process, _ log: inout GossipLog, _ step: inout GossipStep) {
        for case .stream(let effect) in effects {
            switch effect {
            case .open(let id, let peer, Gossip.protocols):
                guard let other = world.indexes[peer] else { continue }
                log.streams[id] = other
                log.know(other)
                log.partners[other]?.outbound = id
                log.partners[other]?.isOpen = false
                step.opened.append(other)
            case .send(let id, let bytes):
                guard let other = log.streams[id] else { continue }
                var reader = FrameReader(limitBytes: .max)
                reader.append(bytes)
                do {
                    while let frame = try reader.next() {
                        let said = try said(in: frame, log.names)
                        step.said.append((other, said))
                        if said.hasControl { step.isControl = true }
                    }
                } catch { world.fail(.gossip, "\(world.name(process.index)) sends gossip that nobody can read: \(error)") }
            case .reset(let id) where id == step.incoming: failGossip(step, "refuses a stream of \(log.inbound[id].map(world.name) ?? "somebody"), whose older one may be dead")
            default: break
            }
        }
    }

    // MARK: Judging

    private func failGossip(_ step: GossipStep, _ text: String) { world.fail(.gossip, "\(world.name(step.index)) \(text)") }

    /// Nothing waits for that peer, and so what is said to it is said at once.
    private func isHeedful(_ other: Int, _ log: GossipLog, _ process: Process) -> Bool {
        log.partners[other]?.outbound != nil && !process.machine.hasGossipWaiting(for: world.peers[other].id)
    }
    private func trusts(_ message: GossipSaid.Message, _ process: Process) -> Bool {
        guard message.topic == 0, message.author != process.peer.id.bytes, let author = message.authorID else { return true }
        return process.peer.settings.trust.trusts(author)
    }

    /// A stream begins with what its peer is subscribed to, or the other end would take it for one that listens to nothing (GS-08).
    private func judgeHello(_ step: GossipStep, _ process: Process) {
        for other in step.opened {
            let told = step.said.filter { $0.to == other }.flatMap(\.all.subscribed)
            guard Set(told).count < Run.gossipTopicCount else { continue }
            return failGossip(step, "opens a stream to \(world.name(other)), and does not say what it listens to")
        }
    }

    /// What waits goes as soon as it can.
    private func judgeDrained(_ other: Int, _ step: GossipStep, _ process: Process) {
        guard process.machine.hasGossipWaiting(for: world.peers[other].id), !step.said.contains(where: { $0.to == other }) else { return }
        failGossip(step, "lets wait what \(world.name(other)) could have")
    }

    /// Nobody says what its author has not said, nor passes on what it trusts nobody to say, nor says it twice, or to who has said it.
    private func judgePublished(_ log: inout GossipLog, _ step: GossipStep, _ process: Process) {
        for (other, said) in step.said {
            for message in said.messages {
                oracles.judged += 1
                if message.author == process.peer.id.bytes, log.passed[message.id] == nil, !step.isHeard(message.id) {
                    if world.published.insert(message.digest).inserted, options.hasOutsider { world.lastSaid[step.index] = Bytes(message.bytes) }
                    log.seen.insert(message.id)
                    if message.topic == 0, step.index != outsider { oracles.announcedAt = world.now }
                    // What waited, or had to be asked for, may have been said long ago (seed 700042).
                    if !step.isDrain, !step.isAsked(for: message.id, by: other) { log.fresh.insert(message.topic) }
                }
                guard world.published.contains(message.digest) else {
                    return world.fail(.trust, "\(world.name(step.index)) passes on to \(world.name(other)) what its author has never said")
                }
                if !trusts(message, process) {
                    return world.fail(.trust, "\(world.name(step.index)) passes on to \(world.name(other)) what somebody has said whom it does not trust")
                }
                guard !step.isDrain, !step.isAsked(for: message.id, by: other) else { continue }
                if message.author == process.peer.id.bytes, step.isHeard(message.id) {
                    return failGossip(step, "takes for news what it has said itself, and tells \(world.name(other))")
                }
                if message.author == world.peers[other].id.bytes || step.hears(from: other, { $0.messages.contains { $0.id == message.id } }) {
                    return failGossip(step, "sends back to \(world.name(other)) what that has said")
                }
                if let at = log.passed[message.id], at != world.now, world.now - at < process.peer.settings.gossip.seenLifetime.nanoseconds / 2 {
                    return failGossip(step, "tells \(world.name(other)) unasked what it has told others at \(Span(nanoseconds: at).seconds)")
                }
                log.passed[message.id] = world.now
            }
            guard !said.unwanted.isEmpty, said.unwanted.contains(where: { !hasMessage($0, log, step, process) }) else { continue }
            return failGossip(step, "tells \(world.name(other)) not to send a message that it does not have")
        }
    }

    /// It has had it, hears it now, or says it now: to others perhaps (seed 115616758), or to nobody yet, where all have to wait for it.
    private func hasMessage(_ id: UInt64, _ log: GossipLog, _ step: GossipStep, _ process: Process) -> Bool {
        if log.seen.contains(id) || step.heard?.messages.contains(where: { $0.id == id && world.published.contains($0.digest) }) == true { return true }
        if step.said.contains(where: { $0.all.messages.contains { $0.id == id && $0.author == process.peer.id.bytes } }) { return true }
        return step.heard == nil && world.peers.contains { process.machine.hasGossipWaiting(for: $0.id) }
    }

    /// What is new goes to the whole mesh at once, but for who has it.
    private func judgePassedOn(_ log: inout GossipLog, _ step: GossipStep, _ process: Process) {
        guard let from = step.from, let heard = step.heard else { return }
        for id in heard.unwanted { log.partners[from]?.unwanted.insert(id) }
        if let count = log.partners[from]?.unwanted.count, count > 4096 { log.partners[from]?.unwanted = [] }
        for message in heard.messages where world.published.contains(message.digest) && log.seen.insert(message.id).inserted {
            guard message.author != process.peer.id.bytes, trusts(message, process) else { continue }
            log.fresh.insert(message.topic)
            var isReached = [Bool](repeating: false, count: world.peers.count)
            for (other, said) in step.said where said.messages.contains(where: { $0.id == message.id }) { isReached[other] = true }
            let after = step.isControl ? mesh(message.topic, log, process) : log.mesh[message.topic]
            oracles.judged += after.count
            for other in log.mesh[message.topic] where !isReached[other] && other != from && world.peers[other].id.bytes != message.author {
                guard log.partners[other]?.unwanted.contains(message.id) == false, isHeedful(other, log, process), after.contains(other) else { continue }
                return failGossip(step, "keeps from \(world.name(other)), who is in its mesh, what \(world.name(from)) has told it")
            }
        }
    }

    /// GS-26: what one is told of and has not seen, one asks for; and what one has told of, one has.
    func judgeAnnounced(_ log: inout GossipLog, _ step: GossipStep, _ process: Process) {
        let settings = process.peer.settings.gossip
        if let from = step.from, let heard = step.heard, !(heard.announced.isEmpty && heard.wanted.isEmpty) {
            // What an outsider makes up may be anything (seed 990206 with disk faults): it is owed nothing.
            // Whose clock stands still numbers its messages as in its life before, and takes those for its own of now (seed 2200057).
            let isHeedful = from != outsider && !plan.has(.clockFreeze, at: step.index) && isHeedful(from, log, process)
            for (_, ids) in heard.announced {
                log.partners[from]?.announcements += 1
                if log.partners[from]?.announcements ?? 0 > settings.announcementsPerHeartbeatMaximum + 1, ids.contains(where: { id in !log.asked.contains(id) && step.says(to: from) { $0.wanted.contains(id) } }) {
                    return failGossip(step, "asks \(world.name(from)) for more than it may be told of between two heartbeats")
                }
                log.asked.formUnion(ids)
                guard isHeedful, log.partners[from]?.announcements ?? 0 <= settings.announcementsPerHeartbeatMaximum, ids.count < settings.idsPerAnnouncementMaximum / 20,
                    ids.contains(where: { id in !log.seen.contains(id) && !step.says(to: from) { $0.wanted.contains(id) } })
                else { continue }
                return failGossip(step, "does not ask \(world.name(from)) for what it has been told of and has not seen")
            }
            for id in Set(heard.wanted) {
                let count = step.said.reduce(0) { sum, said in said.to == from ? sum + said.all.messages.count { $0.id == id } : sum }
                guard count > 0 else { continue }
                log.partners[from]?.given[id, default: 0] += count
                guard log.partners[from]?.given[id] ?? 0 > settings.retransmissionsMaximum + 1 else { continue }
                return failGossip(step, "gives \(world.name(from)) the same message more often than \(settings.retransmissionsMaximum) times")
            }
            // Whoever asks for the same again and again has had it often enough, and a new connection does not change that (seed 980107).
            if isHeedful, let partner = log.partners[from], step.now - partner.toldAt < settings.heartbeatInterval,
                heard.wanted.contains(where: { id in partner.told.contains(id) && log.partners[from]?.given[id] ?? 0 < settings.retransmissionsMaximum && !step.says(to: from) { $0.messages.contains { $0.id == id } } }) {
                return failGossip(step, "does not give \(world.name(from)) what it has told it of")
            }
        }
        guard !step.isDrain else { return }
        for (other, said) in step.said where !said.wanted.isEmpty {
            log.partners[other]?.askedFor += said.wanted.count
            guard options.limits.gossipWindow == 0, let count = log.partners[other]?.askedFor, count > settings.idsPerAnnouncementMaximum else { continue }
            return failGossip(step, "asks \(world.name(other)) for \(count) messages between two heartbeats")
        }
        for (other, said) in step.said where !said.announced.isEmpty {
            guard var partner = log.partners[other] else { continue }
            if partner.toldAt != step.now { (partner.told, partner.toldAt) = ([], step.now) }
            for (topic, ids) in said.announced {
                partner.told.formUnion(ids)
                guard mesh(topic, log, process).contains(other) else { continue }
                return failGossip(step, "announces to \(world.name(other)), who is in its mesh, what that has been told")
            }
            log.partners[other] = partner
        }
    }

    /// Who comes into a mesh has been asked or has asked, and who goes is told or has gone; nobody is grafted who is to be left alone (GS-23 to 27).
    func judgeMesh(_ log: inout GossipLog, _ step: GossipStep, _ process: Process, _ isHeartbeat: Bool) {
        let settings = process.peer.settings.gossip
        for topic in 0..<Run.gossipTopicCount {
            let before = log.mesh[topic], after = mesh(topic, log, process)
            log.mesh[topic] = after
            oracles.judged += 1
            func isLeftAlone(_ other: Int) -> Bool { log.partners[other]?.backOff[topic].map { $0 > step.now } ?? false }
            func isPruned(by other: Int) -> Bool { step.hears(from: other) { $0.prunes.contains { $0.topic == topic } } }
            for other in after {
                guard log.partners[other]?.isConnected == true else { return failGossip(step, "keeps \(world.name(other)) in a mesh, to which it is not connected") }
                let isAsked = step.hears(from: other) { $0.grafts.contains(topic) }, asks = step.says(to: other) { $0.grafts.contains(topic) }
                if !before.contains(other) {
                    guard isAsked || asks || !isHeedful(other, log, process) else { return failGossip(step, "takes \(world.name(other)) into a mesh, and does not tell it") }
                    if isAsked, !asks, isLeftAlone(other) { return failGossip(step, "takes \(world.name(other)) into a mesh, which it has just sent away") }
                }
                guard !isAsked, !asks, isPruned(by: other) || step.hears(from: other, { $0.unsubscribed.contains(topic) && !$0.subscribed.contains(topic) }) else { continue }
                return failGossip(step, "keeps \(world.name(other)) in a mesh that it has left")
            }
            for other in before where !after.contains(other) && log.partners[other]?.isConnected == true && step.gone != other {
                if isPruned(by: other) || step.hears(from: other, { $0.unsubscribed.contains(topic) }) { continue }
                let isTold = step.says(to: other) { $0.prunes.contains { $0.topic == topic } }
                guard log.partners[other]?.isOpen == true, isHeedful(other, log, process), !isTold else {
                    // It may or may not leave it alone from now on: that does not show.
                    if !isTold { log.partners[other]?.doubt[topic] = step.now + settings.pruneBackOff }
                    continue
                }
                return failGossip(step, "drops \(world.name(other)) from a mesh, and does not tell it")
            }
            // Before what is said now counts: who is refused is sent away with it.
            if let from = step.from, let heard = step.heard, heard.grafts.contains(topic), !after.contains(from), !isPruned(by: from),
                before.count < 12 * settings.meshFactor || log.partners[from]?.isOutbound == true, !isLeftAlone(from),
                log.partners[from]?.doubt[topic] ?? step.now <= step.now, process.machine.isReady {
                return failGossip(step, "does not take \(world.name(from)) into a mesh, who may come")
            }
            for (other, said) in step.said where !step.isDrain {
                if said.grafts.contains(topic), isLeftAlone(other) { return failGossip(step, "grafts \(world.name(other)), which is to be left alone for a while") }
                for prune in said.prunes where prune.topic == topic { leaveAlone(other, topic, prune.seconds, &log, step, settings) }
            }
            if let from = step.from, let heard = step.heard {
                for prune in heard.prunes where prune.topic == topic { leaveAlone(from, topic, prune.seconds, &log, step, settings) }
                if heard.grafts.contains(topic), !after.contains(from) { leaveAlone(from, topic, nil, &log, step, settings) }
                if heard.unsubscribed.contains(topic) { log.partners[from]?.topics.remove(topic) }
                if heard.subscribed.contains(topic) { log.partners[from]?.topics.insert(topic) }
            }
            if isHeartbeat { judgeTended(topic, before.count, log, step, process) }
        }
    }

    private func leaveAlone(_ other: Int, _ topic: Int, _ seconds: UInt64?, _ log: inout GossipLog, _ step: GossipStep, _ settings: Gossip.Settings) {
        let asked = seconds.map { Span.seconds(Int64(clamping: min($0, 1 << 30))) } ?? settings.pruneBackOff
        let until = step.now + min(asked, settings.backOffMaximum), last = log.partners[other]?.backOff[topic] ?? until
        log.know(other)
        log.partners[other]?.backOff[topic] = max(until, last)
    }

    /// GS-25: a mesh that is full is thinned, one that is too thin takes in whoever may come, and others some whom the peer has dialled itself:
    /// who has been dialled by all of its mesh may have been surrounded.
    func judgeTended(_ topic: Int, _ before: Int, _ log: GossipLog, _ step: GossipStep, _ process: Process) {
        let settings = process.peer.settings.gossip, mesh = log.mesh[topic], most = 12 * settings.meshFactor
        // Some that it chooses itself may come on top of a mesh that is nearly full (seeds 700180, 2500025): until the next heartbeat.
        if before >= most, mesh.count >= most { return failGossip(step, "has \(mesh.count) members in a mesh, which is its upper bound, and sends none of them away") }
        let isThin = mesh.count < 5 * settings.meshFactor
        let isOthers = (5 * settings.meshFactor..<most).contains(before) && mesh.count { log.partners[$0]?.isOutbound == true } < 2 * settings.meshFactor
        guard isThin || isOthers else { return }
        let left = log.partners.indices.first { other in
            guard let partner = log.partners[other], !mesh.contains(other) else { return false }
            return partner.isConnected && partner.isOpen && partner.topics.contains(topic) && (isThin || partner.isOutbound)
                && max(partner.backOff[topic] ?? step.now, partner.doubt[topic] ?? step.now) <= step.now
        }
        if let left { failGossip(step, "has \(mesh.count) members in a mesh, and does not take in \(world.name(left)), who is near and may come") }
    }

    /// GS-26: some of those who are not in the mesh hear what there is.
    func judgeHeartbeat(_ news: Set<Int>, _ log: inout GossipLog, _ step: GossipStep, _ process: Process) {
        for topic in news.sorted() {
            let others = log.partners.indices.filter { log.partners[$0]?.topics.contains(topic) == true && !log.mesh[topic].contains($0) }
            guard !others.isEmpty, others.allSatisfy({ isHeedful($0, log, process) }) else { continue }
            let told = others.count { other in step.says(to: other) { $0.announced.contains { $0.topic == topic } } }
            oracles.judged += 1
            if told < min(others.count, 6 * process.peer.settings.gossip.meshFactor) {
                failGossip(step, "has news for those who are not in its mesh, and tells \(told) of \(others.count)")
            }
        }
        log.asked = []
        for other in log.partners.indices {
            log.partners[other]?.announcements = 0
            log.partners[other]?.askedFor = 0
        }
    }
}
