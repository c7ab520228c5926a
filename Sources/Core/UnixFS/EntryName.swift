// A name in a directory. Ordered and compared by its bytes, as links are; strings in Swift compare by meaning.

import Kernel

package struct EntryName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let bytes: Bytes
    package init(_ text: some StringProtocol) { bytes = Bytes(text.utf8) }
    package static func < (a: Self, b: Self) -> Bool { precedes(a.bytes, b.bytes) }
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}

extension [EntryName] {
    /// The parts of a slash-separated path; `.` and `..` are resolved and cannot lead out of it.
    package init(path: String) {
        self.init()
        for part in path.split(separator: "/") {
            switch part {
            case ".": break
            case "..": if !isEmpty { removeLast() }
            default: append(EntryName(part))
            }
        }
    }
    package var joined: String { map(\.description).joined(separator: "/") }
}
