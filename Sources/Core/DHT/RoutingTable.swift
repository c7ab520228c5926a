// Whom a peer of the DHT knows: buckets by how many bits an ID shares with its own, measured between the hashes of both.
// spec/wire-pubsub-dht-bitswap.md DHT-03, DHT-04; Maymounkov and Mazières, "Kademlia", sections 2.2 and 2.4.

import Crypto
import Kernel
import Multiformats

/// Where a key lies: its SHA-256, in four words.
package struct Position: Hashable, Sendable {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    package init(of key: some Collection<UInt8>) {
        let hash = sha256(key)
        func word(_ index: Int) -> UInt64 { hash[8 * index..<8 * index + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        words = (word(0), word(1), word(2), word(3))
    }
    package init(of peer: PeerID) { self.init(of: peer.bytes) }

    package func distance(to other: Position) -> Distance {
        Distance(words: (
            words.0 ^ other.words.0, words.1 ^ other.words.1, words.2 ^ other.words.2, words.3 ^ other.words.3))
    }
    /// How many leading bits are the same: 256 for the same key.
    package func sharedBits(with other: Position) -> Int { distance(to: other).leadingZeroBits }

    package static func == (a: Self, b: Self) -> Bool { a.words == b.words }
    package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

package struct Distance: Comparable, Sendable {
    fileprivate let words: (UInt64, UInt64, UInt64, UInt64)

    package var leadingZeroBits: Int {
        if words.0 != 0 { return words.0.leadingZeroBitCount }
        if words.1 != 0 { return 64 + words.1.leadingZeroBitCount }
        if words.2 != 0 { return 128 + words.2.leadingZeroBitCount }
        return 192 + words.3.leadingZeroBitCount
    }
    package static func == (a: Self, b: Self) -> Bool { a.words == b.words }
    package static func < (a: Self, b: Self) -> Bool { a.words < b.words }
}

package struct RoutingTable: Sendable {
    private struct Entry: Sendable {
        let position: Position
        let bucket: Int
        /// The neighbourhood of its address.
        let group: Bytes
        /// When it last answered.
        var heardAt: Instant
    }

    private let me: Position
    private let bucketSize: Int
    /// How many of one neighbourhood there may be, in all and in a bucket.
    package var groupMax: (table: Int, bucket: Int)?
    private var entries = SortedMap<PeerID, Entry>()
    private var sizes = [Int](repeating: 0, count: 257)

    package init(me: PeerID, bucketSize: Int) {
        (self.me, self.bucketSize) = (Position(of: me), bucketSize)
    }

    package var count: Int { entries.count }
    package var peers: [PeerID] { entries.keys }
    package func contains(_ peer: PeerID) -> Bool { entries[peer] != nil }
    package func bucket(at position: Position) -> Int { me.sharedBits(with: position) }
    package func bucket(of peer: PeerID) -> Int { bucket(at: Position(of: peer)) }
    /// Those that hold somebody, the farthest first.
    package var filledBuckets: [Int] { sizes.indices.filter { sizes[$0] > 0 } }

    /// Who came first stays: a full bucket takes nobody (section 2.2).
    package func hasRoom(for peer: PeerID, at address: Multiaddr? = nil) -> Bool {
        let bucket = bucket(of: peer)
        return bucket < 256 && sizes[bucket] < bucketSize && allows(RoutingTable.group(of: address), in: bucket)
    }

    /// Networks that are given to one owner as a whole, more or less: nobody fills the table with what costs him nothing.
    private static func group(of address: Multiaddr?) -> Bytes {
        guard let ip = address?.ip else { return [] }
        return Bytes(ip.prefix(ip.count == 4 ? 2 : 4))
    }
    private func allows(_ group: Bytes, in bucket: Int) -> Bool {
        guard let groupMax else { return true }
        var (inTable, inBucket) = (0, 0)
        entries.each { _, entry in
            if entry.group == group { inTable += 1; inBucket += entry.bucket == bucket ? 1 : 0 }
        }
        return inTable < groupMax.table && inBucket < groupMax.bucket
    }

    package mutating func insert(_ peer: PeerID, at address: Multiaddr? = nil, now: Instant) {
        if entries[peer] != nil { return heard(peer, now: now) }
        guard hasRoom(for: peer, at: address) else { return }
        let position = Position(of: peer)
        let bucket = me.sharedBits(with: position)
        entries[peer] = Entry(position: position, bucket: bucket, group: RoutingTable.group(of: address), heardAt: now)
        sizes[bucket] += 1
    }
    package mutating func heard(_ peer: PeerID, now: Instant) {
        if entries[peer] != nil { entries[peer]?.heardAt = now }
    }
    @discardableResult
    package mutating func remove(_ peer: PeerID) -> Bool {
        guard let entry = entries.remove(peer) else { return false }
        sizes[entry.bucket] -= 1
        return true
    }
    package func silent(since begin: Instant) -> [PeerID] {
        var found: [PeerID] = []
        entries.each { peer, entry in if entry.heardAt < begin { found.append(peer) } }
        return found
    }

    /// The closest first.
    package func nearest(to target: Position, _ count: Int) -> [PeerID] {
        var found: [(distance: Distance, peer: PeerID)] = []
        found.reserveCapacity(entries.count)
        entries.each { peer, entry in found.append((entry.position.distance(to: target), peer)) }
        found.sort { $0.distance < $1.distance }
        return found.prefix(count).map(\.peer)
    }

    package func checkInvariants() {
        var counted = [Int](repeating: 0, count: 257)
        entries.each { counted[$1.bucket] += 1 }
        invariant(counted == sizes, "the sizes of the buckets are not those of their members")
        invariant(sizes.allSatisfy { $0 <= bucketSize } && sizes[256] == 0, "a bucket of more than \(bucketSize), or oneself in the table")
    }
}
