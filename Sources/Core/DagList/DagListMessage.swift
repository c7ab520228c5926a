// A question for the blocks of a DAG, and a page of the answer, as protobuf messages.

import Encoding
import Kernel
import Multiformats

/// One block that the answering peer has.
package struct DagListEntry: Equatable, Sendable {
    package var cid: CID
    package var size: Int
    package init(cid: CID, size: Int) { self.cid = cid; self.size = size }
}

package enum DagListFault: Error, Equatable, Sendable {
    case tooMany(String)
    case tooLong(String)
    case badSize(UInt64)
    case noProgress
    case afterTheEnd
}

struct DagListRequest: Equatable, Sendable {
    /// Where the last page ended; empty to begin.
    var cursor: Bytes
    /// What the asker has already.
    var heads: [Multihash]
    var limit: Int

    var encoded: Bytes {
        var writer = ProtobufWriter(capacity: 16 + cursor.count + heads.count * 40)
        writer.bytes(1, cursor)
        for head in heads { writer.explicit(2, bytes: head.bytes) }
        writer.uint64(3, UInt64(limit))
        return writer.bytes
    }
}

extension DagListRequest {
    init(decoding bytes: ArraySlice<UInt8>, within settings: DagListSettings) throws {
        self.init(cursor: [], heads: [], limit: 0)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: cursor = Bytes(try field.bytes())
            case 2:
                guard heads.count < settings.headsMax else { throw DagListFault.tooMany("heads") }
                let head = try field.bytes()
                guard head.count <= settings.hashBytesMax else { throw DagListFault.tooLong("head") }
                heads.append(try Multihash(head))
            case 3: limit = min(Int(clamping: try field.uint64()), settings.entriesMax)
            default: break
            }
        }
        guard cursor.count <= settings.cursorBytesMax else { throw DagListFault.tooLong("cursor") }
        guard limit > 0 else { throw DagListFault.noProgress }
    }
}

struct DagListPage: Equatable, Sendable {
    var entries: [DagListEntry] = []
    /// Empty: that was all.
    var cursor: Bytes = []

    var encoded: Bytes {
        var writer = ProtobufWriter(capacity: 16 + cursor.count + entries.count * 56)
        for entry in entries {
            writer.message(1) { $0.explicit(1, bytes: entry.cid.bytes); $0.uint64(2, UInt64(entry.size)) }
        }
        writer.bytes(2, cursor)
        return writer.bytes
    }
}

extension DagListPage {
    init(decoding bytes: ArraySlice<UInt8>, within settings: DagListSettings) throws {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                guard entries.count < settings.entriesMax else { throw DagListFault.tooMany("entries") }
                entries.append(try DagListPage.entry(try field.message(), settings))
            case 2: cursor = Bytes(try field.bytes())
            default: break
            }
        }
        guard cursor.count <= settings.cursorBytesMax else { throw DagListFault.tooLong("cursor") }
    }

    private static func entry(_ reader: ProtobufReader, _ settings: DagListSettings) throws -> DagListEntry {
        var reader = reader
        var cid: ArraySlice<UInt8> = []
        var size: UInt64 = 0
        while let field = try reader.next() {
            switch field.number {
            case 1: cid = try field.bytes()
            case 2: size = try field.uint64()
            default: break
            }
        }
        guard cid.count <= settings.hashBytesMax else { throw DagListFault.tooLong("CID") }
        guard let bytes = Int(exactly: size) else { throw DagListFault.badSize(size) }
        return DagListEntry(cid: try CID(cid), size: bytes)
    }
}
