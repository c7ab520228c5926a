// HTTP: what clients send to the API, and what servers answer.

import API
import Encoding
import HTTP
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams

extension Target {
    static let web: [Target] = [
        Target("rest", upTo: 1024, seeds: Target.requestSeeds) { bytes in
            // The whole of it: a connection, the API behind it, and a peer that answers as the script says.
            var settings = RESTSettings()
            guard let first = bytes.first else { return }
            if first & 1 == 1 { settings.credentials = ["alice": "wonder:land"] }
            var server = FuzzedServer(settings, answers: first >> 1)
            var script = Script(Bytes(bytes.dropFirst()))
            while !script.isOver, !server.isClosed { server.receive(script.piece()) }
            server.end()
        },
        Target("http-client", upTo: 1024, seeds: {
            ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n3\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
             "HTTP/1.0 204 No Content\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nConnection: close\r\n\r\nbroken"].map { [0] + Script.step(0, Bytes($0.utf8)).dropFirst() }
        }) { bytes in
            var script = Script(bytes)
            var opening: Bytes = []
            var exchange = HTTPClientExchange(HTTPRequest(method: script.byte() & 1 == 0 ? "POST" : "HEAD", target: "/x"), bodyCount: 0, headBytesMax: 512, opening: &opening)
            var (heads, ends, body) = (0, 0, 0)
            while !script.isOver {
                guard let events = try? exchange.onBytes(script.piece()) else { return }
                for event in events {
                    require(ends == 0, "\(event) after the end")
                    switch event {
                    case .head: heads += 1
                    case .body(let bytes): body += bytes.count; require(heads == 1, "a body without a head")
                    case .end: ends += 1; require(heads == 1, "an end without a head")
                    }
                }
            }
            _ = try? exchange.onClosed()
            require(heads <= 1 && body <= bytes.count, "\(heads) heads, \(body) bytes")
        },
        Target("kubo", upTo: 1024, seeds: {
            Seeds.bodies("rest/proxy.ndjson").flatMap { body in (0..<10 as Range<UInt8>).map { [0, $0, 1, 0] + Script.step(2, body) + [3, 0] } }.prefix(800) + [
                "{\"Keys\":{\"\(Here.cid)\":{\"Type\":\"recursive\"}}}", "{\"Cid\":\"\(Here.cid)\",\"Type\":\"direct\"}\n", "{\"Pins\":[\"\(Here.cid)\"],\"Progress\":3}\n",
                "{\"Message\":\"not pinned\",\"Code\":0,\"Type\":\"error\"}", "{\"RepoSize\":1,\"StorageMax\":2}", "{\"Peers\":[{\"Addr\":\"/ip4/1.2.3.4/tcp/1\",\"Peer\":\"\(Here.peer(1))\"}]}",
                "{\"Path\":\"/ipfs/\(Here.cid)\"}", "{\"Key\":{\"/\":\"\(Here.cid)\"}}\n", "{\"ID\":\"\(Here.peer(1))\",\"Addresses\":[\"/ip4/1.2.3.4/tcp/1\"]}",
            ].flatMap { body in (0..<10 as Range<UInt8>).map { [0, $0, 1, 0] + Script.step(2, Bytes(body.utf8)) + [3, 0] } }
        }) { bytes in
            var script = Script(bytes)
            var machine = KuboConnector(settings: KuboSettings())
            var (open, requests): (Set<IPFSCallID>, [ExchangeID]) = ([], [])
            var (number, now): (UInt64, Int64) = (0, 0)
            while !script.isOver {
                var effects: [IPFSEffect] = []
                let request = requests.last ?? ExchangeID(0)
                switch script.below(8) {
                case 0:
                    number += 1
                    open.insert(IPFSCallID(number))
                    machine.start(Target.operation(&script), IPFSCallID(number), now: Here.at(now), effects: &effects)
                case 1: machine.onExchange(.head(request, status: script.byte() & 1 == 0 ? 200 : 500), now: Here.at(now), effects: &effects)
                case 2: machine.onExchange(.body(request, script.piece()), now: Here.at(now), effects: &effects)
                case 3:
                    _ = requests.popLast()
                    let trailers = script.byte() & 1 == 0 ? [] : [ExchangeEvent.Trailer(name: "X-Stream-Error", value: "late")]
                    machine.onExchange(.end(request, trailers: trailers), now: Here.at(now), effects: &effects)
                case 4:
                    _ = requests.popLast()
                    machine.onExchange(.failed(request, reason: "gone"), now: Here.at(now), effects: &effects)
                case 5:
                    now += Int64(script.byte()) * 1000
                    machine.onTime(now: Here.at(now), effects: &effects)
                case 6:
                    open.remove(IPFSCallID(number))
                    machine.cancel(IPFSCallID(number), effects: &effects)
                default: machine.onExchange(.drained(request), now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .exchange(.start(let id, _)): requests.append(id)
                    case .exchange(.cancel(let id)): requests.removeAll { $0 == id }
                    case .finished(let call, _): require(open.remove(call) != nil, "a call ended twice")
                    default: break
                    }
                }
                require(machine.callCount == open.count, "\(machine.callCount) calls of \(open.count)")
            }
        },
    ]

    static func operation(_ script: inout Script) -> IPFSOperation {
        var pin = Pin(cid: Here.cid)
        switch script.below(12) {
        case 0: return .id
        case 1: return .pin(pin)
        case 2:
            pin.options.pinUpdate = CID(v1: Codec.raw, .sha2_256(of: [2]))
            return .pin(pin)
        case 3: return .unpin(Here.cid)
        case 4: return .pinLsCid(pin)
        case 5: return .pinLs([.recursive, .direct])
        case 6: return .repoStat
        case 7: return .repoGC
        case 8: return .swarmPeers
        case 9: return .resolve(script.text())
        case 10: return .blockGet(Here.cid)
        default: return .configKey(script.text())
        }
    }

    @Sendable private static func requestSeeds() -> [Bytes] {
        let plain = Seeds.requests().enumerated().map { number, request in
            Bytes("\(request.method) \(request.target) HTTP/1.1\r\nHost: x\r\n\(number % 3 == 0 ? "Connection: close\r\n" : "")\r\n".utf8)
        }.filter { $0.count < 1000 }
        let form = Bytes("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%20b\"\r\nContent-Type: application/octet-stream\r\n\r\nabc\r\n--b\r\nContent-Disposition: form-data; filename=d\r\nContent-Type: application/x-directory\r\n\r\n\r\n--b\r\nContent-Disposition: form-data; filename=\"d/l\"\r\nContent-Type: application/symlink\r\n\r\n../a\r\n--b--\r\n".utf8)
        let head = "POST /add?format=unixfs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: multipart/form-data; boundary=\"b\"\r\n"
        let add = Bytes("\(head)Content-Length: \(form.count)\r\n\r\n".utf8) + form
        let chunked = Bytes("\(head)Transfer-Encoding: chunked\r\n\r\n\(String(form.count, radix: 16))\r\n".utf8) + form + Bytes("\r\n0\r\nX-T: 1\r\n\r\n".utf8)
        let joined = Bytes("POST /peers HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"peer_id\":\"\"}".utf8)
        let login = Bytes("GET /id HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6d29uZGVyOmxhbmQ=\r\nOrigin: http://x\r\n\r\n".utf8)
        let folded = Bytes("CONNECT x:1 HTTP/1.2\r\nHost: x\r\nOrigin:\r\n http://x\r\n\t\r\n\r\n".utf8)
        return (plain + [add, chunked, joined, folded]).enumerated().map { [UInt8($0 % 8) << 1] + Script.step(0, $1).dropFirst() } + [[1] + Script.step(0, login).dropFirst()]
    }
}

/// A connection and an API, as the daemon puts them together.
private struct FuzzedServer {
    private var connection = HTTPServerConnection(settings: HTTPServerSettings(), remote: "127.0.0.1:1", now: Here.now)
    private var api: RESTAPI
    private var ids: UInt64 = 0
    private(set) var isClosed = false
    private var answers: UInt8
    private var waiting: [HTTPServerConnection.Effect] = []
    private var isCarryingOut = false

    init(_ settings: RESTSettings, answers: UInt8) {
        api = RESTAPI(settings: settings, owner: 1)
        self.answers = answers
    }

    mutating func receive(_ bytes: Bytes) {
        var effects: [HTTPServerConnection.Effect] = []
        connection.onBytes(bytes, ids: &ids, now: Here.now, effects: &effects)
        carryOut(effects)
        effects = []
        connection.flush(now: Here.now, effects: &effects)
        carryOut(effects)
        effects = []
        connection.onDrained(ids: &ids, now: Here.now, effects: &effects)
        carryOut(effects)
    }
    mutating func end() {
        var effects: [HTTPServerConnection.Effect] = []
        let late = Now(monotonic: Here.now.monotonic + .hours(1), wall: Here.now.wall)
        if answers & 4 != 0 { connection.onTime(now: late, effects: &effects) }
        if answers & 8 != 0 { connection.onEnd(now: late, effects: &effects) }
        carryOut(effects)
        effects = []
        connection.onClosed(effects: &effects)
        carryOut(effects)
        require(api.openCount == 0, "\(api.openCount) requests are left")
    }

    /// One after the other, as the daemon does: what comes of an effect is carried out after those that came with it.
    private mutating func carryOut(_ effects: [HTTPServerConnection.Effect]) {
        waiting += effects
        guard !isCarryingOut else { return }
        isCarryingOut = true
        while !waiting.isEmpty {
            let effect = waiting.removeFirst()
            require(!isClosed, "\(effect) after the end")
            switch effect {
            case .close: isClosed = true
            case .served(let id, let event):
                var effects: [RESTAPI.Effect] = []
                api.on(id, event, now: Here.now, effects: &effects)
                carryOut(effects)
            case .write, .pause, .resume: break
            }
        }
        isCarryingOut = false
    }
    private mutating func carryOut(_ effects: [RESTAPI.Effect]) {
        for effect in effects {
            switch effect {
            case .answer(let id, let answer):
                var effects: [HTTPServerConnection.Effect] = []
                connection.answer(id, answer, ids: &ids, now: Here.now, effects: &effects)
                carryOut(effects)
            case .client(let client, let request):
                if case .add = request { continue }
                reply(client, request)
            case .clientInput(let client, .end): reply(client, .id)
            case .clientInput(let client, .more): tell(client, .end)
            case .clientInput, .clientGone, .log: break
            }
        }
    }
    private mutating func reply(_ client: ClientID, _ request: ClientRequest) {
        switch answers & 3 {
        case 0: tell(client, .item(.version("1.1.6")))
        case 1: tell(client, .item(.pin(Pin(cid: Here.cid))))
        case 2: tell(client, .item(.infos([GlobalPinInfo(cid: Here.cid)])))
        default: break
        }
        tell(client, .end)
    }
    private mutating func tell(_ client: ClientID, _ reply: ClientReply) {
        var effects: [RESTAPI.Effect] = []
        api.onReply(client, reply, effects: &effects)
        carryOut(effects)
    }
}
