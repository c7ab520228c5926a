// ipfs-cluster-ctl: asks a running peer, over its REST API.

import ControlCommands
import Foundation
import HTTP
import Kernel
import RealNet

extension BlockingHTTPClient: HTTPTransport {}

let world = SystemWorld { endpoint in
    guard case .tcp(let host, let port) = endpoint.place else {
        throw ControlFault("\(endpoint.scheme) endpoints are not offered by this version; use a TCP address of the API")
    }
    let tls = endpoint.tls.map { TLSContext(host: host, verifies: $0 == .checked) }
    return BlockingHTTPClient(endpoint: Endpoint(host: host, port: port), tls: tls, timeout: endpoint.timeout ?? .zero)
}
exit(ControlProgram(world: world).run(Array(CommandLine.arguments.dropFirst())))
