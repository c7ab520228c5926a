// Media types and dispositions with their parameters, read as leniently as Go's mime.ParseMediaType. RFC 2045, RFC 2231.

import Encoding
import HTTP
import Kernel

struct MediaType: Sendable, Equatable {
    /// Lower case, without parameters.
    let name: String
    private let parameters: [(name: String, value: Bytes)]

    static func == (a: Self, b: Self) -> Bool { a.name == b.name && a.parameters.elementsEqual(b.parameters, by: ==) }

    /// Nil where the parameters cannot be read.
    init?(_ bytes: some Sequence<UInt8>) {
        var rest = Bytes(bytes)[...]
        let name = rest.prefix { $0 != UInt8(ascii: ";") }
        rest = rest.dropFirst(name.count)
        var found: [(name: String, value: Bytes)] = []
        while let parameter = MediaType.nextParameter(&rest) { found.append(parameter) }
        guard rest.allSatisfy({ $0 == UInt8(ascii: ";") || MediaType.isBlank($0) }) else { return nil }
        self.name = trimmed(String(decoding: name, as: UTF8.self)).lowercased()
        parameters = found
    }

    subscript(name: String) -> Bytes? {
        if let plain = parameters.first(where: { $0.name == name }) { return plain.value }
        return parameters.first { $0.name == name + "*" }.flatMap { MediaType.extended($0.value) }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { [0x20, 0x09, 0x0d, 0x0a].contains(byte) }
    private static let specials = Bytes("()<>@,;:\\\"/[]?=".utf8)
    private static func isToken(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7f && !specials.contains(byte) }

    /// `; name=value`, the value a token or in quotes.
    private static func nextParameter(_ rest: inout ArraySlice<UInt8>) -> (name: String, value: Bytes)? {
        var scan = rest.drop(while: isBlank)
        guard scan.popFirst() == UInt8(ascii: ";") else { return nil }
        scan = scan.drop(while: isBlank)
        let name = scan.prefix(while: isToken)
        scan = scan.dropFirst(name.count).drop(while: isBlank)
        guard !name.isEmpty, scan.popFirst() == UInt8(ascii: "=") else { return nil }
        scan = scan.drop(while: isBlank)
        guard let value = scan.first == UInt8(ascii: "\"") ? quotedValue(&scan) : token(&scan) else { return nil }
        rest = scan
        return (String(decoding: name, as: UTF8.self).lowercased(), value)
    }

    private static func token(_ scan: inout ArraySlice<UInt8>) -> Bytes? {
        let value = scan.prefix(while: isToken)
        scan = scan.dropFirst(value.count)
        return value.isEmpty ? nil : Bytes(value)
    }

    /// A backslash escapes only what would need it, so that Windows paths survive.
    private static func quotedValue(_ scan: inout ArraySlice<UInt8>) -> Bytes? {
        scan.removeFirst()
        var out: Bytes = []
        while let byte = scan.popFirst() {
            switch byte {
            case UInt8(ascii: "\""): return out
            case UInt8(ascii: "\\"):
                guard let next = scan.first, specials.contains(next) else { out.append(byte); break }
                out.append(next)
                scan.removeFirst()
            case 0x0d, 0x0a: return nil
            default: out.append(byte)
            }
        }
        return nil
    }

    /// `utf-8'language'percent-encoded`.
    private static func extended(_ value: Bytes) -> Bytes? {
        let parts = value.split(separator: UInt8(ascii: "'"), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, ["utf-8", "us-ascii"].contains(String(decoding: parts[0], as: UTF8.self).lowercased())
        else { return nil }
        return URLText.unescapedBytes(parts[2], isQuery: false)
    }
}
