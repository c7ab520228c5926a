// What a journal holds, record by record, and how they follow each other in a file.

import Cluster
import Kernel
import Multiformats
import Seams

/// How a peer was made. Its key is not among it: what was signed is recorded instead.
package struct JournalOpening: Fielded, Sendable {
    package var settings = PeerSettings.blank
    package var now = Now(monotonic: .origin, wall: .epoch)
    /// Of the choices.
    package var seed: UInt64 = 0
    /// The public key, where it is to be sent along.
    package var attachedKey: Bytes?
    package static var blank: JournalOpening { JournalOpening() }
    package init() {}
    package init(settings: PeerSettings, now: Now, seed: UInt64, attachedKey: Bytes?) {
        (self.settings, self.now, self.seed, self.attachedKey) = (settings, now, seed, attachedKey)
    }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&settings)
        try visitor.visit(&now)
        try visitor.visit(&seed)
        try visitor.visit(&attachedKey)
    }
}

package enum DiskQuestion: Equatable, Sendable, Journaled, CustomStringConvertible {
    case list(FileName)
    case size(FileName)
    case read(FileName, at: Int, count: Int)

    package func write(to writer: inout JournalWriter) {
        switch self {
        case .list(let prefix): writer.head(0, prefix)
        case .size(let file): writer.head(1, file)
        case .read(let file, let offset, let count):
            writer.head(2, file)
            writer.put(offset)
            writer.put(count)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .list(try reader.get())
        case 1: self = .size(try reader.get())
        case 2: self = .read(try reader.get(), at: try reader.get(), count: try reader.get())
        case let tag: throw reader.unknown(tag, "question to the disk")
        }
    }
    package var file: FileName {
        switch self {
        case .list(let file), .size(let file), .read(let file, _, _): file
        }
    }
    package var description: String {
        switch self {
        case .list(let prefix): "list \(prefix)"
        case .size(let file): "size of \(file)"
        case .read(let file, let offset, let count): "read \(file) at \(offset), \(count) bytes"
        }
    }
}

package enum DiskAnswer: Equatable, Sendable, Journaled {
    case names([FileName])
    case size(Int)
    case bytes(Bytes)
    case failed(DiskError)

    package func write(to writer: inout JournalWriter) {
        switch self {
        case .names(let names): writer.head(0, names)
        case .size(let size): writer.head(1, size)
        case .bytes(let bytes): writer.head(2, bytes)
        case .failed(let error): writer.head(3, error)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .names(try reader.get())
        case 1: self = .size(try reader.get())
        case 2: self = .bytes(try reader.get())
        case 3: self = .failed(try reader.get())
        case let tag: throw reader.unknown(tag, "answer of the disk")
        }
    }
}

package enum JournalEnd: UInt8, JournaledChoice, Sendable {
    /// The peer was ended in order.
    case closed
    /// The journal has reached its bound; the peer went on.
    case full
    /// The disk took no more; the peer went on.
    case failed
}

package enum JournalRecord: Journaled, Sendable {
    case opening(JournalOpening)
    /// A step begins. What it asks follows, then its effects.
    case input(Now, PeerInput)
    case read(DiskQuestion, DiskAnswer)
    /// A signature, with the digest of what was signed.
    case signature(Mixed, Bytes)
    /// Whether a signature was good, with the digest of all that was judged.
    case verdict(Mixed, Bool)
    case effects([EffectSummary])
    /// The peer could not be opened.
    case refused(String)
    case end(JournalEnd)

    package func write(to writer: inout JournalWriter) {
        switch self {
        case .opening(let opening): writer.head(0, opening)
        case .input(let now, let input):
            writer.head(1, now)
            writer.put(input)
        case .read(let question, let answer):
            writer.head(2, question)
            writer.put(answer)
        case .signature(let message, let signature):
            writer.head(3, message)
            writer.put(signature)
        case .verdict(let message, let isGood):
            writer.head(4, message)
            writer.put(isGood)
        case .effects(let effects): writer.head(5, effects)
        case .refused(let reason): writer.head(6, reason)
        case .end(let end): writer.head(7, end)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .opening(try reader.get())
        case 1: self = .input(try reader.get(), try reader.get())
        case 2: self = .read(try reader.get(), try reader.get())
        case 3: self = .signature(try reader.get(), try reader.get())
        case 4: self = .verdict(try reader.get(), try reader.get())
        case 5: self = .effects(try reader.get())
        case 6: self = .refused(try reader.get())
        case 7: self = .end(try reader.get())
        case let tag: throw reader.unknown(tag, "record")
        }
    }
}

/// The frame of a record: its length with a check of its own, the record, and a check of that. A length of zero is where nothing
/// was written yet: files grow before they are written to.
package enum JournalFrame {
    package static let magic = Bytes("ICJRNL\r\n".utf8)
    /// One more whenever what is written has other fields, or another order.
    package static let version: UInt64 = 4
    static let headBytes = 8
    static let checkBytes = 8
    static let blankBytes = 8192
    /// What is kept free for the last record, which says how the journal ended.
    package static let endBytes = 64

    static func check(length: UInt32) -> UInt32 {
        withUnsafeBytes(of: length.littleEndian) { mix($0, seed: version) }.low32
    }
    static func check(_ record: UnsafeRawBufferPointer) -> UInt64 { mix(record, seed: version).low }

    /// What a file begins with.
    package static var fileHead: Bytes {
        var out = magic
        append(version, to: &out)
        return out
    }

    /// Leaves the frame of the record in the writer.
    package static func frame(_ record: JournalRecord, in writer: inout JournalWriter) {
        writer.clear()
        writer.fixed(0)
        writer.put(record)
        let length = UInt32(writer.bytes.count - headBytes)
        writer.store(length, at: 0)
        writer.store(check(length: length), at: 4)
        writer.fixed(writer.bytes.withUnsafeBytes { check(UnsafeRawBufferPointer(rebasing: $0[headBytes...])) })
    }
}

/// Cuts what a file holds into records, one at a time.
package struct JournalFrames {
    /// So many bytes from where the last ones ended, and fewer at the end of the file.
    private let read: (Int) -> Bytes
    package private(set) var offset = 0
    /// The file ends within a record.
    package private(set) var isTorn = false
    private var isOver = false

    package init(read: @escaping (Int) -> Bytes) throws(JournalError) {
        self.read = read
        let head = take(JournalFrame.fileHead.count)
        guard head.starts(with: JournalFrame.magic), head.count == JournalFrame.fileHead.count else { throw .foreign }
        let version = head.withUnsafeBytes { load($0, JournalFrame.magic.count, as: UInt64.self) }
        guard version == JournalFrame.version else { throw .version(version) }
    }

    private mutating func take(_ count: Int) -> Bytes {
        let bytes = read(count)
        offset += bytes.count
        return bytes
    }

    private mutating func end(isTorn: Bool) -> (offset: Int, record: JournalRecord)? {
        self.isTorn = isTorn
        isOver = true
        return nil
    }

    /// Nothing follows for pages: the record before may have been cut off while it was written.
    private var isBlankAhead: Bool { mutating get { !take(JournalFrame.blankBytes).contains { $0 != 0 } } }

    /// Nil at the end.
    package mutating func next() throws(JournalError) -> (offset: Int, record: JournalRecord)? {
        guard !isOver else { return nil }
        let start = offset
        let head = take(JournalFrame.headBytes)
        guard head.contains(where: { $0 != 0 }) else { return end(isTorn: false) }
        guard head.count == JournalFrame.headBytes else { return end(isTorn: true) }
        let (length, check) = head.withUnsafeBytes { (load($0, 0, as: UInt32.self), load($0, 4, as: UInt32.self)) }
        guard check == JournalFrame.check(length: length) else {
            if isBlankAhead { return end(isTorn: true) }
            throw .damaged(at: start, reason: "no record begins there")
        }
        let body = take(Int(length))
        let seal = take(JournalFrame.checkBytes)
        guard body.count == length, seal.count == JournalFrame.checkBytes else { return end(isTorn: true) }
        guard seal.withUnsafeBytes({ load($0, 0, as: UInt64.self) }) == body.withUnsafeBytes({ JournalFrame.check($0) }) else {
            if isBlankAhead { return end(isTorn: true) }
            throw .damaged(at: start, reason: "a record does not match its checksum")
        }
        var reader = JournalReader(body)
        do throws(JournalError) {
            let record = try JournalRecord(reading: &reader)
            guard reader.isAtEnd else { throw .malformed("a record is longer than what it holds") }
            return (start, record)
        } catch { throw .damaged(at: start, reason: "\(error). Was it written by another build?") }
    }
}
