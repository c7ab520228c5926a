// Hosts alone: dials, connections and streams of the real transport over sockets that are slow, cut bytes anywhere, lose and change them, and
// end without a word. In a cluster's run the seam of `Seams` stands in their place; here what both ends must agree on is followed byte by
// byte. LAY-01, LAY-04, YMX-01..15, MSS-06..09, DIAL-01..05, IDF-02, SIM-01, CM-01.

import Kernel
import Multiformats
import Seams
import Transport

package struct HostDrill {
    /// What was done and told, a line for each.
    package private(set) var lines: [String] = []
    package private(set) var failure: (oracle: Oracle, text: String)?
    package private(set) var crashes = 0

    struct Member {
        var host: Host
        let key: IdentityKey
        let secret: Bytes?
        let settings: HostSettings
        let address: Multiaddr
        /// What others may ask for, and since when.
        var serves: [String]
        var servesSince = Instant.origin
        /// Nobody is there until then.
        var downUntil: Instant?
        var streams: UInt64 = 0
        /// Who is connected, by what it has told.
        var connected = SortedSet<Int>()
        var introductions: [Int: PeerIntroduction] = [:]
        /// Dials that are to be answered, and whether they must succeed.
        var dials = SortedMap<Int, (at: Instant, isSound: Bool)>()
        /// Addresses of whom rest perhaps, as a dial of them has failed.
        var failed = SortedSet<Int>()
        /// When addresses of whom has refused a connection that was wanted, since it was connected last.
        var refused: [Int: [Multiaddr: Instant]] = [:]
        /// When it has said last that there are too many connections.
        var crowdedAt = Instant.origin
        /// By their sockets.
        var visitors = SortedMap<SocketID, Visitor>()
        /// In so many addresses it listens besides that where it is.
        let otherAddresses: [Multiaddr]
    }

    /// Who is no peer at all: a look at the port, somebody else's protocol, or one who says nothing.
    struct Visitor {
        /// What it has not said yet.
        var words: Bytes
        /// Whether it goes when it has said all.
        let leaves: Bool
        /// So many bytes were written to it.
        var told = 0
        var turnAt: Instant?
    }

    struct EndPoint: Hashable {
        let member: Int
        let socket: SocketID
    }

    /// One TCP connection, who dialled first. What one end writes moves to the other in pieces.
    struct Wire {
        struct Flow {
            var waiting: Bytes = []
            /// What the system has taken of a wire that leads nowhere.
            var swallowed = 0
            var moved = 0
            /// Nothing more is written.
            var isEnded = false
            var moveAt: Instant?
        }
        let ends: [EndPoint]
        let address: Multiaddr
        /// Who is wanted there.
        let target: PeerID?
        let pieceBytes: Int
        let beganAt: Instant
        var isStanding = false
        /// Nothing passes any more, and nobody is told; since when.
        var lostAt: Instant?
        /// When a byte was changed: whatever comes after it is of no use.
        var spoiltAt: Instant?
        /// Of each end, whether it has closed or was told of the end.
        var isOver = [false, false]
        /// What each end has written.
        var flows = [Flow(), Flow()]
        /// One byte of what moves next is changed.
        var isToBeSpoilt = false
        var connectAt: Instant?

        func end(of member: Int, _ socket: SocketID) -> Int { ends[0] == EndPoint(member: member, socket: socket) ? 0 : 1 }
    }

    var members: [Member] = []
    var choices: Choices
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var wires = SortedMap<Int, Wire>()
    private var wireOf: [EndPoint: Int] = [:]
    private var lastWire = 0
    private var lastInbound: UInt64 = 0
    private let faultsInHundred: Int
    private let isCrowded: Bool
    /// There is room for a few streams of others.
    let isTight: Bool
    /// When all was at rest last.
    var restedAt = Instant.origin
    /// Between whom something went wrong that may not be over.
    var broken = SortedSet<Pair>()
    var streams: [Stream] = []
    var placeOf: [StreamPlace: (stream: Int, end: Int)] = [:]
    var unnamed: [StreamPlace: Unnamed] = [:]
    /// Whom the step under way has reached by its dial of then.
    private var reached: (Int, since: Instant)?
    private var step = 0

    static let protocols = ["/echo/1", "/sink/2", "/drain/3"]
    private static let roundsMax = 200_000
    /// What a system takes although nothing arrives.
    private static let systemBytes = 64 << 10
    private static let agreementBytes = 500
    /// What is sound needs so long for little, and so long for all that waits.
    private static let promptTime = Span.seconds(3), soundTime = Span.seconds(20)
    /// A silence, a ping, and some more: whoever says nothing has been given up by then.
    private static let restTime = Span.seconds(90), mutterTime = Span.seconds(9)
    private static let littleBytes = 64 << 10

    /// What went wrong in so many steps.
    package static func run(_ tape: Tape, steps: Int) -> HostDrill {
        var drill = HostDrill(tape)
        drill.run(steps)
        return drill
    }

    private init(_ tape: Tape) {
        choices = tape.stream(.drill, 1 << 41)
        faultsInHundred = [0, 3, 10][choices.below(3)]
        isCrowded = choices.chance(1, in: 6)
        isTight = choices.chance(1, in: 3)
        var settings = HostSettings()
        settings.connection.writeQueueBytes = [4 << 10, 64 << 10, 256 << 10][choices.below(3)]
        settings.connection.receiveWindowLimit = [256 << 10, 1 << 20][choices.below(2)]
        settings.connection.unacknowledgedStreamsLimit = [2, 256][choices.below(2)]
        // What moves goes on moving; that much waits all the time is no reason to give up.
        settings.connection.writeStallTimeout = [.seconds(10), .milliseconds(200)][choices.below(2)]
        if isTight { (settings.resources.inboundStreamsPerPeer, settings.resources.inboundHandshakes, settings.resources.memoryBytes) = (4, 8, 4 << 20) }
        if isCrowded {
            var marks = Watermarks()
            (marks.low, marks.high, marks.gracePeriod) = (1, 2, .seconds(5))
            settings.watermarks = marks
        }
        let secret = choices.chance(1, in: 2) ? choices.bytes(32) : nil
        for index in 0..<2 + choices.below(3) {
            guard let key = try? IdentityKey(seed: choices.bytes(32)), let address = try? Multiaddr(text: "/ip4/10.0.0.\(index + 1)/tcp/9096") else {
                unreachable("a key of 32 bytes, and an address")
            }
            let isStranger = index > 1 && choices.chance(1, in: 4)
            let serves = choices.sample(HostDrill.protocols, 1 + choices.below(3))
            let own = isStranger ? choices.bytes(32) : secret
            members.append(Member(
                host: Host(key: key, networkKey: own, protocols: serves, settings: settings), key: key, secret: own, settings: settings,
                address: address, serves: serves, otherAddresses: choices.chance(1, in: 4) ? HostDrill.many : []))
            listen(index)
        }
    }

    private mutating func run(_ steps: Int) {
        for _ in 0..<steps where failure == nil {
            step += 1
            take()
            pass(choices.span(.zero, .milliseconds([2, 20, 300][choices.below(3)])))
            if step % 80 == 0 { rest() }
        }
        if failure == nil { rest() }
        for index in members.indices where failure == nil { shutDown(index) }
    }

    mutating func fail(_ text: String, _ oracle: Oracle = .wire) { if failure == nil { failure = (oracle, "step \(step): \(text)") } }
    mutating func say(_ text: String) { lines.append("\((now.monotonic - .origin).nanoseconds / 1_000_000) ms: \(text)") }
    func name(_ index: Int) -> String { "h\(index)" }
    mutating func another(than index: Int) -> Int {
        let others = members.indices.filter { $0 != index }
        return others[choices.below(others.count)]
    }
    func member(_ peer: PeerID) -> Int? { members.firstIndex { $0.host.me == peer } }

    // MARK: Steps

    private mutating func take() {
        if choices.chance(faultsInHundred, in: 100) { return strike() }
        let index = choices.below(members.count)
        guard members[index].downUntil == nil else { return }
        switch choices.below(100) {
        case 0..<12:
            let target = another(than: index)
            dial(index, target)
            // Two that dial each other at once have two connections.
            if choices.chance(1, in: 4), members[target].downUntil == nil { dial(target, index) }
        case 12..<30: openStream(index)
        case 30..<33: disconnect(index)
        case 33..<36: serve(index)
        default: useStream()
        }
    }

    private mutating func strike() {
        switch choices.below(8) {
        case 0: cut()
        case 1, 2: lose()
        case 3: _ = spoil()
        case 4, 5: visit(choices.below(members.count))
        default: restart(choices.below(members.count), isKill: choices.chance(1, in: 2))
        }
    }

    private mutating func dial(_ index: Int, _ target: Int) {
        let own = members[target].address
        var addresses: [Multiaddr] = []
        var isSound = members[target].secret == members[index].secret && members[target].downUntil == nil && !members[index].failed.contains(target)
        switch choices.below(8) {
        case 0: addresses = [own, own.carrying(.webSocket)]
        case 1: addresses = [own.carrying(.webSocket)]
        case 2: addresses = [HostDrill.blackHole, own]
        case 3: addresses = [HostDrill.nowhere, own.carrying(.webSocket)]
        case 4:
            // Who is there is somebody else.
            addresses = [members[another(than: index)].address]
            isSound = isSound && addresses == [own]
        case 5:
            addresses = [HostDrill.blackHole]
            isSound = false
        default: addresses = [own]
        }
        if let under = members[index].dials[target] { isSound = isSound && under.isSound }
        // A stream has had it dialled before, at what was known.
        if isWaiting(index, target) { isSound = false }
        if !members[index].host.isConnected(members[target].host.me) {
            members[index].dials[target] = (members[index].dials[target]?.at ?? now.monotonic, isSound)
        }
        say("\(name(index)) dials \(name(target)) at \(addresses)")
        let peer = members[target].host.me
        act(index) { $0.onEffect(.dial(peer, addresses), now: $1, effects: &$2) }
        if isSound, choices.chance(1, in: 3) { openStreams(index, to: target) }
    }

    /// More than fit into one message of identify together with the record that is signed.
    private static let many = (0..<120).map { address("/ip4/10.0.2.\($0 + 1)/tcp/9096") }
    private static let blackHole = address("/ip4/10.0.1.1/tcp/9096"), nowhere = address("/ip4/10.0.2.1/tcp/9096")
    private static func address(_ text: String) -> Multiaddr {
        guard let address = try? Multiaddr(text: text) else { unreachable("\(text) is an address") }
        return address
    }

    private mutating func disconnect(_ index: Int) {
        let reached = members[index].connected.elements + members[index].dials.keys
        guard !reached.isEmpty, case let target = reached[choices.below(reached.count)] else { return }
        say("\(name(index)) disconnects \(name(target))")
        breakOff(index, target)
        let peer = members[target].host.me
        act(index) { $0.onEffect(.disconnect(peer), now: $1, effects: &$2) }
        if members[index].dials[target] != nil || members[index].connected.contains(target) { fail("\(name(index)) was to disconnect \(name(target)), and goes on") }
    }

    private mutating func serve(_ index: Int) {
        let serves = choices.sample(HostDrill.protocols, 1 + choices.below(3))
        guard serves != members[index].serves else { return }
        say("\(name(index)) serves \(serves)")
        (members[index].serves, members[index].servesSince) = (serves, now.monotonic)
        act(index) { $0.onEffect(.serve(serves), now: $1, effects: &$2) }
    }

    // MARK: Faults

    private var soundWires: [Int] { wires.filter { $0.value.isStanding && $0.value.lostAt == nil && $0.value.isOver == [false, false] }.map(\.key) }
    private mutating func aWire() -> Int? {
        let sound = soundWires
        return sound.isEmpty ? nil : sound[choices.below(sound.count)]
    }

    private mutating func breakOff(_ wire: Wire) {
        let (dialler, listener) = (wire.ends[0].member, wire.ends[1].member)
        breakOff(dialler, listener)
        if !members[dialler].connected.contains(listener) { members[dialler].failed.insert(listener) }
    }

    private mutating func harm(_ what: String, _ chosen: Int? = nil) -> Int? {
        guard let number = chosen ?? aWire(), let wire = wires[number] else { return nil }
        say("the wire \(number) of \(name(wire.ends[0].member)) and \(name(wire.ends[1].member)) \(what)")
        breakOff(wire)
        return number
    }

    /// Both ends hear of it; what was under way is lost.
    private mutating func cut(_ chosen: Int? = nil) {
        guard let number = harm("is cut", chosen) else { return }
        for end in choices.permuted([0, 1]) { endSocket(number, end, "connection reset by peer") }
    }

    private mutating func lose() {
        if let number = harm("leads nowhere") { wires[number]?.lostAt = now.monotonic }
    }

    private mutating func spoil() -> Wire? {
        guard let number = harm("is to change a byte") else { return nil }
        wires[number]?.isToBeSpoilt = true
        return wires[number]
    }

    /// Several at once, from a few addresses. Who was about to prove itself may have to make room for them.
    private mutating func visit(_ index: Int) {
        guard members[index].downUntil == nil else { return }
        let count = 1 + choices.below(12), port = choices.below(1000)
        say("\(count) visitors come to \(name(index))")
        for other in members.indices where members[other].dials[index] != nil || members[other].connected.contains(index) != members[index].connected.contains(other) {
            breakOff(other, index)
        }
        for number in 0..<count {
            lastInbound += 1
            let socket = SocketID.inbound(lastInbound)
            let words = choices.chance(1, in: 3) ? [] : choices.chance(1, in: 2) ? Bytes("GET / HTTP/1.1\r\nHost: \(name(index))\r\n\r\n".utf8) : choices.bytes(1 + choices.below(300))
            let turnAt = now.monotonic + choices.span(.zero, .seconds(1))
            members[index].visitors[socket] = Visitor(words: words, leaves: choices.chance(1, in: 3), turnAt: turnAt)
            let address = HostDrill.address("/ip4/10.0.3.\(1 + number % 4)/tcp/\(10_000 + 20 * port + number)")
            tell(index, .accepted(socket, remote: choices.chance(1, in: 4) ? address.carrying(.webSocket) : address))
            let member = members[index]
            if member.visitors.count > member.settings.resources.inboundHandshakes {
                fail("\(name(index)) has \(member.visitors.count) visitors at a time, and \(member.host.socketCount) sockets", .bound)
            }
        }
    }

    /// It takes what it was told, says a part of what it has to say, or leaves.
    private mutating func takeTurn(_ index: Int, _ socket: SocketID) {
        guard var visitor = members[index].visitors[socket] else { return }
        let told = visitor.told, part = visitor.words.prefix(1 + choices.below(200)), goes = part.isEmpty && visitor.leaves
        (visitor.told, visitor.turnAt) = (0, part.isEmpty ? nil : now.monotonic + choices.span(.zero, .seconds(1)))
        visitor.words.removeFirst(part.count)
        members[index].visitors[socket] = visitor
        if told > 0 { tell(index, .written(socket, told)) }
        guard members[index].visitors[socket] != nil else { return }
        if !part.isEmpty { return tell(index, .received(socket, Bytes(part))) }
        guard goes else { return }
        tell(index, .closed(socket, reason: "EOF"))
        if members[index].visitors[socket] != nil { fail("\(name(index)) keeps the socket \(socket) of a visitor who has left") }
    }

    private mutating func restart(_ index: Int, isKill: Bool) {
        guard members[index].downUntil == nil else { return }
        say("\(name(index)) \(isKill ? "is killed" : "loses power")")
        crashes += 1
        forgetStreams(of: index)
        for (number, wire) in wires {
            guard let end = wire.ends.firstIndex(where: { $0.member == index }), wire.isStanding || end == 0 else { continue }
            wireOf[wire.ends[end]] = nil
            guard wire.isStanding else { wires[number] = nil; continue }
            wires[number]?.isOver[end] = true
            if !isKill { wires[number]?.lostAt = wire.lostAt ?? now.monotonic }
            endFlow(number, from: end)
        }
        members[index].connected.removeAll()
        (members[index].introductions, members[index].failed, members[index].refused) = ([:], SortedSet(), [:])
        members[index].dials.removeAll()
        members[index].visitors = SortedMap()
        members[index].downUntil = now.monotonic + choices.span(.zero, .seconds(2))
    }

    private mutating func comeBack(_ index: Int) {
        members[index].downUntil = nil
        let member = members[index]
        members[index].host = Host(key: member.key, networkKey: member.secret, protocols: member.serves, settings: member.settings)
        say("\(name(index)) is back")
        listen(index)
    }

    private mutating func listen(_ index: Int) {
        let address = members[index].address
        let others = members[index].otherAddresses
        act(index) { $0.onListening([address, address.carrying(.webSocket)] + others, now: $1, effects: &$2) }
    }

    /// Nothing is left of whoever has shut down.
    private mutating func shutDown(_ index: Int) {
        guard members[index].downUntil == nil else { return }
        for other in members.indices where other != index { breakOff(index, other) }
        act(index) { $0.shutDown(now: $1, effects: &$2) }
        let host = members[index].host
        if [host.socketCount, host.streamCount, host.connectionCount, host.windowBytes] != [0, 0, 0, 0] || (!isCrowded && host.nextDeadline != nil) {
            fail("\(name(index)) has shut down and keeps \(host.socketCount) sockets, \(host.streamCount) streams, windows of \(host.windowBytes) bytes, and \(host.nextDeadline == nil ? "no" : "a") deadline")
        }
    }

    // MARK: Time

    mutating func pass(_ span: Span) {
        let end = now.monotonic + span
        var rounds = 0
        while failure == nil, let next = nextInstant, next <= end {
            rounds += 1
            if rounds > HostDrill.roundsMax { return fail("no end of what is to be done", .spin) }
            advance(to: max(next, now.monotonic))
            for index in members.indices {
                if let until = members[index].downUntil {
                    if until <= now.monotonic { comeBack(index) }
                } else if let at = members[index].host.nextDeadline, at <= now.monotonic {
                    act(index) { $0.onTime(now: $1, effects: &$2) }
                    if let again = members[index].host.nextDeadline, again <= now.monotonic { return fail("\(name(index)) wants to be woken at once, again and again", .spin) }
                }
            }
            for index in members.indices {
                for (socket, visitor) in members[index].visitors { if let at = visitor.turnAt, at <= now.monotonic { takeTurn(index, socket) } }
            }
            for (number, wire) in wires {
                if let at = wire.connectAt, at <= now.monotonic { connect(number) }
                for from in [0, 1] { if let at = wires[number]?.flows[from].moveAt, at <= now.monotonic { move(number, from) } }
            }
        }
        advance(to: end)
        for (target, dial) in members.indices.flatMap({ index in members[index].dials.map { ((index, $0.key), $0.value) } })
        where dial.at + members[target.0].settings.dialTimeout + .milliseconds(1) < now.monotonic {
            fail("\(name(target.0)) has not said what has become of its dial of \(name(target.1))")
        }
    }

    private mutating func advance(to instant: Instant) {
        now = Now(monotonic: instant, wall: now.wall + (instant - now.monotonic))
    }

    private var nextInstant: Instant? {
        var next: Instant?
        for member in members {
            next = earliest(next, member.downUntil ?? member.host.nextDeadline)
            member.visitors.each { _, visitor in next = earliest(next, visitor.turnAt) }
        }
        wires.each { _, wire in next = earliest(next, earliest(wire.connectAt, earliest(wire.flows[0].moveAt, wire.flows[1].moveAt))) }
        return next
    }

    // MARK: Hosts

    mutating func act(_ index: Int, _ body: (inout Host, Now, inout [Host.Effect]) -> Void) {
        var effects: [Host.Effect] = []
        body(&members[index].host, now, &effects)
        for effect in effects where failure == nil {
            switch effect {
            case .socket(let effect): carryOut(index, effect)
            case .stream(let event): hear(index, event)
            case .connection(let event): hear(index, event)
            case .log: break
            }
        }
        // Of several addresses that were tried the others are given up (SIM-01: where the other side dialled, they are not).
        if let (other, since) = reached, wires.contains(where: { $0.value.ends[0].member == index && $0.value.target == members[other].host.me && !$0.value.isStanding && !$0.value.isOver[0] && $0.value.beganAt >= since }) {
            fail("\(name(index)) is connected to \(name(other)), and goes on trying other addresses")
        }
        reached = nil
    }

    private mutating func tell(_ index: Int, _ event: SocketEvent) {
        let entropy = choices.bytes(200)
        act(index) { host, now, effects in host.onSocket(event, entropy: { Bytes(entropy[..<$0]) }, now: now, effects: &effects) }
    }

    private mutating func hear(_ index: Int, _ event: ConnectionEvent) {
        switch event {
        case .connected(let peer, let address, let isOutbound):
            guard let other = member(peer), other != index else { return fail("\(name(index)) is connected to nobody, at \(address)") }
            say("\(name(index)) is connected to \(name(other))")
            if members[index].secret != members[other].secret { fail("\(name(index)) is connected to \(name(other)), which has another secret") }
            if !members[index].connected.insert(other) { fail("\(name(index)) is connected to \(name(other)) twice") }
            if isOutbound, address != members[other].address, address != members[other].address.carrying(.webSocket) {
                fail("\(name(index)) is connected to \(name(other)) at \(address), where it is not")
            }
            // What an older dial had begun may reach it as well.
            if let dial = members[index].dials.remove(other), isOutbound, !wires.contains(where: { $0.value.ends[0].member == index && $0.value.address == address && $0.value.beganAt < dial.at }) {
                reached = (other, dial.at)
            }
            members[index].failed.remove(other)
            members[index].refused[other] = nil
        case .introduced(let peer, let introduction):
            guard let other = member(peer), members[index].connected.contains(other) else { return fail("\(name(index)) is introduced to \(peer), who is not connected") }
            members[index].introductions[other] = introduction
        case .disconnected(let peer):
            guard let other = member(peer), members[index].connected.remove(other) else { return fail("\(name(index)) has lost \(peer), who was not connected") }
            say("\(name(index)) has lost \(name(other))")
            members[index].introductions[other] = nil
            onDisconnected(index, other)
        case .dialFailed(let peer, let reason):
            guard let other = member(peer), let dial = members[index].dials.remove(other) else { return fail("\(name(index)) has failed to dial \(peer), which nobody asked for") }
            say("\(name(index)) has failed to dial \(name(other)): \(reason)")
            members[index].failed.insert(other)
            if dial.isSound { fail("\(name(index)) has failed to dial \(name(other)), who is there: \(reason)") }
            // Attempts at somebody who came meanwhile go on (SIM-01), and are none of a dial that came later.
            if isTrying(index, peer, since: dial.at) { fail("\(name(index)) has failed to dial \(name(other)), and goes on trying") }
        case .crowded(let peers): trim(index, peers)
        case .listening, .found, .dialledBack: break
        }
    }

    private func isTrying(_ index: Int, _ peer: PeerID, since: Instant = .origin) -> Bool {
        wires.contains { $0.value.ends[0].member == index && $0.value.target == peer && !$0.value.isOver[0] && $0.value.beganAt >= since }
    }

    func wireCount(_ a: Int, _ b: Int) -> Int { wires.count { [[a, b], [b, a]].contains($0.value.ends.map(\.member)) } }

    /// Some can be done without, and of them the least worth go first; the others stay.
    private mutating func trim(_ index: Int, _ peers: [PeerID]) {
        let dispensable = choices.sample(peers, choices.below(peers.count + 1))
        say("\(name(index)) is crowded, and can do without \(dispensable.count)")
        for peer in dispensable { if let other = member(peer) { breakOff(index, other) } }
        let kept = members[index].connected.elements.filter { !dispensable.contains(members[$0].host.me) }
        let worths = dispensable.map { PeerWorth($0, choices.below(3)) }
        let hasOneEach = dispensable.allSatisfy { peer in member(peer).map { wireCount(index, $0) == 1 } ?? false }
        members[index].crowdedAt = now.monotonic
        act(index) { $0.onEffect(.trim(worths), now: $1, effects: &$2) }
        let left = worths.filter { members[index].host.isConnected($0.peer) }
        if left.isEmpty, !worths.isEmpty, hasOneEach { fail("\(name(index)) has closed all connections that it can do without, and was to keep one") }
        if left.count > 1 { fail("\(name(index)) has kept \(left.count) connections that it can do without, and was to keep one") }
        if let least = left.first, worths.contains(where: { $0.value > least.value && !left.contains($0) }) { fail("\(name(index)) has kept who is worth less than others") }
        for other in kept where !members[index].connected.contains(other) { fail("\(name(index)) has closed its connection to \(name(other)), which it was not to do without") }
    }

    // MARK: Sockets

    private mutating func carryOut(_ index: Int, _ effect: SocketEffect) {
        switch effect {
        case .connect(let socket, let address): begin(EndPoint(member: index, socket: socket), address)
        case .write(let socket, let bytes):
            if let visitor = members[index].visitors[socket] {
                members[index].visitors[socket]?.told += bytes.count
                members[index].visitors[socket]?.turnAt = visitor.turnAt ?? now.monotonic + choices.span(.zero, .milliseconds(20))
                return
            }
            guard let number = wireOf[EndPoint(member: index, socket: socket)] else { return fail("\(name(index)) writes to the socket \(socket), which it has closed") }
            guard let wire = wires[number], case let end = wire.end(of: index, socket), !wire.isOver[end] else { return }
            wires[number]?.flows[end].waiting += bytes
            schedule(number, end)
            let waiting = wires[number]?.flows[end].waiting.count ?? 0
            if waiting > members[index].settings.connection.writeQueueBytes + (128 << 10) { fail("\(name(index)) has \(waiting) bytes waiting for one socket", .bound) }
        case .close(let socket):
            if members[index].visitors.remove(socket) != nil { return }
            guard let number = wireOf.removeValue(forKey: EndPoint(member: index, socket: socket)) else { return fail("\(name(index)) closes the socket \(socket) twice") }
            guard let wire = wires[number], case let end = wire.end(of: index, socket), !wire.isOver[end] else { return }
            wires[number]?.isOver[end] = true
            if wire.isStanding { endFlow(number, from: end) } else { wires[number] = nil }
        }
    }

    private mutating func begin(_ end: EndPoint, _ address: Multiaddr) {
        if let wanted = address.peerID.flatMap(member), let at = members[end.member].refused[wanted]?[address.withoutPeer], at + members[end.member].settings.backOffBase > now.monotonic {
            fail("\(name(end.member)) dials \(address) again, which has just refused it")
        }
        lastWire += 1
        lastInbound += 1
        let target = members.firstIndex { $0.address == address.withoutPeer || $0.address.carrying(.webSocket) == address.withoutPeer }
        let other = EndPoint(member: target ?? -1, socket: .inbound(lastInbound))
        var wire = Wire(ends: [end, other], address: address.withoutPeer, target: address.peerID, pieceBytes: [60, 1500, 16 << 10, 70_000][choices.below(4)], beganAt: now.monotonic)
        if address.withoutPeer != HostDrill.blackHole { wire.connectAt = now.monotonic + choices.span(.milliseconds(1), .milliseconds(20)) }
        wires[lastWire] = wire
        wireOf[end] = lastWire
    }

    private mutating func connect(_ number: Int) {
        guard let wire = wires[number] else { return }
        wires[number]?.connectAt = nil
        let (dialler, listener) = (wire.ends[0], wire.ends[1])
        guard listener.member >= 0, members[listener.member].downUntil == nil else {
            (wires[number], wireOf[dialler]) = (nil, nil)
            let isDialled = wire.isOver[0] ? nil : wire.target.flatMap(member)
            // Attempts of a dial that is over leave nothing behind.
            if let other = isDialled, let dial = members[dialler.member].dials[other], dial.at <= wire.beganAt { members[dialler.member].refused[other, default: [:]][wire.address] = now.monotonic }
            tell(dialler.member, .connectFailed(dialler.socket, reason: "connection refused"))
            if let other = isDialled, members[dialler.member].dials[other] != nil, !isTrying(dialler.member, members[other].host.me) {
                fail("\(name(dialler.member)) dials \(name(other)), and neither tries another address nor gives up")
            }
            return
        }
        wires[number]?.isStanding = true
        wireOf[listener] = number
        let carrier = wire.address.carrier ?? .tcp
        tell(listener.member, .accepted(listener.socket, remote: HostDrill.address("/ip4/10.0.0.\(dialler.member + 1)/tcp/\(40_000 + number)").carrying(carrier)))
        tell(dialler.member, .connected(dialler.socket, remote: wire.address))
    }

    private mutating func schedule(_ number: Int, _ from: Int) {
        guard let wire = wires[number], wire.flows[from].moveAt == nil else { return }
        wires[number]?.flows[from].moveAt = now.monotonic + choices.span(.zero, .milliseconds(wire.pieceBytes < 1000 ? 2 : 20))
    }

    /// What was written before still goes.
    private mutating func endFlow(_ number: Int, from end: Int) {
        wires[number]?.flows[end].isEnded = true
        schedule(number, end)
        if wires[number]?.isOver == [true, true] { wires[number] = nil }
    }

    private mutating func endSocket(_ number: Int, _ end: Int, _ reason: String) {
        guard let wire = wires[number], !wire.isOver[end] else { return }
        wires[number]?.isOver[end] = true
        if wires[number]?.isOver == [true, true] { wires[number] = nil }
        tell(wire.ends[end].member, .closed(wire.ends[end].socket, reason: reason))
    }

    /// One piece, or the end.
    private mutating func move(_ number: Int, _ from: Int) {
        guard let wire = wires[number], case let flow = wire.flows[from] else { return }
        wires[number]?.flows[from].moveAt = nil
        if flow.waiting.isEmpty {
            if flow.isEnded, wire.lostAt == nil { endSocket(number, 1 - from, "EOF") }
            return
        }
        // Of much that waits, more goes at once, so that the time of a transfer is not that of its bytes.
        var count = min(flow.waiting.count, 1 + choices.below(max(wire.pieceBytes, flow.waiting.count / 8)))
        if wire.lostAt != nil {
            count = min(count, HostDrill.systemBytes - flow.swallowed)
            if count == 0 { return }
            wires[number]?.flows[from].swallowed += count
        }
        var piece = Bytes(flow.waiting[..<count])
        wires[number]?.flows[from].waiting.removeFirst(count)
        wires[number]?.flows[from].moved += count
        if wire.isToBeSpoilt {
            wires[number]?.isToBeSpoilt = false
            // Of how two WebSockets agree, not every byte counts.
            if flow.moved > HostDrill.agreementBytes { wires[number]?.spoiltAt = now.monotonic }
            // Of what begins a message, its length perhaps, as often as of all else.
            piece[choices.below(choices.chance(1, in: 2) ? min(count, 2) : count)] ^= UInt8(1 << choices.below(8))
        }
        schedule(number, from)
        let (writer, reader) = (wire.ends[from], wire.ends[1 - from])
        if !wire.isOver[from] { tell(writer.member, .written(writer.socket, count)) }
        if wire.lostAt != nil { return }
        if wire.isOver[1 - from] { return endSocket(number, from, "connection reset by peer") }
        tell(reader.member, .received(reader.socket, piece))
    }

    // MARK: At rest

    /// No more faults, everybody is back and takes what comes: after a while all has come, and both ends of all agree.
    private mutating func rest() {
        if isTight, faultsInHundred > 0, choices.chance(1, in: 2) { makeRoom() }
        say("rests")
        releaseAll()
        let busy = busyPairs(HostDrill.littleBytes)
        pass(HostDrill.promptTime)
        checkStreams { !$0.mayBreak && !busy.contains($0.pair) }
        pass(HostDrill.soundTime - HostDrill.promptTime)
        checkStreams { !$0.mayBreak }
        let mutterer = mutterer()
        for _ in 0...HostDrill.restTime.nanoseconds / HostDrill.mutterTime.nanoseconds {
            mutterer.map { mutter($0) }
            pass(HostDrill.mutterTime)
        }
        guard failure == nil else { return }
        for (number, wire) in wires {
            guard let since = wire.lostAt ?? wire.spoiltAt, since + HostDrill.restTime <= now.monotonic else { continue }
            for end in [0, 1] where !wire.isOver[end] { fail("\(name(wire.ends[end].member)) has not given up the wire \(number), by which nothing comes") }
        }
        for index in members.indices {
            if let (socket, _) = members[index].visitors.first { fail("\(name(index)) still has the visitor at \(socket)") }
            compare(index)
        }
        checkStreams { _ in true }
        checkCounts()
        if wires.allSatisfy({ $0.value.isStanding && $0.value.isOver == [false, false] && !$0.value.isToBeSpoilt }) { broken.removeAll() }
        restedAt = now.monotonic
        say("at rest: \(streams.count) streams, \(wires.count) wires")
    }

    /// Of two that have several connections the first ends, with its streams, and what changes before or then is to be told over the
    /// others. They may have been refused all by then, as there was no room.
    private mutating func makeRoom() {
        let up = choices.permuted(members.indices.filter { members[$0].downUntil == nil })
        if up.count > 1, !members[up[0]].connected.contains(up[1]) {
            for (index, target) in [(up[0], up[1]), (up[1], up[0])] {
                dial(index, target)
                openStreams(index, to: target)
            }
            pass(.seconds(2))
        }
        guard let first = soundWires.first(where: { number in wires[number].map { wireCount($0.ends[0].member, $0.ends[1].member) > 1 } ?? false }), let ends = wires[first]?.ends else { return }
        let isChangedFirst = choices.chance(1, in: 2)
        if !isChangedFirst { cut(first) }
        pass(.seconds(1))
        for end in ends where members[end.member].downUntil == nil { serve(end.member) }
        pass(.seconds(1))
        if isChangedFirst { cut(first) }
    }

    /// Who says a little now and then, so that the other sides need not ask whether it is there. At times it has just got a message that may
    /// not be whole, and hears no other: it is to notice all the same (drill of seed 5007160).
    private mutating func mutterer() -> Int? {
        guard choices.chance(1, in: 2) else { return nil }
        guard faultsInHundred > 0, let ends = spoil()?.ends, case let from = choices.below(2) else { return choices.below(members.count) }
        mutter(ends[from].member)
        return ends[1 - from].member
    }

    private mutating func compare(_ index: Int) {
        let (member, host) = (members[index], members[index].host)
        for (other, peer) in members.enumerated() where other != index {
            if host.isConnected(peer.host.me) != member.connected.contains(other) { fail("\(name(index)) has not said whether it is connected to \(name(other))") }
            if member.connected.contains(other) != peer.connected.contains(index) { fail("\(name(member.connected.contains(other) ? other : index)) does not know that it is connected to \(name(member.connected.contains(other) ? index : other))") }
            guard member.connected.contains(other) else { continue }
            guard let introduction = member.introductions[other] else { fail("\(name(index)) has not been introduced to \(name(other))"); continue }
            // Where there is no room for another stream questions and pushes are refused.
            guard inboundCount(index, from: other) < member.settings.resources.inboundStreamsPerPeer, inboundCount(other, from: index) < peer.settings.resources.inboundStreamsPerPeer else { continue }
            if case let told = introduction.protocols.filter(HostDrill.protocols.contains), told != peer.serves { fail("\(name(index)) thinks that \(name(other)) serves \(told), which serves \(peer.serves)") }
            if host.signedRecord(of: peer.host.me) == nil { fail("\(name(index)) has not been given the signed addresses of \(name(other))") }
            if introduction.listenAddresses.first != peer.address { fail("\(name(index)) does not know where \(name(other)) listens: \(introduction.listenAddresses)") }
        }
        let open = wires.count { _, wire in [0, 1].contains { wire.ends[$0].member == index && !wire.isOver[$0] } }
        if host.socketCount != open || host.connectionCount != open { fail("\(name(index)) counts \(host.socketCount) sockets and \(host.connectionCount) connections, of \(open)") }
        if let (other, _) = member.dials.first { fail("\(name(index)) still dials \(name(other))") }
        if let marks = member.settings.watermarks, open >= marks.high, member.crowdedAt + marks.checkInterval + .milliseconds(1) < now.monotonic {
            fail("\(name(index)) has \(open) connections, and does not ask whom it can do without")
        }
        let live = streams.reduce(0) { $0 + $1.ends.count { $0.member == index && $0.id != nil && !$0.isOver } }
        if host.windowBytes < live * (256 << 10) || host.windowBytes > live * Int(member.settings.connection.receiveWindowLimit) { fail("\(name(index)) counts windows of \(host.windowBytes) bytes, for \(live) streams", .bound) }
    }
}
