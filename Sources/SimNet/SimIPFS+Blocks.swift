// Blocks of the model daemon: those that were put into it, and those that it fetched with a pin. Kubo answers block/put while its body
// still comes, a line for each block.

import Cluster
import Kernel
import Multiformats
import Seams
import UnixFS

extension SimIPFS {
    /// A body that is still coming.
    struct Put {
        let delimiter: Bytes
        let codec: UInt64
        /// The run of the daemon that took it.
        let run: Int
        /// What has come and was not looked at yet, in its order. Nil is the end of it.
        var unread: [Bytes?] = []
        /// Pieces that were looked at.
        var taken: UInt64 = 0
        /// What was looked at and is no whole block yet.
        var text: Bytes = []
        var hasAnswered = false
        /// The answer ends, in good order, as soon as it has told of all that was sent so far.
        var endsSoon = false
        /// What comes later is looked at no sooner.
        var dueAt: Int64 = 0

        init?(_ request: ExchangeRequest, run: Int) {
            self.run = run
            guard request.target.hasPrefix("/api/v0/block/put?"), request.body == nil,
                let type = request.headers.first(where: { $0.name == "Content-Type" })?.value, let mark = type.firstRange(of: "boundary="),
                request.target.contains("mhtype=sha2-256"), request.target.contains("mhlen=32")
            else { return nil }
            delimiter = Bytes("--\(type[mark.upperBound...])".utf8)
            let codecs = ["dag-pb": Codec.dagPB, "dag-cbor": Codec.dagCBOR, "raw": Codec.raw]
            guard let codec = codecs.first(where: { request.target.contains("cid-codec=\($0.key)&") })?.value else { return nil }
            self.codec = codec
        }

        /// Blocks that are whole now: what stands between two delimiters, below its headers.
        mutating func blocks() -> [Bytes] {
            let lineEnd = Bytes("\r\n".utf8)
            let (blank, mark) = (lineEnd + lineEnd, lineEnd + delimiter)
            var (found, done): ([Bytes], Int) = ([], 0)
            while text[done...].starts(with: delimiter), let next = text.position(of: mark, from: done + delimiter.count),
                let head = text.position(of: blank, from: done), head < next
            {
                found.append(Bytes(text[(head + blank.count)..<next]))
                done = next + lineEnd.count
            }
            text.removeFirst(done)
            return found
        }
        var isClosed: Bool { text.starts(with: delimiter + Bytes("--".utf8)) }
    }

    /// How an answer to block/put ends that ends too soon.
    fileprivate enum CutEnding: CaseIterable { case without, with, soon, broken }

    /// The answer to block/get, which gets from others what it has not.
    static func wantedBlock(_ target: String) -> CID? {
        target.hasPrefix("/api/v0/block/get?") ? mentioned(in: target).last : nil
    }
}

extension World {
    /// A piece of a body, or its end, has left for the daemon.
    func carry(_ piece: Bytes?, of exchange: ExchangeID, _ process: Process) {
        guard var put = process.puts[exchange] else { return }
        let peer = process.peer
        peer.requests += 1
        let delay = tape.span(.ipfs, UInt64(peer.index), peer.requests, settings.ipfs.latencyMin, settings.ipfs.latencyMax)
        put.unread.append(piece)
        onUploading?(self, peer.index, put.unread.reduce(0) { $0 + ($1?.count ?? 0) })
        put.dueAt = max(put.dueAt, now + delay.nanoseconds * Int64(max(ipfsPace, peer.ipfs.slowness)))
        process.puts[exchange] = put
        schedule(.ipfs(process, SimIPFS.Task(exchange: exchange, target: SimIPFS.putTarget, run: put.run)), of: peer, at: put.dueAt)
    }

    /// The daemon looks at the next piece.
    func takePiece(_ process: Process, _ exchange: ExchangeID) {
        guard var put = process.puts[exchange], !put.unread.isEmpty else { return }
        let peer = process.peer
        let piece = put.unread.removeFirst()
        put.taken += 1
        put.text += piece ?? []
        var found = put.blocks()
        let hasAnswered = put.hasAnswered
        put.hasAnswered = hasAnswered || !found.isEmpty || piece == nil
        process.puts[exchange] = put
        if piece != nil, put.unread.isEmpty { feed(process, .exchange(.drained(exchange))) }
        func tell(_ event: ExchangeEvent) {
            if process.isCurrent, process.puts[exchange] != nil { feed(process, .exchange(event)) }
        }
        func end(_ event: ExchangeEvent) {
            guard process.isCurrent, process.puts.removeValue(forKey: exchange) != nil else { return }
            process.exchanges.remove(exchange)
            feed(process, .exchange(event))
        }
        if peer.ipfs.isFull, !found.isEmpty {
            hit(.ipfsFull)
            let message = "write /data/ipfs/blocks: no space left on device"
            if !hasAnswered {
                tell(.head(exchange, status: 500))
                tell(.body(exchange, SimIPFS.error(message).body))
                return end(.end(exchange, trailers: []))
            }
            return end(.end(exchange, trailers: [SimIPFS.streamError(message)]))
        }
        var choices = tape.stream(.faults, 1 << 33 | UInt64(peer.index), exchange.number << 20 | put.taken)
        let cuts = peer.ipfs.cutsOneIn, losses = peer.ipfs.losesReplyOneIn
        let isCut = cuts > 0 && !found.isEmpty && choices.chance(1, in: cuts)
        if isCut { hit(.ipfsCutAnswer) }
        // Some proxies end an answer in good order, whatever became of the daemon: with all that it was given so far, with what it has just
        // been given while more is coming, or without that.
        let ending = isCut ? SimIPFS.CutEnding.allCases[choices.below(SimIPFS.CutEnding.allCases.count)] : nil
        if ending == .soon { process.puts[exchange]?.endsSoon = true }
        let endsNow = piece != nil && process.puts[exchange].map { $0.endsSoon && $0.unread.isEmpty } ?? false
        if ending == .without {
            if !hasAnswered { tell(.head(exchange, status: 200)) }
            return end(.end(exchange, trailers: []))
        }
        var lines: Bytes = []
        if endsNow {
            put.text += put.delimiter
            found += put.blocks()
        }
        for block in found {
            let hash = Multihash.sha2_256(of: block)
            peer.ipfs.blocks[hash] = block
            putBlocks.insert(hash)
            lines += Bytes("{\"Key\":\"\(CID(v1: put.codec, hash))\",\"Size\":\(block.count)}\n".utf8)
        }
        if losses > 0, piece == nil, choices.chance(1, in: losses) {
            hit(.ipfsReplyLost)
            return end(.failed(exchange, reason: "connection reset by peer"))
        }
        if !hasAnswered, put.hasAnswered { tell(.head(exchange, status: 200)) }
        if endsNow || ending == .with {
            if !lines.isEmpty { tell(.body(exchange, lines)) }
            return end(.end(exchange, trailers: []))
        }
        if ending == .broken {
            tell(.body(exchange, Bytes(lines.prefix(choices.below(lines.count)))))
            return end(.failed(exchange, reason: "unexpected EOF"))
        }
        if !lines.isEmpty { tell(.body(exchange, lines)) }
        guard piece == nil else { return }
        guard put.isClosed else { return end(.end(exchange, trailers: [SimIPFS.streamError("unexpected EOF")])) }
        end(.end(exchange, trailers: []))
    }

    /// A block of what was added, wherever it lies. Others are reached while they run.
    func addedBlock(_ cid: CID, for peer: SimPeer) -> Bytes? {
        if cid.multihash.code == HashCode.identity { return Bytes(cid.multihash.digest) }
        return peer.ipfs.blocks[cid.multihash] ?? peers.lazy.filter { !$0.ipfs.isDown }.compactMap { $0.ipfs.blocks[cid.multihash] }.first
    }

    /// A pin gets all below it that was added to the cluster; what was not comes from a world that nobody sees. False where some is nowhere.
    func fetch(_ target: String, for peer: SimPeer) -> Bool {
        guard SimIPFS.isFetch(target), let root = mentioned(in: target).last, putBlocks.contains(root.multihash) else { return true }
        let limit = target.contains("recursive=false") ? 0 : target.firstRange(of: "max-depth=").flatMap { Int(target[$0.upperBound...].prefix { $0.isNumber }) } ?? Int.max
        var pending = [(root, 0)]
        var seen: Set<CID> = []
        while let (cid, depth) = pending.popLast() {
            guard seen.insert(cid).inserted else { continue }
            guard let block = addedBlock(cid, for: peer) else { return false }
            if cid.multihash.code != HashCode.identity { peer.ipfs.blocks[cid.multihash] = block }
            if depth < limit { pending += ((try? links(of: block, cid: cid)) ?? []).map { ($0, depth + 1) } }
        }
        return true
    }
}

extension Bytes {
    /// Where that begins which is looked for, at the earliest.
    fileprivate func position(of mark: Bytes, from start: Int) -> Int? {
        withUnsafeBytes { bytes in
            var at = start
            while at + mark.count <= bytes.count {
                guard let next = bytes[at...(bytes.count - mark.count)].firstIndex(of: mark[0]) else { return Int?.none }
                if bytes[next..<(next + mark.count)].elementsEqual(mark) { return next }
                at = next + 1
            }
            return nil
        }
    }
}
