// HTTP over libp2p streams, between our own server and client, and from clients that mean it ill. HTTP-01, HTTP-03, HTTP-04.

import Foundation
import HTTP
import Kernel
import Multiformats
import RealNet
import Seams
import Testing
import Transport

private let secret = Bytes(repeating: 7, count: 32)

private func key(_ number: UInt8) throws -> IdentityKey { try IdentityKey(seed: Bytes(repeating: number, count: 32)) }

/// A server on a thread of its own. `/bytes/N` gets so many bytes, `/never` no answer, and a body its length, piece by piece.
private final class Server: @unchecked Sendable {
    private let loop = EventLoop()
    private var http: HTTPServer?
    private var libp2p: Libp2pHTTPServer?
    private var received: [ServedID: Int] = [:]
    private let ended = DispatchSemaphore(value: 0)
    let address: Multiaddr
    let peer: PeerID

    init(
        networkKey: Bytes? = nil, settings: HTTPServerSettings = HTTPServerSettings(), streamsMax: Int = 100,
        patience: Span = .milliseconds(300)
    ) throws {
        let key = try key(1)
        peer = key.peerID
        var hear: (ServedID, ServedEvent) -> Void = { _, _ in }
        let http = HTTPServer(loop: loop, settings: settings) { hear($0, $1) }
        let libp2p = Libp2pHTTPServer(
            loop: loop, server: http, key: key, networkKey: networkKey, streamsMax: streamsMax, patience: patience)
        address = try #require(try libp2p.listen(on: Multiaddr(text: "/ip4/127.0.0.1/tcp/0")).first)
        (self.http, self.libp2p) = (http, libp2p)
        hear = { [unowned self] in on($0, $1) }
        Thread.detachNewThread { [self] in
            loop.run()
            ended.signal()
        }
    }

    private func on(_ id: ServedID, _ event: ServedEvent) {
        switch event {
        case .request(let request, let remote):
            if request.target == "/never" { return }
            received[id] = 0
            http?.answer(id, .head(HTTPResponse(status: 200, headers: ["X-Remote": remote, "Trailer": "X-Sum"])))
            guard request.target.hasPrefix("/bytes/"), let count = Int(request.target.dropFirst(7)) else { return }
            http?.answer(id, .body(Bytes(repeating: 65, count: count)))
            http?.answer(id, .end(trailers: [:]))
        case .body(let bytes):
            guard let sum = received[id] else { return }
            received[id] = sum + bytes.count
            http?.answer(id, .body(Bytes("\(bytes.count)\n".utf8)))
        case .end:
            guard let sum = received.removeValue(forKey: id) else { return }
            http?.answer(id, .end(trailers: ["X-Sum": String(sum)]))
        case .gone, .cut: received[id] = nil
        case .drained: break
        }
    }

    /// On the loop's thread.
    func look<T: Sendable>(_ body: @escaping @Sendable (Libp2pHTTPServer) -> T) -> T? {
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var result: T?
        loop.post { [self] in
            result = libp2p.map(body)
            done.signal()
        }
        done.wait()
        return result
    }
    var streamCount: Int { look { $0.streamCount } ?? -1 }
    func stop() {
        loop.post { [self] in
            libp2p?.close()
            loop.after(.milliseconds(20)) { self.loop.stop() }
        }
        ended.wait()
    }
}

private struct Answer {
    var status = 0
    var headers = HTTPFields()
    var body: Bytes = []
    var trailers = HTTPFields()
}

private func ask(
    _ dialler: Libp2pDialler, _ address: Multiaddr, _ method: String, _ target: String, timeout: Span = .seconds(20),
    body: (() throws -> Bytes?)? = nil, onBody: (Bytes) throws -> Void = { _ in }
) throws -> Answer {
    let client = try Libp2pHTTPClient(dialler: dialler, address: address, timeout: timeout)
    var answer = Answer()
    answer.trailers = try client.exchange(HTTPRequest(method: method, target: target), body: body) {
        (answer.status, answer.headers) = ($0.status, $0.headers)
    } onBody: {
        answer.body += $0
        try onBody($0)
    }
    return answer
}

private func failure(_ body: () throws -> some Any) -> String {
    do { return "no failure: \(try body())" } catch { return "\(error)" }
}

private func waitUntil(_ condition: () -> Bool) -> Bool {
    for _ in 0..<200 where !condition() { Thread.sleep(forTimeInterval: 0.05) }
    return condition()
}

@Suite(.serialized) struct Libp2pHTTPTests {
    @Test(arguments: [nil, secret]) func requestsAndAnswersOfEverySize(_ networkKey: Bytes?) throws {
        let server = try Server(networkKey: networkKey)
        defer { server.stop() }
        let dialler = try Libp2pDialler(secret: networkKey)
        defer { dialler.close() }
        for count in [0, 1, 3000, 20_000_000] {
            let answer = try ask(dialler, server.address, "GET", "/bytes/\(count)")
            #expect(answer.status == 200 && answer.body.count == count)
            #expect((try? PeerID(text: answer.headers["X-Remote"] ?? "")) != nil, "HTTP-04: the other peer is the remote")
        }
        var left = 40
        let sent = try ask(dialler, server.address, "POST", "/", body: {
            left -= 1
            return left < 0 ? nil : Bytes(repeating: 1, count: 1 << 18)
        })
        let lengths = String(decoding: sent.body, as: UTF8.self).split(separator: "\n").compactMap { Int($0) }
        #expect(sent.trailers["X-Sum"] == "10485760" && lengths.reduce(0, +) == 10_485_760)
        #expect(waitUntil { server.streamCount == 0 }, "every stream has been ended by both sides")
    }

    /// Several commands at a time, as of a program with threads.
    @Test func streamsShareAConnection() throws {
        let server = try Server()
        defer { server.stop() }
        let dialler = try Libp2pDialler(secret: nil)
        defer { dialler.close() }
        let counts = Counts()
        DispatchQueue.concurrentPerform(iterations: 20) { number in
            counts.add((try? ask(dialler, server.address, "GET", "/bytes/\(number * 50_000)"))?.body.count ?? -1)
        }
        #expect(counts.sorted == (0..<20).map { $0 * 50_000 })
    }
    private final class Counts: @unchecked Sendable {
        private let lock = NSLock()
        private var all: [Int] = []
        func add(_ count: Int) { lock.withLock { all.append(count) } }
        var sorted: [Int] { lock.withLock { all.sorted() } }
    }

    /// The network does not wait for whoever reads: pings are answered, and the server is told to wait.
    @Test func aSlowReaderHoldsTheAnswerBack() throws {
        let server = try Server(patience: .seconds(30))
        defer { server.stop() }
        let dialler = try Libp2pDialler(secret: nil)
        defer { dialler.close() }
        var slept = false
        let answer = try ask(dialler, server.address, "GET", "/bytes/60000000", timeout: .zero, onBody: { _ in
            guard !slept else { return }
            slept = true
            Thread.sleep(forTimeInterval: 1)
            #expect(dialler.untakenBytes < 20 << 20, "a window, not the answer")
            Thread.sleep(forTimeInterval: 11)  // longer than a connection may take nothing
        })
        #expect(answer.body.count == 60_000_000)
    }

    @Test func whatTheClosuresThrowEndsTheStream() throws {
        struct Enough: Error {}
        let server = try Server()
        defer { server.stop() }
        let dialler = try Libp2pDialler(secret: nil)
        defer { dialler.close() }
        #expect(throws: Enough.self) { try ask(dialler, server.address, "GET", "/bytes/5000000", onBody: { _ in throw Enough() }) }
        #expect(throws: Enough.self) { try ask(dialler, server.address, "POST", "/", body: { throw Enough() }) }
        #expect(waitUntil { server.streamCount == 0 })
        #expect(try ask(dialler, server.address, "GET", "/bytes/5").body.count == 5)
    }

    @Test func failuresAreNamed() throws {
        let server = try Server()
        let hidden = try Server(networkKey: secret)
        defer { hidden.stop() }
        let open = try Libp2pDialler(secret: nil)
        defer { open.close() }
        let other = try key(9).peerID
        let wrongPeer = failure { try ask(open, server.address.with(peer: other), "GET", "/") }
        #expect(wrongPeer.contains("peer id mismatch: expected \(other), but remote key matches \(server.peer)"), "\(wrongPeer)")
        #expect(failure { try ask(open, server.address, "GET", "/never", timeout: .milliseconds(200)) }.contains("deadline exceeded"))
        server.stop()
        let nobody = failure { try ask(open, server.address, "GET", "/") }
        #expect(nobody.contains("connection refused"), "\(nobody)")
        let secretless = failure { try ask(open, hidden.address, "GET", "/") }
        #expect(secretless.contains("--secret"), "\(secretless)")
        for wrong in [Bytes(repeating: 8, count: 32), Bytes(repeating: 9, count: 32)] {
            let dialler = try Libp2pDialler(secret: wrong)
            defer { dialler.close() }
            let text = failure { try ask(dialler, hidden.address, "GET", "/") }
            #expect(text.contains("--secret"), "\(text)")
        }
        let nameless = failure { try Libp2pHTTPClient(dialler: open, address: Multiaddr(text: "/ip4/1.2.3.4/tcp/1"), timeout: .zero) }
        #expect(nameless.contains("/p2p/"), "\(nameless)")
    }

    @Test(arguments: [false, true])
    func aHostWithoutTheAPISaysSo(_ isTLS: Bool) throws {
        let loop = EventLoop()
        let securities = isTLS ? try tlsAlone(key(3)) : [.noise]
        let host = HostRunner(
            loop: loop, host: Host(key: try key(3), networkKey: nil, protocols: ["/other"], securities: securities))
        let address = try #require(try host.listen(on: Multiaddr(text: "/ip4/127.0.0.1/tcp/0")).first)
        let ended = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            loop.run()
            ended.signal()
        }
        let dialler = try Libp2pDialler(secret: nil)
        defer { dialler.close() }
        let text = failure { try ask(dialler, address.with(peer: (try key(3)).peerID), "GET", "/") }
        #expect(text.contains("the API is not offered there over libp2p"), "\(text)")
        loop.post { loop.stop() }
        ended.wait()
        withExtendedLifetime(host) {}
    }
}

private func tlsAlone(_ key: IdentityKey) -> [Security] {
    Array(Security.all(for: key, entropy: Machine.entropy, now: Machine.now.wall).suffix(1))
}

/// A client that does what it likes.
private final class Raw {
    let loop = EventLoop()
    let host: HostRunner
    private let peer: PeerID
    private var ids = StreamIDs(owner: 1)
    var received: [StreamID: Bytes] = [:]
    var over: [StreamID] = []

    init(_ server: Server, number: UInt8 = 50, isTLS: Bool = false) throws {
        peer = server.peer
        let securities = isTLS ? try tlsAlone(key(number)) : [.noise]
        host = HostRunner(loop: loop, host: Host(key: try key(number), networkKey: nil, protocols: [], securities: securities))
        host.run { host, _ in host.learn(server.peer, [server.address]) }
        host.onEvent = { [unowned self] effect in
            switch effect {
            case .stream(.received(let stream, let bytes)): received[stream, default: []] += bytes
            case .stream(.remoteClosed(let stream)), .stream(.reset(let stream)), .stream(.failed(let stream, _)):
                over.append(stream)
            default: break
            }
        }
    }
    func want(_ effect: StreamEffect) { host.run { $0.onEffect(effect, now: Machine.now, effects: &$1) } }
    func open(_ text: String) -> StreamID {
        let stream = ids.next()
        want(.open(stream, to: peer, protocols: [Libp2pHTTP.protocolID]))
        want(.send(stream, Bytes(text.utf8)))
        return stream
    }
    func text(_ stream: StreamID) -> String { String(decoding: received[stream] ?? [], as: UTF8.self) }
    func run(for span: Span) {
        loop.after(span) { [loop] in loop.stop() }
        loop.run()
    }
    func run(until condition: () -> Bool) -> Bool {
        for _ in 0..<200 where !condition() { run(for: .milliseconds(20)) }
        return condition()
    }
}

@Suite(.serialized) struct HostileLibp2pHTTPTests {
    private static let never = "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
    private static func get(_ count: Int) -> String { "GET /bytes/\(count) HTTP/1.1\r\nHost: a\r\n\r\n" }

    /// Upstream's clients speak Noise, and TLS where there is none (REST-008).
    @Test(arguments: [false, true])
    func whoeverHasEitherSecurityIsServed(_ isTLS: Bool) throws {
        let server = try Server()
        defer { server.stop() }
        let raw = try Raw(server, isTLS: isTLS)
        let stream = raw.open(Self.get(3_000_000))
        #expect(raw.run(until: { raw.received[stream, default: []].count > 3_000_000 }))
    }

    /// As over TCP: heads have a size and a time, and what is no HTTP is said to be none.
    @Test func headsAreBounded() throws {
        var settings = HTTPServerSettings()
        settings.headTimeout = .milliseconds(300)
        let server = try Server(settings: settings)
        defer { server.stop() }
        let raw = try Raw(server)
        let long = raw.open("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "x", count: 9000))
        let foreign = raw.open("\u{1}\u{2}nonsense\r\n\r\n")
        let slow = raw.open("GET / HT")
        let good = raw.open(Self.get(3))
        #expect(raw.run(until: { raw.over.contains(long) && raw.over.contains(foreign) && raw.over.contains(slow) }))
        #expect(raw.text(long).hasPrefix("HTTP/1.1 431 ") && raw.text(foreign).hasPrefix("HTTP/1.1 400 "))
        #expect(raw.text(slow).hasPrefix("HTTP/1.1 400 ") && raw.text(good).hasSuffix("AAA\r\n0\r\n\r\n"))
        #expect(raw.run(until: { server.streamCount == 1 }), "what this side does not end, the server does")
    }

    /// Nobody has bytes kept that are not asked for, and who tries is no trouble to the other streams.
    @Test func aFloodIsHeldBack() throws {
        let server = try Server()
        defer { server.stop() }
        let raw = try Raw(server)
        let flood = raw.open(Self.never)
        let bytes = Bytes(String(repeating: Self.never, count: 300_000).utf8)
        raw.want(.send(flood, bytes))
        raw.run(for: .milliseconds(700))
        let taken = bytes.count - raw.host.look { $0.waitingBytes(flood) }
        #expect(taken < 1 << 20, "\(taken) bytes")
        let good = raw.open(Self.get(100_000))
        #expect(raw.run(until: { raw.text(good).hasSuffix("\r\n0\r\n\r\n") }))
    }

    @Test func streamsAreCounted() throws {
        let server = try Server(streamsMax: 4)
        defer { server.stop() }
        let raw = try Raw(server)
        let waiting = (0..<4).map { _ in raw.open(Self.never) }
        #expect(raw.run(until: { server.streamCount == 4 }))
        let fifth = raw.open(Self.get(1))
        #expect(raw.run(until: { raw.over.contains(fifth) }))
        #expect(raw.text(fifth).isEmpty)
        raw.want(.reset(waiting[0]))
        #expect(raw.run(until: { server.streamCount == 3 }))
        let sixth = raw.open(Self.get(1))
        #expect(raw.run(until: { raw.text(sixth).hasSuffix("A\r\n0\r\n\r\n") }))
        raw.host.close()
        #expect(raw.run(until: { server.streamCount == 0 }), "a lost connection ends its streams")
    }

    /// Neither who takes nothing nor who never hangs up keeps a stream that the server has ended.
    @Test func whoTakesNothingIsCutOff() throws {
        let server = try Server()
        defer { server.stop() }
        let raw = try Raw(server)
        let close = "GET /bytes/5000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        let first = raw.open(Self.get(1))
        #expect(raw.run(until: { raw.text(first).hasSuffix("A\r\n0\r\n\r\n") }))
        raw.want(.closeWrite(first))
        let streams = (0..<3).map { _ in raw.open(close) }
        raw.host.run { host, effects in for stream in streams { host.hold(stream, true, now: Machine.now, effects: &effects) } }
        raw.want(.closeWrite(streams[2]))
        #expect(raw.run(until: { server.streamCount == 0 }))
        #expect(streams.allSatisfy { (raw.received[$0]?.count ?? 0) <= 256 << 10 })
        let patient = raw.open(close)
        #expect(raw.run(until: { (raw.received[patient]?.count ?? 0) > 5_000_000 && server.streamCount == 0 }))
    }

    /// A client that goes away in the middle of its request is gone for the server too.
    @Test func halfARequestIsNoRequest() throws {
        let server = try Server()
        defer { server.stop() }
        let raw = try Raw(server)
        let cut = raw.open("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        #expect(raw.run(until: { server.streamCount == 1 }))
        raw.want(.closeWrite(cut))
        #expect(raw.run(until: { server.streamCount == 0 && raw.over.contains(cut) }))
        #expect(!raw.text(cut).contains("X-Sum: "))
    }
}
