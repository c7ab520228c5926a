// Catching up with a peer that is far ahead: it lists the blocks of its log, oldest first, and they are fetched many at a time and
// merged as they come. A peer that is trusted to name heads is trusted to list blocks; each is verified by its CID as ever, and
// what is below it is looked for as for any block. Where nobody lists, the DAG is walked.

import Kernel
import Multiformats
import Seams
import Storage

struct CatchingUp: Sendable {
    let peer: PeerID
    /// Listed and not asked for, oldest first.
    var queue = FIFO<(hash: Multihash, size: Int)>()
    /// Where the next page begins; nil when there is none.
    var nextPage: Bytes?
    var isAsking = true
    /// Asked for, with their sizes.
    var fetching: [Multihash: Int] = [:]
    var fetchingBytes = 0

    mutating func ended(_ hash: Multihash) {
        if let size = fetching.removeValue(forKey: hash) { fetchingBytes -= size }
    }
    var isDone: Bool { queue.isEmpty && fetching.isEmpty && nextPage == nil && !isAsking }
}

extension Replica {
    package var isCatchingUp: Bool { catchingUp != nil }

    /// Somebody is there who lists its blocks.
    package mutating func catchUp(with peer: PeerID, effects: inout [Effect]) {
        guard catchingUp == nil, isOpen else { return }
        catchingUp = CatchingUp(peer: peer)
        effects.append(.askForList(peer, cursor: []))
    }

    package mutating func onListed(
        _ peer: PeerID, _ entries: [(cid: CID, size: Int)], next: Bytes, now: Now, effects: inout [Effect]
    ) {
        guard catchingUp?.peer == peer, catchingUp?.isAsking == true else { return }
        catchingUp?.isAsking = false
        catchingUp?.nextPage = next.isEmpty ? nil : next
        for entry in entries {
            let hash = entry.cid.multihash
            guard entry.cid.codec == Codec.dagPB, hash.code == HashCode.sha2_256 else { continue }
            catchingUp?.queue.append((hash, entry.size))
        }
        fetchListed(now, &effects)
    }

    /// It does not list any more: the walk goes on.
    package mutating func onListFailed(_ peer: PeerID, now: Now) {
        guard catchingUp?.peer == peer else { return }
        catchingUp = nil
        catchUpAt = now.monotonic + settings.retryDelay
    }

    mutating func fetchListed(_ now: Now, _ effects: inout [Effect]) {
        lookAt = nil
        guard var state = catchingUp, !store.index.isOverloaded else { return }
        var fresh: [CID] = []
        var looked = 0
        while state.fetchingBytes < settings.fetchingBytesMax, looked < settings.listedPerStep, let (hash, size) = state.queue.popFirst() {
            looked += 1
            guard wanted[hash] == nil, !has(hash) else { continue }
            wanted[hash] = Want(until: now.monotonic + settings.fetchTimeout)
            state.fetching[hash] = size
            state.fetchingBytes += size
            fresh.append(CID(v1: Codec.dagPB, hash))
        }
        if looked == settings.listedPerStep { lookAt = now.monotonic }
        if !fresh.isEmpty { effects.append(.fetch(fresh, from: state.peer)) }
        if let page = state.nextPage, !state.isAsking, state.queue.count < settings.listedMin {
            state.isAsking = true
            state.nextPage = nil
            effects.append(.askForList(state.peer, cursor: page))
        }
        catchingUp = state.isDone ? nil : state
        if state.isDone { catchUpAt = now.monotonic + settings.retryDelay }
    }

    /// Something is missing that a list may tell of: heads have been heard whose history is not here.
    mutating func seekList(_ now: Now, _ effects: inout [Effect]) {
        guard catchingUp == nil, !dag.absent.isEmpty, catchUpAt.map({ $0 <= now.monotonic }) ?? true else { return }
        catchUpAt = now.monotonic + settings.retryDelay
        effects.append(.behind)
    }

    // MARK: Listing for others

    /// The blocks of the log from a cursor on; from the oldest of the heads that are known here where there is none.
    package func listBlocks(
        from cursor: Bytes, heads: [Multihash], limit: Int
    ) -> (entries: [(cid: CID, size: Int)], next: Bytes) {
        var entries: [(cid: CID, size: Int)] = []
        var at: LogAddress? = start(of: cursor, heads)
        var looked = 0
        while let address = at, entries.count < limit, looked < limit * 4 {
            looked += 1
            // What cannot be read ends the list; the walk finds what is behind it.
            guard isOpen, let record = try? store.log.peek(at: address, count: 256) else { return (entries, []) }
            if record.kind == RecordKind.block, let header = try? store.header(at: record.position.payload) {
                entries.append((CID(v1: Codec.dagPB, StoredBlock.multihash(header.digest)), header.blockBytes))
            }
            at = store.log.next(after: record.position)
        }
        return (entries, at.map { cursor in (0..<8).map { UInt8(truncatingIfNeeded: cursor.raw >> UInt64(8 * $0)) } } ?? [])
    }

    private func start(of cursor: Bytes, _ heads: [Multihash]) -> LogAddress? {
        if cursor.count == 8 {
            let address = LogAddress(raw: cursor.reversed().reduce(0) { $0 << 8 | UInt64($1) })
            return store.log.firstAddress <= address && address < store.log.endAddress ? address : nil
        }
        guard cursor.isEmpty, store.log.firstAddress < store.log.endAddress else { return nil }
        let known = heads.prefix(100).compactMap { head in try? store.address(ofBlock: head) }.min()
        return known.map { $0 - Log.frameBytes } ?? store.log.firstAddress
    }
}
