// ipfs-cluster-ctl: asks a running peer, over its REST API.

import ControlCommands
import Foundation
import HTTP
import Kernel
import RealNet

extension BlockingHTTPClient: HTTPTransport {}

let world = SystemWorld { endpoint in
    let (place, host) =
        switch endpoint.place {
        case .tcp(let host, let port): (Endpoint(host: host, port: port), host)
        case .unix(let path): (Endpoint(path: path), "localhost")
        case .libp2p:
            throw ControlFault("the API over libp2p is not offered by this version; use a TCP or unix address of the API")
        }
    let tls = endpoint.tls.map { TLSContext(host: host, verifies: $0 == .checked) }
    return BlockingHTTPClient(endpoint: place, tls: tls, timeout: endpoint.timeout ?? .zero)
}
exit(ControlProgram(world: world).run(Array(CommandLine.arguments.dropFirst())))
