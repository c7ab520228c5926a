// Who a peer is: the multihash of its public key. spec/wire-transport.md PID-01..07.

import Encoding
import Kernel

package struct PeerID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The raw multihash bytes: what goes over every wire (PID-04). Never empty.
    package let bytes: Bytes

    package init(_ hash: Multihash) { bytes = hash.bytes }
    package init(_ bytes: Bytes) throws(MultiformatError) { self.bytes = try Multihash(bytes).bytes }
    package init(_ bytes: some Collection<UInt8>) throws(MultiformatError) { try self.init(Bytes(bytes)) }

    /// PID-03: base58btc, or a CID with the libp2p-key codec in any base.
    package init(text: some StringProtocol) throws(MultiformatError) {
        if text.hasPrefix("Qm") || text.hasPrefix("1") {
            guard let bytes = Multibase.base58btc.decode(text) else { throw .badText("input isn't valid multihash") }
            try self.init(bytes)
        } else {
            let cid = try CID(text: text)
            guard cid.codec == Codec.libp2pKey else { throw .badText("can't convert CID of type \"\(Codec.name(cid.codec))\" to a peer ID") }
            try self.init(cid.multihashBytes)
        }
    }

    /// base58btc without prefix (PID-03).
    package var description: String { Multibase.base58btc.encode(bytes) }

    /// The key inside the ID, where it is short enough to be there (PID-05).
    package var publicKey: PublicKey? {
        guard let hash = try? Multihash(bytes), hash.code == HashCode.identity else { return nil }
        return try? PublicKey(protobuf: hash.digest)
    }

    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
    /// All bytes at once: arrays hash one after another.
    package func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
}
