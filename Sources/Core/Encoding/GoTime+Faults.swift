// Why a text is no RFC 3339 time, in the words of Go's time.Parse, which the API's errors quote (REST-085).

import Kernel

package enum RFC3339Fault {
    private static let layout = "2006-01-02T15:04:05Z07:00"
    private struct Field {
        let name: String
        let digits: Int
        let range: ClosedRange<Int>
        let quantity: String
        /// What stands before it.
        let separator: String
    }
    private static let fields = [
        Field(name: "2006", digits: 4, range: 0...9999, quantity: "year", separator: ""),
        Field(name: "01", digits: 2, range: 1...12, quantity: "month", separator: "-"),
        Field(name: "02", digits: 2, range: 0...99, quantity: "day", separator: "-"),
        Field(name: "15", digits: 2, range: 0...23, quantity: "hour", separator: "T"),
        Field(name: "04", digits: 2, range: 0...59, quantity: "minute", separator: ":"),
        Field(name: "05", digits: 2, range: 0...59, quantity: "second", separator: ":"),
    ]

    /// For a text that `WallTime(rfc3339:)` refuses.
    package static func describe(_ text: String) -> String {
        var rest = Array(text.utf8)[...]
        for field in fields {
            let separator = Bytes(field.separator.utf8)
            guard rest.starts(with: separator) else { return cannotParse(text, rest, field.separator) }
            rest = rest.dropFirst(separator.count)
            let digits = rest.prefix(field.digits)
            guard digits.count == field.digits, digits.allSatisfy({ (0x30...0x39).contains($0) }),
                let value = Int(string(digits))
            else { return cannotParse(text, rest, field.name) }
            guard field.range.contains(value) else { return outOfRange(text, field.quantity) }
            rest = rest.dropFirst(field.digits)
        }
        return zone(text, rest)
    }

    private static func zone(_ text: String, _ after: ArraySlice<UInt8>) -> String {
        var rest = after
        if rest.first == UInt8(ascii: ".") || rest.first == UInt8(ascii: ",") {
            let digits = rest.dropFirst().prefix { (0x30...0x39).contains($0) }
            if !digits.isEmpty { rest = rest.dropFirst(1 + digits.count) }
        }
        let size = rest.first == UInt8(ascii: "Z") ? 1 : 6
        let zone = Array(rest.prefix(size))
        let isOffset = zone.count == 6 && (zone[0] == UInt8(ascii: "+") || zone[0] == UInt8(ascii: "-"))
            && zone[3] == UInt8(ascii: ":") && [1, 2, 4, 5].allSatisfy { (0x30...0x39).contains(zone[$0]) }
        guard isOffset || zone == [UInt8(ascii: "Z")] else { return cannotParse(text, rest, "Z07:00") }
        rest = rest.dropFirst(size)
        if !rest.isEmpty { return "parsing time \(quoted(text)): extra text: \(quoted(string(rest)))" }
        return outOfRange(text, isOffset && zone[1...2].elementsEqual("24".utf8) ? "time zone offset hour" : "day")
    }

    private static func cannotParse(_ text: String, _ rest: ArraySlice<UInt8>, _ element: String) -> String {
        "parsing time \(quoted(text)) as \(quoted(layout)): cannot parse \(quoted(string(rest))) as \(quoted(element))"
    }
    private static func outOfRange(_ text: String, _ quantity: String) -> String {
        "parsing time \(quoted(text)): \(quantity) out of range"
    }
    private static func string(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
}

/// Go's %q: quotes around a text, and escapes for what would break out of them or a line.
package func quoted(_ text: String) -> String {
    var out: Bytes = [UInt8(ascii: "\"")]
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): out += [UInt8(ascii: "\\"), byte]
        case 0x0a: out += Bytes("\\n".utf8)
        case 0x0d: out += Bytes("\\r".utf8)
        case 0x09: out += Bytes("\\t".utf8)
        case 0..<0x20, 0x7f: out += Bytes("\\x\(hex([byte]))".utf8)
        default: out.append(byte)
        }
    }
    out.append(UInt8(ascii: "\""))
    return String(decoding: out, as: UTF8.self)
}
