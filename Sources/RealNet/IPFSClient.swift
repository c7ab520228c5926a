// The HTTP exchanges of the core with an IPFS daemon, on sockets that are kept for the next request.

import HTTP
import Kernel
import Multiformats
import Seams

package final class IPFSClient: @unchecked Sendable {
    private final class Exchange {
        let request: ExchangeRequest
        var socket: Socket?
        var machine: HTTPClientExchange?
        var unsent: [Bytes] = []
        var hasEnded = false
        var isReused = false
        var hasAnswered = false
        init(_ request: ExchangeRequest) { self.request = request }
    }
    private let loop: EventLoop
    private let endpoint: Endpoint
    private let tls: TLSContext?
    private let resolver: Resolver
    private var exchanges: [ExchangeID: Exchange] = [:]
    /// Oldest first. The last is taken, so that those that are not needed grow old.
    private var idle: [(socket: Socket, since: Instant)] = []
    private let idleMax = 64
    private let idleFor: Span
    package var idleCount: Int { idle.count }
    package var onEvent: ((ExchangeEvent) -> Void)?

    package init(loop: EventLoop, endpoint: Endpoint, usesTLS: Bool, idleFor: Span = .seconds(90)) {
        self.loop = loop
        self.endpoint = endpoint
        self.idleFor = idleFor
        resolver = Resolver(loop: loop)
        tls = usesTLS ? TLSContext(host: endpoint.host, verifies: true) : nil
    }

    package func carryOut(_ effect: ExchangeEffect) {
        switch effect {
        case .start(let id, let request):
            exchanges[id] = Exchange(request)
            connect(id)
        case .body(let id, let bytes):
            guard let exchange = exchanges[id] else { return }
            if let machine = exchange.machine { exchange.socket?.write(machine.piece(bytes)) } else { exchange.unsent.append(bytes) }
        case .endOfBody(let id):
            guard let exchange = exchanges[id] else { return }
            exchange.hasEnded = true
            if let last = exchange.machine?.endOfBody() { exchange.socket?.write(last) }
        case .cancel(let id): exchanges.removeValue(forKey: id)?.socket?.close()
        }
    }

    private func connect(_ id: ExchangeID) {
        guard let exchange = exchanges[id] else { return }
        // A body in pieces cannot be sent twice, so it takes no connection that the daemon may have closed already.
        if exchange.request.body != nil, let (socket, _) = idle.popLast() {
            exchange.isReused = true
            return attach(socket, id)
        }
        resolver.resolve(endpoint) { [weak self] result in
            guard let self, exchanges[id] != nil else { return }
            switch result {
            case .failure(let failure): fail(id, "dial tcp: \(failure.reason)")
            case .success(let addresses): dial(id, addresses[...], last: "no address")
            }
        }
    }

    private func dial(_ id: ExchangeID, _ addresses: ArraySlice<SocketAddress>, last: String) {
        guard exchanges[id] != nil else { return }
        guard let address = addresses.first else { return fail(id, last) }
        let socket = Socket(loop: loop, connectTo: address, tls: tls?.clientSession)
        exchanges[id]?.socket = socket
        socket.bytesPerRead = Socket.bytesOfWorkPerRead
        socket.start { [weak self, weak socket] event in
            guard let self, let socket else { return }
            switch event {
            case .connected: attach(socket, id)
            case .closed(let reason): dial(id, addresses.dropFirst(), last: address.dialFailure(reason))
            case .bytes, .written, .drained: break
            }
        }
    }

    private func attach(_ socket: Socket, _ id: ExchangeID) {
        guard let exchange = exchanges[id] else { return park(socket) }
        exchange.socket = socket
        socket.onEvents { [weak self] in self?.onSocket($0, id) }
        var request = HTTPRequest(method: "POST", target: exchange.request.target)
        request.headers.add("Host", endpoint.description)
        request.headers.add("User-Agent", "ipfs-cluster-swift")
        for header in exchange.request.headers { request.headers.add(header.name, header.value) }
        var opening: Bytes = []
        var machine = HTTPClientExchange(request, bodyCount: exchange.request.body?.count, opening: &opening)
        opening += exchange.request.body ?? []
        for piece in exchange.unsent { opening += machine.piece(piece) }
        exchange.unsent = []
        if exchange.request.body == nil && exchange.hasEnded { opening += machine.endOfBody() }
        exchange.machine = machine
        socket.write(opening)
    }

    private func onSocket(_ event: Socket.Event, _ id: ExchangeID) {
        guard let exchange = exchanges[id] else { return }
        do throws(HTTPError) {
            switch event {
            case .connected, .written: break
            case .drained: onEvent?(.drained(id))
            case .bytes(let bytes):
                exchange.hasAnswered = true
                report(try exchange.machine?.onBytes(bytes) ?? [], id, exchange)
            case .closed(let reason):
                if exchange.isReused && !exchange.hasAnswered { return again(id, exchange) }
                report(try exchange.machine?.onClosed() ?? [], id, exchange)
                if exchanges[id] != nil { fail(id, reason) }
            }
        } catch {
            exchange.socket?.close()
            fail(id, error.description)
        }
    }

    /// The daemon had closed the kept connection: nothing of the request was looked at.
    private func again(_ id: ExchangeID, _ exchange: Exchange) {
        exchange.isReused = false
        exchange.machine = nil
        exchange.socket = nil
        for (socket, _) in idle { socket.close() }
        idle = []
        connect(id)
    }

    private func report(_ events: [HTTPClientExchange.Event], _ id: ExchangeID, _ exchange: Exchange) {
        for event in events {
            switch event {
            case .head(let response): onEvent?(.head(id, status: response.status))
            case .body(let bytes): onEvent?(.body(id, bytes))
            case .end(let trailers):
                guard exchanges.removeValue(forKey: id) != nil else { return }
                if let socket = exchange.socket {
                    if exchange.machine?.isReusable == true { park(socket) } else { socket.close() }
                }
                onEvent?(.end(id, trailers: trailers.fields.map { .init(name: $0.name, value: $0.value) }))
            }
            if exchanges[id] == nil { return }
        }
    }

    private func park(_ socket: Socket) {
        let now = Machine.now.monotonic
        while let oldest = idle.first, oldest.since + idleFor <= now { idle.removeFirst().socket.close() }
        guard idle.count < idleMax else { return socket.close() }
        idle.append((socket, now))
        socket.onEvents { [weak self, weak socket] event in
            switch event {
            case .drained, .written, .connected: break
            case .bytes, .closed:
                socket?.close()
                self?.idle.removeAll { $0.socket === socket }
            }
        }
    }

    private func fail(_ id: ExchangeID, _ reason: String) {
        guard let exchange = exchanges.removeValue(forKey: id) else { return }
        exchange.socket?.close()
        let scheme = tls == nil ? "http" : "https"
        // As Go's client puts it, since status shows it.
        onEvent?(.failed(id, reason: "Post \"\(scheme)://\(endpoint)\(exchange.request.target)\": \(reason)"))
    }
}
