// The DAG as a drawing in the DOT language. spec/cli.md CLI-077.

import Kernel
import Multiformats

extension Replica {
    /// Hands out the drawing line by line: the heads, then every block with what it changes and links to, newest first.
    package func draw(line: (String) throws -> Void) throws {
        try line("digraph CRDTDAG {")
        try line("subgraph heads {")
        for head in heads { try line("\(head.cid)") }
        try line("}")
        var drawn: Set<Multihash> = []
        var stack = heads.map(\.cid).reversed() as [CID]
        while let cid = stack.popLast() {
            guard !drawn.contains(cid.multihash), let bytes = try block(cid) else { continue }
            drawn.insert(cid.multihash)
            let block = try DeltaBlock(decoding: bytes)
            let change = "+\(block.delta.elements.count) -\(block.delta.tombstones.count)"
            try line("\(cid) [label=\"\(block.delta.priority) | \(cid.description.suffix(4)): \(change)\"]")
            try line("\(cid) -> {\(block.links.map { "\($0) " }.joined())}")
            try line("subgraph sg_\(cid) {")
            for link in block.links { try line("\(link)") }
            try line("}")
            stack += block.links.reversed()
        }
        try line("}")
    }
}
