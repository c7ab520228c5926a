// What a peer answers to calls, as go-libp2p-gorpc makes them.

import Cluster
import Encoding
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import TestSupport
import Testing

/// A peer whose IPFS never answers, and one that calls it.
private struct Served {
    var peer: ClusterPeer
    let caller: PeerID
    private let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var choices = Choices(seed: 1)
    private let disk = MemoryDisk()
    private var streams: UInt64 = 1000
    private(set) var effects: [PeerEffect] = []

    init() throws {
        let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        caller = try IdentityKey(seed: Bytes(repeating: 2, count: 32)).peerID
        peer = try ClusterPeer(
            settings: PeerSettings(me: key.peerID), disk: disk, signer: IdentitySigner(key: key), at: now, choices: &choices, effects: &effects)
        carryOut()
        step(.start)
    }

    mutating func step(_ input: PeerInput) {
        effects = []
        peer.step(input, at: now, choices: &choices, effects: &effects)
        carryOut()
    }
    private mutating func carryOut() {
        for case .disk(let effect) in effects {
            if let event = disk.carryOut(effect) { peer.step(.disk(event), at: now, choices: &choices, effects: &effects) }
        }
    }

    /// The call with its arguments; what is said to it at once.
    mutating func call(_ service: String, _ name: String, _ arguments: Bytes, ends: Bool = false) -> Bytes {
        streams += 1
        let stream = StreamID(owner: 1, number: streams)
        step(.stream(.incoming(stream, from: caller, protocol: RPC.protocolID)))
        var writer = MessagePackWriter()
        writer.map(2)
        for text in ["Name", service, "Method", name] { writer.string(text) }
        var said: Bytes = []
        for bytes in [writer.bytes, arguments] where !bytes.isEmpty {
            step(.stream(.received(stream, bytes)))
            said += sent(on: stream)
        }
        let before = effects
        if ends { step(.stream(.remoteClosed(stream))) }
        if ends { effects = before + effects }
        return ends ? said + sent(on: stream) : said
    }
    private func sent(on stream: StreamID) -> Bytes {
        effects.reduce(into: []) { if case .stream(.send(stream, let bytes)) = $1 { $0 += bytes } }
    }
    /// How often IPFS was asked for its pins.
    var listings: Int {
        effects.count { if case .exchange(.start(_, let request)) = $0 { "\(request)".contains("pin/ls") } else { false } }
    }
}

@Suite struct ServingTests {
    /// RPC-09: a Go caller tells from the type that the peer did not understand it.
    @Test func anArgumentThatCannotBeReadIsTheServersError() throws {
        var served = try Served()
        var writer = MessagePackWriter()
        writer.string("zork")
        let said = served.call("PinTracker", "Status", writer.bytes)
        let text = String(decoding: said, as: UTF8.self)
        #expect(text.contains("error reading argument: expected 1 as the cid version number, got: 122"))
        #expect(said.suffix(10) == [0xa7] + Bytes("ErrType".utf8) + [1, 0xc0])
    }

    /// CLI-055, CLI-056, CLI-060: scripts wait for these lines.
    @Test func theLogTellsOfTheStartAndTheEnd() throws {
        func lines(_ served: Served) -> [String] { served.effects.compactMap { if case .log(let line) = $0 { line.message } else { nil } } }
        var served = try Served()
        let start = ["Cluster Peers (without including ourselves):", "    - No other peers", "Waiting for IPFS to be ready..."]
        #expect(Array(lines(served).suffix(3)) == start)
        served.step(.shutdown)
        #expect(lines(served) == ["shutting down Cluster", "stopping Consensus component", "stopping Monitor", "stopping IPFS Connector", "stopping StatelessPinTracker"])
    }

    /// As go-libp2p writes a peer without addresses: whoever hides all of its own is still somebody.
    @Test func whoeverHidesItsAddressesIsNamed() throws {
        var served = try Served()
        var clients = ClientIDs(owner: 1)
        let address = try Multiaddr(text: "/ip4/1.2.3.4/tcp/9096")
        for (listening, told) in [([], "/p2p/"), ([address], "/ip4/1.2.3.4/tcp/9096/p2p/")] {
            served.step(.connection(.listening(listening)))
            served.step(.client(clients.next(), .id))
            let asked = served.effects.compactMap { if case .exchange(.start(let id, _)) = $0 { id } else { nil } }
            for id in asked { served.step(.exchange(.failed(id, reason: "down"))) }
            let infos = served.effects.compactMap { if case .reply(_, .item(.peer(let info))) = $0 { info } else { nil } }
            #expect(infos.count == 1 && infos.first?.addresses?.map(\.description) == [told + served.peer.id.description])
        }
    }

    /// Also where nothing is made of it; and in words.
    @Test(arguments: [
        ("Cluster", "ID"), ("Cluster", "Version"), ("Cluster", "RepoGCLocal"), ("Cluster", "PeerRemove"), ("IPFSConnector", "RepoStat"),
        ("IPFSConnector", "SwarmPeers"), ("Consensus", "AddPeer"), ("Consensus", "RmPeer"), ("Consensus", "LogPin"),
    ])
    func everyArgumentIsRead(_ service: String, _ name: String) throws {
        var served = try Served()
        let text = String(decoding: served.call(service, name, [0xcb] + Bytes(repeating: 1, count: 8)), as: UTF8.self)
        #expect(text.contains("error reading argument: msgpack at byte 0: want ") && text.contains("ErrType"), "\(text)")
    }

    /// Upstream answers who sends no more, and so do we: only a reset is a caller that has given up.
    @Test func aCallerThatSendsNoMoreIsAnswered() throws {
        var served = try Served()
        _ = served.call("IPFSConnector", "RepoStat", Nothing().messagePack, ends: true)
        #expect(!served.effects.contains { if case .stream(.reset) = $0 { true } else { false } })
        #expect(!served.effects.contains { if case .exchange(.cancel) = $0 { true } else { false } })
        #expect(served.effects.contains { if case .exchange(.start) = $0 { true } else { false } })
    }

    /// A Go peer takes a missing filter for none.
    @Test func aListingWithoutAFilterIsOfAll() throws {
        var served = try Served()
        _ = served.call("PinTracker", "StatusAll", [], ends: true)
        #expect(served.listings == 1)
        _ = served.call("PinTracker", "StatusAll", [0], ends: true)
        #expect(served.listings == 1, "its filter has come")
        _ = served.call("PinTracker", "StatusAll", [0, 0])
        #expect(served.listings == 1, "a second filter means nothing")
    }

    /// What the log is given goes into it: the allocations are the caller's, and what is not there need not be removed.
    @Test func theLogTakesWhatItIsGiven() throws {
        var served = try Served()
        var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: [1])))
        pin.allocations = [served.caller]
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (1, 1)
        let removed = served.call("Consensus", "LogUnpin", pin.messagePack)
        #expect(!removed.isEmpty && !String(decoding: removed, as: UTF8.self).contains("Error"))
        #expect(String(decoding: served.call("Consensus", "LogPin", pin.messagePack), as: UTF8.self).contains("Error") == false)
        #expect(try served.peer.readPin(pin.cid)?.allocations == [served.caller])
    }
}
