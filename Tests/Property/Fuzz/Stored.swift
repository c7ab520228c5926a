// Files that may have rotted, or that somebody else has written: the log, the index, the journal.

import Cluster
import DHT
import Encoding
import Journal
import Kernel
import MerkleCRDT
import Seams
import Storage
import TestSupport

extension Target {
    @Sendable static func keptSeeds() -> [Bytes] {
        let disk = MemoryDisk()
        var machine = DHT(me: Here.peer(9), owner: 7)
        var (effects, choices): ([DHT.Effect], Choices) = ([], Choices(seed: 1))
        machine.open(disk, now: Here.now, effects: &effects)
        let stream = StreamID(owner: 0, number: 1)
        machine.onStream(.incoming(stream, from: Here.peer(1), protocol: DHT.protocols[0]), addresses: { _ in [] }, now: Here.now, effects: &effects)
        for message in dhtSeeds() {
            machine.onStream(.received(stream, framed(message)), addresses: { _ in [] }, now: Here.now, effects: &effects)
        }
        machine.onTime(now: Here.at(10_000), choices: &choices, effects: &effects)
        for case .disk(let effect) in effects { _ = disk.carryOut(effect) }
        let file = disk.contents("dht/00000001/00000001.log")
        return [[0] + file, [1] + Script.step(0, file.dropFirst(16 + Log.frameBytes)), [1] + Script.step(1, file.dropFirst(16 + Log.frameBytes))]
    }

    static let stored: [Target] = [
        Target("log", upTo: 1024, seeds: { [Target.segment([[1, 2, 3], Bytes(repeating: 7, count: 300), []])] }) { bytes in
            let disk = MemoryDisk()
            _ = disk.carryOut(.append("log/00000001.log", bytes))
            var (seen, damages, effects): ([Bytes], [LogDamage], [DiskEffect]) = ([], [], [])
            guard var log = try? Log(folder: "log", owner: 1, reader: disk, visit: { seen.append(Bytes($2)); _ = ($0, $1) }, damages: &damages, effects: &effects) else { return }
            require(seen.reduce(0) { $0 + $1.count } <= bytes.count, "more records than bytes")
            // What it is made into is read as it was, and one record more.
            guard (try? log.append(kind: 1, [9], effects: &effects)) != nil else { return }
            log.sync(effects: &effects)
            for effect in effects { if let event = disk.carryOut(effect) { var more: [DiskEffect] = []; _ = log.onDisk(event, effects: &more) } }
            var (again, moreDamages, more): ([Bytes], [LogDamage], [DiskEffect]) = ([], [], [])
            _ = try? Log(folder: "log", owner: 1, reader: disk, visit: { again.append(Bytes($2)); _ = ($0, $1) }, damages: &moreDamages, effects: &more)
            require(again == seen + [[9]], "\(seen.count) records, then \(again.count)")
        },
        Target("records", upTo: 1024, seeds: {
            Seeds.crdt("blocks").prefix(20).map { Script.step(2, $0) + [1, 3, 1, 2, 3] }
        }) { bytes in
            // Records with sound checksums and any contents at all, as the state's log.
            var script = Script(bytes)
            let disk = MemoryDisk()
            var effects: [DiskEffect] = []
            guard var log = try? Log(folder: "crdt", owner: 4, reader: disk, effects: &effects) else { return }
            while !script.isOver { _ = try? log.append(kind: UInt8(1 + script.below(6)), script.piece(), effects: &effects) }
            for effect in effects { _ = disk.carryOut(effect) }
            var settings = ReplicaSettings()
            settings.index.tableEntries = 16
            var (choices, opened) = (Choices(seed: 1), [Replica.Effect]())
            guard var machine = try? Replica(settings: settings, owner: 4, reader: disk, now: Here.now, choices: &choices, effects: &opened) else { return }
            while !opened.isEmpty {
                guard case .disk(let effect) = opened.removeFirst(), let event = disk.carryOut(effect) else { continue }
                machine.onDisk(event, now: Here.now, effects: &opened)
            }
            var damages: [LogDamage] = []
            var cursor: LogAddress?
            repeat { cursor = (try? machine.scan(from: cursor, bytes: 1 << 20, damages: &damages) { _ = ($0.key, $0.value.count) }) ?? nil } while cursor != nil
            for head in machine.heads { _ = try? machine.block(head.cid) }
        },
        Target("kept-records", upTo: 512, seeds: Target.keptSeeds) { bytes in
            // The files of what the DHT keeps for others: whole, or as records of any contents.
            let disk = MemoryDisk()
            let name = "dht/00000001"
            if bytes.first ?? 0 & 1 == 0 { _ = disk.carryOut(.append(name + "/00000001.log", Bytes(bytes.dropFirst()))) } else {
                var script = Script(Bytes(bytes.dropFirst()))
                var effects: [DiskEffect] = []
                guard var log = try? Log(folder: name, owner: 7, reader: disk, effects: &effects) else { return }
                while !script.isOver { _ = try? log.append(kind: UInt8(1 + script.below(3)), script.piece(), effects: &effects) }
                for effect in effects { _ = disk.carryOut(effect) }
            }
            var settings = DHTSettings()
            (settings.providersMax, settings.providersPerPeerMax, settings.valuesMax) = (16, 8, 4)
            func open() -> Int {
                var machine = DHT(settings: settings, me: Here.peer(9), owner: 7)
                var (effects, choices): ([DHT.Effect], Choices) = ([], Choices(seed: 1))
                machine.open(disk, now: Here.now, effects: &effects)
                machine.checkInvariants()
                require(machine.recordCount <= 20, "\(machine.recordCount) records")
                // What is wrong with them is written anew, and then it is right.
                for _ in 0..<3 {
                    for case .disk(let effect) in effects { if let event = disk.carryOut(effect) { var more: [DHT.Effect] = []; machine.onDisk(event, now: Here.at(20_000), effects: &more); for case .disk(let effect) in more { _ = disk.carryOut(effect) } } }
                    effects = []
                    if let at = machine.nextDeadline, at <= Here.at(100_000).monotonic { machine.onTime(now: Here.at(100_000), choices: &choices, effects: &effects) }
                }
                return machine.recordCount
            }
            let count = open()
            require(open() == count, "\(count) records, and then others")
        },
        Target("manifest", upTo: 512, seeds: { [[UInt8](repeating: 0, count: 48)] }) { bytes in
            let disk = MemoryDisk()
            let half = bytes.count / 2
            _ = disk.carryOut(.append("i/00000003.manifest", Bytes(bytes[..<half])))
            _ = disk.carryOut(.append("i/00000002.state", Bytes(bytes[half...])))
            _ = disk.carryOut(.append("i/00000001.run", bytes))
            var settings = IndexSettings()
            settings.tableEntries = 16
            var index = Index(folder: "i", owner: 1, reader: disk, settings: settings)
            var (faults, effects): ([String], [DiskEffect]) = ([], [])
            do { _ = try index.open(faults: &faults, effects: &effects) } catch { require(false, "a rotten manifest stops the peer: \(error)") }
        },
        Target("journal", upTo: 1024, seeds: {
            [JournalRecord.opening(JournalOpening()), .read(.list("x"), .names(["a", "b"])), .effects([]), .refused("no"), .input(Here.now, .wake),
             .input(Here.now, .client(ClientID(1), .id)), .input(Here.now, .stream(.received(StreamID(owner: 0, number: 1), [1, 2])))].map {
                var writer = JournalWriter()
                writer.put($0)
                return writer.bytes
            }
        }) { bytes in
            var reader = JournalReader(bytes)
            guard let record = try? JournalRecord(reading: &reader) else { return }
            var writer = JournalWriter()
            writer.put(record)
            var again = JournalReader(writer.bytes)
            guard let copy = try? JournalRecord(reading: &again) else { return require(false, "a record does not come back") }
            var second = JournalWriter()
            second.put(copy)
            require(second.bytes == writer.bytes, "a record comes back as another")
        },
        Target("journal-file", upTo: 1024, seeds: {
            var writer = JournalWriter()
            JournalFrame.frame(.refused("no"), in: &writer)
            let frame = writer.bytes
            JournalFrame.frame(.opening(JournalOpening()), in: &writer)
            return [JournalFrame.fileHead + writer.bytes + frame, JournalFrame.fileHead + frame + frame.dropLast(3)]
        }) { bytes in
            var rest = bytes[...]
            guard var frames = try? JournalFrames(read: { count in
                defer { rest = rest.dropFirst(count) }
                return Bytes(rest.prefix(count))
            }) else { return }
            while let found = try? frames.next() { require(found.offset < bytes.count, "a record behind the end") }
        },
    ]

    private static func segment(_ payloads: [Bytes]) -> Bytes {
        let disk = MemoryDisk()
        var effects: [DiskEffect] = []
        guard var log = try? Log(folder: "log", owner: 1, reader: disk, effects: &effects) else { return [] }
        for payload in payloads { _ = try? log.append(kind: 1, payload, effects: &effects) }
        for effect in effects { _ = disk.carryOut(effect) }
        return disk.contents("log/00000001.log")
    }
}
