// What is known of a peer from one start of it to the next, and who watches it.

import Cluster
import Kernel
import Monitoring
import Seams

/// Of one life of a peer. Times are those of its own clock. Changed in place, at every step, and so a class.
final class LifeLog {
    let life: UInt64
    let begun: Instant
    var gossip: GossipLog
    var exchange = ExchangeLog()
    var calls = CallLog()
    var lookups: LookupLog
    var lists = ListLog()
    var pace = PaceLog()
    var hasSaidReady = false
    /// What the blocks of its embedded node take.
    var blockBytes: Int?
    /// Bytes of all its streams; and those that it has reset, on which more may come that waited while it was asleep.
    private(set) var received: Int64 = 0
    private(set) var sent: Int64 = 0
    private var dropped = SortedSet<StreamID>()

    init(life: UInt64, begun: Instant, topics: [String], peers: Int) {
        (self.life, self.begun) = (life, begun)
        (gossip, lookups) = (GossipLog(topics: topics, peers: peers), LookupLog(begun: begun))
    }
    func note(_ event: StreamEvent) { if case .received(let stream, let bytes) = event, !dropped.contains(stream) { received += Int64(bytes.count) } }
    func note(_ effect: StreamEffect) {
        switch effect {
        case .send(_, let bytes): sent += Int64(bytes.count)
        case .reset(let stream): dropped.insert(stream)
        default: break
        }
    }
}

extension PeerInput {
    /// Cheaper than to compare.
    var isWake: Bool { if case .wake = self { true } else { false } }
}

extension Run {
    /// After each step of a peer that lives on.
    func watchLife(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process) {
        let now = process.peer.clock.reading(world.now).monotonic
        if lifeLogs[index]?.life != process.peer.lives {
            let topics = [process.peer.settings.replicaTopic, Monitor.topic]
            lifeLogs[index] = LifeLog(life: process.peer.lives, begun: now, topics: topics, peers: world.peers.count)
        }
        guard !world.isStepCut, let log = lifeLogs[index] else { return }
        if case .stream(let event) = input { log.note(event) }
        for effect in effects {
            switch effect {
            case .stream(let effect): log.note(effect)
            case .ready: log.hasSaidReady = true
            default: break
            }
        }
        if !log.hasSaidReady, process.machine.isReady { world.fail(.start, "\(world.name(index)) is ready, and nobody is told") }
        watchGossip(index, input, effects, process, now, &log.gossip)
        watchExchange(index, input, effects, process, &log.exchange)
        watchCalls(index, input, effects, process, now, &log.calls)
        watchLookups(index, input, effects, process, now, &log.lookups)
        watchLists(index, input, effects, process, now, &log.lists)
        watchPace(index, input, effects, process, now, &log.pace)
        watchUploads(index, input, effects, process)
        watchGarbage(index, input, process, now, log)
    }
}
