// Answers that end badly, in pieces, elsewhere or late. CLI-097..106, CLI-116, CLI-130, REST-043..046.

import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@testable import ControlCommands

private let cid = "QmPuZphuHr1VafDeGGa8fsP2EbkpDFE7W6UzasYzTxiETr"
private let refused = "dial tcp 127.0.0.1:9094: connect: connection refused"

@Suite struct AnswerTests {
    private func run(_ words: [String], _ answer: ScriptedAnswer, pieces: Int = 7) -> (exit: Int32, world: ScriptedWorld) {
        let world = ScriptedWorld { _ in answer }
        world.pieceBytes = pieces
        return (ControlProgram(world: world).run(words), world)
    }

    @Test(arguments: [1, 3, 1000]) func aStreamIsReadInWhateverPieces(_ pieces: Int) {
        let lines = CIDText.status(cid, "pinned") + CIDText.status(cid, "pinning")
        let (exit, world) = run(["status"], ScriptedAnswer(200, lines, trailers: ["X-Stream-Error": ""]), pieces: pieces)
        #expect(exit == 0)
        #expect(world.stdout.split(separator: "\n").count == 4)
        #expect(world.stdout.hasSuffix(": PINNING | 2026-11-24T00:39:10Z | Attempts: 0 | Priority: false\n"))
    }

    /// REST-046: the empty value is ignored, the rest is joined; what came before is printed.
    @Test func aTrailerTellsWhatFailed() {
        var answer = ScriptedAnswer(200, CIDText.status(cid, "pinned"))
        for text in ["", "one", "two"] { answer.trailers.add("X-Stream-Error", text) }
        let (exit, world) = run(["status"], answer)
        #expect(exit == 2)
        #expect(world.stdout.hasPrefix(cid + ":\n"))
        #expect(world.stdout.hasSuffix("An error occurred:\n  Code: 500\n  Message: one; two\n"))
    }

    @Test func aCutOffStreamIsNoSuccess() {
        var answer = ScriptedAnswer(200, String(CIDText.status(cid, "pinned").dropLast(10)))
        let (exit, world) = run(["status"], answer)
        #expect(exit == 1)
        #expect(world.stderr == "error : unexpected EOF\n")
        answer.failure = "read tcp: connection reset by peer"
        let (exit2, world2) = run(["status"], answer)
        #expect(exit2 == 1)
        #expect(world2.stderr == "error : read tcp: connection reset by peer\n")
    }

    /// CLI-106.
    @Test func anAnswerThatIsNoJSONIsShownWhole() {
        let (exit, world) = run(["id"], ScriptedAnswer(502, "<html>bad gateway</html>"))
        #expect(exit == 2)
        #expect(world.stdout == "An error occurred:\n  Code: 502\n  Message: <html>bad gateway</html>\n")
        let (exit2, world2) = run(["--enc", "json", "version"], ScriptedAnswer(200, "<html>"))
        #expect(exit2 == 2)
        #expect(world2.stdout.hasPrefix("{\n    \"code\": 200,\n    \"message\": \"invalid character '\\u003c' looking for beginning of value"))
    }

    @Test func aFailedStatusPrintsAnEmptyItemFirst() {
        let (exit, world) = run(["--enc", "json", "status", cid], .failing(refused))
        #expect(exit == 1)
        #expect(world.stdout.hasPrefix("{\n    \"cid\": null,\n    \"name\": \"\",\n    \"allocations\": null,\n"))
        #expect(world.stdout.contains("    \"peer_map\": null\n}\n{\n    \"code\": 0,\n"))
        #expect(world.stderr.contains("\tERROR\tapiclient\t"))
        #expect(world.stderr.hasSuffix("\treached maximum number of retries without success, retries: 1\n"))
    }

    @Test func debuggingTellsWhatIsAsked() {
        let (_, world) = run(["-d", "version"], ScriptedAnswer(200, #"{"version":"9"}"#))
        #expect(world.stderr.hasSuffix("\tDEBUG\tapiclient\tControl/APIClient.swift\tGET: http://127.0.0.1:9094/version\n"))
        #expect(run(["version"], ScriptedAnswer(200, #"{"version":"9"}"#)).world.stderr.isEmpty)
    }

    /// CLI-097: an answer, however bad, ends the search.
    @Test func onlySilenceLeadsToTheNextHost() {
        let world = ScriptedWorld { seen in
            seen.endpoint.authority == "1.1.1.1:1" ? .failing("no route to host") : ScriptedAnswer(500, #"{"code":500,"message":"x"}"#)
        }
        #expect(world.run("-l", "/ip4/1.1.1.1/tcp/1,/ip4/2.2.2.2/tcp/2,/ip4/3.3.3.3/tcp/3", "id") == 2)
        #expect(world.seen.map(\.endpoint.authority) == ["1.1.1.1:1", "2.2.2.2:2"])
    }

    @Test func redirectionsAreFollowed() {
        let world = ScriptedWorld { seen in
            switch seen.request.target {
            case "/version":
                var answer = ScriptedAnswer(301, "moved")
                answer.headers["Location"] = seen.endpoint.authority == "127.0.0.1:9094" ? "https://other/version" : "/there"
                return answer
            default: return ScriptedAnswer(200, #"{"version":"9"}"#)
            }
        }
        #expect(world.run("-f", "--basic-auth", "a:b", "version") == 0)
        #expect(world.stdout == "9\n")
        #expect(world.seen.map(\.endpoint.authority) == ["127.0.0.1:9094", "other:443", "other:443"])
        #expect(world.seen.map { $0.request.headers["Authorization"] != nil } == [true, false, false])
    }

    @Test func redirectionsDoNotGoOnForEver() {
        var answer = ScriptedAnswer(307)
        answer.headers["Location"] = "/version"
        let (exit, world) = run(["version"], answer)
        #expect(exit == 1)
        #expect(world.seen.count == 11)
        #expect(world.stdout.hasSuffix("Message: Get \"http://127.0.0.1:9094/version\": stopped after 10 redirects\n"))
    }
}

@Suite struct WaitTests {
    private func info(_ statuses: [TrackerStatus]) throws -> GlobalPinInfo {
        var info = GlobalPinInfo(cid: CIDText.cid(cid))
        let names = [RecordedCase.named("$PEER0"), RecordedCase.named("$PEER1"), RecordedCase.named("$IPFS0")]
        for (name, status) in zip(names, statuses) {
            var short = PinInfoShort()
            short.status = status
            info.peers[try .init(text: name)] = short
        }
        return info
    }

    @Test(arguments: [
        ([.pinned, .pinned], .pinned, 0, true), ([.pinned, .pinning], .pinned, 0, false), ([.pinned, .remote], .pinned, -1, true),
        ([.pinned, .pinning], .pinned, 1, true), ([.pinned, .remote, .remote], .pinned, 2, false),
        ([.pinned], .pinned, 5, true), ([.unpinned, .remote], .unpinned, 0, false), ([.unpinned, .unpinned], .unpinned, 0, true),
    ] as [([TrackerStatus], TrackerStatus, Int, Bool)])
    func knowsWhenEnoughIsDone(_ statuses: [TrackerStatus], _ target: TrackerStatus, _ limit: Int, _ isReached: Bool) throws {
        #expect(try PinWait(target: target, limit: limit).isReached(info(statuses)) == isReached)
    }

    @Test(arguments: [TrackerStatus.undefined, .clusterError, .pinError, .unpinError])
    func givesUpOnAnyError(_ status: TrackerStatus) throws {
        let error = ControlFault("error has occurred while attempting to reach status: unpinned")
        #expect(throws: error) { try PinWait(target: .unpinned, limit: 1).isReached(info([.unpinned, status])) }
    }

    /// Each second until the target is reached; the status that did it is printed without asking again.
    @Test func pollsEverySecond() {
        var polls = 0
        let world = ScriptedWorld { seen in
            if seen.request.method == "POST" { return ScriptedAnswer(200, Pin(cid: CIDText.cid(cid)).json.encoded()) }
            polls += 1
            return ScriptedAnswer(200, CIDText.status(cid, polls < 3 ? "pinning" : "pinned"))
        }
        #expect(world.run("pin", "add", "--wait", cid) == 0)
        #expect(world.slept == [.seconds(1), .seconds(1), .seconds(1)])
        #expect(polls == 3)
        #expect(world.stdout.contains(": PINNED |"))
    }

    /// CLI-102, CLI-130: a limit of a second or less is none.
    @Test func aTimeoutEndsIt() {
        let world = ScriptedWorld { seen in
            seen.request.method == "DELETE"
                ? ScriptedAnswer(200, Pin(cid: CIDText.cid(cid)).json.encoded()) : ScriptedAnswer(200, CIDText.status(cid, "unpinning"))
        }
        #expect(world.run("pin", "rm", "--wait", "--wt", "2500ms", cid) == 62)
        #expect(world.slept == [.seconds(1), .seconds(1), .milliseconds(500)])
        #expect(world.stderr == "error waiting for pin status: context deadline exceeded\n")
    }

    /// A poll may last until the deadline, and then is no failure of its own.
    @Test func aTimeoutCutsThePoll() {
        let world = ScriptedWorld { seen in
            if seen.request.method == "DELETE" { return ScriptedAnswer(200, Pin(cid: CIDText.cid(cid)).json.encoded()) }
            #expect(seen.endpoint.timeout == .seconds(3))
            return .failing("context deadline exceeded")
        }
        world.delay = .seconds(3)
        #expect(world.run("-t", "9", "pin", "rm", "--wait", "--wt", "4s", cid) == 62)
        #expect(world.seen.map(\.request.method) == ["DELETE", "GET"])
    }

    @Test func aFailedPollEndsIt() {
        let world = ScriptedWorld { seen in
            seen.request.method == "POST"
                ? ScriptedAnswer(200, Pin(cid: CIDText.cid(cid)).json.encoded())
                : ScriptedAnswer(500, #"{"code":500,"message":"boom"}"#)
        }
        #expect(world.run("pin", "add", "--wait", cid) == 1)
        #expect(world.stderr == "error waiting for pin status: boom (500)\n")
    }

    /// The stored pin says how many peers an add waits for.
    @Test func anAddWaitsForItsLastCID() {
        let folder = TemporaryFolder()
        folder.write("a", [1])
        var pin = Pin(cid: CIDText.cid(cid))
        pin.options.replicationFactorMin = 1
        let world = ScriptedWorld { seen in
            switch seen.request.target.prefix(6) {
            case "/add?c": ScriptedAnswer(200, #"{"name":"a","cid":"\#(cid)"}"# + "\n")
            case "/alloc": ScriptedAnswer(200, pin.json.encoded())
            default: ScriptedAnswer(200, CIDText.status(cid, "pinned"))
            }
        }
        #expect(world.run("add", "--wait", folder.path + "/a") == 0)
        #expect(world.seen.map { $0.request.target.prefix(6) } == ["/add?c", "/alloc", "/pins/"])
    }
}
