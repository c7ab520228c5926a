// Certificates of libp2p's TLS: those of its specification (TLS-08), and those that must be refused.

import Crypto
import Encoding
import Kernel
import Multiformats
import TestSupport
import Testing
import Transport

let wall = at(0).wall
private let hour = Span.hours(1)

/// A key for certificates, and what a good certificate of it says.
struct Forge {
    var key: SigningKey
    var terms: CertificateTerms

    init(_ identity: IdentityKey = keyB, number: UInt8 = 77) {
        guard let key = SigningKey(p256: Bytes(repeating: number, count: 32)), let spki = key.verifyingKey.subjectPublicKeyInfo else {
            fatalError("no key")
        }
        self.key = key
        terms = CertificateTerms(serial: 5, subject: "7", notBefore: wall + (.zero - hour), notAfter: wall + hour)
        terms.extensions = [(TLSCertificate.keyExtension, false, TLSCertificate.SignedKey(identity, certifying: spki).der)]
    }

    var certificate: Certificate {
        guard let made = key.certificate(terms) else { fatalError("no certificate") }
        return made
    }

    func credentials(followedBy more: [Certificate] = []) -> TLSCredentials {
        guard let made = TLSCredentials(certificate, key: key, followedBy: more) else { fatalError("no credentials") }
        return made
    }

    func identity(expecting: PeerID? = nil, at time: WallTime = wall) throws -> PeerID {
        try TLSCertificate.identity(of: [certificate.der], expecting: expecting, now: time).peerID
    }

    func refusal(at time: WallTime = wall) -> String {
        do {
            return "accepted as \(try identity(at: time))"
        } catch { return "\(error)" }
    }
}

@Suite struct CertificateTests {
    // MARK: The specification's own

    private static let ed25519 = data(
        "308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a"
            + "300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a"
            + "13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c"
            + "831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
            + "e381569ea37c307a3078060a2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed3"
            + "64501809923d7c11b90440d90d2769db992d5e6195dbb08e706b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6c"
            + "d8136c6e4bde92a58c5e08cfd4206eb5fe0bf909300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9f"
            + "b48943ae6ee6d28427dc6071ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77")

    private static let ecdsa = data(
        "308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a"
            + "300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a"
            + "13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c"
            + "831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
            + "e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648"
            + "ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f"
            + "55ba8a3acf3dd72a801980d205e8a1ad29f2044730450220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c938"
            + "6a022100aa59d704a931b5f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220"
            + "799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c779be86581d3e31c01871ad5"
            + "d1f3435bcf375cb0e5088a")

    private static let secp256k1 = data(
        "308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a"
            + "300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a"
            + "13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c"
            + "831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
            + "e381569ea38184308181307f060a2b0601040183a25a01010471306f0425080212210206dc6968726765b820f050263ececf7f71e49558"
            + "92776c0970542efd689d2382044630440220145e15a991961f0d08cd15425bb95ec93f6ffa03c5a385eedc34ecf464c7a8ab022026b310"
            + "9b8a3f40ef833169777eb2aa337cfb6282f188de0666d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9e"
            + "c9204b3f774a08b70849646b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6"
            + "b5d46899cef0")

    private static let invalid = data(
        "308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a"
            + "300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a"
            + "13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c"
            + "831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
            + "e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648"
            + "ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f"
            + "55ba8a3acf3dd72a801980d205e8a1ad29f204473045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cad"
            + "e72802206de96e2a5be9b6202adba24ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d04030203480030450221"
            + "00e847f267f43717358f850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406"
            + "e52e084e34a3fd56eef0d0df")

    @Test(arguments: [
        (ed25519, "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"),
        (ecdsa, "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE"),
        (secp256k1, "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs"),
    ])
    func thoseOfTheSpecificationAreRead(_ der: Bytes, _ id: String) throws {
        let wanted = try PeerID(text: id)
        #expect(try TLSCertificate.identity(of: [der], expecting: wanted, now: wall).peerID == wanted)
        #expect(try TLSCertificate.identity(of: [der], expecting: nil, now: wall).peerID == wanted)
        #expect(throws: TransportError.self) {
            try TLSCertificate.identity(of: [der], expecting: keyA.peerID, now: wall)
        }
        // Any bit of it: it is another certificate, or none.
        for position in stride(from: 0, to: der.count, by: 1) {
            var der = der
            der[position] ^= 0x01
            #expect(throws: TransportError.self, "byte \(position)") {
                try TLSCertificate.identity(of: [der], expecting: nil, now: wall)
            }
        }
        for count in 0..<der.count {
            #expect(throws: TransportError.self) { try TLSCertificate.identity(of: [Bytes(der[..<count])], expecting: nil, now: wall) }
        }
        #expect(throws: TransportError.self) { try TLSCertificate.identity(of: [der + [0]], expecting: nil, now: wall) }
    }

    @Test func theInvalidOneIsRefused() {
        #expect(throws: TransportError("tls: the signature of QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE over its certificate's key is invalid")) {
            try TLSCertificate.identity(of: [Self.invalid], expecting: nil, now: wall)
        }
    }

    // MARK: Our own

    @Test func whatAHostShowsIsGood() throws {
        var choices = Choices(seed: 3)
        for identity in try identitiesOfAllTypes() {
            let entropy = choices.bytes(TLSCertificate.entropyBytes)
            let made = TLSCertificate.credentials(of: identity, entropy: entropy, now: wall).certificate
            #expect(try TLSCertificate.identity(of: [made.der], expecting: identity.peerID, now: wall) == identity.publicKey)
            // TLS-02: from an hour ago on, for about a hundred years.
            #expect(made.validity(at: wall + .hours(-1)) == .valid && made.validity(at: wall + (.hours(-1) - .seconds(1))) == .notYet)
            #expect(made.validity(at: wall + .hours(24 * 365 * 99)) == .valid)
            #expect(made.validity(at: wall + .hours(24 * 365 * 101)) == .expired)
            // Its key comes from the entropy; the signature's nonce does not.
            let again = TLSCertificate.credentials(of: identity, entropy: entropy, now: wall).certificate
            #expect(made.subjectPublicKeyInfo == again.subjectPublicKeyInfo)
            let other = TLSCertificate.credentials(of: identity, entropy: choices.bytes(48), now: wall).certificate
            #expect(made.subjectPublicKeyInfo != other.subjectPublicKeyInfo)
        }
    }

    // MARK: What must be refused (TLS-02, TLS-03)

    @Test func aForgedOneIsRefusedForWhatIsWrongWithIt() throws {
        #expect(try Forge().identity(expecting: keyB.peerID) == keyB.peerID)
        #expect(Forge().refusal(at: wall + .hours(2)) == "tls: the other side's certificate has expired: do both clocks agree?")
        #expect(Forge().refusal(at: wall + .hours(-2)) == "tls: the other side's certificate is not valid yet: do both clocks agree?")
        #expect(Forge().certificate.validity(at: wall + hour) == .valid)
        #expect(Forge().certificate.validity(at: wall + (hour + .seconds(1))) == .expired)

        var forge = Forge()
        forge.terms.extensions = []
        #expect(forge.refusal() == "tls: the other side's certificate names no peer")

        forge = Forge()
        forge.terms.extensions[0].isCritical = true
        #expect(try forge.identity() == keyB.peerID)
        forge.terms.extensions.append(("1.2.3.4.5", false, [5, 0]))
        #expect(try forge.identity() == keyB.peerID)
        forge.terms.extensions.append(("1.2.3.4.6", true, [5, 0]))
        #expect(forge.refusal() == "tls: the other side's certificate has the unknown critical extension 1.2.3.4.6")
        // Known, and nothing to us: basicConstraints.
        forge.terms.extensions[2] = ("2.5.29.19", true, [0x30, 0])
        #expect(try forge.identity() == keyB.peerID)

        // Somebody else's extension: the key that it vouches for is not the certificate's.
        forge = Forge()
        forge.terms.extensions = Forge(number: 78).terms.extensions
        #expect(forge.refusal() == "tls: the signature of \(keyB.peerID) over its certificate's key is invalid")
    }

    @Test func anotherKeysSignatureIsRefused() throws {
        let good = Forge().certificate
        let other = Forge(number: 78).certificate
        // The one's content under the other's signature; both have the same length but for the signature.
        var (a, b) = (good.der, other.der)
        while a.count != b.count {
            a = Forge().certificate.der
            b = Forge(number: 78).certificate.der
        }
        let end = a.count - 72
        let mixed = Bytes(a[..<end] + b[end...])
        #expect(throws: TransportError.self) { try TLSCertificate.identity(of: [mixed], expecting: nil, now: wall) }
    }

    @Test func exactlyOneIsAllowed() {
        let one = Forge().certificate.der
        #expect(throws: TransportError("tls: the other side showed 0 certificates, and exactly one is allowed")) {
            try TLSCertificate.identity(of: [], expecting: nil, now: wall)
        }
        #expect(throws: TransportError("tls: the other side showed 2 certificates, and exactly one is allowed")) {
            try TLSCertificate.identity(of: [one, one], expecting: nil, now: wall)
        }
        #expect(throws: TransportError("tls: the other side's certificate cannot be read")) {
            try TLSCertificate.identity(of: [[1, 2, 3]], expecting: nil, now: wall)
        }
    }

    private static let weakKey = data(
        "308201f63082015fa00302010202142bee1fd11fec83bbbdcef8719f70865e0ca2cb31300d06092a864886f70d01010b0500300c310a30"
            + "0806035504051301313020170d3236313132373032313031305a180f32313236313130333032313031305a300c310a3008060355040513"
            + "013130819f300d06092a864886f70d010101050003818d0030818902818100cd08fc60373434ae614a5b5928fb32889b04afd710c1e634"
            + "73a5b901a35873effc175b94d0775c7f8e5e094c48345e9aae6901ed8238ba43cb3d6aca74db25ac3ec73f2b7e79fa3e1b4bdae174f240"
            + "fe5f51eacd6f28fa4751da31d640cbdac68377c04c71cc3351b6298b736947d5b2e20fbe83352cee26d965a82275ccc2c30203010001a3"
            + "533051301d0603551d0e04160414cfbd352b11ca4aefa0e123621f62dea3020fdc12301f0603551d23041830168014cfbd352b11ca4aef"
            + "a0e123621f62dea3020fdc12300f0603551d130101ff040530030101ff300d06092a864886f70d01010b0500038181004147274a625aa2"
            + "f4cf841239f5086f478fc979aac4dc94d2d92056781bf4db426d9d461ce0715214ae36dd38441a634ff6698bfc11c20989313448e4610f"
            + "5d49aaaab5812247fafd1507d4b7a8914af6526682d91562b68e63a59f197a87f792d8b16c5a547bcb1bd7f0b19a3adf6da89e768d57fc"
            + "3458a3a3745e63f8b9c5c3")

    private static let weakDigest = data(
        "3082016c30820114a0030201020214440d157e3effcbde9a15ec8c4faa7d1d6ba47421300906072a8648ce3d0401300c310a3008060355"
            + "04051301313020170d3236313132373032313031305a180f32313236313130333032313031305a300c310a300806035504051301313059"
            + "301306072a8648ce3d020106082a8648ce3d030107034200048e5ebf0e08a2dc78b11123d0aa489a569f90f35f84efdaeaacb1cbb494d4"
            + "5a732af90cb088d971e4ccb103ae5ea11e4a276d66d69cd90004311fc3ce15dfdc66a3533051301d0603551d0e041604141510a0cff66f"
            + "7b4a3fc44acc01087261216a2fb3301f0603551d230418301680141510a0cff66f7b4a3fc44acc01087261216a2fb3300f0603551d1301"
            + "01ff040530030101ff300906072a8648ce3d04010347003044022067f6d17a1413c9d938463950aed75d47f188745b126834f8a5840ad9"
            + "f4f27c4a0220485adc4150c82fddab05319052c208935ec4459d16a838a57caf6415efe38a67")

    @Test func weakSignaturesAndKeysAreNone() throws {
        // Made by OpenSSL's command line: RSA of 1024 bits; P-256 signed with SHA-1.
        for der in [Self.weakKey, Self.weakDigest] {
            let certificate = try #require(Certificate(der: der))
            #expect(!certificate.isSelfSigned)
        }
    }

    /// SEQUENCE { OCTET STRING, OCTET STRING }, in the one way in which DER writes it.
    @Test func theExtensionHasOneForm() throws {
        for count in [0, 1, 127, 128, 255, 256, 70_000] {
            let key = TLSCertificate.SignedKey(identityKey: Bytes(repeating: 7, count: count), signature: [1, 2])
            #expect(try TLSCertificate.SignedKey(der: key.der) == key)
        }
        #expect(TLSCertificate.SignedKey(identityKey: [7], signature: [8, 9]).der == [0x30, 7, 4, 1, 7, 4, 2, 8, 9])
        for wrong: Bytes in [
            [], [0x30], [0x30, 0], [0x30, 7, 4, 1, 7, 4, 2, 8], [0x30, 7, 4, 1, 7, 4, 2, 8, 9, 0], [0x31, 7, 4, 1, 7, 4, 2, 8, 9],
            [0x30, 9, 4, 1, 7, 4, 2, 8, 9, 4, 0], [0x30, 0x81, 7, 4, 1, 7, 4, 2, 8, 9], [0x30, 0x80, 4, 1, 7, 4, 2, 8, 9, 0, 0],
            [0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 4, 1], [0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1], [0x30, 7, 3, 1, 7, 4, 2, 8, 9],
        ] {
            #expect(throws: TransportError.self, "\(wrong)") { try TLSCertificate.SignedKey(der: wrong) }
        }
    }
}

/// An identity of each type that there is (KEY-02).
func identitiesOfAllTypes() throws -> [IdentityKey] {
    var found: [IdentityKey] = [keyA]
    for line in try Golden.lines("vectors/identity/keys.ndjson") where line["signature_hex"] != nil {
        guard case .string(let text)? = line["private_key"] else { continue }
        let key = try IdentityKey(base64: text)
        if !found.contains(where: { $0.publicKey.type == key.publicKey.type }) { found.append(key) }
    }
    #expect(found.count == KeyType.allCases.count)
    return found
}
