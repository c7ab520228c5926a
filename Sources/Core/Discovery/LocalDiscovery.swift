// Peers of one local network find each other by multicast DNS: each asks who is there, and tells where it is.
// spec/wire-transport.md MDNS-01..07, CLU-48; DNS-SD is RFC 6763.

import Kernel
import Multiformats

package struct LocalDiscovery: Sendable {
    package enum Effect: Equatable, Sendable {
        /// To the group, on every network.
        case send(Bytes)
        case found(PeerID, [Multiaddr])
    }

    /// MDNS-02. Not libp2p's usual one: Kubo nodes of the network are not asked.
    package static let service = DNSName("_ipfs-cluster-discovery._udp.local")
    private static let enumeration = DNSName("_services._dns-sd._udp.local")
    private static let lifetime: UInt32 = 3200
    /// MDNS-03: nobody reads it.
    private static let port: UInt16 = 4001
    /// RFC 6762, section 6: what was told is not told again within a second.
    private static let answersEvery = Span.seconds(1)
    /// MDNS-06.
    private static let (firstPause, longestPause) = (Span.seconds(4), Span.seconds(60))
    /// A peer that is heard again is found again after this, in case it was forgotten meanwhile.
    private static let findsEvery = Span.minutes(1)
    private static let (peersMax, addressesMax) = (1000, 32)

    private let me: PeerID
    private let instance: DNSName
    private let host: DNSName
    private let addresses: [Multiaddr]
    private var askAt: Instant
    private var pause = LocalDiscovery.firstPause
    private var answerAt: Instant?
    private var answeredAt: Instant?
    private var found = SortedMap<PeerID, (addresses: [Multiaddr], at: Instant)>()

    /// `addresses` are those that this peer listens on; those without an IP address, and WebSocket, are not told (MDNS-05). Its name says
    /// nothing of who it is (MDNS-03).
    package init(me: PeerID, addresses: [Multiaddr], now: Now, choices: inout Choices) {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
        let name = (0..<(32 + choices.below(32))).map { _ in alphabet[choices.below(alphabet.count)] }
        instance = DNSName(labels: [name]).below(Self.service)
        host = DNSName(labels: [name]).below(DNSName("local"))
        self.me = me
        self.addresses = Array(addresses.filter { $0.ip != nil && $0.carrier != .webSocket && $0.with(peer: me).description.utf8.count <= 240 }.prefix(Self.addressesMax))
        askAt = now.monotonic
    }

    package var nextDeadline: Instant { answerAt.map { min($0, askAt) } ?? askAt }

    /// Peers that it remembers having found: for tests.
    package var knownCount: Int { found.count }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        if askAt <= now.monotonic {
            var query = DNSMessage(isResponse: false)
            query.questions = [DNSMessage.Question(name: Self.service, type: DNSMessage.Kind.ptr.rawValue)]
            effects.append(.send(query.encoded))
            askAt = now.monotonic + pause
            let next = choices.span(pause + pause / 2, pause + pause + pause / 2)
            pause = min(next, Self.longestPause)
        }
        guard let at = answerAt, at <= now.monotonic else { return }
        (answerAt, answeredAt) = (nil, now.monotonic)
        effects.append(.send(answer(lifetime: Self.lifetime)))
    }

    /// What takes back what was told: for the end.
    package var farewell: Bytes { answer(lifetime: 0) }

    /// Whatever is not understood is somebody else's: all kinds of devices speak here.
    package mutating func onPacket(_ bytes: Bytes, now: Now, effects: inout [Effect]) {
        guard let message = try? DNSMessage(decoding: bytes) else { return }
        guard message.isResponse else {
            guard !addresses.isEmpty, message.questions.contains(where: isAsked) else { return }
            answerAt = answerAt ?? max(now.monotonic, answeredAt.map { $0 + Self.answersEvery } ?? now.monotonic)
            return
        }
        var heard = SortedMap<PeerID, [Multiaddr]>()
        for record in message.answers + message.additional where record.lifetime > 0 {
            guard record.name.labels.count == 4, record.name.labels.dropFirst() == Self.service.labels[...],
                case .text(let strings) = record.data
            else { continue }
            for string in strings.prefix(Self.addressesMax) {
                guard let (peer, address) = LocalDiscovery.address(in: string), peer != me else { continue }
                heard[peer, default: []].append(address)
            }
        }
        for (peer, addresses) in heard { onFound(peer, addresses, now, &effects) }
    }

    private mutating func onFound(_ peer: PeerID, _ addresses: [Multiaddr], _ now: Now, _ effects: inout [Effect]) {
        if let last = found[peer], last.addresses == addresses, now.monotonic < last.at + Self.findsEvery { return }
        if found[peer] == nil, found.count >= Self.peersMax, let oldest = found.min(by: { $0.value.at < $1.value.at }) {
            found.remove(oldest.key)
        }
        found[peer] = (addresses, now.monotonic)
        effects.append(.found(peer, addresses))
    }

    private func isAsked(_ question: DNSMessage.Question) -> Bool {
        let type = DNSMessage.Kind(rawValue: question.type)
        switch question.name {
        case Self.service, Self.enumeration: return type == .ptr || type == .any
        case instance: return type == .txt || type == .srv || type == .any
        default: return false
        }
    }

    /// As many addresses as fit.
    private func answer(lifetime: UInt32) -> Bytes {
        var told = addresses
        while true {
            let message = answer(lifetime: lifetime, telling: told).encoded
            if message.count <= DNSMessage.bytesMax || told.isEmpty { return message }
            told.removeLast()
        }
    }

    /// MDNS-04.
    private func answer(lifetime: UInt32, telling addresses: [Multiaddr]) -> DNSMessage {
        var message = DNSMessage(isResponse: true)
        func record(_ name: DNSName, _ data: DNSMessage.Data) -> DNSMessage.Record {
            DNSMessage.Record(name: name, data: data, lifetime: lifetime)
        }
        message.answers = [record(Self.service, .pointer(instance))]
        message.additional = [
            record(instance, .service(port: Self.port, host: host)),
            record(instance, .text(addresses.map { Bytes("dnsaddr=\($0.with(peer: me))".utf8) })),
        ]
        var told: [Bytes] = []
        for ip in addresses.compactMap(\.ip) where !told.contains(ip) { told.append(ip) }
        message.additional += told.map { record(host, .address($0)) }
        return message
    }

    private static func address(in string: Bytes) -> (PeerID, Multiaddr)? {
        let prefix = Bytes("dnsaddr=".utf8)
        guard string.starts(with: prefix), let address = try? Multiaddr(text: String(decoding: string.dropFirst(prefix.count), as: UTF8.self)),
            let peer = address.trailingPeer
        else { return nil }
        let place = address.withoutPeer
        return place.ip != nil || place.isDNS ? (peer, place) : nil
    }
}
