// The transcripts of what makes a connection: multistream-select, Noise, yamux, and the services of every host.

import Encoding
import HTTP
import Kernel
import Multiformats
import Seams
import Testing
import Transport

@Suite struct LinkTests {
    private func tokens(_ bytes: Bytes) -> [String] {
        var reader = FrameReader(limitBytes: 1024)
        reader.append(bytes)
        var lines: [String] = []
        while let frame = try? reader.next() { lines.append(shown(Bytes(frame.dropLast())) + " and a newline") }
        return lines
    }

    @Test func multistream() throws {
        var transcript = Transcript("multistream", "multistream-select 1.0.0 (MSS-01..04)")
        for (remark, proposed, accepted) in [
            ("What is proposed is known.", ["/noise"], ["/noise"]),
            ("The first is not known, the second is.", ["/meshsub/1.2.0", "/meshsub/1.1.0"], ["/meshsub/1.1.0", "/ipfs/ping/1.0.0"]),
            ("None is known.", ["/a", "/b"], ["/c"]),
        ] {
            transcript.remark(remark)
            var ends: [Side: Multistream] = [.a: Multistream(proposing: proposed), .b: Multistream(accepting: accepted)]
            var outcomes: [String] = []
            var queue = [(Side.a, ends[.a]?.opening ?? []), (Side.b, ends[.b]?.opening ?? [])]
            while !queue.isEmpty {
                let (side, bytes) = queue.removeFirst()
                transcript.message(side, "sends", bytes, meaning: tokens(bytes))
                var reply: Bytes = []
                switch try ends[side.other]?.receive(bytes[...], reply: &reply) {
                case .agreed(let name, _): outcomes.append("\(side.other == .a ? "A" : "B") takes \(name)")
                case .refused: outcomes.append("A is refused")
                case nil: break
                }
                if !reply.isEmpty { queue.append((side.other, reply)) }
            }
            transcript.remark(outcomes.joined(separator: ", "))
        }
        transcript.expectGolden()
    }

    /// The lines of a head, or the frames that follow it.
    private func messages(_ bytes: Bytes) -> [String] {
        if bytes.first ?? 0 < 0x80 { return String(decoding: bytes, as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false).dropLast().map { $0.isEmpty ? "an empty line" : String($0) } }
        let names: [UInt8: String] = [2: "binary", 8: "close", 9: "ping", 10: "pong"]
        let isMasked = bytes[1] & 0x80 != 0, length = Int(bytes[1] & 0x7f)
        let mask = isMasked ? bytes[2..<6] : [], payload = bytes.dropFirst(isMasked ? 6 : 2)
        let plain = payload.enumerated().map { isMasked ? $1 ^ mask[2 + $0 % 4] : $1 }
        return ["last piece of a \(names[bytes[0] & 0x0f] ?? "?") message of \(length) bytes", isMasked ? "masked with \(hexadecimal(mask))" : "not masked", "it is \(hexadecimal(plain[...]))"]
    }

    @Test func webSocket() throws {
        var transcript = Transcript("websocket", "WebSocket (RFC 6455), which carries a connection at /ip4/…/tcp/…/ws (SEC-01, PNET-03)")
        var a = WebSocket(.client(host: "10.0.0.2:9096"), entropy: Bytes(repeating: 5, count: 48)), b = WebSocket(.server, entropy: Bytes(repeating: 6, count: 48))
        var answer: Bytes = [], came: Bytes = [], none: Bytes = []
        transcript.message(.a, "asks", a.opening, meaning: messages(a.opening))
        try b.receive(a.opening, reply: &answer, payload: &came)
        transcript.message(.b, "agrees", answer, meaning: messages(answer))
        try a.receive(answer, reply: &none, payload: &came)
        for text in ["first of A", "second of A", "first of B"] {
            var message = Bytes(text.utf8)
            if text.hasSuffix("A") { a.wrap(&message) } else { b.wrap(&message) }
            transcript.message(text.hasSuffix("A") ? .a : .b, "\"\(text)\"", message, meaning: messages(message))
            if text.hasSuffix("A") { try b.receive(message, reply: &none, payload: &came) } else { try a.receive(message, reply: &none, payload: &came) }
        }
        #expect(came == Bytes("first of Asecond of Afirst of B".utf8) && none.isEmpty)
        let ping: Bytes = [0x89, 2, 7, 8]
        transcript.message(.b, "pings", ping, meaning: messages(ping))
        try a.receive(ping, reply: &none, payload: &came)
        transcript.message(.a, "answers", none, meaning: messages(none))
        let last = a.close()
        transcript.message(.a, "ends it", last, meaning: messages(last))
        answer = []
        #expect(throws: WebSocketError.self) { try b.receive(last, reply: &answer, payload: &came) }
        transcript.message(.b, "answers, and hangs up", answer, meaning: messages(answer))
        transcript.expectGolden()
    }

    @Test func noise() throws {
        var transcript = Transcript("noise", "Noise_XX_25519_ChaChaPoly_SHA256 in libp2p's form (NOISE-01..14)")
        let keys: [Side: (fixed: Bytes, ephemeral: Bytes)] = [
            .a: (Bytes(repeating: 0x11, count: 32), Bytes(repeating: 0x12, count: 32)),
            .b: (Bytes(repeating: 0x21, count: 32), Bytes(repeating: 0x22, count: 32)),
        ]
        func end(_ side: Side, _ role: Noise.Role) -> Noise {
            Noise(
                role: role, identity: side == .a ? keyA : keyB, staticKey: keys[side]?.fixed ?? [],
                ephemeralKey: keys[side]?.ephemeral ?? [], muxers: [Yamux.protocolID])
        }
        transcript.remark("A is \(keyA.peerID): secret 01…, session keys 11… and 12….")
        transcript.remark("B is \(keyB.peerID): secret 02…, session keys 21… and 22….")
        var a = end(.a, .initiator(expecting: keyB.peerID)), b = end(.b, .responder)
        let first = try a.start()
        transcript.message(.a, "e", first, meaning: ["length \(first.count - 2)", "e: \(hexadecimal(first.dropFirst(2)))"])
        var (second, third, plain) = (Bytes(), Bytes(), Bytes())
        try b.receive(first, reply: &second, plain: &plain)
        transcript.message(.b, "e, ee, s, es, payload", second, meaning: [
            "length \(second.count - 2)", "e: \(hexadecimal(second[2..<34]))", "s, sealed: \(hexadecimal(second[34..<82]))",
            "payload with identity, signature and muxers, sealed: \(second.count - 82) bytes",
        ])
        try a.receive(second, reply: &third, plain: &plain)
        transcript.message(.a, "s, se, payload", third, meaning: [
            "length \(third.count - 2)", "s, sealed: \(hexadecimal(third[2..<50]))",
            "payload with identity, signature and muxers, sealed: \(third.count - 50) bytes",
        ])
        var nothing: Bytes = []
        try b.receive(third, reply: &nothing, plain: &plain)
        #expect(nothing.isEmpty && plain.isEmpty && a.peer?.key == keyB.publicKey && b.peer?.key == keyA.publicKey)
        transcript.remark("Both know each other, and have agreed on \(b.peer?.muxer ?? "no muxer").")
        for (side, text) in [(Side.a, "first of A"), (.a, "second of A"), (.b, "first of B")] {
            var (sealed, opened) = (Bytes(), Bytes())
            if side == .a { try a.seal(Bytes(text.utf8), into: &sealed) } else { try b.seal(Bytes(text.utf8), into: &sealed) }
            transcript.message(side, "\"\(text)\", sealed", sealed)
            if side == .a {
                try b.receive(sealed, reply: &nothing, plain: &opened)
            } else {
                try a.receive(sealed, reply: &nothing, plain: &opened)
            }
            #expect(opened == Bytes(text.utf8))
        }
        transcript.expectGolden()
    }

    // MARK: yamux

    private func frames(_ bytes: Bytes) throws -> [String] {
        var (rest, lines) = (bytes[...], [String]())
        while !rest.isEmpty {
            let header = try YamuxHeader(rest.prefix(YamuxHeader.size))
            rest = rest.dropFirst(YamuxHeader.size)
            let flags = [(YamuxHeader.Flags.syn, "SYN"), (.ack, "ACK"), (.fin, "FIN"), (.rst, "RST")].filter { header.flags.contains($0.0) }
            let body = header.kind == .data ? Bytes(rest.prefix(Int(header.length))) : []
            rest = rest.dropFirst(body.count)
            let told = ["\(header.kind)"] + flags.map(\.1) + ["stream \(header.stream)", "length \(header.length)"]
            lines.append(told.joined(separator: " ") + (body.isEmpty ? "" : ": " + shown(body)))
        }
        return lines
    }

    @Test func yamux() throws {
        var transcript = Transcript("yamux", "yamux (YMX-01..15)")
        var a = Yamux(isClient: true), b = Yamux(isClient: false)
        var events: [Side: [Yamux.Event]] = [:]
        /// Until neither has anything to say.
        func settle() throws {
            var isQuiet = false
            while !isQuiet {
                isQuiet = true
                for side in [Side.a, .b] {
                    var told: [Yamux.Event] = []
                    if side == .a { a.pump(budget: 1 << 20, events: &told) } else { b.pump(budget: 1 << 20, events: &told) }
                    let output = side == .a ? a.output : b.output
                    if side == .a { a.output = [] } else { b.output = [] }
                    guard !output.isEmpty else { continue }
                    isQuiet = false
                    transcript.message(side, "sends", output, meaning: try frames(output))
                    var heard: [Yamux.Event] = []
                    if side == .a { try b.receive(output, events: &heard) } else { try a.receive(output, events: &heard) }
                    events[side.other, default: []] += heard
                }
            }
        }
        transcript.remark("A opens a stream and speaks, B answers, and both end their sides.")
        let opened = a.open()
        let stream = try #require(opened)
        a.send(stream, Bytes("a question".utf8))
        try settle()
        b.send(stream, Bytes("an answer".utf8))
        b.closeWrite(stream)
        try settle()
        a.closeWrite(stream)
        try settle()
        #expect(events[.a]?.contains(.received(stream, Bytes("an answer".utf8))) == true)
        #expect(events[.b]?.contains(.remoteClosed(stream)) == true)
        transcript.remark("B opens one, and A resets it with a code.")
        let openedByB = b.open()
        let other = try #require(openedByB)
        try settle()
        a.reset(other, code: 7)
        try settle()
        #expect(events[.b]?.contains(.reset(other, code: 7)) == true)
        transcript.remark("A is pinged, and B ends the connection.")
        b.ping(17)
        try settle()
        b.goAway(0)
        try settle()
        #expect(events[.b]?.contains(.pong(17)) == true && events[.a]?.contains(.goAway(code: 0)) == true)
        transcript.expectGolden()
    }

    // MARK: What every host answers

    /// A host, B, and a bare connection to it, A.
    private struct Line {
        var a: Connection
        var b: Host
        let socket = SocketID.inbound(1)
        /// What A's streams have received, and which B has opened.
        var received: [SubstreamID: Bytes] = [:]
        var incoming: [(SubstreamID, String)] = []
        var introduced: PeerIntroduction?
        private var toA: Bytes = [], toB: Bytes = []
        static let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))

        init() {
            var settings = HostSettings()
            settings.agent = "ipfs-cluster-swift/transcript"
            a = Connection(role: .dialler(expecting: keyB.peerID), key: keyA, networkKey: nil, entropy: Bytes(repeating: 5, count: 88),
                           protocols: [IdentifyMessage.protocolID], now: Line.now)
            b = Host(key: keyB, networkKey: nil, protocols: ["/ipfscluster/1.0/rpc", "/meshsub/1.2.0"], settings: settings)
            var effects: [Host.Effect] = []
            b.onListening([multiaddr("/ip4/10.0.0.2/tcp/9096")], now: Line.now, effects: &effects)
            run { $0.start(now: Line.now, effects: &$1) }
            tell(.accepted(socket, remote: multiaddr("/ip4/10.0.0.1/tcp/40001")))
            settle()
        }

        mutating func run(_ body: (inout Connection, inout [Connection.Effect]) -> Void) {
            var effects: [Connection.Effect] = []
            body(&a, &effects)
            for effect in effects {
                switch effect {
                case .write(let bytes): toB += bytes
                case .received(let stream, let bytes): received[stream, default: []] += bytes
                case .incoming(let stream, let name): incoming.append((stream, name))
                default: break
                }
            }
        }
        private mutating func tell(_ event: SocketEvent) {
            var effects: [Host.Effect] = []
            b.onSocket(event, entropy: { Bytes(repeating: 6, count: $0) }, now: Line.now, effects: &effects)
            for effect in effects {
                if case .socket(.write(_, let bytes)) = effect { toA += bytes }
                if case .connection(.introduced(_, let introduction)) = effect { introduced = introduction }
            }
        }
        mutating func settle() {
            while !toA.isEmpty || !toB.isEmpty {
                let (here, there) = (toA, toB)
                (toA, toB) = ([], [])
                if !there.isEmpty {
                    tell(.received(socket, there))
                    run { $0.onWritten(there.count, now: Line.now, effects: &$1) }
                }
                if !here.isEmpty {
                    run { $0.onBytes(here, now: Line.now, effects: &$1) }
                    tell(.written(socket, here.count))
                }
            }
        }
        mutating func say(_ stream: SubstreamID, _ bytes: Bytes, isLast: Bool) {
            run {
                $0.send(stream, bytes, now: Line.now, effects: &$1)
                if isLast { $0.closeWrite(stream, now: Line.now, effects: &$1) }
            }
            settle()
        }
        mutating func open(_ name: String) -> SubstreamID? {
            var stream: SubstreamID?
            run { stream = $0.open([name], now: Line.now, effects: &$1) }
            settle()
            return stream
        }
    }

    @Test func identify() throws {
        var transcript = Transcript("identify", "identify, /ipfs/id/1.0.0 (IDF-01..12): the bytes of its streams")
        var line = Line()
        let (stream, name) = try #require(line.incoming.first)
        #expect(name == IdentifyMessage.protocolID)
        transcript.event(.b, "opens a stream, and asks by that who A is")
        var message = IdentifyMessage()
        message.publicKey = keyA.publicKey.protobuf
        message.listenAddresses = [multiaddr("/ip4/10.0.0.1/tcp/4001")]
        message.protocols = ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"]
        message.observedAddress = multiaddr("/ip4/10.0.0.2/tcp/9096")
        message.protocolVersion = "ipfs/0.1.0"
        message.agentVersion = "a stranger"
        message.signedPeerRecord = PeerRecord(peer: keyA.peerID, sequence: 1, addresses: message.listenAddresses).sealed(by: keyA)
        transcript.message(.a, "answers, and ends the stream", message.wire, meaning: Shape.identify.meaning(ofFrames: message.wire))
        line.say(stream, message.wire, isLast: true)
        #expect(line.introduced?.agent == "a stranger" && line.introduced?.protocols == message.protocols)
        let asked = line.open(IdentifyMessage.protocolID)
        let question = try #require(asked)
        let answer = try #require(line.received[question])
        transcript.event(.a, "opens a stream, and asks by that who B is")
        transcript.message(.b, "answers, and ends the stream", answer, meaning: Shape.identify.meaning(ofFrames: answer))
        transcript.expectGolden()
    }

    @Test func ping() throws {
        var transcript = Transcript("ping", "ping, /ipfs/ping/1.0.0 (PING-01): the bytes of its stream")
        var line = Line()
        let opened = line.open("/ipfs/ping/1.0.0")
        let stream = try #require(opened)
        var heard = 0
        let whole = Bytes(0..<32)
        let other = Bytes(whole.reversed())
        for (what, bytes) in [("sends", whole), ("sends a part", Bytes(other.prefix(20))), ("sends the rest", Bytes(other.suffix(12)))] {
            transcript.message(.a, what, bytes)
            line.say(stream, bytes, isLast: false)
            let answer = Bytes(line.received[stream, default: []].dropFirst(heard))
            heard += answer.count
            if !answer.isEmpty { transcript.message(.b, "sends it back", answer) }
        }
        #expect(line.received[stream] == whole + other)
        transcript.expectGolden()
    }
}
