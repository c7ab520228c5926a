// The replicated set over the log: for each key the elements that blocks added and nobody removed. It is a function of the set of
// merged blocks alone, whatever order they came in: a tombstone counts also before its element, and the best survivor is always
// the value. Elements stay where their block is in the log; the index says where, and one bit for each which of them are values.
// A new key is merged without a read. spec/crdt.md CRDT-45..53; bug zoo C01, C02, C05, C08, C23.

import Encoding
import Kernel
import Multiformats
import Storage

struct ElementStore: Sendable {
    enum Kind {
        static let element: UInt8 = 1
        /// A tombstone that came before its element.
        static let tombstone: UInt8 = 2
        /// The tombstone that took the last element of a key.
        static let removed: UInt8 = 3
        static let block: UInt8 = 4
    }

    var log: Log
    var index: Index
    var live = LiveMap()
    var digests = RangeDigests()
    /// What could not be read since it was asked for last.
    private(set) var damages: [LogDamage] = []
    /// Blocks that were looked at before: many elements were added by few.
    private var headers: [LogAddress: Recalled] = [:]
    private var addresses: [Multihash: LogAddress] = [:]
    private static let recalledMax = 1 << 14

    init(log: Log, index: Index) { (self.log, self.index) = (log, index) }

    mutating func takeDamages() -> [LogDamage] {
        defer { damages = [] }
        return damages
    }

    /// All is to be made from the log again.
    mutating func reset(_ effects: inout [Index.Effect]) {
        index.reset(effects: &effects)
        (live, digests, headers, addresses) = (LiveMap(), RangeDigests(), [:], [:])
    }

    // MARK: Reading

    func value(_ name: StoredName) throws(LogError) -> Bytes? { try find(name)?.value }
    /// Where the value of a key stands.
    func address(_ name: StoredName) throws(LogError) -> LogAddress? { try find(name)?.address }

    private func find(_ name: StoredName) throws(LogError) -> (address: LogAddress, value: Bytes)? {
        for word in try index.words(name.hash) where word.kind == Kind.element && live.contains(word.address) {
            let bytes = try elementBytes(at: word.address)
            let value = bytes.withUnsafeBytes { raw in ElementView(raw, 0).flatMap { name.names($0) ? Bytes($0.value) : nil } }
            if let value { return (word.address, value) }
        }
        return nil
    }

    /// The key was here once and is not any more.
    func hasRemoved(_ name: StoredName) throws(LogError) -> Bool {
        let words = try index.words(name.hash)
        guard !words.contains(where: { $0.kind == Kind.element }) else { return try value(name) == nil && !words.isEmpty }
        return words.contains { $0.kind == Kind.removed || $0.kind == Kind.tombstone }
    }

    /// The bytes of an element, checked.
    private func elementBytes(at address: LogAddress) throws(LogError) -> Bytes { try ElementStore.elementBytes(at: address, log.files) }
    private static func elementBytes(at address: LogAddress, _ log: Log.Files) throws(LogError) -> Bytes {
        var count = 192
        while true {
            let bytes = try log.bytes(at: address, count: count)
            let isSound = bytes.withUnsafeBytes { raw in ElementView(raw, 0).map { $0.isSound($0.mixed) } }
            switch isSound {
            case true?: return bytes
            case nil where bytes.count == count && count < 1 << 26: count *= 16
            default: throw .damaged(log.damage(at: address, "an element does not match its checksum"))
            }
        }
    }

    /// An element; nil if it has another key.
    private static func read(_ address: LogAddress, _ name: StoredName, _ log: Log.Files) throws(LogError) -> Candidate? {
        try elementBytes(at: address, log).withUnsafeBytes { raw in
            guard let view = ElementView(raw, 0), name.names(view) else { return nil }
            return Candidate(address: address, block: address - view.distance, value: Bytes(view.value), mixed: view.mixed)
        }
    }

    /// All of one key. Those that cannot be read are noted, and left out until they are mended.
    private mutating func candidates(_ words: Few<IndexWord>, _ name: StoredName, _ known: KnownKey?) throws(LogError) -> Few<Candidate> {
        var found = Few<Candidate>()
        for word in words where word.kind == Kind.element {
            if let element = known?.elements.first(where: { $0.address == word.address }) {
                found.append(element)
                continue
            }
            do throws(LogError) {
                if let element = try ElementStore.read(word.address, name, log.files) { found.append(element) }
            } catch { try note(error) }
        }
        return found
    }

    private mutating func note(_ error: LogError) throws(LogError) {
        guard case .damaged(let damage) = error else { throw error }
        damages.append(damage)
    }

    /// What there is of a key, and its value. `seen` is what there was.
    func known(_ name: StoredName, seen: KnownKey? = nil) throws(LogError) -> (value: Bytes?, key: KnownKey) {
        var value: Bytes?
        var key = KnownKey(generation: index.generation, words: try index.words(name.hash, seen: seen))
        for word in key.words where word.kind == Kind.element {
            var element = seen?.elements.first { $0.address == word.address }
            if element == nil { element = try ElementStore.read(word.address, name, log.files) }
            guard let element else { continue }
            key.elements.append(element)
            if live.contains(word.address) { value = element.value }
        }
        return (value, key)
    }

    /// To find what there is of many keys, beside the steps.
    mutating func lookup(_ keys: AskedKeys) -> Job {
        let log = log.files
        return index.lookup(keys.count, hash: { keys.hash($0) }, kind: Kind.element) { number, address, reader throws(LogError) in
            try ElementStore.read(address, keys.name(number), log.read(by: reader))
        }
    }

    /// The blocks whose elements of a key nobody has removed, in the order of their datastore keys.
    mutating func blocks(of key: KnownKey) throws(LogError) -> [Bytes] {
        var digests: [Bytes] = []
        for element in key.elements { digests.append(try recalled(element.block).digest) }
        guard digests.count > 1 else { return digests }
        func text(_ digest: Bytes) -> Bytes { digest.withUnsafeBytes { StoredKey.text(block: $0) } }
        return digests.sorted { text($0).lexicographicallyPrecedes(text($1)) }
    }

    // MARK: Blocks

    func header(at payload: LogAddress) throws(LogError) -> StoredBlock.Header {
        var count = 256
        while true {
            let bytes = try log.bytes(at: payload, count: count)
            var needs = 0
            if let header = bytes.withUnsafeBytes({ StoredBlock.Header($0, needs: &needs) }) { return header }
            guard needs > count, bytes.count == count else {
                throw .damaged(log.damage(at: payload, "the header of a block does not match its checksum"))
            }
            count = needs
        }
    }

    /// What is asked of a block's header again and again.
    private struct Recalled {
        let digest: Bytes
        let priority: UInt64
    }
    private mutating func recalled(_ payload: LogAddress) throws(LogError) -> Recalled {
        if let recalled = headers[payload] { return recalled }
        let header = try header(at: payload)
        if headers.count >= ElementStore.recalledMax { headers = [:] }
        let recalled = Recalled(digest: header.digest, priority: header.priority)
        headers[payload] = recalled
        return recalled
    }
    private mutating func recalledAddress(ofBlock hash: Multihash) throws(LogError) -> LogAddress? {
        if let address = addresses[hash] { return address }
        guard let address = try address(ofBlock: hash) else { return nil }
        if addresses.count >= ElementStore.recalledMax { addresses = [:] }
        addresses[hash] = address
        return address
    }

    func address(ofBlock hash: Multihash) throws(LogError) -> LogAddress? {
        let key = StoredKey.hash(block: hash.digest)
        for word in try index.words(key) where word.kind == Kind.block {
            if try header(at: word.address).digest.elementsEqual(hash.digest) { return word.address }
        }
        return nil
    }

    // MARK: Merging

    /// How far the merging of a block is.
    struct Progress: Sendable {
        fileprivate var (tombstones, elements, known) = (0, 0, 0)
        fileprivate var key: KnownKey?
        /// The keys whose values changed.
        fileprivate(set) var changed: [StoredName] = []
    }

    /// What it takes to merge one thing, in elements of which nobody has heard before: about a quarter of a microsecond each.
    private enum Effort {
        static let known = 20
        static let tombstone = 10
        /// It is to be read what there is of the key.
        static let unseen = 50
    }

    /// Takes what a durable block says into the state, as far as the effort goes that is left. True when all of it is in. The keys
    /// whose values changed are in the progress, if the caller wants them.
    mutating func merge(
        _ block: StoredBlock, at base: LogAddress, _ progress: inout Progress, effort: inout Int, wantsKeys: Bool
    ) throws(LogError) -> Bool {
        try mergeTombstones(block, base, &progress, &effort, wantsKeys)
        if progress.tombstones == block.tombstones.count { try mergeElements(block, base, &progress, &effort, wantsKeys) }
        guard progress.tombstones == block.tombstones.count, progress.elements == block.elements.count else { return false }
        index.put(StoredKey.hash(block: block.hash.digest), IndexWord(kind: Kind.block, base))
        return true
    }

    private mutating func mergeTombstones(
        _ block: StoredBlock, _ base: LogAddress, _ progress: inout Progress, _ effort: inout Int, _ wantsKeys: Bool
    ) throws(LogError) {
        let known = block.lookup?.known ?? []
        while progress.tombstones < block.tombstones.count, effort > 0 {
            let number = progress.tombstones, tombstone = block.tombstones[number]
            progress.tombstones += 1
            if progress.known < known.count, known[progress.known].number == number {
                progress.key = known[progress.known].key
                progress.known += 1
            }
            effort -= progress.key.map { index.isKnownSince($0.generation) } == true ? Effort.tombstone : Effort.unseen
            guard try remove(tombstone, block, base, progress.key), wantsKeys, let (key, _) = block.tombstone(tombstone) else { continue }
            if !progress.changed.contains(key) { progress.changed.append(key) }
        }
    }

    private mutating func mergeElements(
        _ block: StoredBlock, _ base: LogAddress, _ progress: inout Progress, _ effort: inout Int, _ wantsKeys: Bool
    ) throws(LogError) {
        let known = block.lookup?.known ?? []
        let isVouched = block.lookup?.generation == index.generation
        var hashes: [UInt64] = []
        hashes.reserveCapacity(Index.touched)
        while progress.elements < block.elements.count, effort > 0 {
            let some = progress.elements..<min(progress.elements + min(Index.touched, effort), block.elements.count)
            progress.elements = some.upperBound
            if block.elements.count > 1 {
                hashes.removeAll(keepingCapacity: true)
                for ahead in some { hashes.append(block.elements[ahead].hash) }
                if isVouched { index.touchTable(hashes[...]) } else { index.touch(hashes[...]) }
            }
            effort -= some.count
            for number in some {
                let element = block.elements[number]
                let address = base + Int(element.offset)
                let word = IndexWord(kind: Kind.element, address)
                var key: KnownKey?
                if progress.known < known.count, known[progress.known].number == number {
                    key = known[progress.known].key
                    progress.known += 1
                }
                if !(isVouched && key == nil ? index.putIfNewSince(element.hash, word) : index.putIfNew(element.hash, word)) {
                    effort -= key.map { index.isKnownSince($0.generation) } == true ? Effort.known : Effort.unseen
                    guard let name = try add(element, block, base, key), wantsKeys, !progress.changed.contains(name) else { continue }
                    progress.changed.append(name)
                } else {
                    live.insert(address)
                    digests.add(element.hash, element.mixed)
                    if wantsKeys { progress.changed.append(block.name(element)) }
                }
            }
        }
    }

    /// An element whose key may be known. The key, if it has another value now.
    private mutating func add(_ element: ElementRef, _ block: StoredBlock, _ base: LogAddress, _ known: KnownKey?) throws(LogError) -> StoredName? {
        let name = block.name(element)
        let words = try index.words(element.hash, seen: known)
        let address = base + Int(element.offset)
        if words.contains(where: { $0.kind == Kind.element && $0.address == address }) { return nil }
        guard try !isCancelled(name, element.hash, words, block.hash) else { return nil }
        for word in words where word.kind == Kind.removed {
            if try names(word.address, name, nil) { index.erase(element.hash, word) }
        }
        let others = try candidates(words, name, known)
        let value = block.value(element)
        if let twin = others.first(where: { $0.block == base }) {  // C08: of two values in one block the greater counts
            guard twin.value.lexicographicallyPrecedes(value) else { return nil }
            index.erase(element.hash, IndexWord(kind: Kind.element, twin.address))
        }
        index.put(element.hash, IndexWord(kind: Kind.element, address))
        let mine = Candidate(address: address, block: base, value: value, mixed: element.mixed)
        var candidates = Few(others.lazy.filter { $0.block != base })
        candidates.append(mine)
        return try elect(element.hash, candidates, before: others) ? name : nil
    }

    /// A tombstone came before this block's element: both have done their work. It takes all that the block says of the key, though a
    /// second element of it, which upstream may write, finds the tombstone's work done.
    private mutating func isCancelled(_ name: StoredName, _ hash: UInt64, _ words: Few<IndexWord>, _ block: Multihash) throws(LogError) -> Bool {
        var isCancelled = false
        for word in words where word.kind == Kind.tombstone || word.kind == Kind.removed {
            guard try names(word.address, name, block) else { continue }
            isCancelled = true
            guard word.kind == Kind.tombstone else { continue }
            index.erase(hash, word)
            index.put(hash, IndexWord(kind: Kind.removed, word.address))
        }
        return isCancelled
    }

    /// True if the key has another value now or none.
    private mutating func remove(
        _ tombstone: TombstoneRef, _ block: StoredBlock, _ base: LogAddress, _ key: KnownKey?
    ) throws(LogError) -> Bool {
        let words = try index.words(tombstone.hash, seen: key)
        let mark = base + Int(tombstone.offset)
        // One's own, of a key that had one element and has it still.
        if let only = key?.elements.first, key?.elements.count == 1, words == Few(one: IndexWord(kind: Kind.element, only.address)) {
            return try remove(only, of: Few(one: only), tombstone.hash, mark)
        }
        guard let (name, target) = block.tombstone(tombstone) else { return false }
        guard let targetBase = try recalledAddress(ofBlock: target) else {
            if try !isKnown(name, target, words) { index.put(tombstone.hash, IndexWord(kind: Kind.tombstone, mark)) }
            return false
        }
        let known = try candidates(words, name, key)
        guard let victim = known.first(where: { $0.block == targetBase }) else { return false }
        return try remove(victim, of: known, tombstone.hash, mark)
    }

    private mutating func remove(_ victim: Candidate, of known: Few<Candidate>, _ hash: UInt64, _ mark: LogAddress) throws(LogError) -> Bool {
        index.erase(hash, IndexWord(kind: Kind.element, victim.address))
        let rest = Few(known.lazy.filter { $0.address != victim.address })
        if rest.isEmpty { index.put(hash, IndexWord(kind: Kind.removed, mark)) }
        return try elect(hash, rest, before: known)
    }

    private mutating func isKnown(_ name: StoredName, _ target: Multihash, _ words: Few<IndexWord>) throws(LogError) -> Bool {
        for word in words where word.kind == Kind.tombstone { if try names(word.address, name, target) { return true } }
        return false
    }

    /// The tombstone there is for that key and, if given, that block. One that cannot be read is noted, and is for neither.
    private mutating func names(_ address: LogAddress, _ name: StoredName, _ block: Multihash?) throws(LogError) -> Bool {
        do throws(LogError) {
            let (found, target) = try tombstone(at: address)
            return found == name && (block.map { target.elementsEqual($0.digest) } ?? true)
        } catch {
            try note(error)
            return false
        }
    }

    private func tombstone(at address: LogAddress) throws(LogError) -> (name: StoredName, target: Bytes) {
        var count = 192
        while true {
            let bytes = try log.bytes(at: address, count: count)
            let back = bytes.withUnsafeBytes { TombstoneView($0, 0)?.back }
            var named = Bytes()
            if let back, back > 0, back <= address.offset { named = try log.bytes(at: address - back, count: 32) }
            let found = bytes.withUnsafeBytes { raw in
                named.withUnsafeBytes { named in
                    TombstoneView(raw, 0).flatMap { view in view.digest(named).map { (StoredName(view), Bytes($0)) } }
                }
            }
            if let found { return found }
            guard back == nil, bytes.count == count, count < 1 << 26 else {
                throw .damaged(log.damage(at: address, "a tombstone does not match its checksum"))
            }
            count *= 16
        }
    }

    /// CRDT-47: the higher priority wins, then the greater value. True if the value is another one now.
    private mutating func elect(_ hash: UInt64, _ candidates: Few<Candidate>, before: Few<Candidate>) throws(LogError) -> Bool {
        let old = before.first { live.contains($0.address) }
        let best = try best(of: candidates)
        guard old?.address != best?.address else { return false }
        if let old {
            live.remove(old.address)
            digests.remove(hash, old.mixed)
        }
        if let best {
            live.insert(best.address)
            digests.add(hash, best.mixed)
        }
        return true
    }

    private mutating func best(of candidates: Few<Candidate>) throws(LogError) -> Candidate? {
        guard candidates.count > 1 else { return candidates.first }
        var best: (candidate: Candidate, priority: UInt64)?
        for candidate in candidates {
            let priority = try recalled(candidate.block).priority
            if let current = best,
                current.priority != priority
                    ? current.priority > priority : !current.candidate.value.lexicographicallyPrecedes(candidate.value) { continue }
            best = (candidate, priority)
        }
        return best?.candidate
    }

    // MARK: Reading through

    /// One live element.
    struct Item {
        let address: LogAddress
        fileprivate let view: ElementView
        package var value: UnsafeRawBufferPointer { view.value }
        package var isDerived: Bool { view.key == nil }
        package var key: String { String(decoding: view.keyText, as: UTF8.self) }
    }

    /// Hands out the values of the blocks that begin within about so many bytes from an address on, in the order of the log.
    /// Where to go on, or nil at the end.
    func scan(
        from start: LogAddress?, bytes: Int, among live: LiveMap, damages: inout [LogDamage], visit: (Item) throws -> Void
    ) throws -> LogAddress? {
        try log.records(from: start ?? log.firstAddress, bytes: bytes, damages: &damages) { position, kind, payload in
            guard kind == Replica.RecordKind.block, !live.isEmpty(from: position.payload, to: position.end) else { return }
            try payload.withUnsafeBytes { raw in
                var needs = 0
                guard let header = StoredBlock.Header(raw, needs: &needs) else { return }
                var at = header.elementsAt
                for _ in 0..<header.elementCount {
                    guard let view = ElementView(raw, at) else { return }
                    if live.contains(position.payload + at) { try visit(Item(address: position.payload + at, view: view)) }
                    at = view.end
                }
            }
        }
    }
}

extension StoredBlock {
    func name(_ element: ElementRef) -> StoredName {
        payload.withUnsafeBytes { ElementView($0, Int(element.offset)).map { StoredName($0) } ?? StoredName([]) }
    }
    func value(_ element: ElementRef) -> Bytes {
        payload.withUnsafeBytes { ElementView($0, Int(element.offset)).map { Bytes($0.value) } ?? [] }
    }
    func tombstone(_ tombstone: TombstoneRef) -> (name: StoredName, target: Multihash)? {
        payload.withUnsafeBytes { raw in
            guard let view = TombstoneView(raw, Int(tombstone.offset)), let digest = view.digest(in: raw, Int(tombstone.offset)) else { return nil }
            return (StoredName(view), StoredBlock.multihash(digest))
        }
    }
}
