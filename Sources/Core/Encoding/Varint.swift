// Unsigned LEB128, as multiformats, libp2p framing and protobuf use it.

import Kernel

package enum VarintError: Error, Equatable, Sendable {
    case truncated
    case tooLong
    case notMinimal
}

@inlinable
package func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
    var value = value
    while value >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
        value >>= 7
    }
    bytes.append(UInt8(value))
}

package func varint(_ value: UInt64) -> Bytes {
    var out: Bytes = []
    appendVarint(value, to: &out)
    return out
}

@inlinable
package func varintLength(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }

/// Reads one varint at `offset` and moves it on. Multiformats varints are minimal and at most 63 bits (LAY-05).
package func readVarint(_ bytes: some RandomAccessCollection<UInt8>, at offset: inout Int) throws(VarintError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    var index = offset
    while true {
        guard index < bytes.count else { throw .truncated }
        let byte = bytes[bytes.index(bytes.startIndex, offsetBy: index)]
        index += 1
        if shift == 56 && byte >= 0x80 { throw .tooLong }
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 {
            if byte == 0 && shift > 0 { throw .notMinimal }
            offset = index
            return value
        }
        shift += 7
    }
}
