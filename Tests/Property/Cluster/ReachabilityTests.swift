// What a peer serves once it knows whether others can reach it. DHT-02, HOST-02, HOST-03.

import AutoNAT
import Cluster
import DHT
import Encoding
import Kernel
import Multiformats
import Seams
import TestSupport
import Testing

@Suite struct ReachabilityTests {
    private struct Life {
        var peer: ClusterPeer
        let judge: PeerID
        var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        private var choices = Choices(seed: 1)
        private(set) var effects: [PeerEffect] = []

        init() throws {
            let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
            judge = try IdentityKey(seed: Bytes(repeating: 2, count: 32)).peerID
            peer = try ClusterPeer(
                settings: PeerSettings(me: key.peerID), disk: MemoryDisk(), signer: IdentitySigner(key: key), at: now, choices: &choices, effects: &effects)
            step(.start)
            step(.connection(.listening([try Multiaddr(text: "/ip4/1.2.3.4/tcp/9096")])))
            let address = try Multiaddr(text: "/ip4/8.8.8.8/tcp/9096")
            step(.connection(.connected(judge, address: address, outbound: true)))
            step(.connection(.introduced(judge, PeerIntroduction(protocols: [AutoNAT.protocolID] + DHT.wideProtocols, listenAddresses: [address]))))
        }
        mutating func step(_ input: PeerInput) {
            effects = []
            peer.step(input, at: now, choices: &choices, effects: &effects)
        }
        /// Answers the next question whether it can be reached.
        mutating func judged(_ status: AutoNATMessage.Status) {
            for _ in 0..<2000 {
                now.monotonic = now.monotonic + .seconds(1)
                step(.wake)
                for case .stream(.open(let stream, to: judge, protocols: [AutoNAT.protocolID])) in effects {
                    return step(.stream(.received(stream, AutoNATMessage(response: AutoNATMessage.Response(status)).frame)))
                }
            }
            Issue.record("nobody was asked")
        }
        var served: [String]? { effects.compactMap { if case .connection(.serve(let protocols)) = $0 { protocols } else { nil } }.last }
        mutating func ask(_ message: DHTMessage, number: UInt64) -> DHTMessage? {
            let stream = StreamID(owner: 0, number: number)
            step(.stream(.incoming(stream, from: judge, protocol: DHT.wideProtocols[0])))
            step(.stream(.received(stream, message.frame)))
            for case .stream(.send(stream, let bytes)) in effects {
                var reader = FrameReader(limitBytes: 1 << 20)
                reader.append(bytes)
                return (try? reader.next()).flatMap { try? DHTMessage(decoding: $0) }
            }
            return nil
        }
    }

    @Test func whoCanBeReachedServesTheWideNetwork() throws {
        var life = try Life()
        #expect(ClusterPeer.protocols.contains(AutoNAT.protocolID) && !ClusterPeer.protocols.contains(DHT.wideProtocols[0]))
        #expect(life.ask(DHTMessage(.ping), number: 1) == nil)
        life.judged(.ok)
        #expect(life.served == ClusterPeer.protocols + DHT.wideProtocols)
        #expect(life.ask(DHTMessage(.ping), number: 2) == DHTMessage(.ping))
        // What is kept for others is kept for both networks.
        let key = try IdentityKey(seed: Bytes(repeating: 5, count: 32)).publicKey
        var put = DHTMessage(.putValue, key: Bytes("/pk/".utf8) + key.peerID.bytes)
        put.record = DHTMessage.Record(key: put.key, value: key.protobuf)
        #expect(life.ask(put, number: 3) != nil)
        #expect(life.effects.contains { if case .disk(.append(let file, _)) = $0 { file.hasPrefix("dht/") } else { false } })
        life.step(.stream(.incoming(StreamID(owner: 0, number: 4), from: life.judge, protocol: DHT.protocols[0])))
        life.step(.stream(.received(StreamID(owner: 0, number: 4), DHTMessage(.getValue, key: put.key).frame)))
        #expect(life.effects.contains { if case .stream(.send(_, let bytes)) = $0 { bytes.count > key.protobuf.count + put.key.count + 20 } else { false } })
        // Nobody of the wide network hears of private addresses.
        life.step(.connection(.listening([try Multiaddr(text: "/ip4/1.2.3.4/tcp/9096"), try Multiaddr(text: "/ip4/10.0.0.4/tcp/9096")])))
        let found = life.ask(DHTMessage(.findNode, key: life.peer.id.bytes), number: 5)?.closer.first
        let told = try Multiaddr(text: "/ip4/1.2.3.4/tcp/9096")
        #expect(found?.id == life.peer.id && found?.addresses == [told])
        // And back.
        for _ in 0..<4 where life.served != ClusterPeer.protocols.filter({ $0 != AutoNAT.protocolID }) { life.judged(.dialError) }
        #expect(life.served == ClusterPeer.protocols.filter { $0 != AutoNAT.protocolID })
        #expect(life.ask(DHTMessage(.ping), number: 6) == nil)
        life.peer.checkDHT()
    }
}
