// What the embedded node collects as garbage, against what it is to keep.

import Cluster
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import UnixFS

extension Run {
    /// ADD: after each step of a peer that lives on. It has fewer blocks than before where it has collected, or the disk has lost some.
    func watchGarbage(_ index: Int, _ input: PeerInput, _ process: Process, _ now: Instant, _ log: LifeLog) {
        guard options.isEmbedded, let bytes = process.machine.ipfs.embeddedBytes else { return }
        let before = log.blockBytes
        log.blockBytes = bytes
        if case .disk = input { return }
        guard let before, bytes < before else { return }
        let garbage = process.machine.collected()
        oracles.garbage[index]?.append(garbage)
        judgeGarbage(index, garbage, process, age: now - log.begun)
    }

    /// Nothing goes that a pin needs, or one that is on its way into the log; and nothing at all while pins of the life before may be.
    func judgeGarbage(_ index: Int, _ garbage: [CID], _ process: Process, age: Span) {
        guard let first = garbage.first, case .embedded(let settings) = process.peer.settings.ipfs else { return }
        oracles.judged += garbage.count
        if age < settings.gracePeriod { return world.fail(.add, "\(world.name(index)) collects \(first) as garbage \(age.seconds) after its start") }
        let gone = Set(garbage.map(\.multihash))
        var seen: [CID: Int] = [:]
        var pending = process.machine.ipfs.pinnedBlocks.map { ($0.cid, $0.depth < 0 ? Int.max : Int($0.depth)) }
        while let (cid, depth) = pending.popLast() {
            if let known = seen[cid], known >= depth { continue }
            seen[cid] = depth
            if gone.contains(cid.multihash) { return world.fail(.add, "\(world.name(index)) collects \(cid) as garbage, which it pins") }
            guard depth > 0, let block = try? process.machine.ipfs.block(cid), let below = try? links(of: block, cid: cid) else { continue }
            for link in below { pending.append((link, depth == .max ? depth : depth - 1)) }
        }
    }

    /// At rest everybody collects what is left, and tells what that was.
    func collectGarbage() {
        guard options.isEmbedded else { return }
        for index in present {
            var isOver = false, told: [CID]?
            oracles.garbage[index] = []
            world.ask(index, .repoGC(isLocal: true)) { _, reply in
                if case .item(.garbage(let all)) = reply { told = all.first.map { $0.keys.compactMap(\.key) } } else { isOver = true }
            }
            _ = world.run(until: { _ in isOver }, within: .seconds(30), every: .milliseconds(100))
            if !isOver { world.fail(.live, "\(world.name(index)) does not end its collection of garbage") }
            judgeToldGarbage(index, told, oracles.garbage[index] ?? [])
        }
        collectEverywhere()
    }

    /// ANSWER: one of them has the others collect, who are all there.
    private func collectEverywhere() {
        guard let index = trusted.first, world.failure == nil else { return }
        var isOver = false, told: [RepoGC] = []
        world.ask(index, .repoGC(isLocal: false)) { _, reply in
            if case .item(.garbage(let all)) = reply { told = all } else { isOver = true }
        }
        _ = world.run(until: { _ in isOver }, within: .seconds(30), every: .milliseconds(100))
        guard world.failure == nil else { return }
        for other in trusted where other == index || world.network.connection(index, other).map({ $0.isAlive && !$0.isVoid }) == true {
            oracles.judged += 1
            let one = told.first { $0.peer == world.peers[other].id }
            guard one?.error != "" else { continue }
            return world.fail(.answer, "\(world.name(index)) says of the garbage of \(world.name(other)), at rest: \(one?.error ?? "nothing")")
        }
    }

    /// ANSWER: each of the blocks that went is told (REST-180). `gone` has what went at a time.
    private func judgeToldGarbage(_ index: Int, _ told: [CID]?, _ gone: [[CID]]) {
        guard let told, gone.count == 1 else { return }
        oracles.judged += told.count
        if told.sorted() != gone[0].sorted() { world.fail(.answer, "\(world.name(index)) has collected \(gone[0].count) blocks as garbage, and tells of \(told.count)") }
    }
}
