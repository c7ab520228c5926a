// Who is alive and how they are: the latest metric of each kind from each peer, and alerts when one stops coming.
// spec/tracker-allocator-monitor.md PSM-01..13, CLU-30, CRDT-125.

import Encoding
import Kernel
import Multiformats
import Pinset

package struct MonitorSettings: Sendable {
    package var checkInterval = Span.seconds(15)
    /// PSM-09: an alert is repeated after this many checks.
    package var realertChecks = 300
    package var metricNamesMax = 1000
    package var peersMax = 10_000
    package var valueBytesMax = 64 << 10
    package var alertsMax = 1000
    package init() {}
}

package struct Monitor: Sendable {
    package static let topic = "monitor.metrics"

    private let settings: MonitorSettings
    private var latest = SortedMap<String, SortedMap<PeerID, Metric>>()
    /// Checks since the alert of an episode, by metric name and peer.
    private var episodes = SortedMap<String, SortedMap<PeerID, Int>>()
    private var checkAt: Instant?
    /// Newest last.
    private var recorded: [Alert] = []

    package init(settings: MonitorSettings) { self.settings = settings }

    package var names: [String] { latest.keys }

    /// PSM-01, PSM-03: a metric from the topic. Nil if it cannot be read.
    package static func decode(_ payload: Bytes) -> Metric? {
        if let metric = try? Metric(messagePack: payload) { return metric }
        let legacy = Bytes([9] + "/msgpack\n".utf8)
        guard payload.starts(with: legacy) else { return nil }
        return try? Metric(messagePack: payload.dropFirst(legacy.count))
    }

    /// What had run out before it came was published before what counts now, or by a clock that is far behind: somebody who is heard is
    /// not lost for that.
    package mutating func onMetric(_ metric: Metric, now: Now) {
        guard metric.value.utf8.count <= settings.valueBytesMax,
            latest[metric.name] != nil || latest.count < settings.metricNamesMax,
            latest[metric.name]?[metric.peer] != nil || (latest[metric.name]?.count ?? 0) < settings.peersMax
        else { return }
        if metric.isExpired(at: now.wall), latest[metric.name]?[metric.peer]?.counts(at: now.wall) == true { return }
        var metric = metric
        metric.receivedAt = now.wall.unixNanoseconds
        latest[metric.name, default: SortedMap()][metric.peer] = metric
        if metric.counts(at: now.wall) { episodes[metric.name]?[metric.peer] = nil }
    }

    /// CLU-44: who has added this peer is alive, whatever it has published so far.
    package mutating func onJoined(_ peer: PeerID, ttl: Span, now: Now) {
        guard latest("ping", of: peer)?.counts(at: now.wall) != true else { return }
        var metric = Metric(name: "ping", peer: peer)
        (metric.isValid, metric.expire) = (true, (now.wall + ttl).unixNanoseconds)
        onMetric(metric, now: now)
    }

    /// PSM-06: what counts now, by peer.
    package func latest(_ name: String, now: Now) -> [Metric] {
        (latest[name]?.values ?? []).filter { $0.counts(at: now.wall) }
    }
    /// PSM-07: may have expired.
    package func latest(_ name: String, of peer: PeerID) -> Metric? { latest[name]?[peer] }
    /// CRDT-125: the peers whose metric of that name counts.
    package func peers(with name: String, now: Now) -> [PeerID] { latest(name, now: now).map(\.peer) }
    /// Peers that have been heard and whose metric has expired.
    package func silentPeers(_ name: String, now: Now) -> [PeerID] {
        (latest[name]?.values ?? []).filter { $0.isExpired(at: now.wall) }.map(\.peer)
    }

    // MARK: Alerts

    package var nextDeadline: Instant? { checkAt }
    package mutating func start(now: Now) { checkAt = now.monotonic + settings.checkInterval }

    /// PSM-08..12: one alert for each episode in which a metric has run out. Who has been asleep itself hears the others first.
    package mutating func onTime(now: Now) -> [Alert] {
        guard let due = checkAt, due <= now.monotonic else { return [] }
        checkAt = now.monotonic + settings.checkInterval
        guard now.monotonic - due < settings.checkInterval else { return [] }
        var alerts: [Alert] = []
        for (name, metrics) in latest {
            for (peer, metric) in metrics where metric.isExpired(at: now.wall) {
                let checks = episodes[name, default: SortedMap()][peer, default: 0]
                if checks == 0 { alerts.append(Alert(metric: metric, triggeredAt: now.wall)) }
                episodes[name, default: SortedMap()][peer] = checks + 1 >= settings.realertChecks ? 0 : checks + 1
            }
        }
        return alerts
    }

    /// CLU-30; where upstream empties a full list, the oldest go here.
    package mutating func record(_ alert: Alert) {
        recorded.append(alert)
        if recorded.count > settings.alertsMax { recorded.removeFirst(recorded.count - settings.alertsMax) }
    }
    package var alertsNewestFirst: [Alert] { recorded.reversed() }
}
