// Which path and method is which operation. REST-018..021, REST-047..071.

import HTTP
import Kernel

/// What a route does. Names are upstream's.
enum Operation: Sendable {
    case id, version, peers, peerAdd, peerRemove, add, allocations, allocation, statusAll, recover, recoverAll, status, pin
    case pinPath, unpin, unpinPath, repoGC, connectGraph, alerts, bandwidth, metrics, metricNames, token, health

    /// Also where they mean nothing (REST-198).
    var readsPinOptions: Bool {
        switch self {
        case .add, .allocation, .recover, .status, .pin, .pinPath, .unpin, .unpinPath: true
        default: false
        }
    }
}

struct Route: Sendable {
    enum Segment: Sendable, Equatable {
        case literal(String)
        case variable
        case oneOf([String])
        /// All that follows, at least one segment.
        case rest
    }
    let method: String
    let segments: [Segment]
    let operation: Operation

    init(_ method: String, _ segments: [Segment], _ operation: Operation) {
        (self.method, self.segments, self.operation) = (method, segments, operation)
    }

    /// What stands where the path varies, or nil if it is another path. `rest` gives its segments joined.
    func variables(in path: [String]) -> [String]? {
        var out: [String] = []
        for (index, segment) in segments.enumerated() {
            guard index < path.count else { return nil }
            switch segment {
            case .literal(let text): if text != path[index] { return nil }
            case .variable: out.append(path[index])
            case .oneOf(let texts): if texts.contains(path[index]) { out.append(path[index]) } else { return nil }
            case .rest: return out + [path[index...].joined(separator: "/")]
            }
        }
        return path.count == segments.count ? out : nil
    }

    private static let kinds = Segment.oneOf(["ipfs", "ipns", "ipld"])

    /// In the order of registration, which decides (REST-019, REST-020).
    static let all: [Route] = [
        Route("GET", [.literal("id")], .id),
        Route("GET", [.literal("version")], .version),
        Route("GET", [.literal("peers")], .peers),
        Route("POST", [.literal("peers")], .peerAdd),
        Route("DELETE", [.literal("peers"), .variable], .peerRemove),
        Route("POST", [.literal("add")], .add),
        Route("GET", [.literal("allocations")], .allocations),
        Route("GET", [.literal("allocations"), .variable], .allocation),
        Route("GET", [.literal("pins")], .statusAll),
        Route("POST", [.literal("pins"), .variable, .literal("recover")], .recover),
        Route("POST", [.literal("pins"), .literal("recover")], .recoverAll),
        Route("GET", [.literal("pins"), .variable], .status),
        Route("POST", [.literal("pins"), .variable], .pin),
        Route("POST", [.literal("pins"), kinds, .rest], .pinPath),
        Route("DELETE", [.literal("pins"), .variable], .unpin),
        Route("DELETE", [.literal("pins"), kinds, .rest], .unpinPath),
        Route("POST", [.literal("ipfs"), .literal("gc")], .repoGC),
        Route("GET", [.literal("health"), .literal("graph")], .connectGraph),
        Route("GET", [.literal("health"), .literal("alerts")], .alerts),
        Route("GET", [.literal("health"), .literal("bandwidth")], .bandwidth),
        Route("GET", [.literal("monitor"), .literal("metrics"), .variable], .metrics),
        Route("GET", [.literal("monitor"), .literal("metrics")], .metricNames),
        Route("POST", [.literal("token")], .token),
        Route("GET", [.literal("health")], .health),
    ]

    enum Match: Sendable {
        case route(Operation, variables: [String])
        case notFound
        case wrongMethod
    }

    /// A path that is known for other methods only is 405, unless a route further down takes the method: then the router
    /// forgets that it knew the path, and it is 404 (REST-019).
    static func match(_ method: String, _ path: [String]) -> Match {
        var isKnown = false
        for route in all {
            if let variables = route.variables(in: path) {
                if route.method == method { return .route(route.operation, variables: variables) }
                isKnown = true
            } else if route.method == method {
                isKnown = false
            }
        }
        return isKnown ? .wrongMethod : .notFound
    }
}
