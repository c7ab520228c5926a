// A dial by nobody in particular, on real sockets.

import Kernel
import Multiformats
import RealNet
import Seams
import Testing
import Transport

@Suite struct BackDialTests {
    @Test func itTellsWhetherAPeerAnswers() throws {
        let loop = EventLoop()
        let secret = Bytes(repeating: 7, count: 32)
        let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32)), other = try IdentityKey(seed: Bytes(repeating: 2, count: 32))
        let host = HostRunner(loop: loop, host: Host(key: key, networkKey: secret, protocols: []))
        let there = try #require(try host.listen(on: try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")).first)
        var gone = 0
        host.onEvent = { if case .connection(.disconnected) = $0 { gone += 1 } }
        var told: [String: Multiaddr?] = [:]
        func dial(_ name: String, _ key: Bytes?, _ peer: PeerID, _ addresses: [Multiaddr]) -> BackDial {
            BackDial(loop: loop, networkKey: key, peer: peer, addresses: addresses, timeout: .seconds(3)) { told[name] = .some($0) }
        }
        let closed = try Multiaddr(text: "/ip4/127.0.0.1/tcp/1")
        let dials = [
            dial("there", secret, key.peerID, [closed, there]), dial("nobody", secret, key.peerID, [closed]),
            dial("another", secret, other.peerID, [there]), dial("another secret", Bytes(repeating: 8, count: 32), key.peerID, [there]),
        ]
        loop.after(.seconds(20)) { loop.stop() }
        func look() {
            if told.count == 4 && gone == 1 { loop.stop() } else { loop.after(.milliseconds(20), look) }
        }
        look()
        loop.run()
        #expect(told["there"] == .some(.some(there)))
        for name in ["nobody", "another", "another secret"] { #expect(told[name] == .some(nil), "\(name)") }
        #expect(gone == 1, "it has hung up")
        _ = dials
        host.close()
    }
}
