// The names of statuses, and dates as headers have them. RFC 9110 sections 15 and 5.6.7.

import Encoding
import Kernel

package enum HTTPStatus {
    private static let names: [(Int, String)] = [
        (100, "Continue"), (101, "Switching Protocols"), (200, "OK"), (201, "Created"), (202, "Accepted"),
        (204, "No Content"), (206, "Partial Content"), (301, "Moved Permanently"), (302, "Found"), (303, "See Other"),
        (304, "Not Modified"), (307, "Temporary Redirect"), (308, "Permanent Redirect"), (400, "Bad Request"),
        (401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (405, "Method Not Allowed"), (406, "Not Acceptable"),
        (408, "Request Timeout"), (409, "Conflict"), (410, "Gone"), (411, "Length Required"),
        (413, "Request Entity Too Large"), (414, "Request URI Too Long"), (415, "Unsupported Media Type"),
        (417, "Expectation Failed"), (422, "Unprocessable Entity"), (429, "Too Many Requests"),
        (431, "Request Header Fields Too Large"), (500, "Internal Server Error"), (501, "Not Implemented"),
        (502, "Bad Gateway"), (503, "Service Unavailable"), (504, "Gateway Timeout"), (505, "HTTP Version Not Supported"),
        (507, "Insufficient Storage"),
    ]
    package static func text(_ status: Int) -> String { names.first { $0.0 == status }?.1 ?? "status code \(status)" }
}

package enum HTTPDate {
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Such as "Tue, 24 Nov 2026 22:39:27 GMT".
    package static func text(_ time: WallTime) -> String {
        let days = floorDivide(time.seconds, 86_400)
        let (year, month, day) = civil(daysSinceEpoch: days)
        let second = time.seconds - days * 86_400
        let clock = [second / 3600, second / 60 % 60, second % 60].map(two).joined(separator: ":")
        let weekday = weekdays[Int(days - floorDivide(days, 7) * 7)]
        return "\(weekday), \(two(day)) \(months[Int(month) - 1]) \(year) \(clock) GMT"
    }

    private static func two(_ n: Int64) -> String { n < 10 ? "0\(n)" : String(n) }
}
