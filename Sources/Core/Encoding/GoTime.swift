// Times and durations as Go prints and parses them. REST-191, REST-192, CFG-016.

import Kernel

extension WallTime {
    /// RFC 3339 in UTC with up to nine fractional digits, trailing zeros trimmed (Go's RFC3339Nano).
    package var rfc3339: String {
        let (year, month, day) = civil(daysSinceEpoch: floorDivide(seconds, 86_400))
        let second = seconds &- floorDivide(seconds, 86_400) &* 86_400  // the first second of the first day does not fit
        var text = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        text += "T\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
        if nanoseconds > 0 { text += "." + trimmedFraction(padded(Int64(nanoseconds), 9)) }
        return text + "Z"
    }

    /// Go's Time.String of a time in UTC: "2006-01-02 15:04:05.5 +0000 UTC".
    package var goText: String { rfc3339.replacing("T", with: " ").dropLast() + " +0000 UTC" }

    /// "2006-01-02 15:04:05", in UTC.
    package var plain: String {
        let text = WallTime(seconds: seconds).rfc3339
        return text.replacing("T", with: " ").replacing("Z", with: "")
    }

    /// Nil unless the text is RFC 3339 (offsets are applied).
    package init?(rfc3339 text: String) {
        var scanner = Scanner(text)
        guard let year = scanner.digits(4), scanner.skip("-"), let month = scanner.digits(2), scanner.skip("-"),
            let day = scanner.digits(2), scanner.skip("T") || scanner.skip("t"), let hour = scanner.digits(2),
            scanner.skip(":"), let minute = scanner.digits(2), scanner.skip(":"), let second = scanner.digits(2),
            (1...12).contains(month), day >= 1, day <= daysIn(month, year), hour < 24, minute < 60, second < 60
        else { return nil }
        var nanoseconds: Int64 = 0
        if scanner.skip(".") || scanner.skip(",") {
            guard let fraction = scanner.fraction() else { return nil }
            nanoseconds = fraction
        }
        guard let offset = scanner.offsetSeconds(), scanner.isAtEnd else { return nil }
        let days = daysSinceEpoch(year, month, day)
        self.init(seconds: days * 86_400 + hour * 3600 + minute * 60 + second - offset, nanoseconds: Int32(nanoseconds))
    }
}

private struct Scanner {
    var rest: Substring
    init(_ text: String) { rest = text[...] }
    var isAtEnd: Bool { rest.isEmpty }

    mutating func skip(_ character: Character) -> Bool {
        guard rest.first == character else { return false }
        rest.removeFirst()
        return true
    }
    mutating func digits(_ count: Int) -> Int64? {
        let text = rest.prefix(count)
        guard text.utf8.count == count, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        rest.removeFirst(count)
        return Int64(text)
    }
    /// Digits after the point, as nanoseconds; more than nine are cut.
    mutating func fraction() -> Int64? {
        let text = rest.prefix { $0.isASCII && $0.isNumber }
        guard !text.isEmpty else { return nil }
        rest.removeFirst(text.count)
        return Int64(String(text.prefix(9)) + String(repeating: "0", count: max(0, 9 - text.count)))
    }
    mutating func offsetSeconds() -> Int64? {
        if skip("Z") || skip("z") { return 0 }
        let sign: Int64
        if skip("+") { sign = 1 } else if skip("-") { sign = -1 } else { return nil }
        guard let hours = digits(2), skip(":"), let minutes = digits(2), hours < 24, minutes < 60 else { return nil }
        return sign * (hours * 3600 + minutes * 60)
    }
}

private func padded(_ value: some BinaryInteger, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

private func trimmedFraction(_ digits: String) -> String {
    var digits = digits[...]
    while digits.last == "0" { digits.removeLast() }
    return String(digits)
}

/// For positive divisors.
package func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a / b - (a % b < 0 ? 1 : 0) }

/// Proleptic Gregorian calendar, by eras of 400 years starting in March.
package func civil(daysSinceEpoch days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let z = days + 719_468
    let era = floorDivide(z, 146_097)
    let dayOfEra = z - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shifted + 2) / 5 + 1)
}

func daysSinceEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let y = month <= 2 ? year - 1 : year
    let era = floorDivide(y, 400)
    let yearOfEra = y - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
}

func daysIn(_ month: Int64, _ year: Int64) -> Int64 {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
}

package struct DurationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Go's words.
    package let description: String
}

extension Span {
    /// Go's Duration.String: "1h0m0s", "1.5s", "200ms", "0s".
    package var goText: String {
        if nanoseconds == 0 { return "0s" }
        let magnitude = nanoseconds.magnitude
        let sign = nanoseconds < 0 ? "-" : ""
        for (unit, size) in [("ns", UInt64(1)), ("µs", 1000), ("ms", 1_000_000)] where magnitude < size * 1000 {
            if unit == "ms" || magnitude < size * 1000 { return sign + Span.decimal(magnitude, size) + unit }
        }
        let seconds = magnitude / 1_000_000_000
        var text = Span.decimal(magnitude - (seconds - seconds % 60) * 1_000_000_000, 1_000_000_000) + "s"
        if seconds >= 60 { text = "\(seconds / 60 % 60)m" + text }
        if seconds >= 3600 { text = "\(seconds / 3600)h" + text }
        return sign + text
    }

    private static func decimal(_ value: UInt64, _ unit: UInt64) -> String {
        let (whole, rest) = value.quotientAndRemainder(dividingBy: unit)
        if rest == 0 { return String(whole) }
        return "\(whole)." + trimmedFraction(padded(rest, String(unit).count - 1))
    }

    /// Go's ParseDuration.
    package init(goText text: String) throws(DurationError) {
        var rest = text[...]
        let isNegative = rest.first == "-"
        if rest.first == "-" || rest.first == "+" { rest.removeFirst() }
        if rest == "0" { self = .zero; return }
        let invalid = DurationError(description: "time: invalid duration \(quoted(text))")
        guard !rest.isEmpty else { throw invalid }
        var total: UInt64 = 0
        while !rest.isEmpty {
            let whole = rest.prefix { $0.isASCII && $0.isNumber }
            rest.removeFirst(whole.count)
            var fraction: Substring = ""
            if rest.first == "." {
                rest.removeFirst()
                fraction = rest.prefix { $0.isASCII && $0.isNumber }
                rest.removeFirst(fraction.count)
            }
            guard !whole.isEmpty || !fraction.isEmpty else { throw invalid }
            let unit = rest.prefix { $0 != "." && !($0.isASCII && $0.isNumber) }
            guard !unit.isEmpty else { throw DurationError(description: "time: missing unit in duration \(quoted(text))") }
            guard let size = Span.units[String(unit)] else {
                throw DurationError(description: "time: unknown unit \(quoted(String(unit))) in duration \(quoted(text))")
            }
            rest.removeFirst(unit.count)
            guard let part = Span.scaled(whole, fraction, size), total.addingReportingOverflow(part).overflow == false,
                total + part <= UInt64(Int64.max)
            else { throw invalid }
            total += part
        }
        self.init(nanoseconds: isNegative ? -Int64(total) : Int64(total))
    }

    private static let units: [String: UInt64] = [
        "ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000,
        "h": 3_600_000_000_000,
    ]

    private static func scaled(_ whole: Substring, _ fraction: Substring, _ unit: UInt64) -> UInt64? {
        guard let value = whole.isEmpty ? 0 : UInt64(whole) else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: unit)
        if overflow { return nil }
        var part: UInt64 = 0
        var scale = unit
        for digit in fraction.utf8 {
            if scale < 10 { break }
            scale /= 10
            part += UInt64(digit - 0x30) * scale
        }
        let (sum, overflow2) = product.addingReportingOverflow(part)
        return overflow2 ? nil : sum
    }
}
