// A peer by itself on a disk in memory, whose life is recorded.

import Cluster
import Crypto
import IPFSConnector
import Journal
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport
import Testing

/// A journal in memory.
final class MemorySink: JournalSink {
    var bytes: Bytes = []
    var room = Int.max
    private(set) var isClosed = false
    func append(_ more: UnsafeRawBufferPointer) -> String? {
        // The last record has its room.
        guard bytes.count + more.count <= room || more.count <= JournalFrame.endBytes else { return "no space left on device" }
        bytes.append(contentsOf: more)
        return nil
    }
    func close() { isClosed = true }
}

final class Life {
    let disk: MemoryDisk
    let sink = MemorySink()
    let recorder: Recorder
    let key: IdentityKey
    private(set) var machine: ClusterPeer
    private var choices = Choices(seed: 0)
    private var now: Now
    private var inputs = FIFO<PeerInput>()
    private(set) var inputCount = 0
    private(set) var effectCount = 0
    /// Runs of the index that were written.
    private(set) var runCount = 0
    private(set) var replies: [ClientReply] = []
    private(set) var logs: [String] = []
    private var wakeAt: Instant?
    var endings: [String] = []

    static func settings(_ me: PeerID) -> PeerSettings {
        var settings = PeerSettings(me: me)
        settings.peerName = "recorded"
        settings.ipfs = .embedded(EmbeddedSettings())
        settings.replica.index.tableEntries = 256
        return settings
    }

    init(disk: MemoryDisk = MemoryDisk(), startingAt seconds: Int64 = 0, bytesMax: Int = .max, room: Int = .max) throws {
        self.disk = disk
        sink.room = room
        recorder = Recorder(sink: sink, bytesMax: bytesMax)
        key = try IdentityKey(seed: Bytes(repeating: 3, count: 32))
        now = Now(monotonic: Instant(nanoseconds: seconds * 1_000_000_000), wall: WallTime(seconds: 1_800_000_000 + seconds))
        var effects: [PeerEffect] = []
        machine = try recorder.openPeer(
            settings: Life.settings(key.peerID), disk: disk, signer: IdentitySigner(key: key), at: now, seed: 42, choices: &choices, effects: &effects)
        recorder.onEnd = { [unowned self] in endings.append($0) }
        effectCount += effects.count
        for effect in effects { carryOut(effect) }
        feed(.start)
    }

    /// One input, and all that comes of it.
    func feed(_ input: PeerInput) {
        inputs.append(input)
        while let input = inputs.popFirst() {
            var effects: [PeerEffect] = []
            now = Now(monotonic: now.monotonic + .milliseconds(1), wall: now.wall + .milliseconds(1))
            recorder.begin(input, at: now)
            machine.step(input, at: now, choices: &choices, effects: &effects)
            recorder.end(effects)
            inputCount += 1
            effectCount += effects.count
            for effect in effects { carryOut(effect) }
        }
    }

    private func carryOut(_ effect: PeerEffect) {
        switch effect {
        case .wake(let at): wakeAt = at
        case .disk(let effect): if let event = disk.carryOut(effect) { inputs.append(.disk(event)) }
        case .job(let job):
            if !job.isLookup { runCount += 1 }
            inputs.append(.job(job.number, disk.finish(job)))
        case .reply(_, let reply): replies.append(reply)
        case .log(let line): logs.append(line.message)
        case .connection, .stream, .exchange, .ready, .stopped, .fatal: break
        }
    }

    /// So many wake-ups.
    func wait(_ count: Int) {
        for _ in 0..<count {
            guard let at = wakeAt else { return }
            now = Now(monotonic: max(now.monotonic, at), wall: now.wall + max(at - now.monotonic, .zero))
            feed(.wake)
        }
    }

    func ask(_ number: UInt64, _ request: ClientRequest, _ inputs: [ClientInput] = []) {
        feed(.client(ClientID(number), request))
        for input in inputs { feed(.clientInput(ClientID(number), input)) }
    }

    /// A bit of everything that a peer without others does.
    func live(_ choices: inout Choices, pins count: Int) {
        wait(3)
        var batch = PinBatch()
        for _ in 0..<count { batch.append(CID(v1: Codec.raw, .sha2_256(of: choices.bytes(8))), name: "n") }
        ask(1, .pinAll(batch))
        var pin = Pin(cid: CID(v1: Codec.raw, .sha2_256(of: choices.bytes(8))))
        pin.options.metadata = ["a": "b"]
        ask(2, .pin(pin))
        wait(1)  // until they are in the pinset
        ask(3, .pins([.data]), [.more, .more])
        ask(4, .statusAll([], isLocal: false), [.more])
        ask(5, .unpin(pin.cid))
        ask(6, .add(AddParameters()), [.file(name: "f"), .data(choices.bytes(300_000)), .endOfFile, .end])
        let questions: [ClientRequest] = [.id, .version, .peers, .metrics(name: "ping"), .metricNames, .alerts, .connectGraph, .bandwidth]
        for (number, request) in questions.enumerated() { ask(10 + UInt64(number), request) }
        wait(20)
    }
}

func replayed(_ bytes: Bytes, onDifference: @escaping (ReplayDifference) -> Void = { _ in }) throws -> Replayer {
    var offset = 0
    let replayer = try Replayer(
        read: { count in
            let end = min(bytes.count, offset + count)
            defer { offset = end }
            return Bytes(bytes[offset..<end])
        }, onDifference: onDifference)
    _ = replayer.open()
    while replayer.nextInput() != nil { _ = replayer.step() }
    return replayer
}
