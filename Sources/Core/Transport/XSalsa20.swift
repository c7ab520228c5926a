// XSalsa20, which OpenSSL lacks (PNET-06). After D. J. Bernstein, "Salsa20 specification" and "Extending the Salsa20 nonce".

import CSalsa20
import Kernel

/// One direction's keystream, XORed over bytes as they come.
package struct XSalsa20: Sendable {
    package static let nonceBytes = 24
    package static let keyBytes = 32

    /// The sixteen words of Salsa20's input; words 8 and 9 count blocks.
    private var input: SIMD16<UInt32>
    /// Keystream that was made and not used: the end of four blocks.
    private var rest = Bytes(repeating: 0, count: FourBlocks.size)
    private var spent = FourBlocks.size

    package init(key: Bytes, nonce: Bytes) {
        invariant(key.count == Self.keyBytes && nonce.count == Self.nonceBytes, "XSalsa20 needs 32 and 24 bytes")
        let first = Self.inputWords(key: littleEndianWords(key), nonce: littleEndianWords(nonce[..<16]))
        // HSalsa20: the words where the constants and the nonce went in, without the final addition.
        var x = FourBlocks(every: first)
        x.rounds()
        let subkey = [x.x0[0], x.x5[0], x.x10[0], x.x15[0], x.x6[0], x.x7[0], x.x8[0], x.x9[0]]
        input = Self.inputWords(key: subkey, nonce: littleEndianWords(nonce[16...]) + [0, 0])
    }

    private static func inputWords(key: [UInt32], nonce: [UInt32]) -> SIMD16<UInt32> {
        let sigma: [UInt32] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]  // "expand 32-byte k"
        return SIMD16([sigma[0]] + key[..<4] + [sigma[1]] + nonce + [sigma[2]] + key[4...] + [sigma[3]])
    }

    package mutating func apply(to bytes: inout Bytes) {
        bytes.withUnsafeMutableBytes { apply(UnsafeRawBufferPointer($0), to: $0) }
    }

    /// `target` has as many bytes as `source`, and may be the same.
    package mutating func apply(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) {
        invariant(target.count == source.count, "a keystream over \(source.count) bytes into \(target.count)")
        var done = spend(source, target, 0)
        if source.count - done >= XSalsa20.wideBytes { done += applyWide(source, target, done) }
        while source.count - done >= FourBlocks.size {
            nextBlocks().xor(source.baseAddress! + done, into: target.baseAddress! + done)
            done += FourBlocks.size
        }
        guard done < source.count else { return }
        let blocks = nextBlocks()
        rest.withUnsafeMutableBytes { rest in
            for index in rest.indices { rest[index] = 0 }
            blocks.xor(UnsafeRawPointer(rest.baseAddress!), into: rest.baseAddress!)
        }
        spent = 0
        _ = spend(source, target, done)
    }

    /// Less is not worth the call.
    private static let wideBytes = 512

    /// As far as this machine has wider vectors than every machine has; how much of `source` that is.
    private mutating func applyWide(
        _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ done: Int
    ) -> Int {
        let count = source.count - done
        return withUnsafeMutableBytes(of: &input) { words in
            salsa20_xor_wide(
                words.bindMemory(to: UInt32.self).baseAddress, source.bindMemory(to: UInt8.self).baseAddress! + done,
                target.bindMemory(to: UInt8.self).baseAddress! + done, count)
        }
    }

    /// Uses what is left of the last blocks; how much of `source` is done then.
    private mutating func spend(
        _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ done: Int
    ) -> Int {
        let count = min(FourBlocks.size - spent, source.count - done)
        rest.withUnsafeBytes { rest in
            for index in 0..<count { target[done + index] = source[done + index] ^ rest[spent + index] }
        }
        spent += count
        return done + count
    }

    @inline(__always)
    private mutating func nextBlocks() -> FourBlocks {
        var blocks = FourBlocks(from: input)
        blocks.hash()
        let (low, overflow) = input[8].addingReportingOverflow(4)
        input[8] = low
        if overflow { input[9] &+= 1 }
        return blocks
    }
}

private func littleEndianWords(_ bytes: some Collection<UInt8>) -> [UInt32] {
    var words = [UInt32](repeating: 0, count: bytes.count / 4)
    for (index, byte) in bytes.enumerated() { words[index / 4] |= UInt32(byte) << UInt32(8 * (index % 4)) }
    return words
}

/// Four blocks side by side: lane n of every word belongs to block n. Single variables, as those stay in registers.
private struct FourBlocks {
    static let size = 256
    typealias Word = SIMD4<UInt32>
    var x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15: Word

    /// Four times the same.
    @inline(__always)
    init(every w: SIMD16<UInt32>) {
        (x0, x1, x2, x3) = (Word(repeating: w[0]), Word(repeating: w[1]), Word(repeating: w[2]), Word(repeating: w[3]))
        (x4, x5, x6, x7) = (Word(repeating: w[4]), Word(repeating: w[5]), Word(repeating: w[6]), Word(repeating: w[7]))
        (x8, x9, x10, x11) = (Word(repeating: w[8]), Word(repeating: w[9]), Word(repeating: w[10]), Word(repeating: w[11]))
        (x12, x13, x14, x15) = (
            Word(repeating: w[12]), Word(repeating: w[13]), Word(repeating: w[14]), Word(repeating: w[15])
        )
    }

    /// One after the other, counted in words 8 and 9.
    @inline(__always)
    init(from w: SIMD16<UInt32>) {
        self.init(every: w)
        x8 &+= Word(0, 1, 2, 3)
        x9.replace(with: x9 &+ 1, where: x8 .< Word(0, 1, 2, 3))
    }

    /// The keystream in place of the input.
    @inline(__always)
    mutating func hash() {
        let input = self
        rounds()
        (x0, x1, x2, x3) = (x0 &+ input.x0, x1 &+ input.x1, x2 &+ input.x2, x3 &+ input.x3)
        (x4, x5, x6, x7) = (x4 &+ input.x4, x5 &+ input.x5, x6 &+ input.x6, x7 &+ input.x7)
        (x8, x9, x10, x11) = (x8 &+ input.x8, x9 &+ input.x9, x10 &+ input.x10, x11 &+ input.x11)
        (x12, x13, x14, x15) = (x12 &+ input.x12, x13 &+ input.x13, x14 &+ input.x14, x15 &+ input.x15)
    }

    /// Twenty rounds: ten times columns, then rows.
    @inline(__always)
    mutating func rounds() {
        for _ in 0..<10 {
            quarter(&x0, &x4, &x8, &x12)
            quarter(&x5, &x9, &x13, &x1)
            quarter(&x10, &x14, &x2, &x6)
            quarter(&x15, &x3, &x7, &x11)
            quarter(&x0, &x1, &x2, &x3)
            quarter(&x5, &x6, &x7, &x4)
            quarter(&x10, &x11, &x8, &x9)
            quarter(&x15, &x12, &x13, &x14)
        }
    }

    @inline(__always)
    func xor(_ source: UnsafeRawPointer, into target: UnsafeMutableRawPointer) {
        xorQuarter(x0, x1, x2, x3, source, target)
        xorQuarter(x4, x5, x6, x7, source + 16, target + 16)
        xorQuarter(x8, x9, x10, x11, source + 32, target + 32)
        xorQuarter(x12, x13, x14, x15, source + 48, target + 48)
    }
}

@inline(__always)
private func quarter(
    _ a: inout FourBlocks.Word, _ b: inout FourBlocks.Word, _ c: inout FourBlocks.Word, _ d: inout FourBlocks.Word
) {
    b ^= rotated(a &+ d, 7)
    c ^= rotated(b &+ a, 9)
    d ^= rotated(c &+ b, 13)
    a ^= rotated(d &+ c, 18)
}

/// Multiplied, where a shift is meant: the standard library shifts lane by lane, but multiplies and adds whole vectors.
@inline(__always)
private func rotated(_ word: FourBlocks.Word, _ bits: UInt32) -> FourBlocks.Word {
    word &* FourBlocks.Word(repeating: 1 << bits) &+ word &>> FourBlocks.Word(repeating: 32 - bits)
}

/// Four words of each of the four blocks.
@inline(__always)
private func xorQuarter(
    _ a: FourBlocks.Word, _ b: FourBlocks.Word, _ c: FourBlocks.Word, _ d: FourBlocks.Word,
    _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer
) {
    for block in 0..<4 {
        let stream = FourBlocks.Word(a[block], b[block], c[block], d[block])
        let plain = source.loadUnaligned(fromByteOffset: 64 * block, as: FourBlocks.Word.self)
        target.storeBytes(of: plain ^ stream, toByteOffset: 64 * block, as: FourBlocks.Word.self)
    }
}
