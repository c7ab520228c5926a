// What a peer says about itself. RealNet prints it (spec/cli.md CLI-012), SimNet keeps it in the event log.

package enum LogLevel: Int, Comparable, Sendable, CaseIterable {
    case debug, info, warning, error
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// `component` is upstream's logger name (CLI-018): cluster, crdt, pintracker, monitor, ipfshttp, …
package struct LogLine: Equatable, Sendable {
    package var level: LogLevel
    package var component: String
    package var message: String
    package init(_ level: LogLevel, _ component: String, _ message: String) {
        self.level = level
        self.component = component
        self.message = message
    }
}
