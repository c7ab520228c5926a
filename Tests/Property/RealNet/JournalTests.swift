// Real peers on loopback, recorded, and their lives lived again.

import Allocation
import Cluster
import Gossip
import MerkleCRDT
import Storage
import Foundation
import IPFSConnector
import Journal
import Kernel
import Monitoring
import Multiformats
import Pinset
import RealNet
import Seams
import Testing
import TestSupport
import Transport

private final class RecordedPair {
    let loop = EventLoop()
    let folder = NSTemporaryDirectory() + "ipfs-cluster-test-\(UUID().uuidString)"
    let keys: [IdentityKey]
    var peers: [PeerRunner?] = [nil, nil]
    var logs: [String] = []
    var bytesMax = 64 << 20

    init() throws { keys = try (1...2).map { try IdentityKey(seed: Bytes(repeating: $0, count: 32)) } }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func start(_ index: Int) throws {
        var settings = PeerSettings(me: keys[index].peerID)
        settings.peerName = "peer\(index)"
        settings.factors = ReplicationFactors(min: -1, max: -1)
        settings.informers.pingInterval = .milliseconds(200)
        settings.gossip.heartbeatInterval = .milliseconds(200)
        settings.book.backoffBase = .milliseconds(100)
        settings.ipfs = .embedded(EmbeddedSettings())
        settings.replica.index.tableEntries = 256
        if let other = peers[1 - index] { settings.bootPeers = [(keys[1 - index].peerID, other.listening, true)] }
        var home = PeerHome(
            key: keys[index], secret: Bytes(repeating: 7, count: 32), listen: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")],
            dataFolder: "\(folder)/\(index)")
        home.journal = JournalPlace(path: journal(index), bytesMax: bytesMax)
        let runner = try PeerRunner(loop: loop, home: home, settings: settings) { [unowned self] in logs.append($0.message) }
        peers[index] = runner
        runner.start()
    }
    func journal(_ index: Int, _ life: Int = 1) -> String { "\(folder)/journal\(index)" + (life == 1 ? "" : ".\(life)") }

    func run(until condition: @escaping () -> Bool) -> Bool {
        let end = Machine.now.monotonic + .seconds(20)
        while !condition() {
            guard Machine.now.monotonic < end else { return false }
            loop.after(.milliseconds(20)) { [loop] in loop.stop() }
            loop.run()
        }
        return true
    }
    func ask(_ index: Int, _ request: ClientRequest, _ inputs: [ClientInput] = []) throws -> [ClientItem] {
        var (items, isOver) = ([ClientItem](), false)
        var failure: ClientFailure?
        var client: ClientID?
        client = peers[index]?.ask(request) { [unowned self] reply in
            switch reply {
            case .item(let item):
                items.append(item)
                loop.later { [unowned self] in if let client { peers[index]?.send(client, .more) } }
            case .end: isOver = true
            case .failed(let why): (isOver, failure) = (true, why)
            case .pause, .resume: break
            }
        }
        for input in inputs { if let client { peers[index]?.send(client, input) } }
        try #require(run(until: { isOver }), "\(logs.suffix(10))")
        if let failure { throw failure }
        return items
    }
}

private func replayed(_ path: String, upTo end: Int = .max) throws -> Replayer {
    let bytes = Bytes(try Data(contentsOf: URL(fileURLWithPath: path))).prefix(end)
    var offset = 0
    let replayer = try Replayer { count in
        let end = min(bytes.count, offset + count)
        defer { offset = end }
        return Bytes(bytes[offset..<end])
    }
    _ = replayer.open()
    while replayer.nextInput() != nil { _ = replayer.step() }
    return replayer
}

@Suite(.serialized) struct JournalTests {
    @Test func realPeersLiveAgain() throws {
        let pair = try RecordedPair()
        for index in 0..<2 { try pair.start(index) }
        #expect(pair.run(until: { (try? pair.ask(0, .peers).count) == 2 }), "\(pair.logs)")
        var choices = Choices(seed: 4)
        var batch = PinBatch()
        for _ in 0..<600 { batch.append(choices.randomCID(), name: "b") }
        _ = try pair.ask(0, .pinAll(batch))
        let added = try pair.ask(1, .add(AddParameters()), [.file(name: "f"), .data(choices.bytes(700_000)), .endOfFile, .end])
        guard case .added(let line)? = added.last, let root = line.cid else { throw ClientFailure("nothing was added") }
        #expect(pair.run(until: { (try? pair.ask(0, .pinGet(root)).count) == 1 }))
        // While they run: what was recorded is in the file already.
        for index in 0..<2 {
            let running = try replayed(pair.journal(index))
            #expect(running.difference == nil && running.error == nil && running.inputs > 50 && !running.endsWithinStep)
            guard case .broken? = running.ending else { Issue.record("\(String(describing: running.ending))"); return }
        }
        // One is dropped without a word, and starts again on its files.
        pair.peers[1]?.close()
        pair.peers[1] = nil
        try pair.start(1)
        #expect(pair.logs.contains { $0.contains("journal1.2") })
        #expect(pair.run(until: { (try? pair.ask(1, .pinGet(root)).count) == 1 }))
        _ = try pair.ask(1, .statusAll([], isLocal: true))
        for peer in pair.peers { peer?.shutDown() }
        loopFor(pair, .milliseconds(200))
        for peer in pair.peers { peer?.close() }
        var inputs = 0
        for path in [pair.journal(0), pair.journal(1), pair.journal(1, 2)] {
            let replayer = try replayed(path)
            #expect(replayer.difference == nil && replayer.error == nil && replayer.ending == .said(.closed), "\(path): \(String(describing: replayer.difference))")
            inputs += replayer.inputs
            // The file has been cut to what was written.
            #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        }
        #expect(inputs > 100)
    }

    private func loopFor(_ pair: RecordedPair, _ span: Span) {
        pair.loop.after(span) { pair.loop.stop() }
        pair.loop.run()
    }

    /// All lives together keep to the bound, and none is written over.
    @Test func theBoundIsThatOfAllLives() throws {
        let pair = try RecordedPair()
        pair.bytesMax = 300_000
        for life in 1...12 {
            try pair.start(0)
            #expect(pair.run(until: { pair.peers[0]?.isReady == true }))
            _ = try pair.ask(0, .add(AddParameters()), [.file(name: "f"), .data(Bytes(repeating: UInt8(life), count: 60_000)), .endOfFile, .end])
            pair.peers[0]?.close()
            pair.peers[0] = nil
        }
        let sizes = (1...12).compactMap { try? FileManager.default.attributesOfItem(atPath: pair.journal(0, $0))[.size] as? Int }
        #expect(sizes.reduce(0, +) <= 300_000 && sizes.count >= 2, "\(sizes)")
        #expect(pair.logs.contains { $0.contains("has reached its bound") } && pair.logs.contains { $0.contains("this run is not recorded") })
        for life in 1...sizes.count { #expect(try replayed(pair.journal(0, life)).difference == nil) }
    }

    @Test func recordsOfAnySizeGoThroughTheWindows() throws {
        let path = NSTemporaryDirectory() + "journal-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let file = try JournalFile(path: path, bytesMax: 64 << 20)
        var expected = Bytes()
        var choices = Choices(seed: 2)
        for count in [1, 0, 4 << 20, 3, (4 << 20) - 4, 9_000_000, 77, 1 << 20] {
            let piece = choices.bytes(count)
            #expect(piece.withUnsafeBytes { file.append($0) } == nil)
            expected += piece
            let there = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(there.count >= expected.count && there.prefix(expected.count).elementsEqual(expected))
        }
        file.close()
        #expect(Bytes(try Data(contentsOf: URL(fileURLWithPath: path))) == expected)
        #expect(([1] as Bytes).withUnsafeBytes { file.append($0) } != nil)
        #expect(throws: JournalFileError.self) { try JournalFile(path: path, bytesMax: 1) }
        #expect(throws: JournalFileError.self) { try JournalFile(path: "/nowhere/at/all", bytesMax: 1) }
    }
}
