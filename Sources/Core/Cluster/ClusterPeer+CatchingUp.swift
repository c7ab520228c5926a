// Catching up by lists of blocks, which only peers of this project give. Whoever is trusted to name heads is believed.

import DagList
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams

extension ClusterPeer {
    /// Two reads each.
    private static let pageEntries = 1024

    mutating func withDagList(_ body: (inout DagList, DagList.Blocks, Now, inout [DagList.Effect]) -> Void) {
        var effects: [DagList.Effect] = []
        body(&dagList, { [replica] cursor, heads, limit in
            let page = replica.listBlocks(from: cursor, heads: heads, limit: min(limit, ClusterPeer.pageEntries))
            return (page.entries, page.next)
        }, turn.now, &effects)
        for effect in effects {
            switch effect {
            case .stream(let effect): emit(effect)
            case .listed(let peer, let entries, let cursor):
                withReplica { $0.onListed(peer, entries.map { ($0.cid, $0.size) }, next: cursor, now: $1.now, effects: &$2) }
            case .failed(let peer, let reason):
                note(.debug, "crdt", "\(peer) lists no blocks: \(reason)")
                withReplica { replica, turn, _ in replica.onListFailed(peer, now: turn.now) }
            case .log(let line): turn.effects.append(.log(line))
            }
        }
    }

    /// One of the connected peers that list, at random, so that a crowd that comes back does not fall upon one.
    mutating func seekList() {
        let candidates = book.connectedPeers.filter { settings.trust.trusts($0) && dagList.speaks($0) && !dagList.isAsking($0) }
        guard !candidates.isEmpty else { return }
        let peer = candidates[turn.choices.below(candidates.count)]
        withReplica { replica, _, effects in replica.catchUp(with: peer, effects: &effects) }
    }

    mutating func askForList(_ peer: PeerID, _ cursor: Bytes) {
        let heads = replica.heads.map(\.cid.multihash)
        var isAsked = false
        withDagList { isAsked = $0.ask(peer, cursor: cursor, heads: heads, limit: ClusterPeer.pageEntries, now: $2, effects: &$3) }
        if !isAsked { withReplica { replica, turn, _ in replica.onListFailed(peer, now: turn.now) } }
    }
}
