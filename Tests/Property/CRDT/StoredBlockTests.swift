// Blocks come back byte for byte, whoever wrote them, and what is made in one pass is what is made step by step.

import Encoding
import Kernel
@testable import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport
import Testing

@Suite struct StoredBlockTests {
    private func randomDelta(_ choices: inout Choices) -> Delta {
        var delta = Delta()
        for _ in 0..<choices.below(6) {
            var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: choices.bytes(4))))
            pin.options.name = String(repeating: "n", count: choices.below(200))
            let isOdd = choices.chance(1, in: 4)
            let value = choices.chance(1, in: 8) ? [] : isOdd ? choices.bytes(choices.below(40)) : pin.protobuf
            let key = choices.chance(1, in: 4) ? "/k\(choices.below(9))" : pin.cid.stateKey
            delta.elements.append(Delta.Element(key: key, id: choices.chance(1, in: 40) ? "somebody" : "", value: value))
        }
        for _ in 0..<choices.below(4) {
            let key = choices.chance(1, in: 2) ? "/k" : CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(2))).stateKey
            let isNew = delta.tombstones.isEmpty || choices.chance(1, in: 2)
            delta.tombstones.append(Delta.Tombstone(key: key, block: isNew ? .sha2_256(of: choices.bytes(3)) : delta.tombstones[0].block))
        }
        delta.priority = choices.chance(1, in: 6) ? 0 : UInt64(choices.below(1 << 40))
        return delta
    }

    @Test func aBlockComesBackByteForByte() throws {
        var choices = Choices(seed: 1)
        for _ in 0..<2000 {
            let delta = randomDelta(&choices)
            let heads = (0..<choices.below(3)).map { _ in CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(5))) }
            let raw = DeltaBlock.encode(delta, heads: heads)
            let block = try StoredBlock(raw: raw, consumes: 7)
            #expect(StoredBlock.raw(block.payload) == raw)
            #expect(block.hash == .sha2_256(of: raw) && block.priority == delta.priority && block.consumes == 7)
            #expect(block.links == heads.sorted().map(\.multihash))
            #expect(block.elements.map { block.name($0).string } == delta.elements.map(\.key))
            #expect(block.elements.map { block.value($0) } == delta.elements.map(\.value))
            let again = try #require(StoredBlock(payload: block.payload))
            #expect(again.elements.map(\.hash) == block.elements.map(\.hash) && again.elements.map(\.mixed) == block.elements.map(\.mixed))
            #expect(again.tombstones.map(\.hash) == block.tombstones.map(\.hash) && again.links == block.links)
            #expect(block.elements.map(\.hash) == delta.elements.map { StoredKey.hash($0.key) })
        }
    }

    /// Elements, tombstones and headers are read one by one, where a record's checksum says nothing.
    @Test func aFlippedBitIsNeverReadAsSomethingElse() throws {
        var choices = Choices(seed: 3)
        for _ in 0..<300 {
            let delta = randomDelta(&choices)
            let block = try StoredBlock(raw: DeltaBlock.encode(delta, heads: [CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(5)))]))
            var payload = block.payload
            let place = choices.below(payload.count)
            payload[place] ^= 1 << UInt8(choices.below(8))
            payload.withUnsafeBytes { (raw: UnsafeRawBufferPointer) in
                for (element, was) in zip(block.elements, delta.elements) {
                    guard let view = ElementView(raw, Int(element.offset)), view.isSound(view.mixed) else { continue }
                    #expect(view.distance == Int(element.offset) && Bytes(view.value) == was.value && String(decoding: view.keyText, as: UTF8.self) == was.key)
                }
                for (tombstone, was) in zip(block.tombstones, delta.tombstones) {
                    guard let view = TombstoneView(raw, Int(tombstone.offset)), let digest = view.digest(in: raw, Int(tombstone.offset)) else { continue }
                    #expect(Bytes(digest) == Bytes(was.block.digest) && String(decoding: view.keyText, as: UTF8.self) == was.key)
                }
                var needs = 0
                guard let header = StoredBlock.Header(raw, needs: &needs) else { return }
                #expect(header.priority == block.priority && header.digest == Bytes(block.hash.digest) && header.links == block.links && header.elementCount == block.elements.count)
            }
        }
    }

    /// Padded varints, other orders, unknown fields: kept as they are.
    @Test func aBlockWrittenOtherwiseComesBackAsItWas() throws {
        var choices = Choices(seed: 2)
        var (kept, refused) = (0, 0)
        for _ in 0..<3000 {
            var raw = DeltaBlock.encode(randomDelta(&choices), heads: [CID(v1: Codec.dagPB, .sha2_256(of: [1]))])
            raw[choices.below(raw.count)] ^= 1 << UInt8(choices.below(8))
            if choices.chance(1, in: 3) { raw.removeLast(choices.below(min(9, raw.count))) }
            do {
                let block = try StoredBlock(raw: raw)
                #expect(StoredBlock.raw(block.payload) == raw)
                let slow = try DeltaBlock(decoding: raw)
                #expect(block.elements.map { block.name($0).string } == slow.delta.elements.map(\.key))
                kept += 1
            } catch { refused += 1 }
        }
        #expect(kept > 500 && refused > 100)
    }

    @Test func manyPinsAtOnceAreTheBlockThatTheyAreOneByOne() throws {
        var choices = Choices(seed: 3)
        for _ in 0..<50 {
            var pins = StoredPins()
            var delta = Delta()
            for _ in 0..<1 + choices.below(40) {
                let pin = choices.randomPin()
                pins.append(pin)
                delta.elements.append(Delta.Element(key: pin.cid.stateKey, value: pin.protobuf))
            }
            delta.priority = 1 + UInt64(choices.below(1000))
            let heads = (0..<choices.below(3)).map { _ in CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(5))) }
            let raw = DeltaBlock.encode(delta, heads: heads)
            let hashes = try #require(StoredBlock.hashes(pins))
            let size = StoredBlock.count(pins, hashes, from: 0, deltaBytesMax: .max)
            guard size.count == pins.count else { continue }  // a CID came twice
            let block = StoredBlock.of(pins, hashes, from: 0, size: size, heads: heads.map(\.multihash).sorted(), priority: delta.priority)
            #expect(StoredBlock.raw(block.payload) == raw && block.hash == .sha2_256(of: raw))
            #expect(block.payload == (try StoredBlock(raw: raw)).payload)
        }
    }

    @Test func manyRemovalsAtOnceAreTheBlockThatTheyAreOneByOne() throws {
        var choices = Choices(seed: 5)
        for _ in 0..<100 {
            var delta = Delta()
            var removals: [Replica.Removal] = []
            for _ in 0..<1 + choices.below(40) {
                let cid = choices.randomCID()
                let blocks = (0..<1 + choices.below(2)).map { _ in Multihash.sha2_256(of: [UInt8(choices.below(9))]) }
                let key = KnownKey(generation: 0, words: [])
                removals.append(Replica.Removal(name: StoredName(cid), key: key, blocks: blocks.map { Bytes($0.digest) }, value: []))
                for block in blocks { delta.tombstones.append(Delta.Tombstone(key: cid.stateKey, block: block)) }
            }
            delta.priority = 1 + UInt64(choices.below(1000))
            let heads = (0..<choices.below(3)).map { _ in CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(5))) }
            let raw = DeltaBlock.encode(delta, heads: heads)
            let block = StoredBlock.of(
                removals[...], deltaBytesMax: .max, heads: heads.map(\.multihash).sorted(), priority: delta.priority, generation: 0)
            #expect(StoredBlock.raw(block.payload) == raw && block.hash == .sha2_256(of: raw))
            #expect(block.payload == (try StoredBlock(raw: raw)).payload)
        }
    }

    /// What tombstones say twice stands once: a digest for each block that is meant.
    @Test func aBlockMeantTwiceIsNamedOnce() throws {
        func size(_ count: Int) throws -> Int {
            var delta = Delta()
            for number in 0..<count {
                let cid = CID(v1: Codec.raw, .sha2_256(of: [UInt8(number)]))
                delta.tombstones.append(Delta.Tombstone(key: cid.stateKey, block: .sha2_256(of: [1])))
            }
            return try StoredBlock(raw: DeltaBlock.encode(delta, heads: [])).payload.count
        }
        #expect(try size(101) - size(1) <= 100 * 44)
    }

    @Test func aBatchOfPinsIsWhatItsPinsAre() throws {
        var choices = Choices(seed: 4)
        for _ in 0..<200 {
            var batch = PinBatch(options: choices.randomPin().options)
            batch.options.pinUpdate = nil
            for _ in 0..<choices.below(5) { batch.append(choices.randomCID(), name: choices.chance(1, in: 3) ? "" : "name \(choices.below(99))") }
            let time = WallTime(seconds: Int64(choices.below(1 << 31)))
            let stored = batch.stored(at: time)
            #expect(stored.count == batch.count)
            for index in 0..<batch.count {
                var pin = try batch.pin(index)
                pin.timestamp = time
                #expect(Bytes(stored[index]) == pin.protobuf)
            }
        }
    }
}
