// Names of chunkers and their limits. ADD-30.

import Kernel

package enum ChunkerSpec: Equatable, Sendable {
    case size(Int)
    case rabin(minimum: Int, average: Int, maximum: Int)
    case buzhash

    static let defaultSize = 262_144
    /// A block of 2 MiB less 256 bytes for what is wrapped around a chunk.
    static let maximumChunk = 2_096_896
    static let blockLimit = 2 << 20
    private static let tooBig = AddError("chunker parameters may not exceed the maximum chunk size of \(maximumChunk)")

    package init(_ text: String) throws(AddError) {
        if text.isEmpty || text == "default" { self = .size(Self.defaultSize); return }
        let parts = text.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
        switch parts[0] {
        case "size": self = try Self.size(parts)
        case "rabin": self = try Self.rabin(parts)
        case "buzhash": self = .buzhash
        default: throw AddError("unrecognized chunker option: \(text)")
        }
    }

    private static func size(_ parts: [String]) throws(AddError) -> ChunkerSpec {
        guard parts.count == 2 else { throw AddError("incorrect chunker string format (expected size-{size})") }
        let size = try number(parts[1])
        guard size > 0 else { throw AddError("chunker size must be greater than 0") }
        guard size <= maximumChunk else { throw tooBig }
        return .size(size)
    }

    private static func rabin(_ parts: [String]) throws(AddError) -> ChunkerSpec {
        switch parts.count {
        case 1: return rabin(average: defaultSize)
        case 2:
            let average = try number(parts[1])
            guard average <= maximumChunk, average + average / 2 <= maximumChunk else { throw tooBig }
            return rabin(average: average)
        case 4: return try rabin(bounds: parts)
        default:
            throw AddError("incorrect format (expected 'rabin' 'rabin-[avg]' or 'rabin-[min]-[avg]-[max]'")
        }
    }

    private static func rabin(average: Int) -> ChunkerSpec {
        .rabin(minimum: average / 3, average: average, maximum: average + average / 2)
    }

    private static func rabin(bounds parts: [String]) throws(AddError) -> ChunkerSpec {
        let minimum = try labelled(parts[1], "min", "first")
        guard minimum >= 16 else { throw AddError("rabin min must be greater than 16") }
        let average = try labelled(parts[2], "avg", "second")
        let maximum = try labelled(parts[3], "max", "final")
        guard minimum < average else { throw AddError("incorrect format: rabin-min must be smaller than rabin-avg") }
        guard average < maximum else { throw AddError("incorrect format: rabin-avg must be smaller than rabin-max") }
        guard maximum <= maximumChunk else { throw tooBig }
        return .rabin(minimum: minimum, average: average, maximum: maximum)
    }

    private static func labelled(_ text: String, _ label: String, _ place: String) throws(AddError) -> Int {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 1 || parts[0] == label else { throw AddError("\(place) label must be \(label)") }
        return try number(String(parts[parts.count - 1]))
    }

    private static func number(_ text: String) throws(AddError) -> Int {
        guard let value = Int(text) else { throw AddError("strconv.Atoi: parsing \"\(text)\": invalid syntax") }
        return value
    }
}
