// Times and limits of the DHT. spec/wire-pubsub-dht-bitswap.md DHT-03, DHT-05, DHT-09, DHT-12, DHT-15.

import Kernel
import Seams

package struct DHTSettings: Sendable {
    /// DHT-03: of a bucket, and of an answer (`k`).
    package var bucketSize = 20
    /// DHT-05.
    package var answerTimeout = Span.seconds(10)
    package var idleTimeout = Span.minutes(1)
    package var messageBytesMax = 4 << 20
    /// DHT-12: candidates that are asked at a time whether they answer; and the size from which an answer must name somebody.
    package var checksMax = 256
    package var askedForPeersFrom = 20
    /// DHT-13: peers at addresses of one neighbourhood, of the wide network.
    package var groupMax = 3
    package var groupPerBucketMax = 2
    /// Streams of one peer that are served; of what comes on them, held while its message is not whole; of answers, not yet taken.
    package var streamsPerPeerMax = 64  // of a protocol, as go-libp2p's resource manager begins with
    package var heldBytesPerPeerMax = 5 << 20
    package var untakenBytesMax = 256 << 10
    package var limits = DHTMessageLimits()
    /// DHT-09: what is kept for others.
    package var providerLifetime = Span.hours(48)
    package var providerAddressLifetime = Span.hours(24)
    package var providerKeyBytesMax = 80
    package var providersMax = 10_000
    package var providersPerPeerMax = 1000
    package var providersPerAnswerMax = 40
    /// DHT-10.
    package var valueLifetime = Span.hours(48)
    package var valueBytesMax = IPNSRecord.bytesMax
    package var valuesMax = 1000
    package var valuesPerPeerMax = 200
    /// What both take, together with their keys.
    package var providerBytesMax = 4 << 20
    package var valuesBytesMax = 8 << 20
    /// DHT-17: when what is new is synced, and how long a full disk is left alone; how much of it may wait for that; and how much longer
    /// than twice what counts the files may be.
    package var recordFolder: FileName = "dht"
    package var recordSyncDelay = Span.seconds(10)
    package var recordRetryDelay = Span.minutes(1)
    package var recordUnsyncedMax = 4 << 20
    package var recordSlackBytes = 1 << 20
    /// DHT-03, DHT-16: questions under way in a search (`alpha`), and how many of the closest must have answered (`beta`).
    package var concurrency = 10
    package var resilience = 3
    /// What a search may cost, whatever it is told.
    package var questionsMax = 100
    package var candidatesMax = 200
    package var lookupsMax = 16
    package var findTimeout = Span.seconds(30)
    /// Of all searches together; the net has a time-out of its own, which is shorter.
    package var dialsMax = 10
    package var dialTimeout = Span.seconds(10)
    /// Who could not be reached is not dialled again for the sake of a search; who was not found is not looked for again.
    package var unreachableFor = Span.minutes(2)
    package var missingFor = Span.seconds(30)
    package var rememberedMax = 1000
    /// DHT-15.
    package var refreshInterval = Span.minutes(10)
    package var refreshTimeout = Span.seconds(10)
    package var refreshDelay = Span.seconds(2)
    package var lowTable = 10
    package var lowInterval = Span.minutes(2)
    package init() {}
}
