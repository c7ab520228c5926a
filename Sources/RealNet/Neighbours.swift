// Local discovery on sockets and the clock.

import Discovery
import Kernel
import Multiformats

package final class Neighbours: @unchecked Sendable {
    private let loop: EventLoop
    private let socket: MulticastSocket
    private let onFound: (PeerID, [Multiaddr]) -> Void
    private var machine: LocalDiscovery
    private var choices: Choices
    private var timer: EventLoop.TimerID?

    package init(
        loop: EventLoop, interfaces: [NetworkInterface], me: PeerID, addresses: [Multiaddr],
        onFound: @escaping (PeerID, [Multiaddr]) -> Void
    ) throws(ListenFailure) {
        self.loop = loop
        self.onFound = onFound
        socket = try MulticastSocket(loop: loop, interfaces: interfaces)
        var seed: UInt64 = 0
        for byte in Machine.entropy(8) { seed = seed << 8 | UInt64(byte) }
        choices = Choices(seed: seed)
        machine = LocalDiscovery(me: me, addresses: addresses, now: Machine.now, choices: &choices)
        socket.onPacket = { [weak self] packet in self?.with { $0.onPacket(packet, now: $1, effects: &$3) } }
        with { $0.onTime(now: $1, choices: &$2, effects: &$3) }
    }

    private func with(_ body: (inout LocalDiscovery, Now, inout Choices, inout [LocalDiscovery.Effect]) -> Void) {
        var effects: [LocalDiscovery.Effect] = []
        body(&machine, Machine.now, &choices, &effects)
        for effect in effects {
            switch effect {
            case .send(let packet): socket.send(packet)
            case .found(let peer, let addresses): onFound(peer, addresses)
            }
        }
        if let timer { loop.cancel(timer) }
        timer = loop.at(machine.nextDeadline) { [weak self] in self?.with { $0.onTime(now: $1, choices: &$2, effects: &$3) } }
    }

    /// Says goodbye.
    package func close() {
        if let timer { loop.cancel(timer) }
        socket.send(machine.farewell)
        socket.close()
    }
}
