// The REST API of a peer as a machine: requests and bodies in, answers and a client's requests out.
// It assumes a net that frames HTTP, and a peer behind the client seam. spec/rest-api.md; upstream api/rest, api/common.

import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams

/// Why a request is not taken further.
struct Refusal: Error, Equatable, Sendable {
    let status: Int
    let message: String
    init(_ status: Int, _ message: String) { self.status = status; self.message = message }
}

package struct RESTAPI: Sendable {
    package enum Effect: Equatable, Sendable {
        case answer(ServedID, ServedAnswer)
        case client(ClientID, ClientRequest)
        case clientInput(ClientID, ClientInput)
        /// The client has hung up; what it asked for is answered to nobody.
        case clientGone(ClientID)
        case log(LogLine)
    }

    /// What the client's items become.
    enum Shape: Equatable, Sendable {
        case one  // 200 with the item, 204 without
        case stream  // one line each
        case added  // the lines of an add, its head already sent
        case addedList  // an add's entries as one array
        case peerAdd  // nothing is asked yet: the request's body is being collected
    }

    /// A request until its answer has ended.
    struct Exchange: Sendable {
        let request: HTTPRequest
        let remote: String
        let since: WallTime
        /// Of CORS; they go with whatever is answered.
        var headers = HTTPFields()
        var shape = Shape.one
        /// Peers are shown with their pinsets, which upstream's do not have.
        var showsPinset = false
        var client: ClientID?
        var body: Bytes = []
        var upload: Upload?
        /// Rendered, and not yet sent: the one, or those of a list.
        var items: [JSON] = []
        /// A chunk of a listing is on its way out; the next is asked for when it has left.
        var isListing = false
        var status: Int?
        var bytesSent = 0
    }

    let settings: RESTSettings
    let authenticator: Authenticator
    let cors: CORS
    private var clients: ClientIDs
    var exchanges: [ServedID: Exchange] = [:]
    private var serving: [ClientID: ServedID] = [:]
    var pinWriter = PinJSONWriter()

    /// `owner` tells this API's clients from those of others.
    package init(settings: RESTSettings, owner: UInt8) {
        self.settings = settings
        authenticator = Authenticator(credentials: settings.credentials)
        cors = CORS(settings.cors)
        clients = ClientIDs(owner: owner)
    }

    /// Requests that are not fully answered.
    package var openCount: Int { exchanges.count }

    package mutating func on(_ id: ServedID, _ event: ServedEvent, now: Now, effects: inout [Effect]) {
        switch event {
        case .request(let request, let remote):
            exchanges[id] = Exchange(request: request, remote: remote, since: now.wall)
            onRequest(id, request, now, &effects)
        case .body(let bytes): onBody(id, bytes, &effects)
        case .end: onEnd(id, because: "EOF", &effects)
        case .cut(let reason): onEnd(id, because: reason, &effects)
        case .gone: onGone(id, &effects)
        case .drained: onDrained(id, &effects)
        }
    }

    package mutating func onReply(_ client: ClientID, _ reply: ClientReply, effects: inout [Effect]) {
        // Replies to those who have gone are still under way when we say so.
        guard let id = serving[client] else { return }
        switch reply {
        case .item(let item): answer(id, item, &effects)
        case .end: finish(id, &effects)
        case .failed(let failure): fail(id, failure, &effects)
        case .pause: effects.append(.answer(id, .pause))
        case .resume: effects.append(.answer(id, .resume))
        }
    }

    // MARK: The request

    /// REST-014: authentication, CORS, the slash at the end, the router.
    private mutating func onRequest(_ id: ServedID, _ request: HTTPRequest, _ now: Now, _ effects: inout [Effect]) {
        // Whoever asks for the server and not for a path of it gets nothing, and no refusal.
        if request.method == "OPTIONS", request.target == "*" { return write(id, 200, [:], [], &effects) }
        guard let target = RequestTarget(request.target, isConnect: request.method == "CONNECT") else {
            let fields: HTTPFields = ["Content-Type": "text/plain; charset=utf-8", "Connection": "close"]
            return write(id, 400, fields, Bytes("400 Bad Request".utf8), &effects)
        }
        let user: String?
        switch authenticator.judge(request, path: target.path, at: now.wall) {
        case .admitted(let name): user = name
        case .denied(let challenges, let message):
            return refuse(id, Refusal(401, message), challenges: challenges, &effects)
        }
        if CORS.isPreflight(request) {
            let response = cors.preflight(request)
            return write(id, response.status, response.headers, [], &effects)
        }
        exchanges[id]?.headers = cors.headers(for: request)
        if target.endsInSlash { return redirect(id, to: target.withoutSlash.cleaned, &effects) }
        if target.cleaned != target { return write(id, 301, ["Location": target.cleaned.location], [], &effects) }
        route(id, Call(request: request, target: target, user: user, now: now), &effects)
    }

    private mutating func route(_ id: ServedID, _ call: Call, _ effects: inout [Effect]) {
        switch Route.match(call.request.method, call.target.segments) {
        case .notFound: refuse(id, Refusal(404, "not found"), &effects)
        case .wrongMethod: write(id, 405, [:], [], &effects)
        case .route(let operation, let variables):
            do throws(Refusal) { try start(id, operation, call.with(variables), &effects) } catch {
                refuse(id, error, &effects)
            }
        }
    }

    /// Asks the peer for what this request wants.
    mutating func ask(_ id: ServedID, _ request: ClientRequest, as shape: Shape, _ effects: inout [Effect]) {
        let client = clients.next()
        serving[client] = id
        exchanges[id]?.client = client
        exchanges[id]?.shape = shape
        effects.append(.client(client, request))
    }

    // MARK: The request's body

    private mutating func onBody(_ id: ServedID, _ bytes: Bytes, _ effects: inout [Effect]) {
        // No copy of the exchange is held meanwhile, or its buffers would be copied too.
        if exchanges[id]?.upload != nil { return upload(id, &effects) { $0.feed(bytes, &$1) } }
        guard exchanges[id]?.shape == .peerAdd, let count = exchanges[id]?.body.count else { return }
        guard count + bytes.count <= settings.bodyLimitBytes else {
            return refuse(id, Refusal(413, "request body is longer than \(settings.bodyLimitBytes) bytes"), &effects)
        }
        exchanges[id]?.body += bytes
    }

    private mutating func onEnd(_ id: ServedID, because reason: String, _ effects: inout [Effect]) {
        if exchanges[id]?.upload != nil { return upload(id, &effects) { $0.finish(because: reason, &$1) } }
        guard let exchange = exchanges[id], exchange.shape == .peerAdd else { return }
        do throws(Refusal) { ask(id, .peerAdd(try Call.peer(in: exchange.body)), as: .one, &effects) } catch {
            refuse(id, error, &effects)
        }
    }

    private mutating func upload(
        _ id: ServedID, _ effects: inout [Effect], _ step: (inout Upload, inout [ClientInput]) -> Void
    ) {
        guard let client = exchanges[id]?.client, var upload = exchanges[id]?.upload else { return }
        exchanges[id]?.upload = nil
        var inputs: [ClientInput] = []
        step(&upload, &inputs)
        exchanges[id]?.upload = upload
        for input in inputs { effects.append(.clientInput(client, input)) }
    }

    /// One chunk is under way at a time, however long the listing is.
    private mutating func onDrained(_ id: ServedID, _ effects: inout [Effect]) {
        guard exchanges[id]?.isListing == true else { return }
        exchanges[id]?.isListing = false
        askForMore(id, &effects)
    }
    mutating func askForMore(_ id: ServedID, _ effects: inout [Effect]) {
        if let client = exchanges[id]?.client { effects.append(.clientInput(client, .more)) }
    }

    private mutating func onGone(_ id: ServedID, _ effects: inout [Effect]) {
        if let client = exchanges[id]?.client { effects.append(.clientGone(client)) }
        forget(id)
    }

    mutating func forget(_ id: ServedID) {
        if let client = exchanges.removeValue(forKey: id)?.client { serving[client] = nil }
    }
}
