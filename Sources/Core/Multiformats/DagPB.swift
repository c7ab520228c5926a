// dag-pb: nodes with data and links. Links come first on the wire (CRDT-24). ipld/specs: dag-pb.

import Encoding
import Kernel

package struct DagPBLink: Equatable, Sendable {
    package var cid: CID
    /// Nil is absent, which differs from empty on the wire.
    package var name: EntryName?
    package var size: UInt64?
    package init(cid: CID, name: EntryName? = "", size: UInt64? = 0) {
        self.cid = cid
        self.name = name
        self.size = size
    }
}

package struct DagPBNode: Equatable, Sendable {
    package var links: [DagPBLink]
    package var data: Bytes?
    package init(links: [DagPBLink] = [], data: Bytes? = nil) {
        self.links = links
        self.data = data
    }

    /// Links in the order given; callers sort them by name where the format asks for it.
    package var encoded: Bytes {
        var writer = ProtobufWriter()
        for link in links {
            writer.message(2) { inner in
                inner.explicit(1, bytes: link.cid.bytes)
                if let name = link.name { inner.explicit(2, bytes: name.bytes) }
                if let size = link.size { inner.explicit(3, varint: size) }
            }
        }
        if let data { writer.explicit(1, bytes: data) }
        return writer.bytes
    }

    package init(decoding bytes: some Collection<UInt8>) throws(DagPBError) {
        self.init()
        var reader = ProtobufReader(Bytes(bytes))
        do {
            while let field = try reader.next() {
                switch field.number {
                case 1: data = Bytes(try field.bytes())
                case 2: links.append(try DagPBLink(reading: try field.message()))
                default: throw DagPBError.unknownField(field.number)
                }
            }
        } catch let error as DagPBError { throw error } catch let error as ProtobufError {
            throw .malformed(error)
        } catch { throw .badLink("\(error)") }
    }
}

package enum DagPBError: Error, Equatable, Sendable {
    case malformed(ProtobufError)
    case unknownField(Int)
    case badLink(String)
}

extension DagPBLink {
    fileprivate init(reading reader: ProtobufReader) throws {
        var reader = reader
        var cid: CID?
        var name: EntryName?
        var size: UInt64?
        while let field = try reader.next() {
            switch field.number {
            case 1: cid = try CID(try field.bytes())
            case 2: name = EntryName(try field.bytes())
            case 3: size = try field.uint64()
            default: throw DagPBError.unknownField(field.number)
            }
        }
        guard let cid else { throw DagPBError.badLink("no hash") }
        self.init(cid: cid, name: name, size: size)
    }
}
