// Cuts a stream of bytes into chunks, whatever pieces it comes in. Holds at most one chunk (buzhash: 512 KiB).

import Kernel

package struct Chunker: Sendable {
    private enum Cutter: Sendable {
        case size(Int)
        case rabin(Rabin)
        case buzhash
    }
    private var cutter: Cutter
    private var buffer: Bytes = []
    /// Bytes of the buffer that the cutter has looked at.
    private var seen = 0

    package init(_ spec: ChunkerSpec) {
        switch spec {
        case .size(let size): cutter = .size(size)
        case .rabin(let minimum, let average, let maximum):
            cutter = .rabin(Rabin(minimum: minimum, average: average, maximum: maximum))
        case .buzhash: cutter = .buzhash
        }
    }

    /// Takes more of the stream; returns the chunks that are complete now.
    package mutating func push(_ bytes: some Collection<UInt8>) throws(AddError) -> [Bytes] {
        buffer.append(contentsOf: bytes)
        return try cut(atEnd: false)
    }

    /// The chunks that are left at the end of the stream.
    package mutating func finish() throws(AddError) -> [Bytes] {
        var chunks = try cut(atEnd: true)
        if !buffer.isEmpty { chunks.append(buffer) }
        buffer = []
        seen = 0
        return chunks
    }

    private mutating func cut(atEnd: Bool) throws(AddError) -> [Bytes] {
        var chunks: [Bytes] = []
        var start = 0
        while let end = nextCut(from: start, atEnd: atEnd) {
            chunks.append(Bytes(buffer[start..<end]))
            start = end
            seen = 0
        }
        buffer.removeFirst(start)
        guard buffer.count <= ChunkerSpec.blockLimit else { throw AddError("object size limit exceeded") }
        return chunks
    }

    private mutating func nextCut(from start: Int, atEnd: Bool) -> Int? {
        switch cutter {
        case .size(let size): return buffer.count - start >= size ? start + size : nil
        case .buzhash:
            let count = min(buffer.count - start, Buzhash.maximum)
            guard count == Buzhash.maximum || atEnd && count >= Buzhash.minimum else { return nil }
            return start + Buzhash.cut(buffer[start..<start + count])
        case .rabin(var rabin):
            cutter = .buzhash  // leaves `rabin` as the only owner of its tables
            defer { cutter = .rabin(rabin) }
            let length = rabin.scan(buffer[(start + seen)...])
            seen = buffer.count - start
            return length.map { start + $0 }
        }
    }
}
