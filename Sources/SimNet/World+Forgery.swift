// Hostile members of gossip: who speak in others' names, and who break the rules of a mesh.

import Cluster
import Encoding
import Gossip
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams

extension World {
    /// In the name of another, who has said something: a ping that counts for a year, much under the numbers of what comes next, what it
    /// has said last with something else in it, or heads. `number` of the fault draws whose name.
    func forge(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 57 | UInt64(fault.number))
        guard let victim = choices.permuted(lastSaid.keys.filter { $0 != index }).first, let last = lastSaid[victim], var message = try? GossipMessage(decoding: last[...]),
            let number = message.sequence?.reduce(0 as UInt64, { $0 << 8 | UInt64($1) })
        else { return }
        let signer = SimSigner(me: process.peer.id)
        func sequence(_ number: UInt64) -> Bytes { (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) } }
        let block = Multihash.sha2_256(of: choices.bytes(8))
        var forged: [GossipMessage] = []
        switch fault.amount {
        case 0:
            var ping = Metric(name: "ping", peer: peers[victim].id)
            (ping.value, ping.isValid, ping.expire) = ("", true, SimClock().reading(now).wall.unixNanoseconds + Span.hours(24 * 365).nanoseconds)
            (message.topic, message.data, message.sequence) = (Bytes(Monitor.topic.utf8), ping.messagePack, sequence(number + 1 << 20))
            forged = [message]
        case 1:
            forged = (1...30 as ClosedRange<UInt64>).map { ahead in
                var next = message
                (next.sequence, next.data) = (sequence(number + ahead), choices.bytes(40))
                return next
            }
        case 2:
            var changed = message
            changed.data = (message.data ?? []).isEmpty ? [1] : (message.data ?? []).dropLast() + [(message.data?.last ?? 0) ^ 1]
            changed.sequence = sequence(number + 1 << 21)
            forged = [changed]
        default:
            (message.topic, message.data) = (Bytes(peers[index].settings.replicaTopic.utf8), Announcement.encode([CID(v1: Codec.dagPB, block)]))
            message.sequence = sequence(number + 1 << 22)
            forged = [message]
        }
        // What was changed on the way keeps the signature that it had.
        if fault.amount != 2 { for place in forged.indices { forged[place].signature = signer.sign(forged[place].signedBytes) } }
        var writer = ProtobufWriter()
        for message in forged { writer.explicit(2, bytes: message.encoded) }
        hit(.forged)
        hostileStreams(process, Gossip.protocols, fault.number) { _ in framed(writer.bytes) }
        if fault.amount == 0 { after(.seconds(3)) { $0.checkForgedPing(of: victim) } }
        if fault.amount > 2 { after(.seconds(3)) { $0.checkHeedless(of: block, by: index) } }
    }

    /// TRUST: what was said in another's name is believed by nobody.
    func checkForgedPing(of victim: Int) {
        let far = SimClock().reading(now).wall.unixNanoseconds + Span.hours(24).nanoseconds
        for peer in peers where peer.index != victim {
            guard let ping = peer.machine?.monitor.latest("ping", of: peers[victim].id), ping.expire > far else { continue }
            return fail(.trust, "\(name(peer.index)) believes a ping of \(name(victim)) that somebody else has made up")
        }
    }

    /// It leaves and comes back at once, sends others away for long, announces what there is not, and asks for the same again and again.
    func disturbMeshes(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 58 | UInt64(fault.number))
        let topics = [Bytes(peers[index].settings.replicaTopic.utf8), Bytes(Monitor.topic.utf8)]
        func rpc(_ build: (inout ProtobufWriter) -> Void) -> Bytes {
            var writer = ProtobufWriter()
            build(&writer)
            return framed(writer.bytes)
        }
        func prune(_ seconds: UInt64?) -> Bytes {
            rpc { rpc in
                rpc.message(3) { control in
                    for topic in topics {
                        control.message(4) {
                            $0.explicit(1, bytes: topic)
                            if let seconds { $0.explicit(3, varint: seconds) }
                        }
                    }
                }
            }
        }
        func graft() -> Bytes { rpc { $0.message(3) { control in for topic in topics { control.message(3) { $0.explicit(1, bytes: topic) } } } } }
        func ids(_ count: Int) -> [Bytes] { (0..<count).map { _ in choices.bytes(24) } }
        var bytes: Bytes = []
        func echo(to other: Int) -> Bytes { lastSaid[other].map { last in rpc { $0.explicit(2, bytes: last) } } ?? graft() }
        switch fault.amount {
        case 0: bytes = prune(60)
        case 1: bytes = prune(nil) + graft()
        case 2: bytes = rpc { rpc in for topic in topics { rpc.message(1) { $0.explicit(1, varint: 0); $0.explicit(2, bytes: topic) } } }
        case 3: bytes = graft() + prune(.max) + graft()
        case 4:
            for _ in 0..<peers[index].settings.gossip.announcementsPerHeartbeatMaximum + 5 {
                let made = ids(20)
                bytes += rpc { $0.message(3) { $0.message(1) { have in
                    have.explicit(1, bytes: topics[0])
                    for id in made { have.explicit(2, bytes: id) }
                } } }
            }
        case 5:
            let known = lastSaid.keys.filter { $0 != index }.compactMap { lastSaid[$0] }.compactMap { (try? GossipMessage(decoding: $0[...]))?.id }
            for _ in 0..<10 { bytes += rpc { $0.message(3) { $0.message(2) { want in for id in known { want.explicit(1, bytes: id) } } } } }
        case 6:
            let made = ids(900)
            bytes = rpc { $0.message(3) { $0.message(5) { unwanted in for id in made { unwanted.explicit(1, bytes: id) } } } }
        default:
            // To each what it has said last itself, perhaps in another life.
            hit(.meshDisturbed)
            return hostileStreams(process, Gossip.protocols, fault.number) { echo(to: $0) }
        }
        hit(.meshDisturbed)
        hostileStreams(process, Gossip.protocols, fault.number) { _ in bytes }
    }
}
