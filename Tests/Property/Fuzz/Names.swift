// Names and keys: multihash, CID, peer ID, multiaddr, bases.

import Encoding
import Kernel
import Multiformats

extension Target {
    static let names: [Target] = [
        .roundTrip("multihash", upTo: 128, seeds: { Seeds.hex("multiformats.ndjson", "hex", kind: "peer") },
                   decode: { try Multihash($0) }, encode: { $0.bytes }),
        Target("cid", upTo: 256, seeds: {
            Seeds.hex("multiformats.ndjson", "hex", kind: "cid") + Seeds.hex("multiformats.ndjson", "in_hex", kind: "cid-bytes")
        }) { bytes in
            let plain = bytes.withUnsafeBytes { CID.plainCodec($0) }
            guard let cid = try? CID(bytes) else { return require(plain == nil, "no CID is plain: \(hex(bytes))") }
            require(cid.bytes == bytes, "\(cid) has other bytes")
            require(plain == nil || plain == cid.codec, "\(cid) has another codec")
            require((try? CID(text: cid.description)) == cid, "\(cid) does not come back from its text")
            require((try? Multihash(cid.multihashBytes)) == cid.multihash, "\(cid) has no multihash")
            if cid.version == 1 {
                for base in Multibase.all { require((try? CID(text: cid.text(in: base))) == cid, "\(cid) is lost in \(base.name)") }
            }
        },
        Target("cid-text", upTo: 512, seeds: {
            Seeds.texts("multiformats.ndjson", "text", kind: "cid") + Seeds.texts("multiformats.ndjson", "in", kind: "cid-text")
        }) { bytes in
            guard let cid = try? CID(text: String(decoding: bytes, as: UTF8.self)) else { return }
            require((try? CID(text: cid.description)) == cid && (try? CID(cid.bytes)) == cid, "\(cid) does not come back")
        },
        Target("peer-id", upTo: 256, seeds: {
            Seeds.texts("multiformats.ndjson", "text", kind: "peer") + Seeds.texts("multiformats.ndjson", "in", kind: "peer-text")
                + Seeds.hex("multiformats.ndjson", "hex", kind: "peer") + Seeds.hex("multiformats.ndjson", "in_hex", kind: "peer-bytes")
        }) { bytes in
            for peer in [try? PeerID(bytes), try? PeerID(text: String(decoding: bytes, as: UTF8.self))].compactMap({ $0 }) {
                require((try? PeerID(peer.bytes)) == peer, "\(peer) does not come back from its bytes")
                // A text has to begin like one of a peer ID (PID-03).
                let text = peer.description
                if text.hasPrefix("Qm") || text.hasPrefix("1") { require((try? PeerID(text: text)) == peer, "\(peer) does not come back") }
                _ = peer.publicKey
            }
        },
        Target("multiaddr", upTo: 512, seeds: {
            Seeds.hex("multiformats.ndjson", "hex", kind: "multiaddr") + Seeds.hex("multiformats.ndjson", "in_hex", kind: "multiaddr-bytes")
        }) { bytes in
            guard let address = try? Multiaddr(bytes) else { return }
            Target.look(at: address)
            comesBack(address.bytes, { try Multiaddr($0) }, { $0.bytes })
        },
        Target("multiaddr-text", upTo: 512, seeds: {
            Seeds.texts("multiformats.ndjson", "in", kind: "multiaddr") + Seeds.texts("multiformats.ndjson", "in", kind: "multiaddr-text")
        }) { bytes in
            guard let address = try? Multiaddr(text: String(decoding: bytes, as: UTF8.self)) else { return }
            require((try? Multiaddr(address.bytes)) == address, "\(address) does not come back from its bytes")
            require((try? Multiaddr(text: address.description)) == address, "\(address) does not come back from its text")
            Target.look(at: address)
        },
        Target("multibase", upTo: 256, seeds: {
            Multibase.all.enumerated().map { [UInt8($0)] + Bytes($1.encode(Bytes("any carnal pleas".utf8)).utf8) }
        }) { bytes in
            guard let first = bytes.first, Int(first) < Multibase.all.count else { return }
            let base = Multibase.all[Int(first)], rest = Bytes(bytes.dropFirst())
            require(base.decode(base.encode(rest)) == rest, "\(hex(rest)) is lost in \(base.name)")
            guard let decoded = base.decode(String(decoding: rest, as: UTF8.self)) else { return }
            require(base.decode(base.encode(decoded)) == decoded, "\(hex(decoded)) is lost in \(base.name)")
        },
        Target("keys", upTo: 1536, seeds: {
            Seeds.hex("identity/keys.ndjson", "public_key_hex")
                + Seeds.texts("identity/keys.ndjson", "private_key").compactMap { decodeBase64(String(decoding: $0, as: UTF8.self)) }
        }) { bytes in
            if let key = try? PublicKey(protobuf: bytes) {
                require((try? PublicKey(protobuf: key.protobuf)) == key, "a public key does not come back")
                _ = key.peerID
                _ = key.verify(bytes.suffix(64), of: [1, 2, 3])
            }
            if let key = try? IdentityKey(protobuf: bytes) {
                require(key.publicKey.verify(key.sign([1, 2, 3]), of: [1, 2, 3]), "a key does not verify what it has signed")
                require((try? IdentityKey(base64: key.base64))?.peerID == key.peerID, "a key does not come back")
            }
        },
    ]

    private static func look(at address: Multiaddr) {
        _ = (address.description, address.ip, address.port, address.isDNS, address.isLoopback, address.isGlobalUnicast)
        require(Multiaddr(address.components).bytes == address.bytes, "\(address) is not its parts")
        // Nothing may follow a path, such as that of /unix, a peer neither.
        guard let peer = address.peerID, let again = try? Multiaddr(address.withoutPeer.with(peer: peer).bytes) else { return }
        require(again.peerID == peer, "\(address) loses its peer")
    }
}
