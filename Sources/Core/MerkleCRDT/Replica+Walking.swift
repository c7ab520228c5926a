// Hearing of other peers' heads and fetching their history. Newest first, merged as it comes; a branch whose end has not
// been reached is continued after any interruption, because what is missing can be read off the log.
// spec/crdt.md CRDT-55..62; bug zoo C11..C14, C17, C18.

import Encoding
import Kernel
import Multiformats
import Seams
import Storage

extension Replica {
    /// The heads of another peer, by an author whom the caller trusts.
    package mutating func onAnnouncement(_ payload: Bytes, now: Now, choices: inout Choices, effects: inout [Effect]) {
        guard let heads = Announcement.decode(payload), heads.count <= settings.announcedHeadsMax else {
            return effects.append(.log(LogLine(.warning, "crdt", "an announcement cannot be read; ignored")))
        }
        guard isOpen else {
            for head in heads where heard.count < settings.announcedHeadsMax { heard.insert(head) }
            return
        }
        let isBehind = !heads.isEmpty && heads.allSatisfy { has($0.multihash) }
            && SortedSet(heads.map(\.multihash)) != SortedSet(dag.heads.map(\.cid.multihash))
        if isBehind { tellSoon(now: now, choices: &choices) }
        want(heads, now, &effects)
    }

    private mutating func want(_ heads: some Sequence<CID>, _ now: Now, _ effects: inout [Effect]) {
        var fresh: [CID] = []
        for head in heads {
            let hash = head.multihash
            seenHeads.insert(hash)
            guard head.codec == Codec.dagPB, hash.code == HashCode.sha2_256, !has(hash), wanted[hash] == nil else { continue }
            wanted[hash] = Want(until: now.monotonic + settings.fetchTimeout)
            fresh.append(CID(v1: Codec.dagPB, hash))
        }
        if !fresh.isEmpty { effects.append(.want(fresh)) }
        wantAbsent(now, &effects)  // whoever speaks now may have what was missing before
    }

    /// What was said while the log was being read into the state: by its heads, and by somebody who lists its blocks.
    mutating func hearWhatWasMissed(_ now: Now, _ effects: inout [Effect]) {
        want(heard, now, &effects)
        heard = SortedSet()
        effects.append(.behind)
    }

    /// Wants every link that is not here and not being fetched.
    mutating func wantAbsent(_ now: Now, _ effects: inout [Effect]) {
        guard isOpen else { return }
        var fresh: [CID] = []
        for hash in dag.absent where wanted[hash] == nil {
            wanted[hash] = Want(until: now.monotonic + settings.fetchTimeout)
            fresh.append(CID(v1: Codec.dagPB, hash))
        }
        if !fresh.isEmpty { effects.append(.want(fresh)) }
    }

    /// A block that was fetched. Ignored unless it is wanted and is what its name says.
    package mutating func onBlock(_ cid: CID, _ bytes: Bytes, now: Now, effects: inout [Effect]) {
        let hash = cid.multihash
        guard let want = wanted[hash], !want.isArriving else { return }
        do {
            let block = try StoredBlock(raw: bytes, expecting: cid)
            let (position, sequence) = try append(RecordKind.block, block.payload, &effects)
            wanted[hash]?.isArriving = true
            inFlight.append((sequence, position.end, .block(block, position, operations: [], isOwn: false)))
            sync(&effects)
        } catch {
            // CRDT-29, CRDT-58: a block that is no delta spoils its branch, nothing else.
            wanted.remove(hash)
            catchingUp?.ended(hash)
            effects.append(.unwant([cid]))
            giveUp(hash, &effects)
            effects.append(.log(LogLine(.error, "crdt", "block \(cid) is no delta (\(error)); its branch is left out")))
        }
    }

    /// CRDT-58: an announced head that nobody serves is forgotten; a hole in a branch is remembered (C17), and the branch
    /// is taken without it: its only holder may be gone for good.
    mutating func giveUpWants(_ now: Now, _ effects: inout [Effect]) {
        var given: [CID] = []
        for (hash, want) in wanted where !want.isArriving && want.until <= now.monotonic {
            wanted.remove(hash)
            catchingUp?.ended(hash)
            given.append(CID(v1: Codec.dagPB, hash))
            giveUp(hash, &effects)
        }
        guard !given.isEmpty else { return }
        fetchListed(now, &effects)
        effects.append(.unwant(given))
        effects.append(.log(LogLine(.warning, "crdt", "\(given.count) blocks could not be fetched in time, first \(given[0])")))
    }

    /// Also one that was announced before a block came that names it.
    private mutating func giveUp(_ hash: Multihash, _ effects: inout [Effect]) {
        if dag.absent.contains(hash) { markDirty(true, &effects) }
        dag.giveUp(hash)
    }

    /// CRDT-62: tries again for what is missing; clean when nothing is.
    mutating func repair(_ now: Now, _ effects: inout [Effect]) {
        repairAt = now.monotonic + settings.repairInterval
        guard isOpen else { return }
        guard isDirty else { return effects.append(.news(.isClean)) }
        effects.append(.log(LogLine(.warning, "crdt", "store is marked dirty. Starting DAG repair operation")))
        wantAbsent(now, &effects)
        if dag.absent.isEmpty { markDirty(false, &effects) }
    }

    /// Remembers across restarts whether something is known to be missing.
    package mutating func markDirty(_ dirty: Bool, _ effects: inout [Effect]) {
        guard dirty != isDirty else { return }
        isDirty = dirty
        effects.append(.log(dirty ? LogLine(.warning, "crdt", "marking datastore as dirty") : LogLine(.info, "crdt", "marking datastore as clean")))
        do {
            let (position, sequence) = try append(RecordKind.dirty, [dirty ? 1 : 0], &effects)
            inFlight.append((sequence, position.end, .flag(dirty)))
            sync(&effects)
        } catch { effects.append(.log(LogLine(.error, "crdt", "\(error)"))) }
    }
}
