// Imports the blocks of a CAR v1 file as they come in. ADD-72..77. A CAR without blocks, on which upstream crashes, is
// refused.

import Encoding
import Kernel
import Multiformats
import Pinset

package struct CARImporter: Sendable {
    private static let sectionLimit = 32 << 20
    private enum Phase: Equatable, Sendable { case before, header, blocks, padding, after }

    private let parameters: AddParameters
    private var phase = Phase.before
    private var buffer: Bytes = []
    private var name: EntryName = ""
    private var root: CID?
    private var bytes: UInt64 = 0
    private var size: UInt64 = 0
    private var count = 0
    private var recent: (CID?, CID?) = (nil, nil)

    package init(_ parameters: AddParameters) { self.parameters = parameters }

    package mutating func beginFile(_ name: EntryName) throws(AddError) {
        guard !parameters.wrapWithDirectory else { throw AddError("cannot wrap a CAR file upload") }
        guard phase == .before else { return }  // ADD-73: only the first file is read
        let path = [EntryName](path: name)
        guard path.count <= 1 else { throw CARImporter.notAFile }
        self.name = path.joined
        phase = .header
    }

    package mutating func other() throws(AddError) {
        guard phase == .after else { throw CARImporter.notAFile }
    }
    private static let notAFile = AddError("expected CAR file is not of type file")

    package mutating func data(_ more: Bytes, effects: inout [ImportEffect]) throws(AddError) {
        guard phase == .header || phase == .blocks else { return }
        buffer += more
        var used = 0
        while let section = try section(at: used) {
            used = section.endIndex
            // Zeros behind the last block are padding to upstream's reader, which looks at nothing further.
            if section.isEmpty {
                (phase, buffer) = (.padding, [])
                return
            }
            if phase == .header { try takeHeader(section) } else { try takeBlock(section, &effects) }
        }
        buffer.removeFirst(used)
    }

    /// The content of the next complete section.
    private func section(at start: Int) throws(AddError) -> ArraySlice<UInt8>? {
        var length: UInt64 = 0
        let rest = buffer[start...]
        var offset = 0
        do { length = try readVarint(rest, at: &offset) } catch VarintError.truncated { return nil } catch {
            throw AddError("the CAR has a section of bad length: \(error)")
        }
        guard length > 0 || phase == .blocks, length <= UInt64(Self.sectionLimit) else {
            throw AddError("the CAR has a section of \(length) bytes; 1 to \(Self.sectionLimit) are allowed")
        }
        guard rest.count - offset >= Int(length) else { return nil }
        return rest[(start + offset)..<(start + offset + Int(length))]
    }

    private mutating func takeHeader(_ section: ArraySlice<UInt8>) throws(AddError) {
        let header = try CARHeader(section)
        guard header.version == 1 else { throw AddError("invalid car version: \(header.version)") }
        guard let first = header.roots.first else { throw AddError("empty car, no roots") }
        guard header.roots.count == 1 else { throw AddError("only CAR files with a single root are supported") }
        root = first
        phase = .blocks
    }

    private mutating func takeBlock(
        _ section: ArraySlice<UInt8>, _ effects: inout [ImportEffect]
    ) throws(AddError) {
        let (cid, start) = try CARImporter.leadingCID(section)
        let data = Bytes(section[start...])
        try CARImporter.verify(cid, data)
        let below = try CARImporter.sizeBelow(data, cid)
        bytes &+= UInt64(data.count)
        count += 1
        if cid == root, let message = CARImporter.unixFS(data, cid) { size = message }
        guard recent.0 != cid, recent.1 != cid else { return }
        recent = (recent.1, cid)
        effects.append(.block(NodeWithMeta(data: data, cid: cid, cumulativeSize: UInt64(data.count) &+ below)))
    }

    private static func leadingCID(_ section: ArraySlice<UInt8>) throws(AddError) -> (CID, Int) {
        do {
            if section.starts(with: [0x12, 0x20]), section.count >= 34 {
                return (try CID(section.prefix(34)), section.startIndex + 34)
            }
            var offset = 0
            for _ in 0..<3 { _ = try readVarint(section, at: &offset) }  // version, codec, hash function
            let length = try readVarint(section, at: &offset)
            guard length <= UInt64(section.count - offset) else { throw VarintError.truncated }
            let end = section.startIndex + offset + Int(length)
            return (try CID(section[section.startIndex..<end]), end)
        } catch { throw AddError("the CAR has a block without a sound CID: \(error)") }
    }

    /// ADD-74.
    private static func verify(_ cid: CID, _ data: Bytes) throws(AddError) {
        guard let matches = cid.multihash.matches(data) else {
            throw AddError("block \(cid) has an unknown hash function: its content cannot be checked")
        }
        guard matches else {
            let real = Multihash.of(data, with: cid.multihash.code)
            let shown = real.map { CID(v1: cid.codec, $0).description } ?? "other"
            throw AddError("mismatch in content integrity, name: \(cid), data: \(shown)")
        }
    }

    /// Also makes sure that the block decodes.
    private static func sizeBelow(_ data: Bytes, _ cid: CID) throws(AddError) -> UInt64 {
        _ = try links(of: data, cid: cid)
        guard cid.codec == Codec.dagPB, let node = try? DagPBNode(decoding: data) else { return 0 }
        return node.links.reduce(0) { $0 &+ ($1.size ?? 0) }
    }

    /// The file size that a UnixFS root states (ADD-76); raw blocks do not count as UnixFS here.
    private static func unixFS(_ data: Bytes, _ cid: CID) -> UInt64? {
        guard cid.codec == Codec.dagPB, let node = try? DagPBNode(decoding: data) else { return nil }
        return (try? UnixFSData(decoding: node.data ?? []))?.fileSize ?? 0
    }

    package mutating func endFile(effects: inout [ImportEffect]) throws(AddError) {
        guard phase != .before, phase != .after else { return }
        guard phase != .header, let root, buffer.isEmpty else { throw AddError("unexpected EOF: the CAR is cut off") }
        guard count > 0 else { throw AddError("the CAR holds no blocks") }
        phase = .after
        var output = AddedOutput(name: name.description, cid: root)
        output.bytes = bytes
        output.size = size
        effects.append(.output(output))
    }

    package func finish() throws(AddError) -> CID {
        guard phase == .after, let root else { throw AddError("the upload holds nothing to add") }
        return root
    }
}

struct CARHeader: Equatable {
    var version: UInt64 = 0
    var roots: [CID] = []

    init(_ section: ArraySlice<UInt8>) throws(AddError) {
        var reader = CBORReader(section)
        let head = try reader.head()
        guard head.kind == .map else { throw CBORReader.broken }
        for _ in 0..<min(head.value, UInt64(section.count)) {
            let key = try reader.head()
            guard key.kind == .text else { throw CBORReader.broken }
            switch String(decoding: try reader.take(key.value), as: UTF8.self) {
            case "version": version = try reader.head().value
            case "roots": roots = try reader.links()
            default: _ = try reader.links()
            }
        }
        guard reader.isAtEnd else { throw CBORReader.broken }
    }
}
