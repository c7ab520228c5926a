// `state`: what can be done with the pinset of a peer that does not run. spec/cli.md CLI-071..081.

import Cluster
import CommandLine
import Configuration
import Encoding
import Foundation
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RealNet
import Seams
import Storage

extension StateOptions {
    /// Runs the command under the folder's lock. The exit code.
    package func run(in world: ServiceWorld) throws(CommandFailure) -> Int32 {
        let daemon = DaemonOptions(
            folder: folder, environment: environment, logLevels: logLevels, bootstrap: [], trustsBootstrapPeers: false,
            leavesOnShutdown: false, enablesStats: false, enablesTracing: false)
        let start = try daemon.start(in: world)
        defer { withExtendedLifetime(start.lock) {} }
        guard start.consensus == .crdt else {
            throw CommandFailure("creating state manager", "this version knows crdt states only, and the configuration says raft")
        }
        return try StateRun(world: world, options: self, settings: start.settings.replica).run()
    }
}

private struct StateRun {
    let world: ServiceWorld
    let options: StateOptions
    let settings: ReplicaSettings
    private var folder: String { options.folder.path }

    func run() throws(CommandFailure) -> Int32 {
        switch options.command {
        case .export(let file): try export(to: file)
        case .importing(let file, let force, let min, let max, let allocations):
            guard force || confirms("The pinset (state) of this peer will be replaced. Continue? [y/n]:", world) else { return 0 }
            let changes = min > 0 || max > 0 || !allocations.isEmpty
            try importPins(from: file, change: !changes ? nil : { pin in
                if min > 0 { pin.options.replicationFactorMin = min }
                if max > 0 { pin.options.replicationFactorMax = max }
                if !allocations.isEmpty { pin.allocations = allocations }
            })
        case .cleanup(let force):
            guard force || confirms("The peer state will be removed.  Existing pins may be lost. Continue? [y/n]:", world) else { return 0 }
            try clean()
        case .crdtInfo: try printInfo()
        case .crdtDot(let file): try draw(to: file)
        case .crdtMarkDirty: try mark(dirty: true)
        case .crdtMarkClean: try mark(dirty: false)
        }
        return 0
    }

    private func log(_ component: String, _ message: String) {
        world.log(LogLine(.info, component, message), options.logLevels)
    }

    private func open(_ settings: ReplicaSettings) throws(CommandFailure) -> OfflineReplica {
        try doing("opening the state") {
            try OfflineReplica(dataFolder: folder, settings: settings) { world.log($0, options.logLevels) }
        }
    }

    // MARK: Pins out and in

    /// What a running peer had accepted counts, even if it had no time to put it into the state.
    private func export(to file: String?) throws(CommandFailure) {
        let output = try LineOutput(file, world)
        let state = try open(settings)
        try doing("exporting state") {
            try state.commitAccepted()
            var writer = PinJSONWriter()
            var damages: [LogDamage] = []
            var cursor: LogAddress?
            repeat {
                cursor = try state.replica.scan(from: cursor, bytes: 1 << 20, damages: &damages) { item in
                    if item.isDerived, writer.append(item.value, to: &output.bytes) {
                        output.bytes.append(UInt8(ascii: "\n"))
                    } else if let cid = CID(stateKey: item.key), let pin = try? Pin(protobuf: item.value, cid: cid) {
                        try output.line(pin.json.encoded())
                    }
                }
                if let damage = damages.first { throw LogError.damaged(damage) }
                try output.flushIfLarge()
            } while cursor != nil
            try output.end()
        }
        log("service", "state successfully exported")
    }

    /// The new state grows beside the old one, which it replaces when it is whole: a bad file changes nothing.
    private func importPins(from file: String?, change: ((inout Pin) -> Void)?) throws(CommandFailure) {
        let input = try doing("reading import file") { try PinInput(file, world) }
        var settings = settings
        settings.folder += ".import"
        try doing("removing what an earlier import has left") { try OfflineReplica.remove(settings.folder, in: folder) }
        let state = try open(settings)
        do {
            while let piece = try input.next() {
                if !piece.stored.isEmpty { try state.pin(changed(piece.stored, change)) }
                for pin in piece.pins {
                    var pin = pin
                    change?(&pin)
                    try state.write([.put(key: pin.cid.stateKey, value: pin.protobuf)])
                }
            }
            log("crdt", "cleaning all CRDT data from datastore")
            try OfflineReplica.replace(self.settings.folder, by: settings.folder, in: folder)
        } catch {
            try? OfflineReplica.remove(settings.folder, in: folder)
            throw CommandFailure("importing state", "\(error)")
        }
        log("service", "state successfully imported.  Make sure all peers have consistent states")
    }

    private func changed(_ pins: StoredPins, _ change: ((inout Pin) -> Void)?) -> StoredPins {
        guard let change else { return pins }
        var out = StoredPins()
        for var pin in pins.pins {
            change(&pin)
            out.append(pin)
        }
        return out
    }

    private func clean() throws(CommandFailure) {
        log("crdt", "cleaning all CRDT data from datastore")
        try doing("cleaning state") { try OfflineReplica.discard(settings.folder, in: folder) }
        log("service", "data correctly cleaned up")
    }

    // MARK: The store

    private func printInfo() throws(CommandFailure) {
        let replica = try open(settings).replica
        let heads = replica.heads
        world.printOut(
            "Number of heads: \(heads.count). Current max-height: \(heads.map(\.height).max() ?? 0). Dirty: \(replica.isDirty)\n"
                + "Heads: [\(heads.map(\.cid.description).joined(separator: " "))]")
    }

    private func draw(to file: String?) throws(CommandFailure) {
        let output = try LineOutput(file, world)
        let state = try open(settings)
        log("service", "drawing the DAG; this takes long if it is large")
        try doing("drawing the DAG") {
            try state.replica.draw { try output.line($0) }
            try output.end()
        }
    }

    private func mark(dirty: Bool) throws(CommandFailure) {
        let state = try open(settings)
        try doing("marking the datastore") { try state.mark(dirty: dirty) }
        world.printOut("Datastore marked '\(dirty ? "dirty" : "clean")'\n")
    }
}

/// Pins of a file or of standard input, some at a time. CLI-073.
private final class PinInput {
    private let readPiece: () throws -> Bytes
    private var documents = JSONDocuments(bytesMax: 16 << 20)
    private var isAtEnd = false
    private var reader = PinJSONReader()
    /// Read, and not taken yet, from there on.
    private var rest: Bytes = []
    private var start = 0

    init(_ file: String?, _ world: ServiceWorld) throws(ConfigurationError) {
        guard let file else {
            world.printOut("reading from stdin, Ctrl-D to finish\n")
            readPiece = { world.readLine().map { Bytes($0.utf8) + [0x0a] } ?? [] }
            return
        }
        let stream = try FileStream(file, "r")
        readPiece = { try stream.read() }
    }

    /// Those in the form of an export as they are stored, then one of another form if there is any. Nil at the end.
    func next() throws -> (stored: StoredPins, pins: [Pin])? {
        guard !isAtEnd else { return nil }
        var stored = StoredPins()
        while stored.bytesCount < 4 << 20 {
            while let end = rest[start...].firstIndex(of: 0x0a) {
                let line = start..<end + 1
                start = end + 1
                let isPlain = documents.isWhole && rest.withUnsafeBytes {
                    reader.append(UnsafeRawBufferPointer(rebasing: $0[line.lowerBound..<end]), to: &stored)
                }
                if isPlain { continue }
                let pins = try documents.push(Bytes(rest[line])).map { try Pin(json: $0) }
                if !pins.isEmpty { return (stored, pins) }
            }
            rest.removeSubrange(..<start)
            start = 0
            let piece = try readPiece()
            guard !piece.isEmpty else {
                isAtEnd = true
                let pins = try documents.push(rest).map { try Pin(json: $0) }
                if !documents.isWhole { throw ConfigurationError("unexpected EOF") }
                return (stored, pins)
            }
            rest += piece
        }
        return (stored, [])
    }
}

/// Lines for a file, or for standard output.
private final class LineOutput {
    private let world: ServiceWorld
    private let stream: FileStream?
    /// What waits to be written.
    var bytes: Bytes = []

    /// The file is made at once.
    init(_ file: String?, _ world: ServiceWorld) throws(CommandFailure) {
        self.world = world
        stream = try file.map { file throws(CommandFailure) in try doing("creating output file") { try FileStream(file, "w") } }
    }

    func line(_ line: String) throws {
        bytes += line.utf8
        bytes.append(UInt8(ascii: "\n"))
        try flushIfLarge()
    }
    func flushIfLarge() throws { if bytes.count > 1 << 16 { try flush() } }

    func end() throws {
        try flush()
        try stream?.close()
    }

    private func flush() throws {
        defer { bytes.removeAll(keepingCapacity: true) }
        guard let stream else { return world.printOut(String(decoding: bytes, as: UTF8.self)) }
        try stream.write(bytes)
    }
}

/// A file with Go's words for what fails.
private final class FileStream {
    private let path: String
    private var file: UnsafeMutablePointer<FILE>?

    init(_ path: String, _ mode: String) throws(ConfigurationError) {
        self.path = path
        file = fopen(path, mode)
        if file == nil { throw failure("open") }
    }
    deinit { if let file { fclose(file) } }

    private func failure(_ what: String) -> ConfigurationError { ConfigurationError("\(what) \(path): \(Machine.errorText(errno))") }

    /// Empty at the end.
    func read() throws(ConfigurationError) -> Bytes {
        guard let file else { return [] }
        var bytes = Bytes(repeating: 0, count: 1 << 16)
        let count = fread(&bytes, 1, bytes.count, file)
        if count == 0 && ferror(file) != 0 { throw failure("read") }
        return Bytes(bytes.prefix(count))
    }

    func write(_ bytes: Bytes) throws(ConfigurationError) {
        guard let file, fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw failure("write") }
    }

    func close() throws(ConfigurationError) {
        guard let open = file else { return }
        file = nil
        if fclose(open) != 0 { throw failure("close") }
    }
}
