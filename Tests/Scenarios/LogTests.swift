// What an operator reads of normal work: upstream's lines, by upstream's loggers.

import Allocation
import Cluster
import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import SimNet
import Testing

@Suite struct LogTests {
    private static let loggers = ["adder", "cluster", "crdt", "dsstate", "ipfshttp", "pintracker", "shardingdags"]

    private func stage(isRead: Bool = true, _ shape: @escaping (inout PeerSettings) -> Void = { _ in }) -> Stage {
        Stage {
            if isRead { $0.infoLoggers = LogTests.loggers }
            $0.stateSyncInterval = .minutes(1)
            shape(&$0)
        }
    }

    /// What one of them says meanwhile, or all.
    private static func heard(_ stage: Stage, by peer: Int? = nil, _ body: () throws -> Void) rethrows -> [String] {
        var lines: [String] = []
        stage.world.afterStep = { _, index, _, effects in
            for case .log(let line) in effects where peer ?? index == index { lines.append("\(line.level) \(line.component): \(line.message)") }
        }
        try body()
        stage.world.afterStep = nil
        return lines
    }

    private struct Case: Sendable {
        let name: String
        /// Lines that others begin with.
        let act: @Sendable (Stage) throws -> [String]
    }

    private static func request(_ number: Int, _ factor: Int = 2) -> Pin {
        var pin = Pin(cid: Stage.content(number))
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (factor, factor)
        return pin
    }
    private static func accepted(_ stage: Stage, _ pin: Pin) throws -> Pin {
        guard case .pin(let answer)? = try stage.ask(0, .pin(pin)).first else { throw ClientFailure("no pin in the answer") }
        stage.run(.seconds(5))
        return answer
    }
    /// An operation at which its daemon fails is done again.
    private static func restarted(_ stage: Stage, _ what: String, _ operation: () throws -> Void) throws -> [String] {
        for peer in stage.world.peers { peer.ipfs.isDown = true }
        try operation()
        stage.run(.seconds(30))
        for peer in stage.world.peers { peer.ipfs.isDown = false }
        for peer in 0..<3 { try stage.ask(peer, .recoverAll(isLocal: true)) }
        return ["info pintracker: Restarting \(what) operation for \(Stage.content(1))"]
    }
    private static func content(_ count: Int) -> Bytes {
        var choices = Choices(seed: 3)
        return choices.bytes(count)
    }
    private static func sharded(_ stage: Stage, _ factor: Int) throws -> [AddedOutput] {
        var parameters = AddParameters()
        (parameters.shard, parameters.rawLeaves, parameters.options.shardSize, parameters.options.name) = (true, true, 600_000, "big")
        (parameters.options.replicationFactorMin, parameters.options.replicationFactorMax) = (factor, factor)
        return try stage.add(0, name: "file", content(700_000), parameters)
    }

    private static let cases = [
        Case(name: "pin") { stage in
            let pin = try accepted(stage, request(1)), cid = pin.cid
            let peers = (pin.allocations ?? []).map(\.description).joined(separator: " ")
            return ["info cluster: pinning \(cid) on [\(peers)]:", "info crdt: new pin added: \(cid)", "info ipfshttp: IPFS Pin request succeeded: \(cid)"]
        },
        Case(name: "pin everywhere") { ["info cluster: pinning \(try accepted($0, request(1, -1)).cid) everywhere:"] },
        Case(name: "unpin") { stage in
            let cid = try accepted(stage, request(1)).cid
            try stage.ask(0, .unpin(cid))
            stage.run(.seconds(5))
            return ["info cluster: IPFS cluster unpinning:\(cid)", "info crdt: pin removed: \(cid)", "info ipfshttp: IPFS Unpin request succeeded:\(cid)"]
        },
        Case(name: "expiry") { stage in
            var pin = request(1)
            pin.options.expireAt = WallTime(seconds: SimClock().reading(stage.world.now).wall.seconds + 30)
            _ = try accepted(stage, pin)
            stage.run(.minutes(3))
            return ["info cluster: Unpinning \(pin.cid): pin expired at \(pin.options.expireAt.plain) +0000 UTC", "info cluster: IPFS cluster unpinning:\(pin.cid)"]
        },
        Case(name: "a pin again") { stage in try restarted(stage, "pin") { _ = try accepted(stage, request(1)) } },
        Case(name: "an unpin again") { stage in
            _ = try accepted(stage, request(1))
            return try restarted(stage, "unpin") { try stage.ask(0, .unpin(Stage.content(1))) }
        },
        Case(name: "every fiftieth block") { stage in
            for number in 0..<50 { try stage.pin(0, number) }
            let head = try #require(stage.machine(0).replica.heads.first)
            #expect(head.height == 50)
            return ["info crdt: merged delta from node \(head.cid) (priority: 50)"]
        },
        Case(name: "numbers of the store") { stage in
            stage.run(.minutes(5))
            return ["info crdt: Number of heads: 0. Current max height: 0. Queued jobs: 0. Dirty: false"]
        },
        Case(name: "start") { stage in
            try stage.pin(0, 1)
            stage.world.crash(0)
            stage.world.start(0)
            stage.run(.seconds(20))
            return [
                "info crdt: crdt Datastore created. Number of heads: 1. Current max-height: 1. Dirty: false",
                "info crdt: 'trust all' mode enabled. Any peer in the cluster can modify the pinset.", "info crdt: store is marked clean. No need to repair",
            ]
        },
        Case(name: "whom it is told of") { stage in
            try stage.ask(0, .peerAdd(stage.world.peers[1].id))
            return ["info cluster: Peer added \(stage.world.peers[1].id)"]
        },
        Case(name: "whom it has lost") { stage in
            stage.world.partition([0], from: [1, 2])
            stage.run(.minutes(2))
            stage.world.healAll()
            stage.run(.minutes(6))
            return ["info cluster: reconnected to "]
        },
        Case(name: "add") { stage in
            let root = try #require(try stage.add(0, name: "file", content(1000)).last?.cid)
            return ["info adder: \(root) successfully added to cluster"]
        },
        Case(name: "add in shards") { stage in
            let lines = try sharded(stage, 1), shards = lines.filter { $0.name.hasPrefix("shard-") }
            let root = try #require(lines.first { $0.name == "file" }?.cid), list = try #require(lines.first { $0.name == "big-clusterDAG" })
            let size = byteText(list.size)
            #expect(shards.count == 2)
            return try shards.enumerated().flatMap { number, shard in
                [
                    "info shardingdags: new shard for 'big': #\(number)",
                    "info shardingdags: shard #\(number) (\(try #require(shard.cid))) completed. Total size: \(byteText(shard.size)). Links: \(number == 0 ? 2 : 4)",
                ]
            } + [
                "info shardingdags: sharding session successful:\nCID: \(root)\nClusterDAG: \(try #require(list.cid))\nTotal shards: 2\nTotal size: \(size)\nTotal time: ",
                "info adder: \(root) successfully added to cluster",
            ]
        },
    ]

    /// What is read by nobody is not made.
    @Test(arguments: cases.map(\.name), [true, false]) func normalWorkIsToldToWhoReadsIt(_ name: String, isRead: Bool) throws {
        let stage = stage(isRead: isRead)
        var expected: [String] = []
        let lines = try LogTests.heard(stage) { expected = try #require(LogTests.cases.first { $0.name == name }).act(stage) }
        #expect(!expected.isEmpty)
        for line in expected { #expect(lines.contains { $0.hasPrefix(line) } == isRead, "\(line)\n\(lines.joined(separator: "\n"))") }
    }

    private static let warnings = [
        Case(name: "no daemon at the start") { stage in
            stage.world.crash(0)
            stage.world.peers[0].ipfs.isDown = true
            stage.world.start(0)
            stage.run(.seconds(15))
            return ["warning ipfshttp: ipfs does not seem to be available after 10 retries"]
        },
        Case(name: "no space") { stage in
            for peer in stage.world.peers { peer.ipfs.storageMax = 0 }
            stage.run(.minutes(1))
            return ["warning diskinfo: reported freespace is 0"]
        },
        Case(name: "a graph without a daemon") { stage in
            stage.world.peers[1].ipfs.isDown = true
            try stage.ask(0, .connectGraph, within: .minutes(2))
            return ["warning cluster: ipfs id:  has error: "]
        },
        Case(name: "a listing that ends early") { stage in
            for number in 0..<40 { try stage.pin(0, number) }
            let client = stage.world.ask(0, .pins([.data])) { _, _ in }
            stage.world.hangUp(0, client)
            stage.run(.seconds(1))
            return ["warning dsstate: full pinset listing aborted: context canceled"]
        },
        Case(name: "shards for everybody") { stage in
            _ = try sharded(stage, -1)
            return [
                "warning shardingdags: Shard is set to replicate everywhere ,which doesn't make sense for sharding",
                "warning shardingdags: the last added CID (Qm",
            ]
        },
        Case(name: "a destination that is gone") { stage in
            stage.world.lose(2)
            var parameters = AddParameters()
            parameters.options.userAllocations = stage.world.peers.dropFirst().map(\.id)
            _ = try stage.add(0, name: "file", content(1000), parameters)
            return [
                "warning adder: there were errors streaming blocks, but at least one destination succeeded",
                "warning adder: \(stage.world.peers[2].id): ",
            ]
        },
    ]

    /// What should be looked into is told in any case.
    @Test(arguments: warnings.map(\.name)) func whatIsOddIsTold(_ name: String) throws {
        let stage = stage(isRead: false) { $0.listing.bytesPerChunk = 500 }
        var expected: [String] = []
        let lines = try LogTests.heard(stage) { expected = try #require(LogTests.warnings.first { $0.name == name }).act(stage) }
        for line in expected { #expect(lines.contains { $0.hasPrefix(line) }, "\(line)\n\(lines.joined(separator: "\n"))") }
    }

    /// Why the batch is committed, and with how many.
    @Test(arguments: [(3, "size", 3), (2, "max age", 2), (2, "shutdown", 2), (0, "shutdown", 0)]) func batchesAreTold(count: Int, why: String, items: Int) throws {
        let stage = stage { ($0.replica.batchSizeMax, $0.replica.batchAgeMax) = (3, .minutes(1)) }
        let lines = try LogTests.heard(stage, by: 0) {
            for number in 0..<count { try stage.pin(0, number) }
            if why == "shutdown" { stage.world.stop(0) } else { stage.run(.minutes(2)) }
            stage.run(.seconds(5))
            stage.world.start(0)
            stage.run(.seconds(5))
        }.filter { $0.contains("batch") }
        let started = why == "shutdown" ? ["info crdt: 'crdt batching' enabled: 3 items / 1m0s"] : []
        #expect(lines == ["info crdt: batch commit (\(why)): \(items) items"] + started)
    }

    /// CLI-055: those that were dialled at the start, and have answered.
    @Test(arguments: [0, 1, 2]) func thePeersThatAnsweredAreListed(lost: Int) throws {
        let stage = stage()
        for peer in [1, 2].prefix(lost) { stage.world.lose(peer) }
        stage.world.crash(0)
        let lines = LogTests.heard(stage, by: 0) {
            stage.world.start(0)
            stage.run(.minutes(1))
        }
        let at = try #require(lines.firstIndex(of: "info cluster: Cluster Peers (without including ourselves):"))
        let answered = stage.world.peers.dropFirst(1 + lost).map(\.id).sorted().map(\.description)
        let expected = (lost == 2 ? ["No other peers"] : answered).map { "info cluster:     - \($0)" }
        #expect(Array(lines[(at + 1)...].prefix(max(1, answered.count))) == expected)
        #expect(lines.count { $0.contains("    - ") } == expected.count)
    }
}
