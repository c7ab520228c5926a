// How the store tells keys apart, and what the digest of a key and its value is. Keys of the pinset are "/" and the base32 of a
// CID (PIN-01), and their values begin with that CID: such keys need not be stored.

import Kernel
import Multiformats

enum StoredKey {
    private static let decodedSeed: UInt64 = 0x6b65_795f_6369_6431
    private static let textSeed: UInt64 = 0x6b65_795f_7465_7874
    private static let derivedSeed: UInt64 = 0x7661_6c75_655f_6431
    private static let explicitSeed: UInt64 = 0x7661_6c75_655f_6531
    private static let blockSeed: UInt64 = 0x626c_6f63_6b5f_6831

    /// 48 bits.
    static func hash(cid: UnsafeRawBufferPointer) -> UInt64 { mix(cid, seed: decodedSeed).high >> 16 }
    static func hash(_ key: some Collection<UInt8>) -> UInt64 {
        if let cid = decoded(key) { return cid.withUnsafeBytes { hash(cid: $0) } }
        return mix(key, seed: textSeed).high >> 16
    }
    static func hash(_ key: String) -> UInt64 { hash(key.utf8) }
    static func hash(block digest: some Collection<UInt8>) -> UInt64 { mix(digest, seed: blockSeed).high >> 16 }

    /// What the value adds to the digest of the state.
    static func mixed(derived value: UnsafeRawBufferPointer) -> Mixed { mix(value, seed: derivedSeed) }
    static func mixed(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Mixed {
        var all = Bytes()
        append(UInt32(key.count), to: &all)
        all.append(contentsOf: key)
        all.append(contentsOf: value)
        return mix(all, seed: explicitSeed)
    }

    /// The bytes behind "/" and their base32, or nil if the key is of another form.
    static func decoded(_ key: some Collection<UInt8>) -> Bytes? {
        guard key.first == UInt8(ascii: "/"), key.count > 1 else { return nil }
        return Base32.decode(key.dropFirst())
    }

    static func text(decoded cid: UnsafeRawBufferPointer) -> Bytes {
        var out = Bytes()
        out.reserveCapacity(1 + Base32.length(cid.count))
        out.append(UInt8(ascii: "/"))
        Base32.append(cid, to: &out)
        return out
    }

    /// Where the CID is with which a value begins.
    @inline(__always)
    static func cid(in value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard value.count > 2, value[0] == 0x0a, value[1] > 0, value[1] < 0x80, 2 + Int(value[1]) <= value.count else { return nil }
        return UnsafeRawBufferPointer(rebasing: value[2..<2 + Int(value[1])])
    }

    /// The key can be told from the value.
    static func isDerived(_ key: UnsafeRawBufferPointer, from value: UnsafeRawBufferPointer) -> Bool {
        guard let cid = cid(in: value), key.count == 1 + Base32.length(cid.count), key[0] == UInt8(ascii: "/") else { return false }
        return Base32.matches(cid, UnsafeRawBufferPointer(rebasing: key[1...]))
    }
}

/// RFC 4648 base32 in upper case without padding, eight characters at a time.
enum Base32 {
    private static let alphabet: [UInt8] = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)
    private static let pairs: [UInt16] = (0..<1024).map { UInt16(alphabet[$0 & 31]) << 8 | UInt16(alphabet[$0 >> 5]) }

    static func length(_ count: Int) -> Int { (count * 8 + 4) / 5 }

    /// Eight characters as they lie in memory.
    @inline(__always)
    private static func characters(_ forty: UInt64, _ pairs: UnsafeBufferPointer<UInt16>) -> UInt64 {
        let a = UInt64(pairs[Int(forty >> 30 & 1023)])
        let b = UInt64(pairs[Int(forty >> 20 & 1023)])
        let c = UInt64(pairs[Int(forty >> 10 & 1023)])
        let d = UInt64(pairs[Int(forty & 1023)])
        return a | b << 16 | c << 32 | d << 48
    }

    @inline(__always)
    private static func forty(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        if offset + 8 <= bytes.count { return UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) >> 24 }
        var value: UInt64 = 0
        for index in offset..<offset + 5 { value = value << 8 | (index < bytes.count ? UInt64(bytes[index]) : 0) }
        return value
    }

    /// Writes `length(bytes.count)` characters; up to seven more bytes may be written over.
    @inline(__always)
    static func write(_ bytes: UnsafeRawBufferPointer, to out: UnsafeMutableRawPointer) {
        pairs.withUnsafeBufferPointer { pairs in
            var (offset, at) = (0, 0)
            while offset < bytes.count {
                out.storeBytes(of: characters(forty(bytes, offset), pairs).littleEndian, toByteOffset: at, as: UInt64.self)
                offset += 5
                at += 8
            }
        }
    }

    static func append(_ bytes: UnsafeRawBufferPointer, to out: inout Bytes) {
        let start = out.count
        out.append(contentsOf: repeatElement(0, count: length(bytes.count) + 8))
        out.withUnsafeMutableBytes { write(bytes, to: $0.baseAddress! + start) }
        out.removeLast(8)
    }

    static func matches(_ bytes: UnsafeRawBufferPointer, _ text: UnsafeRawBufferPointer) -> Bool {
        guard text.count == length(bytes.count) else { return false }
        return pairs.withUnsafeBufferPointer { pairs in
            var (offset, at) = (0, 0)
            while at + 8 <= text.count {
                if characters(forty(bytes, offset), pairs) != load(text, at, as: UInt64.self) { return false }
                offset += 5
                at += 8
            }
            guard at < text.count else { return true }
            var rest: UInt64 = 0
            for index in stride(from: text.count - 1, through: at, by: -1) { rest = rest << 8 | UInt64(text[index]) }
            return characters(forty(bytes, offset), pairs) & (1 << UInt64(8 * (text.count - at)) - 1) == rest
        }
    }

    /// Nil unless the text is exactly what encoding gives.
    static func decode(_ text: some Collection<UInt8>) -> Bytes? {
        var out = Bytes()
        out.reserveCapacity(text.count * 5 / 8 + 1)
        var (bits, count) = (UInt64(0), 0)
        for character in text {
            let value: UInt8
            switch character {
            case 0x41...0x5a: value = character - 0x41
            case 0x32...0x37: value = character - 0x32 + 26
            default: return nil
            }
            bits = bits << 5 | UInt64(value)
            count += 5
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt64(count)))
            }
        }
        let isCanonical = text.count == length(out.count) && bits & (1 << UInt64(count) - 1) == 0
        return isCanonical ? out : nil
    }
}
