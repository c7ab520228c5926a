// The protobufs between two gossipsub peers. GPB-01..11.

import Encoding
import Kernel
import Multiformats

/// An RPC as it was read. Extensions are skipped.
struct GossipRPC: Sendable {
    struct Subscription: Sendable { let topic: Topic; let isSubscribed: Bool }
    struct Announcement: Sendable { let topic: Topic; let ids: [MessageID] }
    struct Prune: Sendable {
        var topic = Topic("")
        var backOffSeconds: UInt64?
        var peers: [ExchangedPeer] = []
    }

    var subscriptions: [Subscription] = []
    var messages: [RawMessage] = []
    var have: [Announcement] = []
    var want: [MessageID] = []
    var unwanted: [MessageID] = []
    var grafts: [Topic] = []
    var prunes: [Prune] = []

    init(decoding bytes: ArraySlice<UInt8>) throws(ProtobufError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: try readSubscription(try field.message())
            case 2: messages.append(try RawMessage(try field.bytes()))
            case 3: try readControl(try field.message())
            default: break
            }
        }
    }

    private mutating func readSubscription(_ reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        var topic = Topic("")
        var isSubscribed = false
        while let field = try reader.next() {
            switch field.number {
            case 1: isSubscribed = try field.bool()
            case 2: topic = Topic(try field.bytes())
            default: break
            }
        }
        subscriptions.append(Subscription(topic: topic, isSubscribed: isSubscribed))
    }

    private mutating func readControl(_ reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        while let field = try reader.next() {
            switch field.number {
            case 1:
                let (topic, ids) = try Self.readEntry(try field.message(), topic: 1, ids: 2)
                have.append(Announcement(topic: topic, ids: ids))
            case 2: want += try Self.readEntry(try field.message(), topic: 0, ids: 1).ids
            case 3: grafts.append(try Self.readEntry(try field.message(), topic: 1, ids: 0).topic)
            case 4:
                var prune = Prune()
                try prune.read(try field.message())
                prunes.append(prune)
            case 5: unwanted += try Self.readEntry(try field.message(), topic: 0, ids: 1).ids
            default: break
            }
        }
    }

    /// Most control messages are made of the same parts, under different numbers; 0 stands for none.
    private static func readEntry(
        _ reader: ProtobufReader, topic topicField: Int, ids idField: Int
    ) throws(ProtobufError) -> (topic: Topic, ids: [MessageID]) {
        var reader = reader
        var topic = Topic("")
        var ids: [MessageID] = []
        while let field = try reader.next() {
            switch field.number {
            case topicField: topic = Topic(try field.bytes())
            case idField: ids.append(MessageID(try field.bytes()))
            default: break
            }
        }
        return (topic, ids)
    }
}

extension GossipRPC.Prune {
    fileprivate mutating func read(_ reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        while let field = try reader.next() {
            switch field.number {
            case 1: topic = Topic(try field.bytes())
            case 2: if let peer = try ExchangedPeer(reading: try field.message()) { peers.append(peer) }
            case 3: backOffSeconds = try field.uint64()
            default: break
            }
        }
    }
}

/// Somebody else who is in the topic, as a peer that has no room tells it. GPB-10, GS-27.
package struct ExchangedPeer: Equatable, Sendable {
    package let id: PeerID
    /// Its addresses, signed by itself in an envelope: not checked yet.
    package let record: Bytes?

    init(id: PeerID, record: Bytes?) { (self.id, self.record) = (id, record) }

    /// Nil where the ID is none.
    init?(reading reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        var (id, record): (PeerID?, Bytes?)
        while let field = try reader.next() {
            switch field.number {
            case 1: id = try? PeerID(Bytes(try field.bytes()))
            case 2: record = Bytes(try field.bytes())
            default: break
            }
        }
        guard let id else { return nil }
        self.init(id: id, record: record?.isEmpty == true ? nil : record)
    }
}

/// One part of an RPC to be sent, as protobuf.
enum GossipItem: Sendable {
    case plain(Bytes)
    /// Goes inside the RPC's one control message.
    case control(Bytes)

    var bytes: Bytes {
        switch self { case .plain(let bytes), .control(let bytes): bytes }
    }

    static func subscription(_ topic: Topic, _ isSubscribed: Bool, isHello: Bool = false) -> GossipItem {
        var writer = ProtobufWriter()
        writer.message(1) {
            $0.explicit(1, varint: isSubscribed ? 1 : 0)
            $0.explicit(2, bytes: topic.bytes)
            guard isHello else { return }
            $0.explicit(3, varint: 0)  // GS-08
            $0.explicit(4, varint: 0)
        }
        return .plain(writer.bytes)
    }
    static func publish(_ message: Bytes) -> GossipItem {
        var writer = ProtobufWriter(capacity: message.count + 6)
        writer.explicit(2, bytes: message)
        return .plain(writer.bytes)
    }
    static func have(_ topic: Topic, _ ids: [MessageID]) -> GossipItem {
        control(1) { writer in
            writer.explicit(1, bytes: topic.bytes)
            for id in ids { writer.explicit(2, bytes: id.bytes) }
        }
    }
    static func want(_ ids: [MessageID]) -> GossipItem {
        control(2) { writer in for id in ids { writer.explicit(1, bytes: id.bytes) } }
    }
    static func graft(_ topic: Topic) -> GossipItem { control(3) { $0.explicit(1, bytes: topic.bytes) } }
    static func unwanted(_ ids: [MessageID]) -> GossipItem {
        control(5) { writer in for id in ids { writer.explicit(1, bytes: id.bytes) } }
    }
    /// With neither peers nor seconds for peers of version 1.0 (GS-27).
    static func prune(_ topic: Topic, peers: [ExchangedPeer] = [], backOffSeconds: UInt64?) -> GossipItem {
        control(4) { writer in
            writer.explicit(1, bytes: topic.bytes)
            for peer in peers {
                writer.message(2) {
                    $0.explicit(1, bytes: peer.id.bytes)
                    if let record = peer.record { $0.explicit(2, bytes: record) }
                }
            }
            if let backOffSeconds { writer.explicit(3, varint: backOffSeconds) }
        }
    }
    private static func control(_ number: Int, _ build: (inout ProtobufWriter) -> Void) -> GossipItem {
        var writer = ProtobufWriter()
        writer.message(number, build)
        return .control(writer.bytes)
    }

    /// The items in as few frames as the limit allows; each item fits by itself.
    static func frames(_ items: [GossipItem], limitBytes: Int) -> [Bytes] {
        var frames: [Bytes] = []
        var plain: Bytes = []
        var control: Bytes = []
        func close() {
            if !control.isEmpty {
                var writer = ProtobufWriter(capacity: control.count + 6)
                writer.explicit(3, bytes: control)
                plain += writer.bytes
            }
            var frame: Bytes = []
            frame.reserveCapacity(plain.count + 5)
            appendVarint(UInt64(plain.count), to: &frame)
            frame += plain
            frames.append(frame)
            plain = []
            control = []
        }
        for item in items {
            let overhead = 8  // tag and length of the control message
            if plain.count + control.count + item.bytes.count + overhead > limitBytes, plain.count + control.count > 0 { close() }
            switch item {
            case .plain(let bytes): if plain.isEmpty { plain = bytes } else { plain += bytes }
            case .control(let bytes): control += bytes
            }
        }
        if plain.count + control.count > 0 { close() }
        return frames
    }
}
