// The pinset at scale: a real peer on real files, by the daemon's own code path. Clients ask `ClusterPeer` on its event loop; the
// disk is synced before anything is answered. The peer's own IPFS node has none of the content and goes on looking for it.

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

/// One peer on a loop of its own. Everything in it is touched on the loop's thread.
final class BenchPeer: @unchecked Sendable {
    let loop = EventLoop()
    let runner: PeerRunner
    let folder: String

    init(folder: String, seed: UInt8 = 1, shape: (inout PeerSettings) -> Void = { _ in }) throws {
        self.folder = folder
        let key = try IdentityKey(seed: Bytes(repeating: seed, count: 32))
        let home = PeerHome(key: key, secret: Bytes(repeating: 7, count: 32), listen: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")], dataFolder: folder)
        var settings = PeerSettings(me: key.peerID)
        settings.ipfs = .embedded(EmbeddedSettings())
        shape(&settings)
        runner = try PeerRunner(loop: loop, home: home, settings: settings) { line in
            if line.level >= .warning { FileHandle.standardError.write(Data("\(line.level) \(line.component): \(line.message)\n".utf8)) }
        }
    }

    /// Runs the loop until the peer is ready.
    func start() {
        runner.onReady = { [self] in loop.later { [self] in loop.stop() } }
        runner.start()
        loop.run()
        (loop.longestRound, loop.longestWork) = (.zero, .zero)
    }

    var digest: String { runner.look { $0.replica.digest.description } }
    var count: Int { runner.look { $0.replica.count } }

    /// Asks once and runs the loop until all has been answered.
    func ask(_ request: ClientRequest, each: @escaping (ClientItem) -> Void = { _ in }) {
        var client: ClientID?
        client = runner.ask(request) { [self] reply in
            switch reply {
            case .item(let item):
                each(item)
                if case .pins = item { loop.after(.zero) { [self] in if let client { runner.send(client, .more) } } }
            case .end: loop.later { [self] in loop.stop() }
            case .failed(let failure): unreachable("\(failure)")
            case .pause, .resume: break
            }
        }
        loop.run()
    }
}

/// For whoever kills the process and wants to know what it had promised.
func say(_ line: String) {
    guard tellsAll else { return }
    print(line)
    fflush(nil)
}

/// Pins nobody has seen before: the digest of each is drawn from its number.
struct FreshPins {
    static func digest(_ number: Int) -> (UInt64, UInt64, UInt64, UInt64) {
        var choices = Choices(seed: UInt64(number) &* 0x9e37_79b9_7f4a_7c15)
        return (choices.next(), choices.next(), choices.next(), choices.next())
    }
    static func withCID<T>(_ number: Int, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        let words = digest(number)
        return withUnsafeTemporaryAllocation(byteCount: 40, alignment: 8) { room in
            room.storeBytes(of: UInt32(0x2012_5501).littleEndian, as: UInt32.self)  // v1, raw, sha2-256, 32 bytes
            withUnsafeBytes(of: words) { UnsafeMutableRawBufferPointer(rebasing: room[4..<36]).copyMemory(from: $0) }
            return body(UnsafeRawBufferPointer(rebasing: room[0..<36]))
        }
    }
    static func cid(_ number: Int) -> CID {
        guard let cid = try? CID(withCID(number) { Bytes($0) }) else { unreachable("a made-up CID") }
        return cid
    }

    /// CIDv1, a name, factors -1.
    static func batch(_ range: Range<Int>) -> PinBatch {
        var options = PinOptions()
        (options.replicationFactorMin, options.replicationFactorMax) = (-1, -1)
        var batch = PinBatch(options: options)
        batch.reserve(count: range.count, bytes: range.count * 50)
        var name = Bytes("pin 00000000".utf8)
        for number in range {
            var rest = number
            for at in stride(from: 11, through: 4, by: -1) {
                name[at] = UInt8(48 + rest % 10)
                rest /= 10
            }
            withCID(number) { cid in name.withUnsafeBytes { batch.append(cid: cid, name: $0) } }
        }
        return batch
    }
}

/// Hands batches to the peer from a thread of its own, some of them at a time.
final class Pinner: @unchecked Sendable {
    static let batchPins = 10_000
    private static let depth = 4
    private let peer: BenchPeer
    private let room = DispatchSemaphore(value: Pinner.depth)
    private let range: Range<Int>
    private let report: Report
    private var done = 0

    init(_ peer: BenchPeer, _ range: Range<Int>, _ report: Report) { (self.peer, self.range, self.report) = (peer, range, report) }

    func run() {
        Thread.detachNewThread { [self] in
            for start in stride(from: range.lowerBound, to: range.upperBound, by: Pinner.batchPins) {
                let batch = FreshPins.batch(start..<min(start + Pinner.batchPins, range.upperBound))
                room.wait()
                peer.loop.post { [self] in submit(batch) }
            }
        }
        peer.loop.run()
    }

    private func submit(_ batch: PinBatch) {
        let count = batch.count
        peer.runner.ask(.pinAll(batch)) { [self] reply in
            if case .failed(let failure) = reply { unreachable("\(failure)") }
            room.signal()
            say("acknowledged \(range.lowerBound + done + count)")
            let before = done
            done += count
            if done / 5_000_000 > before / 5_000_000 { report.progress(done) }
            if done == range.count { peer.loop.stop() }
        }
    }
}

/// Where a peer of the benchmarks lives; removed and made anew unless it is to be gone on with.
func benchFolder(_ dir: String?, fresh: Bool) throws -> String {
    let folder = dir ?? NSTemporaryDirectory() + "ipfs-cluster-bench-\(getpid())"
    if fresh, FileManager.default.fileExists(atPath: folder) { try FileManager.default.removeItem(atPath: folder) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    return folder
}

func benchmarkIngest(pins: Int, dir: String?) throws {
    let folder = try benchFolder(dir, fresh: !resumes)
    defer { if dir == nil { try? FileManager.default.removeItem(atPath: folder) } }
    let peer = try BenchPeer(folder: folder)
    peer.start()
    Report.expected = nil
    let report = Report("ingest", pins: pins, folder: folder)
    let before = peer.count  // batches are durable in order: what is there is a beginning
    say("opened \(before)")
    if before < pins { Pinner(peer, before..<pins, report).run() }
    invariant(peer.count == pins, "\(peer.count) pins of \(pins)")
    report.end(digest: peer.digest, stalls: peer.loop)
}

func benchmarkRestart(pins: Int, dir: String?) throws {
    let folder = try existing(dir)
    let report = Report("restart", pins: pins, folder: folder)
    let peer = try BenchPeer(folder: folder)
    peer.start()
    let number = pins / 2
    peer.ask(.pinGet(FreshPins.cid(number))) { item in
        guard case .pin(let pin) = item, pin.cid == FreshPins.cid(number) else { unreachable("another pin: \(item)") }
    }
    report.end(digest: peer.digest, stalls: peer.loop)
    invariant(peer.count == pins, "\(peer.count) pins of \(pins)")
}

func existing(_ dir: String?) throws -> String {
    guard let dir, FileManager.default.fileExists(atPath: dir) else { fail("this one needs --dir with what `ingest --dir` has left there") }
    return dir
}

func benchmarkList(pins: Int, dir: String?) throws {
    let peer = try BenchPeer(folder: try existing(dir))
    peer.start()
    let report = Report("list", pins: pins)
    var (count, sum) = (0, UInt64(0))
    peer.ask(.pins([.data])) { item in
        guard case .pins(let chunk) = item else { return }
        chunk.forEach { sum &+= mix($0, seed: 1).low }
        count += chunk.count
    }
    invariant(count == pins, "\(count) pins of \(pins)")
    report.end(digest: peer.digest, stalls: peer.loop, more: [("sum", "\"\(sum)\"")])
}

/// All blocks below the heads, folded by the rules alone: the state must be that.
func benchmarkRefold(pins: Int, dir: String?) throws {
    let peer = try BenchPeer(folder: try existing(dir))
    peer.start()  // the log is read when it is durable
    let report = Report("refold", pins: pins)
    let digest = try peer.runner.look { machine in
        var (seen, stack) = (Set<CID>(), machine.replica.heads.map(\.cid))
        var (best, removed) = ([String: [(priority: UInt64, value: Bytes, block: Multihash)]](), Set<Delta.Tombstone>())
        while let cid = stack.popLast() {
            guard seen.insert(cid).inserted, let raw = try machine.replica.block(cid) else { continue }
            let block = try DeltaBlock(decoding: raw)
            for element in block.delta.elements { best[element.key, default: []].append((block.delta.priority, element.value, cid.multihash)) }
            removed.formUnion(block.delta.tombstones)
            stack += block.links
        }
        return StateDigest.of(best.compactMap { key, all in
            all.filter { !removed.contains(Delta.Tombstone(key: key, block: $0.block)) }
                .max { $0.priority != $1.priority ? $0.priority < $1.priority : $0.value.lexicographicallyPrecedes($1.value) }
                .map { (key, $0.value) }
        })
    }
    report.end(digest: digest.description)
}

/// Random reads of what is there and of what is not.
func benchmarkLookup(pins: Int, dir: String?) throws {
    let peer = try BenchPeer(folder: try existing(dir))
    peer.start()
    let present = min(1_000_000, pins * 5), absent = present * 3
    var choices = Choices(seed: 11)
    let report = Report("lookup", pins: present)
    let found = peer.runner.look { machine in
        (0..<present).count { _ in (try? machine.readPin(FreshPins.cid(choices.below(pins)))) != nil }
    }
    invariant(found == present, "\(found) of \(present) were found")
    report.end(digest: peer.digest)
    let other = Report("lookup-absent", pins: absent)
    let wrong = peer.runner.look { machine in
        (0..<absent).count { _ in (try? machine.readPin(FreshPins.cid(pins + 1 + choices.below(1 << 40)))) != nil }
    }
    invariant(wrong == 0, "\(wrong) of what is absent were found")
    other.end(digest: peer.digest)
}
