// Times and limits of connections and of the host that holds them.

import Kernel

package struct ConnectionSettings: Sendable {
    /// From the first byte to an agreed muxer (LAY-04).
    package var handshakeTimeout = Span.seconds(15)
    /// How long a stream may take to agree on its protocol (MSS-09).
    package var negotiationTimeout = Span.seconds(10)
    /// Without bytes from the other side for this long, it is pinged (YMX-11); `zero` never does.
    package var keepaliveInterval = Span.seconds(30)
    /// And gone if nothing comes within this.
    package var keepaliveTimeout = Span.seconds(10)
    /// The other side must take some bytes within this while any wait (YMX-13).
    package var writeStallTimeout = Span.seconds(10)
    /// Streams fill the socket's queue up to here; what is beyond waits in the streams' own buffers.
    package var writeQueueBytes = 256 << 10
    /// Answers to a peer that asks but does not read may pile up to here.
    package var writeQueueBytesLimit = 4 << 20
    /// Inbound streams at one time.
    package var inboundStreamsLimit = Int.max
    /// Outbound streams that the other side has not acknowledged (YMX-04).
    package var unacknowledgedStreamsLimit = 256
    /// What the other side may have under way on one stream (YMX-05); what go-yamux goes up to.
    package var receiveWindowLimit: UInt32 = 16 << 20
    package init() {}
}

package struct HostSettings: Sendable {
    package var connection = ConnectionSettings()
    /// To a connected, authenticated peer, over all of its addresses (`dial_peer_timeout`, DIAL-01).
    package var dialTimeout = Span.seconds(3)
    /// The next address is tried after this even if the last has not failed yet (DIAL-02).
    package var dialStagger = Span.milliseconds(250)
    /// Attempts at one time for one peer (DIAL-03).
    package var dialsPerPeerLimit = 8
    package var resources = ResourceLimits(memoryBytes: 1 << 30, descriptors: 4096)
    /// Nil: connections are never closed because there are many.
    package var watermarks: Watermarks?
    /// From one IPv4 address or /56 of IPv6, and from one /48 (RM-04).
    package var inboundConnectionsPerAddressLimit = 8
    package var inboundConnectionsPerSiteLimit = 64
    /// Between two lines of the log about connections from strangers.
    package var strangersLogInterval = Span.seconds(10)
    package var identifyTimeout = Span.seconds(5)
    /// A ping stream without pings ends.
    package var pingIdleTimeout = Span.seconds(30)
    /// Peers that are not connected whose addresses are remembered for opening streams.
    package var knownPeersLimit = 10_000
    package var addressesPerPeerLimit = 64
    /// What identify tells (IDF-07).
    package var agent = "github.com/ipfs-cluster/ipfs-cluster"
    package var protocolVersion = ""
    package init() {}
}
