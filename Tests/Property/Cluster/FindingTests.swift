// Streams to peers that are not connected: the DHT finds them, and what was said is said again. DIAL-05.

import Cluster
import DHT
import Encoding
import Kernel
import Multiformats
import RPC
import Seams
import TestSupport
import Testing

private func member(_ number: UInt8) throws -> PeerID { try IdentityKey(seed: Bytes(repeating: number, count: 32)).peerID }
private func lan(_ number: UInt8) throws -> Multiaddr { try Multiaddr(text: "/ip4/10.0.0.\(number)/tcp/9096") }

/// A peer that knows one other, and the network around it as the test plays it.
private struct Seeker {
    var peer: ClusterPeer
    let friend: PeerID
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var choices = Choices(seed: 1)
    private(set) var effects: [PeerEffect] = []

    init() throws {
        let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        friend = try member(2)
        peer = try ClusterPeer(
            settings: PeerSettings(me: key.peerID), disk: MemoryDisk(), signer: IdentitySigner(key: key), at: now, choices: &choices, effects: &effects)
        step(.start)
        connect(friend, at: try lan(2))
        let question = try #require(opened(to: friend, DHT.protocols))
        answer(question, [])
    }

    mutating func step(_ input: PeerInput) {
        effects = []
        peer.step(input, at: now, choices: &choices, effects: &effects)
    }
    mutating func connect(_ other: PeerID, at address: Multiaddr) {
        step(.connection(.connected(other, address: address, outbound: true)))
        let before = effects
        step(.connection(.introduced(other, PeerIntroduction(protocols: DHT.protocols + [RPC.protocolID], listenAddresses: [address]))))
        effects = before + effects
    }
    mutating func answer(_ stream: StreamID, _ closer: [DHTMessage.Peer]) {
        var message = DHTMessage(.findNode)
        message.closer = closer
        step(.stream(.received(stream, message.frame)))
    }
    func opened(to other: PeerID, _ protocols: [String]) -> StreamID? {
        for case .stream(.open(let stream, to: other, protocols: protocols)) in effects { return stream }
        return nil
    }
    func sent(on stream: StreamID) -> Bytes {
        effects.reduce(into: []) { if case .stream(.send(stream, let bytes)) = $1 { $0 += bytes } }
    }
    var dialled: [(PeerID, [Multiaddr])] { effects.compactMap { if case .connection(.dial(let peer, let addresses)) = $0 { (peer, addresses) } else { nil } } }
    var replies: [ClientReply] { effects.compactMap { if case .reply(_, let reply) = $0 { reply } else { nil } } }
}

@Suite struct FindingTests {
    private let client = ClientID(1)

    /// Asks a peer that nobody has heard of; the stream of the call, and what was said on it.
    private func call(_ seeker: inout Seeker, _ other: PeerID) throws -> (StreamID, Bytes) {
        seeker.step(.client(client, .peerAdd(other)))
        let stream = try #require(seeker.opened(to: other, [RPC.protocolID]))
        let said = seeker.sent(on: stream)
        #expect(!said.isEmpty)
        return (stream, said)
    }

    @Test func whoIsFoundHearsWhatWasSaid() throws {
        var seeker = try Seeker()
        let other = try member(3)
        let (stream, said) = try call(&seeker, other)
        seeker.step(.stream(.failed(stream, reason: "no address of it is known")))
        #expect(seeker.replies.isEmpty)
        let question = try #require(seeker.effects.compactMap { if case .stream(.send(let id, let bytes)) = $0 { (id, bytes) } else { nil } }.first)
        #expect(question.1 == DHTMessage(.findNode, key: other.bytes).frame)
        seeker.answer(question.0, [DHTMessage.Peer(other, [try lan(3)])])
        let address = try lan(3)
        #expect(seeker.dialled.count == 1 && seeker.dialled[0] == (other, [address]))
        seeker.connect(other, at: try lan(3))
        #expect(seeker.opened(to: other, [RPC.protocolID]) == stream)
        #expect(seeker.sent(on: stream).starts(with: said))
        #expect(seeker.peer.unfinished.first { $0.key == "streams that wait for their peer" }?.value ?? 0 <= 2)
        // It fails once more: that is told.
        seeker.step(.stream(.failed(stream, reason: "protocols not supported")))
        #expect(!seeker.replies.isEmpty)
    }

    @Test func whoIsNotFoundIsAFailureWithItsFirstReason() throws {
        var seeker = try Seeker()
        let other = try member(3)
        let (stream, _) = try call(&seeker, other)
        seeker.step(.stream(.failed(stream, reason: "no address of it is known")))
        let question = try #require(seeker.effects.compactMap { if case .stream(.send(let id, _)) = $0 { id } else { nil } }.first)
        seeker.answer(question, [DHTMessage.Peer(other, [try Multiaddr(text: "/ip4/127.0.0.1/tcp/1")])])
        #expect(seeker.dialled.isEmpty && !seeker.replies.isEmpty)
        #expect("\(seeker.replies)".contains("no address of it is known"))
        // For a while it is not looked for again.
        let (again, _) = try call(&seeker, other)
        seeker.step(.stream(.failed(again, reason: "still none")))
        #expect("\(seeker.replies)".contains("still none"))
    }

    @Test func aFailureOfAConnectedPeerIsToldAtOnce() throws {
        var seeker = try Seeker()
        let (stream, _) = try call(&seeker, seeker.friend)
        seeker.step(.stream(.failed(stream, reason: "protocols not supported")))
        #expect(!seeker.replies.isEmpty)
    }

    @Test func whoGivesUpMeanwhileLeavesNothing() throws {
        var seeker = try Seeker()
        let other = try member(3)
        let (stream, _) = try call(&seeker, other)
        seeker.step(.stream(.failed(stream, reason: "no address of it is known")))
        for _ in 0..<600 {
            seeker.now.monotonic = seeker.now.monotonic + .seconds(1)
            seeker.step(.wake)
            if !seeker.replies.isEmpty { break }
        }
        #expect(!seeker.replies.isEmpty)
        #expect(seeker.peer.unfinished.first { $0.key == "streams that wait for their peer" }?.value == 0)
        seeker.connect(other, at: try lan(3))
        #expect(seeker.opened(to: other, [RPC.protocolID]) != stream)
    }

    /// The wide network's DHT is asked as well, and one that finds nothing does not end the search of the other.
    @Test(arguments: [true, false])
    func eitherDHTMayFindIt(_ localEndsFirst: Bool) throws {
        #expect(!ClusterPeer.protocols.contains(DHT.wideProtocols[0]))
        var seeker = try Seeker()
        let (server, other) = (try member(4), try member(3))
        let here = try Multiaddr(text: "/ip4/80.1.2.3/tcp/9096"), there = try Multiaddr(text: "/ip4/80.7.2.3/tcp/9096")
        seeker.step(.connection(.connected(server, address: here, outbound: true)))
        seeker.step(.connection(.introduced(server, PeerIntroduction(protocols: DHT.wideProtocols, listenAddresses: [here]))))
        seeker.answer(try #require(seeker.opened(to: server, DHT.wideProtocols)), [])
        let (stream, _) = try call(&seeker, other)
        seeker.step(.stream(.failed(stream, reason: "no address of it is known")))
        let questions = seeker.effects.compactMap { if case .stream(.send(let id, _)) = $0 { id } else { nil } }
        guard questions.count == 2 else { Issue.record("\(questions)"); return }
        let found = [DHTMessage.Peer(other, [there])]
        if localEndsFirst { seeker.answer(questions[0], []) }
        #expect(seeker.replies.isEmpty)
        seeker.answer(questions[1], found)
        #expect(seeker.dialled.count == 1 && seeker.dialled[0] == (other, [there]))
        if !localEndsFirst { seeker.answer(questions[0], []) }
        #expect(seeker.replies.isEmpty)
        seeker.connect(other, at: there)
        #expect(seeker.opened(to: other, [RPC.protocolID]) == stream)
    }

    /// What the book knows is told to whoever asks, and what is told is not believed for the book.
    @Test func theAddressesOfIdentifyAreTold() throws {
        var seeker = try Seeker()
        seeker.step(.connection(.listening([try lan(1)])))
        let stream = StreamID(owner: 0, number: 1)
        let asker = try member(9)
        seeker.step(.connection(.connected(asker, address: try lan(9), outbound: false)))
        seeker.step(.stream(.incoming(stream, from: asker, protocol: DHT.protocols[0])))
        for (target, address) in [(seeker.friend, try lan(2)), (seeker.peer.id, try lan(1))] {
            seeker.step(.stream(.received(stream, DHTMessage(.findNode, key: target.bytes).frame)))
            var reader = FrameReader(limitBytes: 1 << 20)
            reader.append(seeker.sent(on: stream))
            let answer = try DHTMessage(decoding: try #require(try reader.next()))
            #expect(answer.closer.first == DHTMessage.Peer(target, [address], target == seeker.friend ? .connected : .notConnected))
        }
    }
}
