// Words and numbers as Go's strconv reads and prints them, for flags and environment variables (CFG-029).

import Kernel

package enum NumberTextError: Error, Equatable, Sendable, CustomStringConvertible {
    case syntax
    case range
    /// Go's words.
    package var description: String { self == .syntax ? "invalid syntax" : "value out of range" }
}

/// strconv.ParseBool.
package func boolean(goText text: some StringProtocol) -> Bool? {
    switch text {
    case "1", "t", "T", "TRUE", "true", "True": true
    case "0", "f", "F", "FALSE", "false", "False": false
    default: nil
    }
}

/// strconv.ParseInt and ParseUint with base 0: an optional sign, then `0x`, `0o`, `0b` or a bare `0` choose the base;
/// underscores may stand between digits.
package func integer<I: FixedWidthInteger>(
    goText text: some StringProtocol, as: I.Type = I.self
) throws(NumberTextError) -> I {
    var rest = Substring(text)
    var isNegative = false
    if I.isSigned, let sign = rest.first, sign == "-" || sign == "+" {
        isNegative = sign == "-"
        rest.removeFirst()
    }
    var radix = 10
    var mayStartWithUnderscore = false
    if rest.first == "0", rest.count > 1 {
        let radixes: [Character: Int] = ["x": 16, "X": 16, "o": 8, "O": 8, "b": 2, "B": 2]
        let named = radixes[rest[rest.index(after: rest.startIndex)]]
        radix = named ?? 8
        rest.removeFirst(named == nil ? 1 : 2)
        mayStartWithUnderscore = true
    }
    var digits = ""
    var previous: Character = mayStartWithUnderscore ? "0" : "_"
    for character in rest {
        if character == "_" && previous == "_" { throw .syntax }
        if character != "_" { digits.append(character) }
        previous = character
    }
    let isDigits = digits.allSatisfy { $0.isASCII && $0.hexDigitValue.map { $0 < radix } == true }
    let hasUnderscores = digits.count != rest.count
    guard !digits.isEmpty, isDigits, previous != "_", !hasUnderscores || mayStartWithUnderscore else { throw .syntax }
    guard let value = I((isNegative ? "-" : "") + digits, radix: radix) else { throw .range }
    return value
}

/// A float as Go's encoding/json and `%v` print it, in the range where neither uses an exponent.
package func goText(_ value: Double) -> String {
    let text = String(value)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}
