// Everything that can be set of a peer, with upstream's defaults.

import Allocation
import AutoNAT
import DHT
import DagList
import Exchange
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Tracking

package struct PeerSettings: Sendable {
    package var me: PeerID
    package var peerName = ""
    package var version = "1.1.6"
    package var clusterName = "ipfs-cluster"
    /// Includes oneself.
    package var trust: Trust
    package var factors = ReplicationFactors(min: -1, max: -1)
    package var allocateBy = ["tag:group", "freespace"]
    package var isRepinningDisabled = true  // CLU-61
    package var isFollower = false
    package var pinsOnlyOnTrusted = false
    package var pinsOnlyOnUntrusted = false
    package var peersetMetric = "ping"
    package var stateSyncInterval = Span.minutes(5)
    package var recoverInterval = Span.minutes(12)
    /// Pins of batches that may be on their way into the log when another batch is taken: one sync makes all of them durable, and
    /// all of them are then merged at once.
    package var bulkUnderWayMax = 10_000
    /// How long after a ping has run out its peer's pins are looked at again, while they stay below their minimum.
    package var repinInterval = Span.seconds(30)
    /// How long after the start a peer that holds pins may take to be heard for the first time.
    package var unheardPatience = Span.minutes(10)
    /// Operations of the tracker up to which it is told of changes, and given what a recovery finds.
    package var trackedMax = 20_000
    /// Bytes of an upload that may be on their way to a destination before the client has to wait.
    package var uploadWindowBytes = 4 << 20
    /// Blocks and lines of an upload that are made and sent in one step.
    package var uploadBlocksPerStep = 64
    /// Of the log, read in one step of a sweep.
    package var sweepBytes = 256 << 10
    /// Loggers whose INFO lines somebody reads. What there is to say of each pin is put into words for these alone.
    package var infoLoggers: [String] = []
    /// Peers that are dialled from the start: configured ones first, then those of the peerstore file.
    package var bootPeers: [(peer: PeerID, addresses: [Multiaddr], isPermanent: Bool)] = []
    /// Peers to join at the start, each with its ID at the end: they are asked to add this one (CLU-44).
    package var joins: [Multiaddr] = []

    package var listing = ListingSettings()
    package var book = PeerBookSettings()
    package var gossip = Gossip.Settings()
    package var exchange = ExchangeSettings()
    package var dht = DHTSettings()
    package var autoNAT = AutoNATSettings()
    package var dagList = DagListSettings()
    package var rpc = RPCSettings()
    package var replica = ReplicaSettings()
    package var tracker = TrackerSettings()
    package var monitor = MonitorSettings()
    package var informers = InformerSettings()
    /// How long after the start the Kubo daemons of the peers are connected to each other (IPFS-07). Zero for never.
    package var connectSwarmsDelay = Span.seconds(30)
    package var ipfs = IPFSNodeSettings.kubo(KuboSettings())

    package init(me: PeerID, trust: Trust = .everyone) {
        self.me = me
        self.trust = trust
    }
}
