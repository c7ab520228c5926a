// What the DHT keeps for others is there after a restart. DHT-17.

import DHT
import Encoding
import Kernel
import Multiformats
import Seams
import Storage
import TestSupport
import Testing

/// A server of the DHT on a disk, in one life after another.
private final class KeptServer {
    let settings: DHTSettings
    var disk: MemoryDisk
    var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var machine: DHT
    private(set) var warnings: [String] = []
    /// From so many effects on the disk on, nothing reaches it: the machine has stopped there.
    var effectsLeft = Int.max
    private(set) var effectCount = 0
    private var choices = Choices(seed: 1)
    private var streams: UInt64 = 0

    init(_ disk: MemoryDisk = MemoryDisk(), settings: DHTSettings = DHTSettings()) {
        (self.disk, self.settings) = (disk, settings)
        machine = DHT(settings: settings, me: netPeer(0), owner: 7)
        open()
    }

    private func open() {
        machine = DHT(settings: settings, me: netPeer(0), owner: 7)
        act { $0.open(self.disk, now: self.now, effects: &$1) }
    }
    /// Ends this life and begins the next. Of what has not been synced so much is kept of each file.
    func restart(keeping kept: Int = .max / 2) {
        disk.crash(keeping: kept)
        warnings = []
        effectsLeft = .max
        open()
    }
    func pass(_ span: Span) {
        let end = now.monotonic + span
        while let due = machine.nextDeadline, due <= end {
            move(to: max(due, now.monotonic))
            act { $0.onTime(now: self.now, choices: &self.choices, effects: &$1) }
        }
        move(to: end)
    }
    private func move(to instant: Instant) {
        now.wall = now.wall + (instant - now.monotonic)
        now.monotonic = instant
    }

    private func act(_ body: (inout DHT, inout [DHT.Effect]) -> Void) {
        var effects: [DHT.Effect] = []
        body(&machine, &effects)
        machine.checkInvariants()
        var events: [DiskEvent] = []
        for effect in effects {
            switch effect {
            case .disk(let effect):
                effectCount += 1
                guard effectsLeft > 0 else { continue }
                effectsLeft -= 1
                if let event = disk.carryOut(effect) { events.append(event) }
            case .log(let line): if line.level >= .warning { warnings.append(line.message) }
            default: break
            }
        }
        for event in events { act { $0.onDisk(event, now: self.now, effects: &$1) } }
    }

    private func ask(_ peer: Int, _ message: DHTMessage) -> DHTMessage? {
        streams += 1
        let stream = StreamID(owner: 0, number: streams)
        var answer: DHTMessage?
        for event in [StreamEvent.incoming(stream, from: netPeer(peer), protocol: DHT.protocols[0]), .received(stream, message.frame), .reset(stream)] {
            act { machine, effects in
                machine.onStream(event, addresses: { _ in [] }, now: self.now, effects: &effects)
                for case .stream(.send(stream, let bytes)) in effects {
                    var reader = FrameReader(limitBytes: 4 << 20)
                    reader.append(bytes)
                    answer = (try? reader.next()).flatMap { try? DHTMessage(decoding: $0) }
                }
            }
        }
        return answer
    }

    private func key(_ number: Int) -> Bytes { Multihash.sha2_256(of: [UInt8(number >> 8), UInt8(number & 255)]).bytes }
    func provide(_ number: Int, by peer: Int = 1) {
        var message = DHTMessage(.addProvider, key: key(number))
        message.providers = [DHTMessage.Peer(netPeer(peer), [lanAddress(number)])]
        _ = ask(peer, message)
    }
    func providers(of number: Int) -> [DHTMessage.Peer] { ask(9, DHTMessage(.getProviders, key: key(number)))?.providers ?? [] }
    func put(_ record: NameRecord, by number: UInt8) -> Bool { ask(1, record.put(by: number)) != nil }
    func record(of number: UInt8) -> DHTMessage.Record? { ask(9, DHTMessage(.getValue, key: NameRecord.name(number)))?.record }
    var recordCount: Int { machine.recordCount }

    var files: [FileName] { (try? disk.list("dht/")) ?? [] }
    var fileBytes: Int { files.reduce(0) { $0 + disk.contents($1).count } }
}

@Suite struct DHTRecordsTests {
    @Test func recordsOutliveARestart() throws {
        let server = KeptServer()
        #expect(server.files.isEmpty)
        #expect(server.put(NameRecord(sequence: 4), by: 3))
        for number in 0..<30 { server.provide(number, by: 1 + number % 3) }
        server.pass(.seconds(10))
        #expect(server.files == ["dht/00000001/00000001.log"])
        server.restart(keeping: 0)
        #expect(server.warnings.isEmpty && server.recordCount == 31)
        #expect(server.record(of: 3) == DHTMessage.Record(
            key: NameRecord.name(3), value: NameRecord(sequence: 4).signed(by: 3), received: "2023-11-14T22:13:20Z"))
        for number in 0..<30 { #expect(server.providers(of: number) == [DHTMessage.Peer(netPeer(1 + number % 3), [lanAddress(number)])]) }
        // What was kept protects itself as before, and what is put now is added to it.
        #expect(!server.put(NameRecord(sequence: 3), by: 3) && server.put(NameRecord(sequence: 5), by: 3))
        server.provide(30)
        server.pass(.seconds(10))
        server.restart(keeping: 0)
        #expect(server.warnings.isEmpty && server.recordCount == 32)
        #expect(server.record(of: 3)?.value == NameRecord(sequence: 5).signed(by: 3))
    }

    /// A crash before the sync takes what was new, and no more; and it can leave half a record.
    @Test func whatWasNotSyncedMayBeLost() {
        for kept in 0..<400 {
            let server = KeptServer()
            server.provide(0)
            server.pass(.seconds(10))
            for number in 1...3 { server.provide(number) }
            server.restart(keeping: kept)
            #expect(server.warnings.isEmpty)
            let there = (0...3).map { server.providers(of: $0).count }
            #expect(there[0] == 1 && there == there.sorted().reversed(), "\(there)")
            server.provide(7)
            server.pass(.seconds(10))
            server.restart(keeping: 0)
            #expect(server.warnings.isEmpty && server.providers(of: 7).count == 1 && server.providers(of: 0).count == 1)
        }
    }

    /// DHT-09, DHT-10: 48 hours from when it came, whenever we were down.
    @Test func timeGoesOnWhileWeAreDown() {
        let server = KeptServer()
        server.provide(1)
        #expect(server.put(NameRecord(), by: 3))
        server.pass(.hours(20))
        server.restart()
        #expect(server.record(of: 3)?.received == "2023-11-14T22:13:20Z")
        #expect(server.providers(of: 1).count == 1)
        server.pass(.hours(5))
        server.restart()
        #expect(server.recordCount == 2 && server.providers(of: 1).isEmpty)  // without its addresses
        server.now.wall = server.now.wall + .hours(22)  // while it is down
        server.restart()
        #expect(server.recordCount == 2)
        server.pass(.minutes(59))
        #expect(server.record(of: 3) != nil)
        server.pass(.minutes(1))
        #expect(server.record(of: 3) == nil && server.recordCount == 1)
        server.restart()
        #expect(server.record(of: 3) == nil && server.recordCount == 0)
        // A clock that was put back gives nobody more than 48 hours.
        server.provide(1)
        server.now.wall = WallTime(seconds: 1_600_000_000)
        server.restart()
        #expect(server.recordCount == 2)
        server.pass(.hours(48))
        #expect(server.providers(of: 1).isEmpty && server.record(of: 3) == nil && server.recordCount == 0)
    }

    @Test func aDamagedRecordLosesOnlyItself() {
        let sound = KeptServer()
        for number in 0..<6 {
            sound.provide(number)
            sound.pass(.seconds(10))
        }
        let file = "dht/00000001/00000001.log"
        let size = sound.disk.contents(file).count
        var warned = 0
        for offset in 16..<size {
            let server = KeptServer(MemoryDisk(copying: sound.disk))
            server.disk.flipBit(file, at: offset)
            server.restart()
            #expect(server.recordCount >= 5, "byte \(offset)")
            for warning in server.warnings { #expect(warning.contains(file) && warning.contains("for others"), "\(warning)") }
            warned += server.warnings.isEmpty ? 0 : 1
            // It is written anew, and nobody hears of it again.
            let left = server.recordCount
            server.provide(9)
            server.pass(.seconds(20))
            server.restart(keeping: 0)
            #expect(server.warnings.isEmpty && server.recordCount == left + 1, "byte \(offset)")
        }
        // But for the empty record at the end, of which nobody knows whether it was durable.
        #expect(warned >= size - 16 - 2 * Log.frameBytes, "\(warned) of \(size)")
    }

    @Test func aFileThatIsSomethingElseIsReplaced() {
        for bytes in [Bytes("what is this?".utf8), [], Bytes(repeating: 0, count: 5000)] {
            let server = KeptServer()
            server.provide(0)
            server.pass(.seconds(10))
            server.provide(1)
            server.pass(.seconds(10))
            let file = "dht/00000001/00000001.log"
            for offset in 0..<16 { server.disk.flipBit(file, at: offset) }
            _ = server.disk.carryOut(.append("dht/00000002/00000001.log", bytes))
            server.restart()
            #expect(server.warnings.contains { $0.contains("dht/00000001") }, "\(server.warnings)")
            server.provide(2)
            server.pass(.minutes(2))
            server.restart(keeping: 0)
            #expect(server.warnings.isEmpty && server.providers(of: 2).count == 1)
            #expect(server.files.count == 1, "\(server.files)")
        }
    }

    private func small() -> DHTSettings {
        var settings = DHTSettings()
        (settings.recordSlackBytes, settings.providersPerPeerMax) = (2000, 20)
        return settings
    }

    @Test func filesDoNotGrowWithoutEnd() {
        let server = KeptServer(settings: small())
        var most = 0
        for number in 0..<2000 {
            server.provide(number)
            if number % 5 == 4 { server.pass(.seconds(10)) }
            most = max(most, server.fileBytes)
        }
        #expect(server.recordCount == 20 && most < 12_000, "\(most) bytes")
        #expect(server.files.count == 1 && server.files != ["dht/00000001/00000001.log"])
        server.restart(keeping: 0)
        #expect(server.warnings.isEmpty && (1980..<2000).allSatisfy { server.providers(of: $0).count == 1 })
        // What is over takes its file along.
        server.provide(1)
        server.now.wall = server.now.wall + .hours(50)
        server.restart()
        server.provide(2)
        for _ in 0..<30 { server.provide(2); server.pass(.seconds(10)) }
        #expect(server.recordCount == 1 && server.fileBytes < 3000, "\(server.fileBytes)")
    }

    /// Wherever it stops: what was durable is there.
    @Test func aCrashWhileTheFilesAreWrittenAnewLosesNothing() {
        func live(_ server: KeptServer) {
            for round in 0..<12 {
                for number in 0..<4 { server.provide(number) }
                server.provide(10 + round)
                server.pass(.seconds(10))
            }
        }
        var settings = DHTSettings()
        settings.recordSlackBytes = 300
        let whole = KeptServer(settings: settings)
        live(whole)
        #expect(!whole.files.contains("dht/00000001/00000001.log"))
        for stop in stride(from: 8, to: whole.effectCount, by: 1) {
            for kept in [0, 50, .max / 2] {
                let server = KeptServer(settings: settings)
                server.effectsLeft = stop
                live(server)
                server.restart(keeping: kept)
                #expect(server.warnings.isEmpty, "\(stop): \(server.warnings)")
                #expect((0..<4).allSatisfy { server.providers(of: $0).count == 1 }, "\(stop), \(kept)")
                server.pass(.minutes(2))
                #expect(server.files.count == 1, "\(server.files)")
            }
        }
    }

    @Test func aFullDiskIsTriedAgain() {
        let server = KeptServer()
        server.provide(0)
        server.pass(.seconds(10))
        server.disk.isFull = true
        server.provide(1)
        server.pass(.minutes(5))
        #expect(server.warnings.count == 1 && server.warnings[0].contains("disk is full"), "\(server.warnings)")
        #expect(server.recordCount == 2)
        server.disk.isFull = false
        server.pass(.minutes(3))
        server.restart(keeping: 0)
        #expect(server.warnings.isEmpty && server.recordCount == 2 && server.files.count == 1)
    }

    /// What waits for a slow disk is in memory, and so it is bounded; all of it is written later.
    @Test func aFloodIsWrittenWhenItIsOver() {
        var settings = DHTSettings()
        settings.recordUnsyncedMax = 1000
        let server = KeptServer(settings: settings)
        for number in 0..<200 { server.provide(number) }
        #expect(server.fileBytes < 1500)
        server.pass(.seconds(20))
        server.restart(keeping: 0)
        #expect(server.warnings.isEmpty && server.recordCount == 200)
    }

    @Test func boundsHoldForWhatIsRead() {
        let server = KeptServer()
        for number in 0..<300 { server.provide(number) }
        server.pass(.seconds(10))
        let smaller = KeptServer(server.disk, settings: small())
        #expect(smaller.recordCount == 20 && smaller.providers(of: 299).count == 1)
    }

    @Test func aDiskThatCannotBeReadCostsOnlyWhatWasThere() {
        let server = KeptServer()
        server.provide(0)
        server.pass(.seconds(10))
        server.disk.failsReads = true
        server.restart()
        #expect(server.warnings.count == 1 && server.recordCount == 0)
        server.provide(1)
        #expect(server.providers(of: 1).count == 1)
    }
}
