// RFC 4648 base32 without padding, eight characters at a time: every key of the state and every CID in a listing is one.
// Five-bit digits lie side by side in the eight bytes of a word, and are worked on all at once.

import Kernel

package enum Base32: Sendable, Equatable {
    case lower
    case upper

    /// What lies between a digit below 26 and its letter.
    private var letter: UInt64 { self == .lower ? 0x61 : 0x41 }

    package static func textCount(_ bytes: Int) -> Int { (bytes * 8 + 4) / 5 }
    /// At most so many bytes are in a text.
    package static func bytesCount(_ text: Int) -> Int { text * 5 / 8 }

    /// Writes `textCount` characters.
    package func encode(_ bytes: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) -> Int {
        let raw = UnsafeMutableRawPointer(out)
        var (read, written) = (0, 0)
        while bytes.count &- read >= 5 {
            let high = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: read, as: UInt32.self))
            let word = characters(UInt64(high) << 8 | UInt64(bytes[read &+ 4]))
            raw.storeBytes(of: word.bigEndian, toByteOffset: written, as: UInt64.self)
            (read, written) = (read &+ 5, written &+ 8)
        }
        guard read < bytes.count else { return written }
        var rest: UInt64 = 0
        for byte in bytes[read...] { rest = rest << 8 | UInt64(byte) }
        let word = characters(rest << UInt64(8 * (5 - (bytes.count - read))))
        for index in 0..<Base32.textCount(bytes.count - read) {
            out[written] = UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * index))
            written += 1
        }
        return written
    }

    /// 40 bits as eight characters, the first in the highest byte.
    private func characters(_ bits: UInt64) -> UInt64 {
        var word = (bits & 0xff_fff0_0000) << 12 | bits & 0xf_ffff
        word = (word & 0x000f_fc00_000f_fc00) << 6 | word & 0x0000_03ff_0000_03ff
        word = (word & 0x03e0_03e0_03e0_03e0) << 3 | word & 0x001f_001f_001f_001f
        let ones: UInt64 = 0x0101_0101_0101_0101
        let isNumeral = (word &+ 102 &* ones) >> 7 & ones  // 26 and above
        return word &+ letter &* ones &- isNumeral &* (letter &- 0x18)
    }

    /// The text of either case. Line ends are passed over. Nil where a character is outside the alphabet, or one too many.
    package static func decode(_ text: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) -> Int? {
        let raw = UnsafeMutableRawPointer(out)
        var (read, written, held) = (0, 0, 0)
        var buffer: UInt64 = 0
        while read < text.count {
            if held == 0, text.count &- read >= 8,
                let bits = bits(UInt64(bigEndian: text.loadUnaligned(fromByteOffset: read, as: UInt64.self))) {
                raw.storeBytes(of: UInt32(truncatingIfNeeded: bits >> 8).bigEndian, toByteOffset: written, as: UInt32.self)
                out[written &+ 4] = UInt8(truncatingIfNeeded: bits)
                (read, written) = (read &+ 8, written &+ 5)
                continue
            }
            let character = text[read]
            read += 1
            if character == 0x0a || character == 0x0d { continue }
            guard let digit = digit(character) else { return nil }
            (buffer, held) = (buffer << 5 | digit, held + 5)
            guard held >= 8 else { continue }
            held -= 8
            out[written] = UInt8(truncatingIfNeeded: buffer >> UInt64(held))
            written += 1
        }
        return held < 5 ? written : nil  // a whole digit too many
    }

    private static func digit(_ character: UInt8) -> UInt64? {
        switch character {
        case 0x61...0x7a: UInt64(character) - 0x61
        case 0x41...0x5a: UInt64(character) - 0x41
        case 0x32...0x37: UInt64(character) - 0x18
        default: nil
        }
    }

    /// Eight characters as 40 bits. Nil where one of them is no digit.
    private static func bits(_ characters: UInt64) -> UInt64? {
        let ones: UInt64 = 0x0101_0101_0101_0101, tops = ones << 7
        guard characters & tops == 0 else { return nil }
        let small = characters | ones << 5
        // The highest bit of a byte says whether it is from a to z, or from 2 to 7.
        let isLetter = (small &+ 0x1f &* ones) & ~(small &+ 0x05 &* ones) & tops
        let isNumeral = (characters &+ 0x4e &* ones) & ~(characters &+ 0x48 &* ones) & tops
        guard isLetter | isNumeral == tops else { return nil }
        let letters = (isLetter >> 7) &* 0xff
        let first = letters & (0x61 &* ones) | ~letters & (0x18 &* ones)
        var word = (letters & small | ~letters & characters) &- first
        word = word >> 3 & 0x03e0_03e0_03e0_03e0 | word & 0x001f_001f_001f_001f
        word = word >> 6 & 0x000f_fc00_000f_fc00 | word & 0x0000_03ff_0000_03ff
        return word >> 12 & 0xff_fff0_0000 | word & 0xf_ffff
    }
}

extension Base32 {
    package func append(_ bytes: UnsafeRawBufferPointer, to out: inout Bytes) {
        out.append(room: Base32.textCount(bytes.count)) { encode(bytes, to: $0) }
    }

    /// The text, behind a prefix if there is one.
    package func text(_ bytes: UnsafeRawBufferPointer, after prefix: UInt8? = nil) -> String {
        let start = prefix == nil ? 0 : 1
        return String(unsafeUninitializedCapacity: start + Base32.textCount(bytes.count)) { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            if let prefix { base[0] = prefix }
            return start + encode(bytes, to: base + start)
        }
    }

    package static func decode(_ text: UnsafeRawBufferPointer) -> Bytes? {
        var written: Int?
        let bytes = Bytes(unsafeUninitializedCapacity: Base32.bytesCount(text.count) + 1) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            written = Base32.decode(text, to: base)
            count = written ?? 0
        }
        return written == nil ? nil : bytes
    }
}
