// gorpc as a machine over streams: one stream a call, as client and as server. It moves encoded values and enforces who
// may call what; types and meaning belong to the peer. spec/wire-rpc.md part 1, spec/tracker-allocator-monitor.md IRPC rows.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

package struct RPCSettings: Sendable {
    /// Largest service ID, argument or reply accepted. Upstream sets no limit (RPC-17).
    package var valueBytesLimit = 16 << 20
    /// The same until the caller is known to be allowed more: service IDs, and arguments of methods that are open to all.
    package var openValueBytesLimit = 64 << 10
    /// Calls that one remote peer may have open with us.
    package var callsPerPeerLimit = 1024
    /// How long a stream may take to say which method it wants.
    package var headerTimeout = Span.seconds(30)
    package init() {}
}

/// A call that we make, numbered by the caller.
package struct RPCCallID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

package struct RPC: Sendable {
    package static let protocolID = "/ipfscluster/1.0/rpc"

    package enum Effect: Equatable, Sendable {
        case stream(StreamEffect)
        /// A remote peer calls; its arguments follow. Answer with `reply` and `finish`.
        case called(StreamID, RPCMethod, from: PeerID)
        case argument(StreamID, Bytes)
        case endOfArguments(StreamID)
        /// The caller gave up. Answer no more.
        case cancelled(StreamID)
        /// One reply to our call.
        case reply(RPCCallID, Bytes)
        /// Our call is over. Unary: after its reply.
        case finished(RPCCallID, RPCFailure?)
        /// The arguments sent for our call have left the buffers.
        case drained(RPCCallID)
        /// The replies to a remote peer's call have left the buffers.
        case repliesDrained(StreamID)
    }

    private let settings: RPCSettings
    private var streamIDs: StreamIDs
    private var trust: Trust
    private var servers: [StreamID: Server] = [:]
    private var clients: [StreamID: Client] = [:]
    private var streamsOfCalls: [RPCCallID: StreamID] = [:]
    private var openByPeer: [PeerID: Int] = [:]
    /// When a call or an unspoken stream runs out of time.
    private var deadlines = SortedMap<Deadline, Void>()

    private struct Deadline: Comparable {
        let at: Instant
        let stream: StreamID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.stream) < (b.at, b.stream) }
    }

    private struct Server {
        enum State { case awaitingMethod, running(RPCMethodEntry) }
        let peer: PeerID
        var state = State.awaitingMethod
        var buffer: ValueBuffer
        var argumentsSeen = 0
        var deadline: Instant?
    }

    private struct Client {
        let call: RPCCallID
        let peer: PeerID
        let entry: RPCMethodEntry
        var buffer: ValueBuffer
        var header: RPCHeader?
        var deadline: Instant?
    }

    package init(settings: RPCSettings = RPCSettings(), owner: UInt8, trust: Trust) {
        self.settings = settings
        self.trust = trust
        streamIDs = StreamIDs(owner: owner)
    }

    /// Calls that are open, both ways: for invariants and limits in tests.
    package var openCalls: (served: Int, made: Int) { (servers.count, clients.count) }

    package var nextDeadline: Instant? { deadlines.first?.key.at }

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        while let next = deadlines.first?.key, next.at <= now.monotonic {
            deadlines.remove(next)
            if let client = clients[next.stream] {
                effects.append(.stream(.reset(next.stream)))
                endClient(next.stream, client, RPCFailure(.client, "context deadline exceeded"), &effects)
            } else if servers[next.stream] != nil {
                effects.append(.stream(.reset(next.stream)))
                removeServer(next.stream)
            }
        }
    }

    /// Calls of others that are open.
    package var servedCount: Int { servers.count }
    /// Of a peer's calls, those that count against its limit.
    package func countedCalls(of peer: PeerID) -> Int { openByPeer[peer, default: 0] }

    /// Between two steps, in simulations and tests.
    package func checkInvariants() {
        invariant(streamsOfCalls.count == clients.count, "a call has one stream")
        invariant(clients.count { streamsOfCalls[$1.call] == $0 } == clients.count, "a stream is that of its call")
        invariant(openByPeer.count { peer, open in open > 0 && servers.count { $1.peer == peer } == open } == openByPeer.count, "calls that count are open")
        invariant(servers.count { openByPeer[$1.peer] != nil } == servers.count, "calls that are open count")
        func isKept(_ stream: StreamID, _ at: Instant?) -> Bool { at.map { deadlines[Deadline(at: $0, stream: stream)] != nil } ?? false }
        let timed = clients.count { isKept($0, $1.deadline) } + servers.count { isKept($0, $1.deadline) }
        invariant(timed == deadlines.count, "\(deadlines.count) deadlines for \(timed) calls")
    }

    // MARK: Calling

    /// Starts a call. Unary: `argument` is sent with it. Streaming: any number follow by `send`, then `endArguments`.
    package mutating func call(
        _ id: RPCCallID, to peer: PeerID, _ method: RPCMethod, argument: Bytes? = nil, deadline: Instant? = nil,
        effects: inout [Effect]
    ) {
        guard let entry = RPCTable.entry(method) else { unreachable("a call of unknown method \(method.text)") }
        invariant(entry.kind == .streaming || argument != nil, "\(method.text) needs its argument")
        let stream = streamIDs.next()
        streamsOfCalls[id] = stream
        clients[stream] = Client(
            call: id, peer: peer, entry: entry, buffer: ValueBuffer(limitBytes: entry.replyBytesLimit ?? settings.valueBytesLimit),
            deadline: deadline)
        if let deadline { deadlines[Deadline(at: deadline, stream: stream)] = () }
        var writer = MessagePackWriter()
        method.write(to: &writer)
        if let argument { writer.embed(argument) }
        effects.append(.stream(.open(stream, to: peer, protocols: [RPC.protocolID])))
        effects.append(.stream(.send(stream, writer.bytes)))
    }

    package mutating func send(_ id: RPCCallID, argument: Bytes, effects: inout [Effect]) {
        guard let stream = streamsOfCalls[id] else { return }  // failed meanwhile; `finished` has said so
        effects.append(.stream(.send(stream, argument)))
    }

    package mutating func endArguments(_ id: RPCCallID, effects: inout [Effect]) {
        guard let stream = streamsOfCalls[id] else { return }
        effects.append(.stream(.closeWrite(stream)))
    }

    /// Gives up; nothing further is reported for this call.
    package mutating func cancel(_ id: RPCCallID, effects: inout [Effect]) {
        guard let stream = streamsOfCalls[id] else { return }
        effects.append(.stream(.reset(stream)))
        removeClient(stream)
    }

    // MARK: Answering

    /// One reply. Unary methods reply once.
    package mutating func reply(_ stream: StreamID, _ value: Bytes, effects: inout [Effect]) {
        guard let server = servers[stream], case .running(let entry) = server.state else { return }
        respond(stream, RPCHeader(method: entry.method), value, &effects)
    }

    /// Ends an answer. A failure is sent with a nil value (RPC-07, RPC-14).
    package mutating func finish(_ stream: StreamID, failure: RPCFailure? = nil, effects: inout [Effect]) {
        guard let server = servers[stream], case .running(let entry) = server.state else { return }
        if let failure {
            respond(stream, RPCHeader(method: entry.method, error: failure.message, errorType: failure.type.rawValue), [0xc0], &effects)
        }
        effects.append(.stream(.closeWrite(stream)))
        removeServer(stream)
    }

    private func respond(_ stream: StreamID, _ header: RPCHeader, _ value: Bytes, _ effects: inout [Effect]) {
        var writer = MessagePackWriter()
        header.write(to: &writer)
        writer.embed(value)
        effects.append(.stream(.send(stream, writer.bytes)))
    }

    // MARK: Streams

    package mutating func onStream(_ event: StreamEvent, now: Now, effects: inout [Effect]) {
        switch event {
        case .incoming(let stream, let peer, _): onIncoming(stream, peer, now, &effects)
        case .received(let stream, let bytes):
            if servers[stream] != nil { serverReceived(stream, bytes, &effects) }
            else if clients[stream] != nil { clientReceived(stream, bytes, &effects) }
        case .remoteClosed(let stream): onRemoteClosed(stream, &effects)
        case .reset(let stream): onGone(stream, "stream reset", &effects)
        case .failed(let stream, let reason): onGone(stream, reason, &effects)
        case .drained(let stream):
            if let client = clients[stream] { effects.append(.drained(client.call)) } else if servers[stream] != nil { effects.append(.repliesDrained(stream)) }
        case .opened: break
        }
    }

    private mutating func onIncoming(_ stream: StreamID, _ peer: PeerID, _ now: Now, _ effects: inout [Effect]) {
        guard openByPeer[peer, default: 0] < settings.callsPerPeerLimit else {
            effects.append(.stream(.reset(stream)))
            return
        }
        let deadline = now.monotonic + settings.headerTimeout
        servers[stream] = Server(
            peer: peer, buffer: ValueBuffer(limitBytes: settings.openValueBytesLimit), deadline: deadline)
        openByPeer[peer, default: 0] += 1
        deadlines[Deadline(at: deadline, stream: stream)] = ()
    }

    private mutating func onRemoteClosed(_ stream: StreamID, _ effects: inout [Effect]) {
        if let client = clients[stream] {
            // Streaming: end of replies. Unary: an answer would have ended the call already.
            let complete = client.entry.kind == .streaming && client.buffer.isEmpty && client.header == nil
            effects.append(.stream(.closeWrite(stream)))
            endClient(stream, client, complete ? nil : RPCFailure(.client, "EOF"), &effects)
        } else if let server = servers[stream] {
            guard case .running(let entry) = server.state else {
                effects.append(.stream(.closeWrite(stream)))
                removeServer(stream)
                return
            }
            // A unary call is answered all the same. Upstream cancels what the call waits for, and answers with what comes of that
            // (RPC-11); its own callers reset the stream when they give up.
            if entry.kind == .streaming { return effects.append(.endOfArguments(stream)) }
            guard server.argumentsSeen == 0 else { return }
            refuse(stream, entry.method, .server, server.buffer.isEmpty ? "EOF" : "unexpected EOF", &effects)  // RPC-09
            effects.append(.cancelled(stream))
        }
    }

    private mutating func onGone(_ stream: StreamID, _ reason: String, _ effects: inout [Effect]) {
        if let client = clients[stream] {
            endClient(stream, client, RPCFailure(.client, reason), &effects)
        } else if let server = servers[stream] {
            removeServer(stream)
            if case .running = server.state { effects.append(.cancelled(stream)) }
        }
    }

    // MARK: Serving

    private mutating func serverReceived(_ stream: StreamID, _ bytes: Bytes, _ effects: inout [Effect]) {
        servers[stream]?.buffer.append(bytes)
        do {
            while let value = try servers[stream]?.buffer.next() { try serve(stream, value, &effects) }
        } catch {
            effects.append(.stream(.reset(stream)))
            onGone(stream, "malformed request", &effects)
        }
    }

    private mutating func serve(_ stream: StreamID, _ value: Bytes, _ effects: inout [Effect]) throws {
        guard let server = servers[stream] else { return }
        switch server.state {
        case .awaitingMethod:
            var reader = MessagePackReader(value)
            begin(stream, server.peer, try RPCMethod(reading: &reader), &effects)
        case .running(let entry):
            // RPC-11: whatever follows the argument of a unary call means nothing.
            if entry.kind == .unary && server.argumentsSeen > 0 { return }
            servers[stream]?.argumentsSeen += 1
            effects.append(.argument(stream, value))
        }
    }

    /// RPC-09: existence before permission.
    private mutating func begin(_ stream: StreamID, _ peer: PeerID, _ method: RPCMethod, _ effects: inout [Effect]) {
        guard RPCTable.hasService(method.service) else {
            return refuse(stream, method, .server, "rpc: can't find service \(method.service)", &effects)
        }
        guard let entry = RPCTable.entry(method) else {
            return refuse(stream, method, .server, "rpc: can't find method \(method.name)", &effects)
        }
        let allowed =
            switch entry.policy {
            case .open: true
            case .trusted: trust.trusts(peer)
            case .closed: false
            }
        guard allowed else {
            let text = "client does not have permissions to call \(method.text)"
            return refuse(stream, method, .authorization, text, &effects)
        }
        clearDeadline(stream, servers[stream]?.deadline)
        servers[stream]?.state = .running(entry)
        if entry.policy == .trusted { servers[stream]?.buffer.limitBytes = settings.valueBytesLimit }
        servers[stream]?.deadline = nil
        effects.append(.called(stream, method, from: peer))
    }

    private mutating func refuse(
        _ stream: StreamID, _ method: RPCMethod, _ type: RPCErrorType, _ text: String, _ effects: inout [Effect]
    ) {
        respond(stream, RPCHeader(method: method, error: text, errorType: type.rawValue), [0xc0], &effects)
        effects.append(.stream(.closeWrite(stream)))
        removeServer(stream)
    }

    // MARK: Replies

    private mutating func clientReceived(_ stream: StreamID, _ bytes: Bytes, _ effects: inout [Effect]) {
        clients[stream]?.buffer.append(bytes)
        do {
            while let value = try clients[stream]?.buffer.next() { try onReplyValue(stream, value, &effects) }
        } catch {
            guard let client = clients[stream] else { return }
            effects.append(.stream(.reset(stream)))
            endClient(stream, client, RPCFailure(.client, "malformed reply: \(error)"), &effects)
        }
    }

    /// Header and body alternate (RPC-04).
    private mutating func onReplyValue(_ stream: StreamID, _ value: Bytes, _ effects: inout [Effect]) throws {
        guard let client = clients[stream] else { return }
        guard client.header != nil else {
            var reader = MessagePackReader(value)
            let header = try RPCHeader(reading: &reader)
            if let failure = header.failure {  // its body may not decode, and nothing after it counts (RPC-07)
                effects.append(.stream(.reset(stream)))
                return endClient(stream, client, failure, &effects)
            }
            clients[stream]?.header = header
            return
        }
        clients[stream]?.header = nil
        effects.append(.reply(client.call, value))
        if client.entry.kind == .unary {
            effects.append(.stream(.closeWrite(stream)))
            endClient(stream, client, nil, &effects)
        }
    }

    // MARK: Bookkeeping

    private mutating func endClient(
        _ stream: StreamID, _ client: Client, _ failure: RPCFailure?, _ effects: inout [Effect]
    ) {
        removeClient(stream)
        effects.append(.finished(client.call, failure))
    }

    private mutating func removeClient(_ stream: StreamID) {
        guard let client = clients.removeValue(forKey: stream) else { return }
        clearDeadline(stream, client.deadline)
        streamsOfCalls[client.call] = nil
    }

    private mutating func removeServer(_ stream: StreamID) {
        guard let server = servers.removeValue(forKey: stream) else { return }
        clearDeadline(stream, server.deadline)
        let left = openByPeer[server.peer, default: 1] - 1
        openByPeer[server.peer] = left > 0 ? left : nil
    }

    private mutating func clearDeadline(_ stream: StreamID, _ deadline: Instant?) {
        if let deadline { deadlines.remove(Deadline(at: deadline, stream: stream)) }
    }
}
