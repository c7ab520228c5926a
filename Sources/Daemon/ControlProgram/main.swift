// ipfs-cluster-ctl: asks a running peer, over its REST API.

import ControlCommands
import Foundation
import HTTP
import Kernel
import RealNet

extension BlockingHTTPClient: HTTPTransport {}
extension Libp2pHTTPClient: HTTPTransport {}

/// Commands that ask several times do it over one connection.
@MainActor private final class Diallers {
    private var bySecret: [Bytes?: Libp2pDialler] = [:]
    func with(_ secret: Bytes?) throws -> Libp2pDialler {
        if let known = bySecret[secret] { return known }
        let dialler = try Libp2pDialler(secret: secret)
        bySecret[secret] = dialler
        return dialler
    }
    func close() { for (_, dialler) in bySecret { dialler.close() } }
}
private let diallers = Diallers()

let world = SystemWorld(named: { try NamedAddresses().resolved($0).get() }) { endpoint in
    let timeout = endpoint.timeout ?? .zero
    let (place, host): (Endpoint, String)
    switch endpoint.place {
    case .tcp(let name, let port): (place, host) = (Endpoint(host: name, port: port), name)
    case .unix(let path): (place, host) = (Endpoint(path: path), "localhost")
    case .libp2p(let address, let secret):
        return try Libp2pHTTPClient(dialler: try diallers.with(secret), address: address, timeout: timeout)
    }
    let tls = endpoint.tls.map { TLSContext(host: host, verifies: $0 == .checked) }
    return BlockingHTTPClient(endpoint: place, tls: tls, timeout: timeout)
}
let code = ControlProgram(world: world).run(Array(CommandLine.arguments.dropFirst()))
diallers.close()
exit(code)
