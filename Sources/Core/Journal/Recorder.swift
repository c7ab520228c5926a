// Writes down what a peer hears: every input, every answer of the disk and of the signer, and what came of it.

import Cluster
import Kernel
import Multiformats
import Seams

/// Where a journal goes.
package protocol JournalSink: AnyObject {
    /// Takes all of it, or nothing and says why. After that there is still room for the last record.
    func append(_ bytes: UnsafeRawBufferPointer) -> String?
    func close()
}

/// Used on the peer's thread alone. An input is written before its step, so that it is there if the step never ends.
package final class Recorder: @unchecked Sendable {
    private let sink: any JournalSink
    private let bytesMax: Int
    package private(set) var bytesWritten = 0
    /// Answers outside of a step are given to someone who only looks.
    private var isStepping = false
    package private(set) var isOver = false
    private var writer = JournalWriter()
    private var digester = JournalWriter(isDigest: true)
    /// The journal has ended before the peer, and why.
    package var onEnd: (String) -> Void = { _ in }

    package init(sink: any JournalSink, bytesMax: Int) {
        self.sink = sink
        self.bytesMax = bytesMax
        put(JournalFrame.fileHead)
    }

    /// Makes a peer whose life is recorded.
    package func openPeer(
        settings: PeerSettings, disk: any DiskReader, signer: any MessageSigner, at now: Now, seed: UInt64, choices: inout Choices,
        effects: inout [PeerEffect]
    ) throws -> ClusterPeer {
        isStepping = true
        write(.opening(JournalOpening(settings: settings, now: now, seed: seed, attachedKey: signer.attachedKey)))
        choices = Choices(seed: seed)
        do {
            let peer = try ClusterPeer(
                settings: settings, disk: RecordingDisk(disk: disk, recorder: self), signer: RecordingSigner(signer: signer, recorder: self),
                at: now, choices: &choices, effects: &effects)
            end(effects)
            return peer
        } catch {
            write(.refused("\(error)"))
            close()
            throw error
        }
    }

    package func begin(_ input: PeerInput, at now: Now) {
        isStepping = true
        write(.input(now, input))
    }

    package func end(_ effects: [PeerEffect]) {
        guard !isOver else { return }
        write(.effects(effects.map { EffectSummary($0, &digester) }))
        isStepping = false
    }

    package func close() {
        guard !isOver else { return }
        finish(.closed)
    }

    fileprivate func note(_ record: @autoclosure () -> JournalRecord) { if isStepping { write(record()) } }

    private func write(_ record: JournalRecord) {
        guard !isOver else { return }
        JournalFrame.frame(record, in: &writer)
        if bytesWritten + writer.bytes.count + JournalFrame.endBytes > bytesMax {
            finish(.full)
            return onEnd("the journal has reached its bound of \(bytesMax) bytes: what follows is not recorded")
        }
        put(writer.bytes)
    }

    private func put(_ bytes: Bytes) {
        if let reason = bytes.withUnsafeBytes({ sink.append($0) }) {
            finish(.failed)
            return onEnd("the journal cannot be written: \(reason). What follows is not recorded")
        }
        bytesWritten += bytes.count
    }

    private func finish(_ end: JournalEnd) {
        isOver = true
        JournalFrame.frame(.end(end), in: &writer)
        invariant(writer.bytes.count <= JournalFrame.endBytes, "a last record of \(writer.bytes.count) bytes")
        _ = writer.bytes.withUnsafeBytes { sink.append($0) }
        sink.close()
        writer = JournalWriter()
    }
}

private struct RecordingDisk: DiskReader {
    let disk: any DiskReader
    let recorder: Recorder

    func list(_ prefix: FileName) throws(DiskError) -> [FileName] {
        try answered(.list(prefix), { names in .names(names) }) { () throws(DiskError) in try disk.list(prefix) }
    }
    func size(_ file: FileName) throws(DiskError) -> Int {
        try answered(.size(file), { size in .size(size) }) { () throws(DiskError) in try disk.size(file) }
    }
    func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        try answered(.read(file, at: offset, count: count), { bytes in .bytes(bytes) }) { () throws(DiskError) in
            try disk.read(file, at: offset, count: count)
        }
    }

    private func answered<T>(
        _ question: DiskQuestion, _ answer: (T) -> DiskAnswer, _ ask: () throws(DiskError) -> T
    ) throws(DiskError) -> T {
        do throws(DiskError) {
            let found = try ask()
            recorder.note(.read(question, answer(found)))
            return found
        } catch {
            recorder.note(.read(question, .failed(error)))
            throw error
        }
    }
}

private struct RecordingSigner: MessageSigner {
    let signer: any MessageSigner
    let recorder: Recorder
    var attachedKey: Bytes? { signer.attachedKey }

    func sign(_ message: Bytes) -> Bytes {
        let signature = signer.sign(message)
        recorder.note(.signature(mix(message, seed: 0), signature))
        return signature
    }
    func verify(_ message: Bytes, signature: Bytes, author: PeerID, key: Bytes?) -> Bool {
        let isGood = signer.verify(message, signature: signature, author: author, key: key)
        recorder.note(.verdict(judged(message, signature, author, key), isGood))
        return isGood
    }
}

/// All that a verdict rests on.
func judged(_ message: Bytes, _ signature: Bytes, _ author: PeerID, _ key: Bytes?) -> Mixed {
    var writer = JournalWriter()
    writer.put(message)
    writer.put(signature)
    writer.put(author)
    writer.put(key)
    return mix(writer.bytes, seed: 0)
}
