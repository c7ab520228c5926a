// Two hosts on loopback sockets, each on a loop and a thread of its own, with a cluster secret and Noise between them.

import Foundation
import Kernel
import Multiformats
import RealNet
import Seams
import Transport

private let secret = Bytes(repeating: 7, count: 32)
private let sink = "/sink/1"

/// One host and the loop that it runs on: what `PeerRunner` is, without a peer.
private final class Station: @unchecked Sendable {
    let loop: EventLoop
    private let sockets: Libp2pSockets
    private var host: Transport.Host
    private var effects: [Transport.Host.Effect] = []
    private var isCarryingOut = false
    private var isArming = false
    private var timer: EventLoop.TimerID?
    var onStream: (StreamEvent) -> Void = { _ in }
    var onConnection: (ConnectionEvent) -> Void = { _ in }
    var me: PeerID { host.me }

    init(on loop: EventLoop, number: Int) throws {
        self.loop = loop
        let seed = Bytes((0..<32).map { UInt8(truncatingIfNeeded: number >> (8 * ($0 % 4))) })
        var settings = HostSettings()
        settings.resources = .unlimited
        settings.dialTimeout = .seconds(60)
        host = Transport.Host(key: try IdentityKey(seed: seed), networkKey: secret, protocols: [sink], settings: settings)
        sockets = Libp2pSockets(loop: loop)
        sockets.onEvent = { [unowned self] event in
            run { $0.onSocket(event, entropy: Machine.entropy, now: Machine.now, effects: &$1) }
        }
    }

    func listen() throws -> [Multiaddr] { try sockets.listen(on: try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")) }
    func dial(_ peer: PeerID, _ addresses: [Multiaddr]) {
        run { $0.onEffect(.dial(peer, addresses), now: Machine.now, effects: &$1) }
    }
    func want(_ effect: StreamEffect) { run { $0.onEffect(effect, now: Machine.now, effects: &$1) } }

    private func run(_ body: (inout Transport.Host, inout [Transport.Host.Effect]) -> Void) {
        body(&host, &effects)
        carryOut()
        guard !isArming else { return }
        isArming = true
        loop.later { [unowned self] in arm() }
    }

    private func carryOut() {
        guard !isCarryingOut else { return }
        isCarryingOut = true
        while !effects.isEmpty {
            let batch = effects
            effects = []
            for effect in batch {
                switch effect {
                case .socket(let effect): sockets.carryOut(effect)
                case .stream(let event): onStream(event)
                case .connection(let event): onConnection(event)
                case .log: break
                }
            }
        }
        isCarryingOut = false
    }

    private func arm() {
        isArming = false
        if let timer { loop.cancel(timer) }
        timer = host.nextDeadline.map { deadline in
            loop.at(deadline) { [unowned self] in run { $0.onTime(now: Machine.now, effects: &$1) } }
        }
    }
}

/// Takes what comes and closes what the other side has closed, on a thread of its own.
private final class Sink: @unchecked Sendable {
    private let loop = EventLoop()
    private let station: Station
    private let ended = DispatchSemaphore(value: 0)
    private(set) var receivedBytes = 0
    let peer: PeerID
    let addresses: [Multiaddr]

    init() throws {
        station = try Station(on: loop, number: 0)
        peer = station.me
        addresses = try station.listen()
        station.onStream = { [unowned self] event in
            switch event {
            case .received(_, let bytes): receivedBytes += bytes.count
            case .remoteClosed(let id): station.want(.closeWrite(id))
            default: break
            }
        }
        Thread.detachNewThread { [self] in
            loop.run()
            ended.signal()
        }
    }

    func stop() {
        loop.post { [self] in loop.stop() }
        ended.wait()
    }
}

func benchmarkTransport(megabytes: Int, streams: Int, connections: Int) throws {
    allowFiles(2 * connections + 100)
    let target = try Sink()
    let loop = EventLoop()
    let source = try Station(on: loop, number: 1)
    connect([source], to: target, on: loop)
    let began = processorSeconds()
    let sending = timed { send(megabytes << 20, from: source, to: target, on: loop) }
    let worked = String(format: "%.2f", processorSeconds() - began)
    print(line("transport", megabytes, "MB", sending) + ", \(worked) s of processors for both ends")
    let opening = timed { open(streams, from: source, to: target, on: loop) }
    print(line("transport", streams, "streams", opening))

    let before = residentMegabytes()
    let others = try (0..<connections).map { try Station(on: loop, number: $0 + 2) }
    let connecting = timed { connect(others, to: target, on: loop) }
    print(line("transport", connections, "connections", connecting) + ", \(residentMegabytes() - before) MB for both ends")
    target.stop()
    invariant(target.receivedBytes == (megabytes << 20) + streams * 100, "all that was sent has arrived")
}

private func connect(_ stations: [Station], to target: Sink, on loop: EventLoop) {
    var left = stations.count
    // So that nobody waits in a queue of the kernel for longer than a handshake may take.
    var waiting = stations[...]
    func next() { waiting.popFirst()?.dial(target.peer, target.addresses) }
    for station in stations {
        station.onConnection = { event in
            guard case .introduced = event else {
                if case .dialFailed(_, let reason) = event { fatalError(reason) }
                return
            }
            left -= 1
            if left == 0 { loop.stop() } else { next() }
        }
    }
    for _ in 0..<64 { next() }
    loop.run()
}

/// One stream, a mebibyte whenever the last one has left.
private func send(_ count: Int, from source: Station, to target: Sink, on loop: EventLoop) {
    let stream = StreamID(owner: 1, number: 1)
    let piece = Bytes(repeating: 5, count: 1 << 20)
    var left = count
    func next() {
        let part = min(left, piece.count)
        left -= part
        if part > 0 { source.want(.send(stream, part == piece.count ? piece : Bytes(piece[..<part]))) }
        if left == 0 { source.want(.closeWrite(stream)) }
    }
    source.onStream = { event in
        switch event {
        case .drained: if left > 0 { next() }
        case .remoteClosed: loop.stop()
        case .failed, .reset: fatalError("the stream ended: \(event)")
        default: break
        }
    }
    source.want(.open(stream, to: target.peer, protocols: [sink]))
    next()
    loop.run()
}

/// Streams of a hundred bytes, 64 at a time.
private func open(_ count: Int, from source: Station, to target: Sink, on loop: EventLoop) {
    let piece = Bytes(repeating: 5, count: 100)
    var opened: UInt64 = 0, left = count
    func next() {
        guard opened < UInt64(count) else { return }
        opened += 1
        let stream = StreamID(owner: 2, number: opened)
        source.want(.open(stream, to: target.peer, protocols: [sink]))
        source.want(.send(stream, piece))
        source.want(.closeWrite(stream))
    }
    source.onStream = { event in
        switch event {
        case .remoteClosed:
            left -= 1
            if left == 0 { loop.stop() } else { next() }
        case .failed, .reset: fatalError("the stream ended: \(event)")
        default: break
        }
    }
    for _ in 0..<64 { next() }
    loop.run()
}

/// As many sockets as the system lets this process have.
private func allowFiles(_ count: Int) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = min(limit.rlim_max, max(limit.rlim_cur, rlim_t(count)))
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
