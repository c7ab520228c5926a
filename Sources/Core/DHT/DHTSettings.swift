// Times and limits of the DHT. spec/wire-pubsub-dht-bitswap.md DHT-03, DHT-05, DHT-09, DHT-12, DHT-15.

import Kernel

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
    /// Streams of one peer that are served; of what comes on them, held while its message is not whole; of answers, not yet taken.
    package var streamsPerPeerMax = 16
    package var heldBytesPerPeerMax = 5 << 20
    package var untakenBytesMax = 1 << 20
    package var limits = DHTMessageLimits()
    /// DHT-09: what is kept for others, in memory.
    package var providerLifetime = Span.hours(48)
    package var providerAddressLifetime = Span.hours(24)
    package var providerKeyBytesMax = 80
    package var providersMax = 10_000
    package var providersPerPeerMax = 1000
    package var providersPerAnswerMax = 40
    /// DHT-10.
    package var valueLifetime = Span.hours(48)
    package var valueBytesMax = 4096
    package var valuesMax = 1000
    package init() {}
}
