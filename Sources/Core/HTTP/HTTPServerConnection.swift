// The server's side of one connection: requests in, answers out, one after the other (REST-005..010).

import Kernel

package struct HTTPServerSettings: Sendable {
    /// Of a head, with what is left over as in Go's server (REST-006).
    package var headBytesMax = 4096 + headSlackBytes
    package static let headSlackBytes = 4096
    /// Zero means no limit, as in Go.
    package var headTimeout = Span.seconds(5)
    package var readTimeout = Span.zero
    package var writeTimeout = Span.zero
    package var idleTimeout = Span.seconds(120)
    /// An answer up to this size gets a Content-Length; a longer one goes out in chunks (Go's buffer).
    package var bufferedAnswerBytes = 2048
    /// What is read and thrown away of a request that was answered before it ended.
    package var discardedBytesMax = 256 << 10
    /// With more than this of later requests, reading stops until they have their turn.
    package var unreadBytesMax = 64 << 10
    /// With more than this of earlier answers still to leave, the next request waits.
    package var unsentBytesMax = 256 << 10
    package init() {}
}

package struct HTTPServerConnection: Sendable {
    package enum Effect: Equatable, Sendable {
        case write(Bytes)
        /// Flush, then close; with a moment for the client to read what was written.
        case close
        case served(ServedID, ServedEvent)
        /// Stop or go on reading from the socket.
        case pause
        case resume
    }

    private enum Reading: Sendable {
        case head
        case body(BodyReader)
        case ended
    }
    private enum Answering: Sendable {
        case nothing
        case held(HTTPResponse, Bytes)
        case sized
        case chunked
        case untilClose
        case done
    }

    private let settings: HTTPServerSettings
    private let remote: String
    private var head: HeadReader
    private var unread: ArraySlice<UInt8> = []
    private var reading = Reading.head
    private var answering = Answering.nothing
    private var current: ServedID?
    private var request = HTTPRequest(method: "", target: "")
    private var isOldVersion = false
    private var keepsAlive = true
    /// The client holds its body back until it is told to go on (RFC 9110 10.1.1).
    private var owesContinue = false
    private var isClosed = false
    /// The client sends nothing more.
    private var hasEnded = false
    /// The server takes no more of the body for now.
    private var isPaused = false
    /// The carrier was told to stop reading.
    private var isHeldBack = false
    private var unsent = 0
    private var discarded = 0
    private var readBy: Instant?
    private var writeBy: Instant?

    package init(settings: HTTPServerSettings, remote: String, now: Now) {
        self.settings = settings
        self.remote = remote
        head = HeadReader(bytesMax: settings.headBytesMax)
        // As Go counts: who connects is to ask at once, and who has asked may rest.
        readBy = headDeadline(now)
    }

    private func deadline(_ span: Span, _ now: Now) -> Instant? { span > .zero ? now.monotonic + span : nil }
    private func headDeadline(_ now: Now) -> Instant? { deadline(settings.headTimeout, now) ?? deadline(settings.readTimeout, now) }

    package var nextDeadline: Instant? { isClosed ? nil : earliest(readBy, writeBy) }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        guard let due = nextDeadline, due <= now.monotonic else { return }
        dropUnfinished(now, &effects)
    }

    // MARK: Reading

    package mutating func onBytes(_ bytes: Bytes, ids: inout UInt64, now: Now, effects: inout [Effect]) {
        guard !isClosed else { return }
        unread += bytes
        read(&ids, now, &effects)
        settleReading(&effects)
    }

    /// The client sends nothing more, and is still answered what it has asked. If it has left altogether, that shows when something is
    /// written.
    package mutating func onEnd(now: Now, effects: inout [Effect]) {
        hasEnded = true
        settleEnd(now, &effects)
    }
    private mutating func settleEnd(_ now: Now, _ effects: inout [Effect]) {
        guard hasEnded, !isClosed, unread.isEmpty else { return }
        if case .body = reading { return cutBody("unexpected EOF", &effects) }
        if current == nil { dropUnfinished(now, &effects) }
    }
    /// Who has said half a request is told so.
    private mutating func dropUnfinished(_ now: Now, _ effects: inout [Effect]) {
        if case .head = reading {
            do throws(HTTPError) { try head.checkUnfinished() } catch { return refuse(error, now, &effects) }
        }
        drop(&effects)
    }

    /// The connection is gone, both ways.
    package mutating func onClosed(effects: inout [Effect]) {
        guard !isClosed else { return }
        drop(&effects)
    }

    /// All that was written has left.
    package mutating func onDrained(ids: inout UInt64, now: Now, effects: inout [Effect]) {
        guard !isClosed else { return }
        let waited = unsent > settings.unsentBytesMax
        unsent = 0
        if let current { effects.append(.served(current, .drained)) }
        guard waited else { return }
        read(&ids, now, &effects)
        settleEnd(now, &effects)
        settleReading(&effects)
    }

    private mutating func write(_ bytes: Bytes, _ effects: inout [Effect]) {
        unsent += bytes.count
        effects.append(.write(bytes))
    }

    private mutating func drop(_ effects: inout [Effect]) {
        isClosed = true
        if let current { effects.append(.served(current, .gone)) }
        current = nil
        effects.append(.close)
    }

    private mutating func read(_ ids: inout UInt64, _ now: Now, _ effects: inout [Effect]) {
        while !isClosed, !isPaused, !unread.isEmpty {
            do throws(HTTPError) {
                switch reading {
                case .ended: return  // The next request waits for the end of this answer.
                case .head:
                    guard unsent <= settings.unsentBytesMax else { return }
                    if head.isEmpty { readBy = headDeadline(now) }
                    guard let lines = try head.take(&unread, skipsLeadingEmptyLines: true) else {
                        // Who speaks something else hears of it at once, not when the time for a head is over.
                        if head.isForeign { throw HTTPError("not an HTTP request") }
                        if let line = head.firstLine { _ = try RequestLine(line) }
                        return
                    }
                    try begin(lines, &ids, now, &effects)
                case .body(var reader):
                    let count = unread.count
                    var (data, error) = (Bytes(), HTTPError?.none)
                    do throws(HTTPError) { try reader.take(&unread, into: &data) } catch let fault { error = fault }
                    owesContinue = false  // it did not wait
                    reading = .body(reader)
                    if let current {
                        if !data.isEmpty { effects.append(.served(current, .body(data))) }
                    } else {
                        discarded += count - unread.count
                        guard discarded <= settings.discardedBytesMax else { return drop(&effects) }
                    }
                    if let error { cutBody(error.description, &effects) } else if reader.isEnded { endRequest(&effects) }
                }
            } catch { refuse(error, now, &effects) }
        }
    }

    private mutating func begin(_ lines: [String], _ ids: inout UInt64, _ now: Now, _ effects: inout [Effect]) throws(HTTPError) {
        let start = try RequestLine(lines[0])
        let fields = try HeadReader.fields(lines.dropFirst())
        isOldVersion = start.isOldVersion
        let hosts = fields.all("Host")
        guard hosts.count <= 1 else { throw HTTPError("too many Host headers") }
        guard isOldVersion || hosts.count == 1 || start.method == "CONNECT" else {
            throw HTTPError("missing required Host header", isInStatusLine: true)
        }
        guard hosts.allSatisfy(HeadReader.isHost) else { throw HTTPError("malformed Host header", isInStatusLine: true) }
        let expectsContinue = fields.holds("Expect", token: "100-continue")
        if !expectsContinue, fields["Expect"]?.isEmpty == false { throw HTTPError("nobody can meet that expectation", status: 417) }
        let framing = try BodyFraming(fields, isOldVersion: isOldVersion) ?? .none
        keepsAlive = isOldVersion ? fields.holds("Connection", token: "keep-alive") : !fields.holds("Connection", token: "close")
        request = HTTPRequest(method: start.method, target: start.target, headers: fields)
        ids += 1
        let id = ServedID(ids)
        current = id
        answering = .nothing
        discarded = 0
        readBy = deadline(settings.readTimeout, now)
        writeBy = deadline(settings.writeTimeout, now)
        effects.append(.served(id, .request(request, remote: remote)))
        let reader = BodyReader(framing, headBytesMax: settings.headBytesMax)
        reading = .body(reader)
        if reader.isEnded { return endRequest(&effects) }
        owesContinue = expectsContinue && !isOldVersion
    }

    /// Before any other answer, and none to who is refused: the body would be for nothing, and may never come.
    private mutating func settleContinue(status: Int, _ effects: inout [Effect]) {
        guard owesContinue else { return }
        owesContinue = false
        if status < 300 { return write(Bytes("HTTP/1.1 100 Continue\r\n\r\n".utf8), &effects) }
        keepsAlive = false
        reading = .ended
    }

    /// As Go: who would send on for long after the answer is told that the connection closes.
    private mutating func settleRest() {
        guard case .body(let reader) = reading, reader.remaining >= settings.discardedBytesMax else { return }
        keepsAlive = false
        reading = .ended
    }

    private mutating func endRequest(_ effects: inout [Effect]) {
        reading = .ended
        readBy = nil
        if let current { effects.append(.served(current, .end)) } else { finish(&effects) }
    }

    /// Nothing that follows can be read; the answer is the last.
    private mutating func cutBody(_ reason: String, _ effects: inout [Effect]) {
        guard let current else { return drop(&effects) }
        reading = .ended
        readBy = nil
        (keepsAlive, unread) = (false, [])
        effects.append(.served(current, .cut(reason)))
    }

    private mutating func refuse(_ error: HTTPError, _ now: Now, _ effects: inout [Effect]) {
        if case .nothing = answering {
            if error.status == 417 {
                let fields: HTTPFields = ["Connection": "close", "Date": HTTPDate.text(now.wall), "Content-Length": "0"]
                write(Chunks.head("HTTP/1.1 417 \(HTTPStatus.text(417))", fields), &effects)
                return drop(&effects)
            }
            let status = "\(error.status) \(HTTPStatus.text(error.status))"
            let line = error.isInStatusLine ? "\(status): \(error.description)" : status
            let text = error.status == 400 ? "\(status): \(error.description)" : line
            let fields: HTTPFields = ["Content-Type": "text/plain; charset=utf-8", "Connection": "close"]
            write(Chunks.head("HTTP/1.1 \(line)", fields) + Bytes(text.utf8), &effects)
        }
        drop(&effects)
    }

    // MARK: Answering

    package mutating func answer(
        _ id: ServedID, _ answer: ServedAnswer, ids: inout UInt64, now: Now, effects: inout [Effect]
    ) {
        guard id == current, !isClosed else { return }
        switch answer {
        case .head(let response):
            guard case .nothing = answering else { return }
            answering = .held(response, [])
            if response.headers["Trailer"] != nil { release(isWhole: false, now, &effects) }
        case .body(let bytes): body(bytes, now, &effects)
        case .end(let trailers):
            release(isWhole: true, now, &effects)
            if case .chunked = answering, sendsBody { write(Chunks.end(trailers), &effects) }
            if case .untilClose = answering { keepsAlive = false }
            answering = .done
            current = nil
            writeBy = nil
            isPaused = false
            if !keepsAlive { reading = .ended }  // nobody waits for the rest of what is the last request
            if case .ended = reading { finish(&effects) }
            readBy = readBy ?? deadline(settings.idleTimeout, now)
            read(&ids, now, &effects)
        case .abort: drop(&effects)
        case .pause: isPaused = true
        case .resume:
            isPaused = false
            settleReading(&effects)
            read(&ids, now, &effects)
        }
        settleEnd(now, &effects)
        settleReading(&effects)
    }

    /// What was held back for a Content-Length goes out now: nothing more follows in this step.
    package mutating func flush(now: Now, effects: inout [Effect]) {
        if isClosed { return }
        if case .held(_, let bytes) = answering, !bytes.isEmpty { release(isWhole: false, now, &effects) }
        if case .nothing = answering { settleContinue(status: 100, &effects) }
    }

    private var sendsBody: Bool { request.method != "HEAD" }

    private mutating func settleReading(_ effects: inout [Effect]) {
        let holdsBack = isPaused || unread.count > settings.unreadBytesMax
        guard holdsBack != isHeldBack, !isClosed else { return }
        isHeldBack = holdsBack
        effects.append(holdsBack ? .pause : .resume)
    }

    private mutating func body(_ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        switch answering {
        case .held(let response, let earlier):
            answering = .held(response, earlier + bytes)
            if earlier.count + bytes.count > settings.bufferedAnswerBytes { release(isWhole: false, now, &effects) }
        case .chunked: if sendsBody, !bytes.isEmpty { writeChunk(bytes, &effects) }
        case .sized, .untilClose: if sendsBody, !bytes.isEmpty { write(bytes, &effects) }
        case .nothing, .done: break
        }
    }

    private mutating func release(isWhole: Bool, _ now: Now, _ effects: inout [Effect]) {
        if case .nothing = answering, isWhole { answering = .held(HTTPResponse(status: 200), []) }
        guard case .held(let response, let bytes) = answering else { return }
        settleContinue(status: response.status, &effects)
        if isWhole { settleRest() }
        var fields = response.headers
        if fields["Date"] == nil { fields.add("Date", HTTPDate.text(now.wall)) }
        let isBodiless = response.status == 204 || response.status == 304 || response.status < 200
        if isBodiless {
            answering = .sized
        } else if fields["Content-Length"] != nil {
            answering = .sized
        } else if isWhole && fields["Trailer"] == nil {
            // Who asked for the head alone hears of no length that nobody has told (Go's server).
            if sendsBody || !bytes.isEmpty { fields["Content-Length"] = String(bytes.count) }
            answering = .sized
        } else if isOldVersion {
            answering = .untilClose
        } else {
            fields["Transfer-Encoding"] = "chunked"
            answering = .chunked
        }
        if fields.holds("Connection", token: "close") { keepsAlive = false }
        if case .untilClose = answering { keepsAlive = false }
        // As Go does: what the version means anyway is not said.
        if !keepsAlive && !isOldVersion && fields["Connection"] == nil { fields.add("Connection", "close") }
        if keepsAlive && isOldVersion { fields.add("Connection", "keep-alive") }
        write(Chunks.head("HTTP/1.\(isOldVersion ? 0 : 1) \(response.status) \(HTTPStatus.text(response.status))", fields), &effects)
        guard !isBodiless, sendsBody, !bytes.isEmpty else { return }
        if case .chunked = answering { writeChunk(bytes, &effects) } else { write(bytes, &effects) }
    }

    /// A large one is not copied.
    private mutating func writeChunk(_ bytes: Bytes, _ effects: inout [Effect]) {
        guard bytes.count >= 16 << 10 else { return write(Chunks.piece(bytes), &effects) }
        for part in [Chunks.start(bytes.count), bytes, Chunks.lineEnd] { write(part, &effects) }
    }

    /// Request and answer have both ended.
    private mutating func finish(_ effects: inout [Effect]) {
        guard case .done = answering else { return }
        guard keepsAlive else {
            isClosed = true
            return effects.append(.close)
        }
        reading = .head
        answering = .nothing
    }
}
