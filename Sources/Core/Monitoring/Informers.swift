// What this peer tells the others about itself, and when. spec/tracker-allocator-monitor.md INF-01..12.

import Encoding
import Kernel
import Multiformats
import Pinset

package struct InformerSettings: Sendable {
    package enum DiskMetric: String, Sendable { case freespace, reposize }
    package var pingInterval = Span.seconds(15)
    /// Nil where the section is missing: that informer does not run (INF-07).
    package var disk: (ttl: Span, metric: DiskMetric)? = (.seconds(30), .freespace)
    package var tags: (ttl: Span, tags: [(name: String, value: String)])? = (.seconds(30), [("group", "default")])
    package var pinQueue: (ttl: Span, bucketSize: Int64)? = (.seconds(30), 100_000)
    package var peerName = ""
    package init() {}
}

package struct Informers: Sendable {
    package enum Effect: Equatable, Sendable {
        case needIPFSID
        case needRepoStat
        case publish(Metric)
        case noFreeSpace
    }

    /// INF-08: what stands in for the TTL where there is nothing to publish.
    private static let untoldTTL = Span.seconds(30)

    private let settings: InformerSettings
    private let me: PeerID
    private var pingAt: Instant?
    private var diskAt: Instant?
    private var tagsAt: Instant?
    private var pinQueueAt: Instant?
    /// What IPFS was asked and has not answered yet. There is one question of each kind at a time, as upstream's loops
    /// have it: where IPFS is down, one request a second goes out (IPFS-04), and these would hold up all others.
    private var pingAskedAt: Instant?
    private var isDiskAsked = false
    /// INF-02: reused while IPFS does not answer.
    private var lastIPFS = IPFSID()

    package init(settings: InformerSettings, me: PeerID) {
        self.settings = settings
        self.me = me
    }

    /// At readiness, and whenever all metrics are to be published at once (Join, IPFS-60).
    package mutating func publishAll(now: Now) {
        if pingAskedAt == nil { pingAt = now.monotonic }
        if settings.disk != nil, !isDiskAsked { diskAt = now.monotonic }
        if settings.tags != nil { tagsAt = now.monotonic }
        if settings.pinQueue != nil { pinQueueAt = now.monotonic }
    }

    package var nextDeadline: Instant? { earliest(earliest(pingAt, diskAt), earliest(tagsAt, pinQueueAt)) }

    package mutating func onTime(now: Now, queued: Int, effects: inout [Effect]) {
        if let due = pingAt, due <= now.monotonic {
            (pingAt, pingAskedAt) = (nil, now.monotonic)
            effects.append(.needIPFSID)
        }
        if let due = diskAt, due <= now.monotonic {
            (diskAt, isDiskAsked) = (nil, true)
            effects.append(.needRepoStat)
        }
        if let due = tagsAt, due <= now.monotonic, let tags = settings.tags {
            tagsAt = now.monotonic + tags.ttl / 2
            for (name, value) in tags.tags {
                effects.append(.publish(metric("tag:" + name, value, weight: 0, ttl: tags.ttl, isPartitionable: true, now)))
            }
        }
        if let due = pinQueueAt, due <= now.monotonic, let queue = settings.pinQueue {
            pinQueueAt = now.monotonic + queue.ttl / 2
            let bucketed = queue.bucketSize > 0 ? Int64(queued) / queue.bucketSize : Int64(queued)
            effects.append(.publish(metric("pinqueue", "\(queued)", weight: -bucketed, ttl: queue.ttl, now)))
        }
    }

    /// Nil: IPFS did not answer.
    package mutating func onIPFSID(_ id: IPFSID?, pinset: PinsetSummary?, now: Now, effects: inout [Effect]) {
        pingAt = max(now.monotonic, (pingAskedAt ?? now.monotonic) + settings.pingInterval)
        pingAskedAt = nil
        if let id, id.error.isEmpty { lastIPFS = id }
        let value = Informers.pingValue(peerName: settings.peerName, ipfs: lastIPFS, pinset: pinset)
        effects.append(.publish(metric("ping", value, weight: 0, ttl: settings.pingInterval * 2, now)))
    }

    /// Nil: IPFS did not answer.
    package mutating func onRepoStat(_ stat: IPFSRepoStat?, now: Now, effects: inout [Effect]) {
        guard let disk = settings.disk else { return }
        isDiskAsked = false
        diskAt = now.monotonic + Informers.untoldTTL / 2
        guard let stat else { return }
        switch disk.metric {
        case .freespace:
            // A repository above its limit has no space, not 2^64 of it (bug zoo A07). Invalid metrics are not published.
            guard stat.storageMax > stat.repoSize else { return effects.append(.noFreeSpace) }
            let free = Int64(clamping: stat.storageMax - stat.repoSize)
            effects.append(.publish(metric("freespace", "\(free)", weight: free, ttl: disk.ttl, now)))
        case .reposize:
            let size = Int64(clamping: stat.repoSize)
            effects.append(.publish(metric("reposize", "\(size)", weight: -size, ttl: disk.ttl, now)))
        }
        diskAt = now.monotonic + disk.ttl / 2
    }

    private func metric(
        _ name: String, _ value: String, weight: Int64, ttl: Span, isPartitionable: Bool = false, _ now: Now
    ) -> Metric {
        var metric = Metric(name: name, peer: me)
        metric.value = value
        metric.weight = weight
        metric.isValid = true
        metric.isPartitionable = isPartitionable
        metric.expire = (now.wall + ttl).unixNanoseconds  // INF-09
        return metric
    }

    /// INF-01, INF-02: empty parts are left out; addresses that others cannot reach as well. The pinset is not upstream's,
    /// whose peers pass over it.
    package static func pingValue(peerName: String, ipfs: IPFSID, pinset: PinsetSummary?) -> String {
        var members: [JSON.Member] = []
        if !peerName.isEmpty { members.append(JSON.Member("peer_name", .string(peerName))) }
        if let id = ipfs.id { members.append(JSON.Member("ipfs_id", .string(id.description))) }
        let addresses = (ipfs.addresses ?? []).filter { $0.isDNS || $0.isGlobalUnicast }
        if !addresses.isEmpty {
            members.append(JSON.Member("ipfs_addresses", .array(addresses.map { .string($0.description) })))
        }
        if let pinset { members.append(JSON.Member("pinset", pinset.json)) }
        return JSON.object(members).encoded()
    }

    /// What a ping metric says of its peer.
    package static func readPing(
        _ value: String
    ) -> (peerName: String, ipfs: PeerID?, addresses: [Multiaddr], pinset: PinsetSummary?) {
        guard let json = try? JSONReader.parse(value.utf8) else { return ("", nil, [], nil) }
        let addresses = (json["ipfs_addresses"]?.elements ?? []).compactMap { $0.text.flatMap { try? Multiaddr(text: $0) } }
        let pinset = json["pinset"].flatMap { try? PinsetSummary(json: $0) }
        return (json["peer_name"]?.text ?? "", json["ipfs_id"]?.text.flatMap { try? PeerID(text: $0) }, addresses, pinset)
    }
}
