// Floating-point numbers as Go's encoding/json prints them: shortest digits, an exponent only below 1e-6 and from 1e21.

import Kernel

extension JSON {
    /// JSON has no infinities; they become 0.
    package static func double(_ value: Double) -> JSON {
        guard value.isFinite, value != 0 else { return .number("0") }
        let (digits, point) = decimal(value.magnitude)
        let sign = value < 0 ? "-" : ""
        let isPlain = value.magnitude >= 1e-6 && value.magnitude < 1e21
        return .number(sign + (isPlain ? plain(digits, point) : scientific(digits, point)))
    }

    /// The shortest digits that read back as the value, and where the point stands among them.
    private static func decimal(_ magnitude: Double) -> (digits: String, point: Int) {
        let parts = magnitude.description.split(separator: "e")
        let exponent = parts.count == 2 ? Int(parts[1]) ?? 0 : 0
        let halves = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let all = halves.joined()
        let leading = all.prefix { $0 == "0" }.count
        var digits = all.dropFirst(leading)
        while digits.count > 1, digits.last == "0" { digits.removeLast() }
        return (String(digits), halves[0].count - leading + exponent)
    }

    private static func plain(_ digits: String, _ point: Int) -> String {
        if point <= 0 { return "0." + String(repeating: "0", count: -point) + digits }
        if point >= digits.count { return digits + String(repeating: "0", count: point - digits.count) }
        return digits.prefix(point) + "." + digits.dropFirst(point)
    }

    private static func scientific(_ digits: String, _ point: Int) -> String {
        let exponent = point - 1
        let mantissa = digits.count == 1 ? digits : digits.prefix(1) + "." + digits.dropFirst()
        return mantissa + "e" + (exponent < 0 ? "-" : "+") + String(exponent.magnitude)
    }

    package var double: Double? { if case .number(let text) = self { Double(text) } else { nil } }
}
