// A stream of bytes in the messages of a WebSocket, as libp2p carries one: every write is a binary message. RFC 6455;
// spec/wire-transport.md SEC-01, PNET-03.
// Bytes go in, bytes for the other side and the stream's own come out. Nothing waits for the end of a message.

import Crypto
import Kernel
import Multiformats

package struct WebSocketError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
}

package struct WebSocket: Sendable {
    package enum Side: Equatable, Sendable {
        /// Asks for it. `host` is the server's name or address with its port.
        case client(host: String)
        case server
    }

    /// How much of `entropy` is used: the key of the request, and what masks are made of.
    package static let entropyBytes = 16 + 32
    private static let headBytesMax = 8 << 10
    private static let controlBytesMax = 125

    private enum State: Sendable {
        case asking(HTTPClientExchange)
        case asked(HeadReader)
        case open
        case over
    }
    private enum Opcode: UInt8 { case continuation = 0, text, binary, close = 8, ping, pong }
    /// One whose payload is being read.
    private struct Frame: Sendable {
        let opcode: Opcode
        let isLast: Bool
        var left: UInt64
        let mask: Bytes
        var position = 0

        /// Masking is its own inverse (RFC 6455 5.3).
        mutating func take(_ bytes: ArraySlice<UInt8>, into out: inout Bytes) {
            let start = out.count
            out += bytes
            if !mask.isEmpty {
                for index in start..<out.count { out[index] ^= mask[(position + index - start) & 3] }
            }
            position = (position + bytes.count) & 3
            left -= UInt64(bytes.count)
        }
    }

    private let isClient: Bool
    private let key: String
    private let maskSeed: Bytes
    private var masks: UInt64 = 0
    private var state: State
    /// What the client asks first; empty at the server.
    package let opening: Bytes

    private var header: Bytes = []
    private var frame: Frame?
    /// Of a ping or a close, which are answered when they are whole.
    private var control: Bytes = []
    /// A message has begun and not ended.
    private var isWithinMessage = false

    /// Only the client draws on `entropy`.
    package init(_ side: Side, entropy: Bytes) {
        invariant(entropy.count >= WebSocket.entropyBytes, "a WebSocket needs \(WebSocket.entropyBytes) random bytes")
        key = encodeBase64(entropy.prefix(16))
        maskSeed = Bytes(entropy[16..<WebSocket.entropyBytes])
        var opening: Bytes = []
        switch side {
        case .client(let host):
            let request = HTTPRequest(method: "GET", target: "/", headers: [
                "Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
            ])
            state = .asking(HTTPClientExchange(request, bodyCount: 0, headBytesMax: WebSocket.headBytesMax, opening: &opening))
            isClient = true
        case .server:
            state = .asked(HeadReader(bytesMax: WebSocket.headBytesMax))
            isClient = false
        }
        self.opening = opening
    }

    /// Both sides have agreed, and neither has ended it.
    package var isOpen: Bool { if case .open = state { true } else { false } }
    /// Both sides have agreed, whatever has come since.
    package private(set) var hasAgreed = false

    // MARK: Inwards

    /// `reply` is for the other side, whatever is thrown; `payload` is the stream's. Throws what has ended it.
    package mutating func receive(_ bytes: Bytes, reply: inout Bytes, payload: inout Bytes) throws(WebSocketError) {
        var input = bytes[...]
        do {
            switch state {
            case .asking(var exchange): input = try upgrade(&exchange, bytes)[...]
            case .asked(var head):
                guard let lines = try readHead(&head, &input, &reply) else { return }
                try accept(lines, &reply)
            case .open: break
            case .over: return
            }
            while isOpen, !input.isEmpty { try takeFrame(&input, &reply, &payload) }
        } catch {
            state = .over
            throw error
        }
    }

    /// At the client: what follows the server's answer, if that has come and is the right one.
    private mutating func upgrade(_ exchange: inout HTTPClientExchange, _ bytes: Bytes) throws(WebSocketError) -> Bytes {
        let events: [HTTPClientExchange.Event]
        do throws(HTTPError) { events = try exchange.onBytes(bytes) } catch { throw WebSocketError(description: "websocket: bad handshake: \(error)") }
        state = .asking(exchange)
        var rest: Bytes = []
        for event in events {
            switch event {
            case .head(let response):
                guard response.status == 101 else { throw WebSocketError(description: "websocket: bad handshake: the answer is HTTP \(response.status)") }
                guard response.headers.holds("Upgrade", token: "websocket"), response.headers.holds("Connection", token: "Upgrade"),
                    response.headers["Sec-WebSocket-Accept"] == WebSocket.acceptance(of: key)
                else { throw WebSocketError(description: "websocket: bad handshake: the answer is not that of a WebSocket") }
                agree()
            case .body(let bytes): rest += bytes
            case .end: break
            }
        }
        return rest
    }

    private mutating func readHead(_ head: inout HeadReader, _ input: inout ArraySlice<UInt8>, _ reply: inout Bytes) throws(WebSocketError) -> [String]? {
        do throws(HTTPError) {
            let lines = try head.take(&input, skipsLeadingEmptyLines: true)
            if head.isForeign { throw HTTPError("it does not begin like a request") }
            if let first = head.firstLine { _ = try RequestLine(first) }  // whoever speaks something else need not wait
            state = .asked(head)
            return lines
        } catch { throw refuse(error.status, error.description, &reply) }
    }

    /// At the server (RFC 6455 4.2.1).
    private mutating func accept(_ lines: [String], _ reply: inout Bytes) throws(WebSocketError) {
        let (line, fields): (RequestLine, HTTPFields)
        do throws(HTTPError) { (line, fields) = (try RequestLine(lines[0]), try HeadReader.fields(lines.dropFirst())) } catch {
            throw refuse(error.status, error.description, &reply)
        }
        guard fields.holds("Connection", token: "Upgrade"), fields.holds("Upgrade", token: "websocket") else {
            throw refuse(400, "this address speaks libp2p over WebSocket, and the request asks for no upgrade to that", &reply)
        }
        guard line.method == "GET" else { throw refuse(405, "the request method is not GET", &reply) }
        guard fields.holds("Sec-WebSocket-Version", token: "13") else { throw refuse(400, "only version 13 is supported", &reply) }
        guard let key = fields["Sec-WebSocket-Key"], decodeBase64(key)?.count == 16 else { throw refuse(400, "Sec-WebSocket-Key must be 16 bytes in base64", &reply) }
        reply += Bytes("""
            HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(WebSocket.acceptance(of: key))\r\n\r\n
            """.utf8)
        agree()
    }

    private mutating func agree() { (state, hasAgreed) = (.open, true) }

    private func refuse(_ status: Int, _ reason: String, _ reply: inout Bytes) -> WebSocketError {
        let phrase = HTTPStatus.text(status), body = "\(phrase): \(reason)\n"
        reply += Bytes("""
            HTTP/1.1 \(status) \(phrase)\r\nContent-Type: text/plain; charset=utf-8\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\
            Content-Length: \(body.utf8.count)\r\n\r\n\(body)
            """.utf8)
        return WebSocketError(description: "websocket: bad handshake: \(reason)")
    }

    private static func acceptance(of key: String) -> String {
        guard let hash = digest(.sha1, Bytes((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)) else { unreachable("OpenSSL has no SHA-1") }
        return encodeBase64(hash)
    }

    // MARK: Frames

    private mutating func takeFrame(_ input: inout ArraySlice<UInt8>, _ reply: inout Bytes, _ payload: inout Bytes) throws(WebSocketError) {
        if frame == nil {
            guard try takeHeader(&input) else { return }
        }
        guard var current = frame else { unreachable("a header without a frame") }
        let count = Int(min(UInt64(input.count), current.left))
        let isControl = current.opcode.rawValue >= Opcode.close.rawValue
        if isControl {
            current.take(input.prefix(count), into: &control)
        } else {
            current.take(input.prefix(count), into: &payload)
        }
        input.removeFirst(count)
        frame = current.left == 0 ? nil : current
        guard frame == nil else { return }
        if !isControl { isWithinMessage = !current.isLast }
        try answer(current.opcode, &reply)
    }

    private mutating func answer(_ opcode: Opcode, _ reply: inout Bytes) throws(WebSocketError) {
        defer { control = [] }
        switch opcode {
        case .continuation, .text, .binary, .pong: return
        case .ping: append(.pong, control, to: &reply)
        case .close:
            append(.close, Bytes(control.prefix(2)), to: &reply)
            throw WebSocketError(description: "the other side has closed")
        }
    }

    /// False as long as it is not whole (RFC 6455 5.2).
    private mutating func takeHeader(_ input: inout ArraySlice<UInt8>) throws(WebSocketError) -> Bool {
        while let byte = input.popFirst() {
            header.append(byte)
            guard header.count >= 2 else { continue }
            let short = Int(header[1] & 0x7f), extended = short == 126 ? 2 : short == 127 ? 8 : 0
            let size = 2 + extended + (header[1] & 0x80 == 0 ? 0 : 4)
            if header.count == 2 { try checkHeader(short) }
            guard header.count == size else { continue }
            let length = extended == 0 ? UInt64(short) : header[2..<2 + extended].reduce(0) { $0 << 8 | UInt64($1) }
            guard length <= UInt64(Int64.max) else { throw WebSocketError(description: "websocket: a frame of \(length) bytes") }
            guard let opcode = Opcode(rawValue: header[0] & 0x0f) else { unreachable("an opcode that was not looked at") }
            frame = Frame(opcode: opcode, isLast: header[0] & 0x80 != 0, left: length, mask: Bytes(header[(2 + extended)...]))
            header.removeAll(keepingCapacity: true)
            return true
        }
        return false
    }

    /// Whether the first two bytes may be.
    private func checkHeader(_ short: Int) throws(WebSocketError) {
        let isLast = header[0] & 0x80 != 0
        guard header[0] & 0x70 == 0 else { throw WebSocketError(description: "websocket: an extension that was not agreed on") }
        guard let opcode = Opcode(rawValue: header[0] & 0x0f) else { throw WebSocketError(description: "websocket: unknown opcode \(header[0] & 0x0f)") }
        guard (header[1] & 0x80 != 0) != isClient else {
            throw WebSocketError(description: isClient ? "websocket: a server's frame is masked" : "websocket: a client's frame is not masked")
        }
        switch opcode {
        case .continuation: guard isWithinMessage else { throw WebSocketError(description: "websocket: no message goes on") }
        case .text, .binary: guard !isWithinMessage else { throw WebSocketError(description: "websocket: a message within a message") }
        case .close, .ping, .pong:
            guard isLast, short <= WebSocket.controlBytesMax else { throw WebSocketError(description: "websocket: a control frame that is too long or in pieces") }
        }
    }

    // MARK: Outwards

    /// Makes a message of these bytes of the stream.
    package mutating func wrap(_ bytes: inout Bytes) {
        var out: Bytes = []
        append(.binary, bytes, to: &out)
        bytes = out
    }

    /// Ends it from this side, once; empty if nothing was agreed on or it is over.
    package mutating func close() -> Bytes {
        guard isOpen else { return [] }
        var out: Bytes = []
        append(.close, [0x03, 0xe8], to: &out)  // 1000: as meant
        state = .over
        return out
    }

    private mutating func append(_ opcode: Opcode, _ bytes: Bytes, to out: inout Bytes) {
        out.reserveCapacity(out.count + bytes.count + 14)
        out.append(0x80 | opcode.rawValue)
        let masked: UInt8 = isClient ? 0x80 : 0
        let extended = bytes.count < 126 ? 0 : bytes.count <= 0xffff ? 2 : 8
        out.append(masked | (extended == 0 ? UInt8(bytes.count) : extended == 2 ? 126 : 127))
        for index in 0..<extended { out.append(UInt8(truncatingIfNeeded: bytes.count >> (8 * (extended - 1 - index)))) }
        guard isClient else { return out += bytes }
        let mask = nextMask()
        out += mask
        var frame = Frame(opcode: opcode, isLast: true, left: UInt64(bytes.count), mask: mask)
        frame.take(bytes[...], into: &out)
    }

    /// Such as nobody can foresee who makes us send bytes (RFC 6455 10.3).
    private mutating func nextMask() -> Bytes {
        masks += 1
        return Bytes(sha256(maskSeed + (0..<8).map { UInt8(truncatingIfNeeded: masks >> (8 * $0)) }).prefix(4))
    }
}
