// Paths of content: /ipfs/<cid>/…, /ipld/<cid>/…, /ipns/<name>/…, or a bare CID. IPFS-50, IPFS-51.

import Kernel
import Multiformats

package struct ContentPath: Equatable, Sendable, CustomStringConvertible {
    package enum Root: Equatable, Sendable {
        case immutable(namespace: String, CID)
        case name(String)
    }
    package let root: Root
    /// Names below the root.
    package let names: [String]
    private let isSlashed: Bool

    package init(_ text: String) throws(FormError) {
        do { self = try ContentPath(full: text) } catch { self = try ContentPath(full: "/ipfs/" + text) }
    }

    /// Without the second attempt, which takes a bare CID.
    package init(full text: String) throws(FormError) {
        let parts = ContentPath.cleaned(text)
        guard text.hasPrefix("/"), parts.count >= 2 else {
            throw ContentPath.invalid(text, "path does not have enough components")
        }
        names = Array(parts[2...])
        isSlashed = text.hasSuffix("/")
        switch parts[0] {
        case "ipfs", "ipld":
            do { root = .immutable(namespace: parts[0], try CID(text: parts[1])) } catch {
                throw ContentPath.invalid(text, error.aboutCID)
            }
        case "ipns": root = .name(parts[1])
        default: throw ContentPath.invalid(text, "unknown namespace: \"\(parts[0])\"")
        }
    }

    private static func invalid(_ text: String, _ reason: String) -> FormError {
        FormError("invalid path \"\(text)\": \(reason)")
    }

    private static func cleaned(_ text: String) -> [String] {
        var parts: [String] = []
        for part in text.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(String(part)) }
        }
        return parts
    }

    package var description: String {
        let head =
            switch root {
            case .immutable(let namespace, let cid): [namespace, cid.description]
            case .name(let name): ["ipns", name]
            }
        return "/" + (head + names).joined(separator: "/") + (isSlashed ? "/" : "")
    }
}
