// Who a peer is: the multihash of its public key. spec/wire-transport.md PID-01..07.

import Encoding
import Kernel

package struct PeerID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The raw multihash bytes: what goes over every wire (PID-04). Never empty.
    package let bytes: Bytes

    package init(_ bytes: some Collection<UInt8>) throws(MultiformatError) { self.bytes = try Multihash(bytes).bytes }

    /// base58btc without prefix (PID-03).
    package var description: String { Multibase.base58btc.encode(bytes) }

    package static func < (a: Self, b: Self) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}
