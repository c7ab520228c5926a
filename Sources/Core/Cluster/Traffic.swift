// What passes over the peer's streams, by protocol: totals and rates as libp2p's bandwidth counter has them. REST-178.

import Kernel
import Pinset
import Seams

package struct Traffic: Sendable {
    /// A stream that bytes may still pass. What is sent before the protocol is agreed upon is counted when it is.
    private struct Passing: Sendable {
        var proto: String?
        var waitingOut: Int64 = 0
        var localEnded = false
        var remoteEnded = false
    }

    /// An exponential moving average over bytes a second, brought up to date when it is looked at.
    private struct Meter: Sendable {
        private(set) var total: Int64 = 0
        private var rate = 0.0
        /// Bytes of the second that has not ended.
        private var fresh: Int64 = 0
        private var begun: Instant
        /// What is left of a rate after a second without bytes: 1/e.
        private static let decay = 0.367_879_441_171_442_33

        init(at now: Instant) { begun = now }

        mutating func add(_ count: Int64, at now: Instant) {
            advance(to: now)
            total += count
            fresh += count
        }

        mutating func rate(at now: Instant) -> Double {
            advance(to: now)
            return rate
        }

        private mutating func advance(to now: Instant) {
            let seconds = (now - begun).nanoseconds / Span.seconds(1).nanoseconds
            guard seconds > 0 else { return }
            rate = rate == 0 ? Double(fresh) : rate * Meter.decay + Double(fresh) * (1 - Meter.decay)
            fresh = 0
            begun = begun + .seconds(seconds)
            for _ in 1..<max(min(seconds, 64), 1) { rate *= Meter.decay }
            if rate < 0.01 { rate = 0 }
        }
    }

    private var streams = SortedMap<StreamID, Passing>()
    private var meters = SortedMap<String, (inward: Meter, outward: Meter)>()

    package init() {}

    /// Streams that are followed; none of those that are over.
    package var streamCount: Int { streams.count }

    package mutating func onEffect(_ effect: StreamEffect, now: Instant) {
        switch effect {
        case .open(let stream, _, _): streams[stream] = Passing()
        case .send(let stream, let bytes): sent(stream, Int64(bytes.count), now)
        case .closeWrite(let stream): end(stream) { $0.localEnded = true }
        case .reset(let stream): streams[stream] = nil
        case .hold: break
        }
    }

    package mutating func onEvent(_ event: StreamEvent, now: Instant) {
        switch event {
        case .opened(let stream, let proto):
            guard let waiting = streams[stream]?.waitingOut else { return }
            streams[stream]?.proto = proto
            count(proto, now) { $0.outward.add(waiting, at: now) }
        case .incoming(let stream, _, let proto): streams[stream] = Passing(proto: proto)
        case .received(let stream, let bytes):
            guard let proto = streams[stream]?.proto else { return }
            count(proto, now) { $0.inward.add(Int64(bytes.count), at: now) }
        case .remoteClosed(let stream): end(stream) { $0.remoteEnded = true }
        case .failed(let stream, _), .reset(let stream): streams[stream] = nil
        case .drained: break
        }
    }

    /// By protocol, in order of the names.
    package mutating func report(at now: Instant) -> [ProtocolBandwidth] {
        meters.keys.map { name in
            var out = ProtocolBandwidth(name: name)
            count(name, now) { meter in
                (out.totalIn, out.totalOut) = (meter.inward.total, meter.outward.total)
                (out.rateIn, out.rateOut) = (meter.inward.rate(at: now), meter.outward.rate(at: now))
            }
            return out
        }
    }

    private mutating func sent(_ stream: StreamID, _ bytes: Int64, _ now: Instant) {
        guard let passing = streams[stream] else { return }
        guard let proto = passing.proto else {
            streams[stream]?.waitingOut += bytes
            return
        }
        count(proto, now) { $0.outward.add(bytes, at: now) }
    }

    private mutating func count(_ proto: String, _ now: Instant, _ body: (inout (inward: Meter, outward: Meter)) -> Void) {
        body(&meters[proto, default: (Meter(at: now), Meter(at: now))])
    }

    private mutating func end(_ stream: StreamID, _ change: (inout Passing) -> Void) {
        guard var passing = streams[stream] else { return }
        change(&passing)
        streams[stream] = passing.localEnded && passing.remoteEnded ? nil : passing
    }
}
