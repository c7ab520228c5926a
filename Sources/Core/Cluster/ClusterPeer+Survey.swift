// Surveys under way: who is asked, and how the pinset is read through for them. spec/tracker-allocator-monitor.md TRK-44..50,
// CLU-14, CLU-22..25.

import Encoding
import IPFSConnector
import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import RPC
import Seams
import Storage
import Tracking

extension ClusterPeer {
    /// This peer's own view, for a client here or for another peer.
    mutating func survey(_ kind: Survey.Kind, for reader: Asker) { begin(Survey(kind, .local, live: replica.live), for: reader, asking: []) }

    /// CLU-22, CLU-23, CLU-25: everyone's; a follower's are its own.
    mutating func surveyAll(_ kind: Survey.Kind, for reader: Asker) {
        let others = settings.isFollower ? [] : members.filter { $0 != id }
        begin(Survey(kind, .global, live: replica.live), for: reader, asking: others)
    }

    /// CLU-14. One at a time.
    mutating func beginRecovery() {
        loops.recoverAt = turn.now.monotonic + settings.recoverInterval
        if surveys[.nobody] == nil { act(for: .nobody) { $0.survey(.recovery, for: .nobody) } }
    }

    private mutating func begin(_ survey: Survey, for reader: Asker, asking others: [PeerID]) {
        var survey = survey
        survey.phase = .asking(left: others.count + 1)
        if case .status(let filter) = survey.kind, !Tracker.needsState(filter) {
            for info in tracker.operations(matching: filter) { survey.hear(decorated(info), at: nil) }
        }
        surveys[reader] = survey
        for peer in others { askForSurvey(peer, survey.kind, reader) }
        if survey.needsIPFS { listIPFS(reader) } else { oneLess(reader) }
    }

    package var surveyCount: Int { surveys.count }

    // MARK: Asking

    /// A listing that fails is a failure, never a shorter listing (T07). Whoever recovers takes back, too, what IPFS still pins
    /// although the cluster has removed it or given it to others while this peer was away.
    private mutating func listIPFS(_ reader: Asker) {
        askIPFS(.pinLs([.recursive, .direct])) { peer, item in
            guard case .pinned(let cid, let status) = item, let kind = peer.surveys[reader]?.kind else { return }
            let address = peer.address(of: cid)
            peer.surveys[reader]?.hold(cid, at: address, as: status)
            if kind == .recovery { peer.dropLeftover(cid) }
        } then: { peer, result in
            if case .failure(let failure) = result {
                peer.surveys[reader]?.failure = "could not get pinset from IPFS: \(failure.description)"
            } else if peer.surveys[reader]?.kind == .recovery {
                peer.recoverFailed(reader)
            }
            peer.oneLess(reader)
        }
    }

    /// Where a pin's value is. What cannot be read is not absent, nor what is not read yet where the state is made anew (seed 41079
    /// with disk faults): no survey says anything of this peer then.
    private mutating func address(of cid: CID) -> LogAddress? {
        do throws(LogError) {
            if replica.isOpen { return try replica.address(of: cid) }
            failSurveys(Self.opening(replica).message)
        } catch {
            mend(error)
            failSurveys("the pinset cannot be read: \(error)")
        }
        return nil
    }
    private mutating func failSurveys(_ reason: String) { for reader in surveys.keys { surveys[reader]?.failure = reason } }

    /// What IPFS has pinned or unpinned since it was listed.
    mutating func tellSurveys(_ operation: IPFSOperation) {
        guard !surveys.isEmpty else { return }
        switch operation {
        case .pin(let pin):
            let address = address(of: pin.cid)
            for reader in surveys.keys { surveys[reader]?.hold(pin.cid, at: address, as: pin.maxDepth == 0 ? .direct : .recursive) }
        case .unpin(let cid):
            let address = address(of: cid)
            for reader in surveys.keys { surveys[reader]?.release(cid, at: address) }
        default: break
        }
    }

    private mutating func askForSurvey(_ peer: PeerID, _ kind: Survey.Kind, _ reader: Asker) {
        let (method, arguments) = switch kind {
        case .status(let filter): (RPCMethod("PinTracker", "StatusAll"), [filter.messagePack])
        case .recovery: (RPCMethod("Cluster", "RecoverAllLocal"), [])
        }
        ask(peer, method, arguments) { cluster, bytes in
            do {
                let info = try PinInfo(messagePack: bytes)
                let address = cluster.address(of: info.cid)
                cluster.surveys[reader]?.hear(info, at: address)
            } catch {
                let failure = RPCFailure(.client, "undecodable reply of \(method.text): \(error)")
                cluster.surveys[reader]?.reports[peer, default: PeerReport()].failure = failure
            }
        } then: { cluster, replies in
            if let failure = replies.failure { cluster.surveys[reader]?.reports[peer, default: PeerReport()].failure = failure }
            cluster.oneLess(reader)
        }
    }

    /// Failed unpins included, which upstream does not reach (TRK-48). What IPFS holds of a pin that failed, such as one that was
    /// given other options while the daemon was away, is no reason to pass it over.
    private mutating func recoverFailed(_ reader: Asker) {
        for info in tracker.operations(matching: .pinError) {
            let address = address(of: info.cid)
            surveys[reader]?.release(info.cid, at: address)
            // Nobody wants any more what a damaged log has lost, and no other peer had (seed 183774104).
            if address == nil, replica.isOpen { withTracker { $0.forget(info.cid, effects: &$2) } }
        }
        for info in tracker.refused + tracker.operations(matching: .unpinError) where replica.isOpen {
            guard let now = recovered(info).map(signature.under) else { continue }
            surveys[reader]?.hear(now, at: nil)
        }
        // What could not be unpinned for others, and IPFS does not list any more, is done.
        for info in tracker.operations(matching: .remote) where !info.short.error.isEmpty { dropLeftover(info.cid) }
    }

    private mutating func oneLess(_ reader: Asker) {
        guard case .asking(let left)? = surveys[reader]?.phase else { return }
        surveys[reader]?.phase = left > 1 ? .asking(left: left - 1) : .due(turn.now.monotonic)
        guard left == 1 else { return }
        if surveys[reader]?.kind == .recovery, let failure = surveys[reader]?.failure { note(.error, "cluster", "recover: \(failure)") }
        continueSurvey(reader)
    }

    // MARK: Reading

    var surveysDue: Instant? {
        surveys.reduce(nil) { if case .due(let at) = $1.value.phase { earliest($0, at) } else { $0 } }
    }
    mutating func continueSurveys() {
        for reader in surveys.keys {
            if case .due(let at)? = surveys[reader]?.phase, at <= turn.now.monotonic { continueSurvey(reader) }
        }
    }
    /// The last piece has gone out.
    mutating func onTaken(_ reader: Asker) {
        if surveys[reader]?.phase == .awaitingReader { continueSurvey(reader) }
    }

    /// One piece, or a step towards it.
    private mutating func continueSurvey(_ reader: Asker) {
        // Others have more to say where this one has failed.
        if let survey = surveys[reader], survey.scope == .local, let failure = survey.failure { return end(reader, .failure(ClientFailure(failure))) }
        guard phase == .awaitingIPFS || phase == .ready else { return end(reader, .failure(Self.shutdownRefusal)) }
        guard replica.isOpen else { return end(reader, .failure(Self.opening(replica))) }
        guard var survey = surveys[reader] else { return }
        if survey.kind == .recovery, survey.failure == nil, tracker.busyCount >= settings.trackedMax {
            surveys[reader]?.phase = .due(turn.now.monotonic + .seconds(1))
            return
        }
        surveys[reader] = nil  // or its maps would be copied
        do { try read(&survey) } catch {
            surveys[reader] = survey
            return end(reader, .failure(ClientFailure("the pinset cannot be read: \(error)")))
        }
        var piece: [GlobalPinInfo] = []
        let pieceMax = settings.listing.statusesPerChunk
        let signature = signature
        for (address, pin) in survey.found.suffix(pieceMax) {
            if let info = entry(address, pin, signature, &survey) { piece.append(info) }
        }
        survey.found.removeLast(min(pieceMax, survey.found.count))
        while survey.found.isEmpty && survey.isRead && piece.count < pieceMax, let (cid, entry) = survey.rest.first {
            survey.rest.remove(cid)
            piece.append(completed(entry, survey))
        }
        let isOver = survey.found.isEmpty && survey.isRead && survey.rest.isEmpty
        // Who is sent nothing has nothing to take.
        let pause: Span = reader == .nobody && survey.found.isEmpty ? .milliseconds(10) : .milliseconds(1)
        survey.phase = piece.isEmpty || reader == .nobody ? .due(turn.now.monotonic + pause) : .awaitingReader
        let omitted = survey.omitted
        surveys[reader] = survey
        hand(piece, to: reader)
        guard isOver else { return }
        guard omitted == 0 else { return end(reader, .failure(ClientFailure("\(omitted) more that other peers tell of are not in this peer's pinset"))) }
        end(reader, .success(()))
    }

    /// The next slice of the pinset, when the last has been looked at.
    private mutating func read(_ survey: inout Survey) throws {
        guard survey.found.isEmpty, !survey.isRead else { return }
        var damages: [LogDamage] = []
        var found: [(LogAddress, Pin)] = []
        survey.cursor = try replica.scan(from: survey.cursor, bytes: settings.sweepBytes, among: survey.live, damages: &damages) { item in
            guard survey.isWorthReading(item.address), let cid = CID(stateKey: item.key),
                let pin = try? Pin(protobuf: Bytes(item.value), cid: cid) else { return }
            found.append((item.address, pin))
        }
        survey.isRead = survey.cursor == nil
        survey.found = found.reversed()
        guard let damage = damages.first else { return }
        mend(damage)
        throw LogError.damaged(damage)
    }

    /// What there is to say of one pin, if anything. It may have changed since the survey began: then others may have spoken of
    /// what it is now.
    private mutating func entry(_ address: LogAddress, _ pin: Pin, _ signature: Signature, _ survey: inout Survey) -> GlobalPinInfo? {
        let isCurrent = replica.live.contains(address)
        guard let pin = isCurrent ? pin : storedPin(pin.cid) else { return nil }
        var entry = GlobalPinInfo(cid: pin.cid)
        if let info = own(pin, at: address, survey.held(pin.cid, address, isCurrent: isCurrent), survey) { entry.add(signature.under(info)) }
        for (peer, report) in survey.reports {
            guard let short = report.short(address, of: pin) else { continue }
            var info = blankInfo(pin.cid, pin, peer)
            info.short = short
            entry.add(info)
        }
        // What was heard of another value; or of this one, while the state was being made anew (seed 970470).
        if let other = survey.rest.remove(pin.cid) {
            for (peer, short) in other.peers {
                var info = blankInfo(pin.cid, pin, peer)
                info.short = short
                entry.add(info)
            }
        }
        if !entry.peers.isEmpty { addFailures(to: &entry, pin, survey) }
        return entry.peers.isEmpty ? nil : entry
    }

    /// What is said of a pin that was not in the state when the survey began.
    private mutating func completed(_ entry: GlobalPinInfo, _ survey: Survey) -> GlobalPinInfo {
        var entry = entry
        let pin = storedPin(entry.cid)
        if case .status(let filter) = survey.kind, entry.peers[id] == nil, let pin,
            let own = tracker.settledStatus(of: entry.cid, pin: pin, now: turn.now), own.short.status.matches(filter) {
            entry.add(decorated(own))
        }
        addFailures(to: &entry, pin, survey)
        return entry
    }

    private mutating func own(_ pin: Pin, at address: LogAddress, _ held: IPFSPinStatus?, _ survey: Survey) -> PinInfo? {
        guard survey.failure == nil else { return nil }
        switch survey.kind {
        case .status(let filter):
            let wide = filter.contains(.pinQueued) ? filter.union(.unexpectedlyUnpinned) : filter
            return tracker.listed(pin, ipfs: held, filter: wide).map { queued($0, address) }.flatMap { $0.short.status.matches(filter) ? $0 : nil }
        case .recovery:
            // Without a filter, which would look past what is queued already (TRK-47).
            return tracker.listed(pin, ipfs: held, filter: .undefined).flatMap { recovered($0) }
        }
    }

    /// Queued again, with its status after.
    private mutating func recovered(_ info: PinInfo) -> PinInfo? {
        let pin = storedPin(info.cid)
        let isQueued = restart(info.cid, in: info.short.status, pin)
        return isQueued ? tracker.settledStatus(of: info.cid, pin: pin, now: turn.now) : nil
    }

    /// A peer that failed is a cluster_error in each entry.
    private func addFailures(to entry: inout GlobalPinInfo, _ pin: Pin?, _ survey: Survey) {
        guard survey.scope == .global else { return }
        var failures: [(PeerID, RPCFailure)] = survey.reports.compactMap { peer, report in report.failure.map { (peer, $0) } }
        if let failure = survey.failure { failures.append((id, RPCFailure(.application, failure))) }
        for (peer, failure) in failures {
            if let info = failed(peer, failure, entry.cid, pin) { entry.add(info) }
        }
    }

    // MARK: Handing out

    private mutating func hand(_ piece: [GlobalPinInfo], to reader: Asker) {
        guard !piece.isEmpty else { return }
        switch reader {
        case .nobody: break
        case .client(let client): turn.effects.append(.reply(client, .item(.infos(piece))))
        case .peer(let stream):
            for entry in piece { withRPC { rpc, _, effects in for info in entry.infos { rpc.reply(stream, info.messagePack, effects: &effects) } } }
        }
    }

    private mutating func end(_ reader: Asker, _ outcome: Outcome<Void>) {
        guard surveys.remove(reader) != nil else { return }
        switch (reader, outcome) {
        case (.client(let client), _): reply(client, outcome.map { [] })
        case (.peer(let stream), .success): finish(stream)
        case (.peer(let stream), .failure(let failure)): refuse(stream, failure.message)
        case (.nobody, .success): break
        // What is to be made good does not wait for hours (seed 3600733).
        case (.nobody, .failure): loops.recoverAt = earliest(loops.recoverAt, turn.now.monotonic + (replica.isOpen ? .minutes(1) : .seconds(1)))
        }
    }
}
