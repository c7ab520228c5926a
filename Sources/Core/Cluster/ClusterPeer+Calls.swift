// Questions whose answers come in a later step: to the IPFS daemon, to other peers, to all members at once.

import Encoding
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import RPC
import Seams

/// For whom something is done. Each has at most one survey, or collection of garbage.
enum Asker: Comparable, Sendable {
    /// The recovery that a peer makes by itself.
    case nobody
    case client(ClientID)
    /// A call of another peer.
    case peer(StreamID)
}

extension ClusterPeer {
    /// A question to the IPFS daemon. `each` takes the items of a streamed answer.
    struct IPFSCall: Sendable {
        let asker: Asker?
        let each: Then<IPFSItem>?
        let then: Then<Result<IPFSAnswer, IPFSFailure>>
    }

    /// A question to another peer, and its replies so far, unless `each` takes them.
    struct RPCPending: Sendable {
        let asker: Asker?
        var replies: [Bytes] = []
        let each: Then<Bytes>?
        let then: Then<Replies>
    }

    enum PendingCall: Hashable, Sendable {
        case ipfs(IPFSCallID)
        case rpc(RPCCallID)
    }

    /// What somebody waits for: a call, the answers of several peers together, or the parts of content that somebody else has in hand.
    enum Question: Hashable, Sendable {
        case call(PendingCall)
        case gather(UInt64)
        case parts(UInt64)
    }

    struct Waiting: Sendable {
        let asker: Asker?
        let body: @Sendable (inout ClusterPeer) -> Void
    }

    struct Replies: Sendable {
        let values: [Bytes]
        let failure: RPCFailure?
    }

    /// The same question to several peers: complete when each has answered, failed or run out of time.
    struct Gather: Sendable {
        let asker: Asker?
        var waiting: Int
        var answers: [Answer] = []
        let then: Then<[Answer]>

        struct Answer: Sendable {
            let peer: PeerID
            let items: [GatherItem]
            let failure: RPCFailure?
        }
    }

    enum GatherItem: Equatable, Sendable {
        case info(PinInfo)
        case peer(PeerInfo)
        case peers([PeerID])
    }

    mutating func number() -> UInt64 {
        nextNumber += 1
        return nextNumber
    }

    // MARK: IPFS

    @discardableResult
    mutating func askIPFS(
        _ operation: IPFSOperation, within limit: Span? = nil, each: Then<IPFSItem>? = nil,
        then: @escaping Then<Result<IPFSAnswer, IPFSFailure>>
    ) -> IPFSCallID {
        let call = IPFSCallID(number())
        ipfsCalls[call] = IPFSCall(asker: begun(.call(.ipfs(call))), each: each, then: then)
        withIPFS { $0.start(operation, call, within: limit, now: $1, effects: &$2) }
        return call
    }

    // MARK: Other peers

    /// Calls a method of another peer; a streaming method gets its arguments at once, or has more to come.
    @discardableResult
    mutating func ask(
        _ peer: PeerID, _ method: RPCMethod, _ arguments: [Bytes], goesOn: Bool = false, within span: Span? = nil, each: Then<Bytes>? = nil,
        then: @escaping Then<Replies>
    ) -> RPCCallID {
        guard let entry = RPCTable.entry(method) else { unreachable("no method \(method.text)") }
        let call = RPCCallID(number())
        rpcCalls[call] = RPCPending(asker: begun(.call(.rpc(call))), each: each, then: then)
        let deadline = span.map { turn.now.monotonic + $0 }
        withRPC { rpc, now, effects in
            switch entry.kind {
            case .unary:
                rpc.call(call, to: peer, method, argument: arguments.first ?? [0x80], deadline: deadline, effects: &effects)
            case .streaming:
                rpc.call(call, to: peer, method, deadline: deadline, effects: &effects)
                for argument in arguments { rpc.send(call, argument: argument, effects: &effects) }
                if !goesOn { rpc.endArguments(call, effects: &effects) }
            }
        }
        return call
    }

    // MARK: For whom

    /// What is asked meanwhile is asked for somebody, and called off when that one waits no more; nil for the peer itself.
    mutating func act(for asker: Asker?, _ body: (inout ClusterPeer) -> Void) {
        let before = turn.asker
        turn.asker = asker
        body(&self)
        turn.asker = before
    }

    private mutating func begun(_ question: Question) -> Asker? {
        guard let asker = turn.asker else { return nil }
        asked[asker, default: []].append(question)
        return asker
    }
    private mutating func ended(_ question: Question, of asker: Asker?) {
        guard let asker else { return }
        asked[asker]?.removeAll { $0 == question }
        if asked[asker]?.isEmpty ?? false { asked[asker] = nil }
    }

    /// A question that is over, or called off.
    @discardableResult
    private mutating func taken(_ call: IPFSCallID) -> IPFSCall? {
        guard let pending = ipfsCalls.removeValue(forKey: call) else { return nil }
        ended(.call(.ipfs(call)), of: pending.asker)
        return pending
    }
    @discardableResult
    private mutating func taken(_ call: RPCCallID) -> RPCPending? {
        guard let pending = rpcCalls.removeValue(forKey: call) else { return nil }
        ended(.call(.rpc(call)), of: pending.asker)
        return pending
    }

    /// Whoever asked waits no more: nothing further is done for it, but for what is written already.
    mutating func abandon(_ asker: Asker) {
        surveys[asker] = nil
        collections[asker] = nil
        if case .peer(let stream) = asker { served[stream] = nil }
        for question in asked.remove(asker) ?? [] {
            switch question {
            case .call(let call): cancel(call)
            case .gather(let id): gathers[id] = nil
            case .parts(let id): partsWaiting[id] = nil
            }
        }
    }

    /// Nothing further is heard of it.
    mutating func cancel(_ call: PendingCall) {
        switch call {
        case .ipfs(let call):
            taken(call)
            withIPFS { $0.cancel(call, effects: &$2) }
        case .rpc(let call):
            taken(call)
            withRPC { $0.cancel(call, effects: &$2) }
        }
    }

    // MARK: One after the other

    /// Whether nobody pins or removes the parts of that content just now; whoever has to wait is called again. What is pinned while it is
    /// being removed would stay without its content, or without its parts (seed 6002699). Who takes them gives them back, whoever leaves.
    mutating func takeParts(of root: CID, orWait body: @escaping @Sendable (inout ClusterPeer) -> Void) -> Bool {
        guard partsInHand[root] != nil else {
            partsInHand[root] = []
            return true
        }
        let id = number()
        partsWaiting[id] = Waiting(asker: begun(.parts(id)), body: body)
        partsInHand[root]?.append(id)
        return false
    }

    mutating func giveParts(of root: CID) {
        for id in partsInHand.removeValue(forKey: root) ?? [] {
            guard let waiting = partsWaiting.removeValue(forKey: id) else { continue }
            ended(.parts(id), of: waiting.asker)
            act(for: waiting.asker, waiting.body)
        }
    }

    // MARK: All members

    /// Asks each peer by `question`, which must answer by `gathered` exactly once.
    mutating func gather(
        _ peers: [PeerID], question: (inout ClusterPeer, PeerID, UInt64) -> Void, then: @escaping Then<[Gather.Answer]>
    ) {
        guard !peers.isEmpty else { return then(&self, []) }
        let id = number()
        gathers[id] = Gather(asker: begun(.gather(id)), waiting: peers.count, then: then)
        for peer in peers { question(&self, peer, id) }
    }

    mutating func gathered(_ id: UInt64, from peer: PeerID, _ items: [GatherItem], failure: RPCFailure? = nil) {
        guard var gather = gathers[id] else { unreachable("an answer to a question that nobody asked") }
        gather.answers.append(Gather.Answer(peer: peer, items: items, failure: failure))
        gather.waiting -= 1
        gathers[id] = gather.waiting > 0 ? gather : nil
        guard gather.waiting == 0 else { return }
        ended(.gather(id), of: gather.asker)
        gather.then(&self, gather.answers.sorted { $0.peer < $1.peer })
    }

    /// Asks a remote peer as part of a gather, decoding each reply.
    mutating func askForGather<T: MessagePackCodable>(
        _ peer: PeerID, _ id: UInt64, _ method: RPCMethod, _ arguments: [Bytes], within span: Span? = nil,
        as type: T.Type, _ item: @escaping @Sendable (T) -> GatherItem
    ) {
        ask(peer, method, arguments, within: span) { cluster, replies in
            var items: [GatherItem] = []
            var failure = replies.failure
            for bytes in replies.values {
                do { items.append(item(try T(messagePack: bytes))) } catch {
                    failure = failure ?? RPCFailure(.client, "undecodable reply of \(method.text): \(error)")
                }
            }
            cluster.gathered(id, from: peer, items, failure: failure)
        }
    }
}

extension ClusterPeer {
    /// How a question to IPFS ends.
    mutating func onAnswered(_ call: IPFSCallID, _ result: Result<IPFSAnswer, IPFSFailure>) {
        guard let pending = taken(call) else { return }
        act(for: pending.asker) { pending.then(&$0, result) }
    }

    mutating func route(_ effect: RPC.Effect) {
        switch effect {
        case .stream(let effect): emit(effect)
        case .called(let stream, let method, let from): onCalled(stream, method, from)
        case .argument(let stream, let bytes): act(for: .peer(stream)) { $0.onArgument(stream, bytes) }
        case .endOfArguments(let stream): act(for: .peer(stream)) { $0.onEndOfArguments(stream) }
        case .cancelled(let stream): onCancelled(stream)
        case .reply(let call, let bytes):
            if let pending = rpcCalls[call], let each = pending.each { act(for: pending.asker) { each(&$0, bytes) } } else { rpcCalls[call]?.replies.append(bytes) }
        case .finished(let call, let failure):
            guard let pending = taken(call) else { return }
            act(for: pending.asker) { pending.then(&$0, Replies(values: pending.replies, failure: failure)) }
        case .drained(let call): onDrained(.rpc(call))
        case .repliesDrained(let stream): onTaken(.peer(stream))
        }
    }
}
