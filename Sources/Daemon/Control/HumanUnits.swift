// Amounts as people read them: times relative to now, padded columns. CLI-168, CLI-171.

import Kernel

enum HumanUnits {
    private static let minute: Int64 = 60
    private static let hour = 60 * minute
    private static let day = 24 * hour
    private static let week = 7 * day
    private static let month = 30 * day
    private static let year = 12 * month

    /// Below so many seconds: the text, whose number is the amount in units of so many seconds.
    private static let spans: [(below: Int64, text: String, unit: Int64?)] = [
        (1, "now", nil), (2, "1 second", nil), (minute, "seconds", 1), (2 * minute, "1 minute", nil),
        (hour, "minutes", minute), (2 * hour, "1 hour", nil), (day, "hours", hour), (2 * day, "1 day", nil),
        (week, "days", day), (2 * week, "1 week", nil), (month, "weeks", week), (2 * month, "1 month", nil),
        (year, "months", month), (18 * month, "1 year", nil), (2 * year, "2 years", nil), (37 * year, "years", year),
    ]

    /// CLI-171.
    static func relative(_ time: WallTime, to now: WallTime) -> String {
        let isAhead = time > now
        let seconds = isAhead ? wholeSeconds(from: now, to: time) : wholeSeconds(from: time, to: now)
        guard let span = spans.first(where: { seconds < $0.below }) else {
            return "a long while" + (isAhead ? " from now" : " ago")
        }
        if span.text == "now" { return span.text }
        let amount = span.unit.map { "\(seconds / $0) \(span.text)" } ?? span.text
        return amount + (isAhead ? " from now" : " ago")
    }

    private static func wholeSeconds(from a: WallTime, to b: WallTime) -> Int64 {
        b.seconds - a.seconds - (b.nanoseconds < a.nanoseconds ? 1 : 0)
    }

    /// At least so many characters wide, filled with spaces after the text, or before it.
    static func padded(_ text: String, _ width: Int, isRight: Bool = false) -> String {
        let fill = String(repeating: " ", count: max(0, width - text.unicodeScalars.count))
        return isRight ? fill + text : text + fill
    }
}
