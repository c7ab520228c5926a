// The body of an add: files, directories, links and web pages as one multipart form, read as it is sent. REST-098.

import Encoding
import Foundation
import Kernel

/// Used by one exchange, which calls `next` until it is nil.
final class Upload {
    let boundary: String
    /// What is still to be sent; the last is next.
    private var waiting: [Entry]
    private var current: (any ByteSource)?
    private var isFirst = true
    private var isClosed = false
    private let includesHidden: Bool

    enum Source {
        case path(EntryName)
        case web(WebURL, text: String)
    }
    struct Entry {
        /// The path that the server shall see, with slashes.
        let name: EntryName
        let source: Source
    }
    /// Opens a web page for reading.
    typealias Fetch = (WebURL) throws -> any ByteSource
    private let fetch: Fetch

    /// Looks at every path that the user named, so that what is wrong with one is told before anything is sent.
    init(
        paths: [String], isRecursive: Bool, includesHidden: Bool, isNoCopy: Bool, boundary: String, fetch: @escaping Fetch
    ) throws(ControlFailure) {
        self.boundary = boundary
        self.includesHidden = includesHidden
        self.fetch = fetch
        waiting = []
        for path in paths { waiting.append(try Upload.entry(path, isRecursive: isRecursive, isNoCopy: isNoCopy)) }
        waiting.reverse()
    }

    private static func entry(_ path: String, isRecursive: Bool, isNoCopy: Bool) throws(ControlFailure) -> Entry {
        if let url = WebURL(path) { return Entry(name: EntryName(url.name), source: .web(url, text: path)) }
        if isNoCopy { throw .local("", "nocopy option is only valid for URLs") }
        do {
            let path = EntryName(path == "." ? try Files.currentFolder() : Files.cleaned(path))
            switch try Files.kind(of: path) {
            case .folder where !isRecursive:
                throw ControlFault("\(path) is a directory, but Recursive option is not set")
            case .file: try Files.checkReadable(path)
            case .folder, .link: break
            }
            return Entry(name: Files.lastName(path), source: .path(path))
        } catch { throw .local("", "\(error)") }
    }

    /// The next piece, nil at the end.
    func next() throws -> Bytes? {
        while !isClosed {
            if let source = current {
                if let bytes = try source.next() { return bytes }
                current = nil
            }
            if let entry = waiting.popLast() { return try start(entry) }
            isClosed = true
            return Bytes("\(isFirst ? "" : "\r\n")--\(boundary)--\r\n".utf8)
        }
        return nil
    }

    private func start(_ entry: Entry) throws -> Bytes {
        switch entry.source {
        case .web(let url, let text):
            current = try fetch(url)
            // The server refers to the page by this (filestore); a local path is none of its business.
            return head(entry.name, "application/octet-stream", "Abspath-Encoded: \(URLText.queryEscaped(text))\r\n")
        case .path(let path):
            switch try Files.kind(of: path) {
            case .file:
                current = try FileSource(path)
                return head(entry.name, "application/octet-stream")
            case .link(let target): return head(entry.name, "application/symlink") + target.bytes
            case .folder:
                for child in try Files.names(in: path).reversed() where includesHidden || child.bytes.first != UInt8(ascii: ".") {
                    waiting.append(Entry(name: entry.name + "/" + child, source: .path(path + "/" + child)))
                }
                return head(entry.name, "application/x-directory")
            }
        }
    }

    private func head(_ name: EntryName, _ type: String, _ extra: String = "") -> Bytes {
        defer { isFirst = false }
        let disposition = "form-data; name=\"file\"; filename=\"\(URLText.queryEscaped(name.bytes))\""
        return Bytes(
            "\(isFirst ? "" : "\r\n")--\(boundary)\r\n\(extra)Content-Disposition: \(disposition)\r\nContent-Type: \(type)\r\n\r\n"
                .utf8)
    }
}

/// Bytes that come piece by piece.
protocol ByteSource: AnyObject {
    /// Nil at the end; never empty.
    func next() throws -> Bytes?
}

/// An open file.
final class FileSource: ByteSource {
    private static let pieceBytes = 1 << 18
    private let path: EntryName
    private let descriptor: Int32

    init(_ path: EntryName) throws {
        self.path = path
        descriptor = open(path.cString, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Files.fault("open", path.description) }
    }
    deinit { close(descriptor) }

    func next() throws -> Bytes? {
        while true {
            var failure: Int32 = 0
            let bytes = Bytes(unsafeUninitializedCapacity: FileSource.pieceBytes) { buffer, count in
                let read = read(descriptor, buffer.baseAddress, buffer.count)
                failure = read < 0 ? errno : 0
                count = max(0, read)
            }
            if failure == EINTR { continue }
            guard failure == 0 else { throw Files.fault("read", path.description, failure) }
            return bytes.isEmpty ? nil : bytes
        }
    }
}
