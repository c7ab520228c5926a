// Words of adding content. spec/adder-and-ipfs.md ADD-01..18, ADD-43.

import Kernel
import Multiformats

package struct AddParameters: Hashable, Sendable {
    package enum Layout: String, Sendable { case balanced, trickle }
    package enum Format: String, Sendable { case unixfs, car }
    package var options = PinOptions()
    package var isLocal = false
    package var layout = Layout.balanced
    package var chunker = "size-262144"
    package var rawLeaves = false
    package var cidVersion = 0
    package var hash = "sha2-256"
    package var format = Format.unixfs
    package var wrapWithDirectory = false
    package var noPin = false
    package var noCopy = false
    package var shard = false
    package var progress = false
    package var streamChannels = true
    package init() {}
}

/// One line of an add's answer.
package struct AddedOutput: Hashable, Sendable {
    package var name: String
    package var cid: CID?
    package var bytes: UInt64 = 0
    package var size: UInt64 = 0
    package var allocations: [PeerID] = []
    package init(name: String, cid: CID? = nil) { self.name = name; self.cid = cid }
}

/// A block on its way to an IPFS daemon (RPC-T19).
package struct NodeWithMeta: Hashable, Sendable {
    package var data: Bytes
    package var cid: CID
    package var cumulativeSize: UInt64
    package init(data: Bytes, cid: CID, cumulativeSize: UInt64) {
        self.data = data
        self.cid = cid
        self.cumulativeSize = cumulativeSize
    }
}
