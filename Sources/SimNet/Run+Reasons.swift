// Why a peer says that it does not do what it is asked for. Whoever reads it acts upon it: it must be so.

import Cluster
import Kernel
import MerkleCRDT
import Seams

/// What a peer may give as its reason, and when it may. The first whose words are in the answer counts.
private struct Reason: Sendable {
    let words: String
    let holds: @Sendable (Run, Asked, Process) -> Bool

    init(_ words: String, if holds: @escaping @Sendable (Run, Asked, Process) -> Bool) { (self.words, self.holds) = (words, holds) }

    static func isWrite(_ run: Run, _ asked: Asked, _ process: Process) -> Bool { asked.request.isWrite }
    static func isAdd(_ run: Run, _ asked: Asked, _ process: Process) -> Bool { if case .add = asked.request { true } else { false } }
    static func isAnything(_ run: Run, _ asked: Asked, _ process: Process) -> Bool { true }
    /// Disks fail, or what others' disks say comes along.
    static func diskFails(_ run: Run, _ asked: Asked, _ process: Process) -> Bool { run.plan.has(.disk) }
    static func ipfsFails(_ run: Run, _ asked: Asked, _ process: Process) -> Bool { run.plan.troublesIPFS && !run.options.isEmbedded }

    static let all: [Reason] = [
        // Or it was, and is whole again: what rots is made anew in a moment.
        Reason("the pinset is being read from the log") { run, asked, process in
            !process.machine.replica.isOpen || run.wasMadeAnew(process.index, since: asked.at)
        },
        Reason("Write operations are disabled") { $1.request.isWrite && $2.peer.settings.isFollower },
        Reason("shutting down") { run, _, process in run.oracles.health[process.index]?.stopping?.life == process.peer.lives },
        Reason("cannot remove peers") { _, asked, _ in if case .peerRemove = asked.request { true } else { false } },
        Reason("many pins cannot update one", if: isWrite),
        Reason("is unpinned by itself", if: isWrite), Reason("the client went away", if: isAdd),
        // Of these more is said by the model, and by the rules of adds.
        Reason("not part of the pinset", if: isAnything), Reason("ExpireAt", if: isWrite), Reason("cannot repin", if: isWrite),
        Reason("replication_factor", if: isWrite), Reason("not enough peers", if: isWrite), Reason("cannot be updated", if: isWrite),
        Reason("cannot unpin", if: isWrite), Reason("failed to put block on all destinations", if: isAdd),
        Reason("more that other peers tell of") { _, asked, _ in asked.request.isForAll },
        Reason("could not be written", if: diskFails), Reason("input/output error", if: diskFails), Reason("is damaged", if: diskFails),
        Reason("the pinset cannot be read", if: diskFails), Reason("the disk is full", if: diskFails),
        Reason("max_queue_size") { run, _, _ in run.options.isBatching || run.options.isSkewed },
        Reason("IPFS", if: ipfsFails), Reason("Post http", if: ipfsFails), Reason("unexpected EOF", if: ipfsFails),
        Reason("connection reset by peer", if: ipfsFails),
        // Who had it has lost its disk, or is away (seed 3600718).
        Reason("no member of the cluster gave") { run, _, _ in run.options.isEmbedded && run.world.peers.contains { !$0.losses.isEmpty || !$0.isUp } },
        // Others are asked as well.
        Reason("not connected to", if: isAnything), Reason("stream reset", if: isAnything), Reason("context deadline exceeded", if: isAnything),
        Reason(Run.refusal) { run, _, _ in run.options.hasOutsider },
    ]
}

extension Run {
    /// What is said to whom one does not trust.
    static let refusal = "does not have permissions"

    /// ANSWER: what a peer gives as its reason is a reason, and is so.
    func judgeReason(_ failure: ClientFailure, _ asked: Asked) {
        guard let process = world.peers[asked.peer].process else { return }
        oracles.judged += 1
        guard let reason = Reason.all.first(where: { failure.message.contains($0.words) }) else {
            return world.fail(.answer, "\(world.name(asked.peer)) does not do what it is asked for, and its reason is none: \(failure.message)")
        }
        // Each says for itself what it has collected, or why not (REST-064).
        if case .repoGC(isLocal: false) = asked.request, process.machine.isReady {
            return world.fail(.answer, "\(world.name(asked.peer)) is to tell what all have collected, and fails as one of them does: \(failure.message)")
        }
        guard !reason.holds(self, asked, process) else { return }
        world.fail(.answer, "\(world.name(asked.peer)) does not do what it is asked for for a reason that is not so: \(failure.message)")
    }
}
