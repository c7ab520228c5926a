// The files that upstream's init writes, byte for byte, and its recorded configurations, read.

import Configuration
import Encoding
import Kernel
import Multiformats
import TestSupport
import Testing

/// One recorded invocation of `init`.
struct InitCase: CustomStringConvertible, Sendable {
    let name: String
    let arguments: [String]
    let environment: [String: String]
    var description: String { name }

    init(_ name: String) throws {
        let json = try JSONReader.parse(Golden.bytes("config/\(name)/case.json"))
        self.name = name
        arguments = (json["args"]?.elements ?? []).compactMap(\.text)
        var environment: [String: String] = [:]
        if case .object(let members)? = json["env"] { for member in members { environment[member.name] = member.value.text } }
        self.environment = environment
    }

    func value(of flag: String) -> String? {
        arguments.firstIndex(of: flag).map { arguments[$0 + 1] }
    }

    func generated() throws -> ServiceConfiguration {
        var configuration = ServiceConfiguration(
            generatedFor: value(of: "--consensus").flatMap(Consensus.init) ?? .crdt,
            datastore: value(of: "--datastore").flatMap(Datastore.init) ?? .pebble,
            secret: Bytes(repeating: 7, count: 32), hostName: "host")
        try configuration.apply(environment: environment)
        if let peers = value(of: "--peers") {
            try configuration.setPeers(peers.split(separator: ",").map { try #require(try Multiaddr(text: String($0)).peerID) })
        }
        if let source = arguments.last, source.hasPrefix("http") { configuration.source = source }
        return configuration
    }
}

let initCases = [
    "crdt", "crdt-badger", "crdt-badger3-env", "crdt-env", "crdt-leveldb", "crdt-peers", "raft", "raft-env", "source",
]
let clusterFiles = ["auth1/peer0", "crdt1/peer0", "crdt2/peer0", "crdt2/peer1", "down1/peer0", "raft1/peer0"]

func read(_ document: String, hostName: String = "host") throws -> ServiceConfiguration {
    try ServiceConfiguration(document: Bytes(document.utf8), hostName: hostName) { url in
        Issue.record("asked for \(url)")
        return nil
    }
}

func text(_ golden: String) -> String { String(decoding: Golden.bytes(golden), as: UTF8.self) }

@Suite struct GoldenTests {
    @Test(arguments: initCases) func generatedAsUpstreamDoes(_ name: String) throws {
        let lines = try InitCase(name).generated().encoded().split(separator: "\n", omittingEmptySubsequences: false)
        let expected = text("config/\(name)/service.json").split(separator: "\n", omittingEmptySubsequences: false)
        for (index, (line, other)) in zip(lines, expected).enumerated() where line != other {
            Issue.record("line \(index + 1): \(line) instead of \(other)")
        }
        #expect(lines.count == expected.count)
    }

    @Test(arguments: initCases.filter { $0 != "source" }) func readAndWrittenAgain(_ name: String) throws {
        let path = "config/\(name)/service.json"
        #expect(try read(text(path)).encoded() == text(path))
    }

    /// These were edited by a tool that writes lists of one as lists.
    @Test(arguments: clusterFiles) func recordedClustersAreUnderstood(_ name: String) throws {
        let configuration = try read(text("config/clusters/\(name)/service.json"))
        let lines = text("config/clusters/\(name)/service.json").replacing(
            /(multiaddress": )\[\s*("[^"]*")\s*\]/, with: { "\($0.1)\($0.2)" })
        #expect(configuration.encoded() == lines)
        #expect(try configuration.consensus() == (name.hasPrefix("raft") ? .raft : .crdt))
    }

    @Test func environmentOfTheRecordedCasesReachesTheValues() throws {
        let configuration = try InitCase("crdt-env").generated()
        #expect(configuration[.cluster].flag("leave_on_shutdown") && configuration[.cluster].int("replication_factor_max") == 3)
        #expect(configuration[.restapi].addresses("http_listen_multiaddress").map(\.description)
            == ["/ip4/127.0.0.1/tcp/9194", "/ip6/::1/tcp/9194"])
        #expect(configuration[.restapi].map("basic_auth_credentials") == [Value.Named("alice", "secret")])
        #expect(configuration[.tags].map("tags") == [Value.Named("group", "a"), Value.Named("region", "eu")])
        #expect(configuration[.ipfshttp].span("pin_timeout") == .minutes(90))
    }
}
