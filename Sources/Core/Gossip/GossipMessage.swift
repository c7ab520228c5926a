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

/// What tells a message from others: its bytes on the wire are an entry of IHAVE, IWANT and IDONTWANT.
struct MessageID: Hashable, Sendable {
    var bytes: Bytes
    init(_ bytes: some Collection<UInt8>) { self.bytes = Bytes(bytes) }
    /// All bytes at once: arrays hash one after another.
    func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
}

/// Where the parts of a message are, by the numbers of their fields: most that come are there already, and are never read in full.
struct RawMessage: Sendable {
    let bytes: ArraySlice<UInt8>
    private(set) var from: ArraySlice<UInt8>?
    private(set) var sequence: ArraySlice<UInt8>?
    private(set) var topic: ArraySlice<UInt8>?

    init(_ bytes: ArraySlice<UInt8>) throws(ProtobufError) {
        self.bytes = bytes
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: from = try field.bytes()
            case 3: sequence = try field.bytes()
            case 4: topic = try field.bytes()
            case 2, 5, 6: _ = try field.bytes()
            default: break
            }
        }
    }

    /// The first 16 bytes of the author and the sequence number (GS-15). Nil for what no honest peer sends, such as an
    /// author too short to cut 16 bytes from (GS-16).
    var id: MessageID? {
        guard let from, from.count >= 16, let sequence, sequence.count <= 32 else { return nil }
        var bytes = Bytes()
        bytes.reserveCapacity(16 + sequence.count)
        bytes.append(contentsOf: from.prefix(16))
        bytes.append(contentsOf: sequence)
        return MessageID(bytes)
    }
}

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
        if let from { writer.explicit(1, bytes: from) }
        if let data { writer.explicit(2, bytes: data) }
        if let sequence { writer.explicit(3, bytes: sequence) }
        if let topic { writer.explicit(4, bytes: topic) }
        if let signature { writer.explicit(5, bytes: signature) }
        if let key { writer.explicit(6, bytes: key) }
        return unknown.isEmpty ? writer.bytes : writer.bytes + unknown
    }

    /// What the author signs (GS-12).
    package var signedBytes: Bytes { Bytes("libp2p-pubsub:".utf8) + encoded(signature: nil, key: nil) }

    /// See `RawMessage`.
    package var id: Bytes? { (try? RawMessage(encoded[...]))?.id?.bytes }
}
