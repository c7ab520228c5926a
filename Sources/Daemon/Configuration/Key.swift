// What one key of service.json is: its type, default, and what an absent or zero value means. spec/config.md 1.

import Encoding
import Kernel
import Multiformats

/// Wrong configuration. The words are upstream's where the specification has them.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

package enum Value: Equatable, Sendable {
    case text(String)
    case flag(Bool)
    case int(Int64)
    case unsigned(UInt64)
    case real(Double)
    case span(Span)
    /// One address for keys that hold one.
    case addresses([Multiaddr])
    /// Nil is written as `null`.
    case texts([String]?)
    case reals([Double]?)
    /// Sorted by name.
    case map([Named<String>]?)
    case lists([Named<[String]>]?)
    case objects([[Value]])

    package struct Named<Item: Equatable & Sendable>: Equatable, Sendable {
        package let name: String
        package let item: Item
        package init(_ name: String, _ item: Item) { self.name = name; self.item = item }
    }

    var isZero: Bool {
        switch self {
        case .text(let value): value.isEmpty
        case .flag(let value): !value
        case .int(let value): value == 0
        case .unsigned(let value): value == 0
        case .real(let value): value == 0
        case .span(let value): value == .zero
        case .addresses(let value): value.isEmpty
        case .texts(let value): value?.isEmpty ?? true
        case .reals(let value): value?.isEmpty ?? true
        case .map(let value): value?.isEmpty ?? true
        case .lists(let value): value?.isEmpty ?? true
        case .objects(let value): value.isEmpty
        }
    }
}

struct Key: Sendable {
    /// What the key means, which decides its form in JSON and in the environment (CFG-016..023).
    indirect enum Kind: Sendable {
        case text
        case flag
        /// Go's type name, for error texts.
        case int(String)
        case unsigned(String, bits: Int)
        case real
        case span(bad: BadSpan)
        /// A duration as a number (CFG-017).
        case nanoseconds
        case address
        /// A string or a list of strings (CFG-018).
        case addresses
        case addressList
        case texts
        case reals
        case map
        case lists
        case secret
        case peerID
        case privateKey
        /// `*` for all; peers that cannot be read are an error.
        case trustedPeers
        /// Peers that cannot be read are left out (CFG-160).
        case readablePeers
        case choice([String])
        /// Bytes, as a number with a unit.
        case size
        case objects([Key])
    }

    /// What a duration that cannot be read does.
    enum BadSpan: Sendable { case fails, isZero, keepsDefault }

    enum Zero: Sendable {
        /// An absent, `null` or zero value leaves the default.
        case keeps
        /// An absent value is the zero value (CFG-047).
        case counts
        /// Zero counts where it is written, and an absent value leaves the default.
        case countsIfWritten
    }

    enum Shown: Sendable { case always, unlessZero, unlessInitial }

    /// Members of nested objects are named `outer.inner`.
    let path: String
    let kind: Kind
    let initial: Value
    let zero: Zero
    let shown: Shown
    /// Begins the error text when the value cannot be read, in place of `error parsing <component>.<path>`.
    let failure: String?
    let isHidden: Bool
    /// Never taken from the file or the environment (CFG-048, CFG-166, CFG-181).
    let isIgnored: Bool

    init(
        _ path: String, _ kind: Kind, _ initial: Value, zero: Zero = .counts, shown: Shown = .always,
        failure: String? = nil, isHidden: Bool = false, isIgnored: Bool = false
    ) {
        self.path = path
        self.kind = kind
        self.initial = initial
        self.zero = zero
        self.shown = shown
        self.failure = failure
        self.isHidden = isHidden
        self.isIgnored = isIgnored
    }

    /// The member of the component, and inside that.
    var steps: [String] { path.split(separator: ".").map(String.init) }

    /// CFG-025.
    var environmentSuffix: String { path.replacing("_", with: "").replacing(".", with: "_").uppercased() }

    /// Go's name of the field, for error texts (CFG-031).
    var fieldName: String {
        let name = steps.last ?? path
        if let whole = Key.oddFields[name] { return whole }
        return name.split(separator: "_").map { Key.acronyms[String($0)] ?? $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }

    private static let oddFields = ["pubsub": "PubSub"]
    private static let acronyms = [
        "id": "ID", "mdns": "MDNS", "ttl": "TTL", "ssl": "SSL", "http": "HTTP", "https": "HTTPS", "cors": "CORS", "ipfs": "IPFS",
        "repogc": "RepoGC", "gc": "GC", "gp": "GP", "wal": "WAL", "zstd": "ZSTD",
    ]
}

// The common kinds, so that tables read as tables.
extension Key {
    static func flag(_ path: String, _ initial: Bool, zero: Zero = .counts, shown: Shown = .always) -> Key {
        Key(path, .flag, .flag(initial), zero: zero, shown: shown)
    }
    static func int(
        _ path: String, _ initial: Int64, zero: Zero = .counts, shown: Shown = .always, type: String = "int"
    ) -> Key {
        Key(path, .int(type), .int(initial), zero: zero, shown: shown)
    }
    static func unsigned(
        _ path: String, _ initial: UInt64, zero: Zero = .counts, shown: Shown = .always, type: String = "uint64",
        bits: Int = 64
    ) -> Key {
        Key(path, .unsigned(type, bits: bits), .unsigned(initial), zero: zero, shown: shown)
    }
    static func real(_ path: String, _ initial: Double, zero: Zero = .counts) -> Key {
        Key(path, .real, .real(initial), zero: zero)
    }
    static func text(_ path: String, _ initial: String = "", zero: Zero = .counts, shown: Shown = .always) -> Key {
        Key(path, .text, .text(initial), zero: zero, shown: shown)
    }
    /// An empty text leaves the default, as everywhere unless told otherwise (CFG-030).
    static func span(
        _ path: String, _ initial: Span, bad: BadSpan = .fails, zero: Zero = .keeps, shown: Shown = .always,
        failure: String? = nil
    ) -> Key {
        Key(path, .span(bad: bad), .span(initial), zero: zero, shown: shown, failure: failure)
    }
    static func address(_ path: String, _ initial: String, zero: Zero, failure: String) -> Key {
        Key(path, .address, .addresses(addressConstants([initial])), zero: zero, failure: failure)
    }
    static func addresses(
        _ path: String, _ initial: [String], zero: Zero = .counts, shown: Shown = .always, failure: String? = nil
    ) -> Key {
        Key(path, .addresses, .addresses(addressConstants(initial)), zero: zero, shown: shown, failure: failure)
    }
    static func texts(_ path: String, _ initial: [String]?, zero: Zero = .counts, shown: Shown = .always) -> Key {
        Key(path, .texts, .texts(initial), zero: zero, shown: shown)
    }

    private static func addressConstants(_ texts: [String]) -> [Multiaddr] {
        texts.map { text in
            do { return try Multiaddr(text: text) } catch { unreachable("\(text): \(error)") }
        }
    }
}
