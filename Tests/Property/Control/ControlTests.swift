// Every recorded command line, against an API that answers what was recorded. Tests/Golden/ctl.

import Encoding
import HTTP
import Kernel
import Pinset
import TestSupport
import Testing

@testable import ControlCommands

@Suite struct RecordedCommandTests {
    /// Everything but what is compared as "any".
    @Test(arguments: RecordedCase.all) func printsWhatUpstreamPrints(_ recorded: RecordedCase) throws {
        let folder = TemporaryFolder()
        for number in 0..<30 { folder.write("g\(number).txt", Bytes("golden \(number)\n".utf8)) }
        folder.write("dir/a.txt", Bytes("alpha\n".utf8))
        folder.write("dir/.hid", Bytes("h\n".utf8))
        folder.write("big.bin", Bytes(repeating: 7, count: 600_000))
        let items = try recorded.items()
        let world = ScriptedWorld { seen in
            seen.endpoint.authority == "127.0.0.1:1"
                ? .failing("dial tcp 127.0.0.1:1: connect: connection refused") : answer(recorded, items, to: seen)
        }
        for member in recorded.json["env"]?.members ?? [] { world.environment[member.name] = member.value.text }
        let inFolder = recorded.command.first == "add" || recorded.arguments.contains("--file")
        let isFile = { (word: String) in word == "dir" || word.hasSuffix(".txt") || word.hasSuffix(".bin") || word.hasSuffix(".dot") }
        let words = recorded.arguments.map { inFolder && isFile($0) ? folder.path + "/" + $0 : $0 }

        let exit = ControlProgram(world: world).run(words)

        #expect(exit == recorded.exit)
        compare(world.stdout, recorded.stdout, recorded.comparison(of: "stdout"))
        let stderr = withoutLogs(world.stderr).replacing(folder.path + "/", with: "")
        compare(stderr, withoutLogs(recorded.stderr), recorded.comparison(of: "stderr"))
        for file in recorded.json["files_after"]?.members ?? [] {
            #expect(SystemFiles.read(folder.path + "/" + file.name) == file.value.text.map(RecordedCase.named))
        }
    }

    private func compare(_ got: String, _ wanted: String, _ how: String?) {
        switch how {
        case "any": break
        case "some": #expect(!got.isEmpty)
        case "first-line": #expect(got.prefix { $0 != "\n" } == wanted.prefix { $0 != "\n" })
        default: #expect(got == wanted)
        }
    }

    private func withoutLogs(_ text: String) -> String {
        text.split(separator: "\n").filter { !$0.hasPrefix("20") }.map { $0 + "\n" }.joined()
    }
}

/// The API as it was when that command ran.
private func answer(_ recorded: RecordedCase, _ items: [JSON], to seen: ScriptedWorld.Seen) -> ScriptedAnswer {
    let target = seen.request.target
    if let (error, before) = recorded.failure, !(target.hasPrefix("/add") && !before.isEmpty) {
        if error.code != 0 { return ScriptedAnswer(error.code, error.json.encoded() + "\n") }
        return .failing(error.message.split(separator: "\": ", maxSplits: 1).last.map(String.init) ?? "")
    }
    let lines = items.map { $0.encoded() + "\n" }.joined()
    let cid = items.first?["cid"]?.text ?? recorded.arguments.last ?? ""
    if seen.request.method != "GET", target.hasPrefix("/pins"), !target.contains("/recover") {
        let pin = Pin(cid: CIDText.cid(cid))
        return ScriptedAnswer(200, items.first?["type"] != nil ? lines : pin.json.encoded())
    }
    if target.hasPrefix("/pins/"), items.first?["peer_map"] == nil {
        // Waits of which the end alone is seen.
        let done = recorded.command.prefix(2) == ["pin", "rm"] ? "unpinned" : "pinned"
        return ScriptedAnswer(200, CIDText.status(cid, recorded.exit == 62 ? "pinning" : recorded.exit == 1 ? "pin_error" : done))
    }
    switch target {
    case "/health/graph": return ScriptedAnswer(200, CIDText.graph(recorded.id))
    case "/health/alerts": return ScriptedAnswer(200, "[]\n")
    case "/health/bandwidth": return ScriptedAnswer(200, "{}\n")
    case "/ipfs/gc?local=false" where items.isEmpty: return ScriptedAnswer(200, "{\"peer_map\":null}")
    case _ where target.hasPrefix("/monitor/metrics"): return ScriptedAnswer(200, JSON.array(items).encoded())
    default: break
    }
    let trailer = target.hasPrefix("/add") ? recorded.failure?.error.message ?? "" : ""
    return lines.isEmpty ? ScriptedAnswer(204) : ScriptedAnswer(200, lines, trailers: ["X-Stream-Error": trailer])
}
