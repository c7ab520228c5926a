// The transport's machines, each alone and all together: strangers without a secret, and peers that have proven who they are.

import Crypto
import HTTP
import Kernel
import Multiformats
import Seams
import Transport

extension Target {
    static let transport: [Target] = [
        Target("multistream", upTo: 512, seeds: {
            [[0] + Multistream.header + Multistream.token("/noise"), [1] + Multistream.header + Multistream.token("na") + Multistream.token("/b")]
        }) { bytes in
            guard let first = bytes.first else { return }
            var machine = first & 1 == 0 ? Multistream(accepting: ["/noise", "/a"]) : Multistream(proposing: ["/a", "/b"])
            var reply = machine.opening
            var rest = bytes.dropFirst()
            while !rest.isEmpty {
                let part = rest.prefix(1 + Int(first >> 1))
                rest = rest.dropFirst(part.count)
                let outcome: Multistream.Outcome?
                do { outcome = try machine.receive(part, reply: &reply) } catch { return }  // the stream is reset
                guard let outcome else { continue }
                if case .agreed(let name, let more) = outcome {
                    require(["/noise", "/a", "/b"].contains(name) && more.count <= part.count, "\(name) with \(more.count) bytes")
                }
                break
            }
            require(reply.count < 64 * 64, "\(reply.count) bytes of answers")
        },
        Target("yamux", upTo: 1024, seeds: Target.yamuxSeeds) { bytes in
            var script = Script(bytes)
            var settings = ConnectionSettings()
            settings.inboundStreamsLimit = 8
            var machine = Yamux(isClient: script.byte() & 1 == 0, settings: settings)
            var own: [SubstreamID] = []
            var events: [Yamux.Event] = []
            while !script.isOver {
                let id = own.isEmpty ? machine.live.last ?? 1 : own[own.count - 1]
                switch script.below(8) {
                case 0: if own.count < 300, let id = machine.open() { own.append(id) }
                case 1: machine.send(id, script.piece())
                case 2: machine.closeWrite(id)
                case 3: machine.reset(id)
                case 4: machine.pump(budget: 1 << 12, events: &events)
                case 5: machine.ping(UInt32(script.byte()))
                default: if (try? machine.receive(script.piece(), events: &events)) == nil { return }
                }
                require(machine.count <= 8 + own.count, "\(machine.count) streams")
                require(machine.live.count == machine.count, "streams are counted wrong")
                if events.last == .goAway(code: 0) { return }
                if machine.output.count > 1 << 16 { machine.output = [] }
            }
        },
        Target("noise", upTo: 512, seeds: Target.noiseSeeds) { bytes in
            // Either end, told what an honest other end says, changed on its way.
            var script = Script(bytes)
            var me = script.byte() & 1 == 0 ? Wire.initiator : Wire.responder
            var reply: Bytes = [], plain: Bytes = []
            while !script.isOver, (try? me.receive(script.piece(), reply: &reply, plain: &plain)) != nil {}
            require(plain.count <= bytes.count, "\(plain.count) bytes out of \(bytes.count)")
        },
        Target.choice("tls-certificate", upTo: 1024, [
            // A whole certificate, changed on its way.
            (seeds: { [Wire.certificate.der] }, run: { bytes in
                if let read = Certificate(der: bytes) {
                    for time in [0, 1_700_000_000, Int64.max / 2] { _ = read.validity(at: WallTime(seconds: time)) }
                    _ = (read.isSelfSigned, read.unknownCritical(besides: TLSCertificate.keyExtension), read.subjectPublicKeyInfo)
                }
                let key = try? TLSCertificate.identity(of: [bytes], expecting: nil, now: Here.now.wall)
                require(key == nil || key == Wire.me.publicKey, "\(String(describing: key)) has signed nothing")
            }),
            // A sound one, that says anything of the peer.
            (seeds: { [Wire.certificate.value(of: TLSCertificate.keyExtension) ?? []] }, run: { bytes in
                comesBack(bytes, { try TLSCertificate.SignedKey(der: $0) }, \.der)
                let signer = (try? TLSCertificate.SignedKey(der: bytes)).flatMap { try? $0.identity(certifying: Wire.certified, expecting: nil) }
                require(signer == nil || signer == Wire.me.publicKey, "\(String(describing: signer)) has signed nothing")
                // Making a certificate takes long, and says little more: some of it will do.
                guard bytes.count & 3 == 0 else { return }
                var terms = CertificateTerms(serial: 5, subject: "7", notBefore: Here.now.wall, notAfter: Here.at(3_600_000).wall)
                terms.extensions = [(TLSCertificate.keyExtension, bytes.count & 1 == 0, bytes)]
                guard let made = Wire.certificateKey.certificate(terms) else { fatalError("no certificate") }
                require(made.isSelfSigned && made.validity(at: Here.at(1).wall) == .valid, "no sound certificate")
                let key = try? TLSCertificate.identity(of: [made.der], expecting: nil, now: Here.at(1).wall)
                require(key == nil || key == Wire.me.publicKey, "\(String(describing: key)) has signed nothing")
            }),
        ]),
        Target("tls", upTo: 1024, seeds: Target.tlsSeeds) { bytes in
            // Either end, told what nobody has sealed: OpenSSL's own keys are new each time.
            var script = Script(bytes)
            let isDialler = script.byte() & 1 == 0
            var me = TLSChannel(
                role: isDialler ? .dialler(expecting: Here.key(2).peerID) : .listener, credentials: Wire.credentials, muxers: [Yamux.protocolID])
            var reply: Bytes = [], plain: Bytes = []
            guard (try? me.start()) != nil else { return }
            while !script.isOver, (try? me.receive(script.piece(), now: Here.now.wall, reply: &reply, plain: &plain)) != nil {}
            require(me.peer == nil && plain.isEmpty, "a handshake with nobody")
            require(reply.count < 16 << 10, "\(reply.count) bytes of answers")
        },
        Target("web-socket", upTo: 1024, seeds: Target.webSocketSeeds) { bytes in
            // Either end, agreed or not, told anything; what one wraps the other takes out again.
            var script = Script(bytes)
            let first = script.byte(), isClient = first & 1 == 0
            var me = first & 2 == 0 ? WebSocket(isClient ? .client(host: "a:1") : .server, entropy: Wire.entropy(48)) : isClient ? Wire.sockets.0 : Wire.sockets.1
            var reply: Bytes = [], payload: Bytes = [], taken = 0
            while !script.isOver {
                let piece = script.piece()
                taken += piece.count
                guard (try? me.receive(piece, reply: &reply, payload: &payload)) != nil else { break }
            }
            require(payload.count <= taken && reply.count <= 4 * taken + 4096, "\(payload.count) bytes and \(reply.count) of answers out of \(taken)")
            require(me.hasAgreed || payload.isEmpty, "a stream before anything was agreed on")
            guard me.isOpen, reply.isEmpty else { return }
            var message = payload, other = isClient ? Wire.sockets.1 : Wire.sockets.0, came: Bytes = []
            me.wrap(&message)
            require((try? other.receive(message + me.close(), reply: &reply, payload: &came)) == nil && came == payload, "other bytes arrived")
        },
        Target("private-network", upTo: 1024, seeds: { [Bytes(0..<200)] }) { bytes in
            // Cut however, what one end seals the other opens.
            var script = Script(bytes)
            let key = Bytes(repeating: 5, count: 32)
            var sender = PrivateNetwork(key: key, nonce: Bytes(repeating: 6, count: 24)), receiver = PrivateNetwork(key: key, nonce: Bytes(repeating: 7, count: 24))
            var sent: Bytes = [], wire: Bytes = [], received: Bytes = []
            while !script.isOver {
                var piece = script.piece()
                sent += piece
                sender.seal(&piece)
                wire += piece
                let count = min(wire.count, script.below(64))
                received += receiver.opened(Bytes(wire[..<count]))
                wire.removeFirst(count)
            }
            received += receiver.opened(wire)
            require(received == sent, "other bytes arrived")
        },
        Target("connection-stranger", upTo: 1024, seeds: { [[0] + Wire.proposal, [0] + Script.step(0, Multistream.header + Multistream.token("/tls/1.0.0")).dropFirst() + [40] + Bytes(repeating: 22, count: 40), [1] + Multistream.header + Multistream.token("/noise"), [2] + Bytes(repeating: 8, count: 60), [4] + Script.step(0, [0x82, 0x94, 0, 0, 0, 0] + Multistream.header).dropFirst() + [255, 0x82, 0x87, 0, 0, 0, 0] + Multistream.token("/noise")] }) { bytes in
            // Nobody has proven anything yet; with or without a cluster secret, on TCP or over a WebSocket that is agreed on.
            guard let first = bytes.first else { return }
            var machine = first & 4 != 0 ? Wire.overWebSocket : first & 1 == 0 ? first & 2 == 0 ? Wire.stranger : Wire.secretive : Wire.dialler
            var effects: [Connection.Effect] = []
            machine.start(now: Here.now, effects: &effects)
            var script = Script(Bytes(bytes.dropFirst()))
            while !script.isOver, !machine.isClosed { machine.onBytes(script.piece(), now: Here.now, effects: &effects) }
            Wire.check(effects, machine)
        },
        Target("connection", upTo: 1024, seeds: Target.connectionSeeds) { bytes in
            var script = Script(bytes)
            var (machine, noise) = script.byte() & 1 == 0 ? Wire.early : Wire.late
            var all: [Connection.Effect] = []
            var unwritten = 0
            var stream: SubstreamID = 2
            var now: Int64 = 1
            while !script.isOver, !machine.isClosed {
                var effects: [Connection.Effect] = []
                switch script.below(10) {
                case 0: stream = machine.open(["/echo/1", "/sink/2"], known: false, now: Here.at(now), effects: &effects) ?? stream
                case 1: machine.send(stream, script.piece(), now: Here.at(now), effects: &effects)
                case 2: machine.closeWrite(stream, now: Here.at(now), effects: &effects)
                case 3: machine.reset(stream, now: Here.at(now), effects: &effects)
                case 4:
                    machine.onWritten(unwritten, now: Here.at(now), effects: &effects)
                    unwritten = 0
                case 5:
                    now += Int64(script.byte()) * 100
                    machine.onTime(now: Here.at(now), effects: &effects)
                case 6: machine.onBytes(script.piece(), now: Here.at(now), effects: &effects)
                default:
                    var sealed: Bytes = []
                    _ = try? noise.seal(script.piece(), into: &sealed)
                    machine.onBytes(sealed, now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .write(let bytes): unwritten += bytes.count
                    case .incoming(let id, _), .opened(let id, _): stream = id
                    default: break
                    }
                }
                all += effects
            }
            Wire.check(all, machine)
        },
        Target("host", upTo: 1024, seeds: Target.connectionSeeds) { bytes in
            var script = Script(bytes)
            var host = Wire.host
            var noise = Wire.hostNoise
            let socket = SocketID.inbound(1)
            _ = script.byte()
            var now: Int64 = 1
            var unwritten = 0
            var streams: [StreamID] = []
            var number: UInt64 = 0
            while !script.isOver {
                var effects: [Host.Effect] = []
                switch script.below(8) {
                case 0:
                    number += 1
                    streams.append(StreamID(owner: 3, number: number))
                    host.onEffect(StreamEffect.open(streams[streams.count - 1], to: Here.key(2).peerID, protocols: ["/echo/1"]), now: Here.at(now), effects: &effects)
                case 1: if let id = streams.last { host.onEffect(StreamEffect.send(id, script.piece()), now: Here.at(now), effects: &effects) }
                case 2: if let id = streams.last { host.onEffect(StreamEffect.closeWrite(id), now: Here.at(now), effects: &effects) }
                case 3: if let id = streams.popLast() { host.onEffect(StreamEffect.reset(id), now: Here.at(now), effects: &effects) }
                case 4:
                    host.onSocket(.written(socket, unwritten), entropy: Wire.entropy, now: Here.at(now), effects: &effects)
                    unwritten = 0
                case 5:
                    now += Int64(script.byte()) * 100
                    host.onTime(now: Here.at(now), effects: &effects)
                default:
                    var sealed: Bytes = []
                    _ = try? noise.seal(script.piece(), into: &sealed)
                    host.onSocket(.received(socket, sealed), entropy: Wire.entropy, now: Here.at(now), effects: &effects)
                }
                for effect in effects {
                    switch effect {
                    case .socket(.write(_, let bytes)): unwritten += bytes.count
                    case .socket(.close): return
                    case .stream(.incoming(let id, _, _)): streams.append(id)
                    default: break
                    }
                }
                require(host.streamCount <= 2048 && host.socketCount <= 1, "\(host.streamCount) streams")
            }
        },
    ]

    private static func frame(_ kind: YamuxHeader.Kind, _ flags: YamuxHeader.Flags, _ stream: UInt32, _ length: UInt32, _ body: Bytes = []) -> Bytes {
        var out: Bytes = []
        YamuxHeader(kind, flags, stream: stream, length: length).append(to: &out)
        return out + body
    }
    private static func opening(_ name: String, stream: UInt32, _ more: Bytes = []) -> Bytes {
        let body = Multistream.header + Multistream.token(name) + more
        return frame(.windowUpdate, .syn, stream, 0) + frame(.data, [], stream, UInt32(body.count), body)
    }
    @Sendable private static func yamuxSeeds() -> [Bytes] {
        let talk = frame(.windowUpdate, .syn, 2, 0) + frame(.data, [], 2, 5, [1, 2, 3, 4, 5]) + frame(.data, .fin, 2, 1, [9])
        return [
            [0] + Script.step(7, talk) + [1, 3, 7, 8, 9, 4, 2],
            [1] + Script.step(7, frame(.windowUpdate, .syn, 1, 300_000) + frame(.ping, .syn, 0, 77) + frame(.windowUpdate, .rst, 1, 5)),
            [0] + [0, 0, 1, 2, 8, 8, 4] + Script.step(6, frame(.windowUpdate, .ack, 1, 0) + frame(.windowUpdate, [.ack, .fin], 3, 0)) + [2, 4],
            [0] + Script.step(6, frame(.goAway, [], 0, 0)),
        ]
    }
    @Sendable private static func connectionSeeds() -> [Bytes] {
        let muxer = Multistream.header + Multistream.token("/yamux/1.0.0")
        var identity = IdentifyMessage()
        identity.protocols = ["/echo/1", "/ipfs/id/push/1.0.0"]
        return [
            [0] + Script.step(7, opening("/echo/1", stream: 1, [1, 2, 3])) + [1, 2, 5, 5, 4, 2] + Script.step(7, frame(.windowUpdate, .fin, 1, 0)),
            [1] + Script.step(7, muxer + opening("/sink/2", stream: 1)) + [4, 3],
            [0, 0, 1, 2, 7, 7] + Script.step(7, frame(.windowUpdate, .ack, 2, 0)
                + frame(.data, [], 2, UInt32((Multistream.header + Multistream.token("na")).count), Multistream.header + Multistream.token("na"))) + [4],
            [0] + Script.step(7, opening("/ipfs/ping/1.0.0", stream: 1, Bytes(repeating: 7, count: 32))) + [4]
                + Script.step(7, opening("/ipfs/id/1.0.0", stream: 3)) + [4] + Script.step(7, opening("/ipfs/id/push/1.0.0", stream: 5, identity.wire) + frame(.windowUpdate, .fin, 5, 0)) + [5, 200, 5, 200],
        ]
    }
    @Sendable private static func noiseSeeds() -> [Bytes] {
        // What the other end would say: the same keys give the same bytes.
        var (a, b) = (Wire.noise(.initiator(expecting: Here.key(1).peerID)), Wire.noise(.responder))
        var toA: Bytes = [], toB: Bytes = [], plain: Bytes = []
        var mine = Noise(role: .responder, identity: Wire.me, staticKey: Bytes(repeating: 3, count: 32), ephemeralKey: Bytes(repeating: 4, count: 32), muxers: [Yamux.protocolID])
        var other = Noise(role: .initiator(expecting: Here.key(2).peerID), identity: Wire.me, staticKey: Bytes(repeating: 3, count: 32), ephemeralKey: Bytes(repeating: 4, count: 32), muxers: [Yamux.protocolID])
        guard let first = try? a.start(), (try? mine.receive(first, reply: &toA, plain: &plain)) != nil,
            (try? a.receive(toA, reply: &toB, plain: &plain)) != nil, let hello = try? other.start()
        else { fatalError("no handshake") }
        var sealed: Bytes = [], toOther: Bytes = []
        _ = try? a.seal([1, 2, 3], into: &sealed)
        guard (try? b.receive(hello, reply: &toOther, plain: &plain)) != nil else { fatalError("no answer") }
        return [[1] + Script.step(0, first).dropFirst() + Script.step(0, toB).dropFirst() + Script.step(0, sealed).dropFirst(), [0] + Script.step(0, toOther).dropFirst()]
    }
}

extension Target {
    /// What each end says first.
    @Sendable fileprivate static func tlsSeeds() -> [Bytes] {
        var dialler = TLSChannel(role: .dialler(expecting: Wire.me.peerID), credentials: Wire.credentials, muxers: [Yamux.protocolID])
        var listener = TLSChannel(role: .listener, credentials: Wire.credentials, muxers: [Yamux.protocolID])
        var toDialler: Bytes = [], plain: Bytes = []
        guard let hello = try? dialler.start(),
            (try? listener.receive(hello, now: Here.now.wall, reply: &toDialler, plain: &plain)) != nil
        else { fatalError("no handshake") }
        return [[1] + Script.step(0, hello).dropFirst(), [0] + Script.step(0, toDialler).dropFirst()]
    }
}

extension Target {
    /// A request and an answer, and frames of all kinds, masked and not.
    @Sendable fileprivate static func webSocketSeeds() -> [Bytes] {
        let client = WebSocket(.client(host: "a:1"), entropy: Wire.entropy(48))
        var server = WebSocket(.server, entropy: Wire.entropy(48))
        var answer: Bytes = [], none: Bytes = []
        guard (try? server.receive(client.opening, reply: &answer, payload: &none)) != nil else { fatalError("no handshake") }
        let frames: Bytes = [0x82, 0x03, 1, 2, 3, 0x89, 0x02, 4, 5, 0x02, 0x01, 6, 0x80, 0x01, 7, 0x88, 0x02, 0x03, 0xe8]
        let masked: Bytes = [0x82, 0x83, 9, 9, 9, 9, 1, 2, 3, 0x8a, 0x80, 9, 9, 9, 9, 0x82, 0xfe, 0, 126, 9, 9, 9, 9] + Bytes(repeating: 3, count: 126)
        return [
            [1] + Script.step(0, client.opening).dropFirst(), [0] + Script.step(0, answer).dropFirst(), [2] + Script.step(0, frames).dropFirst(),
            [3] + Script.step(0, masked).dropFirst(), [0] + Script.step(0, answer + frames).dropFirst(),
        ]
    }
}

/// Connections that have come as far as is wanted, made once: a machine is a value.
enum Wire {
    static let me = Here.key(1)
    static let credentials = TLSCertificate.credentials(of: me, entropy: entropy(TLSCertificate.entropyBytes), now: Here.now.wall)
    static let certificate = credentials.certificate
    static let certificateKey: SigningKey = {
        guard let key = SigningKey(p256: entropy(32)) else { fatalError("no key") }
        return key
    }()
    static let certified = certificate.subjectPublicKeyInfo
    static let proposal = Script.step(0, Multistream.header + Multistream.token("/noise")).dropFirst() + [40] + Bytes(repeating: 1, count: 40)
    static let protocols = ["/echo/1", "/sink/2"]
    @Sendable static func entropy(_ count: Int) -> Bytes { Bytes(repeating: 9, count: count) }

    static func listener(secret: Bytes? = nil, over webSocket: WebSocket? = nil) -> Connection {
        Connection(role: .listener, webSocket: webSocket, key: me, networkKey: secret, entropy: entropy(88), protocols: protocols, securities: [.noise, .tls(credentials)], now: Here.now)
    }
    static let dialler = Connection(role: .dialler(expecting: Here.key(2).peerID), key: me, networkKey: nil, entropy: entropy(88), protocols: protocols, securities: [.noise, .tls(credentials)], now: Here.now)

    /// Both ends of a WebSocket, agreed.
    static let sockets: (WebSocket, WebSocket) = {
        var client = WebSocket(.client(host: "a:1"), entropy: entropy(48)), server = WebSocket(.server, entropy: entropy(48))
        var answer: Bytes = [], none: Bytes = [], rest: Bytes = []
        guard (try? server.receive(client.opening, reply: &answer, payload: &none)) != nil, (try? client.receive(answer, reply: &none, payload: &rest)) != nil
        else { fatalError("no handshake") }
        return (client, server)
    }()

    static let stranger = listener(), secretive = listener(secret: Bytes(repeating: 5, count: 32)), overWebSocket = listener(over: sockets.1)

    /// Both ends of a handshake, begun.
    static let initiator = begun(.initiator(expecting: Here.key(2).peerID)), responder = begun(.responder)
    private static func begun(_ role: Noise.Role) -> Noise {
        var noise = Noise(role: role, identity: me, staticKey: Bytes(repeating: 3, count: 32), ephemeralKey: Bytes(repeating: 4, count: 32), muxers: [Yamux.protocolID])
        guard (try? noise.start()) != nil else { fatalError("no handshake") }
        return noise
    }

    static func noise(_ role: Noise.Role, muxers: [String] = [Yamux.protocolID]) -> Noise {
        Noise(role: role, identity: Here.key(2), staticKey: Bytes(repeating: 13, count: 32), ephemeralKey: Bytes(repeating: 14, count: 32), muxers: muxers)
    }

    /// A listener and the other end of its handshake.
    static let early = secured([Yamux.protocolID]), late = secured([])
    private static func secured(_ muxers: [String]) -> (Connection, Noise) {
        var machine = listener()
        let noise = shake(muxers) { bytes in
            var effects: [Connection.Effect] = []
            if bytes.isEmpty { machine.start(now: Here.now, effects: &effects) } else { machine.onBytes(bytes, now: Here.now, effects: &effects) }
            var written: Bytes = []
            for case .write(let more) in effects { written += more }
            machine.onWritten(written.count, now: Here.now, effects: &effects)
            return written
        }
        return (machine, noise)
    }

    private static func shake(_ muxers: [String], _ talk: (Bytes) -> Bytes) -> Noise {
        var noise = noise(.initiator(expecting: me.peerID), muxers: muxers)
        var reply: Bytes = [], plain: Bytes = []
        do {
            _ = talk([])
            _ = talk(Multistream.header + Multistream.token(Noise.protocolID))
            try noise.receive(talk(try noise.start()), reply: &reply, plain: &plain)
            _ = talk(reply)
        } catch { fatalError("no handshake: \(error)") }
        require(noise.peer?.key.peerID == me.peerID, "no handshake")
        return noise
    }

    private static let hosted: (Host, Noise) = {
        var host = Host(key: me, networkKey: nil, protocols: protocols)
        let socket = SocketID.inbound(1)
        guard let remote = try? Multiaddr(text: "/ip4/127.0.0.1/tcp/4001") else { fatalError("no address") }
        let noise = shake([Yamux.protocolID]) { bytes in
            var effects: [Host.Effect] = []
            let event = bytes.isEmpty ? SocketEvent.accepted(socket, remote: remote) : .received(socket, bytes)
            host.onSocket(event, entropy: entropy, now: Here.now, effects: &effects)
            var written: Bytes = []
            for case .socket(.write(_, let more)) in effects { written += more }
            host.onSocket(.written(socket, written.count), entropy: entropy, now: Here.now, effects: &effects)
            return written
        }
        require(host.isConnected(Here.key(2).peerID), "nobody has come")
        return (host, noise)
    }()
    static let host = hosted.0, hostNoise = hosted.1

    /// The end is the end, and nothing is heard of streams that are over or never were.
    static func check(_ effects: [Connection.Effect], _ machine: Connection) {
        var live: Set<SubstreamID> = []
        var isClosed = false
        for effect in effects {
            require(!isClosed, "\(effect) after the end")
            switch effect {
            case .close: isClosed = true
            case .opened(let id, _): require(live.insert(id).inserted, "\(id) twice")
            // Who has ended a stream may give its number to another; that it has ended here as well the muxer has looked at.
            case .incoming(let id, _): live.insert(id)
            case .received(let id, let bytes): require(live.contains(id) && !bytes.isEmpty, "bytes of \(id)")
            case .reset(let id): require(live.remove(id) != nil, "\(id) was reset and is not there")
            case .write, .secured, .failed, .remoteClosed, .drained: break
            }
        }
        require(isClosed == machine.isClosed, "the end was not told")
        require(machine.streamCount <= 2048, "\(machine.streamCount) streams")
    }
}
