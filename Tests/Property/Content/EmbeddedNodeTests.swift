// The embedded IPFS node, alone with a disk.

import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

private struct Node {
    var machine: EmbeddedNode
    let disk = MemoryDisk()
    var effects: [IPFSEffect] = []
    /// Syncs that have not ended.
    var syncs: [DiskEvent] = []
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))

    init(_ settings: EmbeddedSettings) throws {
        machine = try Node.open(settings, disk, now, &effects)
        settle()
    }
    private static func open(_ settings: EmbeddedSettings, _ disk: MemoryDisk, _ now: Now, _ effects: inout [IPFSEffect]) throws -> EmbeddedNode {
        let me = try PeerID(text: "12D3KooWLQJW7MDDB3QB5W6YxXhZKQ2KmGCqDLAtEDteKUMLg3Nb")
        return try EmbeddedNode(settings: settings, me: me, owner: 5, reader: disk, now: now, effects: &effects)
    }
    mutating func reopen() throws {
        machine = try Node.open(EmbeddedSettings(), disk, now, &effects)
        settle()
    }
    /// Carries out what concerns the disk; syncs end when `endSyncs` says so.
    private mutating func settle() {
        for case .disk(let effect) in effects { if let event = disk.carryOut(effect) { syncs.append(event) } }
        effects.removeAll { if case .disk = $0 { true } else { false } }
    }
    mutating func act(_ body: (inout EmbeddedNode, Now, inout [IPFSEffect]) -> Void) -> [IPFSEffect] {
        body(&machine, now, &effects)
        settle()
        defer { effects = [] }
        return effects
    }
    mutating func endSyncs() -> [IPFSEffect] {
        let ended = syncs
        syncs = []
        return act { node, _, effects in for event in ended { node.onDisk(event, effects: &effects) } }
    }
    mutating func put(_ call: IPFSCallID, _ number: Int) -> [IPFSEffect] {
        let data = Bytes(repeating: UInt8(number), count: 600)
        let block = NodeWithMeta(data: data, cid: CID(v1: Codec.raw, .sha2_256(of: data)), cumulativeSize: 600)
        return act { $0.put(call, block, now: $1, effects: &$2) }
    }
}

@Suite struct EmbeddedNodeTests {
    /// What an upload has put is kept until its pin comes, also what was here before, or was put before a restart (seed 7000222).
    @Test func whatWasJustPutIsNoGarbage() throws {
        var node = try Node(EmbeddedSettings())
        let grace = EmbeddedSettings().gracePeriod
        var calls: UInt64 = 0
        func put(_ number: Int) {
            calls += 1
            _ = node.act { $0.start(.blockPut, IPFSCallID(calls), now: $1, effects: &$2) }
            _ = node.put(IPFSCallID(calls), number)
            _ = node.act { $0.endPut(IPFSCallID(calls), effects: &$2) } + node.endSyncs()
        }
        func collected() -> Int {
            calls += 1
            let effects = node.act { $0.start(.repoGC, IPFSCallID(calls), now: $1, effects: &$2) } + node.endSyncs()
            return effects.count { if case .item(_, .collected) = $0 { true } else { false } }
        }
        put(1)
        put(2)
        node.now.monotonic = node.now.monotonic + grace
        put(1)
        #expect(collected() == 1 && collected() == 0)
        node.now.monotonic = node.now.monotonic + grace
        try node.reopen()
        #expect(collected() == 0)
        node.now.monotonic = node.now.monotonic + grace
        #expect(collected() == 1)
    }
    /// It has been here for long, and its pin is on its way to the disk.
    @Test func whatIsJustBeingPinnedIsNoGarbage() throws {
        var node = try Node(EmbeddedSettings())
        let block = CID(v1: Codec.raw, .sha2_256(of: Bytes(repeating: 1, count: 600)))
        _ = node.act { $0.start(.blockPut, IPFSCallID(1), now: $1, effects: &$2) }
        _ = node.put(IPFSCallID(1), 1)
        _ = node.act { $0.endPut(IPFSCallID(1), effects: &$2) } + node.endSyncs()
        node.now.monotonic = node.now.monotonic + EmbeddedSettings().gracePeriod
        _ = node.act { $0.start(.pin(Pin(cid: block)), IPFSCallID(2), now: $1, effects: &$2) }
        _ = node.act { $0.start(.repoGC, IPFSCallID(3), now: $1, effects: &$2) }
        while !node.syncs.isEmpty { _ = node.endSyncs() }
        #expect(node.machine.pins.keys == [block])
        #expect(try node.machine.block(block) != nil)
    }
    @Test func whoeverPutsFasterThanTheDiskSyncsWaits() throws {
        var settings = EmbeddedSettings()
        settings.unsyncedBytesMax = 1000
        var node = try Node(settings)
        let call = IPFSCallID(1)
        _ = node.act { $0.start(.blockPut, call, now: $1, effects: &$2) }
        #expect(node.put(call, 1).contains(.drained(call)) && node.syncs.isEmpty)
        #expect(node.put(call, 2).contains(.drained(call)) && node.syncs.count == 1, "what waits is synced")
        #expect(node.put(call, 3).contains(.drained(call)))
        #expect(!node.put(call, 4).contains(.drained(call)), "more than twice the limit waits")
        #expect(node.endSyncs().contains(.drained(call)))
        let ending = node.act { $0.endPut(call, effects: &$2) }
        #expect(ending.isEmpty, "not done before all of it is durable")
        var last: [IPFSEffect] = []
        while !node.syncs.isEmpty { last += node.endSyncs() }
        #expect(last.contains(.finished(call, .success(.done))))
    }

    @Test func aBlockThatIsNotWhatItsNameSaysIsRefused() throws {
        var node = try Node(EmbeddedSettings())
        let call = IPFSCallID(1)
        _ = node.act { $0.start(.blockPut, call, now: $1, effects: &$2) }
        let cid = CID(v1: Codec.raw, .sha2_256(of: [1]))
        let effects = node.act { $0.put(call, NodeWithMeta(data: [2], cid: cid, cumulativeSize: 1), now: $1, effects: &$2) }
        #expect(effects == [.finished(call, .failure(IPFSFailure("the data of block \(cid) does not match its CID")))])
        #expect(try node.machine.block(cid) == nil)
    }

    /// Nobody could send it: its CID is all there is.
    @Test func whatAnIdentityHashNamesIsHere() throws {
        var node = try Node(EmbeddedSettings())
        let cid = CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: Bytes("all there is".utf8)))
        #expect(try node.machine.block(cid) == Bytes("all there is".utf8) && node.machine.blockSize(cid) == 12)
        let call = IPFSCallID(1)
        let effects = node.act { $0.start(.pin(Pin(cid: cid)), call, now: $1, effects: &$2) }
        #expect(effects.allSatisfy { if case .want = $0 { false } else { true } })
        #expect(node.endSyncs().contains(.finished(call, .success(.done))))
        #expect(node.machine.pins[cid] == -1 && node.machine.storedBytes == 0)
    }

    @Test func aPinWithoutBlocksAsksForThemAndGivesUp() throws {
        var node = try Node(EmbeddedSettings())
        let (call, cid) = (IPFSCallID(7), CID(v1: Codec.raw, .sha2_256(of: [9])))
        #expect(node.act { $0.start(.pin(Pin(cid: cid)), call, now: $1, effects: &$2) } == [.want([cid])])
        node.now.monotonic = node.now.monotonic + .minutes(2)
        let effects = node.act { $0.onTime(now: $1, effects: &$2) }
        #expect(effects.first == .unwant([cid]))
        guard case .finished(call, .failure(let failure))? = effects.last else { throw IPFSFailure("the pin goes on") }
        #expect(failure.description.contains("no member of the cluster seems to have \(cid)"))
        #expect(node.machine.nextDeadline == nil)
    }

    @Test func aBlockIsWantedAsLongAsOneOfThoseWhoMissItWaits() throws {
        var node = try Node(EmbeddedSettings())
        let (first, second, block) = (IPFSCallID(1), IPFSCallID(2), Bytes([9]))
        let cid = CID(v1: Codec.raw, .sha2_256(of: block))
        #expect(node.act { $0.start(.pin(Pin(cid: cid)), first, now: $1, effects: &$2) } == [.want([cid])])
        node.now.monotonic = node.now.monotonic + .minutes(1)
        #expect(node.act { $0.start(.pin(Pin(cid: cid)), second, now: $1, effects: &$2) } == [])
        node.now.monotonic = node.now.monotonic + .minutes(1)
        let effects = node.act { $0.onTime(now: $1, effects: &$2) }
        #expect(effects.contains { if case .finished(first, .failure) = $0 { true } else { false } })
        #expect(!effects.contains(.unwant([cid])) && node.machine.isWaiting(for: cid.multihash))
        node.machine.checkInvariants()
        _ = node.act { $0.onBlock(cid, block, now: $1, effects: &$2) }
        #expect(node.endSyncs().contains(.finished(second, .success(.done))))
    }

    /// What a call has stored or seen may be lost with what the disk could not take (seed 4000643).
    @Test func whoeverLosesBlocksToAFullDiskHearsOfIt() throws {
        var settings = EmbeddedSettings()
        settings.unsyncedBytesMax = 100
        var node = try Node(settings)
        let (upload, pin) = (IPFSCallID(1), IPFSCallID(2))
        let leaves = (1...2).map { Bytes(repeating: $0, count: 200) }.map { ($0, CID(v1: Codec.raw, .sha2_256(of: $0))) }
        let root = DagPBNode(links: leaves.map { DagPBLink(cid: $0.1, size: 200) }, data: []).encoded
        let rootCID = CID(v1: Codec.dagPB, .sha2_256(of: root))
        node.disk.isFull = true
        _ = node.act { $0.start(.blockPut, upload, now: $1, effects: &$2) }
        _ = node.put(upload, 1)
        _ = node.act { $0.start(.pin(Pin(cid: rootCID)), pin, now: $1, effects: &$2) }
        #expect(node.act { $0.onBlock(rootCID, root, now: $1, effects: &$2) }.contains(.want(leaves.map(\.1))))
        var heard: [IPFSEffect] = []
        while !node.syncs.isEmpty { heard += node.endSyncs() }
        for call in [upload, pin] {
            #expect(heard.contains { if case .finished(call, .failure(let failure)) = $0 { failure.description.contains("full") } else { false } })
        }
        #expect(try node.machine.block(rootCID) == nil && node.machine.nextDeadline == nil)
    }
}
