// Machines of the DHT on a network of streams, in virtual time. Who is not among them does not exist.

import DHT
import Encoding
import Kernel
import Multiformats
import Seams
import Testing

/// /ip4/10.1.x.y/tcp/9096.
func lanAddress(_ number: Int) -> Multiaddr {
    Multiaddr(unchecked: [4, 10, 1, UInt8(number >> 8), UInt8(number & 255), 6, 0x23, 0x88])
}
func address(_ text: String) -> Multiaddr {
    do { return try Multiaddr(text: text) } catch { unreachable("\(error)") }
}

final class DHTNet {
    struct End: Hashable { let peer: Int, stream: StreamID }

    let ids: [PeerID]
    var machines: [DHT]
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    /// Where each is known to be, by whom: what the book of a real peer holds.
    var books: [[PeerID: [Multiaddr]]]
    /// Those that take everything and answer nothing.
    var mute: Set<Int> = []
    private(set) var told: [[DHT.Effect]]
    private(set) var dials: [(from: Int, to: PeerID, addresses: [Multiaddr])] = []
    /// Dials that nobody has answered yet, of each.
    private(set) var openDials: [Int]
    private(set) var openDialsMax = 0
    var dialTime = Span.seconds(3)
    var choices = Choices(seed: 1)
    private var failing: [(at: Instant, from: Int, to: PeerID)] = []
    private(set) var frames = 0
    private var connected: Set<[Int]> = []
    private var others: [End: End] = [:]
    private var inbound: UInt64 = 0
    private var queue: [(peer: Int, event: StreamEvent)] = []

    init(_ count: Int, settings shape: (inout DHTSettings) -> Void = { _ in }) {
        var settings = DHTSettings()
        shape(&settings)
        ids = (0..<count).map(netPeer)
        machines = ids.map { DHT(settings: settings, me: $0, owner: 7) }
        books = Array(repeating: [:], count: count)
        told = Array(repeating: [], count: count)
        openDials = Array(repeating: 0, count: count)
        for index in 0..<count { books[index][ids[index]] = [lanAddress(index)] }
    }

    func act(_ peer: Int, _ body: (inout DHT, DHT.Addresses, Now, inout [DHT.Effect]) -> Void) {
        var effects: [DHT.Effect] = []
        let book = books[peer]
        body(&machines[peer], { book[$0] ?? [] }, now, &effects)
        machines[peer].checkInvariants()
        for effect in effects {
            switch effect {
            case .stream(let effect): carryOut(peer, effect)
            case .dial(let to, let addresses): dial(peer, to, addresses)
            default: told[peer].append(effect)
            }
        }
    }

    /// `a` dials `b`; each then says what it speaks and where it listens.
    func connect(_ a: Int, _ b: Int, serves: Bool = true, at remote: Multiaddr? = nil) {
        guard connected.insert([min(a, b), max(a, b)]).inserted else { return }
        for (one, other) in [(a, b), (b, a)] {
            books[one][ids[other]] = [remote ?? lanAddress(other)]
            act(one) { $0.onConnected(self.ids[other], address: remote ?? lanAddress(other), now: $2, effects: &$3) }
        }
        for (one, other) in [(a, b), (b, a)] {
            let isServed = serves && !silentAboutIt.contains(other)
            let introduction = PeerIntroduction(protocols: isServed ? ["/x"] + DHT.protocols : ["/x"])
            act(one) { $0.onIntroduced(self.ids[other], introduction, now: $2, effects: &$3) }
        }
        pump()
    }

    /// Whoever is really at one of the addresses answers at once; nobody else ever does.
    private func dial(_ peer: Int, _ to: PeerID, _ told: [Multiaddr]) {
        dials.append((peer, to, told))
        openDials[peer] += 1
        openDialsMax = max(openDialsMax, openDials[peer])
        let addresses = told + (books[peer][to] ?? [])
        if let other = ids.firstIndex(of: to), addresses.contains(lanAddress(other)), isDown.isDisjoint(with: [peer, other]) {
            pendingConnects.append((peer, other))
        } else { failing.append((now.monotonic + dialTime, peer, to)) }
    }
    var isDown: Set<Int> = []
    /// They do not serve the DHT.
    var silentAboutIt: Set<Int> = []
    private var pendingConnects: [(Int, Int)] = []

    func disconnect(_ a: Int, _ b: Int) {
        guard connected.remove([min(a, b), max(a, b)]) != nil else { return }
        for (end, other) in others where end.peer == a && other.peer == b || end.peer == b && other.peer == a {
            others[end] = nil
            queue.append((end.peer, .reset(end.stream)))
        }
        pump()
        for (one, other) in [(a, b), (b, a)] { act(one) { $0.onDisconnected(self.ids[other], now: $2, effects: &$3) } }
        pump()
    }

    func pass(_ span: Span) {
        let end = now.monotonic + span
        pump()
        while let next = (machines.compactMap(\.nextDeadline) + failing.map(\.at)).min(), next <= end {
            now.monotonic = max(next, now.monotonic)
            let over = failing.filter { $0.at <= now.monotonic }
            failing.removeAll { $0.at <= now.monotonic }
            for (_, from, to) in over {
                openDials[from] -= 1
                act(from) { $0.onDialFailed(to, now: $2, effects: &$3) }
            }
            for index in machines.indices where machines[index].nextDeadline.map({ $0 <= now.monotonic }) == true {
                act(index) { $0.onTime(now: $2, choices: &self.choices, effects: &$3) }
            }
            pump()
        }
        now.monotonic = end
    }

    /// Those that a peer has opened.
    func openStreams(of peer: Int) -> [StreamID] {
        others.keys.filter { $0.peer == peer && $0.stream.owner != 0 }.map(\.stream).sorted()
    }

    func pump() {
        while !queue.isEmpty || !pendingConnects.isEmpty {
            guard !queue.isEmpty else {
                let (a, b) = pendingConnects.removeFirst()
                openDials[a] -= 1
                connect(a, b, serves: !silentAboutIt.contains(b))
                continue
            }
            let (peer, event) = queue.removeFirst()
            if mute.contains(peer) { continue }
            act(peer) { $0.onStream(event, addresses: $1, now: $2, effects: &$3) }
        }
    }

    private func carryOut(_ peer: Int, _ effect: StreamEffect) {
        switch effect {
        case .open(let id, let to, let protocols):
            #expect(protocols == DHT.protocols)
            guard let other = ids.firstIndex(of: to), connected.contains([min(peer, other), max(peer, other)]) else {
                return queue.append((peer, .failed(id, reason: "not connected")))
            }
            inbound += 1
            let (mine, its) = (End(peer: peer, stream: id), End(peer: other, stream: StreamID(owner: 0, number: inbound)))
            (others[mine], others[its]) = (its, mine)
            queue.append((other, .incoming(its.stream, from: ids[peer], protocol: protocols[0])))
            queue.append((peer, .opened(id, protocol: protocols[0])))
        case .send(let id, let bytes):
            guard let other = others[End(peer: peer, stream: id)] else { return }
            frames += 1
            queue.append((other.peer, .received(other.stream, bytes)))
            queue.append((peer, .drained(id)))
        case .hold: break
        case .closeWrite(let id):
            if let other = others[End(peer: peer, stream: id)] { queue.append((other.peer, .remoteClosed(other.stream))) }
        case .reset(let id):
            guard let other = others.removeValue(forKey: End(peer: peer, stream: id)) else { return }
            others[other] = nil
            queue.append((other.peer, .reset(other.stream)))
        }
    }
}

/// One machine that serves, and whoever asks it.
final class DHTServer {
    var machine: DHT
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    var book: [PeerID: [Multiaddr]] = [:]
    private var inbound: UInt64 = 0

    init(_ settings: DHTSettings = DHTSettings()) {
        machine = DHT(settings: settings, me: netPeer(0), owner: 7)
        book[netPeer(0)] = [lanAddress(0)]
    }

    /// Connects the peer of that number, and has it answer that it is there. Gives back what was asked of it.
    @discardableResult
    func join(_ number: Int, at remote: Multiaddr? = nil, serves: Bool = true, answers: Bool = true) -> StreamID? {
        let peer = netPeer(number)
        book[peer] = [lanAddress(number)]
        var effects = meet(number, at: remote)
        machine.onIntroduced(peer, PeerIntroduction(protocols: serves ? DHT.protocols : []), now: now, effects: &effects)
        machine.checkInvariants()
        for case .stream(.open(let stream, peer, _)) in effects {
            if answers { _ = feed(.received(stream, DHTMessage(.findNode).frame)) }
            return stream
        }
        return nil
    }
    @discardableResult
    func meet(_ number: Int, at remote: Multiaddr? = nil) -> [DHT.Effect] {
        var effects: [DHT.Effect] = []
        machine.onConnected(netPeer(number), address: remote ?? lanAddress(number), now: now, effects: &effects)
        return effects
    }
    func open(from number: Int) -> StreamID {
        inbound += 1
        let stream = StreamID(owner: 0, number: inbound)
        refused = feed(.incoming(stream, from: netPeer(number), protocol: DHT.protocols[0])).contains(.stream(.reset(stream)))
        return stream
    }
    var refused = false
    func feed(_ event: StreamEvent) -> [DHT.Effect] {
        var effects: [DHT.Effect] = []
        machine.onStream(event, addresses: { self.book[$0] ?? [] }, now: now, effects: &effects)
        machine.checkInvariants()
        return effects
    }
    func time() -> [DHT.Effect] {
        var effects: [DHT.Effect] = []
        var choices = Choices(seed: 1)
        machine.onTime(now: now, choices: &choices, effects: &effects)
        machine.checkInvariants()
        return effects
    }
    /// The answers to what is asked on a stream, whole.
    func ask(_ message: DHTMessage, on stream: StreamID) -> [DHTMessage] {
        feed(.received(stream, message.frame)).compactMap { effect in
            guard case .stream(.send(stream, let bytes)) = effect else { return nil }
            var reader = FrameReader(limitBytes: 4 << 20)
            reader.append(bytes)
            return (try? reader.next()).flatMap { try? DHTMessage(decoding: $0) }
        }
    }
    func ask(_ number: Int, _ message: DHTMessage) -> [DHTMessage] {
        let stream = open(from: number)
        let answers = ask(message, on: stream)
        _ = feed(.drained(stream))
        _ = feed(.remoteClosed(stream))
        return answers
    }
}
