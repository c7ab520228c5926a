// HTTP over the streams of a libp2p host of its own: each stream is one connection of an HTTP server. HTTP-01, HTTP-04.

import HTTP
import Kernel
import Multiformats
import Seams
import Transport

package enum Libp2pHTTP {
    /// REST-009.
    package static let protocolID = "/libp2p-http"
}

package final class Libp2pHTTPServer: @unchecked Sendable {
    private let loop: EventLoop
    private let host: HostRunner
    private let server: HTTPServer
    private let me: PeerID
    private var streams: [StreamID: StreamCarrier] = [:]
    private var isListening = true
    /// Streams that are not over; those of them that still close count too.
    private let streamsMax: Int
    /// How long the other side may take nothing of what an ended stream still has.
    private let patience: Span
    package private(set) var addresses: [Multiaddr] = []
    package var onLog: (LogLine) -> Void = { _ in }

    /// Strangers may connect, as to any HTTP server: what a stream may keep waiting here is less than between peers.
    package static var hostSettings: HostSettings {
        var settings = HostSettings()
        settings.connection.inboundStreamsLimit = 128
        settings.connection.receiveWindowLimit = 1 << 20
        return settings
    }

    /// Serves on `server` what comes for `key`'s peer. Upstream gives its host no network key (REST-008).
    package init(
        loop: EventLoop, server: HTTPServer, key: IdentityKey, networkKey: Bytes? = nil,
        settings: HostSettings = Libp2pHTTPServer.hostSettings, streamsMax: Int = 1024, patience: Span = .seconds(30)
    ) {
        self.loop = loop
        self.server = server
        self.streamsMax = streamsMax
        self.patience = patience
        me = key.peerID
        host = HostRunner(
            loop: loop,
            host: Host(
                key: key, networkKey: networkKey, protocols: [Libp2pHTTP.protocolID],
                securities: Security.all(for: key, entropy: Machine.entropy, now: Machine.now.wall), settings: settings))
        host.onEvent = { [weak self] in self?.onHost($0) }
    }

    /// Where it listens from now on, with the /p2p of its peer.
    @discardableResult
    package func listen(on address: Multiaddr) throws(ListenFailure) -> [Multiaddr] {
        let found = try host.listen(on: address)
        addresses += found.map { $0.with(peer: me) }
        host.run { [addresses] in $0.onListening(addresses.map(\.withoutPeer), now: Machine.now, effects: &$1) }
        return found.map { $0.with(peer: me) }
    }

    /// Takes no new connections and streams; what is being answered goes on.
    package func stopListening() {
        isListening = false
        host.stopListening()
    }
    package func close() {
        stopListening()
        host.close()
    }

    package var streamCount: Int { streams.count }

    private func onHost(_ effect: Host.Effect) {
        switch effect {
        case .socket, .connection: break
        case .log(let line): onLog(line)
        case .stream(.incoming(let stream, let peer, _)): accept(stream, from: peer)
        case .stream(.received(let stream, let bytes)): streams[stream]?.hear?(.bytes(bytes))
        case .stream(.drained(let stream)):
            guard let carrier = streams[stream] else { return }
            carrier.hear?(.drained)
            endIfFlushed(carrier)
        case .stream(.remoteClosed(let stream)):
            guard let carrier = streams[stream] else { return }
            carrier.isRemoteEnded = true
            carrier.hear?(.closed(reason: "EOF"))
            endIfFlushed(carrier)
        case .stream(.reset(let stream)):
            guard let carrier = streams.removeValue(forKey: stream) else { return }
            carrier.hear?(.closed(reason: "stream reset"))
        case .stream(.opened), .stream(.failed): break  // none is opened from here
        }
    }

    private func accept(_ stream: StreamID, from peer: PeerID) {
        let carrier = StreamCarrier(self, stream)
        guard isListening, streams.count < streamsMax, let hear = server.serve(carrier, remote: peer.description) else {
            return ask(.reset(stream))
        }
        carrier.hear = hear
        streams[stream] = carrier
    }

    fileprivate func ask(_ effect: StreamEffect) { host.run { $0.onEffect(effect, now: Machine.now, effects: &$1) } }
    fileprivate func hold(_ stream: StreamID, _ isHeld: Bool) {
        host.run { $0.hold(stream, isHeld, now: Machine.now, effects: &$1) }
    }

    fileprivate func close(_ carrier: StreamCarrier) {
        endIfFlushed(carrier)
        if streams[carrier.stream] != nil { resetWhenStuck(carrier.stream) }
    }

    /// Not before all has left: the host would forget a stream that both sides have ended, and who takes nothing could not
    /// be cut off any more.
    private func endIfFlushed(_ carrier: StreamCarrier) {
        guard carrier.isClosing, host.look({ $0.waitingBytes(carrier.stream) }) == 0 else { return }
        if !carrier.isLocalEnded { ask(.closeWrite(carrier.stream)) }
        carrier.isLocalEnded = true
        if carrier.isRemoteEnded { streams[carrier.stream] = nil }
    }

    /// Whoever neither takes what waits for it nor closes its side is waited for no longer.
    private func resetWhenStuck(_ stream: StreamID) {
        let left = host.look { $0.waitingBytes(stream) }
        loop.after(patience) { [weak self] in
            guard let self, streams[stream] != nil else { return }
            if host.look({ $0.waitingBytes(stream) }) < left { return resetWhenStuck(stream) }
            streams[stream] = nil
            ask(.reset(stream))
        }
    }
}

/// One stream as an HTTP connection.
private final class StreamCarrier: HTTPCarrier {
    private weak var owner: Libp2pHTTPServer?
    let stream: StreamID
    var hear: ((Socket.Event) -> Void)?
    var isRemoteEnded = false
    var isLocalEnded = false
    private(set) var isClosing = false

    init(_ owner: Libp2pHTTPServer, _ stream: StreamID) {
        self.owner = owner
        self.stream = stream
    }

    func write(_ bytes: Bytes) { if !isClosing { owner?.ask(.send(stream, bytes)) } }
    func pauseReading() { owner?.hold(stream, true) }
    func resumeReading() { owner?.hold(stream, false) }
    func closeWhenFlushed() {
        guard !isClosing else { return }
        isClosing = true
        hear = nil
        // What still comes is taken and dropped, so that the end of it is seen.
        owner?.hold(stream, false)
        owner?.close(self)
    }
}
