// What comes from OpenSSL, and what is written here beside it, against published values.

import Crypto
import Kernel
import Testing

@Suite struct CryptoTests {
    private func raw(_ text: String) throws -> Bytes { try #require(bytes(hex: text)) }

    /// NOISE-V1 and NOISE-V2: public keys of known private ones, and agreement from both sides.
    @Test func x25519AgreesFromBothSides() throws {
        let (mine, theirs) = (Bytes(repeating: 0x11, count: 32), Bytes(repeating: 0x22, count: 32))
        let myPublic = try #require(x25519PublicKey(mine)), theirPublic = try #require(x25519PublicKey(theirs))
        #expect(hex(myPublic) == "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13")
        #expect(hex(theirPublic) == "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20")
        let shared = try #require(x25519(mine, theirPublic))
        #expect(x25519(theirs, myPublic) == shared)
        #expect(x25519(mine, Bytes(repeating: 0, count: 32)) == nil)  // a point of low order
        #expect(x25519(mine, [1, 2, 3]) == nil)
    }

    /// NOISE-V9 and NOISE-V10: "hello" under nonces 0 and 1.
    @Test func chaChaPolySealsAndOpens() throws {
        let cipher = ChaChaPoly(key: try raw("87545187bdfc0130ee12184489f9d74da5b391ee6e64846190bc39165d273c7d"))
        let hello = Bytes("hello".utf8)
        for (nonce, text) in [(UInt64(0), "ba55be97fa66e48a762932740de22240fe3f66270c"), (1, "54184620c7e76189de6393f936c9d714cdb762c9d3")] {
            var sealed: Bytes = []
            cipher.seal(hello[...], nonce: nonce, into: &sealed)
            #expect(hex(sealed) == text)
            var opened: Bytes = [1]
            #expect(cipher.open(sealed[...], nonce: nonce, into: &opened))
            #expect(opened == [1] + hello)
            #expect(!cipher.open(sealed[...], nonce: nonce, authenticating: [1], into: &opened))
            sealed[2] ^= 1
            #expect(!cipher.open(sealed[...], nonce: nonce, into: &opened))
            #expect(!cipher.open([1, 2, 3], nonce: nonce, into: &opened))
            #expect(opened == [1] + hello)
        }
    }

    /// RFC 4231, case 2; RFC 7693, appendix A; the 32-byte BLAKE2b that closeness rests on (CLU-13).
    @Test func digestsAreThePublishedOnes() throws {
        let mac = hmac(.sha256, key: Bytes("Jefe".utf8), Bytes("what do ya want for nothing?".utf8))
        #expect(hex(mac) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        let abc = Bytes("abc".utf8)
        #expect(hex(sha256(abc)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(hex(blake2b(abc, count: 64)).hasPrefix("ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"))
        #expect(hex(blake2b(abc, count: 32)) == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319")
    }
}
