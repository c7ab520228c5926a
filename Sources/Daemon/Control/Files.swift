// The little that an add needs of the file system, with faults in Go's words.

import Foundation
import Kernel

enum Files {
    enum Kind: Equatable {
        case file
        case folder
        case link(target: EntryName)
    }

    /// Links are not followed.
    static func kind(of path: EntryName) throws -> Kind {
        var info = stat()
        guard lstat(path.cString, &info) == 0 else { throw fault("lstat", path.description) }
        switch info.st_mode & S_IFMT {
        case S_IFREG: return .file
        case S_IFDIR: return .folder
        case S_IFLNK:
            let target = Bytes(unsafeUninitializedCapacity: Int(PATH_MAX)) { buffer, count in
                count = buffer.withMemoryRebound(to: CChar.self) { max(0, readlink(path.cString, $0.baseAddress!, $0.count)) }
            }
            guard !target.isEmpty else { throw fault("readlink", path.description) }
            return .link(target: EntryName(target))
        default: throw ControlFault("unrecognized file type for \(path)")
        }
    }

    /// Sorted by their bytes.
    static func names(in folder: EntryName) throws -> [EntryName] {
        guard let handle = opendir(folder.cString) else { throw fault("open", folder.description) }
        defer { closedir(handle) }
        var names: [EntryName] = []
        errno = 0
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { EntryName(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw fault("readdirent", folder.description) }
        return names.sorted()
    }

    static func checkReadable(_ path: EntryName) throws {
        guard access(path.cString, R_OK) == 0 else { throw fault("open", path.description) }
    }

    /// The folder that the process works in, without links.
    static func currentFolder() throws -> String {
        guard let path = realpath(".", nil) else { throw fault("getwd", ".") }
        defer { free(path) }
        return String(cString: path)
    }

    static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw fault("open", path) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else {
                let failure = fault("write", path)
                close(descriptor)
                throw failure
            }
            rest.removeFirst(count)
        }
        guard close(descriptor) == 0 else { throw fault("close", path) }
    }

    /// Go's filepath.Clean.
    static func cleaned(_ path: String) -> String {
        let isRooted = path.hasPrefix("/")
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part != ".." || (!isRooted && (parts.isEmpty || parts.last == "..")) { parts.append(part) } else { _ = parts.popLast() }
        }
        let text = (isRooted ? "/" : "") + parts.joined(separator: "/")
        return text.isEmpty ? "." : text
    }

    /// As it stands there: `..` too is a name.
    static func lastName(_ path: EntryName) -> EntryName { path.bytes.split(separator: UInt8(ascii: "/")).last.map(EntryName.init) ?? "/" }

    static func fault(_ doing: String, _ path: String, _ number: Int32 = errno) -> ControlFault {
        let text = String(cString: strerror(number))
        return ControlFault("\(doing) \(path): \(text.prefix(1).lowercased())\(text.dropFirst())")
    }
}

extension EntryName {
    /// As the file system is asked for it.
    var cString: [CChar] { bytes.map(CChar.init(bitPattern:)) + [0] }
}
