// Timings of what matters at scale. Each prints a line; compare lines of one run on one machine, since machines differ.

import Foundation
import Kernel

let usage = """
    benchmarks: how fast the parts are on this machine.

    USAGE:
      benchmarks [NAME…] [--size N] [--smoke]

    NAMES (default: all)
      write     pins written to one replica, in batches of 1000
      ingest    the same pins received by a second replica, block by block
      restart   the second replica opened again on its log
      allocate  decisions of the balanced allocator among 30 peers
      add       bytes cut into UnixFS blocks
      transport bytes over one stream between two hosts on loopback; streams opened and closed; connections held

    --size N    pins, decisions, or megabytes for add and transport (default 100000, 100000, 200, 2000);
                --smoke: a size that takes no time
    """

func fail(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n\n\(usage)\n".utf8))
    exit(2)
}

var names: [String] = []
var size: Int?
var isSmoke = false
var words = CommandLine.arguments.dropFirst()
while let word = words.popFirst() {
    switch word {
    case "--smoke": (size, isSmoke) = (1000, true)
    case "--size":
        guard let text = words.popFirst(), let number = Int(text), number > 0 else { fail("--size needs a number above zero") }
        size = number
    case "--help", "-h":
        print(usage)
        exit(0)
    case "write", "ingest", "restart", "allocate", "add", "transport": names.append(word)
    default: fail("unknown word \(word)")
    }
}
if names.isEmpty { names = ["write", "ingest", "restart", "allocate", "add", "transport"] }
let pinNames = ["write", "ingest", "restart"]
if !Set(names).isDisjoint(with: pinNames) {
    try benchmarkPins(count: size ?? 100_000, report: { name, line in if names.contains(name) { print(line) } })
}
if names.contains("allocate") { try benchmarkAllocation(count: size ?? 100_000) }
if names.contains("add") { try benchmarkAdding(megabytes: min(size ?? 200, 100_000)) }
if names.contains("transport") {
    let count = isSmoke ? 100 : size ?? 2000
    try benchmarkTransport(megabytes: count, streams: 10 * count, connections: min(count, 1000))
}
