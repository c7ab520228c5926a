// START: what a peer leaves on its disk is such that a crash, wherever it comes, damages nothing; and what it finds there is what it
// left. Of peers whose disks have no faults of their own.

import Cluster
import Kernel
import Seams
import Storage

/// The manifests of a peer's index that are being synced, and the newest that is durable.
struct Manifests {
    var syncing: [SyncTicket: String] = [:]
    var durable: String?
}

/// How often a peer has told in this life of damage, in the same words.
struct Damages {
    static let toldMax = 4
    private var life: UInt64
    private var counts: [String: Int] = [:]

    init(life: UInt64) { self.life = life }

    mutating func tell(_ text: String, life: UInt64) -> Int {
        if life != self.life { (self.life, counts) = (life, [:]) }
        counts[text, default: 0] += 1
        return counts[text] ?? 0
    }
}

extension Run {
    // MARK: What is written

    func noteWritten(_ effect: DiskEffect, by index: Int) {
        switch effect {
        case .sync(let name, let ticket) where name.hasSuffix(".manifest"): oracles.manifests[index, default: Manifests()].syncing[ticket] = name
        case .append(let name, let bytes) where name.hasSuffix(".manifest"): judgeCheckpoint(bytes, name, index)
        case .append(let name, let frame) where name.hasSuffix(".log") && frame.count == Log.frameBytes + 4 && frame[Log.frameBytes - 1] == Log.markKind: judgeMark(frame, name, index)
        case .remove(let name) where name.hasSuffix(".manifest"): judgeRemoval(name, index)
        default: break
        }
    }

    /// A mark speaks of what is durable.
    private func judgeMark(_ frame: Bytes, _ name: FileName, _ index: Int) {
        guard !plan.spoilsDisk(of: index) else { return }
        oracles.judged += 1
        let (told, durable) = (frame.dropFirst(Log.frameBytes).reversed().reduce(0) { $0 << 8 | Int($1) }, world.peers[index].disk.durableCount(name))
        if told > durable { world.fail(.start, "\(world.name(index)) writes down that \(told) bytes of \(name) are durable, of which \(durable) are") }
    }

    /// A checkpoint stands on what is durable: it could be so before the log is.
    private func judgeCheckpoint(_ manifest: Bytes, _ name: FileName, _ index: Int) {
        guard !plan.spoilsDisk(of: index), manifest.count >= 16 else { return }
        oracles.judged += 1
        let reached = LogAddress(raw: manifest[8..<16].reversed().reduce(0) { $0 << 8 | UInt64($1) }), disk = world.peers[index].disk
        for file in (try? disk.list("crdt/")) ?? [] where file.hasSuffix(".log") {
            guard let number = UInt32(file.dropFirst(5).dropLast(4)), number <= reached.segment else { continue }
            let needed = number == reached.segment ? reached.offset : (try? disk.size(file)) ?? 0
            guard disk.durableCount(file) < needed else { continue }
            return world.fail(.start, "\(world.name(index)) makes a checkpoint in \(name) of \(needed) bytes of \(file), of which \(disk.durableCount(file)) are durable")
        }
    }

    /// Where there is a checkpoint, one is durable.
    private func judgeRemoval(_ name: FileName, _ index: Int) {
        let disk = world.peers[index].disk
        guard !plan.spoilsDisk(of: index), let left = try? disk.list("crdt/").filter({ $0.hasSuffix(".manifest") }), !left.isEmpty else { return }
        oracles.judged += 1
        if !left.contains(where: disk.isDurable) { world.fail(.start, "\(world.name(index)) removes \(name) before \(left.joined(separator: ", ")) is durable") }
    }

    // MARK: What is found

    static let damages = ["damage", "checksum", "made anew", "cannot be used", "cannot be read", "could not be written", "was lost", "holds no block", "unknown kind"]

    /// START: a crash damages nothing, wherever it comes; and whoever comes upon damage mends it, or goes on without.
    func judge(_ line: LogLine, of index: Int) {
        guard ["crdt", "embedded", "dht"].contains(line.component), Run.damages.contains(where: line.message.contains), !line.message.contains("an announcement cannot be read") else { return }
        // Each pass over the log tells what it goes on without.
        if ["is damaged at", "does not match"].contains(where: line.message.contains), !line.message.contains("What was lost is fetched again") {
            oracles.judged += 1
            let told = oracles.damages[index, default: Damages(life: world.peers[index].lives)].tell(line.message, life: world.peers[index].lives)
            if told > Damages.toldMax { return world.fail(.start, "\(world.name(index)) has told of the same damage \(told) times, and not mended it: \(line.message)") }
        }
        // What could not be written is known not to be there: it is not found damaged later.
        if plan.spoilsDisk(of: index), plan.rotsDisk(of: index) || !["is damaged", "does not match its checksum"].contains(where: line.message.contains) { return }
        // One that was being written when the crash came; the one before is there.
        if line.message.contains("the manifest does not match its checksum"), oracles.manifests[index]?.durable.map({ !line.message.contains($0) }) ?? true { return }
        world.fail(.start, "\(world.name(index)) says that its disk is not as it has left it: \(line.message)")
    }

    /// START: what a peer is to open, instead of reading its whole log, stays until there is another. When it goes down.
    func checkManifest(_ index: Int) {
        oracles.manifests[index]?.syncing = [:]
        guard let durable = oracles.manifests[index]?.durable, !plan.spoilsDisk(of: index), !world.peers[index].isLost, world.peers[index].losses.isEmpty else { return }
        oracles.judged += 1
        guard let files = try? world.peers[index].disk.list("crdt/"), !files.contains(durable) else { return }
        world.fail(.start, "\(world.name(index)) had \(durable), and has removed it before another was durable")
    }

    /// START: what was merged is on the disk, and what is read from there is durable: now it is told.
    func checkRestart(_ index: Int, _ process: Process) {
        let merged = process.machine.merged().blocks
        guard !plan.spoilsDisk(of: index) else { return }
        oracles.judged += 1
        let disk = process.peer.disk
        if let file = (try? disk.list("crdt/"))?.first(where: { $0.hasSuffix(".log") && disk.hasUnsyncedFind($0) }) {
            return world.fail(.start, "\(world.name(index)) goes by what it has found in \(file), of which a loss of power could take some")
        }
        guard let before = oracles.mergedBefore.remove(index), before.losses == process.peer.losses.count else { return }
        guard merged < before.blocks else { return }
        world.fail(.start, "\(world.name(index)) had merged \(before.blocks) blocks when it went down, and has \(merged) when it has read its log")
    }
}
