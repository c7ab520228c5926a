// Settings of the connector to a Kubo daemon. CFG-119..125, IPFS-01.

import Kernel

package struct KuboSettings: Sendable {
    package var requestTimeout = Span.minutes(5)
    /// Time without a block fetched after which a pin is given up (IPFS-22).
    package var pinTimeout = Span.minutes(2)
    package var unpinTimeout = Span.hours(3)
    package var repoGCTimeout = Span.hours(24)
    package var isUnpinDisabled = false
    /// 0 for never (IPFS-60).
    package var informerTriggerInterval = 0
    /// IPFS-28.
    package var originsMax = 10
    /// IPFS-04: from so many failed requests in a row on, one is sent in each `retryInterval`.
    package var failuresMax = 10
    package var retryInterval = Span.seconds(1)
    /// The longest answer that is not read piece by piece.
    package var answerBytesMax = 64 << 20
    package init() {}
}
