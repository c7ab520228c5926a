// A peer of the simulation: the machine, its disk, its IPFS daemon and its clocks.

import Cluster
import Crypto
import Gossip
import Kernel
import Multiformats
import Pinset
import Seams
import Storage

/// Clocks that drift: what a peer reads, from the true time of the simulation.
package struct SimClock: Sendable {
    /// Parts per million by which the clock runs fast (or slow, when negative).
    package var drift: Int64 = 0
    /// How far the wall clock is off.
    package var wallOffset = Span.zero
    package init() {}

    /// The simulation starts on 2026-01-01.
    package static let start: Int64 = 1_767_225_600_000_000_000

    func monotonic(_ now: Int64) -> Int64 { now + now / 1_000_000 * drift }
    func reading(_ now: Int64) -> Now {
        let monotonic = monotonic(now)
        return Now(
            monotonic: Instant(nanoseconds: monotonic),
            wall: WallTime(unixNanoseconds: SimClock.start + monotonic + wallOffset.nanoseconds))
    }
    /// The true time at which the monotonic clock will show this (to within a microsecond, never before).
    func trueTime(of instant: Instant) -> Int64 {
        let target = instant.nanoseconds
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
        var hash = TraceDigest()
        hash.mix(author.bytes)
        hash.mix(message)
        return (0..<8).map { UInt8(truncatingIfNeeded: hash.value >> UInt64(8 * $0)) }
    }
}

/// One of the peers of a world: a name for what changes, and so a class.
package final class SimPeer {
    package let index: Int
    package let id: PeerID
    package var settings: PeerSettings
    package let disk = SimDisk()
    package var ipfs: SimIPFS
    package var clock = SimClock()
    /// Nil while it is down.
    package var machine: ClusterPeer?
    /// Counts the starts: what was meant for an earlier life is dropped.
    var epoch = 0
    var steps: UInt64 = 0
    var wakeGeneration: UInt64 = 0
    var inboundStreams: UInt64 = 0
    /// Jobs under way.
    var jobs: [UInt64: Job] = [:]
    /// Inputs that wait while the process is suspended; nil while it runs.
    var suspended: [PeerInput]?
    init(index: Int, id: PeerID, settings: PeerSettings, ipfs: SimIPFS) {
        (self.index, self.id, self.settings, self.ipfs) = (index, id, settings, ipfs)
    }
    package var isUp: Bool { machine != nil }
    package internal(set) var isLost = false

    /// Ed25519-shaped and in order of the index only by chance.
    static func identity(_ index: Int, _ draws: Draws) -> PeerID {
        var choices = draws.stream(.identity, UInt64(index))
        let key = choices.bytes(32)
        guard let id = try? PeerID([0x00, 0x24, 0x08, 0x01, 0x12, 0x20] + key) else { unreachable("a made-up peer ID") }
        return id
    }
}
