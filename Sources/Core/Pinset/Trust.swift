// Whose writes and calls a peer accepts. spec/crdt.md CRDT-100.

import Kernel
import Multiformats

package enum Trust: Equatable, Sendable {
    case everyone
    /// These and oneself; the maker of the value includes oneself.
    case only(SortedSet<PeerID>)

    /// Whether it is one of those that are named: with everyone trusted, nobody is.
    package func names(_ peer: PeerID) -> Bool { if case .only(let peers) = self { peers.contains(peer) } else { false } }

    package func trusts(_ peer: PeerID) -> Bool {
        switch self {
        case .everyone: true
        case .only(let peers): peers.contains(peer)
        }
    }
}
