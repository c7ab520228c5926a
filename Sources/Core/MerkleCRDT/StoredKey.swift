// How the store tells keys apart, and what the digest of a key and its value is. Keys of the pinset are "/" and the base32 of a
// CID (PIN-01), and their values begin with that CID: such keys need not be stored.

import Kernel
import Multiformats

enum StoredKey {
    private static let decodedSeed: UInt64 = 0x6b65_795f_6369_6431
    private static let textSeed: UInt64 = 0x6b65_795f_7465_7874
    private static let derivedSeed: UInt64 = 0x7661_6c75_655f_6431
    private static let explicitSeed: UInt64 = 0x7661_6c75_655f_6531
    private static let blockSeed: UInt64 = 0x626c_6f63_6b5f_6831

    /// 48 bits.
    static func hash(cid: UnsafeRawBufferPointer) -> UInt64 { mix(cid, seed: decodedSeed).high >> 16 }
    static func hash(_ key: some Collection<UInt8>) -> UInt64 {
        if let cid = decoded(key) { return cid.withUnsafeBytes { hash(cid: $0) } }
        return mix(key, seed: textSeed).high >> 16
    }
    static func hash(_ key: String) -> UInt64 { hash(key.utf8) }
    static func hash(block digest: some Collection<UInt8>) -> UInt64 { mix(digest, seed: blockSeed).high >> 16 }

    /// What the value adds to the digest of the state.
    static func mixed(derived value: UnsafeRawBufferPointer) -> Mixed { mix(value, seed: derivedSeed) }
    static func mixed(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Mixed {
        var all = Bytes()
        append(UInt32(key.count), to: &all)
        all.append(contentsOf: key)
        all.append(contentsOf: value)
        return mix(all, seed: explicitSeed)
    }

    /// The bytes behind "/" and their base32, or nil if the key is of another form.
    static func decoded(_ key: some Collection<UInt8>) -> Bytes? {
        let text = Bytes(key.dropFirst())
        guard key.first == UInt8(ascii: "/"), let bytes = text.withUnsafeBytes({ Base32.decode($0) }), !bytes.isEmpty else { return nil }
        // Only what encoding gives back: another key must not pass for this one.
        return text.withUnsafeBytes { text in bytes.withUnsafeBytes { matches($0, text) } } ? bytes : nil
    }

    static func text(decoded cid: UnsafeRawBufferPointer) -> Bytes {
        var out = Bytes()
        out.reserveCapacity(1 + Base32.textCount(cid.count))
        out.append(UInt8(ascii: "/"))
        Base32.upper.append(cid, to: &out)
        return out
    }

    /// The datastore key of a block (CRDT-22).
    static func text(block digest: UnsafeRawBufferPointer) -> Bytes {
        (Bytes([0x12, 0x20]) + digest).withUnsafeBytes { text(decoded: $0) }
    }

    /// Where the CID is with which a value begins.
    @inline(__always)
    static func cid(in value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard value.count > 3, value[0] == 0x0a, value[1] > 0 else { return nil }
        var (start, count) = (2, Int(value[1]))
        if count >= 0x80 {  // as with an identity hash
            guard value[2] > 0, value[2] < 0x80 else { return nil }
            (start, count) = (3, count & 0x7f | Int(value[2]) << 7)
        }
        guard start + count <= value.count else { return nil }
        return UnsafeRawBufferPointer(rebasing: value[start..<start + count])
    }

    @inline(__always)
    static func isSame(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer?) -> Bool {
        guard let b, a.count == b.count else { return false }
        var at = 0
        while at + 8 <= a.count {
            if load(a, at, as: UInt64.self) != load(b, at, as: UInt64.self) { return false }
            at += 8
        }
        while at < a.count {
            if a[at] != b[at] { return false }
            at += 1
        }
        return true
    }

    /// The key can be told from the value.
    static func isDerived(_ key: UnsafeRawBufferPointer, from value: UnsafeRawBufferPointer) -> Bool {
        guard let cid = cid(in: value), key.count == 1 + Base32.textCount(cid.count), key[0] == UInt8(ascii: "/") else { return false }
        return matches(cid, UnsafeRawBufferPointer(rebasing: key[1...]))
    }

    @inline(__always)
    private static func matches(_ bytes: UnsafeRawBufferPointer, _ text: UnsafeRawBufferPointer) -> Bool {
        let count = Base32.textCount(bytes.count)
        guard text.count == count else { return false }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count + 8) { room in
            guard let base = room.baseAddress else { return false }
            _ = Base32.upper.encode(bytes, to: base)
            return isSame(UnsafeRawBufferPointer(start: base, count: count), text)
        }
    }
}

/// A key as elements and tombstones hold it: the CID that it is made from, or its text.
struct StoredName: Hashable, Sendable {
    private let bytes: Bytes
    private let isDecoded: Bool

    private init(_ bytes: Bytes, isDecoded: Bool) { (self.bytes, self.isDecoded) = (bytes, isDecoded) }
    init(_ cid: CID) { self.init(cid.bytes, isDecoded: true) }
    init(decoded cid: UnsafeRawBufferPointer) { self.init(Bytes(cid), isDecoded: true) }
    init(_ key: some Collection<UInt8>) {
        if let cid = StoredKey.decoded(key) { self.init(cid, isDecoded: true) } else { self.init(Bytes(key), isDecoded: false) }
    }
    init(_ view: ElementView) {
        if let key = view.key { self.init(key) } else { self.init(view.cid.map { Bytes($0) } ?? [], isDecoded: true) }
    }
    @inline(__always)
    func withKey<T>(_ body: (_ key: UnsafeRawBufferPointer, _ isDecoded: Bool) -> T) -> T { bytes.withUnsafeBytes { body($0, isDecoded) } }
    init(_ view: TombstoneView) { self.init(Bytes(view.key), isDecoded: view.isDecoded) }

    var hash: UInt64 { isDecoded ? bytes.withUnsafeBytes { StoredKey.hash(cid: $0) } : StoredKey.hash(bytes) }
    var text: Bytes { isDecoded ? bytes.withUnsafeBytes { StoredKey.text(decoded: $0) } : bytes }
    var string: String { String(decoding: text, as: UTF8.self) }

    func names(_ view: ElementView) -> Bool {
        guard view.key == nil else { return view.keyText == text }
        return isDecoded && bytes.withUnsafeBytes { StoredKey.isSame($0, view.cid) }
    }
}
