// Percent-encoding and query strings as Go's net/url reads and writes them.

import Kernel

package enum URLText {
    /// Go's url.QueryEscape.
    package static func queryEscaped(_ text: String) -> String { queryEscaped(text.utf8) }
    package static func queryEscaped(_ text: some Sequence<UInt8>) -> String {
        var out: Bytes = []
        for byte in text {
            if byte == UInt8(ascii: " ") { out.append(UInt8(ascii: "+")) } else { append(byte, to: &out, keeping: "-_.~") }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// A path as Go's URL.String prints it: everything but these is escaped.
    package static func pathEscaped(_ path: String) -> String {
        var out: Bytes = []
        for byte in path.utf8 { append(byte, to: &out, keeping: "-_.~$&+,/:;=@") }
        return String(decoding: out, as: UTF8.self)
    }

    private static func append(_ byte: UInt8, to out: inout Bytes, keeping marks: StaticString) {
        let isMark = marks.withUTF8Buffer { $0.contains(byte) }
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: out.append(byte)
        case _ where isMark: out.append(byte)
        default: out += Bytes(("%" + hex([byte]).uppercased()).utf8)
        }
    }

    /// Nil where a percent sign is not followed by two hexadecimal digits. `+` is a space in queries only.
    package static func unescaped(_ text: some Sequence<UInt8>, isQuery: Bool) -> String? {
        unescapedBytes(text, isQuery: isQuery).map { String(decoding: $0, as: UTF8.self) }
    }

    package static func unescapedBytes(_ text: some Sequence<UInt8>, isQuery: Bool) -> Bytes? {
        var out: Bytes = []
        var rest = Bytes(text)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard rest.count >= 2, let value = bytes(hex: String(decoding: rest.prefix(2), as: UTF8.self)) else {
                    return nil
                }
                out += value
                rest.removeFirst(2)
            case UInt8(ascii: "+") where isQuery: out.append(UInt8(ascii: " "))
            default: out.append(byte)
            }
        }
        return out
    }
}

/// The parameters of a query, in the order in which they came. Names are compared by their bytes.
package struct URLQuery: Sendable, Equatable {
    package struct Item: Sendable, Equatable {
        package let name: String
        package let value: String
        /// What is not UTF-8 has a sign in its place that says so, and nothing of it can be stored.
        package var isText = true
    }
    package private(set) var items: [Item] = []
    package init() {}

    /// Without the question mark. Pairs that cannot be read are left out, as Go's server does (REST-121).
    package init(_ text: some StringProtocol) {
        for pair in Bytes(text.utf8).split(separator: UInt8(ascii: "&")) where !pair.contains(UInt8(ascii: ";")) {
            let halves = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = URLText.unescapedBytes(halves[0], isQuery: true),
                let value = URLText.unescapedBytes(halves.count == 2 ? halves[1] : [], isQuery: true)
            else { continue }
            add(String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self))
            items[items.count - 1].isText = [name, value].allSatisfy { String(validating: $0, as: UTF8.self) != nil }
        }
    }

    package mutating func add(_ name: String, _ value: String) { items.append(Item(name: name, value: value)) }
    /// Go's Get: the first value, or nothing.
    package subscript(name: String) -> String { items.first { $0.name.utf8.elementsEqual(name.utf8) }?.value ?? "" }
    package func all(_ name: String) -> [String] {
        items.filter { $0.name.utf8.elementsEqual(name.utf8) }.map(\.value)
    }

    /// Go's Values.Encode: in the byte order of the names, which is not stable in Go for equal names and is here.
    package var encoded: String {
        let order = items.indices.sorted { a, b in
            if items[a].name.utf8.elementsEqual(items[b].name.utf8) { return a < b }
            return precedes(items[a].name.utf8, items[b].name.utf8)
        }
        return order.map { URLText.queryEscaped(items[$0].name) + "=" + URLText.queryEscaped(items[$0].value) }
            .joined(separator: "&")
    }
}
