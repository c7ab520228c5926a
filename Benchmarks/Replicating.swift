// An empty second peer catches up with a full one: in one process, handed blocks as the network would hand them; and between two
// processes over loopback sockets, with the private network and Noise between them.

import Cluster
import Foundation
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RealNet
import Seams
import Storage

/// A replica on real files with its jobs on a thread, without a peer around it.
private final class BenchReplica: @unchecked Sendable {
    let loop = EventLoop()
    private let disk: FileDisk
    private let jobs: JobThread
    private(set) var replica: Replica
    private var choices = Choices(seed: 1)
    private var isArmed = false
    var onEffect: (Replica.Effect) -> Void = { _ in }

    init(folder: String) throws {
        disk = try FileDisk(root: folder, loop: loop)
        jobs = JobThread(root: folder)
        var settings = ReplicaSettings()
        settings.fetchingBytesMax = 24 << 20
        var effects: [Replica.Effect] = []
        replica = try Replica(settings: settings, owner: 4, reader: disk, now: Machine.now, choices: &choices, effects: &effects)
        disk.onEvent = { [unowned self] event in act { $0.onDisk(event, now: $1, effects: &$2) } }
        carryOut(effects)
    }

    func act(_ body: (inout Replica, Now, inout [Replica.Effect]) -> Void) {
        var effects: [Replica.Effect] = []
        body(&replica, Machine.now, &effects)
        carryOut(effects)
        arm()
    }

    private func arm() {
        guard !isArmed, let due = replica.nextDeadline, due <= Machine.now.monotonic else { return }
        isArmed = true
        loop.after(.zero) { [unowned self] in
            isArmed = false
            var effects: [Replica.Effect] = []
            replica.onTime(now: Machine.now, choices: &choices, effects: &effects)
            carryOut(effects)
            arm()
        }
    }

    private func carryOut(_ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(let effect): disk.carryOut(effect)
            case .job(let job):
                let number = job.number
                jobs.run(job) { [loop, self] outcome in
                    loop.post { [self] in act { $0.onJob(number, outcome, now: $1, effects: &$2) } }
                }
            default: onEffect(effect)
            }
        }
    }
}

/// Reads the full one's blocks on a thread of its own, as another process would.
private final class BlockSource: @unchecked Sendable {
    private let replica: Replica
    private let worker = Worker()

    init(folder: String) throws {
        replica = try OfflineReplica(dataFolder: folder, settings: ReplicaSettings()) { _ in }.replica
    }
    var digest: String { replica.digest.description }
    var count: Int { replica.count }

    func list(_ cursor: Bytes, _ heads: [Multihash], _ then: @escaping @Sendable ((entries: [(cid: CID, size: Int)], next: Bytes)) -> Void) {
        worker.run { [self] in then(replica.listBlocks(from: cursor, heads: heads, limit: 4096)) }
    }
    func fetch(_ cids: [CID], _ each: @escaping @Sendable (CID, Bytes) -> Void) {
        worker.run { [self] in
            for cid in cids {
                guard let block = try? replica.block(cid) else { unreachable("the source has its own blocks") }
                each(cid, block)
            }
        }
    }
}

func benchmarkReplicate(pins: Int, dir: String?) throws {
    let source = try BlockSource(folder: try existing(dir))
    invariant(source.count == pins, "\(source.count) pins of \(pins)")
    let folder = try benchFolder(dir.map { $0 + ".replica" }, fresh: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let target = try BenchReplica(folder: folder)
    let loop = target.loop
    let peer = try IdentityKey(seed: Bytes(repeating: 9, count: 32)).peerID
    let report = Report("replicate", pins: pins, folder: folder)
    target.onEffect = { [unowned target] effect in
        let target = target  // what the source is still at needs it when all is here
        switch effect {
        case .askForList(_, let cursor):
            source.list(cursor, target.replica.heads.map(\.cid.multihash)) { page in
                loop.post { target.act { $0.onListed(peer, page.entries, next: page.next, now: $1, effects: &$2) } }
            }
        case .fetch(let cids, _):
            source.fetch(cids) { cid, block in loop.post { target.act { $0.onBlock(cid, block, now: $1, effects: &$2) } } }
        case .merged:
            if target.replica.count == pins { loop.stop() }
        default: break
        }
    }
    target.act { replica, now, _ in replica.allowChanges(0, now: now) }  // the tracker is busy with the first of them
    target.act { replica, _, effects in replica.catchUp(with: peer, effects: &effects) }
    loop.run()
    invariant(target.replica.digest.description == source.digest, "the replica holds something else")
    report.end(digest: target.replica.digest.description, stalls: loop)
}

/// The other process of `catch-up`: says where it listens, and serves until its input ends.
func serve(dir: String?) throws {
    let peer = try BenchPeer(folder: try existing(dir))
    peer.start()
    print("\(peer.runner.listening.map(\.description).joined(separator: " ")) \(peer.count) \(peer.digest)")
    fflush(nil)
    Thread.detachNewThread {
        while readLine() != nil {}
        exit(0)
    }
    peer.loop.run()
}

func benchmarkCatchUp(pins: Int, dir: String?) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
    process.arguments = ["serve", "--dir", try existing(dir)]
    let (input, output) = (Pipe(), Pipe())
    (process.standardInput, process.standardOutput) = (input, output)
    try process.run()
    defer { process.terminate() }
    var line = Data()
    while !line.contains(0x0a) {
        let more = output.fileHandleForReading.availableData
        guard !more.isEmpty else { unreachable("the serving process has ended") }
        line += more
    }
    let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init)
    invariant(words.count >= 3 && Int(words[words.count - 2]) == pins, "the serving process has \(words)")
    let folder = try benchFolder(dir.map { $0 + ".second" }, fresh: !resumes)
    defer { if !tellsAll { try? FileManager.default.removeItem(atPath: folder) } }
    let first = try IdentityKey(seed: Bytes(repeating: 1, count: 32)).peerID
    let peer = try BenchPeer(folder: folder, seed: 2) { $0.bootPeers = [(first, [try! Multiaddr(text: words[0])], true)] }
    let report = Report("catch-up", pins: pins, folder: folder)
    peer.start()
    let loop = peer.loop
    say("opened \(peer.count)")
    func look() {
        say("acknowledged \(peer.count)")
        if peer.count == pins { return loop.later { loop.stop() } }
        loop.after(.milliseconds(20)) { look() }
    }
    look()
    loop.run()
    invariant(peer.digest == words[words.count - 1], "the second peer holds something else")
    report.end(digest: peer.digest, stalls: loop)
}
