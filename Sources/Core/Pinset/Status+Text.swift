// The names of types, modes and statuses. spec/tracker-allocator-monitor.md TRK-01..20, spec/rest-api.md REST-193..195.

extension TrackerStatus {
    private static let names: [(TrackerStatus, String)] = [
        (.clusterError, "cluster_error"), (.pinError, "pin_error"), (.unpinError, "unpin_error"),
        (.pinned, "pinned"), (.pinning, "pinning"), (.unpinning, "unpinning"), (.unpinned, "unpinned"),
        (.remote, "remote"), (.pinQueued, "pin_queued"), (.unpinQueued, "unpin_queued"), (.sharded, "sharded"),
        (.unexpectedlyUnpinned, "unexpectedly_unpinned"), (.error, "error"), (.queued, "queued"),
    ]

    /// TRK-16: a name, or the names of all entries that share a bit, sorted (upstream's order is that of a map).
    package var text: String {
        if rawValue == 0 { return "undefined" }
        if let exact = TrackerStatus.names.first(where: { $0.0 == self }) { return exact.1 }
        return TrackerStatus.names.filter { $0.0.rawValue & rawValue != 0 }.map(\.1).sorted().joined(separator: ",")
    }

    /// TRK-17: spaces go, unknown names are ignored; undefined if none is known.
    package init(text: String) {
        self = []
        for word in text.replacing(" ", with: "").split(separator: ",") {
            if let known = TrackerStatus.names.first(where: { $0.1 == word }) { formUnion(known.0) }
        }
    }
}

extension PinType {
    package var text: String {
        switch self {
        case .bad: "bad-type"
        case .data: "pin"
        case .meta: "meta-pin"
        case .clusterDAG: "clusterdag-pin"
        case .shard: "shard-pin"
        }
    }
    package init(text: String) { self = PinType.allCases.first { $0.text == text } ?? .bad }
}

extension PinMode {
    package var text: String { self == .direct ? "direct" : "recursive" }
    /// Anything unknown is recursive (REST-079).
    package init(text: String) { self = text == "direct" ? .direct : .recursive }
    package static func isKnown(_ text: String) -> Bool { ["", "recursive", "direct"].contains(text) }
    /// PIN-14.
    package var depth: PinDepth { self == .direct ? 0 : -1 }
}

extension IPFSPinStatus {
    /// TRK-20: from Kubo's type text.
    package init(text: String) {
        if text.hasPrefix("indirect") { self = .indirect } else if text.hasPrefix("recursive") { self = .recursive } else {
            self = text == "direct" ? .direct : .bug
        }
    }
    /// TRK-19.
    package var trackerStatus: TrackerStatus {
        switch self {
        case .direct, .recursive: .pinned
        case .indirect, .unpinned: .unpinned
        case .bug: .undefined
        case .error: .clusterError
        }
    }
    /// TRK-20: whether this is what a pin of that depth wants.
    package func isPinned(to depth: PinDepth) -> Bool { depth == 0 ? self == .direct : self == .recursive }
}
