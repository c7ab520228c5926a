// Messages between peers, against what upstream's libraries made and accepted.

import Encoding
import Exchange
import Gossip
import Kernel
import Multiformats
import Seams
import TestSupport
import Testing

@Suite struct WireVectorTests {
    /// Upstream accepts what is signed by its author and refuses the rest; the IDs of what it accepts are ours.
    @Test func signaturesAreJudgedAsUpstreamDoes() throws {
        let keys = try Golden.lines("vectors/identity/keys.ndjson").compactMap { $0["private_key"]?.text }
        let signer = IdentitySigner(key: try IdentityKey(base64: try #require(keys.first)))
        var accepted = 0
        for vector in try Golden.lines("vectors/identity/pubsub.ndjson") {
            guard let text = vector["message"]?.text, let raw = bytes(hex: text), let verdict = vector["accepted"]?.flag else { continue }
            let id = vector["id"]?.text ?? ""
            let message = try? GossipMessage(decoding: raw[...])
            let isSound = message.map { message in
                guard let from = message.from, let author = try? PeerID(from), let signature = message.signature else { return false }
                return message.id != nil && signer.verify(message.signedBytes, signature: signature, author: author, key: message.key)
            } ?? false
            // A message ID that upstream cannot make crashes it; we refuse.
            let expected = verdict && vector["message_id_panic"] == nil
            #expect(isSound == expected, "\(id) \(vector["note"]?.text ?? "")")
            if expected, let wanted = vector["message_id"]?.text { #expect(message?.id.map { hex($0) } == wanted, "\(id)") }
            accepted += expected ? 1 : 0
        }
        #expect(accepted == 18)
    }

    private static let hello = "015512202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

    /// BSV-01..06.
    @Test func bitswapMessagesHaveUpstreamsBytes() throws {
        let cid = try CID(try #require(bytes(hex: Self.hello)))
        func entry(_ change: (inout BitswapMessage.Entry) -> Void) -> BitswapMessage {
            var message = BitswapMessage()
            var entry = BitswapMessage.Entry(cid: cid)
            change(&entry)
            message.wants = [entry]
            return message
        }
        var block = BitswapMessage()
        block.blocks = [.init(cid: cid, data: Bytes("hello".utf8))]
        var have = BitswapMessage(), dontHave = BitswapMessage()
        have.presences = [.init(cid: cid, isHere: true)]
        dontHave.presences = [.init(cid: cid, isHere: false)]
        let vectors: [(BitswapMessage, String)] = [
            (entry { $0.wantsHave = true; $0.sendDontHave = true }, "340a320a300a24\(Self.hello)10ffffffff0720012801"),
            (entry { $0.sendDontHave = true }, "320a300a2e0a24\(Self.hello)10ffffffff072801"),
            (entry { $0.isCancel = true }, "2c0a2a0a280a24\(Self.hello)1801"),
            (block, "110a001a0d0a0401551220120568656c6c6f"),
            (have, "2a0a0022260a24\(Self.hello)"),
            (dontHave, "2c0a0022280a24\(Self.hello)1001"),
        ]
        for (message, text) in vectors {
            #expect(hex(framed(message.encoded)) == text)
            var expected = message
            if message.wants.first?.isCancel == true { expected.wants[0].priority = 0 }
            #expect(try BitswapMessage(decoding: message.encoded[...]) == expected)
        }
    }

    /// It was read with the priority that it came with, and written without.
    @Test func aCancelHasNoPriority() throws {
        let cid = try CID(try #require(bytes(hex: Self.hello)))
        var writer = ProtobufWriter()
        writer.message(1) { $0.message(1) { $0.bytes(1, cid.bytes); $0.int64(2, 16); $0.bool(3, true) } }
        let message = try BitswapMessage(decoding: writer.bytes[...])
        #expect(message.wants.map(\.isCancel) == [true] && message.wants.map(\.priority) == [0])
        #expect(try BitswapMessage(decoding: message.encoded[...]) == message)
    }

    /// A block that is not what its prefix says has another CID: it answers nobody's want.
    @Test func aBlockIsNamedByItsBytes() throws {
        let cid = try CID(try #require(bytes(hex: Self.hello)))
        var message = BitswapMessage()
        message.blocks = [.init(cid: cid, data: Bytes("hellO".utf8))]
        #expect(try BitswapMessage(decoding: message.encoded[...]).blocks[0].cid != cid)
    }

    /// Cut anywhere, a frame is not there yet; whole, it is.
    @Test func framesMayBeCutAnywhere() throws {
        let frame = framed(Bytes("a message of some length".utf8))
        for cut in 0..<frame.count {
            var reader = FrameReader(limitBytes: 1000)
            reader.append(Bytes(frame[..<cut]))
            #expect(try reader.next() == nil)
            reader.append(Bytes(frame[cut...]))
            #expect(try reader.next().map { Bytes($0) } == Bytes("a message of some length".utf8))
        }
        var small = FrameReader(limitBytes: 5)
        small.append(frame)
        #expect(throws: FrameError.self) { try small.next() }
    }
}
