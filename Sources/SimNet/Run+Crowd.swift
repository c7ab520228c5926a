// Crowds: many peers, each of which knows few others at first. In a sound network everybody is found, and messages and blocks get to
// everybody, within bounds that follow from the peers' own settings: docs/simulator.md derives them.

import Cluster
import Exchange
import Gossip
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset

/// What is to get to everybody.
struct CrowdState {
    var healedAt: Int64?
    /// Pings that were published: whose, when they run out, and when they were seen.
    var published: [(author: Int, expire: Int64, at: Int64)] = []
    var newest = SortedMap<Int, Int64>()
    /// Blocks that were made.
    var made: [(cid: CID, author: Int, at: Int64)] = []
}

extension RunOptions {
    /// Whom a peer knows when it starts: some of those before it, so that there is a way from each to each.
    func boots(of index: Int, _ tape: Tape) -> [Int] {
        guard index > 0 else { return peers > 1 ? [1] : [] }
        var choices = tape.stream(.swarm, 2 << 32 | UInt64(index))
        return Array(choices.permuted(Array(0..<index)).prefix(1 + choices.below(boots)))
    }
}

extension Run {
    var isCrowd: Bool { options.boots > 0 }

    func introduceFew() {
        if options.joinsBy > 0 { for index in options.latecomers { joins(index, by: Array(0..<min(options.joinsBy, index))) } }
        guard isCrowd else { return }
        world.tellsDrainedFrom = 32 << 10
        world.keepsPeerstores = true
        for peer in world.peers {
            let known = options.boots(of: peer.index, world.tape)
            // Some were set up with them, others join by way of them.
            if peer.index % 2 == 0 { peer.settings.bootPeers = known.map { (world.peers[$0].id, [.simulated($0)], true) } } else { joins(peer.index, by: known) }
        }
    }

    private func joins(_ index: Int, by known: [Int]) {
        let peer = world.peers[index]
        (peer.settings.bootPeers, peer.settings.joins) = ([], known.map { Multiaddr.simulated($0).with(peer: world.peers[$0].id) })
    }

    // MARK: Bounds

    /// A packet, or what comes behind a slow one.
    var hopMax: Span {
        let network = world.settings.network
        return network.slowOneIn > 0 ? network.latencyMax * 10 : network.latencyMax
    }

    /// How many hops a flood takes in a random graph in which each has so many neighbours at least (Bollobás, 1981: the logarithm of its
    /// size to that base, and little more).
    static func hops(among count: Int, degree: Int) -> Int {
        var (hops, reached) = (2, 1)
        while reached < count { (hops, reached) = (hops + 1, reached * max(2, degree - 1)) }
        return hops
    }

    /// A message floods the mesh. Where the mesh has parted, the next heartbeat of those who have it tells everybody of it: three hops,
    /// and a flood of what was cut off.
    var messageMax: Span {
        let gossip = world.peers[0].settings.gossip
        let flood = hopMax * Int64(Run.hops(among: present.count, degree: 5 * gossip.meshFactor))
        return flood * 2 + gossip.heartbeatInterval + hopMax * 3
    }

    /// A dead connection is noticed, whoever failed to connect tries again (later, the longer the other was away), and then each round of introductions (a dial, an
    /// introduction and the question for whom the other knows: five hops) doubles how far everybody sees.
    var findMax: Span {
        let (network, book) = (world.settings.network, world.peers[0].settings.book)
        var (failures, waited) = (Int64(0), Span.zero)
        func pause() -> Span { min(book.backoffBase + .seconds(failures * failures), book.backoffMax) }
        let away = max(options.workloadLength, Span(nanoseconds: soundSince ?? 0) - Run.warmUp)
        while waited < away { (waited, failures) = (waited + pause() + network.dialTimeout, failures + 1) }
        let rounds = Run.hops(among: world.peers.count, degree: 3)
        return network.silentConnectionLifetime + book.redialAfter + pause() + network.dialTimeout + hopMax * Int64(5 * rounds)
    }

    /// Whoever hears of it asks for it: of those who were asked first one may have nothing, and one round more gets it.
    var blockMax: Span {
        let exchange = world.peers[0].settings.exchange
        return messageMax + exchange.answerTimeout + exchange.retryAfter + hopMax * 4 + world.settings.syncLatencyMax * 2
    }

    // MARK: Looking

    /// All faults have ended, and nobody has come or gone since.
    private var soundSince: Int64? {
        guard let healedAt = crowd.healedAt else { return nil }
        return max(healedAt, oracles.downSince.values.max() ?? 0, oracles.startedAt.values.max() ?? 0)
    }

    /// From the healing on.
    func watchCrowd() {
        guard isCrowd else { return }
        crowd.healedAt = world.now
        lookAtCrowd()
    }

    private func lookAtCrowd() {
        world.after(.seconds(1)) { [unowned self] _ in
            notePublished()
            checkCrowd()
            lookAtCrowd()
        }
    }

    private func notePublished() {
        for index in present {
            guard let process = world.peers[index].process, let ping = process.machine.monitor.latest("ping", of: process.peer.id), crowd.newest[index] != ping.expire
            else { continue }
            crowd.newest[index] = ping.expire
            crowd.published.append((index, ping.expire, world.now))
        }
    }

    func noteMade(_ cid: CID, by index: Int) {
        if crowd.healedAt != nil { crowd.made.append((cid, index, world.now)) }
    }

    func checkCrowd() {
        guard let soundSince else { return }
        let begins = soundSince + findMax.nanoseconds
        if world.now >= begins { checkFound() }
        let messagesUntil = world.now - messageMax.nanoseconds, blocksUntil = world.now - blockMax.nanoseconds
        let published = crowd.published.prefix { $0.at <= messagesUntil }, made = crowd.made.prefix { $0.at <= blocksUntil }
        (crowd.published, crowd.made) = (Array(crowd.published.dropFirst(published.count)), Array(crowd.made.dropFirst(made.count)))
        for (author, expire, at) in published where at >= begins { checkReached(author, expire, at) }
        for (cid, author, at) in made where at >= begins { checkSpread(cid, author, at) }
    }

    /// FOUND: everybody is connected to everybody.
    private func checkFound() {
        let present = present
        for a in present {
            for b in present where b > a {
                guard world.network.connection(a, b)?.isAlive != true else { continue }
                return world.fail(.found, "\(world.name(a)) and \(world.name(b)) have not found each other within \(findMax.seconds)")
            }
        }
        oracles.judged += 1
    }

    /// GOSSIP: what one has told everybody has heard.
    func checkReached(_ author: Int, _ expire: Int64, _ at: Int64) {
        let id = world.peers[author].id
        for index in present {
            guard let monitor = world.peers[index].process?.machine.monitor, monitor.latest("ping", of: id).map({ $0.expire < expire }) ?? true else { continue }
            return world.fail(.gossip, "\(world.name(index)) has not heard in \(messageMax.seconds) what \(world.name(author)) published at \(Span(nanoseconds: at).seconds)")
        }
        oracles.judged += present.count
    }

    /// SPREAD: what one has written everybody has.
    func checkSpread(_ cid: CID, _ author: Int, _ at: Int64) {
        for index in present {
            guard let replica = world.peers[index].process?.machine.replica, !replica.has(cid) else { continue }
            return world.fail(.spread, "\(world.name(index)) has not got in \(blockMax.seconds) the block \(cid) that \(world.name(author)) made at \(Span(nanoseconds: at).seconds)")
        }
        oracles.judged += present.count
    }

    // MARK: At rest

    /// When all is sound, some write once more: these blocks and the pings of that time are what is judged most strictly.
    func writeInCrowd() {
        guard isCrowd, let soundSince else { return }
        let wait = soundSince + findMax.nanoseconds - world.now
        if wait > 0 { world.run(for: Span(nanoseconds: wait) + .seconds(1)) }
        var choices = world.tape.stream(.swarm, 3 << 32)
        for (place, index) in choices.permuted(trusted).prefix(3).enumerated() {
            let operation = Operation(number: 300_000 + index, at: .zero, peers: [index], kind: .pin, contents: [1000 + index], words: ["name=crowd"])
            world.after(.seconds(Int64(place * 2))) { [unowned self] _ in perform(operation) }
        }
        world.run(for: blockMax + world.peers[0].settings.informers.pingInterval)
        if world.failure == nil { awaitAgreement() }
    }
}
