// A peer of the cluster, as a value. It composes the machines; nothing else knows more than one of them.

import AutoNAT
import Crypto
import DHT
import DagList
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
import Tracking

/// What comes of an operation.
package typealias Outcome<T: Sendable> = Result<T, ClientFailure>

package struct ClusterPeer: Sendable {
    /// What to do with a result that comes in a later step. It holds no state of its own: whatever changes lives in the
    /// peer, so that a copy of the peer is a peer.
    typealias Then<T> = @Sendable (inout ClusterPeer, T) -> Void

    /// The numbers by which answers find their machine.
    enum Owner {
        static let rpc: UInt8 = 1
        static let gossip: UInt8 = 2
        static let exchange: UInt8 = 3
        static let replica: UInt8 = 4
        static let ipfs: UInt8 = 5
        static let dagList: UInt8 = 6
        static let dht: UInt8 = 7
        static let wideDHT: UInt8 = 8
        static let autoNAT: UInt8 = 9
    }

    enum Phase: Equatable, Sendable {
        case awaitingIPFS  // asks for its IPFS daemon every second (IPFS-07)
        case ready  // all loops run
        case stopping  // flushes what it has accepted
        case stopped
    }

    /// What a net must accept streams for at first, in the order of preference.
    package static let protocols = [RPC.protocolID] + Gossip.protocols + Exchange.protocols + DHT.protocols + [DagList.protocolID, AutoNAT.protocolID]

    let settings: PeerSettings
    var turn = Turn()
    var phase = Phase.awaitingIPFS
    private var wakeAt: Instant?

    var book: PeerBook
    var gossip: Gossip
    var exchange: Exchange
    var dht: DHT
    /// The same of the wide network, of which we are only a client as long as it cannot reach us.
    var wideDHT: DHT
    var autoNAT: AutoNAT
    var dagList: DagList
    var rpc: RPC
    package internal(set) var replica: Replica
    package internal(set) var tracker: Tracker
    package internal(set) var monitor: Monitor
    var informers: Informers
    package internal(set) var ipfs: IPFSNode

    /// The machine that serves each inbound stream, and which of its directions have ended.
    var inbound = SortedMap<StreamID, InboundStream>()
    var traffic = Traffic()
    var listenAddresses: [Multiaddr] = []
    /// What the IPFS daemon said of itself last.
    var ipfsID = IPFSID()

    // Answers that are waited for. See ClusterPeer+Calls.
    var nextNumber: UInt64 = 0
    var writes: [OperationID: Then<ReplicaError?>] = [:]
    var ipfsCalls: [IPFSCallID: IPFSCall] = [:]
    var trackerCalls: [WorkID: IPFSCallID] = [:]
    var rpcCalls: [RPCCallID: RPCPending] = [:]
    var served: [StreamID: ServedCall] = [:]
    /// Streams to peers that were not connected. See ClusterPeer+Finding.
    var calling = SortedMap<StreamID, Calling>()
    /// Both DHTs are just being asked.
    var isBeginningToSeek = false
    var gathers: [UInt64: Gather] = [:]
    /// What is under way for whom.
    var asked = SortedMap<Asker, [Question]>()
    var surveys = SortedMap<Asker, Survey>()
    var joins: [Join] = []
    var collections = SortedMap<Asker, Collection>()
    var loops = Loops()
    /// Batches that wait until the index has room.
    var bulk: [(client: ClientID, write: BulkWrite, question: Replica.Question, isAskedAgain: Bool)] = []
    /// Clients that pins are listed to.
    var pinListings = SortedMap<ClientID, Listing>()
    /// Statuses of some contents, under way.
    var inquiries = SortedMap<ClientID, Inquiry>()
    /// Uploads under way.
    var adds = SortedMap<ClientID, Adding>()
    /// Content whose parts are being pinned or removed, and who waits for that.
    var partsInHand: [CID: [UInt64]] = [:]
    var partsWaiting: [UInt64: Waiting] = [:]
    /// Those with more to do than one step should.
    var busyUploads = FIFO<ClientID>()

    struct InboundStream: Sendable {
        let owner: UInt8
        var localEnded = false
        var remoteEnded = false
    }

    /// Opens the log and rebuilds the state. The effects must be carried out before the first step.
    package init(
        settings: PeerSettings, disk: any DiskReader, signer: any MessageSigner, at now: Now, choices: inout Choices,
        effects: inout [PeerEffect]
    ) throws {
        self.settings = settings
        book = PeerBook(settings: settings.book, me: settings.me)
        var gossiping = settings.gossip
        if settings.isFollower { gossiping.exchangesPeers = false }  // GSP-07
        gossip = Gossip(
            settings: gossiping, me: settings.me, signer: signer, owner: Owner.gossip,
            firstSequenceNumber: UInt64(bitPattern: now.wall.unixNanoseconds), now: now)
        exchange = Exchange(settings: settings.exchange, owner: Owner.exchange)
        dht = DHT(settings: settings.dht, me: settings.me, owner: Owner.dht)
        wideDHT = DHT(settings: settings.dht, network: .wide, me: settings.me, owner: Owner.wideDHT)
        autoNAT = AutoNAT(settings: settings.autoNAT, me: settings.me, owner: Owner.autoNAT, now: now)
        dagList = DagList(settings: settings.dagList, owner: Owner.dagList)
        rpc = RPC(settings: settings.rpc, owner: Owner.rpc, trust: settings.trust)
        tracker = Tracker(settings: settings.tracker, me: settings.me)
        monitor = Monitor(settings: settings.monitor)
        informers = Informers(settings: settings.informers, me: settings.me)
        var opening: [Replica.Effect] = []
        var nodeOpening: [IPFSEffect] = []
        ipfs = try IPFSNode(settings: settings.ipfs, me: settings.me, owner: Owner.ipfs, reader: disk, now: now, effects: &nodeOpening)
        replica = try Replica(
            settings: settings.replica, owner: Owner.replica, reader: disk, now: now, choices: &choices, effects: &opening)
        var findingOpening: [DHT.Effect] = []
        dht.open(disk, now: now, effects: &findingOpening)
        turn.now = now
        swap(&turn.choices, &choices)
        swap(&turn.effects, &effects)
        route(opening)
        route(nodeOpening)
        route(findingOpening)
        swap(&turn.choices, &choices)
        swap(&turn.effects, &effects)
    }

    package var id: PeerID { settings.me }
    /// What a peer wants of this one, as far as it is kept in mind.
    package func wants(of peer: PeerID) -> [Multihash] { exchange.ledger(of: peer) }
    /// What it has not been told yet of the blocks that it wants.
    package func waitingAnswers(for peer: PeerID) -> Int { exchange.waitingAnswers(for: peer) }
    package var peerName: String { settings.peerName }
    package var isReady: Bool { phase == .ready }
    /// Uploads that have not ended: each is still to write a pin.
    package var uploadCount: Int { adds.count }
    /// Answers that it waits for, and work that waits for those.
    package var unfinished: KeyValuePairs<String, Int> {
        [
            "writes": writes.count, "calls to IPFS": ipfsCalls.count, "pins and unpins": trackerCalls.count, "calls to peers": rpcCalls.count,
            "calls of peers": served.count, "streams that wait for their peer": calling.count, "gatherings": gathers.count, "surveys": surveys.count, "collections of garbage": collections.count,
            "bulk writes": bulk.count, "listings": pinListings.count, "inquiries": inquiries.count, "uploads": adds.count,
        ]
    }
    /// Clients that it does something for, or thinks so.
    package var clientCount: Int {
        let read = (surveys.keys + collections.keys).count { if case .client = $0 { true } else { false } }
        return pinListings.count + inquiries.count + adds.count + read
    }
    /// Calls of other peers that are open; and of one of them, those that count against its limit.
    package var openCallCount: Int { rpc.servedCount }
    package func countedCalls(of peer: PeerID) -> Int { rpc.countedCalls(of: peer) }
    package var meshMax: (members: Int, bound: Int) { gossip.meshMax }
    /// For whoever looks after every step: who is given a topic's messages, for whom some wait, and when the meshes are tended next.
    package mutating func mesh(of topic: String) -> [PeerID] { gossip.meshPeers(topic) }
    package mutating func hasGossipWaiting(for peer: PeerID) -> Bool { gossip.isWaiting(for: peer) }
    package mutating func unwantedMessages(of peer: PeerID) -> Int { gossip.unwantedCount(of: peer) }
    package mutating func nextHeartbeat() -> Instant { gossip.nextHeartbeat }
    /// The same of blocks: whether it wants one.
    package mutating func wants(_ hash: Multihash) -> Bool { exchange.wants(hash) }
    /// What the state has come to, for whoever looks after every step: in place, or all of the replica would be copied.
    package mutating func merged() -> (blocks: Int, absent: Int, digest: StateDigest) {
        (replica.blockCount, replica.absentCount, replica.digest)
    }
    package mutating func isComing(_ block: CID) -> Bool { replica.isComing(block.multihash) }
    package mutating func merged(among cids: [CID]) -> [CID] { cids.filter { replica.has($0) } }
    package mutating func tracked() -> (busy: Int, queued: Int) { (tracker.busyCount, tracker.pinQueueSize) }
    package mutating func waitsForNothing() -> Bool { replica.waitsForNothing }
    package mutating func checkTracker() { tracker.checkInvariants() }
    package mutating func checkDHT() {
        dht.checkInvariants()
        wideDHT.checkInvariants()
        autoNAT.checkInvariants()
    }
    /// All others.
    package mutating func checkMachines() {
        book.checkInvariants()
        gossip.checkInvariants()
        exchange.checkInvariants()
        dagList.checkInvariants()
        rpc.checkInvariants()
        ipfs.checkInvariants()
        replica.checkInvariants { exchange.wants($0) }
        invariant(exchange.wantsOnly { replica.isWaiting(for: $0) || ipfs.isWaiting(for: $0) }, "others are asked for what nobody here wants")
        invariant(rpc.openCalls.made == rpcCalls.count, "\(rpcCalls.count) answers of other peers are waited for, of \(rpc.openCalls.made) calls")
        invariant(ipfs.callCount.map { $0 == ipfsCalls.count } ?? true, "\(ipfsCalls.count) answers of IPFS are waited for, of \(ipfs.callCount ?? 0) calls")
        invariant(asked.keys.allSatisfy { if case .peer(let stream) = $0 { served[stream] != nil } else { true } }, "something is asked for the sake of a call that is over")
        invariant(trackerCalls.count { ipfsCalls[$1] != nil } == trackerCalls.count, "the tracker's work is a call's")
    }
    /// Calls to other peers, and those of them that wait until their peer is found; calls of others, and those that are worked on.
    package mutating func calls() -> (made: Int, sought: Int, served: Int, answered: Int) {
        var sought = 0
        calling.each { stream, call in if call.failure != nil, stream.owner == Owner.rpc { sought += 1 } }
        let open = rpc.openCalls
        return (open.made, sought, open.served, served.count)
    }
    /// Clients that something is asked for.
    package mutating func askers() -> [ClientID] { asked.keys.compactMap { if case .client(let client) = $0 { client } else { nil } } }
    /// Requests to the IPFS daemon that somebody waits for, and those that are held back; nil for the embedded node.
    package mutating func requestsToIPFS() -> (sent: Int, held: Int)? { ipfs.requestsToDaemon }
    /// Of the local DHT: who is in the table, a search that is under way, and who was looked for a moment ago in vain.
    package mutating func tabled() -> [PeerID] { dht.table.peers }
    package mutating func isTabled(_ peer: PeerID) -> Bool { dht.table.contains(peer) }
    package mutating func search(for key: Bytes) -> (number: UInt64, isFinishing: Bool)? { dht.search(for: key) }
    package mutating func searchesBegun() -> UInt64 { dht.lookupNumber }
    /// Dials under way for the sake of searches; and whether a peer could be dialled.
    package mutating func searchDials() -> Int { dht.dialCount + wideDHT.dialCount }
    package mutating func knowsWay(to peer: PeerID) -> Bool { !book.addresses(of: peer).isEmpty }
    /// What the embedded node is dropping as garbage.
    package mutating func collected() -> [CID] { ipfs.collected }
    package mutating func isCatchingUp() -> Bool { replica.isCatchingUp }
    package mutating func listsServed() -> Int { dagList.servingCount }
    package var bookCount: Int { book.count }
    /// What the peerstore file is to hold: other peers and their addresses, the most important first.
    package var knownPeers: [(peer: PeerID, addresses: [Multiaddr])] { book.known }

    /// Takes one input. Effects are appended in the order in which they must happen.
    package mutating func step(
        _ input: PeerInput, at now: Now, choices: inout Choices, effects: inout [PeerEffect]
    ) {
        turn.now = now
        swap(&turn.choices, &choices)
        swap(&turn.effects, &effects)
        take(input)
        allowChanges()
        if !bulk.isEmpty { workOffBulk(isDue: input == .wake) }
        if phase == .stopping { finishStopping() }
        rearm()
        swap(&turn.choices, &choices)
        swap(&turn.effects, &effects)
    }

    private mutating func take(_ input: PeerInput) {
        guard phase != .stopped else { return }
        switch input {
        case .start: start()
        case .wake: wakeAt = nil; onTime()
        case .connection(let event): onConnection(event)
        case .stream(let event): onStream(event)
        case .disk(let event):
            withReplica { $0.onDisk(event, now: $1.now, effects: &$2) }
            withIPFS { $0.onDisk(event, effects: &$2) }
            withDHT { $0.onDisk(event, now: $2.now, effects: &$3) }
        case .job(let number, let outcome): withReplica { $0.onJob(number, outcome, now: $1.now, effects: &$2) }
        case .exchange(let event): withIPFS { $0.onExchange(event, now: $1, effects: &$2) }
        case .client(let client, let request): act(for: .client(client)) { $0.onClient(client, request) }
        case .clientInput(let client, .more):
            continueListing(client)
            onTaken(.client(client))
        case .clientInput(let client, let input): onUpload(client, input)
        case .clientGone(let client):
            if pinListings.remove(client) != nil { note(.warning, "dsstate", "full pinset listing aborted: context canceled") }
            inquiries.remove(client)
            stopAdding(client)
            abandon(.client(client))
        case .shutdown: shutDown()
        }
    }

    /// The tracker takes what has changed at its own pace.
    private mutating func allowChanges() {
        let room = max(0, settings.trackedMax - tracker.busyCount)
        replica.allowChanges(room, now: turn.now)
    }

    /// One wake-up for the earliest deadline of all machines.
    private mutating func rearm() {
        let next = phase == .stopped ? nil : nextDeadline
        guard next != wakeAt else { return }
        wakeAt = next
        turn.effects.append(.wake(at: next))
    }

    /// Whose deadlines have passed: who asks for a wake-up at once, over and over, is one of them.
    package func due(at now: Instant) -> [String] { deadlines.filter { $0.at.map { $0 <= now } ?? false }.map(\.name) }

    private var deadlines: [(name: String, at: Instant?)] {
        [
            ("replica", replica.nextDeadline), ("gossip", gossip.nextDeadline), ("exchange", exchange.nextDeadline),
            ("dht", dht.nextDeadline), ("wide dht", wideDHT.nextDeadline), ("autonat", autoNAT.nextDeadline), ("lists", dagList.nextDeadline), ("rpc", rpc.nextDeadline), ("ipfs", ipfs.nextDeadline), ("book", book.nextDeadline),
            ("monitor", monitor.nextDeadline), ("informers", informers.nextDeadline), ("surveys", surveysDue), ("uploads", uploadsDue), ("loops", loops.nextDeadline),
        ]
    }

    private var nextDeadline: Instant? {
        var next = earliest(replica.nextDeadline, gossip.nextDeadline)
        next = earliest(next, exchange.nextDeadline)
        next = earliest(next, earliest(dht.nextDeadline, wideDHT.nextDeadline))
        next = earliest(next, autoNAT.nextDeadline)
        next = earliest(next, dagList.nextDeadline)
        next = earliest(next, rpc.nextDeadline)
        next = earliest(next, ipfs.nextDeadline)
        next = earliest(next, book.nextDeadline)
        next = earliest(next, monitor.nextDeadline)
        next = earliest(next, informers.nextDeadline)
        next = earliest(next, surveysDue)
        next = earliest(next, uploadsDue)
        return earliest(next, loops.nextDeadline)
    }

    private mutating func onTime() {
        withReplica { $0.onTime(now: $1.now, choices: &$1.choices, effects: &$2) }
        withGossip { $0.onTime(now: $1.now, choices: &$1.choices, effects: &$2) }
        withExchange { $0.onTime(now: $2, effects: &$3) }
        withDHTs { $0.onTime(now: $2.now, choices: &$2.choices, effects: &$3) }
        withAutoNAT { $0.onTime(now: $1.now, choices: &$1.choices, effects: &$2) }
        withDagList { $0.onTime(now: $2, effects: &$3) }
        withRPC { $0.onTime(now: $1, effects: &$2) }
        withIPFS { $0.onTime(now: $1, effects: &$2) }
        var dials: [ConnectionEffect] = []
        book.onTime(now: turn.now, effects: &dials)
        turn.effects += dials.map(PeerEffect.connection)
        let queued = tracker.pinQueueSize + replica.untoldCount
        withInformers { $0.onTime(now: $1, queued: queued, effects: &$2) }
        for alert in monitor.onTime(now: turn.now) { onAlert(alert) }
        continueUploads()
        runLoops()
    }

    func log(_ level: LogLevel, _ component: String, _ message: String) -> PeerEffect {
        .log(LogLine(level, component, message))
    }
    mutating func note(_ level: LogLevel, _ component: String, _ message: String) {
        turn.effects.append(log(level, component, message))
    }
    /// What there is to say of each pin and the like, if anybody reads it.
    mutating func inform(_ logger: String, _ message: @autoclosure () -> String) {
        if settings.infoLoggers.contains(logger) { note(.info, logger, message()) }
    }
}
