// Whose writes and calls a peer accepts. spec/crdt.md CRDT-100.

import Kernel
import Multiformats

package enum Trust: Equatable, Sendable {
    case everyone
    /// These and oneself; the maker of the value includes oneself.
    case only(SortedSet<PeerID>)

    package func trusts(_ peer: PeerID) -> Bool {
        switch self {
        case .everyone: true
        case .only(let peers): peers.contains(peer)
        }
    }
}
