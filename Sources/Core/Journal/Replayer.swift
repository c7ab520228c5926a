// Lives a recorded life again: the same inputs and answers to the same machine, and each effect held against what was recorded.

import Cluster
import Kernel
import Multiformats
import Seams

/// Where the two lives part.
package struct ReplayDifference: Equatable, Sendable {
    /// In the step of that input, from 1 on; 0 is the opening.
    package let step: Int
    /// Of the record that differs, in the journal.
    package let offset: Int
    /// Such as "effect 3 of 5".
    package let place: String
    /// Nil where that side has nothing more.
    package let recorded: String?
    package let replayed: String?
}

package enum ReplayEnding: Equatable, Sendable {
    case said(JournalEnd)
    /// The journal just ends: the process was killed, or the file cut.
    case broken(at: Int, isTorn: Bool)
}

/// The journal, from which one record after another is taken: by the steps, and within them by the disk and the signer.
private final class Tape: @unchecked Sendable {
    private var frames: JournalFrames
    private var ahead: (offset: Int, record: JournalRecord)?
    var step = 0
    private(set) var difference: ReplayDifference?
    private(set) var ending: ReplayEnding?
    private(set) var error: JournalError?
    /// Told at once: after it the step goes on with answers that nobody recorded, and may not end.
    var onDifference: (ReplayDifference) -> Void = { _ in }

    init(_ frames: JournalFrames) { self.frames = frames }

    /// Nil after the end, and after a difference.
    func next() -> (offset: Int, record: JournalRecord)? {
        guard difference == nil, ending == nil, error == nil else { return nil }
        do throws(JournalError) {
            guard let found = try frames.next() else {
                ending = .broken(at: frames.offset, isTorn: frames.isTorn)
                return nil
            }
            if case .end(let end) = found.record {
                ending = .said(end)
                return nil
            }
            return found
        } catch {
            self.error = error
            return nil
        }
    }

    func differ(at offset: Int, _ place: String, recorded: String?, replayed: String?) {
        guard difference == nil else { return }
        let found = ReplayDifference(step: step, offset: offset, place: place, recorded: recorded, replayed: replayed)
        difference = found
        onDifference(found)
    }

    func ask(_ question: DiskQuestion) -> DiskAnswer {
        let none = DiskAnswer.failed(.failed(question.file, reason: "the journal has no answer"))
        guard let (offset, record) = next() else { return none }
        guard case .read(let asked, let answer) = record, asked == question else {
            differ(at: offset, "what the step asks for", recorded: describe(record), replayed: "\(question)")
            return none
        }
        return answer
    }
}

/// A record where another one was awaited.
private func describe(_ record: JournalRecord) -> String? {
    switch record {
    case .opening: "the opening of a peer"
    case .input: "another input"
    case .read(let question, _): "\(question)"
    case .signature(let message, _): "a signature of #\(message.low)"
    case .verdict(let message, _): "a verdict on #\(message.low)"
    case .effects, .end: nil
    case .refused(let reason): "the peer could not be opened: \(reason)"
    }
}

private struct ReplayDisk: DiskReader {
    let tape: Tape
    func list(_ prefix: FileName) throws(DiskError) -> [FileName] {
        switch tape.ask(.list(prefix)) {
        case .names(let names): return names
        case .failed(let error): throw error
        case .size, .bytes: throw .failed(prefix, reason: "the journal has an answer of another kind")
        }
    }
    func size(_ file: FileName) throws(DiskError) -> Int {
        switch tape.ask(.size(file)) {
        case .size(let size): return size
        case .failed(let error): throw error
        case .names, .bytes: throw .failed(file, reason: "the journal has an answer of another kind")
        }
    }
    func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        switch tape.ask(.read(file, at: offset, count: count)) {
        case .bytes(let bytes): return bytes
        case .failed(let error): throw error
        case .names, .size: throw .failed(file, reason: "the journal has an answer of another kind")
        }
    }
}

private struct ReplaySigner: MessageSigner {
    let tape: Tape
    let attachedKey: Bytes?
    func sign(_ message: Bytes) -> Bytes {
        guard let (offset, record) = tape.next() else { return [] }
        let digest = mix(message, seed: 0)
        if case .signature(digest, let signature) = record { return signature }
        tape.differ(at: offset, "what the step asks for", recorded: describe(record), replayed: "a signature of #\(digest.low)")
        return []
    }
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool {
        guard let (offset, record) = tape.next() else { return false }
        let digest = judged(message, signature, author, key)
        if case .verdict(digest, let isGood) = record { return isGood }
        tape.differ(at: offset, "what the step asks for", recorded: describe(record), replayed: "a verdict on #\(digest.low)")
        return false
    }
}

/// First `open`, then for each input `nextInput` and `step`, until there is none.
package final class Replayer {
    package let opening: JournalOpening
    private let tape: Tape
    private var machine: ClusterPeer?
    private var choices: Choices
    private var input: (now: Now, input: PeerInput)?
    private var digester = JournalWriter(isDigest: true)
    /// Inputs that were given, and effects that were found the same.
    package private(set) var inputs = 0
    package private(set) var sameEffects = 0
    /// The journal ends before what came of the last input.
    package private(set) var endsWithinStep = false
    package var difference: ReplayDifference? { tape.difference }
    package var ending: ReplayEnding? { tape.ending }
    package var error: JournalError? { tape.error }

    /// `read` gives so many bytes from where the last ones ended, and fewer at the end of the file.
    package init(read: @escaping (Int) -> Bytes, onDifference: @escaping (ReplayDifference) -> Void = { _ in }) throws(JournalError) {
        var frames = try JournalFrames(read: read)
        guard let (offset, record) = try frames.next() else { throw .damaged(at: frames.offset, reason: "it ends before anything was recorded") }
        guard case .opening(let opening) = record else { throw .damaged(at: offset, reason: "it does not begin with the opening of a peer") }
        self.opening = opening
        tape = Tape(frames)
        tape.onDifference = onDifference
        choices = Choices(seed: opening.seed)
    }

    package func open() -> [PeerEffect] {
        var effects: [PeerEffect] = []
        do {
            machine = try ClusterPeer(
                settings: opening.settings, disk: ReplayDisk(tape: tape), signer: ReplaySigner(tape: tape, attachedKey: opening.attachedKey),
                at: opening.now, choices: &choices, effects: &effects)
        } catch {
            guard let (offset, record) = tape.next() else { return effects }
            if case .refused("\(error)") = record { return effects }
            tape.differ(at: offset, "the opening", recorded: describe(record) ?? "the peer was opened", replayed: "\(error)")
            return effects
        }
        compare(effects)
        return effects
    }

    /// Nil when there is no more, or nothing that follows would tell anything.
    package func nextInput() -> (now: Now, input: PeerInput)? {
        guard machine != nil, let (offset, record) = tape.next() else { return nil }
        guard case .input(let now, let input) = record else {
            tape.differ(at: offset, "between two steps", recorded: describe(record) ?? "effects without an input", replayed: nil)
            return nil
        }
        inputs += 1
        tape.step = inputs
        self.input = (now, input)
        return (now, input)
    }

    /// The effects of that input.
    package func step() -> [PeerEffect] {
        guard let (now, input) = input else { return [] }
        var effects: [PeerEffect] = []
        machine?.step(input, at: now, choices: &choices, effects: &effects)
        compare(effects)
        return effects
    }

    private func compare(_ effects: [PeerEffect]) {
        guard let (offset, record) = tape.next() else {
            endsWithinStep = tape.ending != nil
            return
        }
        guard case .effects(let recorded) = record else {
            tape.differ(at: offset, "what the step asks for", recorded: describe(record), replayed: nil)
            return
        }
        for index in 0..<max(recorded.count, effects.count) {
            let replayed = index < effects.count ? EffectSummary(effects[index], &digester) : nil
            let before = index < recorded.count ? recorded[index] : nil
            guard before != replayed else { sameEffects += 1; continue }
            let place = "effect \(index + 1) of \(recorded.count) recorded and \(effects.count) replayed"
            return tape.differ(at: offset, place, recorded: before?.description, replayed: replayed?.description)
        }
    }
}
