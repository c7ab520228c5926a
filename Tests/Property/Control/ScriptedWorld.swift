// A world for tests: answers come from a closure, everything printed is kept, sleeping only moves the clock.

import ControlCommands
import HTTP
import Kernel
import Multiformats

struct ScriptedAnswer {
    var status = 200
    var headers: HTTPFields = [:]
    var body: Bytes = []
    var trailers: HTTPFields = [:]
    /// The exchange fails with this, after so much of the answer as was said, if any was.
    var failure: String?
    var hasHead = true

    init(_ status: Int = 200, _ text: String = "", trailers: HTTPFields = [:]) {
        self.status = status
        body = Bytes(text.utf8)
        self.trailers = trailers
    }
    static func failing(_ text: String) -> ScriptedAnswer {
        var answer = ScriptedAnswer()
        (answer.failure, answer.hasHead) = (text, false)
        return answer
    }
}

final class ScriptedWorld: ControlWorld {
    struct Seen {
        let endpoint: APIEndpoint
        let request: HTTPRequest
        let body: Bytes?
    }
    var environment: [String: String] = [:]
    var now: WallTime
    var stdout = ""
    var stderr = ""
    var slept: [Span] = []
    var seen: [Seen] = []
    var names: [String: [String]] = [:]
    /// Answers are cut into pieces of so many bytes.
    var pieceBytes = 7
    /// How long an exchange takes.
    var delay = Span.zero
    let answer: (Seen) -> ScriptedAnswer

    init(now: WallTime = WallTime(seconds: 1_795_480_750), answer: @escaping (Seen) -> ScriptedAnswer) {
        self.now = now
        self.answer = answer
    }

    func print(_ text: String) { stdout += text }
    func printError(_ text: String) { stderr += text }
    func sleep(_ span: Span) {
        slept.append(span)
        now = now + span
        precondition(slept.count < 100, "waits without end")
    }
    func entropy(_ count: Int) -> Bytes { Bytes(repeating: 0xab, count: count) }
    func resolve(_ address: Multiaddr) throws -> [Multiaddr] {
        let text = address.components[0].text ?? ""
        guard let found = names[text] else { throw ControlFault("lookup \(text): no such host") }
        return try found.map { try Multiaddr(text: $0) }
    }
    func transport(to endpoint: APIEndpoint) throws -> any HTTPTransport { Transport(world: self, endpoint: endpoint) }

    func run(_ words: String...) -> Int32 { ControlProgram(world: self).run(words) }

    private struct Transport: HTTPTransport {
        let world: ScriptedWorld
        let endpoint: APIEndpoint

        func exchange(
            _ request: HTTPRequest, body: (() throws -> Bytes?)?, onHead: (HTTPResponse) throws -> Void,
            onBody: (Bytes) throws -> Void
        ) throws -> HTTPFields {
            var sent: Bytes?
            if let body {
                sent = []
                while let piece = try body() { sent! += piece }
            }
            let seen = Seen(endpoint: endpoint, request: request, body: sent)
            world.seen.append(seen)
            let answer = world.answer(seen)
            world.now = world.now + world.delay
            if answer.hasHead {
                try onHead(HTTPResponse(status: answer.status, headers: answer.headers))
                var rest = answer.body[...]
                while !rest.isEmpty {
                    try onBody(Bytes(rest.prefix(world.pieceBytes)))
                    rest = rest.dropFirst(world.pieceBytes)
                }
            }
            if let failure = answer.failure { throw ControlFault(failure) }
            return answer.trailers
        }
    }
}

/// A folder that goes with the value.
final class TemporaryFolder {
    let path: String
    init() { path = SystemFiles.makeFolder() }
    deinit { SystemFiles.remove(path) }
    func write(_ name: String, _ bytes: Bytes) { SystemFiles.write(bytes, to: path + "/" + name) }
}
