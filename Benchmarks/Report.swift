// What a benchmark of the pinset tells: progress on the way, and one line of JSON at its end.

import Foundation
import Kernel
import MerkleCRDT
import RealNet

struct Report {
    let name: String
    let pins: Int
    let folder: String?
    private let began = now()
    private let processorBegan = processorSeconds()
    private var stopped: (at: Double, processor: Double, peak: Int)?

    init(_ name: String, pins: Int, folder: String? = nil) {
        self.name = name
        self.pins = pins
        self.folder = folder
    }

    nonisolated(unsafe) static var expected: String?

    static func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }
    var seconds: Double { (stopped?.at ?? Report.now()) - began }

    /// What is done from here on does not count.
    mutating func stop() { stopped = (Report.now(), processorSeconds(), status("VmHWM:")) }

    /// The memory that was needed before does not count.
    static func forgetPeak() { try? Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs")) }

    func progress(_ done: Int) {
        guard !isQuiet else { return }
        let rate = Int(Double(done) / max(seconds, 1e-9))
        FileHandle.standardError.write(Data("\(name): \(done) of \(pins), \(rate)/s, \(residentMegabytes()) MB resident\n".utf8))
    }

    /// One line, with whatever else is worth knowing.
    func end(digest: String, stalls loop: EventLoop? = nil, more: [(String, String)] = []) {
        let seconds = self.seconds
        var fields: [(String, String)] = [
            ("benchmark", "\"\(name)\""), ("pins", "\(pins)"), ("seconds", fixed(seconds)),
            ("pins_per_second", "\(Int(Double(pins) / max(seconds, 1e-9)))"),
            ("cpu_seconds", fixed((stopped?.processor ?? processorSeconds()) - processorBegan)),
            ("peak_resident_bytes", "\((stopped?.peak ?? status("VmHWM:")) * 1024)"),
        ]
        if let folder {
            let bytes = Report.size(of: folder)
            fields += [("disk_bytes", "\(bytes)"), ("disk_bytes_per_pin", fixed(Double(bytes) / Double(max(1, pins))))]
        }
        if let loop {
            fields.append(("longest_stall_ms", fixed(Double(loop.longestRound.nanoseconds) / 1e6)))
            fields.append(("longest_stall_cpu_ms", fixed(Double(loop.longestWork.nanoseconds) / 1e6)))
        }
        fields += more
        // All that look at one pinset in one run must see the same.
        if let expected = Report.expected, expected != digest { unreachable("\(name): the digest is \(digest), and was \(expected)") }
        Report.expected = digest
        fields.append(("digest", "\"\(digest)\""))
        print("{" + fields.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}")
    }


    static func size(of folder: String) -> Int {
        guard let files = FileManager.default.enumerator(atPath: folder) else { return 0 }
        return files.compactMap { $0 as? String }.reduce(0) { sum, file in
            var about = stat()
            return sum + (stat("\(folder)/\(file)", &about) == 0 && about.st_mode & S_IFMT == S_IFREG ? Int(about.st_size) : 0)
        }
    }
}

nonisolated(unsafe) var isQuiet = false
/// Go on with what an earlier process left; and say what is durable as it becomes so.
nonisolated(unsafe) var resumes = false
nonisolated(unsafe) var tellsAll = false
