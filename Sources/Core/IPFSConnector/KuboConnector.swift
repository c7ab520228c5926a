// Kubo's RPC API over the HTTP exchange seam. spec/adder-and-ipfs.md IPFS-01..61.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

package struct KuboConnector: Sendable {
    package typealias Effect = IPFSEffect

    /// One operation under way: perhaps several requests, one after another or side by side.
    struct Call: Sendable {
        let operation: IPFSOperation
        var requests: [ExchangeID] = []
        /// Ways of being pinned that are still to be listed.
        var kinds: [IPFSPinStatus] = []
        var listed = 0
        /// It changes the metrics when it ends (IPFS-60).
        var isCounted = false
        var upload = Upload()
        /// No request of it waits longer.
        var limit: Span?
    }

    /// What the answer to a request is good for.
    enum Role: Equatable, Sendable {
        case answer
        case look  // is it pinned?
        case lookAtSource  // is that pinned which a pin updates?
        case pin
        case update
        case list
        case origin  // connecting to an origin while the pin runs
        case put
    }

    struct Request: Sendable {
        let call: IPFSCallID
        let role: Role
        let target: String
        var timeout: Span?
        var deadline: Instant?
        /// Not sent yet: IPFS is failing (IPFS-04).
        var held: ExchangeRequest?
        var status: Int?
        var body: Bytes = []
        var documents = JSONDocuments(bytesMax: 1 << 20)
        var found: IPFSPinStatus?
        var progress: Int64 = -1
        /// Blocks put and not acknowledged yet, and how many they are.
        var unacknowledged: [Multihash: Int] = [:]
        var unacknowledgedCount = 0
        var isBodyEnded = false
    }

    struct Deadline: Comparable {
        let at: Instant
        let request: ExchangeID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.request) < (b.at, b.request) }
    }

    let settings: KuboSettings
    var calls: [IPFSCallID: Call] = [:]
    var requests = SortedMap<ExchangeID, Request>()
    private var deadlines = SortedMap<Deadline, Void>()
    private(set) var lastExchangeNumber: UInt64 = 0

    // IPFS-04: requests that failed in a row, and those that wait.
    private var failures = 0
    private var waiting: [ExchangeID] = []
    private var nextTicket = Instant(nanoseconds: .min)

    var metricTrigger: MetricTrigger
    /// IPFS-61: pins that the daemon is known to hold.
    package internal(set) var pinCount = 0

    package init(settings: KuboSettings) {
        self.settings = settings
        metricTrigger = MetricTrigger(interval: settings.informerTriggerInterval)
    }

    package var callCount: Int { calls.count }
    /// Requests of open calls that were sent, and those of any that were not.
    var requestCounts: (sent: Int, held: Int) {
        var (sent, held) = (0, 0)
        requests.each { if $1.held != nil { held += 1 } else if calls[$1.call] != nil { sent += 1 } }
        return (sent, held)
    }
    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        var (timed, held, ofCalls) = (0, 0, 0)
        for (exchange, request) in requests {
            if let at = request.deadline, deadlines[Deadline(at: at, request: exchange)] != nil { timed += 1 }
            if request.held != nil { held += 1 }
            if calls[request.call]?.requests.contains(exchange) == true { ofCalls += 1 }
        }
        invariant(timed == deadlines.count, "\(deadlines.count) deadlines for \(timed) requests")
        invariant(held == waiting.count, "\(waiting.count) requests wait, and \(held) are held")
        invariant(ofCalls == requests.count, "each request is a call's")
        invariant(calls.count { $1.requests.allSatisfy { requests[$0] != nil } } == calls.count, "a call waits for a request that has ended")
    }
    package var nextDeadline: Instant? { earliest(deadlines.first?.key.at, waiting.isEmpty ? nil : nextTicket) }

    // MARK: Calls

    package mutating func start(
        _ operation: IPFSOperation, _ id: IPFSCallID, within limit: Span? = nil, now: Now, effects: inout [Effect]
    ) {
        calls[id] = Call(operation: operation, limit: limit)
        switch operation {
        case .pin(let pin), .pinLsCid(let pin): look(id, pin.cid, pin.maxDepth, .look, now, &effects)
        case .pinLs(let kinds):
            calls[id]?.kinds = kinds
            listNext(id, now, &effects)
        case .unpin where settings.isUnpinDisabled:
            fail(id, "ipfs unpinning is disallowed by configuration on this peer", &effects)
        case .unpin(let cid): ask(id, "pin/rm?arg=\(cid)", within: settings.unpinTimeout, now, &effects)
        case .repoGC:
            calls[id]?.isCounted = true
            ask(id, "repo/gc?stream-errors=true", within: settings.repoGCTimeout, now, &effects)
        case .resolve(let path): resolve(id, path, now, &effects)
        case .blockPut: calls[id]?.isCounted = true
        case .id: ask(id, "id", now, &effects)
        case .repoStat: ask(id, "repo/stat?size-only=true", now, &effects)
        case .swarmPeers: ask(id, "swarm/peers", now, &effects)
        case .swarmConnect(let address):
            ask(id, "swarm/connect?arg=\(URLText.queryEscaped(address.description))", now, &effects)
        case .blockGet(let cid): ask(id, "block/get?arg=\(cid)", now, &effects)
        case .configKey: ask(id, "config/show", now, &effects)
        }
    }

    private mutating func ask(
        _ id: IPFSCallID, _ target: String, within timeout: Span? = nil, _ now: Now, _ effects: inout [Effect]
    ) {
        request(id, .answer, target, within: timeout ?? settings.requestTimeout, now, &effects)
    }

    /// IPFS-11.
    mutating func look(
        _ id: IPFSCallID, _ cid: CID, _ depth: PinDepth, _ role: Role, _ now: Now, _ effects: inout [Effect]
    ) {
        let type = depth == 0 ? "direct" : "recursive"
        request(id, role, "pin/ls?stream=true&arg=\(cid)&type=\(type)", within: settings.requestTimeout, now, &effects)
    }

    /// IPFS-12, for each kind in turn; upstream stops after the first (IPFS-31).
    mutating func listNext(_ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        guard let call = calls[id] else { return }
        guard let kind = call.kinds.first else {
            pinCount = call.listed
            return finish(id, .success(.done), &effects)
        }
        calls[id]?.kinds.removeFirst()
        let target = "pin/ls?stream=true&type=\(kind == .direct ? "direct" : "recursive")"
        request(id, .list, target, within: settings.requestTimeout, now, &effects)
    }

    /// IPFS-50: a bare root is answered without asking.
    private mutating func resolve(_ id: IPFSCallID, _ text: String, _ now: Now, _ effects: inout [Effect]) {
        do {
            let path = try ContentPath(text)
            if case .immutable(_, let cid) = path.root, path.names.isEmpty {
                return finish(id, .success(.resolved(cid)), &effects)
            }
            ask(id, "resolve?arg=\(URLText.queryEscaped(path.description))", now, &effects)
        } catch { fail(id, error.description, &effects) }
    }

    /// The caller has lost interest; nothing further is reported.
    package mutating func cancel(_ id: IPFSCallID, effects: inout [Effect]) { end(id, &effects) }

    mutating func finish(_ id: IPFSCallID, _ result: Result<IPFSAnswer, IPFSFailure>, _ effects: inout [Effect]) {
        guard calls[id] != nil else { return }
        end(id, &effects)
        effects.append(.finished(id, result))
    }

    mutating func fail(_ id: IPFSCallID, _ text: String, _ effects: inout [Effect]) {
        finish(id, .failure(IPFSFailure(text)), &effects)
    }

    private mutating func end(_ id: IPFSCallID, _ effects: inout [Effect]) {
        guard let call = calls.removeValue(forKey: id) else { return }
        for exchange in call.requests {
            guard let request = remove(exchange), request.held == nil else { continue }
            effects.append(.exchange(.cancel(exchange)))
        }
        if call.isCounted { metricTrigger.hit(&effects) }
    }

    // MARK: Requests

    /// Every request is a POST (IPFS-03). Uploads do not wait while IPFS fails: their blocks would pile up.
    @discardableResult
    mutating func request(
        _ id: IPFSCallID, _ role: Role, _ target: String, within timeout: Span?, _ now: Now,
        _ effects: inout [Effect], streaming contentType: String? = nil
    ) -> ExchangeID {
        lastExchangeNumber += 1
        let exchange = ExchangeID(lastExchangeNumber), timeout = [timeout, calls[id]?.limit].compactMap { $0 }.min()
        var request = Request(call: id, role: role, target: target, timeout: timeout)
        var http = ExchangeRequest(target: "/api/v0/" + target)
        if let contentType { (http.headers, http.body) = ([("Content-Type", contentType)], nil) }
        if failures > settings.failuresMax, contentType == nil, !takeTicket(now) {
            request.held = http
            waiting.append(exchange)
        } else { effects.append(.exchange(.start(exchange, http))) }
        requests[exchange] = request
        calls[id]?.requests.append(exchange)
        rearm(exchange, timeout.map { now.monotonic + $0 })
        return exchange
    }

    private mutating func takeTicket(_ now: Now) -> Bool {
        guard waiting.isEmpty, nextTicket <= now.monotonic else { return false }
        nextTicket = now.monotonic + settings.retryInterval
        return true
    }

    mutating func rearm(_ exchange: ExchangeID, _ deadline: Instant?) {
        guard let request = requests[exchange] else { return }
        if let old = request.deadline { deadlines.remove(Deadline(at: old, request: exchange)) }
        requests[exchange]?.deadline = deadline
        if let deadline { deadlines[Deadline(at: deadline, request: exchange)] = () }
    }

    /// Forgets a request that has ended, or that nobody waits for.
    @discardableResult
    mutating func remove(_ exchange: ExchangeID) -> Request? {
        rearm(exchange, nil)
        guard let request = requests.remove(exchange) else { return nil }
        if request.held != nil { waiting.removeAll { $0 == exchange } }
        calls[request.call]?.requests.removeAll { $0 == exchange }
        return request
    }

    // MARK: Failures of the daemon as a whole

    mutating func noteFailure(_ reason: String, _ effects: inout [Effect]) {
        failures += 1
        effects.append(.log(LogLine(.error, "ipfshttp", "error posting to IPFS:\(reason)")))
        guard failures == settings.failuresMax + 1 else { return }
        effects.append(.log(LogLine(.warning, "ipfshttp", "Rate-limiting requests to 1req/s")))
    }

    /// Any answer will do, an error too: the daemon is there.
    mutating func noteAnswer(_ effects: inout [Effect]) {
        if failures > settings.failuresMax {
            effects.append(.log(LogLine(.warning, "ipfshttp", "Lifting up rate limit")))
        }
        failures = 0
        let released = waiting
        waiting = []
        for exchange in released { release(exchange, &effects) }
    }

    private mutating func release(_ exchange: ExchangeID, _ effects: inout [Effect]) {
        guard let http = requests[exchange]?.held else { return }
        requests[exchange]?.held = nil
        effects.append(.exchange(.start(exchange, http)))
    }

    // MARK: Time

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        while let due = deadlines.first?.key, due.at <= now.monotonic { onLate(due.request, now, &effects) }
        if !waiting.isEmpty, nextTicket <= now.monotonic {
            nextTicket = now.monotonic + settings.retryInterval
            release(waiting.removeFirst(), &effects)
        }
    }

    private mutating func onLate(_ exchange: ExchangeID, _ now: Now, _ effects: inout [Effect]) {
        guard let request = remove(exchange) else { return }
        if request.held == nil {
            effects.append(.exchange(.cancel(exchange)))
            if request.status == nil { noteFailure("no answer to \(request.target)", &effects) }
        }
        let span = (request.timeout ?? .zero).goText
        let text =
            switch request.role {
            case .pin: "no block came for \(span): no reachable IPFS node seems to have what is missing (pin_timeout)"
            default: "IPFS did not finish answering within \(span) (\(request.target))"
            }
        onFailed(request, text, now, &effects)
    }
}
