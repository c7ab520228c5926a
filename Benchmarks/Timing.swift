import Foundation

/// Seconds that the body took.
func timed(_ body: () throws -> Void) rethrows -> Double {
    let began = DispatchTime.now().uptimeNanoseconds
    try body()
    return Double(DispatchTime.now().uptimeNanoseconds - began) / 1e9
}

/// "ingest: 100000 pins in 1.2 s, 83333 pins/s, 123 MB resident".
func line(_ name: String, _ count: Int, _ unit: String, _ seconds: Double) -> String {
    let rate = seconds > 0 ? Int(Double(count) / seconds) : 0
    return "\(name): \(count) \(unit) in \(String(format: "%.2f", seconds)) s, \(rate) \(unit)/s, \(residentMegabytes()) MB resident"
}

/// What the processors have worked for this process: a measure that others on the machine disturb less.
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func residentMegabytes() -> Int { status("VmRSS:") / 1024 }

/// A row of the process's status, in kilobytes.
func status(_ row: String) -> Int {
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
        let found = status.split(separator: "\n").first(where: { $0.hasPrefix(row) }),
        let kilobytes = found.split(separator: " ").compactMap({ Int($0) }).first
    else { return 0 }
    return kilobytes
}

func fixed(_ value: Double) -> String { String(format: "%.3f", value) }
