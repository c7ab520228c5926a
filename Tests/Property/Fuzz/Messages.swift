// Protobuf messages that peers exchange.

import AutoNAT
import DHT
import Discovery
import Encoding
import Exchange
import Gossip
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Transport
import UnixFS

extension Target {
    static let messages: [Target] = [
        Target("protobuf", upTo: 1024, seeds: { Seeds.hex("pins.ndjson", "proto") + Seeds.hex("identity/pubsub.ndjson", "message") }) {
            Target.walk(ProtobufReader($0), depth: 0)
        },
        Target("frames", upTo: 2048, seeds: { [framed([1, 2, 3]) + framed([]) + framed(Bytes(repeating: 7, count: 200))] }) { bytes in
            // However it is cut, the same comes out.
            var whole = FrameReader(limitBytes: 1000), pieces = FrameReader(limitBytes: 1000)
            let step = 1 + Int(bytes.first ?? 0) % 16
            var (found, again): ([Bytes], [Bytes]) = ([], [])
            var (fault, otherFault): (FrameError?, FrameError?)
            whole.append(bytes)
            do throws(FrameError) { while let frame = try whole.next() { found.append(Bytes(frame)) } } catch { fault = error }
            for start in stride(from: 0, to: bytes.count, by: step) where otherFault == nil {
                pieces.append(Bytes(bytes[start..<min(start + step, bytes.count)]))
                do throws(FrameError) { while let frame = try pieces.next() { again.append(Bytes(frame)) } } catch { otherFault = error }
            }
            require(found == again && fault == otherFault, "cut otherwise, other frames: \(found) \(again)")
        },
        .roundTrip("gossip-message", upTo: 1024, seeds: { Seeds.hex("identity/pubsub.ndjson", "message") },
                   decode: { try GossipMessage(decoding: $0[...]) },
                   encode: { message in
                       _ = (message.id, message.signedBytes)
                       return message.encoded
                   }),
        .roundTrip("bitswap", upTo: 1024, seeds: Target.bitswapSeeds, decode: { try BitswapMessage(decoding: $0[...]) }, encode: { message in
            require(message.frame == framed(message.encoded), "a frame of other bytes")
            return message.encoded
        }),
        Target("dht-message", upTo: 1024, seeds: Target.dhtSeeds) { bytes in
            let limits = DHTMessageLimits()
            comesBack(bytes, { try DHTMessage(decoding: $0[...], within: limits) }, { $0.encoded })
            guard let message = try? DHTMessage(decoding: bytes[...], within: limits) else { return }
            for peers in [message.closer, message.providers] {
                require(peers.count <= limits.peersMax, "\(peers.count) peers")
                require(peers.allSatisfy { $0.addresses.count <= limits.addressesPerPeerMax }, "addresses without bounds")
            }
        },
        Target("ipns-record", upTo: 2560, seeds: { Seeds.hex("ipns.ndjson", "value", kind: "validate") }) { bytes in
            guard let record = try? IPNSRecord(bytes) else { return require(!IPNSRecord.replaces(bytes, bytes), "what cannot be read replaces itself") }
            require(bytes.count <= IPNSRecord.bytesMax, "a record of \(bytes.count) bytes")
            let isSound = { (name: PeerID) in (try? record.check(name: name, now: .epoch)) != nil }
            require(!isSound(Here.peer(1)), "a record of nobody's is sound")
            // Of it and the same with something behind it that nobody knows, one takes the place of the other.
            let longer = bytes + [0x7a, 1, 0]
            let (first, second) = (IPNSRecord.replaces(bytes, longer), IPNSRecord.replaces(longer, bytes))
            require(!first || !second || longer.count > IPNSRecord.bytesMax, "each of two records replaces the other")
        },
        Target("autonat-message", upTo: 512, seeds: Target.autoNATSeeds) { bytes in
            guard let message = try? AutoNATMessage(decoding: bytes[...]), message.response.map({ $0.status != nil }) ?? true else { return }
            comesBack(bytes, { try AutoNATMessage(decoding: $0[...]) }, { $0.encoded })
        },
        Target("mdns-message", upTo: 1024, seeds: Target.mdnsSeeds) { bytes in
            comesBack(bytes, { try DNSMessage(decoding: $0) }, { message in
                // Names that were short because they pointed at others are written in full, so that it may be too long now.
                message.encoded.count <= DNSMessage.bytesMax ? message.encoded : bytes
            })
        },
        Target("identify", upTo: 1536, seeds: {
            Seeds.hex("identity/records.ndjson", "message", kind: "identify").flatMap { [$0, framed($0)] }
        }) { bytes in
            var message = IdentifyMessage()
            if (try? message.merge(bytes[...])) != nil {
                var again = IdentifyMessage()
                require((try? again.merge(message.encoded[...])) != nil && again == message, "identify does not come back")
            }
            guard let message = try? IdentifyMessage(wire: bytes) else { return }
            require((try? IdentifyMessage(wire: message.wire)) == message, "identify does not come back over the wire")
            guard let remote = try? Multiaddr(text: "/ip4/1.2.3.4/tcp/4001") else { return }
            let usable = message.usableAddresses(of: Here.peer(1), seenAt: remote, limit: 8)
            require(usable.count <= 8, "\(usable.count) addresses")
        },
        Target("peer-record", upTo: 1024, seeds: { Seeds.hex("identity/records.ndjson", "envelope") }) { bytes in
            guard let (record, key) = try? PeerRecord.open(bytes) else { return }
            require((try? PeerRecord(sealed: bytes, by: key.peerID)) == record || record.peer != key.peerID, "opened in two ways")
            let sealed = record.sealed(by: Here.key(1))
            require((try? PeerRecord.open(sealed))?.0 == record, "a record does not come back")
        },
        .roundTrip("noise-payload", upTo: 512, seeds: {
            [["/yamux/1.0.0"], [], ["/mplex/6.7.0", "/yamux/1.0.0"]].map {
                NoisePayload(key: Here.key(1), staticKey: Bytes(repeating: 9, count: 32), muxers: $0).encoded
            }
        }, decode: { try NoisePayload(decoding: $0) }, encode: { payload in
            _ = try? payload.identity(staticKey: Bytes(repeating: 9, count: 32), expecting: nil)
            return payload.encoded
        }),
        Target("delta", upTo: 1024, seeds: { Seeds.crdt("blocks") }) { bytes in
            if let delta = try? Delta(decoding: bytes) {
                require((try? Delta(decoding: delta.encoded)) == delta, "a delta does not come back")
            }
            guard let block = try? DeltaBlock(decoding: bytes) else { return }
            let again = try? DeltaBlock(decoding: DeltaBlock.encode(block.delta, heads: block.links))
            require(again?.delta == block.delta && again?.links == block.links.sorted(), "a block does not come back")
        },
        Target("announcement", upTo: 1024, seeds: { Seeds.crdt("broadcasts") }) { bytes in
            guard let heads = Announcement.decode(bytes) else { return }
            require(Announcement.decode(Announcement.encode(heads)) == heads, "heads do not come back")
        },
        .roundTrip("dag-pb", upTo: 1024, seeds: { Seeds.blocks() + Seeds.crdt("blocks") }, decode: { try DagPBNode(decoding: $0) },
                   encode: { $0.encoded }),
        Target("unixfs", upTo: 512, seeds: { Seeds.blocks() }) { bytes in
            if let data = try? UnixFSData(decoding: bytes) {
                comesBack(data.encoded, { try UnixFSData(decoding: $0) }, { $0.encoded })
            }
            let cid = CID(v1: Codec.dagPB, .sha2_256(of: [1]))
            for level in 0..<3 { _ = try? step(to: "a.txt", in: bytes, cid: cid, level: level) }
            _ = try? links(of: bytes, cid: cid)
        },
        Target("dag-cbor", upTo: 512, seeds: { LinkList.nodes((0..<9).map { CID(v1: Codec.raw, .sha2_256(of: [$0])) }).map(\.data) }) { bytes in
            _ = try? links(of: bytes, cid: CID(v1: Codec.dagCBOR, .sha2_256(of: [1])))
        },
    ]

    @Sendable static func dhtSeeds() -> [Bytes] {
        var found = DHTMessage(.findNode), provided = DHTMessage(.addProvider, key: Here.cid.multihash.bytes), put = DHTMessage(.putValue, key: [1])
        let address = Multiaddr(unchecked: [4, 10, 0, 0, 1, 6, 0x23, 0x88])
        found.closer = (0..<3).map { DHTMessage.Peer(Here.peer($0), [address], .connected) }
        provided.providers = [DHTMessage.Peer(Here.peer(1), [address])]
        put.record = DHTMessage.Record(key: [1], value: [2], received: "x")
        return [found, provided, put, DHTMessage(.ping), DHTMessage(.findNode, key: Here.peer(2).bytes)].map(\.encoded)
    }
    @Sendable static func autoNATSeeds() -> [Bytes] {
        let address = Bytes([4, 8, 8, 8, 8, 6, 0x23, 0x88])
        return [
            AutoNATMessage(request: AutoNATMessage.Request(peer: Here.peer(0).bytes, addresses: [address, [4, 10, 0, 0, 1, 6, 0, 22]])),
            AutoNATMessage(request: nil), AutoNATMessage(response: AutoNATMessage.Response(.ok, address: address)),
            AutoNATMessage(response: AutoNATMessage.Response(.dialError, text: "dial failed")),
        ].map(\.encoded)
    }
    @Sendable static func mdnsSeeds() -> [Bytes] {
        var choices = Choices(seed: 3)
        var packets: [Bytes] = []
        for number in 0..<3 as Range<UInt8> {
            let addresses = (0..<Int(number)).map { Multiaddr(unchecked: [4, 10, 0, 0, UInt8($0), 6, 0x23, 0x88]) }
            var machine = LocalDiscovery(me: Here.peer(number), addresses: addresses, now: Here.now, choices: &choices)
            var effects: [LocalDiscovery.Effect] = []
            machine.onTime(now: Here.now, choices: &choices, effects: &effects)
            packets += effects.compactMap { if case .send(let packet) = $0 { packet } else { nil } } + [machine.farewell]
        }
        // A name that points at another.
        packets.append([0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 12, 0, 1, 0xc0, 12, 0, 12, 0, 1])
        return packets
    }
    @Sendable static func bitswapSeeds() -> [Bytes] {
        var want = BitswapMessage(), answer = BitswapMessage()
        var entry = BitswapMessage.Entry(cid: Here.cid)
        entry.sendDontHave = true
        want.wants = [entry, BitswapMessage.Entry(cid: CID(v1: Codec.dagPB, .sha2_256(of: [2])))]
        want.isFull = true
        answer.blocks = [.init(cid: Here.cid, data: [1])]
        answer.presences = [.init(cid: Here.cid, isHere: true), .init(cid: CID(v1: Codec.dagPB, .sha2_256(of: [3])), isHere: false)]
        entry.isCancel = true
        var cancel = BitswapMessage()
        cancel.wants = [entry]
        return [want, answer, cancel].map(\.encoded)
    }

    private static func walk(_ reader: ProtobufReader, depth: Int) {
        var reader = reader
        while let field = try? reader.next() {
            _ = (try? field.uint64(), try? field.int32(), try? field.sint64(), try? field.sint32(), try? field.bool(), try? field.string())
            if depth < 8, let inner = try? field.message() { walk(inner, depth: depth + 1) }
        }
    }
}
