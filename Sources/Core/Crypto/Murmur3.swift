// The first 64 bits of MurmurHash3 x64 128, seed 0: where HAMT directories put a name (ADD-34).

import Kernel

package func murmur3(_ bytes: Bytes) -> UInt64 {
    let c1: UInt64 = 0x87c3_7b91_1142_53d5, c2: UInt64 = 0x4cf5_ad43_2745_937f
    func rotate(_ x: UInt64, _ r: UInt64) -> UInt64 { x << r | x >> (64 - r) }
    func word(_ start: Int) -> UInt64 {
        var word: UInt64 = 0
        for i in start..<min(start + 8, bytes.count) { word |= UInt64(bytes[i]) << UInt64(8 * (i - start)) }
        return word
    }
    func mixed(_ x: UInt64) -> UInt64 {
        var x = x
        x = (x ^ x >> 33) &* 0xff51_afd7_ed55_8ccd
        x = (x ^ x >> 33) &* 0xc4ce_b9fe_1a85_ec53
        return x ^ x >> 33
    }
    var h1: UInt64 = 0, h2: UInt64 = 0
    let whole = bytes.count / 16 * 16
    for start in stride(from: 0, to: whole, by: 16) {
        h1 = (rotate(h1 ^ rotate(word(start) &* c1, 31) &* c2, 27) &+ h2) &* 5 &+ 0x52dc_e729
        h2 = (rotate(h2 ^ rotate(word(start + 8) &* c2, 33) &* c1, 31) &+ h1) &* 5 &+ 0x3849_5ab5
    }
    if bytes.count - whole > 8 { h2 ^= rotate(word(whole + 8) &* c2, 33) &* c1 }
    if bytes.count > whole { h1 ^= rotate(word(whole) &* c1, 31) &* c2 }
    h1 ^= UInt64(bytes.count)
    h2 ^= UInt64(bytes.count)
    h1 &+= h2
    h2 &+= h1
    return mixed(h1) &+ mixed(h2)
}
