// Who can be reached: asking others, and dialling for them. REL-04.

import AutoNAT
import Encoding
import Kernel
import Multiformats
import Seams
import Testing

private func open(_ number: Int, port: Int = 4001) -> Multiaddr { address("/ip4/8.8.\(number).1/tcp/\(port)") }
private let here = address("/ip4/1.2.3.4/tcp/9096")

/// One peer, and others around it as the test plays them.
private final class Judge {
    var machine: AutoNAT
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var choices = Choices(seed: 1)
    private var inbound: UInt64 = 0
    private(set) var effects: [AutoNAT.Effect] = []

    init(at addresses: [Multiaddr] = [here, address("/ip4/192.168.0.2/tcp/9096")]) {
        machine = AutoNAT(me: netPeer(0), owner: 9, now: now)
        machine.onListening(addresses)
    }
    @discardableResult
    func act(_ body: (inout AutoNAT, Now, inout Choices, inout [AutoNAT.Effect]) -> Void) -> [AutoNAT.Effect] {
        effects = []
        body(&machine, now, &choices, &effects)
        machine.checkInvariants()
        return effects
    }
    func join(_ number: Int, at remote: Multiaddr? = nil, serves: Bool = true, outbound: Bool = true, told: [Multiaddr] = []) {
        let peer = netPeer(number)
        act { machine, now, _, _ in
            machine.onConnected(peer, address: remote ?? open(number), outbound: outbound, now: now)
            machine.onIntroduced(peer, PeerIntroduction(protocols: serves ? [AutoNAT.protocolID] : [], listenAddresses: told))
        }
    }
    @discardableResult
    func feed(_ event: StreamEvent) -> [AutoNAT.Effect] { act { $0.onStream(event, now: $1, choices: &$2, effects: &$3) } }

    /// What happens until then, with when.
    @discardableResult
    func pass(_ span: Span) -> [(at: Span, effect: AutoNAT.Effect)] {
        let end = now.monotonic + span
        var seen: [(Span, AutoNAT.Effect)] = []
        while let due = machine.nextDeadline, due <= end {
            now.monotonic = max(due, now.monotonic)
            for effect in act({ $0.onTime(now: $1, choices: &$2, effects: &$3) }) { seen.append((now.monotonic - .origin, effect)) }
        }
        now.monotonic = end
        return seen
    }

    // As one who asks.
    func ask(_ number: Int, _ request: AutoNATMessage.Request?) -> StreamID {
        let stream = openStream(number)
        feed(.received(stream, AutoNATMessage(request: request).frame))
        return stream
    }
    func ask(_ number: Int, _ addresses: [Multiaddr] = []) -> StreamID {
        ask(number, AutoNATMessage.Request(peer: netPeer(number).bytes, addresses: addresses.map(\.bytes)))
    }
    func openStream(_ number: Int) -> StreamID {
        inbound += 1
        let stream = StreamID(owner: 0, number: inbound)
        feed(.incoming(stream, from: netPeer(number), protocol: AutoNAT.protocolID))
        return stream
    }
    func answer(on stream: StreamID) -> AutoNATMessage.Response? {
        for case .stream(.send(stream, let bytes)) in effects {
            var reader = FrameReader(limitBytes: 4096)
            reader.append(bytes)
            return (try? reader.next()).flatMap { try? AutoNATMessage(decoding: $0) }?.response
        }
        return nil
    }
    var dialled: [(number: UInt64, peer: PeerID, addresses: [Multiaddr])] {
        effects.compactMap { if case .dialBack(let number, let peer, let addresses) = $0 { (number, peer, addresses) } else { nil } }
    }

    // As one who is asked.
    /// The next question, and when it comes.
    func asked(within span: Span) -> (at: Span, stream: StreamID, peer: PeerID)? {
        let end = now.monotonic + span
        while let due = machine.nextDeadline, due <= end {
            now.monotonic = max(due, now.monotonic)
            act { $0.onTime(now: $1, choices: &$2, effects: &$3) }
            for case .stream(.open(let stream, let peer, [AutoNAT.protocolID])) in effects { return (now.monotonic - .origin, stream, peer) }
        }
        return nil
    }
    func reply(_ stream: StreamID, _ status: AutoNATMessage.Status?) -> [AutoNAT.Effect] {
        // Of no kind that is known: 77.
        let bytes = status.map { AutoNATMessage(response: AutoNATMessage.Response($0, address: here.bytes)).frame } ?? framed([0x08, 1, 0x1a, 2, 0x08, 77])
        return feed(.received(stream, bytes))
    }
    var changes: [Reachability] { effects.compactMap { if case .changed(let new) = $0 { new } else { nil } } }
}

@Suite struct AutoNATMessageTests {
    /// As go-libp2p v0.48.0 writes them.
    @Test func theyAreWrittenAsUpstreamDoes() throws {
        let request = AutoNATMessage(request: AutoNATMessage.Request(peer: [1, 2], addresses: [[4, 1, 2, 3, 4], []]))
        #expect(hex(request.encoded) == "0800120f0a0d0a020102120504010203041200")
        let answer = AutoNATMessage(response: AutoNATMessage.Response(.ok, address: [4, 1, 2, 3, 4]))
        #expect(hex(answer.encoded) == "08011a0908001a050401020304")
        let refusal = AutoNATMessage(response: AutoNATMessage.Response(.refused, text: "no"))
        #expect(hex(refusal.encoded) == "08011a06086512026e6f")
        for message in [request, answer, refusal, AutoNATMessage(request: nil)] { #expect(try AutoNATMessage(decoding: message.encoded[...]) == message) }
        #expect(try AutoNATMessage(decoding: [0x08, 1, 0x1a, 2, 0x08, 77]).response == AutoNATMessage.Response(nil))
        #expect(throws: AutoNATFault.self) { try AutoNATMessage(decoding: [0x08, 2]) }
    }
}

@Suite struct AutoNATServerTests {
    @Test func whoAsksIsDialledAndTold() {
        let judge = Judge()
        judge.join(1)
        let stream = judge.ask(1, [open(1, port: 9096), open(1)])
        #expect(judge.dialled.map(\.peer) == [netPeer(1)] && judge.dialled.map(\.addresses) == [[open(1), open(1, port: 9096)]])
        let number = judge.dialled[0].number
        judge.act { $0.onDialledBack(number, open(1, port: 9096), now: $1, effects: &$3) }
        #expect(judge.answer(on: stream) == AutoNATMessage.Response(.ok, address: open(1, port: 9096).bytes))
        #expect(judge.effects.contains(.stream(.closeWrite(stream))))
        judge.feed(.remoteClosed(stream))
        #expect(judge.machine.servedCount == 0 && judge.machine.dialsUnderWay == 0)
    }

    @Test func aStreamThatEndsWithoutAQuestionIsNotHeld() {
        let judge = Judge()
        judge.join(1)
        let stream = judge.openStream(1)
        judge.feed(.received(stream, [5, 8]))
        judge.feed(.remoteClosed(stream))
        #expect(judge.effects.contains(.stream(.reset(stream))) && judge.machine.servedCount == 0)
    }

    /// Only where it speaks from: nobody has others dialled.
    @Test func nobodyElseIsDialled() {
        let judge = Judge()
        judge.join(1)
        _ = judge.ask(1, [
            open(7), address("/ip4/10.0.0.1/tcp/22"), address("/ip6/2606:4700::1/tcp/80"), address("/dns4/example.org/tcp/80"),
            address("/ip4/8.8.7.1/tcp/1/p2p-circuit"), address("/ip4/127.0.0.1/tcp/5001"), open(1),
        ])
        #expect(judge.dialled.map(\.addresses) == [[open(1), open(1, port: 22), open(1, port: 80), open(1, port: 5001)]])
        judge.join(2)
        _ = judge.ask(2, (0..<100).map { open(2, port: 1000 + $0) })
        #expect(judge.dialled.map(\.addresses.count) == [16])
    }

    @Test func noAddressOfOneNetworkIsDialled() {
        let judge = Judge()
        for (number, remote) in ["/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/1.2.3.4/tcp/77", "/ip6/fc00::1/tcp/1", "/ip4/8.8.8.8/tcp/1/p2p-circuit"].enumerated() {
            judge.join(1 + number, at: address(remote))
            let stream = judge.ask(1 + number, [open(3)])
            #expect(judge.dialled.isEmpty && judge.answer(on: stream)?.status == .refused, "\(remote)")
        }
    }

    @Test func whatMakesNoSenseIsRefused() {
        let judge = Judge()
        judge.join(1)
        var stream = judge.ask(1, AutoNATMessage.Request(peer: netPeer(2).bytes, addresses: []))
        #expect(judge.answer(on: stream) == AutoNATMessage.Response(.badRequest, text: "peer id mismatch") && judge.dialled.isEmpty)
        judge.feed(.remoteClosed(stream))
        stream = judge.ask(1, AutoNATMessage.Request(peer: [1, 2, 3], addresses: []))
        #expect(judge.answer(on: stream)?.status == .badRequest)
        judge.feed(.remoteClosed(stream))
        stream = judge.ask(1, nil as AutoNATMessage.Request?)
        #expect(judge.answer(on: stream) == AutoNATMessage.Response(.badRequest, text: "missing peer info"))
        judge.feed(.remoteClosed(stream))
        // It need not say who it is.
        stream = judge.ask(1, AutoNATMessage.Request(peer: nil, addresses: []))
        #expect(judge.dialled.map(\.addresses) == [[open(1)]])
        judge.feed(.reset(stream))
        for bytes in [framed([0xff, 0xff]), AutoNATMessage(response: AutoNATMessage.Response(.ok)).frame, [0xff, 0xff, 0x7f], framed(Bytes(repeating: 0, count: 4097))] {
            stream = judge.openStream(1)
            #expect(judge.feed(.received(stream, bytes)).contains(.stream(.reset(stream))))
        }
        #expect(judge.machine.servedCount == 0 && judge.machine.dialsUnderWay == 0)
    }

    /// A dial that fails says so when its time is over, and not before: otherwise it would tell which ports are open.
    @Test func aFailureTakesAsLongAsItMay() {
        let judge = Judge()
        judge.join(1)
        let stream = judge.ask(1)
        let number = judge.dialled[0].number
        #expect(judge.act { $0.onDialledBack(number, nil, now: $1, effects: &$3) }.isEmpty)
        #expect(judge.pass(.seconds(14)).isEmpty)
        let seen = judge.pass(.seconds(2))
        #expect(seen.contains { $0.at == .seconds(15) && $0.effect == .stream(.send(stream, AutoNATMessage(response: AutoNATMessage.Response(.dialError, text: "dial failed")).frame)) })
        // Too late.
        #expect(judge.act { $0.onDialledBack(number, open(1), now: $1, effects: &$3) }.isEmpty)
    }

    @Test func limitsAreKept() {
        let judge = Judge()
        judge.join(1)
        for _ in 0..<3 { judge.feed(.reset(judge.ask(1))) }
        var stream = judge.ask(1)
        #expect(judge.answer(on: stream) == AutoNATMessage.Response(.refused, text: "too many dials"))
        judge.feed(.remoteClosed(stream))
        for number in 2..<40 {
            judge.join(number)
            stream = judge.ask(number)
            #expect((judge.dialled.count == 1) == (number <= 28), "\(number)")
            judge.feed(.reset(stream))
        }
        judge.pass(.seconds(75))
        stream = judge.ask(1)
        #expect(judge.dialled.count == 1)
        // Streams: two of each, and a minute for each of them.
        _ = judge.openStream(1)
        let third = judge.openStream(1)
        #expect(judge.effects.contains(.stream(.reset(third))) && judge.machine.servedCount == 2)
        judge.pass(.minutes(2))
        #expect(judge.machine.servedCount == 0 && judge.machine.dialsUnderWay == 0)
    }
}

@Suite struct AutoNATClientTests {
    @Test func whoeverIsPublicIsAskedAndItsAnswerBelieved() {
        let judge = Judge()
        judge.join(1)
        let first = judge.asked(within: .seconds(20))
        #expect(first?.at == .seconds(15) && first?.peer == netPeer(1))
        guard let stream = first?.stream else { return }
        #expect(judge.reply(stream, .ok).contains(.changed(.open)) && judge.machine.reachability == .open && judge.machine.serves)
        // Until it is sure of it, every 90 s; then every 15 min.
        var times: [Span] = []
        for _ in 0..<5 {
            guard let next = judge.asked(within: .minutes(15)) else { break }
            times.append(next.at)
            _ = judge.reply(next.stream, .ok)
            #expect(judge.changes.isEmpty)
        }
        #expect(times == [105, 195, 285, 1185, 2085].map { Span.seconds($0) })
    }

    @Test func itTakesMoreToBeClosedThanToBeOpen() {
        let judge = Judge()
        judge.join(1)
        func next(_ status: AutoNATMessage.Status?) -> [Reachability] {
            guard let asked = judge.asked(within: .minutes(31)) else { Issue.record("nobody was asked"); return [] }
            _ = judge.reply(asked.stream, status)
            return judge.changes
        }
        #expect(next(.dialError) == [.closed] && !judge.machine.serves)
        judge.feed(.incoming(StreamID(owner: 0, number: 99), from: netPeer(1), protocol: AutoNAT.protocolID))
        #expect(judge.effects == [.stream(.reset(StreamID(owner: 0, number: 99)))])
        #expect(next(.ok) == [.open] && judge.machine.serves)
        for _ in 0..<2 { #expect(next(.ok).isEmpty) }
        for _ in 0..<2 { #expect(next(.dialError).isEmpty) }
        #expect(next(.dialError) == [.closed])
        #expect(next(.internalError) == [.unknown])
        #expect(next(nil).isEmpty && judge.machine.reachability == .unknown)
    }

    /// In a cluster of one network nobody is asked, and nobody wakes for it.
    @Test func inOneNetworkNobodyIsAsked() {
        let judge = Judge()
        judge.join(1, at: address("/ip4/10.0.0.7/tcp/9096"))
        judge.join(2, at: address("/ip4/127.0.0.1/tcp/9096"))
        judge.join(3, serves: false)
        judge.join(4, at: address("/ip4/1.2.3.4/tcp/5000"))  // behind the same address
        judge.join(5, at: address("/dns4/example.org/tcp/9096"))
        #expect(judge.machine.nextDeadline == nil)
        judge.join(6, at: address("/ip4/10.0.0.8/tcp/9096"), told: [open(6)])
        #expect(judge.machine.nextDeadline == .origin + .seconds(15))
        judge.act { machine, _, _, _ in machine.onDisconnected(netPeer(6)) }
        #expect(judge.machine.nextDeadline == nil)
    }

    @Test func whoDoesNotWantToIsFollowedByAnother() {
        let judge = Judge()
        judge.join(1)
        judge.join(2)
        var asked: Set<PeerID> = []
        for _ in 0..<12 {
            guard let next = judge.asked(within: .seconds(20)) else { break }
            asked.insert(next.peer)
            _ = judge.reply(next.stream, .refused)
            #expect(judge.changes.isEmpty)
        }
        #expect(asked == [netPeer(1), netPeer(2)] && judge.machine.reachability == .unknown)
    }

    @Test func silenceAndNonsenseSayNothing() {
        let judge = Judge()
        judge.join(1)
        let first = judge.asked(within: .seconds(15))
        guard let stream = first?.stream else { Issue.record("nobody was asked"); return }
        #expect(judge.pass(.seconds(30)).contains { $0.effect == .stream(.reset(stream)) } && judge.machine.probeCount == 0)
        for event in [
            { StreamEvent.received($0, framed([8, 9])) }, { .received($0, AutoNATMessage(request: nil).frame) }, { .failed($0, reason: "no") },
            { .reset($0) }, { .remoteClosed($0) }, { .received($0, Bytes(repeating: 0xff, count: 20)) },
        ] as [(StreamID) -> StreamEvent] {
            guard let next = judge.asked(within: .seconds(120)) else { Issue.record("nobody was asked"); return }
            judge.feed(event(next.stream))
            #expect(judge.machine.probeCount == 0 && judge.changes.isEmpty && judge.machine.reachability == .unknown)
        }
    }

    @Test func onlyPublicAddressesAreTold() throws {
        let judge = Judge()
        judge.join(1)
        _ = judge.asked(within: .seconds(15))
        var told: [AutoNATMessage] = []
        for case .stream(.send(_, let bytes)) in judge.effects {
            var reader = FrameReader(limitBytes: 4096)
            reader.append(bytes)
            if let frame = try reader.next() { told.append(try AutoNATMessage(decoding: frame)) }
        }
        #expect(told == [AutoNATMessage(request: AutoNATMessage.Request(peer: netPeer(0).bytes, addresses: [here.bytes]))])
    }
}
