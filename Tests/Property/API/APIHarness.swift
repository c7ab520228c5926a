// A net and a peer around the machine: what goes in as a request comes out as one answer.

import API
import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams
import Testing

/// One answer, put together from its pieces. Records an issue where the pieces are out of order.
struct Answer: Equatable {
    var status = 0
    var headers = HTTPFields()
    var body: Bytes = []
    var trailers = HTTPFields()
    var hasEnded = false

    var text: String { String(decoding: body, as: UTF8.self) }

    mutating func take(_ piece: ServedAnswer) {
        if hasEnded { Issue.record("\(piece) after the end of an answer") }
        switch piece {
        case .head(let response):
            if status != 0 { Issue.record("a second head") }
            (status, headers) = (response.status, response.headers)
        case .body(let bytes):
            if status == 0 { Issue.record("a body before the head") }
            body += bytes
        case .end(let fields):
            if status == 0 { Issue.record("an end before the head") }
            (trailers, hasEnded) = (fields, true)
        case .abort, .pause, .resume: break
        }
    }
}

struct APIHarness {
    var api: RESTAPI
    private(set) var answers: [ServedID: Answer] = [:]
    private(set) var requests: [(client: ClientID, request: ClientRequest)] = []
    private(set) var inputs: [ClientInput] = []
    private(set) var gone: [ClientID] = []
    private(set) var log: [String] = []
    private(set) var flow: [ServedAnswer] = []
    /// Of all bodies.
    private(set) var largestPiece = 0
    private var number: UInt64 = 0
    static let now = Now(monotonic: .origin, wall: WallTime(rfc3339: "2026-11-24T00:30:00Z") ?? .epoch)

    init(_ settings: RESTSettings = RESTSettings()) { api = RESTAPI(settings: settings, owner: 1) }

    mutating func feed(_ id: ServedID, _ event: ServedEvent) {
        var effects: [RESTAPI.Effect] = []
        api.on(id, event, now: Self.now, effects: &effects)
        take(effects)
    }
    mutating func reply(_ reply: ClientReply) {
        guard let client = requests.last?.client else { Issue.record("nobody asked"); return }
        var effects: [RESTAPI.Effect] = []
        api.onReply(client, reply, effects: &effects)
        take(effects)
    }

    private mutating func take(_ effects: [RESTAPI.Effect]) {
        for effect in effects {
            switch effect {
            case .answer(let id, .pause): flow.append(.pause); _ = id
            case .answer(let id, .resume): flow.append(.resume); _ = id
            case .answer(let id, let piece):
                if case .body(let bytes) = piece { largestPiece = max(largestPiece, bytes.count) }
                answers[id, default: Answer()].take(piece)
            case .client(let client, let request): requests.append((client, request))
            case .clientInput(let client, let input):
                #expect(client == requests.last?.client)
                inputs.append(input)
            case .clientGone(let client): gone.append(client)
            case .log(let line): log.append(line.message)
            }
        }
    }

    /// Sends a whole request, its body in the pieces given.
    mutating func send(_ method: String, _ target: String, _ headers: HTTPFields = [:], body: [Bytes] = []) -> ServedID {
        number += 1
        let id = ServedID(number)
        requests = []
        inputs = []
        feed(id, .request(HTTPRequest(method: method, target: target, headers: headers), remote: "127.0.0.1:4444"))
        for piece in body { feed(id, .body(piece)) }
        feed(id, .end)
        return id
    }

    /// Sends a request that the API answers by itself.
    mutating func ask(_ method: String, _ target: String, _ headers: HTTPFields = [:], body: [Bytes] = []) -> Answer {
        let id = send(method, target, headers, body: body)
        #expect(requests.isEmpty, "\(method) \(target) asked the peer")
        return answer(id)
    }

    func answer(_ id: ServedID) -> Answer {
        let answer = answers[id] ?? Answer()
        #expect(answer.hasEnded, "no answer")
        return answer
    }

    /// What a request asks of the peer, nil where it is answered at once.
    mutating func asked(_ method: String, _ target: String) -> ClientRequest? {
        _ = send(method, target)
        return requests.last?.request
    }
}

func stored(_ pins: [Pin]) -> StoredPins {
    var out = StoredPins()
    for pin in pins { out.append(pin) }
    return out
}
