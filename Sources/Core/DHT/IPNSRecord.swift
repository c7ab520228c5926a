// What a name points to, signed by the key that the name is. The signed part is dag-cbor; what stands beside it in protobuf is of the
// first version and counts for nothing but must agree. IPNS Record and Protocol (specs.ipfs.tech/ipns/ipns-record), "Record
// Verification"; boxo ipns/validation.go; DHT-10.

import Encoding
import Kernel
import Multiformats

package struct IPNSRecord: Sendable {
    /// As the specification has it.
    package static let bytesMax = 10 << 10
    private static let signaturePrefix = Bytes("ipns-signature:".utf8)

    /// Of the first version: what it says counts only in so far as it must not be something else.
    private var value: Bytes = []
    private var firstSignature: Bytes = []
    private var validityType: Int32 = 0
    private var validity: Bytes = []
    private var sequence: UInt64 = 0
    private var ttl: UInt64 = 0
    private var publicKey: Bytes = []
    private var signature: Bytes = []
    private var data: Bytes = []
    private let signed: SignedMap

    /// A field of another wire type is one that nobody knows, as protobuf has it.
    package init(_ bytes: Bytes) throws(DHTFault) {
        guard bytes.count <= IPNSRecord.bytesMax else { throw .badRecord("an IPNS record of \(bytes.count) bytes") }
        var reader = ProtobufReader(bytes)
        do {
            while let field = try reader.next() {
                switch (field.number, field.value) {
                case (1, .bytes(let bytes)): value = Bytes(bytes)
                case (2, .bytes(let bytes)): firstSignature = Bytes(bytes)
                case (3, .varint(let number)): validityType = Int32(truncatingIfNeeded: number)
                case (4, .bytes(let bytes)): validity = Bytes(bytes)
                case (5, .varint(let number)): sequence = number
                case (6, .varint(let number)): ttl = number
                case (7, .bytes(let bytes)): publicKey = Bytes(bytes)
                case (8, .bytes(let bytes)): signature = Bytes(bytes)
                case (9, .bytes(let bytes)): data = Bytes(bytes)
                default: break
                }
            }
        } catch { throw .badRecord("an IPNS record that cannot be read: \(error)") }
        signed = try SignedMap(data)
    }

    /// Throws what is wrong with it as the record of a name.
    package func check(name: PeerID, now: WallTime) throws(DHTFault) {
        guard try key(of: name).verify(signature, of: IPNSRecord.signaturePrefix + data) else {
            throw .badRecord("the signature of an IPNS record does not match")
        }
        if !firstSignature.isEmpty || !value.isEmpty { try checkFirstVersion() }
        guard try end >= now else { throw .badRecord("an IPNS record that has expired") }
    }

    private func checkFirstVersion() throws(DHTFault) {
        let (signedValue, signedValidity) = (try signed.bytes("Value"), try signed.bytes("Validity"))
        let (signedType, signedSequence, signedTTL) = (try signed.integer("ValidityType"), try signed.sequence, try signed.integer("TTL"))
        guard signedValue == value, signedValidity == validity, signedType == Int64(validityType), signedSequence == sequence,
            UInt64(bitPattern: signedTTL) == ttl
        else { throw .badRecord("what is signed of an IPNS record is not what stands beside it") }
    }

    /// Its own, if it has one, which must be that of the name; else the one in the name.
    private func key(of name: PeerID) throws(DHTFault) -> PublicKey {
        guard !publicKey.isEmpty else {
            guard let key = name.publicKey else { throw .badRecord("an IPNS record without the key of its name") }
            return key
        }
        guard let key = try? PublicKey(protobuf: publicKey) else { throw .badRecord("the key of an IPNS record cannot be read") }
        guard key.peerID == name else { throw .badRecord("the key of an IPNS record is another's") }
        return key
    }

    private var end: WallTime {
        get throws(DHTFault) {
            guard try signed.integer("ValidityType") == 0 else { throw .badRecord("an IPNS record of an unknown validity") }
            let text = String(decoding: try signed.bytes("Validity"), as: UTF8.self)
            guard let time = WallTime(rfc3339: text) else { throw .badRecord("an IPNS record that ends at \(text)") }
            return time
        }
    }

    /// Whether it takes the place of another of the same name: by its number, then by its end, then by its bytes, so that everyone
    /// chooses alike. Who cannot be compared does not.
    package static func replaces(_ new: Bytes, _ old: Bytes) -> Bool {
        do throws(DHTFault) {
            let (a, b) = (try IPNSRecord(new), try IPNSRecord(old))
            let (mine, its) = (try a.signed.sequence, try b.signed.sequence)
            if mine != its { return mine > its }
            let (ends, ended) = (try a.end, try b.end)
            return ends != ended ? ends > ended : !precedes(new, old)
        } catch { return false }
    }
}

/// What is known of the fields of a map in dag-cbor. All of it must be sound, as deep as it goes: whoever else reads the record
/// reads it whole.
private struct SignedMap: Sendable {
    private enum Item: Equatable, Sendable {
        case bytes(Bytes)
        case integer(Int64)
        case other
    }
    private struct Level {
        let isMap: Bool
        var left: UInt64
        var keys: Set<Bytes> = []
    }
    private static let depthMax = 1024
    private static let broken = DHTFault.badRecord("an IPNS record whose signed part is no dag-cbor map")

    private var items: [Bytes: Item] = [:]

    init(_ data: Bytes) throws(DHTFault) {
        var reader = CBORReader(data[...])
        guard let root = reader.nextHead(), root.kind == .map, root.value <= UInt64(reader.remaining) else { throw SignedMap.broken }
        var levels = [Level(isMap: true, left: root.value)]
        while let level = levels.last {
            guard level.left > 0 else { levels.removeLast(); continue }
            let key = level.isMap ? try SignedMap.key(&reader) : []
            if level.isMap { guard levels[levels.count - 1].keys.insert(key).inserted else { throw SignedMap.broken } }
            levels[levels.count - 1].left -= 1
            let (item, inner) = try SignedMap.item(&reader)
            if levels.count == 1 { items[key] = item }
            guard let inner else { continue }
            guard levels.count < SignedMap.depthMax else { throw SignedMap.broken }
            levels.append(inner)
        }
        guard reader.isAtEnd else { throw SignedMap.broken }
    }

    private static func key(_ reader: inout CBORReader) throws(DHTFault) -> Bytes {
        guard let head = reader.nextHead(), head.kind == .text, let key = reader.next(head.value) else { throw broken }
        return Bytes(key)
    }

    /// A tag stands before bytes only where they are a link.
    private static func item(_ reader: inout CBORReader) throws(DHTFault) -> (Item, inner: Level?) {
        guard var head = reader.nextHead() else { throw broken }
        var tag: UInt64?
        if head.kind == .tag {
            tag = head.value
            guard let next = reader.nextHead(), next.kind != .tag else { throw broken }
            head = next
        }
        switch head.kind {
        case .unsigned: return (Int64(exactly: head.value).map { .integer($0) } ?? .other, nil)
        case .negative:
            guard let number = Int64(exactly: head.value) else { throw broken }
            return (.integer(-1 - number), nil)
        case .bytes:
            guard let bytes = reader.next(head.value) else { throw broken }
            guard let tag else { return (.bytes(Bytes(bytes)), nil) }
            guard tag == 42, bytes.first == 0, (try? CID(bytes.dropFirst())) != nil else { throw broken }
            return (.other, nil)
        case .text:
            guard reader.next(head.value) != nil else { throw broken }
            return (.other, nil)
        case .array, .map:
            guard head.value <= UInt64(reader.remaining) else { throw broken }
            return (.other, Level(isMap: head.kind == .map, left: head.value))
        case .simple:
            guard head.width >= 2 || head.width == 0 && (20...23).contains(head.value) else { throw broken }
            return (.other, nil)
        case .tag: throw broken
        }
    }

    func bytes(_ name: String) throws(DHTFault) -> Bytes {
        guard case .bytes(let bytes) = items[Bytes(name.utf8)] else { throw .badRecord("an IPNS record without its \(name)") }
        return bytes
    }
    func integer(_ name: String) throws(DHTFault) -> Int64 {
        guard case .integer(let number) = items[Bytes(name.utf8)] else { throw .badRecord("an IPNS record without its \(name)") }
        return number
    }
    var sequence: UInt64 { get throws(DHTFault) { UInt64(bitPattern: try integer("Sequence")) } }
}
