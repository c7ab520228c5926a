// Reading service.json, or the document that it points to. CFG-006..013, CFG-035..047.

import Encoding
import Kernel
import Multiformats

/// The answer to a GET of a source. Redirects have been followed.
package struct FetchedSource: Sendable {
    package let status: Int
    package let body: Bytes
    package init(status: Int, body: Bytes) { self.status = status; self.body = body }
}

extension ServiceConfiguration {
    /// Reads a document, following its `source` by `fetch`, which is nil where nothing could be reached. The environment is
    /// not applied yet (CFG-012).
    package init(
        document: Bytes, hostName: String, fetch: (_ url: String) throws -> FetchedSource?
    ) throws {
        var json = try ServiceConfiguration.parsed(document)
        var source = ""
        while let url = try ServiceConfiguration.source(of: json) {
            guard let answer = try fetch(url) else {
                throw ConfigurationError("could not fetch configuration from source: \(url)")
            }
            guard answer.status < 300 else {
                let body = String(decoding: answer.body, as: UTF8.self)
                throw ConfigurationError("unsuccessful request (\(answer.status)): \(body)")
            }
            guard source.isEmpty else { throw ConfigurationError("a sourced configuration cannot point to another source") }
            source = url
            json = try ServiceConfiguration.parsed(answer.body)
        }
        try self.init(json: json, hostName: hostName)
        self.source = source
    }

    private static func parsed(_ document: Bytes) throws(ConfigurationError) -> JSON {
        let json: JSON
        do throws(JSONError) { json = try JSONReader.parse(document) } catch { throw ConfigurationError(error.description) }
        if json == .null { return .object([]) }
        guard case .object = json else { throw ConfigurationError("json: cannot unmarshal the document: it must be an object") }
        return json
    }

    private static func source(of json: JSON) throws(ConfigurationError) -> String? {
        guard let value = json["source"], value != .null else { return nil }
        guard let text = value.text else { throw ConfigurationError("json: cannot unmarshal source: it must be a string") }
        return text.isEmpty ? nil : text
    }

    private init(json: JSON, hostName: String) throws(ConfigurationError) {
        self.init(hostName: hostName)
        for section in Section.allCases {
            guard let content = json[section.rawValue], content != .null else { continue }
            guard case .object(let members) = content else {
                throw ConfigurationError("json: cannot unmarshal \(section.rawValue): it must be an object")
            }
            if section == .cluster { try read(content, as: .cluster) } else { try read(members, of: section) }
        }
        // CFG-040
        guard present.contains(.cluster) else {
            throw ConfigurationError("cluster section failed to validate: cluster.listen_multiaddress is undefined")
        }
        if present.contains(.ipfshttp) && present.contains(.embedded) {
            throw ConfigurationError("ipfs_connector can have one of ipfshttp and embedded, not both")
        }
    }

    /// Component names are matched exactly; the last of equal names counts.
    private mutating func read(_ members: [JSON.Member], of section: Section) throws(ConfigurationError) {
        for (index, member) in members.enumerated() {
            let isLast = !members[(index + 1)...].contains { $0.name == member.name }
            guard isLast else { continue }
            if let name = ComponentName(rawValue: member.name), name.section == section, name != .cluster {
                if member.value != .null { try read(member.value, as: name) }
            } else {
                unknown[section, default: []].append(member)
            }
        }
    }

    private mutating func read(_ json: JSON, as name: ComponentName) throws(ConfigurationError) {
        guard case .object = json else {
            throw ConfigurationError("json: cannot unmarshal \(name.rawValue): it must be an object")
        }
        var values = self[name]
        for (index, key) in name.component.keys.enumerated() {
            let steps = key.steps
            var place: JSON? = json
            if steps.count > 1 {
                // An object that is not there leaves its defaults.
                guard let outer = json[steps[0]], outer != .null else { continue }
                guard case .object = outer else {
                    throw ConfigurationError("json: cannot unmarshal \(name.rawValue).\(steps[0]): it must be an object")
                }
                place = outer
            }
            let written = try key.raw(place?[steps[steps.count - 1]], in: name)
            if written == nil && key.zero == .countsIfWritten { continue }
            if let settled = try key.settled(written ?? key.kind.zeroValue, in: name, warn: { note($0, name) }) {
                values.values[index] = settled
            }
        }
        try values.check()
        components[name] = values
        present.insert(name)
    }
}
