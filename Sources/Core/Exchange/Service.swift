// What is to be sent to one peer, in the order of its asking.

import Kernel
import Multiformats

struct Service: Sendable {
    private enum Response: Sendable {
        case presence(CID, isHere: Bool)
        case block(CID, tellsAbsence: Bool)
    }

    /// What it wants from us and has not got, in the order of the hashes.
    private(set) var ledger = SortedMap<Multihash, BitswapMessage.Entry>()
    private var responses = FIFO<Response>()
    /// The blocks among the responses; one that is not here was cancelled.
    private var queued: Set<Multihash> = []
    /// On streams that have not drained.
    var outstandingBytes = 0

    var waitingCount: Int { responses.count }
    var isIdle: Bool { responses.isEmpty }

    /// All that it wanted, also what waits to be sent (BS-08).
    mutating func forgetWants() {
        ledger.removeAll()
        queued.removeAll()
    }

    mutating func cancel(_ hash: Multihash) {
        ledger.remove(hash)
        queued.remove(hash)
    }

    mutating func onWant(_ entry: BitswapMessage.Entry, _ settings: ExchangeSettings, _ blocks: Exchange.Blocks) {
        let hash = entry.cid.multihash
        guard entry.cid.bytes.count <= settings.cidBytesMax, hash.code != HashCode.identity else { return }  // BS-09
        // Whoever asks faster than it reads waits, and asks again.
        guard responses.count < settings.wantsPerPeerMax else { return }
        if let size = blocks(entry.cid, .size)?.size {
            ledger.remove(hash)  // where it was missing before, and came without being announced
            return answer(entry, size, settings)
        }
        if entry.sendDontHave { responses.append(.presence(entry.cid, isHere: false)) }
        if let first = ledger.first, ledger.count >= settings.wantsPerPeerMax {
            ledger.remove(first.key)  // N08: new wants are not shut out by old ones
        }
        ledger[hash] = entry
    }

    /// A block that was not here before.
    mutating func onAdded(_ cid: CID, _ settings: ExchangeSettings, _ blocks: Exchange.Blocks) {
        guard let entry = ledger.remove(cid.multihash) else { return }
        answer(entry, entry.wantsHave ? blocks(entry.cid, .size)?.size ?? 0 : 0, settings)
    }

    private mutating func answer(_ entry: BitswapMessage.Entry, _ size: Int, _ settings: ExchangeSettings) {
        if entry.wantsHave && size > settings.haveBlockBytes {
            responses.append(.presence(entry.cid, isHere: true))
        } else if queued.insert(entry.cid.multihash).inserted {
            responses.append(.block(entry.cid, tellsAbsence: entry.sendDontHave))
        }
    }

    /// What fits into one message; nil if nothing is left to say.
    mutating func nextMessage(_ settings: ExchangeSettings, _ blocks: Exchange.Blocks) -> BitswapMessage? {
        var message = BitswapMessage()
        var bytes = 0
        while bytes < settings.responseBytes, let response = responses.first {
            switch response {
            case .presence(let cid, let isHere):
                message.presences.append(BitswapMessage.Presence(cid: cid, isHere: isHere))
                bytes += 64
            case .block(let cid, let tellsAbsence) where queued.contains(cid.multihash):
                let size = bytes > 0 ? blocks(cid, .size)?.size ?? 0 : 0
                if bytes + size > settings.messageBytesMax / 2 && bytes > 0 { return message }
                queued.remove(cid.multihash)
                if let data = blocks(cid, .bytes)?.bytes {
                    message.blocks.append(BitswapMessage.Block(cid: cid, data: data))
                    ledger.remove(cid.multihash)  // asked for again while it could not be read (seed 88145342 with disk faults)
                    bytes += data.count + 64
                } else if tellsAbsence {  // dropped, or damaged
                    message.presences.append(BitswapMessage.Presence(cid: cid, isHere: false))
                    bytes += 64
                }
            case .block: break
            }
            responses.popFirst()
        }
        return bytes > 0 ? message : nil
    }
}
