// The addresses that a peer is to listen on, of which some cannot be had.

import Cluster
import Foundation
import IPFSConnector
import Kernel
import Multiformats
import RealNet
import Seams
import Testing

@Suite(.serialized) struct ListeningTests {
    private let loop = EventLoop()
    private let key: IdentityKey
    private let other: Libp2pSockets
    /// Somebody listens there already.
    private let taken: Multiaddr
    /// No address of this machine (RFC 5737).
    private let foreign = try? Multiaddr(text: "/ip4/203.0.113.1/tcp/9096")

    init() throws {
        key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        other = Libp2pSockets(loop: loop)
        taken = try #require(try other.listen(on: Multiaddr(text: "/ip4/127.0.0.1/tcp/0")).first)
    }

    private func started(_ listen: [Multiaddr], _ log: @escaping (LogLine) -> Void) throws -> [Multiaddr] {
        let folder = NSTemporaryDirectory() + "ipfs-cluster-test-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var settings = PeerSettings(me: key.peerID)
        settings.ipfs = .embedded(EmbeddedSettings())
        let home = PeerHome(key: key, secret: nil, listen: listen, dataFolder: folder)
        let runner = try PeerRunner(loop: loop, home: home, settings: settings, onLog: log)
        defer { runner.close() }
        return runner.listening
    }

    @Test func whatCannotBeBoundIsPassedOver() throws {
        let found = Libp2pSockets(loop: loop)
        let free = try #require(try found.listen(on: Multiaddr(text: "/ip4/127.0.0.1/tcp/0")).first)
        found.close()
        let foreign = try #require(foreign)
        var lines: [LogLine] = []
        #expect(try started([taken, foreign, free, free]) { lines.append($0) } == [free])
        let warnings = lines.filter { $0.level == .warning && $0.component == "p2p" }.map(\.message)
        try #require(warnings.count == 3, "\(lines)")
        for (address, warning) in zip([taken, foreign, free], warnings) { #expect(warning.hasPrefix("not listening on \(address): listen tcp ")) }
        #expect(warnings[0].hasSuffix("bind: address already in use") && warnings[1].hasSuffix("bind: cannot assign requested address"))
        #expect(warnings[2].hasSuffix("bind: address already in use"))
        other.close()
    }

    @Test func whereNoneCanBeBoundThePeerDoesNotStart() throws {
        let foreign = try #require(foreign)
        let failure = #expect(throws: ListenFailure.self) { try started([taken, foreign]) { _ in } }
        let reason = failure?.reason ?? ""
        #expect(reason.contains("\(taken): ") && reason.contains("already in use; \(foreign): "), "\(reason)")
        other.close()
    }
}
