// Values of the cluster: stored pins, msgpack, JSON.

import Encoding
import Kernel
import Monitoring
import Multiformats
import Pinset

extension Target {
    static let vocabulary: [Target] = [
        Target("pin", upTo: 1024, seeds: { Seeds.hex("pins.ndjson", "proto") }) { bytes in
            if let pin = try? Pin(protobuf: bytes, cid: Here.cid) {
                require((try? Pin(protobuf: pin.protobuf, cid: pin.cid)) == pin, "\(pin) does not come back")
            }
            // The fast way to JSON says what the general one does.
            let stored = bytes.withUnsafeBytes { Pin(stored: $0) }
            _ = bytes.withUnsafeBytes { PinParts($0) != nil }
            var writer = PinJSONWriter()
            var line: Bytes = []
            let isPin = bytes.withUnsafeBytes { writer.append($0, to: &line) }
            require(isPin == (stored != nil), "a pin in one way only: \(hex(bytes))")
            if let stored {
                require(String(decoding: line, as: UTF8.self) == stored.json.encoded(), "\(stored) in two forms")
                Target.readFast(line)
            }
        },
        Target("pin-json", upTo: 1536, seeds: { Seeds.texts("pins.ndjson", "json") }) { Target.readFast($0) },
        Target("msgpack", upTo: 512, seeds: { Seeds.packed("api.Pin") + Seeds.packed("interface {}") + Seeds.packed("time.Time") }) { bytes in
            var reader = MessagePackReader(bytes)
            while let value = try? reader.skip(), !value.isEmpty { Target.readEverything(value) }
            Target.readEverything(bytes[...])
        },
        .choice("msgpack-types", upTo: 1536, [
            packed(Pin.self, "api.Pin"), packed(PinPath.self, "api.PinPath"), packed(PinInfo.self, "api.PinInfo"),
            packed(PinInfoShort.self, "api.PinInfoShort"), packed(GlobalPinInfo.self, "api.GlobalPinInfo"),
            packed(PeerInfo.self, "api.ID"), packed(IPFSID.self, "api.IPFSID"), packed(Metric.self, "api.Metric"),
            packed(NodeWithMeta.self, "api.NodeWithMeta"), packed(IPFSRepoStat.self, "api.IPFSRepoStat"),
            packed(RepoGC.self, "api.RepoGC"), packed(VersionReply.self, "api.Version"), packed([Metric].self, "[]api.Metric"),
            packed([PeerID].self, "[]peer.ID"), packed([String].self, "[]string"), packed(TrackerStatus.self, "api.TrackerStatus"),
            packed(CID.self, "api.Cid"), packed(Multiaddr.self, "api.Multiaddr"), packed(PinsetSummary.self, ""),
            packed(Int64.self, "int64"), packed(Nothing.self, "struct {}"),
        ]),
        Target("metric", upTo: 256, seeds: { Seeds.packed("api.Metric") }) { bytes in
            guard let metric = Monitor.decode(bytes) else { return }
            require(Monitor.decode(metric.messagePack) == metric, "\(metric) does not come back")
            var monitor = Monitor(settings: MonitorSettings())
            monitor.onMetric(metric, now: Here.now)
            _ = (monitor.latest(metric.name, now: Here.now), Informers.readPing(metric.value).ipfs)
        },
        .roundTrip("json", upTo: 1536, seeds: { Seeds.bodies("rest/exchanges.ndjson") + Seeds.bodies("rest/pinsvc.ndjson") },
                   decode: { try JSONReader.parse($0) }, encode: { json in
                       require((try? JSONReader.parse(json.encoded(indent: 2).utf8)) == json, "indented, it is something else")
                       return Bytes(json.encoded().utf8)
                   }),
        Target("json-documents", upTo: 512, seeds: { [Bytes("{\"a\":1}\n{\"b\":[2]}\n".utf8)] }) { bytes in
            // However they are cut, the same documents come out.
            let step = 1 + Int(bytes.first ?? 0) % 16
            var whole = JSONDocuments(bytesMax: 1 << 12), pieces = JSONDocuments(bytesMax: 1 << 12)
            let all = Bytes(bytes.dropFirst())
            guard let found = try? whole.push(all) else { return }
            var again: [JSON] = []
            for start in stride(from: 0, to: all.count, by: step) {
                guard let more = try? pieces.push(Bytes(all[start..<min(start + step, all.count)])) else { return }
                again += more
            }
            require(found == again, "cut otherwise, other documents")
        },
        .choice("json-types", upTo: 2048, [
            shown(Pin.self, "api.Pin"), shown(PinOptions.self, "api.Pin"), shown(PinPath.self, "api.PinPath"),
            shown(PinInfo.self, "api.PinInfo"), shown(PinInfoShort.self, "api.PinInfoShort"),
            shown(GlobalPinInfo.self, "api.GlobalPinInfo"), shown(PeerInfo.self, "api.ID"), shown(IPFSID.self, "api.IPFSID"),
            shown(Metric.self, "api.Metric"), shown([Alert].self, "[]api.Alert"), shown(ConnectGraph.self, "api.ConnectGraph"),
            shown(BandwidthByProtocol.self, "api.BandwidthByProtocol"), shown(IPFSRepoStat.self, "api.IPFSRepoStat"),
            shown(RepoGC.self, "api.RepoGC"), shown(GlobalRepoGC.self, "api.GlobalRepoGC"), shown(AddedOutput.self, "api.AddedOutput"),
            shown(VersionReply.self, "api.Version"), shown(ErrorBody.self, ""), shown(PeerAddBody.self, ""), shown(PinsetSummary.self, ""),
        ]),
    ]

    /// The fast reader takes the plain form only, and means by it what the general one does.
    private static func readFast(_ line: Bytes) {
        var reader = PinJSONReader()
        var pins = StoredPins()
        guard line.withUnsafeBytes({ reader.append($0, to: &pins) }) else { return }
        require(pins.count == 1, "\(pins.count) pins in a line")
        guard let general = try? Pin(jsonText: line) else { return require(false, "no pin: \(String(decoding: line, as: UTF8.self))") }
        let read = pins.withValue(0) { Pin(stored: $0) }
        var want = StoredPins()
        want.append(general)
        require(pins == want, "read as \(String(describing: read)) and as \(general)")
    }

    private static func readEverything(_ value: ArraySlice<UInt8>) {
        func each<T>(_ read: (inout MessagePackReader) throws -> T) {
            var reader = MessagePackReader(value)
            _ = try? read(&reader)
        }
        each { try $0.null() }
        each { try $0.bool() }
        each { try $0.int() }
        each { try $0.uint() }
        each { try $0.float64() }
        each { try $0.raw() }
        each { try $0.array() }
        each { try $0.map() }
        each { try $0.time() }
    }

    private typealias Branch = (seeds: @Sendable () -> [Bytes], run: @Sendable (Bytes) -> Void)
    private static func packed<T: MessagePackCodable & Equatable>(_ type: T.Type, _ name: String) -> Branch {
        ({ Seeds.packed(name) }, { comesBack($0, { try T(messagePack: $0) }, { $0.messagePack }) })
    }
    private static func shown<T: JSONCodable>(_ type: T.Type, _ name: String) -> Branch {
        // By the text: what has no order may come in another one.
        ({ Seeds.packedJSON(name) }, { comesBack($0, { try T(jsonText: $0).json.encoded() }, { Bytes($0.utf8) }) })
    }
}
