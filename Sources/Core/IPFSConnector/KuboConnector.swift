// Kubo's RPC API over the HTTP exchange seam. spec/adder-and-ipfs.md IPFS-01..46.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

package struct KuboConnector: Sendable {
    package enum Effect: Equatable, Sendable {
        case exchange(ExchangeEffect)
        case item(IPFSCallID, IPFSItem)
        case finished(IPFSCallID, Result<IPFSAnswer, IPFSFailure>)
        /// The blocks that were put have left the buffers.
        case drained(IPFSCallID)
    }

    /// One operation under way: perhaps several requests, one after another.
    private struct Call: Sendable {
        let operation: IPFSOperation
        var target = ""
        var status = 0
        var body: Bytes = []
        /// A streamed answer, cut into JSON documents as it comes.
        var consumed = 0
        var stage = Stage.only
        var deadline: Instant?
        var progress: Int64 = -1
        var kinds: [IPFSPinStatus] = []
        var found: IPFSPinStatus?
        var sentBlocks = 0
        var ackedBlocks = 0
        var boundary = ""
    }
    private enum Stage: Equatable, Sendable { case only, checking, checkingSource, acting }

    private let settings: KuboSettings
    private var calls: [IPFSCallID: Call] = [:]
    private var callOf: [ExchangeID: IPFSCallID] = [:]
    private var exchangeOf: [IPFSCallID: ExchangeID] = [:]
    private var deadlines = SortedMap<Deadline, Void>()
    private var nextExchange: UInt64 = 0

    private struct Deadline: Comparable {
        let at: Instant
        let call: IPFSCallID
        static func < (a: Self, b: Self) -> Bool { (a.at, a.call) < (b.at, b.call) }
    }

    package init(settings: KuboSettings) { self.settings = settings }

    package var callCount: Int { calls.count }
    package var nextDeadline: Instant? { deadlines.first?.key.at }

    // MARK: Starting

    package mutating func start(_ operation: IPFSOperation, _ id: IPFSCallID, now: Now, effects: inout [Effect]) {
        var call = Call(operation: operation)
        switch operation {
        case .id: request(&call, id, "id", settings.requestTimeout, now, &effects)
        case .pin(let pin), .pinLsCid(let pin):
            call.stage = .checking
            let type = pin.maxDepth == 0 ? "direct" : "recursive"
            request(&call, id, "pin/ls?stream=true&arg=\(pin.cid)&type=\(type)", settings.requestTimeout, now, &effects)
        case .unpin(let cid):
            if settings.isUnpinDisabled {
                let text = "ipfs unpinning is disallowed by configuration on this peer"
                return effects.append(.finished(id, .failure(IPFSFailure(text))))
            }
            request(&call, id, "pin/rm?arg=\(cid)", settings.unpinTimeout, now, &effects)
        case .pinLs(let kinds):
            call.kinds = kinds
            return listNext(call, id, now, &effects)
        case .repoStat: request(&call, id, "repo/stat?size-only=true", settings.requestTimeout, now, &effects)
        case .repoGC: request(&call, id, "repo/gc?stream-errors=true", settings.repoGCTimeout, now, &effects)
        case .swarmPeers: request(&call, id, "swarm/peers", settings.requestTimeout, now, &effects)
        case .swarmConnect(let address):
            request(&call, id, "swarm/connect?arg=\(escaped(address.description))", settings.requestTimeout, now, &effects)
        case .resolve(let path): return resolve(path, call, id, now, &effects)
        case .blockGet(let cid): request(&call, id, "block/get?arg=\(cid)", settings.requestTimeout, now, &effects)
        case .blockPut: call.boundary = "----ipfs-cluster-\(id.number)"
        }
        calls[id] = call
    }

    private mutating func request(
        _ call: inout Call, _ id: IPFSCallID, _ target: String, _ timeout: Span?, _ now: Now, _ effects: inout [Effect],
        streaming contentType: String? = nil
    ) {
        nextExchange += 1
        let exchange = ExchangeID(nextExchange)
        (call.target, call.status, call.body, call.consumed) = (target, 0, [], 0)
        callOf[exchange] = id
        exchangeOf[id] = exchange
        rearm(&call, id, timeout.map { now.monotonic + $0 })
        var request = ExchangeRequest(target: "/api/v0/" + target)
        if let contentType {
            request.headers = [("Content-Type", contentType)]
            request.body = nil
        }
        effects.append(.exchange(.start(exchange, request)))
    }

    private mutating func rearm(_ call: inout Call, _ id: IPFSCallID, _ deadline: Instant?) {
        if let old = call.deadline { deadlines.remove(Deadline(at: old, call: id)) }
        call.deadline = deadline
        if let deadline { deadlines[Deadline(at: deadline, call: id)] = () }
    }

    /// IPFS-50: a bare root is answered without asking.
    private mutating func resolve(_ text: String, _ call: Call, _ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        var call = call
        let path = text.hasPrefix("/") ? text : "/ipfs/" + text
        let parts = path.split(separator: "/")
        if parts.count == 2, parts[0] == "ipfs" || parts[0] == "ipld", let cid = try? CID(text: parts[1]) {
            return effects.append(.finished(id, .success(.resolved(cid))))
        }
        request(&call, id, "resolve?arg=\(escaped(path))", settings.requestTimeout, now, &effects)
        calls[id] = call
    }

    /// IPFS-12, for each kind in turn; upstream stops after the first (IPFS-31).
    private mutating func listNext(_ call: Call, _ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        var call = call
        guard !call.kinds.isEmpty else { return finish(id, .success(.done), &effects, call) }
        let kind = call.kinds.removeFirst()
        request(&call, id, "pin/ls?stream=true&type=\(kind == .direct ? "direct" : "recursive")", settings.requestTimeout, now, &effects)
        calls[id] = call
    }

    /// The caller has lost interest; nothing further is reported.
    package mutating func cancel(_ id: IPFSCallID, effects: inout [Effect]) {
        guard var call = calls.removeValue(forKey: id) else { return }
        rearm(&call, id, nil)
        if let exchange = exchangeOf.removeValue(forKey: id) {
            callOf[exchange] = nil
            effects.append(.exchange(.cancel(exchange)))
        }
    }

    // MARK: Putting blocks

    /// IPFS-40..42: one part of the upload. The first block decides codec and hash of the request.
    package mutating func put(_ id: IPFSCallID, _ block: NodeWithMeta, now: Now, effects: inout [Effect]) {
        guard var call = calls[id], case .blockPut = call.operation else { return }
        if exchangeOf[id] == nil {
            guard let codec = KuboConnector.codecNames[block.cid.codec], let hash = KuboConnector.hashNames[block.cid.multihash.code] else {
                return finish(id, .failure(IPFSFailure("block \(block.cid) has a codec or hash that IPFS cannot be told")), &effects, call)
            }
            let target = "block/put?allow-big-block=true&cid-codec=\(codec)&mhlen=\(block.cid.multihash.digest.count)&mhtype=\(hash)&pin=false"
            request(&call, id, target, nil, now, &effects, streaming: "multipart/form-data; boundary=\(call.boundary)")
        }
        call.sentBlocks += 1
        calls[id] = call
        guard let exchange = exchangeOf[id] else { return }
        var part = Bytes("--\(call.boundary)\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\(block.cid)\"\r\n".utf8)
        part += Bytes("Content-Type: application/octet-stream\r\nAbspath-Encoded: \r\n\r\n".utf8) + block.data + Bytes("\r\n".utf8)
        effects.append(.exchange(.body(exchange, part)))
    }

    package mutating func endPut(_ id: IPFSCallID, effects: inout [Effect]) {
        guard let call = calls[id] else { return }
        guard let exchange = exchangeOf[id] else {  // IPFS-44
            return finish(id, .failure(IPFSFailure("BlockStream: no blocks to peek in blocks channel")), &effects, call)
        }
        effects.append(.exchange(.body(exchange, Bytes("--\(call.boundary)--\r\n".utf8))))
        effects.append(.exchange(.endOfBody(exchange)))
    }

    static let codecNames: [UInt64: String] = [Codec.raw: "raw", Codec.dagPB: "dag-pb", Codec.dagCBOR: "dag-cbor"]
    static let hashNames: [UInt64: String] = [
        HashCode.sha2_256: "sha2-256", 0x13: "sha2-512", 0x11: "sha1", 0x14: "sha3-512", 0x16: "sha3-256",
        HashCode.blake2b256: "blake2b-256",
    ]

    // MARK: Answers

    package mutating func onExchange(_ event: ExchangeEvent, now: Now, effects: inout [Effect]) {
        guard let id = callOf[event.id], var call = calls[id] else { return }
        switch event {
        case .head(_, let status):
            call.status = status
            calls[id] = call
        case .body(_, let bytes):
            call.body += bytes
            calls[id] = call
            if call.status == 200 { takeItems(id, now, &effects) }
        case .drained: effects.append(.drained(id))
        case .failed(_, let reason):
            release(event.id, id)
            finish(id, .failure(IPFSFailure(reason)), &effects, call)
        case .end(_, let trailers):
            release(event.id, id)
            if call.status == 200 { takeItems(id, now, &effects) }
            guard let call = calls[id] else { return }
            // T07, IPFS-06: what failed after its first line says so here, and must not look like a shorter answer.
            if let late = trailers.first(where: { $0.name.lowercased() == "x-stream-error" && !$0.value.isEmpty }) {
                return finish(id, .failure(IPFSFailure(late.value)), &effects, call)
            }
            conclude(id, call, now, &effects)
        }
    }

    private mutating func release(_ exchange: ExchangeID, _ id: IPFSCallID) {
        callOf[exchange] = nil
        exchangeOf[id] = nil
    }

    private mutating func finish(
        _ id: IPFSCallID, _ result: Result<IPFSAnswer, IPFSFailure>, _ effects: inout [Effect], _ call: Call
    ) {
        var call = call
        rearm(&call, id, nil)
        calls[id] = nil
        if let exchange = exchangeOf.removeValue(forKey: id) {
            callOf[exchange] = nil
            effects.append(.exchange(.cancel(exchange)))
        }
        effects.append(.finished(id, result))
    }

    /// The JSON documents of a streamed answer that are complete.
    private mutating func takeItems(_ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        guard let operation = calls[id]?.operation else { return }
        switch operation {
        case .pinLs, .repoGC, .pin, .pinLsCid, .blockPut: break
        default: return  // one document, read at the end
        }
        while let call = calls[id], let end = call.body[call.consumed...].firstIndex(of: UInt8(ascii: "\n")) {
            let line = Bytes(call.body[call.consumed..<end])
            calls[id]?.consumed = end + 1
            if end + 1 > 1 << 16 {
                calls[id]?.body.removeFirst(end + 1)
                calls[id]?.consumed = 0
            }
            if !line.isEmpty { takeItem(id, line, now, &effects) }
        }
    }

    private mutating func takeItem(_ id: IPFSCallID, _ line: Bytes, _ now: Now, _ effects: inout [Effect]) {
        guard var call = calls[id], let json = try? JSONReader.parse(line) else { return }
        switch call.operation {
        case .pinLs:
            guard let cid = json["Cid"]?.text.flatMap({ try? CID(text: $0) }) else { return }
            effects.append(.item(id, .pinned(cid, IPFSPinStatus(text: json["Type"]?.text ?? ""))))
        case .repoGC:
            let key = json["Key"]?["/"]?.text.flatMap { try? CID(text: $0) }
            effects.append(.item(id, .collected(IPFSRepoGC(key: key, error: json["Error"]?.text ?? ""))))
        case .pin, .pinLsCid:
            if call.stage == .acting {
                let progress = json["Progress"]?.integer(Int64.self) ?? -1
                if progress > call.progress {  // counted from the last block that came
                    call.progress = progress
                    rearm(&call, id, now.monotonic + settings.pinTimeout)
                }
            } else if call.found == nil, let type = json["Type"]?.text {
                call.found = IPFSPinStatus(text: type)
            }
            calls[id] = call
        case .blockPut:
            if json["Key"] != nil { calls[id]?.ackedBlocks += 1 }
        default: break
        }
    }

    /// IPFS-05.
    private func failure(of call: Call) -> IPFSFailure {
        if let json = try? JSONReader.parse(call.body), let message = json["Message"]?.text {
            return IPFSFailure("IPFS error (\(call.target)). Code: \(call.status). Message: \(message)")
        }
        let text = String(decoding: call.body, as: UTF8.self)
        return IPFSFailure("IPFS request failed (is it running?) (\(call.target)). Code \(call.status): \(text)")
    }
    private func message(of call: Call) -> String { (try? JSONReader.parse(call.body))?["Message"]?.text ?? "" }

    /// The whole answer is here.
    private mutating func conclude(_ id: IPFSCallID, _ call: Call, _ now: Now, _ effects: inout [Effect]) {
        let isGood = call.status == 200
        switch call.operation {
        case .pin(let pin): concludePin(id, call, pin, now, &effects)
        case .pinLsCid:
            if isGood { return finish(id, .success(.pinStatus(call.found ?? .unpinned)), &effects, call) }
            let isUnpinned = message(of: call).hasSuffix("not pinned")  // IPFS-27
            finish(id, isUnpinned ? .success(.pinStatus(.unpinned)) : .failure(failure(of: call)), &effects, call)
        case .unpin where !isGood && message(of: call) == "not pinned or pinned indirectly":  // IPFS-30
            finish(id, .success(.done), &effects, call)
        case .pinLs where isGood: listNext(call, id, now, &effects)
        case .blockPut where isGood && call.ackedBlocks < call.sentBlocks:
            let text = "IPFS took \(call.ackedBlocks) of \(call.sentBlocks) blocks"
            finish(id, .failure(IPFSFailure(text)), &effects, call)
        case _ where !isGood: finish(id, .failure(failure(of: call)), &effects, call)
        default: finish(id, read(call), &effects, call)
        }
    }

    /// IPFS-26, IPFS-29: looks first, then updates from a pinned source or pins.
    private mutating func concludePin(
        _ id: IPFSCallID, _ call: Call, _ pin: Pin, _ now: Now, _ effects: inout [Effect]
    ) {
        var call = call
        let isGood = call.status == 200
        let isUnpinned = !isGood && message(of: call).hasSuffix("not pinned")
        switch call.stage {
        case .checking:
            guard isGood || isUnpinned else { return finish(id, .failure(failure(of: call)), &effects, call) }
            if isGood, call.found?.isPinned(to: pin.maxDepth) == true { return finish(id, .success(.done), &effects, call) }
            call.found = nil
            if let source = pin.options.pinUpdate {
                call.stage = .checkingSource
                request(&call, id, "pin/ls?stream=true&arg=\(source)&type=recursive", settings.requestTimeout, now, &effects)
            } else { add(&call, id, pin, now, &effects) }
            calls[id] = call
        case .checkingSource:
            if isGood, call.found == .recursive, let source = pin.options.pinUpdate {
                call.stage = .acting
                request(&call, id, "pin/update?arg=\(source)&arg=\(pin.cid)&unpin=false", nil, now, &effects)
            } else { add(&call, id, pin, now, &effects) }
            calls[id] = call
        case .acting, .only:
            finish(id, isGood ? .success(.done) : .failure(failure(of: call)), &effects, call)
        }
    }

    /// IPFS-13.
    private mutating func add(_ call: inout Call, _ id: IPFSCallID, _ pin: Pin, _ now: Now, _ effects: inout [Effect]) {
        call.stage = .acting
        let depth =
            switch pin.maxDepth {
            case 0: "recursive=false"
            case ..<0: "recursive=true"
            default: "max-depth=\(pin.maxDepth)&recursive=true"
            }
        request(&call, id, "pin/add?arg=\(pin.cid)&\(depth)&progress=true", settings.pinTimeout, now, &effects)
    }

    private func read(_ call: Call) -> Result<IPFSAnswer, IPFSFailure> {
        if case .blockGet = call.operation { return .success(.block(call.body)) }
        let json = (try? JSONReader.parse(call.body)) ?? .null
        switch call.operation {
        case .id:
            guard let id = json["ID"]?.text.flatMap({ try? PeerID(text: $0) }) else { return .failure(unreadable(call)) }
            var answer = IPFSID()
            answer.id = id
            answer.addresses = (json["Addresses"]?.elements ?? []).compactMap { $0.text.flatMap { try? Multiaddr(text: $0) } }
            return .success(.id(answer))
        case .repoStat:
            guard let size = json["RepoSize"]?.integer(UInt64.self), let max = json["StorageMax"]?.integer(UInt64.self) else {
                return .failure(unreadable(call))
            }
            return .success(.repoStat(IPFSRepoStat(repoSize: size, storageMax: max)))
        case .swarmPeers:
            let peers = (json["Peers"]?.elements ?? []).map { $0["Peer"]?.text.flatMap { try? PeerID(text: $0) } }
            return peers.contains(nil) ? .failure(unreadable(call)) : .success(.peers(peers.compactMap { $0 }))
        case .resolve:
            let parts = (json["Path"]?.text ?? "").split(separator: "/")
            guard parts.count >= 2, parts[0] == "ipfs" || parts[0] == "ipld", let cid = try? CID(text: parts[1]) else {
                return .failure(unreadable(call))
            }
            return .success(.resolved(cid))
        default: return .success(.done)
        }
    }

    private func unreadable(_ call: Call) -> IPFSFailure {
        IPFSFailure("IPFS answered \(call.target) with something unreadable")
    }

    // MARK: Time

    package mutating func onTime(now: Now, effects: inout [Effect]) {
        while let due = deadlines.first?.key, due.at <= now.monotonic {
            deadlines.remove(due)
            guard let call = calls[due.call] else { continue }
            finish(due.call, .failure(IPFSFailure("context deadline exceeded")), &effects, call)
        }
    }
}

/// Go's url.QueryEscape.
private func escaped(_ text: String) -> String {
    let plain = SortedSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~".utf8)
    return text.utf8.map { byte in
        if byte == UInt8(ascii: " ") { return "+" }
        return plain.contains(byte) ? String(UnicodeScalar(byte)) : "%" + hex([byte]).uppercased()
    }.joined()
}
