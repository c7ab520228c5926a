// The connector against a scripted daemon: every request, answer, error and cut-off stream. IPFS-01..61.

import Encoding
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import Testing

/// Drives a connector and keeps what it asks for.
struct KuboStage {
    var connector: KuboConnector
    var now = Now(monotonic: Instant(nanoseconds: 1_000), wall: .epoch)
    var sent: [(id: ExchangeID, request: ExchangeRequest)] = []
    var uploads: [ExchangeID: Bytes] = [:]
    var endedUploads: [ExchangeID] = []
    var cancelled: [ExchangeID] = []
    var items: [IPFSItem] = []
    var results: [Result<IPFSAnswer, IPFSFailure>] = []
    var metricPublications = 0
    var logs: [LogLine] = []
    var successes: [IPFSSuccess] = []
    let call = IPFSCallID(7)

    init(_ change: (inout KuboSettings) -> Void = { _ in }) {
        var settings = KuboSettings()
        change(&settings)
        connector = KuboConnector(settings: settings)
    }

    mutating func with(_ body: (inout KuboConnector, Now, inout [IPFSEffect]) -> Void) {
        var effects: [IPFSEffect] = []
        body(&connector, now, &effects)
        for effect in effects {
            switch effect {
            case .exchange(.start(let id, let request)): sent.append((id, request))
            case .exchange(.body(let id, let bytes)): uploads[id, default: []] += bytes
            case .exchange(.endOfBody(let id)): endedUploads.append(id)
            case .exchange(.cancel(let id)): cancelled.append(id)
            case .item(_, let item): items.append(item)
            case .finished(_, let result): results.append(result)
            case .publishMetrics: metricPublications += 1
            case .log(let line): logs.append(line)
            case .succeeded(let what): successes.append(what)
            default: break
            }
        }
    }

    mutating func start(_ operation: IPFSOperation, _ id: UInt64 = 7) {
        with { $0.start(operation, IPFSCallID(id), now: $1, effects: &$2) }
    }
    mutating func event(_ event: ExchangeEvent) { with { $0.onExchange(event, now: $1, effects: &$2) } }
    mutating func pass(_ span: Span) {
        now.monotonic = now.monotonic + span
        with { $0.onTime(now: $1, effects: &$2) }
    }

    var targets: [String] { sent.map { String($0.request.target.dropFirst("/api/v0/".count)) } }
    var last: ExchangeID { sent[sent.count - 1].id }

    /// Answers the request sent last, cut into pieces of `pieceBytes`.
    mutating func answer(
        _ body: String, status: Int = 200, streamError: String? = nil, pieceBytes: Int = 5, to id: ExchangeID? = nil
    ) {
        let id = id ?? last
        event(.head(id, status: status))
        let bytes = Bytes(body.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            event(.body(id, Bytes(bytes[start..<min(start + pieceBytes, bytes.count)])))
        }
        event(.end(id, trailers: [.init(name: "X-Stream-Error", value: streamError ?? "")]))
    }
    mutating func refuse(_ message: String) {
        answer("{\"Message\":\"\(message)\",\"Code\":0,\"Type\":\"error\"}\n", status: 500)
    }

    var failure: String? { if case .failure(let failure)? = results.last { failure.description } else { nil } }
    var answer: IPFSAnswer? { if case .success(let answer)? = results.last { answer } else { nil } }
}

private let cid = CID(v1: Codec.raw, .sha2_256(of: [1]))
private let other = CID(v1: Codec.raw, .sha2_256(of: [2]))
private func pinLine(_ cid: CID, _ type: String) -> String { "{\"Cid\":\"\(cid)\",\"Type\":\"\(type)\"}\n" }
private func pin(_ depth: PinDepth = -1, _ change: (inout Pin) -> Void = { _ in }) -> Pin {
    var pin = Pin(cid: cid)
    pin.maxDepth = depth
    change(&pin)
    return pin
}

@Suite("Kubo: answers of one document")
struct KuboQueryTests {
    @Test("id leaves out addresses that do not parse")
    func id() throws {
        var stage = KuboStage()
        stage.start(.id)
        #expect(stage.targets == ["id"])
        let peer = "12D3KooWBtp1AcgNJ6ubRtcBRc1CNbsGvMdeFJTHfnYPjFRXFkSB"
        stage.answer("{\"ID\":\"\(peer)\",\"Addresses\":[\"/ip4/1.2.3.4/tcp/1\",\"/nonsense/x\"]}")
        guard case .id(let answer)? = stage.answer else { Issue.record("\(stage.results)"); return }
        #expect(answer.id?.description == peer)
        #expect(answer.addresses?.map(\.description) == ["/ip4/1.2.3.4/tcp/1"])
    }

    @Test("repo stat, swarm peers, block get and configuration keys")
    func queries() throws {
        var stage = KuboStage()
        stage.start(.repoStat)
        stage.answer("{\"RepoSize\":18446744073709551615,\"StorageMax\":10,\"NumObjects\":3}")
        #expect(stage.answer == .repoStat(IPFSRepoStat(repoSize: .max, storageMax: 10)))
        stage.start(.swarmPeers)
        let peer = "12D3KooWBtp1AcgNJ6ubRtcBRc1CNbsGvMdeFJTHfnYPjFRXFkSB"
        stage.answer("{\"Peers\":[{\"Addr\":\"/ip4/1.2.3.4\",\"Peer\":\"\(peer)\"}]}")
        #expect(stage.answer == .peers([try PeerID(text: peer)]))
        stage.start(.swarmPeers)
        stage.answer("{\"Peers\":null}")
        #expect(stage.answer == .peers([]))
        stage.start(.swarmPeers)
        stage.answer("{\"Peers\":[{\"Peer\":\"bad\"}]}")
        #expect(stage.failure != nil)
        stage.start(.blockGet(cid))
        stage.answer("\u{1}{\"")
        #expect(stage.answer == .block([1, 0x7b, 0x22]))
        let config = "{\"Datastore\":{\"StorageMax\":\"10GB\",\"Spec\":{\"a\":1}},\"X\":3}"
        for (key, wanted) in [
            ("Datastore/StorageMax", IPFSAnswer.value(.string("10GB"))), ("X", .value(.number("3"))),
        ] {
            stage.start(.configKey(key))
            stage.answer(config)
            #expect(stage.answer == wanted)
        }
        for (key, text) in [
            ("Y", "key not found in configuration"), ("X/Y", "invalid path"),
            ("Datastore/Spec/a", "key not found in configuration"),
        ] {
            stage.start(.configKey(key))
            stage.answer(config)
            #expect(stage.failure == text)
        }
        #expect(SortedSet(stage.targets).elements == [
            "block/get?arg=\(cid)", "config/show", "repo/stat?size-only=true", "swarm/peers",
        ])
    }

    @Test("a bare root is resolved without a request; other paths by the daemon")
    func resolve() {
        var stage = KuboStage()
        for path in ["\(cid)", "/ipfs/\(cid)", "/ipld/\(cid)/", "/ipfs/x/../\(cid)"] {
            stage.start(.resolve(path))
            #expect(stage.answer == .resolved(cid))
        }
        #expect(stage.sent.isEmpty)
        stage.start(.resolve("/ipns/a b"))
        #expect(stage.targets == ["resolve?arg=%2Fipns%2Fa+b"])
        stage.answer("{\"Path\":\"/ipfs/\(other)/below\"}")
        #expect(stage.answer == .resolved(other))
        stage.start(.resolve("/ipfs/\(cid)/a/./b"))
        #expect(stage.targets.last == "resolve?arg=%2Fipfs%2F\(cid)%2Fa%2Fb")
        stage.answer("{\"Path\":\"/ipns/still-a-name\"}")
        #expect(stage.failure == "invalid path \"/ipns/still-a-name\": path was expected to be immutable")
        stage.start(.resolve("/nope/x"))
        #expect(stage.failure?.hasPrefix("invalid path \"/ipfs//nope/x\"") == true)
    }

    @Test("swarm connect escapes the address")
    func connect() throws {
        var stage = KuboStage()
        stage.start(.swarmConnect(try Multiaddr(text: "/ip4/1.2.3.4/tcp/4001")))
        #expect(stage.targets == ["swarm/connect?arg=%2Fip4%2F1.2.3.4%2Ftcp%2F4001"])
        stage.answer("{\"Strings\":[]}")
        #expect(stage.answer == .done)
    }

    @Test("errors carry the daemon's words and its path")
    func errors() {
        var stage = KuboStage()
        stage.start(.repoStat)
        stage.refuse("boom")
        #expect(stage.failure == "IPFS error (repo/stat?size-only=true). Code: 500. Message: boom")
        stage.start(.repoStat)
        stage.answer("404 page not found", status: 404)
        let text = "IPFS request failed (is it running?) (repo/stat?size-only=true). Code 404: 404 page not found"
        #expect(stage.failure == text)
        stage.start(.repoStat)
        stage.event(.failed(stage.last, reason: "Post \"x\": connection refused"))
        #expect(stage.failure == "Post \"x\": connection refused")
        stage.start(.repoStat)
        stage.answer("{\"RepoSize\":")
        #expect(stage.failure?.hasPrefix("error decoding") == true)
    }

    @Test("a request that is not answered in time is given up and says so")
    func timeout() {
        var stage = KuboStage()
        stage.start(.id)
        stage.pass(.minutes(5) - .nanoseconds(1))
        #expect(stage.results.isEmpty)
        stage.pass(.nanoseconds(1))
        #expect(stage.failure == "IPFS did not finish answering within 5m0s (id)")
        #expect(stage.cancelled == [stage.last])
        stage.answer("{}")
        #expect(stage.results.count == 1)
        #expect(stage.connector.nextDeadline == nil)
        #expect(stage.connector.callCount == 0)
    }

    @Test("what was cancelled reports nothing")
    func cancel() {
        var stage = KuboStage()
        stage.start(.id)
        stage.with { $0.cancel(IPFSCallID(7), effects: &$2) }
        #expect(stage.cancelled == [stage.last])
        stage.answer("{}")
        #expect(stage.results.isEmpty)
    }

    @Test("an endless answer is cut off")
    func endless() {
        var stage = KuboStage { $0.answerBytesMax = 100 }
        stage.start(.blockGet(cid))
        stage.event(.head(stage.last, status: 200))
        for _ in 0..<11 { stage.event(.body(stage.last, Bytes(repeating: 0, count: 10))) }
        #expect(stage.failure?.contains("more than 100 bytes") == true)
        #expect(stage.cancelled == [stage.last])
    }
}

@Suite("Kubo: listing and collecting")
struct KuboListTests {
    @Test("recursive and direct pins are both listed")
    func both() {
        var stage = KuboStage()
        stage.start(.pinLs([.recursive, .direct]))
        stage.answer(pinLine(cid, "recursive"))
        stage.answer(pinLine(other, "direct"))
        #expect(stage.targets == ["pin/ls?stream=true&type=recursive", "pin/ls?stream=true&type=direct"])
        #expect(stage.items == [.pinned(cid, .recursive), .pinned(other, .direct)])
        #expect(stage.answer == .done)
        #expect(stage.connector.pinCount == 2)
    }

    /// T07: every way of being cut short.
    @Test("a listing that fails never reads as an empty or a shorter one", arguments: 0..<7)
    func cut(_ way: Int) {
        var stage = KuboStage()
        stage.start(.pinLs([.recursive, .direct]))
        let line = pinLine(cid, "recursive")
        switch way {
        case 0: stage.answer(line, streamError: "the datastore broke")
        case 1: stage.answer(String((line + line).dropLast(9)))
        case 2: stage.event(.head(stage.last, status: 200)); stage.event(.failed(stage.last, reason: "unexpected EOF"))
        case 3: stage.answer(line + "{\"Cid\":\"nonsense\",\"Type\":\"recursive\"}\n")
        case 4: stage.answer(line); stage.refuse("no")
        case 5: stage.answer(line + "{\"Message\":\"late\",\"Type\":\"error\"}\n")
        default: stage.answer(line); stage.event(.head(stage.last, status: 200)); stage.pass(.minutes(5))
        }
        #expect(stage.failure != nil)
        #expect(stage.results.count == 1)
        #expect(stage.connector.callCount == 0)
    }

    @Test("documents need no line ends, and may hold anything")
    func documents() {
        var stage = KuboStage()
        stage.start(.repoGC)
        #expect(stage.targets == ["repo/gc?stream-errors=true"])
        let first = "{\"Key\":{\"/\":\"\(cid)\"},\"Error\":\"\"}", second = "{\"Error\":\"a \\\"quoted} \\\\\"}"
        stage.answer(first + second + "\r\n  {\"Key\":{\"/\":\"\(other)\"}}", pieceBytes: 1)
        #expect(stage.items == [
            .collected(IPFSRepoGC(key: cid)), .collected(IPFSRepoGC(key: nil, error: "a \"quoted} \\")),
            .collected(IPFSRepoGC(key: other)),
        ])
        #expect(stage.answer == .done)
    }

    @Test("how one CID is pinned")
    func one() {
        var stage = KuboStage()
        stage.start(.pinLsCid(pin()))
        stage.answer(pinLine(cid, "recursive"))
        #expect(stage.answer == .pinStatus(.recursive))
        stage.start(.pinLsCid(pin(0)))
        stage.refuse("path '\(cid)' is not pinned")
        #expect(stage.answer == .pinStatus(.unpinned))
        stage.start(.pinLsCid(pin()))
        stage.answer("{\"Cid\":\"\(cid)\",\"Type\":\"indirect through \(other)\"}\n")
        #expect(stage.answer == .pinStatus(.indirect))
        stage.start(.pinLsCid(pin()))
        stage.refuse("some other trouble")
        #expect(stage.failure != nil)
        stage.start(.pinLsCid(pin()))
        stage.answer("")
        #expect(stage.failure?.contains("empty answer") == true)
        #expect(stage.targets.prefix(2) == [
            "pin/ls?stream=true&arg=\(cid)&type=recursive", "pin/ls?stream=true&arg=\(cid)&type=direct",
        ])
    }
}

@Suite("Kubo: pinning")
struct KuboPinTests {
    private func unpinned(_ stage: inout KuboStage) { stage.refuse("path '\(cid)' is not pinned") }

    @Test("looks first, and does not pin what is pinned")
    func pinned() {
        var stage = KuboStage()
        stage.start(.pin(pin()))
        stage.answer(pinLine(cid, "recursive"))
        #expect(stage.answer == .done)
        #expect(stage.sent.count == 1)
    }

    @Test(
        "pins to the depth asked for",
        arguments: [(-1, "recursive=true"), (0, "recursive=false"), (3, "max-depth=3&recursive=true")])
    func depth(_ depth: Int, _ query: String) {
        var stage = KuboStage()
        stage.start(.pin(pin(depth)))
        unpinned(&stage)
        #expect(stage.targets.last == "pin/add?arg=\(cid)&\(query)&progress=true")
        stage.answer("{\"Progress\":1}\n{\"Pins\":[\"\(cid)\"]}\n")
        #expect(stage.answer == .done)
        #expect(stage.connector.pinCount == 1)
    }

    @Test("a look that fails fails the pin")
    func lookFails() {
        var stage = KuboStage()
        stage.start(.pin(pin()))
        stage.refuse("out of order")
        #expect(stage.failure?.hasSuffix("Message: out of order") == true)
        #expect(stage.sent.count == 1)
    }

    @Test("a pin lives as long as blocks come, and is given up after that")
    func stall() {
        var stage = KuboStage()
        stage.start(.pin(pin()))
        unpinned(&stage)
        let id = stage.last
        stage.event(.head(id, status: 200))
        for number in 1...50 {
            stage.pass(.seconds(119))
            stage.event(.body(id, Bytes("{\"Progress\":\(number)}\n".utf8)))
        }
        #expect(stage.results.isEmpty)
        stage.event(.body(id, Bytes("{\"Progress\":50}\n{\"Progress\":49}\n".utf8)))
        stage.pass(.seconds(119))
        stage.event(.body(id, Bytes("{\"Progress\":50}\n".utf8)))
        #expect(stage.results.isEmpty)
        stage.pass(.seconds(1))
        #expect(stage.failure?.hasPrefix("no block came for 2m0s") == true)
        #expect(stage.cancelled == [id])
    }

    @Test("an error after the first progress is a failure", arguments: [true, false])
    func lateError(_ isTrailer: Bool) {
        var stage = KuboStage()
        stage.start(.pin(pin()))
        unpinned(&stage)
        if isTrailer {
            stage.answer("{\"Progress\":1}\n", streamError: "merkledag: not found")
            #expect(stage.failure?.contains("merkledag: not found") == true)
        } else {
            stage.answer("{\"Progress\":1}\n{\"Pro")
            #expect(stage.failure?.contains("cut off") == true)
        }
        #expect(stage.connector.pinCount == 0)
    }

    @Test("updates from a source that is pinned recursively, and pins otherwise", arguments: [true, false])
    func update(_ isSourcePinned: Bool) {
        var stage = KuboStage()
        stage.start(.pin(pin { $0.options.pinUpdate = other }))
        unpinned(&stage)
        #expect(stage.targets.last == "pin/ls?stream=true&arg=\(other)&type=recursive")
        if isSourcePinned { stage.answer(pinLine(other, "recursive")) } else { stage.refuse("whatever") }
        let wanted = isSourcePinned
            ? "pin/update?arg=\(other)&arg=\(cid)&unpin=false" : "pin/add?arg=\(cid)&recursive=true&progress=true"
        #expect(stage.targets.last == wanted)
        stage.answer("{\"Pins\":[]}\n")
        #expect(stage.answer == .done)
    }

    @Test("a direct pin is no update, which would pin all that is below")
    func directUpdate() {
        var stage = KuboStage()
        stage.start(.pin(pin { ($0.options.pinUpdate, $0.options.mode, $0.maxDepth) = (other, .direct, 0) }))
        unpinned(&stage)
        #expect(stage.targets.last == "pin/ls?stream=true&arg=\(other)&type=direct")
        stage.refuse("path '\(other)' is not pinned")
        #expect(stage.targets.last == "pin/add?arg=\(cid)&recursive=false&progress=true")
    }

    @Test("pins where the update is refused: its source may have been unpinned meanwhile")
    func refusedUpdate() {
        var stage = KuboStage()
        stage.start(.pin(pin { $0.options.pinUpdate = other }))
        unpinned(&stage)
        stage.answer(pinLine(other, "recursive"))
        stage.refuse("'from' cid was not recursively pinned already")
        #expect(stage.targets.last == "pin/add?arg=\(cid)&recursive=true&progress=true")
        stage.answer("{\"Pins\":[]}\n")
        #expect(stage.answer == .done)
    }

    /// Nothing is said of what was so before.
    @Test("tells of what the daemon has done", arguments: [
        (["pin"], "not pinned", "IPFS Pin request succeeded: \(cid)"), (["pin"], "recursive", nil),
        (["pin", "update"], "not pinned", "IPFS Pin Update request succeeded. \(other) -> \(cid) (unpin=false)"),
        (["unpin"], "", "IPFS Unpin request succeeded:\(cid)"), (["unpin"], "not pinned or pinned indirectly", nil),
    ] as [([String], String, String?)])
    func successes(_ what: [String], _ state: String, _ line: String?) {
        var stage = KuboStage()
        stage.start(what == ["unpin"] ? .unpin(cid) : .pin(pin { $0.options.pinUpdate = what.contains("update") ? other : nil }))
        switch state {
        case "recursive": stage.answer(pinLine(cid, "recursive"))
        case "not pinned": unpinned(&stage)
        case let message where !message.isEmpty: stage.refuse(message)
        default: break
        }
        if what.contains("update") { stage.answer(pinLine(other, "recursive")) }
        #expect(stage.successes.isEmpty)
        if stage.results.isEmpty { stage.answer("{\"Pins\":[\"\(cid)\"]}\n") }
        #expect(stage.answer == .done && stage.successes.map(\.description) == (line.map { [$0] } ?? []))
    }

    @Test("ten origins are connected beside the pin, whatever comes of it")
    func origins() throws {
        var stage = KuboStage()
        let origins = try (1...12).map { try Multiaddr(text: "/ip4/10.0.0.\($0)/tcp/4001") }
        stage.start(.pin(pin { $0.options.origins = origins }))
        unpinned(&stage)
        let connects = stage.sent.filter { $0.request.target.contains("swarm/connect") }
        #expect(connects.count == 10)
        #expect(stage.targets.last?.hasPrefix("pin/add") == true)
        stage.event(.failed(connects[0].id, reason: "unreachable"))
        stage.answer("no", status: 500, to: connects[1].id)
        #expect(stage.results.isEmpty)
        stage.answer("{\"Pins\":[]}\n")
        #expect(stage.answer == .done)
        #expect(stage.cancelled == connects[2...].map(\.id))
    }

    @Test("unpinning what is not pinned succeeds; other errors do not")
    func unpin() {
        var stage = KuboStage()
        stage.start(.unpin(cid))
        #expect(stage.targets == ["pin/rm?arg=\(cid)"])
        stage.refuse("not pinned or pinned indirectly")
        #expect(stage.answer == .done)
        stage.start(.unpin(cid))
        stage.refuse("is not pinned or pinned indirectly, or so")
        #expect(stage.failure != nil)
        var disabled = KuboStage { $0.isUnpinDisabled = true }
        disabled.start(.unpin(cid))
        #expect(disabled.failure == "ipfs unpinning is disallowed by configuration on this peer")
        #expect(disabled.sent.isEmpty)
    }

    @Test("metrics are told anew after so many pins, puts and collections")
    func metrics() {
        var stage = KuboStage { $0.informerTriggerInterval = 3 }
        stage.start(.pin(pin()))
        unpinned(&stage)  // 1
        stage.answer("{\"Pins\":[]}\n")  // 2
        stage.start(.pin(pin()))
        stage.answer(pinLine(cid, "recursive"))  // already pinned: does not count
        stage.start(.unpin(cid))
        stage.answer("{}")  // nor does this
        #expect(stage.metricPublications == 0)
        stage.start(.repoGC)
        stage.answer("")  // 3
        #expect(stage.metricPublications == 1)
    }

    @Test("after more than ten failures in a row requests go out one a second, until one is answered")
    func rateLimit() {
        var stage = KuboStage()
        for number in 0..<11 {
            stage.start(.id, UInt64(number))
            stage.event(.failed(stage.last, reason: "connection refused"))
        }
        #expect(stage.sent.count == 11)
        for number in 20..<25 { stage.start(.id, UInt64(number)) }
        #expect(stage.sent.count == 12)
        stage.pass(.seconds(1))
        stage.pass(.seconds(1))
        #expect(stage.sent.count == 14)
        stage.with { $0.cancel(IPFSCallID(23), effects: &$2) }
        stage.answer("no", status: 500)
        #expect(stage.sent.count == 15)
        stage.start(.id, 30)
        #expect(stage.sent.count == 16)
        #expect(stage.logs.filter { $0.level == .warning }.map(\.message) == [
            "Rate-limiting requests to 1req/s", "Lifting up rate limit",
        ])
    }
}

@Suite("Kubo: putting blocks")
struct KuboPutTests {
    private func block(
        _ byte: UInt8, _ code: UInt64 = HashCode.sha2_256, _ codec: UInt64 = Codec.raw
    ) throws -> NodeWithMeta {
        let hash = try #require(Multihash.of([byte], with: code))
        return NodeWithMeta(data: [byte], cid: CID(v1: codec, hash), cumulativeSize: 1)
    }
    private func put(_ stage: inout KuboStage, _ block: NodeWithMeta) {
        stage.with { $0.put(IPFSCallID(7), block, now: $1, effects: &$2) }
    }
    private func end(_ stage: inout KuboStage) { stage.with { $0.endPut(IPFSCallID(7), effects: &$2) } }
    private func key(_ block: NodeWithMeta) -> String { "{\"Key\":\"\(block.cid)\",\"Size\":1}\n" }

    @Test("one multipart request carries the stream; the first block says codec and hash")
    func stream() throws {
        var stage = KuboStage()
        let first = try block(1), second = try block(2, HashCode.sha2_256, Codec.dagPB)
        stage.start(.blockPut)
        #expect(stage.sent.isEmpty)
        put(&stage, first)
        put(&stage, second)
        #expect(stage.targets == [
            "block/put?allow-big-block=true&cid-codec=raw&mhlen=32&mhtype=sha2-256&pin=false"
        ])
        #expect(stage.sent[0].request.body == nil)
        end(&stage)
        #expect(stage.endedUploads == [stage.last])
        let type = try #require(stage.sent[0].request.headers.first { $0.name == "Content-Type" }?.value)
        let boundary = try #require(type.split(separator: "boundary=").last)
        let body = String(decoding: stage.uploads[stage.last] ?? [], as: UTF8.self)
        let parts = body.components(boundary: "--\(boundary)")
        #expect(parts.count == 4)
        #expect(parts.last == "--\r\n")
        #expect(parts[1].contains("filename=\"\(first.cid)\""))
        #expect(parts[2].hasSuffix("\r\n\r\n\u{2}\r\n"))
        // Kubo answers with the codec it was told: only the multihash counts.
        stage.answer(key(first) + "{\"Key\":\"\(CID(v1: Codec.raw, second.cid.multihash))\",\"Size\":1}\n")
        #expect(stage.answer == .done)
    }

    @Test("blocks of another hash function get a request of their own")
    func mixed() throws {
        var stage = KuboStage()
        let blocks = [try block(1), try block(2, HashCode.blake2b256), try block(3)]
        stage.start(.blockPut)
        for block in blocks { put(&stage, block) }
        end(&stage)
        #expect(stage.targets.map { $0.contains("mhtype=blake2b-256") } == [false, true, false])
        #expect(stage.endedUploads.count == 3)
        let ids = stage.sent.map(\.id)
        for number in [2, 0, 1] {
            #expect(stage.results.isEmpty)
            stage.answer(key(blocks[number]), to: ids[number])
        }
        #expect(stage.answer == .done)
    }

    @Test("keys that are missing, foreign or too early are failures", arguments: 0..<5)
    func faults(_ way: Int) throws {
        var stage = KuboStage()
        let first = try block(1), second = try block(1), third = try block(3)
        stage.start(.blockPut)
        put(&stage, first)
        put(&stage, second)  // the same again: two keys are due
        switch way {
        case 0: end(&stage); stage.answer(key(first))
        case 1: end(&stage); stage.answer(key(first) + key(third))
        case 2: stage.answer(key(first) + key(second))
        case 3: end(&stage); stage.answer(key(first), streamError: "disk full")
        default: stage.refuse("bad block")
        }
        #expect(stage.failure != nil)
        #expect(stage.results.count == 1)
        put(&stage, third)
        end(&stage)
        #expect(stage.sent.count == 1)
        #expect(stage.results.count == 1)
    }

    /// Takes a second; hours, if a document of the answer cost what all blocks do that wait.
    @Test("an answer that names many blocks at once")
    func many() throws {
        var stage = KuboStage()
        let blocks = (0..<40_000).map { number -> NodeWithMeta in
            let data = Bytes("\(number / 2)".utf8)  // each twice
            return NodeWithMeta(data: data, cid: CID(v1: Codec.raw, .sha2_256(of: data)), cumulativeSize: 1)
        }
        stage.start(.blockPut)
        for block in blocks { put(&stage, block) }
        stage.event(.head(stage.last, status: 200))
        // Upstream's daemon answers in their order, but another need not.
        let keys = blocks.reversed().map(key)
        stage.event(.body(stage.last, Bytes(keys.dropLast().joined().utf8)))
        end(&stage)
        stage.event(.body(stage.last, Bytes(keys[keys.count - 1].utf8)))
        #expect(stage.results.isEmpty)
        stage.event(.end(stage.last, trailers: []))
        #expect(stage.answer == .done)
    }

    @Test("no blocks, unknown codecs and unknown hash functions are refused")
    func refused() throws {
        var stage = KuboStage()
        stage.start(.blockPut)
        end(&stage)
        #expect(stage.failure == "BlockStream: no blocks to peek in blocks channel")
        for cid in [CID(v1: 0xfeed, .sha2_256(of: [])), CID(v1: Codec.raw, Multihash(code: 0x7777, digest: [1]))] {
            stage.start(.blockPut)
            put(&stage, NodeWithMeta(data: [], cid: cid, cumulativeSize: 0))
            #expect(stage.failure?.hasPrefix("cannot find name for the blocks'") == true)
        }
    }
}

extension String {
    fileprivate func components(boundary: String) -> [String] {
        split(separator: boundary, omittingEmptySubsequences: false).map(String.init)
    }
}
