// Pins and what clients ask about them.

import Kernel
import Multiformats
import Pinset

extension PinOptions: Fielded {
    package static var blank: PinOptions { PinOptions() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&replicationFactorMin)
        try visitor.visit(&replicationFactorMax)
        try visitor.visit(&name)
        try visitor.visit(&mode)
        try visitor.visit(&shardSize)
        try visitor.visit(&userAllocations)
        try visitor.visit(&expireAt)
        try visitor.visit(&metadata)
        try visitor.visit(&pinUpdate)
        try visitor.visit(&origins)
    }
}

extension Pin: Fielded {
    package static var blank: Pin { Pin(cid: .placeholder) }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&cid)
        try visitor.visit(&options)
        try visitor.visit(&type)
        try visitor.visit(&allocations)
        try visitor.visit(&maxDepth)
        try visitor.visit(&reference)
        try visitor.visit(&timestamp)
    }
}

extension PinPath: Fielded {
    package static var blank: PinPath { PinPath(path: "") }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&options)
        try visitor.visit(&path)
    }
}

extension AddParameters: Fielded {
    package static var blank: AddParameters { AddParameters() }
    package mutating func visit(_ visitor: inout some FieldVisitor) throws(JournalError) {
        try visitor.visit(&options)
        try visitor.visit(&isLocal)
        try visitor.visit(&layout)
        try visitor.visit(&chunker)
        try visitor.visit(&rawLeaves)
        try visitor.visit(&cidVersion)
        try visitor.visit(&hash)
        try visitor.visit(&format)
        try visitor.visit(&wrapWithDirectory)
        try visitor.visit(&noPin)
        try visitor.visit(&noCopy)
        try visitor.visit(&shard)
        try visitor.visit(&progress)
        try visitor.visit(&streamChannels)
    }
}

/// Enums are written as their raw values.
package protocol JournaledChoice: Journaled, RawRepresentable where RawValue: Journaled {}
extension JournaledChoice {
    package func write(to writer: inout JournalWriter) { writer.put(rawValue) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let raw = try RawValue(reading: &reader)
        guard let value = Self(rawValue: raw) else { throw .malformed("\(raw) is no \(Self.self) of this version") }
        self = value
    }
}
extension PinMode: JournaledChoice {}
extension PinType: JournaledChoice {}
extension AddParameters.Layout: JournaledChoice {}
extension AddParameters.Format: JournaledChoice {}
extension TrackerStatus: JournaledChoice {}

extension Metadata: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(pairs.flatMap { [$0.key, $0.value] }) }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let words: [String] = try reader.get()
        self.init()
        for index in stride(from: 0, to: words.count - 1, by: 2) { self[words[index]] = words[index + 1] }
    }
}

extension PinBatch: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(options)
        writer.varint(UInt64(count))
        for index in 0..<count {
            withCID(index) { writer.contents($0) }
            withName(index) { writer.contents($0) }
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(options: try reader.get())
        for _ in 0..<(try reader.count()) {
            let (cid, name) = (Bytes(try reader.contents()), Bytes(try reader.contents()))
            cid.withUnsafeBytes { cid in name.withUnsafeBytes { append(cid: cid, name: $0) } }
        }
    }
}

extension StoredPins: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.varint(UInt64(count))
        forEach { writer.contents($0) }
    }
}
