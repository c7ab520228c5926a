// The settings of each machine.

import Allocation
import AutoNAT
import Cluster
import DHT
import DagList
import Exchange
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import RPC
import Storage
import Tracking

extension ReplicationFactors: Fielded {
    package static var blank: ReplicationFactors { ReplicationFactors(min: 0, max: 0) }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&min)
        try visitor.visit(&max)
    }
}
extension ListingSettings: Fielded {
    package static var blank: ListingSettings { ListingSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&bytesPerChunk)
        try visitor.visit(&statusesPerChunk)
    }
}
extension PeerBookSettings: Fielded {
    package static var blank: PeerBookSettings { PeerBookSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&lowWater)
        try visitor.visit(&backoffBase)
        try visitor.visit(&backoffMax)
        try visitor.visit(&redialAfter)
        try visitor.visit(&learntAddressTTL)
        try visitor.visit(&addressesPerPeerLimit)
        try visitor.visit(&dialsMax)
        try visitor.visit(&uselessFailures)
        try visitor.visit(&clearingInterval)
        try visitor.visit(&peersLimit)
    }
}
extension Gossip.Settings: Fielded {
    package static var blank: Gossip.Settings { Gossip.Settings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&meshFactor)
        try visitor.visit(&heartbeatInterval)
        try visitor.visit(&firstHeartbeatAfter)
        try visitor.visit(&historyLength)
        try visitor.visit(&historyGossip)
        try visitor.visit(&floodPublish)
        try visitor.visit(&idsPerAnnouncementMaximum)
        try visitor.visit(&announcementsPerHeartbeatMaximum)
        try visitor.visit(&gossipDivisor)
        try visitor.visit(&retransmissionsMaximum)
        try visitor.visit(&pruneBackOff)
        try visitor.visit(&backOffMaximum)
        try visitor.visit(&unwantedLifetimeHeartbeats)
        try visitor.visit(&unwantedRPCsPerHeartbeatMaximum)
        try visitor.visit(&outboundQueueMaximum)
        try visitor.visit(&outboundWindowBytes)
        try visitor.visit(&messageMaximumBytes)
        try visitor.visit(&seenLifetime)
        try visitor.visit(&seenMaximum)
        try visitor.visit(&cacheMaximumBytes)
        try visitor.visit(&topicsPerPeerMaximum)
        try visitor.visit(&topicBytesMaximum)
        try visitor.visit(&idBytesMaximum)
        try visitor.visit(&reopenAfter)
        try visitor.visit(&reopenAfterMaximum)
        try visitor.visit(&reopenAttemptsInMesh)
        try visitor.visit(&exchangesPeers)
        try visitor.visit(&exchangedPeersMaximum)
        try visitor.visit(&unwantedDataBytes)
        try visitor.visit(&fanOutLifetime)
        try visitor.visit(&leaveBackOff)
    }
}
extension ExchangeSettings: Fielded {
    package static var blank: ExchangeSettings { ExchangeSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&answerTimeout)
        try visitor.visit(&busyTimeout)
        try visitor.visit(&retryAfter)
        try visitor.visit(&retryAfterMax)
        try visitor.visit(&messageBytesMax)
        try visitor.visit(&responseBytes)
        try visitor.visit(&outstandingBytesPerPeer)
        try visitor.visit(&streamBytes)
        try visitor.visit(&wantsPerPeerMax)
        try visitor.visit(&cidBytesMax)
        try visitor.visit(&liveWantsMax)
        try visitor.visit(&wantsMax)
        try visitor.visit(&wantsAtOnce)
        try visitor.visit(&entriesPerMessage)
        try visitor.visit(&haveBlockBytes)
    }
}
extension DHTMessageLimits: Fielded {
    package static var blank: DHTMessageLimits { DHTMessageLimits() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&peersMax)
        try visitor.visit(&addressesPerPeerMax)
        try visitor.visit(&addressBytesMax)
    }
}
extension AutoNATSettings: Fielded {
    package static var blank: AutoNATSettings { AutoNATSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&bootDelay)
        try visitor.visit(&retryInterval)
        try visitor.visit(&refreshInterval)
        try visitor.visit(&refreshMax)
        try visitor.visit(&hurryInterval)
        try visitor.visit(&requestTimeout)
        try visitor.visit(&probesMax)
        try visitor.visit(&confidenceMax)
        try visitor.visit(&streamTimeout)
        try visitor.visit(&streamsPerPeerMax)
        try visitor.visit(&dialTimeout)
        try visitor.visit(&addressesMax)
        try visitor.visit(&dialsMax)
        try visitor.visit(&dialsPerPeerMax)
        try visitor.visit(&throttlePeriod)
        try visitor.visit(&throttleJitter)
        try visitor.visit(&messageBytesMax)
    }
}
extension DHTSettings: Fielded {
    package static var blank: DHTSettings { DHTSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&bucketSize)
        try visitor.visit(&answerTimeout)
        try visitor.visit(&idleTimeout)
        try visitor.visit(&messageBytesMax)
        try visitor.visit(&checksMax)
        try visitor.visit(&askedForPeersFrom)
        try visitor.visit(&groupMax)
        try visitor.visit(&groupPerBucketMax)
        try visitor.visit(&streamsPerPeerMax)
        try visitor.visit(&heldBytesPerPeerMax)
        try visitor.visit(&untakenBytesMax)
        try visitor.visit(&limits)
        try visitor.visit(&providerLifetime)
        try visitor.visit(&providerAddressLifetime)
        try visitor.visit(&providerKeyBytesMax)
        try visitor.visit(&providersMax)
        try visitor.visit(&providersPerPeerMax)
        try visitor.visit(&providersPerAnswerMax)
        try visitor.visit(&valueLifetime)
        try visitor.visit(&valueBytesMax)
        try visitor.visit(&valuesMax)
        try visitor.visit(&valuesPerPeerMax)
        try visitor.visit(&providerBytesMax)
        try visitor.visit(&valuesBytesMax)
        try visitor.visit(&recordFolder)
        try visitor.visit(&recordSyncDelay)
        try visitor.visit(&recordRetryDelay)
        try visitor.visit(&recordUnsyncedMax)
        try visitor.visit(&recordSlackBytes)
        try visitor.visit(&concurrency)
        try visitor.visit(&resilience)
        try visitor.visit(&questionsMax)
        try visitor.visit(&candidatesMax)
        try visitor.visit(&lookupsMax)
        try visitor.visit(&findTimeout)
        try visitor.visit(&dialsMax)
        try visitor.visit(&dialTimeout)
        try visitor.visit(&unreachableFor)
        try visitor.visit(&missingFor)
        try visitor.visit(&rememberedMax)
        try visitor.visit(&refreshInterval)
        try visitor.visit(&refreshTimeout)
        try visitor.visit(&refreshDelay)
        try visitor.visit(&lowTable)
        try visitor.visit(&lowInterval)
    }
}
extension DagListSettings: Fielded {
    package static var blank: DagListSettings { DagListSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&answerTimeout)
        try visitor.visit(&servingTimeout)
        try visitor.visit(&entriesMax)
        try visitor.visit(&frameBytesMax)
        try visitor.visit(&headsMax)
        try visitor.visit(&cursorBytesMax)
        try visitor.visit(&hashBytesMax)
        try visitor.visit(&streamsPerPeerMax)
    }
}
extension RPCSettings: Fielded {
    package static var blank: RPCSettings { RPCSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&valueBytesLimit)
        try visitor.visit(&openValueBytesLimit)
        try visitor.visit(&callsPerPeerLimit)
        try visitor.visit(&headerTimeout)
    }
}
extension ReplicaSettings: Fielded {
    package static var blank: ReplicaSettings { ReplicaSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&rebroadcastInterval)
        try visitor.visit(&repairInterval)
        try visitor.visit(&fetchTimeout)
        try visitor.visit(&batchSizeMax)
        try visitor.visit(&batchAgeMax)
        try visitor.visit(&batchQueueMax)
        try visitor.visit(&deltaBytesMax)
        try visitor.visit(&retryDelay)
        try visitor.visit(&announcedHeadsMax)
        try visitor.visit(&folder)
        try visitor.visit(&log)
        try visitor.visit(&index)
        try visitor.visit(&toldPerStep)
        try visitor.visit(&tellsChanges)
        try visitor.visit(&fetchingBytesMax)
        try visitor.visit(&listedMin)
        try visitor.visit(&listedPerStep)
        try visitor.visit(&replayBytesAtOpen)
        try visitor.visit(&replayBytesPerStep)
        try visitor.visit(&mergedPerStep)
    }
}
extension LogSettings: Fielded {
    package static var blank: LogSettings { LogSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&segmentBytes)
        try visitor.visit(&recordBytesLimit)
    }
}
extension IndexSettings: Fielded {
    package static var blank: IndexSettings { IndexSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&tableEntries)
        try visitor.visit(&frozenMax)
        try visitor.visit(&fanOut)
        try visitor.visit(&filterBitsPerEntry)
        try visitor.visit(&runsMax)
    }
}
extension TrackerSettings: Fielded {
    package static var blank: TrackerSettings { TrackerSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&queueMax)
        try visitor.visit(&concurrentPins)
        try visitor.visit(&priorityPinMaxAge)
        try visitor.visit(&priorityPinMaxRetries)
        try visitor.visit(&failuresMax)
    }
}
extension MonitorSettings: Fielded {
    package static var blank: MonitorSettings { MonitorSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&checkInterval)
        try visitor.visit(&realertChecks)
        try visitor.visit(&metricNamesMax)
        try visitor.visit(&peersMax)
        try visitor.visit(&valueBytesMax)
        try visitor.visit(&alertsMax)
    }
}
extension KuboSettings: Fielded {
    package static var blank: KuboSettings { KuboSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&requestTimeout)
        try visitor.visit(&pinTimeout)
        try visitor.visit(&unpinTimeout)
        try visitor.visit(&repoGCTimeout)
        try visitor.visit(&isUnpinDisabled)
        try visitor.visit(&informerTriggerInterval)
        try visitor.visit(&originsMax)
        try visitor.visit(&failuresMax)
        try visitor.visit(&retryInterval)
        try visitor.visit(&answerBytesMax)
    }
}
extension EmbeddedSettings: Fielded {
    package static var blank: EmbeddedSettings { EmbeddedSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&folder)
        try visitor.visit(&log)
        try visitor.visit(&storageMax)
        try visitor.visit(&pinTimeout)
        try visitor.visit(&requestTimeout)
        try visitor.visit(&isUnpinDisabled)
        try visitor.visit(&informerTriggerInterval)
        try visitor.visit(&wantsPerWalk)
        try visitor.visit(&blocksPerStep)
        try visitor.visit(&blockBytesMax)
        try visitor.visit(&unsyncedBytesMax)
        try visitor.visit(&gracePeriod)
    }
}

extension InformerSettings: Fielded {
    package static var blank: InformerSettings { InformerSettings() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&pingInterval)
        var (diskTTL, metric) = (disk?.ttl, disk?.metric.rawValue)
        try visitor.visit(&diskTTL)
        try visitor.visit(&metric)
        disk = diskTTL.map { ($0, metric.flatMap(DiskMetric.init) ?? .freespace) }
        var (tagsTTL, pairs) = (tags?.ttl, (tags?.tags ?? []).flatMap { [$0.name, $0.value] })
        try visitor.visit(&tagsTTL)
        try visitor.visit(&pairs)
        tags = tagsTTL.map { ($0, stride(from: 0, to: pairs.count - 1, by: 2).map { (pairs[$0], pairs[$0 + 1]) }) }
        var (queueTTL, bucketSize) = (pinQueue?.ttl, pinQueue?.bucketSize)
        try visitor.visit(&queueTTL)
        try visitor.visit(&bucketSize)
        pinQueue = queueTTL.map { ($0, bucketSize ?? 0) }
        try visitor.visit(&peerName)
    }
}
