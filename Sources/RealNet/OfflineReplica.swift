// The pinset of a peer that does not run: its replica on its files, without a network.

import CEvents
import Glibc
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage

package final class OfflineReplica: @unchecked Sendable {
    private let loop = EventLoop()
    private let disk: FileDisk
    private let dataFolder: String
    private let onLog: (LogLine) -> Void
    package private(set) var replica: Replica
    private var failure: (any Error)?
    private var lastOperation: UInt64 = 0

    package init(dataFolder: String, settings: ReplicaSettings, onLog: @escaping (LogLine) -> Void) throws {
        self.onLog = onLog
        self.dataFolder = dataFolder
        disk = try FileDisk(root: dataFolder, loop: loop)
        var choices = Choices(seed: 0)  // of use to those only who announce
        var settings = settings
        settings.tellsChanges = false
        var effects: [Replica.Effect] = []
        replica = try Replica(
            settings: settings, owner: 1, reader: disk, now: Machine.now, choices: &choices, effects: &effects)
        disk.onEvent = { [weak self] in self?.onDisk($0) }
        carryOut(effects)
        while !replica.isFoundDurable, failure == nil { loop.run() }
        while !replica.isOpen {
            var effects: [Replica.Effect] = []
            replica.onTime(now: Machine.now, choices: &choices, effects: &effects)
            carryOut(effects)
            if let failure { throw failure }
        }
    }

    /// Whether nothing has ever been put into a folder of logs. Changes nothing.
    package static func isEmpty(_ folder: String, in dataFolder: String) -> Bool {
        let disk = JobDisk(root: dataFolder)
        defer { disk.close() }
        return Replica.isEmpty(folder, reader: disk)
    }

    // MARK: Writing

    /// Returns when it is durable.
    package func write(_ changes: [Replica.BatchChange]) throws {
        lastOperation += 1
        let id = OperationID(lastOperation)
        try act { $0.write(changes, id, now: $1, effects: &$2) }
    }

    /// Returns when they are durable.
    package func pin(_ pins: StoredPins) throws {
        lastOperation += 1
        let id = OperationID(lastOperation)
        try act { $0.pin(pins, id, now: $1, effects: &$2) }
    }

    /// Puts operations that were accepted for a batch into the state. Nothing can be written after that.
    package func commitAccepted() throws {
        guard !replica.isFlushed else { return }
        try act { $0.flush(now: $1, effects: &$2) }
    }

    package func mark(dirty: Bool) throws { try act { replica, _, effects in replica.markDirty(dirty, &effects) } }

    private func act(_ body: (inout Replica, Now, inout [Replica.Effect]) -> Void) throws {
        var effects: [Replica.Effect] = []
        body(&replica, Machine.now, &effects)
        carryOut(effects)
        if !replica.isSettled && failure == nil { loop.run() }
        if let failure { throw failure }
    }

    private func onDisk(_ event: DiskEvent) {
        if case .syncFailed(_, let error) = event { failure = failure ?? ReplicaError.disk(error) }
        var effects: [Replica.Effect] = []
        replica.onDisk(event, now: Machine.now, effects: &effects)
        carryOut(effects)
        mergeAll()
        if replica.isSettled || failure != nil { loop.stop() }
    }

    /// Nobody else waits here.
    private func mergeAll() {
        var choices = Choices(seed: 1)
        while replica.isMerging, failure == nil {
            var effects: [Replica.Effect] = []
            replica.onTime(now: Machine.now, choices: &choices, effects: &effects)
            carryOut(effects)
        }
    }

    private func carryOut(_ effects: [Replica.Effect]) {
        for effect in effects {
            switch effect {
            case .disk(let effect): disk.carryOut(effect)
            case .job(let job):
                var effects: [Replica.Effect] = []
                replica.onJob(job.number, JobThread.finish(job, root: dataFolder), now: Machine.now, effects: &effects)
                carryOut(effects)
            case .finished(_, let error): failure = failure ?? error
            case .log(let line): onLog(line)
            case .want, .unwant, .fetch, .askForList, .behind, .announce, .changed, .merged, .news: break
            }
        }
    }

    // MARK: Replacing

    /// Puts one folder of the data folder in the place of another in one step, and removes what was there.
    package static func replace(_ folder: String, by new: String, in dataFolder: String) throws(DiskError) {
        let (target, source) = ("\(dataFolder)/\(folder)", "\(dataFolder)/\(new)")
        let exchange: UInt32 = 2  // RENAME_EXCHANGE
        if renameat2(AT_FDCWD, source, AT_FDCWD, target, exchange) != 0 {
            guard errno == ENOENT else { throw .failed(new, reason: "rename: \(Machine.errorText(errno))") }
            guard rename(source, target) == 0 else { throw .failed(new, reason: "rename: \(Machine.errorText(errno))") }
        }
        try sync(dataFolder)
        try remove(new, in: dataFolder)
    }

    /// A folder of logs is there, or it is gone: never a part of it.
    package static func discard(_ folder: String, in dataFolder: String) throws(DiskError) {
        let old = folder + ".old"
        try remove(old, in: dataFolder)
        guard rename("\(dataFolder)/\(folder)", "\(dataFolder)/\(old)") == 0 else {
            guard errno == ENOENT else { throw .failed(folder, reason: "rename: \(Machine.errorText(errno))") }
            return
        }
        try sync(dataFolder)
        try remove(old, in: dataFolder)
    }

    /// Removes a folder of logs, if it is there.
    package static func remove(_ folder: String, in dataFolder: String) throws(DiskError) {
        let path = "\(dataFolder)/\(folder)"
        guard let open = opendir(path) else {
            guard errno == ENOENT else { throw .failed(folder, reason: "open: \(Machine.errorText(errno))") }
            return
        }
        var names: [String] = []
        while let entry = readdir(open) {
            names.append(withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            })
        }
        closedir(open)
        for name in names where name != "." && name != ".." {
            guard unlink("\(path)/\(name)") == 0 else {
                throw .failed("\(folder)/\(name)", reason: "remove: \(Machine.errorText(errno))")
            }
        }
        guard rmdir(path) == 0 else { throw .failed(folder, reason: "remove: \(Machine.errorText(errno))") }
    }

    private static func sync(_ folder: String) throws(DiskError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0, fsync(descriptor) == 0 else { throw .failed(folder, reason: "sync: \(Machine.errorText(errno))") }
        close(descriptor)
    }
}
