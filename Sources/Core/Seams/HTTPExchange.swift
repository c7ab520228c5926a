// The seam between the core and the HTTP API of an IPFS daemon: one request, one streamed answer.

import Kernel

package struct ExchangeID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}

/// Always POST (IPFS-03). The net adds host, length and connection headers.
package struct ExchangeRequest: Equatable, Sendable {
    /// Path and query, such as "/api/v0/pin/ls?arg=…".
    package var target: String
    package var headers: [(name: String, value: String)]
    /// Nil where the body is streamed by `ExchangeEffect.body` in chunks.
    package var body: Bytes?
    package init(target: String, headers: [(name: String, value: String)] = [], body: Bytes? = []) {
        self.target = target
        self.headers = headers
        self.body = body
    }
    package static func == (a: Self, b: Self) -> Bool {
        a.target == b.target && a.body == b.body && a.headers.elementsEqual(b.headers, by: ==)
    }
}

package enum ExchangeEffect: Equatable, Sendable {
    case start(ExchangeID, ExchangeRequest)
    /// A piece of a streamed request body.
    case body(ExchangeID, Bytes)
    case endOfBody(ExchangeID)
    /// Gives up: the connection is closed and nothing further is reported.
    case cancel(ExchangeID)
}

package enum ExchangeEvent: Equatable, Sendable {
    case head(ExchangeID, status: Int)
    case body(ExchangeID, Bytes)
    /// A complete answer. `trailers` holds what followed the last chunk (`X-Stream-Error` names a late failure, IPFS-06).
    case end(ExchangeID, trailers: [Trailer])
    /// No answer, or a broken one.
    case failed(ExchangeID, reason: String)
    /// The pieces of a streamed request body have left the buffers.
    case drained(ExchangeID)

    package struct Trailer: Equatable, Sendable {
        package let name: String
        package let value: String
        package init(name: String, value: String) { self.name = name; self.value = value }
    }
    package var id: ExchangeID {
        switch self {
        case .head(let id, _), .body(let id, _), .end(let id, _), .failed(let id, _), .drained(let id): id
        }
    }
}
