// Runs the peer's long work on threads of its own, slice by slice. Lookups have one to themselves: somebody waits for them.

import Glibc
import Kernel
import Seams
import Storage

package final class JobThread: @unchecked Sendable {
    private struct Running {
        var job: Job
        let disk: JobDisk
        let onEnd: @Sendable (JobOutcome) -> Void
    }
    private let root: String
    private let worker = Worker()
    private let lookups = Worker()
    /// Touched on the worker's thread alone.
    private var running: [Running] = []

    package init(root: String) {
        self.root = root
        // A niceness is that of one thread here: whoever waits for the loop comes first.
        worker.run { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 3) }
    }

    /// `onEnd` is called on the job's thread.
    package func run(_ job: Job, onEnd: @escaping @Sendable (JobOutcome) -> Void) {
        if job.isLookup { return lookups.run { [root] in onEnd(JobThread.finish(job, root: root)) } }
        worker.run { [self] in
            running.append(Running(job: job, disk: JobDisk(root: root), onEnd: onEnd))
            worker.run { [self] in slice() }
        }
    }

    private func slice() {
        guard !running.isEmpty else { return }
        let index = running.firstIndex { $0.job.isUrgent } ?? 0
        guard let outcome = JobThread.advance(&running[index].job, on: running[index].disk) else {
            return worker.run { [self] in slice() }
        }
        let ended = running.remove(at: index)
        ended.disk.close()
        if case .done(let run) = outcome { run.withFilterMemory(JobThread.useLargePages) }
        ended.onEnd(outcome)
        if !running.isEmpty { worker.run { [self] in slice() } }
    }

    /// A question goes anywhere in a filter: with large pages it misses once, and not once more for the page table. Where the system
    /// has none, nothing changes.
    private static func useLargePages(_ memory: UnsafeRawBufferPointer) {
        let (page, collapse): (UInt, Int32) = (2 << 20, 25)  // MADV_COLLAPSE, Linux 6.1
        guard let base = memory.baseAddress, case let start = (UInt(bitPattern: base) + page - 1) & ~(page - 1),
            case let end = (UInt(bitPattern: base) + UInt(memory.count)) & ~(page - 1), end > start,
            let first = UnsafeMutableRawPointer(bitPattern: start)
        else { return }
        if madvise(first, Int(end - start), MADV_HUGEPAGE) == 0 { _ = madvise(first, Int(end - start), collapse) }
    }

    private static func advance(_ job: inout Job, on disk: JobDisk) -> JobOutcome? {
        do throws(LogError) {
            var effects: [DiskEffect] = []
            if let outcome = try job.advance(reader: disk, effects: &effects) { return outcome }
            do throws(DiskError) { for effect in effects { try disk.carryOut(effect) } } catch { throw .disk(error) }
            return nil
        } catch { return .failed(error) }
    }

    /// All of it at once, on the caller's thread.
    package static func finish(_ job: Job, root: String) -> JobOutcome {
        var job = job
        let disk = JobDisk(root: root)
        defer { disk.close() }
        while true { if let outcome = advance(&job, on: disk) { return outcome } }
    }
}

/// The files of one job, or of one look at them: what it does has happened when the call returns.
final class JobDisk: DiskReader, @unchecked Sendable {
    private let root: String
    private var files: [FileName: (descriptor: Int32, size: Int)] = [:]

    init(root: String) { self.root = root }

    func close() {
        for (_, file) in files { Glibc.close(file.descriptor) }
        files = [:]
    }

    private func opened(_ name: FileName, creating: Bool) throws(DiskError) -> (descriptor: Int32, size: Int) {
        if let file = files[name] { return file }
        let descriptor = open("\(root)/\(name)", O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0), 0o600)
        guard descriptor >= 0 else { throw FileDisk.error(name, errno, "open") }
        var about = stat()
        fstat(descriptor, &about)
        files[name] = (descriptor, Int(about.st_size))
        return (descriptor, Int(about.st_size))
    }

    func list(_ prefix: FileName) throws(DiskError) -> [FileName] { try FileDisk.list(prefix, below: root) }
    func size(_ file: FileName) throws(DiskError) -> Int { try opened(file, creating: false).size }
    func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        let found = try opened(file, creating: false)
        return try FileDisk.read(found.descriptor, file, found.size, confirmed: found.size, at: offset, count: count)
    }

    func carryOut(_ effect: DiskEffect) throws(DiskError) {
        switch effect {
        case .append(let name, let bytes):
            let file = try opened(name, creating: true)
            try FileDisk.write(bytes, to: file.descriptor, at: file.size, name)
            files[name]?.size = file.size + bytes.count
        case .sync(let name, _):
            let file = try opened(name, creating: false)
            guard fdatasync(file.descriptor) == 0 else { throw FileDisk.error(name, errno, "sync") }
            let code = FileDisk.syncFolder(FileDisk.folder(of: name, below: root))
            guard code == 0 else { throw FileDisk.error(name, code, "sync") }
        case .truncate, .rename, .remove: unreachable("a job only adds files")
        }
    }
}
