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
        if command.readsPins, let unread = start.unreadPinset { throw CommandFailure("reading the state", unread) }
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
        let pieces = Ahead { try input.next() }
        do {
            var count = 0
            while let piece = try pieces.next() {
                if !piece.stored.isEmpty { try state.pin(changed(piece.stored, change)) }
                for pin in piece.pins {
                    var pin = pin
                    change?(&pin)
                    try state.write([.put(key: pin.cid.stateKey, value: pin.protobuf)])
                }
                let before = count
                count += piece.stored.count + piece.pins.count
                if count / 1_000_000 > before / 1_000_000 { log("service", "\(count) pins imported") }
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
        log("service", "initiating CDRT-DAG DOT file export. Export might take a long time on large graphs")
        try doing("drawing the DAG") {
            try state.replica.draw { try output.line($0) }
            try output.end()
        }
        log("service", "dot file ")
    }

    private func mark(dirty: Bool) throws(CommandFailure) {
        let state = try open(settings)
        try doing("marking the datastore") { try state.mark(dirty: dirty) }
        world.printOut("Datastore marked '\(dirty ? "dirty" : "clean")'\n")
    }
}

/// Pins of a file or of standard input, some at a time. CLI-073.
private final class PinInput {
    /// Longer lines are not looked for: they are read as documents, which know a limit.
    private static let lineBytesMax = 1 << 20

    /// Appends what comes next; nothing at the end.
    private let read: (inout Bytes) throws -> Void
    private var documents = JSONDocuments(bytesMax: 16 << 20)
    private var isAtEnd = false
    private var reader = PinJSONReader()
    /// Read, and not taken yet, from there on.
    private var rest: Bytes = []
    private var start = 0

    init(_ file: String?, _ world: ServiceWorld) throws(ConfigurationError) {
        guard let file else {
            world.printOut("reading from stdin, Ctrl-D to finish\n")
            read = { bytes in
                guard let line = world.readLine() else { return }
                bytes += line.utf8
                bytes.append(0x0a)
            }
            return
        }
        let stream = try FileStream(file, "r")
        read = { try stream.read(&$0) }
    }

    /// Pins as they are stored, then those whose CIDs are too long for that, if there are any. Nil at the end.
    func next() throws -> (stored: StoredPins, pins: [Pin])? {
        guard !isAtEnd else { return nil }
        var stored = StoredPins()
        while stored.bytesCount < 4 << 20 {
            if let other = takePlainLines(&stored) {
                start = other.upperBound
                let pins = try take(Bytes(rest[other]), &stored)
                if !pins.isEmpty { return (stored, pins) }
                continue
            }
            rest.removeSubrange(..<start)
            start = 0
            let count = rest.count
            try read(&rest)
            guard rest.count > count else {
                isAtEnd = true
                let pins = try take(rest, &stored)
                if !documents.isWhole { throw ConfigurationError("unexpected EOF") }
                return (stored, pins)
            }
        }
        return (stored, [])
    }

    /// Takes pins of any form. Those that are left.
    private func take(_ text: Bytes, _ stored: inout StoredPins) throws -> [Pin] {
        let pins = try documents.push(text).map { try Pin(json: $0) }
        let count = pins.firstIndex { $0.cid.bytes.count > 0x7f } ?? pins.count
        for pin in pins[..<count] { stored.append(pin) }
        return Array(pins[count...])
    }

    /// Takes lines as we write them. Where the next is another one; nil where more must be read before it is known.
    private func takePlainLines(_ stored: inout StoredPins) -> Range<Int>? {
        rest.withUnsafeBytes { all in
            guard let base = all.baseAddress else { return nil }
            while start < all.count {
                guard let found = memchr(base + start, 0x0a, all.count - start) else {
                    return all.count - start > PinInput.lineBytesMax ? start..<all.count : nil
                }
                let end = UnsafeRawPointer(found) - base
                let line = UnsafeRawBufferPointer(rebasing: all[start..<end])
                guard documents.isWhole, reader.append(line, to: &stored) else { return start..<end + 1 }
                start = end + 1
            }
            return nil
        }
    }
}

/// Has one thing after another made on another thread, each while the one before is used.
private final class Ahead<Made>: @unchecked Sendable {
    private let make: () throws -> Made?
    private let queue = DispatchQueue(label: "ahead")
    private let isMade = DispatchSemaphore(value: 0)
    /// The queue's until it is made, then the caller's until the next is begun.
    private var made: Result<Made?, any Error> = .success(nil)

    init(_ make: @escaping () throws -> Made?) {
        self.make = make
        begin()
    }

    private func begin() {
        queue.async { [self] in
            made = Result { try make() }
            isMade.signal()
        }
    }

    /// Not to be asked again after nil or an error.
    func next() throws -> Made? {
        isMade.wait()
        let result = made
        made = .success(nil)
        if case .success(.some) = result { begin() }
        return try result.get()
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

    /// Appends what comes next; nothing at the end.
    func read(_ bytes: inout Bytes) throws(ConfigurationError) {
        guard let file else { return }
        bytes.append(room: 1 << 20) { fread($0, 1, 1 << 20, file) }
        if ferror(file) != 0 { throw failure("read") }
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
