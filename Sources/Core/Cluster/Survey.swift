// What many peers say of many pins, read out piece by piece: what a survey holds grows by a few bits a pin, whatever the answer's
// size. spec/tracker-allocator-monitor.md TRK-45..49, CLU-22..25.

import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RPC
import Seams
import Storage
import Tracking

/// The statuses that match a filter, or what a recovery has queued again, for someone who takes them in pieces. What IPFS holds
/// and what other peers say is asked first, and kept as bits; then the pinset is read through as it was when the survey began.
struct Survey: Sendable {
    enum Kind: Equatable, Sendable {
        case status(TrackerStatus)
        case recovery
    }
    enum Phase: Equatable, Sendable {
        case asking(left: Int)
        case due(Instant)
        /// The last piece is on its way out.
        case awaitingReader
    }
    enum Scope: Equatable, Sendable {
        case local
        case global
    }

    /// What is kept of pins that are not in the state, or were not when the survey began.
    static let restMax = 200_000

    let kind: Kind
    let scope: Scope
    /// The values of the state when it began. The log still has them, whatever becomes of the pins.
    let live: LiveMap
    var phase = Phase.asking(left: 0)
    /// What IPFS holds of `live`.
    var recursive = LiveMap()
    var direct = LiveMap()
    /// What it holds of pins that have changed since: their values are not in `live`.
    private var moved = SortedMap<CID, IPFSPinStatus>()
    /// Why this peer has nothing to say.
    var failure: String?
    var reports = SortedMap<PeerID, PeerReport>()
    var cursor: LogAddress?
    var isRead: Bool
    /// Read, and not looked at yet; the next is the last.
    var found: [(address: LogAddress, pin: Pin)] = []
    /// What is said of other pins.
    var rest = SortedMap<CID, GlobalPinInfo>()
    var omitted = 0

    init(_ kind: Kind, _ scope: Scope, live: LiveMap) {
        (self.kind, self.scope, self.live) = (kind, scope, live)
        isRead = if case .status(let filter) = kind { !Tracker.needsState(filter) } else { false }
    }

    /// TRK-46.
    var needsIPFS: Bool {
        guard case .status(let filter) = kind else { return true }
        return Tracker.needsState(filter) && Tracker.needsIPFS(filter)
    }

    /// `address` is that of the CID's value in the state, if it is there.
    mutating func hold(_ cid: CID, at address: LogAddress?, as status: IPFSPinStatus) {
        guard let address, live.contains(address) else {
            if moved.count < Survey.restMax || moved[cid] != nil { moved[cid] = status }
            return
        }
        if status == .direct { direct.insert(address) } else { recursive.insert(address) }
    }
    mutating func release(_ cid: CID, at address: LogAddress?) {
        guard let address, live.contains(address) else {
            if moved.count < Survey.restMax || moved[cid] != nil { moved[cid] = .unpinned }
            return
        }
        recursive.remove(address)
        direct.remove(address)
    }
    /// `isCurrent` is false where the value is not at that address any more.
    func held(_ cid: CID, _ address: LogAddress, isCurrent: Bool) -> IPFSPinStatus? {
        if !isCurrent, let status = moved[cid] { return status == .unpinned ? nil : status }
        return recursive.contains(address) ? .recursive : direct.contains(address) ? .direct : nil
    }

    /// False where nobody has anything to say.
    func isWorthReading(_ address: LogAddress) -> Bool {
        kind != .recovery || !recursive.contains(address) || reports.contains { $0.value.names(address) }
    }

    /// `address` is that of the pin in the state.
    mutating func hear(_ info: PinInfo, at address: LogAddress?) {
        if !isRead, let address, live.contains(address) {
            reports[info.peer, default: PeerReport()].take(info, at: address)
        } else if rest.count < Survey.restMax || rest[info.cid] != nil {
            rest[info.cid, default: GlobalPinInfo(cid: info.cid)].add(info)
        } else {
            omitted += 1
        }
    }
}

/// What another peer says of the pins of a state. What follows from the status alone is one bit for each value of the state.
struct PeerReport: Sendable {
    static let unusualMax = 100_000

    var failure: RPCFailure?
    private var sample = PinInfoShort()
    private var usual: [(status: TrackerStatus, pins: LiveMap)] = []
    private var unusual = SortedMap<LogAddress, PinInfoShort>()

    mutating func take(_ info: PinInfo, at address: LogAddress) {
        if usual.isEmpty && unusual.isEmpty { sample = info.short }
        if !PeerReport.isUsual(info), unusual.count < PeerReport.unusualMax { return unusual[address] = info.short }
        let place = usual.firstIndex { $0.status == info.short.status } ?? usual.endIndex
        if place == usual.endIndex { usual.append((info.short.status, LiveMap())) }
        usual[place].pins.insert(address)
    }

    func names(_ address: LogAddress) -> Bool { usual.contains { $0.pins.contains(address) } || unusual[address] != nil }

    func short(_ address: LogAddress, of pin: Pin) -> PinInfoShort? {
        if let short = unusual[address] { return short }
        guard let status = usual.first(where: { $0.pins.contains(address) })?.status else { return nil }
        var short = sample
        (short.status, short.timestamp, short.attemptCount, short.isPriority) = (status, pin.timestamp, 0, false)
        short.error = status == .unexpectedlyUnpinned ? Tracker.unexpectedText : ""
        return short
    }

    /// TRK-44: the status is derived, and its time the pin's.
    private static func isUsual(_ info: PinInfo) -> Bool {
        let short = info.short
        let isPlain = short.error.isEmpty || (short.status == .unexpectedlyUnpinned && short.error == Tracker.unexpectedText)
        return isPlain && short.attemptCount == 0 && !short.isPriority && short.timestamp == info.created
    }
}
