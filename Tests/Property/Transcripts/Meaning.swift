// What bytes mean, a line for each field.

import Encoding
import Kernel
import Multiformats

/// How the fields of a protobuf message are called and what is in them.
indirect enum Shape {
    case number, text, bytes, peer, address, cid
    case message([Int: (name: String, shape: Shape)])

    static let identify = Shape.message([
        1: ("publicKey", .bytes), 2: ("listenAddrs", .address), 3: ("protocols", .text), 4: ("observedAddr", .address),
        5: ("protocolVersion", .text), 6: ("agentVersion", .text),
        8: ("signedPeerRecord", .message([
            1: ("public_key", .bytes), 2: ("payload_type", .bytes), 3: ("payload", .message([
                1: ("peer_id", .peer), 2: ("seq", .number), 3: ("addresses", .message([1: ("multiaddr", .address)])),
            ])), 5: ("signature", .bytes),
        ])),
    ])
    static let gossip = Shape.message([
        1: ("subscriptions", .message([
            1: ("subscribe", .number), 2: ("topicid", .text), 3: ("requestsPartial", .number), 4: ("supportsSendingPartial", .number),
        ])),
        2: ("publish", .message([
            1: ("from", .peer), 2: ("data", .bytes), 3: ("seqno", .bytes), 4: ("topic", .text), 5: ("signature", .bytes), 6: ("key", .bytes),
        ])),
        3: ("control", .message([
            1: ("ihave", .message([1: ("topicID", .text), 2: ("messageIDs", .bytes)])),
            2: ("iwant", .message([1: ("messageIDs", .bytes)])),
            3: ("graft", .message([1: ("topicID", .text)])),
            4: ("prune", .message([1: ("topicID", .text), 3: ("backoff", .number)])),
            5: ("idontwant", .message([1: ("messageIDs", .bytes)])),
        ])),
    ])
    static let bitswap = Shape.message([
        1: ("wantlist", .message([
            1: ("entries", .message([
                1: ("block", .cid), 2: ("priority", .number), 3: ("cancel", .number), 4: ("wantType", .number), 5: ("sendDontHave", .number),
            ])),
            2: ("full", .number),
        ])),
        3: ("payload", .message([1: ("prefix", .bytes), 2: ("data", .bytes)])),
        4: ("blockPresences", .message([1: ("cid", .cid), 2: ("type", .number)])),
    ])
    private static let dhtPeer = Shape.message([1: ("id", .peer), 2: ("addrs", .address), 3: ("connection", .number)])
    static let dht = Shape.message([
        1: ("type", .number), 2: ("key", .bytes), 3: ("record", .message([1: ("key", .bytes), 2: ("value", .bytes), 5: ("timeReceived", .text)])),
        8: ("closerPeers", dhtPeer), 9: ("providerPeers", dhtPeer), 10: ("clusterLevelRaw", .number),
    ])

    /// The messages of a stream, each with its length before it.
    func meaning(ofFrames bytes: Bytes) -> [String] {
        var reader = FrameReader(limitBytes: 8 << 20)
        reader.append(bytes)
        var lines: [String] = []
        do {
            while let frame = try reader.next() { lines += ["message of \(frame.count) bytes"] + (try fields(Bytes(frame), indent: "  ")) }
        } catch { lines.append("malformed: \(error)") }
        return reader.isEmpty ? lines : lines + ["and a part of another"]
    }

    private func fields(_ bytes: Bytes, indent: String) throws -> [String] {
        guard case .message(let known) = self else { return [] }
        var reader = ProtobufReader(bytes)
        var lines: [String] = []
        while let field = try reader.next() {
            let (name, shape) = known[field.number] ?? ("field \(field.number)", .bytes)
            switch field.value {
            case .varint(let value): lines.append("\(indent)\(name): \(value)")
            case .fixed32(let value): lines.append("\(indent)\(name): \(value)")
            case .fixed64(let value): lines.append("\(indent)\(name): \(value)")
            case .bytes(let value):
                if case .message = shape {
                    lines.append("\(indent)\(name)")
                    lines += try shape.fields(Bytes(value), indent: indent + "  ")
                } else {
                    lines.append("\(indent)\(name): \(try shape.text(Bytes(value)))")
                }
            }
        }
        return lines
    }

    private func text(_ bytes: Bytes) throws -> String {
        switch self {
        case .text: "\"\(String(decoding: bytes, as: UTF8.self))\""
        case .peer: try PeerID(bytes).description
        case .address: try Multiaddr(bytes).description
        case .cid: try CID(bytes).description
        default: shown(bytes)
        }
    }
}

/// As text where it is, and shortened where it is long: all of it stands above.
func shown(_ bytes: Bytes) -> String {
    if !bytes.isEmpty, bytes.allSatisfy({ 0x20..<0x7f ~= $0 }), bytes.count <= 64 { return "\"\(String(decoding: bytes, as: UTF8.self))\"" }
    return bytes.count <= 40 ? hexadecimal(bytes) : "\(hexadecimal(bytes.prefix(20)))… (\(bytes.count) bytes)"
}

enum MessagePack {
    /// Values one after another.
    static func meaning(_ bytes: Bytes) -> [String] {
        var reader = MessagePackReader(bytes)
        var lines: [String] = []
        do {
            while !reader.isAtEnd { lines.append(try value(&reader)) }
        } catch { lines.append("malformed: \(error)") }
        return lines
    }

    private static func value(_ reader: inout MessagePackReader) throws -> String {
        switch try reader.peek() {
        case 0x80...0x8f, 0xde, 0xdf:
            var members: [String] = []
            for _ in 0..<(try reader.map()) { members.append("\(try value(&reader)): \(try value(&reader))") }
            return "{" + members.joined(separator: ", ") + "}"
        case 0x90...0x9f, 0xdc, 0xdd:
            var elements: [String] = []
            for _ in 0..<(try reader.array()) { elements.append(try value(&reader)) }
            return "[" + elements.joined(separator: ", ") + "]"
        case 0xa0...0xbf, 0xc4...0xc6, 0xd9...0xdb: return shown(Bytes(try reader.raw()))
        case 0xc0: return try reader.null() ? "nil" : ""
        case 0xc2, 0xc3: return "\(try reader.bool())"
        case 0xca, 0xcb: return "\(try reader.float64())"
        default: return "\(try reader.int())"
        }
    }
}
