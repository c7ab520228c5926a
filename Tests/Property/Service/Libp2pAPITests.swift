// A peer whose API has a libp2p host of its own, and ipfs-cluster-ctl that asks it over that. REST-008, REST-009, CLI-084.

import Configuration
import ControlCommands
import Foundation
import HTTP
import Kernel
import Multiformats
import RealNet
import Seams
import ServiceCommands
import Testing

extension BlockingHTTPClient: HTTPTransport {}
extension Libp2pHTTPClient: HTTPTransport {}

/// A peer with an embedded IPFS node, on a thread of its own, as the daemon composes it.
private final class RunningPeer: @unchecked Sendable {
    private let loop = EventLoop()
    private var runner: PeerRunner?
    private var api: APIService?
    /// It holds the lock of the folder.
    private var started: DaemonStart?
    private let ended = DispatchSemaphore(value: 0)
    private let lock = NSLock()
    private var lines: [LogLine] = []
    let folder = FileManager.default.temporaryDirectory.path + "/libp2p-api-\(UUID().uuidString)"
    var log: [LogLine] { lock.withLock { lines } }

    init(_ more: [String: String] = [:]) throws {
        let key = try IdentityKey(seed: Bytes(repeating: 42, count: 32))
        var world = ServiceWorld.real(version: "1.1.6") { _ in nil }
        world.environment = [
            "CLUSTER_LISTENMULTIADDRESS": "/ip4/127.0.0.1/tcp/0", "CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS": "/ip4/127.0.0.1/tcp/0",
            "CLUSTER_RESTAPI_LIBP2PLISTENMULTIADDRESS": "/ip4/127.0.0.1/tcp/0", "CLUSTER_RESTAPI_ID": key.peerID.description,
            "CLUSTER_RESTAPI_PRIVATEKEY": key.base64, "CLUSTER_MONITORPINGINTERVAL": "1s",
        ].merging(more) { $1 }
        world.printOut = { _ in }
        world.printError = { _ in }
        world.log = { [unowned self] line, _ in lock.withLock { lines.append(line) } }
        let fixed = world
        let service = Service(
            world: fixed, runDaemon: { [unowned self] in try start(try $0.start(in: fixed), $0, fixed) }, runState: { _ in 1 })
        #expect(service.run(["-c", folder, "init", "--embedded-ipfs"]) == 0)
        #expect(service.run(["-c", folder, "daemon"]) == 0)
    }

    private func start(_ start: DaemonStart, _ options: DaemonOptions, _ world: ServiceWorld) throws -> Int32 {
        let log = { (line: LogLine) in world.log(line, options.logLevels) }
        let home = PeerHome(
            key: start.identity.key, secret: start.configuration.secret,
            listen: start.configuration[.cluster].addresses("listen_multiaddress"), dataFolder: folder)
        let runner = try PeerRunner(loop: loop, home: home, settings: start.settings, onLog: log)
        api = try APIService(start.configuration[.restapi], folder: options.folder, loop: loop, runner: runner, log: log)
        self.runner = runner
        started = start
        let ready = DispatchSemaphore(value: 0)
        runner.onReady = { ready.signal() }
        runner.onStopped = { [unowned self] in
            runner.close()
            api?.end()
            loop.after(.milliseconds(50)) { self.loop.stop() }
        }
        runner.start()
        Thread.detachNewThread { [self] in
            loop.run()
            ended.signal()
        }
        ready.wait()
        return 0
    }

    var libp2p: String { api?.libp2pAddresses.first?.description ?? "" }
    var tcp: String { api?.addresses.first?.multiaddr.description ?? "" }

    func stop() {
        loop.post { [self] in
            api?.close()
            runner?.shutDown()
        }
        ended.wait()
        try? FileManager.default.removeItem(atPath: folder)
    }
}

/// This process as the world of ctl, as its program makes it, with what is printed kept.
private final class Terminal: ControlWorld {
    private let system = SystemWorld { _ in throw ControlFault("no network") }
    private let diallers: [Bytes?: Libp2pDialler]
    var environment: [String: String] { [:] }
    var stdout = "", stderr = ""
    /// Hosts that were asked, by the scheme of their URL.
    var schemes: [String] = []

    init(secrets: [Bytes?] = [nil]) throws {
        diallers = Dictionary(uniqueKeysWithValues: try secrets.map { ($0, try Libp2pDialler(secret: $0)) })
    }
    deinit { for (_, dialler) in diallers { dialler.close() } }

    func print(_ text: String) { stdout += text }
    func printError(_ text: String) { stderr += text }
    var now: WallTime { system.now }
    func sleep(_ span: Span) { system.sleep(min(span, .milliseconds(100))) }
    func entropy(_ count: Int) -> Bytes { system.entropy(count) }
    func resolve(_ address: Multiaddr) throws -> [Multiaddr] { try system.resolve(address) }
    func transport(to endpoint: APIEndpoint) throws -> any HTTPTransport {
        schemes.append(endpoint.scheme)
        switch endpoint.place {
        case .tcp(let host, let port):
            return BlockingHTTPClient(endpoint: Endpoint(host: host, port: port), tls: nil, timeout: endpoint.timeout ?? .zero)
        case .unix: throw ControlFault("not here")
        case .libp2p(let address, let secret):
            guard let dialler = diallers[secret] else { throw ControlFault("not here") }
            return try Libp2pHTTPClient(dialler: dialler, address: address, timeout: endpoint.timeout ?? .zero)
        }
    }

    /// Exit code, and all that was printed.
    func run(_ words: [String]) -> (exit: Int32, text: String) {
        (stdout, stderr, schemes) = ("", "", [])
        let exit = ControlProgram(world: self).run(words)
        return (exit, stdout + stderr)
    }
}

@Suite(.serialized) struct Libp2pAPITests {
    @Test func everyCommandWorksAsOverTCP() throws {
        let peer = try RunningPeer()
        defer { peer.stop() }
        let terminal = try Terminal()
        let over = { (host: String, words: [String]) in terminal.run(["--host", host] + words) }
        let ctl = { (words: String...) in over(peer.libp2p, words) }
        let said = try #require(peer.log.first { $0.message.hasPrefix("RESTAPI (libp2p-http): ENABLED. Listening on:\n        /ip4/") })
        #expect(said.message.contains(peer.libp2p) && said.component == "restapi")

        let folder = peer.folder + "/content"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var choices = Choices(seed: 1)
        try Data(choices.bytes(6_000_000)).write(to: URL(fileURLWithPath: folder + "/large"))
        for number in 0..<30 { try Data("file \(number)".utf8).write(to: URL(fileURLWithPath: folder + "/\(number)")) }
        let added = ctl("add", "--wait", "-r", folder)
        #expect(added.exit == 0 && added.text.split(separator: "\n").count == 32, "\(added)")
        let root = try #require(added.text.split(separator: "\n").last?.split(separator: " ").dropFirst().first.map(String.init))
        #expect(terminal.schemes.allSatisfy { $0 == "libp2p" } && !terminal.schemes.isEmpty)
        let small = ctl("add", "-Q", folder + "/7")
        #expect(small.exit == 0, "\(small)")
        let leaf = small.text.split(separator: "\n").last.map(String.init) ?? ""

        // The same answers, byte for byte. Times of last changes stay as they are, as nothing changes.
        for words in [
            ["id"], ["version"], ["peers", "ls"], ["pin", "ls"], ["pin", "ls", root], ["--enc", "json", "status"], ["status", root],
            ["state", "digest"], ["health", "graph"], ["health", "metrics"], ["ipfs", "gc"],
            ["pin", "ls", "nonsense"], ["peers", "rm", "12D3KooWNothing"], ["recover", root],
        ] {
            let (near, far) = (over(peer.tcp, words), over(peer.libp2p, words))
            #expect(near.exit == far.exit && near.text == far.text, "\(words)")
            #expect(!far.text.isEmpty, "\(words)")
        }
        let pinned = ctl("pin", "rm", "--wait", leaf)
        #expect(pinned.exit == 0, "\(pinned)")
        #expect(ctl("pin", "add", "--wait", "--name", "again", leaf).text.contains("again"))
        let late = ctl("--timeout", "5", "status", leaf)
        #expect(late.exit == 0 && late.text.contains("PINNED"), "\(late)")
        #expect(ctl("pin", "ls").text.split(separator: "\n").count == 2)
        #expect(peer.log.contains { $0.component == "restapilog" && $0.message.hasPrefix("12D3KooW") }, "HTTP-04")
    }

    @Test func credentialsAreAskedForThereToo() throws {
        let peer = try RunningPeer(["CLUSTER_RESTAPI_BASICAUTHCREDENTIALS": "alice:wonder"])
        defer { peer.stop() }
        let terminal = try Terminal()
        let denied = terminal.run(["--host", peer.libp2p, "id"])
        #expect(denied.exit != 0 && denied.text.contains("401"), "\(denied)")
        let file = peer.folder + "/file"
        try Data(count: 20_000_000).write(to: URL(fileURLWithPath: file))
        let upload = terminal.run(["--host", peer.libp2p, "add", file])
        #expect(upload.exit != 0 && upload.text.contains("unauthorized"), "\(upload)")
        #expect(terminal.run(["--host", peer.libp2p, "--basic-auth", "alice:wonder", "id"]).exit == 0)
    }

    /// One after the other until one answers, of whatever kind (CLI-084).
    @Test func theNextHostIsAskedIfOneIsNotThere() throws {
        let peer = try RunningPeer()
        let secret = Bytes(repeating: 5, count: 32)
        let terminal = try Terminal(secrets: [nil, secret])
        let nowhere = "/ip4/127.0.0.1/tcp/1/p2p/" + (peer.libp2p.split(separator: "/").last ?? "")
        #expect(terminal.run(["--host", nowhere + "," + peer.libp2p, "id"]).exit == 0)
        #expect(terminal.run(["--host", nowhere + "," + peer.tcp, "id"]).exit == 0)
        // A new process: one connection to a peer serves all of its addresses.
        let refused = try Terminal().run(["--host", nowhere, "id"])
        #expect(refused.exit != 0 && refused.text.contains("connection refused") && refused.text.contains("libp2p://"), "\(refused)")
        let hidden = terminal.run(["--host", peer.libp2p, "--secret", String(repeating: "05", count: 32), "id"])
        #expect(hidden.exit != 0 && hidden.text.contains("--secret"), "\(hidden)")
        peer.stop()
    }

    /// Only where it is asked for (REST-008).
    @Test func withoutAnIdentityOfItsOwnThereIsNone() throws {
        let names = ["LIBP2PLISTENMULTIADDRESS", "ID", "PRIVATEKEY"]
        let peer = try RunningPeer(Dictionary(uniqueKeysWithValues: names.map { ("CLUSTER_RESTAPI_" + $0, "") }))
        peer.stop()
        #expect(peer.libp2p.isEmpty && !peer.log.contains { $0.message.contains("libp2p-http") })
        #expect(peer.log.contains(LogLine(.info, "restapi", "stopping Cluster API")))
    }
}
