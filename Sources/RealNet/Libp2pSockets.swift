// TCP sockets for the libp2p host: what it asks is carried out here, what they tell is handed to it.

import Kernel
import Multiformats
import Transport

package final class Libp2pSockets: @unchecked Sendable {
    private let loop: EventLoop
    private let resolver: Resolver
    private var sockets: [SocketID: Socket] = [:]
    /// Attempts whose name is being looked up.
    private var resolving: Set<SocketID> = []
    private var listeners: [Listener] = []
    private var inbound: UInt64 = 0
    package var onEvent: ((SocketEvent) -> Void)?

    package init(loop: EventLoop, names: NamedAddresses = NamedAddresses()) {
        self.loop = loop
        resolver = Resolver(loop: loop, names: names)
    }

    /// The addresses that it listens on, with the ports that the system chose. Blocks while a name is looked up.
    package func listen(on address: Multiaddr) throws(ListenFailure) -> [Multiaddr] {
        guard let carrier = address.carrier, let endpoint = Endpoint(address) else {
            throw ListenFailure(reason: "cannot listen on \(address): only TCP over IP is supported, and WebSocket on top of it")
        }
        guard case .success(let found) = endpoint.resolved(), let first = found.first else {
            throw ListenFailure(reason: "cannot listen on \(address): the host is unknown")
        }
        let listener = try Listener(loop: loop, on: first)
        listeners.append(listener)
        listener.start { [weak self] socket in
            guard let self else { return }
            inbound += 1
            let id = SocketID.inbound(inbound)
            adopt(socket, id)
            onEvent?(.accepted(id, remote: socket.remote.multiaddr.carrying(carrier)))
        }
        return Interfaces.addresses(of: listener.address).map { $0.carrying(carrier) }
    }

    package func close() {
        for listener in listeners { listener.close() }
        listeners = []
    }

    package func carryOut(_ effect: SocketEffect) {
        switch effect {
        case .connect(let id, let address): connect(id, address)
        case .write(let id, let bytes): sockets[id]?.write(bytes)
        case .close(let id):
            resolving.remove(id)
            sockets.removeValue(forKey: id)?.closeWhenFlushed()
        }
    }

    private func connect(_ id: SocketID, _ address: Multiaddr) {
        if address.isDNSAddr {
            resolving.insert(id)
            return resolver.resolve(dnsaddr: address) { [weak self] in self?.onResolved(id, $0) }
        }
        guard let carrier = address.carrier, let endpoint = Endpoint(address) else {
            return report(.connectFailed(id, reason: "\(address): only TCP over IP or a DNS name can be dialled, and WebSocket on top of it"))
        }
        resolving.insert(id)
        resolver.resolve(endpoint) { [weak self] in self?.onResolved(id, $0.map { $0.map { ($0, carrier) } }) }
    }

    private func onResolved(_ id: SocketID, _ result: Result<[(SocketAddress, Multiaddr.Carrier)], ResolutionFailure>) {
        guard resolving.remove(id) != nil else { return }
        switch result {
        case .failure(let failure): report(.connectFailed(id, reason: failure.reason))
        case .success(let addresses): dial(id, addresses[...], last: "no address")
        }
    }

    private func report(_ event: SocketEvent) { loop.later { [weak self] in self?.onEvent?(event) } }

    private func dial(_ id: SocketID, _ addresses: ArraySlice<(SocketAddress, Multiaddr.Carrier)>, last: String) {
        guard let (address, carrier) = addresses.first else { return report(.connectFailed(id, reason: last)) }
        let socket = Socket(loop: loop, connectTo: address)
        sockets[id] = socket
        socket.start { [weak self] event in
            guard let self else { return }
            switch event {
            case .connected:
                socket.keepAlive()
                socket.onEvents { [weak self] in self?.onSocket($0, id) }
                onEvent?(.connected(id, remote: address.multiaddr.carrying(carrier)))
            case .closed(let reason):
                guard sockets.removeValue(forKey: id) != nil else { return }
                dial(id, addresses.dropFirst(), last: "dial tcp \(address): \(reason)")
            case .bytes, .written, .drained: break
            }
        }
    }

    private func adopt(_ socket: Socket, _ id: SocketID) {
        sockets[id] = socket
        socket.keepAlive()
        socket.start { [weak self] in self?.onSocket($0, id) }
    }

    private func onSocket(_ event: Socket.Event, _ id: SocketID) {
        guard sockets[id] != nil else { return }
        switch event {
        case .connected, .drained: break
        case .bytes(let bytes): onEvent?(.received(id, bytes))
        case .written(let count): onEvent?(.written(id, count))
        case .closed(let reason):
            sockets[id] = nil
            onEvent?(.closed(id, reason: reason))
        }
    }
}
