// What is wrong with a name, in the words that upstream's API answers.

import Encoding
import Kernel

extension MultiformatError: CustomStringConvertible {
    init(_ error: VarintError) {
        self = switch error {
        case .truncated: .truncated
        case .tooLong: .badMultihash("varints larger than uint63 not supported")
        case .notMinimal: .badMultihash("varint not minimally encoded")
        }
    }

    package var description: String {
        switch self {
        case .empty: "multihash too short. must be >= 2 bytes"
        case .truncated: "varints malformed, could not reach the end"
        case .badText(let text), .badMultihash(let text), .badKey(let text), .badMultiaddr(let text), .badRecord(let text): text
        case .trailing(let digest, let length): "multihash length inconsistent: expected \(digest); got \(length)"
        case .badVersion(let version): "expected 1 as the cid version number, got: \(version)"
        }
    }

    /// For a text that was to be a CID. Faults below the base encoding are wrapped twice (REST-054).
    package var aboutCID: String {
        switch self {
        case .badText(let text): text.hasPrefix("invalid cid: ") ? text : "invalid cid: " + text
        case .trailing: "invalid cid: trailing bytes in data buffer passed to cid Cast"
        default: "invalid cid: invalid cid: \(self)"
        }
    }

    /// For a text that was to be a peer ID (REST-051).
    package func aboutPeer(_ text: String) -> String {
        if text.hasPrefix("Qm") || text.hasPrefix("1") { return "failed to parse peer ID: \(self)" }
        if case .badText(let reason) = self, reason.hasPrefix("can't convert") { return reason }
        return "failed to parse peer ID: \(aboutCID)"
    }
}

extension Multibase {
    /// Why a text is none of this base's. Offsets count from after the prefix.
    func fault(in text: some StringProtocol) -> String {
        let text = Array(text.utf8).filter { bits == nil || ($0 != 0x0a && $0 != 0x0d) }
        let values = digitValues
        let wrong = text.firstIndex { values[Int($0)] == 255 && !(isPadded && $0 == UInt8(ascii: "=")) }
        switch (bits, alphabet.count) {
        case (4, _):
            guard let wrong else { return "encoding/hex: odd length hex string" }
            return "encoding/hex: invalid byte: \(Multibase.goName(text[wrong]))"
        case (5, _), (6, _): return "illegal base\(alphabet.count) data at input byte \(wrong ?? misfit(in: text))"
        case (nil, 58):
            guard let wrong else { return "zero length string" }
            if text[wrong] > 127 { return "high-bit set on invalid digit" }
            return "invalid base58 digit (\(Multibase.goQuoted(text[wrong])))"
        case (nil, 36):
            guard let wrong else { return "can not decode zero-length string" }
            return "invalid base36 character (\(Multibase.goQuoted(text[wrong])))"
        default: return "selected encoding not supported"
        }
    }

    /// Where digits or padding do not come out even: at the surplus padding, or at the last group.
    private func misfit(in text: [UInt8]) -> Int {
        let group = bits == 5 ? 8 : 4
        let digits = text.firstIndex(of: UInt8(ascii: "=")) ?? text.count
        let padding = (group - digits % group) % group
        if isPadded, text.count - digits > padding { return digits + padding }
        return digits - digits % group
    }

    /// As Go's %#U shows a byte that is taken for a character.
    private static func goName(_ byte: UInt8) -> String {
        let hex = String(byte, radix: 16, uppercase: true)
        let isShown = (0x20..<0x7f).contains(byte) || (byte > 0xa0 && byte != 0xad)
        return "U+" + String(repeating: "0", count: 4 - hex.count) + hex + (isShown ? " '\(Character(UnicodeScalar(byte)))'" : "")
    }
    /// As Go's %q shows an ASCII character.
    private static func goQuoted(_ byte: UInt8) -> String {
        switch byte {
        case 0x27, 0x5c: "'\\\(Character(UnicodeScalar(byte)))'"
        case 0x20..<0x7f: "'\(Character(UnicodeScalar(byte)))'"
        case 0x09: #"'\t'"#
        case 0x0a: #"'\n'"#
        case 0x0d: #"'\r'"#
        default: #"'\x"# + (byte < 16 ? "0" : "") + String(byte, radix: 16) + "'"
        }
    }
}
