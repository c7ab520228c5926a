// What a fuzz target is, and what targets are made of.

import Kernel
import Multiformats

struct Target: Sendable {
    let name: String
    /// The longest input: what it decodes is seldom longer, and a short one is run sooner.
    let bytesMax: Int
    /// Sound inputs to begin with.
    let seeds: @Sendable () -> [Bytes]
    let run: @Sendable (Bytes) -> Void

    init(_ name: String, upTo bytesMax: Int, seeds: @escaping @Sendable () -> [Bytes], run: @escaping @Sendable (Bytes) -> Void) {
        (self.name, self.bytesMax, self.seeds, self.run) = (name, bytesMax, seeds, run)
    }

    static let all = names + messages + vocabulary + texts + transport + machines + web + content + stored
}

/// What must hold whatever comes in.
func require(_ holds: Bool, _ what: @autoclosure () -> String, line: UInt = #line, file: StaticString = #fileID) {
    if !holds { fatalError(what(), file: file, line: line) }
}

/// What was read is written as something that is read as the same.
func comesBack<T: Equatable>(_ bytes: Bytes, _ decode: (Bytes) throws -> T, _ encode: (T) -> Bytes) {
    guard let first = try? decode(bytes) else { return }
    let written = encode(first)
    guard let again = try? decode(written) else { return require(false, "\(first) was written as what cannot be read: \(hex(written))") }
    require(again == first, "\(first) came back as \(again)")
}

extension Target {
    static func roundTrip<T: Equatable & SendableMetatype>(
        _ name: String, upTo bytesMax: Int, seeds: @escaping @Sendable () -> [Bytes], decode: @escaping @Sendable (Bytes) throws -> T,
        encode: @escaping @Sendable (T) -> Bytes
    ) -> Target {
        Target(name, upTo: bytesMax, seeds: seeds) { comesBack($0, decode, encode) }
    }

    /// Several decoders in one target: the first byte says which.
    static func choice(
        _ name: String, upTo bytesMax: Int, _ branches: [(seeds: @Sendable () -> [Bytes], run: @Sendable (Bytes) -> Void)]
    ) -> Target {
        Target(name, upTo: bytesMax, seeds: {
            branches.enumerated().flatMap { number, branch in branch.seeds().map { [UInt8(number)] + $0 } }
        }, run: { bytes in
            guard let first = bytes.first, Int(first) < branches.count else { return }
            branches[Int(first)].run(Bytes(bytes.dropFirst()))
        })
    }
}

/// The bytes of a run as what happens to a machine, one thing after another.
struct Script {
    private var rest: ArraySlice<UInt8>
    init(_ bytes: Bytes) { rest = bytes[...] }

    var isOver: Bool { rest.isEmpty }
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
    mutating func below(_ bound: Int) -> Int { Int(byte()) % bound }
    /// As many bytes as the next one says; at 255 all that is left.
    mutating func piece() -> Bytes {
        let count = byte()
        defer { rest = rest.dropFirst(count == 255 ? rest.count : Int(count)) }
        return Bytes(count == 255 ? rest : rest.prefix(Int(count)))
    }
    mutating func text() -> String { String(decoding: piece(), as: UTF8.self) }

    /// A step as it is written: what it is, and a piece.
    static func step(_ number: UInt8, _ piece: some Collection<UInt8>) -> Bytes {
        piece.count < 255 ? [number, UInt8(piece.count)] + piece : [number, 255] + piece
    }
}

enum Here {
    static func at(_ milliseconds: Int64) -> Now {
        Now(monotonic: .origin + .milliseconds(milliseconds), wall: WallTime(seconds: 1_700_000_000) + .milliseconds(milliseconds))
    }
    static let now = at(0)
    static func peer(_ number: UInt8) -> PeerID { peers[Int(number)] }
    private static let peers = (0...UInt8.max).map { number in
        PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32] + Bytes(repeating: number, count: 32)))
    }
    static func key(_ number: UInt8) -> IdentityKey { keys[Int(number)] }
    private static let keys = (0..<8 as Range<UInt8>).map { number in
        guard let key = try? IdentityKey(seed: Bytes(repeating: number, count: 32)) else { fatalError("no key of \(number)") }
        return key
    }
    static let cid = CID(v1: Codec.raw, .sha2_256(of: [1]))
}
