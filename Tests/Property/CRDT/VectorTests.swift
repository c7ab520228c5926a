// Byte for byte as go-ds-crdt 0.6.8 under IPFS Cluster's settings: the recorded operations of upstream, done here.

import Crypto
import Encoding
import Kernel
import MerkleCRDT
import Multiformats
import TestSupport
import Testing

@Suite struct VectorTests {
    static let cases: [String] = {
        let lines = (try? Golden.lines("vectors/crdt/directed.ndjson")) ?? []
        let random = (try? Golden.lines("vectors/crdt/random.ndjson")) ?? []
        return (lines + random).compactMap { $0["id"]?.text }
    }()
    private static let vectors: [String: JSON] = {
        let all = ((try? Golden.lines("vectors/crdt/directed.ndjson")) ?? []) + ((try? Golden.lines("vectors/crdt/random.ndjson")) ?? [])
        return Dictionary(uniqueKeysWithValues: all.map { ($0["id"]?.text ?? "", $0) })
    }()

    @Test func allCasesAreThere() { #expect(Self.cases.count == 96) }

    /// Go's datastore.NewKey: a leading slash, path-cleaned (CRDT-12).
    private func cleaned(_ key: String) -> String {
        var parts: [Substring] = []
        for part in key.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    private func value(_ op: JSON) -> Bytes {
        if let text = op["value"]?.text { return bytes(hex: text) ?? [] }
        guard let seed = op["value_seed"]?.integer(UInt64.self), let count = op["value_len"]?.integer(Int.self) else { return [] }
        var choices = Choices(seed: seed)
        return choices.bytes(count)
    }

    /// Where upstream keeps two values of one key in a block, it is unstable; we write only the last (bug zoo C08).
    private func differsOnPurpose(_ vector: JSON) -> Bool {
        (vector["unstable_why"]?.elements ?? []).contains { $0.text == "two values for one key in one block" }
    }

    @Test(arguments: cases) func replicasDoAsUpstreamDid(_ id: String) throws {
        let vector = try #require(Self.vectors[id])
        var settings = ReplicaSettings()
        settings.deltaBytesMax = vector["max_batch_delta_size"]?.integer() ?? 1 << 20
        var room = try Room(vector["replicas"]?.integer() ?? 1, settings)
        let steps = vector["steps"]?.elements ?? []
        let isExact = !differsOnPurpose(vector)
        for (index, op) in (vector["ops"]?.elements ?? []).enumerated() {
            let at = op["at"]?.integer(Int.self) ?? 0
            try perform(op, at: at, in: &room)
            guard isExact, steps[index].elements == nil else { continue }  // else ["unstable"]
            #expect(heads(room, at) == expectedHeads(steps[index]["heads"]), "heads after step \(index)")
        }
        if isExact {
            let expected = (vector["broadcasts"]?.elements ?? []).map { "\($0["by"]?.integer(Int.self) ?? -1) \($0["hex"]?.text ?? "")" }
            #expect(room.broadcasts.map { "\($0.by) \(hex($0.payload))" } == expected)
            try checkBlocks(vector, room)
            try checkFinal(vector, room)
        }
        checkConvergence(room)
    }

    private func perform(_ op: JSON, at: Int, in room: inout Room) throws {
        let key = cleaned(op["key"]?.text ?? "")
        switch op["op"]?.text {
        case "put": room.put(at, key, value(op))
        case "delete": room.delete(at, key)
        case "batch":
            let changes = (op["items"]?.elements ?? []).map { item -> Replica.BatchChange in
                let key = cleaned(item["key"]?.text ?? "")
                return item["op"]?.text == "put" ? .put(key: key, value: value(item)) : .delete(key: key)
            }
            room.act(at) { $0.write(changes, OperationID(1 << 40), now: $1, effects: &$3) }
        case "deliver": room.deliver(room.broadcasts[op["broadcast"]?.integer() ?? 0].payload, to: at)
        case "rebroadcast":
            room.now.monotonic = room.now.monotonic + .minutes(2)
            room.act(at) { $0.onTime(now: $1, choices: &$2, effects: &$3) }
        case "restart": try room.restart(at)
        default: Issue.record("unknown operation \(op)")
        }
    }

    private func heads(_ room: Room, _ at: Int) -> [String] {
        room.members[at].replica.heads.map { "\($0.cid) \($0.height)" }
    }
    private func expectedHeads(_ json: JSON?) -> [String] {
        (json?.elements ?? []).map { "\($0["cid"]?.text ?? "") \($0["height"]?.integer(UInt64.self) ?? 0)" }
    }

    private func checkBlocks(_ vector: JSON, _ room: Room) throws {
        for block in vector["blocks"]?.elements ?? [] {
            let cid = try CID(text: block["cid"]?.text ?? "")
            let by = block["by"]?.integer(Int.self) ?? 0
            let mine = try room.members[by].replica.block(cid)
            #expect(mine != nil, "block \(cid) by \(by) at step \(block["step"]?.integer(Int.self) ?? -1)")
            if let text = block["hex"]?.text { #expect(mine.map(hex) == text) }
        }
    }

    private func checkFinal(_ vector: JSON, _ room: Room) throws {
        let unstable = Set((vector["unstable_keys"]?.elements ?? []).compactMap(\.text))
        for (index, final) in (vector["final"]?.elements ?? []).enumerated() {
            let replica = room.members[index].replica
            #expect(heads(room, index) == expectedHeads(final["heads"]))
            #expect(replica.blockCount == final["processed_blocks"]?.integer())
            let mine = room.values(index).filter { !unstable.contains($0.key) }.map { "\($0.key) \(hex(sha256($0.value)))" }
            let theirs = (final["values"]?.elements ?? []).map { entry -> String in
                let digest = entry["value"]?.text.flatMap { bytes(hex: $0) }.map { hex(sha256($0)) }
                    ?? entry["value_sha256"]?.text ?? entry["sha256"]?.text ?? hex(sha256([]))  // an empty value is left out
                return "\(entry["key"]?.text ?? "") \(digest)"
            }
            #expect(mine.sorted() == theirs.sorted(), "values of replica \(index)")
        }
    }

    /// Equal sets of blocks, equal states.
    private func checkConvergence(_ room: Room) {
        for a in room.members { for b in room.members where a.replica.heads.map(\.cid) == b.replica.heads.map(\.cid) {
            #expect(a.replica.digest == b.replica.digest)
        } }
    }
}
