// Pinsets side by side: `state digest`, and what `id` and `peers ls` show of them.

import Encoding
import Kernel
import Multiformats
import Pinset
import Testing

@testable import ControlCommands

@Suite struct DigestTests {
    private let digest = "00112233445566778899aabbccddeeff"

    private func peer(_ id: String, _ name: String, _ digest: String?, pins: Int = 3, error: String = "") throws -> PeerInfo {
        var peer = PeerInfo(id: try PeerID(text: RecordedCase.named(id)))
        (peer.peerName, peer.error) = (name, error)
        peer.clusterPeers = [peer.id]
        peer.pinset = digest.map { PinsetSummary(digest: $0, pins: pins, lastChange: pins == 0 ? .unset : .epoch) }
        return peer
    }
    private func run(_ words: [String], _ peers: [PeerInfo]) -> (exit: Int32, world: ScriptedWorld) {
        let lines = peers.map { $0.json.encoded() + "\n" }.joined()
        let world = ScriptedWorld { _ in ScriptedAnswer(200, lines) }
        return (ControlProgram(world: world).run(words), world)
    }

    @Test func peersThatAgree() throws {
        let peers = [try peer("$PEER0", "alice", digest, pins: 12), try peer("$PEER1", "", digest, pins: 0)]
        let (exit, world) = run(["state", "digest"], peers)
        #expect(exit == 0)
        let id = RecordedCase.named("$PEER1")
        let alice = "alice" + String(repeating: " ", count: id.count - 5)
        #expect(world.stdout == """
            \(alice) | 12 pins | \(digest) | changed 1970-01-01T00:00:00Z
            \(id) |  0 pins | \(digest) | unchanged since start
            all 2 peers agree

            """)
    }

    @Test func peersThatDiffer() throws {
        let other = String(digest.reversed())
        let (exit, world) = run(["state", "digest"], [try peer("$PEER0", "a", digest), try peer("$PEER1", "b", other)])
        #expect(exit == 1 && world.stdout.hasSuffix("\npeers differ\n"))
    }

    @Test func whoDoesNotSayIsNoAgreement() throws {
        let silent = try peer("$PEER1", "bob", nil)
        let lost = try peer("$PEER1", "bob", nil, error: "dial backoff")
        for (peer, line) in [(silent, "bob   | does not say\n"), (lost, "bob   | ERROR: dial backoff\n")] {
            let (exit, world) = run(["state", "digest"], [try self.peer("$PEER0", "alice", digest), peer])
            #expect(exit == 1)
            #expect(world.stdout.hasSuffix(line + "1 of 2 peers agree, the others do not say\n"))
        }
        #expect(run(["state", "digest"], []).exit == 1)
    }

    @Test func jsonIsThePeersOwn() throws {
        let peers = [try peer("$PEER0", "a", digest), try peer("$PEER1", "b", "")]
        let (exit, world) = run(["--enc", "json", "state", "digest"], peers)
        #expect(exit == 1)
        #expect(world.stdout == peers.map { $0.json.encoded(indent: 4) + "\n" }.joined())
    }

    @Test func aPeerIsShownWithItsPinset() throws {
        let one = try peer("$PEER0", "a", digest)
        for words in [["id", "--pinset"], ["peers", "ls", "--pinset"]] {
            let (exit, world) = run(words, [one])
            #expect(exit == 0)
            #expect(world.stdout.contains("\n  > Pinset: 3 pins | \(digest) | changed 1970-01-01T00:00:00Z\n  > Addresses:\n"))
            #expect(run(["--enc", "json"] + words, [one]).world.stdout == one.json.encoded(indent: 4) + "\n")
        }
    }
}
