// Hosts with each other: connecting, streams over connections, and what hosts tell each other.

import Kernel
import Multiformats
import Seams
import Testing
import Transport

private func stream(_ number: UInt64) -> StreamID { StreamID(owner: 1, number: number) }
private let secret = Bytes(repeating: 7, count: 32)
private let allProtocols = ["/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/echo/1", "/sink/2"]

private func connected(seed: UInt64 = 1, pieceBytes: Int = 2000, settings: HostSettings = HostSettings()) -> Network {
    var network = Network(2, seed: seed, pieceBytes: pieceBytes, secrets: [secret, secret], settings: settings)
    network.want(0, .dial(network.id(1), [Network.address(1)]))
    network.settle()
    return network
}

@Suite struct HostTests {
    @Test(arguments: [1, 7, 300, 100_000])
    func peersConnectAndAreIntroduced(_ pieceBytes: Int) {
        let network = connected(pieceBytes: pieceBytes)
        #expect(network.connections(0) == [
            .listening([Network.address(0)]),
            .connected(network.id(1), address: Network.address(1), outbound: true),
            .introduced(network.id(1), PeerIntroduction(
                protocols: allProtocols, listenAddresses: [Network.address(1)], agent: "github.com/ipfs-cluster/ipfs-cluster")),
        ])
        #expect(network.connections(1).dropFirst() == [
            .connected(network.id(0), address: multiaddr("/ip4/10.0.0.1/tcp/40001"), outbound: false),
            .introduced(network.id(0), PeerIntroduction(
                protocols: allProtocols, listenAddresses: [Network.address(0)], agent: "github.com/ipfs-cluster/ipfs-cluster")),
        ])
        #expect(network.hosts.allSatisfy { $0.streamCount == 0 && $0.socketCount == 1 })
        #expect(network.log(1, .debug).contains(
            "identified \(network.id(0)): \"github.com/ipfs-cluster/ipfs-cluster\", speaks \"\(allProtocols.joined(separator: " "))\""))
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func streamsRunBothWays(_ seed: UInt64) throws {
        var network = connected(seed: seed)
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/other", "/sink/2"]))
        network.want(0, .send(stream(1), [1, 2]))
        network.want(0, .send(stream(1), Bytes(repeating: 5, count: 400_000)))
        network.settle()
        let far = try #require(network.incoming(1).first)
        #expect(far.owner == 0)
        #expect(network.events(1).first == .incoming(far, from: network.id(0), protocol: "/sink/2"))
        #expect(network.received(1, far) == [1, 2] + Bytes(repeating: 5, count: 400_000))
        #expect(network.events(0).contains(.opened(stream(1), protocol: "/sink/2")))
        #expect(network.events(0).contains(.drained(stream(1))))
        network.want(1, .send(far, [3]))
        network.want(1, .closeWrite(far))
        network.settle()
        #expect(network.received(0, stream(1)) == [3] && network.events(0).last == .remoteClosed(stream(1)))
        network.want(0, .send(stream(1), [4]))
        network.want(0, .closeWrite(stream(1)))
        network.settle()
        #expect(network.events(1).suffix(2) == [.received(far, [4]), .remoteClosed(far)])
        #expect(network.hosts.allSatisfy { $0.streamCount == 0 })
    }

    /// Of a stream that is held, a window comes; of the one beside it, everything.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func aHeldStreamHoldsUpNoOther(_ seed: UInt64) throws {
        var network = connected(seed: seed, pieceBytes: 20_000)
        for number in [1, 2] as [UInt64] {
            network.want(0, .open(stream(number), to: network.id(1), protocols: ["/echo/1"]))
            network.want(0, .send(stream(number), [UInt8(number)]))
            network.settle()
        }
        let far = network.incoming(1)
        try #require(far.count == 2)
        let now = network.now
        network.run(1) { $0.hold(far[0], true, now: now, effects: &$1) }
        let bytes = Bytes(repeating: 9, count: 1_500_000)
        for number in [1, 2] as [UInt64] { network.want(0, .send(stream(number), bytes)) }
        network.settle()
        // What was negotiated has had a little of it.
        let taken = network.received(1, far[0]).count
        #expect(taken > 262_000 && taken <= 256 << 10)
        #expect(network.received(1, far[1]).count == 1 + bytes.count)
        #expect(network.hosts[0].waitingBytes(stream(1)) == 1 + bytes.count - taken)
        #expect(network.hosts[0].waitingBytes(stream(2)) == 0)
        #expect(network.events(0).filter { $0 == .drained(stream(1)) }.count == 1, "after its first byte only")
        network.pass(60_000)
        #expect(network.hosts[0].socketCount == 1, "pings go on")
        network.run(1) { $0.hold(far[0], false, now: now, effects: &$1) }
        network.settle()
        #expect(network.received(1, far[0]).count == 1 + bytes.count)
        #expect(network.hosts[0].waitingBytes(stream(1)) == 0)
    }

    @Test func aStreamToAKnownPeerDialsFirst() throws {
        var network = Network(2)
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/echo/1"]))
        guard case .failed(stream(1), let reason)? = network.events(0).last else { Issue.record("not failed"); return }
        #expect(reason.contains("not connected") && reason.contains("no address"))
        network.hosts[0].learn(network.id(1), [Network.address(1)])
        network.want(0, .open(stream(2), to: network.id(1), protocols: ["/echo/1"]))
        network.want(0, .open(stream(3), to: network.id(1), protocols: ["/sink/2"]))
        network.want(0, .open(stream(4), to: network.id(1), protocols: ["/sink/2"]))
        network.want(0, .send(stream(2), [1]))
        network.want(0, .send(stream(2), [2]))
        network.want(0, .closeWrite(stream(2)))
        network.want(0, .reset(stream(4)))
        network.settle()
        let far = network.incoming(1)
        #expect(far.count == 2)
        #expect(network.received(1, far[0]) == [1, 2] && network.events(1).contains(.remoteClosed(far[0])))
        #expect(network.events(0).contains(.opened(stream(3), protocol: "/sink/2")))
        #expect(network.dialFailures.isEmpty)
    }

    /// What is said of a stream before its connection stands holds when it does (drill of seed 42).
    @Test func aStreamIsHeldBeforeItStands() throws {
        var network = Network(2)
        network.hosts[0].learn(network.id(1), [Network.address(1)])
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/echo/1"]))
        network.want(0, .send(stream(1), [1]))
        network.want(0, .hold(stream(1), true))
        network.settle()
        let far = try #require(network.incoming(1).first)
        network.want(1, .send(far, Bytes(repeating: 7, count: 400_000)))
        network.settle()
        // A window of it, with what the two have agreed on.
        #expect((200_000...256 << 10).contains(network.received(0, stream(1)).count))
        network.want(0, .hold(stream(1), false))
        network.settle()
        #expect(network.received(0, stream(1)).count == 400_000)
    }

    @Test func streamsThatWaitedForADialFailWithIt() {
        var network = Network(1)
        network.hosts[0].learn(identity(9).peerID, [multiaddr("/ip4/10.9.9.9/tcp/1")])
        network.want(0, .open(stream(1), to: identity(9).peerID, protocols: ["/echo/1"]))
        network.settle()
        let reason = "failed to dial: failed to dial \(identity(9).peerID): all dials failed\n  * [/ip4/10.9.9.9/tcp/1] dial tcp4 10.9.9.9:1: connection refused"
        #expect(network.events(0) == [.failed(stream(1), reason: reason)])
        #expect(network.connections(0).count == 1)  // nobody asked for the dial itself
        #expect(network.hosts[0].streamCount == 0)
    }

    @Test func protocolsThatNobodySpeaksFail() {
        var network = connected()
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/none/1", "/none/2"]))
        network.settle()
        #expect(network.events(0) == [.failed(stream(1), reason: "protocols not supported")])
    }

    @Test func aResetIsToldToTheOtherSideOnly() throws {
        var network = connected()
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/echo/1"]))
        network.settle()
        let far = try #require(network.incoming(1).first)
        network.want(1, .reset(far))
        network.settle()
        #expect(network.events(0).last == .reset(stream(1)))
        #expect(!network.events(1).contains(.reset(far)))
        #expect(network.hosts.allSatisfy { $0.streamCount == 0 })
    }

    // MARK: Dialling

    @Test func addressesAreTriedInOrder() {
        var network = Network(3)
        network.want(0, .dial(network.id(2), [
            multiaddr("/ip4/10.0.0.3/udp/9096/quic-v1"), multiaddr("/ip4/10.0.0.77/tcp/9096"), Network.address(1),
            Network.address(2),
        ]))
        network.settle()
        // Another peer answered at the second: refused, and on.
        #expect(network.dialled == [
            multiaddr("/ip4/10.0.0.77/tcp/9096"), Network.address(1), Network.address(2),
        ].map { $0.with(peer: network.id(2)) })
        #expect(network.connections(0).contains(.connected(network.id(2), address: Network.address(2), outbound: true)))
        #expect(!network.hosts[0].isConnected(network.id(1)) && network.dialFailures.isEmpty)
    }

    /// PNET-03: the private network is inside of the WebSocket.
    @Test(arguments: [nil, secret])
    func webSocketsAreDialled(_ secret: Bytes?) throws {
        var network = Network(2, pieceBytes: 7, secrets: [secret, secret])
        let address = Network.address(1).carrying(.webSocket)
        #expect(address.description == "/ip4/10.0.0.2/tcp/9096/ws")
        network.want(0, .dial(network.id(1), [address]))
        network.settle()
        #expect(network.connections(0).contains(.connected(network.id(1), address: address, outbound: true)))
        #expect(network.connections(1).contains { if case .connected(network.id(0), let from, false) = $0 { from.description.hasSuffix("/ws") } else { false } })
        let id = stream(1)
        network.want(0, .open(id, to: network.id(1), protocols: ["/echo/1"]))
        network.want(0, .send(id, Bytes(repeating: 5, count: 100_000)))
        network.settle()
        #expect(network.received(1, try #require(network.incoming(1).first)) == Bytes(repeating: 5, count: 100_000))
        // What tells of the end is sent before it.
        network.want(0, .disconnect(network.id(1)))
        network.settle()
        #expect(!network.hosts[1].isConnected(network.id(0)) && network.hosts[1].socketCount == 0)
    }

    /// Where a port speaks plain TCP too, its WebSocket is not dialled; and what goes on top of one is not at all.
    @Test func aWebSocketBesidePlainTCPIsLeftAlone() {
        var network = Network(2)
        network.want(0, .dial(network.id(1), [
            multiaddr("/ip4/10.0.0.77/tcp/9096/ws"), multiaddr("/ip4/10.0.0.77/tcp/9096"), multiaddr("/ip4/10.0.0.78/tcp/443/wss"),
            multiaddr("/ip4/10.0.0.78/tcp/443/tls/ws"), Network.address(1).carrying(.webSocket),
        ]))
        network.settle()
        #expect(network.dialled.map(\.withoutPeer) == [multiaddr("/ip4/10.0.0.77/tcp/9096"), Network.address(1).carrying(.webSocket)])
        #expect(network.hosts[0].isConnected(network.id(1)))
    }

    @Test func aFailedDialSaysWhyForEveryAddress() throws {
        var network = Network(2)
        let wanted = identity(9).peerID
        network.want(0, .dial(wanted, [multiaddr("/ip4/10.0.0.77/tcp/9096"), Network.address(1)]))
        network.settle()
        let reason = try #require(network.dialFailures.first)
        #expect(reason.contains("\n  * [/ip4/10.0.0.77/tcp/9096] dial tcp4 10.0.0.77:9096: connection refused"))
        #expect(reason.contains("\n  * [/ip4/10.0.0.2/tcp/9096] peer id mismatch: expected \(wanted)"))
        network.want(0, .dial(wanted, [multiaddr("/ip4/10.0.0.3/udp/9096/quic-v1")]))
        network.want(0, .dial(wanted, []))
        network.want(0, .dial(network.id(0), [Network.address(1)]))
        #expect(network.dialFailures.count == 4)
        #expect(network.hosts.allSatisfy { $0.socketCount == 0 })
    }

    @Test(arguments: [[secret, Bytes(repeating: 8, count: 32)], [secret, nil], [nil, secret]])
    func differentSecretsAreNamed(_ secrets: [Bytes?]) throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var network = Network(2, seed: seed, pieceBytes: 100, secrets: secrets)
            network.want(0, .dial(network.id(1), [Network.address(1)]))
            network.settle()
            network.pass(20_000)
            #expect(network.dialFailures.first?.contains("secret") == true, "seed \(seed): \(network.dialFailures)")
            #expect(network.hosts.allSatisfy { $0.socketCount == 0 })
            // Whoever set it up sees it at the dialling end; at the other one too, where that one has a secret.
            #expect(network.log(0, .warning).contains { $0.contains("dialling \(network.id(1))") && $0.contains("secret") } )
            if secrets[1] != nil { #expect(network.log(1, .info).contains { $0.contains("secret") }) }
        }
    }

    @Test func strangersAreLoggedNowAndThen() {
        var network = Network(1, secrets: [secret])
        func knock(_ numbers: Range<UInt64>, saying bytes: Bytes) {
            for number in numbers {
                network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/127.0.0.1/tcp/\(number)")))
                if !bytes.isEmpty { network.tell(0, .received(.inbound(number), bytes)) }
                network.tell(0, .closed(.inbound(number), reason: "EOF"))
            }
        }
        knock(1..<100, saying: [])
        #expect(network.log(0, .info).isEmpty)  // somebody looks whether the port is open
        knock(100..<200, saying: Bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        #expect(network.log(0, .info).count == 1)
        #expect(network.log(0, .info).first?.contains("/tcp/100 failed") == true)
        network.pass(9_999)
        knock(200..<201, saying: [1])
        #expect(network.log(0, .info).count == 1)
        network.pass(1)
        knock(201..<202, saying: [1])
        #expect(network.log(0, .info).count == 2)
        #expect(network.log(0, .info).last?.contains("and 100 more") == true)
        #expect(network.log(0, .debug).count == 99 + 99 + 1)
    }

    @Test func anAddressThatSaysNothingDoesNotHoldUpTheNext() {
        var network = Network(2)
        let silent = multiaddr("/ip4/10.0.0.66/tcp/1")
        network.blackHoles = [silent]
        network.want(0, .dial(network.id(1), [silent, Network.address(1)]))
        network.pass(29)
        #expect(network.dialled.count == 1)
        network.pass(1)
        #expect(network.hosts[0].isConnected(network.id(1)))
        #expect(network.hosts[0].socketCount == 1)  // the silent attempt was given up
        var alone = Network(2)
        alone.blackHoles = [silent]
        alone.want(0, .dial(alone.id(1), [silent]))
        alone.pass(2999)
        #expect(alone.dialFailures.isEmpty)
        alone.pass(1)
        #expect(alone.dialFailures == ["failed to dial: failed to dial \(alone.id(1)): all dials failed\n  * [\(silent)] dial tcp4 \(silent.value("ip4").map { $0.map(String.init).joined(separator: ".") } ?? ""):1: i/o timeout"])
        #expect(alone.hosts[0].socketCount == 0)
    }

    // MARK: Several connections

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func bothMayDialAtOnce(_ seed: UInt64) throws {
        var network = Network(2, seed: seed, pieceBytes: 60, secrets: [secret, secret])
        network.want(0, .dial(network.id(1), [Network.address(1)]))
        network.want(1, .dial(network.id(0), [Network.address(0)]))
        network.settle()
        for index in 0..<2 {
            #expect(network.hosts[index].isConnected(network.id(1 - index)))
            #expect(network.connections(index).count { if case .connected = $0 { true } else { false } } == 1)
            #expect(network.connections(index).count { if case .introduced = $0 { true } else { false } } == 1)
        }
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/echo/1"]))
        network.settle()
        #expect(network.incoming(1).count == 1)
        // The loss of one connection is none of the peer; that of the last one is.
        if network.hosts[0].socketCount == 2 {
            network.cut(0, 1)
            network.settle()
            #expect(!network.connections(0).contains(.disconnected(network.id(1))))
        }
        network.cut(0)
        network.settle()
        for index in 0..<2 {
            #expect(network.connections(index).last == .disconnected(network.id(1 - index)))
            #expect(network.hosts[index].socketCount == 0 && network.hosts[index].streamCount == 0)
        }
    }

    @Test func streamsAreResetBeforeTheirPeerIsGone() throws {
        var network = connected()
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/echo/1"]))
        network.settle()
        let far = try #require(network.incoming(1).first)
        network.want(0, .disconnect(network.id(1)))
        network.settle()
        func tail(_ index: Int) -> [Host.Effect] {
            Array(network.seen[index].filter { if case .log = $0 { false } else { true } }.suffix(2))
        }
        #expect(tail(0) == [.stream(.reset(stream(1))), .connection(.disconnected(network.id(1)))])
        #expect(tail(1) == [.stream(.reset(far)), .connection(.disconnected(network.id(0)))])
        // And again, from scratch.
        network.want(0, .dial(network.id(1), [Network.address(1)]))
        network.settle()
        #expect(network.hosts[1].isConnected(network.id(0)))
    }

    @Test func aShutDownHostLeavesNothingBehind() {
        var network = connected()
        let now = network.now
        network.run(0) { $0.shutDown(now: now, effects: &$1) }
        network.settle()
        #expect(network.hosts.allSatisfy { $0.socketCount == 0 && $0.nextDeadline == nil })
        let reasons = network.seen[1].compactMap { if case .log(let line) = $0 { line.message } else { nil } }
        #expect(reasons.contains { $0.contains("shutdown") })
    }

    @Test func idleConnectionsStayUpAndSilentOnesDoNot() {
        var network = connected()
        network.pass(300_000)
        #expect(network.hosts.allSatisfy { $0.socketCount == 1 })
    }

    // MARK: Limits

    @Test func oneAddressMayNotTakeAllConnections() {
        var settings = HostSettings()
        settings.resources.inboundConnections = 12
        settings.resources.inboundHandshakes = 10
        var network = Network(1, settings: settings)
        func knock(_ ip: String, _ number: UInt64) {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/\(ip)/tcp/5")))
        }
        for number in 0..<20 as Range<UInt64> { knock("10.1.1.1", number) }
        #expect(network.hosts[0].socketCount == 8)
        for number in 20..<40 as Range<UInt64> { knock("127.0.0.1", number) }
        #expect(network.hosts[0].socketCount == 10)
        network.pass(15_000)  // nobody has said a word
        #expect(network.hosts[0].socketCount == 0)
    }

    /// Connections that say nothing keep nobody out.
    @Test func theSilentMakeRoom() {
        var settings = HostSettings()
        settings.resources.inboundHandshakes = 10
        settings.resources.inboundConnections = 11
        var network = Network(3, secrets: [secret, secret, secret], settings: settings)
        for number in 1000..<1030 as Range<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/127.0.0.1/tcp/\(number)")))
        }
        #expect(network.hosts[0].socketCount == 10)
        for friend in 1...2 {
            network.want(friend, .dial(network.id(0), [Network.address(0)]))
            network.settle()
            #expect(network.hosts[friend].isConnected(network.id(0)))
        }
        #expect(network.hosts[0].socketCount == 11)
        // But whoever has proven itself stays.
        for number in 1030..<1090 as Range<UInt64> {
            network.tell(0, .accepted(.inbound(number), remote: multiaddr("/ip4/127.0.0.1/tcp/\(number)")))
        }
        network.settle()
        #expect(network.hosts[0].socketCount == 11)
        #expect(network.hosts[0].isConnected(network.id(1)) && network.hosts[0].isConnected(network.id(2)))
    }

    // MARK: Services

    @Test func newAddressesAreTold() {
        var network = connected()
        let more = [Network.address(0), multiaddr("/dns4/a.example/tcp/9096"), multiaddr("/ip4/127.0.0.1/tcp/9096")]
        let now = network.now
        network.run(0) { $0.onListening(more, now: now, effects: &$1) }
        network.settle()
        #expect(network.connections(1).last == .introduced(network.id(0), PeerIntroduction(
            protocols: allProtocols, listenAddresses: Array(more[..<2]), agent: "github.com/ipfs-cluster/ipfs-cluster")))
        network.pass(6000)
        #expect(network.hosts.allSatisfy { $0.socketCount == 1 && $0.streamCount == 0 })
    }

    @Test func pingsAreAnswered() {
        var network = connected()
        network.want(0, .open(stream(1), to: network.id(1), protocols: ["/ipfs/ping/1.0.0"]))
        let pings = Bytes(0..<80)
        network.want(0, .send(stream(1), pings))
        network.settle()
        #expect(network.received(0, stream(1)) == Bytes(pings[..<64]))  // in whole ones
        #expect(network.log(1, .debug).contains("ping from \(network.id(0)) answered"))
        network.want(0, .closeWrite(stream(1)))
        network.settle()
        #expect(network.events(0).last == .remoteClosed(stream(1)) && network.events(1).isEmpty)
        for number in 2...4 as ClosedRange<UInt64> {
            network.want(0, .open(stream(number), to: network.id(1), protocols: ["/ipfs/ping/1.0.0"]))
        }
        network.settle()
        #expect(network.events(0).contains(.reset(stream(4))) && !network.events(0).contains(.reset(stream(3))))
        network.pass(31_000)
        #expect(network.hosts[0].streamCount == 0)
    }

    /// A peer that never answers identify is introduced all the same (IDF-11).
    @Test func silenceAboutOneselfIsNoEnd() {
        var network = Network(1)
        var end = End(machine: Connection(
            role: .listener, key: keyB, networkKey: nil, entropy: Bytes(repeating: 3, count: 88), protocols: ["/ipfs/id/1.0.0"],
            now: at(0)))
        end.run { $0.start(now: at(0), effects: &$1) }
        var host = network.hosts[0]
        var effects: [Host.Effect] = []
        host.onEffect(.dial(keyB.peerID, [Network.address(1)]), now: at(0), effects: &effects)
        guard case .socket(.connect(let socket, _))? = effects.last else { Issue.record("no attempt"); return }
        func entropy(_ count: Int) -> Bytes { Bytes(repeating: 4, count: count) }
        host.onSocket(.connected(socket, remote: Network.address(1)), entropy: entropy, now: at(0), effects: &effects)
        for _ in 0..<20 {
            let wire = effects.flatMap { if case .socket(.write(_, let bytes)) = $0 { bytes } else { [] as Bytes } }
            effects.removeAll { if case .socket(.write) = $0 { true } else { false } }
            end.run { $0.onBytes(wire, now: at(0), effects: &$1) }
            host.onSocket(.received(socket, end.wire), entropy: entropy, now: at(0), effects: &effects)
            end.wire = []
        }
        #expect(host.isConnected(keyB.peerID) && host.introduction(of: keyB.peerID) == nil)
        host.onTime(now: at(5000), effects: &effects)
        #expect(effects.contains(.connection(.introduced(keyB.peerID, PeerIntroduction(protocols: [])))))
        network.hosts[0] = host
    }

    @Test func garbageOnSocketsIsRefused() {
        var choices = Choices(seed: 11)
        for _ in 0..<100 {
            var network = Network(2, seed: choices.next(), pieceBytes: 200)
            network.want(0, .dial(network.id(1), [Network.address(1)]))
            for _ in 0..<choices.below(30) { _ = network.step() }
            for number in 100..<105 as Range<UInt64> {
                let socket: SocketID = .inbound(UInt64(choices.below(3)))
                network.tell(1, .received(socket, choices.bytes(1 + choices.below(200))))
                network.tell(1, .accepted(.inbound(number), remote: Network.address(5)))
            }
            network.settle()
            network.pass(60_000)
            #expect(network.events(0).isEmpty && network.events(1).isEmpty)
        }
    }
}
