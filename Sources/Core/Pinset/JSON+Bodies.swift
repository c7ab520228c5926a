// The bodies that are no part of the vocabulary proper. REST-179, REST-184..187.

import Encoding
import Kernel
import Multiformats

extension AddedOutput: JSONCodable {
    /// Bytes, size and allocations are left out when they say nothing.
    package var json: JSON {
        var members = [JSON.Member("name", name.json), JSON.Member("cid", cid)]
        if bytes > 0 { members.append(.init("bytes", bytes)) }
        if size > 0 { members.append(.init("size", size)) }
        if !allocations.isEmpty { members.append(.init("allocations", allocations)) }
        return .object(members)
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("an added entry")
        self.init(name: "")
        try json.read("name", into: &name)
        try json.read("cid", into: &cid)
        try json.read("bytes", into: &bytes)
        try json.read("size", into: &size)
        try json.read("allocations", into: &allocations)
    }
}

/// The answer to a request that failed; `code` repeats the HTTP status (REST-042).
package struct ErrorBody: Hashable, Sendable, JSONCodable {
    package var code: Int
    package var message: String
    package init(code: Int, message: String) { self.code = code; self.message = message }
    package var json: JSON { .object([.init("code", code), .init("message", message)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("an error")
        self.init(code: 0, message: "")
        try json.read("code", into: &code)
        try json.read("message", into: &message)
    }
}

/// The answer of `/token`.
package struct TokenBody: Hashable, Sendable, JSONCodable {
    package var token: String
    package init(token: String) { self.token = token }
    package var json: JSON { .object([.init("token", token)]) }
    package init(json: JSON) throws(FormError) {
        self.init(token: try json.object("a token").require("token"))
    }
}

/// The request of `POST /peers`. The ID is read by whoever answers, because its fault has a text of its own (REST-050).
package struct PeerAddBody: Hashable, Sendable, JSONCodable {
    package var peerID: String
    package init(peerID: String) { self.peerID = peerID }
    package var json: JSON { .object([.init("peer_id", peerID)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a peer to add")
        self.init(peerID: "")
        try json.read("peer_id", into: &peerID)
    }
}

extension VersionReply: JSONCodable {
    package var json: JSON { .object([.init("version", version)]) }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a version")
        self.init(version: "")
        try json.read("version", into: &version)
    }
}
