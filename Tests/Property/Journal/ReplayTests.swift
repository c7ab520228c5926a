// A life lived again gives the same effects; where it does not, the first difference is found.

import Cluster
import Journal
import Kernel
import Monitoring
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

@Suite struct ReplayTests {
    private func expectSame(_ life: Life, _ ending: ReplayEnding) throws {
        let replayer = try replayed(life.sink.bytes)
        #expect(replayer.difference == nil && replayer.error == nil && replayer.ending == ending)
        #expect(replayer.inputs == life.inputCount && replayer.sameEffects == life.effectCount)
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func aLifeOfManyLivesIsTheSameAgain(_ seed: UInt64) throws {
        var choices = Choices(seed: seed)
        let first = try Life()
        first.live(&choices, pins: 700)
        #expect(first.inputCount > 40 && first.runCount > 0 && first.replies.contains(.end), "\(first.inputCount) inputs, \(first.logs)")
        #expect(first.replies.contains { if case .item(.pins(let pins)) = $0 { pins.count > 100 } else { false } })
        try expectSame(first, .broken(at: first.sink.bytes.count, isTorn: false))

        // It crashes, and what it reads when it is opened again is in the journal too.
        first.disk.crash(keeping: choices.below(100))
        let second = try Life(disk: first.disk, startingAt: 10_000)
        second.live(&choices, pins: 300)
        second.feed(.shutdown)
        second.recorder.close()
        #expect(second.sink.isClosed)
        try expectSame(second, .said(.closed))
    }

    @Test func aRefusedOpeningIsTheSameAgain() throws {
        let disk = MemoryDisk()
        _ = disk.carryOut(.append("crdt/00000001.log", Bytes("ICLOG".utf8) + Bytes(repeating: 1, count: 100)))
        let sink = MemorySink()
        let recorder = Recorder(sink: sink, bytesMax: .max)
        let life = try Life()
        var (choices, effects): (Choices, [PeerEffect]) = (Choices(seed: 1), [])
        #expect(throws: (any Error).self) {
            try recorder.openPeer(
                settings: Life.settings(life.key.peerID), disk: disk, signer: IdentitySigner(key: life.key),
                at: Now(monotonic: .origin, wall: .epoch), seed: 1, choices: &choices, effects: &effects)
        }
        let replayer = try replayed(sink.bytes)
        #expect(replayer.difference == nil && replayer.inputs == 0 && sink.isClosed)
    }

    /// Each record by itself, to be changed and put together again.
    private func records(_ bytes: Bytes) throws -> [JournalRecord] {
        var offset = 0
        var frames = try JournalFrames { count in
            let end = min(bytes.count, offset + count)
            defer { offset = end }
            return Bytes(bytes[offset..<end])
        }
        var out: [JournalRecord] = []
        while let (_, record) = try frames.next() { out.append(record) }
        return out
    }
    private func journal(_ records: [JournalRecord]) -> Bytes {
        var writer = JournalWriter()
        return records.reduce(into: JournalFrame.fileHead) { bytes, record in
            JournalFrame.frame(record, in: &writer)
            bytes += writer.bytes
        }
    }

    @Test func anAlteredEffectIsReportedAtItsStep() throws {
        var choices = Choices(seed: 5)
        let life = try Life()
        life.live(&choices, pins: 20)
        let records = try records(life.sink.bytes)
        #expect(journal(records) == life.sink.bytes)
        var step = -1
        var tried = 0
        for (index, record) in records.enumerated() {
            guard case .effects(var effects) = record else { continue }
            step += 1
            guard !effects.isEmpty else { continue }
            let at = choices.below(effects.count)
            let before = effects[at].description
            effects[at].digest = Mixed(high: 1, low: 2)
            var altered = records
            altered[index] = .effects(effects)
            var told: [ReplayDifference] = []
            let replayer = try replayed(journal(altered)) { told.append($0) }
            let difference = try #require(replayer.difference)
            #expect(difference.step == step && difference.place.hasPrefix("effect \(at + 1) of ") && difference.replayed == before)
            #expect(difference.recorded == effects[at].description && told == [difference])
            tried += 1
        }
        #expect(tried > 20)
    }

    @Test func aMissingEffectAnswerOrInputIsReported() throws {
        var choices = Choices(seed: 6)
        let life = try Life()
        life.live(&choices, pins: 20)
        let all = try records(life.sink.bytes)
        for (index, record) in all.enumerated().dropFirst() {
            var altered = all
            altered.remove(at: index)
            let difference = try replayed(journal(altered)).difference
            if case .effects(let effects) = record, index == all.count - 1 { #expect(!effects.isEmpty || difference == nil); continue }
            if case .input(_, .clientInput(_, .more)) = record { continue }  // may be of no consequence
            #expect(difference != nil, "record \(index) was not missed")
        }
    }

    /// A build that draws differently, or that was given other settings, shows where.
    @Test func otherSettingsMakeADifference() throws {
        var choices = Choices(seed: 7)
        let life = try Life()
        life.live(&choices, pins: 20)
        var records = try records(life.sink.bytes)
        guard case .opening(var opening) = records[0] else { throw JournalError.foreign }
        opening.settings.informers.pingInterval = .seconds(1)
        records[0] = .opening(opening)
        let difference = try #require(try replayed(journal(records)).difference)
        #expect(difference.step > 0 && difference.recorded != difference.replayed)
    }

    @Test func neverACrashWhereverItIsCut() throws {
        let life = try Life()
        life.wait(2)
        life.ask(1, .id)
        life.feed(.shutdown)
        life.recorder.close()
        let bytes = life.sink.bytes
        #expect(bytes.count < 12_000)
        var inputs = 0
        for count in 0..<bytes.count {
            let replayer: Replayer
            do { replayer = try replayed(Bytes(bytes[..<count])) } catch let error as JournalError {
                #expect(error == .foreign && count < 16 || count < 1500, "\(count): \(error)")
                continue
            }
            guard case .broken? = replayer.ending else { Issue.record("cut to \(count): \(String(describing: replayer.ending))"); continue }
            #expect(replayer.difference == nil && replayer.error == nil && replayer.inputs >= inputs && replayer.inputs <= life.inputCount)
            inputs = replayer.inputs
            // A file that grew before it was written to.
            if count % 7 == 0 {
                let grown = try replayed(Bytes(bytes[..<count]) + Bytes(repeating: 0, count: 100))
                #expect(grown.inputs == replayer.inputs && grown.difference == nil && grown.error == nil)
            }
        }
        #expect(inputs == life.inputCount)
    }

    @Test func damageIsNamedByItsOffset() throws {
        let life = try Life()
        life.wait(2)
        life.ask(1, .id)
        life.recorder.close()
        let bytes = life.sink.bytes
        for at in stride(from: 0, to: bytes.count - 40, by: 3) {
            var damaged = bytes
            damaged[at] ^= 0x10
            do {
                let replayer = try replayed(damaged)
                guard case .damaged(let offset, _)? = replayer.error else { Issue.record("byte \(at) is not missed"); continue }
                #expect(offset <= at && replayer.difference == nil)
            } catch let error as JournalError {
                switch error {
                case .foreign: #expect(at < 8)
                case .version: #expect((8..<16).contains(at))
                case .damaged(let offset, _): #expect(offset <= at)
                case .malformed: Issue.record("\(error)")
                }
            }
        }
        #expect(throws: JournalError.foreign) { try replayed(Bytes("{\"cid\": 1}\n{\"cid\": 2}\n".utf8)) }
        #expect(throws: JournalError.foreign) { try replayed([]) }
    }

    @Test func itEndsAtItsBoundAndThePeerGoesOn() throws {
        for bytesMax in [4_000, 20_000, 60_000] {
            var choices = Choices(seed: 8)
            let life = try Life(bytesMax: bytesMax)
            life.live(&choices, pins: 100)
            #expect(life.sink.bytes.count <= bytesMax && life.sink.isClosed)
            #expect(life.endings.count == 1 && life.endings[0].contains("bound"), "\(life.endings)")
            let replayer = try replayed(life.sink.bytes)
            #expect(replayer.ending == .said(.full) && replayer.difference == nil && replayer.inputs < life.inputCount)
        }
    }

    @Test func itEndsWhereTheDiskIsFullAndThePeerGoesOn() throws {
        var choices = Choices(seed: 9)
        let life = try Life(room: 20_000)
        life.live(&choices, pins: 100)
        #expect(life.endings.count == 1 && life.endings[0].contains("no space left"), "\(life.endings)")
        let replayer = try replayed(life.sink.bytes)
        #expect(replayer.ending == .said(.failed) && replayer.difference == nil && replayer.inputs > 0)
    }

    @Test func noKeyIsInIt() throws {
        var choices = Choices(seed: 10)
        let life = try Life()
        life.live(&choices, pins: 10)
        let bytes = life.sink.bytes
        func holds(_ piece: some Collection<UInt8>) -> Bool {
            (0...bytes.count - piece.count).contains { bytes[$0] == piece.first && bytes[$0..<$0 + piece.count].elementsEqual(piece) }
        }
        #expect(holds(life.key.publicKey.data))
        #expect(!holds(life.key.protobuf[4..<36]))
    }
}
