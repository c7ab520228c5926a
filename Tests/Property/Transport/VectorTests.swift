// The layers of a connection against the vectors of spec/wire-transport.md.

import CSalsa20
import Crypto
import Kernel
import Multiformats
import Testing
import Transport

func data(_ text: String) -> Bytes {
    guard let bytes = bytes(hex: text) else { fatalError("not hexadecimal: \(text)") }
    return bytes
}

@Suite struct TransportVectorTests {
    private let key = Bytes(0..<32)
    private let nonce = Bytes(0..<24)

    /// PNET-10, over pieces of every size.
    @Test func theKeystreamIsXSalsa20() {
        let stream = data("7cb660afdd9ec6468f57dd6d2433f93428fd82cd7386c5471a24d8ad2a525b6e5eff384fc7caa210bb3c8f3e688f4a97"
            + "52a546df8c253fef17a2679455c7a1e183dbf5d545b0f502b98de0997a66ab432341689ff397dc4fbc1f27bd1a6197f5")
        for size in 1...stream.count {
            var cipher = XSalsa20(key: key, nonce: nonce)
            var out: Bytes = []
            while out.count < stream.count {
                var piece = Bytes(repeating: 0, count: min(size, stream.count - out.count))
                cipher.apply(to: &piece)
                out += piece
            }
            #expect(out == stream, "in pieces of \(size)")
        }
    }

    /// NaCl's tests/stream.c: four mebibytes, made at once and in pieces that begin and end anywhere.
    @Test func theKeystreamGoesOn() {
        let key = data("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
        let nonce = data("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
        var cipher = XSalsa20(key: key, nonce: nonce)
        var whole = Bytes(repeating: 0, count: 4 << 20)
        cipher.apply(to: &whole)
        #expect(hex(sha256(whole)) == "662b9d0e3463029156069b12f918691a98f7dfb2ca0393c96bbfc6b1fbd630a2")
        var choices = Choices(seed: 9)
        cipher = XSalsa20(key: key, nonce: nonce)
        var start = 0
        while start < 100_000 {
            var piece = Bytes(repeating: 0, count: choices.below(choices.chance(1, in: 2) ? 700 : 5000))
            cipher.apply(to: &piece)
            #expect(piece[...] == whole[start..<start + piece.count], "\(piece.count) bytes from \(start)")
            start += piece.count
        }
    }

    /// Whatever the machine has: vectors of eight and of sixteen blocks say the same, from whichever block they begin, and where the
    /// count of blocks outgrows its first word.
    @Test func wideVectorsAgree() {
        let input = (0..<16).map { UInt32($0) &* 2_654_435_761 }
        let plain = Bytes((0..<8192).map { UInt8(truncatingIfNeeded: $0 * 7) })
        func stream(_ blocks: Int32, from block: UInt64) -> (bytes: Bytes, done: Int, next: UInt64) {
            var words = input, out = plain
            (words[8], words[9]) = (UInt32(truncatingIfNeeded: block), UInt32(block >> 32))
            let done = salsa20_xor_blocks(blocks, &words, plain, &out, plain.count)
            return (out, done, UInt64(words[9]) << 32 | UInt64(words[8]))
        }
        let first: UInt64 = 7 << 32 | 0xffff_ffe5
        let (eight, sixteen) = (stream(8, from: first), stream(16, from: first))
        for wide in [eight, sixteen] {
            #expect(wide.done == 0 && wide.next == first || wide.done == plain.count && wide.next == first + 128)
        }
        guard eight.done > 0 else { return }
        if sixteen.done > 0 { #expect(eight.bytes == sixteen.bytes) }
        for shift in 1..<16 {
            let (bytes, _, _) = stream(8, from: first + UInt64(shift))
            for index in 0..<8192 - 64 * shift where bytes[index] ^ plain[index] != eight.bytes[index + 64 * shift] ^ plain[index + 64 * shift] {
                Issue.record("block \(index / 64) of those from \(shift)")
                break
            }
        }
    }

    /// PNET-04, PNET-11.
    @Test func theNonceGoesFirstAndInClear() {
        let plain = data("132f6d756c746973747265616d2f312e302e300a072f6e6f6973650a")
        let wire = nonce + data("6f990ddab1eaaf35fb25b80c491cc81a18d3b2c774a9ab287357bda7")
        var writer = PrivateNetwork(key: key, nonce: nonce)
        var parts: [Bytes] = [[], Bytes(plain[..<5]), Bytes(plain[5...])]
        for index in parts.indices { writer.seal(&parts[index]) }
        #expect(parts[0].isEmpty && parts[1] + parts[2] == wire)
        for cut in 0...wire.count {
            var reader = PrivateNetwork(key: key, nonce: Bytes(repeating: 9, count: 24))
            #expect(reader.opened(Bytes(wire[..<cut])) + reader.opened(Bytes(wire[cut...])) == plain, "cut at \(cut)")
        }
    }

    /// MSV-01..09.
    @Test(arguments: [
        ("/multistream/1.0.0", "132f6d756c746973747265616d2f312e302e300a"), ("/noise", "072f6e6f6973650a"),
        ("/yamux/1.0.0", "0d2f79616d75782f312e302e300a"), ("na", "036e610a"),
        ("/ipfscluster/1.0/rpc", "152f697066" + "73636c75737465722f312e302f7270630a"),
    ])
    func tokensAreFramed(_ text: String, _ wire: String) { #expect(Multistream.token(text) == data(wire)) }

    /// YMX-V1..V10.
    @Test func framesHaveTheirTwelveBytes() throws {
        let vectors: [(YamuxHeader, String)] = [
            (YamuxHeader(.windowUpdate, .syn, stream: 1), "000100010000000100000000"),
            (YamuxHeader(.windowUpdate, .ack, stream: 1), "000100020000000100000000"),
            (YamuxHeader(.data, stream: 1, length: 5), "000000000000000100000005"),
            (YamuxHeader(.windowUpdate, stream: 1, length: 131_072), "000100000000000100020000"),
            (YamuxHeader(.windowUpdate, .fin, stream: 1), "000100040000000100000000"),
            (YamuxHeader(.windowUpdate, .rst, stream: 1), "000100080000000100000000"),
            (YamuxHeader(.windowUpdate, .rst, stream: 1, length: 0x1001), "000100080000000100001001"),
            (YamuxHeader(.ping, .syn, stream: 0), "000200010000000000000000"),
            (YamuxHeader(.ping, .ack, stream: 0), "000200020000000000000000"),
            (YamuxHeader(.goAway, stream: 0), "000300000000000000000000"),
        ]
        for (header, wire) in vectors {
            var out: Bytes = []
            header.append(to: &out)
            #expect(hex(out) == wire)
            #expect(try YamuxHeader(data(wire)[...]) == header)
        }
    }

    // MARK: Noise

    private static let second = "00d8ff2ee45601ec1b67310c7790404585ae697331eee1c1f8cf2419731c1fff3e6bfcadb15080d9fd0434a18565751d3b"
        + "6022bec571f33b6212486a1bffa54d1a1ee7712455070d4e3666e35c1eca6c109ed4e7d1b5c88bd35a1e419992fcacaf30b7ff2dfe74dc229afe4"
        + "d158889f4f0ca5ed201ae15e7a526a93fbcb0b116c19f294a7b5a941068fb7a0d3bb180da6e45e2a03fdf9d0d96981465c8cced7b67a9f89c75fd"
        + "a0c7b48f36f9bfa58f8156cc53477d29c195a2daacf2365a8c57d730cbff4ff1920ce3c77b798458b1efab0deb6746671e8612ac"
    private static let third = "00b8a7ea7dd47dddbcfcd736b91b174c6107b2ad26c161965a119a7b644e0c6b3d064abaad6a10a7a48bb3daddb1fff4cece"
        + "7b9e4620d57dbc3730c6ed1dd6ff0dfadfa40efeb153de7aede08021de624dfea5099fd468bed95bc57a03bf04f1902e57babd8f9974f5b6733ab0"
        + "25b9b7c4a9264047c034f1f8812cd7936f802e525ca821ea9704633dce60c57d0c3b409ff24f6d720e496192cc1f922b4ac4def4088ea98448d7f9"
        + "ec9247b07e239ab18ad4f5572dfda099d0e3"

    /// NOISE-V1..V11, in pieces of every size.
    @Test(arguments: [1, 2, 3, 7, 100, 1000])
    func aHandshakeHasUpstreamsBytes(_ size: Int) throws {
        func key(_ byte: UInt8) -> Bytes { Bytes(repeating: byte, count: 32) }
        var initiator = Noise(
            role: .initiator(expecting: keyB.peerID), identity: keyA, staticKey: key(0x11), ephemeralKey: key(0x33),
            muxers: ["/yamux/1.0.0"])
        var responder = Noise(
            role: .responder, identity: keyB, staticKey: key(0x22), ephemeralKey: key(0x44), muxers: ["/yamux/1.0.0"])
        func feed(_ noise: inout Noise, _ wire: Bytes) throws -> (Bytes, Bytes) {
            var reply: Bytes = [], plain: Bytes = []
            for start in stride(from: 0, to: wire.count, by: size) {
                try noise.receive(Bytes(wire[start..<min(start + size, wire.count)]), reply: &reply, plain: &plain)
            }
            return (reply, plain)
        }
        let first = try initiator.start()
        #expect(hex(first) == "00207b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14")
        let second = try feed(&responder, first).0
        #expect(hex(second) == Self.second)
        let third = try feed(&initiator, second).0
        #expect(hex(third) == Self.third)
        _ = try feed(&responder, third)
        #expect(initiator.peer?.key == keyB.publicKey && initiator.peer?.muxer == "/yamux/1.0.0")
        #expect(responder.peer?.key == keyA.publicKey && responder.peer?.muxer == "/yamux/1.0.0")
        #expect(hex(initiator.transcript) == "c147f394403d0badfdd91be04a72c4f1a6889acbcf462bf91a4f113e088cc1bf")
        #expect(responder.transcript == initiator.transcript)

        var wire: Bytes = []
        try initiator.seal(Bytes("hello".utf8), into: &wire)
        #expect(hex(wire) == "0015ba55be97fa66e48a762932740de22240fe3f66270c")
        #expect(try feed(&responder, wire).1 == Bytes("hello".utf8))
        wire = []
        try initiator.seal(Bytes("hello".utf8), into: &wire)
        #expect(hex(wire) == "001554184620c7e76189de6393f936c9d714cdb762c9d3")
        wire = []
        try responder.seal(Bytes("world".utf8), into: &wire)
        #expect(hex(wire) == "0015638f8a7cd0f5ef74f6817cf13c08d796ad1620b062")
        #expect(try feed(&initiator, wire).1 == Bytes("world".utf8))
    }

    /// NOISE-06, NOISE-08, NOISE-10.
    @Test func whoSignedAnotherSessionIsNobody() throws {
        let session = Bytes(repeating: 5, count: 32)
        let payload = NoisePayload(key: keyB, staticKey: session, muxers: ["/yamux/1.0.0"])
        let again = try NoisePayload(decoding: payload.encoded)
        #expect(again == payload)
        #expect(try again.identity(staticKey: session, expecting: keyB.peerID) == keyB.publicKey)
        let other = Bytes(repeating: 6, count: 32)
        let error = #expect(throws: TransportError.self) { try again.identity(staticKey: other, expecting: keyB.peerID) }
        #expect(error?.reason.contains("signature") == true)
        #expect(throws: TransportError.self) { try again.identity(staticKey: session, expecting: keyA.peerID) }
        var many = payload
        many.muxers = Array(repeating: "/x", count: 101)
        #expect(try NoisePayload(decoding: many.encoded).muxers == nil)
        #expect(throws: TransportError.self) { try NoisePayload(decoding: [0x0a, 0x05, 0x00]) }
    }

    @Test func messagesAreAtMostWhatTwoBytesCanSay() throws {
        var cipher = NoiseCipher(key: key, counter: .max - 1)
        var out: Bytes = []
        try cipher.seal([1, 2, 3], into: &out)
        #expect(throws: TransportError.self) { try cipher.seal([1], into: &out) }  // the last nonce is reserved
        #expect(Noise.plainBytesLimit == 65519)
    }
}
