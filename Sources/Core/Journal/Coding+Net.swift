// Streams, connections, the disk and the IPFS daemon.

import Kernel
import Multiformats
import Seams

extension StreamID: Journaled {
    package func write(to writer: inout JournalWriter) { writer.varint(raw) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let raw = try reader.varint()
        self.init(owner: UInt8(raw >> 56), number: raw & (1 << 56 - 1))
    }
}

extension StreamEvent: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .opened(let id, let proto):
            writer.head(0, id)
            writer.put(proto)
        case .failed(let id, let reason):
            writer.head(1, id)
            writer.put(reason)
        case .incoming(let id, let peer, let proto):
            writer.head(2, id)
            writer.put(peer)
            writer.put(proto)
        case .received(let id, let bytes):
            writer.head(3, id)
            writer.put(bytes)
        case .remoteClosed(let id): writer.head(4, id)
        case .reset(let id): writer.head(5, id)
        case .drained(let id): writer.head(6, id)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let (tag, id) = (try reader.byte(), try reader.get(StreamID.self))
        switch tag {
        case 0: self = .opened(id, protocol: try reader.get())
        case 1: self = .failed(id, reason: try reader.get())
        case 2: self = .incoming(id, from: try reader.get(), protocol: try reader.get())
        case 3: self = .received(id, try reader.get())
        case 4: self = .remoteClosed(id)
        case 5: self = .reset(id)
        case 6: self = .drained(id)
        default: throw reader.unknown(tag, "event of a stream")
        }
    }
}

extension PeerIntroduction: Fielded {
    package static var blank: PeerIntroduction { PeerIntroduction(protocols: []) }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&protocols)
        try visitor.visit(&listenAddresses)
        try visitor.visit(&agent)
        try visitor.visit(&signedRecord)
    }
}

extension ConnectionEvent: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .connected(let peer, let address, let outbound):
            writer.head(0, peer)
            writer.put(address)
            writer.put(outbound)
        case .introduced(let peer, let introduction):
            writer.head(1, peer)
            writer.put(introduction)
        case .disconnected(let peer): writer.head(2, peer)
        case .dialFailed(let peer, let reason):
            writer.head(3, peer)
            writer.put(reason)
        case .listening(let addresses): writer.head(4, addresses)
        case .found(let peer, let addresses):
            writer.head(5, peer)
            writer.put(addresses)
        case .crowded(let peers): writer.head(6, peers)
        case .dialledBack(let number, let address):
            writer.head(7, number)
            writer.put(address)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .connected(try reader.get(), address: try reader.get(), outbound: try reader.get())
        case 1: self = .introduced(try reader.get(), try reader.get())
        case 2: self = .disconnected(try reader.get())
        case 3: self = .dialFailed(try reader.get(), reason: try reader.get())
        case 4: self = .listening(try reader.get())
        case 5: self = .found(try reader.get(), try reader.get())
        case 6: self = .crowded(try reader.get())
        case 7: self = .dialledBack(try reader.get(), try reader.get())
        case let tag: throw reader.unknown(tag, "event of a connection")
        }
    }
}

extension SyncTicket: Journaled {
    package func write(to writer: inout JournalWriter) { writer.head(owner, number) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(owner: try reader.byte(), number: try reader.get()) }
}

extension DiskError: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .notFound(let file): writer.head(0, file)
        case .full(let file): writer.head(1, file)
        case .failed(let file, let reason):
            writer.head(2, file)
            writer.put(reason)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .notFound(try reader.get())
        case 1: self = .full(try reader.get())
        case 2: self = .failed(try reader.get(), reason: try reader.get())
        case let tag: throw reader.unknown(tag, "error of the disk")
        }
    }
}

extension DiskEvent: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .synced(let ticket): writer.head(0, ticket)
        case .syncFailed(let ticket, let error):
            writer.head(1, ticket)
            writer.put(error)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .synced(try reader.get())
        case 1: self = .syncFailed(try reader.get(), try reader.get())
        case let tag: throw reader.unknown(tag, "event of the disk")
        }
    }
}

extension ExchangeID: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(number) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(try reader.get()) }
}

extension ExchangeEvent.Trailer: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(name)
        writer.put(value)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(name: try reader.get(), value: try reader.get()) }
}

extension ExchangeEvent: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .head(let id, let status):
            writer.head(0, id)
            writer.put(status)
        case .body(let id, let bytes):
            writer.head(1, id)
            writer.put(bytes)
        case .end(let id, let trailers):
            writer.head(2, id)
            writer.put(trailers)
        case .failed(let id, let reason):
            writer.head(3, id)
            writer.put(reason)
        case .drained(let id): writer.head(4, id)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let (tag, id) = (try reader.byte(), try reader.get(ExchangeID.self))
        switch tag {
        case 0: self = .head(id, status: try reader.get())
        case 1: self = .body(id, try reader.get())
        case 2: self = .end(id, trailers: try reader.get())
        case 3: self = .failed(id, reason: try reader.get())
        case 4: self = .drained(id)
        default: throw reader.unknown(tag, "event of an exchange")
        }
    }
}

extension JournalWriter {
    /// A tag, and what all of its kind begin with.
    mutating func head(_ tag: UInt8, _ value: some JournalWritable) {
        byte(tag)
        put(value)
    }
}
