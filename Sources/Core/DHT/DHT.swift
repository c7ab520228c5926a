// The Kademlia DHT as a machine: it tells others where peers are, and who has said to provide what, and it looks for peers
// itself. Every peer of a private network serves it. spec/wire-pubsub-dht-bitswap.md part 2.

import Encoding
import Kernel
import Multiformats
import Seams

package struct DHT: Sendable {
    /// DHT-01: of the peers that reach each other at private addresses.
    package static let protocols = ["/ipfs/lan/kad/1.0.0"]

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        case log(LogLine)
    }
    /// Where a peer is said to be; of ourselves, where we listen.
    package typealias Addresses = (PeerID) -> [Multiaddr]

    /// Who is connected.
    struct Contact: Sendable {
        let address: Multiaddr
        /// It has told that it serves the DHT.
        var serves = false
    }
    /// When something is to happen to a stream: another's that is idle, or ours that has no answer.
    struct Due: Comparable, Sendable {
        let at: Instant
        let stream: StreamID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.stream) < (b.at, b.stream) }
    }

    let settings: DHTSettings
    let me: PeerID
    var streamIDs: StreamIDs
    var contacts = SortedMap<PeerID, Contact>()
    package internal(set) var table: RoutingTable
    var dues = SortedSet<Due>()

    // What others ask. See DHT+Serving.
    var serving: [StreamID: Serving] = [:]
    var servedStreams = SortedMap<PeerID, SortedSet<StreamID>>()
    var providers: ProviderRecords
    var values: ValueRecords

    // What we ask. See DHT+Asking.
    var lines = SortedMap<PeerID, Line>()
    var outbound: [StreamID: PeerID] = [:]
    /// Peers of which we wait to see whether they answer.
    var checks = SortedSet<PeerID>()

    package init(settings: DHTSettings = DHTSettings(), me: PeerID, owner: UInt8) {
        self.settings = settings
        self.me = me
        streamIDs = StreamIDs(owner: owner)
        table = RoutingTable(me: me, bucketSize: settings.bucketSize)
        providers = ProviderRecords(settings: settings)
        values = ValueRecords(settings: settings)
    }

    /// For tests and invariants.
    package var servedStreamCount: Int { serving.count }
    package var recordCount: Int { providers.count + values.count }
    package var checkCount: Int { checks.count }

    // MARK: Peers

    package mutating func onConnected(_ peer: PeerID, address: Multiaddr) {
        contacts[peer] = Contact(address: address)
    }

    /// DHT-12: who lists the protocol, and is near, is asked whether it answers.
    package mutating func onIntroduced(_ peer: PeerID, _ introduction: PeerIntroduction, now: Now, effects: inout [Effect]) {
        guard contacts[peer] != nil else { return }
        let serves = introduction.protocols.contains(where: DHT.protocols.contains)
        contacts[peer]?.serves = serves
        if serves { check(peer, now, &effects) } else { table.remove(peer) }
    }

    package mutating func onDisconnected(_ peer: PeerID, now: Now, effects: inout [Effect]) {
        contacts.remove(peer)
        for stream in servedStreams[peer]?.elements ?? [] { forget(served: stream) }
        hangUp(on: peer, now, &effects)
    }

    // MARK: Time

    package var nextDeadline: Instant? { dues.first?.at }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        while let due = dues.first, due.at <= now.monotonic {
            dues.remove(due)
            if serving[due.stream] != nil {
                forget(served: due.stream)
                effects.append(.stream(.reset(due.stream)))
            } else { onSilence(due.stream, now, &effects) }
        }
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

    package func checkInvariants() {
        table.checkInvariants()
        providers.checkInvariants()
        invariant(checks.count <= settings.checksMax, "\(checks.count) peers are checked at once")
        invariant(serving.count == servedStreams.reduce(0) { $0 + $1.value.count }, "streams that are nobody's")
        invariant(servedStreams.allSatisfy { $0.value.count <= settings.streamsPerPeerMax }, "too many streams of a peer")
        invariant(!table.contains(me), "it knows itself")
    }
}
