// What becomes of the peers of `--bootstrap`. CLI-054.

import Configuration
import Kernel
import Multiformats
import Seams

/// Whoever cannot be dialled at first is dialled again as any other peer; the log says so once.
package struct Joining {
    private var waiting: [(peer: PeerID, address: Multiaddr)]

    package init(_ addresses: [Multiaddr]) { waiting = addresses.compactMap { address in address.trailingPeer.map { ($0, address) } } }

    package mutating func on(_ event: ConnectionEvent) -> [LogLine] {
        switch event {
        case .connected(let peer, _, _):
            waiting.removeAll { $0.peer == peer }
            return []
        case .dialFailed(let peer, let reason):
            let failed = waiting.filter { $0.peer == peer }
            waiting.removeAll { $0.peer == peer }
            return failed.map { LogLine(.error, "service", "bootstrap to \($0.address) failed: \(reason)") }
        default: return []
        }
    }
}
