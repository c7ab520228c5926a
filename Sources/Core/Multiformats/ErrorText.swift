// What is wrong with a name, in the words that upstream's API answers.

import Kernel

extension MultiformatError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .empty: "multihash too short. must be >= 2 bytes"
        case .truncated: "varints malformed, could not reach the end"
        case .badText(let text), .badMultihash(let text), .badKey(let text), .badMultiaddr(let text), .badRecord(let text): text
        case .badVersion(let version): "expected 1 as the cid version number, got: \(version)"
        }
    }

    /// For a text that was to be a CID. Faults below the base encoding are wrapped twice (REST-054).
    package var aboutCID: String {
        if case .badText(let text) = self { return text.hasPrefix("invalid cid: ") ? text : "invalid cid: " + text }
        return "invalid cid: invalid cid: \(self)"
    }

    /// For a text that was to be a peer ID (REST-051).
    package func aboutPeer(_ text: String) -> String {
        if text.hasPrefix("Qm") || text.hasPrefix("1") { return "failed to parse peer ID: \(self)" }
        if case .badText(let reason) = self, reason.hasPrefix("can't convert") { return reason }
        return "failed to parse peer ID: \(aboutCID)"
    }
}
