// What an add sends. REST-098, CLI-131..155.

import Encoding
import HTTP
import Kernel
import TestSupport
import Testing

@testable import ControlCommands

@Suite struct UploadTests {
    private static let boundary = hex(Bytes(repeating: 0xab, count: 30))

    private func body(_ words: [String], pages: [String: String] = [:]) throws -> (text: String, request: HTTPRequest) {
        let world = ScriptedWorld { seen in
            if let page = pages[seen.endpoint.authority + seen.request.target] { return ScriptedAnswer(200, page) }
            return ScriptedAnswer(200, "")
        }
        _ = ControlProgram(world: world).run(words)
        let sent = try #require(world.seen.first { $0.body != nil }, "\(world.stderr)")
        return (String(decoding: sent.body!, as: UTF8.self), sent.request)
    }

    private func part(_ name: String, _ type: String, _ content: String, extra: String = "") -> String {
        "--\(Self.boundary)\r\n\(extra)Content-Disposition: form-data; name=\"file\"; filename=\"\(name)\"\r\n"
            + "Content-Type: \(type)\r\n\r\n\(content)"
    }
    private func form(_ parts: [String]) -> String { parts.joined(separator: "\r\n") + "\r\n--\(Self.boundary)--\r\n" }

    @Test func aFileIsOnePart() throws {
        let folder = TemporaryFolder()
        folder.write("a b.txt", Bytes("hello".utf8))
        let (text, request) = try body(["add", "--name", "n", "--hash", "blake3", folder.path + "/./a b.txt"])
        #expect(text == form([part("a+b.txt", "application/octet-stream", "hello")]))
        #expect(request.headers["Content-Type"] == "multipart/form-data; boundary=\(Self.boundary)")
        #expect(request.target == "/add?chunker=size-262144&cid-version=1&format=unixfs&hash=blake3&hidden=false&layout=&local=false"
            + "&mode=recursive&name=n&no-pin=false&nocopy=false&progress=false&raw-leaves=true&recursive=false"
            + "&replication-max=0&replication-min=0&shard=false&shard-size=104857600&stream-channels=true"
            + "&user-allocations=&wrap-with-directory=false")
    }

    @Test(arguments: [false, true]) func aDirectoryComesWithItsMembersInOrder(_ hidden: Bool) throws {
        let folder = TemporaryFolder()
        for (name, content) in [("d/b", "2"), ("d/a/x", "1"), ("d/.h", "0"), ("d/Z", "3")] { folder.write(name, Bytes(content.utf8)) }
        SystemFiles.link(folder.path + "/d/link", to: "a/x")
        let (text, _) = try body(["add", folder.path + "/d/", "-r"] + (hidden ? ["-H"] : []))
        let secret = hidden ? [part("d%2F.h", "application/octet-stream", "0")] : []
        #expect(text == form([part("d", "application/x-directory", "")] + secret + [
            part("d%2FZ", "application/octet-stream", "3"), part("d%2Fa", "application/x-directory", ""),
            part("d%2Fa%2Fx", "application/octet-stream", "1"), part("d%2Fb", "application/octet-stream", "2"),
            part("d%2Flink", "application/symlink", "a/x"),
        ]))
    }

    @Test(arguments: [("/", "/"), ("..", ".."), ("../..", ".."), ("/a/b", "b"), ("a", "a")]) func aNameIsTheLastOfItsPath(_ path: String, _ name: String) {
        #expect(Files.lastName(EntryName(path)) == EntryName(name))
    }

    @Test func namesOnDiskNeedNotBeUTF8() throws {
        let folder = TemporaryFolder()
        folder.write("d/a", [])
        for byte: UInt8 in [0xfe, 0xff] { SystemFiles.write("x", to: EntryName(folder.path + "/d/") + EntryName([byte])) }
        let (text, _) = try body(["add", folder.path + "/d", "-r"])
        #expect(text == form([
            part("d", "application/x-directory", ""), part("d%2Fa", "application/octet-stream", ""),
            part("d%2F%FE", "application/octet-stream", "x"), part("d%2F%FF", "application/octet-stream", "x"),
        ]))
    }

    @Test func severalPathsAreWrapped() throws {
        let folder = TemporaryFolder()
        folder.write("a", [0x31])
        folder.write("b", [])
        let (text, request) = try body(["add", folder.path + "/a", folder.path + "/b"])
        #expect(text == form([part("a", "application/octet-stream", "1"), part("b", "application/octet-stream", "")]))
        #expect(URLQuery(request.target.split(separator: "?")[1])["wrap-with-directory"] == "true")
    }

    @Test func aWebPageIsFetched() throws {
        let url = "http://example.org:8080/a/page.html?x=1"
        let (text, request) = try body(["add", "--nocopy", url], pages: ["example.org:8080/a/page.html?x=1": "<p>"])
        let extra = "Abspath-Encoded: http%3A%2F%2Fexample.org%3A8080%2Fa%2Fpage.html%3Fx%3D1\r\n"
        #expect(text == form([part("page.html", "application/octet-stream", "<p>", extra: extra)]))
        #expect(URLQuery(request.target.split(separator: "?")[1])["raw-leaves"] == "true")
    }

    @Test func aPageThatIsNotThereFailsTheRequest() {
        let world = ScriptedWorld { _ in ScriptedAnswer(404, "none") }
        #expect(world.run("add", "https://example.org/x") == 1)
        #expect(world.stdout.hasSuffix("wrap-with-directory=false\": got non-2XX status code 404: https://example.org/x\n"))
    }

    @Test func aLargeFileIsReadInPieces() throws {
        let folder = TemporaryFolder()
        let bytes = Bytes((0..<700_000).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 >> 9) })
        folder.write("big", bytes)
        let upload = try Upload(
            paths: [folder.path + "/big"], isRecursive: false, includesHidden: false, isNoCopy: false, boundary: "b",
            fetch: { _ in fatalError() })
        var pieces: [Bytes] = []
        while let piece = try upload.next() { pieces.append(piece) }
        #expect(Bytes(pieces[1..<(pieces.count - 1)].joined()) == bytes)
        #expect(pieces.map(\.count).max()! <= 1 << 18)
    }

    @Test(arguments: [
        ("a//b/../c", "a/c"), ("./", "."), ("", "."), ("../x/..", ".."), ("/../a/", "/a"), ("a/../../b", "../b"),
    ]) func pathsAreCleaned(_ path: String, _ cleaned: String) { #expect(Files.cleaned(path) == cleaned) }
}

@Suite struct FormatTests {
    @Test(arguments: [
        (0, "0 B"), (9, "9 B"), (10, "10 B"), (999, "999 B"), (1000, "1.0 kB"), (1049, "1.0 kB"), (1050, "1.1 kB"),
        (9_949, "9.9 kB"), (9_950, "10 kB"), (12_500, "12 kB"), (13_500, "14 kB"), (124_000, "124 kB"), (999_999, "1000 kB"),
        (9_999_979_826, "10 GB"), (97_600_000_000, "98 GB"), (UInt64.max, "18 EB"),
    ] as [(UInt64, String)])
    func bytesAreRounded(_ count: UInt64, _ text: String) { #expect(byteText(count) == text) }

    @Test(arguments: [
        (0, "now"), (1, "1 second ago"), (2, "2 seconds ago"), (59, "59 seconds ago"), (60, "1 minute ago"),
        (119, "1 minute ago"), (120, "2 minutes ago"), (3599, "59 minutes ago"), (7199, "1 hour ago"), (86_399, "23 hours ago"),
        (172_799, "1 day ago"), (604_799, "6 days ago"), (1_209_599, "1 week ago"), (2_591_999, "4 weeks ago"),
        (5_183_999, "1 month ago"), (31_103_999, "11 months ago"), (31_104_000, "1 year ago"), (46_656_000, "2 years ago"),
        (62_208_000, "2 years ago"), (93_312_000, "3 years ago"), (1_200_000_000, "a long while ago"),
    ] as [(Int64, String)])
    func timesAreRelative(_ seconds: Int64, _ text: String) {
        let now = WallTime(seconds: 2_000_000_000, nanoseconds: 500)
        #expect(HumanUnits.relative(now + .seconds(-seconds), to: now) == text)
        let ahead = now + .seconds(seconds) + .nanoseconds(999_999_999)
        #expect(HumanUnits.relative(ahead, to: now) == text.replacing(" ago", with: " from now"))
    }

    @Test func bandwidthIsAlignedAndSorted() {
        let answer = #"{"/b":{"total_in":9,"total_out":123456,"rate_in":1.5,"rate_out":0.001},"":{"total_in":0,"total_out":0,"rate_in":0,"rate_out":0}}"#
        let world = ScriptedWorld { _ in ScriptedAnswer(200, answer) }
        #expect(world.run("health", "bandwidth") == 0)
        #expect(world.stdout == String(repeating: " ", count: 25) + ": In:     0 B. Out:     0 B. RateIn: 0.00B/s. RateOut: 0.00B/s\n"
            + String(repeating: " ", count: 23) + "/b: In:     9 B. Out:  124 kB. RateIn: 1.50B/s. RateOut: 0.00B/s\n")
    }

    @Test func alertsTellBothTimes() {
        let peer = RecordedCase.named("$PEER1")
        let answer = #"[{"name":"ping","peer":"\#(peer)","value":"","expire":1795480690000000000,"valid":true,"weight":0,"#
            + #""partitionable":false,"received_at":0,"triggered_at":"2026-11-24T00:39:09Z"}]"#
        let world = ScriptedWorld { _ in ScriptedAnswer(200, answer) }
        #expect(world.run("health", "alerts") == 0)
        #expect(world.stdout == "\(peer): ping. Expired at: 1 minute ago. Triggered at: 1 second ago\n")
    }

    @Test func collectedGarbageTellsFaults() {
        let peer = RecordedCase.named("$PEER1")
        let answer = #"{"peer_map":{"\#(peer)":{"peer":"\#(peer)","peername":"","keys":[{"key":null,"error":"gone"}],"error":"half"}}}"#
        let world = ScriptedWorld { _ in ScriptedAnswer(200, answer) }
        #expect(world.run("ipfs", "gc") == 0)
        #expect(world.stdout == "\(peer) | ERROR: half\n  > CIDs:\n    - ERROR: gone\n")
    }

    /// CLI-176, CLI-174: untrusted peers, daemons of others, peers that are not there.
    @Test func theGraphKnowsStrangers() throws {
        let (a, b, i, j) = (RecordedCase.named("$PEER0"), RecordedCase.named("$PEER1"), RecordedCase.named("$IPFS0"),
                            RecordedCase.named("$IPFS1"))
        let answer = #"{"cluster_id":"\#(a)","id_to_peername":{"\#(a)":"me"},"ipfs_links":{"\#(i)":["\#(j)"]},"#
            + #""cluster_links":{"\#(a)":["\#(b)"],"\#(b)":[]},"cluster_trust_links":{},"cluster_to_ipfs":{"\#(a)":"\#(i)"}}"#
        let world = ScriptedWorld { _ in ScriptedAnswer(200, answer) }
        #expect(world.run("health", "graph") == 0)
        #expect(world.stdout.contains("C1 [label=< <B>  </B> <BR/> <B> 12*mwjELj </B> > group=\"\(b)\" color=\"darkorange3\""))
        #expect(world.stdout.contains("\nC0 -> C1\n\n"))
        #expect(world.stdout.contains("\nC0 -> I0\nC1 -> I1 [ style=\"dotted\" ]\n"))
        #expect(!world.stdout.contains("I2") && !world.stdout.contains("I0 ->"))
        world.stdout = ""
        #expect(world.run("health", "graph", "--all-ipfs-peers") == 0)
        #expect(world.stdout.contains("\nI0 -> I1\n}"))
        #expect(world.stdout.contains("C1 -> I2 [ style=\"dotted\" ]"))
    }
}
