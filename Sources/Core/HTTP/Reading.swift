// Reading HTTP/1.1 heads and bodies piece by piece. RFC 9112.

import Kernel

package struct HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The status that a server answers with.
    package let status: Int
    package let description: String
    /// Told in the status line too, as Go does with some: the words are ours, and quote nobody.
    let isInStatusLine: Bool
    package init(_ description: String, status: Int = 400, isInStatusLine: Bool = false) {
        (self.description, self.status, self.isInStatusLine) = (description, status, isInStatusLine)
    }
}

/// Collects the lines of a head (or of trailers) until the empty one.
struct HeadReader: Sendable {
    let bytesMax: Int
    private var line: Bytes = []
    private var lines: [String] = []
    private var count = 0

    init(bytesMax: Int) { self.bytesMax = bytesMax }
    var isEmpty: Bool { count == 0 }
    /// The first line, as soon as it is whole.
    var firstLine: String? { lines.first }
    /// What has come does not even begin like a method: another protocol.
    var isForeign: Bool {
        guard lines.isEmpty, let first = line.first, first != UInt8(ascii: "\r") else { return false }
        return !HeadReader.isTokenByte(first)
    }

    /// All lines once the empty one has come. Empty lines before the first are skipped, as RFC 9112 2.2 asks of servers.
    mutating func take(_ input: inout ArraySlice<UInt8>, skipsLeadingEmptyLines: Bool) throws(HTTPError) -> [String]? {
        while let byte = input.popFirst() {
            count += 1
            guard count <= bytesMax else { throw HTTPError("the header fields exceed \(bytesMax) bytes", status: 431) }
            guard byte == UInt8(ascii: "\n") else {
                line.append(byte)
                continue
            }
            if line.last == UInt8(ascii: "\r") { line.removeLast() }
            guard line.isEmpty else {
                lines.append(String(decoding: line, as: UTF8.self))
                line = []
                continue
            }
            if lines.isEmpty && skipsLeadingEmptyLines {
                count = 0
                continue
            }
            let whole = lines
            self = HeadReader(bytesMax: bytesMax)
            return whole
        }
        return nil
    }

    /// What is wrong with a head whose time is over. As Go reads it, a line that has not ended is a line: half a name is an
    /// error, and what could go on is none.
    func checkUnfinished() throws(HTTPError) {
        let all = line.isEmpty ? lines : lines + [String(decoding: line, as: UTF8.self)]
        if let first = all.first { _ = try RequestLine(first) }
        _ = try HeadReader.fields(all.dropFirst())
    }

    static func fields(_ lines: some Sequence<String>) throws(HTTPError) -> HTTPFields {
        var fields = HTTPFields()
        for line in lines {
            if let first = line.utf8.first, isBlank(first) {
                guard fields.continueLast(trimmed(line)) else { throw HTTPError("the first header line begins with a blank") }
                continue
            }
            guard let colon = line.utf8.firstIndex(of: UInt8(ascii: ":")) else {
                throw HTTPError("malformed header line \"\(line.prefix(80))\": no colon")
            }
            let name = String(line[..<colon])
            guard !name.isEmpty, name.utf8.allSatisfy(isTokenByte) else {
                throw HTTPError("malformed header name \"\(name.prefix(80))\"")
            }
            fields.add(name, trimmed(line[line.utf8.index(after: colon)...]))
        }
        for field in fields.fields where !field.value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 }) {
            throw HTTPError("invalid byte in the value of header \(field.name)")
        }
        return fields
    }

    static func isTokenByte(_ byte: UInt8) -> Bool { isLetterOrDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte) }
    /// As lenient as Go: each byte may stand somewhere in a host or a port.
    static func isHost(_ text: String) -> Bool {
        text.utf8.allSatisfy { isLetterOrDigit($0) || "!$%&'()*+,-.:;=[]_~".utf8.contains($0) }
    }
    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        default: false
        }
    }
}

/// Method, target and version (RFC 9112 3).
struct RequestLine {
    let method: String
    let target: String
    /// HTTP/1.0. Later ones of the same major number are read as 1.1.
    let isOldVersion: Bool

    init(_ line: String) throws(HTTPError) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 3, !words[0].isEmpty, words[0].utf8.allSatisfy(HeadReader.isTokenByte), !words[1].isEmpty else {
            throw HTTPError("malformed HTTP request \"\(line.prefix(80))\"")
        }
        (method, target) = (words[0], words[1])
        let version = Bytes(words[2].utf8)
        let digits: ClosedRange<UInt8> = 0x30...0x39
        guard version.count == 8, version.starts(with: "HTTP/".utf8), digits ~= version[5], version[6] == 0x2e, digits ~= version[7]
        else { throw HTTPError("malformed HTTP version \"\(words[2].prefix(80))\"") }
        guard version[5] == 0x31 else { throw HTTPError("unsupported protocol version", status: 505, isInStatusLine: true) }
        isOldVersion = version[7] == 0x30
        guard method == "CONNECT" || target == "*" || ["/", "http://", "https://"].contains(where: target.hasPrefix) else {
            throw HTTPError("malformed request target \"\(target.prefix(80))\"")
        }
    }
}

/// How long a body is.
enum BodyFraming: Equatable, Sendable {
    case none
    case length(Int)
    case chunked
    case untilClose

    /// Nil where the fields say nothing. A message with both framings is refused: two readers could disagree about it.
    /// Codings came with HTTP/1.1: one of an older message says nothing, as Go has it.
    init?(_ fields: HTTPFields, isOldVersion: Bool = false) throws(HTTPError) {
        let lengths = fields.all("Content-Length")
        if !isOldVersion, let coding = fields["Transfer-Encoding"] {
            guard HTTPFields.same(coding, "chunked"), fields.all("Transfer-Encoding").count == 1 else {
                throw HTTPError("unsupported transfer encoding \"\(coding.prefix(80))\"", status: 501)
            }
            guard lengths.isEmpty else { throw HTTPError("both Content-Length and Transfer-Encoding are given") }
            self = .chunked
            return
        }
        guard let text = lengths.first else { return nil }
        guard lengths.allSatisfy({ $0 == text }), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = Int(text)
        else { throw HTTPError("bad Content-Length \"\(text.prefix(80))\"") }
        self = .length(length)
    }
}

/// Takes a body apart from what follows it.
struct BodyReader: Sendable {
    private enum State: Sendable {
        case remaining(Int)
        case size(Bytes)
        case chunk(Int)
        case afterChunk(Int)
        case trailers(HeadReader)
        case untilClose
        case ended
    }
    private var state: State
    private(set) var trailers = HTTPFields()
    private let headBytesMax: Int

    init(_ framing: BodyFraming, headBytesMax: Int) {
        self.headBytesMax = headBytesMax
        state =
            switch framing {
            case .none, .length(0): .ended
            case .length(let count): .remaining(count)
            case .chunked: .size([])
            case .untilClose: .untilClose
            }
    }

    var isEnded: Bool { if case .ended = state { true } else { false } }
    /// What is still to come, where that is known.
    var remaining: Int { if case .remaining(let count) = state { count } else { 0 } }
    /// Whether the end of the connection ends the body in order.
    var endsAtClose: Bool { if case .untilClose = state { true } else { isEnded } }

    /// The body's bytes out of the input, up to the body's end.
    mutating func take(_ input: inout ArraySlice<UInt8>) throws(HTTPError) -> Bytes {
        var data: Bytes = []
        try take(&input, into: &data)
        return data
    }
    /// What came before an error is in `data`.
    mutating func take(_ input: inout ArraySlice<UInt8>, into data: inout Bytes) throws(HTTPError) {
        while !input.isEmpty {
            switch state {
            case .ended: return
            case .untilClose:
                data += input
                input = []
            case .remaining(let count):
                let piece = input.prefix(count)
                data += piece
                input = input.dropFirst(piece.count)
                state = piece.count == count ? .ended : .remaining(count - piece.count)
            case .size(var line):
                let byte = input.removeFirst()
                if byte == UInt8(ascii: "\n") {
                    state = try afterSize(line)
                } else {
                    line.append(byte)
                    guard line.count <= 256 else { throw HTTPError("a chunk's size line is too long") }
                    state = .size(line)
                }
            case .chunk(let count):
                let piece = input.prefix(count)
                data += piece
                input = input.dropFirst(piece.count)
                state = piece.count == count ? .afterChunk(2) : .chunk(count - piece.count)
            case .afterChunk(let count):
                let expected = count == 2 ? UInt8(ascii: "\r") : UInt8(ascii: "\n")
                guard input.removeFirst() == expected else { throw HTTPError("malformed chunked encoding") }
                state = count == 2 ? .afterChunk(1) : .size([])
            case .trailers(var reader):
                guard let lines = try reader.take(&input, skipsLeadingEmptyLines: false) else {
                    state = .trailers(reader)
                    return
                }
                trailers = try HeadReader.fields(lines)
                state = .ended
            }
        }
    }

    /// Extensions after the semicolon mean nothing to us.
    private func afterSize(_ line: Bytes) throws(HTTPError) -> State {
        let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: " ") }
        guard !digits.isEmpty else { throw HTTPError("empty hex number for chunk length") }
        guard digits.count <= 15 else { throw HTTPError("http chunk length too large") }
        guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16), size >= 0
        else { throw HTTPError("invalid byte in chunk length") }
        return size == 0 ? .trailers(HeadReader(bytesMax: headBytesMax)) : .chunk(size)
    }
}

/// Writes pieces of a chunked body.
enum Chunks {
    static func piece(_ bytes: Bytes) -> Bytes { bytes.isEmpty ? [] : start(bytes.count) + bytes + lineEnd }
    /// What stands before and behind so many bytes.
    static func start(_ count: Int) -> Bytes { Bytes("\(String(count, radix: 16))\r\n".utf8) }
    static let lineEnd = Bytes("\r\n".utf8)
    static func end(_ trailers: HTTPFields) -> Bytes { Bytes("0\r\n".utf8) + head(nil, trailers) }
    /// A start line, the fields and the empty line.
    static func head(_ start: String?, _ fields: HTTPFields) -> Bytes {
        var text = start.map { $0 + "\r\n" } ?? ""
        for field in fields.fields { text += "\(oneLine(field.name)): \(oneLine(field.value))\r\n" }
        return Bytes((text + "\r\n").utf8)
    }
    /// Nothing that a user typed may begin a new header line.
    private static func oneLine(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 == 0x0d || $0 == 0x0a || $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
    }
}
