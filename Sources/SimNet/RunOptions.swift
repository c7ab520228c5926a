// What shapes a run beside its workload and its faults. Each option has a name, by which plans write it down.

import Cluster
import DHT
import DagList
import Exchange
import Gossip
import IPFSConnector
import Kernel
import MerkleCRDT
import RPC
import Storage
import Tracking

/// What heals a cluster by itself. Each can be off, so that it does not hide what the others fail to do.
package enum Healer: String, CaseIterable, Sendable { case rebroadcast, repair, repin, recover, stateSync = "state-sync" }

/// Limits of the machines, so small that they are reached; 0 is what is shipped.
package struct RunLimits: Equatable, Sendable {
    /// The tracker's queue, the work up to which it is told of changes, and what it is told in one step.
    package var queueMax = 0
    package var trackedMax = 0
    package var toldPerStep = 0
    /// Bitswap: wants kept for a peer, wants asked for at a time, bytes that a peer has yet to read, entries of a message.
    package var wantsPerPeer = 0
    package var liveWants = 0
    package var outstandingBytes = 0
    package var entriesPerMessage = 0
    /// Blocks of a page when blocks are listed.
    package var listedBlocks = 0
    /// Calls of one peer that another serves at a time.
    package var callsPerPeer = 0
    /// Gossipsub: what the sizes of a mesh are multiples of.
    package var meshFactor = 0
    /// Bytes that are on their way to a peer before more of its messages wait.
    package var gossipWindow = 0
    /// Gossipsub: messages that one is asked for between two heartbeats.
    package var idsAsked = 0
    /// Bytes of an upload that are on their way before its client waits.
    package var uploadWindow = 0
    /// Blocks of an upload that are sent in one step.
    package var uploadBlocks = 0
    /// Of the log, for a chunk of a listing; and statuses in one.
    package var listingBytes = 0
    package var statusesPerChunk = 0
    /// Seconds for which addresses are kept of whom nobody has heard since.
    package var addressLifetime = 0
    /// So many beginnings and ends of pins after which a peer tells all of its metrics (IPFS-60).
    package var metricTrigger = 0
    /// Those that no rule asks for, in the order of `SmallLimit.all`.
    package var others = [Int](repeating: 0, count: SmallLimit.all.count)
    package init() {}
}

/// A limit that no rule asks for: where it is small things take longer, and no more comes of it.
package struct SmallLimit: Sendable {
    package let name: String
    let values: [Int]
    let set: @Sendable (inout PeerSettings, Int) -> Void
    init(_ name: String, _ path: any WritableKeyPath<PeerSettings, Int> & Sendable, _ values: Int...) {
        (self.name, self.values) = (name, values)
        set = { settings, value in settings[keyPath: path] = value }
    }
    package static let all: [SmallLimit] = [
        // Blocks that are listed: bytes fetched at a time, when the next page is asked for, and what is looked at in one step.
        .init("fetching-bytes", \.replica.fetchingBytesMax, 1, 2000), .init("listed-least", \.replica.listedMin, 1, 3),
        .init("listed-per-step", \.replica.listedPerStep, 1, 4),
        // Tables of the index that wait for a merge, and how many are merged.
        .init("frozen-tables", \.replica.index.frozenMax, 1), .init("merged-tables", \.replica.index.fanOut, 2),
        // Bitswap: new wants in one step, bytes of a message, and what is sent unasked in place of a word.
        .init("wants-at-once", \.exchange.wantsAtOnce, 1, 3), .init("response-bytes", \.exchange.responseBytes, 1, 2000),
        .init("have-block-bytes", \.exchange.haveBlockBytes, 1, 100),
        // Searches, and whom they ask.
        .init("searches", \.dht.lookupsMax, 1, 2), .init("checks", \.dht.checksMax, 1, 2), .init("search-dials", \.dht.dialsMax, 1, 2),
        .init("search-width", \.dht.concurrency, 1, 2), .init("search-memory", \.dht.rememberedMax, 1, 2),
        .init("dials", \.book.dialsMax, 1, 2), .init("peer-addresses", \.book.addressesPerPeerLimit, 1),
        // Writes of many at a time, and announcements of one peer between two heartbeats.
        .init("bulk-writes", \.bulkUnderWayMax, 1, 3),
        .init("announcements", \.gossip.announcementsPerHeartbeatMaximum, 1, 3),
        // Walks of the embedded node.
        .init("walk-wants", \.embedded.wantsPerWalk, 1, 3), .init("walk-blocks", \.embedded.blocksPerStep, 1, 3),
        .init("unsynced-bytes", \.embedded.unsyncedBytesMax, 1, 2000),
    ]
}

extension PeerSettings {
    /// What it has of an embedded node; nothing changes where it has none.
    fileprivate var embedded: EmbeddedSettings {
        get { if case .embedded(let settings) = ipfs { settings } else { EmbeddedSettings() } }
        set { if case .embedded = ipfs { ipfs = .embedded(newValue) } }
    }
}

package struct RunOptions: Equatable, Sendable {
    package var peers = 3
    package var workloadLength = Span.minutes(3)
    package var factorMin = 2
    package var factorMax = 3
    package var isBatching = false
    /// One step in so many is cut off by a crash between two of its effects, during the storm. 0 for never.
    package var stepCrashOneIn = 0
    /// One of the trusted peers is there only from the middle of the storm on.
    package var hasLatecomer = false
    /// It was set up with nobody, and joins by way of so many; 0: it was set up as the others were.
    package var joinsBy = 0
    /// More of them, where there are many: they come one after another.
    package var joiners = 0
    /// Into how many groups tags put the peers: their pins are spread over them.
    package var groups = 1
    /// How many others a peer knows at most when it starts, each at its address. 0 where all know all from the beginning.
    package var boots = 0
    /// Parts per million by which clocks run fast or slow, at most.
    package var clockDriftMax = 0
    /// One more peer, which nobody else trusts: it may listen, be allocated to, and change nothing.
    package var hasOutsider = false
    /// Nothing is allocated to it.
    package var pinsOnlyOnTrusted = false
    /// Nothing is allocated to anybody else.
    package var pinsOnlyOnUntrusted = false
    /// Metrics by which is allocated.
    package var allocateBy = ["tag:group", "freespace"]
    /// It is a follower: it writes nothing itself.
    package var outsiderFollows = false
    /// How many CIDs are written: with few, many writes meet.
    package var contents = 12
    /// Peers hold content themselves, and clients upload it.
    package var isEmbedded = false
    package var healersOff: [Healer] = []
    /// After the storm so many peers are down, and the others must do without them before they come back.
    package var absentees = 0
    /// The first so many re-pin nothing by themselves, as a peer of upstream's that has done so once.
    package var bystanders = 0
    /// The last so many peers are of an older version, and know no lists of blocks.
    package var oldPeers = 0
    /// Every other peer has another configuration: batches or not, other factors.
    package var isSkewed = false
    /// Entries in the index's memory, and bytes in a segment of the log: small ones see many checkpoints, merges and files.
    package var indexEntries = 4 << 10
    package var segmentBytes = 64 << 20
    /// What is read of the log before a peer opens; the rest is read while it runs.
    package var replayBytesAtOpen = 64 << 20
    /// What is appended can be read when it has been synced, no earlier.
    package var writesLate = false
    /// How long clients that list take for each chunk, in milliseconds at most.
    package var readerPause = 1
    /// At most so many pins at once.
    package var concurrentPins = 3
    /// Pins of IPFS that take longer are given up.
    package var pinTimeout = Span.seconds(20)
    /// Some pins take longer than that, and tell how far they are.
    package var hasLongPins = false
    /// Each content is written about by way of one peer alone: what must come of that, is known.
    package var hasHomes = false
    /// Of eight writes so many are followed by another of the same content, at once or within seconds.
    package var echoes = 0
    /// During the storm every disk takes so many times as long to sync, and every IPFS daemon to answer: what otherwise passes within
    /// milliseconds stands open for seconds.
    package var diskPace = 1
    package var ipfsPace = 1
    /// How long a batch is open, where there are batches.
    package var batchAge = Span.seconds(5)
    /// How often expired pins are looked for.
    package var stateSyncInterval = Span.minutes(3)
    /// Steps of single machines, before the cluster begins: see `Drill`.
    package var drill = 0
    package var limits = RunLimits()
    package init() {}

    /// The last of the trusted, who are not there from the beginning.
    var latecomers: Range<Int> { max(0, peers - max(joiners, hasLatecomer ? 1 : 0))..<peers }
    /// Where expired pins are looked for all the time, most of what expires is given longer in time, or just too late.
    var expiresOften: Bool { stateSyncInterval < .minutes(1) }
    func heals(_ healer: Healer) -> Bool { !healersOff.contains(healer) }

    // MARK: As text

    package struct Field: Sendable {
        package let name: String
        let get: @Sendable (RunOptions) -> String
        let set: @Sendable (inout RunOptions, String) -> Bool
    }
    private static func int(_ name: String, _ path: any WritableKeyPath<RunOptions, Int> & Sendable) -> Field {
        Field(name: name, get: { "\($0[keyPath: path])" }) { options, text in
            guard let value = Int(text) else { return false }
            options[keyPath: path] = value
            return true
        }
    }
    private static func bool(_ name: String, _ path: any WritableKeyPath<RunOptions, Bool> & Sendable) -> Field {
        Field(name: name, get: { $0[keyPath: path] ? "yes" : "no" }) { options, text in
            guard text == "yes" || text == "no" else { return false }
            options[keyPath: path] = text == "yes"
            return true
        }
    }
    private static func span(_ name: String, _ path: any WritableKeyPath<RunOptions, Span> & Sendable) -> Field {
        Field(name: name, get: { $0[keyPath: path].seconds }) { options, text in
            guard let value = Span(seconds: text) else { return false }
            options[keyPath: path] = value
            return true
        }
    }
    package static let fields: [Field] = [
        int("peers", \.peers), span("storm", \.workloadLength), int("factor-min", \.factorMin), int("factor-max", \.factorMax),
        bool("batching", \.isBatching), int("step-crash-one-in", \.stepCrashOneIn), bool("latecomer", \.hasLatecomer), int("joins-by", \.joinsBy),
        int("joiners", \.joiners), int("boots", \.boots),
        int("clock-drift", \.clockDriftMax), bool("outsider", \.hasOutsider), bool("outsider-follows", \.outsiderFollows),
        bool("pin-only-on-trusted", \.pinsOnlyOnTrusted), bool("pin-only-on-untrusted", \.pinsOnlyOnUntrusted),
        Field(name: "allocate-by", get: { $0.allocateBy.joined(separator: "+") }) { options, text in
            options.allocateBy = text.split(separator: "+").map(String.init)
            return !options.allocateBy.isEmpty && options.allocateBy.allSatisfy(["tag:group", "freespace", "reposize", "pinqueue"].contains)
        },
        int("contents", \.contents), int("groups", \.groups), bool("embedded", \.isEmbedded),
        Field(name: "healers-off", get: { $0.healersOff.isEmpty ? "none" : $0.healersOff.map(\.rawValue).joined(separator: "+") }) { options, text in
            let names = text == "none" ? [] : text.split(separator: "+").map(String.init)
            options.healersOff = names.compactMap { Healer(rawValue: $0) }
            return options.healersOff.count == names.count
        },
        int("absentees", \.absentees), int("bystanders", \.bystanders), int("old-peers", \.oldPeers), bool("skewed", \.isSkewed),
        int("index-entries", \.indexEntries), int("segment-bytes", \.segmentBytes), int("replay-at-open", \.replayBytesAtOpen),
        bool("writes-late", \.writesLate), int("reader-pause", \.readerPause), int("concurrent-pins", \.concurrentPins),
        span("pin-timeout", \.pinTimeout), bool("long-pins", \.hasLongPins), bool("homes", \.hasHomes), int("echoes", \.echoes), span("state-sync-every", \.stateSyncInterval),
        int("disk-pace", \.diskPace), int("ipfs-pace", \.ipfsPace), span("batch-age", \.batchAge), int("drill", \.drill),
        int("queue-max", \.limits.queueMax), int("tracked-max", \.limits.trackedMax), int("told-per-step", \.limits.toldPerStep),
        int("wants-per-peer", \.limits.wantsPerPeer), int("live-wants", \.limits.liveWants), int("outstanding-bytes", \.limits.outstandingBytes),
        int("entries-per-message", \.limits.entriesPerMessage), int("listed-blocks", \.limits.listedBlocks),
        int("calls-per-peer", \.limits.callsPerPeer), int("mesh-factor", \.limits.meshFactor), int("listing-bytes", \.limits.listingBytes),
        int("statuses-per-chunk", \.limits.statusesPerChunk), int("gossip-window", \.limits.gossipWindow),
        int("ids-asked", \.limits.idsAsked), int("upload-window", \.limits.uploadWindow), int("upload-blocks", \.limits.uploadBlocks), int("address-lifetime", \.limits.addressLifetime),
        int("metric-trigger", \.limits.metricTrigger),
    ] + SmallLimit.all.indices.map { index in int(SmallLimit.all[index].name, \.limits.others[index]) }
    /// name=value for what is not as usual.
    package var words: [String] {
        let usual = RunOptions()
        return RunOptions.fields.compactMap { field in field.get(self) == field.get(usual) ? nil : "\(field.name)=\(field.get(self))" }
    }
}

extension RunLimits {
    func apply(to peer: inout PeerSettings) {
        func set<T>(_ limit: Int, _ path: WritableKeyPath<T, Int>, _ settings: inout T) { if limit > 0 { settings[keyPath: path] = limit } }
        set(queueMax, \.tracker.queueMax, &peer)
        set(trackedMax, \.trackedMax, &peer)
        set(toldPerStep, \.replica.toldPerStep, &peer)
        set(wantsPerPeer, \.exchange.wantsPerPeerMax, &peer)
        set(liveWants, \.exchange.liveWantsMax, &peer)
        set(outstandingBytes, \.exchange.outstandingBytesPerPeer, &peer)
        set(entriesPerMessage, \.exchange.entriesPerMessage, &peer)
        set(listedBlocks, \.dagList.entriesMax, &peer)
        set(callsPerPeer, \.rpc.callsPerPeerLimit, &peer)
        set(meshFactor, \.gossip.meshFactor, &peer)
        set(gossipWindow, \.gossip.outboundWindowBytes, &peer)
        set(idsAsked, \.gossip.idsPerAnnouncementMaximum, &peer)
        set(uploadWindow, \.uploadWindowBytes, &peer)
        set(uploadBlocks, \.uploadBlocksPerStep, &peer)
        set(listingBytes, \.listing.bytesPerChunk, &peer)
        set(statusesPerChunk, \.listing.statusesPerChunk, &peer)
        switch peer.ipfs {
        case .kubo(var settings):
            set(metricTrigger, \.informerTriggerInterval, &settings)
            peer.ipfs = .kubo(settings)
        case .embedded(var settings):
            set(metricTrigger, \.informerTriggerInterval, &settings)
            peer.ipfs = .embedded(settings)
        }
        for (limit, value) in zip(SmallLimit.all, others) where value > 0 { limit.set(&peer, value) }
        if addressLifetime > 0 { peer.book.learntAddressTTL = .seconds(Int64(addressLifetime)) }
    }

    /// Each of them in some of the runs that have small limits at all.
    mutating func draw(_ choices: inout Choices) {
        func some(_ values: [Int]) -> Int { choices.chance(1, in: 3) ? values[choices.below(values.count)] : 0 }
        queueMax = some([1, 2, 4])
        trackedMax = some([1, 2, 8])
        toldPerStep = some([1, 3])
        wantsPerPeer = some([4, 16])
        liveWants = some([1, 2, 8])
        outstandingBytes = some([1, 600, 4000])
        entriesPerMessage = some([1, 3])
        listedBlocks = some([1, 5])
        callsPerPeer = some([8, 32])
        listingBytes = some([1, 200])
        statusesPerChunk = some([1, 2])
        uploadBlocks = some([1, 5])
    }
    mutating func drawOthers(_ choices: inout Choices) {
        for (index, limit) in SmallLimit.all.enumerated() where choices.chance(1, in: 6) { others[index] = limit.values[choices.below(limit.values.count)] }
    }
}

extension Span {
    /// "12.345s". Exact to the millisecond; plans draw nothing finer.
    package var seconds: String {
        let milliseconds = nanoseconds / 1_000_000
        let rest = milliseconds % 1000
        return "\(milliseconds / 1000)" + (rest == 0 ? "s" : ".\(String(1000 + rest).dropFirst())s")
    }
    package init?(seconds text: some StringProtocol) {
        guard text.hasSuffix("s") else { return nil }
        let parts = text.dropLast().split(separator: ".", omittingEmptySubsequences: false)
        guard let whole = Int64(parts[0]), parts.count <= 2, whole >= 0 else { return nil }
        var milliseconds: Int64 = 0
        if parts.count == 2 {
            guard (1...3).contains(parts[1].count), let value = Int64(parts[1] + String(repeating: "0", count: 3 - parts[1].count)), value >= 0 else { return nil }
            milliseconds = value
        }
        self = .milliseconds(whole * 1000 + milliseconds)
    }
    var wholeMilliseconds: Span { .milliseconds(nanoseconds / 1_000_000) }
}
