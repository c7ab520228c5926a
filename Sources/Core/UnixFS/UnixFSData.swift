// The UnixFS message inside a dag-pb node. ipfs/specs: unixfs; ADD-31..35.

import Encoding
import Kernel
import Multiformats

package struct UnixFSData: Equatable, Sendable {
    package enum Kind: UInt64, Sendable { case raw = 0, directory, file, metadata, symlink, hamtShard }
    package var kind: Kind
    package var data: Bytes = []
    package var fileSize: UInt64?
    package var blockSizes: [UInt64] = []
    package var hashType: UInt64?
    package var fanout: UInt64?

    package init(_ kind: Kind) { self.kind = kind }

    package var encoded: Bytes {
        var writer = ProtobufWriter(capacity: data.count + 16)
        writer.explicit(1, varint: kind.rawValue)
        writer.bytes(2, data)
        if let fileSize { writer.explicit(3, varint: fileSize) }
        for size in blockSizes { writer.explicit(4, varint: size) }
        if let hashType { writer.explicit(5, varint: hashType) }
        if let fanout { writer.explicit(6, varint: fanout) }
        return writer.bytes
    }

    /// Mode and modification time are passed over: nothing here stores them (ADD-35).
    package init(decoding bytes: Bytes) throws(AddError) {
        var reader = ProtobufReader(bytes)
        var kind: Kind?
        self.kind = .raw
        do {
            while let field = try reader.next() {
                switch field.number {
                case 1: kind = Kind(rawValue: try field.uint64())
                case 2: data = Bytes(try field.bytes())
                case 3: fileSize = try field.uint64()
                case 4: try appendBlockSizes(field)
                case 5: hashType = try field.uint64()
                case 6: fanout = try field.uint64()
                default: break
                }
            }
        } catch { throw AddError("not a UnixFS node: \(error)") }
        guard let kind else { throw AddError("not a UnixFS node: no known type") }
        self.kind = kind
    }

    /// Writers may pack the sizes.
    private mutating func appendBlockSizes(_ field: ProtobufReader.Field) throws {
        guard case .bytes(let packed) = field.value else { return blockSizes.append(try field.uint64()) }
        var offset = 0
        while offset < packed.count { blockSizes.append(try readVarint(packed, at: &offset)) }
    }
}
