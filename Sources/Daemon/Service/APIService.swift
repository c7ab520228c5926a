// The REST API of a running peer: its listeners, its machine, and the peer behind it. CFG-086..105.

import API
import Configuration
import Foundation
import HTTP
import Kernel
import Multiformats
import RealNet
import Seams

package final class APIService: @unchecked Sendable {
    private let loop: EventLoop
    private let runner: PeerRunner
    private let log: (LogLine) -> Void
    private var machine: RESTAPI
    private var server: HTTPServer?
    private var libp2p: Libp2pHTTPServer?
    private let accessLog: FileHandle?
    private var events: [RESTAPI.Input] = []
    private var isStepping = false
    /// Where it listens.
    package private(set) var addresses: [SocketAddress] = []
    /// And over libp2p.
    package var libp2pAddresses: [Multiaddr] { libp2p?.addresses ?? [] }

    package init(
        _ values: ComponentValues, folder: ConfigurationFolder, loop: EventLoop, runner: PeerRunner,
        log: @escaping (LogLine) -> Void
    ) throws {
        self.loop = loop
        self.runner = runner
        self.log = log
        machine = RESTAPI(settings: restSettings(values), owner: 1)
        accessLog = try APIService.openLog(folder.resolved(values.text("http_log_file")))
        var tls: TLSContext?
        if !values.text("ssl_cert_file").isEmpty {
            tls = try TLSContext(
                certificate: folder.resolved(values.text("ssl_cert_file")), key: folder.resolved(values.text("ssl_key_file")))
        }
        var settings = HTTPServerSettings()
        settings.headTimeout = values.span("read_header_timeout")
        settings.readTimeout = values.span("read_timeout")
        settings.writeTimeout = values.span("write_timeout")
        settings.idleTimeout = values.span("idle_timeout")
        settings.headBytesMax = Int(values.int("max_header_bytes")) + HTTPServerSettings.headSlackBytes
        let server = HTTPServer(loop: loop, settings: settings) { [unowned self] id, event in take(.served(id, event)) }
        self.server = server
        let kind = values.map("basic_auth_credentials") != nil ? "HTTP - authenticated" : "HTTP"
        for address in values.addresses("http_listen_multiaddress") {
            guard let endpoint = Endpoint(local: address) else { throw ConfigurationError("cannot listen on \(address)") }
            let found: [SocketAddress]
            switch endpoint.resolved() {
            case .success(let addresses): found = addresses
            case .failure(let failure): throw ConfigurationError("cannot listen on \(address): \(failure.reason)")
            }
            guard let first = found.first else { throw ConfigurationError("cannot listen on \(address): the host is unknown") }
            // Nobody reads along on a socket of the file system.
            let bound = try server.listen(on: first, tls: address.isUnix ? nil : tls)
            self.addresses.append(bound)
            log(LogLine(.info, "restapi", "RESTAPI (\(kind)): \(bound.multiaddr)"))
        }
        libp2p = try libp2pServer(values, server)
    }

    /// With crdt only where it has an identity of its own, and then without a secret: REST-008, CLI-052.
    private func libp2pServer(_ values: ComponentValues, _ server: HTTPServer) throws -> Libp2pHTTPServer? {
        let wanted = values.addresses("libp2p_listen_multiaddress")
        guard !wanted.isEmpty else { return nil }
        let libp2p = Libp2pHTTPServer(
            loop: loop, server: server, key: try IdentityKey(base64: values.text("private_key")))
        libp2p.onLog = log
        for address in wanted {
            guard address.carrier != nil else {
                let line = "restapi.libp2p_listen_multiaddress: \(address) is passed over, as only TCP is supported, and WebSocket on top of it"
                log(LogLine(.warning, "restapi", line))
                continue
            }
            try libp2p.listen(on: address)
        }
        guard !libp2p.addresses.isEmpty else {
            throw ConfigurationError("restapi.libp2p_listen_multiaddress has no TCP address")
        }
        let list = libp2p.addresses.map { "        \($0)\n" }.joined()
        log(LogLine(.info, "restapi", "RESTAPI (libp2p-http): ENABLED. Listening on:\n\(list)"))
        return libp2p
    }

    private static func openLog(_ path: String) throws -> FileHandle? {
        guard !path.isEmpty else { return nil }
        if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard let file = FileHandle(forWritingAtPath: path) else { throw ConfigurationError("cannot write http_log_file \(path)") }
        file.seekToEndOfFile()
        return file
    }

    package func close() {
        log(LogLine(.info, "restapi", "stopping Cluster API"))
        server?.stopListening()
        libp2p?.stopListening()
    }

    /// After `close`, when nothing is being answered any more.
    package func end() { libp2p?.close() }

    /// One after another: what the peer answers at once comes after what asked for it.
    private func take(_ input: RESTAPI.Input) {
        events.append(input)
        guard !isStepping else { return }
        isStepping = true
        var next = 0
        while next < events.count {
            var effects: [RESTAPI.Effect] = []
            switch events[next] {
            case .served(let id, let event): machine.on(id, event, now: Machine.now, effects: &effects)
            case .reply(let client, let reply): machine.onReply(client, reply, effects: &effects)
            }
            next += 1
            for effect in effects { carryOut(effect) }
        }
        events.removeAll(keepingCapacity: true)
        isStepping = false
    }

    private func carryOut(_ effect: RESTAPI.Effect) {
        switch effect {
        case .answer(let id, let answer): server?.answer(id, answer)
        case .client(let client, let request):
            runner.ask(request, as: client) { [weak self] in self?.take(.reply(client, $0)) }
        // A round later, or a client that reads fast would have the peer to itself until its listing ends.
        case .clientInput(let client, .more): loop.after(.zero) { [weak self] in self?.runner.send(client, .more) }
        case .clientInput(let client, let input): runner.send(client, input)
        case .clientGone(let client): runner.leave(client)
        case .log(let line):
            if line.component == "restapilog", let accessLog {
                accessLog.write(Data((line.message + "\n").utf8))
            } else {
                log(line)
            }
        }
    }
}

extension RESTAPI {
    enum Input {
        case served(ServedID, ServedEvent)
        case reply(ClientID, ClientReply)
    }
}

private func restSettings(_ values: ComponentValues) -> RESTSettings {
    var settings = RESTSettings()
    settings.credentials = values.map("basic_auth_credentials").map { pairs in
        Dictionary(pairs.map { ($0.name, $0.item) }, uniquingKeysWith: { $1 })
    }
    for header in values.lists("headers") ?? [] {
        for value in header.item { settings.headers.add(header.name, value) }
    }
    settings.cors.allowedOrigins = values.texts("cors_allowed_origins") ?? []
    settings.cors.allowedMethods = values.texts("cors_allowed_methods") ?? []
    settings.cors.allowedHeaders = values.texts("cors_allowed_headers") ?? []
    settings.cors.exposedHeaders = values.texts("cors_exposed_headers") ?? []
    settings.cors.allowsCredentials = values.flag("cors_allow_credentials")
    settings.cors.maxAge = values.span("cors_max_age")
    return settings
}
