// Times and limits of connections and of the host that holds them.

import Kernel
import Multiformats

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
    /// TCP, to one address.
    package var connectTimeout = Span.seconds(5)
    /// The handshake after it, with private addresses and with those of this machine.
    package var nearHandshakeTimeout = Span.seconds(5)
    /// The next addresses are tried after this even if the first has not failed yet, private and public ones (DIAL-02).
    package var nearStagger = Span.milliseconds(30)
    package var farStagger = Span.milliseconds(250)
    /// Attempts at one time for one peer, and in all (DIAL-03).
    package var dialsPerPeerLimit = 8
    package var dialsLimit = 160
    /// DIAL-04: an address that failed is left alone for so long, and after its n-th repeated failure for n² s more. Zero: not.
    package var backOffBase = Span.seconds(5)
    package var backOffMax = Span.minutes(5)
    package var resources = ResourceLimits(memoryBytes: 1 << 30, descriptors: 4096)
    /// Nil: connections are never closed because there are many.
    package var watermarks: Watermarks?
    /// From one IPv4 address or /56 of IPv6, and from one /48 (RM-04).
    package var inboundConnectionsPerAddressLimit = 8
    package var inboundConnectionsPerSiteLimit = 64
    /// Between two lines of the log about connections from strangers.
    package var strangersLogInterval = Span.seconds(10)
    package var identifyTimeout = Span.seconds(5)
    /// IDF-12: pushes from one network that are heard at once, and how often another.
    package var pushBurst = 10
    package var pushInterval = Span.seconds(5)
    /// Where others have reached this host is told to everyone, as long as it was not too long ago (IDF-13).
    package var tellsObserved = true
    package var observedLifetime = Span.minutes(40)
    package var observedLimit = 3
    /// Never told: addresses, and whole networks as /ip4/…/ipcidr/… (PST-04).
    package var hidden: [Multiaddr] = []
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
