// base58btc of names, which are short: in words of 32 bits and groups of five digits instead of digit by digit.

import Kernel

package enum Base58 {
    /// Longer ones take the general way.
    package static let bytesMax = 128
    package static let textMax = 170
    private static let five: UInt64 = 58 * 58 * 58 * 58 * 58

    /// What fits the text of so many bytes: 138 / 100 is above log 256 / log 58.
    package static func textRoom(_ bytes: Int) -> Int { bytes * 138 / 100 + 6 }

    /// How many characters there are; `textRoom` of them fit.
    package static func encode(_ bytes: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) -> Int {
        var zeros = 0
        while zeros < bytes.count, bytes[zeros] == 0 { zeros += 1 }
        for index in 0..<zeros { out[index] = 0x31 }
        return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: bytes.count / 4 + 1) { words in
            load(bytes, into: words)
            var (first, count) = (0, zeros)
            while true {
                while first < words.count, words[first] == 0 { first += 1 }
                guard first < words.count else { break }
                var rest = divide(words[first...])
                for _ in 0..<5 {
                    out[count] = character(rest % 58)
                    (rest, count) = (rest / 58, count + 1)
                }
            }
            while count > zeros, out[count - 1] == 0x31 { count -= 1 }
            reverse(out, zeros, count)
            return count
        }
    }

    /// Big-endian words.
    private static func load(_ bytes: UnsafeRawBufferPointer, into words: UnsafeMutableBufferPointer<UInt32>) {
        words.initialize(repeating: 0)
        for index in 0..<bytes.count {
            let place = bytes.count - 1 - index
            words[words.count - 1 - place / 4] |= UInt32(bytes[index]) << UInt32(8 * (place % 4))
        }
    }

    /// Divides by 58 to the fifth. The remainder.
    private static func divide(_ words: Slice<UnsafeMutableBufferPointer<UInt32>>) -> UInt64 {
        var rest: UInt64 = 0
        for index in words.startIndex..<words.endIndex {
            let value = rest << 32 | UInt64(words.base[index])
            words.base[index] = UInt32(truncatingIfNeeded: value / five)
            rest = value % five
        }
        return rest
    }

    private static func reverse(_ out: UnsafeMutablePointer<UInt8>, _ start: Int, _ end: Int) {
        var (low, high) = (start, end - 1)
        while low < high {
            (out[low], out[high]) = (out[high], out[low])
            (low, high) = (low + 1, high - 1)
        }
    }

    private static func character(_ digit: UInt64) -> UInt8 {
        let alphabet: StaticString = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
        return alphabet.utf8Start[Int(digit)]
    }

    /// How many bytes there are; never more than characters. Nil where a character is outside the alphabet.
    package static func decode(_ text: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) -> Int? {
        var zeros = 0
        while zeros < text.count, text[zeros] == 0x31 { zeros += 1 }
        for index in 0..<zeros { out[index] = 0 }
        return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: text.count * 3 / 16 + 1) { words in
            words.initialize(repeating: 0)
            var index = zeros
            while index < text.count {
                var (value, scale): (UInt64, UInt64) = (0, 1)
                for character in text[index..<min(index + 5, text.count)] {
                    guard let digit = digit(character) else { return nil }
                    (value, scale) = (value * 58 + digit, scale * 58)
                }
                multiply(words, by: scale, adding: value)
                index += 5
            }
            return zeros + store(words, to: out + zeros)
        }
    }

    private static func multiply(_ words: UnsafeMutableBufferPointer<UInt32>, by scale: UInt64, adding value: UInt64) {
        var carry = value
        for index in stride(from: words.count - 1, through: 0, by: -1) {
            carry += UInt64(words[index]) * scale
            words[index] = UInt32(truncatingIfNeeded: carry)
            carry >>= 32
        }
    }

    /// The bytes without leading zeros.
    private static func store(_ words: UnsafeMutableBufferPointer<UInt32>, to out: UnsafeMutablePointer<UInt8>) -> Int {
        var count = 0
        for index in 0..<words.count * 4 {
            let byte = UInt8(truncatingIfNeeded: words[index / 4] >> UInt32(24 - 8 * (index % 4)))
            guard count > 0 || byte > 0 else { continue }
            out[count] = byte
            count += 1
        }
        return count
    }

    private static func digit(_ character: UInt8) -> UInt64? {
        let digit: UInt8? = switch character {
        case 0x31...0x39: character - 0x31
        case 0x41...0x48: character - 0x41 + 9
        case 0x4a...0x4e: character - 0x4a + 17
        case 0x50...0x5a: character - 0x50 + 22
        case 0x61...0x6b: character - 0x61 + 33
        case 0x6d...0x7a: character - 0x6d + 44
        default: nil
        }
        return digit.map(UInt64.init)
    }
}

extension Base58 {
    package static func text(_ bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: textRoom(bytes.count)) { buffer in
            buffer.baseAddress.map { encode(bytes, to: $0) } ?? 0
        }
    }

    package static func decode(_ text: UnsafeRawBufferPointer) -> Bytes? {
        var written: Int?
        let bytes = Bytes(unsafeUninitializedCapacity: text.count + 1) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            written = decode(text, to: base)
            count = written ?? 0
        }
        return written == nil ? nil : bytes
    }
}
