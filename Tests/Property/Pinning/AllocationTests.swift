// The allocator against upstream's decisions, and against what must hold of any allocation.

import Allocation
import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct AllocationTests {
    private static let vectors = (try? Golden.lines("vectors/allocator.ndjson")) ?? []

    private func indexes(_ json: JSON?) -> [Int]? { json?.elements.map { $0.compactMap { $0.integer(Int.self) } } }

    private func request(_ vector: JSON, _ peers: [PeerID]) -> AllocationRequest {
        var metrics: [String: [Metric]] = [:]
        for entry in vector["metrics"]?.elements ?? [] {
            var metric = Metric(name: entry["name"]?.text ?? "", peer: peers[entry["peer"]?.integer() ?? 0])
            metric.value = entry["value"]?.text ?? ""
            metric.weight = entry["weight"]?.integer() ?? 0
            metric.isPartitionable = entry["partitionable"]?.flag ?? false
            guard entry["valid"]?.flag == true, entry["expired"]?.flag == false else { continue }
            metrics[metric.name, default: []].append(metric)
        }
        let factors = ReplicationFactors(
            min: vector["replication_factor_min"]?.integer() ?? 0, max: vector["replication_factor_max"]?.integer() ?? 0)
        var request = AllocationRequest(
            factors: factors, allocateBy: (vector["allocate_by"]?.elements ?? []).compactMap(\.text), metrics: metrics)
        request.current = (indexes(vector["current_allocations"]) ?? []).map { peers[$0] }
        request.preferred = (indexes(vector["user_allocations"]) ?? []).map { peers[$0] }
        request.blacklist = (indexes(vector["blacklist"]) ?? []).map { peers[$0] }
        let trusted = (indexes(vector["trusted"]) ?? []).map { peers[$0] }
        if vector["pin_only_on"]?.text == "trusted" { request.isAllowed = { trusted.contains($0) } }
        if vector["pin_only_on"]?.text == "untrusted" { request.isAllowed = { !trusted.contains($0) } }
        return request
    }

    @Test func decisionsAreUpstreams() throws {
        let cases = Self.vectors.filter { $0["kind"] == nil }
        #expect(cases.count == 360)
        for vector in cases {
            let id = vector["id"]?.text ?? ""
            let peers = try (vector["peers"]?.elements ?? []).map { try PeerID(text: $0.text ?? "") }
            do {
                let result = try allocate(request(vector, peers))
                #expect(vector["error"] == nil, "\(id)")
                if vector["map_order"] != nil {
                    #expect(result.count == vector["count"]?.integer(), "\(id)")
                    continue
                }
                let keep = (indexes(vector["keep"]) ?? []).map { peers[$0] }
                let new = (indexes(vector["new"]) ?? []).map { peers[$0] }
                #expect(result.filter { keep.contains($0) }.sorted() == keep.sorted(), "\(id) keeps")
                let mine = result.filter { !keep.contains($0) }
                if vector["new_any_order"] != nil { #expect(mine.sorted() == new.sorted(), "\(id)") } else { #expect(mine == new, "\(id)") }
            } catch {
                #expect(vector["error"]?.text == "\(error)", "\(id)")
            }
        }
    }

    @Test func factorsResolveAsUpstreams() {
        for vector in Self.vectors where vector["kind"]?.text == "factors" {
            let id = vector["id"]?.text ?? ""
            let asked = ReplicationFactors(min: vector["pin_min"]?.integer() ?? 0, max: vector["pin_max"]?.integer() ?? 0)
            let defaults = ReplicationFactors(min: vector["config_min"]?.integer() ?? 0, max: vector["config_max"]?.integer() ?? 0)
            do {
                let resolved = try resolveFactors(asked, defaults: defaults)
                #expect(vector["error"] == nil, "\(id)")
                #expect(resolved == ReplicationFactors(min: vector["min"]?.integer() ?? 0, max: vector["max"]?.integer() ?? 0), "\(id)")
            } catch { #expect(vector["error"]?.text == "\(error)", "\(id)") }
        }
    }

    /// Bounds, nobody barred, no duplicates, and the same answer whatever order the input is in.
    @Test func everyAllocationIsSound() throws {
        var choices = Choices(seed: 7)
        for vector in Self.vectors where vector["kind"] == nil {
            let peers = try (vector["peers"]?.elements ?? []).map { try PeerID(text: $0.text ?? "") }
            let asked = request(vector, peers)
            guard let result = try? allocate(asked), asked.factors.max > 0 else { continue }
            if result != asked.current {
                #expect(result.count <= asked.factors.max && result.count >= min(asked.factors.min, asked.factors.max))
                #expect(!result.contains { asked.blacklist.contains($0) })
            }
            #expect(SortedSet(result).count == result.count)
            var shuffled = asked
            for name in asked.allocateBy { shuffled.metrics[name] = choices.permuted(asked.metrics[name] ?? []) }
            shuffled.preferred = choices.permuted(asked.preferred)
            #expect(try allocate(shuffled) == result)
        }
    }
}
