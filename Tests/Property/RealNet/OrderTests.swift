// What a peer writes to one connection leaves in the order in which it was sealed.

import Cluster
import Crypto
import Foundation
import IPFSConnector
import Kernel
import Multiformats
import RealNet
import Seams
import Testing
import Transport

/// A host that holds its bytes back for a moment, so that much arrives at once: the answer to who it is, and behind it, in the
/// same segment, the question who the other one is.
private final class Batching: @unchecked Sendable {
    static let stream = StreamID(owner: 1, number: 1)
    let loop: EventLoop
    let sockets: Libp2pSockets
    var host: Transport.Host
    var addresses: [Multiaddr] = []
    var events: [StreamEvent] = []
    private var held: [SocketEffect] = []
    private var other: PeerID?
    private var hasAsked = false

    init(loop: EventLoop, key: IdentityKey, secret: Bytes) throws {
        self.loop = loop
        sockets = Libp2pSockets(loop: loop)
        host = Transport.Host(key: key, networkKey: secret, protocols: ["/meshsub/1.1.0"])
        addresses = try sockets.listen(on: try Multiaddr(text: "/ip4/127.0.0.1/tcp/0"))
        sockets.onEvent = { [unowned self] event in
            run { $0.onSocket(event, entropy: Machine.entropy, now: Machine.now, effects: &$1) }
        }
    }

    private func run(_ body: (inout Transport.Host, inout [Transport.Host.Effect]) -> Void) {
        var effects: [Transport.Host.Effect] = []
        body(&host, &effects)
        for effect in effects {
            switch effect {
            case .socket(.write(let socket, let bytes)):
                if held.isEmpty { loop.after(.milliseconds(50)) { [weak self] in self?.flush() } }
                held.append(.write(socket, bytes))
            case .socket(let effect): sockets.carryOut(effect)
            case .connection(.connected(let peer, _, _)): other = peer
            case .stream(let event): events.append(event)
            case .connection, .log: break
            }
        }
    }

    private func flush() {
        if let other, !hasAsked {
            hasAsked = true
            run { $0.onEffect(.open(Self.stream, to: other, protocols: [IdentifyMessage.protocolID]), now: Machine.now, effects: &$1) }
        }
        for effect in held { sockets.carryOut(effect) }
        held = []
    }
}

@Suite(.serialized) struct OrderTests {
    @Test func whatAnEventCausesIsWrittenAfterWhatCameBefore() throws {
        let loop = EventLoop()
        let folder = NSTemporaryDirectory() + "ipfs-cluster-test-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let secret = Bytes(repeating: 7, count: 32)
        let keys = try (1...2).map { try IdentityKey(seed: Bytes(repeating: $0, count: 32)) }
        let far = try Batching(loop: loop, key: keys[1], secret: secret)

        var settings = PeerSettings(me: keys[0].peerID)
        settings.ipfs = .embedded(EmbeddedSettings())
        settings.bootPeers = [(keys[1].peerID, far.addresses, true)]
        let home = PeerHome(
            key: keys[0], secret: secret, listen: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")], dataFolder: folder)
        let runner = try PeerRunner(loop: loop, home: home, settings: settings) { _ in }
        runner.start()
        loop.after(.seconds(5)) { loop.stop() }
        func poll() {
            // Both were caused by one segment: a stream for pubsub, and the answer that was decided on after it.
            let opened = far.events.contains { if case .incoming(_, _, "/meshsub/1.1.0") = $0 { true } else { false } }
            if opened && far.events.contains(.remoteClosed(Batching.stream)) { return loop.stop() }
            loop.after(.milliseconds(20), poll)
        }
        poll()
        loop.run()
        #expect(far.events.contains(.opened(Batching.stream, protocol: IdentifyMessage.protocolID)), "\(far.events)")
        #expect(far.events.contains(.remoteClosed(Batching.stream)), "\(far.events)")
        runner.close()
        far.sockets.close()
    }
}
