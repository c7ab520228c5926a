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
            try importPins(from: file) { pin in
                if min > 0 { pin.options.replicationFactorMin = min }
                if max > 0 { pin.options.replicationFactorMax = max }
                if !allocations.isEmpty { pin.allocations = allocations }
            }
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
            try state.replica.each { key, value in
                guard let cid = CID(stateKey: key), let pin = try? Pin(protobuf: value, cid: cid) else { return }
                try output.line(pin.json.encoded())
            }
            try output.end()
        }
        log("service", "state successfully exported")
    }

    /// The new state grows beside the old one, which it replaces when it is whole: a bad file changes nothing.
    private func importPins(from file: String?, change: (inout Pin) -> Void) throws(CommandFailure) {
        let input = try doing("reading import file") { try PinInput(file, world) }
        var settings = settings
        settings.folder += ".import"
        try doing("removing what an earlier import has left") { try OfflineReplica.remove(settings.folder, in: folder) }
        let state = try open(settings)
        do {
            while let pins = try input.next() {
                try state.write(pins.map { pin in
                    var pin = pin
                    change(&pin)
                    return .put(key: pin.cid.stateKey, value: pin.protobuf)
                })
            }
            log("crdt", "cleaning all CRDT data from datastore")
            try OfflineReplica.replace(self.settings.folder, by: settings.folder, in: folder)
        } catch {
            try? OfflineReplica.remove(settings.folder, in: folder)
            throw CommandFailure("importing state", "\(error)")
        }
        log("service", "state successfully imported.  Make sure all peers have consistent states")
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

    init(_ file: String?, _ world: ServiceWorld) throws(ConfigurationError) {
        guard let file else {
            world.printOut("reading from stdin, Ctrl-D to finish\n")
            readPiece = { world.readLine().map { Bytes($0.utf8) + [0x0a] } ?? [] }
            return
        }
        let stream = try FileStream(file, "r")
        readPiece = { try stream.read() }
    }

    /// Nil at the end.
    func next() throws -> [Pin]? {
        guard !isAtEnd else { return nil }
        var pins: [Pin] = []
        while pins.count < 1000 {
            let piece = try readPiece()
            isAtEnd = piece.isEmpty
            if isAtEnd && !documents.isWhole { throw ConfigurationError("unexpected EOF") }
            for document in try documents.push(piece) { pins.append(try Pin(json: document)) }
            if isAtEnd { break }
        }
        return pins
    }
}

/// Lines for a file, or for standard output.
private final class LineOutput {
    private let world: ServiceWorld
    private let stream: FileStream?
    private var text = ""

    /// The file is made at once.
    init(_ file: String?, _ world: ServiceWorld) throws(CommandFailure) {
        self.world = world
        stream = try file.map { file throws(CommandFailure) in try doing("creating output file") { try FileStream(file, "w") } }
    }

    func line(_ line: String) throws {
        text += line + "\n"
        if text.utf8.count > 1 << 16 { try flush() }
    }

    func end() throws {
        try flush()
        try stream?.close()
    }

    private func flush() throws {
        defer { text = "" }
        guard let stream else { return world.printOut(text) }
        try stream.write(Bytes(text.utf8))
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
