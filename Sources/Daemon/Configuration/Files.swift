// Whole files, with upstream's modes and Go's words for what fails.

import Foundation
import Kernel

enum Files {
    private static func failure(_ operation: String, _ path: String) -> ConfigurationError {
        var words = String(cString: strerror(errno))
        if let first = words.first { words = first.lowercased() + words.dropFirst() }
        return ConfigurationError("\(operation) \(path): \(words)")
    }

    static func exists(_ path: String) -> Bool {
        var information = stat()
        return lstat(path, &information) == 0
    }

    /// When a folder or something in it was last written; nil where nothing is in it.
    static func lastWritten(in folder: String) -> Date? {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return files.isEmpty ? nil : (files + ["."]).compactMap {
            (try? FileManager.default.attributesOfItem(atPath: folder + "/" + $0))?[.modificationDate] as? Date
        }.max()
    }
    static func touch(_ path: String) { _ = utimes(path, nil) }

    static func read(_ path: String) throws(ConfigurationError) -> Bytes {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var out: Bytes = []
        var buffer = Bytes(repeating: 0, count: 1 << 16)
        while true {
            let count = Foundation.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { return out }
            out += buffer[..<count]
        }
    }

    /// Replaces the file in one step: whoever reads it sees the old one or the new one, also after a crash. `mode` is the
    /// mode of a new file, before the umask; a file that is there keeps its own.
    static func write(_ text: String, to path: String, mode: mode_t) throws(ConfigurationError) {
        let target = realpath(path, nil).map { pointer in
            defer { free(pointer) }
            return String(cString: pointer)
        } ?? path
        let temporary = "\(target).\(getpid()).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure("open", temporary) }
        do throws(ConfigurationError) {
            defer { close(descriptor) }
            var information = stat()
            if stat(target, &information) == 0 { _ = fchmod(descriptor, information.st_mode & 0o7777) }
            try writeAll(Bytes(text.utf8), descriptor, temporary)
            guard fsync(descriptor) == 0 else { throw failure("sync", temporary) }
        } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, target) == 0 else {
            let error = failure("rename", target)
            unlink(temporary)
            throw error
        }
        syncFolder(of: target)
    }

    private static func writeAll(_ bytes: Bytes, _ descriptor: Int32, _ path: String) throws(ConfigurationError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("write", path) }
            rest = rest.dropFirst(count)
        }
    }

    /// A rename is durable once its folder is synced. Some file systems cannot sync folders; then it is as durable as it gets.
    private static func syncFolder(of path: String) {
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        let descriptor = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    /// The folder and those above it, for this user only (CFG-230).
    static func makeFolder(_ path: String) throws(ConfigurationError) {
        var made = ""
        for part in path.split(separator: "/") {
            made += "/" + part
            if mkdir(made, 0o700) != 0 && errno != EEXIST { throw failure("mkdir", made) }
        }
        var information = stat()
        guard stat(path, &information) == 0, information.st_mode & S_IFMT == S_IFDIR else {
            errno = ENOTDIR
            throw failure("mkdir", path)
        }
    }
}

/// One process at a time works in a configuration folder. Upstream's peers see this lock and this one sees theirs (CLI-068..070).
package final class FolderLock {
    private let descriptor: Int32
    private let path: String

    package init(folder: String) throws(ConfigurationError) {
        path = folder + "/cluster.lock"
        while true {
            var information = stat()
            if lstat(path, &information) == 0 && information.st_size > 0 {
                throw ConfigurationError("cannot acquire lock: can't Lock file \(quoted(path)): has non-zero size")
            }
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
            guard descriptor >= 0 else {
                throw ConfigurationError("cannot acquire lock: open \(path): \(String(cString: strerror(errno)).lowercased())")
            }
            guard FolderLock.take(descriptor) else {
                close(descriptor)
                throw ConfigurationError("lock \(path): someone else has the lock")
            }
            if FolderLock.isStill(path, descriptor) {
                self.descriptor = descriptor
                return
            }
            close(descriptor)  // Its holder removed the file between our open and our lock.
        }
    }

    private static func take(_ descriptor: Int32) -> Bool {
        var request = flock()
        request.l_type = Int16(F_WRLCK)
        request.l_whence = Int16(SEEK_SET)
        #if os(Linux)
        // Locks of the open file: they meet those of other processes' fcntl, and hold within this one too.
        let command: Int32 = 37  // F_OFD_SETLK
        #else
        let command = F_SETLK
        #endif
        return fcntl(descriptor, command, &request) == 0
    }

    private static func isStill(_ path: String, _ descriptor: Int32) -> Bool {
        var named = stat()
        var opened = stat()
        return lstat(path, &named) == 0 && fstat(descriptor, &opened) == 0 && named.st_ino == opened.st_ino
            && named.st_dev == opened.st_dev
    }

    deinit {
        unlink(path)
        close(descriptor)
    }
}
