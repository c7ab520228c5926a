import Allocation
import Crypto
import Kernel
import Multiformats
import Pinset
import Seams
import UnixFS

func benchmarkAllocation(count: Int) throws {
    var choices = Choices(seed: 5)
    let peers = try (0..<30).map { try IdentityKey(seed: Bytes(repeating: UInt8($0 + 1), count: 32)).peerID }
    var metrics: [String: [Metric]] = [:]
    for name in ["tag:group", "freespace"] {
        metrics[name] = peers.enumerated().map { index, peer in
            var metric = Metric(name: name, peer: peer)
            metric.value = name == "freespace" ? String(choices.below(1 << 40)) : "rack \(index % 5)"
            metric.weight = name == "freespace" ? Int64(choices.below(1 << 40)) : 0
            (metric.isValid, metric.isPartitionable, metric.expire) = (true, name != "freespace", .max)
            return metric
        }
    }
    let request = AllocationRequest(
        factors: ReplicationFactors(min: 2, max: 3), allocateBy: ["tag:group", "freespace"], metrics: metrics)
    var chosen = 0
    let seconds = try timed { for _ in 0..<count { chosen += try allocate(request).count } }
    invariant(chosen == 3 * count, "three peers for each pin")
    print(line("allocate", count, "decisions", seconds))
}

func benchmarkAdding(megabytes: Int) throws {
    var choices = Choices(seed: 6)
    let piece = choices.bytes(1 << 20)
    var parameters = AddParameters()
    parameters.rawLeaves = true
    var importer = try ContentImporter(parameters)
    var blocks = 0
    let seconds = try timed {
        var effects: [ImportEffect] = []
        _ = try importer.on(.file(name: "file"), effects: &effects)
        for _ in 0..<megabytes {
            _ = try importer.on(.data(piece), effects: &effects)
            blocks += effects.count
            effects = []
        }
        _ = try importer.on(.endOfFile, effects: &effects)
        _ = try importer.on(.end, effects: &effects)
        blocks += effects.count
    }
    invariant(blocks >= megabytes * 4, "a block for each quarter of a megabyte")
    print(line("add", megabytes, "MB", seconds))
}
