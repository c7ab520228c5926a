// Gossip among many peers, and among hostile ones. Bug zoo: GOSSIP, TRUST, N01, N02, N03, A12.

import Encoding
import Gossip
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

@Suite struct ManyPeersTests {
    /// Rings with short cuts: about four neighbours each.
    private func sparse(_ seed: UInt64) -> GossipNet {
        var net = GossipNet(30, seed: seed)
        for index in 0..<30 {
            net.connect(index, (index + 1) % 30)
            net.connect(index, net.choices.below(30) == index ? (index + 7) % 30 : (index + 2 + net.choices.below(26)) % 30)
        }
        net.run(.seconds(30))
        return net
    }

    /// GOSSIP: each message reaches everyone, once, though frames are lost and connections break.
    @Test(arguments: [1, 2, 3]) func everyMessageReachesEveryoneOnce(seed: UInt64) {
        var net = sparse(seed)
        net.losesOneIn = 8
        for message in 0..<20 {
            net.publish(net.choices.below(30), "message \(message)")
            if message % 2 == 0, let link = net.choices.sample(net.connections, 1).first {
                net.disconnect(link[0], link[1], for: .seconds(Int64(1 + net.choices.below(20))))
            }
            net.run(.seconds(5))
        }
        net.losesOneIn = 0
        net.run(.seconds(60))
        for (index, delivered) in net.delivered.enumerated() {
            #expect(delivered.count == 20, "peer \(index) has \(delivered.count) of 20")
            #expect(delivered.values.allSatisfy { $0 == 1 })
        }
    }

    /// N01: the mesh stays within its bounds where everyone is connected to everyone, and hears all the same.
    @Test func theMeshStaysWithinItsBounds() {
        var net = GossipNet(30, seed: 5, settings: { $0.meshFactor = 1 })
        for a in 0..<30 { for b in 0..<a { net.connect(a, b) } }
        net.run(.minutes(3))
        for machine in net.machines {
            let degree = machine.meshPeers(GossipNet.topic).count
            #expect(degree >= 5 && degree <= 12, "\(degree) peers in the mesh")
        }
        let before = net.frames
        net.publish(3, "to all")
        net.run(.seconds(1))
        #expect(net.frames - before < 30 * 12 * 2, "a mesh, not a flood")
        #expect(net.delivered.allSatisfy { $0["to all"] == 1 })
    }

    /// CM-02: who brings news is worth something, up to a limit, and for a while.
    @Test func thoseWhoBringNewsAreWorthMore() {
        var net = GossipNet(4, seed: 2)
        for other in 1...3 { net.connect(0, other) }
        net.run(.seconds(5))
        let (giver, idler) = (net.ids[1], net.ids[2])
        #expect(net.machines[0].isMeshed(giver) && !net.machines[0].isMeshed(netPeer(9)))
        for message in 0..<5 { net.publish(1, "message \(message)") }
        net.run(.seconds(1))
        #expect(net.machines[0].worth(of: giver) == 5 && net.machines[0].worth(of: idler) == 0)
        for message in 5..<40 { net.publish(1, "message \(message)") }
        net.run(.seconds(1))
        #expect(net.machines[0].worth(of: giver) == 15)
        net.run(.minutes(20))
        #expect(net.machines[0].worth(of: giver) == 13)
        net.run(.minutes(200))
        #expect(net.machines[0].worth(of: giver) == 0)
    }

    /// N03: whoever was connected before joining is used.
    @Test func newsTravelsAlongALine() {
        var net = GossipNet(12, seed: 1)
        for index in 0..<11 { net.connect(index, index + 1) }
        net.run(.seconds(15))
        net.publish(0, "along")
        net.run(.seconds(5))
        #expect(net.delivered.allSatisfy { $0["along"] == 1 })
    }

    /// A12: trust is in the author, whoever passes a message on.
    @Test func anUntrustedPeerInTheMiddlePassesOnAndAddsNothing() {
        let trusted = Trust.only(SortedSet([netPeer(0), netPeer(2)]))
        var net = GossipNet(3, seed: 1, trust: { $0 == 1 ? .everyone : trusted })
        net.connect(0, 1)
        net.connect(1, 2)
        net.run(.seconds(15))
        net.publish(0, "from a friend")
        net.publish(1, "from a stranger")
        net.run(.seconds(15))
        #expect(net.delivered[2] == ["from a friend": 1])
        #expect(net.delivered[0] == ["from a friend": 1])
        #expect(net.delivered[1].count == 2)
    }
}

@Suite struct HostileGossipTests {
    /// A victim (0), an honest peer (1), and a stream of the attacker's (2) to the victim.
    private struct Scene {
        var net = GossipNet(2, seed: 3)
        let attacker = netPeer(2)
        var stream = StreamID(owner: 0, number: 1 << 40)
        var messages = 0

        init() {
            net.connect(0, 1)
            net.run(.seconds(15))
            open()
        }
        mutating func open() {
            stream = StreamID(owner: 0, number: (stream.raw & (1 << 50 - 1)) + 1)
            let (id, peer) = (stream, attacker)
            net.act(0) { machine, now, choices, effects in
                machine.onConnected(peer, outbound: false)
                machine.onIntroduced(peer, PeerIntroduction(protocols: Gossip.protocols), effects: &effects)
                machine.onStream(.incoming(id, from: peer, protocol: Gossip.protocols[0]), now: now, choices: &choices, effects: &effects)
            }
        }
        mutating func send(_ bytes: Bytes) {
            let id = stream
            net.act(0) { $0.onStream(.received(id, bytes), now: $1, choices: &$2, effects: &$3) }
        }
        mutating func send(_ build: (inout ProtobufWriter) -> Void) {
            var writer = ProtobufWriter()
            build(&writer)
            send(framed(writer.bytes))
        }
        /// The honest are served as ever.
        mutating func expectService() {
            messages += 1
            net.publish(0, "out \(messages)")
            net.publish(1, "in \(messages)")
            net.run(.seconds(25))
            #expect(net.delivered[0]["in \(messages)"] == 1 && net.delivered[1]["out \(messages)"] == 1)
        }
    }

    private func message(_ number: UInt64, by author: PeerID, signedBy signer: PeerID, topic: String = GossipNet.topic) -> GossipMessage {
        var message = GossipMessage()
        message.from = author.bytes
        message.data = Bytes("forged \(number)".utf8)
        message.sequence = (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
        message.topic = Bytes(topic.utf8)
        message.signature = CheapSigner(me: signer).sign(message.signedBytes)
        return message
    }

    @Test func noiseAndMutatedFramesDoNoHarm() {
        var scene = Scene()
        var choices = Choices(seed: 9)
        let sound = message(1, by: netPeer(2), signedBy: netPeer(2), topic: "elsewhere").encoded
        for _ in 0..<600 {
            switch choices.below(3) {
            case 0: scene.send(choices.bytes(1 + choices.below(200)))
            case 1: scene.send(framed(choices.bytes(choices.below(100))))
            default:
                var writer = ProtobufWriter()
                writer.explicit(2, bytes: sound)
                writer.message(3) { $0.message(1) { $0.explicit(1, bytes: Bytes(GossipNet.topic.utf8)); $0.explicit(2, bytes: [1, 2, 3]) } }
                var bytes = writer.bytes
                for _ in 0...choices.below(4) { bytes[choices.below(bytes.count)] = UInt8(choices.below(256)) }
                scene.send(framed(bytes.prefix(1 + choices.below(bytes.count))))
            }
            scene.open()  // a malformed one ends its stream
        }
        scene.expectService()
        #expect(scene.net.delivered[0].keys.allSatisfy { !$0.hasPrefix("forged") })
    }

    @Test func forgedAndUnsignedMessagesAreDropped() {
        var scene = Scene()
        for number: UInt64 in 0..<200 {
            var forged = message(1 << 32 + number, by: netPeer(1), signedBy: netPeer(2))
            if number % 3 == 0 { forged.signature = nil }
            if number % 3 == 1 { forged.from = nil }
            scene.send { $0.explicit(2, bytes: forged.encoded) }
        }
        // One's own name is nobody else's, and a forgery does not shut out the real message of that number.
        scene.send { [self] in $0.explicit(2, bytes: message(1 << 33, by: netPeer(0), signedBy: netPeer(0)).encoded) }
        for number: UInt64 in 2..<20 {
            scene.send { [self] in $0.explicit(2, bytes: message(number, by: netPeer(1), signedBy: netPeer(2)).encoded) }
        }
        for _ in 0..<5 { scene.expectService() }
        #expect(scene.net.delivered[0].keys.allSatisfy { !$0.hasPrefix("forged") })
    }

    @Test func floodsOfControlMessagesAreBounded() {
        var scene = Scene()
        var choices = Choices(seed: 4)
        scene.send { $0.message(1) { $0.explicit(1, varint: 1); $0.explicit(2, bytes: Bytes(GossipNet.topic.utf8)) } }
        scene.expectService()
        let before = scene.net.machines[0].load
        for round in 0..<300 {
            scene.send { writer in
                writer.message(3) { control in
                    for _ in 0..<100 {
                        control.message(1) { $0.explicit(1, bytes: Bytes(GossipNet.topic.utf8)); $0.explicit(2, bytes: choices.bytes(20)) }
                        control.message(2) { $0.explicit(1, bytes: choices.bytes(20)) }
                        control.message(3) { $0.explicit(1, bytes: Bytes(GossipNet.topic.utf8)) }
                        control.message(4) { $0.explicit(1, bytes: choices.bytes(10)); $0.explicit(3, varint: .max) }
                        control.message(5) { $0.explicit(1, bytes: choices.bytes(20)) }
                    }
                }
            }
            // Names without end, and of great length.
            scene.send { $0.message(1) { $0.explicit(1, varint: 1); $0.explicit(2, bytes: Bytes("topic \(round)".utf8)) } }
            scene.send { $0.message(1) { $0.explicit(1, varint: 1); $0.explicit(2, bytes: choices.bytes(20_000)) } }
            scene.send { $0.message(3) { $0.message(5) { $0.explicit(1, bytes: choices.bytes(20_000)) } } }
        }
        #expect(scene.net.machines[0].load < before + 100_000, "\(scene.net.machines[0].load)")
        #expect(scene.net.machines[0].meshPeers(GossipNet.topic).count <= 3)
        scene.expectService()
    }

    @Test func whatIsTooLargeEndsTheStream() {
        var scene = Scene()
        scene.send([0xff, 0xff, 0xff, 0xff, 0x7f])  // a frame of 32 GiB is announced
        scene.open()
        scene.send(Bytes(repeating: 0xff, count: 20))  // a length without end
        scene.open()
        for _ in 0..<100 { scene.send(framed(Bytes(repeating: 0, count: 5000)).dropLast(1) + []) }
        scene.expectService()
    }
}
