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
        network.grow(to: first + count)
        for index in first..<first + count {
            let id = SimPeer.identity(index, tape)
            var settings = PeerSettings(me: id)
            settings.peerName = name(index)
            shape(&settings)
            let ipfs = SimIPFS(id: SimPeer.identity(index + 10_000, tape), storageMax: self.settings.ipfs.storageMax)
            peers.append(SimPeer(index: index, id: id, settings: settings, ipfs: ipfs))
            indexes[id] = index
            peers[index].disk.onProbe = { [unowned self] in hit($0) }
        }
        for index in peers.indices {
            peers[index].settings.informers.peerName = name(index)
            peers[index].settings.bootPeers = peers.filter { $0.index != index }.map { ($0.id, [.simulated($0.index)], true) }
        }
    }

    package func startAll(but late: Range<Int> = 0..<0) { for index in peers.indices where !late.contains(index) { start(index) } }

    /// Starts a peer on what its disk holds.
    package func start(_ index: Int) {
        let peer = peers[index]
        guard !peer.isUp, !peer.isLost else { return }
        peer.lives += 1
        record(.up, index, "starts")
        var losses = tape.stream(.crash, UInt64(index), peer.lives << 1 | 1 << 40)
        peer.disk.reopen(&losses)
        var choices = tape.stream(.peer, UInt64(index), peer.lives << 40)
        var effects: [PeerEffect] = []
        var settings = peer.settings
        settings.bootPeers += peer.peerstore.map { ($0.peer, $0.addresses, false) }
        do {
            let machine = try ClusterPeer(
                settings: settings, disk: peer.disk, signer: SimSigner(me: peer.id),
                at: peer.clock.reading(now), choices: &choices, effects: &effects)
            let process = Process(peer: peer, machine: machine)
            peer.process = process
            for effect in effects { carryOut(process, effect) }
            afterStep?(self, index, .start, effects[...])  // a batch that is due is written at once
            feed(process, .start)
            if process.isCurrent { feed(process, .connection(.listening([.simulated(index)]))) }
            if keepsPeerstores { keepPeerstore(process) }
        } catch where peer.disk.unreadable != nil { record(.down, index, "cannot start: \(error)") } catch {
            fail(.start, "\(name(index)) cannot start: \(error)")
        }
    }

    /// The process and its machine lose power: unsynced bytes are at the mercy of the disk. Or the process alone is killed: what it
    /// has written stays, synced or not, until its machine loses power.
    package func crash(_ index: Int, isKill: Bool = false) {
        guard peers[index].isUp else { return }
        hit(isKill ? .killed : .crashed)
        takeDown(index, isKill ? "is killed" : "crashes")
        var choices = tape.stream(.crash, UInt64(index), peers[index].lives)
        if isKill { peers[index].disk.endProcess(&choices) } else { peers[index].disk.crash(&choices) }
    }

    /// It crashes and never comes back, whoever would start it.
    package func lose(_ index: Int) {
        crash(index)
        peers[index].isLost = true
    }

    /// An orderly end: what is accepted is flushed first.
    package func stop(_ index: Int) { if let process = peers[index].process { feed(process, .shutdown) } }

    func end(_ process: Process) {
        if keepsPeerstores { savePeerstore(process) }
        takeDown(process.index, "has stopped")
    }

    /// The daemon's rhythm.
    private func keepPeerstore(_ process: Process) {
        after(.seconds(30)) { world in
            guard process.isCurrent else { return }
            if process.suspended == nil { world.savePeerstore(process) }
            world.keepPeerstore(process)
        }
    }

    private func savePeerstore(_ process: Process) { process.peer.peerstore = process.machine.knownPeers }

    func takeDown(_ index: Int, _ how: String) {
        record(.down, index, how)
        peers[index].process = nil
        for other in peers.indices where other != index { breakConnection(index, other) }
        onDown?(self, index)
    }

    /// The process is suspended: it does nothing, and all that comes waits for it.
    package func suspend(_ index: Int) {
        guard let process = peers[index].process, process.suspended == nil else { return }
        note(index, "is suspended")
        (process.suspended, process.suspendedAt) = ([], now)
    }
    package func resume(_ index: Int) {
        guard let process = peers[index].process, let waiting = process.suspended else { return }
        note(index, "resumes")
        process.suspended = nil
        peers[index].sleeps.append((process.suspendedAt, now))
        for input in waiting { feed(process, input) }
    }
}
