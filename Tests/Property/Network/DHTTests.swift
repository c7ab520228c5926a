// The DHT: its messages, the table, and what is served to others.

import Crypto
import DHT
import Encoding
import Kernel
import Multiformats
import Seams
import Testing

private let peerA = "0024080112208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
private func idOfA() throws -> PeerID { try PeerID(bytes(hex: peerA) ?? []) }
private func helloHash() -> Bytes { Multihash.sha2_256(of: Bytes("hello".utf8)).bytes }
private func isReset(_ effects: [DHT.Effect], _ stream: StreamID) -> Bool { effects.contains(.stream(.reset(stream))) }

@Suite struct DHTMessageTests {
    /// DHTV-01..05.
    @Test func theRecordedMessagesAreWrittenAndRead() throws {
        let a = try idOfA()
        let address = try Multiaddr(text: "/ip4/127.0.0.1/tcp/9096")
        var found = DHTMessage(.findNode)
        found.closer = [DHTMessage.Peer(a, [address], .connected)]
        var provided = DHTMessage(.addProvider, key: helloHash())
        provided.providers = [DHTMessage.Peer(a, [address])]
        let id = "26" + peerA
        let vectors: [(DHTMessage, String)] = [
            (DHTMessage(.findNode, key: a.bytes), "2c080412\(id)5001"),
            (found, "3a080442340a\(id)1208047f00000106238818015001"),
            (DHTMessage(.ping), "0408055001"),
            (DHTMessage(.getProviders, key: helloHash()), "280803122212202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98245001"),
            (provided, "5c0802122212202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98244a320a\(id)1208047f0000010623885001"),
        ]
        for (message, text) in vectors {
            #expect(hex(message.frame) == text, "\(message.kind)")
            var reader = FrameReader(limitBytes: 1 << 20)
            reader.append(message.frame)
            let frame = try #require(try reader.next())
            #expect(try DHTMessage(decoding: frame) == message)
        }
    }

    /// DHT-04.
    @Test func aKeyLiesWhereItsHashSays() throws {
        let position = try Position(of: idOfA())
        #expect(position.sharedBits(with: Position(of: try idOfA())) == 256)
        var nothing = try DHTMessage(decoding: [])
        nothing.level = 1
        #expect(nothing == DHTMessage(.putValue))
        #expect(hex(sha256(try idOfA().bytes)) == "2ea99e04b7226ebb09856fdd2c3df7aad5dbc53dbcbb110d5e1ff64b7626122e")
    }

    @Test func whatCannotBeReadLosesOnlyItself() throws {
        let a = try idOfA()
        var writer = ProtobufWriter()
        writer.uint64(1, 4)
        writer.message(8) { $0.explicit(1, bytes: [9, 9, 9]); $0.explicit(2, bytes: lanAddress(1).bytes) }
        writer.message(8) { $0.explicit(2, bytes: lanAddress(1).bytes) }
        writer.message(8) {
            $0.explicit(1, bytes: a.bytes)
            $0.explicit(2, bytes: [4, 1])
            $0.explicit(2, bytes: lanAddress(1).bytes)
            $0.explicit(2, bytes: lanAddress(1).bytes)
            $0.uint64(3, 77)
        }
        let message = try DHTMessage(decoding: writer.bytes[...])
        #expect(message.closer == [DHTMessage.Peer(a, [lanAddress(1)])])
        #expect(throws: DHTFault.unknownType(6)) { try DHTMessage(decoding: [8, 6]) }
    }

    @Test func noMoreIsKeptThanFits() throws {
        var message = DHTMessage(.findNode)
        message.closer = (0..<200).map { DHTMessage.Peer(netPeer($0), (0..<50).map(lanAddress)) }
        message.providers = message.closer
        let limits = DHTMessageLimits()
        let back = try DHTMessage(decoding: message.encoded[...], within: limits)
        #expect(back.closer.count == limits.peersMax && back.providers.count == limits.peersMax)
        #expect(back.closer.allSatisfy { $0.addresses.count == limits.addressesPerPeerMax })
        #expect(back.closer[0].id == netPeer(0))
    }
}

@Suite struct RoutingTableTests {
    @Test func theNearestAreThoseOfTheSmallestDistance() {
        var table = RoutingTable(me: netPeer(0), bucketSize: 1000)
        for number in 1...300 { table.insert(netPeer(number), now: .origin) }
        table.checkInvariants()
        for target in 0..<20 {
            let position = Position(of: netPeer(target))
            let all = (1...300).map(netPeer).sorted { Position(of: $0).distance(to: position) < Position(of: $1).distance(to: position) }
            #expect(table.nearest(to: position, 20) == Array(all.prefix(20)))
        }
    }

    /// Distances as numbers of 256 bits: the XOR of the hashes, byte by byte.
    @Test func distancesAreThoseOfTheBytes() {
        for number in 1..<60 {
            let (a, b, c) = (netPeer(number), netPeer(2 * number), netPeer(number + 7))
            let x = zip(sha256(a.bytes), sha256(b.bytes)).map { $0 ^ $1 }, y = zip(sha256(a.bytes), sha256(c.bytes)).map { $0 ^ $1 }
            #expect((Position(of: a).distance(to: Position(of: b)) < Position(of: a).distance(to: Position(of: c))) == x.lexicographicallyPrecedes(y))
            let bits = x.prefix { $0 == 0 }.count * 8 + (x.first { $0 != 0 }?.leadingZeroBitCount ?? 0)
            #expect(Position(of: a).sharedBits(with: Position(of: b)) == bits)
        }
    }

    @Test func aFullBucketKeepsWhoCameFirst() {
        var table = RoutingTable(me: netPeer(0), bucketSize: 3)
        for number in 1...100 { table.insert(netPeer(number), now: .origin) }
        table.checkInvariants()
        let far = (1...100).map(netPeer).filter { table.bucket(of: $0) == 0 }
        #expect(Set(far.filter(table.contains)) == Set(far.prefix(3)))
        #expect(!table.hasRoom(for: netPeer(0)))
        table.remove(far[0])
        table.insert(far[10], now: .origin)
        #expect(table.contains(far[10]) && !table.contains(far[0]))
        table.checkInvariants()
    }
}

@Suite struct DHTServerTests {
    /// A Go peer that knows us alone finds the others through us: DHT-08.
    @Test func whoeverAsksLearnsOfTheOthers() throws {
        let server = DHTServer()
        for number in 1...5 { server.join(number) }
        #expect(server.machine.table.count == 5)
        server.meet(9)
        let answer = try #require(server.ask(9, DHTMessage(.findNode, key: netPeer(77).bytes)).first)
        #expect(answer.kind == .findNode && answer.key == [] && answer.record == nil && answer.providers == [])
        #expect(Set(answer.closer.map(\.id)) == Set((1...5).map(netPeer)))
        #expect(answer.closer.allSatisfy { $0.tie == .connected && $0.addresses.count == 1 })
        let target = Position(of: netPeer(77))
        let distances = answer.closer.map { Position(of: $0.id).distance(to: target) }
        #expect(distances == distances.sorted())
    }

    @Test func theTargetComesFirstWhoeverItIs() throws {
        let server = DHTServer()
        for number in 1...30 { server.join(number) }
        server.book[netPeer(50)] = [lanAddress(50)]  // is not connected, and was never a peer of the DHT
        for target in [0, 7, 9, 50] {
            let answer = try #require(server.ask(9, DHTMessage(.findNode, key: netPeer(target).bytes)).first)
            #expect(answer.closer.first?.id == netPeer(target))
            #expect(answer.closer.first?.addresses == [lanAddress(target)])
            #expect(answer.closer.count { $0.id == netPeer(target) } == 1)
            #expect(answer.closer.dropFirst().allSatisfy { $0.id != netPeer(0) && $0.id != netPeer(9) })
            #expect(answer.closer.count <= 21 && answer.closer.count >= 19)
        }
        let last = try #require(server.ask(9, DHTMessage(.findNode, key: netPeer(50).bytes)).first)
        #expect(last.closer.first?.tie == .notConnected)
    }

    @Test func whoeverHasNoAddressIsLeftOut() throws {
        let server = DHTServer()
        for number in 1...4 { server.join(number) }
        server.book[netPeer(2)] = nil
        let answer = try #require(server.ask(9, DHTMessage(.findNode, key: netPeer(2).bytes)).first)
        #expect(Set(answer.closer.map(\.id)) == Set([1, 3, 4].map(netPeer)))
    }

    @Test func loopbackIsToldAsItIsKnown() throws {
        let server = DHTServer()
        server.join(1, at: address("/ip4/127.0.0.1/tcp/4001"))
        server.book[netPeer(1)] = [address("/ip4/127.0.0.1/tcp/4001")]
        let answer = try #require(server.ask(9, DHTMessage(.findNode, key: [1, 2, 3])).first)
        #expect(answer.closer.map(\.addresses) == [[address("/ip4/127.0.0.1/tcp/4001")]])
    }

    /// DHT-12.
    @Test func onlyWhoAnswersAndIsNearGetsIntoTheTable() {
        let server = DHTServer()
        server.join(1, serves: false)
        server.join(2, at: address("/ip4/8.8.8.8/tcp/4001"))
        let silent = server.join(3, answers: false)
        #expect(server.machine.table.count == 0 && silent != nil)
        server.join(4, at: address("/ip4/127.0.0.1/tcp/4001"))
        #expect(server.machine.table.peers == [netPeer(4)])
        server.now.monotonic = server.now.monotonic + .seconds(10)
        #expect(server.time().contains(.stream(.reset(silent ?? StreamID(owner: 9, number: 0)))))
        #expect(server.machine.table.peers == [netPeer(4)] && server.machine.checkCount == 0)
        // It is asked for itself.
        var effects: [DHT.Effect] = []
        server.meet(5)
        server.machine.onIntroduced(netPeer(5), PeerIntroduction(protocols: DHT.protocols), now: server.now, effects: &effects)
        #expect(effects.contains { if case .stream(.send(_, let bytes)) = $0 { bytes == DHTMessage(.findNode, key: netPeer(5).bytes).frame } else { false } })
        // It says later that it no longer serves.
        server.machine.onIntroduced(netPeer(4), PeerIntroduction(protocols: []), now: server.now, effects: &effects)
        #expect(server.machine.table.count == 0)
    }

    /// CM-02: of too many connections, those to the farthest two buckets are kept, and the others of the table are worth something.
    @Test func theTablesPeersAreWorthTheirConnections() {
        let server = DHTServer()
        for number in 1...12 { server.join(number) }
        let worths = Dictionary(grouping: server.machine.table.peers) { server.machine.table.bucket(of: $0) < 2 }
        #expect(worths[true]?.isEmpty == false && worths[true]?.allSatisfy { server.machine.worth(of: $0) == nil } == true)
        #expect(worths[false]?.isEmpty == false && worths[false]?.allSatisfy { server.machine.worth(of: $0) == 5 } == true)
        #expect(server.machine.worth(of: netPeer(99)) == 0)
    }

    @Test func inALargeTableOneMustKnowSomebody() {
        let server = DHTServer()
        for number in 1...20 { server.join(number) }
        #expect(server.machine.table.count == 20)
        server.join(21)  // its answer names nobody
        #expect(!server.machine.table.contains(netPeer(21)))
        guard let stream = server.join(22, answers: false) else { Issue.record("not asked"); return }
        var answer = DHTMessage(.findNode)
        answer.closer = [DHTMessage.Peer(netPeer(3), [lanAddress(3)])]
        _ = server.feed(.received(stream, answer.frame))
        #expect(server.machine.table.contains(netPeer(22)))
    }

    @Test func notMoreThanSoManyAreCheckedAtOnce() {
        let server = DHTServer()
        for number in 1...300 { server.join(number, answers: false) }
        #expect(server.machine.checkCount == 256)
    }

    @Test func questionsAndAnswersAlternateOnOneStream() throws {
        let server = DHTServer()
        server.join(1)
        let stream = server.open(from: 9)
        for _ in 0..<3 { #expect(server.ask(DHTMessage(.ping), on: stream) == [DHTMessage(.ping)]) }
        // Byte by byte, and several at once.
        let two = DHTMessage(.ping).frame + DHTMessage(.findNode, key: [1]).frame
        var effects: [DHT.Effect] = []
        for byte in two { effects += server.feed(.received(stream, [byte])) }
        #expect(effects.count == 2)
        #expect(server.feed(.received(stream, two + two)).count == 4)
        #expect(server.feed(.drained(stream)).isEmpty)
        #expect(server.feed(.remoteClosed(stream)) == [.stream(.closeWrite(stream))])
        #expect(server.machine.servedStreamCount == 0)
    }

    @Test func anIdleStreamIsResetAfterAMinute() {
        let server = DHTServer()
        let stream = server.open(from: 9)
        server.now.monotonic = server.now.monotonic + .seconds(50)
        _ = server.ask(DHTMessage(.ping), on: stream)
        server.now.monotonic = server.now.monotonic + .seconds(59)
        #expect(server.time().isEmpty)
        server.now.monotonic = server.now.monotonic + .seconds(1)
        #expect(server.time() == [.stream(.reset(stream))])
        #expect(server.machine.servedStreamCount == 0)
    }

    /// DHT-09.
    @Test func providersAreKeptAndForgotten() throws {
        let server = DHTServer()
        var message = DHTMessage(.addProvider, key: helloHash())
        message.providers = [
            DHTMessage.Peer(netPeer(1), [lanAddress(1)]), DHTMessage.Peer(netPeer(2), [lanAddress(2)]), DHTMessage.Peer(netPeer(1), []),
        ]
        let stream = server.open(from: 1)
        #expect(server.feed(.received(stream, message.frame)).isEmpty)
        let question = DHTMessage(.getProviders, key: helloHash())
        let answer = try #require(server.ask(9, question).first)
        #expect(answer.key == helloHash() && answer.kind == .getProviders)
        #expect(answer.providers == [DHTMessage.Peer(netPeer(1), [lanAddress(1)])])  // nobody speaks for others
        server.now.monotonic = server.now.monotonic + .hours(24)
        #expect(server.ask(9, question).first?.providers == [])
        server.book[netPeer(1)] = [lanAddress(77)]
        #expect(server.ask(9, question).first?.providers.first?.addresses == [lanAddress(77)])
        server.now.monotonic = server.now.monotonic + .hours(24)
        #expect(server.ask(9, question).first?.providers == [])
        #expect(server.machine.recordCount == 0)
    }

    @Test func providersHaveTheirBounds() {
        var settings = DHTSettings()
        (settings.providersMax, settings.providersPerPeerMax) = (30, 10)
        let server = DHTServer(settings)
        for peer in 1...5 {
            for number in 0..<40 as Range<UInt8> {
                var message = DHTMessage(.addProvider, key: [UInt8(peer), number])
                message.providers = [DHTMessage.Peer(netPeer(peer), [lanAddress(peer)])]
                _ = server.ask(peer, message)
                #expect(server.machine.recordCount <= min(30, 10 * peer))
            }
        }
        #expect(server.machine.recordCount == 30)
        #expect(server.ask(9, DHTMessage(.getProviders, key: [5, 39])).first?.providers.count == 1)
        #expect(server.ask(9, DHTMessage(.getProviders, key: [5, 29])).first?.providers == [])
    }

    /// DHT-10.
    @Test func aPublicKeyIsKeptForWhoeverItProves() throws {
        let server = DHTServer()
        let key = try IdentityKey(seed: Bytes(repeating: 5, count: 32)).publicKey
        let name = Bytes("/pk/".utf8) + key.peerID.bytes
        var message = DHTMessage(.putValue, key: name)
        message.record = DHTMessage.Record(key: name, value: key.protobuf)
        var kept = message
        kept.record?.received = "2023-11-14T22:13:20Z"
        #expect(server.ask(1, message) == [kept])
        let answer = try #require(server.ask(9, DHTMessage(.getValue, key: name)).first)
        #expect(answer.record == DHTMessage.Record(key: name, value: key.protobuf, received: "2023-11-14T22:13:20Z"))
        server.now.monotonic = server.now.monotonic + .hours(48)
        #expect(server.ask(9, DHTMessage(.getValue, key: name)).first?.record == nil)
    }

    @Test func whatDoesNotProveItselfIsRefused() throws {
        let server = DHTServer()
        let key = try IdentityKey(seed: Bytes(repeating: 5, count: 32)).publicKey
        let other = try IdentityKey(seed: Bytes(repeating: 6, count: 32)).publicKey
        func put(_ name: Bytes, _ recordName: Bytes, _ value: Bytes) -> DHTMessage {
            var message = DHTMessage(.putValue, key: name)
            message.record = DHTMessage.Record(key: recordName, value: value)
            return message
        }
        let name = Bytes("/pk/".utf8) + key.peerID.bytes
        let ipns = Bytes("/ipns/".utf8) + key.peerID.bytes
        let bad = [
            put(name, name, other.protobuf), put(name, name, [1, 2, 3]), put(name, ipns, key.protobuf), put(ipns, ipns, key.protobuf),
            put(key.peerID.bytes, key.peerID.bytes, key.protobuf), DHTMessage(.putValue, key: name), put([], [], key.protobuf),
        ]
        for message in bad {
            let stream = server.open(from: 1)
            #expect(isReset(server.feed(.received(stream, message.frame)), stream))
            #expect(server.machine.servedStreamCount == 0 && server.machine.recordCount == 0)
        }
    }
}

@Suite struct HostileDHTTests {
    @Test func whatMakesNoSenseEndsTheStreamWithoutAWord() {
        let server = DHTServer()
        server.join(1)
        let bad: [Bytes] = [
            framed([0xff, 0xff]), framed([8, 6]), framed([8, 9, 0x50, 1]), DHTMessage(.findNode).frame, DHTMessage(.getProviders).frame,
            DHTMessage(.getProviders, key: Bytes(repeating: 1, count: 81)).frame, DHTMessage(.addProvider).frame, DHTMessage(.getValue).frame,
            [0xff, 0xff, 0xff, 0x7f], Bytes(repeating: 0xff, count: 12), framed([]),
        ]
        for bytes in bad {
            let stream = server.open(from: 9)
            let effects = server.feed(.received(stream, bytes))
            #expect(isReset(effects, stream), "\(hex(bytes))")
            #expect(!effects.contains { if case .stream(.send) = $0 { true } else { false } })
            #expect(server.feed(.received(stream, DHTMessage(.ping).frame)).isEmpty)
        }
        #expect(server.machine.servedStreamCount == 0)
        #expect(server.ask(9, DHTMessage(.ping)).count == 1)
    }

    @Test func aPeerHasOnlySoManyStreams() {
        let server = DHTServer()
        let streams = (0..<64).map { _ in server.open(from: 1) }
        #expect(!server.refused)
        _ = server.open(from: 1)
        #expect(server.refused)
        _ = server.open(from: 2)
        #expect(!server.refused)
        _ = server.feed(.reset(streams[3]))
        _ = server.open(from: 1)
        #expect(!server.refused && server.machine.servedStreamCount == 65)
    }

    @Test func answersThatNobodyTakesDoNotPileUp() {
        let server = DHTServer()
        for number in 1...20 { server.join(number) }
        var waiting = 0
        var resets = 0
        // Asks, never reads, ends its side, and comes again.
        for _ in 0..<64 {
            let stream = server.open(from: 9)
            if server.refused { continue }
            for _ in 0..<2000 {
                let effects = server.feed(.received(stream, DHTMessage(.findNode, key: [1]).frame))
                for case .stream(.send(_, let bytes)) in effects { waiting += bytes.count }
                if isReset(effects, stream) { resets += 1; break }
            }
            #expect(!server.feed(.remoteClosed(stream)).contains(.stream(.closeWrite(stream))))
        }
        #expect(resets == 64 && waiting < 64 * (2 << 20))
    }

    @Test func whatIsNeverReadKeepsTheStreamCountedUntilItEnds() {
        let server = DHTServer()
        server.join(1)
        for _ in 0..<100 {
            let stream = server.open(from: 9)
            if server.refused { continue }
            _ = server.ask(DHTMessage(.ping), on: stream)
            #expect(server.feed(.remoteClosed(stream)).isEmpty)
        }
        #expect(server.machine.servedStreamCount == 64)
        server.now.monotonic = server.now.monotonic + .minutes(1)
        #expect(server.time().count { if case .stream(.reset) = $0 { true } else { false } } == 64 && server.machine.servedStreamCount == 0)
    }

    @Test func piecesOfManyMessagesAreNotHeldWithoutEnd() {
        let server = DHTServer()
        var held = 0
        for _ in 0..<16 {
            let stream = server.open(from: 9)
            var length: Bytes = []
            appendVarint(4 << 20, to: &length)
            if isReset(server.feed(.received(stream, length + Bytes(repeating: 0, count: 3 << 20))), stream) { continue }
            held += 3
        }
        #expect(held == 3)
    }

    @Test func anAnswerThatNobodyAskedForEndsTheStream() {
        let server = DHTServer()
        guard let stream = server.join(1) else { Issue.record("not asked"); return }
        #expect(isReset(server.feed(.received(stream, DHTMessage(.findNode).frame)), stream))
        guard let other = server.join(2, answers: false) else { Issue.record("not asked"); return }
        #expect(isReset(server.feed(.received(other, DHTMessage(.ping).frame)), other))
        #expect(server.machine.table.peers == [netPeer(1)] && server.machine.checkCount == 0)
    }

    @Test func aCheckEndsWithTheConnectionAndIsTriedOnASecondStream() {
        let server = DHTServer()
        guard let stream = server.join(1, answers: false) else { Issue.record("not asked"); return }
        var again: StreamID?
        for case .stream(.open(let id, _, _)) in server.feed(.reset(stream)) { again = id }
        guard let again else { Issue.record("not asked again"); return }
        #expect(server.feed(.reset(again)).isEmpty && server.machine.checkCount == 0)
        server.join(2, answers: false)
        var effects: [DHT.Effect] = []
        server.machine.onDisconnected(netPeer(2), now: server.now, effects: &effects)
        #expect(server.machine.checkCount == 0)
    }
}

@Suite struct DHTNetTests {
    @Test func peersThatMeetKnowEachOther() {
        let net = DHTNet(6)
        for other in 1..<6 { net.connect(other, 0) }
        #expect(net.machines[0].table.count == 5)
        for other in 1..<6 { #expect(net.machines[other].table.peers == [net.ids[0]]) }
    }
}

@Suite struct DHTLookupTests {
    /// A line of peers of which each knows the next at first: in the end all are connected through what they tell.
    @Test func aPeerFindsTheOthersThroughOneThatItKnows() {
        let net = DHTNet(8)
        for other in 1..<8 { net.connect(other, 0) }
        net.pass(.seconds(5))
        for index in 0..<8 { #expect(net.machines[index].table.count == 7, "\(index)") }
    }

    @Test func inALineEveryoneIsFound() {
        let net = DHTNet(12)
        for index in 0..<11 { net.connect(index, index + 1) }
        net.pass(.minutes(15))
        for index in 0..<12 { #expect(net.machines[index].table.count == 11, "\(index)") }
    }

    /// DHT-16.
    @Test func aPeerKnownByItsNameOnlyIsFound() {
        let net = DHTNet(40) { $0.refreshDelay = .hours(1) }
        for index in 1..<40 { for other in stride(from: 0, to: index, by: 1 + index / 4) { net.connect(index, other) } }
        let (asker, target) = (1, 39)
        net.disconnect(asker, target)
        net.books[asker][net.ids[target]] = nil
        net.act(asker) { $0.find(net.ids[target], tried: [], now: $2, effects: &$3) }
        net.pump()
        #expect(net.told[asker].contains(.found(net.ids[target])))
        #expect(net.machines[asker].lookupCount == 0)
    }

    @Test func whoServesNoDHTIsFoundToo() {
        let net = DHTNet(4)
        net.silentAboutIt = [3]
        for other in [1, 3] { net.connect(other, 0) }
        net.act(1) { $0.find(net.ids[3], tried: [], now: $2, effects: &$3) }
        net.pump()
        #expect(net.told[1].contains(.found(net.ids[3])))
        #expect(!net.machines[1].table.contains(net.ids[3]))
    }

    /// DIAL-05: only new addresses are worth a dial.
    @Test func addressesThatWereTriedAreNotDialledAgain() {
        let net = DHTNet(4)
        for other in [1, 3] { net.connect(other, 0) }
        net.act(1) { $0.find(net.ids[3], tried: [lanAddress(3)], now: $2, effects: &$3) }
        net.pump()
        #expect(net.told[1] == [.notFound(net.ids[3])] && net.dials.isEmpty)
        // For a while it is not even asked for.
        let frames = net.frames
        net.act(1) { $0.find(net.ids[3], tried: [], now: $2, effects: &$3) }
        #expect(net.told[1].count == 2 && net.frames == frames)
        net.now.monotonic = net.now.monotonic + .seconds(30)
        net.act(1) { $0.find(net.ids[3], tried: [], now: $2, effects: &$3) }
        net.pump()
        #expect(net.told[1].last == .found(net.ids[3]))
    }

    /// DHT-14.
    @Test func loopbackAddressesOfOthersAreNotDialled() {
        let net = DHTNet(3)
        let loopback = address("/ip4/127.0.0.1/tcp/4001")
        for other in [1, 2] { net.connect(other, 0, at: loopback) }
        net.books[0][net.ids[2]] = [loopback, address("/ip6/::1/tcp/4001")]
        net.act(1) { $0.find(net.ids[2], tried: [], now: $2, effects: &$3) }
        net.pump()
        #expect(net.told[1] == [.notFound(net.ids[2])] && net.dials.isEmpty)
        net.books[0][net.ids[2]] = [loopback, lanAddress(2)]
        net.now.monotonic = net.now.monotonic + .minutes(1)
        net.act(1) { $0.find(net.ids[2], tried: [], now: $2, effects: &$3) }
        net.pump()
        #expect(net.dials.first?.addresses == [lanAddress(2)])
    }

    @Test func aLookupWithNobodyToAskEndsAtOnce() {
        let net = DHTNet(2)
        net.act(0) { $0.find(net.ids[1], tried: [], now: $2, effects: &$3) }
        #expect(net.told[0] == [.notFound(net.ids[1])])
        net.connect(0, 1)
        net.act(0) { $0.find(net.ids[1], tried: [], now: $2, effects: &$3) }
        #expect(net.told[0].last == .found(net.ids[1]))
    }

    @Test func silenceEndsASearch() {
        let net = DHTNet(6) { $0.refreshDelay = .hours(1) }
        for other in 1..<5 { net.connect(other, 0) }
        net.mute = [1, 2, 3, 4]
        net.act(0) { $0.find(net.ids[5], tried: [], now: $2, effects: &$3) }
        net.pass(.seconds(30))
        #expect(net.told[0].contains(.notFound(net.ids[5])) && net.machines[0].lookupCount == 0)
        #expect(net.machines[0].table.count == 0)  // who does not answer is no longer told to others
    }

    /// Found while seed 85743489 was looked into.
    @Test func whatASearchThatIsOverWouldAskIsNotAsked() {
        let net = DHTNet(4) { ($0.refreshDelay, $0.findTimeout) = (.hours(1), .seconds(4)) }
        net.connect(0, 1)
        net.mute = [1]
        let before = net.frames
        for sought in 2..<4 {
            net.act(0) { $0.find(net.ids[sought], tried: [], now: $2, effects: &$3) }
            net.pass(.seconds(4))
            #expect(net.told[0].last == .notFound(net.ids[sought]))
        }
        net.pass(.minutes(1))
        #expect(net.frames == before + 1, "the first got no answer while anybody waited for it, and the second waited behind it")
    }

    /// After a sleep much has run out of time at once (seed 7200023).
    @Test func aSearchThatHasSleptBeyondItsTimeAsksNobody() {
        let net = DHTNet(4) { ($0.refreshDelay, $0.findTimeout, $0.concurrency) = (.hours(1), .seconds(30), 1) }
        for other in 1..<3 { net.connect(0, other) }
        net.mute = [1, 2]
        let before = net.frames
        net.act(0) { $0.find(net.ids[3], tried: [], now: $2, effects: &$3) }
        net.now.monotonic = net.now.monotonic + .seconds(40)
        net.pass(.seconds(1))
        #expect(net.told[0].last == .notFound(net.ids[3]) && net.frames == before + 1)
    }

    /// DHT-05: the stream has gone to sleep meanwhile.
    @Test func aStreamIsKeptForTheNextQuestionAndOpenedAnew() {
        let net = DHTNet(3) { $0.refreshDelay = .hours(1) }
        net.connect(0, 1)
        for round in 0..<3 {
            net.now.monotonic = net.now.monotonic + .minutes(2)
            if round == 1 { net.pass(.minutes(1)) }
            net.act(0) { $0.find(net.ids[2], tried: [], now: $2, effects: &$3) }
            net.pass(.seconds(1))
            #expect(net.told[0].count { $0 == .notFound(net.ids[2]) } == round + 1)
            #expect(net.machines[0].table.peers == [net.ids[1]])
        }
    }

    /// DHT-15.
    @Test func whoIsGoneLeavesTheTableWithTheNextRefresh() {
        let net = DHTNet(6)
        for other in 1..<6 { net.connect(other, 0) }
        net.pass(.minutes(1))
        #expect(net.machines[1].table.count == 5)
        net.isDown = [5]
        for other in 0..<5 { net.disconnect(5, other) }
        #expect(net.machines[1].table.contains(net.ids[5]))
        net.pass(.minutes(15))
        for index in 0..<5 { #expect(!net.machines[index].table.peers.contains(net.ids[5]), "\(index)") }
        for index in 0..<5 { #expect(net.machines[index].table.count == 4, "\(index)") }
    }

    @Test func whoDidNotAnswerInTimeIsAskedAgain() {
        let net = DHTNet(2)
        net.mute = [1]
        net.connect(0, 1)
        net.pass(.seconds(30))
        #expect(net.machines[0].table.count == 0)
        net.mute = []
        net.pass(.minutes(2))
        #expect(net.machines[0].table.count == 1)
    }

    @Test func aRefreshCostsLittle() {
        let net = DHTNet(6)
        for index in 0..<6 { for other in 0..<index { net.connect(index, other) } }
        net.pass(.minutes(5))
        let before = net.frames
        net.pass(.minutes(10))
        // Each asks each of the others for itself, and is answered.
        let frames = net.frames - before
        #expect(frames == 6 * 5 * 2)
        #expect(net.dials.isEmpty)
    }

    /// What one says of peers that do not exist costs a few dials, and no more.
    @Test(arguments: [false, true])
    func madeUpPeersDoNotKeepASearchGoing(_ isFound: Bool) {
        let net = DHTNet(3) { $0.refreshDelay = .hours(1) }
        net.connect(0, 1)
        let liar = StreamLiar(net: net, number: 1)
        net.mute = [1]
        let start = net.now.monotonic
        net.act(0) { $0.find(net.ids[2], tried: [], now: $2, effects: &$3) }
        // Every dial fails, and whenever the liar is asked it names others that are nearer.
        for _ in 0..<400 where net.machines[0].lookupCount > 0 {
            liar.answer(isFound ? net.ids[2] : nil)
            net.pass(.milliseconds(500))
        }
        #expect(net.machines[0].lookupCount == 0)
        #expect(net.now.monotonic - start <= .seconds(31))
        #expect(net.openDialsMax <= 10)
        #expect(net.dials.count <= 110, "\(net.dials.count)")
        #expect(net.told[0].contains(.notFound(net.ids[2])) || isFound)
    }
}

/// Answers for a mute machine: 60 peers that do not exist, each nearer than the last.
private final class StreamLiar {
    private let net: DHTNet
    private let number: Int
    private var named = 100
    init(net: DHTNet, number: Int) { (self.net, self.number) = (net, number) }

    func answer(_ real: PeerID?) {
        var message = DHTMessage(.findNode)
        message.closer = (0..<60).map { _ in
            named += 1
            return DHTMessage.Peer(netPeer(named), (0..<20).map { lanAddress(named + $0) })
        }
        if let real { message.closer.insert(DHTMessage.Peer(real, [lanAddress(3000)]), at: 0) }
        for stream in net.openStreams(of: 0) {
            net.act(0) { $0.onStream(.received(stream, message.frame), addresses: $1, now: $2, effects: &$3) }
        }
        net.pump()
    }
}

/// The DHT of the wide network, of which we are clients: DHT-02, DHT-12..14.
@Suite struct WideDHTTests {
    private func publicAddress(_ number: Int, in group: Int = 0) -> Multiaddr {
        Multiaddr(unchecked: [4, 80, UInt8(group), UInt8(number >> 8), UInt8(number & 255), 6, 0x23, 0x88])
    }
    private func machine() -> DHT { DHT(network: .wide, me: netPeer(0), owner: 8) }
    private var now: Now { Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000)) }

    /// Connects a peer that is there if it is asked. Whether it was asked.
    @discardableResult
    private func join(_ machine: inout DHT, _ number: Int, _ remote: Multiaddr, listening: [Multiaddr], protocols: [String] = DHT.wideProtocols) -> Bool {
        var effects: [DHT.Effect] = []
        machine.onConnected(netPeer(number), address: remote, now: now, effects: &effects)
        let introduction = PeerIntroduction(protocols: protocols, listenAddresses: listening)
        machine.onIntroduced(netPeer(number), introduction, now: now, effects: &effects)
        for case .stream(.open(let stream, _, let asked)) in effects {
            #expect(asked == DHT.wideProtocols)
            machine.onStream(.received(stream, DHTMessage(.findNode).frame), addresses: { _ in [] }, now: now, effects: &effects)
        }
        machine.checkInvariants()
        return !effects.isEmpty
    }

    @Test func onlyPublicServersGetIntoTheTable() throws {
        var machine = machine()
        let here = publicAddress(1)
        #expect(!join(&machine, 1, here, listening: [here], protocols: DHT.protocols))
        #expect(!join(&machine, 2, lanAddress(2), listening: [lanAddress(2), address("/ip4/127.0.0.1/tcp/1")]))
        #expect(!join(&machine, 3, here, listening: [address("/ip4/80.1.1.1/tcp/1/p2p/\(netPeer(9))/p2p-circuit")]))
        #expect(machine.table.count == 0)
        #expect(join(&machine, 4, here, listening: [lanAddress(4), publicAddress(4)]))
        #expect(join(&machine, 5, publicAddress(5, in: 1), listening: [address("/dns4/example.org/tcp/1")]))
        #expect(Set(machine.table.peers) == Set([netPeer(4), netPeer(5)]))
    }

    @Test func oneNeighbourhoodDoesNotFillTheTable() {
        var machine = machine()
        for number in 1...60 { join(&machine, number, publicAddress(number), listening: [publicAddress(number)]) }
        #expect(machine.table.count == 3)
        let buckets = machine.table.peers.map { machine.table.bucket(of: $0) }
        #expect(buckets.allSatisfy { bucket in buckets.count { $0 == bucket } <= 2 })
        for number in 61...70 { join(&machine, number, publicAddress(number, in: number), listening: [publicAddress(number)]) }
        #expect(machine.table.count == 13)
    }

    @Test func privateAddressesOfOthersAreNotDialled() {
        var machine = machine()
        join(&machine, 1, publicAddress(1), listening: [publicAddress(1)])
        var effects: [DHT.Effect] = []
        machine.find(netPeer(7), tried: [], now: now, effects: &effects)
        guard case .stream(.send(let stream, _))? = effects.last else { Issue.record("not asked"); return }
        var message = DHTMessage(.findNode)
        message.closer = [DHTMessage.Peer(netPeer(7), [lanAddress(7), address("/ip4/127.0.0.1/tcp/1")]), DHTMessage.Peer(netPeer(8), [lanAddress(8), publicAddress(8)])]
        effects = []
        machine.onStream(.received(stream, message.frame), addresses: { _ in [] }, now: now, effects: &effects)
        #expect(effects == [.dial(netPeer(8), [publicAddress(8)])])
    }

    @Test func nothingIsServed() {
        var machine = machine()
        var effects: [DHT.Effect] = []
        let stream = StreamID(owner: 0, number: 1)
        machine.onStream(.incoming(stream, from: netPeer(1), protocol: DHT.wideProtocols[0]), addresses: { _ in [] }, now: now, effects: &effects)
        #expect(effects == [.stream(.reset(stream))])
    }
}
