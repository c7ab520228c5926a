// XSalsa20, which OpenSSL lacks (PNET-06). After D. J. Bernstein, "Salsa20 specification" and "Extending the Salsa20 nonce".

import Kernel

/// One direction's keystream, XORed over bytes as they come.
package struct XSalsa20: Sendable {
    package static let nonceBytes = 24
    package static let keyBytes = 32

    /// The sixteen words of Salsa20's input; words 8 and 9 count blocks.
    private var input: [UInt32]
    /// Reused, so that a block costs no allocation.
    private var words = [UInt32](repeating: 0, count: 16)
    /// The keystream block in use, and how much of it is spent.
    private var block = Bytes(repeating: 0, count: 64)
    private var spent = 64

    package init(key: Bytes, nonce: Bytes) {
        invariant(key.count == Self.keyBytes && nonce.count == Self.nonceBytes, "XSalsa20 needs 32 and 24 bytes")
        var words = Self.inputWords(key: littleEndianWords(key), nonce: littleEndianWords(nonce[..<16]))
        salsa20Rounds(&words)
        // HSalsa20: the words where the constants and the nonce went in, without the final addition.
        let subkey = [words[0], words[5], words[10], words[15], words[6], words[7], words[8], words[9]]
        input = Self.inputWords(key: subkey, nonce: littleEndianWords(nonce[16...]) + [0, 0])
    }

    private static func inputWords(key: [UInt32], nonce: [UInt32]) -> [UInt32] {
        let sigma: [UInt32] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]  // "expand 32-byte k"
        return [sigma[0]] + key[..<4] + [sigma[1]] + nonce + [sigma[2]] + key[4...] + [sigma[3]]
    }

    package mutating func apply(to bytes: inout Bytes) {
        bytes.withUnsafeMutableBufferPointer { buffer in
            var index = 0
            while index < buffer.count {
                if spent == 64 { nextBlock() }
                let count = min(64 - spent, buffer.count - index)
                block.withUnsafeBufferPointer { stream in
                    for offset in 0..<count { buffer[index + offset] ^= stream[spent + offset] }
                }
                index += count
                spent += count
            }
        }
    }

    private mutating func nextBlock() {
        for index in 0..<16 { words[index] = input[index] }
        salsa20Rounds(&words)
        for index in 0..<16 {
            let word = words[index] &+ input[index]
            for byte in 0..<4 { block[4 * index + byte] = UInt8(truncatingIfNeeded: word >> UInt32(8 * byte)) }
        }
        input[8] &+= 1
        if input[8] == 0 { input[9] &+= 1 }
        spent = 0
    }
}

private func littleEndianWords(_ bytes: some Collection<UInt8>) -> [UInt32] {
    var words = [UInt32](repeating: 0, count: bytes.count / 4)
    for (index, byte) in bytes.enumerated() { words[index / 4] |= UInt32(byte) << UInt32(8 * (index % 4)) }
    return words
}

/// Twenty rounds: ten times columns, then rows.
private func salsa20Rounds(_ words: inout [UInt32]) {
    words.withUnsafeMutableBufferPointer { x in
        @inline(__always) func quarter(_ a: Int, _ b: Int, _ c: Int, _ d: Int) {
            x[b] ^= rotated(x[a] &+ x[d], 7)
            x[c] ^= rotated(x[b] &+ x[a], 9)
            x[d] ^= rotated(x[c] &+ x[b], 13)
            x[a] ^= rotated(x[d] &+ x[c], 18)
        }
        for _ in 0..<10 {
            quarter(0, 4, 8, 12)
            quarter(5, 9, 13, 1)
            quarter(10, 14, 2, 6)
            quarter(15, 3, 7, 11)
            quarter(0, 1, 2, 3)
            quarter(5, 6, 7, 4)
            quarter(10, 11, 8, 9)
            quarter(15, 12, 13, 14)
        }
    }
}

@inline(__always) private func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 { word << bits | word >> (32 - bits) }
