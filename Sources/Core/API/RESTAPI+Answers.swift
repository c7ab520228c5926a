// How answers are written. spec/rest-api.md section 5.

import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams

extension RESTAPI {
    // MARK: From the peer

    mutating func answer(_ id: ServedID, _ item: ClientItem, _ effects: inout [Effect]) {
        switch item {
        case .pins(let pins): return list(id, pinWriter.lines(pins, pieceBytes: RESTAPI.pieceBytes), &effects)
        case .infos(let infos): return list(id, [infos.reduce(into: Bytes()) { $0 += RESTAPI.line($1.json) }], &effects)
        default: break
        }
        let json = exchanges[id]?.showsPinset == true ? item.json : item.withoutPinset.json
        switch exchanges[id]?.shape {
        case .stream:
            if exchanges[id]?.status == nil { writeHead(id, 200, streamHeaders, &effects) }
            writeBody(id, RESTAPI.line(json), &effects)
        case .added: writeBody(id, RESTAPI.line(json), &effects)
        case .one, .addedList: exchanges[id]?.items.append(json)
        case .peerAdd, nil: break
        }
    }

    private static let pieceBytes = 256 << 10

    private mutating func list(_ id: ServedID, _ pieces: [Bytes], _ effects: inout [Effect]) {
        // What sends nothing never drains.
        guard !pieces.isEmpty else { return askForMore(id, &effects) }
        if exchanges[id]?.status == nil { writeHead(id, 200, streamHeaders, &effects) }
        for lines in pieces { writeBody(id, lines, &effects) }
        exchanges[id]?.isListing = true
    }

    mutating func finish(_ id: ServedID, _ effects: inout [Effect]) {
        guard let exchange = exchanges[id] else { return }
        switch exchange.shape {
        case .one:
            guard let item = exchange.items.first else { return finishEmpty(id, &effects) }
            write(id, 200, apiHeaders, RESTAPI.line(item), &effects)
        case .stream where exchange.status == nil: write(id, 204, streamHeaders, [], &effects)
        case .stream: end(id, trailers: ["X-Stream-Error": ""], &effects)
        case .added: end(id, trailers: [:], &effects)
        case .addedList:
            // Go's nil list.
            let list = exchange.items.isEmpty ? JSON.null : .array(exchange.items)
            write(id, 200, RESTAPI.addHeaders(apiHeaders), RESTAPI.line(list), &effects)
        case .peerAdd: break
        }
    }

    /// After the first line only the trailers can tell of it (REST-045, REST-101).
    mutating func fail(_ id: ServedID, _ failure: ClientFailure, _ effects: inout [Effect]) {
        guard let exchange = exchanges[id] else { return }
        func body() -> Bytes { RESTAPI.errorLine(failure.status, failure.message) }
        switch exchange.shape {
        case .one, .peerAdd: refuse(id, Refusal(failure.status, failure.message), &effects)
        case .stream where exchange.status == nil: write(id, failure.status, streamHeaders, body(), &effects)
        case .stream:
            var trailers: HTTPFields = ["X-Stream-Error": ""]
            trailers.add("X-Stream-Error", RESTAPI.fieldValue(failure.message))
            end(id, trailers: trailers, &effects)
        case .added:
            effects.append(.log(LogLine(.error, "adder", failure.message)))
            end(id, trailers: ["X-Stream-Error": RESTAPI.fieldValue(failure.message)], &effects)
        case .addedList:
            effects.append(.log(LogLine(.error, "adder", failure.message)))
            write(id, failure.status, RESTAPI.addHeaders(apiHeaders), body(), &effects)
        }
    }

    // MARK: From here

    /// The log tells of it too.
    mutating func refuse(_ id: ServedID, _ refusal: Refusal, challenges: [String] = [], _ effects: inout [Effect]) {
        var fields = apiHeaders
        for challenge in challenges { fields.add("Www-Authenticate", challenge) }
        let line = "sending error response: \(refusal.status): \(refusal.message)"
        effects.append(.log(LogLine(.error, "restapi", line)))
        write(id, refusal.status, fields, RESTAPI.errorLine(refusal.status, refusal.message), &effects)
    }

    private static func errorLine(_ status: Int, _ message: String) -> Bytes { line(ErrorBody(code: status, message: message).json) }

    mutating func finishEmpty(_ id: ServedID, _ effects: inout [Effect]) { write(id, 204, apiHeaders, [], &effects) }

    /// REST-015. Only GET and HEAD get a page that says so.
    mutating func redirect(_ id: ServedID, to target: RequestTarget, _ effects: inout [Effect]) {
        var fields: HTTPFields = ["Location": target.location]
        guard let method = exchanges[id]?.request.method, method == "GET" || method == "HEAD" else {
            return write(id, 307, fields, [], &effects)
        }
        fields.add("Content-Type", "text/html; charset=utf-8")
        let page = "<a href=\"\(RESTAPI.htmlEscaped(target.location))\">Temporary Redirect</a>.\n\n"
        write(id, 307, fields, method == "GET" ? Bytes(page.utf8) : [], &effects)
    }

    // MARK: Writing

    /// REST-039.
    var apiHeaders: HTTPFields {
        var fields = settings.headers
        fields.add("Content-Type", "application/json")
        return fields
    }
    var streamHeaders: HTTPFields {
        var fields = apiHeaders
        fields.add("Trailer", "X-Stream-Error")
        return fields
    }
    /// REST-100.
    static func addHeaders(_ fields: HTTPFields) -> HTTPFields {
        var fields = fields
        fields.add("Cache-Control", "no-cache")
        fields.add("Connection", "close")
        return fields
    }

    mutating func write(_ id: ServedID, _ status: Int, _ fields: HTTPFields, _ body: Bytes, _ effects: inout [Effect]) {
        writeHead(id, status, fields, &effects)
        if !body.isEmpty { writeBody(id, body, &effects) }
        end(id, trailers: [:], &effects)
    }

    mutating func writeHead(_ id: ServedID, _ status: Int, _ fields: HTTPFields, _ effects: inout [Effect]) {
        var all = fields
        for field in exchanges[id]?.headers.fields ?? [] { all.add(field.name, field.value) }
        exchanges[id]?.status = status
        effects.append(.answer(id, .head(HTTPResponse(status: status, headers: all))))
    }

    private mutating func writeBody(_ id: ServedID, _ bytes: Bytes, _ effects: inout [Effect]) {
        exchanges[id]?.bytesSent += bytes.count
        effects.append(.answer(id, .body(bytes)))
    }

    private mutating func end(_ id: ServedID, trailers: HTTPFields, _ effects: inout [Effect]) {
        effects.append(.answer(id, .end(trailers: trailers)))
        if let exchange = exchanges[id] { effects.append(.log(exchange.logLine)) }
        forget(id)
    }

    /// One line of a body.
    static func line(_ json: JSON) -> Bytes {
        var out: Bytes = []
        json.write(to: &out)
        out.append(UInt8(ascii: "\n"))
        return out
    }

    /// A field's value may hold no line ends.
    private static func fieldValue(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 < 0x20 && $0 != 0x09 || $0 == 0x7f ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
    }

    private static func htmlEscaped(_ text: String) -> String {
        [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&#34;"), ("'", "&#39;")]
            .reduce(text) { $0.replacing($1.0, with: $1.1) }
    }
}

extension ClientFailure {
    var status: Int {
        switch kind {
        case .badRequest: 400
        case .notFound: 404
        case .failed: 500
        }
    }
}

extension ClientItem {
    var withoutPinset: ClientItem {
        guard case .peer(var peer) = self else { return self }
        peer.pinset = nil
        return .peer(peer)
    }

    var json: JSON {
        switch self {
        case .peer(let peer): peer.json
        case .version(let version): VersionReply(version: version).json
        case .pin(let pin): pin.json
        case .pins(let pins): pins.pins.json
        case .info(let info): info.json
        case .infos(let infos): infos.json
        case .metrics(let metrics): metrics.json
        case .names(let names): names.json
        case .alerts(let alerts): alerts.json
        case .graph(let graph): graph.json
        case .bandwidth(let protocols): BandwidthByProtocol(protocols).json
        case .garbage(let all): GlobalRepoGC(all).json
        case .added(let output): output.json
        }
    }
}

extension RESTAPI.Exchange {
    /// Apache's common log format (REST-011).
    var logLine: LogLine {
        let line = quoted("\(request.method) \(request.target) HTTP/1.1")
        let host = RESTAPI.Exchange.host(remote)
        return LogLine(.info, "restapilog", "\(host) - - [\(since.commonLog)] \(line) \(status ?? 0) \(bytesSent)")
    }

    /// Without the port.
    private static func host(_ remote: String) -> String {
        guard let colon = remote.lastIndex(of: ":") else { return remote }
        let host = remote[..<colon]
        return host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host)
    }
}

extension WallTime {
    /// "02/Jan/2006:15:04:05 +0000".
    var commonLog: String {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let words = WallTime(seconds: seconds).plain.split { "- :".contains($0) }.map(String.init)
        guard words.count == 6, let month = Int(words[1]) else { return rfc3339 }
        return "\(words[2])/\(months[month - 1])/\(words[0]):\(words[3]):\(words[4]):\(words[5]) +0000"
    }
}
