// Names and addresses, against the vectors that upstream computed.

import Encoding
import Kernel
import Multiformats
import TestSupport
import Testing

@Suite struct MultiformatsTests {
    /// As go-multiaddr has it.
    @Test(arguments: [
        ("/ip4/8.8.8.8/tcp/1", true), ("/ip4/10.0.0.1/tcp/1", false), ("/ip4/100.64.0.1/tcp/1", false), ("/ip4/192.0.2.2/tcp/1", false),
        ("/ip4/203.0.113.9/tcp/1", false), ("/ip4/198.19.0.1/tcp/1", false), ("/ip4/198.20.0.1/tcp/1", true), ("/ip4/0.1.2.3/tcp/1", false),
        ("/ip4/224.0.0.1/udp/1", false), ("/ip4/255.255.255.255/tcp/1", false), ("/ip4/169.254.1.1/tcp/1", false), ("/ip4/192.88.98.1/tcp/1", true),
        ("/ip6/2606:4700::1/tcp/1", true), ("/ip6/2001:db8::1/tcp/1", false), ("/ip6/fe80::1/tcp/1", false), ("/ip6/::1/tcp/1", false),
        ("/ip6/fc00::1/tcp/1", false), ("/ip6/64:ff9b::808:808/tcp/1", true), ("/ip6/5f00::1/tcp/1", false),
        ("/dns4/example.org/tcp/1", true), ("/dns/host.local/tcp/1", false), ("/dns4/localhost/tcp/1", false), ("/dnsaddr/a.test", false),
        ("/ip4/8.8.8.8/tcp/1/p2p-circuit", false), ("/unix/a/b", false),
    ])
    func publicAddressesAreThoseOfTheWholeNet(text: String, isPublic: Bool) throws {
        #expect(try Multiaddr(text: text).isPublic == isPublic)
    }

    private func cases(_ kind: String) throws -> [JSON] {
        try Golden.lines("vectors/multiformats.ndjson").filter { $0["kind"]?.text == kind }
    }

    @Test func cidsReadAndPrintAsUpstreamDoes() throws {
        let all = try cases("cid")
        #expect(!all.isEmpty)
        for vector in all {
            let id = vector["id"]?.text ?? ""
            let raw = try #require(bytes(hex: vector["hex"]?.text ?? ""))
            let cid = try CID(raw)
            #expect(cid.description == vector["text"]?.text, "\(id)")
            #expect(cid.version == vector["version"]?.integer(Int.self), "\(id)")
            #expect(cid.codec == vector["codec"]?.integer(UInt64.self), "\(id)")
            #expect(try CID(text: cid.description) == cid, "\(id)")
        }
    }

    @Test func everyBaseOfACIDReadsAndPrintsAsUpstreams() throws {
        var seen: Set<String> = []
        for vector in try Golden.lines("vectors/multiformats.ndjson") {
            guard case .object(let texts)? = vector["bases"], let digits = vector["bases"]?["base16"]?.text?.dropFirst(),
                let raw = bytes(hex: String(digits))
            else { continue }
            // The texts of a peer are those of its ID as a CID.
            if vector["kind"]?.text == "cid" { #expect(hex(raw) == vector["hex"]?.text) }
            let cid = try? CID(raw)
            for text in texts where text.name != "identity" {  // raw bytes are no text
                let base = try #require(Multibase.all.first { $0.name == text.name }, "\(text.name)")
                let expected = text.value.text ?? ""
                #expect(String(base.prefix) + base.encode(raw) == expected)
                #expect(base.decode(expected.unicodeScalars.dropFirst().map(String.init).joined()) == raw)
                if let cid { #expect(try CID(text: expected) == cid && cid.text(in: base) == expected) }
                seen.insert(text.name)
            }
        }
        #expect(seen.count == Multibase.all.count)
    }

    @Test func paddingMustFit() throws {
        let padded = try #require(Multibase.all.first { $0.name == "base64pad" })
        #expect(padded.decode("AQ==") == [1])
        for wrong in ["AQ", "AQ=", "AQ===", "A=Q=", "="] { #expect(padded.decode(wrong) == nil) }
        #expect(Multibase.base64.decode("AQ==") == nil)
    }

    @Test func multiaddressesReadAndPrintAsUpstreamDoes() throws {
        for vector in try cases("multiaddr") {
            let id = vector["id"]?.text ?? ""
            let address = try Multiaddr(text: vector["in"]?.text ?? "")
            #expect(address.description == vector["text"]?.text, "\(id)")
            #expect(hex(address.bytes) == vector["hex"]?.text, "\(id)")
            #expect(try Multiaddr(address.bytes) == address, "\(id)")
        }
    }

    @Test func peerIDsReadAndPrintAsUpstreamDoes() throws {
        for vector in try cases("peer") {
            let id = vector["id"]?.text ?? ""
            let peer = try PeerID(try #require(bytes(hex: vector["hex"]?.text ?? "")))
            #expect(peer.description == vector["text"]?.text, "\(id)")
            #expect(try PeerID(text: peer.description) == peer, "\(id)")
        }
    }

    @Test func verdictsOnTextsAndBytes() throws {
        let checks: [(String, (Bytes) -> Bool)] = [
            ("cid-text", { (try? CID(text: String(decoding: $0, as: UTF8.self))) != nil }),
            ("cid-bytes", { (try? CID($0)) != nil }),
            ("peer-text", { (try? PeerID(text: String(decoding: $0, as: UTF8.self))) != nil }),
            ("peer-bytes", { (try? PeerID($0)) != nil }),
            ("multiaddr-text", { (try? Multiaddr(text: String(decoding: $0, as: UTF8.self))) != nil }),
            ("multiaddr-bytes", { (try? Multiaddr($0)) != nil }),
        ]
        for (kind, accepts) in checks {
            for vector in try cases(kind) {
                let input = vector["in_hex"]?.text.flatMap { bytes(hex: $0) } ?? Bytes((vector["in"]?.text ?? "").utf8)
                #expect(accepts(input) == (vector["ok"]?.flag ?? true), "\(vector["id"]?.text ?? "") \(vector["in"]?.text ?? "")")
            }
        }
    }

    @Test func keysOfEveryTypeLoadAndSign() throws {
        let vectors = try Golden.lines("vectors/identity/keys.ndjson").filter { $0["signature_hex"] != nil }
        #expect(vectors.count >= 4)
        for vector in vectors {
            let id = vector["id"]?.text ?? ""
            let key = try IdentityKey(base64: vector["private_key"]?.text ?? "")
            let message = try #require(bytes(hex: vector["message_hex"]?.text ?? ""))
            let signature = try #require(bytes(hex: vector["signature_hex"]?.text ?? ""))
            #expect(key.peerID.description == vector["peer_id"]?.text, "\(id)")
            #expect(hex(key.publicKey.protobuf) == vector["public_key_hex"]?.text, "\(id)")
            #expect(key.publicKey.verify(signature, of: message), "\(id)")
            #expect(!key.publicKey.verify(signature, of: message + [0]), "\(id)")
            #expect(key.publicKey.verify(key.sign(message), of: message), "\(id)")
            #expect((key.peerID.publicKey != nil) == vector["key_in_id"]?.flag, "\(id)")
            if vector["signature_repeats"]?.flag == true && key.publicKey.type != .secp256k1 { #expect(key.sign(message) == signature, "\(id)") }
        }
    }

    /// A key file that has rotted is refused when it is read, not by every peer that is greeted with it.
    @Test func changedKeysAreRefusedOrGood() throws {
        var refused = 0
        for vector in try Golden.lines("vectors/identity/keys.ndjson") where vector["signature_hex"] != nil {
            let whole = try IdentityKey(base64: vector["private_key"]?.text ?? "").protobuf
            for place in stride(from: 6, to: whole.count, by: max(1, whole.count / 40)) {
                var changed = whole
                changed[place] ^= 0x10
                guard let key = try? IdentityKey(protobuf: changed) else { refused += 1; continue }
                #expect(key.publicKey.verify(key.sign([1, 2, 3]), of: [1, 2, 3]), "\(vector["id"]?.text ?? "") at \(place)")
            }
        }
        #expect(refused > 50)
    }

    /// Found by fuzzing: a change after which OpenSSL loads the key and cannot sign with it.
    @Test func aKeyThatCannotSignIsRefused() throws {
        let vector = try #require(try Golden.lines("vectors/identity/keys.ndjson").first { (decodeBase64($0["private_key"]?.text ?? "")?.count ?? 0) == 1196 })
        var changed = try #require(decodeBase64(vector["private_key"]?.text ?? ""))
        for (place, byte) in [(109, 0x50), (796, 0xb4), (797, 0x06), (798, 0xd0), (800, 0x4d), (801, 0x84)] as [(Int, UInt8)] { changed[place] = byte }
        #expect(throws: MultiformatError.self) { try IdentityKey(protobuf: changed) }
    }
}
