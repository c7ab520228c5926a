// What a peer of the DHT keeps for others, within bounds and for a while: who provides what, and values that prove themselves. All of
// it is in memory, and in files too, from which it is read back (RecordLog). spec/wire-pubsub-dht-bitswap.md DHT-09, DHT-10, DHT-17.

import Encoding
import Kernel
import Multiformats
import Seams
import Storage

struct RecordKey: Comparable, Hashable, Sendable {
    let bytes: Bytes
    init(_ bytes: Bytes) { self.bytes = bytes }
    static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
}

/// Who has said that it has what. Without a peer it stands before all of those.
struct ProviderKey: Comparable, Hashable, Sendable {
    let key: RecordKey
    let peer: PeerID?
    static func < (a: Self, b: Self) -> Bool {
        if a.key != b.key { return a.key < b.key }
        guard let (mine, its) = a.peer.flatMap({ mine in b.peer.map { (mine, $0) } }) else { return a.peer == nil && b.peer != nil }
        return mine < its
    }
}

/// Things that all are kept equally long. The oldest make room, those of a peer that says much before those of others.
struct Kept<Key: Comparable & Sendable, Value: Sendable>: Sendable {
    struct Limits: Sendable {
        let countMax: Int
        let perPeerMax: Int
        let bytesMax: Int
        let lifetime: Span
    }
    struct Entry: Sendable {
        let number: UInt64
        let from: PeerID
        let value: Value
        let bytes: Int
        let received: WallTime
        let until: Instant
    }

    let limits: Limits
    private var entries = SortedMap<Key, Entry>()
    private var byAge = SortedMap<UInt64, Key>()
    private var ofPeer = SortedMap<PeerID, SortedSet<UInt64>>()
    private var number: UInt64 = 0
    private(set) var bytes = 0

    init(_ limits: Limits) { self.limits = limits }
    var count: Int { entries.count }
    /// The oldest first.
    var inOrder: [(key: Key, entry: Entry)] { byAge.values.compactMap { key in entries[key].map { (key, $0) } } }

    func get(_ key: Key, now: Instant) -> Entry? { entries[key].flatMap { $0.until > now ? $0 : nil } }
    func first(after key: Key) -> (key: Key, value: Entry)? { entries.first(after: key) }

    /// False if its time is over.
    @discardableResult
    mutating func put(_ key: Key, _ value: Value, bytes count: Int, from peer: PeerID, received: WallTime, now: Now) -> Bool {
        expire(now.monotonic)
        // A clock that was put back makes nothing younger than it can be.
        let age = Span(nanoseconds: max(0, now.wall.unixNanoseconds &- received.unixNanoseconds))
        guard age < limits.lifetime, count <= limits.bytesMax else { return false }
        remove(key)
        if let its = ofPeer[peer], its.count >= limits.perPeerMax, let oldest = its.first, let place = byAge[oldest] { remove(place) }
        while entries.count >= limits.countMax || bytes + count > limits.bytesMax, let oldest = byAge.first?.value { remove(oldest) }
        number += 1
        entries[key] = Entry(
            number: number, from: peer, value: value, bytes: count, received: received, until: now.monotonic + (limits.lifetime - age))
        byAge[number] = key
        ofPeer[peer, default: SortedSet()].insert(number)
        bytes += count
        return true
    }

    mutating func expire(_ now: Instant) {
        while let key = byAge.first?.value, let entry = entries[key], entry.until <= now { remove(key) }
    }

    private mutating func remove(_ key: Key) {
        guard let gone = entries.remove(key) else { return }
        bytes -= gone.bytes
        byAge.remove(gone.number)
        ofPeer[gone.from]?.remove(gone.number)
        if ofPeer[gone.from]?.isEmpty == true { ofPeer.remove(gone.from) }
    }

    func checkInvariants() {
        invariant(count <= limits.countMax && bytes <= limits.bytesMax, "\(count) records of \(bytes) bytes are kept")
        invariant(count == byAge.count && count == ofPeer.reduce(0) { $0 + $1.value.count }, "records that belong to nobody")
        invariant(ofPeer.allSatisfy { $0.value.count <= limits.perPeerMax }, "too many records of a peer")
    }
}

struct Records: Sendable {
    private let settings: DHTSettings
    private var providers: Kept<ProviderKey, [Multiaddr]>
    private var values: Kept<RecordKey, Bytes>
    /// Nil: they are in memory alone.
    private var log: RecordLog?

    init(settings: DHTSettings) {
        self.settings = settings
        providers = Kept(.init(
            countMax: settings.providersMax, perPeerMax: settings.providersPerPeerMax, bytesMax: settings.providerBytesMax, lifetime: settings.providerLifetime))
        values = Kept(.init(
            countMax: settings.valuesMax, perPeerMax: settings.valuesPerPeerMax, bytesMax: settings.valuesBytesMax, lifetime: settings.valueLifetime))
    }
    var count: Int { providers.count + values.count }
    var nextDeadline: Instant? { log?.nextDeadline }

    // MARK: Providers

    mutating func addProvider(_ key: Bytes, _ peer: PeerID, _ addresses: [Multiaddr], now: Now, effects: inout [DHT.Effect]) {
        let record = StoredRecord.provider(key: key, peer: peer, addresses: addresses, received: now.wall)
        keep(record, now: now)
        write(record, now, &effects)
    }

    mutating func providers(of key: Bytes, now: Instant) -> [(peer: PeerID, addresses: [Multiaddr])] {
        providers.expire(now)
        var found: [(PeerID, [Multiaddr])] = []
        var last = ProviderKey(key: RecordKey(key), peer: nil)
        let old = settings.providerLifetime - settings.providerAddressLifetime
        while found.count < settings.providersPerAnswerMax, let (place, entry) = providers.first(after: last), place.key == last.key, let peer = place.peer {
            last = place
            if entry.until > now { found.append((peer, entry.until > now + old ? entry.value : [])) }
        }
        return found
    }

    // MARK: Values

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

    mutating func putValue(
        _ key: Bytes, _ value: Bytes, from peer: PeerID, now: Now, effects: inout [DHT.Effect]
    ) throws(DHTFault) {
        guard value.count <= settings.valueBytesMax else { throw .badRecord("a value of \(value.count) bytes") }
        try Records.check(key, value, now: now.wall)
        if let old = values.get(RecordKey(key), now: now.monotonic)?.value, Records.isSound(key, old, now: now.wall),
            !Records.replaces(key, value, old) {
            throw .badRecord("older than the one that is here")
        }
        let record = StoredRecord.value(key: key, value: value, from: peer, received: now.wall)
        keep(record, now: now)
        write(record, now, &effects)
    }

    mutating func value(of key: Bytes, now: Instant) -> (value: Bytes, received: WallTime)? {
        values.expire(now)
        return values.get(RecordKey(key), now: now).map { ($0.value, $0.received) }
    }

    // MARK: Files

    private mutating func keep(_ record: StoredRecord, now: Now) {
        switch record {
        case .value(let key, let value, let from, let received):
            values.put(RecordKey(key), value, bytes: record.bytes, from: from, received: received, now: now)
        case .provider(let key, let peer, let addresses, let received):
            providers.put(ProviderKey(key: RecordKey(key), peer: peer), addresses, bytes: record.bytes, from: peer, received: received, now: now)
        }
    }

    /// From the oldest to the newest.
    private func all() -> [StoredRecord] {
        values.inOrder.map { .value(key: $0.key.bytes, value: $0.entry.value, from: $0.entry.from, received: $0.entry.received) }
            + providers.inOrder.map {
                .provider(key: $0.key.key.bytes, peer: $0.entry.from, addresses: $0.entry.value, received: $0.entry.received)
            }
    }

    private mutating func write(_ record: StoredRecord, _ now: Now, _ effects: inout [DHT.Effect]) {
        log?.append(record, now: now.monotonic, effects: &effects)
    }

    /// Reads back what was kept before, and keeps it there from now on.
    mutating func open(owner: UInt8, reader: any DiskReader, now: Now, effects: inout [DHT.Effect]) {
        var read: [StoredRecord] = []
        log = RecordLog(settings: settings, owner: owner, reader: reader, now: now.monotonic, effects: &effects) { read.append($0) }
        for record in read { keep(record, now: now) }
    }
    mutating func onDisk(_ event: DiskEvent, now: Instant, effects: inout [DHT.Effect]) { log?.onDisk(event, now: now, effects: &effects) }
    mutating func onTime(now: Now, effects: inout [DHT.Effect]) {
        guard let log, let due = log.nextDeadline, due <= now.monotonic else { return }
        providers.expire(now.monotonic)
        values.expire(now.monotonic)
        if log.isRewriteDue(of: providers.bytes + values.bytes) {
            let all = all()
            self.log?.rewrite(all, now: now.monotonic, effects: &effects)
        } else { self.log?.sync(effects: &effects) }
    }

    func checkInvariants() {
        providers.checkInvariants()
        values.checkInvariants()
    }
}
