// How much a host may take on. RM-01..06, CM-01; the sums are those of upstream.

import Kernel

/// From `high` connections on, those that are worth the least are closed until `low` are left (CM-01).
package struct Watermarks: Equatable, Sendable {
    package var low = 100
    package var high = 400
    /// A peer that has not been here for so long is left alone.
    package var gracePeriod = Span.minutes(2)
    package var checkInterval = Span.seconds(10)
    package init() {}
}

package struct ResourceLimits: Equatable, Sendable {
    /// Receive windows of all streams together (RM-01). Windows do not grow beyond half of it.
    package var memoryBytes: Int
    /// Sockets, in either direction.
    package var descriptors: Int
    /// Of all peers (RM-02), of them not yet authenticated (RM-01), and from one peer (RM-03).
    package var inboundConnections: Int
    package var inboundHandshakes: Int
    package var inboundConnectionsPerPeer: Int
    /// From one peer, over all of its connections (RM-03).
    package var inboundStreamsPerPeer: Int
    /// Of each service, from one peer or to it; pings from one peer (RM-05).
    package var identifyStreamsPerPeer: Int
    package var pingStreamsPerPeer: Int

    package init(memoryBytes: Int, descriptors: Int, highWater: Int = Watermarks().high) {
        let mebibytes = memoryBytes >> 20
        self.memoryBytes = memoryBytes
        self.descriptors = descriptors
        inboundConnections = max(mebibytes, 2 * highWater, 800)
        // A quarter of nothing is upstream's word for its own default.
        let handshakes = mebibytes / 4 > 0 ? mebibytes / 4 : 32
        let halfOpen = descriptors / 4 > 0 ? descriptors / 4 : 64
        inboundHandshakes = min(handshakes, halfOpen)
        inboundConnectionsPerPeer = 8
        // Below 128 MiB there is nothing on top.
        inboundStreamsPerPeer = 256 + (mebibytes > 128 ? (128 * mebibytes) >> 10 : 0)
        identifyStreamsPerPeer = 16
        pingStreamsPerPeer = 2
    }

    /// Of a host that is told not to count (`resource_manager.enabled`).
    package static var unlimited: ResourceLimits {
        var limits = ResourceLimits(memoryBytes: .max, descriptors: .max, highWater: 0)
        limits.inboundConnections = .max
        limits.inboundHandshakes = .max
        limits.inboundConnectionsPerPeer = .max
        limits.inboundStreamsPerPeer = .max
        limits.identifyStreamsPerPeer = .max
        limits.pingStreamsPerPeer = .max
        return limits
    }
}
