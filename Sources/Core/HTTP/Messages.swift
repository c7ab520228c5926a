// HTTP messages as values. RFC 9110, RFC 9112.

import Kernel

/// Header fields in the order in which they came. Names match without regard to ASCII case.
package struct HTTPFields: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    package struct Field: Sendable, Equatable {
        package let name: String
        package fileprivate(set) var value: String
        package init(_ name: String, _ value: String) { self.name = name; self.value = value }
    }
    package private(set) var fields: [Field] = []
    package init() {}
    package init(dictionaryLiteral elements: (String, String)...) { for (n, v) in elements { add(n, v) } }

    package mutating func add(_ name: String, _ value: String) { fields.append(Field(name, value)) }
    /// A line that begins with a blank goes on with the value before it (RFC 9112 5.2). False if there is none.
    package mutating func continueLast(_ text: String) -> Bool {
        guard let last = fields.indices.last else { return false }
        fields[last].value += fields[last].value.isEmpty ? text : " " + text
        return true
    }
    package func all(_ name: String) -> [String] {
        fields.filter { HTTPFields.same($0.name, name) }.map(\.value)
    }
    /// Reads the first value of that name; setting replaces all of them, nil removes them.
    package subscript(name: String) -> String? {
        get { fields.first { HTTPFields.same($0.name, name) }?.value }
        set {
            fields.removeAll { HTTPFields.same($0.name, name) }
            if let newValue { add(name, newValue) }
        }
    }
    /// Whether a comma-separated list of tokens, such as Connection, holds one.
    package func holds(_ name: String, token: String) -> Bool {
        all(name).contains { $0.split(separator: ",").contains { HTTPFields.same(trimmed($0), token) } }
    }
    package static func same(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && zip(a.utf8, b.utf8).allSatisfy { lower($0) == lower($1) }
    }
    /// Each part between dashes with a capital, as Go's library writes names; what is no name stays as it is.
    package static func canonical(_ name: String) -> String {
        guard !name.isEmpty, name.utf8.allSatisfy(HeadReader.isTokenByte) else { return name }
        var isFirst = true
        let bytes = name.utf8.map { byte -> UInt8 in
            defer { isFirst = byte == UInt8(ascii: "-") }
            return isFirst && (0x61...0x7a).contains(byte) ? byte & 0xdf : isFirst ? byte : lower(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
    private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
}

package func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

/// Without the spaces and tabs around it.
package func trimmed(_ text: some StringProtocol) -> String {
    var bytes = Array(text.utf8)[...]
    while let first = bytes.first, isBlank(first) { bytes.removeFirst() }
    while let last = bytes.last, isBlank(last) { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
}

package struct HTTPRequest: Sendable, Equatable {
    package var method: String
    /// As on the request line, still percent-encoded.
    package var target: String
    package var headers: HTTPFields
    package init(method: String, target: String, headers: HTTPFields = [:]) {
        self.method = method
        self.target = target
        self.headers = headers
    }
}

package struct HTTPResponse: Sendable, Equatable {
    package var status: Int
    package var headers: HTTPFields
    package init(status: Int, headers: HTTPFields = [:]) {
        self.status = status
        self.headers = headers
    }
}

/// One request to our server with its answer. Never reused within a run.
package struct ServedID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

/// What a server hears of one request. `end` or `gone` is the last.
package enum ServedEvent: Sendable, Equatable {
    case request(HTTPRequest, remote: String)
    case body(Bytes)
    /// The request is whole.
    case end
    /// The body breaks off here, for that reason; whoever has sent it may still listen.
    case cut(String)
    /// The client hung up, or sent what is no HTTP: nothing more can be answered.
    case gone
    /// All that was answered so far has left the buffers.
    case drained
}

/// What a server answers: a head, pieces, an end. Framing, length, date and connection headers are the net's.
package enum ServedAnswer: Sendable, Equatable {
    case head(HTTPResponse)
    case body(Bytes)
    /// Trailers are sent only where the answer was chunked.
    case end(trailers: HTTPFields)
    /// Breaks the connection off, so that the client cannot take the answer for whole.
    case abort
    /// Stop and go on reading the request's body.
    case pause
    case resume
}
