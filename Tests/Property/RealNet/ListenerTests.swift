// HTTP over TLS and over sockets of the file system, between our own server and client.

import Foundation
import Glibc
import HTTP
import Kernel
import Multiformats
import RealNet
import Testing

/// A server on a thread of its own, that answers every request with the target and who asked.
private final class EchoServer: @unchecked Sendable {
    private let loop = EventLoop()
    private var server: HTTPServer?
    private let ended = DispatchSemaphore(value: 0)
    let address: SocketAddress

    init(on endpoint: Endpoint, tls: TLSContext? = nil) throws {
        var answer: (ServedID, ServedEvent) -> Void = { _, _ in }
        let server = HTTPServer(loop: loop) { answer($0, $1) }
        self.server = server
        address = try server.listen(on: try #require(try endpoint.resolved().get().first), tls: tls)
        answer = { [unowned server] id, event in
            guard case .request(let request, let remote) = event else { return }
            server.answer(id, .head(HTTPResponse(status: 200)))
            server.answer(id, .body(Bytes("\(request.target) \(remote.isEmpty ? "nobody" : remote)".utf8)))
            server.answer(id, .end(trailers: [:]))
        }
        Thread.detachNewThread { [self] in
            loop.run()
            ended.signal()
        }
    }

    func stop() {
        loop.post { [self] in
            server?.stopListening()
            loop.stop()
        }
        ended.wait()
    }
}

private func get(_ endpoint: Endpoint, tls: TLSContext? = nil) throws -> (status: Int, text: String) {
    let client = BlockingHTTPClient(endpoint: endpoint, tls: tls, timeout: .seconds(10))
    var (status, body): (Int, Bytes) = (0, [])
    _ = try client.exchange(HTTPRequest(method: "GET", target: "/x"), body: nil) { status = $0.status } onBody: { body += $0 }
    return (status, String(decoding: body, as: UTF8.self))
}

private func failure(_ body: () throws -> Void) -> String {
    do { try body(); return "" } catch { return "\(error)" }
}

/// A folder with a certificate that nobody vouches for, made by the system's openssl.
private final class Certificates {
    static let openssl = "/usr/bin/openssl"
    let folder = NSTemporaryDirectory() + "listener-\(UUID().uuidString)"
    init(_ names: [String]) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for name in names {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: Certificates.openssl)
            process.arguments = [
                "req", "-x509", "-newkey"] + (name == "rsa" ? ["rsa:2048"] : ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]) + ["-nodes", "-days", "3650",
                "-keyout", key(name), "-out", certificate(name), "-subj", "/CN=\(name)", "-addext", "subjectAltName=IP:127.0.0.1",
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
        }
    }
    deinit { try? FileManager.default.removeItem(atPath: folder) }
    func key(_ name: String) -> String { "\(folder)/\(name).key" }
    func certificate(_ name: String) -> String { "\(folder)/\(name).crt" }
}

@Suite struct ListenerTests {
    private let anywhere = Endpoint(host: "127.0.0.1", port: 0)

    @Test(.enabled(if: FileManager.default.fileExists(atPath: Certificates.openssl)))
    func aSelfMadeCertificateServesWhoeverAcceptsIt() throws {
        let made = try Certificates(["one", "two", "rsa"])
        let tls = try TLSContext(certificate: made.certificate("one"), key: made.key("one"))
        let server = try EchoServer(on: anywhere, tls: tls)
        defer { server.stop() }
        let endpoint = Endpoint(host: "127.0.0.1", port: server.address.parts.port)
        #expect(try get(endpoint, tls: TLSContext(host: "127.0.0.1", verifies: false)).text.hasPrefix("/x 127.0.0.1:"))
        #expect(failure { _ = try get(endpoint, tls: TLSContext(host: "127.0.0.1", verifies: true)) }
            == "tls: failed to verify certificate: self-signed certificate")
        let plain = try get(endpoint)
        #expect(plain.status == 400 && plain.text == "Client sent an HTTP request to an HTTPS server.\n")
        #expect(try get(endpoint, tls: TLSContext(host: "127.0.0.1", verifies: false)).status == 200)

        #expect(failure { _ = try TLSContext(certificate: made.certificate("one"), key: made.key("two")) }
            == "cannot use the key \(made.key("two")): key values mismatch")
        for (one, other) in [("one", "rsa"), ("rsa", "one")] {
            #expect(failure { _ = try TLSContext(certificate: made.certificate(one), key: made.key(other)) }
                == "the key \(made.key(other)) is of another kind than that of the certificate \(made.certificate(one))")
        }
        #expect(failure { _ = try TLSContext(certificate: made.folder + "/none", key: made.key("one")) }
            == "open \(made.folder)/none: no such file or directory")
        #expect(failure { _ = try TLSContext(certificate: made.key("one"), key: made.key("one")) }
            .hasPrefix("cannot use the certificate \(made.key("one")): "))
        #expect(failure { _ = try TLSContext(certificate: made.certificate("one"), key: made.certificate("one")) }
            .hasPrefix("cannot use the key \(made.certificate("one")): "))
    }

    /// Such as netcat, which ends its side with its input.
    @Test func whoSendsNothingMoreStillListens() throws {
        let server = try EchoServer(on: anywhere)
        defer { server.stop() }
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(file) }
        #expect(server.address.withPointer { connect(file, $0, $1) } == 0)
        let request = Bytes("GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        #expect(write(file, request, request.count) == request.count && shutdown(file, Int32(SHUT_WR)) == 0)
        var (answer, buffer) = (Bytes(), Bytes(repeating: 0, count: 4096))
        while case let count = read(file, &buffer, buffer.count), count > 0 { answer += buffer[..<count] }
        let text = String(decoding: answer, as: UTF8.self)
        #expect(text.contains("/x 127.0.0.1:") && text.contains("/y 127.0.0.1:"), "\(text)")
    }

    /// Of TLS 1.2 no cipher whose key would open what was recorded before, nor a weak one, as with upstream.
    @Test(.enabled(if: FileManager.default.fileExists(atPath: Certificates.openssl)), arguments: ["one", "rsa"])
    func weakCiphersAreRefused(key: String) throws {
        let made = try Certificates([key])
        let server = try EchoServer(on: anywhere, tls: try TLSContext(certificate: made.certificate(key), key: made.key(key)))
        defer { server.stop() }
        func isTaken(_ cipher: String) throws -> Bool {
            let process = Process()
            process.executableURL = URL(filePath: Certificates.openssl)
            process.arguments = ["s_client", "-connect", "127.0.0.1:\(server.address.parts.port)", "-tls1_2", "-cipher", cipher]
            (process.standardInput, process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice, FileHandle.nullDevice)
            try process.run()
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
        let kind = key == "rsa" ? "RSA" : "ECDSA"
        #expect(try isTaken("ECDHE-\(kind)-AES256-GCM-SHA384"))
        for cipher in ["ECDHE-\(kind)-AES128-SHA", "ECDHE-\(kind)-AES256-SHA384", "AES128-GCM-SHA256", "AES256-SHA"] { #expect(try !isTaken(cipher), "\(cipher)") }
    }

    @Test func aSocketOfTheFileSystem() throws {
        let path = NSTemporaryDirectory() + "l-\(UUID().uuidString.prefix(8)).sock"
        let address = try Multiaddr(text: "/unix\(path)")
        let endpoint = try #require(Endpoint(local: address))
        #expect(Endpoint(address) == nil)
        #expect(failure { _ = try get(endpoint) } == "dial unix \(path): connect: no such file or directory")
        let server = try EchoServer(on: endpoint)
        #expect(server.address.multiaddr == address)
        #expect(try get(endpoint).text == "/x @")
        #expect(failure { _ = try EchoServer(on: endpoint) } == "listen unix \(path): bind: address already in use")
        server.stop()
        #expect(!FileManager.default.fileExists(atPath: path))

        // What is no socket stays; what nobody listens on does not.
        #expect(FileManager.default.createFile(atPath: path, contents: Data("mine".utf8)))
        #expect(failure { _ = try EchoServer(on: endpoint) } == "listen unix \(path): bind: address already in use")
        try FileManager.default.removeItem(atPath: path)
        try Self.leaveDeadSocket(at: path)
        let second = try Self.soon { try EchoServer(on: endpoint) }
        #expect(try get(endpoint).text == "/x @")
        second.stop()

        let long = "/" + String(repeating: "a", count: 120)
        #expect(failure { _ = try get(Endpoint(path: long)) } == "dial tcp: the path of a socket may have 107 bytes: \(long)")
    }

    /// A program that another test is just starting has a copy of the socket until it runs, and seems to listen on it.
    private static func soon<T>(_ body: () throws -> T) throws -> T {
        for _ in 0..<500 {
            if let done = try? body() { return done }
            usleep(10_000)
        }
        return try body()
    }

    /// As a process that is killed leaves one.
    private static func leaveDeadSocket(at path: String) throws {
        let other = path + ".other"
        let listener = try Listener(loop: EventLoop(), on: try #require(SocketAddress(path: other)))
        try FileManager.default.moveItem(atPath: other, toPath: path)
        listener.close()
        #expect(FileManager.default.fileExists(atPath: path))
    }
}
