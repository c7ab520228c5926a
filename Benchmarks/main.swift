// Timings of what matters at scale. Each prints a line; compare lines of one run on one machine, since machines differ.

import Foundation
import Kernel

let usage = """
    benchmarks: how fast the parts are on this machine. Each ends with one line of JSON or of text.

    USAGE:
      benchmarks [NAME…] [--pins N] [--size N] [--dir D] [--json] [--smoke]

    THE PINSET, on a real peer and real files (default 1000000 pins):
      ingest    one peer pins fresh CIDs in batches of 10000, each synced before it is acknowledged
      restart   opens what `ingest --dir D` has left, and answers a first question
      list      streams the whole of it
      list-json the same as the REST API streams it, to a client over a loopback socket
      status    the statuses of all pins, streamed in the same way
      lookup    random reads of present and absent CIDs
      import    an export of it becomes the state of an empty folder
      refold    folds all its blocks by the rules alone and compares; for a million pins or so
      replicate an empty second peer catches up with it, in this process
      churn     N operations on a peer of its own: 70 % pin, 20 % unpin, 10 % pin again with other options
      catch-up  the same between two processes over loopback sockets, private network and Noise

    THE PARTS:
      allocate  decisions of the balanced allocator among 30 peers
      add       bytes cut into UnixFS blocks
      wire      bytes over one stream each way between two hosts on loopback; streams opened and closed; connections held
      wire-tls  the same with TLS in place of Noise

    THE SIMULATOR:
      simulate  runs of five peers as a sweep draws them (--size of them, default 60)
      simulate-scale  a hundred peers of which some crash and come back, and --pins pins (default 10000), for --size minutes (60)

    --pins N    how many pins
    --dir D     the peer's folder. `ingest` makes it anew; the others use what is there
    --size N    decisions, or megabytes for add and wire (default 100000, 200, 2000)
    --json      no progress, only the last line
    --resume    ingest and catch-up go on with what is in the folder
    --acks      ingest and catch-up say what is durable as it becomes so
    --smoke     all of them, at a size that takes no time
    """

func fail(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n\n\(usage)\n".utf8))
    exit(2)
}

let known = [
    "ingest", "restart", "list", "list-json", "status", "lookup", "import", "refold", "replicate", "catch-up", "churn", "allocate", "add", "wire",
    "wire-tls", "simulate", "simulate-scale",
]
var names: [String] = []
var (size, asked): (Int?, Int?) = (nil, nil)
var pins: Int { asked ?? 1_000_000 }
var dir: String?
var isSmoke = false
var words = CommandLine.arguments.dropFirst()
@MainActor func number(after word: String) -> Int {
    guard let text = words.popFirst(), let number = Int(text), number > 0 else { fail("\(word) needs a number above zero") }
    return number
}
while let word = words.popFirst() {
    switch word {
    case "--smoke": (size, asked, isSmoke, isQuiet) = (1000, 20_000, true, true)
    case "--size": size = number(after: word)
    case "--pins": asked = number(after: word)
    case "--dir":
        guard let path = words.popFirst() else { fail("--dir needs a folder") }
        dir = path
    case "--json": isQuiet = true
    case "--resume": resumes = true
    case "--acks": tellsAll = true
    case "--help", "-h":
        print(usage)
        exit(0)
    case "serve": names.append(word)
    case _ where known.contains(word): names.append(word)
    default: fail("unknown word \(word)")
    }
}
if names.isEmpty { names = known }
let isTemporary = isSmoke && dir == nil
if isTemporary { dir = NSTemporaryDirectory() + "ipfs-cluster-bench-smoke-\(getpid())" }
defer { if isTemporary, let dir { try? FileManager.default.removeItem(atPath: dir) } }
for name in names {
    switch name {
    case "ingest": try benchmarkIngest(pins: pins, dir: dir)
    case "restart": try benchmarkRestart(pins: pins, dir: dir)
    case "list": try benchmarkList(pins: pins, dir: dir)
    case "list-json": try benchmarkServing(name, target: "/allocations", pins: pins, dir: dir)
    case "status": try benchmarkServing(name, target: "/pins", pins: pins, dir: dir)
    case "import": try benchmarkImport(pins: pins, dir: dir)
    case "lookup": try benchmarkLookup(pins: pins, dir: dir)
    case "refold": try benchmarkRefold(pins: pins, dir: dir)
    case "replicate": try benchmarkReplicate(pins: pins, dir: dir)
    case "catch-up": try benchmarkCatchUp(pins: pins, dir: dir)
    case "churn": try benchmarkChurn(operations: pins, dir: dir)
    case "serve": try serve(dir: dir)
    case "allocate": try benchmarkAllocation(count: size ?? 100_000)
    case "simulate": benchmarkSimulation(runs: isSmoke ? 3 : size ?? 60)
    case "simulate-scale":
        let minutes = Int64(isSmoke ? 1 : size ?? 60)
        benchmarkSimulatedScale(peers: isSmoke ? 10 : 100, pins: isSmoke ? 100 : asked ?? 10_000, length: .minutes(minutes))
    case "add": try benchmarkAdding(megabytes: min(size ?? 200, 100_000))
    default:
        let count = isSmoke ? 100 : size ?? 2000
        try benchmarkWire(megabytes: count, streams: 10 * count, connections: min(count, 1000), isTLS: name == "wire-tls")
    }
}
