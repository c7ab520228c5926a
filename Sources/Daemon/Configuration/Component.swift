// The components of service.json: which section they stand in, their keys, and what must hold of their values.

import Encoding
import Kernel
import Multiformats

/// CFG-002, in the order of the file.
package enum Section: String, CaseIterable, Sendable {
    case cluster, consensus, api
    case ipfsConnector = "ipfs_connector"
    case state
    case pinTracker = "pin_tracker"
    case monitor, allocator, informer, observations, datastore
}

/// CFG-004, and `embedded`, which is this project's own: an IPFS node inside the peer.
package enum ComponentName: String, CaseIterable, Sendable {
    case cluster
    case crdt, raft
    case ipfsproxy, pinsvcapi, restapi
    case embedded, ipfshttp
    case stateless
    case pubsubmon
    case balanced
    case disk, pinqueue, tags
    case metrics, tracing
    case badger, badger3, leveldb, pebble

    package var section: Section {
        switch self {
        case .cluster: .cluster
        case .crdt, .raft: .consensus
        case .ipfsproxy, .pinsvcapi, .restapi: .api
        case .embedded, .ipfshttp: .ipfsConnector
        case .stateless: .pinTracker
        case .pubsubmon: .monitor
        case .balanced: .allocator
        case .disk, .pinqueue, .tags: .informer
        case .metrics, .tracing: .observations
        case .badger, .badger3, .leveldb, .pebble: .datastore
        }
    }

    var component: Component {
        switch self {
        case .cluster: .cluster
        case .crdt: .crdt
        case .raft: .raft
        case .ipfsproxy: .ipfsproxy
        case .pinsvcapi: .pinsvcapi
        case .restapi: .restapi
        case .embedded: .embedded
        case .ipfshttp: .ipfshttp
        case .stateless: .stateless
        case .pubsubmon: .pubsubmon
        case .balanced: .balanced
        case .disk: .disk
        case .pinqueue: .pinqueue
        case .tags: .tags
        case .metrics: .metrics
        case .tracing: .tracing
        case .badger: .badger
        case .badger3: .badger3
        case .leveldb: .leveldb
        case .pebble: .pebble
        }
    }
}

struct Component: Sendable {
    /// Nil when it holds.
    typealias Check = @Sendable (ComponentValues) -> String?

    let name: ComponentName
    let keys: [Key]
    var checks: [Check] = []
    /// CFG-106: where several checks fail the last one is reported.
    var lastFailureCounts = false

    /// CFG-025: the cluster's own keys have no second part.
    var environmentPrefix: String { name == .cluster ? "CLUSTER_" : "CLUSTER_\(name.rawValue.uppercased())_" }

    func index(of path: String) -> Int? { keys.firstIndex { $0.path == path } }

    static func above(_ bound: Int64, _ path: String, _ failure: String) -> Check {
        { $0.number(path) > bound ? nil : failure }
    }
    static func atLeast(_ bound: Int64, _ path: String, _ failure: String) -> Check {
        { $0.number(path) >= bound ? nil : failure }
    }
    static func filled(_ path: String, _ failure: String) -> Check { { $0.value(path).isZero ? failure : nil } }
}

/// The values of one component. Asking for a key that is not in its table, or for another type, is our own mistake.
package struct ComponentValues: Equatable, Sendable {
    package let name: ComponentName
    var values: [Value]

    /// The generated defaults.
    init(_ name: ComponentName) {
        self.name = name
        values = name.component.keys.map(\.initial)
    }

    func value(_ path: String) -> Value {
        guard let index = name.component.index(of: path) else { unreachable("\(name) has no key \(path)") }
        return values[index]
    }

    mutating func set(_ path: String, _ value: Value) {
        guard let index = name.component.index(of: path) else { unreachable("\(name) has no key \(path)") }
        values[index] = value
    }

    /// An integer, or the nanoseconds of a duration.
    fileprivate func number(_ path: String) -> Int64 {
        switch value(path) {
        case .int(let value): value
        case .unsigned(let value): Int64(clamping: value)
        case .span(let value): value.nanoseconds
        default: unreachable("\(name).\(path) is no number")
        }
    }

    func check() throws(ConfigurationError) {
        let component = name.component
        var failure: String?
        for check in component.checks {
            guard let found = check(self) else { continue }
            failure = found
            if !component.lastFailureCounts { break }
        }
        if let failure { throw ConfigurationError(failure) }
    }

    // MARK: Asking

    package func text(_ path: String) -> String {
        if case .text(let value) = value(path) { value } else { unreachable("\(name).\(path) is no text") }
    }
    package func flag(_ path: String) -> Bool {
        if case .flag(let value) = value(path) { value } else { unreachable("\(name).\(path) is no flag") }
    }
    package func int(_ path: String) -> Int64 {
        if case .int(let value) = value(path) { value } else { unreachable("\(name).\(path) is no integer") }
    }
    package func unsigned(_ path: String) -> UInt64 {
        if case .unsigned(let value) = value(path) { value } else { unreachable("\(name).\(path) is no unsigned integer") }
    }
    package func real(_ path: String) -> Double {
        if case .real(let value) = value(path) { value } else { unreachable("\(name).\(path) is no float") }
    }
    package func span(_ path: String) -> Span {
        if case .span(let value) = value(path) { value } else { unreachable("\(name).\(path) is no duration") }
    }
    package func addresses(_ path: String) -> [Multiaddr] {
        if case .addresses(let value) = value(path) { value } else { unreachable("\(name).\(path) holds no addresses") }
    }
    /// For keys that hold one address.
    package func address(_ path: String) -> Multiaddr {
        guard let first = addresses(path).first else { unreachable("\(name).\(path) is checked to hold an address") }
        return first
    }
    /// Nil where the file says `null` or nothing.
    package func texts(_ path: String) -> [String]? {
        if case .texts(let value) = value(path) { value } else { unreachable("\(name).\(path) is no list") }
    }
    package func reals(_ path: String) -> [Double]? {
        if case .reals(let value) = value(path) { value } else { unreachable("\(name).\(path) is no list of floats") }
    }
    package func map(_ path: String) -> [Value.Named<String>]? {
        if case .map(let value) = value(path) { value } else { unreachable("\(name).\(path) is no map") }
    }
    package func lists(_ path: String) -> [Value.Named<[String]>]? {
        if case .lists(let value) = value(path) { value } else { unreachable("\(name).\(path) is no map of lists") }
    }
}
