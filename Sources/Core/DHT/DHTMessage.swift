// The messages of the Kademlia DHT. spec/wire-pubsub-dht-bitswap.md DHT-06, DHT-07, DHT-10.

import Encoding
import Kernel
import Multiformats

/// How much of a message is kept. The rest of what a peer may say, up to the longest frame, is passed over.
package struct DHTMessageLimits: Sendable {
    /// A bucket and the target itself make 21; there may be more providers.
    package var peersMax = 64
    package var addressesPerPeerMax = 16
    package var addressBytesMax = 512
    package init() {}
}

package struct DHTMessage: Equatable, Sendable {
    package enum Kind: UInt64, Sendable, CaseIterable {
        case putValue, getValue, addProvider, getProviders, findNode, ping
    }
    package enum Tie: UInt64, Sendable {
        case notConnected, connected, canConnect, cannotConnect
    }
    package struct Peer: Equatable, Sendable {
        package var id: PeerID
        package var addresses: [Multiaddr]
        package var tie: Tie
        package init(_ id: PeerID, _ addresses: [Multiaddr], _ tie: Tie = .notConnected) {
            (self.id, self.addresses, self.tie) = (id, addresses, tie)
        }
    }
    package struct Record: Equatable, Sendable {
        package var key: Bytes
        package var value: Bytes
        package var received: String
        package init(key: Bytes, value: Bytes, received: String = "") {
            (self.key, self.value, self.received) = (key, value, received)
        }
    }

    package var kind: Kind
    package var key: Bytes
    package var record: Record?
    package var closer: [Peer] = []
    package var providers: [Peer] = []
    /// Written by upstream as 1, and never read.
    package var level: UInt64 = 1

    package init(_ kind: Kind, key: Bytes = []) { (self.kind, self.key) = (kind, key) }

    package var encoded: Bytes {
        var writer = ProtobufWriter()
        writer.uint64(1, kind.rawValue)
        writer.bytes(2, key)
        if let record {
            writer.message(3) {
                $0.bytes(1, record.key)
                $0.bytes(2, record.value)
                $0.string(5, record.received)
            }
        }
        for peer in closer { writer.message(8) { DHTMessage.write(peer, to: &$0) } }
        for peer in providers { writer.message(9) { DHTMessage.write(peer, to: &$0) } }
        writer.uint64(10, level)
        return writer.bytes
    }
    package var frame: Bytes { framed(encoded) }

    private static func write(_ peer: Peer, to writer: inout ProtobufWriter) {
        writer.bytes(1, peer.id.bytes)
        for address in peer.addresses { writer.explicit(2, bytes: address.bytes) }
        writer.uint64(3, peer.tie.rawValue)
    }
}

package enum DHTFault: Error, Equatable, Sendable {
    case unknownType(UInt64)
    case badKey(String)
    case badRecord(String)
    case unasked
    case tooMuch(String)
}

extension DHTMessage {
    /// A peer or an address that cannot be read loses only itself.
    package init(decoding bytes: ArraySlice<UInt8>, within limits: DHTMessageLimits = DHTMessageLimits()) throws {
        self.init(.putValue)
        level = 0
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                let raw = try field.uint64()
                guard let kind = Kind(rawValue: raw) else { throw DHTFault.unknownType(raw) }
                self.kind = kind
            case 2: key = Bytes(try field.bytes())
            case 3: record = try DHTMessage.record(field.message())
            case 8: try DHTMessage.read(field, into: &closer, limits)
            case 9: try DHTMessage.read(field, into: &providers, limits)
            case 10: level = try field.uint64()
            default: break
            }
        }
    }

    private static func record(_ message: ProtobufReader) throws -> Record {
        var (reader, record) = (message, Record(key: [], value: []))
        while let field = try reader.next() {
            switch field.number {
            case 1: record.key = Bytes(try field.bytes())
            case 2: record.value = Bytes(try field.bytes())
            case 5: record.received = try field.string()
            default: break
            }
        }
        return record
    }

    private static func read(_ field: ProtobufReader.Field, into peers: inout [Peer], _ limits: DHTMessageLimits) throws {
        guard peers.count < limits.peersMax else { return }
        var reader = try field.message()
        var (id, addresses, tie): (PeerID?, [Multiaddr], Tie) = (nil, [], .notConnected)
        while let field = try reader.next() {
            switch field.number {
            case 1: id = try? PeerID(field.bytes())
            case 2:
                let bytes = try field.bytes()
                guard addresses.count < limits.addressesPerPeerMax, bytes.count <= limits.addressBytesMax else { break }
                if let address = try? Multiaddr(bytes), !addresses.contains(address) { addresses.append(address) }
            case 3: tie = Tie(rawValue: try field.uint64()) ?? .notConnected
            default: break
            }
        }
        if let id { peers.append(Peer(id, addresses, tie)) }
    }
}
