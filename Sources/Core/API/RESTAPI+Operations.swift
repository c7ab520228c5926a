// What each route asks of the peer. spec/rest-api.md sections 6 to 8.

import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams

/// A request that has reached its route.
struct Call: Sendable {
    let request: HTTPRequest
    let target: RequestTarget
    let user: String?
    let now: Now
    let query: URLQuery
    private(set) var variables: [String] = []

    init(request: HTTPRequest, target: RequestTarget, user: String?, now: Now) {
        (self.request, self.target, self.user, self.now) = (request, target, user, now)
        query = URLQuery(target.query)
    }
    func with(_ variables: [String]) -> Call {
        var out = self
        out.variables = variables
        return out
    }

    var isLocal: Bool { query["local"] == "true" }
    var showsPinset: Bool { query["pinset"] == "true" }

    func options() throws(Refusal) -> PinOptions {
        do { return try PinOptions(query: query, now: now.wall) } catch { throw Refusal(400, error.description) }
    }

    /// What a pin keeps of the query is text. Upstream finds out when it writes the pin down, in these words.
    func checkKeptTexts() throws(Refusal) {
        let isKept = { (name: String) in name == "name" || name.utf8.starts(with: "meta-".utf8) }
        if query.items.contains(where: { !$0.isText && isKept($0.name) }) { throw Refusal(500, "string field contains invalid UTF-8") }
    }

    /// A CID with pin options, which are read and may be wrong on every such route. Upstream answers a wrong one with 400
    /// and goes on; here nothing is done (REST-198).
    func pin() throws(Refusal) -> Pin {
        let cid = try Call.cid(variables[0])
        return Pin(cid: cid, options: try options())
    }

    func pinPath() throws(Refusal) -> PinPath {
        let path: ContentPath
        do { path = try ContentPath(full: "/\(variables[0])/\(variables[1])") } catch {
            throw Refusal(400, "error parsing path: \(error)")
        }
        return PinPath(path: path.description, options: try options())
    }

    static func cid(_ text: String) throws(Refusal) -> CID {
        do { return try CID(text: text) } catch { throw Refusal(400, "error decoding Cid: \(error.aboutCID)") }
    }

    func peer() throws(Refusal) -> PeerID {
        do { return try PeerID(json: .string(variables[0])) } catch {
            throw Refusal(400, "error decoding Peer ID: \(error)")
        }
    }

    /// The body of `POST /peers`: its first JSON value counts (REST-050).
    static func peer(in body: Bytes) throws(Refusal) -> PeerID {
        let unreadable = Refusal(400, "error decoding request body")
        var reader = JSONReader(body)
        let asked: PeerAddBody
        do {
            guard let json = try reader.next() else { throw unreadable }
            asked = try PeerAddBody(json: json)
        } catch { throw unreadable }
        do { return try PeerID(text: asked.peerID) } catch { throw Refusal(400, "error decoding peer_id") }
    }

    private static let knownTypes: Set<PinType> = [.data, .meta, .clusterDAG, .shard]
    /// REST-053: an empty element means all, unknown ones are for pins of no type, unless there is nothing else.
    func types() throws(Refusal) -> Set<PinType> {
        var types: Set<PinType> = []
        for word in commaSeparated(query["filter"]) {
            if word.isEmpty || word == "all" { types.formUnion(Self.knownTypes) } else { types.insert(PinType(text: word)) }
        }
        guard types != [.bad] else { throw Refusal(400, "invalid filter value") }
        // All that are known are all that there are: pins of no type, which an import may bring, as well.
        return types == Self.knownTypes ? types.union([.bad]) : types
    }

    /// REST-055, REST-056: CIDs win over a filter.
    func statuses() throws(Refusal) -> ClientRequest {
        let cids = query["cids"]
        if !cids.isEmpty {
            var out: [CID] = []
            for word in commaSeparated(cids) { out.append(try Call.cid(word)) }
            return .statuses(out, isLocal: isLocal)
        }
        let filter = TrackerStatus(text: query["filter"])
        guard filter != .undefined || query["filter"].isEmpty else { throw Refusal(400, "invalid filter value") }
        return .statusAll(filter, isLocal: isLocal)
    }
}

extension RESTAPI {
    mutating func start(_ id: ServedID, _ operation: Operation, _ call: Call, _ effects: inout [Effect]) throws(Refusal) {
        if operation.readsPinOptions, !PinMode.isKnown(call.query["mode"]) {
            effects.append(.log(LogLine(.warning, "apitypes", "unknown pin mode string. Defaulting to recursive")))
        }
        switch operation {
        case .health: finishEmpty(id, &effects)
        case .token: try token(id, call, &effects)
        case .peerAdd: exchanges[id]?.shape = .peerAdd
        case .add: try add(id, call, &effects)
        case .id, .version, .peers, .peerRemove, .allocations, .allocation, .statusAll, .recover, .recoverAll, .status, .pin,
            .pinPath, .unpin, .unpinPath, .repoGC, .connectGraph, .alerts, .bandwidth, .metrics, .metricNames:
            let (request, shape) = try plain(operation, call)
            exchanges[id]?.showsPinset = call.showsPinset
            ask(id, request, as: shape, &effects)
        }
    }

    /// What is one request of the peer and no more.
    private func plain(_ operation: Operation, _ call: Call) throws(Refusal) -> (ClientRequest, Shape) {
        switch operation {
        case .id: return (.id, .one)
        case .version: return (.version, .one)
        case .peers: return (.peers, .stream)
        case .peerRemove: return (.peerRemove(try call.peer()), .one)
        case .allocations: return (.pins(try call.types()), .stream)
        case .allocation: return (.pinGet(try call.pin().cid), .one)
        case .statusAll: return (try call.statuses(), .stream)
        case .recover: return (.recover(try call.pin().cid, isLocal: call.isLocal), .one)
        case .recoverAll: return (.recoverAll(isLocal: call.isLocal), .stream)
        case .status: return (.status(try call.pin().cid, isLocal: call.isLocal), .one)
        // Always as deep as recursive: by CID upstream makes no direct pins (REST-199), whose depth would say 0.
        case .pin, .pinPath:
            let request: ClientRequest = operation == .pin ? .pin(try call.pin()) : .pinPath(try call.pinPath())
            try call.checkKeptTexts()
            return (request, .one)
        case .unpin: return (.unpin(try call.pin().cid), .one)
        case .unpinPath: return (.unpinPath(try call.pinPath()), .one)
        case .repoGC: return (.repoGC(isLocal: call.isLocal), .one)
        case .connectGraph: return (.connectGraph, .one)
        case .alerts: return (.alerts, .one)
        case .bandwidth: return (.bandwidth, .one)
        case .metrics: return (.metrics(name: call.variables[0]), .one)
        case .metricNames: return (.metricNames, .one)
        case .peerAdd, .add, .token, .health: unreachable("\(operation) is more than a request")
        }
    }

    /// REST-031.
    private mutating func token(_ id: ServedID, _ call: Call, _ effects: inout [Effect]) throws(Refusal) {
        guard let user = call.user, let token = authenticator.token(for: user) else { throw Refusal(401, "unauthorized") }
        write(id, 200, apiHeaders, RESTAPI.line(TokenBody(token: token).json), &effects)
    }

    /// REST-097..101. A streamed answer begins at once, so that whatever goes wrong from here on is in its trailer.
    private mutating func add(_ id: ServedID, _ call: Call, _ effects: inout [Effect]) throws(Refusal) {
        let boundary = try Upload.boundary(of: call.request)
        let parameters: AddParameters
        do { parameters = try AddParameters(query: call.query, now: call.now.wall) } catch {
            throw Refusal(400, error.description)
        }
        if parameters.streamChannels {
            var fields = RESTAPI.addHeaders(apiHeaders)
            fields.add("X-Chunked-Output", "1")
            fields.add("Trailer", "X-Stream-Error")
            writeHead(id, 200, fields, &effects)
        }
        let shape = parameters.streamChannels ? Shape.added : .addedList
        do throws(Refusal) { if !parameters.noPin { try call.checkKeptTexts() } } catch {
            exchanges[id]?.shape = shape
            return fail(id, ClientFailure(error.message), &effects)
        }
        exchanges[id]?.upload = Upload(boundary: boundary, settings: settings)
        ask(id, .add(parameters), as: shape, &effects)
    }
}
