import HTTP
import Kernel
import Testing

/// One connection of a server, with what it wrote and what it heard.
private struct Wire {
    var machine: HTTPServerConnection
    var ids: UInt64 = 0
    var written = ""
    var served: [String] = []
    var headers = HTTPFields()
    var isClosed = false
    static let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_795_559_967))

    init(_ settings: HTTPServerSettings = HTTPServerSettings()) {
        machine = HTTPServerConnection(settings: settings, remote: "test", now: Wire.now)
    }
    mutating func take(_ effects: [HTTPServerConnection.Effect]) {
        for effect in effects {
            switch effect {
            case .write(let bytes): written += String(decoding: bytes, as: UTF8.self)
            case .close: isClosed = true
            case .pause: served.append("pause")
            case .resume: served.append("resume")
            case .served(_, .request(let request, _)):
                served.append("\(request.method) \(request.target)")
                headers = request.headers
            case .served(_, .body(let bytes)):
                let text = String(decoding: bytes, as: UTF8.self)
                if let last = served.last, last.hasPrefix("body ") { served[served.count - 1] = last + text } else { served.append("body " + text) }
            case .served(_, let event): served.append("\(event)")
            }
        }
    }
    mutating func send(_ text: String) {
        var effects: [HTTPServerConnection.Effect] = []
        machine.onBytes(Bytes(text.utf8), ids: &ids, now: Wire.now, effects: &effects)
        take(effects)
    }
    mutating func wait(_ span: Span) {
        var effects: [HTTPServerConnection.Effect] = []
        machine.onTime(now: Now(monotonic: Wire.now.monotonic + span, wall: Wire.now.wall), effects: &effects)
        take(effects)
    }
    /// The client sends nothing more.
    mutating func end() {
        var effects: [HTTPServerConnection.Effect] = []
        machine.onEnd(now: Wire.now, effects: &effects)
        take(effects)
    }
    /// The end of a round.
    mutating func flush() {
        var effects: [HTTPServerConnection.Effect] = []
        machine.flush(now: Wire.now, effects: &effects)
        take(effects)
    }
    mutating func drain() {
        var effects: [HTTPServerConnection.Effect] = []
        machine.onDrained(ids: &ids, now: Wire.now, effects: &effects)
        take(effects)
    }
    mutating func answer(_ answers: ServedAnswer...) {
        var effects: [HTTPServerConnection.Effect] = []
        let id = ServedID(ids)
        for answer in answers { machine.answer(id, answer, ids: &ids, now: Wire.now, effects: &effects) }
        machine.flush(now: Wire.now, effects: &effects)
        take(effects)
    }
}

private let dateLine = "Date: Tue, 24 Nov 2026 22:39:27 GMT\r\n"

@Suite struct HTTPServerTests {
    @Test func aRequestIsTheSameWhereverItIsCut() {
        let text = "\r\nPOST /add?x=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n"
            + "GET /next HTTP/1.1\r\nhost:b\r\n\r\n"
        for cut in 0...text.utf8.count {
            var wire = Wire()
            wire.send(String(text.prefix(cut)))
            wire.send(String(text.dropFirst(cut)))
            #expect(wire.served == ["POST /add?x=1", "body hello!", "end"], "cut at \(cut)")
            wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
            #expect(wire.served.suffix(2) == ["GET /next", "end"], "the next request waits for the answer")
            #expect(wire.written == "HTTP/1.1 204 No Content\r\n\(dateLine)\r\n")
        }
    }

    @Test func nothingIsWrittenAfterTheEnd() {
        var wire = Wire()
        wire.send("POST /add HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        wire.flush()
        #expect(!wire.isClosed && wire.written.isEmpty)
        wire.answer(.head(HTTPResponse(status: 400)), .end(trailers: [:]))
        #expect(wire.isClosed && wire.written.hasPrefix("HTTP/1.1 400 "))
        let written = wire.written
        wire.flush()
        #expect(wire.written == written)
    }

    @Test func whoWaitsWithABodyIsToldOnceAndNeverInTheMiddleOfAnAnswer() {
        let post = "POST /add HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        var wire = Wire()
        wire.send(post)
        wire.flush()
        wire.flush()
        #expect(wire.written == "HTTP/1.1 100 Continue\r\n\r\n")
        wire.send("hi")
        #expect(wire.served == ["POST /add", "body hi", "end"])

        var early = Wire()
        early.send(post)
        early.answer(.head(HTTPResponse(status: 200, headers: ["Trailer": "X"])), .body(Bytes("{}".utf8)))
        early.send("hi")
        early.answer(.end(trailers: [:]))
        #expect(early.written.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "before the answer, not inside it")
        #expect(early.written.hasSuffix("\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
        #expect(early.served.last == "end")
    }

    @Test func aShortAnswerHasALengthAndALongOneChunks() {
        var wire = Wire()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes("hi".utf8)), .end(trailers: [:]))
        #expect(wire.written == "HTTP/1.1 200 OK\r\n\(dateLine)Content-Length: 2\r\n\r\nhi")
        wire.written = ""
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200, headers: ["Trailer": "X-Stream-Error"])), .body(Bytes("hi".utf8)))
        wire.answer(.end(trailers: ["X-Stream-Error": "late\r\nEvil: 1"]))
        #expect(wire.written == "HTTP/1.1 200 OK\r\nTrailer: X-Stream-Error\r\n\(dateLine)Transfer-Encoding: chunked\r\n\r\n"
            + "2\r\nhi\r\n0\r\nX-Stream-Error: late  Evil: 1\r\n\r\n")
        wire.written = ""
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes(repeating: 65, count: 3000)), .end(trailers: [:]))
        #expect(wire.written.contains("Transfer-Encoding: chunked\r\n") && wire.written.hasSuffix("\r\n0\r\n\r\n"))
        #expect(wire.written.contains("\r\nbb8\r\nAAA"))
        for count in [(16 << 10) - 1, 16 << 10, 300_000] {
            wire.written = ""
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes(repeating: 65, count: count)), .end(trailers: [:]))
            let body = "\r\n\r\n\(String(count, radix: 16))\r\n\(String(repeating: "A", count: count))\r\n0\r\n\r\n"
            #expect(wire.written.hasSuffix(body), "\(count)")
        }
    }

    private static let expecting = "POST /add HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    private static let goOn = "HTTP/1.1 100 Continue\r\n\r\n"

    /// An add answers before it reads: told to go on after that, curl took it for the body and broke off.
    @Test func whoWaitsToBeToldToGoOnIsToldFirst() {
        var wire = Wire()
        wire.send(Self.expecting)
        wire.answer(.head(HTTPResponse(status: 200, headers: ["Trailer": "X"])))
        #expect(wire.written.hasPrefix(Self.goOn + "HTTP/1.1 200 OK\r\n"))
        wire = Wire()
        wire.send(Self.expecting)
        wire.answer()  // the end of the round
        #expect(wire.written == Self.goOn)
        wire.send("hi")
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        #expect(wire.served == ["POST /add", "body hi", "end"] && wire.written == Self.goOn + "HTTP/1.1 204 No Content\r\n\(dateLine)\r\n")
        #expect(!wire.isClosed)
    }

    @Test func whoIsRefusedOrDoesNotWaitIsNotToldToGoOn() {
        var wire = Wire()
        wire.send(Self.expecting)
        wire.answer(.head(HTTPResponse(status: 401)), .end(trailers: [:]))
        #expect(wire.written.hasPrefix("HTTP/1.1 401 ") && wire.written.contains("Connection: close\r\n"))
        #expect(wire.isClosed, "the body will not come, and nothing can follow it")
        wire = Wire()
        wire.send(Self.expecting + "hi")
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        #expect(wire.written.hasPrefix("HTTP/1.1 204 ") && !wire.isClosed)
    }

    @Test func headAnswersCarryNoBody() {
        var wire = Wire()
        wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes("hi".utf8)), .end(trailers: [:]))
        #expect(wire.written == "HTTP/1.1 200 OK\r\n\(dateLine)Content-Length: 2\r\n\r\n")
        wire.written = ""
        // Of what is not there no length is told.
        wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 405)), .end(trailers: [:]))
        #expect(wire.written == "HTTP/1.1 405 Method Not Allowed\r\n\(dateLine)\r\n" && !wire.isClosed)
    }

    @Test func whoConnectsIsToAsk() {
        var wire = Wire()
        #expect(wire.machine.nextDeadline == Wire.now.monotonic + .seconds(5))
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(wire.machine.nextDeadline == nil)
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.machine.nextDeadline == Wire.now.monotonic + .seconds(120))
    }

    @Test func oldClientsAndCloseEndTheConnection() {
        var wire = Wire()
        wire.send("GET / HTTP/1.0\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes("hi".utf8)), .end(trailers: [:]))
        #expect(wire.written == "HTTP/1.0 200 OK\r\n\(dateLine)Content-Length: 2\r\n\r\nhi" && wire.isClosed)
        wire = Wire()
        wire.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.written.hasPrefix("HTTP/1.0 200 OK\r\n") && wire.written.contains("Connection: keep-alive\r\n") && !wire.isClosed)
        wire = Wire()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.isClosed)
    }

    @Test(arguments: [
        ("\u{16}\u{03}\u{01}\u{02}\r\n\r\n", "400"), ("GET /\r\n\r\n", "400"), ("GET / HTTP/2.0\r\n\r\n", "505"),
        ("GET / HTTP/1.1\r\n\r\n", "400"), ("GET / HTTP/1.2\r\n\r\n", "400"), ("GET http://a/ HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"), ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"), ("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n : b\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n \u{1}\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 9000) + "\r\n\r\n", "431"),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", "400"), ("GET *?x HTTP/1.1\r\nHost: a\r\n\r\n", "400"), ("POST / HTTP/1.1\r\nHost: a\r\nExpect: gold\r\nContent-Length: 2\r\n\r\nhi", "417"),
    ])
    func whatIsNoHTTPIsRefused(text: String, status: String) {
        var wire = Wire()
        wire.send(text)
        #expect(wire.written.hasPrefix("HTTP/1.1 \(status) ") && wire.isClosed)
        #expect(wire.served.isEmpty)
    }

    /// REST-006: as much more than `max_header_bytes` as Go's server takes.
    @Test func aHeadMayBeSomewhatLonger() {
        var wire = Wire()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: " + String(repeating: "a", count: 7000) + "\r\n\r\n")
        #expect(!wire.served.isEmpty && !wire.isClosed)
    }

    @Test func whatCanBeSaidOfARefusalStandsInTheStatusLine() {
        for (head, status) in [
            ("GET / HTTP/1.1\r\nHost: a b", "400 Bad Request: malformed Host header"), ("GET / HTTP/1.1", "400 Bad Request: missing required Host header"),
            ("GET / HTTP/2.0", "505 HTTP Version Not Supported: unsupported protocol version"),
        ] {
            var wire = Wire()
            wire.send(head + "\r\n\r\n")
            #expect(wire.written == "HTTP/1.1 \(status)\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\(status)")
        }
    }

    /// The bytes that Go takes, of which no host needs all.
    @Test func aHostIsJudgedByteByByte() {
        let marks = "!$%&'()*+,-.:;=[]_~"
        for byte in UInt8(0x21)...0x7e {
            let character = Character(Unicode.Scalar(byte))
            var wire = Wire()
            wire.send("GET / HTTP/1.1\r\nHost: a\(character)b\r\n\r\n")
            #expect(wire.isClosed == !(character.isLetter || character.isNumber || marks.contains(character)), "\(character)")
        }
        for (host, isTaken) in [("", true), ("[::1]:9094", true), ("a b", false), ("a\tb", false), ("ä", false)] {
            var wire = Wire()
            wire.send("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n")
            #expect(wire.isClosed == !isTaken, "\(host)")
        }
    }

    @Test(arguments: ["GET / HTTP/1.2", "GET / HTTP/1.9"]) func laterVersionsOfOneAreServed(_ line: String) {
        var wire = Wire()
        wire.send("\(line)\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        #expect(wire.written.hasPrefix("HTTP/1.1 204 ") && !wire.isClosed)
    }

    @Test(arguments: [
        ("HTTP/0.9", "505"), ("HTTP/2.0", "505"), ("HTTP/9.9", "505"), ("HTTP/1.10", "400"), ("HTTP/1", "400"), ("HTTP/1,1", "400"),
        ("HTTP/1.x", "400"), ("http/1.1", "400"), ("FOO/1.1", "400"),
    ])
    func otherVersionsAreNot(version: String, status: String) {
        var wire = Wire()
        wire.send("GET / \(version)\r\nHost: a\r\n\r\n")
        #expect(wire.written.hasPrefix("HTTP/1.1 \(status) ") && wire.isClosed)
    }

    @Test(arguments: [
        ("X: a\r\n b", "a b"), ("X: a \t\r\n\t b \r\n  c", "a b c"), ("X: a\r\n b: c", "a b: c"), ("X:\r\n b", "b"), ("X: a\n b", "a b"),
        ("X: a\r\n \r\n c", "a  c"), ("X: \r\n ", ""),
    ])
    func aLineThatBeginsWithABlankGoesOnWithTheOneBefore(lines: String, value: String) {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\nY: z\r\n\r\n"
        for cut in 0...text.utf8.count {
            var wire = Wire()
            for half in [text.utf8.prefix(cut), text.utf8.dropFirst(cut)] { wire.send(String(half) ?? "") }
            #expect(wire.headers == ["Host": "a", "X": value, "Y": "z"], "cut at \(cut)")
        }
    }

    @Test func whateverNamesAResourceIsServed() {
        for line in ["GET *", "OPTIONS *", "GET http://b/x?y", "GET https://b", "CONNECT b:1", "CONNECT /id"] {
            var wire = Wire()
            wire.send("\(line) HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(wire.served == [line, "end"])
        }
        var wire = Wire()
        wire.send("CONNECT b:1 HTTP/1.1\r\n\r\n")
        #expect(wire.served == ["CONNECT b:1", "end"], "the target is the host")
    }

    @Test(arguments: [
        ("\u{16}\u{03}\u{01}", "400"),  // the beginning of TLS
        ("\u{13}/multistream/1.0.0\n", "400"), ("SSH-2.0-OpenSSH_9\r\n", "400"), ("hello\n", "400"),
        ("GET / HTTP/2.0\r\n", "505"), ("PRI * HTTP/2.0\r\n", "505"), ("GET foo HTTP/1.1\n", "400"),
    ])
    func anotherProtocolIsRefusedBeforeItsEnd(text: String, status: String) {
        var wire = Wire()
        wire.send(text)
        #expect(wire.written.hasPrefix("HTTP/1.1 \(status) ") && wire.isClosed)
    }

    @Test(arguments: ["\r", "\r\n\r\nG", "GE", "GET /id HTTP/1.1\r\n", "GET /id HTTP/1.1\r\nHo"])
    func theBeginningOfARequestIsWaitedOn(text: String) {
        var wire = Wire()
        wire.send(text)
        #expect(wire.written.isEmpty && !wire.isClosed)
    }

    @Test(arguments: [
        ("zz\r\n", "invalid byte in chunk length"), ("\r\n", "empty hex number for chunk length"), ("5\r\nhelloX", "malformed chunked encoding"),
        ("ffffffffffffffffff\r\n", "http chunk length too large"), ("-1\r\n", "invalid byte in chunk length"),
        ("3\r\nabc\r\nzz\r\n7\r\nignored", "invalid byte in chunk length"),
    ])
    func aBodyThatBreaksOffIsAnsweredStill(body: String, reason: String) {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        let whole = ["5\r\nhello": "body hello", "3\r\nabc\r\n": "body abc"].first { body.hasPrefix($0.key) }.map { [$0.value] } ?? []
        #expect(wire.served == ["POST /"] + whole + ["cut(\"\(reason)\")"] && !wire.isClosed)
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 400)), .end(trailers: [:]))
        #expect(wire.written == "HTTP/1.1 400 Bad Request\r\n\(dateLine)Content-Length: 0\r\nConnection: close\r\n\r\n" && wire.isClosed)
        #expect(wire.served.last?.hasPrefix("cut") == true)
    }

    @Test func whoSendsNothingMoreIsAnswered() {
        let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", answer = "HTTP/1.1 200 OK\r\n\(dateLine)Content-Length: 0\r\n\r\n"
        var wire = Wire()
        wire.send(get + get)
        wire.end()
        #expect(wire.served == ["GET /a", "end"] && !wire.isClosed)
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.served.count == 4 && !wire.isClosed)
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.written == answer + answer && wire.isClosed)

        wire = Wire()
        wire.send(get + "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        wire.end()
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.served == ["GET /a", "end", "POST /b", "body abc", "cut(\"unexpected EOF\")"] && !wire.isClosed)
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.isClosed && wire.written.hasSuffix("Connection: close\r\n\r\n"))

        // An answer that has begun goes on to its end.
        wire = Wire()
        wire.send(get)
        wire.answer(.head(HTTPResponse(status: 200)), .body([0x61]))
        wire.end()
        wire.answer(.body([0x62]), .end(trailers: [:]))
        #expect(wire.written.hasSuffix("1\r\na\r\n1\r\nb\r\n0\r\n\r\n") && wire.isClosed && !wire.served.contains("gone"))

        for (half, status) in [("", ""), ("GET /ver", "400 Bad Request"), ("GET / HTTP/1.1\r\nHost: a\r\n", "")] {
            wire = Wire()
            wire.send(half)
            wire.end()
            #expect(wire.isClosed && wire.written.dropFirst(9).hasPrefix(status) && wire.written.isEmpty == status.isEmpty, "\(half)")
        }
    }

    @Test func nobodyWaitsForTheRestOfTheLastRequest() {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345")
        wire.answer(.head(HTTPResponse(status: 200)), .end(trailers: [:]))
        #expect(wire.isClosed)
    }

    @Test func chunksCameWithVersionOnePointOne() {
        var wire = Wire()
        wire.send("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        #expect(wire.served == ["POST /", "end"])
    }

    @Test func whoExpectsTooMuchIsRefused() {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 3\r\n\r\nabc")
        #expect(wire.written == "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n\(dateLine)Content-Length: 0\r\n\r\n")
        #expect(wire.isClosed && wire.served.isEmpty)
    }

    @Test func anAnswerBeforeTheEndOfTheRequestThrowsTheRestAway() {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        wire.answer(.head(HTTPResponse(status: 401)), .end(trailers: [:]))
        wire.send("67890GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(wire.served == ["POST /", "body 12345", "GET /b", "end"])
        wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        wire.answer(.head(HTTPResponse(status: 401)), .end(trailers: [:]))
        wire.send(String(repeating: "x", count: 300 << 10))
        #expect(wire.isClosed)
    }

    /// As Go: of so much that nobody will read, the client hears at once.
    @Test(arguments: [(256 << 10, true), ((256 << 10) - 1, false), (99_999_999, true)])
    func whoWouldSendOnForLongIsToldThatTheConnectionCloses(length: Int, closes: Bool) {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(length + 2)\r\n\r\nab")
        wire.answer(.head(HTTPResponse(status: 400)), .body(Bytes("no".utf8)), .end(trailers: [:]))
        #expect(wire.written.contains("Connection: close\r\n") == closes && wire.isClosed == closes)
        #expect(wire.written.hasSuffix("\r\n\r\nno"))
        // Not before the answer has ended: what reads on answers with the rest.
        wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(length + 2)\r\n\r\nab")
        wire.answer(.head(HTTPResponse(status: 200)), .body(Bytes("yes".utf8)))
        #expect(!wire.isClosed && !wire.written.contains("Connection"))
    }

    @Test func aPausedBodyWaits() {
        var wire = Wire()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wire.answer(.pause)
        wire.send("cd")
        #expect(wire.served == ["POST /", "body ab", "pause"])
        wire.answer(.resume)
        #expect(wire.served == ["POST /", "body ab", "pause", "resume", "body cd", "end"])
    }

    private static let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    /// Whoever sends requests faster than they are answered is not read any more, instead of being remembered.
    @Test func requestsThatWaitAreBounded() {
        var settings = HTTPServerSettings()
        settings.unreadBytesMax = 1000
        var wire = Wire(settings)
        wire.send(Self.get)
        for _ in 0..<100 where !wire.served.contains("pause") { wire.send(Self.get) }
        #expect(wire.served == ["GET /", "end", "pause"])
        wire.send(Self.get)
        #expect(wire.served.count == 3, "told once")
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        #expect(wire.served == ["GET /", "end", "pause", "GET /", "end", "GET /", "end", "resume"])
        wire.answer(.pause)
        #expect(wire.served.last == "pause")
        wire.answer(.resume)
        #expect(wire.served.last == "resume")
    }

    /// Whoever asks and does not read is answered no more than so much.
    @Test func answersThatWaitAreBounded() {
        var settings = HTTPServerSettings()
        settings.unsentBytesMax = 1000
        var wire = Wire(settings)
        let answer: [ServedAnswer] = [.head(HTTPResponse(status: 200)), .body(Bytes(repeating: 65, count: 1000)), .end(trailers: [:])]
        wire.send(Self.get + Self.get + Self.get)
        for answer in answer { wire.answer(answer) }
        #expect(wire.served == ["GET /", "end"])
        wire.drain()
        #expect(wire.served == ["GET /", "end", "GET /", "end"])
        for answer in answer { wire.answer(answer) }
        wire.drain()
        #expect(wire.served.count == 6)
        wire.drain()
        #expect(wire.served == ["GET /", "end", "GET /", "end", "GET /", "end", "drained"])
    }

    @Test func aSlowHeadTimesOut() {
        var wire = Wire()
        wire.send("GET / HT")
        #expect(wire.machine.nextDeadline == .origin + .seconds(5))
        wire.wait(.milliseconds(4999))
        #expect(wire.written.isEmpty && !wire.isClosed)
        wire.wait(.seconds(5))
        #expect(wire.isClosed)
    }

    /// As Go, for which the end of the time ends the line: it is refused if nothing can begin so.
    @Test(arguments: ["G", "GET / HTTP/1.", "GET / HTTP/1.1\r", "\r", "$Ho", "$Host: a\r", "$Host: a\r\n\r", "$ ", "$ Host: a", "$Host : a\r\n"])
    func halfALineIsRefusedWhenItsTimeIsOver(_ head: String) {
        var wire = Wire()
        wire.send(head.replacing("$", with: "GET / HTTP/1.1\r\n"))
        #expect(wire.written.isEmpty && !wire.isClosed)
        wire.wait(.seconds(5))
        #expect(wire.written.hasPrefix("HTTP/1.1 400 Bad Request\r\n") && wire.isClosed)
    }

    @Test(arguments: ["", "\r\n", "GET / HTTP/1.1", "$", "$Host: a", "$Host: a\r\n", "$Host: a\r\n ", "$Host: a\r\n b", "$Host: a b\r\n"])
    func whatCouldHaveGoneOnIsClosedWithoutAWord(_ head: String) {
        var wire = Wire()
        wire.send(head.replacing("$", with: "GET / HTTP/1.1\r\n"))
        wire.wait(.seconds(5))
        #expect(wire.written.isEmpty && wire.isClosed)
    }

    @Test func aConnectionAtRestIsClosedWithoutAWord() {
        var wire = Wire()
        wire.send(Self.get)
        wire.answer(.head(HTTPResponse(status: 204)), .end(trailers: [:]))
        wire.written = ""
        wire.wait(.seconds(120))
        #expect(wire.written.isEmpty && wire.isClosed)
    }

    @Test func randomBytesNeverCrash() {
        var choices = Choices(seed: 7)
        for _ in 0..<2000 {
            var wire = Wire()
            var text = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n".utf8.map { $0 }
            for _ in 0..<choices.below(4) { text[choices.below(text.count)] = UInt8(choices.below(256)) }
            var effects: [HTTPServerConnection.Effect] = []
            wire.machine.onBytes(text, ids: &wire.ids, now: Wire.now, effects: &effects)
            wire.take(effects)
        }
    }
}

@Suite struct HTTPClientTests {
    private func exchange(_ text: String, cut: Int, closes: Bool = false) throws -> [HTTPClientExchange.Event] {
        var opening: Bytes = []
        var machine = HTTPClientExchange(HTTPRequest(method: "POST", target: "/x", headers: ["Host": "a"]), bodyCount: 0, opening: &opening)
        #expect(String(decoding: opening, as: UTF8.self) == "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        var events = try machine.onBytes(Bytes(text.utf8.prefix(cut)))
        events += try machine.onBytes(Bytes(text.utf8.dropFirst(cut)))
        if closes { events += try machine.onClosed() }
        return events
    }
    private func summary(_ events: [HTTPClientExchange.Event]) -> String {
        events.map {
            switch $0 {
            case .head(let head): "\(head.status) "
            case .body(let bytes): String(decoding: bytes, as: UTF8.self)
            case .end(let trailers): " end" + trailers.fields.map { " \($0.name)=\($0.value)" }.joined()
            }
        }.joined()
    }

    @Test func answersAreTheSameWhereverTheyAreCut() throws {
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"
        for cut in 0...chunked.utf8.count {
            #expect(summary(try exchange(chunked, cut: cut)) == "200 abcde end X=y", "cut at \(cut)")
        }
        #expect(summary(try exchange("HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\nno", cut: 5)) == "500 no end")
        #expect(summary(try exchange(chunked.replacing("X: y", with: "X: y\r\n z"), cut: 9)) == "200 abcde end X=y z")
        #expect(summary(try exchange("HTTP/1.0 200 OK\r\n\r\nall", cut: 3, closes: true)) == "200 all end")
    }

    @Test func anAnswerCutOffIsAFailure() {
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
            #expect(throws: HTTPError.self) { try exchange(text, cut: 0, closes: true) }
        }
    }
}
