// Bytes by protocol: nothing is counted twice, lost, or remembered for ever.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import Testing

@Suite struct TrafficTests {
    private let peer = PeerID(Multihash.sha2_256(of: [7]))
    private let a = StreamID(owner: 1, number: 1)
    private let b = StreamID(owner: 0, number: 1)
    private func at(_ milliseconds: Int64) -> Instant { .origin + .milliseconds(milliseconds) }

    @Test func bytesSentBeforeTheProtocolIsKnownAreCountedWhenItIs() {
        var traffic = Traffic()
        traffic.onEffect(.open(a, to: peer, protocols: ["/new", "/old"]), now: at(0))
        traffic.onEffect(.send(a, Bytes(repeating: 1, count: 10)), now: at(0))
        #expect(traffic.report(at: at(0)).isEmpty)
        traffic.onEvent(.opened(a, protocol: "/old"), now: at(1))
        traffic.onEffect(.send(a, [1, 2]), now: at(2))
        traffic.onEvent(.received(a, [1, 2, 3]), now: at(3))
        traffic.onEvent(.incoming(b, from: peer, protocol: "/new"), now: at(4))
        traffic.onEvent(.received(b, [9]), now: at(4))
        let report = traffic.report(at: at(5))
        #expect(report.map(\.name) == ["/new", "/old"])
        #expect(report.map(\.totalIn) == [1, 3])
        #expect(report.map(\.totalOut) == [0, 12])
    }

    @Test func streamsAreForgottenWhenBothSidesHaveEnded() {
        var traffic = Traffic()
        traffic.onEffect(.open(a, to: peer, protocols: ["/p"]), now: at(0))
        traffic.onEvent(.incoming(b, from: peer, protocol: "/p"), now: at(0))
        traffic.onEffect(.closeWrite(a), now: at(0))
        traffic.onEvent(.remoteClosed(b), now: at(0))
        #expect(traffic.streamCount == 2)
        traffic.onEvent(.opened(a, protocol: "/p"), now: at(0))
        traffic.onEvent(.remoteClosed(a), now: at(0))
        #expect(traffic.streamCount == 1)
        traffic.onEffect(.reset(b), now: at(0))
        #expect(traffic.streamCount == 0)
        traffic.onEvent(.received(b, [1]), now: at(0))
        #expect(traffic.report(at: at(1)).allSatisfy { $0.totalIn == 0 })
    }

    @Test func ratesFollowWhatPassesAndDieAway() throws {
        var traffic = Traffic()
        traffic.onEvent(.incoming(b, from: peer, protocol: "/p"), now: at(0))
        for millisecond in 0..<20_000 { traffic.onEvent(.received(b, [1, 2]), now: at(Int64(millisecond))) }
        let busy = try #require(traffic.report(at: at(20_000)).first)
        #expect(busy.totalIn == 40_000 && abs(busy.rateIn - 2000) < 1 && busy.rateOut == 0)
        let oneLater = try #require(traffic.report(at: at(21_000)).first)
        #expect(abs(oneLater.rateIn - 2000 / 2.718281828) < 1)
        #expect(try #require(traffic.report(at: at(3_600_000)).first).rateIn == 0)
    }
}
