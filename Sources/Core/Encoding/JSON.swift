// JSON as Go's encoding/json reads and writes it: members in order, `<`, `>`, `&`, U+2028 and U+2029 escaped (REST-040).

import Kernel

package enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    /// The number's text, so that 64-bit values keep every digit (REST-196).
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    package struct Member: Equatable, Sendable {
        package let name: String
        package let value: JSON
        package init(_ name: String, _ value: JSON) { self.name = name; self.value = value }
    }

    package static func int(_ value: some BinaryInteger) -> JSON { .number(String(value)) }
    package static func object(_ members: KeyValuePairs<String, JSON>) -> JSON {
        .object(members.map { Member($0.key, $0.value) })
    }
    package static func strings(_ values: [String]?) -> JSON { values.map { .array($0.map(JSON.string)) } ?? .null }

    /// The last member of that name; names match as Go's do, ignoring ASCII case (REST-197).
    package subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
            ?? members.last { $0.name.lowercased() == name.lowercased() }?.value
    }
    package var text: String? { if case .string(let s) = self { s } else { nil } }
    package var elements: [JSON]? { if case .array(let a) = self { a } else { nil } }
    package var flag: Bool? { if case .bool(let b) = self { b } else { nil } }
    package func integer<I: FixedWidthInteger>(_: I.Type = I.self) -> I? { if case .number(let n) = self { I(n) } else { nil } }

    /// Compact, or with `indent` spaces a level. No final newline.
    package func encoded(indent: Int? = nil) -> String {
        var out: Bytes = []
        write(to: &out, indent: indent, level: 0)
        return String(decoding: out, as: UTF8.self)
    }

    package func write(to out: inout Bytes, indent: Int? = nil, level: Int = 0) {
        switch self {
        case .null: out.append(contentsOf: "null".utf8)
        case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let text): out.append(contentsOf: text.utf8)
        case .string(let text): JSON.writeString(text, to: &out)
        case .array(let items):
            JSON.writeList(items, "[", "]", to: &out, indent, level) { $0.write(to: &$1, indent: indent, level: level + 1) }
        case .object(let members):
            JSON.writeList(members, "{", "}", to: &out, indent, level) {
                JSON.writeString($0.name, to: &$1)
                $1.append(contentsOf: (indent == nil ? ":" : ": ").utf8)
                $0.value.write(to: &$1, indent: indent, level: level + 1)
            }
        }
    }

    private static func writeList<T>(
        _ items: [T], _ open: String, _ close: String, to out: inout Bytes, _ indent: Int?, _ level: Int,
        _ write: (T, inout Bytes) -> Void
    ) {
        out.append(contentsOf: open.utf8)
        for (i, item) in items.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            newline(&out, indent, level + 1)
            write(item, &out)
        }
        if !items.isEmpty { newline(&out, indent, level) }
        out.append(contentsOf: close.utf8)
    }

    private static func newline(_ out: inout Bytes, _ indent: Int?, _ level: Int) {
        guard let indent else { return }
        out.append(UInt8(ascii: "\n"))
        out.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indent * level))
    }

    package static func writeString(_ text: String, to out: inout Bytes) {
        var text = text
        out.append(UInt8(ascii: "\""))
        text.withUTF8 { bytes in
            if bytes.allSatisfy(isPlain) { out.append(contentsOf: bytes) } else { writeEscaped(String(decoding: bytes, as: UTF8.self), to: &out) }
        }
        out.append(UInt8(ascii: "\""))
    }

    /// It stands for itself. 0xe2 begins the two separators that do not.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case 0..<0x20, 0x22, 0x26, 0x3c, 0x3e, 0x5c, 0xe2: false
        default: true
        }
    }

    private static func writeEscaped(_ text: String, to out: inout Bytes) {
        let digits = Array("0123456789abcdef".utf8)
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5c: out.append(UInt8(ascii: "\\")); out.append(UInt8(scalar.value))
            case 0x08: out.append(contentsOf: "\\b".utf8)
            case 0x0c: out.append(contentsOf: "\\f".utf8)
            case 0x0a: out.append(contentsOf: "\\n".utf8)
            case 0x0d: out.append(contentsOf: "\\r".utf8)
            case 0x09: out.append(contentsOf: "\\t".utf8)
            case 0..<0x20, 0x3c, 0x3e, 0x26, 0x2028, 0x2029:
                out.append(contentsOf: "\\u".utf8)
                for shift in [12, 8, 4, 0] { out.append(digits[Int(scalar.value >> UInt32(shift) & 15)]) }
            default: out.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
    }
}

package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    package let offset: Int
    package let reason: String
    package var description: String { "\(reason) at byte \(offset)" }
}

/// Reads JSON documents one after another from bytes.
package struct JSONReader: Sendable {
    private let bytes: Bytes
    package private(set) var offset = 0
    private static let depthLimit = 1000

    package init(_ bytes: Bytes) { self.bytes = bytes }

    /// Exactly one document with nothing but white space after it.
    package static func parse(_ bytes: some Sequence<UInt8>) throws(JSONError) -> JSON {
        var reader = JSONReader(Bytes(bytes))
        guard let value = try reader.next() else { throw JSONError(offset: 0, reason: "unexpected end of JSON input") }
        reader.space()
        guard reader.offset == reader.bytes.count else { throw reader.unexpected("after top-level value") }
        return value
    }

    /// The next document, or nil at the end.
    package mutating func next() throws(JSONError) -> JSON? {
        space()
        return offset < bytes.count ? try value(depth: 0) : nil
    }

    private func unexpected(_ place: String) -> JSONError {
        guard offset < bytes.count else { return JSONError(offset: offset, reason: "unexpected end of JSON input") }
        let character = String(decoding: [bytes[offset]], as: UTF8.self)
        return JSONError(offset: offset, reason: "invalid character '\(character)' \(place)")
    }

    private mutating func space() {
        while offset < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[offset]) { offset += 1 }
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSON {
        guard depth < Self.depthLimit else { throw JSONError(offset: offset, reason: "exceeded max depth") }
        space()
        guard offset < bytes.count else { throw unexpected("") }
        switch bytes[offset] {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try array(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): try word("true"); return .bool(true)
        case UInt8(ascii: "f"): try word("false"); return .bool(false)
        case UInt8(ascii: "n"): try word("null"); return .null
        case UInt8(ascii: "-"), 0x30...0x39: return .number(try number())
        default: throw unexpected("looking for beginning of value")
        }
    }

    private mutating func word(_ text: String) throws(JSONError) {
        for byte in text.utf8 {
            guard offset < bytes.count, bytes[offset] == byte else { throw unexpected("in literal \(text)") }
            offset += 1
        }
    }

    private mutating func accept(_ character: Unicode.Scalar) -> Bool {
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private mutating func object(_ depth: Int) throws(JSONError) -> JSON {
        offset += 1
        var members: [JSON.Member] = []
        space()
        if accept("}") { return .object([]) }
        while true {
            space()
            guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else {
                throw unexpected("looking for beginning of object key string")
            }
            let name = try string()
            space()
            guard accept(":") else { throw unexpected("after object key") }
            members.append(JSON.Member(name, try value(depth: depth + 1)))
            space()
            if accept("}") { return .object(members) }
            guard accept(",") else { throw unexpected("after object key:value pair") }
        }
    }

    private mutating func array(_ depth: Int) throws(JSONError) -> JSON {
        offset += 1
        var items: [JSON] = []
        space()
        if accept("]") { return .array([]) }
        while true {
            items.append(try value(depth: depth + 1))
            space()
            if accept("]") { return .array(items) }
            guard accept(",") else { throw unexpected("after array element") }
        }
    }

    private mutating func digits() -> Bool {
        let start = offset
        while offset < bytes.count, (0x30...0x39).contains(bytes[offset]) { offset += 1 }
        return offset > start
    }

    private mutating func number() throws(JSONError) -> String {
        let start = offset
        _ = accept("-")
        if !accept("0") { guard digits() else { throw unexpected("in numeric literal") } }
        if accept(".") { guard digits() else { throw unexpected("after decimal point in numeric literal") } }
        if accept("e") || accept("E") {
            if !accept("+") { _ = accept("-") }
            guard digits() else { throw unexpected("in exponent of numeric literal") }
        }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    private mutating func string() throws(JSONError) -> String {
        offset += 1
        var out: Bytes = []
        while true {
            guard offset < bytes.count else { throw unexpected("") }
            let byte = bytes[offset]
            switch byte {
            case UInt8(ascii: "\""): offset += 1; return String(decoding: out, as: UTF8.self)
            case UInt8(ascii: "\\"): offset += 1; try escape(into: &out)
            case 0..<0x20: throw unexpected("in string literal")
            default: out.append(byte); offset += 1
            }
        }
    }

    private mutating func escape(into out: inout Bytes) throws(JSONError) {
        guard offset < bytes.count else { throw unexpected("") }
        defer { offset += 1 }
        switch bytes[offset] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(bytes[offset])
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "f"): out.append(0x0c)
        case UInt8(ascii: "n"): out.append(0x0a)
        case UInt8(ascii: "r"): out.append(0x0d)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "u"): out.append(contentsOf: UTF8.encode(try unicode())!)
        default: throw unexpected("in string escape code")
        }
    }

    /// At `u`; leaves the offset on the last hexadecimal digit. A lone surrogate becomes U+FFFD, as in Go.
    private mutating func unicode() throws(JSONError) -> Unicode.Scalar {
        let first = try hex4()
        if let scalar = Unicode.Scalar(first) { return scalar }
        let mark = offset
        if first < 0xdc00, offset + 2 < bytes.count, bytes[offset + 1] == UInt8(ascii: "\\"), bytes[offset + 2] == UInt8(ascii: "u") {
            offset += 2
            let second = try hex4()
            if (0xdc00..<0xe000).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)) { return scalar }
            offset = mark
        }
        return "\u{fffd}"
    }

    private mutating func hex4() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            offset += 1
            guard offset < bytes.count, let digit = Character(Unicode.Scalar(bytes[offset])).hexDigitValue else {
                throw unexpected("in \\u hexadecimal character escape")
            }
            value = value << 4 | UInt32(digit)
        }
        return value
    }
}
