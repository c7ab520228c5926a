// The clients against servers that are not what they expect.

import Foundation
import HTTP
import Kernel
import RealNet
import Seams
import Testing

/// An HTTP server on a thread of its own, that answers everything with 204.
private final class Server: @unchecked Sendable {
    private(set) var port: UInt16 = 0

    init() {
        let ready = DispatchSemaphore(value: 0)
        let thread = Thread { [self] in
            let loop = EventLoop()
            let answers = Answers()
            let server = HTTPServer(loop: loop) { id, event in
                if case .end = event {
                    answers.server?.answer(id, .head(HTTPResponse(status: 204)))
                    answers.server?.answer(id, .end(trailers: [:]))
                }
            }
            answers.server = server
            if let address = SocketAddress(numeric: "127.0.0.1", port: 0) { port = (try? server.listen(on: address))?.parts.port ?? 0 }
            ready.signal()
            loop.run()
        }
        thread.start()
        ready.wait()
    }
    private final class Answers: @unchecked Sendable { var server: HTTPServer? }
}

@Suite struct HTTPClientTests {
    private func get(_ endpoint: Endpoint, tls: TLSContext?) throws -> Int {
        var status = 0
        _ = try BlockingHTTPClient(endpoint: endpoint, tls: tls, timeout: .seconds(10)).exchange(
            HTTPRequest(method: "GET", target: "/"), body: nil, onHead: { status = $0.status }, onBody: { _ in })
        return status
    }

    /// ctl-auth1-007: said at once, and by its name.
    @Test func aServerWithoutTLSIsNamed() throws {
        let endpoint = Endpoint(host: "127.0.0.1", port: Server().port)
        #expect(try get(endpoint, tls: nil) == 204)
        #expect { try get(endpoint, tls: TLSContext(host: "127.0.0.1", verifies: false)) } throws: {
            "\($0)" == "http: server gave HTTP response to HTTPS client"
        }
    }
}
