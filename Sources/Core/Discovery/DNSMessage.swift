// DNS messages as multicast DNS has them: RFC 1035 section 4, RFC 6762 section 18.

import Encoding
import Kernel

/// Labels without the root's, in lower case: names are told apart without regard to case (RFC 6762, section 16).
package struct DNSName: Hashable, Sendable {
    package let labels: [Bytes]
    package init(labels: [Bytes]) { self.labels = labels.map { $0.map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 } } }
    /// Dots part the labels.
    package init(_ text: String) { self.init(labels: text.split(separator: ".").map { Bytes($0.utf8) }) }
    package func below(_ other: DNSName) -> DNSName { DNSName(labels: labels + other.labels) }
}

package enum DNSError: Error, Equatable, Sendable {
    case truncated
    /// A pointer that does not go back, or a name of more than 255 bytes.
    case badName
    case tooManyRecords(Int)
    case tooLong(Int)
}

package struct DNSMessage: Equatable, Sendable {
    package enum Kind: UInt16, Sendable { case a = 1, ptr = 12, txt = 16, aaaa = 28, srv = 33, any = 255 }

    package struct Question: Equatable, Sendable {
        package let name: DNSName
        /// Of any type, known here or not.
        package let type: UInt16
        package init(name: DNSName, type: UInt16) { (self.name, self.type) = (name, type) }
    }
    package enum Data: Equatable, Sendable {
        case pointer(DNSName)
        case service(port: UInt16, host: DNSName)
        case text([Bytes])
        case address(Bytes)
        case other(type: UInt16, Bytes)
    }
    package struct Record: Equatable, Sendable {
        package let name: DNSName
        package let data: Data
        /// Seconds; 0 takes the record back.
        package let lifetime: UInt32
        package init(name: DNSName, data: Data, lifetime: UInt32) { (self.name, self.data, self.lifetime) = (name, data, lifetime) }
    }

    /// RFC 6762, section 17: with the headers of IP and UDP.
    package static let bytesMax = 8_952
    static let recordsMax = 512

    package var isResponse: Bool
    package var questions: [Question] = []
    package var answers: [Record] = []
    /// What comes with the answers.
    package var additional: [Record] = []

    package init(isResponse: Bool) { self.isResponse = isResponse }

    // MARK: Writing

    /// Names are written in full, which every reader understands.
    package var encoded: Bytes {
        var out: Bytes = []
        out.append(bigEndian: 0)
        out.append(bigEndian: isResponse ? 0x8400 : 0)  // an answer by whom it is about
        for count in [questions.count, answers.count, 0, additional.count] { out.append(bigEndian: UInt16(count)) }
        for question in questions {
            out.append(question.name)
            out.append(bigEndian: question.type)
            out.append(bigEndian: 1)
        }
        for record in answers + additional { out.append(record) }
        return out
    }

    // MARK: Reading

    package init(decoding bytes: Bytes) throws(DNSError) {
        guard bytes.count <= DNSMessage.bytesMax else { throw .tooLong(bytes.count) }
        var reader = Reader(bytes: bytes)
        _ = try reader.number()
        isResponse = try reader.number() & 0x8000 != 0
        var counts: [Int] = []
        for _ in 0..<4 { counts.append(Int(try reader.number())) }
        let total = counts.reduce(0, +)
        guard total <= DNSMessage.recordsMax else { throw .tooManyRecords(total) }
        for _ in 0..<counts[0] {
            questions.append(Question(name: try reader.name(), type: try reader.number()))
            _ = try reader.number()
        }
        for _ in 0..<counts[1] { answers.append(try reader.record()) }
        for _ in 0..<counts[2] { _ = try reader.record() }
        for _ in 0..<counts[3] { additional.append(try reader.record()) }
    }

    private struct Reader {
        let bytes: Bytes
        var offset = 0

        init(bytes: Bytes) { self.bytes = bytes }

        mutating func number() throws(DNSError) -> UInt16 {
            guard offset + 2 <= bytes.count else { throw .truncated }
            defer { offset += 2 }
            return UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
        }

        /// Pointers only go back, so that no name is endless.
        mutating func name() throws(DNSError) -> DNSName {
            var labels: [Bytes] = []
            var (at, limit, length) = (offset, offset, 0)
            var hasJumped = false
            while true {
                guard at < bytes.count else { throw .truncated }
                let size = Int(bytes[at])
                switch size {
                case 0:
                    if !hasJumped { offset = at + 1 }
                    return DNSName(labels: labels)
                case 1..<64:
                    guard at + 1 + size <= bytes.count else { throw .truncated }
                    length += size + 1
                    guard length < 255 else { throw .badName }
                    labels.append(Bytes(bytes[at + 1..<at + 1 + size]))
                    at += size + 1
                case 192...:
                    guard at + 1 < bytes.count else { throw .truncated }
                    let target = (size & 63) << 8 | Int(bytes[at + 1])
                    guard target < limit else { throw .badName }
                    if !hasJumped { offset = at + 2 }
                    (hasJumped, at, limit) = (true, target, target)
                default: throw .badName
                }
            }
        }

        mutating func record() throws(DNSError) -> Record {
            let name = try name(), type = try number()
            _ = try number()
            let lifetime = UInt32(try number()) << 16 | UInt32(try number()), length = Int(try number())
            let end = offset + length
            guard end <= bytes.count else { throw .truncated }
            defer { offset = end }
            switch Kind(rawValue: type) {
            case .ptr: return Record(name: name, data: .pointer(try self.name()), lifetime: lifetime)
            case .srv:
                _ = (try number(), try number())
                return Record(name: name, data: .service(port: try number(), host: try self.name()), lifetime: lifetime)
            case .txt:
                var strings: [Bytes] = []
                while offset < end {
                    let stop = offset + 1 + Int(bytes[offset])
                    guard stop <= end else { throw .truncated }
                    strings.append(Bytes(bytes[offset + 1..<stop]))
                    offset = stop
                }
                return Record(name: name, data: .text(strings), lifetime: lifetime)
            case .a where length == 4, .aaaa where length == 16:
                return Record(name: name, data: .address(Bytes(bytes[offset..<end])), lifetime: lifetime)
            default: return Record(name: name, data: .other(type: type, Bytes(bytes[offset..<end])), lifetime: lifetime)
            }
        }
    }
}

extension DNSMessage.Data {
    fileprivate var type: UInt16 {
        switch self {
        case .pointer: DNSMessage.Kind.ptr.rawValue
        case .service: DNSMessage.Kind.srv.rawValue
        case .text: DNSMessage.Kind.txt.rawValue
        case .address(let bytes): (bytes.count == 4 ? DNSMessage.Kind.a : .aaaa).rawValue
        case .other(let type, _): type
        }
    }
    fileprivate var encoded: Bytes {
        var out: Bytes = []
        switch self {
        case .pointer(let name): out.append(name)
        case .service(let port, let host):
            for number in [0, 0, port] { out.append(bigEndian: number) }
            out.append(host)
        case .text(let strings):
            for string in strings {
                out.append(UInt8(string.count))
                out += string
            }
        case .address(let bytes), .other(_, let bytes): out = bytes
        }
        return out
    }
}

extension Bytes {
    fileprivate mutating func append(bigEndian number: UInt16) {
        append(UInt8(number >> 8))
        append(UInt8(truncatingIfNeeded: number))
    }
    fileprivate mutating func append(_ name: DNSName) {
        for label in name.labels {
            append(UInt8(label.count))
            self += label
        }
        append(0)
    }
    fileprivate mutating func append(_ record: DNSMessage.Record) {
        append(record.name)
        append(bigEndian: record.data.type)
        append(bigEndian: 1)
        append(bigEndian: UInt16(record.lifetime >> 16))
        append(bigEndian: UInt16(truncatingIfNeeded: record.lifetime))
        let data = record.data.encoded
        append(bigEndian: UInt16(data.count))
        self += data
    }
}
