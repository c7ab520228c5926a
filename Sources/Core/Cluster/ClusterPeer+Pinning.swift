// Pin, unpin, update. spec/tracker-allocator-monitor.md section 9 (CLU-01..11), spec/rest-api.md REST-090..094.

import Allocation
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
import Tracking

extension ClusterPeer {
    static let followerRefusal = ClientFailure(
        .failed, "this peer is configured to be in follower mode. Write operations are disabled")

    /// CLU-01. The pin as it was written, or why not. Who adds it as a part of something can take it back.
    mutating func pin(_ request: Pin, without dead: [PeerID] = [], partOf adder: ClientID? = nil, then: @escaping Then<Outcome<Pin>>) {
        if settings.isFollower { return then(&self, .failure(Self.followerRefusal)) }
        if let source = request.options.pinUpdate, source != request.cid {
            return updatePin(from: source, request, then: then)
        }
        do {
            var pin = request
            let existing = try knownPin(pin.cid)
            try prepare(&pin, replacing: existing)
            if pin.type != .meta, (pin.allocations ?? []).isEmpty {
                pin.allocations = try allocations(for: pin, current: existing?.allocations ?? [], without: dead)
            }
            if pin.type != .meta { inform("cluster", Self.whereabouts(of: pin)) }
            write(pin, partOf: adder, then: then)
        } catch {
            then(&self, .failure(error))
        }
    }

    private static func whereabouts(of pin: Pin) -> String {
        guard let allocations = pin.allocations, !allocations.isEmpty else { return "pinning \(pin.cid) everywhere:" }
        return "pinning \(pin.cid) on [\(allocations.map(\.description).joined(separator: " "))]:"
    }

    /// Defaults, checks and the timestamp.
    private func prepare(_ pin: inout Pin, replacing existing: Pin?) throws(ClientFailure) {
        let factors = try factors(of: pin.options)
        (pin.options.replicationFactorMin, pin.options.replicationFactorMax) = (factors.min, factors.max)
        if pin.isPinnedEverywhere { pin.allocations = [] }
        try checkExpiry(of: pin.options)
        if let existing { try check(pin, replacing: existing) }
        pin.timestamp = turn.now.wall
    }

    func checkExpiry(of options: PinOptions) throws(ClientFailure) {
        // The epoch too, which for a pin that is there means never.
        if !options.expireAt.isUnset, options.expireAt < turn.now.wall { throw ClientFailure("pin.ExpireAt set before current time") }
    }

    func factors(of options: PinOptions) throws(ClientFailure) -> ReplicationFactors {
        let asked = ReplicationFactors(min: options.replicationFactorMin, max: options.replicationFactorMax)
        do { return try resolveFactors(asked, defaults: settings.factors) } catch { throw ClientFailure("\(error)") }
    }

    /// CLU-05: what a pin may not turn into. New pins skip this.
    func check(_ pin: Pin, replacing existing: Pin) throws(ClientFailure) {
        guard pin.type == existing.type else {
            throw ClientFailure(
                "cannot repin CID with different tracking method, clear state with pin rm to proceed. "
                    + "New: \(pin.type.text). Was: \(existing.type.text)")
        }
        if existing.options.mode == .recursive && pin.options.mode != .recursive {
            throw ClientFailure(
                "cannot repin a CID which is already pinned in recursive mode "
                    + "(new pin is pinned as \(pin.options.mode.text)). Unpin it first.")
        }
        if let fault = typeFault(of: pin) { throw ClientFailure(fault) }
    }

    private func typeFault(of pin: Pin) -> String? {
        switch pin.type {
        case .data: pin.reference == nil ? nil : "data pins should not reference other pins"
        case .shard: (1...2).contains(pin.maxDepth) ? nil : "must pin shards go depth 1"
        case .clusterDAG:
            if pin.maxDepth != 0 { "must pin roots directly" }
            else { pin.reference == nil ? "clusterDAG pins should reference a Meta pin" : nil }
        case .meta:
            if !(pin.allocations ?? []).isEmpty { "meta pin should not specify allocations" }
            else { pin.reference == nil ? "metaPins should reference a ClusterDAG" : nil }
        case .bad: "unrecognized pin type"
        }
    }

    /// CLU-08: a copy of an existing pin under another CID.
    private mutating func updatePin(from source: CID, _ request: Pin, then: @escaping Then<Outcome<Pin>>) {
        let existing: Pin
        do { existing = try requiredPin(source) } catch { return then(&self, .failure(error)) }
        guard existing.type == .data else { return then(&self, .failure(ClientFailure("this pin type cannot be updated"))) }
        var pin = existing
        pin.cid = request.cid
        pin.options.pinUpdate = source
        pin.timestamp = turn.now.wall
        if !request.options.name.isEmpty { pin.options.name = request.options.name }
        if !request.options.expireAt.isUnset && request.options.expireAt > turn.now.wall {
            pin.options.expireAt = request.options.expireAt
        }
        write(pin, then: then)
    }

    /// CLU-09, CLU-10. The pin as it was.
    mutating func unpin(_ cid: CID, then: @escaping Then<Outcome<Pin>>) {
        if settings.isFollower { return then(&self, .failure(Self.followerRefusal)) }
        inform("cluster", "IPFS cluster unpinning:\(cid)")
        let pin: Pin
        do { pin = try requiredPin(cid) } catch { return then(&self, .failure(error)) }
        switch pin.type {
        case .data: erase(pin, then: then)
        case .shard:
            then(&self, .failure(ClientFailure("cannot unpin a shard directly. Unpin content root CID instead")))
        case .clusterDAG:
            then(&self, .failure(ClientFailure("cannot unpin a Cluster DAG directly. Unpin content root CID instead")))
        case .meta: eraseSharded(pin, then: then)
        case .bad: then(&self, .failure(ClientFailure("unrecognized pin type")))
        }
    }

    // MARK: Allocation

    mutating func allocations(
        for pin: Pin, current: [PeerID], without dead: [PeerID]
    ) throws(ClientFailure) -> [PeerID] {
        let factors = ReplicationFactors(min: pin.options.replicationFactorMin, max: pin.options.replicationFactorMax)
        return try allocations(factors, of: pin.cid.description, current: current, preferred: pin.options.userAllocations ?? [], without: dead)
    }

    /// ALC-18: who is to hold the blocks of an upload.
    mutating func blockAllocations(for options: PinOptions) throws(ClientFailure) -> [PeerID] {
        let factors = try factors(of: options)
        try checkExpiry(of: options)
        if factors.min < 0 { return members }
        return try allocations(factors, of: "an upload", current: [], preferred: options.userAllocations ?? [], without: [])
    }

    private mutating func allocations(
        _ factors: ReplicationFactors, of content: String, current: [PeerID], preferred: [PeerID], without dead: [PeerID]
    ) throws(ClientFailure) -> [PeerID] {
        var metrics: [String: [Metric]] = [:]
        for name in settings.allocateBy { metrics[name] = monitor.latest(name, now: turn.now) }
        var request = AllocationRequest(factors: factors, allocateBy: settings.allocateBy, metrics: metrics)
        (request.current, request.preferred, request.blacklist) = (current, preferred, dead)
        let trust = settings.trust
        if settings.pinsOnlyOnTrusted { request.isAllowed = { trust.trusts($0) } }
        if settings.pinsOnlyOnUntrusted { request.isAllowed = { !trust.trusts($0) } }
        do { return try allocate(request) } catch {
            // ALC-08: what the failure's text speaks of. Sweeps fail again and again, and say so by themselves.
            if case .notEnoughPeers(let needed, let wanted, let candidates) = error, dead.isEmpty {
                note(.error, "cluster", "Not enough candidates to allocate \(content):")
                let lines = ["  Needed: \(needed)", "  Wanted: \(wanted)", "  Available candidates: \(candidates.count):"]
                for line in lines + candidates.map({ "    - \($0)" }) { note(.error, "cluster", line) }
            }
            throw ClientFailure("\(error)")
        }
    }

    // MARK: State

    /// What is no pin counts as absent (PIN-12).
    package func readPin(_ cid: CID) throws(LogError) -> Pin? {
        guard let value = try replica.value(cid) else { return nil }
        return try? Pin(protobuf: value, cid: cid)
    }
    /// What cannot be read is mended, and is not known until then.
    mutating func knownPin(_ cid: CID) throws(ClientFailure) -> Pin? { try reading { peer throws(LogError) in try peer.readPin(cid) } }
    mutating func reading<T>(_ body: (inout ClusterPeer) throws(LogError) -> T) throws(ClientFailure) -> T {
        guard replica.isOpen else { throw Self.opening(replica) }
        do throws(LogError) { return try body(&self) } catch {
            mend(error)
            throw ClientFailure("\(error)")
        }
    }
    mutating func requiredPin(_ cid: CID) throws(ClientFailure) -> Pin {
        guard let pin = try knownPin(cid) else { throw .notPinned }
        return pin
    }
    /// For those who do the same for a pin that is absent and for one that cannot be read.
    mutating func storedPin(_ cid: CID) -> Pin? { do { return try knownPin(cid) } catch { return nil } }
    static func opening(_ replica: Replica) -> ClientFailure { ClientFailure("\(ReplicaError.opening(percent: replica.openingPercent))") }

    /// The pins of the state, some at a time: those in about so many bytes of the log from the cursor on, nil for the beginning.
    /// What is no pin is passed over (PIN-12). Where to go on, or nil at the end.
    /// Where `isWorth` says no, none is made.
    func sweep(
        from cursor: LogAddress?, if isWorth: (LogAddress, PinParts) -> Bool, _ body: (LogAddress, Pin) -> Void
    ) -> (next: LogAddress?, damage: LogDamage?) {
        var damages: [LogDamage] = []
        let next = pins(from: cursor, bytes: settings.sweepBytes, damages: &damages, if: isWorth, body)
        return (next, damages.first)
    }
    mutating func mend(_ damage: LogDamage?) { if let damage { mend(.damaged(damage)) } }
    mutating func mend(_ error: LogError) { withReplica { $0.onUnreadable(error, now: $1.now, effects: &$2) } }
    package func pins(
        from cursor: LogAddress?, bytes: Int, damages: inout [LogDamage], if isWorth: (LogAddress, PinParts) -> Bool = { _, _ in true }, _ body: (LogAddress, Pin) -> Void
    ) -> LogAddress? {
        do {
            return try replica.scan(from: cursor, bytes: bytes, damages: &damages) { item in
                if item.isDerived, let parts = PinParts(item.value), !isWorth(item.address, parts) { return }
                guard let cid = CID(stateKey: item.key), let pin = try? Pin(protobuf: item.value, cid: cid) else { return }
                body(item.address, pin)
            }
        } catch { return nil }
    }

    package func eachPin(_ body: (Pin) -> Void) {
        var cursor: LogAddress?
        var damages: [LogDamage] = []
        repeat { cursor = pins(from: cursor, bytes: 1 << 20, damages: &damages) { body($1) } } while cursor != nil
    }

    mutating func write(_ pin: Pin, partOf adder: ClientID? = nil, then: @escaping Then<Outcome<Pin>>) {
        let id = OperationID(number())
        writes[id] = { peer, failure in
            then(&peer, failure.map { .failure(ClientFailure($0.description)) } ?? .success(pin))
        }
        let (key, value) = (pin.cid.stateKey, pin.protobuf)
        guard let adder else { return withReplica { $0.put(key, value, id, now: $1.now, effects: &$2) } }
        var block: Multihash?
        let author = self.id.description
        withReplica { block = $0.putAtOnce(key, value, by: author, id, now: $1.now, effects: &$2) }
        if let block { adds[adder]?.sharding?.written.append(WrittenPart(cid: pin.cid, block: block)) }
    }

    mutating func erase(_ pin: Pin, then: @escaping Then<Outcome<Pin>>) {
        let id = OperationID(number())
        writes[id] = { peer, failure in
            then(&peer, failure.map { .failure(ClientFailure($0.description)) } ?? .success(pin))
        }
        withReplica { $0.delete(pin.cid.stateKey, id, now: $1.now, effects: &$2) }
    }

    /// A merge gave a key another value: what the tracker must know is what is true now (bug zoo C21).
    mutating func onChange(_ key: String, _ value: Bytes?) {
        guard let cid = CID(stateKey: key) else { return }
        guard let value else {
            withTracker { $0.untrack(cid, now: $1, effects: &$2) }
            return inform("crdt", "pin removed: \(cid)")
        }
        guard let pin = try? Pin(protobuf: value, cid: cid) else {
            return note(.error, "dsstate", "the pin of \(cid) cannot be read; ignored")
        }
        withTracker { $0.track(pin, now: $1, effects: &$2) }
        inform("crdt", "new pin added: \(cid)")
    }
}
