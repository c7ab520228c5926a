// What the daemon does with a whole pinset: `state export` and `state import` of a folder, and the listing of the REST API.

import Configuration
import Foundation
import HTTP
import Kernel
import MerkleCRDT
import Multiformats
import RealNet
import Seams
import ServiceCommands

/// Runs a command of `ipfs-cluster-service` on a folder.
private func service(_ folder: String, _ words: [String]) {
    var failure = ""
    var world = ServiceWorld.real(version: "benchmark", fetch: { _ in nil })
    world.environment = [:]
    world.log = { line, levels in
        if !isQuiet, levels.shows(line) { FileHandle.standardError.write(Data("\(line.component): \(line.message)\n".utf8)) }
    }
    world.printError = { failure = $0 }
    let runState: (StateOptions) throws -> Int32 = { [world] in try $0.run(in: world) }
    let service = Service(world: world, runDaemon: { _ in unreachable("no daemon is asked for") }, runState: runState)
    invariant(service.run(["-c", folder] + words) == 0, failure)
}

private func held(in folder: String) throws -> (digest: String, count: Int) {
    let replica = try OfflineReplica(dataFolder: folder, settings: ReplicaSettings()) { _ in }.replica
    return (replica.digest.description, replica.count)
}

/// An empty folder takes in the export of a full one, and then holds the same.
func benchmarkImport(pins: Int, dir: String?) throws {
    let source = try existing(dir), file = source + ".export"
    let folder = try benchFolder(source + ".import", fresh: true)
    defer { for path in [file, folder] { try? FileManager.default.removeItem(atPath: path) } }
    let before = try held(in: source)
    invariant(before.count == pins, "\(before.count) pins of \(pins)")
    if !ConfigurationFolder(path: source).hasConfiguration { service(source, ["init"]) }
    service(folder, ["init"])
    let exporting = timed { service(source, ["state", "export", "-f", file]) }
    Report.forgetPeak()
    var report = Report("import", pins: pins, folder: folder)
    report.progress(0)
    service(folder, ["state", "import", "-f", file])
    report.stop()
    let after = try held(in: folder)
    invariant(after == before, "\(before.count) pins \(before.digest) have become \(after.count) pins \(after.digest)")
    report.end(digest: after.digest, more: [("export_pins_per_second", "\(Int(Double(pins) / exporting))")])
}

/// A listing of the REST API over a loopback connection, as a client on another thread sees it.
func benchmarkServing(_ name: String, target: String, pins: Int, dir: String?) throws {
    let folder = try existing(dir)
    let peer = try BenchPeer(folder: folder)
    peer.start()
    var configuration = ServiceConfiguration(
        generatedFor: .crdt, datastore: .pebble, secret: Bytes(repeating: 7, count: 32), hostName: "benchmark")
    let anyPort = try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")
    configuration.mapListeners { _ in anyPort }
    let api = try APIService(
        configuration[.restapi], folder: ConfigurationFolder(path: folder), loop: peer.loop, runner: peer.runner) { _ in }
    let endpoint = Endpoint(host: "127.0.0.1", port: api.addresses[0].parts.port)
    let report = Report(name, pins: pins)
    nonisolated(unsafe) var (lines, bytes) = (0, 0)
    Thread.detachNewThread {
        let client = BlockingHTTPClient(endpoint: endpoint, tls: nil, timeout: .zero)
        do {
            let trailers = try client.exchange(
                HTTPRequest(method: "GET", target: target), body: nil,
                onHead: { invariant($0.status == 200, "the answer is \($0.status)") },
                onBody: { piece in
                    let before = lines
                    lines += lineEnds(piece)
                    bytes += piece.count
                    if lines / 1_000_000 > before / 1_000_000 { report.progress(lines) }
                })
            invariant(trailers.all("X-Stream-Error") == [""], "the listing ended early: \(trailers)")
        } catch { unreachable("\(error)") }
        peer.loop.post { peer.loop.stop() }
    }
    peer.loop.run()
    invariant(lines == pins, "\(lines) lines for \(pins) pins")
    report.end(digest: peer.digest, stalls: peer.loop, more: [("listed_bytes", "\(bytes)")])
    api.close()
}

private func lineEnds(_ piece: Bytes) -> Int {
    piece.withUnsafeBytes { all in
        var (count, start) = (0, 0)
        while start < all.count, let found = memchr(all.baseAddress! + start, 0x0a, all.count - start) {
            count += 1
            start = UnsafeRawPointer(found) - all.baseAddress! + 1
        }
        return count
    }
}
