// Local discovery over real datagrams, on the loopback interface.

import Crypto
import Glibc
import Kernel
import Multiformats
import RealNet
import Testing

@Suite struct NeighboursTests {
    @Test func twoFindEachOther() throws {
        let loop = EventLoop()
        let interfaces = [NetworkInterface(index: if_nametoindex("lo"), family: AF_INET)]
        var found: [[PeerID]] = [[], []]
        var neighbours: [Neighbours] = []
        let ids = (0..<2).map { PeerID(.sha2_256(of: Bytes("neighbour \($0)".utf8))) }
        for index in 0..<2 {
            neighbours.append(
                try Neighbours(loop: loop, interfaces: interfaces, me: ids[index], addresses: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/\(9000 + index)")]) { peer, addresses in
                    guard ids.contains(peer) else { return }  // others of this machine
                    #expect(addresses.map(\.description) == ["/ip4/127.0.0.1/tcp/\(9000 + 1 - index)"])
                    found[index].append(peer)
                    if found.allSatisfy({ !$0.isEmpty }) { loop.stop() }
                })
        }
        loop.after(.seconds(10)) { loop.stop() }
        loop.run()
        #expect(found == [[ids[1]], [ids[0]]])
        for each in neighbours { each.close() }
    }

    /// Who listens on the loopback interface alone is reached by nobody else.
    @Test func loopbackIsNoNetwork() throws {
        #expect(Interfaces.multicast(reaching: [try Multiaddr(text: "/ip4/127.0.0.1/tcp/1"), try Multiaddr(text: "/ip6/::1/tcp/1")]).isEmpty)
    }
}
