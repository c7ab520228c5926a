// One published message: its protobuf, what is signed, and its ID. GPB-03, GS-10..16.

import Encoding
import Kernel
import Multiformats

/// A topic's name as it came: text is never normalised, so that different bytes are different topics.
struct Topic: Hashable, Comparable, Sendable {
    let bytes: Bytes
    init(_ bytes: some Collection<UInt8>) { self.bytes = Bytes(bytes) }
    init(_ name: String) { bytes = Bytes(name.utf8) }
    var name: String { String(decoding: bytes, as: UTF8.self) }
    static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
}

typealias MessageID = Bytes

package struct GossipMessage: Equatable, Sendable {
    /// Nil is absent, which differs from empty under the signature (GS-13).
    package var from: Bytes?
    package var data: Bytes?
    package var sequence: Bytes?
    package var topic: Bytes?
    package var signature: Bytes?
    package var key: Bytes?
    /// Fields of later versions: the author signed them too.
    package var unknown: Bytes = []

    package init() {}

    package init(decoding bytes: ArraySlice<UInt8>) throws(ProtobufError) {
        var reader = ProtobufReader(bytes)
        var start = reader.offset
        while let field = try reader.next() {
            switch field.number {
            case 1: from = Bytes(try field.bytes())
            case 2: data = Bytes(try field.bytes())
            case 3: sequence = Bytes(try field.bytes())
            case 4: topic = Bytes(try field.bytes())
            case 5: signature = Bytes(try field.bytes())
            case 6: key = Bytes(try field.bytes())
            default: unknown.append(contentsOf: bytes[start..<reader.offset])
            }
            start = reader.offset
        }
    }

    package var encoded: Bytes { encoded(signature: signature, key: key) }

    private func encoded(signature: Bytes?, key: Bytes?) -> Bytes {
        var writer = ProtobufWriter(capacity: 256 + (data?.count ?? 0))
        for (number, value) in [(1, from), (2, data), (3, sequence), (4, topic), (5, signature), (6, key)] {
            if let value { writer.explicit(number, bytes: value) }
        }
        return unknown.isEmpty ? writer.bytes : writer.bytes + unknown
    }

    /// What the author signs (GS-12).
    package var signedBytes: Bytes { Bytes("libp2p-pubsub:".utf8) + encoded(signature: nil, key: nil) }

    /// The first 16 bytes of the author and the sequence number (GS-15). Nil for what no honest peer sends, such as an
    /// author too short to cut 16 bytes from (GS-16).
    package var id: Bytes? {
        guard let from, from.count >= 16, let sequence, sequence.count <= 32 else { return nil }
        return Bytes(from[..<16]) + sequence
    }
}
