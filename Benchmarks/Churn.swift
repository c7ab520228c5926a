// A pinset that changes: of ten operations seven pin what is new, two unpin, and one pins again with other options.

import Cluster
import Foundation
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RealNet
import Seams
import Storage

/// What is pinned, by number, and what is done with it.
struct Churn {
    /// Operations that are handed over together.
    static let round = 40_000
    static let removals = 2000
    private(set) var present: [Int] = []
    private var fresh = 0
    private var choices = Choices(seed: 5)

    /// The requests of one round, each with its number of operations.
    mutating func next(_ operations: Int) -> [(request: ClientRequest, count: Int)] {
        let removals = min(operations / 5, present.count / 2), again = min(operations / 10, present.count / 2)
        let fresh = operations - removals - again
        var requests: [(request: ClientRequest, count: Int)] = []
        let repinned = draw(again)
        if again > 0 { requests.append((.pinAll(batch(repinned)), again)) }
        let removed = draw(removals)
        for start in stride(from: self.fresh, to: self.fresh + fresh, by: Pinner.batchPins) {
            let range = start..<min(start + Pinner.batchPins, self.fresh + fresh)
            requests.append((.pinAll(FreshPins.batch(range)), range.count))
        }
        for start in stride(from: 0, to: removals, by: Churn.removals) {
            let part = removed[start..<min(start + Churn.removals, removals)]
            requests.append((.unpinAll(part.map(FreshPins.cid)), part.count))
        }
        present += repinned
        present += self.fresh..<self.fresh + fresh
        self.fresh += fresh
        return requests
    }

    /// Takes some out, each once.
    private mutating func draw(_ count: Int) -> [Int] {
        (0..<count).map { _ in
            let at = choices.below(present.count)
            defer { present.removeLast() }
            present.swapAt(at, present.count - 1)
            return present[present.count - 1]
        }
    }

    /// With another name, and an end.
    private func batch(_ numbers: [Int]) -> PinBatch {
        var options = PinOptions()
        (options.replicationFactorMin, options.replicationFactorMax) = (-1, -1)
        options.expireAt = WallTime(seconds: 4_000_000_000)
        var batch = PinBatch(options: options)
        batch.reserve(count: numbers.count, bytes: numbers.count * 50)
        for number in numbers {
            let name = Bytes("again \(number)".utf8)
            FreshPins.withCID(number) { cid in name.withUnsafeBytes { batch.append(cid: cid, name: $0) } }
        }
        return batch
    }
}

/// Hands over the rounds, some requests ahead of the answers.
private final class Churner: @unchecked Sendable {
    private let peer: BenchPeer
    private let operations: Int
    private let report: Report
    private let room = DispatchSemaphore(value: 8)
    private var done = 0
    private(set) var churn = Churn()

    init(_ peer: BenchPeer, _ operations: Int, _ report: Report) { (self.peer, self.operations, self.report) = (peer, operations, report) }

    func run() {
        Thread.detachNewThread { [self] in
            for start in stride(from: 0, to: operations, by: Churn.round) {
                for (request, count) in churn.next(min(Churn.round, operations - start)) {
                    room.wait()
                    peer.loop.post { [self] in submit(request, count) }
                }
            }
        }
        peer.loop.run()
    }

    private func submit(_ request: ClientRequest, _ count: Int) {
        peer.runner.ask(request) { [self] reply in
            if case .failed(let failure) = reply { unreachable("\(failure)") }
            room.signal()
            let before = done
            done += count
            if done / 5_000_000 > before / 5_000_000 { report.progress(done) }
            if done == operations { peer.loop.stop() }
        }
    }
}

func benchmarkChurn(operations: Int, dir: String?) throws {
    let folder = try benchFolder(dir.map { $0 + "-churn" }, fresh: true)
    let anew = folder + "-anew"
    defer { for folder in [folder, anew] where dir == nil || folder == anew { try? FileManager.default.removeItem(atPath: folder) } }
    let peer = try BenchPeer(folder: folder)
    peer.start()
    Report.expected = nil
    let report = Report("churn", pins: operations, folder: folder)
    let churner = Churner(peer, operations, report)
    churner.run()
    invariant(peer.count == churner.churn.present.count, "\(peer.count) pins of \(churner.churn.present.count)")
    report.end(digest: peer.digest, stalls: peer.loop, more: [("present", "\(peer.count)")])
    // The same pinset, written once: what it takes at least, and whether it is the same.
    let copy = Report("churn-anew", pins: peer.count, folder: anew)
    let other = try OfflineReplica(dataFolder: anew, settings: ReplicaSettings()) { _ in }
    try peer.runner.look { machine in
        var (cursor, damages): (LogAddress?, [LogDamage]) = (nil, [])
        repeat {
            var pins = StoredPins()
            cursor = try machine.replica.scan(from: cursor, bytes: 4 << 20, damages: &damages) { pins.append($0.value) }
            try other.pin(pins)
        } while cursor != nil
    }
    let amplification = Double(Report.size(of: folder)) / Double(max(1, Report.size(of: anew)))
    copy.end(digest: other.replica.digest.description, more: [("space_amplification", String(format: "%.3f", amplification))])
}
