// The clients against servers that are not what they expect.

import Foundation
import HTTP
import Kernel
import RealNet
import Seams
import Testing

/// An HTTP server on a thread of its own, that answers everything with so many bytes.
private final class Server: @unchecked Sendable {
    private(set) var port: UInt16 = 0

    init(bytes: Int = 0) {
        let ready = DispatchSemaphore(value: 0)
        let thread = Thread { [self] in
            let loop = EventLoop()
            let answers = Answers()
            let server = HTTPServer(loop: loop) { id, event in
                if case .end = event {
                    answers.server?.answer(id, .head(HTTPResponse(status: bytes == 0 ? 204 : 200)))
                    answers.server?.answer(id, .body(Bytes(repeating: 65, count: bytes)))
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

    /// Six seconds without a byte taken, and then all of it.
    @Test func aSlowClientGetsItsWholeAnswer() throws {
        let bytes = 40 << 20
        let port = Server(bytes: bytes).port
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(file) }
        var address = sockaddr_in()
        (address.sin_family, address.sin_port) = (sa_family_t(AF_INET), port.bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        #expect(connected == 0)
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        #expect(write(file, request, request.utf8.count) == request.utf8.count)
        sleep(6)
        var (count, buffer) = (0, Bytes(repeating: 0, count: 1 << 20))
        while case let taken = read(file, &buffer, buffer.count), taken > 0 { count += taken }
        #expect(count > bytes)
    }

    /// ctl-auth1-007: said at once, and by its name.
    @Test func aServerWithoutTLSIsNamed() throws {
        let endpoint = Endpoint(host: "127.0.0.1", port: Server().port)
        #expect(try get(endpoint, tls: nil) == 204)
        #expect { try get(endpoint, tls: TLSContext(host: "127.0.0.1", verifies: false)) } throws: {
            "\($0)" == "http: server gave HTTP response to HTTPS client"
        }
    }

    /// What an upload has opened is kept for what comes next, and not for ever.
    @Test func connectionsThatNobodyNeedsAreClosed() throws {
        let loop = EventLoop()
        let client = IPFSClient(loop: loop, endpoint: Endpoint(host: "127.0.0.1", port: Server().port), usesTLS: false, idleFor: .milliseconds(300))
        var (left, number, statuses) = (0, UInt64(0), [Int]())
        client.onEvent = { event in
            if case .head(_, let status) = event { statuses.append(status) }
            if case .failed(_, let reason) = event { Issue.record("\(reason)") }
            if case .end = event { left -= 1; if left == 0 { loop.stop() } }
        }
        func ask(_ count: Int, isUpload: Bool) {
            left = count
            for _ in 0..<count {
                number += 1
                client.carryOut(.start(ExchangeID(number), ExchangeRequest(target: "/", body: isUpload ? nil : [])))
                if isUpload { client.carryOut(.endOfBody(ExchangeID(number))) }
            }
            loop.after(.seconds(10)) { loop.stop() }
            loop.run()
        }
        ask(5, isUpload: true)
        #expect(client.idleCount == 5)
        ask(1, isUpload: false)
        #expect(client.idleCount == 5)
        loop.after(.milliseconds(400)) { loop.stop() }
        loop.run()
        ask(1, isUpload: false)
        #expect(client.idleCount == 1 && statuses == Array(repeating: 204, count: 7))
    }
}
