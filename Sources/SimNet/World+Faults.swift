// Faults strike and end.

import Cluster
import DHT
import Encoding
import Exchange
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import RPC
import Seams
import Storage

extension World {
    /// Owns the streams of hostile members, which are no machine's.
    static let hostileOwner: UInt8 = 0xee

    /// A fault strikes now. What lasts ends by itself, or with `healAll`.
    package func strike(_ fault: Fault) {
        let names = fault.peers.map(name).joined(separator: " ") + (fault.others.isEmpty ? "" : " | " + fault.others.map(name).joined(separator: " "))
        record(
            .fault(fault.number, name: fault.kind.rawValue, peers: fault.peers, others: fault.others), nil,
            "-- fault \(fault.number): \(fault.kind.rawValue) \(names)\(fault.amount == 0 ? "" : " \(fault.amount)") --")
        begin(fault)
        guard fault.length > .zero else { return record(.healed(fault.number), nil, "-- fault \(fault.number) is over --") }
        after(fault.length) { world in
            guard world.striking.remove(fault.number) else { return }
            world.record(.healed(fault.number), nil, "-- fault \(fault.number) ends --")
            world.end(fault)
        }
        striking.insert(fault.number)
    }

    var everyone: [Int] { Array(peers.indices) }

    /// The directions that a partition of that kind blocks.
    private func blockedLinks(_ fault: Fault) -> [Link] {
        func both(_ a: Int, _ b: Int) -> [Link] { [Link(from: a, to: b), Link(from: b, to: a)] }
        switch fault.kind {
        case .partition, .isolate, .swizzle: return fault.peers.flatMap { a in fault.others.flatMap { both(a, $0) } }
        case .oneWay: return fault.peers.flatMap { a in fault.others.map { Link(from: a, to: $0) } }
        case .bridge:
            // The first of the one side sees both.
            return fault.peers.dropFirst().flatMap { a in fault.others.flatMap { both(a, $0) } }
        case .ring:
            let count = fault.peers.count
            return fault.peers.indices.flatMap { i in
                fault.peers.indices.filter { $0 != i && ($0 + 1) % count != i && (i + 1) % count != $0 }
                    .map { Link(from: fault.peers[i], to: fault.peers[$0]) }
            }
        default: return []
        }
    }

    private func begin(_ fault: Fault) {
        guard let first = fault.peers.first else { return }
        let peer = peers[first]
        switch fault.kind {
        case .partition, .isolate, .oneWay, .bridge, .ring: for link in blockedLinks(fault) { block(from: link.from, to: link.to) }
        case .swizzle: swizzle(fault)
        case .slowLink: for other in fault.others { change(first, other) { $0.latencyFactor *= fault.amount } }
        case .thinLink: for other in fault.others { change(first, other) { $0.bytesPerSecond = fault.amount } }
        case .halfOpen: for other in fault.others { voidConnection(first, other) }
        case .connectionLoss: for other in fault.others { breakConnection(first, other) }
        case .flapping: flap(fault)
        case .streamReset: for other in fault.others { resetStreams(first, other) }
        case .muteGossip: for other in fault.others { network[Link(from: first, to: other)].mutedGossip += 1 }
        case .slowBlocks: eachLink(from: first) { $0.blocksDelay += Span.seconds(Int64(fault.amount)).nanoseconds }
        case .withheldBlocks: eachLink(from: first) { $0.withheldBlocks += 1 }
        case .wrongBlocks: eachLink(from: first) { $0.wrongBlocks += 1 }
        case .ipfsDown, .reboot: peer.ipfs.isDown = true
        case .ipfsHang: peer.ipfs.hangs = true
        case .ipfsSlow: peer.ipfs.slowness = max(1, fault.amount)
        case .ipfsLosesReplies: for index in fault.peers { peers[index].ipfs.losesReplyOneIn = fault.amount }
        case .ipfsFull: peer.ipfs.isFull = true
        case .ipfsMeddling: meddle(fault)
        case .ipfsReset:
            peer.ipfs.forgetPins(at: now)
            hit(.ipfsForgot)
        case .ipfsCollects: for index in fault.peers { peers[index].ipfs.collectsOneIn = fault.amount }
        case .ipfsStale: peer.ipfs.listing = peer.ipfs.pins
        case .ipfsRestart:
            peer.ipfs.restart()
            if !peer.ipfs.hangs { goOn(peer) }
        case .ipfsLacks: peer.ipfs.lacks = SimIPFS.Lack(isOdd: fault.amount & 1 != 0, hangs: fault.amount & 2 != 0)
        case .ipfsCutsAnswers: peer.ipfs.cutsOneIn = max(1, fault.amount)
        case .lyingSpace where fault.amount == 3: peer.ipfs.isAboveLimit = true
        case .lyingSpace: peer.ipfs.claimedFree = [10 << 40, 0, UInt64.max][min(2, max(0, fault.amount))]
        case .hiddenSpace: peer.ipfs.hidesSpace = true
        case .diskFull: peer.disk.capacityBytes = peer.disk.usedBytes + fault.amount
        case .syncFailure: peer.disk.failSyncs += fault.amount
        case .slowDisk: peer.diskSlowness = max(1, fault.amount)
        case .readError: peer.disk.unreadable = fault.amount == 0 ? ".log" : ".run"
        case .rot: rot(fault)
        case .crash, .restart: crash(first, isKill: fault.isKill)
        case .powerCut: powerCuts[fault.number] = (fault, [])
        case .suspend: suspend(first)
        case .wipe: loseDisk(first, nil)
        case .rollback: loseDisk(first, peer.backup)
        case .clockOffset: peer.clock.wallOffset = peer.clock.wallOffset + .seconds(Int64(fault.amount))
        case .clockFreeze: peer.clock.frozenAt = now
        case .leave:
            hit(.leftInOrder)
            stop(first)
        case .lose:
            hit(.lostForGood)
            note(first, "is lost for good")
            lose(first)
        case .hostileGossip: gossipAsHostile(fault)
        case .hostileBytes: sendNoise(fault)
        case .hostileWants: wantAsHostile(fault)
        case .hostileFinding: findAsHostile(fault)
        case .hostileStrangers: introduceStrangers(fault)
        case .forgedGossip: forge(fault)
        case .hostileMesh: disturbMeshes(fault)
        case .halfReset: for other in fault.others { halfResetStreams(first, other) }
        }
        if fault.kind == .reboot { crash(first) }
        if fault.kind == .restart || fault.kind == .reboot { start(first) }
    }

    private func end(_ fault: Fault) {
        guard let first = fault.peers.first else { return }
        let peer = peers[first]
        switch fault.kind {
        case .partition, .isolate, .oneWay, .bridge, .ring: for link in blockedLinks(fault) { unblock(from: link.from, to: link.to) }
        case .slowLink:
            for other in fault.others { change(first, other) { $0.latencyFactor = max(1, $0.latencyFactor / max(1, fault.amount)) } }
        case .thinLink: for other in fault.others { change(first, other) { $0.bytesPerSecond = 0 } }
        case .muteGossip:
            for other in fault.others { lower(&network[Link(from: first, to: other)].mutedGossip) }
        case .slowBlocks: eachLink(from: first) { $0.blocksDelay = max(0, $0.blocksDelay - Span.seconds(Int64(fault.amount)).nanoseconds) }
        case .withheldBlocks: eachLink(from: first) { lower(&$0.withheldBlocks) }
        case .wrongBlocks: eachLink(from: first) { lower(&$0.wrongBlocks) }
        case .ipfsDown, .reboot: peer.ipfs.isDown = false
        case .ipfsHang:
            peer.ipfs.hangs = false
            goOn(peer)
        case .ipfsSlow: peer.ipfs.slowness = 1
        case .ipfsLosesReplies: for index in fault.peers { peers[index].ipfs.losesReplyOneIn = 0 }
        case .ipfsFull: peer.ipfs.isFull = false
        case .ipfsCollects: for index in fault.peers { peers[index].ipfs.collectsOneIn = 0 }
        case .ipfsStale: peer.ipfs.listing = nil
        case .ipfsLacks:
            peer.ipfs.lacks = nil
            goOn(peer)
        case .ipfsCutsAnswers: peer.ipfs.cutsOneIn = 0
        case .lyingSpace: (peer.ipfs.claimedFree, peer.ipfs.isAboveLimit) = (nil, false)
        case .hiddenSpace: peer.ipfs.hidesSpace = false
        case .diskFull: peer.disk.capacityBytes = .max
        case .slowDisk: peer.diskSlowness = 1
        case .readError: peer.disk.unreadable = nil
        case .crash, .wipe, .rollback, .leave: start(first)
        case .powerCut: for index in powerCuts.remove(fault.number)?.struck ?? [] { start(index) }
        case .suspend: resume(first)
        case .hostileFinding: liars[first] = nil
        case .clockOffset: peer.clock.wallOffset = peer.clock.wallOffset - .seconds(Int64(fault.amount))
        case .clockFreeze: peer.clock.frozenAt = nil
        case .swizzle, .halfOpen, .connectionLoss, .streamReset, .flapping, .ipfsReset, .ipfsRestart, .ipfsMeddling, .syncFailure, .rot, .restart, .lose, .hostileGossip,
            .hostileBytes, .hostileWants, .hostileStrangers, .forgedGossip, .hostileMesh, .halfReset: break
        }
    }

    /// All faults end, whatever is under way.
    package func healAll() {
        for number in striking { record(.healed(number), nil, "-- fault \(number) ends --") }
        striking = SortedSet()
        powerCuts = SortedMap()
        liars = [:]
        heal()
        for peer in peers {
            (peer.ipfs.isDown, peer.ipfs.hangs, peer.ipfs.isFull, peer.ipfs.hidesSpace) = (false, false, false, false)
            peer.ipfs.isAboveLimit = false
            (peer.ipfs.slowness, peer.ipfs.losesReplyOneIn, peer.ipfs.collectsOneIn) = (1, 0, 0)
            (peer.ipfs.listing, peer.ipfs.claimedFree, peer.ipfs.lacks, peer.ipfs.cutsOneIn) = (nil, nil, nil, 0)
            goOn(peer)
            (peer.disk.capacityBytes, peer.disk.failSyncs, peer.disk.unreadable, peer.diskSlowness) = (.max, 0, nil, 1)
            peer.clock.frozenAt = nil
            if peer.clock.isWrong { peer.clock.wallOffset = .zero }
            resume(peer.index)
        }
    }

    // MARK: Kinds that take more than a line

    private func lower(_ count: inout Int) { count = max(0, count - 1) }
    private func change(_ a: Int, _ b: Int, _ body: (inout LinkState) -> Void) {
        body(&network[Link(from: a, to: b)])
        body(&network[Link(from: b, to: a)])
    }
    private func eachLink(from index: Int, _ body: (inout LinkState) -> Void) {
        for other in peers.indices where other != index { body(&network[Link(from: index, to: other)]) }
    }

    /// One after another is cut off from the rest; they come back in another order.
    private func swizzle(_ fault: Fault) {
        var choices = tape.stream(.faults, 1 << 50 | UInt64(fault.number))
        let part = fault.length.nanoseconds / Int64(2 * max(1, fault.peers.count))
        func cut(_ peer: Int) -> Fault {
            Fault(number: fault.number, kind: .isolate, at: .zero, peers: [peer], others: everyone.filter { $0 != peer })
        }
        for (place, peer) in fault.peers.enumerated() {
            during(fault, after: Span(nanoseconds: part * Int64(place))) { $0.begin(cut(peer)) }
        }
        for (place, peer) in choices.permuted(fault.peers).enumerated() {
            during(fault, after: Span(nanoseconds: part * Int64(fault.peers.count + place))) { $0.end(cut(peer)) }
        }
    }

    /// A later part of a fault, unless all has been healed before.
    private func during(_ fault: Fault, after delay: Span, _ body: @escaping (World) -> Void) {
        after(delay) { if $0.striking.contains(fault.number) { body($0) } }
    }

    private func flap(_ fault: Fault) {
        guard let first = fault.peers.first, fault.amount > 0 else { return }
        for beat in 0..<Int(fault.length.nanoseconds / Span.seconds(Int64(fault.amount)).nanoseconds) {
            during(fault, after: .seconds(Int64(beat * fault.amount))) { world in
                for other in fault.others { world.breakConnection(first, other) }
            }
        }
    }

    /// A bit rots somewhere in the log, less often in an index that can be made anew.
    private func rot(_ fault: Fault) {
        guard let first = fault.peers.first else { return }
        var choices = tape.stream(.faults, 1 << 51 | UInt64(fault.number))
        guard let (file, offset) = peers[first].disk.rot(fault.amount < 3 ? ".log" : ".run", &choices) else { return }
        note(first, "a bit rots in \(file) at \(offset)")
    }

    /// That peer writes while it syncs what it has written before; or its log goes on in another file then.
    func cutPower(in index: Int, writing effect: DiskEffect) {
        guard !powerCuts.isEmpty, case .append(let name, let bytes) = effect else { return }
        if peers[index].process?.syncing ?? 0 > 0 { cutPower(in: index, at: .write) }
        let disk = peers[index].disk
        guard name.hasPrefix("crdt/"), name.hasSuffix(".log"), (try? disk.size(name)) == bytes.count, let files = try? disk.list("crdt/") else { return }
        if files.contains(where: { $0.hasSuffix(".log") && $0 != name && !disk.isDurable($0) }) { cutPower(in: index, at: .segment) }
    }

    /// It has come to that in that peer.
    func cutPower(in index: Int, at moment: Fault.Moment) {
        for (number, cut) in powerCuts where cut.struck.isEmpty && (cut.fault.peers.first == index || cut.fault.amount & 1 == 1) && cut.fault.moment == moment {
            let struck = cut.fault.amount & 1 == 1 ? everyone.filter { peers[$0].isUp } : [index]
            powerCuts[number] = (cut.fault, struck)
            hit(.powerCut)
            // When what was under way in this step has been done, and before anything else is.
            let pause = moment == .write ? tape.span(.faults, 1 << 52, UInt64(number), .zero, .seconds(1)) : .zero
            after(pause) { world in
                guard world.powerCuts[number] != nil else { return }
                let names = struck.map(world.name).joined(separator: " ")
                world.note(nil, cut.fault.isKill ? "\(names) are killed" : "the power of \(names) is cut")
                for index in struck { world.crash(index, isKill: cut.fault.isKill) }
            }
        }
    }

    private func loseDisk(_ index: Int, _ copy: SimPeer.Backup?) {
        crash(index)
        peers[index].disk.replace(with: copy?.disk)
        peers[index].peerstore = copy?.peerstore ?? []
        peers[index].losses.append(now)
        hit(.diskReplaced)
        note(index, copy == nil ? "has an empty disk" : "has an old disk")
    }

    // MARK: Hostile members

    /// What nobody trusts says to all who listen: heads that nobody has, far too many of them, garbage, other topics, forgeries.
    /// Each pin for itself: it is left alone, unpinned, or made a direct one. What is pinned recursively cannot be made direct by
    /// pinning it: that nobody but the meddler can mend.
    private func meddle(_ fault: Fault) {
        guard let index = fault.peers.first else { return }
        var choices = tape.stream(.faults, 1 << 54 | UInt64(fault.number))
        for (cid, kind) in peers[index].ipfs.pins {
            let choice = choices.below(4)
            if choice == 0 { peers[index].ipfs.forget(cid, at: now) }
            if choice == 1, kind == .recursive { peers[index].ipfs.makeDirect(cid, at: now) }
            if choice < 2 { hit(.ipfsMeddledWith) }
        }
    }

    private func gossipAsHostile(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 52 | UInt64(fault.number))
        var message = GossipMessage()
        message.from = process.peer.id.bytes
        message.sequence = choices.bytes(8)
        let topic = peers[index].settings.replicaTopic
        message.topic = Bytes(topic.utf8)
        let block = Multihash.sha2_256(of: choices.bytes(8))
        switch fault.amount {
        case 0: message.data = choices.bytes(choices.below(200))
        case 1: message.data = Announcement.encode((0..<1200).map { _ in CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(8))) })
        case 2: message.data = Announcement.encode([CID(v1: Codec.dagPB, block)])
        case 3:
            message.topic = Bytes(Monitor.topic.utf8)
            message.data = choices.bytes(choices.below(300))
        default:
            // In the name of one who is trusted.
            let other = peers.first { $0.index != index }?.id ?? process.peer.id
            message.from = other.bytes
            message.data = Announcement.encode([CID(v1: Codec.dagPB, block)])
        }
        message.signature = SimSigner(me: process.peer.id).sign(message.signedBytes)
        // What it says in its own name it has said.
        if message.from == process.peer.id.bytes { published.insert(GossipSaid.mixed(message.encoded[...])) }
        var writer = ProtobufWriter()
        writer.explicit(2, bytes: message.encoded)
        let frame = varint(UInt64(writer.bytes.count)) + writer.bytes
        hostileStreams(process, Gossip.protocols, fault.number) { _ in frame }
        if message.data == Announcement.encode([CID(v1: Codec.dagPB, block)]) { after(.seconds(3)) { $0.checkHeedless(of: block, by: index) } }
    }

    /// TRUST: what nobody trusted has announced is fetched by nobody.
    func checkHeedless(of block: Multihash, by hostile: Int) {
        for peer in peers where peer.index != hostile {
            guard peers.contains(where: { $0.machine?.wants(of: peer.id).contains(block) == true }) else { continue }
            return fail(.trust, "\(name(peer.index)) wants a block that only an untrusted peer has told of")
        }
    }

    private func sendNoise(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 53 | UInt64(fault.number))
        guard fault.amount < 4 else { return hostileStreams(process, [RPC.protocolID], fault.number) { _ in World.callWithoutEnd(fault.amount == 4 ? 200_000 : 20) } }
        let protocols = [[RPC.protocolID], Gossip.protocols, Exchange.protocols, ClusterPeer.protocols][min(3, max(0, fault.amount))]
        hostileStreams(process, protocols, fault.number) { _ in choices.bytes(1 + choices.below(600)) }
    }

    /// So many bytes of an argument that has more, for a method that everybody may call.
    private static func callWithoutEnd(_ count: Int) -> Bytes {
        var writer = MessagePackWriter()
        writer.map(2)
        for text in ["Name", "Cluster", "Method", "ID"] { writer.string(text) }
        writer.raw(Bytes(repeating: 0, count: count))
        return writer.bytes.dropLast()
    }

    /// Asks for what nobody has: for more than is kept for one peer, or for much and then, in a full list, for one thing alone.
    /// Or for one thing, before it has introduced itself. What it wanted last is the highest of the hashes, which no eviction takes.
    private func wantAsHostile(_ fault: Fault) {
        guard let index = fault.peers.first, peers[index].process != nil else { return }
        guard fault.amount < 2 else {
            strangers[index] = fault
            return everyone.forEach { breakConnection(index, $0) }
        }
        sendWants(fault, to: everyone)
    }

    func sendWants(_ fault: Fault, to others: [Int]) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        var choices = tape.stream(.faults, 1 << 54 | UInt64(fault.number))
        let most = others.map { peers[$0].settings.exchange.wantsPerPeerMax }.filter { $0 < 100 }.max() ?? 40
        var cids = (0..<most + 8).map { _ in CID(v1: Codec.dagPB, .sha2_256(of: choices.bytes(8))) }.sorted { $0.multihash < $1.multihash }
        guard let last = cids.popLast() else { return }
        var (many, one) = (BitswapMessage(), BitswapMessage())
        many.wants = fault.amount == 2 ? [] : cids.map { BitswapMessage.Entry(cid: $0) }
        one.wants = [BitswapMessage.Entry(cid: last)]
        one.isFull = fault.amount == 1
        hostileWants[fault.number] = (index, last.multihash, one.isFull ? cids.map(\.multihash) : [])
        let bytes = (many.wants.isEmpty ? [] : many.frame) + one.frame
        hostileStreams(process, Exchange.protocols, fault.number, among: others) { _ in bytes }
    }

    /// Whoever asks it is told lies; and it asks far too much itself.
    private func findAsHostile(_ fault: Fault) {
        guard let index = fault.peers.first, let process = peers[index].process else { return }
        liars[index] = 0
        var choices = tape.stream(.faults, 1 << 55 | UInt64(fault.number))
        var bytes: Bytes = []
        switch fault.amount {
        case 0: for _ in 0..<50 { bytes += DHTMessage(.findNode, key: choices.bytes(34)).frame }
        case 1:
            for _ in 0..<200 {
                var message = DHTMessage(.addProvider, key: choices.bytes(34))
                message.providers = [DHTMessage.Peer(peers[index].id, [.simulated(index)])]
                bytes += message.frame
            }
        default: bytes = varint(4 << 20) + choices.bytes(1000)
        }
        hostileStreams(process, DHT.protocols, fault.number) { _ in bytes }
    }

    /// An answer that names peers that nobody is, and real ones where they are not.
    func madeUp(by liar: Int) -> Bytes {
        hit(.peersMadeUp)
        let count = liars[liar] ?? 0
        liars[liar] = count + 1
        var choices = tape.stream(.faults, 1 << 56 | UInt64(liar) << 32 | count)
        var message = DHTMessage(.findNode)
        message.closer = (0..<30).map { number in
            let id = PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32] + choices.bytes(32)))
            return DHTMessage.Peer(id, [.simulated(peers.count + number), .simulated(choices.below(peers.count))])
        }
        for peer in peers { message.closer.insert(DHTMessage.Peer(peer.id, [.simulated(choices.below(peers.count))]), at: choices.below(20)) }
        return message.frame
    }

    func hostileStreams(_ process: Process, _ protocols: [String], _ number: Int, among others: [Int]? = nil, _ bytes: (Int) -> Bytes) {
        for other in others ?? everyone where other != process.index {
            guard network.connection(process.index, other) != nil else { continue }
            let id = StreamID(owner: World.hostileOwner, number: UInt64(number) << 16 | UInt64(other))
            carryOut(process, StreamEffect.open(id, to: peers[other].id, protocols: protocols))
            carryOut(process, StreamEffect.send(id, bytes(other)))
            carryOut(process, StreamEffect.closeWrite(id))
            hit(.hostileSent)
        }
    }
}
