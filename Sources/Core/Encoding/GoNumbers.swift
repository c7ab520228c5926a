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
    if rest.first == "0", rest.count > 1 {
        let radixes: [Character: Int] = ["x": 16, "X": 16, "o": 8, "O": 8, "b": 2, "B": 2]
        let named = radixes[rest[rest.index(after: rest.startIndex)]]
        radix = named ?? 8
        rest.removeFirst(named == nil ? 1 : 2)
    }
    guard let digits = withoutUnderscores(rest, radix: radix, hasPrefix: radix != 10), !digits.isEmpty,
        digits.allSatisfy({ isDigit($0, radix) })
    else { throw .syntax }
    guard let value = I((isNegative ? "-" : "") + digits, radix: radix) else { throw .range }
    return value
}

/// A float as Go's ParseFloat reads it; the hexadecimal form has an exponent.
package func float(goText text: some StringProtocol) throws(NumberTextError) -> Double {
    var rest = Substring(text.lowercased())
    let sign = rest.first == "-" || rest.first == "+" ? String(rest.removeFirst()) : ""
    let isHex = rest.hasPrefix("0x")
    if isHex { rest.removeFirst(2) }
    guard let plain = withoutUnderscores(rest, radix: isHex ? 16 : 10, hasPrefix: isHex), !plain.contains("("), plain.first != "-",
        plain.first != "+", sign.isEmpty || plain != "nan", !isHex || plain.contains("p"), let value = Double(sign + (isHex ? "0x" : "") + plain)
    else { throw .syntax }
    if value.isInfinite, !plain.hasPrefix("i") { throw .range }
    return value
}

/// Underscores stand between two digits, or between a prefix and a digit. Nil where one does not.
private func withoutUnderscores(_ text: Substring, radix: Int, hasPrefix: Bool) -> String? {
    var out = "", mayFollow = hasPrefix, isOpen = false
    for character in text {
        let isDigit = isDigit(character, radix)
        guard character == "_" ? mayFollow : !isOpen || isDigit else { return nil }
        (mayFollow, isOpen) = (isDigit, character == "_")
        if !isOpen { out.append(character) }
    }
    return isOpen ? nil : out
}

private func isDigit(_ character: Character, _ radix: Int) -> Bool {
    character.isASCII && character.hexDigitValue.map { $0 < radix } == true
}

/// A float as Go's encoding/json and `%v` print it, in the range where neither uses an exponent.
package func goText(_ value: Double) -> String {
    let text = String(value)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}

private let byteUnits = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]

/// Bytes in units of 1000 (CLI-172): one decimal below ten units, none from there on; half a unit goes to the even neighbour, as printf does.
package func byteText(_ count: UInt64) -> String {
    if count < 10 { return "\(count) B" }
    var unit: UInt64 = 1
    var index = 0
    while count / unit >= 1000 { unit *= 1000; index += 1 }
    let product = count.multipliedFullWidth(by: 10)
    let (low, carry) = product.low.addingReportingOverflow(unit / 2)
    let tenths = unit.dividingFullWidth((product.high + (carry ? 1 : 0), low)).quotient
    if tenths < 100 { return "\(tenths / 10).\(tenths % 10) \(byteUnits[index])" }
    let roundsUp = tenths % 10 > 5 || tenths % 10 == 5 && tenths / 10 % 2 == 1
    return "\(tenths / 10 + (roundsUp ? 1 : 0)) \(byteUnits[index])"
}
