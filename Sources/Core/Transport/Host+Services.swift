// What every libp2p host answers: identify, identify push, ping. IDF-01..12, PING-01, HOST-01.

import Kernel
import Multiformats
import Seams

/// A stream of the host itself.
struct Service: Sendable {
    enum Kind: Hashable, Sendable {
        /// We ask who the other side is; it asks us.
        case asking, answering
        /// We tell that something has changed; it tells us.
        case pushing, hearing
        case ping
    }

    static let pingProtocolID = "/ipfs/ping/1.0.0"
    static let pingBytes = 32
    /// After how many refusals in a row the pause before the next push grows no more.
    /// In doublings of `pushInterval`.
    static let longestPause = 3
    static let protocols = [IdentifyMessage.protocolID, IdentifyMessage.pushProtocolID, pingProtocolID]

    let kind: Kind
    var buffer: Bytes = []
    var deadline: Instant
}

extension Host {
    // MARK: Starting

    mutating func askIdentity(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        openService(socket, .asking, IdentifyMessage.protocolID, [], now, &effects)
    }

    /// Tells what has changed since the other side was told last, if it hears pushes at all.
    mutating func push(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard let link = links[socket], let peer = link.peer, let told = link.toldVersion, told < identityVersion,
            peers[peer]?.introduction?.protocols.contains(IdentifyMessage.pushProtocolID) == true
        else { return }
        links[socket]?.toldVersion = identityVersion
        openService(socket, .pushing, IdentifyMessage.pushProtocolID, ownIdentity(socket, now).wire, now, &effects)
    }

    private mutating func openService(
        _ socket: SocketID, _ kind: Service.Kind, _ name: String, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]
    ) {
        guard count(kind, sharing: socket) < settings.resources.identifyStreamsPerPeer else { return onRefused(kind, socket, now, &effects) }
        var substream: SubstreamID?
        let out = links[socket]?.run { substream = $0.open([name], known: true, now: now, effects: &$1) }
        guard let substream else { return onRefused(kind, socket, now, &effects) }
        links[socket]?.services[substream] = Service(kind: kind, deadline: now.monotonic + settings.identifyTimeout)
        carryOut(socket, out ?? [], now, &effects)
        run(socket, now, &effects) {
            $0.send(substream, bytes, now: now, effects: &$1)
            $0.closeWrite(substream, now: now, effects: &$1)
        }
    }

    mutating func onServiceStream(
        _ socket: SocketID, _ substream: SubstreamID, _ name: String, _ now: Now, _ effects: inout [Effect]
    ) {
        let kind: Service.Kind = switch name {
        case IdentifyMessage.protocolID: .answering
        case IdentifyMessage.pushProtocolID: .hearing
        default: .ping
        }
        let limit = kind == .ping ? settings.resources.pingStreamsPerPeer : settings.resources.identifyStreamsPerPeer
        guard count(kind, sharing: socket) < limit else {
            return run(socket, now, &effects) {
                $0.reset(substream, code: ResetCode.resourceLimit, now: now, effects: &$1)
            }
        }
        if kind == .hearing, let remote = links[socket]?.observed, !remote.isLoopback,
            !pushes.allows(remote.network(ip4: 24, ip6: 56) ?? 0, now)
        {
            return run(socket, now, &effects) { $0.reset(substream, code: ResetCode.rateLimited, now: now, effects: &$1) }
        }
        let timeout = kind == .ping ? settings.pingIdleTimeout : settings.identifyTimeout
        links[socket]?.services[substream] = Service(kind: kind, deadline: now.monotonic + timeout)
        if kind != .answering { return }
        links[socket]?.toldVersion = identityVersion
        let bytes = ownIdentity(socket, now).wire
        run(socket, now, &effects) {
            $0.send(substream, bytes, now: now, effects: &$1)
            $0.closeWrite(substream, now: now, effects: &$1)
        }
    }

    /// Over all connections with that peer.
    private func count(_ kind: Service.Kind, sharing socket: SocketID) -> Int {
        let all = links[socket]?.peer.flatMap { peers[$0]?.links } ?? []
        return all.reduce(0) { sum, other in sum + (links[other]?.services.count { $0.value.kind == kind } ?? 0) }
    }

    // MARK: Running

    mutating func onServiceBytes(
        _ socket: SocketID, _ substream: SubstreamID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]
    ) {
        guard var service = links[socket]?.services[substream] else { return }
        switch service.kind {
        case .asking, .hearing:
            service.buffer += bytes
            guard service.buffer.count <= IdentifyMessage.totalBytesLimit else {
                return cutService(socket, substream, now, &effects)
            }
            links[socket]?.services[substream] = service
        case .ping:
            service.buffer += bytes
            let whole = service.buffer.count / Service.pingBytes * Service.pingBytes
            let echo = Bytes(service.buffer.prefix(whole))
            service.buffer.removeFirst(whole)
            if whole > 0 {
                service.deadline = now.monotonic + settings.pingIdleTimeout
                note(.debug, "ping from \(links[socket]?.peer.map(\.description) ?? "nobody") answered", &effects)
            }
            links[socket]?.services[substream] = service
            run(socket, now, &effects) { $0.send(substream, echo, now: now, effects: &$1) }
        case .answering, .pushing: break  // nothing is asked
        }
    }

    mutating func onServiceClosed(
        _ socket: SocketID, _ substream: SubstreamID, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let service = links[socket]?.services.remove(substream) else { return }
        switch service.kind {
        case .asking:
            links[socket]?.refusals = 0
            heard(socket, service.buffer, now, &effects)
        case .hearing:
            run(socket, now, &effects) { $0.closeWrite(substream, now: now, effects: &$1) }
            heard(socket, service.buffer, now, &effects)
        case .ping: run(socket, now, &effects) { $0.closeWrite(substream, now: now, effects: &$1) }
        case .pushing: links[socket]?.refusals = 0
        case .answering: break
        }
    }

    /// A service's stream ended badly.
    mutating func endService(
        _ socket: SocketID, _ substream: SubstreamID, _ now: Now, _ effects: inout [Effect]
    ) {
        guard let service = links[socket]?.services.remove(substream) else { return }
        onRefused(service.kind, socket, now, &effects)
    }

    /// Who hears too many pushes, or has too many streams, refuses one, and a question as well: what has changed is told later, and who it is
    /// asked again, more and more seldom. On a connection on which it was not asked nobody would tell it what changes (drill of seed 2564).
    private mutating func onRefused(_ kind: Service.Kind, _ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        switch kind {
        case .asking:
            links[socket]?.isUnanswered = true
            introduceUnknown(socket, now, &effects)
        case .pushing: links[socket]?.toldVersion = identityVersion - 1
        case .answering, .hearing, .ping: return
        }
        guard let refusals = links[socket]?.refusals else { return }
        links[socket]?.refusals += 1
        links[socket]?.retryAt = now.monotonic + .nanoseconds(settings.pushInterval.nanoseconds << min(refusals, Service.longestPause))
    }

    mutating func retry(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard let link = links[socket], let at = link.retryAt, at <= now.monotonic else { return }
        links[socket]?.retryAt = nil
        links[socket]?.isUnanswered = false
        if link.isUnanswered { askIdentity(socket, now, &effects) }
        push(socket, now, &effects)
    }

    private mutating func cutService(
        _ socket: SocketID, _ substream: SubstreamID, _ now: Now, _ effects: inout [Effect]
    ) {
        run(socket, now, &effects) { $0.reset(substream, now: now, effects: &$1) }
        endService(socket, substream, now, &effects)
    }

    mutating func expireServices(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard let services = links[socket]?.services else { return }
        for (substream, service) in services where service.deadline <= now.monotonic {
            cutService(socket, substream, now, &effects)
        }
    }

    // MARK: What is told

    private mutating func ownIdentity(_ socket: SocketID, _ now: Now) -> IdentifyMessage {
        let remote = links[socket]?.observed
        // Loopback addresses mean something on the same machine only (IDF-06).
        let addresses = Host.trimmed(advertised.filter { !$0.isLoopback || remote?.isLoopback == true })
        recordSequence = max(recordSequence + 1, UInt64(max(0, now.wall.unixNanoseconds)))
        var message = IdentifyMessage()
        message.publicKey = key.publicKey.protobuf
        message.listenAddresses = addresses
        message.protocols = protocols
        message.observedAddress = remote
        message.protocolVersion = settings.protocolVersion
        message.agentVersion = settings.agent
        message.signedPeerRecord = PeerRecord(peer: me, sequence: recordSequence, addresses: addresses).sealed(by: key)
        return message
    }

    /// So many that the message stays small: those that can be reached from far away (IDF-05).
    private static func trimmed(_ addresses: [Multiaddr]) -> [Multiaddr] {
        var left = IdentifyMessage.ownAddressesBytesLimit
        guard addresses.reduce(0, { $0 + $1.bytes.count }) > left else { return addresses }
        var kept: Set<Multiaddr> = []
        for reach in [AddressReach.global, .local, .loopback] {
            for address in addresses where AddressReach(address) == reach && address.bytes.count <= left {
                left -= address.bytes.count
                kept.insert(address)
            }
        }
        return addresses.filter(kept.contains)
    }

    /// A peer's message about itself has come in full. What it says replaces what was known (IDF-02).
    private mutating func heard(_ socket: SocketID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        guard let link = links[socket], let peer = link.peer else { return }
        var message: IdentifyMessage
        do { message = try IdentifyMessage(wire: bytes) } catch {
            note(.debug, "\(peer): \(error.reason)", &effects)
            return introduceUnknown(socket, now, &effects)
        }
        if let shown = message.publicKey, (try? PublicKey(protobuf: shown))?.peerID != peer {
            note(.warning, "\(peer) tells a public key that is not its own", &effects)
        }
        keepRecord(of: peer, &message)
        let addresses = message.usableAddresses(of: peer, seenAt: link.observed, limit: settings.addressesPerPeerLimit)
        learn(peer, addresses)
        if let observed = message.observedAddress { observe(observed, over: socket, now, &effects) }
        introduce(
            peer,
            PeerIntroduction(
                protocols: message.protocols, listenAddresses: addresses, agent: message.agentVersion ?? "",
                signedRecord: peers[peer]?.record?.envelope),
            now, &effects)
    }

    /// A record that was overtaken on its way gives way to the newer one.
    private mutating func keepRecord(of peer: PeerID, _ message: inout IdentifyMessage) {
        guard let envelope = message.signedPeerRecord, let record = try? PeerRecord(sealed: envelope, by: peer) else { return }
        if let kept = peers[peer]?.record, kept.record.sequence > record.sequence {
            message.signedPeerRecord = kept.envelope
        } else {
            peers[peer]?.record = (record, envelope)
        }
    }

    /// A peer that does not say what it speaks can still be asked for it, stream by stream (IDF-11).
    private mutating func introduceUnknown(_ socket: SocketID, _ now: Now, _ effects: inout [Effect]) {
        guard let peer = links[socket]?.peer, peers[peer]?.introduction == nil else { return }
        introduce(peer, PeerIntroduction(protocols: []), now, &effects)
    }

    private mutating func introduce(
        _ peer: PeerID, _ introduction: PeerIntroduction, _ now: Now, _ effects: inout [Effect]
    ) {
        // A record that was signed anew says nothing new by itself.
        var known = peers[peer]?.introduction
        known?.signedRecord = introduction.signedRecord
        guard peers[peer] != nil, known != introduction else { return }
        peers[peer]?.introduction = introduction
        let agent = introduction.agent.isEmpty ? "no agent" : printable(introduction.agent)
        let protocols = printable(introduction.protocols.joined(separator: " "), limit: 2000)
        note(.debug, "identified \(peer): \(agent), speaks \(protocols)", &effects)
        effects.append(.connection(.introduced(peer, introduction)))
        // What has changed while it was not known whether it hears pushes.
        for socket in peers[peer]?.links ?? [] { push(socket, now, &effects) }
    }
}
