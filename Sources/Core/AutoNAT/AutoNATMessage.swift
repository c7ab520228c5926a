// What is asked and answered about who can be reached from outside. spec/wire-transport.md REL-04.

import Encoding
import Kernel
import Multiformats

package struct AutoNATMessage: Equatable, Sendable {
    package enum Status: UInt64, Sendable {
        case ok = 0
        case dialError = 100
        case refused = 101
        case badRequest = 200
        case internalError = 300
    }
    package struct Request: Equatable, Sendable {
        /// Whoever asks; nil if it does not say so.
        package var peer: Bytes?
        package var addresses: [Bytes]
        package init(peer: Bytes?, addresses: [Bytes]) { (self.peer, self.addresses) = (peer, addresses) }
    }
    package struct Response: Equatable, Sendable {
        /// Nil: of no kind that is known.
        package var status: Status?
        package var text: String
        package var address: Bytes
        package init(_ status: Status?, text: String = "", address: Bytes = []) {
            (self.status, self.text, self.address) = (status, text, address)
        }
    }

    package var isResponse = false
    /// Nil: the question does not say who is to be dialled.
    package var request: Request?
    package var response: Response?

    package init(request: Request?) { self.request = request }
    package init(response: Response) { (isResponse, self.response) = (true, response) }

    package var encoded: Bytes {
        var writer = ProtobufWriter()
        writer.explicit(1, varint: isResponse ? 1 : 0)
        if let request {
            writer.message(2) {
                $0.message(1) {
                    if let peer = request.peer { $0.explicit(1, bytes: peer) }
                    for address in request.addresses { $0.explicit(2, bytes: address) }
                }
            }
        }
        if let response {
            writer.message(3) {
                if let status = response.status { $0.explicit(1, varint: status.rawValue) }
                if !response.text.isEmpty { $0.string(2, response.text) }
                if !response.address.isEmpty { $0.bytes(3, response.address) }
            }
        }
        return writer.bytes
    }
    package var frame: Bytes { framed(encoded) }

    package init(decoding bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                let type = try field.uint64()
                guard type <= 1 else { throw AutoNATFault.unknownType(type) }
                isResponse = type == 1
            case 2: try AutoNATMessage.readDial(field.message(), into: &request)
            case 3: response = try AutoNATMessage.readResponse(field.message())
            default: break
            }
        }
    }

    private static func readDial(_ message: ProtobufReader, into request: inout Request?) throws {
        var reader = message
        while let field = try reader.next() {
            guard field.number == 1 else { continue }
            var inner = try field.message()
            var read = Request(peer: nil, addresses: [])
            while let field = try inner.next() {
                switch field.number {
                case 1: read.peer = Bytes(try field.bytes())
                case 2: read.addresses.append(Bytes(try field.bytes()))
                default: break
                }
            }
            request = read
        }
    }

    private static func readResponse(_ message: ProtobufReader) throws -> Response {
        var (reader, response) = (message, Response(.ok))
        while let field = try reader.next() {
            switch field.number {
            case 1: response.status = Status(rawValue: try field.uint64())
            case 2: response.text = try field.string()
            case 3: response.address = Bytes(try field.bytes())
            default: break
            }
        }
        return response
    }
}

package enum AutoNATFault: Error, Equatable, Sendable {
    case unknownType(UInt64)
    case unexpected
}
