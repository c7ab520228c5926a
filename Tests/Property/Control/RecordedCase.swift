// One recorded command line, and what the API must have answered for it to print what it printed.

import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import TestSupport

struct RecordedCase: CustomStringConvertible, Sendable {
    let id: String
    let arguments: [String]
    let stdout: String
    let stderr: String
    let exit: Int32
    let json: JSON
    var description: String { "\(id): \(arguments.joined(separator: " "))" }

    /// Commands of ctl that print help have no text to compare, but a code.
    static let all: [RecordedCase] = {
        do {
            return try Golden.lines("ctl/cases.ndjson").filter { $0["program"]?.text == "ctl" }.map(RecordedCase.init)
        } catch { fatalError("\(error)") }
    }()

    private init(_ json: JSON) {
        let text = { (name: String) in RecordedCase.named(json[name]?.text ?? "") }
        self.json = json
        id = text("id")
        arguments = (json["args"]?.elements ?? []).map { RecordedCase.named($0.text ?? "") }
        (stdout, stderr) = (text("stdout"), text("stderr"))
        exit = json["exit"]?.integer() ?? -1
    }

    func comparison(of stream: String) -> String? { json["compare"]?[stream]?.text }
    var isJSON: Bool { arguments.contains("json") }
    /// The command's own words.
    var command: [String] {
        var words = arguments[...]
        while let word = words.first, word.hasPrefix("-") {
            words = words.dropFirst(["-f", "--force-http", "-v", "--version"].contains(word) ? 1 : 2)
        }
        return Array(words)
    }

    // MARK: Names

    private static let peers = ["identity-peer0", "identity-peer1"].map { name in
        do { return try JSONReader.parse(Golden.bytes("config/\(name).json"))["id"]?.text ?? "" } catch { fatalError("\(error)") }
    }
    /// The IDs of the IPFS daemons were not kept but for their ends, which the graphs show.
    static let variables: [(String, String)] = [
        ("$PEER0", peers[0]), ("$PEER1", peers[1]), ("$IPFS0", peers[0].dropLast(6) + "Dicn8t"),
        ("$IPFS1", peers[0].dropLast(6) + "fvYLLh"), ("$HOST", "/ip4/127.0.0.1/tcp/9094"), ("$PORT", "9094"),
    ]
    static func named(_ text: String) -> String { variables.reduce(text) { $0.replacing($1.0, with: $1.1) } }

    // MARK: What was answered

    /// The failure at the end of the output, with what is before it.
    var failure: (error: ErrorBody, before: String)? {
        let mark = isJSON ? "{\n    \"code\": " : "An error occurred:\n  Code: "
        guard let start = stdout.firstRange(of: mark) else { return nil }
        let before = String(stdout[..<start.lowerBound])
        if isJSON {
            do { return (try ErrorBody(jsonText: stdout[start.lowerBound...].utf8), before) } catch { fatalError("\(error)") }
        }
        let parts = stdout[start.upperBound...].dropLast().split(separator: "\n  Message: ", maxSplits: 1)
        return (ErrorBody(code: Int(parts[0])!, message: String(parts[1])), before)
    }

    /// The items that were printed, as the API's JSON.
    func items() throws -> [JSON] {
        let text = failure?.before ?? stdout
        if text.hasPrefix("digraph") { return [] }
        if isJSON {
            var reader = JSONReader(Bytes(text.utf8))
            var out: [JSON] = []
            while let value = try reader.next() { out.append(value) }
            return out.count == 1 ? out[0].elements ?? out : out
        }
        return TextAnswers.items(text, of: command)
    }
}

/// Reads the text forms back.
enum TextAnswers {
    static func items(_ text: String, of command: [String]) -> [JSON] {
        let lines = text.split(separator: "\n").map(String.init)
        if command.first == "add" {
            return lines.map { line in
                let words = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
                let added = words.count == 3 ? (words[2], words[1]) : ("last", line)
                return .object(["name": .string(added.0), "cid": .string(added.1)])
            }
        }
        switch command.prefix(2).joined(separator: " ") {
        case "version": return lines.map { .object(["version": .string($0)]) }
        case "health metrics": return lines.map { $0.contains(" | ") ? metric($0) : .string($0) }
        case "id", "peers ls": return blocks(lines).map(peer)
        case "ipfs gc": return [.object(["peer_map": .object(blocks(lines).map(garbage))])]
        default: return blocks(lines).map { $0.count == 1 && $0[0].contains("Repl. Factor") ? pin($0[0]) : status($0) }
        }
    }

    /// A line without indent, with the lines below it.
    private static func blocks(_ lines: [String]) -> [[String]] {
        lines.reduce(into: []) { blocks, line in
            if line.hasPrefix(" ") { blocks[blocks.count - 1].append(line) } else { blocks.append([line]) }
        }
    }

    private static func parts(_ line: String) -> [String] {
        var out: [String] = []
        var rest = line[...]
        while let range = rest.firstRange(of: " | ") {
            out.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return out + [String(rest)]
    }

    private static func pin(_ line: String) -> JSON {
        let parts = parts(line)
        let factors = parts[3].dropFirst("Repl. Factor: ".count).split(separator: "-", omittingEmptySubsequences: false)
        let isEverywhere = parts[4].contains("everywhere")
        let peers = parts[4].dropFirst("Allocations: [".count).dropLast().split(separator: " ")
        let time = { (text: String, label: String) -> JSON in
            let time = text.dropFirst(label.count)
            return time == "∞" ? .string("0001-01-01T00:00:00Z") : .string(time.replacing(" ", with: "T") + "Z")
        }
        return .object([
            "cid": .string(parts[0]), "name": .string(parts[1]), "type": .string("pin"),
            "mode": .string(parts[2] == "PIN-DIRECT" ? "direct" : "recursive"), "max_depth": .int(parts[5] == "Direct" ? 0 : -1),
            "replication_factor_min": .int(isEverywhere ? -1 : Int(factors[0])!),
            "replication_factor_max": .int(isEverywhere ? -1 : Int(factors[2])!),
            // The other way round: sorting is the printer's.
            "allocations": .array(isEverywhere ? [] : peers.reversed().map { .string(String($0)) }),
            "metadata": parts[6] == "Metadata: yes" ? .object(["k": .string("v")]) : .null,
            "expire_at": time(parts[7], "Exp: "), "timestamp": time(parts[8], "Added: "),
        ])
    }

    private static func status(_ block: [String]) -> JSON {
        let head = parts(String(block[0].dropLast()))
        let peers = block.dropFirst().map { line -> JSON.Member in
            let name = line.dropFirst(6).prefix(20).split(separator: " ")[0]
            var parts = parts(String(line.dropFirst(29)))
            let tail = parts.suffix(3).map { $0 }
            parts.removeLast(3)
            let words = parts.joined(separator: " | ").split(separator: ": ", maxSplits: 1).map(String.init)
            let peer = name == "peer1" ? RecordedCase.named("$PEER1") : RecordedCase.named("$PEER0")
            return JSON.Member(peer, .object([
                "peername": .string(String(name)), "status": .string(words[0].lowercased()),
                "error": .string(words.count > 1 ? words[1] : ""), "timestamp": .string(tail[0]),
                "attempt_count": .number(String(tail[1].dropFirst("Attempts: ".count))),
                "priority_pin": .bool(tail[2] == "Priority: true"),
            ]))
        }
        return .object([
            "cid": .string(head[0]), "name": .string(head.count > 1 ? head[1] : ""), "peer_map": .object(peers),
        ])
    }

    private static func peer(_ block: [String]) -> JSON {
        let head = parts(block[0])
        let count = Int(head[2].split(separator: " ")[1])! + 1
        let ipfsLine = block.firstIndex { $0.hasPrefix("  > IPFS") }!
        let addresses = { (lines: ArraySlice<String>) in JSON.strings(lines.map { String($0.dropFirst(6)) }) }
        let parts = block[ipfsLine].dropFirst(4).split(separator: ": ", maxSplits: 1).map(String.init)
        return .object([
            "id": .string(head[0]), "peername": .string(head[1]), "addresses": addresses(block[2..<ipfsLine]),
            "cluster_peers": .array(Array(repeating: .string(head[0]), count: count)),
            "ipfs": parts[0] == "IPFS"
                ? .object(["id": .string(parts[1]), "addresses": addresses(block[(ipfsLine + 1)...])])
                : .object(["error": .string(parts[1])]),
        ])
    }

    private static func garbage(_ block: [String]) -> JSON.Member {
        let peer = RecordedCase.named("$PEER0")
        let head = parts(block[0])
        return JSON.Member(peer, .object([
            "peer": .string(peer), "peername": .string(trimmed(head[0])),
            "keys": .array(block.dropFirst(2).map { .object(["key": .string(String($0.dropFirst(6)))]) }),
            "error": .string(head.count > 1 ? String(head[1].dropFirst("ERROR: ".count)) : ""),
        ]))
    }

    /// Half a second more than it says, as of the scripted clock's start.
    private static func metric(_ line: String) -> JSON {
        let parts = parts(line)
        let value = parts[1].split(separator: ": ", maxSplits: 1).map(String.init)
        let seconds = Int64(parts[2].split(separator: " ")[2])!
        return .object([
            "name": .string(value[0]), "peer": .string(parts[0]), "value": .string(value[1]),
            "weight": .int(value[0] == "freespace" ? 9_999_979_826 : 0), "valid": .bool(true),
            "expire": .int((1_795_480_750 + seconds) * 1_000_000_000 + 500_000_000),
        ])
    }
}
