// identity.json: who this peer is. CFG-208..215.

import Encoding
import Kernel
import Multiformats

package struct Identity: Sendable {
    package let key: IdentityKey
    package var id: PeerID { key.peerID }

    package init(key: IdentityKey) { self.key = key }

    package init(document: Bytes) throws(ConfigurationError) {
        let json: JSON
        do throws(JSONError) { json = try JSONReader.parse(document) } catch { throw ConfigurationError(error.description) }
        try self.init(json: json)
    }

    /// An object with `id` and `private_key`: the file, or the cluster section of an old service.json (CFG-214).
    init(json: JSON) throws(ConfigurationError) {
        guard case .object = json else { throw ConfigurationError("json: cannot unmarshal the identity: it must be an object") }
        try self.init(id: try Identity.text(json, "id"), privateKey: try Identity.text(json, "private_key"))
    }

    private static func text(_ json: JSON, _ name: String) throws(ConfigurationError) -> String {
        guard let value = json[name], value != .null else { return "" }
        guard let text = value.text else { throw ConfigurationError("json: cannot unmarshal \(name): it must be a string") }
        return text
    }

    private init(id: String, privateKey: String) throws(ConfigurationError) {
        let named: PeerID
        do throws(MultiformatError) { named = try PeerID(text: id) } catch {
            throw ConfigurationError("error decoding cluster ID: \(peerFailure(id, error))")
        }
        guard let bytes = decodeBase64(privateKey) else {
            throw ConfigurationError("error decoding private_key: illegal base64 data")
        }
        do throws(MultiformatError) { key = try IdentityKey(protobuf: bytes) } catch {
            throw ConfigurationError("error parsing private_key ID: \(reason(error))")
        }
        guard key.peerID == named else { throw ConfigurationError("identity ID does not match the private_key") }
    }

    /// CFG-213: the two variables must match each other, or what they leave.
    package func applying(environment: [String: String]) throws(ConfigurationError) -> Identity {
        guard environment["CLUSTER_ID"] != nil || environment["CLUSTER_PRIVATEKEY"] != nil else { return self }
        return try Identity(
            id: environment["CLUSTER_ID"] ?? id.description, privateKey: environment["CLUSTER_PRIVATEKEY"] ?? key.base64)
    }

    /// The file (CFG-208).
    package func encoded() -> String {
        JSON.object(["id": .string(id.description), "private_key": .string(key.base64)]).encoded(indent: 4)
    }
}
