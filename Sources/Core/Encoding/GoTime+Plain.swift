// RFC 3339 as nearly every stored time prints: whole seconds, UTC, four digits of a year. Without texts in between.

import Kernel

package enum PlainTime {
    /// "2006-01-02T15:04:05Z"
    package static let count = 20
    private static let range: ClosedRange<Int64> = -62_135_596_800...253_402_300_799  // the years 1 to 9999

    /// Nil where the time has another form.
    package static func write(_ seconds: Int64, to out: UnsafeMutablePointer<UInt8>) -> Int? {
        guard range.contains(seconds) else { return nil }
        let days = floorDivide(seconds, 86_400), (year, month, day) = civil(daysSinceEpoch: days)
        let second = seconds - days * 86_400
        write2(year / 100, to: out)
        write2(year % 100, to: out + 2)
        out[4] = UInt8(ascii: "-")
        write2(month, to: out + 5)
        out[7] = UInt8(ascii: "-")
        write2(day, to: out + 8)
        out[10] = UInt8(ascii: "T")
        write2(second / 3600, to: out + 11)
        out[13] = UInt8(ascii: ":")
        write2(second / 60 % 60, to: out + 14)
        out[16] = UInt8(ascii: ":")
        write2(second % 60, to: out + 17)
        out[19] = UInt8(ascii: "Z")
        return count
    }

    private static func write2(_ value: Int64, to out: UnsafeMutablePointer<UInt8>) {
        let value = UInt8(truncatingIfNeeded: value)
        out[0] = 0x30 + value / 10
        out[1] = 0x30 + value % 10
    }

    /// Unix seconds. Nil where the text has another form or is no time.
    package static func read(_ text: UnsafeRawBufferPointer) -> Int64? {
        guard text.count == count, text[4] == UInt8(ascii: "-"), text[7] == UInt8(ascii: "-"), text[10] == UInt8(ascii: "T"),
            text[13] == UInt8(ascii: ":"), text[16] == UInt8(ascii: ":"), text[19] == UInt8(ascii: "Z"),
            let century = read2(text, 0), let rest = read2(text, 2), let month = read2(text, 5), let day = read2(text, 8),
            let hour = read2(text, 11), let minute = read2(text, 14), let second = read2(text, 17)
        else { return nil }
        let year = century * 100 + rest
        guard (1...12).contains(month), day >= 1, day <= daysIn(month, year), hour < 24, minute < 60, second < 60 else { return nil }
        return daysSinceEpoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    }

    private static func read2(_ text: UnsafeRawBufferPointer, _ offset: Int) -> Int64? {
        let (tens, ones) = (text[offset] &- 0x30, text[offset + 1] &- 0x30)
        return tens < 10 && ones < 10 ? Int64(tens * 10 + ones) : nil
    }
}
