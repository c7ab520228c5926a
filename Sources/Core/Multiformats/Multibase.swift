// Text forms of bytes: RFC 4648 bases and positional bases, with multibase prefixes.

import Kernel

/// One multibase encoding.
package struct Multibase: Sendable, Equatable {
    package let name: String
    package let prefix: Character
    let alphabet: [UInt8]
    /// Bits in a digit for RFC 4648 bases, nil for positional ones.
    let bits: Int?
    let isPadded: Bool
    /// The bases of keys and names have a faster way than the general one.
    private enum Fast: Equatable {
        case base32(Base32)
        case base58
    }
    private var fast: Fast?

    private init(_ name: String, _ prefix: Character, _ alphabet: [UInt8], bits: Int?, isPadded: Bool = false) {
        (self.name, self.prefix, self.alphabet, self.bits, self.isPadded) = (name, prefix, alphabet, bits, isPadded)
    }

    private static func rfc4648(
        _ name: String, _ prefix: Character, _ bits: Int, _ alphabet: String, isPadded: Bool = false
    ) -> Multibase {
        Multibase(name, prefix, Array(alphabet.utf8), bits: bits, isPadded: isPadded)
    }
    private func with(_ fast: Fast) -> Multibase {
        var out = self
        out.fast = fast
        return out
    }
    private static func positional(_ name: String, _ prefix: Character, _ alphabet: String) -> Multibase {
        Multibase(name, prefix, Array(alphabet.utf8), bits: nil)
    }

    private static let digits16 = "0123456789abcdef"
    private static let digits32 = "abcdefghijklmnopqrstuvwxyz234567"
    private static let digits32hex = "0123456789abcdefghijklmnopqrstuv"
    private static let digits36 = "0123456789abcdefghijklmnopqrstuvwxyz"
    private static let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

    package static let base16 = rfc4648("base16", "f", 4, digits16)
    package static let base32 = rfc4648("base32", "b", 5, digits32).with(.base32(.lower))
    package static let base32upper = rfc4648("base32upper", "B", 5, digits32.uppercased()).with(.base32(.upper))
    package static let base36 = positional("base36", "k", digits36)
    package static let base58btc = positional(
        "base58btc", "z", "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz").with(.base58)
    package static let base64url = rfc4648("base64url", "u", 6, letters + "-_")
    package static let base64 = rfc4648("base64", "m", 6, letters + "+/")

    /// Every base that upstream reads, but the raw bytes, which are no text.
    package static let all: [Multibase] = [
        base16, base32, base32upper, base36, base58btc, base64, base64url,
        rfc4648("base2", "0", 1, "01"),
        rfc4648("base16upper", "F", 4, digits16.uppercased()),
        rfc4648("base32pad", "c", 5, digits32, isPadded: true),
        rfc4648("base32padupper", "C", 5, digits32.uppercased(), isPadded: true),
        rfc4648("base32hex", "v", 5, digits32hex),
        rfc4648("base32hexupper", "V", 5, digits32hex.uppercased()),
        rfc4648("base32hexpad", "t", 5, digits32hex, isPadded: true),
        rfc4648("base32hexpadupper", "T", 5, digits32hex.uppercased(), isPadded: true),
        positional("base36upper", "K", digits36.uppercased()),
        positional("base58flickr", "Z", "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"),
        rfc4648("base64pad", "M", 6, letters + "+/", isPadded: true),
        rfc4648("base64urlpad", "U", 6, letters + "-_", isPadded: true),
        base256emoji,
    ]

    /// Without the prefix.
    package func encode(_ bytes: some Collection<UInt8>) -> String {
        switch fast {
        case .base32(let base): return withRawBytes(of: bytes) { base.text($0) }
        case .base58 where bytes.count <= Base58.bytesMax: return withRawBytes(of: bytes) { Base58.text($0) }
        case .base58, nil: break
        }
        if self == Multibase.base256emoji { return Emoji.encode(bytes) }
        return bits.map { encodeBits(bytes, $0) } ?? encodePositional(bytes)
    }

    /// Bases whose digits mean the same in either case: all of one case only (as Go decodes them).
    private var ignoresCase: Bool { !alphabet.contains { (0x61...0x7a).contains($0) } || !alphabet.contains { (0x41...0x5a).contains($0) } }

    /// Without the prefix. Nil where a character is outside the alphabet. Line ends are passed over in RFC 4648 bases.
    package func decode(_ text: some StringProtocol) -> Bytes? {
        switch fast {
        case .base32: return withRawBytes(of: text.utf8) { Base32.decode($0) }
        case .base58 where text.utf8.count <= Base58.textMax: return withRawBytes(of: text.utf8) { Base58.decode($0) }
        case .base58, nil: break
        }
        if self == Multibase.base256emoji { return Emoji.decode(text) }
        let values = digitValues
        var padding = 0
        var digits: [UInt8] = []
        digits.reserveCapacity(text.utf8.count)
        for character in text.utf8 {
            if bits != nil && (character == 0x0a || character == 0x0d) { continue }
            if isPadded && character == UInt8(ascii: "=") {
                padding += 1
                continue
            }
            let digit = values[Int(character)]
            guard padding == 0, digit < 255 else { return nil }
            digits.append(digit)
        }
        guard !isPadded || padding == paddingCount(digits.count) else { return nil }
        return bits.map { decodeBits(digits, $0) } ?? decodePositional(digits)
    }

    /// The bytes of an unpadded base32 text without its last digits, if these make no whole byte.
    func decodeWhole(_ text: some StringProtocol) -> Bytes? {
        let digits = text.utf8.filter { $0 != 0x0a && $0 != 0x0d }
        guard bits == 5, !isPadded, [1, 3, 6].contains(digits.count % 8) else { return nil }
        return decode(String(decoding: digits.dropLast(digits.count % 8), as: UTF8.self))
    }

    /// What fills a text of so many digits up to whole bytes.
    private func paddingCount(_ digits: Int) -> Int {
        guard isPadded, let bits else { return 0 }
        let group = bits == 5 ? 8 : 4
        return (group - digits % group) % group
    }

    /// The value of each character, 255 for those outside the alphabet.
    var digitValues: [UInt8] {
        var values = [UInt8](repeating: 255, count: 256)
        for (digit, character) in alphabet.enumerated() {
            values[Int(character)] = UInt8(digit)
            if ignoresCase, (0x41...0x5a).contains(character & 0xdf) { values[Int(character ^ 0x20)] = UInt8(digit) }
        }
        return values
    }

    private func encodeBits(_ bytes: some Collection<UInt8>, _ bits: Int) -> String {
        var out: Bytes = []
        out.reserveCapacity(bytes.count * 8 / bits + 1)
        var buffer: UInt32 = 0
        var held = 0
        let mask = UInt32(1 << bits - 1)
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            held += 8
            while held >= bits {
                held -= bits
                out.append(alphabet[Int(buffer >> UInt32(held) & mask)])
            }
        }
        if held > 0 { out.append(alphabet[Int(buffer << UInt32(bits - held) & mask)]) }
        out += repeatElement(UInt8(ascii: "="), count: paddingCount(out.count))
        return String(decoding: out, as: UTF8.self)
    }

    private func decodeBits(_ digits: [UInt8], _ bits: Int) -> Bytes? {
        var out: Bytes = []
        out.reserveCapacity(digits.count * bits / 8)
        var buffer: UInt32 = 0
        var held = 0
        for digit in digits {
            buffer = buffer << UInt32(bits) | UInt32(digit)
            held += bits
            if held >= 8 {
                held -= 8
                out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(held)))
            }
        }
        return held < bits ? out : nil  // a whole digit too many
    }

    private func encodePositional(_ bytes: some Collection<UInt8>) -> String {
        let zeros = bytes.prefix { $0 == 0 }.count
        let digits = convert(Bytes(bytes), from: 256, to: alphabet.count)
        return String(decoding: [UInt8](repeating: alphabet[0], count: zeros) + digits.map { alphabet[Int($0)] }, as: UTF8.self)
    }

    private func decodePositional(_ digits: [UInt8]) -> Bytes? {
        let zeros = digits.prefix { $0 == 0 }.count
        return Bytes(repeating: 0, count: zeros) + convert(digits, from: alphabet.count, to: 256)
    }

    /// Base conversion by long division, without leading zeros. Quadratic: only for names, never for content.
    private func convert(_ digits: [UInt8], from: Int, to: Int) -> [UInt8] {
        var out: [Int] = []
        for digit in digits {
            var carry = Int(digit)
            for i in out.indices {
                carry += out[i] * from
                out[i] = carry % to
                carry /= to
            }
            while carry > 0 { out.append(carry % to); carry /= to }
        }
        return out.reversed().map { UInt8($0) }
    }
}

/// Without a copy where the bytes lie in one piece.
private func withRawBytes<T>(of bytes: some Collection<UInt8>, _ body: (UnsafeRawBufferPointer) -> T) -> T {
    bytes.withContiguousStorageIfAvailable { body(UnsafeRawBufferPointer($0)) } ?? Bytes(bytes).withUnsafeBytes(body)
}

extension Multibase {
    static let base256emoji = Multibase("base256emoji", "🚀", [], bits: nil)

    /// A symbol for each byte value. multiformats/multibase, rfcs/Base256Emoji.md.
    private enum Emoji {
        static let symbols = Array(
            ("🚀🪐☄🛰🌌🌑🌒🌓🌔🌕🌖🌗🌘🌍🌏🌎🐉☀💻🖥💾💿😂❤😍🤣😊🙏💕😭😘👍"
                + "😅👏😁🔥🥰💔💖💙😢🤔😆🙄💪😉☺👌🤗💜😔😎😇🌹🤦🎉💞✌✨🤷😱😌🌸🙌"
                + "😋💗💚😏💛🙂💓🤩😄😀🖤😃💯🙈👇🎶😒🤭❣😜💋👀😪😑💥🙋😞😩😡🤪👊🥳"
                + "😥🤤👉💃😳✋😚😝😴🌟😬🙃🍀🌷😻😓⭐✅🥺🌈😈🤘💦✔😣🏃💐☹🎊💘😠☝"
                + "😕🌺🎂🌻😐🖕💝🙊😹🗣💫💀👑🎵🤞😛🔴😤🌼😫⚽🤙☕🏆🤫👈😮🙆🍻🍃🐶💁"
                + "😲🌿🧡🎁⚡🌞🎈❌✊👋😰🤨😶🤝🚶💰🍓💢🤟🙁🚨💨🤬✈🎀🍺🤓😙💟🌱😖👶"
                + "🥴▶➡❓💎💸⬇😨🌚🦋😷🕺⚠🙅😟😵👎🤲🤠🤧📌🔵💅🧐🐾🍒😗🤑🌊🤯🐷☎"
                + "💧😯💆👆🎤🙇🍑❄🌴💣🐸💌📍🥀🤢👅💡💩👐📸👻🤐🤮🎼🥵🚩🍎🍊👼💍📣🥂").unicodeScalars)
        static let values: [Unicode.Scalar: UInt8] = {
            var values: [Unicode.Scalar: UInt8] = [:]
            for (value, symbol) in symbols.enumerated() { values[symbol] = UInt8(value) }
            return values
        }()
        static func encode(_ bytes: some Collection<UInt8>) -> String {
            var text = String.UnicodeScalarView()
            for byte in bytes { text.append(symbols[Int(byte)]) }
            return String(text)
        }
        static func decode(_ text: some StringProtocol) -> Bytes? {
            var out: Bytes = []
            for symbol in text.unicodeScalars {
                guard let value = values[symbol] else { return nil }
                out.append(value)
            }
            return out
        }
    }
}
