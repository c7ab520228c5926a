// Files below one folder. What is written is written, and synced, in order on a thread of its own: the loop waits for no disk. It
// reads only what a sync has confirmed, or what was there when it started.

import Dispatch
import Glibc
import Kernel
import Seams

package final class FileDisk: DiskReader, @unchecked Sendable {
    private struct File {
        let descriptor: Int32
        var size: Int
        let written: Written
        var isEntrySynced: Bool
        /// So many bytes have been synced, or were there when it was opened. What is behind may not be written yet.
        var confirmed = 0
    }
    /// What has become of a file's appends. Touched on the worker's thread alone.
    private final class Written: @unchecked Sendable {
        /// An append failed: nothing may follow the hole until the file is cut (see DiskEffect).
        var failure: DiskError?
        init(_ failure: DiskError? = nil) { self.failure = failure }
    }
    private let root: String
    private let loop: EventLoop
    private let worker = Worker()
    private var files: [FileName: File] = [:]
    /// Who hears that a sync has ended.
    package var onEvent: ((DiskEvent) -> Void)?

    /// The folder is made if it is missing.
    package init(root: String, loop: EventLoop) throws(DiskError) {
        self.root = root
        self.loop = loop
        try FileDisk.makeFolder(root)
    }

    private static func makeFolder(_ path: String) throws(DiskError) {
        var made = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            made += made.isEmpty || made.hasSuffix("/") ? String(part) : "/\(part)"
            guard mkdir(made, 0o700) == 0 || errno == EEXIST else {
                throw .failed(made, reason: "cannot create the folder: \(Machine.errorText(errno))")
            }
        }
    }

    private func path(_ file: FileName) -> String { "\(root)/\(file)" }
    private func folder(_ file: FileName) -> String { FileDisk.folder(of: file, below: root) }
    static func folder(of file: FileName, below root: String) -> String {
        file.lastIndex(of: "/").map { "\(root)/\(file[..<$0])" } ?? root
    }

    static func error(_ file: FileName, _ code: Int32, _ what: String) -> DiskError {
        switch code {
        case ENOENT: .notFound(file)
        case ENOSPC, EDQUOT: .full(file)
        default: .failed(file, reason: "\(what): \(Machine.errorText(code))")
        }
    }

    // MARK: Reading

    package func list(_ prefix: FileName) throws(DiskError) -> [FileName] { try FileDisk.list(prefix, below: root) }
    static func list(_ prefix: FileName, below root: String) throws(DiskError) -> [FileName] {
        var found: [FileName] = []
        try collect("", root, prefix, &found)
        return found.sorted()
    }

    private static func collect(_ below: FileName, _ root: String, _ prefix: FileName, _ found: inout [FileName]) throws(DiskError) {
        guard let folder = opendir(below.isEmpty ? root : "\(root)/\(below)") else { throw FileDisk.error(below, errno, "open") }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name != ".", name != ".." else { continue }
            let file = below.isEmpty ? name : "\(below)/\(name)"
            if entry.pointee.d_type == UInt8(DT_DIR) {
                if prefix.hasPrefix(file + "/") || file.hasPrefix(prefix) { try collect(file, root, prefix, &found) }
            } else if file.hasPrefix(prefix) {
                found.append(file)
            }
        }
    }

    package func size(_ file: FileName) throws(DiskError) -> Int { try opened(file, creating: false).size }

    package func read(_ file: FileName, at offset: Int, count: Int) throws(DiskError) -> Bytes {
        let found = try opened(file, creating: false)
        return try FileDisk.read(found.descriptor, file, found.size, confirmed: found.confirmed, at: offset, count: count)
    }

    /// Fewer bytes than there will be, if the rest is not written yet.
    static func read(
        _ descriptor: Int32, _ file: FileName, _ size: Int, confirmed: Int, at offset: Int, count: Int
    ) throws(DiskError) -> Bytes {
        let start = min(max(0, offset), size)
        let wanted = max(0, min(count, size - start))
        var code: Int32 = 0
        let bytes = Bytes(unsafeUninitializedCapacity: wanted) { buffer, done in
            while done < wanted {
                let count = pread(descriptor, buffer.baseAddress! + done, wanted - done, off_t(start + done))
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else {
                    code = count < 0 ? errno : start + done < confirmed ? -1 : 0
                    return
                }
                done += count
            }
        }
        guard code == 0 else {
            throw .failed(file, reason: code == -1 ? "the file is shorter than it was" : "read: \(Machine.errorText(code))")
        }
        return bytes
    }

    static func write(_ bytes: Bytes, to descriptor: Int32, at offset: Int, _ name: FileName) throws(DiskError) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress! + done, $0.count - done, off_t(offset + done)) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw FileDisk.error(name, errno, "write") }
            done += count
        }
    }

    private func opened(_ name: FileName, creating: Bool) throws(DiskError) -> File {
        if let file = files[name] { return file }
        if creating { try FileDisk.makeFolder(folder(name)) }
        let existed = access(path(name), F_OK) == 0
        let descriptor = open(path(name), O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0), 0o600)
        guard descriptor >= 0 else { throw FileDisk.error(name, errno, "open") }
        var about = stat()
        fstat(descriptor, &about)
        let file = File(descriptor: descriptor, size: Int(about.st_size), written: Written(), isEntrySynced: existed, confirmed: Int(about.st_size))
        files[name] = file
        return file
    }

    // MARK: Writing

    package func carryOut(_ effect: DiskEffect) {
        switch effect {
        case .append(let name, let bytes): append(name, bytes)
        case .sync(let name, let ticket): sync(name, ticket)
        case .truncate(let name, let count): truncate(name, count)
        case .rename(let name, let new):
            forget(name)
            forget(new)
            _ = Glibc.rename(path(name), path(new))
        case .remove(let name):
            forget(name)
            _ = unlink(path(name))
        }
    }

    private func forget(_ name: FileName) {
        guard let file = files.removeValue(forKey: name) else { return }
        let descriptor = file.descriptor
        worker.run { Glibc.close(descriptor) }  // after the syncs that use it
    }

    private func append(_ name: FileName, _ bytes: Bytes) {
        let file: File
        do { file = try opened(name, creating: true) } catch {
            // Remembered without a file, so that the sync that follows fails.
            files[name] = File(descriptor: -1, size: 0, written: Written(error), isEntrySynced: false)
            return
        }
        files[name]?.size = file.size + bytes.count
        worker.run {
            guard file.written.failure == nil else { return }
            do throws(DiskError) { try FileDisk.write(bytes, to: file.descriptor, at: file.size, name) } catch { file.written.failure = error }
        }
    }

    private func truncate(_ name: FileName, _ count: Int) {
        if files[name]?.descriptor == -1 { files[name] = nil }
        guard let file = try? opened(name, creating: false) else { return }
        files[name]?.size = min(file.size, count)
        files[name]?.confirmed = min(file.confirmed, count)
        worker.run {
            file.written.failure = nil
            if ftruncate(file.descriptor, off_t(count)) != 0 { file.written.failure = FileDisk.error(name, errno, "truncate") }
        }
    }

    private func sync(_ name: FileName, _ ticket: SyncTicket) {
        guard let file = try? opened(name, creating: false) else { return report(.syncFailed(ticket, .notFound(name))) }
        let folder = file.isEntrySynced ? nil : self.folder(name)
        files[name]?.isEntrySynced = true
        worker.run { [self] in
            var failure = file.written.failure
            if failure == nil, fdatasync(file.descriptor) != 0 { failure = FileDisk.error(name, errno, "sync") }
            if failure == nil, let folder, case let code = FileDisk.syncFolder(folder), code != 0 {
                failure = FileDisk.error(name, code, "sync")
            }
            let event: DiskEvent = failure.map { .syncFailed(ticket, $0) } ?? .synced(ticket)
            let isWritten = failure == nil
            loop.post { [self] in
                // A truncation since has its own say.
                if isWritten, let now = files[name], now.descriptor == file.descriptor { files[name]?.confirmed = min(file.size, now.size) }
                onEvent?(event)
            }
        }
    }

    /// Waits until all that was to be written is written, and synced.
    func drain() {
        let done = DispatchSemaphore(value: 0)
        worker.run { done.signal() }
        done.wait()
    }

    private func report(_ event: DiskEvent) { loop.later { [self] in onEvent?(event) } }

    static func syncFolder(_ folder: String) -> Int32 {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno }
        defer { Glibc.close(descriptor) }
        return fsync(descriptor) == 0 ? 0 : errno
    }
}
