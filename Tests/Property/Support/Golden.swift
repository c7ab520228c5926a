// The recorded answers and vectors of upstream in Tests/Golden.

import Encoding
import Kernel

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

package enum Golden {
    /// The path of a file below Tests/Golden.
    package static func path(_ name: String, source: StaticString = #filePath) -> String {
        var parts = "\(source)".split(separator: "/", omittingEmptySubsequences: false)
        parts.removeLast(3)  // Support/Golden.swift, Property
        return parts.joined(separator: "/") + "/Golden/" + name
    }

    /// The whole file. Stops the test process with the path when it cannot be read.
    package static func bytes(_ name: String) -> Bytes {
        let path = path(name)
        guard let file = fopen(path, "rb") else { fatalError("cannot read \(path)") }
        defer { fclose(file) }
        var out: Bytes = []
        var buffer = Bytes(repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { return out }
            out.append(contentsOf: buffer[..<count])
        }
    }

    /// One JSON value for each line.
    package static func lines(_ name: String) throws -> [JSON] {
        var reader = JSONReader(bytes(name))
        var out: [JSON] = []
        while let value = try reader.next() { out.append(value) }
        return out
    }
}
