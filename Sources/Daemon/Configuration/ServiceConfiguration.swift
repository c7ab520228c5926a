// service.json: all components with their values, and which of them the file has. spec/config.md 1.

import Encoding
import Kernel
import Multiformats

package enum Consensus: String, CaseIterable, Sendable { case crdt, raft }
package enum Datastore: String, CaseIterable, Sendable {
    case badger, badger3, leveldb, pebble
    var component: ComponentName { ComponentName(rawValue: rawValue)! }
}

package struct ServiceConfiguration: Sendable {
    /// CFG-035: where the configuration really is.
    package var source = ""
    /// What was wrong and tolerated: the logger's name and the words.
    package internal(set) var warnings: [LogWarning] = []

    var components: [ComponentName: ComponentValues] = [:]
    /// Components that the file has, or that are generated.
    var present: Set<ComponentName> = []
    /// CFG-007: kept when the file is written again.
    var unknown: [Section: [JSON.Member]] = [:]

    package struct LogWarning: Equatable, Sendable {
        package let component: String
        package let message: String
    }

    /// Defaults for every component; none is in the file.
    init(hostName: String) {
        for name in ComponentName.allCases { components[name] = ComponentValues(name) }
        components[.cluster]?.set("peername", .text(hostName))
    }

    package subscript(_ name: ComponentName) -> ComponentValues {
        guard let values = components[name] else { unreachable("every component has values") }
        return values
    }

    /// Whether the file has it: APIs and informers that it has not are off (CFG-043, CFG-044).
    package func isPresent(_ name: ComponentName) -> Bool { present.contains(name) }

    // MARK: Generating (CFG-005)

    /// What `init` starts from.
    package init(
        generatedFor consensus: Consensus, datastore: Datastore, hasEmbeddedIPFS: Bool = false, secret: Bytes, hostName: String
    ) {
        invariant(secret.count == 32, "a cluster secret has 32 bytes")
        self.init(hostName: hostName)
        components[.cluster]?.set("secret", .text(hex(secret)))
        for name in ComponentName.allCases {
            switch name.section {
            case .consensus: if name.rawValue == consensus.rawValue { present.insert(name) }
            case .datastore: if consensus == .crdt && name.rawValue == datastore.rawValue { present.insert(name) }
            case .ipfsConnector: if (name == .embedded) == hasEmbeddedIPFS { present.insert(name) }
            default: present.insert(name)
            }
        }
    }

    /// `init --custom-secret`; nil for none.
    package mutating func setSecret(_ secret: Bytes?) {
        components[.cluster]?.set("secret", .text(secret.map { hex($0) } ?? ""))
    }

    /// `init --peers`: whom to trust, or whom to start with (CLI-024).
    package mutating func setPeers(_ peers: [PeerID]) {
        components[.crdt]?.set("trusted_peers", .texts(peers.map(\.description)))
        components[.raft]?.set("init_peerset", .texts(peers.map(\.description)))
    }

    /// `init --randomports`: the listeners of the cluster and the APIs (CLI-026).
    package mutating func mapListeners<E: Error>(_ change: (Multiaddr) throws(E) -> Multiaddr) throws(E) {
        let listeners: [(ComponentName, String)] = [
            (.cluster, "listen_multiaddress"), (.restapi, "http_listen_multiaddress"), (.ipfsproxy, "listen_multiaddress"),
            (.pinsvcapi, "http_listen_multiaddress"),
        ]
        for (name, path) in listeners {
            var changed: [Multiaddr] = []
            for address in self[name].addresses(path) { changed.append(try change(address)) }
            components[name]?.set(path, .addresses(changed))
        }
    }

    // MARK: Environment (CFG-025..033)

    /// Applies `CLUSTER_*` variables to every component, those that the file does not have included, unless it is being made:
    /// then what was not chosen is not looked at.
    package mutating func apply(environment: [String: String], isNew: Bool = false) throws(ConfigurationError) {
        for name in ComponentName.allCases where name != .cluster && (!isNew || isPresent(name)) { try apply(environment, to: name) }
        try apply(environment, to: .cluster)
    }

    private mutating func apply(_ environment: [String: String], to name: ComponentName) throws(ConfigurationError) {
        let component = name.component
        var values = self[name]
        for (index, key) in component.keys.enumerated() {
            if case .objects = key.kind { continue }
            let variable = component.environmentPrefix + key.environmentSuffix
            guard let text = environment[variable] else { continue }
            let raw = try key.raw(environment: text, name: variable)
            if let settled = try key.settled(raw, in: name, warn: { note($0, name) }) { values.values[index] = settled }
        }
        try values.check()
        components[name] = values
    }

    mutating func note(_ message: String, _ name: ComponentName) {
        warnings.append(LogWarning(component: name.rawValue, message: message))
    }

    // MARK: Questions

    /// CFG-041.
    package func consensus() throws(ConfigurationError) -> Consensus {
        let found = Consensus.allCases.filter { isPresent(ComponentName(rawValue: $0.rawValue)!) }
        guard found.count == 1 else { throw ConfigurationError("could not determine the consensus component") }
        return found[0]
    }

    /// CFG-042.
    package func datastore() throws(ConfigurationError) -> Datastore {
        let found = Datastore.allCases.filter { isPresent($0.component) }
        guard found.count == 1 else { throw ConfigurationError("unknown datastore") }
        return found[0]
    }

    /// Nil for no private network.
    package var secret: Bytes? {
        let secret = bytes(hex: self[.cluster].text("secret")) ?? []
        return secret.isEmpty ? nil : secret
    }

    // MARK: Writing

    /// The file, byte for byte as upstream writes it (CFG-001).
    package func encoded() -> String {
        if !source.isEmpty { return JSON.object(["source": .string(source)]).encoded(indent: 2) }
        return document { name in self[name].json(hidesSecrets: false) }.encoded(indent: 2)
    }

    /// JSON has numbers only.
    func checkReals() throws(ConfigurationError) {
        for name in ComponentName.allCases where isPresent(name) {
            for value in self[name].values {
                let reals: [Double] = switch value {
                case .real(let one): [one]
                case .reals(let many): many ?? []
                default: []
                }
                guard let odd = reals.first(where: { !$0.isFinite }) else { continue }
                throw ConfigurationError("json: unsupported value: \(odd.isNaN ? "NaN" : odd > 0 ? "+Inf" : "-Inf")")
            }
        }
    }

    /// CFG-014: for logs. Keys that the file leaves out are there; secrets are not.
    package func encodedForDisplay() -> String { document { name in self[name].json(hidesSecrets: true) }.encoded(indent: 2) }

    private func document(_ json: (ComponentName) -> JSON) -> JSON {
        var members: [JSON.Member] = []
        for section in Section.allCases {
            let names = ComponentName.allCases.filter { $0.section == section && present.contains($0) }
            if section == .cluster {
                if names == [.cluster] { members.append(JSON.Member(section.rawValue, json(.cluster))) }
                continue
            }
            let entries = names.map { JSON.Member($0.rawValue, json($0)) } + (unknown[section] ?? [])
            guard !entries.isEmpty else { continue }
            members.append(JSON.Member(section.rawValue, .object(entries.sorted { precedes($0.name.utf8, $1.name.utf8) })))
        }
        return .object(members)
    }
}

extension ComponentValues {
    func json(hidesSecrets: Bool) -> JSON {
        var members: [JSON.Member] = []
        for (key, value) in zip(name.component.keys, values) {
            let isShown = key.isShown(value)
            guard isShown || hidesSecrets else { continue }
            var json = isShown ? key.json(value) : key.json(key.kind.zeroValue)
            if hidesSecrets && key.isHidden { json = .string("XXX_hidden_XXX") }
            let steps = key.steps
            if steps.count == 1 {
                members.append(JSON.Member(key.path, json))
            } else if members.last?.name == steps[0], case .object(let inner)? = members.last?.value {
                members[members.count - 1] = JSON.Member(steps[0], .object(inner + [JSON.Member(steps[1], json)]))
            } else {
                members.append(JSON.Member(steps[0], .object([JSON.Member(steps[1], json)])))
            }
        }
        return .object(members)
    }
}
