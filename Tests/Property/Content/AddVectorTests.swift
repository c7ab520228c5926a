// Every recorded add of upstream: blocks, their order, output lines and roots. Tests/Golden/vectors/add.ndjson.

import Encoding
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

@testable import UnixFS

struct AddCase: Sendable, CustomTestStringConvertible {
    let json: JSON
    var id: String { json["id"]?.text ?? "" }
    var testDescription: String { "\(id) \(json["kind"]?.text ?? "") \(json["note"]?.text ?? "")" }
    func flag(_ name: String) -> Bool { json[name]?.flag ?? false }

    static let all: [AddCase] = ((try? Golden.lines("vectors/add.ndjson")) ?? []).map { AddCase(json: $0) }

    var parameters: AddParameters {
        var out = AddParameters()
        let options = json["options"] ?? .null
        out.chunker = options["chunker"]?.text ?? ""
        out.layout = options["layout"]?.text == "trickle" ? .trickle : .balanced
        out.rawLeaves = options["raw_leaves"]?.flag ?? false
        out.cidVersion = options["cid_version"]?.integer() ?? 0
        out.hash = options["hash"]?.text ?? ""
        out.wrapWithDirectory = options["wrap"]?.flag ?? false
        out.shard = options["shard"]?.flag ?? false
        out.options.shardSize = options["shard_size"]?.integer() ?? 0
        out.options.name = options["name"]?.text ?? ""
        (out.options.replicationFactorMin, out.options.replicationFactorMax) = (1, 1)
        out.format = options["format"]?.text == "car" ? .car : .unixfs
        return out
    }

    /// The upload as a client sends it: entries in byte order of names, directories before their content.
    func inputs(pieceBytes: Int) -> [ClientInput] {
        if let car = json["car"]?.text.flatMap({ bytes(hex: $0) }) {
            return [.file(name: EntryName(json["top"]?.text ?? ""))] + pieces(car, pieceBytes) + [.endOfFile, .end]
        }
        let top = json["top"]?.text ?? ""
        let isFile = json["kind"]?.text != "dir" && (json["input"]?.elements ?? []).count == 1 && !top.isEmpty
        var entries: [(path: [EntryName], make: () -> [ClientInput])] = []
        for item in json["input"]?.elements ?? [] {
            for (path, seed) in numbered(item) {
                let full = isFile || top.isEmpty ? path : top + "/" + path
                entries.append(([EntryName](path: EntryName(full)), { contents(item, EntryName(full), seed, pieceBytes) }))
            }
        }
        entries.sort { $0.path.lexicographicallyPrecedes($1.path) }
        return entries.flatMap { $0.make() } + [.end]
    }

    private func numbered(_ item: JSON) -> [(String, UInt64)] {
        let path = item["path"]?.text ?? "", seed = item["seed"]?.integer(UInt64.self) ?? 0
        guard let count = item["count"]?.integer(Int.self) else { return [(path, seed)] }
        let parts = path.split(separator: "%", maxSplits: 1).map(String.init)
        let width = Int(parts[1].prefix(2).dropFirst())!
        return (0..<count).map { number in
            let digits = String(number)
            let padded = String(repeating: "0", count: max(0, width - digits.count)) + digits
            return (parts[0] + padded + parts[1].dropFirst(3), seed + UInt64(number))
        }
    }

    private func contents(_ item: JSON, _ name: EntryName, _ seed: UInt64, _ pieceBytes: Int) -> [ClientInput] {
        if item["dir"]?.flag == true { return [.directory(name: name)] }
        if let target = item["symlink"]?.text { return [.symlink(name: name, target: EntryName(target))] }
        let size = item["size"]?.integer(Int.self) ?? 0
        let fill = item["fill"]?.integer(UInt8.self)
        let data = fill.map { Bytes(repeating: $0, count: size) } ?? seededBytes(seed, size)
        return [.file(name: name)] + pieces(data, pieceBytes) + [.endOfFile]
    }

    private func pieces(_ data: Bytes, _ pieceBytes: Int) -> [ClientInput] {
        stride(from: 0, to: data.count, by: pieceBytes).map {
            .data(Bytes(data[$0..<min($0 + pieceBytes, data.count)]))
        }
    }
}

/// SplitMix64 outputs as little-endian words.
func seededBytes(_ seed: UInt64, _ count: Int) -> Bytes {
    var choices = Choices(seed: seed)
    return Bytes(unsafeUninitializedCapacity: count) { buffer, filled in
        var word: UInt64 = 0
        for i in 0..<count {
            if i % 8 == 0 { word = choices.next() } else { word >>= 8 }
            buffer[i] = UInt8(truncatingIfNeeded: word)
        }
        filled = count
    }
}

struct Imported {
    var blocks: [NodeWithMeta] = []
    var outputs: [AddedOutput] = []
    var pins: [Pin] = []
    var root: CID?
    var failure: AddError?

    init(blocks: [NodeWithMeta] = []) { self.blocks = blocks }

    init(_ parameters: AddParameters, _ inputs: [ClientInput]) throws {
        var importer = try ContentImporter(parameters)
        for input in inputs {
            var effects: [ImportEffect] = []
            root = try importer.on(input, effects: &effects)
            for effect in effects {
                switch effect {
                case .block(let block): blocks.append(block)
                case .output(let output): outputs.append(output)
                }
            }
        }
    }
}

extension Imported {
    /// Deals the blocks of an import out to shards, as the peer does, and keeps what was done before an error.
    static func sharded(_ parameters: AddParameters, _ inputs: [ClientInput]) throws -> Imported {
        var out = Imported()
        var importer = try ContentImporter(parameters)
        var maker = ShardMaker(limit: parameters.options.shardSize)
        func close(_ shard: FinishedShard) {
            out.blocks += shard.nodes
            out.pins.append(shard.pin(parameters.options, allocations: []))
            out.outputs.append(shard.output(allocations: []))
        }
        do {
            for input in inputs {
                var effects: [ImportEffect] = []
                out.root = try importer.on(input, effects: &effects)
                for effect in effects {
                    switch effect {
                    case .output(let output): out.outputs.append(output)
                    case .block(let block):
                        var outcome = try maker.take(block)
                        if case .full(let shard) = outcome {
                            close(shard)
                            outcome = try maker.take(block)
                        }
                        if outcome == .taken { out.blocks.append(block) }
                    }
                }
            }
            if let shard = maker.finishShard() { close(shard) }
            let list = try maker.clusterDAG(of: try #require(out.root))
            out.blocks += list.nodes
            out.outputs.append(list.output(parameters.options))
            out.pins += [list.pin(parameters.options), list.metaPin(parameters.options)]
        } catch let error as AddError { out.failure = error }
        return out
    }
}

@Suite("Adding gives what upstream gives")
struct AddVectorTests {
    @Test("every recorded add", arguments: AddCase.all.filter { !$0.flag("shard") && $0.json["kind"]?.text != "shard" })
    func recorded(_ recorded: AddCase) throws {
        let inputs = recorded.inputs(pieceBytes: 100_003)
        if let error = recorded.json["error"]?.text {
            let thrown = #expect(throws: AddError.self) { try Imported(recorded.parameters, inputs) }
            #expect(thrown?.message == error)
            return
        }
        let imported = try Imported(recorded.parameters, inputs)
        #expect(imported.root?.description == recorded.json["root"]?.text)
        if let kubo = recorded.json["kubo_root"]?.text, !recorded.flag("kubo_differs") {
            #expect(imported.root?.description == kubo)
        }
        checkBlocks(recorded, imported)
        if let outputs = recorded.json["outputs"]?.elements {
            #expect(imported.outputs.map(shown) == outputs)
        }
        #expect(imported.outputs.count == recorded.json["outputs_count"]?.integer(Int.self))
        for block in imported.blocks { #expect(block.cid.multihash.matches(block.data) == true) }
    }

    @Test("every recorded add in shards", arguments: AddCase.all.filter { $0.json["kind"]?.text == "shard" })
    func sharded(_ recorded: AddCase) throws {
        let imported = try Imported.sharded(recorded.parameters, recorded.inputs(pieceBytes: 100_003))
        #expect(imported.failure?.message == recorded.json["error"]?.text)
        if let root = recorded.json["root"]?.text { #expect(imported.root?.description == root) }
        checkBlocks(recorded, imported)
        #expect(imported.outputs.map(shown) == recorded.json["outputs"]?.elements)
        #expect(imported.pins.map(shown) == recorded.json["pins"]?.elements?.compactMap(\.text))
    }

    private func shown(_ pin: Pin) -> String {
        let kinds: [PinType: String] = [.shard: "shard-pin", .clusterDAG: "clusterdag-pin", .meta: "meta-pin"]
        let options = pin.options
        return "\(kinds[pin.type] ?? "?") \(pin.cid) depth \(pin.maxDepth) min \(options.replicationFactorMin) "
            + "max \(options.replicationFactorMax) name \"\(options.name)\" shard_size \(options.shardSize) "
            + "reference \(pin.reference?.description ?? "b")"
    }

    @Test("a long list becomes lists of a list")
    func longLists() throws {
        let cids = (0..<LinkList.linksMax * 2 + 1).map { CID(v1: Codec.raw, .sha2_256(of: Bytes(String($0).utf8))) }
        let nodes = LinkList.nodes(cids)
        #expect(LinkList.nodes(Array(cids.prefix(LinkList.linksMax))).count == 1)
        #expect(nodes.count == 4)
        #expect(try links(of: nodes[0].data, cid: nodes[0].cid) == nodes.dropFirst().map(\.cid))
        #expect(try nodes.dropFirst().flatMap { try links(of: $0.data, cid: $0.cid) } == cids)
    }

    private func shown(_ output: AddedOutput) -> JSON {
        let cid = output.cid?.description ?? ""
        var members = [JSON.Member("name", .string(output.name)), JSON.Member("cid", .string(cid))]
        members.append(JSON.Member("size", .int(output.size)))
        if output.bytes > 0 { members.append(JSON.Member("bytes", .int(output.bytes))) }
        return .object(members)
    }

    private func checkBlocks(_ recorded: AddCase, _ imported: Imported) {
        #expect(SortedSet(imported.blocks.map(\.cid)).count == recorded.json["blocks_unique"]?.integer(Int.self))
        if !recorded.flag("blocks_sent_unstable") {
            #expect(imported.blocks.count == recorded.json["blocks_sent"]?.integer(Int.self))
        }
        guard let blocks = recorded.json["blocks"]?.elements else { return }
        var sent = imported.blocks
        var wanted = blocks
        if recorded.flag("block_order_unstable") {
            var seen = SortedMap<CID, NodeWithMeta>()
            for block in sent { seen[block.cid] = block }
            sent = seen.values.sorted { $0.cid.description < $1.cid.description }
            wanted.sort { ($0["cid"]?.text ?? "") < ($1["cid"]?.text ?? "") }
        }
        #expect(sent.map(\.cid.description) == wanted.map { $0["cid"]?.text ?? "" })
        for (block, wanted) in zip(sent, wanted) {
            #expect(block.data.count == wanted["size"]?.integer(Int.self))
            #expect(block.cumulativeSize == wanted["cum_size"]?.integer(UInt64.self), "\(block.cid)")
            if let wanted = wanted["hex"]?.text { #expect(hex(block.data) == wanted) }
        }
    }

    @Test("the pieces in which content arrives make no difference", arguments: ["size-1000", "rabin-16384", "buzhash"])
    func pieces(_ chunker: String) throws {
        var parameters = AddParameters()
        parameters.chunker = chunker
        let data = seededBytes(5, 900_000)
        var choices = Choices(seed: 11)
        var inputs: [ClientInput] = [.file(name: "f")]
        var offset = 0
        while offset < data.count {
            let count = min(1 + choices.below(choices.chance(1, in: 3) ? 200_000 : 700), data.count - offset)
            inputs.append(.data(Bytes(data[offset..<offset + count])))
            offset += count
        }
        inputs += [.endOfFile, .end]
        let whole = try Imported(parameters, [.file(name: "f"), .data(data), .endOfFile, .end])
        let pieces = try Imported(parameters, inputs)
        #expect(whole.blocks == pieces.blocks)
        #expect(whole.root == pieces.root)
    }
}
