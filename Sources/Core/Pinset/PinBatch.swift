// Many pins that are asked for at once: the same options for all, a CID and a name for each.

import Kernel
import Multiformats

package struct PinBatch: Equatable, Sendable, CustomStringConvertible {
    private struct Entry: Equatable, Sendable {
        var cidEnd: Int
        var end: Int
    }
    /// Of all; the name in it means nothing.
    package var options: PinOptions
    private var bytes: Bytes = []
    private var entries: [Entry] = []

    package init(options: PinOptions = PinOptions()) {
        self.options = options
        self.options.name = ""
    }

    package var count: Int { entries.count }
    package var description: String {
        let pins = (0..<count).map { (try? pin($0)).map { "\($0.cid) \"\($0.options.name)\"" } ?? "no CID" }
        return "\(options): \(pins.joined(separator: ", "))"
    }
    package var isEmpty: Bool { entries.isEmpty }

    package mutating func append(_ cid: CID, name: String = "") {
        cid.bytes.withUnsafeBytes { cid in
            var name = name
            name.withUTF8 { append(cid: cid, name: UnsafeRawBufferPointer($0)) }
        }
    }
    /// The bytes must be those of a CID.
    package mutating func append(cid: UnsafeRawBufferPointer, name: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: cid)
        let cidEnd = bytes.count
        bytes.append(contentsOf: name)
        entries.append(Entry(cidEnd: cidEnd, end: bytes.count))
    }
    package mutating func reserve(count: Int, bytes room: Int) {
        entries.reserveCapacity(count)
        bytes.reserveCapacity(room)
    }

    package func withCID<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
        let start = index == 0 ? 0 : entries[index - 1].end
        return try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<entries[index].cidEnd])) }
    }

    package func withName<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[entries[index].cidEnd..<entries[index].end])) }
    }

    package func pin(_ index: Int) throws(MultiformatError) -> Pin {
        var pin = Pin(cid: try CID(withCID(index) { Bytes($0) }), options: options)
        pin.options.name = String(decoding: bytes[entries[index].cidEnd..<entries[index].end], as: UTF8.self)
        pin.maxDepth = options.mode.depth
        return pin
    }

    /// As the state stores them: what `pin(_:)` gives with that time and those allocations.
    package func stored(at timestamp: WallTime, allocations: (Int) -> [PeerID] = { _ in [] }) -> StoredPins {
        var pins = StoredPins()
        let template = Template(options, timestamp)
        pins.reserve(count: count, bytes: bytes.count + count * (template.bytesMax + 16))
        bytes.withUnsafeBytes { all in
            var start = 0
            for (index, entry) in entries.enumerated() {
                let cid = UnsafeRawBufferPointer(rebasing: all[start..<entry.cidEnd])
                let name = UnsafeRawBufferPointer(rebasing: all[entry.cidEnd..<entry.end])
                template.append(cid, name, allocations(index), to: &pins)
                start = entry.end
            }
        }
        return pins
    }
}

/// What is the same in all of them, as bytes.
private struct Template {
    private let isDirect: Bool
    private let beforeName: Bytes
    private let afterName: Bytes
    private let end: Bytes

    init(_ options: PinOptions, _ timestamp: WallTime) {
        var pin = Pin(cid: CID(v1: Codec.raw, Multihash(code: HashCode.identity, digest: [])), options: options)
        isDirect = options.mode == .direct
        pin.maxDepth = isDirect ? 0 : -1
        let all = pin.optionsProtobuf
        let before = RawCount.number(zigzag(options.replicationFactorMin)) + RawCount.number(zigzag(options.replicationFactorMax))
        beforeName = Bytes(all[..<before])
        afterName = Bytes(all[before...])
        pin.options = PinOptions()
        pin.timestamp = timestamp
        end = Bytes(pin.protobuf.suffix(RawCount.number(pin.storedTimestamp)))
    }

    var bytesMax: Int { beforeName.count + afterName.count + end.count + 24 }

    @inline(__always)
    func append(_ cid: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer, _ peers: [PeerID], to pins: inout StoredPins) {
        let options = beforeName.count + afterName.count + (name.isEmpty ? 0 : RawCount.field(name.count))
        var room = RawCount.field(cid.count) + 4 + RawCount.field(options) + end.count
        for peer in peers { room += RawCount.field(peer.bytes.count) }
        _ = pins.append(room: room) { start in
            var writer = RawWriter(start)
            writer.field(1, cid)
            writer.number(2, 1)  // data
            for peer in peers { writer.field(3, peer.bytes) }
            if !isDirect { writer.number(4, 1) }
            writer.byte(6 << 3 | 2)
            writer.varint(UInt64(options))
            beforeName.withUnsafeBytes { writer.bytes($0) }
            if !name.isEmpty { writer.field(3, name) }
            afterName.withUnsafeBytes { writer.bytes($0) }
            end.withUnsafeBytes { writer.bytes($0) }
            return writer.count(since: start)
        }
    }
}
