// Finds the links of a dag-cbor block (tag 42) and reads the header of a CAR, without recursion. ipld/specs: dag-cbor.

import Encoding
import Kernel
import Multiformats

extension CBORReader {
    /// Indefinite lengths are refused, as dag-cbor demands.
    package mutating func head() throws(AddError) -> Head {
        guard let head = nextHead() else { throw CBORReader.broken }
        return head
    }
    package mutating func take(_ count: UInt64) throws(AddError) -> ArraySlice<UInt8> {
        guard let bytes = next(count) else { throw CBORReader.broken }
        return bytes
    }

    package static let broken = AddError("malformed dag-cbor")

    /// Reads one whole item; returns the links in it.
    package mutating func links() throws(AddError) -> [CID] {
        var links: [CID] = []
        var left: UInt64 = 1
        while left > 0 {
            left -= 1
            let head = try head()
            switch head.kind {
            case .unsigned, .negative, .simple: break
            case .bytes, .text: _ = try take(head.value)
            case .array: left = try sum(left, head.value)
            case .map: left = try sum(left, try sum(head.value, head.value))
            case .tag where head.value == 42: links.append(try link())
            case .tag: throw AddError("dag-cbor knows tag 42 only, not \(head.value)")
            }
        }
        return links
    }

    /// An item takes a byte at least, so that no honest count is larger than what is left.
    private func sum(_ a: UInt64, _ b: UInt64) throws(AddError) -> UInt64 {
        let (total, overflow) = a.addingReportingOverflow(b)
        guard !overflow, total <= UInt64(remaining) else { throw CBORReader.broken }
        return total
    }

    /// The content of a tag 42: a byte string with a zero byte before the CID.
    package mutating func link() throws(AddError) -> CID {
        let head = try head()
        guard head.kind == .bytes else { throw CBORReader.broken }
        let content = try take(head.value)
        guard content.first == 0 else { throw AddError("a dag-cbor link without its leading zero") }
        do { return try CID(content.dropFirst()) } catch { throw AddError("a dag-cbor link that is no CID: \(error)") }
    }
}
