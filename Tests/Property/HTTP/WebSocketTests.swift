// WebSocket as the carrier of a stream: RFC 6455's own examples, every cut of the bytes, and whoever means it ill.

import HTTP
import Kernel
import Testing

private let request = """
    GET /any/path HTTP/1.1\r\nHost: 10.0.0.1:9096\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n
    """

/// One end, and what came of what it was told.
private struct End {
    var machine: WebSocket
    var reply: Bytes = []
    var payload: Bytes = []
    var failure: String?

    init(_ side: WebSocket.Side) { machine = WebSocket(side, entropy: Bytes(0..<48)) }

    mutating func hear(_ bytes: Bytes) {
        do { try machine.receive(bytes, reply: &reply, payload: &payload) } catch { failure = error.description }
    }
    mutating func hear(_ text: String) { hear(Bytes(text.utf8)) }
    var text: String { String(decoding: reply, as: UTF8.self) }
}

/// Both ends, agreed.
private func agreed() -> (client: End, server: End) {
    var (client, server) = (End(.client(host: "h:1")), End(.server))
    server.hear(client.machine.opening)
    client.hear(server.reply)
    server.reply = []
    return (client, server)
}

@Suite struct WebSocketTests {
    /// RFC 6455 1.3.
    @Test func theServerProvesThatItHasReadTheKey() {
        var server = End(.server)
        server.hear(request)
        #expect(server.text.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n") && server.text.hasSuffix("\r\n\r\n"))
        #expect(server.text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
        #expect(server.machine.isOpen && server.machine.hasAgreed && server.failure == nil)
    }

    @Test func theClientAsksForIt() {
        let client = End(.client(host: "[::1]:9096"))
        let lines = String(decoding: client.machine.opening, as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
        #expect(lines.first == "GET / HTTP/1.1" && lines.suffix(2) == ["", ""])
        for line in ["Host: [::1]:9096", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw=="] {
            #expect(lines.contains(line), "\(lines)")
        }
        #expect(!client.machine.hasAgreed && !client.machine.isOpen)
    }

    /// RFC 6455 5.7: plain, masked, in pieces, with a ping between them, long and longer.
    @Test func framesAreThoseOfTheStandard() {
        var (client, server) = agreed()
        client.hear([0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f])
        server.hear([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58])
        #expect(client.payload == Bytes("Hello".utf8) && server.payload == Bytes("Hello".utf8))
        client.payload = []
        client.hear([0x01, 0x03, 0x48, 0x65, 0x6c] + [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f] + [0x80, 0x02, 0x6c, 0x6f])
        #expect(client.payload == Bytes("Hello".utf8) && client.failure == nil)
        #expect(client.reply.prefix(2) == [0x8a, 0x85])
        server.hear(client.reply)  // a pong, which is nothing to answer
        #expect(server.reply.isEmpty && server.payload == Bytes("Hello".utf8))
        client.payload = []
        client.hear([0x82, 0x7e, 0x01, 0x00] + Bytes(repeating: 1, count: 256))
        client.hear([0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0] + Bytes(repeating: 2, count: 65536))
        #expect(client.payload == Bytes(repeating: 1, count: 256) + Bytes(repeating: 2, count: 65536))
    }

    @Test(arguments: [0, 1, 125, 126, 65535, 65536])
    func headersSayHowLongAMessageIs(_ count: Int) {
        var (client, server) = agreed()
        var fromClient = Bytes(repeating: 7, count: count), fromServer = fromClient
        client.machine.wrap(&fromClient)
        server.machine.wrap(&fromServer)
        let extended = count < 126 ? 0 : count < 65536 ? 2 : 8
        #expect(fromServer.count == 2 + extended + count && fromClient.count == 6 + extended + count)
        #expect(fromServer[1] & 0x80 == 0 && fromClient[1] & 0x80 != 0)
        server.hear(fromClient)
        client.hear(fromServer)
        #expect(server.payload == Bytes(repeating: 7, count: count) && client.payload == server.payload)
    }

    @Test(arguments: [1, 2, 3, 7, 1000])
    func everyCutOfTheBytesWorks(_ piece: Int) {
        var (client, server) = (End(.client(host: "h:1")), End(.server))
        var toServer = client.machine.opening, toClient: Bytes = []
        var sent: Bytes = []
        func move(_ wire: inout Bytes, _ end: inout End) {
            while !wire.isEmpty {
                end.hear(Bytes(wire.prefix(piece)))
                wire.removeFirst(min(piece, wire.count))
            }
        }
        move(&toServer, &server)
        toClient = server.reply
        server.reply = []
        for count in [1, 0, 200, 70_000] {
            var message = Bytes((0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            sent += message
            server.machine.wrap(&message)
            toClient += message
        }
        move(&toClient, &client)
        #expect(client.payload == sent && client.failure == nil)
        for count in [5, 66_000] {
            var message = Bytes((0..<count).map { UInt8(truncatingIfNeeded: $0) })
            client.machine.wrap(&message)
            toServer += message
        }
        move(&toServer, &server)
        #expect(server.payload.count == 66_005 && server.payload.suffix(3) == Bytes((65_997..<66_000).map { UInt8(truncatingIfNeeded: $0) })[...])
    }

    /// Each message has a mask of its own, which nobody can tell from those before it.
    @Test func masksChange() {
        var (client, _) = agreed()
        let masks = (0..<100).map { _ in
            var message: Bytes = [1]
            client.machine.wrap(&message)
            return Bytes(message[2..<6])
        }
        #expect(Set(masks).count == 100)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "asks for no upgrade"),
        ("POST" + request.dropFirst(3), "405", "the request method is not GET"),
        (request.replacing("Version: 13", with: "Version: 8"), "400", "only version 13 is supported"),
        (request.replacing("dGhlIHNhbXBsZSBub25jZQ==", with: "dGhlIHNhbXBs"), "400", "Sec-WebSocket-Key must be 16 bytes in base64"),
        (request.replacing("Upgrade: websocket", with: "Upgrade: h2c"), "400", "asks for no upgrade"),
        ("\u{1}\u{2}\u{3}", "400", "does not begin like a request"),
        ("GET /\r\n", "400", "malformed HTTP request"), ("\u{13}/multistream/1.0.0\n", "400", "malformed HTTP request"),
        ("GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: 9000), "431", "exceed 8192 bytes"),
    ])
    func whoAsksForSomethingElseIsToldSo(_ asked: String, _ status: String, _ reason: String) {
        var server = End(.server)
        server.hear(asked)
        #expect(server.text.hasPrefix("HTTP/1.1 \(status) ") && server.text.contains("Connection: close\r\n") && server.text.contains(reason))
        #expect(server.failure?.hasPrefix("websocket: bad handshake: ") == true && server.failure?.contains(reason) == true)
        #expect(!server.machine.isOpen && !server.machine.hasAgreed && server.machine.close().isEmpty)
        let said = server.reply
        server.hear(request)
        #expect(server.reply == said, "it is over")
    }

    @Test(arguments: [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the answer is HTTP 404"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", "not that of a WebSocket"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "not that of a WebSocket"),
        ("\u{13}/multistream/1.0.0\n\r\n\r\n", "malformed HTTP response"),
    ])
    func theClientBelievesNoOther(_ answer: String, _ reason: String) {
        var client = End(.client(host: "h:1"))
        client.hear(answer)
        #expect(client.failure?.contains(reason) == true && !client.machine.isOpen, "\(client.failure ?? "nothing")")
    }

    /// What a frame must not be; `toServer` are those that come from a client.
    @Test(arguments: [
        ([0x82, 0x01, 1], true, "a client's frame is not masked"), ([0x82, 0x81, 1, 2, 3, 4, 1], false, "a server's frame is masked"),
        ([0xc2, 0x81], true, "an extension"), ([0x83, 0x80], true, "unknown opcode 3"), ([0x8b, 0x80], true, "unknown opcode 11"),
        ([0x80, 0x80], true, "no message goes on"), ([0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80], true, "a message within a message"),
        ([0x89, 0xfe], true, "a control frame that is too long"), ([0x09, 0x80], true, "a control frame that is too long or in pieces"),
        ([0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], false, "a frame of 9223372036854775808 bytes"),
    ] as [([UInt8], Bool, String)])
    func violationsEndIt(_ bytes: [UInt8], _ toServer: Bool, _ reason: String) {
        let (client, server) = agreed()
        var end = toServer ? server : client
        end.hear(bytes)
        #expect(end.failure?.contains(reason) == true && !end.machine.isOpen, "\(end.failure ?? "nothing")")
    }

    /// An answer that says how long its body is has none all the same.
    @Test(arguments: ["", "Content-Length: 0\r\n", "Content-Length: 2\r\n"]) func whatFollowsTheAnswerIsTheStream(_ field: String) {
        var (client, server) = (End(.client(host: "h:1")), End(.server))
        server.hear(client.machine.opening)
        client.hear(Bytes(server.text.replacing("\r\n\r\n", with: "\r\n\(field)\r\n").utf8) + [0x82, 0x03, 1, 2, 3])
        client.hear([0x82, 0x01, 7])
        #expect(client.payload == [1, 2, 3, 7] && client.failure == nil, "\(client.failure ?? "")")
    }

    /// A frame of the greatest size is no reason to keep anything.
    @Test func whatIsAnnouncedIsNotKept() {
        var (client, _) = agreed()
        client.hear([0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])
        #expect(client.payload == [1, 2, 3] && client.failure == nil)
    }

    @Test func bothSidesEndInOrder() {
        var (client, server) = agreed()
        let last = client.machine.close()
        #expect(last.count == 8 && last[0] == 0x88 && client.machine.close().isEmpty)
        server.hear(last)
        #expect(server.failure == "the other side has closed" && server.reply == [0x88, 0x02, 0x03, 0xe8])
        #expect(server.machine.close().isEmpty && !server.machine.isOpen)
    }
}
