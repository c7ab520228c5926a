// Frames of libp2p protocols: uvarint length, then that many bytes.

import Kernel

package enum FrameError: Error, Equatable, Sendable {
    case tooLarge(bytes: UInt64, limit: Int)
    case badLength(VarintError)
}

/// Cuts a stream of bytes into frames. Holds at most one incomplete frame and what came with it.
package struct FrameReader: Sendable {
    private var buffer: Bytes = []
    private var start = 0
    private let limitBytes: Int

    package init(limitBytes: Int) { self.limitBytes = limitBytes }

    package var isEmpty: Bool { start == buffer.count }
    /// What has come and is not in a frame yet.
    package var waitingBytes: Int { buffer.count - start }

    package mutating func append(_ bytes: Bytes) {
        if start == buffer.count {
            buffer = bytes
        } else {
            if start > 0 { buffer.removeSubrange(..<start) }
            buffer.append(contentsOf: bytes)
        }
        start = 0
    }

    /// The next whole frame, or nil until more bytes have come.
    package mutating func next() throws(FrameError) -> ArraySlice<UInt8>? {
        var offset = start
        let length: UInt64
        do { length = try readVarint(buffer, at: &offset) } catch {
            if error == .truncated { return nil }
            throw .badLength(error)
        }
        guard length <= UInt64(limitBytes) else { throw .tooLarge(bytes: length, limit: limitBytes) }
        guard length <= UInt64(buffer.count - offset) else { return nil }
        start = offset + Int(length)
        return buffer[offset..<start]
    }
}

package func framed(_ body: some Collection<UInt8>) -> Bytes {
    var out: Bytes = []
    out.reserveCapacity(body.count + 5)
    appendVarint(UInt64(body.count), to: &out)
    out.append(contentsOf: body)
    return out
}
