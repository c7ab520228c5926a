// What peers tell each other about themselves. IDF-01..10.

import Encoding
import Kernel
import Multiformats

package struct IdentifyMessage: Equatable, Sendable {
    package var publicKey: Bytes?
    package var listenAddresses: [Multiaddr] = []
    package var protocols: [String] = []
    package var observedAddress: Multiaddr?
    package var protocolVersion: String?
    package var agentVersion: String?
    /// A sealed `PeerRecord`.
    package var signedPeerRecord: Bytes?

    package static let protocolID = "/ipfs/id/1.0.0"
    package static let pushProtocolID = "/ipfs/id/push/1.0.0"
    /// Limits of upstream (IDF-03).
    package static let messageBytesLimit = 8 << 10
    private static let messagesLimit = 10
    static let totalBytesLimit = messagesLimit * (messageBytesLimit + 2)
    /// Of our own addresses: they are in the message twice, and it should have 4 KiB.
    static let ownAddressesBytesLimit = 3 << 9
    /// Beyond this the signed record goes in a message of its own (IDF-05).
    private static let singleMessageBytes = 2 << 10

    package init() {}

    package var encoded: Bytes {
        var writer = ProtobufWriter()
        if let publicKey { writer.explicit(1, bytes: publicKey) }
        for address in listenAddresses { writer.explicit(2, bytes: address.bytes) }
        for name in protocols { writer.explicit(3, string: name) }
        if let observedAddress { writer.explicit(4, bytes: observedAddress.bytes) }
        if let protocolVersion { writer.explicit(5, string: protocolVersion) }
        if let agentVersion { writer.explicit(6, string: agentVersion) }
        if let signedPeerRecord { writer.explicit(8, bytes: signedPeerRecord) }
        return writer.bytes
    }

    /// What is written to a stream: one framed message, or two.
    package var wire: Bytes {
        let whole = encoded
        if whole.count <= IdentifyMessage.singleMessageBytes || signedPeerRecord == nil { return framed(whole) }
        var first = self, second = IdentifyMessage()
        first.signedPeerRecord = nil
        second.signedPeerRecord = signedPeerRecord
        return framed(first.encoded) + framed(second.encoded)
    }

    /// All that came on a stream: the messages are merged (IDF-03). A bad address loses only itself (MA-03).
    package init(wire bytes: Bytes) throws(TransportError) {
        var frames = FrameReader(limitBytes: IdentifyMessage.messageBytesLimit)
        frames.append(bytes)
        var count = 0
        do {
            while count < IdentifyMessage.messagesLimit, let frame = try frames.next() {
                try merge(frame)
                count += 1
            }
        } catch let error as TransportError { throw error } catch { throw TransportError("identify: \(error)") }
        guard count > 0, frames.isEmpty else { throw TransportError("identify: the message is cut short") }
    }

    package mutating func merge(_ message: ArraySlice<UInt8>) throws(TransportError) {
        do {
            var reader = ProtobufReader(message)
            while let field = try reader.next() {
                switch field.number {
                case 1: publicKey = Bytes(try field.bytes())
                case 2: if let address = try? Multiaddr(try field.bytes()) { listenAddresses.append(address) }
                case 3: protocols.append(try field.string())
                case 4: observedAddress = try? Multiaddr(try field.bytes())
                case 5: protocolVersion = try field.string()
                case 6: agentVersion = try field.string()
                case 8: signedPeerRecord = Bytes(try field.bytes())
                default: break
                }
            }
        } catch { throw TransportError("identify: malformed message: \(error)") }
    }

    /// Where the sender listens: what it has signed, or else what it says (IDF-08), so far as that can be reached by who
    /// talks to it at `remote`.
    package func usableAddresses(of peer: PeerID, seenAt remote: Multiaddr, limit: Int) -> [Multiaddr] {
        let signed = signedPeerRecord.flatMap { try? PeerRecord(sealed: $0, by: peer) }
        let all = (signed?.addresses ?? listenAddresses).map(\.withoutPeer)
        let reach = AddressReach(remote)
        return Array(all.filter { !$0.bytes.isEmpty && AddressReach($0) >= reach }.prefix(limit))
    }
}

/// From how far away an address can be reached.
enum AddressReach: Int, Comparable {
    case loopback, local, global
    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// Names are taken for global.
    init(_ address: Multiaddr) {
        self = address.isLoopback ? .loopback : address.isPrivate ? .local : .global
    }
}
