// What can be set of gossipsub, with the cluster's defaults. spec/wire-pubsub-dht-bitswap.md GSP-01..18.

import Kernel

extension Gossip {
    package struct Settings: Sendable {
        /// Scales the mesh (`pubsub.d_factor`).
        package var meshFactor = 4
        package var heartbeatInterval = Span.seconds(10)
        package var firstHeartbeatAfter = Span.milliseconds(100)
        /// How many heartbeats a message can be asked for, and for how many of them it is announced.
        package var historyLength = 6
        package var historyGossip = 2
        /// Own messages go to every subscriber, not just to the mesh.
        package var floodPublish = false
        package var idsPerAnnouncementMaximum = 10_000
        package var announcementsPerHeartbeatMaximum = 10
        /// One in so many of the subscribers outside the mesh hears of new messages, but at least `meshLazy`.
        package var gossipDivisor = 4
        package var retransmissionsMaximum = 3
        package var pruneBackOff = Span.seconds(60)
        /// The longest back-off that another peer can impose.
        package var backOffMaximum = Span.hours(1)
        package var unwantedLifetimeHeartbeats = 3
        package var unwantedRPCsPerHeartbeatMaximum = 1000
        /// RPCs that wait for a slow peer; what comes on top is dropped (GS-07).
        package var outboundQueueMaximum = 128
        /// Bytes handed to the net before RPCs wait in the queue.
        package var outboundWindowBytes = 1 << 18
        package var messageMaximumBytes = 1 << 20
        /// From first sight (GS-17).
        package var seenLifetime = Span.minutes(30)
        package var seenMaximum = 1 << 18
        package var cacheMaximumBytes = 64 << 20
        package var topicsPerPeerMaximum = 1024
        /// Names and IDs that are longer are of no topic and message of ours, and not remembered.
        package var topicBytesMaximum = 1024
        package var idBytesMaximum = 64
        package var reopenAfter = Span.milliseconds(100)
        package var reopenAfterMaximum = Span.seconds(10)
        /// A peer whose stream fails so often in a row leaves the mesh until it works again.
        package var reopenAttemptsInMesh = 4
        /// Whoever is pruned is told of others (GSP-07), of so many (GSP-14).
        package var exchangesPeers = true
        package var exchangedPeersMaximum = 16
        /// Who has a message with that much data says so before others send it (GSP-15).
        package var unwantedDataBytes = 1024
        package var fanOutLifetime = Span.seconds(60)
        package var leaveBackOff = Span.seconds(10)
        package init() {}

        var meshTarget: Int { 6 * meshFactor }
        var meshLow: Int { 5 * meshFactor }
        var meshHigh: Int { 12 * meshFactor }
        /// Members of the mesh that we dialled ourselves: an attacker cannot take all places.
        var meshOutbound: Int { 2 * meshFactor }
        var meshLazy: Int { 6 * meshFactor }
    }
}
