// The Kademlia DHT as a machine: it tells others where peers are, and who has said to provide what, and it looks for peers
// itself. There are two: that of the local network is served by everyone in it; that of the wide one by those whom others can
// reach, as AutoNAT finds out, and the rest are its clients. spec/wire-pubsub-dht-bitswap.md part 2.

import Encoding
import Kernel
import Multiformats
import Seams

package struct DHT: Sendable {
    /// DHT-01: the one of peers that reach each other at private addresses, and the one of those at public ones.
    package enum Network: Sendable { case local, wide }
    package static let protocols = ["/ipfs/lan/kad/1.0.0"]
    package static let wideProtocols = ["/ipfs/kad/1.0.0"]

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        case disk(DiskEffect)
        /// At these addresses, or others that are known. Answered by `onConnected` or `onDialFailed`.
        case dial(PeerID, [Multiaddr])
        /// A peer that was looked for is connected, or is not to be had.
        case found(PeerID)
        case notFound(PeerID)
        case log(LogLine)
    }
    /// Where a peer is said to be; of ourselves, where we listen.
    package typealias Addresses = (PeerID) -> [Multiaddr]

    /// Who is connected.
    struct Contact: Sendable {
        let address: Multiaddr
        /// Whether it serves the DHT; nil until it has told.
        var serves: Bool?
        /// Its addresses are of this network.
        var belongs = false
    }
    /// When something is to happen to a stream: another's that is idle, or ours that has no answer.
    struct Due: Comparable, Sendable {
        let at: Instant
        let stream: StreamID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.stream) < (b.at, b.stream) }
    }

    let settings: DHTSettings
    let network: Network
    let me: PeerID
    private let owner: UInt8
    private(set) var serves: Bool
    var streamIDs: StreamIDs
    var contacts = SortedMap<PeerID, Contact>()
    package internal(set) var table: RoutingTable
    var dues = SortedSet<Due>()

    // What others ask. See DHT+Serving.
    var serving: [StreamID: Serving] = [:]
    var servedStreams = SortedMap<PeerID, SortedSet<StreamID>>()
    var records: Records

    // What we ask. See DHT+Asking.
    var lines = SortedMap<PeerID, Line>()
    var outbound: [StreamID: PeerID] = [:]
    /// Peers of which we wait to see whether they answer.
    var checks = SortedSet<PeerID>()

    // Whom we look for. See DHT+Lookups.
    var lookups = SortedMap<UInt64, Lookup>()
    package internal(set) var lookupNumber: UInt64 = 0
    var dialling = SortedMap<PeerID, Dialling>()
    var unreachable = SortedMap<PeerID, Instant>()
    var missing = SortedMap<PeerID, Instant>()
    var refresh: Refresh?
    var refreshedAt: Instant?
    var refreshAt: Instant?
    var lowAt: Instant?

    package init(settings: DHTSettings = DHTSettings(), network: Network = .local, me: PeerID, owner: UInt8) {
        self.settings = settings
        self.network = network
        self.me = me
        self.owner = owner
        serves = network == .local
        streamIDs = StreamIDs(owner: owner)
        table = RoutingTable(me: me, bucketSize: settings.bucketSize)
        if network == .wide { table.groupMax = (settings.groupMax, settings.groupPerBucketMax) }
        records = Records(settings: settings)
    }

    /// For tests and invariants.
    package var servedStreamCount: Int { serving.count }
    package var recordCount: Int { records.count }
    package var checkCount: Int { checks.count }
    package var lookupCount: Int { lookups.count }
    package var dialCount: Int { dialling.count }
    /// The search for that key, if one is under way: which it is, and whether it asks those only who are around the closest.
    package func search(for key: Bytes) -> (number: UInt64, isFinishing: Bool)? {
        lookups.first { $0.value.key == key }.map { ($0.key, $0.value.isFinishing) }
    }

    var protocols: [String] { network == .local ? DHT.protocols : DHT.wideProtocols }
    package func isLooking(for peer: PeerID) -> Bool { lookups.contains { $0.value.aim == .peer(peer) } }

    // MARK: Serving

    /// Whether others are answered: of the wide network, while it can reach us (DHT-02).
    package mutating func serve(_ isServing: Bool, effects: inout [Effect]) {
        serves = isServing
        guard !isServing else { return }
        for stream in servedStreams.values.flatMap(\.elements) {
            forget(served: stream)
            effects.append(.stream(.reset(stream)))
        }
    }
    /// Both networks' share what they keep: one has it while it works.
    package mutating func swapRecords(with other: inout DHT) { swap(&records, &other.records) }

    // MARK: Files

    /// Reads back what was kept for others in the life before, and keeps it on the disk from now on; without this it is in memory alone.
    package mutating func open(_ reader: any DiskReader, now: Now, effects: inout [Effect]) {
        records.open(owner: owner, reader: reader, now: now, effects: &effects)
    }
    package mutating func onDisk(_ event: DiskEvent, now: Now, effects: inout [Effect]) {
        records.onDisk(event, now: now.monotonic, effects: &effects)
    }

    // MARK: Peers

    package mutating func onConnected(_ peer: PeerID, address: Multiaddr, now: Now, effects: inout [Effect]) {
        contacts[peer] = Contact(address: address)
        unreachable.remove(peer)
        missing.remove(peer)
        onDialled(peer, succeeded: true, now, &effects)
        for (number, lookup) in lookups where lookup.aim == .peer(peer) { end(number, now, &effects) }
    }

    package mutating func onDialFailed(_ peer: PeerID, now: Now, effects: inout [Effect]) {
        if contacts[peer] == nil { onDialled(peer, succeeded: false, now, &effects) }
    }

    /// We are somewhere else.
    package mutating func onListening(now: Now) {
        if table.count > 0 { refreshSoon(now) }
    }

    /// DHT-12: who lists the protocol, and is near, is asked whether it answers.
    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction, now: Now, effects: inout [Effect]) {
        guard let contact = contacts[peer] else { return }
        let serves = introduction.protocols.contains(where: protocols.contains)
        let belongs = network == .local ? contact.address.isPrivate : introduction.listenAddresses.contains(where: \.isPublic)
        contacts[peer]?.serves = serves
        contacts[peer]?.belongs = belongs
        guard serves else { table.remove(peer); return }
        lowAt = lowAt ?? now.monotonic + settings.lowInterval
        check(peer, now, &effects)
    }

    package mutating func onDisconnected(_ peer: PeerID, now: Now, effects: inout [Effect]) {
        contacts.remove(peer)
        for stream in servedStreams[peer]?.elements ?? [] { forget(served: stream) }
        hangUp(on: peer, now, &effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? {
        var next = earliest(earliest(dues.first?.at, records.nextDeadline), earliest(refreshAt, lowAt))
        lookups.each { next = earliest(next, $1.until) }
        dialling.each { next = earliest(next, $1.until) }
        return next
    }

    package mutating func onTime(now: Now, choices: inout Choices, effects: inout [Effect]) {
        // First, so that what else has run out of time, after a sleep say, moves no search on that is over.
        for (number, lookup) in lookups where lookup.until <= now.monotonic { end(number, now, &effects) }
        while let due = dues.first, due.at <= now.monotonic {
            dues.remove(due)
            if serving[due.stream] != nil {
                forget(served: due.stream)
                effects.append(.stream(.reset(due.stream)))
            } else { onSilence(due.stream, now, &effects) }
        }
        for (peer, dial) in dialling where dial.until <= now.monotonic { onDialled(peer, succeeded: false, now, &effects) }
        if let at = refreshAt, at <= now.monotonic { startRefresh(now, &choices, &effects) }
        if let at = lowAt, at <= now.monotonic { fillLow(now, &effects) }
        records.onTime(now: now, effects: &effects)
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, addresses: Addresses, now: Now, effects: inout [Effect]) {
        let stream = event.stream
        if let peer = outbound[stream] { return onAsking(event, stream, peer, now, &effects) }
        switch event {
        case .incoming(_, let peer, _): onIncoming(stream, peer, now, &effects)
        case .received(_, let bytes): onQuestions(stream, bytes, addresses, now, &effects)
        case .drained:
            serving[stream]?.untakenBytes = 0
            if serving[stream]?.isRemoteEnded == true { close(served: stream, &effects) }
        case .remoteClosed:
            serving[stream]?.isRemoteEnded = true
            if serving[stream]?.untakenBytes == 0 { close(served: stream, &effects) }
        case .reset, .failed: forget(served: stream)
        case .opened: break
        }
    }

    /// What the connections to a peer are worth when there are too many; nil for one that is to be kept: those farthest off are few, and
    /// lead to half and to a quarter of all (CM-02).
    package func worth(of peer: PeerID) -> Int? {
        guard table.contains(peer) else { return 0 }
        return table.bucket(of: peer) < DHT.keptBuckets ? nil : 5
    }
    private static let keptBuckets = 2

    package func checkInvariants() {
        table.checkInvariants()
        records.checkInvariants()
        invariant(checks.count <= settings.checksMax, "\(checks.count) peers are checked at once")
        invariant(serving.count == servedStreams.reduce(0) { $0 + $1.value.count }, "streams that are nobody's")
        invariant(servedStreams.allSatisfy { $0.value.count <= settings.streamsPerPeerMax }, "too many streams of a peer")
        invariant(!table.contains(me), "it knows itself")
        invariant(dialling.count <= settings.dialsMax, "\(dialling.count) dials at once")
        invariant(lookups.count <= settings.lookupsMax + 1, "\(lookups.count) searches at once")
        lines.each { _, line in invariant(line.asked != nil || line.questions.isEmpty, "questions that wait for no answer") }
        invariant(checks.count == askedCount(.check), "peers that are checked are not asked")
        lookups.each { number, lookup in
            let dials = dialling.reduce(0) { $0 + $1.value.lookups.count { $0 == number } }
            invariant(lookup.underWay == askedCount(.lookup(number)) + dials, "a search waits for what nobody was asked")
            invariant(lookup.asked.count <= settings.questionsMax && lookup.waiting.count <= settings.candidatesMax, "a search without bounds")
            invariant(lookup.underWay == lookup.asked.count { $0.value.state == .underWay }, "a search that has lost count")
            invariant(!lookup.isOver(settings), "a search that has ended")
        }
    }
}
