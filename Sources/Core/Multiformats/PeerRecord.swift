// A peer's addresses, signed by it. SPR-01..06.

import Encoding
import Kernel

package struct PeerRecord: Equatable, Sendable {
    package var peer: PeerID
    /// Grows with every record that a peer makes.
    package var sequence: UInt64
    package var addresses: [Multiaddr]

    private static let domain = Bytes("libp2p-peer-record".utf8)
    private static let payloadType: Bytes = [0x03, 0x01]

    package init(peer: PeerID, sequence: UInt64, addresses: [Multiaddr]) {
        self.peer = peer
        self.sequence = sequence
        self.addresses = addresses
    }

    package var payload: Bytes {
        var writer = ProtobufWriter()
        writer.bytes(1, peer.bytes)
        writer.uint64(2, sequence)
        for address in addresses { writer.message(3) { $0.bytes(1, address.bytes) } }
        return writer.bytes
    }

    /// SPR-02.
    private static func signedBytes(_ payload: Bytes) -> Bytes { framed(domain) + framed(payloadType) + framed(payload) }

    /// The envelope, as it goes over the wire.
    package func sealed(by key: IdentityKey) -> Bytes {
        let payload = payload
        var writer = ProtobufWriter()
        writer.explicit(1, bytes: key.publicKey.protobuf)
        writer.explicit(2, bytes: PeerRecord.payloadType)
        writer.explicit(3, bytes: payload)
        writer.explicit(5, bytes: key.sign(PeerRecord.signedBytes(payload)))
        return writer.bytes
    }

    /// A record whose envelope was signed by that peer itself. Addresses of unknown kinds are left out.
    package init(sealed bytes: Bytes, by signer: PeerID) throws(MultiformatError) {
        let (record, key) = try PeerRecord.open(bytes)
        guard key.peerID == signer, record.peer == signer else {
            throw MultiformatError.badRecord("of \(record.peer), signed by \(key.peerID), shown by \(signer)")
        }
        self = record
    }

    /// The record and who signed it, which may be somebody else.
    package static func open(_ bytes: Bytes) throws(MultiformatError) -> (PeerRecord, PublicKey) {
        var shownKey: Bytes = [], type: Bytes = [], payload: Bytes = [], signature: Bytes = []
        do {
            var reader = ProtobufReader(bytes)
            while let field = try reader.next() {
                switch field.number {
                case 1: shownKey = Bytes(try field.bytes())
                case 2: type = Bytes(try field.bytes())
                case 3: payload = Bytes(try field.bytes())
                case 5: signature = Bytes(try field.bytes())
                default: break
                }
            }
        } catch { throw MultiformatError.badRecord("malformed envelope: \(error)") }
        let key: PublicKey
        do { key = try PublicKey(protobuf: shownKey) } catch { throw MultiformatError.badRecord("\(error)") }
        guard type == payloadType else { throw MultiformatError.badRecord("an envelope of type \(hex(type))") }
        guard key.verify(signature, of: signedBytes(payload)) else { throw MultiformatError.badRecord("invalid signature") }
        return (try PeerRecord(payload: payload), key)
    }

    private init(payload: Bytes) throws(MultiformatError) {
        var id: PeerID?
        sequence = 0
        addresses = []
        do {
            var reader = ProtobufReader(payload)
            while let field = try reader.next() {
                switch field.number {
                case 1: id = try? PeerID(try field.bytes())
                case 2: sequence = try field.uint64()
                case 3:
                    var inner = try field.message()
                    while let part = try inner.next() {
                        if part.number == 1, let address = try? Multiaddr(try part.bytes()) { addresses.append(address) }
                    }
                default: break
                }
            }
        } catch { throw MultiformatError.badRecord("malformed: \(error)") }
        guard let id else { throw MultiformatError.badRecord("of no peer") }
        peer = id
    }
}
