// What is said of texts that are no CID and no peer ID: as a peer of upstream's answered them.

import Multiformats
import Testing

@Suite struct NameTextTests {
    /// REST-054. The words behind "error decoding Cid: invalid cid: ".
    @Test(arguments: [
        (
            "bafkreibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiq",
            "invalid cid: length greater than remaining number of bytes in buffer"
        ),
        (
            "bafkreibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegs",
            "invalid cid: length greater than remaining number of bytes in buffer"
        ),
        (
            "bafkreibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqea",
            "invalid cid: length greater than remaining number of bytes in buffer"
        ),
        ("bafkreibno1lefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqe", "illegal base32 data at input byte 9"),
        ("QmepFyupN6i7fLLG3nBiBYmVTy6pwqBZs2tECPjui3TAg", "selected encoding not supported"),
        ("QmepFyupN6i7fLLG3nBiBYmVTy6pwqBZs2tECPjui3TAgea", "selected encoding not supported"),
        ("QmepF0upN6i7fLLG3nBiBYmVTy6pwqBZs2tECPjui3TAge", "input isn't valid multihash"),
        ("qmepfyupn6i7fllg3nbibymvty6pwqbzs2tecpjui3tage", "selected encoding not supported"),
        ("Q", "cid too short"),
        ("Qm", "selected encoding not supported"),
        ("b", "cid too short"),
        ("foo", "encoding/hex: invalid byte: U+006F 'o'"),
        ("f01", "invalid cid: varints malformed, could not reach the end"),
        ("fzz", "encoding/hex: invalid byte: U+007A 'z'"),
        ("f0155122", "encoding/hex: odd length hex string"),
        ("bafy", "invalid cid: varints malformed, could not reach the end"),
        ("zdj", "invalid cid: expected 1 as the cid version number, got: 8"),
        ("zQm0", "invalid base58 digit ('0')"),
        ("mAX", "invalid cid: varints malformed, could not reach the end"),
        ("uAXA", "invalid cid: multihash too short. must be >= 2 bytes"),
        ("k2k4", "invalid cid: expected 1 as the cid version number, got: 12"),
        ("k51", "invalid cid: varints malformed, could not reach the end"),
        ("m****", "illegal base64 data at input byte 0"),
        ("9123", "selected encoding not supported"),
        ("7777", "selected encoding not supported"),
        ("t1", "illegal base32 data at input byte 0"),
        ("vabc", "invalid cid: varints malformed, could not reach the end"),
        ("hzzz", "selected encoding not supported"),
        ("Zabc", "invalid cid: expected 1 as the cid version number, got: 120"),
        ("Mabc=", "invalid cid: expected 1 as the cid version number, got: 105"),
        ("Uabc==", "illegal base64 data at input byte 4"),
        ("12D3KooW", "selected encoding not supported"),
        ("Fab", "invalid cid: varints malformed, could not reach the end"),
        ("F0155", "invalid cid: multihash too short. must be >= 2 bytes"),
        ("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "invalid cid: expected 1 as the cid version number, got: 8"),
        ("f0155122022", "invalid cid: length greater than remaining number of bytes in buffer"),
        ("f0170001200", "invalid cid: length greater than remaining number of bytes in buffer"),
        (
            "f02015512200000000000000000000000000000000000000000000000000000000000000000",
            "invalid cid: expected 1 as the cid version number, got: 2"
        ),
        ("f12", "invalid cid: expected 1 as the cid version number, got: 18"),
        (
            "f1221000000000000000000000000000000000000000000000000000000000000000000",
            "invalid cid: expected 1 as the cid version number, got: 18"
        ),
        ("f122000000000000000000000000000000000000000000000000000000000000000", "invalid cid: not enough bytes for cid v0"),
        ("fffffffffffffffffffff", "invalid cid: varints larger than uint63 not supported"),
        ("f00", "invalid cid: expected 1 as the cid version number, got: 0"),
        ("f0155b30", "encoding/hex: odd length hex string"),
        ("f01f0ff0112000000000000000000000000000000000000", "trailing bytes in data buffer passed to cid Cast"),
        (
            "fe301017012200000000000000000000000000000000000000000000000000000000000000000",
            "invalid cid: expected 1 as the cid version number, got: 227"
        ),
        ("bafkqabc", "invalid cid: length greater than remaining number of bytes in buffer"),
        ("bé", "illegal base32 data at input byte 0"),
    ])
    func aTextThatIsNoCID(_ text: String, _ fault: String) {
        let error = #expect(throws: MultiformatError.self) { try CID(text: text) }
        #expect(error?.aboutCID == "invalid cid: " + fault)
    }

    /// REST-051. The words behind "error decoding Peer ID: ".
    @Test(arguments: [
        ("foo", "failed to parse peer ID: invalid cid: encoding/hex: invalid byte: U+006F 'o'"),
        ("Q", "failed to parse peer ID: invalid cid: cid too short"),
        ("1", "failed to parse peer ID: multihash too short. must be >= 2 bytes"),
        ("12D3KooW", "failed to parse peer ID: length greater than remaining number of bytes in buffer"),
        (
            "12D3KooWKjYNFbygyfXk7V2aikMA7ev5WAydKpJDDBxJ7Ebscim",
            "failed to parse peer ID: length greater than remaining number of bytes in buffer"
        ),
        (
            "12D3KooWKjYNFbygyfXk7V2aikMA7ev5WAydKpJDDBxJ7EbscimRx",
            "failed to parse peer ID: multihash length inconsistent: expected 8; got 10"
        ),
        ("QmNope", "failed to parse peer ID: length greater than remaining number of bytes in buffer"),
        (
            "QmepFyupN6i7fLLG3nBiBYmVTy6pwqBZs2tECPjui3TAg",
            "failed to parse peer ID: multihash length inconsistent: expected 4; got 6"
        ),
        ("QmepF0upN6i7fLLG3nBiBYmVTy6pwqBZs2tECPjui3TAge", "failed to parse peer ID: input isn't valid multihash"),
        ("b", "failed to parse peer ID: invalid cid: cid too short"),
        ("z", "failed to parse peer ID: invalid cid: cid too short"),
        ("k51", "failed to parse peer ID: invalid cid: invalid cid: varints malformed, could not reach the end"),
        ("bafzaa", "failed to parse peer ID: invalid cid: invalid cid: multihash too short. must be >= 2 bytes"),
        ("bafkreibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqe", "can't convert CID of type \"raw\" to a peer ID"),
        ("16Uiu2HAm", "failed to parse peer ID: length greater than remaining number of bytes in buffer"),
        ("1A", "failed to parse peer ID: length greater than remaining number of bytes in buffer"),
        ("Qm", "failed to parse peer ID: length greater than remaining number of bytes in buffer"),
    ])
    func aTextThatIsNoPeerID(_ text: String, _ fault: String) {
        let error = #expect(throws: MultiformatError.self) { try PeerID(text: text) }
        #expect(error?.aboutPeer(text) == fault)
    }

    /// Upstream passes over such digits.
    @Test func digitsTooManyAreRefusedThoughTheRestIsACID() throws {
        #expect(try CID(text: "bafkreank").bytes == [1, 0x55, 0x12, 1, 0xaa])
        for surplus in ["x", "xyz", "xyzxyz"] {
            let error = #expect(throws: MultiformatError.self) { try CID(text: "bafkreank" + surplus) }
            #expect(error?.aboutCID == "invalid cid: illegal base32 data at input byte 8")
        }
    }
}
