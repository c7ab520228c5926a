// Whether a peer answers at some addresses: a host that lives for one dial, under a key of its own, so that neither a connection that
// stands nor who we are makes a difference. REL-04.

import Crypto
import Kernel
import Multiformats
import Seams
import Transport

package final class BackDial: @unchecked Sendable {
    private let host: HostRunner
    private var then: ((Multiaddr?) -> Void)?

    /// As long as one address after another may take, and no longer.
    private static let timeout = Span.seconds(15)

    /// `then` hears once where the peer answered, or that it did not.
    package init(
        loop: EventLoop, networkKey: Bytes?, peer: PeerID, addresses: [Multiaddr], timeout: Span = BackDial.timeout,
        then: @escaping (Multiaddr?) -> Void
    ) {
        let key: IdentityKey
        do { key = try IdentityKey(seed: Machine.entropy(32)) } catch { unreachable("32 bytes are a key: \(error)") }
        self.then = then
        var settings = HostSettings()
        settings.tellsObserved = false
        host = HostRunner(
            loop: loop,
            host: Host(
                key: key, networkKey: networkKey, protocols: [], securities: Security.all(for: key, entropy: Machine.entropy, now: Machine.now.wall),
                settings: settings))
        host.onEvent = { [weak self] effect in
            switch effect {
            case .connection(.connected(let found, let address, _)) where found == peer: self?.finish(address.withoutPeer)
            case .connection(.dialFailed): self?.finish(nil)
            default: break
            }
        }
        loop.after(timeout) { [weak self] in self?.finish(nil) }
        loop.later { [weak self] in
            self?.host.run { $0.onEffect(.dial(peer, addresses), now: Machine.now, effects: &$1) }
        }
    }

    private func finish(_ address: Multiaddr?) {
        guard let then else { return }
        self.then = nil
        host.close()
        then(address)
    }
    package func close() {
        then = nil
        host.close()
    }
}
