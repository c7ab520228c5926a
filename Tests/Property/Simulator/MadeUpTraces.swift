// Traces made up for tests: small ones in which anything may stand, and one that looks like a run of a cluster.

import Kernel
import Multiformats
import SimNet

func content(_ number: Int) -> CID { CID(v1: Codec.raw, .sha2_256(of: Array("content \(number)".utf8))) }

enum MadeUp {
    /// What a run might say, and what would break a page or a terminal.
    static let texts = [
        "", "stream 5 120 bytes", "</script><script>alert(1)</script>", "<!-- <b>&amp;", "\"quoted\" \\ 'single' `back`", "a\nline\r\nends\ttabs",
        "\u{1b}[31mred\u{7}\u{0}", "\u{2028}\u{2029}", "ünïcödé 🦊 中文", "${x}", "\u{202e}right to left", "]]>", "<svg onload=alert(1)>",
    ]

    /// Anything that a trace can hold.
    static func anything(seed: UInt64, entries count: Int = 200) -> Trace {
        var choices = Choices(seed: seed)
        var trace = Trace(title: "seed \(seed) \(texts[choices.below(texts.count)])", peerNames: (0..<1 + choices.below(6)).map { "p\($0)" })
        let contents = (0..<1 + choices.below(8)).map(content)
        var at: Int64 = 0
        for index in 0..<count {
            at += choices.chance(1, in: 3) ? 0 : Int64(choices.below(2_000_000_000))
            var cids = choices.chance(1, in: 2) ? [] : choices.sample(contents, 1 + choices.below(3))
            let kind = kind(&choices, contents, peers: trace.peerNames.count)
            if case .pin(let cid, _) = kind, choices.chance(1, in: 2) { cids = [cid] }
            let cause = index == 0 || choices.chance(1, in: 4) ? nil : choices.chance(1, in: 2) ? index - 1 : choices.below(index)
            let text = texts[choices.below(texts.count)] + (cids.first.map { choices.chance(1, in: 2) ? " of \($0)" : "" } ?? "")
            let peer = choices.chance(1, in: 10) ? nil : choices.below(trace.peerNames.count)
            trace.entries.append(TraceEntry(at: at, peer: peer, cause: cause, kind: kind, text: text, cids: cids))
        }
        trace.facts = [("seed", "\(seed)"), ("options", texts[choices.below(texts.count)])]
        trace.oracles = [("HELD", texts[choices.below(texts.count)], nil), ("BROKEN", "says <so>", texts[choices.below(texts.count)])]
        return trace
    }

    private static func kind(_ choices: inout Choices, _ contents: [CID], peers: Int) -> TraceEntry.Kind {
        switch choices.below(12) {
        case 0: .input(label: "wake")
        case 1, 2: .input(label: texts[choices.below(texts.count)])
        case 3: .effect(label: "reply")
        case 4: .log(level: choices.chance(1, in: 2) ? "error" : "info")
        case 5: .up
        case 6: .down
        case 7:
            .fault(
                choices.below(9), name: texts[choices.below(texts.count)], peers: [choices.below(peers)],
                others: choices.chance(1, in: 2) ? [] : [choices.below(peers)])
        case 8: .healed(choices.below(9))
        case 9: .failure(oracle: "BROKEN")
        case 10: .phase(texts[choices.below(texts.count)])
        default: .pin(contents[choices.below(contents.count)], state: ["accepted", "merged", "pinned", "</b>"][choices.below(4)])
        }
    }
}

/// A cluster as the simulator would trace it: gossip all the time, pins that spread, faults, and at the end a pin that is lost.
struct MadeUpCluster {
    private(set) var trace: Trace
    private var choices: Choices
    private let count: Int
    private let length: Int64
    private var now: Int64 = 0
    private var queue: [(at: Int64, number: Int, event: Event)] = []
    private var scheduled = 0
    private var isUp: [Bool]
    private var lastStep: [Int?]
    private var partition: [Int: Bool] = [:]
    private var ipfsDown: Set<Int> = []
    private var nextFault = 0
    private var clients = 0

    private enum Event {
        case beat(peer: Int)
        case arrive(peer: Int, cause: Int, Message)
        case ask(peer: Int)
        case synced(peer: Int, cause: Int, CID, Then)
        case ipfs(peer: Int, cause: Int, CID)
        case fault(Int)
        case heal(Int, peers: [Int])
        case start(peer: Int)
    }
    private enum Message { case gossip(bytes: Int), head(CID), want(CID, from: Int), block(CID) }
    private enum Then { case announce(client: Int), track }

    static func run(seed: UInt64, peers: Int = 5, entries: Int = 50_000, fails: Bool = true) -> Trace {
        var cluster = MadeUpCluster(seed: seed, peers: peers, length: 240_000_000_000)
        cluster.go(until: entries, fails: fails)
        return cluster.trace
    }

    private init(seed: UInt64, peers: Int, length: Int64) {
        count = peers
        self.length = length
        choices = Choices(seed: seed)
        isUp = Array(repeating: false, count: peers)
        lastStep = Array(repeating: nil, count: peers)
        trace = Trace(title: "Seed \(seed)", peerNames: (0..<peers).map { "p\($0)" })
    }

    private mutating func schedule(_ delay: Int64, _ event: Event) {
        scheduled += 1
        let item = (at: now + delay, number: scheduled, event: event)
        var (low, high) = (0, queue.count)
        while low < high {
            let middle = (low + high) / 2
            if (queue[middle].at, queue[middle].number) > (item.at, item.number) { low = middle + 1 } else { high = middle }
        }
        queue.insert(item, at: low)
    }

    @discardableResult
    private mutating func add(_ kind: TraceEntry.Kind, _ peer: Int?, _ cause: Int?, _ text: String, _ cids: [CID] = []) -> Int {
        trace.entries.append(TraceEntry(at: now, peer: peer, cause: cause, kind: kind, text: text, cids: cids))
        return trace.entries.count - 1
    }

    private mutating func go(until limit: Int, fails: Bool) {
        add(.phase("workload and faults"), nil, nil, "clients write while faults strike")
        for peer in 0..<count { start(peer) }
        let rate = Int64(Double(length) / (Double(limit) * 0.62 / Double(count * count)))
        for peer in 0..<count { schedule(Int64(choices.below(Int(rate))), .beat(peer: peer)) }
        for _ in 0..<limit / 320 { schedule(Int64(choices.below(Int(length * 3 / 4))), .ask(peer: choices.below(count))) }
        for index in 0..<14 { schedule(length / 20 * Int64(index) + Int64(choices.below(Int(length / 25))), .fault(index)) }
        var isHealed = false
        while trace.entries.count < limit - 1, let next = queue.popLast() {
            now = next.at
            if !isHealed, now > length * 4 / 5 {
                isHealed = true
                add(.phase("healing"), nil, nil, "faults end; everything is healed")
            }
            switch next.event {
            case .beat(let peer): beat(peer, every: rate)
            case .arrive(let peer, let cause, let message): arrive(peer, cause, message)
            case .ask(let peer): ask(peer)
            case .synced(let peer, let cause, let cid, let then): synced(peer, cause, cid, then)
            case .ipfs(let peer, let cause, let cid): ipfs(peer, cause, cid)
            case .fault(let index): if !isHealed { fault(index) }
            case .heal(let number, let peers): heal(number, peers)
            case .start(let peer): if !isUp[peer] { start(peer) }
            }
        }
        finish(fails)
    }

    private mutating func finish(_ fails: Bool) {
        var facts = [
            ("seed", "4711"), ("replay", "ipfs-cluster-sim run --seed 4711 --disk-faults"),
            ("options", "peers=\(count) operations=120 factor-min=2 factor-max=3 batching=yes crashes=3 partitions=4 ipfs-outages=4 slow-disks=2 contents=40"),
            ("settled", "38.5 s after the faults had ended"), ("digest", "8d41f2a90bc37e15"),
        ]
        trace.oracles = [
            ("DIGEST", "Peers with the same heads have the same state.", nil),
            ("DURABLE", "Whatever was acknowledged is in the pinset of every peer once all is healed.", nil),
            ("COVER", "Every block of the DAG reaches every trusted peer.", nil), ("SETTLE", "IPFS pins what it is allocated, and nothing else.", nil),
            ("TRUTH", "What a peer says of a pin's status is what its IPFS daemon does.", nil),
            ("ALLOC", "A pin has as many allocations as its factors ask for.", nil),
            ("TRUST", "A peer that nobody trusts changes nothing.", nil),
            ("REPIN", "What a lost peer held is allocated anew, once.", nil),
            ("HEADS", "A head is built upon by no block.", nil),
            ("MIN", "A block removes nothing twice.", nil), ("REFOLD", "The state is what the DAG says.", nil), ("LIVE", "Every peer answers.", nil),
            ("EXPIRY", "What has expired leaves the pinset.", nil),
        ]
        guard fails, let acceptance = trace.entries.lastIndex(where: { if case .pin(_, "accepted") = $0.kind { true } else { false } }),
            case .pin(let cid, _) = trace.entries[acceptance].kind
        else { trace.facts = facts + [("verdict", "everything held")]; return }
        let word = "p1 acknowledged a pin of \(cid) (write 117) that is nowhere"
        add(.failure(oracle: "DURABLE"), nil, acceptance, word, [cid])
        trace.oracles[1].failure = word
        facts.append(("verdict", "DURABLE"))
        trace.facts = facts
    }

    // MARK: Steps

    private mutating func start(_ peer: Int) {
        isUp[peer] = true
        let up = add(.up, peer, nil, "starts")
        let step = add(.input(label: "start"), peer, up, "start")
        add(.log(level: "info"), peer, step, "cluster: Waiting for IPFS to be ready...")
        add(.effect(label: "ipfs"), peer, step, "ipfs 1: /api/v0/id")
        lastStep[peer] = step
    }

    private mutating func send(_ from: Int, _ to: Int, _ cause: Int, _ message: Message) {
        guard partition[from] == partition[to] || partition.isEmpty else { return }
        schedule(Int64(2_000_000 + choices.below(60_000_000)), .arrive(peer: to, cause: cause, message))
    }

    private mutating func beat(_ peer: Int, every rate: Int64) {
        schedule(rate * 4 / 5 + Int64(choices.below(Int(rate * 2 / 5))), .beat(peer: peer))
        guard isUp[peer] else { return }
        let step = add(.input(label: "wake"), peer, lastStep[peer], "wake")
        lastStep[peer] = step
        for other in 0..<count where other != peer { send(peer, other, step, .gossip(bytes: 40 + choices.below(9) * 32)) }
    }

    private mutating func arrive(_ peer: Int, _ cause: Int, _ message: Message) {
        guard isUp[peer], let from = trace.entries[cause].peer else { return }
        switch message {
        case .gossip(let bytes): lastStep[peer] = add(.input(label: "received"), peer, cause, "stream \(from * 4 + 2).\(peer) \(bytes) bytes: gossipsub")
        case .head(let cid):
            let step = add(.input(label: "received"), peer, cause, "stream \(from * 4 + 2).\(peer) 214 bytes: a head with \(cid)", [cid])
            send(peer, from, step, .want(cid, from: peer))
        case .want(let cid, let asker):
            let step = add(.input(label: "received"), peer, cause, "stream \(from * 4 + 1).\(peer) 68 bytes: bitswap wants the block of \(cid)", [cid])
            send(peer, asker, step, .block(cid))
        case .block(let cid):
            let step = add(.input(label: "received"), peer, cause, "stream \(from * 4 + 1).\(peer) 391 bytes: bitswap has the block of \(cid)", [cid])
            schedule(Int64(1_000_000 + choices.below(11_000_000)), .synced(peer: peer, cause: step, cid, .track))
        }
    }

    private mutating func ask(_ peer: Int) {
        guard isUp[peer] else { return }
        clients += 1
        let cid = content(choices.below(40))
        let step = add(.input(label: "client"), peer, nil, "client \(clients) asks pin(\(cid), factors 2 to 3, name \"write \(clients)\")", [cid])
        add(.pin(cid, state: "accepted"), peer, step, "", [cid])
        schedule(Int64(1_000_000 + choices.below(11_000_000)), .synced(peer: peer, cause: step, cid, .announce(client: clients)))
    }

    private mutating func synced(_ peer: Int, _ cause: Int, _ cid: CID, _ then: Then) {
        guard isUp[peer] else { return }
        let step = add(.input(label: "synced"), peer, cause, "synced 2.\(trace.entries.count % 977)")
        add(.pin(cid, state: "merged"), peer, step, "height \(clients)", [cid])
        if case .announce(let client) = then {
            add(.effect(label: "reply"), peer, step, "client \(client): pin \(cid)", [cid])
            for other in 0..<count where other != peer { send(peer, other, step, .head(cid)) }
        }
        guard choices.chance(3, in: 5) else { return }
        add(.pin(cid, state: "pinning"), peer, step, "", [cid])
        add(.effect(label: "ipfs"), peer, step, "ipfs \(trace.entries.count % 887): /api/v0/pin/add?arg=\(cid)&recursive=true", [cid])
        schedule(Int64(20_000_000 + choices.below(3_000_000_000)), .ipfs(peer: peer, cause: step, cid))
    }

    private mutating func ipfs(_ peer: Int, _ cause: Int, _ cid: CID) {
        guard isUp[peer] else { return }
        if ipfsDown.contains(peer) {
            let step = add(.input(label: "ipfs"), peer, cause, "ipfs \(trace.entries.count % 887) failed: connection refused", [cid])
            add(.pin(cid, state: "failed"), peer, step, "connection refused", [cid])
            add(.log(level: "error"), peer, step, "tracker: pinning \(cid) failed: connection refused; it is tried again", [cid])
            return schedule(8_000_000_000, .ipfs(peer: peer, cause: step, cid))
        }
        let step = add(.input(label: "ipfs"), peer, cause, "ipfs \(trace.entries.count % 887) status 200", [cid])
        add(.pin(cid, state: "pinned"), peer, step, "", [cid])
    }

    // MARK: Faults

    private mutating func fault(_ index: Int) {
        let number = nextFault
        nextFault += 1
        let peer = choices.below(count)
        let span = Int64(6_000_000_000 + choices.below(24_000_000_000))
        switch index % 5 {
        case 0, 3:
            guard partition.isEmpty else { return }
            let order = choices.permuted(Array(0..<count))
            let cut = 1 + choices.below(count - 1)
            for (place, peer) in order.enumerated() { partition[peer] = place < cut }
            let (side, others) = (order[..<cut].sorted(), order[cut...].sorted())
            add(.fault(number, name: "partition", peers: side, others: others), nil, nil, "partition between \(side) and \(others)")
            schedule(span, .heal(number, peers: []))
        case 1:
            guard isUp[peer] else { return }
            add(.fault(number, name: "crash", peers: [peer], others: []), nil, nil, "p\(peer) crashes")
            isUp[peer] = false
            add(.down, peer, trace.entries.count - 1, "crashes")
            schedule(span / 2, .start(peer: peer))
            schedule(span / 2, .heal(number, peers: []))
        case 2:
            ipfsDown.insert(peer)
            add(.fault(number, name: "IPFS down", peers: [peer], others: []), nil, nil, "p\(peer)'s IPFS daemon is down")
            schedule(span, .heal(number, peers: [peer]))
        default:
            add(.fault(number, name: "IPFS forgets", peers: [peer], others: []), nil, nil, "p\(peer)'s IPFS daemon forgets all its pins")
            add(.fault(number + 100, name: "slow disk", peers: [peer, (peer + 1) % count], others: []), nil, nil, "syncs take long")
            schedule(span, .heal(number + 100, peers: []))
        }
    }

    private mutating func heal(_ number: Int, _ peers: [Int]) {
        for peer in peers { ipfsDown.remove(peer) }
        if peers.isEmpty { partition = [:] }
        add(.healed(number), nil, nil, "fault \(number) ends")
    }
}
