// BLAKE3, unkeyed, which OpenSSL lacks. BLAKE3 paper, section 2.

import Kernel

private let start: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
]
private let wordOrder = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
private let (chunkStart, chunkEnd, parent, root): (UInt32, UInt32, UInt32, UInt32) = (1, 2, 4, 8)
private let chunkBytes = 1024, blockBytes = 64

/// What goes into one compression; kept for the last of each subtree until it is known whether that is the root.
private struct Compression {
    var chaining: [UInt32]
    var words: [UInt32]
    var counter: UInt64
    var length: UInt32
    var flags: UInt32

    func run() -> [UInt32] {
        var v = chaining + start[0..<4]
        v += [UInt32(truncatingIfNeeded: counter), UInt32(truncatingIfNeeded: counter >> 32), length, flags]
        var m = words
        for round in 0..<7 {
            if round > 0 { m = wordOrder.map { m[$0] } }
            for i in 0..<4 { mix(&v, i, i + 4, i + 8, i + 12, m[2 * i], m[2 * i + 1]) }
            for i in 0..<4 {
                mix(&v, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12, m[2 * i + 8], m[2 * i + 9])
            }
        }
        return (0..<8).map { v[$0] ^ v[$0 + 8] } + (0..<8).map { v[$0 + 8] ^ chaining[$0] }
    }

    private func mix(_ v: inout [UInt32], _ a: Int, _ b: Int, _ c: Int, _ d: Int, _ x: UInt32, _ y: UInt32) {
        func rotate(_ word: UInt32, _ by: UInt32) -> UInt32 { word >> by | word << (32 - by) }
        v[a] = v[a] &+ v[b] &+ x
        v[d] = rotate(v[d] ^ v[a], 16)
        v[c] = v[c] &+ v[d]
        v[b] = rotate(v[b] ^ v[c], 12)
        v[a] = v[a] &+ v[b] &+ y
        v[d] = rotate(v[d] ^ v[a], 8)
        v[c] = v[c] &+ v[d]
        v[b] = rotate(v[b] ^ v[c], 7)
    }
}

private func words(_ bytes: ArraySlice<UInt8>) -> [UInt32] {
    var out = [UInt32](repeating: 0, count: 16)
    for (i, byte) in bytes.enumerated() { out[i / 4] |= UInt32(byte) << UInt32(8 * (i % 4)) }
    return out
}

private func lastOf(chunk: ArraySlice<UInt8>, counter: UInt64) -> Compression {
    var chaining = start
    var offset = chunk.startIndex
    while true {
        let block = chunk[offset..<min(offset + blockBytes, chunk.endIndex)]
        let flags = (offset == chunk.startIndex ? chunkStart : 0) | (block.endIndex == chunk.endIndex ? chunkEnd : 0)
        let last = Compression(
            chaining: chaining, words: words(block), counter: counter, length: UInt32(block.count), flags: flags)
        if block.endIndex == chunk.endIndex { return last }
        chaining = Array(last.run()[0..<8])
        offset = block.endIndex
    }
}

private func join(_ left: [UInt32], _ right: [UInt32]) -> Compression {
    Compression(chaining: start, words: left + right, counter: 0, length: UInt32(blockBytes), flags: parent)
}

/// 32 bytes.
package func blake3(_ data: some Collection<UInt8>) -> Bytes {
    let data = Bytes(data)
    var stack: [[UInt32]] = []  // roots of the complete subtrees so far, largest first
    var offset = 0
    var counter: UInt64 = 0
    while data.count - offset > chunkBytes {
        var value = Array(lastOf(chunk: data[offset..<offset + chunkBytes], counter: counter).run()[0..<8])
        counter += 1
        offset += chunkBytes
        for _ in 0..<counter.trailingZeroBitCount { value = Array(join(stack.removeLast(), value).run()[0..<8]) }
        stack.append(value)
    }
    var last = lastOf(chunk: data[offset...], counter: counter)
    while let left = stack.popLast() { last = join(left, Array(last.run()[0..<8])) }
    last.flags |= root
    return last.run()[0..<8].flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) } }
}
