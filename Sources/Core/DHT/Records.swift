// What a peer of the DHT keeps for others, in memory and within bounds: who provides what, and values that prove themselves.
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

/// Values by key. Only public keys are taken: they prove themselves, so that whose they are does not matter.
struct ValueRecords: Sendable {
    private struct Record: Sendable {
        let number: UInt64
        let value: Bytes
        let received: WallTime
        let until: Instant
    }

    private let settings: DHTSettings
    private var records = SortedMap<RecordKey, Record>()
    private var byAge = SortedMap<UInt64, RecordKey>()
    private var number: UInt64 = 0

    init(settings: DHTSettings) { self.settings = settings }
    var count: Int { records.count }

    private static let publicKeys = Bytes("/pk/".utf8)

    /// `/pk/` and the multihash of the public key that the value is.
    static func fault(_ key: Bytes, _ value: Bytes) -> DHTFault? {
        guard key.starts(with: publicKeys) else { return .badRecord("nothing but public keys can be validated") }
        guard let peer = try? PeerID(key.dropFirst(publicKeys.count)) else { return .badRecord("the key names no peer") }
        guard let shown = try? PublicKey(protobuf: value) else { return .badRecord("the value is no public key") }
        return shown.peerID == peer ? nil : .badRecord("the public key is another's")
    }

    mutating func put(_ key: Bytes, _ value: Bytes, now: Now) throws(DHTFault) {
        guard value.count <= settings.valueBytesMax else { throw .badRecord("a value of \(value.count) bytes") }
        if let fault = ValueRecords.fault(key, value) { throw fault }
        expire(now.monotonic)
        if let old = records.remove(RecordKey(key)) { byAge.remove(old.number) }
        if records.count >= settings.valuesMax, let (oldest, key) = byAge.first {
            byAge.remove(oldest)
            records.remove(key)
        }
        number += 1
        records[RecordKey(key)] = Record(
            number: number, value: value, received: now.wall, until: now.monotonic + settings.valueLifetime)
        byAge[number] = RecordKey(key)
    }

    mutating func value(of key: Bytes, now: Instant) -> (value: Bytes, received: WallTime)? {
        expire(now)
        return records[RecordKey(key)].map { ($0.value, $0.received) }
    }

    mutating func expire(_ now: Instant) {
        while let (oldest, key) = byAge.first, let record = records[key], record.until <= now {
            byAge.remove(oldest)
            records.remove(key)
        }
    }
}
