// Which blocks are here, which of them have their whole history here, and which are the heads. Only complete blocks are
// heads: whatever a peer announces or builds upon, it can serve to the last block (bug zoo C11..C13, C18, C19). A block that
// nobody could serve for long does not count: its loss must not keep what was built upon it from the others.

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
        /// Links that are waited for.
        var missing = 0
        var isComplete = false
        /// It is not here, and what links to it does not wait for it any more.
        var isGivenUp = false
        /// A complete block links to it.
        var isCovered = false
        /// Blocks that wait for this one to be complete.
        var waiters: [BlockNumber] = []
    }

    private(set) var blocks: [Block] = []
    private var numbers: [Multihash: BlockNumber] = [:]
    private var headSet = SortedMap<Multihash, BlockNumber>()
    /// Named by a block that is here, and not here: what must be fetched.
    private(set) var absent = SortedSet<Multihash>()
    private(set) var processedCount = 0
    /// The greatest height of all blocks here, complete or not.
    private(set) var heightMax: UInt64 = 0

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
            if !blocks[linked].isComplete && !blocks[linked].isGivenUp {
                blocks[linked].waiters.append(number)
                blocks[number].missing += 1
            }
        }
        blocks[number].position = position
        blocks[number].isGivenUp = false
        blocks[number].height = block.delta.priority
        heightMax = max(heightMax, block.delta.priority)
        blocks[number].links = links
        if blocks[number].missing == 0 { complete([number]) }
    }

    /// What waits for an absent block waits no more. It is still absent, and takes its place if it ever comes.
    mutating func giveUp(_ hash: Multihash) {
        guard absent.contains(hash), let number = numbers[hash], !blocks[number].isGivenUp else { return }
        blocks[number].isGivenUp = true
        complete(release(number))
    }

    private mutating func complete(_ first: [BlockNumber]) {
        var stack = first
        while let number = stack.popLast() {
            blocks[number].isComplete = true
            for link in blocks[number].links {
                blocks[link].isCovered = true
                headSet.remove(blocks[link].hash)
            }
            if !blocks[number].isCovered { headSet[blocks[number].hash] = number }
            stack += release(number)
        }
    }

    /// Those that waited for nothing else.
    private mutating func release(_ number: BlockNumber) -> [BlockNumber] {
        let waiters = blocks[number].waiters
        blocks[number].waiters = []
        for waiter in waiters { blocks[waiter].missing -= 1 }
        return waiters.filter { blocks[$0].missing == 0 }
    }
}
