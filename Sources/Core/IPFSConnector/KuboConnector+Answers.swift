// What the daemon's answers mean. IPFS-05, IPFS-06, IPFS-10..30, IPFS-43.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams

extension KuboConnector {
    // An answer may name thousands of blocks. Whoever takes a document from it holds no copy of its request, or all would be copied that
    // the request waits for.
    package mutating func onExchange(_ event: ExchangeEvent, now: Now, effects: inout [Effect]) {
        switch event {
        case .head(let exchange, let status):
            guard requests[exchange] != nil else { return }
            requests[exchange]?.status = status
            noteAnswer(&effects)
        case .body(let exchange, let bytes): onBody(exchange, bytes, now, &effects)
        case .drained(let exchange): if let call = requests.look(at: exchange, { $0.call }) { effects.append(.drained(call)) }
        case .failed(let exchange, let reason):
            guard let request = remove(exchange) else { return }
            if request.status == nil { noteFailure(reason, &effects) }
            onFailed(request, reason, now, &effects)
        case .end(let exchange, let trailers):
            guard let request = remove(exchange) else { return }
            onEnd(request, trailers, now, &effects)
        }
    }

    private mutating func onBody(_ exchange: ExchangeID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        guard let (call, role, status, count) = requests.look(at: exchange, { ($0.call, $0.role, $0.status, $0.body.count) }) else { return }
        if status == 200, isStreamed(call, role) { return onPiece(exchange, bytes, now, &effects) }
        guard count + bytes.count <= settings.answerBytesMax else {
            guard let request = remove(exchange) else { return }
            effects.append(.exchange(.cancel(exchange)))
            return onFailed(request, "IPFS gave an answer of more than \(settings.answerBytesMax) bytes "
                + "(\(request.target))", now, &effects)
        }
        requests[exchange]?.body += bytes
    }

    private func isStreamed(_ call: IPFSCallID, _ role: Role) -> Bool {
        if case .repoGC = calls[call]?.operation { return true }
        switch role {
        case .look, .lookAtSource, .pin, .list, .put: return true
        case .answer, .update, .origin: return false
        }
    }

    private mutating func onPiece(_ exchange: ExchangeID, _ bytes: Bytes, _ now: Now, _ effects: inout [Effect]) {
        do {
            for document in try documents(exchange, bytes) { try onDocument(exchange, document, now, &effects) }
        } catch {
            guard let request = remove(exchange) else { return }
            effects.append(.exchange(.cancel(exchange)))
            onFailed(request, "error decoding the answer of IPFS (\(request.target)): \(error)", now, &effects)
        }
    }

    private mutating func documents(_ exchange: ExchangeID, _ bytes: Bytes) throws -> [JSON] {
        guard var open = requests[exchange]?.documents else { return [] }
        requests[exchange]?.documents = JSONDocuments(bytesMax: 1 << 20)
        defer { requests[exchange]?.documents = open }
        return try open.push(bytes)
    }

    /// Throws for what is not the kind of document that such an answer holds.
    private mutating func onDocument(
        _ exchange: ExchangeID, _ json: JSON, _ now: Now, _ effects: inout [Effect]
    ) throws {
        guard let (call, role) = requests.look(at: exchange, { ($0.call, $0.role) }) else { return }
        switch role {
        case .list:
            calls[call]?.listed += 1
            effects.append(.item(call, .pinned(try cid(json["Cid"]), try pinStatus(json))))
        case .look, .lookAtSource:
            let found = try pinStatus(json)
            requests[exchange]?.found = found
        case .pin: onProgress(exchange, json["Progress"]?.integer() ?? -1, now)
        case .put: acknowledge(exchange, try cid(json["Key"]), &effects)
        case .answer: effects.append(.item(call, .collected(try KuboConnector.collected(json))))
        case .update, .origin: break
        }
    }

    private func cid(_ json: JSON?) throws -> CID { try CID(text: json?.text ?? "") }
    private func pinStatus(_ json: JSON) throws -> IPFSPinStatus {
        let status = IPFSPinStatus(text: json["Type"]?.text ?? "")
        guard status != .bug else { throw IPFSFailure("an item without a known type of pin") }
        return status
    }

    /// IPFS-20.
    private static func collected(_ json: JSON) throws -> IPFSRepoGC {
        let key = try json["Key"]?["/"]?.text.map { try CID(text: $0) }
        return IPFSRepoGC(key: key, error: json["Error"]?.text ?? "")
    }

    /// IPFS-22, counted from the last block that came.
    private mutating func onProgress(_ exchange: ExchangeID, _ progress: Int64, _ now: Now) {
        guard let request = requests[exchange], progress > request.progress else { return }
        requests[exchange]?.progress = progress
        rearm(exchange, now.monotonic + settings.pinTimeout)
    }

    // MARK: Ends

    /// The request has no whole answer.
    mutating func onFailed(_ request: Request, _ text: String, _ now: Now, _ effects: inout [Effect]) {
        switch request.role {
        case .origin: break  // IPFS-28
        case .lookAtSource: pin(request.call, now, &effects)
        default: fail(request.call, text, &effects)
        }
    }

    private mutating func onEnd(
        _ request: Request, _ trailers: [ExchangeEvent.Trailer], _ now: Now, _ effects: inout [Effect]
    ) {
        guard request.status == 200 else { return onRefused(request, now, &effects) }
        // T07, IPFS-06: what fails after its first document says so here, and must not look like a shorter answer.
        if let late = trailers.first(where: { $0.name.lowercased() == "x-stream-error" && !$0.value.isEmpty }) {
            return onFailed(request, "IPFS error (\(request.target)). Message: \(late.value)", now, &effects)
        }
        guard request.documents.isWhole else {
            return onFailed(request, "the answer of IPFS is cut off (\(request.target))", now, &effects)
        }
        onAnswered(request, now, &effects)
    }

    private mutating func onAnswered(_ request: Request, _ now: Now, _ effects: inout [Effect]) {
        let id = request.call
        switch request.role {
        case .origin: break
        case .list: listNext(id, now, &effects)
        case .look: onLooked(request, now, &effects)
        case .lookAtSource: pinOrUpdate(request, now, &effects)
        case .put: concludePut(request, &effects)
        case .pin, .update:
            pinCount += 1
            if case .pin(let pin) = calls[id]?.operation {
                let source = request.role == .update ? pin.options.pinUpdate : nil
                effects.append(.succeeded(source.map { .update(from: $0, to: pin.cid) } ?? .pin(pin.cid)))
            }
            finish(id, .success(.done), &effects)
        case .answer:
            guard let operation = calls[id]?.operation else { return }
            if case .unpin(let cid) = operation {
                pinCount = max(0, pinCount - 1)
                effects.append(.succeeded(.unpin(cid)))
            }
            finish(id, KuboAnswer.read(operation, request.body, request.target), &effects)
        }
    }

    /// An error of the daemon; two of them are no errors here.
    private mutating func onRefused(_ request: Request, _ now: Now, _ effects: inout [Effect]) {
        let error = KuboAnswer.Refusal(request)
        switch (request.role, calls[request.call]?.operation) {
        case (.look, .pin) where error.isNotPinned: startPinning(request.call, now, &effects)
        case (.look, _) where error.isNotPinned: finish(request.call, .success(.pinStatus(.unpinned)), &effects)
        case (.answer, .unpin) where error.message == "not pinned or pinned indirectly":  // IPFS-30
            finish(request.call, .success(.done), &effects)
        case (.update, _): pin(request.call, now, &effects)  // the source may have been unpinned meanwhile
        default: onFailed(request, error.text, now, &effects)
        }
    }

    // MARK: Pinning

    /// IPFS-26. An answer without an item says nothing.
    private mutating func onLooked(_ request: Request, _ now: Now, _ effects: inout [Effect]) {
        guard let call = calls[request.call] else { return }
        guard let found = request.found else {
            return fail(request.call, "IPFS gave an empty answer (\(request.target))", &effects)
        }
        guard case .pin(let pin) = call.operation else {
            return finish(request.call, .success(.pinStatus(found)), &effects)
        }
        if found.isPinned(to: pin.maxDepth) { return finish(request.call, .success(.done), &effects) }
        startPinning(request.call, now, &effects)
    }

    private mutating func startPinning(_ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        guard case .pin(let pin) = calls[id]?.operation else { return }
        calls[id]?.isCounted = true
        metricTrigger.hit(&effects)
        for origin in (pin.options.origins ?? []).prefix(settings.originsMax) {
            let target = "swarm/connect?arg=\(URLText.queryEscaped(origin.description))"
            request(id, .origin, target, within: nil, now, &effects)
        }
        if let source = pin.options.pinUpdate {
            look(id, source, pin.options.mode.depth, .lookAtSource, now, &effects)
        } else { self.pin(id, now, &effects) }
    }

    /// IPFS-29. An update pins all that is below: a direct pin, whose source was asked for as such, is pinned as any other.
    private mutating func pinOrUpdate(_ looked: Request, _ now: Now, _ effects: inout [Effect]) {
        guard case .pin(let pin) = calls[looked.call]?.operation else { return }
        guard looked.found == .recursive, let source = pin.options.pinUpdate else {
            return self.pin(looked.call, now, &effects)
        }
        let target = "pin/update?arg=\(source)&arg=\(pin.cid)&unpin=false"
        request(looked.call, .update, target, within: nil, now, &effects)
    }

    /// IPFS-13.
    private mutating func pin(_ id: IPFSCallID, _ now: Now, _ effects: inout [Effect]) {
        guard case .pin(let pin) = calls[id]?.operation else { return }
        let depth =
            switch pin.maxDepth {
            case 0: "recursive=false"
            case ..<0: "recursive=true"
            default: "max-depth=\(pin.maxDepth)&recursive=true"
            }
        let target = "pin/add?arg=\(pin.cid)&\(depth)&progress=true"
        request(id, .pin, target, within: settings.pinTimeout, now, &effects)
    }
}

/// Answers that are one document.
enum KuboAnswer {
    /// IPFS-05.
    struct Refusal {
        let text: String
        let message: String
        /// IPFS-27.
        var isNotPinned: Bool { message.hasSuffix("not pinned") }

        init(_ request: KuboConnector.Request) {
            let status = request.status ?? 0
            if case .object? = try? JSONReader.parse(request.body), let json = try? JSONReader.parse(request.body) {
                message = json["Message"]?.text ?? ""
                text = "IPFS error (\(request.target)). Code: \(status). Message: \(message)"
            } else {
                message = ""
                let body = String(decoding: request.body.prefix(1 << 12), as: UTF8.self)
                text = "IPFS request failed (is it running?) (\(request.target)). Code \(status): \(body)"
            }
        }
    }

    static func read(
        _ operation: IPFSOperation, _ body: Bytes, _ target: String
    ) -> Result<IPFSAnswer, IPFSFailure> {
        do {
            switch operation {
            case .blockGet: return .success(.block(body))
            case .id: return .success(.id(try id(JSONReader.parse(body))))
            case .repoStat: return .success(.repoStat(try repoStat(JSONReader.parse(body))))
            case .swarmPeers: return .success(.peers(try peers(JSONReader.parse(body))))
            case .resolve: return .success(.resolved(try resolved(JSONReader.parse(body))))
            case .configKey(let key): return .success(.value(try value(of: key, in: JSONReader.parse(body))))
            default: return .success(.done)
            }
        } catch let failure as IPFSFailure { return .failure(failure) } catch {
            return .failure(IPFSFailure("error decoding the answer of IPFS (\(target)): \(error)"))
        }
    }

    /// IPFS-10: addresses that do not parse are passed over.
    private static func id(_ json: JSON) throws -> IPFSID {
        var out = IPFSID()
        out.id = try PeerID(text: json["ID"]?.text ?? "")
        out.addresses = (json["Addresses"]?.elements ?? []).compactMap { $0.text.flatMap { try? Multiaddr(text: $0) } }
        return out
    }

    /// Go reads what is missing as 0.
    private static func repoStat(_ json: JSON) throws -> IPFSRepoStat {
        guard case .object = json else { throw IPFSFailure("IPFS gave a repo/stat that is no object") }
        return IPFSRepoStat(repoSize: json["RepoSize"]?.integer() ?? 0, storageMax: json["StorageMax"]?.integer() ?? 0)
    }

    /// IPFS-17.
    private static func peers(_ json: JSON) throws -> [PeerID] {
        try (json["Peers"]?.elements ?? []).map { try PeerID(text: $0["Peer"]?.text ?? "") }
    }

    private static func resolved(_ json: JSON) throws -> CID {
        let path = try ContentPath(full: json["Path"]?.text ?? "")
        guard case .immutable(_, let cid) = path.root else {
            throw IPFSFailure("invalid path \"\(path)\": path was expected to be immutable")
        }
        return cid
    }

    /// IPFS-18: two levels at most.
    private static func value(of key: String, in json: JSON) throws -> JSON {
        let parts = key.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var value = json
        for part in parts {
            guard case .object(let members) = value else { throw IPFSFailure("invalid path") }
            guard let member = members.last(where: { $0.name == part }) else {
                throw IPFSFailure("key not found in configuration")
            }
            value = member.value
        }
        return value
    }
}
