// Which log lines are shown, by component. CLI-013, CLI-017, CLI-018.

import Kernel
import Seams

package struct LogLevels: Equatable, Sendable {
    package enum Level: Int, Comparable, Sendable {
        case debug, info, warn, error, dpanic, panic, fatal
        package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

        /// Any case; nothing means info. Other words are unknown, and change nothing.
        package init?(name: some StringProtocol) {
            switch name.lowercased() {
            case "debug": self = .debug
            case "info", "": self = .info
            case "warn", "warning": self = .warn
            case "error": self = .error
            case "dpanic": self = .dpanic
            case "panic": self = .panic
            case "fatal": self = .fatal
            default: return nil
            }
        }

        package init(_ level: LogLevel) {
            switch level {
            case .debug: self = .debug
            case .info: self = .info
            case .warning: self = .warn
            case .error: self = .error
            }
        }
    }

    private static let components = [
        "service", "cluster", "restapi", "restapilog", "pinsvcapi", "pinsvcapilog", "ipfsproxy", "ipfsproxylog", "ipfshttp",
        "monitor", "dsstate", "raft", "crdt", "pintracker", "diskinfo", "tags", "apitypes", "config", "shardingdags",
        "singledags", "adder", "optracker", "pstoremgr", "allocator",
        // Upstream leaves these to its libraries, which say little of what an operator has to know.
        "p2p", "pubsub", "bitswap", "embedded",
    ]
    private static let extras: [(String, Level)] = [
        ("p2p-gorpc", .error), ("swarm2", .error), ("libp2p-raft", .fatal), ("raftlib", .error), ("badger", .info),
        ("badger3", .info), ("pebble", .warn),
    ]

    /// Everyone not named stays here.
    private var others = Level.error
    private var named: [String: Level] = [:]

    /// Nil: everyone not named.
    mutating func set(_ level: Level, _ component: String?) {
        if let component { named[component] = level } else { others = level }
    }

    package func level(of component: String) -> Level { named[component] ?? others }
    /// Those of which INFO lines are shown.
    package var infoLoggers: [String] { Self.components.filter { level(of: $0) <= .info } }
    package func shows(_ line: LogLine) -> Bool { Level(line.level) >= level(of: line.component) }

    /// Everything.
    package static var debug: LogLevels {
        var levels = LogLevels()
        levels.others = .debug
        return levels
    }

    /// `level` and `component:level`, comma separated. Nil for a word with more than one colon. Later ones win;
    /// `overwritten` names those that did. `base`: what the environment says of others than upstream's own components.
    package static func parse(_ text: String, base: LogLevels = LogLevels()) -> (levels: LogLevels, overwritten: [String])? {
        var given: [String: String] = [:]
        var order: [String] = []
        var overwritten: [String] = []
        for word in text.split(separator: ",") {
            let parts = word.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count <= 2 else { return nil }
            let component = parts.count == 2 ? parts[0] : "all"
            if given[component] != nil { overwritten.append(component) } else { order.append(component) }
            given[component] = parts[parts.count - 1]
        }
        let overall = Level(name: given["all"] ?? "info")
        var levels = base
        for component in components { levels.named[component] = overall }
        for (component, level) in extras { levels.named[component] = level }
        for component in order where component != "all" {
            // The overall level does not reach a component that is named, not even with an unknown word.
            levels.named[component] = given[component].flatMap { Level(name: $0) }
        }
        levels.named["service"] = overall
        return (levels, overwritten)
    }
}
