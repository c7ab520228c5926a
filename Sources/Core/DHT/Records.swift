// What a peer of the DHT keeps for others, within bounds: who provides what, and values that prove themselves.
// spec/wire-pubsub-dht-bitswap.md DHT-09, DHT-10.

import Kernel
import Multiformats

package struct RecordKey: Comparable, Hashable, Sendable {
    package let bytes: Bytes
    package init(_ bytes: Bytes) { self.bytes = bytes }
    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
}

/// Who has said that it has what. The oldest make room, those of a peer that says much before those of others.
struct ProviderRecords: Sendable {
    private struct Record: Sendable {
        let number: UInt64
        let until: Instant
        let addresses: [Multiaddr]
        let addressesUntil: Instant
    }

    private let settings: DHTSettings
    private var records = SortedMap<RecordKey, SortedMap<PeerID, Record>>()
    /// All live equally long: in the order of their end.
    private var byAge = SortedMap<UInt64, (key: RecordKey, peer: PeerID, until: Instant)>()
    private var ofPeer = SortedMap<PeerID, SortedSet<UInt64>>()
    private var number: UInt64 = 0

    init(settings: DHTSettings) { self.settings = settings }
    var count: Int { byAge.count }
    func count(of peer: PeerID) -> Int { ofPeer[peer]?.count ?? 0 }

    mutating func add(_ key: RecordKey, _ peer: PeerID, _ addresses: [Multiaddr], now: Instant) {
        expire(now)
        if let old = records[key]?[peer] { remove(old.number) }
        if count(of: peer) >= settings.providersPerPeerMax, let oldest = ofPeer[peer]?.first { remove(oldest) }
        if count >= settings.providersMax, let oldest = byAge.first?.key { remove(oldest) }
        number += 1
        let until = now + settings.providerLifetime
        records[key, default: SortedMap()][peer] = Record(
            number: number, until: until, addresses: addresses, addressesUntil: now + settings.providerAddressLifetime)
        byAge[number] = (key, peer, until)
        ofPeer[peer, default: SortedSet()].insert(number)
    }

    mutating func providers(of key: RecordKey, now: Instant) -> [(peer: PeerID, addresses: [Multiaddr])] {
        expire(now)
        return (records[key] ?? SortedMap()).map { peer, record in
            (peer, record.addressesUntil > now ? record.addresses : [])
        }
    }

    mutating func expire(_ now: Instant) {
        while let (oldest, place) = byAge.first, place.until <= now { remove(oldest) }
    }

    private mutating func remove(_ number: UInt64) {
        guard let place = byAge.remove(number) else { return }
        records[place.key]?.remove(place.peer)
        if records[place.key]?.isEmpty == true { records.remove(place.key) }
        ofPeer[place.peer]?.remove(number)
        if ofPeer[place.peer]?.isEmpty == true { ofPeer.remove(place.peer) }
    }

    func checkInvariants() {
        invariant(count <= settings.providersMax, "\(count) records of providers")
        invariant(count == ofPeer.reduce(0) { $0 + $1.value.count }, "records of providers that belong to nobody")
        invariant(count == records.reduce(0) { $0 + $1.value.count }, "records of providers without an age")
    }
}

/// Values by key. Each proves itself, so that whose they are does not matter. The oldest make room, those of a peer that puts much
/// before those of others.
struct ValueRecords: Sendable {
    private struct Record: Sendable {
        let number: UInt64
        let from: PeerID
        let value: Bytes
        let received: WallTime
        let until: Instant
    }

    private let settings: DHTSettings
    private var records = SortedMap<RecordKey, Record>()
    private var byAge = SortedMap<UInt64, RecordKey>()
    private var ofPeer = SortedMap<PeerID, SortedSet<UInt64>>()
    private var number: UInt64 = 0

    init(settings: DHTSettings) { self.settings = settings }
    var count: Int { records.count }

    private static let publicKeys = Bytes("/pk/".utf8), names = Bytes("/ipns/".utf8)

    /// Throws why nobody is to believe it: below `/pk/` stands the hash of the public key that the value is, below `/ipns/` that of
    /// the key that has signed it.
    static func check(_ key: Bytes, _ value: Bytes, now: WallTime) throws(DHTFault) {
        let isName = key.starts(with: names)
        guard isName || key.starts(with: publicKeys) else { throw .badRecord("only what is below /pk/ and /ipns/ can be validated") }
        guard let peer = try? PeerID(key.dropFirst(isName ? names.count : publicKeys.count)) else { throw .badRecord("the key names no peer") }
        if isName { return try IPNSRecord(value).check(name: peer, now: now) }
        guard let shown = try? PublicKey(protobuf: value) else { throw .badRecord("the value is no public key") }
        guard shown.peerID == peer else { throw .badRecord("the public key is another's") }
    }

    /// Of two that are both to be believed.
    static func replaces(_ key: Bytes, _ new: Bytes, _ old: Bytes) -> Bool { !key.starts(with: names) || IPNSRecord.replaces(new, old) }

    private static func isSound(_ key: Bytes, _ value: Bytes, now: WallTime) -> Bool {
        do throws(DHTFault) { try check(key, value, now: now) } catch { return false }
        return true
    }

    mutating func put(_ key: Bytes, _ value: Bytes, from peer: PeerID, now: Now) throws(DHTFault) {
        guard value.count <= settings.valueBytesMax else { throw .badRecord("a value of \(value.count) bytes") }
        try ValueRecords.check(key, value, now: now.wall)
        expire(now.monotonic)
        let place = RecordKey(key)
        if let old = records[place], ValueRecords.isSound(key, old.value, now: now.wall), !ValueRecords.replaces(key, value, old.value) {
            throw .badRecord("older than the one that is here")
        }
        remove(place)
        if let mine = ofPeer[peer], mine.count >= settings.valuesPerPeerMax, let oldest = mine.first, let place = byAge[oldest] { remove(place) }
        if records.count >= settings.valuesMax, let oldest = byAge.first?.value { remove(oldest) }
        number += 1
        records[place] = Record(
            number: number, from: peer, value: value, received: now.wall, until: now.monotonic + settings.valueLifetime)
        byAge[number] = place
        ofPeer[peer, default: SortedSet()].insert(number)
    }

    mutating func value(of key: Bytes, now: Instant) -> (value: Bytes, received: WallTime)? {
        expire(now)
        return records[RecordKey(key)].map { ($0.value, $0.received) }
    }

    mutating func expire(_ now: Instant) {
        while let key = byAge.first?.value, let record = records[key], record.until <= now { remove(key) }
    }

    private mutating func remove(_ key: RecordKey) {
        guard let gone = records.remove(key) else { return }
        byAge.remove(gone.number)
        ofPeer[gone.from]?.remove(gone.number)
        if ofPeer[gone.from]?.isEmpty == true { ofPeer.remove(gone.from) }
    }

    func checkInvariants() {
        invariant(count <= settings.valuesMax, "\(count) values")
        invariant(count == byAge.count && count == ofPeer.reduce(0) { $0 + $1.value.count }, "values that belong to nobody")
    }
}
