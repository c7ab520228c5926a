// Calls by peers that may not, that do not end, and that make no sense. Bug zoo: TRUST; RPC-04..17, AUTH-01..04.

import Encoding
import Kernel
import Multiformats
import Pinset
import RPC
import Seams
import TestSupport
import Testing

@Suite struct HostileRPCTests {
    private struct Scene {
        var rpc: RPC
        var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
        let stranger = netPeer(1)
        let friend = netPeer(2)
        private var inbound: UInt64 = 0

        init() { rpc = RPC(settings: RPCSettings(), owner: 1, trust: .only(SortedSet([netPeer(0), netPeer(2)]))) }

        mutating func open(from peer: PeerID) -> StreamID {
            inbound += 1
            let stream = StreamID(owner: 0, number: inbound)
            _ = feed(.incoming(stream, from: peer, protocol: RPC.protocolID))
            return stream
        }
        mutating func feed(_ event: StreamEvent) -> [RPC.Effect] {
            var effects: [RPC.Effect] = []
            rpc.onStream(event, now: now, effects: &effects)
            return effects
        }
        /// What comes of a whole request.
        mutating func call(_ bytes: Bytes, from peer: PeerID) -> [RPC.Effect] {
            let stream = open(from: peer)
            return feed(.received(stream, bytes)) + feed(.reset(stream))
        }
        mutating func expectService() {
            let effects = call(HostileRPCTests.request("PinTracker", "Recover"), from: friend)
            #expect(effects.contains { if case .called = $0 { true } else { false } })
        }
    }

    fileprivate static func request(_ service: String, _ name: String, argument: Bytes = [0xc0]) -> Bytes {
        var writer = MessagePackWriter()
        writer.map(2)
        writer.string("Name")
        writer.string(service)
        writer.string("Method")
        writer.string(name)
        writer.embed(argument)
        return writer.bytes
    }
    private func isCalled(_ effects: [RPC.Effect]) -> Bool { effects.contains { if case .called = $0 { true } else { false } } }

    /// A collection of garbage may tell of millions; of other replies so large none is taken. It comes in pieces that end anywhere.
    @Test(arguments: [("RepoGCLocal", true), ("ID", false)]) func largeReplies(method: String, isTaken: Bool) throws {
        var scene = Scene()
        var effects: [RPC.Effect] = []
        scene.rpc.call(RPCCallID(7), to: scene.friend, RPCMethod("Cluster", method), argument: [0x80], effects: &effects)
        let stream = try #require(effects.lazy.compactMap { if case .stream(.open(let id, _, _)) = $0 { id } else { nil } }.first)
        _ = scene.feed(.opened(stream, protocol: RPC.protocolID))
        var writer = MessagePackWriter()
        writer.array(17_500)
        for number in 0..<17_500 { writer.raw(Bytes(repeating: UInt8(number & 0xff), count: 1000)) }
        let bytes: Bytes = [0x80] + writer.bytes
        var told: [RPC.Effect] = [], cut = 0
        while cut < bytes.count {
            let end = min(cut + (cut < 2500 ? 1 : 60_000), bytes.count)
            told += scene.feed(.received(stream, Bytes(bytes[cut..<end])))
            cut = end
        }
        // Not told in full where it fails.
        let isWhole = told.contains(.reply(RPCCallID(7), writer.bytes)), hasFailed = told.contains { if case .finished(_, .some) = $0 { true } else { false } }
        #expect(isWhole == isTaken && hasFailed != isTaken)
    }

    /// RPC-09: a call that ends before it has said of what is refused, and is over.
    @Test(arguments: [([], "EOF"), ([0x92, 0x01], "unexpected EOF")] as [(Bytes, String)]) func endedWithoutAnArgument(begun: Bytes, told: String) throws {
        var scene = Scene()
        let stream = scene.open(from: scene.friend)
        _ = scene.feed(.received(stream, HostileRPCTests.request("Cluster", "ID", argument: begun)))
        #expect(scene.rpc.openCalls.served == 1)
        let effects = scene.feed(.remoteClosed(stream))
        let answer = effects.compactMap { if case .stream(.send(stream, let bytes)) = $0 { bytes } else { nil } }.flatMap { $0 }
        #expect(String(decoding: answer, as: UTF8.self).contains(told))
        #expect(effects.contains(.cancelled(stream)) && effects.contains(.stream(.closeWrite(stream))))
        #expect(scene.rpc.openCalls.served == 0 && scene.rpc.countedCalls(of: scene.friend) == 0)
        scene.expectService()
    }

    /// Every method, by policy: nobody gets what is closed, and strangers get what is open to all.
    @Test func onlyWhatIsAllowedIsCalled() {
        var scene = Scene()
        for entry in RPCTable.entries {
            let request = Self.request(entry.method.service, entry.method.name)
            #expect(isCalled(scene.call(request, from: scene.stranger)) == (entry.policy == .open), "\(entry.method.text)")
            #expect(isCalled(scene.call(request, from: scene.friend)) == (entry.policy != .closed), "\(entry.method.text)")
        }
        #expect(scene.rpc.servedCount == 0)
    }

    @Test func unknownMethodsAreRefused() {
        var scene = Scene()
        for (service, name) in [("", ""), ("Cluster", ""), ("Cluster", "id"), ("Nobody", "ID"), ("Cluster\0", "ID"), (String(repeating: "x", count: 5000), "ID")] {
            let effects = scene.call(Self.request(service, name), from: scene.friend)
            #expect(!isCalled(effects) && effects.contains { if case .stream(.send) = $0 { true } else { false } })
        }
        #expect(scene.rpc.servedCount == 0)
        scene.expectService()
    }

    @Test func noiseDoesNoHarm() {
        var scene = Scene()
        var choices = Choices(seed: 6)
        let sound = Self.request("Cluster", "ID") + Self.request("Cluster", "IDStream", argument: [0x93, 1, 0xa3, 65, 66, 67, 0xc0])
        for _ in 0..<2000 {
            var bytes = choices.chance(1, in: 4) ? choices.bytes(1 + choices.below(60)) : sound
            for _ in 0...choices.below(4) { bytes[choices.below(bytes.count)] = UInt8(choices.below(256)) }
            let stream = scene.open(from: choices.chance(1, in: 2) ? scene.stranger : scene.friend)
            while !bytes.isEmpty {
                let count = 1 + choices.below(bytes.count)
                _ = scene.feed(.received(stream, Bytes(bytes.prefix(count))))
                bytes.removeFirst(count)
            }
            _ = scene.feed(choices.chance(1, in: 2) ? .remoteClosed(stream) : .reset(stream))
            _ = scene.feed(.reset(stream))
        }
        #expect(scene.rpc.servedCount == 0)
        scene.expectService()
    }

    /// Nested without end, counted without end, long without end: the stream ends, and memory has a bound.
    @Test func endlessValuesEndTheirStream() {
        for start: Bytes in [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], []] {
            var scene = Scene()
            let stream = scene.open(from: scene.stranger)
            var fed = 0
            var isOver = scene.feed(.received(stream, start)).contains(.stream(.reset(stream)))
            while !isOver && fed < 1 << 20 {
                isOver = scene.feed(.received(stream, Bytes(repeating: 0x91, count: 4096))).contains(.stream(.reset(stream)))
                fed += 4096
            }
            #expect(isOver && fed < 200_000, "a stranger was read for \(fed) bytes")
            #expect(scene.rpc.servedCount == 0)
            scene.expectService()
        }
    }

    /// Arguments to what is open to all are small; a trusted peer may send blocks.
    @Test func strangersSendLittle() {
        var scene = Scene()
        let stream = scene.open(from: scene.stranger)
        var effects = scene.feed(.received(stream, Self.request("Cluster", "IDStream") + [0xc6, 0, 0x10, 0, 0]))
        for _ in 0..<17 { effects += scene.feed(.received(stream, Bytes(repeating: 0, count: 4096))) }
        #expect(effects.contains(.stream(.reset(stream))))
        let block = scene.open(from: scene.friend)
        effects = scene.feed(.received(block, Self.request("IPFSConnector", "BlockStream") + [0xc6, 0, 0x10, 0, 0]))
        for _ in 0..<256 { effects += scene.feed(.received(block, Bytes(repeating: 0, count: 4096))) }
        #expect(effects.contains(.argument(block, [0xc6, 0, 0x10, 0, 0] + Bytes(repeating: 0, count: 1 << 20))))
    }

    /// Arguments may come for ever: each is handed on, none is kept.
    @Test func argumentsWithoutEndAreHandedOn() {
        var scene = Scene()
        let stream = scene.open(from: scene.stranger)
        _ = scene.feed(.received(stream, Self.request("Cluster", "IDStream")))
        for _ in 0..<5000 { #expect(scene.feed(.received(stream, [0xc0])) == [.argument(stream, [0xc0])]) }
        #expect(scene.rpc.servedCount == 1)
        scene.expectService()
    }

    @Test func openStreamsAreCountedAndTimedOut() {
        var scene = Scene()
        for _ in 0..<3000 { _ = scene.open(from: scene.stranger) }
        #expect(scene.rpc.servedCount == 1024)
        scene.expectService()  // the friend has a count of its own
        scene.now.monotonic = scene.now.monotonic + .seconds(31)
        var effects: [RPC.Effect] = []
        scene.rpc.onTime(now: scene.now, effects: &effects)
        #expect(scene.rpc.servedCount == 0 && effects.count == 1024)
    }

    /// Replies that make no sense fail the call, once.
    @Test func strangeRepliesFailTheCall() {
        var choices = Choices(seed: 8)
        for _ in 0..<500 {
            var scene = Scene()
            var effects: [RPC.Effect] = []
            scene.rpc.call(RPCCallID(1), to: scene.stranger, RPCMethod("Cluster", "ID"), argument: [0xc0], deadline: scene.now.monotonic + .seconds(5), effects: &effects)
            guard case .stream(.open(let stream, _, _))? = effects.first else { Issue.record("no stream"); return }
            effects = []
            for _ in 0..<4 { effects += scene.feed(.received(stream, choices.bytes(1 + choices.below(30)))) }
            scene.now.monotonic = scene.now.monotonic + .seconds(6)
            scene.rpc.onTime(now: scene.now, effects: &effects)
            effects += scene.feed(.reset(stream))
            #expect(effects.filter { if case .finished = $0 { true } else { false } }.count == 1)
        }
    }
}
