// Metrics run out, alerts come once an episode, and clocks that jump do no lasting harm. PSM-06..12, INF-01..12.

import Kernel
import Monitoring
import Multiformats
import Pinset
import TestSupport
import Testing

private let start = WallTime(seconds: 1_700_000_000)

@Suite struct MonitorTests {
    private var now = Now(monotonic: .origin, wall: start)
    private var monitor = Monitor(settings: MonitorSettings())

    init() { monitor.start(now: now) }

    private mutating func hear(_ peer: UInt8, _ name: String = "ping", ttl: Span = .seconds(30), isValid: Bool = true) {
        var metric = Metric(name: name, peer: testPeer(peer))
        metric.isValid = isValid
        metric.expire = (now.wall + ttl).unixNanoseconds
        monitor.onMetric(metric, now: now)
    }
    /// Time passes in small steps. All alerts on the way.
    private mutating func pass(_ span: Span, step: Span = .seconds(1)) -> [Alert] {
        var alerts: [Alert] = []
        for _ in 0..<span.nanoseconds / step.nanoseconds {
            now.monotonic = now.monotonic + step
            now.wall = now.wall + step
            alerts += monitor.onTime(now: now)
        }
        return alerts
    }
    private var alive: [PeerID] { monitor.peers(with: "ping", now: now) }
    private var silent: [PeerID] { monitor.silentPeers("ping", now: now) }

    @Test mutating func aMetricCountsUntilItRunsOut() {
        hear(1)
        hear(2, ttl: .seconds(60))
        hear(3, isValid: false)
        #expect(alive == [testPeer(1), testPeer(2)])
        #expect(pass(.seconds(30)).isEmpty && alive.count == 2)  // up to and including its last moment
        _ = pass(.seconds(1))
        #expect(alive == [testPeer(2)] && silent == [testPeer(1), testPeer(3)])
    }

    /// What others held back, and what a clock that was behind has dated, comes late.
    @Test mutating func oldNewsDoesNotEndAPeer() {
        hear(1)
        hear(1, ttl: .zero - .seconds(20))
        #expect(alive == [testPeer(1)] && pass(.seconds(29)).isEmpty)
        hear(1, ttl: .seconds(5))
        #expect(pass(.seconds(20)).count == 1, "what counts takes the place of what counts longer")
        hear(1, ttl: .zero - .seconds(1))
        #expect(alive.isEmpty)
        hear(1)
        hear(1, isValid: false)
        #expect(alive.isEmpty, "a peer may say itself that it is not to be counted")
    }

    @Test mutating func anAlertComesOnceAnEpisode() {
        hear(1)
        hear(2)
        #expect(Set(pass(.minutes(2)).map(\.metric.peer)) == [testPeer(1), testPeer(2)])
        #expect(pass(.minutes(30)).isEmpty)
        hear(1)
        #expect(silent == [testPeer(2)])
        #expect(pass(.minutes(2)).map(\.metric.peer) == [testPeer(1)], "a new silence is a new episode")
    }

    @Test mutating func anAlertIsRepeatedAfterManyChecks() {
        hear(1)
        var settings = MonitorSettings()
        settings.realertChecks = 10
        monitor = Monitor(settings: settings)
        monitor.start(now: now)
        hear(1)
        let alerts = pass(.seconds(15 * 10 * 5))
        #expect(alerts.count == 5, "one in ten checks")
    }

    /// Whoever was stopped for minutes has heard nothing, and accuses nobody before it had time to.
    @Test mutating func whoWasAsleepHearsTheOthersFirst() {
        hear(1)
        hear(2)
        #expect(pass(.minutes(5), step: .minutes(5)).isEmpty)
        hear(1)
        #expect(pass(.seconds(20)).map(\.metric.peer) == [testPeer(2)])
    }

    @Test mutating func eachKindOfMetricHasEpisodesOfItsOwn() {
        hear(1)
        hear(1, "freespace", ttl: .minutes(2))
        #expect(pass(.minutes(1)).map(\.metric.name) == ["ping"])
        #expect(pass(.minutes(3)).map(\.metric.name) == ["freespace"])
    }

    /// What expires is judged by the wall clock of whoever reads: where that jumps ahead, everyone is silent until heard again.
    @Test mutating func aClockThatJumpsIsSurvived() {
        hear(1)
        now.wall = now.wall + .hours(5)
        #expect(alive.isEmpty)
        #expect(pass(.seconds(20)).count == 1)
        hear(1)
        #expect(alive == [testPeer(1)] && silent.isEmpty)
        now.wall = now.wall + (.zero - .hours(10))
        #expect(alive == [testPeer(1)])
        hear(1)
        _ = pass(.seconds(31))
        #expect(alive.isEmpty, "what was heard after the jump back runs out in its time")
        #expect(pass(.minutes(1)).count == 1)
    }

    @Test mutating func checksKeepTheirPaceWhateverTheWallClockDoes() {
        for _ in 0..<50 {
            hear(1, ttl: .seconds(1))
            now.wall = now.wall + .hours(1)
            now.monotonic = now.monotonic + .seconds(15)
            #expect(monitor.onTime(now: now).count == 1)
            let next = monitor.nextDeadline
            #expect(next.map { $0 > now.monotonic && $0 <= now.monotonic + .seconds(15) } == true)
        }
    }

    @Test mutating func floodsOfMetricsAreBounded() {
        for number in 0..<3000 { hear(1, "metric \(number)") }
        #expect(monitor.names.count == 1000)
        hear(9, "metric 5")
        #expect(monitor.latest("metric 5", of: testPeer(9)) != nil, "known names are still taken")
        for _ in 0..<1500 {
            var metric = Metric(name: "x", peer: testPeer(1))
            metric.value = ""
            monitor.record(Alert(metric: metric, triggeredAt: now.wall))
        }
        #expect(monitor.alertsNewestFirst.count == 1000)
    }
}

@Suite struct InformerTests {
    private var now = Now(monotonic: .origin, wall: start)
    /// How often it was told that there is no space.
    private var fullCount = 0

    private func informers(_ shape: (inout InformerSettings) -> Void = { _ in }) -> Informers {
        var settings = InformerSettings()
        shape(&settings)
        return Informers(settings: settings, me: testPeer(1))
    }

    /// Runs for a while, answering at once, and says what was published when.
    private mutating func run(_ informers: inout Informers, _ span: Span, stat: IPFSRepoStat? = IPFSRepoStat(repoSize: 0, storageMax: 1000)) -> [(at: Span, Metric)] {
        var published: [(Span, Metric)] = []
        let end = now.monotonic + span
        informers.publishAll(now: now)
        while let next = informers.nextDeadline, next <= end {
            let passed = next - now.monotonic
            (now.monotonic, now.wall) = (next, now.wall + passed)
            var effects: [Informers.Effect] = []
            informers.onTime(now: now, queued: 7, effects: &effects)
            while !effects.isEmpty {
                switch effects.removeFirst() {
                case .needIPFSID: informers.onIPFSID(IPFSID(), pinset: nil, now: now, effects: &effects)
                case .needRepoStat: informers.onRepoStat(stat, now: now, effects: &effects)
                case .publish(let metric): published.append((now.monotonic - .origin, metric))
                case .noFreeSpace: fullCount += 1
                }
            }
        }
        return published
    }

    private func stat(used: UInt64, of most: UInt64) -> IPFSRepoStat {
        IPFSRepoStat(repoSize: used, storageMax: most)
    }

    /// Whoever is alive is never taken for silent: the next metric comes before the last has run out.
    @Test mutating func metricsAreRenewedBeforeTheyRunOut() {
        var machine = informers()
        let published = run(&machine, .minutes(10), stat: stat(used: 10, of: 100))
        for name in ["ping", "freespace", "tag:group", "pinqueue"] {
            let mine = published.filter { $0.1.name == name }
            #expect(mine.count > 10 && mine.first?.at == .zero)
            for (one, next) in zip(mine, mine.dropFirst()) { #expect((start + next.at).unixNanoseconds < one.1.expire) }
            #expect(mine.allSatisfy { $0.1.isValid && $0.1.peer == testPeer(1) })
        }
    }

    /// A07: a repository above its limit has no free space, not 2^64 bytes of it.
    @Test mutating func aFullRepositoryOffersNothing() {
        for used in [100, 101, UInt64.max] {
            var machine = informers()
            fullCount = 0
            #expect(run(&machine, .minutes(2), stat: stat(used: used, of: 100)).allSatisfy { $0.1.name != "freespace" })
            #expect(fullCount == 9, "each time that it is looked at")
        }
        fullCount = 0
        var machine = informers()
        #expect(run(&machine, .seconds(1), stat: stat(used: 1, of: .max)).contains { $0.1.name == "freespace" && $0.1.weight > 0 })
        machine = informers { $0.disk = (.seconds(30), .reposize) }
        #expect(run(&machine, .seconds(1), stat: stat(used: .max, of: 0)).contains { $0.1.name == "reposize" && $0.1.weight < 0 })
        #expect(fullCount == 0)
    }

    @Test mutating func aPingTellsOfThePinset() {
        var machine = informers { $0.peerName = "one" }
        let pinset = PinsetSummary(digest: "00ff", pins: 3, lastChange: start)
        for said in [pinset, nil] {
            var effects: [Informers.Effect] = []
            machine.onIPFSID(nil, pinset: said, now: now, effects: &effects)
            guard case .publish(let metric)? = effects.first else { Issue.record("no ping"); return }
            let read = Informers.readPing(metric.value)
            #expect(read.peerName == "one" && read.pinset == said)
            #expect(metric.value.contains("pinset") == (said != nil))
        }
        for value in ["", "{}", #"{"pinset":null}"#, #"{"pinset":{"pins":1}}"#, #"{"pinset":{"digest":"a","pins":-1.5}}"#] {
            #expect(Informers.readPing(value).pinset == nil, "\(value)")
        }
    }

    /// INF-08: upstream's 30 s stand in for the TTL of what was not published, whichever it is.
    @Test mutating func aSilentDaemonIsAskedAgain() {
        for ttl in [Span.seconds(5), .minutes(5)] {
            var machine = informers { ($0.pingInterval, $0.disk, $0.tags, $0.pinQueue) = (.hours(1), (ttl, .freespace), nil, nil) }
            #expect(run(&machine, .minutes(1), stat: nil).map(\.1.name) == ["ping"])
            var effects: [Informers.Effect] = []
            machine.onRepoStat(nil, now: now, effects: &effects)
            #expect(machine.nextDeadline == now.monotonic + .seconds(15))
        }
    }

    /// IPFS-04: a daemon that is down gets one request a second; what a peer asks for itself must not queue up before the others'.
    @Test mutating func oneQuestionOfAKindIsOpen() {
        var machine = informers { ($0.pingInterval, $0.disk) = (.seconds(2), (.seconds(5), .freespace)) }
        var effects: [Informers.Effect] = []
        func step(_ machine: inout Informers, _ span: Span) {
            now.monotonic = now.monotonic + span
            machine.onTime(now: now, queued: 0, effects: &effects)
        }
        for _ in 0..<60 {
            machine.publishAll(now: now)
            step(&machine, .seconds(1))
        }
        let questions = effects.filter { if case .publish = $0 { false } else { true } }
        #expect(questions == [.needIPFSID, .needRepoStat])
        effects = []
        machine.onIPFSID(nil, pinset: nil, now: now, effects: &effects)
        step(&machine, .zero)
        #expect(effects.last == .needIPFSID, "the next is overdue")
        machine.onIPFSID(nil, pinset: nil, now: now, effects: &effects)
        machine.onRepoStat(nil, now: now, effects: &effects)
        effects = []
        step(&machine, .milliseconds(1999))
        #expect(!effects.contains(.needIPFSID))
        step(&machine, .milliseconds(1))
        #expect(effects.contains(.needIPFSID) && !effects.contains(.needRepoStat))
    }
}
