// Which blocks have their whole history here, and which of them are the heads. Only complete blocks are heads: whatever a peer
// announces or builds upon, it can serve to the last block (bug zoo C11..C13, C18, C19). A block that nobody could serve for long
// does not count: its loss must not keep what was built upon it from the others. Blocks that are complete are known to the index
// alone; what is kept here are the heads and the unfinished branches.

import Encoding
import Kernel
import Multiformats

struct Dag: Sendable {
    /// A block that is missing, or for which something is missing.
    struct Open: Sendable {
        var isHere = false
        var height: UInt64 = 0
        /// All links of a block that is here.
        var links: [Multihash] = []
        /// Links that are waited for.
        var missing = 0
        /// It is not here, and what links to it does not wait for it any more.
        var isGivenUp = false
        /// A complete block links to it.
        var isCovered = false
        /// Blocks that wait for this one to be complete.
        var waiters: [Multihash] = []
    }

    private var open = SortedMap<Multihash, Open>()
    private var headHeights = SortedMap<Multihash, UInt64>()
    /// Named by a block that is here, and not here: what must be fetched.
    private(set) var absent = SortedSet<Multihash>()
    private(set) var processedCount = 0
    /// The greatest height of all blocks here, complete or not.
    private(set) var heightMax: UInt64 = 0

    init() {}

    /// In the order of their CIDs' bytes.
    var heads: [(cid: CID, height: UInt64)] { headHeights.map { (CID(v1: Codec.dagPB, $0.key), $0.value) } }
    func isHead(_ hash: Multihash) -> Bool { headHeights[hash] != nil }
    /// Something is missing that has not been given up.
    var isWaiting: Bool { absent.contains { open[$0]?.isGivenUp == false } }
    /// Of a block that is not complete; nil says nothing about others.
    func isHere(_ hash: Multihash) -> Bool? { open[hash].map(\.isHere) }
    func hasGivenUp(_ hash: Multihash) -> Bool { open[hash]?.isGivenUp == true }

    /// A block is here: it, and whatever waited for it, may be complete now. `isStored` asks the index for a block.
    mutating func insert(_ hash: Multihash, links: [Multihash], height: UInt64, isStored: (Multihash) throws -> Bool) rethrows {
        processedCount += 1
        heightMax = max(heightMax, height)
        absent.remove(hash)
        var block = open[hash] ?? Open()
        invariant(!block.isHere, "a block is inserted twice")
        (block.isHere, block.isGivenUp, block.height, block.links) = (true, false, height, [])
        for link in links where link != hash && !block.links.contains(link) {
            block.links.append(link)
            if try waits(for: link, hash, isStored) { block.missing += 1 }
        }
        open[hash] = block
        if block.missing == 0 { complete([hash]) }
    }

    private mutating func waits(for link: Multihash, _ waiter: Multihash, _ isStored: (Multihash) throws -> Bool) rethrows -> Bool {
        if open[link] == nil {
            if try isHead(link) || isStored(link) { return false }
            open[link] = Open()
            absent.insert(link)
        }
        guard let linked = open[link], !linked.isGivenUp else { return false }
        open[link]?.waiters.append(waiter)
        return true
    }

    /// What waits for an absent block waits no more. It is still absent, and takes its place if it ever comes.
    mutating func giveUp(_ hash: Multihash) {
        guard absent.contains(hash), let missing = open[hash], !missing.isGivenUp else { return }
        open[hash]?.isGivenUp = true
        complete(release(hash))
    }

    private mutating func complete(_ first: [Multihash]) {
        var stack = first
        while let hash = stack.popLast(), let block = open[hash] {
            for link in block.links {
                headHeights.remove(link)
                if open[link] != nil { open[link]?.isCovered = true }
            }
            if !block.isCovered { headHeights[hash] = block.height }
            stack += release(hash)
            open.remove(hash)
        }
    }

    /// Those that waited for nothing else.
    private mutating func release(_ hash: Multihash) -> [Multihash] {
        let waiters = open[hash]?.waiters ?? []
        open[hash]?.waiters = []
        for waiter in waiters { open[waiter]?.missing -= 1 }
        return waiters.filter { open[$0]?.missing == 0 }
    }

    // MARK: Kept

    func write(to writer: inout ProtobufWriter) {
        writer.uint64(1, UInt64(processedCount))
        writer.uint64(2, heightMax)
        for (hash, height) in headHeights {
            writer.message(3) { $0.bytes(1, hash.bytes); $0.uint64(2, height) }
        }
        for (hash, block) in open {
            writer.message(4) { writer in
                writer.bytes(1, hash.bytes)
                writer.uint64(2, block.height)
                writer.uint64(3, (block.isHere ? 1 : 0) | (block.isGivenUp ? 2 : 0) | (block.isCovered ? 4 : 0))
                writer.uint64(4, UInt64(block.missing))
                for link in block.links { writer.bytes(5, link.bytes) }
                for waiter in block.waiters { writer.bytes(6, waiter.bytes) }
            }
        }
    }

    init(reading reader: ProtobufReader) throws {
        var reader = reader
        while let field = try reader.next() {
            switch field.number {
            case 1: processedCount = try field.count()
            case 2: heightMax = try field.uint64()
            case 3:
                let (hash, head) = try Dag.block(try field.message())
                headHeights[hash] = head.height
            case 4:
                let (hash, block) = try Dag.block(try field.message())
                open[hash] = block
                if !block.isHere { absent.insert(hash) }
            default: break
            }
        }
    }

    private static func block(_ reader: ProtobufReader) throws -> (Multihash, Open) {
        var reader = reader
        var hash: Multihash?
        var block = Open()
        while let field = try reader.next() {
            switch field.number {
            case 1: hash = try Multihash(try field.bytes())
            case 2: block.height = try field.uint64()
            case 3:
                let flags = try field.uint64()
                (block.isHere, block.isGivenUp, block.isCovered) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)
            case 4: block.missing = try field.count()
            case 5: block.links.append(try Multihash(try field.bytes()))
            case 6: block.waiters.append(try Multihash(try field.bytes()))
            default: break
            }
        }
        guard let hash else { throw MultiformatError.empty }
        return (hash, block)
    }
}
