// What an import does beyond the recorded cases: bad uploads, odd names, limits.

import Kernel
import Multiformats
import Pinset
import Seams
import Testing

@testable import UnixFS

@Suite("Imports of odd uploads")
struct ImportTests {
    private func file(_ name: EntryName, _ text: String = "x") -> [ClientInput] {
        [.file(name: name), .data(Bytes(text.utf8)), .endOfFile]
    }

    @Test("dots in paths do not lead out of the upload")
    func dots() throws {
        let plain = try Imported(AddParameters(), file("top/a/b") + [.end])
        let dotted = try Imported(AddParameters(), file("./../top/x/../a/./b") + [.end])
        #expect(plain.outputs == dotted.outputs)
        #expect(plain.root == dotted.root)
    }

    @Test("names are compared by their bytes, not by their meaning")
    func canonicalEquality() throws {
        let inputs = file("top/\u{e9}") + file("top/e\u{301}", "y") + [.end]
        let imported = try Imported(AddParameters(), inputs)
        let node = try DagPBNode(decoding: try #require(imported.blocks.last { $0.cid == imported.root }).data)
        #expect(node.links.count == 2)
        #expect(node.links[0].name?.bytes == [0x65, 0xcc, 0x81])
    }

    @Test("names that are not UTF-8 are kept as they are, and apart")
    func notUTF8() throws {
        func name(_ byte: UInt8) -> EntryName { "top/" + EntryName([byte]) }
        let imported = try Imported(AddParameters(), file(name(0xff)) + file(name(0xfe), "y") + [.symlink(name: name(0xfd), target: EntryName([0xfc])), .end])
        let node = try DagPBNode(decoding: try #require(imported.blocks.last { $0.cid == imported.root }).data)
        #expect(node.links.map(\.name?.bytes) == [[0xfd], [0xfe], [0xff]])
        #expect(Set(node.links.map(\.cid)).count == 3)
        let link = try #require(imported.blocks.first { $0.cid == node.links[0].cid })
        #expect(try UnixFSData(decoding: try DagPBNode(decoding: link.data).data ?? []).data == [0xfc])
    }

    @Test("an upload of nothing, and one cut off in a file, are refused")
    func incomplete() {
        #expect(throws: AddError.self) { try Imported(AddParameters(), [.end]) }
        #expect(throws: AddError.self) { try Imported(AddParameters(), [.file(name: "f"), .end]) }
        #expect(throws: AddError.self) { try Imported(AddParameters(), [.data([1])]) }
        #expect(throws: AddError.self) { try Imported(AddParameters(), [.endOfFile]) }
        #expect(throws: AddError.self) { try Imported(AddParameters(), [.file(name: "f"), .file(name: "g")]) }
    }

    /// The words of upstream: names without a function are found out at the first block.
    @Test("hash functions that cannot be had are told from names that nobody knows")
    func hashNames() {
        let missing = "unknown multihash code 4352 (0x1100): no such hash registered", chunk = "chunker size must be greater than 0"
        let cases: [(hash: String, rawLeaves: Bool, chunker: String, error: String)] = [
            ("bogus", false, "", "hash function name not known"), ("X11", false, "", missing), ("x11", true, "", "invalid cid: " + missing),
            ("poseidon-bls12_381-a2-fc1", false, "", "unknown multihash code 46081 (0xb401): no such hash registered"),
            ("sha2-256-trunc254-padded", false, "", "unknown multihash code 4114 (0x1012): no such hash registered"),
            ("sha1", false, "", "invalid cid: invalid v0 prefix"), ("x11", false, "size-0", chunk), ("bogus", false, "size-0", "hash function name not known"),
        ]
        for (hash, rawLeaves, chunker, error) in cases {
            var parameters = AddParameters()
            (parameters.hash, parameters.rawLeaves) = (hash, rawLeaves)
            if !chunker.isEmpty { parameters.chunker = chunker }
            #expect(throws: AddError(error), "\(hash) \(chunker)") { try Imported(parameters, file("f") + [.end]) }
        }
    }

    @Test("a file cannot take the place of a directory of the same upload")
    func fileOverDirectory() {
        #expect(throws: AddError("directory already has entry by that name")) {
            try Imported(AddParameters(), file("top/a/b") + file("top/a") + [.end])
        }
    }

    @Test("paths of any depth are built or refused, never a crash", arguments: [200, 257, 100_000])
    func depth(_ depth: Int) throws {
        let inputs = file(EntryName(String(repeating: "d/", count: depth - 1) + "f")) + [.end]
        if depth > UnixFSImporter.depthLimit {
            #expect(throws: AddError.self) { try Imported(AddParameters(), inputs) }
        } else {
            #expect(try Imported(AddParameters(), inputs).outputs.count == depth)
        }
    }

    @Test("progress is told on the way and at the end")
    func progress() throws {
        var parameters = AddParameters()
        parameters.progress = true
        for size in [100, 99_991, 262_144, 300_001, 700_000] {  // of the pieces of the upload
            let content = Bytes(repeating: 7, count: 700_000)
            let pieces = stride(from: 0, to: content.count, by: size).map {
                ClientInput.data(Bytes(content[$0..<min($0 + size, content.count)]))
            }
            let outputs = try Imported(parameters, [.file(name: "top/f")] + pieces + [.endOfFile, .end]).outputs
            #expect(outputs.prefix(3).map(\.bytes) == [262_144, 524_288, 700_000], "pieces of \(size)")
            #expect(outputs.prefix(3).allSatisfy { $0.name == "f" && $0.cid == nil })
            #expect(outputs.dropFirst(3).allSatisfy { $0.cid != nil })
        }
    }

    @Test("what is held does not grow with the file", arguments: [AddParameters.Layout.balanced, .trickle])
    func memory(_ layout: AddParameters.Layout) throws {
        let format = try ContentFormat(AddParameters())
        var builder = FileBuilder(layout, format)
        var emitted = 0
        for number in 0..<40_000 { try builder.add([UInt8(number % 251)]) { _ in emitted += 1 } }
        var atEnd = 0
        _ = try builder.finish { _ in atEnd += 1 }
        #expect(emitted >= 39_999)
        #expect(atEnd <= 8, "\(atEnd) nodes were still open")
    }

    @Test("a CAR cut off anywhere is refused, and never crashes")
    func cutCAR() throws {
        let recorded = try #require(AddCase.all.first { $0.id == "add-101" })
        let inputs = recorded.inputs(pieceBytes: 1)
        let whole = try Imported(recorded.parameters, inputs)
        var accepted = 0
        for count in 1..<inputs.count - 2 {
            let cut = Array(inputs[..<count]) + [.endOfFile, .end]
            if let imported = try? Imported(recorded.parameters, cut) {
                accepted += 1
                #expect(imported.root == whole.root)
            }
        }
        // Between two blocks it may end: completeness is not checked (ADD-75).
        #expect(accepted == whole.blocks.count - 1)
    }

    @Test("a section of length zero is the end of a CAR, whatever follows", arguments: [1, 2, 7, 1 << 20])
    func paddedCAR(_ size: Int) throws {
        let recorded = try #require(AddCase.all.first { $0.id == "add-101" })
        guard case .data(let car) = recorded.inputs(pieceBytes: 1 << 20)[1] else { return }
        let header = Int(car[0]) + 1
        func imported(_ bytes: Bytes) throws -> Imported {
            let pieces = stride(from: 0, to: bytes.count, by: size).map { ClientInput.data(Bytes(bytes[$0..<min($0 + size, bytes.count)])) }
            return try Imported(recorded.parameters, [.file(name: "f")] + pieces + [.endOfFile, .end])
        }
        let whole = try imported(car)
        for padding in [[0], Bytes(repeating: 0, count: 100), [0, 0xff, 0xff], [0] + car, [0, 5, 1]] {
            let padded = try imported(car + padding)
            #expect(padded.blocks == whole.blocks && padded.outputs == whole.outputs && padded.root == whole.root, "\(padding.prefix(3))")
        }
        // What is no block is padding nowhere else: before the header, or where no block has come.
        let (start, rest) = (Bytes(car[..<header]), Bytes(car[header...]))
        for bytes in [[0] + car, [0], start + [0], start + [0] + rest] {
            #expect(throws: AddError.self) { try imported(bytes) }
        }
    }

    @Test("a damaged CAR is refused, and never crashes")
    func damagedCAR() throws {
        let recorded = try #require(AddCase.all.first { $0.id == "add-104" })
        guard case .data(let car) = recorded.inputs(pieceBytes: 1 << 20)[1] else { return }
        for offset in car.indices {
            for flip in [UInt8(0x01), 0x80, 0xff] {
                var damaged = car
                damaged[offset] ^= flip
                let inputs: [ClientInput] = [.file(name: "f"), .data(damaged), .endOfFile, .end]
                let result = try? Imported(recorded.parameters, inputs)
                if let result { #expect(result.blocks.allSatisfy { $0.cid.multihash.matches($0.data) == true }) }
            }
        }
    }
}

@Suite("Reading blocks")
struct LinkTests {
    @Test("the links of dag-cbor are found however deep they lie")
    func cborDepth() throws {
        let leaf = CID(v1: Codec.raw, .sha2_256(of: [1]))
        let link = [0xd8, 0x2a, 0x58, UInt8(leaf.bytes.count + 1), 0] + leaf.bytes
        let block = Bytes(repeating: 0x81, count: 1_000_000) + link
        #expect(try links(of: block, cid: CID(v1: Codec.dagCBOR, .sha2_256(of: block))) == [leaf])
    }

    @Test(
        "malformed dag-cbor is refused",
        arguments: ["", "9b7fffffffffffffff", "bbffffffffffffffff", "d82a40", "5f", "8101ff", "d82b00"])
    func badCBOR(_ text: String) {
        let cid = CID(v1: Codec.dagCBOR, .sha2_256(of: []))
        #expect(throws: AddError.self) { try links(of: bytes(hex: text) ?? [], cid: cid) }
    }

    @Test("a format that is not known is refused")
    func unknown() {
        #expect(throws: AddError.self) { try links(of: [], cid: CID(v1: 0x129, .sha2_256(of: []))) }
    }

    @Test("names are found in plain and in sharded directories", arguments: [20, 6000])
    func names(_ count: Int) throws {
        var inputs: [ClientInput] = []
        for number in 0..<count {
            let name = "top/a-rather-long-name-for-an-entry-\(number)"
            inputs += [.file(name: EntryName(name)), .data(Bytes("\(number)".utf8)), .endOfFile]
        }
        let imported = try Imported(AddParameters(), inputs + [.end])
        var blocks: [CID: Bytes] = [:]
        for block in imported.blocks { blocks[block.cid] = block.data }
        func find(_ name: String) throws -> CID? {
            var cid = try #require(imported.root), level = 0
            while true {
                switch try step(to: name, in: try #require(blocks[cid]), cid: cid, level: level) {
                case .found(let found): return found
                case .descend(let next): (cid, level) = (next, level + 1)
                case .missing: return nil
                }
            }
        }
        for output in imported.outputs where output.name != "top" {
            #expect(try find(String(output.name.dropFirst(4))) == output.cid)
        }
        #expect(try find("no such name") == nil)
    }
}
