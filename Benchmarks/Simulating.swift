// How fast the simulator is: whole clusters in one thread, with all that the oracles look at.

import Allocation
import Cluster
import Gossip
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import SimNet

/// Runs as `ipfs-cluster-sim sweep` draws them, of those that have five peers.
func benchmarkSimulation(runs: Int) {
    var (seed, done, events, virtual) = (UInt64(0), 0, UInt64(0), Int64(0))
    let processorBegan = processorSeconds()
    let seconds = timed {
        while done < runs {
            seed += 1
            let plan = RunPlan.random(seed)
            guard plan.options.peers == 5, plan.options.boots == 0 else { continue }
            let verdict = Run(plan).execute()
            invariant(verdict.failure == nil, "seed \(seed): \(verdict.failure ?? "")")
            (done, events, virtual) = (done + 1, events + verdict.events, virtual + verdict.virtualTime.nanoseconds)
        }
    }
    let minutes = Double(virtual) / 60e9
    print(
        """
        {"benchmark": "simulate", "runs": \(runs), "seconds": \(fixed(seconds)), "cpu_seconds": \(fixed(processorSeconds() - processorBegan)), "events": \(events), "events_per_second": \(Int(Double(events) / seconds)), \
        "virtual_minutes": \(fixed(minutes)), "events_per_ten_minutes": \(Int(Double(events) * 10 / minutes)), \
        "ten_minutes_per_second": \(fixed(minutes / 10 / seconds))}
        """)
}

/// A large cluster for a while: pins all the time, and every twenty seconds one more peer that crashes and comes back. Then all are
/// there, and must agree.
func benchmarkSimulatedScale(peers count: Int, pins: Int, length: Span) {
    let world = World(seed: 7)
    world.addPeers(count) { peer in
        (peer.factors, peer.isRepinningDisabled) = (ReplicationFactors(min: 2, max: 3), false)
        // Every message goes to everybody over every link of the mesh: a mesh of six, and of the metrics those that pinning needs.
        peer.gossip.meshFactor = 1
        (peer.informers.tags, peer.informers.pinQueue, peer.allocateBy) = (nil, nil, ["freespace"])
        peer.informers.disk = (.minutes(2), .freespace)
    }
    var choices = Choices(seed: 7)
    func pinNext(_ number: Int) {
        guard number < pins else { return }
        world.after(Span(nanoseconds: length.nanoseconds / Int64(pins))) { world in
            let up = world.peers.indices.filter { world.peers[$0].isUp }
            _ = world.ask(up[choices.below(up.count)], .pin(Pin(cid: FreshPins.cid(number)))) { _, _ in }
            pinNext(number + 1)
        }
    }
    let end = Span.seconds(60).nanoseconds + length.nanoseconds
    func churn() {
        world.after(.seconds(20)) { world in
            guard world.now < end else { return }
            let victim = choices.below(count)
            world.crash(victim)
            world.after(choices.span(.seconds(30), .minutes(2))) { $0.start(victim) }
            churn()
        }
    }
    var agreed = false
    let processorBegan = processorSeconds()
    let seconds = timed {
        world.startAll()
        world.run(for: .minutes(1))
        pinNext(0)
        churn()
        world.run(until: end)
        agreed = world.run(
            until: { world in
                let digests = world.peers.map { $0.machine?.replica.digest }
                return digests.allSatisfy { $0 != nil && $0 == digests[0] }
            }, within: .minutes(10), every: .seconds(5))
    }
    invariant(world.failure == nil && agreed, "the peers do not agree: \(world.failure ?? "")")
    let held = world.peers[0].machine?.replica.count ?? 0
    print(
        """
        {"benchmark": "simulate-scale", "peers": \(count), "pins": \(held), "virtual_minutes": \(fixed(Double(world.now) / 60e9)), \
        "seconds": \(fixed(seconds)), "cpu_seconds": \(fixed(processorSeconds() - processorBegan)), "events": \(world.eventCount), "events_per_second": \(Int(Double(world.eventCount) / seconds)), \
        "peak_resident_bytes": \(status("VmHWM:") * 1024)}
        """)
}
