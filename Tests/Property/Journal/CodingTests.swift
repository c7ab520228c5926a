// What is written is read back, whatever it is.

import Cluster
import IPFSConnector
import Journal
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport
import Testing

@Suite struct CodingTests {
    private func written(_ value: some JournalWritable) -> Bytes {
        var writer = JournalWriter()
        writer.put(value)
        return writer.bytes
    }

    @Test func everyInputComesBack() throws {
        for input in Samples.inputs {
            let bytes = written(input)
            var reader = JournalReader(bytes)
            let back = try PeerInput(reading: &reader)
            #expect(back == input && reader.isAtEnd, "\(input)")
            // Runs are equal by their numbers: their bytes say more.
            #expect(written(back) == bytes, "\(input)")
        }
    }

    /// No kind is missing from the samples: the first bytes are the tags.
    @Test func theSamplesAreOfEveryKind() {
        var choices = Choices(seed: 1)
        func kinds(_ items: [some JournalWritable]) -> [UInt8] { SortedSet(items.compactMap { written($0).first }).elements }
        #expect(kinds(Samples.inputs) == Array(0...10))
        #expect(kinds(Samples.connections(&choices)) == Array(0...7))
        #expect(kinds(Samples.streams(&choices)) == Array(0...6))
        #expect(kinds(Samples.disk) == Array(0...1) && kinds(Samples.errors) == Array(0...2))
        #expect(kinds(Samples.outcomes(&choices)) == Array(0...2))
        #expect(kinds(Samples.exchanges(&choices)) == Array(0...4))
        #expect(kinds(Samples.requests(&choices)) == Array(0...24))
        #expect(kinds(Samples.uploads) == Array(0...7))
    }

    /// A tag behind the last is an error: had one been forgotten when reading, its sample would not come back.
    @Test func whatIsCutOrMadeUpIsAnError() {
        for input in Samples.inputs {
            let bytes = written(input)
            for count in 0..<bytes.count {
                var reader = JournalReader(Bytes(bytes[..<count]))
                #expect(throws: JournalError.self, "\(input) cut to \(count)") { try PeerInput(reading: &reader) }
            }
        }
        var choices = Choices(seed: 3)
        for _ in 0..<20_000 {
            var reader = JournalReader([UInt8(choices.below(12))] + choices.bytes(choices.below(60)))
            _ = try? JournalRecord(reading: &reader)
        }
    }

    @Test func numbersOfAllSizes() throws {
        for value in [0, 1, -1, 63, 64, -64, -65, .max, .min, 1 << 40] as [Int] {
            var reader = JournalReader(written(value))
            #expect(try Int(reading: &reader) == value && reader.isAtEnd)
        }
        for value in [0, 127, 128, .max, 1 << 63] as [UInt64] {
            var reader = JournalReader(written(value))
            #expect(try UInt64(reading: &reader) == value && reader.isAtEnd)
        }
        var reader = JournalReader(Bytes(repeating: 0x80, count: 20))
        #expect(throws: JournalError.self) { try UInt64(reading: &reader) }
    }
}

/// Changes every field it is shown.
private struct Changer: FieldVisitor {
    mutating func visit<T: Journaled>(_ field: inout T) throws(JournalError) {
        func set<V>(_ value: V) { if let value = value as? T { field = value } }
        switch field {
        case let value as Int: set(value + 1)
        case let value as Int64: set(value + 1)
        case let value as UInt64: set(value + 1)
        case let value as Bool: set(!value)
        case let value as String: set(value == InformerSettings.DiskMetric.freespace.rawValue ? "reposize" : value + "x")
        case let value as Span: set(value + .seconds(1))
        case let value as [String]: set(value.map { $0 + "x" })
        case let value as [Multiaddr]: set(value.map { $0.with(peer: PeerID(.sha2_256(of: [9]))) })
        case let value as Span?: set(value.map { $0 + .seconds(1) })
        case let value as Int64?: set(value.map { $0 + 1 })
        case let value as String?: set(value.map { _ in "reposize" })
        case is PeerID: set(PeerID(.sha2_256(of: [1, 2])))
        case is Trust: set(Trust.only(SortedSet([PeerID(.sha2_256(of: [3]))])))
        case let value as IPFSNodeSettings:
            switch value {
            case .kubo(var settings):
                try settings.visit(&self)
                set(IPFSNodeSettings.kubo(settings))
            case .embedded(var settings):
                try settings.visit(&self)
                set(IPFSNodeSettings.embedded(settings))
            }
        case var value as any Fielded:
            try value.visit(&self)
            set(value)
        case let value as [any Fielded]:
            var changed: [any Fielded] = []
            for var item in value {
                try item.visit(&self)
                changed.append(item)
            }
            if let changed = changed as? T { field = changed } else { Issue.record("\(T.self) cannot be changed") }
        default: Issue.record("\(T.self) is not known to this test")
        }
    }
}

/// Every leaf of a value with the way to it.
private func leaves(_ value: Any, _ path: String = "") -> [(path: String, text: String)] {
    if value is PeerID || value is Multiaddr || value is Trust { return [(path, "\(value)")] }
    let children = Mirror(reflecting: value).children
    if children.isEmpty { return [(path, "\(value)")] }
    return children.enumerated().flatMap { leaves($0.element.value, "\(path).\($0.element.label ?? String($0.offset))") }
}

@Suite struct SettingsTests {
    static var kinds: [IPFSNodeSettings] { [.kubo(KuboSettings()), .embedded(EmbeddedSettings())] }

    /// A field that the list of fields leaves out would stay as it was.
    @Test(arguments: 0..<2)
    func noFieldIsForgotten(_ kind: Int) throws {
        var before = PeerSettings(me: PeerID(.sha2_256(of: [1])))
        before.ipfs = Self.kinds[kind]
        before.infoLoggers = ["crdt"]
        before.bootPeers = [(PeerID(.sha2_256(of: [2])), [Multiaddr(unchecked: [4, 127, 0, 0, 1, 6, 0x23, 0x88])], true)]
        before.joins = [Multiaddr(unchecked: [4, 127, 0, 0, 1, 6, 0x23, 0x88])]
        var after = before
        var changer = Changer()
        try after.visit(&changer)
        for (old, new) in zip(leaves(before), leaves(after)) {
            #expect(old.path == new.path)
            #expect(old.text != new.text, "\(old.path) is not written")
        }
        #expect(leaves(before).count > 100)

        var writer = JournalWriter()
        writer.put(after)
        var reader = JournalReader(writer.bytes)
        let back = try PeerSettings(reading: &reader)
        #expect(reader.isAtEnd && leaves(back).map(\.text) == leaves(after).map(\.text))
    }

    @Test func informersThatDoNotRun() throws {
        var settings = InformerSettings()
        (settings.disk, settings.tags, settings.pinQueue) = (nil, nil, nil)
        var writer = JournalWriter()
        writer.put(settings)
        var reader = JournalReader(writer.bytes)
        let back = try InformerSettings(reading: &reader)
        #expect(back.disk == nil && back.tags == nil && back.pinQueue == nil && reader.isAtEnd)
    }
}
