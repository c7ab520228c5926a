// Too many connections: which of them are closed, when, and which never are. CM-01, CM-02.

import Kernel
import Multiformats
import Seams
import Testing
import Transport

/// Host 0 has marks; whoever has no worth there is kept.
private func host(low: Int, high: Int, guests: Int, worth: @escaping (Int) -> Int?) -> Network {
    var settings = HostSettings()
    var marks = Watermarks()
    (marks.low, marks.high) = (low, high)
    settings.watermarks = marks
    var network = Network(guests + 1, settings: settings)
    network.worth = { host, guest in host == 0 ? worth(guest) : nil }
    return network
}

extension Network {
    fileprivate mutating func come(_ guests: some Sequence<Int>) {
        for guest in guests {
            want(guest, .dial(id(0), [Network.address(0)]))
            settle()
        }
    }
    fileprivate var guests: [Int] { hosts.indices.dropFirst().filter { hosts[0].isConnected(id($0)) } }
    fileprivate func partings(of guest: Int) -> Int { connections(guest).count { $0 == .disconnected(id(0)) } }
}

@Suite struct CrowdTests {
    /// Strangers come again and again as soon as they are sent away; whoever is trusted stays through all of it.
    @Test func theTrustedSurviveAFloodOfStrangers() {
        let trusted = 1...3, strangers = 4...34
        var network = host(low: 5, high: 20, guests: 34) { trusted.contains($0) ? nil : 0 }
        network.come(trusted)
        var sentAway = 0
        for round in 0..<6 {
            network.come(strangers.filter { !network.guests.contains($0) })
            #expect(network.hosts[0].connectionCount == 34, "round \(round)")
            network.pass(140_000)
            #expect(network.guests.count { strangers.contains($0) } == 5, "round \(round)")
            #expect(network.hosts[0].connectionCount == 8 && network.hosts[0].socketCount == 8)
            sentAway += 26
            #expect(strangers.reduce(0) { $0 + network.partings(of: $1) } == sentAway)
        }
        #expect(trusted.allSatisfy { network.partings(of: $0) == 0 && network.guests.contains($0) })
        let lines: [String] = strangers.map { network.log($0, .debug) }.reduce([], +)
        let told = lines.filter { $0.contains("the other side ended the connection") }
        #expect(told.count == sentAway && told.allSatisfy { $0.contains("connection manager") })
        #expect(network.log(0, .info).count == 6 && network.log(0, .info)[0] == "26 connections closed, as there were 34")
    }

    /// Before the grace period has passed, and between two looks, nobody has to go.
    @Test func newcomersHaveTime() {
        var network = host(low: 2, high: 4, guests: 6) { _ in 0 }
        network.come(1...4)  // the crowd begins here: it is looked at every 10 s from now
        network.pass(61_000)
        network.come(5...6)
        network.pass(58_999)
        #expect(network.hosts[0].connectionCount == 6)
        network.pass(1)  // of those who have been here for two minutes, two may stay
        #expect(network.guests.count == 4 && network.guests.suffix(2) == [5, 6])
        network.pass(59_999)
        #expect(network.guests.count == 4)
        network.pass(10_001)
        #expect(network.guests.count == 2)
        #expect(network.hosts[0].nextDeadline != network.now.monotonic)
    }

    @Test func belowTheHighMarkNobodyGoes() {
        var network = host(low: 1, high: 5, guests: 5) { _ in 0 }
        network.come(1...4)
        network.pass(600_000)
        #expect(network.guests.count == 4 && !network.connections(0).contains { if case .crowded = $0 { true } else { false } })
        network.come([5])
        network.pass(9_999)
        #expect(network.guests.count == 5)
        network.pass(1)
        #expect(network.guests.count == 2, "one of the old, and the new one")
        // Somebody who leaves in time ends the crowd.
        network.come(1...5 as ClosedRange)
        #expect(network.guests.count == 5)
        network.want(3, .disconnect(network.id(0)))
        network.settle()
        network.pass(600_000)
        #expect(network.guests.count == 4)
    }

    /// First by value; then those that do nothing, those that came by themselves, those that do least.
    @Test func theLeastWorthGoFirst() {
        for low in 0...6 {
            var network = host(low: low, high: 6, guests: 6) { [1: 1, 2: 0, 3: 0, 4: 0, 5: -1, 6: 0][$0] }
            network.want(0, .dial(network.id(3), [Network.address(3)]))  // idle, but wanted by host 0
            network.settle()
            network.come([1, 2, 4, 5, 6])
            var stream: UInt64 = 0
            for (guest, count) in [(4, 1), (5, 9), (6, 3)] {
                for _ in 0..<count {
                    stream += 1
                    network.want(guest, .open(StreamID(owner: 1, number: stream), to: network.id(0), protocols: ["/echo/1"]))
                }
            }
            network.settle()
            network.pass(120_000)
            let order = [5, 2, 3, 4, 6, 1]
            #expect(network.guests == order.suffix(low).sorted(), "low mark \(low)")
        }
    }

    /// A host without marks does not look, and one whose core keeps everyone closes nothing.
    @Test func nothingIsClosedWithoutLeave() {
        var network = Network(5)
        network.come(1...4)
        network.pass(300_000)
        #expect(network.guests.count == 4)
        var kept = host(low: 1, high: 2, guests: 4) { _ in nil }
        kept.come(1...4)
        kept.pass(300_000)
        #expect(kept.guests.count == 4)
        #expect(kept.connections(0).count { if case .crowded = $0 { true } else { false } } == 19)
    }
}
