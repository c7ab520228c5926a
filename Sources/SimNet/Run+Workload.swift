// Clients ask what the plan says.

import Cluster
import Crypto
import Encoding
import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams

extension Run {
    static let outsiderName = "from outside"
    /// In which an upload comes.
    static let pieces = 16

    /// A small set of CIDs, so that operations meet; or what an earlier `add` made.
    func content(_ number: Int) -> CID? {
        if let known = contents[number] { return known }
        let bytes = Bytes("content \(number)".utf8)
        guard options.isEmbedded || number >= Operation.firstAdded else {
            contents[number] = CID(v1: Codec.raw, .sha2_256(of: bytes))
            return contents[number]
        }
        if !options.isEmbedded { return oracles.uploads.last { $0.operation == number - Operation.firstAdded }?.root }
        if number < 1000 { return oracles.uploads.last { $0.operation == number }?.root }
        // What only makes others hear of something must not wait for anybody to have it.
        return CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: bytes))
    }

    /// One of the shards that an `add` has made, or the list of them; the content where there are none.
    private func part(_ number: Int, _ words: Words) -> CID? {
        guard let root = content(number), let place = words.number("part") else { return content(number) }
        let parts = oracles.shardsOf.filter { $0.value.contains(root) }.keys.sorted()
        return parts.isEmpty ? root : parts[max(0, place) % parts.count]
    }

    func perform(_ operation: Operation) {
        for peer in operation.peers {
            let count = world.peers.count
            guard let index = (0..<count).lazy.map({ (peer + $0) % count }).first(where: { self.world.peers[$0].isUp }) else { return }
            if operation.peers.count > 1, index != peer { continue }
            perform(operation, at: index)
        }
    }

    private func perform(_ operation: Operation, at index: Int) {
        let words = Words(operation.words)
        let cids = operation.contents.compactMap { operation.kind == .unpin ? part($0, words) : content($0) }
        let isLocal = words.has("local")
        if operation.kind.isWrite { for cid in cids { oracles.askedWrites.append((index, cid, world.now)) } }
        func first(_ request: (CID) -> ClientRequest) { if let cid = cids.first { ask(index, operation, request(cid)) } }
        switch operation.kind {
        case .pin: if let cid = cids.first { pin(index, operation, Pin.asked(cid, pinOptions(operation, index, words))) }
        case .pinPath:
            if let cid = cids.first { ask(index, operation, .pinPath(PinPath(to: cid, isNamed: words.has("named"), options: pinOptions(operation, index, words)))) }
        case .unpin: first { .unpin($0) }
        case .unpinPath: first { .unpinPath(PinPath(to: $0, isNamed: words.has("named"))) }
        case .pinAll: pinAll(index, operation, cids, words)
        case .unpinAll: if !cids.isEmpty { ask(index, operation, .unpinAll(cids)) }
        case .add: upload(index, operation, words)
        case .get: first { .pinGet($0) }
        case .list: ask(index, operation, .pins([.data]))
        case .status: first { .status($0, isLocal: isLocal) }
        case .statuses: ask(index, operation, .statuses(cids, isLocal: isLocal))
        case .statusAll:
            let filters: [String: TrackerStatus] = ["pinned": .pinned, "error": .error, "queued": .queued, "remote": .remote, "sharded": .sharded]
            ask(index, operation, .statusAll(words.text("filter").flatMap { filters[$0] } ?? .undefined, isLocal: isLocal))
        case .recover: first { .recover($0, isLocal: isLocal) }
        case .recoverAll: ask(index, operation, .recoverAll(isLocal: isLocal))
        case .metrics: ask(index, operation, .metrics(name: words.text("metric") ?? "ping"))
        case .metricNames: ask(index, operation, .metricNames)
        case .alerts: ask(index, operation, .alerts)
        case .graph: ask(index, operation, .connectGraph)
        case .bandwidth: ask(index, operation, .bandwidth)
        case .id: ask(index, operation, .id)
        case .version: ask(index, operation, .version)
        case .peers: ask(index, operation, .peers)
        case .peerAdd, .peerRemove:
            let whom = words.text("whom").flatMap { Int(peer: $0) }.flatMap { world.peers.indices.contains($0) ? world.peers[$0].id : nil }
            guard let whom else { return }
            ask(index, operation, operation.kind == .peerAdd ? .peerAdd(whom) : .peerRemove(whom))
        case .gc: ask(index, operation, .repoGC(isLocal: isLocal))
        }
    }

    private func pinOptions(_ operation: Operation, _ index: Int, _ words: Words) -> PinOptions {
        var options = PinOptions()
        options.name = index == outsider ? Run.outsiderName : words.text("name") ?? ""
        if let count = words.number("long-name") { options.name += String(repeating: "x", count: max(0, min(count, 10_000))) }
        if let min = words.number("min") { options.replicationFactorMin = min }
        if let max = words.number("max") { options.replicationFactorMax = max }
        if words.has("direct") { options.mode = .direct }
        if let seconds = words.number("expire") { options.expireAt = world.peers[index].clock.reading(world.now).wall + .seconds(Int64(seconds)) }
        if let from = words.text("update"), from.hasPrefix("c"), let number = Int(from.dropFirst()) { options.pinUpdate = part(number, words) }
        if let names = words.text("alloc") {
            options.userAllocations = names.split(separator: "+").compactMap { Int(peer: $0) }.compactMap { world.peers.indices.contains($0) ? world.peers[$0].id : nil }
        }
        if let pairs = words.text("meta")?.split(separator: ",").map({ $0.split(separator: ":") }) {
            var metadata = Metadata()
            for pair in pairs where pair.count == 2 { metadata[String(pair[0])] = String(pair[1]) }
            options.metadata = metadata
        }
        if words.has("origin") { options.origins = (try? Multiaddr(text: "/ip4/192.0.2.1/tcp/4001/p2p/\(world.peers[0].ipfs.id)")).map { [$0] } }
        if let size = words.number("shard-size") { options.shardSize = UInt64(max(0, size)) }
        return options
    }

    private func pin(_ index: Int, _ operation: Operation, _ pin: Pin) {
        let asked = world.now
        let client = ClientID(world.nextClient + 1)
        ask(index, operation, .pin(pin)) { [unowned self] reply in
            guard case .item(.pin(let answer)) = reply else { return }
            if !mayBeReplaced(index, pin.cid, client) { oracles.acknowledgedPins.append((index, asked, answer)) }
            judge(answer, asked: pin, before: oracles.asked[client]?.before ?? [], at: index)
        }
    }

    /// In an open batch, by what was asked of the same peer long ago and goes on, such as the removal of a path (seed 4500308).
    private func mayBeReplaced(_ index: Int, _ cid: CID, _ client: ClientID) -> Bool {
        guard options.isBatching || options.isSkewed, let open = oracles.writes[cid]?.open.keys else { return false }
        return open.contains { $0 != client && oracles.asked[$0]?.peer == index }
    }

    /// All of them or none.
    private func pinAll(_ index: Int, _ operation: Operation, _ cids: [CID], _ words: Words) {
        var batch = PinBatch()
        batch.options = pinOptions(operation, index, words)
        batch.options.name = ""
        let pins = cids.enumerated().map { (cid: $1, name: index == outsider ? Run.outsiderName : "bulk \(operation.number).\($0)") }
        for pin in pins { batch.append(pin.cid, name: pin.name) }
        let asked = world.now
        ask(index, operation, .pinAll(batch)) { [unowned self] reply in
            guard case .end = reply else { return }
            oracles.acknowledgedBulk.append((index, asked, pins))
            for pin in pins {
                // Somebody may have written another meanwhile.
                guard let held = try? world.peers[index].process?.machine.readPin(pin.cid), held.options.name == pin.name else { continue }
                judgeFactors(held)
            }
            judgeTaken(batch.options, askedAt: asked, by: index)
        }
    }

    /// A small file; what was acknowledged is pinned and unpinned later.
    private func upload(_ index: Int, _ operation: Operation, _ words: Words) {
        var parameters = AddParameters()
        parameters.options = pinOptions(operation, index, words)
        if index != outsider, words.text("name") == nil { parameters.options.name = "file" }
        parameters.chunker = "size-\(words.number("chunk") ?? 512)"
        parameters.rawLeaves = words.has("raw")
        parameters.isLocal = words.has("local")
        parameters.noPin = words.has("no-pin")
        parameters.wrapWithDirectory = words.has("wrap")
        if words.has("v1") { parameters.cidVersion = 1 }
        if words.has("trickle") { parameters.layout = .trickle }
        if words.has("shard") { (parameters.shard, parameters.options.shardSize) = (true, 20_000) }
        let size = max(0, min(words.number("bytes") ?? 1000, 10 << 20))
        let asked = world.now
        oracles.lastAdd[index] = asked
        let add = words.number("same") ?? operation.number
        oracles.askedAdds.append((index, add, asked))
        let number = ClientID(world.nextClient + 1)
        var (root, told, parts, names): (CID?, [PeerID], [CID], [String]) = (nil, [], [], [])
        let entries = (words.has("folder") ? ["folder/a", "folder/b", "folder"] : ["file"]) + (words.has("wrap") ? [""] : [])
        let client = ask(index, operation, .add(parameters)) { [unowned self] reply in
            switch reply {
            // Shards and the list of them are pins of their own.
            case .item(.added(let line)) where line.name.hasPrefix("shard-") || line.name.hasSuffix("-clusterDAG"):
                if let cid = line.cid { parts.append(cid) }
            case .item(.added(let line)):
                root = line.cid
                told = line.allocations
                names.append(line.name)
                // Whether it was added before or after what else was asked of it, nobody can tell.
                if let root { oracles.writes[root]?.isDoubtful = true }
            case .end:
                guard let root else { return }
                if names != entries { world.fail(.add, "\(world.name(index)) was given \(entries), and tells of \(names)") }
                oracles.uploads.append((index, asked, root, operation.number, parameters.noPin))
                oracles.made[add] = root
                for part in parts {
                    oracles.shardsOf[part, default: []].insert(root)
                    oracles.bytesOf[part] = add
                }
                judgeMissed(parts, of: root, at: index)
                checkUpload(root, asked: asked)
                if size >= 64 { judge(allocations: told, parameters, oracles.asked[number]?.rule, at: index) }
                if size >= 64 { checkPin(of: root, parameters, told: told, asked: asked, at: index) }  // two may be empty
            case .failed(let failure):
                if !words.has("break-off"), size > 0 { judge(failure, of: parameters, sentTo: told, asked: asked, at: index) }
            default: break
            }
        }
        var choices = world.tape.stream(.workload, 1 << 40 | UInt64(add))
        let pieces = (0..<Run.pieces).map { _ in ClientInput.data(choices.bytes(size / Run.pieces)) }
        let gap = Span.milliseconds(Int64(words.number("slow") ?? 0))
        let end: [ClientInput] = words.has("break-off") ? [.failed("the client went away")] : [.endOfFile, .end]
        guard words.has("folder") else { return world.send(index, client, [.file(name: "file")] + pieces + end, every: gap) }
        let (first, second) = (Array(pieces.prefix(Run.pieces / 3)), Array(pieces.dropFirst(Run.pieces / 3)))
        world.send(index, client, [.directory(name: "folder"), .file(name: "folder/a")] + first + [.endOfFile, .file(name: "folder/b")] + second + end, every: gap)
    }

    /// In an open batch a later write of the same peer replaces an earlier one before it is ever published. `own` of those that were
    /// asked since are the write itself; an upload's is not among them.
    func isSuperseded(_ index: Int, _ cid: CID, askedAt time: Int64, own: Int = 1) -> Bool {
        guard options.isBatching || options.isSkewed else { return false }
        // Who asked a moment before may be served after (seed 13000413).
        let earliest = time - Span.seconds(10).nanoseconds
        if oracles.askedWrites.count(where: { $0.at == index && $0.cid == cid && $0.when >= earliest }) > own { return true }
        // An add of content that was there before pins it as well (seed 265928930).
        return own > 0 && oracles.askedAdds.contains { $0.at == index && $0.when >= earliest && oracles.made[$0.add] == cid }
    }
}

extension PinPath {
    static let suffix = ".name"
    init(to cid: CID, isNamed: Bool, options: PinOptions = PinOptions()) {
        self.init(path: isNamed ? "/ipns/\(cid)\(PinPath.suffix)" : "/ipfs/\(cid)", options: options)
    }
    /// What it leads to, as each daemon says.
    var target: CID? { SimIPFS.target(of: path) }
    /// Not at once.
    var isNamed: Bool { path.hasPrefix("/ipns/") }
}

extension Pin {
    fileprivate static func asked(_ cid: CID, _ options: PinOptions) -> Pin {
        var pin = Pin(cid: cid, options: options)
        if options.mode == .direct { pin.maxDepth = 0 }
        return pin
    }
}
