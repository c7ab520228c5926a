// The methods of the cluster's RPC, who may call them, and how. spec/wire-rpc.md MTH-01..55, AUTH-01..04.

/// Who may call a method over the wire. Calls to oneself are never checked (RPC-18).
package enum RPCPolicy: Equatable, Sendable {
    case closed
    case trusted
    case open
}

package enum RPCKind: Equatable, Sendable {
    /// One argument, one reply. The caller must not half-close before the reply (RPC-11).
    case unary
    /// Any number of arguments, then a half-close; any number of replies (RPC-12).
    case streaming
}

package struct RPCMethod: Hashable, Sendable {
    package let service: String
    package let name: String
    package init(_ service: String, _ name: String) { self.service = service; self.name = name }
    package var text: String { "\(service).\(name)" }
}

package struct RPCMethodEntry: Sendable {
    package let method: RPCMethod
    package let policy: RPCPolicy
    package let kind: RPCKind
    /// Replies that may be larger than others.
    package let replyBytesLimit: Int?
    package init(_ service: String, _ name: String, _ policy: RPCPolicy, _ kind: RPCKind, replyBytesLimit: Int? = nil) {
        self.replyBytesLimit = replyBytesLimit
        method = RPCMethod(service, name)
        self.policy = policy
        self.kind = kind
    }
}

/// Every method that a v1.1.6 peer registers.
package enum RPCTable {
    package static let entries: [RPCMethodEntry] = [
        .init("Cluster", "Alerts", .closed, .unary),
        .init("Cluster", "BandwidthByProtocol", .closed, .unary),
        .init("Cluster", "BlockAllocate", .closed, .unary),
        .init("Cluster", "ConnectGraph", .closed, .unary),
        .init("Cluster", "ID", .open, .unary),
        .init("Cluster", "IDStream", .open, .streaming),
        .init("Cluster", "IPFSID", .closed, .unary),
        .init("Cluster", "Join", .closed, .unary),
        .init("Cluster", "PeerAdd", .open, .unary),
        .init("Cluster", "PeerRemove", .trusted, .unary),
        .init("Cluster", "Peers", .trusted, .streaming),
        .init("Cluster", "PeersWithFilter", .closed, .streaming),
        .init("Cluster", "Pin", .closed, .unary),
        .init("Cluster", "PinGet", .closed, .unary),
        .init("Cluster", "PinPath", .closed, .unary),
        .init("Cluster", "Pins", .closed, .streaming),
        .init("Cluster", "Recover", .closed, .unary),
        .init("Cluster", "RecoverAll", .closed, .streaming),
        .init("Cluster", "RecoverAllLocal", .trusted, .streaming),
        .init("Cluster", "RecoverLocal", .trusted, .unary),
        .init("Cluster", "RepoGC", .closed, .unary),
        .init("Cluster", "RepoGCLocal", .trusted, .unary, replyBytesLimit: 256 << 20),
        .init("Cluster", "SendInformerMetrics", .closed, .unary),
        .init("Cluster", "SendInformersMetrics", .closed, .unary),
        .init("Cluster", "Status", .closed, .unary),
        .init("Cluster", "StatusAll", .closed, .streaming),
        .init("Cluster", "StatusAllLocal", .closed, .streaming),
        .init("Cluster", "StatusLocal", .closed, .unary),
        .init("Cluster", "Unpin", .closed, .unary),
        .init("Cluster", "UnpinPath", .closed, .unary),
        .init("Cluster", "Version", .open, .unary),
        .init("PinTracker", "Track", .closed, .unary),
        .init("PinTracker", "Untrack", .closed, .unary),
        .init("PinTracker", "StatusAll", .trusted, .streaming),
        .init("PinTracker", "Status", .trusted, .unary),
        .init("PinTracker", "RecoverAll", .closed, .streaming),
        .init("PinTracker", "Recover", .trusted, .unary),
        .init("PinTracker", "PinQueueSize", .closed, .unary),
        .init("IPFSConnector", "Pin", .closed, .unary),
        .init("IPFSConnector", "Unpin", .closed, .unary),
        .init("IPFSConnector", "PinLsCid", .closed, .unary),
        .init("IPFSConnector", "PinLs", .closed, .streaming),
        .init("IPFSConnector", "ConfigKey", .closed, .unary),
        .init("IPFSConnector", "RepoStat", .trusted, .unary),
        .init("IPFSConnector", "SwarmPeers", .trusted, .unary),
        .init("IPFSConnector", "BlockStream", .trusted, .streaming),
        .init("IPFSConnector", "BlockGet", .closed, .unary),
        .init("IPFSConnector", "Resolve", .closed, .unary),
        .init("Consensus", "LogPin", .trusted, .unary),
        .init("Consensus", "LogUnpin", .trusted, .unary),
        .init("Consensus", "AddPeer", .trusted, .unary),
        .init("Consensus", "RmPeer", .trusted, .unary),
        .init("Consensus", "Peers", .closed, .unary),
        .init("PeerMonitor", "LatestMetrics", .closed, .unary),
        .init("PeerMonitor", "MetricNames", .closed, .unary),
    ]

    private static let byMethod = Dictionary(uniqueKeysWithValues: entries.map { ($0.method, $0) })
    private static let services = Set(entries.map(\.method.service))

    package static func entry(_ method: RPCMethod) -> RPCMethodEntry? { byMethod[method] }
    package static func hasService(_ name: String) -> Bool { services.contains(name) }
}
