// The machines that speak to other peers, told what a stranger or a member may say.

import AutoNAT
import DHT
import Discovery
import DagList
import Encoding
import Exchange
import Gossip
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RPC
import Seams
import Storage
import TestSupport

/// Nothing is secret, so that what is behind a signature is reached.
private struct OpenSigner: MessageSigner {
    var attachedKey: Bytes? { nil }
    func sign(_ message: Bytes) -> Bytes { [0x53] }
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool { signature.first == 0x53 }
}

/// The streams of a fuzzed machine: other peers' and its own, as the net would number them.
private struct Net {
    var streams: [StreamID] = []
    private var number: UInt64 = 0

    mutating func incoming() -> StreamID {
        number += 1
        streams.append(StreamID(owner: 0, number: number))
        return streams[streams.count - 1]
    }
    mutating func take(_ effect: StreamEffect) {
        switch effect {
        case .open(let id, _, _): streams.append(id)
        case .reset(let id): streams.removeAll { $0 == id }
        case .send, .closeWrite, .hold: break
        }
    }
    /// What happens to one of the streams, or a new one.
    mutating func event(_ script: inout Script, protocols: [String]) -> StreamEvent {
        let kind = script.below(8)
        if kind == 0 || streams.isEmpty {
            let peer = Here.peer(UInt8(script.below(4)))
            return .incoming(incoming(), from: peer, protocol: protocols[script.below(protocols.count)])
        }
        let stream = streams[streams.count - 1 - script.below(streams.count)]
        switch kind {
        case 1 where stream.owner > 0: return .opened(stream, protocol: protocols[script.below(protocols.count)])
        case 2 where stream.owner > 0: return over(stream, .failed(stream, reason: "no"))
        case 3: return .remoteClosed(stream)
        case 4: return over(stream, .reset(stream))
        case 5: return .drained(stream)
        default: return .received(stream, script.piece())
        }
    }
    private mutating func over(_ stream: StreamID, _ event: StreamEvent) -> StreamEvent {
        streams.removeAll { $0 == stream }
        return event
    }
}

/// Machines as far as they are before anything comes of the bytes, made once: a machine is a value.
private enum Ready {
    static let neighbours = Set((0..<4).map { Here.peer($0) })
    static let address = Multiaddr(unchecked: [4, 10, 0, 0, 1, 6, 0x23, 0x88])
    static let stored = Bytes(repeating: 7, count: 2000)

    static let gossip: (Gossip, Choices) = {
        var settings = Gossip.Settings()
        (settings.topicsPerPeerMaximum, settings.seenMaximum) = (16, 64)
        var machine = Gossip(settings: settings, me: Here.peer(9), signer: OpenSigner(), owner: 2, firstSequenceNumber: 1, now: Here.now)
        var (choices, effects) = (Choices(seed: 1), [Gossip.Effect]())
        for number in 0..<4 as Range<UInt8> { machine.onConnected(Here.peer(number), outbound: number & 1 == 0) }
        machine.subscribe("t", trust: .only(SortedSet([Here.peer(0), Here.peer(1)])), now: Here.now, choices: &choices, effects: &effects)
        return (machine, choices)
    }()
    static let exchange: Exchange = {
        var settings = ExchangeSettings()
        (settings.wantsPerPeerMax, settings.wantsMax, settings.liveWantsMax) = (64, 64, 16)
        var machine = Exchange(settings: settings, owner: 3)
        var effects: [Exchange.Effect] = []
        for number in 0..<4 as Range<UInt8> {
            machine.onIntroduced(Here.peer(number), PeerIntroduction(protocols: Exchange.protocols), now: Here.now, effects: &effects)
        }
        return machine
    }()
    static let dht: (DHT, [DHT.Effect]) = {
        var settings = DHTSettings()
        (settings.providersMax, settings.providersPerPeerMax, settings.valuesMax) = (16, 8, 4)
        (settings.streamsPerPeerMax, settings.checksMax, settings.untakenBytesMax, settings.bucketSize) = (4, 4, 4096, 3)
        (settings.questionsMax, settings.candidatesMax, settings.dialsMax, settings.lookupsMax) = (12, 12, 3, 3)
        var machine = DHT(settings: settings, me: Here.peer(9), owner: 7)
        var effects: [DHT.Effect] = []
        for number in 0..<4 as Range<UInt8> {
            machine.onConnected(Here.peer(number), address: address, now: Here.now, effects: &effects)
            machine.onIntroduced(Here.peer(number), PeerIntroduction(protocols: DHT.protocols), now: Here.now, effects: &effects)
        }
        return (machine, effects)
    }()
    /// And how many addresses of one peer it dials.
    static let autoNAT: (AutoNAT, Int) = {
        var settings = AutoNATSettings()
        (settings.dialsMax, settings.streamsPerPeerMax) = (4, 2)
        var machine = AutoNAT(settings: settings, me: Here.peer(9), owner: 9, now: Here.now)
        machine.onListening([Multiaddr(unchecked: [4, 1, 2, 3, 4, 6, 0x23, 0x88])])
        return (machine, settings.addressesMax)
    }()
}

extension Target {
    static let machines: [Target] = [
        Target("gossip", upTo: 1024, seeds: Target.gossipSeeds) { bytes in
            var script = Script(bytes)
            var (machine, choices) = Ready.gossip
            var (net, effects) = (Net(), [Gossip.Effect]())
            var now: Int64 = 0
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0: machine.onIntroduced(Here.peer(UInt8(script.below(4))), PeerIntroduction(protocols: [Gossip.protocols[script.below(4)]]), effects: &effects)
                case 1:
                    let peer = Here.peer(UInt8(script.below(4)))
                    machine.onDisconnected(peer)
                    machine.onConnected(peer, outbound: true)
                case 2: machine.publish("t", script.piece(), now: Here.at(now), choices: &choices, effects: &effects)
                case 3:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), choices: &choices, effects: &effects)
                default: machine.onStream(net.event(&script, protocols: Gossip.protocols), now: Here.at(now), choices: &choices, effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .deliver(let topic, let author, _):
                        require(topic == "t" && [Here.peer(0), Here.peer(1), Here.peer(9)].contains(author), "heard \(author) on \(topic)")
                    case .exchanged(let others): require(others.count <= 16, "\(others.count) others at once")
                    case .log: break
                    }
                }
                machine.checkInvariants()
                require(machine.load <= 1 << 20 + bytes.count * 16, "\(machine.load) bytes are kept")
            }
        },
        Target("exchange", upTo: 1024, seeds: Target.exchangeSeeds) { bytes in
            var script = Script(bytes)
            var machine = Ready.exchange
            var (net, effects) = (Net(), [Exchange.Effect]())
            var now: Int64 = 0
            var wanted: Set<Multihash> = []
            let stored = Ready.stored
            func blocks(_ cid: CID, _ look: Exchange.Look) -> Exchange.Found? {
                guard let first = cid.multihash.digest.first, first & 1 == 0 else { return nil }
                return look == .size ? .size(stored.count) : .bytes(stored)
            }
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0:
                    let cid = CID(v1: Codec.raw, .sha2_256(of: [script.byte()]))
                    wanted.insert(cid.multihash)
                    machine.want([cid], from: script.byte() & 1 == 0 ? nil : Here.peer(1), now: Here.at(now), effects: &effects)
                case 1:
                    let cid = CID(v1: Codec.raw, .sha2_256(of: [script.byte()]))
                    wanted.remove(cid.multihash)
                    machine.cancel([cid], now: Here.at(now), effects: &effects)
                case 2:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), effects: &effects)
                case 3:
                    let peer = Here.peer(UInt8(script.below(4)))
                    machine.onDisconnected(peer, now: Here.at(now), effects: &effects)
                    machine.onIntroduced(peer, PeerIntroduction(protocols: Exchange.protocols), now: Here.at(now), effects: &effects)
                default: machine.onStream(net.event(&script, protocols: Exchange.protocols), blocks: blocks, now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .received(let cid, let data, _):
                        require(wanted.remove(cid.multihash) != nil, "\(cid) was not wanted")
                        require(cid.multihash.matches(data) == true, "\(cid) is other bytes")
                    case .log: break
                    }
                }
                machine.checkInvariants()
                require(machine.wantCount <= 64, "\(machine.wantCount) wants")
                for number in 0..<4 as Range<UInt8> {
                    require(machine.ledger(of: Here.peer(number)).count <= 64, "a ledger without end")
                }
            }
        },
        Target("dht", upTo: 1024, seeds: Target.findingSeeds) { bytes in
            var script = Script(bytes)
            var (machine, effects) = Ready.dht
            var (net, choices) = (Net(), Choices(seed: 1))
            var (now, connected): (Int64, Set<PeerID>) = (0, Ready.neighbours)
            let address = Ready.address
            func join(_ peer: PeerID) {
                connected.insert(peer)
                machine.onConnected(peer, address: address, now: Here.at(now), effects: &effects)
                machine.onIntroduced(peer, PeerIntroduction(protocols: DHT.protocols), now: Here.at(now), effects: &effects)
            }
            var dialled: [PeerID] = []
            func settle() {
                for effect in effects {
                    switch effect {
                    case .stream(let effect):
                        net.take(effect)
                        if case .open(_, let peer, _) = effect { require(connected.contains(peer), "a stream to \(peer), who is not connected") }
                    case .dial(let peer, _):
                        require(peer != Here.peer(9) && !connected.contains(peer), "\(peer) is dialled")
                        dialled.append(peer)
                    case .found(let peer): require(connected.contains(peer), "\(peer) is found and not connected")
                    case .disk: require(false, "it writes to a disk that it was not given")
                    case .notFound, .log: break
                    }
                }
                effects = []
            }
            while !script.isOver {
                settle()
                let ready = dialled
                dialled = []
                for peer in ready {
                    switch script.below(3) {
                    case 0: dialled.append(peer)
                    case 1: if !connected.contains(peer) { join(peer) }
                    default: machine.onDialFailed(peer, now: Here.at(now), effects: &effects)
                    }
                    settle()
                }
                switch script.below(9) {
                case 0: machine.find(Here.peer(script.byte()), tried: [], now: Here.at(now), effects: &effects)
                case 1:
                    now += Int64(script.byte()) * 1000
                    machine.onTime(now: Here.at(now), choices: &choices, effects: &effects)
                case 2:
                    let peer = Here.peer(UInt8(script.below(4)))
                    if connected.remove(peer) != nil { machine.onDisconnected(peer, now: Here.at(now), effects: &effects) } else { join(peer) }
                case 3: machine.onListening(now: Here.at(now))
                default:
                    machine.onStream(net.event(&script, protocols: DHT.protocols), addresses: { _ in [address] }, now: Here.at(now), effects: &effects)
                }
                machine.checkInvariants()
                require(machine.recordCount <= 20, "\(machine.recordCount) records")
                require(machine.servedStreamCount <= 4 * max(4, connected.count + 4), "\(machine.servedStreamCount) streams")
            }
        },
        Target("autonat", upTo: 512, seeds: { Target.autoNATSeeds().flatMap { [talk(framed($0)), [1, 20, 1, 20] + talk(framed($0))] } }) { bytes in
            var script = Script(bytes)
            var (machine, addressesMax) = Ready.autoNAT
            var (net, choices, effects) = (Net(), Choices(seed: 1), [AutoNAT.Effect]())
            var now: Int64 = 0
            var dials: [UInt64] = []
            func seen(_ number: UInt8) -> Multiaddr { Multiaddr(unchecked: [4, number == 3 ? 10 : 8, 8, 8, number, 6, 0x23, 0x88]) }
            func join(_ number: UInt8) {
                machine.onConnected(Here.peer(number), address: seen(number), outbound: number & 1 == 0, now: Here.at(now))
                machine.onIntroduced(Here.peer(number), PeerIntroduction(protocols: [AutoNAT.protocolID]))
            }
            for number in 0..<4 as Range<UInt8> { join(number) }
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0: machine.onDialledBack(dials.isEmpty ? 0 : dials.removeFirst(), script.byte() & 1 == 0 ? nil : seen(1), now: Here.at(now), effects: &effects)
                case 1:
                    now += Int64(script.byte()) * 1000
                    machine.onTime(now: Here.at(now), choices: &choices, effects: &effects)
                case 2:
                    let number = UInt8(script.below(4))
                    machine.onDisconnected(Here.peer(number))
                    join(number)
                default: machine.onStream(net.event(&script, protocols: [AutoNAT.protocolID]), now: Here.at(now), choices: &choices, effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .dialBack(let number, let peer, let addresses):
                        dials.append(number)
                        let ips = [0, 1, 2].filter { Here.peer($0) == peer }.map { seen($0).ip }
                        require(!ips.isEmpty && addresses.allSatisfy { ips.contains($0.ip) && $0.isPublic }, "\(peer) is dialled at \(addresses)")
                        require(addresses.count <= addressesMax, "\(addresses.count) addresses are dialled")
                    case .changed, .log: break
                    }
                }
                machine.checkInvariants()
                require(machine.dialsUnderWay <= 4 && machine.servedCount <= 8, "\(machine.dialsUnderWay) dials for \(machine.servedCount)")
            }
        },
        Target("mdns", upTo: 1024, seeds: {
            Target.mdnsSeeds().flatMap { [Script.step(2, $0), [0, 1] + Script.step(2, $0) + [0, 200]] }
        }) { bytes in
            var script = Script(bytes)
            var choices = Choices(seed: 1)
            let address = Multiaddr(unchecked: [4, 10, 0, 0, 9, 6, 0x23, 0x88])
            var machine = LocalDiscovery(me: Here.peer(9), addresses: [address], now: Here.now, choices: &choices)
            var (now, sent, packets): (Int64, Int, Int) = (0, 0, 0)
            while !script.isOver {
                var effects: [LocalDiscovery.Effect] = []
                switch script.below(3) {
                case 0:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), choices: &choices, effects: &effects)
                default:
                    packets += 1
                    machine.onPacket(script.piece(), now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .send(let packet):
                        sent += 1
                        require((try? DNSMessage(decoding: packet)) != nil, "it says what it does not understand")
                    case .found(let peer, let addresses):
                        require(peer != Here.peer(9) && !addresses.isEmpty, "\(peer) is found at \(addresses.count) addresses")
                        require(addresses.allSatisfy { $0.ip != nil || $0.isDNS }, "somebody is nowhere")
                    }
                }
                require(machine.knownCount <= 1000, "\(machine.knownCount) peers are known")
                require(sent <= 2 + Int(now / 1000) * 2, "\(sent) packets in \(now) ms")
            }
        },
        Target("dag-list", upTo: 512, seeds: Target.listSeeds) { bytes in
            var script = Script(bytes)
            var settings = DagListSettings()
            (settings.entriesMax, settings.headsMax) = (64, 16)
            var machine = DagList(settings: settings, owner: 5)
            var (net, effects) = (Net(), [DagList.Effect]())
            var now: Int64 = 0
            for number in 0..<4 as Range<UInt8> { machine.onIntroduced(Here.peer(number), PeerIntroduction(protocols: [DagList.protocolID])) }
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0: machine.ask(Here.peer(UInt8(script.below(4))), cursor: script.piece(), heads: [Here.cid.multihash], limit: 1 + script.below(9), now: Here.at(now), effects: &effects)
                case 1:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), effects: &effects)
                case 2:
                    let peer = Here.peer(UInt8(script.below(4)))
                    machine.onDisconnected(peer, effects: &effects)
                    machine.onIntroduced(peer, PeerIntroduction(protocols: [DagList.protocolID]))
                default:
                    machine.onStream(net.event(&script, protocols: [DagList.protocolID]), blocks: { cursor, heads, limit in
                        require(limit > 0 && limit <= 64 && heads.count <= 16 && cursor.count <= 1024, "a question without bounds")
                        return (Array(repeating: (Here.cid, 7), count: limit), cursor + [1])
                    }, now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .listed(_, let entries, let cursor): require(entries.count <= 64 && cursor.count <= 1024, "a page without bounds")
                    case .failed, .log: break
                    }
                }
                machine.checkInvariants()
                require(machine.streamCount <= 4 * (settings.streamsPerPeerMax + 2), "\(machine.streamCount) streams")
            }
        },
        Target("rpc-server", upTo: 512, seeds: Target.callSeeds) { bytes in
            var script = Script(bytes)
            var settings = RPCSettings()
            settings.callsPerPeerLimit = 8
            var machine = RPC(settings: settings, owner: 1, trust: .only(SortedSet([Here.peer(0)])))
            var (net, effects) = (Net(), [RPC.Effect]())
            var now: Int64 = 0
            var running: [StreamID] = []
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0: if let stream = running.last { machine.reply(stream, [0xc0], effects: &effects) }
                case 1: if let stream = running.popLast() { machine.finish(stream, failure: script.byte() & 1 == 0 ? nil : RPCFailure(.application, "no"), effects: &effects) }
                case 2:
                    now += Int64(script.byte()) * 1000
                    machine.onTime(now: Here.at(now), effects: &effects)
                default: machine.onStream(net.event(&script, protocols: [RPC.protocolID]), now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .called(let stream, let method, let peer):
                        running.append(stream)
                        guard let policy = RPCTable.entry(method)?.policy else { return require(false, "\(method) is no method") }
                        require(policy == .open || (policy == .trusted && peer == Here.peer(0)), "\(peer) may not call \(method)")
                    case .cancelled(let stream): running.removeAll { $0 == stream }
                    default: break
                    }
                }
                machine.checkInvariants()
                require(machine.openCalls.served <= 32, "\(machine.openCalls.served) calls")
            }
        },
        Target("rpc-client", upTo: 512, seeds: Target.answerSeeds) { bytes in
            var script = Script(bytes)
            var machine = RPC(settings: RPCSettings(), owner: 1, trust: .everyone)
            var (net, effects) = (Net(), [RPC.Effect]())
            var open: Set<RPCCallID> = []
            var (now, number): (Int64, UInt64) = (0, 0)
            while !script.isOver {
                effects = []
                switch script.below(8) {
                case 0, 1:
                    number += 1
                    let entry = RPCTable.entries[script.below(RPCTable.entries.count)]
                    open.insert(RPCCallID(number))
                    machine.call(RPCCallID(number), to: Here.peer(1), entry.method, argument: entry.kind == .unary ? [0xc0] : nil,
                                 deadline: Here.at(now + 5000).monotonic, effects: &effects)
                case 2:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), effects: &effects)
                case 3:
                    open.remove(RPCCallID(number))
                    machine.cancel(RPCCallID(number), effects: &effects)
                default: machine.onStream(net.event(&script, protocols: [RPC.protocolID]), now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .stream(let effect): net.take(effect)
                    case .reply(let call, _): require(open.contains(call), "an answer to no call")
                    case .finished(let call, _): require(open.remove(call) != nil, "a call ended twice")
                    default: break
                    }
                }
                machine.checkInvariants()
                require(machine.openCalls.made == open.count, "\(machine.openCalls.made) calls of \(open.count)")
            }
        },
        Target("replica", upTo: 1024, seeds: Target.replicaSeeds) { bytes in
            guard var room = try? FuzzedReplica() else { return require(false, "an empty disk does not open") }
            var script = Script(bytes)
            while !script.isOver {
                switch script.below(8) {
                case 0: room.act { $0.onAnnouncement(script.piece(), now: $1, choices: &$2, effects: &$3) }
                case 1:
                    let id = room.nextOperation()
                    room.act { machine, now, _, effects in machine.put("/k\(script.below(4))", script.piece(), id, now: now, effects: &effects) }
                case 2:
                    let id = room.nextOperation()
                    room.act { machine, now, _, effects in machine.delete("/k\(script.below(4))", id, now: now, effects: &effects) }
                case 3: room.pass(Int64(script.byte()) * 1000)
                case 4: guard room.reopen() else { return }
                default:
                    // Somebody's block, which he has announced.
                    let block = script.piece()
                    let cid = DeltaBlock.cid(of: block)
                    room.act { $0.onAnnouncement(Announcement.encode([cid]), now: $1, choices: &$2, effects: &$3) }
                    room.act { machine, now, _, effects in machine.onBlock(cid, block, now: now, effects: &effects) }
                }
            }
            room.check()
        },
    ]

    private static func talk(_ messages: Bytes...) -> Bytes {
        // A stream comes in, and then each message on it.
        [7, 0, 0, 0] + messages.flatMap { [7, 7, 0] + Script.step(0, $0).dropFirst() }
    }
    @Sendable private static func gossipSeeds() -> [Bytes] {
        var message = GossipMessage()
        message.from = Here.peer(0).bytes
        message.data = [1, 2]
        message.sequence = Bytes(0..<8)
        message.topic = Bytes("t".utf8)
        message.signature = [0x53]
        func rpc(_ build: (inout ProtobufWriter) -> Void) -> Bytes {
            var writer = ProtobufWriter()
            build(&writer)
            return framed(writer.bytes)
        }
        let id = message.id ?? []
        let subscribe = rpc { $0.message(1) { $0.bool(1, true); $0.string(2, "t") } }
        let publish = rpc { $0.bytes(2, message.encoded) }
        let control = rpc { writer in
            writer.message(3) { control in
                control.message(1) { $0.string(1, "t"); $0.bytes(2, id) }
                control.message(2) { $0.bytes(1, id) }
                control.message(3) { $0.string(1, "t") }
                control.message(4) { $0.string(1, "t"); $0.uint64(3, 60) }
                control.message(5) { $0.bytes(1, id) }
            }
        }
        return [talk(subscribe), talk(subscribe, publish), talk(subscribe, publish, control), [0, 0, 0] + talk(subscribe, control) + [3, 200, 2, 2, 9, 9, 3, 200]]
    }
    @Sendable private static func exchangeSeeds() -> [Bytes] {
        bitswapSeeds().map { [0, 1, 0] + talk(framed($0)) + [2, 100, 7, 5, 0] }
    }
    @Sendable private static func findingSeeds() -> [Bytes] {
        let frames = dhtSeeds().map { framed($0) }
        // It is asked; and the questions for themselves, which it asks at the start, are answered.
        let answers = (0..<4).flatMap { (number: UInt8) in [8, 7, number] + Script.step(0, DHTMessage(.findNode).frame).dropFirst() }
        return frames.map { talk($0) } + [talk(frames[4], frames[1], frames[3]), answers + [0, 77, 1, 3], answers + [8, 7, 0] + Script.step(0, frames[0]).dropFirst() + [0, 88, 1, 200]]
    }
    @Sendable private static func listSeeds() -> [Bytes] {
        var request = ProtobufWriter(), page = ProtobufWriter()
        request.bytes(1, [1, 2, 3])
        request.explicit(2, bytes: Here.cid.multihash.bytes)
        request.uint64(3, 8)
        page.message(1) { $0.explicit(1, bytes: Here.cid.bytes); $0.uint64(2, 99) }
        page.bytes(2, [1])
        return [talk(framed(request.bytes)) + [7, 5, 0, 7, 3, 0], [0, 1, 1, 9, 5] + [7, 7, 0] + Script.step(0, framed(page.bytes)).dropFirst() + [7, 3, 0]]
    }
    @Sendable private static func callSeeds() -> [Bytes] {
        [("Cluster", "ID"), ("Cluster", "IDStream"), ("PinTracker", "Status"), ("IPFSConnector", "BlockStream"), ("Cluster", "Pin"), ("X", "y")].map { service, name in
            var writer = MessagePackWriter()
            writer.map(2)
            writer.string("Name")
            writer.string(service)
            writer.string("Method")
            writer.string(name)
            return talk(writer.bytes + [0xc0], [0xc0]) + [0, 1, 0, 7, 3, 0]
        }
    }
    @Sendable private static func answerSeeds() -> [Bytes] {
        Seeds.packed("rpc.Response").flatMap { header in
            [[0, 4, 7, 7, 0], [0, 20, 7, 7, 0]].map { $0 + Script.step(0, header + [0xc0]).dropFirst() + [7, 3, 0] }
        }
    }
    @Sendable private static func replicaSeeds() -> [Bytes] {
        let blocks = Seeds.crdt("blocks")
        return blocks.prefix(40).map { Script.step(5, $0) + [1, 0, 2, 1, 1, 2, 0, 4] }
            + Seeds.crdt("broadcasts").prefix(10).map { Script.step(0, $0) }
            + [blocks.prefix(6).flatMap { Script.step(5, $0) } + [3, 255, 4, 3, 255]]
    }
}

/// A replica on a disk that syncs at once.
private struct FuzzedReplica {
    private var machine: Replica
    private let disk = MemoryDisk()
    private var choices = Choices(seed: 1)
    private var milliseconds: Int64 = 0
    private var operation: UInt64 = 0
    private static let settings = {
        var settings = ReplicaSettings()
        settings.index.tableEntries = 16
        settings.log.segmentBytes = 1 << 14
        settings.announcedHeadsMax = 16
        return settings
    }()

    init() throws {
        var effects: [Replica.Effect] = []
        machine = try Replica(settings: Self.settings, owner: 4, reader: disk, now: Here.now, choices: &choices, effects: &effects)
        carryOut(effects)
    }

    mutating func nextOperation() -> OperationID {
        operation += 1
        return OperationID(operation)
    }
    mutating func act(_ body: (inout Replica, Now, inout Choices, inout [Replica.Effect]) -> Void) {
        var effects: [Replica.Effect] = []
        body(&machine, Here.at(milliseconds), &choices, &effects)
        carryOut(effects)
    }
    mutating func pass(_ span: Int64) {
        milliseconds += span
        act { $0.onTime(now: $1, choices: &$2, effects: &$3) }
    }
    private mutating func carryOut(_ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(let effect):
                if let event = disk.carryOut(effect) { act { machine, now, _, effects in machine.onDisk(event, now: now, effects: &effects) } }
            case .job(let job):
                let outcome = disk.finish(job)
                act { machine, now, _, effects in machine.onJob(job.number, outcome, now: now, effects: &effects) }
            default: break
            }
        }
    }
    private mutating func settle() {
        var rounds = 0
        while machine.isMerging, rounds < 1000 {
            rounds += 1
            act { $0.onTime(now: $1, choices: &$2, effects: &$3) }
        }
        require(!machine.isMerging, "merging without end")
    }
    private func contents() -> [String: Bytes] {
        var found: [String: Bytes] = [:]
        do { try machine.each { found[$0] = $1 } } catch { require(false, "\(error)") }
        return found
    }

    /// Memory is a function of the disk.
    mutating func check() {
        settle()
        let (before, blocks) = (contents(), machine.blockCount)
        guard reopen() else { return }
        settle()
        require(contents() == before && machine.blockCount == blocks, "another state after opening it anew")
    }
    mutating func reopen() -> Bool {
        var effects: [Replica.Effect] = []
        guard let again = try? Replica(settings: Self.settings, owner: 4, reader: disk, now: Here.at(milliseconds), choices: &choices, effects: &effects) else {
            require(false, "the replica does not open again")
            return false
        }
        machine = again
        carryOut(effects)
        return true
    }
}
