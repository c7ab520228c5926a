// Identify messages and signed peer records, against what upstream's libraries made.

import Encoding
import Kernel
import Multiformats
import TestSupport
import Testing
import Transport

@Suite struct IdentifyTests {
    private let vectors: [JSON]
    init() throws { vectors = try Golden.lines("vectors/identity/records.ndjson") }

    private func bytes(_ vector: JSON, _ key: String) throws -> Bytes { data(try #require(vector[key]?.text)) }

    /// SPR-01..06: made as upstream makes them, and judged as it judges.
    @Test func recordsAreUpstreams() throws {
        var keys: [String: IdentityKey] = [:]
        for line in try Golden.lines("vectors/identity/keys.ndjson") {
            if let id = line["id"]?.text, let text = line["private_key"]?.text { keys[id] = try IdentityKey(base64: text) }
        }
        var good = 0
        for vector in vectors where vector["kind"]?.text == "signed_peer_record" {
            let name = vector["id"]?.text ?? ""
            let envelope = try bytes(vector, "envelope")
            let key = try #require(keys[vector["key"]?.text ?? ""])
            let opened = try? PeerRecord.open(envelope)
            #expect((opened != nil) == (vector["ok"]?.flag == true), "\(name)")
            guard let opened else { continue }
            let isOwn = vector["signer_is_subject"]?.flag == true
            #expect((try? PeerRecord(sealed: envelope, by: key.peerID)) == (isOwn ? opened.0 : nil), "\(name)")
            guard isOwn else { continue }
            good += 1
            #expect(opened.1 == key.publicKey && opened.0.peer == key.peerID)
            #expect(try opened.0.payload == bytes(vector, "payload"), "\(name)")
            #expect(String(opened.0.sequence) == vector["seq"]?.text)
            #expect(opened.0.addresses.map(\.description) == (vector["addrs"]?.elements ?? []).compactMap(\.text))
            if key.publicKey.type == .ed25519 { #expect(opened.0.sealed(by: key) == envelope, "\(name)") }
        }
        #expect(good > 5)
    }

    @Test func messagesAreUpstreams() throws {
        var count = 0
        for vector in vectors where vector["kind"]?.text == "identify" {
            let name = vector["id"]?.text ?? ""
            let raw = try bytes(vector, "message")
            var message = IdentifyMessage()
            try message.merge(raw[...])
            #expect(message.encoded == raw, "\(name)")
            #expect(message.agentVersion == vector["agent_version"]?.text)
            #expect(message.protocolVersion == vector["protocol_version"]?.text)
            #expect(message.observedAddress?.description == vector["observed_addr"]?.text)
            #expect(message.protocols == (vector["protocols"]?.elements ?? []).compactMap(\.text))
            #expect(message.listenAddresses.map(\.description) == (vector["listen_addrs"]?.elements ?? []).compactMap(\.text))
            #expect((message.signedPeerRecord != nil) == (vector["with_signed_record"]?.flag == true))
            #expect(try IdentifyMessage(wire: message.wire) == message)
            count += 1
        }
        #expect(count > 10)
    }

    /// IDF-05.
    @Test func aLongMessageIsSentInTwo() throws {
        var message = IdentifyMessage()
        message.protocols = (0..<200).map { "/protocol/number/\($0)" }
        message.signedPeerRecord = PeerRecord(peer: keyA.peerID, sequence: 1, addresses: []).sealed(by: keyA)
        var frames = FrameReader(limitBytes: 1 << 20)
        frames.append(message.wire)
        #expect(try frames.next() != nil)
        #expect(try frames.next() != nil)
        #expect(try IdentifyMessage(wire: message.wire) == message)
        #expect(throws: TransportError.self) { try IdentifyMessage(wire: Bytes(message.wire.dropLast())) }
        #expect(throws: TransportError.self) { try IdentifyMessage(wire: []) }
        #expect(throws: TransportError.self) { try IdentifyMessage(wire: framed(Bytes(repeating: 0, count: 8193))) }
    }

    /// IDF-08.
    @Test func addressesAreKeptThatCanBeReached() {
        var message = IdentifyMessage()
        let addresses = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/1.2.3.4/tcp/1", "/dns4/a.example/tcp/1"]
        message.listenAddresses = addresses.map(multiaddr)
        func kept(_ remote: String, _ limit: Int = 100) -> [String] {
            message.usableAddresses(of: keyA.peerID, seenAt: multiaddr(remote), limit: limit).map(\.description)
        }
        #expect(kept("/ip6/::1/tcp/5") == addresses)
        #expect(kept("/ip4/10.0.0.1/tcp/5") == Array(addresses[1...]))
        #expect(kept("/ip4/8.8.8.8/tcp/5") == Array(addresses[2...]))
        #expect(kept("/ip4/8.8.8.8/tcp/5", 1) == [addresses[2]])
        message.signedPeerRecord = PeerRecord(
            peer: keyA.peerID, sequence: 1, addresses: [multiaddr("/ip4/9.9.9.9/tcp/1")]).sealed(by: keyB)
        #expect(kept("/ip4/8.8.8.8/tcp/5").count == 2)  // signed by somebody else
        message.signedPeerRecord = PeerRecord(
            peer: keyA.peerID, sequence: 1, addresses: [multiaddr("/ip4/9.9.9.9/tcp/1")]).sealed(by: keyA)
        #expect(kept("/ip4/8.8.8.8/tcp/5") == ["/ip4/9.9.9.9/tcp/1"])
    }
}
