// A libp2p host on its sockets and clock: what it decides is carried out, what it tells is handed on.

import Kernel
import Multiformats
import Transport

package final class HostRunner: @unchecked Sendable {
    private let loop: EventLoop
    private let sockets: Libp2pSockets
    private var host: Host
    private var effects: [Host.Effect] = []
    private var isCarryingOut = false
    private var timer: EventLoop.TimerID?
    private var isArming = false
    /// All but what is for the sockets.
    package var onEvent: (Host.Effect) -> Void = { _ in }

    package init(loop: EventLoop, host: Host, names: NamedAddresses = NamedAddresses()) {
        self.loop = loop
        self.host = host
        sockets = Libp2pSockets(loop: loop, names: names)
        sockets.onEvent = { [weak self] event in
            self?.run { $0.onSocket(event, entropy: Machine.entropy, now: Machine.now, effects: &$1) }
        }
    }

    package func listen(on address: Multiaddr) throws(ListenFailure) -> [Multiaddr] { try sockets.listen(on: address) }
    package func stopListening() { sockets.close() }

    /// Closes the connections in order, so that the others need not wait to notice.
    package func close() {
        run { $0.shutDown(now: Machine.now, effects: &$1) }
        sockets.close()
    }

    package func look<T>(_ body: (Host) -> T) -> T { body(host) }

    package func run(_ body: (inout Host, inout [Host.Effect]) -> Void) {
        body(&host, &effects)
        carryOut()
        guard !isArming else { return }
        isArming = true
        loop.later { [weak self] in self?.arm() }
    }

    /// In the order in which the host decided on them: what one of them causes comes after those that wait. Bytes of one
    /// connection are sealed one after the other, and make no sense in any other order.
    private func carryOut() {
        guard !isCarryingOut else { return }
        isCarryingOut = true
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            if next == effects.count {
                effects.removeAll(keepingCapacity: true)
                next = 0
            }
            if case .socket(let effect) = effect { sockets.carryOut(effect) } else { onEvent(effect) }
        }
        isCarryingOut = false
    }

    /// Once a round, however often the host was asked in it.
    private func arm() {
        isArming = false
        if let timer { loop.cancel(timer) }
        timer = host.nextDeadline.map { deadline in
            loop.at(deadline) { [weak self] in self?.run { $0.onTime(now: Machine.now, effects: &$1) } }
        }
    }
}
