// A peer's configuration folder: its files and their places. spec/config.md 12 to 14.

import Encoding
import Foundation
import Kernel
import Multiformats

package struct ConfigurationFolder: Sendable {
    /// Absolute.
    package let path: String

    /// A relative path is relative to the working directory.
    package init(path: String) {
        self.path = URL(fileURLWithPath: path).standardizedFileURL.path
    }

    package var servicePath: String { path + "/service.json" }
    package var identityPath: String { path + "/identity.json" }
    package var lockPath: String { path + "/cluster.lock" }
    package func peerstorePath(_ configuration: ServiceConfiguration) -> String {
        let name = configuration[.cluster].text("peerstore_file")
        return resolved(name.isEmpty ? "peerstore" : name)
    }

    /// CFG-015. An empty path stays empty.
    package func resolved(_ file: String) -> String { file.isEmpty || file.hasPrefix("/") ? file : path + "/" + file }

    package var hasConfiguration: Bool { Files.exists(servicePath) }
    package var hasIdentity: Bool { Files.exists(identityPath) }

    package func create() throws(ConfigurationError) { try Files.makeFolder(path) }
    /// Held until the lock is released. Makes the folder.
    package func lock() throws(ConfigurationError) -> FolderLock {
        try create()
        return try FolderLock(folder: path)
    }

    // MARK: Reading

    package struct Loaded: Sendable {
        package var configuration: ServiceConfiguration
        package var identity: Identity
        /// For stderr, as it is.
        package var notice = ""
    }

    /// Configuration and identity with the environment applied (CFG-012, CFG-213).
    package func load(
        environment: [String: String], hostName: String, fetch: (_ url: String) throws -> FetchedSource?
    ) throws -> Loaded {
        let configuration = try loadConfiguration(environment: environment, hostName: hostName, fetch: fetch)
        var notice = ""
        var identity: Identity
        if hasIdentity {
            do throws(ConfigurationError) { identity = try Identity(document: try Files.read(identityPath)) } catch {
                throw ConfigurationError("error loading identity from \(identityPath): \(error)")
            }
        } else {
            identity = try extractIdentity()
            notice = "\nNOTICE: identity information extracted from \(servicePath) and saved as \(identityPath).\n\n"
        }
        do throws(ConfigurationError) { identity = try identity.applying(environment: environment) } catch {
            throw ConfigurationError("error applying environment variables to the identity: \(error)")
        }
        return Loaded(configuration: configuration, identity: identity, notice: notice)
    }

    package func loadConfiguration(
        environment: [String: String], hostName: String, fetch: (_ url: String) throws -> FetchedSource?
    ) throws -> ServiceConfiguration {
        var configuration = try ServiceConfiguration(
            document: try Files.read(servicePath), hostName: hostName, fetch: fetch)
        try configuration.apply(environment: environment)
        return configuration
    }

    /// CFG-214: identities once stood in service.json.
    private func extractIdentity() throws(ConfigurationError) -> Identity {
        let document = try Files.read(servicePath)
        let identity: Identity
        do throws(ConfigurationError) {
            let json: JSON
            do throws(JSONError) { json = try JSONReader.parse(document) } catch { throw ConfigurationError(error.description) }
            identity = try Identity(json: json["cluster"] ?? .object([]))
        } catch { throw ConfigurationError("error loading identity: \(error)") }
        do throws(ConfigurationError) { try save(identity) } catch { throw ConfigurationError("error saving identity: \(error)") }
        return identity
    }

    /// Empty where there is no file.
    package func loadPeerstore(_ configuration: ServiceConfiguration) throws(ConfigurationError) -> Peerstore {
        let path = peerstorePath(configuration)
        guard Files.exists(path) else { return Peerstore(peers: []) }
        return Peerstore(text: String(decoding: try Files.read(path), as: UTF8.self))
    }

    /// Where upstream's program keeps a pinset (CFG-226), which nothing here can read, and has written after the peer whose folder
    /// `own` is has run, or while that has nothing at all: a run alone brings no pins.
    package func unreadPinset(
        _ configuration: ServiceConfiguration, in datastore: Datastore, own: String, isEmpty: @autoclosure () -> Bool
    ) -> String? {
        let folder = resolved(configuration[datastore.component].text("folder"))
        guard let written = Files.lastWritten(in: folder) else { return nil }
        return written > Files.lastWritten(in: resolved(own)) ?? .distantPast || isEmpty() ? folder : nil
    }

    // MARK: Writing

    /// A peer has run, and what upstream's program wrote before is no news, even if nothing has been written since.
    package func noteRun(own: String) { Files.touch(resolved(own)) }

    package func save(_ configuration: ServiceConfiguration) throws(ConfigurationError) {
        try configuration.checkReals()
        try create()
        try Files.write(configuration.encoded(), to: servicePath, mode: 0o600)
    }
    package func save(_ identity: Identity) throws(ConfigurationError) {
        try create()
        try Files.write(identity.encoded(), to: identityPath, mode: 0o600)
    }
    /// `configuration` says where; `me` is left out.
    package func save(
        _ peerstore: Peerstore, _ configuration: ServiceConfiguration, without me: PeerID? = nil
    ) throws(ConfigurationError) {
        try Files.write(peerstore.encoded(without: me), to: peerstorePath(configuration), mode: 0o666)
    }
}
