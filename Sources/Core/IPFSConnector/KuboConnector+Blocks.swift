// Putting blocks: one streamed upload for as long as the blocks' hash function stays the same. IPFS-40..46.

import Kernel
import Multiformats
import Pinset
import Seams

extension KuboConnector {
    /// Kubo is told one hash function for a whole request, and stores under it: a block of another one gets a request
    /// of its own (ADD-78).
    struct Upload: Sendable {
        var current: ExchangeID?
        var hashCode: UInt64 = 0
        var digestBytes = 0
        var isEnded = false
    }

    package mutating func put(_ id: IPFSCallID, _ block: NodeWithMeta, now: Now, effects: inout [Effect]) {
        guard let call = calls[id], case .blockPut = call.operation else { return }
        let hash = block.cid.multihash
        if call.upload.hashCode != hash.code || call.upload.digestBytes != hash.digest.count {
            closeCurrent(id, &effects)
        }
        guard let exchange = calls[id]?.upload.current ?? open(id, block.cid, now, &effects) else { return }
        requests[exchange]?.put(hash)
        let head = "--\(KuboConnector.boundary(exchange))\r\n"
            + "Abspath-Encoded: \r\nContent-Disposition: form-data; name=\"file\"; filename=\"\(block.cid)\"\r\n"
            + "Content-Type: application/octet-stream\r\n\r\n"
        effects.append(.exchange(.body(exchange, Bytes(head.utf8) + block.data + Bytes("\r\n".utf8))))
    }

    /// The first block decides what the request says of codec and hash (IPFS-41).
    private mutating func open(
        _ id: IPFSCallID, _ cid: CID, _ now: Now, _ effects: inout [Effect]
    ) -> ExchangeID? {
        let hash = cid.multihash
        guard let codec = KuboConnector.codecNames[cid.codec] else {
            fail(id, "cannot find name for the blocks' CID codec: \(String(cid.codec, radix: 16))", &effects)
            return nil
        }
        guard let function = HashCode.name(of: hash.code) else {
            fail(id, "cannot find name for the blocks' Multihash type: \(String(hash.code, radix: 16))", &effects)
            return nil
        }
        let target = "block/put?allow-big-block=true&cid-codec=\(codec)&mhlen=\(hash.digest.count)"
            + "&mhtype=\(function)&pin=false"
        let type = "multipart/form-data; boundary=\(KuboConnector.boundary(ExchangeID(lastExchangeNumber + 1)))"
        let exchange = request(id, .put, target, within: nil, now, &effects, streaming: type)
        calls[id]?.upload.current = exchange
        calls[id]?.upload.hashCode = hash.code
        calls[id]?.upload.digestBytes = hash.digest.count
        return exchange
    }

    private static let codecNames: [UInt64: String] = [
        Codec.raw: "raw", Codec.dagPB: "dag-pb", Codec.dagCBOR: "dag-cbor", Codec.libp2pKey: "libp2p-key",
        0x129: "dag-json", 0x51: "cbor", 0x200: "json", 0x78: "git-raw",
    ]

    /// Long enough not to occur in a block by chance; an upload that held it would be refused, not stored wrongly.
    private static func boundary(_ exchange: ExchangeID) -> String {
        "ipfs-cluster-6f1d9b7e24c05a83d2f49c716b08e5a3-\(exchange.number)"
    }

    private mutating func closeCurrent(_ id: IPFSCallID, _ effects: inout [Effect]) {
        guard let exchange = calls[id]?.upload.current else { return }
        calls[id]?.upload.current = nil
        requests[exchange]?.isBodyEnded = true
        effects.append(.exchange(.body(exchange, Bytes("--\(KuboConnector.boundary(exchange))--\r\n".utf8))))
        effects.append(.exchange(.endOfBody(exchange)))
    }

    package mutating func endPut(_ id: IPFSCallID, effects: inout [Effect]) {
        guard let call = calls[id], case .blockPut = call.operation else { return }
        guard call.upload.digestBytes > 0 else {  // IPFS-44
            return fail(id, "BlockStream: no blocks to peek in blocks channel", &effects)
        }
        calls[id]?.upload.isEnded = true
        closeCurrent(id, &effects)
        finishIfStored(id, &effects)
    }

    /// Upstream takes the end of the answer for success, however few keys it held (IPFS-43).
    mutating func concludePut(_ request: Request, _ effects: inout [Effect]) {
        let missing = request.unacknowledgedCount
        guard missing == 0 else {
            return fail(request.call, "IPFS did not acknowledge \(missing) of the blocks that were put", &effects)
        }
        guard request.isBodyEnded else {
            return fail(request.call, "IPFS ended its answer to block/put before the last block", &effects)
        }
        finishIfStored(request.call, &effects)
    }

    private mutating func finishIfStored(_ id: IPFSCallID, _ effects: inout [Effect]) {
        guard let call = calls[id], call.upload.isEnded, call.requests.isEmpty else { return }
        finish(id, .success(.done), &effects)
    }

    mutating func acknowledge(_ exchange: ExchangeID, _ cid: CID, _ effects: inout [Effect]) {
        guard requests[exchange]?.acknowledge(cid.multihash) == false, let call = requests.look(at: exchange, { $0.call }) else { return }
        fail(call, "IPFS stored a block as \(cid), which was not put: its data differs", &effects)
    }
}

extension KuboConnector.Request {
    /// The same block may be put more than once, and is acknowledged each time.
    mutating func put(_ hash: Multihash) {
        unacknowledged[hash, default: 0] += 1
        unacknowledgedCount += 1
    }

    /// False for what was not put.
    mutating func acknowledge(_ hash: Multihash) -> Bool {
        guard let count = unacknowledged[hash] else { return false }
        unacknowledged[hash] = count > 1 ? count - 1 : nil
        unacknowledgedCount -= 1
        return true
    }
}
