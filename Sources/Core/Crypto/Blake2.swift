// BLAKE2b and BLAKE2s of any length, which OpenSSL 3.0 has for their longest digests only. RFC 7693, unkeyed.

import Kernel

private let sigma: [[Int]] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
]

/// What differs between BLAKE2b (64-bit words) and BLAKE2s (32-bit words).
private struct Blake2Shape<Word: FixedWidthInteger & UnsignedInteger> {
    let start: [Word]
    let rounds: Int
    let rotations: (Word, Word, Word, Word)
    var wordSize: Int { Word.bitWidth / 8 }
    var blockSize: Int { wordSize * 16 }

    func rotate(_ word: Word, _ by: Word) -> Word { word >> by | word << (Word(Word.bitWidth) - by) }

    func mix(_ v: inout [Word], _ at: (Int, Int, Int, Int), _ x: Word, _ y: Word) {
        let (a, b, c, d) = at
        v[a] = v[a] &+ v[b] &+ x
        v[d] = rotate(v[d] ^ v[a], rotations.0)
        v[c] = v[c] &+ v[d]
        v[b] = rotate(v[b] ^ v[c], rotations.1)
        v[a] = v[a] &+ v[b] &+ y
        v[d] = rotate(v[d] ^ v[a], rotations.2)
        v[c] = v[c] &+ v[d]
        v[b] = rotate(v[b] ^ v[c], rotations.3)
    }

    static var columns: [(Int, Int, Int, Int)] {
        [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    }

    func compress(_ h: inout [Word], _ block: ArraySlice<UInt8>, counted: Int, isLast: Bool) {
        var words = [Word](repeating: 0, count: 16)
        for (i, byte) in block.enumerated() { words[i / wordSize] |= Word(byte) << Word(8 * (i % wordSize)) }
        var v = h + start
        v[12] ^= Word(truncatingIfNeeded: counted)
        if isLast { v[14] = ~v[14] }
        for round in 0..<rounds {
            let order = sigma[round % 10]
            for (i, column) in Self.columns.enumerated() {
                mix(&v, column, words[order[2 * i]], words[order[2 * i + 1]])
            }
        }
        for i in 0..<8 { h[i] ^= v[i] ^ v[i + 8] }
    }

    func digest(_ data: Bytes, count: Int) -> Bytes {
        var h = start
        h[0] ^= 0x0101_0000 ^ Word(count)
        var offset = 0
        while data.count - offset > blockSize {
            compress(&h, data[offset..<offset + blockSize], counted: offset + blockSize, isLast: false)
            offset += blockSize
        }
        compress(&h, data[offset...], counted: data.count, isLast: true)
        return Bytes((0..<count).map { UInt8(truncatingIfNeeded: h[$0 / wordSize] >> Word(8 * ($0 % wordSize))) })
    }
}

/// 1 to 64 bytes.
package func blake2b(_ data: some Collection<UInt8>, count: Int) -> Bytes {
    invariant((1...64).contains(count), "BLAKE2b of \(count) bytes")
    let shape = Blake2Shape<UInt64>(
        start: [
            0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
            0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179,
        ], rounds: 12, rotations: (32, 24, 16, 63))
    return shape.digest(Bytes(data), count: count)
}

/// 1 to 32 bytes.
package func blake2s(_ data: some Collection<UInt8>, count: Int) -> Bytes {
    invariant((1...32).contains(count), "BLAKE2s of \(count) bytes")
    let shape = Blake2Shape<UInt32>(
        start: [
            0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
        ], rounds: 10, rotations: (16, 12, 8, 7))
    return shape.digest(Bytes(data), count: count)
}
