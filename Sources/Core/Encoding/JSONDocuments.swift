// Cuts a streamed answer into its JSON documents, whatever pieces it comes in.

import Kernel

package struct JSONDocuments: Sendable {
    private let bytesMax: Int
    private var buffer: Bytes = []
    private var depth = 0
    private var isInText = false
    private var isEscaped = false

    /// A document may be so long.
    package init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// The documents that are complete now.
    package mutating func push(_ bytes: Bytes) throws(JSONError) -> [JSON] {
        var out: [JSON] = []
        for byte in bytes {
            if depth == 0 && [0x20, 0x09, 0x0a, 0x0d].contains(byte) { continue }
            buffer.append(byte)
            guard isEnd(byte) else { continue }
            out.append(try JSONReader.parse(buffer))
            buffer.removeAll(keepingCapacity: true)
        }
        guard buffer.count <= bytesMax else { throw JSONError(offset: buffer.count, reason: "a document is too long") }
        return out
    }

    /// Whether the byte ends an object or a list that stands for itself; anything else there is not an answer.
    private mutating func isEnd(_ byte: UInt8) -> Bool {
        if isInText {
            if isEscaped { isEscaped = false } else if byte == UInt8(ascii: "\\") { isEscaped = true } else {
                isInText = byte != UInt8(ascii: "\"")
            }
            return false
        }
        switch byte {
        case UInt8(ascii: "\""): isInText = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
        default: break
        }
        return depth <= 0 && !isInText
    }

    /// Whether the answer ended between two documents.
    package var isWhole: Bool { buffer.isEmpty }
}
