// What a peer says of a pin, field by field: by what was ever written of it, by who that peer is, and by what must go together.
// spec/tracker-allocator-monitor.md TRK-26..49, CLU-20..25.

import Cluster
import IPFSConnector
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Tracking

/// What the peers held of the pins that a client asks about, from then on; nil for no pin.
typealias Views = SortedMap<Int, [CID: [Pin?]]>

extension TrackerStatus {
    /// Those that say why.
    static let explained: TrackerStatus = [.clusterError, .pinError, .unpinError, .unexpectedlyUnpinned]
    /// Those of work on a pin, and of work on what is no pin any more.
    static let ofPinning: TrackerStatus = [.pinQueued, .pinning, .pinError]
    static let ofUnpinning: TrackerStatus = [.unpinQueued, .unpinning, .unpinError]
    /// Those that IPFS has told.
    static let ofIPFS: TrackerStatus = [.pinned, .unexpectedlyUnpinned]

    func isAny(of set: TrackerStatus) -> Bool { !isDisjoint(with: set) }
}

extension Run {
    private static let queueIsFull = "operation queue is full"

    // MARK: What was held meanwhile

    /// What the embedded node of a peer pins, and when that has changed.
    func noteEmbedded(_ index: Int, _ process: Process) {
        guard options.isEmbedded, let pins = process.machine.ipfs.embeddedPins else { return }
        let before = oracles.embedded[index]?.pins ?? SortedMap()
        guard before != pins else { return }
        oracles.embedded[index, default: (SortedMap(), SortedMap())].pins = pins
        for cid in Array(pins.keys) + Array(before.keys) where pins[cid] != before[cid] { oracles.embedded[index]?.changed[cid] = world.now }
    }

    /// Whether IPFS has held it all the time. Nil where that changed.
    func holds(_ cid: CID, at index: Int, since time: Int64) -> Bool? {
        guard options.isEmbedded else { return world.peers[index].ipfs.held(cid, since: time) }
        guard world.peers[index].isUp, let known = oracles.embedded[index], known.changed[cid] ?? -1 <= time else { return nil }
        return known.pins[cid] != nil
    }

    /// Before a question is taken up; only what is asked by its CID is looked at from then on.
    func noteViews(_ client: ClientID, _ request: ClientRequest) {
        let cids = request.askedCIDs
        guard !cids.isEmpty, oracles.asked[client] != nil else { return }
        oracles.asked[client]?.views = Views()
        oracles.viewed.insert(client)
        for peer in world.peers { noteView(client, cids, peer.index) }
    }

    /// Where the pinset of a peer has changed.
    func noteViews(of index: Int) {
        for client in oracles.viewed {
            guard let asked = oracles.asked[client] else { oracles.viewed.remove(client); continue }
            noteView(client, asked.request.askedCIDs, index)
        }
    }

    private func noteView(_ client: ClientID, _ cids: [CID], _ index: Int) {
        guard let process = world.peers[index].process, process.machine.replica.isOpen else { return }
        for cid in cids {
            guard let pin = try? Optional(process.machine.readPin(cid)) else { continue }
            if oracles.asked[client]?.views[index]?[cid]?.last != .some(pin) { oracles.asked[client]?.views[index, default: [:]][cid, default: []].append(pin) }
        }
    }

    /// What a peer has held of it since that was asked. Nil where nobody knows, as while a state is made anew (seed 5002624).
    private func held(_ cid: CID, by index: Int, _ asked: Asked) -> [Pin?]? {
        guard let views = asked.views[index]?[cid], let process = world.peers[index].process, process.machine.replica.isOpen, !wasMadeAnew(index, since: asked.at),
            let now = try? Optional(process.machine.readPin(cid))
        else { return nil }
        return views + [now]
    }

    /// What whoever is asked has held of it all the time.
    func steadyPin(_ cid: CID, _ asked: Asked) -> Pin? {
        guard let pins = held(cid, by: asked.peer, asked), let pin = pins[0], pins.allSatisfy({ $0 == pin }) else { return nil }
        return pin
    }

    // MARK: Judging

    /// ANSWER: each field.
    func judgeFields(_ info: GlobalPinInfo, _ asked: Asked) {
        judgePin(info, asked)
        for (name, said) in info.peers where world.failure == nil {
            guard let index = world.indexes[name] else { return world.fail(.answer, "\(world.name(asked.peer)) tells what a stranger does with \(info.cid)") }
            oracles.judged += 1
            let fault = faultOfForm(said) ?? faultOfNames(said, index, asked) ?? faultOfTime(said, info, index, asked) ?? faultOfStatus(said, info.cid, index, asked)
                ?? faultOfRecovery(said, index, asked) ?? faultOfOwn(said, info.cid, index, asked)
            guard let fault else { continue }
            world.fail(.answer, "\(world.name(asked.peer)) says of \(info.cid) at \(world.name(index)) that it is \(said.status.text), and \(fault)")
        }
    }

    /// The pin itself is as somebody wrote it, or is none.
    private func judgePin(_ info: GlobalPinInfo, _ asked: Asked) {
        func isThat(_ pin: Pin) -> Bool {
            pin.options.name == info.name && (pin.allocations ?? []) == (info.allocations ?? []) && (pin.options.origins ?? []) == (info.origins ?? [])
                && (pin.options.metadata ?? Metadata()) == (info.metadata ?? Metadata()) && pin.timestamp == info.created
        }
        if blocks.written[info.cid]?.contains(where: isThat) == true { return }
        let isBare = (info.allocations ?? []).isEmpty && (info.origins ?? []).isEmpty && (info.metadata ?? Metadata()).isEmpty
        // Of one pin that nobody has a word about, the name is told, if it is still known.
        let isNamed = blocks.written[info.cid]?.contains { $0.options.name == info.name } == true
        if isBare, isNamed, info.created.isUnset, info.peers.allSatisfy({ $0.value.status == .clusterError }) { return }
        if isBare, info.name.isEmpty, info.peers.contains(where: { $0.value.status.isAny(of: .ofUnpinning.union([.unpinned, .clusterError])) }) { return }
        world.fail(.answer, "\(world.name(asked.peer)) tells of \(info.cid) as \(info.name), of \(info.created.unixNanoseconds), and nobody has ever written that: \(info)")
    }

    /// What goes together, whatever the world is like.
    private func faultOfForm(_ said: PinInfoShort) -> String? {
        let status = said.status
        guard status.rawValue.nonzeroBitCount == 1 else { return "that is no status" }
        // What is to be unpinned for others may have failed, and is theirs.
        if status.isAny(of: .explained) { if said.error.isEmpty { return "does not say why" } }
        else if !said.error.isEmpty, status != .remote { return "names an error: \(said.error)" }
        let isRefused = said.error.contains(Run.queueIsFull)
        switch status {
        case .pinning, .unpinning, .pinError, .unpinError:
            if said.attemptCount < 1, !isRefused { return "has never tried" }
        case .pinned, .unexpectedlyUnpinned, .clusterError, .sharded, .unpinned:
            if said.attemptCount != 0 { return "tells \(said.attemptCount) attempts" }
        default: break
        }
        // Pins here are young; what has not been told yet has no operation.
        let before = said.attemptCount - (status == .pinQueued || isRefused ? 0 : 1)
        let isFirst = status.isAny(of: .ofPinning) && before <= TrackerSettings().priorityPinMaxRetries
        if said.isPriority ? !isFirst : isFirst && !(status == .pinQueued && said.attemptCount == 0) { return "is\(said.isPriority ? "" : " not") urgent after \(before) attempts" }
        return nil
    }

    /// The names of the peer and its daemon.
    private func faultOfNames(_ said: PinInfoShort, _ index: Int, _ asked: Asked) -> String? {
        let peer = world.peers[index]
        // Of whom nothing has been heard for long, nothing is known but who it is; nor of a member that has told nothing yet: it has added who is
        // asked (CLU-44; seed 3300708).
        let heard = world.peers[asked.peer].process?.machine.monitor.latest("ping", of: peer.id)
        let isUnheard = said.status == .clusterError && (asked.unheard.contains(peer.id) || heard == nil) || heard?.value.isEmpty == true
        if said.peerName.isEmpty, said.ipfsPeer == nil, isUnheard { return nil }
        if said.peerName != peer.settings.peerName { return "calls it \(said.peerName)" }
        if let named = said.ipfsPeer {
            if named != daemon(of: peer) { return "names another daemon" }
            return said.ipfsAddresses == daemonAddresses(of: peer) ? nil : "names other addresses of its daemon: \(said.ipfsAddresses)"
        }
        // It may not have known it yet, or told nobody.
        guard let ready = oracles.health[index]?.readyAt, ready < asked.at else { return nil }
        let isTold = !said.status.isAny(of: .ofPinning.union(.ofUnpinning).union(.ofIPFS))
        if isTold, asked.at - ready < Span.seconds(10).nanoseconds { return nil }
        return plan.troublesIPFS && isTold ? nil : "does not name its daemon"
    }

    /// Of what is derived from the pin the time is the pin's; else it is when it was seen.
    private func faultOfTime(_ said: PinInfoShort, _ info: GlobalPinInfo, _ index: Int, _ asked: Asked) -> String? {
        guard !plan.has(.clock) else { return nil }
        if said.status.isAny(of: .ofIPFS) {
            return blocks.written[info.cid]?.contains { $0.timestamp == said.timestamp } == true ? nil : "has it from \(said.timestamp.unixNanoseconds), when nobody wrote it"
        }
        if said.status.isAny(of: [.remote, .sharded, .clusterError, .pinQueued]), blocks.written[info.cid]?.contains(where: { $0.timestamp == said.timestamp }) == true { return nil }
        // Whoever is asked, or asks for it, has looked at its own clock.
        let clocks = [world.peers[index].clock, world.peers[asked.peer].clock]
        if said.timestamp > clocks.map({ $0.reading(world.now).wall }).max() ?? said.timestamp { return "has it from the future" }
        if said.status == .unpinned, said.timestamp < clocks.map({ $0.reading(asked.at).wall }).min() ?? said.timestamp { return "has it from before it was asked" }
        return nil
    }

    /// By the pins that were held while it was asked for; in a listing, by all there ever were.
    private func faultOfStatus(_ said: PinInfoShort, _ cid: CID, _ index: Int, _ asked: Asked) -> String? {
        let peer = world.peers[index].id
        let isAsked = asked.request.askedCIDs.contains(cid)
        let pins: [Pin?]
        if isAsked {
            guard let own = held(cid, by: index, asked), let asking = held(cid, by: asked.peer, asked) else { return nil }
            pins = own + asking
        } else { pins = blocks.written[cid] ?? [] }
        let isThere = pins.contains { $0 != nil }
        switch said.status {
        case .sharded: return pins.contains { $0?.type == .meta } ? nil : "it is not"
        case .remote:
            // What it has not been told of yet it does not know (seed 1510013), and may know by now (seed 7008926).
            if isAsked, isBehind(cid, index) || options.limits.trackedMax > 0 || options.limits.toldPerStep > 0 { return nil }
            if !isThere { return "there is no such pin" }
            return pins.contains { $0.map { $0.type != .meta && !isAllocated($0, to: peer) } ?? false } ? nil : "it is its own"
        case .pinned, .unexpectedlyUnpinned: return pins.contains { $0.map { isAllocated($0, to: peer) } ?? false } ? faultOfUntold(said, cid, index, asked) : "it is none of its pins"
        case .unpinned: return !isAsked || pins.contains { $0 == nil } ? nil : "it is in the pinset"
        default: return nil
        }
    }

    /// The tracker has not been told of all, or works on another pin than the pinset has.
    private func isBehind(_ cid: CID, _ index: Int) -> Bool {
        guard let process = world.peers[index].process else { return true }
        if process.machine.replica.untoldCount > 0 { return true }
        let info = process.machine.tracker.settledStatus(of: cid, pin: nil, now: process.peer.clock.reading(world.now))
        guard let info, info.short.status != .unpinned else { return false }
        return (try? process.machine.readPin(cid))?.timestamp != info.created
    }

    /// What waits in the log to be told to the tracker is not lost, but queued.
    private func faultOfUntold(_ said: PinInfoShort, _ cid: CID, _ index: Int, _ asked: Asked) -> String? {
        guard said.status == .unexpectedlyUnpinned, !asked.request.isRecovery, let views = asked.views[index]?[cid], views.count == 1, let replica = world.peers[index].process?.machine.replica,
            replica.isOpen, let address = try? replica.address(of: cid), replica.isUntold(address), (try? world.peers[index].process?.machine.readPin(cid)) == views[0]
        else { return nil }
        return "has not been told of it yet"
    }

    /// A recovery answers with what came of it.
    private func faultOfRecovery(_ said: PinInfoShort, _ index: Int, _ asked: Asked) -> String? {
        guard asked.request.isRecovery, said.status.isAny(of: [.pinError, .unpinError, .unexpectedlyUnpinned]), !plan.has(.disk) else { return nil }
        if said.status == .unexpectedlyUnpinned { return "was to be recovered" }
        return plan.has(.clock) || said.timestamp >= world.peers[index].clock.reading(asked.at).wall ? nil : "that is the failure of before"
    }

    /// What a peer says of itself, where it is made in the moment that it is told: what it works on comes before what IPFS says.
    private func faultOfOwn(_ said: PinInfoShort, _ cid: CID, _ index: Int, _ asked: Asked) -> String? {
        // In a listing it may have had nothing to say of anything.
        guard index == asked.peer, asked.request.isOfThisMoment, said.status != .clusterError || !asked.request.askedCIDs.isEmpty, let process = world.peers[index].process else { return nil }
        let now = process.peer.clock.reading(world.now)
        // What is younger may have come later in the same step.
        guard let work = process.machine.tracker.settledStatus(of: cid, pin: nil, now: now)?.short, work.timestamp < now.wall else { return nil }
        let isSame = said.status == work.status && said.error == work.error && said.attemptCount == work.attemptCount && said.timestamp == work.timestamp
        return isSame ? nil : "works on it: \(work.status.text) since \(work.timestamp.unixNanoseconds) after \(work.attemptCount) attempts"
    }
}

extension ClientRequest {
    /// What a status is asked of.
    var askedCIDs: [CID] {
        switch self {
        case .status(let cid, _), .recover(let cid, _): [cid]
        case .statuses(let cids, _): cids
        default: []
        }
    }
    var isRecovery: Bool {
        switch self {
        case .recover, .recoverAll: true
        default: false
        }
    }
    /// What it says of the peer that is asked is as it is when it answers.
    var isOfThisMoment: Bool {
        switch self {
        case .status(_, isLocal: true), .statusAll(.undefined, _): true
        default: false
        }
    }
}
