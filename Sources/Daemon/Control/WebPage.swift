// A web page that is added: fetched into a file without a name, then read from it. CLI-154.

import Foundation
import HTTP
import Kernel

/// The exchange pushes and the upload pulls, and a page may be larger than memory: hence the file.
final class WebPage: ByteSource {
    private static let pieceBytes = 1 << 18
    private let file: UnsafeMutablePointer<FILE>

    init(_ url: WebURL, world: any ControlWorld) throws {
        guard let file = tmpfile() else { throw Files.fault("open", "a temporary file") }
        self.file = file
        let endpoint = url.endpoint(like: nil)
        let host = APIClient.Host(endpoint: endpoint, transport: try world.transport(to: endpoint), authorization: nil)
        let request = HTTPRequest(method: "GET", target: url.target, headers: ["Host": url.authority])
        var status = 0
        _ = try HTTPFollower(host: host, connect: world.transport).exchange(request, body: nil) { head in
            status = head.status
        } onBody: { bytes in
            guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw Files.fault("write", "a temporary file") }
        }
        guard (200..<300).contains(status) else {
            throw ControlFault("got non-2XX status code \(status): \(url.isSecure ? "https" : "http")://\(url.authority)\(url.target)")
        }
        rewind(file)
    }
    deinit { fclose(file) }

    func next() throws -> Bytes? {
        let bytes = Bytes(unsafeUninitializedCapacity: WebPage.pieceBytes) { buffer, count in
            count = fread(buffer.baseAddress, 1, buffer.count, file)
        }
        guard ferror(file) == 0 else { throw Files.fault("read", "a temporary file") }
        return bytes.isEmpty ? nil : bytes
    }
}
