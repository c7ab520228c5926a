// The transcripts of what goes over streams: gossipsub, bitswap, the DHT, the cluster's RPC.

import DHT
import Encoding
import Exchange
import Gossip
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import Testing

@Suite struct MachineTests {
    @Test func gossipsub() {
        let wire = Wire(Transcript("gossipsub", "gossipsub, /meshsub/1.2.0 (GPB-01..11)"), meaning: Shape.gossip.meaning(ofFrames:))
        func machine(_ key: IdentityKey) -> Gossip {
            Gossip(
                settings: Gossip.Settings(), me: key.peerID, signer: IdentitySigner(key: key), owner: 2, firstSequenceNumber: 1000,
                now: wire.now)
        }
        var machines: [Side: Gossip] = [.a: machine(keyA), .b: machine(keyB)]
        var choices = Choices(seed: 1)
        var delivered: [Side: [Bytes]] = [:]
        func act(_ side: Side, _ body: (inout Gossip, Now, inout Choices, inout [Gossip.Effect]) -> Void) {
            guard var gossip = machines[side] else { return }
            var effects: [Gossip.Effect] = []
            body(&gossip, wire.now, &choices, &effects)
            machines[side] = gossip
            for effect in effects {
                switch effect {
                case .stream(let effect): wire.carryOut(side, effect)
                case .deliver(_, _, let data): delivered[side, default: []].append(data)
                case .exchanged: Issue.record("somebody else was told of")
                case .log(let line): Issue.record("\(line)")
                }
            }
        }
        wire.feed = { side, event in act(side) { $0.onStream(event, now: $1, choices: &$2, effects: &$3) } }
        func time(_ span: Span) {
            wire.pass(span)
            for side in [Side.a, .b] { act(side) { $0.onTime(now: $1, choices: &$2, effects: &$3) } }
            wire.settle()
        }

        wire.transcript.remark("Both have subscribed to news, and meet: A has dialled.")
        for side in [Side.a, .b] { act(side) { $0.subscribe("news", trust: .everyone, now: $1, choices: &$2, effects: &$3) } }
        for side in [Side.a, .b] {
            act(side) { gossip, _, _, effects in
                gossip.onConnected(Wire.id(side.other), outbound: side == .a)
                gossip.onIntroduced(Wire.id(side.other), PeerIntroduction(protocols: Gossip.protocols), effects: &effects)
            }
        }
        wire.settle()
        wire.transcript.remark("A heartbeat: they are in the mesh already, and it has nothing to say.")
        time(.seconds(10))
        wire.transcript.remark("Each publishes.")
        act(.a) { $0.publish("news", Bytes("hello of A".utf8), now: $1, choices: &$2, effects: &$3) }
        act(.b) { $0.publish("news", Bytes("hello of B".utf8), now: $1, choices: &$2, effects: &$3) }
        wire.settle()
        #expect(delivered[.a] == delivered[.b]?.reversed() && delivered[.a]?.count == 2)
        wire.transcript.remark("A subscribes to another topic, which B is not interested in.")
        act(.a) { $0.subscribe("other", trust: .everyone, now: $1, choices: &$2, effects: &$3) }
        wire.settle()

        wire.transcript.remark("By hand: A announces a message that B does not know, and B asks for it.")
        let unknown = wire.control { $0.message(1) { $0.explicit(1, string: "news"); $0.explicit(2, bytes: Bytes(repeating: 9, count: 24)) } }
        wire.say(.a, ["/meshsub/1.2.0"], [unknown])
        wire.transcript.remark("By hand: A asks for what B has published, and is sent it again.")
        let known = Bytes(keyB.peerID.bytes.prefix(16)) + Bytes([0, 0, 0, 0, 0, 0, 0x03, 0xe9])
        wire.say(.a, ["/meshsub/1.2.0"], [wire.control { $0.message(2) { $0.explicit(1, bytes: known) } }])
        wire.transcript.remark("By hand: A takes B out of its mesh for a minute and comes back at once, which B does not grant.")
        let prune = wire.control { $0.message(4) { $0.explicit(1, string: "news"); $0.explicit(3, varint: 60) } }
        let graft = wire.control { $0.message(3) { $0.explicit(1, string: "news") } }
        wire.say(.a, ["/meshsub/1.2.0"], [prune, graft])
        wire.transcript.expectGolden()
    }

    @Test func bitswap() {
        let wire = Wire(Transcript("bitswap", "bitswap, /ipfs/bitswap/1.2.0 (BS-03..16)"), meaning: Shape.bitswap.meaning(ofFrames:))
        var machines: [Side: Exchange] = [.a: Exchange(owner: 3), .b: Exchange(owner: 3)]
        func block(_ text: String, _ bytes: Int) -> (cid: CID, data: Bytes) {
            let data = Bytes(text.utf8) + Bytes(repeating: UInt8(ascii: "."), count: bytes - text.utf8.count)
            return (CID(v1: Codec.raw, .sha2_256(of: data)), data)
        }
        let (here, later, large) = (block("here", 20), block("later", 20), block("large", 1500))
        var stored = [here.cid: here.data, large.cid: large.data]
        var received: [CID] = []
        func act(_ side: Side, _ body: (inout Exchange, Exchange.Blocks, inout [Exchange.Effect]) -> Void) {
            guard var exchange = machines[side] else { return }
            var effects: [Exchange.Effect] = []
            let blocks = stored
            body(&exchange, { cid, look in
                guard side == .b, let data = blocks[cid] else { return nil }
                return look == .size ? .size(data.count) : .bytes(data)
            }, &effects)
            machines[side] = exchange
            for effect in effects {
                switch effect {
                case .stream(let effect): wire.carryOut(side, effect)
                case .received(let cid, _, _): received.append(cid)
                case .log(let line): Issue.record("\(line)")
                }
            }
        }
        wire.feed = { side, event in act(side) { $0.onStream(event, blocks: $1, now: wire.now, effects: &$2) } }
        for side in [Side.a, .b] {
            act(side) { $0.onIntroduced(Wire.id(side.other), PeerIntroduction(protocols: Exchange.protocols), now: wire.now, effects: &$2) }
        }
        wire.transcript.remark("A wants two blocks, of which B has one.")
        act(.a) { $0.want([here.cid, later.cid], now: wire.now, effects: &$2) }
        wire.settle()
        #expect(received == [here.cid])
        wire.transcript.remark("B gets the other.")
        stored[later.cid] = later.data
        act(.b) { $0.onBlocksAdded([later.cid], blocks: $1, effects: &$2) }
        wire.settle()
        #expect(received == [here.cid, later.cid])
        wire.transcript.remark("A wants one that nobody has, and gives it up.")
        let nowhere = block("nowhere", 20)
        act(.a) { $0.want([nowhere.cid], now: wire.now, effects: &$2) }
        wire.settle()
        act(.a) { $0.cancel([nowhere.cid], now: wire.now, effects: &$2) }
        wire.settle()
        wire.transcript.remark("By hand: A asks whether B has a small block, a large one, and one that it has not.")
        var question = BitswapMessage()
        question.wants = [here.cid, large.cid, nowhere.cid].map {
            var entry = BitswapMessage.Entry(cid: $0)
            (entry.wantsHave, entry.sendDontHave) = (true, true)
            return entry
        }
        wire.say(.a, Exchange.protocols, [question.frame])
        wire.transcript.expectGolden()
    }

    @Test func dht() {
        let wire = Wire(Transcript("kad-dht", "Kademlia DHT, /ipfs/lan/kad/1.0.0 (DHT-05..14)"), meaning: Shape.dht.meaning(ofFrames:))
        let addresses = [keyA.peerID: [multiaddr("/ip4/10.0.0.1/tcp/9096")], keyB.peerID: [multiaddr("/ip4/10.0.0.2/tcp/9096")]]
        var machines: [Side: DHT] = [.a: DHT(me: keyA.peerID, owner: 7), .b: DHT(me: keyB.peerID, owner: 7)]
        func act(_ side: Side, _ body: (inout DHT, inout [DHT.Effect]) -> Void) {
            guard var dht = machines[side] else { return }
            var effects: [DHT.Effect] = []
            body(&dht, &effects)
            machines[side] = dht
            for effect in effects { if case .stream(let effect) = effect { wire.carryOut(side, effect) } }
        }
        wire.feed = { side, event in act(side) { $0.onStream(event, addresses: { addresses[$0] ?? [] }, now: wire.now, effects: &$1) } }
        wire.transcript.remark("They meet, and each asks whether the other answers.")
        for side in [Side.a, .b] {
            let remote = addresses[Wire.id(side.other)]?[0] ?? Multiaddr(unchecked: [])
            act(side) { $0.onConnected(Wire.id(side.other), address: remote, now: wire.now, effects: &$1) }
        }
        for side in [Side.a, .b] {
            let introduction = PeerIntroduction(protocols: DHT.protocols, listenAddresses: addresses[Wire.id(side.other)] ?? [])
            act(side) { $0.onIntroduced(Wire.id(side.other), introduction, now: wire.now, effects: &$1) }
        }
        wire.settle()
        wire.transcript.remark("By hand: A asks where B is, and for a ping.")
        wire.say(.a, DHT.protocols, [DHTMessage(.findNode, key: keyB.peerID.bytes).frame, DHTMessage(.ping).frame])
        wire.transcript.remark("By hand: A says that it provides something, and asks who does.")
        let key = Multihash.sha2_256(of: Bytes("something".utf8)).bytes
        var provides = DHTMessage(.addProvider, key: key)
        provides.providers = [DHTMessage.Peer(keyA.peerID, addresses[keyA.peerID] ?? [])]
        wire.say(.a, DHT.protocols, [provides.frame, DHTMessage(.getProviders, key: key).frame])
        wire.transcript.remark("By hand: A asks for a value that nobody has put, and says what means nothing.")
        wire.say(.a, DHT.protocols, [DHTMessage(.getValue, key: Bytes("/pk/".utf8) + keyA.peerID.bytes).frame, framed(Bytes([0x08, 0x63]))])
        wire.transcript.expectGolden()
    }

    @Test func rpc() {
        let wire = Wire(Transcript("rpc", "The cluster's RPC, /ipfscluster/1.0/rpc (RPC-01..17)"), meaning: MessagePack.meaning)
        // A trusts B, and is not trusted by it.
        var machines: [Side: RPC] = [
            .a: RPC(owner: 1, trust: .only(SortedSet([keyA.peerID, keyB.peerID]))), .b: RPC(owner: 1, trust: .only(SortedSet([keyB.peerID]))),
        ]
        var finished: [String] = []
        func act(_ side: Side, _ body: (inout RPC, inout [RPC.Effect]) -> Void) {
            guard var rpc = machines[side] else { return }
            var effects: [RPC.Effect] = []
            body(&rpc, &effects)
            machines[side] = rpc
            for effect in effects {
                switch effect {
                case .stream(let effect): wire.carryOut(side, effect)
                case .argument(let stream, let argument): answer(side, stream, argument)
                case .endOfArguments(let stream): act(side) { $0.finish(stream, effects: &$1) }
                case .finished(let call, let failure): finished.append("\(call.number): \(failure.map { "\($0.type): \($0.message)" } ?? "done")")
                default: break
                }
            }
        }
        /// Says what it was asked, twice where it may; fails for "bad".
        func answer(_ side: Side, _ stream: StreamID, _ argument: Bytes) {
            if argument == text("bad") { return act(side) { $0.finish(stream, failure: RPCFailure(.application, "that is bad"), effects: &$1) } }
            act(side) { $0.reply(stream, argument, effects: &$1) }
            if argument == nothing { act(side) { $0.finish(stream, effects: &$1) } }
        }
        func text(_ text: String) -> Bytes {
            var writer = MessagePackWriter()
            writer.string(text)
            return writer.bytes
        }
        let nothing: Bytes = [0xc0]
        wire.feed = { side, event in act(side) { $0.onStream(event, now: wire.now, effects: &$1) } }
        func call(_ number: UInt64, _ side: Side, _ service: String, _ name: String, _ argument: Bytes) {
            act(side) { $0.call(RPCCallID(number), to: Wire.id(side.other), RPCMethod(service, name), argument: argument, effects: &$1) }
            wire.settle()
        }
        wire.transcript.remark("A calls a method that is open to all.")
        call(1, .a, "Cluster", "Version", nothing)
        wire.transcript.remark("A calls a method that fails.")
        call(2, .a, "Cluster", "PeerAdd", text("bad"))
        wire.transcript.remark("A streams two arguments, and has a reply to each.")
        act(.a) { $0.call(RPCCallID(3), to: keyB.peerID, RPCMethod("Cluster", "IDStream"), effects: &$1) }
        for argument in ["one", "two"] { act(.a) { $0.send(RPCCallID(3), argument: text(argument), effects: &$1) } }
        act(.a) { $0.endArguments(RPCCallID(3), effects: &$1) }
        wire.settle()
        wire.transcript.remark("B is trusted by A, and may call more.")
        call(4, .b, "PinTracker", "Recover", nothing)
        wire.transcript.remark("A is not trusted by B, and is refused.")
        call(5, .a, "PinTracker", "Recover", nothing)
        wire.transcript.remark("A calls what is for nobody.")
        call(6, .a, "Cluster", "Pin", nothing)
        wire.transcript.remark("A gives up.")
        act(.a) { $0.call(RPCCallID(7), to: keyB.peerID, RPCMethod("Cluster", "IDStream"), effects: &$1) }
        act(.a) { $0.cancel(RPCCallID(7), effects: &$1) }
        wire.settle()
        #expect(finished.prefix(4).map { $0.prefix(8) } == ["1: done", "2: appli", "3: done", "4: done"].map { $0.prefix(8) })
        for end in finished { wire.transcript.remark("Call \(end).") }
        wire.transcript.expectGolden()
    }
}

extension Wire {
    /// A gossipsub RPC with one control message.
    func control(_ build: (inout ProtobufWriter) -> Void) -> Bytes {
        var writer = ProtobufWriter()
        writer.message(3, build)
        return framed(writer.bytes)
    }
}
