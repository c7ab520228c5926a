// Of too many connections, a peer says which it can do without. CM-02.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

@Suite struct CrowdTests {
    private func dispensable(_ crowd: [PeerID], trust: (PeerID) -> Trust) throws -> [PeerWorth]? {
        let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        var choices = Choices(seed: 1)
        var effects: [PeerEffect] = []
        var peer = try ClusterPeer(
            settings: PeerSettings(me: key.peerID, trust: trust(key.peerID)), disk: MemoryDisk(), signer: IdentitySigner(key: key), at: now,
            choices: &choices, effects: &effects)
        for other in crowd {
            peer.step(.connection(.connected(other, address: Multiaddr(unchecked: [4, 127, 0, 0, 1, 6, 0x23, 0x88]), outbound: false)),
                at: now, choices: &choices, effects: &effects)
        }
        effects = []
        peer.step(.connection(.crowded(crowd)), at: now, choices: &choices, effects: &effects)
        for case .connection(.trim(let worths)) in effects { return worths }
        return nil
    }

    @Test func theTrustedAreKept() throws {
        var choices = Choices(seed: 3)
        let crowd = (0..<6).map { _ in choices.randomPeer() }
        let answer = try dispensable(crowd) { me in .only(SortedSet([me, crowd[1], crowd[4]])) }
        #expect(answer == [0, 2, 3, 5].map { PeerWorth(crowd[$0], 0) })
        // Where everyone is trusted, nobody stands out: else nothing could ever be closed.
        #expect(try dispensable(crowd) { _ in .everyone } == crowd.map { PeerWorth($0, 0) })
    }
}
