// Noise XX over a byte stream: handshake, then sealed messages. NOISE-01..14.

import Crypto
import Encoding
import Kernel
import Multiformats

package struct Noise: Sendable {
    package enum Role: Equatable, Sendable {
        case initiator(expecting: PeerID)
        case responder
    }

    package static let protocolID = "/noise"
    package static let messageBytesLimit = 65535
    package static let plainBytesLimit = messageBytesLimit - NoiseCipher.tagBytes

    private enum State {
        /// The initiator's second message, the responder's first and third.
        case awaitingEphemeral
        case awaitingIdentity
        case open
    }

    private let role: Role
    private let identity: IdentityKey
    private let staticKey: Bytes
    private let ephemeralKey: Bytes
    private let muxers: [String]
    private var state = State.awaitingEphemeral
    private var symmetric = NoiseSymmetricState()
    private var theirEphemeral: Bytes = []
    private var sending: NoiseCipher?
    private var receiving: NoiseCipher?
    private var frames = NoiseFrames()
    package private(set) var peer: SecuredPeer?

    /// `staticKey` and `ephemeralKey` are 32 fresh random bytes each (NOISE-05). `muxers` in the order of preference.
    package init(role: Role, identity: IdentityKey, staticKey: Bytes, ephemeralKey: Bytes, muxers: [String]) {
        invariant(staticKey.count == 32 && ephemeralKey.count == 32, "X25519 keys have 32 bytes")
        self.role = role
        self.identity = identity
        self.staticKey = staticKey
        self.ephemeralKey = ephemeralKey
        self.muxers = muxers
        symmetric.mixHash([])  // the empty prologue
    }

    /// The transcript hash, for tests against vectors.
    package var transcript: Bytes { symmetric.transcript }

    /// The initiator's first message; nothing for a responder.
    package mutating func start() throws(TransportError) -> Bytes {
        guard case .initiator = role else { return [] }
        let key = publicKey(ephemeralKey)
        symmetric.mixHash(key)
        return framed(key + (try symmetric.encryptAndHash([])))
    }

    /// Takes bytes of the stream. Handshake messages are answered in `reply`; sealed ones are opened into `plain`.
    package mutating func receive(
        _ bytes: Bytes, reply: inout Bytes, plain: inout Bytes
    ) throws(TransportError) {
        var rest = bytes[...]
        if state == .open { plain.reserveCapacity(plain.count + bytes.count) }
        while let message = frames.next(&rest) {
            switch (state, role) {
            case (.open, _): try open(message, &plain)
            case (.awaitingEphemeral, .initiator(let expected)): reply += framed(try onSecond(message, expected))
            case (.awaitingEphemeral, .responder): reply += framed(try onFirst(message))
            case (.awaitingIdentity, .responder): try onThird(message)
            case (.awaitingIdentity, .initiator): unreachable("an initiator is done after the second message")
            }
        }
    }

    /// Seals bytes into as many messages as they need.
    package mutating func seal(_ plain: Bytes, into out: inout Bytes) throws(TransportError) {
        invariant(state == .open, "sealing before the handshake is over")
        var rest = plain[...]
        let messages = plain.count / Noise.plainBytesLimit + 1
        out.reserveCapacity(out.count + plain.count + messages * (2 + NoiseCipher.tagBytes))
        while !rest.isEmpty {
            let part = rest.prefix(Noise.plainBytesLimit)
            let count = part.count + NoiseCipher.tagBytes
            out.append(UInt8(count >> 8))
            out.append(UInt8(count & 0xff))
            try sending?.seal(part, into: &out)
            rest = rest.dropFirst(part.count)
        }
    }

    private mutating func open(_ message: ArraySlice<UInt8>, _ plain: inout Bytes) throws(TransportError) {
        invariant(receiving != nil, "no key to open messages with")
        try receiving?.open(message, into: &plain)
    }

    // MARK: The three messages

    /// → e
    private mutating func onFirst(_ message: ArraySlice<UInt8>) throws(TransportError) -> Bytes {
        var message = message
        try takeEphemeral(&message)
        _ = try symmetric.decryptAndHash(message)
        // ← e, ee, s, es
        let ephemeral = publicKey(ephemeralKey)
        symmetric.mixHash(ephemeral)
        symmetric.mixKey(try agree(ephemeralKey, theirEphemeral))
        var out = ephemeral
        out += try symmetric.encryptAndHash(publicKey(staticKey))
        symmetric.mixKey(try agree(staticKey, theirEphemeral))
        out += try symmetric.encryptAndHash(payload)
        state = .awaitingIdentity
        return out
    }

    /// ← e, ee, s, es
    private mutating func onSecond(_ message: ArraySlice<UInt8>, _ expected: PeerID) throws(TransportError) -> Bytes {
        var message = message
        try takeEphemeral(&message)
        symmetric.mixKey(try agree(ephemeralKey, theirEphemeral))
        let theirStatic = try takeStatic(&message)
        symmetric.mixKey(try agree(ephemeralKey, theirStatic))
        let theirs = try NoisePayload(decoding: try symmetric.decryptAndHash(message))
        // Before anything is told to a stranger (NOISE-09).
        let key = try theirs.identity(staticKey: theirStatic, expecting: expected)
        // → s, se
        var out = try symmetric.encryptAndHash(publicKey(staticKey))
        symmetric.mixKey(try agree(staticKey, theirEphemeral))
        out += try symmetric.encryptAndHash(payload)
        finish(key, muxer: muxers.first { theirs.muxers?.contains($0) == true })
        return out
    }

    /// → s, se
    private mutating func onThird(_ message: ArraySlice<UInt8>) throws(TransportError) {
        var message = message
        let theirStatic = try takeStatic(&message)
        symmetric.mixKey(try agree(ephemeralKey, theirStatic))
        let theirs = try NoisePayload(decoding: try symmetric.decryptAndHash(message))
        let key = try theirs.identity(staticKey: theirStatic, expecting: nil)
        finish(key, muxer: theirs.muxers?.first { muxers.contains($0) })
    }

    private mutating func finish(_ key: PublicKey, muxer: String?) {
        let (initiator, responder) = symmetric.split()
        let isInitiator = role != .responder
        sending = NoiseCipher(key: isInitiator ? initiator : responder)
        receiving = NoiseCipher(key: isInitiator ? responder : initiator)
        peer = SecuredPeer(key: key, muxer: muxer)
        state = .open
    }

    // MARK: Parts

    private var payload: Bytes {
        NoisePayload(key: identity, staticKey: publicKey(staticKey), muxers: muxers).encoded
    }

    private mutating func takeEphemeral(_ message: inout ArraySlice<UInt8>) throws(TransportError) {
        theirEphemeral = try take(32, of: &message)
        symmetric.mixHash(theirEphemeral)
    }

    private mutating func takeStatic(_ message: inout ArraySlice<UInt8>) throws(TransportError) -> Bytes {
        let sealed = try take(32 + NoiseCipher.tagBytes, of: &message)
        return try symmetric.decryptAndHash(sealed[...])
    }

    private func take(_ count: Int, of message: inout ArraySlice<UInt8>) throws(TransportError) -> Bytes {
        guard message.count >= count else { throw TransportError("noise: a handshake message is too short") }
        defer { message = message.dropFirst(count) }
        return Bytes(message.prefix(count))
    }

    private func publicKey(_ key: Bytes) -> Bytes {
        guard let shown = x25519PublicKey(key) else { unreachable("OpenSSL without X25519") }
        return shown
    }

    private func agree(_ mine: Bytes, _ theirs: Bytes) throws(TransportError) -> Bytes {
        guard let secret = x25519(mine, theirs) else {
            throw TransportError("noise: the other side's session key is unusable")
        }
        return secret
    }

    /// Two bytes of length, big-endian (NOISE-03).
    private func framed(_ message: Bytes) -> Bytes {
        invariant(message.count <= Noise.messageBytesLimit, "a handshake message of \(message.count) bytes")
        return [UInt8(message.count >> 8), UInt8(message.count & 0xff)] + message
    }
}

/// Cuts the stream into messages. No length is wrong: two bytes cannot say more than is allowed.
private struct NoiseFrames: Sendable {
    /// The beginning of a message whose end has not come. Only that is copied.
    private var partial: Bytes = []

    /// The next whole message, its length taken off. What cannot be used yet is kept for the next time.
    mutating func next(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        if !partial.isEmpty { return completed(&rest) }
        guard let size = NoiseFrames.size(rest), size <= rest.count else {
            partial = Bytes(rest)
            rest = []
            return nil
        }
        defer { rest = rest.dropFirst(size) }
        return rest.prefix(size).dropFirst(2)
    }

    private mutating func completed(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        while true {
            let size = NoiseFrames.size(partial[...]) ?? 2
            if partial.count >= 2 && partial.count == size {
                defer { partial = [] }
                return partial[2...]
            }
            let part = rest.prefix(size - partial.count)
            if part.isEmpty { return nil }
            partial += part
            rest = rest.dropFirst(part.count)
        }
    }

    /// With the two bytes of the length.
    private static func size(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard bytes.count >= 2 else { return nil }
        return 2 + (Int(bytes[bytes.startIndex]) << 8 | Int(bytes[bytes.startIndex + 1]))
    }
}
