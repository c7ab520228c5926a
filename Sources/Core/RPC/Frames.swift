// What goes over an RPC stream: bare msgpack values, one after another. spec/wire-rpc.md RPC-01..17.

import Encoding
import Kernel

/// ErrType of a response (RPC-06).
package enum RPCErrorType: Int64, Sendable {
    case application = 0
    case server = 1
    case client = 2
    case authorization = 3
}

/// Why a call failed. `type` tells a peer that refuses us (which listings skip, IRPC-16) from one that is broken.
package struct RPCFailure: Error, Equatable, Sendable {
    package var type: RPCErrorType
    package var message: String
    package init(_ type: RPCErrorType, _ message: String) { self.type = type; self.message = message }
}

struct RPCHeader: Equatable {
    var method: RPCMethod?
    var error = ""
    var errorType: Int64 = 0

    func write(to writer: inout MessagePackWriter) {
        writer.map((method == nil ? 0 : 1) + (error.isEmpty ? 0 : 1) + (errorType == 0 ? 0 : 1))
        if let method {
            writer.string("Service")
            method.write(to: &writer)
        }
        if !error.isEmpty {
            writer.string("Error")
            writer.string(error)
        }
        if errorType != 0 {
            writer.string("ErrType")
            writer.int(errorType)
        }
    }

    init(method: RPCMethod?, error: String = "", errorType: Int64 = 0) {
        self.method = method
        self.error = error
        self.errorType = errorType
    }

    init(reading reader: inout MessagePackReader) throws(MessagePackError) {
        for _ in 0..<(try reader.map()) {
            switch try reader.string() {
            case "Error": error = try reader.string()
            case "ErrType": errorType = try reader.int()
            default: try reader.skip()
            }
        }
    }

    var failure: RPCFailure? {
        error.isEmpty && errorType == 0 ? nil : RPCFailure(RPCErrorType(rawValue: errorType) ?? .application, error)
    }
}

extension RPCMethod {
    /// ServiceID (RPC-03).
    func write(to writer: inout MessagePackWriter) {
        writer.map(2)
        writer.string("Name")
        writer.string(service)
        writer.string("Method")
        writer.string(name)
    }

    init(reading reader: inout MessagePackReader) throws(MessagePackError) {
        var service = "", name = ""
        for _ in 0..<(try reader.map()) {
            switch try reader.string() {
            case "Name": service = try reader.string()
            case "Method": name = try reader.string()
            default: try reader.skip()
            }
        }
        self.init(service, name)
    }
}

/// Cuts a byte stream into msgpack values, holding what is incomplete up to a limit.
struct ValueBuffer: Sendable {
    enum Failure: Error, Equatable { case tooLarge, malformed(MessagePackError) }
    private var bytes: Bytes = []
    private var start = 0
    /// How much of the value that has begun is known to be there, and what of it is to come: no byte is looked at twice.
    private var scanned = 0, left = 1
    var limitBytes: Int

    init(limitBytes: Int) { self.limitBytes = limitBytes }

    mutating func append(_ more: Bytes) {
        if start == bytes.count {
            bytes = more
        } else {
            if start > 0 { bytes.removeSubrange(..<start) }
            bytes.append(contentsOf: more)
        }
        start = 0
    }
    var isEmpty: Bool { start == bytes.count }

    /// The next complete value, or nil when more bytes are needed.
    mutating func next() throws(Failure) -> Bytes? {
        guard start < bytes.count else { return nil }
        var reader = MessagePackReader(bytes[(start + scanned)...])
        do throws(MessagePackError) {
            try reader.skip(&left)
            let value = bytes[start..<reader.offset]
            (start, scanned, left) = (reader.offset, 0, 1)
            return Bytes(value)
        } catch .truncated {
            scanned = reader.offset - start
            guard bytes.count - start <= limitBytes else { throw .tooLarge }
            return nil
        } catch { throw .malformed(error) }
    }
}
