// The multipart reader: cut anywhere, made to look like its own boundaries, broken off, and hostile.

import API
import Encoding
import HTTP
import Kernel
import Pinset
import Seams
import Testing

@Suite struct UploadTests {
    static let type: HTTPFields = ["Content-Type": "multipart/form-data; boundary=b"]

    private func inputs(_ body: Bytes, cuts: [Int] = []) -> [ClientInput] {
        var harness = APIHarness()
        var pieces: [Bytes] = []
        var from = 0
        for cut in cuts + [body.count] { pieces.append(Bytes(body[from..<cut])); from = cut }
        _ = harness.send("POST", "/add", Self.type, body: pieces)
        return joined(harness.inputs)
    }
    private func inputs(_ text: String) -> [ClientInput] { inputs(Bytes(text.utf8)) }
    private func part(_ headers: String, _ body: String) -> String { "--b\r\n\(headers)\r\n\r\n\(body)\r\n" }
    private func file(_ name: String, _ body: String) -> String {
        part("Content-Disposition: form-data; name=\"file\"; filename=\"\(name)\"\r\nContent-Type: application/octet-stream", body)
    }

    @Test func theSameComesOutWhereverTheBytesAreCut() {
        let directory = part("Content-Disposition: form-data; name=\"file\"; filename=\"d%2Fe\"\r\nContent-Type: application/x-directory", "")
        let link = part("content-disposition: form-data; filename=\"d/l\"\r\nCONTENT-TYPE: application/symlink", "../target")
        let text = "preamble\r\n--bogus\r\n" + file("a b+c", "one\r\n--bx\r\n-") + directory + file("empty", "") + link + "--b--\r\nepilogue"
        let body = Bytes(text.utf8)
        let want: [ClientInput] = [
            .file(name: "a b c"), .data(Bytes("one\r\n--bx\r\n-".utf8)), .endOfFile, .directory(name: "d/e"), .file(name: "empty"),
            .endOfFile, .symlink(name: "d/l", target: "../target"), .end,
        ]
        #expect(inputs(body) == want)
        for cut in 0...body.count { #expect(inputs(body, cuts: [cut]) == want, "cut at \(cut)") }
        #expect(inputs(body, cuts: Array(0...body.count)) == want)
    }

    @Test(arguments: 0..<60) func whatLooksLikeABoundaryIsData(_ seed: Int) {
        var choices = Choices(seed: UInt64(seed))
        let pieces = ["\r\n--b", "--b", "\r\n", "\r", "\n", "-", "--", "x", " ", "b", "\r\n--bb", "\r\n--b-"]
        var text = "", want: [ClientInput] = []
        for index in 0..<choices.below(5) + 1 {
            var content = (0..<choices.below(8)).map { _ in pieces[choices.below(pieces.count)] }.joined()
            if isCut(content) { content = "harmless" }
            text += file("f\(index)", content)
            want.append(.file(name: EntryName("f\(index)")))
            if !content.isEmpty { want.append(.data(Bytes(content.utf8))) }
            want.append(.endOfFile)
        }
        let body = Bytes((text + "--b--").utf8)
        var cuts: [Int] = []
        while cuts.last ?? 0 < body.count { cuts.append(min(body.count, (cuts.last ?? 0) + 1 + choices.below(6))) }
        #expect(inputs(body, cuts: cuts) == want + [.end], "seed \(seed)")
    }

    /// Whether a content holds a boundary, with what follows it in the form: then it is no content of one part.
    private func isCut(_ content: String) -> Bool {
        let all = Bytes((content + "\r\n").utf8)
        let ends: [Bytes] = [" ", "\t", "\r", "\n", "--"].map { Bytes($0.utf8) }
        return all.indices.contains { index in
            for delimiter in [Bytes("\r\n--b".utf8)] + (index == 0 ? [Bytes("--b".utf8)] : []) where all[index...].starts(with: delimiter) {
                if ends.contains(where: { all[(index + delimiter.count)...].starts(with: $0) }) { return true }
            }
            return false
        }
    }

    @Test func aFormMayEndItsLinesWithLineFeedsAlone() {
        let text = "--b\nContent-Disposition: form-data; filename=x\n\ndata\r\n--b\r\nmore\n--b--\n"
        // Then a carriage return before the boundary is data, and one after it no boundary's end.
        #expect(inputs(text) == [
            .file(name: "x"), .data(Bytes("data\r".utf8)), .endOfFile, .failed("multipart: unexpected text after a boundary"),
        ])
        #expect(inputs("--b\nContent-Disposition: form-data; filename=x\n\ndata\n--b--\n")
            == [.file(name: "x"), .data(Bytes("data".utf8)), .endOfFile, .end])
    }

    @Test func aBrokenUploadFailsWhereverItBreaks() {
        let whole = Bytes((file("a", "0123456789") + file("b", "xyz") + "--b--").utf8)
        for count in 0..<whole.count {
            let found = inputs(Bytes(whole[..<count]))
            #expect(found.last == .failed("multipart: NextPart: EOF"), "\(count) bytes")
            #expect(!found.contains(.end), "\(count) bytes")
        }
        #expect(inputs(whole).last == .end)
    }

    /// As much of a boundary as there is belongs to it, and a sign more is data (Go's mime/multipart).
    @Test(arguments: ["\r", "\r\n", "\r\n-", "\r\n--", "\r\n--b"]) func aBoundaryThatIsCutIsNoData(_ end: String) {
        let head = "--b\r\nContent-Disposition: form-data; filename=x\r\n\r\n"
        func data(_ text: String) -> Bytes {
            inputs(Bytes(text.utf8)).reduce(into: []) { if case .data(let bytes) = $1 { $0 += bytes } }
        }
        #expect(data(head + "hi" + end) == Bytes("hi".utf8))
        #expect(data(head + "hi" + end + "!") == Bytes("hi\(end)!".utf8))
        #expect(data(head + "hi\r\n--b-") == Bytes("hi\r\n--b-".utf8))
        #expect(data(head + String(decoding: end.utf8.dropFirst(2), as: UTF8.self)) == [])
    }

    @Test(arguments: ["unexpected EOF", "malformed chunked encoding"]) func anUploadThatBreaksOffSaysWhy(_ reason: String) {
        var harness = APIHarness()
        let id = ServedID(7)
        harness.feed(id, .request(HTTPRequest(method: "POST", target: "/add", headers: Self.type), remote: ""))
        harness.feed(id, .body(Bytes("--b\r\nContent-Disposition: form-data; filename=x\r\n\r\n1\r\n--".utf8)))
        harness.feed(id, .cut(reason))
        #expect(joined(harness.inputs) == [.file(name: "x"), .data([0x31]), .endOfFile, .failed("multipart: NextPart: \(reason)")])
        harness.reply(.failed(ClientFailure("multipart: NextPart: \(reason)")))
        #expect(harness.api.openCount == 0)

        let peer = ServedID(8)
        harness.feed(peer, .request(HTTPRequest(method: "POST", target: "/peers"), remote: ""))
        harness.feed(peer, .body(Bytes("{\"peer_id\"".utf8)))
        harness.feed(peer, .cut(reason))
        #expect(harness.answer(peer).status == 400 && harness.api.openCount == 0)
    }

    @Test func namesAreCleanRelativePaths() {
        let names = [
            ("a%2Fb", "a/b"), ("/abs/x", "abs/x"), ("../../etc/passwd", "etc/passwd"), ("a/../../b", "b"), ("a//b/./c/", "a/b/c"),
            ("100%", "100%"), ("%zz", "%zz"), ("C:\\\\dir\\\\f", "C:\\dir\\f"), ("sp+ace", "sp ace"), ("%E6%97%A5", "日"), ("", ""),
            ("a\\\"b", "a\"b"),
        ]
        for (sent, want) in names {
            #expect(inputs(file(sent, "") + "--b--").first == .file(name: EntryName(want)), "\(sent)")
        }
        let folded = part("Content-Disposition: form-data;\r\n name=\"file\";\r\n\tfilename=\"a:b\"", "")
        #expect(inputs(folded + "--b--").first == .file(name: "a:b"))
        let extended = part("Content-Disposition: form-data; filename*=utf-8''%e2%82%ac%20rates", "")
        #expect(inputs(extended + "--b--").first == .file(name: "€ rates"))
        #expect(inputs(part("Content-Disposition: form-data; filename=\"open", "") + "--b--").first == .file(name: ""))
    }

    /// Whether percent-encoded or as they are: files on disk may be called anything.
    @Test func namesNeedNotBeUTF8() {
        let raw = (file("d/?", "") + "--b--").utf8.map { $0 == UInt8(ascii: "?") ? 0xff : $0 }
        #expect(inputs(raw).first == .file(name: "d/" + EntryName([0xff])))
        #expect(inputs(file("d%2F%FF", "") + "--b--").first == .file(name: "d/" + EntryName([0xff])))
        let extended = part("Content-Disposition: form-data; filename*=utf-8''%ff", "")
        #expect(inputs(extended + "--b--").first == .file(name: EntryName([0xff])))
    }

    @Test func hostilePartsAreRefusedByName() {
        let long = String(repeating: "x", count: 70_000)
        let faults: [(String, String)] = [
            ("--b--", "the form has no parts"),
            ("--b\r\nno colon here\r\n\r\n", "multipart: a part's header has a line without a name"),
            ("--b\r\n X: y\r\n\r\n", "multipart: a part's header has a line without a name"),
            ("--b\r\nX: \(long)", "multipart: a part's header is longer than 65536 bytes"),
            ("--b\r\n" + String(repeating: "X: y\r\n", count: 20_000), "multipart: a part's header is longer than 65536 bytes"),
            (long, "multipart: a part's header is longer than 65536 bytes"),
            ("--b" + long, "multipart: a part's header is longer than 65536 bytes"),
            ("--b " + long, "multipart: a part's header is longer than 65536 bytes"),
            ("--b junk\r\n", "multipart: unexpected text after a boundary"),
            (file("a", long).replacing("application/octet-stream", with: "application/symlink"), "the target of a is longer than 65536 bytes"),
            (part("Content-Transfer-Encoding: base64\r\nContent-Disposition: form-data; filename=q", "eA==") + "--b--",
             "Content-Transfer-Encoding base64 is not supported; send the part as binary"),
        ]
        for (text, fault) in faults {
            #expect(inputs(text).last == .failed(fault), "\(text.prefix(60))")
        }
    }

    @Test func onlyFormsAreTaken() {
        var harness = APIHarness()
        for type in ["", "text/plain", "multipart/related; boundary=b", "application/json", "multipart/form-data; =x"] {
            let answer = harness.ask("POST", "/add", type.isEmpty ? [:] : ["Content-Type": type])
            #expect(answer.status == 400 && answer.text == "{\"code\":400,\"message\":\"request Content-Type isn't multipart/form-data\"}\n")
        }
        for type in ["multipart/form-data", "Multipart/Mixed; x=y", "multipart/form-data; boundary=\"\""] {
            let answer = harness.ask("POST", "/add?layout=bad", ["Content-Type": type])
            #expect(answer.text == "{\"code\":400,\"message\":\"no multipart boundary param in Content-Type\"}\n")
        }
        _ = harness.send("POST", "/add", ["Content-Type": "MULTIPART/form-data; charset=utf-8 ; Boundary=\"b c\""], body: [Bytes("--b c--".utf8)])
        #expect(harness.inputs == [.failed("the form has no parts")])
    }

    @Test func slowDestinationsStopTheUpload() {
        var harness = APIHarness()
        let id = ServedID(7)
        harness.feed(id, .request(HTTPRequest(method: "POST", target: "/add?progress=true", headers: Self.type), remote: ""))
        harness.feed(id, .body(Bytes("--b\r\nContent-Disposition: form-data; filename=x\r\n\r\n1".utf8)))
        harness.reply(.pause)
        harness.reply(.item(.added(AddedOutput(name: "x"))))
        harness.reply(.resume)
        #expect(harness.flow == [.pause, .resume])
        harness.feed(id, .body(Bytes("2\r\n--b--".utf8)))
        harness.feed(id, .end)
        #expect(joined(harness.inputs) == [.file(name: "x"), .data(Bytes("12".utf8)), .endOfFile, .end])
        harness.reply(.end)
        #expect(harness.answer(id).text == "{\"name\":\"x\",\"cid\":null}\n" && harness.answer(id).trailers.fields.isEmpty)
    }

    @Test func anAddThatFailsEarlyIsOver() {
        var harness = APIHarness()
        let id = ServedID(7)
        harness.feed(id, .request(HTTPRequest(method: "POST", target: "/add", headers: Self.type), remote: ""))
        harness.reply(.failed(ClientFailure("hash function\nname not known")))
        #expect(harness.answer(id).trailers["X-Stream-Error"] == "hash function name not known")
        harness.feed(id, .body(Bytes("--b\r\n\r\nlate".utf8)))
        harness.feed(id, .end)
        #expect(harness.inputs.isEmpty && harness.api.openCount == 0)
    }

    @Test func whoHangsUpIsForgotten() {
        var harness = APIHarness()
        let id = ServedID(7)
        harness.feed(id, .request(HTTPRequest(method: "POST", target: "/add", headers: Self.type), remote: ""))
        harness.feed(id, .gone)
        #expect(harness.gone == [harness.requests[0].client] && harness.api.openCount == 0)
        harness.reply(.item(.added(AddedOutput(name: "x"))))
        harness.reply(.end)
        #expect(harness.answers[id]?.hasEnded == false && harness.answers[id]?.body == [])
    }

    @Test func anEmptyListIsGosNull() {
        var harness = APIHarness()
        let id = harness.send("POST", "/add?stream-channels=false", Self.type, body: [Bytes((file("a", "") + "--b--").utf8)])
        harness.reply(.end)
        #expect(harness.answer(id).text == "null\n" && harness.answer(id).headers["X-Chunked-Output"] == nil)
    }
}
