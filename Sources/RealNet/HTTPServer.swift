// A listening HTTP server: sockets or streams below, served requests above.

import HTTP
import Kernel

/// What one HTTP connection runs on.
package protocol HTTPCarrier: AnyObject {
    func write(_ bytes: Bytes)
    func pauseReading()
    func resumeReading()
    /// What was written still leaves; nothing more is reported.
    func closeWhenFlushed()
}
extension Socket: HTTPCarrier {}

package final class HTTPServer: @unchecked Sendable {
    private final class Connection {
        let carrier: any HTTPCarrier
        var machine: HTTPServerConnection
        var timer: EventLoop.TimerID?
        var served: [ServedID] = []
        init(carrier: any HTTPCarrier, machine: HTTPServerConnection) {
            self.carrier = carrier
            self.machine = machine
        }
    }
    private let loop: EventLoop
    private let settings: HTTPServerSettings
    private var listeners: [Listener] = []
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var byRequest: [ServedID: Connection] = [:]
    private var dirty: [Connection] = []
    private var lastID: UInt64 = 0
    /// More connections than this wait in the kernel's queue for nothing: they are closed at once.
    private let connectionsMax: Int
    private let onServed: (ServedID, ServedEvent) -> Void

    package init(
        loop: EventLoop, settings: HTTPServerSettings = HTTPServerSettings(), connectionsMax: Int = 4096,
        onServed: @escaping (ServedID, ServedEvent) -> Void
    ) {
        self.loop = loop
        self.settings = settings
        self.connectionsMax = connectionsMax
        self.onServed = onServed
    }

    package func listen(on address: SocketAddress, tls: TLSContext? = nil) throws(ListenFailure) -> SocketAddress {
        let listener = try Listener(loop: loop, on: address)
        listeners.append(listener)
        listener.start(tls: tls) { [weak self] in self?.accept($0) }
        return listener.address
    }

    package func answer(_ id: ServedID, _ answer: ServedAnswer) {
        guard let connection = byRequest[id] else { return }
        if case .end = answer { byRequest[id] = nil }
        if case .abort = answer { byRequest[id] = nil }
        turn(connection) { $0.answer(id, answer, ids: &$1, now: $2, effects: &$3) }
    }

    /// Takes no new connections; what is being answered goes on.
    package func stopListening() {
        for listener in listeners { listener.close() }
        listeners = []
    }

    private func accept(_ socket: Socket) {
        guard let connection = open(socket, remote: socket.remote.description) else { return socket.close() }
        socket.bytesPerRead = Socket.bytesOfWorkPerRead
        socket.onEnd = { [weak self, weak connection] in
            guard let self, let connection else { return }
            turn(connection) { machine, _, now, effects in machine.onEnd(now: now, effects: &effects) }
        }
        socket.start(hearing(connection))
    }

    /// Serves the requests that come over a carrier, which tells what happens to it. Nil if there are too many already.
    package func serve(_ carrier: any HTTPCarrier, remote: String) -> ((Socket.Event) -> Void)? {
        open(carrier, remote: remote).map(hearing)
    }

    private func open(_ carrier: any HTTPCarrier, remote: String) -> Connection? {
        guard connections.count < connectionsMax else { return nil }
        let machine = HTTPServerConnection(settings: settings, remote: remote, now: Machine.now)
        let connection = Connection(carrier: carrier, machine: machine)
        connections[ObjectIdentifier(connection)] = connection
        arm(connection)
        return connection
    }

    private func hearing(_ connection: Connection) -> (Socket.Event) -> Void {
        { [weak self, weak connection] event in
            guard let self, let connection else { return }
            switch event {
            case .connected, .written: break
            case .bytes(let bytes): turn(connection) { $0.onBytes(bytes, ids: &$1, now: $2, effects: &$3) }
            case .drained: turn(connection) { $0.onDrained(ids: &$1, now: $2, effects: &$3) }
            case .closed: turn(connection) { machine, _, _, effects in machine.onClosed(effects: &effects) }
            }
        }
    }

    private func turn(
        _ connection: Connection,
        _ body: (inout HTTPServerConnection, inout UInt64, Now, inout [HTTPServerConnection.Effect]) -> Void
    ) {
        var effects: [HTTPServerConnection.Effect] = []
        body(&connection.machine, &lastID, Machine.now, &effects)
        for effect in effects { carryOut(effect, connection) }
        planFlush(connection)
    }

    private func carryOut(_ effect: HTTPServerConnection.Effect, _ connection: Connection) {
        switch effect {
        case .write(let bytes): connection.carrier.write(bytes)
        case .close:
            connection.carrier.closeWhenFlushed()
            forget(connection)
        case .pause: connection.carrier.pauseReading()
        case .resume: connection.carrier.resumeReading()
        case .served(let id, let event):
            if case .request = event {
                byRequest[id] = connection
                connection.served = [id]
            }
            if event == .gone { byRequest[id] = nil }
            onServed(id, event)
        }
    }

    private func forget(_ connection: Connection) {
        connections[ObjectIdentifier(connection)] = nil
        if let timer = connection.timer { loop.cancel(timer) }
        connection.timer = nil
        for id in connection.served { byRequest[id] = nil }
    }

    /// Once a round: heads that waited for a length go out, and the timer is set anew.
    private func planFlush(_ connection: Connection) {
        if dirty.isEmpty { loop.later { [self] in flush() } }
        dirty.append(connection)
    }

    private func flush() {
        let all = dirty
        dirty = []
        for connection in all where connections[ObjectIdentifier(connection)] != nil {
            var effects: [HTTPServerConnection.Effect] = []
            connection.machine.flush(now: Machine.now, effects: &effects)
            for effect in effects { carryOut(effect, connection) }
            arm(connection)
        }
    }

    private func arm(_ connection: Connection) {
        if let timer = connection.timer { loop.cancel(timer) }
        connection.timer = connection.machine.nextDeadline.map { deadline in
            loop.at(deadline) { [weak self, weak connection] in
                guard let self, let connection else { return }
                connection.timer = nil
                turn(connection) { machine, _, now, effects in machine.onTime(now: now, effects: &effects) }
            }
        }
    }
}
