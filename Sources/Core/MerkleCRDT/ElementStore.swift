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

    /// An element that nobody removed.
    struct Candidate: Sendable {
        let address: LogAddress
        let block: LogAddress
        let value: Bytes
        let mixed: Mixed
    }

    var log: Log
    var index: Index
    var live = LiveMap()
    var digests = RangeDigests()
    /// What could not be read since it was asked for last.
    private(set) var damages: [LogDamage] = []
    /// Elements and blocks that were looked at before: a write looks at what its merge will look at.
    private var elements: [LogAddress: (name: StoredName, candidate: Candidate)] = [:]
    private var headers: [LogAddress: StoredBlock.Header] = [:]
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
        (live, digests, elements, headers, addresses) = (LiveMap(), RangeDigests(), [:], [:], [:])
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
    private func elementBytes(at address: LogAddress) throws(LogError) -> Bytes {
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

    /// Nil: it has another key.
    private mutating func candidate(at address: LogAddress, _ name: StoredName) throws(LogError) -> Candidate? {
        if let known = elements[address] { return known.name == name ? known.candidate : nil }
        let bytes = try elementBytes(at: address)
        let found: Candidate? = bytes.withUnsafeBytes { raw in
            guard let view = ElementView(raw, 0), name.names(view) else { return nil }
            return Candidate(address: address, block: address - view.distance, value: Bytes(view.value), mixed: view.mixed)
        }
        guard let found else { return nil }
        if elements.count >= ElementStore.recalledMax { elements = [:] }
        elements[address] = (name, found)
        return found
    }

    /// All of one key. Those that cannot be read are noted, and left out until they are mended.
    private mutating func candidates(_ words: [IndexWord], _ name: StoredName) throws(LogError) -> [Candidate] {
        var found: [Candidate] = []
        for word in words where word.kind == Kind.element {
            do throws(LogError) {
                if let candidate = try candidate(at: word.address, name) { found.append(candidate) }
            } catch { try note(error) }
        }
        return found
    }

    private mutating func note(_ error: LogError) throws(LogError) {
        guard case .damaged(let damage) = error else { throw error }
        damages.append(damage)
    }

    /// The value of a key, and the blocks whose elements of it nobody has removed.
    mutating func known(_ name: StoredName) throws(LogError) -> (value: Bytes?, blocks: [Multihash]) {
        var (value, blocks): (Bytes?, [Multihash]) = (nil, [])
        for candidate in try candidates(try index.recalled(name.hash), name) {
            blocks.append(StoredBlock.multihash(try recalledHeader(at: candidate.block).digest))
            if live.contains(candidate.address) { value = candidate.value }
        }
        if let damage = damages.popLast() { throw .damaged(damage) }  // what is to be removed must be known
        return (value, blocks)
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

    /// Many elements of a batch were added by few blocks.
    private mutating func recalledHeader(at payload: LogAddress) throws(LogError) -> StoredBlock.Header {
        if let header = headers[payload] { return header }
        let header = try header(at: payload)
        if headers.count >= ElementStore.recalledMax { headers = [:] }
        headers[payload] = header
        return header
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

    /// Takes what a durable block says into the state. The keys whose values changed, if the caller wants them.
    mutating func merge(_ block: StoredBlock, at base: LogAddress, wantsKeys: Bool) throws(LogError) -> [StoredName] {
        var changed: [StoredName] = []
        index.put(StoredKey.hash(block: block.hash.digest), IndexWord(kind: Kind.block, base))
        for tombstone in block.tombstones {
            if let key = try remove(tombstone, block, base), wantsKeys, !changed.contains(key) { changed.append(key) }
        }
        var hashes: [UInt64] = []
        hashes.reserveCapacity(Index.touched)
        let isVouched = block.newcomers?.generation == index.generation
        var exceptions = (isVouched ? block.newcomers?.exceptions : nil)?[...] ?? []
        for (number, element) in block.elements.enumerated() {
            if number % Index.touched == 0, block.elements.count > 1 {
                hashes.removeAll(keepingCapacity: true)
                for ahead in number..<min(number + Index.touched, block.elements.count) { hashes.append(block.elements[ahead].hash) }
                if isVouched { index.touchTable(hashes[...]) } else { index.touch(hashes[...]) }
            }
            let address = base + Int(element.offset)
            let word = IndexWord(kind: Kind.element, address)
            let isException = exceptions.first == number
            if isException { exceptions.removeFirst() }
            if !(isVouched && !isException ? index.putIfNewSince(element.hash, word) : index.putIfNew(element.hash, word)) {
                guard let key = try add(element, block, base), wantsKeys, !changed.contains(key) else { continue }
                changed.append(key)
            } else {
                live.insert(address)
                digests.add(element.hash, element.mixed)
                if wantsKeys { changed.append(block.name(element)) }
            }
        }
        return changed
    }

    /// An element whose key may be known. The key, if it has another value now.
    private mutating func add(_ element: ElementRef, _ block: StoredBlock, _ base: LogAddress) throws(LogError) -> StoredName? {
        let name = block.name(element)
        let words = try index.recalled(element.hash)
        let address = base + Int(element.offset)
        if words.contains(where: { $0.kind == Kind.element && $0.address == address }) { return nil }
        guard try !isCancelled(name, element.hash, words, block.hash) else { return nil }
        for word in words where word.kind == Kind.removed {
            if try names(word.address, name, nil) { index.erase(element.hash, word) }
        }
        let others = try candidates(words, name)
        let value = block.value(element)
        if let twin = others.first(where: { $0.block == base }) {  // C08: of two values in one block the greater counts
            guard twin.value.lexicographicallyPrecedes(value) else { return nil }
            index.erase(element.hash, IndexWord(kind: Kind.element, twin.address))
        }
        index.put(element.hash, IndexWord(kind: Kind.element, address))
        let mine = Candidate(address: address, block: base, value: value, mixed: element.mixed)
        return try elect(element.hash, others.filter { $0.block != base } + [mine], before: others) ? name : nil
    }

    /// A tombstone came before this block's element: both have done their work.
    private mutating func isCancelled(_ name: StoredName, _ hash: UInt64, _ words: [IndexWord], _ block: Multihash) throws(LogError) -> Bool {
        var isCancelled = false
        for word in words where word.kind == Kind.tombstone {
            guard try names(word.address, name, block) else { continue }
            isCancelled = true
            index.erase(hash, word)
            index.put(hash, IndexWord(kind: Kind.removed, word.address))
        }
        return isCancelled
    }

    /// The key, if it has another value now or none.
    private mutating func remove(_ tombstone: TombstoneRef, _ block: StoredBlock, _ base: LogAddress) throws(LogError) -> StoredName? {
        guard let (name, target) = block.tombstone(tombstone) else { return nil }
        let words = try index.recalled(tombstone.hash)
        let mark = base + Int(tombstone.offset)
        guard let targetBase = try recalledAddress(ofBlock: target) else {
            if try !isKnown(name, target, words) { index.put(tombstone.hash, IndexWord(kind: Kind.tombstone, mark)) }
            return nil
        }
        let known = try candidates(words, name)
        guard let victim = known.first(where: { $0.block == targetBase }) else { return nil }
        index.erase(tombstone.hash, IndexWord(kind: Kind.element, victim.address))
        let rest = known.filter { $0.address != victim.address }
        if rest.isEmpty { index.put(tombstone.hash, IndexWord(kind: Kind.removed, mark)) }
        return try elect(tombstone.hash, rest, before: known) ? name : nil
    }

    private mutating func isKnown(_ name: StoredName, _ target: Multihash, _ words: [IndexWord]) throws(LogError) -> Bool {
        for word in words where word.kind == Kind.tombstone { if try names(word.address, name, target) { return true } }
        return false
    }

    /// The tombstone there is for that key and, if given, that block. One that cannot be read is noted, and is for neither.
    private mutating func names(_ address: LogAddress, _ name: StoredName, _ block: Multihash?) throws(LogError) -> Bool {
        do throws(LogError) {
            return try tombstoneBytes(at: address).withUnsafeBytes { raw in
                guard let view = TombstoneView(raw, 0), name.names(view) else { return false }
                return block.map { view.digest.elementsEqual($0.digest) } ?? true
            }
        } catch {
            try note(error)
            return false
        }
    }

    private func tombstoneBytes(at address: LogAddress) throws(LogError) -> Bytes {
        var count = 192
        while true {
            let bytes = try log.bytes(at: address, count: count)
            if bytes.withUnsafeBytes({ TombstoneView($0, 0) != nil }) { return bytes }
            guard bytes.count == count, count < 1 << 26 else {
                throw .damaged(log.damage(at: address, "a tombstone does not match its checksum"))
            }
            count *= 16
        }
    }

    /// CRDT-47: the higher priority wins, then the greater value. True if the value is another one now.
    private mutating func elect(_ hash: UInt64, _ candidates: [Candidate], before: [Candidate]) throws(LogError) -> Bool {
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

    private mutating func best(of candidates: [Candidate]) throws(LogError) -> Candidate? {
        guard candidates.count > 1 else { return candidates.first }
        var best: (candidate: Candidate, priority: UInt64)?
        for candidate in candidates {
            let priority = try recalledHeader(at: candidate.block).priority
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
            TombstoneView(raw, Int(tombstone.offset)).map { (StoredName($0), StoredBlock.multihash($0.digest)) }
        }
    }
}
