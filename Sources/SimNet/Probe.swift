// Places that a fleet of runs must come to: a fault that never struck has tested nothing.

package enum Probe: String, CaseIterable, Sendable {
    // The network.
    case dialBlocked = "dial-blocked"
    case heldUp = "packet-held-up"
    case vanished = "packet-vanished"
    case connectionLost = "connection-lost"
    case gossipMuted = "gossip-muted"
    case streamsReset = "streams-reset"
    case streamsHalfReset = "streams-half-reset"
    case blocksWithheld = "blocks-withheld"
    case blocksSpoilt = "blocks-spoilt"
    case delayed = "packet-delayed"
    case leftInOrder = "left-in-order"
    case lostForGood = "lost-for-good"
    case suspended = "input-waited-for-a-suspended-peer"
    case clockWrong = "read-a-wrong-clock"
    // The disk.
    case diskSlow = "disk-slow"
    case diskReplaced = "disk-replaced"
    case syncFailed = "sync-failed"
    case diskFull = "disk-full"
    case tornWrite = "torn-write"
    case unsyncedLost = "unsynced-lost"
    case unsyncedKept = "unsynced-kept"
    case entryLost = "directory-entry-lost"
    case undone = "rename-or-removal-undone"
    case cutLost = "cut-lost"
    case droppedLost = "dropped-lost"
    case rotRead = "rotten-byte-read"
    case readFailed = "read-failed"
    case jobFailed = "job-failed"
    // Processes.
    case crashed
    case killed = "process-killed"
    case crashedBetweenEffects = "crashed-between-effects"
    case powerCut = "power-cut-after-an-answer"
    // IPFS.
    case ipfsRefused = "ipfs-refused"
    case ipfsHung = "ipfs-hung"
    case ipfsReplyLost = "ipfs-reply-lost"
    case ipfsFull = "ipfs-full"
    case ipfsForgot = "ipfs-forgot"
    case ipfsMeddledWith = "ipfs-meddled-with"
    case ipfsSlow = "ipfs-slow"
    case ipfsStale = "ipfs-stale-listing"
    case ipfsCutShort = "ipfs-cut-short"
    case ipfsLacked = "ipfs-lacked"
    case ipfsProgress = "ipfs-progress"
    case ipfsNoProgress = "ipfs-no-progress"
    case ipfsCutAnswer = "ipfs-answer-cut"
    case factsFalse = "false-free-space-told"
    case hostileSent = "hostile-bytes-sent"
    case hostileWanted = "hostile-wants-heard"
    case peersMadeUp = "peers-made-up"
    case strangersTold = "strangers-told-of"
    case forged = "forged-gossip-sent"
    case meshDisturbed = "mesh-disturbed"

    /// Seldom hit: a sweep of a thousand runs may miss it.
    package var isRare: Bool { [.undone, .cutLost, .droppedLost].contains(self) }
}

/// How often each was hit.
package struct ProbeCounts: Equatable, Sendable {
    private var counts = [Int](repeating: 0, count: Probe.allCases.count)
    private static let places = Dictionary(uniqueKeysWithValues: Probe.allCases.enumerated().map { ($1, $0) })
    package init() {}
    package mutating func hit(_ probe: Probe) { counts[ProbeCounts.places[probe] ?? 0] += 1 }
    package subscript(_ probe: Probe) -> Int { counts[ProbeCounts.places[probe] ?? 0] }
    package mutating func add(_ other: ProbeCounts) { for place in counts.indices { counts[place] += other.counts[place] } }
    package var hit: [Probe] { Probe.allCases.filter { self[$0] > 0 } }
    package var missed: [Probe] { Probe.allCases.filter { self[$0] == 0 } }
}
