// The file of a journal. What is recorded is put into the file's pages, and is there when the process is killed the moment after:
// no buffer of the process is lost with it, and a step waits for no system call. The room is taken from the disk before it is written
// to, a window at a time, so that a full disk is an answer and not a signal.

import Glibc
import Journal
import Kernel

package struct JournalPlace: Sendable, Equatable {
    package var path: String
    /// Of all journals of that name together.
    package var bytesMax: Int
    package init(path: String, bytesMax: Int) { (self.path, self.bytesMax) = (path, bytesMax) }
}

package struct JournalFileError: Error, CustomStringConvertible {
    package let description: String
}

package final class JournalFile: JournalSink {
    private let descriptor: Int32
    private var window: UnsafeMutableRawBufferPointer?
    /// Where the window begins in the file, and how much of it is written.
    private var start = 0
    private var used = 0
    /// So much of the file has its place on the disk.
    private var taken = 0
    private let bytesMax: Int
    private static let windowBytes = 4 << 20

    /// Nobody will append more than `bytesMax`.
    package init(path: String, bytesMax: Int) throws(JournalFileError) {
        self.bytesMax = bytesMax
        descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw JournalFileError(description: "\(path): \(Machine.errorText(errno))") }
    }
    deinit { close() }

    private var isClosed = false

    package func append(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard !isClosed else { return "it is closed" }
        if let reason = take(bytes.count) { return reason }
        var rest = bytes
        while let from = rest.baseAddress, !rest.isEmpty {
            if used == JournalFile.windowBytes || window == nil, let reason = advance() { return reason }
            guard let to = window?.baseAddress else { return "no window" }
            let count = min(rest.count, JournalFile.windowBytes - used)
            (to + used).copyMemory(from: from, byteCount: count)
            used += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        return nil
    }

    /// Room for so many bytes, and for the last record after them. The last record itself finds its room taken.
    private func take(_ count: Int) -> String? {
        let end = start + used + count
        let needed = end + JournalFrame.endBytes
        guard needed > taken else { return nil }
        let windows = (needed + JournalFile.windowBytes - 1) / JournalFile.windowBytes
        let wanted = max(needed, min(windows * JournalFile.windowBytes, bytesMax))
        let code = posix_fallocate(descriptor, off_t(taken), off_t(wanted - taken))
        guard code == 0 else { return end <= taken && count <= JournalFrame.endBytes ? nil : Machine.errorText(code) }
        taken = wanted
        return nil
    }

    private func advance() -> String? {
        if let window {
            munmap(window.baseAddress, window.count)
            start += JournalFile.windowBytes
        }
        (window, used) = (nil, 0)
        let found = mmap(nil, JournalFile.windowBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, off_t(start))
        guard let found, found != MAP_FAILED else { return Machine.errorText(errno) }
        window = UnsafeMutableRawBufferPointer(start: found, count: JournalFile.windowBytes)
        return nil
    }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        if let window { munmap(window.baseAddress, window.count) }
        window = nil
        ftruncate(descriptor, off_t(start + used))
        Glibc.close(descriptor)
    }
}

extension JournalPlace {
    /// A life each has a file of its own: none is written over, and together they keep to the bound. Nil where that is reached.
    package func recorder(_ note: (String) -> Void) throws(JournalFileError) -> Recorder? {
        var left = bytesMax
        var name = path
        var number = 1
        var about = stat()
        while stat(name, &about) == 0 {
            left -= Int(about.st_size)
            number += 1
            name = "\(path).\(number)"
        }
        guard left >= JournalPlace.bytesMin else {
            note("the journals at \(path) have reached their bound of \(bytesMax) bytes together: this run is not recorded. Move them away")
            return nil
        }
        let recorder = Recorder(sink: try JournalFile(path: name, bytesMax: left), bytesMax: left)
        note("what this peer hears is recorded in \(name), up to \(left) bytes. It holds content and names, and no keys")
        return recorder
    }

    package static let bytesMin = 64 << 10
}
