// Peers come, crash, come back, are suspended and stop.

import Cluster
import Kernel
import Monitoring
import Multiformats
import Pinset
import Seams

extension World {
    /// Adds peers that know each other's addresses. They are down until started.
    package func addPeers(_ count: Int, settings shape: (inout PeerSettings) -> Void = { _ in }) {
        let first = peers.count
        for index in first..<first + count {
            let id = SimPeer.identity(index, draws)
            var settings = PeerSettings(me: id)
            settings.peerName = name(index)
            shape(&settings)
            let ipfs = SimIPFS(id: SimPeer.identity(index + 10_000, draws), storageMax: self.settings.ipfs.storageMax)
            peers.append(SimPeer(index: index, id: id, settings: settings, ipfs: ipfs))
        }
        for index in peers.indices {
            peers[index].settings.informers.peerName = name(index)
            peers[index].settings.bootPeers = peers.filter { $0.index != index }.map { ($0.id, [.simulated($0.index)], true) }
        }
    }

    package func startAll(but late: Int? = nil) { for index in peers.indices where index != late { start(index) } }

    /// Starts a peer on what its disk holds.
    package func start(_ index: Int) {
        guard !peers[index].isUp, !peers[index].isLost else { return }
        peers[index].epoch += 1
        peers[index].inboundStreams = 0
        peers[index].suspended = nil
        peers[index].ipfs.open = []
        peers[index].jobs = [:]
        note("\(name(index)) starts")
        var choices = draws.stream(.peer, UInt64(index), UInt64(peers[index].epoch) << 40)
        var effects: [PeerEffect] = []
        do {
            let machine = try ClusterPeer(
                settings: peers[index].settings, disk: peers[index].disk, signer: SimSigner(me: peers[index].id),
                at: peers[index].clock.reading(now), choices: &choices, effects: &effects)
            peers[index].machine = machine
            for effect in effects { carryOut(index, effect) }
            feed(index, .start)
        } catch { fail("START: \(name(index)) cannot start: \(error)") }
    }

    /// The process and its machine lose power: unsynced bytes are at the mercy of the disk.
    package func crash(_ index: Int) {
        guard peers[index].isUp else { return }
        note("\(name(index)) crashes")
        takeDown(index)
        var choices = draws.stream(.disk, UInt64(index) | 1 << 32, UInt64(peers[index].epoch))
        peers[index].disk.crash(&choices)
    }

    /// It crashes and never comes back, whoever would start it.
    package func lose(_ index: Int) {
        crash(index)
        peers[index].isLost = true
    }

    /// An orderly end: what is accepted is flushed first.
    package func stop(_ index: Int) { if peers[index].isUp { feed(index, .shutdown) } }

    func takeDown(_ index: Int) {
        peers[index].machine = nil
        peers[index].epoch += 1
        for other in peers.indices where other != index { breakConnection(index, other) }
    }

    /// The process is suspended: it does nothing, and all that comes waits for it.
    package func suspend(_ index: Int) {
        guard peers[index].isUp, peers[index].suspended == nil else { return }
        note("\(name(index)) is suspended")
        peers[index].suspended = []
    }
    package func resume(_ index: Int) {
        guard let waiting = peers[index].suspended else { return }
        note("\(name(index)) resumes")
        peers[index].suspended = nil
        for input in waiting { feed(index, input) }
    }
}
