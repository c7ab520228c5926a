// The fast ways of base32 and base58 against plain long division and plain bits.

import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct BasesTests {
    private static let digits32 = Bytes("abcdefghijklmnopqrstuvwxyz234567".utf8)
    private static let digits58 = Bytes("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".utf8)

    /// Bit by bit.
    private func plain32(_ bytes: Bytes) -> String {
        let bits = bytes.flatMap { byte in (0..<8).map { byte >> UInt8(7 - $0) & 1 } }
        let characters = stride(from: 0, to: bits.count, by: 5).map { start in
            Self.digits32[(0..<5).reduce(0) { $0 * 2 + (start + $1 < bits.count ? Int(bits[start + $1]) : 0) }]
        }
        return String(decoding: characters, as: UTF8.self)
    }

    private func plain58(_ bytes: Bytes) -> String {
        var digits: [Int] = []
        for byte in bytes {
            var carry = Int(byte)
            for index in digits.indices {
                carry += digits[index] * 256
                (digits[index], carry) = (carry % 58, carry / 58)
            }
            while carry > 0 { digits.append(carry % 58); carry /= 58 }
        }
        let zeros = [UInt8](repeating: Self.digits58[0], count: bytes.prefix { $0 == 0 }.count)
        return String(decoding: zeros + digits.reversed().map { Self.digits58[$0] }, as: UTF8.self)
    }

    private func samples(_ choices: inout Choices) -> [Bytes] {
        (0..<140).flatMap { count in
            [Bytes(repeating: 0, count: count), Bytes(repeating: 255, count: count), choices.bytes(count),
             Bytes(repeating: 0, count: count / 3) + choices.bytes(count - count / 3)]
        }
    }

    @Test func base32IsTheBitsInFives() {
        var choices = Choices(seed: 1)
        for bytes in samples(&choices) {
            let text = plain32(bytes)
            #expect(Multibase.base32.encode(bytes) == text)
            #expect(Multibase.base32upper.encode(bytes[...]) == text.uppercased())
            var appended = Bytes("x".utf8)
            bytes.withUnsafeBytes { Base32.lower.append($0, to: &appended) }
            #expect(appended == Bytes(("x" + text).utf8))
            #expect(Multibase.base32.decode(text) == bytes && Multibase.base32.decode(text.uppercased()) == bytes)
            #expect(Multibase.base32upper.decode(text[...]) == bytes)
        }
    }

    /// One of the general bases has the same alphabet, and padding.
    @Test func base32IsAsStrictAsTheGeneralWay() throws {
        let general = try #require(Multibase.all.first { $0.name == "base32pad" })
        var choices = Choices(seed: 2)
        for round in 0..<5000 {
            var text = Bytes(plain32(choices.bytes(choices.below(50))).utf8)
            for _ in 0..<choices.below(3) where !text.isEmpty {
                let index = choices.below(text.count)
                switch choices.below(5) {
                case 0: text[index] = UInt8(choices.below(128))
                case 1: text.insert(choices.chance(1, in: 2) ? 0x0a : 0x0d, at: index)
                case 2: text[index] ^= 0x20
                case 3: text.remove(at: index)
                default: text.append(Self.digits32[choices.below(32)])
                }
            }
            guard !text.contains(UInt8(ascii: "=")) else { continue }
            let digits = text.count { $0 != 0x0a && $0 != 0x0d }
            let padded = text + Bytes(repeating: UInt8(ascii: "="), count: (8 - digits % 8) % 8)
            let want = general.decode(String(decoding: padded, as: UTF8.self))
            #expect(Multibase.base32.decode(String(decoding: text, as: UTF8.self)) == want, "\(round) \(text)")
        }
        for text in ["é", "mé", "aaaaaaa\u{e9}", "aaaaaaaa\u{e9}", "1", "a", "aaa", "aaaaaa", "aaaaaaaaa"] {
            #expect(Multibase.base32.decode(text) == nil, "\(text)")
        }
        for character in 0..<UInt8(128) {
            let want = Self.digits32.firstIndex(of: character | (character >= 0x40 ? 0x20 : 0))
            for place in 0..<8 {
                var text = Bytes(repeating: UInt8(ascii: "a"), count: 8)
                text[place] = character
                let decoded = Multibase.base32.decode(String(decoding: text, as: UTF8.self))
                if character == 0x0a || character == 0x0d { #expect(decoded == [0, 0, 0, 0]); continue }
                #expect((decoded != nil) == (want != nil), "\(character)")
                if let decoded { #expect(plain32(decoded) == String(decoding: text, as: UTF8.self).lowercased()) }
            }
        }
    }

    @Test func base58IsLongDivision() {
        var choices = Choices(seed: 3)
        for bytes in samples(&choices) {
            let text = plain58(bytes)
            #expect(Multibase.base58btc.encode(bytes) == text)
            #expect(Multibase.base58btc.decode(text) == bytes)
        }
        for character in 0..<UInt8(128) {
            for text in ["", "2", "1111", "abcde"].map({ $0 + String(UnicodeScalar(character)) }) {
                let decoded = Multibase.base58btc.decode(text)
                #expect((decoded != nil) == Self.digits58.contains(character))
                if let decoded { #expect(plain58(decoded) == text) }
            }
        }
        #expect(Multibase.base58btc.decode("é") == nil && Multibase.base58btc.decode("") == [])
    }

    @Test func keysOfTheStateAreTheCIDsInUpperCase() {
        var choices = Choices(seed: 4)
        for _ in 0..<200 {
            let cid = choices.randomCID()
            #expect(cid.stateKey == "/" + plain32(cid.bytes).uppercased())
            #expect(CID(stateKey: cid.stateKey) == cid && CID(stateKey: cid.stateKey.dropFirst()) == nil)
            #expect(cid.description == (cid.version == 0 ? plain58(cid.bytes) : "b" + plain32(cid.bytes)))
        }
        for key in ["", "/", "/A", "/1", "AFKREI"] { #expect(CID(stateKey: key) == nil) }
    }
}
