// What lies between the client and the network, and the rest of the world around a run.

import HTTP
import Kernel
import Multiformats

/// Whoever carries HTTP exchanges out: one for each endpoint.
package protocol HTTPTransport {
    /// One exchange. `body` is called until it returns nil and is sent chunked; without one there is no body. Framing
    /// headers are the transport's. `onHead` is called once, for the final head, then `onBody` for each piece; the
    /// result are the trailers. What `body`, `onHead` and `onBody` throw ends the exchange and is thrown on.
    /// Its own failures are texts as Go's client gives them, without method and URL:
    /// `dial tcp 127.0.0.1:1: connect: connection refused`.
    func exchange(
        _ request: HTTPRequest, body: (() throws -> Bytes?)?, onHead: (HTTPResponse) throws -> Void,
        onBody: (Bytes) throws -> Void
    ) throws -> HTTPFields
}

/// Where an API listens, and how it is spoken to.
package struct APIEndpoint: Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        /// A name or an IP address without brackets.
        case tcp(host: String, port: UInt16)
        case unix(path: String)
        /// HTTP over a libp2p stream; the secret is that of the private network.
        case libp2p(Multiaddr, secret: Bytes?)
    }
    package enum TLS: Equatable, Sendable {
        case checked
        /// CLI-087: any certificate will do.
        case unchecked
    }
    package var place: Place
    package var tls: TLS?
    /// For a whole exchange (CLI-089); nil waits without limit.
    package var timeout: Span?
    package init(place: Place, tls: TLS? = nil, timeout: Span? = nil) {
        self.place = place
        self.tls = tls
        self.timeout = timeout
    }

    /// Host and port as they stand in the URL and in the Host header.
    package var authority: String {
        switch place {
        case .tcp(let host, let port): (host.contains(":") ? "[\(host)]" : host) + ":\(port)"
        case .unix: "restapi"
        case .libp2p(let address, _): address.peerID?.description ?? ""
        }
    }
    package var scheme: String {
        switch place {
        case .tcp: tls == nil ? "http" : "https"
        case .unix: "http+unix"
        case .libp2p: "libp2p"
        }
    }
}

/// Everything that a run touches besides the files it reads.
package protocol ControlWorld {
    var environment: [String: String] { get }
    func print(_ text: String)
    func printError(_ text: String)
    var now: WallTime { get }
    func sleep(_ span: Span)
    /// Not to be guessed.
    func entropy(_ count: Int) -> Bytes
    /// The addresses that a name stands for, in order; those without a name as they are. CLI-093.
    func resolve(_ address: Multiaddr) throws -> [Multiaddr]
    /// Connects at the first exchange, not before: hosts that are not needed are not bothered.
    func transport(to endpoint: APIEndpoint) throws -> any HTTPTransport
}

/// A failure whose text says it all.
package struct ControlFault: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
