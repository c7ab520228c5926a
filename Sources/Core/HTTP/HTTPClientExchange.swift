// The client's side of one request and its answer.

import Kernel

package struct HTTPClientExchange: Sendable {
    package enum Event: Equatable, Sendable {
        case head(HTTPResponse)
        case body(Bytes)
        case end(trailers: HTTPFields)
    }
    private enum State: Sendable {
        case head
        case body(BodyReader)
        case ended
    }
    private let method: String
    private let headBytesMax: Int
    private var head: HeadReader
    private var state = State.head
    private let isChunked: Bool
    private var bodyIsSent: Bool
    /// Whether the connection may carry another exchange after this one.
    package private(set) var keepsAlive = true

    /// `bodyCount` is the request body's length; nil for a body that comes in pieces. `opening` is what to send first.
    package init(_ request: HTTPRequest, bodyCount: Int?, headBytesMax: Int = 1 << 20, opening: inout Bytes) {
        method = request.method
        self.headBytesMax = headBytesMax
        head = HeadReader(bytesMax: headBytesMax)
        isChunked = bodyCount == nil
        bodyIsSent = bodyCount != nil
        var fields = request.headers
        if let bodyCount {
            if bodyCount > 0 || request.method != "GET" { fields["Content-Length"] = String(bodyCount) }
        } else {
            fields["Transfer-Encoding"] = "chunked"
        }
        opening += Chunks.head("\(request.method) \(request.target) HTTP/1.1", fields)
    }

    package var isEnded: Bool { if case .ended = state { true } else { false } }
    /// Whether the connection can be used again: nothing is left unsent or unread.
    package var isReusable: Bool { isEnded && keepsAlive && bodyIsSent }

    package func piece(_ bytes: Bytes) -> Bytes { isChunked ? Chunks.piece(bytes) : bytes }
    package mutating func endOfBody() -> Bytes {
        bodyIsSent = true
        return isChunked ? Chunks.end([:]) : []
    }

    package mutating func onBytes(_ bytes: Bytes) throws(HTTPError) -> [Event] {
        var input = bytes[...]
        var events: [Event] = []
        while true {
            switch state {
            case .ended:
                if !input.isEmpty { keepsAlive = false }  // Nobody asked for more.
                return events
            case .head:
                guard let lines = try head.take(&input, skipsLeadingEmptyLines: true) else { return events }
                guard let response = try begin(lines) else { continue }
                events.append(.head(response))
            case .body(var reader):
                let data = try reader.take(&input)
                state = .body(reader)
                if !data.isEmpty { events.append(.body(data)) }
                guard reader.isEnded else { return events }
                state = .ended
                events.append(.end(trailers: reader.trailers))
            }
        }
    }

    /// The server closed the connection.
    package mutating func onClosed() throws(HTTPError) -> [Event] {
        keepsAlive = false
        switch state {
        case .ended: return []
        case .head: throw HTTPError("EOF")
        case .body(let reader):
            guard reader.endsAtClose else { throw HTTPError("unexpected EOF") }
            state = .ended
            return [.end(trailers: reader.trailers)]
        }
    }

    private mutating func begin(_ lines: [String]) throws(HTTPError) -> HTTPResponse? {
        let start = lines[0].split(separator: " ", maxSplits: 2).map(String.init)
        guard start.count >= 2, start[0].hasPrefix("HTTP/1."), start[1].utf8.count == 3, let status = Int(start[1]) else {
            throw HTTPError("malformed HTTP response \"\(lines[0].prefix(80))\"")
        }
        let fields = try HeadReader.fields(lines.dropFirst())
        if (100..<200).contains(status), status != 101 { return nil }
        var framing = try BodyFraming(fields) ?? .untilClose
        if method == "HEAD" || status == 204 || status == 304 { framing = .none }
        if status == 101 { framing = .untilClose }  // what follows is of the other protocol, whatever the fields say (RFC 9110 15.2.2)
        keepsAlive = start[0] == "HTTP/1.1" && !fields.holds("Connection", token: "close") && framing != .untilClose
        state = .body(BodyReader(framing, headBytesMax: headBytesMax))
        return HTTPResponse(status: status, headers: fields)
    }
}
