// The recovery that a peer makes by itself now and then: what IPFS should pin and does not is queued again, and what it should not
// is unpinned. IPFS is asked once; the pinset is read through in slices, as fast as the tracker takes what is found.
// spec/tracker-allocator-monitor.md CLU-14, TRK-49.

import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage
import Tracking

extension ClusterPeer {
    struct Recovery: Sendable {
        /// The values of the state that IPFS holds: two bits for each.
        var recursive = LiveMap()
        var direct = LiveMap()
        var cursor: LogAddress?
        /// Found where the last slice was read, and not queued yet: a block may hold ten thousand.
        var found: [(cid: CID, status: TrackerStatus)] = []
        static let queuedPerStep = 500

        func status(_ address: LogAddress) -> IPFSPinStatus? {
            recursive.contains(address) ? .recursive : direct.contains(address) ? .direct : nil
        }
    }

    mutating func beginRecovery() {
        loops.recoverAt = turn.now.monotonic + settings.recoverInterval
        guard loops.recovery == nil else { return }
        loops.recovery = Recovery()
        askIPFS(.pinLs([.recursive, .direct])) { peer, item in
            if case .pinned(let cid, let status) = item { peer.recover(cid, status) }
        } then: { peer, result in
            switch result {
            case .success:
                peer.recoverFailedUnpins()
                peer.continueRecovery()
            case .failure(let failure):
                peer.loops.recovery = nil
                peer.note(.error, "cluster", "recover: could not get pinset from IPFS: \(failure.description)")
            }
        }
    }

    /// What IPFS pins: rightly, or because this peer was away when that ended.
    private mutating func recover(_ cid: CID, _ status: IPFSPinStatus) {
        guard let address = replica.address(of: cid) else { return dropLeftover(cid) }
        if status == .direct { loops.recovery?.direct.insert(address) } else { loops.recovery?.recursive.insert(address) }
        dropLeftover(cid)
    }

    /// Failed unpins included, which upstream does not reach (TRK-48).
    private mutating func recoverFailedUnpins() {
        for info in tracker.operations(matching: .unpinError) where replica.isOpen {
            let pin = storedPin(info.cid)
            withTracker { _ = $0.recover(info.cid, in: .unpinError, pin: pin, now: $1, effects: &$2) }
        }
    }

    mutating func continueRecovery() {
        loops.recoveryAt = nil
        guard phase == .ready, var recovery = loops.recovery else { return loops.recovery = nil }
        guard replica.isOpen else {  // begins again when the state is whole
            loops.recovery = nil
            loops.recoverAt = turn.now.monotonic + .seconds(1)
            return
        }
        guard tracker.pinQueueSize < settings.trackedMax else {
            loops.recoveryAt = turn.now.monotonic + .seconds(1)
            return
        }
        if recovery.found.isEmpty {
            var found: [(cid: CID, status: TrackerStatus)] = []
            let (cursor, damage) = sweep(from: recovery.cursor, if: { address, _ in !recovery.recursive.contains(address) }) { address, pin in
                if let info = tracker.listed(pin, ipfs: recovery.status(address), filter: [.pinError, .unexpectedlyUnpinned]) {
                    found.append((pin.cid, info.short.status))
                }
            }
            (recovery.cursor, recovery.found) = (cursor, found)
            mend(damage)
        }
        for (cid, status) in recovery.found.suffix(Recovery.queuedPerStep) {
            guard let pin = storedPin(cid) else { continue }  // it may have been unpinned since
            withTracker { _ = $0.recover(cid, in: status, pin: pin, now: $1, effects: &$2) }
        }
        recovery.found.removeLast(min(Recovery.queuedPerStep, recovery.found.count))
        let isDone = recovery.cursor == nil && recovery.found.isEmpty
        loops.recovery = isDone ? nil : recovery
        loops.recoveryAt = isDone ? nil : turn.now.monotonic + .milliseconds(recovery.found.isEmpty ? 10 : 1)
    }
}
