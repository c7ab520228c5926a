// A peer of the simulation: the machine, its disk, its IPFS daemon and its clocks.

import Cluster
import Crypto
import Gossip
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

/// Clocks that are off: what a peer reads, from the true time of the simulation.
package struct SimClock: Equatable, Sendable {
    /// Parts per million by which the clock runs fast (or slow, when negative).
    package var drift: Int64 = 0
    /// How far the wall clock is off.
    package var wallOffset = Span.zero
    /// The wall clock stands still at this true time.
    package var frozenAt: Int64?
    package init() {}
    /// More than a clock may be off: by a second.
    package var isWrong: Bool { frozenAt != nil || abs(wallOffset.nanoseconds) > 1_000_000_000 }

    /// The simulation starts on 2026-01-01.
    package static let start: Int64 = 1_767_225_600_000_000_000

    func monotonic(_ now: Int64) -> Int64 { now + now / 1_000_000 * drift }
    package func reading(_ now: Int64) -> Now {
        Now(
            monotonic: Instant(nanoseconds: monotonic(now)),
            wall: WallTime(unixNanoseconds: SimClock.start + monotonic(frozenAt ?? now) + wallOffset.nanoseconds))
    }
    /// The true time at which the monotonic clock will show this (to within a microsecond, never before).
    func trueTime(of instant: Instant) -> Int64 {
        let target = instant.nanoseconds
        guard target > 0 else { return 0 }  // at once
        guard target < Int64.max / 4 else { return Int64.max / 4 }
        let estimate = target - target / (1_000_000 + drift) * drift
        return max(0, estimate)
    }
}

/// A signature that costs little: a digest over author and message. Nobody in a simulation forges.
struct SimSigner: MessageSigner {
    let me: PeerID
    var attachedKey: Bytes? { nil }
    func sign(_ message: Bytes) -> Bytes { SimSigner.tag(me, message) }
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool {
        signature == SimSigner.tag(author, message)
    }
    private static func tag(_ author: PeerID, _ message: Bytes) -> Bytes {
        let hash = mix(message, seed: mix(author.bytes, seed: 0x5167).low).low
        return (0..<8).map { UInt8(truncatingIfNeeded: hash >> UInt64(8 * $0)) }
    }
}

/// One life of a peer's process, from a start to a crash or an end. What was meant for an earlier one is dropped.
final class Process {
    unowned let peer: SimPeer
    var machine: ClusterPeer
    var wakeGeneration: UInt64 = 0
    var inboundStreams: UInt64 = 0
    /// Syncs under way.
    var syncing = 0
    /// Jobs under way.
    var jobs: [UInt64: Job] = [:]
    /// Inputs that wait while the process is suspended; nil while it runs.
    var suspended: [PeerInput]?
    var suspendedAt: Int64 = 0
    var streams = SortedMap<StreamID, SimStream>()
    /// Requests to IPFS that it still waits for.
    var exchanges: Set<ExchangeID> = []
    /// Those of them whose body is on its way.
    var puts: [ExchangeID: SimIPFS.Put] = [:]

    init(peer: SimPeer, machine: ClusterPeer) { (self.peer, self.machine) = (peer, machine) }
    /// Still the one that runs.
    var isCurrent: Bool { peer.process === self }
    var index: Int { peer.index }
}

/// One of the peers of a world: a name for what changes, and so a class.
package final class SimPeer {
    package let index: Int
    package let id: PeerID
    package var settings: PeerSettings
    package let disk = SimDisk()
    package var ipfs: SimIPFS
    package var clock = SimClock()
    var process: Process?
    /// Counts the starts.
    var lives: UInt64 = 0
    var steps: UInt64 = 0
    // What numbers its draws: each kind of event for itself.
    var scheduled: UInt64 = 0
    var syncs: UInt64 = 0
    var slices: UInt64 = 0
    var requests: UInt64 = 0
    /// What it accepts streams for: an older version may know less.
    package var protocols = ClusterPeer.protocols
    /// Times by which its syncs and slices take longer.
    package var diskSlowness = 1
    package internal(set) var isLost = false
    /// From when to when it was suspended.
    var sleeps: [(from: Int64, to: Int64)] = []
    /// Requests that its IPFS has taken, and cannot answer yet.
    var stuck: [(Process, SimIPFS.Task)] = []
    /// What its disk held some time ago.
    package var backup: Backup?
    /// What its peerstore file holds: whom it knew then.
    var peerstore: KnownPeers = []
    typealias KnownPeers = [(peer: PeerID, addresses: [Multiaddr])]
    package struct Backup {
        let disk: SimDisk.Copy
        let peerstore: KnownPeers
    }
    func backUp() { backup = Backup(disk: disk.copy(), peerstore: peerstore) }
    /// It came back with an empty disk, or an old one, at these times: what it had told nobody is gone.
    package internal(set) var losses: [Int64] = []

    init(index: Int, id: PeerID, settings: PeerSettings, ipfs: SimIPFS) {
        (self.index, self.id, self.settings, self.ipfs) = (index, id, settings, ipfs)
    }
    package var isUp: Bool { process != nil }
    package var isSuspended: Bool { process?.suspended != nil }
    /// Nil while it is down. A copy: for looks now and then.
    package var machine: ClusterPeer? { process?.machine }

    /// Ed25519-shaped and in order of the index only by chance.
    static func identity(_ index: Int, _ tape: Tape) -> PeerID {
        var choices = tape.stream(.identity, UInt64(index))
        let key = choices.bytes(32)
        guard let id = try? PeerID([0x00, 0x24, 0x08, 0x01, 0x12, 0x20] + key) else { unreachable("a made-up peer ID") }
        return id
    }
}
