// Why a connection cannot go on. What the other side did is named; so is what to do, where there is something to do.

import Kernel

package struct TransportError: Error, Equatable, Sendable, CustomStringConvertible {
    package let reason: String
    /// Told to the other side before closing, where the muxer stands (YMX-12, YMX-14).
    package let goAway: UInt32?
    package init(_ reason: String, goAway: UInt32? = nil) {
        self.reason = reason
        self.goAway = goAway
    }
    package var description: String { reason }
}

/// Codes of stream resets (YMX-15).
package enum ResetCode {
    package static let none: UInt32 = 0
    package static let negotiationFailed: UInt32 = 0x1001
    package static let resourceLimit: UInt32 = 0x1002
    package static let rateLimited: UInt32 = 0x1003
    package static let protocolViolation: UInt32 = 0x1004
}

/// Codes of go-away (YMX-12, YMX-14).
package enum GoAwayCode {
    package static let normal: UInt32 = 0
    package static let protocolError: UInt32 = 1
    package static let resourceLimit: UInt32 = 0x1001
    package static let garbageCollected: UInt32 = 0x1005
    package static let shutdown: UInt32 = 0x1006

    package static func describe(_ code: UInt32) -> String {
        switch code {
        case 0: "normal end"
        case 1: "protocol error"
        case 2: "internal error"
        case 0x1000: "negotiation failed"
        case 0x1001: "resource limit"
        case 0x1002: "rate limited"
        case 0x1003: "protocol violation"
        case 0x1004: "supplanted"
        case 0x1005: "connection manager"
        case 0x1006: "shutdown"
        case 0x1007: "gated"
        default: "code \(code)"
        }
    }
}
