// What peers ask each other for and give each other by bitswap, read off the wire: who wants nothing more says so, nobody gives what
// nobody wants, and whoever can say that it has nothing says it. spec/wire-pubsub-dht-bitswap.md part 3.

import Cluster
import Encoding
import Exchange
import Kernel
import MerkleCRDT
import Multiformats
import Seams

/// What is known of one peer's exchange in one life of it.
struct ExchangeLog {
    struct Partner {
        /// What it was asked for and not told to forget; and what it has asked for, and from when on that has been here.
        var asked: Set<Multihash> = []
        var asks: [Multihash: Asking] = [:]
        /// What was asked for twice in one step: the first answer may have left before the second question was read.
        var again: Set<Multihash> = []
        /// How often it was asked for what it did not give, and when last.
        var tries: [Multihash: (count: Int, last: Int64)] = [:]
    }
    struct Asking {
        let cid: CID
        var hereSince: Int64?
    }
    var partners = SortedMap<Int, Partner>()
    /// Streams that it opened, and those that others did.
    var outbound = SortedMap<StreamID, Int>()
    var inbound = SortedMap<StreamID, (from: Int, saysAbsence: Bool, reader: FrameReader)>()
}

/// One entry of a wantlist.
private struct Wanted {
    var cid: CID?
    var isCancel = false
    var sendsDontHave = false

    init(_ reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        while let field = try reader.next() {
            switch field.number {
            case 1: cid = try? CID(try field.bytes())
            case 3: isCancel = try field.bool()
            case 5: sendsDontHave = try field.bool()
            default: break
            }
        }
    }
}

/// What one message says.
private struct ExchangeSaid {
    var wants: [Wanted] = []
    var isFull = false
    var blocks: [Multihash] = []
    /// What is said to be here or not.
    var presences: [Multihash] = []

    init(_ frame: ArraySlice<UInt8>) throws(ProtobufError) {
        var reader = ProtobufReader(frame)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                var list = try field.message()
                while let entry = try list.next() {
                    if entry.number == 1 { wants.append(try Wanted(try entry.message())) } else if entry.number == 2 { isFull = try entry.bool() }
                }
            case 2: blocks.append(.sha2_256(of: Bytes(try field.bytes())))
            case 3:
                var (prefix, data) = (Bytes(), Bytes()), parts = try field.message()
                while let part = try parts.next() {
                    if part.number == 1 { prefix = Bytes(try part.bytes()) } else if part.number == 2 { data = Bytes(try part.bytes()) }
                }
                // Version, codec, hash function, length.
                var offset = 0, numbers: [UInt64] = []
                while offset < prefix.count, let number = try? readVarint(prefix, at: &offset) { numbers.append(number) }
                guard numbers.count == 4, let hash = Multihash.of(data, with: numbers[2]) else { continue }
                blocks.append(Multihash(code: hash.code, digest: hash.digest.prefix(Int(clamping: numbers[3]))))
            case 4:
                var parts = try field.message()
                while let part = try parts.next() {
                    if part.number == 1, let cid = try? CID(try part.bytes()) { presences.append(cid.multihash) }
                }
            default: break
            }
        }
    }
}

extension Run {
    /// WANTS: after each step of a peer that lives on.
    func watchExchange(_ index: Int, _ input: PeerInput, _ effects: ArraySlice<PeerEffect>, _ process: Process, _ log: inout ExchangeLog) {
        let (absent, cancelled, heard) = hearWants(input, process, &log)
        // What a stream lost that broke is said again on another (seed 8000232).
        var isAgain = false
        if case .stream(.reset) = input { isAgain = true }
        let said = noteGiven(index, effects, heard, isAgain: isAgain, &log)
        judgeHeeded(index, absent, cancelled, heard, said, log, process)
    }

    /// What the other end is to be told that it is not here, what it wants no more, and what it has wanted in between.
    private func hearWants(_ input: PeerInput, _ process: Process, _ log: inout ExchangeLog) -> (absent: [(Int, Multihash)], cancelled: [(Int, Multihash)], heard: Set<Multihash>) {
        var absent: [(Int, Multihash)] = [], cancelled: [(Int, Multihash)] = [], heard: Set<Multihash> = []
        // What it has said of each last.
        var last: [Multihash: Wanted] = [:], order: [Multihash] = []
        switch input {
        case .connection(.disconnected(let peer)): if let other = world.indexes[peer] { log.partners[other] = nil }
        case .stream(.incoming(let id, let peer, let name)):
            guard Exchange.protocols.contains(name), let other = world.indexes[peer] else { break }
            log.inbound[id] = (other, BitswapVersion.best(among: [name]) == .withPresences, FrameReader(limitBytes: process.peer.settings.exchange.messageBytesMax))
        case .stream(.received(let id, let bytes)):
            guard let (from, saysAbsence, _) = log.inbound[id] else { break }
            log.inbound[id]?.reader.append(bytes)
            var partner = log.partners[from] ?? ExchangeLog.Partner()
            do {
                while let frame = try log.inbound[id]?.reader.next() {
                    let message = try ExchangeSaid(frame)
                    if message.isFull { (partner.asks, partner.again) = ([:], []) }
                    for hash in message.blocks {
                        partner.asked.remove(hash)
                        partner.tries[hash] = nil
                    }
                    for want in message.wants {
                        guard let cid = want.cid else { continue }
                        partner.asks[cid.multihash] = want.isCancel ? nil : ExchangeLog.Asking(cid: cid)
                        if want.isCancel {
                            partner.again.remove(cid.multihash)
                        } else if !heard.insert(cid.multihash).inserted {
                            partner.again.insert(cid.multihash)
                        }
                        if last.updateValue(want, forKey: cid.multihash) == nil { order.append(cid.multihash) }
                    }
                }
            } catch { log.inbound[id] = nil }
            for hash in order {
                guard let want = last[hash] else { continue }
                if want.isCancel { cancelled.append((from, hash)) } else if want.sendsDontHave && saysAbsence { absent.append((from, hash)) }
            }
            log.partners[from] = partner
        case .stream(.reset(let id)), .stream(.failed(let id, _)), .stream(.remoteClosed(let id)):
            log.inbound.remove(id)
            log.outbound.remove(id)
        default: break
        }
        return (absent, cancelled, heard)
    }

    /// Nobody is given what it has not asked for.
    private func noteGiven(_ index: Int, _ effects: ArraySlice<PeerEffect>, _ heard: Set<Multihash>, isAgain: Bool, _ log: inout ExchangeLog) -> [(to: Int, said: ExchangeSaid)] {
        var all: [(to: Int, said: ExchangeSaid)] = []
        var last: (stream: StreamID, bytes: Int, isAnswer: Bool)?
        for case .stream(let effect) in effects {
            switch effect {
            case .open(let id, let peer, let protocols) where protocols.first.map(Exchange.protocols.contains) == true: log.outbound[id] = world.indexes[peer]
            case .send(let id, let bytes):
                guard let other = log.outbound[id] else { continue }
                var reader = FrameReader(limitBytes: .max), isAnswer = true
                reader.append(bytes)
                do {
                    while let frame = try reader.next() {
                        let said = try ExchangeSaid(frame)
                        all.append((other, said))
                        isAnswer = isAnswer && said.wants.isEmpty
                    }
                    if let last, last.stream == id, last.isAnswer, isAnswer { judgeGathered(index, to: other, last.bytes, bytes.count) }
                    last = (id, bytes.count, isAnswer)
                } catch { world.fail(.wants, "\(world.name(index)) sends a message of bitswap that nobody can read: \(error)") }
            default: break
            }
        }
        for (other, said) in all {
            var partner = log.partners[other] ?? ExchangeLog.Partner()
            for want in said.wants {
                guard let hash = want.cid?.multihash else { continue }
                if want.isCancel {
                    partner.asked.remove(hash)
                    partner.tries[hash] = nil
                } else {
                    if !want.sendsDontHave { world.fail(.wants, "\(world.name(index)) asks \(world.name(other)) for \(CID(v1: Codec.raw, hash)), and does not want to be told if that has it not") }
                    partner.asked.insert(hash)
                    judgeTries(index, other, hash, &partner)
                }
            }
            oracles.judged += said.blocks.count
            for hash in said.blocks where partner.asks[hash] == nil && !isAgain && !heard.contains(hash) && partner.again.remove(hash) == nil {
                world.fail(.wants, "\(world.name(index)) sends \(world.name(other)) what that does not want: \(CID(v1: Codec.raw, hash))")
            }
            for hash in said.blocks { partner.asks[hash] = nil }
            log.partners[other] = partner
        }
        return all
    }

    /// MIN: what fits into one message does not go in two.
    private func judgeGathered(_ index: Int, to other: Int, _ first: Int, _ second: Int) {
        oracles.judged += 1
        let settings = world.peers[index].settings.exchange
        guard first < settings.responseBytes / 2, first + second < settings.messageBytesMax / 2 else { return }
        world.fail(.min, "\(world.name(index)) gives \(world.name(other)) in two messages, of \(first) and \(second) bytes, what fits into one")
    }

    /// MIN: what nobody has is asked for more and more seldom.
    func judgeTries(_ index: Int, _ other: Int, _ hash: Multihash, _ partner: inout ExchangeLog.Partner) {
        let (count, last) = partner.tries[hash] ?? (0, 0)
        partner.tries[hash] = (count + 1, world.now)
        guard count >= 8, world.now - last < Span.milliseconds(2500).nanoseconds else { return }
        world.fail(.min, "\(world.name(index)) asks \(world.name(other)) for \(CID(v1: Codec.raw, hash)) for the \(count + 1)th time, \(Span(nanoseconds: world.now - last).seconds) after the last")
    }

    /// BS-07: who does not want to wait is told at once that a block is not here. And a want that was taken back is forgotten.
    private func judgeHeeded(
        _ index: Int, _ absent: [(Int, Multihash)], _ cancelled: [(Int, Multihash)], _ heard: Set<Multihash>, _ said: [(to: Int, said: ExchangeSaid)], _ log: ExchangeLog, _ process: Process
    ) {
        if let (other, message) = said.first(where: { !$0.said.blocks.isEmpty }) {
            let kept = process.machine.wants(of: world.peers[other].id)
            if !kept.isEmpty, let hash = message.blocks.first(where: { kept.contains($0) && log.partners[other]?.asks[$0] == nil }) {
                return world.fail(.wants, "\(world.name(index)) has given \(world.name(other)) \(CID(v1: Codec.raw, hash)), and keeps in mind that it wants it")
            }
        }
        guard let other = (absent + cancelled).first?.0 else { return }
        let peer = world.peers[other].id, kept = Set(process.machine.wants(of: peer))
        oracles.judged += absent.count + cancelled.count
        if let (_, hash) = cancelled.first(where: { kept.contains($0.1) }) {
            return world.fail(.wants, "\(world.name(index)) keeps in mind that \(world.name(other)) wants \(CID(v1: Codec.raw, hash)), which that has taken back")
        }
        // Who asks for more at once than is kept for one peer asks for the rest again (seed 166812106).
        guard !absent.isEmpty, heard.count < process.peer.settings.exchange.wantsPerPeerMax, process.machine.waitingAnswers(for: peer) == 0 else { return }
        for (_, hash) in absent where kept.contains(hash) && !said.contains(where: { $0.to == other && ($0.said.presences.contains(hash) || $0.said.blocks.contains(hash)) }) {
            return world.fail(.wants, "\(world.name(index)) does not tell \(world.name(other)) that it has no \(CID(v1: Codec.raw, hash))")
        }
    }

    /// WANTS: now and then. Who wants nothing more has told all whom it asked; and what has come is given to who asked for it before.
    func checkAsked() {
        let mayKeep = options.limits.wantsPerPeer > 0 || options.limits.outstandingBytes > 0 || plan.has(.disk)
        for index in world.peers.indices {
            guard let process = world.peers[index].process, process.suspended == nil, let log = lifeLogs[index], log.life == process.peer.lives else { continue }
            for (other, partner) in log.exchange.partners {
                oracles.judged += partner.asked.count
                for hash in partner.asked where !process.machine.wants(hash) {
                    return world.fail(.wants, "\(world.name(index)) wants \(CID(v1: Codec.raw, hash)) no more, and leaves \(world.name(other)) in the belief that it does")
                }
                guard !mayKeep, process.machine.replica.isOpen else { continue }
                for (hash, asking) in partner.asks where process.machine.replica.has(asking.cid) {
                    let since = asking.hereSince ?? world.now
                    if asking.hereSince == nil { log.exchange.partners[other]?.asks[hash]?.hereSince = since }
                    guard world.now - since >= Span.seconds(10).nanoseconds, process.machine.waitingAnswers(for: world.peers[other].id) == 0 else { continue }
                    return world.fail(.wants, "\(world.name(index)) has \(asking.cid), and does not give it to \(world.name(other)), which asked for it before")
                }
            }
        }
    }
}
