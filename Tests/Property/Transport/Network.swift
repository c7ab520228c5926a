// Hosts on a network of pipes, which cut bytes and order deliveries as the choices say.

import Kernel
import Multiformats
import Seams
import Transport

struct EndPoint: Hashable {
    let host: Int
    let socket: SocketID
}

/// Bytes under way to one end of a socket, and whether the sender has closed behind them.
struct Pipe {
    let from: EndPoint
    let to: EndPoint
    var bytes: Bytes = []
    var isClosed = false
}

struct Network {
    var hosts: [Host]
    var seen: [[Host.Effect]]
    var now = at(0)
    /// At each address plain TCP and WebSocket are spoken, as what was dialled says. Some never answer.
    var blackHoles: [Multiaddr] = []
    /// What hosts asked to be dialled.
    var dialled: [Multiaddr] = []
    /// What a host's core says a peer is worth to it; nil if it keeps the peer.
    var worth: ((Int, Int) -> Int?)?
    /// Sockets whose bytes go nowhere but into `caught`.
    var catches: Set<SocketID> = []
    var caught: [SocketID: Bytes] = [:]
    private var choices: Choices
    private var pipes: [Pipe] = []
    private var inbound: UInt64 = 0
    private let pieceBytes: Int

    static let protocols = ["/echo/1", "/sink/2"]

    init(
        _ count: Int, seed: UInt64 = 1, pieceBytes: Int = 2000, secrets: [Bytes?] = [], loopback: Bool = false,
        securities: [[Security]] = [], settings: HostSettings = HostSettings()
    ) {
        choices = Choices(seed: seed)
        self.pieceBytes = pieceBytes
        hosts = (0..<count).map {
            Host(key: identity(UInt8($0 + 1)), networkKey: $0 < secrets.count ? secrets[$0] : nil,
                 protocols: Self.protocols, securities: $0 < securities.count ? securities[$0] : [.noise], settings: settings)
        }
        seen = Array(repeating: [], count: count)
        for index in 0..<count { run(index) { $0.onListening([Network.address(index)], now: at(0), effects: &$1) } }
    }

    static func address(_ index: Int) -> Multiaddr { multiaddr("/ip4/10.0.0.\(index + 1)/tcp/9096") }
    func id(_ index: Int) -> PeerID { hosts[index].me }

    mutating func run(_ index: Int, _ body: (inout Host, inout [Host.Effect]) -> Void) {
        var effects: [Host.Effect] = []
        body(&hosts[index], &effects)
        for effect in effects {
            if case .socket(let socket) = effect { carryOut(index, socket) } else { seen[index].append(effect) }
            if case .connection(.crowded(let crowd)) = effect { answer(index, crowd) }
        }
    }

    private mutating func answer(_ index: Int, _ crowd: [PeerID]) {
        guard let worth else { return }
        want(index, .trim(crowd.compactMap { peer in
            hosts.firstIndex { $0.me == peer }.flatMap { worth(index, $0) }.map { PeerWorth(peer, $0) }
        }))
    }

    mutating func tell(_ index: Int, _ event: SocketEvent) {
        let now = now
        let entropy = choices.bytes(200)
        run(index) { $0.onSocket(event, entropy: { Bytes(entropy[..<$0]) }, now: now, effects: &$1) }
    }

    mutating func want(_ index: Int, _ effect: ConnectionEffect) {
        let now = now
        run(index) { $0.onEffect(effect, now: now, effects: &$1) }
    }

    mutating func want(_ index: Int, _ effect: StreamEffect) {
        let now = now
        run(index) { $0.onEffect(effect, now: now, effects: &$1) }
    }

    private mutating func carryOut(_ index: Int, _ effect: SocketEffect) {
        switch effect {
        case .connect(let socket, let address): connect(EndPoint(host: index, socket: socket), address)
        case .write(let socket, let bytes) where catches.contains(socket): caught[socket, default: []] += bytes
        case .write(let socket, let bytes):
            guard let pipe = pipes.firstIndex(where: { $0.from == EndPoint(host: index, socket: socket) }) else { return }
            pipes[pipe].bytes += bytes
        case .close(let socket): hangUp(EndPoint(host: index, socket: socket))
        }
    }

    private mutating func connect(_ end: EndPoint, _ address: Multiaddr) {
        dialled.append(address)
        if blackHoles.contains(address.withoutPeer) { return }
        guard let carrier = address.carrier, let target = hosts.indices.first(where: { Network.address($0).carrying(carrier) == address.withoutPeer }) else {
            return tell(end.host, .connectFailed(end.socket, reason: "connection refused"))
        }
        inbound += 1
        let other = EndPoint(host: target, socket: .inbound(inbound))
        pipes += [Pipe(from: end, to: other), Pipe(from: other, to: end)]
        tell(target, .accepted(other.socket, remote: multiaddr("/ip4/10.0.0.\(end.host + 1)/tcp/\(40_000 + inbound)").carrying(carrier)))
        tell(end.host, .connected(end.socket, remote: address.withoutPeer))
    }

    private mutating func hangUp(_ end: EndPoint) {
        for index in pipes.indices where pipes[index].from == end { pipes[index].isClosed = true }
        pipes.removeAll { $0.to == end }
    }

    /// Cuts every connection of a host.
    mutating func cut(_ host: Int, _ count: Int = .max) {
        var left = count
        for pipe in pipes where pipe.from.host == host && left > 0 {
            left -= 1
            pipes.removeAll { $0.from == pipe.from || $0.to == pipe.from }
            tell(pipe.from.host, .closed(pipe.from.socket, reason: "reset"))
            tell(pipe.to.host, .closed(pipe.to.socket, reason: "reset"))
        }
    }

    mutating func step() -> Bool {
        let busy = pipes.indices.filter { !pipes[$0].bytes.isEmpty || pipes[$0].isClosed }
        if busy.isEmpty { return false }
        let index = busy[choices.below(busy.count)]
        let pipe = pipes[index]
        if pipe.bytes.isEmpty {
            pipes.removeAll { $0.from == pipe.from || $0.to == pipe.from }
            tell(pipe.to.host, .closed(pipe.to.socket, reason: "EOF"))
            return true
        }
        let count = min(pipe.bytes.count, 1 + choices.below(pieceBytes))
        pipes[index].bytes.removeFirst(count)
        tell(pipe.from.host, .written(pipe.from.socket, count))
        tell(pipe.to.host, .received(pipe.to.socket, Bytes(pipe.bytes[..<count])))
        return true
    }

    mutating func settle() { while step() {} }

    /// Lets time pass, waking every host when it wants.
    mutating func pass(_ milliseconds: Int64) {
        let end = now.monotonic + .milliseconds(milliseconds)
        while let next = hosts.compactMap(\.nextDeadline).min(), next <= end {
            now = Now(monotonic: max(next, now.monotonic), wall: now.wall)
            for index in hosts.indices {
                let now = now
                run(index) { $0.onTime(now: now, effects: &$1) }
            }
            settle()
        }
        now = Now(monotonic: end, wall: now.wall)
    }

    func events(_ index: Int) -> [StreamEvent] {
        seen[index].compactMap { if case .stream(let event) = $0 { event } else { nil } }
    }
    /// Without the records that peers sign, which no test can know.
    func connections(_ index: Int) -> [ConnectionEvent] {
        seen[index].compactMap {
            guard case .connection(let event) = $0 else { return nil }
            guard case .introduced(let peer, var introduction) = event else { return event }
            introduction.signedRecord = nil
            return .introduced(peer, introduction)
        }
    }
    func received(_ index: Int, _ id: StreamID) -> Bytes {
        events(index).flatMap { event -> Bytes in if case .received(id, let bytes) = event { bytes } else { [] } }
    }
    func incoming(_ index: Int) -> [StreamID] {
        events(index).compactMap { if case .incoming(let id, _, _) = $0 { id } else { nil } }
    }
    func log(_ index: Int, _ level: LogLevel) -> [String] {
        seen[index].compactMap { if case .log(let line) = $0, line.level == level { line.message } else { nil } }
    }
    var dialFailures: [String] {
        hosts.indices.flatMap { connections($0) }.compactMap { if case .dialFailed(_, let reason) = $0 { reason } else { nil } }
    }
}

func multiaddr(_ text: String) -> Multiaddr {
    guard let address = try? Multiaddr(text: text) else { fatalError("not a multiaddress: \(text)") }
    return address
}
