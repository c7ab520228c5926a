// The way to a key: whoever is near it is asked for whom it knows that is nearer. DHT-13, DHT-14, DHT-16; "Kademlia", section 2.3.
// What others say is only hearsay: it costs so many questions and dials, and no more, and is forgotten with the search.

import Kernel
import Multiformats
import Seams

extension DHT {
    enum Aim: Equatable, Sendable {
        /// To learn who is there.
        case refresh
        /// To be connected to it.
        case peer(PeerID)
    }
    /// A dial, and what waits for it.
    struct Dialling: Sendable {
        var lookups: [UInt64]
        let until: Instant
    }

    struct Lookup: Sendable {
        enum State: Equatable, Sendable { case underWay, answered, failed }

        let key: Bytes
        let target: Position
        let aim: Aim
        let until: Instant
        /// Where the peer that is looked for is not.
        let tried: [Multiaddr]
        private(set) var waiting = SortedMap<Distance, (peer: PeerID, addresses: [Multiaddr])>()
        private(set) var asked = SortedMap<Distance, (peer: PeerID, state: State)>()
        private(set) var underWay = 0
        /// Told too late to be asked.
        private(set) var ignored = 0
        /// The closest have been asked; now those around them are.
        private(set) var isFinishing = false

        init(key: Bytes, aim: Aim, tried: [Multiaddr] = [], until: Instant) {
            (self.key, self.aim, self.tried, self.until) = (key, aim, tried, until)
            target = Position(of: key)
        }

        /// Peers that it has heard of, more or less.
        var knownCount: Int { waiting.count + asked.count + ignored }

        mutating func hear(_ peer: PeerID, _ addresses: [Multiaddr], _ settings: DHTSettings) {
            let distance = Position(of: peer).distance(to: target)
            guard asked[distance] == nil else { return }
            guard !isFinishing else { ignored += 1; return }
            if let known = waiting[distance] {
                let new = addresses.filter { !known.addresses.contains($0) }
                waiting[distance] = (peer, Array((known.addresses + new).prefix(settings.limits.addressesPerPeerMax)))
                return
            }
            waiting[distance] = (peer, addresses)
            if waiting.count > settings.candidatesMax, let farthest = waiting.last?.key { waiting.remove(farthest) }
        }

        /// Whom to ask next; it counts as asked.
        mutating func next(_ settings: DHTSettings) -> (peer: PeerID, addresses: [Multiaddr])? {
            if !isFinishing && isNear(settings.resilience) { finish(settings.bucketSize) }
            guard underWay < settings.concurrency, asked.count < settings.questionsMax, let (distance, next) = waiting.first else { return nil }
            waiting.remove(distance)
            asked[distance] = (next.peer, .underWay)
            underWay += 1
            return next
        }
        /// There was no way to ask it yet.
        mutating func putBack(_ peer: PeerID, _ addresses: [Multiaddr]) {
            let distance = Position(of: peer).distance(to: target)
            guard asked.remove(distance) != nil else { return }
            underWay -= 1
            waiting[distance] = (peer, addresses)
        }
        mutating func end(_ peer: PeerID, hasAnswered: Bool) {
            let distance = Position(of: peer).distance(to: target)
            guard asked[distance]?.state == .underWay else { return }
            asked[distance]?.state = hasAnswered ? .answered : .failed
            underWay -= 1
        }
        func isOver(_ settings: DHTSettings) -> Bool { underWay == 0 && (waiting.isEmpty || asked.count >= settings.questionsMax) }

        /// The closest that are known, so many of them, have all answered.
        private func isNear(_ count: Int) -> Bool {
            var answered = 0
            for (distance, peer) in asked {
                if let nearer = waiting.first?.key, nearer < distance { return false }
                switch peer.state {
                case .underWay: return false
                case .failed: break
                case .answered:
                    answered += 1
                    if answered == count { return true }
                }
            }
            return false
        }

        /// Of those that wait, the ones among the closest are asked, and nobody else.
        private mutating func finish(_ count: Int) {
            isFinishing = true
            let reached = asked.filter { $0.value.state != .failed }.map(\.key)
            for (place, distance) in waiting.keys.enumerated() where place + reached.count(where: { $0 < distance }) >= count {
                waiting.remove(distance)
                ignored += 1
            }
        }
    }

    // MARK: Finding

    /// Looks for a peer, and connects to it at addresses that have not been tried. Answered by `found` or `notFound`.
    package mutating func find(_ peer: PeerID, tried: [Multiaddr], now: Now, effects: inout [Effect]) {
        if contacts[peer] != nil { return effects.append(.found(peer)) }
        if lookups.contains(where: { $0.value.aim == .peer(peer) }) { return }
        let isMissing = missing[peer].map { $0 > now.monotonic } ?? false
        guard !isMissing, peer != me, table.count > 0, lookups.count < settings.lookupsMax else { return effects.append(.notFound(peer)) }
        begin(Lookup(key: peer.bytes, aim: .peer(peer), tried: tried, until: now.monotonic + settings.findTimeout), now, &effects)
    }

    /// From the nearest of those that are known.
    @discardableResult
    mutating func begin(_ lookup: Lookup, _ now: Now, _ effects: inout [Effect]) -> UInt64 {
        var lookup = lookup
        for peer in table.nearest(to: lookup.target, settings.bucketSize) where lookup.aim != .peer(peer) { lookup.hear(peer, [], settings) }
        lookupNumber += 1
        lookups[lookupNumber] = lookup
        advance(lookupNumber, now, &effects)
        return lookupNumber
    }

    mutating func advance(_ number: UInt64, _ now: Now, _ effects: inout [Effect]) {
        if case .peer(let peer)? = lookups[number]?.aim, contacts[peer] != nil { return end(number, now, &effects) }
        let settings = settings
        while let (peer, addresses) = lookups[number]?.next(settings) {
            if let contact = contacts[peer] {
                if contact.serves == false { lookups[number]?.end(peer, hasAnswered: false) } else if let key = lookups[number]?.key {
                    ask(peer, Question(key: key, purpose: .lookup(number)), now, &effects)
                }
            } else if !dial(peer, addresses, for: number, now, &effects) { break }
        }
        if lookups[number]?.isOver(settings) == true { end(number, now, &effects) }
    }

    /// False if no more can be dialled now.
    private mutating func dial(_ peer: PeerID, _ addresses: [Multiaddr], for number: UInt64, _ now: Now, _ effects: inout [Effect]) -> Bool {
        if dialling[peer] != nil {
            dialling[peer]?.lookups.append(number)
        } else if lookups[number]?.aim != .peer(peer), let until = unreachable[peer], until > now.monotonic {
            lookups[number]?.end(peer, hasAnswered: false)
        } else if dialling.count >= settings.dialsMax {
            lookups[number]?.putBack(peer, addresses)
            return false
        } else {
            dialling[peer] = Dialling(lookups: [number], until: now.monotonic + settings.dialTimeout)
            effects.append(.dial(peer, addresses))
        }
        return true
    }

    /// A dial has ended, and another can begin.
    mutating func onDialled(_ peer: PeerID, succeeded: Bool, _ now: Now, _ effects: inout [Effect]) {
        guard let dial = dialling.remove(peer) else { return }
        if !succeeded {
            table.remove(peer)
            DHT.remember(peer, until: now.monotonic + settings.unreachableFor, in: &unreachable, settings.rememberedMax)
        }
        for number in dial.lookups {
            guard let lookup = lookups[number] else { continue }
            if succeeded && lookup.aim != .peer(peer) {
                ask(peer, Question(key: lookup.key, purpose: .lookup(number)), now, &effects)
            } else { lookups[number]?.end(peer, hasAnswered: false) }
        }
        for number in lookups.keys { advance(number, now, &effects) }
    }

    /// Of the addresses that are told, loopback ones are another machine's, and private ones another network's (DHT-14).
    mutating func onAnswer(_ number: UInt64, _ peer: PeerID, _ answer: DHTMessage?, _ now: Now, _ effects: inout [Effect]) {
        if answer == nil { table.remove(peer) }
        guard let lookup = lookups[number] else { return }
        lookups[number]?.end(peer, hasAnswered: answer != nil)
        let settings = settings
        for told in (answer?.closer ?? []).prefix(settings.bucketSize + 1) where told.id != me {
            let usable = told.addresses.filter { network == .local ? !$0.isLoopback : $0.isPublic }
            let isTarget = lookup.aim == .peer(told.id)
            let new = isTarget ? usable.filter { !lookup.tried.contains($0) } : usable
            guard !new.isEmpty || (!isTarget && (contacts[told.id] != nil || table.contains(told.id))) else { continue }
            lookups[number]?.hear(told.id, new, settings)
        }
        advance(number, now, &effects)
    }

    mutating func end(_ number: UInt64, _ now: Now, _ effects: inout [Effect]) {
        guard let lookup = lookups.remove(number) else { return }
        switch lookup.aim {
        case .refresh: goOnRefreshing(after: number, lookup, now, &effects)
        case .peer(let peer) where contacts[peer] != nil: effects.append(.found(peer))
        case .peer(let peer):
            DHT.remember(peer, until: now.monotonic + settings.missingFor, in: &missing, settings.rememberedMax)
            effects.append(.notFound(peer))
        }
    }

    private static func remember(_ peer: PeerID, until: Instant, in map: inout SortedMap<PeerID, Instant>, _ most: Int) {
        if map.count >= most { map.removeAll() }
        map[peer] = until
    }

    // MARK: Refreshing

    struct Refresh: Sendable {
        let began: Instant
        /// Still to be looked for.
        var keys: [Bytes]
        var lookup: UInt64?
    }

    /// DHT-15. Not at once: peers come in crowds.
    mutating func refreshSoon(_ now: Now) {
        let allowed = refreshedAt.map { $0 + settings.lowInterval } ?? now.monotonic
        refreshAt = earliest(refreshAt, max(allowed, now.monotonic + settings.refreshDelay))
    }

    mutating func startRefresh(_ now: Now, _ choices: inout Choices, _ effects: inout [Effect]) {
        refreshAt = nil
        guard refresh == nil, table.count > 0 else { return }
        refreshAt = now.monotonic + settings.refreshInterval
        refreshedAt = now.monotonic
        let keys = table.filledBuckets.compactMap { key(of: $0, &choices) }
        refresh = Refresh(began: now.monotonic, keys: keys)
        lookUp(me.bytes, now, &effects)
    }

    /// Far buckets only: a key of a near one takes too many attempts, and who looks for oneself passes through those.
    private func key(of bucket: Int, _ choices: inout Choices) -> Bytes? {
        guard bucket < 10 else { return nil }
        for _ in 0..<8 << bucket {
            let key = choices.bytes(32)
            if table.bucket(at: Position(of: key)) == bucket { return key }
        }
        return nil
    }

    private mutating func lookUp(_ key: Bytes, _ now: Now, _ effects: inout [Effect]) {
        refresh?.lookup = lookupNumber + 1
        begin(Lookup(key: key, aim: .refresh, until: now.monotonic + settings.refreshTimeout), now, &effects)
    }

    private mutating func goOnRefreshing(after number: UInt64, _ lookup: Lookup, _ now: Now, _ effects: inout [Effect]) {
        guard refresh?.lookup == number else { return }
        refresh?.lookup = nil
        // Those who know fewer than fit into an answer have told all of them, and no other key gets more out of them.
        if lookup.knownCount < settings.bucketSize { refresh?.keys = [] }
        if let key = refresh?.keys.popLast() { return lookUp(key, now, &effects) }
        guard let began = refresh?.began else { return }
        refresh = nil
        for peer in table.silent(since: began) {
            if contacts[peer] == nil { table.remove(peer) } else if checks.count < settings.checksMax, checks.insert(peer) {
                ask(peer, Question(key: peer.bytes, purpose: .check), now, &effects)
            }
        }
    }

    /// DHT-15: in a small table everybody counts, and who did not get in is asked again.
    mutating func fillLow(_ now: Now, _ effects: inout [Effect]) {
        lowAt = nil
        guard table.count < settings.lowTable else { return }
        for peer in contacts.keys { check(peer, now, &effects) }
        lowAt = contacts.isEmpty ? nil : now.monotonic + settings.lowInterval
    }
}
