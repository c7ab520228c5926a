// Which blocks are here, which of them have their whole history here, and which are the heads. Only complete blocks are
// heads: whatever a peer announces or builds upon, it can serve to the last block (bug zoo C11..C13, C18, C19).

import Kernel
import Multiformats
import Storage

struct Dag: Sendable {
    struct Block: Sendable {
        let hash: Multihash
        /// Nil while it is only known by name.
        var position: LogPosition?
        var height: UInt64 = 0
        var links: [BlockNumber] = []
        /// Links that are not complete.
        var missing = 0
        var isComplete = false
        /// Blocks that wait for this one to be complete.
        var waiters: [BlockNumber] = []
    }

    private(set) var blocks: [Block] = []
    private var numbers: [Multihash: BlockNumber] = [:]
    private var headSet = SortedMap<Multihash, BlockNumber>()
    /// Named by a block that is here, and not here: what must be fetched.
    private(set) var absent = SortedSet<Multihash>()
    private(set) var processedCount = 0

    mutating func number(_ hash: Multihash) -> BlockNumber {
        if let known = numbers[hash] { return known }
        blocks.append(Block(hash: hash))
        numbers[hash] = blocks.count - 1
        return blocks.count - 1
    }

    func position(_ hash: Multihash) -> LogPosition? { numbers[hash].flatMap { blocks[$0].position } }
    func has(_ hash: Multihash) -> Bool { position(hash) != nil }

    /// In the order of their CIDs' bytes.
    var heads: [(cid: CID, height: UInt64)] {
        headSet.map { (CID(v1: Codec.dagPB, $0.key), blocks[$0.value].height) }
    }

    /// A block is here: it, and whatever waited for it, may be complete now.
    mutating func insert(_ block: DeltaBlock, at position: LogPosition) {
        let number = number(block.cid.multihash)
        invariant(blocks[number].position == nil, "block \(block.cid) is inserted twice")
        processedCount += 1
        absent.remove(block.cid.multihash)
        var links: [BlockNumber] = []
        for link in block.links {
            let linked = self.number(link.multihash)
            guard linked != number, !links.contains(linked) else { continue }
            links.append(linked)
            if blocks[linked].position == nil { absent.insert(link.multihash) }
            if !blocks[linked].isComplete {
                blocks[linked].waiters.append(number)
                blocks[number].missing += 1
            }
        }
        blocks[number].position = position
        blocks[number].height = block.delta.priority
        blocks[number].links = links
        if blocks[number].missing == 0 { complete(number) }
    }

    private mutating func complete(_ first: BlockNumber) {
        var stack = [first]
        while let number = stack.popLast() {
            blocks[number].isComplete = true
            for link in blocks[number].links { headSet.remove(blocks[link].hash) }
            headSet[blocks[number].hash] = number
            for waiter in blocks[number].waiters {
                blocks[waiter].missing -= 1
                if blocks[waiter].missing == 0 { stack.append(waiter) }
            }
            blocks[number].waiters = []
        }
    }
}
