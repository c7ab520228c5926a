// multistream-select 1.0: which protocol the bytes that follow are in. MSS-01..10.

import Encoding
import Kernel

/// One negotiation, of either side.
package struct Multistream: Sendable {
    package static let header = token("/multistream/1.0.0")
    private static let refusal = "na"
    /// The length of a token with its newline (MSS-01).
    private static let tokenBytesLimit = 1024
    /// A listener answers this many proposals. Upstream knows no limit but the deadline.
    private static let proposalsLimit = 64

    package enum Outcome: Equatable, Sendable {
        /// Bytes of the protocol itself may have come along.
        case agreed(String, rest: Bytes)
        /// A dialler's proposals were all answered by `na`.
        case refused
    }

    private enum Role {
        case dialler
        case listener
    }

    private let role: Role
    /// Dialler: what is still to be proposed, first the one that waits for its answer. Listener: what it accepts.
    private var protocols: [String]
    private var headerSeen = 0
    private var buffer: Bytes = []
    private var proposals = 0

    /// Protocols in the order of preference.
    package init(proposing protocols: [String]) {
        invariant(!protocols.isEmpty, "a proposal of no protocol")
        role = .dialler
        self.protocols = protocols
    }

    package init(accepting protocols: [String]) {
        role = .listener
        self.protocols = protocols
    }

    package static func token(_ text: String) -> Bytes { framed(Bytes(text.utf8) + [UInt8(ascii: "\n")]) }

    /// What is sent before anything is read (MSS-02). What follows a dialler's proposal may follow it at once if the other
    /// side is known to agree (MSS-07).
    package var opening: Bytes {
        switch role {
        case .dialler: Multistream.header + Multistream.token(protocols[0])
        case .listener: Multistream.header
        }
    }

    package mutating func receive(_ bytes: ArraySlice<UInt8>, reply: inout Bytes) throws(TransportError) -> Outcome? {
        let bytes = try receiveHeader(bytes)
        buffer.append(contentsOf: bytes)
        var offset = 0
        defer { buffer.removeSubrange(..<offset) }
        while let text = try nextToken(&offset) {
            switch role {
            case .dialler:
                if let outcome = try onAnswer(text, &offset, &reply) { return outcome }
            case .listener:
                if let outcome = try onProposal(text, &offset, &reply) { return outcome }
            }
        }
        return nil
    }

    /// Judged byte by byte: with a wrong secret the first one is garbage, and no more may come.
    private mutating func receiveHeader(_ bytes: ArraySlice<UInt8>) throws(TransportError) -> ArraySlice<UInt8> {
        var bytes = bytes
        while headerSeen < Multistream.header.count, let byte = bytes.popFirst() {
            guard byte == Multistream.header[headerSeen] else {
                throw TransportError("the other side does not speak /multistream/1.0.0")
            }
            headerSeen += 1
        }
        return bytes
    }

    private func nextToken(_ offset: inout Int) throws(TransportError) -> String? {
        var cursor = offset
        let length: UInt64
        do { length = try readVarint(buffer, at: &cursor) } catch {
            if error == .truncated { return nil }
            throw TransportError("multistream-select: malformed length")
        }
        guard length <= UInt64(Multistream.tokenBytesLimit) else {
            throw TransportError(
                "multistream-select: a message of \(length) bytes, \(Multistream.tokenBytesLimit) are allowed")
        }
        guard buffer.count - cursor >= Int(length) else { return nil }
        offset = cursor + Int(length)
        guard length > 0, buffer[offset - 1] == UInt8(ascii: "\n") else {
            throw TransportError("multistream-select: a message without newline")
        }
        return String(decoding: buffer[cursor..<offset - 1], as: UTF8.self)
    }

    private mutating func rest(_ offset: inout Int) -> Bytes {
        defer { offset = buffer.count }
        return Bytes(buffer[offset...])
    }

    private mutating func onAnswer(
        _ text: String, _ offset: inout Int, _ reply: inout Bytes
    ) throws(TransportError) -> Outcome? {
        if text == protocols[0] { return .agreed(text, rest: rest(&offset)) }
        guard text == Multistream.refusal else {
            throw TransportError("multistream-select: \(protocols[0]) was proposed and \(printable(text)) answered")
        }
        protocols.removeFirst()
        if protocols.isEmpty { return .refused }
        reply += Multistream.token(protocols[0])
        return nil
    }

    /// Anything unknown gets `na`, `ls` too (MSS-03).
    private mutating func onProposal(
        _ text: String, _ offset: inout Int, _ reply: inout Bytes
    ) throws(TransportError) -> Outcome? {
        if protocols.contains(text) {
            reply += Multistream.token(text)
            return .agreed(text, rest: rest(&offset))
        }
        proposals += 1
        guard proposals < Multistream.proposalsLimit else {
            throw TransportError("multistream-select: \(proposals) proposals, none of them known")
        }
        reply += Multistream.token(Multistream.refusal)
        return nil
    }
}

/// Foreign text for an error message: short, and without control characters.
func printable(_ text: String, limit: Int = 64) -> String {
    let shown = text.unicodeScalars.prefix(limit).map { $0.value < 0x20 || $0.value == 0x7f ? "?" : String($0) }.joined()
    return "\"\(shown)\(text.unicodeScalars.count > limit ? "…" : "")\""
}
