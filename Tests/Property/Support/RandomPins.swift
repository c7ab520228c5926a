// Pins of every kind that a state may hold, plain ones and odd ones.

import Kernel
import Multiformats
import Pinset

extension Choices {
    package mutating func randomPeer() -> PeerID {
        chance(1, in: 6) ? PeerID(.sha2_256(of: bytes(4))) : PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32] + bytes(32)))
    }

    package mutating func randomCID() -> CID {
        let hash = Multihash.sha2_256(of: bytes(8))
        switch below(12) {
        case 0: return CID(v1: 0x0129, hash)  // a codec of two bytes
        case 1: return CID(v1: Codec.raw, Multihash(code: HashCode.blake2b256, digest: bytes(32)))
        case 2: return CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: bytes(below(140))))
        case 3, 4: return (try? CID(v0: hash)) ?? CID(v1: Codec.dagPB, hash)
        default: return CID(v1: chance(1, in: 2) ? Codec.raw : Codec.dagPB, hash)
        }
    }

    package mutating func randomText() -> String {
        let odd = ["\"", "\\", "\n", "\r", "\t", "\u{8}", "\u{c}", "\u{1}", "<", ">", "&", "\u{2028}", "\u{7f}", "é", "日本", "🚀", "\u{0}", "/"]
        var text = ""
        for _ in 0..<below(chance(1, in: 10) ? 300 : 20) {
            text += chance(1, in: 40) ? odd[below(odd.count)] : String(UnicodeScalar(UInt8(0x20 + below(0x5f))))
        }
        return text
    }

    package mutating func randomTime() -> WallTime {
        switch below(12) {
        case 0: .epoch
        case 1: WallTime(seconds: Int64(bitPattern: next()) >> Int64(below(40)))
        case 2: WallTime(seconds: -62_135_596_801 + Int64(below(3)))
        case 3: WallTime(seconds: 253_402_300_799 + Int64(below(2)))
        case 4...6: .unset
        default: WallTime(seconds: Int64(below(4_000_000_000)))
        }
    }

    private mutating func randomNumber() -> Int {
        switch below(8) {
        case 0: Int(Int32.min) + below(2)
        case 1: Int(Int32.max) - below(2)
        case 2: below(1000) - 500
        case 3: 0
        default: -1
        }
    }

    /// As the state gives it back: what is written is what is read.
    package mutating func randomPin() -> Pin {
        var pin = Pin(cid: randomCID())
        pin.options.name = randomText()
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (randomNumber(), randomNumber())
        pin.maxDepth = randomNumber()
        pin.timestamp = randomTime()
        if chance(1, in: 3) { pin.options.expireAt = randomTime() }
        if chance(1, in: 3) { pin.options.shardSize = next() >> UInt64(below(64)) }
        if chance(1, in: 3) { pin.type = PinType.allCases[below(5)] }
        pin.allocations = chance(1, in: 2) ? [] : (0..<below(4)).map { _ in randomPeer() }
        if chance(1, in: 6) { pin.reference = randomCID() }
        if chance(1, in: 6) { pin.options.pinUpdate = randomCID() }
        if chance(1, in: 8) { pin.options.metadata = Metadata() }
        for _ in 0..<(chance(1, in: 6) ? below(4) : 0) { pin.options.metadata = (pin.options.metadata ?? [:]).with(randomText(), randomText()) }
        if chance(1, in: 8), let address = try? Multiaddr(text: "/ip4/127.0.0.1/tcp/\(below(65_536))/p2p/\(randomPeer())") {
            pin.options.origins = [address]
        }
        return pin
    }
}

extension Metadata {
    fileprivate func with(_ key: String, _ value: String) -> Metadata {
        var out = self
        out[key] = value
        return out
    }
}
