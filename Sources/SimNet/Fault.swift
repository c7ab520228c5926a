// Faults as data: what strikes whom, when and for how long. The catalogue says what each stands for; docs/faults.md is made of it.

import Kernel

package enum FaultFamily: String, CaseIterable, Sendable {
    case network, blocks, ipfs, metrics, disk, process, clock, churn, hostile
}

package enum FaultKind: String, CaseIterable, Sendable {
    case partition, oneWay = "one-way", isolate, bridge, ring, swizzle
    case slowLink = "slow-link", thinLink = "thin-link", halfOpen = "half-open", connectionLoss = "connection-loss", flapping
    case muteGossip = "mute-gossip", streamReset = "stream-reset"
    case slowBlocks = "slow-blocks", withheldBlocks = "withheld-blocks", wrongBlocks = "wrong-blocks"
    case ipfsDown = "ipfs-down", ipfsHang = "ipfs-hang", ipfsSlow = "ipfs-slow", ipfsLosesReplies = "ipfs-loses-replies"
    case ipfsFull = "ipfs-full", ipfsReset = "ipfs-reset", ipfsCollects = "ipfs-collects", ipfsStale = "ipfs-stale", ipfsRestart = "ipfs-restart"
    case ipfsLacks = "ipfs-lacks", ipfsCutsAnswers = "ipfs-cuts-answers"
    case lyingSpace = "lying-space", hiddenSpace = "hidden-space"
    case diskFull = "disk-full", syncFailure = "sync-failure", slowDisk = "slow-disk", readError = "read-error", rot
    case crash, restart, reboot, powerCut = "power-cut", suspend, wipe, rollback
    case clockOffset = "clock-offset", clockFreeze = "clock-freeze"
    case leave, lose
    case hostileGossip = "hostile-gossip", hostileBytes = "hostile-bytes", hostileWants = "hostile-wants"
    case hostileFinding = "hostile-finding"
    case ipfsMeddling = "ipfs-meddling"
    case hostileStrangers = "hostile-strangers"
    case forgedGossip = "forged-gossip", hostileMesh = "hostile-mesh", halfReset = "half-reset"
}

package struct Fault: Equatable, Sendable {
    /// Names it in a plan. Shrinking keeps it.
    package var number: Int
    package var kind: FaultKind
    /// From the beginning of the storm; or after so many others when all has settled (`isLate`).
    package var at: Span
    /// Zero where it is over at once, or lasts until all is healed.
    package var length: Span = .zero
    package var peers: [Int]
    package var others: [Int] = []
    package var amount = 0
    package var isLate = false

    package init(number: Int, kind: FaultKind, at: Span, length: Span = .zero, peers: [Int], others: [Int] = [], amount: Int = 0, isLate: Bool = false) {
        (self.number, self.kind, self.at, self.length) = (number, kind, at, length)
        (self.peers, self.others, self.amount, self.isLate) = (peers, others, amount, isLate)
    }

    /// The process alone dies; else its machine loses power.
    var isKill: Bool {
        switch kind {
        case .crash, .restart: amount == 3
        case .powerCut: amount == 4 || amount == 5
        default: false
        }
    }

    /// In what moment power is cut.
    enum Moment { case answer, write, segment }
    var moment: Moment { amount < 2 ? .answer : amount < 6 ? .write : .segment }
}

/// One row of the catalogue.
package struct FaultRow: Sendable {
    package let kind: FaultKind
    package let family: FaultFamily
    /// How many of them a run has at most where its family is on, at full intensity.
    package let countMax: Int
    /// Shortest and longest, in seconds; zeros where it is over at once.
    package let lasts: ClosedRange<Int>
    package let amounts: ClosedRange<Int>
    /// What it does, and what in the world it stands for.
    package let what: String
    package let incident: String
    package let probe: Probe

    /// Among many there are more of what strikes one peer or some of its links.
    func crowdFactor(_ peers: Int) -> Int {
        switch kind {
        case .slowLink, .thinLink, .halfOpen, .connectionLoss, .flapping, .muteGossip, .streamReset, .halfReset, .crash, .restart, .suspend, .leave: min(4, max(1, peers / 12))
        default: 1
        }
    }
}

extension FaultKind {
    package var row: FaultRow { FaultKind.rows[self] ?? FaultKind.catalogue[0] }
    private static let rows = Dictionary(uniqueKeysWithValues: catalogue.map { ($0.kind, $0) })

    private static func row(
        _ kind: FaultKind, _ family: FaultFamily, _ countMax: Int, _ lasts: ClosedRange<Int>, _ amounts: ClosedRange<Int>,
        _ what: String, _ incident: String, _ probe: Probe
    ) -> FaultRow {
        FaultRow(kind: kind, family: family, countMax: countMax, lasts: lasts, amounts: amounts, what: what, incident: incident, probe: probe)
    }
    private static func row(
        _ kind: FaultKind, _ family: FaultFamily, _ countMax: Int, _ lasts: ClosedRange<Int>, _ what: String, _ incident: String, _ probe: Probe
    ) -> FaultRow { row(kind, family, countMax, lasts, 0...0, what, incident, probe) }

    package static let catalogue: [FaultRow] = [
        row(.partition, .network, 4, 5...90, "Two sides; nothing passes between them, what is sent waits.",
            "A switch fails, a cable is cut (Bailis and Kingsbury, The network is reliable).", .heldUp),
        row(.oneWay, .network, 3, 5...90, "The same in one direction.", "Cloudflare, November 2020: a switch that drops one way.", .heldUp),
        row(.isolate, .network, 3, 5...90, "One peer is cut off from all others.", "A node's network card hangs.", .heldUp),
        row(.bridge, .network, 2, 10...90, "Two halves that only one peer sees both of.", "Jepsen's bridge: a partial partition.", .heldUp),
        row(.ring, .network, 2, 10...90, "Every peer sees its neighbours in a ring, no two the same.", "Jepsen's majorities ring.", .heldUp),
        row(.swizzle, .network, 2, 10...60, "Peers are cut off one by one and come back in another order.", "FoundationDB's swizzle clog: a rolling change of firewalls.", .heldUp),
        row(.slowLink, .network, 3, 10...120, 5...60, "One link takes so many times as long.", "A congested or rerouted path.", .delayed),
        row(.thinLink, .network, 2, 10...120, 200...5000, "One link carries so many bytes a second.", "A home uplink; traffic shaping.", .delayed),
        row(.halfOpen, .network, 4, 0...0, "A connection is dead, and neither end has noticed.", "A NAT or firewall forgets a flow.", .vanished),
        row(.connectionLoss, .network, 6, 0...0, "A connection is reset.", "Restarts of proxies; idle time-outs.", .connectionLost),
        row(.flapping, .network, 2, 10...40, 2...9, "A connection is reset every so many seconds.", "A flapping link or interface.", .connectionLost),
        row(.muteGossip, .network, 3, 20...150, "Pubsub silently stops delivering from one peer to another.", "go-libp2p-pubsub #589: a mesh that freezes.", .gossipMuted),
        row(.slowBlocks, .blocks, 2, 20...120, 5...150, "Blocks take so many seconds from one peer to all others.", "A holder behind a slow disk: found after the time-out.", .delayed),
        row(.withheldBlocks, .blocks, 3, 20...150, "One peer answers no want for a block.", "boxo #432, #629: wants that vanish.", .blocksWithheld),
        row(.wrongBlocks, .blocks, 2, 20...120, "Blocks of one peer arrive with a bit changed.", "Bad memory in a holder; a hostile one.", .blocksSpoilt),
        row(.ipfsDown, .ipfs, 3, 5...60, "The IPFS daemon refuses connections.", "A daemon crashes or is upgraded (cluster #1733).", .ipfsRefused),
        row(.ipfsHang, .ipfs, 2, 5...60, "It takes requests and never answers; of half of the pins it says now and then how far it is not.", "Kubo's pinner lock held by a stuck request.", .ipfsHung),
        row(.ipfsSlow, .ipfs, 2, 20...120, 5...40, "Requests take so many times as long.", "A busy datastore.", .ipfsSlow),
        row(.ipfsLosesReplies, .ipfs, 1, 60...180, 3...12, "One request in so many is carried out, and its answer lost.", "A reverse proxy times out.", .ipfsReplyLost),
        row(.ipfsFull, .ipfs, 2, 10...90, "No pin has room, and no block.", "Kubo's StorageMax is reached, or its disk full (cluster #1120).", .ipfsFull),
        row(.ipfsReset, .ipfs, 2, 0...0, "It has forgotten all its pins.", "The repository is set up anew (cluster 9f660ba3).", .ipfsForgot),
        row(.ipfsCollects, .ipfs, 1, 60...180, 3...9, "One new pin in so many is gone at once.", "Garbage collection races a pin.", .ipfsForgot),
        row(.ipfsStale, .ipfs, 2, 20...120, "It lists the pins of some time ago.", "A cached listing behind a proxy.", .ipfsStale),
        row(.ipfsRestart, .ipfs, 3, 0...0, "What it had under way is cut short.", "An upgrade of the daemon in mid-pin.", .ipfsCutShort),
        row(.lyingSpace, .metrics, 2, 30...180, 0...3, "It tells more free space than there is, or none, or 2⁶⁴ - 1, or holds more than its limit.", "cluster #1120: free space underflows.", .factsFalse),
        row(.hiddenSpace, .metrics, 2, 30...180, "It does not say how much space it has.", "repo/stat that times out: an absent metric.", .factsFalse),
        row(.diskFull, .disk, 2, 5...60, 0...2000, "So many bytes more fit on the disk.", "A full volume.", .diskFull),
        row(.syncFailure, .disk, 2, 0...0, 1...2, "So many syncs fail.", "PostgreSQL's fsyncgate: an error told once.", .syncFailed),
        row(.slowDisk, .disk, 2, 10...120, 5...100, "Syncs and jobs take so many times as long.", "A noisy neighbour; a degraded array.", .diskSlow),
        row(.readError, .disk, 1, 10...60, 0...1, "Reads of the log, or of the index, fail.", "Latent sector errors.", .readFailed),
        row(.rot, .disk, 3, 0...0, 0...3, "A bit of a file rots.", "Silent corruption (Bairavasundaram et al., 2008).", .rotRead),
        row(.crash, .process, 5, 1...60, 0...3, "The process and its machine lose power; with 3, the process alone is killed.", "A power cut: unsynced bytes are lost, kept or torn. kill -9: they are read, and may be lost with the next one.", .crashed),
        row(.restart, .process, 3, 0...0, 0...3, "It crashes, or with 3 is killed, and is back at once.", "A supervisor; while others still wait for it.", .crashed),
        row(.suspend, .process, 3, 1...60, "It does nothing for a while; all that comes waits.", "A virtual machine is moved; a long swap.", .suspended),
        row(.wipe, .process, 1, 1...60, "It comes back with an empty disk and the same name.", "A disk is replaced.", .diskReplaced),
        row(.rollback, .process, 1, 1...60, "It comes back with the disk of some time ago.", "A restored backup or snapshot.", .diskReplaced),
        row(.clockOffset, .clock, 2, 10...120, -900...900, "The wall clock is so many seconds off.", "A wrong time zone; a step of NTP.", .clockWrong),
        row(.clockFreeze, .clock, 2, 10...90, "The wall clock stands still.", "A virtual machine without a time source.", .clockWrong),
        row(.leave, .churn, 3, 5...60, "It stops in good order and comes back.", "An upgrade.", .leftInOrder),
        row(.lose, .churn, 1, 0...0, "It goes for good, with its disk.", "Hardware that is not replaced.", .lostForGood),
        row(.hostileGossip, .hostile, 4, 0...0, 0...4, "An untrusted member announces heads that nobody has, garbage, too much, and in others' names.",
            "go-ds-crdt 4d32f9e, #199; an open swarm.", .hostileSent),
        row(.hostileBytes, .hostile, 4, 0...0, 0...5, "It opens a stream of each protocol and sends noise; with 4 and 5 it calls what everybody may call, with a large or a small argument that breaks off.", "Scanners; foreign software on the port.", .hostileSent),
        // New kinds come last: what is drawn for a kind hangs on its place.
        row(.streamReset, .network, 6, 0...0, "All streams of one link are reset, and its connection stays.",
            "boxo #1164: a send that fails once; limits of a resource manager.", .streamsReset),
        row(.ipfsLacks, .ipfs, 3, 20...150, 0...3, "Half of the content is nowhere to be found: fetching it fails, or never ends.",
            "A provider that has gone; cluster 7cf40de3.", .ipfsLacked),
        row(.ipfsCutsAnswers, .ipfs, 2, 20...150, 2...6, "One answer in so many ends after its head, half-way, or with an error behind it; or too soon and in good order.",
            "A reverse proxy that is restarted; T07.", .ipfsCutAnswer),
        row(.reboot, .process, 2, 5...60, "Its host restarts: the peer is back at once, its IPFS daemon later.", "An update of the kernel; a daemon that checks its repository.", .ipfsRefused),
        row(.powerCut, .process, 3, 5...60, 0...7, "It loses power in the moment that it tells a client that a write is done, or (2, 3) within a second of one that comes while it syncs another, or (4, 5) is killed then, or (6, 7) when its log goes on in another file before the last is synced; with an odd amount all are struck.",
            "Promises are broken by what happens right after them (web3.storage #994); what comes during a sync is not durable with it.", .powerCut),
        row(.hostileWants, .hostile, 3, 0...0, 0...2, "It wants more blocks than are kept in mind for one peer, or replaces its wants by a full list, or wants before it introduces itself.",
            "boxo #432, #629; kubo #3398.", .hostileWanted),
        row(.hostileFinding, .hostile, 3, 30...300, 0...2, "It tells of peers that do not exist, and of others where they are not; it asks without end, names itself a provider of everything, or begins questions.",
            "Sybils and eclipse attacks on Kademlia (Prünster et al., 2022).", .peersMadeUp),
        row(.ipfsMeddling, .ipfs, 2, 0...0, "Somebody unpins some of its pins, and makes some direct ones.", "`ipfs pin rm` by hand; another program beside the cluster.", .ipfsMeddledWith),
        row(.hostileStrangers, .hostile, 3, 0...0, 0...2, "It tells of thousands of peers that do not exist, and of others' addresses as theirs: to those that it prunes from a mesh, by name or signed, and to whoever asks whom it knows.",
            "Eclipse attacks on peer exchange (Heilman et al., 2015).", .strangersTold),
        row(.forgedGossip, .hostile, 4, 0...0, 0...3, "It speaks in others' names: a ping that counts for a year, garbage under the numbers of what they say next, what they have said with something else in it, heads.",
            "Whoever guesses a message's ID first keeps the message away, where an ID counts as seen before the signature is looked at.", .forged),
        row(.hostileMesh, .hostile, 4, 0...0, 0...7, "It leaves meshes and grafts itself again at once, sends others away, leaves topics, announces what there is not, asks for the same ten times, wants 900 things not to be sent, and tells everybody what they have said themselves.",
            "The attacks that gossipsub 1.1 was made for: GRAFT floods, IHAVE and IWANT spam (Vyzovitis et al., 2020).", .meshDisturbed),
        row(.halfReset, .network, 4, 0...0, "The streams over one link are reset, and the ends that did not open them hear of it only half a minute later.",
            "One of two connections between the same peers dies, and one end notices first: newer streams come beside dead ones.", .streamsHalfReset),
    ]
}

extension FaultKind {
    /// The catalogue as docs/faults.md has it.
    package static var table: String {
        var lines = ["| fault | what it does | what it stands for | at most | lasts | amount | seen by |", "|---|---|---|---|---|---|---|"]
        for family in FaultFamily.allCases {
            for row in catalogue where row.family == family {
                let lasts = row.lasts.upperBound == 0 ? "–" : "\(row.lasts.lowerBound) to \(row.lasts.upperBound) s"
                let amount = row.amounts == 0...0 ? "–" : "\(row.amounts.lowerBound) to \(row.amounts.upperBound)"
                lines.append(
                    "| \(family.rawValue): `\(row.kind.rawValue)` | \(row.what) | \(row.incident) | \(row.countMax) | \(lasts) | \(amount) | `\(row.probe.rawValue)` |")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
