// Seeds, out of the recorded vectors of upstream.

import Encoding
import Kernel
import TestSupport

enum Seeds {
    private static func lines(_ name: String) -> [JSON] {
        guard let lines = try? Golden.lines(name) else { fatalError("\(name) cannot be read") }
        return lines
    }
    static func text(_ json: JSON?) -> String? { if case .string(let text)? = json { text } else { nil } }

    /// A member of hex digits, of all cases of a file or of one kind.
    static func hex(_ file: String, _ member: String, kind: String? = nil) -> [Bytes] {
        lines("vectors/" + file).compactMap { line in
            if let kind, text(line["kind"]) != kind { return nil }
            return text(line[member]).flatMap { bytes(hex: $0) }
        }.filter { $0.count < 4096 }
    }
    static func texts(_ file: String, _ member: String, kind: String? = nil) -> [Bytes] {
        lines("vectors/" + file).compactMap { line in
            if let kind, text(line["kind"]) != kind { return nil }
            return text(line[member]).map { Bytes($0.utf8) }
        }.filter { $0.count < 4096 }
    }
    /// The values of one type of msgpack.ndjson.
    static func packed(_ type: String) -> [Bytes] {
        lines("vectors/msgpack.ndjson").compactMap { line in
            guard text(line["type"]) == type, let packed = text(line["msgpack"]) else { return nil }
            return bytes(hex: packed)
        }
    }
    static func packedJSON(_ type: String) -> [Bytes] {
        lines("vectors/msgpack.ndjson").compactMap { line in
            guard text(line["type"]) == type, let json = line["json"] else { return nil }
            return Bytes(json.encoded().utf8)
        }
    }
    /// Blocks and announcements of the CRDT.
    static func crdt(_ list: String) -> [Bytes] {
        lines("vectors/crdt/directed.ndjson").prefix(40).flatMap { line -> [Bytes] in
            guard case .array(let items)? = line[list] else { return [] }
            return items.compactMap { text($0["hex"]).flatMap { bytes(hex: $0) } }
        }.filter { $0.count < 4096 }
    }
    /// Blocks of files and directories.
    static func blocks() -> [Bytes] {
        lines("vectors/add.ndjson").prefix(60).flatMap { line -> [Bytes] in
            guard case .array(let items)? = line["blocks"] else { return [] }
            return items.prefix(8).compactMap { text($0["hex"]).flatMap { bytes(hex: $0) } }
        }
    }
    static func cars() -> [Bytes] {
        lines("vectors/add.ndjson").compactMap { text($0["car"]).flatMap { bytes(hex: $0) } }.filter { $0.count < 4096 }
    }
    /// Method and target of the recorded requests.
    static func requests() -> [(method: String, target: String)] {
        lines("rest/exchanges.ndjson").compactMap { line in
            guard let method = text(line["request"]?["method"]), let path = text(line["request"]?["path"]) else { return nil }
            return (method, path)
        }
    }
    static func bodies(_ file: String) -> [Bytes] {
        lines(file).prefix(200).compactMap { text($0["response"]?["body"]).map { Bytes($0.utf8) } }.filter { !$0.isEmpty && $0.count < 2048 }
    }
    static func file(_ name: String) -> Bytes { Golden.bytes(name) }
}
