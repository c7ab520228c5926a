// How many others a peer dials and keeps in mind, whatever it is told.

import Cluster
import DHT
import Kernel
import Multiformats
import Seams

extension Run {
    /// BOUND: dials that have not ended, and peers in the book.
    func noteDials(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>) {
        switch input {
        case .start: oracles.dialling[index] = nil
        case .connection(.connected(let peer, _, _)), .connection(.dialFailed(let peer, _)): oracles.dialling[index]?.remove(peer)
        default: break
        }
        var isNew = false
        for case .connection(.dial(let peer, _)) in effects {
            oracles.dialling[index, default: SortedSet()].insert(peer)
            isNew = true
        }
        guard isNew, let process = world.peers[index].process else { return }
        let settings = process.peer.settings, underWay = oracles.dialling[index]?.count ?? 0
        oracles.dialledMax = max(oracles.dialledMax, underWay)
        // What the book dials, and both DHTs; who is configured is dialled in any case.
        let most = settings.book.dialsMax + 2 * settings.dht.dialsMax + world.peers.count
        if underWay > most { world.fail(.bound, "\(world.name(index)) dials \(underWay) peers at once") }
        let known = process.machine.bookCount
        if known > settings.book.peersLimit { world.fail(.bound, "\(world.name(index)) keeps \(known) peers in mind") }
    }
}
