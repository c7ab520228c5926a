// Asks the API: the hosts in turn, answers read as they come, failures in the words of upstream's client.
// CLI-097..106, REST-043..046.

import Encoding
import HTTP
import Kernel
import Pinset

/// Why a command ends.
package enum ControlFailure: Error, Equatable, Sendable {
    /// An answer of the API, or none at all (code 0): CLI-099, CLI-100.
    case api(ErrorBody)
    /// On this side: `error <doing>: <reason>` (CLI-101).
    case local(doing: String, reason: String, exit: Int32)

    static func local(_ doing: String, _ reason: some CustomStringConvertible) -> ControlFailure {
        .local(doing: doing, reason: reason.description, exit: 1)
    }
    static func noAnswer(_ text: String) -> ControlFailure { .api(ErrorBody(code: 0, message: text)) }

    /// As one text among others.
    var text: String {
        switch self {
        case .api(let error): "\(error.message) (\(error.code))"
        case .local(_, let reason, _): reason
        }
    }
}

struct APIClient {
    struct Host {
        let endpoint: APIEndpoint
        let transport: any HTTPTransport
        /// The value of the Authorization header.
        let authorization: String?
    }
    var hosts: [Host]
    let connect: (APIEndpoint) throws -> any HTTPTransport
    let log: (LogLevel, String) -> Void
    enum LogLevel: String { case debug = "DEBUG", error = "ERROR" }

    /// Asks as this one does, but no longer than so.
    func limited(to span: Span) throws(ControlFailure) -> APIClient {
        var client = self
        client.hosts = []
        for host in hosts {
            var endpoint = host.endpoint
            endpoint.timeout = min(span, endpoint.timeout ?? span)
            do {
                let transport = try connect(endpoint)
                client.hosts.append(Host(endpoint: endpoint, transport: transport, authorization: host.authorization))
            } catch { throw .local("creating API client", "\(error)") }
        }
        return client
    }

    /// Hands each item of the answer over. `upload` makes the body anew for every attempt.
    func run(
        _ request: ControlRequest, upload: (() throws(ControlFailure) -> Upload)? = nil, each: (Shown) -> Void
    ) throws(ControlFailure) {
        for (attempt, host) in hosts.enumerated() {
            do {
                return try ask(host, request, try upload?(), each)
            } catch .api(let error) where error.code == 0 && attempt + 1 < hosts.count {
                continue
            } catch {
                if case .api(let failure) = error, failure.code == 0 {
                    log(.error, "reached maximum number of retries without success, retries: \(hosts.count)")
                }
                throw error
            }
        }
    }

    /// The one item of an answer that must hold one.
    func one(_ request: ControlRequest) throws(ControlFailure) -> Shown {
        var answer: Shown?
        try run(request) { answer = $0 }
        guard let answer else { throw .api(ErrorBody(code: 500, message: "the API answered without content")) }
        return answer
    }

    private func ask(
        _ host: Host, _ request: ControlRequest, _ upload: Upload?, _ each: (Shown) -> Void
    ) throws(ControlFailure) {
        var headers: HTTPFields = ["Host": host.endpoint.authority, "User-Agent": "ipfs-cluster-ctl/\(ControlProgram.version)"]
        if let authorization = host.authorization { headers.add("Authorization", authorization) }
        if let upload { headers.add("Content-Type", "multipart/form-data; boundary=\(upload.boundary)") }
        let url = "\(host.endpoint.scheme)://\(host.endpoint.authority)\(request.target)"
        log(.debug, "\(request.method): \(url)")
        let message = HTTPRequest(method: request.method, target: request.target, headers: headers)
        var reader = AnswerReader(request.answer)
        let source = upload.map { upload in { () throws -> Bytes? in try upload.next() } }
        let trailers: HTTPFields
        do {
            trailers = try HTTPFollower(host: host, connect: connect).exchange(
                message, body: source, onHead: { reader.status = $0.status }, onBody: { try reader.push($0, each) })
        } catch let failure as ControlFailure {
            throw failure
        } catch {
            guard reader.status == 0 else { throw reader.broken(by: "\(error)") }
            throw .noAnswer("\(request.method.prefix(1))\(request.method.dropFirst().lowercased()) \"\(url)\": \(error)")
        }
        try reader.end(trailers, each)
    }
}

/// Reads one answer piece by piece.
private struct AnswerReader {
    let answer: ControlRequest.Answer
    var status = 0
    private var body: Bytes = []
    private var documents = JSONDocuments(bytesMax: AnswerReader.documentBytesMax)
    /// A status of every peer of a large cluster, or all metrics, is one document.
    private static let documentBytesMax = 1 << 28

    init(_ answer: ControlRequest.Answer) { self.answer = answer }

    private var isError: Bool { (400..<600).contains(status) }
    /// CLI-099, REST-043: accepted, or nothing to say.
    private var isEmpty: Bool { status == 202 || status == 204 }

    mutating func push(_ bytes: Bytes, _ each: (Shown) -> Void) throws(ControlFailure) {
        if case .stream(let resource) = answer, !isError {
            for document in try documents(bytes) { each(try shown(resource, document)) }
        } else {
            body += bytes
        }
    }

    private mutating func documents(_ bytes: Bytes) throws(ControlFailure) -> [JSON] {
        do { return try documents.push(bytes) } catch { throw .local("", error) }
    }

    private func shown(_ resource: Resource, _ json: JSON) throws(ControlFailure) -> Shown {
        do { return try resource.shown(json) } catch { throw fault(error.description) }
    }

    /// An answer that is not what it should be.
    private func fault(_ text: String) -> ControlFailure {
        if case .stream = answer { return .local("", text) }
        return .api(ErrorBody(code: status, message: text))
    }

    func broken(by text: String) -> ControlFailure { fault(text) }

    func end(_ trailers: HTTPFields, _ each: (Shown) -> Void) throws(ControlFailure) {
        if isError { throw .api(errorBody) }
        if case .stream = answer {
            guard documents.isWhole else { throw fault("unexpected EOF") }
            let errors = trailers.all("X-Stream-Error").filter { !$0.isEmpty }
            if !errors.isEmpty { throw .api(ErrorBody(code: 500, message: errors.joined(separator: "; "))) }
        } else if !isEmpty {
            try whole(each)
        }
    }

    /// CLI-106.
    private var errorBody: ErrorBody {
        do { return try ErrorBody(jsonText: body) } catch {
            return ErrorBody(code: status, message: String(decoding: body, as: UTF8.self))
        }
    }

    private func whole(_ each: (Shown) -> Void) throws(ControlFailure) {
        guard answer != .nothing else { return }
        let json: JSON
        do { json = try JSONReader.parse(body) } catch { throw fault(error.reason) }
        switch answer {
        case .one(let resource): each(try shown(resource, json))
        case .list(let resource):
            guard let items = json == .null ? [] : json.elements else { throw fault("the answer is no list") }
            var list: [Shown] = []
            for item in items { list.append(try shown(resource, item)) }
            each(.list(list))
        case .nothing, .stream: break
        }
    }
}
