// Listing the pinset in chunks: every pin once, and nothing left behind.

import Cluster
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

/// A peer whose state was written before it began.
private struct Lister {
    var peer: ClusterPeer
    private var choices = Choices(seed: 1)
    private static let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))

    init(_ entries: [(key: String, value: Bytes)], settings shape: (inout ListingSettings) -> Void = { _ in }) throws {
        let disk = MemoryDisk(), key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        var settings = PeerSettings(me: key.peerID)
        shape(&settings.listing)
        try Lister.write(entries, to: disk, settings.replica)
        var effects: [PeerEffect] = []
        peer = try ClusterPeer(
            settings: settings, disk: disk, signer: IdentitySigner(key: key), at: Self.now, choices: &choices, effects: &effects)
        for case .disk(let effect) in effects { if let event = disk.carryOut(effect) { _ = replies(.disk(event)) } }
    }

    private static func write(_ entries: [(key: String, value: Bytes)], to disk: MemoryDisk, _ settings: ReplicaSettings) throws {
        var choices = Choices(seed: 2)
        var effects: [Replica.Effect] = []
        var replica = try Replica(settings: settings, owner: 4, reader: disk, now: now, choices: &choices, effects: &effects)
        let changes = entries.map { Replica.BatchChange.put(key: $0.key, value: $0.value) }
        for start in stride(from: 0, to: changes.count, by: 20) {
            replica.write(Array(changes[start..<min(start + 20, changes.count)]), OperationID(UInt64(start)), now: now, effects: &effects)
            while !effects.isEmpty {
                guard case .disk(let effect) = effects.removeFirst(), let event = disk.carryOut(effect) else { continue }
                replica.onDisk(event, now: now, effects: &effects)
            }
        }
    }

    mutating func replies(_ input: PeerInput) -> [ClientReply] {
        var effects: [PeerEffect] = []
        peer.step(input, at: Self.now, choices: &choices, effects: &effects)
        return effects.compactMap { if case .reply(_, let reply) = $0 { reply } else { nil } }
    }

    /// All chunks of a listing.
    mutating func list(_ types: Set<PinType>, as client: ClientID = ClientID(1)) -> [StoredPins] {
        var chunks: [StoredPins] = []
        var input = PeerInput.client(client, .pins(types))
        while true {
            let replies = replies(input)
            for case .item(.pins(let pins)) in replies { chunks.append(pins) }
            if replies.last == .end { return chunks }
            guard replies.count == 1, chunks.count < 100_000 else { Issue.record("\(replies)"); return chunks }
            input = .clientInput(client, .more)
        }
    }
}

@Suite struct ListingTests {
    private let all: Set<PinType> = [.data, .meta, .clusterDAG, .shard]

    private func pins(_ count: Int, seed: UInt64) -> [Pin] {
        var choices = Choices(seed: seed)
        var seen: Set<CID> = []
        return (0..<count).map { _ in choices.randomPin() }.filter { seen.insert($0.cid).inserted }
    }
    private func entries(_ pins: [Pin]) -> [(key: String, value: Bytes)] { pins.map { ($0.cid.stateKey, $0.protobuf) } }
    /// In the order of the keys, as the state gives them back.
    private func want(_ pins: [Pin], _ types: Set<PinType>) throws -> [Pin] {
        try pins.filter { types.contains($0.type) }.sorted { $0.cid.stateKey < $1.cid.stateKey }
            .map { try Pin(protobuf: $0.protobuf, cid: $0.cid) }
    }

    private func inOrder(_ pins: [Pin]) -> [Pin] { pins.sorted { $0.cid.stateKey < $1.cid.stateKey } }

    @Test func everyPinIsInOneChunk() throws {
        let pins = pins(1000, seed: 1)
        for (bytes, most, fewest) in [(1, 60, 20), (20_000, 300, 4), (1 << 20, 1000, 1)] {
            var lister = try Lister(entries(pins)) { $0.bytesPerChunk = bytes }
            for types in [all, [.data], [.shard, .meta]] {
                let chunks = lister.list(types)
                #expect(inOrder(chunks.flatMap(\.pins)) == (try want(pins, types)))
                #expect(chunks.allSatisfy { $0.count <= most } && chunks.count >= fewest)
                #expect(lister.peer.listingCount == 0)
            }
        }
        var lister = try Lister(entries(pins))
        #expect(lister.list([]).allSatisfy { $0.isEmpty })
    }

    /// A filter that lets nothing through still looks at so many pins at a time.
    @Test func aStepIsBoundedWhateverMatches() throws {
        var data = pins(300, seed: 2)
        for index in data.indices { data[index].type = .data }
        var lister = try Lister(entries(data)) { $0.bytesPerChunk = 1000 }
        let chunks = lister.list([.shard])
        #expect(chunks.count >= 6 && chunks.allSatisfy { $0.isEmpty })
    }

    @Test func whatTheStateHoldsBesidesPinsOfItsOwnForm() throws {
        var choices = Choices(seed: 3)
        let (one, other) = (choices.randomCID(), CID(v1: Codec.raw, .sha2_256(of: [1])))
        var pin = Pin(cid: other)
        pin.options.name = "of another CID"
        let foreign = Pin(cid: one).protobuf
        var lister = try Lister([
            (other.stateKey, pin.protobuf.suffix(from: 38) + []),  // no CID of its own
            ("/nonsense", foreign), (choices.randomCID().stateKey, [0xff]), ("plain", foreign),
            (CID(v1: Codec.dagCBOR, .sha2_256(of: [2])).stateKey, foreign),  // the CID of another
        ])
        let chunks = lister.list(all)
        #expect(inOrder(chunks.flatMap(\.pins)).map(\.cid) == [other, CID(v1: Codec.dagCBOR, .sha2_256(of: [2]))].sorted { $0.stateKey < $1.stateKey })
        #expect(chunks.flatMap(\.pins).contains { $0.options.name == "of another CID" })
    }

    @Test func whoGoesAwayLeavesNothing() throws {
        var lister = try Lister(entries(pins(100, seed: 4))) { $0.bytesPerChunk = 1000 }
        #expect(lister.replies(.client(ClientID(1), .pins(all))).count == 1 && lister.peer.listingCount == 1)
        _ = lister.replies(.client(ClientID(2), .pins(all)))
        #expect(lister.replies(.clientGone(ClientID(1))).isEmpty && lister.peer.listingCount == 1)
        #expect(lister.replies(.clientInput(ClientID(1), .more)).isEmpty, "it is gone")
        #expect(lister.replies(.clientInput(ClientID(2), .more)).count == 1)
        _ = lister.replies(.clientGone(ClientID(2)))
        #expect(lister.peer.listingCount == 0)
        #expect(lister.replies(.clientInput(ClientID(3), .more)).isEmpty, "it never asked")
    }
}
