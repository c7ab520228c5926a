// `init`: makes a configuration folder. CLI-021..035.

import CommandLine
import Configuration
import Encoding
import Kernel
import Multiformats
import Seams

struct InitCommand {
    let world: ServiceWorld
    let folder: ConfigurationFolder
    let levels: LogLevels

    /// In upstream's order of effects (CLI-029).
    func run(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let flags = invocation.flags
        let source = invocation.arguments.first ?? ""
        var configuration = try generated(flags)
        let hadIdentity = folder.hasIdentity
        var lock: FolderLock?
        if folder.hasConfiguration || hadIdentity { lock = try lockFolder(folder) }
        defer { withExtendedLifetime(lock) {} }
        if folder.hasConfiguration, !flags.bool("force"),
            !confirms("The configuration file will be overwritten. Continue? [y/n]:", world) { return 0 }

        configuration.source = source
        if flags.bool("randomports") {
            try doing("randomizing ports") {
                try configuration.mapListeners { try randomized($0, world.freePort) }
            }
        }
        try doing("applying environment variables to configuration") { try configuration.apply(environment: world.environment, isNew: true) }
        if flags.bool("custom-secret") && invocation.arguments.isEmpty { configuration.setSecret(try askedSecret()) }
        let addresses = try peerAddresses(flags.string("peers"))
        if !addresses.isEmpty { configuration.setPeers(peers(of: addresses)) }

        for warning in configuration.warnings { log(.warning, warning.component, warning.message) }
        log(.info, "config", "Saving configuration")
        try doing("saving default configuration") { try folder.save(configuration) }
        world.printError("configuration written to \(folder.servicePath).\n")
        if !hadIdentity { try makeIdentity() }
        try writePeerstore(addresses, configuration)
        return 0
    }

    private func generated(_ flags: FlagValues) throws(CommandFailure) -> ServiceConfiguration {
        guard let consensus = Consensus(rawValue: flags.string("consensus")) else {
            throw CommandFailure("choosing consensus", "flag value must be set to 'raft' or 'crdt'")
        }
        guard let datastore = Datastore(rawValue: flags.string("datastore")) else {
            throw CommandFailure("choosing datastore", "flag value must be set to 'leveldb', 'badger', 'badger3' or 'pebble'")
        }
        return ServiceConfiguration(
            generatedFor: consensus, datastore: datastore, hasEmbeddedIPFS: flags.bool("embedded-ipfs"),
            secret: world.randomBytes(32), hostName: world.hostName)
    }

    private func askedSecret() throws(CommandFailure) -> Bytes? {
        world.printOut("Enter cluster secret (32-byte hex string): ")
        let line = world.readLine() ?? ""
        let secret = try doing("parsing user-provided secret") { try decodeClusterSecret(line) }
        if secret == nil { log(.warning, "cluster", "Cluster secret is empty, cluster will start on unprotected network.") }
        return secret
    }

    private func peerAddresses(_ text: String) throws(CommandFailure) -> [Multiaddr] {
        guard !text.isEmpty else { return [] }
        var addresses: [Multiaddr] = []
        for word in text.split(separator: ",", omittingEmptySubsequences: false).map({ trimmed(String($0)) }) {
            addresses.append(try address(word, doing: "parsing peer multiaddress: \(word)"))
        }
        return addresses
    }

    /// Each once; an address without a peer names none.
    private func peers(of addresses: [Multiaddr]) -> [PeerID] {
        var peers: [PeerID] = []
        for peer in addresses.compactMap(\.peerID) where !peers.contains(peer) { peers.append(peer) }
        return peers
    }

    private func makeIdentity() throws(CommandFailure) {
        var identity = try doing("generating an identity") { Identity(key: try IdentityKey(seed: world.randomBytes(32))) }
        identity = try doing("applying environment variables to the identity") {
            try identity.applying(environment: world.environment)
        }
        log(.info, "config", "Saving identity")
        try doing("saving identity.json") { try folder.save(identity) }
        world.printError("new identity written to \(folder.identityPath)\n")
    }

    /// CLI-030, CLI-031, CLI-033: with a source URL none is written, and the message says so oddly.
    private func writePeerstore(_ addresses: [Multiaddr], _ configuration: ServiceConfiguration) throws(CommandFailure) {
        let known = try doing("getting AddrInfos from peer multiaddresses") { try KnownPeer.grouped(addresses) }
        let path = configuration.source.isEmpty ? folder.peerstorePath(configuration) : ""
        if configuration.source.isEmpty {
            try doing("saving peers to peerstore") { try folder.save(Peerstore(peers: known), configuration) }
        }
        world.printError(
            addresses.isEmpty
                ? "new empty peerstore written to \(path).\n" : "peerstore written to \(path) with \(addresses.count) entries.\n")
    }

    private func log(_ level: LogLevel, _ component: String, _ message: String) {
        world.log(LogLine(level, component, message), levels)
    }
}

/// CLI-044.
package func lockFolder(_ folder: ConfigurationFolder) throws(CommandFailure) -> FolderLock {
    do throws(ConfigurationError) { return try folder.lock() } catch {
        throw CommandFailure(
            "obtaining execution lock",
            "\(error). If no other ipfs-cluster-service process is running, remove \(folder.lockPath), or make sure "
                + "that the config folder is writable for the user running ipfs-cluster-service.")
    }
}

/// CLI-028.
package func confirms(_ question: String, _ world: ServiceWorld) -> Bool {
    for _ in 0..<3 {
        world.printOut(question + " ")
        switch world.readLine()?.split(whereSeparator: \.isWhitespace).first {
        case "y", "Y": return true
        case "n", "N", nil: return false
        default: world.printOut("Please press either 'y' or 'n'\n")
        }
    }
    return false
}

/// The address with a free port in place of each of its TCP and UDP ports (CLI-026).
func randomized(_ address: Multiaddr, _ freePort: (Bytes, Bool) throws -> UInt16) throws -> Multiaddr {
    let parts = address.components
    var text = ""
    for (index, part) in parts.enumerated() {
        guard ["tcp", "udp"].contains(part.scheme.name) else { text += Multiaddr([part]).description; continue }
        guard index > 0, ["ip4", "ip6"].contains(parts[index - 1].scheme.name) else {
            throw ConfigurationError("no IP stands before the port in \(address)")
        }
        text += "/\(part.scheme.name)/\(try freePort(parts[index - 1].value, part.scheme.name == "udp"))"
    }
    return try Multiaddr(text: text)
}
