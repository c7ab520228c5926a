// Names of files: bytes that need not be UTF-8. Ordered and compared by these, as links are; strings in Swift compare by meaning,
// and would put one sign in place of all that they cannot read, so that two files became one.

/// The name of a file or a directory, or a path of such.
package struct EntryName: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package let bytes: Bytes
    package init(_ bytes: some Sequence<UInt8>) { self.bytes = Bytes(bytes) }
    package init(_ text: some StringProtocol) { bytes = Bytes(text.utf8) }
    package init(stringLiteral text: String) { self.init(text) }
    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
    /// To be shown: what is not UTF-8 is lost.
    package var description: String { String(decoding: bytes, as: UTF8.self) }

    package static func + (a: Self, b: Self) -> Self { EntryName(a.bytes + b.bytes) }
}

extension [EntryName] {
    /// The parts of a slash-separated path; `.` and `..` are resolved and cannot lead out of it.
    package init(path: EntryName) {
        self.init()
        for part in path.bytes.split(separator: UInt8(ascii: "/")).map(EntryName.init) {
            switch part {
            case ".": break
            case "..": if !isEmpty { removeLast() }
            default: append(part)
            }
        }
    }
    package var joined: EntryName { EntryName(map(\.bytes).joined(separator: [UInt8(ascii: "/")])) }
}
