// HTTP exchanges for a program that does one thing at a time. Errors read as those of Go's client, which scripts know.

import HTTP
import Kernel

package struct HTTPFailure: Error, Sendable, CustomStringConvertible {
    package let description: String
}

package final class BlockingHTTPClient {
    private let endpoint: Endpoint
    private let tls: TLSContext?
    private let timeout: Span

    /// `timeout` bounds a whole exchange; zero for none.
    package init(endpoint: Endpoint, tls: TLSContext?, timeout: Span) {
        self.endpoint = endpoint
        self.tls = tls
        self.timeout = timeout
    }

    /// One exchange. `body` is called until it returns nil, and sent in chunks. What the closures throw ends the exchange and
    /// is thrown on. The result are the trailers.
    package func exchange(
        _ request: HTTPRequest, body: (() throws -> Bytes?)?, onHead: (HTTPResponse) throws -> Void,
        onBody: (Bytes) throws -> Void
    ) throws -> HTTPFields {
        let addresses: [SocketAddress]
        switch endpoint.resolved() {
        case .success(let found): addresses = found
        case .failure(let failure): throw HTTPFailure(description: "dial tcp: \(failure.reason)")
        }
        // The closures live no longer than this call, and so does the loop that calls them.
        return try withoutActuallyEscaping(onHead) { onHead in
            try withoutActuallyEscaping(onBody) { onBody in
                let run = Run(request, endpoint: endpoint, tls: tls, body: body, onHead: onHead, onBody: onBody)
                return try run.run(addresses, timeout)
            }
        }
    }

    private final class Run {
        private let loop = EventLoop()
        private let tls: TLSContext?
        private let body: (() throws -> Bytes?)?
        private let onHead: (HTTPResponse) throws -> Void
        private let onBody: (Bytes) throws -> Void
        private var machine: HTTPClientExchange
        private var opening: Bytes = []
        private var socket: Socket?
        private var isBodySent = false
        private var result: Result<HTTPFields, any Error>?

        init(
            _ request: HTTPRequest, endpoint: Endpoint, tls: TLSContext?, body: (() throws -> Bytes?)?,
            onHead: @escaping (HTTPResponse) throws -> Void, onBody: @escaping (Bytes) throws -> Void
        ) {
            (self.tls, self.body, self.onHead, self.onBody) = (tls, body, onHead, onBody)
            var request = request
            if request.headers["Host"] == nil { request.headers.add("Host", endpoint.description) }
            request.headers["Connection"] = "close"
            machine = HTTPClientExchange(request, bodyCount: body == nil ? 0 : nil, opening: &opening)
        }

        func run(_ addresses: [SocketAddress], _ timeout: Span) throws -> HTTPFields {
            if timeout > .zero {
                loop.after(timeout) { [unowned self] in
                    end(.failure(HTTPFailure(description: "context deadline exceeded (Client.Timeout exceeded while awaiting the answer)")))
                }
            }
            dial(addresses[...], last: "no address")
            if result == nil { loop.run() }
            socket?.close()
            guard let result else { unreachable("the loop ends with a result") }
            return try result.get()
        }

        private func end(_ outcome: Result<HTTPFields, any Error>) {
            if result == nil { result = outcome }
            loop.stop()
        }

        private func dial(_ addresses: ArraySlice<SocketAddress>, last: String) {
            guard let address = addresses.first else { return end(.failure(HTTPFailure(description: last))) }
            let socket = Socket(loop: loop, connectTo: address, tls: tls?.clientSession)
            self.socket = socket
            socket.start { [unowned self] event in
                switch event {
                case .connected:
                    socket.onEvents { [unowned self] in onSocket($0) }
                    socket.write(opening)
                    pump()
                case .closed(let reason): dial(addresses.dropFirst(), last: address.dialFailure(reason))
                case .bytes, .written, .drained: break
                }
            }
        }

        /// Reads the body as fast as the socket takes it.
        private func pump() {
            guard let body, !isBodySent, result == nil, let socket else { return }
            do {
                while socket.queuedBytes < 1 << 20 {
                    guard let piece = try body() else {
                        isBodySent = true
                        return socket.write(machine.endOfBody())
                    }
                    socket.write(machine.piece(piece))
                }
            } catch { end(.failure(error)) }
        }

        private func onSocket(_ event: Socket.Event) {
            do {
                switch event {
                case .connected, .written: break
                case .drained: pump()
                case .bytes(let bytes): try take(try machine.onBytes(bytes))
                case .closed(let reason):
                    try take(try machine.onClosed())
                    end(.failure(HTTPFailure(description: reason)))
                }
            } catch let error as HTTPError {
                end(.failure(HTTPFailure(description: error.description)))
            } catch { end(.failure(error)) }
        }

        private func take(_ events: [HTTPClientExchange.Event]) throws {
            for event in events where result == nil {
                switch event {
                case .head(let response): try onHead(response)
                case .body(let bytes): try onBody(bytes)
                case .end(let trailers): end(.success(trailers))
                }
            }
        }
    }
}
