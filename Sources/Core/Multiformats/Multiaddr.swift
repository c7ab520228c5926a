// Self-describing addresses. spec/wire-transport.md MA-01..08, MAC-01..25.

import Encoding
import Kernel

/// A multiaddress in its binary form.
package struct Multiaddr: Hashable, Comparable, Sendable {
    package let bytes: Bytes
    package init(unchecked bytes: Bytes) { self.bytes = bytes }
    package static func < (a: Self, b: Self) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}
