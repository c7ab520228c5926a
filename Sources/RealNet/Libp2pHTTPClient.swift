// HTTP exchanges over libp2p for a program that does one thing at a time. HTTP-03, HTTP-05.
//
// The network has a thread of its own: however long the program takes to print or to read a file, pings are answered and the
// other side is told to wait.

import HTTP
import Kernel
import Multiformats
import Seams
import Transport

/// Connections of this process to the APIs that it asks. As a peer it is a new one each time.
package final class Libp2pDialler: @unchecked Sendable {
    fileprivate let loop = EventLoop()
    private let host: HostRunner
    private var streams: [StreamID: Exchange] = [:]
    private var ids = StreamIDs(owner: 1)
    private let ended = Mailbox<Void>()

    /// The secret is that of the private network at the other end, if it is one.
    package init(secret: Bytes?) throws {
        var settings = HostSettings()
        // A lost secret is suspected when the handshake is over, and so before the dial is.
        settings.connection.handshakeTimeout = .seconds(10)
        settings.dialTimeout = .seconds(12)
        settings.agent = "ipfs-cluster-ctl"
        settings.backOffBase = .zero  // whoever asks again means it
        let key = try IdentityKey(seed: Machine.entropy(32))
        let securities = Security.all(for: key, entropy: Machine.entropy, now: Machine.now.wall)
        host = HostRunner(
            loop: loop, host: Host(key: key, networkKey: secret, protocols: [], securities: securities, settings: settings))
        host.onEvent = { [weak self] in self?.onHost($0) }
        Worker().run { [loop, ended] in
            loop.run()
            ended.put(())
        }
    }

    /// What has come and waits for those who asked; between two moments only.
    package var untakenBytes: Int {
        let sum = Mailbox<Int>()
        loop.post { [self] in sum.put(streams.values.reduce(0) { $0 + $1.untaken }) }
        return sum.next()
    }

    /// Ends the connections, and the thread's work before it returns: a process must not exit while a thread still decrypts.
    package func close() {
        loop.post { [self] in
            host.close()
            loop.stop()
        }
        ended.next()
    }

    /// One stream, as the thread that waits for the answer sees it.
    fileprivate final class Exchange: @unchecked Sendable {
        enum Event {
            case bytes(Bytes)
            /// More of the request may be sent.
            case drained
            case closed
            case failed(String)
        }
        let events = Mailbox<Event>()
        /// Of the loop's thread.
        var untaken = 0
        var isHeld = false
    }

    /// Opens a stream; what becomes of it comes to the mailbox of the exchange.
    fileprivate func open(
        _ exchange: Exchange, to peer: PeerID, at address: Multiaddr, timeout: Span,
        then: @escaping @Sendable (StreamID) -> Void
    ) {
        loop.post { [self] in
            let stream = ids.next()
            streams[stream] = exchange
            host.run { host, _ in host.learn(peer, [address]) }
            ask(.open(stream, to: peer, protocols: [Libp2pHTTP.protocolID]))
            then(stream)
            guard timeout > .zero else { return }
            loop.after(timeout) { [weak self] in
                self?.end(stream, .failed("context deadline exceeded (Client.Timeout exceeded while awaiting the answer)"))
            }
        }
    }
    /// All at once: `drained` is told once for all of it.
    fileprivate func send(_ pieces: [Bytes], on stream: StreamID) {
        loop.post { [self] in
            for piece in pieces { ask(.send(stream, piece)) }
        }
    }
    /// The exchange is over for whoever made it. `isWhole` if it may end in order.
    fileprivate func leave(_ stream: StreamID, isWhole: Bool) {
        loop.post { [self] in
            streams[stream] = nil
            ask(isWhole ? .closeWrite(stream) : .reset(stream))
        }
    }
    /// So many bytes have been used: what was held back goes on.
    fileprivate func took(_ count: Int, of stream: StreamID) {
        loop.post { [self] in
            guard let exchange = streams[stream] else { return }
            exchange.untaken -= count
            settle(exchange, stream)
        }
    }

    private func ask(_ effect: StreamEffect) { host.run { $0.onEffect(effect, now: Machine.now, effects: &$1) } }

    private static let untakenMax = 1 << 20
    private func settle(_ exchange: Exchange, _ stream: StreamID) {
        let isHeld = exchange.untaken > Libp2pDialler.untakenMax
        guard isHeld != exchange.isHeld else { return }
        exchange.isHeld = isHeld
        host.run { $0.hold(stream, isHeld, now: Machine.now, effects: &$1) }
    }

    private func end(_ stream: StreamID, _ event: Exchange.Event) { streams.removeValue(forKey: stream)?.events.put(event) }

    private func onHost(_ effect: Host.Effect) {
        guard case .stream(let event) = effect else { return }
        switch event {
        case .opened: break
        case .incoming(let stream, _, _): ask(.reset(stream))
        case .received(let stream, let bytes):
            guard let exchange = streams[stream] else { return }
            exchange.untaken += bytes.count
            settle(exchange, stream)
            exchange.events.put(.bytes(bytes))
        case .drained(let stream): streams[stream]?.events.put(.drained)
        case .remoteClosed(let stream): end(stream, .closed)
        case .reset(let stream): end(stream, .failed("stream reset"))
        case .failed(let stream, let reason): end(stream, .failed(Libp2pDialler.explained(reason)))
        }
    }

    /// What the user can do about it.
    static func explained(_ reason: String) -> String {
        if reason.contains("cluster secret") {
            return reason + " (--secret is that of a private network; an API with a libp2p address of its own has none)"
        }
        if reason.contains("protocols not supported") {
            return "\(reason): the API is not offered there over libp2p (\(Libp2pHTTP.protocolID))"
        }
        return reason
    }
}

package final class Libp2pHTTPClient {
    private let dialler: Libp2pDialler
    private let peer: PeerID
    private let address: Multiaddr
    private let timeout: Span

    /// `timeout` bounds a whole exchange; zero for none.
    package init(dialler: Libp2pDialler, address: Multiaddr, timeout: Span) throws {
        guard let peer = address.peerID else {
            throw HTTPFailure(description: "\(address) names no peer: it must end in /p2p/ and the peer's ID")
        }
        guard !address.withoutPeer.components.isEmpty else {
            throw HTTPFailure(description: "APIAddr only includes a Peer ID")
        }
        (self.dialler, self.peer, self.address, self.timeout) = (dialler, peer, address.withoutPeer, timeout)
    }

    /// As `BlockingHTTPClient.exchange`.
    package func exchange(
        _ request: HTTPRequest, body: (() throws -> Bytes?)?, onHead: (HTTPResponse) throws -> Void,
        onBody: (Bytes) throws -> Void
    ) throws -> HTTPFields {
        var request = request
        if request.headers["Host"] == nil { request.headers.add("Host", peer.description) }
        request.headers["Connection"] = "close"
        var opening: Bytes = []
        var machine = HTTPClientExchange(request, bodyCount: body == nil ? 0 : nil, opening: &opening)
        let exchange = Libp2pDialler.Exchange()
        let opened = Mailbox<StreamID>()
        dialler.open(exchange, to: peer, at: address, timeout: timeout) { opened.put($0) }
        let stream = opened.next()
        var isBodySent = body == nil
        var isWhole = false
        defer { dialler.leave(stream, isWhole: isWhole && isBodySent) }
        dialler.send([opening], on: stream)
        while true {
            let events: [HTTPClientExchange.Event]
            var count = 0
            do {
                switch exchange.events.next() {
                case .bytes(let bytes):
                    count = bytes.count
                    events = try machine.onBytes(bytes)
                case .closed: events = try machine.onClosed()
                case .failed(let reason): throw HTTPFailure(description: reason)
                case .drained:
                    if let body, !isBodySent { isBodySent = try send(body, &machine, stream) }
                    events = []
                }
            } catch let error as HTTPError { throw HTTPFailure(description: error.description) }
            for event in events {
                switch event {
                case .head(let response): try onHead(response)
                case .body(let bytes): try onBody(bytes)
                case .end(let trailers):
                    isWhole = true
                    return trailers
                }
            }
            if count > 0 { dialler.took(count, of: stream) }
        }
    }

    /// A part of the body; whether it was the last. The next follows when this one has left.
    private func send(
        _ body: () throws -> Bytes?, _ machine: inout HTTPClientExchange, _ stream: StreamID
    ) throws -> Bool {
        var pieces: [Bytes] = []
        var count = 0
        var isLast = false
        while count < 1 << 20, !isLast {
            let piece = try body()
            isLast = piece == nil
            count += piece?.count ?? 0
            pieces.append(piece.map { machine.piece($0) } ?? machine.endOfBody())
        }
        dialler.send(pieces, on: stream)
        return isLast
    }
}
