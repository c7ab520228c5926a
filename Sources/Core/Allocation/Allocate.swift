// Who should pin what: pure functions of the metrics. spec/tracker-allocator-monitor.md ALC-01..18, CLU-03, CLU-13.

import Crypto
import Kernel
import Multiformats
import Pinset

package struct ReplicationFactors: Equatable, Sendable {
    package var min: Int
    package var max: Int
    package init(min: Int, max: Int) { self.min = min; self.max = max }
}

package enum AllocationError: Error, Equatable, Sendable, CustomStringConvertible {
    case factorsUnset
    case minAboveMax
    case minWrong
    case maxWrong
    case halfEverywhere
    case badFactors(ReplicationFactors)
    case notEnoughPeers(needed: Int, wanted: Int, candidates: [PeerID])

    /// Upstream's texts (REST-090).
    package var description: String {
        switch self {
        case .factorsUnset: "cluster.replication_factor_min and max must be set"
        case .minAboveMax: "cluster.replication_factor_min is larger than max"
        case .minWrong: "cluster.replication_factor_min is wrong"
        case .maxWrong: "cluster.replication_factor_max is wrong"
        case .halfEverywhere: "cluster.replication_factor_min and max must be -1 when one of them is"
        case .badFactors(let factors): "bad replication factors: \(factors.min)/\(factors.max)"
        case .notEnoughPeers(let needed, let wanted, let candidates):
            "not enough peers to allocate CID. Needed at least: \(needed). Wanted at most: \(wanted). "
                + "Available candidates: \(candidates.count). See logs for more info."
        }
    }
}

/// CLU-03: 0 takes the default, each side for itself (REST-091); then the checks, in upstream's order.
package func resolveFactors(
    _ asked: ReplicationFactors, defaults: ReplicationFactors
) throws(AllocationError) -> ReplicationFactors {
    let factors = ReplicationFactors(
        min: asked.min == 0 ? defaults.min : asked.min, max: asked.max == 0 ? defaults.max : asked.max)
    if factors.min == 0 || factors.max == 0 { throw .factorsUnset }
    if factors.min > factors.max { throw .minAboveMax }
    if factors.min < -1 { throw .minWrong }
    if factors.max < -1 { throw .maxWrong }
    if (factors.min == -1) != (factors.max == -1) { throw .halfEverywhere }
    return factors
}

/// All that an allocation depends on.
package struct AllocationRequest: Sendable {
    package var factors: ReplicationFactors
    /// Names of metrics, most important first.
    package var allocateBy: [String]
    /// The latest valid metric of each peer, for each of these names.
    package var metrics: [String: [Metric]]
    package var current: [PeerID] = []
    package var preferred: [PeerID] = []
    package var blacklist: [PeerID] = []
    /// ALC-03: may this peer be allocated at all (`pin_only_on_trusted_peers` and its opposite)?
    package var isAllowed: @Sendable (PeerID) -> Bool = { _ in true }

    package init(factors: ReplicationFactors, allocateBy: [String], metrics: [String: [Metric]]) {
        self.factors = factors
        self.allocateBy = allocateBy
        self.metrics = metrics
    }
}

/// The peers that should pin. Empty is everywhere (ALC-01).
package func allocate(_ request: AllocationRequest) throws(AllocationError) -> [PeerID] {
    let factors = request.factors
    if factors.min + factors.max == 0 { throw .badFactors(factors) }
    if factors.min < 0 && factors.max < 0 { return [] }
    let eligible = eligiblePeers(request)
    let valid = request.current.filter { eligible.contains($0) }.sorted()
    let needed = factors.min - valid.count
    let wanted = factors.max - valid.count
    if wanted < 0 { return Array(valid.prefix(factors.max)) }  // ALC-06, in the order of peer IDs (A10)
    if needed <= 0 { return request.current }  // ALC-07
    let others = eligible.filter { !request.current.contains($0) }
    let preferred = others.filter { request.preferred.contains($0) }
    let candidates = others.filter { !request.preferred.contains($0) }
    let order = balanced(preferred, request) + balanced(candidates, request)
    guard order.count >= needed else {
        throw .notEnoughPeers(needed: needed, wanted: wanted, candidates: others)
    }
    return valid + order.prefix(wanted)
}

/// ALC-03, ALC-04: not barred, and with a valid metric of every name.
private func eligiblePeers(_ request: AllocationRequest) -> SortedSet<PeerID> {
    var counts = SortedMap<PeerID, Int>()
    for name in request.allocateBy {
        for peer in SortedSet((request.metrics[name] ?? []).map(\.peer)) { counts[peer, default: 0] += 1 }
    }
    let names = SortedSet(request.allocateBy).count
    return SortedSet(
        counts.filter { peer, count in
            count >= names && !request.blacklist.contains(peer) && request.isAllowed(peer)
        }.map(\.key))
}

// MARK: The balanced allocator

/// ALC-12..17: peers in the order in which a balanced cluster takes them.
private func balanced(_ peers: [PeerID], _ request: AllocationRequest) -> [PeerID] {
    let members = SortedSet(peers)
    var root = PartitionedMetric(members, request.allocateBy[...], request.metrics)
    var order: [PeerID] = []
    while let next = root.takeNext() { order.append(next) }
    return order
}

/// Peers grouped by one metric; inside a group by the next one.
private struct PartitionedMetric {
    private struct Partition {
        let value: String
        var weight: Int64
        var aggregatedWeight: Int64
        var peers: [PeerID]
        let isGroup: Bool
        var inner: PartitionedMetric?
    }
    private var partitions: [Partition] = []
    private var turn = 0
    private var isExhausted = false

    init(_ members: SortedSet<PeerID>, _ names: ArraySlice<String>, _ metrics: [String: [Metric]]) {
        guard let name = names.first else { return }
        for metric in (metrics[name] ?? []).sorted(by: { $0.peer < $1.peer }) where members.contains(metric.peer) {
            add(metric)
        }
        let rest = names.dropFirst()
        for index in partitions.indices where !rest.isEmpty {
            let inner = PartitionedMetric(SortedSet(partitions[index].peers), rest, metrics)
            for partition in inner.partitions {
                partitions[index].aggregatedWeight = saturatingSum(partitions[index].aggregatedWeight, partition.aggregatedWeight)
            }
            partitions[index].inner = inner
        }
        partitions.sort(by: PartitionedMetric.precedes)
    }

    /// ALC-13: metrics that cannot be grouped stand alone.
    private mutating func add(_ metric: Metric) {
        if metric.isPartitionable, let index = partitions.firstIndex(where: { $0.isGroup && $0.value == metric.value }) {
            partitions[index].peers.append(metric.peer)
            partitions[index].weight = saturatingSum(partitions[index].weight, metric.weight)
            partitions[index].aggregatedWeight = saturatingSum(partitions[index].aggregatedWeight, metric.weight)
        } else {
            partitions.append(
                Partition(value: metric.value, weight: metric.weight, aggregatedWeight: metric.weight, peers: [metric.peer],
                    isGroup: metric.isPartitionable))
        }
    }

    /// ALC-15; of equal ones groups come last, and then the order is that of peer IDs, where upstream leaves it open.
    private static func precedes(_ a: Partition, _ b: Partition) -> Bool {
        if a.weight != b.weight { return a.weight > b.weight }
        if a.aggregatedWeight != b.aggregatedWeight { return a.aggregatedWeight > b.aggregatedWeight }
        if a.value != b.value { return a.value.utf8.lexicographicallyPrecedes(b.value.utf8) }
        if a.isGroup != b.isGroup { return b.isGroup }
        return a.peers[0] < b.peers[0]
    }

    /// ALC-16: round robin over the partitions, whose turn moves on with every look.
    mutating func takeNext() -> PeerID? {
        guard !partitions.isEmpty, !isExhausted else { return nil }
        for _ in partitions.indices {
            let index = turn
            turn = (turn + 1) % partitions.count
            if partitions[index].inner != nil {
                if let peer = partitions[index].inner?.takeNext() { return peer }
            } else if !partitions[index].peers.isEmpty {
                return partitions[index].peers.removeFirst()
            }
        }
        isExhausted = true
        return nil
    }
}

private func saturatingSum(_ a: Int64, _ b: Int64) -> Int64 {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? (a < 0 ? .min : .max) : sum
}

// MARK: Closeness

/// CLU-13: how many of the peers are closer to the CID than `me`. `hash` is BLAKE2b-256.
package func closerPeers(than me: PeerID, to cid: CID, among peers: [PeerID], hash: (Bytes) -> Bytes) -> Int {
    let target = hash(cid.bytes)
    func distance(_ peer: PeerID) -> Bytes { zip(target, hash(peer.bytes)).map { $0 ^ $1 } }
    let mine = distance(me)
    return peers.count { $0 != me && distance($0).lexicographicallyPrecedes(mine) }
}
