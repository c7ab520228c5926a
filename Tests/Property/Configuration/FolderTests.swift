// The files of a configuration folder: identity, peerstore, lock. spec/config.md 12 to 14.

import Configuration
import Encoding
import Foundation
import Kernel
import Multiformats
import TestSupport
import Testing

/// An empty folder that is gone after the test.
final class TemporaryFolder {
    let path: String
    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/configuration-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func put(_ text: String, in name: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name)) }
    func get(_ name: String) throws -> String { String(decoding: try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)), as: UTF8.self) }
    func mode(_ name: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path + "/" + name)[.posixPermissions] as? Int)
    }
}

private func load(_ folder: ConfigurationFolder, environment: [String: String] = [:]) throws -> ConfigurationFolder.Loaded {
    try folder.load(environment: environment, hostName: "h", fetch: { _ in nil })
}

@Suite struct IdentityTests {
    @Test(arguments: ["config/identity-peer0.json", "config/identity-peer1.json"])
    func recordedIdentities(_ path: String) throws {
        let identity = try Identity(document: Golden.bytes(path))
        #expect(identity.encoded() == text(path))
        #expect(text(path).contains("\"\(identity.id)\""))
    }

    @Test func newOnesAreRead() throws {
        for seed in 0..<4 as Range<UInt8> {
            let identity = Identity(key: try IdentityKey(seed: Bytes(repeating: seed, count: 32)))
            let again = try Identity(document: Bytes(identity.encoded().utf8))
            #expect(again.id == identity.id && again.key.protobuf == identity.key.protobuf)
            #expect(identity.id.description.hasPrefix("12D3KooW"))
        }
    }

    @Test func wrongOnes() throws {
        let key = try Identity(document: Golden.bytes("config/identity-peer0.json")).key.base64
        let other = try Identity(document: Golden.bytes("config/identity-peer1.json")).id
        let cases = [
            (#"{"id":"x"}"#, "error decoding cluster ID: failed to parse peer ID: invalid cid: cid too short"),
            (#"{"id":"\#(other)","private_key":"!"}"#, "error decoding private_key: illegal base64 data"),
            (#"{"id":"\#(other)","private_key":"\#(key)"}"#, "identity ID does not match the private_key"),
            (#"{"id":3}"#, "json: cannot unmarshal id: it must be a string"),
        ]
        for (document, expected) in cases {
            #expect(throws: ConfigurationError(expected)) { try Identity(document: Bytes(document.utf8)) }
        }
        for document in ["", "{", "[]", #"{"id":"\#(other)"}"#] {
            #expect(throws: ConfigurationError.self) { try Identity(document: Bytes(document.utf8)) }
        }
    }

    /// CFG-213.
    @Test func environment() throws {
        let zero = try Identity(document: Golden.bytes("config/identity-peer0.json"))
        let one = try Identity(document: Golden.bytes("config/identity-peer1.json"))
        let both = ["CLUSTER_ID": one.id.description, "CLUSTER_PRIVATEKEY": one.key.base64]
        #expect(try zero.applying(environment: both).id == one.id && zero.applying(environment: [:]).id == zero.id)
        #expect(throws: ConfigurationError("identity ID does not match the private_key")) {
            try zero.applying(environment: ["CLUSTER_ID": one.id.description])
        }
    }
}

@Suite struct PeerstoreTests {
    @Test func recordedFile() throws {
        let peerstore = Peerstore(text: text("config/crdt-peers/peerstore"))
        #expect(peerstore.peers.count == 2 && peerstore.problems.isEmpty)
        #expect(peerstore.encoded() == text("config/crdt-peers/peerstore"))
    }

    @Test func toleratesWhatIsNoAddress() throws {
        let id = "12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv"
        let other = "12D3KooWSek8FhN3tyhmcKKdPSYAfxQQxAniZregJexSsFmwjELj"
        let peerstore = Peerstore(text: """
            # comment
            /ip4/1.1.1.1/tcp/1/p2p/\(id)\r

            /ip4/2.2.2.2/tcp/2/p2p/\(other)
            /bogus/x
            /ip4/3.3.3.3/tcp/3
            /ip4/1.1.1.1/tcp/1/ipfs/\(id)
            /dns4/a.example/tcp/4/p2p/\(id)
            """)
        #expect(peerstore.peers.map(\.id.description) == [id, other])
        #expect(peerstore.peers[0].addresses.map(\.description) == ["/ip4/1.1.1.1/tcp/1", "/dns4/a.example/tcp/4"])
        #expect(peerstore.problems.count == 2)
        // CFG-219: only the DNS addresses of a peer that has such, and not oneself.
        #expect(peerstore.encoded() == "/dns4/a.example/tcp/4/p2p/\(id)\n/ip4/2.2.2.2/tcp/2/p2p/\(other)\n")
        #expect(peerstore.encoded(without: peerstore.peers[0].id) == "/ip4/2.2.2.2/tcp/2/p2p/\(other)\n")
    }
}

@Suite struct FolderTests {
    @Test func filesAndModes() throws {
        let temporary = try TemporaryFolder()
        let folder = ConfigurationFolder(path: temporary.path + "/a/b/../b")
        let configuration = try InitCase("crdt").generated()
        let identity = try Identity(document: Golden.bytes("config/identity-peer0.json"))
        #expect(!folder.hasConfiguration && !folder.hasIdentity)
        try folder.save(configuration)
        try folder.save(identity)
        try folder.save(Peerstore(text: text("config/crdt-peers/peerstore")), configuration)
        #expect(folder.path == temporary.path + "/a/b" && folder.hasConfiguration && folder.hasIdentity)
        #expect(try temporary.get("a/b/service.json") == text("config/crdt/service.json"))
        #expect(try temporary.get("a/b/identity.json") == text("config/identity-peer0.json"))
        #expect(try [temporary.mode("a"), temporary.mode("a/b"), temporary.mode("a/b/service.json"), temporary.mode("a/b/identity.json")]
            == [0o700, 0o700, 0o600, 0o600])
        #expect(try temporary.mode("a/b/peerstore") & 0o600 == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["identity.json", "peerstore", "service.json"])
        let loaded = try load(folder, environment: ["CLUSTER_PEERNAME": "other"])
        #expect(loaded.identity.id == identity.id && loaded.configuration[.cluster].text("peername") == "other" && loaded.notice.isEmpty)
        #expect(try folder.loadPeerstore(loaded.configuration).peers.count == 2)
    }

    @Test func whatIsMissingOrBroken() throws {
        let temporary = try TemporaryFolder()
        let folder = ConfigurationFolder(path: temporary.path)
        #expect(throws: ConfigurationError("open \(temporary.path)/service.json: no such file or directory")) { try load(folder) }
        try folder.save(try InitCase("crdt").generated())
        try temporary.put(#"{"id":"x"}"#, in: "identity.json")
        #expect(throws: ConfigurationError(
            "error loading identity from \(temporary.path)/identity.json: error decoding cluster ID: failed to parse peer ID: invalid cid: cid too short")
        ) { try load(folder) }
        try temporary.put("", in: "file")
        #expect(throws: ConfigurationError.self) { try ConfigurationFolder(path: temporary.path + "/file/x").create() }
    }

    /// CFG-214.
    @Test func identitiesOfOldFilesAreMovedOut() throws {
        let temporary = try TemporaryFolder()
        let folder = ConfigurationFolder(path: temporary.path)
        let identity = try Identity(document: Golden.bytes("config/identity-peer0.json"))
        try temporary.put(
            #"{"cluster": {"id": "\#(identity.id)", "private_key": "\#(identity.key.base64)", "listen_multiaddress": "/ip4/1.1.1.1/tcp/1"}}"#,
            in: "service.json")
        let loaded = try load(folder)
        #expect(loaded.identity.id == identity.id)
        #expect(loaded.notice == "\nNOTICE: identity information extracted from \(folder.servicePath) and saved as \(folder.identityPath).\n\n")
        #expect(try temporary.get("identity.json") == text("config/identity-peer0.json"))
        #expect(try load(folder).notice.isEmpty)
        try FileManager.default.removeItem(atPath: folder.identityPath)
        try temporary.put(#"{"cluster": {"listen_multiaddress": "/ip4/1.1.1.1/tcp/1"}}"#, in: "service.json")
        #expect(throws: ConfigurationError(
            "error loading identity: error decoding cluster ID: failed to parse peer ID: invalid cid: cid too short")) { try load(folder) }
    }

    /// CLI-068..070.
    @Test func onePeerAtATime() throws {
        let temporary = try TemporaryFolder()
        let folder = ConfigurationFolder(path: temporary.path + "/new")
        func locked() -> String? {
            do { _ = try folder.lock() } catch { return error.description }
            return nil
        }
        var lock: FolderLock? = try folder.lock()
        #expect(FileManager.default.fileExists(atPath: folder.lockPath))
        #expect(locked() == "lock \(folder.lockPath): someone else has the lock")
        withExtendedLifetime(lock) {}
        lock = nil
        #expect(!FileManager.default.fileExists(atPath: folder.lockPath))
        try temporary.put("", in: "new/cluster.lock")
        #expect(locked() == nil)
        try temporary.put("held", in: "new/cluster.lock")
        #expect(locked() == "cannot acquire lock: can't Lock file \"\(folder.lockPath)\": has non-zero size")
    }
}
