// Two hosts on loopback sockets, each on a loop and a thread of its own, with a cluster secret and Noise or TLS between them.

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
    /// Streams of one's own; the others are taken in and closed when they end.
    var onOwn: (StreamEvent) -> Void = { _ in }
    var onIncoming: (PeerID) -> Void = { _ in }
    private(set) var receivedBytes = 0
    var onConnection: (ConnectionEvent) -> Void = { _ in }
    var me: PeerID { host.me }

    init(on loop: EventLoop, number: Int, isTLS: Bool) throws {
        self.loop = loop
        let seed = Bytes((0..<32).map { UInt8(truncatingIfNeeded: number >> (8 * ($0 % 4))) })
        var settings = HostSettings()
        settings.resources = .unlimited
        settings.dialTimeout = .seconds(60)
        let key = try IdentityKey(seed: seed)
        let all = Security.all(for: key, entropy: Machine.entropy, now: Machine.now.wall)
        host = Transport.Host(
            key: key, networkKey: secret, protocols: [sink], securities: isTLS ? Array(all.suffix(1)) : [.noise], settings: settings)
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

    private func onStream(_ event: StreamEvent) {
        guard event.stream.owner == 0 else { return onOwn(event) }
        switch event {
        case .incoming(_, let peer, _): onIncoming(peer)
        case .received(_, let bytes): receivedBytes += bytes.count
        case .remoteClosed(let id): want(.closeWrite(id))
        default: break
        }
    }

    /// So many bytes on one stream, a mebibyte whenever the last one has left.
    func send(_ count: Int, to peer: PeerID, then: @escaping () -> Void) {
        let stream = StreamID(owner: 1, number: 1), piece = Bytes(repeating: 5, count: 1 << 20)
        var left = count
        func next() {
            let part = min(left, piece.count)
            left -= part
            if part > 0 { want(.send(stream, part == piece.count ? piece : Bytes(piece[..<part]))) }
            if left == 0 { want(.closeWrite(stream)) }
        }
        onOwn = { event in
            switch event {
            case .drained: if left > 0 { next() }
            case .remoteClosed: then()
            case .failed, .reset: fatalError("the stream ended: \(event)")
            default: break
            }
        }
        want(.open(stream, to: peer, protocols: [sink]))
        next()
    }

    private func arm() {
        isArming = false
        if let timer { loop.cancel(timer) }
        timer = host.nextDeadline.map { deadline in
            loop.at(deadline) { [unowned self] in run { $0.onTime(now: Machine.now, effects: &$1) } }
        }
    }
}

/// The other end, on a thread of its own: takes what comes, and sends as much the other way once it is asked to.
private final class Target: @unchecked Sendable {
    private let loop = EventLoop()
    private let station: Station
    private let ended = DispatchSemaphore(value: 0)
    let peer: PeerID
    let addresses: [Multiaddr]

    init(sendsBack count: Int, isTLS: Bool) throws {
        station = try Station(on: loop, number: 0, isTLS: isTLS)
        peer = station.me
        addresses = try station.listen()
        station.onIncoming = { [unowned station] peer in
            station.onIncoming = { _ in }
            station.send(count, to: peer) {}
        }
        Thread.detachNewThread { [self] in
            loop.run()
            ended.signal()
        }
    }

    /// What it has received.
    func stop() -> Int {
        loop.post { [self] in loop.stop() }
        ended.wait()
        return station.receivedBytes
    }
}

func benchmarkWire(megabytes: Int, streams: Int, connections: Int, isTLS: Bool = false) throws {
    allowFiles(2 * connections + 100)
    let count = megabytes << 20
    let target = try Target(sendsBack: count, isTLS: isTLS)
    let loop = EventLoop()
    let source = try Station(on: loop, number: 1, isTLS: isTLS)
    connect([source], to: target, on: loop)
    let began = processorSeconds()
    let sending = timed { exchange(count, between: source, and: target, on: loop) }
    let worked = processorSeconds() - began
    let opening = timed { open(streams, from: source, to: target, on: loop) }

    let before = residentMegabytes()
    let others = try (0..<connections).map { try Station(on: loop, number: $0 + 2, isTLS: isTLS) }
    let connecting = timed { connect(others, to: target, on: loop) }
    let resident = residentMegabytes()
    withExtendedLifetime(others) {}
    let received = target.stop()
    invariant(received == count + streams * 100 && source.receivedBytes == count, "all that was sent has arrived")
    print("{" + [
        ("benchmark", isTLS ? "\"wire-tls\"" : "\"wire\""), ("megabytes_each_way", "\(megabytes)"), ("seconds", fixed(sending)),
        ("megabytes_per_second", "\(Int(2 * Double(megabytes) / sending))"), ("cpu_seconds", fixed(worked)),
        ("streams", "\(streams)"), ("streams_per_second", "\(Int(Double(streams) / opening))"),
        ("connections", "\(connections)"), ("connections_per_second", "\(Int(Double(connections) / connecting))"),
        ("resident_megabytes", "\(resident)"), ("of_which_connections", "\(resident - before)"),
    ].map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}")
}

private func connect(_ stations: [Station], to target: Target, on loop: EventLoop) {
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

/// One stream each way at the same time.
private func exchange(_ count: Int, between source: Station, and target: Target, on loop: EventLoop) {
    var isSent = false
    func check() {
        if isSent && source.receivedBytes >= count { loop.stop() } else { loop.after(.milliseconds(1)) { check() } }
    }
    source.send(count, to: target.peer) { isSent = true }
    check()
    loop.run()
}

/// Streams of a hundred bytes, 64 at a time.
private func open(_ count: Int, from source: Station, to target: Target, on loop: EventLoop) {
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
    source.onOwn = { event in
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
