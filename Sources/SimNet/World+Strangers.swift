// A member that tells of peers which do not exist, and of others where they are not, in thousands: to those that it prunes from its
// meshes, and to whoever asks whom it knows. How a search of the DHT is lied to is in World+Faults.

import Cluster
import Encoding
import Gossip
import Kernel
import Monitoring
import Multiformats
import Seams

extension World {
    /// So many it tells of at once.
    static let strangersMax = 1000
    /// So many of them are signed by keys of their own, which takes a while.
    private static let signedMax = 40

    func introduceStrangers(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 57 | UInt64(fault.number))
        switch fault.amount {
        case 0, 1:
            let frame = pruning(signed: fault.amount == 1, by: index, &choices)
            hostileStreams(process, Gossip.protocols, fault.number) { _ in frame }
        default:
            // It has heard of them itself, and whoever it meets asks it.
            for _ in 0..<World.strangersMax {
                let (peer, places) = (stranger(&choices), places(&choices))
                schedule(process, .connection(.found(peer, places)), after: .zero)
            }
            everyone.forEach { breakConnection(index, $0) }
        }
        hit(.strangersTold)
    }

    private func stranger(_ choices: inout Choices) -> PeerID {
        PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32] + choices.bytes(32)))
    }
    /// Where nobody is, and where somebody else is.
    private func places(_ choices: inout Choices) -> [Multiaddr] {
        [.simulated(peers.count + choices.below(60_000)), .simulated(choices.below(peers.count))]
    }

    /// It goes out of both meshes, and says who has room instead.
    private func pruning(signed: Bool, by index: Int, _ choices: inout Choices) -> Bytes {
        var told: [(id: PeerID, record: Bytes)] = []
        for _ in 0..<(signed ? World.signedMax : World.strangersMax) {
            guard signed else { told.append((stranger(&choices), [])); continue }
            guard let key = try? IdentityKey(seed: choices.bytes(32)) else { continue }
            told.append((key.peerID, PeerRecord(peer: key.peerID, sequence: choices.next(), addresses: places(&choices)).sealed(by: key)))
        }
        var writer = ProtobufWriter()
        writer.message(3) { control in
            for topic in [peers[index].settings.replicaTopic, Monitor.topic] {
                control.message(4) { prune in
                    prune.string(1, topic)
                    for (id, record) in told {
                        prune.message(2) {
                            $0.bytes(1, id.bytes)
                            $0.bytes(2, record)
                        }
                    }
                    prune.uint64(3, 60)
                }
            }
        }
        return framed(writer.bytes)
    }
}
